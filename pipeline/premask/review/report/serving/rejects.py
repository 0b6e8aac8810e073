"""The reject log of an output, of which single lines are read when they are asked for.

    log = RejectIndex(dataset)
    numbers = log.matching({"reason": "no_assistant"})
    log.lines(numbers[:50], rejected_of)

Cost: reading takes 0.2 us a line, once; memory is 8 bytes a line.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ....core.contract import REJECT_SCHEMA
from ....core.text import storable
from ....output.dataset import Dataset
from ....output.read_samples import rows_of
from .listed import Asked

SEARCHED = ("id", "detail")
"""Columns in which a text is searched; the row itself may have any size."""


class RejectIndex:
    """The reason and the source of each line of a reject log, in order."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._codes = {name: dict[str, int]() for name in ("reason", "source")}
        parts = {name: [np.zeros(0, dtype=np.int32)] for name in self._codes}
        for batch in dataset.rejects(list(self._codes), lines=1 << 16):
            for name, codes in self._codes.items():
                parts[name].append(_codes_of(batch.column(name), codes))
        self._columns = {name: np.concatenate(each) for name, each in parts.items()}

    def matching(self, asked: Asked) -> np.ndarray:
        """Return the lines of a `reason` and a `source`, and whose id or detail has the text `search`,
        int64[m]."""
        fits = np.ones(len(self._columns["reason"]), dtype=bool)
        for name, column in self._columns.items():
            if asked.get(name):
                fits &= column == self._codes[name].get(asked[name], -1)
        if text := asked.get("search"):
            fits &= self._with_text(text)
        return np.flatnonzero(fits)

    def _with_text(self, text: str) -> np.ndarray:
        parts = [np.zeros(0, dtype=bool)]
        for batch in self._dataset.rejects(SEARCHED, lines=1 << 12):
            hits = [
                pc.match_substring(batch.column(name), storable(text), ignore_case=True).fill_null(False)
                for name in SEARCHED
            ]
            parts.append(pc.or_(*hits).to_numpy(zero_copy_only=False))
        return np.concatenate(parts)

    def lines(
        self, numbers: np.ndarray, of: Callable[[pa.RecordBatch, int], dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """Return some lines, int64[m] ascending, each as `of` makes it of its batch."""
        found = list[dict[str, Any]]()
        for here, batch in rows_of(self._dataset, "rejects", None, numbers, REJECT_SCHEMA.names):
            found += [of(batch, i) for i in range(len(here))]
        return found


def _codes_of(column: pa.Array, codes: dict[str, int]) -> np.ndarray:
    """The values of a column as numbers, int32[n]; new values get the next ones."""
    found = column.dictionary_encode()
    own = [codes.setdefault(each, len(codes)) for each in found.dictionary.to_pylist()]
    return np.asarray(np.array(own, dtype=np.int32)[found.indices.to_numpy()])
