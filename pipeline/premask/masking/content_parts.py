"""Which roles of a chat template take content as a list of parts only: found by rendering.

    parts_roles(template)       # frozenset(): strings work; frozenset({"user", "assistant"}): these get parts

Some templates loop over `message.content` and print the `text` of each part. Given a string, they raise, or
print nothing without an error. Templates that take both get strings, as in transformers. A role gets parts if
the template does not print a string of it, but prints the same text as a part.

Cost: six to thirty renders, once per template.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from itertools import product
from typing import Any

from ..core.errors import RowError
from .chat_template import ChatTemplate

Messages = list[dict[str, Any]]

_WORDS = "ping pong"
_OBJECT = re.compile(f"""['"]text['"]:\\s*['"]{_WORDS}""")  # a part as it is, not its text
_SYSTEM = {"role": "system", "content": "rule"}
_USER = {"role": "user", "content": "ask"}
_CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {"type": "function", "id": "call00001", "function": {"name": "find", "arguments": {"a": "b"}}}
    ],
}
_TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "find",
            "description": "Finds.",
            "parameters": {"type": "object", "properties": {"a": {"type": "string"}}},
        },
    }
]
_PROBES: Mapping[str, Callable[[Any], Messages]] = {
    "user": lambda content: [{"role": "user", "content": content}],
    "assistant": lambda content: [_USER, {"role": "assistant", "content": content}],
    "system": lambda content: [{"role": "system", "content": content}, _USER],
    "developer": lambda content: [{"role": "developer", "content": content}, _USER],
    "tool": lambda content: [
        _USER,
        _CALL,
        {"role": "tool", "name": "find", "tool_call_id": "call00001", "content": content},
    ],
}
"""Role -> a conversation in which it has this content; a user is in each, so the user comes first."""


def parts_roles(template: ChatTemplate, kwargs: Mapping[str, Any] | None = None) -> frozenset[str]:
    """Return the roles whose content a template takes as parts only."""
    found: set[str] = set()
    for role, probe in _PROBES.items():
        text, part = (_in_parts(probe(content), found) for content in (_WORDS, as_parts(_WORDS)))
        if not _prints(template, text, kwargs) and _prints(template, part, kwargs):
            found.add(role)
    return frozenset(found)


def as_parts(text: str) -> list[dict[str, str]]:
    """Return text as a list of one part.

    >>> as_parts("Hi")
    [{'type': 'text', 'text': 'Hi'}]
    """
    return [{"type": "text", "text": text}]


def _in_parts(messages: Messages, roles: Collection[str]) -> Messages:
    """Return messages in which some roles have parts."""
    return [
        {**message, "content": as_parts(message["content"])}
        if message["role"] in roles and isinstance(message["content"], str)
        else message
        for message in messages
    ]


def _prints(template: ChatTemplate, messages: Messages, kwargs: Mapping[str, Any] | None) -> bool:
    """Whether a template prints the words: with or without tools, or with a system message before them."""
    systems: list[Messages] = [[], [_SYSTEM], [{**_SYSTEM, "content": as_parts("rule")}]]
    for system, tools in product(systems, (None, _TOOLS)):
        try:
            text = template.render([*system, *messages], tools=tools, kwargs=kwargs)
        except RowError:
            continue
        if _WORDS in text and not _OBJECT.search(text):
            return True
    return False
