"""Rejected rows as a list that shows itself: by reason, with the first rows.

masked.rejects                              # 2 rejected rows: 1 no_assistant, ...
RejectedRows([{"reason": "no_assistant", "source": "data", "row": 3, "detail": "..."}])
"""

from __future__ import annotations

from typing import Any

from .markup import rejects_html
from .plain import rejects_text


class RejectedRows(list[dict[str, Any]]):
    """Lines of a reject log: dicts with `source`, `row`, `id`, `reason`, `detail` and `original`."""

    def __repr__(self) -> str:
        return rejects_text(self)

    __str__ = __repr__

    def _repr_html_(self) -> str:
        return rejects_html(self)
