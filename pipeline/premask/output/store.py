"""Finished units of an output in a store: where workers put them, and where others find them again.

    store = UnitStore("s3://bucket/chats", run_key)
    store.load(task)                            # None: the unit has to be done
    store.keep(task, do)                        # done in a scratch directory, sent, and removed there

Object stores have no rename, so a unit is written to a scratch directory first, where its files are read back
and hashed; then each is sent in one piece and its size is checked, and `done.json` comes last. It lies in
`.premask-partial/RUN_KEY/units/00003/` below the output. A unit without that file is done again; since its
bytes follow from the run key, nothing is wrong if two machines do the same one.

`done.json` holds the record of the unit, and size and sha256 of each of its files, with which they are
checked when they are fetched.

Cost: a request for each unit to ask whether it is done, and two for each file that is sent.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar, final

from ..core.atomic_files import named as named_on_disk
from ..core.atomic_files import sha256_file
from ..core.errors import OutputError, PushError
from ..core.manifest import KINDS, is_manifest, parse_manifest
from ..core.urls import cache_folder, make_folder, named, open_url, remove_folder
from .dataset import LocalFile
from .sending import Finished, PushResult, Report, is_ours, read_finished
from .shards import UnitRecord, load_record, record_of, unit_file

PARTIAL = ".premask-partial"
"""The folder below an output in a store that holds the finished units of runs which are not."""


_DONE = "done.json"


class StoredTask(Protocol):
    """What is asked of a task: its scratch directory, and the key of the run."""

    @property
    def directory(self) -> Path: ...

    @property
    def key(self) -> str: ...


class MaybeStoredTask(StoredTask, Protocol):
    """A task whose unit may be kept in a store, too."""

    @property
    def store(self) -> UnitStore | None: ...


def finished(task: MaybeStoredTask) -> UnitRecord | None:
    """The record of a unit that is done, wherever it is kept; None if it has to be done."""
    return task.store.load(task) if task.store is not None else load_record(task.directory, task.key)


AnyTask = TypeVar("AnyTask", bound=StoredTask)


class StoredUnit(NamedTuple):
    """A unit that the store has: its record, and size in bytes and sha256 of each file."""

    record: UnitRecord
    files: Mapping[str, tuple[int, str]]


@dataclass(frozen=True)
class UnitStore:
    """The finished units of the run with this key, whose output goes to a URL.

    `work` is where scratch directories are made on a machine that does not see that of the task (None: in the
    user's cache). `keep_files` leaves the files of units there once they are sent, for a shuffle.
    """

    url: str
    key: str
    work: str | None = None
    keep_files: bool = False

    @property
    def shown(self) -> str:
        """The URL of the folder with all that is left of this run before it is finished."""
        return f"{self.url}/{PARTIAL}/{self.key}"

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        filesystem, root = open_url(self.url, OutputError)
        return filesystem, f"{root.rstrip('/')}/{PARTIAL}/{self.key}"

    def path(self, name: str) -> str:
        """The path of a file in the file system of the store."""
        return f"{self._opened[1]}/{name}"

    # ==== Units ====

    def load(self, task: StoredTask) -> UnitRecord | None:
        """Return the record of the unit if the store has it."""
        found = self.find(task.directory)
        return found.record if found is not None and found.record.key == task.key else None

    def find(self, directory: Path) -> StoredUnit | None:
        """What the store has of the unit with this scratch directory."""
        text = self.read(f"{name_of(directory)}/{_DONE}")
        try:
            data = json.loads(text or "")
            files = {str(name): (int(size), str(sha256)) for name, (size, sha256) in data["files"].items()}
            return StoredUnit(record_of(data["record"]), files)
        except (ValueError, TypeError, KeyError, AttributeError):
            return None

    def keep(self, task: AnyTask, do: Callable[[AnyTask], UnitRecord]) -> UnitRecord:
        """Have a unit done in a scratch directory, and send it. What has been done there before, but could
        not be sent, is not done again."""
        directory = self._scratch(task.directory)
        record = do(dataclasses.replace(task, directory=directory, store=None))  # type: ignore[type-var]
        name, files = name_of(task.directory), _sums(directory, record)
        for file, (size, _) in files.items():
            self._send(directory / file, f"{name}/{file}", size)
        data = {"record": dataclasses.asdict(record), "files": files}
        self.write(f"{name}/{_DONE}", json.dumps(data, sort_keys=True))
        if not self.keep_files:
            shutil.rmtree(directory, ignore_errors=True)
        return record

    def _scratch(self, directory: Path) -> Path:
        """The scratch directory of a task, or one of this machine if it does not see that."""
        if directory.parent.is_dir():
            return directory
        own = scratch_folder(self.url, self.work) / directory.parent.name / directory.name
        with named_on_disk(own):
            own.parent.mkdir(parents=True, exist_ok=True)
        return own

    def fetch(self, directory: Path, wanted: Callable[[str], bool]) -> None:
        """Have the files of a unit that are `wanted` in its scratch directory, and check them. Raises
        `OutputError` if they are gone or not what the record says."""
        found = self.find(directory)
        if found is None:
            raise OutputError(
                f"{self.shown}/{name_of(directory)} is gone; if no other run has finished this output "
                "meanwhile, run the same command again"
            )
        for file, (size, sha256) in found.files.items():
            target = directory / file
            if not wanted(file) or (target.is_file() and target.stat().st_size == size):
                continue
            with named_on_disk(target):
                directory.mkdir(parents=True, exist_ok=True)
            scratch = target.with_name(f"{file}.part")
            self._get(f"{name_of(directory)}/{file}", scratch)
            if sha256_file(scratch) != sha256:
                scratch.unlink()
                raise OutputError(
                    f"{self.shown}/{name_of(directory)}/{file} is not what its record says (sha256); remove "
                    f"the folder {name_of(directory)} there and run again"
                )
            scratch.replace(target)

    # ==== Files ====

    def _fresh(self) -> Any:
        """The file system, without what it has listed before: other processes write, too."""
        filesystem = self._opened[0]
        filesystem.invalidate_cache()
        return filesystem

    def _get(self, name: str, target: Path) -> None:
        with self.named(missing="a file of a unit is gone ({}); remove the folder of the unit"):
            try:
                self._fresh().get_file(self.path(name), str(target))
            except OSError as error:
                if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
                    raise OutputError(
                        f"{target} cannot be written: {error.strerror}; make room, or name another --work"
                    ) from error
                raise

    def read(self, name: str) -> str | None:
        """The text of a small file, None if there is none."""
        with self.named():
            try:
                return bytes(self._fresh().cat_file(self.path(name))).decode("utf-8", "replace")
            except FileNotFoundError:
                return None

    def write(self, name: str, text: str) -> None:
        """Write a small file."""
        with self.named():
            make_folder(self._opened[0], self.path(name).rpartition("/")[0])
            self._opened[0].pipe_file(self.path(name), text.encode())

    def _send(self, local: Path, name: str, size: int) -> None:
        filesystem, path = self._opened[0], self.path(name)
        with self.named():
            make_folder(filesystem, path.rpartition("/")[0])
            filesystem.put_file(str(local), path)
            filesystem.invalidate_cache(path)
            arrived = filesystem.info(path)["size"]
        if arrived != size:
            raise OutputError(
                f"{self.shown}/{name} arrived with {arrived} bytes instead of {size}; "
                "run the same command again"
            )

    def clear(self) -> None:
        """Remove all that is left of the run, records first: what is half removed is no unit."""
        filesystem, root = self._opened
        with self.named():
            filesystem.invalidate_cache()
            try:
                paths = sorted(filesystem.find(root))
            except FileNotFoundError:
                paths = []
            records = [path for path in paths if path.endswith(f"/{_DONE}")]
            for some in (records, [path for path in paths if path not in set(records)]):
                if some:
                    filesystem.rm(some)
            remove_folder(filesystem, root)

    def named(
        self, missing: str = "there is no such bucket or folder ({}); make it first"
    ) -> AbstractContextManager[None]:
        """Turn errors of the store into an `OutputError` that names the output and the cause."""
        return named(
            self.url,
            OutputError,
            missing=missing,
            again="run the same command again, it goes on where it stopped",
        )


def name_of(directory: Path) -> str:
    """How a unit is named in the store, by its scratch directory.

    >>> name_of(Path("scratch/units/00003"))
    'units/00003'
    """
    return f"{directory.parent.name}/{directory.name}"


def scratch_folder(url: str, work: str | None) -> Path:
    """The folder for the work on an output in a store, in the folder `work`, by default in the user's cache.

    >>> scratch_folder("s3://bucket/chats", "scratch").name
    'chats-58f488ff1f75cab5'
    """
    name = f"{url.rpartition('/')[2]}-{hashlib.sha256(url.encode()).hexdigest()[:16]}"
    return (Path(work).absolute() if work else cache_folder() / "work") / name


def _sums(directory: Path, record: UnitRecord) -> dict[str, tuple[int, str]]:
    """Size and sha256 of the files of a unit; those of shards were taken when it was written."""
    known = {unit_file(directory, name).name: file for name, file in record.files.items()}
    found: dict[str, tuple[int, str]] = {}
    for path in sorted(directory.iterdir()):
        if path.name in known:
            found[path.name] = known[path.name].bytes, known[path.name].sha256
        elif path.name != _DONE:
            found[path.name] = path.stat().st_size, sha256_file(path)
    return found


RECORD = ".premask-push.json"
"""What has arrived, while a push is under way."""


_RECORD_S = 5.0  # after which it is written down again what has arrived


_AT_ONCE = 16  # files that are put in place at the same time


Record = dict[str, tuple[int, str]]
"""Path -> size in bytes and sha256 of a file that the store holds."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A shard of an output that lies in the file system of the store already, at the path `at`."""

    path: str
    bytes: int
    sha256: str
    at: str

    def unchanged(self) -> None:
        """Nothing: who writes such files writes no others under their names."""


AnyFile = LocalFile | StoredFile


def place_in_store(tree: Path, store: Store, elsewhere: Mapping[str, str]) -> None:
    """Make a folder of a store hold an output of which some shards lie in the store already: `elsewhere` has
    their paths in its file system. The others, and all small files, lie in `tree`. What is there is replaced.

    Raises what `push_to_store` raises.
    """
    finished = read_finished(tree, elsewhere)
    stored = [
        StoredFile(shard.path, shard.bytes, shard.sha256, elsewhere[shard.path])
        for shard in finished.manifest.shards
        if shard.path in elsewhere
    ]
    with _named(store.shown):
        _push(finished, store, stored, overwrite=True, report=lambda *_: None, at_once=_AT_ONCE)


def _push(  # noqa: PLR0913  by keyword but the first two
    finished: Finished,
    store: Store,
    stored: Sequence[StoredFile] = (),
    *,
    overwrite: bool,
    report: Report,
    at_once: int = 1,
) -> PushResult:
    there = store.files()
    files: list[AnyFile] = [*stored, *finished.files]
    record = store.record(there)
    if record is None:
        foreign = sorted(path for path in there if not path.startswith("."))
        if foreign and not overwrite:
            raise PushError(
                f"{store.shown} holds {foreign[0]}, which premask has not pushed; nothing was sent: "
                "choose another folder, or pass --overwrite"
            )
        record = {}
    shards = [file for file in files if not _is_small(file) and not _holds(file, there, record)]
    same = not shards and store.same_description(finished, there)
    send = [*shards, *([] if same else [file for file in files if _is_small(file)])]
    stale = [path for path in sorted(set(there) - {file.path for file in files}) if is_ours(path)]
    if send or stale or RECORD in there:
        sending = {file.path for file in send}
        arrived = {file.path: (file.bytes, file.sha256) for file in files if file.path not in sending}
        _replace(store, send, stale, arrived, report, at_once)
    return PushResult(
        where=store.shown,
        changed=bool(send or stale),
        sent=len(send),
        sent_bytes=sum(file.bytes for file in send),
        kept=len(files) - len(send),
        kept_bytes=sum(file.bytes for file in files) - sum(file.bytes for file in send),
        removed=tuple(stale),
        commit=None,
        load=load_line(finished.manifest.recipe["layout"][0], store.shown),
        notes=tuple(f"{name} is no part of the output and was not pushed" for name in finished.others),
    )


def _replace(  # noqa: PLR0913  one caller
    store: Store, send: list[AnyFile], stale: list[str], arrived: Record, report: Report, at_once: int
) -> None:
    """Send files in their order (README.md last), keeping the record; then remove what is stale."""
    total, done, written = sum(file.bytes for file in send), 0, time.monotonic()
    if send:
        store.write_record(arrived)
        store.remove(["README.md", "manifest.json"])
    try:
        with ThreadPoolExecutor(at_once) as threads:
            for number, some in _batches(send, at_once):
                report(number, len(send), done, total)
                for file in threads.map(store.put, some):
                    done += file.bytes
                    arrived[file.path] = (file.bytes, file.sha256)
                if time.monotonic() - written > _RECORD_S:
                    store.write_record(arrived)
                    written = time.monotonic()
    except BaseException:
        with suppress(Exception):  # what stopped it is what to tell of
            store.write_record(arrived)
        raise
    report(len(send), len(send), done, total)
    store.remove([*stale, RECORD])


def _batches(send: Sequence[AnyFile], at_once: int) -> Iterator[tuple[int, Sequence[AnyFile]]]:
    """Files to send at the same time, with the number of those before; small ones one by one."""
    number = 0
    while number < len(send):
        size = 1 if _is_small(send[number]) else at_once
        some = [file for file in send[number : number + size] if size == 1 or not _is_small(file)]
        yield number, some
        number += len(some)


def _is_small(file: AnyFile) -> bool:
    """Whether it is none of the shards, which the manifest records."""
    return file.path.split("/")[0] not in KINDS


def _holds(file: AnyFile, there: Mapping[str, int], record: Record) -> bool:
    return there.get(file.path) == file.bytes and record.get(file.path) == (file.bytes, file.sha256)


def load_line(layout: str, url: str) -> str:
    """Return lines that load a layout; README configs work on the Hub and in folders only."""
    files = f'{{"train": "{url}/{layout}/train-*.parquet"}}'
    return f'from datasets import load_dataset; load_dataset("parquet", data_files={files}, split="train")'


@final
@dataclass(frozen=True, slots=True)
class Store:
    """One folder of a file system of fsspec; `shown` is its URL. Paths are relative to it."""

    filesystem: Any
    root: str
    shown: str

    def files(self) -> dict[str, int]:
        """Return path -> size of all files in the folder; nothing if there is no folder."""
        self.filesystem.invalidate_cache()
        try:
            found = self.filesystem.find(self.root, detail=True)
        except FileNotFoundError:
            return {}
        start = f"{self.root.rstrip('/')}/"
        return {
            name.removeprefix(start): int(info["size"] or 0)
            for name, info in found.items()
            if name.startswith(start) and not name.endswith("/") and info.get("type") != "directory"
        }

    def record(self, there: Mapping[str, int]) -> Record | None:
        """Return what premask knows to be there; None if it has pushed nothing there."""
        if RECORD in there:
            try:
                files = json.loads(self.read(RECORD))
                return {str(path): (int(size), str(sha256)) for path, (size, sha256) in files.items()}
            except (ValueError, TypeError, AttributeError):
                return {}
        text = self.read("manifest.json") if "manifest.json" in there else b""
        if not is_manifest(text):
            return None
        try:
            return {shard.path: (shard.bytes, shard.sha256) for shard in parse_manifest(text).shards}
        except OutputError:  # all of it is sent again
            return {}

    def same_description(self, finished: Finished, there: Mapping[str, int]) -> bool:
        """Whether the small files are as they are here: sizes of all, content of README and manifest."""
        small = {file.path: file for file in finished.files if _is_small(file)}
        if RECORD in there or any(there.get(path) != file.bytes for path, file in small.items()):
            return False
        texts = ("manifest.json", "README.md")  # the manifest has the hash of the tokenizer
        return all(self.read(path) == small[path].local.read_bytes() for path in texts)

    def put(self, file: AnyFile) -> AnyFile:
        """Send or copy a file, check that it did not change meanwhile and arrived with its size, and return
        it."""
        file.unchanged()
        target = self._at(file.path)
        make_folder(self.filesystem, target.rpartition("/")[0])
        if isinstance(file, StoredFile):
            self._copy(file.at, target)
        else:
            self.filesystem.put_file(str(file.local), target)
        self.filesystem.invalidate_cache()
        size = self.filesystem.info(target)["size"]
        if size != file.bytes:
            raise PushError(
                f"{self.shown}/{file.path} arrived with {size} bytes instead of {file.bytes}; "
                "run the same command again"
            )
        file.unchanged()
        return file

    def _copy(self, source: str, target: str) -> None:
        """Copy a file within the store, by way of this machine where the store cannot."""
        try:
            self.filesystem.cp_file(source, target)
        except NotImplementedError:
            with tempfile.TemporaryDirectory(prefix="premask-") as folder:
                scratch = str(Path(folder) / "file")
                self.filesystem.get_file(source, scratch)
                self.filesystem.put_file(scratch, target)

    def write_record(self, record: Record) -> None:
        """Write down what is there, in case this push is stopped."""
        make_folder(self.filesystem, self.root)
        self.filesystem.pipe_file(self._at(RECORD), json.dumps(record, sort_keys=True).encode())

    def remove(self, paths: Any) -> None:
        for path in paths:
            try:
                self.filesystem.rm_file(self._at(path))
            except FileNotFoundError:
                continue

    def write(self, path: str, text: str) -> None:
        """Write a small file."""
        self.filesystem.pipe_file(self._at(path), text.encode())

    def read(self, path: str) -> bytes:
        return bytes(self.filesystem.cat_file(self._at(path)))

    def _at(self, path: str) -> str:
        return f"{self.root.rstrip('/')}/{path}"


def open_folder(url: str) -> tuple[Any, str]:
    """Return the file system of a URL and the path in it."""
    filesystem, root = open_url(url, PushError)
    if not root.strip("/"):
        raise PushError(f"{url} names no folder; write {url.partition('://')[0]}://bucket/folder")
    return filesystem, root.rstrip("/")


def _named(url: str) -> AbstractContextManager[None]:
    """Turn errors of the store into a `PushError` that names it and the cause."""
    return named(
        url,
        PushError,
        missing="there is no such bucket or folder ({}); make it first",
        again="run the same command again, it goes on where it stopped",
    )
