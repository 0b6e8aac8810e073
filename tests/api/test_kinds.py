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
    made = work(data, TOKENIZER)

    assert len(made) == len(made.rejects) == 0
    assert type(made).__name__ in {type(data).__name__, "SampleRows"}


def test_an_empty_split_has_the_same_columns() -> None:
    data = datasets.Dataset.from_list(ROWS)
    masked = mask(datasets.DatasetDict(train=data, test=data.filter(lambda _: False)), TOKENIZER)

    assert masked.num_rows == {"train": 2, "test": 0}
    assert masked["train"].features == masked["test"].features


# ==== Streams ====

QUESTION = {"question": "Hi", "answer": "Hello"}


def stream(rows: list[Any]) -> datasets.IterableDataset:
    """A stream that does not know its columns."""
    return datasets.IterableDataset.from_generator(lambda: iter(rows))


@pytest.mark.parametrize(
    ("work", "rows"),
    [
        (mask, [ROWS[0], QUESTION]),
        (mask, [ROWS[0], QUESTION, {"messages": []}]),
        (prepare, [ROWS[0], {**ROWS[1], "id": "x"}, QUESTION]),
        (lambda data, _: pack(data, 8), [GIVEN[0], {**GIVEN[0], "id": "x", "attention_mask": [1, 1, 1]}]),
    ],
)
def test_rows_of_a_stream_may_have_different_columns(work: Any, rows: list[Any]) -> None:
    assert list(work(stream(rows), TOKENIZER)) == list(work(rows, TOKENIZER))


def test_each_pass_of_a_stream_lists_its_rejects_anew() -> None:
    masked = mask(stream([ROWS[0], {"messages": []}]), TOKENIZER)

    assert list(masked) == list(masked)
    assert [(line["row"], line["reason"]) for line in masked.rejects] == [(1, "no_messages")]


def test_a_dict_of_streams() -> None:
    masked = mask(
        datasets.IterableDatasetDict(train=stream(ROWS), test=stream([QUESTION, {"a": 1}])), TOKENIZER
    )

    assert type(masked) is datasets.IterableDatasetDict
    assert list(masked["train"]) == mask(ROWS, TOKENIZER)
    assert len(list(masked["test"])) == 1
    assert [(line["source"], line["row"]) for line in masked["test"].rejects] == [("test", 1)]


# ==== Columns ====


@pytest.mark.parametrize("row", [{"question": "abc", "answer": "xyz"}, ROWS[0], {**ROWS[0], "n": 5}])
def test_a_row_in_place_of_columns(row: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"premask\.mask: this is a row by itself, .* batched=True$"):
        mask(row, TOKENIZER)
    with pytest.raises(TypeError, match=r"premask\.pack: this is a row by itself"):
        pack(GIVEN[0], 8)


def test_weights_are_looked_for_in_all_rows_of_a_list() -> None:
    weighed = {**GIVEN[0], "loss_weights": [0, 1, 0.5]}

    assert "loss_weights" in names_of([GIVEN[0]] * 10_000 + [weighed], "pack")
    assert pack([GIVEN[0], weighed], 8)[0]["loss_weights"] == [0, 1, 1, 0, 1, 0.5]


@pytest.mark.parametrize("data", ["rows.jsonl", 3, None, b"rows", {1, 2}])
@pytest.mark.parametrize("work", [mask, prepare, lambda data, _: pack(data, 8)])
def test_other_kinds_of_data(data: Any, work: Any) -> None:
    with pytest.raises(TypeError, match=r"premask\.\w+: data must be a list of rows"):
        work(data, TOKENIZER)


def test_columns_of_different_lengths() -> None:
    with pytest.raises(SourceError, match=r"different lengths: \{'a': 1, 'b': 2\}"):
        rows_of({"a": [1], "b": [1, 2]})


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            lambda rows: pl.DataFrame(rows).to_pandas(),
            r"not pandas DataFrame; give datasets\.Dataset\.from_pandas",
        ),
        (lambda rows: pl.DataFrame(rows).to_arrow(), r"not pyarrow Table; give datasets\.Dataset\(table\)"),
        (lambda rows: pl.DataFrame(rows).lazy(), r"not polars LazyFrame; give its collect\(\)"),
        (iter, r"not list_iterator; give list\(\.\.\.\) of it"),
    ],
)
def test_other_kinds_have_a_way_out(make: Any, says: str) -> None:
    with pytest.raises(TypeError, match=says):
        mask(make([{"question": "Hi", "answer": "Hello"}]), TOKENIZER)
