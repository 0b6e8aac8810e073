"""Engines: texts in, ids out. One is the reference, another may be faster.

    proof = prove_engine(backend, EngineChoice.auto)      (engine_proof.py) once a run, handed to workers
    engines = TwoEngines(backend, proof)
    ids, offsets, slow = engines.encode(texts)            so many texts went to the reference
    ids, offsets = engines.reference(texts[:3])           to compare with

The reference is `tokenizers`: what it says is right. `gigatoken` takes some 35 times less CPU, but does not
do every kind of tokenizer, and its Unicode tables are of another version. So it gets only tokenizers it was
proved for, and of their texts those without the characters that the proof excludes. All others, and all if
it fails, go to the reference. Which engine does the work changes no byte of what is written.

Encoding costs about 1 microsecond a token with `tokenizers` and 0.03 with `gigatoken`; looking at the
characters of a text nothing if it is ASCII, else about 3 nanoseconds a character.
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

Ids = tuple[np.ndarray, np.ndarray]
"""Ids of some texts, int32[t], and offsets, int64[n + 1]: text i has `ids[offsets[i]:offsets[i + 1]]`."""

Ranges = tuple[tuple[int, int], ...]
"""Code points as ranges in order, first and last."""

EMOJI = range(0x1F000, 0x1FC00)
"""The blocks of emoji; every version of Unicode adds some."""


class Engine(Protocol):
    """Turns texts into ids, without special tokens around them."""

    name: str

    def encode(self, texts: Sequence[str]) -> Ids:
        """The ids of all texts, flat."""


class TokenizersEngine:
    """The reference: the tokenizer as it was loaded.

    >>> backend = tokenizers.Tokenizer(tokenizers.models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")]))
    >>> TokenizersEngine(backend).encode(["abb", "", "a"])
    (array([2, 1, 0], dtype=int32), array([0, 2, 2, 3]))
    """

    name = "tokenizers"

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        self._backend = backend

    def encode(self, texts: Sequence[str]) -> Ids:
        """The ids of all texts, flat."""
        lists = [each.ids for each in self._backend.encode_batch_fast(list(texts), add_special_tokens=False)]
        offsets = offsets_of([len(ids) for ids in lists])
        return np.fromiter(chain.from_iterable(lists), dtype=np.int32, count=int(offsets[-1])), offsets


class GigatokenEngine:
    """gigatoken, loaded from a tokenizer as JSON; imported only here, because it may not be installed."""

    name = "gigatoken"

    def __init__(self, tokenizer_json: str) -> None:
        gigatoken: Any = importlib.import_module("gigatoken")
        self._tokenizer = gigatoken.Tokenizer.from_json(tokenizer_json.encode())

    def encode(self, texts: Sequence[str]) -> Ids:
        """The ids of all texts, flat: the arrays that the library made, not copied."""
        layout = self._tokenizer.encode_batch(list(texts), parallel=False).layout
        offsets = np.asarray(layout.offsets.data).astype(np.int64, copy=False)
        ids = np.asarray(layout.content.data)[offsets[0] : offsets[-1]]
        return ids.view(np.int32) if ids.dtype == np.uint32 else ids.astype(np.int32), offsets - offsets[0]


MakeEngine = Callable[[str], Engine]
"""From a tokenizer as JSON."""


# ==== Two engines at work ====


@dataclass(frozen=True)
class EngineProof:
    """The `engine` to use and, if that is the reference, the `reason`.

    Texts that hold any of the `excluded` code points are for the reference in any case.
    """

    engine: str
    reason: str = ""
    excluded: Ranges = ()

    @property
    def fast(self) -> bool:
        """Whether there is an engine beside the reference."""
        return self.engine != TokenizersEngine.name


class TwoEngines:
    """The proved engine for the texts it is proved for, the reference for all others.

    Loading the proved engine takes some 0.5 CPU-seconds, once a process. `tokenizer_json` is the backend as
    JSON, where it is at hand.
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
        self._holds_none_of_the_excluded = without(proof.excluded)

    def accepts(self, text: str) -> bool:
        """Whether the fast engine may encode this text."""
        return self._fast is not None and (text.isascii() or self._holds_none_of_the_excluded(text))

    def encode(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, int]:
        """The ids of all texts, int32[t]; their offsets, int64[n + 1]; how many texts the reference took."""
        accepted = np.array([self.accepts(text) for text in texts], dtype=bool)
        done = self._encode_fast(list(compress(texts, accepted)))
        if done is None:
            return (*self.reference(texts), len(texts))
        if accepted.all():
            return (*done, 0)
        others = self.reference(list(compress(texts, ~accepted)))
        return (*_interleaved(accepted, done, others), int((~accepted).sum()))

    def reference(self, texts: Sequence[str]) -> Ids:
        """The ids of all texts as the reference has them, and their offsets."""
        return self._reference.encode(texts)

    def _encode_fast(self, texts: Sequence[str]) -> Ids | None:
        if self._fast is None or not texts:
            return None
        try:
            return self._fast.encode(texts)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001  a panic of Rust is no Exception; the reference takes over
            return None


def _interleaved(first: np.ndarray, ones: Ids, others: Ids) -> Ids:
    """Bring two sets of texts into order again; `first` tells of each text whether it is one of the `ones`.

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


# ==== Characters that are excluded ====


def without(excluded: Ranges) -> Callable[[str], bool]:
    """A test whether a text holds none of these characters.

    One match of all other characters takes half the time of a search for these. The basic plane is looked up
    in a bitmap; of other planes the ranges are tried one after the other: emoji first, then the largest.
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
    """Ranges in order, those that touch made one.

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
    """All other code points.

    >>> complement(((0, 96), (98, 0x10FFFE)))
    ((97, 97), (1114111, 1114111))
    """
    edges = [0, *chain.from_iterable((first, last + 1) for first, last in ranges), 0x110000]
    return tuple((a, b - 1) for a, b in zip(edges[::2], edges[1::2], strict=True) if a < b)
