"""What became of the rows of a batch: samples, rejects, and what there is to count of each sample.

    outcome = stages.run(batch, "sharegpt")
    outcome.counted(copies)["trained_assistant"]

What is counted is kept for each sample and not as a sum, since which samples are taken, and how often, is
decided later (duplicates, `repeat`, splits). Cost: some twenty int32 a sample, of one batch at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from ..core.records import Reject, Samples, Tally
from ..output.windows import concat_samples, cut_samples
from .duplicates import RowKeys


@dataclass
class Outcome:
    """Samples ready to be packed, in `parts`, with the row of each in the batch (int64[n], ascending),
    rejects, the tally of the samples, the keys of all rows, and how many rows were done twice."""

    parts: list[Samples]
    of_row: np.ndarray
    rejects: list[Reject] = field(default_factory=list)
    tally: Tally = field(default_factory=dict)
    verified: int = 0
    keys: RowKeys | None = None

    @property
    def samples(self) -> Samples:
        """All samples in one; costs a copy if there are several parts."""
        return concat_samples(self.parts)

    @property
    def kept(self) -> int:
        """How many rows gave a sample."""
        return int(np.count_nonzero(np.diff(self.of_row, prepend=-1)))

    def counted(self, copies: np.ndarray | None = None) -> Counter[str]:
        """The sums of the tally, each sample once, or `copies` (int64[n]) times."""
        if copies is None:
            return Counter({name: int(each.sum()) for name, each in self.tally.items()})
        return Counter({name: int(each @ copies) for name, each in self.tally.items()})

    def joined(self, other: Outcome) -> Outcome:
        """Both in one, in the order of the batch; no row is in both. Copies no tokens."""
        of_row = np.concatenate([self.of_row, other.of_row])
        order = np.argsort(of_row, kind="stable")
        edges = np.flatnonzero(np.diff(order, prepend=-2, append=-2) != 1)  # of runs that stand together
        own, others = self.samples, other.samples
        parts, n = list[Samples](), len(self.of_row)
        for start, stop in pairwise(edges.tolist()):
            first = int(order[start])
            if first < n <= first + stop - start - 1:  # the end of the one and the start of the other
                parts += [cut_samples(own, first, n), cut_samples(others, 0, first + stop - start - n)]
            elif first < n:
                parts.append(cut_samples(own, first, first + stop - start))
            else:
                parts.append(cut_samples(others, first - n, first - n + stop - start))
        tally = join_tallies([(self.tally, n), (other.tally, len(other.of_row))])
        tally = {name: each[order] for name, each in tally.items()}
        return Outcome(parts, of_row[order], self.rejects + other.rejects, tally)


def tally_of(counts: Sequence[Mapping[str, int]]) -> Tally:
    """The tally of samples, from what was counted of each.

    >>> tally_of([{"kept": 1}, {"cut": 2}])
    {'cut': array([0, 2], dtype=int32), 'kept': array([1, 0], dtype=int32)}
    """
    names = sorted({name for each in counts for name in each})
    return {name: np.array([each.get(name, 0) for each in counts], dtype=np.int32) for name in names}


def join_tallies(tallies: Sequence[tuple[Tally, int]]) -> Tally:
    """The tallies of several batches, each with its number of samples, one after another."""
    names = {name for tally, _ in tallies for name in tally}
    return {
        name: np.concatenate([tally.get(name, np.zeros(n, dtype=np.int32)) for tally, n in tallies])
        for name in sorted(names)
    }
