"""Pair lists: `{"conversation": [{"human": "Hi", "assistant": "Hello"}], "system": "Be brief."}`.

Each item is a question with its answer: an object with two known keys, or a list of two texts, as in the
`history` of Alpaca's and ms-swift's rows. A pair may lack its question (a greeting comes first) or its answer
(the row ends on the user); null and missing are the same. A pair may have a mark (`marks.py`) of its answer,
and the answer's reasoning (`beside.py`).

    >>> row = {"conversation": [{"human": "Hi", "assistant": "Hello"}, ["Bye", "Ciao"]]}
    >>> [message.content for message in normalize(row).messages]
    ['Hi', 'Hello', 'Bye', 'Ciao']
"""

from __future__ import annotations

from typing import Any

from ..core.errors import RowError
from ..core.records import Conversation, Message
from ..core.text import kind
from . import common
from .beside import reasoned, reasoning_beside
from .cells import as_text, not_a_string, parsed
from .marks import NONE, read_mark

KEYS = ("conversation", "conversations", "dialogue", "dialog", "turns", "chat", "messages", "pairs")
PAIRS = (
    *(("human", "assistant"), ("user", "assistant"), ("human", "gpt"), ("human", "bot"), ("user", "bot")),
    *(("user", "model"), ("human", "ai"), ("question", "answer"), ("query", "response"), ("q", "a")),
    *(("prompt", "response"), ("prompt", "completion"), ("instruction", "output"), ("input", "output")),
)
"""Keys of question and answer, as they are about."""


def recognize(value: Any) -> bool:
    """Whether the row has a list of pairs."""
    return _pairs_of(value) is not None


def normalize(value: Any) -> Conversation:
    """Read a row of pairs. Raises `RowError`."""
    if not isinstance(value, dict):
        raise RowError("not_an_object", f"the row is a JSON {kind(value)}, not an object")
    pairs = _pairs_of(value)
    if pairs is None:
        raise RowError("unknown_dialect", f"the row has no list of pairs under {', '.join(KEYS)}")
    return common.make_conversation(value, common.with_system(value, read_pairs(pairs, "pair")))


def read_pairs(pairs: Any, name: str) -> list[Message]:
    """The messages of a list of pairs, which `name` names in errors. Raises `RowError`: wrong_type.

    >>> read_pairs([["Hi", None]], "history")
    [Message(role='user', content='Hi', reasoning=None, tool_calls=(), tool_call_id=None, name=None, \
train=None, weight=None, extra={}, stretches=())]
    """
    messages: list[Message] = []
    for index, pair in enumerate(pairs):
        if not _is_pair(pair):
            raise RowError("wrong_type", f"{name} {index} is not a question with its answer")
        texts = [as_text(text) for text in _texts(pair)]
        mark = read_mark(pair, f"{name} {index}") if isinstance(pair, dict) else NONE
        for role, text in zip(("user", "assistant"), texts, strict=True):
            if text is not None and not isinstance(text, str):
                raise not_a_string(f"the {role}'s part of {name} {index}", text)
            if text is not None:
                train, weight = mark if role == "assistant" else NONE
                messages.append(_reasoned(pair, Message(role, text, train=train, weight=weight)))
    return messages


def _reasoned(pair: Any, message: Message) -> Message:
    """A message with the reasoning that its pair has for it."""
    reasoning = reasoning_beside(pair) if isinstance(pair, dict) and message.role == "assistant" else None
    return reasoned(message, *reasoning) if reasoning else message


def _pairs_of(value: Any) -> list[Any] | None:
    """The first list of the row whose items are pairs, but for some that may be broken."""
    if isinstance(value, dict):
        for key in KEYS:
            field = parsed(value.get(key))
            if isinstance(field, list) and any(map(_is_pair, field)):
                return field
    return None


def _is_pair(pair: Any) -> bool:
    if isinstance(pair, list):
        return len(pair) == 2 and all(text is None or isinstance(text, str) for text in pair) and any(pair)
    return isinstance(pair, dict) and _keys_of(pair) is not None


def _keys_of(pair: dict[str, Any]) -> tuple[str, str] | None:
    """The known pair of keys that an object has; one of them may be null."""
    held = {key.strip().lower() for key, field in pair.items() if field is not None}
    both = next((keys for keys in PAIRS if held >= {*keys}), None)
    if both is None and "role" not in held and "from" not in held:
        return next((keys for keys in PAIRS if held == {keys[0]} or held == {keys[1]}), None)
    return both


def _texts(pair: Any) -> list[Any]:
    if isinstance(pair, list):
        return pair
    lowered = {key.strip().lower(): field for key, field in pair.items() if field is not None}
    return [lowered.get(key) for key in _keys_of(pair) or ()]
