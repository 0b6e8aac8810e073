"""Dolly: `{"instruction": "When?", "context": "It opened in 1900.", "response": "In 1900."}`.

The context goes below the instruction, after a blank line, as Alpaca's input does.

    >>> row = {"instruction": "When?", "context": "It opened in 1900.", "response": "In 1900."}
    >>> normalize(row).messages[0].content
    'When?\\n\\nIt opened in 1900.'

Cost: see `prompted.py`.
"""

from __future__ import annotations

from typing import Any

from ..core.records import Conversation
from .prompted import Columns, read_columns, recognize_columns

_COLUMNS = Columns(asked=["instruction"], below=["context"])


def recognize(value: Any) -> bool:
    """Whether the row has an instruction, a context (which may be empty) and an answer."""
    return recognize_columns(value, _COLUMNS) and "context" in value


def normalize(value: Any) -> Conversation:
    """Read a row with its first answer. Raises `RowError`."""
    return read_columns(value, _COLUMNS)[0]


def paths(value: Any) -> list[Conversation]:
    """Read a row with each of its answers. Raises `RowError`."""
    return read_columns(value, _COLUMNS)
