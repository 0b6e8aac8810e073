"""Datasets in memory masked: the same kind of thing out, with `input_ids`, `labels` and `attention_mask`.

    masked = mask(dataset, "Qwen/Qwen3-0.6B")
    masked.rejects                                # lines of the reject log
    dataset.map(lambda rows: mask(rows, tokenizer), batched=True, remove_columns=dataset.column_names)

    packs = prepare(dataset, "Qwen/Qwen3-0.6B", max_length=8192)      # masked and packed

The samples are those that `premask run` writes for the same rows, in the order of the rows. A row can give
several samples, or none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, overload

import msgspec
import pyarrow as pa

from ..core.records import Samples
from ..dialects import Form
from ..running.batches import BatchLabeller, LabelledBatch, Setup
from ..running.in_memory import label_rows, label_table
from ..running.memory_rows import memory_rows
from ..tokens.tokenizer import LoadedTokenizer
from .arrow_types import as_parquet
from .forms import form_of
from .keys import ANY_LENGTH, Keys
from .kinds import (
    ROWS_AT_ONCE,
    Columns,
    Frame,
    Made,
    OfDatasets,
    Rejects,
    RowList,
    SampleRows,
    line_of,
    through,
)
from .layouts import Layout
from .unused_keys import OF_A_RUN, PACKS, refuse

_FIRST_ROWS = 256
"""Rows that are looked at to tell the dialect."""


@overload
def mask(
    data: RowList,
    tokenizer: Any,
    chat_template: str | Path | None = None,
    **recipe_keys: Any,
) -> SampleRows: ...
@overload
def mask(
    data: Columns,
    tokenizer: Any,
    chat_template: str | Path | None = None,
    **recipe_keys: Any,
) -> dict[str, list[Any]]: ...
@overload
def mask(
    data: OfDatasets | Frame, tokenizer: Any, chat_template: str | Path | None = None, **recipe_keys: Any
) -> Any: ...
def mask(data: Any, tokenizer: Any, chat_template: str | Path | None = None, **recipe_keys: Any) -> Any:
    """Return the samples of some rows: the same kind of thing, with `input_ids`, `labels`, `attention_mask`.

    `data` is a list of rows, a `Dataset` or `IterableDataset` of datasets or a dict of either, a polars
    `DataFrame`, or a mapping of columns as `Dataset.map(batched=True)` gives it. Rows have any dialect. What
    is returned has the rejected rows as `rejects`, a list of dicts (for a `DatasetDict`, with their `split`;
    for an `IterableDataset`, those of its last pass, while rows are read; for a dict of these, in each
    split); a mapping of columns has none. `tokenizer`,
    `chat_template` and `recipe_keys` are as in `Masker`. Samples longer than `max_length` are rejected; by
    default none is.

    Raises `RecipeError`, `TokenizerError`, `TemplateError`, `SourceError` if no row has a known dialect, and
    `TypeError` for other kinds of data.
    """
    keys = {"max_length": ANY_LENGTH, **recipe_keys}
    return through(data, _work("premask.mask", "unpacked", (tokenizer, chat_template, keys)))


@overload
def prepare(
    data: RowList,
    tokenizer: Any,
    chat_template: str | Path | None = None,
    *,
    max_length: int | str = 4096,
    **recipe_keys: Any,
) -> SampleRows: ...
@overload
def prepare(
    data: Columns,
    tokenizer: Any,
    chat_template: str | Path | None = None,
    *,
    max_length: int | str = 4096,
    **recipe_keys: Any,
) -> dict[str, list[Any]]: ...
@overload
def prepare(
    data: OfDatasets | Frame,
    tokenizer: Any,
    chat_template: str | Path | None = None,
    *,
    max_length: int | str = 4096,
    **recipe_keys: Any,
) -> Any: ...
def prepare(
    data: Any,
    tokenizer: Any,
    chat_template: str | Path | None = None,
    *,
    max_length: int | str = 4096,
    **recipe_keys: Any,
) -> Any:
    """Return the packs of some rows, masked and packed: the same kind of thing, with `input_ids`, `labels`,
    `position_ids`, `seq_lengths` and `length`.

    A pack has at most `max_length` tokens (such as 8192 or "8k"), all of whole samples. The packs are those
    that `premask run` writes for the same rows in a file. Two things differ: a run packs each unit of about
    48 MB of text by itself, and an `IterableDataset` is packed 10,000 rows at a time. The rest is as in
    `mask`: `data`, `tokenizer`, `chat_template`, `recipe_keys`, `rejects` and errors.
    """
    keys = {"max_length": max_length, **recipe_keys}
    return through(data, _work("premask.prepare", "packed", (tokenizer, chat_template, keys)))


# ==== The labeller ====

_Asked = tuple[Any, Any, Mapping[str, Any]]
"""Tokenizer, chat template, recipe keys."""


def _work(title: str, layout: str, asked: _Asked) -> LabelWork:
    """Return the work of some keys; the labellers of the last few are kept, for `Dataset.map`."""
    keys = asked[2]
    refuse(keys, OF_A_RUN if layout == "packed" else (*OF_A_RUN, PACKS), where=title)
    try:
        batches = _kept_labeller(title, *asked[:2], msgspec.json.encode(dict(keys), order="sorted"))
    except TypeError:  # what cannot be a key of the cache
        batches = _new_labeller(title, *asked)
    return LabelWork(title, layout, batches)


@lru_cache(maxsize=4)
def _kept_labeller(title: str, tokenizer: Any, chat_template: Any, keys: bytes) -> BatchLabeller:
    return _new_labeller(title, tokenizer, chat_template, msgspec.json.decode(keys))


def _new_labeller(title: str, tokenizer: Any, chat_template: Any, keys: Mapping[str, Any]) -> BatchLabeller:
    known = Keys(tokenizer, chat_template, keys, where=title)
    return BatchLabeller(known.labeller())


# ==== The work ====


class LabelWork:
    """Masks rows, and lays the samples out."""

    at_once = ROWS_AT_ONCE

    def __init__(self, title: str, layout: str, batches: BatchLabeller) -> None:
        self.title, self.layout, self.batches = title, layout, batches

    @property
    def names(self) -> list[str]:
        """The columns that it gives."""
        return list(self._rows.schema.names)

    @property
    def _rows(self) -> Layout:
        return Layout(self.batches.recipe, self.layout, self.batches.row_format)

    def reader(self, name: str) -> LabelReader:
        """Return what takes the rows of a source."""
        return LabelReader(self.batches, self._rows, name)

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.title, self.layout, self.batches.setup(), self.batches.labeller.tokenizer)


def _again(title: str, layout: str, setup: Setup, tokenizer: LoadedTokenizer) -> LabelWork:
    return LabelWork(title, layout, setup.load(tokenizer))


class LabelReader:
    """Masks the rows of one source in order; the dialect is that of the first ones."""

    def __init__(self, batches: BatchLabeller, layout: Layout, name: str) -> None:
        self._batches, self._layout, self._name = batches, layout, name
        self._form: Form | None = None
        self._next = 0

    def rows(self, values: Sequence[Any]) -> Made:
        """Take objects."""
        return self._made(self._labelled_rows(values))

    def tables(self, tables: Iterable[pa.Table]) -> Made:
        """Take Arrow tables."""
        return self._made(batch for table in tables for batch in self._labelled_table(as_parquet(table)))

    def _labelled_rows(self, values: Sequence[Any]) -> Iterator[LabelledBatch]:
        self._look([row.value for row in memory_rows(self._name, 0, values[:_FIRST_ROWS])])
        first, self._next = self._next, self._next + len(values)
        yield from label_rows(self._batches, values, self._known, name=self._name, first=first)

    def _labelled_table(self, table: pa.Table) -> Iterator[LabelledBatch]:
        self._look(table.slice(0, _FIRST_ROWS).to_pylist() if self._form is None else ())
        first, self._next = self._next, self._next + table.num_rows
        yield from label_table(self._batches, table, self._known, name=self._name, first=first)

    def _look(self, values: Sequence[Any]) -> None:
        if self._form is None and len(values):
            self._form = form_of(self._batches.recipe, values, self._name)

    @property
    def _known(self) -> Form:
        return self._form or ""

    def _made(self, labelled: Iterable[LabelledBatch]) -> Made:
        rejects: Rejects = []

        def samples() -> Iterator[Samples]:
            for batch in labelled:
                rejects.extend(map(line_of, batch.rejects))
                yield batch.samples

        return Made(self._layout.table(samples()), rejects)
