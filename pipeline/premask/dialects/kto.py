"""KTO: a conversation with a `label` that says whether its answer is a good one.

    {"messages": [...], "label": true}
    {"prompt": "1+1?", "completion": "3", "label": false}
    {"conversations": [...], "kto_tag": true}                 LLaMA-Factory

Rows with `true` are read as what they are otherwise; those with `false` are refused (`rejected_answer`),
since their answer is one that is not to be learnt. Where `label` means something else, the recipe says what
the rows are: `dialect: openai`.

    >>> normalize({"prompt": "1+1?", "completion": "2", "label": True}).messages[1].content
    '2'

With layout `kto`, rows of both kinds are read (`sides`), and nothing before the answer is trained.

    >>> [found] = sides({"prompt": "1+1?", "completion": "3", "label": False})
    >>> found.side, [message.train for message in found.messages]
    (1, [False, None])
"""

from __future__ import annotations

from typing import Any

from ..core.errors import RowError
from ..core.records import CHOSEN, REJECTED, Conversation
from . import common, openai, sharegpt
from .question_answer import PROMPT_COMPLETION, lowered, read_answers

LABELS = ("label", "kto_tag")
_INNER: tuple[Any, ...] = (sharegpt, openai, PROMPT_COMPLETION)


def recognize(value: Any) -> bool:
    """Whether the row has a conversation, and a label that is true or false."""
    return _label(value) is not None and any(dialect.recognize(value) for dialect in _INNER)


def normalize(value: Any) -> Conversation:
    """Read a row with a good answer. Raises `RowError`: rejected_answer, and those of its own dialect."""
    name = _label(value)
    if name is not None and value[name] is False:
        detail = f"'{name}' is false; where that means something else, set 'dialect' to that of the rows"
        raise RowError("rejected_answer", detail)
    return _read(value)


def sides(value: Any) -> list[Conversation]:
    """Read a row as one side of a preference: a completion, or the last message of the assistant and what is
    after it. Raises `RowError`."""
    name, conversation = _label(value), _read(value)
    if name is None:
        raise RowError("one_side", f"the row has no {' or '.join(LABELS)} that is true or false")
    prompt = _prompt(value, conversation)
    return [common.as_side(conversation, prompt, CHOSEN if value[name] else REJECTED)]


def _read(value: Any) -> Conversation:
    conversation: Conversation = _dialect(value).normalize(value)
    return conversation


def _dialect(value: Any) -> Any:
    return next((each for each in _INNER if each.recognize(value)), openai)


def _prompt(value: Any, conversation: Conversation) -> int:
    """The number of messages before the answer."""
    messages = conversation.messages
    if _dialect(value) is PROMPT_COMPLETION:
        return len(messages) - len(read_answers(lowered(value), PROMPT_COMPLETION.answered)[0])
    answers = [index for index, message in enumerate(messages) if message.role == "assistant"]
    return answers[-1] if answers else len(messages)


def _label(value: Any) -> str | None:
    """The column that says whether the answer is a good one; None if there is none."""
    row = value if isinstance(value, dict) else {}
    return next((name for name in LABELS if isinstance(row.get(name), bool)), None)
