"""The cut of the input into units of work: the same for any number of workers.

    SourceInfo -> Slice (a stretch of rows of one file) -> Unit (some slices: one shard)

Units are what makes a run parallel and resumable, so where they begin must follow from the files alone.

    >>> info = SourceInfo("chats.parquet", "parquet", None, 9000, "", rows=25)
    >>> units = plan_units([info], unit_rows=10)
    >>> [(piece.start_row, piece.stop_row) for unit in units for piece in unit.slices]
    [(0, 10), (10, 20), (20, 25)]

Cost: JSONL of more than one unit is read once, to find where its lines begin; nothing else is opened.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .files import changed, chunks, open_parquet, opened
from .inspection import SourceInfo

UNIT_BYTES = 48 * 1024 * 1024
"""Bytes of text that a unit has, about: 8 to 15 million tokens. Smaller units fill their packs worse, larger
ones are worse to share out, and more is lost when one is interrupted."""

_ROW_BYTES = 2048  # what a row is taken to weigh where rows are not counted
_INFLATION = 4  # how much larger compressed text is taken to be


class Slice(NamedTuple):
    """A stretch of rows of one file. `stop_row` None means to the end.

    `entry` is the index of the entry of `recipe.sources` that names the file.

    `start_byte` is where line `start_row` begins and `end_byte` where line `stop_row` would; both are
    None unless the file is uncompressed JSONL.
    """

    source: str
    format: str
    compression: str | None
    start_row: int
    stop_row: int | None
    start_byte: int | None
    end_byte: int | None
    entry: int = 0


@dataclass(frozen=True, slots=True)
class Unit:
    """What one worker takes at a time and what becomes one shard; `number` counts from 0."""

    number: int
    slices: tuple[Slice, ...]


def plan_units(infos: Sequence[SourceInfo], *, unit_rows: int | None = None) -> list[Unit]:
    """Cut files into units of about `UNIT_BYTES` of text, or of `unit_rows` rows; small neighbours share a
    unit.

    Uncompressed JSONL and Parquet are cut by rows, whatever their row groups: into pieces of equally many
    rows, or every `unit_rows` rows. Other files stay whole. The cut depends on nothing but the files and
    `unit_rows`.

    Raises `SourceError` when a file is no longer what it was when it was inspected.
    """
    units: list[Unit] = []
    waiting: list[Slice] = []
    weight, full = 0, UNIT_BYTES if unit_rows is None else unit_rows * _ROW_BYTES
    for info in infos:
        size = _size(info) if unit_rows is None else 0
        pieces = list(_cut(info, unit_rows or _rows_a_unit(info, size)))
        for piece in pieces:
            waiting.append(piece)
            weight += size if unit_rows is None else _weight(info, piece)
            if weight >= full or (unit_rows is None and len(pieces) > 1):
                units.append(Unit(len(units), tuple(waiting)))
                waiting, weight = [], 0
    if waiting:
        units.append(Unit(len(units), tuple(waiting)))
    return units


def _rows_a_unit(info: SourceInfo, size: int) -> int:
    """How many rows of a file go into each of its units, if all get equally many."""
    return max(1, math.ceil((info.rows or 0) / max(1, round(size / UNIT_BYTES))))


def _size(info: SourceInfo) -> int:
    """Bytes of a file before compression, about."""
    if info.format != "parquet":
        return info.bytes * (_INFLATION if info.compression else 1)
    with open_parquet(info.source) as file:
        groups = range(file.metadata.num_row_groups)
        return sum(int(file.metadata.row_group(i).total_byte_size) for i in groups)


def _cut(info: SourceInfo, unit_rows: int) -> Iterator[Slice]:
    if info.rows is None:
        yield whole(info)
        return
    rows = [*range(0, info.rows, unit_rows), info.rows]
    places: Sequence[int | None] = [None] * len(rows)
    if info.format == "jsonl":
        places = _line_starts(info, unit_rows) if len(rows) > 2 else [0, info.bytes]
    for i in range(len(rows) - 1):
        stretch = rows[i], rows[i + 1], places[i], places[i + 1]
        yield Slice(info.source, info.format, info.compression, *stretch, info.entry)


def whole(info: SourceInfo) -> Slice:
    """A slice of all rows of a file."""
    lines = info.format == "jsonl" and info.compression is None
    start, end = (0, info.bytes) if lines else (None, None)
    return Slice(info.source, info.format, info.compression, 0, info.rows, start, end, info.entry)


def _weight(info: SourceInfo, piece: Slice) -> int:
    """Bytes a slice is taken to weigh; whole numbers, so that the cut is exact on every machine."""
    if piece.stop_row is not None:
        return (piece.stop_row - piece.start_row) * _ROW_BYTES
    return info.bytes * (_INFLATION if info.compression else 1)


def _line_starts(info: SourceInfo, every: int) -> list[int]:
    """Byte offsets of lines 0, every, 2 * every ... and of the end of the file."""
    starts, seen, offset = [0], 0, 0
    with opened(info.source) as file:
        for chunk in chunks(file):
            newlines = np.flatnonzero(np.frombuffer(chunk, np.uint8) == ord("\n"))
            starts += (newlines[(every - 1 - seen) % every :: every] + (offset + 1)).tolist()
            seen += len(newlines)
            offset += len(chunk)
    if starts[-1] != offset:
        starts.append(offset)
    if offset != info.bytes or len(starts) != 1 + math.ceil((info.rows or 0) / every):
        raise changed(info.source)
    return starts
