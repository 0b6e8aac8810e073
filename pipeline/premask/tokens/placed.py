"""The tokens of single texts, each with what it covers: cut, joined, and put back among all texts.

placed = in_bytes(Placed(ids, starts, ends), text, 0)
replaced(tokens, masked, {3: placed})
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ..core.arrays import offsets_of
from ..core.records import MaskedTexts, Tokens
from .token_bytes import byte_offsets


class Placed(NamedTuple):
    """The tokens of one text, and the characters or bytes that each covers, first and one past the last."""

    ids: np.ndarray
    starts: np.ndarray
    ends: np.ndarray

    def cut(self, first: int, last: int) -> Placed:
        """Return tokens `first` to `last`."""
        return Placed(self.ids[first:last], self.starts[first:last], self.ends[first:last])

    def moved(self, by: int) -> Placed:
        """Return the same tokens further on."""
        return Placed(self.ids, self.starts + by, self.ends + by)


def join(parts: Sequence[Placed]) -> Placed:
    """Return the tokens of all parts."""
    if not parts:
        return Placed(np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0, np.int64))
    return Placed(*map(np.concatenate, zip(*parts, strict=True)))


def tokens_of(parts: Sequence[Placed]) -> Tokens:
    """Return the tokens of all texts; their bytes are counted over all texts."""
    joined = join(parts)
    return Tokens(joined.ids, offsets_of([len(part.ids) for part in parts]), joined.starts, joined.ends)


def in_bytes(placed: Placed, text: str, begin: int) -> Placed:
    """Return tokens of a text with the bytes they cover, counted from `begin`, given their characters.

    If a tokenizer reports tokens out of order, they are widened. So no token is counted as inside a
    completion that it may cross. Empty tokens are put after the token before them.
    """
    bytes_at = byte_offsets(text)
    starts, ends = bytes_at[placed.starts], bytes_at[placed.ends]
    empty = starts == ends
    ends = np.maximum.accumulate(np.where(empty, 0, ends))
    starts = np.minimum.accumulate(np.where(empty, ends, starts)[::-1])[::-1]
    return Placed(placed.ids, starts + begin, ends + begin)


_BLANK = re.compile(r"\s")


def extend(ends: np.ndarray, starts: np.ndarray, text: str) -> None:
    """Let tokens cover what normalizing took into them: accents that were composed with their last letter.

    The tokenizer reports no token for these characters. Changes `ends`.
    """
    behind = np.append(starts[1:], len(text))
    for at in np.flatnonzero((behind > ends) & (ends > starts)).tolist():
        blank = _BLANK.search(text, ends[at], behind[at])
        ends[at] = blank.start() if blank else behind[at]


def text_sizes(masked: MaskedTexts) -> np.ndarray:
    """Return the bytes of each text, int64[n]."""
    return np.diff(offsets_of(masked.sizes)[masked.offsets])


def apart(tokens: Tokens, masked: MaskedTexts) -> list[Placed]:
    """Return the tokens of each text, with its own bytes."""
    flat, base = Placed(tokens.ids, tokens.starts, tokens.ends), offsets_of(text_sizes(masked)).tolist()
    spans = zip(pairwise(tokens.offsets.tolist()), base, strict=False)
    return [flat.cut(first, last).moved(-begin) for (first, last), begin in spans]


def replaced(tokens: Tokens, masked: MaskedTexts, others: dict[int, Placed]) -> Tokens:
    """Return tokens of texts, with those of some texts replaced; the bytes of these are their own."""
    if not others:
        return tokens
    flat, base = Placed(tokens.ids, tokens.starts, tokens.ends), offsets_of(text_sizes(masked)).tolist()
    return tokens_of(
        [
            others[i].moved(base[i]) if i in others else flat.cut(first, last)
            for i, (first, last) in enumerate(pairwise(tokens.offsets.tolist()))
        ]
    )
