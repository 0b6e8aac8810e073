"""Engines: texts in, ids out. One is the reference engine, the other is faster.

    proof = prove_engine(backend, EngineChoice.auto)      # engine_check.py, once per run; workers get it
    engines = TwoEngines(backend, proof)
    ids, offsets, slow = engines.encode(texts)            # `slow` texts used the reference engine
    ids, offsets = engines.reference(texts[:3])           # to compare with

The reference engine is `tokenizers`. Its ids are right by definition. `gigatoken` takes about 35 times less
CPU time, but does not support every kind of tokenizer, and its Unicode tables have another version. So it is
only used for tokenizers that passed the engine check, and for texts without the characters that the check
excludes. All other texts use the reference engine, and so do all texts if the fast engine fails. The engine
does not change the output.

Cost: encoding takes about 1 us a token with `tokenizers` and 0.03 us with `gigatoken`. Checking the
characters of a text takes 3 ns each if the text is not ASCII.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, compress
from typing import Any, Protocol

import numpy as np
import tokenizers

from ..core.arrays import offsets_of
from .fast_forms import fast_form
from .flat_ids import flat_ids

Ids = tuple[np.ndarray, np.ndarray]
"""Ids of n texts, int32[t], and offsets, int64[n + 1]: text i has `ids[offsets[i]:offsets[i + 1]]`."""

Ranges = tuple[tuple[int, int], ...]
"""Code points as ordered ranges, first and last."""

EMOJI = range(0x1F000, 0x1FC00)
"""The emoji blocks; every version of Unicode adds some emoji."""


class Engine(Protocol):
    """Turns texts into ids, without special tokens around them."""

    name: str

    def encode(self, texts: Sequence[str]) -> Ids:
        """Return the ids of all texts, flat."""


class TokenizersEngine:
    """The reference engine: the tokenizer as it was loaded.

    >>> backend = tokenizers.Tokenizer(tokenizers.models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")]))
    >>> TokenizersEngine(backend).encode(["abb", "", "a"])
    (array([2, 1, 0], dtype=int32), array([0, 2, 2, 3]))
    """

    name = "tokenizers"

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        self._backend = backend

    def encode(self, texts: Sequence[str]) -> Ids:
        """Return the ids of all texts, flat."""
        lists = [each.ids for each in self._backend.encode_batch_fast(list(texts), add_special_tokens=False)]
        offsets = offsets_of([len(ids) for ids in lists])
        return np.fromiter(chain.from_iterable(lists), dtype=np.int32, count=int(offsets[-1])), offsets


class GigatokenEngine:
    """gigatoken, loaded from a tokenizer as JSON; imported here only, because it may not be installed."""

    name = "gigatoken"

    def __init__(self, tokenizer_json: str) -> None:
        gigatoken: Any = importlib.import_module("gigatoken")
        form = fast_form(tokenizer_json)
        self._tokenizer, self._pieces = gigatoken.Tokenizer.from_json(form.json), form.pieces

    def encode(self, texts: Sequence[str]) -> Ids:
        """Return the ids of all texts, flat: the arrays of the library, not copied."""
        if self._pieces is None:
            return flat_ids(self._tokenizer, texts)
        pieces = list(map(self._pieces, texts))
        ids, offsets = flat_ids(self._tokenizer, list(chain.from_iterable(pieces)))
        return ids, offsets[offsets_of(list(map(len, pieces)))]


MakeEngine = Callable[[str], Engine]
"""Makes an engine from a tokenizer as JSON."""


# ==== Two engines at work ====


@dataclass(frozen=True)
class EngineProof:
    """The result of the engine check.

    engine    the engine to use
    reason    why it is the reference engine; empty if it is not
    excluded  code points whose texts always use the reference engine
    strings   strings whose texts always use the reference engine
    """

    engine: str
    reason: str = ""
    excluded: Ranges = ()
    strings: tuple[str, ...] = ()

    @property
    def fast(self) -> bool:
        """Whether a fast engine is used."""
        return self.engine != TokenizersEngine.name


class TwoEngines:
    """The fast engine for the texts it is proved for, and the reference engine for all others.

    `tokenizer_json` is the backend as JSON, if the caller has it. Cost: loading the fast engine takes about
    0.5 CPU seconds, once per process.
    """

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        proof: EngineProof,
        *,
        make: MakeEngine = GigatokenEngine,
        tokenizer_json: str | None = None,
    ) -> None:
        self.proof = proof
        self._reference = TokenizersEngine(backend)
        self.tokenizer_json: str = backend.to_str() if tokenizer_json is None else tokenizer_json
        self._fast = make(self.tokenizer_json) if proof.fast else None
        allowed = without(proof.excluded, proof.strings)
        self.accepts: Callable[[str], bool] = allowed if proof.fast else lambda _: False
        """Whether the fast engine may encode a text."""

    def encode(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, int]:
        """Return the ids of all texts, int32[t]; their offsets, int64[n + 1]; and the number of texts that
        the reference engine encoded."""
        accepted = np.fromiter(map(self.accepts, texts), dtype=bool, count=len(texts))
        done = self._encode_fast(list(compress(texts, accepted)))
        if done is None:
            return (*self.reference(texts), len(texts))
        if accepted.all():
            return (*done, 0)
        others = self.reference(list(compress(texts, ~accepted)))
        return (*_interleaved(accepted, done, others), int((~accepted).sum()))

    def reference(self, texts: Sequence[str]) -> Ids:
        """Return the ids and offsets of all texts by the reference engine."""
        return self._reference.encode(texts)

    def _encode_fast(self, texts: Sequence[str]) -> Ids | None:
        if self._fast is None or not texts:
            return None
        try:
            return self._fast.encode(texts)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001  a panic of Rust is no Exception; the reference engine follows
            return None


def _interleaved(first: np.ndarray, ones: Ids, others: Ids) -> Ids:
    """Merge the ids of two sets of texts in the original order; `first` is True for texts of `ones`.

    >>> one, two = np.array([1], np.int32), np.array([2, 2], np.int32)
    >>> _interleaved(np.array([False, True]), (one, np.array([0, 1])), (two, np.array([0, 2])))
    (array([2, 2, 1], dtype=int32), array([0, 2, 3]))
    """
    sizes = np.zeros(len(first), dtype=np.int64)
    sizes[first], sizes[~first] = np.diff(ones[1]), np.diff(others[1])
    of_ones = np.repeat(first, sizes)
    ids = np.empty(len(of_ones), dtype=np.int32)
    ids[of_ones], ids[~of_ones] = ones[0], others[0]
    return ids, offsets_of(sizes)


# ==== What is excluded ====


def without(excluded: Ranges, strings: Sequence[str] = ()) -> Callable[[str], bool]:
    """Return a test whether a text has none of these characters, and none of these strings.

    >>> allowed = without(((0xE9, 0xE9),), ("<a>",))
    >>> allowed("a"), allowed("caf\u00e9"), allowed("<a>")
    (True, False, False)
    """
    others = _without_characters(excluded)
    ascii_too = bool(excluded) and excluded[0][0] < 0x80
    allowed = others if ascii_too or not excluded else lambda text: text.isascii() or others(text)
    if not strings:
        return allowed
    found = _any_of(strings)
    return lambda text: not found(text) and allowed(text)


def _any_of(strings: Sequence[str]) -> Callable[[str], object]:
    """Return a test whether a text has any of these strings; the search for one takes 0.1 ns a character."""
    if len(strings) > _FEW:
        return re.compile("|".join(map(re.escape, strings))).search
    return lambda text: any(string in text for string in strings)


_FEW = 24  # strings that are searched for one by one


def _without_characters(excluded: Ranges) -> Callable[[str], bool]:
    """Return a test whether a text has none of these characters.

    Matching all other characters takes half the time of a search for these. The basic plane is a bitmap.
    Ranges of other planes are tried in turn: emoji first, then the largest.
    """
    if not excluded:
        return lambda _: True
    planes = merged([*excluded, (0x10000, 0x10FFFF)]), merged([*excluded, (0, 0xFFFF)])
    basic, further = map(complement, planes)
    often_first = sorted(further, key=lambda each: (each[1] not in EMOJI, each[0] - each[1]))
    others = "".join(f"\\U{first:08x}-\\U{last:08x}" for first, last in (*basic, *often_first))
    match = re.compile(f"[{others}]*" if others else "").fullmatch
    return lambda text: match(text) is not None


def merged(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Return ranges in order; adjacent ones are merged.

    >>> merged([(7, 8), (1, 2), (3, 3)])
    ((1, 3), (7, 8))
    """
    found: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(last, found[-1][1])
        else:
            found.append((first, last))
    return tuple(found)


def complement(ranges: Ranges) -> Ranges:
    """Return all other code points.

    >>> complement(((0, 96), (98, 0x10FFFE)))
    ((97, 97), (1114111, 1114111))
    """
    edges = [0, *chain.from_iterable((first, last + 1) for first, last in ranges), 0x110000]
    return tuple((a, b - 1) for a, b in zip(edges[::2], edges[1::2], strict=True) if a < b)
