"""A YAML file, or keys from anywhere else -> `Recipe`, with one clear line for everything that is wrong.

load_recipe   path of a YAML file -> Recipe
read_recipe   path of a YAML file -> its keys, unchecked
make_recipe   keys -> Recipe
is_recipe     whether a path is named as one

>>> make_recipe({"sources": ["a.jsonl"], "tokenizer": "tok", "output": "out", "max_lenght": 512})
Traceback (most recent call last):
premask.core.errors.RecipeError: recipe: unknown key 'max_lenght'; did you mean 'max_length'?
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from .comparing import Decontaminate, NearDuplicates
from .errors import RecipeError
from .recipe import Card, Recipe, Train
from .recipe_errors import problems, unknown_key
from .source_entry import FieldMap, Source

_KEYS_BELOW: Mapping[str, Collection[str]] = {
    "sources": Source.model_fields,
    "fields": FieldMap.model_fields,
    "train": Train.model_fields,
    "near_duplicates": NearDuplicates.model_fields,
    "decontaminate": Decontaminate.model_fields,
    "sets": Source.model_fields,
    "card": Card.model_fields,
}
"""Keys of a recipe that hold keys themselves -> those keys."""


def load_recipe(path: str | Path) -> Recipe:
    """Return the recipe of a YAML file. Raises `RecipeError` naming the file and what is wrong with it."""
    return make_recipe(read_recipe(Path(path)), where=str(path))


def read_recipe(path: Path) -> dict[str, Any]:
    """Return the keys of a YAML file, unchecked. Raises `RecipeError` if it cannot be read as such."""
    from .recipe_yaml import keys_of  # noqa: PLC0415  options need none

    return keys_of(path)


def is_recipe(name: str) -> bool:
    """Whether a path is named as a recipe.

    >>> is_recipe("chats.yaml"), is_recipe("chats.yaml.gz")
    (True, False)
    """
    return name.lower().endswith((".yaml", ".yml"))


def make_recipe(values: dict[str, Any], *, where: str = "recipe") -> Recipe:
    """Return the recipe of some keys; `where` names their origin in messages.

    Raises `RecipeError` naming every wrong key, and for an unknown one the nearest known one.

    >>> make_recipe({"sources": ["a"], "tokenizer": "t", "output": "o", "max_length": 0})
    Traceback (most recent call last):
    premask.core.errors.RecipeError: recipe: max_length: it must be at least 2, not 0
    """
    known = Recipe.model_fields
    if unknown := [key for key in values if key not in known]:
        raise RecipeError(f"{where}: " + "; ".join(unknown_key(key, known) for key in unknown))
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        found = problems(error.errors(include_url=False), _KEYS_BELOW, known)
        raise RecipeError(f"{where}: " + "; ".join(found)) from None
    except RecursionError:
        raise RecipeError(f"{where}: a value is nested too deeply") from None
