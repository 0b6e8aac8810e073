"""A worker: another process on this machine with its own labeller. It does one task at a time.

    worker = Worker()
    worker.know(recipe, tokenizer)
    record = worker.do(setup, run_unit, task)       # raises TaskError if the process dies, or the task raises
    worker.end()

It is forked from a process that has loaded its labeller, where that is safe (`process.may_fork`). Otherwise
it is spawned and loads everything itself, because threads of libraries do not survive a fork. If it dies, the
next call spawns another process. It ignores interrupts of the terminal, which are for its parent, and it ends
when its parent ends for any reason.

Cost: a hundredth of a CPU second to fork, about three to spawn and load; 0.1 ms per call.
"""

from __future__ import annotations

import importlib
import os
import signal
import threading
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...core.errors import PremaskError, RunError, one_line
from ...core.recipe import Recipe
from ...core.redact import redact_logs
from ...labeller import load_ahead
from ...output.windows import Windows
from ...tokens.tokenizer import LoadedTokenizer
from ..batches import BatchLabeller, Setup
from ..crashes import SuspectRows, TaskError
from ..tasks import Job, Progress
from .process import (
    begin_as_copy,
    end_with_parent,
    interrupts_blocked,
    keep_what_is_loaded,
    prepare_process,
)

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

_STARTS = 3  # processes that may die before one has loaded its labeller


class NoWorkerError(RunError):
    """No process survives loading its labeller."""


class Worker:
    """A process that starts with the first call, and again after it has died.

    Only one thread at a time may call it.
    """

    def __init__(self) -> None:
        self._process: Any = None
        self._link: Connection | None = None
        self._ahead: tuple[Recipe, LoadedTokenizer] | None = None
        self._loaded = False
        self._setup: Setup | None = None
        self._starting, self._ended = threading.Lock(), False

    def start(self) -> None:
        """Have it import libraries; this needs no recipe."""
        with suppress(TaskError):  # the next call starts another one
            self._call(_prepare)

    def know(self, recipe: Recipe, tokenizer: LoadedTokenizer) -> None:
        """Set the recipe and tokenizer of its labeller, also for later restarts."""
        self._ahead = recipe, tokenizer

    def load_ahead(self) -> None:
        """Have it load what it can before the template is known."""
        with suppress(TaskError):
            self._load_first()

    def _load_first(self) -> None:
        if self._link is None:
            self._call(_prepare)
            self._loaded = False
        if not self._loaded and self._ahead is not None:
            self._call(_load_ahead, *self._ahead)
            self._loaded = True

    def fork(self, batches: BatchLabeller) -> None:
        """Start it as a copy of this process, with its labeller."""
        with self._starting, interrupts_blocked(), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of Python, about threads of libraries
            self._start("fork", _serve_copy, batches)
        self._loaded, self._setup = True, batches.setup()

    def do(self, setup: Setup, job: Job, task: Any) -> Any:
        """Do a job on a task with a labeller of this setup; return what `job` returns.

        Raises the `PremaskError` of the job, `TaskError` if the process dies or the job raises any other
        error, and `NoWorkerError` if no process survives loading its labeller.
        """
        self._make_ready(setup)
        return self._call(_do, job, task)

    def end(self) -> None:
        """Kill the process and start no other one. Nothing is lost. Thread-safe."""
        with self._starting:
            self._ended = True
        if self._process is not None:
            self._process.kill()
            self._process.join()

    def _make_ready(self, setup: Setup) -> None:
        for attempt in range(_STARTS):
            try:
                self._load_first()
                if self._setup != setup:
                    self._call(_load, setup)
                    self._setup = setup
            except TaskError as error:
                if self._ended or attempt == _STARTS - 1:
                    raise NoWorkerError(
                        f"a worker process cannot load its labeller: {error}; finished work is kept: run the "
                        "same command again, with fewer workers if memory is short"
                    ) from None
            else:
                return

    def _call(self, function: Callable[..., Any], *args: Any) -> Any:
        at: SuspectRows | None = None
        try:
            link = self._link or self._started()
            link.send((function, args))
            while True:
                kind, value = link.recv()
                if kind != "at":
                    break
                at = value
        except (EOFError, OSError):
            raise TaskError(self._how_it_ended(), at) from None
        if kind == "raised":
            if not isinstance(value, PremaskError):
                self._process.kill()  # its state is unknown
                self._how_it_ended()
                raise TaskError(str(value), at)
            raise value
        return value

    def _started(self) -> Connection:
        with self._starting:
            if self._ended:
                raise EOFError
            with interrupts_blocked():  # the process inherits this
                return self._start("spawn", _serve)

    def _start(self, method: str, target: Callable[..., None], *args: Any) -> Connection:
        import multiprocessing  # noqa: PLC0415  a run of one unit starts no worker

        context: Any = multiprocessing.get_context(method)
        ours, theirs = context.Pipe()
        self._process = context.Process(target=target, args=(theirs, *args), daemon=True)
        self._process.start()
        theirs.close()
        link: Connection = ours
        self._link = link
        return link

    def _how_it_ended(self) -> str:
        """Wait for the end of the process; return how it ended."""
        self._link, self._setup = None, None
        if self._process is None:
            return "it was ended"
        self._process.join()
        code = self._process.exitcode
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            return f"its process ended by {name}{' (out of memory?)' if name == 'SIGKILL' else ''}"
        return f"its process ended with exit code {code}"


# ==== In the other process ====


class _Mine(NamedTuple):
    batches: BatchLabeller
    windows: Windows


_tokenizer: LoadedTokenizer | None = None


_mine: _Mine | None = None


_link: Connection | None = None


def _serve_copy(link: Connection, batches: BatchLabeller) -> None:
    """Answer calls in a copy of a process that has loaded its labeller."""
    global _mine  # noqa: PLW0603  loaded once for all tasks of a process
    begin_as_copy()
    _mine = _Mine(batches, Windows(batches.recipe.pack_window))
    keep_what_is_loaded()
    _serve(link)


def _serve(link: Connection) -> None:
    """Answer calls until the other end of the link is closed."""
    global _link  # noqa: PLW0603  reports of a task use the same link as its result
    _link = link
    redact_logs()
    end_with_parent()
    with suppress(EOFError, OSError):
        while True:
            function, args = link.recv()
            try:
                answer = "done", function(*args)
            except PremaskError as error:
                answer = "raised", error
            except OSError as error:
                answer = "raised", system_error(error)
            except Exception as error:  # noqa: BLE001  any error is sent to the other end
                answer = "raised", describe(error)
            link.send(answer)
    os._exit(0)


def system_error(error: OSError) -> RunError:
    """Return the error of the run for one of the system, such as a full disk. No row is its cause."""
    return RunError(f"{describe(error)}; finished work is kept: fix the cause and run the same command again")


def describe(error: Exception) -> str:
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


_PACKAGE = Path(__file__).resolve().parents[2]


def _prepare() -> None:
    """Import libraries. It takes most of a second and needs no recipe."""
    prepare_process()
    with suppress(ImportError):
        importlib.import_module("gigatoken")


def _load_ahead(recipe: Recipe, tokenizer: LoadedTokenizer) -> None:
    global _tokenizer  # noqa: PLW0603  the labeller of this process is made from it
    _tokenizer = tokenizer
    load_ahead(recipe, tokenizer)


def _load(setup: Setup) -> None:
    global _mine  # noqa: PLW0603  loaded once for all tasks of a process
    if _tokenizer is None:
        raise RunError("the worker has not loaded its tokenizer")
    _mine = _Mine(setup.load(_tokenizer), Windows(setup.recipe.pack_window))
    keep_what_is_loaded()


def _do(job: Job, task: Any) -> Any:
    if _mine is None:
        raise RunError("the worker has not loaded its labeller")
    return job(_mine.batches, task, _Reporter(), _mine.windows)


class _Reporter(Progress):
    """Reports the position of a task to the other end, in case this process dies."""

    def begin(self, piece: int, rows: np.ndarray) -> None:
        if _link is not None:
            _link.send(("at", SuspectRows(piece, tuple(rows.tolist()))))
