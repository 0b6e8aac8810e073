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
