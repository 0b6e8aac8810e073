"""Rows of Parquet that have a shape: found in Arrow arrays. Python objects are made for texts and ids only.

    plain_rows_of_table   block -> its rows with a shape

The turns are usually a column of lists of structs. Such columns are checked as a whole, field by field
(`parquet_turns.py`); lists of tools, weights and ids beside them are columns, too. Turns in another form
(JSON inside a string, lists of a fixed size, two spellings side by side) are converted to Python objects and
read one by one.

Cost: 1 us for a row of four turns and 460 bytes, besides reading the file; 9 us if the row is read by itself.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..core.arrays import offsets_of
from ..core.errors import RowError
from ..core.shapes import RowShape, json_text
from ..dialects import shaped_rows
from ..dialects.common import ID_KEYS, TOOL_KEYS, read_tools, written_id
from ..dialects.plain import ASSISTANT, EMPTY, PlainTurns, empty_values, with_system
from ..dialects.row_marks import METADATA_KEY, METADATA_LIST, ROW_WEIGHT_KEYS, row_weight
from ..dialects.shaped import ShapedRows
from ..sources.table_blocks import TableBlock
from .arrow_columns import has_value, held, is_text, strings, with_simple_texts
from .arrow_json import NoJsonError, json_texts
from .parquet_turns import Turns, read_turns

_SLOTS = frozenset({*TOOL_KEYS, *ROW_WEIGHT_KEYS})
"""Fields beside the turns that a row with a shape may have."""


def plain_rows_of_table(block: TableBlock, plain: PlainTurns, dialect: str) -> ShapedRows:
    """Return the rows of a block that have a shape; none if Arrow finds a broken value, so that its row is
    rejected."""
    try:
        block.table.validate(full=True)
        table = with_simple_texts(block.table)
        filled = [key for key in plain.keys if _holds(table, key)]
        turns = read_turns(table.column(filled[0]), plain) if len(filled) == 1 else None
        if turns is not None:
            return _assembled(table, plain, turns)
        return shaped_rows(block.values(table.schema.names), dialect) if filled else ShapedRows()
    except (pa.ArrowException, ValueError, KeyError):
        return ShapedRows()


def _holds(table: pa.RecordBatch, key: str) -> bool:
    """Whether a column exists and is not all null."""
    return key in table.schema.names and bool(table.column(key).null_count < table.num_rows)


# ==== Rows ====


def _assembled(table: pa.RecordBatch, plain: PlainTurns, turns: Turns) -> ShapedRows:
    """Return the rows that have a shape, with their tools, system texts and ids."""
    tools, weights = _tools(table), _weights(table)
    other = _other_columns(table, plain) | _other_turns(turns) | tools.other | weights.other
    index = np.flatnonzero(~other)
    shapes, texts = _of_turns(turns, index)
    if plain.system and _holds(table, plain.system):
        for i, text in enumerate(_taken(table, plain.system, index)):
            shapes[i], texts[i] = with_system(text, shapes[i], texts[i])
    for i, row in enumerate(index.tolist() if tools.held or weights.held else ()):
        own = tools.held.get(row)
        if own is not None:
            shapes[i], texts[i] = shapes[i]._replace(tools=len(own)), own + texts[i]
        if row in weights.held:
            shapes[i] = shapes[i]._replace(weight=weights.held[row])
    return ShapedRows(index.tolist(), shapes, texts, _ids(table, index))


def _of_turns(turns: Turns, index: np.ndarray) -> tuple[list[RowShape], list[list[str]]]:
    """Return the shapes and texts of some rows; rows of equal turns have the same shape."""
    starts, ends = turns.starts[index].tolist(), turns.ends[index].tolist()
    codes, known = turns.codes.astype(np.int32).tobytes(), dict[bytes, RowShape]()
    shapes = []
    for start, end in zip(starts, ends, strict=True):
        key = codes[4 * start : 4 * end]
        shape = known.get(key)
        if shape is None:
            messages = tuple([turns.shapes[i] for i in turns.codes[start:end].tolist()])
            shape = known[key] = RowShape(messages)
        shapes.append(shape)
    all_texts, at = turns.slots.texts.tolist(), offsets_of(turns.slots.sizes)
    spans = zip(at[turns.starts[index]].tolist(), at[turns.ends[index]].tolist(), strict=True)
    return shapes, [all_texts[start:end] for start, end in spans]


def _other_turns(turns: Turns) -> np.ndarray:
    """Return which rows have no shape because of their turns, bool[n]: those with another turn, without an
    answer, and without any content (the dialect may not recognize them)."""
    has_other = _counts(turns, turns.other) > 0
    has_no_answer = _counts(turns, turns.roles == ASSISTANT) == 0
    other: np.ndarray = has_other | has_no_answer | (_counts(turns, turns.has_content) == 0)
    return other


def _counts(turns: Turns, which: np.ndarray) -> np.ndarray:
    """Return for each row how many of its turns are in `which`."""
    sums = offsets_of(which)
    counts: np.ndarray = sums[turns.ends] - sums[turns.starts]
    return counts


# ==== Beside the turns ====


class _Beside(NamedTuple):
    """What rows have beside their turns.

    held         by row, where there is something
    other bool[n]  it cannot be read
    """

    held: dict[int, Any]
    other: np.ndarray


def _tools(table: pa.RecordBatch) -> _Beside:
    """Return the texts of the tools of rows; each different list is read once."""
    found = _Beside({}, np.zeros(table.num_rows, dtype=bool))
    columns = {key: table.column(key) for key in TOOL_KEYS if _holds(table, key)}
    filled = {key: has_value(column, EMPTY[key]) for key, column in columns.items()}
    try:
        written = {key: _json(columns[key]) for key, where in filled.items() if where.any()}
    except NoJsonError:
        return _Beside({}, np.logical_or.reduce(list(filled.values())))
    for row in np.flatnonzero(np.logical_or.reduce(list(filled.values()))).tolist() if written else ():
        texts = tuple((key, texts[codes[row]]) for key, (codes, texts) in written.items() if codes[row] >= 0)
        tools = tool_texts(texts)
        if tools is None:
            found.other[row] = True
        elif tools:
            found.held[row] = tools
    return found


def _json(column: pa.Array) -> tuple[list[int], list[str]]:
    """Return a column as indices and different JSON texts; texts are JSON as they are."""
    plain = strings(column)
    if plain is not None:
        encoded = plain.dictionary_encode()
        return encoded.indices.fill_null(-1).to_pylist(), encoded.dictionary.to_pylist()
    codes, texts = json_texts(column)
    return codes.tolist(), texts


@lru_cache(maxsize=256)
def tool_texts(written: tuple[tuple[str, str], ...]) -> list[str] | None:
    """Return the texts of the tools that a row has in its fields, given as JSON; None if they are refused.

    >>> tool_texts((("tools", '[{"name": "f"}]'),))
    ['{"type": "function", "function": {"name": "f"}}']
    """
    try:
        tools = read_tools(dict(written))
    except RowError:
        return None
    return [json_text(tool) for tool in tools or ()]


def _weights(table: pa.RecordBatch) -> _Beside:
    """Return the weights of rows."""
    found = _Beside({}, np.zeros(table.num_rows, dtype=bool))
    columns = {key: table.column(key) for key in ROW_WEIGHT_KEYS if _holds(table, key)}
    numbers = {}
    for key, column in columns.items():
        if _is_number(column.type) or is_text(column.type):
            numbers[key] = column.to_pylist()
        else:
            found.other[held(column)] = True
    for row in range(table.num_rows if numbers else 0):
        try:
            weight = row_weight({key: values[row] for key, values in numbers.items()})
        except RowError:
            found.other[row] = True
        else:
            if weight is not None:
                found.held[row] = weight
    return found


def _is_number(type_: pa.DataType) -> bool:
    return bool(pa.types.is_integer(type_) or type_ in (pa.float32(), pa.float64()))


def _other_columns(table: pa.RecordBatch, plain: PlainTurns) -> np.ndarray:
    """Return which rows have no shape because of their columns, bool[n].

    These are rows without turns, and rows with another value that counts, or of an unusual type.
    """
    other = np.zeros(table.num_rows, dtype=bool)
    for name in table.schema.names:
        column = table.column(name)
        if name in plain.keys and _holds(table, name):
            other |= ~held(column)
        elif name not in _SLOTS and (empty := empty_values(name)) is not None:
            other |= has_value(column, empty)
        elif name == METADATA_KEY:
            other |= _may_mark(column)
        elif name == plain.system or name in ID_KEYS:
            known = is_text(column.type) or (name in ID_KEYS and pa.types.is_integer(column.type))
            other |= False if known else held(column)
    return other


def _may_mark(column: pa.Array) -> np.ndarray:
    """Return where the metadata of rows may hold marks of their turns, bool[n]."""
    if pa.types.is_struct(column.type) and column.type.get_field_index(METADATA_LIST) >= 0:
        return held(pc.struct_field(column, METADATA_LIST))
    if is_text(column.type):
        return np.asarray(pc.match_substring(column.cast(pa.large_string()), METADATA_LIST).fill_null(False))
    return held(column) if pa.types.is_map(column.type) else np.zeros(len(column), dtype=bool)


def _ids(table: pa.RecordBatch, index: np.ndarray) -> list[str | None]:
    """Return the ids of some rows, as `row_id` does."""
    columns = [_taken(table, key, index) for key in ID_KEYS if _holds(table, key)]
    if len(columns) == 1:
        return [found if type(found) is str else written_id(found) for found in columns[0]]
    return [
        written_id(next((found for found in row if found is not None), None))
        for row in (zip(*columns, strict=True) if columns else [()] * len(index))
    ]


def _taken(table: pa.RecordBatch, key: str, index: np.ndarray) -> list[Any]:
    values: list[Any] = table.column(key).to_pylist()
    return values if len(index) == len(values) else [values[i] for i in index.tolist()]
