"""Columns beside a question and its answer, or beside turns, that belong to them: choices, reasoning, and
whatever else holds text that is to be learnt or read.

    {"question": "Which?", "choices": ["x", "y"], "answer": "B"}           refused: no column may be lost
    {"question": "7*8?", "Complex_CoT": "7*8 is 56.", "response": "56"}    becomes the answer's reasoning

Columns are known by their names: `choices`, `option_a`, the letters `A`, `B`, `C`; `reasoning`, `cot`,
`rationale`, `thinking`, and names that end in one of these (`deepseek_reasoning`). Values such as `on` or
`true` are switches and no reasoning. After a row is read, `check_left_out` looks for every column whose name
says that it holds a question, an answer, what they are about, earlier turns, reasoning, choices, calls or
tools: if its text is nowhere in what was read, the row is refused.

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
from ..core.records import Conversation, Message
from ..core.text import kind
from . import transcripts
from .cells import answers_within, parsed
from .reasoning import said_once, without_marks

_CHOICES = re.compile(
    r"(?:(?:answer|mc|multiple)[ _-]?)?(?:choices?|options?|candidates|endings|distractors|alternatives)"
    r"|(?:option|choice|candidate|ending|distractor|alternative|answer)[ _-]?(?:[a-h]|\d)|op[a-h]"
    r"|opts|possible[ _-]answers|mc[12][ _-]targets"
)
_LETTERS = frozenset("abc")

_REASONING = re.compile(
    r"(?:.*[ _.-])?"
    r"(?:reasoning|cot|thinking|thoughts?|think|rationales?|chain[ _-]?of[ _-]?thoughts?|scratchpad)"
    r"(?:[ _-]?(?:content|text|traces?|trajector(?:y|ies)|process|steps?|chain|path))?"
)
_NO_REASONING = re.compile(
    r"(?:.*[ _.-])?(?:rejected|judge|judgement|score|quality|difficulty|safety|reward|grader|rating|critic"
    r"|evaluation|has|is|use|uses|with|no|num|enable|requires?|needs?|type|types|kind|category"
    r"|level)[ _.-].*"
)
"""Names that end like reasoning but say something about it, or belong to a rejected answer."""

_SWITCHES = frozenset(
    [
        *("on", "off", "true", "false", "yes", "no", "none", "null", "n/a", "0", "1", "default", "auto"),
        *("low", "medium", "high", "minimal", "enabled", "disabled"),
    ]
)


# ==== Names of columns that hold text ====

QUESTIONS = ("question", "query", "prompt", "instruction", "problem", "input", "inputs")
ANSWERS = (
    *("response", "responses", "output", "outputs", "completion", "completions", "answer", "answers"),
    *("target", "targets", "solution"),
)
REFERENCES = frozenset({"answer", "answers", "target", "targets", "solution"})
"""Answers that are references for a check where a row has a whole answer besides."""

CONTEXTS = (
    *("context", "contexts", "passage", "passages", "article", "document", "documents", "background"),
    *("story", "paragraph"),
)
HISTORIES = ("history", "chat_history", "conversation_history", "dialogue_history", "dialog_history")
REASONING = ("reasoning_content", "reasoning", "thinking", "cot", "rationale", "chain_of_thought", "thought")
_THOUGHTS = ("explanation", "explanations", "analysis", "reflection", "inner_monologue", "reasoning_summary")
_CALLS = ("tool_calls", "tool_call", "function_call", "function_calls")
_TOOLS = (
    *("available_tools", "func_desc", "function_descriptions", "function_definitions", "tool_definitions"),
    "tool_list",
)
_TEXTS = frozenset({*QUESTIONS, *ANSWERS, *CONTEXTS, *HISTORIES, *_THOUGHTS, *_CALLS, *_TOOLS})

_ABOUT = frozenset(
    {"role", "from", "type", "id", "label", "labels", "name", "lang", "source", "url", "author", "model"}
)
"""Keys within a column that say something about its text."""

_WITHIN_ANSWERS = frozenset({"text", "content", "value", "summary", *_THOUGHTS})


def _plain(name: str) -> str:
    return name.strip().lower().replace(" ", "_").replace("-", "_")


@lru_cache(maxsize=4096)
def holds_text(name: str) -> bool:
    """Whether the name of a column says that it holds text that belongs to the conversation of its row.

    >>> [name for name in ("Answer", "source", "deepseek_reasoning", "option_a") if holds_text(name)]
    ['Answer', 'deepseek_reasoning', 'option_a']
    """
    return _plain(name) in _TEXTS or _names_reasoning(name) or _names_choices(name)


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
    asks = any(_plain(key) in QUESTIONS for key in row)
    if letters.keys() >= (_LETTERS - {"c"} if asks else _LETTERS) and letters["a"] not in used:
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
    return (key for key in row if key not in used and _names_reasoning(key) and _is_held(row[key]))


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


def is_reasoning(value: Any) -> bool:
    """Whether a value is a text that may be reasoning, and no switch such as `on`."""
    return isinstance(value, str) and bool(value.strip()) and value.strip().lower() not in _SWITCHES


def _is_held(value: Any) -> bool:
    return is_reasoning(value) or (isinstance(value, (list, dict)) and bool(value))


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
    if text.strip() and message.content is not None and _holds(message.content, text.strip()):
        return message
    written = {f"'{name}'": text}
    if message.reasoning is not None:
        written["its turn"] = message.reasoning
    reasoning, repeated = said_once(written, message.content, "the answer")
    return replace(message, reasoning=reasoning, content=message.content and message.content[repeated:])


# ==== What would be left out ====


def asks_and_answers(row: Mapping[str, Any]) -> bool:
    """Whether a row has columns of both a question and an answer.

    >>> asks_and_answers({"Query": "Hi", "response": "Hello"}), asks_and_answers({"query": "Hi"})
    (True, False)
    """
    held = {_plain(key) for key, field in row.items() if field is not None}
    return not held.isdisjoint(QUESTIONS) and not held.isdisjoint(ANSWERS)


def check_left_out(row: Mapping[str, Any], found: Sequence[Conversation], place: str) -> None:
    """Raise `RowError` (unsupported_content) for a column with text of the conversation that is in none of
    the conversations `found` in its row; `place` says what the column is beside.

    A text that is part of what was read, or that is the whole of it in other words, is not left out.
    """
    names = [key for key in row if holds_text(key) and row[key]]
    said = _Said(found) if names else None
    references = _references(row, place)
    for key in names:
        if said is not None and _plain(key) not in references and _is_left_out(key, row[key], said):
            detail = (
                f"'{key}' is beside the {place} and would be left out; write it into the {place}, or, if it "
                "is there already or is not to be learnt, leave the column out with the source's columns"
            )
            raise RowError("unsupported_content", detail)


def _references(row: Mapping[str, Any], place: str) -> frozenset[str]:
    """The names of columns with an answer that is only to be compared with the one that is read."""
    if place == TURNS:
        return REFERENCES
    return (
        frozenset({"answer"}) if any(_plain(key) == "solution" and row[key] for key in row) else frozenset()
    )


TURNS, PAIR = "turns", "question and answer"


class _Said:
    """The texts of conversations."""

    def __init__(self, found: Sequence[Conversation]) -> None:
        messages = [message for each in found for message in each.messages]
        self.texts = [text for each in messages for text in (each.content, each.reasoning) if text]
        self.calls = [call for each in messages for call in each.tool_calls]

    def holds(self, text: str) -> bool:
        """Whether a text is part of one of the texts, or is the whole of them with words around it."""
        bare = without_marks(text).strip()
        if any(_holds(each, bare) for each in self.texts):
            return True
        if all(line.strip() in text for each in self.texts for line in each.splitlines()):
            return bool(self.texts)
        return _holds(_one_line("\n".join(self.texts)), _one_line(bare))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _holds(text: str, part: str) -> bool:
    """Whether a text has a part in it that does not begin or end within a word.

    >>> _holds("It is 56.", "56"), _holds("It is 56.", "5")
    (True, False)
    """
    at = text.find(part)
    while at >= 0:
        before, after = text[at - 1 : at] + part[:1], part[-1:] + text[at + len(part) :][:1]
        if not any(len(each) == 2 and each.isascii() and each.isalnum() for each in (before, after)):
            return True
        at = text.find(part, at + 1)
    return False


def _is_left_out(key: str, field: Any, said: _Said) -> bool:
    name = _plain(key)
    if isinstance(field, str):
        if said.holds(field) or transcripts.recognize({"text": field}) or transcripts.is_opened(field):
            return False
        if _names_reasoning(key) and not _is_held(field):
            return False
    if name in _TOOLS or name in _CALLS:
        return isinstance(field, (str, list, dict)) and not (name in _CALLS and said.calls)
    if name in ANSWERS and _are_calls(field):
        return not said.calls and not (isinstance(field, str) and said.holds(field))
    if name in ANSWERS:
        return any(not said.holds(text) for text in _texts_in(parsed(answers_within(field)), _WITHIN_ANSWERS))
    return any(not said.holds(text) for text in _texts_in(parsed(field), None))


def _are_calls(field: Any) -> bool:
    """Whether an answer seems to be tool calls: an object with arguments, a list of them, or their JSON."""
    if isinstance(field, str):
        return field.lstrip().startswith(("[", "{", "```")) and "arguments" in field
    items = field if isinstance(field, list) else [field]
    return any(isinstance(each, dict) and ("arguments" in each or "function" in each) for each in items)


def _texts_in(field: Any, only: Collection[str] | None) -> Iterator[str]:
    """The texts within a column, without those that only say something about others."""
    if isinstance(field, str) and field.strip():
        yield field
    for each in field if isinstance(field, list) else ():
        yield from _texts_in(each, only)
    for key, each in field.items() if isinstance(field, dict) else ():
        plain = _plain(key)
        if plain not in _ABOUT and (only is None or plain in only or holds_text(key)):
            yield from _texts_in(each, only)
