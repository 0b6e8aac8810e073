"""Samples of one row in different packs: copies of a row that is repeated, and the samples of its turns.

    numbers = row_numbers(samples.origin)                   # int64[n]: equal for samples of one row
    pack_of = apart(pack_of, lengths, numbers, capacity)    # after swaps of samples between packs
    together(pack_of, numbers)                              # samples that are beside one of their own row

A model that sees two copies of a row in one step learns from it twice at once, as if it had a double weight.
Best-fit packing puts equal lengths side by side, and so copies of a row. Here a sample changes places with
one of about its length, so that both packs still have room. No pack is added, and nothing is cut. A sample
stays where it is if no other one can take its place: the data may have nothing but copies of one row.

Each round lets every such sample choose among `TRIES` others, which a hash names, and swaps those pairs whose
packs take part in no other swap of the round.

Cost: a sort of the samples of repeated rows for each round; a window of 16 M tokens takes some ms.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from ..core.hashing import mixed_bits

TRIES = 16
"""Samples that one may change places with in a round, of which it takes the first that fits."""

SLACKS = (0, 0, 2, 8, 32, 128, 512)
"""Tokens by which a sample may be shorter than the one whose place it takes, tried one after another; it is
longer only where its new pack has room."""

_ROUNDS = 64  # at most, for each of the slacks


def row_numbers(origin: pa.RecordBatch) -> np.ndarray:
    """Return a number for each sample, int64[n], from its origin (`ORIGIN_SCHEMA`): the same for samples
    of one input row, counted from 0.

    >>> origin = pa.RecordBatch.from_pydict({"source": ["b", "a", "b", "b"], "row": [1, 1, 0, 1]})
    >>> row_numbers(origin).tolist()
    [1, 2, 0, 1]
    """
    source = origin.column("source").dictionary_encode().indices.to_numpy()
    return numbered(source, origin.column("row").to_numpy())


def numbered(source: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Return a number for each sample, int64[n], from the numbers of its source and its row there.

    >>> numbered(np.array([4, 4, 2]), np.array([7, 7, 7])).tolist()
    [1, 1, 0]
    """
    order = np.lexsort((row, source))
    new = (np.diff(source[order], prepend=-1) != 0) | (np.diff(row[order], prepend=-1) != 0)
    numbers = np.empty(len(row), dtype=np.int64)
    numbers[order] = np.cumsum(new) - 1
    return numbers


def copy_numbers(rows: np.ndarray) -> np.ndarray:
    """Return for each sample how many of its row come before it, int64[n].

    >>> copy_numbers(np.array([5, 7, 5, 5])).tolist()
    [0, 0, 1, 2]
    """
    order = np.argsort(rows, kind="stable")
    starts = np.flatnonzero(np.diff(rows[order], prepend=-1) != 0)
    numbers = np.empty(len(rows), dtype=np.int64)
    numbers[order] = np.arange(len(rows)) - np.repeat(starts, np.diff(starts, append=len(rows)))
    return numbers


def together(pack_of: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the samples whose pack has an earlier one of their row, int64[k] ascending.

    >>> together(np.array([0, 0, 1, 0]), np.array([3, 4, 3, 3])).tolist()
    [3]
    """
    order = np.lexsort((rows, pack_of))
    pack, row = pack_of[order], rows[order]
    return np.sort(order[1:][(pack[1:] == pack[:-1]) & (row[1:] == row[:-1])])


def apart(pack_of: np.ndarray, lengths: np.ndarray, rows: np.ndarray, capacity: int) -> np.ndarray:
    """Return the pack of each sample, int64[n], after samples have changed places so that those of one row
    are in different packs, as far as swaps can do it.

    `pack_of` are the packs before, `lengths` tokens, `rows` the numbers of the rows (`row_numbers`), int64[n]
    each. A pack holds `capacity` tokens.

    >>> apart(np.array([0, 0, 1, 1]), np.array([4, 4, 4, 4]), np.array([0, 0, 1, 1]), 8).tolist()
    [0, 1, 0, 1]
    """
    swaps = _Swaps(pack_of, lengths, rows, capacity)
    for slack in SLACKS:
        for turn in range(_ROUNDS):
            if not len(swaps.beside) or not (swaps.round(turn, slack) or turn < 2):
                break
    return swaps.pack_of


class _Swaps:
    """Samples in their packs while they change places.

    beside  samples whose pack has an earlier one of their row
    """

    def __init__(self, pack_of: np.ndarray, lengths: np.ndarray, rows: np.ndarray, capacity: int) -> None:
        self.pack_of, self._lengths, self._rows = pack_of.copy(), lengths, rows
        self._room = capacity - np.bincount(pack_of, lengths).astype(np.int64)
        self._by_length = np.argsort(lengths, kind="stable")
        self._sorted = lengths[self._by_length]
        self._count = int(rows.max()) + 1
        self._several = np.flatnonzero(np.bincount(rows)[rows] > 1)  # only these can be beside another
        self._look()

    def _look(self) -> None:
        """Find out which rows each pack has, and which samples are beside one of their row."""
        several = self._several
        keys = self.pack_of[several] * self._count + self._rows[several]
        order = np.argsort(keys, kind="stable")
        self._keys = keys[order]
        self.beside = several[order[1:][self._keys[1:] == self._keys[:-1]]]

    def _has(self, packs: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Whether packs have samples of rows, for rows that have several."""
        wanted = packs * self._count + rows
        at = np.minimum(np.searchsorted(self._keys, wanted), len(self._keys) - 1)
        found: np.ndarray = self._keys[at] == wanted
        return found

    def round(self, turn: int, slack: int) -> int:
        """Have samples change places with others; return how many did."""
        mine = self.beside
        others = self._others(mine, turn, slack)
        fits = self._fit(np.repeat(mine, TRIES), others.reshape(-1)).reshape(others.shape)
        able = fits.any(axis=1)
        mine, theirs = mine[able], others[able, fits[able].argmax(axis=1)]
        first = _first_of_their_packs(self.pack_of[mine], self.pack_of[theirs])
        self._swap(mine[first], theirs[first])
        return int(first.sum())

    def _others(self, mine: np.ndarray, turn: int, slack: int) -> np.ndarray:
        """Return samples of about the lengths of these ones, int64[k, TRIES], as a hash names them."""
        length, room = self._lengths[mine], self._room[self.pack_of[mine]]
        low = np.searchsorted(self._sorted, length - slack, side="left")
        high = np.searchsorted(self._sorted, length + np.minimum(room, slack), side="right")
        seeds = mine[:, None].astype(np.uint64) * np.uint64(TRIES) + np.arange(TRIES, dtype=np.uint64)
        bits = mixed_bits(mixed_bits(seeds) ^ np.uint64(turn)) >> np.uint64(1)
        found: np.ndarray = self._by_length[low[:, None] + (bits.astype(np.int64) % (high - low)[:, None])]
        return found

    def _fit(self, mine: np.ndarray, theirs: np.ndarray) -> np.ndarray:
        """Whether each pair may change places: both packs have the room, and no sample of the row that
        comes."""
        here, there = self.pack_of[mine], self.pack_of[theirs]
        more = self._lengths[theirs] - self._lengths[mine]
        fine: np.ndarray = (here != there) & (more <= self._room[here]) & (-more <= self._room[there])
        fine &= ~self._has(there, self._rows[mine]) & ~self._has(here, self._rows[theirs])
        return fine

    def _swap(self, mine: np.ndarray, theirs: np.ndarray) -> None:
        here, there = self.pack_of[mine], self.pack_of[theirs]
        more = self._lengths[theirs] - self._lengths[mine]
        self._room[here] -= more
        self._room[there] += more
        self.pack_of[mine], self.pack_of[theirs] = there, here
        self._look()


def _first_of_their_packs(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Whether neither pack of a pair is in an earlier pair, bool[n].

    >>> _first_of_their_packs(np.array([0, 2, 1]), np.array([1, 3, 2])).tolist()
    [True, True, False]
    """
    packs = np.stack([one, other], axis=1).reshape(-1)
    _, first, of_each = np.unique(packs, return_index=True, return_inverse=True)
    is_first: np.ndarray = first[of_each.reshape(-1)] // 2 == np.repeat(np.arange(len(one)), 2)
    both: np.ndarray = is_first[::2] & is_first[1::2]
    return both
