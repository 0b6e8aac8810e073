"""The bytes of files: opened, decompressed, read in chunks, hashed.

    opened     file -> its bytes, decompressed
    chunks     open file -> its bytes, 4 MB at a time
    hashed     file -> size and sha256

All reading goes through here, so that whatever the system or a library says about a broken file becomes
one `SourceError` that names the file and what to do.

    with opened("chats.jsonl.gz", "gzip") as file:
        size = sum(len(chunk) for chunk in chunks(file))

Cost: memory is a chunk of 4 MB.
"""

from __future__ import annotations

import codecs
import hashlib
import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePath
from typing import IO, Any

import pyarrow as pa

from ..core.errors import SourceError, cause_of
from ..core.records import At, Kept
from ..core.urls import is_url
from .remote import Stream, stat

COMPRESSIONS: Mapping[str, str] = {".gz": "gzip", ".zst": "zstd"}
"""Second suffix -> compression; for every format but Parquet, which compresses inside."""


BOM = codecs.BOM_UTF8
"""The byte order mark that some programs put before UTF-8 text; it is no part of the text."""


CHUNK = 4 << 20
"""Bytes read at a time."""


_MOST = 2 << 30  # decompressed bytes that a file may have whatever its size

_RATIO = 200  # how much larger than in the file they may be beyond that


def suffixes(name: str) -> tuple[str, str]:
    """The suffix of the format and that of the compression.

    >>> suffixes("A.TSV.gz"), suffixes("a.jsonl")
    (('.tsv', '.gz'), ('.jsonl', ''))
    """
    path = PurePath(
        (re.split(r"[?#]", name)[0] if name.startswith(("http://", "https://")) else name).lower()
    )
    if path.suffix not in COMPRESSIONS:
        return path.suffix, ""
    return PurePath(path.stem).suffix, path.suffix


# ==== Reading bytes ====


FETCH_AGAIN = "fetch it again, or take the whole rows before the damage with --salvage"
"""How a file that is cut short can be used."""


_GONE = "gone"


def version_of(path: str) -> str:
    """What tells one content of a file from another without reading it: size and time of change, or what a
    store says of it."""
    if is_url(path):
        return stat(path).version
    try:
        status = Path(path).stat()
    except OSError:
        return _GONE
    return f"{status.st_size} bytes, changed at {status.st_mtime_ns}"


def check_version(source: str, at: At | None) -> None:
    """Raise `SourceError` where a file is no longer what it was when it was inspected."""
    if at is None or not at.version:
        return
    version = version_of(at.path)
    if version == _GONE:
        raise SourceError(f"{source} was removed while the run read it; put it back, then run again")
    if version != at.version:
        raise changed(source)


@contextmanager
def opened(source: str, compression: str | None = None, at: At | None = None) -> Iterator[IO[bytes]]:
    """The bytes of a file, decompressed; Arrow's reader notices a cut-off stream in both compressions.

    `at` says where they are, if not in a local file of that name, and which of them are read.

    Raises `SourceError`, also for what goes wrong within the `with` block while it reads, and where the file
    is another one than was inspected, or becomes so.
    """
    path = at.path if at else source
    check_version(source, at)
    kept = None if at is None else at.kept
    try:
        with ExitStack() as stack:
            yield _opened(source, path, compression, kept, stack)
    except OSError as error:
        check_version(source, at)
        if error.errno:
            raise unreadable(source, error) from None
        reason = f"{source} cannot be read as {compression}: {cause_of(error)}"
        can_be_salvaged = kept is None and suffixes(source)[0] not in (".csv", ".tsv")
        fix = FETCH_AGAIN if can_be_salvaged else "fetch it again"
        raise SourceError(f"{reason}; the file is broken, {fix}") from None
    check_version(source, at)


def _opened(
    source: str, path: str, compression: str | None, kept: Kept | None, stack: ExitStack
) -> IO[bytes]:
    if compression is None and not is_url(path):
        if kept is None:
            return stack.enter_context(Path(path).open("rb"))
        bare = stack.enter_context(io.FileIO(path))
        return stack.enter_context(io.BufferedReader(_Kept(bare, kept), 1 << 20))
    if compression is None:
        return stack.enter_context(io.BufferedReader(stack.enter_context(Stream(path)), 1 << 20))
    raw = pa.PythonFile(stack.enter_context(Stream(path)), "r") if is_url(path) else pa.OSFile(path)
    inflated = stack.enter_context(pa.CompressedInputStream(stack.enter_context(raw), compression))
    bounded = _Bounded(source, inflated, raw)
    whole = bounded if kept is None else _Kept(bounded, kept)
    return stack.enter_context(io.BufferedReader(whole, 1 << 20))


class _Bounded(io.RawIOBase):
    """Decompressed bytes, which end with `SourceError` where they are more than `_MOST` and nearly all of
    them come from nothing."""

    def __init__(self, source: str, inflated: pa.NativeFile, packed: pa.NativeFile) -> None:
        self._source, self._inflated, self._packed = source, inflated, packed
        self._size = 0

    def readable(self) -> bool:
        """It can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read the next bytes. Raises `SourceError` beyond the bound."""
        count: int = self._inflated.readinto(buffer)
        self._size += count
        if self._size > _MOST and self._size > _RATIO * self._packed.tell():
            what = f"{self._packed.tell():,} bytes become more than {_MOST:,}"
            raise SourceError(f"{self._source} is nearly all compression: {what}; decompress it first")
        return count


class _Kept(io.RawIOBase):
    """What is kept of a damaged file: never a byte behind it is asked for, and its end is another one."""

    def __init__(self, file: Any, kept: Kept) -> None:
        self._file, self._size, self._end = file, kept.size, kept.end.encode()
        self._place = 0

    def readable(self) -> bool:
        """It can be read."""
        return True

    def seekable(self) -> bool:
        """Whether the file can be sought."""
        return bool(self._file.seekable())

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a byte, counted from the start or from here. Raises `io.UnsupportedOperation` for one that is
        counted from the end, and where the file cannot be sought."""
        if whence == io.SEEK_END:
            raise io.UnsupportedOperation("a byte is counted from the start or from here")
        if whence == io.SEEK_SET or offset:
            place = offset + (self._place if whence == io.SEEK_CUR else 0)
            self._file.seek(min(place, self._size))
            self._place = place
        return self._place

    def readinto(self, buffer: Any) -> int:
        """Read the next bytes."""
        left = self._size - self._place
        if left > 0:
            count = int(self._file.readinto(memoryview(buffer)[:left]))
        else:
            end = self._end[-left : len(buffer) - left]
            buffer[: len(end)] = end
            count = len(end)
        self._place += count
        return count


def chunks(file: IO[bytes]) -> Iterator[bytes]:
    """The rest of an open file, `CHUNK` bytes at a time."""
    return iter(lambda: file.read(CHUNK), b"")


def hashed(source: str, at: At, look: Callable[[bytes], None] | None = None) -> tuple[int, str]:
    """Size and sha256 of a file, whose chunks are looked at on the way."""
    digest, size = hashlib.sha256(), 0
    with opened(source, at=at) as file:
        for chunk in chunks(file):
            digest.update(chunk)
            size += len(chunk)
            if look is not None:
                look(chunk)
    return size, digest.hexdigest()


def hashed_part(source: str, at: At | None, start: int, end: int) -> str:
    """The sha256 of the bytes `start` to `end` of a file that is not compressed."""
    digest, left = hashlib.sha256(), end - start
    with opened(source, at=at) as file:
        file.seek(start)
        while left > 0 and (chunk := file.read(min(left, CHUNK))):
            digest.update(chunk)
            left -= len(chunk)
    return digest.hexdigest()


# ==== Errors that more than one reader meets ====


def check_is_file(source: str, path: Path) -> None:
    """Raise `SourceError` unless there is a regular file to read."""
    if path.is_file():
        return
    if path.is_symlink() and not path.exists():
        raise SourceError(f"{source} is a link to {path.readlink()}, which does not exist; fix the link")
    if not path.exists():
        raise SourceError(f"{source} does not exist; check the path")
    if path.is_dir():
        raise SourceError(f"{source} is a directory, not a file; name it alone, or the files in it")
    kinds = ((path.is_fifo(), "a pipe"), (path.is_socket(), "a socket"), (True, "a device"))
    kind = next(name for found, name in kinds if found)
    raise SourceError(f"{source} is {kind}, not a file, and cannot be read twice; write the data to a file")


def check_columns(source: str, names: Sequence[str]) -> None:
    """Raise `SourceError` where two columns have the same name: one would hide the other."""
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise SourceError(f"{source} has columns of the same name ({', '.join(twice)}); rename one of each")


def unreadable(source: str, error: OSError) -> SourceError:
    """The error of a file that the system does not give us."""
    where = "its permissions" if isinstance(error, PermissionError) else "the disk or network it is on"
    return SourceError(f"{source} cannot be read: {cause_of(error)}; check {where}, then run again")


def changed(source: str) -> SourceError:
    """The error of a file that is no longer what it was when it was inspected."""
    return SourceError(f"{source} was changed while the run read it; start again once it is complete")


def decoded(source: str, number: int, data: bytes) -> str:
    """A line of a text, or the text from there on; `SourceError` where it is not UTF-8."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{source} is not UTF-8: byte {error.start} of line {number + 1}: {error.reason}; "
            "convert it to UTF-8"
        ) from None
