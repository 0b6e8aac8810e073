"""Make a folder of a store hold exactly one output: shards first, README.md last.

    result = upload(read_finished(Path("out/chats")), open_store("s3://bucket/chats"))

Stores have no commits, so the order keeps readers safe. While shards are replaced, neither `manifest.json`
nor `README.md` is there; README.md comes last. Who waits for it sees a whole dataset. What has arrived so far
is written to `.premask-push.json` every few seconds, so an upload that was stopped continues where it
stopped, and one of another output in between is not mistaken for it. The file is removed at the end.

A file with the size and sha256 that the store's manifest records is not sent again. Stale shards are removed
once README.md is there. Files that are not premask's are never touched. Cost: beside the data two small
requests for each file, three where shards are copied.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from ..core.errors import OutputError
from ..core.manifest import KINDS, Manifest, is_manifest, parse_manifest
from .dataset import LocalFile
from .sending import Finished, PushResult, Report, is_ours
from .store import Store

RECORD = ".premask-push.json"
"""What has arrived, while an upload is in progress."""

_RECORD_S = 5.0  # after which the record is written again

Record = dict[str, tuple[int, str]]
"""Path -> size in bytes and sha256 of a file that the store holds."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A shard of an output that is in the file system of the store already, at the path `at`."""

    path: str
    bytes: int
    sha256: str
    at: str


AnyFile = LocalFile | StoredFile


def upload(  # noqa: PLR0913  by keyword but the first two
    finished: Finished,
    store: Store,
    *,
    elsewhere: Mapping[str, str] | None = None,
    overwrite: bool = False,
    report: Report = lambda *_: None,
    at_once: int = 1,
) -> PushResult:
    """Make a folder hold this output, beside files that are not premask's; `at_once` shards at a time.

    `elsewhere` has the paths, in the store's file system, of shards that are there already; these are copied.
    `overwrite` allows a folder that holds files, but nothing that premask has uploaded. Raises the store's
    `error` if that is not allowed, or if anything goes wrong; `PushError` if a file changes meanwhile.
    """
    held, files = read_held(store), [*_stored(finished, elsewhere or {}), *finished.files]
    if held.foreign and not overwrite and not held.is_output and held.arrived is None:
        raise store.error(
            f"{store.url} holds {held.foreign}, which premask has not pushed; nothing was sent: "
            "choose another folder, or pass --overwrite"
        )
    known = held.known()
    shards = [file for file in files if _is_shard(file) and not _holds(held, known, file)]
    same = not shards and _same_small_files(store, finished, held)
    send = [*shards, *(file for file in files if not _is_shard(file) and not same)]
    stale = [path for path in sorted({*held.files} - {file.path for file in files}) if is_ours(path)]
    sending = {file.path for file in send}
    kept = [file for file in files if file.path not in sending]
    if send or stale or held.arrived is not None:
        arrived = {file.path: (file.bytes, file.sha256) for file in kept}
        _Transfer(store, report, arrived).run(send, stale, at_once)
    return PushResult(
        where=store.url,
        changed=bool(send or stale),
        sent=len(send),
        sent_bytes=sum(file.bytes for file in send),
        kept=len(kept),
        kept_bytes=sum(file.bytes for file in kept),
        removed=tuple(stale),
        commit=None,
        load=load_line(finished.manifest.recipe["layout"][0], store.url),
        notes=tuple(f"{name} is not part of the output and was not pushed" for name in finished.others),
    )


def load_line(layout: str, url: str) -> str:
    """Return lines that load a layout; README configs work on the Hub and in folders only."""
    files = f'{{"train": "{url}/{layout}/train-*.parquet"}}'
    return f'from datasets import load_dataset; load_dataset("parquet", data_files={files}, split="train")'


# ==== What is there ====


@dataclass(frozen=True, slots=True)
class Held:
    """What a folder of a store holds: its files with sizes in bytes, and the content of `manifest.json`.

    `arrived` are the files of an upload that is in progress, or was stopped; None if there is none.
    """

    files: Mapping[str, int]
    text: bytes
    arrived: Record | None

    @property
    def is_output(self) -> bool:
        """Whether the manifest is one of premask, valid or not."""
        return is_manifest(self.text)

    @property
    def foreign(self) -> str:
        """The first file that is not hidden; empty if there is none."""
        return min((path for path in self.files if not path.startswith(".")), default="")

    def manifest(self) -> Manifest:
        """Return the manifest of an output. Raises what `parse_manifest` raises."""
        return parse_manifest(self.text)

    def known(self) -> Record:
        """Return what was written down of files that arrived; nothing if that cannot be read."""
        if self.arrived is not None or not self.is_output:
            return self.arrived or {}
        try:
            return {shard.path: (shard.bytes, shard.sha256) for shard in self.manifest().shards}
        except OutputError:  # all of it is sent again
            return {}


def read_held(store: Store) -> Held:
    """Read what a folder of a store holds."""
    files = store.files()
    text = store.read("manifest.json") if "manifest.json" in files else None
    return Held(files, text or b"", _read_record(store) if RECORD in files else None)


def _holds(held: Held, known: Record, file: AnyFile) -> bool:
    return held.files.get(file.path) == file.bytes and known.get(file.path) == (file.bytes, file.sha256)


def _read_record(store: Store) -> Record:
    try:
        files = json.loads(store.read(RECORD) or b"")
        return {str(path): (int(size), str(sha256)) for path, (size, sha256) in files.items()}
    except (ValueError, TypeError, AttributeError):
        return {}


def _same_small_files(store: Store, finished: Finished, held: Held) -> bool:
    """Whether the small files are as they are here: sizes of all, content of README and manifest."""
    small = {file.path: file for file in finished.files if not _is_shard(file)}
    if held.arrived is not None or any(held.files.get(path) != file.bytes for path, file in small.items()):
        return False
    texts = ("manifest.json", "README.md")  # the manifest has the hash of the tokenizer
    return all(store.read(path) == small[path].local.read_bytes() for path in texts)


def _stored(finished: Finished, elsewhere: Mapping[str, str]) -> Iterator[AnyFile]:
    for shard in finished.manifest.shards:
        if shard.path in elsewhere:
            yield StoredFile(shard.path, shard.bytes, shard.sha256, elsewhere[shard.path])


def _is_shard(file: AnyFile) -> bool:
    """Whether the manifest records the file."""
    return file.path.split("/")[0] in KINDS


# ==== The transfer ====


class _Transfer:
    """Files on their way to a store; `arrived` is the record of those that are there."""

    def __init__(self, store: Store, report: Report, arrived: Record) -> None:
        self._store, self._report, self._arrived = store, report, arrived
        self._written = time.monotonic()

    def run(self, send: Sequence[AnyFile], stale: Sequence[str], at_once: int) -> None:
        """Send files in their order (README.md last), keeping the record; then remove what is stale."""
        if send:
            self._write_record()
            self._store.remove(["README.md", "manifest.json"])
        try:
            self._send(send, at_once)
        except BaseException:
            with suppress(Exception):  # what stopped it is what to report
                self._write_record()
            raise
        self._store.remove([*stale, RECORD])

    def _send(self, send: Sequence[AnyFile], at_once: int) -> None:
        number, done, total = 0, 0, sum(file.bytes for file in send)
        with ThreadPoolExecutor(at_once) as threads:
            for batch in _batches(send, at_once):
                self._report(number, len(send), done, total)
                for file in threads.map(self._put, batch):
                    number, done = number + 1, done + file.bytes
                    self._arrived[file.path] = (file.bytes, file.sha256)
                if time.monotonic() - self._written > _RECORD_S:
                    self._write_record()
        self._report(len(send), len(send), done, total)

    def _put(self, file: AnyFile) -> AnyFile:
        """Send or copy a file, and check that it did not change meanwhile."""
        if isinstance(file, StoredFile):
            self._store.copy(file.at, file.path, file.bytes)
        else:
            file.unchanged()
            self._store.put(file.local, file.path, file.bytes)
            file.unchanged()
        return file

    def _write_record(self) -> None:
        self._store.write(RECORD, json.dumps(self._arrived, sort_keys=True))
        self._written = time.monotonic()


def _batches(send: Sequence[AnyFile], at_once: int) -> Iterator[Sequence[AnyFile]]:
    """Yield files to send at the same time: shards together, small files one by one."""
    shards = [file for file in send if _is_shard(file)]
    yield from (shards[i : i + at_once] for i in range(0, len(shards), at_once))
    yield from ([file] for file in send[len(shards) :])
