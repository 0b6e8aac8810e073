"""KTO: a conversation with a `label` that says whether its answer is a good one.

    {"messages": [...], "label": true}
    {"prompt": "1+1?", "completion": "3", "label": false}

Rows with `true` are read as what they are otherwise; those with `false` are refused (`rejected_answer`),
since their answer is one that is not to be learnt. Where `label` means something else, the recipe says what
the rows are: `dialect: openai`.

    >>> normalize({"prompt": "1+1?", "completion": "2", "label": True}).messages[1].content
    '2'
"""

from __future__ import annotations

from typing import Any

from ..core.errors import RowError
from ..core.records import Conversation
from . import openai, sharegpt
from .question_answer import PROMPT_COMPLETION

_INNER: tuple[Any, ...] = (sharegpt, openai, PROMPT_COMPLETION)


def recognize(value: Any) -> bool:
    """Whether the row has a conversation, and a label that is true or false."""
    labelled = isinstance(value, dict) and isinstance(value.get("label"), bool)
    return labelled and any(dialect.recognize(value) for dialect in _INNER)


def normalize(value: Any) -> Conversation:
    """Read a row with a good answer. Raises `RowError`: rejected_answer, and those of its own dialect."""
    if isinstance(value, dict) and value.get("label") is False:
        detail = "'label' is false; where that means something else, set 'dialect' to that of the rows"
        raise RowError("rejected_answer", detail)
    dialect = next((each for each in _INNER if each.recognize(value)), openai)
    conversation: Conversation = dialect.normalize(value)
    return conversation
