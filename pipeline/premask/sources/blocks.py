"""Rows that are not yet made: a block of lines, of elements of an array, of an Arrow table, or of objects.

    block.row(i)         make one row
    block.taken(mask)    some of its rows
    selected(blocks)     blocks -> the rows of each that its source's selection takes

Most rows are never made: `columns` reads the plain ones from the lines or the table. So a block keeps what
was read, and what makes a row of it stands here, in one place for all who ask.

    for block in read_blocks(piece, 1024):
        print(block.numbers, block.row(0).value)

Cost: parsing a line at each call of `row`; a condition parses each line once more.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from typing import Any

import numpy as np
import pyarrow as pa

from ..core.errors import SourceError, one_line
from ..core.records import Row, Selection, Slice
from ..core.strict_json import parse_json, reason
from .files import BOM, decoded
from .json_array import place_of
from .where import Condition, condition, sampled


@dataclass(frozen=True, slots=True)
class LineBlock:
    """Consecutive lines of JSONL, blank ones left out; numbers int64[n] are those of the lines.

    In all blocks `left_out` counts the rows before and among those of the block that were not taken.
    """

    source: str
    numbers: np.ndarray
    lines: Sequence[bytes]
    left_out: Mapping[str, int] = field(default_factory=dict, kw_only=True)

    def row(self, i: int) -> Row:
        """Parse line `i` of the block."""
        return row_of_line(self.source, int(self.numbers[i]), self.lines[i])

    def taken(self, mask: np.ndarray) -> LineBlock:
        """The rows of a mask, bool[n]."""
        return replace(self, numbers=self.numbers[mask], lines=list(compress(self.lines, mask)))


@dataclass(frozen=True, slots=True)
class ElementBlock(LineBlock):
    """Consecutive elements of a JSON array, as bytes; starts int64[n] are the bytes where they begin."""

    starts: np.ndarray
    piece: Slice

    def row(self, i: int) -> Row:
        """Parse element `i`; a syntax error ends the run, because what follows may be cut in the wrong
        places."""
        number, data = int(self.numbers[i]), self.lines[i]
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            what = f"is not UTF-8: {error.reason} at {self._place(i, error.start)}"
            raise SourceError(f"{self.source} {what}, row {number}; convert it to UTF-8") from None
        original = " ".join(map(str.strip, text.split("\n"))) if "\n" in text else text
        try:
            return Row(self.source, number, parse_json(text), original=original)
        except json.JSONDecodeError as error:
            what = f"{error.msg} at {self._place(i, len(text[: error.pos].encode()))}, row {number}"
            raise SourceError(f"{self.source} is not valid JSON: {what}; mend it") from None
        except ValueError as error:
            return Row(self.source, number, None, original=original, error=reason(error))

    def _place(self, i: int, byte: int) -> str:
        """A byte of element `i` in the file, in words."""
        return place_of(self.source, self.piece.compression, self.piece.at, int(self.starts[i]) + byte)

    def taken(self, mask: np.ndarray) -> ElementBlock:
        """The rows of a mask, bool[n]."""
        lines = list(compress(self.lines, mask))
        return replace(self, numbers=self.numbers[mask], lines=lines, starts=self.starts[mask])


@dataclass(frozen=True, slots=True)
class TableBlock:
    """Consecutive rows of Parquet; numbers int64[n]. `maps` says how Arrow makes objects of its maps."""

    source: str
    numbers: np.ndarray
    table: pa.RecordBatch
    maps: str | None
    piece: Slice
    left_out: Mapping[str, int] = field(default_factory=dict, kw_only=True)

    def row(self, i: int) -> Row:
        """Turn row `i` of the block into Python objects; what cannot be raises `SourceError`."""
        number = int(self.numbers[i])
        try:
            (value,) = _values_of(self.table.slice(i, 1), self.maps)
        except (pa.ArrowException, ValueError, KeyError) as error:
            raise _broken_row(self.source, number, error) from None
        return Row(self.source, number, value)

    def values(self, columns: Sequence[str]) -> list[Any]:
        """The rows as `row` has them, but of some columns only."""
        return _values_of(self.table.select(columns), self.maps)

    def taken(self, mask: np.ndarray) -> TableBlock:
        """The rows of a mask, bool[n]."""
        return replace(self, numbers=self.numbers[mask], table=self.table.filter(pa.array(mask)))


@dataclass(frozen=True, slots=True)
class RowBlock:
    """Rows of a format that is parsed as a whole; numbers int64[n]."""

    source: str
    numbers: np.ndarray
    rows: Sequence[Row]
    left_out: Mapping[str, int] = field(default_factory=dict, kw_only=True)

    def row(self, i: int) -> Row:
        """Row `i` of the block."""
        return self.rows[i]

    def taken(self, mask: np.ndarray) -> RowBlock:
        """The rows of a mask, bool[n]."""
        return replace(self, numbers=self.numbers[mask], rows=list(compress(self.rows, mask)))


Block = LineBlock | TableBlock | RowBlock


# ==== What is taken ====


def selected(blocks: Iterator[Block], piece: Slice, selection: Selection) -> Iterator[Block]:
    """Blocks with the rows that a selection takes; at the end one without rows, where some are not told."""
    left_out = Counter[str]()
    for each in blocks:
        block = each
        if selection.where is not None:
            block = _counted(block, _holds(block, condition(selection.where)), "where", left_out)
        if selection.sample is not None:
            mask = sampled(piece.source, block.numbers, selection.sample, selection.seed)
            block = _counted(block, mask, "sample", left_out)
        if len(block.numbers):
            yield replace(_projected(block, selection.columns), left_out=dict(left_out))
            left_out.clear()
    if left_out:
        yield RowBlock(piece.source, np.zeros(0, dtype=np.int64), [], left_out=dict(left_out))


def _counted(block: Block, mask: np.ndarray, why: str, left_out: Counter[str]) -> Block:
    if mask.all():
        return block
    left_out[why] += int(np.count_nonzero(~mask))
    return block.taken(mask)


def _holds(block: Block, asked: Condition) -> np.ndarray:
    """Where a condition holds in a block; a row with an error is taken."""
    if isinstance(block, TableBlock):
        return asked.of_table(block.source, block.table)
    rows = [block.row(i) for i in range(len(block.numbers))]
    found = asked.of_rows(block.source, [row.value for row in rows], block.numbers)
    return found | np.array([row.error is not None for row in rows], dtype=np.bool_)


def _projected(block: Block, columns: Sequence[str] | None) -> Block:
    """A block with some columns only."""
    if columns is None:
        return block
    if isinstance(block, TableBlock):
        names = [name for name in block.table.schema.names if name in columns]
        return replace(block, table=block.table.select(names))
    rows = [narrowed(block.row(i), columns) for i in range(len(block.numbers))]
    return RowBlock(block.source, block.numbers, rows)


def narrowed(row: Row, columns: Sequence[str] | None) -> Row:
    """A row with some columns only; what was written there is told by these."""
    if columns is None or not isinstance(row.value, dict):
        return row
    return Row(row.source, row.row, {key: value for key, value in row.value.items() if key in columns})


# ==== Rows ====


def without_bom(number: int, line: bytes) -> bytes:
    """A line of a text; the first without the byte order mark."""
    return line.removeprefix(BOM) if number == 0 else line


def row_of_line(source: str, number: int, line: bytes) -> Row:
    """The row on a line that is not blank."""
    text = decoded(source, number, without_bom(number, line))
    text = text.removesuffix("\n").removesuffix("\r")
    try:
        return Row(source, number, parse_json(text), original=text)
    except ValueError as error:
        return Row(source, number, None, original=text, error=reason(error))


def _broken_row(source: str, number: int, error: Exception) -> SourceError:
    what = one_line(error)
    return SourceError(f"{source} cannot be read as Parquet: row {number}: {what}; fetch or write it again")


def _values_of(table: pa.RecordBatch, maps: str | None) -> list[Any]:
    return [_without_nulls(value) for value in table.to_pylist(maps_as_pydicts=maps)]


def _without_nulls(value: Any) -> Any:
    """Drop the nulls that Arrow puts where a struct lacks a field.

    >>> _without_nulls({"a": None, "b": [{"c": None, "d": 1}, None]})
    {'b': [{'d': 1}, None]}
    """
    if isinstance(value, dict):
        return {key: _without_nulls(field) for key, field in value.items() if field is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value
