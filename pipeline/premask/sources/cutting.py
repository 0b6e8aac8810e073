"""The cut of the input into units of work: the same for any number of workers.

    SourceInfo -> Slice (consecutive rows of one file) -> Unit (some slices: one shard)

Units are what makes a run parallel and resumable, so where they begin must follow from the files alone.

    >>> info = SourceInfo("chats.parquet", "parquet", None, 9000, "", rows=25)
    >>> units = plan_units([info], unit_rows=10)
    >>> [(piece.start_row, piece.stop_row) for unit in units for piece in unit.slices]
    [(0, 10), (10, 20), (20, 25)]

Cost: JSONL of more than one unit is read once, to find where its lines begin; of a JSON array some 4 MB a
unit are read, of other files nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from ..core.records import Slice, SourceInfo, Unit
from .formats import FORMATS

UNIT_BYTES = 48 * 1024 * 1024
"""Bytes of text that a unit has, about: 8 to 15 million tokens. Smaller units fill their packs worse, larger
ones are worse to share out, and more is lost when one is interrupted."""


_ROW_BYTES = 2048  # what a row is taken to weigh where rows are not counted


def plan_units(infos: Sequence[SourceInfo], *, unit_rows: int | None = None) -> list[Unit]:
    """Cut files into units of about `UNIT_BYTES` of text, or of `unit_rows` rows; small neighbours share a
    unit.

    Uncompressed JSONL and JSON arrays, and Parquet whatever its row groups, are cut by rows: into pieces of
    equally many, or every `unit_rows` rows. Other files stay whole. The cut depends on nothing but the files
    and `unit_rows`.

    Raises `SourceError` when a file is no longer what it was when it was inspected.
    """
    units: list[Unit] = []
    waiting: list[Slice] = []
    weight, full = 0, UNIT_BYTES if unit_rows is None else unit_rows * _ROW_BYTES
    for info in infos:
        size = FORMATS[info.format].size(info) if unit_rows is None else 0
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


def _cut(info: SourceInfo, unit_rows: int) -> Iterator[Slice]:
    if info.rows is None:
        yield whole(info)
        return
    stop = whole(info).stop_row or 0
    rows = [*range(0, stop, unit_rows), stop]
    places = FORMATS[info.format].cut(info, rows)
    for (start, end), (start_byte, end_byte) in zip(pairwise(rows), pairwise(places), strict=False):
        yield whole(info)._replace(start_row=start, stop_row=end, start_byte=start_byte, end_byte=end_byte)


def can_be_cut_again(info: SourceInfo) -> bool:
    """Whether slices of a file can be cut into portions."""
    return FORMATS[info.format].places is not None and info.rows is not None and info.compression is None


def portions(piece: Slice, count: int) -> list[Slice]:
    """Cut a slice into at most `count` slices of equally many rows, one after another.

    The slice itself where its rows are not counted, or could not be found without reading those before them.
    Raises `SourceError` when the file is no longer what it was.
    """
    places, uncut = FORMATS[piece.format].places, piece.stop_row is None or piece.compression is not None
    rows = 0 if uncut else (piece.stop_row or 0) - piece.start_row
    if places is None or rows < 2:
        return [piece]
    edges = [*range(piece.start_row, piece.stop_row or 0, math.ceil(rows / count)), piece.stop_row or 0]
    return _cut_at(piece, edges)


def has_places(piece: Slice) -> bool:
    """Whether it is known which bytes of an uncompressed file are the rows of a slice."""
    known = piece.start_byte is not None and piece.end_byte is not None and piece.stop_row is not None
    return known and piece.compression is None and FORMATS[piece.format].places is not None


def blocks_of_rows(piece: Slice, rows: int) -> list[Slice]:
    """Cut a slice where numbers of rows are multiples of `rows`, so that slices of a file which has grown
    have most of these in common. The slice itself where its rows have no places.
    Raises `SourceError` when the file is no longer what it was.
    """
    if not has_places(piece):
        return [piece]
    start, stop = piece.start_row, piece.stop_row or 0
    return _cut_at(piece, [start, *range((start // rows + 1) * rows, stop, rows), stop])


def _cut_at(piece: Slice, edges: Sequence[int]) -> list[Slice]:
    """Cut a slice at these rows; the first and last are its own ends."""
    places = FORMATS[piece.format].places
    if len(edges) == 2 or places is None:
        return [piece]
    return [
        piece._replace(start_row=start, stop_row=end, start_byte=start_byte, end_byte=end_byte)
        for (start, end), (start_byte, end_byte) in zip(
            pairwise(edges), pairwise(places(piece, edges)), strict=True
        )
    ]


def whole(info: SourceInfo) -> Slice:
    """A slice of all rows of a file, up to the number at which its source's limit stops."""
    stop = min((each for each in (info.rows, info.stop) if each is not None), default=None)
    start_byte, end_byte = None, None
    if info.rows is not None:
        start_byte, end_byte = FORMATS[info.format].cut(info, [0, info.rows])
    return Slice(
        info.source,
        info.format,
        info.compression,
        0,
        stop,
        start_byte,
        end_byte,
        info.entry,
        info.at,
        info.selection,
        info.max_row_bytes,
        info.delimiter,
    )


def _weight(info: SourceInfo, piece: Slice) -> int:
    """Bytes a slice is taken to weigh; whole numbers, so that the cut is exact on every machine."""
    if piece.stop_row is not None:
        return (piece.stop_row - piece.start_row) * _ROW_BYTES
    return FORMATS[info.format].size(info)
