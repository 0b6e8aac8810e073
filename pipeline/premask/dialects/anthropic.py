"""Anthropic messages: content as blocks, tool results within the user's turns, the system text beside them.

    {"system": "Be brief.", "tools": [{"name": "f", "input_schema": {...}}], "messages": [
      {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]},
      {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "21 C"}]}]}

Messages without such blocks are OpenAI's as well, and are read as those. `thinking` becomes the reasoning, a
tool result a message of its own; what is redacted or not text is refused (`parts.py`). The format is that of
docs.anthropic.com/en/api/messages.

    >>> content = [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Hi"}]
    >>> normalize({"messages": [{"role": "assistant", "content": content}]}).messages[0].reasoning
    'Hm.'
"""

from __future__ import annotations

from typing import Any

from ..core.records import Conversation
from . import openai
from .cells import parsed
from .parts import has_blocks, read_parts


def recognize(value: Any) -> bool:
    """Whether the row holds messages, and blocks or tools that only Anthropic has."""
    if not isinstance(value, dict) or not openai.recognize(value):
        return False
    messages, tools = parsed(value.get("messages")), value.get("tools")
    turns = messages if isinstance(messages, list) else []
    return any(has_blocks(turn.get("content")) for turn in turns if isinstance(turn, dict)) or (
        isinstance(tools, list) and any(isinstance(tool, dict) and "input_schema" in tool for tool in tools)
    )


def normalize(value: Any) -> Conversation:
    """Read a row of messages. Raises `RowError`."""
    if isinstance(value, dict) and isinstance(value.get("system"), list):
        value = {**value, "system": read_parts(value["system"], "the system text").text}
    return openai.normalize(value)
