"""What the dialects share that keep a question and its answer in columns of their own.

    {"instruction": "Add.", "input": "1+1", "output": "2"}   ->   user: "Add.\\n\\n1+1", assistant: "2"

The user's text is the question and below it, after a blank line, what it is about (`input`, `context`); no
prompt such as Alpaca's well-known one is put around it, since the chat template says who speaks. The system
text and earlier turns (`history`: pairs) come first. Column names are taken in any case. An answer may be a
list: of texts, of objects with one text each, or of what SQuAD has (`{"text": [...]}`); then the first is the
best one, and each makes a conversation of its own where the recipe wants all (`paths`).

    >>> columns = Columns(asked=["instruction"], below=["input"], answered=["output"])
    >>> [found] = read_columns({"Instruction": "Add.", "input": "1+1", "output": "2"}, columns)
    >>> [message.content for message in found.messages]
    ['Add.\\n\\n1+1', '2']
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..core.errors import RowError
from ..core.records import Conversation, Message
from ..core.text import kind
from . import common, openai, sharegpt
from .pairs import read_pairs

ANSWERS = ("output", "response", "answer", "completion", "outputs", "responses", "answers", "completions")
CHOICES = ("choices", "options", "candidates")
"""Columns that would have to stand in the question; a row that has them is refused."""

_TEXTS = ("text", "completion", "response", "answer", "output", "content", "value")


class Columns(NamedTuple):
    """Names of columns, each list in the order in which they are looked for."""

    asked: Sequence[str]
    below: Sequence[str] = ()
    answered: Sequence[str] = ANSWERS


def recognize_columns(value: Any, columns: Columns) -> bool:
    """Whether a row has a question and an answer that is not null."""
    row = lowered(value)
    return any(key in row for key in columns.asked) and any(key in row for key in columns.answered)


def read_columns(value: Any, columns: Columns) -> list[Conversation]:
    """The conversations of a row, one an answer. Raises `RowError`."""
    if not isinstance(value, dict):
        raise RowError("not_an_object", f"the row is a JSON {kind(value)}, not an object")
    row = lowered(value)
    asked = read_question(row, columns)
    answers = read_answers(row, columns.answered)
    return [common.make_conversation(value, common.with_system(row, [*asked, *each])) for each in answers]


def lowered(value: Any) -> dict[str, Any]:
    """The columns of a row that are not null, by their names in lower case.

    >>> lowered({"Question ": "Why?", "Answer": None})
    {'question': 'Why?'}
    """
    row: Mapping[str, Any] = value if isinstance(value, dict) else {}
    found: dict[str, Any] = {}
    for key, field in row.items():
        if field is not None:
            found.setdefault(key.strip().lower(), field)
    return found


def read_question(row: Mapping[str, Any], columns: Columns) -> list[Message]:
    """All that stands before the answer. Raises `RowError`: wrong_type, unsupported_content."""
    choices = next((key for key in CHOICES if row.get(key)), None)
    if choices is not None:
        detail = f"'{choices}' stands beside the question and would be left out; write it into the question"
        raise RowError("unsupported_content", detail)
    history = common.parsed(row.get("history"))
    if history is not None and not isinstance(history, list):
        raise RowError("wrong_type", f"'history' is a JSON {kind(history)}, not an array")
    earlier = read_pairs(history or [], "history")
    key = next((key for key in columns.asked if key in row), columns.asked[0])
    if isinstance(row.get(key), list):
        return [*earlier, *read_turns(row[key])]
    texts = [_text(row, name) for name in (key, *columns.below) if name in row]
    texts = [text for text in texts if text and not text.isspace()]
    if not texts:
        raise RowError("wrong_type", f"the row has no text under {', '.join(columns.asked)}")
    return [*earlier, Message("user", "\n\n".join(texts))]


def read_answers(row: Mapping[str, Any], keys: Sequence[str]) -> list[list[Message]]:
    """The answers of a row, at least one, each as messages. Raises `RowError`: no_assistant, wrong_type."""
    key = next((key for key in keys if key in row), None)
    if key is None:
        raise RowError("no_assistant", f"the row has no answer under {', '.join(keys)}")
    field = row[key]
    if isinstance(field, dict) and isinstance(field.get("text"), list):
        field = field["text"]  # SQuAD
    if isinstance(field, list) and any(map(_is_turn, field)):
        return [read_turns(field)]
    fields = field if isinstance(field, list) else [field]
    if not fields:
        raise RowError("empty_assistant", f"'{key}' is an empty list")
    return [[Message("assistant", _answer(each, key))] for each in fields]


def read_turns(turns: Any) -> list[Message]:
    """A list of turns that stands in a column, in OpenAI's spelling or ShareGPT's. Raises `RowError`."""
    dialect = sharegpt if sharegpt.recognize({"conversations": turns}) else openai
    return list(dialect.normalize({"conversations" if dialect is sharegpt else "messages": turns}).messages)


def _is_turn(item: Any) -> bool:
    return openai.recognize([item]) or sharegpt.recognize([item])


def _answer(field: Any, key: str) -> str:
    if isinstance(field, dict):
        field = next((field[name] for name in _TEXTS if field.get(name) is not None), field)
    if not isinstance(field, str):
        raise RowError("wrong_type", f"the answer in '{key}' is a JSON {kind(field)}, not a string")
    return field


def _text(row: Mapping[str, Any], key: str) -> str:
    if not isinstance(row[key], str):
        raise RowError("wrong_type", f"'{key}' is a JSON {kind(row[key])}, not a string")
    return str(row[key])
