"""Columns beside a question and its answer: reasoning becomes the answer's, choices are never left out."""

from __future__ import annotations

from typing import Any

import pytest
from premask.core.errors import RowError, SourceError
from premask.core.records import Message
from premask.core.source_entry import FieldMap
from premask.dialects import Form, normalize, openai, recognize_file
from premask.dialects.fields import MappedFields
from premask.dialects.plain import plain_row


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


# ==== Nothing is left out ====


def turns(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(texts)]


def contents(row: Any) -> list[str | None]:
    return [message.content for message in normalize(row, recognize_file([row], source="-")).messages]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"query": "Q", "history": turns("h", "i"), "response": "A"}, ["h", "i", "Q", "A"]),
        ({"question": "Q", "chat_history": turns("h", "i"), "answer": "A"}, ["h", "i", "Q", "A"]),
        ({"messages": turns("q", "a", "r"), "response": "A"}, ["q", "a", "r", "A"]),
        ({"conversations": [{"from": "human", "value": "q"}], "target": "A"}, ["q", "A"]),
        ({"instruction": "I", "question": "Q", "answer": "A"}, ["I\n\nQ", "A"]),
        ({"instruction": "I", "input": "N", "context": "C", "output": "A"}, ["I\n\nC\n\nN", "A"]),
        ({"prompt": "P", "input": "N", "completion": "A"}, ["P\n\nN", "A"]),
        ({"question": "Q", "context": "C", "input": "N", "answer": "A"}, ["Q\n\nC\n\nN", "A"]),
        ({"question": "Q", "passage": "P", "answer": "A"}, ["Q\n\nP", "A"]),
    ],
)
def test_columns_whose_meaning_is_certain_are_read(row: Any, expected: list[str]) -> None:
    assert contents(row) == expected


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"messages": turns("q", "a"), "response": "B"}, "response"),
        ({"messages": turns("q", "a", "r", "b"), "reasoning": "R"}, "reasoning"),
        ({"messages": turns("q", "a"), "choices": ["x", "y"]}, "choices"),
        ({"messages": turns("q", "a"), "available_tools": [{"name": "f"}]}, "available_tools"),
        ({"question": "q", "answer": "a", "explanation": "so"}, "explanation"),
        ({"question": "q", "answer": "one", "response": "two"}, "response"),
        ({"prompt": "q", "completion": "one", "response": "two"}, "response"),
        ({"question": "q", "A": "x", "B": "y", "answer": "A"}, "a"),
        ({"question": "q", "possible_answers": ["x"], "answer": "a"}, "possible_answers"),
        ({"query": "q", "answers": [{"name": "f", "arguments": {}}], "answer": "a", "tools": [{"name": "f"}]}, "answers"),
    ],
)  # fmt: skip
def test_other_columns_with_text_are_refused(row: Any, name: str) -> None:
    said = refused(row)

    assert said.startswith(f"unsupported_content: '{name}' is beside the ")
    assert "would be left out" in said


@pytest.mark.parametrize(
    "row",
    [
        {"problem": "q", "solution": "So it is a.", "answer": "12"},
        {"messages": turns("q", "a"), "prompt": "q", "solution": "s", "answer": "9", "source": "x", "title": "t"},
        {"instruction": "Add.", "input": "1+1", "output": "2", "prompt": "Below:\nAdd.\n#\n1+1\n#\n2"},
        {"prompt": "\n\nHuman: Hi\n\nAssistant:", "completion": "x"},
        {"question": "q", "context": "c", "answers": {"text": ["a", "b"], "answer_start": [0, 1]}, "title": "t"},
        {"messages": turns("q", "a"), "reasoning": "on", "judge_reasoning": "good", "category": "x"},
    ],
)  # fmt: skip
def test_metadata_and_what_was_read_are_no_loss(row: Any) -> None:
    assert answer(row).role == "assistant"


@pytest.mark.parametrize(
    "row",
    [
        {"messages": turns("7 * 8?", "56"), "reasoning": "Hm."},
        {"messages": turns("7 * 8?"), "reasoning": "Hm.", "answer": "56"},
        {"text": "\n\nHuman: 7 * 8?\n\nAssistant: 56", "cot": "Hm."},
        {"question": "7 * 8?", "answer": {"text": "56", "reasoning": "Hm."}},
        {"question": "7 * 8?", "answers": [{"text": "56", "rationale": "Hm."}]},
    ],
)
def test_reasoning_beside_one_answer_is_its_own(row: Any) -> None:
    assert answer(row) == Message("assistant", "56", reasoning="Hm.")


def test_reasoning_is_not_taken_for_a_part_of_a_word() -> None:
    assert answer({"question": "7 * 8?", "answer": "56", "reasoning": "5"}).reasoning == "5"


def test_a_row_with_such_a_column_is_not_plain() -> None:
    assert plain_row({"messages": turns("q", "a"), "source": "x", "response": ""}, openai.PLAIN) is not None
    assert plain_row({"messages": turns("q", "a"), "response": "b"}, openai.PLAIN) is None


@pytest.mark.parametrize(
    "beside",
    [
        *({key: "Hm."} for key in ("cot", "rationale", "thought", "analysis", "reasoning_text")),
        {"reasoning_details": [{"type": "reasoning.text", "text": "Hm."}]},
        {"reasoning_details": [{"type": "reasoning.summary", "summary": "Hm."}], "reasoning": "Hm."},
        {"thought": "Hm.", "reasoning_content": "Hm."},
    ],
)
def test_reasoning_in_a_turn_under_a_seldom_key_is_read(beside: dict[str, Any]) -> None:
    row = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", **beside}]}

    assert answer(row) == Message("assistant", "a", reasoning="Hm.")
    assert plain_row(row, openai.PLAIN) is None


def test_reasoning_of_a_turn_that_cannot_be_placed_is_refused() -> None:
    both = {"role": "assistant", "content": "a", "thought": "Hm.", "analysis": "Oh."}

    assert "turn 1 has two reasonings" in refused({"messages": [{"role": "user", "content": "q"}, both]})


def test_a_single_call_of_a_turn_is_read() -> None:
    turn = {"role": "assistant", "content": "a", "tool_call": {"name": "f", "arguments": {}}}

    assert answer({"messages": [{"role": "user", "content": "q"}, turn]}).tool_calls == (
        {"type": "function", "function": {"name": "f", "arguments": {}}},
    )


def test_the_advice_names_no_wrong_answer() -> None:
    with pytest.raises(SourceError) as caught:
        recognize_file([{"q1": "x", "incorrect_answers": "b", "rejected_response": "c"}], source="-")

    assert "assistant: COLUMN" in str(caught.value)
