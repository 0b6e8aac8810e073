"""The local runner: units in this process and in others of this machine.

    with LocalRunner(processes=4) as runner:
        runner.load_ahead(recipe, tokenizer)
        runner.loaded(batches)                          # three workers, copies of this process
        records = runner.do(run_unit, tasks, batches, progress)

Workers (`worker.py`) take one unit after another, as this process does. They are copies of this process once
it has loaded tokenizer and template. If that is not safe, they start in the background and load both.
A unit goes to the first process that is ready. The result does not depend on the number of processes.

A worker that dies is replaced. Its unit is retried in a worker, never in this process, which might die too.
The same holds for a unit that raises an unexpected error. After `attempts` failures, the rows that are the
cause are skipped (`crashes.py`).

Cost: a worker that loads for itself takes about three CPU seconds to start, so there should not be more
processes than units.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ...core.defaults import ATTEMPTS
from ...core.recipe import Recipe
from ...labeller import load_ahead
from ...output.shards import UnitRecord
from ...output.windows import Windows
from ...tokens.tokenizer import LoadedTokenizer
from ..batches import BatchLabeller, Setup
from ..crashes import begun_here, ended_a_run, is_done, note_failure, read_failures, remove_mark
from ..sharing import may_share
from ..tasks import BucketTask, Job, Progress, Task, rows_of
from ..unexpected import TaskError, describe, unexpected
from ..units import label_shared, run_unit
from .process import may_fork, without_old_garbage
from .worker import NoWorkerError, Worker


class LocalRunner:
    """Runs tasks in this process and in `processes - 1` workers, which start at once and end with the `with`
    block. A unit may fail `attempts` times."""

    def __init__(self, processes: int, attempts: int = ATTEMPTS) -> None:
        self._attempts = attempts
        self._others = [Worker() for _ in range(processes - 1)]
        self._threads = [ThreadPoolExecutor(1) for _ in self._others]
        self._spare = Worker()  # for units that must not run in this process, if there is no other worker

    def __enter__(self) -> LocalRunner:
        if not may_fork():
            for other, thread in zip(self._others, self._threads, strict=True):
                thread.submit(other.start)
        return self

    def __exit__(self, *error: object) -> None:
        self._end()
        for thread in self._threads:
            thread.shutdown(cancel_futures=True)

    def load_ahead(self, recipe: Recipe, tokenizer: LoadedTokenizer) -> None:
        """Have the workers load what they can before the template is known; return at once."""
        self._spare.know(recipe, tokenizer)
        copies = may_fork()
        for other, thread in zip(self._others, self._threads, strict=True):
            other.know(recipe, tokenizer)
            if not copies:
                thread.submit(other.load_ahead)

    def loaded(self, batches: BatchLabeller) -> None:
        """Start the workers as copies of this process, which has loaded a labeller, where that is safe."""
        if self._others and may_fork():
            if batches.uses_fast_engine:
                load_ahead(batches.recipe, batches.labeller.tokenizer)  # an engine that all of them share
            for other in self._others:
                other.fork(batches)

    def do(
        self, job: Job, tasks: Sequence[Task | BucketTask], batches: BatchLabeller, progress: Progress
    ) -> list[UnitRecord]:
        """Do a job on all tasks and return the records that it gives, in their order.

        `batches` does the work of this process; workers make theirs from what they have loaded. Raises the
        `PremaskError` that the job raises, and `RunError` if no process can be started that does a task.
        """
        todo = _Todo(job, tasks, batches.setup(), _Locked(progress), self._attempts, len(self._others) + 1)
        helpers: list[Future[None]] = []
        try:
            helpers += [
                thread.submit(_in_thread, other, todo)
                for other, thread in zip(self._others, self._threads, strict=True)
            ]
            if todo.workers_only:
                _in_thread(self._spare, todo)
            else:
                with without_old_garbage():
                    _in_this_process(batches, todo)
            for helper in helpers:
                helper.result()
            _in_another([*self._others, self._spare][0], todo)  # tasks that failed last, in this process
        except BaseException as error:
            todo.end()
            if not isinstance(error, Exception):  # an interrupt does not wait for running tasks
                self._end()
            raise
        finally:
            for helper in helpers:
                helper.exception()  # it has been raised, or another one was raised first
        return [record for _, record in sorted(todo.records.items())]

    def _end(self) -> None:
        for other in (*self._others, self._spare):
            other.end()


class _Todo:
    """The open tasks of a job, each with its number, and the records of finished tasks.

    Tasks that have failed go to workers only. All tasks do (`workers_only`) if an earlier driver ended in the
    middle of a unit. Thread-safe.
    """

    def __init__(  # noqa: PLR0913  made once
        self,
        job: Job,
        tasks: Sequence[Task | BucketTask],
        setup: Setup,
        progress: Progress,
        attempts: int,
        processes: int,
    ) -> None:
        self.job, self.setup, self.progress = job, setup, progress
        self._processes, self._shared, self._taking = processes, dict[int, Task](), threading.RLock()
        self.records: dict[int, UnitRecord] = {}
        self.ended = False
        self._attempts = attempts
        self._left, self._suspect = deque[tuple[int, Any]](), deque[tuple[int, Any]]()
        self.workers_only = any(ended_a_run(task.failures) for task in tasks)
        for number, task in enumerate(tasks):
            suspect = self.workers_only or read_failures(task.failures).tries
            (self._suspect if suspect else self._left).append((number, task))

    def for_this_process(self) -> Iterator[tuple[int, Any]]:
        """Take tasks that have never failed, until none is left."""
        return self._taken(self._left)

    def for_workers(self) -> Iterator[tuple[int, Any]]:
        """Take any tasks, until none is left; failed tasks come first."""
        return self._taken(self._suspect, self._left)

    def _taken(self, *queues: deque[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
        """Take tasks from the first queue that has some, until none has."""
        while True:
            with self._taking:  # whoever finds no task left sees all that are shared
                queue = next(filter(None, queues), None)
                if queue is None:
                    return
                number, task = queue.popleft()
                shared = self._shared_form(task)
                if shared is not None:
                    self._shared[number] = shared
            yield number, shared or task

    def _shared_form(self, task: Any) -> Task | None:
        """Let processes that find no unit left help with those that are taken last, unless an earlier driver
        ended in one."""
        is_last = len(self._left) + len(self._suspect) < self._processes - 1
        return may_share(task) if is_last and self.job is run_unit and not self.workers_only else None

    def to_help(self) -> Iterator[Task]:
        """Yield the tasks that others work on and that can be helped with."""
        seen = set[int]()
        while True:
            with self._taking:
                others = [each for each in self._shared.items() if each[0] not in seen]
            if not others:
                return
            number, task = others[0]
            seen.add(number)
            yield task

    def done(self, number: int, record: UnitRecord | None) -> None:
        """Keep the record of a finished task, if the job makes one."""
        self._no_longer_shared(number)
        if record is not None:
            self.records[number] = record

    def again(self, number: int, task: Task | BucketTask) -> None:
        """Make a task available to other workers."""
        self._no_longer_shared(number)
        if isinstance(task, Task):
            task = replace(task, shared=None)
        self._suspect.append((number, task))

    def failed(self, number: int, task: Task | BucketTask, why: str) -> None:
        """Record that a task has failed, and make it available to other workers."""
        note_failure(task, why, self._attempts, self.progress.say)
        self.again(number, task)

    def _no_longer_shared(self, number: int) -> None:
        with self._taking:
            self._shared.pop(number, None)

    def is_tried_out(self, task: Task | BucketTask) -> bool:
        """Whether a task has no retry left."""
        return read_failures(task.failures).tries >= self._attempts and not is_done(task)

    def end(self) -> None:
        """Drop all open tasks."""
        self.ended = True
        with self._taking:
            self._left.clear()
            self._suspect.clear()
            self._shared.clear()


def _in_this_process(batches: BatchLabeller, todo: _Todo) -> None:
    """Do tasks in this process, until none is left that may run here."""
    windows = Windows(batches.recipe.pack_window, batches.recipe.together)
    for number, task in todo.for_this_process():
        counted = _Counted(todo.progress)
        try:
            with begun_here(task.failures):
                record = todo.job(batches, task, counted, windows)
        except BaseException as error:  # noqa: BLE001  `unexpected` raises all that no row is the cause of
            why = describe(unexpected(error))
            counted.settle(0, 0, 0)
            batches, windows = (
                batches.anew(),
                Windows(batches.recipe.pack_window, batches.recipe.together),
            )  # the old ones are half done
            todo.failed(number, task, why)
        else:
            todo.done(number, record)
    for task in todo.to_help():
        try:
            with begun_here(task.failures):
                label_shared(batches, task)
        except BaseException as error:  # noqa: BLE001  the process of the unit meets it, too
            unexpected(error)
            batches = batches.anew()


def _in_thread(other: Worker, todo: _Todo) -> None:
    """Have a worker do tasks and help with those of others, until none is left or the worker cannot be
    started."""
    with suppress(NoWorkerError):  # other workers do them; if there is none, the last `_in_another` raises
        _in_another(other, todo)
        _help_in(other, todo)


def _help_in(other: Worker, todo: _Todo) -> None:
    """Have a worker help with the tasks of others. If it dies of a row, so will the process of the task."""
    try:
        for task in todo.to_help():
            with suppress(TaskError):
                other.do(todo.setup, label_shared, task)
    except NoWorkerError:
        raise
    except BaseException:
        todo.end()
        raise


def _in_another(other: Worker, todo: _Todo) -> None:
    """Have a worker do tasks, until none is left."""
    try:
        for number, task in todo.for_workers():
            counted = _Counted(todo.progress)
            try:
                record = _done_by(other, todo, task, counted)
            except TaskError as error:
                counted.settle(0, 0, 0)
                if not todo.ended:
                    todo.failed(number, task, str(error))
                continue
            remove_mark(task.failures)
            todo.done(number, record)
            if record is not None:
                counted.settle(rows_of(record), record.tokens, record.packs)
    except NoWorkerError:
        todo.again(number, task)
        raise
    except BaseException:
        todo.end()
        raise


def _done_by(other: Worker, todo: _Todo, task: Any, progress: Progress) -> UnitRecord | None:
    """Have a worker do a task, with more care if it has failed."""
    if todo.is_tried_out(task):
        record: UnitRecord | None = other.settle(todo.setup, todo.job, task, todo.progress.say)
        return record
    is_suspect = read_failures(task.failures).tries or ended_a_run(task.failures)
    do = other.do_again if is_suspect else other.do
    return do(todo.setup, todo.job, task, progress)  # type: ignore[no-any-return]


class _Counted(Progress):
    """Passes the progress of one task on, and knows what it has passed."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._passed = progress, (0, 0, 0)

    def advance(self, rows: int, tokens: int, packs: int) -> None:
        before = self._passed
        self._passed = (before[0] + rows, before[1] + tokens, before[2] + packs)
        self._progress.advance(rows, tokens, packs)

    def settle(self, rows: int, tokens: int, packs: int) -> None:
        """Pass on what is missing of these numbers, or take back what is too much."""
        before = self._passed
        self.advance(rows - before[0], tokens - before[1], packs - before[2])

    def say(self, text: str) -> None:
        self._progress.say(text)


class _Locked(Progress):
    """Passes progress on, from one thread at a time."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._lock = progress, threading.Lock()

    def advance(self, rows: int, tokens: int, packs: int) -> None:
        with self._lock:
            self._progress.advance(rows, tokens, packs)

    def say(self, text: str) -> None:
        with self._lock:
            self._progress.say(text)
