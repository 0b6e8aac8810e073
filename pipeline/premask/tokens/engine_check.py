"""The proof that the fast engine gives the ids of a tokenizer: which texts it may have, or why none.

    proof = prove_engine(backend, EngineChoice.auto)
    proof.engine, proof.reason                            ("tokenizers", "the added token 'cat' is ...")

Three looks, each of which can refuse:

    kind        only the models, normalizers, pre-tokenizers and added tokens that `gigatoken` 0.10 was seen
                to do right. It loads some others without a word, and then gives other ids.
    characters  a twin of the tokenizer shows where both cut a text beside each character. Those that they
                class differently (their versions of Unicode differ) are excluded one by one, and so are
                characters that this Python does not know, but for the basic plane and emoji, which are tried.
    texts       thousands of odd texts must give the same ids, token for token, twice. A difference that a
                character beyond ASCII is to blame for excludes it; any other refuses the engine.

No number of probes proves everything: a run also encodes some rows again with the reference (`verify`).
Takes some 0.7 CPU-seconds, and what it takes to load the tokenizer into the other engine.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, product
from typing import Any

import numpy as np
import tokenizers

from ..core.errors import TokenizerError, first_line
from ..core.recipe import EngineChoice
from . import probe_texts as probes
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

Spec = dict[str, Any]
"""A part of a tokenizer as it stands in tokenizer.json."""


class _Refused(Exception):  # noqa: N818  no error: the reference does the work
    """Why the fast engine is not used."""


def prove_engine(
    backend: tokenizers.Tokenizer, wish: EngineChoice, *, make: MakeEngine = GigatokenEngine
) -> EngineProof:
    """Find out whether `gigatoken` gives the ids of this tokenizer, and for which texts.

    Raises `TokenizerError` if it does not and the recipe wants no other; with `auto` the proof says why not.
    """
    if wish is EngineChoice.tokenizers:
        return EngineProof(TokenizersEngine.name, "the recipe says engine: tokenizers")
    try:
        return EngineProof(GigatokenEngine.name, excluded=_prove(backend, make))
    except (KeyboardInterrupt, SystemExit):
        raise
    except _Refused as refused:
        reason = str(refused)
    except ImportError as error:
        reason = f"gigatoken cannot be imported: {_said(error)}"
    except BaseException as error:  # noqa: BLE001  a panic of Rust is no Exception
        reason = f"trying gigatoken failed: {_said(error)}"
    if wish is EngineChoice.gigatoken:
        raise TokenizerError(
            f"engine gigatoken cannot be used: {reason}; say engine: auto or engine: tokenizers"
        )
    return EngineProof(TokenizersEngine.name, reason)


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {first_line(error, 200)}"


def _prove(backend: tokenizers.Tokenizer, make: MakeEngine) -> Ranges:
    """Compare the engines: the code points on which they differ or which were not tried.

    Raises `_Refused` if the engine is not to be used.
    """
    kind = _Kind(backend)
    kind.check()
    both = _Both(make(backend.to_str()), TokenizersEngine(backend))
    runs, texts = probes.character_runs(), probes.mixed_texts()
    excluded: Ranges = ()
    if kind.byte_level:  # regexes and normal forms know classes of characters; byte fallback does not
        twin = probes.boundary_twin(kind.normalizer, kind.pre_tokenizer)
        cuts = _Both(make(twin), TokenizersEngine(tokenizers.Tokenizer.from_str(twin)))
        context = probes.beside_marks if kind.normalizer else probes.beside_others
        excluded = merged([*_never_tried(runs), *cuts.differing_characters(runs, context)])
        short = [text for text in texts if len(text) < 1000]
        excluded = cuts.pinned([*short, *(probes.compositions() if kind.normalizer else [])], excluded)
    ends = dict.fromkeys(code for run, _ in runs for code in (run[0], run[-1]))
    texts += probes.in_groups(map(probes.beside_others, ends), 16)
    texts += probes.texts_of_tokens([token.content for token in kind.added])
    texts += probes.texts_of_pieces(_pieces(backend))
    return both.pinned(texts, excluded)


def _never_tried(runs: Iterable[tuple[range, Any]]) -> Ranges:
    """All characters that are in no run."""
    return complement(merged([(0, 0x7F), *((run[0], run[-1]) for run, _ in runs)]))


def _pieces(backend: tokenizers.Tokenizer) -> list[str]:
    """Some of the vocabulary as text, frequent and rare."""
    size = backend.get_vocab_size(with_added_tokens=False)
    ids = [*probes.scattered(range(min(size, 20_000)), 1500), *probes.scattered(range(size), 1500)]
    texts = backend.decode_batch([[index] for index in ids], skip_special_tokens=False)
    return [text for text in dict.fromkeys(texts) if text and len(text) < 64 and "\ufffd" not in text]


# ==== Kinds of tokenizers ====


class _Kind:
    """What a tokenizer is made of."""

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        self._backend = backend
        self.normalizer, self.pre_tokenizer = _spec(backend.normalizer), _spec(backend.pre_tokenizer)
        self.added = list(backend.get_added_tokens_decoder().values())

    def check(self) -> None:
        """Raise `_Refused` unless the fast engine is known to do tokenizers of this kind."""
        for reason in chain(self._about_model(), self._about_parts(), self._about_added_tokens()):
            raise _Refused(reason)

    @property
    def byte_level(self) -> bool:
        """Whether the vocabulary is one of bytes, not of characters with bytes to fall back on."""
        return not self._backend.model.byte_fallback

    def _about_model(self) -> Iterator[str]:
        model, options = self._backend.model, self._backend
        if not isinstance(model, tokenizers.models.BPE):
            yield f"the model is {type(model).__name__}, not BPE"
        elif model.dropout:
            yield "the model drops merges at random"
        elif model.continuing_subword_prefix or model.end_of_word_suffix:
            yield "the vocabulary marks where words begin or end"
        elif model.byte_fallback and model.ignore_merges:
            yield "the model ignores merges and falls back on bytes"
        elif model.byte_fallback and not all(map(self._has_byte, range(0xF5))):
            yield "the vocabulary lacks some of the bytes to fall back on"
        if options.truncation or options.padding or options.encode_special_tokens:
            yield "it truncates, pads, or encodes special tokens as text"

    def _has_byte(self, byte: int) -> bool:
        names = [f"<0x{byte:02X}>", *([chr(byte)] if byte < 0x80 else [])]  # Gemma has a tab, and no <0x09>
        return byte in (0xC0, 0xC1) or any(self._backend.token_to_id(name) is not None for name in names)

    def _about_parts(self) -> Iterator[str]:
        known = [{"type": "NFC"}] if self.byte_level else [_SPACES, _PREPEND]
        unknown = [part["type"] for part in _flat(self.normalizer, "normalizers") if part not in known]
        if unknown:
            yield f"the normalizer {unknown[0]} is none that it is known to do"
        cuts = _flat(self.pre_tokenizer, "pretokenizers")
        if not (_cuts_bytes(cuts) if self.byte_level else _cuts_spaces(cuts)):
            names = ", ".join(part["type"] for part in cuts) or "none"
            yield f"the pre-tokenizer ({names}) works in no way that it is known to do"

    def _about_added_tokens(self) -> Iterator[str]:
        for token in self.added:
            if token.single_word:
                yield f"the added token {token.content!r} counts only as a word of its own"
            if token.normalized and self.byte_level and self.normalizer:
                yield f"the added token {token.content!r} is looked for in normalized text"
        texts = [[each.content for each in self.added if each.normalized is which] for which in (True, False)]
        for one, other in product(*texts):  # which are looked for one kind after the other
            if _overlap(one, other) or _overlap(other, one):
                yield f"the added tokens {one!r} and {other!r} overlap, and only one is normalized"


_SPACES = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
_PREPEND = {"type": "Prepend", "prepend": "\u2581"}
_GEMMA = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}


def _cuts_bytes(cuts: Sequence[Spec]) -> bool:
    """Whether a text is cut by GPT-2's regex, or by others, and nothing is put before it."""
    *splits, last = cuts or [{"type": ""}]
    return (
        last["type"] == "ByteLevel"
        and not last["add_prefix_space"]
        and last["use_regex"] is not bool(splits)
        and all(each["type"] == "Split" and "Regex" in each["pattern"] for each in splits)
        and all(each["behavior"] == "Isolated" and not each["invert"] for each in splits)
    )


def _cuts_spaces(cuts: Sequence[Spec]) -> bool:
    """Whether a text is not cut at all, or only beside spaces as Metaspace and Gemma do it."""
    metaspace = [each["type"] == "Metaspace" and each["replacement"] == "\u2581" for each in cuts]
    return cuts in ([], [_GEMMA]) or metaspace == [True]


def _overlap(one: str, other: str) -> bool:
    """Whether a text can hold two strings so that they share characters, the first beginning first.

    >>> _overlap("<|a", "a|>"), _overlap("a|>", "<|a"), _overlap("<a>", "a")
    (True, False, True)
    """
    return other in one or any(one.endswith(other[:size]) for size in range(1, len(other)))


def _spec(part: Any) -> Spec | None:
    """A part of a tokenizer as its JSON."""
    return None if part is None else dict(json.loads(part.__getstate__()))


def _flat(part: Spec | None, inner: str) -> list[Spec]:
    """The parts of a sequence, or the one part."""
    if part is None:
        return []
    if part["type"] != "Sequence":
        return [part]
    return [each for child in part[inner] for each in _flat(child, inner)]


# ==== Comparison ====

_MOST_CHARACTERS = 8192  # may differ; a version of Unicode has up to 5,000 or so more than the one before
_MOST_TRIED = 1 << 16  # in runs of which some characters differ
_MOST_PINNED = 32  # may be found one by one in other texts
_SHORT = 8  # characters of a text that one of them can be blamed for


class _Both:
    """The fast engine beside the reference."""

    def __init__(self, fast: Engine, reference: Engine) -> None:
        self._fast, self._reference = fast, reference

    def differing_characters(
        self, runs: Iterable[tuple[range, Sequence[int]]], context: Callable[[int], str]
    ) -> Ranges:
        """The characters that the engines take differently. Runs of which only some are tried first are
        tried whole where one of these differs.

        Raises `_Refused` if there are too many.
        """
        runs = list(runs)
        found = self._differing([code for _, some in runs for code in some], context)
        unsure = [run for run, some in runs if len(some) < len(run) and not found.isdisjoint(some)]
        more = sum(map(len, unsure))
        if more < _MOST_TRIED:
            found |= self._differing(list(chain.from_iterable(unsure)), context)
        if more >= _MOST_TRIED or len(found) > _MOST_CHARACTERS:
            raise _Refused(f"it takes many characters otherwise than tokenizers, such as U+{min(found):04X}")
        return merged((code, code) for code in found)

    def _differing(self, codes: Sequence[int], context: Callable[[int], str]) -> set[int]:
        texts, size = list(map(context, codes)), 64
        groups = self._odd(probes.in_groups(texts, size))
        near = [at for group in groups for at in range(len(texts))[group * size : (group + 1) * size]]
        odd = {near[at] for at in self._odd([texts[at] for at in near])}
        others = probes.in_groups([texts[at] for at in near if at not in odd], size)
        for at in self._odd(others):
            raise _Refused(f"it encodes {others[at][:60]!r} otherwise than tokenizers, but not in parts")
        return {codes[at] for at in odd}

    def pinned(self, texts: Sequence[str], excluded: Ranges) -> Ranges:
        """Exclude characters until the engines agree on all texts that hold none of them.

        Raises `_Refused` where no single character is to blame.
        """
        texts = _without(excluded, texts)
        expected = self._reference.encode(texts)
        odd = [texts[at] for at in self._odd(texts, expected)]
        for _ in range(_MOST_PINNED):
            if odd:
                excluded = merged([*excluded, self._culprit(odd[0])])
                odd = _without(excluded, odd)
        again = [texts[at] for at in self._odd(texts, expected)]  # its caches are warm now
        alone = [text for text in texts[:: len(texts) // 50 + 1] if self._odd([text])]
        for text in _without(excluded, [*odd, *again, *alone]):
            raise _Refused(f"it encodes {text[:60]!r} otherwise than tokenizers, or not always alike")
        return excluded

    def _culprit(self, text: str) -> tuple[int, int]:
        """The character to exclude because of a text that differs: the highest of what is left when all is
        left out that need not be there. It is likely the rarest, and beyond what a library knows."""
        steps = [len(text) >> shift for shift in range(1, len(text).bit_length())]
        for step in [*steps, 1]:
            for at in reversed(range(0, len(text), step)) if len(text) < 64 * step else ():
                shorter = text[:at] + text[at + step :]
                text = shorter if self._odd([shorter]) else text
        code = ord(max(text, default=" "))
        if len(text) > _SHORT or code < 0x80:
            raise _Refused(f"it encodes {text[:60]!r} otherwise than tokenizers")
        return code, code

    def _odd(self, texts: Sequence[str], expected: Ids | None = None) -> list[int]:
        """Places of the texts to which the engines give different ids."""
        ids, offsets = expected or self._reference.encode(texts)
        others, places = self._fast.encode(texts)
        if np.array_equal(places, offsets) and np.array_equal(others, ids):
            return []
        if len(places) != len(offsets):
            return list(range(len(texts)))
        spans = zip(np.split(ids, offsets[1:]), np.split(others, places[1:]), strict=True)
        return [at for at, (one, other) in enumerate(spans) if not np.array_equal(one, other)]


def _without(excluded: Ranges, texts: Iterable[str]) -> list[str]:
    """The texts that hold none of the excluded characters."""
    return list(filter(without(excluded), texts))
