"""Strict JSON: what the standard library reads, less what other readers would not read alike."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.jsontext import MAX_DEPTH, parse_json, reason

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(value=JSON)
def test_valid_json_is_read_as_the_standard_library_reads_it(value: Any) -> None:
    assert parse_json(json.dumps(value)) == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("NaN", "NaN is not a JSON value"),
        ('{"a": -Infinity}', "-Infinity is not a JSON value"),
        ("[1e999]", "number 1e999 is out of range"),
        ("", "Expecting value at line 1 column 1"),
        ('{\n"a" 1}', "Expecting ':' delimiter at line 2 column 5"),
        ("[1] 2", "Extra data at line 1 column 5"),
        ('{"a":' * 257 + "1" + "}" * 257, "nested more than 256 levels deep"),
        ("[" * 100_000, "nested more than 256 levels deep"),
    ],
)
def test_what_is_refused_and_why(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=r"\S") as caught:
        parse_json(text)

    assert reason(caught.value) == why


def test_the_bound_on_depth_is_exact_and_counts_no_brackets_within_strings() -> None:
    assert parse_json("[" * MAX_DEPTH + "]" * MAX_DEPTH) is not None
    assert parse_json('["' + "[" * 300 + '"]') == ["[" * 300]
    assert parse_json("[" + "[]," * 300 + "[]]") == [[]] * 301
    with pytest.raises(ValueError, match="nested more than 256"):
        parse_json("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))
