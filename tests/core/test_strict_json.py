"""Strict JSON: what the standard library reads, less what other readers would not read alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from premask.core.strict_json import MAX_DEPTH, _by_the_standard, parse_json, reason

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(value=JSON)
def test_valid_json_is_read_as_the_standard_library_reads_it(value: Any) -> None:
    assert parse_json(json.dumps(value)) == value


DIGITS = st.text("0123456789", min_size=1, max_size=400)
NUMBERS = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "-", "+", "."]),
    DIGITS,
    st.sampled_from(["", ".", ".0"]) | DIGITS.map(".{}".format),
    st.sampled_from(["", "e", "E5", "e-7", "e+308", "e309", "e-324", "e-400"]),
)
TEXTS = st.one_of(
    NUMBERS,
    st.tuples(
        JSON.map(json.dumps), st.integers(0, 40), st.sampled_from([*'{}[]":,\\u0dé9\t\x1f\ud800\ufeff', ""])
    ).map(lambda parts: parts[0][: parts[1]] + parts[2] + parts[0][parts[1] + 1 :]),
    st.text('{}[]":,\\udD89abtrue 0-eE.', max_size=12),
    st.floats().map(repr),
    NUMBERS.map('{{"a": 1, "b": 2, "a": {}}}'.format),
)


@settings(max_examples=1000)
@given(text=TEXTS)
def test_the_fast_parser_reads_what_the_standard_library_reads(text: str) -> None:
    """The same values of the same types in the same order, or the same error."""
    assert outcome(parse_json, text) == outcome(_by_the_standard, text)


def outcome(parse: Callable[[str], Any], text: str) -> str:
    try:
        return repr(parse(text))
    except ValueError as error:
        return f"error: {reason(error)}"


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
