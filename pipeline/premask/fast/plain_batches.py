"""Rows in batches, the plain ones as columns: what most rows need is read without an object a message.

    read_batches   part of a file -> batches of rows
    RowBatch       its plain rows as columns (`batch.plain`), and any of its rows (`batch.row(i)`)

A row is plain when it is a list of turns with a known role and a text each, and nothing else that counts
(`dialects/plain.py`). Such a row comes out as `normalize` would have it; every other row is not in `plain`
and goes the ordinary way. Not plain is always right, only slow.

    for batch in read_batches(piece, "openai"):
        for i, roles, texts in zip(batch.plain.index, batch.plain.roles, batch.plain.texts):
            print(batch.numbers[i], roles, texts)

How plain rows are found depends on how the rows lie: lines of JSONL are parsed straight into turns
(`lines.py`), Parquet is looked at as Arrow arrays (`tables.py`), JSON and CSV are parsed as ever and then
looked at row by row. The rows of dialects that do not say what is plain are normalized, and are plain if they
come to roles and texts alone.

Cost, for a row of four turns and 460 bytes: 2.5 us from JSONL, 1.6 us from Parquet, 6 us above what parsing
takes where a row is looked at by itself, 15 us where it is normalized; memory is that of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ..core.records import Row, Slice
from ..dialects import Form, plain_by_reading, plain_turns
from ..dialects.plain import PlainRows, plain_rows_of
from ..sources.blocks import Block
from ..sources.jsonl import LineBlock
from ..sources.parquet import TableBlock
from ..sources.reading import read_blocks
from .jsonl_rows import LineReader
from .parquet_rows import plain_rows_of_table

__all__ = ["PlainRows", "RowBatch", "read_batches"]

BATCH_ROWS = 1024
"""Rows of a batch; fewer where they are long."""


@dataclass(frozen=True, slots=True)
class RowBatch:
    """Consecutive rows of one file."""

    block: Block
    plain: PlainRows

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
        """How many rows the source's selection left out since the last batch, by the option that did."""
        return self.block.left_out

    def row(self, i: int) -> Row:
        """Row `i` of the batch, the same that `read_slice` gives; made anew at each call.

        Raises `SourceError` where it cannot be read.
        """
        return self.block.row(i)

    def __len__(self) -> int:
        return len(self.block.numbers)


def read_batches(
    piece: Slice, dialect: Form, rows: int = BATCH_ROWS, take: Callable[[Block], Block] | None = None
) -> Iterator[RowBatch]:
    """Yield the rows of a slice in batches of at most `rows`: all that `read_slice` gives, in its order.

    `take` says which rows of a block are wanted, before any of them is looked at. Raises `SourceError` like
    `read_slice`, but maybe some rows earlier, or only when `row` is called.
    """
    find = _finder(dialect)
    for block in read_blocks(piece, rows):
        wanted = block if take is None else take(block)
        yield RowBatch(wanted, find(wanted))


def _finder(dialect: Form) -> Callable[[Block], PlainRows]:
    """What finds the plain rows of the blocks of a slice."""
    plain = plain_turns(dialect)
    if plain is None:
        return lambda block: _by_reading(block, dialect)
    lines = LineReader(plain)

    def find(block: Block) -> PlainRows:
        if isinstance(block, LineBlock):
            return lines.plain_rows(block)
        if isinstance(block, TableBlock):
            return plain_rows_of_table(block, plain)
        return plain_rows_of((block.row(i).value for i in range(len(block.numbers))), plain)

    return find


def _by_reading(block: Block, dialect: Form) -> PlainRows:
    """The plain rows of a dialect that does not say how they are written: each row is read."""
    found = PlainRows()
    for at in range(len(block.numbers)):
        row = block.row(at)
        plain = plain_by_reading(row.value, dialect) if row.error is None else None
        if plain is not None:
            found.add(at, plain)
    return found
