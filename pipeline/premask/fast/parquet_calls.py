"""Tool calls of Parquet turns as slots: names, ids and arguments without an object for each call.

    calls = read_calls(fields, n)
    calls.shapes[calls.codes[i]]     # the shapes of the calls of turn i
    calls.slots                      # the texts of their slots

A column of calls is a list of structs with a name and arguments, or with a `function` that has them. The
arguments may be JSON within a string, a struct or a map. Calls in another form (JSON within a string, some
with and some without a `function`) are read one by one, by `make_message`, without the other columns.

Cost: 1.5 us a call with one argument; 20 us if it is read by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..core.errors import RowError
from ..core.shapes import CallShape, json_text, shape_of
from ..core.strict_json import MAX_DEPTH, parse_json, without_nulls
from ..core.text import is_encodable
from ..dialects.common import make_conversation
from ..dialects.plain import NO_JSON
from ..dialects.turns import CALL_KEYS, make_message
from .arrow_columns import (
    Slots,
    Texts,
    any_held,
    has_value,
    held,
    is_list,
    lengths,
    object_array,
    sequences,
    strings,
    texts_of,
    woven,
)
from .arrow_json import NoJsonError, json_texts

_CALL = frozenset({"id", "type", "index", "name", "arguments"})
"""Keys of a call or function, beside which nothing can hold arguments."""

_MOST_LEVELS = MAX_DEPTH - 8
"""Levels that arguments may have, so that a message with them has fewer than MAX_DEPTH."""

_PRINTED = (
    r'^\{"(?:[^"\\\x00-\x1f]|\\["\\nrtbf])*": '
    r'(?:"(?:[^"\\\x00-\x1f]|\\["\\nrtbf])*"|true|false|null|0|-?[1-9][0-9]{0,17})\}$'
)
"""An object with one value, as `json_text` prints it."""


class Calls(NamedTuple):
    """The tool calls of n turns.

    codes   int64[n]  indices into `shapes`
    shapes            different shapes of the calls of a turn; the first is of none
    slots             of each turn
    other   bool[n]   the calls are not surely what the dialect reads
    """

    codes: np.ndarray
    shapes: list[tuple[CallShape, ...]]
    slots: Slots
    other: np.ndarray


def read_calls(fields: Mapping[str, pa.Array], n: int, called: pa.Array | None = None) -> Calls:
    """Return the calls of n turns with these fields; a turn with calls in two fields is other. `called` are
    the contents of those turns whose content is calls."""
    found = [] if called is None else [_by_reading(CALL_KEYS[0], called)]
    found += [_calls(key, fields[key]) for key in CALL_KEYS if key in fields]
    if not found:
        return _none(n)
    first, *older = found
    for each in older:
        if not len(each.slots.texts) and not each.other.any():
            continue
        if len(first.slots.texts):
            return first._replace(other=first.other | each.other | (each.slots.sizes > 0))
        first = each._replace(other=first.other | each.other)
    return first


def _none(n: int) -> Calls:
    nothing = Slots(np.empty(0, dtype=object), np.zeros(n, dtype=np.int64))
    return Calls(np.zeros(n, dtype=np.int64), [()], nothing, np.zeros(n, dtype=bool))


def _calls(key: str, column: pa.Array) -> Calls:
    """Return the calls in one column."""
    if is_list(column.type) and pa.types.is_struct(column.type.value_type):
        counts, structs = lengths(column), column.flatten()
    elif pa.types.is_struct(column.type):  # one call; none if all of its fields are null
        filled = any_held(column.flatten(), len(column))
        counts, structs = filled.astype(np.int64), column.filter(pa.array(filled))
    else:
        return _by_reading(key, column)
    if not len(structs):
        return _none(len(column))
    single = _single_calls(structs)
    return _by_reading(key, column) if single is None else _of_turns(single, counts)


def _of_turns(single: Calls, counts: np.ndarray) -> Calls:
    """Put calls together that are of one turn."""
    turns = np.repeat(np.arange(len(counts)), counts)
    codes, different = sequences(single.codes, counts)
    sizes = np.bincount(turns, single.slots.sizes, len(counts)).astype(np.int64)
    other = np.bincount(turns, single.other, len(counts)) > 0
    shapes = [tuple(shape for i in each for shape in single.shapes[i]) for each in different]
    return Calls(codes, shapes, Slots(single.slots.texts, sizes), other)


# ==== Columns of calls ====


class _Fields(NamedTuple):
    """The fields of n calls.

    of_call      by name, in their order
    of_function  those of their functions; the same ones if the calls have none
    is_flat      whether they have none
    """

    of_call: dict[str, pa.Array]
    of_function: dict[str, pa.Array]
    is_flat: bool


def _single_calls(structs: pa.Array) -> Calls | None:
    """Return structs as turns with a call each; None if they have to be read."""
    fields = _fields(structs)
    if fields is None:
        return None
    n, nothing = len(structs), pa.nulls(len(structs))
    kind, written = fields.of_call.get("type", nothing), fields.of_function.get("arguments", nothing)
    ids, names = texts_of(fields.of_call.get("id"), n), texts_of(fields.of_function.get("name"), n)
    arguments = _arguments(written)
    beside = any_held([each for key, each in fields.of_function.items() if key not in _CALL], n)
    other = ~held(structs) | ~names.held | ids.other | arguments.other
    other |= (beside & ~held(written)) | (held(kind) & ~_are(kind, "function"))
    bits = [held(kind), ids.held, held(written), arguments.held]
    numbers = np.sum([bit.astype(np.int64) << i for i, bit in enumerate(bits)], axis=0)
    different, codes = np.unique(numbers, return_inverse=True)
    shapes: list[tuple[CallShape, ...]] = [(_shape(fields, number),) for number in different.tolist()]
    slots = woven([ids.slots, names.slots, arguments.slots])
    return Calls(codes, shapes, slots, other)


def _fields(structs: pa.Array) -> _Fields | None:
    """Return the fields of calls; None if names come twice, or if some calls have a `function` only."""
    own = _by_name(structs)
    function = own.get("function")
    if function is None or function.null_count == len(function):
        return None if not own else _Fields(own, own, is_flat=True)
    inner = _by_name(function) if pa.types.is_struct(function.type) and not function.null_count else {}
    return _Fields(own, inner, is_flat=False) if inner else None


def _by_name(structs: pa.Array) -> dict[str, pa.Array]:
    """Return the fields of structs by name; none if a name comes twice."""
    names = [field.name for field in structs.type]
    return dict(zip(names, structs.flatten(), strict=True)) if len(set(names)) == len(names) else {}


def _are(column: pa.Array, text: str) -> np.ndarray:
    """Return where a column has a text, bool[n]."""
    plain = strings(column)
    if plain is None:
        return np.zeros(len(column), dtype=bool)
    return np.asarray(pc.equal(plain, text).fill_null(False))


def _shape(fields: _Fields, number: int) -> CallShape:
    """Return the shape of a call that has type, id, arguments, and arguments that are not empty, by bits."""
    has_type, has_id, has_arguments, is_filled = (bool(number >> i & 1) for i in range(4))
    made = {"type": has_type, "id": has_id, "function": not fields.is_flat}
    order = [key for key in fields.of_call if made.get(key)]
    order += [key for key in made if key not in order and (key != "id" or has_id)]
    given = {"name": True, "arguments": has_arguments}
    inner = [key for key in fields.of_function if given.get(key)]
    inner += [key for key in given if key not in inner]
    return CallShape(tuple(order), tuple(inner), is_filled)


# ==== Arguments ====


def _arguments(column: pa.Array) -> Texts:
    """Return arguments as JSON, without those that are empty."""
    texts: Sequence[str | None]
    plain = strings(column)
    try:
        codes, texts = json_texts(column) if plain is None else _printed(plain)
    except NoJsonError:
        codes, texts = held(column) - 1, [None]
    right = [text is not None and text[0] == "{" for text in texts]
    filled = [text != "{}" and is_right for text, is_right in zip(texts, right, strict=True)]
    of_code = object_array([*texts, None]), np.array([*filled, False]), ~np.array([*right, True])
    return Texts(*(each[codes] for each in of_code))


def _printed(column: pa.Array) -> tuple[np.ndarray, list[str | None]]:
    """Return JSON within strings as `json_text` prints it, None if it cannot be read: indices and texts."""
    encoded = column.dictionary_encode()
    texts: list[str | None] = encoded.dictionary.to_pylist()
    right = np.asarray(pc.match_substring_regex(encoded.dictionary, _PRINTED))
    for i in np.flatnonzero(~right).tolist():
        texts[i] = printed(texts[i] or "")
    return encoded.indices.fill_null(-1).to_numpy(), texts


def printed(text: str) -> str | None:
    """Return a JSON text as `json_text` prints its value; None if a row with it would be refused.

    >>> printed('{"a":1.50}'), printed("{")
    ('{"a": 1.5}', None)
    """
    try:
        value = parse_json(text)
    except ValueError:
        return None
    found = json_text(value)
    if not is_encodable(found) or _is_deep(text, value):
        return None
    return found


def _is_deep(text: str, value: Any) -> bool:
    """Whether the value of a JSON text is nested so deeply that a call with it may be refused."""
    if len(text) < 2 * _MOST_LEVELS or text.count("[") + text.count("{") < _MOST_LEVELS:
        return False
    level = [value]
    for _ in range(_MOST_LEVELS):
        nodes = (node.values() if isinstance(node, dict) else node for node in level)
        level = [child for node in nodes for child in node if isinstance(child, (dict, list))]
        if not level:
            return False
    return True


# ==== Calls that are read one by one ====


def _by_reading(key: str, column: pa.Array) -> Calls:
    """Return the calls of turns as the dialect reads them."""
    where = np.flatnonzero(has_value(column, NO_JSON))
    found = _none(len(column))
    known: dict[tuple[CallShape, ...], int] = {(): 0}
    texts: list[str] = []
    for at, value in zip(where.tolist(), _values(column.take(pa.array(where))), strict=True):
        read = _parsed(value) or _read(key, value)
        if read is None:
            found.other[at] = True
            continue
        shapes, of_turn = read
        found.codes[at] = known.setdefault(shapes, len(known))
        found.slots.sizes[at] = len(of_turn)
        texts += of_turn
    return Calls(found.codes, list(known), Slots(object_array(texts), found.slots.sizes), found.other)


def _values(column: pa.Array) -> list[Any]:
    maps = "strict" if "map<" in str(column.type) else None
    return [without_nulls(value) for value in column.to_pylist(maps_as_pydicts=maps)]


def _parsed(value: Any) -> tuple[tuple[CallShape, ...], list[str]] | None:
    """Return what `_read` does, of one call in JSON with a name and arguments only; None of another value."""
    if not isinstance(value, str):
        return None
    try:
        call = parse_json(value)
    except ValueError:
        return None
    if not isinstance(call, dict) or call.keys() != {"name", "arguments"}:
        return None
    name, arguments = call["name"], call["arguments"]
    if not isinstance(name, str) or not isinstance(arguments, dict) or _is_deep(value, arguments):
        return None
    texts = [name, json_text(arguments)] if arguments else [name]
    shape = CallShape(function=tuple(call), is_filled=bool(arguments))
    return ((shape,), texts) if all(map(is_encodable, texts)) else None


def _read(key: str, value: Any) -> tuple[tuple[CallShape, ...], list[str]] | None:
    """Return the shapes of the calls in one field of a turn, and their texts."""
    try:
        message = make_message(0, {key: value}, role="assistant", content=None)
        shaped = shape_of(make_conversation({}, [message]))
    except (RowError, TypeError):  # a TypeError: of a value that JSON does not have
        return None
    return None if shaped is None else (shaped[0].messages[0].calls, shaped[1])
