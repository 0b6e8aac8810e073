"""The reported inputs of kinds K1, K7 and K15: what is lost, what contradicts the prompt, what is put together."""

from __future__ import annotations

from pathlib import Path

import pytest
from inputs import rows_of
from labelling import kept, masked, rejected
from places import SHARED, MakeLabeller
from premask.core.records import Row

REPORTED = SHARED / "corpus" / "reported"
GPT_OSS = next((SHARED / "corpus").glob("templates_2026/*/*openai-gpt-oss*.jinja"), Path())

pytestmark = pytest.mark.skipif(not REPORTED.is_dir(), reason=f"{REPORTED} is not here")

LOST = {
    "dsr1_history": "content of message 3 (assistant)",
    "g_kimi_reasoning": "reasoning of message 1 (assistant)",
    "harmony_dev": "content of message 1 (developer)",
    "k_reason_phi4": "reasoning of message 1 (assistant)",
    "k_think_cut": "content of message 1 (assistant)",
    "k_tool_lost": "content of message 2 (tool)",
    "kimi_reasoning": "reasoning of message 1 (assistant)",
    "olmo_thinker_rc": "reasoning of message 1 (assistant)",
}


def row_of(name: str) -> Row:
    return rows_of((REPORTED / name / "data.jsonl").as_posix())[0]


def template_of(name: str) -> str:
    return next((REPORTED / name).glob("*.jinja"), GPT_OSS).as_posix()


@pytest.mark.parametrize("name", LOST)
def test_text_that_the_template_does_not_print_refuses_the_row(
    make_labeller: MakeLabeller, name: str
) -> None:
    line = rejected(make_labeller("qwen3", chat_template=template_of(name)), row_of(name), "openai")

    assert line.reason == "content_dropped"
    assert LOST[name] in line.detail


@pytest.mark.parametrize("name", LOST)
def test_it_is_counted_where_the_recipe_says_so(make_labeller: MakeLabeller, name: str) -> None:
    labeller = make_labeller(
        "qwen3", chat_template=template_of(name), on_dropped="count", open_reasoning="compose"
    )
    counts = kept(labeller, row_of(name), "openai")[0].sample.counts

    assert counts[f"dropped_{LOST[name].partition(' ')[0]}"] >= 1


@pytest.mark.parametrize("name", ["kimi_name", "g_kimi_name"])
def test_another_header_than_that_of_the_prompt_refuses_the_row(
    make_labeller: MakeLabeller, name: str
) -> None:
    line = rejected(make_labeller("qwen3", chat_template=template_of(name)), row_of(name), "openai")

    assert line.reason == "prompt_mismatch"
    assert "assistant<|im_middle|>" in line.detail


def test_a_tool_turn_that_history_shortens_is_put_together(make_labeller: MakeLabeller) -> None:
    """gpt-oss hides the analysis of a tool turn once the final answer is there."""
    (sample,) = kept(
        make_labeller("qwen3", chat_template=GPT_OSS.as_posix()), row_of("harmony_tool"), "openai"
    )
    called, answered = masked(sample)

    assert sample.sample.proof == "composed"
    assert called.startswith("<|channel|>analysis<|message|>need it<|end|>")
    assert called.endswith("<|call|>")
    assert answered == "<|channel|>final<|message|>21 C<|return|>"
