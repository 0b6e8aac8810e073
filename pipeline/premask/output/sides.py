"""Sides of preferences as tables: the layouts `preference` and `kto`, written and read.

    sides_table("preference", samples)          # a row of each two samples, the chosen one first
    as_packs("preference", batch)               # the samples of a row again, one behind the other

A row has the beginning that its texts share once, in `prompt_ids`, and the rest of each text as a side: its
ids, and a mask of the tokens that are trained. The prompt ends before the first token that is trained, or
that only one side has. So the table says all that ids and labels say, and is made again from them.

Cost: a few copies of all tokens.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..core.arrays import arrow_array, offsets_of, runs_of_numbers
from ..core.contract import IGNORE_INDEX, PACKED_SCHEMA, SIDES, labels_of_mask, row_schema
from ..core.records import CHOSEN, Samples
from .dataset import flat
from .packing import PackPlan
from .windows import take_ranges


def rows_of_sides(layout: str, samples: int) -> PackPlan:
    """Return which of so many samples share a row."""
    return PackPlan(np.arange(samples), np.arange(0, samples + 1, len(SIDES[layout])))


def sides_table(layout: str, samples: Samples) -> pa.RecordBatch:
    """Lay out samples in their order, with the columns of `contract.PREFERENCE_SCHEMA` or `KTO_SCHEMA`.

    Raises `OverflowError` if the tokens are too many for one Arrow list column.
    """
    good = samples.origin.column("sample").to_numpy() == CHOSEN
    return _table(layout, samples.ids, samples.labels, samples.offsets, good)


def made_again(layout: str, batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the table that is written for the samples in a table."""
    packs = as_packs(layout, batch)
    offsets = offsets_of(flat(packs.column("seq_lengths")).values)
    ids, labels = (flat(packs.column(name)).values for name in ("input_ids", "labels"))
    good = sides_of(layout, batch) == CHOSEN
    return _table(layout, ids, labels, offsets, good)


def sides_of(layout: str, batch: pa.RecordBatch) -> np.ndarray:
    """Return the side that each sample in a table is, int64[n]: `CHOSEN` or `REJECTED`."""
    if layout == "kto":
        bad = pc.invert(batch.column("label"))
        return np.asarray(bad.to_numpy(zero_copy_only=False), dtype=np.int64)
    return np.tile(np.arange(len(SIDES[layout])), batch.num_rows)


def are_whole(layout: str, batch: pa.RecordBatch) -> np.ndarray:
    """Return which rows have a prompt, sides that are as long as their masks, and the right length,
    bool[rows]. The others cannot be read."""
    lists = (
        name
        for name, each in zip(batch.schema.names, batch.schema.types, strict=True)
        if pa.types.is_list(each)
    )
    size = {name: np.diff(flat(batch.column(name)).offsets) for name in lists}
    prompt, names = size["prompt_ids"], SIDES[layout]
    fine = prompt > 0
    for name in names:
        fine &= (size[f"{name}_ids"] == size[f"{name}_mask"]) & (size[f"{name}_ids"] > 0)
    longest = np.max([size[f"{name}_ids"] for name in names], axis=0)
    return np.asarray(fine & (batch.column("length").to_numpy() == prompt + longest))


def _table(
    layout: str, ids: np.ndarray, labels: np.ndarray, offsets: np.ndarray, good: np.ndarray
) -> pa.RecordBatch:
    names = SIDES[layout]
    if len(ids) >= 2**31:
        raise OverflowError(f"{len(ids)} tokens in one table; lower pack_window")
    prompts = _prompt_lengths(ids, labels, offsets, len(names))
    lengths, rows = np.diff(offsets), len(prompts)
    bounds = np.empty(2 * len(lengths) + 1, dtype=np.int64)  # prompt and side of each sample, in turn
    bounds[::2], bounds[1::2] = offsets, offsets[:-1] + np.repeat(prompts, len(names))
    trained = (labels != IGNORE_INDEX).view(np.int8)
    firsts = 2 * len(names) * np.arange(rows)
    columns: dict[str, pa.Array] = {"prompt_ids": _lists(ids, bounds, firsts)}
    for number, name in enumerate(names):
        own = firsts + 2 * number + 1
        columns |= {f"{name}_ids": _lists(ids, bounds, own), f"{name}_mask": _lists(trained, bounds, own)}
    columns["length"] = arrow_array(lengths.reshape(rows, len(names)).max(axis=1, initial=0).astype(np.int32))
    columns["label"] = pa.array(good)
    schema = row_schema(layout)
    return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)


def _prompt_lengths(ids: np.ndarray, labels: np.ndarray, offsets: np.ndarray, sides: int) -> np.ndarray:
    """Return how many tokens the samples of each row share before one of them is trained, int64[rows]."""
    trained = np.flatnonzero(labels != IGNORE_INDEX)
    first = np.append(trained, len(labels))[np.searchsorted(trained, offsets[:-1])]
    before = np.minimum(first, offsets[1:]) - offsets[:-1]
    shared: np.ndarray = before.reshape(-1, sides).min(axis=1, initial=len(labels))
    for side in range(1, sides):
        shared = _shared_lengths(ids, offsets[:-1:sides], offsets[side:-1:sides], shared)
    return shared


def _shared_lengths(ids: np.ndarray, one: np.ndarray, other: np.ndarray, most: np.ndarray) -> np.ndarray:
    """Return in how many tokens, at `most` so many, the ids from `one` on agree with those from `other`
    on."""
    edges = offsets_of(most)
    wrong = np.flatnonzero(ids[runs_of_numbers(one, most)] != ids[runs_of_numbers(other, most)])
    end = np.append(wrong, edges[-1])[np.searchsorted(wrong, edges[:-1])]
    return np.asarray(np.minimum(end, edges[1:]) - edges[:-1])


def _lists(values: np.ndarray, bounds: np.ndarray, ranges: np.ndarray) -> pa.Array:
    """Return a list column whose rows are ranges of the values."""
    type_ = pa.list_(pa.field("element", pa.from_numpy_dtype(values.dtype)))
    own = offsets_of(np.diff(bounds)[ranges]).astype(np.int32)
    taken = take_ranges(values, bounds, ranges)
    return pa.ListArray.from_arrays(arrow_array(own), arrow_array(taken), type=type_)


def as_packs(layout: str, batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the samples of a table of sides as packs of one row each, without `position_ids`: each side
    behind a prompt of its own."""
    names, rows = SIDES[layout], batch.num_rows
    columns = ["prompt_ids", *(f"{name}_ids" for name in names)]
    parts = [flat(batch.column(name)) for name in columns]
    ids = np.concatenate([each.values for each in parts])
    masks = [flat(batch.column(f"{name}_mask")).values for name in names]
    trained = np.concatenate([np.zeros(len(parts[0].values), np.int8), *masks])
    sizes = [np.diff(each.offsets) for each in parts]
    order = [rows * part + np.arange(rows) for side in range(len(names)) for part in (0, side + 1)]
    lengths = np.stack([sizes[0] + each for each in sizes[1:]], axis=1)
    bounds = arrow_array(offsets_of(lengths.sum(axis=1)).astype(np.int32))
    ranges = np.stack(order, axis=1).ravel()
    held = offsets_of(np.concatenate(sizes))
    values: dict[str, Any] = {"input_ids": ids, "labels": labels_of_mask(ids, trained)}
    lists = {
        name: pa.ListArray.from_arrays(bounds, arrow_array(take_ranges(each, held, ranges)))
        for name, each in values.items()
    }
    packs = arrow_array(np.arange(0, lengths.size + 1, len(names), dtype=np.int32))
    lists["seq_lengths"] = pa.ListArray.from_arrays(packs, arrow_array(lengths.ravel().astype(np.int32)))
    lists["length"] = arrow_array(lengths.sum(axis=1).astype(np.int32))
    fields = [PACKED_SCHEMA.field(name) for name in lists]
    return pa.RecordBatch.from_arrays(
        [each.cast(field.type) for each, field in zip(lists.values(), fields, strict=True)],
        schema=pa.schema(fields),
    )
