"""OpenAI messages: `{"messages": [{"role": "user", "content": "Hi"}, ...], "tools": [...]}`.

What chat APIs take, and what most datasets are published in. Besides the plain form it reads the list under
other names (`conversations`, `dialogue`, `traj`, ...), the system text beside it, content given as parts,
`tool_calls` and the older `function_call`, turns that are calls (ms-swift's `tool_call`), reasoning under its
three common names, and marks of what is trained (`marks.py`). Other keys of a message go to the chat template
as they are.

    >>> row = {"messages": [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "2"}]}
    >>> recognize(row), normalize(row).messages[1].content
    (True, '2')

Cost: see `common.py` and `turns.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from ..core.records import Conversation, Message
from . import common
from .beside import asks_and_answers
from .parts import with_results
from .plain import PlainTurns
from .role_names import CALL_NAMES, MESSAGE_ROLES, ROLE_NAMES
from .turns import Turn, extra_fields, read_turn

KEYS = (
    *("messages", "conversations", "conversation", "dialogue", "dialog", "turns", "chat"),
    *("traj", "trajectory", "history"),
)
PLAIN = PlainTurns(KEYS, [("role", "content")], MESSAGE_ROLES, system="system", call_roles=CALL_NAMES)
"""Every other key of a message goes to the chat template, so a plain one has none."""

_OWN_KEYS = {"role", "content"}


def recognize(value: Any) -> bool:
    """Whether the row holds turns with a `role` and, where they have text, a `content`."""
    return common.has_turns(value, _keys(value), _is_turn)


def normalize(value: Any) -> Conversation:
    """Read a row of messages. Raises `RowError`; for its reasons see `common.py` and `turns.py`."""
    turns = common.turns_of(value, _keys(value), _is_turn)
    return common.of_turns(value, [messages_of(index, turn) for index, turn in enumerate(turns)])


def _keys(value: Any) -> Sequence[str]:
    """The keys that may hold the turns; beside a question and its answer, `history` is what came before."""
    is_pair = isinstance(value, dict) and "history" in value and asks_and_answers(value)
    return [key for key in KEYS if key != "history"] if is_pair else KEYS


def messages_of(index: int, turn: Turn) -> list[Message]:
    """The message of turn `index`, after the tool results that it carries. Raises `RowError`."""
    return [_message(index, each) for each in with_results(index, turn)]


def _message(index: int, turn: Turn) -> Message:
    extra, written = extra_fields(turn, _OWN_KEYS), turn.get("role")
    return read_turn(index, turn, written=written, content=turn.get("content"), roles=ROLE_NAMES, extra=extra)


def _is_turn(keys: Collection[str]) -> bool:
    return "role" in keys and ("content" in keys or not ("from" in keys or "value" in keys))
