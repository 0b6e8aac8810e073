"""`mask`: every kind of data gives the samples of a run; what is rejected is listed."""

from __future__ import annotations

from typing import Any

import datasets
import polars as pl
import pytest
from commands import TOKENIZER, chat, premask, write_rows
from outputs import rows_of
from premask.api import mask as module
from premask.api.mask import mask
from premask.core.errors import RecipeError, SourceError

ROWS: list[dict[str, Any]] = [
    *(chat(f"Question {i}", f"Answer {i}", "And now?", "Now this.") for i in range(50)),
    {"messages": []},
    chat("Only a question"),
    chat("Last", "One"),
]
NAMES = ["input_ids", "labels", "attention_mask"]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The samples that a run writes."""
    folder = tmp_path_factory.mktemp("run")
    words = ("--tokenizer", TOKENIZER, "--layout", "unpacked", "--output", folder / "out")
    done = premask("run", write_rows(folder / "rows.jsonl", ROWS), *words)
    assert done.code == 0, done
    return [{name: row[name] for name in NAMES} for row in rows_of(folder / "out", "unpacked")]


def taken(rows: Any) -> list[dict[str, Any]]:
    return [{name: row[name] for name in NAMES} for row in rows]


def test_a_list(written: list[dict[str, Any]]) -> None:
    masked = mask(ROWS, TOKENIZER)

    assert taken(masked) == written
    assert [(line["row"], line["reason"]) for line in masked.rejects] == [
        (50, "no_messages"),
        (51, "no_assistant"),
    ]


def test_a_dataset(written: list[dict[str, Any]]) -> None:
    masked = mask(datasets.Dataset.from_list(ROWS), TOKENIZER)

    assert type(masked) is datasets.Dataset
    assert taken(masked) == written
    assert [line["row"] for line in masked.rejects] == [50, 51]


def test_a_dict_of_datasets(written: list[dict[str, Any]]) -> None:
    data = datasets.Dataset.from_list(ROWS)
    masked = mask(datasets.DatasetDict(train=data, test=data.select(range(45, 53))), TOKENIZER)

    assert taken(masked["train"]) == written
    assert {(line["split"], line["row"]) for line in masked.rejects} >= {("train", 50), ("test", 5)}


def test_a_stream(written: list[dict[str, Any]]) -> None:
    masked = mask(datasets.Dataset.from_list(ROWS).to_iterable_dataset(), TOKENIZER)

    assert taken(masked) == written
    assert [line["row"] for line in masked.rejects] == [50, 51]


def test_a_frame(written: list[dict[str, Any]]) -> None:
    masked = mask(pl.DataFrame(ROWS), TOKENIZER)

    assert isinstance(masked, pl.DataFrame)
    assert taken(masked.to_dicts()) == written
    assert len(masked.rejects) == 2


@pytest.mark.filterwarnings("ignore:Parameter 'function'", "ignore:premask.mask")
@pytest.mark.parametrize("workers", [None, 2])
def test_within_map(written: list[dict[str, Any]], workers: int | None) -> None:
    data = datasets.Dataset.from_list(ROWS)
    masked = data.map(
        lambda rows: module.mask(rows, TOKENIZER),
        batched=True,
        batch_size=10,
        remove_columns=data.column_names,
        num_proc=workers,
    )

    assert taken(masked) == written


def test_within_map_rejects_are_counted() -> None:
    with pytest.warns(UserWarning, match="1 no_messages, 1 no_assistant"):
        mask({"messages": [row["messages"] for row in ROWS]}, TOKENIZER)
    with pytest.warns(UserWarning, match="1 rows are left out"):
        assert mask({"a": [1]}, TOKENIZER)["input_ids"] == []


def test_long_samples_are_rejected_only_if_asked() -> None:
    row = chat("Hi", "word " * 6000)

    assert len(mask([row], TOKENIZER)[0]["input_ids"]) > 6000
    (line,) = mask([row, ROWS[0]], TOKENIZER, max_length=4096).rejects
    assert line["reason"] == "too_long"


@pytest.mark.parametrize("data", ["rows.jsonl", 3, None, b"rows"])
def test_other_kinds_of_data(data: Any) -> None:
    with pytest.raises(TypeError, match="data must be a list of rows"):
        mask(data, TOKENIZER)


def test_nothing_known_in_the_data() -> None:
    with pytest.raises(SourceError, match="no known conversation format"):
        mask([{"a": 1}], TOKENIZER)


def test_keys_of_a_run_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"shuffle is for premask\.run"):
        mask(ROWS, TOKENIZER, shuffle=True)
