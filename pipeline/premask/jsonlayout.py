"""How rows lie in a JSON text: a value a line, one array of rows, one value, or one conversation.

A file name leaves that open: `.json` may hold any of them, and `.jsonl` often does not hold lines. Two lines
are enough to tell, so that nobody has to parse a file of many gigabytes to find that it has another layout.

    >>> layout_of(['{"id": 1}', '{"id": 2}']), layout_of(['[{"id": 1}, {"id": 2}]'])
    ('lines', 'array')
    >>> is_one_conversation([{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}])
    True

Cost: the parse of two lines; for an array of turns a look at the keys of each.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from .core.strict_json import parse_json

_SPEAKER = frozenset({"from", "role"})
_SPEECH = frozenset({"value", "content", "tool_calls", "function_call"})
_CONVERSATION = frozenset({"messages", "conversations", "conversation", "items"})


def layout_of(lines: Sequence[str]) -> str:
    """What the first two non-blank lines of a text look like.

    `lines` JSON values line by line, `row` a single one, `array` a single one that is an array of rows,
    `document` JSON spread over lines, `other` anything else: no JSON, or a broken first row.

    >>> layout_of(['{"a": 1}', '{"a": 2}']), layout_of(['[{"a": 1}]']), layout_of(["[", '{"a": 1},'])
    ('lines', 'array', 'document')
    """
    first, end = lines[0], _parsed_to(lines[0])
    if first[0] not in "[{" or (end is not None and end < len(first)):
        return "other"
    if end is None:
        return "lines" if len(lines) == 2 else "array" if _is_table(first) else "row"
    bare = first in ("[", "{", "[{")
    return "document" if len(lines) == 2 and (bare or _parsed_to(lines[1]) is not None) else "other"


def is_one_conversation(values: Sequence[Any]) -> bool:
    """Whether the values of an array are not rows but the turns of one conversation, which is one row.

    Each must say who speaks and what, and none may hold a conversation itself.

    >>> is_one_conversation([{"role": "user", "content": "Hi"}, {"role": "assistant", "tool_calls": []}])
    True
    >>> is_one_conversation([{"role": "baker", "content": "x", "messages": []}]), is_one_conversation([])
    (False, False)
    """
    return bool(values) and all(isinstance(value, dict) and _is_turn(value.keys()) for value in values)


def _is_turn(keys: Collection[str]) -> bool:
    named = not _SPEAKER.isdisjoint(keys) and not _SPEECH.isdisjoint(keys)
    return named and _CONVERSATION.isdisjoint(keys)


def _parsed_to(text: str) -> int | None:
    """None when the text is JSON, else the position at which it stops being so."""
    try:
        parse_json(text)
    except json.JSONDecodeError as error:
        return error.pos
    except ValueError:
        return 0
    return None


def _is_table(text: str) -> bool:
    """Whether an array on one line holds rows; an array of turns is itself one row."""
    value = parse_json(text)
    return isinstance(value, list) and not is_one_conversation(value)
