"""How rows that are in memory are read: as the recipe says, or by their shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..core.errors import SourceError
from ..core.recipe import Recipe
from ..core.source_entry import DialectName
from ..dialects import Form, Named, recognize_file
from ..dialects.fields import MappedFields
from .wording import in_python


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
    try:
        with in_python():
            return recognize_file(values, source=name, otherwise="")
    except SourceError:
        if values and all(map(_is_turn, values)):
            hint = 'give a list of conversations: [turns], or [{"messages": turns}]'
            raise SourceError(f"{name} holds the turns of one conversation, not rows; {hint}") from None
        raise


def _is_turn(value: Any) -> bool:
    """Whether a value has just the keys of a turn: who speaks, and a text."""
    return isinstance(value, Mapping) and ({"role", "content"} <= {*value} or {*value} == {"from", "value"})
