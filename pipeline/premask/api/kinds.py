"""Data of any kind through some work: the same kind of thing comes back.

    found = through(dataset, work)              # a Dataset again, with `rejects`

The kinds are a list of rows, a `Dataset` or `IterableDataset` of datasets or a dict of either, a polars
`DataFrame`, and a mapping of columns, as `Dataset.map(batched=True)` gives it. A library is never imported
for that: who has its data has imported it.
"""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import pyarrow as pa

from ..core.contract import IGNORE_INDEX
from ..core.display import percent
from ..core.errors import SourceError
from ..core.records import Reject
from ..core.text import storable
from ..review.notebook.rejects import RejectedRows
from .ways_out import named_with_hint

ROWS_AT_ONCE = 10_000
"""Rows of a `Dataset` that are held as a table at a time."""

NAME = "data"
"""What messages and rejects call the data."""

Rejects = list[dict[str, Any]]
"""Lines of the reject log: `source`, `row`, `id`, `reason`, `detail`, `original`."""


RowList = Sequence[Mapping[str, Any]]
Columns = Mapping[str, Sequence[Any]]


class OfDatasets(Protocol):
    """A `Dataset`, `DatasetDict` or `IterableDataset`."""

    @property
    def column_names(self) -> Any:
        """Its columns."""


class Frame(Protocol):
    """A polars `DataFrame`."""

    @property
    def columns(self) -> Any:
        """Its columns."""

    def to_arrow(self) -> Any:
        """Return it as an Arrow table."""


class Made(NamedTuple):
    """What work gives: a table with the columns of a layout, and the rejected rows."""

    table: pa.Table
    rejects: Rejects


def line_of(reject: Reject) -> dict[str, Any]:
    """Return a rejected row as a line; libraries of tables refuse texts with halves of surrogate pairs."""
    line = asdict(reject)
    return {name: storable(each) if isinstance(each, str) else each for name, each in line.items()}


class Reader(Protocol):
    """Takes the rows of one source in order; it knows which row is next, and how rows are read."""

    def rows(self, values: Sequence[Any]) -> Made:
        """Take objects."""

    def tables(self, tables: Iterable[pa.Table]) -> Made:
        """Take Arrow tables."""


class Work(Protocol):
    """What is done with rows. Can be pickled."""

    title: str
    """The public function, for messages."""

    at_once: int
    """Rows of a stream that are taken together."""

    @property
    def names(self) -> list[str]:
        """The columns that it gives."""

    def reader(self, name: str) -> Reader:
        """Return what takes the rows of a source."""


class SampleRows(list[dict[str, Any]]):
    """Rows as dicts. `rejects` are the rejected rows: lines of the reject log. Printed, they are counted."""

    rejects: Rejects

    def __repr__(self) -> str:
        labels = [row["labels"] for row in self if "labels" in row]
        tokens, trained = sum(map(len, labels)), sum(label != IGNORE_INDEX for own in labels for label in own)
        counts = f", {tokens:,} tokens, {trained:,} trained ({percent(trained, tokens)})" if labels else ""
        lost = len(getattr(self, "rejects", ()))
        rows = "1 row" if len(self) == 1 else f"{len(self):,} rows"
        return f"<{rows}{counts}; {lost:,} rejected; premask.show(rows, tokenizer) shows them>"

    __str__ = __repr__


def through(data: Any, work: Work) -> Any:
    """Return what work makes of data, as the same kind of thing. Raises `TypeError` for another kind."""
    return _kind(data, work.title)(data, work)


def names_of(data: Any, title: str) -> set[str]:
    """Return the columns that data has; of a stream that does not say, the keys of its first row."""
    kind = _kind(data, title)
    if kind is _rows:
        return {name for row in data if isinstance(row, Mapping) for name in row}
    if kind in (_dict, _streams):
        return {name for each in data.values() for name in names_of(each, title)}
    if kind is _iterable:
        return set(data.column_names or next(iter(data), {}))
    return set(data if kind is _columns else data.columns if kind is _frame else data.column_names)


def _kind(data: Any, title: str) -> Callable[[Any, Work], Any]:
    """Return what takes a kind of data."""
    datasets, polars = sys.modules.get("datasets"), sys.modules.get("polars")
    if datasets is not None:
        kinds = {
            datasets.Dataset: _dataset,
            datasets.DatasetDict: _dict,
            datasets.IterableDataset: _iterable,
            datasets.IterableDatasetDict: _streams,
        }
        for kind, taken in kinds.items():
            if isinstance(data, kind):
                return taken
    if polars is not None and isinstance(data, polars.DataFrame):
        return _frame
    if isinstance(data, Mapping):
        return _columns
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return _rows
    what = "a list of rows, a Dataset, DatasetDict, IterableDataset, polars DataFrame or mapping of columns"
    raise TypeError(f"{title}: data must be {what}, not {named_with_hint(data)}")


# ==== Each kind ====


def _rows(data: Sequence[Any], work: Work) -> SampleRows:
    made = work.reader(NAME).rows(data)
    found = SampleRows(rows_of_table(made.table))
    found.rejects = RejectedRows(made.rejects)
    return found


def _columns(data: Mapping[str, Any], work: Work) -> dict[str, Any]:
    _check_columns(data, work)
    values = rows_of(data)
    try:
        made = work.reader(NAME).rows(values)
    except SourceError as error:
        _check_no_row(data, work)
        warnings.warn(f"{work.title}: {len(values)} rows are left out: {error}", stacklevel=4)
        return {name: [] for name in work.names}
    if reasons := Counter(line["reason"] for line in made.rejects):
        if not made.table.num_rows:
            _check_no_row(data, work)
        what = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
        hint = "give the whole Dataset to list them"
        warnings.warn(f"{work.title}: rows are rejected ({what}); {hint}", stacklevel=4)
    return {name: values_of(made.table.column(name)) for name in work.names}


_ONE_ROW = "this is a row by itself, not columns; give [row], or, in Dataset.map, batched=True"


def _check_columns(data: Mapping[str, Any], work: Work) -> None:
    """Raise `TypeError` for a row in place of columns: a text or a number is no column."""
    values = data.values()
    if any(isinstance(each, (str, bytes, Mapping)) or not hasattr(each, "__len__") for each in values):
        raise TypeError(f"{work.title}: {_ONE_ROW}")
    if len({*map(len, values)}) > 1:
        _check_no_row(data, work)


def _check_no_row(data: Mapping[str, Any], work: Work) -> None:
    """Raise `TypeError` for columns of which nothing can be made, but that make sense as one row."""
    try:
        made = work.reader(NAME).rows([dict(data)])
    except SourceError:
        return
    if made.table.num_rows:
        raise TypeError(f"{work.title}: {_ONE_ROW}")


def rows_of(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return columns as rows. Raises `SourceError` for columns of different lengths."""
    names = list(columns)
    sizes = {name: len(columns[name]) for name in names}
    if len({*sizes.values()}) > 1:
        raise SourceError(f"the columns have different lengths: {sizes}; give each row a value in all")
    rows = zip(*(columns[name] for name in names), strict=True)
    return [dict(zip(names, row, strict=True)) for row in rows]


def rows_of_table(table: pa.Table) -> list[dict[str, Any]]:
    """Return a table as rows, as `to_pylist` does, in a third of the time where it has lists of numbers."""
    names = table.schema.names
    columns = [values_of(table.column(name)) for name in names]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def values_of(column: pa.ChunkedArray) -> list[Any]:
    """Return a column as Python objects.

    >>> values_of(pa.chunked_array([[[1, 2], [3]], [[]]], pa.list_(pa.int32())))
    [[1, 2], [3], []]
    """
    return [value for chunk in column.chunks for value in _values_of_chunk(chunk)]


def _values_of_chunk(chunk: pa.Array) -> list[Any]:
    kind = chunk.type
    is_plain = pa.types.is_list(kind) and (
        pa.types.is_integer(kind.value_type) or pa.types.is_floating(kind.value_type)
    )
    if not is_plain or chunk.null_count or chunk.values.null_count:
        values: list[Any] = chunk.to_pylist()
        return values
    numbers, edges = chunk.values.to_numpy(), chunk.offsets.to_pylist()
    return [numbers[first:last].tolist() for first, last in pairwise(edges)]


def tables_of(data: Any) -> Iterator[pa.Table]:
    """Yield the rows of a `Dataset` as tables."""
    plain = data.with_format("arrow")
    for at in range(0, len(plain), ROWS_AT_ONCE):
        yield plain[at : at + ROWS_AT_ONCE]


def _dataset(data: Any, work: Work, name: str = NAME) -> Any:
    made = work.reader(name).tables(tables_of(data))
    found = type(data)(made.table)
    found.rejects = RejectedRows(made.rejects)
    return found


def _dict(data: Any, work: Work) -> Any:
    found = type(data)({name: _dataset(each, work, name) for name, each in data.items()})
    lines = ({"split": name, **line} for name, each in found.items() for line in each.rejects)
    found.rejects = RejectedRows(lines)
    return found


def _frame(data: Any, work: Work) -> Any:
    made = work.reader(NAME).tables([data.to_arrow()] if data.height else [])
    found = sys.modules["polars"].from_arrow(made.table)
    found.rejects = RejectedRows(made.rejects)
    return found


def _iterable(data: Any, work: Work, name: str = NAME) -> Any:
    stream = _Stream(work, name)
    found = data.map(stream, batched=True, batch_size=work.at_once, with_indices=True)
    found = found.select_columns(work.names)
    found.rejects = stream.rejects
    return found


def _streams(data: Any, work: Work) -> Any:
    return type(data)({name: _iterable(each, work, name) for name, each in data.items()})


class _Stream:
    """Takes the rows of a stream, some at a time; a copy in another process has rejects of its own.

    Each pass begins anew. A row can have other columns than the first one, so all columns of a batch are
    given back, with nothing in them: `datasets` keeps those that are not.
    """

    def __init__(self, work: Work, name: str) -> None:
        self._work, self._name, self._reader = work, name, work.reader(name)
        self.rejects = RejectedRows()

    def __call__(self, columns: Mapping[str, Any], numbers: Sequence[int]) -> dict[str, Any]:
        if numbers[0] == 0:
            self._reader = self._work.reader(self._name)
            self.rejects.clear()
        made = self._reader.rows(rows_of(columns))
        self.rejects += made.rejects
        others = {name: [None] * made.table.num_rows for name in columns}
        return others | {name: values_of(made.table.column(name)) for name in self._work.names}

    def __reduce__(self) -> tuple[Any, ...]:
        return _Stream, (self._work, self._name)
