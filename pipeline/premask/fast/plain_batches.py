"""Batches of rows, with the rows that have a shape as columns. They are read without an object per message.

    for batch in read_batches(piece, "openai"):         # part of a file -> batches of rows
        for i, shape, texts in zip(batch.shaped.index, batch.shaped.shapes, batch.shaped.texts):
            print(batch.numbers[i], shape, texts)
        batch.row(0)                                     # any row of the batch

A row has a shape if its conversation consists of slots and nothing else (`core/shapes.py`): texts, reasoning,
tool calls, tool results, tools, marks and weights. Shape and texts equal the conversation that its dialect
reads. Every other row is not in `shaped` and takes the slow path. A row with a shape may take the slow path,
too: it gives the same result.

The format decides how these rows are found. Lines of JSONL are parsed directly into slots (`jsonl_rows.py`).
Parquet is read as Arrow arrays (`parquet_rows.py`). All other rows are read one by one (`shaped_row` of
`dialects`): JSON, CSV, and the dialects that do not declare how their turns are written.

Cost, for a row of four turns and 460 bytes: 2.5 us from JSONL, 1.6 us from Parquet; if a plain row is checked
by itself, 6 us besides parsing; if its dialect reads it, 15 us a message. Memory is that of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from ..core.records import Row, Slice
from ..dialects import Form, plain_turns, shaped_rows
from ..dialects.shaped import ShapedRows
from ..sources.blocks import Block
from ..sources.line_blocks import LineBlock
from ..sources.reading import read_blocks
from ..sources.table_blocks import TableBlock
from .jsonl_rows import LineReader
from .parquet_rows import plain_rows_of_table

__all__ = ["RowBatch", "ShapedRows", "batch_of", "read_batches", "read_single_rows"]

BATCH_ROWS = 1024
"""Rows of a batch; fewer if they are long."""


@dataclass(frozen=True, slots=True)
class RowBatch:
    """Consecutive rows of one file."""

    block: Block
    shaped: ShapedRows

    @property
    def source(self) -> str:
        """The file, as in `Row.source`."""
        return self.block.source

    @property
    def numbers(self) -> np.ndarray:
        """Row numbers as in `Row.row`, int64[n]."""
        return self.block.numbers

    @property
    def left_out(self) -> Mapping[str, int]:
        """Number of rows that the selection of the source left out since the last batch, by option."""
        return self.block.left_out

    def row(self, i: int) -> Row:
        """Return row `i` of the batch, as `read_slice` does; a new object at each call.

        Raises `SourceError` if it cannot be read.
        """
        return self.block.row(i)

    def cut(self, first: int, last: int) -> RowBatch:
        """Return rows `first` to `last`; what was left out belongs to the first rows of a batch."""
        if first == 0 and last == len(self):
            return self
        place = np.arange(len(self))
        block = self.block.taken((place >= first) & (place < last))
        return RowBatch(replace(block, left_out={}) if first else block, self.shaped.cut(first, last))

    def __len__(self) -> int:
        return len(self.block.numbers)


def read_batches(
    piece: Slice, dialect: Form, rows: int = BATCH_ROWS, take: Callable[[Block], Block] | None = None
) -> Iterator[RowBatch]:
    """Yield all rows of a slice in batches of at most `rows`, in the order of `read_slice`.

    `take` chooses rows of a block before any row is read. Raises `SourceError` as `read_slice` does, but
    perhaps some rows earlier, or only when `row` is called.
    """
    find = _finder(dialect)
    for block in read_blocks(piece, rows):
        wanted = block if take is None else take(block)
        yield RowBatch(wanted, find(wanted))


def batch_of(block: Block, dialect: Form) -> RowBatch:
    """Return the rows of a block as a batch."""
    return RowBatch(block, _finder(dialect)(block))


def read_single_rows(
    piece: Slice, dialect: Form, numbers: np.ndarray, begin: Callable[[np.ndarray], None]
) -> Iterator[RowBatch]:
    """Yield rows of a slice by their numbers, int64[n], in batches of one row; `begin` is called with the
    number of each, int64[1], before it is read."""
    find = _finder(dialect)
    for block in read_blocks(piece, BATCH_ROWS):
        for at in np.flatnonzero(np.isin(block.numbers, numbers)).tolist():
            row = block.taken(np.arange(len(block.numbers)) == at)
            begin(row.numbers)
            yield RowBatch(row, find(row))


def _finder(dialect: Form) -> Callable[[Block], ShapedRows]:
    """Return what finds the rows with a shape in the blocks of a slice."""
    plain = plain_turns(dialect)
    if plain is None or not isinstance(dialect, str):
        return lambda block: _one_by_one(block, dialect)
    lines = LineReader(plain, dialect)

    def find(block: Block) -> ShapedRows:
        if isinstance(block, LineBlock):
            return lines.shaped_rows(block)
        if isinstance(block, TableBlock):
            return plain_rows_of_table(block, plain, dialect)
        return _one_by_one(block, dialect)

    return find


def _one_by_one(block: Block, dialect: Form) -> ShapedRows:
    """Return the rows with a shape, each read by itself; a row with an error has the value null."""
    return shaped_rows((block.row(at).value for at in range(len(block.numbers))), dialect)
