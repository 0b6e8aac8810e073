"""Tokens and texts on the terminal, with what is trained marked.

Content of the data is shown as text and nothing else: control characters and terminal escapes in it are
written out (`\\x1b`), so that a hostile row cannot paint the screen. What is trained is never shown by colour
alone: in tables its label is not -100, in running text it is in [[ ]]. On a terminal it is bold and
underlined too, and green where colours are wanted (`NO_COLOR` is honoured).
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...core.contract import IGNORE_INDEX
from ...core.records import Sample
from ...core.text import visible

TRAINED = "bold underline green"
"""The style of what is trained; without colours it is still bold and underlined."""

TOKEN_CHARACTERS = 1000
"""Characters of one token that a table shows."""


def has_colours(console: Console) -> bool:
    """Whether text on a console has colours: it is a terminal, and nobody asked for none (`NO_COLOR`)."""
    return console.color_system is not None and not console.no_color


def is_wrapped(console: Console) -> bool:
    """Whether somebody looks at a console, so that lines are broken where it ends."""
    return console.file.isatty()


def say(console: Console, text: str, style: str = "") -> None:
    """Print one line, however wide the terminal is; what is no ordinary character is written out."""
    console.print(Text(visible(text), style=style), soft_wrap=True)


def lines(text: str) -> str:
    """Return text with its line breaks; what else is no ordinary character is written out."""
    return "\n".join(visible(line) for line in text.split("\n"))


def marked(text: str, *, trained: bool) -> Text:
    """Return text of one kind: in brackets if it is trained."""
    return Text(f"[[{text}]]", style=TRAINED) if trained else Text(text)


# ==== Token by token ====


def token_table(
    ids: Sequence[int],
    labels: Sequence[int],
    groups: Sequence[tuple[str, int]],
    origins: Sequence[str] | None = None,
) -> Table:
    """Return a table of tokens: index, id, token, label and, if known, origin.

    `groups` cut the tokens into texts of whole characters; where several tokens share one, each shows all of
    it and which part it is.
    """
    table = Table(box=None, padding=(0, 2))
    for column in ("index", "id", "token", "label"):
        table.add_column(column, justify="left" if column == "token" else "right", overflow="fold")
    if origins is not None:
        table.add_column("origin")
    index = 0
    for text, count in groups:
        for part in range(count):
            trained = labels[index] != IGNORE_INDEX
            of = f" ({part + 1} of {count})" if count > 1 else ""
            cells = [str(index), str(ids[index]), "", str(labels[index])]
            cells += [] if origins is None else [origins[index]]
            row = [Text(cell, style="bold green" if trained else "default") for cell in cells]
            row[2] = Text.assemble((_shortened(text), TRAINED if trained else "default"), of)
            table.add_row(*row)
            index += 1
    return table


def _shortened(text: str) -> str:
    """A token as a table shows it."""
    left_out = len(text) - TOKEN_CHARACTERS
    more = f" ... {left_out:,} more characters" if left_out > 0 else ""
    return visible(text[:TOKEN_CHARACTERS]) + more


# ==== As text ====


def with_turns(sample: Sample) -> Text:
    """Return the text of a sample with its trained turns in brackets."""
    text, at = Text(), 0
    for turn in sample.turns:
        text.append(lines(sample.text[at : turn.start]))
        text.append(marked(lines(sample.text[turn.start : turn.end]), trained=True))
        at = turn.end
    text.append(lines(sample.text[at:]))
    return text
