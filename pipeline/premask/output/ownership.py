"""What an output owns, and what it does not: only its own files are ever replaced or removed.

    own, foreign = files_of_output(out)         # of a finished output
    own, foreign = files_of_work(work)          # of the work in progress
    remove_own(out, own)                        # what else is there stays

An output owns `manifest.json`, its card and report, and the files that the manifest lists, if they are what
it says: size, sha256 and, for shards, the columns of the contract. So a manifest that somebody has put into a
folder makes none of the files there its own. The work in progress has no such list; what has the name of a
working file and is a regular file belongs to it. Links, and what is behind them, never do.

Cost: for a finished output that of `Dataset.check`, which reads every byte; else some 20 us a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ..core.errors import OutputError
from ..core.manifest import KINDS, PICTURES, is_manifest
from ..core.private_files import is_planted
from ..core.received_files import regular_file, walk
from .dataset import Dataset, is_card, open_dataset, read_manifest
from .own_page import REPORT, is_page

Stamp = tuple[int, int, int]
"""What tells a file from another one at the same path: its number, size and time of change."""


class Ownership(NamedTuple):
    """What lies in a folder: its own files with their stamps, and the names of all others."""

    own: Mapping[str, Stamp]
    foreign: tuple[str, ...]


def files_of_output(out: Path) -> Ownership:
    """Say which files of a folder belong to the output that is there; none if it cannot be read."""
    try:
        dataset = open_dataset(out)
    except OutputError:
        return _sorted_out(out, frozenset({"manifest.json"} if has_manifest(out) else ()))
    return _sorted_out(out, frozenset(_owned(dataset)))


def files_of_work(work: Path) -> Ownership:
    """Say which files of a folder are those of work in progress."""
    return _sorted_out(work, frozenset(entry.name for entry in walk(work) if _WORKING.fullmatch(entry.name)))


def has_manifest(out: Path) -> bool:
    """Whether a folder holds a manifest of premask, valid or not."""
    try:
        return is_manifest(read_manifest(out))
    except OutputError:
        return False


def check_folder(folder: Path) -> None:
    """Raise `OutputError` if something else than a folder is at the place of a folder for work, or one that
    another user has put there: finished units in it are used as they are."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise OutputError(f"{folder} is needed for work in progress, but is no folder; move it away")
    if is_planted(folder):
        raise OutputError(f"{folder} belongs to another user; write the output to a folder of your own")


def listed(names: Sequence[str]) -> str:
    """Return the first of many names, for a message.

    >>> listed(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
    return ", ".join(name[:200] for name in names[:3]) + more


def remove_own(folder: Path, own: Mapping[str, Stamp], *, last: str) -> None:
    """Remove files of a folder that are still the same, `last` after all others, then folders that are empty.
    What cannot be removed stays."""
    for name in sorted(own, key=lambda name: name == last):
        with suppress(OSError):
            if _stamp(folder / name) == own[name]:
                (folder / name).unlink()
    _remove_empty(folder)


def _remove_empty(folder: Path) -> None:
    """Remove a folder and those below it, as far as they hold nothing."""
    if folder.is_symlink() or not folder.is_dir():
        return
    with suppress(OSError):
        for each in sorted(folder.iterdir()):
            _remove_empty(each)
        folder.rmdir()


def _sorted_out(folder: Path, names: frozenset[str]) -> Ownership:
    own, foreign = dict[str, Stamp](), list[str]()
    for entry in walk(folder):
        if entry.regular and entry.name in names:
            own[entry.name] = _stamp(folder / entry.name)
        else:
            foreign.append(entry.name)
    return Ownership(own, tuple(foreign))


def _stamp(path: Path) -> Stamp:
    found = path.lstat()
    return found.st_ino, found.st_size, found.st_mtime_ns


# ==== Finished outputs ====

_SCRATCH = re.compile(r"(README\.md|manifest\.json|\.?report\.html)\.[0-9a-f]{8}\.tmp")


def _owned(dataset: Dataset) -> Iterator[str]:
    yield "manifest.json"
    yield from (checked.name for checked in dataset.check() if not checked.problems)
    if is_card(dataset.card()):
        yield "README.md"
    if _has_report(dataset.root):
        yield "report.html"
    yield from (path.name for path in dataset.root.iterdir() if _SCRATCH.fullmatch(path.name))


def _has_report(root: Path) -> bool:
    """Whether `report.html` is one that `premask report` has written."""
    try:
        return is_page(regular_file(root, "report.html"), REPORT)
    except OutputError:
        return False


# ==== Work in progress ====

_JSON = r"json(\.[0-9a-f]{8}\.tmp)?"
_UNIT = (
    r"((packed|unpacked|preference|kto|lineage)-[A-Za-z0-9_.]+\.parquet|rejects\.parquet|scattered-[A-Za-z0-9_.]+\.arrow"
    rf"|hashes\.npy|done\.{_JSON})(\.part)?"
)
_TREE = (
    rf"(manifest\.json|README\.md|({'|'.join(KINDS)})/[A-Za-z0-9_.]+-[0-9]+-of-[0-9]+\.parquet"
    rf"|{'|'.join(map(re.escape, PICTURES))}|tokenizer/[^/]+(/[^/]+)?)(\.[0-9a-f]{{8}}\.tmp)?"
)
_WORKING = re.compile(
    rf"(plan|distrust)\.{_JSON}|units(-again)?/([0-9]+/{_UNIT}|\.[0-9]+\.[A-Za-z0-9_]+/.+)|tree/{_TREE}"
    rf"|hashes/\.?([0-9]+(\.(sizes|again))?\.np[yz]|[0-9]+\.(dropped|signatures|contaminated)\.arrow|evaluation\.npz)"
    rf"(\.[A-Za-z0-9_]+)?|failures/[0-9]+\.({_JSON}|begun)"
    r"|rows(-again)?/[0-9a-f]{2}/\.?[0-9a-f]{64}\.[A-Za-z0-9_]+"
    rf"|ranks/(look\.lock|(work|world)\.{_JSON}|[0-9]+-of-[0-9]+\.lock)",
    re.DOTALL,
)
"""The names of working files."""
