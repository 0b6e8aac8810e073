"""Texts as they must be to be printed, encoded or stored, and what values are called in messages.

kind           a value -> what it is called in JSON
visible        text -> the same with every unusual character written out, safe for a terminal
is_encodable   whether UTF-8 can hold a text
storable       text -> the same as Arrow can hold it
"""

from __future__ import annotations

from typing import Any

_KINDS = {dict: "object", list: "array", str: "string", bool: "boolean", int: "number", float: "number"}


def kind(value: Any) -> str:
    """Return what a value is called in JSON, or the name of its type if JSON has no such value.

    >>> kind([]), kind(True), kind(None)
    ('array', 'boolean', 'null')
    """
    return "null" if value is None else _KINDS.get(type(value), type(value).__name__)


def visible(text: str) -> str:
    """Return text in which every character that does not print is written out.

    >>> visible("a b\\x1b[31m\\n")
    'a b\\\\x1b[31m\\\\n'
    """
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def is_encodable(text: str) -> bool:
    """Whether UTF-8 can hold a text. It cannot hold half of a surrogate pair.

    >>> is_encodable("caf\\u00e9"), is_encodable("\\ud800")
    (True, False)
    """
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def storable(text: str) -> str:
    r"""Return text as Arrow can hold it: lone surrogates become escapes.

    >>> print(storable("caf\u00e9 \ud800"))
    café \ud800
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
