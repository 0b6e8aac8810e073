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

The rejected answer is not looked at, unless the layout is one of preferences (`sides`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..core.errors import RowError
from ..core.records import SIDE_NAMES, Conversation, Message
from ..core.text import kind
from . import common, openai, sharegpt, transcripts
from .beside import reasoned, reasoning_beside
from .cells import as_text, parsed
from .question_answer import lowered, read_question, read_turns
from .written_calls import calls_of

KEYS = (("chosen", "rejected"), ("chosen_messages", "rejected_messages"), ("response_j", "response_k"))
_PROMPTS = ("prompt", "question", "instruction", "query")
_ASKED = ("prompt", "question", "instruction", "query", "input")


def recognize(value: Any) -> bool:
    """Whether the row has a chosen and a rejected answer."""
    return _keys(value) is not None


def normalize(value: Any) -> Conversation:
    """Read the chosen side of a row. Raises `RowError`."""
    keys = _keys(value)
    if keys is None:
        raise RowError("unknown_dialect", "the row has no pair of a chosen and a rejected answer")
    messages = _reasoned(_whole(lowered(value), keys[0]), reasoning_beside(value))
    return _conversation(value, messages)


def sides(value: Any) -> list[Conversation]:
    """Read both sides of a row. Raises `RowError`.

    The prompt is what is beside the answers. If the answers are whole conversations, it is their common
    beginning; a prompt beside them must be a part of it, and may add the system text.

    >>> row = {"chosen": [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "2"}]}
    >>> found = sides({**row, "rejected": [row["chosen"][0], {"role": "assistant", "content": "3"}]})
    >>> [[message.train for message in side.messages] for side in found]
    [[False, None], [False, None]]
    """
    keys = _keys(value)
    if keys is None:
        raise RowError("one_side", "the row has no pair of a chosen and a rejected answer")
    row = lowered(value)
    found = [_conversation(value, _whole(row, key)) for key in keys]
    answers = [_answer(row, key) for key in keys]
    if None in answers:
        prompts = [_common_beginning(*(each.messages for each in found))] * 2
    else:
        prompts = [len(each.messages) - len(own or ()) for each, own in zip(found, answers, strict=True)]
    for side, reasoning in enumerate(_reasonings(value)):
        found[side] = replace(found[side], messages=tuple(_reasoned([*found[side].messages], reasoning)))
    return [common.as_side(each, prompts[side], side) for side, each in enumerate(found)]


def _reasonings(value: dict[str, Any]) -> list[tuple[str, str] | None]:
    """The reasoning in columns beside the answers, of each side. Raises `RowError` if a column does not name
    its side."""
    own = [
        {k.lower().replace(name, "chosen"): v for k, v in value.items() if name in k.lower()}
        for name in SIDE_NAMES
    ]
    unknown = reasoning_beside(
        {k: v for k, v in value.items() if not any(name in k.lower() for name in SIDE_NAMES)}
    )
    if unknown is not None:
        detail = f"'{unknown[0]}' may belong to either answer; name it chosen_reasoning or rejected_reasoning"
        raise RowError("wrong_type", detail)
    return [reasoning_beside(each) for each in own]


def _reasoned(messages: list[Message], reasoning: tuple[str, str] | None) -> list[Message]:
    """A conversation; the reasoning that is in a column beside it belongs to its last turn."""
    if reasoning is None or not messages or messages[-1].role != "assistant":
        return messages
    return [*messages[:-1], reasoned(messages[-1], *reasoning)]


def _conversation(value: Any, messages: list[Message]) -> Conversation:
    return common.make_conversation(value, common.with_system(lowered(value), messages))


def _whole(row: dict[str, Any], key: str) -> list[Message]:
    """The whole conversation that ends on an answer."""
    answer = _answer(row, key)
    if answer is not None:
        return [*_asked(row), *answer]
    if isinstance(row[key], str) and transcripts.is_opened(row[key]):
        return _with_prompt(transcripts.read_transcript(row[key]), row)
    return _with_prompt(read_turns(parsed(row[key])), row)


def _with_prompt(whole: list[Message], row: dict[str, Any]) -> list[Message]:
    """A whole conversation after the system text of the prompt beside it. Raises `RowError` (prompts_differ)
    where the conversation does not hold that prompt."""
    key = next((key for key in _PROMPTS if row.get(key) not in (None, [], {})), None)
    if key is None or (isinstance(row[key], str) and not row[key].strip()):
        return whole
    (systems, asked), (own, turns) = _apart(_in_columns(row, key)), _apart(whole)
    texts = [(message.content or "").strip() for message in turns if message.role == "user"]
    is_held = len(asked) == 1 and (asked[0].content or "").strip() in texts
    is_begun = len(asked) <= len(turns) and all(map(_are_same, asked, turns))
    if not (is_held or is_begun) or (systems and own and not all(map(_are_same, systems, own))):
        detail = f"'{key}' differs from the beginning of the conversation beside it; leave one of them out"
        raise RowError("prompts_differ", detail)
    return whole if own else [*systems, *whole]


def _apart(messages: Sequence[Message]) -> tuple[list[Message], list[Message]]:
    """The system messages, and the others."""
    is_system = [message.role == "system" for message in messages]
    pairs = [*zip(messages, is_system, strict=True)]
    return [each for each, system in pairs if system], [each for each, system in pairs if not system]


def _answer(row: dict[str, Any], key: str) -> list[Message] | None:
    """The messages of an answer, without the prompt; None if the column holds the whole conversation. A table
    may hold messages as JSON."""
    field = row[key]
    calls = calls_of(field, common.read_tools(row))
    if calls:
        return [Message("assistant", tool_calls=calls)]
    listed = parsed(field)
    if isinstance(listed, list) and any(isinstance(each, dict) for each in listed):
        found = read_turns(listed)
        alone = all(message.role == "assistant" for message in found)
        return found if alone or (found[0].role == "assistant" and _has_prompt(row)) else None
    if isinstance(field, dict):
        return read_turns([field])
    field = as_text(field)
    if not isinstance(field, str):
        raise RowError("wrong_type", f"'{key}' is a JSON {kind(field)}, not an answer")
    return None if transcripts.is_opened(field) else [Message("assistant", field)]


def _common_beginning(chosen: Sequence[Message], rejected: Sequence[Message]) -> int:
    """The number of messages before the first answer in which two conversations differ.

    If one of them goes on where the other ends, the last answer that both have is no part of the prompt.
    """
    pairs = list(zip(chosen, rejected, strict=False))
    same = next((at for at, pair in enumerate(pairs) if not _are_same(*pair)), len(pairs))
    if same == len(pairs):
        answers = [at for at, (message, _) in enumerate(pairs) if message.role == "assistant"]
        return answers[-1] if answers else same
    for name, messages in zip(SIDE_NAMES, (chosen, rejected), strict=True):
        if messages[same].role != "assistant":
            detail = (
                f"message {same} of the {name} side is no answer, and differs from that of the other side"
            )
            raise RowError("prompts_differ", detail)
    return same


def _are_same(one: Message, other: Message) -> bool:
    plain = [replace(each, train=None, weight=None, stretches=()) for each in (one, other)]
    return plain[0] == plain[1]


def _has_prompt(row: dict[str, Any]) -> bool:
    return any(key in row for key in _ASKED) or any(each.recognize(row) for each in (sharegpt, openai))


def _asked(row: dict[str, Any]) -> list[Message]:
    """What is before the answer: turns, or a prompt."""
    for dialect in (sharegpt, openai):
        if dialect.recognize(row):
            return list(dialect.normalize(row).messages)
    first = next((key for key in _ASKED if key in row), "prompt")
    return _in_columns(row, first, [key for key in ("input", "context") if key != first])


def _in_columns(row: dict[str, Any], key: str, below: Sequence[str] = ()) -> list[Message]:
    """The prompt in column `key` and the columns `below` it; a transcript is turns."""
    if key == "prompt" and transcripts.is_opened(row.get(key)):
        return read_turns(transcripts.as_turns(row[key]))
    return read_question(row, [key], below)


def _keys(value: Any) -> tuple[str, str] | None:
    """The columns of the chosen and the rejected answer; None if the row does not have both."""
    row = lowered(value)
    return next(((chosen, rejected) for chosen, rejected in KEYS if chosen in row and rejected in row), None)
