"""Artificial spaces: some tokenizers put a space before a text, which its first token covers.

    space = artificial_space(spec, added)
    space.tokens(ids, offsets, texts)       the tokens that begin with a space that is not in the text

The tokenizer.json of Llama 2 puts one before each stretch between control tokens. Its class in transformers
does so if the stretch begins with no space. Mistral does so before the text only:

    <s>Hello</s> Bye    the file: [<s>] [▁Hello] [</s>] [▁▁Bye]       always: [<s>] [▁Hello] [</s>] [▁Bye]
                        first:    [<s>] [Hello] [</s>] [▁Bye]

So a token covers one byte less than it has characters. The sizes of all tokens of a text are compared to the
text later; a text where they do not add up takes the offsets of the tokenizer.

Cost: 5 ns a token; with `always` 0.5 us more for each added token.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import numpy as np
import tokenizers

from .fast_forms import flat

SPACE = "\u2581"
"""The character for a space in vocabularies of SentencePiece."""
_SPACED = (" ", SPACE)
_PREPEND = {"type": "Prepend", "prepend": SPACE}
_SPACES = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}


class Before(Enum):
    """What an artificial space is put before."""

    stretch = auto()
    """each stretch between the added tokens `bounds`"""
    always = auto()
    """each of them that begins with no space"""
    first = auto()
    """a text that begins with no space and with none of `bounds`"""


@dataclass(frozen=True)
class ArtificialSpace:
    """Where a tokenizer puts a space; `bounds` are ids and strings of added tokens."""

    before: Before
    bounds: Mapping[int, str]

    def tokens(self, ids: np.ndarray, offsets: np.ndarray, texts: Sequence[str]) -> np.ndarray:
        """Return the indices of the tokens that begin with an artificial space, ascending.

        Text i has the tokens `ids[offsets[i]:offsets[i + 1]]`.
        """
        is_bound = np.isin(ids, list(self.bounds))
        filled = np.flatnonzero(np.diff(offsets))
        begins = np.zeros(len(ids), dtype=bool)
        if self.before is not Before.first:
            begins[1:] = is_bound[:-1]
        begins[offsets[:-1][filled]] = True
        at = np.flatnonzero(begins & ~is_bound)
        if self.before is Before.stretch:
            return at
        spaced = np.zeros(len(ids) + 1, dtype=bool)
        for text, low, high in zip(texts, offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
            spaced[low] = text.startswith(_SPACED)
            if self.before is Before.always:
                own = np.flatnonzero(is_bound[low:high]) + low
                spaced[own + 1] = list(self._spaced(text, ids[own].tolist()))
        return at[~spaced[at]]

    def _spaced(self, text: str, bounds: Sequence[int]) -> Iterator[bool]:
        """Yield whether a space is behind each of these added tokens, which a text has in this order."""
        end = 0
        for index in bounds:
            end = text.find(self.bounds[index], end) + len(self.bounds[index])
            yield text.startswith(_SPACED, end)


def artificial_space(
    spec: Mapping[str, Any], added: Mapping[int, tokenizers.AddedToken]
) -> ArtificialSpace | None:
    """Return where a tokenizer puts spaces; None if it puts none, or if that is not known."""
    normalizers = flat(spec.get("normalizer"), "normalizers")
    cuts = flat(spec.get("pre_tokenizer"), "pretokenizers")
    if normalizers in ([_PREPEND], [_PREPEND, _SPACES]) and not cuts:
        # the normalizer runs before tokens are searched for in normalized text
        bounds = {index: token.content for index, token in added.items() if not token.normalized}
        return ArtificialSpace(Before.stretch, bounds)
    if normalizers or len(cuts) != 1 or cuts[0]["type"] != "Metaspace" or cuts[0]["replacement"] != SPACE:
        return None
    bounds = {index: token.content for index, token in added.items()}
    if cuts[0]["prepend_scheme"] == "first":
        return ArtificialSpace(Before.first, bounds)
    strange = any(token.single_word or token.lstrip or token.rstrip for token in added.values())
    always = cuts[0]["prepend_scheme"] == "always" and not strange
    return ArtificialSpace(Before.always, bounds) if always else None
