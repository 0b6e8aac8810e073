"""Samples -> texts in segments: where the writer changes, at the edges of completions and of loss weights.

    masked = masked_texts(samples, rows)

Positions are bytes (UTF-8) from here on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np

from ..core.arrays import offsets_of
from ..core.records import NOT_TRAINED, PROOFS, WRITERS, MaskedTexts, Sample, placed


def masked_texts(samples: Sequence[Sample], rows: Sequence[int]) -> MaskedTexts:
    """Cut samples into segments; `rows` are the rows of the samples in their batch, ascending."""
    segments = [segments_of(sample) for sample in samples]
    flat = [segment for of_sample in segments for segment in of_sample]
    sizes, writers, messages = np.array([each[:3] for each in flat], dtype=np.int64).reshape(-1, 3).T
    weights = None
    if any(sample.weights for sample in samples):
        weights = np.array([each.weight for each in flat], dtype=np.float32)
    return MaskedTexts(
        [sample.text for sample in samples],
        np.array(rows, dtype=np.int64),
        np.array([PROOFS.index(sample.proof) for sample in samples], dtype=np.int8),
        offsets_of([len(of_sample) for of_sample in segments]),
        sizes,
        writers,
        messages,
        np.array([each.seam for each in flat], dtype=bool),
        weights,
        {i: sample.given for i, sample in enumerate(samples) if sample.given is not None},
    )


class Segment(NamedTuple):
    """A stretch of a text: its bytes, writer (an index into `WRITERS`), message if it is trained, whether it
    begins at the edge of a completion, and loss weight."""

    size: int
    writer: int
    message: int
    seam: bool
    weight: float


def segments_of(sample: Sample) -> list[Segment]:
    """Cut a text where the writer changes and at the edges of completions; sizes in bytes."""
    text, seams = sample.text, frozenset(sample.seams)
    runs, turns = deque(placed(sample.runs)), deque(sample.turns)
    weights = deque(_ends(sample.weights))
    edges = {0, len(text), *seams, *(end for _, end, _ in runs), *(end for end, _ in weights)}
    edges.update(edge for turn in turns for edge in (turn.start, turn.end))
    segments = []
    for start, end in pairwise(sorted(edges)):
        while runs and runs[0][1] <= start:
            runs.popleft()
        while turns and turns[0].end <= start:
            turns.popleft()
        while weights and weights[0][0] <= start:
            weights.popleft()
        writer = WRITERS.index(runs[0][2].role) if runs else 0
        trained = bool(turns) and turns[0].start <= start
        message = turns[0].message if trained else NOT_TRAINED
        size = end - start if text.isascii() else len(text[start:end].encode())
        weight = weights[0][1] if weights else 1.0
        segments.append(Segment(size, writer, message, start in seams, weight))
    return segments


def _ends(weights: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Return (end in characters, weight) pairs."""
    return [
        (end, weight) for end, (_, weight) in zip(accumulate(n for n, _ in weights), weights, strict=True)
    ]
