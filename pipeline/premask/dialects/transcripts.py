"""Transcripts: a conversation in one string, its turns set apart by markers.

    "\\n\\nHuman: Hi\\n\\nAssistant: Hello"          Anthropic's (hh-rlhf)
    "### Human: Hi### Assistant: Hello"            guanaco's
    "###Instruction: Add.\\n###Output: 2"           APIBench's; also "### Response:"
    "user: Hi\\nassistant: Hello\\ntool: ..."        a line a turn or more (tau-bench)

A text that itself has a marker at such a place looks like a turn, so a transcript is read only where
its turns alternate, and refused where they do not (`bad_transcript`). Where a transcript shows tool results
but "None" for the calls before them, the calls are lost: it is refused (`bad_tool_call`). Line breaks before
a marker belong to it; apart from them texts are kept to the character.

    >>> [message.content for message in normalize({"text": "\\n\\nHuman: Hi\\n\\nAssistant: Hello"}).messages]
    ['Hi', 'Hello']

Cost: one pass of a regular expression over the text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from ..core.errors import RowError
from ..core.records import Conversation, Message
from ..core.text import kind
from . import common

KEYS = (
    *("text", "transcript", "conversation", "conversations", "dialogue", "dialog", "chat", "messages"),
    *("messages_display", "content", "code", "prompt"),
)


class _Style(NamedTuple):
    """How the turns of a transcript are marked: `marker` has the speaker as its only group."""

    marker: re.Pattern[str]
    roles: dict[str, str]


_STYLES = (
    _Style(re.compile(r"(?:\A|\n\n)(Human|Assistant):[ ]?"), {"human": "user", "assistant": "assistant"}),
    _Style(
        re.compile(r"###[ ](Human|Assistant|System):[ ]?"),
        {"human": "user", "assistant": "assistant", "system": "system"},
    ),
    _Style(
        re.compile(r"^###[ ]?(Instruction|Input|Output|Response):[ \n]?", re.MULTILINE),
        {"instruction": "user", "input": "input", "output": "assistant", "response": "assistant"},
    ),
    _Style(
        re.compile(r"^(system|user|assistant|tool):[ ]?", re.MULTILINE),
        {"system": "system", "user": "user", "assistant": "assistant", "tool": "tool"},
    ),
)
"""None of these looks twice at a character, whatever the text."""


def recognize(value: Any) -> bool:
    """Whether the row has a text that begins with a turn and has an assistant's turn after it."""
    return isinstance(value, dict) and any(_style(value.get(key)) is not None for key in KEYS)


def normalize(value: Any) -> Conversation:
    """Read a row with a transcript. Raises `RowError`: unknown_dialect, bad_transcript, bad_tool_call."""
    if not isinstance(value, dict):
        raise RowError("not_an_object", f"the row is a JSON {kind(value)}, not an object")
    key = next((key for key in KEYS if _style(value.get(key)) is not None), None)
    if key is None and any(map(_begins, map(value.get, KEYS))):
        raise RowError("no_assistant", "the transcript has no turn of the assistant")
    if key is None:
        raise RowError("unknown_dialect", f"the row has no transcript under {', '.join(KEYS)}")
    return common.make_conversation(value, common.with_system(value, read_transcript(value[key])))


def is_opened(text: Any) -> bool:
    """Whether a text begins as Anthropic's transcripts do; it may end before the answer.

    >>> is_opened("\\n\\nHuman: Hi\\n\\nAssistant:"), is_opened("Hi")
    (True, False)
    """
    return isinstance(text, str) and text.lstrip().startswith("Human:")


def as_turns(text: str) -> list[dict[str, str]]:
    """A transcript that ends before the answer, as turns with a role and a content."""
    messages = _messages(text, _STYLES[0])
    if messages and messages[-1].role == "assistant" and not (messages[-1].content or "").strip():
        messages.pop()
    return [{"role": message.role, "content": message.content or ""} for message in messages]


def read_transcript(text: str) -> list[Message]:
    """The messages of a transcript. Raises `RowError`: bad_transcript, bad_tool_call."""
    style = _style(text)
    if style is None:
        raise RowError("bad_transcript", "the text begins with no turn, or has no turn of the assistant")
    return _messages(text, style)


def _begins(text: Any) -> bool:
    return isinstance(text, str) and any(style.marker.match(text.lstrip()) for style in _STYLES)


def _style(text: Any) -> _Style | None:
    """The first style whose marker a text begins with, and that has a turn of the assistant in it."""
    if not isinstance(text, str):
        return None
    text = text.lstrip()
    for style in _STYLES:
        if style.marker.match(text) is None:
            continue
        if any(style.roles[found[1].lower()] == "assistant" for found in style.marker.finditer(text)):
            return style
    return None


def _messages(text: str, style: _Style) -> list[Message]:
    text = text.lstrip()
    found = list(style.marker.finditer(text))
    ends = [each.start() for each in found[1:]]
    texts = [text[each.end() : end].rstrip("\n") for each, end in zip(found, ends, strict=False)]
    texts += [text[each.end() :] for each in found[-1:]]
    turns = _with_inputs(
        [(style.roles[each[1].lower()], own) for each, own in zip(found, texts, strict=True)]
    )
    _check_order([role for role, _ in turns])
    _check_calls(turns)
    return [Message(role, content) for role, content in turns]


def _with_inputs(turns: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """An instruction and the input below it as one turn."""
    merged: list[tuple[str, str]] = []
    for role, content in turns:
        if role != "input":
            merged.append((role, content))
        elif merged and merged[-1][0] == "user":
            merged[-1] = "user", f"{merged[-1][1].strip()}\n\n{content.strip()}"
        else:
            raise RowError("bad_transcript", "an input follows no instruction")
    return merged


def _check_order(roles: Sequence[str]) -> None:
    """Refuse turns that do not alternate: one of them would be text that only looks like a turn."""
    for index, (role, following) in enumerate(pairwise(roles)):
        if role == following and role != "tool":
            detail = f"turns {index} and {index + 1} are both by the {role}: a text may only look like a turn"
            raise RowError("bad_transcript", detail)
        if following == "system":
            raise RowError("bad_transcript", f"turn {index + 1} is a system text after other turns")


def _check_calls(turns: Sequence[tuple[str, str]]) -> None:
    for index, ((role, content), (following, _)) in enumerate(pairwise(turns)):
        if following == "tool" and role == "assistant" and content.strip() in ("", "None", "null"):
            detail = f"turn {index} is a tool call that the transcript does not show, only its result"
            raise RowError("bad_tool_call", detail)
