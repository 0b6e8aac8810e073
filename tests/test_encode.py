"""Token ids and token boundaries: against the tokenizer itself, and against a tokenizer whose control
tokens have other names, which is what "control tokens in content are plain text" means."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from pipeline.contracts import TEMPLATE, Origin, Row, Sample
from pipeline.encode import Encoder
from pipeline.recipe import ControlTokens
from pipeline.stages import LabelledRow, Stages
from pipeline.tokenizer import LoadedTokenizer

Load = Callable[[str], LoadedTokenizer]
MakeStages = Callable[..., Stages]
Part = tuple[str, Origin]
Expected = list[tuple[int, int, int]]

REAL = ("sample", "gemma", "gemma_chatml", "qwen3", "llama3_2")
USER = Origin(0, "user", "content")
ASSISTANT = Origin(1, "assistant", "content")


def sample_of(*parts: Part | str) -> Sample:
    """A sample of texts with their origins; a bare text is the template's."""
    pairs = [(part, TEMPLATE) if isinstance(part, str) else part for part in parts]
    runs = tuple((len(text), origin) for text, origin in pairs if text)
    return Sample("".join(text for text, _ in pairs), (), runs, "test")


def encode_one(encoder: Encoder, sample: Sample) -> Expected:
    """The (id, start, end) of a sample's tokens."""
    batch, errors, _ = encoder.encode([sample])
    assert errors == [None]
    return list(zip(batch.ids.tolist(), batch.starts.tolist(), batch.ends.tolist(), strict=True))


def plain_ids(backend: Tokenizer, text: str) -> list[int]:
    return list(backend.encode(text, add_special_tokens=False).ids)


# ==== Plain texts ====


def check(backend: Tokenizer, texts: Sequence[str], *, covers: bool = True) -> None:
    """Ids are the tokenizer's own, and so are the characters of each token, but for three things.

    A character that the tokenizer does not count to any token (a trimmed blank, an accent that was
    composed with its letter) belongs to the token that follows it, and an added token is only its own
    characters, not the blanks it swallows.
    """
    batch, errors, forged = Encoder(backend).encode([sample_of(text) for text in texts])
    assert errors == [None] * len(texts)
    assert forged == [0] * len(texts)
    added = {index: token for index, token in backend.get_added_tokens_decoder().items()}
    for i, (text, own) in enumerate(zip(texts, backend.encode_batch(list(texts), add_special_tokens=False), strict=True)):
        tokens = slice(batch.offsets[i], batch.offsets[i + 1])
        starts, ends = batch.starts[tokens].tolist(), batch.ends[tokens].tolist()
        assert batch.ids[tokens].tolist() == own.ids, repr(text)
        earlier: set[int] = set()
        for index, start, end, (a, b) in zip(own.ids, starts, ends, own.offsets, strict=True):
            where = (text[:200], index, (start, end), (a, b))
            if index in added and not added[index].normalized:
                assert text[start:end] == added[index].content, where
            elif (start, end) != (a, b):
                assert text[min(start, a) : max(start, a)].isspace() or start == a, where
                assert text[min(end, b) : max(end, b)].isspace() or end == b, where
        assert starts == sorted(starts), repr(text)
        assert ends == sorted(ends), repr(text)
        assert all(start <= end <= len(text) for start, end in zip(starts, ends, strict=True)), repr(text)
        if covers and text:
            gaps = zip([0, *ends], [*starts, len(text)], strict=True)
            assert all(after <= before or _uncounted(text[before:after]) for before, after in gaps), repr(text)


def _uncounted(gap: str) -> bool:
    """Whether a tokenizer may leave these characters to no token."""
    return all(character.isspace() or unicodedata.category(character)[0] in "MC" for character in gap)


ADVERSARIAL = (
    "",
    " ",
    "\n",
    "\n\n  a \t b\r\n",
    "a\r\nb\r\n\r\n",
    "cafe\u0301 e\u0301\u0323 \u1112\u1161\u11ab",  # NFD: a tokenizer that composes changes its bytes
    "\u212b \ufb01 \uff21 \u2460",  # compatibility characters
    "👩‍👩‍👧‍👦 🏴‍☠️ 🇳🇴 👍🏽 👩‍👩‍👧‍👦👩‍👩‍👧‍👦",
    "a\u00a0b\u00a0\u00a0c \u202f\u3000x",
    "\u2581a \u2581\u2581b\u2581",  # the character that stands for a space in some vocabularies
    " " * 5000,
    "\n" * 5000,
    "a" * 5000,
    "\u00e9" * 5000,
    "🙂" * 1700,
    "=" * 5000 + " \t" * 300,
    "\ufeff\u2028\u2029\u0085\u200b\u200d\u00ad\x00\x1b[31m\x7f",
    "مرحبا \u200f8:15 שלום \u202eabc\u202c",
    "請問 ありがとう Здравствуйте हिन्दी ไทย",
    "𠮷𝄞\U0010ffff\ue000\uf8ff\ue001\ufffd\ufffe",
    "0123456789 1,234.5e-6 ½ ² ٣",
    "don't DON'T I'LL x==y\tif(a){b;}\n\tc",
    "x\u0300\u0301\u0302\u0303" * 100,
    "<|im_star <|im_ end|> <0x0A> <0xE2> \u0120 \u010a",  # looks like tokens, is none
)


def unicode_blocks() -> list[str]:
    """Four characters of every 256, between letters and spaces."""
    texts = []
    for block in range(0, 0x110000, 0x100):
        characters = [chr(block + at) for at in (0, 0x41, 0x92, 0xE7) if not 0xD800 <= block + at < 0xE000]
        texts += ["x" + "".join(characters) + " " + " ".join(characters) + " y"] if characters else []
    return texts


@pytest.mark.parametrize("name", REAL)
def test_adversarial_texts(load: Load, name: str) -> None:
    check(load(name).backend, ADVERSARIAL)


@pytest.mark.parametrize("name", REAL)
def test_every_unicode_block(load: Load, name: str) -> None:
    check(load(name).backend, unicode_blocks())


PIECES = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.sampled_from([" ", "  ", "\n", "\r\n", "\t", "\u00a0", "\u2581", "e\u0301", "👩‍👩‍👧‍👦", "Hello", " world", "12345", "…", "é"]),
)
TEXTS = st.lists(PIECES, max_size=12).map("".join)


@pytest.mark.parametrize("name", REAL)
@given(data=st.data())
def test_random_texts(load: Load, name: str, data: st.DataObject) -> None:
    backend = load(name).backend
    texts = data.draw(st.lists(TEXTS, min_size=1, max_size=8))

    check(backend, [text for text in texts if not any(token in text for token in load(name).added)])


def test_boundaries_by_hand(load: Load) -> None:
    """Two tokens of one character both count it: U+1F9BC is four bytes, none of them merged."""
    assert encode_one(Encoder(load("sample").backend), sample_of("a \U0001f9bcb")) == [
        (i, a, b)
        for i, (a, b) in zip(plain_ids(load("sample").backend, "a \U0001f9bcb"), [(0, 1), (1, 3), (2, 3), (2, 3), (2, 3), (3, 4)], strict=False)
    ]


# ==== Awkward tokenizers ====

CORPUS = ["Hello world, this is a small corpus. The cat's 12345 words!", "user assistant system", "\n\n  x == y", "aaa bbb <|end|>"] * 4


def byte_level(*, ignore_merges: bool = False, trim: bool = False, prefix: bool = False, normalizer: Any = None) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    tokenizer.decoder = decoders.ByteLevel()
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False))
    if trim:
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    return tokenizer


def byte_fallback(*, normalizer: Any = None, pre_tokenizer: Any = None, with_bytes: bool = True) -> Tokenizer:
    """A vocabulary like Llama 2's: letters and U+2581, every other byte a token of its own."""
    letters = ["\u2581", *"abcdefghijklmnopqrstuvwxyzHTI.,!'<>|", "\u00e9"]
    data = [f"<0x{byte:02X}>" for byte in range(256)] if with_bytes else []
    merges = [("\u2581", "t"), ("h", "e"), ("\u2581t", "he"), ("l", "l"), ("\u2581", "\u2581"), ("e", "n")]
    vocabulary = {token: i for i, token in enumerate(["<unk>", *data, *letters, *("".join(pair) for pair in merges)])}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    if pre_tokenizer is not None:
        tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


def llama_2() -> Tokenizer:
    return byte_fallback(normalizer=normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]))


def metaspace(scheme: str) -> Tokenizer:
    return byte_fallback(pre_tokenizer=pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False))


def spaces_only(**options: Any) -> Tokenizer:
    return byte_fallback(normalizer=normalizers.Replace(" ", "\u2581"), **options)


def unigram() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=120, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def word_piece() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=200, special_tokens=["[UNK]"], show_progress=False))
    return tokenizer


AWKWARD: dict[str, Callable[[], Tokenizer]] = {
    "byte_level": byte_level,
    "trimmed": lambda: byte_level(trim=True),
    "prefix_space": lambda: byte_level(prefix=True),
    "prefix_space_trimmed": lambda: byte_level(prefix=True, trim=True),
    "ignore_merges": lambda: byte_level(ignore_merges=True),
    "lowercase": lambda: byte_level(normalizer=normalizers.Lowercase()),
    "strip": lambda: byte_level(normalizer=normalizers.Strip()),
    "nfc": lambda: byte_level(normalizer=normalizers.NFC()),
    "nfd": lambda: byte_level(normalizer=normalizers.NFD()),
    "nfkc": lambda: byte_level(normalizer=normalizers.NFKC()),
    "nfkc_lowercase": lambda: byte_level(normalizer=normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])),
    "llama_2": llama_2,
    "metaspace_first": lambda: metaspace("first"),
    "metaspace_always": lambda: metaspace("always"),
    "metaspace_never": lambda: metaspace("never"),
    "spaces": spaces_only,
    "no_bytes": lambda: spaces_only(with_bytes=False),
    "unigram": unigram,
    "word_piece": word_piece,
}

ADDED: dict[str, list[AddedToken]] = {
    "none": [],
    "plain": [AddedToken("<|user|>", normalized=False, special=True), AddedToken("<|end|>", normalized=False, special=True)],
    "rstrip": [AddedToken("<|user|>", rstrip=True, normalized=False, special=True), AddedToken("<|end|>", rstrip=True, normalized=False, special=True)],
    "lstrip": [AddedToken("<|user|>", lstrip=True, normalized=False, special=True), AddedToken("<|end|>", lstrip=True, normalized=False, special=True)],
    "both": [AddedToken("<|user|>", rstrip=True, normalized=False, special=True), AddedToken("<|end|>", lstrip=True, rstrip=True, normalized=False, special=True)],
    "single_word": [AddedToken("cat", single_word=True, normalized=False), AddedToken("<|end|>", normalized=False, special=True)],
    "normalized": [AddedToken("<|user|>", normalized=True, special=True), AddedToken("<|end|>", normalized=True, special=True)],
}

AWKWARD_TEXTS = (
    "",
    " ",
    "<|end|>",
    "<|end|>\n",
    "<|user|>\nhello<|end|>\n<|user|>\nthe end<|end|>\n",
    "<|user|>\nh\u00e9llo<|end|>\n<|user|>\nthe \u00e9nd<|end|>\n",  # not ASCII: other rules hold
    "\u00e9<|end|>\nx",
    "<|end|>\nx\u00e9",
    "<|end|> \u00e9 <|end|> x\u00e9y",
    "\u00e9 <|end|>\n\n<|end|> \n",
    "hello <|end|> the cat, cats and concat cat",
    "  <|user|>   x   <|end|>   ",
    "<|end|><|end|><|user|><|end|>",
    "The Cat's <|END|> CAT <|End|>",
    "cafe\u0301 \ufb01 \uff21\u00e9\u212b",
    "a\u2581b \u2581 c",
    "👩‍👩‍👧‍👦 🙂<|end|>🙂\n",
    "\t tab \r\n crlf  \n ",
    "unknown \u4e2d\u6587 text \u0416",
)


def with_added(name: str, added: str) -> Tokenizer:
    tokenizer = AWKWARD[name]()
    for token in ADDED[added]:
        tokenizer.add_tokens([token])
    return Tokenizer.from_str(tokenizer.to_str())


@pytest.mark.parametrize("added", ADDED)
@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_tokenizers(name: str, added: str) -> None:
    covers = name not in ("word_piece", "strip", "unigram")  # these drop blanks, or characters they do not know
    check(with_added(name, added), AWKWARD_TEXTS, covers=covers)


@pytest.mark.parametrize("name", AWKWARD)
@given(texts=st.lists(st.lists(st.one_of(PIECES, st.sampled_from(["<|end|>", "<|user|>", "\n", " "])), max_size=8).map("".join), max_size=4))
def test_awkward_tokenizers_on_random_texts(name: str, texts: list[str]) -> None:
    covers = name not in ("word_piece", "strip", "unigram")
    check(_cached(name, "both"), texts, covers=covers)


_CACHE: dict[tuple[str, str], Tokenizer] = {}


def _cached(name: str, added: str) -> Tokenizer:
    if (name, added) not in _CACHE:
        _CACHE[name, added] = with_added(name, added)
    return _CACHE[name, added]
