"""Which tokens are trained. This is decided here and nowhere else.

A token is trained if and only if the model has to generate it: all its bytes are in one completion
(`completions.py`), and it is not the first token of its text. Every other token has the label `IGNORE_INDEX`.

    text      <|im_start|>user\\nHi<|im_end|>\\n<|im_start|>assistant\\n  Hello<|im_end|>  \\n
    trained                                                          ~~~~~~~~~~~~~~~

A straddling token crosses the edge of a completion. It is not trained, and counted. `educational.py` has the
same rule token by token; the tests compare both.

Cost: a few ns a token, and a few hundred a completion.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..core.arrays import offsets_of
from ..core.contract import IGNORE_INDEX
from ..core.records import NOT_TRAINED, Labels, MaskedTexts, SampleTokens, Tokens

PADDING_LABEL = IGNORE_INDEX
"""The label of padding tokens: they are not trained."""


def label_tokens(masked: MaskedTexts, tokens: Tokens) -> Labels:
    """Return the labels of texts, from their segments and tokens."""
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
    weights = None if masked.weights is None else masked.weights[_segment_of(tokens, ends_at)]
    message = masked.messages[opening]
    return Labels(labels, trained_before(labels), straddling, sample, message, after_first, last, weights)


def weigh_tokens(labels: Labels) -> np.ndarray:
    """Return loss weights, float32[t]: that of the token's first byte if the token is trained, else 0."""
    own = np.float32(1) if labels.weights is None else labels.weights
    return np.where(labels.labels == IGNORE_INDEX, np.float32(0), own)


def token_numbers(given: Mapping[int, SampleTokens], tokens: Tokens, labels: Labels, name: str) -> np.ndarray:
    """Return the numbers `name` of tokens, float32[t], as the rows of some texts give them: 0 if the token is
    not trained, NaN if it is trained and its row gives none."""
    trained = labels.labels != IGNORE_INDEX
    numbers = np.where(trained, np.float32(np.nan), np.float32(0))
    for i, each in given.items():
        own = slice(tokens.offsets[i], tokens.offsets[i + 1])
        if name in each.floats:
            numbers[own] = np.where(trained[own], each.floats[name], np.float32(0))
    return numbers


def per_sample(weights: np.ndarray, labels: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Return loss weights divided by the number of trained tokens of their sample, float32[t]; `offsets`
    (int64[n+1]) are those of the samples. So each sample counts the same, whatever its length.

    >>> per_sample(np.array([0, 1, 2, 0, 1]), np.array([-100, 5, 5, -100, 5]), np.array([0, 3, 5])).tolist()
    [0.0, 0.5, 1.0, 0.0, 1.0]
    """
    trained = np.maximum(np.diff(trained_before(labels)[offsets]), 1)
    shares: np.ndarray = weights / np.repeat(trained, np.diff(offsets))
    return shares.astype(np.float32)


def without_first(labels: np.ndarray) -> np.ndarray:
    """Return the labels of the tokens of a sample without that of the first: nothing predicts it.

    >>> without_first(np.array([7, 8, -100])).tolist()
    [-100, 8, -100]
    """
    labels = labels.copy()
    labels[:1] = IGNORE_INDEX
    return labels


def trained_before(labels: np.ndarray) -> np.ndarray:
    """Return the number of trained tokens before each token, and in all: int32[t+1].

    >>> trained_before(np.array([-100, 8, 9])).tolist()
    [0, 0, 1, 2]
    """
    before = np.zeros(len(labels) + 1, dtype=np.int32)
    np.cumsum(labels != IGNORE_INDEX, dtype=np.int32, out=before[1:])
    return before


def _stretches(masked: MaskedTexts) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and last segment of each trained span: adjacent segments of one text and
    message."""
    edge = np.ones(len(masked.sizes) + 1, dtype=bool)
    edge[1:-1] = np.diff(masked.messages) != 0
    edge[masked.offsets] = True
    trained = masked.messages != NOT_TRAINED
    return np.flatnonzero(trained & edge[:-1]), np.flatnonzero(trained & edge[1:])


def _segment_of(tokens: Tokens, ends_at: np.ndarray) -> np.ndarray:
    """Return the segment of the first byte of each token, int64[t]; the last one for a token after it."""
    return np.minimum(np.searchsorted(ends_at, tokens.starts, side="right"), len(ends_at) - 1)


def _crossing(
    tokens: Tokens, span: tuple[np.ndarray, np.ndarray], inside: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Return the number of straddling tokens of each stretch, int64[m], given its bytes and the tokens
    inside.

    Few stretches have any. The tokens before and after those inside show which stretches do.
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
