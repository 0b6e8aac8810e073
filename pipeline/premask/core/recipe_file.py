"""Recipe files -> `Recipe`, with one clear line for what is wrong in them."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from .errors import RecipeError, one_line
from .recipe import Card, Recipe, Train
from .source_entry import FieldMap, Source


def load_recipe(path: Path) -> dict[str, Any]:
    """Read a YAML recipe into its raw keys; `RecipeError` names the file and what is wrong with it."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeError(f"recipe {path} does not exist; check the path") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = one_line(error)
        raise RecipeError(f"recipe {path} cannot be read: {reason}") from None
    if not isinstance(data, dict):
        raise RecipeError(
            f"recipe {path} holds no keys; it must be a YAML mapping such as 'max_length: 4096'"
        )
    return {str(key): value for key, value in data.items()}


def make_recipe(values: dict[str, Any], *, where: str = "recipe") -> Recipe:
    """Check raw keys and make a Recipe.

    Raises `RecipeError` naming every wrong key, and for an unknown one the nearest known one.
    """
    unknown = [key for key in values if key not in Recipe.model_fields]
    if unknown:
        raise RecipeError(f"{where}: " + "; ".join(_unknown_key(key, Recipe.model_fields) for key in unknown))
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise RecipeError(f"{where}: " + "; ".join(_describe(e) for e in error.errors())) from None


def _unknown_key(key: str, known: Collection[str]) -> str:
    name = key.rpartition(".")[2].replace("-", "_").lower()
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(known)}"
    return f"unknown key '{key}'; {hint}"


def _describe(error: Any) -> str:
    """One pydantic error as a person would say it.

    >>> make_recipe({"sources": ["a"], "tokenizer": "t", "output": "o", "max_length": 0})
    Traceback (most recent call last):
    pipeline.errors.RecipeError: recipe: max_length: Input should be greater than or equal to 2, not 0
    """
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        above = [part for part in error["loc"][:-1] if isinstance(part, str)]
        return _unknown_key(key, _FIELDS_BELOW[above[-1]] if above else Recipe.model_fields)
    if error["type"] == "missing":
        return f"key '{key}' is missing"
    if error["type"] == "enum":
        near = difflib.get_close_matches(str(error["input"]), _choices(error), n=1, cutoff=0.5)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        return f"{key}: '{error['input']}' is none of {', '.join(_choices(error))}{hint}"
    if error["type"] == "value_error":
        return f"{key}: {error['ctx']['error']}" if key else str(error["ctx"]["error"])
    return f"{key}: {error['msg']}, not {error['input']!r}"


_FIELDS_BELOW = {
    "sources": Source.model_fields,
    "fields": FieldMap.model_fields,
    "train": Train.model_fields,
    "card": Card.model_fields,
}


def _choices(error: Any) -> list[str]:
    return str(error["ctx"]["expected"]).replace("'", "").replace(" or ", ", ").split(", ")
