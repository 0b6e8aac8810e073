"""A YAML file, or keys from anywhere else -> `Recipe`, with one clear line for everything that is wrong.

load_recipe   path of a YAML file -> Recipe
read_recipe   path of a YAML file -> its keys, unchecked
make_recipe   keys -> Recipe

>>> make_recipe({"sources": ["a.jsonl"], "tokenizer": "tok", "output": "out", "max_lenght": 512})
Traceback (most recent call last):
premask.core.errors.RecipeError: recipe: unknown key 'max_lenght'; did you mean 'max_length'?
"""

from __future__ import annotations

import difflib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from .errors import RecipeError, one_line
from .recipe import Card, Recipe, Train
from .source_entry import FieldMap, Source

_KEYS_BELOW = {
    "sources": Source.model_fields,
    "fields": FieldMap.model_fields,
    "train": Train.model_fields,
    "card": Card.model_fields,
}
"""Keys of a recipe that hold keys themselves -> those keys."""


def load_recipe(path: str | Path) -> Recipe:
    """Return the recipe of a YAML file. Raises `RecipeError` naming the file and what is wrong with it."""
    return make_recipe(read_recipe(Path(path)), where=str(path))


def read_recipe(path: Path) -> dict[str, Any]:
    """Return the keys of a YAML file, unchecked. Raises `RecipeError` if it cannot be read as such."""
    import yaml  # noqa: PLC0415  options need none

    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeError(f"recipe {path} does not exist; check the path") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"recipe {path} cannot be read: {one_line(error)}") from None
    if not isinstance(data, dict):
        raise RecipeError(
            f"recipe {path} holds no keys; it must be a YAML mapping such as 'max_length: 4096'"
        )
    return {str(key): value for key, value in data.items()}


def make_recipe(values: dict[str, Any], *, where: str = "recipe") -> Recipe:
    """Return the recipe of some keys; `where` names their origin in messages.

    Raises `RecipeError` naming every wrong key, and for an unknown one the nearest known one.
    """
    unknown = [key for key in values if key not in Recipe.model_fields]
    if unknown:
        raise RecipeError(f"{where}: " + "; ".join(_unknown_key(key, Recipe.model_fields) for key in unknown))
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise RecipeError(f"{where}: " + "; ".join(map(_describe, error.errors()))) from None


def _unknown_key(key: str, known: Collection[str]) -> str:
    name = key.rpartition(".")[2].replace("-", "_").lower()
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(known)}"
    return f"unknown key '{key}'; {hint}"


def _describe(error: Any) -> str:
    """One pydantic error as a person would say it.

    >>> make_recipe({"sources": ["a"], "tokenizer": "t", "output": "o", "max_length": 0})
    Traceback (most recent call last):
    premask.core.errors.RecipeError: recipe: max_length: Input should be greater than or equal to 2, not 0
    """
    key = ".".join(str(part) for part in error["loc"])
    match error["type"]:
        case "extra_forbidden":
            above = [part for part in error["loc"][:-1] if isinstance(part, str)]
            return _unknown_key(key, _KEYS_BELOW[above[-1]] if above else Recipe.model_fields)
        case "missing":
            return f"key '{key}' is missing"
        case "enum":
            return _no_choice(key, str(error["input"]), str(error["ctx"]["expected"]))
        case "value_error":
            return f"{key}: {error['ctx']['error']}" if key else str(error["ctx"]["error"])
        case _:
            return f"{key}: {error['msg']}, not {error['input']!r}"


def _no_choice(key: str, value: str, expected: str) -> str:
    """What to say of a value that is none of those `expected`, written `'a', 'b' or 'c'`."""
    choices = expected.replace("'", "").replace(" or ", ", ").split(", ")
    near = difflib.get_close_matches(value, choices, n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return f"{key}: '{value}' is none of {', '.join(choices)}{hint}"
