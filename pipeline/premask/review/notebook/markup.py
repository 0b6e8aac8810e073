"""Cards -> HTML for a notebook, or ANSI text for a terminal.

    card = sample_card("row 3", groups, labels, writers)
    html_of([card], legend=LEGEND), text_of([card], legend=LEGEND)

A card is a sample with its trained text, or a rejected row. Content of the data is shown as text and nothing
else: Jinja escapes it, and control characters are written out. The page needs no script and asks for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path

from markupsafe import Markup

from ...core.contract import IGNORE_INDEX
from ...core.display import SHOWN_WRITERS
from ...core.text import visible
from ...publish.drawing import style_sheet, templates_in

FOLDER = Path(__file__).parent
LEGEND = "Trained text is underlined."
MOST_CHARACTERS = 20_000
"""Characters of a sample that are shown."""


@dataclass(frozen=True)
class Run:
    """Consecutive text of one writer, trained or not. The writer `plain` is one that is not known."""

    text: str
    writer: str
    trained: bool


@dataclass(frozen=True)
class Card:
    """What is shown of a sample or a rejected row: a title, a note beside it, text, and a line below."""

    title: str
    note: str = ""
    runs: tuple[Run, ...] = ()
    more: str = ""


def sample_card(
    title: str,
    groups: Sequence[tuple[str, int]],
    labels: Sequence[int],
    writers: Sequence[str] | None = None,
) -> Card:
    """Return the card of a sample of t tokens.

    `groups` cut the tokens into texts of whole characters (text, number of tokens), `labels` are t ids, and
    `writers` the t writers, if they are known. A character is trained if one of its tokens is.
    """
    trained = sum(label != IGNORE_INDEX for label in labels)
    note = f"{len(labels):,} tokens, {trained:,} trained"
    runs, left = list[Run](), MOST_CHARACTERS
    for run in _runs(groups, labels, writers):
        if left <= 0:
            break
        runs.append(Run(run.text[:left], run.writer, run.trained))
        left -= len(run.text)
    size = sum(len(text) for text, _ in groups)
    more = f"{size - MOST_CHARACTERS:,} more characters" if size > MOST_CHARACTERS else ""
    return Card(title, note, tuple(runs), more)


def _runs(
    groups: Sequence[tuple[str, int]], labels: Sequence[int], writers: Sequence[str] | None
) -> Iterator[Run]:
    at, found = 0, list[tuple[str, str, bool]]()
    for text, count in groups:
        trained = any(label != IGNORE_INDEX for label in labels[at : at + count])
        found.append((text, _writer(writers[at]) if writers is not None and count else "plain", trained))
        at += count
    for (writer, trained), same in groupby(found, key=lambda each: each[1:]):
        yield Run("".join(text for text, _, _ in same), writer, trained)


def _writer(origin: str) -> str:
    """Return the writer of an origin such as `user:0`."""
    name = origin.partition(":")[0]
    return name if name in SHOWN_WRITERS else "other"


def html_of(cards: Iterable[Card], *, legend: str = LEGEND) -> str:
    """Return cards as one HTML element."""
    template = templates_in(FOLDER).get_template("notebook.html.jinja")
    return template.render(cards=list(cards), legend=legend, style=Markup(_style()))  # noqa: S704  ours


def text_of(cards: Iterable[Card], *, legend: str = "Trained text is in [[ ]].", colour: bool = False) -> str:
    """Return cards as text; with `colour`, trained text is also bold, underlined and green."""
    lines = list[str]()
    for card in cards:
        lines.append(f"{visible(card.title)}  {card.note}".rstrip())
        same = [
            (trained, "".join(run.text for run in runs)) for trained, runs in groupby(card.runs, _is_trained)
        ]
        lines += [
            "".join(_marked(text, colour=colour) if trained else _lines(text) for trained, text in same)
        ]
        lines += [visible(card.more)] if card.more else []
        lines.append("")
    return "\n".join([*lines, legend])


def _is_trained(run: Run) -> bool:
    return run.trained


def _marked(text: str, *, colour: bool) -> str:
    return f"\x1b[1;4;32m[[{_lines(text)}]]\x1b[0m" if colour else f"[[{_lines(text)}]]"


def _lines(text: str) -> str:
    """Return text with its line breaks; what else is no ordinary character is written out."""
    return "\n".join(visible(line) for line in text.split("\n"))


@cache
def _style() -> str:
    """Return the style of a notebook's cards: the colours of the report, in light and in dark themes."""
    light, _, dark = style_sheet().partition("@media (prefers-color-scheme: dark)")
    found = [re.search(r":root\s*\{([^}]*)\}", part) for part in (light, dark)]
    of_light, of_dark = (each[1] if each else "" for each in found)
    themes = {
        "light": ("[data-jp-theme-light=true]", ".vscode-light"),
        "dark": ("[data-jp-theme-light=false]", ".vscode-dark"),
    }
    rules = [f".premask {{{of_light}}}", f"@media (prefers-color-scheme: dark) {{ .premask {{{of_dark}}} }}"]
    for name, colours in (("light", of_light), ("dark", of_dark)):
        rules.append(f"{', '.join(f'{where} .premask' for where in themes[name])} {{{colours}}}")
    return "\n".join([*rules, (FOLDER / "notebook.css").read_text(encoding="utf-8")])
