"""A look at all rows of a unit before any is labelled, for what a row becomes because of others.

    scan_unit(batches, task)     # in workers; then `dropping.drop_rows`

It writes the hash of each row and, if the recipe has `near_duplicates`, the signatures of rows. The files
depend on the task alone. That of the hashes is written last: a unit that has it is not scanned again.

Cost: that of reading the rows, and see `duplicates.py` and `near_duplicates.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa

from ..core.atomic_files import named, sync
from ..core.errors import RowError
from ..core.records import Conversation
from ..dialects import Form
from ..fast.plain_batches import RowBatch, read_batches
from ..output.shards import UnitRecord
from ..output.windows import Windows
from .batches import BatchLabeller
from .compared_text import ComparedText
from .crashes import read_failures, without_rows
from .duplicates import hashed_rows, shaped_keys, write_hashes
from .near_duplicates import Signer, write_signatures
from .tasks import Progress, Task


def scan_unit(
    batches: BatchLabeller, task: Task, progress: Progress | None = None, windows: Windows | None = None
) -> UnitRecord | None:
    """Write what is found of the rows of a unit, by `Task.hashes` and the files beside it."""
    del progress, windows
    if task.hashes is None or task.hashes.is_file():
        return None
    hashes, near = list[np.ndarray](), _signatures(batches)
    for number, dialect, batch in _batches(task):
        others = _without_shape(batches, batch, dialect)
        keys = shaped_keys(batch.shaped, len(batch))
        for at, conversations in others.items():
            keys.add(at, conversations)
        hashes.append(hashed_rows(number, batch.numbers, keys.hashes, keys.known))
        if near is not None:
            near.add(number, batch, others)
    if near is not None and task.signatures is not None:
        with _placed(task.signatures) as scratch:
            near.write(scratch)
    with _placed(task.hashes) as scratch:
        write_hashes(scratch, hashes)
    return None


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


def compared_texts(compared: ComparedText, batch: RowBatch, others: _Others) -> dict[int, list[str]]:
    """Return the texts of the rows of a batch that are compared, by their index in it, ascending."""
    shaped = batch.shaped
    found = {
        at: compared.of_shape(shape, texts)
        for at, shape, texts in zip(shaped.index, shaped.shapes, shaped.texts, strict=True)
    }
    found |= {at: compared.of_conversations(each) for at, each in others.items()}
    return dict(sorted(found.items()))


class _Signatures:
    """The signatures of the rows of a unit."""

    def __init__(self, signer: Signer, compared: ComparedText) -> None:
        self._signer, self._compared = signer, compared
        self._found: list[pa.RecordBatch] = []

    def add(self, piece: int, batch: RowBatch, others: _Others) -> None:
        texts = compared_texts(self._compared, batch, others)
        numbers = batch.numbers[[*texts]].tolist() if texts else []
        self._found.append(self._signer.rows(piece, numbers, [*texts.values()]))

    def write(self, path: Path) -> None:
        write_signatures(path, self._signer.schema, self._found)


def _signatures(batches: BatchLabeller) -> _Signatures | None:
    near = batches.recipe.near_duplicates
    if near is None:
        return None
    return _Signatures(Signer(near), ComparedText(near.over, batches.recipe.train))


@contextmanager
def _placed(path: Path) -> Iterator[Path]:
    """Give a scratch file, which is the file itself once all is written."""
    with named(path):
        scratch = path.with_name(f".{path.name}")
        yield scratch
        sync(scratch)
        scratch.rename(path)
