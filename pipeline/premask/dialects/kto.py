"""KTO: a conversation with a `label` that says whether its answer is a good one.

    {"messages": [...], "label": true}
    {"prompt": "1+1?", "completion": "3", "label": false}
    {"conversations": [...], "kto_tag": true}                 LLaMA-Factory

Rows with `true` are read as what they are otherwise; those with `false` are refused (`rejected_answer`),
since their answer is one that is not to be learnt. So are rows of any other dialect with such a label. A
label may be a text, as tables write it: `True`. Where `label` means something else, the recipe says what
the rows are: `dialect: openai`.

    >>> normalize({"prompt": "1+1?", "completion": "2", "label": True}).messages[1].content
    '2'

With layout `kto`, rows of both kinds are read (`sides`), and nothing before the answer is trained; a label
may be 1 or 0 there.

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
from .row_marks import LABEL_KEYS, answer_label, check_label

_INNER: tuple[Any, ...] = (sharegpt, openai, PROMPT_COMPLETION)


def recognize(value: Any) -> bool:
    """Whether the row has a conversation, and a label that is true or false."""
    return answer_label(value) is not None and any(dialect.recognize(value) for dialect in _INNER)


def has_side(value: Any) -> bool:
    """Whether the row is one side of a preference: like `recognize`, but a label may also be 1 or 0."""
    return answer_label(value, numbers=True) is not None and any(each.recognize(value) for each in _INNER)


def normalize(value: Any) -> Conversation:
    """Read a row with a good answer. Raises `RowError`: rejected_answer, and those of its own dialect."""
    check_label(value)
    return _read(value)


def sides(value: Any) -> list[Conversation]:
    """Read a row as one side of a preference: a completion, or the last message of the assistant and what is
    after it. Raises `RowError`."""
    label, conversation = answer_label(value, numbers=True), _read(value)
    if label is None:
        raise RowError("one_side", f"the row has no {' or '.join(LABEL_KEYS)} that is true or false")
    prompt = _prompt(value, conversation)
    return [common.as_side(conversation, prompt, CHOSEN if label[1] else REJECTED)]


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
