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
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from ..core.errors import TokenizerError
from ..core.recipe import Recipe
from ..core.recipe_file import make_recipe
from ..labeller import Labeller
from .sources import Inputs
from .wording import in_python

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
        self._where, self._inputs = where, inputs
        self._names: dict[str, str] = {}  # path of a temporary file -> what is shown instead
        self.tokenizer = self._tokenizer(tokenizer)
        own = {} if chat_template is None else {"chat_template": self._template(str(chat_template))}
        self._found = {"tokenizer": self.tokenizer, **own, **others}

    def recipe(self, **more: Any) -> Recipe:
        """Return the recipe of these keys and some more. Raises `RecipeError` naming every wrong key."""
        return make_recipe({**self._found, **more}, where=self._where)

    def labeller(self) -> Labeller:
        """Return the labeller of these keys. Raises `TokenizerError`, `TemplateError` or `RecipeError`."""
        with in_python(self._names):
            return Labeller(self.recipe(sources=["-"], output="-"))

    def __repr__(self) -> str:
        found = {name: repr(self._names.get(str(value), value)) for name, value in self._found.items()}
        return ", ".join(f"{name}={value}" for name, value in found.items() if value != repr(ANY_LENGTH))

    def _tokenizer(self, given: Any) -> str:
        if isinstance(given, (str, Path)):
            return str(given)
        save = partial(_save_tokenizer, given)
        return self._known(Inputs.add_folder, type(given).__name__, "tokenizer", save)

    def _template(self, given: str) -> str:
        if "{%" not in given and "{{" not in given:
            return given
        return self._known(Inputs.add, "given as text", "template", ".jinja", partial(_write, text=given))

    def _known(self, add: Callable[..., Path], name: str, *about: Any) -> str:
        """Add something to the folder; messages name it if its file does not stay."""
        path = str(add(self._inputs or self._temporary, *about))
        if self._inputs is None:
            self._names[path] = name
        return path

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
