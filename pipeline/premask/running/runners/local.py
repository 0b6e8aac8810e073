"""The local runner: units in this process and in others of this machine.

    with LocalRunner(processes=4) as runner:            # three others start, beside what is done meanwhile
        records = runner.run(tasks, batches, progress)

The others (`worker.py`) load tokenizer and template once, and take one unit after another, as this process
does. None is waited for: a unit goes to whoever is ready first. What comes out does not depend on how many
there are. A process costs about two CPU-seconds to start, so there should never be more than units.

A process that dies is replaced, and its unit done again, as is one that raised what no unit should raise;
never in this process, which might go the same way. A unit that has failed `attempts` times is looked into
(`suspects.py`): the rows that are the cause are set aside, and the rest is done.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

from ...core.errors import PremaskError
from ...core.recipe import Recipe
from ...output.shards import UnitRecord
from ...output.windows import Windows
from ...tokens.tokenizer import LoadedTokenizer
from ..batches import BatchLabeller, Setup
from ..crashes import (
    TaskError,
    begun_here,
    forget_mark,
    is_done,
    note_failure,
    read_failures,
    settle,
    took_a_run_down,
)
from ..shuffle import pack_bucket
from ..tasks import ATTEMPTS, BucketTask, Job, Progress, Task, rows_of
from ..units import run_unit, scan_unit
from .process import without_old_garbage
from .worker import NoWorkerError, Worker, describe, of_the_system


class LocalRunner:
    """Runs tasks in this process and in `processes - 1` others, which start at once and end with the `with`
    block. A unit may fail `attempts` times."""

    def __init__(self, processes: int, attempts: int = ATTEMPTS) -> None:
        self._attempts = attempts
        self._others = [Worker() for _ in range(processes - 1)]
        self._threads = [ThreadPoolExecutor(1) for _ in self._others]
        self._spare = Worker()  # for units that must not be done here, if there is no other

    def __enter__(self) -> LocalRunner:
        for other, thread in zip(self._others, self._threads, strict=True):
            thread.submit(other.start)
        return self

    def __exit__(self, *error: object) -> None:
        self._end()
        for thread in self._threads:
            thread.shutdown(cancel_futures=True)

    def load_ahead(self, recipe: Recipe, tokenizer: LoadedTokenizer) -> None:
        """Have the others load what they can before the recipe's template is known; returns at once."""
        light = tokenizer.without_hf()
        self._spare.know(recipe, light)
        for other, thread in zip(self._others, self._threads, strict=True):
            other.know(recipe, light)
            thread.submit(other.load_ahead)

    def scan(self, tasks: Sequence[Task], batches: BatchLabeller) -> None:
        """Have the rows of all tasks hashed, which is what finding duplicates takes; raises as `run` does."""
        self._do(scan_unit, tasks, batches, Progress())

    def run(self, tasks: Sequence[Task], batches: BatchLabeller, progress: Progress) -> list[UnitRecord]:
        """Do all tasks and return their records in order.

        `batches` does the work of this process; that of the others is made from what they have loaded. Raises
        the `PremaskError` that `run_unit` raises, and `RunError` if no process can be had that does a task.
        """
        records = self._do(run_unit, tasks, batches, progress)
        return [records[number] for number in range(len(tasks))]

    def pack(
        self, tasks: Sequence[BucketTask], batches: BatchLabeller, progress: Progress
    ) -> list[UnitRecord]:
        """Pack buckets, in order, once all units are scattered; raises as `run` does."""
        records = self._do(pack_bucket, tasks, batches, progress)
        return [records[number] for number in range(len(tasks))]

    def _do(
        self, job: Job, tasks: Sequence[Task | BucketTask], batches: BatchLabeller, progress: Progress
    ) -> Mapping[int, UnitRecord]:
        """Do one job on all tasks."""
        todo = _Todo(job, tasks, batches.setup(), _Locked(progress), self._attempts)
        helpers: list[Future[None]] = []
        try:
            helpers += [
                thread.submit(_in_thread, other, todo)
                for other, thread in zip(self._others, self._threads, strict=True)
            ]
            if todo.careful:
                _in_thread(self._spare, todo)
            else:
                with without_old_garbage():
                    _in_this_process(batches, todo)
            for helper in helpers:
                helper.result()
            _in_another([*self._others, self._spare][0], todo)  # what has failed here at last
        except BaseException as error:
            todo.end()
            if not isinstance(error, Exception):  # an interrupt does not wait for what is under way
                self._end()
            raise
        finally:
            for helper in helpers:
                helper.exception()  # which has been raised, or comes after one that was
        return todo.records

    def _end(self) -> None:
        for other in (*self._others, self._spare):
            other.end()


class _Todo:
    """The tasks of a job that nobody has taken yet, each with its number, and the records of those that are
    done.

    Those that have failed are for other processes alone, and all are (`careful`) if this is the run after one
    that went down in the middle of a unit. Safe from any thread.
    """

    def __init__(
        self, job: Job, tasks: Sequence[Task | BucketTask], setup: Setup, progress: Progress, attempts: int
    ) -> None:
        self.job, self.setup, self.progress = job, setup, progress
        self.records: dict[int, UnitRecord] = {}
        self.ended = False
        self._attempts = attempts
        self._left, self._suspect = deque[tuple[int, Any]](), deque[tuple[int, Any]]()
        self.careful = any(took_a_run_down(task.failures) for task in tasks)
        for number, task in enumerate(tasks):
            suspect = self.careful or read_failures(task.failures).tries
            (self._suspect if suspect else self._left).append((number, task))

    def for_here(self) -> Iterator[tuple[int, Any]]:
        """Take tasks that have never failed, until there are none left."""
        return _taken(self._left)

    def for_others(self) -> Iterator[tuple[int, Any]]:
        """Take any tasks, until there are none left; those that have failed come first."""
        return _taken(self._suspect, self._left)

    def done(self, number: int, record: UnitRecord | None) -> None:
        """Keep the record of a task that is done, if the job makes any."""
        if record is not None:
            self.records[number] = record

    def again(self, number: int, task: Task | BucketTask) -> None:
        """A task is there to be taken by others."""
        self._suspect.append((number, task))

    def failed(self, number: int, task: Task | BucketTask, why: str) -> None:
        """A task has failed; others may try it again."""
        note_failure(task, why, self._attempts, self.progress.say)
        self.again(number, task)

    def is_tried_out(self, task: Task | BucketTask) -> bool:
        """Whether a task has failed so often that it must be looked into."""
        return read_failures(task.failures).tries >= self._attempts and not is_done(task)

    def end(self) -> None:
        """Let nobody take another one."""
        self.ended = True
        self._left.clear()
        self._suspect.clear()


def _taken(*queues: deque[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
    while any(queues):
        for queue in queues:
            with suppress(IndexError):  # another thread was quicker
                yield queue.popleft()
                break


def _in_this_process(batches: BatchLabeller, todo: _Todo) -> None:
    """Do tasks in this process until none is left that may be done here."""
    windows = Windows(batches.recipe.pack_window)
    for number, task in todo.for_here():
        try:
            with begun_here(task.failures):
                record = todo.job(batches, task, todo.progress, windows)
        except PremaskError:
            raise
        except OSError as error:
            raise of_the_system(error) from None
        except Exception as error:  # noqa: BLE001  whatever it is: it is written down, and tried elsewhere
            windows = Windows(batches.recipe.pack_window)  # some of the unit is in them
            todo.failed(number, task, describe(error))
        else:
            todo.done(number, record)


def _in_thread(other: Worker, todo: _Todo) -> None:
    """Have another process do tasks until none is left, or until it cannot be had."""
    with suppress(NoWorkerError):  # others do them; if there are none, the last call of `_in_another` says so
        _in_another(other, todo)


def _in_another(other: Worker, todo: _Todo) -> None:
    """Have another process do tasks until none is left."""
    do = partial(other.do, todo.setup)
    try:
        for number, task in todo.for_others():
            try:
                if todo.is_tried_out(task):
                    record = settle(do, todo.job, task, todo.progress.say)
                else:
                    record = do(todo.job, task)
            except TaskError as error:
                if not todo.ended:
                    todo.failed(number, task, str(error))
                continue
            forget_mark(task.failures)
            todo.done(number, record)
            if record is not None:
                todo.progress.advance(rows_of(record), record.tokens, record.packs)
    except NoWorkerError:
        todo.again(number, task)
        raise
    except BaseException:
        todo.end()
        raise


class _Locked(Progress):
    """Passes on how the run goes, from one thread at a time."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._lock = progress, threading.Lock()

    def advance(self, rows: int, tokens: int, packs: int) -> None:
        with self._lock:
            self._progress.advance(rows, tokens, packs)

    def say(self, text: str) -> None:
        with self._lock:
            self._progress.say(text)
