"""Input files -> raw rows, each with its place in its file.

    read_slice   part of a file -> rows
    read_blocks  part of a file -> blocks of rows that are not yet made: lines, an Arrow table, or rows
    peek         file -> some of its values, to tell what it is about

The steps before are `files` (which files), `inspection` (is each what its name says) and `plan` (the cut
into units). A single bad line does not end the run: it becomes a `Row` with an error, so that every row of
the input is accounted for.

    infos = inspect_sources(recipe.sources)
    for unit in plan_units(infos, unit_rows=16_384):
        rows = [row for piece in unit.slices for row in read_slice(piece)]

Cost: memory is some tens of MB whatever the size of the file, except for JSON (not JSONL), which must be
parsed as a whole. From Parquet all columns are read, also those that nobody looks at: the ledger shows
rejected rows whole, and decoding is cheaper than reading them again.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .contracts import Row
from .errors import SourceError
from .files import BOM, CHUNK, changed, check_columns, open_parquet, opened, suffixes
from .inspection import SourceInfo
from .jsonlayout import is_one_conversation
from .jsontext import parse_json, reason
from .plan import Slice, whole

_BATCH_ROWS = 256  # rows that `read_slice` takes at a time
_BATCH_BYTES = 16 << 20  # what the rows of a Parquet batch may come to, going by the averages of the file
_MAX_CELL = 2**31 - 1  # characters of a CSV cell; the largest bound every platform takes


def read_slice(piece: Slice) -> Iterator[Row]:
    """Yield the rows of a slice, numbered within their file from 0.

    `row` is the line number in JSONL (a blank line yields nothing), the element of a JSON array, the
    record after the header in CSV, the row in Parquet. An array that is itself one conversation is row 0.
    A line that is not JSON and a CSV record with more cells than the header yield a Row with `error`.

    Raises `SourceError` when the file cannot be read, is broken or was changed since it was inspected.
    """
    return _READERS[piece.format](piece)


def read_blocks(piece: Slice, rows: int) -> Iterator[Block]:
    """Yield the rows of a slice in blocks of at most `rows`, those of `read_slice` in the same order.

    Raises `SourceError` like `read_slice`, but maybe some rows earlier, or only where a row is made.
    """
    if piece.format == "jsonl":
        return _line_blocks(piece, rows)
    if piece.format == "parquet":
        return _table_blocks(piece, rows)
    return _row_blocks(piece, rows)


def peek(info: SourceInfo, limit: int = 256) -> list[Any]:
    """Parsed values of up to `limit` rows, to tell what a file is about; rows that do not parse are left out.

    They are the first rows, and in files cut by rows half of them come from the middle.

    Raises `SourceError` like `read_slice`.
    """
    if info.rows is None or info.rows <= limit:
        return _values(islice(read_slice(whole(info)), limit))
    middle = _middle_lines if info.format == "jsonl" else _middle_group
    start = islice(read_slice(whole(info)), limit - limit // 2)
    return [*_values(start), *_values(islice(middle(info), limit // 2))]


def _values(rows: Iterable[Row]) -> list[Any]:
    return [row.value for row in rows if row.error is None]


def _middle_lines(info: SourceInfo) -> Iterator[Row]:
    """Rows from the first full line of the second half on; their numbers are not known."""
    with opened(info.source) as file:
        file.seek(info.bytes // 2)
        file.readline()
        yield from (_row_of_line(info.source, -1, line) for line in file if not _is_blank(-1, line))


def _middle_group(info: SourceInfo) -> Iterator[Row]:
    """Rows from the start of the row group that holds the middle: no other group is decoded."""
    with open_parquet(info.source) as file:
        _, first = _groups(file.metadata, (info.rows or 0) // 2, info.rows)
    return read_slice(whole(info)._replace(start_row=first))


# ==== Blocks ====


@dataclass(frozen=True, slots=True)
class LineBlock:
    """Consecutive lines of JSONL, blank ones left out; numbers int64[n] are those of the lines."""

    source: str
    numbers: np.ndarray
    lines: Sequence[bytes]

    def row(self, i: int) -> Row:
        """Parse line `i` of the block."""
        return _row_of_line(self.source, int(self.numbers[i]), self.lines[i])


@dataclass(frozen=True, slots=True)
class TableBlock:
    """Consecutive rows of Parquet; numbers int64[n]. `maps` says how Arrow makes objects of its maps."""

    source: str
    numbers: np.ndarray
    table: pa.RecordBatch
    maps: str | None
    piece: Slice

    def row(self, i: int) -> Row:
        """Turn row `i` of the block into Python objects; what cannot be raises as in `read_slice`."""
        number = int(self.numbers[i])
        try:
            (value,) = _values_of(self.table.slice(i, 1), self.maps)
        except (pa.ArrowException, ValueError, KeyError):
            return next(read_slice(self.piece._replace(start_row=number, stop_row=number + 1)))
        return Row(self.source, number, value)

    def values(self, columns: Sequence[str]) -> list[Any]:
        """The rows as `row` has them, but of some columns only."""
        return _values_of(self.table.select(columns), self.maps)


@dataclass(frozen=True, slots=True)
class RowBlock:
    """Rows of a format that is parsed as a whole; numbers int64[n]."""

    source: str
    numbers: np.ndarray
    rows: Sequence[Row]

    def row(self, i: int) -> Row:
        """Row `i` of the block."""
        return self.rows[i]


Block = LineBlock | TableBlock | RowBlock


def _row_blocks(piece: Slice, size: int) -> Iterator[RowBlock]:
    rows = read_slice(piece)
    while block := list(islice(rows, size)):
        yield RowBlock(piece.source, np.array([row.row for row in block], dtype=np.int64), block)


# ==== JSONL and JSON ====


def _read_jsonl(piece: Slice) -> Iterator[Row]:
    for block in _line_blocks(piece, _BATCH_ROWS):
        yield from map(block.row, range(len(block.lines)))


def _line_blocks(piece: Slice, rows: int) -> Iterator[LineBlock]:
    number = piece.start_row
    with opened(piece.source, piece.compression) as file:
        if piece.start_byte:
            file.seek(piece.start_byte)
        elif piece.start_byte is None:
            number = sum(1 for _ in islice(file, piece.start_row))
        while lines := _next_lines(file, piece, number):
            starts = range(0, len(lines), rows)
            blocks = (_line_block(piece.source, number + at, lines[at : at + rows]) for at in starts)
            yield from (block for block in blocks if block.lines)
            number += len(lines)
    if piece.stop_row is not None and number < piece.stop_row:
        raise changed(piece.source)


def _next_lines(file: IO[bytes], piece: Slice, number: int) -> list[bytes]:
    """The next lines of a slice, the first of them line `number`, of some MB together."""
    if number == piece.stop_row:
        return []
    size = CHUNK if piece.end_byte is None else min(CHUNK, piece.end_byte - file.tell())
    lines = file.readlines(max(size, 1))
    return lines if piece.stop_row is None else lines[: piece.stop_row - number]


def _line_block(source: str, number: int, lines: list[bytes]) -> LineBlock:
    numbers = np.arange(number, number + len(lines))
    if number == 0 or any(map(bytes.isspace, lines)):
        filled = [i for i, line in enumerate(lines) if not _is_blank(number + i, line)]
        return LineBlock(source, numbers[filled], [lines[i] for i in filled])
    return LineBlock(source, numbers, lines)


def _is_blank(number: int, line: bytes) -> bool:
    return not _without_bom(number, line).strip(b" \t\r\n")


def _without_bom(number: int, line: bytes) -> bytes:
    return line.removeprefix(BOM) if number == 0 else line


def _row_of_line(source: str, number: int, line: bytes) -> Row:
    """The row on a line that is not blank."""
    text = _decoded(source, number, _without_bom(number, line))
    text = text.removesuffix("\n").removesuffix("\r")
    try:
        return Row(source, number, parse_json(text), original=text)
    except ValueError as error:
        return Row(source, number, None, original=text, error=reason(error))


def _decoded(source: str, number: int, data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{source} is not UTF-8: byte {error.start} of line {number + 1}: {error.reason}; "
            "convert it to UTF-8"
        ) from None


def _read_json(piece: Slice) -> Iterator[Row]:
    """The elements of an array; a row is also an object alone, and an array that is one conversation."""
    with opened(piece.source, piece.compression) as file:
        text = _decoded(piece.source, 0, file.read().removeprefix(BOM))
    try:
        value = parse_json(text)
    except ValueError as error:
        raise SourceError(f"{piece.source} is not valid JSON: {reason(error)}; mend it") from None
    if not isinstance(value, (list, dict)):
        raise SourceError(f"{piece.source} holds a single JSON value, not rows; remove it")
    rows = value if isinstance(value, list) and not is_one_conversation(value) else [value]
    for number, row in islice(enumerate(rows), piece.start_row, piece.stop_row):
        yield Row(piece.source, number, row)


# ==== CSV ====


def _read_csv(piece: Slice) -> Iterator[Row]:
    """Strict: a quote that never closes would else swallow the rest of the file as one cell."""
    csv.field_size_limit(_MAX_CELL)
    with opened(piece.source, piece.compression) as file:
        text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
        reader = csv.reader(text, delimiter="\t" if suffixes(piece.source)[0] == ".tsv" else ",", strict=True)
        try:
            records = (record for record in reader if record)
            header = next(records, [])
            check_columns(piece.source, header)
            for number, cells in islice(enumerate(records), piece.start_row, piece.stop_row):
                yield _row_of_cells(piece.source, number, header, cells)
        except (csv.Error, UnicodeDecodeError) as error:
            place = f"line {reader.line_num}: {error}"
            raise SourceError(f"{piece.source} is not valid CSV: {place}; mend or export it again") from None


def _row_of_cells(source: str, number: int, header: Sequence[str], cells: Sequence[str]) -> Row:
    if len(cells) > len(header):
        original = json.dumps(cells, ensure_ascii=False)
        error = f"the record has {len(cells)} cells, the header {len(header)}"
        return Row(source, number, None, original=original, error=error)
    return Row(source, number, {key: cell for key, cell in zip(header, cells, strict=False) if cell != ""})


# ==== Parquet ====


def _read_parquet(piece: Slice) -> Iterator[Row]:
    with open_parquet(piece.source) as file:
        maps = _maps(file.schema_arrow)
        for number, table in _tables(file, piece, _BATCH_ROWS):
            yield from (Row(piece.source, i, each) for i, each in enumerate(_values_of(table, maps), number))


def _table_blocks(piece: Slice, rows: int) -> Iterator[TableBlock]:
    with open_parquet(piece.source) as file:
        maps = _maps(file.schema_arrow)
        for number, table in _tables(file, piece, rows):
            numbers = np.arange(number, number + table.num_rows)
            yield TableBlock(piece.source, numbers, table, maps, piece)


def _tables(file: pq.ParquetFile, piece: Slice, rows: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The rows of a slice in batches, each with the number of its first row."""
    stop = file.metadata.num_rows if piece.stop_row is None else piece.stop_row
    if stop > file.metadata.num_rows:
        raise changed(piece.source)
    groups, number = _groups(file.metadata, piece.start_row, stop)
    for batch in file.iter_batches(batch_size=_rows_at_once(file.metadata, rows), row_groups=groups):
        skip = max(piece.start_row - number, 0)
        wanted = batch.slice(skip, max(min(stop - number, batch.num_rows) - skip, 0))
        if wanted.num_rows:
            yield number + skip, wanted
        number += batch.num_rows
        if number >= stop:
            break


def _rows_at_once(metadata: Any, rows: int) -> int:
    """How many rows of a file to hold at a time: fewer than `rows` where they are long."""
    size = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    return max(1, min(rows, int(_BATCH_BYTES * metadata.num_rows // max(size, 1))))


def _maps(schema: pa.Schema) -> str | None:
    """Asking for dicts makes Arrow four times slower, so it is asked only where there are maps."""
    return "strict" if "map<" in str(schema) else None


def _values_of(table: pa.RecordBatch, maps: str | None) -> list[Any]:
    return [_without_nulls(value) for value in table.to_pylist(maps_as_pydicts=maps)]


def _groups(metadata: Any, start: int, stop: int | None) -> tuple[list[int], int]:
    """Row groups that overlap rows `start` to `stop`, and the number of the first row in them."""
    ends = np.cumsum([metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)])
    first = int(np.searchsorted(ends, start, side="right"))
    last = int(np.searchsorted(ends, metadata.num_rows if stop is None else stop, side="left"))
    return list(range(first, last + 1)), int(ends[first - 1]) if first else 0


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


_READERS: Mapping[str, Callable[[Slice], Iterator[Row]]] = {
    "jsonl": _read_jsonl,
    "json": _read_json,
    "csv": _read_csv,
    "parquet": _read_parquet,
}
