"""Arrow columns as numpy arrays and texts, and texts of several columns as one.

    is_text, strings, is_list     which columns hold texts or lists
    held, any_held, has_value     where a column has a value
    texts_of, woven               a column as texts; the texts of several columns as one
    sequences                     equal sequences of numbers get the same number

Cost: some nanoseconds a value, and 50 ns for a Python string.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..core.arrays import offsets_of, runs_of_numbers


class Texts(NamedTuple):
    """The texts of one field of n turns (calls, rows).

    texts  object[n]  strings, or None
    held   bool[n]    where there is one
    other  bool[n]    where there is something that is no text
    """

    texts: np.ndarray
    held: np.ndarray
    other: np.ndarray

    @property
    def slots(self) -> Slots:
        """As slots, of which each turn has one or none."""
        return Slots(self.texts if self.held.all() else self.texts[self.held], self.held.astype(np.int64))


class Slots(NamedTuple):
    """The texts of n turns (calls, rows), of each as many as it has slots.

    texts  object[t]  strings
    sizes  int64[n]   how many of them each has
    """

    texts: np.ndarray
    sizes: np.ndarray


def is_list(type_: pa.DataType) -> bool:
    """Whether a type is that of lists of any length."""
    return bool(pa.types.is_list(type_) or pa.types.is_large_list(type_))


def is_text(type_: pa.DataType) -> bool:
    """Whether a type is that of texts."""
    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
    return type_ in (pa.string(), pa.large_string(), pa.string_view())


def strings(column: pa.Array) -> pa.Array | None:
    """Return a column of texts as plain strings; None if it has another type."""
    if not is_text(column.type):
        return None
    simple = column.type in (pa.string(), pa.large_string())
    return column if simple else column.cast(pa.large_string())


def with_simple_texts(table: pa.RecordBatch) -> pa.RecordBatch:
    """Return a table whose texts are no views: Arrow cannot filter these."""
    if not any(_has_views(field.type) for field in table.schema):
        return table
    return table.cast(pa.schema([(field.name, _simple(field.type)) for field in table.schema]))


def _has_views(type_: pa.DataType) -> bool:
    if type_.num_fields:
        return any(_has_views(type_.field(i).type) for i in range(type_.num_fields))
    return bool(type_ == pa.string_view())


def _simple(type_: pa.DataType) -> pa.DataType:
    if type_ == pa.string_view():
        return pa.large_string()
    if pa.types.is_struct(type_):
        return pa.struct([(field.name, _simple(field.type)) for field in type_])
    if pa.types.is_list(type_):
        return pa.list_(_simple(type_.value_type))
    if pa.types.is_large_list(type_):
        return pa.large_list(_simple(type_.value_type))
    if pa.types.is_map(type_):
        return pa.map_(_simple(type_.key_type), _simple(type_.item_type))
    return type_


def objects(texts: pa.Array) -> np.ndarray:
    """Return plain strings as Python strings, object[n]; None where there is none."""
    found: np.ndarray = texts.to_numpy(zero_copy_only=False)
    return found


def object_array(values: Sequence[str | None]) -> np.ndarray:
    """Return strings as object[n]."""
    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found


def held(column: pa.Array) -> np.ndarray:
    """Return where a column is not null, bool[n]."""
    return np.asarray(column.is_valid())


def has_value(column: pa.Array, empty: Sequence[Any]) -> np.ndarray:
    """Return where a column has a value other than null and the `empty` ones, bool[n]."""
    found = held(column)
    texts = [each for each in empty if isinstance(each, str)]
    plain = strings(column) if texts else None
    if plain is not None:
        found &= ~np.asarray(pc.is_in(plain, value_set=pa.array(texts, plain.type)))
    elif [] in empty and is_list(column.type):
        found &= np.diff(column.offsets.to_numpy()) > 0
    return found


def lengths(column: pa.Array) -> np.ndarray:
    """Return how many items the lists of a column have, int64[n]; 0 where it is null."""
    found: np.ndarray = np.diff(column.offsets.to_numpy()).astype(np.int64)
    found[~held(column)] = 0
    return found


def any_held(columns: Sequence[pa.Array], n: int) -> np.ndarray:
    """Return where any column is not null, bool[n]."""
    found: np.ndarray = np.logical_or.reduce([np.zeros(n, dtype=bool), *map(held, columns)])
    return found


def texts_of(column: pa.Array | None, n: int) -> Texts:
    """Return the texts of a column; none if there is no column."""
    plain = None if column is None else strings(column)
    if plain is not None:
        return Texts(objects(plain), held(plain), np.zeros(n, dtype=bool))
    wrong = np.zeros(n, dtype=bool) if column is None else held(column)
    return Texts(np.full(n, None), np.zeros(n, dtype=bool), wrong)


def woven(columns: Sequence[Slots]) -> Slots:
    """Return the slots of several columns as one: of each turn those of the first, then of the second, ...

    >>> one, other = np.array(["a", "b"], object), np.array(["x"], object)
    >>> found = woven([Slots(one, np.array([1, 1])), Slots(other, np.array([1, 0]))])
    >>> found.texts.tolist(), found.sizes.tolist()
    (['a', 'x', 'b'], [2, 1])
    """
    filled = [column for column in columns if len(column.texts)]
    if len(filled) < 2:
        return (filled or list(columns))[0]
    sizes = np.sum([column.sizes for column in filled], axis=0)
    offsets = offsets_of(sizes)
    texts, at = np.empty(offsets[-1], dtype=object), offsets[:-1]
    for column in filled:
        texts[runs_of_numbers(at, column.sizes)] = column.texts
        at = at + column.sizes
    return Slots(texts, sizes)


def sequences(numbers: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, list[list[int]]]:
    """Number the sequences that lie side by side in `numbers`, of these lengths: int64[n], and the different
    sequences.

    >>> found, different = sequences(np.array([5, 6, 5, 6, 7]), np.array([2, 2, 1]))
    >>> found.tolist(), different
    ([0, 0, 1], [[5, 6], [7]])
    """
    data, known = numbers.astype(np.int32).tobytes(), dict[bytes, int]()
    ends = (offsets_of(sizes) * 4).tolist()
    found = [known.setdefault(data[start:end], len(known)) for start, end in pairwise(ends)]
    return np.array(found, dtype=np.int64), [np.frombuffer(key, np.int32).tolist() for key in known]
