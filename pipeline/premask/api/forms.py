"""How rows that are in memory are read: as the recipe says, or by their shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core.recipe import Recipe
from ..core.source_entry import DialectName
from ..dialects import Form, Named, recognize_file
from ..dialects.fields import MappedFields


def form_of(recipe: Recipe, values: Sequence[Any], name: str) -> Form:
    """Return the dialect of rows; `values` are the first ones, and `name` is what messages call them.

    Raises `SourceError` if no row has the fields of the recipe, or a known dialect.
    """
    if recipe.fields is not None:
        mapped = MappedFields(recipe.fields)
        mapped.check(values, source=name)
        return mapped
    if recipe.dialect is not DialectName.auto:
        return Named(recipe.dialect.value)
    return recognize_file(values, source=name)
