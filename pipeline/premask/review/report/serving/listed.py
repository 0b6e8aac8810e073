"""Which samples of an output a list shows, in which order: all n of them, sorted and filtered.

    numbers = Lists(index, search).of({"source": "a.jsonl", "sort": "tokens", "descending": "1"})
    numbers.samples[:50]                # int[m]: the first page

Cost: some 100 ms for a million samples; the last `KEPT` lists are remembered, of 4 bytes a sample each.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow.compute as pc

from ....core.errors import OutputError
from ....output.sample_index import SampleIndex
from .search import Search

SORTS = ("order", "id", "source", "tokens", "trained", "share")
KEPT = 4

Asked = Mapping[str, str]
"""What a client asks for: names and values of the query."""


class BadQuestionError(ValueError):
    """A client asks for what cannot be; the text says what."""


class Listed(NamedTuple):
    """The samples of a list in its order, int64[m], and of how many the texts were searched; None: of all,
    or of none, because nothing was searched for."""

    samples: np.ndarray
    looked: int | None


class Lists:
    """The lists of one output; for any number of threads."""

    def __init__(self, index: SampleIndex, search: Search) -> None:
        self._index, self._search = index, search
        self._kept: OrderedDict[tuple[str, bool], np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, asked: Asked) -> Listed:
        """Return the samples that are asked for. Raises `BadQuestionError` and `OutputError`."""
        sort, descending = asked.get("sort") or "order", asked.get("descending") in {"1", "true"}
        if sort not in SORTS:
            raise BadQuestionError(f"sort is none of {', '.join(SORTS)}")
        counted = sort in {"trained", "share"} or asked.get("share_min") or asked.get("share_max")
        if counted and not self._index.is_counted:
            raise OutputError("the trained tokens are still being counted; try again in a moment")
        fits, looked = self._filtered(asked)
        order = self._order(sort, descending=descending)
        return Listed(order if fits is None else order[fits[order]], looked)

    def _filtered(self, asked: Asked) -> tuple[np.ndarray | None, int | None]:
        """Which samples pass the filters, bool[n], None if all do; and how many texts were searched."""
        index, conditions, looked = self._index, list[np.ndarray](), None
        if split := asked.get("split"):
            own, numbers = index.splits.get(split, range(0)), np.arange(len(index))
            conditions.append((numbers >= own.start) & (numbers < own.stop))
        if source := asked.get("source"):
            conditions.append(index.source == (index.names.index(source) if source in index.names else -1))
        conditions += _within(index.length, asked, "tokens")
        conditions += _within(100 * index.trained / np.maximum(index.length, 1), asked, "share")
        if text := asked.get("search"):
            found = self._search.find(text)
            conditions.append(found.hits)
            looked = found.looked if found.looked < len(index) else None
        return (np.logical_and.reduce(conditions) if conditions else None), looked

    def _order(self, sort: str, *, descending: bool) -> np.ndarray:
        with self._lock:
            key = sort, descending
            if key not in self._kept:
                found = self._sorted(sort, descending=descending)
                self._kept[key] = found.astype(np.int32) if len(found) < 2**31 else found
            self._kept.move_to_end(key)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return self._kept[key]

    def _sorted(self, sort: str, *, descending: bool) -> np.ndarray:
        """All samples in an order; those that are equal in it stay in that of the output."""
        index = self._index
        if sort == "order":
            return np.arange(len(index))[:: -1 if descending else 1]
        if sort == "id":
            order = "descending" if descending else "ascending"
            return np.asarray(pc.sort_indices(index.ids(), sort_keys=[("", order)]))
        if sort == "source":
            places = np.argsort(np.argsort(index.names))
            values = places[index.source]
        else:
            values = {"tokens": index.length, "trained": index.trained}.get(sort)
            values = index.trained / np.maximum(index.length, 1) if values is None else values
        return np.argsort(-values if descending else values, kind="stable")


def _within(values: np.ndarray, asked: Asked, name: str) -> list[np.ndarray]:
    """The conditions of the least and of the greatest value, where there are some."""
    low, high = (_number(asked, f"{name}_{end}") for end in ("min", "max"))
    found = [] if low is None else [values >= low]
    return found + ([] if high is None else [values <= high])


def _number(asked: Asked, name: str) -> float | None:
    if not asked.get(name):
        return None
    try:
        return float(asked[name])
    except ValueError:
        raise BadQuestionError(f"{name} is no number") from None


def whole_number(asked: Asked, name: str, default: int, most: int) -> int:
    """Return a number of a question, from 0 to `most`. Raises `BadQuestionError` if it is none."""
    text = asked.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise BadQuestionError(f"{name} is no whole number")
    return min(int(text), most)
