"""The rows of a unit that are left out because of other rows or texts: which ones, and why.

    write_dropped(path, rows)        # before the unit is processed
    dropped = read_dropped(path)
    dropped.of_piece(3)              # of one slice

Cost: 60 bytes a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from ..core.atomic_files import named
from ..core.errors import OutputError, one_line

SCHEMA = pa.schema(
    [
        pa.field("piece", pa.int32()),
        pa.field("row", pa.int64()),
        pa.field("reason", pa.string()),
        pa.field("detail", pa.string()),
        pa.field("by", pa.string()),
    ]
)


class Dropped(NamedTuple):
    """Rows that are left out, ascending by `piece` and `row`.

    piece, row   int64[n]   slice in the unit and row number in its file
    reason       n reasons of the reject log
    detail       what the reject log says of each
    by           the evaluation set that a contaminated row shares text with; else empty
    """

    piece: np.ndarray
    row: np.ndarray
    reason: Sequence[str]
    detail: Sequence[str]
    by: Sequence[str]

    def of_piece(self, number: int) -> Dropped:
        """Return the rows of one slice."""
        first, last = np.searchsorted(self.piece, [number, number + 1]).tolist()
        own = slice(first, last)
        return Dropped(self.piece[own], self.row[own], self.reason[own], self.detail[own], self.by[own])


class Drop(NamedTuple):
    """One row that is left out; fields as in `Dropped`."""

    piece: int
    row: int
    reason: str
    detail: str
    by: str = ""


def write_dropped(path: Path, rows: Sequence[Drop]) -> None:
    """Write the rows of a unit, in any order; of several for one row the first counts.

    Raises `OutputError` if the file cannot be written.
    """
    first = {(each.piece, each.row): each for each in reversed(rows)}
    table = pa.Table.from_pylist([first[key]._asdict() for key in sorted(first)], SCHEMA)
    with named(path), pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
        writer.write_table(table)


def read_dropped(path: Path) -> Dropped:
    """Return what `write_dropped` wrote for a unit. Raises `OutputError` if the file was changed."""
    with readable(path), pa.OSFile(str(path)) as source, pa.ipc.open_file(source) as file:
        table = file.read_all()
        if table.schema != SCHEMA:
            raise ValueError("it holds something else")
        table.validate(full=True)
        piece, row = (table.column(name).to_numpy().astype(np.int64) for name in ("piece", "row"))
        return Dropped(piece, row, *(table.column(name).to_pylist() for name in ("reason", "detail", "by")))


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Raise `OutputError` for a file of the work in progress that was changed."""
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise OutputError(
            f"{path} was changed and cannot be read: {one_line(error, 200)}; remove {path.parent.parent}, "
            "then run again"
        ) from None
