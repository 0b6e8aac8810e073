"""Slots of typed rows: what msgspec decodes of a line -> its shape and texts.

    slots = RowSlots(plain, marks=("train",))
    slots.read(row)                          # (shape, texts, id), or None

A typed row has the attributes that `jsonl_rows.py` gives it. What is unusual gives None: calls that may
belong to the message before, reasoning that differs from that in the content, a turn that says nothing. Such
a row is read as usual.

Cost: 1 us for a message, 3 us for one with a tool call; a list of tools that was seen before takes 2 us.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from ..core.errors import RowError
from ..core.shapes import CallShape, MessageShape, RowShape, json_text, message_shape
from ..core.strict_json import MAX_DEPTH
from ..dialects.common import TOOL_KEYS, read_tools, written_id
from ..dialects.marks import Mark, agreed, marks_of
from ..dialects.plain import PlainTurns, may_mark
from ..dialects.reasoning import said_once
from ..dialects.row_marks import ROW_WEIGHT_KEYS, row_weight
from ..dialects.shaped import ShapedRow
from ..dialects.turns import REASONING_KEYS, read_role

_MOST_TOOLS = 1 << 22  # bytes of lists of tools that are remembered
_MOST_LEVELS = MAX_DEPTH // 2  # of a part of a row, so that the whole has fewer than MAX_DEPTH

_parse = msgspec.json.Decoder().decode
_CALL = frozenset({"type", "id", "function"})
_FLAT_CALL = frozenset({"type", "id", "name", "arguments"})
_FUNCTION = frozenset({"name", "arguments"})


def is_deep(values: Sequence[Any]) -> bool:
    """Whether one of some values has many levels; level by level, so that depth cannot exhaust the stack."""
    level = [each for each in values if isinstance(each, (dict, list))]
    for _ in range(_MOST_LEVELS):
        if not level:
            return False
        nodes = (node.values() if isinstance(node, dict) else node for node in level)
        level = [each for node in nodes for each in node if isinstance(each, (dict, list))]
    return True


class _UnusualError(Exception):
    """A row has to be read as usual."""


class RowSlots:
    """Reads the slots of typed rows of one file; remembers their tools. `marks` are the marks of a turn, by
    their keys, in the attributes `mark_0`, `mark_1` ..."""

    def __init__(self, plain: PlainTurns, marks: Sequence[str] = ()) -> None:
        self._plain = plain
        self._marks, self._of_marks = tuple(marks), [f"mark_{i}" for i in range(len(marks))]
        self._tools: dict[bytes, tuple[str, ...]] = {}
        self._bytes = 0

    def read(self, row: Any) -> ShapedRow | None:
        """Return the shape, texts and id of a typed row; None if it has to be read as usual."""
        if may_mark(row.metadata):
            return None
        try:
            texts = [*self._texts_of_tools(row)]
            tools = len(texts) or None
            shapes = self._messages(row.turns, texts)
            weight = _weight(row.weight_0, row.weight_1, row.weight_2)
        except (_UnusualError, RowError, msgspec.DecodeError, RecursionError):
            return None
        system = row.system
        if system and not system.isspace() and not any(shape.role == "system" for shape in shapes):
            shapes.insert(0, message_shape("system"))
            texts.insert(tools or 0, system)
        return RowShape(tuple(shapes), tools, weight), texts, id_of(row)

    def _messages(self, turns: Sequence[Any], texts: list[str]) -> list[MessageShape]:
        """Return the shapes of all messages and append their texts."""
        if all(turn.text is None for turn in turns):
            raise _UnusualError  # these may be the turns of another dialect
        shapes: list[MessageShape] = []
        last, answers = "", False
        for turn in turns:
            shape = self._message(turn, texts)
            if shape.calls and last == shape.role == "assistant":
                raise _UnusualError  # these calls may be a part of the message before
            shapes.append(shape)
            last = shape.role
            answers = answers or last == "assistant"
        if not answers:
            raise _UnusualError
        return shapes

    def _message(self, turn: Any, texts: list[str]) -> MessageShape:
        """Return the shape of a message and append its texts."""
        role, is_call = _role(self._plain, turn.role)
        calls: Any = turn.tool_calls
        reasoning: str | None = None
        if is_call:
            content, calls = None, _called(turn.text)
        else:
            content = turn.text if turn.text.__class__ is str else _content(turn.text, role)
        if not (turn.reasoning_0 is turn.reasoning_1 is turn.reasoning_2 is None):
            reasoning, content = _reasoning(turn, content)
        texts += [text for text in (content, reasoning) if text is not None]
        shapes = _calls(calls, turn.function_call, texts) if calls or turn.function_call else ()
        if role == "assistant" and not (shapes or _says(content) or _says(reasoning)):
            raise _UnusualError
        texts += [text for text in (turn.tool_call_id, turn.name) if text is not None]
        mark = self._mark(turn) if self._marks else _NO_MARK
        return message_shape(
            role,
            content is not None,
            reasoning is not None,
            shapes,
            turn.tool_call_id is not None,
            turn.name is not None,
            mark.train,
            mark.weight,
        )

    def _mark(self, turn: Any) -> Mark:
        return _mark(self._marks, *[getattr(turn, name) for name in self._of_marks])

    def _texts_of_tools(self, row: Any) -> tuple[str, ...]:
        """Return the texts of the tools of a row, from the first field that has some."""
        for raw in (row.tools, row.functions):
            if raw is not None:
                written = bytes(raw)
                found = self._tools.get(written)
                if found is None:
                    found = self._remember(written, _texts_of_tools(written))
                if found:
                    return found
        return ()

    def _remember(self, written: bytes, texts: tuple[str, ...]) -> tuple[str, ...]:
        self._bytes += len(written)
        if self._bytes > _MOST_TOOLS:
            self._tools.clear()
            self._bytes = len(written)
        self._tools[written] = texts
        return texts


def id_of(row: Any) -> str | None:
    """Return the id of a typed row."""
    found = row.id_0
    if found is None:
        found = row.id_1 if row.id_1 is not None else row.id_2
    return found if found.__class__ is str else written_id(found)


# ==== Of a row ====


def _texts_of_tools(written: bytes) -> tuple[str, ...]:
    """Return the texts of a list of tools as it is written. Raises `RowError` or `DecodeError`."""
    value = _parse(written)
    if is_deep([value]):
        raise msgspec.DecodeError("many levels")
    return tuple(map(json_text, read_tools({TOOL_KEYS[0]: value}) or ()))


@lru_cache(maxsize=4096)
def _weight(*weights: float | None) -> float | None:
    """Return the weight of a row. Raises `RowError`."""
    return row_weight(dict(zip(ROW_WEIGHT_KEYS, weights, strict=True)))


# ==== Of a message ====


class _Role(NamedTuple):
    role: str
    is_call: bool  # the text is calls in JSON


@lru_cache(maxsize=4096)
def _role(plain: PlainTurns, written: str) -> _Role:
    """Return the role of a turn. Raises `RowError`."""
    if written.strip().lower() in plain.call_roles:
        return _Role("assistant", is_call=True)
    return _Role(read_role(0, written, plain.roles), is_call=False)


_NO_MARK = Mark()


@lru_cache(maxsize=4096, typed=True)  # 1 and true are not the same
def _mark(keys: tuple[str, ...], *values: Any) -> Mark:
    """Return what the marks of a turn say together. Raises `RowError`."""
    return agreed(marks_of(dict(zip(keys, values, strict=True)), ""), "")


def _says(text: str | None) -> bool:
    return bool(text) and not (text or "").isspace()


def _called(text: Any) -> Any:
    """Return the calls that are the text of a turn, in JSON."""
    if not isinstance(text, str):
        raise _UnusualError
    return _value(text)


def _content(text: list[Any] | None, role: str) -> str | None:
    """Return the content of a message from its parts, or of one that has none."""
    if text is not None:
        return "".join([part.text for part in text])
    if role not in ("assistant", "tool"):
        raise _UnusualError
    return None if role == "assistant" else ""


def _reasoning(turn: Any, content: str | None) -> tuple[str | None, str | None]:
    """Return the reasoning of a turn, and its content without the reasoning. Raises `RowError`."""
    each = (turn.reasoning_0, turn.reasoning_1, turn.reasoning_2)
    given = [text for text in each if text is not None]
    if len(given) == 1 and content and not _may_repeat(content):
        return given[0], content
    written = {key: text for key, text in zip(REASONING_KEYS, each, strict=True) if text is not None}
    reasoning, repeated = said_once(written, content, "")
    return reasoning, content and content[repeated:]


def _may_repeat(content: str) -> bool:
    """Whether a content may have a block of reasoning; no block starts with another character."""
    return content[0] in "<[" or content[0].isspace() or "</think>" in content


# ==== Tool calls ====


def _calls(calls: Any, older: Any, texts: list[str]) -> tuple[CallShape, ...]:
    """Return the shapes of tool calls and append their texts."""
    calls, older = (_value(each) if isinstance(each, str) else each for each in (calls, older))
    if calls and older:
        raise _UnusualError
    calls = calls or older or []
    return tuple([_call(call, texts) for call in (calls if isinstance(calls, list) else [calls])])


def _value(text: str) -> Any:
    """Return what a string holds as JSON; None if it is blank. Raises `DecodeError`."""
    return _parse(text) if text and not text.isspace() else None


def _call(call: Any, texts: list[str]) -> CallShape:
    """Return the shape of a tool call and append its texts."""
    function = call.get("function", call) if call.__class__ is dict else None
    if function.__class__ is not dict or call.get("type", "function") != "function":
        raise _UnusualError
    name, arguments = function.get("name"), function.get("arguments")
    if arguments.__class__ is str:
        arguments = _value(arguments)
    if name.__class__ is not str or arguments.__class__ is not dict:
        raise _UnusualError
    shape = _call_shape(tuple(call), None if function is call else tuple(function), bool(arguments))
    if "id" in call:
        if call["id"].__class__ is not str:
            raise _UnusualError
        texts.append(call["id"])
    texts.append(name)
    if arguments:
        texts.append(_text_of(arguments))
    return shape


def _text_of(arguments: dict[str, Any]) -> str:
    text = json_text(arguments)
    if len(text) > 2 * _MOST_LEVELS and is_deep([arguments]):
        raise _UnusualError
    return text


@lru_cache(maxsize=4096)
def _call_shape(keys: tuple[str, ...], function: tuple[str, ...] | None, is_filled: bool) -> CallShape:  # noqa: FBT001
    """Return the shape of a call with these keys, and those of its function; a flat call has none.

    As in `turns.py`: the keys are in the order of the row, what it lacks comes last.
    """
    known = _FLAT_CALL if function is None else _CALL
    if not known.issuperset(keys) or not _FUNCTION.issuperset(function or ()):
        raise _UnusualError
    fields = [key for key in keys if key in _CALL]
    fields += [key for key in ("type", "function") if key not in fields]
    order = [key for key in function or keys if key in _FUNCTION]
    return CallShape(tuple(fields), tuple(order), is_filled)
