"""The row of an output that its card shows: a short one of those that come first, always the same.

    for each in example_rows(dataset):          # one; the sides of a preference are two
        each.name, each.ids, each.trained

Only the first shard of train is read, and of it the first rows. Cost: a few milliseconds.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..core.contract import IGNORE_INDEX
from ..core.manifest import Manifest, Shard
from .dataset import Dataset
from .read_samples import first_samples

TOKENIZER_FILE = "tokenizer/tokenizer.json"
"""The file of an output that gives ids their text."""

_FEWEST, _MOST = 40, 256  # tokens that are good to look at
_HEAD, _TAIL = 240, 120  # tokens of a longer one that are shown


class ExampleRow(NamedTuple):
    """A sample, or a side of one: what it is called (empty for a plain sample), its token ids, which of them
    are trained, and how many tokens are left out after the first `head` ones."""

    name: str
    ids: list[int]
    trained: list[bool]
    head: int
    left_out: int


def example_shard(manifest: Manifest) -> Shard | None:
    """Return the shard that the example is in; None if train is empty."""
    return next((each for each in manifest.shards_of(manifest.layouts[0], "train") if each.rows), None)


def example_rows(dataset: Dataset) -> list[ExampleRow]:
    """Return what the card shows; nothing if train is empty. Raises `OutputError` if the shard cannot be
    read."""
    shard = example_shard(dataset.manifest)
    found = None if shard is None else first_samples(dataset, shard)
    if found is None or not len(found.samples.length):
        return []
    batch, samples = found
    in_groups = dataset.layout in ("preference", "kto")
    group = samples.row if in_groups else np.arange(len(samples.row))
    longest = np.zeros(int(group.max()) + 1, dtype=np.int64)
    np.maximum.at(longest, group, samples.length)
    distance = np.maximum(longest - _MOST, 0) + np.maximum(_FEWEST - longest, 0)
    chosen = int(np.argmin(distance))
    names = [""]
    if dataset.layout == "preference":
        names = ["chosen", "rejected"]
    elif dataset.layout == "kto":
        names = ["a good answer" if batch.column("label")[chosen].as_py() else "a bad answer"]
    own = np.flatnonzero(group == chosen)
    return [_row(name, *samples.tokens(int(i))) for name, i in zip(names, own, strict=False)]


def _row(name: str, ids: np.ndarray, labels: np.ndarray) -> ExampleRow:
    keep, left_out = np.arange(len(ids)), len(ids) - _HEAD - _TAIL
    if left_out > 0:
        keep = np.concatenate([keep[:_HEAD], keep[-_TAIL:]])
    trained = labels[keep] != IGNORE_INDEX
    return ExampleRow(name, ids[keep].tolist(), trained.tolist(), _HEAD, max(left_out, 0))
