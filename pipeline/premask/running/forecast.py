"""The forecast of a run: units, tokens, packs, disk, time, memory, and the limits of the Hub.

    forecast(recipe).as_dict()["tokens"]

The units are those of the run. All other figures are estimated from a sample: `DRAWS` draws of
`DRAW_ROWS` rows, at positions drawn with the seed of the recipe. Only JSONL and Parquet can be read from
any position; for other formats, the first rows of units are used. An input with no more rows than the sample
is taken as it is, each row once. The sample goes through all stages and is
written. The first half warms up; the second half is timed, in CPU seconds of this process. Times for more
workers assume that each has a core as fast as this one, and that storage is fast enough.

The limits of the Hub are those of https://huggingface.co/docs/hub/storage-limits, "Repository limitations and
recommendations": at most 10,000 files per folder and 500 GB per file; recommended are fewer than 100,000
files per repo, less than 200 GB per file, and 50 to 100 files per commit; 100 GB of private storage are free;
more than 1 TB needs a plan. `datasets` writes shards of 500 MB (`datasets.config.MAX_SHARD_SIZE`); the
advice on sizes follows it.

Cost: the sources are inspected and cut as in a run. They are read once, and JSONL of several units twice: 2
ns a byte, seconds for a few GB, half an hour for a TB. The sample takes three seconds. Accuracy, on 54 M
tokens repeated from the bundled sample: tokens and packs are 0.1 % off, CPU time is a quarter too long, and
bytes are three quarters too many, because repeated rows compress better in large files. Duplicates are not
searched for.
"""

from __future__ import annotations

import heapq
import json
import math
import random
import resource
import shutil
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..core.arrays import filled_up
from ..core.atomic_files import named
from ..core.display import file_size
from ..core.recipe import Layout, Recipe
from ..core.records import Selection, Slice, Unit
from ..core.urls import is_url
from ..dialects import Form
from ..output.destination import destination_of
from ..output.packing import plan_packs
from ..output.shards import UnitRecord, unit_file
from ..output.windows import Windows
from ..publish.mask_counts import history_note
from ..sources.cutting import UNIT_BYTES
from ..sources.formats import FORMATS
from ..sources.mapping import as_read
from ..sources.reading import part_of, read_slice
from .counts import HISTORY
from .inputs import Work, look_at
from .mixture import UNITS, describe, goals, not_reached
from .run import Prepared, prepare
from .runners.process import without_old_garbage
from .tasks import Task, accounts_of
from .units import run_unit

DRAWS, DRAW_ROWS = 64, 48
"""Number of draws of the sample, and rows in each."""

FILES_A_FOLDER, FILES_A_REPO, FILES_A_COMMIT = 10_000, 100_000, 100
FILE_BYTES, PRIVATE_BYTES, PUBLIC_BYTES = 200_000_000_000, 100_000_000_000, 1_000_000_000_000
SHARD_BYTES = 500_000_000
"""Limits of the Hub and of `datasets`, see above."""

NOWHERE = "-"
"""The output of a recipe that names none."""

_START_S = 2.0  # CPU seconds to start a process and load its tokenizer
_WINDOW_BYTES = 20  # memory of a token that waits to be packed (benchmarks/RESULTS.md, Growth)
_CACHE_BYTES = 3  # disk space of a token in the cache, about
_PACKED_AT_ONCE = 20_000  # samples that are packed for the estimate
_OTHER_FILES = 10  # README.md, the manifest, files of the tokenizer: about
_COMPRESSED_TRY = 1 << 20  # bytes of text that are compressed for the estimate


class UnitForecast(NamedTuple):
    """The forecast of a unit.

    rows    None if they cannot be counted without reading them all
    bytes   size on disk of its part of the files
    tokens  estimated
    """

    rows: int | None
    bytes: int
    tokens: int


@dataclass(frozen=True)
class Trial:
    """Measurements of the sample; `seconds` (CPU) and `timed_tokens` are those of the timed half, `history`
    the tokens that samples of single turns repeat."""

    rows: int
    kept: int
    tokens: int
    history: int
    seconds: float
    timed_tokens: int
    packs: float  # per sample, on average
    samples: int
    splits: int
    bytes: Mapping[str, float]  # kind of file -> bytes per token (rejects: per row)
    rejected: Mapping[str, int]
    left_out: Mapping[str, int]
    totals: Sequence[
        Mapping[str, int]
    ] = ()  # with a mixture, of each source: `mixture.Totals`, and rows read


@dataclass(frozen=True)
class Forecast:
    """What a run will take. Units and their bytes are exact, all other figures are estimates.

    free_bytes  None if the recipe names no output
    mixture  the shares of sources, in the form of the manifest; None without a mixture
    tokens_one_sample_a_row  tokens if no turn had a sample of its own, with the history before it
    """

    units: Sequence[UnitForecast]
    sample: Trial
    rows: int
    rows_counted: bool
    tokens: int
    tokens_one_sample_a_row: int
    packs: int
    files: int
    output_bytes: int
    disk_bytes: int
    free_bytes: int | None
    worker_bytes: int
    seconds: Mapping[int, float]
    warnings: Sequence[str]
    hub: Sequence[str]
    mixture: Mapping[str, Any] | None = None

    @property
    def is_exact(self) -> bool:
        """Whether the sample are all rows, each once."""
        return self.rows_counted and self.sample.rows >= self.rows

    def as_dict(self) -> dict[str, Any]:
        """Return the forecast as JSON values; seconds by number of workers."""
        return {
            "units": [unit._asdict() for unit in self.units],
            "rows": self.rows,
            "rows_counted": self.rows_counted,
            "tokens": self.tokens,
            "tokens_one_sample_a_row": self.tokens_one_sample_a_row,
            "packs": self.packs,
            "files": self.files,
            "output_bytes": self.output_bytes,
            "disk_bytes": self.disk_bytes,
            "free_bytes": self.free_bytes,
            "worker_bytes": self.worker_bytes,
            "seconds": {str(workers): seconds for workers, seconds in self.seconds.items()},
            "warnings": list(self.warnings),
            "hub": list(self.hub),
            "sample": {
                "rows": self.sample.rows,
                "kept": self.sample.kept,
                "tokens": self.sample.tokens,
                "tokens_a_second": self.sample.timed_tokens / max(self.sample.seconds, 1e-9),
                "rejected": dict(self.sample.rejected),
                "left_out": dict(self.sample.left_out),
            },
            "mixture": dict(self.mixture) if self.mixture else None,
        }


def forecast(recipe: Recipe, *, cores: int = 1) -> Forecast:
    """Estimate what a recipe will take, with `cores` cores of this machine and with more workers. If its
    output is `NOWHERE`, the free space is not looked at.

    Raises what `run` raises for wrong files, a wrong tokenizer or a wrong template.
    """
    work = look_at(recipe)
    prepared = prepare(work._replace(recipe=recipe.model_copy(update={"cache": None, "shuffle": False})))
    rows = _Rows(work)
    sample = _measure(prepared, rows)
    mixture, tokens_a_row = _mixture(work, rows, sample) if recipe.mixes else (None, None)
    units = [_unit(unit, rows, sample, tokens_a_row) for unit in work.units]
    tokens, read = sum(unit.tokens for unit in units), sum(map(rows.of_unit, work.units))
    again = round(tokens * sample.history / max(sample.tokens, 1))
    samples = tokens * sample.samples / max(sample.tokens, 1)
    packs = math.ceil(samples * sample.packs) if Layout.packed in recipe.layout else 0
    output = round(sum(each * (read if kind == "rejects" else tokens) for kind, each in sample.bytes.items()))
    files = len(units) * sum(1 if kind == "rejects" else sample.splits for kind in sample.bytes)
    lineage = round(sample.bytes.get("lineage", 0.0) * tokens)
    disk = output + lineage + (_CACHE_BYTES * tokens if recipe.cache else 0)
    if is_url(recipe.output) and not recipe.shuffle:  # finished units are sent away; their lineage stays
        biggest_share = max((unit.tokens for unit in units), default=0) / max(tokens, 1)
        disk = 2 * lineage + round(output * min(1.0, cores * biggest_share))
    free = None if recipe.output == NOWHERE else _free(destination_of(recipe.output).out)
    biggest = max((unit.tokens for unit in units), default=0)
    memory = _peak_bytes() + _WINDOW_BYTES * min(recipe.pack_window, biggest)
    speed = sample.seconds / max(sample.timed_tokens, 1)
    return Forecast(
        units,
        sample,
        round(read),
        work.rows is not None,
        tokens,
        tokens - again,
        packs,
        files + _OTHER_FILES,
        output,
        disk,
        free,
        memory,
        {n: makespan([unit.tokens * speed for unit in units], n) for n in _worker_counts(cores, len(units))},
        [
            *_warnings(work, units, sample, again),
            *(not_reached(recipe, mixture) if mixture else ()),
            *_space(disk, free if free is not None else disk),
        ],
        list(_hub(len(units) * sample.splits, files + _OTHER_FILES, output, len(units) * sample.splits)),
        mixture,
    )


def makespan(seconds: Sequence[float], workers: int) -> float:
    """Return the seconds until all units are done.

    Workers start at the same time; each unit, in order, goes to the first worker that is ready.

    >>> makespan([3, 1, 1, 1], 2) - makespan([], 2), makespan([3, 1, 1, 1], 1) - makespan([], 1)
    (3.0, 6.0)
    """
    ready = [_START_S] * workers
    for each in seconds:
        heapq.heapreplace(ready, ready[0] + each)
    return max(ready)


def _worker_counts(cores: int, units: int) -> list[int]:
    """Return 1, 2, 4 ... below the number of units, and the number of cores of this machine."""
    powers = [2**i for i in range(12) if 2**i < units]
    return sorted({1, *powers, *([min(cores, units)] if units else [])})


# ==== The number of rows ====


def rows_of_files(work: Work) -> dict[str, tuple[int, bool]]:
    """Return the rows of each file, and whether they were counted, by its name."""
    rows, found = _Rows(work), defaultdict[str, float](float)
    counted = defaultdict[str, bool](lambda: True)
    for unit in work.units:
        for piece in unit.slices:
            found[piece.source] += rows.of(piece)
            counted[piece.source] &= piece.stop_row is not None
    return {source: (round(count), counted[source]) for source, count in found.items()}


class _Rows:
    """Rows of units: counted, or estimated from the first rows of some files if counting means reading
    all."""

    def __init__(self, work: Work) -> None:
        self._bytes = {info.source: info.bytes for info in work.infos}
        self._counted = {info.source: info.rows or 1 for info in work.infos}
        self._rows_a_byte = self._estimate(work)

    def of(self, piece: Slice) -> float:
        """Return the rows of a slice."""
        if piece.stop_row is not None:
            return float(piece.stop_row - piece.start_row)
        return self._bytes[piece.source] * self._rows_a_byte

    def of_unit(self, unit: Unit) -> float:
        """Return the rows of a unit."""
        return sum(map(self.of, unit.slices))

    def bytes_of(self, piece: Slice) -> int:
        """Return the bytes on disk of a slice; for Parquet, by its share of the rows."""
        if piece.start_byte is not None and piece.end_byte is not None:
            return piece.end_byte - piece.start_byte
        whole = self._bytes[piece.source]
        if piece.stop_row is None or not FORMATS[piece.format].has_footer:
            return whole
        return round(whole * (piece.stop_row - piece.start_row) / self._counted[piece.source])

    @staticmethod
    def _estimate(work: Work) -> float:
        """Return the rows per byte on disk, in files whose rows are not counted."""
        whole = [piece for unit in work.units for piece in unit.slices if piece.stop_row is None]
        rows = size = 0.0
        for piece in random.Random(work.recipe.seed).sample(whole, min(8, len(whole))):  # noqa: S311
            lines = list(islice(_lines(piece), 8 * DRAW_ROWS))
            text = b"".join(lines)
            rows += len(lines)
            size += len(text) / _compression(text, piece.compression)
        return rows / size if size else 0.0


def _compression(text: bytes, codec: str | None) -> float:
    """Return the compression ratio of a text."""
    if codec is None or not text:
        return 1.0
    some = text[:_COMPRESSED_TRY]
    return float(len(some) / len(pa.Codec(codec).compress(some, asbytes=True)))


def _lines(piece: Slice) -> Iterator[bytes]:
    """Yield the rows of a slice as lines of JSONL."""
    for row in read_slice(as_read(piece)):
        text = row.original if row.error is not None and row.original is not None else _json(row.value)
        yield text.replace("\n", " ").encode("utf-8", "backslashreplace") + b"\n"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


# ==== The sample ====


def _measure(prepared: Prepared, rows: _Rows) -> Trial:
    """Take the sample through all stages, write it, and measure both."""
    work = prepared.work
    recipe = work.recipe
    pieces = _draw(work, rows)
    place = tempfile.gettempdir()
    with named(Path(place)), tempfile.TemporaryDirectory(prefix="premask-plan-", dir=place) as folder:
        halves = [_write(Path(folder) / str(half), pieces[half::2], work) for half in (0, 1)]
        records, seconds = [], 0.0
        tasks = [task for task in halves if task is not None]
        for task in tasks:
            windows, begin = Windows(recipe.pack_window, recipe.together), time.process_time()
            with without_old_garbage():
                records.append(run_unit(prepared.batches, task, windows=windows))
            seconds = time.process_time() - begin
        return _trial_of(recipe, records, seconds, tasks)


def _draw(work: Work, rows: _Rows) -> list[tuple[Slice, list[bytes]]]:
    """Return draws: rows as lines of JSONL, each with the slice that it is from."""
    dice = random.Random(work.recipe.seed)  # noqa: S311  positions of a sample
    pieces = [piece for unit in work.units for piece in unit.slices]
    weights = [rows.of(piece) for piece in pieces]
    if not any(weights):
        return []
    if sum(weights) <= DRAWS * DRAW_ROWS and all(piece.stop_row is not None for piece in pieces):
        found = [each for piece in pieces for each in _in_draws(piece)]
        dice.shuffle(found)
        return found
    drawn = dice.choices(range(len(pieces)), weights, k=DRAWS)
    drawn = sorted([*drawn, *(_of_each_source(pieces, drawn) if work.recipe.mixes else ())])
    found = []
    for at, times in Counter(drawn).items():
        piece = pieces[at]
        parts = [part_of(piece, dice.random(), DRAW_ROWS) for _ in range(times)]
        if None not in parts:
            found += [(piece, _rows_at(piece, part)) for part in parts if part is not None]
        else:
            lines = list(islice(_lines(piece), times * DRAW_ROWS))
            found += [(piece, lines[i::times]) for i in range(times)]
    dice.shuffle(found)
    return found


def _of_each_source(pieces: Sequence[Slice], drawn: Sequence[int]) -> list[int]:
    """Return a slice of each source that has not been drawn, twice: for both halves of the sample."""
    seen = {pieces[at].entry for at in drawn}
    first = {piece.entry: at for at, piece in reversed([*enumerate(pieces)]) if piece.entry not in seen}
    return [at for at in first.values() for _ in range(2)]


def _in_draws(piece: Slice) -> Iterator[tuple[Slice, list[bytes]]]:
    """Yield all rows of a slice, each with it: two draws at least, one of which is timed."""
    lines = list(_lines(piece._replace(selection=None)))
    size = min(DRAW_ROWS, max(1, math.ceil(len(lines) / 2)))
    yield from ((piece, lines[i : i + size]) for i in range(0, len(lines), size))


def _rows_at(piece: Slice, part: Slice) -> list[bytes]:
    """Return rows of a part of a slice, regardless of the selection of its source.

    After the last row of the part, it continues at the first row of the slice.
    """
    lines = list(islice(_lines(part._replace(selection=None)), DRAW_ROWS))
    return lines + list(islice(_lines(piece._replace(selection=None)), DRAW_ROWS - len(lines)))


def _write(folder: Path, found: Sequence[tuple[Slice, list[bytes]]], work: Work) -> Task | None:
    """Write lines as the slices of one task, one file per dialect and entry of the sources."""
    groups: dict[tuple[str, int, Selection | None], list[bytes]] = {}
    forms = {repr(form): form for form in work.dialects.values()}
    for piece, lines in found:
        key = repr(work.dialects[piece.source]), piece.entry, piece.selection
        groups.setdefault(key, []).extend(lines)
    folder.mkdir()
    slices, dialects = [], dict[str, Form]()
    for number, ((form, entry, selection), lines) in enumerate(groups.items()):
        path = folder / f"{number}.jsonl"
        path.write_bytes(b"".join(lines))
        size = path.stat().st_size
        slices.append(Slice(str(path), "jsonl", None, 0, len(lines), 0, size, entry, selection=selection))
        dialects[str(path)] = forms[form]
    return (
        Task(Unit(0, tuple(slices)), dialects, folder / "unit", "sample", folder / "failures.json")
        if slices
        else None
    )


def _trial_of(recipe: Recipe, records: Sequence[UnitRecord], seconds: float, tasks: Sequence[Task]) -> Trial:
    accounts = [account for record in records for account in accounts_of(record).values()]
    rows, tokens = sum(each.rows for each in accounts), sum(record.tokens for record in records)
    sizes = Counter[str]()
    for record in records:
        for name, file in record.files.items():
            sizes[name.partition("/")[0]] += file.bytes
    lengths = [
        pq.read_table(unit_file(task.directory, name), columns=["length"]).column("length").to_numpy()
        for task, record in zip(tasks, records, strict=True)
        for name in record.files
        if name.startswith("lineage/")
    ]
    return Trial(
        rows,
        sum(each.kept for each in accounts),
        tokens,
        sum(record.extra["counts"].get(HISTORY, 0) for record in records),
        seconds,
        records[-1].tokens if records else 0,
        _packs_a_sample(np.concatenate([np.zeros(0, np.int64), *lengths]), recipe),
        sum(map(len, lengths)),
        1 + len(recipe.splits),
        {kind: size / max(1, rows if kind == "rejects" else tokens) for kind, size in sizes.items()},
        sum((each.rejected for each in accounts), Counter[str]()),
        sum((each.left_out for each in accounts), Counter[str]()),
        _totals(recipe, records, tasks) if recipe.mixes else (),
    )


def _totals(recipe: Recipe, records: Sequence[UnitRecord], tasks: Sequence[Task]) -> list[Counter[str]]:
    """Return what the sample has of each source of a mixture; `read` are its rows."""
    totals = [Counter[str]() for _ in recipe.sources]
    for record, task in zip(records, tasks, strict=True):
        for entry, each in record.extra["mixture"].items():
            totals[int(entry)].update(each)
        entries = {piece.source: piece.entry for piece in task.unit.slices}
        for source, account in accounts_of(record).items():
            totals[entries[source]]["read"] += account.rows
    return totals


def _mixture(work: Work, rows: _Rows, sample: Trial) -> tuple[dict[str, Any], list[float]]:
    """Return the mixture that a run will give, and for each source the tokens of a row that is read."""
    recipe = work.recipe
    read = Counter[int]()
    for unit in work.units:
        for piece in unit.slices:
            read[piece.entry] += round(rows.of(piece))
    times = [read[entry] / max(1, each["read"]) for entry, each in enumerate(sample.totals)]
    there = [
        {f"of_{unit}": round(time * each[f"of_{unit}"]) for unit in UNITS}
        for time, each in zip(times, sample.totals, strict=True)
    ]
    sizes = [each[f"of_{recipe.mix_by.value}"] for each in there]
    repeats = [
        min(goal.most, goal.size / size) if size else goal.most
        for goal, size in zip(goals(recipe, sizes), sizes, strict=True)
    ]
    totals = [
        each | {unit: round(repeat * each[f"of_{unit}"]) for unit in UNITS}
        for repeat, each in zip(repeats, there, strict=True)
    ]
    in_train = 1 - sum(recipe.splits.values())
    used = [repeat + min(repeat, 1) * (1 - in_train) / in_train for repeat in repeats]
    tokens = [
        time * each["of_tokens"] / max(1, each["read"])
        for time, each in zip(used, sample.totals, strict=True)
    ]
    return describe(recipe, totals), tokens


def _packs_a_sample(lengths: np.ndarray, recipe: Recipe) -> float:
    """Return the packs per sample if many samples with these lengths are packed together."""
    if not len(lengths) or Layout.packed not in recipe.layout:
        return 0.0
    many = np.random.default_rng(recipe.seed).choice(lengths, size=_PACKED_AT_ONCE)
    rooms = filled_up(many, recipe.pad_to_multiple or 1)
    return (len(plan_packs(rooms, recipe.max_length).offsets) - 1) / len(many)


def _unit(
    unit: Unit, rows: _Rows, sample: Trial, tokens_a_row: Sequence[float] | None = None
) -> UnitForecast:
    counted = all(piece.stop_row is not None for piece in unit.slices)
    read = rows.of_unit(unit)
    tokens = round(read * sample.tokens / max(sample.rows, 1))
    if tokens_a_row is not None:
        tokens = round(sum(rows.of(piece) * tokens_a_row[piece.entry] for piece in unit.slices))
    return UnitForecast(round(read) if counted else None, sum(map(rows.bytes_of, unit.slices)), tokens)


# ==== Warnings ====


def _warnings(work: Work, units: Sequence[UnitForecast], sample: Trial, again: int) -> Iterator[str]:
    yield from work.warnings
    tokens = sum(unit.tokens for unit in units)
    if note := history_note({"tokens": tokens, HISTORY: again}):
        yield note
    if not sample.tokens:
        lost = {**sample.rejected, **{f"left out by {key}": count for key, count in sample.left_out.items()}}
        why = ", ".join(f"{count} {reason}" for reason, count in lost.items())
        yield f"no row of the sample can be used ({why or 'it has none'}); see 'premask explain'"
    mean = tokens / max(1, len(units))
    whole = {piece.source for unit in work.units for piece in unit.slices if piece.stop_row is None}
    large = sorted(info.source for info in work.infos if info.source in whole and info.bytes > UNIT_BYTES)
    if large:
        others = f" and {len(large) - 1} more" if len(large) > 1 else ""
        yield (
            f"{large[0]}{others} cannot be cut (compressed, or neither JSONL nor Parquet): one worker "
            "processes the whole file; split it, or write it as Parquet"
        )
    if len(units) > 1 and max(unit.tokens for unit in units) > 4 * mean:
        yield "some units are several times larger than others; workers will be idle at the end"
    contaminated = ["contaminated rows"] if work.recipe.decontaminate is not None else []
    for setting in [*work.recipe.compares, *contaminated]:
        what = setting.removesuffix(": drop").replace("_", " ")
        yield f"{what} are not searched for here; the figures include rows that the run will drop"


def _space(disk: int, free: int) -> Iterator[str]:
    if disk > free:
        yield f"the disk has {file_size(free)} free, but {file_size(disk)} are needed"


def _hub(folder: int, files: int, size: int, shards: int) -> Iterator[str]:
    """Yield which limits of the Hub an output exceeds."""
    if folder > FILES_A_FOLDER:
        yield (
            f"{folder:,} shards in one folder: the Hub accepts {FILES_A_FOLDER:,}; make units larger "
            "(unit_rows), or push to a store"
        )
    if files > FILES_A_REPO:
        yield f"{files:,} files: the Hub recommends fewer than {FILES_A_REPO:,} in a repo"
    if files > FILES_A_COMMIT:
        yield (
            f"{files:,} files: more than the {FILES_A_COMMIT} recommended for a commit; a push uploads them "
            "first and makes one commit at the end, which may need a retry"
        )
    mean = size / max(1, shards)
    if shards > 100 and mean < SHARD_BYTES / 10:
        yield f"shards of {file_size(round(mean))}: 500 MB are usual; larger units (unit_rows) make fewer"
    if mean > FILE_BYTES:
        yield f"shards of {file_size(round(mean))}: the Hub recommends less than {file_size(FILE_BYTES)}"
    if size > PUBLIC_BYTES:
        yield f"{file_size(size)}: more than 1 TB needs a plan or a grant from the Hub"
    elif size > PRIVATE_BYTES:
        yield f"{file_size(size)}: a private repo of a free account holds {file_size(PRIVATE_BYTES)}"


def _free(out: Path) -> int:
    """Return the free bytes where the output will be."""
    for path in [out.resolve(), *out.resolve().parents]:
        with suppress(OSError):
            return shutil.disk_usage(path).free
    return 0


def _peak_bytes() -> int:
    """Return the peak memory of this process in bytes; Linux reports KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
