"""The mask, slow and readable: one text, one token at a time. The tests compare `labels.py` with it.

A run does not use this module. It does in a few lines what `labels.py` and `tokens/pieces.py` do for whole
batches:

    tokens_of(sample, encode)                 ids, starts and ends, cut at seams as at inference
    labels_of(sample, ids, starts, ends)      one label per token
    origins_of(sample, starts)                the writer of the first character of each token

Positions are characters of one text here, and bytes of all texts there. The labels must be equal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from ..core.contract import IGNORE_INDEX
from ..core.records import TEMPLATE, Origin, Sample, placed

Token = tuple[int, int, int]
"""Id, first character, and one past the last."""


def tokens_of(sample: Sample, encode: Callable[[str], list[Token]]) -> list[Token]:
    """Return the tokens of a text. Where a token straddles a seam, both sides are encoded apart.

    >>> def pairs(text):
    ...     return [(at, at, min(at + 2, len(text))) for at in range(0, len(text), 2)]
    >>> tokens_of(Sample("A: yes.", (), (), "inference", seams=(3,)), pairs)
    [(0, 0, 2), (2, 2, 3), (0, 3, 5), (2, 5, 7)]
    """
    cuts: set[int] = set()
    while True:
        edges = sorted({0, *cuts, len(sample.text)})
        tokens = [
            (id_, first + start, first + end)
            for first, last in pairwise(edges)
            for id_, start, end in encode(sample.text[first:last])
        ]
        straddled = {seam for seam in sample.seams if any(start < seam < end for _, start, end in tokens)}
        if not straddled:
            return tokens
        cuts |= straddled


def labels_of(sample: Sample, ids: Sequence[int], starts: Sequence[int], ends: Sequence[int]) -> list[int]:
    """Return the label of each token: its id if all its characters are in one completion, else
    `IGNORE_INDEX`.

    The first token is not trained, because nothing predicts it. Neither is a token without characters.

    >>> from premask.core.records import Turn
    >>> sample = Sample("A: yes.", (Turn(1, 3, 7),), (), "inference")
    >>> labels_of(sample, [5, 6, 7], [0, 2, 6], [2, 6, 7])
    [-100, -100, 7]
    """
    labels = []
    for position, (id_, start, end) in enumerate(zip(ids, starts, ends, strict=True)):
        in_one = any(turn.start <= start < end <= turn.end for turn in sample.turns)
        labels.append(id_ if in_one and position > 0 else IGNORE_INDEX)
    return labels


def straddling_in(sample: Sample, starts: Sequence[int], ends: Sequence[int]) -> int:
    """Return how often a token crosses the edge of a completion."""
    return sum(
        start < turn.end and end > turn.start and not turn.start <= start < end <= turn.end
        for turn in sample.turns
        for start, end in zip(starts, ends, strict=True)
        if start < end
    )


def weights_of(sample: Sample, labels: Sequence[int], starts: Sequence[int]) -> list[float]:
    """Return the loss weight of each token: that of its first character, or 0 if it is not trained."""
    of_character = [weight for length, weight in sample.weights for _ in range(length)]
    own = [of_character[start] if of_character else 1.0 for start in starts]
    return [0.0 if label == IGNORE_INDEX else weight for label, weight in zip(labels, own, strict=True)]


def per_sample(weights: Sequence[float], labels: Sequence[int]) -> list[float]:
    """Return loss weights divided by the number of trained tokens.

    >>> per_sample([0.0, 1.0, 2.0], [-100, 5, 6])
    [0.0, 0.5, 1.0]
    """
    trained = sum(label != IGNORE_INDEX for label in labels)
    return [weight / max(trained, 1) for weight in weights]


def origins_of(sample: Sample, starts: Sequence[int]) -> list[Origin]:
    """Return the origin of the first character of each token."""
    runs = list(placed(sample.runs))
    return [next((origin for begin, end, origin in runs if begin <= at < end), TEMPLATE) for at in starts]
