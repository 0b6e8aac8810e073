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
from ..fast.plain_batches import BATCH_ROWS, RowBatch, read_batches, read_single_rows
from ..labeller import reject
from ..output.windows import Windows
from ..sources.blocks import Block
from ..sources.mapping import as_read
from .batches import BatchLabeller
from .crashes import Failures, SkippedRow, name_of, read_failures, without_rows, write_failures
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
        last = read_failures(task.failures).last
        task.failures.unlink(missing_ok=True)  # the same command tries again
        raise RunError(
            f"{name_of(task)} failed too often; the last error: {last}; finished work is kept: run the same "
            "command again, with fewer workers or smaller units if memory is short"
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
    start, deaths, why = None, 0, ""
    while deaths <= MOST:
        before, why = read_failures(task.failures), ""
        try:
            do(label_batches, Search(task, start))
        except TaskError as error:
            start, why = error.at, str(error)
        _report_new(task, before, say)
        if not why:
            return
        if start is None:
            raise RunError(f"{name_of(task)} cannot be read: {why}; check that file")
        deaths += _find_in_batch(do, Search(task, start, why), MOST - deaths, say)
    _skip_all(task, f"{why}, and more than {MOST} others failed too", say)


def _find_in_batch(do: Do, search: Search, most: int, say: Callable[[str], None]) -> int:
    """Skip the rows of a batch that end a process one by one; return how many, which is at most `most` and
    one. If no single row does, skip all of them."""
    left, found, before = search.rows, 0, read_failures(search.task.failures)
    while left and found <= most:
        try:
            do(label_rows, search.of(left))
        except TaskError as error:
            rows, why = error.at.rows if error.at else left, str(error)
        else:
            break
        _skip(do, search.of(rows, why))
        left, found = tuple(row for row in left if row > rows[-1]), found + 1
    if not found:
        _skip(do, search)
    _report_new(search.task, before, say)
    return max(1, found)


def _skip(do: Do, search: Search) -> None:
    """Skip rows that end their process."""
    try:
        lines: list[Reject] = do(lines_of, search)
    except TaskError:  # not even their text can be read
        lines = [Reject(search.piece.source, row, None, "crashed", search.why, None) for row in search.rows]
    _note_skipped(search, lines)


def _note_skipped(search: Search, lines: Sequence[Reject]) -> None:
    failures, number = read_failures(search.task.failures), search.at.piece
    rows = [SkippedRow(number, line) for line in lines]
    write_failures(search.task.failures, replace(failures, rows=(*failures.rows, *rows)))


def _report_new(task: Task, before: Failures, say: Callable[[str], None]) -> None:
    """Report rows that were skipped meanwhile: one line for those of one file and cause."""
    known = {(each.piece, each.line.row) for each in before.rows}
    new = [each for each in read_failures(task.failures).rows if (each.piece, each.line.row) not in known]
    for (piece, why), each in groupby(new, lambda row: (row.piece, row.line.detail)):
        say(f"{_names_of([row.line.row for row in each])} of {task.unit.slices[piece].source} skipped: {why}")


def _names_of(rows: Sequence[int]) -> str:
    """Name some rows.

    >>> _names_of([7]), _names_of([7, 8, 9]), _names_of([7, 9, 20])
    ('row 7', 'rows 7 to 9', '3 rows from 7 to 20')
    """
    if len(rows) == 1:
        return f"row {rows[0]}"
    together = rows[-1] - rows[0] == len(rows) - 1
    return f"{'rows' if together else f'{len(rows)} rows from'} {rows[0]} to {rows[-1]}"


def _skip_all(task: Task, why: str, say: Callable[[str], None]) -> None:
    write_failures(task.failures, replace(read_failures(task.failures), all_rows=why))
    say(f"all rows of {name_of(task)} skipped: {why}")


# ==== In a process that may die ====


@dataclass(frozen=True)
class Search:
    """Rows of a unit that are examined, and why they failed; without `place`, all rows."""

    task: Task
    place: SuspectRows | None = None
    why: str = ""

    @property
    def at(self) -> SuspectRows:
        """The place of the rows."""
        return self.place or SuspectRows(0, (0,))

    @property
    def rows(self) -> tuple[int, ...]:
        """The numbers of the rows."""
        return self.at.rows

    @property
    def piece(self) -> Slice:
        """The slice that they are in."""
        return self.task.unit.slices[self.at.piece]

    @property
    def dialect(self) -> Form:
        """The dialect of the slice."""
        return self.task.dialects[self.piece.source]

    def of(self, rows: tuple[int, ...], why: str = "") -> Search:
        """Return the same for other rows of the slice."""
        return replace(self, place=SuspectRows(self.at.piece, rows), why=why)

    def in_slice(self, number: int) -> Search:
        """Return the same for all rows of another slice."""
        return replace(self, place=SuspectRows(number, (self.task.unit.slices[number].start_row,)))


def label_batches(
    batches: BatchLabeller, search: Search, progress: Progress, windows: Windows | None = None
) -> None:
    """Label the rows of a unit that are not skipped, from the first of some rows on; skip those that raise
    an error.

    Each batch is reported before it is processed, and each row of a batch that raises an error.
    """
    del windows
    _label_batches(batches, search, progress)
    for number in range(search.at.piece + 1, len(search.task.unit.slices)):
        _label_batches(batches, search.in_slice(number), progress)


def _label_batches(batches: BatchLabeller, search: Search, progress: Progress) -> None:
    wanted = without_rows(read_failures(search.task.failures).of_piece(search.at.piece))
    first = search.rows[0] if search.place else search.piece.start_row

    def take(block: Block) -> Block:
        taken = wanted(block.taken(block.numbers >= first))
        if len(taken.numbers):
            progress.begin(search.at.piece, taken.numbers)
        return taken

    for batch in read_batches(search.piece, search.dialect, BATCH_ROWS, take):
        why = _raised(batches, batch, search.dialect)
        if why and not _skip_raising(batches, batch, search, progress):
            _note_skipped(search, _crashed(batch, why))


def _skip_raising(batches: BatchLabeller, batch: RowBatch, search: Search, progress: Progress) -> bool:
    """Skip the rows of a batch that raise an error by themselves; return whether there is one."""
    batches, found = batches.anew(), False
    for at in range(len(batch)):
        row = batch.cut(at, at + 1)
        progress.begin(search.at.piece, row.numbers)
        if why := _raised(batches, row, search.dialect):
            _note_skipped(search, _crashed(row, why))
            batches, found = batches.anew(), True
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
    batches: BatchLabeller, search: Search, progress: Progress, windows: Windows | None = None
) -> None:
    """Label rows one by one; report each row before it is processed."""
    del windows
    for row in _one_by_one(search, progress):
        _raised(batches, row, search.dialect)


def lines_of(
    batches: BatchLabeller, search: Search, progress: Progress, windows: Windows | None = None
) -> list[Reject]:
    """Return the lines of the reject log for skipped rows."""
    del batches, windows
    return [line for row in _one_by_one(search, progress, as_read) for line in _crashed(row, search.why)]


def _one_by_one(
    search: Search, progress: Progress, change: Callable[[Slice], Slice] = lambda piece: piece
) -> Iterator[RowBatch]:
    """Yield batches of one row each."""
    wanted, begin = np.array(search.rows, dtype=np.int64), partial(progress.begin, search.at.piece)
    return read_single_rows(change(search.piece), search.dialect, wanted, begin)
