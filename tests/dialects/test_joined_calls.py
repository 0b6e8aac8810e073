"""Calls that are turns of their own are one turn with what the assistant says before them; nothing else is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from premask.core.errors import RowError
from premask.core.records import Conversation, Message, Stretch
from premask.dialects import normalize
from premask.dialects.joined_calls import join_calls

USER = Message("user", "t?")


def call(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": {}}}


def said(text: str | None = "Let me look.", *names: str, **fields: Any) -> Message:
    return Message("assistant", text, tool_calls=tuple(map(call, names)), **fields)


RESULT = Message("tool", "21")


def joined(*messages: Message) -> tuple[Message, ...]:
    return join_calls(Conversation(messages))[0].messages


def test_the_row_of_the_report() -> None:
    """Kind K14: ShareGPT's text and function_call."""
    turns = [
        {"from": "human", "value": "t?"},
        {"from": "gpt", "value": "Let me look."},
        {"from": "function_call", "value": json.dumps({"name": "f", "arguments": {}})},
        {"from": "observation", "value": "21"},
        {"from": "gpt", "value": "21 C"},
    ]
    conversation, names = join_calls(normalize({"conversations": turns}, "sharegpt"))

    assert names == ("joined_calls",)
    assert conversation.messages == (USER, said("Let me look.", "f"), RESULT, Message("assistant", "21 C"))


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([said("a"), said(None, "f")], [said("a", "f")]),
        ([said("a"), said("", "f"), said(" \n", "g")], [said("a", "f", "g")]),
        ([said(None, "f"), said(None, "g")], [said(None, "f", "g")]),
        ([said("a", "f", reasoning="r"), said(None, "g")], [said("a", "f", "g", reasoning="r")]),
        ([said("a", reasoning="r"), said(None, "f")], [said("a", "f", reasoning="r")]),
        ([said("a", name="n"), said(None, "f")], [said("a", "f", name="n")]),
        ([said("a"), said(None, "f", extra={"x": 1})], [said("a", "f", extra={"x": 1})]),
        ([said("a", train=False), said(None, "f", train=False)], [said("a", "f", train=False)]),
        ([said("a", train=True), said(None, "f")], [said("a", "f", train=True)]),
        ([said("a", stretches=(Stretch(1),)), said(None, "f")], [said("a", "f", stretches=(Stretch(1),))]),
    ],
)
def test_what_is_joined(messages: list[Message], expected: list[Message]) -> None:
    assert joined(USER, *messages, RESULT) == (USER, *expected, RESULT)


@pytest.mark.parametrize(
    "messages",
    [
        [said("a"), said("b")],
        [said("a"), said("b", "f")],
        [said(None, "f"), said("b")],
        [said("a"), said(None, "f", reasoning="r")],
        [said(None, "f"), RESULT, said(None, "g")],
        [said("a"), USER, said(None, "f")],
        [said(None), said(None, "f")],
        [said("a", name="n"), said(None, "f", name="m")],
        [said("a", extra={"x": 2}), said(None, "f", extra={"x": 1})],
        [USER, said(None, "f")],
    ],
)
def test_what_is_not(messages: list[Message]) -> None:
    conversation = Conversation((USER, *messages))
    assert join_calls(conversation) == (conversation, ())


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        ({"train": False}, {}, "one of them is marked train: false, the other weight: 1"),
        ({}, {"train": False}, "one of them is marked weight: 1, the other train: false"),
        ({"weight": 0.5}, {"weight": 2.0}, "one of them is marked weight: 0.5, the other weight: 2"),
    ],
)
def test_turns_that_are_marked_differently_are_refused(
    one: dict[str, Any], other: dict[str, Any], words: str
) -> None:
    with pytest.raises(RowError, match=words) as caught:
        joined(USER, said("a", **one), said(None, "f", **other))
    assert caught.value.reason == "wrong_type"


TURNS = st.sampled_from([USER, RESULT, said("a"), said(None, "f"), said("b", "g"), said("", "h"), said(None)])


@given(st.lists(TURNS, max_size=8))
def test_nothing_is_lost_or_moved(messages: list[Message]) -> None:
    found = joined(*messages)

    def words(each: Message) -> list[str]:
        return [
            *([each.content] if each.content else []),
            *(one["function"]["name"] for one in each.tool_calls),
        ]

    assert [word for each in found for word in words(each)] == [
        word for each in messages for word in words(each)
    ]
    assert join_calls(Conversation(found))[1] == ()
