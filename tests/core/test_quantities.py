"""Numbers as recipes and options write them."""

from __future__ import annotations

from typing import Any

import pytest
from premask.cli.recipe_options import recipe_of
from premask.core.errors import RecipeError
from premask.core.recipe import Recipe
from premask.core.recipe_file import make_recipe

WRITTEN: list[tuple[Any, int]] = [
    *((4096, 4096), ("4096", 4096), ("4_096", 4096), ("4k", 4000), ("4K", 4000), ("4 k", 4000)),
    *(
        ("4Ki", 4096),
        ("1.5M", 1_500_000),
        ("20M", 20_000_000),
        ("1_500k", 1_500_000),
        ("1.1G", 1_100_000_000),
    ),
]
NONE = ["4q", "4kk", "k", "4k5", "-4k", "1..5M", "4__0k", "4Bi", "٤k", "4m", "9" * 5000 + "k", "1e3k"]


def recipe(**keys: Any) -> Recipe:
    return make_recipe({"sources": ["a.jsonl"], "tokenizer": "tok", "output": "out", **keys})


@pytest.mark.parametrize(("written", "number"), WRITTEN)
def test_one_syntax_holds_for_all_counts_and_sizes(written: Any, number: int) -> None:
    keys = ("max_length", "pack_window", "unit_rows")
    made = recipe(**dict.fromkeys(keys, written), sources=[{"path": "a", "limit": written}])
    assert [getattr(made, key) for key in keys] == [number] * len(keys)
    assert made.sources[0].limit == number
    if number <= 1_000_000_000:
        assert recipe(max_row_bytes=written).max_row_bytes == number


def test_a_recipe_is_the_same_however_its_numbers_are_written() -> None:
    plain, other = recipe(max_length=4096, unit_rows=1000), recipe(max_length="4Ki", unit_rows="1k")
    assert plain.identity() == other.identity() == recipe(max_length="4_096", unit_rows="1_000").identity()
    assert plain.model_dump(mode="json") == other.model_dump(mode="json")


def test_options_have_the_syntax_of_recipes() -> None:
    flags = {"tokenizer": "tok", "output": "out", "max_length": "4Ki", "unit_rows": "1.5k"}
    made = recipe_of(["a.jsonl"], {**flags, "max_row_bytes": "2MiB", "pack_window": "20M"})
    found = (made.max_length, made.unit_rows, made.max_row_bytes, made.pack_window)
    assert found == (4096, 1500, 2 << 20, 20_000_000)


@pytest.mark.parametrize("written", NONE)
def test_what_is_not_a_number_is_refused(written: str) -> None:
    for key in ("max_length", "pack_window", "unit_rows", "max_row_bytes"):
        with pytest.raises(RecipeError, match=f"{key}: write a whole number"):
            recipe(**{key: written})
    with pytest.raises(RecipeError, match=r"sources\.0\.limit: write a whole number"):
        recipe(sources=[{"path": "a", "limit": written}])


def test_bounds_are_those_of_the_number() -> None:
    for change in ({"max_length": "0k"}, {"max_length": "4G"}, {"unit_rows": "0k"}, {"max_row_bytes": "2GB"}):
        with pytest.raises(RecipeError, match="it must be"):
            recipe(**change)


def test_the_names_of_others_for_shares_point_to_share_repeat_and_sample() -> None:
    for name in ("weight", "ratio", "proportion", "probability"):
        with pytest.raises(RecipeError, match=f"sources.0.{name}'; write 'share' .* 'repeat' .* or 'sample'"):
            recipe(sources=[{"path": "a", name: 2}])
