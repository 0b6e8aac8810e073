"""Python's notation: what is read of it, and that nothing else is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from premask.core.python_notation import looks_python, parse_cell, parse_python
from premask.core.strict_json import TooManyValuesError

LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


@settings(max_examples=200, deadline=None)
@given(st.lists(VALUES) | st.dictionaries(st.text(), VALUES))
def test_what_python_prints_is_read_as_it_was(value: Any) -> None:
    assert parse_python(repr(value)) == value


def test_what_numpy_prints_is_read() -> None:
    turns = [{"from": "human", "value": "a's"}, {"from": "gpt", "value": 'b"'}]
    array = np.array(turns, dtype=object)

    assert parse_python(str(array)) == turns
    assert parse_python(repr(array)) == turns
    assert parse_python(str({"turns": array, "none": np.array([], dtype=object)})) == {
        "turns": turns,
        "none": [],
    }
    assert parse_python("({'a': (1,)},)") == [{"a": [1]}]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("['a' 'b']", "a comma is missing"),
        ("[{'a': nan}]", "no plain value"),
        ("[{'a': b'x'}]", "no plain value"),
        ("[{'a': print(1)}]", "no plain value"),
        ("[{'a': __import__('os')}]", "no plain value"),
        ("{'a': 1, 'b'}", "a colon is missing"),
        ("{'a': {1: 2}}", "a key is no text"),
        ("{'a', 'b'}", "a colon is missing"),
        ("[{'a': 1} ... {'a': 2}]", "no plain value"),
        ("{'a': 01}", "no plain value"),
        ("{'a': 1e999}", "out of range"),
        ("{'a': " + "9" * 5000 + "}", "out of range"),
        ("{'a': '\\N{BULLET}'}", "is not known"),
        ("{'a': '\\U99999999'}", "is not known"),
        ("{'a': 1", "a comma is missing"),
        ("{'a': 'x", "no plain value"),
        ("{'a': 1} x", "no plain value"),
        ("{'a': 1}, 2", "something follows"),
        ("{'a': " + "[" * 300 + "]" * 300 + "}", "nested more than 256 levels"),
        ("['a'" + ", ['b'" * 100_000, "nested more than 256 levels"),
    ],
)
def test_anything_else_is_refused_with_the_way_out(text: str, why: str) -> None:
    with pytest.raises(ValueError, match="Python's notation, not JSON, and ") as caught:
        parse_cell(text)

    assert why in str(caught.value)
    assert str(caught.value).endswith("; write it with json.dumps")


def test_millions_of_values_are_too_many() -> None:
    with pytest.raises(TooManyValuesError):
        parse_python("['a'" + ",1" * 4_100_000 + "]")


@pytest.mark.parametrize("text", ['{"a": True}', "it's", "[NaN]", "[\"a\", 'b']", "{a: 1}", ""])
def test_other_text_has_the_error_of_json(text: str) -> None:
    assert not looks_python(text)
    with pytest.raises(ValueError, match=r"^(?!Python)"):
        parse_cell(text)
