"""Lists as tables write them, and numbers where texts are meant: elements that are JSON within strings, columns of
lists, integers, arguments that are empty."""

from __future__ import annotations

import json
from typing import Any

import pytest
from premask.core.errors import RowError
from premask.core.records import Conversation, Message
from premask.core.source_entry import FieldMap
from premask.dialects import Form, normalize, recognize_file
from premask.dialects.cells import not_a_string
from premask.dialects.fields import MappedFields

HI, OK = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}
TURNS = (Message("user", "Hi"), Message("assistant", "Hello"))
SCHEMA = {"type": "object", "properties": {"town": {"type": "string"}}, "required": ["town"]}
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}}
CALL = {"type": "function", "id": "c", "function": {"name": "f", "arguments": {"town": "Rome"}}}


def read(row: Any, form: Form | None = None) -> Conversation:
    return normalize(row, form or recognize_file([row], source="-"))


def refused(row: Any, form: Form) -> str:
    with pytest.raises(RowError) as caught:
        normalize(row, form)
    return str(caught.value)


def text(value: Any) -> str:
    return json.dumps(value)


# ==== JSON within strings ====


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [text(HI), text(OK)]},
        {"messages": [HI, text(OK)]},
        {"messages": text([text(HI), text(OK)])},
        [text(HI), text(OK)],
        {"messages": [{**HI, "content": [text({"type": "text", "text": "Hi"})]}, OK]},
        {"conversations": [text({"from": "human", "value": "Hi"}), text({"from": "gpt", "value": "Hello"})]},
        {"conversation": [text({"human": "Hi", "assistant": "Hello"})]},
        {"turns": [text({"speaker": "USER", "text": "Hi"}), text({"speaker": "SYSTEM", "text": "Hello"})]},
        {"prompt": "Hi", "chosen": [text(HI), text(OK)], "rejected": "x"},
        {"messages": [text(HI), {"role": "assistant", "content": [{"type": "thinking", "thinking": ""}, text({"type": "text", "text": "Hello"})]}]},
    ],
)  # fmt: skip
def test_turns_that_are_json_within_strings(row: Any) -> None:
    assert [(each.role, each.content) for each in read(row).messages] == [
        ("user", "Hi"),
        ("assistant", "Hello"),
    ]


def test_strings_that_only_look_like_json_stay_texts() -> None:
    assert "wrong_type: turn 1 is a JSON string" in refused({"messages": [HI, "{a}"]}, "openai")
    assert read({"id": "0", "data": ['{"a": 1}', '{"b": 2}']}).messages[1].content == '{"b": 2}'
    assert read({"question": "a", "answers": ['{"a": 1}']}).messages[1].content == '{"a": 1}'


FUNCTION = TOOL["function"]
assert isinstance(FUNCTION, dict)


@pytest.mark.parametrize(
    "tools",
    [
        [text(TOOL)],
        text([text(TOOL)]),
        [{**TOOL, "function": text(FUNCTION)}],
        [{**TOOL, "function": {**FUNCTION, "parameters": text(SCHEMA)}}],
        [{**FUNCTION, "parameters": text({**SCHEMA, "properties": {"town": text({"type": "string"})}})}],
        [{**FUNCTION, "parameters": {**SCHEMA, "properties": text({"town": text({"type": "string"})})}}],
        {"type": ["function"], "function": [FUNCTION]},
        {"name": ["f"], "description": ["d"], "parameters": [text(SCHEMA)]},
    ],
)
def test_tools_that_are_json_within_strings(tools: Any) -> None:
    assert read({"messages": [HI, OK], "tools": tools}).tools == (TOOL,)


@pytest.mark.parametrize(
    "calls",
    [
        [text(CALL)],
        text([text(CALL)]),
        [{**CALL, "function": text(CALL["function"])}],
        [{**CALL, "function": {"name": "f", "arguments": text({"town": "Rome"})}}],
        {
            "type": ["function"],
            "id": ["c"],
            "function": {"name": ["f"], "arguments": [text({"town": "Rome"})]},
        },
    ],
)
def test_calls_that_are_json_within_strings(calls: Any) -> None:
    row = {"messages": [HI, {"role": "assistant", "content": None, "tool_calls": calls}]}

    assert read(row).messages[1].tool_calls == (CALL,)


def test_texts_of_schemas_are_no_objects() -> None:
    """A description or a default that is JSON stays what it is."""
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string", "default": '{"b": 1}', "description": '{"c": 1}'}},
    }
    tool = {"name": "f", "description": '{"d": 1}', "parameters": schema}

    assert read({"messages": [HI, OK], "tools": [tool]}).tools == ({"type": "function", "function": tool},)


# ==== Columns of lists ====


@pytest.mark.parametrize(
    "row",
    [
        {"messages": {"role": ["user", "assistant"], "content": ["Hi", "Hello"]}},
        {"conversations": {"from": ["human", "gpt"], "value": ["Hi", "Hello"]}},
        {"conversations": text({"from": ["human", "gpt"], "value": ["Hi", "Hello"]})},
        {"messages": {"role": ["user", "assistant"], "content": ["Hi", "Hello"], "tool_calls": [None, None], "name": None}},
        {"conversation": {"human": ["Hi"], "assistant": ["Hello"]}},
        {"turns": {"speaker": ["USER", "SYSTEM"], "utterance": ["Hi", "Hello"]}},
        {"chosen": {"role": ["user", "assistant"], "content": ["Hi", "Hello"]}, "rejected": "x"},
    ],
)  # fmt: skip
def test_columns_of_lists_are_turns(row: Any) -> None:
    assert read(row).messages == TURNS


def test_columns_of_lists_hold_marks_and_calls() -> None:
    turns = {
        "role": ["user", "assistant", "assistant"],
        "content": ["Hi", None, "Hello"],
        "train": [None, False, True],
    }
    found = read({"messages": {**turns, "tool_calls": [None, [CALL], None]}})

    assert found.messages[1:] == (
        Message("assistant", tool_calls=(CALL,), train=False),
        Message("assistant", "Hello", train=True),
    )


def test_lists_of_different_lengths_are_refused() -> None:
    row = {"conversations": {"from": ["human", "gpt"], "value": ["Hi"]}}
    message = "wrong_type: the lists of 'conversations' have different lengths (from: 2, value: 1); each turn needs one item of each"

    assert recognize_file([row], source="-") == "sharegpt"
    assert refused(row, "sharegpt") == message
    form = MappedFields(FieldMap(messages="conversations", role="from", content="value"))
    assert refused(row, form) == message


def test_fields_read_columns_of_lists() -> None:
    row = {"log": {"who": ["A", "B"], "text": ["Hi", "Hello"]}}
    roles = {"A": "user", "B": "assistant"}
    form = MappedFields(FieldMap(messages="log", role="who", content="text", roles=roles))

    assert read(row, form).messages == TURNS


# ==== Numbers ====


@pytest.mark.parametrize(
    "row",
    [
        {"instruction": "Rate", "input": 3, "output": 5},
        {"prompt": "Rate", "completion": 5},
        {"question": 12, "answers": [5, 6]},
        {"prompt": "Rate", "chosen": 5, "rejected": 1},
        {"messages": [{"role": "user", "content": 4}, {"role": "assistant", "content": 5}]},
        {"conversations": [{"from": "human", "value": 4}, {"from": "gpt", "value": 5}]},
        {"conversation": [{"human": 4, "assistant": 5}]},
        {
            "prompt": {
                "role": "prompter",
                "text": 4,
                "replies": [{"role": "assistant", "text": 5, "replies": []}],
            }
        },
    ],
)
def test_integers_are_their_decimal_text(row: Any) -> None:
    assert read(row).messages[-1] == Message("assistant", "5")


@pytest.mark.parametrize("value", [2.5, True])
def test_other_numbers_are_refused_with_a_way_forward(value: Any) -> None:
    for dialect, row in {
        "alpaca": {"instruction": "Rate", "output": value},
        "openai": {"messages": [HI, {"role": "assistant", "content": value}]},
        "pairs": {"conversation": [{"human": "Hi", "assistant": value}]},
    }.items():
        assert f'not a string; write it as a string, such as "{value}"' in refused(row, dialect)


def test_ids_of_calls_may_be_integers() -> None:
    turn = {"role": "assistant", "content": None, "tool_calls": [{**CALL, "id": 7}]}
    found = read({"messages": [HI, turn, {"role": "tool", "tool_call_id": 7, "content": 21}, OK]}).messages

    assert found[1].tool_calls == ({**CALL, "id": "7"},)
    assert found[2] == Message("tool", "21", tool_call_id="7")


@pytest.mark.parametrize("arguments", ["", " ", "null", None])
@pytest.mark.parametrize("where", ["call", "function"])
def test_empty_arguments_are_none_at_all(arguments: Any, where: str) -> None:
    function = {"name": "f", "arguments": arguments}
    call = function if where == "call" else {"type": "function", "function": function}
    (read_call,) = (
        read({"messages": [HI, {"role": "assistant", "content": None, "tool_calls": [call]}]})
        .messages[1]
        .tool_calls
    )

    assert read_call["function"]["arguments"] == {}


def test_hostile_values_are_refused_and_not_read() -> None:
    deep: Any = "x"
    for _ in range(12):
        deep = text({"type": "object", "properties": {"a": deep}})
    tool = {"name": "f", "parameters": deep}

    assert read({"messages": [HI, OK], "tools": [tool]}).tools is not None
    for tools in ([5], [["x"]], "5", {"a": 1}, ["x"], [text([1])]):
        assert refused({"messages": [HI, OK], "tools": tools}, "openai").startswith("wrong_type: 'tools'")
    for turns in ({"role": [1], "content": [2]}, {"role": [None], "content": ["a"]}, ["{}"], [text([HI])]):
        assert refused({"messages": turns}, "openai")


def test_a_whole_float_may_mean_either_text() -> None:
    assert str(not_a_string("it", 1.0)).endswith('such as "1" or "1.0"')
    assert str(not_a_string("it", 0.5)).endswith('such as "0.5"')
