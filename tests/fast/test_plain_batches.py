"""Batches: that rows with a shape are what is read of them, and all rows what `read_slice` gives."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inputs import CORPUS, compressed, needs_corpus, write, write_parquet
from premask.core.errors import RowError, SourceError
from premask.core.records import Conversation, Row, Slice
from premask.core.shapes import RowShape, conversation_of, shape_of
from premask.dialects import (
    DIALECTS,
    conversations,
    plain_turns,
    recognize_file,
    shaped_row,
)
from premask.dialects.common import check_assistants
from premask.dialects.joined_calls import join_calls
from premask.fast.jsonl_rows import LineReader
from premask.fast.parquet_rows import plain_rows_of_table
from premask.fast.plain_batches import RowBatch, read_batches
from premask.sources.cutting import plan_units, whole
from premask.sources.inspection import inspect_source
from premask.sources.line_blocks import LineBlock
from premask.sources.reading import peek, read_slice
from premask.sources.table_blocks import TableBlock

HI = {"role": "user", "content": "Hi"}
OK = {"role": "assistant", "content": "Hello"}
HUMAN = {"from": "human", "value": "Hi"}
GPT = {"from": "gpt", "value": "Hello"}
PLAIN = {"openai": {"messages": [HI, OK]}, "sharegpt": {"conversations": [HUMAN, GPT]}}


# ==== What must hold of every batch ====


def read(value: Any, dialect: str) -> Conversation | None:
    """The one conversation of a row, as `Labeller.read` gives it without repairs; None if there are others,
    or if calls were joined."""
    found = conversations(value, dialect, every=True)
    joined, names = join_calls(found[0])
    check_assistants(joined.messages)
    return None if len(found) > 1 or names else joined


def bare(shape: RowShape, texts: Sequence[str], id_: str | None) -> Conversation:
    return replace(conversation_of(shape, texts), id=id_)


def check(batch: RowBatch, dialect: str) -> None:
    """Each row with a shape is what is read of it, and no row is in twice."""
    shaped = batch.shaped
    lengths = {len(each) for each in (shaped.index, shaped.shapes, shaped.texts, shaped.ids)}

    assert len(lengths) == 1
    assert (np.diff(shaped.index) > 0).all()
    assert batch.numbers.dtype == np.int64
    for i, shape, texts, id_ in zip(shaped.index, shaped.shapes, shaped.texts, shaped.ids, strict=True):
        found = read(batch.row(i).value, dialect)
        assert found is not None
        assert repr(found) == repr(bare(shape, texts, id_))  # with the types of numbers and the order of keys
        assert shape_of(found) == (shape, texts)


def has_shape(value: Any, dialect: str) -> bool:
    """Whether a row has one conversation, of slots only, in which every answer says something."""
    try:
        found = read(value, dialect)
    except RowError:
        return False
    if found is None or shape_of(found) is None:
        return False
    return all(message.says_something for message in found.messages if message.role == "assistant")


def rows_and_error(rows: Iterable[Row]) -> tuple[list[Row], str]:
    found = []
    try:
        for row in rows:
            found.append(row)  # noqa: PERF402  # those before the error count
    except SourceError as error:
        return found, str(error)
    return found, ""


def batched(pieces: Iterable[Slice], dialect: str, size: int) -> Iterable[Row]:
    for piece in pieces:
        for batch in read_batches(piece, dialect, size):
            assert 0 < len(batch) <= size
            assert batch.source == piece.source
            check(batch, dialect)
            rows = [batch.row(i) for i in range(len(batch))]

            assert [row.row for row in rows] == batch.numbers.tolist()
            yield from rows


def check_pieces(pieces: Sequence[Slice], dialect: str, size: int) -> None:
    """All rows and the error are those of `read_slice`; an error may come some rows earlier or later."""
    expected, error = rows_and_error(row for piece in pieces for row in read_slice(piece))
    rows, found = rows_and_error(batched(pieces, dialect, size))

    assert found == error
    both = min(len(rows), len(expected)) if error else None
    assert repr(rows[:both]) == repr(expected[:both])


def share_of(source: str, dialect: str) -> float:
    batches = list(read_batches(whole(inspect_source(source)), dialect))
    return sum(len(batch.shaped.index) for batch in batches) / sum(map(len, batches))


# ==== Rows of all kinds ====

SAID = [name for name in DIALECTS if plain_turns(name) is not None]
"""The dialects that say how their plain rows are written."""

TEXTS = st.one_of(
    st.sampled_from(
        ["Hi", "Hello", "", " ", "\n\x1c\u2003\x85", "\u200b", "é", "😀", "\ud83d", "2020-01-01", "[]"]
    ),
    st.text(max_size=5),
)
SPELLINGS = st.one_of(
    st.sampled_from([spelling for name in SAID for spelling in plain_turns(name).roles]),  # type: ignore[union-attr]
    st.sampled_from([" Human\n", "USER", "GPT ", "narrator", "function_call", "\ud800", "ﬀ", ""]),
)
NUMBERS = st.sampled_from([0, 1, -1, 2**63, 2**64, 10**30, 0.0, 1.5, 1e300])
SMALL = st.one_of(
    st.none(),
    st.booleans(),
    NUMBERS,
    TEXTS,
    st.sampled_from([[], {}, [None], [[]], {"a": None}, "[]", "{}", "null", "x"]),
    st.sampled_from(
        [{"train_turns": [True]}, {"train_turns": None}, '{"train_turns": [0, 1]}', [0, 1], [False]]
    ),
)
TURN_KEYS = [
    "role",
    "content",
    "from",
    "value",
    "name",
    "weight",
    "train",
    "masked",
    "loss_mask",
    "train_detail",
    "tool_calls",
    "function_call",
    "tool_call_id",
    "reasoning_content",
    "thinking",
    "likes",
]
ROW_KEYS = [
    *("messages", "conversations", "conversation", "items", "system", "system_prompt", "turns", "history", "tools", "functions", "template_kwargs"),
    *("chat_template_kwargs", "images", "audio", "id", "conversation_id", "uuid", "source", "score",
    *("weight", "sample_weight", "loss_weights", "train_turns", "loss_mask", "metadata"), "été", 'a"\\\n', "\ud801"),
]  # fmt: skip
CALL = {
    "id": "c",
    "type": "function",
    "function": {"name": "f", "arguments": {"a": [1, 2.0, None], "é": "x"}},
}
FLAT = {"name": "f", "arguments": '{"a": {"b": true}}'}
CALLS = st.one_of(
    st.sampled_from([CALL, FLAT, {**CALL, "function": FLAT}, {"function": {"arguments": {}, "name": "g"}}]),
    st.sampled_from([{**CALL, "id": None}, {**CALL, "id": 5}, {**CALL, "type": None}, {**CALL, "type": "x"}]),
    st.sampled_from([{**CALL, "index": 0}, {**FLAT, "id": ""}, {"type": "function", "id": "", **FLAT}, {}, 5]),
    st.sampled_from([{**FLAT, "arguments": each} for each in (None, "", "oops", "[]", '"x"', '{"a":"\\ud800"}')]),
    st.sampled_from([{**FLAT, "arguments": {"a": json.loads("[" * n + "]" * n)}} for n in (50, 125, 126, 127, 128, 129, 200, 249)]),
)  # fmt: skip
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "default": None}}}
TOOLS = st.sampled_from(
    [
        [TOOL],
        [TOOL["function"]],
        [TOOL, {"name": "g", "input_schema": {}}],
        json.dumps([TOOL]),
        "oops",
        [5],
        [{}],
    ]
)
PARTS = st.lists(
    st.sampled_from([
        *({"type": "text", "text": "a "}, {"text": "b"}, {"type": "output_text", "text": ""}, {"type": "image"}),
        *({"type": "thinking", "thinking": "x"}, {"type": "text", "text": "c", "train": False}),
        {"type": "tool_result", "tool_use_id": "a", "content": "d"},
    ]),
    max_size=2,
)  # fmt: skip
THOUGHTS = st.sampled_from(["r", "", " ", "\nr\n", "<think>", "é"])
MARKS = st.sampled_from([True, False, 0, 1, 2, 0.5, 1.0, None, "x"])
SLOTS: list[tuple[str, Any]] = [
    *(("tool_calls", each) for each in (st.lists(CALLS, max_size=2), CALLS, st.builds(json.dumps, CALLS))),
    *((key, THOUGHTS) for key in ("reasoning_content", "reasoning", "thinking")),
    *((key, MARKS) for key in ("train", "weight", "masked", "mask", "loss_mask")),
    *(("function_call", CALLS), ("tool_call_id", TEXTS), ("name", TEXTS)),
]
"""What is a slot, and values that may be right."""
PAIRS = {"openai": ("role", "content"), "sharegpt": ("from", "value")}
OTHER_PAIRS = [("role", "content"), ("from", "value"), ("role", "value"), ("from", "content")]


def seldom(draw: Callable[..., Any], one_in: int) -> bool:
    return bool(draw(st.integers(1, one_in)) == one_in)


@st.composite
def turns(draw: Callable[..., Any], dialect: str) -> Any:
    """Turns as they should be, or now and then with something wrong."""
    role, text = draw(st.sampled_from(OTHER_PAIRS)) if seldom(draw, 6) else PAIRS[dialect]
    roles = st.sampled_from(["user", "assistant", "system", "tool", " Model\n"])
    found: list[Any] = [{role: draw(roles), text: "Hi"} for _ in range(draw(st.integers(0, 3)))]
    found.append({role: "assistant", text: "Hello"})
    for key, values in draw(st.lists(st.sampled_from(SLOTS), max_size=3)):
        found[draw(st.integers(0, len(found) - 1))][key] = draw(values)
    for turn in found if seldom(draw, 4) else ():
        turn[text] = draw(
            st.one_of(PARTS, st.sampled_from([None, "<think>r</think>x", " [THINK]", "x</think>", ""]))
        )
    if dialect == "sharegpt" and seldom(draw, 3):
        value = draw(st.one_of(CALLS, st.builds(json.dumps, st.one_of(CALLS, st.lists(CALLS, max_size=2)))))
        found.insert(draw(st.integers(0, len(found))), {role: "function_call", text: value})
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2]))):
        at = draw(st.integers(0, len(found) - 1))
        change = draw(st.sampled_from(["text", "text", "role", "key", "turn"]))
        if change == "turn":
            found[at] = deepcopy(draw(SMALL))  # it may be changed in turn
        elif isinstance(found[at], dict):
            key = {"text": text, "role": role}.get(change) or draw(st.sampled_from(TURN_KEYS))
            found[at][key] = draw({"text": TEXTS, "role": SPELLINGS}.get(change, SMALL))
    if seldom(draw, 8):
        return draw(st.sampled_from([json.dumps(found), [], None, {"a": found}, "oops"]))
    return found


@st.composite
def rows(draw: Callable[..., Any], dialect: str) -> Any:
    keys = plain_turns(dialect).keys  # type: ignore[union-attr]
    row: Any = {keys[draw(st.sampled_from([0, 0, 0, 1, 2]))]: draw(turns(dialect))}
    if seldom(draw, 3):
        row[draw(st.sampled_from(["tools", "tools", "functions"]))] = draw(TOOLS)
    for key in draw(st.lists(st.sampled_from(ROW_KEYS), max_size=2)):
        row[key] = draw(turns(dialect) if seldom(draw, 9) else SMALL)
    return draw(st.sampled_from([row] * 15 + [[row], next(iter(row.values())), "text"]))


LINES_OF_THEIR_OWN = st.sampled_from(
    [
        *("", " \t", "oops", "{", "null", "{} {}", "NaN", '{"id": 1e999, "messages": []}', "[" * 300 + "]" * 300),
        '{"messages": [{"role": "user", "role": "gpt", "content": "x"}], "messages": null}',
        '{"messages": [{"role": "user", "role": "model", "content": 1, "content": "x"}]}',
        '{"messages": [{"ro\\u006ce": "assistant", "content": "\\ud83d\\ude00"}], "id": 5, "id": 6}',
        '{"conversations": [{"from": "gpt", "value": "x"}], "source": 1e999}',
        '{"conversations": [{"from": "gpt", "value": "x"}], "source": ' + "9" * 5000 + "}",
        '{"conversations": [{"from": "gpt", "value": "x"}], "source": ' + "[" * 256 + "]" * 256 + "}",
        '{"conversations": [{"from": "gpt", "value": "x", "likes": ' + '{"a":' * 300 + "1" + "}" * 300 + "}]}",
        '{"conversations": [{"from": "gpt", "value": "x"}]}\f',
        '{"conversations": [{"from": "gpt", "value": "a\tb"}]}',
        '{"conversations": [{"from": "gpt", "value": "x"}], "tools": ' + "[" * 100_000,
    ]
)  # fmt: skip


@st.composite
def lines(draw: Callable[..., Any], dialect: str) -> str:
    if seldom(draw, 8):
        return draw(LINES_OF_THEIR_OWN)
    text = json.dumps(draw(rows(dialect)), ensure_ascii=draw(st.booleans())).replace("\n", " ")
    if seldom(draw, 8):
        at = draw(st.integers(0, len(text)))
        text = (
            text[:at] + draw(st.sampled_from(['"', "}", "]", ",", "\\", "1", "\x01", "é"])) + text[at + 1 :]
        )
    return draw(st.sampled_from(["", "", " "])) + text + draw(st.sampled_from(["", "", "\r", " "]))


@settings(max_examples=300)
@given(
    data=st.data(),
    end=st.sampled_from(["\n", "", "\n\n"]),
    bom=st.sampled_from(["", "", "\ufeff"]),
    dialect=st.sampled_from(SAID),
    size=st.integers(1, 8),
    unit=st.integers(1, 9),
)
def test_any_lines(
    tmp_path: Path, data: st.DataObject, end: str, bom: str, dialect: str, size: int, unit: int
) -> None:
    """Whatever stands on the lines, and however the file is cut."""
    text = "\n".join(data.draw(st.lists(lines(dialect), min_size=1, max_size=12)))
    written = (bom + text + end).encode("utf-8", "surrogatepass")
    path = tmp_path / "a.jsonl"
    path.write_bytes(written)
    count = written.count(b"\n") + (not written.endswith(b"\n"))
    starts = [0, *np.flatnonzero(np.frombuffer(written + b"\n", np.uint8) == 10) + 1]
    cuts = [*range(0, count, unit), count]
    pieces = [
        Slice(
            path.as_posix(),
            "jsonl",
            None,
            first,
            last,
            int(starts[first]),
            min(int(starts[last]), len(written)),
        )
        for first, last in pairwise(cuts)
    ]

    check_pieces(pieces, dialect, size)
    check_pieces([Slice(path.as_posix(), "jsonl", None, unit, None, None, None)], dialect, size)


@settings(max_examples=100)
@given(dialect=st.sampled_from(SAID), data=st.data())
def test_what_is_learned_from_rows_changes_no_row(dialect: str, data: st.DataObject) -> None:
    """Lines read after others that they are like, and each by itself."""
    plain = plain_turns(dialect)
    assert plain is not None
    values = data.draw(st.lists(rows(dialect), min_size=1, max_size=12))
    written = [json.dumps(value).encode() for value in data.draw(st.permutations(values * 2))]
    block = LineBlock("a", np.arange(len(written)), written)
    found = LineReader(plain, dialect).shaped_rows(block)
    expected = [shaped_row(json.loads(line), dialect) for line in written]

    assert found.index == [i for i, row in enumerate(expected) if row is not None]
    assert list(zip(found.shapes, found.texts, found.ids, strict=True)) == [row for row in expected if row]


def test_json_and_csv(tmp_path: Path) -> None:
    turns = json.dumps([HI, OK])
    text = io.StringIO()
    csv.writer(text).writerows(
        [["id", "messages", "tools"], ["a", turns, ""], ["b", turns, "[]"], ["c", "oops", ""], ["d"] * 4]
    )
    sources = [
        write(tmp_path / "a.csv", text.getvalue()),
        write(
            tmp_path / "a.json",
            json.dumps([{"id": "a", "messages": [HI, OK]}, 5, {"messages": turns}, {"messages": []}]),
        ),
    ]
    for source in sources:
        check_pieces([whole(inspect_source(source))], "openai", 3)
        assert share_of(source, "openai") == 0.5


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_compressed_lines(tmp_path: Path, suffix: str) -> None:
    data = b"".join(
        json.dumps({"id": n, "messages": [HI, OK]}).encode() + b"\n" * (n % 3) for n in range(3000)
    )
    source = write(tmp_path / f"a.jsonl{suffix}", compressed(data, suffix))

    check_pieces([whole(inspect_source(source))], "openai", 700)
    part = Slice(source, "jsonl", {".gz": "gzip", ".zst": "zstd"}[suffix], 50, 90, None, None)
    check_pieces([part], "openai", 7)
    numbers = [number for batch in read_batches(part, "openai", 7) for number in batch.numbers.tolist()]
    assert (min(numbers), max(numbers), len(numbers)) == (51, 88, 26)  # every third line is blank


def test_blank_lines_and_byte_order_marks(tmp_path: Path) -> None:
    line = json.dumps({"messages": [HI, OK]})
    source = write(tmp_path / "a.jsonl", f"\ufeff\n{line}\n \t\r\n\ufeff{line}\n\x0b\n{line}")
    batches = list(read_batches(Slice(source, "jsonl", None, 0, None, 0, None), "openai"))

    assert [number for batch in batches for number in batch.numbers.tolist()] == [1, 3, 4, 5]
    errors = [batch.row(i).error for batch in batches for i in range(len(batch))]
    assert [error is None for error in errors] == [True, True, False, True]
    assert [int(batch.numbers[i]) for batch in batches for i in batch.shaped.index] == [1, 3, 5]
    for text, numbers in ((f"\ufeff{line}\n", [0]), (f"\ufeff\n{line}", [1])):
        piece = Slice(write(tmp_path / "b.jsonl", text), "jsonl", None, 0, None, 0, None)
        check_pieces([piece], "openai", 2)
        assert [batch.numbers.tolist() for batch in read_batches(piece, "openai")] == [numbers]


def test_errors_are_those_of_read_slice(tmp_path: Path) -> None:
    lines = [json.dumps({"messages": [HI, OK]}).encode()] * 9
    lines[7] = b'{"messages": "\xff"}'
    broken = write(tmp_path / "a.jsonl", b"\n".join(lines))
    check_pieces([Slice(broken, "jsonl", None, 0, 9, 0, None)], "openai", 5)
    check_pieces([Slice(broken, "jsonl", None, 0, 7, 0, None)], "openai", 5)
    check_pieces([Slice(broken, "jsonl", None, 0, 12, 0, None)], "openai", 5)

    column = pa.array([b"ok"] * 5 + [b"\xff"] + [b"ok"] * 3).view(pa.string())
    table = pa.table({"messages": [[HI, OK]] * 9, "note": column})
    pq.write_table(table, tmp_path / "a.parquet")
    piece = whole(inspect_source((tmp_path / "a.parquet").as_posix()))
    assert [batch.shaped.index for batch in read_batches(piece, "openai", 4)] == [[0, 1, 2, 3], [], [0]]
    check_pieces([piece], "openai", 4)
    check_pieces([piece._replace(stop_row=12)], "openai", 4)


# ==== Tables of all kinds ====


def text_types() -> st.SearchStrategy[pa.DataType]:
    return st.sampled_from(
        [pa.string()] * 4 + [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
    )


GOOD_TEXTS = TEXTS.filter(lambda text: text.isprintable() or text.isspace()) | st.none()
OTHERS: list[tuple[pa.DataType, list[Any]]] = [
    (pa.string(), ["", "[]", "null", "x", " "]),
    (pa.large_string(), ["", "[]", "Be brief."]),
    (pa.string_view(), ["", "[]", "Be brief."]),
    (pa.dictionary(pa.int8(), pa.string()), ["", "{}", "Be brief."]),
    (pa.int64(), [0, 1, -5]),
    (pa.uint64(), [2**64 - 1]),
    (pa.float64(), [0.0, 1.0, float("nan")]),
    (pa.bool_(), [False, True]),
    (pa.list_(pa.string()), [[], [None], ["a"]]),
    (pa.large_list(pa.int8()), [[], [1]]),
    (pa.struct([("a", pa.string())]), [{"a": None}, {"a": "x"}]),
    (pa.map_(pa.string(), pa.string()), [[], [("a", "b")]]),
    (pa.binary(), [b"", b"x"]),
    (pa.timestamp("us"), [0]),
    (pa.null(), [None]),
]


def column_of(draw: Callable[..., Any], size: int) -> pa.Array:
    type_, values = draw(st.sampled_from(OTHERS))
    return array_of(
        type_, draw(st.lists(st.sampled_from([None, None, *values]), min_size=size, max_size=size))
    )


def array_of(type_: pa.DataType, items: list[Any]) -> pa.Array:
    if pa.types.is_dictionary(type_):
        return pa.array(items, type_.value_type).dictionary_encode()
    return (
        pa.array(items, pa.string()).cast(type_) if pa.types.is_string_view(type_) else pa.array(items, type_)
    )


def texts_of(draw: Callable[..., Any], items: list[Any]) -> pa.Array:
    type_ = draw(text_types())
    array = pa.array(items, pa.string())
    return array.dictionary_encode() if pa.types.is_dictionary(type_) else array.cast(type_)


@st.composite
def turn_columns(draw: Callable[..., Any], dialect: str, size: int) -> pa.Array:
    """A list of structs for each row, built from its parts, with nulls at all levels and what hides under them."""
    lengths = draw(st.lists(st.sampled_from([0, 1, 2, 2, 2, 3]), min_size=size + 1, max_size=size + 1))
    offsets = np.cumsum(lengths)
    total = int(offsets[-1]) + draw(st.integers(0, 1))
    fields = {}
    for key in draw(st.sampled_from(OTHER_PAIRS)) if seldom(draw, 6) else PAIRS[dialect]:
        of_role = key in ("role", "from")
        cycle = ["assistant", "user"] if of_role else ["Hello", "Hi"]
        items: list[Any] = (cycle * total)[:total]
        others = SPELLINGS.filter(str.isascii) if of_role else GOOD_TEXTS
        items = [draw(others) if seldom(draw, 9) else item for item in items]
        fields[key] = texts_of(draw, items)
    for key in draw(st.lists(st.sampled_from(TURN_KEYS), max_size=1)):
        fields.setdefault(key, column_of(draw, total))
    nulls = [seldom(draw, 9) for _ in range(total)]
    structs = pa.StructArray.from_arrays(
        list(fields.values()), list(fields), mask=pa.array(nulls, pa.bool_())
    )
    kind = draw(st.sampled_from([*[pa.ListArray] * 5, pa.LargeListArray, pa.FixedSizeListArray, None]))
    if kind is pa.FixedSizeListArray and total >= 2 * size:
        return pa.FixedSizeListArray.from_arrays(structs[: 2 * size], 2)
    if kind is None:
        values = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), structs).to_pylist(
            maps_as_pydicts="lossy"
        )
        return pa.array([json.dumps(value, default=str) for value in values])
    kind = pa.LargeListArray if kind is pa.LargeListArray else pa.ListArray
    missing = [seldom(draw, 6) for _ in range(size)]
    return kind.from_arrays(
        pa.array(offsets, pa.int64() if kind is pa.LargeListArray else pa.int32()),
        structs,
        mask=pa.array(missing),
    )


@st.composite
def tables(draw: Callable[..., Any], dialect: str) -> pa.RecordBatch:
    size = draw(st.integers(4, 8))
    columns = {draw(st.sampled_from(["messages", "conversations"])): draw(turn_columns(dialect, size))}
    for key in draw(st.lists(st.sampled_from([key for key in ROW_KEYS if key.isprintable()]), max_size=2)):
        if key not in columns:
            columns[key] = draw(turn_columns(dialect, size)) if seldom(draw, 9) else column_of(draw, size)
    return pa.RecordBatch.from_arrays(list(columns.values()), list(columns))


@settings(max_examples=400)
@given(dialect=st.sampled_from(SAID), data=st.data())
def test_any_table(dialect: str, data: st.DataObject) -> None:
    """Whatever types the columns have, and also where a table is part of a larger one."""
    plain = plain_turns(dialect)
    assert plain is not None
    table = data.draw(tables(dialect))
    part = table.slice(data.draw(st.integers(0, 3)), data.draw(st.integers(1, 9)))
    maps = "strict" if "map<" in str(table.schema) else None
    piece = Slice("a.parquet", "parquet", None, 0, None, None, None)
    block = TableBlock("a.parquet", np.arange(part.num_rows), part, maps, piece)
    batch = RowBatch(block, plain_rows_of_table(block, plain, dialect))
    check(batch, dialect)
    twin = [i for i in range(len(batch)) if shaped_row(batch.row(i).value, dialect) is not None]

    assert set(batch.shaped.index) <= set(twin)


@pytest.mark.parametrize("dialect", SAID)
@pytest.mark.parametrize(("type_", "values"), OTHERS, ids=str)
def test_fields_of_any_type_beside_the_turns_and_in_them(
    type_: pa.DataType, values: list[Any], dialect: str
) -> None:
    """Each key that means something, and some that do not, with a column of each type."""
    plain = plain_turns(dialect)
    assert plain is not None
    items = [None, *values, None]
    beside = array_of(type_, items)
    within = array_of(type_, [item for item in items for _ in range(2)])
    role, text = PAIRS[dialect]
    turns = {role: ["user", "assistant"] * len(items), text: ["Hi", "Hello"] * len(items)}
    ends = pa.array(range(0, 2 * len(items) + 1, 2), pa.int32())
    uuids = pa.array([*"ab", *[None] * len(items)][: len(items)])
    for in_row, in_turn in [(key, "") for key in ROW_KEYS if key.isprintable()] + [
        ("", key) for key in TURN_KEYS
    ]:
        fields = {**turns, **({in_turn: within} if in_turn else {})}
        structs = pa.StructArray.from_arrays([pa.array(each) for each in fields.values()], list(fields))
        columns = {"uuid": uuids, plain.keys[0]: pa.ListArray.from_arrays(ends, structs)}
        columns |= {in_row: beside} if in_row and in_row != plain.keys[0] else {}
        table = pa.RecordBatch.from_arrays(list(columns.values()), list(columns))
        maps = "strict" if "map<" in str(table.schema) else None
        piece = Slice("a.parquet", "parquet", None, 0, None, None, None)
        block = TableBlock("a.parquet", np.arange(len(items)), table, maps, piece)
        batch = RowBatch(block, plain_rows_of_table(block, plain, dialect))
        check(batch, dialect)
        if in_turn not in (role, text):
            assert {0, len(items) - 1} <= set(batch.shaped.index)


@settings(max_examples=60)
@given(
    texts=st.lists(st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=9), min_size=1, max_size=4), min_size=1, max_size=9),
    dialect=st.sampled_from(SAID),
    size=st.integers(1, 5),
    group=st.integers(1, 7),
)  # fmt: skip
def test_plain_rows_are_found_in_every_format(
    tmp_path: Path, texts: list[list[str]], dialect: str, size: int, group: int
) -> None:
    """No row of turns only takes the slow path."""
    key, role, text, ask, answer = {
        "openai": ("messages", "role", "content", "user", "assistant"),
        "sharegpt": ("conversations", "from", "value", "Human", "gpt"),
    }[dialect]
    values = [
        {
            "id": f"row {n}",
            key: [*({role: ask, text: each} for each in row), {role: answer, text: "."}],
            "tools": [],
        }
        for n, row in enumerate(texts)
    ]
    sources = [
        write_parquet(tmp_path / "a.parquet", values, group),
        write(
            tmp_path / "a.jsonl",
            "".join(json.dumps(value, ensure_ascii=len(texts) > 3) + "\n" for value in values),
        ),
        write(tmp_path / "a.json", json.dumps(values)),
    ]
    for source in sources:
        for unit in plan_units([inspect_source(source)], unit_rows=4):
            check_pieces(unit.slices, dialect, size)
            for batch in (batch for piece in unit.slices for batch in read_batches(piece, dialect, size)):
                assert len(batch.shaped.index) == len(batch)


# ==== Single cases ====


@pytest.mark.parametrize(
    ("row", "dialect", "texts"),
    [
        ({"messages": [HI, OK], "note": 1}, "openai", ["Hi", "Hello"]),
        ({"conversation": [HI, OK], "messages": None, "tools": "[]", "images": []}, "openai", ["Hi", "Hello"]),
        ({"messages": [HI, {**OK, "name": None, "tool_calls": []}]}, "openai", ["Hi", "Hello"]),
        ({"messages": [HI, {**OK, "role": " Model\n"}], "system": "x"}, "openai", ["x", "Hi", "Hello"]),
        ({"messages": [HI, OK], "system_prompt": ""}, "openai", ["Hi", "Hello"]),
        ({"messages": [HI, OK], "system_prompt": "x"}, "openai", ["x", "Hi", "Hello"]),
        ({"conversations": [HUMAN, {**GPT, "likes": 7}]}, "sharegpt", ["Hi", "Hello"]),
        ({"conversations": [HUMAN, GPT], "system": " x "}, "sharegpt", [" x ", "Hi", "Hello"]),
        ({"conversations": [HUMAN, GPT], "system": " "}, "sharegpt", ["Hi", "Hello"]),
        ({"items": [{"from": "context", "value": "y"}, GPT], "system": "x"}, "sharegpt", ["y", "Hello"]),
        ({"messages": [{"role": "user", "value": "Hi"}, {"role": "bot", "value": "x"}]}, "sharegpt", ["Hi", "x"]),
        ({"messages": [HI, {**OK, "name": "Ann"}]}, "openai", ["Hi", "Hello", "Ann"]),
        ({"messages": [HI, {**OK, "name": ""}]}, "openai", ["Hi", "Hello", ""]),
        ({"messages": [HI, {**OK, "mood": "good"}]}, "openai", None),
        ({"messages": [HI, {**OK, "weight": 0}]}, "openai", ["Hi", "Hello"]),
        ({"messages": [HI, {**OK, "content": " \u2003"}]}, "openai", None),
        ({"messages": [HI, {**OK, "content": [{"type": "text", "text": "x"}]}]}, "openai", ["Hi", "x"]),
        ({"messages": [HI]}, "openai", None),
        ({"messages": []}, "openai", None),
        ({"messages": [HI, OK], "conversations": [HI]}, "openai", ["Hi", "Hello"]),
        ({"messages": [HI, OK], "tools": [{"name": "f"}]}, "openai", ['{"type": "function", "function": {"name": "f"}}', "Hi", "Hello"]),
        ({"messages": [HI, OK], "template_kwargs": {"a": 1}}, "openai", None),
        ({"messages": [HI, OK], "image": "a.png"}, "openai", None),
        ({"messages": [HI, OK], "images": "[]"}, "openai", None),
        ({"messages": [HI, OK]}, "sharegpt", ["Hi", "Hello"]),
        ({"conversations": [HUMAN, GPT]}, "openai", ["Hi", "Hello"]),
        ({"conversations": [HUMAN, {"from": "function_call", "value": "{}"}, GPT]}, "sharegpt", None),
        ({"conversations": [HUMAN, GPT], "system": ["x"]}, "sharegpt", None),
        ({"items": [{"role": "user", "value": "a", "content": "b"}, {**OK, "value": "c"}]}, "sharegpt", ["a", "c"]),
        ({"conversations": [HUMAN, GPT, None]}, "sharegpt", None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", ["jsonl", "json", "parquet"])
def test_which_rows_have_a_shape(
    tmp_path: Path, row: dict[str, Any], dialect: str, texts: list[str] | None, form: str
) -> None:
    """As the first row of its file, among its like, and after others that are plain, with other keys or all."""
    known = PLAIN[dialect]
    (key,) = known
    turns = row.get(key) or next(iter(row.values()))
    keys = dict.fromkeys(key for turn in turns if turn for key in turn)
    padded = {**dict.fromkeys(row), key: [{**keys, **turn} for turn in known[key]]}
    if form == "parquet" and '"content": [' in json.dumps(row):
        pytest.skip("a column has either strings or lists")
    for values in ([row], [known, row], [row, row], [padded, row, row, padded], [known, padded, row]):
        path = tmp_path / f"a.{form}"
        if form == "parquet":
            write_parquet(path, [{**dict.fromkeys(row), **value} for value in values])
        else:
            path.write_text(
                "\n".join(map(json.dumps, values)) + "\n" if form == "jsonl" else json.dumps(values)
            )
        info = inspect_source(path.as_posix())
        found = {}
        for batch in read_batches(whole(info), dialect):
            check(batch, dialect)
            found |= dict(zip(batch.shaped.index, batch.shaped.texts, strict=True))

        for at, value in enumerate(values):
            expected = texts if value is row else ["Hi", "Hello"]
            assert found.get(at) == expected or (form == "parquet" and value is row and at not in found)


@pytest.mark.parametrize(
    "wrong",
    [
        '"source": ' + "[" * 256 + "]" * 256,
        '"source": 1e999',
        '"source": NaN',
        '"source": ' + "9" * 5000,
        '"source": "\\ud800"',
        '"source": "\t"',
        '"source": 1} {',
        '"id": "\\ud800"',
        '"system": "\\ud800"',
        '"conversations": [{"from": "gpt", "value": "x", "likes": ' + '{"a":' * 300 + "1" + "}" * 300 + "}]",
        '"conversations": [{"from": "gpt", "value": "\\ud83d"}]',
        '"conversations": [{"from": "gpt", "from": "human", "value": "x"}]',
        '"conversations": null',
        '"items": [{"from": "gpt", "value": "x"}]',
    ],
)
def test_lines_that_are_almost_like_the_others(tmp_path: Path, wrong: str) -> None:
    """Like those before them in all but one value, which is wrong or comes twice."""
    known = {
        "conversations": [{**HUMAN, "likes": {}}, GPT],
        "source": {},
        "items": None,
        "id": "a",
        "system": "",
    }
    line = json.dumps(known)
    source = write(tmp_path / "a.jsonl", f"{line}\n{line[:-1]}, {wrong}}}\n{line}\n")

    check_pieces([Slice(source, "jsonl", None, 0, 3, 0, None)], "sharegpt", 9)
    (batch,) = read_batches(Slice(source, "jsonl", None, 0, 3, 0, None), "sharegpt")
    assert {0, 2} <= set(batch.shaped.index)


@pytest.mark.parametrize(
    ("ids", "found"),
    [
        ({"id": "a"}, "a"),
        ({"id": 7}, "7"),
        ({"id": 10**30}, str(10**30)),
        ({"id": None, "uuid": "u", "conversation_id": 5}, "5"),
        ({"id": True}, None),
        ({"id": 1.0}, None),
        ({"id": "", "uuid": "u"}, ""),
        ({"id": "\ud800"}, None),
        ({"id": [1]}, None),
        ({}, None),
    ],
)
def test_ids_of_plain_rows(tmp_path: Path, ids: dict[str, Any], found: str | None) -> None:
    row = {**ids, "messages": [HI, OK]}
    sources = [
        write(tmp_path / "a.jsonl", (json.dumps(row) + "\n") * 3),
        write(tmp_path / "a.json", json.dumps([row] * 3)),
    ]
    if set(map(type, ids.values())) <= {str, int, type(None)} and found and len(found) < 9:
        sources.append(write_parquet(tmp_path / "a.parquet", [row] * 3))
    for source in sources:
        (batch,) = read_batches(whole(inspect_source(source)), "openai")
        assert batch.shaped.ids == [found] * 3


def test_rows_of_a_dialect_that_says_nothing_are_read_to_see_whether_they_have_a_shape(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("premask.dialects.openai.PLAIN")
    rows = [{"id": 7, "messages": [HI, OK]}, {"messages": [HI, {**OK, "mood": "good"}]}, {"messages": [HI]}]
    source = write(tmp_path / "a.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows) + "oops\n")
    (batch,) = read_batches(whole(inspect_source(source)), "openai")

    assert (len(batch), batch.shaped.index) == (4, [0])
    assert (batch.shaped.texts, batch.shaped.ids) == ([["Hi", "Hello"]], ["7"])


def test_rows_with_several_conversations_are_not_plain(tmp_path: Path) -> None:
    """Which of them are read depends on the recipe."""
    rows = [{"prompt": "Hi", "completion": ["Hello"]}, {"prompt": "Hi", "completion": ["Hello", "Ho"]}]
    source = write(tmp_path / "a.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows))
    (batch,) = read_batches(whole(inspect_source(source)), "prompt_completion")

    assert batch.shaped.index == [0]


def test_lines_of_rows_with_many_different_keys_are_read_all_the_same(tmp_path: Path) -> None:
    """There is a bound on what is learned."""
    values = [{f"key {n}": n, "messages": [HI, OK]} for n in range(200)]
    source = write(tmp_path / "a.jsonl", "".join(json.dumps(value) + "\n" for value in values))

    assert share_of(source, "openai") == 1


def test_long_parquet_rows_come_in_small_batches(tmp_path: Path) -> None:
    rows = [{"messages": [HI, {"role": "assistant", "content": f"{n}" * 300_000}]} for n in range(10, 90)]
    source = write_parquet(tmp_path / "a.parquet", rows)
    batches = list(read_batches(whole(inspect_source(source)), "openai"))

    assert max(map(len, batches)) < 60
    assert sum(len(batch.shaped.index) for batch in batches) == 80


# ==== Slots ====

TURN = {"role": "assistant", "content": "Hello"}
USER, TOLD = {"role": "user", "content": "Hi"}, {"role": "tool", "tool_call_id": "c", "content": "21"}
ROUND = [USER, {**TURN, "content": "", "tool_calls": [CALL]}, TOLD, OK]
GIVEN = {"from": "function_call", "value": json.dumps(FLAT)}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "reasoning": ("openai", {"messages": [USER, {**TURN, "reasoning_content": "r"}]}),
    "thinking": ("openai", {"messages": [USER, {**TURN, "thinking": "r", "content": "<think>r</think>Hello"}]}),
    "tools": ("openai", {"messages": ROUND, "tools": [TOOL]}),
    "functions": ("openai", {"messages": ROUND, "functions": [TOOL["function"]], "id": 3}),
    "tools in a string": ("openai", {"messages": ROUND, "tools": json.dumps([TOOL]), "source": {"a": [1]}}),
    "calls without content": ("openai", {"messages": [USER, {"role": "assistant", "tool_calls": [CALL, CALL]}, TOLD, OK]}),
    "null content": ("openai", {"messages": [USER, {**TURN, "content": None, "tool_calls": [CALL]}, TOLD, OK]}),
    "arguments in a string": ("openai", {"messages": [USER, {**TURN, "tool_calls": [{"type": "function", "function": FLAT}]}]}),
    "flat calls": ("openai", {"messages": [USER, {**TURN, "tool_calls": [FLAT]}]}),
    "calls in a string": ("openai", {"messages": [USER, {**TURN, "tool_calls": json.dumps([CALL])}]}),
    "older calls": ("openai", {"messages": [USER, {**TURN, "function_call": FLAT}]}),
    "no arguments": ("openai", {"messages": [USER, {**TURN, "tool_calls": [{**FLAT, "arguments": {}}]}]}),
    "names": ("openai", {"messages": [{**USER, "name": "Ann"}, TURN], "system": "Be brief.", "tools": [TOOL]}),
    "marks": ("openai", {"messages": [USER, {**TURN, "train": False}, USER, {**TURN, "train": True, "weight": 2}]}),
    "weight": ("openai", {"messages": [USER, TURN], "weight": 0.5}),
    "parts": ("openai", {"messages": [{**USER, "content": [{"type": "text", "text": "Hi"}]}, TURN]}),
    "calls as turns": ("sharegpt", {"conversations": [HUMAN, GIVEN, {"from": "observation", "value": "21"}, GPT], "tools": [TOOL]}),
    "reasoning of sharegpt": ("sharegpt", {"conversations": [HUMAN, {**GPT, "reasoning": "r", "likes": 5}]}),
    "many rounds": ("openai", {"messages": ROUND * 100, "tools": [TOOL], "meta": {"a": [{}]}}),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_lines_are_decoded_into_slots(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the first line is parsed as usual, and those with a key that was not seen before."""
    dialect, row = KINDS[kind]
    parsed = []
    monkeypatch.setattr(
        "premask.fast.jsonl_rows.shaped_row", lambda *given: parsed.append(given) or shaped_row(*given)
    )
    source = write(tmp_path / "a.jsonl", "".join(f"{json.dumps({**row, 'id': n})}\n" for n in range(9)))
    (batch,) = read_batches(whole(inspect_source(source)), dialect)
    check(batch, dialect)

    assert (len(batch.shaped.index), len(parsed)) == (9, 1)


def test_the_keys_of_calls_keep_their_order(tmp_path: Path) -> None:
    """Templates may print a call as it is."""
    function = {"name": "f", "arguments": {"b": 1, "a": 2}}
    calls = [
        {"function": function, "id": "c", "type": "function"},
        {"id": "c", "function": dict(reversed(function.items())), "type": "function"},
        {"function": function},
        {"arguments": {}, "id": "c", "name": "f"},
    ]
    rows = [{"messages": [USER, {**TURN, "tool_calls": [call]}]} for call in [*calls, *calls]]
    source = write(tmp_path / "a.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows))
    (batch,) = read_batches(whole(inspect_source(source)), "openai")
    check(batch, "openai")

    found = [shape.messages[1].calls[0] for shape in batch.shaped.shapes]
    assert [call.fields for call in found[4:]] == [
        ("function", "id", "type"),
        ("id", "function", "type"),
        ("function", "type"),
        ("id", "type", "function"),
    ]
    assert [call.function[0] for call in found[4:]] == ["name", "arguments", "name", "arguments"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([TURN, {"role": "assistant", "tool_calls": [CALL]}], [TURN, USER]),
        ([{**TURN, "reasoning": "r", "content": "<think>other</think>x"}], [{**TURN, "reasoning": "r"}]),
        ([{**TURN, "reasoning": "r", "thinking": "other"}], [{**TURN, "reasoning": "r"}]),
        ([{**TURN, "train": 0.5}], [{**TURN, "train": True}]),
        ([{**TURN, "train": False, "masked": False}], [{**TURN, "train": True, "masked": False}]),
        ([{**TURN, "content": ""}], [{**TURN, "name": "x"}]),
        ([{**TURN, "tool_calls": [{**FLAT, "arguments": "[]"}]}], [{**TURN, "tool_calls": [FLAT]}]),
        ([{**TURN, "tool_calls": [{**CALL, "type": "x"}]}], [{**TURN, "tool_calls": [CALL]}]),
        ([{**TURN, "mood": 1}], [{**TURN, "name": "x"}]),
    ],
)
def test_what_has_no_shape_beside_what_has_one(
    tmp_path: Path, first: list[dict[str, Any]], second: list[dict[str, Any]]
) -> None:
    rows = [{"messages": [USER, *turns]} for turns in (second, first, second, first)]
    source = write(tmp_path / "a.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows))
    (batch,) = read_batches(whole(inspect_source(source)), "openai")
    check(batch, "openai")

    assert batch.shaped.index == [0, 2]


def test_lists_of_tools_that_are_remembered_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("premask.fast.jsonl_slots._MOST_TOOLS", 500)
    tools = [[TOOL, {"name": f"f{n % 7}", "description": "x" * 50}] for n in range(40)]
    rows = [{"messages": ROUND, "tools": each} for each in tools]
    source = write(tmp_path / "a.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows))
    (batch,) = read_batches(whole(inspect_source(source)), "openai")
    check(batch, "openai")

    assert len(batch.shaped.index) == 40
    assert [texts[1] for texts in batch.shaped.texts] == [
        json.dumps({"type": "function", "function": each[1]}) for each in tools
    ]


# ==== Real files ====


def corpus() -> list[Path]:
    folders = (CORPUS, CORPUS.parent / "reported")
    return sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())


@needs_corpus
def test_corpus_rows_with_a_shape_are_all_found(tmp_path: Path) -> None:
    """Of real rows, none with a shape is missed in lines, and each that is found is what is read of it."""
    found = Counter[str]()
    files = Counter[str]()
    for path in corpus():
        try:
            info = inspect_source(path.as_posix())
            dialect = recognize_file(peek(info), source=info.source)
        except SourceError:
            continue
        files[dialect] += 1
        check_pieces([whole(info)], dialect, 1024)
        values = [row.value for row in read_slice(whole(info))][:200]
        as_lines = write(tmp_path / "a.jsonl", "".join(json.dumps(value) + "\n" for value in values))
        check_pieces([Slice(as_lines, "jsonl", None, 0, None, 0, None)], dialect, 300)
        (batch,) = read_batches(Slice(as_lines, "jsonl", None, 0, None, 0, None), dialect)
        assert batch.shaped.index == [i for i, value in enumerate(values) if has_shape(value, dialect)]
        found[dialect] += len(batch.shaped.index)
    assert (files.total() > 20, len(found) > 8) == (True, True), found
