"""JSON arrays cut at their elements: the same as from parsing the whole, whatever the chunks."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from premask.sources import files
from premask.sources.json_cutting import ArrayScan, BrokenArrayError, elements, starts

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
