"""How long samples are: quantiles and a histogram, exact, for the manifest and the card.

    describe_lengths({3: 1, 5: 2})["median"]        # 5: of lengths 3, 5, 5

Cost: a sort of the distinct lengths.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

QUANTILES: Mapping[str, float] = {"min": 0.0, "p10": 0.1, "median": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
"""Name in the manifest -> share of the samples that are no longer than that."""


def describe_lengths(samples_of: Mapping[int, int]) -> dict[str, Any] | None:
    """Describe lengths in tokens, given how many samples have each; None if there are none.

    A quantile is the smallest length that so large a share of the samples does not exceed. The histogram
    counts by powers of two.

    >>> found = describe_lengths({1: 3, 2: 1, 6: 1})
    >>> found["min"], found["median"], found["max"], found["mean"]
    (1, 1, 6, 2.2)
    >>> [tuple(bar.values()) for bar in found["histogram"]]  # from, to, samples
    [(1, 1, 3), (2, 3, 1), (4, 7, 1)]
    """
    if not samples_of:
        return None
    lengths = np.array(sorted(samples_of), dtype=np.int64)
    counts = np.array([samples_of[length] for length in lengths.tolist()], dtype=np.int64)
    ends, total = np.cumsum(counts), int(counts.sum())
    places = {name: min(max(int(np.ceil(share * total)), 1), total) for name, share in QUANTILES.items()}
    found: dict[str, Any] = {name: int(lengths[np.searchsorted(ends, at)]) for name, at in places.items()}
    bits = np.array([length.bit_length() for length in lengths.tolist()])
    found["mean"] = round(int((lengths * counts).sum()) / total, 2)
    found["histogram"] = [
        {"from": 2 ** (bit - 1), "to": 2**bit - 1, "samples": int(counts[bits == bit].sum())}
        for bit in range(int(bits[0]), int(bits[-1]) + 1)
    ]
    return found


def lengths_in(lineage: Path) -> dict[int, int]:
    """Return how many samples of each length the lineage files of a folder list."""
    found: dict[int, int] = {}
    for path in sorted(lineage.glob("*.parquet")):
        column = pq.read_table(path, columns=["length"]).column(0).to_numpy()
        for length, count in zip(
            *(each.tolist() for each in np.unique(column, return_counts=True)), strict=True
        ):
            found[length] = found.get(length, 0) + count
    return found
