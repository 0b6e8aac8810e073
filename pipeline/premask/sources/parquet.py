"""Parquet: a footer says which rows and columns there are; cut by rows, whatever the row groups.

Cost: all columns are read, also those that nobody looks at, unless the source names `columns`: the reject log
shows rejected rows whole, and decoding is cheaper than reading them again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..core.errors import SourceError, one_line
from ..core.records import At, Slice, SourceInfo
from ..core.urls import is_url
from .blocks import Block, Format
from .files import changed, check_columns, check_version, hashed, unreadable
from .parquet_pages import Pages, Texts, check_group, texts_of
from .remote import Stream, streamed
from .table_blocks import BATCH_BYTES, TableBlock, apart, maps_of
from .where import condition

_DICTIONARY_ROWS = 4096  # rows of a batch with dictionaries, each of which is copied for each batch

_DELTA_BYTES = 128 << 20


@contextmanager
def _opened(source: str, at: At | None = None, dictionaries: Sequence[str] = ()) -> Iterator[pq.ParquetFile]:
    """A Parquet file, its footer read; some columns keep their dictionaries.

    Raises `SourceError` like `opened`, also within the `with` block.
    """
    path = at.path if at else source
    check_version(source, at)
    try:
        with ExitStack() as stack:
            place = stack.enter_context(Stream(path)) if is_url(path) else path
            yield stack.enter_context(
                pq.ParquetFile(place, read_dictionary=[*dictionaries], page_checksum_verification=True)
            )
    except (OSError, pa.ArrowException, UnicodeDecodeError, KeyError) as error:
        check_version(source, at)
        if isinstance(error, OSError) and error.errno:
            raise unreadable(source, error) from None
        reason = one_line(error)
        raise SourceError(f"{source} cannot be read as Parquet: {reason}; fetch or write it again") from None
    check_version(source, at)


# ==== Inspecting ====


def _inspect(source: str, _: str | None, at: At) -> SourceInfo:
    with _opened(source, at) as file:
        rows = file.metadata.num_rows
        check_columns(source, file.schema_arrow.names)
    if not rows:
        raise SourceError(f"{source} is empty (Parquet with no rows); remove it from the sources")
    if is_url(at.path):
        known = streamed(source, at.path)
        version = known.version
        return SourceInfo(source, PARQUET.name, None, known.size, known.sha256, rows, at=at, version=version)
    size, digest = hashed(source, at)
    return SourceInfo(source, PARQUET.name, None, size, digest, rows, at=at)


def _size(info: SourceInfo) -> int:
    with _opened(info.source, info.at) as file:
        return _bytes_of(file.metadata, range(file.metadata.num_row_groups))


def _bytes_of(metadata: Any, groups: Sequence[int]) -> int:
    """Bytes of all columns of some row groups before compression."""
    return sum(int(metadata.row_group(i).total_byte_size) for i in groups)


def _columns(info: SourceInfo) -> Mapping[str, Any]:
    with _opened(info.source, info.at) as file:
        return {field.name: _fields(field.type) for field in file.schema_arrow}


def _fields(kind: pa.DataType) -> Mapping[str, Any] | None:
    """The fields of a struct, nested ones too; None for any other type."""
    return {field.name: _fields(field.type) for field in kind} if pa.types.is_struct(kind) else None


# ==== Cutting ====


def _places(_: Slice, rows: Sequence[int]) -> list[int | None]:
    """Rows are found by their numbers."""
    return [None] * len(rows)


def _middle(info: SourceInfo, piece: Slice) -> Slice:
    """From the start of the row group that holds the middle: no other is decoded."""
    with _opened(info.source, info.at) as file:
        return piece._replace(start_row=_groups(file.metadata, (info.rows or 0) // 2, info.rows)[1])


def _part(piece: Slice, share: float, rows: int) -> Slice:
    stop = piece.stop_row or 0
    start = piece.start_row + int(share * max(1, stop - piece.start_row - rows + 1))
    return piece._replace(start_row=start, stop_row=min(stop, start + rows))


# ==== Reading ====


def _read(piece: Slice, rows: int) -> Iterator[Block]:
    with _opened(piece.source, piece.at) as file:
        maps, has_dictionary = maps_of(file.schema_arrow), "dictionary<" in str(file.schema_arrow)
        for number, table in _tables(file, piece, rows):
            schema = pa.schema([file.schema_arrow.field(name) for name in table.schema.names])
            block = TableBlock(piece.source, np.arange(number, number + table.num_rows), table, maps, piece)
            if has_dictionary or table.nbytes > piece.max_row_bytes or not table.schema.equals(schema):
                yield from apart(block, schema, rows)
            else:
                yield block


def _tables(file: pq.ParquetFile, piece: Slice, rows: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The rows of a slice in batches, each with the number of its first row."""
    stop = file.metadata.num_rows if piece.stop_row is None else piece.stop_row
    if stop > file.metadata.num_rows:
        raise changed(piece.source)
    groups, number = _groups(file.metadata, piece.start_row, stop)
    for texts, alike in _alike(file, piece, groups):
        for batch in _batches(file, piece, alike, texts, rows):
            skip = max(piece.start_row - number, 0)
            wanted = batch.slice(skip, max(min(stop - number, batch.num_rows) - skip, 0))
            if wanted.num_rows:
                yield number + skip, wanted
            number += batch.num_rows
            if number >= stop:
                return


def _batches(
    file: pq.ParquetFile, piece: Slice, groups: Sequence[int], texts: Texts, rows: int
) -> Iterator[pa.RecordBatch]:
    """Row groups in batches; columns whose texts may become large with their dictionary."""
    names = _wanted(file, piece)
    columns = {} if names is None else {"columns": names}
    try:
        if texts == Texts():
            size = _rows_at_once(file.metadata, rows)
            apart = _has_nested_dictionary(file.schema_arrow)
            for each in ([group] for group in groups) if apart else (groups,):
                yield from file.iter_batches(batch_size=size, row_groups=each, **columns)
            return
        with _opened(piece.source, piece.at, texts.paths) as other:
            size = _rows_at_once(file.metadata, max(rows, _DICTIONARY_ROWS), groups)
            if texts.deltas:
                size = max(
                    1, min(size, _DELTA_BYTES // (texts.deltas * _values_a_row(file.metadata, groups)))
                )
            for group in groups:  # Arrow cannot go from one dictionary to the next within a batch
                yield from other.iter_batches(batch_size=size, row_groups=[group], **columns)
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise _broken_group(piece.source, file, groups, error) from None


def _has_nested_dictionary(schema: pa.Schema) -> bool:
    """Whether a column has a dictionary within lists: Arrow cannot join those of two row groups."""
    nested = (each.type for each in schema if pa.types.is_nested(each.type))
    return any("dictionary<" in str(kind) for kind in nested)


def _alike(file: pq.ParquetFile, piece: Slice, groups: Sequence[int]) -> list[tuple[Texts, list[int]]]:
    """Row groups, one after another, that are read in the same way."""
    found = list[tuple[Texts, list[int]]]()
    names, path = _wanted(file, piece), piece.at.path if piece.at else piece.source
    with Stream(path) if is_url(path) else Path(path).open("rb") as pages:
        for group in groups:
            check_group(piece.source, file.metadata, group)
            texts = texts_of(file.metadata, group, names, Pages(piece.source, pages, whole=not is_url(path)))
            if found and found[-1][0] == texts:
                found[-1][1].append(group)
            else:
                found.append((texts, [group]))
    return found


def _values_a_row(metadata: Any, groups: Sequence[int]) -> int:
    """The most values that a row has in a column, on average."""
    owns = [metadata.row_group(group) for group in groups]
    values = max(
        own.column(at).num_values / max(own.num_rows, 1) for own in owns for at in range(own.num_columns)
    )
    return max(1, math.ceil(float(values)))


def _wanted(file: pq.ParquetFile, piece: Slice) -> list[str] | None:
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


def _rows_at_once(metadata: Any, rows: int, groups: Sequence[int] | None = None) -> int:
    """How many rows of a file, or of some row groups, to hold at a time: fewer than `rows` where they are
    long."""
    own = range(metadata.num_row_groups) if groups is None else groups
    count = sum(metadata.row_group(group).num_rows for group in own)
    return max(1, min(rows, int(BATCH_BYTES * count // max(_bytes_of(metadata, own), 1))))


def _groups(metadata: Any, start: int, stop: int | None) -> tuple[list[int], int]:
    """Row groups that overlap rows `start` to `stop`, and the number of the first row in them."""
    ends = np.cumsum([metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)])
    first = int(np.searchsorted(ends, start, side="right"))
    last = int(np.searchsorted(ends, metadata.num_rows if stop is None else stop, side="left"))
    return list(range(first, last + 1)), int(ends[first - 1]) if first else 0


PARQUET = Format(
    "parquet",
    (".parquet",),
    _inspect,
    _read,
    places=_places,
    middle=_middle,
    part=_part,
    size=_size,
    columns=_columns,
    magic=(b"PAR1",),
)
