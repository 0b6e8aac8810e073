"""The samples of a finished output one after another, each with where it came from.

    for batch in read_samples(open_dataset(Path("out/chats"))):
        batch.origin.column("source"), batch.lengths, batch.ids[batch.begin[0] : batch.begin[0] + ...]

Shards and lineage list the samples of a split in the same order, so that reading both side by side joins
them. It takes the packed layout where there is one, else the other one. Padding is left out. The two sides of
a preference are two samples of one row.

Cost: 15 ns a token and 0.5 us a sample; memory is that of a batch, some tens of MB, whatever the size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from ..core.arrays import offsets_of, runs_of_numbers
from ..core.contract import IGNORE_INDEX, LINEAGE_SCHEMA, LOSS_WEIGHTS, ORIGIN_SCHEMA, PADDED_LENGTHS, SIDES
from ..core.errors import OutputError
from ..core.manifest import Shard
from ..core.recipe import PadRows
from ..core.records import Samples
from .dataset import Dataset, Lists, flat
from .sides import are_whole, as_packs
from .windows import concat_samples

_ORIGIN = ["source", "row", "id", "sample"]


class SampleBatch(NamedTuple):
    """n samples of one split, in the order of its shards.

    split      the split that they belong to
    first_row  number of the batch's first row, counted over all rows of the split
    row_sizes  int64[r]  tokens of the r rows of the batch, padding included
    row        int64[n]  row of each sample, counted over all rows of the split
    offset     int64[n]  its first token within the row
    length     int64[n]  its tokens
    trained    int64[n]  those of them that are trained
    begin      int64[n]  its first token within `ids` and `labels`
    ids        int32[t]  token ids, flat
    labels     int32[t]  labels, flat
    origin     n lines of lineage: `source`, `row`, `id`, `sample`
    """

    split: str
    first_row: int
    row_sizes: np.ndarray
    row: np.ndarray
    offset: np.ndarray
    length: np.ndarray
    trained: np.ndarray
    begin: np.ndarray
    ids: np.ndarray
    labels: np.ndarray
    origin: pa.RecordBatch

    def tokens(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Return copies of ids and labels of sample i, int32[length] each."""
        own = slice(int(self.begin[i]), int(self.begin[i] + self.length[i]))
        return self.ids[own].copy(), self.labels[own].copy()

    def side_by_side(self) -> tuple[np.ndarray, np.ndarray]:
        """Return ids and labels of all samples without padding between them, int32[sum of lengths]."""
        if len(self.ids) == int(self.length.sum()):
            return self.ids, self.labels
        shift = np.repeat(self.begin - offsets_of(self.length)[:-1], self.length)
        places = np.arange(len(shift)) + shift
        return self.ids[places], self.labels[places]


def read_samples(dataset: Dataset) -> Iterator[SampleBatch]:
    """Yield all samples, split by split; raises `OutputError` where a file cannot be read, or where shards
    and lineage do not fit together."""
    cut = _Cut(dataset)
    for split in dataset.splits:
        origins, first = _Origins(dataset, split), 0
        for shard in dataset.shards(dataset.layout, split):
            for batch in dataset.batches(shard, cut.columns):
                yield cut.samples(batch, split, first, origins.take)
                first += batch.num_rows
        origins.finish()


class FirstRows(NamedTuple):
    """The first rows of a shard, and their samples, without where these came from."""

    rows: pa.RecordBatch
    samples: SampleBatch


def first_samples(dataset: Dataset, shard: Shard) -> FirstRows | None:
    """Return the first rows of a shard, about 65,000 tokens of them; None if it has none.

    Raises `OutputError` if the shard cannot be read.
    """
    cut = _Cut(dataset, shard.kind)
    batch = next(dataset.batches(shard, cut.columns, tokens=1 << 16), None)
    if batch is None:
        return None
    nowhere = _one_batch(ORIGIN_SCHEMA.empty_table())
    return FirstRows(batch, cut.samples(batch, shard.path, 0, lambda _: nowhere))


def read_row(dataset: Dataset, split: str, row: int, lines: range | None = None) -> SampleBatch:
    """Return the samples of one row (one pack) of a split; rows count over its shards from 0. `lines` are
    those of its lineage, if they are known (`sample_index.py`).

    Raises `OutputError` if there is no such split or row. Reads the row group that has it, and the lineage
    of the split, or the row groups of it that have `lines`.
    """
    cut = _Cut(dataset)
    if split not in dataset.splits:
        raise OutputError(f"{dataset.root} has no split {split}; there are {', '.join(dataset.splits)}")

    def take(lengths: np.ndarray) -> pa.RecordBatch:
        return _origins_of(dataset, split, row, lines, lengths)

    for _, batch in rows_of(dataset, dataset.layout, split, np.array([row]), cut.columns):
        return cut.samples(batch, split, row, take)
    count = sum(shard.rows for shard in dataset.shards(dataset.layout, split))
    what = f"{dataset.root} has no row {row} of {dataset.layout} in {split}; there are {count:,}"
    raise OutputError(f"{what}, counted from 0")


def rows_of(
    dataset: Dataset, kind: str, split: str | None, numbers: np.ndarray, columns: Sequence[str]
) -> Iterator[tuple[np.ndarray, pa.RecordBatch]]:
    """Yield some rows of a split by their numbers over all shards of a kind (int64[n], ascending), in
    batches, each with the numbers of its rows; the reject log has no splits. Only row groups that have some
    are read."""
    first = 0
    for shard in dataset.shards(kind, split):
        own = numbers[slice(*np.searchsorted(numbers, [first, first + shard.rows]))] - first
        if len(own):
            for here, batch in dataset.rows(shard, own, columns):
                yield here + first, batch
        first += shard.rows


def misfit(dataset: Dataset, split: str) -> str:
    """Return what is said of a split whose shards and lineage do not fit together."""
    out = dataset.root
    return f"{out}: shards and lineage of {split} do not fit together; see 'premask verify {out}'"


def fitting(packs: pa.RecordBatch, sizes: np.ndarray) -> np.ndarray:
    """Which packs have samples of together as many tokens as they say (`sizes`), each of some, bool[n]; with
    the padding behind them, where they have that."""
    lengths, rooms = sample_sizes(packs)
    total, low = offsets_of(rooms.values)[rooms.offsets], offsets_of(lengths.values < 1)[lengths.offsets]
    found: np.ndarray = (np.diff(total) == sizes) & (np.diff(low) == 0)
    if lengths is not rooms:
        found &= _have_room(lengths, rooms)
    return found


def _have_room(lengths: Lists, rooms: Lists) -> np.ndarray:
    """Which packs have a room for each sample, none smaller than its sample, bool[n]."""
    counts = np.diff(lengths.offsets)
    fine: np.ndarray = counts == np.diff(rooms.offsets)
    own, room = (
        each.values[runs_of_numbers(each.offsets[:-1][fine], counts[fine])] for each in (lengths, rooms)
    )
    fine[fine] = np.diff(offsets_of(own > room)[offsets_of(counts[fine])]) == 0
    return fine


def sample_sizes(packs: pa.RecordBatch) -> tuple[Lists, Lists]:
    """The tokens of the samples of packs, and of their rooms: with the padding behind each. Without padding
    both are the same object."""
    lengths = _numbers(packs, "seq_lengths")
    if PADDED_LENGTHS.name not in packs.schema.names:
        return lengths, lengths
    return lengths, _numbers(packs, PADDED_LENGTHS.name)


def _numbers(packs: pa.RecordBatch, name: str) -> Lists:
    values, offsets = flat(packs.column(name))
    return Lists(values.astype(np.int64), offsets)


def shard_samples(dataset: Dataset, shard: Shard, lineage: Shard) -> Samples:
    """Return the samples of one shard of packs or rows in its order, as they were before they were laid out.

    `lineage` is the shard of lineage with the same samples. Raises `OutputError` as `read_samples` does.
    Memory is that of the shard.
    """
    cut, lines = _Cut(dataset, shard.kind), _one_batch(_lines_of(dataset, lineage))
    parts, at = list[Samples](), 0
    for batch in dataset.batches(shard, [*cut.columns, *cut.floats]):
        found = cut.samples(batch, "", 0, partial(_taken, lines, at))
        if not np.array_equal(found.origin.column("length").to_numpy(), found.length):
            raise OutputError(misfit(dataset, shard.path))
        ids, labels = found.ids, found.labels
        floats = {name: flat(batch.column(name)).values for name in cut.floats}
        if len(found.ids) > found.length.sum():
            places = runs_of_numbers(found.begin, found.length)
            ids, labels = ids[places], labels[places]
            floats = {name: each[places] for name, each in floats.items()}
        origin = found.origin.select(ORIGIN_SCHEMA.names)
        parts.append(Samples(ids, labels, offsets_of(found.length), origin, floats))
        at += len(found.length)
    if at != len(lines):
        raise OutputError(misfit(dataset, shard.path))
    return concat_samples(parts)


def _lines_of(dataset: Dataset, lineage: Shard) -> pa.Table:
    names = ["length", *ORIGIN_SCHEMA.names]
    schema = pa.schema([LINEAGE_SCHEMA.field(name) for name in names])
    return pa.Table.from_batches(list(dataset.batches(lineage, names)), schema)


def _taken(lines: pa.RecordBatch, first: int, lengths: np.ndarray) -> pa.RecordBatch:
    return lines.slice(first, len(lengths))


class _Cut:
    """Cuts the rows of an output into samples; reads these `columns` of a layout, by default its main one.
    `floats` are the names of the columns of loss weights and of numbers of tokens."""

    def __init__(self, dataset: Dataset, layout: str = "") -> None:
        self._dataset, self._layout = dataset, layout or dataset.layout
        self._packed = self._layout != "unpacked"
        self._padded = self._packed and dataset.manifest.settings.pad_rows is PadRows.to_length
        there = dataset.schema(self._layout)
        self.floats = [each.name for each in there if each.type == LOSS_WEIGHTS.type]
        sizes = [name for name in ("seq_lengths", PADDED_LENGTHS.name) if name in there.names]
        self.columns = there.names if self._layout in SIDES else ["input_ids", "labels", *sizes]

    def samples(
        self, batch: pa.RecordBatch, split: str, first: int, take: Callable[[np.ndarray], pa.RecordBatch]
    ) -> SampleBatch:
        """The samples of a batch whose first row has that number; `take` gives their lineage by lengths."""
        if self._layout in SIDES:
            if not are_whole(self._layout, batch).all():
                raise OutputError(misfit(self._dataset, split))
            batch = as_packs(self._layout, batch)
        ids, labels = flat(batch.column("input_ids")), flat(batch.column("labels")).values
        row_sizes = np.diff(ids.offsets)
        lengths, row, begin = row_sizes, np.arange(batch.num_rows), ids.offsets[:-1]
        fitted = fitting(batch, row_sizes) if self._packed else row_sizes > 0
        if len(labels) != len(ids.values) or not fitted.all():
            raise OutputError(misfit(self._dataset, split))
        if self._packed:
            (lengths, of_rows), (rooms, _) = sample_sizes(batch)
            row, begin = np.repeat(row, np.diff(of_rows)), offsets_of(rooms)[:-1]
        before = offsets_of(labels != IGNORE_INDEX)
        trained = before[begin + lengths] - before[begin]
        if self._padded:  # padding is the last sample of a row, and has no trained token, as others have
            keep = np.flatnonzero((trained > 0) | (np.diff(row, append=-1) == 0))
            begin, lengths, row, trained = begin[keep], lengths[keep], row[keep], trained[keep]
        offset = begin - ids.offsets[row]
        places = (row + first, offset, lengths, trained, begin)
        return SampleBatch(split, first, row_sizes, *places, ids.values, labels, take(lengths))


# ==== Lineage ====


def _origins_of(
    dataset: Dataset, split: str, row: int, lines: range | None, lengths: np.ndarray
) -> pa.RecordBatch:
    """The lineage of one row of a split, whose samples must have these lengths."""
    import pyarrow.compute as pc  # noqa: PLC0415  it takes as long as pyarrow itself

    columns = ["pack", "length", *_ORIGIN]
    if lines is None:
        batches = list(dataset.lineage(split, columns))
    else:
        batches = [batch for _, batch in rows_of(dataset, "lineage", split, np.array(lines), columns)]
    found = pa.Table.from_batches(
        [batch.filter(pc.equal(batch["pack"], row)) for batch in batches],
        pa.schema([LINEAGE_SCHEMA.field(name) for name in columns]),
    )
    if not np.array_equal(found.column("length").to_numpy(), lengths):
        raise OutputError(misfit(dataset, split))
    return _one_batch(found.select(_ORIGIN))


def _one_batch(table: pa.Table) -> pa.RecordBatch:
    """A table, in one piece."""
    batches = table.combine_chunks().to_batches()
    empty = {field.name: pa.array([], field.type) for field in table.schema}
    return batches[0] if batches else pa.RecordBatch.from_pydict(empty)


class _Origins:
    """The lineage of one split, in order, taken some lines at a time."""

    def __init__(self, dataset: Dataset, split: str) -> None:
        self._dataset, self._split = dataset, split
        self._batches = dataset.lineage(split, [*_ORIGIN, "length"])
        self._waiting: list[pa.RecordBatch] = []
        self._rows = 0

    def take(self, lengths: np.ndarray) -> pa.RecordBatch:
        """The next lines, as many as there are lengths of samples, which they must have."""
        while self._rows < len(lengths):
            batch = next(self._batches, None)
            if batch is None:
                raise OutputError(misfit(self._dataset, self._split))
            self._waiting.append(batch)
            self._rows += batch.num_rows
        if not self._waiting:
            return _one_batch(pa.schema([LINEAGE_SCHEMA.field(name) for name in _ORIGIN]).empty_table())
        whole = _one_batch(pa.Table.from_batches(self._waiting))
        own, rest = whole.slice(0, len(lengths)), whole.slice(len(lengths))
        if not np.array_equal(own.column("length").to_numpy(), lengths):
            raise OutputError(misfit(self._dataset, self._split))
        self._waiting, self._rows = [rest], rest.num_rows
        return own.select(_ORIGIN)

    def finish(self) -> None:
        """Raise if lines are left."""
        if self._rows or any(batch.num_rows for batch in self._batches):
            raise OutputError(misfit(self._dataset, self._split))
