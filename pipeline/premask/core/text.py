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


# ==== plaintext ====

# Foreign text made safe to print: what is no ordinary character is written out.


def visible(text: str) -> str:
    """Text in which everything that is no ordinary character is written out.

    >>> visible("a b\\x1b[31m\\n")
    'a b\\\\x1b[31m\\\\n'
    """
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def is_encodable(text: str) -> bool:
    """Whether UTF-8 can hold a text: not one with half of a surrogate pair."""
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def storable(text: str) -> str:
    r"""Return text as Arrow can hold it: lone surrogates, which are no Unicode text, become escapes.

    >>> print(storable("caf\u00e9 \ud800"))
    café \ud800
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
