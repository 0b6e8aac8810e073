"""The best of items that come in batches, keeping only those.

    best = Best(8)
    best.offer(lengths, numbers, make)      # for each batch
    best.items()                            # the 8 longest, each made by `make(i)`

Cost: a comparison an item, once there are enough.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

import numpy as np


class Best:
    """The `limit` items with the greatest keys; of equal keys the first. Of items that are the same, one."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._heap: list[tuple[float, int, int, Any]] = []
        self._count = 0

    def offer(self, keys: np.ndarray, same: np.ndarray, make: Callable[[int], Any]) -> None:
        """Take those of n items that are among the best, by their keys, [n]; `make(i)` gives item i, and
        equal numbers in `same`, [n], mean equal items."""
        low = self._heap[0][0] if len(self._heap) == self.limit else -np.inf
        good = np.flatnonzero(keys > low)
        good = good[np.sort(np.unique(same[good], return_index=True)[1])]
        if len(good) > self.limit:
            good = np.sort(good[np.argsort(-keys[good], kind="stable")[: self.limit]])
        known = {entry[2] for entry in self._heap} if len(good) else set[int]()
        for i in good.tolist():
            entry = (float(keys[i]), -(self._count + i), int(same[i]))
            if entry[2] in known:
                continue
            if len(self._heap) < self.limit:
                heapq.heappush(self._heap, (*entry, make(i)))
            elif entry[:2] > self._heap[0][:2]:
                known.discard(heapq.heapreplace(self._heap, (*entry, make(i)))[2])
            known.add(entry[2])
        self._count += len(keys)

    def items(self) -> list[Any]:
        """What was kept, best first."""
        return [entry[3] for entry in sorted(self._heap, key=lambda entry: entry[:2], reverse=True)]
