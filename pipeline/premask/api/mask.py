"""Datasets in memory masked: the same kind of thing out, with `input_ids`, `labels` and `attention_mask`.

    masked = mask(dataset, "Qwen/Qwen3-0.6B")
    masked.rejects                                # lines of the reject log
    dataset.map(lambda rows: mask(rows, tokenizer), batched=True, remove_columns=dataset.column_names)

The samples are those that `premask run` writes for the same rows, in the order of the rows. A row can give
several samples, or none.
"""

from __future__ import annotations

import io
import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from ..core.contract import IGNORE_INDEX
from ..core.display import percent
from ..core.errors import RecipeError, SourceError
from ..dialects import Form
from ..labeller import Labeller
from ..output.tables import unpacked_table
from ..output.windows import concat_samples
from ..review.notebook.rejects import Rejects
from ..running.batches import BatchLabeller, LabelledBatch, Setup
from ..running.in_memory import label_rows, label_table
from ..tokens.tokenizer import LoadedTokenizer
from .forms import form_of
from .keys import Keys

if TYPE_CHECKING:
    from collections.abc import Callable

ANY_LENGTH = 2**31 - 1
"""`max_length` where none is given: nothing is packed, so nothing is too long."""
_OF_A_RUN = (
    *("sources", "output", "duplicates", "splits", "shuffle", "layout", "pad_rows"),
    *("pack_window", "unit_rows", "cache", "card"),
)
"""Recipe keys that decide nothing here."""
_FIRST_ROWS = 256
"""Rows that are looked at to tell the dialect."""


class MaskedRows(list[dict[str, Any]]):
    """Samples as dicts, with the rejected rows in `rejects`. Printed, it says how many there are, and `show`
    shows them."""

    rejects: list[dict[str, Any]]

    def __repr__(self) -> str:
        tokens = sum(len(row["labels"]) for row in self)
        trained = sum(label != IGNORE_INDEX for row in self for label in row["labels"])
        lost = len(getattr(self, "rejects", ()))
        return (
            f"MaskedRows: {len(self):,} samples, {tokens:,} tokens, {trained:,} trained "
            f"({percent(trained, tokens)}), {lost:,} rejected rows; premask.show(rows, tokenizer) shows them"
        )

    __str__ = __repr__


def mask(data: Any, tokenizer: Any, chat_template: str | Path | None = None, **recipe_keys: Any) -> Any:
    """Return the samples of some rows: the same kind of thing, with `input_ids`, `labels`, `attention_mask`.

    `data` is a list of rows, a `Dataset`, `DatasetDict` or `IterableDataset` of datasets, a polars
    `DataFrame`, or a mapping of columns as `Dataset.map(batched=True)` gives it. Rows have any dialect. What
    is returned has the rejected rows as `rejects`, a list of dicts (for a `DatasetDict`, with their `split`;
    for an `IterableDataset`, it grows while rows are read); a mapping of columns has none. `tokenizer`,
    `chat_template` and `recipe_keys` are as in `Masker`. Samples longer than `max_length` are rejected; by
    default none is.

    Raises `RecipeError`, `TokenizerError`, `TemplateError`, `SourceError` if no row has a known dialect, and
    `TypeError` for other kinds of data.
    """
    kind = _kind(data)
    return kind(data, _labeller(tokenizer, chat_template, recipe_keys))


def _kind(data: Any) -> Callable[[Any, BatchLabeller], Any]:
    """Return what masks a kind of data. Nothing is imported that the data has not imported already."""
    datasets, polars = sys.modules.get("datasets"), sys.modules.get("polars")
    if datasets is not None:
        kinds = {datasets.Dataset: _dataset, datasets.DatasetDict: _dict, datasets.IterableDataset: _iterable}
        for kind, masked in kinds.items():
            if isinstance(data, kind):
                return masked
    if polars is not None and isinstance(data, polars.DataFrame):
        return _frame
    if isinstance(data, Mapping):
        return _columns
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return _rows
    what = "a list of rows, a Dataset, DatasetDict, IterableDataset, polars DataFrame or mapping of columns"
    hint = "; premask.run takes files" if isinstance(data, (str, Path)) else ""
    raise TypeError(f"data must be {what}, not {type(data).__name__}{hint}")


# ==== The labeller ====


def _labeller(tokenizer: Any, chat_template: Any, keys: Mapping[str, Any]) -> BatchLabeller:
    """Return the labeller of some keys; the last few are kept, for `Dataset.map`."""
    if others := sorted(set(keys) & set(_OF_A_RUN)):
        raise RecipeError(
            f"premask.mask: {', '.join(others)} is for premask.run: rows are masked, not packed"
        )
    try:
        return _kept_labeller(tokenizer, chat_template, msgspec.json.encode(dict(keys), order="sorted"))
    except TypeError:  # what cannot be a key of the cache
        return _new_labeller(tokenizer, chat_template, keys)


@lru_cache(maxsize=4)
def _kept_labeller(tokenizer: Any, chat_template: Any, keys: bytes) -> BatchLabeller:
    return _new_labeller(tokenizer, chat_template, msgspec.json.decode(keys))


def _new_labeller(tokenizer: Any, chat_template: Any, keys: Mapping[str, Any]) -> BatchLabeller:
    known = Keys(tokenizer, chat_template, {"max_length": ANY_LENGTH, **keys})
    return BatchLabeller(Labeller(known.recipe(sources=["-"], output="-")))


# ==== Kinds of data ====


def _rows(data: Sequence[Any], batches: BatchLabeller) -> MaskedRows:
    form = form_of(batches.recipe, data[:_FIRST_ROWS], "data")
    table, rejects = _collected(batches, label_rows(batches, data, form, name="data"))
    found = MaskedRows(table.to_pylist())
    found.rejects = rejects
    return found


def _columns(data: Mapping[str, Any], batches: BatchLabeller) -> dict[str, Any]:
    values = _values(data)
    try:
        masked = _rows(values, batches)
    except SourceError as error:
        warnings.warn(f"premask.mask: {len(values)} rows are left out: {error}", stacklevel=3)
        return {name: [] for name in _schema(batches).names}
    if reasons := Counter(line["reason"] for line in masked.rejects):
        what = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
        warnings.warn(f"premask.mask: rows are rejected ({what}); mask a Dataset to list them", stacklevel=3)
    return {name: [row[name] for row in masked] for name in _schema(batches).names}


def _values(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return columns as rows."""
    names = list(columns)
    rows = zip(*(columns[name] for name in names), strict=True)
    return [dict(zip(names, row, strict=True)) for row in rows]


def _dataset(data: Any, batches: BatchLabeller, name: str = "data") -> Any:
    plain = data.with_format("arrow")
    tables = (plain[at : at + 10_000] for at in range(0, len(plain), 10_000))
    table, rejects = _of_tables(tables, batches, name)
    found = type(data)(table)
    found.rejects = rejects
    return found


def _dict(data: Any, batches: BatchLabeller) -> Any:
    found = type(data)({name: _dataset(each, batches, name) for name, each in data.items()})
    lines = ({"split": name, **line} for name, each in found.items() for line in each.rejects)
    found.rejects = Rejects(lines)
    return found


def _frame(data: Any, batches: BatchLabeller) -> Any:
    table, rejects = _of_tables([data.to_arrow()], batches, "data")
    found = sys.modules["polars"].from_arrow(table)
    found.rejects = rejects
    return found


def _iterable(data: Any, batches: BatchLabeller) -> Any:
    names = data.column_names or list(next(iter(data), {}))
    masked = _Stream(batches, list(_schema(batches).names))
    found = data.map(masked, batched=True, remove_columns=names)
    found.rejects = masked.rejects
    return found


class _Stream:
    """Masks the rows of a stream; a copy in another process has rejects of its own."""

    def __init__(self, batches: BatchLabeller, names: list[str]) -> None:
        self.rejects = Rejects()
        self._batches, self._names, self._rows = batches, names, 0
        self._form: Form | None = None

    def __call__(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        values = _values(columns)
        self._form = self._form or form_of(self._batches.recipe, values, "data")
        labelled = label_rows(self._batches, values, self._form, name="data", first=self._rows)
        table, rejects = _collected(self._batches, labelled)
        self._rows += len(values)
        self.rejects += rejects
        return {name: table.column(name).to_pylist() for name in self._names}

    def __reduce__(self) -> tuple[Any, ...]:
        return _stream, (self._batches.setup(), self._batches.labeller.tokenizer, self._names)


def _stream(setup: Setup, tokenizer: LoadedTokenizer, names: list[str]) -> _Stream:
    return _Stream(setup.load(tokenizer), names)


# ==== Batches ====


def _of_tables(
    tables: Iterable[pa.Table], batches: BatchLabeller, name: str
) -> tuple[pa.Table, list[dict[str, Any]]]:
    """Return the samples of Arrow tables, and the rejects."""

    def labelled() -> Iterator[LabelledBatch]:
        form: Form | None = None
        first = 0
        for each in map(_plain, tables):
            form = form or form_of(batches.recipe, each.slice(0, _FIRST_ROWS).to_pylist(), name)
            yield from label_table(batches, each, form, name=name, first=first)
            first += each.num_rows

    return _collected(batches, labelled())


def _plain(table: pa.Table) -> pa.Table:
    """Return a table with the types that Parquet gives back."""
    if not any(word in str(table.schema) for word in ("dictionary<", "extension<", "_view", "large_")):
        return table
    held = io.BytesIO()
    pq.write_table(table, held, store_schema=False)
    return pq.read_table(held)


def _collected(
    batches: BatchLabeller, labelled: Iterable[LabelledBatch]
) -> tuple[pa.Table, list[dict[str, Any]]]:
    """Return the samples of batches as one table, and the rejects as the lines of a reject log."""
    parts, rejects = [], Rejects()
    for batch in labelled:
        parts.append(unpacked_table(batch.samples, batches.row_format))
        rejects += [asdict(each) for each in batch.rejects]
    return pa.Table.from_batches(parts, _schema(batches)), rejects


def _schema(batches: BatchLabeller) -> pa.Schema:
    """Return the columns of a sample."""
    return unpacked_table(concat_samples([]), batches.row_format).schema
