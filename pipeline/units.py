"""A unit of work: some input rows in, the files of one shard and a record out.

    Task(unit, dialects, directory, key)  ->  run_unit(stages, task)  ->  UnitRecord

`run_unit` is the only function a runner calls. What it writes depends on the task alone, never on who
runs it, when, or beside what; doing it twice gives the same files. Memory: one pack window of tokens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from .contracts import Row
from .plan import Unit
from .shards import UnitRecord, UnitWriter, load_record
from .sources import read_slice
from .stages import BATCH_ROWS, Piece, Stages, gather


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
    window, held = list[Piece](), 0
    with UnitWriter(task.directory, recipe.layout, recipe.max_length) as writer:
        for dialect, rows in _batches(task):
            outcome = stages.run(rows, dialect)
            writer.reject(outcome.rejects)
            counts.update(outcome.counts)
            rows_read.update(row.source for row in rows)
            for piece in outcome.pieces:
                window.append(piece)
                held += len(piece.ids)
                if held >= recipe.pack_window:
                    writer.add(gather(window, weights=recipe.loss_weights))
                    window, held = [], 0
            progress.advance(len(rows), sum(len(piece.ids) for piece in outcome.pieces), 0)
        writer.add(gather(window, weights=recipe.loss_weights))
    record = writer.commit(key=task.key, extra={"counts": dict(counts), "rows": dict(rows_read)})
    progress.advance(0, 0, record.packs)
    return record


def _batches(task: Task) -> Iterator[tuple[str, list[Row]]]:
    for piece in task.unit.slices:
        rows = read_slice(piece)
        while batch := list(islice(rows, BATCH_ROWS)):
            yield task.dialects[piece.source], batch
