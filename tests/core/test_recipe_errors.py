"""What is said of wrong values: every key with odd values, in one line, in plain words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from premask.core.errors import RecipeError
from premask.core.recipe import Card, Recipe, Train
from premask.core.recipe_errors import shown, unknown_key
from premask.core.recipe_file import make_recipe
from premask.core.source_entry import FieldMap, Source

LEAST: dict[str, Any] = {"sources": ["a.jsonl"], "tokenizer": "tok", "output": "out"}
ODD: list[Any] = [
    *(None, True, False, 0, -1, 1.5, 10**30, float("nan"), float("inf"), "", "4k", "auto", "false"),
    *([], ["x"], [1], [None], [[1]], {}, {"a": 1}, {1: 2}, {None: None}, "x\ny\x1b[31m", "9" * 5000),
    *("a\0b", "\ud800", b"bytes", {1, 2}, object()),
]
PYDANTIC = re.compile(
    r"[Ii]nput should|[Ee]xtra inputs|[Vv]alue error|value_error|type=|input_value|pydantic|errors\.pydantic"
    r"|valid (string|integer|number|boolean|list|dictionary|date)|unable to|instance of"
)
"""Words that are the library's."""


def values() -> Iterator[dict[str, Any]]:
    """Recipes with one odd value each: of every key, and of every key of a key."""
    for odd in ODD:
        yield from ({**LEAST, key: odd} for key in Recipe.model_fields)
        yield from ({**LEAST, "train": {key: odd}} for key in Train.model_fields)
        yield from ({**LEAST, "card": {key: odd}} for key in Card.model_fields)
        yield from ({**LEAST, "sources": [{"path": "a", key: odd}]} for key in Source.model_fields)
        for key in FieldMap.model_fields:
            rest = {"messages": "a"} if key not in ("user", "assistant") else {"assistant": "a"}
            yield {**LEAST, "fields": {**rest, key: odd}}
            yield {**LEAST, "sources": [{"path": "a", "fields": {**rest, key: odd}}]}


def refusal(change: dict[str, Any]) -> str:
    with pytest.raises(RecipeError) as caught:
        make_recipe({**LEAST, **change})
    return str(caught.value)


def test_every_key_with_odd_values_is_taken_or_refused_in_one_plain_line() -> None:
    refused = 0
    for recipe in values():
        try:
            make_recipe(recipe)
        except RecipeError as error:
            refused += 1
            text = str(error)
            assert text.startswith("recipe: ")
            assert text.isprintable(), (recipe, text)
            assert len(text) < 700, (recipe, text)
            assert not PYDANTIC.search(text), (recipe, text)
    assert refused > 1500


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_length": "4q"}, "max_length: write a whole number such as 4096, not '4q'"),
        ({"max_length": "64MB"}, "max_length: write a whole number such as 4096, not '64MB'"),
        ({"unit_rows": "1.5"}, "unit_rows: write a whole number such as 10000, not '1.5'"),
        ({"max_row_bytes": "4q"}, "max_row_bytes: write a whole number such as 64MB, not '4q'"),
        ({"max_row_bytes": True}, "max_row_bytes: write a number, not true"),
        ({"max_length": True}, "max_length: write a number, not true"),
        ({"max_length": 10**30}, "max_length: it must be less than"),
        ({"verify": "often"}, "verify: write a number such as 0.002, not 'often'"),
        ({"shuffle": "maybe"}, "shuffle: write true or false, not 'maybe'"),
        ({"loss_weights": "row"}, "loss_weights: write true, false or per_sample, not 'row'"),
        ({"layout": "packed"}, "layout: write a list such as [packed, unpacked], not 'packed'"),
        ({"train": "user"}, "train: write a mapping such as {reasoning: false}, not 'user'"),
        ({"splits": {"test": "few"}}, "splits.test: write a number such as 0.02, not 'few'"),
        ({"too_long": ["reject"]}, "too_long: write one of reject, truncate, split, not ['reject']"),
        ({"date": 20250131}, "date: write a date such as 2025-01-31, not 20250131"),
        ({"cache": False}, "cache: write a text in quotes, not false"),
        ({"output": "/"}, "output: '/' names no folder of its own; write a path such as out/chats"),
        ({"output": "a\0b"}, "output: no file can have this name, or it is not UTF-8"),
        ({"tokenizer": " "}, "tokenizer: it is empty; write a path or a name"),
        ({"template_kwargs": {"a": float("nan")}}, "template_kwargs: the value of 'a' is none that JSON has"),
        ({"template_kwargs": {"a": {1: 2}}}, "template_kwargs: the value of 'a' is none that JSON has"),
        ({"sources": [{"path": "a", "limit": True}]}, "sources.0.limit: write a number, not true"),
        ({"sources": [{"limit": 3}]}, "key 'sources.0.path' is missing"),
        ({"card": {"license": "my own"}}, "card.license: write a name such as cc-by-4.0 or mit"),
    ],
)
def test_what_to_write_instead(change: dict[str, Any], message: str) -> None:
    assert refusal(change).startswith(f"recipe: {message}")


@pytest.mark.parametrize(
    ("change", "near"),
    [
        (
            {"sources": [{"path": "a", "weight": 2}]},
            "'sources.0.weight'; write 'share' (of the output), 'repeat' (how often it is used) or 'sample' (a part of it)",
        ),
        ({"max_seq_length": 8}, "'max_seq_length'; did you mean 'max_length'?"),
        ({"datasets": ["a"]}, "'datasets'; did you mean 'sources'?"),
        ({"base_model": "x"}, "'base_model'; did you mean 'tokenizer'?"),
        ({"workers": 4}, "'workers'; it is an option of the command: --workers"),
        ({"push-to-hub": "a/b"}, "'push-to-hub'; it is an option of the command: --push-to-hub"),
    ],
)
def test_names_of_other_tools_are_known(change: dict[str, Any], near: str) -> None:
    assert refusal(change) == f"recipe: unknown key {near}"


def test_a_long_or_unprintable_key_is_shown_as_text() -> None:
    assert unknown_key("\x1b[31m", ["path"]).startswith(r"unknown key '\x1b[31m'; ")
    assert len(unknown_key("k" * 10_000, ["path"])) < 200


def test_values_are_shown_short() -> None:
    assert shown({"a": [1, [2, [3]]], "b": 1, "c": 2, "d": 3}) == "{'a': [1, [...]], 'b': 1, 'c': 2, ...}"
    assert shown(False) == "false"
