"""Files that a stranger may have sent: what they are is looked at before they are opened or read.

    regular_file(root, "packed/a.parquet")      where it lies: a regular file within `root`, behind no link
    read_bounded(path, 1 << 20)                 its bytes, of which there are at most so many
    walk(root)                                  all that lies below a folder; links are not followed

A folder from elsewhere can hold links to private files, devices that never end, pipes that nobody writes to,
and files of any size. So only regular files within the folder are read. One exception is made: in the cache
of the Hub's client, a file of `REPO/snapshots/COMMIT/` is a link to one in `REPO/blobs/`.

Cost: some 20 us a file.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .errors import OutputError, cause_of

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class UnusableFileError(OutputError):
    """A file that is not read; `what` says why, `missing` whether it is not there."""

    def __init__(self, path: Path, what: str, *, missing: bool = False) -> None:
        self.what, self.missing = what, missing
        super().__init__(f"{path}: {what}; fetch or write the output again")


class Entry(NamedTuple):
    """What lies below a folder: its name there, whether it is a regular file, and what it is otherwise."""

    name: str
    regular: bool
    kind: str


def regular_file(root: Path, name: str) -> Path:
    """Return where a file of a folder lies, by a path without links.

    Raises `UnusableFileError` if the name leads outside of the folder, or if there is no regular file.
    """
    path = root / name
    if name.startswith("/") or "\0" in name or {"", ".", ".."} & {*name.split("/")}:
        raise UnusableFileError(root, f"it names {name!r:.80}, which is outside the output")
    try:
        folder, real = Path(os.path.realpath(root)), Path(os.path.realpath(path))
        if real != folder / name and not _is_blob_of(folder, real):
            raise UnusableFileError(path, "it is a link, and links are not followed")
        mode = real.lstat().st_mode
    except FileNotFoundError:
        raise UnusableFileError(path, "the file is not there", missing=True) from None
    except (OSError, ValueError) as error:
        raise _refused(path, error) from None
    if not stat.S_ISREG(mode):
        raise UnusableFileError(path, f"it is {kind_of(mode)}, not a file")
    return real


def read_bounded(path: Path, most: int) -> bytes:
    """Return the bytes of a regular file, opened in a way that cannot wait.

    Raises `UnusableFileError` if it is no regular file, has more bytes, or cannot be read.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise UnusableFileError(path, "the file is not there", missing=True) from None
    except (OSError, ValueError) as error:
        raise _refused(path, error) from None
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise UnusableFileError(path, f"it is {kind_of(found.st_mode)}, not a file")
        if found.st_size <= most:
            with open(file, "rb", closefd=False) as stream:
                data = stream.read(most + 1)
            if len(data) <= most:
                return data
    finally:
        os.close(file)
    raise UnusableFileError(path, f"it has more than {most:,} bytes")


def walk(root: Path) -> Iterator[Entry]:
    """Yield all that lies below a folder and is no directory, in order, by its path there; what a link leads
    to is not looked at."""
    for folder, folders, files in os.walk(root):
        folders.sort()
        paths = [Path(folder, each) for each in files]
        paths += [path for each in folders if (path := Path(folder, each)).is_symlink()]
        for path in sorted(paths):
            mode = path.lstat().st_mode
            yield Entry(path.relative_to(root).as_posix(), stat.S_ISREG(mode), kind_of(mode))


def is_file_here(name: str) -> bool:
    """Whether a name that somebody else gave is that of a regular file of this machine.

    >>> is_file_here("x" * 5000), is_file_here("a\\0b"), is_file_here("/dev/zero")
    (False, False, False)
    """
    try:
        return stat.S_ISREG(Path(name).stat().st_mode)
    except (OSError, ValueError):
        return False


def kind_of(mode: int) -> str:
    """What a file is, in words.

    >>> kind_of(Path("/dev/null").stat().st_mode)
    'a device'
    """
    return _KINDS.get(stat.S_IFMT(mode), "a file")


def _refused(path: Path, error: Exception) -> OutputError:
    if isinstance(error, PermissionError):
        return OutputError(f"{path} cannot be read; check its permissions")
    return UnusableFileError(path, cause_of(error) if isinstance(error, OSError) else str(error))


def _is_blob_of(folder: Path, real: Path) -> bool:
    """Whether a folder is a snapshot in the cache of the Hub's client, and a file one of its repo."""
    return folder.parent.name == "snapshots" and real.parent == folder.parent.parent / "blobs"
