"""Which tokens carry the loss. Decided here and nowhere else.

A token is trained exactly if the model will have to generate it: if all its bytes are in one completion
(`completions.py` finds these), and something precedes it that predicts it. Every other token has the label
`IGNORE_INDEX`.

    text      <|im_start|>user\\nHi<|im_end|>\\n<|im_start|>assistant\\n  Hello<|im_end|>  \\n
    trained                                                          ~~~~~~~~~~~~~~~

A token across the edge of a completion is not trained. It is counted. `educational.py` has the same rule
token by token, and judges this module in the tests. Cost: some nanoseconds a token and some hundred a
completion.
"""

from __future__ import annotations

import numpy as np

from ..core.arrays import offsets_of
from ..core.contract import IGNORE_INDEX
from ..core.records import NOT_TRAINED, Labels, MaskedTexts, Tokens

PADDING_LABEL = IGNORE_INDEX
"""The label of tokens that fill a pack up: they carry no loss."""


def label_tokens(masked: MaskedTexts, tokens: Tokens) -> Labels:
    """The labels of some texts, given the bytes of their segments and tokens."""
    opening, closing = _stretches(masked)
    ends_at = np.cumsum(masked.sizes)
    start, end = (ends_at - masked.sizes)[opening], ends_at[closing]
    first = np.searchsorted(tokens.starts, start, side="left")
    last = np.searchsorted(tokens.ends, end, side="right")
    crossing = _crossing(tokens, (start, end), (first, last))

    sample = np.searchsorted(masked.offsets, opening, side="right") - 1
    after_first = np.maximum(first, tokens.offsets[sample] + 1)  # nothing predicts the first token of a text
    labels = np.full(len(tokens.ids), IGNORE_INDEX, dtype=np.int32)
    for low, high in zip(after_first.tolist(), last.tolist(), strict=True):
        labels[low:high] = tokens.ids[low:high]

    labels[tokens.starts == tokens.ends] = IGNORE_INDEX
    straddling = np.bincount(sample, weights=crossing, minlength=len(masked.rows)).astype(np.int64)
    weight = None if masked.weights is None else masked.weights[opening]
    message = masked.messages[opening]
    return Labels(labels, trained_before(labels), straddling, sample, message, after_first, last, weight)


def weigh_tokens(labels: Labels) -> np.ndarray:
    """Loss weights, float32[t]: that of the completion where a token is trained, else 0."""
    weights = np.where(labels.labels == IGNORE_INDEX, np.float32(0), np.float32(1))
    if labels.weight is not None:
        for first, last, weight in zip(
            labels.first.tolist(), labels.last.tolist(), labels.weight.tolist(), strict=True
        ):
            weights[first:last] *= np.float32(weight)
    return weights


def without_first(labels: np.ndarray) -> np.ndarray:
    """The labels of tokens that are at the start of a sample: nothing predicts the first.

    >>> without_first(np.array([7, 8, -100])).tolist()
    [-100, 8, -100]
    """
    labels = labels.copy()
    labels[:1] = IGNORE_INDEX
    return labels


def trained_before(labels: np.ndarray) -> np.ndarray:
    """How many trained tokens are before each place, int32[t+1].

    >>> trained_before(np.array([-100, 8, 9])).tolist()
    [0, 0, 1, 2]
    """
    before = np.zeros(len(labels) + 1, dtype=np.int32)
    np.cumsum(labels != IGNORE_INDEX, dtype=np.int32, out=before[1:])
    return before


def _stretches(masked: MaskedTexts) -> tuple[np.ndarray, np.ndarray]:
    """The first and the last segment of each trained stretch: neighbours of one text and one message."""
    edge = np.ones(len(masked.sizes) + 1, dtype=bool)
    edge[1:-1] = np.diff(masked.messages) != 0
    edge[masked.offsets] = True
    trained = masked.messages != NOT_TRAINED
    return np.flatnonzero(trained & edge[:-1]), np.flatnonzero(trained & edge[1:])


def _crossing(
    tokens: Tokens, span: tuple[np.ndarray, np.ndarray], inside: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """How many tokens lie across an edge of each stretch, int64[m], given its bytes and the tokens inside.

    Few stretches have any, and the neighbours of the tokens inside tell which.
    """
    (start, end), (first, last) = span, inside
    found, t = np.zeros(len(start), dtype=np.int64), len(tokens.ids)
    if not t:
        return found
    before = (first > 0) & (tokens.ends[np.maximum(first, 1) - 1] > start)
    behind = (last < t) & (tokens.starts[np.minimum(last, t - 1)] < end)
    some = np.flatnonzero(before | behind | (first > last)).tolist()
    real = offsets_of(tokens.starts < tokens.ends) if some else found
    for i in some:
        begin = int(np.searchsorted(tokens.ends, start[i], side="right"))
        stop = int(np.searchsorted(tokens.starts, end[i], side="left"))
        touching = real[max(begin, stop)] - real[begin]
        found[i] = touching - (real[max(first[i], last[i])] - real[first[i]])
    return found
