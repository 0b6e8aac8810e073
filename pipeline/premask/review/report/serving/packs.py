"""Packs and samples of a served output as JSON values, made of the index and of the lineage, without tokens.

packs = packs_of(index, "train", range(0, 200))         # each as `choice.pack_of` has it
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from ....output.sample_index import NOT_COUNTED, SampleIndex
from ..choice import IN_PACK, key_of

_ORIGIN = ("source", "row", "sample", "offset")


def about(index: SampleIndex, number: int) -> dict[str, Any]:
    """Return what the index knows of a sample: its key, split and tokens; `trained` is None until they are
    counted."""
    place, trained = index.place(number), int(index.trained[number])
    return {
        "key": key_of(place.split, place.number),
        "split": place.split,
        "tokens": int(index.length[number]),
        "trained": None if trained == NOT_COUNTED else trained,
    }


def packs_of(index: SampleIndex, split: str, rows: range) -> list[dict[str, Any]]:
    """Return some packs of a split. Their first `IN_PACK` samples are listed. Raises `OutputError` if the
    lineage cannot be read."""
    starts = index.rows(split)[rows.start : rows.stop + 1].tolist()
    shown = [range(first, min(stop, first + IN_PACK)) for first, stop in pairwise(starts)]
    numbers = np.array([number for each in shown for number in each], dtype=np.int64)
    lines = dict(zip(numbers.tolist(), index.lines(numbers), strict=True))
    return [
        {
            "key": key_of(split, row),
            "split": split,
            "row": row,
            "tokens": int(index.length[first:stop].sum()),
            "trained": int(index.trained[first:stop].sum()) if index.is_counted else None,
            "samples": [_sample(index, number, lines[number]) for number in members],
            "left_out": stop - first - len(members),
        }
        for row, members, (first, stop) in zip(rows, shown, pairwise(starts), strict=True)
    ]


def _sample(index: SampleIndex, number: int, line: dict[str, Any]) -> list[Any]:
    known = about(index, number)
    return [known["key"], known["tokens"], known["trained"], *(line[name] for name in _ORIGIN)]
