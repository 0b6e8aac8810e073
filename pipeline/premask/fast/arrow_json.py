"""Arrow columns of any depth as JSON texts, without a Python object for each value.

    found = json_texts(column)
    found.texts[found.codes[i]]      # what `json_text` makes of value i without its nulls

Equal values have one text, so a list of tools that each row repeats is written once. A struct is written
field by field: its text so far and the next field together make a new number, and each different pair of
these is joined once.

Cost: 0.1 us for each value of a leaf; for each different value 0.3 us more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from ..core.arrays import runs_of_numbers
from ..core.shapes import json_text
from ..core.strict_json import without_nulls
from .arrow_columns import held, is_list, is_text, lengths, sequences, strings

_MAX_LEVELS = 64
"""Levels of nesting that are written; `dialects/` refuse some more than 256."""

_FEW = 64
"""Values that are written one by one; a column by itself would take longer."""


class NoJsonError(Exception):
    """A column has values that are not surely written here."""


class JsonTexts(NamedTuple):
    """JSON texts of n values.

    codes  int64[n]  indices into `texts`; -1 where the value is null
    texts            different texts
    """

    codes: np.ndarray
    texts: list[str]


def json_texts(column: pa.Array, levels: int = _MAX_LEVELS) -> JsonTexts:
    """Return the values of a column as JSON, without keys that hold null.

    Raises `NoJsonError` for types that JSON does not have, numbers that are not finite, keys that come twice,
    and more than `levels` levels of nesting.
    """
    type_ = column.type
    if not levels:
        raise NoJsonError
    if column.null_count == len(column):
        return JsonTexts(np.full(len(column), -1), [])
    if len(column) < _FEW and _is_simple(type_):
        return _numbered(
            [None if value is None else json_text(without_nulls(value)) for value in column.to_pylist()]
        )
    if pa.types.is_struct(type_):
        return _structs(column, levels - 1)
    if is_list(type_):
        return _lists(column, levels - 1)
    if pa.types.is_map(type_):
        return _maps(column, levels - 1)
    return _leaves(column)


@lru_cache(maxsize=4096)
def _is_simple(type_: pa.DataType, levels: int = _MAX_LEVELS) -> bool:
    """Whether `json_text` writes all values of a type as they are written here."""
    if pa.types.is_struct(type_):
        names = {field.name for field in type_}
        return len(names) == type_.num_fields and all(_is_simple(field.type, levels - 1) for field in type_)
    if is_list(type_):
        return levels > 0 and _is_simple(type_.value_type, levels - 1)
    simple = (
        is_text(type_) or pa.types.is_boolean(type_) or pa.types.is_integer(type_) or pa.types.is_null(type_)
    )
    return levels > 0 and bool(simple)


# ==== Leaves ====


def _leaves(column: pa.Array) -> JsonTexts:
    type_ = column.type
    if is_text(type_):
        return _coded(strings(column))
    if pa.types.is_boolean(type_) or pa.types.is_integer(type_):
        return _coded(column)
    if type_ in (pa.float32(), pa.float64()):
        return _floats(column)
    raise NoJsonError


def _coded(column: pa.Array) -> JsonTexts:
    encoded = column.dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy().astype(np.int64)
    return JsonTexts(codes, list(map(json_text, encoded.dictionary.to_pylist())))


def _floats(column: pa.Array) -> JsonTexts:
    """By their texts, which tell 0.0 from -0.0."""
    values = column.to_pylist()
    if not all(value is None or math.isfinite(value) for value in values):
        raise NoJsonError
    return _numbered([None if value is None else json_text(value) for value in values])


def _numbered(texts: Sequence[str | None]) -> JsonTexts:
    known: dict[str, int] = {}
    codes = [-1 if text is None else known.setdefault(text, len(known)) for text in texts]
    return JsonTexts(np.array(codes, dtype=np.int64), list(known))


# ==== Objects and lists ====


def _structs(column: pa.Array, levels: int) -> JsonTexts:
    names = [field.name for field in column.type]
    if len(set(names)) < len(names):
        raise NoJsonError
    codes, texts = np.zeros(len(column), dtype=np.int64), [""]
    for name, field in zip(names, column.flatten(), strict=True):
        if field.null_count == len(field):
            continue
        where = np.flatnonzero(held(field)) if field.null_count else slice(None)
        inner = json_texts(field.drop_null() if field.null_count else field, levels)
        key = f"{json_text(name)}: "
        numbers, pairs = _paired(codes[where], inner)
        codes[where] = len(texts) + numbers
        texts += [_then(texts[before], key + inner.texts[value]) for before, value in pairs]
    used, codes = np.unique(codes, return_inverse=True)
    codes[~held(column)] = -1
    return JsonTexts(codes, [f"{{{texts[i]}}}" for i in used.tolist()])


def _paired(before: np.ndarray, inner: JsonTexts) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Number the pairs of a number and a text: int64[n], and the different pairs."""
    if len(before) < _FEW:
        known: dict[tuple[int, int], int] = {}
        pairs = zip(before.tolist(), inner.codes.tolist(), strict=True)
        return np.array([known.setdefault(pair, len(known)) for pair in pairs]), list(known)
    many = len(inner.texts)
    different, numbers = np.unique(before * many + inner.codes, return_inverse=True)
    return numbers, [divmod(pair, many) for pair in different.tolist()]


def _then(before: str, text: str) -> str:
    return f"{before}, {text}" if before else text


def _lists(column: pa.Array, levels: int) -> JsonTexts:
    inner = json_texts(column.flatten(), levels)
    texts = [*inner.texts, "null"]  # code -1
    codes, different = sequences(inner.codes, lengths(column))
    codes[~held(column)] = -1
    return JsonTexts(codes, [f"[{', '.join([texts[i] for i in each])}]" for each in different])


def _maps(column: pa.Array, levels: int) -> JsonTexts:
    """Write maps as objects. Their keys must be different texts, also those of nulls."""
    if not is_text(column.type.key_type):
        raise NoJsonError
    counts = lengths(column)
    taken = pa.array(runs_of_numbers(column.offsets.to_numpy()[:-1].astype(np.int64), counts))
    keys, values = (json_texts(each.take(taken), levels) for each in (column.keys, column.items))
    numbers, pairs = _paired(keys.codes, JsonTexts(values.codes + 1, ["", *values.texts]))
    codes, different = sequences(numbers, counts)
    codes[~held(column)] = -1
    entries = [[pairs[i] for i in each] for each in different]
    if any(len({key for key, _ in each}) < len(each) for each in entries):
        raise NoJsonError
    written = [
        [f"{keys.texts[key]}: {values.texts[value - 1]}" for key, value in each if value] for each in entries
    ]
    return JsonTexts(codes, [f"{{{', '.join(each)}}}" for each in written])
