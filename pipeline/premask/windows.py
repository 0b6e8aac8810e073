"""Samples gathered until they are packed together, in memory that is used again.

    windows = Windows(recipe.pack_window)
    for full in windows.of("train").add(samples):       # a window that is full
        writer.add(full, "train")
    writer.add(windows.of("train").rest(), "train")

Cost: one copy of each token. Memory is a window, doubled while it grows.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from .core.arrays import offsets_of
from .core.records import Samples
from .packing import cut_samples, origin_table


class Windows:
    """A window for each split."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._windows: dict[str, Window] = {}

    def of(self, split: str) -> Window:
        """The window of a split."""
        if split not in self._windows:
            self._windows[split] = Window(self._size)
        return self._windows[split]


class Window:
    """Gathers samples until they have `size` tokens or more, which are then packed together.

    What it yields lies in memory that the next samples take: memory that was used before takes them at a
    fifth of the cost of new memory.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._ids, self._labels = _Buffer(np.int32), _Buffer(np.int32)
        self._weights = _Buffer(np.float32)
        self._lengths: list[np.ndarray] = []
        self._origins: list[pa.RecordBatch] = []

    def add(self, samples: Samples) -> Iterator[Samples]:
        """Take samples in; yield each window that they fill. A sample is never cut."""
        while len(self._ids) + len(samples.ids) >= self._size:
            tokens_before = samples.offsets - samples.offsets[0]
            count = int(np.searchsorted(tokens_before, self._size - len(self._ids), side="left"))
            self._hold(cut_samples(samples, 0, count))
            yield self.rest()
            samples = cut_samples(samples, count, len(samples.offsets) - 1)
        self._hold(samples)

    def rest(self) -> Samples:
        """What is held; nothing is afterwards."""
        lengths, origins = self._lengths, self._origins or [origin_table([])]
        self._lengths, self._origins = [], []
        ids, labels, weights = (each.taken() for each in (self._ids, self._labels, self._weights))
        return Samples(
            ids,
            labels,
            offsets_of(np.concatenate([np.zeros(0, np.int64), *lengths])),
            pa.concat_batches(origins),
            weights if len(weights) else None,
        )

    def _hold(self, samples: Samples) -> None:
        self._ids.add(samples.ids)
        self._labels.add(samples.labels)
        if samples.weights is not None:
            self._weights.add(samples.weights)
        self._lengths.append(np.diff(samples.offsets))
        self._origins.append(samples.origin)


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
