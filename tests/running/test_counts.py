"""Counts of rows: they are where the row is used, as often as it is used, and outlive the cache."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import TOKENIZER
from premask.core.recipe import Recipe
from premask.core.records import TEMPLATE, Sample, Turn
from premask.running.counts import add_row_counts, nested, row_counts
from premask.running.run import run

FORGETS_REASONING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.reasoning_content and loop.last %}<think>\n{{ m.reasoning_content }}\n</think>\n\n{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def sample(**counts: int) -> Sample:
    return Sample("ab", (Turn(1, 0, 2),), ((2, TEMPLATE),), "inference", counts=counts)


def test_the_counts_of_a_row_are_those_of_its_conversations_and_fixes() -> None:
    samples = [sample(empty_turns=1), sample(), sample(empty_turns=2, dropped_name=1, opening_turns=0)]

    assert row_counts(samples, ["strip_html"]) == {
        "repaired_strip_html": 1,
        "empty_turns": 3,
        "dropped_name": 1,
    }


def test_counts_are_at_the_first_sample_of_their_row() -> None:
    tally: dict[str, Any] = {}
    of_row = np.array([1, 1, 4, 6, 6, 6])
    add_row_counts(tally, of_row, {0: {"a": 9}, 1: {"a": 2}, 5: {"b": 9}, 6: {"a": 1, "b": 3}, 7: {"b": 9}})

    assert {name: column.tolist() for name, column in tally.items()} == {
        "a": [2, 0, 0, 1, 0, 0],
        "b": [0, 0, 0, 3, 0, 0],
    }
    assert all(column.dtype == np.int32 for column in tally.values())


def test_no_rows_give_empty_columns() -> None:
    tally: dict[str, Any] = {}
    add_row_counts(tally, np.zeros(0, dtype=np.int64), {3: {"a": 2}})

    assert tally["a"].tolist() == []


def test_the_form_of_the_manifest() -> None:
    counts = {
        "dropped_tool_calls": 1,
        "opening_turns": 2,
        "turns_behind_another_prompt": 3,
        "auto_mode_no_think": 4,
        "auto_mode_x_true": 5,
        "proved_composed": 6,
        "tokens_cut_off": 7,
        "verified": 8,
    }

    assert nested(counts, ["mode", "mode_x"]) == {
        "tokens_by_role": {},
        "trained_by_role": {},
        "samples_by_proof": {"composed": 6},
        "repaired_by_policy": {},
        "dropped_fields": {"tool_calls": 1},
        "template_modes": {"mode": {"no_think": 4}, "mode_x": {"true": 5}},
        "turns_left_out": {"opening": 2},
        "straddling_tokens": 0,
        "seam_tokens": 0,
        "control_tokens_in_content": 0,
        "turns_behind_another_prompt": 3,
        "tokens_cut_off": 7,
        "verified": 8,
    }


# ==== In runs ====


def chat(number: int, *, reasoning: bool = True) -> dict[str, Any]:
    thought = {"reasoning_content": f"Hm {number}."} if reasoning else {}
    return {
        "messages": [
            {"role": "user", "content": f"Is it {number}?"},
            {"role": "assistant", "content": "Yes.", **thought},
            {"role": "user", "content": "And now?"},
            {"role": "assistant", "content": "No." * 40},
        ]
    }


@pytest.fixture
def recipe(tmp_path: Path) -> Any:
    """Make a recipe of 20 rows, of which 10 have earlier reasoning that the template drops."""
    rows = [chat(i, reasoning=i % 2 == 0) for i in range(20)]
    (tmp_path / "chats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, rows[0]]))
    (tmp_path / "template.jinja").write_text(FORGETS_REASONING)
    values = {"tokenizer": TOKENIZER, "chat_template": str(tmp_path / "template.jinja"), "unit_rows": 8}

    def make(name: str, **keys: Any) -> Recipe:
        source = {"path": str(tmp_path / "chats.jsonl")} | keys.pop("source", {})
        return Recipe.model_validate({"sources": [source], **values, "output": str(tmp_path / name), **keys})

    return make


def dropped(recipe: Recipe) -> int:
    return int(run(recipe).manifest["counts"]["dropped_fields"]["reasoning"])


def test_a_row_counts_as_often_as_it_is_used(recipe: Any) -> None:
    assert dropped(recipe("plain")) == 11
    assert dropped(recipe("dropped", duplicates="drop")) == 10
    assert dropped(recipe("often", source={"repeat": 3})) == 33
    assert dropped(recipe("limit", source={"limit": 4})) == 2
    assert dropped(recipe("last", history="last")) == 11


def test_rows_of_evaluation_splits_count_once(recipe: Any) -> None:
    keys = {"splits": {"validation": 0.5}, "source": {"repeat": 2}}
    result = run(recipe("splits", **keys))
    counts, samples = result.manifest["counts"], result.manifest["counts"]["splits"]["validation"]["samples"]

    assert samples > 0
    assert 11 <= counts["dropped_fields"]["reasoning"] < 22


def test_a_row_that_is_cut_counts_as_others(recipe: Any) -> None:
    counts = run(recipe("short", max_length=60, too_long="truncate")).manifest["counts"]

    assert counts["kept"] == 21
    assert counts["dropped_fields"] == {"reasoning": 11}


def test_the_cache_keeps_them(recipe: Any, tmp_path: Path) -> None:
    cached = {"cache": str(tmp_path / "cache")}
    first = run(recipe("first", **cached)).manifest["counts"]
    again = run(recipe("again", **cached, duplicates="drop", source={"repeat": 2})).manifest["counts"]

    assert first["dropped_fields"] == {"reasoning": 11}
    assert again["dropped_fields"] == {"reasoning": 20}
    assert len(list((tmp_path / "cache").rglob("*.arrow"))) == 3
