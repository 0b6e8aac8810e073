"""Alpaca: `{"instruction": "Add.", "input": "1+1", "output": "2"}`, with its variants.

`input` may be missing or empty; the answer may be called `response`, `answer` or `completion`, and be a list;
`system` and `history` (pairs) stand before. A `text` column with the whole prompt in it is not looked at.

    >>> row = {"instruction": "Add.", "input": "", "response": "2", "history": [["Hi", "Hello"]]}
    >>> [message.content for message in normalize(row).messages]
    ['Hi', 'Hello', 'Add.', '2']

Cost: see `prompted.py`.
"""

from __future__ import annotations

from typing import Any

from ..core.records import Conversation
from .prompted import Columns, read_columns, recognize_columns

_COLUMNS = Columns(asked=["instruction"], below=["input", "inputs"])


def recognize(value: Any) -> bool:
    """Whether the row has an instruction and an answer."""
    return recognize_columns(value, _COLUMNS)


def normalize(value: Any) -> Conversation:
    """Read a row with its first answer. Raises `RowError`."""
    return read_columns(value, _COLUMNS)[0]


def paths(value: Any) -> list[Conversation]:
    """Read a row with each of its answers. Raises `RowError`."""
    return read_columns(value, _COLUMNS)
