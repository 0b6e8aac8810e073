"""Reasoning that is given twice is taken once, or refused; nulls and names of the render call beside the turns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from inputs import write_parquet
from premask.core.errors import RowError
from premask.core.records import Message, Stretch
from premask.dialects import normalize
from premask.sources.cutting import plan_units
from premask.sources.inspection import inspect_source
from premask.sources.reading import read_slice

HI = {"role": "user", "content": "Hi"}
OK = {"role": "assistant", "content": "Hello"}


def answer(**fields: Any) -> Message:
    return normalize({"messages": [HI, {**OK, **fields}]}, "openai").messages[1]


def refused(row: Any) -> str:
    with pytest.raises(RowError) as caught:
        normalize(row, "openai")
    return f"{caught.value.reason}: {caught.value.detail}"


# ==== Given twice (K25) ====

TWICE: list[tuple[str, str]] = [
    ("<think>\nr\n</think>\n\nb", "b"),
    ("<think>r</think>b", "b"),
    (" \n<think> r </think>\n b", "b"),
    ("<think>\nr\n</think>", ""),
    ("r\n</think>\n\nb", "b"),
    ("[THINK]r[/THINK]b", "b"),
    ("<reasoning>r</reasoning>b", "b"),
]


@pytest.mark.parametrize(("content", "left"), TWICE)
@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking"])
def test_the_same_reasoning_in_the_content_is_taken_once(key: str, content: str, left: str) -> None:
    assert answer(content=content, **{key: "r"}) == Message("assistant", left, reasoning="r")
    parts = [{"type": "text", "text": content}]
    assert answer(content=parts, **{key: "\nr\n"}) == Message("assistant", left, reasoning="\nr\n")


@pytest.mark.parametrize(
    "fields",
    [
        {"content": "<think>\ns\n</think>\n\nb", "reasoning_content": "r"},
        {"content": "<think></think>b", "reasoning_content": "r"},
        {"reasoning_content": "r", "reasoning": "s"},
        {"reasoning": "r", "thinking": "s"},
        {"content": [{"type": "thinking", "thinking": "s"}, {"type": "text", "text": "b"}], "thinking": "r"},
    ],
)
def test_reasoning_that_differs_is_refused(fields: dict[str, Any]) -> None:
    said = refused({"messages": [HI, {**OK, **fields}]})
    assert said.startswith("wrong_type: turn 1 has its reasoning twice, and '")
    assert said.endswith("; leave one of them out")


def test_reasoning_that_is_given_once_is_left_where_it_is() -> None:
    block = "<think>\nr\n</think>\n\nb"
    assert answer(content=block) == Message("assistant", block)
    assert answer(content=block, reasoning_content=" ") == Message("assistant", block, reasoning=" ")
    other = "<reasoning>s</reasoning>b"
    assert answer(content=other, reasoning="r") == Message("assistant", other, reasoning="r")
    open_block = "<think>\nr"
    assert answer(content=open_block, reasoning="r").content == open_block
    assert answer(content="b </think>", reasoning="r").content == "b </think>"


def test_reasoning_in_parts_and_beside_them() -> None:
    content = [{"type": "thinking", "thinking": "r"}, {"type": "text", "text": "b"}]
    assert answer(content=content, reasoning="r\n") == Message("assistant", "b", reasoning="r\n")


def test_marks_of_characters_move_with_the_content() -> None:
    content = "<think>r</think>b c"
    detail = [{"begin_offset": 17, "end_offset": 18, "train": True}]
    message = answer(content=content, reasoning="r", train_detail=detail)
    assert message.content == "b c"
    assert message.stretches == (Stretch(1, train=False), Stretch(3, train=True))


def test_the_older_call_may_repeat_a_call() -> None:
    one, other = {"name": "f", "arguments": "{}"}, {"name": "g", "arguments": "{}"}
    assert len(answer(tool_calls=[{"id": "a", "function": one}], function_call=one).tool_calls) == 1
    said = refused({"messages": [HI, {**OK, "tool_calls": [one], "function_call": other}]})
    assert said.endswith("'function_call' differs from 'tool_calls'; leave one of them out")


# ==== Nulls (K4) ====

NULLS = {
    "messages": [HI, {**OK, "tool_calls": [{"name": "f", "arguments": {"a": None}}]}],
    "tools": [
        {
            "type": "function",
            "function": {"name": "f", "strict": None, "parameters": {"a": None, "b": [None]}},
        }
    ],
    "chat_template_kwargs": {"enable_thinking": None, "more": {"x": None, "y": 1}},
}


def test_nulls_in_tools_and_template_arguments_are_dropped() -> None:
    found = normalize(NULLS, "openai")
    assert found.tools == ({"type": "function", "function": {"name": "f", "parameters": {"b": [None]}}},)
    assert found.template_kwargs == {"more": {"y": 1}}
    assert found.messages[1].tool_calls[0]["function"]["arguments"] == {"a": None}
    written = {key: json.dumps(value) for key, value in NULLS.items()}
    assert normalize(written, "openai") == found


def test_the_rows_of_jsonl_and_parquet_are_the_same(tmp_path: Path) -> None:
    """The row of the report: Arrow fills `enable_thinking` in, `to_json` writes it as null."""
    rows = [
        {"messages": [HI, OK], "chat_template_kwargs": {"enable_thinking": None, "custom": None}},
        {"messages": [HI, OK], "chat_template_kwargs": {"enable_thinking": False, "custom": "x"}},
    ]
    source = write_parquet(tmp_path / "a.parquet", rows)
    (unit,) = plan_units([inspect_source(str(source))], unit_rows=10)
    read = [normalize(row.value, "openai") for piece in unit.slices for row in read_slice(piece)]

    assert read == [normalize(row, "openai") for row in rows]
    assert [each.template_kwargs for each in read] == [{}, {"enable_thinking": False, "custom": "x"}]


# ==== Names of the render call (K5) ====


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("messages", "write the turns as 'messages' at the top of the row"),
        ("tools", "write 'tools' at the top of the row"),
        ("add_generation_prompt", "leave it out: premask renders with and without it"),
        ("tokenize", "leave it out"),
    ],
)
@pytest.mark.parametrize("key", ["chat_template_kwargs", "template_kwargs"])
def test_arguments_of_the_render_call_are_refused(key: str, name: str, how: str) -> None:
    row = {"messages": [HI, OK], key: {"enable_thinking": True, name: []}}
    assert refused(row) == f"wrong_type: '{key}' has '{name}', which no template argument can be; {how}"
    assert normalize({**row, key: {name: None, "documents": [{"text": "d"}]}}, "openai").template_kwargs == {
        "documents": [{"text": "d"}]
    }


# ==== Content parts ====


def test_a_part_with_a_text_and_no_type_is_text() -> None:
    """Kind K20, as Bedrock's and Gemini's parts are."""
    assert answer(content=[{"text": "a"}, {"type": "text", "text": "b"}]).content == "ab"
    assert answer(content=[{"type": None, "text": "a"}]).content == "a"


@pytest.mark.parametrize(
    ("part", "named"),
    [
        ({"type": "image_url", "image_url": "x"}, "of type 'image_url'"),
        ({"image": {"format": "png"}}, "without type ('image')"),
        ({"text": "a", "inlineData": {"data": "x"}}, "without type ('text', 'inlineData')"),
        ({}, "without type (no keys)"),
        ({"text": 3}, "without type ('text')"),
    ],
)
def test_parts_of_unknown_type_are_refused_in_one_line(part: dict[str, Any], named: str) -> None:
    assert refused({"messages": [HI, {**OK, "content": [part]}]}) == (
        f"unsupported_content: turn 1 has a content part {named}; only text can be used: leave out the part, or the row"
    )
