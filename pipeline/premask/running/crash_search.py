"""The search for rows that make a unit fail, and the unit without them.

    record = settle(do, run_unit, task, say)            # do(job, task) uses a process that may die

How it is searched: `crashes.py`. Each `do` may use another process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import Any, TypeVar

import numpy as np

from ..core.errors import RowError, RunError
from ..core.records import Reject, Slice
from ..core.text import storable
from ..dialects import Form
from ..fast.plain_batches import BATCH_ROWS, RowBatch, read_batches
from ..labeller import reject
from ..output.windows import Windows
from ..sources.blocks import Block
from .batches import BatchLabeller
from .crashes import SkippedRow, name_of, read_failures, without_rows, write_failures
from .tasks import BucketTask, Progress, Task
from .unexpected import SuspectRows, TaskError, describe, unexpected

MOST = 100
"""Rows or batches of a unit that end a process and are searched for; if there are more, the whole unit is
skipped."""


Result = TypeVar("Result")


Do = Callable[[Any, Any], Any]
"""Does a job on a task in another process; raises `TaskError` if that process dies."""


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
            raising: list[SkippedRow] = do(label_batches, task)
        except TaskError as error:
            place, why = error.at, str(error)
        else:
            return _note_skipped(task, raising, say)
        if place is None:
            raise RunError(f"{name_of(task)} cannot be read: {why}; check that file")
        try:
            do(label_rows, Probe(task, place))
        except TaskError as error:
            place, why = error.at or place, str(error)
        _skip(do, Probe(task, place, why), say)
    return _skip_all(task, f"{why}, and more than {MOST} others failed too", say)


def _skip(do: Do, probe: Probe, say: Callable[[str], None]) -> None:
    """Skip rows that end their process."""
    rows, source = probe.place.rows, probe.piece.source
    try:
        lines: list[Reject] = do(lines_of, probe)
    except TaskError:  # not even their text can be read
        lines = [Reject(source, row, None, "crashed", probe.why, None) for row in rows]
    _note_skipped(probe.task, [SkippedRow(probe.place.piece, line) for line in lines], say)


def _note_skipped(task: Task, skipped: Sequence[SkippedRow], say: Callable[[str], None]) -> None:
    """Skip rows, and report it: one line for rows that follow each other and have one cause."""
    if not skipped:
        return
    failures = read_failures(task.failures)
    write_failures(task.failures, replace(failures, rows=(*failures.rows, *skipped)))
    for (piece, why), each in groupby(skipped, lambda row: (row.piece, row.line.detail)):
        rows = [row.line.row for row in each]
        which = f"row {rows[0]}" if len(rows) == 1 else f"rows {rows[0]} to {rows[-1]}"
        say(f"{which} of {task.unit.slices[piece].source} skipped: {why}")


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
) -> list[SkippedRow]:
    """Label the rows of a unit that are not skipped; return those that raise an error.

    Each batch is reported before it is processed, and each row of a batch that raises an error.
    """
    del windows
    failures, found = read_failures(task.failures), list[SkippedRow]()
    for number, piece in enumerate(task.unit.slices):
        wanted, dialect = without_rows(failures.of_piece(number)), task.dialects[piece.source]

        def take(block: Block, number: int = number, wanted: Callable[[Block], Block] = wanted) -> Block:
            taken = wanted(block)
            progress.begin(number, taken.numbers)
            return taken

        for batch in read_batches(piece, dialect, BATCH_ROWS, take):
            if not (why := _raised(batches, batch, dialect)):
                continue
            lines = _raising_rows(batches, batch, dialect, partial(progress.begin, number))
            found += [SkippedRow(number, line) for line in lines or _crashed(batch, why)]
    return found


def _raising_rows(
    batches: BatchLabeller, batch: RowBatch, dialect: Form, begin: Callable[[np.ndarray], None]
) -> list[Reject]:
    """Return the rows of a batch that raise an error by themselves."""
    batches, found = batches.anew(), list[Reject]()
    for at in range(len(batch)):
        row = batch.cut(at, at + 1)
        begin(row.numbers)
        if why := _raised(batches, row, dialect):
            found += _crashed(row, why)
            batches = batches.anew()
    begin(batch.numbers)  # what comes next is no longer the last row
    return found


def _raised(batches: BatchLabeller, batch: RowBatch, dialect: Form) -> str:
    """Label a batch; return the error that it raises, empty if it raises none."""
    try:
        for _ in batches.parts(batch, dialect):
            pass
    except BaseException as error:  # noqa: BLE001  `unexpected` raises what is no fault of a row
        return describe(unexpected(error))
    return ""


def _crashed(batch: RowBatch, why: str) -> list[Reject]:
    """Return the lines of the reject log for the rows of a batch."""
    lines = [reject(batch.row(at), RowError("crashed", why)) for at in range(len(batch))]
    return [replace(line, original=storable(line.original or "")) for line in lines]


def label_rows(
    batches: BatchLabeller, probe: Probe, progress: Progress, windows: Windows | None = None
) -> None:
    """Label rows one by one; report each row before it is processed."""
    del windows
    for batch in _one_by_one(probe, progress):
        _raised(batches, batch, probe.task.dialects[probe.piece.source])


def lines_of(
    batches: BatchLabeller, probe: Probe, progress: Progress, windows: Windows | None = None
) -> list[Reject]:
    """Return the lines of the reject log for skipped rows."""
    del batches, windows
    return [line for batch in _one_by_one(probe, progress) for line in _crashed(batch, probe.why)]


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
