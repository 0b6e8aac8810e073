"""Conversations on the terminal: token by token or as text, with what is trained marked.

Content of the data is shown as text and nothing else: control characters and terminal escapes in it are
written out (`\\x1b`), so that a hostile row cannot paint the screen. What is trained is never shown by colour
alone: in tables its label is not -100, in running text it is in [[ ]]. On a terminal it is bold and
underlined too, and green where colours are wanted (`NO_COLOR` is honoured).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..core.contract import IGNORE_INDEX
from ..core.records import SIDE_NAMES, Sample
from ..core.text import visible
from ..tokens.token_text import TokenTexts, groups_of

if TYPE_CHECKING:  # loaded by the commands that read outputs
    from ..output.read_samples import SampleBatch

TRAINED = "bold underline green"
"""The style of what is trained; without colours it is still bold and underlined."""

TOKEN_CHARACTERS = 1000
"""Characters of one token that a table shows."""


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


def print_explained(console: Console, explained: Mapping[str, Any], *, source: str) -> None:
    """Print one explained row (`explain.explain_row`) as a table of its tokens."""
    name = f"{source} row {explained['row']}" + (f" (id {explained['id']})" if explained["id"] else "")
    if explained["status"] == "rejected":
        say(console, f"{name}: rejected, {explained['reason']}: {explained['detail']}", "red")
        return
    samples = explained["samples"]
    for number, sample in enumerate(samples):
        tokens = sample["tokens"]
        trained = sum(label != IGNORE_INDEX for label in tokens["label"])
        counts = f"{len(tokens['label'])} tokens, {trained} trained"
        if seams := sample["seam_tokens"]:
            counts += f", {seams} edges of completions inside a token of the whole text"
        part = f", {sample['side']}" if "side" in sample else _part(number, samples)
        say(console, f"{name}{part}: {counts}")
        groups = groups_of(sample["text"], tokens["start"], tokens["end"])
        console.print(token_table(tokens["id"], tokens["label"], groups, tokens["origin"]))


def _part(number: int, samples: Sequence[Any]) -> str:
    """Which sample of its row one is, if there are several."""
    return f", sample {number + 1} of {len(samples)}" if len(samples) > 1 else ""


# ==== As running text ====


def print_sample(  # noqa: PLR0913  two by keyword
    console: Console, pack: SampleBatch, i: int, texts: TokenTexts, *, tokens: bool, sides: bool = False
) -> None:
    """Print sample i of a row of an output: its text with what is trained in [[ ]], or a table of tokens.
    `sides` is whether samples are those of preferences."""
    (origin,) = pack.origin.slice(i, 1).to_pylist()
    note = "" if tokens else "; trained text is in [[ ]]"
    name = f"sample {i}, {SIDE_NAMES[origin['sample']]}" if sides else f"sample {i}"
    console.print()
    say(console, f"{name}: {origin['source']} row {origin['row']}{note}", "bold")
    ids, labels = (column.tolist() for column in pack.tokens(i))
    groups = texts.groups(ids)
    console.print(token_table(ids, labels, groups) if tokens else _running(groups, labels))


def _running(groups: Sequence[tuple[str, int]], labels: Sequence[int]) -> Text:
    """Tokens as running text. A character is trained if one of its tokens is."""
    shown, at, flagged = Text(), 0, list[tuple[str, bool]]()
    for text, count in groups:
        flagged.append((text, any(label != IGNORE_INDEX for label in labels[at : at + count])))
        at += count
    for trained, run in groupby(flagged, key=lambda group: group[1]):
        shown.append(marked(lines("".join(text for text, _ in run)), trained=trained))
    return shown


def with_turns(sample: Sample) -> Text:
    """Return the text of a sample with its trained turns in brackets."""
    text, at = Text(), 0
    for turn in sample.turns:
        text.append(lines(sample.text[at : turn.start]))
        text.append(marked(lines(sample.text[turn.start : turn.end]), trained=True))
        at = turn.end
    text.append(lines(sample.text[at:]))
    return text
