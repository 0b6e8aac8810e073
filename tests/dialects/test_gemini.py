"""Rows of Gemini and of Bedrock Converse: parts that name their type by their key."""

from __future__ import annotations

import json
from typing import Any

import pytest
from premask.core.errors import RowError
from premask.core.records import Conversation, Message
from premask.core.source_entry import FieldMap
from premask.dialects import Form, normalize, recognize_file
from premask.dialects.fields import MappedFields

CALL = {"type": "function", "function": {"name": "f", "arguments": {"town": "Rome"}}}
SCHEMA = {"type": "object", "properties": {"town": {"type": "string", "enum": ["STRING"]}}}
TOOLS = ({"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}},)


def read(row: Any, form: Form | None = None) -> Conversation:
    return normalize(row, form or recognize_file([row], source="-"))


def refused(row: Any) -> str:
    with pytest.raises(RowError) as caught:
        read(row)
    return str(caught.value)


def said(role: str, *parts: Any) -> dict[str, Any]:
    return {"role": role, "parts": [*parts]}


# ==== Gemini ====

TALK = {
    "systemInstruction": {"role": "system", "parts": [{"text": "Be "}, {"text": "brief."}]},
    "contents": [
        said("user", {"text": "Rome?"}),
        said("model", {"text": "Hm.", "thought": True}, {"text": "I look."}, {"functionCall": {"name": "f", "args": {"town": "Rome"}}}),
        said("function", {"functionResponse": {"name": "f", "response": {"temp": 21}}}),
        said("model", {"text": "21 C."}),
    ],
    "tools": [{"functionDeclarations": [{"name": "f", "description": "d", "parameters": {"type": "OBJECT", "properties": {"town": {"type": "STRING", "enum": ["STRING"]}}}}]}],
    "id": "a",
}  # fmt: skip
READ = (
    Message("system", "Be brief."),
    Message("user", "Rome?"),
    Message("assistant", "I look.", reasoning="Hm.", tool_calls=(CALL,)),
    Message("tool", '{"temp": 21}', name="f"),
    Message("assistant", "21 C."),
)


def snake(value: Any) -> Any:
    names = {"systemInstruction": "system_instruction", "functionCall": "function_call"}
    names |= {"functionResponse": "function_response", "functionDeclarations": "function_declarations"}
    if isinstance(value, dict):
        return {names.get(key, key): snake(field) for key, field in value.items()}
    return [snake(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    "row",
    [
        TALK,
        snake(TALK),
        {**TALK, "contents": json.dumps(TALK["contents"])},
        {**TALK, "contents": [json.dumps(turn) for turn in TALK["contents"]]},
    ],
)
def test_gemini_rows(row: Any) -> None:
    assert recognize_file([row], source="-") == "gemini"
    assert read(row).messages == READ
    assert read(row).tools == TOOLS
    assert read(row).id == "a"


@pytest.mark.parametrize(
    "system", ["Be brief.", {"parts": {"text": "Be brief."}}, [{"text": "Be brief."}], {"text": "Be brief."}]
)
def test_system_instructions(system: Any) -> None:
    row = {
        "systemInstruction": system,
        "contents": [said("user", {"text": "a"}), said("model", {"text": "b"})],
    }

    assert read(row).messages[0] == Message("system", "Be brief.")


def test_nulls_that_arrow_fills_in_are_no_parts() -> None:
    nothing = {"text": None, "functionCall": None, "functionResponse": None, "thought": None}
    parts = (
        [{**nothing, "text": "a"}],
        [{**nothing, "functionCall": {"name": "f", "args": {"town": "Rome"}, "id": None}}],
    )
    row = {
        "contents": [said("user", *parts[0]), said("model", *parts[1])],
        "systemInstruction": None,
        "tools": None,
    }

    assert read(row).messages == (Message("user", "a"), Message("assistant", tool_calls=(CALL,)))


def test_fields_read_the_same_parts() -> None:
    form = MappedFields(FieldMap(messages="contents", role="role", content="parts"))

    assert read({"contents": TALK["contents"]}, form).messages == READ[1:]


@pytest.mark.parametrize(
    ("turn", "message"),
    [
        (said("model", {"inlineData": {"mimeType": "image/png", "data": "x"}}), "unsupported_content: turn 1 has a content part without type ('inlineData')"),
        (said("model", {"text": "a", "fileData": {"fileUri": "x"}}), "unsupported_content"),
        (said("model", {"functionCall": {"name": "f"}, "functionResponse": {"name": "f"}}), "unsupported_content"),
        (said("model", {"functionCall": {"name": 3}}), "bad_tool_call"),
        (said("model", {"functionCall": {"name": "f", "args": [1]}}), "bad_tool_call"),
        (said("model", {"functionResponse": {"name": "f"}}), "wrong_type: turn 1 has a tool result but is not the user's"),
        (said("user", {"functionCall": {"name": "f"}}), "unsupported_content: turn 1 (user) has a part that only"),
        (said("narrator", {"text": "a"}), "unknown_role"),
        ({"parts": [{"text": "a"}]}, "wrong_type: turn 1 has no role"),
        ({"role": "user", "parts": None}, "wrong_type: turn 1 (user) has no content"),
        ({"role": "user", "parts": [None]}, "wrong_type"),
        ("text", "wrong_type: turn 1 is a JSON string"),
        (5, "wrong_type: turn 1 is a JSON number"),
    ],
)  # fmt: skip
def test_turns_that_are_refused(turn: Any, message: str) -> None:
    row = {"contents": [said("user", {"text": "a"}), turn, said("model", {"text": "b"})]}

    assert refused(row).startswith(message)


@pytest.mark.parametrize("system", [5, [5], {"parts": [{"inlineData": {}}]}, {"x": 1}])
def test_system_instructions_that_are_refused(system: Any) -> None:
    assert refused(
        {"systemInstruction": system, "contents": [said("user", {"text": "a"}), said("model", {"text": "b"})]}
    )


# ==== Bedrock Converse ====


def test_bedrock_rows() -> None:
    use = {"toolUse": {"toolUseId": "t", "name": "f", "input": {"town": "Rome"}}}
    thought = {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "x"}}}
    result = {
        "toolResult": {
            "toolUseId": "t",
            "content": [{"json": {"temp": 21}}, {"text": "!"}],
            "status": "success",
        }
    }
    spec = {"toolSpec": {"name": "f", "description": "d", "inputSchema": {"json": SCHEMA}}}
    row = {
        "system": [{"text": "Be brief."}],
        "messages": [
            {"role": "user", "content": [{"text": "Rome?"}]},
            {"role": "assistant", "content": [thought, {"text": "I look."}, use]},
            {"role": "user", "content": [result, {"text": "And?"}]},
            {"role": "assistant", "content": [{"text": "21 C."}]},
        ],
        "toolConfig": {"tools": [spec]},
    }
    found = read(row)

    assert found.messages == (
        Message("system", "Be brief."),
        Message("user", "Rome?"),
        Message("assistant", "I look.", reasoning="Hm.", tool_calls=({**CALL, "id": "t"},)),
        Message("tool", '{"temp": 21}!', tool_call_id="t"),
        Message("user", "And?"),
        Message("assistant", "21 C."),
    )
    assert found.tools == TOOLS
    assert read({**row, "toolConfig": json.dumps(row["toolConfig"])}).tools == TOOLS


@pytest.mark.parametrize(
    "part",
    [
        {"reasoningContent": {"redactedContent": "x"}},
        {"image": {"format": "png"}},
        {"guardContent": {"text": {"text": "a"}}},
        {"toolUse": {"toolUseId": "t", "name": "f", "input": 5}},
        {"toolUse": "f"},
    ],
)
def test_bedrock_parts_that_are_refused(part: Any) -> None:
    turns = [{"role": "user", "content": [{"text": "a"}]}, {"role": "assistant", "content": [part]}]

    assert refused({"messages": turns}).startswith(("unsupported_content", "bad_tool_call"))
