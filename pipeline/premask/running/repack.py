"""Samples of an output packed again, without tokenizing: another `max_length`, layout, padding or order.

    result = repack(Path("out/chats"), {"max_length": 32768, "output": "out/chats-32k"}, workers=2)
    result.manifest["repacked_from"]["run_key"]

An output has all samples with their labels, and lineage says of which row each is. So they can be put back
into the order of the input, unit by unit, and go the way that a run takes after labelling: windows, packs,
shards, output. The shards have the bytes that a run of the same recipe would write.

What the output does not have cannot come back: rows that were rejected as too long, and turns by which a
sample could be cut. So `max_length` may not be less than the longest sample has, nor more than before if rows
were too long. Which rows are in which split follows from their text, so splits stay.

    repack_unit     the samples of one unit of an output -> the same unit, packed anew

Cost: reading 15 ns a token, then that of packing and writing (`output/shards.py`); nothing is rendered or
encoded. Memory is a shard of a unit and a pack window.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..core.contract import BESIDE_OWN_ROW
from ..core.defaults import ATTEMPTS
from ..core.errors import OutputError, RecipeError
from ..core.manifest import Manifest, Shard
from ..core.recipe import OTHER_KEYS, REPACK_KEYS, Recipe
from ..core.recipe_file import make_recipe
from ..core.records import Reject, Samples
from ..core.urls import is_url
from ..output.dataset import Dataset, open_dataset, read_manifest
from ..output.destination import destination_of
from ..output.directory import Output
from ..output.identity import RunIdentity
from ..output.read_samples import shard_samples
from ..output.shards import UnitRecord, UnitWriter
from ..output.unit_store import finished
from ..output.windows import Windows, take_samples
from ..publish.charts import card_pictures
from ..tokens.tokenizer import load_tokenizer
from .batches import BatchLabeller, OnlyPacking, row_format
from .card import card_of
from .choosing import order_keys, pack_counts, pack_order
from .run import RunResult, local
from .runners import Runner
from .runners.process import begin_work
from .shuffle import pack_bucket
from .tasks import BucketTask, Progress, bucket_tasks
from .units import sink_of

_REJECTS_AT_ONCE = 256
_RUN_AGAIN = "use premask run for that (with a cache, it takes what it can from there)"


def repack(  # noqa: PLR0913  all by keyword but the first two
    source: Path,
    keys: Mapping[str, Any],
    *,
    workers: int = 1,
    attempts: int = ATTEMPTS,
    overwrite: bool = False,
    progress: Progress | None = None,
    work_dir: str | Path | None = None,
) -> RunResult:
    """Write the samples of an output as another one; `keys` are those of the recipe that differ
    (`recipe.REPACK_KEYS`), among them `output`.

    Raises `RecipeError` for other keys, and for values that the samples do not allow; `OutputError` if the
    output cannot be read or is damaged, or the new one cannot be written.
    """
    begin, progress = time.monotonic(), progress or Progress()
    dataset = open_dataset(source)
    recipe = repacked_recipe(dataset, keys)
    _check_whole(dataset)
    identity = _identity(dataset.manifest, recipe)
    place = destination_of(recipe.output, work_dir)
    place.look()
    with local(workers, attempts)(max(1, len(dataset.shards(dataset.layout)))) as runner:
        packing = OnlyPacking(recipe, row_format(recipe, lambda: _pad_id(dataset)))
        runner.loaded(packing)
        begin_work()
        output = place.open(identity, overwrite=overwrite)
        if output is None:
            manifest = place.update_card(recipe.card.shown(), card_of)
        else:
            with output:
                if place.about:
                    progress.say(place.about)
                progress.start(None)
                records = _do(_tasks(dataset, recipe, identity, output), output, packing, runner, progress)
                manifest = _finish(dataset, recipe, output, records)
    seconds = time.monotonic() - begin
    return RunResult(manifest, place.shown, seconds, fresh=output is not None, warnings=place.warnings)


# ==== What may be asked for ====


def repacked_recipe(dataset: Dataset, keys: Mapping[str, Any]) -> Recipe:
    """Return the recipe of an output with other `keys`.

    Raises `RecipeError` where the samples of the output do not allow it, and `OutputError` for an output that
    cannot be packed again at all.
    """
    manifest = dataset.manifest
    for key in keys:
        if key not in REPACK_KEYS:
            raise RecipeError(f"{key} decides more than how samples are packed; {_RUN_AGAIN}")
    _check_units(dataset)
    if manifest.settings.preferences is not None:
        raise RecipeError(f"{dataset.root} has preferences, which are not packed; {_RUN_AGAIN}")
    recipe = make_recipe(
        {**manifest.recipe, "card": manifest.card.shown(), **keys}, where="the recipe of the output"
    )
    if recipe.preferences is not None:
        raise RecipeError(f"{dataset.root} has no pairs of answers; {_RUN_AGAIN}")
    _check_length(dataset, recipe)
    _check_order(dataset, recipe)
    _check_place(dataset, recipe)
    return recipe


def _check_units(dataset: Dataset) -> None:
    """Raise for outputs of which it is not known which unit wrote what, or which are not complete."""
    manifest = dataset.manifest
    if manifest.units is None or any(each.rows and each.unit is None for each in manifest.shards):
        raise OutputError(
            f"{dataset.root} is of a version of premask whose manifest does not say which unit wrote which "
            "shard; run its recipe again"
        )
    if manifest.set_aside:
        raise OutputError(f"{dataset.root} has skipped rows; run its recipe again until it has none")


def _check_length(dataset: Dataset, recipe: Recipe) -> None:
    manifest, new = dataset.manifest, recipe.max_length
    old, counts = manifest.settings.max_length, manifest.counts
    longest = counts.lengths.max if counts.lengths else 0
    if new < longest:
        longer = sum(
            int(np.count_nonzero(batch.column("length").to_numpy() > new))
            for split in dataset.splits
            for batch in dataset.lineage(split, ["length"])
        )
        raise RecipeError(
            f"{longer:,} samples have more than max_length {new} tokens, the longest {longest}; choose at "
            f"least that, or {_RUN_AGAIN}"
        )
    if new != old and (cut := sum(_cut(counts.model_extra or {}).values())):
        raise RecipeError(
            f"{cut:,} samples were cut to max_length {old} (too_long), and the rest of them is not in the "
            f"output; keep {old}, or {_RUN_AGAIN}"
        )
    if new > old and (rejected := counts.rejected_by_reason.get("too_long", 0)):
        raise RecipeError(
            f"{rejected:,} rows were rejected because they have more than max_length {old} tokens, and are "
            f"not in the output; choose at most {old}, or {_RUN_AGAIN}"
        )


def _cut(counts: Mapping[str, Any]) -> dict[str, int]:
    return {name: counts[name] for name in ("too_long_truncate", "too_long_split") if name in counts}


def _check_order(dataset: Dataset, recipe: Recipe) -> None:
    before = dataset.manifest.settings
    if not before.shuffle:
        return
    if not recipe.shuffle:
        raise RecipeError(f"the samples of {dataset.root} are shuffled; to have them in order, {_RUN_AGAIN}")
    if before.mixes or any(source.repeat > 1 for source in before.sources):
        raise RecipeError(
            f"{dataset.root} is shuffled and has copies of samples (repeat, or a mixture), whose order is "
            f"not known; {_RUN_AGAIN}"
        )


def _check_place(dataset: Dataset, recipe: Recipe) -> None:
    if is_url(recipe.output):
        return
    here, new = dataset.root.resolve(), Path(recipe.output).resolve()
    if new == here or here in new.parents or new in here.parents:
        raise RecipeError(
            f"the output {recipe.output} is the one that is read, is in it, or holds it; name another one"
        )


def _check_whole(dataset: Dataset) -> None:
    """Raise for an output with a file that is not as it was written."""
    for checked in dataset.check():
        if checked.problems:
            problem = checked.problems[0]
            raise OutputError(
                f"{dataset.root / problem.file}: {problem.what}; see 'premask verify {dataset.root}'"
            )


def _identity(manifest: Manifest, recipe: Recipe) -> RunIdentity:
    """Return what a run of this recipe would be, on the inputs, and with the tokenizer and the versions, of
    the output that is read."""
    known = manifest.identity()
    settings = recipe.model_dump(mode="json", exclude=set(OTHER_KEYS))
    parts = (known[name] for name in ("inputs", "tokenizer", "template", "versions"))
    return RunIdentity(settings, *parts)


def _pad_id(dataset: Dataset) -> int:
    return load_tokenizer(str(dataset.tokenizer)).pad_id


# ==== The units ====


@dataclass(frozen=True)
class RepackTask(BucketTask):
    """A unit or bucket of an output, to be packed again.

    buckets  into how many buckets of a shuffle its samples are dealt; 0 if they are packed
    source   the output
    """

    source: Path = Path()

    @property
    def title(self) -> str:
        """Its name, for messages."""
        return f"unit {self.number} of {self.source}"


def repack_unit(
    batches: BatchLabeller, task: RepackTask, progress: Progress | None = None, windows: Windows | None = None
) -> UnitRecord:
    """Pack the samples of a unit anew and return its record. A unit that is already done is not packed
    again."""
    done = finished(task)
    if done is not None:
        return done
    if task.store is not None:
        return task.store.keep(task, lambda own: repack_unit(batches, own, progress, windows))
    dataset, recipe = open_dataset(task.source), batches.recipe
    order = pack_order(recipe)
    with UnitWriter(task.directory, recipe.layout, recipe.max_length, batches.row_format, order) as writer:
        sink = sink_of(recipe, task.buckets, writer, windows or Windows(recipe.pack_window))
        for split in dataset.splits:
            for samples in _samples_of(dataset, task.number, split):
                sink.add(samples, split)
        sink.finish()
        for lines in _rejects_of(dataset, task.number, recipe.max_length):
            writer.reject(lines)
        record = writer.commit(key=task.key, extra={"counts": pack_counts(writer), "sources": {}})
    (progress or Progress()).advance(0, record.tokens, record.packs)
    return record


def _samples_of(dataset: Dataset, unit: int, split: str) -> Iterator[Samples]:
    """Yield the samples of a unit of a split as a run had them before it packed them, if there are any."""
    shards, lineage = (
        _shards_of(dataset, dataset.layout, unit, split),
        _shards_of(dataset, "lineage", unit, split),
    )
    for shard, lines in zip(shards, lineage, strict=True):
        samples = shard_samples(dataset, shard, lines)
        order = _order(dataset.manifest, samples.origin)
        in_order = np.array_equal(order, np.arange(len(order)))
        yield samples if in_order else take_samples(samples, order)


def _shards_of(dataset: Dataset, kind: str, unit: int, split: str | None = None) -> list[Shard]:
    return [shard for shard in dataset.shards(kind, split) if shard.unit == unit]


def _order(manifest: Manifest, origin: pa.RecordBatch) -> np.ndarray:
    """Return the order in which samples were packed, int64[n]: that of the input, or of a shuffle."""
    if manifest.settings.shuffle:
        return np.argsort(order_keys(origin, manifest.settings.seed), kind="stable")
    sources = pa.array([each.source for each in manifest.inputs], pa.string())
    source = pc.index_in(origin.column("source"), value_set=sources).fill_null(-1).to_numpy()
    return np.lexsort((origin.column("sample").to_numpy(), origin.column("row").to_numpy(), source))


def _rejects_of(dataset: Dataset, unit: int, max_length: int) -> Iterator[list[Reject]]:
    """Yield lines of the reject log; those of rows that are too long name the new `max_length`."""
    old = f"max_length {dataset.manifest.settings.max_length}"
    for shard in _shards_of(dataset, "rejects", unit):
        for batch in dataset.batches(shard, tokens=_REJECTS_AT_ONCE):
            lines = [Reject(**line) for line in batch.to_pylist()]
            yield [
                replace(line, detail=line.detail.replace(old, f"max_length {max_length}", 1))
                if line.reason == "too_long"
                else line
                for line in lines
            ]


# ==== The output ====


def _tasks(dataset: Dataset, recipe: Recipe, identity: RunIdentity, output: Output) -> list[RepackTask]:
    """Return a task for each unit; those that a run or another output began have other keys."""
    units = dataset.manifest.units or 0
    scatters = recipe.shuffle and not dataset.manifest.settings.shuffle
    key = hashlib.sha256(f"{identity.unit_key} {_manifest_hash(dataset)}".encode()).hexdigest()
    return [
        RepackTask(
            number,
            units if scatters else 0,
            [],
            output.unit(number),
            key,
            output.failures(number),
            output.store,
            dataset.root.resolve(),
        )
        for number in range(units)
    ]


def _do(
    tasks: Sequence[RepackTask], output: Output, packing: OnlyPacking, runner: Runner, progress: Progress
) -> list[UnitRecord]:
    """Have all units packed, and the buckets of a shuffle."""
    records = runner.do(repack_unit, tasks, packing, progress)
    buckets = bucket_tasks(tasks, output) if any(task.buckets for task in tasks) else []
    if any(output.record(bucket.directory, bucket.key) is None for bucket in buckets):
        output.bring([task.directory for task in tasks], scattered=True)
    return records + (runner.do(pack_bucket, buckets, packing, progress) if buckets else [])


def _finish(
    dataset: Dataset, recipe: Recipe, output: Output, records: Sequence[UnitRecord]
) -> dict[str, Any]:
    """Put the output in place; what became of the rows is as it was."""
    output.bring([output.unit(number) for number in range(len(records))])
    before = dataset.manifest.as_dict()
    counts = {name: n for name, n in before["counts"].items() if name not in ("pad_tokens", BESIDE_OWN_ROW)}
    for record in records:
        for name, n in record.extra.get("counts", {}).items():
            counts[name] = counts.get(name, 0) + n
    numbers = ("rows", "kept", "dropped", "duplicates", "used", "tokens", "trained_tokens")
    known = (*numbers, "rejected", "left_out")
    origin = {"manifest_sha256": _manifest_hash(dataset), "run_key": dataset.manifest.run_key}
    others = {"rejects_left_out": True} if dataset.manifest.rejects_left_out else {}
    others |= {"mixture": before["mixture"]} if before.get("mixture") else {}
    return output.finish(
        records,
        counts=counts,
        inputs={
            each["source"]: {name: each[name] for name in known if name in each} for each in before["inputs"]
        },
        engine=before["engine"],
        card=recipe.card.shown(),
        save_tokenizer=lambda folder: _copy_tokenizer(dataset, folder),
        make_card=card_of,
        draw=card_pictures,
        more={"repacked_from": origin, **others},
    )


def _copy_tokenizer(dataset: Dataset, folder: Path) -> None:
    place = dataset.tokenizer  # checked against the manifest
    for each in dataset.manifest.tokenizer_files:
        name = each.path.removeprefix("tokenizer/")
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(place / name, folder / name)


def _manifest_hash(dataset: Dataset) -> str:
    return hashlib.sha256(read_manifest(dataset.root)).hexdigest()
