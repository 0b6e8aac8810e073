"""`mask` and `prepare`: every kind of data gives the samples and packs of a run; rejects are listed."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import TOKENIZER, chat, premask, write_rows
from outputs import rows_of
from premask.api import mask as module
from premask.api.mask import mask, prepare
from premask.api.masker import Masker
from premask.api.run import run
from premask.core.errors import RecipeError, RowError, SourceError, TemplateError, TokenizerError

TEMPLATE = (
    "{% for tool in tools or [] %}{{ tool | tojson }}{% endfor %}"
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}|{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)

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


def test_rows_of_other_libraries_are_read_as_a_run_reads_them(tmp_path: Path) -> None:
    data = pl.DataFrame(ROWS)
    data.write_parquet(tmp_path / "rows.parquet")
    of_pandas = pd.read_parquet(tmp_path / "rows.parquet").to_dict("records")  # arrays of dicts
    odd = [*of_pandas, {"messages": tuple(ROWS[0]["messages"])}, {1: 2, "question": "Q", "answer": "A"}]
    odd += [{**ROWS[0], "score": float("nan")}]
    run(sources=[odd], tokenizer=TOKENIZER, output=tmp_path / "out", layout=["unpacked"])

    masked = mask(odd, TOKENIZER)
    assert len(masked.rejects) == 2
    assert taken(masked) == taken(rows_of(tmp_path / "out", "unpacked"))


def test_rejects_can_be_a_table() -> None:
    rejects = mask([ROWS[0], {"id": "\ud800", "messages": []}], TOKENIZER).rejects

    assert datasets.Dataset.from_list(rejects)["row"] == [1]


def test_nothing_known_in_the_data() -> None:
    with pytest.raises(SourceError, match="no known conversation format"):
        mask([{"a": 1}], TOKENIZER)
    with pytest.raises(SourceError, match=r"if one is, say fields: {user: question, assistant: COLUMN}$"):
        mask([{"question": "Q"}], TOKENIZER)
    rows = [{"question": "Q", "answer": None}] * 2
    says = "its rows have question, answer; 'answer' looks like the answer, but holds no text in any row"
    with pytest.raises(SourceError, match=rf"{says}$"):
        mask(rows, TOKENIZER)
    assert len(mask(rows, TOKENIZER, dialect="question_answer").rejects) == 2


def test_keys_of_a_run_are_refused() -> None:
    for key in ("shuffle", "keep", "near_duplicates", "map", "output"):
        with pytest.raises(RecipeError, match=rf"premask\.mask: {key} is for premask\.run"):
            mask(ROWS, TOKENIZER, **{key: True})
    with pytest.raises(RecipeError, match=r"pad_rows is for premask\.prepare, which packs"):
        mask(ROWS, TOKENIZER, pad_rows="none")
    with pytest.raises(RecipeError, match=r"premask\.prepare: splits is for premask\.run"):
        prepare(ROWS, TOKENIZER, splits={"test": 0.1})


@pytest.mark.parametrize("work", [mask, prepare])
@pytest.mark.parametrize(
    ("keys", "error", "says"),
    [
        (
            {"history_": "last"},
            RecipeError,
            r"premask\.\w+: unknown key 'history_'; did you mean 'history'\?",
        ),
        ({"max_length": "4q"}, RecipeError, "max_length"),
        ({"tokenizer": "no/such"}, TokenizerError, "tokenizer no/such cannot be loaded"),
        ({"tokenizer": None}, TokenizerError, "no tokenizer of transformers"),
        ({"chat_template": "{{ foo"}, TemplateError, "line 1"),
        ({"chat_template": "no.jinja"}, TemplateError, r"no\.jinja"),
        ({"dialect": "opennai"}, RecipeError, "did you mean 'openai'"),
        ({"layout": ["kto"]}, RecipeError, "layout is for premask"),
    ],
)
def test_wrong_arguments(work: Any, keys: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says) as raised:
        work(ROWS, **{"tokenizer": TOKENIZER, **keys})

    assert "\n" not in str(raised.value)


# ==== Packs ====


@pytest.mark.parametrize(
    "keys",
    [
        {"max_length": 64},
        {"max_length": 96, "pad_rows": "to_length", "pad_to_multiple": 8},
        {
            "max_length": 64,
            "pack_window": 500,
            "loss_weights": "per_sample",
            "extra_columns": ["completion_mask"],
        },
    ],
)
def test_packs_are_those_of_a_run(keys: dict[str, Any], tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", ROWS)
    result = run(sources=[source], tokenizer=TOKENIZER, output=tmp_path / "out", **keys)
    written = rows_of(tmp_path / "out", "packed")

    assert prepare(ROWS, TOKENIZER, **keys) == written
    assert prepare(datasets.Dataset.from_list(ROWS), TOKENIZER, **keys).to_list() == written
    assert prepare(pl.DataFrame(ROWS), TOKENIZER, **keys).to_dicts() == written
    assert len(prepare(ROWS, TOKENIZER, **keys).rejects) == len(result.rejects) == 2


def test_a_stream_of_packs_in_another_process() -> None:
    packed = prepare(datasets.Dataset.from_list(ROWS).to_iterable_dataset(), TOKENIZER, max_length=64)
    copy = pickle.loads(pickle.dumps(packed))  # noqa: S301

    assert list(copy) == list(packed) == prepare(ROWS, TOKENIZER, max_length=64)


# ==== Types of tables ====

TURN = pa.struct([("role", pa.string()), ("content", pa.string())])
TURNS = [[{"role": "user", "content": f"Q{i}"}, {"role": "assistant", "content": f"A{i}"}] for i in range(20)]
LARGE = pa.large_list(pa.struct([("role", pa.large_string()), ("content", pa.large_string())]))
MORE = pa.list_(pa.struct([*TURN, ("name", pa.string()), ("tool_calls", pa.list_(pa.string()))]))
TOOL = {
    "name": "f",
    "description": "d",
    "parameters": {"type": "object", "properties": {"a": {"type": "string"}}},
}
TOOLS = [[{"type": "function", "function": TOOL}]] * 20
TABLES = {
    "large": {"messages": pa.array(TURNS, LARGE)},
    "fixed": {"messages": pa.array(TURNS, pa.list_(TURN, 2))},
    "nulls": {
        "messages": pa.array([[{**turn, "name": None} for turn in turns] for turns in TURNS], MORE),
        "id": pa.array([None if i % 2 else f"row {i}" for i in range(20)]),
    },
    "dictionaries": {
        "question": pa.array(["Q", "R"] * 10).dictionary_encode(),
        "answer": pa.array(["A", "B"] * 10).dictionary_encode(),
    },
    "views": {"question": pa.array(["Q", "R"] * 10, pa.string_view()), "answer": pa.array(["A", "B"] * 10)},
    "tools as JSON": {
        "messages": pa.array(TURNS, pa.list_(TURN)),
        "tools": pa.array([json.dumps(each) for each in TOOLS]),
    },
    "tools as structs": {"messages": pa.array(TURNS, pa.list_(TURN)), "tools": pa.array(TOOLS)},
}


@pytest.mark.parametrize("name", TABLES)
def test_odd_types_are_read_as_from_a_parquet_file(name: str, tmp_path: Path) -> None:
    table = pa.table(TABLES[name])
    pq.write_table(table, tmp_path / "rows.parquet")
    keys = {"chat_template": TEMPLATE}
    run(
        sources=[tmp_path / "rows.parquet"],
        tokenizer=TOKENIZER,
        output=tmp_path / "out",
        layout=["unpacked"],
        **keys,
    )
    written = [{column: row[column] for column in NAMES} for row in rows_of(tmp_path / "out", "unpacked")]

    assert len(written) == 20
    assert taken(mask(datasets.Dataset(table), TOKENIZER, **keys)) == written
    assert taken(mask(pl.DataFrame(pl.from_arrow(table)), TOKENIZER, **keys).to_dicts()) == written


def test_features_of_datasets(tmp_path: Path) -> None:
    turns = datasets.List({"role": datasets.Value("string"), "content": datasets.Value("large_string")})
    features = datasets.Features({"messages": turns, "tools": datasets.Json()})
    rows = [{"messages": own, "tools": tools} for own, tools in zip(TURNS, TOOLS, strict=True)]
    data = datasets.Dataset.from_list(rows, features=features)
    data.to_parquet(tmp_path / "rows.parquet")
    keys = {"chat_template": TEMPLATE}
    run(
        sources=[tmp_path / "rows.parquet"],
        tokenizer=TOKENIZER,
        output=tmp_path / "out",
        layout=["unpacked"],
        **keys,
    )

    written = [{column: row[column] for column in NAMES} for row in rows_of(tmp_path / "out", "unpacked")]
    assert taken(mask(data, TOKENIZER, **keys)) == written
    assert taken(mask(rows, TOKENIZER, **keys)) == written


def _nested(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "row",
    [
        {"question": "a", "x": _nested(3000)},
        {"messages": [{"role": "user", "content": _nested(3000)}]},
        {"question": "a", "answer": 10**5000},
        {**chat("a", "b"), "id": 10**5000},
        {**chat("a", "b"), "chat_template_kwargs": {"x": 10**5000}},
    ],
)
def test_a_row_that_json_cannot_hold_is_a_reject(row: dict[Any, Any]) -> None:
    found = mask([chat("Hi", "Hello"), row, chat("x", "y")], TOKENIZER)

    assert (len(found), [line["row"] for line in found.rejects]) == (2, [1])
    with pytest.raises(RowError):
        Masker(TOKENIZER)(row)
