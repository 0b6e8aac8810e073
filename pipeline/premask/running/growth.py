"""How many rows of a batch are filled together: as many as are expected to have `FILL_BYTES` of text.

    growth = Growth()
    for first, last in growth.spans(batch, size): ...
    growth.learn(shaped, masked)          # after some rows were filled

A template may print the history of each turn again, so that a row becomes hundreds of times its own text. How
many times is known only after rows of its kind were filled. The result of a run does not depend on it.

Cost: 30 ns a text.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import numpy as np

from ..core.arrays import offsets_of
from ..core.records import MaskedTexts
from ..dialects.shaped import ShapedRows
from ..fast.plain_batches import RowBatch

FILL_BYTES = 16 << 20
"""Bytes of text that are expected of rows that are filled together, at most, unless it is one row."""

_FIRST = 16.0  # expected growth before any row was filled


class Growth:
    """How many times its own text a row becomes, by the last rows that were filled."""

    def __init__(self) -> None:
        self._factor = _FIRST

    def spans(self, batch: RowBatch, size: int) -> Iterator[tuple[int, int]]:
        """Yield spans of rows (first, one past the last) that are to be filled together; a larger `size` than
        `FILL_BYTES` takes its place."""
        limit = max(size, FILL_BYTES) / self._factor
        if _characters(batch.shaped) <= limit:
            yield 0, len(batch)
            return
        sizes = np.zeros(len(batch), dtype=np.int64)
        sizes[batch.shaped.index] = [sum(map(len, texts)) for texts in batch.shaped.texts]
        before, at = offsets_of(sizes), 0
        while at < len(batch):
            stop = max(at + 1, int(np.searchsorted(before, before[at] + limit, side="right")) - 1)
            yield at, stop
            at = stop

    def learn(self, shaped: ShapedRows, masked: MaskedTexts) -> None:
        """Note how much text was made of rows. Expectations fall slowly, because rows differ."""
        found = int(masked.sizes.sum()) / max(1, _characters(shaped))
        self._factor = max(1.0, found, self._factor / 2)


def _characters(shaped: ShapedRows) -> int:
    return sum(map(len, chain.from_iterable(shaped.texts)))
