"""Where an output goes: a directory, or a folder of a store, with a directory here for the work on it.

    destination = destination_of("s3://bucket/chats", work_dir="scratch")
    output = destination.open(identity)         # None: the output is up to date
    destination.out                             # its work in progress is beside this path

In a store an output is made of units that are there already (`unit_store.py`). Shards are copied within the
store, so their bytes cross the network once; lineage is fetched, numbered over all units, and sent again. The
manifest and README.md come last (`upload.py`), then what was left of the run is removed.

What a destination holds is checked before any work is done, and again before the output is put there. Stores
have no locks, so two machines can do the same run: both write the same bytes, and the one that ends last
finds the output there. On one machine the second run is refused.

Cost: a listing of the folder, and for each unit some requests at the end, `AT_ONCE` at a time.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from ..core.atomic_files import json_text
from ..core.errors import OutputError, RecipeError
from ..core.locks import Lock
from ..core.manifest import Manifest
from ..core.strict_json import parse_json
from ..core.urls import is_url
from .dataset import open_dataset
from .directory import (
    MakeCard,
    Output,
    check_there,
    foreign_error,
    join_output,
    kept_beside,
    open_output,
    remove_work,
    replaced,
    update_card,
    with_card,
    work_directory,
)
from .example import TOKENIZER_FILE, example_shard
from .identity import RunIdentity
from .sending import read_finished
from .shards import HASHES, UnitRecord, is_scattered, unit_file
from .store import AT_ONCE, Store, open_store
from .unit_store import PARTIAL, UnitStore, name_of, scratch_folder
from .upload import Held, read_held, upload

_NO_STORES = {
    "hf": "write to a directory, then 'premask push OUT org/name'",
    "http": "the web takes no files; write to a directory or a store",
    "https": "the web takes no files; write to a directory or a store",
}


@dataclass(frozen=True)
class Destination:
    """A directory that an output goes to."""

    out: Path

    @property
    def shown(self) -> Path | str:
        """The output as the recipe names it."""
        return self.out

    @property
    def about(self) -> str:
        """Where the work is done, for the user; empty if it is beside the output."""
        return ""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was found there that the user should look at."""
        what = "holds files that lay in an output that was replaced, and were not its own; move them away"
        return tuple(f"{path} {what}" for path in kept_beside(self.out))

    def look(self) -> None:
        """Raise `OutputError` if the destination cannot be reached."""

    def open(self, identity: RunIdentity, *, overwrite: bool = False) -> Output | None:
        """Do what `open_output` does, there."""
        return open_output(self.out, identity, overwrite=overwrite)

    def join(self, identity: RunIdentity, lock: Lock, *, overwrite: bool = False) -> Output | None:
        """Do what `join_output` does, there."""
        return join_output(self.out, identity, lock, overwrite=overwrite)

    def manifest(self) -> dict[str, Any] | None:
        """Return the manifest of the output that is there, as JSON values; None if there is none."""
        return open_dataset(self.out).manifest.as_dict() if (self.out / "manifest.json").exists() else None

    def update_card(self, card: Mapping[str, Any], make_card: MakeCard) -> dict[str, Any]:
        """Do what `update_card` does, there."""
        return update_card(self.out, card, make_card)


@dataclass(frozen=True)
class StoreDestination(Destination):
    """A folder of a store that an output goes to. `out` is where it would be here, in a folder of its own."""

    url: str = ""
    work_dir: str | None = None
    _found: list[str] = field(default_factory=list)

    @property
    def shown(self) -> str:
        return self.url

    @property
    def about(self) -> str:
        return f"working in {self.out.parent}; finished units go to {self.url}/{PARTIAL}"

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(self._found)

    @cached_property
    def store(self) -> Store:
        """The folder."""
        return open_store(self.url)

    def look(self) -> None:
        self.store.files()

    def open(self, identity: RunIdentity, *, overwrite: bool = False) -> Output | None:
        if self.holds(identity, overwrite=overwrite):
            self._clear(identity)
            return None
        self._begin(identity)
        return open_output(self.out, identity, make=partial(StoreOutput, destination=self))

    def join(self, identity: RunIdentity, lock: Lock, *, overwrite: bool = False) -> Output | None:
        if self.holds(identity, overwrite=overwrite):
            return None
        self._begin(identity)
        return join_output(self.out, identity, lock, make=partial(StoreOutput, destination=self))

    def manifest(self) -> dict[str, Any] | None:
        held = read_held(self.store)
        return held.manifest().as_dict() if held.is_output and held.arrived is None else None

    def update_card(self, card: Mapping[str, Any], make_card: MakeCard) -> dict[str, Any]:
        held = read_held(self.store)
        if not held.is_output or held.arrived is not None:
            raise OutputError(f"{self.url} was changed meanwhile; run the same command again")
        manifest = held.manifest()
        if manifest.card.shown() != card:
            manifest = with_card(manifest, card)
            with _example_of(manifest, self.store.get) as folder:
                text = make_card(manifest, folder)
            self.store.write("README.md", text)
            self.store.write("manifest.json", json_text(manifest.as_dict()))
        return manifest.as_dict()

    def holds(self, identity: RunIdentity, *, overwrite: bool) -> bool:
        """Return whether this run's output is there. Raises `OutputError` unless there is that, nothing,
        something replaceable, or what this run had begun to put there."""
        held = read_held(self.store)
        begun = {path.split("/")[1] for path in held.files if path.startswith(f"{PARTIAL}/")}
        self._found[:] = [
            f"{self.url}/{PARTIAL}/{key} holds the work of another run; remove it if that run is abandoned"
            for key in sorted(begun - {identity.key})
        ]
        if held.arrived is not None and not overwrite and identity.key not in begun:
            raise OutputError(
                f"{self.url} holds an output that has not arrived whole; run the same push or run again, "
                "or pass --overwrite to replace it"
            )
        if held.arrived is None and not held.is_output and held.foreign:
            raise OutputError(
                f"{self.url} holds {held.foreign}, which premask has not written; nothing was changed there: "
                "choose another --output"
            )
        if held.arrived is not None or not held.is_output:
            return False
        if not self._is_there(held, identity, overwrite=overwrite):
            if held.strays:
                raise foreign_error(self.url, held.strays)
            return False
        return True

    def _is_there(self, held: Held, identity: RunIdentity, *, overwrite: bool) -> bool:
        try:
            manifest = held.manifest()
        except (OutputError, ValueError) as error:
            return replaced(self.url, str(error), overwrite=overwrite)
        damaged = [shard.path for shard in manifest.shards if held.files.get(shard.path) != shard.bytes]
        damaged += [] if "README.md" in held.files else ["README.md"]
        return check_there(self.url, manifest, damaged, identity, overwrite=overwrite)

    def _begin(self, identity: RunIdentity) -> None:
        """Write down there what is being done, so that a store that cannot be written to is found early."""
        units = UnitStore(self.url, identity.key)
        if units.read("plan.json") is None:
            units.write("plan.json", json_text({"run_key": identity.key, **identity.as_dict()}))

    def _clear(self, identity: RunIdentity) -> None:
        """Remove what is left of this run, in case it was stopped at the very end."""
        UnitStore(self.url, identity.key).clear()
        with suppress(OSError):  # another run has it, or it is not there
            lock = Lock(self.out)
            remove_work(work_directory(self.out))
            lock.release()
            self.out.parent.rmdir()


class StoreOutput(Output):
    """An output in a store while it is being made. `out` and `work` are in the scratch folder."""

    def __init__(
        self, out: Path, work: Path, identity: RunIdentity, lock: Lock, *, destination: StoreDestination
    ) -> None:
        super().__init__(out, work, identity, lock)
        self._destination = destination
        self._elsewhere: dict[str, str] = {}
        keep_files = bool(identity.recipe["shuffle"])
        self._units = UnitStore(destination.url, identity.key, destination.work_dir, keep_files=keep_files)
        self.store = self._units
        self._fetch_mismatch()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        with suppress(OSError):  # there is work left in it
            self._out.parent.rmdir()

    @property
    def mismatch(self) -> str:
        self._fetch_mismatch()
        return self._mismatch()

    def _fetch_mismatch(self) -> None:
        """Fetch from the store which row gave two different results; `unit` does not ask the store."""
        text = None if self._mismatch() else self._units.read("distrust.json")
        if text is not None:
            super().note_mismatch(_row_of(text))

    def note_mismatch(self, row: str) -> None:
        self._units.write("distrust.json", json_text({"row": row}))
        super().note_mismatch(row)

    def record(self, directory: Path, key: str) -> UnitRecord | None:
        return self._units.record(directory, key)

    def bring(self, directories: Sequence[Path], *, scattered: bool = False) -> None:
        def wanted(name: str) -> bool:
            return is_scattered(name) if scattered else name == HASHES or name.startswith("lineage-")

        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(lambda directory: self._units.fetch(directory, wanted), directories))

    def discard(self) -> None:
        self._units.clear()
        super().discard()

    def _take(self, unit: int, name: str, target: Path) -> None:
        path = f"{name_of(self.unit(unit))}/{unit_file(Path(), name).name}"
        self._elsewhere[target.relative_to(self._tree).as_posix()] = self._units.path(path)

    def _with_example(self, manifest: Manifest) -> AbstractContextManager[Path]:
        def get(name: str, target: Path) -> None:
            if name in self._elsewhere:
                self._units.get(self._elsewhere[name], target)
            else:
                shutil.copyfile(self._tree / name, target)

        return _example_of(manifest, get)

    def _place(self) -> None:
        if not self._destination.holds(self._identity, overwrite=True):  # else another machine was faster
            finished = read_finished(self._tree, self._elsewhere)
            store = self._destination.store
            upload(finished, store, elsewhere=self._elsewhere, overwrite=True, at_once=AT_ONCE)
        self._units.clear()


@contextmanager
def _example_of(manifest: Manifest, get: Callable[[str, Path], object]) -> Iterator[Path]:
    """Yield a folder with the tokenizer and the shard of the example of the card, which `get` fetches; an
    empty one if the card shows none."""
    shard = example_shard(manifest) if manifest.card.example else None
    with tempfile.TemporaryDirectory(prefix="premask-") as folder:
        for name in () if shard is None else (shard.path, TOKENIZER_FILE):
            target = Path(folder) / name
            target.parent.mkdir(exist_ok=True)
            get(name, target)
        yield Path(folder)


def _row_of(text: str) -> str:
    """The row that a note about two different results names."""
    try:
        return str(parse_json(text)["row"])[:1000]
    except (ValueError, TypeError, KeyError):
        return "a row"


def destination_of(output: str, work_dir: str | Path | None = None) -> Destination:
    """Return the destination that a recipe names; `work_dir` is where the work on one in a store is done.

    Raises `RecipeError` for a URL where no output can go, and for a `work_dir` beside a directory;
    `OutputError` for a URL that names no folder of a store.
    """
    if not is_url(output):
        if work_dir is not None:
            raise RecipeError(
                f"--work is for an output in a store; {output} is a directory, beside which the work is done"
            )
        return Destination(Path(output))
    protocol = output.partition("://")[0]
    if protocol in _NO_STORES:
        raise RecipeError(f"output {output}: {_NO_STORES[protocol]}")
    url, work = open_store(output, OutputError).url, None if work_dir is None else str(work_dir)
    return StoreDestination(scratch_folder(url, work) / "out", url, work)
