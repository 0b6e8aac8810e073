"""Finished units of an output in a store: where workers put them, and where others find them again.

    store = UnitStore("s3://bucket/chats", run_key)
    store.record(task.directory, task.key)      # None: the unit has to be done
    store.keep(task, do)                        # done in a scratch directory, sent, and removed there

A unit is in `.premask-partial/RUN_KEY/units/00003/` below the output. It is written to a scratch directory
first, where its files are hashed; then each is sent in one piece, and `done.json` last. A unit without that
file is done again. Two machines may do the same unit: its bytes follow from the run key.

`done.json` holds the record of the unit, and size and sha256 of each of its files, with which they are
checked when they are fetched. Cost: one request to ask whether a unit is done, two for each file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from ..core.atomic_files import named, sha256_file
from ..core.errors import OutputError
from ..core.strict_json import parse_json
from ..core.urls import cache_folder
from .shards import UnitRecord, load_record, record_of, unit_file
from .store import Store, open_store

PARTIAL = ".premask-partial"
"""The folder below an output in a store that holds the finished units of runs that are not finished."""

_DONE = "done.json"


class StoredTask(Protocol):
    """What is asked of a task: its scratch directory, the key of the run, and where its unit is kept."""

    @property
    def directory(self) -> Path: ...
    @property
    def key(self) -> str: ...
    @property
    def store(self) -> UnitStore | None: ...


AnyTask = TypeVar("AnyTask", bound=StoredTask)


class StoredUnit(NamedTuple):
    """A unit that the store has: its record, and size in bytes and sha256 of each file."""

    record: UnitRecord
    files: Mapping[str, tuple[int, str]]


def finished(task: StoredTask) -> UnitRecord | None:
    """Return the record of a finished unit, wherever it is kept; None if it has to be done."""
    find = load_record if task.store is None else task.store.record
    return find(task.directory, task.key)


@dataclass(frozen=True)
class UnitStore:
    """The finished units of the run with this key, whose output goes to a URL. Can be pickled.

    `work` is where scratch directories are made on a machine that does not see that of the task (None: in the
    user's cache). `keep_files` leaves the files of units there once they are sent, for a shuffle.
    """

    url: str
    key: str
    work: str | None = None
    keep_files: bool = False

    @cached_property
    def _store(self) -> Store:
        return open_store(self.url).below(f"{PARTIAL}/{self.key}")

    def path(self, name: str) -> str:
        """Return the path of a file in the file system of the store."""
        return self._store.path(name)

    def record(self, directory: Path, key: str) -> UnitRecord | None:
        """Return the record of the unit with this scratch directory and key if the store has it."""
        found = self._find(directory)
        return found.record if found is not None and found.record.key == key else None

    def _find(self, directory: Path) -> StoredUnit | None:
        try:
            data = parse_json(self.read(f"{name_of(directory)}/{_DONE}") or "")
            files = {str(name): (int(size), str(sha256)) for name, (size, sha256) in data["files"].items()}
            if any("/" in name or name in {"", ".", ".."} or "\0" in name for name in files):
                return None
            return StoredUnit(record_of(json.dumps(data["record"])), files)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
            return None

    def keep(self, task: AnyTask, do: Callable[[AnyTask], UnitRecord]) -> UnitRecord:
        """Have a unit done in a scratch directory, and send it. A unit that was done there before, but could
        not be sent, is not done again."""
        directory = self._scratch(task.directory)
        record = do(dataclasses.replace(task, directory=directory, store=None))  # type: ignore[type-var]
        name, files = name_of(task.directory), _sums(directory, record)
        for file, (size, _) in files.items():
            self._store.put(directory / file, f"{name}/{file}", size)
        data = {"record": dataclasses.asdict(record), "files": files}
        self.write(f"{name}/{_DONE}", json.dumps(data, sort_keys=True))
        if not self.keep_files:
            shutil.rmtree(directory, ignore_errors=True)
        return record

    def _scratch(self, directory: Path) -> Path:
        """Return the scratch directory of a task, or one of this machine if it does not see that."""
        if directory.parent.is_dir():
            return directory
        own = scratch_folder(self.url, self.work) / directory.parent.name / directory.name
        with named(own):
            own.parent.mkdir(parents=True, exist_ok=True)
        return own

    def fetch(self, directory: Path, wanted: Callable[[str], bool]) -> None:
        """Have the `wanted` files of a unit in its scratch directory, and check them.

        Raises `OutputError` if they are gone, or not what the record says.
        """
        found, name = self._find(directory), name_of(directory)
        if found is None:
            raise OutputError(
                f"{self._store.url}/{name} is gone; if no other run has finished this output meanwhile, "
                "run the same command again"
            )
        for file, (size, sha256) in found.files.items():
            target = directory / file
            if wanted(file) and not (target.is_file() and target.stat().st_size == size):
                self._fetch_file(f"{name}/{file}", target, sha256)

    def _fetch_file(self, name: str, target: Path, sha256: str) -> None:
        scratch = target.with_name(f"{target.name}.part")
        with named(target):
            target.parent.mkdir(parents=True, exist_ok=True)
        self._store.get(name, scratch)
        if sha256_file(scratch) != sha256:
            scratch.unlink()
            raise OutputError(
                f"{self._store.url}/{name} is not what its record says (sha256); remove "
                f"the folder {name.rpartition('/')[0]} there and run again"
            )
        scratch.replace(target)

    def get(self, path: str, target: Path) -> None:
        """Fetch a file, given its `path` in the file system of the store."""
        self._store.get(path.removeprefix(self._store.path("")), target)

    def read(self, name: str) -> str | None:
        """Return the text of a small file, None if there is none."""
        content = self._store.read(name)
        return None if content is None else content.decode("utf-8", "replace")

    def write(self, name: str, text: str) -> None:
        """Write a small file."""
        self._store.write(name, text)

    def clear(self) -> None:
        """Remove all that is left of the run, records first: what is half removed is no unit."""
        self._store.clear(first=_DONE)


def name_of(directory: Path) -> str:
    """Return how a unit is named in the store, by its scratch directory.

    >>> name_of(Path("scratch/units/00003"))
    'units/00003'
    """
    return f"{directory.parent.name}/{directory.name}"


def scratch_folder(url: str, work: str | None) -> Path:
    """Return the folder for the work on an output in a store: in `work`, by default in the user's cache.

    >>> scratch_folder("s3://bucket/chats", "scratch").name
    'chats-58f488ff1f75cab5'
    """
    name = f"{url.rpartition('/')[2]}-{hashlib.sha256(url.encode()).hexdigest()[:16]}"
    return (Path(work).absolute() if work else cache_folder() / "work") / name


def _sums(directory: Path, record: UnitRecord) -> dict[str, tuple[int, str]]:
    """Return size and sha256 of the files of a unit; those of shards are in its record."""
    known = {unit_file(directory, name).name: file for name, file in record.files.items()}
    found: dict[str, tuple[int, str]] = {}
    for path in sorted(directory.iterdir()):
        if path.name in known:
            found[path.name] = known[path.name].bytes, known[path.name].sha256
        elif path.name != _DONE:
            found[path.name] = path.stat().st_size, sha256_file(path)
    return found
