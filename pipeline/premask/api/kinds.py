"""Data of any kind through some work: the same kind of thing comes back.

    found = through(dataset, work)              # a Dataset again, with `rejects`

The kinds are a list of rows, a `Dataset`, `DatasetDict` or `IterableDataset` of datasets, a polars
`DataFrame`, and a mapping of columns, as `Dataset.map(batched=True)` gives it. A library is never imported
for that: who has its data has imported it.
"""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pyarrow as pa

from ..core.contract import IGNORE_INDEX
from ..core.display import percent
from ..core.errors import SourceError
from ..review.notebook.rejects import RejectedRows

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
    """Return the columns that data has; of a list, the keys of its first rows."""
    kind = _kind(data, title)
    if kind is _rows:
        return {name for row in data[:ROWS_AT_ONCE] if isinstance(row, Mapping) for name in row}
    if kind is _dict:
        return {name for each in data.values() for name in names_of(each, title)}
    if kind is _iterable:
        return set(data.column_names or next(iter(data), {}))
    return set(data if kind is _columns else data.columns if kind is _frame else data.column_names)


def _kind(data: Any, title: str) -> Callable[[Any, Work], Any]:
    """Return what takes a kind of data."""
    datasets, polars = sys.modules.get("datasets"), sys.modules.get("polars")
    if datasets is not None:
        kinds = {datasets.Dataset: _dataset, datasets.DatasetDict: _dict, datasets.IterableDataset: _iterable}
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
    hint = "; premask.run takes files" if isinstance(data, (str, Path)) else ""
    raise TypeError(f"{title}: data must be {what}, not {type(data).__name__}{hint}")


# ==== Each kind ====


def _rows(data: Sequence[Any], work: Work) -> SampleRows:
    _check_some(len(data), NAME, work)
    made = work.reader(NAME).rows(data)
    found = SampleRows(rows_of_table(made.table))
    found.rejects = RejectedRows(made.rejects)
    return found


def _columns(data: Mapping[str, Any], work: Work) -> dict[str, Any]:
    values = rows_of(data)
    try:
        made = work.reader(NAME).rows(values)
    except SourceError as error:
        warnings.warn(f"{work.title}: {len(values)} rows are left out: {error}", stacklevel=4)
        return {name: [] for name in work.names}
    if reasons := Counter(line["reason"] for line in made.rejects):
        what = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
        hint = "give the whole Dataset to list them"
        warnings.warn(f"{work.title}: rows are rejected ({what}); {hint}", stacklevel=4)
    return {name: values_of(made.table.column(name)) for name in work.names}


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


def _check_some(count: int, name: str, work: Work) -> None:
    if not count:
        raise SourceError(f"{work.title}: {name} is empty; give it at least one row")


def _dataset(data: Any, work: Work, name: str = NAME) -> Any:
    _check_some(len(data), name, work)
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
    _check_some(data.height, NAME, work)
    made = work.reader(NAME).tables([data.to_arrow()])
    found = sys.modules["polars"].from_arrow(made.table)
    found.rejects = RejectedRows(made.rejects)
    return found


def _iterable(data: Any, work: Work) -> Any:
    names = data.column_names or list(next(iter(data), {}))
    stream = _Stream(work)
    found = data.map(stream, batched=True, batch_size=work.at_once, remove_columns=names)
    found.rejects = stream.rejects
    return found


class _Stream:
    """Takes the rows of a stream, some at a time; a copy in another process has rejects of its own."""

    def __init__(self, work: Work) -> None:
        self._work, self._reader = work, work.reader(NAME)
        self.rejects = RejectedRows()

    def __call__(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        made = self._reader.rows(rows_of(columns))
        self.rejects += made.rejects
        return {name: values_of(made.table.column(name)) for name in self._work.names}

    def __reduce__(self) -> tuple[Any, ...]:
        return _Stream, (self._work,)
