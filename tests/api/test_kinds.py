"""Data of any kind through some work: the same kind comes back, whatever the work is."""

from __future__ import annotations

from typing import Any

import datasets
import polars as pl
import pytest
from commands import TOKENIZER, chat
from premask.api.kinds import names_of, rows_of
from premask.api.mask import mask, prepare
from premask.api.pack import pack
from premask.core.errors import SourceError

ROWS = [chat("Hi", "Hello"), chat("Bye", "Goodbye")]
GIVEN = [{"input_ids": [5, 6, 7], "labels": [-100, 6, 7]}]
DATA = {
    "list": lambda rows: rows,
    "Dataset": datasets.Dataset.from_list,
    "DataFrame": pl.DataFrame,
    "columns": lambda rows: {name: [row[name] for row in rows] for name in rows[0]},
    "stream": lambda rows: datasets.Dataset.from_list(rows).to_iterable_dataset(),
    "dict": lambda rows: datasets.DatasetDict(train=datasets.Dataset.from_list(rows)),
}


@pytest.mark.parametrize("kind", DATA)
def test_names_are_the_columns_of_any_kind(kind: str) -> None:
    assert names_of(DATA[kind](GIVEN), "pack") == {"input_ids", "labels"}


@pytest.mark.parametrize("kind", DATA)
def test_the_same_kind_comes_back_with_equal_packs(kind: str) -> None:
    data = DATA[kind](GIVEN)
    packed = pack(data, 8)

    assert type(packed).__name__ in {type(data).__name__, "SampleRows"}
    rows = packed["train"] if kind == "dict" else packed
    ids = rows["input_ids"] if kind in {"columns", "DataFrame"} else [row["input_ids"] for row in rows]
    assert [list(each) for each in ids] == [[5, 6, 7]]


@pytest.mark.parametrize("work", [mask, prepare, lambda data, _: pack(data, 8)])
@pytest.mark.parametrize(
    "data", [[], datasets.Dataset.from_list([]), pl.DataFrame()], ids=["list", "Dataset", "DataFrame"]
)
def test_nothing_at_all(data: Any, work: Any) -> None:
    with pytest.raises(SourceError, match=r"^premask\.\w+: data is empty; give it at least one row$"):
        work(data, TOKENIZER)


def test_an_empty_split() -> None:
    data = datasets.DatasetDict(train=datasets.Dataset.from_list(ROWS), test=datasets.Dataset.from_list([]))

    with pytest.raises(SourceError, match="test is empty"):
        mask(data, TOKENIZER)


@pytest.mark.parametrize("data", ["rows.jsonl", 3, None, b"rows", {1, 2}])
@pytest.mark.parametrize("work", [mask, prepare, lambda data, _: pack(data, 8)])
def test_other_kinds_of_data(data: Any, work: Any) -> None:
    with pytest.raises(TypeError, match=r"premask\.\w+: data must be a list of rows"):
        work(data, TOKENIZER)


def test_columns_of_different_lengths() -> None:
    with pytest.raises(SourceError, match=r"different lengths: \{'a': 1, 'b': 2\}"):
        rows_of({"a": [1], "b": [1, 2]})
