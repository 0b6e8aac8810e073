"""Samples and a pack plan -> Arrow tables with the columns of the output contract.

    for packs in pack_tables(samples, plan, packs=1000, format_=RowFormat()): ...       # packed
    unpacked_table(samples), lineage_table(samples, plan, first_pack=0)

Cost: whole samples are copied, 1 ns a token for each column.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from ..core.arrays import arrow_array, filled_up, offsets_of, runs_of_numbers
from ..core.contract import IGNORE_INDEX, LOSS_WEIGHTS, lineage_schema, row_schema
from ..core.records import Samples
from .packing import PackPlan, one_each
from .windows import take_ranges


class Padding(NamedTuple):
    """Pad tokens: a token and its label. Packs are filled up to `length` tokens, unless it is 0; the samples
    in them to multiples of `multiple`."""

    length: int
    token: int
    label: int
    multiple: int = 1


class RowFormat(NamedTuple):
    """What a recipe adds to the rows of a layout: packs with padding, and the names of the
    `contract.TRAINED_MASKS` and of the token columns that are written."""

    padding: Padding | None = None
    masks: tuple[str, ...] = ()
    floats: tuple[str, ...] = ()

    @property
    def multiple(self) -> int:
        """The number of which lengths of samples in packs are multiples; 1 for any length."""
        return 1 if self.padding is None else self.padding.multiple


def pack_tables(
    samples: Samples, plan: PackPlan, packs: int, format_: RowFormat | None = None
) -> Iterator[pa.RecordBatch]:
    """Lay out samples by a plan, at most so many packs at a time: one row a pack, with the columns of
    `contract.PACKED_SCHEMA` and those of the format.

    Ids and labels are copied as they are, `position_ids` count from 0 in every sample, over the pad tokens
    behind it, too. Raises
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
    padding, rooms = format_.padding, filled_up(lengths, format_.multiple)
    starts = offsets_of(rooms)
    bounds = _list_offsets(starts[plan.offsets])
    positions = np.arange(starts[-1], dtype=np.int32)
    positions -= np.repeat(starts[:-1].astype(np.int32), rooms)
    flat = {
        "input_ids": take_ranges(samples.ids, samples.offsets, plan.order),
        "labels": take_ranges(samples.labels, samples.offsets, plan.order),
    }
    for name, values in samples.floats.items():
        flat[name] = take_ranges(values, samples.offsets, plan.order)
    if padding is not None and padding.multiple > 1:
        flat = _to_multiples(flat, lengths, rooms, padding)
    flat["position_ids"] = positions
    documents, sizes = plan.offsets, {"seq_lengths": lengths}
    if format_.multiple > 1:
        sizes["seq_lengths_padded"] = rooms
    if padding is not None and padding.length:
        flat, rest = _padded(flat, np.diff(bounds), padding)
        sizes = {
            name: np.insert(each, documents[1:][rest > 0], rest[rest > 0]) for name, each in sizes.items()
        }
        documents = documents + offsets_of(rest > 0)
        bounds = _list_offsets(np.arange(len(bounds)) * padding.length)
    edges = _list_offsets(documents)
    lists = {name: _lists(edges, each.astype(np.int32)) for name, each in sizes.items()}
    return _rows("packed", flat, bounds, format_, lists)


def _to_multiples(
    flat: Mapping[str, np.ndarray], lengths: np.ndarray, rooms: np.ndarray, padding: Padding
) -> dict[str, np.ndarray]:
    """Columns of samples of such lengths, each followed by pad tokens up to its room."""
    places = runs_of_numbers(offsets_of(rooms)[:-1], lengths)
    filling = {"input_ids": padding.token, "labels": padding.label}
    padded = {}
    for name, values in flat.items():
        padded[name] = np.full(int(rooms.sum()), filling.get(name, 0), dtype=values.dtype)
        padded[name][places] = values
    return padded


def _padded(
    flat: Mapping[str, np.ndarray], sizes: np.ndarray, padding: Padding
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Packs of `sizes` tokens, each filled up with a document of its own: the columns, and the lengths of
    these documents, 0 where there is none."""
    place = np.arange(padding.length, dtype=np.int32)
    held = place < sizes[:, None]
    filling = {"input_ids": padding.token, "labels": padding.label, "position_ids": place - sizes[:, None]}
    padded = {}
    for name, values in flat.items():
        padded[name] = np.empty(held.shape, dtype=values.dtype)
        padded[name][:] = filling.get(name, 0)
        padded[name][held] = values
    return {name: each.ravel() for name, each in padded.items()}, padding.length - sizes


def unpacked_table(samples: Samples, format_: RowFormat | None = None) -> pa.RecordBatch:
    """Lay out samples in input order: one row a sample, with the columns of `contract.UNPACKED_SCHEMA` and
    those of the format, without padding.

    Raises `OverflowError` and `ValueError` as `pack_tables` does. Copies no tokens.
    """
    _checked_lengths(samples, one_each(len(samples.origin)))
    flat = {
        "input_ids": samples.ids,
        "labels": samples.labels,
        "attention_mask": np.ones(len(samples.ids), dtype=np.int8),
    }
    flat |= samples.floats
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
    schema = row_schema(
        layout,
        loss_weights=LOSS_WEIGHTS.name in flat,
        token_columns=[name for name in format_.floats if name in flat],
        extra_columns=format_.masks,
        multiples=format_.multiple > 1,
    )
    return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)


def lineage_table(
    samples: Samples, plan: PackPlan, first_pack: int, split: str = "train", multiple: int = 1
) -> pa.RecordBatch:
    """Say for every sample where it came from and where it went, with the columns of `lineage_schema`.

    One row a sample, in the order of the plan. `first_pack` is the number of the plan's first pack in its
    split; with the plan `one_each` packs are rows of the unpacked layout. Lengths in the packs are filled up
    to multiples of `multiple`.
    """
    lengths = _checked_lengths(samples, plan)[plan.order]
    rooms = filled_up(lengths, multiple)
    starts, members = offsets_of(rooms), np.diff(plan.offsets)
    columns: list[Any] = [
        np.repeat(np.arange(len(members)) + first_pack, members),
        (starts[:-1] - np.repeat(starts[plan.offsets[:-1]], members)).astype(np.int32),
        lengths.astype(np.int32),
    ]
    origin = samples.origin.take(arrow_array(plan.order))
    splits = pa.repeat(pa.scalar(split), len(lengths))
    padding = [arrow_array((rooms - lengths).astype(np.int32))] if multiple > 1 else []
    columns = [*map(arrow_array, columns), *origin.columns, splits, *padding]
    return pa.RecordBatch.from_arrays(columns, schema=lineage_schema(multiples=multiple > 1))


def _checked_lengths(samples: Samples, plan: PackPlan) -> np.ndarray:
    """Return the samples' lengths, int64[n], once all sizes are known to fit together."""
    n, end = len(samples.offsets) - 1, int(samples.offsets[-1])
    sizes = {"ids": len(samples.ids), "labels": len(samples.labels)}
    sizes |= {name: len(values) for name, values in samples.floats.items()}
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
