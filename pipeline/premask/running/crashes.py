"""Units that fail: retries, the search for the rows that are the cause, and the unit without these rows.

    if not note_failure(task, why, attempts, say):          # no retry is left
        record = settle(do, run_unit, task, say)            # do(job, task) uses a process that may die

A unit fails if its process dies, or if it raises an unexpected error. After the last retry, the cause is
searched for:

1. The unit is labelled batch by batch. Each batch is reported before it is processed, so the batch in which
   the process died is known.
2. The rows of that batch are labelled one by one in another process, which finds the row.
3. That row is skipped, and the search continues until the unit can be labelled.

If no single row is the cause, the batch or the whole unit is skipped. Skipped rows go to the reject log as
`crashed`. No other row is lost.

Failures are in a file beside the work in progress (`read_failures`) and outlive the run. Attempts count over
all runs, and skipped rows are not tried again.

Cost: two processes per skipped row, and the work of the unit up to that row.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from pydantic import TypeAdapter

from ..core.atomic_files import named, write_json
from ..core.errors import RowError, RunError
from ..core.received_files import UnusableFileError, read_bounded
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
    """A task ended its process, or raised an unexpected error; `at` is the last position that it reported."""

    def __init__(self, why: str, at: SuspectRows | None = None) -> None:
        super().__init__(why)
        self.at = at


@dataclass(frozen=True, slots=True)
class SkippedRow:
    """A skipped row: the index of its slice in the unit, and its line of the reject log."""

    piece: int
    line: Reject


@dataclass(frozen=True, slots=True)
class Failures:
    """The failures of a unit.

    tries     how often it has failed
    last      the last error
    rows      skipped rows, by slice and number
    all_rows  why all rows are skipped; empty if they are not
    """

    tries: int = 0
    last: str = ""
    rows: tuple[SkippedRow, ...] = ()
    all_rows: str = ""

    def of_piece(self, piece: int) -> list[Reject]:
        """Return the lines of the reject log for the skipped rows of a slice."""
        return [each.line for each in self.rows if each.piece == piece]

    @property
    def why(self) -> str:
        """Why rows are skipped; empty if none are."""
        return self.all_rows or next((each.line.detail for each in self.rows), "")


def read_failures(path: Path) -> Failures:
    """Return the failures of a unit, by its file; no failures if there is no file that can be read."""
    try:
        found = _FAILURES.validate_json(read_bounded(path, 1 << 28), strict=True)
    except (UnusableFileError, ValueError):
        return Failures()
    numbers = (found.tries, *(number for each in found.rows for number in (each.piece, each.line.row)))
    return found if all(0 <= number < 1 << 62 for number in numbers) else Failures()


_FAILURES = TypeAdapter(Failures)


def write_failures(path: Path, failures: Failures) -> None:
    """Write the failures of a unit to its file. Raises `OutputError` if the disk is full."""
    rows = sorted(failures.rows, key=lambda each: (each.piece, each.line.row))
    with named(path):
        path.parent.mkdir(exist_ok=True)
        write_json(path, dataclasses.asdict(dataclasses.replace(failures, rows=tuple(rows))))


# ==== Units in the driver ====


@contextmanager
def begun_here(path: Path) -> Iterator[None]:
    """Mark a unit while the driver works on it. The mark remains if the unit ends the driver."""
    mark = _mark(path)
    with named(path):
        mark.parent.mkdir(exist_ok=True)
        mark.touch()
    try:
        yield
    finally:
        mark.unlink(missing_ok=True)


def ended_a_run(path: Path) -> bool:
    """Whether an earlier driver ended while it worked on this unit. It may have been killed for another
    reason, so this does not count as a failure."""
    return _mark(path).is_file()


def remove_mark(path: Path) -> None:
    """Remove the mark of a unit that is now done."""
    _mark(path).unlink(missing_ok=True)


def _mark(path: Path) -> Path:
    return path.with_suffix(".begun")


# ==== Which rows are the cause ====

MOST = 32
"""Rows or batches of a unit that are searched for; if there are more, the whole unit is skipped."""


Result = TypeVar("Result")


Do = Callable[[Any, Any], Any]
"""Does a job on a task in another process; raises `TaskError` if that process dies."""


def note_failure(task: Task | BucketTask, why: str, attempts: int, say: Callable[[str], None]) -> bool:
    """Record that a task has failed; return whether it gets a retry."""
    failures = read_failures(task.failures)
    failures = replace(failures, tries=failures.tries + 1, last=why)
    write_failures(task.failures, failures)
    again = failures.tries < attempts
    then = "retrying" if again else "searching for the cause"
    say(f"{name_of(task)} failed ({failures.tries} of {attempts}): {why}; {then}")
    return again


def is_done(task: Task | BucketTask) -> bool:
    """Whether the files of a task are there."""
    return finished(task) is not None


def settle(do: Do, job: Callable[..., Result], task: Task | BucketTask, say: Callable[[str], None]) -> Result:
    """Do a job on a task that has no retry left, without the rows that are the cause.

    Raises `RunError` if a unit fails before its first row or with all rows skipped, and for a bucket, which
    has no rows to skip.
    """
    if isinstance(task, BucketTask):
        raise RunError(
            f"{name_of(task)} failed too often; the last error: {read_failures(task.failures).last}; "
            "finished work is kept: run the same command again, with fewer workers or smaller units if "
            "memory is short"
        )
    _find_rows(do, task, say)
    try:
        return do(job, task)  # type: ignore[no-any-return]
    except TaskError as error:
        _skip_all(task, str(error), say)
    try:
        return do(job, task)  # type: ignore[no-any-return]
    except TaskError as error:
        raise RunError(f"{name_of(task)} fails even without its rows: {error}; check that file") from None


def _find_rows(do: Do, task: Task, say: Callable[[str], None]) -> None:
    """Skip rows until the unit can be labelled."""
    for _ in range(MOST):
        try:
            do(label_batches, task)
        except TaskError as error:
            place, why = error.at, str(error)
        else:
            return
        if place is None:
            raise RunError(f"{name_of(task)} cannot be read: {why}; check that file")
        try:
            do(label_rows, Probe(task, place))
        except TaskError as error:
            place, why = error.at or place, str(error)
        _skip(do, Probe(task, place, why), say)
    _skip_all(task, f"{why}, and more than {MOST} others failed too", say)


def name_of(task: Task | BucketTask) -> str:
    """Return the name of a task, for messages."""
    if isinstance(task, BucketTask):
        return f"bucket {task.number} of the shuffle"
    pieces = task.unit.slices
    more = f" and {len(pieces) - 1} more" if len(pieces) > 1 else ""
    return f"unit {task.unit.number} ({pieces[0].source} from row {pieces[0].start_row}{more})"


def _skip(do: Do, probe: Probe, say: Callable[[str], None]) -> None:
    rows, source = probe.place.rows, probe.piece.source
    try:
        lines: list[Reject] = do(lines_of, probe)
    except TaskError:  # not even their text can be read
        lines = [Reject(source, row, None, "crashed", probe.why, None) for row in rows]
    failures = read_failures(probe.task.failures)
    skipped = [SkippedRow(probe.place.piece, line) for line in lines]
    write_failures(probe.task.failures, replace(failures, rows=(*failures.rows, *skipped)))
    which = f"row {rows[0]}" if len(rows) == 1 else f"rows {rows[0]} to {rows[-1]}"
    say(f"{which} of {source} skipped: {probe.why}")


def _skip_all(task: Task, why: str, say: Callable[[str], None]) -> None:
    write_failures(task.failures, replace(read_failures(task.failures), all_rows=why))
    say(f"all rows of {name_of(task)} skipped: {why}")


# ==== In a process that may die ====


@dataclass(frozen=True)
class Probe:
    """Rows of a unit that are examined, and why they failed."""

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
    """Label the rows of a unit that are not skipped; report each batch before it is processed."""
    del windows
    failures = read_failures(task.failures)
    for number, piece in enumerate(task.unit.slices):
        wanted = without_rows(failures.of_piece(number))

        def take(block: Block, number: int = number, wanted: Callable[[Block], Block] = wanted) -> Block:
            taken = wanted(block)
            progress.begin(number, taken.numbers)
            return taken

        for batch in read_batches(piece, task.dialects[piece.source], BATCH_ROWS, take):
            for _ in batches.parts(batch, task.dialects[piece.source]):
                pass


def label_rows(
    batches: BatchLabeller, probe: Probe, progress: Progress, windows: Windows | None = None
) -> None:
    """Label rows one by one; report each row before it is processed."""
    del windows
    for batch in _one_by_one(probe, progress):
        for _ in batches.parts(batch, probe.task.dialects[probe.piece.source]):
            pass


def lines_of(
    batches: BatchLabeller, probe: Probe, progress: Progress, windows: Windows | None = None
) -> list[Reject]:
    """Return the lines of the reject log for skipped rows."""
    del batches, windows
    lines = [reject(batch.row(0), RowError("crashed", probe.why)) for batch in _one_by_one(probe, progress)]
    return [replace(line, original=storable(line.original or "")) for line in lines]


def _one_by_one(probe: Probe, progress: Progress) -> Iterator[RowBatch]:
    """Yield batches of one row each."""
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
    """Return a function that removes these rows from a block."""
    rows = np.array([line.row for line in lines], dtype=np.int64)

    def take(block: Block) -> Block:
        skipped = np.isin(block.numbers, rows)
        return block.taken(~skipped) if skipped.any() else block

    return take
