"""A unit of work: some input rows in, the files of one shard and a record out.

    Task(unit, dialects, directory, key)  ->  run_unit(stages, task)  ->  UnitRecord

`run_unit` is the only function a runner calls. What it writes depends on the task alone, never on who
runs it, when, or beside what; doing it twice gives the same files. Memory: one pack window of tokens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from .arrays import offsets_of
from .columns import read_batches
from .contracts import Samples
from .dialects import Form
from .packing import cut_samples, origin_table
from .plan import Unit
from .shards import UnitRecord, UnitWriter, load_record
from .stages import Stages


class Progress:
    """Told how a run goes on; this one keeps silent."""

    def start(self, rows: int | None) -> None:
        """Work begins on so many rows, None if they have not been counted."""

    def advance(self, rows: int, tokens: int, packs: int) -> None:
        """So much was done since the last call."""


@dataclass(frozen=True)
class Task:
    """A unit, the dialect of each of its sources, where its files go, and the key of the run."""

    unit: Unit
    dialects: Mapping[str, Form]
    directory: Path
    key: str


def run_unit(
    stages: Stages, task: Task, progress: Progress | None = None, window: Window | None = None
) -> UnitRecord:
    """Do a unit and return its record; a unit that was done before is not done again.

    The record's `extra` holds the counts of the stages and the rows read from each source. An empty `window`
    of the recipe's size can be handed from one unit of a process to the next.
    """
    progress = progress or Progress()
    done = load_record(task.directory, task.key)
    if done is not None:
        progress.advance(sum(done.extra["rows"].values()), done.tokens, done.packs)
        return done
    recipe, counts, rows_read = stages.recipe, Counter[str](), Counter[str]()
    window = window or Window(recipe.pack_window)
    with UnitWriter(task.directory, recipe.layout, recipe.max_length, stages.row_format) as writer:
        for piece in task.unit.slices:
            dialect = task.dialects[piece.source]
            for batch in read_batches(piece, dialect):
                outcome = stages.run(batch, dialect)
                writer.reject(outcome.rejects)
                counts.update(outcome.counts)
                rows_read[batch.source] += len(batch)
                for part in outcome.parts:
                    for full in window.add(part):
                        writer.add(full)
                progress.advance(len(batch), sum(len(part.ids) for part in outcome.parts), 0)
        writer.add(window.rest())
    record = writer.commit(key=task.key, extra={"counts": dict(counts), "rows": dict(rows_read)})
    progress.advance(0, 0, record.packs)
    return record


class Window:
    """Gathers samples until they have `size` tokens or more, which are then packed together.

    What it yields lies in memory that the next samples take: memory that was used before takes them at a
    fifth of the cost of new memory.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._ids, self._labels = _Buffer(np.int32), _Buffer(np.int32)
        self._weights = _Buffer(np.float32)
        self._lengths: list[np.ndarray] = []
        self._origins: list[pa.RecordBatch] = []

    def add(self, samples: Samples) -> Iterator[Samples]:
        """Take samples in; yield each window that they fill. A sample is never cut."""
        while len(self._ids) + len(samples.ids) >= self._size:
            tokens_before = samples.offsets - samples.offsets[0]
            count = int(np.searchsorted(tokens_before, self._size - len(self._ids), side="left"))
            self._hold(cut_samples(samples, 0, count))
            yield self.rest()
            samples = cut_samples(samples, count, len(samples.offsets) - 1)
        self._hold(samples)

    def rest(self) -> Samples:
        """What is held; nothing is afterwards."""
        lengths, origins = self._lengths, self._origins or [origin_table([])]
        self._lengths, self._origins = [], []
        ids, labels, weights = (each.taken() for each in (self._ids, self._labels, self._weights))
        return Samples(
            ids,
            labels,
            offsets_of(np.concatenate([np.zeros(0, np.int64), *lengths])),
            pa.concat_batches(origins),
            weights if len(weights) else None,
        )

    def _hold(self, samples: Samples) -> None:
        self._ids.add(samples.ids)
        self._labels.add(samples.labels)
        if samples.weights is not None:
            self._weights.add(samples.weights)
        self._lengths.append(np.diff(samples.offsets))
        self._origins.append(samples.origin)


class _Buffer:
    """A row of numbers that keeps its memory when they are taken out."""

    def __init__(self, dtype: type[np.generic]) -> None:
        self._memory = np.empty(0, dtype=dtype)
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, values: np.ndarray) -> None:
        """Put values at the end. New memory costs nothing before it is written to, so there is much of it."""
        end = self._size + len(values)
        if end > len(self._memory):
            memory = np.empty(max(end, 2 * len(self._memory), 1 << 24), dtype=self._memory.dtype)
            memory[: self._size] = self._memory[: self._size]
            self._memory = memory
        self._memory[self._size : end] = values
        self._size = end

    def taken(self) -> np.ndarray:
        """All values; they hold until the next are added."""
        size, self._size = self._size, 0
        return self._memory[:size]
