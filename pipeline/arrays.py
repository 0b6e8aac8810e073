"""Arrow arrays from numpy ones, without a copy and without pandas.

`pa.array` imports pandas the first time it is called, if that is installed, to see whether it was given a
pandas object: a quarter of a CPU-second and 50 MB in every process. No pandas object gets here.
"""

from __future__ import annotations

import sys
import types
import warnings

import numpy as np
import pyarrow as pa


def arrow_array(values: np.ndarray) -> pa.Array:
    """The values, numbers of a fixed size, as an Arrow array that shares their memory.

    >>> arrow_array(np.array([1, 2], dtype=np.int32)).to_pylist()
    [1, 2]
    """
    values = np.ascontiguousarray(values)
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, pa.py_buffer(values)])


def keep_pandas_out() -> None:
    """Have Arrow of this process believe that there is no pandas; for processes that are all ours.

    Where pandas is loaded already nothing changes.
    """
    if "pandas" in sys.modules:
        return
    too_old = types.ModuleType("pandas")
    too_old.__dict__["__version__"] = "0.0"
    sys.modules["pandas"] = too_old
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pa.array([0])
    finally:
        del sys.modules["pandas"]
