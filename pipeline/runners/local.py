"""The local runner: units in this process and in others of this machine.

    with LocalRunner(processes=4) as runner:            # three others start, beside what is done meanwhile
        records = runner.run(tasks, stages, progress)

The others are spawned (never forked: threads of libraries do not survive that), load tokenizer and template
once, and take one unit after another, as this process does. None is waited for: a unit goes to whoever is
ready first. What comes out does not depend on how many there are. A process costs about two CPU-seconds to
start, so there should never be more than units.
"""

from __future__ import annotations

import gc
import importlib
import multiprocessing
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from typing import Any

from ..errors import RunError
from ..process import prepare_process, without_old_garbage
from ..progress import Progress
from ..recipe import Recipe
from ..scatter import BucketTask, pack_bucket
from ..shards import UnitRecord
from ..stages import Loaded, Setup, Stages, load_ahead
from ..tokenizer import LoadedTokenizer
from ..units import Task, rows_of, run_unit, scan_unit
from ..windows import Windows

Job = Callable[[Stages, Any, "Progress | None", "Windows | None"], "UnitRecord | None"]
"""What is done on a task: `run_unit`, `pack_bucket`, or `scan_unit`, which makes no record."""


class LocalRunner:
    """Runs tasks in this process and in `processes - 1` others, which start at once and end with the `with`
    block."""

    def __init__(self, processes: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._others = [ProcessPoolExecutor(1, mp_context=context) for _ in range(processes - 1)]

    def __enter__(self) -> LocalRunner:
        with _deaf_to_interrupts():  # what they inherit; the interrupt is this process's to handle
            for other in self._others:
                other.submit(_prepare)
        return self

    def __exit__(self, *error: object) -> None:
        for other in self._others:
            other.shutdown(wait=True, cancel_futures=True)

    def load_ahead(self, recipe: Recipe, tokenizer: LoadedTokenizer) -> None:
        """Have the others load what they can before the stages are known; returns at once."""
        for other in self._others:
            with suppress(BrokenProcessPool):  # `run` will say so
                other.submit(_load_ahead, recipe, tokenizer.without_hf())

    def scan(self, tasks: Sequence[Task], stages: Stages) -> None:
        """Have the rows of all tasks hashed, which is what finding duplicates takes; raises as `run` does."""
        self._do(scan_unit, tasks, stages, Progress())

    def run(self, tasks: Sequence[Task], stages: Stages, progress: Progress) -> list[UnitRecord]:
        """Do all tasks and return their records in order.

        `stages` do the work of this process; those of the others are made from what they have loaded. Raises
        `RunError` if another process dies, and what `run_unit` raises.
        """
        records = self._do(run_unit, tasks, stages, progress)
        return [records[number] for number in range(len(tasks))]

    def pack(self, tasks: Sequence[BucketTask], stages: Stages, progress: Progress) -> list[UnitRecord]:
        """Pack buckets, in order, once all units are scattered; raises as `run` does."""
        records = self._do(pack_bucket, tasks, stages, progress)
        return [records[number] for number in range(len(tasks))]

    def _do(
        self, job: Job, tasks: Sequence[Any], stages: Stages, progress: Progress
    ) -> Mapping[int, UnitRecord]:
        """Do one job on all tasks."""
        todo, shown = _Todo(job, tasks), _Locked(progress)
        setup = stages.setup()
        with ThreadPoolExecutor(max(1, len(self._others))) as threads:
            helpers: list[Future[None]] = []
            try:
                helpers += [threads.submit(_have_done, other, setup, todo, shown) for other in self._others]
                windows = Windows(stages.recipe.pack_window)
                with without_old_garbage():
                    for number, task in todo:
                        todo.done(number, job(stages, task, shown, windows))
            finally:
                todo.end()
            for helper in helpers:
                helper.result()
        return todo.records


class _Todo:
    """The tasks that nobody has taken yet, each with its number, and the records of those that are done.

    Taking one is safe from any thread.
    """

    def __init__(self, job: Job, tasks: Sequence[Any]) -> None:
        self.job = job
        self.records: dict[int, UnitRecord] = {}
        self._left = deque(enumerate(tasks))

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        with suppress(IndexError):
            while True:
                yield self._left.popleft()

    def done(self, number: int, record: UnitRecord | None) -> None:
        """Keep the record of a task that is done, if the job makes any."""
        if record is not None:
            self.records[number] = record

    def end(self) -> None:
        """Let nobody take another one."""
        self._left.clear()


class _Locked(Progress):
    """Passes on how the run goes, from one thread at a time."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._lock = progress, threading.Lock()

    def advance(self, rows: int, tokens: int, packs: int) -> None:
        with self._lock:
            self._progress.advance(rows, tokens, packs)


def _have_done(other: ProcessPoolExecutor, setup: Setup, todo: _Todo, progress: Progress) -> None:
    """Have another process do tasks until none is left; the work of one thread."""
    try:
        other.submit(_load, setup).result()
        for number, task in todo:
            record = other.submit(_work, todo.job, task).result()
            todo.done(number, record)
            if record is not None:
                progress.advance(rows_of(record), record.tokens, record.packs)
    except BrokenProcessPool:
        todo.end()
        raise RunError(
            "a worker process died (killed, or out of memory); what is done is kept: run the same "
            "command again to go on, with fewer workers if memory is short"
        ) from None
    except BaseException:
        todo.end()
        raise


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # only that one may say so
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


# ==== In another process ====

_tokenizer: LoadedTokenizer | None = None
_worker: tuple[Stages, Windows] | None = None


def _prepare() -> None:
    """Import what will be needed: the better part of a second, and nothing has to be known for it."""
    prepare_process()
    with suppress(ImportError):
        importlib.import_module("gigatoken")


def _load_ahead(recipe: Recipe, tokenizer: LoadedTokenizer) -> None:
    global _tokenizer  # noqa: PLW0603  the same process will make its stages from it
    _tokenizer = tokenizer
    load_ahead(recipe, tokenizer)


def _load(setup: Setup) -> None:
    global _worker  # noqa: PLW0603  one load for all the units that a process does
    if _tokenizer is None:
        raise RunError("the worker has not loaded its tokenizer")
    stages = Stages(setup.recipe, Loaded(_tokenizer, setup.proof), distrust=setup.distrust)
    _worker = stages, Windows(setup.recipe.pack_window)
    gc.freeze()


def _work(job: Job, task: Any) -> UnitRecord | None:
    if _worker is None:
        raise RunError("the worker has not loaded its stages")
    stages, windows = _worker
    return job(stages, task, None, windows)
