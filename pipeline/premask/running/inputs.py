"""The inputs of a run: its files, their dialects, its units of work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..core.errors import RecipeError
from ..core.recipe import Recipe
from ..core.records import Salvage, SourceInfo, Unit
from ..core.source_entry import DialectName
from ..core.urls import is_url
from ..dialects import Form, Named, check_named, recognize_file
from ..dialects.fields import MappedFields
from ..dialects.sides import Sides
from ..dialects.unknown_marks import unknown_marks, warning
from ..sources.cutting import can_be_cut_again, plan_units, whole
from ..sources.listing import folders_of_splits, inspect_sources
from ..sources.reading import nothing_read, peek
from .keeping import check_keep

SHARE_BYTES = 1 << 20
"""Bytes of a file that are worth another process."""


class Work(NamedTuple):
    """The files of a recipe, the dialect of each, the units of work, and what a user should know of the
    files."""

    recipe: Recipe
    infos: Sequence[SourceInfo]
    dialects: Mapping[str, Form]
    units: Sequence[Unit]
    warnings: tuple[str, ...] = ()

    @property
    def rows(self) -> int | None:
        """Number of rows within the limits of the sources; None if not all have been counted."""
        counts = [rows for info in self.infos if (rows := whole(info).stop_row) is not None]
        return sum(counts) if len(counts) == len(self.infos) else None

    @property
    def shares(self) -> int:
        """Number of processes that are of use: one per unit, or per `SHARE_BYTES` of files whose units can be
        shared."""
        shared = sum(info.bytes for info in self.infos if can_be_cut_again(info))
        return max(len(self.units), shared // SHARE_BYTES)


def look_at(recipe: Recipe) -> Work:
    """Check the recipe's conditions, inspect its files and cut them into units."""
    check_keep(recipe)
    _check_cache(recipe)
    infos = inspect_sources(
        recipe.sources,
        seed=recipe.seed,
        max_row_bytes=recipe.max_row_bytes,
        salvage=recipe.salvage,
        function=recipe.map,
    )
    dialects, warnings = dict[str, Form](), list[str]()
    for info in infos:
        values = peek(info)
        form = dialects[info.source] = find_dialect(info, recipe, values)
        if isinstance(form, Named):
            check_named(values, form, source=info.source)
        if info.salvage is not None:
            warnings.append(_lost(info.source, info.salvage))
        if keys := unknown_marks(values, dialects[info.source]):
            warnings.append(warning(info.source, keys))
    for folder, splits in folders_of_splits(infos).items():
        warnings.append(f"{folder} has the splits {', '.join(splits)}, which are all read; name one's folder")
    units = plan_units(infos, unit_rows=recipe.unit_rows)
    return Work(recipe, infos, dialects, units, tuple(warnings))


def _check_cache(recipe: Recipe) -> None:
    """Raise `RecipeError` for a cache that cannot be a folder beside the output."""
    if recipe.cache is None:
        return
    cache, output = Path(recipe.cache).resolve(), recipe.output
    file = next((each for each in (cache, *cache.parents) if each.exists()), cache)
    if file.exists() and not file.is_dir():
        raise RecipeError(f"cache: {file} is a file; name a folder")
    if output is not None and not is_url(output) and cache.is_relative_to(Path(output).resolve()):
        raise RecipeError(f"cache: {recipe.cache} is in the output {output}, which is replaced; name another")


def _lost(source: str, lost: Salvage) -> str:
    what = f"the {lost.lost:,} bytes from byte {lost.byte:,} on are not read"
    return f"{source} is cut short in row {lost.row}: {what}; the whole rows before are (salvage)"


def find_dialect(info: SourceInfo, recipe: Recipe, values: Sequence[Any] | None = None) -> Form:
    """Return the dialect of a file; `values` are its first rows, if they have been read.

    The entry of the source decides, else the recipe. If neither does, the dialect of most rows is used.
    Raises `SourceError` if no row has the fields, or if no dialect fits.
    """
    form = _form(info, recipe, values)
    if recipe.preferences is None:
        return form
    return Sides(str(form) if isinstance(form, Named) else "auto", pairs=recipe.together > 1)


def _form(info: SourceInfo, recipe: Recipe, values: Sequence[Any] | None) -> Form:
    """Return how the rows of a file are read as conversations to learn."""
    entry = recipe.sources[info.entry]
    fields, dialect = entry.fields, entry.dialect
    if fields is None and dialect is None:
        fields, dialect = recipe.fields, recipe.dialect
    if fields is not None:
        mapped = MappedFields(fields)
        mapped.check(peek(info) if values is None else values, source=info.source)
        return mapped
    if dialect not in (None, DialectName.auto):
        return Named(dialect.value)
    values = peek(info) if values is None else values
    if not values:
        raise nothing_read(info)
    return recognize_file(values, source=info.source)
