"""Push a finished output to an object store or a folder: any URL that fsspec opens, README.md last.

    push_to_store(Path("out/chats"), "s3://bucket/chats")

Object stores have no commits, so the order keeps readers safe: while shards are being replaced neither
`manifest.json` nor `README.md` is there, and the README comes last. Whoever waits for the README sees a whole
dataset. (`content_revision` writes into a folder of its own, named by the run key, so that nothing that is
being read is replaced at all.) What has arrived so far stands in `.premask-push.json`, which is removed at
the end: a push that was stopped goes on where it stopped (it is written every few seconds), and one of
another output in between is not mistaken for it.

A run whose output goes to a store ends in the same way (`place_in_store`); most shards are there already.

Files with the size and sha256 that the store's manifest records are not sent again; shards of an earlier
push are removed once the README is there. Files that are not premask's are never touched. Credentials are
the store's own (`AWS_*`, Google's default ones); none are written anywhere. Cost: the output is read twice;
one small request a shard beside the data, two where shards are copied.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from .core.errors import PushError
from .core.urls import make_folder, named, open_url
from .finished import KINDS, Finished, LocalFile, PushResult, Report, is_ours, parse_manifest, read_finished

RECORD = ".premask-push.json"
"""What has arrived, while a push is under way."""

_RECORD_S = 5.0  # after which it is written down again what has arrived
_AT_ONCE = 16  # files that are put in place at the same time

Record = dict[str, tuple[int, str]]
"""Path -> size in bytes and sha256 of a file that the store holds."""


def push_to_store(
    out: Path,
    url: str,
    *,
    content_revision: bool = False,
    overwrite: bool = False,
    report: Report | None = None,
) -> PushResult:
    """Make a folder of a store hold exactly this output, beside files that are not premask's.

    `content_revision` takes the folder `run-KEY` below it. `overwrite` allows a folder that holds files, but
    nothing that premask has pushed. `report` is called as files are sent.

    Raises `OutputError` if the output is not whole, before anything is sent; `PushError` for everything that
    is wrong with the store.
    """
    filesystem, root = open_folder(url)
    finished = read_finished(out)
    shown = url.rstrip("/")
    if content_revision:
        root, shown = f"{root}/{finished.content_name}", f"{shown}/{finished.content_name}"
    with _named(shown):
        store = Store(filesystem, root, shown)
        return _push(finished, store, overwrite=overwrite, report=report or (lambda *_: None))


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
    shards = [shard for shard in finished.manifest["shards"] if shard["path"] in elsewhere]
    stored = [
        StoredFile(shard["path"], shard["bytes"], shard["sha256"], elsewhere[shard["path"]])
        for shard in shards
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
        load=load_line(finished.manifest, store.shown),
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


def load_line(manifest: Mapping[str, Any], url: str) -> str:
    """Return lines that load the first layout; README configs work on the Hub and in folders only."""
    layout = manifest["recipe"]["layout"][0]
    files = f'{{"train": "{url}/{layout}/train-*.parquet"}}'
    return f'from datasets import load_dataset; load_dataset("parquet", data_files={files}, split="train")'


# ==== The store ====


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
        manifest = parse_manifest(self.read("manifest.json")) if "manifest.json" in there else None
        if manifest is None:
            return None
        return {shard["path"]: (shard["bytes"], shard["sha256"]) for shard in manifest["shards"]}

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
