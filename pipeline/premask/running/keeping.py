"""The recipe's `keep`: a condition over what is known of a row after the mask. It leaves out whole rows.

    check_keep(recipe)                               # once, before any work
    keeping = keep_of(recipe, entry)                 # a Keep, or None
    keeping.of(table)                                # bool[n], of the columns of `measures.COLUMNS`
    keeping.detail(table, 3)                         # "tokens > 9 is not true: tokens is 7"

The expression is that of a source's `where` (`sources/where.py`). Here the columns and their types are known
before any row, so that what does not fit them is refused at once.

Cost: 10 ns a row.
"""

from __future__ import annotations

import difflib
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from ..core.errors import RecipeError, SourceError
from ..core.recipe import Recipe
from ..sources.where import Condition, condition
from .measures import COLUMNS

REASON = "not_kept"
"""The reason in the reject log of rows that are left out."""


class Keep(NamedTuple):
    """A condition over `measures.COLUMNS`."""

    asked: Condition

    def of(self, table: pa.RecordBatch) -> np.ndarray:
        """Return where it is true, bool[n]. Raises `RecipeError` if it cannot be told for a value."""
        try:
            return self.asked.of_table("", table)
        except SourceError as error:
            raise RecipeError(str(error).removeprefix(": ")) from None

    def detail(self, table: pa.RecordBatch, row: int) -> str:
        """Return what the reject log says of a row for which it is not true."""
        names = dict.fromkeys(path[0] for path in self.asked.paths)
        values = ", ".join(f"{name} is {_shown(table.column(name)[row].as_py())}" for name in names)
        return f"{self.asked.where} is not true: {values}"


def _shown(value: float) -> str:
    """A value as recipes write it.

    >>> _shown(12), _shown(0.123456789), _shown(True)
    ('12', '0.123457', 'true')
    """
    return str(value).lower() if isinstance(value, (bool, int)) else f"{value:.6g}"


def keep_of(recipe: Recipe, entry: int) -> Keep | None:
    """Return the condition for the rows of an entry of `sources`: its own, else the recipe's; None if
    neither has one."""
    text = recipe.sources[entry].keep or recipe.keep
    return None if text is None else checked_keep(text)


def check_keep(recipe: Recipe) -> None:
    """Raise `RecipeError` if a `keep` is no condition over the columns that there are."""
    for text in (recipe.keep, *(entry.keep for entry in recipe.sources)):
        if text is not None:
            checked_keep(text)


@lru_cache(maxsize=64)
def checked_keep(text: str) -> Keep:
    """Return a condition. Raises `RecipeError` as `check_keep` does."""
    keep = Keep(condition(text, key="keep"))
    for path in keep.asked.paths:
        if len(path) > 1 or path[0] not in COLUMNS:
            raise _unknown(keep.asked.where, ".".join(path))
    arrays = [pa.array([1]).cast(kind) for kind in COLUMNS.values()]
    keep.of(pa.RecordBatch.from_arrays(arrays, names=list(COLUMNS)))  # an example of each type
    return keep


def _unknown(where: str, name: str) -> RecipeError:
    near = difflib.get_close_matches(name.lower(), COLUMNS, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return RecipeError(f"keep: {where}: there is no column {name}; {hint}columns: {', '.join(COLUMNS)}")
