"""Folders whose content is used as it is, because only this user can have written it: caches.

    make_private    folder -> made for this user alone, or a PermissionError that says how to fix it
    changeable      path -> the first part of it that another user can change, None if there is none
    is_own          the same for the state of one file
    why_not         what is wrong with it, and how to fix that
    is_planted      whether another user has put a folder into one that everybody shares

What a cache gives back decides masks and bytes, so whoever can write there decides them. As with the keys of
ssh, a file counts only if it and each folder above it, up to the root of the cache, belong to this user (or
to root), nobody else can write them, and none is a link. A sticky folder such as a shared one for temporary
files may hold a cache: there nobody can replace what belongs to others.

    make_private(root / "files" / key, root)

Cost: a system call for each part of a path.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

_OF_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def make_private(folder: Path, root: Path) -> None:
    """Make a folder at or below `root`, with all between, for this user alone.

    Raises `PermissionError` if another user can change one of them, and `OSError` if one cannot be made.
    """
    for part in _parts(folder, root):
        part.mkdir(mode=0o700, parents=part == root, exist_ok=True)
    found = changeable(folder, root)
    if found is not None:
        raise PermissionError(why_not(found))


def why_not(found: Path) -> str:
    """Say what is wrong with what `changeable` returns, and how to fix it."""
    return f"other users can write to {found}; run 'chmod go-w {found}' if it is yours, or use another folder"


def changeable(path: Path, root: Path) -> Path | None:
    """Return the first of `root` and the parts between it and `path`, `path` included, that another user can
    change; None if there is none. Raises `OSError` if one is not there.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as name:
    ...     changeable(Path(name), Path(name))
    """
    for part in _parts(path, root):
        if not is_own(part.stat() if part == root else part.lstat()):
            return part
    return None


def is_own(about: os.stat_result) -> bool:
    """Whether only this user, or root, can have written a file or what a folder holds."""
    if stat.S_ISLNK(about.st_mode) or about.st_uid not in {os.geteuid(), 0}:
        return False
    sticky = stat.S_ISDIR(about.st_mode) and about.st_mode & stat.S_ISVTX
    return bool(sticky) or not about.st_mode & _OF_OTHERS


def is_planted(folder: Path) -> bool:
    """Whether another user has put a folder into one that everybody shares, such as that of scratch files."""
    try:
        own, above = folder.lstat(), folder.parent.stat()
    except OSError:
        return False
    shared = above.st_mode & stat.S_ISVTX and above.st_mode & stat.S_IWOTH
    return bool(shared) and own.st_uid not in {os.geteuid(), 0}


def _parts(path: Path, root: Path) -> Iterator[Path]:
    """Yield `root` and each folder below it up to `path`."""
    yield root
    part = root
    for name in path.relative_to(root).parts:
        part /= name
        yield part
