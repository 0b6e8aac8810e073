"""Questions as lists of turns (BFCL): `{"question": [[{"role": "user", "content": "Hi"}], ...]}`.

Each inner list is one turn of the user, with what is said beside it; together they are the conversation. The
benchmark has no answers, so its rows are refused (`no_assistant`); rows of the same form that have some are
read.

    >>> turns = [[{"role": "user", "content": "Hi"}], [{"role": "assistant", "content": "Hello"}]]
    >>> [message.role for message in normalize({"question": turns}).messages]
    ['user', 'assistant']
"""

from __future__ import annotations

from typing import Any

from ..core.errors import RowError
from ..core.records import Conversation
from . import openai
from .row_marks import row_marks_of

KEY = "question"


def recognize(value: Any) -> bool:
    """Whether the row's question is a list of lists of messages."""
    field = value.get(KEY) if isinstance(value, dict) else None
    lists = isinstance(field, list) and bool(field) and all(isinstance(each, list) for each in field)
    return lists and any(map(openai.recognize, field or []))


def normalize(value: Any) -> Conversation:
    """Read all turns as one conversation. Raises `RowError`."""
    if not recognize(value):
        raise RowError("unknown_dialect", f"the row has no lists of messages under '{KEY}'")
    turns = [turn for turns in value[KEY] for turn in turns]
    tools = value.get("tools") or value.get("function")
    return openai.normalize({**row_marks_of(value), "messages": turns, "tools": tools, "id": value.get("id")})
