"""Units that fail: how often each is tried, which rows are the cause, and the unit without these rows.

    if not note_failure(task, why, attempts, say):          # that was once too often
        record = settle(do, run_unit, task, say)            # do(job, task) works in a process that may die

A unit fails when the process that does it dies, or when it raises what no unit should raise. Then it is
labelled batch by batch, and each batch is reported before it is looked at: so it is known where the process
died. Its rows are labelled one by one in the next process, which gives away the very row. That row is set
aside, and so on until the unit goes through. If it is no single row, a batch or the whole unit is set aside.
Rows that are set aside go to the reject log as `crashed`; nothing else is lost.

What is known of a unit is in a file beside the work in progress (`read_failures`), so that it outlives the
run: a unit is tried a few times in all, and rows that were found to be the cause are not taken up again.

Cost: two processes a row that is found, and the work of the unit up to there.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ..core.atomic_files import named, write_json
from ..core.errors import RowError, RunError
from ..core.records import Reject, Slice
from ..core.text import storable
from ..fast.plain_batches import BATCH_ROWS, RowBatch, read_batches
from ..labeller import reject
from ..output.unit_store import finished
from ..output.windows import Windows
from ..sources.blocks import Block
from .batches import BatchLabeller
from .tasks import BucketTask, Progress, Task


class SuspectRows(NamedTuple):
    """Rows of a slice of a unit, by their numbers in the file."""

    piece: int
    rows: tuple[int, ...]


class TaskError(Exception):
    """A task took its process down, or raised what no task should raise; `at` is where it was, if it said
    so."""

    def __init__(self, why: str, at: SuspectRows | None = None) -> None:
        super().__init__(why)
        self.at = at


@dataclass(frozen=True, slots=True)
class SetAside:
    """A row that is not taken up: the index of its slice in the unit, and its line of the ledger."""

    piece: int
    line: Reject


@dataclass(frozen=True, slots=True)
class Failures:
    """How often a unit has failed, and how the last time; the rows that are set aside, by slice and number;
    and if all of them are, why."""

    tries: int = 0
    last: str = ""
    rows: tuple[SetAside, ...] = ()
    all_rows: str = ""

    def of_piece(self, piece: int) -> list[Reject]:
        """The lines of the ledger for the rows of a slice that are set aside."""
        return [each.line for each in self.rows if each.piece == piece]

    @property
    def why(self) -> str:
        """Why rows are set aside; empty if none are."""
        return self.all_rows or next((each.line.detail for each in self.rows), "")


def read_failures(path: Path) -> Failures:
    """What is known of the unit whose file that is; nothing if there is none."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Failures()
    rows = tuple(SetAside(each["piece"], Reject(**each["line"])) for each in data.pop("rows"))
    return Failures(rows=rows, **data)


def write_failures(path: Path, failures: Failures) -> None:
    """Keep it; raises `OutputError`."""
    rows = sorted(failures.rows, key=lambda each: (each.piece, each.line.row))
    with named(path):
        path.parent.mkdir(exist_ok=True)
        write_json(path, dataclasses.asdict(dataclasses.replace(failures, rows=tuple(rows))))


# ==== A process that does units beside its other duties ====


@contextmanager
def begun_here(path: Path) -> Iterator[None]:
    """While a unit is done that would take this whole run down with it: leaves a mark if that happens."""
    mark = _mark(path)
    with named(path):
        mark.parent.mkdir(exist_ok=True)
        mark.touch()
    try:
        yield
    finally:
        mark.unlink(missing_ok=True)


def took_a_run_down(path: Path) -> bool:
    """Whether the process that did this unit was gone before it could say anything. It may have been killed
    for any other reason, so that this does not count as a failure."""
    return _mark(path).is_file()


def forget_mark(path: Path) -> None:
    """The unit has been done since."""
    _mark(path).unlink(missing_ok=True)


def _mark(path: Path) -> Path:
    return path.with_suffix(".begun")


# ==== Which rows are the cause ====

MOST = 32
"""Rows or batches of a unit that are looked for; if there are more, all of it is set aside."""


Result = TypeVar("Result")


Do = Callable[[Any, Any], Any]
"""Does a job on a task in a process that may die; raises `TaskError` then."""


def note_failure(task: Task | BucketTask, why: str, attempts: int, say: Callable[[str], None]) -> bool:
    """Write down that a task has failed; returns whether it is to be tried again as it is."""
    failures = read_failures(task.failures)
    failures = replace(failures, tries=failures.tries + 1, last=why)
    write_failures(task.failures, failures)
    again = failures.tries < attempts
    then = "it is done again" if again else "it is looked into"
    say(f"{name_of(task)} failed ({failures.tries} of {attempts}): {why}; {then}")
    return again


def is_done(task: Task | BucketTask) -> bool:
    """Whether the files of a task are there; then doing it again is quick."""
    return finished(task) is not None


def settle(do: Do, job: Callable[..., Result], task: Task | BucketTask, say: Callable[[str], None]) -> Result:
    """Do a job on a task that has failed too often, without the rows that are the cause.

    Raises `RunError` if a unit fails before any row is looked at, or though all are set aside, and for a
    bucket: it has nothing to set aside.
    """
    if isinstance(task, BucketTask):
        raise RunError(
            f"{name_of(task)} failed too often, at last: {read_failures(task.failures).last}; what is done "
            "is kept: run the same command again, with fewer workers or smaller units if memory is short"
        )
    _find_rows(do, task, say)
    try:
        return do(job, task)  # type: ignore[no-any-return]
    except TaskError as error:
        _set_all_aside(task, str(error), say)
    try:
        return do(job, task)  # type: ignore[no-any-return]
    except TaskError as error:
        raise RunError(f"{name_of(task)} fails even without its rows: {error}; look at that file") from None


def _find_rows(do: Do, task: Task, say: Callable[[str], None]) -> None:
    """Set rows aside until the unit can be labelled."""
    for _ in range(MOST):
        try:
            do(label_batches, task)
        except TaskError as error:
            place, why = error.at, str(error)
        else:
            return
        if place is None:
            raise RunError(f"{name_of(task)} cannot be read: {why}; look at that file")
        try:
            do(label_rows, Probe(task, place))
        except TaskError as error:
            place, why = error.at or place, str(error)
        _set_aside(do, Probe(task, place, why), say)
    _set_all_aside(task, f"{why}, and so for more than {MOST} others", say)


def name_of(task: Task | BucketTask) -> str:
    """A task, for a message."""
    if isinstance(task, BucketTask):
        return f"bucket {task.number} of the shuffle"
    pieces = task.unit.slices
    more = f" and {len(pieces) - 1} more" if len(pieces) > 1 else ""
    return f"unit {task.unit.number} ({pieces[0].source} from row {pieces[0].start_row}{more})"


def _set_aside(do: Do, probe: Probe, say: Callable[[str], None]) -> None:
    rows, source = probe.place.rows, probe.piece.source
    try:
        lines: list[Reject] = do(lines_of, probe)
    except TaskError:  # not even their text can be had
        lines = [Reject(source, row, None, "crashed", probe.why, None) for row in rows]
    failures = read_failures(probe.task.failures)
    aside = [SetAside(probe.place.piece, line) for line in lines]
    write_failures(probe.task.failures, replace(failures, rows=(*failures.rows, *aside)))
    which = f"row {rows[0]}" if len(rows) == 1 else f"rows {rows[0]} to {rows[-1]}"
    say(f"{which} of {source} set aside: {probe.why}")


def _set_all_aside(task: Task, why: str, say: Callable[[str], None]) -> None:
    write_failures(task.failures, replace(read_failures(task.failures), all_rows=why))
    say(f"all rows of {name_of(task)} set aside: {why}")


# ==== In a process that may die ====


@dataclass(frozen=True)
class Probe:
    """Rows of a unit to look at; `why` they failed."""

    task: Task
    place: SuspectRows
    why: str = ""

    @property
    def piece(self) -> Slice:
        """The slice that they are in."""
        return self.task.unit.slices[self.place.piece]


def label_batches(
    batches: BatchLabeller, task: Task, progress: Progress, windows: Windows | None = None
) -> None:
    """Label the rows of a unit that are not set aside, and tell each batch before it is looked at."""
    del windows
    failures = read_failures(task.failures)
    for number, piece in enumerate(task.unit.slices):
        wanted = without_rows(failures.of_piece(number))

        def take(block: Block, number: int = number, wanted: Callable[[Block], Block] = wanted) -> Block:
            taken = wanted(block)
            progress.begin(number, taken.numbers)
            return taken

        for batch in read_batches(piece, task.dialects[piece.source], BATCH_ROWS, take):
            batches.run(batch, task.dialects[piece.source])


def label_rows(
    batches: BatchLabeller, probe: Probe, progress: Progress, windows: Windows | None = None
) -> None:
    """Label some rows one by one, and tell each before it is looked at."""
    del windows
    for batch in _one_by_one(probe, progress):
        batches.run(batch, probe.task.dialects[probe.piece.source])


def lines_of(
    batches: BatchLabeller, probe: Probe, progress: Progress, windows: Windows | None = None
) -> list[Reject]:
    """The lines of the ledger for rows that are set aside."""
    del batches, windows
    lines = [reject(batch.row(0), RowError("crashed", probe.why)) for batch in _one_by_one(probe, progress)]
    return [replace(line, original=storable(line.original or "")) for line in lines]


def _one_by_one(probe: Probe, progress: Progress) -> Iterator[RowBatch]:
    """Batches of one row each."""
    wanted = np.array(probe.place.rows, dtype=np.int64)

    def take(block: Block) -> Block:
        taken = block.taken(np.isin(block.numbers, wanted))
        if len(taken.numbers):
            progress.begin(probe.place.piece, taken.numbers)
        return taken

    for batch in read_batches(probe.piece, probe.task.dialects[probe.piece.source], 1, take):
        if len(batch):
            yield batch


def without_rows(lines: Sequence[Reject]) -> Callable[[Block], Block]:
    """Takes the rows of a block that are not among these."""
    rows = np.array([line.row for line in lines], dtype=np.int64)

    def take(block: Block) -> Block:
        aside = np.isin(block.numbers, rows)
        return block.taken(~aside) if aside.any() else block

    return take
