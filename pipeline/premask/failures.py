"""What is known of a unit that failed: how often, and the rows that are set aside for it.

    failures = read_failures(task.failures)
    write_failures(task.failures, replace(failures, tries=failures.tries + 1))

A unit fails when the process that does it dies, or when it raises what no unit should raise. The file lies
beside the work in progress, so that what was learnt outlives the run: a unit is tried a few times in all, and
rows that were found to be the cause are not taken up again. They go to the ledger, with reason `crashed`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from .core.atomic_files import named, write_json
from .core.records import Reject


class Place(NamedTuple):
    """Rows of a slice of a unit, by their numbers in the file."""

    piece: int
    rows: tuple[int, ...]


class TaskError(Exception):
    """A task took its process down, or raised what no task should raise; `at` is where it was, if it said
    so."""

    def __init__(self, why: str, at: Place | None = None) -> None:
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
