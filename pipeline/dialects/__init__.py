"""Input dialects: which format a file's rows have, and any row -> Conversation.

    recognize_file   values of many rows of a file -> name of its dialect
    normalize        one value -> Conversation, or a RowError with the reason why not

One small module a dialect, with `recognize(value)` and `normalize(value)`; `common.py` and `turns.py` hold
what they share. A constant `PLAIN` may say how most of its rows are written; those need no Conversation
(`plain.py`). After this stage every row has one shape, so no later stage asks where a row came from.

    >>> rows = [{"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}]
    >>> name = recognize_file(rows, source="chats.jsonl")
    >>> name, [message.role for message in normalize(rows[0], name).messages]
    ('sharegpt', ['user', 'assistant'])

Cost: some microseconds a message; nothing is copied but strings of content parts that are joined.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from ..contracts import Conversation
from ..errors import SourceError
from . import openai, sharegpt
from .common import row_id
from .plain import PlainTurns
from .turns import kind

__all__ = ["DIALECTS", "Dialect", "normalize", "plain_turns", "recognize_file", "row_id"]


class Dialect(Protocol):
    """What a dialect module has."""

    def recognize(self, value: Any) -> bool:
        """Whether a row has this dialect's shape, however wrong it may be within."""

    def normalize(self, value: Any) -> Conversation:
        """The row as a Conversation; RowError when that cannot be."""


DIALECTS: Mapping[str, Dialect] = {"sharegpt": sharegpt, "openai": openai}
"""Name -> module, in the order in which a tie between two dialects is decided."""


def recognize_file(values: Sequence[Any], *, source: str) -> str:
    """Name the dialect that most of the rows have.

    Raises `SourceError` naming the file and the keys seen when no row has any known one.
    """
    votes = {name: sum(map(dialect.recognize, values)) for name, dialect in DIALECTS.items()}
    best = max(votes, key=lambda name: votes[name])
    if votes[best]:
        return best
    if not values:
        raise SourceError(f"{source} has no row that can be read; check its content")
    raise SourceError(
        f"{source} holds no known conversation format: its rows have {_shapes(values)}; "
        f"known formats: {', '.join(DIALECTS)}; convert the file or leave it out"
    )


def normalize(value: Any, dialect: str) -> Conversation:
    """Turn a row into a Conversation, as the file's dialect or else as any other that it has the shape of.

    Raises `RowError` with a reason of `contracts.REASONS`.
    """
    own = DIALECTS[dialect]
    candidates = [own, *(other for other in DIALECTS.values() if other is not own)]
    return next((each for each in candidates if each.recognize(value)), own).normalize(value)


def plain_turns(dialect: str) -> PlainTurns | None:
    """How plain rows of a dialect are written; None where it does not say, so that none is known."""
    plain: PlainTurns | None = getattr(DIALECTS[dialect], "PLAIN", None)
    return plain


def _shapes(values: Iterable[Any]) -> str:
    """The commonest keys of rows; of a list of objects also the keys of its first one.

    >>> _shapes([{"id": 1, "turns": [{"human": "Hi"}]}, "text"])
    'id, turns[human], (string)'
    """
    seen = Counter(shape for value in values for shape in _shape(value))
    names = [name for name, _ in seen.most_common(13)]
    return ", ".join([*names[:12], "..."] if len(names) > 12 else names)


def _shape(value: Any) -> list[str]:
    if not isinstance(value, dict):
        return [_named(f"({kind(value)})", value)]
    return [_named(key, held) for key, held in value.items()]


def _named(name: str, value: Any) -> str:
    first = value[0] if isinstance(value, list) and value else None
    text = f"{name[:40]}[{', '.join(first)[:80]}]" if isinstance(first, dict) else name[:40]
    return text if text.isprintable() else repr(text)
