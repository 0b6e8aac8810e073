"""Plain rows as columns: the roles, texts and ids of the rows of a batch that hold nothing else.

    >>> rows = PlainRows()
    >>> rows.add(3, (b"\\x02\\x03", ["Hi", "Hello"], "a"))
    >>> rows
    PlainRows(index=[3], roles=[b'\\x02\\x03'], texts=[['Hi', 'Hello']], ids=['a'])

Cost: one list a row; tuples of rows would double the work of the garbage collector.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ..dialects.plain import PlainRow, PlainTurns, plain_row


@dataclass(frozen=True, slots=True)
class PlainRows:
    """The plain rows of a batch, one item each.

    index  which rows of the batch they are, ascending
    roles  a byte a message, index into `contracts.ROLES`
    texts  the content of each message
    ids    what `row_id` gives
    """

    index: list[int] = field(default_factory=list)
    roles: list[bytes] = field(default_factory=list)
    texts: list[list[str]] = field(default_factory=list)
    ids: list[str | None] = field(default_factory=list)

    def add(self, at: int, row: PlainRow) -> None:
        """Append row `at` of the batch."""
        roles, texts, id_ = row
        self.index.append(at)
        self.roles.append(roles)
        self.texts.append(texts)
        self.ids.append(id_)


def plain_rows_of(values: Iterable[Any], plain: PlainTurns) -> PlainRows:
    """The plain rows among rows as Python objects."""
    found = PlainRows()
    for at, value in enumerate(values):
        row = plain_row(value, plain)
        if row is not None:
            found.add(at, row)
    return found
