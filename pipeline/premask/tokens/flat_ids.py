"""The ids that gigatoken gives, as plain arrays.

    ids, offsets = flat_ids(tokenizer, ["Hello", "you"])

gigatoken returns an array of the library `awkward`, which takes a fifth of a CPU second and 45 MB to
import. It asks one thing of that library: to put flat ids and the number of ids of each text together. In a
command, a stand-in takes both instead, for the time of the call. If anything else is asked of it, the library
is imported.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from ..core.arrays import offsets_of

_NAME = "awkward"
_left_out = False


def leave_awkward_out() -> None:
    """From here on, do without the library if it is not loaded.

    Gain: a fifth of a CPU second and 45 MB per process. This is for commands and their workers: in a program
    with other threads, one of them could import the stand-in.
    """
    global _left_out  # noqa: PLW0603  a setting of the process
    _left_out = True


def flat_ids(tokenizer: Any, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids of all texts, int32[t], and their offsets, int64[n + 1]. The ids are not copied."""
    found = _without_the_library(tokenizer, texts) if _left_out and _NAME not in sys.modules else None
    if found is None:
        layout = tokenizer.encode_batch(list(texts), parallel=False).layout
        offsets = np.asarray(layout.offsets.data).astype(np.int64, copy=False)
        ids = np.asarray(layout.content.data)[offsets[0] : offsets[-1]]
        offsets = offsets - offsets[0]
    else:
        ids, offsets = found.ids, offsets_of(found.counts)
    return ids.view(np.int32) if ids.dtype == np.uint32 else ids.astype(np.int32), offsets


class _Flat(NamedTuple):
    ids: np.ndarray
    counts: np.ndarray


def _without_the_library(tokenizer: Any, texts: Sequence[str]) -> _Flat | None:
    """Return flat ids and counts; None if gigatoken asks for more than the stand-in has."""
    try:
        with _stand_in():
            found = tokenizer.encode_batch(list(texts), parallel=False)
    except (AttributeError, TypeError):
        return None
    whole = (
        isinstance(found, _Flat) and len(found.counts) == len(texts) and found.counts.sum() == len(found.ids)
    )
    return found if whole else None


@contextmanager
def _stand_in() -> Iterator[None]:
    library: Any = types.ModuleType(_NAME)
    library.Array = type("Array", (), {})  # texts may be such arrays; ours are none
    library.unflatten = _Flat
    sys.modules[_NAME] = library
    try:
        yield
    finally:
        del sys.modules[_NAME]
