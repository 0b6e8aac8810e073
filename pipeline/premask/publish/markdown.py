"""Text as Markdown, whatever is in it: tables, code, and text that is shown as it is.

Names of files, tokenizers and datasets come from anywhere. In a card they are code, or every character that
has a meaning in Markdown or HTML is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def as_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    r"""Return a Markdown table.

    >>> print(as_table(("a", "b"), [("1", "x|y")]))
    | a | b |
    |---|---|
    | 1 | x\|y |
    """
    lines = [head, *rows]
    text = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
    return "\n".join([text[0], "|" + "---|" * len(head), *text[1:]])


def as_code(text: str) -> str:
    """Return text as inline code, whatever is in it; other than printable characters are written out.

    >>> as_code("a`b")
    '`` a`b ``'
    """
    line = "".join(char if char.isprintable() else repr(char)[1:-1] for char in " ".join(text.split()))
    return f"`{line or ' '}`" if "`" not in line else f"{_fence(line, 2)} {line} {_fence(line, 2)}"


def as_plain(text: str) -> str:
    r"""Return text on one line as Markdown that shows it as it is.

    >>> print(as_plain("# <b>*1*</b>\n- [x](y)"))
    \# &lt;b&gt;\*1\*&lt;/b&gt; \- \[x\](y)
    """
    line = "".join(char if char.isprintable() else " " for char in " ".join(text.split()))
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = re.sub(r"[\\`*_\[\]#|~!$:@-]", r"\\\g<0>", line)
    return re.sub(r"^(\d+|)([.)+=])", r"\1\\\2", line)


def as_fenced(text: str, language: str) -> str:
    """Return text as a block of code."""
    fence = _fence(text, 3)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _fence(text: str, least: int) -> str:
    """Return more backticks in a row than there are anywhere in the text."""
    return "`" * max(least, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
