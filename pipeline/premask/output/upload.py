"""Make a folder of a store hold exactly one output: shards first, README.md last.

    result = upload(read_finished(Path("out/chats")), open_store("s3://bucket/chats"))

Stores have no commits, so the order keeps readers safe. While shards are replaced, neither `manifest.json`
nor `README.md` is there; README.md comes last. Who waits for it sees a whole dataset. What has arrived so far
is written to `.premask-push.json` every few seconds, so an upload that was stopped continues where it
stopped, and one of another output in between is not mistaken for it. The file is removed at the end.

A file with the size and sha256 that the store's manifest records is not sent again. Stale shards are removed
once README.md is there. Files that are not premask's are never replaced or removed: an output owns what its
manifest lists, or the record of an upload, with the size that it says; a shard must also end as premask's
do, and a small file have its sha256. Cost: beside the data two small requests for each file, three where
shards are copied, one more where a file is replaced or removed.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

from ..core.errors import OutputError
from ..core.manifest import KINDS, MANIFEST_BYTES, Manifest, is_manifest, parse_manifest
from ..core.strict_json import parse_json
from .dataset import CARD_BYTES, LocalFile, front_matter_of, is_card
from .ownership import listed
from .sending import Finished, PushResult, Report, is_ours
from .store import Store

RECORD = ".premask-push.json"
"""What has arrived, while an upload is in progress."""

_RECORD_S = 5.0  # after which the record is written again
_END_BYTES = 1 << 16  # of a shard; its schema is there

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
    `error` if that is not allowed, if a file that is not premask's lies where one of the output goes, or in
    its folders, or if anything goes wrong; `PushError` if a file changes meanwhile.
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
    paths, sending = {file.path for file in files}, {file.path for file in send}
    stale = [path for path in sorted(held.own - paths) if is_ours(path)]
    kept = [file for file in files if file.path not in sending]
    if send or stale or held.arrived is not None:
        blocked = [path for path in held.strays if path in paths or is_ours(path)]
        blocked += held.doubtful(store, [*stale, *sorted(sending & held.own)])
        if blocked:
            raise store.error(
                f"{store.url} holds files that premask has not written, or no longer as it was: "
                f"{listed(blocked)}; nothing was changed there: move them away, or choose another folder"
            )
        arrived = {file.path: (file.bytes, file.sha256) for file in kept}
        before = {path: known[path] for path in sorted({*stale, *sending} & known.keys())}
        _Transfer(store, report, arrived, before).run(send, stale, at_once)
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


@dataclass(frozen=True)
class Held:
    """What a folder of a store holds: its files with sizes in bytes, the content of `manifest.json`, and
    whether README.md is a card of premask.

    `arrived` are the files of an upload that is in progress, or was stopped; None if there is none. `begun`
    are those that it was to send, replace or remove, as pairs of path and size.
    """

    files: Mapping[str, int]
    text: bytes
    arrived: Record | None
    begun: frozenset[tuple[str, int]] = frozenset()
    has_card: bool = False

    @property
    def is_output(self) -> bool:
        """Whether the manifest is one of premask, valid or not."""
        return is_manifest(self.text)

    @property
    def foreign(self) -> str:
        """The first file that is not hidden; empty if there is none."""
        return min((path for path in self.files if not path.startswith(".")), default="")

    @cached_property
    def own(self) -> frozenset[str]:
        """The files that belong to an output or to an upload."""
        listed_ = {(path, size) for path, (size, _) in self.known().items()} | self.begun
        own = {path for path, size in self.files.items() if (path, size) in listed_}
        own |= {"manifest.json"} if self.is_output else set()
        return frozenset(own | ({"README.md"} if self.has_card else set()))

    @property
    def strays(self) -> list[str]:
        """The other files, but for hidden ones."""
        return sorted(path for path in self.files if path not in self.own and not path.startswith("."))

    def doubtful(self, store: Store, paths: Sequence[str]) -> list[str]:
        """Those of its own files that are something else by their content."""
        known, own = self.known(), [path for path in paths if path in self.files]
        return [path for path in own if not _is_written(store, path, self.files[path], known.get(path))]

    def manifest(self) -> Manifest:
        """Return the manifest of an output. Raises what `parse_manifest` raises."""
        return parse_manifest(self.text)

    def known(self) -> Record:
        """Return what was written down of files that arrived; nothing if that cannot be read."""
        if self.arrived is not None or not self.is_output:
            return self.arrived or {}
        try:
            found = self.manifest()
        except (OutputError, ValueError):  # all of it is sent again
            return {}
        return {path: (size, sha256) for path, size, sha256 in found.listed}


def _is_written(store: Store, path: str, size: int, known: tuple[int, str] | None) -> bool:
    """Whether a file is as premask writes it: a shard by its end, a small file by its hash."""
    if path in {"manifest.json", "README.md"}:
        return True
    if path.partition("/")[0] in KINDS:
        return b"premask.contract" in store.end(path, min(size, _END_BYTES))
    return known is None or hashlib.sha256(store.read(path) or b"").hexdigest() == known[1]


def read_held(store: Store) -> Held:
    """Read what a folder of a store holds."""
    files = store.files()
    text = _small(store, files, "manifest.json", MANIFEST_BYTES)
    card = is_card(front_matter_of(_small(store, files, "README.md", CARD_BYTES)))
    if RECORD not in files:
        return Held(files, text, None, has_card=card)
    return Held(files, text, *_read_record(_small(store, files, RECORD, MANIFEST_BYTES)), has_card=card)


def _small(store: Store, files: Mapping[str, int], name: str, most: int) -> bytes:
    """The content of a small file; nothing if it is not there, or not small."""
    return (store.read(name) or b"") if files.get(name, most + 1) <= most else b""


def _holds(held: Held, known: Record, file: AnyFile) -> bool:
    return held.files.get(file.path) == file.bytes and known.get(file.path) == (file.bytes, file.sha256)


def _read_record(text: bytes) -> tuple[Record, frozenset[tuple[str, int]]]:
    """What has arrived by the record of an upload, and what it had begun."""
    try:
        parts = [
            {str(path): (int(size), str(sha256)) for path, (size, sha256) in files.items()}
            for files in map(parse_json(text.decode())["files"].get, ("arrived", "begun", "before"))
        ]
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError):
        return {}, frozenset()
    return parts[0], frozenset((path, size) for part in parts for path, (size, _) in part.items())


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
    """Files on their way to a store; `arrived` is the record of those that are there, `before` of those that
    are to be replaced or removed."""

    def __init__(self, store: Store, report: Report, arrived: Record, before: Record) -> None:
        self._store, self._report, self._arrived, self._before = store, report, arrived, before
        self._begun: Record = {}
        self._written = time.monotonic()

    def run(self, send: Sequence[AnyFile], stale: Sequence[str], at_once: int) -> None:
        """Send files in their order (README.md last), keeping the record; then remove what is stale."""
        self._begun = {file.path: (file.bytes, file.sha256) for file in send}
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
        files = {"arrived": self._arrived, "begun": self._begun, "before": self._before}
        self._store.write(RECORD, json.dumps({"files": files}, sort_keys=True))
        self._written = time.monotonic()


def _batches(send: Sequence[AnyFile], at_once: int) -> Iterator[Sequence[AnyFile]]:
    """Yield files to send at the same time: shards together, small files one by one."""
    shards = [file for file in send if _is_shard(file)]
    yield from (shards[i : i + at_once] for i in range(0, len(shards), at_once))
    yield from ([file] for file in send[len(shards) :])
