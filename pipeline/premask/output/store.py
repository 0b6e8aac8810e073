"""One folder of a store: any URL that fsspec opens, such as S3, Google storage or a directory.

    store = open_store("s3://bucket/chats")
    store.put(Path("done.json"), "units/00003/done.json", 120)
    store.read("units/00003/done.json")         # None: there is no such file

Object stores have no rename and no commits, but a file is there as a whole or not at all. Paths are relative
to the folder. Listings are never taken from fsspec's cache, because other processes write too. Every method
raises the store's `error`, with the URL and the cause. Cost: one request a call, two for a file that is sent.
"""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

from ..core.errors import OutputError, PremaskError
from ..core.urls import check_url, make_folder, named, open_url, remove_folder

AT_ONCE = 16
"""Requests to a store that are made at the same time."""

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@final
@dataclass(frozen=True, slots=True)
class Store:
    """A folder of a file system of fsspec: `root` is its path there, `url` how it is shown in messages."""

    filesystem: Any
    root: str
    url: str
    error: type[PremaskError] = OutputError

    def below(self, folder: str) -> Store:
        """Return a folder of this folder."""
        return replace(self, root=self.path(folder), url=f"{self.url}/{folder}")

    def path(self, name: str) -> str:
        """Return the path of a file in the file system of the store."""
        return f"{self.root}/{name}"

    # ==== Reading ====

    def files(self) -> dict[str, int]:
        """Return path -> size in bytes of all files; nothing if there is no such folder."""
        with self._named():
            try:
                found = self._fresh().find(self.root, detail=True)
            except FileNotFoundError:
                return {}
        start = f"{self.root}/"
        return {
            name.removeprefix(start): int(info["size"] or 0)
            for name, info in found.items()
            if name.startswith(start) and not name.endswith("/") and info.get("type") != "directory"
        }

    def read(self, name: str) -> bytes | None:
        """Return the content of a small file, None if there is none."""
        with self._named():
            try:
                return bytes(self._fresh().cat_file(self.path(name)))
            except FileNotFoundError:
                return None

    def end(self, name: str, size: int) -> bytes:
        """Return the last bytes of a file, at most so many; nothing if it is gone."""
        with self._named():
            try:
                return bytes(self._fresh().cat_file(self.path(name), start=-size))
            except FileNotFoundError:
                return b""

    def get(self, name: str, target: Path) -> None:
        """Fetch a file."""
        with self._named(missing="a file is gone ({}); remove the folder that it was in, then run again"):
            try:
                self._fresh().get_file(self.path(name), str(target))
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                raise self.error(
                    f"{target} cannot be written: {error.strerror}; make room, or name another --work"
                ) from error

    # ==== Writing ====

    def write(self, name: str, text: str) -> None:
        """Write a small file."""
        with self._named():
            self.filesystem.pipe_file(self._target(name), text.encode())

    def put(self, local: Path, name: str, size: int) -> None:
        """Send a file in one piece, and check that it arrived with its size in bytes."""
        with self._named():
            self.filesystem.put_file(str(local), self._target(name))
            self._check(name, size)

    def copy(self, source: str, name: str, size: int) -> None:
        """Copy a file from any path of the file system, by way of this machine where the store cannot."""
        target = self._target(name)
        with self._named():
            try:
                self.filesystem.cp_file(source, target)
            except NotImplementedError:
                with tempfile.TemporaryDirectory(prefix="premask-") as folder:
                    scratch = str(Path(folder) / "file")
                    self.filesystem.get_file(source, scratch)
                    self.filesystem.put_file(scratch, target)
            self._check(name, size)

    def remove(self, names: Iterable[str]) -> None:
        """Remove files in this order; one that is gone already is fine."""
        with self._named():
            for name in names:
                try:
                    self.filesystem.rm_file(self.path(name))
                except FileNotFoundError:
                    continue

    def clear(self, first: str) -> None:
        """Remove all files, those with the name `first` before the others, and the folder itself."""
        paths = [self.path(name) for name in sorted(self.files())]
        leading = [path for path in paths if path.endswith(f"/{first}")]
        with self._named():
            for some in (leading, sorted({*paths} - {*leading})):
                if some:
                    self.filesystem.rm(some)
            remove_folder(self.filesystem, self.root)

    # ==== Helpers ====

    def _fresh(self) -> Any:
        self.filesystem.invalidate_cache()
        return self.filesystem

    def _target(self, name: str) -> str:
        path = self.path(name)
        with self._named():
            make_folder(self.filesystem, path.rpartition("/")[0])
        return path

    def _check(self, name: str, size: int) -> None:
        arrived = self._fresh().info(self.path(name))["size"]
        if arrived != size:
            raise self.error(
                f"{self.url}/{name} arrived with {arrived} bytes instead of {size}; "
                "run the same command again"
            )

    def _named(
        self, missing: str = "there is no such bucket or folder ({}); make it first"
    ) -> AbstractContextManager[None]:
        again = "run the same command again, it continues where it stopped"
        return named(self.url, self.error, missing=missing, again=again)


def open_store(url: str, error: type[PremaskError] = OutputError) -> Store:
    """Return the folder with this URL; all that goes wrong there raises `error`.

    Raises `error` for a URL that fsspec does not know, that holds credentials or that names no folder.
    """
    check_url(url, error)
    filesystem, root = open_url(url, error)
    if not root.strip("/"):
        raise error(f"{url} names no folder; write {url.partition('://')[0]}://bucket/folder")
    return Store(filesystem, root.rstrip("/"), url.rstrip("/"), error)
