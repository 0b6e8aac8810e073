"""The engine check: whether the fast engine gives the ids of a tokenizer, and for which texts.

    proof = prove_engine(backend, EngineChoice.auto)
    proof.engine, proof.reason                            ("tokenizers", "the added token 'cat' is ...")

There are three checks. Each can refuse the fast engine:

    kind        Only models, normalizers, pre-tokenizers and added tokens that `gigatoken` 0.10 handles
                correctly are accepted. It loads some others without an error and gives other ids.
    characters  A probe tokenizer shows where both engines cut a text next to each character. Their versions
                of Unicode differ, so characters that they class differently are excluded one by one. So are
                characters that this Python does not know, except in the basic plane and emoji, which are
                tried.
    texts       Thousands of unusual texts must give the same ids, twice. If a non-ASCII character causes a
                difference, it is excluded. Any other difference refuses the engine.

No number of probes proves everything. So a run also encodes a share of its rows again with the reference
engine (`verify`).

Cost: about 0.7 CPU seconds, and the time to load the tokenizer into the fast engine.
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
"""A part of a tokenizer, as in tokenizer.json."""


class _Refused(Exception):  # noqa: N818  no error: the reference engine is used
    """The reason why the fast engine is not used."""


def prove_engine(
    backend: tokenizers.Tokenizer, wish: EngineChoice, *, make: MakeEngine = GigatokenEngine
) -> EngineProof:
    """Check whether `gigatoken` gives the ids of this tokenizer, and for which texts.

    If it does not, the proof has the reason with `auto`; with `gigatoken`, it raises `TokenizerError`.
    """
    if wish is EngineChoice.tokenizers:
        return EngineProof(TokenizersEngine.name, "the recipe has engine: tokenizers")
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
            f"engine gigatoken cannot be used: {reason}; set engine: auto or engine: tokenizers"
        )
    return EngineProof(TokenizersEngine.name, reason)


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {first_line(error, 200)}"


def _prove(backend: tokenizers.Tokenizer, make: MakeEngine) -> Ranges:
    """Compare the engines; return the code points on which they differ or that were not tried.

    Raises `_Refused` if the fast engine must not be used.
    """
    kind = _Kind(backend)
    kind.check()
    both = _Both(make(backend.to_str()), TokenizersEngine(backend))
    runs, texts = probes.character_runs(), probes.mixed_texts()
    excluded: Ranges = ()
    if kind.byte_level:  # regexes and normal forms depend on classes of characters; byte fallback does not
        probe = probes.boundary_tokenizer(kind.normalizer, kind.pre_tokenizer)
        cuts = _Both(make(probe), TokenizersEngine(tokenizers.Tokenizer.from_str(probe)))
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
    """Return all characters that are in no run."""
    return complement(merged([(0, 0x7F), *((run[0], run[-1]) for run, _ in runs)]))


def _pieces(backend: tokenizers.Tokenizer) -> list[str]:
    """Return frequent and rare tokens of the vocabulary as text."""
    size = backend.get_vocab_size(with_added_tokens=False)
    ids = [*probes.scattered(range(min(size, 20_000)), 1500), *probes.scattered(range(size), 1500)]
    texts = backend.decode_batch([[index] for index in ids], skip_special_tokens=False)
    return [text for text in dict.fromkeys(texts) if text and len(text) < 64 and "\ufffd" not in text]


# ==== Kinds of tokenizers ====


class _Kind:
    """The parts of a tokenizer."""

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        self._backend = backend
        self.normalizer, self.pre_tokenizer = _spec(backend.normalizer), _spec(backend.pre_tokenizer)
        self.added = list(backend.get_added_tokens_decoder().values())

    def check(self) -> None:
        """Raise `_Refused` unless the fast engine is known to handle this kind of tokenizer."""
        for reason in chain(self._about_model(), self._about_parts(), self._about_added_tokens()):
            raise _Refused(reason)

    @property
    def byte_level(self) -> bool:
        """Whether the vocabulary is byte-level, not one of characters with byte fallback."""
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
            yield "the vocabulary lacks some of the bytes for byte fallback"
        if options.truncation or options.padding or options.encode_special_tokens:
            yield "it truncates, pads, or encodes special tokens as text"

    def _has_byte(self, byte: int) -> bool:
        names = [f"<0x{byte:02X}>", *([chr(byte)] if byte < 0x80 else [])]  # Gemma has a tab, and no <0x09>
        return byte in (0xC0, 0xC1) or any(self._backend.token_to_id(name) is not None for name in names)

    def _about_parts(self) -> Iterator[str]:
        known = [{"type": "NFC"}] if self.byte_level else [_SPACES, _PREPEND]
        unknown = [part["type"] for part in _flat(self.normalizer, "normalizers") if part not in known]
        if unknown:
            yield f"the normalizer {unknown[0]} is not supported"
        cuts = _flat(self.pre_tokenizer, "pretokenizers")
        if not (_cuts_bytes(cuts) if self.byte_level else _cuts_spaces(cuts)):
            names = ", ".join(part["type"] for part in cuts) or "none"
            yield f"the pre-tokenizer ({names}) is not supported"

    def _about_added_tokens(self) -> Iterator[str]:
        for token in self.added:
            if token.single_word:
                yield f"the added token {token.content!r} matches only as a whole word"
            if token.normalized and self.byte_level and self.normalizer:
                yield f"the added token {token.content!r} is searched for in normalized text"
        texts = [[each.content for each in self.added if each.normalized is which] for which in (True, False)]
        for one, other in product(*texts):  # the tokenizer searches for one kind after the other
            if _overlap(one, other) or _overlap(other, one):
                yield f"the added tokens {one!r} and {other!r} overlap, and only one is normalized"


_SPACES = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
_PREPEND = {"type": "Prepend", "prepend": "\u2581"}
_GEMMA = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}


def _cuts_bytes(cuts: Sequence[Spec]) -> bool:
    """Whether a text is cut by the regex of GPT-2 or by others, without a prefix."""
    *splits, last = cuts or [{"type": ""}]
    return (
        last["type"] == "ByteLevel"
        and not last["add_prefix_space"]
        and last["use_regex"] is not bool(splits)
        and all(each["type"] == "Split" and "Regex" in each["pattern"] for each in splits)
        and all(each["behavior"] == "Isolated" and not each["invert"] for each in splits)
    )


def _cuts_spaces(cuts: Sequence[Spec]) -> bool:
    """Whether a text is not cut, or only at spaces, as Metaspace and Gemma do."""
    metaspace = [each["type"] == "Metaspace" and each["replacement"] == "\u2581" for each in cuts]
    return cuts in ([], [_GEMMA]) or metaspace == [True]


def _overlap(one: str, other: str) -> bool:
    """Whether a text can contain both strings so that they share characters, and `one` begins first.

    >>> _overlap("<|a", "a|>"), _overlap("a|>", "<|a"), _overlap("<a>", "a")
    (True, False, True)
    """
    return other in one or any(one.endswith(other[:size]) for size in range(1, len(other)))


def _spec(part: Any) -> Spec | None:
    """Return a part of a tokenizer as JSON."""
    return None if part is None else dict(json.loads(part.__getstate__()))


def _flat(part: Spec | None, inner: str) -> list[Spec]:
    """Return the parts of a sequence, or the single part."""
    if part is None:
        return []
    if part["type"] != "Sequence":
        return [part]
    return [each for child in part[inner] for each in _flat(child, inner)]


# ==== Comparison ====

_MOST_CHARACTERS = 8192  # characters that may differ; a new version of Unicode adds up to about 5,000
_MOST_TRIED = 1 << 16  # characters in runs of which some differ
_MOST_PINNED = 32  # characters that may be found one by one in other texts
_SHORT = 8  # characters of the longest text in which one of them is taken as the cause


class _Both:
    """The fast engine and the reference engine."""

    def __init__(self, fast: Engine, reference: Engine) -> None:
        self._fast, self._reference = fast, reference

    def differing_characters(
        self, runs: Iterable[tuple[range, Sequence[int]]], context: Callable[[int], str]
    ) -> Ranges:
        """Return the characters that the engines treat differently.

        Of long runs, only some characters are tried first. If one of them differs, the whole run is tried.
        Raises `_Refused` if too many characters differ.
        """
        runs = list(runs)
        found = self._differing([code for _, some in runs for code in some], context)
        unsure = [run for run, some in runs if len(some) < len(run) and not found.isdisjoint(some)]
        more = sum(map(len, unsure))
        if more < _MOST_TRIED:
            found |= self._differing(list(chain.from_iterable(unsure)), context)
        if more >= _MOST_TRIED or len(found) > _MOST_CHARACTERS:
            raise _Refused(
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
            raise _Refused(
                f"it encodes {others[at][:60]!r} differently from tokenizers, but its parts equally"
            )
        return {codes[at] for at in unequal}

    def pinned(self, texts: Sequence[str], excluded: Ranges) -> Ranges:
        """Exclude characters until the engines agree on all texts without them.

        Raises `_Refused` if no single character is the cause of a difference.
        """
        texts = _without(excluded, texts)
        expected = self._reference.encode(texts)
        unequal = [texts[at] for at in self._unequal(texts, expected)]
        for _ in range(_MOST_PINNED):
            if unequal:
                excluded = merged([*excluded, self._culprit(unequal[0])])
                unequal = _without(excluded, unequal)
        again = [texts[at] for at in self._unequal(texts, expected)]  # its caches are warm now
        alone = [text for text in texts[:: len(texts) // 50 + 1] if self._unequal([text])]
        for text in _without(excluded, [*unequal, *again, *alone]):
            raise _Refused(
                f"it encodes {text[:60]!r} differently from tokenizers, or not always to the same ids"
            )
        return excluded

    def _culprit(self, text: str) -> tuple[int, int]:
        """Return the character that causes a difference, as a range.

        The text is shortened as long as it still differs. The highest character of the rest is likely the
        rarest, and unknown to one of the libraries.
        """
        steps = [len(text) >> shift for shift in range(1, len(text).bit_length())]
        for step in [*steps, 1]:
            for at in reversed(range(0, len(text), step)) if len(text) < 64 * step else ():
                shorter = text[:at] + text[at + step :]
                text = shorter if self._unequal([shorter]) else text
        code = ord(max(text, default=" "))
        if len(text) > _SHORT or code < 0x80:
            raise _Refused(f"it encodes {text[:60]!r} differently from tokenizers")
        return code, code

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


def _without(excluded: Ranges, texts: Iterable[str]) -> list[str]:
    """Return the texts without excluded characters."""
    return list(filter(without(excluded), texts))
