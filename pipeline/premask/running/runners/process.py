"""What a process does for itself that is all ours: the command and its workers, not programs that import us.

    prepare_process()
    import_transformers()       # where a tokenizer will be loaded

Costs that have nothing to do with the work: memory that is given back to the system only to be asked for
again, cleared, a moment later; looking through all modules and tokenizers for garbage; pandas, which Arrow
imports to see whether it was given a pandas object; and torch, which transformers imports where it is
installed.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import importlib.util
import sys
import types
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec

import pyarrow as pa


def prepare_process() -> None:
    """Make this process fit for the work. Call it early, and before `pandas` is imported by anyone."""
    _keep_freed_memory()
    _keep_pandas_out()


def begin_work() -> None:
    """From here on there is something to clear up when this process is told to end."""
    global _has_begun  # noqa: PLW0603  it is about the process
    _has_begun = True


def work_has_begun() -> bool:
    """Whether there is something to clear up."""
    return _has_begun


_has_begun = False


def import_transformers() -> None:
    """Import transformers, and have it believe that there is no torch, which tokenizers do not need: it takes
    more than a CPU-second. Where transformers is loaded already nothing changes."""
    if "transformers" in sys.modules:
        return
    find = importlib.util.find_spec

    def find_but_torch(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == "torch" else find(name, package)

    importlib.util.find_spec = find_but_torch
    try:
        importlib.import_module("transformers.utils").is_torch_available()  # the answer is remembered
    finally:
        importlib.util.find_spec = find


@contextmanager
def without_old_garbage() -> Iterator[None]:
    """Have the collector look only at what is made from here on: what was loaded before stays."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _keep_freed_memory() -> None:
    """Have glibc keep arrays of up to 32 MiB when they are freed, and all memory beside them, for the next.

    By default it returns large ones, and the system clears every page again that it hands out: 8 ns a token
    for two arrays. Other C libraries have no `mallopt`, or one that refuses; then nothing changes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        mallopt(_M_TRIM_THRESHOLD, 1 << 30)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def _keep_pandas_out() -> None:
    """Have Arrow of this process believe that there is no pandas: `pa.array` and `to_numpy` import it the
    first time they are called, a quarter of a CPU-second and 50 MB in every process. No pandas object gets
    there. Where pandas is loaded already nothing changes.
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
