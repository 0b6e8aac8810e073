"""Rows -> conversations: what each dialect reads, what is rejected and how it is said, and that no row is lost."""

from __future__ import annotations

import csv
import json
from collections import Counter
from copy import copy
from pathlib import Path
from typing import Any

import pytest
from commands import TOKENIZER, premask, write_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from inputs import CORPUS, needs_corpus, values_of, write_parquet
from premask.core.contract import REASONS
from premask.core.errors import RowError, SourceError
from premask.core.records import ROLES, Conversation, Message
from premask.dialects import DIALECTS, NAMED_ONLY, Named, normalize, recognize_file, shaped_row
from premask.dialects.common import row_id
from premask.sources.cutting import plan_units
from premask.sources.inspection import inspect_source
from premask.sources.reading import peek, read_slice

HI = {"role": "user", "content": "Hi"}
HUMAN = {"from": "human", "value": "Hi"}


def openai(*messages: Any, **row: Any) -> Conversation:
    return normalize({"messages": [HI, *messages], **row}, "openai")


def sharegpt(*turns: Any, **row: Any) -> Conversation:
    return normalize({"conversations": [HUMAN, *turns], **row}, "sharegpt")


def answer(**fields: Any) -> Message:
    """The assistant message that an OpenAI message with these fields becomes."""
    return openai({"role": "assistant", "content": "Hello", **fields}).messages[1]


def call(name: str, arguments: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"type": "function", **fields, "function": {"name": name, "arguments": arguments}}


OK = {"role": "assistant", "content": "Hello"}
GPT = {"from": "gpt", "value": "Hello"}


# ==== Recognizing ====


@pytest.mark.parametrize(
    ("row", "names"),
    [
        ({"messages": [HI]}, ["openai"]),
        ({"conversations": [HI]}, ["openai"]),
        ({"conversation": [{"role": "assistant", "tool_calls": []}]}, ["openai"]),
        ({"messages": [{**HI, "from": "phone", "value": 3}]}, ["openai"]),
        ({"messages": [{**HI, "from": None, "value": None}]}, ["openai"]),
        ([HI], ["openai"]),
        ({"conversations": [HUMAN]}, ["sharegpt"]),
        ({"conversation": [{"from": "human", "content": "Hi"}]}, ["sharegpt"]),
        ({"messages": [{"role": "user", "value": "Hi"}]}, ["sharegpt"]),
        ({"items": [{**HUMAN, "role": None, "content": None}]}, ["sharegpt"]),
        ([HUMAN], ["sharegpt"]),
        ({"messages": json.dumps([HI])}, ["openai"]),
        ({"conversations": f" {json.dumps([HUMAN])}\n"}, ["sharegpt"]),
        ({"messages": "[oops", "conversations": json.dumps([HI])}, ["openai"]),
        ({"messages": json.dumps(json.dumps([HI]))}, []),
        ({"messages": '{"role": "user"}'}, []),
        ({"messages": ["text", HUMAN]}, ["sharegpt"]),
        ({"messages": [HI], "conversations": [HUMAN]}, ["sharegpt", "openai"]),
        ({"messages": "none yet", "conversations": [HI]}, ["openai"]),
        ({"conversation": [{"human": "Hi", "assistant": "Hello"}]}, ["pairs"]),
        ({"conversation": [["Hi", "Hello"]]}, ["pairs"]),
        ({"instruction": "Say hi", "output": "Hi"}, ["alpaca"]),
        ({"Instruction": "Say hi", "context": "", "response": "Hi"}, ["dolly", "alpaca"]),
        ({"instruction": "Say hi", "output": None}, []),
        ({"prompt": "Say hi", "completions": ["Hi"]}, ["prompt_completion"]),
        ({"prompt": "Say hi", "chosen": "Hi", "rejected": "Ho"}, ["preference"]),
        ({"prompt": "Say hi", "chosen": "Hi"}, []),
        ({"prompt": "Say hi", "completion": "Hi", "label": False}, ["kto", "prompt_completion"]),
        ({"prompt": "Say hi", "completion": "Hi", "label": 0}, ["prompt_completion"]),
        ({"messages": [HI], "label": True}, ["kto", "openai"]),
        ({"Question": "1+1?", "Answer": "2"}, ["question_answer"]),
        ({"question": "1+1?", "correct": "2"}, []),
        ({"question": [[HI]]}, ["bfcl"]),
        ({"text": "\n\nHuman: Hi\n\nAssistant: Hello"}, ["transcript"]),
        ({"text": "Dear Human: Hi\n\nAssistant: Hello"}, []),
        ({"text": "user: Hi\nassistant: Hello"}, ["transcript"]),
        ({"text": "### Human: Hi### Assistant: Hello"}, ["transcript"]),
        ({"text": "A text."}, []),
        ({"turns": [{"speaker": "USER", "utterance": "Hi"}]}, []),
        (
            {"turns": [{"speaker": "USER", "utterance": "Hi"}, {"speaker": "SYSTEM", "utterance": "Ho"}]},
            ["speakers"],
        ),
        (
            {"turns": [{"speaker": "Ann", "utterance": "Hi"}, {"speaker": "Bob", "utterance": "Ho"}]},
            [],
        ),
        (
            {"messages": [{"role": "user", "content": "Hi"}, {"role": "system", "content": "Ho"}]},
            ["openai"],
        ),
        (
            [{"role": "client", "content": "Hi"}, {"role": "counselor", "content": "Ho"}],
            ["speakers", "openai"],
        ),
        (
            {"messages": [{"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm"}]}]},
            ["anthropic", "openai"],
        ),
        ({"prompt": {"text": "Hi", "role": "prompter", "replies": []}}, ["trees"]),
        ({"data": ["Hi", "Hello"], "id": "0"}, ["statements"]),
        ({"data": ["Hi", "Hello"], "label": "x"}, []),
        ({"categories": ["AI"], "conversations": [["Hi", "Hello"]]}, ["statements", "pairs"]),
        ({"answer_generation": {"train_messages": []}}, ["toolbench"]),
        ({"messages": [[HI]]}, []),
        ({"messages": None}, []),
        ({}, []),
        ([], []),
        ("text", []),
        (None, []),
    ],
)
def test_which_dialects_a_row_has_the_shape_of(row: Any, names: list[str]) -> None:
    asked = {name: each for name, each in DIALECTS.items() if name not in NAMED_ONLY}
    assert [name for name, dialect in asked.items() if dialect.recognize(row)] == names


def test_a_file_has_the_dialect_of_most_of_its_rows() -> None:
    """Not that of the first row; a tie goes by the order of DIALECTS."""
    a, b = {"messages": [HI]}, {"conversations": [HUMAN]}

    assert recognize_file([b, a, a, {"note": 1}], source="x") == "openai"
    assert recognize_file([a, b], source="x") == "sharegpt"
    assert recognize_file([{"note": 1}] * 9 + [a], source="x") == "openai"


def test_a_file_of_no_known_dialect_is_refused_with_the_keys_seen() -> None:
    rows = [{"question": "1+1?", "turns": [{"x": "Hi", "y": "Hello"}]}, "text", {"new\nline": "1"}]
    with pytest.raises(SourceError) as caught:
        recognize_file(rows, source="faq.jsonl")

    assert str(caught.value) == (
        "faq.jsonl holds no known conversation format: its rows have question, turns[x, y], (string), "
        "'new\\nline'; no column looks like an answer; if one is, say with --fields or in the recipe "
        "fields: {user: question, assistant: COLUMN}; or leave the file out"
    )


def test_long_lists_of_keys_are_cut() -> None:
    with pytest.raises(
        SourceError, match=r"have 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, ...; none of them holds"
    ):
        recognize_file([{str(n): n for n in range(99)}], source="faq.jsonl")


def test_a_file_without_a_readable_row_is_refused() -> None:
    with pytest.raises(SourceError, match=r"faq.jsonl has no row that can be read; check its content"):
        recognize_file([], source="faq.jsonl")


@pytest.mark.parametrize("name", DIALECTS)
def test_a_row_of_another_dialect_is_read_as_that(name: str) -> None:
    for row in ({"messages": [HI, OK]}, {"conversations": [HUMAN, GPT]}, [HI, OK], [HUMAN, GPT]):
        assert normalize(row, name).messages == (Message("user", "Hi"), Message("assistant", "Hello"))


def test_a_row_whose_turns_are_json_within_a_string_is_read_like_any_other() -> None:
    """CSV has no lists, and many Parquet exports keep them as text too."""
    turns, messages = json.dumps([HUMAN, GPT]), json.dumps([HI, {**OK, "name": None}])
    expected = (Message("user", "Hi"), Message("assistant", "Hello"))

    assert normalize({"conversations": turns}, "sharegpt").messages == expected
    assert normalize({"messages": messages}, "openai").messages == expected
    assert normalize({"messages": messages, "conversations": "see messages"}, "sharegpt").messages == expected


def test_turns_within_strings_survive_csv_and_parquet(tmp_path: Path) -> None:
    row = {"id": "a", "messages": json.dumps([HI, {**OK, "content": 'say "é,\n"'}])}
    with (tmp_path / "a.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, row)
        writer.writeheader()
        writer.writerow(row)
    sources = [(tmp_path / "a.csv").as_posix(), write_parquet(tmp_path / "a.parquet", [row])]

    for source in sources:
        (value,) = values_of(source)
        assert recognize_file([value], source=source) == "openai"
        assert normalize(value, "openai").messages[1].content == 'say "é,\n"'


# ==== ShareGPT ====


@pytest.mark.parametrize(
    ("written", "role"),
    [
        *((name, "user") for name in ("human", "user", "prompter", " Human\n", "USER")),
        *((name, "assistant") for name in ("gpt", "chatgpt", "bing", "bard", "assistant", "model", "bot")),
        *((name, "system") for name in ("system", "context")),
        *((name, "tool") for name in ("tool", "function", "observation", "function_response", "ipython")),
    ],
)
@pytest.mark.parametrize("keys", [("from", "value"), ("role", "value"), ("from", "content")])
def test_sharegpt_roles_and_spellings(written: str, role: str, keys: tuple[str, str]) -> None:
    row = {"items": [{keys[0]: written, keys[1]: " text\n"}, {keys[0]: "gpt", keys[1]: "Hello"}]}

    assert normalize(row, "sharegpt").messages[0] == Message(role, " text\n")


def test_sharegpt_system_text_beside_the_turns() -> None:
    system = {"from": "system", "value": "Inside."}

    assert sharegpt(GPT, system=" Beside. ").messages[0] == Message("system", " Beside. ")
    assert [m.role for m in sharegpt(GPT, system="").messages] == ["user", "assistant"]
    assert [m.role for m in sharegpt(GPT, system=None).messages] == ["user", "assistant"]
    assert sharegpt(GPT, system, system="Beside.").messages[2] == Message("system", "Inside.")
    with pytest.raises(RowError, match="wrong_type: 'system' is a JSON array, not a string"):
        sharegpt(GPT, system=["Beside."])


@pytest.mark.parametrize(
    ("value", "calls"),
    [
        ('{"name": "add", "arguments": {"a": 1}}', [call("add", {"a": 1})]),
        ('{"name": "add", "arguments": "{\\"a\\": 1}"}', [call("add", {"a": 1})]),
        ('[{"name": "f", "arguments": {}}, {"name": "g"}]', [call("f", {}), call("g", {})]),
        ({"name": "add", "arguments": {"a": None}}, [call("add", {"a": None})]),
    ],
)
def test_sharegpt_function_calls_become_tool_calls(value: Any, calls: list[dict[str, Any]]) -> None:
    messages = sharegpt(
        {"from": "Function_Call", "value": value}, {"from": "observation", "value": "2"}
    ).messages

    assert messages[1:] == (Message("assistant", None, tool_calls=tuple(calls)), Message("tool", "2"))


def test_sharegpt_flags_are_honoured_and_other_keys_ignored() -> None:
    message = sharegpt({**GPT, "weight": 0, "likes": 7, "from_model": "x"}).messages[1]

    assert message == Message("assistant", "Hello", train=False)


# ==== OpenAI ====


@pytest.mark.parametrize(
    ("written", "role"), [*((role, role) for role in ROLES), ("function", "tool"), ("model", "assistant")]
)
def test_openai_roles(written: str, role: str) -> None:
    assert openai({"role": written, "content": "text"}, OK).messages[1] == Message(role, "text")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("\n <|im_end|>\u2028 ", "\n <|im_end|>\u2028 "),
        ([{"type": "text", "text": "a "}, {"type": "text", "content": "b"}], "a b"),
        ([{"type": "text", "value": "a", "text": None, "image_url": None}], "a"),
    ],
)
def test_content_is_kept_and_text_parts_are_joined(content: Any, text: str) -> None:
    assert answer(content=content).content == text


@pytest.mark.parametrize(
    "written",
    [
        {"tool_calls": [{"type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}]},
        {"tool_calls": [{"function": {"name": "add", "arguments": {"a": 1}}, "index": 0}]},
        {"tool_calls": [{"name": "add", "arguments": {"a": 1}, "type": None, "id": None}]},
        {"function_call": {"name": "add", "arguments": '{"a": 1}'}},
        {"function_call": {"name": "add", "arguments": '{"a": 1}'}, "tool_calls": []},
        {"tool_calls": '[{"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}]'},
        {"tool_calls": json.dumps([{"name": "add", "arguments": '{"a": 1}'}])},
        {"function_call": '{"name": "add", "arguments": {"a": 1}}', "tool_calls": ""},
    ],
)
def test_tool_calls_get_one_shape(written: dict[str, Any]) -> None:
    """Arguments become an object, parsed once; content may be missing beside them."""
    assert answer(content=None, **written) == Message("assistant", tool_calls=(call("add", {"a": 1}),))


@pytest.mark.parametrize("calls", ["", " ", "[]", "null", None, []])
def test_no_tool_calls_may_be_written_in_many_ways(calls: Any) -> None:
    assert answer(tool_calls=calls) == Message("assistant", "Hello")


def test_tool_calls_keep_their_ids_and_results_point_to_them() -> None:
    messages = openai(
        {"role": "assistant", "tool_calls": [{"id": "c1", "name": "f", "arguments": {"s": '{"b": 2}'}}]},
        {"role": "tool", "tool_call_id": "c1", "name": "f", "content": None},
    ).messages

    assert messages[1].tool_calls == (call("f", {"s": '{"b": 2}'}, id="c1"),)
    assert messages[2] == Message("tool", "", tool_call_id="c1", name="f")


@pytest.mark.parametrize(
    "written",
    [
        {"reasoning_content": " why ", "thinking": "why"},
        {"reasoning": " why ", "reasoning_content": None},
        {"thinking": " why "},
    ],
)
def test_reasoning_under_its_common_names(written: dict[str, Any]) -> None:
    assert answer(**written) == Message("assistant", "Hello", reasoning=" why ")
    assert answer(content="", **written).content == ""


@pytest.mark.parametrize(
    ("flags", "train", "weight"),
    [
        ({}, None, None),
        ({"train": False}, False, None),
        ({"loss": 1}, True, None),
        ({"loss": False}, False, None),
        ({"weight": 0}, False, None),
        ({"weight": 1.0}, True, None),
        ({"loss_weight": 0.0}, False, None),
        ({"loss_weight": 0.25}, True, 0.25),
        ({"weight": 2, "train": True}, True, 2.0),
        ({"train": None, "weight": 0, "loss": False}, False, None),
    ],
)
def test_flags_of_a_turn(*, flags: dict[str, Any], train: bool | None, weight: float | None) -> None:
    assert answer(**flags) == Message("assistant", "Hello", train=train, weight=weight)


def test_other_keys_of_a_message_are_passed_on() -> None:
    message = answer(prefix=True, citations=[{"n": None}], refusal=None, name="Ann")

    assert message == Message(
        "assistant", "Hello", name="Ann", extra={"prefix": True, "citations": [{"n": None}]}
    )


FUNCTION = {"name": "add", "parameters": {"type": "object"}}
TOOL = {"type": "function", "function": FUNCTION}


@pytest.mark.parametrize(
    ("row", "tools"),
    [
        ({"tools": [TOOL]}, (TOOL,)),
        ({"tools": json.dumps([TOOL, FUNCTION])}, (TOOL, TOOL)),
        ({"functions": [FUNCTION]}, (TOOL,)),
        ({"tools": [], "functions": [FUNCTION]}, (TOOL,)),
        ({"tools": [{"type": "function", **FUNCTION}]}, (TOOL,)),
        ({"tools": [{"type": "web_search", "name": "web"}]}, ({"type": "web_search", "name": "web"},)),
        ({"tools": None}, None),
        ({"tools": []}, None),
        ({"tools": "[]"}, None),
        ({"tools": " "}, None),
        ({"tools": "null"}, None),
    ],
)
def test_tools(row: dict[str, Any], tools: Any) -> None:
    assert openai(OK, **row).tools == tools
    assert sharegpt(GPT, **row).tools == tools


def test_template_arguments_of_a_row() -> None:
    assert openai(OK, chat_template_kwargs={"enable_thinking": False}).template_kwargs == {
        "enable_thinking": False
    }
    assert openai(OK, template_kwargs='{"a": 1}', chat_template_kwargs=None).template_kwargs == {"a": 1}
    assert openai(OK, template_kwargs="").template_kwargs == {}


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ({"id": "a"}, "a"),
        ({"id": 0}, "0"),
        ({"id": None, "conversation_id": "c"}, "c"),
        ({"uuid": "u"}, "u"),
        ({"id": True}, None),
        ({"id": 1.5}, None),
        ({"id": "\ud800"}, None),
        ([HI], None),
    ],
)
def test_row_ids(row: Any, found: str | None) -> None:
    assert row_id(row) == found
    if isinstance(row, dict):
        assert openai(OK, **row).id == found


# ==== Rejecting ====

DEEP: Any = json.loads("[" * 300 + "]" * 300)

REJECTED_ROWS: list[tuple[Any, str]] = [
    (None, "not_an_object: the row is a JSON null, not an object"),
    ("text", "not_an_object: the row is a JSON string, not an object"),
    (1.5, "not_an_object: the row is a JSON number"),
    ({"instruction": "Hi"}, "unknown_dialect: the row has none of the keys messages, conversations"),
    ({"messages": []}, "no_messages: the row has no turns"),
    ({"messages": None}, "no_messages: the row has no turns"),
    ([], "no_messages: the row has no turns"),
    ({"messages": "Hi"}, "wrong_type: 'messages' is a string but not valid JSON: Expecting value"),
    (
        {"conversations": "[{role: 'user'}]"},
        "wrong_type: 'conversations' is a string but not valid JSON: Ex",
    ),
    (
        {"messages": "[" * 300 + "]" * 300},
        "wrong_type: 'messages' is a string but not valid JSON: nested more",
    ),
    ({"messages": '"Hi"'}, "wrong_type: the conversation is a JSON string, not an array of turns"),
    (
        {"messages": '{"role": "user"}'},
        "wrong_type: the conversation is a JSON object, not an array of turns",
    ),
    ({"messages": 5}, "wrong_type: the conversation is a JSON number, not an array of turns"),
    ({"messages": '["Hi"]'}, "wrong_type: turn 0 is a JSON string, not an object"),
    ({"messages": "[]"}, "no_messages: the row has no turns"),
    ({"messages": " "}, "no_messages: the row has no turns"),
    ({"messages": [HI, "Hello"]}, "wrong_type: turn 1 is a JSON string, not an object"),
    ({"messages": [HI, OK], "images": ["1.jpg"]}, "unsupported_content: the row refers to images; only text"),
    ({"messages": [HI]}, "no_assistant: none of the 1 messages is by the assistant"),
    ({"messages": [HI, OK], "tools": "[{"}, "wrong_type: 'tools' is a string but not valid JSON: Expecting"),
    ({"messages": [HI, OK], "tools": ["f"]}, "wrong_type: 'tools' is not an array of objects"),
    ({"messages": [HI, OK], "tools": 5}, "wrong_type: 'tools' is not an array of objects"),
    ({"messages": [HI, OK], "template_kwargs": [1]}, "wrong_type: 'template_kwargs' is a JSON array, not an"),
    (
        {"messages": [HI, OK], "template_kwargs": "{"},
        "wrong_type: 'template_kwargs' is a string but not valid",
    ),
    ({"messages": [HI, OK], "template_kwargs": {"\ud800": 1}}, "invalid_text: the template arguments holds"),
    (
        {"messages": [HI, OK], "tools": [{"name": "\udfff"}]},
        "invalid_text: the list of tools holds half of a",
    ),
    ({"messages": [HI, OK], "tools": [{"d": DEEP}]}, "wrong_type: the list of tools is nested more than 256"),
]


@pytest.mark.parametrize(("row", "message"), REJECTED_ROWS)
def test_rows_that_are_rejected(row: Any, message: str) -> None:
    check_rejected(row, "openai", message)


REJECTED_MESSAGES: list[tuple[Any, str]] = [
    (
        {"role": "narrator", "content": "x"},
        "unknown_role: turn 1 has role 'narrator'; known roles: system, dev",
    ),
    ({"role": "\ud800", "content": "x"}, "unknown_role: turn 1 has role '\\ud800'; known"),
    ({"content": "x"}, "wrong_type: turn 1 has no role"),
    ({"role": 3, "content": "x"}, "wrong_type: the role of turn 1 is a JSON number, not a string"),
    ({"role": "user", "content": 3.5}, "wrong_type: the content of turn 1 is a JSON number, not a string"),
    ({"role": "user", "content": {"text": "x"}}, "wrong_type: the content of turn 1 is a JSON object, not a"),
    ({"role": "user", "content": None}, "wrong_type: turn 1 (user) has no content"),
    ({"role": "system"}, "wrong_type: turn 1 (system) has no content"),
    (
        {"role": "user", "content": ["x"]},
        "wrong_type: a content part of turn 1 is a JSON string, not an object",
    ),
    ({"role": "user", "content": [{"type": "text"}]}, "wrong_type: a text part of turn 1 holds no string"),
    (
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]},
        "unsupported_content: turn 1 has a content part of type 'image_url'; only text can be used",
    ),
    ({**OK, "thinking": True}, "wrong_type: 'thinking' of turn 1 is a JSON boolean, not a string"),
    ({**OK, "name": 3}, "wrong_type: 'name' of turn 1 is a JSON number, not a string"),
    ({**OK, "tool_call_id": 3.5}, "wrong_type: 'tool_call_id' of turn 1 is a JSON number, not a string"),
    ({**OK, "train": "no"}, "wrong_type: 'train' of turn 1 is neither true nor false"),
    ({**OK, "loss": 0.5}, "wrong_type: 'loss' of turn 1 is neither true nor false"),
    ({**OK, "weight": "2"}, "wrong_type: 'weight' of turn 1 is neither a finite number nor true or false"),
    ({**OK, "weight": float("nan")}, "wrong_type: 'weight' of turn 1 is neither"),
    ({**OK, "weight": 10**400}, "wrong_type: 'weight' of turn 1 is neither"),
    ({**OK, "train": True, "weight": 0}, "wrong_type: 'train', 'weight' of turn 1 contradict each other"),
    ({**OK, "weight": 2, "loss_weight": 3}, "wrong_type: 'weight', 'loss_weight' of turn 1 contradict"),
    (
        {**OK, "content": "\ud83d"},
        "invalid_text: message 1 holds half of a surrogate pair, such as '\\ud83d'",
    ),
    ({**OK, "thinking": "\ude00"}, "invalid_text: message 1"),
    ({**OK, "mood": [{"\ud800": 1}]}, "invalid_text: message 1"),
    ({**OK, "mood": DEEP}, "wrong_type: message 1 is nested more than 256 levels deep"),
    (
        {**OK, "content": [{"type": "text", "text": "\ud83d"}, {"type": "text", "text": "\ude00"}]},
        "invalid_text: message 1",
    ),
]


@pytest.mark.parametrize(("message", "detail"), REJECTED_MESSAGES)
def test_messages_that_are_rejected(message: Any, detail: str) -> None:
    check_rejected({"messages": [HI, message, OK]}, "openai", detail)


REJECTED_CALLS: list[tuple[Any, str]] = [
    ("f()", "it is not valid JSON: Expecting value"),
    ('["f"]', "it is a JSON string, not an object"),
    ('{"arguments": {}}', "it names no function"),
    ([None], "it is a JSON null, not an object"),
    ([{"arguments": {}}], "it names no function"),
    ([{"function": "f"}], "it names no function"),
    ([{"type": "code", "name": "f"}], "it is of type 'code', not 'function'"),
    ([{"name": "f", "arguments": "1+1"}], "it is not valid JSON: Extra data"),
    ([{"name": "f", "arguments": "{"}], "it is not valid JSON: Expecting property name"),
    ([{"name": "f", "arguments": '{"a": NaN}'}], "it is not valid JSON: NaN is not a JSON value"),
    ([{"name": "f", "arguments": "[1e999]"}], "it is not valid JSON: number 1e999 is out of range"),
    ([{"name": "f", "arguments": "[" * 100_000}], "it is not valid JSON: nested more than 256 levels deep"),
    ([{"name": "f", "arguments": '"{}"'}], "its arguments are a JSON string, not an object"),
    ([{"name": "f", "arguments": [1]}], "its arguments are a JSON array, not an object"),
    ([{"name": "f", "parameters": {"a": 1}}], "it has no 'arguments' but 'parameters'"),
    ([{"name": "f", "id": 1.5}], "its id is a JSON number, not a string"),
]


@pytest.mark.parametrize(("calls", "detail"), REJECTED_CALLS)
def test_tool_calls_that_are_rejected(calls: Any, detail: str) -> None:
    message = f"bad_tool_call: a tool call of turn 1 cannot be read: {detail}"
    check_rejected({"messages": [HI, {**OK, "tool_calls": calls}]}, "openai", message)


@pytest.mark.parametrize(
    ("turn", "message"),
    [
        (
            {"from": "narrator", "value": "x"},
            "unknown_role: turn 1 has role 'narrator'; known roles: system, dev",
        ),
        ({"value": "x"}, "wrong_type: turn 1 has no role"),
        ({"from": "human"}, "wrong_type: turn 1 (user) has no content"),
        (
            {"from": "function_call", "value": "add(1)"},
            "bad_tool_call: a tool call of turn 1 cannot be read: it",
        ),
        (
            {"from": "function_call", "value": "5"},
            "bad_tool_call: a tool call of turn 1 cannot be read: it is a",
        ),
    ],
)
def test_sharegpt_turns_that_are_rejected(turn: Any, message: str) -> None:
    check_rejected({"conversations": [HUMAN, turn, GPT]}, "sharegpt", message)


EMPTY_ANSWERS = [
    {"role": "assistant"},
    {"role": "assistant", "content": None, "tool_calls": []},
    {"role": "assistant", "content": " \n"},
    {"role": "assistant", "content": [], "thinking": " "},
]


@pytest.mark.parametrize("empty", EMPTY_ANSWERS)
def test_a_row_is_refused_as_empty_only_if_all_its_answers_are(empty: Any) -> None:
    one = "empty_assistant: message 1 (assistant) has no text and no tool call"
    check_rejected({"messages": [HI, empty]}, "openai", one)
    two = "empty_assistant: all 2 assistant messages have no text and no tool call"
    check_rejected({"messages": [HI, empty, HI, empty]}, "openai", two)
    assert len(openai(empty, HI, OK).messages) == 4


@pytest.mark.parametrize("empty", [{"from": "function_call", "value": None}, {"from": "gpt", "value": ""}])
def test_a_sharegpt_row_is_refused_as_empty_only_if_all_its_answers_are(empty: Any) -> None:
    check_rejected({"conversations": [HUMAN, empty]}, "sharegpt", "empty_assistant: message 1 (assistant)")
    assert len(sharegpt(empty, HUMAN, GPT).messages) == 4


def check_rejected(row: Any, dialect: str, message: str) -> None:
    with pytest.raises(RowError) as caught:
        normalize(row, dialect)

    assert str(caught.value).startswith(message)
    assert caught.value.reason in REASONS
    str(caught.value).encode("utf-8")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=3)
    | st.sampled_from(["user", "gpt"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    *(
                        "messages",
                        "conversations",
                        "role",
                        "from",
                        "content",
                        "value",
                        "tool_calls",
                        "function",
                    ),
                    *("name", "arguments", "type", "text", "weight", "tools", "system", "id", "thinking"),
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=30,
)


@settings(max_examples=300, deadline=None)
@given(row=JSON, dialect=st.sampled_from(list(DIALECTS)))
def test_any_json_is_normalized_or_rejected(row: Any, dialect: str) -> None:
    """Whatever a row holds: a conversation with known roles, or a RowError with a known reason."""
    before = repr(row)

    assert REASONS.keys() | set(ROLES) >= roles_or_reason(row, dialect)
    assert repr(row) == before


def roles_or_reason(row: Any, dialect: str) -> set[str]:
    try:
        return {message.role for message in normalize(row, dialect).messages}
    except RowError as error:
        return {error.reason}


# ==== Real files ====


def outcome(name: str) -> tuple[str, Counter[str]]:
    """Dialect of a corpus file, and how many of its rows are kept or rejected for which reason."""
    info = inspect_source((CORPUS / name).as_posix())
    dialect = recognize_file(peek(info), source=info.source)
    counts: Counter[str] = Counter()
    for unit in plan_units([info], unit_rows=1000):
        for row in (row for piece in unit.slices for row in read_slice(piece)):
            try:
                normalize(row.value, dialect)
            except RowError as error:
                counts[error.reason] += 1
            else:
                counts["kept"] += 1
    return dialect, counts


@needs_corpus
@pytest.mark.parametrize(
    ("name", "dialect", "counts"),
    [
        ("axolotl-fixtures/conversation.json", "sharegpt", {"kept": 1}),
        ("axolotl-fixtures/conversation.missingturns.json", "sharegpt", {"kept": 1}),
        ("fastchat/data/dummy_conversation.json", "sharegpt", {"kept": 500}),
        ("functionary/test_case.json", "openai", {"bad_tool_call": 1}),
        ("functionary/test_case_v1.json", "openai", {"kept": 1}),
        ("functionary/test_case_vision.json", "openai", {"unsupported_content": 1}),
        ("llamafactory/dpo_en_demo.json", "preference", {"kept": 300}),
        ("llamafactory/glaive_toolcall_en_demo.json", "sharegpt", {"kept": 300}),
        ("llamafactory/kto_en_demo.json", "kto", {"kept": 150, "rejected_answer": 150}),
        ("llamafactory/mllm_demo.json", "openai", {"unsupported_content": 6}),
        ("llamafactory/reason_tool_use_demo_50.jsonl", "openai", {"kept": 50}),
        ("llamafactory/v1_multimodal_demo.jsonl", "openai", {"unsupported_content": 24}),
        ("llamafactory/v1_sft_demo.jsonl", "openai", {"kept": 500}),
        ("medicalgpt/sft/sharegpt_zh_1K_format.jsonl", "sharegpt", {"kept": 999, "no_assistant": 1}),
        ("ms-swift/chatml.jsonl", "openai", {"kept": 3}),
        ("ms-swift/conversations.jsonl", "sharegpt", {"kept": 3}),
        ("open-instruct/history/rlvr_sample.jsonl", "openai", {"no_assistant": 100}),
        ("tinker-cookbook/conversations.jsonl", "openai", {"kept": 128}),
        ("universal-ner/eval/test_data/CrossNER_AI.json", "sharegpt", {"kept": 5603}),
    ],
)
def test_corpus_rows_are_all_accounted_for(name: str, dialect: str, counts: dict[str, int]) -> None:
    assert outcome(name) == (dialect, counts)


@needs_corpus
@pytest.mark.parametrize(
    "name",
    [
        "llamafactory/dataset_info.json",
        "fastchat/llm_judge/data/mt_bench/question.jsonl",
        "llamafactory/c4_demo.jsonl",
        "open-assistant/history/cocktail_recipes.parquet",
        "toolbench/data_example/instruction/G1_query.json",
    ],
)
def test_corpus_files_that_are_no_conversations_are_refused(name: str) -> None:
    info = inspect_source((CORPUS / name).as_posix())
    with pytest.raises(SourceError, match="holds no known conversation format: its rows have"):
        recognize_file(peek(info), source=info.source)


# ==== A dialect that the recipe names ====

OPENAI = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}
SHAREGPT = {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}


def test_a_named_dialect_binds_and_a_recognized_one_does_not() -> None:
    assert normalize(SHAREGPT, "openai").messages == normalize(SHAREGPT, Named("sharegpt")).messages
    assert normalize(OPENAI, Named("openai")) == normalize(OPENAI, "openai")
    with pytest.raises(RowError) as caught:
        normalize(SHAREGPT, Named("openai"))
    assert str(caught.value) == (
        "unknown_dialect: the row is not of the dialect openai, which the recipe names; it has the form of "
        "sharegpt: set dialect to sharegpt, or to auto"
    )
    with pytest.raises(RowError, match="no_messages"):
        normalize({"messages": []}, Named("openai"))
    assert shaped_row(SHAREGPT, Named("openai")) is None
    assert copy(Named("openai")).__class__ is Named


def test_a_file_of_another_dialect_than_the_recipe_names(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", [SHAREGPT] * 3)
    words = ["--tokenizer", TOKENIZER, "--output", tmp_path / "out", "--dialect", "openai"]

    done = premask("run", source, *words)
    text = f"{source}: no row is of the dialect openai; it has the form of sharegpt: set dialect to sharegpt"
    assert (done.code, done.err) == (2, f"premask: {text}, or to auto\n")
    write_rows(tmp_path / "a.jsonl", [SHAREGPT, OPENAI])
    assert premask("run", source, *words).code == 0
    counts = json.loads((tmp_path / "out" / "manifest.json").read_text())["counts"]
    assert (counts["kept"], counts["rejected_by_reason"]) == (1, {"unknown_dialect": 1})
    assert premask("verify", tmp_path / "out").code == 0


def test_csv_with_other_separators_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("Frage;Antwort,x\nWas?;Das,y\n", encoding="utf-8")
    done = premask("run", tmp_path / "a.csv", "--tokenizer", TOKENIZER, "--output", tmp_path / "out")

    assert done.code == 2
    assert "a name holds ';'; if it is CSV separated so, set delimiter: \";\" for its source" in done.err
