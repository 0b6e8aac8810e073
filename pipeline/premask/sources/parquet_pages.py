"""How large the values of a row group may become, by its footer and the headers of its pages.

    check_group   refuses row groups that are mostly compression
    texts_of      row group -> the columns whose texts may become much larger than their pages

A dictionary holds a text once, whatever the number of rows that have it: a file of 4 kB can have gigabytes of
text. What a page holds is declared in its header, so the largest entry of a dictionary is known before the
column is decoded. Such columns are read with their dictionary; their rows are made flat some MB at a time.

The headers are Thrift structs (`core/thrift.py`).

Cost: some microseconds a column of a row group; where there are lists of texts, 60 ns for each entry of their
dictionary.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import IO, Any, NamedTuple

import pyarrow as pa

from ..core.errors import SourceError
from ..core.thrift import read_struct

MOST = 512 << 20
"""Bytes that the texts of a row group may have to be decoded without a look at each row."""

_RATIO = 200  # how much larger than in the file a column with more than `MOST` may be

_INFLATION = {"UNCOMPRESSED": 1, "SNAPPY": 25, "LZ4": 260, "LZ4_RAW": 260, "LZ4_HADOOP": 260, "GZIP": 1100}
"""How many times their size compressed bytes can become at most; of the other kinds 100,000 times."""

_HEADER_BYTES = 1 << 14
_LONGEST_HEADER = 1 << 22
_DICTIONARY_PAGE = 2
_DICTIONARIES = {2, 8}  # PLAIN_DICTIONARY, RLE_DICTIONARY
_DELTAS = 7  # DELTA_BYTE_ARRAY: each text repeats the beginning of the one before it
_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT96": 12}


class Page(NamedTuple):
    """What the header of a page says: its kind, its bytes decompressed and in the file, the number of its
    values and their encoding, and the byte where what it holds begins."""

    kind: int
    size: int
    packed: int
    values: int
    encoding: int
    begin: int


class Texts(NamedTuple):
    """Columns of a row group whose texts may become large: those with a dictionary, by their paths, and the
    most bytes that a value of the others (with deltas) may have, 0 if there are none."""

    paths: tuple[str, ...] = ()
    deltas: int = 0


# ==== Row groups ====


def check_group(source: str, metadata: Any, group: int) -> None:
    """Raise `SourceError` where a column of a row group has more than `MOST` bytes, nearly all of them by
    compression."""
    own = metadata.row_group(group)
    for column in map(own.column, range(own.num_columns)):
        width = _WIDTHS.get(column.physical_type, 8)
        size = max(column.total_uncompressed_size, column.num_values * width)
        if size > MOST and size > _RATIO * column.total_compressed_size:
            raise _too_dense(source, group, column.path_in_schema, size, column.total_compressed_size)


def _too_dense(source: str, group: int, path: str, size: int, packed: int) -> SourceError:
    what = f"row group {group}: {path} becomes {size:,} bytes from {packed:,}"
    fix = "write the file again with smaller row groups, or name other 'columns' for the source"
    return SourceError(f"{source} cannot be read as Parquet: {what}; {fix}")


class Pages(NamedTuple):
    """Where pages are read from; `whole` says whether all are looked at, or dictionaries alone."""

    source: str
    file: Any
    whole: bool


def texts_of(metadata: Any, group: int, wanted: Sequence[str] | None, pages: Pages) -> Texts:
    """The columns of a row group whose texts may have more than `MOST` bytes in memory; `wanted` are the
    names of those that are read.

    Raises `SourceError` where a page has more than `MOST` bytes.
    """
    own, paths, deltas = metadata.row_group(group), list[str](), 0
    for column in map(own.column, range(own.num_columns)):
        path = column.path_in_schema
        if wanted is not None and not any(f"{path}.".startswith(f"{name}.") for name in wanted):
            continue
        most = column.total_compressed_size * _INFLATION.get(column.compression, 100_000)
        is_text = column.physical_type == "BYTE_ARRAY"
        if most <= MOST and (not is_text or most * column.num_values <= MOST):
            continue
        size, delta = _sizes(group, column, pages)
        if is_text and size > MOST:
            paths.append(path)
        deltas = max(deltas, delta)
    return Texts(tuple(paths), deltas)


def _sizes(group: int, column: Any, pages: Pages) -> tuple[int, int]:
    """The most bytes that the values of a column with an entry of its dictionary may have, and the most that
    a value with a delta may have."""
    values, dictionary, deltas = 0, None, 0
    for page in _pages(column, pages.file):
        if page.size > MOST:
            raise _too_dense(pages.source, group, column.path_in_schema, page.size, page.packed)
        if page.kind == _DICTIONARY_PAGE:
            dictionary = page
        elif page.encoding in _DICTIONARIES:
            values += page.values
        elif page.encoding == _DELTAS and page.values * page.size > MOST:
            deltas = max(deltas, page.size)
        if not pages.whole:
            values = column.num_values
            break
    if dictionary is None or values * dictionary.size <= MOST:
        return 0, deltas
    return values * _largest(dictionary, column.compression, pages.file, MOST // values), deltas


# ==== Pages ====


def _pages(column: Any, file: IO[bytes]) -> Iterator[Page]:
    """The pages of a column of a row group, as far as their headers can be read."""
    at = column.data_page_offset
    if column.has_dictionary_page and 0 < column.dictionary_page_offset < at:
        at = column.dictionary_page_offset
    end = at + column.total_compressed_size
    while at < end:
        page = _page(file, at)
        if page is None:
            return
        yield page
        at = page.begin + page.packed


def _page(file: IO[bytes], at: int) -> Page | None:
    length = _HEADER_BYTES
    while length <= _LONGEST_HEADER:
        file.seek(at)
        data = file.read(length)
        try:
            fields, size = read_struct(data)
            inner = next(fields[key] for key in (5, 7, 8) if key in fields)
            encoding = inner[4 if 8 in fields else 2]
            page = Page(fields[1], fields[2], fields[3], inner[1], encoding, at + size)
        except IndexError:
            if len(data) < length:
                return None
            length <<= 4
        except (KeyError, StopIteration, TypeError, ValueError):
            return None
        else:
            return page if page.packed >= 0 else None
    return None


def _largest(page: Page, compression: str, file: IO[bytes], least: int) -> int:
    """The bytes of the largest entry of a dictionary, or `least` if it is smaller; all of the page where that
    is not known."""
    file.seek(page.begin)
    data = file.read(page.packed)
    try:
        if compression != "UNCOMPRESSED":
            data = pa.Codec(compression.lower()).decompress(data, decompressed_size=page.size, asbytes=True)
    except (pa.ArrowException, ValueError, OSError):
        return page.size
    largest, at, end, length = least, 0, len(data) - 3 - least, struct.Struct("<I").unpack_from
    while at < end:
        (size,) = length(data, at)
        if size > largest:  # noqa: PLR1730  three times as fast
            largest = size
        at += 4 + size
    return min(largest, page.size)
