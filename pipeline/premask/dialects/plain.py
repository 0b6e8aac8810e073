"""Plain rows: turns with a known role and a text each, and nothing else that counts. Most rows are.

    PlainTurns     what a dialect says of its plain rows, one constant `PLAIN` in its module
    plain_row      any row -> its shape, texts and id, or None where it is not surely plain

Such a row needs no Conversation: `normalize` would give messages of a role and a content, an id and nothing
more. Not plain is always a right answer, only a slow one, so whatever is seldom is left to `normalize`. A row
with reasoning, calls or tools is not plain, but has a shape as well (`shaped.py`).

    >>> turns = PlainTurns(["messages"], [("role", "content")], {"user": "user", "model": "assistant"})
    >>> row = {"id": 7, "messages": [{"role": " User", "content": "Hi"}, {"role": "model", "content": "Ho"}]}
    >>> plain_row(row, turns)
    (RowShape(...), ['Hi', 'Ho'], '7')

Cost: 1.5 us a turn, an eighth of `normalize`. `fast/` finds the same rows in whole batches, without a Python
object for each turn; this is its readable twin, and reads what it leaves over.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

from ..core.errors import RowError
from ..core.records import ROLES
from ..core.shapes import RowShape, message_shape, plain_shape
from ..core.strict_json import parse_json
from ..core.text import is_encodable
from .beside import holds_text
from .common import MEDIA_KEYS, SYSTEM_KEYS, TEMPLATE_KEYS, TOOL_CONFIG, TOOL_KEYS, row_id
from .row_marks import (
    LABEL_KEYS,
    LIST_KEYS,
    METADATA_KEY,
    METADATA_LIST,
    ROW_WEIGHT_KEYS,
    WEIGHT_LIST_KEYS,
)
from .shaped import ShapedRow
from .turns import CALL_KEYS, read_role

NO_MEDIA: tuple[Any, ...] = (None, "", [], {})
"""Values of a media field that refer to nothing."""

NO_JSON: tuple[Any, ...] = (*NO_MEDIA, "[]", "{}", "null")
"""Values of a field that may be JSON within a string (tools, tool calls) and holds nothing."""

NO_WEIGHT: tuple[Any, ...] = (None, 1)
"""Values of a row's weight that say nothing."""

NO_LABEL: tuple[Any, ...] = (None,)
"""Values of a row's label in a plain row; any other may say that the answer is not a good one."""

EMPTY: Mapping[str, tuple[Any, ...]] = {
    **dict.fromkeys((*MEDIA_KEYS, *SYSTEM_KEYS[1:]), NO_MEDIA),
    **dict.fromkeys((*TOOL_KEYS, TOOL_CONFIG, *TEMPLATE_KEYS, *LIST_KEYS, *WEIGHT_LIST_KEYS), NO_JSON),
    **dict.fromkeys(ROW_WEIGHT_KEYS, NO_WEIGHT),
    **dict.fromkeys(LABEL_KEYS, NO_LABEL),
}
"""Fields beside the turns that every dialect looks at -> their values in a plain row."""


@lru_cache(maxsize=4096)
def empty_values(key: str) -> tuple[Any, ...] | None:
    """The values that a field beside the turns has in a plain row; None for a field that may have any.

    >>> empty_values("images"), empty_values("response"), empty_values("source")
    ((None, '', [], {}), (None, '', [], {}), None)
    """
    return EMPTY.get(key, NO_MEDIA if holds_text(key) else None)


ASSISTANT = ROLES.index("assistant")


@dataclass(frozen=True, eq=False)
class PlainTurns:
    """How the turns of a dialect are written where nothing is unusual.

    keys       fields of a row that may hold the turns; one of them does, the others are null
    pairs      keys of role and text; all turns of a row have the same pair, and no key of another pair
    roles      spelling -> role, as `read_role` takes them
    others     keys of a turn that mean something beside them, so that they must be null; None: every key does
    system     field of a row whose text goes before the turns, unless there is a system text among them
    call_roles  roles of turns that are no plain ones: their text is the JSON of tool calls
    """

    keys: Sequence[str]
    pairs: Sequence[tuple[str, str]]
    roles: Mapping[str, str]
    others: Collection[str] | None = None
    system: str | None = None
    call_roles: Collection[str] = ()

    @cached_property
    def spellings(self) -> frozenset[str]:
        """All keys that any pair has."""
        return frozenset(key for pair in self.pairs for key in pair)

    def code(self, written: str) -> int | None:
        """Index of a role in `records.ROLES`; None for one that is not known."""
        try:
            return ROLES.index(read_role(0, written, self.roles))
        except RowError:
            return None

    def counts(self, key: str) -> bool:
        """Whether a key of a turn, other than those of its pair, means something where it is not null."""
        return self.others is None or key in self.others or key in self.spellings


class Roles(NamedTuple):
    """The roles of a row: its shape, and which messages are the assistant's."""

    shape: RowShape
    answers: tuple[int, ...]


@lru_cache(maxsize=4096)
def read_roles(plain: PlainTurns, written: tuple[str, ...]) -> Roles | None:
    """The roles of a row as they are written; None when one is unknown or none is the assistant's."""
    codes = [code for each in written if (code := plain.code(each)) is not None]
    answers = tuple(i for i, code in enumerate(codes) if code == ASSISTANT)
    if not answers or len(codes) != len(written):
        return None
    return Roles(plain_shape(tuple(ROLES[code] for code in codes)), answers)


def plain_row(value: Any, plain: PlainTurns) -> ShapedRow | None:
    """The roles, texts and id of a row, or None when it is not surely plain."""
    turns = _bare_turns(value, plain)
    pair = pair_of(turns[0], plain) if turns else None
    if not turns or pair is None:
        return None
    for turn in turns:
        if not _is_plain(turn, pair, plain):
            return None
    roles = read_roles(plain, tuple([turn[pair[0]] for turn in turns]))
    texts = [turn[pair[1]] for turn in turns]
    if roles is None or has_blank(texts, roles.answers) or not all(map(is_encodable, texts)):
        return None
    system = value.get(plain.system) if plain.system else None
    if system is not None and not (isinstance(system, str) and is_encodable(system)):
        return None
    return *with_system(system, roles.shape, texts), row_id(value)


def has_blank(texts: Sequence[str], answers: Sequence[int]) -> bool:
    """Whether an assistant turn has no text but white space."""
    for i in answers:  # noqa: SIM110  # a generator would take twice as long
        if not texts[i] or texts[i].isspace():
            return True
    return False


def with_system(system: str | None, shape: RowShape, texts: list[str]) -> tuple[RowShape, list[str]]:
    """Put the system text that is beside the turns before them, unless there is one among them."""
    if not system or system.isspace():
        return shape, texts
    behind = _behind_system(shape)
    return (shape, texts) if behind is None else (behind, [system, *texts])


@lru_cache(maxsize=4096)
def _behind_system(shape: RowShape) -> RowShape | None:
    """The shape with a system message before the others; None if it has one."""
    if any(message.role == "system" for message in shape.messages):
        return None
    return shape._replace(messages=(message_shape("system"), *shape.messages))


def _bare_turns(value: Any, plain: PlainTurns) -> list[Any] | None:
    """The turns of a row that holds nothing beside them that counts, whatever they are; None of another."""
    if not isinstance(value, dict):
        return None
    held = [field for key in plain.keys if (field := value.get(key)) is not None]
    if len(held) != 1 or not all(
        _is_empty(key, field) for key, field in value.items() if key not in plain.keys
    ):
        return None
    if METADATA_KEY in value and may_mark(value[METADATA_KEY]):
        return None
    (turns,) = held
    if isinstance(turns, str):
        try:
            turns = parse_json(turns)
        except ValueError:
            return None
    return turns if isinstance(turns, list) else None


def _is_empty(key: str, field: Any) -> bool:
    """Whether a field of a row is none that counts beside the turns, or holds nothing."""
    empty = empty_values(key)
    return empty is None or field in empty


def may_mark(metadata: Any) -> bool:
    """Whether the metadata of a row may hold marks of its turns."""
    return METADATA_LIST in metadata if isinstance(metadata, (dict, str)) else False


def pair_of(turn: Any, plain: PlainTurns) -> tuple[str, str] | None:
    """The keys under which a turn has its role and its text."""
    if isinstance(turn, dict):
        for role, text in plain.pairs:
            if turn.get(role) is not None and turn.get(text) is not None:
                return role, text
    return None


def _is_plain(turn: Any, pair: tuple[str, str], plain: PlainTurns) -> bool:
    """Whether a turn has a role and a text and nothing else that counts."""
    role, text = pair
    if not isinstance(turn, dict) or not (
        isinstance(turn.get(role), str) and isinstance(turn.get(text), str)
    ):
        return False
    others = () if len(turn) == 2 else turn.keys() - pair
    return not any(
        plain.counts(key) and turn[key] not in (NO_JSON if key in CALL_KEYS else (None,)) for key in others
    )
