"""The mask: which tokens carry the loss. Decided here and nowhere else; nothing else writes -100.

The rule: a token is trained exactly if the model will have to generate it. For an assistant message i
that is the *completion*: all that follows `render(messages[:i], add_generation_prompt=True)`, up to and
including the string that ends its turn. Two independent ways must agree on it, or the row is refused:

    inference    the prompt of message i is a prefix of the text; the completion starts where it ends
    provenance   every character knows which message wrote it (`traced.py`): what message i wrote lies
                 inside the completion, nothing that another message wrote does

Example: `<|im_start|>user\\nHi<|im_end|>\\n<|im_start|>assistant\\nHello<|im_end|>\\n` has the one completion
`Hello<|im_end|>`; header and newline are never trained.

Templates that rewrite history (Qwen3 drops earlier reasoning) show a turn in the whole conversation in
another way than inference did when it was written. With `History.split` such a turn becomes a sample of
its own, which ends with it. Costs two plain renders a turn and comparisons of text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..core.contract import IGNORE_INDEX
from ..core.records import ByteTokens, Segments, Stretches, TokenBatch, Turn

# ==== Which tokens ====


PADDING_LABEL = IGNORE_INDEX
"""The label of tokens that fill a pack up: they carry no loss."""


def label_tokens(batch: TokenBatch, turns: Sequence[Sequence[Turn]]) -> tuple[np.ndarray, np.ndarray]:
    """Labels of a batch of n samples, int32[t], and how many tokens of each straddle the edge of a trained
    stretch, int64[n].

    A token is trained if all its characters lie in one trained stretch of its sample; the first token of
    a sample never is, because nothing predicts it. `turns[i]` are the sorted stretches of sample i.
    """
    labels = np.full(len(batch.ids), IGNORE_INDEX, dtype=np.int32)
    straddling = np.zeros(len(turns), dtype=np.int64)
    for sample, stretches in enumerate(turns):
        tokens = slice(batch.offsets[sample], batch.offsets[sample + 1])
        starts, ends = batch.starts[tokens], batch.ends[tokens]
        trained = np.zeros(len(starts), dtype=bool)
        for _, start, end in stretches:
            touching = (starts < end) & (ends > start) & (ends > starts)
            inside = touching & (starts >= start) & (ends <= end)
            trained |= inside
            straddling[sample] += np.count_nonzero(touching & ~inside)
        labels[tokens] = without_first(np.where(trained, batch.ids[tokens], np.int32(IGNORE_INDEX)))
    return labels, straddling


def label_segments(tokens: ByteTokens, segments: Segments) -> tuple[np.ndarray, Stretches, np.ndarray]:
    """`label_tokens` for texts that are known by their segments: labels int32[t], the trained stretches, and
    how many tokens of each sample straddle the edge of one, int64[n].

    The tokens must cover exactly the segments' bytes. Costs a few nanoseconds a token and some hundred a
    stretch; `label_tokens` is its readable twin.
    """
    begin = np.cumsum(segments.sizes) - segments.sizes
    of_sample = np.repeat(np.arange(len(segments.offsets) - 1), np.diff(segments.offsets))
    edge = np.ones(len(begin) + 1, dtype=bool)  # whether another stretch begins, or none
    edge[1:-1] = (np.diff(segments.turns) != 0) | (np.diff(of_sample) != 0)
    trained = segments.turns >= 0
    opening, closing = np.flatnonzero(trained & edge[:-1]), np.flatnonzero(trained & edge[1:])
    start, end = begin[opening], begin[closing] + segments.sizes[closing]
    first = np.searchsorted(tokens.edges, start, side="left")
    last = np.searchsorted(tokens.edges, end, side="right") - 1
    cut = (tokens.edges[first] != start).astype(np.int64) + (tokens.edges[last] != end)
    cut[first > last] = 1  # one token covers the whole stretch and more
    sample = of_sample[opening]
    straddling = np.bincount(sample, weights=cut, minlength=len(segments.offsets) - 1).astype(np.int64)
    first = np.maximum(first, tokens.offsets[sample] + 1)  # nothing predicts the first token of a sample
    labels = np.full(len(tokens.ids), IGNORE_INDEX, dtype=np.int32)
    for low, high in zip(first.tolist(), last.tolist(), strict=True):
        labels[low:high] = tokens.ids[low:high]
    return labels, Stretches(sample, segments.turns[opening], first, last), straddling


def weigh_tokens(
    batch: TokenBatch,
    labels: np.ndarray,
    turns: Sequence[Sequence[Turn]],
    weights: Sequence[Mapping[int, float]],
) -> np.ndarray:
    """Loss weights of a batch of samples, float32[t]: 0 where there is no loss, else the weight of the
    message that the token's stretch belongs to (`weights[i]` of sample i), 1 where it has none."""
    weighed = np.where(labels == IGNORE_INDEX, np.float32(0), np.float32(1))
    for sample, stretches in enumerate(turns):
        tokens = slice(batch.offsets[sample], batch.offsets[sample + 1])
        for message, start, end in stretches:
            inside = (batch.starts[tokens] >= start) & (batch.ends[tokens] <= end)
            weighed[tokens][inside] *= weights[sample].get(message, 1.0)
    return weighed


def trained_turns(
    labels: np.ndarray, starts: np.ndarray, ends: np.ndarray, turns: Sequence[Turn]
) -> tuple[int, ...]:
    """The messages of which at least one token carries a loss, ascending."""
    trained = labels != IGNORE_INDEX
    kept = {turn.message for turn in turns if (trained & (starts >= turn.start) & (ends <= turn.end)).any()}
    return tuple(sorted(kept))


def without_first(labels: np.ndarray) -> np.ndarray:
    """The labels of tokens that stand at the start of a sample: nothing predicts the first.

    >>> without_first(np.array([7, 8, -100])).tolist()
    [-100, 8, -100]
    """
    labels = labels.copy()
    labels[:1] = IGNORE_INDEX
    return labels
