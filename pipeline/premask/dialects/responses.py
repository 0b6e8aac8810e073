"""Items of OpenAI's Responses API: `{"input": [items], "output": [items], "instructions": "Be brief."}`.

    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}
    {"type": "reasoning", "summary": [{"type": "summary_text", "text": "..."}]}
    {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    {"type": "function_call_output", "call_id": "c", "output": "21"}

The items may also be one list (`messages`, `items`, `conversation`). The reasoning, the text and the calls
that follow each other are one turn of the assistant. Items that are something else, such as searches of
OpenAI's own, and reasoning that is encrypted are refused.

    >>> items = [{"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}]
    >>> [message.role for message in normalize({"input": "Hi", "output": items}).messages]
    ['user', 'assistant']

Cost: see `common.py` and `turns.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..core.errors import RowError
from ..core.records import Conversation
from ..core.shapes import json_text
from . import openai
from .cells import parsed
from .marks import TURN_KEYS
from .parts import read_parts

Item = dict[str, Any]

SIDES = {"input": "user", "output": "assistant"}
"""Keys of a row -> who says what is a text there."""

LISTS = ("items", "messages", "conversation", "conversations")
_OWN = frozenset({"reasoning", "function_call", "function_call_output"})
"""Types that no other format has."""


def recognize(value: Any) -> bool:
    """Whether the row holds items of the Responses API."""
    if not isinstance(value, dict):
        return False
    return any(_has_types(value.get(key), _OWN | {"message"}) for key in SIDES) or any(
        _has_types(value.get(key), _OWN) for key in LISTS
    )


def normalize(value: Any) -> Conversation:
    """Read a row of items. Raises `RowError`."""
    if not recognize(value):
        raise RowError("unknown_dialect", f"the row has no items under {', '.join((*SIDES, *LISTS))}")
    row = {key: field for key, field in value.items() if key not in (*SIDES, *openai.KEYS, *LISTS)}
    if value.get("instructions") is not None:
        row["system"] = value["instructions"]
    return openai.normalize({**row, "messages": _turns([*_items(value)])})


def _has_types(field: Any, types: frozenset[str]) -> bool:
    items = parsed(field)
    return isinstance(items, list) and any(
        isinstance(item, dict) and isinstance(item.get("type"), str) and item["type"] in types
        for item in items
    )


def _items(value: Item) -> Iterator[Any]:
    """All items of a row; a text is a message."""
    sides = [key for key in SIDES if value.get(key) is not None]
    keys = sides or [key for key in LISTS if _has_types(value.get(key), _OWN)][:1]
    for key in keys:
        held = parsed(value[key])
        if isinstance(held, list):
            yield from held
        elif isinstance(value[key], str):
            yield {"type": "message", "role": SIDES[key], "content": value[key]}
        else:
            raise RowError("wrong_type", f"'{key}' is neither a text nor an array of items")


# ==== Items as turns ====


def _turns(items: list[Any]) -> list[Item]:
    """The turns of items in OpenAI's older spelling."""
    turns: list[Item] = []
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            raise RowError("wrong_type", f"item {index} is no object")
        turn = _turn({key: field for key, field in item.items() if field is not None}, f"item {index}")
        if turn is None:
            continue
        if turns and _belongs(turns[-1], turn):
            turns[-1] = _joined(turns[-1], turn, index)
        else:
            turns.append(turn)
    return turns


def _turn(item: Item, where: str) -> Item | None:
    """One item as a turn; None if it says nothing."""
    marks = {key: field for key, field in item.items() if key in TURN_KEYS}
    type_ = item.get("type", "message")
    if type_ == "message":
        return {**marks, "role": item.get("role"), "content": item.get("content")}
    if type_ == "reasoning":
        text = _reasoning(item, where)
        return {**marks, "role": "assistant", "reasoning_content": text} if text else None
    if type_ == "function_call":
        call = {"id": item.get("call_id", item.get("id")), "name": item.get("name")}
        return {**marks, "role": "assistant", "tool_calls": [{**call, "arguments": item.get("arguments")}]}
    if type_ == "function_call_output":
        output = item.get("output")
        output = json_text(output) if isinstance(output, dict) else output
        return {**marks, "role": "tool", "tool_call_id": item.get("call_id"), "content": output}
    detail = (
        f"{where} is of type {str(type_)[:80]!r}; only messages, reasoning and function calls can be used"
    )
    raise RowError("unsupported_content", detail)


def _reasoning(item: Item, where: str) -> str:
    """The text of a reasoning item: all of it, or its summary."""
    for key in ("content", "summary"):
        parts = parsed(item.get(key))
        if isinstance(parts, list) and parts:
            texts = [read_parts([_typed(part)], where).text or "" for part in parts]
            return "\n\n".join(texts)
        if isinstance(parts, str):
            return parts
    if item.get("encrypted_content"):
        detail = f"the reasoning of {where} is encrypted; leave the item out, or the row"
        raise RowError("unsupported_content", detail)
    return ""


def _typed(part: Any) -> Any:
    known = isinstance(part, dict) and part.get("type") in ("summary_text", "reasoning_text")
    return {**part, "type": "text"} if known else part


def _belongs(last: Item, turn: Item) -> bool:
    """Whether a turn goes on with the last one: reasoning, then a text, then calls."""
    if last["role"] != "assistant" or turn["role"] != "assistant":
        return False
    return "tool_calls" in turn or not ("tool_calls" in last or "content" in last)


def _joined(last: Item, turn: Item, index: int) -> Item:
    marks = [{key: each[key] for key in each if key in TURN_KEYS} for each in (last, turn)]
    if marks[0] != marks[1]:
        detail = f"item {index} belongs to the turn before, but is marked differently; mark both alike"
        raise RowError("wrong_type", detail)
    joined = {**last, **turn}
    if "reasoning_content" in last and "reasoning_content" in turn:
        joined["reasoning_content"] = f"{last['reasoning_content']}\n\n{turn['reasoning_content']}"
    if "tool_calls" in last:
        joined["tool_calls"] = [*last["tool_calls"], *turn["tool_calls"]]
    return joined
