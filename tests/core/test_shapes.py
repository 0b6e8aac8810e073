"""Shapes: one object for equal ones, and conversations that come back as they were."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from premask.core.records import Conversation, Message
from premask.core.shapes import conversation_of, json_text, message_shape, shape_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
)


@given(JSON)
def test_json_text_is_what_templates_print(value: Any) -> None:
    assert json_text(value) == json.dumps(value, ensure_ascii=False)


def test_equal_shapes_are_one_object() -> None:
    assert message_shape("user") is message_shape("user", True, False, ())
    assert message_shape("user", train=True) is message_shape("user", True, train=True)
    assert message_shape("user") is not message_shape("user", name=True)


@given(st.dictionaries(st.text(), JSON, min_size=1))
def test_a_conversation_comes_back_from_its_shape(arguments: dict[str, Any]) -> None:
    call = {"id": "c", "type": "function", "function": {"arguments": arguments, "name": "f"}}
    empty = {"type": "function", "function": {"name": "g", "arguments": {}}}
    messages = (
        Message("user", "Hi", name="Ann"),
        Message("assistant", None, "because", (call, empty), weight=2.0),
        Message("tool", "21", tool_call_id="c"),
        Message("assistant", "", train=False),
    )
    conversation = Conversation(messages, (arguments, {}), weight=0.5)
    shaped = shape_of(conversation)

    assert shaped is not None
    assert repr(conversation_of(*shaped)) == repr(conversation)
    assert not shaped[0].is_plain
