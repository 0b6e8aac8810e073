"""Which tokenizers take time and memory in proportion to a text, and which have to be watched.

    check_size(backend, tokenizer_json, name)        # when it is loaded; raises TokenizerError
    reason = reason_to_watch(spec)                   # "it has the regex ...", or empty

A tokenizer.json may hold any regex, and some regexes take exponential time. It may hold replacements that
make a text thousands of times longer. Nothing in a process bounds that: the library does not return. So
texts are encoded in a watched process first (`watched_texts.py`), unless all parts are known to be plain:

    regexes        their alternatives are those of the tokenizers of chat models
    replacements   all together make a text at most `_MOST_GROWTH` times longer
    other parts    of a kind that looks at each character a bounded number of times

Cost: 20 us.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

import msgspec
import tokenizers

from ..core.errors import TokenizerError

Part = Mapping[str, Any]

# ==== Sizes, when a tokenizer is loaded ====

MOST_IDS = 1 << 24
MOST_ADDED = 100_000
_LONGEST_PIECE = 2048
_LONGEST_WORD = 1000


class _Model(msgspec.Struct):
    type: str
    vocab: Any = None
    dropout: float | None = None
    max_input_chars_per_word: int = 0


class _Spec(msgspec.Struct):
    model: _Model


def check_size(backend: tokenizers.Tokenizer, tokenizer_json: str, name: str) -> None:
    """Raise `TokenizerError` for a tokenizer with ids or tokens that no array or search can hold, or with a
    model that takes more and more time for each character."""
    for problem in _too_large(backend, msgspec.json.decode(tokenizer_json, type=_Spec).model):
        raise TokenizerError(f"tokenizer {name} cannot be used: {problem}; check its tokenizer.json")


def _too_large(backend: tokenizers.Tokenizer, model: _Model) -> Iterator[str]:
    added = backend.get_added_tokens_decoder()
    if len(added) > MOST_ADDED:
        yield f"it has {len(added):,} added tokens, more than {MOST_ADDED:,}"
    if any(not token.content for token in added.values()):
        yield "an added token is empty"
    highest = max(_ids(model.vocab, added), default=-1)
    if highest >= MOST_IDS:
        yield f"it has the id {highest:,}, more than {MOST_IDS:,}"
    if model.dropout:
        yield "its model drops merges at random (dropout), so ids are not repeatable"
    if model.type == "WordPiece" and model.max_input_chars_per_word > _LONGEST_WORD:
        yield f"max_input_chars_per_word is more than {_LONGEST_WORD}"
    if model.type in ("Unigram", "WordPiece") and _longest(model.vocab) > _LONGEST_PIECE:
        yield f"a piece of its vocabulary has more than {_LONGEST_PIECE:,} characters"


def _ids(vocabulary: Any, added: Mapping[int, object]) -> Iterator[int]:
    """Yield all ids of a vocabulary and of added tokens."""
    yield from added
    if isinstance(vocabulary, dict):
        yield from vocabulary.values()
    else:
        yield len(vocabulary or ()) - 1


def _longest(vocabulary: Any) -> int:
    pieces = vocabulary if isinstance(vocabulary, dict) else (piece for piece, _ in vocabulary or ())
    return max(map(len, pieces), default=0)


# ==== What has to be watched ====

_MOST_GROWTH = 64
_MOST_PARTS = 32
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_SHORT = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_NO_HAN = "&&[^\\p{Han}]]"
_KNOWN = {
    *(
        _SHORT,
        r"'(?i:[sdmt]|ll|ve|re)",
        "'s|'t|'re|'ve|'m|'ll|'d",
        "'s",
        "'t",
        "'re",
        "'ve",
        "'m",
        "'ll",
        "'d",
    ),
    *("(?:'s|'t|'re|'ve|'m|'ll|'d)", r"'(?:[sdmt]|ll|ve|re)"),
    *(r"\p{N}", r"\p{N}{1,3}", r"\p{N}{1,2}", r"\p{N}+", r" ?\p{N}+", "[0-9]", "[0-9]+", "[0-9][0-9][0-9]"),
    *(r"\d", r"\d{1,3}", r"\d+", r" ?\d+", r"[\p{N}]", r"\p{Nd}", r"\p{Nd}{1,3}", r"[0-9]{1,3}"),
    *(r" ?\p{L}+", r"[^\r\n\p{L}\p{N}]?\p{L}+", r"[^\r\n\p{L}\p{N}]?+\p{L}+", r"[\p{L}]+", r"\p{L}+"),
    *(r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+", r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+", r"[\p{Han}]+"),
    *(rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{end}" for end in ("", f"{_SHORT}?")),
    *(rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{end}" for end in ("", f"{_SHORT}?")),
    *(
        rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER[:-1]}{_NO_HAN}{one}{_LOWER[:-1]}{_NO_HAN}{other}{_SHORT}?"
        for one, other in ("*+", "+*")
    ),
    *(r" ?[^\s\p{L}\p{N}]+[\r\n]*", r" ?[^\s\p{L}\p{N}]++[\r\n]*", r" ?[^\s\p{L}\p{N}]+[\r\n/]*"),
    *(r" ?[^\s\p{L}\p{N}]+", r"[^\s\p{L}\p{N}]+", r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"),
    *(r" ?[\p{P}\p{S}]+[\r\n]*"),
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+",
    *("[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+", "[\u4e00-\u9fa5]+", "[\u4e00-\u9fff]+"),
    *(r"\s+(?!\S)", r"\s+", r"\s", r"\n", r"[\r\n]", r"[\n\r\t]", " {2,}"),
    *(r" ?[^(\s|[.,!?…。，、।۔،])]+", r"\s{2,}", " +", r"\s{2,}|[\n\r\t]", "▁+", r"[\r\n]+", ".", "^▁+$"),
    *("\\s?[A-Za-z\u00b5\u00c0-\u00d6]+", r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$", r"[^\n]+", r"\n+"),
}
"""Alternatives of regexes that look at each character a bounded number of times. `\\s+$` does not, for blanks
that another character follows; it is listed because DeepSeek has it, and blanks are cut off before."""
_ENDED_BY_BLANKS = {r"\s*[\r\n]+", r"\s*[\r\n]", r"\s*\n+", r"\s*[\r\n]+(?!\S)", r"\s*[\r\n]++"}
"""Alternatives that look ahead over blanks: plain if the last alternative takes all of these."""
_PLAIN_NORMALIZERS = {
    *("NFC", "NFD", "NFKC", "NFKD", "Nmt", "Lowercase", "Strip", "StripAccents", "BertNormalizer"),
    "ByteLevel",
}
_GROWTH_OF = {"NFKC": 18, "NFKD": 18, "NFD": 4, "NFC": 3, "Lowercase": 3, "ByteLevel": 2, "BertNormalizer": 4}
_PLAIN_CUTS = {
    *("ByteLevel", "Metaspace", "BertPreTokenizer", "Whitespace", "WhitespaceSplit", "Punctuation", "Digits"),
    *("UnicodeScripts", "CharDelimiterSplit"),
}


def reason_to_watch(spec: Mapping[str, Any]) -> str:
    """Return why texts have to be encoded in a watched process first; empty if that is not necessary.

    `spec` has the normalizer and the pre-tokenizer of a tokenizer.json.
    """
    normalizers = list(_flat(spec.get("normalizer"), "normalizers"))
    cuts = list(_flat(spec.get("pre_tokenizer"), "pretokenizers"))
    if len(normalizers) + len(cuts) > _MOST_PARTS:
        return f"it has more than {_MOST_PARTS} normalizers and pre-tokenizers"
    for part in (*normalizers, *cuts):
        regex = _regex_of(part)
        if regex is not None and not _is_known(regex):
            return f"it has the regex {regex[:60]!r}, whose time is not known to be bounded"
    unknown = [part["type"] for part in normalizers if not _is_plain_normalizer(part)]
    unknown += [part["type"] for part in cuts if part["type"] not in {*_PLAIN_CUTS, "Split"}]
    if unknown:
        return f"it has a part ({unknown[0]}) whose time is not known to be bounded"
    if (
        prod(map(_growth, [*normalizers, *(part for part in cuts if part["type"] == "ByteLevel")]))
        > _MOST_GROWTH
    ):
        return f"its normalizers can make a text more than {_MOST_GROWTH} times longer"
    return ""


def _flat(part: Part | None, inner: str) -> Iterator[Part]:
    """Yield the parts of sequences. The library that wrote `spec` bounds how deep they are."""
    waiting = [] if part is None else [part]
    while waiting:
        part = waiting.pop(0)
        if part["type"] == "Sequence":
            waiting = [*part[inner], *waiting]
        else:
            yield part


def _regex_of(part: Part) -> str | None:
    pattern = part.get("pattern")
    return pattern.get("Regex") if isinstance(pattern, dict) else None


def _is_known(regex: str) -> bool:
    """Whether all alternatives of a regex are known.

    >>> _is_known(r"\\p{N}{1,3}|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"), _is_known(r"\\s*[\\r\\n]+")
    (True, False)
    """
    regex = regex.replace("\r", r"\r").replace("\n", r"\n")
    if regex in _KNOWN:
        return True
    alternatives = _alternatives(regex)
    ahead = not _ENDED_BY_BLANKS.isdisjoint(alternatives)
    known = all(each in _KNOWN or each in _ENDED_BY_BLANKS or _is_single_pass(each) for each in alternatives)
    return known and (not ahead or alternatives[-1] == r"\s+")


_CHARACTER = r"\\[pP]\{\^?\w+\}|\\[sSdDwWrntf]|\\[^\w\s]|\[(?:[^\[\]\\]|\\.)+\]|[^\\\[\](){}*+?|^$]"
_ITEM = re.compile(
    rf"(?:(?P<one>{_CHARACTER})|\((?:\?i?:)?[\w' |]{{1,60}}\))(?P<times>[?*+]|\{{\d{{1,2}}(?:,\d{{0,2}})?\}})?[+]?"
)


def _is_single_pass(alternative: str) -> bool:
    """Whether an alternative looks at each character a bounded number of times: only one part of it takes any
    number of characters, and nothing has to follow.

    >>> _is_single_pass(r" ?[^\\s\\p{L}]+[\\r\\n]*"), _is_single_pass(r"\\w+$"), _is_single_pass("(a+)+")
    (True, False, False)
    """
    at, choices, is_open = 0, 0, False
    while at < len(alternative):
        item = _ITEM.match(alternative, at)
        times = "" if item is None else item["times"] or ""
        if (
            item is None
            or (is_open and times not in {"?", "*"})
            or (times not in {"", "?"} and not item["one"])
        ):
            return False
        choices += bool(times) and not times[1:-1].isdigit()
        is_open = is_open or times in {"*", "+"} or times.endswith(",}")
        at = item.end()
    return choices <= _MOST_CHOICES


_MOST_CHOICES = 4
"""Parts of an alternative that take one number of characters or another: each is tried with each."""


def _alternatives(regex: str) -> list[str]:
    """Return the alternatives of a regex on its first level.

    >>> _alternatives("(a|b)|[|]|c")
    ['(a|b)', '[|]', 'c']
    """
    found, depth, classes, at, begin = [], 0, 0, 0, 0
    while at < len(regex):
        char = regex[at]
        if char == "\\":
            at += 1
        elif char == "[":
            classes += 1
        elif char == "]" and classes:
            classes -= 1
        elif not classes and char in "()":
            depth += 1 if char == "(" else -1
        elif not classes and not depth and char == "|":
            found.append(regex[begin:at])
            begin = at + 1
        at += 1
    return [*found, regex[begin:]]


def _is_plain_normalizer(part: Part) -> bool:
    return part["type"] in {*_PLAIN_NORMALIZERS, "Prepend", "Replace", "Precompiled"}


def _growth(part: Part) -> float:
    """Return how many times longer a part can make a text, in bytes, roughly."""
    if part["type"] == "Prepend":
        return 1 + len(part["prepend"].encode())
    if part["type"] == "Replace":
        pattern = part["pattern"].get("String") or ""
        return max(1.0, len(part["content"].encode()) / max(1, len(pattern.encode())))
    if part["type"] == "Precompiled":
        return _longest_replacement(part["precompiled_charsmap"])
    return _GROWTH_OF.get(part["type"], 1)


def _longest_replacement(charsmap: str | None) -> float:
    """Return the size of the longest text that a precompiled map of characters writes for a character.

    The map is a trie, after its size, and the texts, each ended by a zero.
    """
    try:
        content = base64.b64decode(charsmap or "", validate=True)
        (size,) = struct.unpack_from("<I", content)
    except (binascii.Error, struct.error, ValueError):
        return _MOST_GROWTH + 1
    return max(map(len, content[4 + size :].split(b"\0")), default=0)
