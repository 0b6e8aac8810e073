"""Which labelled samples are taken, how often, in which order and into which split: decided for each row by
itself, from hashes and a seed.

    choice = choose(recipe, piece, batch, twins_of(dropped, number))

    splits = assign_splits(keys.groups, recipe.splits, recipe.seed)          # 0 is train
    copies = count_copies(source, numbers, entry.repeat, recipe.seed)
    order = np.argsort(order_keys(samples.origin, recipe.seed))

So neither depends on other rows, on the cut into units or on who does them; and of two runs with nearly equal
shares, nearly the same rows are chosen. Cost: some ns a row.
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
from .duplicates import Dropped
from .tasks import Account


def assign_splits(groups: np.ndarray, shares: Mapping[str, float], seed: int) -> np.ndarray:
    """The split of each row, int8[n]: 0 is train, 1 the first of `shares`, and so on.

    `groups` uint64[n] are what keeps rows together (`rowkeys.RowKeys.groups`); a share is the chance that a
    group comes into a split, so that it holds for many groups, and not exactly.

    >>> assign_splits(np.arange(8, dtype=np.uint64), {"validation": 0.5}, seed=0).tolist()
    [0, 1, 0, 0, 1, 1, 1, 1]
    """
    fraction = chance(groups ^ mixed_bits(np.array([seed], dtype=np.uint64)))
    ends = np.cumsum([*shares.values()])
    place = np.searchsorted(ends, fraction, side="right")
    splits: np.ndarray = np.where(place == len(ends), 0, place + 1).astype(np.int8)
    return splits


def count_copies(source: str, numbers: np.ndarray, repeat: float, seed: int) -> np.ndarray:
    """How often each row comes in, int64[n], given its number in its file: `repeat` rounded down or up, up
    with the chance of its fraction.

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
    """Numbers that look random, uint64[n], one for each sample by where it comes from (`ORIGIN_SCHEMA`); of
    samples that stand there several times in a row each has another one.

    >>> origin = pa.RecordBatch.from_pydict({"source": ["a", "a"], "row": [1, 1], "sample": [0, 0]})
    >>> len(set(order_keys(origin, seed=0).tolist()))
    2
    """
    source = origin.column("source").dictionary_encode()
    hashes = [name_hash(f"{seed}\0{name}\0order") for name in source.dictionary.to_pylist()]
    of_source = np.array(hashes, dtype=np.uint64)[source.indices.to_numpy()]
    row, sample = (origin.column(name).to_numpy().astype(np.uint64) for name in ("row", "sample"))
    place = mixed_bits(mixed_bits(of_source ^ row) ^ sample)
    first = np.ones(len(place), dtype=bool)
    first[1:] = place[1:] != place[:-1]
    starts = np.flatnonzero(first)
    copy = np.arange(len(place)) - np.repeat(starts, np.diff(starts, append=len(place)))
    return mixed_bits(place ^ copy.astype(np.uint64))


@dataclass
class Chosen:
    """What is taken of a batch: samples, each part with the number of its split; lines of the ledger; counts;
    and what became of its rows."""

    parts: list[tuple[int, Samples]]
    rejects: list[Reject]
    counts: Counter[str]
    account: Account


@dataclass(frozen=True)
class Twins:
    """Duplicates in a slice: their numbers, ascending, and file and number of the first one of each."""

    rows: np.ndarray
    sources: list[str]
    first: np.ndarray


def twins_of(dropped: Dropped | None, number: int) -> Twins | None:
    """The duplicates in a slice, by its number in the unit; None if duplicates are kept."""
    if dropped is None:
        return None
    own = np.flatnonzero(dropped.piece == number)
    return Twins(dropped.row[own], [dropped.source[i] for i in own.tolist()], dropped.first[own])


def choose(recipe: Recipe, piece: Slice, batch: LabelledBatch, twins: Twins | None) -> Chosen:
    """Leave out duplicates, take rows as often as their source says, and share them out to splits."""
    numbers = batch.numbers
    entry = recipe.sources[piece.entry]
    again, rejects = np.zeros(len(numbers), dtype=bool), batch.rejects
    if twins is not None and len(twins.rows):
        again = np.isin(numbers, twins.rows)
        rejects = _with_twins(piece.source, batch, numbers, again, twins)
    copies = count_copies(piece.source, numbers, entry.repeat, recipe.seed)
    copies[again] = 0
    has_sample = np.zeros(len(numbers), dtype=bool)
    has_sample[batch.of_row] = True
    reasons = Counter(reject.reason for reject in rejects)
    dropped = reasons.pop("duplicate", 0)
    left_out = Counter(batch.left_out)
    left_out["repeat"] = int(np.count_nonzero(has_sample & ~again & (copies == 0)))
    account = Account(
        len(numbers) + sum(batch.left_out.values()),
        int(np.count_nonzero(has_sample & (copies > 0))),
        dropped,
        reasons,
        +left_out,
    )
    if recipe.splits and batch.keys is not None:
        splits = assign_splits(batch.keys.groups, recipe.splits, recipe.seed)[batch.of_row]
    else:
        splits = np.zeros(len(batch.of_row), dtype=np.int8)
    of_sample = copies[batch.of_row]
    of_sample[splits > 0] = np.minimum(of_sample[splits > 0], 1)  # what a model is measured on comes once
    counts = batch.counted(of_sample)
    counts["verified"] = batch.verified
    return Chosen(list(_parts(batch, of_sample, splits)), rejects, +counts, account)


def _parts(batch: LabelledBatch, copies: np.ndarray, splits: np.ndarray) -> Iterator[tuple[int, Samples]]:
    """The samples of each split, each as often as wanted; copies of one stand beside each other."""
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


def _with_twins(
    source: str, batch: LabelledBatch, numbers: np.ndarray, again: np.ndarray, twins: Twins
) -> list[Reject]:
    """The rejects of a batch, with its duplicates among them; a duplicate is nothing but that."""
    lines = {reject.row: reject for reject in batch.rejects}
    ids = batch.keys.ids if batch.keys is not None else [None] * len(numbers)
    for at in np.flatnonzero(again).tolist():
        row = int(numbers[at])
        place = int(np.searchsorted(twins.rows, row))
        detail = f"the same conversation is row {twins.first[place]} of {twins.sources[place]}"
        lines[row] = Reject(source, row, ids[at], "duplicate", detail, None)
    return [lines[row] for row in sorted(lines)]
