"""A run shared out by a scheduler that knows no Ray: each job takes a fixed slice of the units.

    run_slice(recipe, Share(0, 4))             # in four jobs, rank 0 to 3, at any time, on any machines
    finish_slices(Path(recipe.output))         # when all have ended: the manifest

Rank I of N does units I, I + N, I + 2 N ...; the units are those of a plain run, and so are their bytes. All
ranks work in `.NAME.partial` beside the output, which must lie on storage that they share and that has locks.
They hold the output together, so that a plain run there is refused meanwhile, and each rank is held by one
process. If the output goes to a store they share nothing else, unless they need files of each other
(`--work`), and only ranks of one machine know of each other. Another recipe is refused. A rank that was
stopped is started again; with another N, too.

Where duplicates are dropped a rank must know the rows of all: it hashes its own, then waits for the others.
Where samples are shuffled, it waits for the units of all before it packs its buckets.
If a row comes out in two ways (`verify`), the rank that saw it does its units again the slow way, and so do
all that end later; `finish_slices` names the ranks that had ended before.

Cost: the first rank inspects the sources and cuts them into units, 2 ns a byte; the others wait for that and
read what it found, as long as no file has changed its size or time.
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
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ..core.atomic_files import named, write_json
from ..core.errors import OutputError, RecipeError, RunError
from ..core.locks import Lock, lock_file
from ..core.recipe import Duplicates, Recipe
from ..core.recipe_file import make_recipe
from ..core.records import At, Selection, Slice, SourceInfo, Unit
from ..output.destination import Destination, StoreDestination, destination_of
from ..output.directory import Output, check_same_run, read_plan, work_directory
from ..output.identity import code_hash
from ..output.shards import UnitRecord
from ..publish.card import make_card
from ..sources.files import version_of
from ..sources.listing import list_files
from .inputs import Work, find_dialect, look_at
from .run import MakeRunner, Prepared, RunResult, do_units, finish, local, pack, prepare, result_of
from .runners import Runner
from .runners.process import begin_work
from .tasks import BucketTask, Progress, Task, drop_duplicates, rows_of

WAIT_S = 3600.0
"""Seconds that a rank waits for the row hashes of others, unless it is told otherwise."""

_POLL_S = 1.0
_NAMED_UNITS = 10  # missing units of a rank that are listed by number


@dataclass(frozen=True)
class SliceResult:
    """What a rank did: units, rows and tokens; `fresh` is False if the output was there already."""

    share: Share
    output: Path | str
    units: int
    rows: int
    tokens: int
    seconds: float
    fresh: bool
    warnings: tuple[str, ...] = ()


class Share(NamedTuple):
    """Which slice: `rank` of `world`, counted from 0; it waits for others for `wait_s` seconds at most."""

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
    """Do a slice of the units of a recipe: every `world`-th from unit `rank` on.

    Raises what `run` raises; `RecipeError` unless 0 <= rank < world, and where ranks need a `work_dir` that
    they share but are given none; `OutputError` if the rank is being done,
    if a plain run is going on, or if the work in progress is another recipe's; `RunError` if the others'
    hashes are not there in time.
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
            elif read_plan(out) is None:  # finished before, and nobody else is at work
                shutil.rmtree(work_directory(out), ignore_errors=True)
            if output is not None and output.store is not None:
                output.store.write("world.json", json.dumps({"world": share.world}))
        records: list[UnitRecord] = []
        if output is not None:
            progress.start(None)
            if recipe.duplicates is Duplicates.drop:
                tasks = prepared.tasks(output)
                runner.scan(tasks[part], prepared.batches)
                _wait_for(tasks, _is_scanned, "row hashes", share, progress)
                drop_duplicates(tasks, part)
            records = do_units(prepared, output, runner, progress, part)
            if recipe.shuffle:
                records += _pack(prepared, output, share, runner, progress)
    rows, tokens = sum(map(rows_of, records)), sum(record.tokens for record in records)
    seconds, warnings = time.monotonic() - begin, tuple(prepared.batches.labeller.warnings())
    shown = out if isinstance(place.shown, Path) else place.shown
    return SliceResult(share, shown, own, rows, tokens, seconds, output is not None, warnings)


def _check_shared(recipe: Recipe, place: Destination) -> None:
    """Raise `RecipeError` if ranks need files of each other, but may have no folder that they share."""
    needs = {"duplicates: drop": recipe.duplicates is Duplicates.drop, "shuffle: true": recipe.shuffle}
    if isinstance(place, StoreDestination) and place.work_dir is None and any(needs.values()):
        what = next(name for name, needed in needs.items() if needed)
        raise RecipeError(
            f"'{what}' needs files of all ranks; give each the same --work DIR, on storage that they share"
        )


def _pack(
    prepared: Prepared, output: Output, share: Share, runner: Runner, progress: Progress
) -> list[UnitRecord]:
    """Pack the rank's buckets of a shuffle, for which the units of all ranks are needed."""
    tasks, buckets, distrust = prepared.tasks(output), prepared.buckets(output), output.distrust
    _wait_for(tasks, partial(_is_done, output), "units", share, progress)
    if output.distrust != distrust:
        raise RunError(f"{share}: {output.distrust} came out in two ways meanwhile; run this rank again")
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
    """Write the manifest of an output whose ranks are all done. The sources are not read again, unless the
    output is in a store and no rank was done on this machine.

    `recipe` is that of the ranks unless it is given; then it must give the same bytes, and its card is used.
    Raises `OutputError` if there is nothing to finish, if a rank is still at work, or if versions, tokenizer
    or template are not those of the ranks; `RunError` if units are missing, with the ranks to run again.
    """
    begin, place = time.monotonic(), destination_of(str(out), work_dir)
    if not isinstance(place, StoreDestination):
        place = Destination(place.out.resolve())
    work = _read_work(place.out) if read_plan(place.out) is not None else None
    if work is not None and recipe is not None:
        work = work._replace(recipe=recipe)
    elif recipe is not None and isinstance(place, StoreDestination) and place.manifest() is None:
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
            raise RunError(_missing(missing, len(tasks), _world(place.out, output), output.distrust))
        manifest = finish(prepared, output, done)
    return result_of(manifest, place, prepared, begin, fresh=True)


def _finished(place: Destination, recipe: Recipe | None, begin: float) -> RunResult:
    """The result of an output that was finished before."""
    manifest = place.manifest()
    if manifest is None:
        how = (
            "give the recipe"
            if isinstance(place, StoreDestination) and recipe is None
            else "give the output, or the recipe,"
        )
        raise OutputError(f"there is nothing to finish at {place.shown}; {how} of 'premask run --rank'")
    if recipe is not None:
        manifest = place.update_card(recipe.card.shown(), make_card)
    return RunResult(manifest, place.shown, time.monotonic() - begin, fresh=False)


def _missing(missing: Sequence[int], units: int, world: int | None, distrust: str) -> str:
    """What is said of units that are missing.

    >>> print(_missing([1, 3, 4], 8, 2, ""))
    3 of 8 units are missing: rank 0 of 2: 4; rank 1 of 2: 1, 3; run these ranks again
    """
    of_rank = defaultdict(list)
    for number in missing:
        of_rank[number % (world or 1)].append(number)
    told = []
    for rank, numbers in sorted(of_rank.items()):
        shown = ", ".join(map(str, numbers[:_NAMED_UNITS]))
        more = f" and {len(numbers) - _NAMED_UNITS} more" if len(numbers) > _NAMED_UNITS else ""
        told.append(f"rank {rank} of {world}: {shown}{more}" if world else f"{shown}{more}")
    again = "run these ranks again" if world else "run the recipe again, without --rank"
    why = f" ({distrust} came out in two ways: all must be done again the slow way)" if distrust else ""
    return f"{len(missing)} of {units} units are missing{why}: {'; '.join(told)}; {again}"


# ==== Who is at work ====


def _ranks(out: Path) -> Path:
    return work_directory(out) / "ranks"


def _take_part(stack: ExitStack, out: Path, share: Share) -> Lock:
    """Hold the output beside other ranks, and this rank alone, until the stack is left."""
    with named(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        lock = Lock(out, shared=True)
        stack.callback(lock.release)
        _ranks(out).mkdir(parents=True, exist_ok=True)
        file = _ranks(out) / f"{share.rank}-of-{share.world}.lock"
        said = f"{share} of {out} is being done by another process; wait until it ends"
        stack.enter_context(_held(file, refuse=said))
    return lock


@contextmanager
def _held(path: Path, *, refuse: str | None = None) -> Iterator[None]:
    """Hold a lock file; if it is held by another process wait for it, or raise `OutputError`."""
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
    """How many ranks there are, as the one that started last has it; None if none ever was."""
    if output.store is not None:
        data = json.loads(output.store.read("world.json") or "null")
    else:
        data = _read_json(_ranks(out) / "world.json")
    return None if data is None else int(data["world"])


def _wait_for(
    tasks: Sequence[Task], ready: Callable[[Task], bool], what: str, share: Share, progress: Progress
) -> None:
    """Wait until something is there of all tasks."""
    begin, said = time.monotonic(), ""
    while waiting := [task for task in tasks if not ready(task)]:
        ranks = sorted(Counter(task.unit.number % share.world for task in waiting))
        others = f"{'rank' if len(ranks) == 1 else 'ranks'} {', '.join(map(str, ranks))}"
        text = f"{share}: waiting for the {what} of {others}"
        if time.monotonic() - begin > share.wait_s:
            raise RunError(
                f"{share}: the {what} of {others} are not there after {share.wait_s:g} s (--wait); what is "
                "done is kept: start these ranks, at the same time if possible, and this one again"
            )
        if text != said:
            progress.say(text)
            said = text
        time.sleep(_POLL_S)


def _is_scanned(task: Task) -> bool:
    return task.hashes is not None and task.hashes.is_file()


# ==== What the first rank has found, for the others ====


def _look_once(recipe: Recipe, out: Path) -> Work:
    """`look_at`, or what another rank has found for the same recipe on the same files."""
    sign, path = _sign(recipe), _ranks(out) / "work.json"
    there = _read_json(path)
    if there is not None and there["sign"] == sign and _unchanged(found := _work_of(there)):
        return found._replace(recipe=recipe)
    work = look_at(recipe)
    if there is not None and read_plan(out) is not None:
        check_same_run(out, prepare(work).identity)  # before what other ranks rely on is replaced
    with named(out):
        write_json(path, {"sign": sign, **_as_json(work)})
    return work


def _sign(recipe: Recipe) -> dict[str, Any]:
    """What the inspection of the sources depends on besides the content of the files."""
    return {"code": code_hash(), "recipe": recipe.identity(), "files": list_files(recipe.sources)}


def _unchanged(work: Work) -> bool:
    """Whether all files are where they were, with the size and time that they had."""
    return all(info.at is not None and version_of(info.at.path) == info.at.version for info in work.infos)


def _as_json(work: Work) -> dict[str, Any]:
    units = [[piece._asdict() for piece in unit.slices] for unit in work.units]
    infos = [
        {field.name: getattr(info, field.name) for field in dataclasses.fields(info)} for info in work.infos
    ]
    recipe = work.recipe.model_dump(mode="json")
    dialects = {name: form if isinstance(form, str) else None for name, form in work.dialects.items()}
    return {"recipe": recipe, "infos": infos, "dialects": dialects, "units": units}


def _work_of(data: Mapping[str, Any]) -> Work:
    units = [
        Unit(number, tuple(Slice(**_typed(piece)) for piece in pieces))
        for number, pieces in enumerate(data["units"])
    ]
    infos = [
        SourceInfo(**_typed(info) | {"marks": tuple(map(tuple, info["marks"]))}) for info in data["infos"]
    ]
    recipe = make_recipe(data["recipe"], where="work in progress")
    dialects = {info.source: data["dialects"][info.source] or find_dialect(info, recipe) for info in infos}
    return Work(recipe, infos, dialects, units)


def _typed(data: Mapping[str, Any]) -> dict[str, Any]:
    """A file or a slice as it was before it was JSON."""
    at, selection = data["at"], data["selection"]
    if selection is not None:
        where, sample, seed, columns = selection
        selection = Selection(where, sample, seed, None if columns is None else tuple(columns))
    return {**data, "at": None if at is None else At(*at), "selection": selection}


def _read_work(out: Path) -> Work | None:
    data = _read_json(_ranks(out) / "work.json")
    return None if data is None else _work_of(data)


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise OutputError(f"{path} cannot be read ({error}); remove it and run the ranks again") from None
    return data
