"""Shuffling: samples in a random order over the whole input, in two passes over the disk.

    Scatter        the samples of a unit -> its files, one batch per bucket
    pack_bucket    one bucket of all units -> its samples in order, packed as a unit of its own

Each copy of a sample gets a pseudorandom number of 64 bits (`choosing.order_keys`). It depends only on the
seed, the file, the row, and the index of the sample in the row. Samples are sorted by these numbers. Each
bucket is an equal range of them, small enough to be sorted in memory. So the order does not depend on units,
workers or windows.

Cost: about 4 bytes a token on disk until the output is finished, and about 20 ns a token to write and read
them. Memory is a pack window and `TOKENS_AT_ONCE` of a bucket, which is about as large as a unit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from ..core.arrays import arrow_array
from ..core.atomic_files import named, sync
from ..core.contract import ORIGIN_SCHEMA
from ..core.records import Samples
from ..output.dataset import flat
from ..output.shards import UnitRecord, UnitWriter, scattered
from ..output.unit_store import finished
from ..output.windows import Windows, concat_samples, cut_samples, take_samples
from .batches import BatchLabeller
from .choosing import order_keys, pack_counts, pack_order
from .tasks import BucketTask, Progress

TOKENS_AT_ONCE = 24_000_000
"""Tokens of a bucket that are sorted at a time. A bucket has more only if the template prints the history of
each turn again; then it is read again for each part of it."""

_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")


class Scatter:
    """Writes the samples of a unit for a shuffle.

    Each split has a file of record batches: for each window, one batch per bucket. `path` returns the path of
    a file of the unit.
    """

    def __init__(
        self, path: Callable[[str], Path], windows: Windows, splits: Sequence[str], buckets: int, seed: int
    ) -> None:
        self._path, self._windows, self._splits = path, windows, splits
        self._buckets, self._seed = buckets, seed
        self._files: dict[str, pa.ipc.RecordBatchFileWriter] = {}
        self._keys: dict[str, np.ndarray] = {}

    def add(self, samples: Samples, split: str) -> None:
        """Add samples of a split; copies of a sample are adjacent."""
        held = self._keys.get(split, np.zeros(0, dtype=np.uint64))
        self._keys[split] = np.concatenate(
            [held, order_keys(samples.origin, self._seed, self._windows.together)]
        )
        for full in self._windows.of(split).add(samples):
            self._deal(full, split)

    def finish(self) -> None:
        """Write the rest, and complete the files."""
        for split in self._splits:
            self._deal(self._windows.of(split).rest(), split)
        for split, file in self._files.items():
            path = self._path(scattered(split))
            with named(path):
                file.close()
                sync(path)

    def _deal(self, samples: Samples, split: str) -> None:
        """Write the samples of a window, one batch per bucket, in the order of their keys."""
        n = len(samples.origin)
        if not n:
            return
        keys, self._keys[split] = self._keys[split][:n], self._keys[split][n:]
        order = np.argsort(keys, kind="stable")
        samples, keys = take_samples(samples, order), keys[order]
        edges = np.searchsorted(_bucket_of(keys, self._buckets), np.arange(self._buckets + 1))
        for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            batch = _to_arrow(cut_samples(samples, start, stop), keys[start:stop])
            path = self._path(scattered(split))
            with named(path):
                if split not in self._files:
                    self._files[split] = pa.ipc.new_file(str(path), batch.schema, options=_OPTIONS)
                self._files[split].write_batch(batch)


def _bucket_of(keys: np.ndarray, buckets: int) -> np.ndarray:
    """Return the bucket of each key: equal ranges of 64 bits."""
    numbers: np.ndarray = ((keys >> np.uint64(32)) * np.uint64(buckets)) >> np.uint64(32)
    return numbers


_FLOATS = "floats."
"""What the names of columns begin with that hold other numbers of tokens."""


def _to_arrow(samples: Samples, keys: np.ndarray) -> pa.RecordBatch:
    """Return samples as a table with one row per sample."""
    bounds = arrow_array((samples.offsets - samples.offsets[0]).astype(np.int32))
    columns = {"tokens": samples.ids, "labels": samples.labels}
    columns |= {f"{_FLOATS}{name}": values for name, values in samples.floats.items()}
    lists = {name: pa.ListArray.from_arrays(bounds, arrow_array(each)) for name, each in columns.items()}
    origin = dict(zip(ORIGIN_SCHEMA.names, samples.origin.columns, strict=True))
    return pa.RecordBatch.from_pydict({"key": arrow_array(keys), **lists, **origin})


def _from_arrow(batch: pa.RecordBatch) -> tuple[Samples, np.ndarray]:
    tokens, labels = flat(batch.column("tokens")), flat(batch.column("labels"))
    names = [name for name in batch.schema.names if name.startswith(_FLOATS)]
    floats = {name.removeprefix(_FLOATS): flat(batch.column(name)).values for name in names}
    origin = batch.select(ORIGIN_SCHEMA.names).cast(ORIGIN_SCHEMA)
    return Samples(tokens.values, labels.values, tokens.offsets, origin, floats), batch.column(
        "key"
    ).to_numpy()


def pack_bucket(
    batches: BatchLabeller, task: BucketTask, progress: Progress | None = None, windows: Windows | None = None
) -> UnitRecord:
    """Pack the samples of a bucket and return its record. The counts are in the records of the units.

    A bucket that is already done is not packed again.
    """
    done = finished(task)
    if done is not None:
        return done
    if task.store is not None:
        return task.store.keep(task, lambda own: pack_bucket(batches, own, progress, windows))
    recipe = batches.recipe
    windows = windows or Windows(recipe.pack_window, recipe.together)
    order = pack_order(recipe)
    with UnitWriter(task.directory, recipe.layout, recipe.max_length, batches.row_format, order) as writer:
        for split in ("train", *recipe.splits):
            for samples in _in_order(task, split):
                for full in windows.of(split).add(samples):
                    writer.add(full, split)
            writer.add(windows.of(split).rest(), split)
        record = writer.commit(key=task.key, extra={"counts": pack_counts(writer), "sources": {}})
    (progress or Progress()).advance(0, 0, record.packs)
    return record


def _in_order(task: BucketTask, split: str) -> Iterator[Samples]:
    """Yield the samples of a bucket in the order of their keys, about `TOKENS_AT_ONCE` at a time."""
    parts, tokens = list[tuple[Samples, np.ndarray]](), 0
    for part in _parts(task, split):
        parts.append(part)
        tokens += len(part[0].ids)
        if tokens > TOKENS_AT_ONCE:
            break
    else:
        if parts:
            yield _sorted(parts)
        return
    del parts, part
    for low, high in _key_ranges(task, split):
        yield _sorted([_within(*part, low, high) for part in _parts(task, split)])


def _sorted(parts: list[tuple[Samples, np.ndarray]]) -> Samples:
    samples = concat_samples([part for part, _ in parts])
    return take_samples(samples, np.argsort(np.concatenate([keys for _, keys in parts]), kind="stable"))


def _key_ranges(task: BucketTask, split: str) -> list[tuple[int, int | None]]:
    """Return ranges of keys whose samples are sorted together: the first key, and one past the last; None for
    no end."""
    found = [(keys, np.diff(samples.offsets)) for samples, keys in _parts(task, split)]
    keys, lengths = (np.concatenate(each) for each in zip(*found, strict=True))
    order = np.argsort(keys, kind="stable")
    number = (np.cumsum(lengths[order]) - 1) // TOKENS_AT_ONCE
    starts = np.flatnonzero(np.diff(number) != 0) + 1
    edges = [0, *np.unique(keys[order][starts]).tolist()]
    return list(zip(edges, [*edges[1:], None], strict=True))


def _within(samples: Samples, keys: np.ndarray, low: int, high: int | None) -> tuple[Samples, np.ndarray]:
    """Return the samples with keys in a range, in memory of their own; keys are ascending."""
    first = int(np.searchsorted(keys, np.uint64(low)))
    stop = len(keys) if high is None else int(np.searchsorted(keys, np.uint64(high)))
    if stop - first == len(keys):
        return samples, keys
    return take_samples(samples, np.arange(first, stop)), keys[first:stop].copy()


def _parts(task: BucketTask, split: str) -> Iterator[tuple[Samples, np.ndarray]]:
    """Yield the samples of a bucket, with their keys, per window of each unit."""
    for unit in task.units:
        path = unit / scattered(split)
        if not path.is_file():
            continue
        with named(path), pa.OSFile(str(path)) as file:
            batches = pa.ipc.open_file(file)
            for i in range(task.number, batches.num_record_batches, task.buckets):
                yield _from_arrow(batches.get_batch(i))
