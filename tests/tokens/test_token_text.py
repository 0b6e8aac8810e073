"""The texts of tokens against the tokenizers themselves, for byte-level, byte-fallback and other ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tokenizers
from commands import TOKENIZER
from hypothesis import given
from hypothesis import strategies as st
from premask.core.errors import OutputError
from premask.tokens.token_text import TokenTexts, groups_of
from tokenizers import decoders, models, pre_tokenizers

TEXTS = ["Hello  world", "日本語 🙂👩‍👩‍👧", "\x1b[31m\u202eabc\n\n\tx", "é" * 3, "नमस्ते", " "]


def texts_of(folder: Path, backend: tokenizers.Tokenizer) -> TokenTexts:
    backend.save(str(folder / "tokenizer.json"))
    return TokenTexts(folder / "tokenizer.json")


@pytest.mark.parametrize("name", ["gemma", "llama3_2", "qwen3"])
def test_real_tokenizers(shared: Path, name: str) -> None:
    path = shared / "tokenizers" / name / "tokenizer.json"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    texts, backend = TokenTexts(path), tokenizers.Tokenizer.from_file(str(path))
    for text in TEXTS:
        ids = backend.encode(text, add_special_tokens=False).ids
        groups = texts.groups(ids)
        assert "".join(part for part, _ in groups) == text
        assert sum(count for _, count in groups) == len(ids)
        assert b"".join(map(texts.bytes_of, ids)).decode() == text


SAMPLE_TEXTS = TokenTexts(Path(TOKENIZER) / "tokenizer.json")
SAMPLE_BACKEND = tokenizers.Tokenizer.from_file(str(Path(TOKENIZER) / "tokenizer.json"))


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_back(text: str) -> None:
    """In the fewest groups: within one, no end of a token is the end of a character."""
    ids = SAMPLE_BACKEND.encode(text, add_special_tokens=False).ids
    groups = SAMPLE_TEXTS.groups(ids)
    at = 0

    assert "".join(part for part, _ in groups) == text
    for _, count in groups:
        data = b""
        for index in ids[at : at + count - 1]:
            data += SAMPLE_TEXTS.bytes_of(index)
            with pytest.raises(UnicodeDecodeError):
                data.decode()
        at += count


@given(st.lists(st.integers(0, 8010), max_size=20))
def test_any_ids_have_a_text(ids: list[int]) -> None:
    """Also those that no text gives, and that are no tokens."""
    groups = SAMPLE_TEXTS.groups(ids)

    assert sum(count for _, count in groups) == len(ids)
    assert "\ufffd" not in "".join(part for part, _ in groups)


def test_the_bytes_of_all_tokens() -> None:
    found = SAMPLE_TEXTS.all_bytes()

    assert len(found) == SAMPLE_BACKEND.get_vocab_size(with_added_tokens=True)
    assert found == [SAMPLE_TEXTS.bytes_of(index) for index in range(len(found))]


def test_control_tokens() -> None:
    ids = np.array([1, 7155, 2, 9_000_000, -1])

    assert SAMPLE_TEXTS.count_special(ids).tolist() == [True, False, True, False, False]
    assert SAMPLE_TEXTS.ids_of(["<|im_end|>", "no such token"]) == {2}
    assert SAMPLE_TEXTS.groups([511, 2]) == [("\\xf0\\x9f", 1), ("<|im_end|>", 1)]


def test_word_pieces(tmp_path: Path) -> None:
    vocabulary = {"[UNK]": 0, "run": 1, "##ning": 2, "fast": 3}
    backend = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.decoder = decoders.WordPiece()

    assert "".join(part for part, _ in texts_of(tmp_path, backend).groups([1, 2, 3])).split() == [
        "running",
        "fast",
    ]


def test_a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(OutputError, match="cannot be read"):
        TokenTexts(tmp_path / "tokenizer.json")


def test_groups_by_characters() -> None:
    assert groups_of("ab", [0, 1], [1, 2]) == [("a", 1), ("b", 1)]
    assert groups_of("a🙂b", [0, 0, 1, 2], [2, 2, 2, 3]) == [("a🙂", 3), ("b", 1)]
    assert groups_of("", [], []) == []
