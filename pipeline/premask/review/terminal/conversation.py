"""Conversations on the terminal as one reads them: who wrote what, and what is trained.

    shown = Conversations(console)
    shown.print(groups, labels, origins, "inference")
    shown.print_legend()

Each message has the name of its writer beside it, where the writers are known. On a terminal with colours,
trained text is tinted and writers have colours. Elsewhere trained text is in [[ ]]. A line of the text is one
line wherever nobody looks at a terminal, however long it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...core.contract import IGNORE_INDEX
from ...core.display import percent, writer_of
from ...core.text import visible
from ...publish.mask_counts import PROOF_WORDS
from .tokens import has_colours, is_wrapped

WRITER_STYLES = {
    "template": "dim",
    "system": "magenta",
    "developer": "magenta",
    "user": "cyan",
    "assistant": "green",
    "tool": "yellow",
    "tools": "yellow",
}
"""Writer -> the style of its text where it is not trained; others have none."""

TINT = "color(16) on color(151)"
"""The style of trained text where there are colours: black on a pale green, on light and dark terminals."""

NAME_COLUMNS = 14
"""Columns of the name of a message, at most."""


class Part(NamedTuple):
    """Consecutive text of one origin, trained or not. The origin is empty if it is not known."""

    text: str
    origin: str
    trained: bool


class Line(NamedTuple):
    """A line as it is shown: the message that begins in it, if any, and its parts. `cut` says that the line
    before ends within a line of the text, because another message begins."""

    name: str
    parts: tuple[Part, ...]
    cut: bool = False


class Conversations:
    """Samples that are printed one after another, and the legend of what was seen in them."""

    def __init__(self, console: Console) -> None:
        self._console, self.count = console, 0
        self._writers, self._proofs = dict[str, None](), dict[str, None]()
        self._cut = False

    def print(
        self,
        groups: Sequence[tuple[str, int]],
        labels: Sequence[int],
        origins: Sequence[str] | None = None,
        proof: str | None = None,
    ) -> None:
        """Print the text of a sample of t tokens.

        `groups` cut the tokens into texts of whole characters (text, number of tokens). `labels` are t ids,
        and `origins` the origins of the t tokens, such as `user:0`, if they are known. `proof` is one of
        `PROOFS`.
        """
        self.count += 1
        colours = has_colours(self._console)
        shown = [*lines_of([*_marked([*_parts(groups, labels, origins)], brackets=not colours)])]
        self._seen(shown, proof)
        width = min(NAME_COLUMNS, max((len(line.name) for line in shown), default=0))
        texts = [(_name(line, width), _text(line)) for line in shown]
        if width and is_wrapped(self._console):
            self._console.print(_side_by_side(texts, width))
            return
        for name, text in texts:
            self._console.print(name + text, soft_wrap=not is_wrapped(self._console))

    def print_legend(self) -> None:
        """Print what colours, brackets and proofs mean, of those that were seen."""
        colours = has_colours(self._console)
        legend = Text("trained text is ").append(*(("tinted", TINT) if colours else ("in [[ ]]",)))
        if self._writers and colours:
            names = (Text(name, _style(name)) for name in self._writers)
            legend.append("; written by ").append(Text(", ").join(names))
        if self._cut:
            legend.append("; a message after + begins within a line of the text")
        for proof in self._proofs:
            legend.append(f"; proof {proof}: {PROOF_WORDS[proof]}")
        self._console.print(legend, soft_wrap=not is_wrapped(self._console))

    def _seen(self, shown: Sequence[Line], proof: str | None) -> None:
        parts = [part for line in shown for part in line.parts if part.origin]
        self._writers |= dict.fromkeys(writer_of(part.origin) for part in parts)
        self._proofs |= dict.fromkeys([proof] if proof is not None else [])
        self._cut |= any(line.cut for line in shown)


def facts(labels: Sequence[int], proof: str | None = None) -> str:
    """Return the facts of a sample in one line.

    >>> facts([-100, -100, 5, 6], "inference")
    '4 tokens, 2 trained (50.0%), prompt 2, proof inference'
    """
    trained = [i for i, label in enumerate(labels) if label != IGNORE_INDEX]
    found = f"{len(labels):,} tokens, {len(trained):,} trained ({percent(len(trained), len(labels))})"
    found += f", prompt {trained[0]:,}" if trained else ""
    return found + (f", proof {proof}" if proof is not None else "")


def lines_of(parts: Sequence[Part]) -> Iterator[Line]:
    """Cut parts into lines: at the line breaks of the text, and where a second message begins in a line.

    What the template prints before a message is shown with it.

    >>> [line.name for line in lines_of([Part("<s>[INST] ", "template", False), Part("Hi", "user:0", False)])]
    ['user:0']
    """
    last, cut, own = "", False, list[Part]()
    for part, ends in _pieces(parts):
        name = _message(part)
        if name and (here := _message_of(own)) and here != name:
            before = _of_template(own)
            yield Line(_new(here, last), tuple(own[:before]), cut)
            last, cut, own = here, True, own[before:]
        own.append(part)
        if ends:
            here = _message_of(own)
            yield Line(_new(here, last), tuple(own), cut)
            last, cut, own = here or last, False, []
    if own:
        yield Line(_new(_message_of(own), last), tuple(own), cut)


def _pieces(parts: Sequence[Part]) -> Iterator[tuple[Part, bool]]:
    """Yield parts without line breaks, and whether a line ends with each."""
    for text, origin, trained in parts:
        *ended, rest = text.split("\n")
        for each in ended:
            yield Part(each, origin, trained), True
        if rest:
            yield Part(rest, origin, trained), False


def _marked(parts: Sequence[Part], *, brackets: bool) -> Iterator[Part]:
    """Yield parts of which the trained ones are in brackets, if these are wanted. A line break that ends
    trained text is written out, because nobody would see that it is trained."""
    for part in parts:
        if not part.trained:
            yield part
            continue
        ended = part.text.endswith("\n")
        text = f"{part.text[:-1]}\\n" if ended else part.text
        yield part._replace(text=f"[[{text}]]" if brackets else text)
        if ended:
            yield Part("\n", part.origin, trained=False)


def _parts(
    groups: Sequence[tuple[str, int]], labels: Sequence[int], origins: Sequence[str] | None
) -> Iterator[Part]:
    """Yield the text of tokens. A character is trained if one of its tokens is. What the template prints of
    trained text belongs to the message that is trained."""
    at, found = 0, list[Part]()
    for text, count in groups:
        trained = any(label != IGNORE_INDEX for label in labels[at : at + count])
        found.append(Part(text, origins[at] if origins is not None and count else "", trained))
        at += count
    for trained, same in groupby(found, key=lambda part: part.trained):
        run = [*same]
        if trained:
            yield Part("".join(part.text for part in run), _message_of(run) or run[0].origin, trained)
            continue
        for origin, parts in groupby(run, key=lambda part: part.origin):
            yield Part("".join(part.text for part in parts), origin, trained)


def _message(part: Part) -> str:
    return "" if part.origin == "template" else part.origin


def _message_of(parts: Sequence[Part]) -> str:
    return next((name for part in parts if (name := _message(part))), "")


def _of_template(parts: Sequence[Part]) -> int:
    """Return where the text begins that the template prints before the message that follows."""
    before = len(parts)
    while before and parts[before - 1].origin == "template" and not parts[before - 1].trained:
        before -= 1
    return before


def _new(name: str, last: str) -> str:
    return "" if name == last else name


def _text(line: Line) -> Text:
    found = Text()
    for part in line.parts:
        found.append(visible(part.text), _style_of(part))
    return found


def _style_of(part: Part) -> str:
    return TINT if part.trained else _style(writer_of(part.origin)) if part.origin else ""


def _style(writer: str) -> str:
    return WRITER_STYLES.get(writer, "")


def _name(line: Line, width: int) -> Text:
    """Return what is beside a line: the name of its message, and a sign if the line before is cut."""
    if not width:
        return Text()
    style = f"bold {_style(writer_of(line.name))}" if line.name else "dim"
    name = Text().append(visible(line.name)[:width].ljust(width), style)
    return name.append(" + " if line.cut else " | ", "dim")


def _side_by_side(texts: Sequence[tuple[Text, Text]], width: int) -> Table:
    """Return lines beside their names, for a terminal: what does not fit continues below itself."""
    table = Table.grid()
    table.add_column(width=width + 3, no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in texts:
        table.add_row(name, text)
    return table
