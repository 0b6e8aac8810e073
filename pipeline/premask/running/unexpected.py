"""Errors that nobody expects: which row may be the cause, and which the machine.

    try:
        ...
    except BaseException as error:
        why = describe(unexpected(error))       # in one line; what is no fault of a row is raised

A task that ends its process, or raises such an error, has failed (`TaskError`). What happens then is in
`crashes.py`.
"""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import NamedTuple

from ..core.errors import PremaskError, RunError, one_line


class SuspectRows(NamedTuple):
    """Rows of a slice of a unit, by their numbers in the file."""

    piece: int
    rows: tuple[int, ...]


class TaskError(Exception):
    """A task ended its process, or raised an unexpected error; `at` is the last position that it reported."""

    def __init__(self, why: str, at: SuspectRows | None = None) -> None:
        super().__init__(why)
        self.at = at


def unexpected(error: BaseException) -> BaseException:
    """Return an error that a row may be the cause of; raise any other one.

    A Rust library that panics raises an error that is no `Exception`. Raises interrupts and errors of
    premask as they are, and `RunError` for what the machine lacks.
    """
    if isinstance(error, (PremaskError, KeyboardInterrupt, SystemExit, GeneratorExit)):
        raise error
    if (shortage := of_machine(error)) is not None:
        raise shortage from None
    return error


def of_machine(error: BaseException) -> RunError | None:
    """Return the error of the run for one of the system, such as a full disk or too little memory; None if
    it is another one. No row is its cause."""
    if isinstance(error, MemoryError) or any(sign in str(error) for sign in _SHORTAGE):
        return RunError(
            f"memory is short ({describe(error)}); finished work is kept: run the same command again with "
            "more memory, or with fewer workers"
        )
    if isinstance(error, OSError):
        return RunError(
            f"{describe(error)}; finished work is kept: fix the cause and run the same command again"
        )
    return None


_SHORTAGE = ("Failed to launch worker thread", "can't start new thread", "Cannot allocate memory")
"""What Arrow and Python say in other errors than `MemoryError` if there is no memory for one more thread."""


def describe(error: BaseException) -> str:
    """Describe an unexpected error in one line, with the file and line in this package that raised it.

    >>> describe(KeyError("role"))
    "KeyError: 'role'"
    """
    text = one_line(error, 300)
    lines = [
        f"{Path(frame.filename).name}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(_PACKAGE)
    ]
    return f"{type(error).__name__}: {text}" + (f" ({lines[-1]})" if lines else "")


_PACKAGE = Path(__file__).resolve().parents[1]
