"""A unit that fails: how often it is tried, which rows are the cause, and the unit without them.

    if not note_failure(task, why, attempts, say):          # that was once too often
        record = settle(do, run_unit, task, say)            # do(job, task) works in a process that may die

The unit is labelled batch by batch, and each batch is told before it is looked at: so it is known where the
process died. Its rows are labelled one by one in the next process, which gives away the very row. That row
is set aside (`failures.py`), and so on until the unit goes through. If it is no single row, a batch or the
whole unit is set aside. What is set aside goes to the ledger as `crashed`, and nothing else is lost.

Cost: two processes a row that is found, and the work of the unit up to there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from .blocks import Block
from .core.errors import RowError, RunError
from .core.records import Reject, Slice
from .core.text import storable
from .failures import Place, SetAside, TaskError, read_failures, write_failures
from .fast.plain_batches import BATCH_ROWS, RowBatch, read_batches
from .labeller import Stages, reject
from .output.store import finished
from .output.windows import Windows
from .progress import Progress
from .scatter import BucketTask
from .units import Task, without_rows

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
    place: Place
    why: str = ""

    @property
    def piece(self) -> Slice:
        """The slice that they are in."""
        return self.task.unit.slices[self.place.piece]


def label_batches(stages: Stages, task: Task, progress: Progress, windows: Windows | None = None) -> None:
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
            stages.run(batch, task.dialects[piece.source])


def label_rows(stages: Stages, probe: Probe, progress: Progress, windows: Windows | None = None) -> None:
    """Label some rows one by one, and tell each before it is looked at."""
    del windows
    for batch in _one_by_one(probe, progress):
        stages.run(batch, probe.task.dialects[probe.piece.source])


def lines_of(
    stages: Stages, probe: Probe, progress: Progress, windows: Windows | None = None
) -> list[Reject]:
    """The lines of the ledger for rows that are set aside."""
    del stages, windows
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
