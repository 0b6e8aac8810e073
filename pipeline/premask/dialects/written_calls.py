"""Tool calls that are written as JSON where the text of an answer is expected.

    {"query": "Rome?", "answers": "[{\\"name\\": \\"get_temp\\", \\"arguments\\": {...}}]", "tools": [...]}

With `tools`, the chat template shows the model how calls are written. JSON as text would teach another way,
so it is read as calls. An answer that looks like calls but cannot be read is refused, and so is an empty list
of them.

    >>> tools = ({"type": "function", "function": {"name": "f"}},)
    >>> calls_of('[{"name": "f", "arguments": {"a": 1}}]', tools)
    ({'type': 'function', 'function': {'name': 'f', 'arguments': {'a': 1}}},)
    >>> calls_of("It is 21 C.", tools)

Cost: nothing without tools; else the parse of an answer that begins like JSON.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ..core.errors import RowError
from ..core.strict_json import parse_json
from .turns import bad_call, read_calls

Tools = Sequence[dict[str, Any]] | None
"""The tools of a row, as `common.read_tools` gives them."""

_ARGUMENTS = ("arguments", "parameters", "args")
_FENCE = re.compile(r"```(?:json)?\s*\n(.*)\n\s*```", re.DOTALL)
_LIKE_CALLS = re.compile(r"\[?\s*\{\s*[\"'](?:name|function)[\"']\s*:")


def calls_of(answer: Any, tools: Tools) -> tuple[dict[str, Any], ...] | None:
    """The calls that an answer of a row with `tools` is; None if it is something else.

    Raises `RowError`: bad_tool_call, empty_assistant.
    """
    if not tools:
        return None
    held = _value(answer) if isinstance(answer, str) else answer
    if held == [] and isinstance(answer, str):
        raise RowError("empty_assistant", "the answer is an empty list of tool calls")
    if isinstance(held, dict) and isinstance(held.get("tool_calls"), list) and not held.get("content"):
        held = held["tool_calls"]
    calls = held if isinstance(held, list) else [held]
    if not calls or not all(isinstance(call, dict) for call in calls):
        return None
    names = {str(_function(tool).get("name")) for tool in tools}
    calls = [_usual(call, names) for call in calls]
    if not all(_is_call(call, names) for call in calls):
        return None
    return read_calls([_with_arguments(call) for call in calls], "the answer")


def _value(text: str) -> Any:
    """What a text holds as JSON, perhaps within a code fence; None if it is none. Raises `RowError`."""
    bare = text.strip()
    fenced = _FENCE.fullmatch(bare)
    bare = fenced[1].strip() if fenced else bare
    if not bare.startswith(("[", "{")):
        return None
    try:
        return parse_json(bare)
    except ValueError as error:
        if _LIKE_CALLS.match(bare) and any(f"{key}" in bare for key in _ARGUMENTS):
            raise bad_call("the answer", f"it is not valid JSON: {error}") from None
        return None


def _function(call: dict[str, Any]) -> dict[str, Any]:
    function = call.get("function")
    return function if isinstance(function, dict) else call


def _usual(call: dict[str, Any], names: set[str]) -> dict[str, Any]:
    """A call with the usual keys, from a call by its name alone and from LangChain's keys.

    >>> _usual({"f": {"a": 1}}, {"f"}), _usual({"tool_name": "f", "tool_input": {}}, {"f"})
    ({'name': 'f', 'arguments': {'a': 1}}, {'name': 'f', 'arguments': {}})
    """
    if len(call) == 1:
        ((name, arguments),) = call.items()
        return (
            {"name": name, "arguments": arguments} if name in names and isinstance(arguments, dict) else call
        )
    if isinstance(call.get("function"), str) and "name" not in call:
        return {("name" if key == "function" else key): field for key, field in call.items()}
    if call.keys() == {"tool_name", "tool_input"}:
        return {"name": call["tool_name"], "arguments": call["tool_input"]}
    return call


def _is_call(call: dict[str, Any], names: set[str]) -> bool:
    function = _function(call)
    name = function.get("name")
    return isinstance(name, str) and (name in names or any(key in function for key in _ARGUMENTS))


def _with_arguments(call: dict[str, Any]) -> dict[str, Any]:
    """A call with its arguments under the name that is read."""
    function = _function(call)
    other = next((key for key in _ARGUMENTS[1:] if key in function and "arguments" not in function), None)
    if other is None:
        return call
    renamed = {("arguments" if key == other else key): value for key, value in function.items()}
    return renamed if function is call else {**call, "function": renamed}
