"""Transcripts of Glaive and Baize, and the marks that are named but not read."""

from __future__ import annotations

from typing import Any

import pytest
from premask.core.errors import RowError, SourceError
from premask.core.records import Conversation, Message
from premask.dialects import normalize, recognize_file

U, A = "user", "assistant"
CALL = {"type": "function", "function": {"name": "f", "arguments": {"text": "it's"}}}


def read(row: Any) -> Conversation:
    return normalize(row, recognize_file([row], source="-"))


def glaive(*turns: str, system: str | None = None) -> dict[str, Any]:
    return {"system": system, "chat": "\n\n\n".join(turns) + "\n\n\n"}


CALLS = [
    """{"name": "f", "arguments": '{"text": "it\\'s"}'}""",
    """{"name": "f", "arguments": '{"text": "it's"}'}""",
    """{"name": "f", "arguments": {"text": "it's"}}""",
    """{"name": "f", "arguments": "{\\"text\\": \\"it's\\"}"}""",
]


@pytest.mark.parametrize("call", CALLS)
def test_glaive_rows(call: str) -> None:
    functions = '{"name": "f", "parameters": {\n  "type": "object"}}\n\n{"name": "g"}'
    row = glaive(
        "USER: Hi\n\nyou",
        f"ASSISTANT: I look. <functioncall> {call} <|endoftext|>",
        'FUNCTION RESPONSE: {"r": 1}',
        "ASSISTANT: It is 1. <|endoftext|>",
        system=f"SYSTEM: Use the functions -\n{functions}",
    )
    found = read(row)

    assert recognize_file([row], source="-") == "transcript"
    assert found.messages == (
        Message("system", "Use the functions -"),
        Message(U, "Hi\n\nyou"),
        Message(A, "I look.", tool_calls=(CALL,)),
        Message("tool", '{"r": 1}'),
        Message(A, "It is 1."),
    )
    assert [tool["function"]["name"] for tool in found.tools or ()] == ["f", "g"]


@pytest.mark.parametrize(
    "system",
    ["SYSTEM: Be brief.\n{not json}", 'SYSTEM: Be brief.\n{"name": "f"} and more', 'SYSTEM: Be.\n{"a": 1}'],
)
def test_system_texts_that_list_no_functions_stay_as_they_are(system: str) -> None:
    found = read(glaive("USER: a", "ASSISTANT: b", system=system))

    assert found.messages[0] == Message("system", system.removeprefix("SYSTEM: "))
    assert found.tools is None


def test_glaive_turns_without_their_end() -> None:
    assert [
        each.content for each in read(glaive("USER: a", "ASSISTANT: b", "USER: c", "ASSISTANT: d")).messages
    ] == list("abcd")
    assert read({"text": "USER: a\nASSISTANT: b <|endoftext|>"}).messages[1] == Message(A, "b")


@pytest.mark.parametrize(
    "call", ["{", '{"name": 3}', "look()", """{"name": "f", "arguments": '{'}""", f"{CALLS[2]} and more"]
)
def test_glaive_calls_that_cannot_be_read_are_refused(call: str) -> None:
    with pytest.raises(RowError, match="bad_tool_call: a tool call of turn 1 cannot be read"):
        read(glaive("USER: a", f"ASSISTANT: <functioncall> {call} <|endoftext|>"))


def test_turns_that_do_not_alternate_are_refused() -> None:
    with pytest.raises(RowError, match="bad_transcript: turns 0 and 1 are both by the user"):
        read(glaive("USER: a", "USER: b", "ASSISTANT: c"))


INTRO = "The conversation between human and AI assistant.\n"


@pytest.mark.parametrize(
    "text",
    [
        f"{INTRO}[|Human|] a\n[|AI|] b\n[|Human|] c\n[|AI|] d\n[|Human|] ",
        "[|Human|] a\n[|AI|] b\n[|Human|] c\n[|AI|] d",
        "[|Human|]a[|AI|]b[|Human|]c[|AI|]d",
    ],
)
@pytest.mark.parametrize("key", ["input", "text"])
def test_baize_rows(text: str, key: str) -> None:
    assert [(each.role, each.content) for each in read({"topic": "t", key: text}).messages] == [
        (U, "a"),
        (A, "b"),
        (U, "c"),
        (A, "d"),
    ]


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>", "<|im_start|>"),
        ("<s>[INST] Hi [/INST] Hello</s>", "[INST]"),
        ("<|user|>\nHi\n<|assistant|>\nHello", "<|user|>"),
        ("<|prompter|>Hi<|endoftext|><|assistant|>Hello", "<|prompter|>"),
        ("Q: Hi\nA: Hello", "Q:"),
        ("User: Hi\nBot: Hello", "User:"),
        ("<start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\nHello", "<start_of_turn>"),
    ],
)
def test_marks_that_are_not_read_are_named(text: str, mark: str) -> None:
    for row in ({"text": text}, {"text": text, "source": "web"}, {"body": text, "n": 3}):
        with pytest.raises(SourceError) as caught:
            recognize_file([row], source="a.jsonl")
        assert f"holds transcripts with the mark {mark!r}, which premask does not read" in str(caught.value)


def test_many_line_breaks_and_quotes_are_read_at_once() -> None:
    gap = "\n" * 300_000
    assert read(glaive(f"USER: a{gap}", f"ASSISTANT: b{gap}")).messages[1] == Message(
        A, f"b{gap}".rstrip("\n")
    )
    quoted = "' }" * 100_000
    with pytest.raises(RowError, match="bad_tool_call"):
        read(glaive("USER: a", f"""ASSISTANT: <functioncall> {{"name": "f", "arguments": '{quoted}x"""))
