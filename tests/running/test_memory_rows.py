"""Rows in memory as JSON holds them: those of numpy, pandas and others are read as a file of them would be."""

from __future__ import annotations

import json
from enum import Enum
from typing import Any

import numpy as np
import pandas as pd
import pytest
from premask.core.errors import RowError
from premask.core.strict_json import parse_json
from premask.running.memory_rows import json_value, memory_rows

NAN = float("nan")


class Role(str, Enum):
    user = "user"


@pytest.mark.parametrize(
    "value",
    [{}, [], "text", None, True, -5, 0.5, {"a": [{"b": None}, [1, 2.0, "x", False]], "c": {"d": []}}],
)
def test_plain_rows_are_not_copied(value: Any) -> None:
    assert json_value(value) is value


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (
            {"a": np.array([1, 2]), "b": np.array([{"c": np.array(["x"])}], dtype=object)},
            {"a": [1, 2], "b": [{"c": ["x"]}]},
        ),
        ({"a": ({"b": ()},)}, {"a": [{"b": []}]}),
        (
            {"a": np.int64(3), "b": np.float32(0.5), "c": np.bool_(True), "d": np.str_("x")},
            {"a": 3, "b": 0.5, "c": True, "d": "x"},
        ),
        ({"a": NAN, "b": [pd.NA, pd.NaT, np.float64("nan")]}, {"a": None, "b": [None] * 3}),
        ({2: "a", 0.5: "b", None: "c", True: "d"}, {"2": "a", "true": "d", "0.5": "b", "null": "c"}),
        ({Role.user: Role.user}, {"user": "user"}),
        (pd.Series([1, 2]), [1, 2]),
    ],
)
def test_values_of_libraries(value: Any, plain: Any) -> None:
    found = json_value(value)

    assert found == plain
    assert parse_json(json.dumps(found)) == found


@pytest.mark.parametrize("levels", [256, 257])
def test_a_row_may_be_as_deep_as_in_a_file(levels: int) -> None:
    text = "[" * levels + "]" * levels
    value: Any = []
    for _ in range(levels - 1):
        value = [value]

    if levels > 256:
        with pytest.raises(ValueError, match="nested more than 256 levels deep"):
            parse_json(text)
        with pytest.raises(RowError, match="invalid_json: it is nested more than 256 levels deep"):
            json_value(value)
    else:
        assert json_value(value) is value
        assert parse_json(text) == value == json_value((value[0],))


def test_rows_that_json_cannot_hold_have_an_error() -> None:
    endless: list[Any] = []
    endless.append(endless)
    rows = memory_rows(
        "data", 5, [{"a": 1}, {(1,): 2}, {"a": 10**5000}, {"a": -(10**4299)}, endless, {"a": (1,)}]
    )

    assert [row.row for row in rows] == [5, 6, 7, 8, 9, 10]
    assert [row.error and row.error.partition(";")[0] for row in rows] == [
        None,
        "a key is a tuple, not a string",
        "it holds an integer of more than 4,300 digits",
        None,
        "it is nested more than 256 levels deep",
        None,
    ]
    assert rows[5].value == {"a": [1]}
