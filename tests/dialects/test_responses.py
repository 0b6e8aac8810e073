"""Items of OpenAI's Responses API as turns."""

from __future__ import annotations

import json
from typing import Any

import pytest
from premask.core.errors import RowError
from premask.core.records import Conversation, Message
from premask.dialects import normalize, recognize_file

USER = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Rome?"}]}
THOUGHT = {"type": "reasoning", "id": "r", "summary": [{"type": "summary_text", "text": "Hm."}]}
SAID = {"type": "message", "role": "assistant", "status": "completed", "content": [{"type": "output_text", "text": "I look.", "annotations": []}]}  # fmt: skip
USE = {"type": "function_call", "id": "fc", "call_id": "c", "name": "f", "arguments": '{"town": "Rome"}'}
RESULT = {"type": "function_call_output", "call_id": "c", "output": "21"}
END = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "21 C."}]}
CALL = {"type": "function", "id": "c", "function": {"name": "f", "arguments": {"town": "Rome"}}}
CALLED = Message("assistant", "I look.", reasoning="Hm.", tool_calls=(CALL, CALL))


def read(row: Any) -> Conversation:
    return normalize(row, recognize_file([row], source="-"))


@pytest.mark.parametrize(
    "row",
    [
        {"input": [USER, THOUGHT, SAID, USE, USE, RESULT], "output": [END]},
        {"input": "Rome?", "output": [THOUGHT, SAID, USE, USE, RESULT, END]},
        {"input": [{"role": "user", "content": "Rome?"}], "output": [THOUGHT, SAID, USE, USE, RESULT, END]},
        {"input": json.dumps([USER, THOUGHT, SAID, USE, USE, RESULT]), "output": json.dumps([END])},
        {"messages": [USER, THOUGHT, SAID, USE, USE, RESULT, END]},
        {"items": [USER, THOUGHT, SAID, USE, USE, RESULT, END]},
        {"input": [USER, THOUGHT, SAID, USE, USE, RESULT], "output": "21 C."},
    ],
)
def test_items_are_turns(row: Any) -> None:
    assert recognize_file([row], source="-") == "responses"
    assert read(row).messages == (
        Message("user", "Rome?"),
        CALLED,
        Message("tool", "21", tool_call_id="c"),
        Message("assistant", "21 C."),
    )


def test_instructions_and_tools() -> None:
    tool = {
        "type": "function",
        "name": "f",
        "description": "d",
        "parameters": {"type": "object"},
        "strict": True,
    }
    row = {"instructions": "Be brief.", "input": "Hi", "output": [END], "tools": [tool], "id": "a"}
    found = read(row)
    function = {key: field for key, field in tool.items() if key != "type"}

    assert found.messages[0] == Message("system", "Be brief.")
    assert found.tools == ({"type": "function", "function": function},)
    assert found.id == "a"


def test_reasoning_between_calls_begins_a_turn() -> None:
    row = {"input": "Rome?", "output": [THOUGHT, USE, RESULT, THOUGHT, THOUGHT, SAID, THOUGHT, SAID]}
    roles = [(each.role, each.reasoning, each.content) for each in read(row).messages]

    assert roles[1:] == [
        ("assistant", "Hm.", None),
        ("tool", None, "21"),
        ("assistant", "Hm.\n\nHm.", "I look."),
        ("assistant", "Hm.", "I look."),
    ]


@pytest.mark.parametrize(
    ("reasoning", "text"),
    [
        ({"summary": []}, None),
        ({"summary": [], "content": [{"type": "reasoning_text", "text": "a"}, {"type": "reasoning_text", "text": "b"}]}, "a\n\nb"),
        ({"summary": [{"type": "summary_text", "text": "s"}], "encrypted_content": "x"}, "s"),
    ],
)  # fmt: skip
def test_the_text_of_reasoning(reasoning: Any, text: str | None) -> None:
    assert (
        read({"input": "Hi", "output": [{"type": "reasoning", **reasoning}, END]}).messages[1].reasoning
        == text
    )


def test_marks_of_items() -> None:
    row = {"input": [USER, {**SAID, "train": False}, USER], "output": [END]}
    assert [each.train for each in read(row).messages] == [None, False, None, None]
    with pytest.raises(RowError, match="item 1 belongs to the turn before, but is marked differently"):
        read({"input": [{**THOUGHT, "train": False}, SAID], "output": [END]})


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"type": "web_search_call"}, "unsupported_content: item 1 is of type 'web_search_call'"),
        ({"type": "reasoning", "summary": [], "encrypted_content": "x"}, "unsupported_content: the reasoning of item 1 is"),
        ({"type": "reasoning", "summary": [5]}, "wrong_type"),
        ({"type": "message", "role": "user"}, "wrong_type: turn 1 (user) has no content"),
        ({"type": "message", "role": "user", "content": [{"type": "input_image"}]}, "unsupported_content"),
        ({"type": "message", "content": "x"}, "wrong_type: turn 1 has no role"),
        ({"type": "function_call", "arguments": "{}"}, "bad_tool_call"),
        ({"type": "function_call", "name": "f", "arguments": "{"}, "bad_tool_call"),
        ({"type": ["x"]}, "unsupported_content"),
        (5, "wrong_type: item 1 is no object"),
        ("text", "wrong_type: item 1 is no object"),
    ],
)  # fmt: skip
def test_items_that_are_refused(item: Any, message: str) -> None:
    with pytest.raises(RowError) as caught:
        read({"input": [USER, item], "output": [END]})
    assert str(caught.value).startswith(message)


def test_a_question_and_an_answer_in_columns_are_no_items() -> None:
    assert recognize_file([{"input": "a", "output": "b"}], source="-") == "question_answer"
    assert recognize_file([{"input": "a", "output": ["b"]}], source="-") == "question_answer"
    turns = [{"role": "user", "content": "a"}], [{"role": "assistant", "content": "b"}]
    assert recognize_file([{"input": turns[0], "output": turns[1]}], source="-") == "question_answer"
