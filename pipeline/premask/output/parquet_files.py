"""Parquet files that a stranger may have sent: what they declare is held against bounds before it is
believed.

    with open_parquet(path, rows=1 << 27, values=1 << 25) as (file, footer):
        footer.groups[0].rows, file.schema_arrow

A file of some kB can declare billions of values, pages of gigabytes, and a footer without end. So, in this
order: the size of the footer; for each row group its rows, columns, values and where its pages lie; the
header of each page, which says how many bytes it takes once decompressed.

Cost: 20 us a page of (by default) a MB, 10 us a column of a row group.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from ..core.thrift import read_struct

FOOTER_BYTES = 8 << 20
"""Bytes of a footer, at most; a shard of a billion tokens has one of 500 kB."""

PAGE_BYTES = 1 << 28
"""Bytes of a page once decompressed, at most."""

TEXT_BYTES = 1 << 26
"""Bytes of a text column of a batch that has a dictionary, at most, by its longest text."""

_HEADER_BYTES, _COLUMNS, _DEEPEST = 1 << 13, 64, 8  # of a page; of a file; columns within columns
_MAGIC, _DICTIONARY = b"PAR1", 2  # 2: a kind of page


class Column(NamedTuple):
    """A column of a row group: its name, its values, where its pages begin and end in the file, in bytes, and
    whether it says that it has a dictionary."""

    name: str
    values: int
    first: int
    last: int
    has_dictionary: bool


class Group(NamedTuple):
    """A row group: its rows, its bytes once decompressed, and its columns."""

    rows: int
    raw_bytes: int
    columns: list[Column]


class Footer(NamedTuple):
    """What the footer of a file says, and is within bounds."""

    rows: int
    groups: list[Group]

    @property
    def raw_bytes(self) -> int:
        """Size of the file once decompressed."""
        return sum(group.raw_bytes for group in self.groups)

    @property
    def dictionaries(self) -> set[str]:
        """Names of columns that have a dictionary somewhere."""
        return {column.name for group in self.groups for column in group.columns if column.has_dictionary}


@contextmanager
def open_parquet(  # noqa: PLR0913  all by keyword but the first
    path: Path,
    *,
    rows: int,
    values: int,
    longest: int = 1 << 62,
    page: int = PAGE_BYTES,
    texts: Sequence[str] = (),
) -> Iterator[tuple[pq.ParquetFile, Footer]]:
    """Open a Parquet file with at most so many rows, and so many values in a column of a row group. On
    average its rows have at most `longest` values, but for a million. Columns of `texts` that have a
    dictionary are read as such (`undone` makes them plain): a text that is repeated takes its bytes once.

    The footer is read here: pyarrow ends the process over some that contradict themselves, if it is asked for
    the columns of a row group. Raises `ArrowInvalid` for a file that declares more, or what cannot be, and
    what pyarrow raises for one that cannot be read.
    """
    footer = _read_footer(path)
    _check_footer(footer, path.stat().st_size, rows, values)
    for group in footer.groups:
        most = max((column.values for column in group.columns), default=0)
        _require(most <= group.rows * longest + (1 << 20), "values of a row", most)
    _check_pages(path, footer, page)
    with pq.ParquetFile(
        path,
        thrift_string_size_limit=FOOTER_BYTES,
        thrift_container_size_limit=FOOTER_BYTES // 8,
        schema_depth_limit=_DEEPEST,
        read_dictionary=sorted({*texts} & footer.dictionaries) or None,
    ) as file:
        yield file, footer


def undone(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return rows with plain columns instead of those that are read as dictionaries. Raises `ArrowInvalid`
    for a text that is repeated until it takes more than `TEXT_BYTES`."""
    import pyarrow.compute as pc  # noqa: PLC0415  it takes as long as pyarrow itself

    columns = []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if pa.types.is_dictionary(column.type):
            longest = pc.max(pc.binary_length(column.dictionary)).as_py() or 0
            if longest * len(column) > TEXT_BYTES:
                raise pa.ArrowInvalid(f"column {name} repeats a text of {longest:,} bytes")
            columns.append(column.cast(column.type.value_type))
        else:
            columns.append(column)
    return pa.RecordBatch.from_arrays(columns, schema=undone_schema(batch.schema))


def undone_schema(schema: pa.Schema) -> pa.Schema:
    """The schema of rows after `undone`."""
    return pa.schema(
        [
            field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field
            for field in schema
        ],
        schema.metadata,
    )


def runs_of_groups(footer: Footer, most: int) -> Iterator[tuple[list[int], int]]:
    """Yield row groups that are read together, with about `most` values of their first column (or one group
    with more), and how many values a row of them has, rounded up."""
    groups, values, rows = list[int](), 0, 0
    for number, group in enumerate(footer.groups):
        own = group.columns[0].values
        if groups and values + own > most:
            yield groups, -(-values // max(rows, 1))
            groups, values, rows = [], 0, 0
        groups, values, rows = [*groups, number], values + own, rows + group.rows
    if groups:
        yield groups, -(-values // max(rows, 1))


# ==== The footer ====


def _read_footer(path: Path) -> Footer:
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - 8))
        end = file.read(8)
        if len(end) < 8 or end[4:] != _MAGIC:
            raise pa.ArrowInvalid("it is no whole Parquet file")
        length = int.from_bytes(end[:4], "little")
        if length > min(FOOTER_BYTES, size - 12):
            raise pa.ArrowInvalid(f"its footer is said to have {length:,} bytes")
        file.seek(size - 8 - length)
        data = file.read(length)
    try:
        fields, _ = read_struct(data)
        return Footer(_number(fields[3]), [_group(each) for each in fields.get(4, [])])
    except (LookupError, TypeError, ValueError, AttributeError):
        raise pa.ArrowInvalid("its footer cannot be read") from None


def _group(fields: dict[int, Any]) -> Group:
    return Group(_number(fields[3]), _number(fields[2]), [_column(each) for each in fields[1]])


def _column(fields: dict[int, Any]) -> Column:
    if 1 in fields:
        raise ValueError("it is in another file")
    about = fields[3]
    first, dictionary = _number(about[9]), _number(about.get(11, 0))
    first = dictionary if 0 < dictionary < first else first
    name = ".".join(part.decode() for part in about[3])
    return Column(name, _number(about[5]), first, first + _number(about[7]), dictionary > 0)


def _number(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(value)
    return value


def _check_footer(footer: Footer, size: int, rows: int, values: int) -> None:
    counted, columns = 0, len(footer.groups[0].columns) if footer.groups else 1
    _require(0 < columns <= _COLUMNS, "columns", columns)
    for group in footer.groups:
        counted += group.rows
        _require(0 <= group.rows <= values, "rows of a row group", group.rows)
        _require(len(group.columns) == columns, "columns of a row group", len(group.columns))
        for column in group.columns:
            _require(0 <= column.values <= values, "values of a row group", column.values)
            _require(0 < column.first <= column.last <= size, "place of a column in the file", column.first)
    _require(counted == footer.rows <= rows, "rows", footer.rows)


def _require(fine: bool, what: str, found: object) -> None:  # noqa: FBT001  a condition
    if not fine:
        shown = f"{found:,}" if isinstance(found, int) else found
        raise pa.ArrowInvalid(f"its footer has an impossible number: {what}: {shown!s:.40}")


# ==== Pages ====


def _check_pages(path: Path, footer: Footer, most: int) -> None:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for group in footer.groups:
            for column in group.columns:
                _check_pages_of(file, column, most)
    finally:
        os.close(file)


def _check_pages_of(file: int, column: Column, most: int) -> None:
    """Check the headers of the pages of a column, which fill a stretch of the file. Each page takes at most
    `most` bytes once decompressed."""
    at, end = column.first, column.last
    while at < end:
        header = os.pread(file, _HEADER_BYTES, at)
        try:
            fields, taken = read_struct(header)
            size, stored = int(fields[2]), int(fields[3])
            entries = int(fields[7][1]) if 7 in fields else 0
            hidden = (7 in fields or fields[1] == _DICTIONARY) and not column.has_dictionary
        except (IndexError, KeyError, TypeError, ValueError):
            raise pa.ArrowInvalid("the header of a page cannot be read") from None
        if not (0 <= size <= most and 0 <= stored <= end - at and 0 <= entries <= size):
            raise pa.ArrowInvalid(f"a page is said to have {size:,} bytes, {stored:,} of them compressed")
        if hidden:
            raise pa.ArrowInvalid("a column has a dictionary that its footer does not name")
        at += taken + stored
    if at != end:
        raise pa.ArrowInvalid("the pages of a column do not end where they should")
