"""Blocks of rows that are Arrow tables, whatever file they are from.

TableBlock   consecutive rows of a table; a row is made when it is asked for
apart        block -> blocks with a schema, rows that are too large alone
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from ..core.errors import SourceError, one_line
from ..core.records import Row, Slice
from ..core.strict_json import without_nulls
from .blocks import Block, block_of
from .large_rows import HEAD, Cut, large_row
from .row_sizes import head_of, row_sizes
from .where import Condition

BATCH_BYTES = 16 << 20
"""What the rows of a batch may come to, going by the averages of the file."""


@dataclass(frozen=True, slots=True)
class TableBlock(Block):
    """Consecutive rows of a table. `maps` says how Arrow makes objects of its maps."""

    table: pa.RecordBatch
    maps: str | None
    piece: Slice

    @property
    def size(self) -> int:
        """Bytes of its table."""
        return int(self.table.nbytes)

    def row(self, i: int) -> Row:
        """Turn row `i` of the block into Python objects; what cannot be raises `SourceError`."""
        number = int(self.numbers[i])
        try:
            (value,) = _values_of(self.table.slice(i, 1), self.maps)
        except (pa.ArrowException, ValueError, KeyError) as error:
            raise broken(self.piece, f"row {number}: {one_line(error)}") from None
        return Row(self.source, number, value)

    def values(self, columns: Sequence[str]) -> list[Any]:
        """The rows as `row` has them, but of some columns only."""
        return _values_of(self.table.select(columns), self.maps)

    def taken(self, mask: np.ndarray) -> TableBlock:
        """The rows of a mask, bool[n]."""
        return replace(self, numbers=self.numbers[mask], table=self.table.filter(pa.array(mask)))

    def holds(self, asked: Condition) -> np.ndarray:
        """Where a condition holds, bool[n], asked of whole columns."""
        return asked.of_table(self.source, self.table)

    def narrowed(self, columns: Sequence[str]) -> TableBlock:
        """The rows with some columns only."""
        names = [name for name in self.table.schema.names if name in columns]
        return replace(self, table=self.table.select(names))


def table_block(source: str, numbers: np.ndarray, table: pa.RecordBatch) -> TableBlock:
    """A block of rows that were never in a file; their columns have types that Parquet gives back."""
    return TableBlock(source, numbers, table, maps_of(table.schema), _WHOLE._replace(source=source))


_WHOLE = Slice("", "parquet", None, 0, None, None, None)


def broken(piece: Slice, what: str) -> SourceError:
    """The error of a file of tables that is damaged."""
    form = piece.format.capitalize()
    return SourceError(f"{piece.source} cannot be read as {form}: {what}; fetch or write it again")


def _values_of(table: pa.RecordBatch, maps: str | None) -> list[Any]:
    return [without_nulls(value) for value in table.to_pylist(maps_as_pydicts=maps)]


def apart(block: TableBlock, schema: pa.Schema, rows: int) -> Iterator[Block]:
    """A block in blocks with a schema: rows that are too large alone, the others some MB at a time."""
    limit, sizes = block.piece.max_row_bytes, row_sizes(block.table)
    for first, last in _spans(sizes, limit, rows):
        if sizes[first] > limit:
            cut = Cut(head_of(block.table, first).encode()[:HEAD], int(sizes[first]))
            yield block_of(block.source, [large_row(block.source, int(block.numbers[first]), cut, limit)])
            continue
        table = block.table.slice(first, last - first)
        if not table.schema.equals(schema):
            table = table.take(pa.array(range(last - first))).cast(schema)  # a cast ignores slices of lists
        yield replace(block, numbers=block.numbers[first:last], table=table)


def _spans(sizes: np.ndarray, limit: int, rows: int) -> Iterator[tuple[int, int]]:
    """Stretches of rows (first, one past the last) of `BATCH_BYTES`; rows beyond the limit alone."""
    first, held = 0, 0
    for at, size in enumerate(sizes.tolist()):
        if at > first and (held + size > BATCH_BYTES or size > limit or held > limit or at - first == rows):
            yield first, at
            first, held = at, 0
        held += size
    if len(sizes):
        yield first, len(sizes)


def maps_of(schema: pa.Schema) -> str | None:
    """Asking for dicts makes Arrow four times slower, so it is asked only where there are maps."""
    return "strict" if "map<" in str(schema) else None
