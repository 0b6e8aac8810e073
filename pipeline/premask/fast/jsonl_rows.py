"""Rows of JSONL with a shape: lines are parsed directly into slots.

    LineReader(plain, dialect).shaped_rows(block)

Rows of a file usually have the same fields. Then msgspec gets a type for a line: turns of two strings, an id,
and known fields that are null. It parses such a line four times as fast as an untyped one, and refuses any
other line. The type is learned from rows that were parsed without one and have a shape: the field of the
turns, and the other fields. Once a row has more than roles and texts, the type has the fields of all slots
(`jsonl_slots.py`).

A refused line is parsed without a type. So the type changes the speed only.

Cost: 2 us for a line of four turns and 460 bytes, and 2 us per further kilobyte.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from ..core.strict_json import may_be_deep
from ..core.text import is_encodable
from ..dialects import shaped_row
from ..dialects.common import ID_KEYS, TOOL_KEYS
from ..dialects.marks import RANGE_KEYS, TURN_KEYS
from ..dialects.plain import (
    NO_JSON,
    NO_LABEL,
    NO_MEDIA,
    NO_WEIGHT,
    PlainTurns,
    empty_values,
    has_blank,
    may_mark,
    pair_of,
    plain_row,
    read_roles,
    with_system,
)
from ..dialects.row_marks import METADATA_KEY, ROW_WEIGHT_KEYS
from ..dialects.shaped import ShapedRow, ShapedRows
from ..dialects.turns import CALL_KEYS, REASONING_KEYS
from ..sources.line_blocks import LineBlock
from .jsonl_slots import RowSlots, id_of, is_deep

_MOST_KEYS = 64  # with more different keys, rows have no common type

_NoItems = msgspec.Meta(max_length=0)
_Nothing = Annotated[list[Any], _NoItems] | Annotated[dict[str, Any], _NoItems]
_NoMedia = Literal[""] | _Nothing | None
_NoJsonError = Literal["", "[]", "{}", "null"] | _Nothing | None
_NoWeight = Literal[1] | None
_OF_EMPTY = {
    id(NO_MEDIA): _NoMedia,
    id(NO_JSON): _NoJsonError,
    id(NO_WEIGHT): _NoWeight,
    id(NO_LABEL): None,
}
_Id = str | int | float | bool | None

_Decode = Callable[[bytes], Any]
_Read = Callable[[Any], ShapedRow | None]


class _Likeness(NamedTuple):
    """What the rows of a file have in common: the key of their turns, all keys of rows and turns, and whether
    all have only roles and texts."""

    key: str
    pair: tuple[str, str]
    row_keys: frozenset[str]
    turn_keys: frozenset[str]
    is_plain: bool


class LineReader:
    """Finds the rows with a shape in the lines of one file, and learns their type."""

    def __init__(self, plain: PlainTurns, dialect: str) -> None:
        self._plain, self._dialect = plain, dialect
        self._like: _Likeness | None = None
        self._decode: _Decode = _nothing_known
        self._read: _Read = self._plain_row

    def shaped_rows(self, block: LineBlock) -> ShapedRows:
        """Return the rows with a shape of a block. Raises `SourceError` for a line that is not UTF-8."""
        found = ShapedRows()
        for at, line in enumerate(block.lines):
            try:
                row = self._read(self._decode(line))
            except (msgspec.DecodeError, RecursionError, UnicodeError):
                row = None
            row = row or self._parsed(block, at)
            if row is not None:
                found.add(at, row)
        return found

    def _plain_row(self, row: Any) -> ShapedRow | None:
        turns = row.turns
        roles = read_roles(self._plain, tuple([turn.role for turn in turns]))
        texts = [turn.text for turn in turns]
        if roles is None or has_blank(texts, roles.answers) or may_mark(row.metadata):
            return None
        shape = roles.shape
        if self._plain.system:
            shape, texts = with_system(row.system, shape, texts)
        return shape, texts, id_of(row)

    def _parsed(self, block: LineBlock, at: int) -> ShapedRow | None:
        """Parse a line that does not have the known type; if its row has a shape, learn its type."""
        value = block.row(at).value
        row = shaped_row(value, self._dialect)
        if row is not None:
            self._learn(value)
        return row

    def _learn(self, row: Any) -> None:
        like = _likeness(row, self._plain)
        if like is None:
            return
        if self._like is not None:
            row_keys, turn_keys = self._like.row_keys | like.row_keys, self._like.turn_keys | like.turn_keys
            is_plain = self._like.is_plain and like.is_plain
            like = like._replace(row_keys=row_keys, turn_keys=turn_keys, is_plain=is_plain)
            if like == self._like or like[:2] != self._like[:2]:
                return
        if len(like.row_keys) + len(like.turn_keys) <= _MOST_KEYS:
            self._like, self._decode = like, _decoder(self._plain, like)
            self._read = self._plain_row if like.is_plain else RowSlots(self._plain, _marks(like)).read


def _likeness(row: Any, plain: PlainTurns) -> _Likeness | None:
    """Return what a row with a shape has in common with others; None if its turns are not in a list of one
    of its fields."""
    held = [key for key in plain.keys if row.get(key) is not None] if isinstance(row, dict) else []
    turns = row[held[0]] if len(held) == 1 else None
    if not isinstance(turns, list):
        return None
    pair = next((pair for turn in turns if (pair := pair_of(turn, plain)) is not None), None)
    turn_keys = frozenset(key for turn in turns if isinstance(turn, dict) for key in turn)
    if pair is None or not all(map(_is_simple, row.keys() | turn_keys)):
        return None
    return _Likeness(held[0], pair, frozenset(row), turn_keys, plain_row(row, plain) is not None)


def _marks(like: _Likeness) -> list[str]:
    """Return the keys of turns that are marks, except those of ranges, which have no shape."""
    return sorted(like.turn_keys & (TURN_KEYS - {*RANGE_KEYS}))


def _is_simple(key: str) -> bool:
    """Whether a key needs no escapes in JSON."""
    return is_encodable(key) and len(json.dumps(key, ensure_ascii=False)) == len(key) + 2


# ==== Decoders ====


def _nothing_known(_: bytes) -> Any:
    raise msgspec.DecodeError("the type of the rows is not known yet")


@lru_cache(maxsize=256)
def _decoder(plain: PlainTurns, like: _Likeness) -> _Decode:
    """Return a decoder for rows of one type; it refuses all others."""
    role, text = like.pair
    slots = {} if like.is_plain else _slots_of_turn(like)
    known = {role, text, *(key for key, _ in slots.values())}
    in_turn = _numbered({key: _type_in_turn(plain, key) for key in like.turn_keys - known})
    texts: _Fields = {"text": (text, str if like.is_plain else str | list[_Text] | None)}
    required: _Fields = {"role": (role, str)} | (texts if like.is_plain else {})
    turn = _struct(required, texts | slots | in_turn)
    beside: _Fields = {f"id_{i}": (key, _Id) for i, key in enumerate(ID_KEYS)}
    if plain.system:
        beside["system"] = (plain.system, str | None)
    beside["metadata"] = (METADATA_KEY, Any if METADATA_KEY in like.row_keys else None)
    beside |= {} if like.is_plain else _SLOTS_OF_ROW
    others = like.row_keys - {like.key, *(key for key, _ in beside.values())}
    in_row = _numbered({key: _type_in_row(plain, key) for key in others})
    row = _struct({"turns": (like.key, list[turn])}, beside | in_row)  # type: ignore[valid-type]
    decode = msgspec.json.Decoder(row).decode
    any_of_row = [name for name, (_, type_) in (beside | in_row).items() if type_ is Any]
    any_of_turn = [name for name, (_, type_) in in_turn.items() if type_ is Any]
    return _shallow(decode, any_of_row, any_of_turn) if any_of_row or any_of_turn else decode


_Fields = dict[str, tuple[str, Any]]
"""Attribute -> key and type of its value."""

_Calls = str | list[dict[str, Any]] | dict[str, Any] | None
_Mark = bool | int | float | None
_SLOTS_OF_ROW: _Fields = {
    **{key: (key, msgspec.Raw) for key in TOOL_KEYS},
    **{f"weight_{i}": (key, float | int | None) for i, key in enumerate(ROW_WEIGHT_KEYS)},
}


class _Text(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A part of text of a content."""

    text: str
    type: Literal["text", "input_text", "output_text"] | None = None


def _slots_of_turn(like: _Likeness) -> _Fields:
    """Return the fields of slots and marks of a turn."""
    return {
        **{f"reasoning_{i}": (key, str | None) for i, key in enumerate(REASONING_KEYS)},
        **{key: (key, _Calls) for key in CALL_KEYS},
        **{key: (key, str | None) for key in ("tool_call_id", "name")},
        **{f"mark_{i}": (key, _Mark) for i, key in enumerate(_marks(like))},
    }


def _type_in_turn(plain: PlainTurns, key: str) -> Any:
    """Return the type of a key of a turn that is neither its role, its text, nor another slot."""
    if not plain.counts(key):
        return Any
    return _NoJsonError if key in CALL_KEYS else None


def _type_in_row(plain: PlainTurns, key: str) -> Any:
    """Return the type of a key of a row, other than turns, system text, ids and slots."""
    if key in plain.keys:
        return None
    empty = empty_values(key)
    return Any if empty is None else _OF_EMPTY[id(empty)]


def _numbered(types: Mapping[str, Any]) -> _Fields:
    return {f"rest_{i}": (key, type_) for i, (key, type_) in enumerate(types.items())}


def _struct(required: _Fields, optional: _Fields) -> type[msgspec.Struct]:
    """Return a class of objects with these keys and no others; null if one is missing and may be null."""
    fields: list[Any] = [(name, type_) for name, (_, type_) in required.items()]
    fields += [(name, type_, None) for name, (_, type_) in optional.items() if name not in required]
    keys = {name: key for name, (key, _) in (required | optional).items()}
    return msgspec.defstruct("Plain", fields, rename=keys, forbid_unknown_fields=True, gc=False)


def _shallow(decode: _Decode, of_row: Sequence[str], of_turn: Sequence[str]) -> _Decode:
    """Return a decoder for lines with values of any type; it refuses a line if these have many levels."""

    def checked(line: bytes) -> Any:
        row = decode(line)
        if may_be_deep(line, b"[", b"{"):
            values = [getattr(row, name) for name in of_row]
            values += [getattr(turn, name) for turn in row.turns for name in of_turn]
            if is_deep(values):
                raise msgspec.DecodeError("many levels")
        return row

    return checked
