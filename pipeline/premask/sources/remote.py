"""Files that are not on this machine: which ones a URL names, and their bytes, fetched once or streamed.

    list_url  URL, folder or pattern -> URLs of files
    stat      URL -> size and version
    fetch     URL -> a copy in the cache
    Stream    URL -> an open file that is read through the network

A file is fetched once for each version of it that the store tells apart (ETag, checksum, generation or time
of change) into `PREMASK_CACHE`, by default `~/.cache/premask`. A copy there is used only if nobody else can
have written it. What the Hub holds goes into the Hub client's own cache, at its commit. Whole folders of that
cache can be deleted at any time. Where nothing is known of the version, the file is fetched again for every
run.

    path = fetch("s3://bucket/chats.jsonl")

Cost: a request for each file beside its bytes; streaming holds a few blocks of 4 MB.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from ..core.errors import SourceError, one_line
from ..core.private_files import changeable, make_private
from ..core.redact import WEB, source_name
from ..core.urls import cache_folder, is_url, named, open_url

_BLOCK = 4 << 20


_VERSIONS = (
    ("etag", ("ETag", "etag")),
    ("generation", ("generation",)),
    ("checksum", ("md5Hash", "content_md5", "Content-MD5", "crc32c", "blob_id")),
    (
        "changed",
        ("LastModified", "last_modified", "Last-Modified", "updated", "mtime", "modified", "created"),
    ),
)


_ELSEWHERE = "set PREMASK_CACHE to another folder, or 'streaming: true' for the source"


class Stat(NamedTuple):
    """What a store says of a file: its size in bytes, its version (empty if it does not say), and its sha256
    where the store knows that."""

    size: int
    version: str
    sha256: str | None = None


def _path_of(url: str) -> str:
    """Return the path of a web URL. Raises `SourceError` if it is none."""
    try:
        return urlsplit(url).path
    except ValueError as error:  # the brackets of an IPv6 address
        raise SourceError(f"{source_name(url)} is no URL ({one_line(error)}); check it") from None


def list_url(url: str, wanted: Any) -> list[str]:
    """URLs of the files that a URL names: itself, those below a folder whose name is `wanted` (a function of
    it), or those that a pattern matches; sorted.

    Raises `SourceError` where there are none, or the store cannot be reached.
    """
    filesystem, path = open_url(url, SourceError, example="s3://bucket/chats/*.jsonl")
    protocol = url.partition("://")[0]
    if protocol in WEB:
        if "*" in _path_of(url):
            raise SourceError(f"{url}: the web cannot list files; name each file")
        return [url]
    with _reading(url):
        filesystem.invalidate_cache()
        if _has_magic(path) and not filesystem.exists(path):
            found = filesystem.glob(path, detail=True)
            names = [name for name, info in found.items() if info.get("type") != "directory"]
            reason = "the pattern matches no file; check it"
        elif _is_file(filesystem, path):
            return [url]
        else:
            below = filesystem.find(path)
            names = [name for name in below if wanted(name) and not _is_hidden(name, path)]
            if not below:
                raise FileNotFoundError(path)
            reason = "the folder holds no data files"
    if not names:
        raise SourceError(f"{url}: {reason}")
    rooted = url.partition("://")[2].startswith("/")
    return sorted(_url_of(name, filesystem, protocol, rooted=rooted) for name in names)


def _is_file(filesystem: Any, path: str) -> bool:
    """Whether a path is a file; unlike fsspec's own, this raises what goes wrong."""
    try:
        return bool(filesystem.info(path)["type"] == "file")
    except FileNotFoundError:
        return False


def _has_magic(path: str) -> bool:
    return any(each in path for each in "*?[")


def _is_hidden(name: str, folder: str) -> bool:
    return any(part.startswith(".") for part in name.removeprefix(folder).split("/"))


def _url_of(name: str, filesystem: Any, protocol: str, *, rooted: bool) -> str:
    """The URL of a path in a file system, written as the recipe writes URLs."""
    path = str(name if is_url(name) else filesystem.unstrip_protocol(name)).partition("://")[2]
    return f"{protocol}://{path if rooted else path.lstrip('/')}"


def stat(url: str) -> Stat:
    """What the store says of a file now. Raises `SourceError` where it is none, or cannot be reached."""
    filesystem, path = open_url(url, SourceError)
    with _reading(url):
        filesystem.invalidate_cache()
        info = filesystem.info(path)
        if info.get("type") == "directory":
            raise SourceError(f"{url} is a folder, not a file; name the files in it")
    return Stat(int(info.get("size") or 0), _version(info), _sha256(info))


def streamed(source: str, url: str) -> Stat:
    """What the store says of a file that is read through the network. Raises `SourceError` where it does not
    say which version that is: then nobody could tell whether the file changes meanwhile."""
    known = stat(url)
    if not known.version:
        raise SourceError(
            f"{source} cannot be streamed: its server does not say which version it is (no ETag); leave "
            "'streaming' out"
        )
    return known


def _version(info: Mapping[str, Any]) -> str:
    """The best that a store has to tell one content of a file from another.

    >>> _version({"size": 3, "ETag": '"abc"', "LastModified": 5})
    'etag abc'
    """
    for name, keys in _VERSIONS:
        for key in keys:
            if info.get(key):
                return f"{name} {str(info[key]).strip(chr(34))}"
    return ""


def _sha256(info: Mapping[str, Any]) -> str | None:
    lfs = info.get("lfs")
    return None if lfs is None else str(lfs.sha256 if hasattr(lfs, "sha256") else lfs["sha256"])


class Stream(io.RawIOBase):
    """A file that is read through the network, in blocks as they are needed; what goes wrong there is a
    `SourceError`."""

    def __init__(self, url: str) -> None:
        filesystem, path = open_url(url, SourceError)
        self._url = url
        with _reading(url):
            self._file = filesystem.open(path, "rb", block_size=_BLOCK)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with _reading(self._url):
            return int(self._file.readinto(buffer))

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        with _reading(self._url):
            return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def _reading(url: str) -> AbstractContextManager[None]:
    return named(url, SourceError, missing="there is no such file or folder ({}); check the URL")


def fetch(url: str) -> str:
    """Path of a copy of a file, fetched unless this version of it is there already.

    Raises `SourceError` where it cannot be reached, changes meanwhile, or the disk is full.
    """
    filesystem, path = open_url(url, SourceError)
    before = stat(url)
    shown = source_name(url)
    key = hashlib.sha256(f"{shown}\n{before.version}".encode()).hexdigest()[:32]
    name = PurePosixPath(unquote(urlsplit(shown).path)).name or "file"
    target = cache_folder() / "files" / key / name
    if before.version and _is_kept(target, before.size):
        return str(target)
    with _cached(url, target.parent, before.size):
        scratch = target.with_name(f".{uuid.uuid4().hex}.part")
        try:
            with _reading(url):
                filesystem.get_file(path, str(scratch))
            _check_arrived(url, before, scratch.stat().st_size)
            scratch.chmod(0o600)
            scratch.replace(target)
        finally:
            scratch.unlink(missing_ok=True)
    return str(target)


def _is_kept(target: Path, size: int) -> bool:
    """Whether a file is in the cache, whole, and nobody else can have put it there."""
    with suppress(OSError):
        return target.stat().st_size == size and changeable(target, cache_folder()) is None
    return False


def _check_arrived(url: str, before: Stat, size: int) -> None:
    if before.size and size != before.size:
        raise SourceError(
            f"{url} arrived with {size} bytes instead of {before.size}; run the same command again"
        )
    if stat(url).version != before.version:
        raise SourceError(f"{url} was changed while it was fetched; start again once it is complete")


@contextmanager
def _cached(url: str, folder: Path, size: int) -> Iterator[None]:
    """A folder of the cache with room for a file, and errors of the disk as `SourceError`."""
    try:
        make_private(folder, cache_folder())
        _check_room(url, folder, size)
        yield
    except OSError as error:
        raise _disk_error(url, error) from error
    except SourceError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            raise _disk_error(url, cause) from error
        raise


def _check_room(url: str, folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size:
        raise SourceError(
            f"{url} has {size / 1e6:,.0f} MB, but the cache {cache_folder()} has room for "
            f"{free / 1e6:,.0f} MB; make room, {_ELSEWHERE}"
        )


def _disk_error(url: str, error: OSError) -> SourceError:
    what = error.strerror or str(error)
    room = "" if isinstance(error, PermissionError) else "make room, "
    return SourceError(f"{url} cannot be kept in the cache {cache_folder()}: {what}; {room}{_ELSEWHERE}")
