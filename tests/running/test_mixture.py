"""How often the rows of each source are used, so that sources have their shares and the output its budget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from premask.core.recipe import Recipe
from premask.running.choosing import count_copies, row_chances
from premask.running.mixture import SIZES, describe, goals, not_reached, read_sizes, resolve, write_sizes


def recipe_of(*sources: Any, **keys: Any) -> Recipe:
    return Recipe.model_validate({"sources": [*sources], "tokenizer": "t", "output": "o", **keys})


def rows_of(entry: int, tokens: list[int], trained: list[int] | None = None) -> np.ndarray:
    rows = np.zeros(len(tokens), dtype=SIZES)
    rows["entry"], rows["tokens"], rows["trained_tokens"] = entry, tokens, trained or tokens
    rows["chance"] = row_chances(f"{entry}.jsonl", np.arange(len(tokens)), 0)
    return rows


def used(rows: np.ndarray, entry: int, repeat: float, by: str = "tokens") -> int:
    """What the rows of a source come to, chosen as a run chooses them."""
    return int(rows[by] @ count_copies(f"{entry}.jsonl", np.arange(len(rows)), repeat, 0))


@given(
    tokens=st.lists(st.integers(1, 500), min_size=1, max_size=60),
    share=st.floats(0.05, 0.95),
    small=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_a_share_is_reached_to_within_one_row(tokens: list[int], share: float, *, small: bool) -> None:
    other = [20] * (5 if small else 500)
    recipe = recipe_of({"path": "a", "share": share}, "b", max_repeat=1000)
    mine, theirs = rows_of(0, tokens), rows_of(1, other)
    repeats = resolve(recipe, [mine, theirs])
    wanted = share / (1 - share) * sum(other)
    assert repeats[1] == 1.0
    assert used(mine, 0, repeats[0]) - wanted > -1e-3 or repeats[0] == 1000
    assert used(mine, 0, repeats[0]) - wanted < max(tokens) + 1e-3


def test_the_order_and_the_cut_of_the_rows_change_nothing() -> None:
    recipe = recipe_of({"path": "a", "share": 0.4}, "b", budget=900)
    rows = np.concatenate([rows_of(0, [*range(1, 60)]), rows_of(1, [7] * 90)])
    mixed = rows[np.random.default_rng(0).permutation(len(rows))]
    assert resolve(recipe, [rows]) == resolve(recipe, np.array_split(mixed, 5))


def test_shares_of_trained_tokens_and_rows_count_those() -> None:
    mine, theirs = rows_of(0, [100] * 40, [10] * 40), rows_of(1, [100] * 40, [90] * 40)
    for by, wanted in (("rows", 40), ("tokens", 4000), ("trained_tokens", 3600)):
        recipe = recipe_of({"path": "a", "share": 0.5}, "b", mix_by=by, max_repeat=100)
        repeats = resolve(recipe, [mine, theirs])
        got = used(mine, 0, repeats[0], by) if by != "rows" else used(mine, 0, repeats[0]) // 100
        assert got == wanted


def test_a_temperature_of_1_keeps_the_sources_and_a_high_one_makes_them_even() -> None:
    sizes = [900, 100]
    assert [goal.size for goal in goals(recipe_of("a", "b", temperature=1), sizes)] == pytest.approx(sizes)
    square = goals(recipe_of("a", "b", temperature=2), sizes)
    assert [goal.share for goal in square] == pytest.approx([0.75, 0.25])  # 30 to 10
    even = goals(recipe_of("a", "b", temperature=1000), sizes)
    assert [goal.share for goal in even] == pytest.approx([0.5, 0.5], abs=0.001)
    assert sum(goal.size for goal in square) == pytest.approx(1000)


def test_without_a_budget_shares_of_all_sources_repeat_no_row() -> None:
    recipe = recipe_of({"path": "a", "share": 0.3}, {"path": "b", "share": 0.7})
    assert [goal.size for goal in goals(recipe, [1000, 70])] == pytest.approx([30, 70])


def test_a_budget_alone_takes_rows_of_all_sources_alike_and_repeats_none() -> None:
    recipe = recipe_of("a", {"path": "b", "repeat": 2}, budget=300)
    assert [goal.size for goal in goals(recipe, [400, 100])] == pytest.approx([200, 100])
    enough = recipe_of("a", {"path": "b", "repeat": 2}, budget=10_000)
    assert resolve(enough, [rows_of(0, [4] * 9), rows_of(1, [5] * 9)]) == (1.0, 2.0)


def test_what_is_not_reached_is_said_in_a_line_each() -> None:
    recipe = recipe_of({"path": "a", "share": 0.9}, "b", budget=1000, max_repeat=3)
    names = [name for unit in ("rows", "tokens", "trained_tokens") for name in (unit, f"of_{unit}")]
    few, rest = (
        dict.fromkeys(names, 10) | {"rows": 30, "tokens": 30},
        dict.fromkeys(names, 200) | {"tokens": 100},
    )
    about = describe(recipe, [few, rest])
    lines = not_reached(recipe, about)
    assert lines[0] == (
        "a has 23.1% of the tokens, not 90.0%: its 10 rows are used 3.00 times, which is the most that "
        "max_repeat 3 allows; add rows, or raise it"
    )
    assert len(lines) == 2, "b has no share of its own"
    assert lines[-1].startswith("the budget of 1,000 tokens is not reached, there are 130")
    reached = describe(recipe_of("a", "b", budget=130), [few, rest])
    assert not_reached(recipe_of("a", "b", budget=130), reached) == []


def test_sources_without_rows_have_nothing(tmp_path: Path) -> None:
    recipe = recipe_of({"path": "a", "share": 0.5}, "b")
    assert resolve(recipe, [rows_of(1, [5, 5])])[1] == 1.0
    write_sizes(tmp_path / "0.npy", [])
    assert resolve(recipe, [read_sizes(tmp_path / "0.npy")]) == (4.0, 1.0)
    np.save(tmp_path / "1.npy", np.zeros(3))
    with pytest.raises(ValueError, match="no sizes"):
        read_sizes(tmp_path / "1.npy")
