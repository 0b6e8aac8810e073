"""Kinds of texts: how a text is cut into segments, known before its slots are filled.

A plan (`render_plans.py`) has a kind for each of its samples, a chunk (`paths.py`) has one for the text of a
message.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from ..core.records import NOT_TRAINED, Sample, placed
from ..masking.segments import segments_of
from ..masking.symbolic import Op, Unplannable
from ..masking.symbolic_renders import slot_of


@dataclass(frozen=True, eq=False)
class Kind:
    """How a text is cut into k segments, at the edges of slots and of trained spans.

    literal  int64[k]    bytes of a segment that the template prints, 0 for a slot
    slot     int64[k]    the slot that fills the segment, -1 for a literal
    role     int64[k]    the writer, an index into `records.WRITERS`
    turn     int64[k]    the message whose completion it belongs to, counted from that of the text;
                         `NOT_TRAINED` (-1) if it is not trained
    seam     bool[k]     whether it begins at the edge of a completion
    weight   float32[k]  its loss weight; None if all are 1
    slots    number of slots
    is_edge  whether the text ends at the edge of a completion
    """

    literal: np.ndarray
    slot: np.ndarray
    role: np.ndarray
    turn: np.ndarray
    seam: np.ndarray
    weight: np.ndarray | None
    slots: int
    is_edge: bool = False


Segment = tuple[int, "Op | None", int, int, bool, float]
"""Bytes, expression (None if the template printed it), writer, message, seam and weight."""


def kind_of(segments: list[Segment], slots: Mapping[Op, int], *, is_edge: bool = False) -> Kind:
    """Return the kind of a text with these segments."""
    rows = [
        (size if op is None else 0, -1 if op is None else slots[op], writer, message, seam)
        for size, op, writer, message, seam, _ in segments
    ]
    literal, slot, role, turn, seam = np.array(rows, dtype=np.int64).reshape(-1, 5).T.copy()
    weights = np.array([weight for *_, weight in segments], dtype=np.float32)
    weighted = weights if (weights != 1).any() else None
    return Kind(literal, slot, role, turn, seam.astype(bool), weighted, len(slots), is_edge)


def planned_segments(sample: Sample) -> Iterator[Segment]:
    """Yield the segments of a sample of symbolic renders. Raises `Unplannable` if an expression is cut."""
    sizes = [
        (len(sample.text[start:end].encode()), slot_of(origin)) for start, end, origin in placed(sample.runs)
    ]
    ends, at = list(accumulate(size for size, _ in sizes)), 0
    for size, writer, message, seam, weight in segments_of(sample):
        of_run, op = sizes[bisect_right(ends, at)]
        if op is not None and size != of_run:
            raise Unplannable
        yield size, op, writer, message, seam, weight
        at += size


def without_turns(segments: list[Segment]) -> bool:
    """Whether nothing is trained in segments."""
    return all(message == NOT_TRAINED and weight == 1 for *_, message, _, weight in segments)
