"""Probe texts: the texts on which two engines are compared.

    mixed_texts()            blanks, digits, contractions, code, scripts, emoji, long runs, random mixtures
    texts_of_tokens(...)     each added token alone, joined to text, doubled, cut in the middle
    texts_of_pieces(...)     pieces of the vocabulary in random order, and overlapping themselves
    character_runs()         runs of characters of one Unicode category, and some of each
    boundary_tokenizer(...)  a tokenizer of the same kind whose ids show where it cuts a text

Why a probe tokenizer: ids show a cut of a regex only if a token of the vocabulary crosses it. So a real
vocabulary hides most characters that two libraries class differently. The probe tokenizer has a token for
each pair of bytes around a possible cut, so every cut is visible.

All texts are the same in every run (fixed seeds).

Cost: about 0.1 s.
"""

from __future__ import annotations

import json
import random
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, groupby
from typing import Any, TypeVar

from .engines import EMOJI
from .token_bytes import byte_names

SEED = 20250101


T = TypeVar("T")


BLANKS = (*" \t\n\r\x0b\x0c\x85\xa0\u2003\u2028\u3000\u200b", "\r\n")


DIGITS = ("1234567890" * 2, "٠١٢٣٤٥٦٧٨٩", "०१२३४५६७८९", "１２３４５６７８９", "²³¹⁴", "½⅓ⅷⅯ①㊿", "𝟏𝟚𝟛𝟮")


WORDS = (
    *("Hello", " world", "the", " The", "end.", "don't", "DON'T", "we'Ve", "it'ſ", "\u212a'S", "I’ll"),
    *("x==y", "if (a) {", "};", "\tfor i in range(10):\n\t\treturn -1", "#include <a.h>\r\n", "a_b.cD", "::"),
    *("https://example.org/a?b=c&d=%20#e", "me@example.org", '{"a": [1, 2.5e-6, null]}', "\\frac{1}{2}", "$"),
    *("...", "…", "—", "!!", "?!\n", "**b**", "- ", "\n\n", "  \n", " \t ", "\r\n\r\n", "  ", "   "),
    *("0", "1", "42", "1000", "3.14", "1,234", "½", "٣", "²"),
    *("café", "cafe\u0301", "A\u030a\u0323", "\u0323\u0301", "\u212b", "ﬁ", "ǅ", "ſ", "İı", "ẞß"),
    *("\u1112\u1161\u11ab", "\u1112\u1161", "한글", "中文字", "，。", "ひらがなカタカナ", "𠮷", "ภาษาไทย"),
    *("العَرَبِيَّة", "עִבְרִית", "हिन्दी", "বাংলা", "தமிழ்", "Здравствуй", "Ελλάς", "𝕬𝖇"),
    *("🙂", "👩\u200d👩\u200d👧\u200d👦", "👍🏽", "🏴\u200d☠\ufe0f", "🇳🇴", "❤\ufe0f", "🫨", "1\ufe0f\u20e3"),
    *("\u2581", "\u2581\u2581a", "<s>", "</s>", "<unk>", "<0x0A>", "<0xE2>", "Ġ", "<|im_end|>", "<|", "|>"),
    *("\ufffd", "\0", "\x01\x1b[0m", "\x7f", "\u200d", "\u202e", "\u2060", "\ufeff"),
    *("\ue000", "\U000f0000", "\ufffe", "\u0378"),
)  # fmt: skip
"""The parts of random mixtures."""


LONG = ("a", "Z", "é", "中", "1", "=", " ", "\n", "\u3000", "ab", "🙂", "xyzw ", "e\u0301", "\u2581", "ช")


def mixed_texts() -> list[str]:
    """Return texts with everything that tokenizers are known to treat specially."""
    texts = ["", *WORDS]
    for blank in BLANKS:
        for count in (*range(1, 21), 33, 64, 130):
            texts += [blank * count, f"a{blank * count}b", f"1{blank * count}."]
        texts += [f"{blank}{other}a {other}{blank}" for other in BLANKS]
    texts += [digits[:count] for digits in DIGITS for count in range(1, len(digits) + 1)]
    texts += [f" {digits} x{digits}" for digits in DIGITS]
    texts += [piece * (5000 // len(piece.encode())) for piece in LONG]
    texts += [" ".join([piece] * 9) for piece in WORDS]
    unusual = "é\u3000 'ſ  12\r\n\t🙂 don't"
    texts += [
        "x" * count + unusual + "y" * (count % 7) + unusual for count in range(132)
    ]  # at all block offsets
    return texts + _mixtures(WORDS, 500, 12)


def texts_of_tokens(tokens: Sequence[str]) -> list[str]:
    """Return each added token alone, joined to letters, blanks and other tokens, doubled, and cut in the
    middle."""
    texts = []
    for token, other in zip(tokens, [*tokens[1:], *tokens[:1]], strict=True):
        half = len(token) // 2
        cut = f"{token[:half]} {token[half:]} {token[:half]}x {token[:half]}{other} {token[:half]}{token}"
        texts += [
            token,
            f" {token} ",
            f"a{token}b{token}1{token}{token}{other} {token}  {token}\n{token}\n{cut}",
        ]
    some = scattered(tokens, 24)
    texts += [f"a{blank * 2}{token}{blank * 2}{token}{blank}b" for token in some for blank in BLANKS]
    texts += [f"{token.upper()} {token.lower()} {token}\u0301 \u0301{token}\u0338" for token in some]
    return texts + (_mixtures([*some, *WORDS], 200, 8) if some else [])


def texts_of_pieces(pieces: Sequence[str]) -> list[str]:
    """Return pieces of the vocabulary in random order, joined directly and by blanks.

    Pieces that overlap themselves are included (`ana` as `anana`), because there the order of merges matters.
    """
    texts = [
        piece + piece[size:]
        for piece in pieces
        for size in range(1, len(piece))
        if piece.endswith(piece[:size])
    ]
    texts += _mixtures(pieces, 400, 8)
    return texts + [" ".join(pieces[at : at + 8]) for at in range(0, len(pieces), 8)]


def _mixtures(parts: Sequence[str], count: int, most: int) -> list[str]:
    rng = random.Random(SEED)  # noqa: S311  the same mixtures in every run
    return ["".join(rng.choices(parts, k=rng.randint(2, most))) for _ in range(count)] if parts else []


# ==== Characters ====


def character_runs() -> list[tuple[range, list[int]]]:
    """Return runs of non-ASCII characters of one category, and for each run the characters to try first.

    Another library may have a newer Unicode. So characters that this Python does not know are all tried in
    the basic plane and in the emoji blocks. In other planes they are in no run; nor are surrogates.
    """
    planes = (range(0x80, 0xD800), range(0xE000, 0x34000), range(0xE0000, 0xE1000))
    found = [(0xF0000, 0xFFFFD, "Co"), (0x100000, 0x10FFFD, "Co")]  # known in advance
    for plane in planes:
        for category, codes in groupby(plane, _category):
            first, *others = codes
            found.append((first, others[-1] if others else first, category))
    runs = [(range(first, last + 1), category) for first, last, category in sorted(found) if category]
    whole = ("Cn", "Mn", "Mc", "Me")  # libraries differ in unknown characters and marks
    return [(run, list(run) if category in whole else sample(run)) for run, category in runs]


def _category(code: int) -> str:
    """Return the Unicode category; empty for characters that are not tried."""
    category = unicodedata.category(chr(code))
    return category if category != "Cn" or code < 0x10000 or code in EMOJI else ""


def sample(run: range, most: int = 24) -> list[int]:
    """Return all of a short run; both ends and some between of a longer one.

    >>> sample(range(0x4E00, 0xA000))[:3], len(sample(range(0x4E00, 0xA000)))
    ([19968, 19969, 19970], 24)
    """
    return list(run) if len(run) <= most else [*run[:4], *scattered(run[4:-4], most - 8), *run[-4:]]


def scattered(items: Sequence[T], count: int) -> list[T]:
    """Return at most `count` of the items, at random, but always the same."""
    return random.Random(SEED).sample(items, min(count, len(items)))  # noqa: S311


def beside_others(code: int) -> str:
    """Return a character next to itself, letters, a digit and a blank.

    >>> beside_others(0xE9)
    'aéé1 éAéa'
    """
    character = chr(code)
    return f"a{character}{character}1 {character}A{character}a"


def beside_marks(code: int) -> str:
    """Return the same. A character that may be a mark or composed is also put between two marks: the last and
    the first in the canonical order."""
    character = chr(code)
    may_be_mark = unicodedata.category(character)[0] in "MC" or _is_composed(character)
    return beside_others(code) + (f"\u0345{character}\u0334" if may_be_mark else "")


def _is_composed(character: str) -> bool:
    """Whether it has a canonical decomposition, Hangul apart."""
    return unicodedata.decomposition(character)[:1] not in ("", "<")


def compositions() -> list[str]:
    """Return characters that Unicode composes: in parts, with a mark between them, and in another order."""
    codes = chain(range(0xC0, 0xAC00), range(0xF900, 0x20000), range(0x2F800, 0x2FA20))
    texts = []
    for character in map(chr, codes):
        if _is_composed(character):
            parts = unicodedata.normalize("NFD", character)
            texts.append(f"a{parts}b{parts[0]}\u0323{parts[:0:-1]} {character}\u0323\u0334")
    rng = random.Random(SEED)  # noqa: S311
    for _ in range(300):  # Hangul has rules instead of a table
        leading, vowel, trailing = (chr(start + rng.randrange(30)) for start in (0x1100, 0x1161, 0x11A7))
        texts += [leading + vowel + trailing + vowel, chr(0xAC00 + rng.randrange(11172)) + trailing]
    return texts


def ascii_pairs() -> list[str]:
    """Return texts with every pair of ASCII characters."""
    characters = list(map(chr, range(0x80)))
    return ["".join(f"{one}{other}" for other in characters) for one in characters]


def in_groups(texts: Iterable[str], size: int = 64) -> list[str]:
    """Join texts in groups of `size`: for short texts, most of the cost is the call."""
    parts = list(texts)
    return ["".join(parts[at : at + size]) for at in range(0, len(parts), size)]


# ==== The probe tokenizer ====


LEADS, FOLLOWERS = range(0xC2, 0xF5), range(0x80, 0xC0)
"""First and further bytes of characters in UTF-8."""


NEIGHBOURS = b"aA1s'! \n\r\t/,"


def boundary_tokenizer(normalizer: Mapping[str, Any] | None, pre_tokenizer: Mapping[str, Any] | None) -> str:
    """Return a byte-level tokenizer as JSON with this normalizer and pre-tokenizer. Its vocabulary is the 256
    bytes and some pairs."""
    pairs = [(last, beside) for last in FOLLOWERS for beside in NEIGHBOURS]
    pairs += [(beside, lead) for beside in NEIGHBOURS for lead in LEADS]
    pairs += [(last, lead) for last in FOLLOWERS for lead in LEADS]
    pairs += [(left, right) for left in NEIGHBOURS for right in NEIGHBOURS]
    names = byte_names()
    merges = [[names[left], names[right]] for left, right in pairs]
    vocabulary = {token: index for index, token in enumerate([*names, *map("".join, merges)])}
    return json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [],
            "normalizer": normalizer,
            "pre_tokenizer": pre_tokenizer,
            "post_processor": None,
            "decoder": None,
            "model": {"type": "BPE", "vocab": vocabulary, "merges": merges},
        }
    )
