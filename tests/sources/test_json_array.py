"""JSON arrays element by element: the same values as from parsing the whole, whatever the cut."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inputs import read_units, rows_of, write
from premask.sources import files, inspection
from premask.sources.cutting import plan_units, whole
from premask.sources.inspection import inspect_source
from premask.sources.json_array import ElementBlock
from premask.sources.json_cutting import ArrayScan, BrokenArrayError, elements, starts
from premask.sources.reading import peek, read_blocks, read_slice

TEXT = st.text('a"\\[]{},:\n\té\U0001f600\ud800', max_size=6)
VALUE = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXT
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=6,
)


def chunked(size: int, check: Any) -> None:
    before, files.CHUNK = files.CHUNK, size
    try:
        check()
    finally:
        files.CHUNK = before


def written(values: list[Any], indent: int | None, plain: object) -> str:
    text = json.dumps(values, indent=indent, ensure_ascii=bool(plain))
    return text.encode("utf-8", "backslashreplace").decode()


@given(
    values=st.lists(VALUE, max_size=6),
    indent=st.sampled_from([None, 0, 3]),
    plain=st.booleans(),
    space=st.sampled_from(["", "\n", " \r\n\t"]),
    size=st.sampled_from([1, 2, 3, 7, 1 << 20]),
)
def test_elements_are_those_of_the_whole(
    values: list[Any], indent: int | None, plain: object, space: str, size: int
) -> None:
    """Also their places: a text that begins at any of them reads on from there."""
    data = (space + written(values, indent, plain) + space).encode()

    def check() -> None:
        found = [each for group in elements(io.BytesIO(data)) for each in group]
        scan = ArrayScan()
        for chunk in files.chunks(io.BytesIO(data)):
            scan.feed(chunk)

        assert [json.loads(text) for _, text in found] == json.loads(data)
        assert all(data[byte : byte + len(text)] == text for byte, text in found)
        assert scan.count() == len(values)
        for row in range(len(values)):
            file = io.BytesIO(data)
            (byte,) = starts(file, scan.marks, [row])
            file.seek(byte)
            assert [each for group in elements(file, byte) for each in group] == found[row:]

    chunked(size, check)


@given(
    values=st.lists(VALUE, min_size=1, max_size=4),
    cut=st.integers(1, 200),
    size=st.sampled_from([1, 3, 1 << 20]),
)
def test_no_beginning_of_an_array_passes_for_one(values: list[Any], cut: int, size: int) -> None:
    data = json.dumps(values).encode()[: -1 - cut % max(len(json.dumps(values)) - 1, 1)]

    def check() -> None:
        scan = ArrayScan()
        for chunk in files.chunks(io.BytesIO(data)):
            scan.feed(chunk)
        with pytest.raises(BrokenArrayError) as counted:
            scan.count()
        with pytest.raises(BrokenArrayError) as read:
            list(elements(io.BytesIO(data)))
        assert counted.value.byte == read.value.byte == len(data)

    chunked(size, check)


@pytest.mark.parametrize("size", [1, 5, 1 << 20])
@pytest.mark.parametrize(
    "text", ["[1]2", "[1] ]", '[1]\n"', "[1}", "[{}]\n\n[", "[[1]},", '[{"a": 1}} , 3]', "[] []", '["a"],']
)
def test_scan_and_reader_find_the_same_fault(text: str, size: int) -> None:
    def check() -> None:
        scan = ArrayScan()
        for chunk in files.chunks(io.BytesIO(text.encode())):
            scan.feed(chunk)
        with pytest.raises(BrokenArrayError) as counted:
            scan.count()
        with pytest.raises(BrokenArrayError) as read:
            list(elements(io.BytesIO(text.encode())))
        assert counted.value.args == read.value.args

    chunked(size, check)


# ==== As sources ====

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


def test_only_the_start_of_a_long_first_line_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspection, "_LONG_LINE", 8)
    monkeypatch.setattr(files, "CHUNK", 5)
    array, row = '[{"a": "0123456789]\\n"}, {"a": 1}]', '{"a": "0123456789}"}'
    found = {
        "array": (f"{array}\n\n", "json", 2),
        "bare": (array, "json", 2),
        "row": (f"\n{row}\n ", "json", 1),
        "lines": (f"{row}\n{row}", "jsonl", 2),
        "arrays": (f"{array}\n{array}\n", "jsonl", 2),
        "spread": (f"{array[:24]}\n{array[24:]}", "json", 2),
    }
    for name, (text, form, count) in found.items():
        source = write(tmp_path / f"{name}.json", text)
        assert inspect_source(source).format == form, name
        assert len(rows_of(source)) == count, name
    for name in ("array", "spread"):
        with pytest.raises(inspection.SourceError, match=r"holds one JSON array, .* rename it to .json"):
            inspect_source(write(tmp_path / "a.jsonl", found[name][0]))


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
