"""Transcripts: a conversation in one string, its turns set apart by markers.

    "\\n\\nHuman: Hi\\n\\nAssistant: Hello"          Anthropic's (hh-rlhf)
    "### Human: Hi### Assistant: Hello"            guanaco's
    "###Instruction: Add.\\n###Output: 2"           APIBench's; also "### Response:"
    "user: Hi\\nassistant: Hello\\ntool: ..."        a line a turn or more (tau-bench)
    "USER: Hi\\n\\n\\nASSISTANT: Hello <|endoftext|>"   Glaive's, with FUNCTION RESPONSE: and <functioncall>
    "[|Human|] Hi\\n[|AI|] Hello"                   Baize's

A text that itself has a marker at such a place looks like a turn, so a transcript is read only where
its turns alternate, and refused where they do not (`bad_transcript`). Where a transcript shows tool results
but "None" for the calls before them, the calls are lost: it is refused (`bad_tool_call`). Line breaks before
a marker belong to it, and so does `<|endoftext|>`; apart from them texts are kept to the character. The
functions that Glaive's system texts list become the row's tools.

    >>> [message.content for message in normalize({"text": "\\n\\nHuman: Hi\\n\\nAssistant: Hello"}).messages]
    ['Hi', 'Hello']

Cost: one pass of a regular expression over the text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from ..core.errors import RowError
from ..core.records import Conversation, Message
from ..core.strict_json import parse_json
from ..core.text import kind
from . import common
from .turns import bad_call, read_calls

KEYS = (
    *("text", "transcript", "conversation", "conversations", "dialogue", "dialog", "chat", "messages"),
    *("messages_display", "content", "code", "prompt", "input"),
)


class _Style(NamedTuple):
    """How the turns of a transcript are marked.

    marker    has the speaker as its only group
    roles     its speakers, in lower case
    intro     what such texts begin with before their first turn
    is_glaive the assistant's turns end with a mark and may be calls
    is_open   the text may end with the mark of a turn that is not there
    """

    marker: re.Pattern[str]
    roles: dict[str, str]
    intro: str = ""
    is_glaive: bool = False
    is_open: bool = False


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
    _Style(
        re.compile(r"^(USER|ASSISTANT|FUNCTION RESPONSE):[ ]?", re.MULTILINE),
        {"user": "user", "assistant": "assistant", "function response": "tool"},
        is_glaive=True,
    ),
    _Style(
        re.compile(r"\[\|(Human|AI)\|\][ ]?"),
        {"human": "user", "ai": "assistant"},
        intro="The conversation between human and AI assistant.",
        is_open=True,
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
    style = _style(value[key])
    if style is not None and style.is_glaive:
        value = _with_functions(value)
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
    for style in _STYLES:
        body = _body(text, style)
        if style.marker.match(body) is None:
            continue
        if any(style.roles[found[1].lower()] == "assistant" for found in style.marker.finditer(body)):
            return style
    return None


def _body(text: str, style: _Style) -> str:
    """A transcript from its first turn on."""
    return text.lstrip().removeprefix(style.intro).lstrip() if style.intro else text.lstrip()


def _messages(text: str, style: _Style) -> list[Message]:
    text = _body(text, style)
    found = list(style.marker.finditer(text))
    ends = [each.start() for each in found[1:]]
    texts = [text[each.end() : end].rstrip("\n") for each, end in zip(found, ends, strict=False)]
    texts += [text[each.end() :] for each in found[-1:]]
    turns = _with_inputs(
        [(style.roles[each[1].lower()], own) for each, own in zip(found, texts, strict=True)]
    )
    if style.is_open and turns and turns[-1][0] == "user" and not turns[-1][1].strip():
        turns.pop()
    _check_order([role for role, _ in turns])
    _check_calls(turns)
    if style.is_glaive:
        return [_glaive(index, role, content) for index, (role, content) in enumerate(turns)]
    return [Message(role, content) for role, content in turns]


# ==== Glaive's transcripts ====

_END, _CALL = "<|endoftext|>", "<functioncall>"
_QUOTED = re.compile(r"(\{\s*\"name\"\s*:\s*\"[^\"]*\"\s*,\s*\"arguments\"\s*:\s*)'(.*)'\s*\}", re.DOTALL)
"""A call whose arguments are within single quotes, which is no JSON."""


def _glaive(index: int, role: str, text: str) -> Message:
    """The message of turn `index`. Raises `RowError`: bad_tool_call."""
    text = text.rstrip("\n")
    if text.rstrip().endswith(_END):
        text = text.rstrip().removesuffix(_END).rstrip()
    if role != "assistant" or _CALL not in text:
        return Message(role, text)
    said, *written = text.split(_CALL)
    calls = [_call(each.strip(), f"turn {index}") for each in written]
    return Message(role, said.rstrip() or None, tool_calls=read_calls(calls, f"turn {index}"))


def _call(text: str, where: str) -> Any:
    quoted = _QUOTED.fullmatch(text)
    if quoted is None:
        candidates = [text]
    else:
        arguments = (quoted[2], quoted[2].replace("\\'", "'"))
        candidates = [f"{quoted[1]}{each}}}" for each in arguments]
    for each in candidates:
        try:
            return parse_json(each)
        except ValueError as error:
            reason = error
    raise bad_call(where, f"it is not valid JSON: {reason}")


def _with_functions(value: dict[str, Any]) -> dict[str, Any]:
    """A row with the functions of its system text as tools."""
    system = value.get("system")
    if not isinstance(system, str):
        return value
    system = system.strip().removeprefix("SYSTEM:").strip()
    start = re.search(r"^\{", system, re.MULTILINE)
    functions = _functions(system[start.start() :]) if start else []
    if start is None or not functions or value.get("tools"):
        return {**value, "system": system}
    return {**value, "system": system[: start.start()].strip(), "tools": functions}


def _functions(text: str) -> list[Any]:
    """The objects that follow each other in a text; none if it holds something else."""
    found: list[Any] = []
    while text:
        try:
            _, end = json.JSONDecoder().raw_decode(text)
            function = parse_json(text[:end])
        except (ValueError, RecursionError):
            return []
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            return []
        found.append(function)
        text = text[end:].lstrip()
    return found


# ==== Marks that are not read ====

_MARKS = re.compile(
    r"<\|im_start\|>|<\|start_header_id\|>|\[INST\]|<start_of_turn>"
    r"|<\|(?:user|assistant|system|prompter|human|bot)\|>|<(?:human|bot|user|assistant)>:?"
)
_LINES = re.compile(
    r"^[#*\[<| ]{0,6}(?:user|human|customer|client|question|q|person ?\w|speaker ?\w|instruction)"
    r"[\]>|* ]{0,4}:",
    re.IGNORECASE,
)


def unknown_marks(text: Any) -> str | None:
    """The mark of a turn that a text begins with or holds, if it is one that is not read here.

    >>> unknown_marks("<|im_start|>user\\nHi<|im_end|>"), unknown_marks("Q: Hi\\nA: Hello")
    ('<|im_start|>', 'Q:')
    """
    if not isinstance(text, str) or _style(text) is not None:
        return None
    start = text.lstrip()[:100_000]
    found = _MARKS.search(start) or (_LINES.match(start) if "\n" in start else None)
    return found[0].strip() if found else None


# ==== Checks ====


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
