"""Tool calls that are written as JSON in an answer column: calls if the row has tools, else text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from premask.core.errors import RowError
from premask.core.records import Message
from premask.core.source_entry import FieldMap
from premask.dialects import Form, normalize, recognize_file
from premask.dialects.fields import MappedFields

TOOLS = [{"name": "f", "parameters": {"type": "object"}}]
CALL = {"name": "f", "arguments": {"a": 1}}
READ = {"type": "function", "function": CALL}


def answer(row: Any, form: Form | None = None) -> Message:
    return normalize(row, form or recognize_file([row], source="-")).messages[-1]


WRITTEN: list[Any] = [
    json.dumps([CALL]),
    json.dumps(CALL),
    [CALL],
    f" {json.dumps([CALL], indent=1)}\n",
    f"```json\n{json.dumps([CALL])}\n```",
    json.dumps([{"name": "f", "arguments": json.dumps(CALL["arguments"])}]),
    json.dumps([{"name": "f", "parameters": CALL["arguments"]}]),
    json.dumps([{"type": "function", "function": CALL}]),
]


@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize("tools", [TOOLS, json.dumps(TOOLS)])
def test_calls_are_calls_where_the_row_has_tools(written: Any, tools: Any) -> None:
    row = {"query": "?", "answers": written, "tools": tools}
    (call,) = answer(row).tool_calls

    assert call["function"] == CALL
    assert answer(row).content is None
    assert answer(row, MappedFields(FieldMap(user="query", assistant="answers"))).tool_calls == (call,)


@pytest.mark.parametrize(
    "row",
    [
        {"instruction": "?", "input": "", "output": json.dumps([CALL]), "tools": TOOLS},
        {"prompt": "?", "completion": json.dumps([CALL]), "tools": TOOLS},
        {"prompt": "?", "chosen": json.dumps([CALL]), "rejected": "x", "tools": TOOLS},
        {"prompt": "?", "completion": json.dumps([CALL]), "label": True, "tools": TOOLS},
    ],
)
def test_they_are_read_in_every_format_of_columns(row: Any) -> None:
    assert answer(row) == Message("assistant", tool_calls=(READ,))


def test_several_calls_and_their_reasoning() -> None:
    row = {"query": "?", "answers": json.dumps([CALL, CALL]), "cot": "Two of them.", "tools": TOOLS}

    assert answer(row) == Message("assistant", None, reasoning="Two of them.", tool_calls=(READ, READ))


@pytest.mark.parametrize(
    "text", ["It is 1.", "[1, 2]", '[{"city": "Rome"}]', '{"name": "Rome"}', "[see f]", ""]
)
def test_other_answers_stay_text(text: str) -> None:
    row = {"query": "?", "answers": text or "x", "tools": TOOLS}

    assert answer(row) == Message("assistant", text or "x")


def test_without_tools_calls_stay_text() -> None:
    row = {"query": "?", "answers": json.dumps([CALL])}

    assert answer(row) == Message("assistant", json.dumps([CALL]))
    assert answer({**row, "tools": []}).tool_calls == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"name": "f", "arguments": {"a": 1}', "bad_tool_call: a tool call of the answer cannot be read: it is not valid"),
        ("[{'name': 'f', 'arguments': {'a': 1}}]", "bad_tool_call"),
        ('[{"name": "f", "arguments": 3}]', "bad_tool_call: a tool call of the answer cannot be read: its arguments are"),
        ("[]", "empty_assistant: the answer is an empty list of tool calls"),
    ],
)  # fmt: skip
def test_calls_that_cannot_be_read_are_refused(text: str, message: str) -> None:
    with pytest.raises(RowError) as caught:
        answer({"query": "?", "answers": text, "tools": TOOLS})
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "written",
    [
        [{"f": {"a": 1}}],
        [{"function": "f", "arguments": {"a": 1}}],
        [{"tool_name": "f", "tool_input": {"a": 1}}],
        {"tool_calls": [{"name": "f", "arguments": {"a": 1}}]},
    ],
)
def test_calls_in_other_shapes_are_calls(written: Any) -> None:
    row = {"query": "?", "answers": json.dumps(written), "tools": [{"name": "f", "parameters": {}}]}

    assert answer(row).tool_calls == ({"type": "function", "function": {"name": "f", "arguments": {"a": 1}}},)
