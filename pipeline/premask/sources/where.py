"""Which rows of a source are taken: a condition over their columns, and a share of them by a seeded hash.

    Selection   what a recipe's source asks for: `where`, `sample`, `columns`
    condition   `where` -> a `Condition`, which tells for rows or an Arrow table where it holds
    sampled     row numbers -> those in a share of all

A condition is a SQL expression as polars reads it, of what `where_sql` allows. A row decides by its own
values alone, whatever other rows there are: rows are looked at in groups of equal types, and what looks at
several rows (sums, windows) or at the clock is refused. Missing and null are the same; where the condition is
null, the row is not taken.

    >>> condition("score > 3 and meta.lang = 'en'").of_rows("a.jsonl", [{"score": 5, "meta": {"lang": "en"}}])
    array([ True])

Cost: parsing the rows, 1 us a row of them for the condition, 5 ns a row for a sample.
"""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa

from ..core.errors import RecipeError, SourceError, first_line
from ..core.hashing import GOLDEN, mix

_SCALARS: Mapping[type, str] = {type(None): "null", bool: "truth", int: "whole", float: "number"}
_NULL_TYPES = ("null", "text", "number", "truth", "list text")


def sampled(source: str, numbers: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Which rows (numbers int64[n]) are in a share of those of a source, bool[n].

    A row is in it if a hash of the seed, the source's name and its number, read as a fraction, is below the
    share: SplitMix64 (Steele, Lea and Flood 2014), with a key from BLAKE2b.

    >>> sampled("a.jsonl", np.arange(8), 0.5, seed=0).tolist()
    [False, True, True, False, False, True, False, True]
    """
    key = int.from_bytes(hashlib.blake2b(f"{seed}\n{source}".encode(), digest_size=8).digest(), "big")
    with np.errstate(over="ignore"):
        mixed = mix((numbers.astype(np.uint64) + np.uint64(1)) * GOLDEN + np.uint64(key))
    below: np.ndarray = (mixed >> np.uint64(11)) < np.uint64(min(max(share, 0), 1) * 2**53)
    return below


# ==== Conditions ====


@lru_cache(maxsize=64)
def condition(where: str, key: str = "where") -> Condition:
    """Read a condition; `key` is that of the recipe, for errors.

    Raises `RecipeError` where it is none, or has something in it that is not allowed.
    """
    try:
        return _read(where, key)
    except RecipeError as error:
        raise RecipeError(f"{key}: {error}") from None


def _read(where: str, key: str) -> Condition:
    import polars as pl  # noqa: PLC0415  a tenth of a second, as sqlglot is, and few recipes have conditions

    from .where_sql import checked, refused, shown  # noqa: PLC0415

    text, columns = checked(where)
    try:
        expression = pl.sql_expr(text)
        names = expression.meta.root_names()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise refused(where, _said(error), "write it in the SQL of polars") from None
    if {*names} != {*columns}:
        raise refused(where, "its columns are not clear", "put their names in double quotes")
    return Condition(shown(where), expression, columns, key)


class Condition:
    """A condition over the columns of a row; `paths` are the names that lead to each."""

    def __init__(
        self, where: str, expression: Any, columns: Mapping[str, tuple[str, ...]], key: str = "where"
    ) -> None:
        self.where = where
        self._key = key
        self._expression = expression
        self._columns = columns
        self._types: dict[tuple[str, ...], tuple[str, ...]] = {}

    @property
    def paths(self) -> list[tuple[str, ...]]:
        """Keys that lead to the columns, those of nested ones in order."""
        return list(self._columns.values())

    def of_rows(
        self, source: str, rows: Sequence[Any], numbers: Sequence[int] | np.ndarray | None = None
    ) -> np.ndarray:
        """Where it holds, bool[n]; never for what is no object. `numbers` are those of the rows, for errors.

        Raises `SourceError` where the values are of other types than the condition needs.
        """
        found = np.zeros(len(rows), dtype=np.bool_)
        groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
        cells: list[list[Any]] = []
        for at, row in enumerate(rows):
            typed = [_typed(_follow(row, path)) for path in self._columns.values()]
            cells.append([value for _, value in typed])
            if isinstance(row, dict):
                groups[tuple(kind for kind, _ in typed)].append(at)
        for kinds, places in groups.items():
            found[places] = self._of_group(source, kinds, [cells[at] for at in places], places, numbers)
        return found

    def of_table(self, source: str, table: pa.RecordBatch) -> np.ndarray:
        """Where it holds in the rows of a table, bool[n]. Raises `SourceError` as `of_rows` does."""
        import polars as pl  # noqa: PLC0415

        try:
            arrays = {name: _nested(table, path) for name, path in self._columns.items()}
            frame = pl.DataFrame({name: pl.from_arrow(array) for name, array in arrays.items()})
            return self._holds(frame)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, pa.ArrowException) as error:
            raise SourceError(f"{source}: {self._key}: {self.where}: {_said(error)}; {_FIX}") from None

    def _of_group(
        self, source: str, kinds: tuple[str, ...], cells: Any, places: Any, numbers: Any
    ) -> np.ndarray:
        """Where it holds in rows whose columns have the same types."""
        import polars as pl  # noqa: PLC0415

        known = self._types.get(kinds)
        first: BaseException | None = None
        for types in [known] if known else product(*(_NULL_TYPES if k == "null" else (k,) for k in kinds)):
            try:
                found = self._holds(self._frame(types, cells))
            except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
                first = first or error
            else:
                self._types[kinds] = types
                return found
        if len(cells) > 1:  # which of them is it?
            each = (
                self._of_group(source, kinds, [c], [p], numbers) for c, p in zip(cells, places, strict=True)
            )
            return np.concatenate(list(each))
        row = "" if numbers is None else f" row {numbers[places[0]]}"
        raise SourceError(f"{source}{row}: {self._key}: {self.where}: {_said(first)}; {_FIX}") from None

    def _frame(self, types: tuple[str, ...], cells: Sequence[Sequence[Any]]) -> Any:
        import polars as pl  # noqa: PLC0415

        known = {
            "null": pl.Null,
            "text": pl.String,
            "whole": pl.Int64,
            "number": pl.Float64,
            "truth": pl.Boolean,
        }
        columns = {}
        for at, (name, type_) in enumerate(zip(self._columns, types, strict=True)):
            inner = known[type_.removeprefix("list ")]
            dtype = pl.List(inner) if type_.startswith("list ") else inner
            columns[name] = pl.Series(name, [row[at] for row in cells], dtype=dtype)
        return pl.DataFrame(columns)

    def _holds(self, frame: Any) -> np.ndarray:
        import polars as pl  # noqa: PLC0415

        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found = frame.select(self._expression.alias("found")).to_series()
        if said:
            raise pl.exceptions.InvalidOperationError(str(said[0].message))
        if found.dtype not in {pl.Boolean, pl.Null}:
            raise RecipeError(
                f"{self._key}: {self.where}: it gives {found.dtype}, not true or false; compare it, as in "
                "score > 3"
            )
        holds: np.ndarray = found.cast(pl.Boolean).fill_null(value=False).to_numpy()
        return holds


_FIX = "fix the condition; CAST(x AS DOUBLE) reads text as a number"


def _said(error: BaseException | None) -> str:
    """The first line of what polars or Arrow says of an error."""
    return "" if error is None else first_line(error, 200).replace("\x1f", ".")


def _follow(row: Any, path: Sequence[str]) -> Any:
    for key in path:
        row = row.get(key) if isinstance(row, dict) else None
    return row


def _nested(table: pa.RecordBatch, path: Sequence[str]) -> pa.Array:
    array = table.column(path[0])
    if len(path) == 1:
        return array
    import pyarrow.compute as pc  # noqa: PLC0415  it takes as long as pyarrow itself

    return pc.struct_field(array, list(path[1:]))


def _typed(value: Any) -> tuple[str, Any]:
    """A value with the name of its type; an object, and a list of mixed values, is its JSON text.

    >>> _typed(3), _typed([1.5, 2]), _typed(["a", {"b": 1}])
    (('whole', 3), ('list number', [1.5, 2.0]), ('list text', ['"a"', '{"b": 1}']))
    """
    if isinstance(value, list):
        return _typed_list(value)
    if isinstance(value, dict):
        return "text", _as_json(value)
    if isinstance(value, str):
        return "text", _encodable(value)
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
        return "number", _as_float(value)
    return _SCALARS.get(type(value), "text"), value


def _typed_list(values: list[Any]) -> tuple[str, list[Any]]:
    """A list of values of one type, numbers as one; or of their JSON texts."""
    kinds = {_typed(each)[0] for each in values if not isinstance(each, (dict, list))} - {"null"}
    if any(isinstance(each, (dict, list)) for each in values) or (
        len(kinds) > 1 and kinds != {"whole", "number"}
    ):
        kinds = {"json"}
    if kinds <= {"whole", "number"} and "number" in kinds:
        return "list number", [None if each is None else _as_float(each) for each in values]
    if len(kinds) < 2 and kinds != {"json"}:
        kind = next(iter(kinds), "text")
        return f"list {kind}", [_typed(each)[1] for each in values]
    return "list text", [_as_json(each) for each in values]


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number of more than 308 digits
        return math.inf if value > 0 else -math.inf


def _as_json(value: Any) -> str:
    return _encodable(json.dumps(value, ensure_ascii=False))


def _encodable(text: str) -> str:
    """A text without halves of surrogate pairs, which polars does not take."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
