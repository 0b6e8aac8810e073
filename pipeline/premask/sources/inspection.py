"""Is a file what its name says? File -> what it holds, after its content was checked against its name.

A file that is not (a git-lfs pointer, a JSON array named .jsonl, a cut-off download) ends the run here with
one line, before any work is done: later it would be thousands of broken rows, or rows that are missing.

    info = inspect_source("chats.jsonl")
    info.format, info.rows, info.sha256

Cost: a file is read once, a compressed one twice; memory is some tens of MB whatever the size of the file.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..core.errors import SourceError
from ..core.records import At, Salvage, SourceInfo
from ..core.urls import is_url
from .blocks import Format
from .files import COMPRESSIONS, check_is_file, hashed, opened, version_of
from .formats import known_suffixes, split_name
from .salvage import salvaged
from .signatures import signature

_GIT_LFS = b"version https://git-lfs"


def inspect_source(source: str, path: str | None = None, *, salvage: bool = False) -> SourceInfo:
    """Check a file's content against its name, hash it and count its rows where that is cheap.

    A `.json` file that holds one JSON value a line gets the format `jsonl`. `path` says where the file is, if
    it is not of that name: a local copy, or a URL, of which only the beginning (of Parquet, the end) is read;
    nothing is hashed or counted then. With `salvage` the whole rows of a file that is cut short are taken,
    and its `SourceInfo` says what was lost.

    Raises `SourceError` when the file is missing, empty, a git-lfs pointer, of an unknown or another
    format than its name says, broken or cut short, or not UTF-8.
    """
    form, compression = split_name(source)
    at = _found(source, path or source)
    with opened(source, at=at) as file:
        head = file.read(64)
    if head.startswith(_GIT_LFS):
        raise SourceError(f"{source} is a git-lfs pointer, not the data; run 'git lfs pull' in its folder")
    if form is None:
        raise SourceError(f"{source} has no known file name suffix; known ones: {known_suffixes()}")
    if not head:
        raise SourceError(f"{source} is empty; remove it from the sources")
    _check_signature(source, head, form, compression)
    cut = salvaged(source, form.name, compression, at) if salvage else None
    if cut is None:
        return form.inspect(source, compression, at)
    size, digest = hashed(source, at)
    info = form.inspect(source, compression, at._replace(kept=cut.kept))
    return replace(info, sha256=digest, salvage=Salvage(size, cut.row, cut.kept.size, cut.lost))


def _found(source: str, path: str) -> At:
    """Where a file is, and which version of it; `SourceError` where there is no file to read."""
    if not is_url(path):
        check_is_file(source, Path(path))
    return At(path, version_of(path))


def _check_signature(source: str, head: bytes, form: Format, compression: str | None) -> None:
    found, expected = signature(head), form.name if form.magic else compression
    if head.startswith(form.magic) if form.magic else found == expected:
        return
    suffix = next((suffix for suffix, kind in COMPRESSIONS.items() if kind == found), None)
    if suffix is not None and expected is None:
        raise SourceError(f"{source} is compressed ({found}) but not named so; rename it to {source}{suffix}")
    raise SourceError(
        f"{source} should hold {expected or 'UTF-8 text'} by its name but holds {found or 'something else'}; "
        "rename it, convert it or fetch it again"
    )
