"""Units that fail: what is known of their failures, retries, and the rows that are skipped.

    if not note_failure(task, why, attempts, say):          # no retry is left
        record = settle(do, run_unit, task, say)            # `crash_search.py`

A unit fails if its process dies, or if it raises an unexpected error. After the last retry, the cause is
searched for:

1. The unit is labelled batch by batch. If a batch raises an error, its rows are labelled one by one at once.
   So all rows that raise are found in one pass.
2. Each batch is reported before it is processed, so the batch in which the process died is known. The rows of
   that batch are labelled one by one in another process, which finds the row.
3. These rows are skipped, and the search continues until the unit can be labelled.

If no single row is the cause, the batch or the whole unit is skipped. Skipped rows go to the reject log as
`crashed`. No other row is lost. Too little memory has no row as its cause: the run ends
(`unexpected.py`).

Failures are in a file beside the work in progress (`read_failures`) and outlive the run. Attempts count over
all runs, and skipped rows are not tried again.

Cost: the work of the unit, once, and for each row that ends its process the work up to that row and three
processes. They are copies of a worker where that is safe (`runners/copies.py`), and take some hundredths of a
second each.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from ..core.atomic_files import named, write_json
from ..core.received_files import UnusableFileError, read_bounded
from ..core.records import Reject
from ..output.unit_store import finished
from ..sources.blocks import Block
from .tasks import BucketTask, Task


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


# ==== Retries ====


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


def name_of(task: Task | BucketTask) -> str:
    """Return the name of a task, for messages."""
    if isinstance(task, BucketTask):
        return task.title
    pieces = task.unit.slices
    more = f" and {len(pieces) - 1} more" if len(pieces) > 1 else ""
    return f"unit {task.unit.number} ({pieces[0].source} from row {pieces[0].start_row}{more})"


def without_rows(lines: Sequence[Reject]) -> Callable[[Block], Block]:
    """Return a function that removes these rows from a block."""
    rows = np.array([line.row for line in lines], dtype=np.int64)

    def take(block: Block) -> Block:
        skipped = np.isin(block.numbers, rows)
        return block.taken(~skipped) if skipped.any() else block

    return take
