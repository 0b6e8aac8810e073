"""Dialogues with speakers: `{"turns": [{"speaker": "USER", "utterance": "Hi"}, {"speaker": "SYSTEM", ...}]}`.

Dialogue corpora name who speaks in their own words, and "SYSTEM" is often the assistant. Which speaker is the
assistant follows from both names together, so a row is recognized only where its speakers are a known pair
(`PAIRS`); for any other, the recipe says it: `fields: {messages: turns, role: speaker, content: utterance,
roles: {A: user, B: assistant}}`.

    >>> turns = [{"speaker": "USER", "utterance": "Hi"}, {"speaker": "SYSTEM", "utterance": "Hello"}]
    >>> [message.role for message in normalize({"turns": turns}).messages]
    ['user', 'assistant']

Other keys of a turn (annotations, frames) are not text of the conversation and are left out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ..core.errors import RowError
from ..core.records import Conversation, Message
from . import common
from .turns import KNOWN_KEYS, Turn, make_message, read_role

KEYS = (
    *("turns", "dialogue", "dialog", "conversation", "conversations", "messages", "utterances", "log"),
    *("history", "chat"),
)
SPEAKERS = ("speaker", "role", "from", "author", "sender")
TEXTS = ("utterance", "text", "content", "value", "message", "sentence")

_ASSISTANT_OF = {
    "user": ("system", "agent", "assistant", "bot", "wizard", "chatbot"),
    "usr": ("sys", "system"),
    "human": ("bot", "ai", "assistant", "agent", "system", "chatbot"),
    "customer": ("agent", "assistant", "support"),
    "client": ("counselor", "counsellor", "therapist", "agent"),
    "patient": ("doctor", "therapist", "counselor"),
    "seeker": ("supporter", "recommender"),
    "student": ("teacher", "tutor"),
    "apprentice": ("wizard",),
    "questioner": ("answerer",),
}
PAIRS = tuple((user, each) for user, others in _ASSISTANT_OF.items() for each in others)
"""Names of the user and of the assistant, in lower case."""

_ROLES = frozenset({"system", "assistant", "bot"})
"""Names of assistants that are roles by themselves; under the keys of roles they are read as those."""


def recognize(value: Any) -> bool:
    """Whether the row holds turns whose speakers are a known pair."""
    if not common.has_turns(value, KEYS, _is_turn):
        return False
    try:
        turns = common.turns_of(value, KEYS, _is_turn)
    except RowError:
        return False
    speakers = {str(turn.get(key)).strip().lower() for turn in turns if (key := _speaker(turn)) is not None}
    by_role = any(_speaker(turn) in ("role", "from") for turn in turns)
    pairs = (pair for pair in PAIRS if not (by_role and pair[1] in _ROLES))
    return any(speakers == {*pair} for pair in pairs)


def normalize(value: Any) -> Conversation:
    """Read a row of turns. Raises `RowError`."""
    turns = common.turns_of(value, KEYS, _is_turn)
    roles = _roles({str(turn.get(_speaker(turn) or "")).strip().lower() for turn in turns})
    messages: list[list[Message]] = []
    for index, turn in enumerate(turns):
        speaker, text = (
            turn.get(_speaker(turn) or ""),
            next((turn[key] for key in TEXTS if key in turn), None),
        )
        own = {key: field for key, field in turn.items() if key in KNOWN_KEYS}
        role = read_role(index, speaker, roles)
        messages.append([make_message(index, own, role=role, content=text)])
    return common.of_turns(value, messages)


def _roles(speakers: Collection[str]) -> Mapping[str, str]:
    """What each speaker is, going by all of them."""
    user, assistant = next((pair for pair in PAIRS if {*pair} >= {*speakers}), PAIRS[0])
    return {user: "user", assistant: "assistant"}


def _speaker(turn: Turn) -> str | None:
    return next((key for key in SPEAKERS if turn.get(key) is not None), None)


def _is_turn(keys: Collection[str]) -> bool:
    return any(key in keys for key in SPEAKERS) and any(key in keys for key in TEXTS)
