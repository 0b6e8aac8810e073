"""The mixture: how often each labelled sample is used, in which order, and in which split.

    choice = choose(recipe, piece, batch, dropped.of_piece(number))

    splits = assign_splits(keys.groups, recipe.splits, recipe.seed)          # 0 is train
    copies = count_copies(source, numbers, entry.repeat, recipe.seed)
    order = np.argsort(order_keys(samples.origin, recipe.seed))

Each row is decided by itself, from hashes and a seed. The result does not depend on other rows, units or
workers. Two runs with similar shares choose mostly the same rows.

Cost: a few ns a row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ..core.hashing import chance, mixed_bits, name_hash
from ..core.recipe import Recipe
from ..core.records import Reject, Samples, Slice
from ..output.windows import take_samples
from .batches import LabelledBatch
from .counts import CONTAMINATED
from .dropped import Dropped
from .tasks import Account


def assign_splits(groups: np.ndarray, shares: Mapping[str, float], seed: int) -> np.ndarray:
    """Return the split of each row, int8[n]: 0 is train, 1 the first of `shares`, and so on.

    Rows with equal `groups` (uint64[n], see `duplicates.RowKeys.groups`) get the same split. A share is the
    chance of a group to be in a split, so splits are only close to their shares.

    >>> assign_splits(np.arange(8, dtype=np.uint64), {"validation": 0.5}, seed=0).tolist()
    [0, 1, 0, 0, 1, 1, 1, 1]
    """
    fraction = chance(groups ^ mixed_bits(np.array([seed], dtype=np.uint64)))
    ends = np.cumsum([*shares.values()])
    index = np.searchsorted(ends, fraction, side="right")
    splits: np.ndarray = np.where(index == len(ends), 0, index + 1).astype(np.int8)
    return splits


def count_copies(source: str, numbers: np.ndarray, repeat: float, seed: int) -> np.ndarray:
    """Return how often each row is used, int64[n], given its number in its file.

    That is `repeat` rounded down or up. The fraction of `repeat` is the chance of rounding up.

    >>> count_copies("a.jsonl", np.arange(10), 1.5, seed=0).tolist()
    [1, 1, 1, 2, 2, 1, 1, 1, 2, 1]
    """
    whole, fraction = divmod(repeat, 1)
    copies = np.full(len(numbers), int(whole), dtype=np.int64)
    if fraction:
        name = name_hash(f"{seed}\0{source}")
        copies += chance(numbers.astype(np.uint64) ^ np.uint64(name)) < fraction
    return copies


def order_keys(origin: pa.RecordBatch, seed: int) -> np.ndarray:
    """Return a pseudorandom number per sample, uint64[n], from its origin (`ORIGIN_SCHEMA`).

    Consecutive copies of one sample get different numbers.

    >>> origin = pa.RecordBatch.from_pydict({"source": ["a", "a"], "row": [1, 1], "sample": [0, 0]})
    >>> len(set(order_keys(origin, seed=0).tolist()))
    2
    """
    source = origin.column("source").dictionary_encode()
    hashes = [name_hash(f"{seed}\0{name}\0order") for name in source.dictionary.to_pylist()]
    of_source = np.array(hashes, dtype=np.uint64)[source.indices.to_numpy()]
    row, sample = (origin.column(name).to_numpy().astype(np.uint64) for name in ("row", "sample"))
    bits = mixed_bits(mixed_bits(of_source ^ row) ^ sample)
    first = np.ones(len(bits), dtype=bool)
    first[1:] = bits[1:] != bits[:-1]
    starts = np.flatnonzero(first)
    copy = np.arange(len(bits)) - np.repeat(starts, np.diff(starts, append=len(bits)))
    return mixed_bits(bits ^ copy.astype(np.uint64))


@dataclass
class Chosen:
    """What a run uses of a batch.

    parts    samples, each part with the number of its split
    rejects  lines of the reject log
    counts   sums of the tally
    account  how many rows were kept, dropped, rejected and left out
    """

    parts: list[tuple[int, Samples]]
    rejects: list[Reject]
    counts: Counter[str]
    account: Account


def choose(recipe: Recipe, piece: Slice, batch: LabelledBatch, dropped: Dropped | None = None) -> Chosen:
    """Leave out the rows of the slice that are dropped, repeat rows as their source says, and assign them to
    splits."""
    numbers = batch.numbers
    entry = recipe.sources[piece.entry]
    out, rejects, sets = np.zeros(len(numbers), dtype=bool), batch.rejects, Counter[str]()
    if dropped is not None and len(dropped.row):
        out = np.isin(numbers, dropped.row)
        rejects, sets = _with_dropped(piece.source, batch, out, dropped)
    copies = count_copies(piece.source, numbers, entry.repeat, recipe.seed)
    copies[out] = 0
    has_sample = np.zeros(len(numbers), dtype=bool)
    has_sample[batch.of_row] = True
    reasons = Counter(reject.reason for reject in rejects)
    duplicates = reasons.pop("duplicate", 0)
    left_out = Counter(batch.left_out)
    left_out["repeat"] = int(np.count_nonzero(has_sample & ~out & (copies == 0)))
    account = Account(
        len(numbers) + sum(batch.left_out.values()),
        int(np.count_nonzero(has_sample & (copies > 0))),
        duplicates,
        reasons,
        +left_out,
    )
    if recipe.splits and batch.keys is not None:
        splits = assign_splits(batch.keys.groups, recipe.splits, recipe.seed)[batch.of_row]
    else:
        splits = np.zeros(len(batch.of_row), dtype=np.int8)
    of_sample = copies[batch.of_row]
    of_sample[splits > 0] = np.minimum(of_sample[splits > 0], 1)  # no upsampling in evaluation splits
    counts = batch.counted(of_sample)
    counts["verified"] = batch.verified
    return Chosen(list(_parts(batch, of_sample, splits)), rejects, +(counts + sets), account)


def _parts(batch: LabelledBatch, copies: np.ndarray, splits: np.ndarray) -> Iterator[tuple[int, Samples]]:
    """Yield the samples of each split, each as often as it is used; copies are adjacent."""
    if (copies == 1).all() and not splits.any():
        if len(batch.of_row):
            yield 0, batch.samples
        return
    samples = batch.samples
    for split in np.unique(splits).tolist():
        own = np.flatnonzero(splits == split)
        order = np.repeat(own, copies[own])
        if len(order):
            yield split, take_samples(samples, order)


def _with_dropped(
    source: str, batch: LabelledBatch, out: np.ndarray, dropped: Dropped
) -> tuple[list[Reject], Counter[str]]:
    """Return the rejects of a batch and its dropped rows, which have no other reason; and the counts of
    contaminated rows by evaluation set."""
    lines, sets = {reject.row: reject for reject in batch.rejects}, Counter[str]()
    ids = batch.keys.ids if batch.keys is not None else [None] * len(batch.numbers)
    for at in np.flatnonzero(out).tolist():
        row = int(batch.numbers[at])
        index = int(np.searchsorted(dropped.row, row))
        lines[row] = Reject(source, row, ids[at], dropped.reason[index], dropped.detail[index], None)
        if dropped.by[index]:
            sets[f"{CONTAMINATED}{dropped.by[index]}"] += 1
    return [lines[row] for row in sorted(lines)], sets
