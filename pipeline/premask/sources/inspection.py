"""Is a file what its name says? File -> what it holds, after its content was checked against its name.

A file that is not (a git-lfs pointer, a JSON array named .jsonl, a cut-off download) ends the run here with
one line, before any work is done: later it would be thousands of broken rows, or rows that are missing.

    info = inspect_source("chats.jsonl")
    info.format, info.rows, info.sha256

Cost: a file is read once, a compressed one twice; memory is some tens of MB whatever the size of the file.
Hashing and checking take 1 ns a byte, 2 ns where it is not ASCII, 3 ns more in a JSON array, whose elements
are counted.
"""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO

from ..core.errors import SourceError
from ..core.records import At, SourceInfo
from ..core.urls import is_url
from .files import (
    BOM,
    COMPRESSIONS,
    check_columns,
    check_is_file,
    chunks,
    known_suffixes,
    open_parquet,
    opened,
    split_name,
    version_of,
)
from .json_array import ArrayScan, Cutter, is_conversation_file, layout_of, naming_place
from .remote import Stat, stat

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


_LONG_LINE = 16 << 20  # bytes of a first line that are read to tell the layout


def inspect_source(source: str, path: str | None = None) -> SourceInfo:
    """Check a file's content against its name, hash it and count its rows where that is cheap.

    A `.json` file that holds one JSON value a line gets the format `jsonl`. `path` says where the file is, if
    it is not of that name: a local copy, or a URL, of which only the beginning (of Parquet, the end) is read;
    nothing is hashed or counted then.

    Raises `SourceError` when the file is missing, empty, a git-lfs pointer, of an unknown or another
    format than its name says, broken or cut short, or not UTF-8.
    """
    form, compression = split_name(source)
    at = _found(source, path or source)
    with opened(source, at=at) as file:
        head = file.read(64)
    if head.startswith(_GIT_LFS):
        raise SourceError(f"{source} is a git-lfs pointer, not the data; run 'git lfs pull' where it lies")
    if form is None:
        raise SourceError(f"{source} has no known file name suffix; known ones: {known_suffixes()}")
    if not head:
        raise SourceError(f"{source} is empty; remove it from the sources")
    _check_signature(source, head, compression or (form if form == "parquet" else None))
    if form == "parquet":
        return _inspect_parquet(source, at)
    if is_url(at.path):
        return _inspect_stream(source, form, compression, at)
    return _inspect_text(source, form, compression, at)


def _found(source: str, path: str) -> At:
    """Where a file is, and which version of it; `SourceError` where there is no file to read."""
    if not is_url(path):
        check_is_file(source, Path(path))
    return At(path, version_of(path))


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
    found = next((kind for magic, kind in _SIGNATURES if head.startswith(magic)), None)
    if found is None and len(head) > 3 and (not any(head[1:4:2]) or not any(head[:3:2])) and any(head):
        return "UTF-16 text"
    return found


def _inspect_parquet(source: str, at: At) -> SourceInfo:
    with open_parquet(source, at) as table:
        rows = table.metadata.num_rows
        check_columns(source, table.schema_arrow.names)
    if not rows:
        raise SourceError(f"{source} is empty (Parquet with no rows); remove it from the sources")
    if is_url(at.path):
        known = _known(source, at)
        return SourceInfo(
            source, "parquet", None, known.size, known.sha256, rows, at=at, version=known.version
        )
    size, digest = _hashed(source, at, lambda _: None)
    return SourceInfo(source, "parquet", None, size, digest, rows, at=at)


def _inspect_stream(source: str, form: str, compression: str | None, at: At) -> SourceInfo:
    known, form = _known(source, at), _checked_format(source, form, compression, at)
    version = known.version
    return SourceInfo(source, form, compression, known.size, known.sha256, None, at=at, version=version)


def _known(source: str, at: At) -> Stat:
    known = stat(at.path)
    if not known.version:
        raise SourceError(
            f"{source} cannot be streamed: its server does not say which version it is (no ETag); leave "
            "'streaming' out"
        )
    return known


def _inspect_text(source: str, form: str, compression: str | None, at: At) -> SourceInfo:
    scan, array = _TextScan(source, compression), ArrayScan()
    plain = compression is None

    def look(chunk: bytes) -> None:
        scan.feed(chunk)
        if form == "json" and plain:
            array.feed(chunk)

    size, digest = _hashed(source, at, look if plain else lambda _: None)
    if not plain:
        with opened(source, compression, at) as file:
            for chunk in chunks(file):
                look(chunk)
    scan.finish()
    form = _checked_format(source, form, compression, at)
    info = SourceInfo(source, form, compression, size, digest, None, at=at)
    if plain and form == "jsonl":
        return replace(info, rows=scan.lines)
    if plain and form == "json" and array.is_array and not is_conversation_file(source, None, at):
        with naming_place(source, compression, at):
            return replace(info, rows=array.count(), marks=tuple(array.marks))
    return info


def _hashed(source: str, at: At, look: Callable[[bytes], None]) -> tuple[int, str]:
    """Size and sha256 of a file, whose chunks are looked at on the way."""
    digest, size = hashlib.sha256(), 0
    with opened(source, at=at) as file:
        for chunk in chunks(file):
            digest.update(chunk)
            size += len(chunk)
            look(chunk)
    return size, digest.hexdigest()


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
            self.blank = not (chunk.removeprefix(BOM) if self.offset == 0 else chunk).strip()
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


def _checked_format(source: str, form: str, compression: str | None, at: At) -> str:
    """The format that the first lines show, where the name leaves a choice; `SourceError` where it lies."""
    with opened(source, compression, at) as file:
        try:
            lines, whole = _first_lines(file)
        except UnicodeDecodeError as error:
            what = f"in its first lines: {error.reason}"
            raise SourceError(f"{source} is not UTF-8 {what}; convert it to UTF-8") from None
        if not lines:
            raise SourceError(f"{source} is empty (only whitespace); remove it from the sources")
        layout = layout_of(lines) if whole else _layout_of_long(lines[0], file)
    if form == "csv" and layout in ("lines", "array", "row"):
        raise SourceError(f"{source} holds JSON, not CSV; rename it to .jsonl or .json")
    if form == "jsonl" and layout in ("array", "document"):
        raise SourceError(
            f"{source} holds one JSON {'array' if lines[0].startswith('[') else 'object'}, not one JSON "
            "value a line; rename it to .json"
        )
    return "jsonl" if form == "json" and layout == "lines" else form


def _first_lines(file: IO[bytes]) -> tuple[list[str], bool]:
    """The first two lines that are not blank, stripped and without a byte order mark, and whether the first
    is whole: of a longer line only the beginning is read."""
    lines = list[str]()
    number, whole = 0, True
    while len(lines) < 2 and (line := file.readline(_LONG_LINE)):
        text = (line.removeprefix(BOM) if number == 0 else line).strip()
        if text:
            whole = bool(lines) or len(line) < _LONG_LINE or line.endswith(b"\n")
            lines.append(text.decode("utf-8", "strict" if whole else "replace"))
        if not whole:
            break
        number += 1
    return lines, whole


def _layout_of_long(begin: str, file: IO[bytes]) -> str:
    """`jsonlayout.layout_of` for a text whose first line is too long to be parsed; the file stands in it."""
    if begin[0] not in "[{":
        return "other"
    cutter = Cutter()
    cutter.feed(begin.encode())
    for chunk in chunks(file):
        end, _, rest = chunk.partition(b"\n")
        cutter.feed(end)
        if len(end) < len(chunk):
            if cutter.depth:
                return "document"
            more = rest.strip() or any(each.strip() for each in chunks(file))
            return "lines" if more else "array" if begin[0] == "[" else "row"
    return "array" if begin[0] == "[" else "row"
