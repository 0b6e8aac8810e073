"""Plain rows of Parquet: found in Arrow arrays. Python objects are made for texts and ids only.

    plain_rows_of_table   block -> its plain rows

Plain rows are usually a column of lists of structs with two strings. Such columns are checked as a whole:
which turns have a known role, which have more than a role and a text, and which rows have such turns. Turns
in another form (JSON inside a string, lists of a fixed size, two spellings side by side) are converted to
Python objects, without unused columns, and read one by one.

Cost: 1 us for a row of four turns and 460 bytes, besides reading the file; 9 us if the row is read by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..core.arrays import offsets_of
from ..core.records import ROLES
from ..core.shapes import RowShape, plain_shape
from ..dialects.common import ID_KEYS, written_id
from ..dialects.plain import ASSISTANT, EMPTY, NO_JSON, PlainRows, PlainTurns, plain_rows_of, with_system
from ..dialects.row_marks import METADATA_KEY, METADATA_LIST
from ..dialects.turns import CALL_KEYS
from ..sources.parquet import TableBlock

_UNKNOWN = 255  # the code of an unknown role


def plain_rows_of_table(block: TableBlock, plain: PlainTurns) -> PlainRows:
    """Return the plain rows of a block; none if Arrow finds a broken value, so that its row is rejected."""
    table = block.table
    try:
        table.validate(full=True)
        held = [key for key in plain.keys if _holds(table, key)]
        turns = _turns(table.column(held[0]), plain) if len(held) == 1 else None
        if turns is not None:
            return _assembled(table, plain, turns)
        return plain_rows_of(block.values(_looked_at(table, plain)), plain) if held else PlainRows()
    except (pa.ArrowException, ValueError, KeyError):
        return PlainRows()


def _holds(table: pa.RecordBatch, key: str) -> bool:
    """Whether a column exists and is not all null."""
    return key in table.schema.names and bool(table.column(key).null_count < table.num_rows)


def _looked_at(table: pa.RecordBatch, plain: PlainTurns) -> list[str]:
    """Return the columns that decide whether a row is plain."""
    names = {*plain.keys, *EMPTY, *ID_KEYS, plain.system, METADATA_KEY}
    return [name for name in table.schema.names if name in names]


# ==== Turns ====


class _Turns(NamedTuple):
    """The t turns of n rows.

    starts  int64[n]  row i has the turns starts[i] to ends[i]
    ends    int64[n]
    codes   uint8[t]  indices into `records.ROLES`, or _UNKNOWN
    texts   t strings
    more    bool[t]   the turn has more than a role and a text, or lacks one
    """

    starts: np.ndarray
    ends: np.ndarray
    codes: np.ndarray
    texts: list[str]
    more: np.ndarray


def _turns(column: pa.Array, plain: PlainTurns) -> _Turns | None:
    """Return the turns in a column; None if they are not plain lists of structs of strings."""
    if not _is_list(column.type) or not pa.types.is_struct(column.type.value_type):
        return None
    offsets = column.offsets.to_numpy().astype(np.int64)
    structs = column.values.slice(offsets[0], offsets[-1] - offsets[0])
    names = [field.name for field in column.type.value_type]
    fields = {name: structs.field(i) for i, name in enumerate(names)}
    fields = {name: field for name, field in fields.items() if field.null_count < len(field)}
    pairs = [pair for pair in plain.pairs if fields.keys() >= set(pair)]
    if len(pairs) != 1 or len(set(names)) < len(names):
        return None
    roles, texts = (_strings(fields.pop(key)) for key in pairs[0])
    if roles is None or texts is None:
        return None
    more = np.logical_or.reduce([_is_null(structs), _is_null(texts), *_others(fields, plain)])
    starts, ends = offsets[:-1] - offsets[0], offsets[1:] - offsets[0]
    return _Turns(starts, ends, _codes(roles, plain), texts.to_pylist(), more)


def _others(fields: dict[str, pa.Array], plain: PlainTurns) -> Iterator[np.ndarray]:
    """Yield where each field of a turn that counts has a value."""
    for name, field in fields.items():
        if plain.counts(name):
            yield _has_value(field, NO_JSON if name in CALL_KEYS else (None,))


def _codes(roles: pa.Array, plain: PlainTurns) -> np.ndarray:
    """Return roles as indices; each spelling is read once."""
    encoded = roles.dictionary_encode()
    known = [plain.code(written) for written in encoded.dictionary.to_pylist()]
    codes = np.array([_UNKNOWN if code is None else code for code in [*known, None]], dtype=np.uint8)
    indices: np.ndarray = encoded.indices.fill_null(len(known)).to_numpy()
    return codes.take(indices)


# ==== Rows ====


def _assembled(table: pa.RecordBatch, plain: PlainTurns, turns: _Turns) -> PlainRows:
    """Return the plain rows, with their system texts and ids."""
    index = np.flatnonzero(~(_other_columns(table, plain) | _other_turns(turns)))
    codes = turns.codes.tobytes()
    spans = list(zip(turns.starts[index].tolist(), turns.ends[index].tolist(), strict=True))
    shapes = [_shape_of(codes[start:end]) for start, end in spans]
    texts = [turns.texts[start:end] for start, end in spans]
    if plain.system and _holds(table, plain.system):
        for i, text in enumerate(_taken(table, plain.system, index)):
            shapes[i], texts[i] = with_system(text, shapes[i], texts[i])
    return PlainRows(index.tolist(), shapes, texts, _ids(table, index))


@lru_cache(maxsize=4096)
def _shape_of(codes: bytes) -> RowShape:
    """Return the shape of messages by their roles, as indices."""
    return plain_shape(tuple([ROLES[code] for code in codes]))


def _other_turns(turns: _Turns) -> np.ndarray:
    """Return which rows are not plain because of their turns, bool[n].

    These are rows without an answer, and rows with a turn that has an unknown role, a blank answer, or more
    than a role and a text.
    """
    answers = turns.codes == ASSISTANT
    other = turns.more | (turns.codes == _UNKNOWN)
    for i in np.flatnonzero(answers & ~other).tolist():
        if not turns.texts[i] or turns.texts[i].isspace():
            other[i] = True
    have: np.ndarray = (_counts(turns, other) > 0) | (_counts(turns, answers) == 0)
    return have


def _counts(turns: _Turns, which: np.ndarray) -> np.ndarray:
    """Return for each row how many of its turns are in `which`."""
    sums = offsets_of(which)
    counts: np.ndarray = sums[turns.ends] - sums[turns.starts]
    return counts


def _other_columns(table: pa.RecordBatch, plain: PlainTurns) -> np.ndarray:
    """Return which rows are not plain because of their columns, bool[n].

    These are rows without turns, and rows with another value that counts, or of an unusual type.
    """
    other = np.zeros(table.num_rows, dtype=bool)
    for name in table.schema.names:
        column = table.column(name)
        if name in plain.keys and _holds(table, name):
            other |= _is_null(column)
        elif name in EMPTY:
            other |= _has_value(column, EMPTY[name])
        elif name == METADATA_KEY:
            other |= _may_mark(column)
        elif name == plain.system or name in ID_KEYS:
            known = _is_text(column.type) or (name in ID_KEYS and pa.types.is_integer(column.type))
            other |= False if known else ~_is_null(column)
    return other


def _may_mark(column: pa.Array) -> np.ndarray:
    """Return where the metadata of rows may hold marks of their turns, bool[n]."""
    if pa.types.is_struct(column.type) and column.type.get_field_index(METADATA_LIST) >= 0:
        return ~_is_null(pc.struct_field(column, METADATA_LIST))
    if _is_text(column.type):
        return np.asarray(pc.match_substring(column.cast(pa.large_string()), METADATA_LIST).fill_null(False))
    return ~_is_null(column) if pa.types.is_map(column.type) else np.zeros(len(column), dtype=bool)


def _ids(table: pa.RecordBatch, index: np.ndarray) -> list[str | None]:
    """Return the ids of some rows, as `row_id` does."""
    columns = [_taken(table, key, index) for key in ID_KEYS if _holds(table, key)]
    if len(columns) == 1:
        return [found if type(found) is str else written_id(found) for found in columns[0]]
    return [
        written_id(next((found for found in row if found is not None), None))
        for row in (zip(*columns, strict=True) if columns else [()] * len(index))
    ]


# ==== Columns ====


def _taken(table: pa.RecordBatch, key: str, index: np.ndarray) -> list[Any]:
    values: list[Any] = table.column(key).to_pylist()
    return values if len(index) == len(values) else [values[i] for i in index.tolist()]


def _is_list(type_: pa.DataType) -> bool:
    return bool(pa.types.is_list(type_) or pa.types.is_large_list(type_))


def _is_text(type_: pa.DataType) -> bool:
    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
    return type_ in (pa.string(), pa.large_string(), pa.string_view())


def _strings(column: pa.Array) -> pa.Array | None:
    """Return a column of text as plain strings; None if it has another type."""
    if not _is_text(column.type):
        return None
    simple = column.type in (pa.string(), pa.large_string())
    return column if simple else column.cast(pa.large_string())


def _is_null(column: pa.Array) -> np.ndarray:
    return np.asarray(column.is_null())


def _has_value(column: pa.Array, empty: Sequence[Any]) -> np.ndarray:
    """Return where a column has a value other than null and the `empty` ones, bool[n]."""
    has_value = ~_is_null(column)
    texts = [each for each in empty if isinstance(each, str)]
    strings = _strings(column) if texts else None
    if strings is not None:
        has_value &= ~np.asarray(pc.is_in(strings, value_set=pa.array(texts, strings.type)))
    elif [] in empty and _is_list(column.type):
        has_value &= np.diff(column.offsets.to_numpy()) > 0
    elif 1 in empty and (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        has_value &= ~np.asarray(pc.equal(column, pa.scalar(1, column.type)).fill_null(False))
    return has_value
