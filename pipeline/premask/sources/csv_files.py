"""CSV, and TSV by its name: a header, then a record a row, all cells text; an empty cell is a missing one.

Cells are separated by what the source says, or a first line such as `sep=;`, as Excel has it; else by
commas, in TSV by tabs. Where these separate nothing in the header, but one of `;`, tab, `|` and comma does,
it is that.

Strict: a quote that is never closed would else take the rest of the file for one cell. A record with more
cells than the header becomes a row with an error, as does one that is larger than `max_row_bytes`. Files stay
whole: a line break within quotes looks like the end of a record, so nobody can tell where a record begins
without reading all before it.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from ..core.errors import SourceError
from ..core.records import At, Row, Slice, SourceInfo
from ..core.strict_json import MAX_VALUES, TooManyValuesError
from .blocks import Format, RowBlock, row_blocks
from .files import CHUNK, check_columns, opened, suffixes
from .large_rows import HEAD, LARGE, Cut, large_row, unparsed
from .text_files import inspect_text

_MAX_CELL = 2**31 - 1  # characters of a cell; the largest bound every platform takes

_MAX_HEADER = 1_000_000  # bytes

_SIGNS = (";", "\t", "|", ",")
_SAID = re.compile(r'"?sep=([^"\r\n])"?')

_MARK = "\ufeff"  # the byte order mark of a file that was put behind another one


def _inspect(source: str, compression: str | None, at: At) -> SourceInfo:
    text = inspect_text(CSV.name, source, compression, at)
    if text.layout in ("lines", "array", "row"):
        raise SourceError(f"{source} holds JSON, not CSV; rename it to .jsonl or .json")
    return text.info


# ==== What separates cells ====


class _Begin(NamedTuple):
    """The first lines of a file, up to its header, and what separates its cells; `left_out` counts a line
    that says so."""

    delimiter: str
    lines: Sequence[str]
    left_out: int


def _begin(piece: Slice, text: io.TextIOWrapper) -> _Begin:
    """Read as far as the first line that is not blank. Raises `SourceError` where several signs may separate
    the cells of the header."""
    lines = [text.readline(_MAX_HEADER + 2)]
    said = _SAID.fullmatch(lines[0].strip("\r\n"))
    if said is not None:
        lines = [text.readline(_MAX_HEADER + 2)]
    while lines[-1] and not lines[-1].strip("\r\n"):
        lines = [*lines[-1000:], text.readline(_MAX_HEADER + 2)]
    found = piece.delimiter or (said[1] if said else _delimiter(piece.source, lines[-1].lstrip(_MARK)))
    return _Begin(found, lines, int(said is not None))


def _delimiter(source: str, header: str) -> str:
    """What separates the cells of a header."""
    usual = "\t" if suffixes(source)[0] == ".tsv" else ","
    if _separates(usual, header):
        return usual
    found = [sign for sign in _SIGNS if _separates(sign, header)]
    if len(found) > 1:
        shown = " or ".join(map(repr, found))
        raise SourceError(
            f"{source}: the cells of its header may be separated by {shown}; write one as the 'delimiter' of "
            "its source"
        )
    return found[0] if found else usual


def _separates(sign: str, header: str) -> bool:
    """Whether a header has several names if its cells are separated by a sign."""
    if sign not in header:
        return False
    try:
        names = next(csv.reader([header], delimiter=sign), [])
    except csv.Error:
        return False
    return len(names) > 1 and all(map(str.strip, names))


# ==== Records that are too large ====


class _LargeRecordError(Exception):
    """A record is larger than the limit, or has more cells than rows may have values."""


class _Lines:
    """The lines of a file for `csv.reader`, which asks for as many as a record has.

    `size` is what was read of the record in bytes, `first` its first line. Raises `_LargeRecordError` beyond
    `limit` bytes; then `skip` goes to the end of the record.
    """

    def __init__(self, text: io.TextIOWrapper, begin: _Begin, limit: int) -> None:
        self.limit, self.size, self.first = limit, 0, ""
        self._text, self._delimiter, self._begin = text, begin.delimiter, list(begin.lines)
        self._line, self._quoted = "", False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        size = max(1, self.limit - self.size + 2)
        line = self._begin.pop(0) if self._begin else self._text.readline(size)
        if not line:
            raise StopIteration
        line = line if self.size else line.lstrip(_MARK) or "\n"
        self._quoted = self.size > 0
        self.first = self.first or line
        self.size += len(line) if line.isascii() else len(line.encode())
        self._line = line
        if self.size > self.limit and self.size - len(line) + len(line.rstrip("\r\n")) > self.limit:
            raise _LargeRecordError
        if len(line) > LARGE and line.count(self._delimiter) > MAX_VALUES:
            raise _LargeRecordError
        return line

    def begin(self) -> None:
        """Expect the next record."""
        self.size, self.first = 0, ""

    def skip(self) -> int:
        """Go to the end of the record, with as little in memory as a chunk; returns its bytes."""
        size, line, quoted, is_start = self.size, self._line, self._quoted, not self._quoted
        while line:
            quoted = _is_open(line, self._delimiter, quoted=quoted, is_start=is_start)
            if not quoted and line.endswith(("\n", "\r")):
                return size
            is_start = line.endswith(self._delimiter)
            line = self._text.readline(CHUNK)
            size += len(line.encode())
        return size


def _is_open(line: str, delimiter: str, *, quoted: bool, is_start: bool) -> bool:
    """Whether a quote is open at the end of a piece of a record, where one is open at its start or not.
    `is_start` says whether a cell begins there; elsewhere a quote that opens none is a character."""
    if not quoted and is_start and line.startswith('"'):
        line, quoted = line[1:], True
    at = 0
    while True:
        at = line.find('"' if quoted else f'{delimiter}"', at)
        if at < 0:
            return quoted
        if quoted and line.startswith('""', at):
            at += 2
            continue
        at += 1 if quoted else 2
        quoted = not quoted


# ==== Reading ====


def _read(piece: Slice, rows: int) -> Iterator[RowBlock]:
    return row_blocks(piece.source, _records(piece), rows)


def _records(piece: Slice) -> Iterator[tuple[Row, int]]:
    """The rows of a slice, each with its bytes."""
    csv.field_size_limit(_MAX_CELL)
    with opened(piece.source, piece.compression, piece.at) as file:
        text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
        try:
            begin = _begin(piece, text)
        except UnicodeDecodeError as error:
            raise _broken(piece.source, 1, error) from None
        lines = _Lines(text, begin, _MAX_HEADER)
        reader = csv.reader(lines, delimiter=begin.delimiter, strict=True)
        try:
            header = _header(piece.source, reader)
            lines.limit = piece.max_row_bytes
            yield from islice(_rows(piece.source, header, reader, lines), piece.start_row, piece.stop_row)
        except (csv.Error, UnicodeDecodeError) as error:
            raise _broken(piece.source, reader.line_num + begin.left_out, error) from None


def _broken(source: str, line: int, error: Exception) -> SourceError:
    return SourceError(f"{source} is not valid CSV: line {line}: {error}; fix or export it again")


def _header(source: str, reader: Iterator[list[str]]) -> list[str]:
    try:
        header = next((record for record in reader if record), [])
    except _LargeRecordError:
        what = f"its header has more than {_MAX_HEADER:,} bytes"
        raise SourceError(
            f"{source} is not valid CSV: {what}; write the names of the columns there"
        ) from None
    check_columns(source, header)
    return header


def _rows(
    source: str, header: Sequence[str], reader: Iterator[list[str]], lines: _Lines
) -> Iterator[tuple[Row, int]]:
    number = 0
    while True:
        lines.begin()
        try:
            cells = next(reader, None)
        except _LargeRecordError:
            yield _large_row(source, number, lines), 0
            number += 1
            continue
        if cells is None:
            return
        if cells:
            yield _row_of_cells(source, number, header, cells), lines.size
            number += 1


def _large_row(source: str, number: int, lines: _Lines) -> Row:
    head, is_large = lines.first[:HEAD], lines.size > lines.limit
    size = lines.skip()
    if not is_large:
        return unparsed(source, number, head, TooManyValuesError())
    return large_row(source, number, Cut(head.encode(), size), lines.limit)


def _row_of_cells(source: str, number: int, header: Sequence[str], cells: Sequence[str]) -> Row:
    if len(cells) > len(header):
        original = json.dumps(cells, ensure_ascii=False)
        error = f"the record has {len(cells)} cells, the header {len(header)}"
        return Row(source, number, None, original=original, error=error)
    if len(header) > 1 and cells == header:
        original = json.dumps(cells, ensure_ascii=False)
        return Row(source, number, None, original=original, error="the record is the header again")
    return Row(source, number, {key: cell for key, cell in zip(header, cells, strict=False) if cell != ""})


CSV = Format("csv", (".csv", ".tsv"), _inspect, _read, has_delimiter=True)
