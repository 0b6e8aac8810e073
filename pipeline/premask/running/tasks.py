"""The tasks of a run, one a unit, and what they need to know of each other: which rows are duplicates.

    tasks = make_tasks(recipe, identity, output, units, dialects)
    drop_duplicates(tasks)                      # after `scan_unit` on all of them, before `run_unit`
    counted = count_duplicates(tasks)           # after `run_unit`

Cost: that of `duplicates.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..core.recipe import Duplicates, Recipe
from ..core.records import Slice, Unit
from ..dialects import Form
from ..output.directory import Output
from ..output.identity import RunIdentity
from ..output.shards import HASHES, UnitRecord
from ..output.unit_store import UnitStore
from ..output.windows import Windows
from .batches import BatchLabeller
from .cache import slice_key
from .duplicates import count_by_source, find_duplicates, write_dropped


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


# ==== The records ====


class Progress:
    """Told how a run goes on; this one keeps silent."""

    def start(self, rows: int | None) -> None:
        """Work begins on so many rows, None if they have not been counted."""

    def advance(self, rows: int, tokens: int, packs: int) -> None:
        """So much was done since the last call."""

    def begin(self, piece: int, rows: np.ndarray) -> None:
        """Work begins on rows of a slice of a unit, by their numbers in the file; told where a row is looked
        for that the work dies of."""

    def say(self, text: str) -> None:
        """The run waits for something."""


ATTEMPTS = 3
"""How often a unit may fail before it is looked into, unless the runner is told otherwise."""


Job = Callable[[BatchLabeller, Any, "Progress | None", "Windows | None"], Any]
"""What is done on a task: `run_unit`, `pack_bucket` and the like. Can be pickled."""


@dataclass(frozen=True)
class BucketTask:
    """A bucket to pack: its number among `buckets`, the directories of all units, where its own files go, the
    key of the run, where it is kept how the task failed, if it ever did, and where finished units are kept,
    if not there."""

    number: int
    buckets: int
    units: Sequence[Path]
    directory: Path
    key: str
    failures: Path
    store: UnitStore | None = None


@dataclass(frozen=True)
class Task:
    """A unit, the dialect of each of its sources, where its files go, and the key of the run.

    `cache_keys` are the names that the slices of the unit have in the recipe's cache. `hashes` and `dropped`
    are files, where duplicates are dropped: of the hashes of the unit's rows, and of those that are. If the
    samples are shuffled, `buckets` says among how many files they are dealt out; else it is 0. `failures` is
    where it is kept how the unit failed, if it ever did. `store` keeps the finished unit, where the output
    goes to one; `directory` is then a scratch directory.
    """

    unit: Unit
    dialects: Mapping[str, Form]
    directory: Path
    key: str
    failures: Path
    cache_keys: tuple[str, ...] = ()
    hashes: Path | None = None
    dropped: Path | None = None
    buckets: int = 0
    store: UnitStore | None = None

    @property
    def shares_files(self) -> bool:
        """Whether other processes must see the files that this one writes, in the same place."""
        return self.store is None or self.hashes is not None or self.buckets > 0


@dataclass
class Account:
    """What became of the rows of a source: of `rows` read, `kept` gave a sample, `dropped` are duplicates,
    and the others were rejected or left out, by the reason or the setting that did it."""

    rows: int = 0
    kept: int = 0
    dropped: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)

    def add(self, other: Account) -> None:
        """Add what became of other rows."""
        self.rows += other.rows
        self.kept += other.kept
        self.dropped += other.dropped
        self.rejected.update(other.rejected)
        self.left_out.update(other.left_out)

    def as_dict(self) -> dict[str, Any]:
        """The account as JSON values."""
        counts = {"rows": self.rows, "kept": self.kept, "dropped": self.dropped}
        return {**counts, "rejected": dict(self.rejected), "left_out": dict(self.left_out)}


def accounts_of(record: UnitRecord) -> dict[str, Account]:
    """What became of the rows of each source, as the record of a unit has it."""
    accounts = {}
    for source, each in record.extra["sources"].items():
        counters = {name: Counter(each[name]) for name in ("rejected", "left_out")}
        accounts[source] = Account(each["rows"], each["kept"], each["dropped"], **counters)
    return accounts


def rows_of(record: UnitRecord) -> int:
    """How many rows a unit read."""
    return sum(each["rows"] for each in record.extra["sources"].values())
