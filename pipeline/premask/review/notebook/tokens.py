"""The tokens of a sample, with all that is known of them, as they are to be shown.

    tokens = tokens_of(texts, ids, labels)
    aligned(np.array([5, 6, 7]), np.array([6, 7, -100]))      # ([-100, 6, 7], 1): labels that are shifted

Cost: a few microseconds a token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ...core.contract import IGNORE_INDEX, labels_of_mask
from ...tokens.token_text import TokenTexts

PADDING_RUN = 3
"""From how many on equal control tokens at an end are padding, where no attention mask says what is."""


@dataclass(frozen=True)
class Tokens:
    """t tokens to show.

    ids      int64[t]    token ids
    labels   int64[t]    the id where the token is trained, else -100; at the place of their token
    groups   (text, number of tokens) pairs of whole characters, which cover the tokens
    control  bool[t]     control tokens
    padding  bool[t]     tokens that are no part of the sample
    weights  float64[t]  loss weights, if there are any
    origins  the t origins, such as `user:0`, if they are known
    changed  bool[t]     tokens that another output has differently, if it is compared with one
    """

    ids: np.ndarray
    labels: np.ndarray
    groups: Sequence[tuple[str, int]]
    control: np.ndarray
    padding: np.ndarray
    weights: np.ndarray | None = None
    origins: Sequence[str] | None = None
    changed: np.ndarray | None = field(default=None)

    @property
    def trained(self) -> np.ndarray:
        """Which tokens are trained, bool[t]."""
        return np.asarray(self.labels != IGNORE_INDEX)

    @property
    def differs(self) -> np.ndarray:
        """Which tokens are trained as something else than they are, bool[t]."""
        return np.asarray(self.trained & (self.labels != self.ids))


def tokens_of(
    texts: TokenTexts,
    ids: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray | None = None,
    padding: np.ndarray | None = None,
) -> Tokens:
    """Return t tokens that are given as arrays; without `padding`, equal control tokens at an end are."""
    control = texts.count_special(ids)
    found = Tokens(ids, labels, texts.groups(ids.tolist()), control, np.zeros(len(ids), bool), weights)
    return replace(found, padding=_padding(found) if padding is None else padding)


def _padding(tokens: Tokens) -> np.ndarray:
    """Return the longer runs of one control token at both ends, bool[t]."""
    found = np.zeros(len(tokens.ids), dtype=bool)
    for at_end in (False, True):
        order = slice(None, None, -1 if at_end else 1)
        ids, control = tokens.ids[order], tokens.control[order]
        if not len(ids) or not control[0]:
            continue
        others = np.flatnonzero(ids != ids[0])
        length = int(others[0]) if len(others) else len(ids)
        if length >= PADDING_RUN:
            kept = int(at_end and length < len(ids) and tokens.trained[len(ids) - length])
            found[order][: length - kept] = True  # a trained end of the answer may be the pad token
    return found


def aligned(ids: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, int]:
    """Return labels at the place of their token, and by how many places they were shifted: 1 if the label of
    a token is the next token, -1 if it is the one before, else 0.

    >>> labels, shift = aligned(np.array([5, 6, 7]), np.array([6, 7, -100]))
    >>> labels.tolist(), shift
    ([-100, 6, 7], 1)
    """
    trained = labels != IGNORE_INDEX
    if not trained.any() or (labels == ids)[trained].mean() >= 0.5:
        return labels, 0
    for shift in (1, -1):
        ends = np.arange(len(ids)) == (0 if shift == 1 else len(ids) - 1)
        moved = labels_of_mask(np.roll(labels, shift), ~ends)
        at = moved != IGNORE_INDEX
        if at.any() and (moved == ids)[at].mean() > 0.9:
            return moved, shift
    return labels, 0
