"""Which rows are left out because of other rows, before any row is labelled.

    drop_rows(recipe, tasks)                    # after `scan_unit` on all of them, before `run_unit`
    counted = count_duplicates(tasks)           # after `run_unit`

A row that is out for one reason is no original for another: contaminated rows go first, then duplicates, then
near duplicates.

Cost: see `duplicates.py` and `near_duplicates.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ..core.comparing import NearDuplicates
from ..core.errors import OutputError, one_line
from ..core.recipe import Duplicates, Recipe
from ..output.shards import HASHES
from .dropped import Drop, read_dropped, write_dropped
from .duplicates import count_by_source, duplicate_drops, find_duplicates
from .near_duplicates import Signed, find_near
from .tasks import Task

_Drops = Iterable[tuple[int, list[Drop]]]
"""Rows that are left out, by the number of the unit."""


def drop_rows(recipe: Recipe, tasks: Sequence[Task], part: slice = slice(None)) -> None:
    """Write for each task, or for a part of them, which of its rows are left out."""
    found = [_contaminated(task) for task in tasks]
    for unit, drops in _duplicates(recipe, tasks):
        found[unit] += drops
    for unit, drops in _near_duplicates(recipe, tasks, found):
        found[unit] += drops
    for task, drops in zip(tasks[part], found[part], strict=True):
        if task.dropped is not None:
            write_dropped(task.dropped, drops)


def _contaminated(task: Task) -> list[Drop]:
    """Return the contaminated rows of a unit. Those of a unit that another rank scans are of no use where no
    rows are compared with each other, and may not be there yet."""
    if task.contaminated is None or (task.hashes is None and not task.contaminated.is_file()):
        return []
    found = read_dropped(task.contaminated)
    rows = zip(found.piece.tolist(), found.row.tolist(), found.reason, found.detail, found.by, strict=True)
    return [Drop(*row) for row in rows]


def _duplicates(recipe: Recipe, tasks: Sequence[Task]) -> _Drops:
    if recipe.duplicates is not Duplicates.drop:
        return
    hashes = [task.hashes for task in tasks if task.hashes is not None]
    with _whole(hashes):
        yield from duplicate_drops(hashes, [_sources(task) for task in tasks], find_duplicates(hashes))


def _near_duplicates(recipe: Recipe, tasks: Sequence[Task], out: Sequence[Sequence[Drop]]) -> _Drops:
    """Yield the near duplicates of each unit; the rows `out` of each unit are left out anyhow."""
    if recipe.near_duplicates is not None:
        paths = [task.signatures for task in tasks if task.signatures is not None]
        with _whole(paths):
            yield from _near(Signed(paths), recipe.near_duplicates, [_sources(task) for task in tasks], out)


def _near(
    signed: Signed, settings: NearDuplicates, sources: Sequence[Sequence[str]], out: Sequence[Sequence[Drop]]
) -> _Drops:
    near = find_near(signed, settings, _is_out(signed, out))
    for place, first, similarity in zip(
        near.place.tolist(), near.first.tolist(), near.similarity.tolist(), strict=True
    ):
        source = sources[int(signed.unit[first])][int(signed.piece[first])]
        detail = f"{similarity:.0%} of its runs of words are those of row {signed.row[first]} of {source}"
        drop = Drop(int(signed.piece[place]), int(signed.row[place]), "near_duplicate", detail)
        yield int(signed.unit[place]), [drop]


def _is_out(signed: Signed, out: Sequence[Sequence[Drop]]) -> np.ndarray:
    """Return for each signed row whether it is among the rows `out` of its unit, bool[n]."""
    found = np.zeros(len(signed), dtype=bool)
    for unit, drops in enumerate(out):
        own = np.flatnonzero(signed.unit == unit) if drops else np.empty(0, np.int64)
        rows = _keys(np.array([drop.piece for drop in drops]), np.array([drop.row for drop in drops]))
        found[own] = np.isin(_keys(signed.piece[own], signed.row[own]), rows)
    return found


def _keys(piece: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Return a number for each row of a unit."""
    keys: np.ndarray = (piece.astype(np.int64) << 40) + row.astype(np.int64)
    return keys


def count_duplicates(tasks: Sequence[Task]) -> Counter[str]:
    """Return the number of duplicates of each source, by the hashes that the units wrote."""
    hashes = [task.hashes or task.directory / HASHES for task in tasks]
    with _whole(hashes):
        return count_by_source(hashes, [_sources(task) for task in tasks], find_duplicates(hashes))


@contextmanager
def _whole(hashes: Sequence[Path]) -> Iterator[None]:
    """Raise `OutputError` if the hashes of rows are not what a run wrote."""
    try:
        yield
    except (ValueError, LookupError, EOFError, TypeError, OverflowError) as error:
        work = hashes[0].parent.parent
        raise OutputError(
            f"hashes of rows in {work} were changed, and cannot be read: {one_line(error, 200)}; "
            "remove that folder, then run again"
        ) from None


def _sources(task: Task) -> list[str]:
    return [piece.source for piece in task.unit.slices]
