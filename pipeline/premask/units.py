"""A unit of work: some input rows in, the files of one shard and a record out.

    Task(unit, dialects, directory, key)  ->  run_unit(stages, task)  ->  UnitRecord

`run_unit` is what a runner calls, and before it `scan_unit` where duplicates are dropped. What they write
depends on the task alone, never on who runs it, when, or beside what; doing it twice gives the same files.
Memory: one pack window of tokens a split.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from .blocks import Block
from .cache import LabelledBatch, RowCache
from .core.atomic_files import named, sync
from .core.errors import RowError
from .core.records import Reject, Samples, Slice, Unit
from .dialects import Form
from .duplicates import Dropped, hashed_rows, read_dropped, write_hashes
from .failures import Failures, read_failures
from .fast.plain_batches import BATCH_ROWS, read_batches
from .labeller import Stages, reject
from .mixing import assign_splits, count_copies
from .outcome import Outcome
from .output.shards import HASHES, UnitRecord, UnitWriter
from .output.store import UnitStore, finished
from .output.windows import Windows, take_samples
from .progress import Progress
from .rowkeys import plain_keys
from .scatter import Scatter
from .sources import read_blocks


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


# ==== Doing a unit ====


def run_unit(
    stages: Stages, task: Task, progress: Progress | None = None, windows: Windows | None = None
) -> UnitRecord:
    """Do a unit and return its record; a unit that was done before is not done again.

    The record's `extra` holds the counts of the stages and what became of the rows of each source. Empty
    `windows` of the recipe's size can be handed from one unit of a process to the next.
    """
    progress = progress or Progress()
    done = finished(task)
    if done is not None:
        progress.advance(rows_of(done), done.tokens, done.packs)
        return done
    if task.store is not None:
        return task.store.keep(task, lambda own: run_unit(stages, own, progress, windows))
    recipe, counts, accounts = stages.recipe, Counter[str](), dict[str, Account]()
    failures = read_failures(task.failures)
    dropped = None if task.dropped is None else read_dropped(task.dropped)
    splits, hashes = ("train", *recipe.splits), list[np.ndarray]()
    with UnitWriter(task.directory, recipe.layout, recipe.max_length, stages.row_format) as writer:
        sink = _sink(stages, task, writer, windows or Windows(recipe.pack_window))
        for number, piece in enumerate(task.unit.slices):
            account = accounts.setdefault(piece.source, Account())
            for batch in _labelled(stages, task, number, failures):
                choice = _choose(stages, piece, batch, _of_piece(dropped, number))
                account.add(choice.account)
                counts.update(choice.counts)
                writer.reject(choice.rejects)
                if batch.outcome.keys is not None and dropped is None:
                    keys = batch.outcome.keys
                    hashes.append(hashed_rows(number, batch.numbers, keys.hashes, keys.known))
                for at, part in choice.parts:
                    sink.add(part, splits[at])
                progress.advance(choice.account.rows, sum(len(part.ids) for _, part in choice.parts), 0)
        sink.finish()
        if dropped is None:
            with named(task.directory):
                write_hashes(writer.path(HASHES), hashes)
                sync(writer.path(HASHES))
        told = {source: account.as_dict() for source, account in accounts.items()}
        extra = {"counts": dict(counts), "sources": told}
        if failures.why:
            rows = sum(account.rejected["crashed"] for account in accounts.values())
            extra["set_aside"] = {"rows": rows, "error": failures.why}
        record = writer.commit(key=task.key, extra=extra)
    progress.advance(0, 0, record.packs)
    return record


class _Packing:
    """Where the samples of a unit go that are packed as they come."""

    def __init__(self, writer: UnitWriter, windows: Windows, splits: Sequence[str]) -> None:
        self._writer, self._windows, self._splits = writer, windows, splits

    def add(self, samples: Samples, split: str) -> None:
        for full in self._windows.of(split).add(samples):
            self._writer.add(full, split)

    def finish(self) -> None:
        for split in self._splits:
            self._writer.add(self._windows.of(split).rest(), split)


def _sink(stages: Stages, task: Task, writer: UnitWriter, windows: Windows) -> _Packing | Scatter:
    recipe = stages.recipe
    splits = ("train", *recipe.splits)
    if not task.buckets:
        return _Packing(writer, windows, splits)
    return Scatter(writer.path, windows, splits, task.buckets, recipe.seed)


def scan_unit(
    stages: Stages, task: Task, progress: Progress | None = None, windows: Windows | None = None
) -> UnitRecord | None:
    """Write down the hashes of a unit's rows, to find duplicates before any work is done on them."""
    del progress, windows
    if task.hashes is None or task.hashes.is_file():
        return None
    parts, failures = [], read_failures(task.failures)
    for number, piece in enumerate(task.unit.slices if not failures.all_rows else ()):
        dialect = task.dialects[piece.source]
        for batch in read_batches(piece, dialect, take=without_rows(failures.of_piece(number))):
            keys = plain_keys(batch.plain, len(batch))
            for at in np.flatnonzero(~keys.known).tolist():
                try:
                    keys.add(at, stages.read(batch.row(at), dialect)[0])
                except RowError:  # it goes to the ledger when the unit is done
                    continue
            parts.append(hashed_rows(number, batch.numbers, keys.hashes, keys.known))
    with named(task.hashes):
        scratch = task.hashes.with_name(f".{task.hashes.name}")
        write_hashes(scratch, parts)
        sync(scratch)
        scratch.rename(task.hashes)
    return None


def _labelled(stages: Stages, task: Task, number: int, failures: Failures) -> Iterable[LabelledBatch]:
    """The batches of a slice through all stages, from the cache where it has them; rows that are set aside
    come last, or are all there is."""
    piece = task.unit.slices[number]
    dialect = task.dialects[piece.source]
    if failures.all_rows:
        return _all_aside(piece, failures.all_rows)
    if aside := failures.of_piece(number):
        batches = read_batches(piece, dialect, take=without_rows(aside))
        ran = (LabelledBatch(batch.numbers, stages.run(batch, dialect), batch.left_out) for batch in batches)
        return chain(ran, [_aside(aside)])

    def label() -> Iterator[LabelledBatch]:
        for batch in read_batches(piece, dialect):
            yield LabelledBatch(batch.numbers, stages.run(batch, dialect), batch.left_out)

    if stages.recipe.cache is None:
        return label()
    return RowCache(Path(stages.recipe.cache)).batches(task.cache_keys[number], label)


def without_rows(lines: Sequence[Reject]) -> Callable[[Block], Block]:
    """Takes the rows of a block that are not among these."""
    rows = np.array([line.row for line in lines], dtype=np.int64)

    def take(block: Block) -> Block:
        aside = np.isin(block.numbers, rows)
        return block.taken(~aside) if aside.any() else block

    return take


def _all_aside(piece: Slice, why: str) -> Iterator[LabelledBatch]:
    """The rows of a slice without a look at them, but for their text."""
    for block in read_blocks(piece, BATCH_ROWS):
        rows = map(block.row, range(len(block.numbers)))
        yield _aside([reject(row, RowError("crashed", why)) for row in rows], block.left_out)


def _aside(lines: list[Reject], left_out: Mapping[str, int] = MappingProxyType({})) -> LabelledBatch:
    numbers = np.array([line.row for line in lines], dtype=np.int64)
    return LabelledBatch(numbers, Outcome([], np.zeros(0, dtype=np.int64), lines), left_out)


# ==== Choosing among labelled rows ====


@dataclass
class _Choice:
    """What is taken of a batch: samples, each part with the number of its split; lines of the ledger; counts;
    and what became of its rows."""

    parts: list[tuple[int, Samples]]
    rejects: list[Reject]
    counts: Counter[str]
    account: Account


@dataclass(frozen=True)
class _Twins:
    """Duplicates in a slice: their numbers, ascending, and file and number of the first one of each."""

    rows: np.ndarray
    sources: list[str]
    first: np.ndarray


def _of_piece(dropped: Dropped | None, number: int) -> _Twins | None:
    if dropped is None:
        return None
    own = np.flatnonzero(dropped.piece == number)
    return _Twins(dropped.row[own], [dropped.source[i] for i in own.tolist()], dropped.first[own])


def _choose(stages: Stages, piece: Slice, batch: LabelledBatch, twins: _Twins | None) -> _Choice:
    """Leave out duplicates, take rows as often as their source says, and share them out to splits."""
    recipe, outcome, numbers = stages.recipe, batch.outcome, batch.numbers
    entry = recipe.sources[piece.entry]
    again, rejects = np.zeros(len(numbers), dtype=bool), outcome.rejects
    if twins is not None and len(twins.rows):
        again = np.isin(numbers, twins.rows)
        rejects = _with_twins(piece.source, outcome, numbers, again, twins)
    copies = count_copies(piece.source, numbers, entry.repeat, recipe.seed)
    copies[again] = 0
    has_sample = np.zeros(len(numbers), dtype=bool)
    has_sample[outcome.of_row] = True
    reasons = Counter(reject.reason for reject in rejects)
    dropped = reasons.pop("duplicate", 0)
    left_out = Counter(batch.left_out)
    left_out["repeat"] = int(np.count_nonzero(has_sample & ~again & (copies == 0)))
    account = Account(
        len(numbers) + sum(batch.left_out.values()),
        int(np.count_nonzero(has_sample & (copies > 0))),
        dropped,
        reasons,
        +left_out,
    )
    if recipe.splits and outcome.keys is not None:
        splits = assign_splits(outcome.keys.groups, recipe.splits, recipe.seed)[outcome.of_row]
    else:
        splits = np.zeros(len(outcome.of_row), dtype=np.int8)
    of_sample = copies[outcome.of_row]
    of_sample[splits > 0] = np.minimum(of_sample[splits > 0], 1)  # what a model is measured on comes once
    counts = outcome.counted(of_sample)
    counts["verified"] = outcome.verified
    return _Choice(list(_parts(outcome, of_sample, splits)), rejects, +counts, account)


def _parts(outcome: Outcome, copies: np.ndarray, splits: np.ndarray) -> Iterator[tuple[int, Samples]]:
    """The samples of each split, each as often as wanted; copies of one stand beside each other."""
    if (copies == 1).all() and not splits.any():
        yield from ((0, part) for part in outcome.parts)
        return
    samples = outcome.samples
    for split in np.unique(splits).tolist():
        own = np.flatnonzero(splits == split)
        order = np.repeat(own, copies[own])
        if len(order):
            yield split, take_samples(samples, order)


def _with_twins(
    source: str, outcome: Outcome, numbers: np.ndarray, again: np.ndarray, twins: _Twins
) -> list[Reject]:
    """The rejects of a batch, with its duplicates among them; a duplicate is nothing but that."""
    lines = {reject.row: reject for reject in outcome.rejects}
    ids = outcome.keys.ids if outcome.keys is not None else [None] * len(numbers)
    for at in np.flatnonzero(again).tolist():
        row = int(numbers[at])
        place = int(np.searchsorted(twins.rows, row))
        detail = f"the same conversation is row {twins.first[place]} of {twins.sources[place]}"
        lines[row] = Reject(source, row, ids[at], "duplicate", detail, None)
    return [lines[row] for row in sorted(lines)]
