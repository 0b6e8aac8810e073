"""What is shown -> text for a terminal: with colours, or with trained text in [[ ]].

    text_of(cards, colour=is_coloured())

Control characters and terminal escapes of the data are written out, so that it cannot paint the screen.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from ...core.contract import REASONS
from ...core.display import percent
from ...core.text import visible
from .markup import EXAMPLES, by_reason, keys_of
from .view import Card, Gap, Turn, View

_TRAINED, _QUIET, _WRONG, _BOLD, _END = "\x1b[1;4;32m", "\x1b[2m", "\x1b[1;31m", "\x1b[1m", "\x1b[0m"
_ROLES: Mapping[str, str] = {
    "system": "\x1b[1;35m",
    "developer": "\x1b[1;35m",
    "user": "\x1b[1;33m",
    "assistant": "\x1b[1;34m",
    "tool": "\x1b[1;36m",
    "tools": "\x1b[1;36m",
}
_CELL = 200  # characters of a value of a rejected row


def is_coloured() -> bool:
    """Whether standard output is a terminal, and `NO_COLOR` is not set."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and sys.stdout.isatty()


def text_of(cards: Sequence[Card], *, colour: bool = False) -> str:
    """Return cards as text; with `colour`, trained text is bold, underlined and green instead of in [[ ]]."""
    lines = list[str]()
    for card in cards:
        lines += [*_card(card, colour=colour), ""]
    return "\n".join([*lines, _legend(cards, colour=colour) if cards else "There are no samples."])


def rejects_text(lines: Sequence[Mapping[str, Any]]) -> str:
    """Return rejected rows as text: the reasons with their counts, and the first rows."""
    found = [f"{len(lines):,} rejected row{'' if len(lines) == 1 else 's'}"]
    for reason, count in by_reason(lines):
        found.append(f"  {count:,} {visible(reason)}: {REASONS.get(reason, '')}")
    for line in lines[:EXAMPLES]:
        place = f"{line.get('source', '')} row {line.get('row')}"
        name = "" if line.get("id") is None else f" ({str(line['id'])[:_CELL]})"
        detail = str(line.get("detail", ""))[:_CELL]
        found.append(f"{visible(place)}{visible(name)}: {visible(line['reason'])}: {visible(detail)}")
    if len(lines) > EXAMPLES:
        found.append(f"... {len(lines) - EXAMPLES:,} more")
    return "\n".join(found)


def _card(card: Card, *, colour: bool) -> list[str]:
    several = len(card.samples) + card.more > 1 or any(view.name for view in card.samples)
    count = f"{len(card.samples) + card.more:,} samples" if several else _counts(card.samples[0])
    facts = ", ".join(map(visible, card.facts))
    lines = [f"{_paint(visible(card.title), _BOLD, colour=colour)}  {facts}{'; ' if facts else ''}{count}"]
    lines += [f"note: {visible(note)}" for note in card.notes]
    for view in card.samples:
        lines += [f"{visible(view.name)}  {_counts(view)}"] if view.name else []
        lines += [line for block in view.blocks for line in _block(block, colour=colour)]
    return lines + ([f"... {card.more:,} more samples ..."] if card.more else [])


def _counts(view: View) -> str:
    share = f" ({percent(view.trained, view.tokens)})" if view.tokens else ""
    return f"{view.tokens:,} tokens, {view.trained:,} trained{share}"


def _block(block: Turn | Gap, *, colour: bool) -> list[str]:
    if isinstance(block, Gap):
        what = "padding tokens" if block.padding else f"tokens not shown, {block.trained:,} of them trained"
        return [_paint(f"  ... {block.tokens:,} {what} ...", _QUIET, colour=colour)]
    head = [_paint(block.role, _ROLES.get(block.role, _BOLD), colour=colour)] if block.role else []
    text = "".join(_text(block, colour=colour)).rstrip("\n")
    return [*head, *(f"  {line}" for line in text.split("\n"))]


def _text(turn: Turn, *, colour: bool) -> Iterable[str]:
    for (trained, weight, wrong), same in groupby(
        turn.pieces, key=lambda each: (each.trained, each.weight, each.label is not None)
    ):
        pieces = list(same)
        if not trained:
            for template, run in groupby(pieces, key=lambda each: each.template):
                text = "".join(piece.text for piece in run)
                yield _paint(text, _QUIET, colour=colour and template)
            continue
        text = "".join(piece.text for piece in pieces)
        before = f"(weight {weight:g})" if weight != 1 else ""
        before += f"(label {pieces[0].label})" if wrong else ""
        style = _WRONG if wrong else _TRAINED
        yield before + _paint(text, style, colour=True) if colour else f"[[{before}{text}]]"


def _paint(text: str, style: str, *, colour: bool) -> str:
    """Return text in a style that holds for each of its lines."""
    return "\n".join(f"{style}{line}{_END}" if line else "" for line in text.split("\n")) if colour else text


def _legend(cards: Sequence[Card], *, colour: bool) -> str:
    keys = keys_of(cards)
    trained = _paint("like this", _TRAINED, colour=True) if colour else "in [[ ]]"
    guessed = " Roles are as the markers of the template say." if keys.guessed else ""
    return f"Trained text is {trained}.{guessed}"
