"""The names of roles, in one table for all dialects.

    >>> ROLE_NAMES["chatbot"], ROLE_NAMES["observation"], ROLE_NAMES["function_call"]
    ('assistant', 'tool', 'tool_call')

`tool_call` is no role of a message: the text of such a turn is the JSON of the assistant's tool calls. Names
that mean different roles in different files (`agent` and `system` in dialogue corpora) are in `speakers.py`,
which looks at both speakers.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..core.roles import CALL_ROLE

_NAMES: Mapping[str, tuple[str, ...]] = {
    "system": ("system", "context"),
    "developer": ("developer",),
    "user": ("user", "human", "prompter"),
    "assistant": ("assistant", "model", "gpt", "chatgpt", "bot", "chatbot", "ai", "bing", "bard"),
    "tool": (
        *("tool", "function", "observation", "ipython", "tool_response", "tool_result", "tool_results"),
        *("tool_output", "function_response", "function_result", "function_output", "function_call_output"),
    ),
    CALL_ROLE: ("tool_call", "tool_calls", "function_call", "function_calls"),
}

ROLE_NAMES: Mapping[str, str] = {
    spelling: role
    for role, names in _NAMES.items()
    for name in names
    for spelling in dict.fromkeys((name, name.replace("_", "-"), name.replace("_", " ")))
}
"""Name in lower case -> role, or `CALL_ROLE`."""

CALL_NAMES = frozenset(name for name, role in ROLE_NAMES.items() if role == CALL_ROLE)

MESSAGE_ROLES: Mapping[str, str] = {name: role for name, role in ROLE_NAMES.items() if name not in CALL_NAMES}
"""The names of roles that a message has."""
