"""Where an output goes: a directory, or a folder of a store, with a directory here for the work on it.

    place = place_of("s3://bucket/chats", work_dir="scratch")
    output = place.open(identity)               # None: the output is up to date
    place.out                                   # its work in progress lies beside this path

In a store an output is made of units that lie there already (`unitstore.py`): shards are copied within the
store, so their bytes go over the network once; lineage is fetched, numbered over all units, and sent again.
The manifest and README.md come last (`stores.py`), then what was left of the run is removed.

What stands at a place is looked at before any work is done, and again before the output is put there. Stores
have no locks, so two machines can do the same run: both write the same bytes, and the one that ends last
finds the output there. On one machine the second is refused.

Cost: a listing of the folder, and for each unit some requests at the end, `_AT_ONCE` at a time.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from ..core.atomic_files import json_text
from ..core.errors import OutputError, RecipeError
from ..core.locks import Lock
from ..core.manifest import Manifest, is_manifest, parse_manifest
from ..core.urls import is_url
from ..core.urls import named as named_in_store
from .dataset import open_dataset
from .directory import (
    MakeCard,
    Output,
    check_there,
    join_output,
    open_output,
    update_card,
    with_card,
    work_directory,
)
from .identity import RunIdentity
from .shards import HASHES, is_scattered, unit_file
from .store import PARTIAL, RECORD, Store, UnitStore, name_of, open_folder, place_in_store, scratch_folder

_AT_ONCE = 16
_NO_STORES = {
    "hf": "write to a directory, then 'premask push OUT org/name'",
    "http": "the web takes no files; write to a directory or a store",
    "https": "the web takes no files; write to a directory or a store",
}


@dataclass(frozen=True)
class Place:
    """A directory that an output goes to."""

    out: Path

    @property
    def shown(self) -> Path | str:
        """The output as the recipe names it."""
        return self.out

    @property
    def about(self) -> str:
        """What a user should know of where the work is done; empty if there is nothing to tell."""
        return ""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was found at the place and should be looked at."""
        return ()

    def look(self) -> None:
        """Raise `OutputError` or `PushError` if the place cannot be reached."""

    def open(self, identity: RunIdentity, *, overwrite: bool = False) -> Output | None:
        """`output.open_output` there."""
        return open_output(self.out, identity, overwrite=overwrite)

    def join(self, identity: RunIdentity, lock: Lock, *, overwrite: bool = False) -> Output | None:
        """`output.join_output` there."""
        return join_output(self.out, identity, lock, overwrite=overwrite)

    def manifest(self) -> dict[str, Any] | None:
        """The manifest of the output that is there, as JSON values; None if there is none."""
        return open_dataset(self.out).manifest.as_dict() if (self.out / "manifest.json").exists() else None

    def update_card(self, card: Mapping[str, Any], make_card: MakeCard) -> dict[str, Any]:
        """`output.update_card` there."""
        return update_card(self.out, card, make_card)


@dataclass(frozen=True)
class StorePlace(Place):
    """A folder of a store that an output goes to; `out` would be its place here, in a folder of its own."""

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
        return Store(*open_folder(self.url), self.url)

    def look(self) -> None:
        with self._named():
            self.store.files()

    def open(self, identity: RunIdentity, *, overwrite: bool = False) -> Output | None:
        if self.holds(identity, overwrite=overwrite):
            self._clear(identity)
            return None
        self._begin(identity)
        return open_output(self.out, identity, make=partial(StoreOutput, place=self))

    def join(self, identity: RunIdentity, lock: Lock, *, overwrite: bool = False) -> Output | None:
        if self.holds(identity, overwrite=overwrite):
            return None
        self._begin(identity)
        return join_output(self.out, identity, lock, make=partial(StoreOutput, place=self))

    def manifest(self) -> dict[str, Any] | None:
        manifest = self._manifest()
        return None if manifest is None else manifest.as_dict()

    def _manifest(self) -> Manifest | None:
        with self._named():
            there = self.store.files()
            if RECORD in there or "manifest.json" not in there:
                return None
            text = self.store.read("manifest.json")
        return parse_manifest(text) if is_manifest(text) else None

    def update_card(self, card: Mapping[str, Any], make_card: MakeCard) -> dict[str, Any]:
        manifest = self._manifest()
        if manifest is None:
            raise OutputError(f"{self.url} was changed meanwhile; run the same command again")
        if manifest.card.shown() != card:
            manifest = with_card(manifest, card)
            with self._named():
                self.store.write("README.md", make_card(manifest))
                self.store.write("manifest.json", json_text(manifest.as_dict()))
        return manifest.as_dict()

    def holds(self, identity: RunIdentity, *, overwrite: bool) -> bool:
        """Return whether this run's output stands there; raise unless it is that, nothing, replaceable, or
        what this run had begun to put there."""
        with self._named():
            there = self.store.files()
            text = self.store.read("manifest.json") if "manifest.json" in there else b""
        begun = {path.split("/")[1] for path in there if path.startswith(f"{PARTIAL}/")}
        self._found[:] = [
            f"{self.url}/{PARTIAL}/{key} holds the work of another run; remove it if nobody goes on with that"
            for key in sorted(begun - {identity.key})
        ]
        files = {path for path in there if not path.startswith(".")}
        if RECORD in there:
            if overwrite or identity.key in begun:
                return False
            raise OutputError(
                f"{self.url} holds an output that has not arrived whole; run again what was to put it there, "
                "or pass --overwrite to replace it"
            )
        if not is_manifest(text):
            if files:
                raise OutputError(
                    f"{self.url} holds {min(files)}, which premask has not written; nothing was changed "
                    "there: choose another --output"
                )
            return False
        try:
            manifest = parse_manifest(text)
        except OutputError as error:
            if overwrite:
                return False
            raise OutputError(
                f"{self.url} holds an output that cannot be read ({error}); choose another --output, or pass "
                "--overwrite to replace it"
            ) from None
        damaged = [shard.path for shard in manifest.shards if there.get(shard.path) != shard.bytes]
        damaged += [] if "README.md" in there else ["README.md"]
        return check_there(self.url, manifest, damaged, identity, overwrite=overwrite)

    def _begin(self, identity: RunIdentity) -> None:
        """Write down there what is being done; so it is found out early if nothing can be written."""
        units = UnitStore(self.url, identity.key)
        if units.read("plan.json") is None:
            units.write("plan.json", json_text({"run_key": identity.key, **identity.as_dict()}))

    def _clear(self, identity: RunIdentity) -> None:
        """Remove what is left of this run, should it have been stopped at the very end."""
        UnitStore(self.url, identity.key).clear()
        with suppress(OSError):  # another run has it, or it is not there
            lock = Lock(self.out)
            shutil.rmtree(work_directory(self.out), ignore_errors=True)
            lock.release()
            self.out.parent.rmdir()

    def _named(self) -> Any:
        return named_in_store(self.url, OutputError, missing="there is no such bucket or folder ({})")


class StoreOutput(Output):
    """An output in a store while it is being made. `out` and `work` lie in the scratch folder."""

    def __init__(
        self, out: Path, work: Path, identity: RunIdentity, lock: Lock, *, place: StorePlace
    ) -> None:
        super().__init__(out, work, identity, lock)
        self._place_there = place
        self._elsewhere: dict[str, str] = {}
        keep_files = bool(identity.recipe["shuffle"])
        self._units = UnitStore(place.url, identity.key, place.work_dir, keep_files=keep_files)
        self.store = self._units
        self._learn_distrust()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        with suppress(OSError):  # there is work left in it
            self._out.parent.rmdir()

    @property
    def distrust(self) -> str:
        self._learn_distrust()
        return self._doubted()

    def _learn_distrust(self) -> None:
        """Take over from the store that a row came out in two ways; `unit` asks no store."""
        text = None if self._doubted() else self._units.read("distrust.json")
        if text is not None:
            super().doubt(str(json.loads(text)["row"]))

    def doubt(self, row: str) -> None:
        self._units.write("distrust.json", json_text({"row": row}))
        super().doubt(row)

    def record(self, directory: Path, key: str) -> Any:
        found = self._units.find(directory)
        return found.record if found is not None and found.record.key == key else None

    def bring(self, directories: Sequence[Path], *, scattered: bool = False) -> None:
        def wanted(name: str) -> bool:
            return is_scattered(name) if scattered else name == HASHES or name.startswith("lineage-")

        with ThreadPoolExecutor(_AT_ONCE) as threads:
            list(threads.map(lambda directory: self._units.fetch(directory, wanted), directories))

    def discard(self) -> None:
        self._units.clear()
        super().discard()

    def _take(self, unit: int, name: str, target: Path) -> None:
        path = f"{name_of(self.unit(unit))}/{unit_file(Path(), name).name}"
        self._elsewhere[target.relative_to(self._tree).as_posix()] = self._units.path(path)

    def _place(self) -> None:
        place = self._place_there
        if not place.holds(self._identity, overwrite=True):  # else another machine was faster
            place_in_store(self._tree, place.store, self._elsewhere)
        self._units.clear()


def place_of(output: str, work_dir: str | Path | None = None) -> Place:
    """Where an output goes that a recipe names so; `work_dir` is where the work on one in a store is done.

    Raises `RecipeError` where no output can go, `PushError` for a URL that names no folder of a store.
    """
    if not is_url(output):
        if work_dir is not None:
            raise RecipeError(
                f"--work is for an output in a store; {output} is a directory, beside which the work is done"
            )
        return Place(Path(output))
    protocol, url = output.partition("://")[0], output.rstrip("/")
    if protocol in _NO_STORES:
        raise RecipeError(f"output {output}: {_NO_STORES[protocol]}")
    open_folder(output)
    work = None if work_dir is None else str(work_dir)
    return StorePlace(scratch_folder(url, work) / "out", url, work)
