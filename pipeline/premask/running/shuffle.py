"""Samples in a random order over the whole input, without holding it: two passes over the disk.

    Scatter        the samples of a unit -> its files, dealt out to buckets
    pack_bucket    a bucket of all units -> its samples in order, packed: a unit of its own

Each copy of a sample gets a number of 64 bits that looks random (`mixing.order_keys`) and follows from the
seed, the file, the row and its place in the row. The order of all samples is that of these numbers: a bucket
holds an equal stretch of them, and is small enough to be sorted in memory. So the order depends on no unit,
worker or window.

Cost: about 4 bytes a token on the disk until the output stands, and some 20 ns a token to write and read
them; memory is a pack window and a bucket, which is about as large as a unit.
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
from .choosing import order_keys
from .tasks import BucketTask, Progress

_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")


class Scatter:
    """Where the samples of a unit go that are shuffled: for each split a file of record batches, for each
    window one for each bucket. `path` says where a file of the unit is written."""

    def __init__(
        self, path: Callable[[str], Path], windows: Windows, splits: Sequence[str], buckets: int, seed: int
    ) -> None:
        self._path, self._windows, self._splits = path, windows, splits
        self._buckets, self._seed = buckets, seed
        self._files: dict[str, pa.ipc.RecordBatchFileWriter] = {}
        self._keys: dict[str, np.ndarray] = {}

    def add(self, samples: Samples, split: str) -> None:
        """Take samples of a split; copies of one come together."""
        held = self._keys.get(split, np.zeros(0, dtype=np.uint64))
        self._keys[split] = np.concatenate([held, order_keys(samples.origin, self._seed)])
        for full in self._windows.of(split).add(samples):
            self._deal(full, split)

    def finish(self) -> None:
        """Write what is left, and complete the files."""
        for split in self._splits:
            self._deal(self._windows.of(split).rest(), split)
        for split, file in self._files.items():
            path = self._path(scattered(split))
            with named(path):
                file.close()
                sync(path)

    def _deal(self, samples: Samples, split: str) -> None:
        """Write the samples of a window, a batch for each bucket, each in the order of the keys."""
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
    """Which of equal stretches of 64 bits each key lies in."""
    places: np.ndarray = ((keys >> np.uint64(32)) * np.uint64(buckets)) >> np.uint64(32)
    return places


def _to_arrow(samples: Samples, keys: np.ndarray) -> pa.RecordBatch:
    """One row a sample."""
    bounds = arrow_array((samples.offsets - samples.offsets[0]).astype(np.int32))
    columns = {"tokens": samples.ids, "labels": samples.labels}
    if samples.weights is not None:
        columns["weights"] = samples.weights
    lists = {name: pa.ListArray.from_arrays(bounds, arrow_array(each)) for name, each in columns.items()}
    origin = dict(zip(ORIGIN_SCHEMA.names, samples.origin.columns, strict=True))
    return pa.RecordBatch.from_pydict({"key": arrow_array(keys), **lists, **origin})


def _from_arrow(batch: pa.RecordBatch) -> tuple[Samples, np.ndarray]:
    tokens, labels = flat(batch.column("tokens")), flat(batch.column("labels"))
    weights = flat(batch.column("weights")).values if "weights" in batch.schema.names else None
    origin = batch.select(ORIGIN_SCHEMA.names).cast(ORIGIN_SCHEMA)
    return Samples(tokens.values, labels.values, tokens.offsets, origin, weights), batch.column(
        "key"
    ).to_numpy()


def pack_bucket(
    batches: BatchLabeller, task: BucketTask, progress: Progress | None = None, windows: Windows | None = None
) -> UnitRecord:
    """Pack the samples of a bucket and return the record, whose `extra` has no counts: the units have them.

    A bucket that was done before is not done again.
    """
    done = finished(task)
    if done is not None:
        return done
    if task.store is not None:
        return task.store.keep(task, lambda own: pack_bucket(batches, own, progress, windows))
    recipe = batches.recipe
    windows = windows or Windows(recipe.pack_window)
    with UnitWriter(task.directory, recipe.layout, recipe.max_length, batches.row_format) as writer:
        for split in ("train", *recipe.splits):
            parts = list(_parts(task, split))
            if not parts:
                continue
            samples = concat_samples([part for part, _ in parts])
            order = np.argsort(np.concatenate([keys for _, keys in parts]), kind="stable")
            for full in windows.of(split).add(take_samples(samples, order)):
                writer.add(full, split)
            writer.add(windows.of(split).rest(), split)
        record = writer.commit(key=task.key, extra={"counts": {}, "sources": {}})
    (progress or Progress()).advance(0, 0, record.packs)
    return record


def _parts(task: BucketTask, split: str) -> Iterator[tuple[Samples, np.ndarray]]:
    """The samples of a bucket, of each window of each unit, with their keys."""
    for unit in task.units:
        path = unit / scattered(split)
        if not path.is_file():
            continue
        with named(path), pa.OSFile(str(path)) as file:
            batches = pa.ipc.open_file(file)
            for i in range(task.number, batches.num_record_batches, task.buckets):
                yield _from_arrow(batches.get_batch(i))
