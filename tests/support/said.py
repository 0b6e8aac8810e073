"""What the code says: the texts of its strings, for pages that quote them.

said("holds the output of another run")     # True
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import premask

PACKAGE = Path(premask.__file__).parent
HOLE = "\0"
"""The place of a value within a text."""


def _text(node: ast.expr) -> str:
    """A string of the code, with a hole for each value."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) if isinstance(part, ast.Constant) else HOLE for part in node.values)
    return HOLE


def _strings(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr) or (
            isinstance(node, ast.Constant) and isinstance(node.value, str)
        ):
            yield " ".join(_text(node).split())


@cache
def _read() -> dict[str, list[str]]:
    """All strings of the code under "", and those that calls of a name begin with under that name."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found[""] += _strings(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                found[node.func.id] += (text for each in node.args for text in _strings(each))
    return found


def raised(name: str) -> str:
    """The texts with which errors of a class are made, one a line."""
    return "\n".join(_read()[name])


@cache
def _all() -> str:
    return "\n".join(_read()[""])


def said(quote: str, texts: str | None = None) -> bool:
    """Whether the code, or some texts of it, have this text; `...` in it is any value.

    >>> said("holds the output of another run"), said("no such text")
    (True, False)
    """
    parts = [re.escape(part) for part in quote.split("...")]
    return re.search(r"[^\n]*?".join(parts), _all() if texts is None else texts) is not None
