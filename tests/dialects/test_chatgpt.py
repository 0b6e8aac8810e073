"""Exports of ChatGPT: the branch that was seen last, and what is no part of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from premask.core.errors import RowError
from premask.core.records import Conversation, Message
from premask.dialects import normalize, recognize_file

U, A = "user", "assistant"


def message(role: str, *parts: Any, type_: str = "text", **more: Any) -> dict[str, Any]:
    content = {"content_type": type_, "parts": [*parts]}
    return {
        "author": {"role": role, "name": None, "metadata": {}},
        "content": content,
        "recipient": "all",
        **more,
    }


def export(*messages: Any, **more: Any) -> dict[str, Any]:
    """A conversation without branches, after an empty root."""
    mapping: dict[str, Any] = {"root": {"id": "root", "message": None, "parent": None, "children": ["0"]}}
    for i, each in enumerate(messages):
        parent, children = (str(i - 1) if i else "root"), [str(i + 1)] if i + 1 < len(messages) else []
        mapping[str(i)] = {"id": str(i), "message": each, "parent": parent, "children": children}
    return {
        "title": "t",
        "mapping": mapping,
        "current_node": str(len(messages) - 1),
        "conversation_id": "x",
        **more,
    }


def read(row: Any) -> Conversation:
    return normalize(row, recognize_file([row], source="-"))


def test_the_branch_of_the_current_node() -> None:
    row = export(message(U, "a"), message(A, "b"), message(U, "c"), message(A, "d"))
    other = {"id": "o", "message": message(A, "other"), "parent": "0", "children": []}
    row["mapping"]["o"] = other
    row["mapping"]["0"]["children"] = ["1", "o"]

    assert recognize_file([row], source="-") == "chatgpt"
    assert [(each.role, each.content) for each in read(row).messages] == [
        (U, "a"),
        (A, "b"),
        (U, "c"),
        (A, "d"),
    ]
    assert read(row).id == "x"
    assert read({**row, "current_node": "o"}).messages[1] == Message(A, "other")
    assert read({**row, "mapping": json.dumps(row["mapping"])}).messages[0] == Message(U, "a")


def test_what_is_no_part_of_the_conversation() -> None:
    hidden = {"is_visually_hidden_from_conversation": True}
    context = {
        "author": {"role": U},
        "content": {"content_type": "user_editable_context", "user_profile": "p"},
    }
    recap = {
        "author": {"role": A},
        "content": {"content_type": "reasoning_recap", "content": "Thought for 3s"},
    }
    thought = {
        "content_type": "thoughts",
        "thoughts": [{"summary": "s", "content": "Hm."}, {"content": "So."}],
    }
    row = export(
        message("system", ""),
        message("system", "ChatGPT's own", metadata=hidden),
        context,
        message("system", "Be brief."),
        message(U, "a", "b", None),
        {"author": {"role": A}, "content": thought},
        recap,
        message(A, "c"),
    )

    assert read(row).messages == (
        Message("system", "Be brief."),
        Message(U, "ab"),
        Message(A, "c", reasoning="Hm.\n\nSo."),
    )


def test_spoken_parts_are_texts() -> None:
    spoken = {"content_type": "audio_transcription", "text": "Hi", "direction": "in"}

    assert read(export(message(U, spoken, type_="multimodal_text"), message(A, "b"))).messages[0] == Message(
        U, "Hi"
    )


@pytest.mark.parametrize(
    ("each", "reason"),
    [
        (message(A, "print(1)", type_="code", recipient="python"), "message 1 (assistant) belongs to ChatGPT's own tool 'python'"),
        (message("tool", "x"), "message 1 (tool) belongs to ChatGPT's own tool"),
        (message(U, {"content_type": "image_asset_pointer"}, type_="multimodal_text"), "message 1 (user) has a part that is no text"),
        (message(A, "x", type_="code"), "message 1 (assistant) has content of type 'code'"),
        ({"author": None, "content": None}, "message 1 (None) has content of type 'None'"),
        ({"author": {"role": U}, "content": {"content_type": "text", "parts": "x"}}, "message 1 (user) has no list of parts"),
        (message("narrator", "x"), "turn 1 has role 'narrator'"),
    ],
)  # fmt: skip
def test_messages_that_are_refused(each: Any, reason: str) -> None:
    with pytest.raises(RowError) as caught:
        read(export(message(U, "a"), each, message(A, "b")))
    assert reason in str(caught.value)


def test_trees_that_are_refused() -> None:
    row = export(message(U, "a"), message(A, "b"))
    circle = {**row, "mapping": {**row["mapping"], "0": {**row["mapping"]["0"], "parent": "1"}}}
    orphan = {**row, "mapping": {**row["mapping"], "0": {**row["mapping"]["0"], "parent": "gone"}}}
    for broken, reason in [
        ({**row, "current_node": None}, "'current_node' names no node"),
        ({**row, "current_node": ["x"]}, "'current_node' names no node"),
        ({**row, "current_node": "gone"}, "'current_node' names no node"),
        (circle, "is its own parent"),
        (orphan, "the parent 'gone' of a node is not in 'mapping'"),
        (export(message(U, "a")), "no_assistant"),
        (export(message("system", "")), "no_messages"),
    ]:
        with pytest.raises(RowError) as caught:
            read(broken)
        assert reason in str(caught.value)


def test_deep_conversations_do_not_exhaust_the_stack() -> None:
    row = export(*(message((U, A)[i % 2], str(i)) for i in range(20_000)))

    assert len(read(row).messages) == 20_000
