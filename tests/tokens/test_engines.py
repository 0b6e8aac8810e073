"""The fast engine gives the ids of the reference, or it is not used.

What `gigatoken` is trusted with is tried here on texts that the proof has not seen; what it is known to get
wrong must be refused; and engines that lie in one way or another must be found out.
"""

from __future__ import annotations

import functools
import json
import pickle
import random
import re
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from premask.core.errors import TokenizerError
from premask.core.recipe import EngineChoice
from premask.tokens import engine_kinds
from premask.tokens import probe_texts as engine_probes
from premask.tokens.engine_check import prove_engine
from premask.tokens.engine_kinds import Excluded
from premask.tokens.engines import (
    EngineProof,
    GigatokenEngine,
    Ids,
    TokenizersEngine,
    TwoEngines,
    complement,
    merged,
    without,
)
from premask.tokens.tokenizer import LoadedTokenizer
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

Load = Callable[[str], LoadedTokenizer]

REAL = ("sample", "gemma", "gemma_chatml", "qwen3", "llama3_2")

make_once = functools.cache(GigatokenEngine)  # loading one takes up to a second


@pytest.fixture(scope="module", autouse=True)
def _engines_are_made_once() -> Iterator[None]:
    yield
    make_once.cache_clear()
    proved.cache_clear()


@functools.cache
def proved(backend: Tokenizer) -> TwoEngines:
    """The two engines of a tokenizer, if the fast one is proved for it."""
    proof = prove_engine(backend, EngineChoice.gigatoken, make=make_once)
    return TwoEngines(backend, proof, make=make_once)


def check(engines: TwoEngines, texts: Sequence[str]) -> int:
    """All ids are those of the tokenizer; returns how many texts took the reference."""
    ids, offsets, slow = engines.encode(texts)
    expected, places = engines.reference(texts)
    if not (np.array_equal(ids, expected) and np.array_equal(offsets, places)):
        for at, text in enumerate(texts):
            span, place = slice(*offsets[at : at + 2]), slice(*places[at : at + 2])
            assert ids[span].tolist() == expected[place].tolist(), repr(text)
    assert ids.dtype == np.int32
    assert offsets.dtype == np.int64
    assert len(offsets) == len(texts) + 1
    assert slow == sum(not engines.accepts(text) for text in texts)
    return slow


# ==== Real tokenizers ====


def strange_strings(count: int, seed: int, tokens: Sequence[str]) -> list[str]:
    """Random strings of neighbours in Unicode, marks, blanks, ASCII, added tokens and odd words."""
    rng = random.Random(seed)  # noqa: S311
    known = [code for code in range(0x20000) if unicodedata.category(chr(code)) not in ("Cs", "Cn", "Co")]
    marks = [code for code in known if unicodedata.category(chr(code)).startswith("M")]

    def neighbours() -> str:
        codes = (rng.choice(known) + rng.randint(-30, 30) for _ in range(3))
        return "".join(chr(code) for code in codes if code >= 0 and not 0xD800 <= code < 0xE000)

    kinds: list[Callable[[], str]] = [
        neighbours,
        lambda: "".join(map(chr, rng.choices(range(0x80, 0x3000), k=4))),
        lambda: "e" + "".join(map(chr, rng.choices(marks, k=rng.randint(1, 4)))),
        lambda: "".join(rng.choices(engine_probes.BLANKS, k=rng.randint(1, 6))),
        lambda: "".join(map(chr, rng.choices(range(0x20, 0x7F), k=rng.randint(1, 9)))),
        lambda: rng.choice(engine_probes.WORDS),
        lambda: rng.choice(tokens or [""]),
    ]
    return ["".join(rng.choice(kinds)() for _ in range(rng.randint(1, 7))) for _ in range(count)]


@pytest.mark.parametrize("name", REAL)
def test_real_tokenizers_are_proved(load: Load, name: str) -> None:
    proof = proved(load(name).backend).proof

    assert proof.fast
    assert proof.engine == "gigatoken"
    assert proof.reason == ""
    assert all(first >= 0x80 for first, _ in proof.excluded), "ASCII is never excluded"


@pytest.mark.parametrize("name", REAL)
def test_ids_of_strange_strings(load: Load, name: str) -> None:
    backend = load(name).backend
    texts = strange_strings(3000, seed=7, tokens=list(load(name).added))
    slow = check(proved(backend), texts)

    assert slow < len(texts) / 2


@pytest.mark.parametrize("name", REAL)
def test_ids_of_the_corpus(load: Load, name: str, shared: Path) -> None:
    texts = []
    for path in sorted((shared / "corpus" / "conversations").rglob("*.json*")):
        lines = path.read_text(encoding="utf-8", errors="ignore")[:60_000].splitlines()
        texts += [line[at : at + 3000] for line in lines[:20] for at in range(0, min(len(line), 9000), 3000)]
    some = texts[:: len(texts) // 600 + 1]

    assert len(some) > 200
    assert check(proved(load(name).backend), some) == 0


@pytest.mark.parametrize("name", REAL)
@given(data=st.data())
def test_ids_of_random_texts(load: Load, name: str, data: st.DataObject) -> None:
    piece = st.one_of(st.text(st.characters(exclude_categories=["Cs"])), st.sampled_from(engine_probes.WORDS))
    texts = data.draw(st.lists(st.lists(piece, max_size=6).map("".join), max_size=6))

    check(proved(load(name).backend), texts)


def test_what_is_excluded_is_rare(load: Load) -> None:
    """New letters and marks, and what this Python does not know; all that people write stays."""
    engines = proved(load("sample").backend)
    known = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) not in ("Cn", "Cs")]

    assert all(map(engines.accepts, map(chr, range(0x600))))
    assert all(map(engines.accepts, [*engine_probes.WORDS, "\U0001fae8 \U0001fa89", "𠮷𠀀", "𝒳"]))
    assert sum(not engines.accepts(character) for character in known) < 50


def test_both_know_marks_that_the_normalizer_of_tokenizers_does_not(load: Load) -> None:
    """Its tables for normal forms are those of Unicode 9, so newer marks stay where they are; `gigatoken`
    sorts them. Such texts are for the reference, if the tokenizer normalizes at all."""
    text = "a\u08d3\u0301"  # ARABIC SMALL LOW WAW, of Unicode 11

    assert proved(load("sample").backend).accepts(text)
    assert not proved(load("qwen3").backend).accepts(text)
    assert check(proved(load("qwen3").backend), [text, "a"]) == 1


# ==== Tokenizers of all kinds ====

CORPUS = [
    "Hello world, this is a small corpus. The cat's 12345 words! don't",
    "user assistant system\n\n  x == y  abab ababa\taaa bbb <|end|> cat cats",
    "\tif x:\n\t\treturn 42 # été ça 中文 日本 привет мир",
] * 4

QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA = QWEN.replace(r"\p{N}|", r"\p{N}{1,3}|")

CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+" + CONTRACTIONS + "|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*" + CONTRACTIONS + "|"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEKKEN = O200K.replace(CONTRACTIONS, "").replace(r"\p{N}{1,3}", r"\p{N}")
WORDS = (
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"
)
DEEPSEEK = (r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+", WORDS)

Make = Callable[[], Tokenizer]
Spec = dict[str, Any]


def split(regex: str = QWEN, behavior: str = "isolated", *, invert: bool = False, before: Any = ()) -> Any:
    parts = [*before, pre_tokenizers.Split(Regex(regex), behavior, invert=invert)]
    return pre_tokenizers.Sequence(
        [*parts, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )


def of_bytes(pre_tokenizer: Any = None, normalizer: Any = None, **options: Any) -> Tokenizer:
    """A byte-level vocabulary, trained on a few lines."""
    tokenizer = Tokenizer(models.BPE(**options))
    tokenizer.pre_tokenizer = pre_tokenizer or pre_tokenizers.ByteLevel(add_prefix_space=False)
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def of_letters(
    normalizer: Any = None, pre_tokenizer: Any = None, lacking: Sequence[int] = (), **options: Any
) -> Tokenizer:
    """A vocabulary like Llama 2's: letters and U+2581, every other byte a token of its own."""
    data = [f"<0x{byte:02X}>" for byte in range(256) if byte not in lacking]
    letters = ["\u2581", *"abcdefghijklmnopqrstuvwxyzHTI.,!'<>|", "\u00e9"]
    merges = [("\u2581", "t"), ("h", "e"), ("\u2581t", "he"), ("l", "l"), ("\u2581", "\u2581"), ("a", "b")]
    merges += [("ab", "ab"), ("b", "a"), ("a", "\u2581")]
    names = ["<unk>", *data, *letters, *map("".join, merges)]
    options = {"byte_fallback": True, "unk_token": "<unk>", "fuse_unk": True, **options}
    tokenizer = Tokenizer(models.BPE({name: i for i, name in enumerate(names)}, merges, **options))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    if pre_tokenizer is not None:
        tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return tokenizer


def spaces(*others: Any) -> Any:
    return normalizers.Sequence([*others, normalizers.Replace(" ", "\u2581")])


def llama_2() -> Tokenizer:
    return of_letters(spaces(normalizers.Prepend("\u2581")))


def metaspace(scheme: str, *, cut: bool) -> Tokenizer:
    return of_letters(pre_tokenizer=pre_tokenizers.Metaspace(prepend_scheme=scheme, split=cut))


def adding(make: Make, *tokens: AddedToken) -> Make:
    def made() -> Tokenizer:
        tokenizer = make()
        tokenizer.add_tokens(list(tokens))
        return tokenizer

    return made


def edited(make: Make, edit: Callable[[Spec], object]) -> Make:
    """A tokenizer whose JSON was changed."""

    def made() -> Tokenizer:
        spec = json.loads(make().to_str())
        edit(spec)
        return Tokenizer.from_str(json.dumps(spec))

    return made


def truncating() -> Tokenizer:
    tokenizer = of_bytes()
    tokenizer.enable_truncation(5)
    return tokenizer


def special_as_text() -> Tokenizer:
    tokenizer = of_bytes()
    tokenizer.encode_special_tokens = True
    return tokenizer


def of_python() -> Tokenizer:
    class Whole:
        def pre_tokenize(self, text: Any) -> None:
            """Leave it as it is."""

    tokenizer = of_bytes()
    tokenizer.pre_tokenizer = pre_tokenizers.PreTokenizer.custom(Whole())
    return tokenizer


def forget(spec: Spec, *names: str) -> None:
    """Take single tokens out of a vocabulary, with all that are merged from them."""
    model = spec["model"]
    model["vocab"] = {
        name: i for name, i in model["vocab"].items() if not any(each in name for each in names)
    }
    model["merges"] = [pair for pair in model["merges"] if "".join(pair) in model["vocab"]]


def no_end_of_word(spec: Spec) -> None:
    spec["model"]["end_of_word_suffix"] = "</w>"


byte_level = pre_tokenizers.ByteLevel

REFUSED: dict[str, tuple[Make, str]] = {
    "word_piece": (
        lambda: Tokenizer(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]")),
        "the model is WordPiece",
    ),
    "unigram": (lambda: Tokenizer(models.Unigram([("a", -1.0)])), "the model is Unigram, not BPE"),
    "word_level": (lambda: Tokenizer(models.WordLevel({"a": 0}, unk_token="a")), "the model is WordLevel"),
    "dropout": (lambda: of_bytes(dropout=0.5), "drops merges at random"),
    "end_of_word": (edited(of_bytes, no_end_of_word), "marks where words begin or end"),
    "truncating": (truncating, "it truncates, pads"),
    "special_as_text": (special_as_text, "encodes special tokens as text"),
    "of_python": (of_python, "trying gigatoken failed: Exception: .*Custom PreTokenizer"),
    "lowercase": (lambda: of_bytes(normalizer=normalizers.Lowercase()), "the normalizer Lowercase"),
    "nfkc": (lambda: of_bytes(normalizer=normalizers.NFKC()), "the normalizer NFKC"),
    "nfc_lowercase": (
        lambda: of_bytes(normalizer=normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])),
        "the normalizer Lowercase",
    ),
    "strip": (lambda: of_letters(spaces(normalizers.Strip())), "the normalizer Strip"),
    "letters_nfc": (lambda: of_letters(spaces(normalizers.NFC())), "the normalizer NFC"),
    "prefix_space": (lambda: of_bytes(byte_level(add_prefix_space=True)), r"pre-tokenizer \(ByteLevel\)"),
    "no_regex": (lambda: of_bytes(byte_level(add_prefix_space=False, use_regex=False)), r"\(ByteLevel\)"),
    "no_cuts": (edited(of_bytes, lambda spec: spec.update(pre_tokenizer=None)), r"pre-tokenizer \(none\)"),
    "removed": (lambda: of_bytes(split(behavior="removed")), r"\(Split, ByteLevel\)"),
    "inverted": (lambda: of_bytes(split(invert=True)), r"\(Split, ByteLevel\)"),
    "dropping": (  # such a regex must match everything; this one drops digits
        lambda: of_bytes(split(QWEN.replace(r"|\p{N}", ""), "removed", invert=True)),
        "trying gigatoken failed|differently from tokenizers",
    ),
    "bytes_of_letters": (lambda: of_letters(pre_tokenizer=byte_level()), r"pre-tokenizer \(ByteLevel\)"),
    "other_mark": (lambda: of_letters(pre_tokenizer=pre_tokenizers.Metaspace("_")), r"\(Metaspace\)"),
    "other_regex": (
        lambda: of_bytes(split(r"\w+|\s+|[^\w\s]+")),
        "trying gigatoken failed: RuntimeError: Unknown",
    ),
    "bytes_lacking": (lambda: of_letters(spaces(), lacking=range(0x80, 0x90)), "lacks some of the bytes"),
    "merges_ignored": (lambda: of_letters(spaces(), ignore_merges=True), "ignores merges and falls back"),
    "normalized": (
        adding(lambda: of_bytes(normalizer=normalizers.NFC()), AddedToken("éü", normalized=True)),
        "'éü' is searched for in normalized text",
    ),
    "overlapping": (
        adding(
            lambda: of_letters(spaces()),
            AddedToken("a b", normalized=True),
            AddedToken("b c", normalized=False),
        ),
        "overlap, and only one is normalized",
    ),
    "letter_lacking": (
        edited(lambda: of_bytes(normalizer=normalizers.NFC()), lambda spec: forget(spec, "K")),
        "lacks some of the bytes",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_gigatoken_gets_wrong_is_refused(kind: str) -> None:
    make, why = REFUSED[kind]
    proof = prove_engine(make(), EngineChoice.auto)

    assert not proof.fast
    assert proof.engine == "tokenizers"
    assert proof.excluded == ()
    assert re.search(why, proof.reason), proof.reason
    assert "\n" not in proof.reason


@pytest.mark.parametrize(
    "kind",
    [
        "dropout",
        "end_of_word",
        "no_regex",
        "no_cuts",
        "removed",
        "merges_ignored",
    ],
)
def test_probes_find_it_too(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kinds are known from trying; should one not be known, the texts tell."""
    monkeypatch.setattr(engine_kinds.Kind, "check", lambda _: None)
    proof = prove_engine(REFUSED[kind][0](), EngineChoice.auto)

    assert re.search("differently from tokenizers", proof.reason), proof


def digits(*others: Any, individual: bool = True) -> Any:
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=individual), *others])


def isolated(*regexes: str) -> Any:
    *first, last = [pre_tokenizers.Split(Regex(regex), "isolated") for regex in regexes]
    return pre_tokenizers.Sequence(
        [*first, last, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )


ALIKE: dict[str, Make] = {
    "gpt_2": of_bytes,
    "cl100k": lambda: of_bytes(split(LLAMA, "removed", invert=True)),
    "o200k": lambda: of_bytes(split(O200K, "removed", invert=True)),
    "o200k_isolated": lambda: of_bytes(split(O200K), ignore_merges=True),
    "tekken": lambda: of_bytes(split(TEKKEN), ignore_merges=True),
    "deepseek_v3": lambda: of_bytes(isolated(*DEEPSEEK), normalizers.Sequence([])),
    "smollm2": lambda: of_bytes(digits(byte_level(add_prefix_space=False))),
    "command_r": lambda: of_bytes(digits(byte_level(add_prefix_space=False)), normalizers.NFC()),
    "digits_together": lambda: of_bytes(digits(byte_level(add_prefix_space=False), individual=False)),
    "digits_first": lambda: of_bytes(split(before=[pre_tokenizers.Digits()])),
    "llama_3": lambda: of_bytes(split(LLAMA), ignore_merges=True),
    "qwen": lambda: of_bytes(split(QWEN), normalizers.NFC()),
    "llama_2": llama_2,
    "gemma": lambda: of_letters(spaces(), pre_tokenizers.Split(" ", "merged_with_previous")),
    "spaces": lambda: of_letters(spaces()),
    "first": lambda: metaspace("first", cut=False),
    "first_cut": lambda: metaspace("first", cut=True),
    "always": lambda: metaspace("always", cut=False),
    "always_cut": lambda: metaspace("always", cut=True),
    "never_cut": lambda: metaspace("never", cut=True),
}
"""Kinds that are known to be done right."""


@pytest.mark.parametrize("kind", ALIKE)
def test_what_gigatoken_gets_right_is_proved(kind: str) -> None:
    check(proved(ALIKE[kind]()), strange_strings(300, seed=1, tokens=["the", "abababa"]))


ODD: dict[str, tuple[Make, tuple[str, ...], list[str], list[str]]] = {
    "whole_word": (
        adding(of_bytes, AddedToken("cat", single_word=True)),
        ("cat",),
        ["cat", "a cat.", "cats", "concat"],
        ["cut", "ca t"],
    ),
    "normalized": (
        adding(lambda: of_bytes(normalizer=normalizers.NFC()), AddedToken("<|Ké|>", normalized=True)),
        ("<|K",),
        ["<|Ke\u0301|>", "<|Ké|>", "<|\u212ae\u0301|>"],
        ["<|k|>", "é|>"],
    ),
    "overlapping": (
        adding(of_bytes, AddedToken("<|u", normalized=True), AddedToken("<|u|>", normalized=False)),
        ("<|u|>",),
        ["<|u|>"],
        ["<|u", "<|u |>"],
    ),
    "overlapping_ends": (
        adding(of_bytes, AddedToken("<ab>", normalized=True), AddedToken("b>c", normalized=False)),
        ("<ab>c",),
        ["x<ab>c"],
        ["<ab>", "b>c", "<ab> b>c"],
    ),
    "numbers": (
        adding(lambda: of_bytes(digits(byte_level(add_prefix_space=False))), AddedToken("<|r1|>")),
        ("<|r1|>",),
        ["a <|r1|> 12"],
        ["<|r2|>", "r1"],
    ),
    "bytes": (
        edited(of_bytes, lambda spec: forget(spec, "\u0104", "\xf1", "\xc3")),
        ("\x04",),
        ["a\x04b", "\U00040000", "é"],
        ["\x05", "中", "ǅ"],
    ),
    "bytes_of_letters": (
        lambda: of_letters(spaces(), lacking=[0x04, 0xF1]),
        ("\x04",),
        ["a\x04b", "\U00040000"],
        ["\x05", "中"],
    ),
}
"""Tokenizers, the strings whose texts are odd for the fast engine, and texts that are odd and that are not."""


@pytest.mark.parametrize("kind", ODD)
def test_odd_bytes_and_tokens_are_for_the_reference(kind: str) -> None:
    """A text at a time, not the whole run."""
    make, strings, odd, others = ODD[kind]
    engines = proved(make())

    assert engines.proof.strings == strings
    assert not any(map(engines.accepts, odd))
    assert all(map(engines.accepts, others))
    assert check(engines, [*odd, *others]) == len(odd)
    check(engines, strange_strings(500, seed=3, tokens=[*odd, *others, *strings]))


def test_an_added_token_that_differs_is_excluded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not known to be odd is found in texts, and only the texts with this token are slower."""
    monkeypatch.setattr(engine_kinds.Kind, "odd", lambda _: Excluded())
    engines = proved(adding(of_bytes, AddedToken("cat", single_word=True), AddedToken("<|u|>"))())

    assert engines.proof.strings == ("cat",)
    assert check(engines, ["cats", "<|u|>", "cut"]) == 1


def test_which_characters_a_normal_form_makes_ascii() -> None:
    """The trace of a token in normalized text depends on it."""
    made = {
        code
        for code in range(0x80, 0x110000)
        if any(character.isascii() for character in unicodedata.normalize("NFC", chr(code)))
    }

    assert made == {0x37E, 0x1FEF, 0x212A}


@given(ends=st.lists(st.sampled_from("aAK<é\u0301\u0323\u0338\u212a\u1ea5 "), max_size=8).map("".join))
def test_a_trace_is_in_every_text_whose_normal_form_has_the_token(ends: str) -> None:
    normal = unicodedata.normalize("NFC", ends)
    for trace in ("a", "aA", "<a", "K"):
        if trace in normal and "\u212a" not in ends:
            assert trace in ends


@st.composite
def tokenizers_of_any_kind(draw: st.DrawFn) -> Tokenizer:
    """Some kind of tokenizer, merges or ids in another order perhaps, and some added tokens."""
    make = ALIKE[draw(st.sampled_from(sorted(ALIKE)))]
    shuffled = draw(st.sampled_from(["", "merges", "ids"]))
    tokenizer = edited(make, lambda spec: _shuffle(spec["model"], shuffled))()
    contents = [
        "<|u|>",
        "<|e|>",
        "<|u",
        "|><|",
        "cat",
        " the",
        "  ",
        "\n",
        "é",
        "<|é|>",
        "e\u0301",
        "a",
        "\u2581",
    ]
    flags = [draw(st.booleans()) for _ in range(3)]  # one kind of token more often than a mixture
    for content in draw(st.lists(st.sampled_from(contents), max_size=4, unique=True)):
        lstrip, rstrip, normalized = flags if draw(st.booleans()) else [draw(st.booleans()) for _ in flags]
        word = draw(st.integers(0, 9)) == 0
        token = AddedToken(content, single_word=word, lstrip=lstrip, rstrip=rstrip, normalized=normalized)
        tokenizer.add_tokens([token])
    return tokenizer


def _shuffle(model: Spec, what: str) -> None:
    rng = random.Random(3)  # noqa: S311
    if what == "merges":
        rng.shuffle(model["merges"])
    if what == "ids":
        names = [name for name in model["vocab"] if len(name) > 1 and name != "<unk>"]
        ids = [model["vocab"][name] for name in names]
        rng.shuffle(ids)
        model["vocab"].update(zip(names, ids, strict=True))


@settings(max_examples=16)
@given(tokenizer=tokenizers_of_any_kind(), seed=st.integers(0, 1000))
def test_never_proved_and_wrong(tokenizer: Tokenizer, seed: int) -> None:
    tokens = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
    texts = strange_strings(300, seed, [*tokens, "cat", "cats", "<|u|><|e|>", "|>", "E"])
    proof = prove_engine(tokenizer, EngineChoice.auto)

    assert proof.fast is not bool(proof.reason)
    if proof.fast:  # (with some of the others `tokenizers` itself panics)
        check(TwoEngines(tokenizer, proof), texts)


# ==== Engines that lie ====


class Liar(GigatokenEngine):
    """gigatoken, but for some texts the last id is another."""

    name = "liar"

    def lies(self, text: str) -> bool:
        raise NotImplementedError

    def encode(self, texts: Sequence[str]) -> Ids:
        ids, offsets = super().encode(texts)
        ids = ids.copy()
        for at, text in enumerate(texts):
            if text and self.lies(text):
                ids[offsets[at + 1] - 1] ^= 1
        return ids, offsets


def liar(lies: Callable[[str], bool]) -> type[Liar]:
    return type("Liar", (Liar,), {"lies": lambda _, text: lies(text)})


@pytest.mark.parametrize("character", ["é", "中", "🙂", "\u0301"])
def test_a_character_is_excluded(load: Load, character: str) -> None:
    """Some of these are tried one by one; U+4E2D is no sample of its long run, and found in other texts."""
    backend = load("sample").backend
    make = liar(lambda text: character in text)
    proof = prove_engine(backend, EngineChoice.gigatoken, make=make)
    honest = proved(backend).proof
    code = ord(character)

    assert proof.excluded == merged([*honest.excluded, (code, code)])
    engines = TwoEngines(backend, proof, make=make)
    assert check(engines, ["abc", f"a{character}", "déjà vu"[:2], character * 3, ""]) == 2 + (
        character == "é"
    )


def test_letters_of_a_whole_block_are_excluded(load: Load) -> None:
    """Runs of which some characters differ are tried whole."""
    backend = load("sample").backend
    proof = prove_engine(
        backend, EngineChoice.auto, make=liar(lambda text: re.search("[\u1200-\u1248]", text))
    )

    assert proof.fast
    assert any(first <= 0x1200 and last >= 0x1248 for first, last in proof.excluded)
    assert not any(first <= 0x124A <= last for first, last in proof.excluded)


class Remembering:
    """Lies from the third time on that it sees a text."""

    def __init__(self) -> None:
        self.seen: dict[str, int] = {}

    def __call__(self, text: str) -> bool:
        self.seen[text] = self.seen.get(text, 0) + 1
        return self.seen[text] > 2


def at_random(_: str, rng: random.Random = random.Random(1)) -> bool:  # noqa: B008, S311  goes on
    return rng.random() < 0.01


LIES: dict[str, tuple[Callable[[], Callable[[str], bool]], str]] = {
    "an ASCII character": (lambda: lambda text: "q" in text, "it encodes '.*' differently"),
    "at random": (lambda: at_random, "it encodes|it takes"),
    "long texts": (lambda: lambda text: len(text) > 4000, "differently from tokenizers"),
    "what it has seen": (Remembering, "not always to the same ids|but its parts equally"),
    "most characters": (lambda: lambda text: not text.isascii(), r"many characters .* such as U\+0080"),
}


@pytest.mark.parametrize("lie", LIES)
def test_other_lies_are_refused(load: Load, lie: str) -> None:
    lies, why = LIES[lie]
    proof = prove_engine(load("sample").backend, EngineChoice.auto, make=liar(lies()))

    assert not proof.fast
    assert re.search(why, proof.reason), proof.reason


class PanicException(BaseException):
    """What a panic of Rust looks like."""


@pytest.mark.parametrize(
    "error", [RuntimeError("no\nmore"), PanicException("no"), MemoryError("no"), OSError()]
)
@pytest.mark.parametrize("when", ["made", "used"])
def test_an_engine_that_fails_is_refused(load: Load, error: BaseException, when: str) -> None:
    class Failing(GigatokenEngine):
        def __init__(self, tokenizer_json: str) -> None:
            if when == "made":
                raise error
            super().__init__(tokenizer_json)

        def encode(self, texts: Sequence[str]) -> Ids:  # noqa: ARG002
            raise error

    proof = prove_engine(load("sample").backend, EngineChoice.auto, make=Failing)

    assert proof.reason.startswith(f"trying gigatoken failed: {type(error).__name__}")
    assert "more" not in proof.reason


def test_an_interrupt_is_one(load: Load) -> None:
    def interrupted(_: str) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prove_engine(load("sample").backend, EngineChoice.auto, make=interrupted)


def test_without_gigatoken_the_reference_works(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gigatoken", None)
    backend = load("sample").backend
    proof = prove_engine(backend, EngineChoice.auto)

    assert proof.engine == "tokenizers"
    assert proof.reason.startswith("gigatoken cannot be imported")
    assert check(TwoEngines(backend, proof), ["a b", "é"]) == 2


# ==== What the recipe wants ====


def test_a_recipe_that_wants_gigatoken_gets_it_or_an_error(load: Load) -> None:
    assert proved(load("sample").backend).proof.fast
    with pytest.raises(TokenizerError) as caught:
        prove_engine(REFUSED["dropout"][0](), EngineChoice.gigatoken)

    assert str(caught.value) == (
        "engine gigatoken cannot be used: the model drops merges at random; "
        "set engine: auto or engine: tokenizers"
    )


def test_a_recipe_that_wants_tokenizers_loads_no_other(load: Load) -> None:
    def never(_: str) -> Any:
        raise AssertionError

    proof = prove_engine(load("sample").backend, EngineChoice.tokenizers, make=never)

    assert proof == EngineProof("tokenizers", "the recipe has engine: tokenizers")
    assert check(TwoEngines(load("sample").backend, proof, make=never), ["a b", "é", ""]) == 3


def test_a_proof_is_small_and_can_be_pickled(load: Load) -> None:
    proof = proved(load("sample").backend).proof
    data = pickle.dumps(proof)

    assert pickle.loads(data) == proof  # noqa: S301
    assert len(data) < 10_000


# ==== Two engines at work ====


def test_texts_come_back_in_their_order(load: Load) -> None:
    backend = load("sample").backend
    proof = EngineProof("gigatoken", excluded=((ord("é"), ord("é")),))
    engines = TwoEngines(backend, proof, make=make_once)
    texts = ["", "é", "one two", "", "ééé", "three", "été", "中", ""]

    assert [engines.accepts(text) for text in texts] == [
        True,
        False,
        True,
        True,
        False,
        True,
        False,
        True,
        True,
    ]
    for first in range(len(texts)):
        for last in range(first, len(texts) + 1):
            check(engines, texts[first:last])


@pytest.mark.parametrize("batch", [[], [""], ["", ""], ["a"], ["a b"] * 3])
def test_small_batches(load: Load, batch: list[str]) -> None:
    backend = load("sample").backend
    for engine in (GigatokenEngine(backend.to_str()), TokenizersEngine(backend)):
        ids, offsets = engine.encode(batch)
        assert (ids.dtype, offsets.dtype) == (np.int32, np.int64)
        assert offsets.tolist() == [0, *np.cumsum([len(backend.encode(text).ids) for text in batch]).tolist()]
        assert ids.tolist() == [index for text in batch for index in backend.encode(text).ids]


def test_an_engine_that_fails_at_work_is_replaced(load: Load) -> None:
    class Failing(GigatokenEngine):
        def encode(self, texts: Sequence[str]) -> Ids:
            if "boom" in texts:
                raise PanicException
            return super().encode(texts)

    engines = TwoEngines(load("sample").backend, EngineProof("gigatoken"), make=Failing)
    ids, offsets, slow = engines.encode(["a", "boom", "b c"])
    expected, places = engines.reference(["a", "boom", "b c"])

    assert (ids.tolist(), offsets.tolist(), slow) == (expected.tolist(), places.tolist(), 3)
    assert engines.encode(["a", "b"])[2] == 0


CODES = st.integers(0, 0x10FFFF)
RANGES = st.lists(st.tuples(CODES, CODES).map(sorted).map(tuple), max_size=6).map(merged)


@given(excluded=RANGES, text=st.text())
def test_excluded_characters_are_found(excluded: Any, text: str) -> None:
    held = any(first <= ord(character) <= last for character in text for first, last in excluded)

    assert without(excluded)(text) is not held


@given(ranges=RANGES)
def test_ranges_and_their_complement(ranges: Any) -> None:
    others = complement(ranges)

    assert complement(others) == ranges
    assert merged([*others, *ranges]) == ((0, 0x10FFFF),)
    assert sum(last - first + 1 for first, last in (*others, *ranges)) == 0x110000


# ==== Probes ====


def test_probes_are_the_same_in_every_run() -> None:
    assert engine_probes.mixed_texts() == engine_probes.mixed_texts()
    assert engine_probes.texts_of_tokens(["<a>", "<b>"]) == engine_probes.texts_of_tokens(["<a>", "<b>"])
    assert engine_probes.texts_of_tokens([]) == []
    assert engine_probes.texts_of_pieces([]) == []
    assert len(set(engine_probes.mixed_texts())) > 1500


def test_runs_hold_every_character_that_is_known() -> None:
    runs = engine_probes.character_runs()
    tried = set().union(*(run for run, _ in runs))
    known = {code for code in range(0x80, 0x110000) if unicodedata.category(chr(code)) not in ("Cn", "Cs")}

    assert known <= tried
    assert not any(0xD800 <= code < 0xE000 for code in tried)
    assert sum(len(run) for run, _ in runs) == len(tried)
    assert all({run[0], run[-1]} <= set(some) <= set(run) for run, some in runs)


def test_the_probe_tokenizer_shows_every_cut() -> None:
    """Two ways to cut a text beside any character give other ids."""
    isolated = json.loads(split().__getstate__())
    never = {**isolated, "pretokenizers": isolated["pretokenizers"][1:]}
    probes = [Tokenizer.from_str(engine_probes.boundary_tokenizer(None, cuts)) for cuts in (isolated, never)]
    for character in "é٣中\u0301\u3000…🙂":
        text = engine_probes.beside_others(ord(character))
        first, second = (probe.encode(text).ids for probe in probes)
        assert first != second, character
