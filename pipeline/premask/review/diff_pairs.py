"""Samples that differ between two outputs, read from both by their places.

    places = {"mask": [Place("a.jsonl row 3", 17, 18)]}
    pairs_of((before, after), places)       # ids and labels of sample 17 of the first, and 18 of the second

Cost: each output is read up to the last of these samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..output.dataset import Dataset, open_dataset
from ..output.read_samples import read_samples

Tokens = tuple[np.ndarray, np.ndarray]
"""Ids and labels of a sample, int32[t] each."""


class Place(NamedTuple):
    """A sample that differs: its name, and its places in the reading order of both outputs; None where it is
    not."""

    sample: str
    before: int | None
    after: int | None


class Pair(NamedTuple):
    """A sample that differs: its kind of difference, its name, and its tokens in both outputs."""

    kind: str
    sample: str
    before: Tokens | None
    after: Tokens | None


def pairs_of(outputs: tuple[Path, Path], places: Mapping[str, Sequence[Place]]) -> list[Pair]:
    """Return samples of two outputs by their places. Raises `OutputError` if one cannot be read."""
    wanted = [(kind, place) for kind, several in places.items() for place in several]
    numbers = [place.before for _, place in wanted], [place.after for _, place in wanted]
    sides = [
        dict(tokens_at(open_dataset(output), [number for number in own if number is not None]))
        for output, own in zip(outputs, numbers, strict=True)
    ]
    return [
        Pair(
            kind,
            place.sample,
            None if place.before is None else sides[0][place.before],
            None if place.after is None else sides[1][place.after],
        )
        for kind, place in wanted
    ]


def tokens_at(dataset: Dataset, places: Sequence[int]) -> Iterator[tuple[int, Tokens]]:
    """Yield ids and labels of samples by their places in reading order."""
    wanted, first = sorted(set(places)), 0
    for batch in read_samples(dataset) if wanted else ():
        last = first + len(batch.length)
        yield from ((i, batch.tokens(i - first)) for i in wanted if first <= i < last)
        first = last
        if first > wanted[-1]:
            return
