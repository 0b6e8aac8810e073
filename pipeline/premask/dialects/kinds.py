"""What values are called in JSON, for error texts.

>>> kind([]), kind(True), kind(None)
('array', 'boolean', 'null')
"""

from __future__ import annotations

from typing import Any

_KINDS = {dict: "object", list: "array", str: "string", bool: "boolean", int: "number", float: "number"}


def kind(value: Any) -> str:
    """What a value is called in JSON; the name of its type if JSON has no such value."""
    return "null" if value is None else _KINDS.get(type(value), type(value).__name__)
