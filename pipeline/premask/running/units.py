"""A unit of work: input rows in, the files of one shard and a record out.

    Task(unit, dialects, directory, key)  ->  run_unit(batches, task)  ->  UnitRecord

A runner calls `run_unit`. The files depend on the task
alone, not on the worker, the time or other tasks. The same task always gives the same files.

Cost: memory is one pack window of tokens per split.
"""

from __future__ import annotations

import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from types import MappingProxyType
from typing import Any

import numpy as np

from ..core.atomic_files import named, sync
from ..core.errors import RowError
from ..core.recipe import Recipe
from ..core.records import Reject, Samples, Slice
from ..dialects import Form
from ..fast.plain_batches import BATCH_ROWS, read_batches
from ..labeller import reject
from ..output.shards import HASHES, UnitRecord, UnitWriter
from ..output.unit_store import finished
from ..output.windows import Windows
from ..sources.mapping import as_read
from ..sources.reading import read_blocks
from .batches import BatchLabeller, LabelledBatch, no_samples
from .cache import RowCache
from .choosing import choose, measure, pack_counts, pack_order
from .crashes import Failures, read_failures, without_rows
from .dropped import Dropped, read_dropped
from .duplicates import hashed_rows, write_hashes
from .mixture import write_sizes
from .sharing import SharedSlice
from .shuffle import Scatter
from .tasks import Account, Progress, Task, rows_of

# ==== Processing a unit ====


def run_unit(
    batches: BatchLabeller, task: Task, progress: Progress | None = None, windows: Windows | None = None
) -> UnitRecord:
    """Process a unit and return its record. A unit that is already done is not processed again.

    The `extra` of the record has the counts and the account of each source. Empty `windows` of the recipe's
    size can be reused by the next unit of the same process.
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
    splits, hashes, cached = ("train", *recipe.splits), list[np.ndarray](), 0
    totals: dict[int, Counter[str]] = defaultdict(Counter)
    order = pack_order(recipe)
    with UnitWriter(task.directory, recipe.layout, recipe.max_length, batches.row_format, order) as writer:
        sink = sink_of(recipe, task.buckets, writer, windows or Windows(recipe.pack_window, recipe.together))
        for number, piece in enumerate(task.unit.slices):
            account = accounts.setdefault(piece.source, Account())
            for batch in _labelled(batches, task, number, failures):
                choice = choose(recipe, piece, batch, _of_piece(dropped, number), task.repeats)
                totals[piece.entry].update(choice.totals)
                account.add(choice.account)
                counts.update(choice.counts)
                cached += len(batch.numbers) * batch.from_cache
                writer.reject(choice.rejects)
                if batch.keys is not None and task.hashes is None:
                    keys = batch.keys
                    hashes.append(hashed_rows(number, batch.numbers, keys.hashes, keys.known))
                for at, part in choice.parts:
                    sink.add(part, splits[at])
                progress.advance(choice.account.rows, sum(len(part.ids) for _, part in choice.parts), 0)
        sink.finish()
        if task.hashes is None:
            with named(task.directory):
                write_hashes(writer.path(HASHES), hashes)
                sync(writer.path(HASHES))
        extra = _extra({**counts, **pack_counts(writer)}, accounts, failures)
        extra |= (
            {"mixture": {str(entry): dict(each) for entry, each in totals.items()}} if recipe.mixes else {}
        )
        extra |= {"from_cache": cached} if recipe.cache is not None else {}
        record = writer.commit(key=task.key, extra=extra)
    if task.shared is not None:
        shutil.rmtree(task.shared, ignore_errors=True)
    progress.advance(0, 0, record.packs)
    return record


def _of_piece(dropped: Dropped | None, number: int) -> Dropped | None:
    return None if dropped is None else dropped.of_piece(number)


def _extra(counts: Mapping[str, int], accounts: Mapping[str, Account], failures: Failures) -> dict[str, Any]:
    """Return what the record of a unit has of its rows."""
    sources = {source: account.as_dict() for source, account in accounts.items()}
    extra: dict[str, Any] = {"counts": dict(counts), "sources": sources}
    if failures.why:
        rows = sum(account.rejected["crashed"] for account in accounts.values())
        extra["set_aside"] = {"rows": rows, "error": failures.why}
    return extra


class _Packing:
    """Packs the samples of a unit in their order."""

    def __init__(self, writer: UnitWriter, windows: Windows, splits: Sequence[str]) -> None:
        self._writer, self._windows, self._splits = writer, windows, splits

    def add(self, samples: Samples, split: str) -> None:
        for full in self._windows.of(split).add(samples):
            self._writer.add(full, split)

    def finish(self) -> None:
        for split in self._splits:
            self._writer.add(self._windows.of(split).rest(), split)


def sink_of(recipe: Recipe, buckets: int, writer: UnitWriter, windows: Windows) -> _Packing | Scatter:
    """Return what takes the samples of a unit: it packs them, or writes them for the buckets of a shuffle."""
    splits = ("train", *recipe.splits)
    if not buckets:
        return _Packing(writer, windows, splits)
    return Scatter(writer.path, windows, splits, buckets, recipe.seed)


def measure_unit(
    batches: BatchLabeller, task: Task, progress: Progress | None = None, windows: Windows | None = None
) -> UnitRecord | None:
    """Label the rows of a unit, keep them in the cache, and write their sizes."""
    del progress, windows
    if task.sizes is None or task.sizes.is_file():
        return None
    recipe, failures = batches.recipe, read_failures(task.failures)
    dropped = None if task.dropped is None else read_dropped(task.dropped)
    parts = [
        measure(recipe, piece, batch, _of_piece(dropped, number))
        for number, piece in enumerate(task.unit.slices)
        for batch in _labelled(batches, task, number, failures)
    ]
    write_sizes(task.sizes, parts)
    return None


def _labelled(batches: BatchLabeller, task: Task, number: int, failures: Failures) -> Iterable[LabelledBatch]:
    """Return the labelled batches of a slice, from the cache if it has them; skipped rows come last."""
    piece = task.unit.slices[number]
    dialect = task.dialects[piece.source]
    if failures.all_rows:
        return _all_skipped(piece, failures.all_rows)
    if skipped := failures.of_piece(number):
        others = read_batches(piece, dialect, take=without_rows(skipped))
        return chain(
            (part for batch in others for part in batches.parts(batch, dialect)), [_skipped(skipped)]
        )

    label = partial(_label, batches, dialect=dialect)
    if task.shared is not None:
        return SharedSlice(task.shared, number, piece).batches(label)
    if task.cache is None:
        return label(piece)
    return RowCache(task.cache).batches(task.cache_keys[number], piece, label)


def _label(batches: BatchLabeller, piece: Slice, dialect: Form) -> Iterator[LabelledBatch]:
    return (part for batch in read_batches(piece, dialect) for part in batches.parts(batch, dialect))


def label_shared(
    batches: BatchLabeller, task: Task, progress: Progress | None = None, windows: Windows | None = None
) -> None:
    """Label rows of a unit that another process packs, until all of its rows are taken."""
    del progress, windows
    if task.shared is None:
        return
    for number, piece in enumerate(task.unit.slices):
        label = partial(_label, batches, dialect=task.dialects[piece.source])
        SharedSlice(task.shared, number, piece).help(label)


def _all_skipped(piece: Slice, why: str) -> Iterator[LabelledBatch]:
    """Yield the rows of a slice as skipped; only their text is read."""
    for block in read_blocks(as_read(piece), BATCH_ROWS):
        rows = map(block.row, range(len(block.numbers)))
        yield _skipped([reject(row, RowError("crashed", why)) for row in rows], block.left_out)


def _skipped(lines: list[Reject], left_out: Mapping[str, int] = MappingProxyType({})) -> LabelledBatch:
    return no_samples(lines, np.array([line.row for line in lines], dtype=np.int64), left_out)
