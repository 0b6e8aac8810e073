"""Rows with a shape: a conversation as a shape and texts (`core/shapes.py`), without an object per message.

    ShapedRow    of one row: its shape, the texts of its slots, the id
    ShapedRows   those of a batch

`shaped_row` of this package finds them in rows as Python objects. `fast/` finds the same ones in whole
batches.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

from ..core.shapes import RowShape

ShapedRow = tuple[RowShape, list[str], "str | None"]
"""Of one row: its shape, the texts of its slots, the id."""


@dataclass(frozen=True, slots=True)
class ShapedRows:
    """The rows of a batch that have a shape, one item each.

    index   which rows of the batch they are, ascending
    shapes  the shape of each row
    texts   the texts of its slots
    ids     what `row_id` gives

    One list each: tuples of rows would double the work of the garbage collector.

    >>> from premask.core.shapes import plain_shape
    >>> rows = ShapedRows()
    >>> rows.add(3, (plain_shape(("user", "assistant")), ["Hi", "Hello"], "a"))
    >>> rows.index, rows.texts, rows.ids
    ([3], [['Hi', 'Hello']], ['a'])
    """

    index: list[int] = field(default_factory=list)
    shapes: list[RowShape] = field(default_factory=list)
    texts: list[list[str]] = field(default_factory=list)
    ids: list[str | None] = field(default_factory=list)

    def add(self, at: int, row: ShapedRow) -> None:
        """Append row `at` of the batch."""
        shape, texts, id_ = row
        self.index.append(at)
        self.shapes.append(shape)
        self.texts.append(texts)
        self.ids.append(id_)

    def cut(self, first: int, last: int) -> ShapedRows:
        """Return the rows with a shape among rows `first` to `last` of the batch."""
        low, high = bisect_left(self.index, first), bisect_left(self.index, last)
        index = [at - first for at in self.index[low:high]]
        return ShapedRows(index, self.shapes[low:high], self.texts[low:high], self.ids[low:high])
