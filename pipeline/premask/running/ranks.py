"""Ranks: one output from several jobs of a scheduler. Each job processes a fixed share of the units.

    run_slice(recipe, Share(0, 4))             # in four jobs, rank 0 to 3, at any time, on any machines
    finish_slices(Path(recipe.output))         # after all ranks: writes the manifest

Rank I of N works on units I, I + N, I + 2 N ... Units and bytes are those of a plain run. All ranks work in
`.NAME.partial` beside the output, on shared storage with locks. Ranks lock the output together, so a plain
run is refused meanwhile; one process at a time holds each rank. If the output is in a store, ranks share
nothing else, unless they need files of each other (`--work`); then only ranks of one machine see each other.
Another recipe is refused. A stopped rank can be started again, also with another N.

With `duplicates: drop` or `near_duplicates`, a rank hashes its own rows and waits for the hashes of all
others. With `shuffle`, it waits for the units of all ranks before it packs its buckets. If a verified row
gives two different results, the rank that found it repeats its units on the slow path. Ranks that end later
do the same. `finish_slices` names the ranks that ended before.

Cost: the first rank inspects the sources and cuts them into units, 2 ns a byte. The other ranks wait, then
read its result, unless the size or time of a file has changed.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from ..core.atomic_files import named, write_json
from ..core.defaults import WAIT_S
from ..core.errors import OutputError, RecipeError, RunError
from ..core.locks import Lock, lock_file
from ..core.received_files import UnusableFileError
from ..core.recipe import Recipe
from ..core.recipe_file import make_recipe
from ..core.records import At, Slice, SourceInfo, Unit
from ..core.redact import source_name
from ..core.source_entry import Source
from ..core.strict_json import parse_json
from ..core.urls import is_url
from ..core.versions import code_hash
from ..dialects import Form
from ..output.destination import Destination, StoreDestination, destination_of
from ..output.directory import Output, check_same_run, read_plan, read_work_json, work_directory
from ..output.shards import UnitRecord
from ..sources.files import version_of
from ..sources.listing import hook_of, list_files
from .card import card_of
from .dropping import drop_rows
from .inputs import Work, find_dialect, look_at
from .run import MakeRunner, Prepared, RunResult, do_units, finish, local, pack, prepare, result_of
from .runners import Runner
from .runners.process import begin_work
from .scanning import scan_unit
from .tasks import BucketTask, Progress, Task, rows_of

_POLL_S = 1.0
_NAMED_UNITS = 10  # missing units of a rank that are listed by number


@dataclass(frozen=True)
class SliceResult:
    """The result of a rank: units, rows and tokens; `fresh` is False if the output was already finished."""

    share: Share
    output: Path | str
    units: int
    rows: int
    tokens: int
    seconds: float
    fresh: bool
    warnings: tuple[str, ...] = ()


class Share(NamedTuple):
    """Rank `rank` of `world`, counted from 0; it waits at most `wait_s` seconds for other ranks."""

    rank: int
    world: int
    wait_s: float = WAIT_S

    def __str__(self) -> str:
        return f"rank {self.rank} of {self.world}"


def run_slice(  # noqa: PLR0913  all by keyword but the first two
    recipe: Recipe,
    share: Share,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    make_runner: MakeRunner | None = None,
    work_dir: str | Path | None = None,
) -> SliceResult:
    """Process the units of one rank: every `world`-th unit, from unit `rank` on.

    Raises what `run` raises, and:

    RecipeError  unless 0 <= rank < world; or if ranks need a shared `work_dir` and have none
    OutputError  if another process works on this rank or on the whole run, or if the work in progress is that
                 of another recipe
    RunError     if files of other ranks are missing after `wait_s` seconds
    """
    if not 0 <= share.rank < share.world:
        raise RecipeError(
            f"--rank {share.rank} --world {share.world}: ranks count from 0 to {share.world - 1}"
        )
    begin, progress = time.monotonic(), progress or Progress()
    place = destination_of(recipe.output, work_dir)
    _check_shared(recipe, place)
    place.look()
    out = place.out.resolve()
    begin_work()
    with ExitStack() as stack:
        lock = _take_part(stack, out, share)
        with _held(_ranks(out) / "look.lock"):
            work = _look_once(recipe, out)
        part = slice(share.rank, None, share.world)
        own = len(work.units[part])
        runner = stack.enter_context((make_runner or local(1))(max(1, own)))
        prepared = prepare(work, runner)
        with _held(_ranks(out) / "look.lock"):
            output = place.join(prepared.identity, lock, overwrite=overwrite)
            if output is not None:
                write_json(_ranks(out) / "world.json", {"world": share.world})
            elif read_plan(out) is None:  # finished before, and no other rank is at work
                shutil.rmtree(work_directory(out), ignore_errors=True)
            if output is not None and output.store is not None:
                output.store.write("world.json", json.dumps({"world": share.world}))
        if output is not None and (why := prepared.refusal(output, part)):
            _discard_if_alone(out, output, lock)
            raise RunError(f"{share}: {why}")
        records: list[UnitRecord] = []
        if output is not None:
            progress.start(None)
            if recipe.scans:
                tasks = prepared.tasks(output)
                with _held(_ranks(out) / "look.lock"):
                    prepared.write_index(output)
                runner.do(scan_unit, tasks[part], prepared.batches, Progress())
                if recipe.compares:
                    _wait_for(tasks, _is_scanned, "row hashes", share, progress)
                drop_rows(recipe, tasks, part)
            wait = partial(_wait_for_sizes, output, share, progress)
            records = do_units(prepared, output, runner, progress, part, wait)
            if recipe.shuffle:
                records += _pack(prepared, output, share, runner, progress)
    rows, tokens = sum(map(rows_of, records)), sum(record.tokens for record in records)
    seconds, warnings = time.monotonic() - begin, (*work.warnings, *prepared.batches.labeller.warnings())
    shown = out if isinstance(place.shown, Path) else place.shown
    return SliceResult(share, shown, own, rows, tokens, seconds, output is not None, warnings)


def _check_shared(recipe: Recipe, place: Destination) -> None:
    """Raise `RecipeError` if ranks need files of each other but have no shared folder."""
    needs = {**dict.fromkeys(recipe.compares, True), "shuffle: true": recipe.shuffle}
    needs["share, budget or temperature"] = recipe.mixes
    if isinstance(place, StoreDestination) and place.work_dir is None and any(needs.values()):
        what = next(name for name, needed in needs.items() if needed)
        raise RecipeError(
            f"'{what}' needs the files of all ranks; give each rank the same --work DIR on shared storage"
        )


def _pack(
    prepared: Prepared, output: Output, share: Share, runner: Runner, progress: Progress
) -> list[UnitRecord]:
    """Pack the buckets of this rank, once the units of all ranks are done."""
    tasks, buckets, mismatch = prepared.tasks(output), prepared.buckets(output), output.mismatch
    _wait_for(tasks, partial(_is_done, output), "units", share, progress)
    if output.mismatch != mismatch:
        raise RunError(f"{share}: {output.mismatch} gave two different results; run this rank again")
    own = [bucket for bucket in buckets if int(bucket.directory.name) % share.world == share.rank]
    return pack(prepared, own, output, runner, progress)


def _is_done(output: Output, task: Task) -> bool:
    here = (task.directory / "done.json").is_file()
    return here or (output.store is not None and output.record(task.directory, task.key) is not None)


def finish_slices(
    out: Path | str,
    *,
    recipe: Recipe | None = None,
    overwrite: bool = False,
    work_dir: str | Path | None = None,
) -> RunResult:
    """Write the manifest of an output whose ranks are all done.

    The sources are not read again, unless the output is in a store and no rank ran on this machine. Without
    `recipe`, that of the ranks is used. A given recipe must give the same bytes; its card is used.

    Raises `OutputError` if there is nothing to finish, if a rank is still at work, or if versions, tokenizer
    or template differ from those of the ranks; `RunError` if units are missing, with the ranks to run again.
    """
    begin, place = time.monotonic(), destination_of(str(out), work_dir)
    if not isinstance(place, StoreDestination):
        place = Destination(place.out.resolve())
    work = _read_work(place.out, recipe) if read_plan(place.out) is not None else None
    in_store = isinstance(place, StoreDestination)
    if work is None and recipe is not None and in_store and place.manifest() is None:
        work = look_at(recipe)
    if work is None:
        return _finished(place, recipe, begin)
    prepared = prepare(work)
    if read_plan(place.out) is not None:
        check_same_run(place.out, prepared.identity)
    output = place.open(prepared.identity, overwrite=overwrite)
    if output is None:
        return _finished(place, recipe, begin)
    with output:
        tasks: list[Task | BucketTask] = [*prepared.tasks(output), *prepared.buckets(output)]
        records = [output.record(task.directory, task.key) for task in tasks]
        done = [record for record in records if record is not None]
        missing = [number for number, record in enumerate(records) if record is None]
        if missing:
            raise RunError(_missing(missing, len(tasks), _world(place.out, output), output.mismatch))
        manifest = finish(prepared, output, done)
    return result_of(manifest, place, prepared, begin, fresh=True)


def _finished(place: Destination, recipe: Recipe | None, begin: float) -> RunResult:
    """Return the result of an output that was finished before."""
    manifest = place.manifest()
    if manifest is None:
        how = (
            "give the recipe"
            if isinstance(place, StoreDestination) and recipe is None
            else "give the output, or the recipe,"
        )
        raise OutputError(f"there is nothing to finish at {place.shown}; {how} of 'premask run --rank'")
    if recipe is not None:
        manifest = place.update_card(recipe.card.shown(), card_of)
    return RunResult(manifest, place.shown, time.monotonic() - begin, fresh=False)


def _missing(missing: Sequence[int], units: int, world: int | None, mismatch: str) -> str:
    """Return the message about missing units.

    >>> print(_missing([1, 3, 4], 8, 2, ""))
    3 of 8 units are missing: rank 0 of 2: 4; rank 1 of 2: 1, 3; run these ranks again
    """
    of_rank = defaultdict(list)
    for number in missing:
        of_rank[number % (world or 1)].append(number)
    parts = []
    for rank, numbers in sorted(of_rank.items()):
        shown = ", ".join(map(str, numbers[:_NAMED_UNITS]))
        more = f" and {len(numbers) - _NAMED_UNITS} more" if len(numbers) > _NAMED_UNITS else ""
        parts.append(f"rank {rank} of {world}: {shown}{more}" if world else f"{shown}{more}")
    again = "run these ranks again" if world else "run the recipe again, without --rank"
    why = f" ({mismatch} gave two different results: all units must use the slow path)" if mismatch else ""
    return f"{len(missing)} of {units} units are missing{why}: {'; '.join(parts)}; {again}"


# ==== Locks and waiting ====


def _ranks(out: Path) -> Path:
    return work_directory(out) / "ranks"


def _take_part(stack: ExitStack, out: Path, share: Share) -> Lock:
    """Lock the output together with other ranks, and this rank alone, until the stack is closed."""
    with named(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        lock = Lock(out, shared=True)
        stack.callback(lock.release)
        _ranks(out).mkdir(parents=True, exist_ok=True)
        file = _ranks(out) / f"{share.rank}-of-{share.world}.lock"
        refused = f"another process works on {share} of {out}; wait until it ends"
        stack.enter_context(_held(file, refuse=refused))
    return lock


def _discard_if_alone(out: Path, output: Output, lock: Lock) -> None:
    """Remove the work in progress of ranks that all end alike; the last one to end does it."""
    lock.release()
    with suppress(OutputError):  # other ranks have not ended yet
        alone = Lock(out)
        try:
            output.discard()
        finally:
            alone.release()


@contextmanager
def _held(path: Path, *, refuse: str | None = None) -> Iterator[None]:
    """Hold a lock file. If another process holds it, wait, or raise `OutputError` with `refuse`."""
    with named(path):
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        with named(path):
            if not lock_file(file, wait_s=0 if refuse else math.inf):
                raise OutputError(refuse)
        yield
    finally:
        os.close(file)


def _world(out: Path, output: Output) -> int | None:
    """Return the number of ranks, by the rank that started last; None if none has started."""
    if output.store is not None:
        try:
            data = parse_json(output.store.read("world.json") or "null")
        except ValueError:
            return None
    else:
        data = _read_json(_ranks(out) / "world.json")
    world = data.get("world") if isinstance(data, dict) else None
    return world if isinstance(world, int) and world > 0 else None


def _wait_for(
    tasks: Sequence[Task], ready: Callable[[Task], bool], what: str, share: Share, progress: Progress
) -> None:
    """Wait until all tasks are ready."""
    begin, said = time.monotonic(), ""
    while waiting := [task for task in tasks if not ready(task)]:
        ranks = sorted(Counter(task.unit.number % share.world for task in waiting))
        others = f"{'rank' if len(ranks) == 1 else 'ranks'} {', '.join(map(str, ranks))}"
        text = f"{share}: waiting for the {what} of {others}"
        if time.monotonic() - begin > share.wait_s:
            raise RunError(
                f"{share}: the {what} of {others} are missing after {share.wait_s:g} s (--wait); finished "
                "work is kept: start these ranks, at the same time if possible, and this rank again"
            )
        if text != said:
            progress.say(text)
            said = text
        time.sleep(_POLL_S)


def _wait_for_sizes(output: Output, share: Share, progress: Progress, tasks: Sequence[Task]) -> None:
    """Wait until all ranks have measured their rows; raise `RunError` if they have to do so again."""
    mismatch = output.mismatch
    _wait_for(
        tasks, lambda task: _is_measured(task) or output.mismatch != mismatch, "row sizes", share, progress
    )
    if output.mismatch != mismatch:
        raise RunError(f"{share}: {output.mismatch} gave two different results; run this rank again")


def _is_measured(task: Task) -> bool:
    return task.sizes is not None and task.sizes.is_file()


def _is_scanned(task: Task) -> bool:
    return task.hashes is not None and task.hashes.is_file()


# ==== The work file: the first rank inspects the sources for all ====


def _look_once(recipe: Recipe, out: Path) -> Work:
    """Return `look_at(recipe)`, or the result of another rank for the same recipe and files."""
    sign, path = _sign(recipe), _ranks(out) / "work.json"
    there = _read_json(path)
    if there is not None and there.get("sign") == sign:
        file = _work_file(there, path)
        if _has_own_functions(file, recipe):
            found = _work_of(file, recipe)
            if _unchanged(found):
                return found
    work = look_at(recipe)
    if there is not None and read_plan(out) is not None:
        check_same_run(out, prepare(work).identity)  # before the file that other ranks use is replaced
    with named(out):
        write_json(path, {"sign": sign, **_as_json(work)})
    return work


def _sign(recipe: Recipe) -> dict[str, Any]:
    """Return what the inspection of the sources depends on, besides the content of the files."""
    return {"code": code_hash(), "recipe": recipe.identity(), "files": list_files(recipe.sources)}


def _has_own_functions(found: _WorkFile, recipe: Recipe) -> bool:
    """Whether rows are made by the functions of the recipe, with the same code, and by no others: a file may
    not name code that runs. Raises `RecipeError` if they may not run here."""
    own = [hook_of(entry, recipe.map) for entry in recipe.sources]
    all_of: list[SourceInfo | Slice] = [*found.infos, *_slices(found)]
    return all((each.selection and each.selection.map) == own[each.entry] for each in all_of)


def _unchanged(work: Work) -> bool:
    """Whether all files still have the same path, size and time."""
    return all(info.at is not None and version_of(info.at.path) == info.at.version for info in work.infos)


def _as_json(work: Work) -> dict[str, Any]:
    units = [[piece._asdict() for piece in unit.slices] for unit in work.units]
    infos = [
        {field.name: getattr(info, field.name) for field in dataclasses.fields(info)} for info in work.infos
    ]
    for each in (*infos, *(piece for unit in units for piece in unit)):
        if each["at"] is not None:
            each["at"] = each["at"]._replace(path=source_name(each["at"].path))
    recipe = work.recipe.model_dump(mode="json")
    dialects = {name: form if type(form) is str else None for name, form in work.dialects.items()}
    return {
        "recipe": recipe,
        "infos": infos,
        "dialects": dialects,
        "units": units,
        "warnings": [*work.warnings],
    }


class _WorkFile(BaseModel):
    """What the work file holds."""

    recipe: dict[str, Any]
    infos: list[SourceInfo]
    dialects: dict[str, str | None]
    units: list[list[Slice]]
    warnings: list[str]


def _work_file(data: Mapping[str, Any], path: Path) -> _WorkFile:
    """Return what a work file holds. Raises `OutputError` if it has something else."""
    try:
        found = _WorkFile.model_validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise OutputError(
            f"{path} cannot be read ({where:.100}: {first['msg']:.100}); remove it and run the ranks again"
        ) from None
    entries = {*(info.entry for info in found.infos), *(piece.entry for piece in _slices(found))}
    if not entries <= set(range(len(found.recipe.get("sources", [])))):
        raise OutputError(f"{path} names a source that is not there; remove it and run the ranks again")
    return found


def _slices(found: _WorkFile) -> Iterator[Slice]:
    return (piece for pieces in found.units for piece in pieces)


def _work_of(found: _WorkFile, recipe: Recipe, *, is_done: bool = False) -> Work:
    """Return the work of a file, which has no credentials of URLs; `recipe` has them. If it is done, no row
    is read for the dialect of rows that a function makes: nobody asks for it."""
    units = [
        Unit(number, tuple(piece._replace(at=_at(piece, recipe)) for piece in pieces))
        for number, pieces in enumerate(found.units)
    ]
    infos = [dataclasses.replace(info, at=_at(info, recipe)) for info in found.infos]
    dialects = dict[str, Form]()
    for info in infos:
        is_made = info.selection is not None and info.selection.map is not None
        known = found.dialects.get(info.source) or ("auto" if is_done and is_made else None)
        dialects[info.source] = known or find_dialect(info, recipe)
    return Work(recipe, infos, dialects, units, tuple(found.warnings))


def _at(piece: Slice | SourceInfo, recipe: Recipe) -> At | None:
    """Return where the bytes of a file or slice are, with the credentials of the recipe."""
    if piece.at is None:
        return None
    return piece.at._replace(path=_with_credentials(piece.at.path, recipe.sources[piece.entry]))


def _with_credentials(path: str, entry: Source) -> str:
    return entry.path if is_url(path) and source_name(entry.path) == path else path


def _read_work(out: Path, recipe: Recipe | None) -> Work | None:
    """Return the work of the ranks, with `recipe` or theirs; None if there is none."""
    path = _ranks(out) / "work.json"
    data = _read_json(path)
    if data is None:
        return None
    found = _work_file(data, path)
    theirs = make_recipe(found.recipe, where="work in progress")
    same = recipe is not None and recipe.identity() == theirs.identity()
    whose = recipe if same and recipe else theirs
    return _work_of(found, whose, is_done=True)._replace(recipe=recipe or theirs)


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        return read_work_json(path.parent, path.name)
    except UnusableFileError as error:
        if error.missing:
            return None
        raise
