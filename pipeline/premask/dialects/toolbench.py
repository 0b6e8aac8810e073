"""ToolBench answers: the runs of an agent, as lists of messages that grow, with the functions it had.

    {"answer_generation": {"valid_data": true, "function": [...], "train_messages": [[...], [...]]}}

Each list of `train_messages` ends on a step of the agent and holds what it saw before. The best path is the
last list, the run that gave the answer; all paths are all lists, each step trained on the first that has it.
A run that its own file calls invalid is refused (`rejected_answer`).

    >>> step = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    >>> len(normalize({"answer_generation": {"train_messages": [step]}}).messages)
    2
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..core.errors import RowError
from ..core.records import Conversation, Message
from . import openai
from .row_marks import row_marks_of


def recognize(value: Any) -> bool:
    """Whether the row holds the training messages of a run."""
    return isinstance(_run(value).get("train_messages"), list) or "valid_data" in _run(value)


def normalize(value: Any) -> Conversation:
    """The last of the lists. Raises `RowError`."""
    return _read(value, _lists(value)[-1])


def paths(value: Any) -> list[Conversation]:
    """All lists, each step trained once. Raises `RowError`."""
    seen: set[int] = set()
    found = []
    for messages in _lists(value):
        conversation = _read(value, messages)
        marked: list[Message] = []
        key = 0
        for message in conversation.messages:
            key = hash((key, repr(message)))
            own = message.role == "assistant" and key in seen
            marked.append(replace(message, train=False) if own else message)
            seen.add(key)
        if any(message.role == "assistant" and message.train is not False for message in marked):
            found.append(replace(conversation, messages=tuple(marked)))
    return found or [normalize(value)]


def _run(value: Any) -> dict[str, Any]:
    run = value.get("answer_generation") if isinstance(value, dict) else None
    return run if isinstance(run, dict) else {}


def _lists(value: Any) -> list[list[Any]]:
    run = _run(value)
    if run.get("valid_data") is False:
        raise RowError("rejected_answer", "'valid_data' of the run is false")
    lists = run.get("train_messages")
    if not isinstance(lists, list):
        raise RowError("unknown_dialect", "the row has no 'train_messages'")
    if not lists:
        raise RowError("no_messages", "'train_messages' is empty")
    if not all(isinstance(each, list) for each in lists):
        raise RowError("wrong_type", "'train_messages' is not an array of arrays")
    return lists


def _read(value: Any, messages: list[Any]) -> Conversation:
    row = {"messages": messages, "tools": _run(value).get("function")}
    return openai.normalize({**row_marks_of(value), **row, "id": value.get("id")})
