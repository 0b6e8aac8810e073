"""Input files -> raw rows, each with its place in its file; and the cut of the input into units of work.

    find_sources     patterns -> files
    inspect_source   file -> what it holds, after its content was checked against its name
    plan_units       files -> units: a deterministic cut, the same for any number of workers
    read_slice       part of a file -> rows

A file that is not what its name says (a git-lfs pointer, a JSON array named .jsonl, a cut-off download)
ends the run here with one line, before any work is done. A single bad line does not: it becomes a `Row`
with an error, so that every row of the input is accounted for.

    infos = [inspect_source(source) for source in find_sources(["chats/*.jsonl"])]
    for unit in plan_units(infos, unit_rows=16_384):
        rows = [row for piece in unit.slices for row in read_slice(piece)]

Cost: inspecting reads a file once (a compressed one twice), planning reads long JSONL once more. Memory is
a few MB whatever the size of the file, except for JSON (not JSONL), which must be parsed as a whole.
"""

from __future__ import annotations

import codecs
import csv
import glob
import hashlib
import io
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePath
from typing import IO, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .contracts import Row
from .errors import SourceError

FORMATS: Mapping[str, str] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
}
"""File name suffix -> format of the content."""

COMPRESSIONS: Mapping[str, str] = {".gz": "gzip", ".zst": "zstd"}
"""Second suffix -> compression; for every format but Parquet, which compresses inside."""

_CHUNK = 4 << 20  # bytes read at a time
_BATCH_ROWS = 256  # Parquet rows turned into Python objects at a time
_ROW_BYTES = 2048  # what a row is taken to weigh where rows are not counted
_INFLATION = 4  # how much larger compressed text is taken to be
_MAX_DEPTH = 256  # nesting of JSON; a fixed bound, because Python's own depends on the call stack
_MAX_CELL = 2**31 - 1  # characters of a CSV cell; the largest bound every platform takes
_BOM = codecs.BOM_UTF8

_SIGNATURES = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x50\x2a\x4d\x18", "zstd"),  # a skippable frame, as pzstd writes it first
    (b"PAR1\x15", "parquet"),
    (b"ARROW1\x00", "Arrow IPC"),
    (b"BZh91AY&SY", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"PK\x03\x04", "a zip archive"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"\xff\xfe", "UTF-16 text"),
    (b"\xfe\xff", "UTF-16 text"),
    (b"<!DOCTYPE html", "an HTML page"),
    (b"<!doctype html", "an HTML page"),
    (b"<html", "an HTML page"),
)
_GIT_LFS = b"version https://git-lfs"


class Slice(NamedTuple):
    """A stretch of rows of one file. `stop_row` None means to the end.

    `start_byte` is where line `start_row` begins and `end_byte` where line `stop_row` would; both are
    None unless the file is uncompressed JSONL.
    """

    source: str
    format: str
    compression: str | None
    start_row: int
    stop_row: int | None
    start_byte: int | None
    end_byte: int | None


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What a file holds.

    `rows` counts the lines of uncompressed JSONL (blank ones too) or the rows of Parquet; None where
    counting takes a full parse. `bytes` and `sha256` are those of the file as it lies on disk.
    """

    source: str
    format: str
    compression: str | None
    bytes: int
    sha256: str
    rows: int | None


@dataclass(frozen=True, slots=True)
class Unit:
    """What one worker takes at a time and what becomes one shard; `number` counts from 0."""

    number: int
    slices: tuple[Slice, ...]


# ==== Finding files ====


def find_sources(patterns: Sequence[str]) -> list[str]:
    """Expand paths, directories and glob patterns (`**` too) into files, each once, in a fixed order.

    The order is that of `patterns`; what one glob or directory yields is sorted. A directory stands for
    all files below it that have a known suffix; hidden ones are left out.

    Raises `SourceError` for a path that does not exist and a pattern or directory that yields nothing.
    """
    found: dict[str, str] = {}
    for pattern in patterns:
        for name in _expand(pattern):
            found.setdefault(os.path.abspath(name), name)  # noqa: PTH100  # resolve() would follow links
    return list(found.values())


def _expand(pattern: str) -> list[str]:
    if not pattern:
        raise SourceError("a source has an empty name; name a file, a directory or a pattern")
    if Path(pattern).is_dir():
        return _data_files(pattern)
    if Path(pattern).exists():
        return [_posix(pattern)]
    if not glob.has_magic(pattern):
        raise SourceError(f"source '{pattern}' does not exist; check the path (looked from {Path.cwd()})")
    names = _glob(pattern)
    if not names:
        raise SourceError(f"pattern '{pattern}' matches no file; check it (looked from {Path.cwd()})")
    return names


def _data_files(folder: str) -> list[str]:
    names = _glob(f"{glob.escape(folder.rstrip('/'))}/**/*")
    names = [name for name in names if _split_name(name)[0] is not None]
    if not names:
        raise SourceError(f"directory '{folder}' holds no data files; known names end in {_known_suffixes()}")
    return names


def _glob(pattern: str) -> list[str]:
    """Sorted files; unlike `Path.glob` it takes absolute patterns and leaves hidden files out."""
    names = glob.glob(pattern, recursive=True)  # noqa: PTH207
    return sorted(_posix(name) for name in names if Path(name).is_file())


def _posix(name: str) -> str:
    return name.replace(os.sep, "/")


def _split_name(name: str) -> tuple[str | None, str | None]:
    """Format and compression that a file name promises; a format of None when it promises none.

    >>> _split_name("chats/A.JSONL.gz"), _split_name("chats/notes.txt")
    (('jsonl', 'gzip'), (None, None))
    """
    suffix, packed = _suffixes(name)
    form = FORMATS.get(suffix)
    return (None, None) if packed and form == "parquet" else (form, COMPRESSIONS.get(packed))


def _suffixes(name: str) -> tuple[str, str]:
    """The suffix of the format and that of the compression.

    >>> _suffixes("A.TSV.gz"), _suffixes("a.jsonl")
    (('.tsv', '.gz'), ('.jsonl', ''))
    """
    path = PurePath(name.lower())
    if path.suffix not in COMPRESSIONS:
        return path.suffix, ""
    return PurePath(path.stem).suffix, path.suffix


def _known_suffixes() -> str:
    return f"{', '.join(FORMATS)}, each but .parquet also with {' or '.join(COMPRESSIONS)}"


# ==== Inspecting: is the file what its name says? ====


def inspect_source(source: str) -> SourceInfo:
    """Check a file's content against its name, hash it and count its rows where that is cheap.

    A `.json` file that holds one JSON value a line gets the format `jsonl`.

    Raises `SourceError` when the file is missing, empty, a git-lfs pointer, of an unknown or another
    format than its name says, broken or cut short, or not UTF-8.
    """
    form, compression = _split_name(source)
    head = _head(source)
    if head.startswith(_GIT_LFS):
        raise SourceError(f"{source} is a git-lfs pointer, not the data; run 'git lfs pull' where it lies")
    if form is None:
        raise SourceError(f"{source} has no known file name suffix; known ones: {_known_suffixes()}")
    if not head:
        raise SourceError(f"{source} is empty; remove it from the sources")
    _check_signature(source, head, compression or (form if form == "parquet" else None))
    return _inspect_parquet(source) if form == "parquet" else _inspect_text(source, form, compression)


def _head(source: str) -> bytes:
    if not Path(source).is_file():
        raise SourceError(f"{source} does not exist or is not a file; check the path")
    with _opened(source) as file:
        return file.read(64)


def _check_signature(source: str, head: bytes, expected: str | None) -> None:
    found = _signature(head)
    if found == expected or (expected == "parquet" and head.startswith(b"PAR1")):
        return
    suffix = next((suffix for suffix, kind in COMPRESSIONS.items() if kind == found), None)
    if suffix is not None and expected is None:
        raise SourceError(f"{source} is compressed ({found}) but not named so; rename it to {source}{suffix}")
    raise SourceError(
        f"{source} should hold {expected or 'UTF-8 text'} by its name but holds {found or 'something else'}; "
        "rename it, convert it or fetch it again"
    )


def _signature(head: bytes) -> str | None:
    return next((kind for magic, kind in _SIGNATURES if head.startswith(magic)), None)


def _inspect_parquet(source: str) -> SourceInfo:
    digest = hashlib.sha256()
    with _opened(source) as file:
        for chunk in _chunks(file):
            digest.update(chunk)
    with _parquet(source) as table:
        rows = table.metadata.num_rows
        _check_columns(source, table.schema_arrow.names)
    if not rows:
        raise SourceError(f"{source} is empty (Parquet with no rows); remove it from the sources")
    return SourceInfo(source, "parquet", None, Path(source).stat().st_size, digest.hexdigest(), rows)


def _inspect_text(source: str, form: str, compression: str | None) -> SourceInfo:
    digest, scan, size = hashlib.sha256(), _TextScan(source, compression), 0
    with _opened(source) as file:
        for chunk in _chunks(file):
            digest.update(chunk)
            size += len(chunk)
            if compression is None:
                scan.feed(chunk)
    if compression is not None:
        with _opened(source, compression) as file:
            for chunk in _chunks(file):
                scan.feed(chunk)
    scan.finish()
    form = _checked_format(source, form, compression)
    rows = scan.lines if form == "jsonl" and compression is None else None
    return SourceInfo(source, form, compression, size, digest.hexdigest(), rows)


class _TextScan:
    """Counts lines and checks UTF-8 over the chunks of a text, whatever the cut of the chunks."""

    def __init__(self, source: str, compression: str | None) -> None:
        self.source, self.compression = source, compression
        self.offset = self.newlines = 0
        self.blank, self.open_line = True, False
        self.decoder = codecs.getincrementaldecoder("utf-8")()

    @property
    def lines(self) -> int:
        return self.newlines + self.open_line

    def feed(self, chunk: bytes) -> None:
        """Take the next chunk; `SourceError` where it is not UTF-8 or holds another format."""
        if self.offset == 0 and (inner := _signature(chunk)):
            raise SourceError(
                f"{self.source} should hold UTF-8 text by its name but holds {inner} within "
                f"{self.compression}; unpack it first"
            )
        self._check_utf8(chunk)
        if self.blank:
            self.blank = not (chunk.removeprefix(_BOM) if self.offset == 0 else chunk).strip()
        self.newlines += chunk.count(b"\n")
        self.open_line = not chunk.endswith(b"\n")
        self.offset += len(chunk)

    def finish(self) -> None:
        """End of the text; `SourceError` where it ends inside a character or holds only whitespace."""
        self._check_utf8(b"", final=True)
        if self.blank:
            raise SourceError(f"{self.source} is empty (only whitespace); remove it from the sources")

    def _check_utf8(self, chunk: bytes, *, final: bool = False) -> None:
        pending = len(self.decoder.getstate()[0])
        if not final and not pending and chunk.isascii():
            return
        try:
            self.decoder.decode(chunk, final)
        except UnicodeDecodeError as error:
            place = f"byte {self.offset - pending + error.start}"
            place += ", decompressed" if self.compression else ""
            line = self.newlines + error.object[: error.start].count(b"\n") + 1
            raise SourceError(
                f"{self.source} is not UTF-8: {place}, line {line}: {error.reason}; convert it to UTF-8"
            ) from None


def _checked_format(source: str, form: str, compression: str | None) -> str:
    """The format that the first lines show, where the name leaves a choice; `SourceError` where it lies."""
    with _opened(source, compression) as file:
        lines = list(islice(_text_lines(file), 2))
    layout = _layout(lines)
    if form == "csv" and layout in ("lines", "array", "row"):
        raise SourceError(f"{source} holds JSON, not CSV; rename it to .jsonl or .json")
    if form == "jsonl" and layout in ("array", "document"):
        raise SourceError(
            f"{source} holds one JSON {'array' if lines[0].startswith('[') else 'object'}, not one JSON "
            "value a line; rename it to .json"
        )
    return "jsonl" if form == "json" and layout == "lines" else form


def _text_lines(file: Iterable[bytes]) -> Iterator[str]:
    """Non-blank lines, stripped and without a byte order mark."""
    for number, line in enumerate(file):
        text = (line.removeprefix(_BOM) if number == 0 else line).strip()
        if text:
            yield text.decode("utf-8")


def _layout(lines: Sequence[str]) -> str:
    """What the first two non-blank lines of a text look like.

    `lines` JSON values line by line, `row` a single one, `array` a single one that is an array of rows,
    `document` JSON spread over lines, `other` anything else: no JSON, or a broken first row.

    >>> _layout(['{"a": 1}', '{"a": 2}']), _layout(['[{"a": 1}]']), _layout(["[", '{"a": 1},'])
    ('lines', 'array', 'document')
    """
    first, end = lines[0], _parsed_to(lines[0])
    if first[0] not in "[{" or (end is not None and end < len(first)):
        return "other"
    if end is None:
        return "lines" if len(lines) == 2 else "array" if _is_table(first) else "row"
    bare = first in ("[", "{", "[{")
    return "document" if len(lines) == 2 and (bare or _parsed_to(lines[1]) is not None) else "other"


def _parsed_to(text: str) -> int | None:
    """None when the text is JSON, else the position at which it stops being so."""
    try:
        parse_json(text)
    except json.JSONDecodeError as error:
        return error.pos
    except ValueError:
        return 0
    return None


def _is_table(text: str) -> bool:
    """Whether an array on one line holds rows; an array of turns is itself one row."""
    value = parse_json(text)
    first = value[0] if isinstance(value, list) and value else None
    return isinstance(value, list) and not (isinstance(first, dict) and {"from", "role"} & first.keys())


def _check_columns(source: str, names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SourceError(f"{source} has columns of the same name ({', '.join(twice)}); rename one of each")


# ==== Planning: the cut into units ====


def plan_units(infos: Sequence[SourceInfo], *, unit_rows: int) -> list[Unit]:
    """Cut files into units of about `unit_rows` rows; small neighbours share a unit.

    Uncompressed JSONL and Parquet are cut every `unit_rows` rows, whatever their row groups; other files
    stay whole. The cut depends on nothing but the files and `unit_rows`.

    Raises `SourceError` when a file is no longer what it was when it was inspected.
    """
    units: list[Unit] = []
    waiting: list[Slice] = []
    weight = 0
    for info in infos:
        for piece in _cut(info, unit_rows):
            waiting.append(piece)
            weight += _weight(info, piece)
            if weight >= unit_rows * _ROW_BYTES:
                units.append(Unit(len(units), tuple(waiting)))
                waiting, weight = [], 0
    if waiting:
        units.append(Unit(len(units), tuple(waiting)))
    return units


def _cut(info: SourceInfo, unit_rows: int) -> Iterator[Slice]:
    if info.rows is None:
        yield _whole(info)
        return
    rows = [*range(0, info.rows, unit_rows), info.rows]
    places: Sequence[int | None] = [None] * len(rows)
    if info.format == "jsonl":
        places = _line_starts(info, unit_rows) if len(rows) > 2 else [0, info.bytes]
    for i in range(len(rows) - 1):
        yield Slice(
            info.source, info.format, info.compression, rows[i], rows[i + 1], places[i], places[i + 1]
        )


def _whole(info: SourceInfo) -> Slice:
    ends = (0, info.bytes) if info.format == "jsonl" and info.compression is None else (None, None)
    return Slice(info.source, info.format, info.compression, 0, info.rows, *ends)


def _weight(info: SourceInfo, piece: Slice) -> int:
    """Bytes a slice is taken to weigh; whole numbers, so that the cut is exact on every machine."""
    if piece.stop_row is not None:
        return (piece.stop_row - piece.start_row) * _ROW_BYTES
    return info.bytes * (_INFLATION if info.compression else 1)


def _line_starts(info: SourceInfo, every: int) -> list[int]:
    """Byte offsets of lines 0, every, 2 * every ... and of the end of the file."""
    starts, seen, offset = [0], 0, 0
    with _opened(info.source) as file:
        for chunk in _chunks(file):
            newlines = np.flatnonzero(np.frombuffer(chunk, np.uint8) == ord("\n"))
            starts += (newlines[(every - 1 - seen) % every :: every] + (offset + 1)).tolist()
            seen += len(newlines)
            offset += len(chunk)
    if starts[-1] != offset:
        starts.append(offset)
    if offset != info.bytes or len(starts) != 1 + math.ceil((info.rows or 0) / every):
        raise _changed(info.source)
    return starts


def _changed(source: str) -> SourceError:
    return SourceError(f"{source} was changed while the run read it; start again once it is complete")


# ==== Reading ====


def read_slice(piece: Slice) -> Iterator[Row]:
    """Yield the rows of a slice, numbered within their file from 0.

    `row` is the line number in JSONL (a blank line yields nothing), the element of a JSON array, the
    record after the header in CSV, the row in Parquet. A line that is not JSON and a CSV record with more
    cells than the header yield a Row with `error`.

    Raises `SourceError` when the file cannot be read, is broken or was changed since it was inspected.
    """
    return _READERS[piece.format](piece)


def peek(info: SourceInfo, limit: int = 1000) -> list[Any]:
    """Parsed values of up to `limit` rows, to tell what a file is about; rows that do not parse are left out.

    They are the first rows, and in files cut by rows half of them come from the middle.

    Raises `SourceError` like `read_slice`.
    """
    if info.rows is None or info.rows <= limit:
        return _values(islice(read_slice(_whole(info)), limit))
    middle = _middle_lines if info.format == "jsonl" else _middle_group
    start = islice(read_slice(_whole(info)), limit - limit // 2)
    return [*_values(start), *_values(islice(middle(info), limit // 2))]


def _values(rows: Iterable[Row]) -> list[Any]:
    return [row.value for row in rows if row.error is None]


def _middle_lines(info: SourceInfo) -> Iterator[Row]:
    """Rows from the first full line of the second half on; their numbers are not known."""
    with _opened(info.source) as file:
        file.seek(info.bytes // 2)
        file.readline()
        yield from (row for line in file if (row := _row_of_line(info.source, -1, line)))


def _middle_group(info: SourceInfo) -> Iterator[Row]:
    """Rows from the start of the row group that holds the middle: no other group is decoded."""
    with _parquet(info.source) as file:
        _, first = _groups(file.metadata, (info.rows or 0) // 2, info.rows)
    return read_slice(_whole(info)._replace(start_row=first))


def _read_jsonl(piece: Slice) -> Iterator[Row]:
    number, skip = piece.start_row, 0 if piece.start_byte is not None else piece.start_row
    stop = None if piece.stop_row is None else piece.stop_row - piece.start_row + skip
    with _opened(piece.source, piece.compression) as file:
        if piece.start_byte:
            file.seek(piece.start_byte)
        for line in islice(file, skip, stop):
            row = _row_of_line(piece.source, number, line)
            number += 1
            if row is not None:
                yield row
    if piece.stop_row is not None and number < piece.stop_row:
        raise _changed(piece.source)


def _row_of_line(source: str, number: int, line: bytes) -> Row | None:
    """The row on a line; None for a blank one."""
    text = _decoded(source, number, line.removeprefix(_BOM) if number == 0 else line)
    text = text.removesuffix("\n").removesuffix("\r")
    if not text.strip(" \t\r"):
        return None
    try:
        return Row(source, number, parse_json(text), original=text)
    except ValueError as error:
        return Row(source, number, None, original=text, error=_reason(error))


def _decoded(source: str, number: int, data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{source} is not UTF-8: byte {error.start} of line {number + 1}: {error.reason}; "
            "convert it to UTF-8"
        ) from None


def _read_json(piece: Slice) -> Iterator[Row]:
    with _opened(piece.source, piece.compression) as file:
        text = _decoded(piece.source, 0, file.read().removeprefix(_BOM))
    try:
        value = parse_json(text)
    except ValueError as error:
        raise SourceError(f"{piece.source} is not valid JSON: {_reason(error)}; mend it") from None
    if not isinstance(value, (list, dict)):
        raise SourceError(f"{piece.source} holds a single JSON value, not rows; remove it")
    rows = value if isinstance(value, list) else [value]
    for number, row in islice(enumerate(rows), piece.start_row, piece.stop_row):
        yield Row(piece.source, number, row)


def _read_csv(piece: Slice) -> Iterator[Row]:
    """Strict: a quote that never closes would else swallow the rest of the file as one cell."""
    csv.field_size_limit(_MAX_CELL)
    with _opened(piece.source, piece.compression) as file:
        text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
        reader = csv.reader(
            text, delimiter="\t" if _suffixes(piece.source)[0] == ".tsv" else ",", strict=True
        )
        try:
            records = (record for record in reader if record)
            header = next(records, [])
            _check_columns(piece.source, header)
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


def _read_parquet(piece: Slice) -> Iterator[Row]:
    with _parquet(piece.source) as file:
        stop = file.metadata.num_rows if piece.stop_row is None else piece.stop_row
        if stop > file.metadata.num_rows:
            raise _changed(piece.source)
        groups, number = _groups(file.metadata, piece.start_row, stop)
        # Asking for dicts makes Arrow four times slower, so it is asked only where there are maps.
        maps = "strict" if "map<" in str(file.schema_arrow) else None
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, row_groups=groups):
            skip = max(piece.start_row - number, 0)
            wanted = batch.slice(skip, max(min(stop - number, batch.num_rows) - skip, 0))
            for i, value in enumerate(wanted.to_pylist(maps_as_pydicts=maps), number + skip):
                yield Row(piece.source, i, _without_nulls(value))
            number += batch.num_rows
            if number >= stop:
                break


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


# ==== JSON and open files ====


_TOO_DEEP = f"nested more than {_MAX_DEPTH} levels deep"


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"number {digits[:20]} is out of range")
    return number


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)


def parse_json(text: str) -> Any:
    """Parse JSON as `json.loads` does, but strictly: no NaN or Infinity, nothing nested too deeply.

    Raises `ValueError` with the reason (`json.JSONDecodeError` where the syntax is wrong).

    >>> parse_json('{"a": [1, 2.0]}')
    {'a': [1, 2.0]}
    """
    try:
        value = _DECODER.decode(text)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    if text.count("[") + text.count("{") > _MAX_DEPTH and _is_deep(value):
        raise ValueError(_TOO_DEEP)
    return value


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_MAX_DEPTH):
        children = (node.values() if isinstance(node, dict) else node for node in level)
        level = [child for nodes in children for child in nodes if isinstance(child, (dict, list))]
        if not level:
            return False
    return True


def _reason(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at line {error.lineno} column {error.colno}"
    return str(error)


@contextmanager
def _opened(source: str, compression: str | None = None) -> Iterator[IO[bytes]]:
    """The bytes of a file, decompressed; Arrow's reader notices a cut-off stream in both compressions."""
    try:
        with ExitStack() as stack:
            if compression is None:
                yield stack.enter_context(Path(source).open("rb"))
            else:
                raw = stack.enter_context(pa.OSFile(source))
                stream = stack.enter_context(pa.CompressedInputStream(raw, compression))
                yield stack.enter_context(io.BufferedReader(stream, 1 << 20))
    except OSError as error:
        reason = error.strerror or str(error)
        if compression is None:
            raise SourceError(f"{source} cannot be read: {reason}; check its permissions") from None
        raise SourceError(
            f"{source} cannot be read as {compression}: {reason}; the file is broken, fetch it again"
        ) from None


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    return iter(lambda: file.read(_CHUNK), b"")


@contextmanager
def _parquet(source: str) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(source) as file:
            yield file
    except (OSError, pa.ArrowException, UnicodeDecodeError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise SourceError(f"{source} cannot be read as Parquet: {reason}; fetch or write it again") from None
