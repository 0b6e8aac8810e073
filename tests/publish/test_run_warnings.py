"""Warnings on an output: each thing that is to be known has one, and a good output has none."""

from __future__ import annotations

from typing import Any

import pytest
from premask.publish.run_warnings import warnings_of

RECIPE = {"control_tokens": "text", "seam": "prompt"}
GOOD = {
    "tokens": 900,
    "history_tokens": 0,
    "duplicates": 3,
    "dropped": 3,
    "seam_tokens": 0,
    "control_tokens_in_content": 0,
    "samples_by_proof": {"inference": 9, "as-rendered": 0},
    "dropped_fields": {"reasoning": 0},
    "template_modes": {"enable_thinking": {"true": 9}},
}
SHARES = {"source": "a.jsonl", "asked": 0.5, "got": 0.495}


def warn(more: Any = None, **counts: Any) -> list[tuple[str, str]]:
    return warnings_of({"counts": GOOD | counts, "recipe": RECIPE} | (more or {}))


def test_a_good_output_has_none() -> None:
    files = [{"source": "a.jsonl"}]
    assert warn({"mixture": {"sources": [SHARES]}, "inputs": files, "set_aside": []}) == []


@pytest.mark.parametrize(
    ("counts", "name", "text"),
    [
        ({"history_tokens": 600}, "History", "tokens of one sample a row: 300, written: 900 (3.0 times)"),
        ({"turns_behind_another_prompt": 2}, "Another prompt", "2 turns are trained behind another prompt"),
        ({"dropped_fields": {"name": 2}}, "Dropped text", "the template does not print all of 2 names"),
        ({"turns_left_out": {"empty": 1}}, "Turns without loss", "1 empty turn is left out of the loss"),
        ({"seam_tokens": 4}, "Seams", "4 edges of completions lie inside a token of the whole text. Both sides"),
        ({"straddling_tokens": 5}, "Edges", "5 tokens lie across the edge of trained text"),
        ({"control_tokens_in_content": 6}, "Control tokens", "6 control-token strings in content are encoded as"),
        ({"tokens_cut_off": 7}, "Cut off", "7 tokens beyond max_length were cut off"),
        ({"duplicates": 5}, "Duplicates", "2 rows that equal an earlier one are kept; duplicates: drop"),
        ({"samples_by_proof": {"as-rendered": 8}}, "Mask", "8 samples: trained as the template shows the turns"),
    ],
)  # fmt: skip
def test_of_each_count(counts: dict[str, Any], name: str, text: str) -> None:
    ((found, said),) = warn(**counts)

    assert found == name
    assert said.startswith(text)
    assert not said.endswith(".")


def test_of_shares_files_and_units() -> None:
    salvaged = {"source": "b.jsonl", "salvaged": {"row": 12, "byte": 1, "lost": 3000}}
    more = {
        "mixture": {"sources": [SHARES | {"got": 0.4}]},
        "inputs": [salvaged],
        "set_aside": [{"unit": 3, "rows": 1, "error": ""}],
    }
    assert warn(more) == [
        ("Mixture", "a.jsonl is 40.0% of the mixture; asked: 50.0%"),
        ("Damaged file", "b.jsonl is cut short: 3,000 bytes after row 12 were not read"),
        ("Skipped rows", "1 row of unit 3: work on them ended the process"),
    ]


def test_seams_that_the_recipe_keeps() -> None:
    ((_, said),) = warn({"recipe": RECIPE | {"seam": "template"}}, seam_tokens=2)

    assert said.endswith("These tokens are kept and not trained")
