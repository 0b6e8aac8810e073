"""Where each sample of an output is, and what one sorts and filters samples by.

    index = read_index(dataset)                         # from the lineage alone
    for batch in read_samples(dataset):
        index.count_trained(batch)
    index.length[7], index.names[index.source[7]]       # of the eighth sample of all splits
    index.lines(np.array([7, 9]))                       # their lineage, read from its shards
    index.heads(np.array([7, 9]), 100)                  # their first tokens
    index.read(7)                                       # the samples of its pack, and which of them it is

Samples are numbered over all splits, in the order of `read_samples`. What is shown of a sample is read from
the shards when it is asked for: the row groups that have it.

Cost: reading takes 0.3 us a sample, and the trained tokens what `read_samples` takes. Memory is 20 bytes a
sample. A row group takes about 10 ms.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from ..core.arrays import offsets_of
from ..core.contract import SIDES
from ..core.errors import OutputError
from .dataset import Dataset, flat
from .read_samples import SampleBatch, misfit, read_row, rows_of
from .sides import are_whole, as_packs

NOT_COUNTED = -1
"""In place of the trained tokens of a sample that are not counted yet."""

_LINE = ("source", "row", "id", "sample", "offset")
_THREADS = 2  # that read shards for one answer


class Place(NamedTuple):
    """Where a sample is: its split, its number there, and its row (its pack) of the split."""

    split: str
    number: int
    row: int


@dataclass(frozen=True)
class _Split:
    """A split: its first sample over all splits, and the first sample of each of its rows, int64[rows + 1]
    counted within the split."""

    name: str
    first: int
    starts: np.ndarray


class SampleIndex:
    """The n samples of an output.

    splits   names of the splits, with a first sample each
    names    names of the sources
    length   int32[n]  tokens
    trained  int32[n]  trained tokens, `NOT_COUNTED` until `count_trained` was called with them
    source   int32[n]  source, an index into `names`
    row      int64[n]  number of the input row
    """

    def __init__(self, dataset: Dataset, parts: Sequence[_Part], names: Sequence[str]) -> None:
        self._dataset, self.names = dataset, list(names)
        self.length = _joined([each.length for each in parts], np.int32)
        self.source = _joined([each.source for each in parts], np.int32)
        self.row = _joined([each.row for each in parts], np.int64)
        self.trained = np.full(len(self.length), NOT_COUNTED, dtype=np.int32)
        self._splits = _splits_of(dataset, parts)
        self._counted = 0

    def __len__(self) -> int:
        return len(self.length)

    @property
    def splits(self) -> dict[str, range]:
        """The samples of each split."""
        ends = [*(each.first for each in self._splits[1:]), len(self)]
        return {each.name: range(each.first, end) for each, end in zip(self._splits, ends, strict=True)}

    def rows(self, split: str) -> np.ndarray:
        """Return the first sample of each row (pack) of a split, and the end: int64[rows + 1]."""
        (own,) = (each for each in self._splits if each.name == split)
        return own.starts + own.first

    def place(self, i: int) -> Place:
        """Return where sample i is."""
        own = [each for each in self._splits if each.first <= i][-1]
        row = int(np.searchsorted(own.starts, i - own.first, side="right")) - 1
        return Place(own.name, i - own.first, row)

    @property
    def counted(self) -> int:
        """Return of how many samples the trained tokens are counted: the first so many."""
        return self._counted

    @property
    def is_counted(self) -> bool:
        """Whether the trained tokens of all samples are counted."""
        return self._counted == len(self)

    def count_trained(self, batch: SampleBatch) -> None:
        """Take the trained tokens of the next samples. Raises `OutputError` if they are not the next ones."""
        own = slice(self._counted, self._counted + len(batch.length))
        if not np.array_equal(self.length[own], batch.length):
            raise OutputError(misfit(self._dataset, batch.split))
        self.trained[own] = batch.trained
        self._counted = own.stop

    def of_row(self, i: int) -> list[int]:
        """Return the samples of the same input row as sample i, with itself."""
        same = (self.row == self.row[i]) & (self.source == self.source[i])
        found: list[int] = np.flatnonzero(same).tolist()
        return found

    # ==== What is read when it is asked for ====

    def ids(self) -> pa.ChunkedArray:
        """Return the ids of all samples."""
        batches = (batch for each in self._splits for batch in self._dataset.lineage(each.name, ["id"]))
        found = pa.chunked_array([batch.column("id") for batch in batches], pa.string())
        if len(found) != len(self):
            raise OutputError(misfit(self._dataset, self._splits[0].name))
        return found

    def read(self, i: int) -> tuple[SampleBatch, int]:
        """Return the samples of the row (pack) that has sample i, and which of them it is. Raises
        `OutputError` where they cannot be read, or are no longer what they were."""
        split, number, row = self.place(i)
        (own,) = (each for each in self._splits if each.name == split)
        lines = range(int(own.starts[row]), int(own.starts[row + 1]))
        return read_row(self._dataset, split, row, lines), number - lines.start

    def lines(self, numbers: np.ndarray) -> list[dict[str, Any]]:
        """Return the lineage of some samples, int64[m], in their order: `source`, `row`, `id`, `sample`, and
        `offset`, the first token within the row of the output."""
        found = dict[int, dict[str, Any]]()
        for first, split, own in self._by_split(numbers):
            for here, batch in rows_of(self._dataset, "lineage", split, own, _LINE):
                found |= dict(zip((here + first).tolist(), batch.to_pylist(), strict=True))
        return self._all(found, numbers)

    def heads(self, numbers: np.ndarray, most: int) -> list[np.ndarray]:
        """Return at most so many first tokens of some samples, int64[m], in their order: int32 each."""
        offsets = np.array([line["offset"] for line in self.lines(numbers)], dtype=np.int64)
        found, order = dict[int, np.ndarray](), np.argsort(numbers, kind="stable")
        with ThreadPoolExecutor(_THREADS) as pool:
            parts = np.array_split(order, _THREADS if len(order) > _THREADS else 1)
            for some in pool.map(lambda part: self._heads(numbers[part], offsets[part], most), parts):
                found |= some
        return self._all(found, numbers)

    def _heads(self, numbers: np.ndarray, offsets: np.ndarray, most: int) -> dict[int, np.ndarray]:
        layout = self._dataset.layout
        columns = self._dataset.schema(layout).names if layout in SIDES else ["input_ids"]
        found = dict[int, np.ndarray]()
        for first, split, own in self._by_split(numbers):
            rows = np.array([self.place(int(i)).row for i in own + first])
            for here, batch in rows_of(self._dataset, layout, split, np.unique(rows), columns):
                ids = flat(self._plain(batch).column("input_ids"))
                for at in np.flatnonzero(np.isin(rows, here)).tolist():
                    number = int(own[at]) + first
                    begin = (
                        ids.offsets[np.searchsorted(here, rows[at])]
                        + offsets[np.searchsorted(numbers, number)]
                    )
                    found[number] = ids.values[begin : begin + min(most, self.length[number])].copy()
        return found

    def _plain(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        layout = self._dataset.layout
        if layout not in SIDES:
            return batch
        if not are_whole(layout, batch).all():
            raise OutputError(misfit(self._dataset, layout))
        return as_packs(layout, batch)

    def _by_split(self, numbers: np.ndarray) -> Iterator[tuple[int, str, np.ndarray]]:
        """The first sample of each split, its name, and those of some samples that it has, ascending."""
        numbers = np.unique(numbers)
        for name, own in self.splits.items():
            here = numbers[(numbers >= own.start) & (numbers < own.stop)]
            if len(here):
                yield own.start, name, here - own.start

    def _all(self, found: dict[int, Any], numbers: np.ndarray) -> list[Any]:
        try:
            return [found[number] for number in numbers.tolist()]
        except KeyError as error:
            raise OutputError(misfit(self._dataset, self.place(error.args[0]).split)) from None


class _Part(NamedTuple):
    """Some lines of lineage: the split, its columns, and the lines with which a row of the output begins."""

    split: str
    length: np.ndarray
    source: np.ndarray
    row: np.ndarray
    starts: np.ndarray


def read_index(dataset: Dataset) -> SampleIndex:
    """Return the samples of an output; their trained tokens are not counted. Raises `OutputError` if the
    lineage cannot be read."""
    names, parts = dict[str, int](), list[_Part]()
    for split in dataset.splits:
        row = -1
        for batch in dataset.lineage(split, ["pack", "length", "source", "row"]):
            packs = batch.column("pack").to_numpy()
            parts.append(_part(split, batch, names, np.flatnonzero(np.diff(packs, prepend=row))))
            row = int(packs[-1]) if len(packs) else row
    return SampleIndex(dataset, parts, list(names))


def _part(split: str, batch: pa.RecordBatch, names: dict[str, int], starts: np.ndarray) -> _Part:
    source = batch.column("source").dictionary_encode()
    codes = [names.setdefault(each, len(names)) for each in source.dictionary.to_pylist()]
    length, row = (batch.column(name).to_numpy() for name in ("length", "row"))
    return _Part(split, length, np.array(codes, dtype=np.int32)[source.indices.to_numpy()], row, starts)


def _joined(parts: Sequence[np.ndarray], kind: Any) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype=kind), *parts])


def _splits_of(dataset: Dataset, parts: Sequence[_Part]) -> list[_Split]:
    found, first = list[_Split](), 0
    for name in dataset.splits:
        own = [each for each in parts if each.split == name]
        ends = offsets_of([len(each.length) for each in own])
        starts = [each.starts + end for each, end in zip(own, ends[:-1].tolist(), strict=True)]
        found.append(_Split(name, first, _joined([*starts, ends[-1:]], np.int64)))
        first += int(ends[-1])
    return found
