"""A look at all rows of a unit before any is labelled, for what a row becomes because of others.

    scan_unit(batches, task)     # in workers; then `dropping.drop_rows`

It writes the hash of each row, with `near_duplicates` the signatures of rows, and with `decontaminate` the
rows that share text with evaluation sets. The files depend on the task alone. That of the hashes is written
last: a unit that has it is not scanned again.

Cost: that of reading the rows, and see `duplicates.py`, `near_duplicates.py` and `decontaminate.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from ..core.atomic_files import placed
from ..core.errors import RowError
from ..core.records import Conversation
from ..dialects import Form
from ..fast.plain_batches import RowBatch, read_batches
from ..output.shards import UnitRecord
from ..output.windows import Windows
from .batches import BatchLabeller
from .compared_text import ComparedText
from .crashes import read_failures, without_rows
from .decontaminate import Contamination
from .dropped import Drop, write_dropped
from .duplicates import hashed_rows, shaped_keys, write_hashes
from .near_duplicates import Signer, write_signatures
from .tasks import Progress, Task


def scan_unit(
    batches: BatchLabeller, task: Task, progress: Progress | None = None, windows: Windows | None = None
) -> UnitRecord | None:
    """Write what is found of the rows of a unit, to the files that the task names."""
    del progress, windows
    last = task.hashes or task.contaminated
    if last is None or last.is_file():
        return None
    hashes, near, shared = list[np.ndarray](), _signatures(batches), _contamination(batches, task)
    for number, dialect, batch in _batches(task):
        others = _without_shape(batches, batch, dialect)
        if task.hashes is not None:
            hashes.append(_hashes(number, batch, others))
        for each in (near, shared):
            if each is not None:
                each.add(number, batch, others)
    if near is not None and task.signatures is not None:
        near.write(task.signatures)
    if shared is not None and task.contaminated is not None:
        shared.write(task.contaminated)
    if task.hashes is not None:
        with placed(task.hashes) as scratch:
            write_hashes(scratch, hashes)
    return None


def _hashes(number: int, batch: RowBatch, others: _Others) -> np.ndarray:
    keys = shaped_keys(batch.shaped, len(batch))
    for at, conversations in others.items():
        keys.add(at, conversations)
    return hashed_rows(number, batch.numbers, keys.hashes, keys.known)


def _batches(task: Task) -> Iterator[tuple[int, Form, RowBatch]]:
    """Yield the rows of a unit but those that ended a worker, with the number and dialect of their slice."""
    failures = read_failures(task.failures)
    for number, piece in enumerate(task.unit.slices if not failures.all_rows else ()):
        dialect = task.dialects[piece.source]
        take = without_rows(failures.of_piece(number))
        yield from ((number, dialect, batch) for batch in read_batches(piece, dialect, take=take))


_Others = Mapping[int, Sequence[Conversation]]
"""The conversations of rows without a shape, by their index in the batch."""


def _without_shape(batches: BatchLabeller, batch: RowBatch, dialect: Form) -> _Others:
    found = {}
    for at in sorted({*range(len(batch))}.difference(batch.shaped.index)):
        try:
            found[at] = batches.labeller.read(batch.row(at), dialect)[0]
        except RowError:  # `run_unit` rejects the row
            continue
    return found


def compared_texts(
    compared: ComparedText, batch: RowBatch, others: _Others
) -> tuple[list[int], list[list[str]]]:
    """Return the numbers of the rows of a batch that can be read, ascending, and the compared texts of
    each."""
    shaped = batch.shaped
    found = {
        at: compared.of_shape(shape, texts)
        for at, shape, texts in zip(shaped.index, shaped.shapes, shaped.texts, strict=True)
    }
    found |= {at: compared.of_conversations(each) for at, each in others.items()}
    rows = sorted(found)
    return [int(batch.numbers[at]) for at in rows], [found[at] for at in rows]


class _Signatures:
    """The signatures of the rows of a unit."""

    def __init__(self, signer: Signer, compared: ComparedText) -> None:
        self._signer, self._compared = signer, compared
        self._found: list[pa.RecordBatch] = []

    def add(self, piece: int, batch: RowBatch, others: _Others) -> None:
        """Add the rows of a batch."""
        numbers, texts = compared_texts(self._compared, batch, others)
        self._found.append(self._signer.rows(piece, numbers, texts))

    def write(self, path: Path) -> None:
        """Write them to a file."""
        with placed(path) as scratch:
            write_signatures(scratch, self._signer.schema, self._found)


def _signatures(batches: BatchLabeller) -> _Signatures | None:
    near = batches.recipe.near_duplicates
    if near is None:
        return None
    return _Signatures(Signer(near), ComparedText(near.over, batches.recipe.train))


class _Contaminated:
    """The rows of a unit that share text with evaluation sets."""

    def __init__(self, contamination: Contamination, compared: ComparedText) -> None:
        self._contamination, self._compared = contamination, compared
        self._found: list[Drop] = []

    def add(self, piece: int, batch: RowBatch, others: _Others) -> None:
        """Add the rows of a batch."""
        numbers, texts = compared_texts(self._compared, batch, others)
        self._found += self._contamination.rows(piece, numbers, texts)

    def write(self, path: Path) -> None:
        """Write them to a file."""
        with placed(path) as scratch:
            write_dropped(scratch, self._found)


def _contamination(batches: BatchLabeller, task: Task) -> _Contaminated | None:
    settings = batches.recipe.decontaminate
    if settings is None or task.evaluation is None:
        return None
    compared = ComparedText(settings.over, batches.recipe.train)
    return _Contaminated(Contamination(task.evaluation, settings), compared)
