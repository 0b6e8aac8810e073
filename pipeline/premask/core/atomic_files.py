"""Files and directories that are all there or not at all, also if the machine stops in between.

    write_json      data -> a file, by a rename; write_text: a text
    placed          a scratch file -> a file of the work in progress, by a rename
    new_file        a file of text that must not exist yet -> the same, by a rename
    sync, sync_tree a file or directory, all below one -> on the disk
    sha256_file     a file -> its hash
    remove_tree     a directory -> gone, in an order that can be resumed
    link            a second name for a file
    named           errors of the file system -> one `OutputError` that names the output and the cause

A file system keeps the promise of a rename only for what was written to the disk before. That is easily
forgotten, so it is done once, here.

    with named(out):
        write_json(out / "manifest.json", {"rows": 3})

Cost: every `sync` waits for the disk, some milliseconds; hashing takes 0.8 ns a byte.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from .errors import OutputError, PremaskError, cause_of

_FULL = {errno.ENOSPC, errno.EDQUOT}
_NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write JSON with sorted keys, as `write_text` does."""
    write_text(path, json_text(data))


def write_text(path: Path, text: str) -> None:
    """Write a text so that it is all there or not at all, even if others write the same file."""
    scratch = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with scratch.open("x", encoding="utf-8") as file:
            file.write(text)
        sync(scratch)
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def json_text(data: Mapping[str, Any]) -> str:
    """JSON with sorted keys, as it is written."""
    text = json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False)
    return f"{text}\n"


@contextmanager
def new_file(path: Path) -> Iterator[IO[str]]:
    """Give a new text file, which is in place once the `with` block ends without an error.

    Raises `OutputError` if the path exists or cannot be written.
    """
    if os.path.lexists(path):
        raise OutputError(f"{path} exists already; name a file that does not")
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with scratch.open("x", encoding="utf-8", newline="\n") as file:
            yield file
        sync(scratch)
        scratch.rename(path)
    except PremaskError:
        raise
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {cause_of(error)}; check the path and space") from None
    finally:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)


@contextmanager
def placed(path: Path) -> Iterator[Path]:
    """Give a scratch file beside `path`, which becomes `path` once the block has ended."""
    with named(path):
        scratch = path.with_name(f".{path.name}")
        yield scratch
        sync(scratch)
        scratch.rename(path)


def sync_tree(tree: Path) -> None:
    """Wait until a directory and all below it are on the disk."""
    for path in [*tree.rglob("*"), tree]:
        sync(path)


def sync(path: Path) -> None:
    """Wait until a file or directory is on the disk. Some file systems, such as those of networks, have no
    such thing for directories."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno not in _NO_SYNC or not path.is_dir():
            raise
    finally:
        os.close(file)


def remove_tree(tree: Path, *, last: str) -> None:
    """Remove a directory as far as possible. Its file `last`, which identifies it, is removed last, so that
    an interrupted removal can be resumed."""
    for path in tree.iterdir() if tree.is_dir() else ():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != last:
            with suppress(OSError):
                path.unlink()
    shutil.rmtree(tree, ignore_errors=True)


def link(source: Path, target: Path) -> None:
    """Give a file a second name, so that the unit stays whole until the output is complete; where the file
    system has no links, move it."""
    try:
        target.hardlink_to(source)
    except OSError as error:
        if error.errno in _FULL:
            raise
        source.rename(target)


def sha256_file(path: Path) -> str:
    """Return the sha256 of a file's bytes as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Turn errors of the file system into an `OutputError` that names the output and the cause."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {cause_of(error)}; check space and permissions, then run again "
            "(finished units are kept)"
        ) from error
