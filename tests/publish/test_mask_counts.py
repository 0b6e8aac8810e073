"""Counts of the mask in words: each is a sentence, and what was not counted is not mentioned."""

from __future__ import annotations

from typing import Any

import pytest
from premask.core.records import PROOFS
from premask.publish.mask_counts import PROOF_WORDS, mask_notes


def test_every_proof_has_words() -> None:
    assert set(PROOF_WORDS) == set(PROOFS)


@pytest.mark.parametrize(
    ("counts", "notes"),
    [
        ({}, []),
        ({"dropped_fields": {}, "turns_left_out": {"empty": 0}, "turns_behind_another_prompt": 0}, []),
        (
            {"turns_behind_another_prompt": 1},
            ["1 turn is trained behind another prompt than inference shows"],
        ),
        (
            {"unclosed_reasoning": 2},
            ["2 trained turns open a block of reasoning and never close it: they may be cut off"],
        ),
        ({"turns_left_out": {"empty": 1200}}, ["1,200 empty turns are left out of the loss"]),
        (
            {"turns_left_out": {"opening": 2}},
            ["2 turns that open their conversation are left out of the loss: no prompt leads to them"],
        ),
        (
            {"dropped_fields": {"name": 1, "tool_calls": 3, "new_field": 2, "content": 0}},
            ["the template does not print all of 3 lists of tool calls, 2 new field, 1 name"],
        ),
        (
            {"template_modes": {"thinking_mode": {"chat": 2}, "enable_thinking": {"false": 1, "true": 1}}},
            [
                "enable_thinking (auto) is false for 1 and true for 1 conversations",
                "thinking_mode (auto) is chat for 2 conversations",
            ],
        ),
    ],
)
def test_each_count_is_a_sentence(counts: dict[str, Any], notes: list[str]) -> None:
    assert mask_notes({}, counts) == notes


HISTORY = "history leaves out the reasoning of 2 earlier turns"


@pytest.mark.parametrize(
    ("recipe", "note"),
    [
        ({"on_dropped": "reject"}, f"{HISTORY}; each trained turn has its own, in its own sample"),
        ({"history": "last"}, HISTORY),
        ({"history": "as-rendered"}, HISTORY),
        ({"on_dropped": "count"}, "the template does not print all of 2 reasoning texts"),
    ],
)
def test_reasoning_that_only_history_leaves_out_is_not_lost(recipe: dict[str, Any], note: str) -> None:
    assert mask_notes(recipe, {"dropped_fields": {"reasoning": 2}}) == [note]
