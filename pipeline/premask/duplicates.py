"""Rows whose conversation is that of an earlier row, over all units of a run.

    write_hashes(path, hashes)                # a unit's rows, in the order in which they are read
    for place, first in find_duplicates(paths): ...

A unit knows only its own rows, so each writes down the hashes of its rows (`rowkeys.py`), and here they are
compared. Which of equal rows is the first one follows from the order of the input alone.

Cost: 0.2 us and 36 bytes a row, of at most `ROWS_AT_ONCE` rows at a time: more are compared part by part, by
the first bits of their hashes, with the files read once for each part.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .core.atomic_files import named
from .rowkeys import HASH_BYTES

ROWS_AT_ONCE = 1 << 25
"""Rows whose hashes are held in memory, about."""

HASHED = np.dtype([("piece", "<i4"), ("row", "<i8"), ("hash", "u1", (HASH_BYTES,))])
"""One row that is a conversation: which slice of its unit it is in, its number in its file, its hash."""


class Duplicates(NamedTuple):
    """Rows that are an earlier one again: their places and those of the first ones like them, int64[n] each,
    ascending by place. A place counts the hashed rows of all units, in order."""

    place: np.ndarray
    first: np.ndarray


def hashed_rows(piece: int, numbers: np.ndarray, hashes: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Rows of a batch as `HASHED`, those that are known."""
    rows = np.empty(int(np.count_nonzero(known)), dtype=HASHED)
    rows["piece"], rows["row"], rows["hash"] = piece, numbers[known], hashes[known]
    return rows


def write_hashes(path: Path, parts: Sequence[np.ndarray]) -> None:
    """Write the rows of a unit, `HASHED`, to a new file in the format of `np.save`, whose own error does not
    say that a disk is full."""
    rows = np.concatenate([np.empty(0, dtype=HASHED), *parts])
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(rows))
        file.write(rows.view(np.uint8).data)


def read_hashes(path: Path) -> np.ndarray:
    """The rows of a unit, `HASHED[n]`, mapped into memory."""
    rows: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    return rows


def find_duplicates(paths: Sequence[Path], rows_at_once: int = ROWS_AT_ONCE) -> Duplicates:
    """The rows of these units, in order, that equal an earlier one."""
    sizes = [len(read_hashes(path)) for path in paths]
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    parts = 1 << max(0, (int(starts[-1]) // max(1, rows_at_once)).bit_length())
    found = [_equal_rows(paths, starts, part, parts) for part in range(parts)]
    place, first = (np.concatenate(columns) for columns in zip(*found, strict=True))
    order = np.argsort(place, kind="stable")
    return Duplicates(place[order], first[order])


def _equal_rows(paths: Sequence[Path], starts: np.ndarray, part: int, parts: int) -> Duplicates:
    """Duplicates among the rows whose hashes fall into one of so many parts (a power of 2)."""
    hashes, places = [np.empty((0, 2), dtype=np.uint64)], [np.empty(0, dtype=np.int64)]
    for path, start in zip(paths, starts.tolist(), strict=False):
        each = np.ascontiguousarray(read_hashes(path)["hash"]).view(np.uint64).reshape(-1, 2)
        own = np.flatnonzero(each[:, 0] % np.uint64(parts) == part)
        hashes.append(each[own])
        places.append(own + start)
    both, place = np.concatenate(hashes), np.concatenate(places)
    order = np.lexsort((both[:, 1], both[:, 0]))  # stable: equal ones stay in the order of the input
    same = (np.diff(both[order], axis=0) == 0).all(axis=1)
    again = np.concatenate([np.zeros(min(1, len(order)), dtype=bool), same])
    head = np.maximum.accumulate(np.where(again, 0, np.arange(len(order))))
    return Duplicates(place[order[again]], place[order[head[again]]])


def count_by_source(
    paths: Sequence[Path], sources: Sequence[Sequence[str]], found: Duplicates
) -> Counter[str]:
    """How many of the duplicates each file has; `sources` are the files of each unit's slices."""
    counts, start = Counter[str](), 0
    for path, names in zip(paths, sources, strict=True):
        rows = read_hashes(path)
        own = slice(*np.searchsorted(found.place, [start, start + len(rows)]))
        for piece, count in Counter(rows["piece"][found.place[own] - start].tolist()).items():
            counts[names[piece]] += count
        start += len(rows)
    return counts


class Dropped(NamedTuple):
    """Rows of a unit that are left out as duplicates, and the rows that they are equal to.

    piece, row    int32[n], int64[n]   slice of the unit, and number in its file
    source, first n names, int64[n]    file and row of the first one
    """

    piece: np.ndarray
    row: np.ndarray
    source: list[str]
    first: np.ndarray


def write_dropped(
    paths: Sequence[Path],
    targets: Sequence[Path | None],
    sources: Sequence[Sequence[str]],
    found: Duplicates,
) -> None:
    """Write for each unit that has a target which of its rows are duplicates; `sources` are the files of its
    slices. Raises `OutputError` if the disk does not take it."""
    names = sorted({name for unit in sources for name in unit})
    starts = np.concatenate([[0], np.cumsum([len(read_hashes(path)) for path in paths])]).astype(np.int64)
    unit_of_first = np.searchsorted(starts, found.first, side="right") - 1
    source, first = np.zeros(len(found.first), dtype=np.int64), np.zeros(len(found.first), dtype=np.int64)
    for unit in np.unique(unit_of_first).tolist():
        own = unit_of_first == unit
        rows = read_hashes(paths[unit])[found.first[own] - starts[unit]]
        numbers = np.array([names.index(name) for name in sources[unit]])
        source[own], first[own] = numbers[rows["piece"]], rows["row"]
    for unit, (path, target) in enumerate(zip(paths, targets, strict=True)):
        if target is None:
            continue
        own = slice(*np.searchsorted(found.place, starts[unit : unit + 2]))
        rows = read_hashes(path)[found.place[own] - starts[unit]]
        columns = {"piece": rows["piece"], "row": rows["row"], "source": source[own], "first": first[own]}
        with named(target), target.open("wb") as file:
            np.savez(file, names=np.array(names), **columns)


def read_dropped(path: Path) -> Dropped:
    """What `write_dropped` wrote for a unit."""
    with np.load(path, allow_pickle=False) as file:
        names = file["names"].tolist()
        return Dropped(file["piece"], file["row"], [names[i] for i in file["source"].tolist()], file["first"])
