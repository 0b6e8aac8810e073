"""Dialects that keep question and answer apart, or the whole conversation in a text: their variants, and what of
them is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from premask.core.errors import RowError
from premask.core.records import Conversation, Message
from premask.dialects import conversations, normalize, recognize_file


def read(row: Any) -> list[tuple[str, str | None]]:
    """Roles and texts of a row, read as what it looks like."""
    return [(message.role, message.content) for message in whole(row).messages]


def whole(row: Any) -> Conversation:
    return normalize(row, recognize_file([row], source="-"))


U, A, S = "user", "assistant", "system"

ROWS: list[tuple[Any, list[tuple[str, str]]]] = [
    # Alpaca, Dolly
    ({"instruction": "Add.", "input": "1+1", "output": "2"}, [(U, "Add.\n\n1+1"), (A, "2")]),
    ({"instruction": "Add.", "input": " ", "output": "2"}, [(U, "Add."), (A, "2")]),
    ({"instruction": "", "input": "1+1", "output": "2"}, [(U, "1+1"), (A, "2")]),
    ({"Instruction": "Add.", "Response": " 2\n", "System": "Be."}, [(S, "Be."), (U, "Add."), (A, " 2\n")]),
    (
        {"instruction": "c", "output": "d", "history": [["a", "b"], ["x", None]]},
        [(U, "a"), (A, "b"), (U, "x"), (U, "c"), (A, "d")],
    ),
    ({"instruction": "c", "output": "d", "history": '[["a", "b"]]'}, [(U, "a"), (A, "b"), (U, "c"), (A, "d")]),
    ({"instruction": "c", "output": "d", "text": "the whole prompt"}, [(U, "c"), (A, "d")]),
    ({"instruction": "When?", "context": "In 1900.", "response": "1900"}, [(U, "When?\n\nIn 1900."), (A, "1900")]),
    # prompt and completion
    ({"prompt": "a", "completion": "b"}, [(U, "a"), (A, "b")]),
    ({"prompt": "a", "response": ["b", "c"]}, [(U, "a"), (A, "b")]),
    ({"prompt": "[a] list", "completion": "b"}, [(U, "[a] list"), (A, "b")]),
    (
        {"prompt": [{"role": S, "content": "s"}, {"role": U, "content": "a"}], "completion": [{"role": A, "content": "b"}]},
        [(S, "s"), (U, "a"), (A, "b")],
    ),
    ({"prompt": "\n\nHuman: a\n\nAssistant:", "completion": " b"}, [(U, "a"), (A, " b")]),
    ({"prompt": "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:", "completion": "d"}, [(U, "a"), (A, "b"), (U, "c"), (A, "d")]),
    # question and answer
    ({"question": "a", "answer": "b"}, [(U, "a"), (A, "b")]),
    ({"Question": "a", "Answer": "b", "id": 3}, [(U, "a"), (A, "b")]),
    ({"problem": "a", "solution": "long", "answer": "short"}, [(U, "a"), (A, "long")]),
    ({"query": "a", "response": "b", "system_prompt": "s"}, [(S, "s"), (U, "a"), (A, "b")]),
    ({"input": "a", "output": "b"}, [(U, "a"), (A, "b")]),
    ({"question": "a", "context": "c", "answers": {"text": ["b", "bb"], "answer_start": [1, 2]}}, [(U, "a\n\nc"), (A, "b")]),
    ({"question": "a", "answers": [{"text": "b", "score": 3}]}, [(U, "a"), (A, "b")]),
    # preference pairs
    ({"prompt": "a", "chosen": "b", "rejected": "c"}, [(U, "a"), (A, "b")]),
    ({"prompt": "a", "chosen": "2", "rejected": "[1]"}, [(U, "a"), (A, "2")]),
    ({"prompt": "a", "system": "s", "chosen": [{"role": A, "content": "b"}], "rejected": []}, [(S, "s"), (U, "a"), (A, "b")]),
    (
        {"prompt": "a", "chosen": [{"role": U, "content": "a"}, {"role": A, "content": "b"}], "rejected": "x", "messages": []},
        [(U, "a"), (A, "b")],
    ),
    ({"chosen": json.dumps([{"role": U, "content": "a"}, {"role": A, "content": "b"}]), "rejected": "x"}, [(U, "a"), (A, "b")]),
    (
        {"conversations": [{"from": "human", "value": "a"}], "system": "s", "chosen": {"from": "gpt", "value": "b"}, "rejected": {"value": "c"}},
        [(S, "s"), (U, "a"), (A, "b")],
    ),
    ({"instruction": "a", "input": "i", "chosen": "b", "rejected": "c"}, [(U, "a\n\ni"), (A, "b")]),
    ({"input": "a", "chosen": "b", "rejected": "c"}, [(U, "a"), (A, "b")]),
    ({"question": "a", "response_j": "b", "response_k": "c"}, [(U, "a"), (A, "b")]),
    # KTO
    ({"prompt": "a", "completion": "b", "label": True}, [(U, "a"), (A, "b")]),
    # transcripts
    ({"text": "\n\nHuman: a\n\nAssistant: b\n\nhidden\n\nHuman: c\n\nAssistant: d "}, [(U, "a"), (A, "b\n\nhidden"), (U, "c"), (A, "d ")]),
    ({"text": "### Human: a### Assistant: b\n### Human: c### Assistant: d"}, [(U, "a"), (A, "b"), (U, "c"), (A, "d")]),
    ({"code": "###Instruction: a\n###Input: i\n###Output: b\n"}, [(U, "a\n\ni"), (A, "b\n")]),
    ({"text": "### Instruction:\na\n\n### Response:\nb"}, [(U, "a"), (A, "b")]),
    ({"text": "system: s\nuser: a\nmore\nassistant: b\ntool: 1\ntool: 2\nassistant: c"}, [(S, "s"), (U, "a\nmore"), (A, "b"), ("tool", "1"), ("tool", "2"), (A, "c")]),
    # lists
    ({"conversation": [{"human": "a", "assistant": "b"}, {"human": "c", "assistant": None}]}, [(U, "a"), (A, "b"), (U, "c")]),
    ({"conversation": [{"assistant": "a"}, {"human": "c", "assistant": "d"}]}, [(A, "a"), (U, "c"), (A, "d")]),
    ({"conversations": '[["a", "b"]]'}, [(U, "a"), (A, "b")]),
    ({"id": "0", "data": ["a", "b", "c", "d"]}, [(U, "a"), (A, "b"), (U, "c"), (A, "d")]),
    # speakers
    ([{"speaker": "Customer", "text": "a"}, {"speaker": "agent", "text": "b"}], [(U, "a"), (A, "b")]),
    ({"dialog": [{"role": "client", "content": "a"}, {"role": "counselor", "content": "b"}]}, [(U, "a"), (A, "b")]),
    # other keys of turns
    ({"traj": [{"role": U, "content": "a"}, {"role": A, "content": "b"}]}, [(U, "a"), (A, "b")]),
    ({"messages": [{"role": U, "content": "a"}, {"role": A, "content": "b"}], "system": "s"}, [(S, "s"), (U, "a"), (A, "b")]),
    ({"messages": [{"role": U, "content": "a"}, {"role": A, "content": "b"}], "system_prompt": "s"}, [(S, "s"), (U, "a"), (A, "b")]),
]  # fmt: skip


@pytest.mark.parametrize(("row", "expected"), ROWS)
def test_rows_are_read(row: Any, expected: list[tuple[str, str]]) -> None:
    before = json.dumps(row)

    assert read(row) == expected
    assert json.dumps(row) == before


REFUSED: list[tuple[str, Any, str]] = [
    ("alpaca", {"instruction": " ", "output": "2"}, "wrong_type: the row has no text under instruction"),
    ("alpaca", {"instruction": "a", "output": None}, "no_assistant: the row has no answer under output"),
    ("alpaca", {"instruction": "a", "output": ""}, "empty_assistant"),
    ("alpaca", {"instruction": ["a"], "output": "b"}, "wrong_type"),
    ("alpaca", {"instruction": "a", "output": 2.5}, "wrong_type: the answer in 'output' is a JSON number"),
    ("alpaca", {"instruction": "a", "output": "b", "history": "x"}, "wrong_type: 'history' is a JSON string"),
    ("alpaca", {"instruction": "a", "output": "b", "history": [["x"]]}, "wrong_type: history 0 is not a question"),
    ("prompt_completion", {"prompt": "a", "completion": []}, "empty_assistant: 'completion' is an empty list"),
    ("question_answer", {"question": "a", "answer": "B", "choices": ["x", "y"]}, "unsupported_content: 'choices' is beside"),
    ("question_answer", {"question": "a", "answers": {"start": 3}}, "wrong_type: the answer in 'answers' is a JSON object"),
    ("question_answer", {"question": "a"}, "no_assistant: the row has no answer beside 'question'"),
    ("question_answer", {"question": "a", "context": {"x": 1}, "answer": "b"}, "wrong_type: 'context' is a JSON object"),
    ("question_answer", {"question": "a", "answer": "b", "image": "x.png"}, "unsupported_content: the row refers to image"),
    ("preference", {"chosen": "b", "rejected": "c"}, "wrong_type: the row has no text under prompt"),
    ("preference", {"prompt": "a", "chosen": 3.5, "rejected": "c"}, "wrong_type: 'chosen' is a JSON number, not an answer"),
    ("kto", {"prompt": "a", "completion": "b", "label": False}, "rejected_answer: 'label' is false; where that means"),
    ("transcript", {"text": "\n\nHuman: a\n\nHuman: b\n\nAssistant: c"}, "bad_transcript: turns 0 and 1 are both by"),
    ("transcript", {"text": "user: a\nassistant: b\nsystem: c"}, "bad_transcript: turn 2 is a system text"),
    ("transcript", {"text": "user: a\nassistant: None\ntool: 3"}, "bad_tool_call: turn 1 is a tool call that"),
    ("transcript", {"text": "\n\nHuman: a"}, "no_assistant: the transcript has no turn of the assistant"),
    ("transcript", {"text": "A text."}, "unknown_dialect: the row has no transcript"),
    ("pairs", {"conversation": [["a", "b"], ["c"]]}, "wrong_type: pair 1 is not a question with its answer"),
    ("pairs", {"conversation": [{"human": 3.5, "assistant": "b"}]}, "wrong_type: the user's part of pair 0 is a JSON number"),
    ("statements", {"categories": [], "conversations": [["a"]]}, "no_assistant: conversation 0 has no answer"),
    ("statements", {"categories": [], "conversations": [["a", 3]]}, "wrong_type: conversation 0 holds something"),
    ("speakers", {"turns": [{"speaker": "A", "text": "x"}]}, "unknown_role: turn 0 has role 'A'"),
    ("toolbench", {"answer_generation": {"valid_data": False}}, "rejected_answer: 'valid_data' of the run is false"),
    ("toolbench", {"answer_generation": {"train_messages": []}}, "no_messages: 'train_messages' is empty"),
    ("toolbench", {"answer_generation": {"train_messages": [3]}}, "wrong_type: 'train_messages' is not an array of"),
    ("trees", {"prompt": {"role": "prompter", "text": "a", "replies": []}}, "no_assistant: the tree has no answer"),
    ("trees", {"prompt": {"role": "prompter", "text": "a", "replies": [3]}}, "wrong_type: the replies of a message"),
    ("trees", {"role": "prompter", "text": "a", "parent_id": "x", "replies": []}, "wrong_type: the tree begins with"),
    ("bfcl", {"question": [[{"role": "user", "content": "a"}]]}, "no_assistant: none of the 1 messages"),
    *((name, 3, "not_an_object") for name in ("alpaca", "pairs", "transcript", "question_answer")),
]  # fmt: skip


@pytest.mark.parametrize(("dialect", "row", "message"), REFUSED)
def test_rows_are_refused(dialect: str, row: Any, message: str) -> None:
    with pytest.raises(RowError) as caught:
        normalize(row, dialect)
    assert str(caught.value).startswith(message)


def test_all_answers_where_they_are_wanted() -> None:
    row = {"prompt": "a", "completions": ["b", {"text": "c"}]}
    found = conversations(row, "prompt_completion", every=True)

    assert [each.messages for each in found] == [
        (Message(U, "a"), Message(A, "b")),
        (Message(U, "a"), Message(A, "c")),
    ]


def test_a_transcript_of_a_million_line_breaks_is_read_at_once() -> None:
    """No pattern looks twice at a character: such a text would else take days."""
    gap = "\n " * 500_000
    row = {"text": f"### Human: a{gap}### Assistant: b"}

    assert read(row)[1] == (A, "b")
    assert read({"text": f"###Instruction: a{gap}\n###Output: b"})[1] == (A, "b")


# ==== Anthropic's blocks ====

USE = {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Paris"}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "21 C"}]}
TALK = {
    "system": [{"type": "text", "text": "Be brief."}],
    "tools": [{"name": "weather", "description": "d", "input_schema": {"type": "object"}}],
    "messages": [
        {"role": "user", "content": "Paris?"},
        {
            "role": "assistant",
            "content": [{"type": "thinking", "thinking": "Look."}, {"type": "text", "text": "I look."}, USE],
        },
        {"role": "user", "content": [RESULT, {"type": "text", "text": "And?"}]},
        {"role": "assistant", "content": "21 C."},
    ],
}


def test_anthropic_messages() -> None:
    found = whole(TALK)
    call = {"type": "function", "id": "t1", "function": {"name": "weather", "arguments": {"city": "Paris"}}}

    assert recognize_file([TALK], source="-") == "anthropic"
    assert found.messages == (
        Message(S, "Be brief."),
        Message(U, "Paris?"),
        Message(A, "I look.", reasoning="Look.", tool_calls=(call,)),
        Message("tool", "21 C", tool_call_id="t1"),
        Message(U, "And?"),
        Message(A, "21 C."),
    )
    function = {"name": "weather", "description": "d", "parameters": {"type": "object"}}
    assert found.tools == ({"type": "function", "function": function},)


@pytest.mark.parametrize(
    ("role", "content", "message"),
    [
        (A, [USE, {"type": "text", "text": "late"}], "unsupported_content: the parts of turn 1 are not in the order"),
        (A, [{"type": "redacted_thinking", "data": "x"}], "unsupported_content: turn 1 has a content part of type 'red"),
        (U, [USE], "unsupported_content: turn 1 (user) has a part that only the assistant can write"),
        (A, [RESULT], "wrong_type: turn 1 has a tool result but is not the user's"),
        (U, [{**RESULT, "content": [{"type": "image"}]}], "unsupported_content: turn 1 has a content part of type 'image'"),
        (A, [{**USE, "input": "x"}], "bad_tool_call: a tool call of turn 1 cannot be read"),
        (A, [{"type": ["x"]}], "unsupported_content"),
    ],
)  # fmt: skip
def test_blocks_that_are_refused(role: str, content: Any, message: str) -> None:
    row = {"messages": [TALK["messages"][0], {"role": role, "content": content}, {"role": A, "content": "x"}]}  # type: ignore[index]
    for dialect in ("anthropic", "openai"):
        with pytest.raises(RowError) as caught:
            normalize(row, dialect)
        assert str(caught.value).startswith(message)


def test_calls_both_in_parts_and_beside_them_are_refused() -> None:
    turn = {"role": A, "content": [USE], "tool_calls": [{"name": "f", "arguments": {}}]}
    with pytest.raises(RowError, match="wrong_type: turn 0 has tool calls both in its parts and beside"):
        normalize({"messages": [turn]}, "openai")


@pytest.mark.parametrize("written", [json.dumps, str])
def test_turns_within_texts_are_read(written: Any) -> None:
    asked, said = [{"role": "user", "content": "q"}], [{"role": "assistant", "content": "a"}]
    found = normalize({"prompt": written(asked), "completion": written(said)}, "prompt_completion")
    assert [(each.role, each.content) for each in found.messages] == [("user", "q"), ("assistant", "a")]


@pytest.mark.parametrize(
    "answers", ['["a1", "a2"]', "['a1', 'a2']", '{"text": ["a1", "a2"], "answer_start": [0, 3]}']
)
def test_answers_within_a_text_are_read_as_in_json(answers: str) -> None:
    found = conversations({"question": "q", "answers": answers}, "question_answer", every=True)
    assert [each.messages[1].content for each in found] == ["a1", "a2"]
    (one,) = conversations({"question": "q", "answer": answers}, "question_answer", every=True)
    assert one.messages[1].content == answers


@pytest.mark.parametrize("text", ["[1] says so", "{x}", "5", '{"a": 1}', '{"text": "a"}'])
def test_a_text_that_is_no_list_of_answers_stays_a_text(text: str) -> None:
    assert normalize({"question": "q", "answers": text}, "question_answer").messages[1].content == text
