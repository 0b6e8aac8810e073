"""What is shown -> HTML for a notebook: samples, rejected rows, the counts of a run.

    html_of(cards)
    rejects_html(lines)
    summary_html(manifest.as_dict())

Content of the data is shown as text and nothing else: Jinja escapes it, and control characters are written
out. The HTML needs no script, asks for nothing, and has no ids, so that it can be shown many times on a page.
Without its style, as on sites that remove it, trained text is still marked (`<mark>`).

Size: 50 bytes a token for the first tokens, which have their id and label under the pointer, else 10. Fifty
samples of 500 tokens take 0.3 MB, 1 MB if all turns have five tokens, and hostile ones less than 2.5 MB.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from ...core.contract import REASONS
from ...core.display import SHOWN_WRITERS, percent
from ...publish.drawing import style_sheet, templates_in
from .view import Card, Gap, Piece, Turn

FOLDER = Path(__file__).parent
POINTED = 4_000
"""Tokens of an element that have their id and label under the pointer."""
OPEN = 5
"""Samples that are open at first; the others open on a click."""
EXAMPLES = 10
"""Rejected rows that are shown."""
CELL_CHARACTERS = 300
"""Characters of a cell of a table."""

_DARK = (
    *('[data-jp-theme-light="false"]', ".vscode-dark", ".vscode-high-contrast", 'html[theme="dark"]'),
    *('[data-theme="dark"]', '[data-md-color-scheme="slate"]'),
)
_LIGHT = (
    *('[data-jp-theme-light="true"]', ".vscode-light", ".vscode-high-contrast-light", 'html[theme="light"]'),
    *('[data-theme="light"]', '[data-md-color-scheme="default"]'),
)
"""What JupyterLab, VSCode, Colab, Sphinx and MkDocs write where the theme is dark, or light."""


def html_of(cards: Sequence[Card], *, more: str = "") -> str:
    """Return cards as one HTML element; `more` is a sentence below them."""
    return str(parts().samples(style(), cards, keys_of(cards), more, Budget()))


def rejects_html(lines: Sequence[Mapping[str, Any]]) -> str:
    """Return rejected rows as one HTML element: the reasons with their counts, and the first rows."""
    reasons = [(reason, f"{count:,}", REASONS.get(reason, "")) for reason, count in by_reason(lines)]
    columns = [name for name in REJECT_COLUMNS if any(line.get(name) is not None for line in lines)]
    rows = [[_cell(line.get(name)) for name in columns] for line in lines[:EXAMPLES]]
    return str(parts().rejects(style(), len(lines), reasons, columns, rows))


REJECT_COLUMNS = ("split", "source", "row", "id", "reason", "detail")
"""What is shown of a rejected row."""


def by_reason(lines: Iterable[Mapping[str, Any]]) -> list[tuple[str, int]]:
    """Return the reasons of rejected rows with their counts, the commonest first."""
    counts: dict[str, int] = {}
    for line in lines:
        counts[line["reason"]] = counts.get(line["reason"], 0) + 1
    return sorted(counts.items(), key=lambda each: (-each[1], each[0]))


def summary_html(manifest: Mapping[str, Any], title: str = "") -> str:
    """Return what a run wrote as one HTML element, given its manifest (`Manifest.as_dict`)."""
    counts = manifest["counts"]
    tiles = [
        (name, f"{counts[key]:,}", _beside(counts, key))
        for name, key in _TILES.items()
        if counts[key] or key != "packs"
    ]
    reasons = [(reason, f"{count:,}", REASONS.get(reason, "")) for reason, count in _lost(counts)]
    names = ("source", "rows", "kept", "rejected", "duplicates")
    sources = [
        (_cell(each["source"]), *(f"{count:,}" for count in _of_source(each)))
        for each in manifest["inputs"][:EXAMPLES]
    ]
    more = len(manifest["inputs"]) - len(sources)
    return str(parts().summary(style(), title, tiles, reasons, names, sources, more))


_TILES = {"rows": "rows", "kept": "kept", "samples": "samples", "tokens": "tokens"} | {
    "trained tokens": "trained_tokens",
    "packs": "packs",
}


def _beside(counts: Mapping[str, Any], key: str) -> str:
    """Return what is said beside a count."""
    if key == "trained_tokens":
        return percent(counts[key], counts["tokens"])
    if key == "kept":
        return percent(counts[key], counts["rows"])
    return percent(counts["fill"], 1) + " full" if key == "packs" and counts.get("fill") else ""


def _lost(counts: Mapping[str, Any]) -> list[tuple[str, int]]:
    return sorted(counts["rejected_by_reason"].items(), key=lambda each: (-each[1], each[0]))


def _of_source(source: Mapping[str, Any]) -> tuple[int, int, int, int]:
    return source["rows"], source["kept"], sum(source["rejected"].values()), source["dropped"]


def _cell(value: Any) -> str:
    """Return a value as a cell shows it."""
    text = "" if value is None else str(value)
    return text if len(text) <= CELL_CHARACTERS else f"{text[:CELL_CHARACTERS]}..."


# ==== Samples ====


@dataclass(frozen=True)
class Keys:
    """What is explained below samples: the roles and marks that they have."""

    roles: tuple[str, ...]
    trained: bool
    control: bool
    template: bool
    weights: bool
    differs: bool
    changed: bool
    guessed: bool


def keys_of(cards: Iterable[Card]) -> Keys:
    """Return what is to be explained of some cards."""
    views = [view for card in cards for view in card.samples]
    roles = {block.role for view in views for block in view.blocks if isinstance(block, Turn)}
    pieces = [piece for view in views for piece in view.pieces]
    return Keys(
        tuple(role for role in SHOWN_WRITERS if role in roles),
        any(piece.trained for piece in pieces),
        any(piece.control for piece in pieces),
        any(piece.template and not piece.control for piece in pieces),
        any(piece.weight != 1 for piece in pieces),
        any(piece.label is not None for piece in pieces),
        any(piece.changed for piece in pieces),
        any(view.guessed for view in views),
    )


class Budget:
    """How many tokens still get their id and label under the pointer."""

    def __init__(self, tokens: int = POINTED) -> None:
        self._left = tokens

    def take(self, count: int) -> bool:
        """Whether there is room for some tokens."""
        self._left -= count
        return self._left >= 0


def pieces_html(turn: Turn, budget: Budget) -> Markup:
    """Return the text of a turn: trained stretches in `mark`, control tokens in `kbd`."""
    found = list[str]()
    for (trained, weight), same in groupby(turn.pieces, key=lambda each: (each.trained, each.weight)):
        inner = "".join(_pieces_html(same, budget))
        weighted = f"<sup>\u00d7{weight:g}</sup>" if trained and weight != 1 else ""
        found.append(f"<mark>{weighted}{inner}</mark>" if trained else inner)
    return Markup("".join(found))  # noqa: S704  every text of it is escaped


def _pieces_html(pieces: Iterable[Piece], budget: Budget) -> Iterator[str]:
    titled = ((piece, budget.take(len(piece.ids))) for piece in pieces)
    for (tag, style_class, title), same in groupby(titled, key=_tag):
        text = _lines("".join(piece.text for piece, _ in same))
        named = f' class="{style_class}"' if style_class else ""
        titled_as = f' title="{title}"' if title else ""
        yield f"<{tag}{named}{titled_as}>{text}</{tag}>" if tag else text


def _tag(each: tuple[Piece, bool]) -> tuple[str, str, str]:
    """Return the element of a piece, its class and its title. Neighbours with the same are one element."""
    piece, titled = each
    names = {"q": piece.template and not piece.control, "off": piece.label is not None, "ch": piece.changed}
    style_class = " ".join(name for name, is_so in names.items() if is_so)
    title = _title(piece) if titled or piece.label is not None else ""
    tag = "kbd" if piece.control else "i" if style_class or title else ""
    return tag, style_class, title


def _title(piece: Piece) -> str:
    """Return what is under the pointer at a token.

    >>> _title(Piece("Hi", (5,), True, False, False, 1.0, None, False))
    'id 5, label 5'
    """
    ids = " ".join(map(str, piece.ids[:8]))
    label = f"label {ids if piece.label is None else piece.label}" if piece.trained else "not trained"
    weight = f", weight {piece.weight:g}" if piece.weight != 1 else ""
    return f"id {ids}, {label}{weight}"


def _lines(text: str) -> str:
    """Return text as HTML: a quiet sign for each line break, which style writes, and the break itself."""
    return "<u></u>\n".join(str(escape(line)) for line in text.split("\n"))


def is_gap(block: Turn | Gap) -> bool:
    """Whether a block is left out."""
    return isinstance(block, Gap)


# ==== Style ====


@cache
def style() -> Markup:
    """Return the style of all elements: the colours of the report, in light and in dark themes."""
    light, _, dark = style_sheet().partition("@media (prefers-color-scheme: dark)")
    found = [re.search(r":root\s*\{([^}]*)\}", part) for part in (light, dark)]
    of_light, of_dark = (re.sub(r"\s+", " ", each[1]) if each else "" for each in found)
    rules = [
        f".premask {{{of_light}}}",
        f"@media (prefers-color-scheme: dark) {{ .premask {{{of_dark}}} }}",
        *(f"{', '.join(f'{place} .premask' for place in _LIGHT)} {{{of_light}}}",),
        *(f"{', '.join(f'{place} .premask' for place in _DARK)} {{{of_dark}}}",),
        f"@media print {{ .premask.premask {{{of_light}}} }}",
    ]
    own = (FOLDER / "notebook.css").read_text(encoding="utf-8")
    return Markup("\n".join([*rules, own.replace(".premask ", ".premask.premask ")]))  # noqa: S704  ours


@cache
def parts() -> Any:
    """Return the macros of the template."""
    environment = templates_in(FOLDER)
    environment.filters["percent"] = percent
    environment.globals |= {"pieces_html": pieces_html, "is_gap": is_gap, "open_first": OPEN}
    return environment.get_template("parts.html.jinja").module
