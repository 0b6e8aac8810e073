"""Rows of one unit that several processes label.

    SharedSlice(folder, 0, piece).batches(label)     # in the process that packs the unit
    SharedSlice(folder, 0, piece).help(label)        # in any other process of this machine

A unit is packed by one process, because packs depend on the order of its samples. To label its rows is most
of the work, and can be done anywhere. So near the end of a run, processes without a unit label rows of the
units of others. A slice is cut into portions. Every process takes the next one that nobody has taken, by
making and locking a file. A helper leaves what it has labelled in another file. The packing process takes all
portions in their order, from itself or from the helpers. It labels a portion itself if its helper has died.

The result does not depend on who labels what.

Cost: 10 ns a token to hand over rows, and 20 us per portion and process.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from tempfile import mkdtemp

import pyarrow as pa

from ..core.atomic_files import named
from ..core.errors import OutputError
from ..core.locks import lock_file
from ..core.records import Slice
from ..sources.cutting import portions
from .batches import LabelledBatch
from .cache import as_row, read_rows
from .tasks import Task

PORTIONS = 32
"""Portions into which a slice is cut, at most."""

Label = Callable[[Slice], Iterable[LabelledBatch]]
"""Labels the rows of a portion."""


class SharedSlice:
    """A slice of a unit, by its number there.

    The processes of one machine share the folder; whoever gives them the unit makes it.
    """

    def __init__(self, folder: Path, number: int, piece: Slice) -> None:
        self._folder, self._number, self._piece = folder, number, piece

    @cached_property
    def _portions(self) -> list[Slice]:
        return portions(self._piece, PORTIONS)

    def batches(self, label: Label) -> Iterator[LabelledBatch]:
        """Yield the labelled batches of all portions, in their order.

        While the next one is being labelled elsewhere, one of those behind it is labelled here.
        """
        ahead: dict[int, list[LabelledBatch]] = {}
        for number, piece in enumerate(self._portions):
            if number in ahead:
                yield from ahead.pop(number)
                continue
            with self._taken(number) as is_mine:
                if is_mine:
                    yield from label(piece)
                    continue
            while not ahead and not self._done(number).is_file():
                with self._next_taken(number + 1) as later:
                    if later is None:
                        break
                    ahead[later] = list(label(self._portions[later]))
            yield from self._from_helper(number) or label(piece)

    def help(self, label: Label) -> None:
        """Label portions until all are taken, or the folder is gone because the unit is done."""
        try:
            while self._help_once(label):
                pass
        except (FileNotFoundError, OutputError):
            if self._folder.is_dir():
                raise

    def _help_once(self, label: Label) -> bool:
        """Label the next portion; returns whether there was one."""
        with self._next_taken(0) as number:
            if number is not None:
                self._leave(number, label(self._portions[number]))
            return number is not None

    def _leave(self, number: int, batches: Iterable[LabelledBatch]) -> None:
        """Write a labelled portion to its file."""
        path = self._done(number)
        scratch = path.with_suffix(".part")
        with named(path), pa.OSFile(str(scratch), "wb") as sink:
            writer: pa.ipc.RecordBatchFileWriter | None = None
            for row in map(as_row, batches):
                writer = writer or pa.ipc.new_file(sink, row.schema)
                writer.write_batch(row)
            (writer or pa.ipc.new_file(sink, pa.schema([]))).close()
        scratch.rename(path)

    def _from_helper(self, number: int) -> Iterator[LabelledBatch] | None:
        """Return what the process left that has taken a portion, once it has; None if it has died."""
        file = os.open(self._lock(number), os.O_RDWR)
        try:
            lock_file(file)
        finally:
            os.close(file)
        path = self._done(number)
        return _read_once(path) if path.is_file() else None

    @contextmanager
    def _next_taken(self, first: int) -> Iterator[int | None]:
        """Take the first portion from `first` on that nobody has taken; None if there is none."""
        for number in range(first, len(self._portions)):
            with self._taken(number) as is_mine:
                if is_mine:
                    yield number
                    return
        yield None

    @contextmanager
    def _taken(self, number: int) -> Iterator[bool]:
        """Take a portion in the `with` block, if nobody has; returns whether it is taken."""
        try:
            file = os.open(self._lock(number), os.O_RDWR | os.O_CREAT | os.O_EXCL)
        except FileExistsError:
            yield False
            return
        try:
            lock_file(file)  # the lock shows that this process lives
            yield True
        finally:
            os.close(file)

    def _lock(self, number: int) -> Path:
        return self._folder / f"{self._number}-{number}.taken"

    def _done(self, number: int) -> Path:
        return self._folder / f"{self._number}-{number}.arrow"


def may_share(task: Task) -> Task | None:
    """Return a task of which other processes may label rows, with the folder for them; None if they may not.

    A unit that has failed is not shared: it must be known which row ends a process. Nor is one whose rows are
    kept in a cache.
    """
    if task.cache_keys or task.failures.is_file() or task.directory.is_dir():
        return None
    try:
        return replace(
            task, shared=Path(mkdtemp(prefix=f".{task.directory.name}.", dir=task.directory.parent))
        )
    except OSError:  # a scratch directory that is only made on the machine of a worker
        return None


def _read_once(path: Path) -> Iterator[LabelledBatch]:
    """Yield the batches of a file and remove it."""
    yield from read_rows(path)
    path.unlink()
