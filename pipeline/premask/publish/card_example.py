"""The example of a dataset card: a row as the model sees it, with what is trained of it.

It is a block of the language `diff`, which sites colour: lines that are trained begin with `+`. Nothing in it
can end the block or mean anything to Markdown, whatever the row holds.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

from ..core.text import visible
from .markdown import as_fenced

_WIDTH = 88


class Part(NamedTuple):
    """Text of a row that is trained or not; None for a note about text that is not shown."""

    text: str
    trained: bool | None


class ShownExample(NamedTuple):
    """A row, or a side of one with its name."""

    name: str
    parts: Sequence[Part]


_ABOUT = (
    "A row of the data as the model sees it, with all that the chat template prints. **Lines with `+` are "
    "trained**: the loss falls on them and on nothing else. Trained text begins on a line of its own, and "
    "long lines are wrapped."
)


def example_section(examples: Sequence[ShownExample]) -> list[str]:
    """Return the section of a card with its example, if there is one."""
    blocks = [
        (f"{each.name[0].upper()}{each.name[1:]}:\n\n" if each.name else "")
        + as_fenced("\n".join(example_lines(each.parts)), "diff")
        for each in examples
    ]
    return ["\n\n".join(["## An example", _ABOUT, *blocks])] if blocks else []


def example_lines(parts: Sequence[Part]) -> list[str]:
    """Return the lines of a row, those that are trained with a `+` before them.

    >>> example_lines([Part("user: Hi\\nbot: ", False), Part("Hello", True), Part("\\n", False)])
    ['  user: Hi', '  bot:', '+ Hello']
    """
    lines, is_open = list[str](), False
    for text, trained in parts:
        own = text.split("\n")
        if is_open and own[0] == "":  # it ends the line of the part before
            own = own[1:]
        is_open = not text.endswith("\n")
        own = own if is_open else own[:-1]
        sign = "+ " if trained else "  "
        lines += [f"{sign}{line}".rstrip() for each in own for line in _wrapped(each)]
    return lines


def _wrapped(line: str) -> list[str]:
    """Return a line in pieces that fit the card; what is not printable is written out.

    >>> _wrapped("a\\x1bb"), _wrapped("")
    (['a\\\\x1bb'], [''])
    """
    shown = "\t".join(map(visible, line.split("\t")))
    if len(shown) <= _WIDTH:
        return [shown]
    return textwrap.wrap(
        shown, _WIDTH, replace_whitespace=False, expand_tabs=False, break_on_hyphens=False
    ) or [shown]
