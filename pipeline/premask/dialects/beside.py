"""Columns beside a question and its answer that belong to one of them: choices, and reasoning.

    {"question": "Which?", "choices": ["x", "y"], "answer": "B"}           refused: no column may be lost
    {"question": "7*8?", "Complex_CoT": "7*8 is 56.", "response": "56"}    becomes the answer's reasoning

Columns are known by their names: `choices`, `option_a`, the letters `A`, `B`, `C`; `reasoning`, `cot`,
`rationale`, `thinking`, and names that end in one of these (`deepseek_reasoning`). Values such as `on` or
`true` are switches and no reasoning.

    >>> choices_beside({"question": "Which?", "option_a": "x", "option_b": "y"})
    'option_a'
    >>> reasoning_beside({"question": "7*8?", "Complex_CoT": "7*8 is 56.", "reasoning": "on"})
    ('Complex_CoT', '7*8 is 56.')

Cost: a microsecond a column.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from ..core.errors import RowError
from ..core.records import Message
from ..core.text import kind
from .reasoning import said_once, without_marks

_CHOICES = re.compile(
    r"(?:(?:answer|mc|multiple)[ _-]?)?(?:choices?|options?|candidates|endings|distractors|alternatives)"
    r"|(?:option|choice|candidate|ending|distractor|alternative)[ _-]?(?:[a-h]|\d)|op[a-h]"
)
_LETTERS = frozenset("abc")

_REASONING = re.compile(
    r"(?:.*[ _.-])?"
    r"(?:reasoning|cot|thinking|thoughts?|think|rationales?|chain[ _-]?of[ _-]?thoughts?|scratchpad)"
    r"(?:[ _-]?(?:content|text|traces?|trajector(?:y|ies)|process|steps?|chain|path))?"
)
_NO_REASONING = re.compile(
    r"(?:.*[ _.-])?(?:rejected|has|is|use|uses|with|no|num|enable|requires?|needs?|type|types|kind|category"
    r"|level)[ _.-].*"
)
"""Names that end like reasoning but say something about it, or belong to a rejected answer."""

_SWITCHES = frozenset(
    [
        *("on", "off", "true", "false", "yes", "no", "none", "null", "n/a", "0", "1", "default", "auto"),
        *("low", "medium", "high", "minimal", "enabled", "disabled"),
    ]
)


@lru_cache(maxsize=4096)
def _names_choices(name: str) -> bool:
    return _CHOICES.fullmatch(name.strip().lower()) is not None


@lru_cache(maxsize=4096)
def _names_reasoning(name: str) -> bool:
    plain = name.strip().lower()
    return len(plain) < 100 and bool(_REASONING.fullmatch(plain)) and not _NO_REASONING.fullmatch(plain)


# ==== Choices ====


def choices_beside(row: Mapping[str, Any], used: Collection[str] = ()) -> str | None:
    """The first column of a row that holds choices and is not in `used`, the columns that are read."""
    found = (key for key in row if row[key] and key not in used and _names_choices(key))
    letters = {
        key.strip().lower(): key for key in row if len(key.strip()) == 1 and row[key] not in (None, "")
    }
    if letters.keys() >= _LETTERS and letters["a"] not in used:
        return letters["a"]
    return next(found, None)


def check_choices(row: Mapping[str, Any], used: Collection[str] = ()) -> None:
    """Raise `RowError` (unsupported_content) where choices beside a question would be left out."""
    choices = choices_beside(row, used)
    if choices is not None:
        detail = (
            f"'{choices}' is beside the question and would be left out; write it into the question, or, if "
            "it is there already, leave the column out with the source's columns"
        )
        raise RowError("unsupported_content", detail)


# ==== Reasoning ====


def reasoning_names(row: Mapping[str, Any], used: Collection[str] = ()) -> Iterator[str]:
    """The columns of a row that hold reasoning and are not in `used`."""
    return (key for key in row if key not in used and _names_reasoning(key) and _may_be_reasoning(row[key]))


def reasoning_beside(row: Mapping[str, Any], used: Collection[str] = ()) -> tuple[str, str] | None:
    """The column with the reasoning of a row's answer, and its text; None if the row has none.

    Raises `RowError`: wrong_type, if it is no text, or if two columns differ.
    """
    found = {name: _reasoning(name, row[name]) for name in reasoning_names(row, used)}
    (name, text), *others = [*found.items()] or [("", "")]
    for other, held in others:
        if held != text:
            detail = (
                f"'{name}' and '{other}' both look like the reasoning of the answer; name one of them: "
                f"fields: {{user: COLUMN, assistant: COLUMN, reasoning: {name}}}, and leave the other one "
                "out with the source's columns"
            )
            raise RowError("wrong_type", detail)
    return (name, text) if found else None


def _may_be_reasoning(value: Any) -> bool:
    if isinstance(value, str):
        return bool(value.strip()) and value.strip().lower() not in _SWITCHES
    return isinstance(value, (list, dict)) and bool(value)


def _reasoning(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    detail = (
        f"'{name}' looks like the reasoning of the answer, but is a JSON {kind(value)}, not a string; write "
        "it as one text, or leave the column out with the source's columns"
    )
    raise RowError("wrong_type", detail)


def with_reasoning(answers: Sequence[list[Message]], name: str, text: str) -> list[list[Message]]:
    """The answers of a row with the reasoning in column `name`; an answer that holds the same text is not
    changed. Raises `RowError`: wrong_type."""
    if len(answers) > 1:
        detail = f"'{name}' is the reasoning of one answer, but the row has {len(answers)} of them"
        raise RowError("wrong_type", detail)
    (messages,) = answers
    places = [i for i, message in enumerate(messages) if message.role == "assistant"]
    if len(places) != 1:
        detail = f"'{name}' is the reasoning of one turn, but the answer has {len(places)} of them"
        raise RowError("wrong_type", detail)
    messages = [*messages]
    messages[places[0]] = reasoned(messages[places[0]], name, text)
    return [messages]


def reasoned(message: Message, name: str, text: str) -> Message:
    """A message with the reasoning that stands in column `name`. Raises `RowError`: wrong_type."""
    text = without_marks(text)
    if text.strip() and message.content is not None and text.strip() in message.content:
        return message
    written = {f"'{name}'": text}
    if message.reasoning is not None:
        written["its turn"] = message.reasoning
    reasoning, repeated = said_once(written, message.content, "the answer")
    return replace(message, reasoning=reasoning, content=message.content and message.content[repeated:])
