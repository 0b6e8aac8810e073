"""A tokenizer as the fast engine reads it: another form with the same ids.

    form = fast_form(tokenizer_json)
    form.json         what `gigatoken` loads
    form.pieces       cuts a text into pieces, which it encodes one by one; None if it takes whole texts

`gigatoken` refuses some tokenizers only for the form of their tokenizer.json:

    inverted   a regex that keeps what it matches and drops the rest (OpenAI's vocabularies). It drops
               nothing, because these regexes match every character. So it is written as one that isolates.
    numbers    numbers or digits are cut off before the regex of GPT-2 cuts the rest (SmolLM2, StarCoder 2,
               Command R). Texts are cut there before they are given to the engine.
    bytes      a byte-level vocabulary without some of the 256 bytes (SmolLM2). They get ids behind the
               vocabulary. No text that the fast engine gets contains such a byte.

That the ids stay the same is not taken for granted here: the engine check compares the engine, with this
form, to `tokenizers` with the original.

Cost: 0.1 CPU seconds, once per process.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import count, groupby
from typing import Any, NamedTuple

import msgspec

from .token_bytes import byte_names

Part = dict[str, Any]
"""A part of a tokenizer, as in tokenizer.json."""


Pieces = Callable[[str], list[str]]
"""Cuts a text; the pieces join to the text."""


class _Added(msgspec.Struct):
    id: int


class FastForm(NamedTuple):
    """What the fast engine loads, and the pieces of text that it gets."""

    json: bytes
    pieces: Pieces | None


def fast_form(tokenizer_json: str) -> FastForm:
    """Return the form of a tokenizer for the fast engine; most tokenizers stay as they are."""
    data = tokenizer_json.encode()
    top = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    model = msgspec.json.decode(top["model"], type=dict[str, msgspec.Raw])
    cuts = flat(msgspec.json.decode(top.get("pre_tokenizer", b"null")), "pretokenizers")
    rest = [_isolating(part) for part in cuts[cuts_numbers(cuts) :]]
    changed: dict[str, Any] = {}
    if rest != cuts:
        changed["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": rest} if rest[1:] else rest[0]
    if rest and rest[-1]["type"] == "ByteLevel" and "vocab" in model:
        vocabulary = msgspec.json.decode(model["vocab"], type=dict[str, int])
        lacking = lacking_bytes(vocabulary)
        added = msgspec.json.decode(top.get("added_tokens", b"[]"), type=list[_Added])
        if lacking:
            first = max([*vocabulary.values(), *(token.id for token in added)], default=-1) + 1
            more = dict(zip((byte_names()[byte] for byte in lacking), count(first), strict=False))
            changed["model"] = {**model, "vocab": vocabulary | more}
    if changed:
        data = msgspec.json.encode({**top, **changed})
    return FastForm(data, _pieces(cuts[: cuts_numbers(cuts)]))


def flat(part: Part | None, inner: str) -> list[Part]:
    """Return the parts of a sequence, or the single part.

    >>> flat({"type": "Sequence", "normalizers": [{"type": "NFC"}]}, "normalizers")
    [{'type': 'NFC'}]
    """
    if part is None:
        return []
    if part["type"] != "Sequence":
        return [part]
    return [each for child in part[inner] for each in flat(child, inner)]


# ==== Regexes ====


def _isolating(part: Part) -> Part:
    """Return a pre-tokenizer that isolates the matches of a regex, for one that keeps only these."""
    if part["type"] == "Split" and part["behavior"] == "Removed" and part["invert"]:
        return {**part, "behavior": "Isolated", "invert": False}
    return part


def cuts_numbers(cuts: list[Part]) -> int:
    """Return 1 if the first pre-tokenizer cuts off numbers and others follow, else 0."""
    return int(len(cuts) > 1 and cuts[0]["type"] == "Digits")


def _pieces(numbers: list[Part]) -> Pieces | None:
    if not numbers:
        return None
    repeat = "" if numbers[0]["individual_digits"] else "+"
    in_ascii = re.compile(f"[^0-9]+|[0-9]{repeat}").findall  # ten times faster
    others, found = _classes()
    anywhere = re.compile(f"[{others}]+|[{found}]{repeat}").findall
    return lambda text: (in_ascii if text.isascii() else anywhere)(text)


def is_number(character: str) -> bool:
    """Whether `Digits` cuts this character off: any number of Unicode, not only digits.

    >>> list(map(is_number, "1²x"))
    [True, True, False]
    """
    return unicodedata.category(character)[0] == "N"


@lru_cache(maxsize=1)
def _classes() -> tuple[str, str]:
    """Return all characters but numbers, and numbers, for a character class of a regex."""
    classes: dict[bool, str] = {False: "", True: ""}
    first = 0
    for number, run in groupby(map(is_number, map(chr, range(0x110000)))):
        size = sum(1 for _ in run)
        classes[number] += f"\\U{first:08x}-\\U{first + size - 1:08x}"
        first += size
    return classes[False], classes[True]


# ==== Bytes ====


def lacking_bytes(known: Iterable[str]) -> list[int]:
    """Return the bytes that have no token in a byte-level vocabulary.

    >>> lacking_bytes(set(byte_names()) - {"A"})
    [65]
    """
    tokens = frozenset(known)
    return [byte for byte, name in enumerate(byte_names()) if name not in tokens]
