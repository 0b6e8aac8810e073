"""Tool calls that are turns of their own, joined with the turn of the assistant that they belong to.

    assistant: Let me look.          assistant: Let me look. + get_time(town="Rome")
    assistant: get_time(town="Rome")     ->

ShareGPT writes a call as a turn of its own, also after what the assistant says before it, and several calls
at once as several turns. The model writes all of it as one turn. Nothing else is joined: a second turn of the
assistant with a text stays.

    >>> call = {"type": "function", "function": {"name": "get_time", "arguments": {}}}
    >>> said, called = Message("assistant", "Let me look."), Message("assistant", tool_calls=(call,))
    >>> joined, names = join_calls(Conversation((said, called, called)))
    >>> [(each.content, len(each.tool_calls)) for each in joined.messages], names
    ([('Let me look.', 2)], ('joined_calls',))
"""

from __future__ import annotations

from dataclasses import replace

from ..core.errors import RowError
from ..core.records import Conversation, Message

NAME = "joined_calls"
"""What this is counted as, beside the fixes of a recipe."""


def join_calls(conversation: Conversation) -> tuple[Conversation, tuple[str, ...]]:
    """The conversation with its calls joined, and the name of this if there were any.

    Raises `RowError`: wrong_type, if the turns are marked differently.
    """
    messages = conversation.messages
    joined: list[Message] = []
    for index, message in enumerate(messages):
        if joined and _belongs(joined[-1], message):
            joined[-1] = _joined(joined[-1], message, index)
        else:
            joined.append(message)
    if len(joined) == len(messages):
        return conversation, ()
    return replace(conversation, messages=tuple(joined)), (NAME,)


def _belongs(last: Message, message: Message) -> bool:
    """Whether a message is calls alone, after a message of the assistant that they can be a part of."""
    if not message.tool_calls or not last.role == message.role == "assistant":
        return False
    if _has_text(message.content) or message.reasoning or not (last.tool_calls or _has_text(last.content)):
        return False
    names, extras = {last.name, message.name} - {None}, last.extra and message.extra
    return len(names) < 2 and (not extras or last.extra == message.extra)


def _joined(last: Message, message: Message, index: int) -> Message:
    excluded = last.train is False, message.train is False
    if excluded[0] != excluded[1] or last.weight != message.weight:
        detail = (
            f"message {index} is a tool call that belongs to message {index - 1}, but one of them is marked "
            f"{_marked(last)}, the other {_marked(message)}; mark both alike"
        )
        raise RowError("wrong_type", detail)
    return replace(
        last,
        tool_calls=last.tool_calls + message.tool_calls,
        name=last.name or message.name,
        extra=last.extra or message.extra,
    )


def _marked(message: Message) -> str:
    if message.train is False:
        return "train: false"
    return f"weight: {1 if message.weight is None else message.weight:g}"


def _has_text(text: str | None) -> bool:
    return bool(text) and not (text or "").isspace()
