"""Packing: which samples share a row of `max_length` tokens, and the Arrow tables of the result.

Whole samples are put into bins by best-fit decreasing: the longest sample first, each into the fullest
bin that still has room for it. On chat data that fills more than 99.9 % of every row, where taking
samples as they come leaves 15 % unused. Samples are never cut, joined or dropped here.

    plan = plan_packs(np.array([5, 3, 4, 2]), capacity=8)  ->  packs (0, 1) and (2, 3)

All samples of one length are placed at a time, and bins with equal room left are handled as one, so the
plan costs Python work per distinct length, not per sample: 1 M chat lengths at 8192 take 0.3 s, 10 M
take 2.6 s, mostly in two sorts. The tables cost one copy of the tokens, 0.2 s for 16 M. A slow twin that
places one sample at a time stands in `tests/test_packing.py`, and must agree on every pack.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from .contracts import LINEAGE_SCHEMA, LOSS_WEIGHTS, PACKED_SCHEMA, UNPACKED_SCHEMA, Samples


class PackPlan(NamedTuple):
    """Which samples share a pack.

    order    int64[n]    sample numbers, pack by pack
    offsets  int64[m+1]  pack p holds the samples `order[offsets[p]:offsets[p+1]]`
    """

    order: np.ndarray
    offsets: np.ndarray


# ==== The plan ====


def plan_packs(lengths: np.ndarray, capacity: int) -> PackPlan:
    """Distribute n samples over packs of at most `capacity` tokens by best-fit decreasing.

    `lengths` (int[n], tokens) are placed longest first, equals by sample number. Of several bins with
    the same room left, the one that has had it longest is taken. Packs come out in order of their first
    sample, and samples in a pack in order of their number, so that the output follows the input.

    Raises `ValueError` for a length below 1 or above `capacity`.

    >>> plan = plan_packs(np.array([5, 3, 4, 2, 2]), 8)
    >>> [pack.tolist() for pack in np.split(plan.order, plan.offsets[1:-1])]
    [[0, 1], [2, 3, 4]]
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    if not len(lengths):
        return one_each(0)
    _check_lengths(lengths, capacity)
    bin_of = np.empty(len(lengths), dtype=np.int64)
    bin_of[_stable_order(capacity - lengths)] = _expand(_best_fit(np.bincount(lengths), capacity))
    return _in_input_order(bin_of)


def one_each(n: int) -> PackPlan:
    """Return the plan that gives each of n samples a row of its own.

    >>> one_each(2)
    PackPlan(order=array([0, 1]), offsets=array([0, 1, 2]))
    """
    return PackPlan(np.arange(n), np.arange(n + 1))


def _check_lengths(lengths: np.ndarray, capacity: int) -> None:
    wrong = np.flatnonzero((lengths < 1) | (lengths > capacity))
    if len(wrong):
        first = int(wrong[0])
        raise ValueError(
            f"sample {first} has {lengths[first]} tokens, but a pack takes samples of 1 to {capacity} "
            f"({len(wrong)} such samples); reject, cut or split them before packing, or raise max_length"
        )


class _Placement(NamedTuple):
    """The next `bins * each` samples go into the bins `first`, `first + 1`, ..., `each` into every one."""

    first: int
    bins: int
    each: int


class _OpenBins:
    """Bins by the room they have left; bins with equal room stand in the order in which they got it.

    Bins are numbered as they are opened and kept as ranges: what happens to one of a range happens to
    all of it, so that the number of ranges grows with the distinct lengths and not with the bins.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._opened = 0
        self._rooms: list[int] = []  # sorted: the keys of _groups
        self._groups: dict[int, deque[range]] = {}

    def take(self, length: int, items: int) -> tuple[int, range]:
        """Take out the fullest bins that have room for `length`, no more of them than `items` need."""
        at = bisect_left(self._rooms, length)
        if at == len(self._rooms):
            return self._capacity, self._open(-(-items // (self._capacity // length)))
        room = self._rooms[at]
        group = self._groups[room]
        bins = group.popleft()
        needed = -(-items // (room // length))
        if len(bins) > needed:
            group.appendleft(bins[needed:])
        elif not group:
            del self._groups[room], self._rooms[at]
        return room, bins[:needed]

    def put(self, room: int, bins: range) -> None:
        """Put bins back that now have `room` left; full bins are forgotten."""
        if not room or not bins:
            return
        if room not in self._groups:
            self._rooms.insert(bisect_left(self._rooms, room), room)
            self._groups[room] = deque()
        self._groups[room].append(bins)

    def _open(self, count: int) -> range:
        self._opened += count
        return range(self._opened - count, self._opened)


def _best_fit(counts: np.ndarray, capacity: int) -> list[_Placement]:
    """Place `counts[length]` samples of each length, longest first.

    A bin that takes one sample is afterwards the fullest that may still have room for the next one of
    the same length, so it takes as many as fit before the next bin gets any.
    """
    open_bins = _OpenBins(capacity)
    placements = []
    for length in np.flatnonzero(counts)[::-1].tolist():
        items = int(counts[length])
        while items:
            room, bins = open_bins.take(length, items)
            each = room // length
            full = min(len(bins), items // each)
            rest = items - full * each if full < len(bins) else 0  # for one last bin, not filled up
            if full:
                placements.append(_Placement(bins.start, full, each))
            if rest:
                placements.append(_Placement(bins.start + full, 1, rest))
            open_bins.put(room - each * length, bins[:full])
            open_bins.put(room - rest * length, bins[full:])
            items -= full * each + rest
    return placements


def _expand(placements: list[_Placement]) -> np.ndarray:
    """Return the bin of each sample, in the order in which they were placed.

    >>> _expand([_Placement(0, 2, 3), _Placement(7, 1, 2)]).tolist()
    [0, 0, 0, 1, 1, 1, 7, 7]
    """
    first, bins, each = np.array(placements, dtype=np.int64).T
    before = np.cumsum(bins) - bins
    numbers = np.repeat(first - before, bins) + np.arange(bins.sum())
    return np.repeat(numbers, np.repeat(each, bins))


def _in_input_order(bin_of: np.ndarray) -> PackPlan:
    """Renumber the bins by their first sample, and list the samples of each in order."""
    n = len(bin_of)
    first_sample = np.empty(bin_of.max() + 1, dtype=np.int64)
    first_sample[bin_of[::-1]] = np.arange(n)[::-1]  # of equal indices the last assignment stays
    is_first = np.zeros(n, dtype=np.int64)
    is_first[first_sample] = 1
    pack_of = (np.cumsum(is_first) - 1)[first_sample][bin_of]
    return PackPlan(_stable_order(pack_of), _offsets(np.bincount(pack_of)))


def _stable_order(keys: np.ndarray) -> np.ndarray:
    """Return the stable sorting order of small non-negative keys; half the time of numpy's own.

    >>> _stable_order(np.array([2, 0, 2, 1])).tolist()
    [1, 3, 0, 2]
    """
    bits = len(keys).bit_length()
    return np.sort((keys << bits) | np.arange(len(keys))) & ((1 << bits) - 1)


def _offsets(counts: np.ndarray) -> np.ndarray:
    """Return where each of n stretches starts, and the end: int64[n+1].

    >>> _offsets(np.array([2, 3])).tolist()
    [0, 2, 5]
    """
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])


# ==== The tables ====


def pack_table(samples: Samples, plan: PackPlan) -> pa.RecordBatch:
    """Lay out samples by a plan: one row a pack, with the columns of `contracts.PACKED_SCHEMA`.

    Ids and labels are copied as they are, `position_ids` count from 0 in every sample. Raises
    `OverflowError` if the tokens are too many for one Arrow list column, and `ValueError` if the
    samples do not fit together or the plan is one of other samples.
    """
    lengths = _checked_lengths(samples, plan)[plan.order]
    starts = _offsets(lengths)
    bounds = _list_offsets(starts[plan.offsets])
    tokens = np.arange(starts[-1])
    source = np.repeat(samples.offsets[:-1][plan.order] - starts[:-1], lengths) + tokens
    positions = (tokens - np.repeat(starts[:-1], lengths)).astype(np.int32)
    columns = [
        _lists(PACKED_SCHEMA, "input_ids", bounds, samples.ids[source]),
        _lists(PACKED_SCHEMA, "labels", bounds, samples.labels[source]),
        _lists(PACKED_SCHEMA, "position_ids", bounds, positions),
        _lists(PACKED_SCHEMA, "seq_lengths", _list_offsets(plan.offsets), lengths.astype(np.int32)),
        pa.array(np.diff(bounds)),
    ]
    return _batch(
        PACKED_SCHEMA, columns, bounds, None if samples.weights is None else samples.weights[source]
    )


def unpacked_table(samples: Samples) -> pa.RecordBatch:
    """Lay out samples in input order: one row a sample, with the columns of `contracts.UNPACKED_SCHEMA`.

    Raises `OverflowError` and `ValueError` as `pack_table` does. Copies no tokens.
    """
    _checked_lengths(samples, one_each(len(samples.origin)))
    bounds = _list_offsets(samples.offsets)
    columns = [
        _lists(UNPACKED_SCHEMA, "input_ids", bounds, samples.ids),
        _lists(UNPACKED_SCHEMA, "labels", bounds, samples.labels),
        _lists(UNPACKED_SCHEMA, "attention_mask", bounds, np.ones(len(samples.ids), dtype=np.int8)),
        pa.array(np.diff(bounds)),
    ]
    return _batch(UNPACKED_SCHEMA, columns, bounds, samples.weights)


def _batch(
    schema: pa.Schema, columns: list[pa.Array], bounds: np.ndarray, weights: np.ndarray | None
) -> pa.RecordBatch:
    """The columns of a layout as one batch, with those of the loss weights where there are any."""
    if weights is not None:
        schema = schema.append(LOSS_WEIGHTS)
        columns = [*columns, _lists(schema, LOSS_WEIGHTS.name, bounds, weights)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def lineage_table(samples: Samples, plan: PackPlan, first_pack: int) -> pa.RecordBatch:
    """Say for every sample where it came from and where it went, with the columns of `LINEAGE_SCHEMA`.

    One row a sample, in the order of the plan. `first_pack` is the number of the plan's first pack;
    with the plan `one_each` packs are rows of the unpacked layout.
    """
    lengths = _checked_lengths(samples, plan)[plan.order]
    starts, members = _offsets(lengths), np.diff(plan.offsets)
    origin = [samples.origin[i] for i in plan.order.tolist()]
    columns = [
        np.repeat(np.arange(len(members)) + first_pack, members),
        (starts[:-1] - np.repeat(starts[plan.offsets[:-1]], members)).astype(np.int32),
        lengths.astype(np.int32),
        [storable(sample.source) for sample in origin],
        [sample.row for sample in origin],
        [sample.id if sample.id is None else storable(sample.id) for sample in origin],
        [sample.sample for sample in origin],
        [sample.trained_turns for sample in origin],
    ]
    arrays = [pa.array(c, type=f.type) for c, f in zip(columns, LINEAGE_SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=LINEAGE_SCHEMA)


def storable(text: str) -> str:
    r"""Return text as Arrow can hold it: lone surrogates, which are no Unicode text, become escapes.

    >>> print(storable("caf\u00e9 \ud800"))
    café \ud800
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _checked_lengths(samples: Samples, plan: PackPlan) -> np.ndarray:
    """Return the samples' lengths, int64[n], once all sizes are known to fit together."""
    n, end = len(samples.offsets) - 1, int(samples.offsets[-1])
    if not (len(samples.ids) == len(samples.labels) == end and samples.offsets[0] == 0):
        raise ValueError(
            f"samples do not fit together: {len(samples.ids)} ids, {len(samples.labels)} labels, offsets "
            f"from {samples.offsets[0]} to {end}; ids and labels need as many tokens as the offsets say"
        )
    if not len(samples.origin) == len(plan.order) == n:
        raise ValueError(
            f"{n} samples, {len(samples.origin)} origins and a plan for {len(plan.order)}; "
            "plan the packs from the lengths of the same samples, one origin each"
        )
    return np.diff(samples.offsets)


def _list_offsets(offsets: np.ndarray) -> np.ndarray:
    """Return offsets as the int32 that an Arrow list column has.

    >>> _list_offsets(np.array([0, 2**31]))
    Traceback (most recent call last):
    OverflowError: 2147483648 tokens in one table, but an Arrow list column holds fewer; lower pack_window
    """
    if offsets[-1] >= 2**31:
        raise OverflowError(
            f"{offsets[-1]} tokens in one table, but an Arrow list column holds fewer; lower pack_window"
        )
    return offsets.astype(np.int32)


def _lists(schema: pa.Schema, name: str, bounds: np.ndarray, values: np.ndarray) -> pa.Array:
    """Build the list column `name`: row r holds `values[bounds[r]:bounds[r+1]]`."""
    return pa.ListArray.from_arrays(pa.array(bounds), pa.array(values), type=schema.field(name).type)
