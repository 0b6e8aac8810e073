"""Rows as the sides of preferences: a chosen and a rejected answer to one prompt, or one answer with a label.

    Sides("preference", pairs=True).read(row)       # [the chosen conversation, the rejected one]

This is how the layouts `preference` and `kto` read the rows that `preference.py` and `kto.py` know. For other
layouts the chosen answer alone is read. Each side is a conversation that begins with the prompt, of which
nothing is trained.

    >>> row = {"prompt": "1+1?", "chosen": "2", "rejected": "3"}
    >>> [(side.side, side.messages[1].content) for side in Sides("auto", pairs=True).read(row)]
    [(0, '2'), (1, '3')]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..core.errors import RowError
from ..core.records import Conversation
from ..core.text import kind
from . import kto, preference
from .row_marks import LABEL_KEYS


@dataclass(frozen=True)
class Sides:
    """How rows of preferences are read: as the dialect that the recipe names, `preference` or `kto`, else as
    the one that each row has. `pairs` is whether a row must have both sides."""

    dialect: str
    pairs: bool

    def read(self, value: Any) -> list[Conversation]:
        """Return the conversations of a row: the chosen side first, if there are both. Raises `RowError`."""
        if not isinstance(value, dict):
            raise RowError("not_an_object", f"the row is a JSON {kind(value)}, not an object")
        if preference.recognize(value) and self.dialect != "kto":
            return preference.sides(value)
        if self.pairs:
            raise RowError("one_side", "the row has no pair of a chosen and a rejected answer")
        if kto.has_side(value) and self.dialect != "preference":
            return kto.sides(value)
        detail = f"a {' or '.join(LABEL_KEYS)} beside its answer that is true or false"
        raise RowError("one_side", f"the row has neither a pair of answers nor {detail}")
