"""Input files as files: which ones there are, what their names promise, and their bytes, decompressed.

    find_sources   patterns -> files
    split_name     file name -> format and compression
    opened         file -> its bytes, decompressed
    open_parquet   file -> a Parquet reader

All reading goes through here, so that whatever the system or a library says about a broken file becomes
one `SourceError` that names the file and what to do.

    with opened("chats.jsonl.gz", "gzip") as file:
        size = sum(len(chunk) for chunk in chunks(file))

Cost: finding asks the file system once a name; memory is a chunk of 4 MB.
"""

from __future__ import annotations

import codecs
import glob
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePath
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

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

BOM = codecs.BOM_UTF8
"""The byte order mark that some programs put before UTF-8 text; it is no part of the text."""

CHUNK = 4 << 20
"""Bytes read at a time."""


# ==== Finding files ====


def find_sources(patterns: Sequence[str]) -> dict[str, int]:
    """Expand paths, directories and glob patterns (`**` too) into files, each once, in a fixed order, with
    the index of the first pattern that names them.

    The order is that of `patterns`; what one glob or directory yields is sorted. A directory stands for
    all files below it that have a known suffix; hidden ones are left out.

    Raises `SourceError` for a path that does not exist and a pattern or directory that yields nothing.
    """
    found: dict[str, tuple[str, int]] = {}
    for number, pattern in enumerate(patterns):
        for name in _expand(pattern):
            found.setdefault(os.path.abspath(name), (name, number))  # noqa: PTH100  # resolve() follows links
    return dict(found.values())


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
    names = [name for name in names if split_name(name)[0] is not None]
    if not names:
        raise SourceError(f"directory '{folder}' holds no data files; known names end in {known_suffixes()}")
    return names


def _glob(pattern: str) -> list[str]:
    """Sorted files; unlike `Path.glob` it takes absolute patterns and leaves hidden files out."""
    names = glob.glob(pattern, recursive=True)  # noqa: PTH207
    return sorted(_posix(name) for name in names if Path(name).is_file())


def _posix(name: str) -> str:
    return name.replace(os.sep, "/")


# ==== What a name promises ====


def split_name(name: str) -> tuple[str | None, str | None]:
    """Format and compression that a file name promises; a format of None when it promises none.

    >>> split_name("chats/A.JSONL.gz"), split_name("chats/notes.txt")
    (('jsonl', 'gzip'), (None, None))
    """
    suffix, packed = suffixes(name)
    form = FORMATS.get(suffix)
    return (None, None) if packed and form == "parquet" else (form, COMPRESSIONS.get(packed))


def suffixes(name: str) -> tuple[str, str]:
    """The suffix of the format and that of the compression.

    >>> suffixes("A.TSV.gz"), suffixes("a.jsonl")
    (('.tsv', '.gz'), ('.jsonl', ''))
    """
    path = PurePath(name.lower())
    if path.suffix not in COMPRESSIONS:
        return path.suffix, ""
    return PurePath(path.stem).suffix, path.suffix


def known_suffixes() -> str:
    """The suffixes that files may have, for error texts."""
    return f"{', '.join(FORMATS)}, each but .parquet also with {' or '.join(COMPRESSIONS)}"


# ==== Reading bytes ====


@contextmanager
def opened(source: str, compression: str | None = None) -> Iterator[IO[bytes]]:
    """The bytes of a file, decompressed; Arrow's reader notices a cut-off stream in both compressions.

    Raises `SourceError`, also for what goes wrong within the `with` block while it reads.
    """
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


def chunks(file: IO[bytes]) -> Iterator[bytes]:
    """The rest of an open file, `CHUNK` bytes at a time."""
    return iter(lambda: file.read(CHUNK), b"")


@contextmanager
def open_parquet(source: str) -> Iterator[pq.ParquetFile]:
    """A Parquet file, its footer read. Raises `SourceError` like `opened`, also within the `with` block."""
    try:
        with pq.ParquetFile(source) as file:
            yield file
    except (OSError, pa.ArrowException, UnicodeDecodeError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise SourceError(f"{source} cannot be read as Parquet: {reason}; fetch or write it again") from None


# ==== Errors that more than one reader meets ====


def check_columns(source: str, names: Sequence[str]) -> None:
    """Raise `SourceError` where two columns have the same name: one would hide the other."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SourceError(f"{source} has columns of the same name ({', '.join(twice)}); rename one of each")


def changed(source: str) -> SourceError:
    """The error of a file that is no longer what it was when it was inspected."""
    return SourceError(f"{source} was changed while the run read it; start again once it is complete")
