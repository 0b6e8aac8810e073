"""Is a file what its name says? File -> what it holds, after its content was checked against its name.

A file that is not (a git-lfs pointer, a JSON array named .jsonl, a cut-off download) ends the run here with
one line, before any work is done: later it would be thousands of broken rows, or rows that are missing.

    info = inspect_source("chats.jsonl")
    info.format, info.rows, info.sha256

Cost: a file is read once, a compressed one twice; memory is a few MB whatever the size of the file, except
for a long first line. Hashing and checking take 1 ns a byte, 2 ns where it is not ASCII.
"""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from .errors import SourceError
from .files import (
    BOM,
    COMPRESSIONS,
    check_columns,
    chunks,
    find_sources,
    known_suffixes,
    open_parquet,
    opened,
    split_name,
)
from .jsonlayout import layout_of
from .recipe import Source

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


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What a file holds.

    `rows` counts the lines of uncompressed JSONL (blank ones too) or the rows of Parquet; None where
    counting takes a full parse. `bytes` and `sha256` are those of the file as it lies on disk. `entry` is the
    index of the entry of `recipe.sources` that names it.
    """

    source: str
    format: str
    compression: str | None
    bytes: int
    sha256: str
    rows: int | None
    entry: int = 0


def inspect_sources(sources: Sequence[Source]) -> list[SourceInfo]:
    """Inspect all files of a recipe's `sources`, each once, in order."""
    files = find_sources([source.path for source in sources])
    return [replace(inspect_source(name), entry=entry) for name, entry in files.items()]


def inspect_source(source: str) -> SourceInfo:
    """Check a file's content against its name, hash it and count its rows where that is cheap.

    A `.json` file that holds one JSON value a line gets the format `jsonl`.

    Raises `SourceError` when the file is missing, empty, a git-lfs pointer, of an unknown or another
    format than its name says, broken or cut short, or not UTF-8.
    """
    form, compression = split_name(source)
    head = _head(source)
    if head.startswith(_GIT_LFS):
        raise SourceError(f"{source} is a git-lfs pointer, not the data; run 'git lfs pull' where it lies")
    if form is None:
        raise SourceError(f"{source} has no known file name suffix; known ones: {known_suffixes()}")
    if not head:
        raise SourceError(f"{source} is empty; remove it from the sources")
    _check_signature(source, head, compression or (form if form == "parquet" else None))
    return _inspect_parquet(source) if form == "parquet" else _inspect_text(source, form, compression)


def _head(source: str) -> bytes:
    if not Path(source).is_file():
        raise SourceError(f"{source} does not exist or is not a file; check the path")
    with opened(source) as file:
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
    with opened(source) as file:
        for chunk in chunks(file):
            digest.update(chunk)
    with open_parquet(source) as table:
        rows = table.metadata.num_rows
        check_columns(source, table.schema_arrow.names)
    if not rows:
        raise SourceError(f"{source} is empty (Parquet with no rows); remove it from the sources")
    return SourceInfo(source, "parquet", None, Path(source).stat().st_size, digest.hexdigest(), rows)


def _inspect_text(source: str, form: str, compression: str | None) -> SourceInfo:
    digest, scan, size = hashlib.sha256(), _TextScan(source, compression), 0
    with opened(source) as file:
        for chunk in chunks(file):
            digest.update(chunk)
            size += len(chunk)
            if compression is None:
                scan.feed(chunk)
    if compression is not None:
        with opened(source, compression) as file:
            for chunk in chunks(file):
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


def _checked_format(source: str, form: str, compression: str | None) -> str:
    """The format that the first lines show, where the name leaves a choice; `SourceError` where it lies."""
    with opened(source, compression) as file:
        lines = list(islice(_text_lines(file), 2))
    layout = layout_of(lines)
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
        text = (line.removeprefix(BOM) if number == 0 else line).strip()
        if text:
            yield text.decode("utf-8")
