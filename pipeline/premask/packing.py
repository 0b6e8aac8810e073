"""Packing: which samples share a row of `max_length` tokens, and the Arrow tables of the result.

Whole samples are put into bins by best-fit decreasing: the longest sample first, each into the fullest
bin that still has room for it. On chat data that fills more than 99.9 % of every row, where taking
samples as they come leaves 15 % unused. Samples are never cut, joined or dropped here.

    plan = plan_packs(np.array([5, 3, 4, 2]), capacity=8)  ->  packs (0, 1) and (2, 3)

All samples of one length are placed at a time, and bins with equal room left are handled as one, so the
plan costs Python work per distinct length, not per sample: 12,600 chat lengths at 8192 (a window of 16 M
tokens) take 11 ms, 1 M take 0.07 s, 10 M take 0.55 s and 46 bytes each. No better method is needed: such a
window comes out with as many packs as its tokens fill, or with one more. A slow twin that places one
sample at a time stands in `tests/test_packing.py`, and must agree on every pack. The tables copy whole
samples, 1 ns a token for each column.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from .core.arrays import arrow_array, offsets_of
from .core.contract import IGNORE_INDEX, LINEAGE_SCHEMA, LOSS_WEIGHTS, ORIGIN_SCHEMA, row_schema
from .core.records import SampleOrigin, Samples
from .core.text import storable


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
    placements = _best_fit(np.bincount(lengths), capacity)
    return _in_input_order(_fill(placements, _stable_order(capacity - lengths)))


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
    """The next `bins * each` samples go into the bins `first`, `first + 1`, ..., `each` into every one, which
    holds `held` samples so far."""

    first: int
    bins: int
    each: int
    held: int


class _OpenBins:
    """Bins by the room they have left; bins with equal room stand in the order in which they got it.

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


def _best_fit(counts: np.ndarray, capacity: int) -> list[_Placement]:
    """Place `counts[length]` samples of each length, longest first.

    A bin that takes one sample is afterwards the fullest that may still have room for the next one of
    the same length, so it takes as many as fit before the next bin gets any.
    """
    bins = _OpenBins(capacity)
    placements = []
    for length in np.flatnonzero(counts)[::-1].tolist():
        items = int(counts[length])
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
    bin_of = _counted(first, bins)  # of a placement in one bin
    each, held = np.repeat(each, bins), np.repeat(held, bins)
    sizes = np.bincount(bin_of, each).astype(np.int64)
    by_size = _stable_order(sizes)
    starts = np.empty_like(sizes)
    starts[by_size] = offsets_of(sizes[by_size])[:-1]
    placed = np.empty_like(samples)
    placed[_counted(starts[bin_of] + held, each)] = samples
    at = 0
    for size, count in enumerate(np.bincount(sizes).tolist()):
        if size > 1 and count:
            placed[at : at + size * count].reshape(count, size).sort(axis=1)
        at += size * count
    return _Bins(placed, starts, sizes)


def _in_input_order(bins: _Bins) -> PackPlan:
    """Return the plan with these bins in the order of their first samples."""
    order = _stable_order(bins.samples[bins.starts])
    sizes = bins.sizes[order]
    return PackPlan(bins.samples[_counted(bins.starts[order], sizes)], offsets_of(sizes))


def _counted(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return `start`, `start + 1`, ..., as many as the count says, of each start after another.

    >>> _counted(np.array([5, 0]), np.array([2, 3])).tolist()
    [5, 6, 0, 1, 2]
    """
    numbers = np.repeat(starts - offsets_of(counts)[:-1], counts)
    numbers += np.arange(len(numbers))
    return numbers


def _stable_order(keys: np.ndarray) -> np.ndarray:
    """Return the stable sorting order of non-negative integers; numpy sorts 16 bits at a time by radix.

    >>> _stable_order(np.array([2, 1 << 20, 2, 1])).tolist()
    [3, 0, 2, 1]
    """
    order = np.argsort(keys.astype(np.uint16), kind="stable")
    for shift in range(16, int(keys.max()).bit_length(), 16):
        order = order[np.argsort((keys[order] >> shift).astype(np.uint16), kind="stable")]
    return order


# ==== The tables ====


class Padding(NamedTuple):
    """What packs are filled up with, to `length` tokens: a token and its label."""

    length: int
    token: int
    label: int


class RowFormat(NamedTuple):
    """What a recipe adds to the rows of a layout: packs with padding, and the names of the
    `contracts.TRAINED_MASKS` that are written."""

    padding: Padding | None = None
    masks: tuple[str, ...] = ()


def pack_tables(
    samples: Samples, plan: PackPlan, packs: int, format_: RowFormat | None = None
) -> Iterator[pa.RecordBatch]:
    """Lay out samples by a plan, at most so many packs at a time: one row a pack, with the columns of
    `contracts.PACKED_SCHEMA` and those of the format.

    Ids and labels are copied as they are, `position_ids` count from 0 in every sample. Raises
    `OverflowError` if the tokens are too many for one Arrow list column, and `ValueError` if the
    samples do not fit together or the plan is one of other samples.
    """
    lengths = _checked_lengths(samples, plan)
    for first in range(0, max(1, len(plan.offsets) - 1), packs):
        offsets = plan.offsets[first : first + packs + 1]
        some = PackPlan(plan.order[offsets[0] : offsets[-1]], offsets - offsets[0])
        yield _packs(samples, some, lengths[some.order], format_ or RowFormat())


def _packs(samples: Samples, plan: PackPlan, lengths: np.ndarray, format_: RowFormat) -> pa.RecordBatch:
    """The packs of a plan for some of the samples; `lengths` are those of `plan.order`."""
    starts = offsets_of(lengths)
    bounds = _list_offsets(starts[plan.offsets])
    positions = np.arange(starts[-1], dtype=np.int32)
    positions -= np.repeat(starts[:-1].astype(np.int32), lengths)
    flat = {
        "input_ids": _taken(samples.ids, samples.offsets, plan.order),
        "labels": _taken(samples.labels, samples.offsets, plan.order),
        "position_ids": positions,
    }
    if samples.weights is not None:
        flat[LOSS_WEIGHTS.name] = _taken(samples.weights, samples.offsets, plan.order)
    documents = plan.offsets
    if format_.padding is not None:
        flat, lengths, documents = _padded(flat, lengths, documents, np.diff(bounds), format_.padding)
        bounds = _list_offsets(np.arange(len(bounds)) * format_.padding.length)
    seq_lengths = _lists(_list_offsets(documents), lengths.astype(np.int32))
    return _rows("packed", flat, bounds, format_, {"seq_lengths": seq_lengths})


def _padded(
    flat: Mapping[str, np.ndarray],
    lengths: np.ndarray,
    documents: np.ndarray,
    sizes: np.ndarray,
    padding: Padding,
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Packs of `sizes` tokens, each filled up with a document of its own: the columns, the lengths of the
    documents, and where those of each pack begin."""
    place = np.arange(padding.length, dtype=np.int32)
    held = place < sizes[:, None]
    filling = {"input_ids": padding.token, "labels": padding.label, "position_ids": place - sizes[:, None]}
    padded = {}
    for name, values in flat.items():
        padded[name] = np.empty(held.shape, dtype=values.dtype)
        padded[name][:] = filling.get(name, 0)
        padded[name][held] = values
    room = padding.length - sizes
    some = room > 0
    lengths = np.insert(lengths, documents[1:][some], room[some])
    return {name: each.ravel() for name, each in padded.items()}, lengths, documents + offsets_of(some)


def unpacked_table(samples: Samples, format_: RowFormat | None = None) -> pa.RecordBatch:
    """Lay out samples in input order: one row a sample, with the columns of `contracts.UNPACKED_SCHEMA` and
    those of the format, without padding.

    Raises `OverflowError` and `ValueError` as `pack_tables` does. Copies no tokens.
    """
    _checked_lengths(samples, one_each(len(samples.origin)))
    flat = {
        "input_ids": samples.ids,
        "labels": samples.labels,
        "attention_mask": np.ones(len(samples.ids), dtype=np.int8),
    }
    if samples.weights is not None:
        flat[LOSS_WEIGHTS.name] = samples.weights
    return _rows("unpacked", flat, _list_offsets(samples.offsets), format_ or RowFormat(), {})


def _rows(
    layout: str,
    flat: Mapping[str, np.ndarray],
    bounds: np.ndarray,
    format_: RowFormat,
    others: Mapping[str, pa.Array],
) -> pa.RecordBatch:
    """The rows of a layout: row r holds `values[bounds[r]:bounds[r+1]]` of each flat column."""
    columns = {name: _lists(bounds, values) for name, values in flat.items()}
    columns |= {"length": arrow_array(np.diff(bounds)), **others}
    if format_.masks:
        trained = (flat["labels"] != IGNORE_INDEX).view(np.int8)
        columns |= {name: _lists(bounds, trained) for name in format_.masks}
    schema = row_schema(layout, loss_weights=LOSS_WEIGHTS.name in flat, extra_columns=format_.masks)
    return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)


def lineage_table(samples: Samples, plan: PackPlan, first_pack: int, split: str = "train") -> pa.RecordBatch:
    """Say for every sample where it came from and where it went, with the columns of `LINEAGE_SCHEMA`.

    One row a sample, in the order of the plan. `first_pack` is the number of the plan's first pack in its
    split; with the plan `one_each` packs are rows of the unpacked layout.
    """
    lengths = _checked_lengths(samples, plan)[plan.order]
    starts, members = offsets_of(lengths), np.diff(plan.offsets)
    columns: list[Any] = [
        np.repeat(np.arange(len(members)) + first_pack, members),
        (starts[:-1] - np.repeat(starts[plan.offsets[:-1]], members)).astype(np.int32),
        lengths.astype(np.int32),
    ]
    origin = samples.origin.take(arrow_array(plan.order))
    splits = pa.repeat(pa.scalar(split), len(lengths))
    columns = [*map(arrow_array, columns), *origin.columns, splits]
    return pa.RecordBatch.from_arrays(columns, schema=LINEAGE_SCHEMA)


# ==== Samples as a whole ====


def origin_table(origins: Sequence[SampleOrigin]) -> pa.RecordBatch:
    """Origins as Arrow, with the columns of `ORIGIN_SCHEMA`."""
    columns: list[list[Any]] = [
        [storable(each.source) for each in origins],
        [each.row for each in origins],
        [None if each.id is None else storable(each.id) for each in origins],
        [each.sample for each in origins],
        [each.trained_turns for each in origins],
    ]
    arrays = [pa.array(column, type=f.type) for column, f in zip(columns, ORIGIN_SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=ORIGIN_SCHEMA)


def concat_samples(parts: Sequence[Samples]) -> Samples:
    """All samples of the parts, one part after another; one copy. Of no parts: no samples, no weights."""
    if len(parts) == 1:
        return parts[0]
    parts = parts or [_no_samples()]
    weights = [part.weights for part in parts if part.weights is not None]
    return Samples(
        np.concatenate([part.ids for part in parts]),
        np.concatenate([part.labels for part in parts]),
        offsets_of(np.concatenate([np.diff(part.offsets) for part in parts])),
        pa.concat_batches([part.origin for part in parts]),
        np.concatenate(weights) if weights else None,
    )


def cut_samples(samples: Samples, start: int, stop: int) -> Samples:
    """Samples `start` to `stop`; copies no tokens."""
    first, last = samples.offsets[start], samples.offsets[stop]
    return Samples(
        samples.ids[first:last],
        samples.labels[first:last],
        samples.offsets[start : stop + 1] - first,
        samples.origin.slice(start, stop - start),
        None if samples.weights is None else samples.weights[first:last],
    )


def take_samples(samples: Samples, order: np.ndarray) -> Samples:
    """Samples by their numbers, int64[n], each as often as it is named; one copy."""
    weights = samples.weights
    return Samples(
        _taken(samples.ids, samples.offsets, order),
        _taken(samples.labels, samples.offsets, order),
        offsets_of(np.diff(samples.offsets)[order]),
        samples.origin.take(arrow_array(order)),
        None if weights is None else _taken(weights, samples.offsets, order),
    )


def _no_samples() -> Samples:
    none = np.zeros(0, dtype=np.int32)
    return Samples(none, none, np.zeros(1, dtype=np.int64), origin_table([]))


def _taken(values: np.ndarray, offsets: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Copy the stretches `values[offsets[i]:offsets[i+1]]` for the numbers i in `order`, side by side.

    Arrow copies the bytes of a stretch at once, where numpy takes one value after another: 0.6 ns a token
    instead of 3, 1.4 instead of 5 where samples have but 83 tokens.

    >>> _taken(np.array([7, 8, 9]), np.array([0, 1, 3]), np.array([1, 0])).tolist()
    [8, 9, 7]
    """
    bounds = np.asarray(offsets, dtype=np.int64) * values.itemsize
    buffers = [None, pa.py_buffer(bounds), pa.py_buffer(np.ascontiguousarray(values))]
    stretches = pa.Array.from_buffers(pa.large_binary(), len(bounds) - 1, buffers)
    data = stretches.take(arrow_array(order)).buffers()[2]
    size = int(np.diff(offsets)[order].sum())
    return np.frombuffer(data, dtype=values.dtype, count=size) if size else values[:0]


def _checked_lengths(samples: Samples, plan: PackPlan) -> np.ndarray:
    """Return the samples' lengths, int64[n], once all sizes are known to fit together."""
    n, end = len(samples.offsets) - 1, int(samples.offsets[-1])
    sizes = {"ids": len(samples.ids), "labels": len(samples.labels)}
    if samples.weights is not None:
        sizes["weights"] = len(samples.weights)
    if samples.offsets[0] != 0 or any(size != end for size in sizes.values()):
        raise ValueError(
            f"samples do not fit together: {', '.join(f'{size} {name}' for name, size in sizes.items())}, "
            f"offsets from {samples.offsets[0]} to {end}; each needs as many tokens as the offsets say"
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


def _lists(bounds: np.ndarray, values: np.ndarray) -> pa.Array:
    """Build a list column: row r holds `values[bounds[r]:bounds[r+1]]`."""
    type_ = pa.list_(pa.field("element", pa.from_numpy_dtype(values.dtype)))
    return pa.ListArray.from_arrays(arrow_array(bounds), arrow_array(values), type=type_)
