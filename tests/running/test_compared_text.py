"""Which texts of a row are compared: the same of a shape and of a conversation."""

from __future__ import annotations

from typing import Any

import pytest
from premask.core.comparing import Over
from premask.core.recipe import Train
from premask.core.records import Conversation, Message, Stretch
from premask.core.shapes import shape_of
from premask.running.compared_text import ComparedText

CALL = {"type": "function", "id": "7", "function": {"name": "look", "arguments": {"at": "it"}}}
CHAT = (
    Message("system", "You are."),
    Message("user", "Hi", name="Ann"),
    Message("assistant", "Ho", reasoning="because", train=False),
    Message("user", "More"),
    Message("assistant", "I look", tool_calls=(CALL,)),
    Message("tool", "seen", tool_call_id="7"),
    Message("assistant", "Done", reasoning="seen it"),
)
TOOLS = ({"name": "look"},)


@pytest.mark.parametrize(
    ("over", "train", "expected"),
    [
        (
            Over.conversation,
            {},
            ["Hi", "Ho", "because", "More", "I look", "look", '{"at": "it"}', "seen", "Done", "seen it"],
        ),
        (Over.trained_text, {}, ["I look", "look", '{"at": "it"}', "Done", "seen it"]),
        (Over.trained_text, {"reasoning": False, "tool_calls": False}, ["I look", "Done"]),
        (Over.trained_text, {"turns": "last", "text": False}, ["seen it"]),
        (Over.trained_text, {"roles": ["tool", "user"]}, ["Hi", "More", "seen"]),
    ],
)
def test_the_texts_of_a_row(over: Over, train: dict[str, Any], expected: list[str]) -> None:
    compared = ComparedText(over, Train(**train))
    conversation = Conversation(CHAT, TOOLS)
    shaped = shape_of(conversation)
    assert shaped is not None

    assert compared.of_shape(*shaped) == expected
    assert compared.of_shape(*shaped) == expected, "the second time from what is remembered"
    assert compared.of_conversations([conversation]) == expected


def test_a_document_and_a_row_with_several_conversations() -> None:
    compared = ComparedText(Over.trained_text, Train())
    marked = Message("assistant", "Ho", stretches=(Stretch(2),), extra={"x": 1})

    assert compared.of_conversations([Conversation((), document="a text")]) == ["a text"]
    assert compared.of_conversations([Conversation((marked,)), Conversation((marked,))]) == ["Ho", "Ho"]
