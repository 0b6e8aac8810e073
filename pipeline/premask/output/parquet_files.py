"""Parquet files that a stranger may have sent: what they declare is held against bounds before it is
believed.

    with open_parquet(path, rows=1 << 27, values=1 << 25) as file:
        file.metadata, file.schema_arrow

A file of some kB can declare billions of values, pages of gigabytes, and a footer without end. So, in this
order: the size of the footer; for each row group its rows, columns, values and where its pages lie; the
header of each page, which says how many bytes it takes once decompressed.

Cost: 20 us a page of (by default) a MB, 10 us a column of a row group.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

FOOTER_BYTES = 8 << 20
"""Bytes of a footer, at most; a shard of a billion tokens has one of 500 kB."""

PAGE_BYTES = 1 << 28
"""Bytes of a page once decompressed, at most."""

_HEADER_BYTES, _COLUMNS, _DEEPEST = 1 << 13, 64, 8  # of a page; of a file; columns within columns
_MAGIC = b"PAR1"


def open_parquet(path: Path, *, rows: int, values: int) -> pq.ParquetFile:
    """Open a Parquet file with at most so many rows, and so many values in a column of a row group.

    Raises `ArrowInvalid` for a file that declares more, or what cannot be, and what pyarrow raises for one
    that cannot be read.
    """
    _check_footer_size(path)
    file = pq.ParquetFile(
        path,
        thrift_string_size_limit=FOOTER_BYTES,
        thrift_container_size_limit=FOOTER_BYTES // 8,
        schema_depth_limit=_DEEPEST,
    )
    try:
        _check_footer(file.metadata, path.stat().st_size, rows, values)
        _check_pages(path, file.metadata)
    except BaseException:
        file.close()
        raise
    return file


def runs_of_groups(footer: pq.FileMetaData, most: int) -> Iterator[tuple[list[int], int]]:
    """Yield row groups that are read together, with about `most` values of their first column (or one group
    with more), and how many values a row of them has, rounded up."""
    groups, values, rows = list[int](), 0, 0
    for number in range(footer.num_row_groups):
        group = footer.row_group(number)
        own = group.column(0).num_values
        if groups and values + own > most:
            yield groups, -(-values // max(rows, 1))
            groups, values, rows = [], 0, 0
        groups, values, rows = [*groups, number], values + own, rows + group.num_rows
    if groups:
        yield groups, -(-values // max(rows, 1))


def _check_footer_size(path: Path) -> None:
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - 8))
        end = file.read(8)
    if len(end) < 8 or end[4:] != _MAGIC:
        raise pa.ArrowInvalid("it is no whole Parquet file")
    footer = int.from_bytes(end[:4], "little")
    if footer > min(FOOTER_BYTES, size - 12):
        raise pa.ArrowInvalid(f"its footer is said to have {footer:,} bytes")


def _check_footer(footer: pq.FileMetaData, size: int, rows: int, values: int) -> None:
    columns, counted = footer.num_columns, 0
    _require(0 < columns <= _COLUMNS, "columns", columns)
    for number in range(footer.num_row_groups):
        group = footer.row_group(number)
        counted += group.num_rows
        _require(0 <= group.num_rows <= values, "rows of a row group", group.num_rows)
        _require(group.num_columns == columns, "columns of a row group", group.num_columns)
        for place in range(columns):
            column = group.column(place)
            _require(0 <= column.num_values <= values, "values of a row group", column.num_values)
            first, last = _extent(column)
            _require(0 < first <= last <= size, "place of a column in the file", first)
    _require(counted == footer.num_rows <= rows, "rows", footer.num_rows)


def _require(fine: bool, what: str, found: object) -> None:  # noqa: FBT001  a condition
    if not fine:
        raise pa.ArrowInvalid(f"its footer has an impossible number: {what}: {found!s:.40}")


def _extent(column: pq.ColumnChunkMetaData) -> tuple[int, int]:
    """Where the pages of a column begin and end in the file, in bytes."""
    first = column.data_page_offset
    if column.has_dictionary_page and 0 < (column.dictionary_page_offset or 0) < first:
        first = column.dictionary_page_offset
    return first, first + column.total_compressed_size


# ==== Pages ====


def _check_pages(path: Path, footer: pq.FileMetaData) -> None:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for number in range(footer.num_row_groups):
            group = footer.row_group(number)
            for place in range(group.num_columns):
                _check_pages_of(file, *_extent(group.column(place)))
    finally:
        os.close(file)


def _check_pages_of(file: int, at: int, end: int) -> None:
    """Check the headers of the pages of a column, which fill a stretch of the file."""
    while at < end:
        header = os.pread(file, _HEADER_BYTES, at)
        try:
            fields, taken = _struct(header, 0, 0)
            size, stored = int(fields[2]), int(fields[3])
            entries = int(fields[7][1]) if 7 in fields else 0
        except (IndexError, KeyError, TypeError, ValueError):
            raise pa.ArrowInvalid("the header of a page cannot be read") from None
        if not (0 <= size <= PAGE_BYTES and 0 <= stored <= end - at and 0 <= entries <= size):
            raise pa.ArrowInvalid(f"a page is said to have {size:,} bytes, {stored:,} of them compressed")
        at += taken + stored
    if at != end:
        raise pa.ArrowInvalid("the pages of a column do not end where they should")


def _struct(data: bytes, at: int, depth: int) -> tuple[dict[int, Any], int]:
    """Read a struct of Thrift's compact protocol: number of a field -> value, and where it ends.

    >>> _struct(bytes([0x15, 0x04, 0x15, 0xC8, 0x01, 0x00]), 0, 0)
    ({1: 2, 2: 100}, 6)
    """
    if depth > 8:
        raise ValueError(depth)
    fields, number = dict[int, Any](), 0
    while True:
        head, at = data[at], at + 1
        kind = head & 0x0F
        if not kind:
            return fields, at
        if head >> 4:
            number += head >> 4
        else:
            number, at = _integer(data, at)
        if kind in {1, 2}:  # the head of a bool holds its value
            fields[number] = kind == 1
        else:
            fields[number], at = _value(data, at, kind, depth)


def _value(data: bytes, at: int, kind: int, depth: int) -> tuple[Any, int]:
    """Read a value of a kind: 3 byte, 4 to 6 integers, 7 double, 8 bytes, 9 list, 10 set, 12 struct."""
    if kind == 12:
        return _struct(data, at, depth + 1)
    if kind in {4, 5, 6}:
        return _integer(data, at)
    if kind == 8:
        size, at = _varint(data, at)
        return None, _within(data, at + size)
    if kind in {9, 10}:
        head, at = data[at], at + 1
        count = head >> 4
        if count == 15:
            count, at = _varint(data, at)
        for _ in range(_within(data, count)):
            _, at = _value(data, at, head & 0x0F if (head & 0x0F) not in {1, 2} else 3, depth + 1)
        return None, at
    if kind in {3, 7}:
        return None, at + (1 if kind == 3 else 8)
    raise ValueError(kind)


def _within(data: bytes, place: int) -> int:
    if place > len(data):
        raise IndexError(place)
    return place


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 64:
        byte, at = data[at], at + 1
        value |= (byte & 0x7F) << shift
        if byte < 128:
            return value, at
        shift += 7
    raise ValueError(value)


def _integer(data: bytes, at: int) -> tuple[int, int]:
    """Read an integer with a sign, which is in its last bit."""
    value, at = _varint(data, at)
    return (value >> 1) ^ -(value & 1), at
