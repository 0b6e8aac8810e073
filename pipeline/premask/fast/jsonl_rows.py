"""Plain rows of JSONL: lines are parsed directly into roles and texts.

    LineReader(plain).plain_rows(block)

Rows of a file usually have the same fields. Then msgspec gets a type for a line: turns of two strings, an id,
and known fields that are null. It parses such a line four times as fast as an untyped one, and refuses any
other line. The type is learned from rows that were parsed without one and are plain: the field of the turns,
and the other fields.

A refused line is parsed without a type. So the type changes the speed only.

Cost: 2 us for a line of four turns and 460 bytes, and 2 us per further kilobyte.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from ..core.strict_json import may_be_deep
from ..core.text import is_encodable
from ..dialects.common import ID_KEYS, written_id
from ..dialects.plain import (
    EMPTY,
    NO_JSON,
    NO_MEDIA,
    NO_WEIGHT,
    PlainRow,
    PlainRows,
    PlainTurns,
    has_blank,
    may_mark,
    pair_of,
    plain_row,
    read_roles,
    with_system,
)
from ..dialects.row_marks import METADATA_KEY
from ..dialects.turns import CALL_KEYS
from ..sources.jsonl import LineBlock

_MOST_KEYS = 64  # with more different keys, rows have no common type

_NoItems = msgspec.Meta(max_length=0)
_Nothing = Annotated[list[Any], _NoItems] | Annotated[dict[str, Any], _NoItems]
_NoMedia = Literal[""] | _Nothing | None
_NoJson = Literal["", "[]", "{}", "null"] | _Nothing | None
_NoWeight = Literal[1] | None
_OF_EMPTY = {id(NO_MEDIA): _NoMedia, id(NO_JSON): _NoJson, id(NO_WEIGHT): _NoWeight}
_Id = str | int | float | bool | None

_Decode = Callable[[bytes], Any]


class _Likeness(NamedTuple):
    """What the rows of a file have in common: the key of their turns, and all keys of rows and turns."""

    key: str
    pair: tuple[str, str]
    row_keys: frozenset[str]
    turn_keys: frozenset[str]


class LineReader:
    """Finds the plain rows in the lines of one file, and learns their type."""

    def __init__(self, plain: PlainTurns) -> None:
        self._plain = plain
        self._like: _Likeness | None = None
        self._decode: _Decode = _nothing_known

    def plain_rows(self, block: LineBlock) -> PlainRows:
        """Return the plain rows of a block. Raises `SourceError` for a line that is not UTF-8."""
        found = PlainRows()
        for at, line in enumerate(block.lines):
            try:
                row = self._decode(line)
            except (msgspec.DecodeError, RecursionError, UnicodeError):
                plain = self._parsed(block, at)
            else:
                plain = self._plain_row(row)
            if plain is not None:
                found.add(at, plain)
        return found

    def _plain_row(self, row: Any) -> PlainRow | None:
        turns = row.turns
        roles = read_roles(self._plain, tuple([turn.role for turn in turns]))
        texts = [turn.text for turn in turns]
        if roles is None or has_blank(texts, roles.answers) or may_mark(row.metadata):
            return None
        shape = roles.shape
        if self._plain.system:
            shape, texts = with_system(row.system, shape, texts)
        found = row.id_0
        if found is None:
            found = row.id_1 if row.id_1 is not None else row.id_2
        return shape, texts, found if type(found) is str else written_id(found)

    def _parsed(self, block: LineBlock, at: int) -> PlainRow | None:
        """Parse a line that does not have the known type; if its row is plain, learn its type."""
        value = block.row(at).value
        plain = plain_row(value, self._plain)
        if plain is not None:
            self._learn(value)
        return plain

    def _learn(self, row: Mapping[str, Any]) -> None:
        like = _likeness(row, self._plain)
        if like is None:
            return
        if self._like is not None:
            row_keys, turn_keys = self._like.row_keys | like.row_keys, self._like.turn_keys | like.turn_keys
            like = like._replace(row_keys=row_keys, turn_keys=turn_keys)
            if like == self._like or like[:2] != self._like[:2]:
                return
        if len(like.row_keys) + len(like.turn_keys) <= _MOST_KEYS:
            self._like, self._decode = like, _decoder(self._plain, like)


def _likeness(row: Mapping[str, Any], plain: PlainTurns) -> _Likeness | None:
    """Return what a plain row has in common with others; None if its turns are JSON inside a string."""
    key = next(key for key in plain.keys if row.get(key) is not None)
    turns = row[key]
    pair = pair_of(turns[0], plain)
    turn_keys = frozenset(key for turn in turns if isinstance(turn, dict) for key in turn)
    if pair is None or not all(map(_is_simple, row.keys() | turn_keys)):
        return None
    return _Likeness(key, pair, frozenset(row), turn_keys)


def _is_simple(key: str) -> bool:
    """Whether a key needs no escapes in JSON."""
    return is_encodable(key) and len(json.dumps(key, ensure_ascii=False)) == len(key) + 2


# ==== Decoders ====


def _nothing_known(_: bytes) -> Any:
    raise msgspec.DecodeError("the type of the rows is not known yet")


@lru_cache(maxsize=256)
def _decoder(plain: PlainTurns, like: _Likeness) -> _Decode:
    """Return a decoder for plain rows of one type; it refuses all others."""
    role, text = like.pair
    in_turn = {key: _type_in_turn(plain, key) for key in like.turn_keys - {role, text}}
    turn = _struct({"role": (role, str), "text": (text, str)}, _numbered(in_turn))
    beside: _Fields = {f"id_{i}": (key, _Id) for i, key in enumerate(ID_KEYS)}
    if plain.system:
        beside["system"] = (plain.system, str | None)
    beside["metadata"] = (METADATA_KEY, Any if METADATA_KEY in like.row_keys else None)
    others = like.row_keys - {like.key, plain.system, METADATA_KEY, *ID_KEYS}
    in_row = {key: _type_in_row(plain, key) for key in others}
    row = _struct({"turns": (like.key, list[turn])}, beside | _numbered(in_row))  # type: ignore[valid-type]
    decode = msgspec.json.Decoder(row).decode
    any_value = METADATA_KEY in like.row_keys or Any in (*in_turn.values(), *in_row.values())
    return _shallow(decode) if any_value else decode


def _type_in_turn(plain: PlainTurns, key: str) -> Any:
    """Return the type of a key of a turn in a plain row, other than its role and text."""
    if not plain.counts(key):
        return Any
    return _NoJson if key in CALL_KEYS else None


def _type_in_row(plain: PlainTurns, key: str) -> Any:
    """Return the type of a key of a plain row, other than turns, system text and ids."""
    if key in EMPTY:
        return _OF_EMPTY[id(EMPTY[key])]
    return None if key in plain.keys else Any


_Fields = dict[str, tuple[str, Any]]
"""Attribute -> key and type of its value."""


def _numbered(types: Mapping[str, Any]) -> _Fields:
    return {f"rest_{i}": (key, type_) for i, (key, type_) in enumerate(types.items())}


def _struct(required: _Fields, optional: _Fields) -> type[msgspec.Struct]:
    """Return a class of objects with these keys and no others."""
    fields: list[Any] = [(name, type_) for name, (_, type_) in required.items()]
    fields += [(name, type_, None) for name, (_, type_) in optional.items()]
    keys = {name: key for name, (key, _) in (required | optional).items()}
    return msgspec.defstruct("Plain", fields, rename=keys, forbid_unknown_fields=True, gc=False)


def _shallow(decode: _Decode) -> _Decode:
    """Return a decoder for lines with values of any type; it refuses lines that may be nested too deeply."""

    def checked(line: bytes) -> Any:
        if may_be_deep(line, b"[", b"{"):
            raise msgspec.DecodeError("many brackets")
        return decode(line)

    return checked
