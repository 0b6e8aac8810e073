"""Rows that are tokens already, packed in memory: rows of premask, and those that other trainers made.

packs = pack(dataset, 8192)                             # input_ids, and labels or a mask
packs = pack(dataset, 8192, pad_to_multiple=64, tokenizer="Qwen/Qwen3-0.6B")
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import pyarrow as pa

from ..core.errors import RecipeError, SourceError
from ..core.recipe import Recipe
from ..core.recipe_errors import unknown_key
from ..core.recipe_file import make_recipe
from ..core.records import Row, Samples
from ..masking.given_tokens import Vocabulary
from ..running.batches import row_format
from ..running.given_rows import AnyVocabulary, given_samples
from ..running.memory_rows import memory_rows
from ..tokens.token_text import TokenTexts
from ..tokens.tokenizer import LoadedTokenizer, load_tokenizer
from .arrow_types import as_parquet
from .keys import Keys
from .kinds import (
    ROWS_AT_ONCE,
    Columns,
    Frame,
    Made,
    OfDatasets,
    RowList,
    SampleRows,
    line_of,
    names_of,
    rows_of_table,
    through,
)
from .layouts import Layout

KEYS = (
    *("too_long", "pad_to_multiple", "pad_rows", "extra_columns", "pack_window"),
    *("loss_weights", "token_columns"),
)
"""Recipe keys that decide how rows of tokens are packed, besides `max_length`."""

_TITLE = "premask.pack"


@overload
def pack(
    data: RowList, max_length: int | str, *, tokenizer: Any = None, **recipe_keys: Any
) -> SampleRows: ...
@overload
def pack(
    data: Columns, max_length: int | str, *, tokenizer: Any = None, **recipe_keys: Any
) -> dict[str, list[Any]]: ...
@overload
def pack(
    data: OfDatasets | Frame, max_length: int | str, *, tokenizer: Any = None, **recipe_keys: Any
) -> Any: ...
def pack(data: Any, max_length: int | str, *, tokenizer: Any = None, **recipe_keys: Any) -> Any:
    """Return packs of rows that are tokens: the same kind of thing, with `input_ids`, `labels`,
    `position_ids`, `seq_lengths` and `length`.

    Each row of `data` is a sample of t tokens: `input_ids` and, of the same length, `labels` (-100 or the id
    at its own place) or masks such as `completion_mask` or `assistant_masks`. TRL, axolotl and `premask.mask`
    write such rows. `data` is of one of the kinds that `mask` takes. A pack has at most `max_length` tokens
    (such as 8192 or "8k") of whole samples; padding of the rows is left out. The first label of a sample is
    -100, because nothing predicts it. An `IterableDataset` is packed 10,000 rows at a time while it is read,
    a mapping of columns as it is; all others as a run packs them.

    `recipe_keys` are `too_long`, `pad_to_multiple`, `pad_rows`, `extra_columns`, `pack_window`,
    `token_columns` and `loss_weights`. Weights are kept by default if the data has a column of that name (of
    a stream without known columns: if its first row has one).
    `tokenizer` is as in `Masker`: with it ids are checked, and padding has its pad token.

    Rows that cannot be used are in `rejects` with the reason, among them those longer than `max_length`.
    Raises `RecipeError`, `TokenizerError`, `SourceError` for rows without tokens, and `TypeError` for other
    kinds of data.
    """
    if unknown := [key for key in recipe_keys if key not in KEYS]:
        raise RecipeError(f"{_TITLE}: {'; '.join(map(_not_here, unknown))}")
    names = names_of(data, _TITLE)
    if not names & {"input_ids", "prompt_ids"} and names:
        has = ", ".join(sorted(names))
        hint = "premask.prepare masks and packs conversations"
        raise SourceError(f"{_TITLE}: the rows have no input_ids, but {has}; {hint}")
    keys = {"loss_weights": "loss_weights" in names, "max_length": max_length, **recipe_keys}
    given = {"sources": ["-"], "output": "-", "tokenizer": "-"}
    recipe = make_recipe({**given, **keys}, where=_TITLE)
    loaded = None if tokenizer is None else load_tokenizer(Keys(tokenizer, None, {}, where=_TITLE).tokenizer)
    return through(data, GivenWork(recipe, loaded))


def _not_here(key: str) -> str:
    if key in Recipe.model_fields:
        return f"{key} is not for rows that are tokens already; it is a key of premask.mask or premask.run"
    return unknown_key(key, ("max_length", "tokenizer", *KEYS))


class GivenWork:
    """Packs rows of tokens."""

    title = _TITLE
    at_once = ROWS_AT_ONCE

    def __init__(self, recipe: Recipe, tokenizer: LoadedTokenizer | None) -> None:
        self.recipe, self.tokenizer = recipe, tokenizer
        self.rows = Layout(recipe, "packed", row_format(recipe, self._pad_id))
        self.vocabulary: Vocabulary = (
            AnyVocabulary() if tokenizer is None else TokenTexts((tokenizer.backend, tokenizer.json))
        )

    def _pad_id(self) -> int:
        if self.tokenizer is None:
            raise RecipeError(f"{_TITLE}: padding needs the pad token; give tokenizer=, or leave it out")
        return self.tokenizer.pad_id

    @property
    def names(self) -> list[str]:
        """The columns that it gives."""
        return list(self.rows.schema.names)

    def reader(self, name: str) -> GivenReader:
        """Return what takes the rows of a source."""
        return GivenReader(self, name)

    def __reduce__(self) -> tuple[Any, ...]:
        return GivenWork, (self.recipe, self.tokenizer)


class GivenReader:
    """Takes the rows of one source in order."""

    def __init__(self, work: GivenWork, name: str) -> None:
        self._work, self._name, self._next = work, name, 0

    def rows(self, values: Sequence[Any]) -> Made:
        """Take objects; arrays and tensors in them become lists."""
        return self._made([values])

    def tables(self, tables: Iterable[pa.Table]) -> Made:
        """Take Arrow tables."""
        return self._made(rows_of_table(as_parquet(table)) for table in tables)

    def _made(self, parts: Iterable[Sequence[Any]]) -> Made:
        rejects = list[dict[str, Any]]()

        def samples() -> Iterator[Samples]:
            for values in parts:
                found, lines = given_samples(self._work.recipe, self._rows(values), self._work.vocabulary)
                rejects.extend(map(line_of, lines))
                yield found

        return Made(self._work.rows.table(samples()), rejects)

    def _rows(self, values: Sequence[Any]) -> Iterable[Row]:
        first, self._next = self._next, self._next + len(values)
        return memory_rows(self._name, first, values)
