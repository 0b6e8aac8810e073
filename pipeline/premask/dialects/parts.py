"""Content given as a list of parts: text, reasoning, tool calls and tool results, in the spellings of OpenAI,
Anthropic, LLaMA-Factory, Gemini and Bedrock.

    {"type": "text", "text": "Hi"}                       text; also input_text, output_text, and without type
    {"type": "thinking", "thinking": "..."}              reasoning; also reasoning
    {"type": "tool_use", "id": ..., "name": ..., "input": {...}}       a call (Anthropic)
    {"type": "tool_call", "value": '{"name": ..., "arguments": {...}}'}  a call (LLaMA-Factory)
    {"type": "tool_result", "tool_use_id": ..., "content": ...}        a message of its own (Anthropic)
    {"functionCall": ...}, {"functionResponse": ...}, {"text": ..., "thought": true}    the same (Gemini)
    {"toolUse": ...}, {"toolResult": ...}, {"reasoningContent": ...}   the same (Bedrock Converse)

    >>> read_parts([{"type": "text", "text": "a "}, {"type": "text", "value": "b"}], "turn 1").text
    'a b'

A message has its reasoning first, then its text, then its calls: a chat template cannot be given parts in
another order, so they are refused, like anything that is not text. A part of text may have marks of its own
(`marks.py`). Cost: linear in the parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from ..core.errors import RowError
from ..core.records import Stretch
from ..core.shapes import json_text
from ..core.text import kind
from .cells import as_text, object_in
from .marks import NONE, TURN_KEYS, Mark, read_mark, stretches_of
from .role_names import ROLE_NAMES

Part = dict[str, Any]

_TRAINED = Mark(train=True)

_TEXTS = ("text", "input_text", "output_text")
_REASONING = ("reasoning", "thinking")
_CALLS = ("tool_call", "tool_use")
_RANKS = {**dict.fromkeys(_REASONING, 0), **dict.fromkeys(_TEXTS, 1), **dict.fromkeys(_CALLS, 2)}

BLOCKS = frozenset({"tool_use", "tool_result", "thinking", "redacted_thinking"})
"""Types of parts that only Anthropic's messages have."""


class Parts(NamedTuple):
    """What the parts of one message come to; `text` is None where there is no text part but others are, and
    `calls` are as they were written. `mark` is what all parts say alike, else `stretches` has what those of
    text say."""

    text: str | None
    reasoning: str | None
    calls: list[Any]
    mark: Mark = NONE
    stretches: tuple[Stretch, ...] = ()

    def alone(self, where: str) -> tuple[Stretch, ...]:
        """`mark` as that of the text alone. Raises `RowError`: unsupported_content."""
        if (self.reasoning or self.calls) and self.mark != _TRAINED:
            raise _no_text(where)
        return stretches_of([(len(self.text or ""), self.mark)])


def read_parts(parts: list[Any], where: str) -> Parts:
    """The parts of a message as one. Raises `RowError`: wrong_type, unsupported_content."""
    parts = [typed(part) for part in parts]
    ranks = [_rank(part, where) for part in parts]
    if ranks != sorted(ranks):
        detail = f"the parts of {where} are not in the order reasoning, text, tool calls"
        raise RowError("unsupported_content", detail)
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[Any] = []
    for part, rank in zip(parts, ranks, strict=True):
        if rank == 2:
            calls.append(_call(part))
        else:
            (thoughts, texts)[rank].append(_text(part, where))
    text = "".join(texts) if texts or not parts else None
    marks = [read_mark(part, f"part {i} of {where}") for i, part in enumerate(parts)]
    marked = _marked(ranks, marks, texts, where) if any(mark != NONE for mark in marks) else (NONE, ())
    return Parts(text, "".join(thoughts) if thoughts else None, calls, *marked)


def _marked(
    ranks: list[int], marks: list[Mark], texts: list[str], where: str
) -> tuple[Mark, tuple[Stretch, ...]]:
    """The mark of all parts, or those of the parts of text: only these can be marked by themselves."""
    if len({*marks}) == 1:
        return marks[0], ()
    if any(rank != 1 and mark not in (NONE, _TRAINED) for rank, mark in zip(ranks, marks, strict=True)):
        raise _no_text(where)
    own = [mark for rank, mark in zip(ranks, marks, strict=True) if rank == 1]
    return NONE, stretches_of([(len(text), mark) for text, mark in zip(texts, own, strict=True)])


def _no_text(where: str) -> RowError:
    detail = (
        f"{where} has a mark on a part that is reasoning or a tool call; mark the whole message, or write "
        "train: {reasoning: false} or {tool_calls: false} in the recipe"
    )
    return RowError("unsupported_content", detail)


# ==== Parts without a type ====


def typed(part: Any) -> Any:
    """A part of Gemini or Bedrock, which name their type by their only key, as one with a type; also a part
    that is JSON within a string. Anything else as it is.

    >>> typed({"functionCall": {"name": "f", "args": {"a": 1}}})
    {'type': 'tool_use', 'id': None, 'name': 'f', 'input': {'a': 1}}
    """
    part = object_in(part)
    if not isinstance(part, dict) or part.get("type") is not None:
        return part
    held = {key: field for key, field in part.items() if field is not None}
    objects = [key for key, field in held.items() if isinstance(field, dict)]
    if len(objects) == 1 and objects[0] in _BY_KEY and "text" not in held:
        marks = {key: field for key, field in held.items() if key in TURN_KEYS}
        return {**_BY_KEY[objects[0]](held[objects[0]]), **marks}
    if held.get("thought") is True and isinstance(held.get("text"), str) and not objects:
        return {**held, "type": "thinking"}
    return part


def _function_call(call: Part) -> Part:
    return {"type": "tool_use", "id": call.get("id"), "name": call.get("name"), "input": call.get("args")}


def _function_response(result: Part) -> Part:
    response = result.get("response")
    content = json_text(response) if isinstance(response, (dict, list)) else response
    found = {"type": "tool_result", "tool_use_id": result.get("id"), "name": result.get("name")}
    return {**found, "content": content}


def _tool_use(call: Part) -> Part:
    return {**call, "type": "tool_use", "id": call.get("toolUseId")}


def _tool_result(result: Part) -> Part:
    return {"type": "tool_result", "tool_use_id": result.get("toolUseId"), "content": result.get("content")}


def _reasoning_content(content: Part) -> Part:
    text = object_in(content.get("reasoningText"))
    if not isinstance(text, dict) or not isinstance(text.get("text"), str):
        return {"type": "reasoningContent without text"}
    return {"type": "thinking", "thinking": text["text"]}


_BY_KEY: Mapping[str, Callable[[Part], Part]] = {
    "functionCall": _function_call,
    "function_call": _function_call,
    "functionResponse": _function_response,
    "function_response": _function_response,
    "toolUse": _tool_use,
    "toolResult": _tool_result,
    "reasoningContent": _reasoning_content,
    "json": lambda value: {"type": "text", "text": json_text(value)},
}


# ==== Tool results ====


def with_results(index: int, turn: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A turn with its tool results as turns of their own, in the order of the parts.

    >>> result = {"type": "tool_result", "tool_use_id": "a", "content": "21 C"}
    >>> next(with_results(3, {"role": "user", "content": [result]}))
    {'role': 'tool', 'tool_call_id': 'a', 'content': '21 C'}
    """
    content = turn.get("content")
    content = [typed(part) for part in content] if isinstance(content, list) else []
    if not any(map(_is_result, content)):
        yield turn
        return
    if ROLE_NAMES.get(str(turn.get("role")).strip().lower()) not in ("user", "tool"):
        raise RowError("wrong_type", f"turn {index} has a tool result but is not the user's")
    others: list[Any] = []
    for part in content:
        if not _is_result(part):
            others.append(part)
            continue
        if others:
            yield {**turn, "content": others}
            others = []
        result = {"role": "tool", "tool_call_id": part.get("tool_use_id"), "content": part.get("content")}
        result["name"] = part.get("name")
        yield {key: field for key, field in result.items() if field is not None}
    if others:
        yield {**turn, "content": others}


def has_blocks(content: Any) -> bool:
    """Whether some content has a part that only Anthropic's messages have."""
    parts = content if isinstance(content, list) else []
    return any(isinstance(part, dict) and str(part.get("type")) in BLOCKS for part in parts)


def _is_result(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "tool_result"


def _rank(part: Any, where: str) -> int:
    if not isinstance(part, dict):
        raise RowError("wrong_type", f"a content part of {where} is a JSON {kind(part)}, not an object")
    found = part.get("type")
    objects = any(isinstance(field, dict) for field in part.values())
    if found is None and isinstance(part.get("text"), str) and not objects:
        return _RANKS["text"]
    rank = _RANKS.get(found) if isinstance(found, str) else None
    if rank is None:
        named = f"of type {str(found)[:80]!r}" if found is not None else f"without type ({_keys(part)})"
        detail = f"{where} has a content part {named}; only text can be used: leave out the part, or the row"
        raise RowError("unsupported_content", detail)
    return rank


def _keys(part: Part) -> str:
    return ", ".join(map(repr, part))[:80] or "no keys"


def _text(part: Part, where: str) -> str:
    keys = ("text", "thinking", "reasoning", "content", "value")
    texts = [as_text(part[key]) for key in keys if part.get(key) is not None]
    if not texts or not isinstance(texts[0], str):
        raise RowError("wrong_type", f"a text part of {where} holds no string")
    return texts[0]


def _call(part: Part) -> Any:
    """A call as `turns.py` reads it: an object with a name and arguments, or JSON within a string."""
    if part["type"] == "tool_call":
        return part.get("value", part.get("tool_call"))
    return {"id": part.get("id"), "name": part.get("name"), "arguments": part.get("input")}
