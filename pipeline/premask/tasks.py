"""The tasks of a run, one a unit, and what they need to know of each other: which rows are duplicates.

    tasks = make_tasks(recipe, identity, output, units, dialects)
    drop_duplicates(tasks)                      # after `scan_unit` on all of them, before `run_unit`
    counted = count_duplicates(tasks)           # after `run_unit`

Cost: that of `duplicates.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from .cache import slice_key
from .core.recipe import Duplicates, Recipe
from .core.records import Slice, Unit
from .dialects import Form
from .duplicates import count_by_source, find_duplicates, write_dropped
from .output.directory import Output
from .output.identity import RunIdentity
from .output.shards import HASHES
from .scatter import BucketTask
from .units import Task


def make_tasks(
    recipe: Recipe,
    identity: RunIdentity,
    output: Output,
    units: Sequence[Unit],
    dialects: Mapping[str, Form],
) -> list[Task]:
    """A task for each unit; `dialects` has that of each file."""
    drop = recipe.duplicates is Duplicates.drop
    files = {each["source"]: each for each in identity.inputs}

    def cache_key(piece: Slice) -> str:
        about = [files[piece.source], piece.start_row, piece.stop_row, repr(dialects[piece.source])]
        return slice_key(identity, recipe, recipe.sources[piece.entry], about)

    return [
        Task(
            unit,
            dialects,
            output.unit(unit.number),
            identity.unit_key,
            output.failures(unit.number),
            tuple(map(cache_key, unit.slices)) if recipe.cache else (),
            output.hashes(unit.number) if drop else None,
            output.dropped(unit.number) if drop else None,
            len(units) if recipe.shuffle else 0,
            output.store,
        )
        for unit in units
    ]


def bucket_tasks(tasks: Sequence[Task], output: Output) -> list[BucketTask]:
    """The tasks that follow `tasks` where samples are shuffled: one a bucket, numbered on from the units."""
    units, count = [task.directory for task in tasks], len(tasks)
    return [
        BucketTask(
            number,
            count,
            units,
            output.unit(count + number),
            task.key,
            output.failures(count + number),
            output.store,
        )
        for number, task in enumerate(tasks)
    ]


def drop_duplicates(tasks: Sequence[Task], part: slice = slice(None)) -> None:
    """Write down for each task, or for a part of them, which of its rows are duplicates."""
    hashes = [task.hashes for task in tasks if task.hashes is not None]
    targets: list[Path | None] = [None] * len(tasks)
    targets[part] = [task.dropped for task in tasks[part]]
    write_dropped(hashes, targets, [_sources(task) for task in tasks], find_duplicates(hashes))


def count_duplicates(tasks: Sequence[Task]) -> Counter[str]:
    """How many duplicates each source has, by what the units have written down."""
    hashes = [task.hashes or task.directory / HASHES for task in tasks]
    return count_by_source(hashes, [_sources(task) for task in tasks], find_duplicates(hashes))


def _sources(task: Task) -> list[str]:
    return [piece.source for piece in task.unit.slices]
