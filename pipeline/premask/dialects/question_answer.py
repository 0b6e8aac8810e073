"""Question and answer: `{"question": "1+1?", "answer": "2"}`, under the names that are about.

The names are looked for in the order of `PAIRS`, so that a row with two of them (`problem`, `solution` and
`answer`) is always read alike. A `context` goes below the question, after a blank line.

    >>> [message.content for message in normalize({"Problem": "1+1?", "solution": "It is 2."}).messages]
    ['1+1?', 'It is 2.']

Cost: see `prompted.py`.
"""

from __future__ import annotations

from typing import Any

from ..core.errors import RowError
from ..core.records import Conversation
from .prompted import Columns, lowered, read_columns, recognize_columns

PAIRS = (
    *(("question", "answer"), ("question", "answers"), ("question", "response"), ("question", "solution")),
    *(("question", "output"), ("query", "response"), ("query", "answer"), ("query", "answers")),
    *(("query", "output"), ("problem", "solution"), ("problem", "answer"), ("q", "a"), ("input", "output")),
    *(("input", "response"), ("input", "answer"), ("inputs", "targets"), ("input", "target")),
    *(("user", "assistant"), ("human", "assistant"), ("human", "gpt"), ("human", "bot"), ("user", "bot")),
    *(("user", "model"), ("human", "ai"), ("source", "target"), ("ask", "answer")),
)
"""Names of question and answer, in the order in which they are looked for."""


def recognize(value: Any) -> bool:
    """Whether the row has a known pair of columns."""
    return _columns(value) is not None


def normalize(value: Any) -> Conversation:
    """Read a row with its first answer. Raises `RowError`."""
    return paths(value)[0]


def paths(value: Any) -> list[Conversation]:
    """Read a row with each of its answers. Raises `RowError`."""
    columns = _columns(value)
    if columns is None:
        held = lowered(value)
        asked = next((pair[0] for pair in PAIRS if pair[0] in held), None)
        if asked is not None:
            raise RowError("no_assistant", f"the row has no answer beside '{asked}'")
        columns = Columns(["question"], (), ["answer"])
        if isinstance(value, dict):
            raise RowError("unknown_dialect", "the row has no known columns of question and answer")
    return read_columns(value, columns)


def _columns(value: Any) -> Columns | None:
    for asked, answered in PAIRS:
        columns = Columns([asked], ["context"], [answered])
        if recognize_columns(value, columns):
            return columns
    return None
