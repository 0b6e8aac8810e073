"""The engine check: whether the fast engine gives the ids of a tokenizer, and for which texts.

    proof = prove_engine(backend, EngineChoice.auto)
    proof.engine, proof.reason                            ("tokenizers", "the added token 'cat' is ...")

There are three checks. Each can refuse the fast engine:

    kind        Only models, normalizers and pre-tokenizers that `gigatoken` 0.10 handles correctly are
                accepted. Bytes and added tokens that it does not handle are excluded (`engine_kinds.py`).
    characters  A probe tokenizer shows where both engines cut a text next to each character. Their versions
                of Unicode differ, so characters that they class differently are excluded one by one. So are
                characters that this Python does not know, except in the basic plane and emoji, which are
                tried.
    texts       Thousands of unusual texts must give the same ids, twice. If a non-ASCII character or an added
                token causes a difference, it is excluded. Any other difference refuses the engine.

No number of probes proves everything. So a run also encodes a share of its rows again with the reference
engine (`verify`).

Cost: about 0.7 CPU seconds, and the time to load the tokenizer into the fast engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import tokenizers

from ..core.errors import TokenizerError, first_line
from ..core.recipe import EngineChoice
from . import probe_texts as probes
from .engine_kinds import Excluded, Kind, Refused
from .engines import (
    Engine,
    EngineProof,
    GigatokenEngine,
    Ids,
    MakeEngine,
    Ranges,
    TokenizersEngine,
    complement,
    merged,
    without,
)


def prove_engine(
    backend: tokenizers.Tokenizer, wish: EngineChoice, *, make: MakeEngine = GigatokenEngine
) -> EngineProof:
    """Check whether `gigatoken` gives the ids of this tokenizer, and for which texts.

    If it does not, the proof has the reason with `auto`; with `gigatoken`, it raises `TokenizerError`.
    """
    if wish is EngineChoice.tokenizers:
        return EngineProof(TokenizersEngine.name, "the recipe has engine: tokenizers")
    try:
        found = _prove(backend, make)
        return EngineProof(GigatokenEngine.name, excluded=found.characters, strings=found.strings)
    except (KeyboardInterrupt, SystemExit):
        raise
    except Refused as refused:
        reason = str(refused)
    except ImportError as error:
        reason = f"gigatoken cannot be imported: {_said(error)}"
    except BaseException as error:  # noqa: BLE001  a panic of Rust is no Exception
        reason = f"trying gigatoken failed: {_said(error)}"
    if wish is EngineChoice.gigatoken:
        raise TokenizerError(
            f"engine gigatoken cannot be used: {reason}; set engine: auto or engine: tokenizers"
        )
    return EngineProof(TokenizersEngine.name, reason)


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {first_line(error, 200)}"


def _prove(backend: tokenizers.Tokenizer, make: MakeEngine) -> Excluded:
    """Compare the engines; return what they do differently or what was not tried.

    Raises `Refused` if the fast engine must not be used.
    """
    kind = Kind(backend)
    kind.check()
    excluded = kind.odd()
    both = _Both(make(backend.to_str()), TokenizersEngine(backend), kind)
    runs, texts = probes.character_runs(), probes.mixed_texts()
    if kind.byte_level:  # regexes and normal forms depend on classes of characters; byte fallback does not
        excluded = excluded.with_others(_differing_in_cuts(kind, make, runs, texts))
    ends = dict.fromkeys(code for run, _ in runs for code in (run[0], run[-1]))
    texts += probes.in_groups(map(probes.beside_others, ends), 16)
    texts += probes.texts_of_tokens([token.content for token in kind.added])
    texts += probes.texts_of_pieces(_pieces(backend))
    return both.pinned(texts, excluded)


def _differing_in_cuts(kind: Kind, make: MakeEngine, runs: Sequence[Any], texts: Sequence[str]) -> Ranges:
    """Return the characters beside which the engines may cut a text differently, by a probe tokenizer."""
    probe = probes.boundary_tokenizer(kind.normalizer, kind.pre_tokenizer)
    cuts = _Both(make(probe), TokenizersEngine(tokenizers.Tokenizer.from_str(probe)))
    context = probes.beside_marks if kind.normalizes else probes.beside_others
    found = merged([*_never_tried(runs), *cuts.differing_characters(runs, context)])
    short = [text for text in texts if len(text) < 1000]
    more = probes.compositions() if kind.normalizes else []
    return cuts.pinned([*probes.ascii_pairs(), *short, *more], Excluded(found)).characters


def _never_tried(runs: Iterable[tuple[range, Any]]) -> Ranges:
    """Return all characters that are in no run."""
    return complement(merged([(0, 0x7F), *((run[0], run[-1]) for run, _ in runs)]))


def _pieces(backend: tokenizers.Tokenizer) -> list[str]:
    """Return frequent and rare tokens of the vocabulary as text."""
    size = backend.get_vocab_size(with_added_tokens=False)
    ids = [*probes.scattered(range(min(size, 20_000)), 1500), *probes.scattered(range(size), 1500)]
    texts = backend.decode_batch([[index] for index in ids], skip_special_tokens=False)
    return [text for text in dict.fromkeys(texts) if text and len(text) < 64 and "\ufffd" not in text]


# ==== Comparison ====

_MOST_CHARACTERS = 8192  # characters that may differ; a new version of Unicode adds up to about 5,000
_MOST_TRIED = 1 << 16  # characters in runs of which some differ
_MOST_PINNED = 32  # characters that may be found one by one in other texts
_SHORT = 8  # characters of the longest text in which one of them is taken as the cause


class _Both:
    """The fast engine and the reference engine."""

    def __init__(self, fast: Engine, reference: Engine, kind: Kind | None = None) -> None:
        self._fast, self._reference, self._kind = fast, reference, kind
        self._added = {token.content: token for token in kind.added} if kind else {}

    def differing_characters(
        self, runs: Iterable[tuple[range, Sequence[int]]], context: Callable[[int], str]
    ) -> Ranges:
        """Return the characters that the engines treat differently.

        Of long runs, only some characters are tried first. If one of them differs, the whole run is tried.
        Raises `Refused` if too many characters differ.
        """
        runs = list(runs)
        found = self._differing([code for _, some in runs for code in some], context)
        unsure = [run for run, some in runs if len(some) < len(run) and not found.isdisjoint(some)]
        more = sum(map(len, unsure))
        if more < _MOST_TRIED:
            found |= self._differing(list(chain.from_iterable(unsure)), context)
        if more >= _MOST_TRIED or len(found) > _MOST_CHARACTERS:
            raise Refused(
                f"it treats many characters differently from tokenizers, such as U+{min(found):04X}"
            )
        return merged((code, code) for code in found)

    def _differing(self, codes: Sequence[int], context: Callable[[int], str]) -> set[int]:
        texts, size = list(map(context, codes)), 64
        groups = self._unequal(probes.in_groups(texts, size))
        near = [at for group in groups for at in range(len(texts))[group * size : (group + 1) * size]]
        unequal = {near[at] for at in self._unequal([texts[at] for at in near])}
        others = probes.in_groups([texts[at] for at in near if at not in unequal], size)
        for at in self._unequal(others):
            raise Refused(
                f"it encodes {others[at][:60]!r} differently from tokenizers, but its parts equally"
            )
        return {codes[at] for at in unequal}

    def pinned(self, texts: Sequence[str], excluded: Excluded) -> Excluded:
        """Exclude characters and added tokens until the engines agree on all texts without them.

        Raises `Refused` if no single character or added token is the cause of a difference.
        """
        texts = _without(excluded, texts)
        expected = self._reference.encode(texts)
        unequal = [texts[at] for at in self._unequal(texts, expected)]
        for _ in range(_MOST_PINNED):
            if unequal:
                excluded = excluded.with_others(*self._culprit(unequal[0]))
                unequal = _without(excluded, unequal)
        again = [texts[at] for at in self._unequal(texts, expected)]  # its caches are warm now
        alone = [text for text in texts[:: len(texts) // 50 + 1] if self._unequal([text])]
        for text in _without(excluded, [*unequal, *again, *alone]):
            raise Refused(
                f"it encodes {text[:60]!r} differently from tokenizers, or not always to the same ids"
            )
        return excluded

    def _culprit(self, text: str) -> Excluded:
        """Return the character or added token that causes a difference.

        The text is shortened as long as it still differs. An added token in the rest is the cause if the rest
        does not differ without it. Else the highest character is likely the rarest, and unknown to one of the
        libraries.
        """
        steps = [len(text) >> shift for shift in range(1, len(text).bit_length())]
        for step in [*steps, 1]:
            for at in reversed(range(0, len(text), step)) if len(text) < 64 * step else ():
                shorter = text[:at] + text[at + step :]
                text = shorter if self._unequal([shorter]) else text
        token = max((each for each in self._added if each in text), key=len, default="")
        alone = self._kind and token and len(text) <= len(token) + _SHORT
        if self._kind and alone and not self._unequal([text.replace(token, "")]):
            return Excluded(strings=(self._kind.trace(self._added[token]),))
        code = ord(max(text, default=" "))
        if len(text) > _SHORT or code < 0x80:
            raise Refused(f"it encodes {text[:60]!r} differently from tokenizers")
        return Excluded(((code, code),))

    def _unequal(self, texts: Sequence[str], expected: Ids | None = None) -> list[int]:
        """Return the indices of the texts to which the engines give different ids."""
        ids, offsets = expected or self._reference.encode(texts)
        others, other_offsets = self._fast.encode(texts)
        if np.array_equal(other_offsets, offsets) and np.array_equal(others, ids):
            return []
        if len(other_offsets) != len(offsets):
            return list(range(len(texts)))
        spans = zip(np.split(ids, offsets[1:]), np.split(others, other_offsets[1:]), strict=True)
        return [at for at, (one, other) in enumerate(spans) if not np.array_equal(one, other)]


def _without(excluded: Excluded, texts: Iterable[str]) -> list[str]:
    """Return the texts without excluded characters and strings."""
    return list(filter(without(*excluded), texts))
