"""Numpy and Arrow: arrays from one to the other without a copy, and where stretches lie side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa


def arrow_array(values: np.ndarray) -> pa.Array:
    """The values, numbers of a fixed size, as an Arrow array that shares their memory.

    >>> arrow_array(np.array([1, 2], dtype=np.int32)).to_pylist()
    [1, 2]
    """
    values = np.ascontiguousarray(values)
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, pa.py_buffer(values)])


def offsets_of(counts: np.ndarray | Sequence[int]) -> np.ndarray:
    """Where each of n stretches starts that lie side by side, and the end: int64[n+1].

    >>> offsets_of([2, 3]).tolist()
    [0, 2, 5]
    """
    offsets = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, dtype=np.int64, out=offsets[1:])
    return offsets
