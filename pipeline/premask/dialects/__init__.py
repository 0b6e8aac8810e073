"""Input dialects: which format a file's rows have, and any row -> conversations.

    recognize_file   values of many rows of a file -> name of its dialect
    normalize        one value -> Conversation, or a RowError with the reason why not
    conversations    one value -> all its conversations: message trees and lists of answers have several
    shaped_row       one value -> the shape of its conversation and the texts, for the fast path

One small module a dialect, with `recognize(value)` and `normalize(value)`, and `paths(value)` where a row can
hold several conversations; dialects that keep a question and its answer in columns are data in
`question_answer.py`. `common.py`, `turns.py` and `parts.py` hold what they share. A constant `PLAIN` may say
how most of the rows of a dialect are written; those need no Conversation (`plain.py`). After this stage every
row has one shape, so no later stage asks where a row came from.

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

from ..core.errors import RowError, SourceError
from ..core.records import Conversation
from ..core.shapes import shape_of
from ..core.text import kind
from . import (
    anthropic,
    bfcl,
    chatgpt,
    document,
    gemini,
    kto,
    openai,
    pairs,
    preference,
    responses,
    sharegpt,
    speakers,
    statements,
    tokens,
    toolbench,
    trajectory,
    transcripts,
    trees,
)
from .advice import advice
from .beside import PAIR, TURNS, check_left_out
from .common import check_learnable
from .completed import completed
from .fields import MappedFields
from .joined_calls import join_calls
from .plain import PlainTurns, plain_row
from .question_answer import ALPACA, DOLLY, PROMPT_COMPLETION, QUESTION_ANSWER
from .row_marks import check_label
from .shaped import ShapedRow, ShapedRows
from .sides import Sides

__all__ = [
    "DIALECTS",
    "Dialect",
    "Form",
    "Named",
    "check_named",
    "conversations",
    "normalize",
    "plain_turns",
    "recognize_file",
    "shaped_row",
    "shaped_rows",
]


class Dialect(Protocol):
    """What the module of a dialect has, or the constant of one that differs from others in names alone."""

    def recognize(self, value: Any) -> bool:
        """Whether a row has this dialect's shape, however wrong it may be within."""

    def normalize(self, value: Any) -> Conversation:
        """The row as a Conversation; RowError when that cannot be."""


DIALECTS: Mapping[str, Dialect] = {
    "preference": preference,
    "kto": kto,
    "toolbench": toolbench,
    "trees": trees,
    "chatgpt": chatgpt,
    "gemini": gemini,
    "responses": responses,
    "speakers": speakers,
    "sharegpt": sharegpt,
    "anthropic": anthropic,
    "openai": openai,
    "statements": statements,
    "pairs": pairs,
    "bfcl": bfcl,
    "dolly": DOLLY,
    "alpaca": ALPACA,
    "prompt_completion": PROMPT_COMPLETION,
    "question_answer": QUESTION_ANSWER,
    "transcript": transcripts,
    "document": document,
    "tokens": tokens,
    "trajectory": trajectory,
}
"""Name -> dialect. Of several whose shape a row has, the first is taken: those that say more come first."""

_CHECKED: Sequence[tuple[str, Sequence[Any]]] = (
    (TURNS, (openai, sharegpt, anthropic, pairs, speakers, transcripts, kto)),
    (PAIR, (DOLLY, ALPACA, PROMPT_COMPLETION, QUESTION_ANSWER, preference)),
)
"""Dialects of rows whose other columns are looked at, by what these are beside."""

NAMED_ONLY = frozenset({"document", "trajectory"})
"""Dialects that are never recognized: only a recipe or a source can name them."""


class Named(str):
    """The name of a dialect that the recipe names: a row of another dialect is rejected. A plain string is a
    dialect that was recognized; then such a row is read as what it is.

    >>> Named("openai") == "openai", Named("openai")
    (True, Named('openai'))
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Named({super().__repr__()})"


Form = str | MappedFields | Sides
"""How the rows of a file are read: as a dialect, by its name, as the recipe's `fields` says, or as sides of
preferences."""


def recognize_file(values: Sequence[Any], *, source: str, otherwise: str = "; or leave the file out") -> str:
    """Name the dialect that most of the rows have.

    Raises `SourceError` naming the file, the keys seen and what to write, or else to do, when no row has any
    known one.
    """
    votes = Counter(name for value in values if (name := _recognize(value)) is not None)
    best = max(DIALECTS, key=lambda name: votes[name])
    if votes[best]:
        return best
    if not values:
        raise SourceError(f"{source} has no row that can be read; check its content")
    shapes = _shapes(values) or "no keys"
    raise SourceError(
        f"{source} holds no known conversation format: its rows have {shapes}; {advice(values)}{otherwise}"
    )


def normalize(value: Any, dialect: Form) -> Conversation:
    """Turn a row into a Conversation, the best one if it holds several.

    It is read as the file's dialect, or else as any other that it has the shape of. A dialect or fields that
    the recipe names bind: a row of another dialect is rejected. Raises `RowError` with a reason of
    `contract.REASONS`.
    """
    found = conversations(value, dialect)[0]
    check_learnable(found)
    return found


def conversations(value: Any, dialect: Form, *, every: bool = False) -> list[Conversation]:
    """The conversations of a row, at least one: the best one, or `every`. It is not yet checked that there is
    something to learn in them (`check_learnable`). A label that says that the answer is not a good one counts
    unless the recipe names the dialect. Raises `RowError`."""
    if isinstance(dialect, Sides):
        return dialect.read(value)
    if isinstance(dialect, MappedFields):
        own: Any = dialect
    else:
        own = DIALECTS[dialect]
        if not own.recognize(value):
            other = _recognize(value)
            if other is not None and isinstance(dialect, Named):
                raise RowError("unknown_dialect", _another(dialect, other))
            own = DIALECTS[other or dialect]
        if own is not preference and not isinstance(dialect, Named):
            check_label(value)
    place = next((place for place, checked in _CHECKED if own in checked), None)
    if hasattr(own, "paths") and (place or every or getattr(own, "EVERY", False)):
        found: list[Conversation] = own.paths(value)
    else:
        found = [own.normalize(value)]
    if place is not None and isinstance(value, dict):
        found = completed(value, found[0]) if place == TURNS else found
        check_left_out(value, found, place)
    return found if every or place is None else found[:1]


def check_named(values: Sequence[Any], dialect: Named, *, source: str) -> None:
    """Check that a dialect of the recipe fits one of the rows of a file, if another one fits some of them.
    Raises `SourceError`."""
    others = {_recognize(value) for value in values if not DIALECTS[dialect].recognize(value)}
    if len(values) and others - {None} and not any(map(DIALECTS[dialect].recognize, values)):
        other = recognize_file(values, source=source)
        raise SourceError(f"{source}: no row is of the dialect {dialect}; {_advice(other)}")


def _another(dialect: str, other: str) -> str:
    return f"the row is not of the dialect {dialect}, which the recipe names; {_advice(other)}"


def _advice(other: str) -> str:
    return f"it has the form of {other}: set dialect to {other}, or to auto"


def plain_turns(dialect: Form) -> PlainTurns | None:
    """How plain rows of a dialect are written; None where it does not say."""
    plain: PlainTurns | None = getattr(DIALECTS[dialect], "PLAIN", None) if isinstance(dialect, str) else None
    return plain


def shaped_row(value: Any, dialect: Form) -> ShapedRow | None:
    """Return the shape of a row, the texts of its slots and its id; None if it has no shape.

    With the id, `conversation_of` makes of them the one conversation that the row has after `join_calls`. A
    row has no shape if nothing can be learned from it, if it has several conversations, or something that is
    no slot, if calls were joined (this is counted), or if a message of the assistant says nothing.
    """
    plain = plain_turns(dialect)
    row = plain_row(value, plain) if plain is not None else None
    return _by_reading(value, dialect) if row is None else row


def shaped_rows(values: Iterable[Any], dialect: Form) -> ShapedRows:
    """Return the rows with a shape among rows as Python objects."""
    found = ShapedRows()
    for at, value in enumerate(values):
        row = shaped_row(value, dialect)
        if row is not None:
            found.add(at, row)
    return found


def _by_reading(value: Any, dialect: Form) -> ShapedRow | None:
    """What `shaped_row` returns, from the conversation that the dialect reads."""
    try:
        found = conversations(value, dialect, every=True)
        conversation, joined = join_calls(found[0])
    except RowError:
        return None
    answers = [message for message in conversation.messages if message.role == "assistant"]
    if len(found) > 1 or joined or not answers or not all(each.says_something for each in answers):
        return None
    shaped = shape_of(conversation)
    return None if shaped is None else (*shaped, conversation.id)


def _recognize(value: Any) -> str | None:
    """The first dialect that a row has the shape of."""
    known = ((name, each) for name, each in DIALECTS.items() if name not in NAMED_ONLY)
    return next((name for name, dialect in known if dialect.recognize(value)), None)


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
