"""Turns that columns beside them complete: the answer to the last turn, and its reasoning.

    {"messages": [... ends on the user], "response": "2"}                   the answer comes after the turns
    {"messages": [{"role": "user", ...}], "reasoning": "1 and 1 is 2.", "answer": "2"}       likewise both

Reasoning beside turns belongs to the only turn of the assistant. Where there are several, the row is refused
by `check_left_out` (`beside.py`), as is an answer beside turns that have one.

    >>> from premask.core.records import Conversation, Message
    >>> found = Conversation((Message("user", "1+1?"),))
    >>> [message.content for message in completed({"response": "2"}, found)[0].messages]
    ['1+1?', '2']

Cost: a microsecond a column.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..core.records import Conversation
from . import common
from .beside import ANSWERS, REASONING, is_reasoning, reasoned
from .question_answer import lowered, read_answers


def completed(row: Mapping[str, Any], found: Conversation) -> list[Conversation]:
    """The conversation of a row of turns with the answers and reasoning beside them. Raises `RowError`."""
    columns = lowered(row)
    every = [_reasoned(columns, each) for each in _answered(columns, found)]
    for each in every:
        if each is not found:
            common.check_texts(each)
    return every


def _answered(columns: Mapping[str, Any], found: Conversation) -> list[Conversation]:
    name = next((name for name in ANSWERS if columns.get(name)), None)
    if name is None or not found.messages or found.messages[-1].role == "assistant":
        return [found]
    answers = read_answers(columns, [name], found.tools)
    return [replace(found, messages=(*found.messages, *each)) for each in answers]


def _reasoned(columns: Mapping[str, Any], found: Conversation) -> Conversation:
    places = [at for at, message in enumerate(found.messages) if message.role == "assistant"]
    texts = {name: columns[name] for name in REASONING if is_reasoning(columns.get(name))}
    if len(places) != 1 or len(texts) != 1 or found.messages[places[0]].stretches:
        return found
    ((name, text),) = texts.items()
    messages = [*found.messages]
    messages[places[0]] = reasoned(messages[places[0]], name, text)
    return replace(found, messages=tuple(messages))
