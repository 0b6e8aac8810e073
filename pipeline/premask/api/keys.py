"""Arguments of Python functions -> a recipe: tokenizer objects and templates as text become files.

    keys = Keys(tokenizer, chat_template, {"max_length": "8k"})
    keys.recipe(sources=["chats.jsonl"], output="out")

A recipe names files, so that the same recipe gives the same bytes wherever it runs. What an object holds is
written to a folder that lives as long as these keys, or, for a run, to one that stays (`sources.py`).
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from ..core.errors import TokenizerError
from ..core.recipe import Recipe
from ..core.recipe_file import make_recipe
from .sources import Inputs

ANY_LENGTH = 2**31 - 1
"""`max_length` where none is given: nothing is packed, so nothing is too long."""


class Keys:
    """The keys of a recipe, without sources and output.

    `tokenizer` is a directory, a Hub id, or a tokenizer of transformers. `chat_template` is the text of a
    Jinja template, a file, or the name of a built-in template; None takes that of the tokenizer. `others` are
    keys of a recipe, and `where` is what messages call their origin. `inputs` is a folder that stays. Raises
    `TokenizerError` if an object cannot be saved as a tokenizer.
    """

    def __init__(
        self,
        tokenizer: Any,
        chat_template: str | Path | None,
        others: Mapping[str, Any],
        *,
        where: str = "premask",
        inputs: Inputs | None = None,
    ) -> None:
        self._found, self._where, self._inputs = dict(others), where, inputs
        self.tokenizer = self._found["tokenizer"] = self._tokenizer(tokenizer)
        if chat_template is not None:
            self._found["chat_template"] = self._template(str(chat_template))

    def recipe(self, **more: Any) -> Recipe:
        """Return the recipe of these keys and some more. Raises `RecipeError` naming every wrong key."""
        return make_recipe({**self._found, **more}, where=self._where)

    def _tokenizer(self, given: Any) -> str:
        if isinstance(given, (str, Path)):
            return str(given)
        save = partial(_save_tokenizer, given)
        return str((self._inputs or self._temporary).add_folder("tokenizer", save))

    def _template(self, given: str) -> str:
        if "{%" not in given and "{{" not in given:
            return given
        inputs = self._inputs or self._temporary
        return str(inputs.add("template", ".jinja", lambda path: _write(path, given)))

    @cached_property
    def _temporary(self) -> Inputs:
        folder = Path(tempfile.mkdtemp(prefix="premask-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return Inputs(folder)


def _save_tokenizer(given: Any, folder: Path) -> None:
    try:
        given.save_pretrained(str(folder))
    except Exception as error:  # a strange object raises what it likes
        detail = "it is no directory, no Hub id and no tokenizer of transformers"
        raise TokenizerError(f"tokenizer {type(given).__name__} cannot be used: {detail}") from error


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
