"""The reported inputs of the kinds that dialects decide: what is read of each row, or why it is refused."""

from __future__ import annotations

from typing import Any

import pytest
from inputs import rows_of
from places import SHARED
from premask.core.errors import RowError, SourceError
from premask.core.records import Conversation, Message
from premask.core.source_entry import FieldMap
from premask.dialects import Form, normalize, recognize_file
from premask.dialects.fields import MappedFields
from premask.dialects.joined_calls import join_calls

REPORTED = SHARED / "corpus" / "reported"

pytestmark = pytest.mark.skipif(not REPORTED.is_dir(), reason=f"{REPORTED} is not here")

U, A, S = "user", "assistant", "system"


def values_of(name: str) -> list[Any]:
    (file,) = [path for path in (REPORTED / name).iterdir() if path.stem == "data"]
    return [row.value for row in rows_of(file.as_posix())]


def read(name: str, form: Form | None = None) -> list[Conversation]:
    values = values_of(name)
    form = form or recognize_file(values, source=name)
    return [join_calls(normalize(value, form))[0] for value in values]


def texts(name: str) -> list[tuple[str, str | None]]:
    return [(message.role, message.content) for message in read(name)[0].messages]


@pytest.mark.parametrize(
    ("name", "reasoning"),
    [("cot_column", "7 times 8 is 56 because 7*8=56."), ("cot_column3", "7*8 is 56")],
)
def test_a_column_of_reasoning_is_the_answer_s(name: str, reasoning: str) -> None:
    assert read(name)[0].messages[-1] == Message(A, "56", reasoning=reasoning)


def test_fields_that_leave_reasoning_out_are_refused_with_the_line_to_write() -> None:
    both = {"user": "problem", "assistant": "deepseek_solution"}
    with pytest.raises(RowError, match="add reasoning: deepseek_reasoning"):
        read("cot_fields", MappedFields(FieldMap(**both)))
    found = read("cot_fields", MappedFields(FieldMap(**both, reasoning="deepseek_reasoning")))

    assert found[0].messages[-1] == Message(A, "Lima", reasoning="think capital of Peru?")


def test_the_advice_names_the_reasoning() -> None:
    line = "fields: {user: problem, assistant: deepseek_solution, reasoning: deepseek_reasoning}"
    with pytest.raises(SourceError, match=line):
        read("cot_openthoughts")


def test_choices_are_not_left_out() -> None:
    with pytest.raises(RowError, match="'choices' is beside the question"):
        read("mc_fields", MappedFields(FieldMap(user="question", assistant="answerKey")))
    with pytest.raises(SourceError, match="its choices are in 'choices'"):
        read("mc_letters")


def test_calls_in_an_answer_column_are_calls() -> None:
    (found,) = read("xlam")
    call = {"type": "function", "function": {"name": "get_temp", "arguments": {"town": "Rome"}}}

    assert found.messages[-1] == Message(A, tool_calls=(call,))
    assert found.tools is not None


@pytest.mark.parametrize("name", ["datasets_json", "tools_list_of_strings"])
def test_elements_of_lists_that_are_json_within_strings(name: str) -> None:
    found = read(name)[0]
    called = [message for message in found.messages if message.tool_calls]

    assert [message.role for message in found.messages] == [U, A, "tool", A]
    assert called[0].tool_calls[0]["function"] == {"name": "get_temp", "arguments": {"town": "Rome"}}
    assert found.tools is not None
    assert found.tools[0]["function"]["parameters"]["required"] == ["town"]


@pytest.mark.parametrize(
    ("name", "said"),
    [("dict_of_lists", "b."), ("dict_of_lists2", "b."), ("dict_of_lists6", "Lima")],
)
def test_columns_of_lists_are_turns(name: str, said: str) -> None:
    assert [role for role, _ in texts(name)] == [U, A]
    assert texts(name)[1] == (A, said)


def test_integers_are_their_decimal_text() -> None:
    assert [found.messages[-1] for found in read("json_num")] == [Message(A, "5"), Message(A, "1")]


def test_empty_arguments_are_none() -> None:
    (call,) = read("args_empty_string")[0].messages[1].tool_calls

    assert call["function"] == {"name": "ping", "arguments": {}}


def test_roles_of_other_spellings() -> None:
    assert texts("role_chatbot") == [(S, "Be kind"), (U, "a"), (A, "b")]
    assert texts("swift_tool_roles") == [(U, "t?"), (A, None), ("tool", "21"), (A, "21 C")]
    assert len(read("swift_tool_roles")[0].messages[1].tool_calls) == 1


def test_a_text_and_the_call_after_it_are_one_turn() -> None:
    found = read("sharegpt_text_and_call")[0].messages

    assert [message.role for message in found] == [U, A, "tool", A]
    assert found[1].content == "Let me look."
    assert found[1].tool_calls[0]["function"]["name"] == "get_temp"


def test_gemini_rows() -> None:
    assert texts("gemini") == [(S, "Be brief"), (U, "a"), (A, "b")]
    assert texts("gemini6") == [(U, "capital of Peru?"), (A, "Lima")]
    roles = {"user": "user", "model": "assistant"}
    form = MappedFields(FieldMap(messages="contents", role="role", content="parts", roles=roles))

    assert read("gemini_fields", form)[0].messages[1] == Message(A, "Lima")


def test_glaive_transcripts() -> None:
    (found,) = read("glaive_v2")

    assert (
        texts("glaive6")
        == texts("glaive_fields")
        == [(S, "You are helpful"), (U, "capital of Peru?"), (A, "Lima")]
    )
    assert [(each.role, each.content) for each in found.messages[1:]] == [
        (U, "Rate?"),
        (A, None),
        ("tool", '{"r": 1}'),
        (A, "It is 1."),
    ]
    assert found.messages[2].tool_calls[0]["function"] == {"name": "f", "arguments": {}}
    assert found.tools == ({"type": "function", "function": {"name": "f"}},)


def test_an_export_of_chatgpt() -> None:
    assert texts("chatgpt_export") == [(U, "a"), (A, "b")]
