"""Facts: what was found out once about a tokenizer or a template, kept on disk for later commands.

    proof = recall("engine", [tokenizer.sha256(), "auto"], EngineProof, lambda: prove_engine(...))

A fact is a function of its name, of what it is about, of this package's code and of library versions. A hash
of all these is the name of its file. So there is nothing to update: another tokenizer, template, release or
library has another file.

A file is used only if nothing can have changed it: only this user can have written it (`private_files.py`),
the hash in its first line is that of its content, and the content has the type that is asked for. Anything
else counts as no file, and the fact is computed again. Values are plain data (MessagePack); reading a file
runs no code of it.

The folder is `facts` in the cache folder (`PREMASK_CACHE`). It holds at most 64 files and 256 MB; the files
that were not used for the longest time are removed. `PREMASK_FACTS=off` neither reads nor writes files.

Cost: 0.1 ms for a small fact, 2 ns a byte for a large one.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from .private_files import changeable, is_own, make_private, why_not
from .urls import cache_folder
from .versions import code_hash, versions

T = TypeVar("T")

_FORMAT = "premask fact 1"
_MOST_FILES, _MOST_BYTES = 64, 256 << 20
_OLD_S = 3600.0  # a scratch file of this age has lost its writer


def recall(
    name: str,
    about: Sequence[Any] | None,
    kind: type[T],
    make: Callable[[], T],
    *,
    holds: Callable[[T], bool] = lambda _: True,
) -> T:
    """Return a fact from its file; if there is none that can be used, make it and keep it.

    `about` is what decides the fact, as JSON values; None if that is not known, so that nothing is kept.
    `kind` is the type of the fact: of plain data, dataclasses and `msgspec.Struct`s. A fact that does not
    `hold` is neither used nor kept. Raises what `make` raises.
    """
    if about is None or not are_kept():
        return make()
    known = find(name, about, kind)
    if known is not None and holds(known):
        return known
    made = make()
    if holds(made):
        keep(name, about, made)
    return made


def are_kept() -> bool:
    """Whether facts are read and written in this process."""
    return os.environ.get("PREMASK_FACTS", "").lower() not in {"off", "0", "no", "false"}


def find(name: str, about: Sequence[Any], kind: type[T]) -> T | None:
    """Return a fact from its file; None if there is no such file that can be used."""
    key = _key(name, about)
    try:
        content = _read(_path(name, key))
        head, _, body = content.partition(b"\n")
        if head.decode() != _head(key, body):
            return None
        return msgspec.msgpack.decode(body, type=kind)
    except (OSError, ValueError, msgspec.MsgspecError):
        return None


def keep(name: str, about: Sequence[Any], fact: Any) -> None:
    """Write a fact into its file, all at once. If the file cannot be written, nothing is kept."""
    with suppress(OSError, UnicodeEncodeError):  # a text with half a surrogate pair cannot be written
        key = _key(name, about)
        path, body = _path(name, key), msgspec.msgpack.encode(fact)
        make_private(path.parent, cache_folder())
        file, scratch = tempfile.mkstemp(dir=path.parent, prefix=".")
        try:
            with os.fdopen(file, "wb") as writer:
                writer.write(f"{_head(key, body)}\n".encode() + body)
            Path(scratch).replace(path)
        finally:
            Path(scratch).unlink(missing_ok=True)
        _make_room(path.parent)


def _key(name: str, about: Sequence[Any]) -> str:
    data = [_FORMAT, name, code_hash(), versions(), _of_this_process(), list(about)]
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


@cache
def _of_this_process() -> list[str]:
    """What decides facts besides `versions`, which decide the bytes of a shard."""
    try:
        fast = metadata.version("gigatoken")
    except metadata.PackageNotFoundError:
        fast = "none"
    return [sys.version, fast]


def _head(key: str, body: bytes) -> str:
    return f"{_FORMAT} {key} {hashlib.sha256(body).hexdigest()}"


def _path(name: str, key: str) -> Path:
    return cache_folder() / "facts" / f"{name}-{key[:32]}"


def _read(path: Path) -> bytes:
    """Return the bytes of a file that only this user can have written, and mark it as used.

    Raises `OSError` if there is none.
    """
    if changeable(path.parent, cache_folder()) is not None:
        raise PermissionError(path)
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(file, "rb") as reader:
        about = os.fstat(file)
        if not (stat.S_ISREG(about.st_mode) and is_own(about)):
            raise PermissionError(path)
        with suppress(OSError):
            os.utime(file)
        return reader.read()


def warning() -> str:
    """Return why no fact is kept or used, if other users can write where they are kept; empty otherwise."""
    try:
        found = changeable(cache_folder() / "facts", cache_folder()) if are_kept() else None
    except OSError:
        return ""
    return "" if found is None else f"the cache {cache_folder()} is not used: {why_not(found)}"


def _make_room(folder: Path) -> None:
    """Remove the files that were not used for the longest time, and what killed writers have left."""
    found = sorted(((path.lstat(), path) for path in folder.iterdir()), key=lambda each: -each[0].st_mtime)
    count, size = 0, 0
    for about, path in found:
        scratch = path.name.startswith(".")
        if scratch and time.time() - about.st_mtime < _OLD_S:
            continue
        count, size = count + 1, size + about.st_size
        if scratch or count > _MOST_FILES or size > _MOST_BYTES:
            path.unlink(missing_ok=True)
