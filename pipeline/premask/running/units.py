"""A unit of work: some input rows in, the files of one shard and a record out.

    Task(unit, dialects, directory, key)  ->  run_unit(batches, task)  ->  UnitRecord

`run_unit` is what a runner calls, and before it `scan_unit` where duplicates are dropped. What they write
depends on the task alone, never on who runs it, when, or beside what; doing it twice gives the same files.
Memory: one pack window of tokens a split.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from types import MappingProxyType

import numpy as np

from ..core.atomic_files import named, sync
from ..core.errors import RowError
from ..core.records import Reject, Samples, Slice
from ..fast.plain_batches import BATCH_ROWS, read_batches
from ..labeller import reject
from ..output.shards import HASHES, UnitRecord, UnitWriter
from ..output.unit_store import finished
from ..output.windows import Windows
from ..sources.reading import read_blocks
from .batches import BatchLabeller, LabelledBatch, no_samples
from .cache import RowCache
from .choosing import choose, twins_of
from .crashes import Failures, read_failures, without_rows
from .duplicates import hashed_rows, plain_keys, read_dropped, write_hashes
from .shuffle import Scatter
from .tasks import Account, Progress, Task, rows_of

# ==== Doing a unit ====


def run_unit(
    batches: BatchLabeller, task: Task, progress: Progress | None = None, windows: Windows | None = None
) -> UnitRecord:
    """Do a unit and return its record; a unit that was done before is not done again.

    The record's `extra` holds the counts and what became of the rows of each source. Empty
    `windows` of the recipe's size can be handed from one unit of a process to the next.
    """
    progress = progress or Progress()
    done = finished(task)
    if done is not None:
        progress.advance(rows_of(done), done.tokens, done.packs)
        return done
    if task.store is not None:
        return task.store.keep(task, lambda own: run_unit(batches, own, progress, windows))
    recipe, counts, accounts = batches.recipe, Counter[str](), dict[str, Account]()
    failures = read_failures(task.failures)
    dropped = None if task.dropped is None else read_dropped(task.dropped)
    splits, hashes = ("train", *recipe.splits), list[np.ndarray]()
    with UnitWriter(task.directory, recipe.layout, recipe.max_length, batches.row_format) as writer:
        sink = _sink(batches, task, writer, windows or Windows(recipe.pack_window))
        for number, piece in enumerate(task.unit.slices):
            account = accounts.setdefault(piece.source, Account())
            for batch in _labelled(batches, task, number, failures):
                choice = choose(recipe, piece, batch, twins_of(dropped, number))
                account.add(choice.account)
                counts.update(choice.counts)
                writer.reject(choice.rejects)
                if batch.keys is not None and dropped is None:
                    keys = batch.keys
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


def _sink(batches: BatchLabeller, task: Task, writer: UnitWriter, windows: Windows) -> _Packing | Scatter:
    recipe = batches.recipe
    splits = ("train", *recipe.splits)
    if not task.buckets:
        return _Packing(writer, windows, splits)
    return Scatter(writer.path, windows, splits, task.buckets, recipe.seed)


def scan_unit(
    batches: BatchLabeller, task: Task, progress: Progress | None = None, windows: Windows | None = None
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
                    keys.add(at, batches.labeller.read(batch.row(at), dialect)[0])
                except RowError:  # it goes to the ledger when the unit is done
                    continue
            parts.append(hashed_rows(number, batch.numbers, keys.hashes, keys.known))
    with named(task.hashes):
        scratch = task.hashes.with_name(f".{task.hashes.name}")
        write_hashes(scratch, parts)
        sync(scratch)
        scratch.rename(task.hashes)
    return None


def _labelled(batches: BatchLabeller, task: Task, number: int, failures: Failures) -> Iterable[LabelledBatch]:
    """The batches of a slice through all stages, from the cache where it has them; rows that are set aside
    come last, or are all there is."""
    piece = task.unit.slices[number]
    dialect = task.dialects[piece.source]
    if failures.all_rows:
        return _all_aside(piece, failures.all_rows)
    if aside := failures.of_piece(number):
        others = read_batches(piece, dialect, take=without_rows(aside))
        return chain((batches.run(batch, dialect) for batch in others), [_aside(aside)])

    def label() -> Iterator[LabelledBatch]:
        return (batches.run(batch, dialect) for batch in read_batches(piece, dialect))

    if batches.recipe.cache is None:
        return label()
    return RowCache(Path(batches.recipe.cache)).batches(task.cache_keys[number], label)


def _all_aside(piece: Slice, why: str) -> Iterator[LabelledBatch]:
    """The rows of a slice without a look at them, but for their text."""
    for block in read_blocks(piece, BATCH_ROWS):
        rows = map(block.row, range(len(block.numbers)))
        yield _aside([reject(row, RowError("crashed", why)) for row in rows], block.left_out)


def _aside(lines: list[Reject], left_out: Mapping[str, int] = MappingProxyType({})) -> LabelledBatch:
    return no_samples(lines, np.array([line.row for line in lines], dtype=np.int64), left_out)
