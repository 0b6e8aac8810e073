"""Which split each row goes to, how often, and in which order: decided for each row by itself, from hashes
and a seed.

    splits = assign_splits(keys.groups, recipe.splits, recipe.seed)          # 0 is train
    copies = count_copies(source, numbers, entry.repeat, recipe.seed)
    order = np.argsort(order_keys(samples.origin, recipe.seed))

So neither depends on other rows, on the cut into units or on who does them; and of two runs with nearly equal
shares, nearly the same rows are chosen. Cost: some ns a row.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from .core.arrays import _chance, mixed_bits, name_hash


def assign_splits(groups: np.ndarray, shares: Mapping[str, float], seed: int) -> np.ndarray:
    """The split of each row, int8[n]: 0 is train, 1 the first of `shares`, and so on.

    `groups` uint64[n] are what keeps rows together (`rowkeys.RowKeys.groups`); a share is the chance that a
    group comes into a split, so that it holds for many groups, and not exactly.

    >>> assign_splits(np.arange(8, dtype=np.uint64), {"validation": 0.5}, seed=0).tolist()
    [0, 1, 0, 0, 1, 1, 1, 1]
    """
    chance = _chance(groups ^ mixed_bits(np.array([seed], dtype=np.uint64)))
    ends = np.cumsum([*shares.values()])
    place = np.searchsorted(ends, chance, side="right")
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
        copies += _chance(numbers.astype(np.uint64) ^ np.uint64(name)) < fraction
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
