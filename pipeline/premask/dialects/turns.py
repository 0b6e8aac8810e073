"""What the dialects share about a single turn: turn -> Message.

    read_role     any spelling of a role (`role_names.py`) -> one of `records.ROLES`, or `CALL_ROLE`
    read_turn     a turn as it is written -> Message; its content may be calls
    make_message  the other fields of a turn: text parts, reasoning, tool calls, marks

Content is passed on as it is, to the character. A turn comes without null-valued keys; `index` is its
place in the row, for error texts.

    >>> make_message(1, {"weight": 0}, role="assistant", content=[{"type": "text", "text": "Hi"}])
    Message(role='assistant', content='Hi', reasoning=None, tool_calls=(), tool_call_id=None, name=None, \
train=False, weight=None, extra={}, stretches=())

Cost: some microseconds a turn, and the parse of what is JSON within a string.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ..core.errors import RowError
from ..core.records import Message, Stretch
from ..core.roles import CALL_ROLE
from ..core.strict_json import parse_json
from ..core.text import kind
from .cells import as_text, not_a_string, object_in, parsed
from .marks import NONE, TURN_KEYS, Mark, agreed, marks_of, read_ranges, without_start
from .parts import Parts, read_parts
from .reasoning import said_once

Turn = dict[str, Any]

REASONING_KEYS = ("reasoning_content", "reasoning", "thinking")
CALL_KEYS = ("tool_calls", "function_call")
OTHER_REASONING = ("reasoning_text", "cot", "rationale", "thought", "thoughts", "analysis")
SELDOM_KEYS = frozenset({*OTHER_REASONING, "reasoning_details", "tool_call"})
"""Keys of reasoning and calls that are seldom: turns that have them are read one by one."""

KNOWN_KEYS = {*REASONING_KEYS, *TURN_KEYS, *CALL_KEYS, *SELDOM_KEYS, "tool_call_id", "name"}
"""Keys of a turn that become fields of Message, beside role and content."""

_CALL_KEYS = {"id", "type", "index", "name", "arguments"}


def read_role(index: int, role: Any, roles: Mapping[str, str]) -> str:
    """The normalized role of turn `index`. Raises `RowError`: wrong_type, unknown_role.

    >>> read_role(0, " Human ", {"human": "user"})
    'user'
    """
    if role is None:
        raise RowError("wrong_type", f"turn {index} has no role")
    if not isinstance(role, str):
        raise RowError("wrong_type", f"the role of turn {index} is a JSON {kind(role)}, not a string")
    known = roles.get(role.strip().lower())
    if known is None:
        raise RowError("unknown_role", _unknown_role(index, role[:80], roles))
    return known


def _unknown_role(index: int, role: str, roles: Mapping[str, str]) -> str:
    names = roles if len(roles) < 12 else dict.fromkeys(roles.values())
    return (
        f"turn {index} has role {role!r}; known roles: {', '.join(names)}; for others, name every speaker of "
        f"the file in the recipe: fields: {{messages: PATH, roles: {{{role!r}: user, NAME: assistant}}}}"
    )


def read_turn(  # noqa: PLR0913  one argument per field
    index: int,
    turn: Turn,
    *,
    written: Any,
    content: Any,
    roles: Mapping[str, str],
    extra: dict[str, Any] | None = None,
) -> Message:
    """Make the message of turn `index` from its role as it is `written`, its content and its other fields.
    The content of a turn that is calls is their JSON. Raises `RowError`."""
    role = read_role(index, written, roles)
    if role != CALL_ROLE:
        return make_message(index, turn, role=role, content=content, extra=extra)
    if isinstance(content, list) and any(isinstance(each, dict) and "text" in each for each in content):
        content = read_parts(content, f"turn {index}").text
    if content is not None and not (isinstance(content, str) and not content.strip()):
        turn = {**turn, "tool_calls": content}
    return make_message(index, turn, role="assistant", content=None, extra=extra)


def make_message(
    index: int, turn: Turn, *, role: str, content: Any, extra: dict[str, Any] | None = None
) -> Message:
    """Make the message of turn `index` from its normalized role, its content and its other fields.

    Raises `RowError`: wrong_type, unsupported_content, bad_tool_call.
    """
    where = f"turn {index}"
    parts = _content(content, role, where)
    if not SELDOM_KEYS.isdisjoint(turn):
        turn = _with_usual_keys(turn, role, parts.text or "", where)
    reasoning, repeated = _reasoning(turn, parts, where)
    calls = _calls(turn, where)
    if calls and parts.calls:
        raise RowError("wrong_type", f"{where} has tool calls both in its parts and beside them")
    beside = bool(calls or (reasoning and not parts.reasoning))
    ranges = read_ranges(turn, content, where)
    mark, stretches = _marks(marks_of(turn, where), ranges, parts, where, beside=beside)
    calls = calls or tuple(_call(_parsed(call, where), where) for call in parts.calls)
    return Message(
        role=role,
        content=parts.text and parts.text[repeated:],
        reasoning=reasoning,
        tool_calls=calls,
        tool_call_id=_text(turn, "tool_call_id", where),
        name=_text(turn, "name", where),
        train=mark.train,
        weight=mark.weight,
        extra=extra or {},
        stretches=without_start(stretches, repeated) if repeated else stretches,
    )


def extra_fields(turn: Turn, own_keys: Collection[str]) -> dict[str, Any]:
    """The fields of a turn that are neither known here nor the dialect's own.

    >>> extra_fields({"role": "user", "name": "Ann", "mood": "good"}, {"role", "content"})
    {'mood': 'good'}
    """
    return {key: field for key, field in turn.items() if key not in KNOWN_KEYS and key not in own_keys}


# ==== Text ====


def _content(content: Any, role: str, where: str) -> Parts:
    if isinstance(content, list):
        parts = read_parts(content, where)
        if role != "assistant" and (parts.reasoning is not None or parts.calls or parts.text is None):
            detail = f"{where} ({role}) has a part that only the assistant can write"
            raise RowError("unsupported_content", detail)
        return parts
    content = as_text(content)
    if content is not None and not isinstance(content, str):
        raise not_a_string(f"the content of {where}", content)
    if content is None and role not in ("assistant", "tool"):
        raise RowError("wrong_type", f"{where} ({role}) has no content")
    return Parts("" if content is None and role == "tool" else content, None, [])


def _text(turn: Turn, key: str, where: str) -> str | None:
    text = turn.get(key)
    if key == "tool_call_id":
        text = as_text(text)
    if text is not None and not isinstance(text, str):
        raise not_a_string(f"'{key}' of {where}", text)
    return text


# ==== Reasoning and marks ====


def _reasoning(turn: Turn, parts: Parts, where: str) -> tuple[str | None, int]:
    """The reasoning of a turn, and how many characters at the start of its content repeat it."""
    written = {f"'{key}'": text for key in REASONING_KEYS if (text := _text(turn, key, where)) is not None}
    if parts.reasoning is not None:
        written["its parts"] = parts.reasoning
    return said_once(written, parts.text, where) if written else (None, 0)


def _marks(
    named: dict[str, Mark], ranges: tuple[Stretch, ...], parts: Parts, where: str, *, beside: bool
) -> tuple[Mark, tuple[Stretch, ...]]:
    """The mark of a message, and those of stretches of its content; `beside`: it has reasoning or calls that
    are not parts."""
    if not named and not ranges and parts.mark == NONE and not parts.stretches:
        return NONE, ()
    stretches, of_parts = ranges or parts.stretches, parts.mark
    if beside and of_parts != NONE:
        stretches, of_parts = parts.alone(where), NONE
    mark = agreed({**named, "the marks of its parts": of_parts}, where)
    trained = {each.train for each in stretches}
    if (mark.train is False and True in trained) or (mark.train and trained == {False}):
        (name, *_) = [name for name, each in named.items() if each.train is not None]
        raise RowError("wrong_type", f"{name}, the marks of parts of {where} contradict each other")
    whole = trained == {False} and not (beside or parts.reasoning or parts.calls)
    return (Mark(train=False), ()) if whole else (mark, stretches)


def _with_usual_keys(turn: Turn, role: str, content: str, where: str) -> Turn:
    """A turn with seldom keys of reasoning and calls under their usual names. Reasoning that its content has
    is not repeated.

    >>> _with_usual_keys({"cot": "Hm."}, "assistant", "56", "turn 1")
    {'cot': 'Hm.', 'reasoning_content': 'Hm.'}
    """
    usual = {**turn}
    if turn.get("tool_call") and "function_call" not in turn:
        usual["function_call"] = turn["tool_call"]
    given = [turn.get(key) for key in OTHER_REASONING] if role == "assistant" else []
    texts = {each for each in given if isinstance(each, str) and each.strip() and each.strip() not in content}
    if any(isinstance(each, (list, dict)) and each for each in given):
        raise RowError("wrong_type", f"the reasoning of {where} is not a string; write it as one text")
    texts |= {turn["reasoning_content"]} if texts and turn.get("reasoning_content") else set()
    if len(texts) > 1:
        raise RowError("wrong_type", f"{where} has two reasonings that differ; leave one of them out")
    if texts:
        (usual["reasoning_content"],) = texts
    details = _details(turn.get("reasoning_details")) if role == "assistant" else ""
    if details and not any(usual.get(key) for key in REASONING_KEYS):
        usual["reasoning_content"] = details
    return usual


def _details(details: Any) -> str:
    """The texts and summaries of OpenRouter's list of reasoning."""
    items = [each for each in parsed(details) or [] if isinstance(each, dict)] if details else []
    texts = [each.get("text") or each.get("summary") for each in items]
    return "\n".join(text for text in texts if isinstance(text, str))


# ==== Tool calls ====


def _calls(turn: Turn, where: str) -> tuple[dict[str, Any], ...]:
    """Tool calls in OpenAI's shape; tables hold them as JSON within a string.

    >>> _calls({"tool_calls": '[{"name": "f"}]'}, "turn 3")
    ({'type': 'function', 'function': {'name': 'f', 'arguments': {}}},)
    """
    calls, older = (read_calls(turn.get(key) or [], where) for key in CALL_KEYS)
    functions = [call["function"] for call in calls]
    if calls and any(call["function"] not in functions for call in older):
        raise bad_call(where, "'function_call' differs from 'tool_calls'; leave one of them out")
    return calls or older


def read_calls(calls: Any, where: str) -> tuple[dict[str, Any], ...]:
    """A list of calls, or one call, in OpenAI's shape. Raises `RowError`: bad_tool_call."""
    if isinstance(calls, str):
        calls = (call_json(calls, where) if calls.strip() else None) or []
    calls = parsed(calls)
    return tuple(_call(call, where) for call in (calls if isinstance(calls, list) else [calls]))


def _call(call: Any, where: str) -> dict[str, Any]:
    """One tool call in OpenAI's shape, from that shape or from a flat name and arguments.

    >>> _call({"name": "add", "arguments": '{"a": 1}'}, "turn 3")
    {'type': 'function', 'function': {'name': 'add', 'arguments': {'a': 1}}}
    """
    if not isinstance(call, dict):
        raise bad_call(where, f"it is a JSON {kind(call)}, not an object")
    if call.get("type") not in ("function", None):
        raise bad_call(where, f"it is of type {str(call['type'])[:80]!r}, not 'function'")
    function = call if call.get("function") is None else object_in(call["function"])
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise bad_call(where, "it names no function")
    named = _in_order(function, {"name": function["name"], "arguments": _arguments(function, where)})
    if call.get("id") is None:
        return _in_order(call, {"type": "function", "function": named})
    id_ = as_text(call["id"])
    if not isinstance(id_, str):
        raise bad_call(where, f"its id is a JSON {kind(id_)}, not a string")
    return _in_order(call, {"type": "function", "id": id_, "function": named})


def _in_order(written: dict[str, Any], made: dict[str, Any]) -> dict[str, Any]:
    """Return an object with its keys in the order of the row: templates print calls as they are.

    >>> list(_in_order({"id": "a", "type": "function"}, {"type": "function", "id": "a"}))
    ['id', 'type']
    """
    return {**{key: made[key] for key in written if key in made}, **made}


def _arguments(function: dict[str, Any], where: str) -> dict[str, Any]:
    """Arguments as an object. None at all is an empty one, as is "" and "null", unless another key may hold
    them."""
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        arguments = call_json(arguments, where) if arguments.strip() else None
    if arguments is None:
        others = [key for key in function if key not in _CALL_KEYS and function[key] is not None]
        if others:
            raise bad_call(where, f"it has no 'arguments' but {', '.join(map(repr, others))[:80]}")
        return {}
    if not isinstance(arguments, dict):
        raise bad_call(where, f"its arguments are a JSON {kind(arguments)}, not an object")
    return arguments


def _parsed(call: Any, where: str) -> Any:
    return call_json(call, where) if isinstance(call, str) else call


def call_json(text: str, where: str) -> Any:
    """Parse JSON within a string of a tool call. Raises `RowError`: bad_tool_call."""
    try:
        return parse_json(text)
    except ValueError as error:
        raise bad_call(where, f"it is not valid JSON: {error}") from None


def bad_call(where: str, what: str) -> RowError:
    """The error of a tool call that cannot be read."""
    return RowError("bad_tool_call", f"a tool call of {where} cannot be read: {what}")
