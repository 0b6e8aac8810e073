"""Lists of statements, user and assistant in turn: UltraChat's `data`, ChatterBot's `conversations`.

    {"id": "0", "data": ["Hi", "Hello", "1+1?", "2"]}                          one conversation
    {"categories": ["AI"], "conversations": [["Hi", "Hello"], ["1+1?", "2"]]}     one a list

A ChatterBot corpus is one row with many short conversations. They belong together no more than the rows of a
file, so all of them are read, whatever the recipe says of paths.

    >>> row = {"categories": ["AI"], "conversations": [["Hi", "Hello"], ["1+1?", "2"]]}
    >>> [conversation.messages[0].content for conversation in paths(row)]
    ['Hi', '1+1?']
"""

from __future__ import annotations

from typing import Any

from ..core.errors import RowError
from ..core.records import Conversation, Message
from . import common

EVERY = True
"""All conversations of a row are wanted."""


def recognize(value: Any) -> bool:
    """Whether the row is one of UltraChat or of ChatterBot."""
    return _lists(value) is not None


def normalize(value: Any) -> Conversation:
    """Read the first conversation of a row. Raises `RowError`."""
    return paths(value)[0]


def paths(value: Any) -> list[Conversation]:
    """Read all conversations of a row. Raises `RowError`."""
    lists = _lists(value)
    if lists is None:
        raise RowError("unknown_dialect", "the row has no lists of statements")
    return [common.make_conversation(value, _messages(each, index)) for index, each in enumerate(lists)]


def _lists(value: Any) -> list[Any] | None:
    if not isinstance(value, dict):
        return None
    data, conversations = value.get("data"), value.get("conversations")
    if value.keys() <= {"id", "data"} and isinstance(data, list) and len(data) > 1:
        return [data] if all(isinstance(text, str) for text in data) else None
    if "categories" in value and isinstance(conversations, list) and conversations:
        return conversations if all(isinstance(each, list) for each in conversations) else None
    return None


def _messages(statements: list[Any], index: int) -> list[Message]:
    if not all(isinstance(text, str) for text in statements):
        raise RowError("wrong_type", f"conversation {index} holds something other than strings")
    if len(statements) < 2:
        raise RowError("no_assistant", f"conversation {index} has no answer")
    return [Message(("user", "assistant")[i % 2], text) for i, text in enumerate(statements)]
