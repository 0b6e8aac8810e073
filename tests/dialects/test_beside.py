"""Columns beside a question and its answer: reasoning becomes the answer's, choices are never left out."""

from __future__ import annotations

from typing import Any

import pytest
from premask.core.errors import RowError, SourceError
from premask.core.records import Message
from premask.core.source_entry import FieldMap
from premask.dialects import Form, normalize, recognize_file
from premask.dialects.fields import MappedFields


def answer(row: Any, form: Form | None = None) -> Message:
    return normalize(row, form or recognize_file([row], source="-")).messages[-1]


def refused(row: Any, form: Form | None = None) -> str:
    with pytest.raises(RowError) as caught:
        answer(row, form)
    return str(caught.value)


def mapped(**fields: Any) -> MappedFields:
    return MappedFields(FieldMap(**fields))


@pytest.mark.parametrize(
    "name",
    [
        *(
            "Complex_CoT",
            "reasoning",
            "reasoning_content",
            "thinking",
            "cot",
            "rationale",
            "chain_of_thought",
        ),
        *(
            "deepseek_reasoning",
            "gemini_thinking_trajectory",
            "long-cot",
            "Reasoning Trace",
            "thought process",
        ),
    ],
)
def test_a_column_of_reasoning_is_the_reasoning_of_the_answer(name: str) -> None:
    row = {"question": "7 * 8?", name: "7 * 8 is 56.", "answer": "56"}

    assert answer(row) == Message("assistant", "56", reasoning="7 * 8 is 56.")


@pytest.mark.parametrize(
    "row",
    [
        {"instruction": "7 * 8?", "input": "", "cot": "Hm.", "output": "56"},
        {"prompt": "7 * 8?", "reasoning_content": "Hm.", "completion": "56"},
        {"prompt": "7 * 8?", "chosen_reasoning": "Hm.", "rejected_reasoning": "No.", "chosen": "56", "rejected": "1"},
        {"conversation": [{"human": "7 * 8?", "thinking": "Hm.", "assistant": "56"}]},
        {"source": "7 * 8?", "rationale": "<think>\nHm.\n</think>", "target": "56"},
        {"question": "7 * 8?", "reasoning": "Hm.", "cot": "Hm.", "answer": "<think>\nHm.\n</think>\n\n56"},
        {"prompt": [{"role": "user", "content": "7 * 8?"}], "thinking": "Hm.", "completion": [{"role": "assistant", "content": "56"}]},
    ],
)  # fmt: skip
def test_it_is_read_in_every_format_of_columns(row: Any) -> None:
    found = answer(row)

    assert (found.content or "").replace("<think>\nHm.\n</think>\n\n", "") == "56"
    assert found.reasoning == "Hm." or "Hm." in (found.content or "")


@pytest.mark.parametrize(
    "beside",
    [
        *({"reasoning": "on"}, {"reasoning": True}, {"reasoning": None}, {"thinking": " "}, {"cot": []}),
        *({"type_of_reasoning": "deductive"}, {"reasoning_tokens": 12}, {"has_cot": "yes, it has"}),
        {"reasoning": "Say 56 now"},  # the answer holds it
    ],
)
def test_what_is_no_reasoning_stays_out(beside: Any) -> None:
    row = {"question": "7 * 8?", "answer": "Say 56 now, or later.", **beside}

    assert answer(row) == Message("assistant", "Say 56 now, or later.")


def test_reasoning_that_cannot_be_placed_is_refused() -> None:
    pair = {"question": "7 * 8?", "answer": "56"}

    assert "'cot' and 'thinking' both look like" in refused({**pair, "cot": "a b", "thinking": "c d"})
    assert "reasoning: cot" in refused({**pair, "cot": "a b", "thinking": "c d"})
    assert "'cot' looks like the reasoning of the answer, but is a JSON array" in refused(
        {**pair, "cot": ["a"]}
    )
    assert "the row has 2 of them" in refused({"question": "a", "answers": ["b", "c"], "cot": "d e"})
    assert "its reasoning twice" in refused({**pair, "answer": "<think>x</think>56", "cot": "d e"})


def test_fields_name_the_reasoning_or_the_row_is_refused() -> None:
    row = {"problem": "7 * 8?", "deepseek_reasoning": "Hm.", "deepseek_solution": "56"}
    both = {"user": "problem", "assistant": "deepseek_solution"}

    assert answer(row, mapped(**both, reasoning="deepseek_reasoning")).reasoning == "Hm."
    assert "add reasoning: deepseek_reasoning" in refused(row, mapped(**both))
    assert (
        answer({**row, "deepseek_reasoning": None}, mapped(**both, reasoning="deepseek_reasoning")).reasoning
        is None
    )
    nested = {"q": "7 * 8?", "message": {"content": "56", "reasoning": "Hm."}}
    assert "add reasoning: message.reasoning" in refused(
        nested, mapped(user="q", assistant="message.content")
    )
    assert "a JSON array, not a string" in refused(
        {**row, "deepseek_reasoning": ["x"]}, mapped(**both, reasoning="deepseek_reasoning")
    )


def test_fields_name_the_reasoning_within_a_turn() -> None:
    turns = [{"who": "A", "text": "7 * 8?"}, {"who": "B", "text": "56", "why": "Hm."}]
    form = mapped(
        messages="log", role="who", content="text", reasoning="why", roles={"A": "user", "B": "assistant"}
    )

    assert answer({"log": turns}, form).reasoning == "Hm."


CHOICES: list[dict[str, Any]] = [
    *({key: ["x", "y"]} for key in ("choices", "options", "candidates", "answer_choices", "endings")),
    {"choices": {"text": ["x", "y"], "label": ["A", "B"]}},
    {"A": "x", "B": "y", "C": "z", "D": "w"},
    {"option_a": "x", "option_b": "y"},
    {"opa": "x", "opb": "y"},
    {"distractor1": "x", "distractor2": "y"},
]


@pytest.mark.parametrize("choices", CHOICES)
def test_choices_beside_a_question_are_never_left_out(choices: dict[str, Any]) -> None:
    row = {"question": "Which?", **choices, "answer": "B"}

    assert "is beside the question and would be left out" in refused(row)
    assert "is beside the question and would be left out" in refused(
        row, mapped(user="question", assistant="answer")
    )


def test_choices_that_the_fields_read_are_not_left_out() -> None:
    row = {"ask": "Hi", "choices": [{"message": {"content": "Hello"}}]}

    assert answer(row, mapped(user="ask", assistant="choices[0].message.content")).content == "Hello"


@pytest.mark.parametrize("choices", CHOICES[:6])
def test_the_advice_leads_to_no_loss(choices: dict[str, Any]) -> None:
    row = {"question": "Which?", **choices, "answerKey": "B"}
    with pytest.raises(SourceError) as caught:
        recognize_file([row], source="a.jsonl")

    assert "its choices are in" in str(caught.value)
    assert "fields:" not in str(caught.value)


def test_the_advice_names_the_reasoning() -> None:
    row = {"problem": "7 * 8?", "deepseek_reasoning": "Hm.", "deepseek_solution": "56"}
    with pytest.raises(SourceError, match="assistant: deepseek_solution, reasoning: deepseek_reasoning}"):
        recognize_file([row], source="a.jsonl")
