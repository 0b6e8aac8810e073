"""A worker: another process on this machine with its own labeller. It does one task at a time.

    worker = Worker()
    worker.know(recipe, tokenizer)
    record = worker.do(setup, run_unit, task)       # raises TaskError if the process dies, or the task raises
    worker.end()

It is forked from a process that has loaded its labeller, where that is safe (`process.may_fork`). Otherwise
it is spawned and loads everything itself, because threads of libraries do not survive a fork. If it dies, the
next call spawns another process. From then on it does tasks in copies of itself where that is safe
(`copies.py`), so that the next row that ends a process ends a copy. It ignores signals of the terminal, which
are for its parent, and it ends when its parent ends for any reason.

Cost: a hundredth of a CPU second to fork, about three to spawn and load; 0.1 ms per call.
"""

from __future__ import annotations

import importlib
import os
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from ...core.errors import PremaskError, RunError
from ...core.recipe import Recipe
from ...core.redact import redact_logs
from ...labeller import load_ahead
from ...output.windows import Windows
from ...tokens.tokenizer import LoadedTokenizer
from ..batches import BatchLabeller, Setup
from ..crash_search import settle
from ..tasks import Job, Progress
from ..unexpected import SuspectRows, TaskError
from .copies import Reporter, answer_of, how_it_ended, in_copy, may_copy
from .process import (
    begin_as_copy,
    end_with_parent,
    interrupts_blocked,
    keep_what_is_loaded,
    main_hidden,
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
        self._has_died = False

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

    def do(self, setup: Setup, job: Job, task: Any, progress: Progress | None = None) -> Any:
        """Do a job on a task with a labeller of this setup; return what `job` returns. `progress` receives
        work that is done meanwhile, but maybe not the last of it.

        Raises the `PremaskError` of the job, `TaskError` if the process dies or the job raises any other
        error, and `NoWorkerError` if no process survives loading its labeller.
        """
        self._make_ready(setup)
        return self._call(_do_in_copy if self._has_died else _do, job, task, progress=progress)

    def do_again(self, setup: Setup, job: Job, task: Any, progress: Progress | None = None) -> Any:
        """Do a job as `do`, on a task that has failed before: in a copy of the process, if possible."""
        self._make_ready(setup)
        return self._call(_do_in_copy, job, task, progress=progress)

    def settle(self, setup: Setup, job: Job, task: Any, say: Callable[[str], None]) -> Any:
        """Do a job without the rows that are the cause of its failures (`crash_search.settle`)."""
        return settle(partial(self.do_again, setup), job, task, say)

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

    def _call(self, function: Callable[..., Any], *args: Any, progress: Progress | None = None) -> Any:
        at: SuspectRows | None = None
        try:
            link = self._link or self._started()
            link.send((function, args))
            while True:
                kind, value = link.recv()
                if kind == "did" and progress is not None:
                    progress.advance(*value)
                elif kind == "at":
                    at = value
                elif kind != "did":
                    break
        except (EOFError, OSError):
            raise TaskError(self._how_it_ended(), at) from None
        if kind == "raised":
            raise value if isinstance(value, PremaskError) else TaskError(str(value), at)
        return value

    def _started(self) -> Connection:
        with self._starting:
            if self._ended:
                raise EOFError
            with interrupts_blocked(), main_hidden():  # the process inherits the first
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
        self._has_died = self._has_died or self._loaded
        self._process.join()
        return how_it_ended(self._process.exitcode)


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
    _mine = _Mine(batches, Windows(batches.recipe.pack_window, batches.recipe.together))
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
            link.send(answer_of(function, *args))
    os._exit(0)


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
    _mine = _Mine(setup.load(_tokenizer), Windows(setup.recipe.pack_window, setup.recipe.together))
    keep_what_is_loaded()


def _do(job: Job, task: Any) -> Any:
    global _mine  # noqa: PLW0603  loaded once for all tasks of a process
    mine = _loaded()
    try:
        return job(mine.batches, task, Reporter(_link), mine.windows)
    except BaseException:  # in the middle of something
        recipe = mine.batches.recipe
        _mine = _Mine(mine.batches.anew(), Windows(recipe.pack_window, recipe.together))
        raise


def _do_in_copy(job: Job, task: Any) -> Any:
    if _link is None or not may_copy():
        return _do(job, task)
    mine = _loaded()
    return in_copy(_link, lambda reporter: job(mine.batches, task, reporter, mine.windows))


def _loaded() -> _Mine:
    if _mine is None:
        raise RunError("the worker has not loaded its labeller")
    return _mine
