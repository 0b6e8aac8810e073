"""The turns of a Parquet column as message shapes and texts, without an object for each turn.

    turns = read_turns(column, plain)         # None if the column is no list of structs of texts
    turns.shapes[turns.codes[i]]              # the shape of turn i
    turns.slots                               # the texts of its slots

Each field is read as a column: content, reasoning (`said_once`), marks (`read_mark`, once for each different
mark), tool calls (`parquet_calls.py`), the id of a tool result, the name. A turn with anything else is other.

Cost: 0.2 us a turn of a role and a text, 1 us a turn with reasoning, 2 us a turn with a tool call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..core.errors import RowError
from ..core.records import ROLES
from ..core.shapes import MessageShape, message_shape
from ..dialects.marks import NONE, RANGE_KEYS, TURN_KEYS, Mark, read_mark
from ..dialects.plain import ASSISTANT, PlainTurns
from ..dialects.reasoning import said_once
from ..dialects.turns import KNOWN_KEYS, REASONING_KEYS, SELDOM_KEYS
from .arrow_columns import Slots, Texts, any_held, held, is_list, strings, texts_of, woven
from .parquet_calls import Calls, read_calls

_UNKNOWN = len(ROLES)  # the code of an unknown role
_TOOL = ROLES.index("tool")
_READ = frozenset(KNOWN_KEYS) - {*RANGE_KEYS, *SELDOM_KEYS}
_BOTH = (False, True)


class Turns(NamedTuple):
    """The t turns of n rows.

    starts      int64[n]  row i has the turns starts[i] to ends[i]
    ends        int64[n]
    roles       uint8[t]  indices into `records.ROLES`, or one more
    has_content bool[t]
    codes       int64[t]  indices into `shapes`
    shapes                different shapes
    slots                 the texts of each turn
    other       bool[t]   the turn is not surely what the dialect reads
    """

    starts: np.ndarray
    ends: np.ndarray
    roles: np.ndarray
    has_content: np.ndarray
    codes: np.ndarray
    shapes: list[MessageShape]
    slots: Slots
    other: np.ndarray


def read_turns(column: pa.Array, plain: PlainTurns) -> Turns | None:
    """Return the turns in a column; None if they are not lists of structs with texts for role and content."""
    if not is_list(column.type) or not pa.types.is_struct(column.type.value_type):
        return None
    offsets = column.offsets.to_numpy().astype(np.int64)
    structs = column.values.slice(offsets[0], offsets[-1] - offsets[0])
    names = [field.name for field in column.type.value_type]
    fields = dict(zip(names, structs.flatten(), strict=True))
    fields = {name: field for name, field in fields.items() if field.null_count < len(field)}
    pairs = [pair for pair in plain.pairs if fields.keys() >= set(pair)]
    if len(pairs) != 1 or len(set(names)) < len(names):
        return None
    role, content = (strings(fields.pop(key)) for key in pairs[0])
    if role is None or content is None:
        return None
    others = [field for name, field in fields.items() if name not in _READ and plain.counts(name)]
    starts, ends = offsets[:-1] - offsets[0], offsets[1:] - offsets[0]
    read = _read(*_roles(role, plain), content, fields)
    other = ~held(structs) | any_held(others, len(structs)) | read.other(starts)
    return Turns(starts, ends, read.roles, read.content.held, *read.shapes(), read.slots, other)


def _roles(written: pa.Array, plain: PlainTurns) -> tuple[np.ndarray, np.ndarray]:
    """Return roles as indices, uint8[t], and where a content is tool calls, bool[t]; each spelling is read
    once."""
    encoded = written.dictionary_encode()
    spellings = encoded.dictionary.to_pylist()
    are_calls = [each.strip().lower() in plain.call_roles for each in spellings]
    known = [
        ASSISTANT if is_call else plain.code(each) for is_call, each in zip(are_calls, spellings, strict=True)
    ]
    codes = np.array([_UNKNOWN if code is None else code for code in [*known, None]], dtype=np.uint8)
    indices = encoded.indices.fill_null(len(known)).to_numpy()
    return codes.take(indices), np.array([*are_calls, False]).take(indices)


# ==== Messages ====


class _Fields(NamedTuple):
    """The fields of t turns as they are in messages; `roles` as in `Turns`."""

    roles: np.ndarray
    content: Texts
    reasoning: Texts
    calls: Calls
    result: Texts
    name: Texts
    marks: _Marks

    @property
    def slots(self) -> Slots:
        """All texts, in the order of `MessageShape.slots`."""
        calls = self.calls.slots
        return woven([self.content.slots, self.reasoning.slots, calls, self.result.slots, self.name.slots])

    def shapes(self) -> tuple[np.ndarray, list[MessageShape]]:
        """The shape of each turn: int64[t], and the different shapes."""
        codes, different = _combined(
            [
                (self.roles, [*ROLES, ""]),
                (self.content.held, _BOTH),
                (self.reasoning.held, _BOTH),
                (self.calls.codes, self.calls.shapes),
                (self.result.held, _BOTH),
                (self.name.held, _BOTH),
                (self.marks.codes, self.marks.marks),
            ]
        )
        return codes, [message_shape(*fields, *mark) for *fields, mark in different]

    def other(self, starts: np.ndarray) -> np.ndarray:
        """Which turns are not surely what the dialect reads; the first turns of the rows are in `starts`."""
        other = self.content.other | self.reasoning.other | self.calls.other | self.marks.other
        other |= self.result.other | self.name.other | (self.roles == _UNKNOWN)
        answers = self.roles == ASSISTANT
        other |= ~self.content.held & ~answers
        blank = answers.copy()
        blank[answers] = [not text or text.isspace() for text in self.content.texts[answers].tolist()]
        for i in np.flatnonzero(blank & self.reasoning.held).tolist():
            blank[i] = not self.reasoning.texts[i].strip()
        has_calls = self.calls.slots.sizes > 0
        after_answer = np.append(False, answers)[: len(answers)]
        after_answer[starts[starts < len(answers)]] = False
        joined = blank & has_calls & after_answer  # these are joined with the turn before
        found: np.ndarray = other | joined | (blank & ~has_calls)
        return found


def _read(
    roles: np.ndarray, are_calls: np.ndarray, contents: pa.Array, fields: Mapping[str, pa.Array]
) -> _Fields:
    """Return the fields of turns."""
    n, called = len(roles), None
    if are_calls.any():
        called = pc.if_else(pa.array(are_calls), contents, pa.scalar(None, contents.type))
        contents = pc.if_else(pa.array(are_calls), pa.scalar(None, contents.type), contents)
    content = texts_of(contents, n)
    results = (roles == _TOOL) & ~content.held
    content.texts[results] = ""
    content = content._replace(held=content.held | results)
    reasoning, calls = _reasoning(content, fields), read_calls(fields, n, called)
    result, name = (texts_of(fields.get(key), n) for key in ("tool_call_id", "name"))
    return _Fields(roles, content, reasoning, calls, result, name, _marks(fields, n))


def _combined(features: Sequence[tuple[np.ndarray, Sequence[Any]]]) -> tuple[np.ndarray, list[list[Any]]]:
    """Number the combinations of features, each given as indices, int64[n], into its values: int64[n], and
    the different combinations."""
    numbers = np.zeros(len(features[0][0]), dtype=np.int64)
    for codes, values in features:
        numbers = numbers * len(values) + codes
    different, found = np.unique(numbers, return_inverse=True)
    combinations = []
    for number in different.tolist():
        left, combination = number, []
        for _, values in reversed(features):
            left, code = divmod(left, len(values))
            combination.append(values[code])
        combinations.append(combination[::-1])
    return found, combinations


# ==== Reasoning ====


def _reasoning(content: Texts, fields: Mapping[str, pa.Array]) -> Texts:
    """Return the reasoning of turns. A content that begins with it loses it."""
    n = len(content.texts)
    written = {f"'{key}'": texts_of(fields[key], n) for key in REASONING_KEYS if key in fields}
    if not written:
        return texts_of(None, n)
    first, *others = written.values()
    is_held = np.logical_or.reduce([each.held for each in written.values()])
    found = Texts(first.texts, is_held, np.logical_or.reduce([each.other for each in written.values()]))
    for i in np.flatnonzero(is_held).tolist():
        text = content.texts[i]
        if others or _may_repeat(text):
            texts = {key: each.texts[i] for key, each in written.items() if each.held[i]}
            try:
                found.texts[i], repeated = said_once(texts, text, "")
            except RowError:
                found.other[i] = True
            else:
                content.texts[i] = text and text[repeated:]
    return found


def _may_repeat(content: str | None) -> bool:
    """Whether a content may begin with a block of reasoning."""
    return (
        content is not None
        and content != ""
        and (content[0] in "<[" or content[0].isspace() or "</think>" in content)
    )


# ==== Marks ====


class _Marks(NamedTuple):
    """The marks of t turns.

    codes  int64[t]  indices into `marks`
    marks            different marks; the first says nothing
    other  bool[t]   the mark cannot be read
    """

    codes: np.ndarray
    marks: list[Mark]
    other: np.ndarray


def _marks(fields: Mapping[str, pa.Array], n: int) -> _Marks:
    """Return the marks of turns; each different one is read once."""
    other, keys, columns = np.zeros(n, dtype=bool), [], []
    for key in fields.keys() & TURN_KEYS:
        if key in RANGE_KEYS or not _may_mark(fields[key].type):
            other |= held(fields[key])
        else:
            keys.append(key)
            columns.append(fields[key].to_pylist())
    if not keys:
        return _Marks(np.zeros(n, dtype=np.int64), [NONE], other)
    known: dict[tuple[Any, ...], int] = {(None,) * len(keys): 0}
    codes = np.array([known.setdefault(values, len(known)) for values in zip(*columns, strict=True)])
    marks = [_mark({k: v for k, v in zip(keys, values, strict=True) if v is not None}) for values in known]
    wrong = np.array([mark is None for mark in marks])
    return _Marks(codes, [mark or NONE for mark in marks], other | wrong[codes])


def _may_mark(type_: pa.DataType) -> bool:
    is_number = pa.types.is_integer(type_) or type_ in (pa.float32(), pa.float64())
    return bool(is_number or pa.types.is_boolean(type_))


def _mark(written: Mapping[str, Any]) -> Mark | None:
    try:
        return read_mark(written, "")
    except RowError:
        return None
