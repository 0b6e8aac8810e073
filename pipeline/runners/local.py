"""The local runner: units in this process, or in worker processes of this machine.

Workers are spawned (never forked: threads of libraries do not survive that), load tokenizer and template
once, and take one unit after another. What comes out does not depend on how many there are. Starting a
worker costs about two seconds, so there are never more than units.
"""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from ..arrays import keep_pandas_out
from ..errors import RunError
from ..recipe import Recipe
from ..shards import UnitRecord
from ..stages import Loaded, Stages
from ..units import Progress, Task, run_unit

_stages: Stages | None = None  # of a worker process


def run_local(tasks: Sequence[Task], stages: Stages, *, workers: int, progress: Progress) -> list[UnitRecord]:
    """Do all tasks and return their records in order.

    `stages` do the work of this process; those of workers are made from what they have loaded. Raises
    `RunError` if a worker dies, and what `run_unit` raises.
    """
    workers = min(workers, len(tasks))
    if workers <= 1:
        return [run_unit(stages, task, progress) for task in tasks]
    context = multiprocessing.get_context("spawn")
    setup = (stages.recipe, stages.loaded(), stages.fast)
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_load, initargs=setup) as pool:
        try:
            return _collect(pool, tasks, progress)
        except BrokenProcessPool:
            raise RunError(
                "a worker process died (killed, or out of memory); what is done is kept: run the same "
                "command again to go on, with fewer workers if memory is short"
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _collect(pool: ProcessPoolExecutor, tasks: Sequence[Task], progress: Progress) -> list[UnitRecord]:
    with _deaf_to_interrupts():  # what workers inherit; the interrupt is this process's to handle
        futures: dict[Future[UnitRecord], int] = {pool.submit(_work, task): i for i, task in enumerate(tasks)}
    records: dict[int, UnitRecord] = {}
    waiting = set(futures)
    while waiting:
        finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
        for future in finished:
            record = records[futures[future]] = future.result()
            progress.advance(sum(record.extra["rows"].values()), record.tokens, record.packs)
    return [records[i] for i in range(len(tasks))]


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


def _load(recipe: Recipe, loaded: Loaded, fast: bool) -> None:  # noqa: FBT001  called by the pool
    global _stages  # noqa: PLW0603  one load for all the units a worker does
    keep_pandas_out()
    _stages = Stages(recipe, loaded, fast=fast)


def _work(task: Task) -> UnitRecord:
    if _stages is None:
        raise RunError("the worker has not loaded its stages")
    return run_unit(_stages, task)
