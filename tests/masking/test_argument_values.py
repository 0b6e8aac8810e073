"""The constants that a template compares an argument with."""

from __future__ import annotations

from typing import Any

import pytest
from premask.masking.argument_values import compared_values
from premask.masking.chat_template import ChatTemplate


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ a }}{% if a is defined %}x{% endif %}", []),
        ("{% if a == 'x' or 'y' != a or a == true or a > 1 %}x{% endif %}", ["x", "y", True, 1]),
        ("{% if a in ['x', 'y'] %}x{% elif a not in ('z',) %}y{% endif %}", ["x", "y", "z"]),
        ("{% if a | lower == 'x' %}x{% endif %}{% if a == -1 and a != '' %}y{% endif %}", ["x", -1]),
        (
            "{% set b = a or 'v' %}{% set c = b %}{% if c == 'x' %}x{% endif %}{% if d == 'y' %}y{% endif %}",
            ["x"],
        ),
        ("{% set ns = namespace(b=1) %}{% set ns.b = a %}{% if ns.b == 'x' %}x{% endif %}", ["x"]),
        ("{% macro m() %}{% if a == 'x' %}x{% endif %}{% endmacro %}", ["x"]),
    ],
)
def test_constants_that_an_argument_is_compared_with(source: str, expected: list[Any]) -> None:
    found = compared_values(ChatTemplate(source), "a")

    assert sorted(map(repr, found)) == sorted(map(repr, expected))


def test_variables_that_are_set_from_it_can_be_left_out() -> None:
    template = ChatTemplate(
        "{% set n = 1 if a else 0 %}{% if n == 1 %}x{% endif %}{% if a == 'x' %}y{% endif %}"
    )

    assert compared_values(template, "a") == [1, "x"]
    assert compared_values(template, "a", itself=True) == ["x"]


def test_all_sources_count() -> None:
    sources = {"default": "{% if a == 'x' %}x{% endif %}", "tool_use": "{% if a == 'y' %}y{% endif %}"}

    assert compared_values(ChatTemplate(sources), "a") == ["x", "y"]
