"""Artificial spaces: some tokenizers put a space before a text, which its first token covers.

    space = artificial_space(spec, added)
    space.tokens(ids, offsets, texts)       the tokens that begin with a space that is not in the text

Llama 2 puts one before each stretch between control tokens, Mistral only before the text:

    <s>Hello</s>Bye     Llama 2: [<s>] [▁Hello] [</s>] [▁Bye]         Mistral: [<s>] [Hello] [</s>] [Bye]

So a token covers one byte less than it has characters. The sizes of all tokens of a text are compared to the
text later; a text where this is not so takes the offsets of the tokenizer.

Cost: 5 ns a token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tokenizers

from .fast_forms import flat

SPACE = "\u2581"
"""The character for a space in vocabularies of SentencePiece."""


_PREPEND = {"type": "Prepend", "prepend": SPACE}
_SPACES = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}


@dataclass(frozen=True)
class ArtificialSpace:
    """Where a tokenizer puts a space: before each stretch between the tokens `bounds`, or only before a text
    that begins with none of them, nor with a space."""

    bounds: np.ndarray
    before_stretches: bool

    def tokens(self, ids: np.ndarray, offsets: np.ndarray, texts: Sequence[str]) -> np.ndarray:
        """Return the indices of the tokens that begin with an artificial space.

        Text i has the tokens `ids[offsets[i]:offsets[i + 1]]`.
        """
        is_bound = np.isin(ids, self.bounds)
        filled = np.flatnonzero(np.diff(offsets))
        firsts = offsets[:-1][filled]
        if self.before_stretches:
            begins = np.append(False, is_bound[:-1])[: len(ids)]
            begins[firsts] = True
            return np.flatnonzero(begins & ~is_bound)
        spaced = np.array([texts[i].startswith((" ", SPACE)) for i in filled.tolist()], dtype=bool)
        return firsts[~(spaced | is_bound[firsts])]


def artificial_space(
    spec: Mapping[str, Any], added: Mapping[int, tokenizers.AddedToken]
) -> ArtificialSpace | None:
    """Return where a tokenizer puts spaces; None if it puts none, or in a way that is not known."""
    normalizers = flat(spec.get("normalizer"), "normalizers")
    cuts = flat(spec.get("pre_tokenizer"), "pretokenizers")
    if normalizers in ([_PREPEND], [_PREPEND, _SPACES]) and not cuts:
        # the normalizer runs before tokens are searched for in normalized text
        bounds = [index for index, token in added.items() if not token.normalized]
        return ArtificialSpace(np.array(bounds, dtype=np.int32), before_stretches=True)
    first = [each["type"] == "Metaspace" and each["prepend_scheme"] == "first" for each in cuts]
    if first == [True] and cuts[0]["replacement"] == SPACE and not normalizers:
        return ArtificialSpace(np.array(list(added), dtype=np.int32), before_stretches=False)
    return None
