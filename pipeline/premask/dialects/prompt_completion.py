"""Prompt and completion: `{"prompt": "1+1?", "completion": "2"}`, as texts or as lists of messages.

Also with `response`, `output` or `answer` for the completion, with several completions in a list, and with
prompts that are a transcript (`\\n\\nHuman: ...\\n\\nAssistant:`), whose turns are read as such.

    >>> row = {"prompt": [{"role": "user", "content": "1+1?"}], "completion": "2"}
    >>> [message.role for message in normalize(row).messages]
    ['user', 'assistant']

Cost: see `prompted.py`.
"""

from __future__ import annotations

from typing import Any

from ..core.records import Conversation
from . import transcripts
from .prompted import Columns, read_columns, recognize_columns

_COLUMNS = Columns(
    asked=["prompt"],
    answered=[
        *("completion", "completions", "response", "responses", "output", "outputs"),
        *("answer", "answers"),
    ],
)


def recognize(value: Any) -> bool:
    """Whether the row has a prompt and a completion."""
    return recognize_columns(value, _COLUMNS)


def normalize(value: Any) -> Conversation:
    """Read a row with its first completion. Raises `RowError`."""
    return paths(value)[0]


def paths(value: Any) -> list[Conversation]:
    """Read a row with each of its completions. Raises `RowError`."""
    if isinstance(value, dict) and transcripts.is_opened(value.get("prompt")):
        value = {**value, "prompt": transcripts.as_turns(value["prompt"])}
    return read_columns(value, _COLUMNS)
