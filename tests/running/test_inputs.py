"""The inputs of a run."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import SAMPLE
from premask.core.errors import RecipeError
from premask.core.recipe import Recipe
from premask.running.inputs import look_at


@pytest.mark.parametrize(
    ("cache", "message"),
    [
        ("file", r"cache: .*file is a file; name a folder"),
        ("file/inner", r"cache: .*file is a file; name a folder"),
        ("out", "cache: .*out is in the output .*out, which is replaced; name another"),
        ("out/cache", "cache: .*out/cache is in the output"),
        ("output", ""),
    ],
)
def test_a_cache_that_cannot_be_a_folder_is_refused(tmp_path: Path, cache: str, message: str) -> None:
    (tmp_path / "file").touch()
    keys = {"sources": [str(SAMPLE / "conversations.jsonl")], "tokenizer": str(SAMPLE / "tokenizer")}
    recipe = Recipe.model_validate({**keys, "output": str(tmp_path / "out"), "cache": str(tmp_path / cache)})
    if not message:
        assert look_at(recipe).units
        return
    with pytest.raises(RecipeError, match=message):
        look_at(recipe)
