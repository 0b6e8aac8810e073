"""Rows in spellings that few files have: what batches find is what the dialect reads, whatever rows are around."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from inputs import write
from premask.core.recipe import Recipe
from premask.core.shapes import conversation_of
from premask.dialects import recognize_file
from premask.fast.plain_batches import read_batches
from premask.labeller import Labeller
from premask.sources.cutting import whole
from premask.sources.inspection import inspect_source

READER = Labeller.__new__(Labeller)
READER.recipe = Recipe(sources=["a.parquet"], tokenizer="a", output="b")

HI, OK = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
CALL = {"name": "f", "arguments": {"town": "Rome"}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
PLAIN: dict[str, Any] = {"messages": [HI, OK]}
CALLED = {"messages": [HI, {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": CALL}]}, {"role": "tool", "content": "21", "tool_call_id": "c"}, OK]}  # fmt: skip


def _called(**call: Any) -> dict[str, Any]:
    return {"messages": [HI, {"role": "assistant", "content": None, "tool_calls": [call]}, OK]}


def _turn(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"messages": [HI, {"role": role, "content": content, **more}, OK]}


SPELLINGS: dict[str, Any] = {
    "role_chatbot": {"messages": [{"role": "System", "content": "s"}, HI, {"role": "Chatbot", "content": "b"}]},
    "role_call": _turn("tool_call", json.dumps(CALL)),
    "role_call_after_text": {"messages": [HI, OK, *_turn("tool_call", json.dumps(CALL))["messages"][1:]]},
    "role_call_and_calls": _turn("tool_call", "", tool_calls=[CALL]),
    "role_call_of_text": _turn("tool_call", "look"),
    "role_call_with_both": _turn("tool_call", json.dumps(CALL), tool_calls=[CALL]),
    "role_result": {"messages": [HI, {"role": "tool_response", "content": "21"}, OK]},
    "integer": {"messages": [HI, {"role": "assistant", "content": 5}]},
    "integer_id": _called(id=7, type="function", function=CALL),
    "integer_result": {"messages": [HI, {"role": "tool", "content": "21", "tool_call_id": 7}, OK]},
    "no_arguments": _called(type="function", function={"name": "f", "arguments": ""}),
    "null_arguments": _called(type="function", function={"name": "f", "arguments": "null"}),
    "flat_no_arguments": _called(name="f", arguments=""),
    "string_turns": {"messages": [json.dumps(HI), json.dumps(OK)]},
    "string_calls": {"messages": [HI, {"role": "assistant", "content": "x", "tool_calls": [json.dumps(CALL)]}]},
    "string_function": _called(type="function", function=json.dumps(CALL)),
    "string_tools": {**PLAIN, "tools": [json.dumps(TOOL)]},
    "string_parameters": {**PLAIN, "tools": [{"name": "f", "parameters": json.dumps({"type": "object"})}]},
    "column_turns": {"messages": {"role": ["user", "assistant"], "content": ["Hi", "Hello"]}},
    "column_calls": {"messages": [HI, {"role": "assistant", "content": "x", "tool_calls": {"name": ["f"], "arguments": ["{}"]}}]},
}  # fmt: skip


def check(source: str, dialect: str) -> int:
    """Compare each row that has a shape; how many have one."""
    count = 0
    for batch in read_batches(whole(inspect_source(source)), dialect, 3):
        shaped = batch.shaped
        for at, shape, texts, id_ in zip(shaped.index, shaped.shapes, shaped.texts, shaped.ids, strict=True):
            (conversation,), joined = READER.read(batch.row(at), dialect)
            assert not joined
            assert repr(replace(conversation_of(shape, texts), id=id_)) == repr(conversation)
            count += 1
    return count


@pytest.mark.parametrize("name", SPELLINGS)
def test_lines(tmp_path: Path, name: str) -> None:
    rows = [PLAIN, CALLED, SPELLINGS[name], PLAIN, SPELLINGS[name], CALLED, SPELLINGS[name]]
    source = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))

    assert check(source, "openai") >= 4


@pytest.mark.parametrize("name", SPELLINGS)
def test_tables(tmp_path: Path, name: str) -> None:
    for rows in ([SPELLINGS[name]] * 3, [PLAIN, SPELLINGS[name], CALLED, SPELLINGS[name]]):
        try:
            table = pa.Table.from_pylist(rows)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
            continue  # a column cannot hold both
        pq.write_table(table, tmp_path / "a.parquet")
        assert check((tmp_path / "a.parquet").as_posix(), recognize_file([SPELLINGS[name]], source="-")) >= 0
