"""What a chat template does to text: whether it trims content, reorders messages or prints a date."""

from __future__ import annotations

import datetime
from collections.abc import Mapping

from ..core.errors import RowError
from ..core.records import Conversation, Message
from ..labeller import Labeller, settle
from .capabilities import Capability

_CHAT = Conversation(
    (
        Message("user", "quixotry"),
        Message("assistant", "zephyrean"),
        Message("user", "wombatish"),
        Message("assistant", "jackdawed"),
    )
)


def find_habits(labeller: Labeller, capabilities: Mapping[str, Capability]) -> dict[str, str]:
    """Return the habits of a template in words, by name; "unknown" where it refuses the probe."""
    return {
        "trims content": _trims(labeller),
        "rewrites history": _rewrites(capabilities),
        "keeps the order of messages": _keeps_order(labeller),
        "prints a date": _prints_date(labeller),
        "marks generated text itself": "yes" if labeller.template.has_generation_tags else "no",
    }


def _trims(labeller: Labeller) -> str:
    text = " \n quixotry \n "
    try:
        trimmed = [
            message.role
            for i, message in enumerate(_CHAT.messages[:2])
            if text not in whole_text(labeller, _with_content(_CHAT.messages[:2], i, text))
        ]
    except RowError:
        return "unknown"
    return f"of {' and '.join(trimmed)}" if trimmed else "no"


def _with_content(messages: tuple[Message, ...], index: int, text: str) -> Conversation:
    changed = Message(messages[index].role, text)
    return Conversation((*messages[:index], changed, *messages[index + 1 :]))


def _rewrites(capabilities: Mapping[str, Capability]) -> str:
    kept = {name: each.samples for name, each in capabilities.items() if each.samples}
    names = [name for name, samples in kept.items() if len(samples) > 1]
    return f"in conversations of kind {', '.join(names)}" if names else "no" if kept else "unknown"


def _keeps_order(labeller: Labeller) -> str:
    try:
        text = whole_text(labeller, _CHAT)
    except RowError:
        return "unknown"
    positions = [text.find(message.content or "") for message in _CHAT.messages]
    return "yes" if positions == sorted(positions) else "no"


def _prints_date(labeller: Labeller) -> str:
    try:
        text = whole_text(labeller, _CHAT)
        other = labeller.template.on(_another_day(labeller.recipe.date))
        return (
            "no"
            if labeller.renders(_CHAT, other).through(3) == text
            else f"yes, that of {labeller.recipe.date}"
        )
    except RowError:
        return "unknown"


def _another_day(date: datetime.date) -> datetime.date:
    """Return a day with another year, month and weekday, within the range of Python's dates.

    >>> _another_day(datetime.date(2025, 1, 1)).strftime("%a %d %b %Y")
    'Thu 05 Feb 2026'
    """
    days = datetime.timedelta(days=400)
    return date + days if date.year < datetime.MAXYEAR - 1 else date - days


def whole_text(labeller: Labeller, conversation: Conversation) -> str:
    """Return the text of a whole conversation. Raises `RowError` if the template refuses it."""
    return labeller.renders(settle(labeller, conversation)).through(len(conversation.messages) - 1)
