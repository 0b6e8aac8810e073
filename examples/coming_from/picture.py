"""Two masks of one row side by side, as an SVG.

    draw([("axolotl 0.21.0", [[("<|im_start|>user\\nHi<|im_end|>\\n", False), ("Hello.", True)]]), ...])

A column has a name and samples; a sample is a list of texts, each trained or not. A trained line break is drawn as ↵. The
colours are those of `draw_tokens.py`. The same columns give the same bytes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))

from draw_tokens import CHARACTER, MARGIN, STYLE, WIDTH, columns_of

LINE, HEAD = 19, 28
"""Pixels: of a line of text, and of the name of a column."""

Text = tuple[str, bool]
Column = tuple[str, Sequence[Sequence[Text]]]


def lines_of(sample: Sequence[Text]) -> list[list[Text]]:
    r"""The lines of a sample, each as pieces of text that are trained or not.

    >>> lines_of([("user\n", False), ("Hi.\n", True), ("user\n", False)])
    [[('user', False)], [('Hi.↵', True)], [('user', False)]]
    """
    lines: list[list[Text]] = [[]]
    for text, trained in sample:
        for number, part in enumerate(text.split("\n")):
            if number:
                if trained:
                    _add(lines[-1], "↵", trained=True)
                lines.append([])
            if part:
                _add(lines[-1], part, trained=trained)
    return lines if lines[-1] else lines[:-1]


def _add(line: list[Text], text: str, *, trained: bool) -> None:
    if line and line[-1][1] == trained:
        text = line.pop()[0] + text
    line.append((text, trained))


def draw(columns: Sequence[Column]) -> str:
    """The picture of some columns."""
    width = (WIDTH - MARGIN) / len(columns)
    parts, heights = list[str](), list[float]()
    for number, (name, samples) in enumerate(columns):
        x, y = MARGIN + number * width, float(MARGIN + 12)
        parts.append(f'<text class="who name" x="{x:.0f}" y="{y:.0f}">{escape(name)}</text>')
        y += HEAD
        for sample in samples:
            for line in lines_of(sample):
                parts += _drawn(line, x, y)
                y += LINE
            y += LINE
        heights.append(y)
    height = max(heights) - LINE
    style = STYLE + "\n.name{font:700 13px system-ui,sans-serif}"
    size = f'width="{WIDTH}" height="{height:.0f}" viewBox="0 0 {WIDTH} {height:.0f}"'
    page = f'<rect class="page" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1:.0f}" rx="8"/>'
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n<style>{style}</style>\n{page}\n{body}\n</svg>\n'
    )


def _drawn(line: Sequence[Text], x: float, y: float) -> Iterator[str]:
    """A line at a place: a box behind each trained piece."""
    for text, trained in line:
        long = columns_of(text) * CHARACTER
        box = f'<rect class="token" x="{x - 2:.1f}" y="{y - 13:.1f}" width="{long + 4:.1f}" height="18" rx="3"/>'
        word = f'<text class="text" xml:space="preserve" x="{x:.1f}" y="{y:.1f}" textLength="{long:.1f}">{escape(text)}</text>'
        yield f'<g class="trained">{box}{word}</g>' if trained else word
        x += long + 6
