"""Copies of a worker: each does one task and ends.

    value = in_copy(link, lambda reporter: job(batches, task, reporter, windows))

A task that has failed is done in a copy of the worker. If a row ends the copy, the worker with its labeller
remains. Otherwise a search for many such rows (`crash_search.py`) would start a new worker for each of them.

Cost: some hundredths of a second, to fork a process with a large tokenizer.
"""

from __future__ import annotations

import os
import signal
import time
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from ...core.errors import PremaskError
from ..tasks import Progress
from ..unexpected import SuspectRows, TaskError, describe, of_machine
from .process import end_with, may_fork

_HINTS = {
    "SIGKILL": " (out of memory?)",
    "SIGXCPU": " (too much CPU time)",
    "SIGVTALRM": " (too much CPU time)",
    "SIGPROF": " (too much CPU time)",
}


REPORT_S = 0.25
"""Seconds between two reports of how far a task is."""


class Reporter(Progress):
    """Reports to the other end of a link how far a task is, and its position, in case this process dies."""

    def __init__(self, link: Connection | None) -> None:
        self._link, self._last = link, time.monotonic()
        self._done = np.zeros(3, dtype=np.int64)

    def advance(self, rows: int, tokens: int, packs: int) -> None:
        self._done += (rows, tokens, packs)
        if self._link is not None and time.monotonic() - self._last >= REPORT_S:
            self._link.send(("did", tuple(self._done.tolist())))
            self._last = time.monotonic()
            self._done[:] = 0

    def begin(self, piece: int, rows: np.ndarray) -> None:
        if self._link is not None:
            self._link.send(("at", SuspectRows(piece, tuple(rows.tolist()))))


def answer_of(function: Callable[..., Any], *args: Any) -> tuple[str, Any]:
    """Call a function; return what it returns or raises, as it is sent to the other end of a link."""
    try:
        return "done", function(*args)
    except PremaskError as error:
        return "raised", error
    except TaskError as error:
        return "raised", str(error)
    except BaseException as error:  # noqa: BLE001  a panic of a Rust library is no `Exception`
        return "raised", of_machine(error) or describe(error)


def how_it_ended(code: int | None) -> str:
    """Return how a process ended, by its exit code; a signal is a negative one.

    >>> how_it_ended(-9), how_it_ended(1)
    ('its process ended by SIGKILL (out of memory?)', 'its process ended with exit code 1')
    """
    if code is None or code >= 0:
        return f"its process ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:  # of the real-time signals, not all have names
        name = f"signal {-code}"
    return f"its process ended by {name}{_HINTS.get(name, '')}"


def may_copy() -> bool:
    """Whether a copy of this worker can go on with its work. Its thread that waits for the parent is not
    needed there."""
    return may_fork(own_threads=2)


def in_copy(link: Connection, work: Callable[[Reporter], Any]) -> Any:
    """Do some work in a copy of this process, whose reports go to the same link.

    Raises the `PremaskError` of the work, and `TaskError` if the copy dies or the work raises another error.
    """
    reading, writing = _pipe()
    worker = os.getpid()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Python, about the thread that waits
        child = os.fork()
    if not child:
        reading.close()
        end_with(worker)
        writing.send(answer_of(work, Reporter(link)))
        os._exit(0)
    writing.close()
    try:
        kind, value = reading.recv()
    except EOFError:
        kind, value = "died", ""
    finally:
        reading.close()
        _, status = os.waitpid(child, 0)
    if kind == "done":
        return value
    if isinstance(value, PremaskError):
        raise value
    raise TaskError(value or how_it_ended(os.waitstatus_to_exitcode(status)))


def _pipe() -> tuple[Connection, Connection]:
    reading, writing = os.pipe()
    return Connection(reading, writable=False), Connection(writing, readable=False)
