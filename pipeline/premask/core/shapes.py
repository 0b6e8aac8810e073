"""The shape of a conversation: which fields its messages have, without their texts.

    shape, texts = shape_of(conversation)        # None if the conversation has no shape
    shape.messages[1].slots                      # ("content", "tool_calls.0.name", "tool_calls.0.arguments")
    conversation_of(shape, texts)                # the conversation again

Rows of one shape differ in their texts only. The places of the texts are called slots. Content, reasoning,
names and ids are slots as they are; the arguments of a tool call and a tool definition are slots of JSON
text. So the fast path reads rows as columns of texts, without an object per message.

Marks and weights of messages are part of the shape. A conversation has no shape if it has something else:
keys for the template, template arguments, or marked parts of a content.

Cost: 2 us a message; the JSON of tools and arguments is serialized.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

from .records import Conversation, Message

_ENCODER = json.JSONEncoder(ensure_ascii=False)
_MAKE = getattr(json.encoder, "c_make_encoder", None)  # `encode` calls it each time, which is slow
_ENCODE = _MAKE and _MAKE(
    None,
    _ENCODER.default,
    json.encoder.encode_basestring,
    None,
    _ENCODER.key_separator,
    _ENCODER.item_separator,
    False,  # sort_keys
    False,  # skipkeys
    True,  # allow_nan
)


def json_text(value: Any) -> str:
    """Return the JSON text that the filter `tojson` of chat templates prints without arguments."""
    return "".join(_ENCODE(value, 0)) if _ENCODE else _ENCODER.encode(value)


_CALL_KEYS = {"type", "id", "function"}
_FUNCTION_KEYS = {"name", "arguments"}


class CallShape(NamedTuple):
    """The shape of a tool call.

    fields     its keys in order: `type`, `function` and perhaps `id`
    function   the keys of its function in order: `name` and `arguments`
    is_filled  whether it has arguments; if not, they are `{}` and no slot
    """

    fields: tuple[str, ...] = ("type", "function")
    function: tuple[str, ...] = ("name", "arguments")
    is_filled: bool = True


@dataclass(frozen=True, eq=False)
class MessageShape:
    """The shape of a message. Get one from `message_shape`: equal shapes are the same object.

    content, reasoning, tool_call_id, name   whether the message has the field
    calls                                    the shapes of its tool calls
    train, weight                            as in `Message`
    """

    role: str
    content: bool = True
    reasoning: bool = False
    calls: tuple[CallShape, ...] = ()
    tool_call_id: bool = False
    name: bool = False
    train: bool | None = None
    weight: float | None = None

    @cached_property
    def slots(self) -> tuple[str, ...]:
        """The fields of the slots, in the order of the texts; named as in `Origin.field`."""
        return tuple(self._slots())

    def _slots(self) -> Iterator[str]:
        if self.content:
            yield "content"
        if self.reasoning:
            yield "reasoning"
        for number, call in enumerate(self.calls):
            if "id" in call.fields:
                yield f"tool_calls.{number}.id"
            yield f"tool_calls.{number}.name"
            if call.is_filled:
                yield f"tool_calls.{number}.arguments"
        if self.tool_call_id:
            yield "tool_call_id"
        if self.name:
            yield "name"


def message_shape(  # noqa: PLR0913  one argument per field
    role: str,
    content: bool = True,  # noqa: FBT001, FBT002  as in `MessageShape`
    reasoning: bool = False,  # noqa: FBT001, FBT002
    calls: tuple[CallShape, ...] = (),
    tool_call_id: bool = False,  # noqa: FBT001, FBT002
    name: bool = False,  # noqa: FBT001, FBT002
    train: bool | None = None,  # noqa: FBT001
    weight: float | None = None,
) -> MessageShape:
    """Return the shape with these fields, always the same object."""
    return _SHAPES(role, content, reasoning, calls, tool_call_id, name, train, weight)


_SHAPES = lru_cache(maxsize=1 << 16)(MessageShape)  # it knows arguments by position and by default apart


class RowShape(NamedTuple):
    """The shape of a conversation: those of its messages, the number of its tools (None if it has no list of
    tools), and its loss weight. The texts of the tools stand before those of the messages."""

    messages: tuple[MessageShape, ...]
    tools: int | None = None
    weight: float | None = None

    @property
    def is_plain(self) -> bool:
        """Whether it has roles and contents only."""
        return self[1:] == (None, None) and all(each is message_shape(each.role) for each in self.messages)


@lru_cache(maxsize=4096)
def plain_shape(roles: tuple[str, ...]) -> RowShape:
    """Return the shape of messages that have only a role and a content."""
    return RowShape(tuple(map(message_shape, roles)))


# ==== Conversations ====


def shape_of(conversation: Conversation) -> tuple[RowShape, list[str]] | None:
    """Return the shape of a conversation and the texts of its slots; None if it has no shape."""
    try:
        if conversation.template_kwargs or not conversation.is_chat or conversation.side is not None:
            return None
        return _shape_and_texts(conversation)
    except TypeError:  # a value that JSON does not have, such as a date of Parquet
        return None


def _shape_and_texts(conversation: Conversation) -> tuple[RowShape, list[str]] | None:
    texts = [json_text(tool) for tool in conversation.tools or ()]
    shapes = []
    for message in conversation.messages:
        shape = _shape_of(message, texts)
        if shape is None:
            return None
        shapes.append(shape)
    tools = None if conversation.tools is None else len(conversation.tools)
    return RowShape(tuple(shapes), tools, conversation.weight), texts


def _shape_of(message: Message, texts: list[str]) -> MessageShape | None:
    """Return the shape of a message and append its texts."""
    if message.extra or message.stretches:
        return None
    texts += (text for text in (message.content, message.reasoning) if text is not None)
    calls = []
    for call in message.tool_calls:
        shape = _call_shape(call)
        if shape is None:
            return None
        calls.append(shape)
        if "id" in call:
            texts.append(call["id"])
        texts.append(call["function"]["name"])
        if shape.is_filled:
            texts.append(json_text(call["function"]["arguments"]))
    texts += (text for text in (message.tool_call_id, message.name) if text is not None)
    return message_shape(
        message.role,
        message.content is not None,
        message.reasoning is not None,
        tuple(calls),
        message.tool_call_id is not None,
        message.name is not None,
        message.train,
        message.weight,
    )


def _call_shape(call: Mapping[str, Any]) -> CallShape | None:
    function = call.get("function")
    if call.get("type") != "function" or not call.keys() <= _CALL_KEYS or not isinstance(function, dict):
        return None
    if function.keys() != _FUNCTION_KEYS or not isinstance(function["arguments"], dict):
        return None
    if not isinstance(function["name"], str) or not isinstance(call.get("id", ""), str):
        return None
    return CallShape(tuple(call), tuple(function), bool(function["arguments"]))


def conversation_of(
    shape: RowShape, texts: Sequence[str], parse: Callable[[str], Any] = json.loads
) -> Conversation:
    """Return the conversation of a shape with these texts; `parse` makes a value of a slot of JSON."""
    left = iter(texts)
    tools = None if shape.tools is None else tuple(parse(next(left)) for _ in range(shape.tools))
    messages = tuple(_message_of(each, left, parse) for each in shape.messages)
    return Conversation(messages, tools, weight=shape.weight)


def _message_of(shape: MessageShape, texts: Iterator[str], parse: Callable[[str], Any]) -> Message:
    content = next(texts) if shape.content else None
    reasoning = next(texts) if shape.reasoning else None
    calls = tuple(_call_of(call, texts, parse) for call in shape.calls)
    return Message(
        shape.role,
        content,
        reasoning,
        calls,
        next(texts) if shape.tool_call_id else None,
        next(texts) if shape.name else None,
        shape.train,
        shape.weight,
    )


def _call_of(shape: CallShape, texts: Iterator[str], parse: Callable[[str], Any]) -> dict[str, Any]:
    id_ = next(texts) if "id" in shape.fields else None
    name = next(texts)
    arguments = parse(next(texts)) if shape.is_filled else {}
    function = {"name": name, "arguments": arguments}
    call = {"type": "function", "id": id_, "function": {key: function[key] for key in shape.function}}
    return {key: call[key] for key in shape.fields}
