"""Free mapping: rows of no known dialect, read as the recipe's `fields` says.

    fields: {messages: data.turns, role: speaker, content: utterance, roles: {USER: user, SYSTEM: assistant}}
    fields: {system: about.system, user: question, assistant: "answers[0].text", tools: api, id: key}
    fields: {user: problem, assistant: solution, reasoning: deepseek_reasoning}

A path has names and, in brackets, places in lists, joined by dots; a column that has the whole path as its
name goes first. A field that is not named is not looked at, but for what every dialect finds beside the turns
(`tools`, `id`, template arguments, media, marks). A row is refused if its question leaves out choices, or its
answer leaves out reasoning, that stand beside them (`beside.py`).

    >>> mapped = MappedFields(FieldMap(user="q", assistant="answers[0].text"))
    >>> [each.content for each in mapped.normalize({"q": "1+1?", "answers": [{"text": "2"}]}).messages]
    ['1+1?', '2']

Cost: see `common.py` and `turns.py`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.errors import RowError, SourceError
from ..core.records import Conversation, Message
from ..core.source_entry import FieldMap, split_path
from ..core.text import kind
from . import common
from .beside import check_choices, reasoning_names, with_reasoning
from .cells import as_text, check_lengths, parsed
from .parts import with_results
from .question_answer import read_answers
from .role_names import ROLE_NAMES
from .turns import Turn, extra_fields, read_turn
from .written_calls import Tools


@dataclass(frozen=True)
class MappedFields:
    """A dialect made from the `fields` of a recipe."""

    map: FieldMap

    def recognize(self, value: Any) -> bool:
        """Whether the row has what the map says of the turns, or of question and answer."""
        map_ = self.map
        wanted = [map_.messages] if map_.messages else [map_.user, map_.assistant]
        return all(_found(value, path) is not None for path in wanted if path)

    def normalize(self, value: Any) -> Conversation:
        """Read a row. Raises `RowError`."""
        return self.paths(value)[0]

    def paths(self, value: Any) -> list[Conversation]:
        """Read a row with each of its answers. Raises `RowError`."""
        if not isinstance(value, dict) and not (isinstance(value, list) and self.map.messages):
            raise RowError("not_an_object", f"the row is a JSON {kind(value)}, not an object")
        row = {**value} if isinstance(value, dict) else {}
        for key in ("system", "tools", "id"):
            path = getattr(self.map, key)
            if path is not None:
                row[key] = _found(value, path)
        if self.map.system is None:
            row = {key: field for key, field in row.items() if key not in common.SYSTEM_KEYS}
        if self.map.messages:
            return [common.of_turns(row, self._turns(value))]
        answers = self._columns(value, common.read_tools(row))
        return [common.make_conversation(row, common.with_system(row, messages)) for messages in answers]

    def check(self, values: Sequence[Any], *, source: str) -> None:
        """Raise `SourceError` for a path that leads nowhere in all of some rows of a file."""
        for key, path in self.map.paths():
            inner = key in ("role", "content") or (key == "reasoning" and self.map.messages is not None)
            rows = [turn for value in values for turn in self._raw_turns(value)] if inner else values
            if rows and all(_found(row, path) is None for row in rows):
                raise SourceError(f"{source}: fields.{key}: {_nowhere(path, rows, inner=inner)}")

    def _columns(self, value: Any, tools: Tools) -> list[list[Message]]:
        map_ = self.map
        self._check_left_out(value)
        asked: list[Message] = []
        if map_.user is not None:
            text = _found(value, map_.user)
            text = as_text(text)
            if not isinstance(text, str) or not text.strip():
                raise RowError("wrong_type", f"'{map_.user}' is {_described(text)}")
            asked.append(Message("user", text))
        key = map_.assistant or ""
        field = _found(value, key)
        answers = read_answers({} if field is None else {key: field}, [key], tools)
        reasoning = None if map_.reasoning is None else _found(value, map_.reasoning)
        if reasoning is not None:
            answers = with_reasoning(answers, map_.reasoning or "", _reasoning(map_.reasoning, reasoning))
        return [[*asked, *answer] for answer in answers]

    def _check_left_out(self, value: dict[str, Any]) -> None:
        """Refuse a row with choices or reasoning beside its question or answer that the map does not name."""
        map_ = self.map
        paths = [path for path in (map_.user, map_.assistant, map_.system, map_.reasoning) if path]
        used = {name for path in paths for name in (path, *split_path(path)) if isinstance(name, str)}
        for path in (path for path in (map_.user, map_.assistant) if path):
            for before, row in {"": value, **_holder(value, path)}.items():
                if map_.user is not None:
                    check_choices(row, used)
                name = next(reasoning_names(row, used), None)
                if name is not None and map_.reasoning is None:
                    raise _left_out(f"{before}{name}")

    def _turns(self, value: Any) -> list[list[Message]]:
        path = self.map.messages or ""
        turns = parsed(_found(value, path))
        check_lengths(turns, f"'{path}'")
        if turns is None:
            raise RowError("no_messages", f"the row has nothing at '{path}'")
        if not isinstance(turns, list):
            raise RowError("wrong_type", f"'{path}' is a JSON {kind(turns)}, not an array of turns")
        return [[*self._messages(index, turn)] for index, turn in enumerate(turns)]

    def _messages(self, index: int, turn: Any) -> Iterator[Message]:
        if not isinstance(turn, dict):
            raise RowError("wrong_type", f"turn {index} is a JSON {kind(turn)}, not an object")
        role_key, content_key = self.map.role or "role", self.map.content or "content"
        roles = {name.strip().lower(): role for name, role in (self.map.roles or ROLE_NAMES).items()}
        held: Turn = {key: field for key, field in turn.items() if field is not None}
        held["role"], held["content"] = _found(turn, role_key), _found(turn, content_key)
        if self.map.reasoning is not None:
            held["reasoning_content"] = _found(turn, self.map.reasoning)
        plain = role_key == "role" and content_key == "content"
        for each in with_results(index, held):
            is_result = each is not held and each["role"] == "tool"
            written, known = _name(each.get("role")), ROLE_NAMES if is_result else roles
            extra = extra_fields(each, {"role", "content"}) if plain else {}
            yield read_turn(
                index, each, written=written, content=each.get("content"), roles=known, extra=extra
            )

    def _raw_turns(self, value: Any) -> list[Any]:
        turns = parsed(_found(value, self.map.messages or ""))
        return turns if isinstance(turns, list) else []


def _name(role: Any) -> Any:
    """A role as it is written; speakers are numbered in some files."""
    return str(role) if isinstance(role, int) and not isinstance(role, bool) else role


def _found(value: Any, path: str) -> Any:
    """What is at a path of a row; None where it leads nowhere."""
    if isinstance(value, dict) and path in value:
        return value[path]
    for step in split_path(path):
        if isinstance(step, int):
            value = value[step] if isinstance(value, list) and -len(value) <= step < len(value) else None
        else:
            value = value.get(step) if isinstance(value, dict) else None
    return value


def _holder(value: dict[str, Any], path: str) -> dict[str, dict[str, Any]]:
    """The object within a row that has the last step of a path, by the path to it and a dot."""
    before, dot, _ = ("", "", "") if path in value else path.rpartition(".")
    held = _found(value, before) if before else None
    return {f"{before}{dot}": held} if isinstance(held, dict) else {}


def _left_out(path: str) -> RowError:
    detail = (
        f"'{path}' looks like the reasoning of the answer, but fields leaves it out; add reasoning: {path}, "
        "or leave the column out with the source's columns"
    )
    return RowError("unsupported_content", detail)


def _reasoning(path: str | None, field: Any) -> str:
    if not isinstance(field, str):
        raise RowError("wrong_type", f"'{path}' is {_described(field)}")
    return field


def _described(text: Any) -> str:
    return (
        "missing or empty" if text is None or isinstance(text, str) else f"a JSON {kind(text)}, not a string"
    )


def _nowhere(path: str, rows: Sequence[Any], *, inner: bool) -> str:
    """What is wrong with a path: the step that fails, and the keys that are there."""
    steps, before = split_path(path), list(rows)
    for step in steps[:-1]:
        after = [_found(value, step) if isinstance(step, str) else _item(value, step) for value in before]
        if all(value is None for value in after):
            break
        before, last = [value for value in after if value is not None], step
    else:
        step = steps[-1]
    where = "the turns" if inner else "the rows"
    keys = sorted({key for value in before if isinstance(value, Mapping) for key in value})
    near = difflib.get_close_matches(str(step), keys, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    shown = ", ".join(key if key.isprintable() else repr(key) for key in keys[:12]) or "no keys"
    at = "" if before == list(rows) else f" at '{last}'"
    return f"'{path}' leads nowhere in {where}: no '{step}'{at}; {hint}there is: {shown}"


def _item(value: Any, place: int) -> Any:
    return value[place] if isinstance(value, list) and -len(value) <= place < len(value) else None
