"""Foreign text made safe to print: what is no ordinary character is written out."""

from __future__ import annotations


def visible(text: str) -> str:
    """Text in which everything that is no ordinary character is written out.

    >>> visible("a b\\x1b[31m\\n")
    'a b\\\\x1b[31m\\\\n'
    """
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
