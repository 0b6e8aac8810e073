"""The size of the rows of an Arrow table, and the beginning of one as JSON, without making the values.

    row_sizes   table -> bytes of each row
    head_of     table, row -> its beginning as JSON

A dictionary may hold a text once that many rows have: it counts for each of them.

Cost: some nanoseconds a value.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..core.arrays import offsets_of

_TEXT = 200  # characters of a text in a beginning
_ITEMS = 8  # of a list or an object


def row_sizes(table: pa.RecordBatch) -> np.ndarray:
    """How many bytes the values of each row have, int64[n].

    >>> row_sizes(pa.RecordBatch.from_pydict({"a": [["x", "yz"], None], "b": [1, 2]})).tolist()
    [11, 8]
    """
    sizes = np.zeros(table.num_rows, dtype=np.int64)
    for column in table.columns:
        sizes += _sizes(column)
    return sizes


def _sizes(array: pa.Array) -> np.ndarray:
    """How many bytes each value has, int64[n]."""
    kind = array.type
    if isinstance(array, pa.ExtensionArray):
        array, kind = array.storage, array.storage.type
    if pa.types.is_dictionary(kind):
        of_entry = np.append(_sizes(array.dictionary), 0)
        found: np.ndarray = of_entry[array.indices.cast(pa.int64()).fill_null(-1).to_numpy()]
        return found
    if pa.types.is_struct(kind):
        return sum(map(_sizes, array.flatten()), np.zeros(len(array), dtype=np.int64))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_map(kind):
        return _of_lists(array)
    if pa.types.is_fixed_size_list(kind):
        inner = array.values.slice(array.offset * kind.list_size, len(array) * kind.list_size)
        sums: np.ndarray = _sizes(inner).reshape(len(array), kind.list_size).sum(axis=1)
        return sums
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        array = array.cast(pa.large_binary())
        kind = array.type
    if _is_bytes(kind):
        lengths: np.ndarray = pc.binary_length(array).fill_null(0).to_numpy().astype(np.int64)
        return lengths
    return np.full(len(array), _width(kind), dtype=np.int64)


def _is_bytes(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_binary(kind)
        or types.is_large_binary(kind)
    )


def _of_lists(array: pa.Array) -> np.ndarray:
    offsets = array.offsets.to_numpy().astype(np.int64)
    first, count = int(offsets[0]), int(offsets[-1] - offsets[0])
    items = (array.keys, array.items) if pa.types.is_map(array.type) else (array.values,)
    before = offsets_of(sum((_sizes(each.slice(first, count)) for each in items), np.zeros(count, np.int64)))
    found: np.ndarray = np.diff(before[offsets - first])
    return found


def _width(kind: pa.DataType) -> int:
    try:
        return max(1, int(kind.bit_width) // 8)
    except ValueError:  # a type without a width
        return 1


# ==== Beginnings ====


def head_of(table: pa.RecordBatch, row: int) -> str:
    """A row as JSON, with the beginnings of its texts and the first values of its lists.

    >>> head_of(pa.RecordBatch.from_pydict({"a": [["x"] * 20]}), 0)
    '{"a": ["x", "x", "x", "x", "x", "x", "x", "x"]}'
    """
    names = table.schema.names[:_ITEMS]
    value = {name: _head(table.column(at)[row]) for at, name in enumerate(names)}
    return json.dumps(value, ensure_ascii=False, default=str)


def _head(scalar: pa.Scalar, depth: int = 0) -> Any:
    if not scalar.is_valid or depth > _ITEMS:
        return None
    if isinstance(scalar, pa.DictionaryScalar):
        return _head(scalar.value, depth)
    if isinstance(scalar, (pa.StringScalar, pa.LargeStringScalar, pa.BinaryScalar, pa.LargeBinaryScalar)):
        return bytes(memoryview(scalar.as_buffer())[:_TEXT]).decode("utf-8", "ignore")
    if isinstance(scalar, pa.ListScalar):
        return [_head(each, depth + 1) for each in scalar.values.slice(0, _ITEMS)]
    if isinstance(scalar, pa.StructScalar):
        names = [field.name for field in scalar.type][:_ITEMS]
        return {name: _head(scalar[at], depth + 1) for at, name in enumerate(names)}
    return str(scalar)[:_TEXT]
