"""Sample packing: which samples share a row of `max_length` tokens.

Whole samples are put into bins by best-fit decreasing: the longest sample first, each into the fullest
bin that still has room for it. On chat data that fills more than 99.9 % of every row, where taking
samples as they come leaves 15 % unused. Samples are never cut, joined or dropped here.

    plan = plan_packs(np.array([5, 3, 4, 2]), capacity=8)  ->  packs (0, 1) and (2, 3)

All samples of one length are placed at a time, and bins with equal room left are handled as one, so the
plan costs Python work per distinct length, not per sample: 12,600 chat lengths at 8192 (a window of 16 M
tokens) take 11 ms, 1 M take 0.07 s, 10 M take 0.55 s and 46 bytes each. No better method is needed: such a
window comes out with as many packs as its tokens fill, or with one more. A slow reference that places one
sample at a time is in `tests/output/test_packing.py`, and must agree on every pack.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..core.arrays import offsets_of, runs_of_numbers
from ..core.hashing import mixed_bits
from .spreading import apart, copy_numbers


class PackPlan(NamedTuple):
    """Which samples share a pack.

    order    int64[n]    sample numbers, pack by pack
    offsets  int64[m+1]  pack p holds the samples `order[offsets[p]:offsets[p+1]]`
    """

    order: np.ndarray
    offsets: np.ndarray


class PackOrder(NamedTuple):
    """What decides, besides lengths, which samples share a pack and in which order packs are.

    spread  samples of one input row are in different packs where that is possible
    seed    packs are in the order of a hash with it; in that of their first samples if it is None
    """

    spread: bool = False
    seed: int | None = None


# ==== The plan ====


def plan_packs(lengths: np.ndarray, capacity: int, rows: np.ndarray | None = None) -> PackPlan:
    """Distribute n samples over packs of at most `capacity` tokens by best-fit decreasing.

    `lengths` (int[n], tokens) are placed longest first, equals by sample number. Of several bins with
    the same room left, the one that has had it longest is taken. Packs come out in order of their first
    sample, and samples in a pack in order of their number, so that the output follows the input.

    With `rows` (int64[n], equal for samples of one input row), samples of one row are in different packs as
    far as that is possible in as many packs (`spreading.py`).

    Raises `ValueError` for a length below 1 or above `capacity`.

    >>> plan = plan_packs(np.array([5, 3, 4, 2, 2]), 8)
    >>> [pack.tolist() for pack in np.split(plan.order, plan.offsets[1:-1])]
    [[0, 1], [2, 3, 4]]
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    if not len(lengths):
        return one_each(0)
    _check_lengths(lengths, capacity)
    plain = _best_fit([np.bincount(lengths)], capacity)
    if rows is None:
        return _in_input_order(_fill(plain, _stable_order(capacity - lengths)))
    copies = copy_numbers(rows * (capacity + 1) + lengths)
    bins = _fill(*_in_rounds(lengths, copies, capacity, plain))
    return _in_input_order(_apart(bins, lengths, rows, capacity))


def _in_rounds(
    lengths: np.ndarray, copies: np.ndarray, capacity: int, plain: list[_Placement]
) -> tuple[list[_Placement], np.ndarray]:
    """Return placements, and the samples in their order: first copies are placed before second ones, and so
    on. Later copies come into new bins, and into what room the earlier ones have left. `plain` is kept where
    that takes more bins."""
    longest_first = _stable_order(capacity - lengths)
    order = longest_first[_stable_order(copies[longest_first])]
    rounds = np.split(lengths[order], np.cumsum(np.bincount(copies))[:-1])
    placements = _best_fit([np.bincount(each) for each in rounds], capacity)
    if _bins_of(placements) > _bins_of(plain):
        return plain, longest_first
    return placements, order


def _bins_of(placements: list[_Placement]) -> int:
    return max(each.first + each.bins for each in placements)


def one_each(n: int) -> PackPlan:
    """Return the plan that gives each of n samples a row of its own.

    >>> one_each(2)
    PackPlan(order=array([0, 1]), offsets=array([0, 1, 2]))
    """
    return PackPlan(np.arange(n), np.arange(n + 1))


def in_seeded_order(plan: PackPlan, seed: int) -> PackPlan:
    """Return a plan with its packs in the order of a hash of their numbers and `seed`, not of their first
    samples: packs of many short samples have an early one, and so would come first.

    >>> in_seeded_order(PackPlan(np.array([0, 2, 1]), np.array([0, 2, 3])), 5).order.tolist()
    [1, 0, 2]
    """
    sizes = np.diff(plan.offsets)
    keys = mixed_bits(np.arange(len(sizes), dtype=np.uint64) ^ mixed_bits(np.array([seed], np.uint64)))
    order = np.argsort(keys, kind="stable")
    samples = plan.order[runs_of_numbers(plan.offsets[:-1][order], sizes[order])]
    return PackPlan(samples, offsets_of(sizes[order]))


def _check_lengths(lengths: np.ndarray, capacity: int) -> None:
    wrong = np.flatnonzero((lengths < 1) | (lengths > capacity))
    if len(wrong):
        first = int(wrong[0])
        raise ValueError(
            f"sample {first} has {lengths[first]} tokens, but a pack takes samples of 1 to {capacity} "
            f"({len(wrong)} such samples); reject, cut or split them before packing, or raise max_length"
        )


class _Placement(NamedTuple):
    """The next `bins * each` samples go into the bins `first`, `first + 1`, ..., `each` into every one, which
    holds `held` samples so far."""

    first: int
    bins: int
    each: int
    held: int


class _OpenBins:
    """Bins by the room they have left; bins with equal room are in the order in which they got it.

    Bins are numbered as they are opened and kept as ranges (first, end, samples held by each): what happens
    to one of a range happens to all of it, so that the number of ranges grows with the distinct lengths and
    not with the bins.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._opened = 0
        self._rooms: list[int] = []  # sorted: the keys of _ranges
        self._ranges: dict[int, deque[tuple[int, int, int]]] = {}

    def take(self, length: int, items: int) -> tuple[int, int, int, int]:
        """Take out the fullest bins that have room for `length`, no more of them than `items` need: the room,
        and the range."""
        at = bisect_left(self._rooms, length)
        if at == len(self._rooms):
            first = self._opened
            self._opened += -(-items // (self._capacity // length))
            return self._capacity, first, self._opened, 0
        room = self._rooms[at]
        ranges = self._ranges[room]
        first, end, held = ranges[0]
        stop = first - (-items // (room // length))
        if stop < end:
            ranges[0] = stop, end, held
            return room, first, stop, held
        ranges.popleft()
        if not ranges:
            del self._ranges[room], self._rooms[at]
        return room, first, end, held

    def put(self, room: int, first: int, end: int, held: int) -> None:
        """Put bins back that now have `room` left; full bins are forgotten."""
        if room in self._ranges:
            self._ranges[room].append((first, end, held))
        elif room:
            insort(self._rooms, room)
            self._ranges[room] = deque([(first, end, held)])


def _best_fit(rounds: Sequence[np.ndarray], capacity: int) -> list[_Placement]:
    """Place `counts[length]` samples of each length, longest first, in each round; int[longest + 1] each.

    A bin that takes one sample is afterwards the fullest that may still have room for the next one of
    the same length, so it takes as many as fit before the next bin gets any.
    """
    bins = _OpenBins(capacity)
    placements = []
    each_length = ((length, int(counts[length])) for counts in rounds for length in _longest_first(counts))
    for length, number in each_length:
        items = number
        while items:
            room, first, end, held = bins.take(length, items)
            each = room // length
            full = min(first + items // each, end)
            if full > first:
                placements.append(_Placement(first, full - first, each, held))
                bins.put(room - each * length, first, full, held + each)
                items -= (full - first) * each
            if full < end:  # one last bin takes the rest
                placements.append(_Placement(full, 1, items, held))
                bins.put(room - items * length, full, end, held + items)
                items = 0
    return placements


def _longest_first(counts: np.ndarray) -> list[int]:
    lengths: list[int] = np.flatnonzero(counts)[::-1].tolist()
    return lengths


class _Bins(NamedTuple):
    """Bins with their samples: bin b holds `samples[starts[b]:starts[b] + sizes[b]]`, ascending."""

    samples: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray


def _fill(placements: list[_Placement], samples: np.ndarray) -> _Bins:
    """Put samples, given in the order in which they are placed, into their bins.

    Bins of equal size lie side by side, so that their samples can be sorted as the rows of a matrix: a
    third of what it takes to sort all samples by bin.

    >>> bins = _fill([_Placement(0, 2, 1, 0), _Placement(0, 1, 2, 1)], np.array([3, 0, 2, 1]))
    >>> [array.tolist() for array in bins]
    [[0, 1, 2, 3], [1, 0], [3, 1]]
    """
    first, bins, each, held = np.array(placements).T
    bin_of = runs_of_numbers(first, bins)  # of a placement in one bin
    each, held = np.repeat(each, bins), np.repeat(held, bins)
    sizes = np.bincount(bin_of, each).astype(np.int64)
    by_size = _stable_order(sizes)
    starts = np.empty_like(sizes)
    starts[by_size] = offsets_of(sizes[by_size])[:-1]
    placed = np.empty_like(samples)
    placed[runs_of_numbers(starts[bin_of] + held, each)] = samples
    at = 0
    for size, count in enumerate(np.bincount(sizes).tolist()):
        if size > 1 and count:
            placed[at : at + size * count].reshape(count, size).sort(axis=1)
        at += size * count
    return _Bins(placed, starts, sizes)


def _apart(bins: _Bins, lengths: np.ndarray, rows: np.ndarray, capacity: int) -> _Bins:
    """Return bins of the same room whose samples are of different rows, as far as possible."""
    pack_of = np.empty_like(lengths)
    pack_of[bins.samples[runs_of_numbers(bins.starts, bins.sizes)]] = np.repeat(
        np.arange(len(bins.sizes)), bins.sizes
    )
    pack_of = apart(pack_of, lengths, rows, capacity)
    sizes = np.bincount(pack_of, minlength=len(bins.sizes))
    return _Bins(_stable_order(pack_of), offsets_of(sizes)[:-1], sizes)


def _in_input_order(bins: _Bins) -> PackPlan:
    """Return the plan with these bins in the order of their first samples."""
    order = _stable_order(bins.samples[bins.starts])
    sizes = bins.sizes[order]
    return PackPlan(bins.samples[runs_of_numbers(bins.starts[order], sizes)], offsets_of(sizes))


def _stable_order(keys: np.ndarray) -> np.ndarray:
    """Return the stable sorting order of non-negative integers; numpy sorts 16 bits at a time by radix.

    >>> _stable_order(np.array([2, 1 << 20, 2, 1])).tolist()
    [3, 0, 2, 1]
    """
    order = np.argsort(keys.astype(np.uint16), kind="stable")
    for shift in range(16, int(keys.max()).bit_length(), 16):
        order = order[np.argsort((keys[order] >> shift).astype(np.uint16), kind="stable")]
    return order
