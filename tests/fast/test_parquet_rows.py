"""Rows of Parquet with reasoning, tool calls, tools, marks and weights: what is found as columns is exactly
what `Labeller.read` gives for the row."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from inputs import CORPUS, needs_corpus
from premask.core.errors import RowError, SourceError
from premask.core.recipe import Recipe
from premask.core.records import Conversation, Slice
from premask.core.shapes import conversation_of, json_text, shape_of
from premask.core.strict_json import without_nulls
from premask.dialects import plain_turns, recognize_file
from premask.dialects.common import read_tools
from premask.dialects.shaped import ShapedRows
from premask.fast import parquet_rows
from premask.fast.arrow_json import NoJsonError, json_texts
from premask.fast.parquet_calls import printed
from premask.fast.parquet_rows import plain_rows_of_table
from premask.labeller import Labeller
from premask.sources.cutting import whole
from premask.sources.inspection import inspect_source
from premask.sources.reading import read_blocks, read_slice
from premask.sources.table_blocks import TableBlock

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
    """A table written to Parquet and read again; as it is if Arrow cannot do that in parts."""
    if "string_view" in str(table.schema) or "dictionary" in str(table.schema):
        yield from map(block_of, table.to_batches(rows))
        return
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
    contents = TEXTS | TEXTS | st.none()
    if dialect == "sharegpt" and seldom(draw, 3):
        chosen[role] = (texts, st.sampled_from([*roles, "function_call", "Function_call "]))
        contents = TEXTS | json_written(st.fixed_dictionaries({"name": NAMES, "arguments": OBJECTS}))
    chosen |= {name: fields[name] for name in some}
    values = st.fixed_dictionaries(
        {
            role: chosen[role][1],
            content: contents,
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
    """An array of Python values of any type; Arrow makes wrong ones of dictionaries under nulls."""
    simple = with_texts(type_, pa.string())
    return pa.array(values, simple) if simple == type_ else pa.array(values, simple).cast(type_)


def with_texts(type_: pa.DataType, texts: pa.DataType) -> pa.DataType:
    """A type with another type of texts in it."""
    if pa.types.is_list(type_):
        return pa.list_(with_texts(type_.value_type, texts))
    if pa.types.is_map(type_):
        return pa.map_(type_.key_type, with_texts(type_.item_type, texts))
    if pa.types.is_struct(type_):
        return pa.struct([(field.name, with_texts(field.type, texts)) for field in type_])
    return texts if type_ in TEXT_TYPES else type_


@settings(max_examples=400)
@given(dialect=st.sampled_from(DIALECTS), data=st.data())
def test_any_row(dialect: str, data: st.DataObject) -> None:
    """Whatever types the columns have, and also where a table is part of a larger one."""
    table = data.draw(tables(dialect))
    check(block_of(table.slice(data.draw(st.integers(0, 2)))), dialect)


# ==== Rows as data sets have them ====

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": "does é",
            "parameters": {"type": "object", "required": ["command"]},
        },
    }
    for name in ("bash", "edit")
]


def agent(number: int, arguments: Callable[[dict[str, str]], Any]) -> dict[str, Any]:
    """A row of three calls, one of them without arguments, and with reasoning, marks and weights."""
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Go\n"},
    ]
    for turn in range(3):
        call = {
            "name": "bash",
            "arguments": arguments({"command": f'ls "{number}"', "path": "é"} if turn else {}),
        }
        calls = [{"id": f"c{turn}", "type": "function", "function": call}] * (1 + turn % 2)
        messages.append(
            {"role": "assistant", "content": None, "reasoning_content": "So.", "tool_calls": calls}
        )
        messages.append({"role": "tool", "tool_call_id": f"c{turn}", "name": "bash", "content": f"{turn}"})
    messages[2] |= {"train": False}
    messages.append({"role": "assistant", "content": "Done.", "train": True})
    return {"id": f"row {number}", "messages": messages, "tools": TOOLS, "weight": [None, 0.5][number % 2]}


def struct_of(**fields: pa.DataType) -> pa.DataType:
    return pa.struct(list(fields.items()))


TEXT = pa.string()
FORMS: dict[str, tuple[pa.DataType, Callable[[dict[str, str]], Any]]] = {
    "text": (TEXT, json.dumps),
    "compact text": (TEXT, lambda held: json.dumps(held, separators=(",", ":"))),
    "struct": (struct_of(command=TEXT, path=TEXT, other=TEXT), dict),
    "map": (pa.map_(TEXT, TEXT), lambda held: list(held.items())),
}
TOOL_TYPE = pa.list_(struct_of(type=TEXT, function=struct_of(name=TEXT, description=TEXT, parameters=struct_of(type=TEXT, required=pa.list_(TEXT), properties=struct_of(a=TEXT)))))  # fmt: skip


def agents(form: str, *, structs: bool, texts: pa.DataType = TEXT) -> pa.Table:
    type_, arguments = FORMS[form]
    call = struct_of(id=TEXT, type=TEXT, function=struct_of(name=TEXT, arguments=type_))
    message = struct_of(role=TEXT, content=TEXT, reasoning_content=TEXT, tool_calls=pa.list_(call), tool_call_id=TEXT, name=TEXT, train=pa.bool_(), likes=pa.int64())  # fmt: skip
    fields = {
        "id": TEXT,
        "messages": pa.list_(message),
        "tools": TOOL_TYPE if structs else TEXT,
        "weight": pa.float64(),
    }
    rows = [agent(number, arguments) for number in range(8)]
    columns = {name: [row[name] for row in rows] for name in fields}
    if not structs:
        columns["tools"] = [json.dumps(TOOLS)] * len(rows)
    return pa.table({name: made(columns[name], with_texts(kind, texts)) for name, kind in fields.items()})


@pytest.mark.parametrize("texts", TEXT_TYPES, ids=str)
@pytest.mark.parametrize("structs", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_all_rows_of_agents_are_found(
    tmp_path: Path, form: str, texts: pa.DataType, *, structs: bool
) -> None:
    """Written in row groups of three, read in blocks of five."""
    table = agents(form, structs=structs, texts=texts)
    ids = []
    for block in blocks_of(tmp_path / "a.parquet", table, rows=5):
        found = check(block, "openai")
        ids += found.ids
        for shape, row in zip(found.shapes, found.texts, strict=True):
            assert (shape.tools, len(shape.messages), shape.messages[2].train) == (2, 9, False)
            assert [json.loads(text) for text in row[:2]] == TOOLS
            assert row[4:8] == ["So.", "c0", "bash", "0"]  # no arguments are no slot

    assert ids == [f"row {number}" for number in range(8)]


def test_turns_of_sharegpt_with_calls_as_turns_are_found(tmp_path: Path) -> None:
    call = {"name": "f", "arguments": {"a": [1, "é"]}}
    values = [
        {
            "conversations": [
                {"from": "human", "value": "Hi"},
                {"from": "function_call", "value": json.dumps(call)},
                {"from": "observation", "value": "1"},
                {"from": "gpt", "value": "Hello"},
            ],
            "tools": json.dumps([{"name": "f", "input_schema": {}}]),
            "system": "Be brief.",
        }
    ] * 2
    (block,) = blocks_of(tmp_path / "a.parquet", pa.Table.from_pylist(values))
    found = check(block, "sharegpt")

    tool = '{"type": "function", "function": {"name": "f", "parameters": {}}}'
    assert found.texts == [[tool, "Be brief.", "Hi", "f", '{"a": [1, "é"]}', "1", "Hello"]] * 2


def test_each_different_list_of_tools_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    monkeypatch.setattr(parquet_rows, "read_tools", lambda row: read.append(row) or read_tools(row))
    parquet_rows.tool_texts.cache_clear()
    for block in blocks_of(tmp_path / "a.parquet", agents("text", structs=True), rows=2):
        assert len(check(block, "openai").index) == len(block.numbers)
    parquet_rows.tool_texts.cache_clear()

    assert len(read) == 1


def with_arguments(written: list[Any], type_: pa.DataType | None = None) -> TableBlock:
    """Rows with a call each."""
    rows = [[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": each}}]}] for each in written]  # fmt: skip
    call = struct_of(function=struct_of(name=TEXT, arguments=type_ or TEXT))
    message = struct_of(role=TEXT, content=TEXT, tool_calls=pa.list_(call))
    return block_of(pa.RecordBatch.from_arrays([made(rows, pa.list_(message))], ["messages"]))


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ('{"a": "b"}', '{"a": "b"}'),
        ('{"a":"b\\u00e9\\/"}', '{"a": "bé/"}'),
        ('{"a": 1, "a": 2}', '{"a": 2}'),
        ('{"a": null, "b": {"c": null}}', '{"a": null, "b": {"c": null}}'),
        ('{"a": 1.50, "b": 1e3, "c": -0}', '{"a": 1.5, "b": 1000.0, "c": 0}'),
        ('{"a": ' + "[" * 100 + "]" * 100 + "}", '{"a": ' + "[" * 100 + "]" * 100 + "}"),
        ('{"a": "' + "[" * 999 + '"}', '{"a": "' + "[" * 999 + '"}'),
        (json.dumps({"a": [[]] * 300}), json.dumps({"a": [[]] * 300})),
        ('{"a": ' + "[" * 254 + "]" * 254 + "}", None),
        ('{"a": "\\ud800"}', None),
        ('{"a": NaN}', None),
        ('{"a": 1', None),
        ('["a"]', None),
        ("", None),
    ],
)
def test_arguments_in_json(written: str, text: str | None) -> None:
    found = check(with_arguments(['{"x": 1}', written]), "openai")

    assert [texts[3] for texts in found.texts] == ['{"x": 1}'] + [text] * (text is not None)


@pytest.mark.parametrize(
    ("type_", "good", "wrong"),
    [
        (struct_of(a=TEXT, at=pa.timestamp("us")), {"a": "b"}, None),
        (pa.map_(TEXT, TEXT), [("a", "b")], [("a", "x"), ("a", None)]),
        (struct_of(a=TEXT, b=pa.float64()), {"a": "b"}, {"a": "b", "b": math.nan}),
    ],
    ids=str,
)
def test_arguments_that_are_not_written_as_json(type_: pa.DataType, good: Any, wrong: Any) -> None:
    """Such a column is left out, not the other ones."""
    expected = [] if wrong else [0, 1]

    assert check(with_arguments([good, wrong or good], type_), "openai").index == expected


# ==== JSON ====


@settings(max_examples=300)
@given(data=st.data())
def test_columns_as_json(data: st.DataObject) -> None:
    """By themselves or as a part of a longer column; short and long columns."""
    type_, values = data.draw(structs(pa.string()))
    type_ = data.draw(st.sampled_from([type_, pa.list_(type_)]))
    items = st.lists(values | st.none(), max_size=2) if pa.types.is_list(type_) else values
    column = pa.array(
        data.draw(st.lists(items | st.none(), min_size=1, max_size=5)) * data.draw(st.sampled_from([1, 40])),
        type_,
    )
    column = column.slice(data.draw(st.integers(0, 2)))
    try:
        codes, texts = json_texts(column)
        expected = [
            value and json_text(without_nulls(value)) for value in column.to_pylist(maps_as_pydicts="strict")
        ]
    except (NoJsonError, KeyError, TypeError):
        assume(False)

    assert [None if code < 0 else texts[code] for code in codes] == [
        json_text(value) if value in ({}, []) else value for value in expected
    ]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1.0, math.inf]),
        pa.array([{"a": [math.nan]}]),
        pa.array([b"x"]),
        pa.array([[("a", 1), ("a", 2)]], pa.map_(TEXT, pa.int64())),
        pa.array([[(1, 1)]], pa.map_(pa.int64(), pa.int64())),
        pa.StructArray.from_arrays([pa.array(["a"]), pa.array(["b"])], ["x", "x"]),
    ],
    ids=lambda column: str(column.type),
)
def test_columns_that_are_no_json(column: pa.Array) -> None:
    with pytest.raises(NoJsonError):
        json_texts(column)


@given(json_written(OBJECTS) | st.text(st.sampled_from('{}"\\: anu0-19\n\x01é'), max_size=12))
def test_texts_that_are_left_as_they_are(text: str) -> None:
    """What the pattern takes for printed is what the encoder prints."""
    column = with_arguments([text, '{"a": "\\n"}', '{"a": -12}', '{"": null}'])
    found = check(column, "openai")
    value = printed(text)

    assert len(found.index) == 3 + (value is not None and value.startswith("{"))


# ==== Real files ====


def tables_of(values: list[Any]) -> Iterator[pa.Table]:
    """Rows as a table: with structs where their fields agree, and with lists and objects in JSON."""
    with suppress(pa.ArrowException, TypeError, OverflowError):
        yield pa.Table.from_pylist(values)
    keys = ("tools", "tool_calls", "arguments")
    with suppress(pa.ArrowException, TypeError, OverflowError):
        yield pa.Table.from_pylist([in_json(value, keys) for value in values])


def in_json(value: Any, keys: Sequence[str]) -> Any:
    if isinstance(value, list):
        return [in_json(each, keys) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key: json.dumps(each)
        if key in keys and not isinstance(each, (str, type(None)))
        else in_json(each, keys)
        for key, each in value.items()
    }


@needs_corpus
def test_corpus(tmp_path: Path) -> None:
    """Of real rows that have a shape, hardly any is left out."""
    wanted, found, files = 0, 0, 0
    for path in sorted(each for each in CORPUS.rglob("*") if each.is_file()):
        try:
            info = inspect_source(path.as_posix())
            values = [
                row.value for row in islice(read_slice(whole(info)), 150) if isinstance(row.value, dict)
            ]
            dialect = recognize_file(values, source=info.source)
        except SourceError:
            continue
        for table in tables_of(values) if dialect in DIALECTS else ():
            files += 1
            for block in blocks_of(tmp_path / "a.parquet", table):
                found += len(check(block, dialect).index)
                wanted += len(with_shape(block, dialect))
    assert files > 20
    assert found >= 0.95 * wanted
