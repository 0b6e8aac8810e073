"""The reported tokenizer whose class cuts texts otherwise than its tokenizer.json: the ids are those of the file."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import tokenizers
from places import SHARED
from premask.tokens.tokenizer import load_tokenizer

REPORTED = SHARED / "corpus" / "reported" / "tok_gptcls"

pytestmark = pytest.mark.skipif(not REPORTED.is_dir(), reason=f"{REPORTED} is not here")


def test_the_ids_are_those_of_the_file(tmp_path: Path) -> None:
    shutil.copyfile(SHARED / "tokenizers" / "llama3_2" / "tokenizer.json", tmp_path / "tokenizer.json")
    shutil.copyfile(REPORTED / "tokenizer_config.json", tmp_path / "tokenizer_config.json")
    loaded = load_tokenizer(str(tmp_path))
    file = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))

    for text in ("In 2023, 650841823 people?", "  four    blanks", "請問 12,345"):
        assert loaded.backend.encode(text).ids == file.encode(text).ids
    assert "tokenizer.json is used as it is" in " ".join(loaded.warnings)
