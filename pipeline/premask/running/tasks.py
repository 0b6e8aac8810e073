"""The tasks of a run, one per unit, and the account of their rows.

tasks = make_tasks(recipe, identity, output, units, dialects)
accounts_of(record)["chats.jsonl"].kept     # of a unit that is done
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..core.recipe import Recipe
from ..core.records import Slice, Unit
from ..dialects import Form
from ..output.directory import Output
from ..output.identity import RunIdentity
from ..output.shards import UnitRecord
from ..output.unit_store import UnitStore
from ..output.windows import Windows
from .batches import BatchLabeller
from .cache import slice_key
from .dropped import readable
from .mixture import read_sizes, resolve


def make_tasks(
    recipe: Recipe,
    identity: RunIdentity,
    output: Output,
    units: Sequence[Unit],
    dialects: Mapping[str, Form],
) -> list[Task]:
    """Return a task for each unit; `dialects` are those of the files."""
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
            output.hashes(unit.number) if recipe.compares else None,
            output.dropped(unit.number) if recipe.scans else None,
            len(units) if recipe.shuffle else 0,
            output.store,
            cache=cached,
            sizes=output.sizes(unit.number) if recipe.mixes else None,
            signatures=output.signatures(unit.number) if recipe.near_duplicates else None,
            contaminated=output.contaminated(unit.number) if recipe.decontaminate else None,
            evaluation=output.evaluation if recipe.decontaminate else None,
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


def mix(recipe: Recipe, tasks: Sequence[Task]) -> list[Task]:
    """Return tasks with how often the rows of each source are used; the sizes of all rows are known."""
    repeats = resolve(recipe, [_sizes(task.sizes) for task in tasks if task.sizes is not None])
    return [replace(task, repeats=repeats) for task in tasks]


def _sizes(path: Path) -> np.ndarray:
    with readable(path):
        return read_sizes(path)


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
    hashes      if rows are compared first (`Recipe.compares`), the file with the hashes of its rows
    dropped     if rows are scanned first (`Recipe.scans`), the file with the rows that are left out
    buckets     with `shuffle`, the number of buckets; else 0
    store       where finished units are kept, if the output is in a store
    cache       the folder of the rows that are kept; None if none are
    sizes       with a mixture, the file with the sizes of its rows
    repeats     with a mixture, how often the rows of each source are used
    shared      the folder through which other processes label rows of this unit; None if none do
    signatures  with `near_duplicates`, the file with the signatures of its rows
    contaminated, evaluation
                with `decontaminate`, the file with its contaminated rows, and the index of evaluation sets
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
    signatures: Path | None = None
    contaminated: Path | None = None
    evaluation: Path | None = None

    @property
    def shares_files(self) -> bool:
        """Whether other processes must see the files of this task, under the same path."""
        return self.store is None or self.dropped is not None or self.sizes is not None or self.buckets > 0


@dataclass
class Account:
    """The account of the rows of a source.

    rows      rows that were read
    kept      rows that gave a sample
    dropped   duplicates
    rejected  rejected rows, by reason
    left_out  rows that a setting left out, by setting
    used      kept rows, as often as they are used
    tokens    tokens of their samples, likewise; `trained_tokens` are those that are trained
    """

    rows: int = 0
    kept: int = 0
    dropped: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    used: int = 0
    tokens: int = 0
    trained_tokens: int = 0

    def add(self, other: Account) -> None:
        """Add the account of other rows."""
        self.rows += other.rows
        self.kept += other.kept
        self.dropped += other.dropped
        self.rejected.update(other.rejected)
        self.left_out.update(other.left_out)
        self.used += other.used
        self.tokens += other.tokens
        self.trained_tokens += other.trained_tokens

    def as_dict(self) -> dict[str, Any]:
        """Return the account as JSON values."""
        counts = {name: getattr(self, name) for name in _NUMBERS}
        return {**counts, "rejected": dict(self.rejected), "left_out": dict(self.left_out)}


_NUMBERS = ("rows", "kept", "dropped", "used", "tokens", "trained_tokens")


def accounts_of(record: UnitRecord) -> dict[str, Account]:
    """Return the account of each source, from the record of a unit."""
    accounts = {}
    for source, each in record.extra["sources"].items():
        numbers: dict[str, Any] = {name: each.get(name, 0) for name in _NUMBERS}
        numbers |= {name: Counter(each[name]) for name in ("rejected", "left_out")}
        accounts[source] = Account(**numbers)
    return accounts


def rows_of(record: UnitRecord) -> int:
    """Return the number of rows that a unit read."""
    return sum(each["rows"] for each in record.extra["sources"].values())
