"""Samples gathered until they are packed together, in memory that is used again.

    windows = Windows(recipe.pack_window)
    for full in windows.of("train").add(samples):       # a window that is full
        writer.add(full, "train")
    writer.add(windows.of("train").rest(), "train")

Cost: one copy of each token. Memory is a window, doubled while it grows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from ..core.arrays import arrow_array, offsets_of
from ..core.contract import ORIGIN_SCHEMA
from ..core.records import SampleOrigin, Samples
from ..core.text import storable


class Windows:
    """A window for each split; it parts no `together` samples."""

    def __init__(self, size: int, together: int = 1) -> None:
        self._size, self.together = size, together
        self._windows: dict[str, Window] = {}

    def of(self, split: str) -> Window:
        """The window of a split."""
        if split not in self._windows:
            self._windows[split] = Window(self._size, self.together)
        return self._windows[split]


class Window:
    """Gathers samples until they have `size` tokens or more, which are then packed together.

    What it yields lies in memory that the next samples take: memory that was used before takes them at a
    fifth of the cost of new memory.
    """

    def __init__(self, size: int, together: int = 1) -> None:
        self._size, self._together = size, together
        self._ids = _Buffer(np.int32)
        self._held = HeldSamples(self._ids, _Buffer(np.int32), lambda: _Buffer(np.float32))

    def add(self, samples: Samples) -> Iterator[Samples]:
        """Take samples in; yield each window that they fill. A sample is never cut."""
        while len(self._ids) + len(samples.ids) >= self._size:
            tokens_before = samples.offsets - samples.offsets[0]
            count = int(np.searchsorted(tokens_before, self._size - len(self._ids), side="left"))
            count += -count % self._together
            self._held.add(cut_samples(samples, 0, count))
            yield self.rest()
            samples = cut_samples(samples, count, len(samples.offsets) - 1)
        self._held.add(samples)

    def rest(self) -> Samples:
        """What is held; nothing is afterwards."""
        return self._held.taken()


class Column(Protocol):
    """A row of numbers that grows."""

    def add(self, values: np.ndarray) -> None:
        """Put values at the end."""

    def taken(self) -> np.ndarray:
        """All values; none are held afterwards."""


class HeldSamples:
    """Samples one after another, with ids and labels in a column each; `more` makes one for each of their
    other numbers."""

    def __init__(self, ids: Column, labels: Column, more: Callable[[], Column]) -> None:
        self._ids, self._labels, self._more = ids, labels, more
        self._floats: dict[str, Column] = {}
        self._lengths: list[np.ndarray] = []
        self._origins: list[pa.RecordBatch] = []

    def __len__(self) -> int:
        return sum(map(len, self._lengths))

    def add(self, samples: Samples) -> None:
        """Put samples at the end."""
        self._ids.add(samples.ids)
        self._labels.add(samples.labels)
        for name, values in samples.floats.items():
            if name not in self._floats:
                self._floats[name] = self._more()
            self._floats[name].add(values)
        self._lengths.append(np.diff(samples.offsets))
        self._origins.append(samples.origin)

    def taken(self) -> Samples:
        """All samples; none are held afterwards."""
        lengths, origins = self._lengths, self._origins or [origin_table([])]
        self._lengths, self._origins = [], []
        floats = {name: column.taken() for name, column in self._floats.items()}
        return Samples(
            self._ids.taken(),
            self._labels.taken(),
            offsets_of(np.concatenate([np.zeros(0, np.int64), *lengths])),
            pa.concat_batches(origins),
            {name: values for name, values in floats.items() if len(values)},
        )


class _Buffer:
    """A row of numbers that keeps its memory when they are taken out."""

    def __init__(self, dtype: type[np.generic]) -> None:
        self._memory = np.empty(0, dtype=dtype)
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, values: np.ndarray) -> None:
        """Put values at the end. New memory costs nothing before it is written to, so there is much of it."""
        end = self._size + len(values)
        if end > len(self._memory):
            memory = np.empty(max(end, 2 * len(self._memory), 1 << 24), dtype=self._memory.dtype)
            memory[: self._size] = self._memory[: self._size]
            self._memory = memory
        self._memory[self._size : end] = values
        self._size = end

    def taken(self) -> np.ndarray:
        """All values; they hold until the next are added."""
        size, self._size = self._size, 0
        return self._memory[:size]


def origin_table(origins: Sequence[SampleOrigin]) -> pa.RecordBatch:
    """Origins as Arrow, with the columns of `ORIGIN_SCHEMA`."""
    columns: list[list[Any]] = [
        [storable(each.source) for each in origins],
        [each.row for each in origins],
        [None if each.id is None else storable(each.id) for each in origins],
        [each.sample for each in origins],
        [each.trained_turns for each in origins],
    ]
    arrays = [pa.array(column, type=f.type) for column, f in zip(columns, ORIGIN_SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=ORIGIN_SCHEMA)


def concat_samples(parts: Sequence[Samples]) -> Samples:
    """All samples of the parts, one part after another; one copy. Of no parts: no samples and no floats."""
    if len(parts) == 1:
        return parts[0]
    parts = parts or [_no_samples()]
    names = dict.fromkeys(name for part in parts for name in part.floats)
    floats = {name: [part.floats[name] for part in parts if name in part.floats] for name in names}
    return Samples(
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.labels for part in parts]),
        offsets_of(np.concatenate([np.diff(part.offsets) for part in parts])),
        pa.concat_batches([part.origin for part in parts]),
        {name: np.concatenate(each) for name, each in floats.items()},
    )


def cut_samples(samples: Samples, start: int, stop: int) -> Samples:
    """Samples `start` to `stop`; copies no tokens."""
    first, last = samples.offsets[start], samples.offsets[stop]
    return Samples(
        samples.ids[first:last],
        samples.labels[first:last],
        samples.offsets[start : stop + 1] - first,
        samples.origin.slice(start, stop - start),
        {name: values[first:last] for name, values in samples.floats.items()},
    )


def take_samples(samples: Samples, order: np.ndarray) -> Samples:
    """Samples by their numbers, int64[n], each as often as it is named; one copy."""
    floats = samples.floats.items()
    return Samples(
        take_ranges(samples.ids, samples.offsets, order),
        take_ranges(samples.labels, samples.offsets, order),
        offsets_of(np.diff(samples.offsets)[order]),
        samples.origin.take(arrow_array(order)),
        {name: take_ranges(values, samples.offsets, order) for name, values in floats},
    )


def _no_samples() -> Samples:
    none = np.zeros(0, dtype=np.int32)
    return Samples(none, none, np.zeros(1, dtype=np.int64), origin_table([]))


def take_ranges(values: np.ndarray, offsets: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Copy the ranges `values[offsets[i]:offsets[i+1]]` for the numbers i in `order`, side by side.

    Arrow copies the bytes of a range at once, where numpy takes one value after another: 0.6 ns a token
    instead of 3, 1.4 instead of 5 where samples have but 83 tokens.

    >>> take_ranges(np.array([7, 8, 9]), np.array([0, 1, 3]), np.array([1, 0])).tolist()
    [8, 9, 7]
    """
    bounds = np.asarray(offsets, dtype=np.int64) * values.itemsize
    buffers = [None, pa.py_buffer(bounds), pa.py_buffer(np.ascontiguousarray(values))]
    ranges = pa.Array.from_buffers(pa.large_binary(), len(bounds) - 1, buffers)
    data = ranges.take(arrow_array(order)).buffers()[2]
    size = int(np.diff(offsets)[order].sum())
    return np.frombuffer(data, dtype=values.dtype, count=size) if size else values[:0]
