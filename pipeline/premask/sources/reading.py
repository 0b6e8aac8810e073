"""Input files -> raw rows, each with its place in its file.

    read_slice   part of a file -> rows
    read_blocks  part of a file -> blocks of rows that are not yet made: lines, an Arrow table, or rows
    peek         file -> some of its values, to tell what it is about

The steps before are `files` (which files), `inspection` (is each what its name says) and `plan` (the cut
into units). A single bad line does not end the run: it becomes a `Row` with an error, so that every row of
the input is accounted for.

    infos = inspect_sources(recipe.sources, seed=recipe.seed)
    for unit in plan_units(infos, unit_rows=16_384):
        rows = [row for piece in unit.slices for row in read_slice(piece)]

Cost: memory is some tens of MB whatever the size of the file; only a JSON file that is one object, or one
conversation, is parsed as a whole. From Parquet all columns are read, also those that nobody looks at, unless
the source names `columns`: the ledger shows rejected rows whole, and decoding is cheaper than reading them
again.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..core.errors import SourceError, one_line
from ..core.records import Row, Selection, Slice, SourceInfo
from ..core.strict_json import parse_json, reason
from ..core.urls import is_url
from .blocks import (
    Block,
    ElementBlock,
    LineBlock,
    RowBlock,
    TableBlock,
    narrowed,
    row_of_line,
    selected,
    without_bom,
)
from .cutting import whole
from .files import BOM, CHUNK, changed, check_columns, chunks, decoded, open_parquet, opened, suffixes
from .json_array import elements, is_conversation_file, naming_place, starts
from .where import condition

_BATCH_ROWS = 256  # rows that `read_slice` takes at a time
_BATCH_BYTES = 16 << 20  # what the rows of a Parquet batch may come to, going by the averages of the file
_STREAM_ROWS = 1000  # rows of a stream that are asked for their columns
_MAX_CELL = 2**31 - 1  # characters of a CSV cell; the largest bound every platform takes


def read_slice(piece: Slice) -> Iterator[Row]:
    """Yield the rows of a slice that its source's selection takes, numbered within their file from 0.

    `row` is the line number in JSONL (a blank line yields nothing), the element of a JSON array, the
    record after the header in CSV, the row in Parquet. An array that is itself one conversation is row 0.
    A line that is not JSON, an element with a number that JSON has not, and a CSV record with more cells than
    the header yield a Row with `error`.

    Raises `SourceError` when the file cannot be read, is broken or was changed since it was inspected.
    """
    for block in read_blocks(piece, _BATCH_ROWS):
        yield from map(block.row, range(len(block.numbers)))


def read_blocks(piece: Slice, rows: int) -> Iterator[Block]:
    """Yield the rows of a slice in blocks of at most `rows`, those of `read_slice` in the same order.

    What its source's selection does not take is counted in `left_out` of the next block, of which the last
    may have no rows. Rows with an error are not asked by `where`: nobody can say what they would answer.

    Raises `SourceError` like `read_slice`, but maybe some rows earlier, or only where a row is made.
    """
    blocks = _READERS[piece.format](piece, rows)
    return blocks if piece.selection is None else selected(blocks, piece, piece.selection)


def peek(info: SourceInfo, limit: int = 256) -> list[Any]:
    """Parsed values of up to `limit` rows, to tell what a file is about; rows that do not parse are left out.

    They are the first rows, and in files cut by rows half of them come from the middle.

    Raises `SourceError` like `read_slice`.
    """
    columns = None if info.selection is None else Selection(columns=info.selection.columns)
    piece = whole(info)._replace(selection=columns)
    if info.rows is None or info.stop is not None or info.rows <= limit:
        return _values(islice(read_slice(piece), limit))
    start = islice(read_slice(piece), limit - limit // 2)
    return [*_values(start), *_values(islice(_middle(info, piece), limit // 2))]


def _values(rows: Iterable[Row]) -> list[Any]:
    return [row.value for row in rows if row.error is None]


def _middle(info: SourceInfo, piece: Slice) -> Iterator[Row]:
    """Rows from the middle of a file on, as far as it is cheap to go there."""
    half = (info.rows or 0) // 2
    if info.format == "jsonl":
        return _middle_lines(info, piece)
    if info.format == "parquet":  # from the start of the row group that holds the middle: no other is decoded
        with open_parquet(info.source, info.at) as file:
            return read_slice(piece._replace(start_row=_groups(file.metadata, half, info.rows)[1]))
    with opened(info.source, at=info.at) as file:
        (place,) = starts(file, info.marks, [half])
    return read_slice(piece._replace(start_row=half, start_byte=place))


def _middle_lines(info: SourceInfo, piece: Slice) -> Iterator[Row]:
    """Rows from the first full line of the second half on; their numbers are not known."""
    columns = piece.selection.columns if piece.selection else None
    with opened(info.source, at=info.at) as file:
        file.seek(info.bytes // 2)
        file.readline()
        rows = (row_of_line(info.source, -1, line) for line in file if not _is_blank(-1, line))
        yield from (narrowed(row, columns) for row in rows)


def check_columns_exist(info: SourceInfo) -> None:
    """Raise `SourceError` where no row of a file has a column that its selection names, nested ones by their
    path; what there is stands in the message. Of a stream of text only the first rows are asked."""
    selection = info.selection or Selection()
    asked = condition(selection.where).paths if selection.where else []
    missing = {*asked, *((name,) for name in selection.columns or ())}
    known = dict[str, None]()
    if info.format == "parquet":
        with open_parquet(info.source, info.at) as file:
            schema = file.schema_arrow
        known = dict.fromkeys(schema.names)
        missing = {path for path in missing if not _has_field(schema, path)}
    else:
        rows = read_slice(whole(info)._replace(selection=None))
        for row in rows if info.at is None or not is_url(info.at.path) else islice(rows, _STREAM_ROWS):
            if isinstance(row.value, dict):
                known |= dict.fromkeys(row.value)
                missing = {path for path in missing if not _has_key(row.value, path)}
            if not missing:
                return
    if missing:
        name, *nested = min(missing)
        what = ".".join((name, *nested))
        there = ", ".join(list(known)[:20]) or "none"
        raise SourceError(f"{info.source} has no column {what}; there are: {there}")


def _has_field(schema: pa.Schema, path: Sequence[str]) -> bool:
    fields = schema
    for name in path:
        if name not in [field.name for field in fields]:
            return False
        fields = fields.field(name).type if isinstance(fields, pa.Schema) else fields[name].type
        fields = fields if pa.types.is_struct(fields) else ()
    return True


def _has_key(value: Any, path: Sequence[str]) -> bool:
    for key in path:
        if not isinstance(value, dict) or key not in value:
            return False
        value = value[key]
    return True


# ==== Blocks ====


def _row_blocks(source: str, rows: Iterable[Row], size: int) -> Iterator[RowBlock]:
    rows = iter(rows)
    while block := list(islice(rows, size)):
        yield RowBlock(source, np.array([row.row for row in block], dtype=np.int64), block)


# ==== JSONL and JSON ====


def _line_blocks(piece: Slice, rows: int) -> Iterator[LineBlock]:
    number = piece.start_row
    with opened(piece.source, piece.compression, piece.at) as file:
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
    return not without_bom(number, line).strip(b" \t\r\n")


def _json_blocks(piece: Slice, rows: int) -> Iterator[Block]:
    """The elements of an array; a row is also an object alone, and an array that is one conversation."""
    if piece.start_byte is not None or _is_array_of_rows(piece):
        return _element_blocks(piece, rows)
    return _row_blocks(piece.source, _single_row(piece), rows)


def _is_array_of_rows(piece: Slice) -> bool:
    """Whether a file holds an array of rows."""
    with opened(piece.source, piece.compression, piece.at) as file:
        begin = next((text for chunk in chunks(file) if (text := chunk.removeprefix(BOM).lstrip())), b"")
    place = piece.source, piece.compression, piece.at
    return begin.startswith(b"[") and not is_conversation_file(*place)


def _single_row(piece: Slice) -> Iterator[Row]:
    with opened(piece.source, piece.compression, piece.at) as file:
        text = decoded(piece.source, 0, file.read().removeprefix(BOM))
    try:
        value = parse_json(text)
    except ValueError as error:
        raise SourceError(f"{piece.source} is not valid JSON: {reason(error)}; mend it") from None
    if not isinstance(value, (list, dict)):
        raise SourceError(f"{piece.source} holds a single JSON value, not rows; remove it")
    if piece.start_row == 0 and piece.stop_row != 0:
        yield Row(piece.source, 0, value)


def _element_blocks(piece: Slice, rows: int) -> Iterator[ElementBlock]:
    number, stop = piece.start_row, piece.stop_row
    with (
        opened(piece.source, piece.compression, piece.at) as file,
        naming_place(piece.source, piece.compression, piece.at),
    ):
        if piece.start_byte is not None:
            file.seek(piece.start_byte)
        skip = piece.start_row if piece.start_byte is None else 0
        for group in elements(file, piece.start_byte):
            wanted = group[skip : None if stop is None else skip + stop - number]
            skip = max(skip - len(group), 0)
            for at in range(0, len(wanted), rows):
                some = wanted[at : at + rows]
                yield ElementBlock(
                    piece.source,
                    np.arange(number + at, number + at + len(some)),
                    [element for _, element in some],
                    np.array([byte for byte, _ in some], dtype=np.int64),
                    piece,
                )
            number += len(wanted)
            if number == stop:
                return
    if stop is not None and number < stop:
        raise changed(piece.source)


# ==== CSV ====


def _read_csv(piece: Slice) -> Iterator[Row]:
    """Strict: a quote that never closes would else swallow the rest of the file as one cell."""
    csv.field_size_limit(_MAX_CELL)
    with opened(piece.source, piece.compression, piece.at) as file:
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


def _table_blocks(piece: Slice, rows: int) -> Iterator[TableBlock]:
    with open_parquet(piece.source, piece.at) as file:
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
    size, wanted_columns = _rows_at_once(file.metadata, rows), _columns(file, piece)
    columns = {} if wanted_columns is None else {"columns": wanted_columns}
    batches = file.iter_batches(batch_size=size, row_groups=groups, **columns)
    try:
        for batch in batches:
            skip = max(piece.start_row - number, 0)
            wanted = batch.slice(skip, max(min(stop - number, batch.num_rows) - skip, 0))
            if wanted.num_rows:
                yield number + skip, wanted
            number += batch.num_rows
            if number >= stop:
                break
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise _broken_group(piece.source, file, groups, error) from None


def _columns(file: pq.ParquetFile, piece: Slice) -> list[str] | None:
    """The columns that are read: those that are taken, and those of a condition."""
    if piece.selection is None or piece.selection.columns is None:
        return None
    asked = condition(piece.selection.where).paths if piece.selection.where else []
    wanted = {*piece.selection.columns, *(path[0] for path in asked)}
    return [name for name in file.schema_arrow.names if name in wanted]


def _broken_group(source: str, file: pq.ParquetFile, groups: Sequence[int], error: Exception) -> SourceError:
    """The error of a damaged file, with the row group that cannot be read."""
    what, first = one_line(error), 0
    for group in range(file.metadata.num_row_groups):
        count = file.metadata.row_group(group).num_rows
        if group in groups:
            try:
                file.read_row_group(group)
            except (OSError, pa.ArrowException):
                return SourceError(
                    f"{source} cannot be read as Parquet: row group {group} (rows {first} to "
                    f"{first + count - 1}): {what}; fetch or write it again"
                )
        first += count
    return SourceError(f"{source} cannot be read as Parquet: {what}; fetch or write it again")


def _rows_at_once(metadata: Any, rows: int) -> int:
    """How many rows of a file to hold at a time: fewer than `rows` where they are long."""
    size = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    return max(1, min(rows, int(_BATCH_BYTES * metadata.num_rows // max(size, 1))))


def _maps(schema: pa.Schema) -> str | None:
    """Asking for dicts makes Arrow four times slower, so it is asked only where there are maps."""
    return "strict" if "map<" in str(schema) else None


def _groups(metadata: Any, start: int, stop: int | None) -> tuple[list[int], int]:
    """Row groups that overlap rows `start` to `stop`, and the number of the first row in them."""
    ends = np.cumsum([metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)])
    first = int(np.searchsorted(ends, start, side="right"))
    last = int(np.searchsorted(ends, metadata.num_rows if stop is None else stop, side="left"))
    return list(range(first, last + 1)), int(ends[first - 1]) if first else 0


_READERS: Mapping[str, Callable[[Slice, int], Iterator[Block]]] = {
    "jsonl": _line_blocks,
    "json": _json_blocks,
    "csv": lambda piece, rows: _row_blocks(piece.source, _read_csv(piece), rows),
    "parquet": _table_blocks,
}
