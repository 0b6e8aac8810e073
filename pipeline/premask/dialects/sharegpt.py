"""ShareGPT: `{"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}`.

Also with the spellings that are about: the list under `conversation`, `messages`, `items` and other names, or
the row itself a list; `role` for `from` and `content` for `value`; many names for the same roles; the system
text beside the turns; tool calls as turns of their own (`function_call` with JSON as its value).

    >>> row = {"system": "Be brief.", "conversations": [{"from": "gpt", "value": "Hello"}]}
    >>> [(message.role, message.content) for message in normalize(row).messages]
    [('system', 'Be brief.'), ('assistant', 'Hello')]

Cost: see `common.py` and `turns.py`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ..core.records import Conversation, Message
from . import common
from .plain import PlainTurns
from .role_names import CALL_NAMES, MESSAGE_ROLES, ROLE_NAMES
from .turns import KNOWN_KEYS, Turn, read_turn

KEYS = ("conversations", "conversation", "messages", "items", "dialogue", "dialog", "turns", "chat")
PLAIN = PlainTurns(
    KEYS,
    [("from", "value"), ("role", "value"), ("from", "content")],
    MESSAGE_ROLES,
    others=KNOWN_KEYS,
    system="system",
    call_roles=CALL_NAMES,
)


def recognize(value: Any) -> bool:
    """Whether the row holds turns with `from` and `value`, or with one of them in another spelling."""
    return common.has_turns(value, KEYS, _is_turn)


def normalize(value: Any) -> Conversation:
    """Read a row of turns. Raises `RowError`; for its reasons see `common.py` and `turns.py`."""
    turns = common.turns_of(value, KEYS, _is_turn)
    return common.of_turns(value, [[_message(index, turn)] for index, turn in enumerate(turns)])


def _is_turn(keys: Collection[str]) -> bool:
    spelled = ("from" in keys or "role" in keys) and ("value" in keys or "content" in keys)
    return spelled and not ("role" in keys and "content" in keys)


def _message(index: int, turn: Turn) -> Message:
    written = turn.get("from", turn.get("role"))
    content = turn.get("value", turn.get("content"))
    return read_turn(index, turn, written=written, content=content, roles=ROLE_NAMES)
