"""From numpy to Arrow without a copy, and where stretches begin that lie side by side.

arrow_array   numpy array -> Arrow array that shares its memory
offsets_of    lengths of stretches -> where each begins
filled_up     lengths -> the next multiples of a number
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa


def arrow_array(values: np.ndarray) -> pa.Array:
    """Return numbers of a fixed size, [n], as an Arrow array that shares their memory.

    >>> arrow_array(np.array([1, 2], dtype=np.int32)).to_pylist()
    [1, 2]
    """
    values = np.ascontiguousarray(values)
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, pa.py_buffer(values)])


def offsets_of(counts: np.ndarray | Sequence[int]) -> np.ndarray:
    """Return where each of n stretches begins, and where the last one ends: int64[n+1].

    >>> offsets_of([2, 3]).tolist()
    [0, 2, 5]
    """
    offsets = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, dtype=np.int64, out=offsets[1:])
    return offsets


def filled_up(lengths: np.ndarray, multiple: int) -> np.ndarray:
    """Return the smallest multiples that are not less than the lengths, int64[n].

    >>> filled_up(np.array([1, 8, 9]), 8).tolist()
    [8, 8, 16]
    """
    found: np.ndarray = -(-np.asarray(lengths, dtype=np.int64) // multiple) * multiple
    return found


def runs_of_numbers(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """`start`, `start + 1`, ..., as many as the count says, of each start after another.

    >>> runs_of_numbers(np.array([5, 0]), np.array([2, 3])).tolist()
    [5, 6, 0, 1, 2]
    """
    numbers = np.repeat(starts - offsets_of(counts)[:-1], counts)
    numbers += np.arange(len(numbers))
    return numbers
