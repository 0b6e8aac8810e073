"""Objects one after another, and rows under a key: read as those of an array, or refused with what to do."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from inputs import read_units, rows_of, values_of, write
from premask.core.errors import SourceError
from premask.fast.plain_batches import read_batches
from premask.sources import files
from premask.sources.cutting import plan_units
from premask.sources.inspection import inspect_source
from premask.sources.json_values import JSON_VALUES, JSON_WRAPPED

HI = {"role": "user", "content": 'Hi }{][ "\\'}
ROWS: list[Any] = [
    {"id": n, "messages": [HI, {"role": "assistant", "content": "é" * n}]} for n in range(1, 12)
]
PRETTY = [json.dumps(row, indent=2, ensure_ascii=False) for row in ROWS]
LINES = [json.dumps(row) for row in ROWS]
SEQUENCES = {
    "lines between": "\n\n".join(PRETTY),
    "commas": ",\n".join(PRETTY) + ",\n",
    "marks": "\ufeff" + "\n\ufeff".join(PRETTY),
    "nothing": "".join(PRETTY),
    "CR alone": "\r".join(LINES) + "\r",
    "one line": "".join(LINES),
}
SERVED = {"rows": [{"row_idx": at, "row": row, "truncated_cells": []} for at, row in enumerate(ROWS)]}
WRAPPED = {
    "data": json.dumps({"version": "1", "data": ROWS}, indent=1),
    "other lists": json.dumps({"tags": ["a"], "meta": [{"role": "x"}], "rows": ROWS, "n": {"a": [1]}}),
    "any key": json.dumps({"my chats": ROWS}),
    "split": json.dumps({"test_sft": ROWS}, indent=1),
    "served": json.dumps({"features": [{"name": "id"}], **SERVED, "num_rows_total": 99}),
}
"""Rows under a key, in other company."""


@pytest.fixture(params=[4 << 20, 7, 1])
def _chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "CHUNK", request.param)


@pytest.mark.usefixtures("_chunks")
@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.json.gz", "a.jsonl.gz"])
@pytest.mark.parametrize("shape", [*SEQUENCES, *WRAPPED])
def test_all_rows_are_read_in_order_whole_and_by_units(tmp_path: Path, name: str, shape: str) -> None:
    data = (SEQUENCES | WRAPPED)[shape].encode()
    source = write(tmp_path / name, gzip.compress(data) if name.endswith(".gz") else data)
    info, rows = inspect_source(source), rows_of(source)

    assert info.format == (JSON_VALUES if shape in SEQUENCES else JSON_WRAPPED).name
    assert [row.value for row in rows] == ROWS
    assert [row.row for row in rows] == list(range(len(ROWS)))
    assert read_units([info], 3) == rows
    assert len(plan_units([info], unit_rows=3)) == (1 if name.endswith(".gz") else 4)


@pytest.mark.parametrize("shape", ["lines between", "CR alone", "data", "served"])
def test_the_fast_way_reads_the_same(tmp_path: Path, shape: str) -> None:
    source = write(tmp_path / "a.json", (SEQUENCES | WRAPPED)[shape])
    (unit,) = plan_units([inspect_source(source)])
    batches = list(read_batches(unit.slices[0], "openai", 4))

    assert [batch.row(at).value for batch in batches for at in range(len(batch))] == ROWS
    assert [text for batch in batches for texts in batch.shaped.texts for text in texts[1:]] == [
        row["messages"][1]["content"] for row in ROWS
    ]


@pytest.mark.parametrize(
    "value",
    [
        ROWS[0],
        {"data": [HI, HI]},
        {"data": []},
        {"prompt": "Hi", "data": [{"a": "b"}]},
        {"turns": [{"speaker": "A", "text": "x"}]},
        {"question": "a", "examples": [{"messages": [HI]}], "answer": "b"},
        {f"k{n}": ROWS[0] for n in range(2000)},
    ],
)
def test_another_object_is_one_row(tmp_path: Path, value: Any) -> None:
    assert values_of(write(tmp_path / "a.json", json.dumps(value, indent=1))) == [value]


def test_several_lists_of_rows_are_refused_with_the_line_to_write(tmp_path: Path) -> None:
    text = json.dumps({"train": ROWS, "validation": ROWS[:2], "about": "x"})
    source = write(tmp_path / "a.json.gz", gzip.compress(text.encode()))

    with pytest.raises(SourceError, match="with several lists of rows") as caught:
        inspect_source(source)

    assert f"""such as: gzip -dc {source} | jq -c '."train"[]' > train.jsonl""" in str(caught.value)


def test_a_row_that_a_server_shortened_is_rejected(tmp_path: Path) -> None:
    served = json.loads(json.dumps(SERVED))
    served["rows"][3]["truncated_cells"] = ["messages"]
    rows = rows_of(write(tmp_path / "a.json", json.dumps(served)))

    assert [row.row for row in rows if row.error is not None] == [3]
    assert rows[3].error == "the dataset server left out the end of messages; fetch the dataset itself"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (WRAPPED["data"][:-90], "the list under 'data' does not end; the file is cut short"),
        (SEQUENCES["lines between"][:-20], "an object does not end at byte"),
        (SEQUENCES["lines between"] + "\nx", "something is between two objects at byte"),
        (SEQUENCES["nothing"].replace('"id": 3', "'id': 3"), "row 2; fix it"),
        ("{" * 100_000, "is not valid JSON"),
        ('{"a\\x": [{"messages": []}], "b": 1}', "is not valid JSON"),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SourceError) as caught:
        rows_of(write(tmp_path / "a.json", text))

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
