"""Preference pairs: a prompt with a chosen and a rejected answer, of which the chosen one is learnt.

    {"prompt": "1+1?", "chosen": "2", "rejected": "3"}
    {"conversations": [... ends on the user], "chosen": {"from": "gpt", "value": "2"}, "rejected": {...}}
    {"chosen": [{"role": "user", ...}, {"role": "assistant", ...}], "rejected": [...]}
    {"chosen": "\\n\\nHuman: 1+1?\\n\\nAssistant: 2", "rejected": ...}     hh-rlhf
    {"chosen_messages": [...], "rejected_messages": [...]}                LLaMA-Factory
    {"question": "1+1?", "response_j": "2", "response_k": "3"}            stack-exchange-paired

    >>> row = {"prompt": "1+1?", "chosen": "2", "rejected": "3"}
    >>> [message.content for message in normalize(row).messages]
    ['1+1?', '2']

The rejected answer is not looked at.
"""

from __future__ import annotations

from typing import Any

from ..core.errors import RowError
from ..core.records import Conversation, Message
from ..core.text import kind
from . import common, openai, sharegpt, transcripts
from .beside import reasoned, reasoning_beside
from .cells import as_text, parsed
from .question_answer import lowered, read_question, read_turns
from .written_calls import calls_of

CHOSEN = (("chosen", "rejected"), ("chosen_messages", "rejected_messages"), ("response_j", "response_k"))
_ASKED = ("prompt", "question", "instruction", "query", "input")


def recognize(value: Any) -> bool:
    """Whether the row has a chosen and a rejected answer."""
    return _key(value) is not None


def normalize(value: Any) -> Conversation:
    """Read the chosen side of a row. Raises `RowError`."""
    key = _key(value)
    if key is None:
        raise RowError("unknown_dialect", "the row has no pair of a chosen and a rejected answer")
    row = lowered(value)
    messages = _reasoned(value, chosen_messages(row, row[key], key))
    return common.make_conversation(value, common.with_system(row, messages))


def _reasoned(value: dict[str, Any], messages: list[Message]) -> list[Message]:
    """The chosen conversation; the reasoning that is in a column beside it belongs to its last turn."""
    if not messages or messages[-1].role != "assistant":
        return messages
    reasoning = reasoning_beside(value)
    return [*messages[:-1], reasoned(messages[-1], *reasoning)] if reasoning else messages


def chosen_messages(row: dict[str, Any], chosen: Any, key: str) -> list[Message]:
    """The whole conversation that ends on the chosen answer; a table may hold it as JSON."""
    calls = calls_of(chosen, common.read_tools(row))
    if calls:
        return [*_asked(row), Message("assistant", tool_calls=calls)]
    listed = parsed(chosen)
    if isinstance(listed, list) and any(isinstance(each, dict) for each in listed):
        found = read_turns(listed)
        whole = any(message.role != "assistant" for message in found)
        return found if whole else [*_asked(row), *found]
    if isinstance(chosen, dict):
        return [*_asked(row), *read_turns([chosen])]
    chosen = as_text(chosen)
    if not isinstance(chosen, str):
        raise RowError("wrong_type", f"'{key}' is a JSON {kind(chosen)}, not an answer")
    if transcripts.is_opened(chosen):
        return transcripts.read_transcript(chosen)
    return [*_asked(row), Message("assistant", chosen)]


def _asked(row: dict[str, Any]) -> list[Message]:
    """What is before the answer: turns, or a prompt."""
    for dialect in (sharegpt, openai):
        if dialect.recognize(row):
            return list(dialect.normalize(row).messages)
    if transcripts.is_opened(row.get("prompt")):
        return read_turns(transcripts.as_turns(row["prompt"]))
    first = next((key for key in _ASKED if key in row), None)
    return read_question(row, _ASKED, [key for key in ("input", "context") if key != first])


def _key(value: Any) -> str | None:
    row = lowered(value)
    return next((chosen for chosen, rejected in CHOSEN if chosen in row and rejected in row), None)
