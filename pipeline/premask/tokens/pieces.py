"""Texts in pieces, cut at seams, so that completions have the ids of inference.

A seam is where a completion starts or ends. At inference, the ids of the prompt are fixed before the model
writes its first token. In the ids of the whole text, a token may straddle a seam: then inference shows the
model other ids, and the first token of the completion is lost. Such texts are cut at these seams, and each
piece is encoded alone:

    text         assistant\\n | \\nHello<|im_end|>          the bar is the seam
    whole text   [assistant] [\\n\\n] [Hello] [<|im_end|>]
    in pieces    [assistant] [\\n] [\\n] [Hello] [<|im_end|>]

A text in which no token straddles a seam has the ids of the whole text.

Cost: finding the seams takes about 0.1 us each. Texts that are cut are encoded twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from ..core.arrays import offsets_of
from ..core.records import MaskedTexts, Tokens


def straddled_seams(masked: MaskedTexts, tokens: Tokens, swallowing: np.ndarray) -> np.ndarray:
    """Return which segments begin at a seam that a token straddles, bool[s].

    `swallowing` are the ids of tokens that take the blanks behind them; such a token also straddles a seam if
    it takes blanks behind the seam.
    """
    found, t = np.zeros(len(masked.seams), dtype=bool), len(tokens.ids)
    at = np.flatnonzero(masked.seams)
    if not t or not len(at):
        return found
    byte = (np.cumsum(masked.sizes) - masked.sizes)[at]
    token = np.searchsorted(tokens.ends, byte, side="right")
    behind = np.where(token < t, tokens.starts[np.minimum(token, t - 1)], byte + 1)
    found[at] = behind < byte
    if len(swallowing):
        taken = (token > 0) & (behind > byte) & np.isin(tokens.ids[token - 1], swallowing)
        found[at] |= taken & (text_of_segments(masked, at - 1) == text_of_segments(masked, at))
    return found


def text_of_segments(masked: MaskedTexts, segments: np.ndarray) -> np.ndarray:
    """Return the text of each of these segments, int64."""
    return np.searchsorted(masked.offsets, segments, side="right") - 1


def pieces_of(masked: MaskedTexts, cuts: np.ndarray) -> MaskedTexts:
    """Return the pieces of texts, in order; `cuts` are the segments that begin a piece, bool[s], besides the
    first of each text."""
    begins = cuts.copy()
    begins[masked.offsets[:-1]] = True
    first = np.flatnonzero(begins)
    of_text = text_of_segments(masked, first)
    sizes = np.add.reduceat(masked.sizes, first)
    texts: list[str] = []
    for text, own in zip(masked.texts, np.split(sizes, np.flatnonzero(np.diff(of_text)) + 1), strict=True):
        data = text.encode()
        texts += [data[low:high].decode() for low, high in pairwise(offsets_of(own).tolist())]
    return replace(
        masked,
        texts=texts,
        rows=masked.rows[of_text],
        proofs=masked.proofs[of_text],
        offsets=np.append(first, len(cuts)),
    )


def of_whole_texts(tokens: Tokens, pieces: MaskedTexts, masked: MaskedTexts) -> Tokens:
    """Return the tokens of pieces as those of the texts that they were cut from."""
    return tokens._replace(offsets=tokens.offsets[np.searchsorted(pieces.offsets, masked.offsets)])


def with_others(tokens: Tokens, masked: MaskedTexts, chosen: np.ndarray, others: Tokens) -> Tokens:
    """Return the tokens of all texts; those of the texts `chosen`, ascending, are `others`."""
    is_chosen = np.zeros(len(masked.texts), dtype=bool)
    is_chosen[chosen] = True
    old, counts = np.diff(tokens.offsets), np.diff(tokens.offsets)
    counts[chosen] = np.diff(others.offsets)
    begin = offsets_of(np.diff(offsets_of(masked.sizes)[masked.offsets]))
    moved = begin[chosen] - offsets_of(np.diff(begin)[chosen])[:-1]  # bytes were counted over `chosen` alone
    new, kept = np.repeat(is_chosen, counts), np.repeat(~is_chosen, old)
    shift = np.repeat(moved, counts[chosen])
    merged = []
    for mine, theirs in (
        (tokens.ids, others.ids),
        (tokens.starts, others.starts + shift),
        (tokens.ends, others.ends + shift),
    ):
        values = np.empty(len(new), dtype=mine.dtype)
        values[new], values[~new] = theirs, mine[kept]
        merged.append(values)
    return Tokens(merged[0], offsets_of(counts), merged[1], merged[2])


# ==== Tokenizers that treat the start of a text specially ====


def within_a_text(spec: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the normalizer and pre-tokenizer for a text that goes on: without a space put before its start,
    and without stripping it. None if the tokenizer does neither.

    >>> within_a_text({"normalizer": {"type": "Prepend", "prepend": "\u2581"}, "pre_tokenizer": None})
    {'normalizer': None, 'pre_tokenizer': None}
    """
    parts = {name: spec.get(name) for name in ("normalizer", "pre_tokenizer")}
    changed = {name: _without_start(part) for name, part in parts.items()}
    return changed if changed != parts else None


def _without_start(part: Any) -> Any:
    """Return a part of a tokenizer that does nothing to the start of a text; None if nothing is left."""
    if isinstance(part, list):
        return [each for each in map(_without_start, part) if each is not None]
    if not isinstance(part, dict):
        return part
    options = _WITHIN.get(part.get("type", ""), {})
    if options is None:
        return None
    changed = {name: options.get(name, value) for name, value in part.items()}
    for name in ("normalizers", "pretokenizers"):
        if name in changed:
            changed[name] = _without_start(changed[name])
    return changed


_WITHIN: dict[str, dict[str, Any] | None] = {
    "Prepend": None,
    "Metaspace": {"prepend_scheme": "never", "add_prefix_space": False},
    "ByteLevel": {"add_prefix_space": False},
    "Strip": {"strip_left": False},
}
"""Options of parts that act on the start of a text; None if that is all they do."""
