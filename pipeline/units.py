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

from .columns import read_batches
from .contracts import Samples
from .packing import concat_samples, cut_samples
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
    dialects: Mapping[str, str]
    directory: Path
    key: str


def run_unit(stages: Stages, task: Task, progress: Progress | None = None) -> UnitRecord:
    """Do a unit and return its record; a unit that was done before is not done again.

    The record's `extra` holds the counts of the stages and the rows read from each source.
    """
    progress = progress or Progress()
    done = load_record(task.directory, task.key)
    if done is not None:
        progress.advance(sum(done.extra["rows"].values()), done.tokens, done.packs)
        return done
    recipe, counts, rows_read = stages.recipe, Counter[str](), Counter[str]()
    window = _Window(recipe.pack_window)
    with UnitWriter(task.directory, recipe.layout, recipe.max_length) as writer:
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


class _Window:
    """Gathers samples until they have `size` tokens or more, which are then packed together."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._held: list[Samples] = []
        self._tokens = 0

    def add(self, samples: Samples) -> Iterator[Samples]:
        """Take samples in; yield each window that they fill. A sample is never cut."""
        while self._tokens + len(samples.ids) >= self._size:
            tokens_before = samples.offsets - samples.offsets[0]
            count = int(np.searchsorted(tokens_before, self._size - self._tokens, side="left"))
            self._held.append(cut_samples(samples, 0, count))
            yield self.rest()
            samples = cut_samples(samples, count, len(samples.offsets) - 1)
        self._held.append(samples)
        self._tokens += len(samples.ids)

    def rest(self) -> Samples:
        """What is held; nothing is afterwards."""
        held = concat_samples(self._held)
        self._held, self._tokens = [], 0
        return held
