"""The output of a run: either all there or not there at all, and resumable until then.

When all units are done, their files are gathered into one tree, and one rename makes that the output.
Until then everything is in `.NAME.partial` beside the output, so a run that was killed leaves nothing that
looks like data, and the next run of the same recipe on the same input starts from the units that are done.

    with open_output(Path(recipe.output), identity) as output:      # None: the output is up to date
        records = [...]                                             # of units in output.unit(0), ...
        output.finish(records, counts={"kept": 1}, input_rows={"chats.jsonl": 1}, ...)

The manifest is the model of `core/manifest.py`: what is written is what can be read back. The bytes of every
file depend on the identity of the run, not on the machine, the time or the number of workers.

Cost: shards are linked, not copied; only the lineage is written again, 0.3 us a sample. Before the rename
every file is synced, some milliseconds each.
"""

from __future__ import annotations

import dataclasses
import os
import re
import secrets
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import ValidationError

from ..core.atomic_files import (
    link,
    named,
    sha256_file,
    sync,
    sync_tree,
    write_json,
    write_text,
)
from ..core.contract import schema_of
from ..core.errors import OutputError, RunError, one_line
from ..core.locks import Lock
from ..core.manifest import LAYOUTS, Manifest, count_padding, describe_lengths
from ..core.received_files import UnusableFileError, read_bounded, regular_file, walk
from ..core.recipe import Card
from ..core.strict_json import parse_json
from ..core.versions import code_hash
from .dataset import open_dataset
from .identity import RunIdentity, differences
from .ownership import Stamp, check_folder, files_of_output, files_of_work, has_manifest, listed, remove_own
from .parquet_files import open_parquet
from .shards import UnitRecord, file_record, load_record, parquet_writer, unit_file
from .unit_store import UnitStore


def open_output(
    path: Path, identity: RunIdentity, *, overwrite: bool = False, make: MakeOutput | None = None
) -> Output | None:
    """Take the output directory for this run, or return None if it already holds what the run writes.

    Units that an interrupted run with the same identity has finished are kept; those of another are
    removed. Parent directories are made. `overwrite` allows to replace the output of another run. `make`
    makes the output, if it is to be of another kind.

    Raises `OutputError` if another run is writing there, if `path` is a file, if it holds the output of
    another run, or if something that does not belong to an output lies in one that would be replaced.
    """
    with named(path), ExitStack() as undo:
        out = path.resolve()
        out.parent.mkdir(parents=True, exist_ok=True)
        lock = Lock(out)
        undo.callback(lock.release)
        _restore(out)
        if _holds(out, identity, overwrite=overwrite):
            _clear_up(out, identity)
            return None
        _check_is_ours(work_directory(out))
        if has_manifest(out):
            _take_up_again(out)
        work = _own_work_directory(out, identity)
        output = (make or Output)(out, work, identity, lock)
        undo.pop_all()
    return output


def join_output(
    path: Path,
    identity: RunIdentity,
    lock: Lock,
    *,
    overwrite: bool = False,
    make: MakeOutput | None = None,
) -> Output | None:
    """Take part in making an output, beside others that do the same run: `lock` is a shared one.

    Returns None if the run is done already. Raises `OutputError` like `open_output`, and if the work in
    progress is that of another run.
    """
    with named(path):
        out = path.resolve()
        if _holds(out, identity, overwrite=overwrite):
            return None
        work = work_directory(out)
        _check_is_ours(work)
        work.mkdir(exist_ok=True)
        if read_plan(out) is None:
            _write_plan(work, identity)
        check_same_run(out, identity)
        for name in _FOLDERS:
            (work / name).mkdir(exist_ok=True)
    return (make or Output)(out, work, identity, lock)


class Output:
    """The output directory while it is being made; leaving the `with` block lets go of it.

    Without `finish`, the work done so far stays in `.NAME.partial` for the next run. An output in a store
    (`destination.StoreOutput`) does some of it otherwise: finished units are in its `store`.
    """

    store: UnitStore | None = None

    def __init__(self, out: Path, work: Path, identity: RunIdentity, lock: Lock) -> None:
        self._out = out
        self._work = work
        self._tree = work / "tree"
        self._splits = ("train", *identity.recipe["splits"])
        self._identity = identity
        self._lock = lock
        self._lengths: Counter[int] = Counter()  # of the samples in the tree

    def __enter__(self) -> Output:
        return self

    def __exit__(self, *error: object) -> None:
        self._lock.release()

    def unit(self, number: int) -> Path:
        """Return the directory of a unit of work; units are numbered from 0 in input order."""
        return self._work / ("units-again" if self._mismatch() else "units") / f"{number:05d}"

    def hashes(self, number: int) -> Path:
        """Return where the hashes of a unit's rows are kept, if they are taken before the work."""
        return self._work / "hashes" / f"{number:05d}.npy"

    def dropped(self, number: int) -> Path:
        """Return where it is kept which rows of a unit are left out because of others."""
        return self._work / "hashes" / f"{number:05d}.dropped.arrow"

    def signatures(self, number: int) -> Path:
        """Return where the signatures of a unit's rows are kept, by which near duplicates are found."""
        return self._work / "hashes" / f"{number:05d}.signatures.arrow"

    def contaminated(self, number: int) -> Path:
        """Return where it is kept which rows of a unit share text with evaluation sets."""
        return self._work / "hashes" / f"{number:05d}.contaminated.arrow"

    @property
    def evaluation(self) -> Path:
        """Where the index of the evaluation sets is kept."""
        return self._work / "hashes" / "evaluation.npz"

    def sizes(self, number: int) -> Path:
        """Return where the sizes of a unit's rows are kept, if sources have shares."""
        return self._work / "hashes" / f"{number:05d}.{'again' if self._mismatch() else 'sizes'}.npy"

    @property
    def rows(self) -> Path:
        """The folder of the labelled rows that are kept until it is known which are used."""
        return self._work / ("rows-again" if self._mismatch() else "rows")

    def failures(self, number: int) -> Path:
        """Return where it is kept how a unit failed."""
        return self._work / "failures" / f"{number:05d}.json"

    @property
    def mismatch(self) -> str:
        """The row that gave two different results, in this process or another one; empty if none did."""
        return self._mismatch()

    def _mismatch(self) -> str:
        try:
            found = read_work_json(self._work, "distrust.json")
        except UnusableFileError as error:
            if error.missing:
                return ""
            raise
        return str(found.get("row", "a row"))[:1000] or "a row"

    def note_mismatch(self, row: str) -> None:
        """Have all units processed again, also those of other ranks: they get new directories."""
        with named(self._out):
            write_json(self._work / "distrust.json", {"row": row})

    def record(self, directory: Path, key: str) -> UnitRecord | None:
        """Return the record of a unit in its directory, None if it has to be done."""
        return load_record(directory, key)

    def bring(self, directories: Sequence[Path], *, scattered: bool = False) -> None:
        """Have the files of units here that `finish` reads; those of a shuffle if `scattered`."""

    def discard(self) -> None:
        """Remove all work done so far."""
        remove_work(self._work)

    def finish(  # noqa: PLR0913  all by keyword, and once
        self,
        records: Sequence[UnitRecord],
        *,
        counts: Mapping[str, Any],
        inputs: Mapping[str, Mapping[str, Any]],
        engine: Mapping[str, Any],
        card: Mapping[str, Any],
        save_tokenizer: Callable[[Path], object],
        make_card: MakeCard,
        draw: Callable[[Manifest], Mapping[str, str]] | None = None,
        set_aside: Sequence[Mapping[str, Any]] = (),
        more: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Gather all units into the output, put it in place, and return its manifest as JSON values.

        `records` are those of units 0, 1, ... in order. `counts` are any that the manifest shows besides;
        `inputs` says what became of the rows of each source (`units.Account`, and `duplicates`); `engine`
        says what encoded them; `card` are the fields of the card that the recipe sets (`recipe.Card.shown`).
        `save_tokenizer` writes into the directory it is given, `make_card` returns README.md, and `draw` the
        card's pictures by their paths. `set_aside` lists units with skipped rows: if there are any, the work
        in progress stays, and the next run processes these units again. `more` are other keys of the
        manifest.

        Raises `RunError` if rows got lost, `OutputError` if the output cannot be put in place.
        """
        totals = _totals(records, counts, inputs, self._identity.recipe)
        with named(self._out):
            self._remove_tree()
            self._lengths.clear()
            shards = [shard for kind, split in self._kinds() for shard in self._gather(kind, split, records)]
            (self._tree / "tokenizer").mkdir()
            save_tokenizer(self._tree / "tokenizer")
            data = {
                **self._identity.as_dict(),
                "run_key": self._identity.key,
                "inputs": [{**file, **inputs[file["source"]]} for file in self._identity.as_dict()["inputs"]],
                "counts": {
                    **totals,
                    **count_padding(self._lengths, self._identity.recipe.get("pad_to_multiple")),
                    "lengths": describe_lengths(self._lengths),
                },
                "engine": dict(engine),
                "card": dict(card),
                "shards": shards,
                "units": len(records),
                **(more or {}),
                **({"set_aside": [dict(each) for each in set_aside]} if set_aside else {}),
            }
            if draw is not None:
                data["pictures"] = self._add_pictures(draw(_valid(data)))
            data["tokenizer_files"] = self._tokenizer_files()
            manifest = _valid(data)
            write_json(self._tree / "manifest.json", manifest.as_dict())
            with self._with_example(manifest) as folder:
                (self._tree / "README.md").write_text(make_card(manifest, folder), encoding="utf-8")
            sync_tree(self._tree)
            self._place()
            if not set_aside or self.store is not None:  # in a store all is done again
                remove_work(self._work)
        return manifest.as_dict()

    def _with_example(self, manifest: Manifest) -> AbstractContextManager[Path]:
        """A folder with the tokenizer and the shard of the example of the card."""
        del manifest
        return nullcontext(self._tree)

    def _remove_tree(self) -> None:
        """Remove what an interrupted `finish` has left."""
        own, foreign = files_of_work(self._work)
        remove_own(self._work, {name: own[name] for name in own if name.startswith("tree/")}, last="")
        if self._tree.exists():
            where = listed(tuple(name for name in foreign if name.startswith("tree/")))
            raise OutputError(
                f"{self._work} holds {where or self._tree}, which is no working file; move it away"
            )

    def _tokenizer_files(self) -> list[dict[str, Any]]:
        """The lines of the manifest for the files of the tokenizer."""
        names = sorted(f"tokenizer/{entry.name}" for entry in walk(self._tree / "tokenizer"))
        return [self._line(name) for name in names]

    def _line(self, name: str) -> dict[str, Any]:
        path = self._tree / name
        return {"path": name, "bytes": path.stat().st_size, "sha256": sha256_file(path)}

    def _place(self) -> None:
        """Put the tree where the output is to be."""
        _publish(self._tree, self._out)

    def _take(self, unit: int, name: str, target: Path) -> None:
        """Make a file of a unit a shard of the tree."""
        link(unit_file(self.unit(unit), name), target)

    def _add_pictures(self, pictures: Mapping[str, str]) -> list[dict[str, Any]]:
        """Write the pictures into the tree, and return their lines of the manifest."""
        lines = []
        for name, svg in sorted(pictures.items()):
            path = self._tree / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(svg, encoding="utf-8")
            lines.append(self._line(name))
        return lines

    def _kinds(self) -> list[tuple[str, str]]:
        """The kinds of files, each with each split; rejects belong to none."""
        layouts = self._identity.recipe["layout"]
        pairs = [(kind, split) for kind in layouts for split in self._splits]
        return [*pairs, ("rejects", ""), *(("lineage", split) for split in self._splits)]

    def _pack_rows(self, record: UnitRecord, split: str) -> int:
        """Return how many numbers the lineage of a unit uses: the rows of its main layout."""
        there = self._identity.recipe["layout"]
        file = record.files.get(f"{next(each for each in LAYOUTS if each in there)}/{split}")
        return file.rows if file else 0

    def _gather(self, kind: str, split: str, records: Sequence[UnitRecord]) -> Iterator[dict[str, Any]]:
        """Bring the files of one kind and split into the tree, and yield their lines of the manifest.

        Where no unit has any, one without rows is written, but for splits other than train: `load_dataset`
        takes none that are empty.
        """
        folder, name = self._tree / kind, f"{kind}/{split}".rstrip("/")
        folder.mkdir(parents=True, exist_ok=True)
        units = [i for i, record in enumerate(records) if name in record.files]
        first_packs = np.cumsum([0, *(self._pack_rows(record, split) for record in records)]).tolist()
        for number, i in enumerate(units or ([] if split in self._splits[1:] else [None])):
            target = folder / f"{split or kind}-{number:05d}-of-{max(1, len(units)):05d}.parquet"
            if i is None:
                parquet_writer(target, kind, schema_of(kind, self._identity.recipe)).close()
                file = file_record(target, 0)
            elif kind == "lineage":
                schema = schema_of(kind, self._identity.recipe)
                self._lengths += _shift_packs(unit_file(self.unit(i), name), target, first_packs[i], schema)
                file = file_record(target, 0)
            else:
                self._take(i, name, target)
                file = records[i].files[name]
            of_unit = {} if i is None else {"unit": i}
            yield {"path": f"{kind}/{target.name}", **dataclasses.asdict(file), **of_unit}


def _valid(data: Mapping[str, Any]) -> Manifest:
    """The manifest of this data. What a run makes is valid; work in progress that was changed may not be."""
    try:
        return Manifest.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        what = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise OutputError(
            f"the work in progress does not make a valid manifest ({what:.200}); remove the folder "
            ".NAME.partial beside the output, then run the recipe again"
        ) from None


def _totals(
    records: Sequence[UnitRecord],
    counts: Mapping[str, Any],
    inputs: Mapping[str, Mapping[str, Any]],
    recipe: Mapping[str, Any],
) -> dict[str, Any]:
    """Add up the units and the inputs; each row that was read must have become something."""
    for source, each in inputs.items():
        accounted = sum(each["rejected"].values()) + sum(each["left_out"].values())
        if each["rows"] != each["kept"] + each["dropped"] + accounted:
            raise RunError(
                f"{each['rows']} rows were read of {source}, but {each['kept']} kept, {each['dropped']} "
                f"dropped as duplicates and {accounted} rejected or left out; this is a bug in premask: "
                "please report it with the recipe"
            )
    reasons = sum((Counter(each["rejected"]) for each in inputs.values()), Counter[str]())
    left_out = sum((Counter(each["left_out"]) for each in inputs.values()), Counter[str]())
    names, length = ("train", *recipe["splits"]), recipe["max_length"]
    splits = {split: _of_split(records, split, length) for split in names}

    def total(of: Mapping[str, Mapping[str, Any]], *keys: str) -> dict[str, int]:
        return {key: sum(each[key] for each in of.values()) for key in keys}

    written = total(splits, "samples", "tokens", "trained_tokens", "packs")
    return {
        **counts,
        **total(inputs, "rows", "kept", "duplicates", "dropped"),
        "rejected": reasons.total(),
        "rejected_by_reason": dict(sorted(reasons.items())),
        "left_out": dict(sorted(left_out.items())),
        **written,
        "fill": _fill(written["tokens"], written["packs"], length),
        "splits": splits,
    }


def _of_split(records: Sequence[UnitRecord], split: str, max_length: int) -> dict[str, Any]:
    parts = [record.splits[split] for record in records if split in record.splits]
    counts = {
        key: sum(getattr(part, key) for part in parts)
        for key in ("samples", "tokens", "trained_tokens", "packs")
    }
    return {**counts, "fill": _fill(counts["tokens"], counts["packs"], max_length)}


def _fill(tokens: int, packs: int, max_length: int) -> float | None:
    return round(tokens / (packs * max_length), 6) if packs else None


def _shift_packs(source: Path, target: Path, first_pack: int, schema: pa.Schema) -> Counter[int]:
    """Copy a unit's lineage, row group by row group, with pack numbers that count over all units; returns how
    many of its samples have each length. Raises `OutputError` if the unit was changed."""
    found = Counter[int]()
    try:
        with (
            open_parquet(source, rows=1 << 27, values=1 << 27) as (file, footer),
            parquet_writer(target, "lineage", schema) as writer,
        ):
            for group in range(len(footer.groups)):
                table = file.read_row_group(group)
                packs = pa.array(table.column("pack").to_numpy() + first_pack)
                table = table.set_column(0, schema.field("pack"), packs)
                writer.write_table(table, row_group_size=max(1, table.num_rows))
                lengths, times = np.unique(table.column("length").to_numpy(), return_counts=True)
                found.update(dict(zip(lengths.tolist(), times.tolist(), strict=True)))
    except (pa.ArrowException, ValueError, KeyError, TypeError, OverflowError) as error:
        raise OutputError(
            f"{source} was changed and cannot be read: {one_line(error, 200)}; remove {source.parent}, "
            "then run again: the unit is processed again"
        ) from None
    return found


MakeOutput = Callable[[Path, Path, RunIdentity, Lock], Output]
"""Makes an output: its path, that of the work in progress, the run, and the lock that is held."""

MakeCard = Callable[[Manifest, Path], str]
"""Makes the README.md of an output, given a folder with its tokenizer and the shard of its example."""


# ==== What is at the output already ====


def update_card(out: Path, card: Mapping[str, Any], make_card: MakeCard) -> dict[str, Any]:
    """Return the manifest of a finished output as JSON values, after writing README.md and the manifest anew
    if the card's fields were others before. The shards stay. The manifest is written last, so that an update
    that is interrupted is made again. Raises `OutputError` if another run is writing there."""
    with named(out), ExitStack() as undo:
        undo.callback(Lock(out.resolve()).release)
        manifest = open_dataset(out).manifest
        if manifest.card.shown() != card:
            manifest = with_card(manifest, card)
            write_text(out / "README.md", make_card(manifest, out))
            write_json(out / "manifest.json", manifest.as_dict())
        for scratch in out.iterdir():  # of an update that was interrupted
            if _SCRATCH.fullmatch(scratch.name) and not scratch.is_dir():
                scratch.unlink(missing_ok=True)
    return manifest.as_dict()


_SCRATCH = re.compile(r"(README\.md|manifest\.json)\.[0-9a-f]{8}\.tmp")


def with_card(manifest: Manifest, card: Mapping[str, Any]) -> Manifest:
    """A manifest with other fields of the card."""
    return manifest.model_copy(update={"card": Card.model_validate(card)})


def _holds(out: Path, identity: RunIdentity, *, overwrite: bool) -> bool:
    """Return whether `out` is this run's output; raise unless it is that, absent, empty or replaceable.

    An output with skipped rows is not: they are tried again.
    """
    if not os.path.lexists(out) or (out.is_dir() and not any(out.iterdir())):
        return False
    if not has_manifest(out):
        what = "holds files that premask has not written" if out.is_dir() else "is a file"
        raise OutputError(f"{out} {what}; nothing was changed there: choose another --output")
    if not _is_there(out, identity, overwrite=overwrite):
        check_replaceable(out)
        return False
    return True


def _is_there(out: Path, identity: RunIdentity, *, overwrite: bool) -> bool:
    try:
        dataset = open_dataset(out)
    except OutputError as error:
        return replaced(out, str(error), overwrite=overwrite)
    damaged = [shard.path for shard in dataset.manifest.shards if not dataset.has(shard)]
    return check_there(out, dataset.manifest, damaged, identity, overwrite=overwrite)


def check_replaceable(out: Path) -> Mapping[str, Stamp]:
    """Return the files of the output that is to be replaced. Raises `OutputError` if others lie there, which
    it does not own, or where the output is put meanwhile."""
    own, foreign = files_of_output(out)
    if foreign:
        raise foreign_error(out, foreign)
    old = _old(out)
    if old.is_symlink() or (old.exists() and any(old.iterdir())):
        raise OutputError(f"{old} is needed while {out} is replaced, but is not empty; move it away")
    return own


def foreign_error(out: Path | str, foreign: Sequence[str]) -> OutputError:
    """The error for an output that cannot be replaced, because it does not own these files."""
    return OutputError(
        f"{out} holds files that are not its own, or were changed, so it cannot be replaced: "
        f"{listed(foreign)}; nothing was changed there: move them away, or choose another --output"
    )


def replaced(out: Path | str, problem: str, *, overwrite: bool) -> bool:
    """Return False where `overwrite` allows to replace an output that cannot be read; else raise
    `OutputError` with the problem."""
    if overwrite:
        return False
    raise OutputError(
        f"{out} holds an output that cannot be read ({problem}); choose another --output, or pass "
        "--overwrite to replace it"
    )


def check_there(
    out: Path | str,
    manifest: Manifest,
    damaged: Sequence[str],
    identity: RunIdentity,
    *,
    overwrite: bool,
) -> bool:
    """Return whether the output that is at `out` is this run's and whole; `damaged` are files that are
    missing or changed. Raises `OutputError` if it is another one, or not whole, unless `overwrite` allows to
    replace it."""
    same = manifest.run_key == identity.key
    if not overwrite and same and damaged:
        raise OutputError(
            f"{out} holds this run's output, but {damaged[0]} is missing or changed; "
            "pass --overwrite to write it again (move a changed file away before)"
        )
    if not overwrite and not same:
        changes = "; ".join(differences(manifest.identity(), identity.as_dict()))
        raise OutputError(
            f"{out} holds the output of another run ({changes}); "
            "choose another --output, or pass --overwrite to replace it"
        )
    return same and not damaged and not manifest.set_aside


# ==== Beside the output: work in progress, and the output that is replaced ====


_FOLDERS = ("units", "units-again", "hashes", "failures")


def work_directory(out: Path) -> Path:
    """Where the work in progress of an output lies."""
    return out.with_name(f".{out.name}.partial")


def read_work_json(work: Path, name: str) -> dict[str, Any]:
    """Return what a JSON file of the work in progress holds. Raises `UnusableFileError` if there is none, and
    `OutputError` if it is no object."""
    try:
        data = parse_json(read_bounded(regular_file(work, name), _MOST_BYTES).decode())
    except ValueError as error:
        data = one_line(error, 100)
    if not isinstance(data, dict):
        raise OutputError(f"{work / name} cannot be read ({data!s:.100}); remove {work}, then run again")
    return data


def read_plan(out: Path) -> dict[str, Any] | None:
    """What the work in progress of an output is about: the parts of a run's identity and its `run_key`; None
    if there is none that can be read."""
    try:
        plan = read_work_json(work_directory(out), "plan.json")
    except OutputError:
        return None
    return plan if _is_plan(plan) else None


def _is_plan(plan: Mapping[str, Any]) -> bool:
    if not all(isinstance(plan.get(key), kind) for key, kind in _PLAN.items()):
        return False
    inputs = plan["inputs"]
    return all(isinstance(each, dict) and {"source", "sha256"} <= each.keys() for each in inputs)


_PLAN: Mapping[str, type] = {
    **dict.fromkeys(("run_key", "premask"), str),
    **dict.fromkeys(("recipe", "tokenizer", "template", "versions"), dict),
    "inputs": list,
}
_MOST_BYTES = 1 << 28  # of a JSON file of the work in progress


def _write_plan(work: Path, identity: RunIdentity) -> None:
    plan = {"run_key": identity.key, "code": code_hash(), **identity.as_dict()}
    write_json(work / "plan.json", plan)


def _is_plan_of(plan: Mapping[str, Any], identity: RunIdentity) -> bool:
    """Whether work was begun by this very run, with the same code."""
    return plan.get("run_key") == identity.key and plan.get("code") == code_hash()


def check_same_run(out: Path, identity: RunIdentity) -> None:
    """Raise `OutputError` if the work in progress of an output is that of another run."""
    plan = read_plan(out) or {}
    if not _is_plan_of(plan, identity):
        changes = "; ".join(differences(plan, identity.as_dict())) if plan else "it was removed meanwhile"
        changes = changes or "premask's own code was another"
        raise OutputError(
            f"{work_directory(out)} holds the work of another run ({changes}); choose another --output, or "
            "remove that directory if nobody works on it"
        )


def _own_work_directory(out: Path, identity: RunIdentity) -> Path:
    """Return `.NAME.partial` with the finished units of this very run in it, or empty."""
    work, plan = work_directory(out), read_plan(out)
    if plan is None or not _is_plan_of(plan, identity):
        remove_work(work)
        work.mkdir(exist_ok=True)
        _write_plan(work, identity)
    for name in _FOLDERS:
        (work / name).mkdir(exist_ok=True)
        for scratch in (work / name).glob(".*"):  # of units that were interrupted
            shutil.rmtree(scratch, ignore_errors=True)
    return work


def remove_work(work: Path) -> None:
    """Remove the work in progress, but for files that are not its own."""
    if not work.is_symlink() and work.is_dir():
        remove_own(work, files_of_work(work).own, last="plan.json")


def _take_up_again(out: Path) -> None:
    """Have units with skipped rows processed again; all units, if they depend on each other's rows."""
    work, recipe = work_directory(out), (read_plan(out) or {}).get("recipe", {})
    others = recipe.get("duplicates") == "drop" or recipe.get("near_duplicates") or _mixes(recipe)
    if recipe.get("shuffle") or others:
        remove_work(work)
        return
    for path in (work / "failures").glob("*.json"):
        for units in ("units", "units-again"):
            shutil.rmtree(work / units / path.stem, ignore_errors=True)
        path.unlink()


def _mixes(recipe: Mapping[str, Any]) -> bool:
    """Whether the recipe of work in progress chooses rows by how many there are (`Recipe.mixes`)."""
    shares = any("share" in entry for entry in recipe.get("sources", ()) if isinstance(entry, dict))
    return shares or recipe.get("budget") is not None or recipe.get("temperature") is not None


def _clear_up(out: Path, identity: RunIdentity) -> None:
    """Remove what is left of the work of a run that was interrupted after its output was in place."""
    plan, work = read_plan(out), work_directory(out)
    if plan is not None and plan["run_key"] == identity.key:
        remove_work(work)
    remove_own(work, {}, last="")  # the end of it may have been interrupted: folders that hold nothing


def _check_is_ours(work: Path) -> None:
    """Raise `OutputError` if something else lies in the place of the work in progress."""
    check_folder(work)
    if not work.exists():
        return
    own, foreign = files_of_work(work)
    begun = [name for name in own if not name.startswith(("ranks/", "plan.json"))]
    if foreign or (begun and not (work / "plan.json").is_file()):
        where = f" ({listed(foreign)})" if foreign else ""
        raise OutputError(
            f"{work} is needed for work in progress, but holds other files{where}; move it away"
        )


def _publish(tree: Path, out: Path) -> None:
    """Put the tree at `out` by a rename; an earlier output, which is allowed to go, is first moved aside."""
    old = _old(out)
    if not has_manifest(out):
        tree.rename(out)
        sync(out.parent)
        return
    own = check_replaceable(out)
    with suppress(OSError):  # not there
        old.rmdir()
    out.rename(old)
    tree.rename(out)
    sync(out.parent)
    _remove_old(out, own)


def _remove_old(out: Path, own: Mapping[str, Stamp]) -> None:
    """Remove the files of the output that was replaced. Others are kept beside it."""
    old = _old(out)
    remove_own(old, own, last="manifest.json")
    if old.exists():
        old.rename(out.with_name(f"{out.name}.kept-{secrets.token_hex(4)}"))


def kept_beside(out: Path) -> list[Path]:
    """Folders with files that lay in an output that was replaced, and were not its own."""
    kept = re.compile(rf"{re.escape(out.name)}\.kept-[0-9a-f]{{8}}")
    return (
        sorted(path for path in out.parent.iterdir() if kept.fullmatch(path.name))
        if out.parent.is_dir()
        else []
    )


def _restore(out: Path) -> None:
    """Undo a `_publish` that was interrupted between its renames, or clear up after its last one."""
    old = _old(out)
    if old.is_symlink() or not has_manifest(old):
        with suppress(OSError):  # not there, or not empty
            old.rmdir()
    elif os.path.lexists(out):
        _remove_old(out, files_of_output(old).own)
    else:
        old.rename(out)


def _old(out: Path) -> Path:
    return out.with_name(f".{out.name}.old")
