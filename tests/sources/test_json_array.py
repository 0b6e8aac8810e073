"""JSON files: an array of rows, one row, or one conversation."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from inputs import read_units, rows_of, values_of, write
from premask.core.errors import SourceError
from premask.core.records import Row
from premask.sources import files
from premask.sources.cutting import plan_units, whole
from premask.sources.inspection import inspect_source
from premask.sources.json_elements import ElementBlock
from premask.sources.reading import peek, read_blocks, read_slice


@pytest.mark.parametrize(
    ("text", "form", "values"),
    [
        ('[{"a": 1},\n {"a": 2}]', "json", [{"a": 1}, {"a": 2}]),
        ('[{"a": 1}, 2]', "json", [{"a": 1}, 2]),
        ('\ufeff{\n "a": 1\n}', "json", [{"a": 1}]),
        ('{"a": 1}\n', "json", [{"a": 1}]),
        ('{"a":\n{"b": 1}\n}', "json", [{"a": {"b": 1}}]),
        ('[\n{"a": 1}\n]', "json", [{"a": 1}]),
        ('\n{"a": 1}\n\n{"a": 2}\n', "jsonl", [{"a": 1}, {"a": 2}]),
        ('[{"a": 1}]\n[{"a": 2}]\n', "jsonl", [[{"a": 1}], [{"a": 2}]]),
        ("[]", "json", []),
    ],
)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_json_may_hold_an_array_an_object_or_lines(
    tmp_path: Path, text: str, form: str, values: list[Any], suffix: str
) -> None:
    data = gzip.compress(text.encode()) if suffix else text
    source = write(tmp_path / f"a.json{suffix}", data)

    assert inspect_source(source).format == form
    assert values_of(source) == values


HUMAN, USER = {"from": "human", "value": "Hi"}, {"role": "user", "content": "Hi"}


CALLER = {"role": "assistant", "tool_calls": [{"name": "f"}]}


@pytest.mark.parametrize("turns", [[HUMAN, {"from": "gpt", "value": None}], [USER, CALLER], [USER]])
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("name", ["a.json", "a.json.gz"])
def test_a_json_file_that_is_one_conversation_is_one_row(
    tmp_path: Path, name: str, turns: list[Any], indent: int | None
) -> None:
    text = json.dumps(turns, indent=indent)
    source = write(tmp_path / name, gzip.compress(text.encode()) if name.endswith(".gz") else text)

    assert rows_of(source) == [Row(source, 0, turns)]
    assert peek(inspect_source(source)) == [turns]


@pytest.mark.parametrize(
    "other",
    [
        {"role": "baker", "messages": [USER], "content": "x"},
        {"from": "a.txt", "conversations": [HUMAN], "value": 1},
        {"role": "baker", "wage": 3},
        {"content": "Hi"},
        [USER],
        "Hi",
    ],
)
def test_a_json_array_of_anything_but_turns_is_rows(tmp_path: Path, other: Any) -> None:
    """One element that is no turn is enough."""
    for values in ([other, USER], [USER, other], [other]):
        assert values_of(write(tmp_path / "a.json", json.dumps(values))) == values


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '[{"a": 1},\n{"a" 2}]',
            "not valid JSON: Expecting ':' delimiter at byte 16, line 2, row 1; fix it",
        ),
        ('[{"a": 1} {"a": 2}]', "Extra data at byte 10, line 1, row 0; fix it"),
        ('[{"a": 1},, {"a": 2}]', "Expecting value at byte 10, line 1, row 1; fix it"),
        ('[{"a": 1},\n]', "Expecting value at byte 11, line 2, row 1; fix it"),
        (
            '[{"a": 1},\n{"a": "x',
            "array does not end at byte 19, line 2, row 1; the file is cut short, fetch",
        ),
        ('[{"a": 1}] [', "something follows the array at byte 11, line 1, row 1; fix it"),
        ('[\n{"a": 1}]\n}', "something follows the array at byte 12, line 3, row 1"),
        ('[{"a": 1}}', "the array is closed by '}' at byte 9, line 1, row 0; fix it"),
        ("[" * 100_000, "the array does not end at byte 100000"),
        ('{"a": 1', "is not valid JSON: Expecting ',' delimiter at line 1 column 8; fix it"),
        ('"text"', "holds a single JSON value, not rows; remove it"),
    ],
)
def test_json_that_does_not_parse_names_the_place(tmp_path: Path, text: str, message: str) -> None:
    for name, data in (("a.json", text.encode()), ("b.json.gz", gzip.compress(text.encode()))):
        with pytest.raises(SourceError, match=message.replace(", line", r"(, decompressed)?, line")):
            rows_of(write(tmp_path / name, data))


def test_an_element_with_a_number_that_json_has_not_is_a_row_with_its_error(tmp_path: Path) -> None:
    """Where it begins and ends is certain, so the rest of the file can be read."""
    source = write(tmp_path / "a.json", '[{"a": NaN},\n {"a":\n  1},\n [1e999]]')

    assert rows_of(source) == [
        Row(source, 0, None, '{"a": NaN}', "NaN is not a JSON value"),
        Row(source, 1, {"a": 1}, '{"a": 1}'),
        Row(source, 2, None, "[1e999]", "number 1e999 is out of range"),
    ]


ROWS = [{"n": n, "text": 'say "[' + "é\\" * n, "none": None} for n in range(25)]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("unit_rows", [1, 4, 24, 99])
def test_units_of_an_array_hold_every_element_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, indent: int | None, unit_rows: int
) -> None:
    monkeypatch.setattr(files, "CHUNK", 100)
    source = write(tmp_path / "a.json", "\ufeff" + json.dumps(ROWS, indent=indent, ensure_ascii=False))
    info = inspect_source(source)
    rows = read_units([info], unit_rows)

    assert info.rows == 25
    assert len(plan_units([info], unit_rows=unit_rows)) == -(-25 // unit_rows)
    assert [(row.row, row.value) for row in rows] == list(enumerate(ROWS))
    assert [json.loads(row.original or "") for row in rows] == ROWS
    assert not any("\n" in (row.original or "") for row in rows)
    assert rows == list(read_slice(whole(info)))


@pytest.mark.parametrize("name", ["a.json.gz", "a.json.zst"])
def test_a_compressed_array_is_read_the_same_way(tmp_path: Path, name: str) -> None:
    from inputs import compressed  # noqa: PLC0415

    source = write(tmp_path / name, compressed(json.dumps(ROWS).encode(), name[-4:].lstrip("n")))
    info = inspect_source(source)

    assert info.rows is None
    assert all(isinstance(block, ElementBlock) for block in read_blocks(whole(info), 4))
    assert [row.value for row in read_units([info], 4)] == ROWS


def test_peek_looks_at_the_middle_of_an_array(tmp_path: Path) -> None:
    source = write(tmp_path / "a.json", json.dumps([{"n": n} for n in range(100)]))

    assert [value["n"] for value in peek(inspect_source(source), 10)] == [0, 1, 2, 3, 4, 50, 51, 52, 53, 54]


def test_one_conversation_is_one_row_also_where_chunks_are_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "CHUNK", 7)
    turns = [{"from": "human", "value": "Hi [there], you"}] * 9
    for name, data in (
        ("a.json", json.dumps(turns).encode()),
        ("a.json.gz", gzip.compress(json.dumps(turns).encode())),
    ):
        assert [row.value for row in rows_of(write(tmp_path / name, data))] == [turns]
