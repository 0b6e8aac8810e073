"""One table of role names for all dialects, and turns that are tool calls."""

from __future__ import annotations

import json
from typing import Any

import pytest
from premask.core.errors import RowError
from premask.core.records import Message
from premask.core.source_entry import FieldMap
from premask.dialects import Form, normalize, recognize_file
from premask.dialects.fields import MappedFields
from premask.dialects.joined_calls import join_calls
from premask.dialects.role_names import ROLE_NAMES

CALL = {"name": "f", "arguments": {"town": "Rome"}}
READ = {"type": "function", "function": CALL}


def rows(turns: list[tuple[str, Any]]) -> list[tuple[Form, Any]]:
    """The same turns in several spellings."""
    return [
        ("openai", {"messages": [{"role": role, "content": text} for role, text in turns]}),
        ("sharegpt", {"conversations": [{"from": role, "value": text} for role, text in turns]}),
        ("sharegpt", {"messages": [{"role": role, "value": text} for role, text in turns]}),
        (
            MappedFields(FieldMap(messages="log", role="who", content="said")),
            {"log": [{"who": role, "said": text} for role, text in turns]},
        ),
    ]


@pytest.mark.parametrize("name", ROLE_NAMES)
def test_every_dialect_knows_every_name(name: str) -> None:
    said = json.dumps(CALL) if ROLE_NAMES[name] == "tool_call" else "x"
    turns = [("system", "s"), ("user", "a"), (f" {name.title()}", said), ("assistant", "b")]
    for form, row in rows(turns):
        found = normalize(row, form).messages[2]
        if ROLE_NAMES[name] == "tool_call":
            assert found == Message("assistant", tool_calls=(READ,))
        else:
            assert found == Message(ROLE_NAMES[name], "x")


def test_cohere_s_names_with_a_system_text() -> None:
    turns = [("System", "s"), ("User", "a"), ("Chatbot", "b")]
    for form, row in rows(turns):
        assert [message.role for message in normalize(row, form).messages] == ["system", "user", "assistant"]
        if isinstance(form, str):
            assert recognize_file([row], source="-") == form


@pytest.mark.parametrize(
    "called",
    [json.dumps(CALL), json.dumps([CALL]), CALL, [CALL], [{"type": "text", "text": json.dumps(CALL)}]],
)
def test_turns_that_are_calls(called: Any) -> None:
    turns = [
        ("user", "a"),
        ("assistant", "I look."),
        ("tool_call", called),
        ("tool_call", called),
        ("tool_response", "21"),
        ("assistant", "b"),
    ]
    for form, row in rows(turns):
        found = join_calls(normalize(row, form))[0].messages

        assert found[1:3] == (Message("assistant", "I look.", tool_calls=(READ, READ)), Message("tool", "21"))


def test_a_turn_of_calls_that_has_them_beside_its_text() -> None:
    turn = {"role": "tool_call", "content": "", "tool_calls": [CALL]}
    row = {"messages": [{"role": "user", "content": "a"}, turn]}

    assert normalize(row, "openai").messages[1] == Message("assistant", tool_calls=(READ,))


def test_fields_name_a_speaker_whose_text_is_calls() -> None:
    roles = {"A": "user", "B": "assistant", "caller": "tool_call"}
    form = MappedFields(FieldMap(messages="log", role="who", content="said", roles=roles))
    log = [("A", "a"), ("caller", json.dumps(CALL)), ("B", "b")]
    row = {"log": [{"who": who, "said": said} for who, said in log]}

    assert normalize(row, form).messages[1] == Message("assistant", tool_calls=(READ,))


@pytest.mark.parametrize("text", ["look it up", "[1]", "5"])
def test_calls_that_cannot_be_read_are_refused(text: str) -> None:
    for form, row in rows([("user", "a"), ("tool_call", text)]):
        with pytest.raises(RowError, match="bad_tool_call"):
            normalize(row, form)


def test_an_unknown_name_shows_the_way_forward() -> None:
    for form, row in rows([("user", "a"), ("Narrator", "b"), ("assistant", "c")]):
        with pytest.raises(RowError, match="unknown_role") as caught:
            normalize(row, form)
        assert "fields: {messages: PATH, roles: {'Narrator': user, NAME: assistant}}" in str(caught.value)
        assert "known roles: system, developer, user, assistant, tool, tool_call;" in str(caught.value)
