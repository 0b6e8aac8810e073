"""A whole run: inspect the input, cut it into units, have a runner process them, put the output in place.

    result = run(recipe, workers=2)
    result.manifest["counts"]["kept"]

The steps, which `ranks.py` takes one by one in several processes:

    work = look_at(recipe)                        # files, dialects, units
    prepared = prepare(work, runner)              # the labeller, and what decides the bytes
    do_units(prepared, output, runner, progress)  # after `scan_unit` and `drop_rows`, if used
    finish(prepared, output, records)             # the manifest
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from ..core import facts
from ..core.atomic_files import placed
from ..core.defaults import ATTEMPTS
from ..core.errors import RunError, VerifyError
from ..core.manifest import Manifest
from ..core.recipe import Recipe
from ..core.records import SourceInfo
from ..labeller import WITHOUT_CHATS, Labeller
from ..output.destination import Destination, destination_of
from ..output.directory import Output
from ..output.identity import RunIdentity, identify
from ..output.shards import UnitRecord
from ..publish.charts import card_pictures
from ..publish.mask_counts import history_note
from ..tokens.hub_names import hub_name
from ..tokens.tokenizer import load_tokenizer
from .batches import BatchLabeller
from .card import card_of
from .counts import nested
from .decontaminate import EvaluationIndex, read_sets
from .dropping import count_duplicates, drop_rows
from .early_end import refused_at_once
from .inputs import Work, look_at
from .mixture import UNITS, describe, not_reached
from .near_duplicates import check_installed
from .nothing_kept import first_reject, why_nothing
from .runners import Runner
from .runners.local import LocalRunner
from .runners.process import begin_work
from .scanning import scan_unit
from .shuffle import pack_bucket
from .tasks import (
    Account,
    BucketTask,
    Progress,
    Task,
    accounts_of,
    bucket_tasks,
    make_tasks,
    mix,
)
from .units import measure_unit, run_unit

MakeRunner = Callable[[int], Runner]
"""Makes a runner, given the number of processes that are of use."""


@dataclass(frozen=True)
class RunResult:
    """The result of a run: the manifest, and the output, a directory or a URL. `fresh` is False if the output
    was already finished. `rows_from_cache` are rows that an earlier run tokenized; None without a cache."""

    manifest: dict[str, Any]
    output: Path | str
    seconds: float
    fresh: bool
    warnings: tuple[str, ...] = ()
    rows_from_cache: int | None = None

    @property
    def skipped_rows(self) -> int:
        """Number of skipped rows: processing them ended a worker again and again."""
        return sum(each["rows"] for each in self.manifest.get("set_aside", ()))


Wait = Callable[[Sequence[Task]], None]
"""Waits until other processes have measured the rows of all tasks."""


class Prepared(NamedTuple):
    """Work, the labeller of its rows, and everything that decides its bytes."""

    work: Work
    batches: BatchLabeller
    identity: RunIdentity
    evaluation: EvaluationIndex | None = None

    def tasks(self, output: Output) -> list[Task]:
        """Return a task for each unit."""
        work = self.work
        return make_tasks(work.recipe, self.identity, output, work.units, work.dialects)

    def buckets(self, output: Output) -> list[BucketTask]:
        """Return the tasks that pack the buckets of a shuffle; none without `shuffle`."""
        return bucket_tasks(self.tasks(output), output) if self.work.recipe.shuffle else []

    def write_index(self, output: Output) -> None:
        """Write the index of the evaluation sets, if there are any, for the workers."""
        if self.evaluation is not None and not output.evaluation.is_file():
            with placed(output.evaluation) as scratch:
                self.evaluation.write(scratch)

    def refusal(self, output: Output, part: slice = slice(None)) -> str:
        """Return why a run ends before any work (`early_end.py`); empty if it does not. `part` are the units
        of this process."""
        tasks = self.tasks(output)
        own = tasks[part] or tasks  # a rank without units ends like the others
        return refused_at_once(self.work, self.batches.labeller, tasks, own[0]) if own else ""

    def make_card(self, manifest: Manifest, folder: Path) -> str:
        """Return README.md of the output, with the tokenizer that is loaded."""
        return card_of(manifest, folder, lambda: self.batches.labeller.token_texts)

    def batches_for(self, output: Output) -> BatchLabeller:
        """Return the labeller of the rows: without the fast path, once a row gave two different results."""
        return self.batches.slow() if output.mismatch else self.batches


def _slow_reason(output: Output) -> str:
    """Return why a run takes the slow path; empty if it does not."""
    if not output.mismatch:
        return ""
    return f"{output.mismatch} gave two different results; all rows were processed again on the slow path"


def run(  # noqa: PLR0913  all by keyword but the first
    recipe: Recipe,
    *,
    workers: int = 1,
    attempts: int = ATTEMPTS,
    overwrite: bool = False,
    progress: Progress | None = None,
    make_runner: MakeRunner | None = None,
    work_dir: str | Path | None = None,
) -> RunResult:
    """Run a recipe.

    It uses `workers` processes, this one included, or another runner. If a unit fails `attempts` times, the
    rows that are the cause are skipped. If the output is in a store, the work is done in a folder of
    `work_dir`, by default in the user's cache.

    Raises a `PremaskError` of the matching kind for every error that is not one of a row.
    """
    begin, progress, records = time.monotonic(), progress or Progress(), list[UnitRecord]()
    place = destination_of(recipe.output, work_dir)
    place.look()
    work = look_at(recipe)
    with (make_runner or local(workers, attempts))(work.shares) as runner:
        prepared = prepare(work, runner)
        begin_work()
        output = place.open(prepared.identity, overwrite=overwrite)
        if output is None:
            manifest = place.update_card(recipe.card.shown(), prepared.make_card)
        else:
            with output:
                if why := prepared.refusal(output):
                    output.discard()
                    raise RunError(why)
                if place.about:
                    progress.say(place.about)
                progress.start(work.rows)
                if recipe.scans:
                    tasks = prepared.tasks(output)
                    prepared.write_index(output)
                    runner.do(scan_unit, tasks, prepared.batches, Progress())
                    drop_rows(recipe, tasks)
                records = do_units(prepared, output, runner, progress)
                if recipe.shuffle:
                    records += pack(prepared, prepared.buckets(output), output, runner, progress)
                manifest = finish(prepared, output, records)
    result = result_of(manifest, place, prepared, begin, fresh=output is not None)
    return replace(result, rows_from_cache=rows_from_cache(records))


def rows_from_cache(records: Sequence[UnitRecord]) -> int | None:
    """Return how many rows of units an earlier run tokenized; None if they have no cache."""
    found = [record.extra["from_cache"] for record in records if "from_cache" in record.extra]
    return sum(found) if found else None


def local(workers: int, attempts: int = ATTEMPTS) -> MakeRunner:
    """Return what makes a local runner with `workers` processes, but not more than are of use; a unit may
    fail `attempts` times."""
    return lambda shares: LocalRunner(max(1, min(workers, shares)), attempts)


def result_of(
    manifest: dict[str, Any], place: Destination, prepared: Prepared, begin: float, *, fresh: bool
) -> RunResult:
    """Return the result of a run that began at `begin` (`time.monotonic`)."""
    mixture = manifest.get("mixture")
    missed = not_reached(prepared.work.recipe, mixture) if mixture else ()
    found = (*missed, *_history(manifest), *_empty_splits(manifest), *_skipped(manifest), *place.warnings)
    labeller = prepared.batches.labeller
    reason = manifest["engine"]["reason"]
    slow = (reason,) if reason != labeller.proof.reason else ()
    cache = filter(None, [facts.warning()])
    warnings = (*prepared.work.warnings, *labeller.warnings(), *slow, *found, *cache)
    return RunResult(manifest, place.shown, time.monotonic() - begin, fresh=fresh, warnings=warnings)


def prepare(work: Work, runner: Runner | None = None) -> Prepared:
    """Load tokenizer and labeller; the workers of a runner load theirs meanwhile."""
    recipe = work.recipe
    check_installed(recipe.near_duplicates)
    tokenizer = load_tokenizer(recipe.tokenizer)
    if runner is not None:
        runner.load_ahead(recipe, tokenizer)
    labeller = Labeller(recipe, tokenizer)
    evaluation = read_sets(recipe)
    identity = identify(
        recipe,
        inputs=[info.about() for info in work.infos],
        tokenizer=_about_tokenizer(labeller),
        template=_about_template(labeller),
        evaluation_sets=evaluation.sets if evaluation is not None else (),
    )
    prepared = Prepared(work, BatchLabeller(labeller), identity, evaluation)
    if runner is not None:
        runner.loaded(prepared.batches)
    return prepared


def do_units(  # noqa: PLR0913  the last two for ranks only
    prepared: Prepared,
    output: Output,
    runner: Runner,
    progress: Progress,
    part: slice = slice(None),
    wait: Wait | None = None,
) -> list[UnitRecord]:
    """Have all units processed, or a part of them. With a mixture, the rows of all units are measured first;
    `wait` waits for those of other ranks.

    If a verified row gives two different results, here or in another rank, all of them are processed again on
    the slow path.
    """

    def do() -> list[UnitRecord]:
        tasks, batches, recipe = prepared.tasks(output), prepared.batches_for(output), prepared.work.recipe
        if recipe.mixes:
            runner.do(measure_unit, tasks[part], batches, Progress())
            if wait is not None:
                wait(tasks)
            tasks = mix(recipe, tasks)
        return runner.do(run_unit, tasks[part], batches, progress)

    if not output.mismatch:
        try:
            records = do()
        except VerifyError as error:
            output.note_mismatch(str(error))
        else:
            if not output.mismatch:
                return records
    return do()


def pack(
    prepared: Prepared, buckets: Sequence[BucketTask], output: Output, runner: Runner, progress: Progress
) -> list[UnitRecord]:
    """Have the buckets of a shuffle packed, once all units are done."""
    if any(output.record(bucket.directory, bucket.key) is None for bucket in buckets):
        output.bring([task.directory for task in prepared.tasks(output)], scattered=True)
    return runner.do(pack_bucket, buckets, prepared.batches_for(output), progress)


def finish(prepared: Prepared, output: Output, records: Sequence[UnitRecord]) -> dict[str, Any]:
    """Put an output in place whose units are all done; return its manifest."""
    output.bring([output.unit(number) for number in range(len(records))])
    duplicates = count_duplicates(prepared.tasks(output))
    return _finish(prepared, output, records, duplicates)


def _history(manifest: Mapping[str, Any]) -> list[str]:
    note = history_note(manifest["counts"])
    return [note] if note else []


def _empty_splits(manifest: Mapping[str, Any]) -> list[str]:
    splits = manifest["counts"]["splits"]
    why = "its share is small, or too many rows are equal in split_by"
    return [
        f"split {name} has no rows and was not written: {why}"
        for name, each in splits.items()
        if not each["samples"]
    ]


def _skipped(manifest: Mapping[str, Any]) -> list[str]:
    warnings = []
    for each in manifest.get("set_aside", ()):
        what = "1 row was" if each["rows"] == 1 else f"{each['rows']:,} rows were"
        warnings.append(
            f"unit {each['unit']}: {what} skipped (crashed in the reject log): {each['error']}; "
            "the same command repeats this unit"
        )
    return warnings


def _finish(
    prepared: Prepared, output: Output, records: Sequence[UnitRecord], duplicates: Mapping[str, int]
) -> dict[str, Any]:
    labeller = prepared.batches_for(output).labeller
    counts = Counter[str]()
    accounts = {info.source: _behind_limit(info) for info in prepared.work.infos}
    for record in records:
        counts.update(record.extra.get("counts", {}))
        for source, account in accounts_of(record).items():
            if source not in accounts:
                raise RunError(f"the work in progress has rows of {source}, which is no source; {_REDO}")
            accounts[source].add(account)
    if not any(account.kept for account in accounts.values()):
        why = why_nothing(accounts.values(), first_reject(output, records))
        output.discard()
        raise RunError(why)
    if not any("train" in record.splits for record in records):
        raise RunError(
            f"no row is in train, all are in {', '.join(labeller.recipe.splits)}; lower their shares"
        )
    engine = {
        "name": labeller.proof.engine,
        "reason": _slow_reason(output) or labeller.proof.reason,
        "rows_verified": counts.pop("verified", 0),
        "samples_by_reference": counts.pop("encoded_by_reference", 0),
    }
    return output.finish(
        records,
        counts=nested(counts, labeller.recipe.template_kwargs),
        inputs={
            source: {**account.as_dict(), "duplicates": duplicates.get(source, 0)}
            for source, account in accounts.items()
        },
        engine=engine,
        card=labeller.recipe.card.shown(),
        save_tokenizer=labeller.save_tokenizer,
        make_card=prepared.make_card,
        draw=card_pictures,
        more=_mixture(prepared.work.recipe, records),
        set_aside=[
            {"unit": number, **record.extra["set_aside"]}
            for number, record in enumerate(records)
            if "set_aside" in record.extra
        ],
    )


def _mixture(recipe: Recipe, records: Sequence[UnitRecord]) -> dict[str, Any]:
    """Return what the manifest says of a mixture; nothing without one."""
    if not recipe.mixes:
        return {}
    names = [name for unit in UNITS for name in (unit, f"of_{unit}")]
    totals = [Counter(dict.fromkeys(names, 0)) for _ in recipe.sources]
    for record in records:
        for entry, each in record.extra.get("mixture", {}).items():
            totals[int(entry)].update(each)
    return {"mixture": describe(recipe, totals)}


_REDO = "remove the folder .NAME.partial beside the output, then run again"


def _behind_limit(info: SourceInfo) -> Account:
    """Return the account of rows that no unit reads, because the `limit` of the source leaves them out."""
    rows = info.left_out or 0
    return Account(rows, left_out=Counter({"limit": rows} if rows else {}))


def _about_tokenizer(labeller: Labeller) -> dict[str, Any]:
    tokenizer = labeller.tokenizer
    about = {"name": tokenizer.name, "sha256": tokenizer.sha256(), "vocab_size": tokenizer.vocab_size}
    return {**about, **({"hub": name} if (name := hub_name(tokenizer.name)) else {})}


def _own_name(labeller: Labeller) -> str:
    return "none" if labeller.template.source == WITHOUT_CHATS else "tokenizer's own"


def _about_template(labeller: Labeller) -> dict[str, Any]:
    text = json.dumps(labeller.template.sources, sort_keys=True)
    return {
        "name": labeller.recipe.chat_template or _own_name(labeller),
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "turn_ends": list(labeller.ends.stops),
        "turn_openers_end_turns": bool(labeller.ends.openers),
    }
