"""Kinds of tokenizers: which the fast engine is known to handle, and which texts are odd for it.

    kind = Kind(backend)
    kind.check()          raises `Refused`, if the fast engine must not be used at all
    kind.odd()            the characters and strings whose texts use the reference engine

`gigatoken` loads some tokenizers without an error and gives other ids. What is listed here was tried. A part
of a tokenizer that matters to some texts only does not refuse the engine:

    bytes            a byte without a token: texts with its characters are odd
    whole words      an added token that matches only as a whole word: texts with its string
    normalized text  an added token that is searched for in text after NFC: texts with a part of its string
                     that no normal form can make or break
    overlaps         two added tokens that share characters, and are searched for one after the other: texts
                     with both in this way
    numbers          an added token with numbers, where numbers are cut off: texts with its string
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from itertools import chain, product
from typing import Any, NamedTuple

import tokenizers

from .engines import Ranges, merged
from .fast_forms import Part, cuts_numbers, flat, is_number, lacking_bytes
from .plain_parts import reason_to_watch


class Refused(Exception):  # noqa: N818  no error: the reference engine is used
    """The reason why the fast engine is not used."""


class Excluded(NamedTuple):
    """What sends a text to the reference engine: one of these characters, or one of these strings."""

    characters: Ranges = ()
    strings: tuple[str, ...] = ()

    def with_others(self, characters: Ranges = (), strings: Sequence[str] = ()) -> Excluded:
        """Return these and others. Strings that hold another one are left out.

        >>> Excluded(((5, 6),), ("cat",)).with_others(((7, 7),), ("a cat", "dog"))
        Excluded(characters=((5, 7),), strings=('cat', 'dog'))
        """
        found = dict.fromkeys([*self.strings, *strings])
        kept = [each for each in found if not any(other in each for other in found if other != each)]
        return Excluded(merged([*self.characters, *characters]), tuple(kept))


class Kind:
    """The parts of a tokenizer."""

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        self._backend = backend
        self.normalizer, self.pre_tokenizer = _spec(backend.normalizer), _spec(backend.pre_tokenizer)
        self.added = list(backend.get_added_tokens_decoder().values())
        self._normalizers = flat(self.normalizer, "normalizers")
        self._cuts = flat(self.pre_tokenizer, "pretokenizers")

    def check(self) -> None:
        """Raise `Refused` unless the fast engine is known to handle this kind of tokenizer."""
        for reason in chain(self._about_model(), self._about_parts()):
            raise Refused(reason)

    def odd(self) -> Excluded:
        """Return what the fast engine is not given. Raises `Refused` if that cannot be told from the text."""
        found = Excluded().with_others(*self._without_bytes())
        strings = [*map(self.trace, self._odd_tokens()), *self._overlaps()]
        normal = _MADE_ASCII if self.normalizes and self._odd_tokens() else ()
        return found.with_others(normal, strings)

    def trace(self, token: tokenizers.AddedToken) -> str:
        """Return a string that every text has in which this added token is found.

        A normal form can change other characters of the token, but it makes none of these ASCII characters
        (but for `_MADE_ASCII`), and puts nothing between them.
        """
        if not (token.normalized and self._normalizers):
            return str(token.content)
        parts = re.findall(r"[!-~]+", token.content)
        if not parts:
            raise Refused(f"the added token {token.content!r} is searched for in normalized text")
        return str(max(parts, key=len))

    @property
    def byte_level(self) -> bool:
        """Whether the vocabulary is byte-level, not one of characters with byte fallback."""
        return not self._backend.model.byte_fallback

    @property
    def normalizes(self) -> bool:
        """Whether the tokenizer brings text into a normal form."""
        return self.byte_level and bool(self._normalizers)

    # ==== what is refused ====

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
        if options.truncation or options.padding or options.encode_special_tokens:
            yield "it truncates, pads, or encodes special tokens as text"

    def _about_parts(self) -> Iterator[str]:
        if reason := reason_to_watch({"normalizer": self.normalizer, "pre_tokenizer": self.pre_tokenizer}):
            yield reason
        known = [{"type": "NFC"}] if self.byte_level else [_SPACES, _PREPEND]
        unknown = [part["type"] for part in self._normalizers if part not in known]
        if unknown:
            yield f"the normalizer {unknown[0]} is not supported"
        if not (_cuts_bytes(self._cuts) if self.byte_level else _cuts_spaces(self._cuts)):
            names = ", ".join(part["type"] for part in self._cuts) or "none"
            yield f"the pre-tokenizer ({names}) is not supported"

    # ==== what is odd ====

    def _without_bytes(self) -> tuple[Ranges, list[str]]:
        """Return the characters and the ASCII characters whose bytes have no token."""
        lacking = [byte for byte in self._lacking() if byte not in _NEVER]
        normal = range(0x20, 0x7F), range(0xC2, 0xF1)  # a normal form may make characters of these bytes
        hard = [range(0x80, 0xC0), *(normal if self.normalizes else ())]
        if any(byte in each for byte in lacking for each in hard):
            raise Refused("the vocabulary lacks some of the bytes")
        leads = [byte for byte in lacking if byte >= 0x80]
        return tuple(map(_led_by, leads)), [chr(byte) for byte in lacking if byte < 0x80]

    def _lacking(self) -> list[int]:
        if self.byte_level:
            known = map(chr, range(0x200))
            return lacking_bytes(name for name in known if self._backend.model.token_to_id(name) is not None)
        return [byte for byte in range(0x100) if not any(map(self._has, _fallback_names(byte)))]

    def _has(self, name: str) -> bool:
        return self._backend.token_to_id(name) is not None

    def _odd_tokens(self) -> list[tokenizers.AddedToken]:
        """Return the added tokens whose texts are odd."""
        numbers = self.byte_level and cuts_numbers(self._cuts)
        return [
            token
            for token in self.added
            if token.single_word
            or (token.normalized and self.normalizes)
            or (numbers and any(map(is_number, token.content)))
        ]

    def _overlaps(self) -> Iterator[str]:
        """Yield the strings in which two added tokens share characters, if the tokenizer searches for one
        kind after the other."""
        odd = {token.content for token in self._odd_tokens()}
        others = [token for token in self.added if token.content not in odd]
        texts = [[each.content for each in others if each.normalized is which] for which in (True, False)]
        for one, other in product(*texts):
            found = [*_overlaps(one, other), *_overlaps(other, one)]
            if found and self._normalizers and re.search("[ \u2581]", one + other):
                raise Refused(f"the added tokens {one!r} and {other!r} overlap, and only one is normalized")
            yield from found


_NEVER = (0xC0, 0xC1, *range(0xF5, 0x100))
"""Bytes that no text has."""
_MADE_ASCII = ((0x37E, 0x37E), (0x1FEF, 0x1FEF), (0x212A, 0x212A))
"""The characters that a normal form makes ASCII: Greek question mark, Greek varia, kelvin sign."""
_SPACES = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
_PREPEND = {"type": "Prepend", "prepend": "\u2581"}
_GEMMA = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
_ISOLATES = (
    ("Isolated", False),
    ("Removed", True),
)  # the latter drops what its regex does not match: nothing


def _cuts_bytes(cuts: Sequence[Part]) -> bool:
    """Whether a text is cut by the regex of GPT-2 or by others, without a prefix; numbers first, perhaps."""
    *splits, last = list(cuts[cuts_numbers(list(cuts)) :]) or [{"type": ""}]
    return (
        last["type"] == "ByteLevel"
        and not last["add_prefix_space"]
        and last["use_regex"] is not bool(splits)
        and all(each["type"] == "Split" and "Regex" in each["pattern"] for each in splits)
        and all((each["behavior"], each["invert"]) in _ISOLATES for each in splits)
    )


def _cuts_spaces(cuts: Sequence[Part]) -> bool:
    """Whether a text is not cut, or only at spaces, as Metaspace and Gemma do."""
    metaspace = [each["type"] == "Metaspace" and each["replacement"] == "\u2581" for each in cuts]
    return cuts in ([], [_GEMMA]) or metaspace == [True]


def _fallback_names(byte: int) -> list[str]:
    """Return the tokens that a byte may have; Gemma has a tab, and no `<0x09>`."""
    return [f"<0x{byte:02X}>", *([chr(byte)] if byte < 0x80 else [])]


def _led_by(byte: int) -> tuple[int, int]:
    """Return the first and last character whose UTF-8 begins with this byte.

    >>> [f"{code:X}" for code in (*_led_by(0xC3), *_led_by(0xE0), *_led_by(0xF1))]
    ['C0', 'FF', '800', 'FFF', '40000', '7FFFF']
    """
    if byte < 0xE0:
        return (byte & 0x1F) << 6, (byte & 0x1F) << 6 | 0x3F
    if byte < 0xF0:
        return max((byte & 0xF) << 12, 0x800), (byte & 0xF) << 12 | 0xFFF
    return max((byte & 7) << 18, 0x10000), min((byte & 7) << 18 | 0x3FFFF, 0x10FFFF)


def _overlaps(one: str, other: str) -> list[str]:
    """Return the strings in which `one` begins first and shares characters with `other`.

    >>> _overlaps("<|a|", "|a|>"), _overlaps("<a>", "a"), _overlaps("a|>", "<|a")
    (['<|a|a|>', '<|a|>'], ['<a>'], [])
    """
    joined = [one + other[size:] for size in range(1, len(other)) if one.endswith(other[:size])]
    return [*([one] if other in one else []), *joined]


def _spec(part: Any) -> Part | None:
    """Return a part of a tokenizer as JSON."""
    return None if part is None else dict(json.loads(part.__getstate__()))
