"""Documents, such as those of pretraining: `{"text": "..."}`, or the text under `content` or `document`.

A document is no chat. It is trained as a whole, and no chat template prints it. A text does not say what it
is for, so this dialect is never recognized: a recipe or a source names it.

    >>> normalize({"text": "Once upon a time.", "url": "https://example.org"}).document
    'Once upon a time.'
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..core.errors import RowError
from ..core.records import Conversation
from ..core.text import is_encodable, kind
from . import common
from .question_answer import lowered

KEYS = ("text", "content", "document")


def recognize(value: Any) -> bool:
    """Whether the row has a column in which a document may be."""
    return bool(_keys(lowered(value)))


def normalize(value: Any) -> Conversation:
    """Read a row as a document. Raises `RowError`: not_an_object, unknown_dialect, wrong_type,
    unsupported_content, invalid_text."""
    if not isinstance(value, dict):
        raise RowError("not_an_object", f"the row is a JSON {kind(value)}, not an object")
    text = _text(lowered(value))
    conversation = common.make_conversation(value, ())
    if conversation.tools or conversation.template_kwargs:
        raise RowError("wrong_type", "tools or template arguments are beside a document; take them out")
    return replace(conversation, document=text)


def _text(row: dict[str, Any]) -> str:
    """The text of the only column that may hold it."""
    keys = _keys(row)
    if not keys:
        raise RowError("unknown_dialect", f"the row has no text under {', '.join(KEYS)}")
    if len(keys) > 1:
        found = " and ".join(map(repr, keys))
        raise RowError("wrong_type", f"the row has {found}; choose one with the key columns of the source")
    text = row[keys[0]]
    if not isinstance(text, str):
        raise RowError("wrong_type", f"'{keys[0]}' is a JSON {kind(text)}, not a string")
    if not is_encodable(text):
        raise common.half_pair(f"'{keys[0]}'")
    return text


def _keys(row: dict[str, Any]) -> list[str]:
    return [key for key in KEYS if key in row]
