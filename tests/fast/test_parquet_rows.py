"""Rows of Parquet with reasoning, tool calls, tools, marks and weights: what is found as columns is exactly
what `Labeller.read` gives for the row."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st
from inputs import CORPUS, needs_corpus
from premask.core.errors import RowError, SourceError
from premask.core.recipe import Recipe
from premask.core.records import Conversation, Slice
from premask.core.shapes import conversation_of, json_text, shape_of
from premask.core.strict_json import without_nulls
from premask.dialects import plain_turns, recognize_file
from premask.dialects.shaped import ShapedRows
from premask.fast.arrow_json import NoJsonError, json_texts
from premask.fast.parquet_calls import printed
from premask.fast.parquet_rows import plain_rows_of_table
from premask.labeller import Labeller
from premask.sources.cutting import whole
from premask.sources.inspection import inspect_source
from premask.sources.parquet import TableBlock
from premask.sources.reading import read_blocks, read_slice

DIALECTS = ["openai", "sharegpt"]
WORDS = {"openai": ("messages", "role", "content"), "sharegpt": ("conversations", "from", "value")}

READER = Labeller.__new__(Labeller)
READER.recipe = Recipe(sources=["a.parquet"], tokenizer="a", output="b")


def expected_of(block: TableBlock, at: int, dialect: str) -> Conversation | None:
    """The one conversation of a row; None if it is refused, has joined calls or an answer that says nothing."""
    try:
        (conversation,), names = READER.read(block.row(at), dialect)
    except (RowError, SourceError):
        return None
    answers = [message for message in conversation.messages if message.role == "assistant"]
    return conversation if not names and all(each.says_something for each in answers) else None


def check(block: TableBlock, dialect: str) -> ShapedRows:
    """Each row that is found has the shape and the texts of its conversation, with keys in their order."""
    plain = plain_turns(dialect)
    assert plain is not None
    found = plain_rows_of_table(block, plain, dialect)
    assert (np.diff(found.index) > 0).all()
    for at, shape, texts, id_ in zip(found.index, found.shapes, found.texts, found.ids, strict=True):
        conversation = expected_of(block, at, dialect)
        assert conversation is not None
        assert (shape, texts) == shape_of(conversation)
        assert repr(replace(conversation_of(shape, texts), id=id_)) == repr(conversation)
    return found


def with_shape(block: TableBlock, dialect: str) -> list[int]:
    """The rows that have a shape."""
    all_ = [expected_of(block, at, dialect) for at in range(len(block.numbers))]
    return [at for at, each in enumerate(all_) if each is not None and has_shape(each)]


def has_shape(conversation: Conversation) -> bool:
    try:
        return shape_of(conversation) is not None
    except TypeError:  # a value that JSON does not have
        return False


def block_of(table: pa.RecordBatch) -> TableBlock:
    piece = Slice("a.parquet", "parquet", None, 0, None, None, None)
    maps = "strict" if "map<" in str(table.schema) else None
    return TableBlock("a.parquet", np.arange(table.num_rows), table, maps, piece)


def blocks_of(path: Path, table: pa.Table, rows: int = 1024) -> Iterator[TableBlock]:
    """A table written to Parquet and read again."""
    pq.write_table(table, path, row_group_size=3)
    for block in read_blocks(whole(inspect_source(path.as_posix())), rows):
        assert isinstance(block, TableBlock)
        yield block


# ==== Rows of all kinds ====

TEXTS = st.sampled_from(
    [
        *("Hi", "Hello", "r", "", " \n", "é", "😀\x7f", 'a "b"\\\n\x01', "r\n</think>\n\nb", "a </think> b"),
        *("<think>\nr\n</think>\n\nb", " [THINK]r[/THINK]", "<think>other</think>", "<thought>x</thought>y"),
    ]
)
NAMES = st.sampled_from(["f", "get_time", "é", ""])
TEXT_TYPES = [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
NUMBERS = st.sampled_from([0, 1, -7, 2**53 + 1])
FLOATS = st.sampled_from([0.0, -0.0, 1.0, 0.1, 1e300, -2.5e-7])
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | FLOATS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(TEXTS, JSON, max_size=3)


def seldom(draw: Callable[..., Any], one_in: int) -> bool:
    return bool(draw(st.integers(1, one_in)) == one_in)


def optional(draw: Callable[..., Any], fields: dict[str, st.SearchStrategy[Any]]) -> dict[str, Any]:
    return {key: draw(values) for key, values in fields.items() if draw(st.booleans())}


def lists(type_: pa.DataType) -> pa.DataType:
    return pa.list_(type_)


@st.composite
def json_written(draw: Callable[..., Any], values: st.SearchStrategy[Any]) -> str:
    if seldom(draw, 12):
        return draw(
            st.sampled_from(["", " ", "{", "[]", "5", '"x"', '{"a": "\\ud800"}', '{"a": 1, "a": 2}', "null"])
        )
    styles = [{"separators": (",", ":")}, {"ensure_ascii": False}, {"indent": 1}, {"ensure_ascii": False}]
    return json.dumps(draw(values), **draw(st.sampled_from(styles)))


@st.composite
def structs(draw: Callable[..., Any], texts: pa.DataType) -> tuple[pa.DataType, st.SearchStrategy[Any]]:
    """A type of objects, and objects of it; their fields may be null, also within lists."""
    inner = {"x": (texts, TEXTS), "y": (pa.bool_(), st.booleans())}
    fields = {
        "command": (texts, TEXTS),
        "n": (pa.int64(), NUMBERS),
        "share": (draw(st.sampled_from([pa.float64(), pa.float64(), pa.timestamp("us")])), st.just(0) | FLOATS.filter(lambda x: x < 9)),
        'a "é"': (lists(texts), st.lists(TEXTS | st.none(), max_size=3)),
        "deep": (pa.struct([(key, type_) for key, (type_, _) in inner.items()]), objects(inner)),
        "map": (pa.map_(pa.string(), texts), st.lists(st.tuples(TEXTS, TEXTS | st.none()), max_size=2)),
        "none": (pa.null(), st.none()),
    }  # fmt: skip
    names = draw(st.lists(st.sampled_from(list(fields)), min_size=1, max_size=4, unique=True))
    if "share" in names and fields["share"][0] != pa.float64():
        fields["share"] = (fields["share"][0], st.just(0))
    chosen = {name: fields[name] for name in names}
    return pa.struct([(name, type_) for name, (type_, _) in chosen.items()]), objects(chosen)


def objects(fields: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(
        {}, optional={name: values | st.none() for name, (_, values) in fields.items()}
    )


@st.composite
def arguments(draw: Callable[..., Any], texts: pa.DataType) -> tuple[pa.DataType, st.SearchStrategy[Any]]:
    """A type of arguments, and arguments of it."""
    form = draw(st.sampled_from(["text", "text", "struct", "struct", "map", "list"]))
    if form == "text":
        return texts, json_written(OBJECTS)
    if form == "map":
        return pa.map_(pa.string(), texts), st.lists(st.tuples(TEXTS, TEXTS | st.none()), max_size=3)
    return draw(structs(texts)) if form == "struct" else (lists(texts), st.lists(TEXTS, max_size=1))


@st.composite
def calls(draw: Callable[..., Any], texts: pa.DataType) -> tuple[pa.DataType, st.SearchStrategy[Any]]:
    """A type of one call, and calls of it: with a function or flat."""
    type_, values = draw(arguments(texts))
    function: dict[str, Any] = {"name": (texts, NAMES), "arguments": (type_, values)}
    if seldom(draw, 4):
        function["description"] = (texts, TEXTS)
    kinds = st.sampled_from(["function"] * 9 + ["code"])
    call: dict[str, Any] = {"id": (texts, TEXTS), "type": (texts, kinds), "index": (pa.int64(), NUMBERS)}
    if draw(st.booleans()):
        call |= function
    else:
        type_ = pa.struct([(key, function[key][0]) for key in draw(st.permutations(list(function)))])
        call["function"] = (type_, filled(draw, function))
    names = draw(st.permutations(list(call)))
    return pa.struct([(key, call[key][0]) for key in names]), filled(draw, call)


def filled(draw: Callable[..., Any], fields: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Objects whose fields are hardly ever null, or some of them often."""
    often = draw(st.sampled_from([1, 1, 9]))
    return st.fixed_dictionaries(
        {key: st.integers(0, 19).flatmap(lambda n, v=values: v if n >= often else st.none()) for key, (_, values) in fields.items()}
    )  # fmt: skip


@st.composite
def tools(draw: Callable[..., Any], texts: pa.DataType) -> tuple[pa.DataType, st.SearchStrategy[Any]]:
    """A type of lists of tools, and such lists."""
    form = draw(st.sampled_from(["text", "structs", "structs", "flat", "texts"]))
    type_, values = draw(structs(texts))
    function: dict[str, Any] = {"name": (texts, NAMES), "parameters": (type_, values)}
    flat = {"name": (texts, NAMES), "type": (texts, st.just("function")), "input_schema": (type_, values)}
    of_call = {"type": (texts, st.just("function")), "function": (pa.struct([(key, each) for key, (each, _) in function.items()]), objects(function))}  # fmt: skip
    fields = flat if form == "flat" else of_call
    if form == "texts":
        return lists(texts), st.lists(json_written(OBJECTS), max_size=2)
    if form == "text":
        return texts, json_written(
            st.lists(st.fixed_dictionaries({"name": NAMES, "parameters": OBJECTS}), max_size=2)
        )
    items = objects(fields) | st.none() if seldom(draw, 9) else objects(fields)
    return lists(pa.struct([(key, each) for key, (each, _) in fields.items()])), st.lists(items, max_size=3)


@st.composite
def turns(
    draw: Callable[..., Any], dialect: str, texts: pa.DataType
) -> tuple[pa.DataType, st.SearchStrategy[Any]]:
    """A type of turns, and turns of it."""
    _, role, content = WORDS[dialect]
    call, call_values = draw(calls(texts))
    marks = draw(
        st.sampled_from(
            [
                (pa.bool_(), st.booleans()),
                (pa.int64(), st.integers(0, 2)),
                (pa.float64(), st.sampled_from([0.0, 1.0, 0.5, math.nan])),
            ]
        )
    )
    one_by_one = json_written(
        st.lists(st.fixed_dictionaries({"name": NAMES, "arguments": OBJECTS}), max_size=2)
    )
    fields: dict[str, Any] = {
        "reasoning_content": (texts, TEXTS),
        "thinking": (texts, TEXTS),
        "tool_calls": draw(st.sampled_from([(lists(call), st.lists(call_values, min_size=1, max_size=3)), (texts, one_by_one), (call, call_values)])),
        "function_call": draw(st.sampled_from([(call, call_values), (texts, json_written(st.just({"name": "f"})))])),
        "tool_call_id": (texts, TEXTS),
        "name": draw(st.sampled_from([(texts, NAMES), (texts, NAMES), (pa.int64(), NUMBERS)])),
        "train": marks,
        "weight": (pa.float64(), st.sampled_from([0.0, 1.0, 0.5])),
        "masked": (pa.bool_(), st.booleans()),
        "mood": (texts, TEXTS),
        "train_detail": (lists(pa.int64()), st.just([])),
    }  # fmt: skip
    some = draw(st.lists(st.sampled_from([*list(fields)[:7], *list(fields)]), max_size=3, unique=True))
    roles = {
        "openai": ["user", "tool", "system", "assistant"],
        "sharegpt": ["human", "tool", "system", "gpt"],
    }[dialect]
    chosen = {role: (texts, st.sampled_from(roles + roles[-1:] * 3)), content: (texts, TEXTS)}
    chosen |= {name: fields[name] for name in some}
    values = st.fixed_dictionaries(
        {
            role: chosen[role][1],
            content: TEXTS | TEXTS | st.none(),
            **{name: fields[name][1] | st.none() for name in some},
        }
    )
    return pa.struct([(key, type_) for key, (type_, _) in chosen.items()]), values


@st.composite
def tables(draw: Callable[..., Any], dialect: str) -> pa.RecordBatch:
    texts = draw(st.sampled_from(TEXT_TYPES))
    key = WORDS[dialect][0]
    type_, turn = draw(turns(dialect, texts))
    fields: dict[str, Any] = {
        "tools": draw(tools(texts)),
        "functions": draw(tools(texts)),
        "weight": draw(st.sampled_from([(pa.float64(), st.sampled_from([1.0, 0.5, math.nan])), (texts, st.just("2"))])),
        "loss_weight": (pa.int64(), st.integers(0, 2)),
        "system": (texts, TEXTS),
        "id": (texts, TEXTS),
        "train_turns": (lists(pa.bool_()), st.lists(st.booleans(), max_size=2)),
    }  # fmt: skip
    some = draw(st.lists(st.sampled_from([*list(fields)[:1] * 3, *list(fields)]), max_size=3, unique=True))
    fields = {key: (lists(type_), st.lists(turn, max_size=4)), **{name: fields[name] for name in some}}
    rows = draw(
        st.lists(
            st.fixed_dictionaries({name: values | st.none() if name != key else values for name, (_, values) in fields.items()}),
            min_size=1,
            max_size=6,
        )
    )  # fmt: skip
    schema = pa.schema([(name, kind) for name, (kind, _) in fields.items()])
    columns = [made([row[name] for row in rows], schema.field(name).type) for name in schema.names]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def made(values: list[Any], type_: pa.DataType) -> pa.Array:
    """An array of Python values of any type."""
    try:
        return pa.array(values, type_)
    except pa.ArrowNotImplementedError:
        return pa.array(values, with_texts(type_, pa.string())).cast(type_)


def with_texts(type_: pa.DataType, texts: pa.DataType) -> pa.DataType:
    """A type with another type of texts in it."""
    if pa.types.is_list(type_):
        return pa.list_(with_texts(type_.value_type, texts))
    if pa.types.is_map(type_):
        return pa.map_(type_.key_type, with_texts(type_.item_type, texts))
    if pa.types.is_struct(type_):
        return pa.struct([(field.name, with_texts(field.type, texts)) for field in type_])
    return texts if type_ in TEXT_TYPES else type_


@settings(max_examples=600, phases=[Phase.generate])
@given(dialect=st.sampled_from(DIALECTS), data=st.data())
def test_any_row(dialect: str, data: st.DataObject) -> None:
    """Whatever types the columns have, and also where a table is part of a larger one."""
    table = data.draw(tables(dialect))
    check(block_of(table.slice(data.draw(st.integers(0, 2)))), dialect)
