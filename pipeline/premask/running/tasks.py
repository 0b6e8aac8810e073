"""The tasks of a run, one per unit, and the duplicates among their rows.

    tasks = make_tasks(recipe, identity, output, units, dialects)
    drop_duplicates(tasks)                      # after `scan_unit` on all of them, before `run_unit`
    counted = count_duplicates(tasks)           # after `run_unit`

Cost: see `duplicates.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import OutputError, one_line
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
from .mixture import read_sizes, resolve


def make_tasks(
    recipe: Recipe,
    identity: RunIdentity,
    output: Output,
    units: Sequence[Unit],
    dialects: Mapping[str, Form],
) -> list[Task]:
    """Return a task for each unit; `dialects` are those of the files."""
    drop = recipe.duplicates is Duplicates.drop
    files = {each["source"]: each for each in identity.inputs}

    cached = Path(recipe.cache) if recipe.cache else output.rows if recipe.mixes else None

    def cache_key(piece: Slice) -> str:
        return slice_key(identity, recipe, piece, dialects[piece.source], files[piece.source])

    return [
        Task(
            unit,
            dialects,
            output.unit(unit.number),
            identity.unit_key,
            output.failures(unit.number),
            tuple(map(cache_key, unit.slices)) if cached else (),
            output.hashes(unit.number) if drop else None,
            output.dropped(unit.number) if drop else None,
            len(units) if recipe.shuffle else 0,
            output.store,
            cache=cached,
            sizes=output.sizes(unit.number) if recipe.mixes else None,
        )
        for unit in units
    ]


def bucket_tasks(tasks: Sequence[Task | BucketTask], output: Output) -> list[BucketTask]:
    """Return the tasks of a shuffle, one per bucket; their numbers continue those of the units."""
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
    """Write for each task, or for a part of them, which of its rows are duplicates."""
    hashes = [task.hashes for task in tasks if task.hashes is not None]
    targets: list[Path | None] = [None] * len(tasks)
    targets[part] = [task.dropped for task in tasks[part]]
    with _whole(hashes):
        write_dropped(hashes, targets, [_sources(task) for task in tasks], find_duplicates(hashes))


def count_duplicates(tasks: Sequence[Task]) -> Counter[str]:
    """Return the number of duplicates of each source, by the hashes that the units wrote."""
    hashes = [task.hashes or task.directory / HASHES for task in tasks]
    with _whole(hashes):
        return count_by_source(hashes, [_sources(task) for task in tasks], find_duplicates(hashes))


def mix(recipe: Recipe, tasks: Sequence[Task]) -> list[Task]:
    """Return tasks with how often the rows of each source are used; the sizes of all rows are known."""
    sizes = [task.sizes for task in tasks if task.sizes is not None]
    with _whole(sizes):
        repeats = resolve(recipe, [read_sizes(path) for path in sizes])
    return [replace(task, repeats=repeats) for task in tasks]


@contextmanager
def _whole(hashes: Sequence[Path]) -> Iterator[None]:
    """Raise `OutputError` if the hashes of rows are not what a run wrote."""
    try:
        yield
    except (ValueError, LookupError, EOFError, TypeError, OverflowError) as error:
        work = hashes[0].parent.parent
        raise OutputError(
            f"hashes or sizes of rows in {work} were changed, and cannot be read: {one_line(error, 200)}; "
            "remove that folder, then run again"
        ) from None


def _sources(task: Task) -> list[str]:
    return [piece.source for piece in task.unit.slices]


# ==== The records ====


class Progress:
    """Receives the progress of a run; this one ignores it."""

    def start(self, rows: int | None) -> None:
        """Work begins; `rows` is None if they have not been counted."""

    def advance(self, rows: int, tokens: int, packs: int) -> None:
        """Work was done since the last call: so many rows, tokens and packs."""

    def begin(self, piece: int, rows: np.ndarray) -> None:
        """Work begins on rows of a slice, by their numbers in the file; only in a search for the row that
        ends its worker."""

    def say(self, text: str) -> None:
        """The run reports an event, such as a retry or what it waits for."""


Job = Callable[[BatchLabeller, Any, "Progress | None", "Windows | None"], Any]
"""Work on a task: `run_unit`, `pack_bucket` and so on. Can be pickled."""


@dataclass(frozen=True)
class BucketTask:
    """A bucket to pack.

    number, buckets  its number, and the number of all buckets
    units            the directories of all units
    directory        where its own files are written
    key              the key of the run
    failures         the file with its failures, if any
    store            where finished units are kept, if the output is in a store
    """

    number: int
    buckets: int
    units: Sequence[Path]
    directory: Path
    key: str
    failures: Path
    store: UnitStore | None = None

    @property
    def title(self) -> str:
        """Its name, for messages."""
        return f"bucket {self.number} of the shuffle"


@dataclass(frozen=True)
class Task:
    """A unit to process.

    unit        its slices
    dialects    the dialect of each source
    directory   where its files are written; a scratch directory if the output is in a store
    key         the key of the run
    failures    the file with its failures, if any
    cache_keys  the keys of its slices in the cache
    hashes      with `duplicates: drop`, the file with the hashes of its rows
    dropped     with `duplicates: drop`, the file with its duplicates
    buckets     with `shuffle`, the number of buckets; else 0
    store       where finished units are kept, if the output is in a store
    cache       the folder of the rows that are kept; None if none are
    sizes       with a mixture, the file with the sizes of its rows
    repeats     with a mixture, how often the rows of each source are used
    shared      the folder through which other processes label rows of this unit; None if none do
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
    shared: Path | None = None
    cache: Path | None = None
    sizes: Path | None = None
    repeats: tuple[float, ...] = ()

    @property
    def shares_files(self) -> bool:
        """Whether other processes must see the files of this task, under the same path."""
        return self.store is None or self.hashes is not None or self.sizes is not None or self.buckets > 0


@dataclass
class Account:
    """The account of the rows of a source.

    rows      rows that were read
    kept      rows that gave a sample
    dropped   duplicates
    rejected  rejected rows, by reason
    left_out  rows that a setting left out, by setting
    """

    rows: int = 0
    kept: int = 0
    dropped: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)

    def add(self, other: Account) -> None:
        """Add the account of other rows."""
        self.rows += other.rows
        self.kept += other.kept
        self.dropped += other.dropped
        self.rejected.update(other.rejected)
        self.left_out.update(other.left_out)

    def as_dict(self) -> dict[str, Any]:
        """Return the account as JSON values."""
        counts = {"rows": self.rows, "kept": self.kept, "dropped": self.dropped}
        return {**counts, "rejected": dict(self.rejected), "left_out": dict(self.left_out)}


def accounts_of(record: UnitRecord) -> dict[str, Account]:
    """Return the account of each source, from the record of a unit."""
    accounts = {}
    for source, each in record.extra["sources"].items():
        counters = {name: Counter(each[name]) for name in ("rejected", "left_out")}
        accounts[source] = Account(each["rows"], each["kept"], each["dropped"], **counters)
    return accounts


def rows_of(record: UnitRecord) -> int:
    """Return the number of rows that a unit read."""
    return sum(each["rows"] for each in record.extra["sources"].values())
