"""Bar charts as SVG: where bars, lines and words go; `chart.svg.jinja` writes them down.

    bars = [Bar("user", [Part("rest", 90, "user: 90 tokens")]), Bar("tool", [Part("trained", 60, "")])]
    to_svg(bar_rows(bars, count_scale(90), [("trained", "trained")]), "Tokens", "By who wrote them.")

The same bars give the same bytes: coordinates have one decimal, and nothing is random, dated or measured on
the machine. A `paint` is a class of `chart.css`, which colours a chart for light and dark.
Cost: below a millisecond a chart, and 20 ms once for Jinja.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from markupsafe import Markup

from ..core.text import visible

if TYPE_CHECKING:
    import jinja2

WIDTH = 480
"""Of a chart, in units of which letters are 14 high."""

_LETTER, _LINE = 8, 22  # width of a letter, rounded up; height of a line of words
_TOP, _RIGHT = 8, WIDTH - 28  # edges of the plot
_FOLDER = Path(__file__).parent


class Part(NamedTuple):
    """A stretch of a bar: its paint, its size on the chart's scale, and the words shown for it."""

    paint: str
    size: float
    words: str


class Bar(NamedTuple):
    """A bar of stacked parts; `begin` and `end` are its edges on the horizontal axis, if it stands on it."""

    name: str
    parts: Sequence[Part]
    begin: float = 0
    end: float = 0


class Scale(NamedTuple):
    """An axis: its first and last value, and the values that are marked, with their words."""

    low: float
    high: float
    marks: Sequence[tuple[float, str]]


Line = tuple[float, float, str, float]
"""x, y, `H` or `V`, end."""

Rect = tuple[str, float, float, float, float, str]
"""Paint, x, y, width, height, words."""

Word = tuple[float, float, str, str]
"""x, y, `text-anchor` of SVG, text."""


class Chart(NamedTuple):
    """What is drawn."""

    height: int
    grid: Sequence[Line]
    rects: Sequence[Rect]
    words: Sequence[Word]


Legend = Sequence[tuple[str, str]]
"""Paints and what they mean."""

_Box = tuple[Part, float, float, float, float]  # a part between two values of x and two of y


def bar_rows(bars: Sequence[Bar], scale: Scale, legend: Legend = ()) -> Chart:
    """Draw bars from left to right, one below the other, each with its name before it."""
    names = Scale(len(bars), 0, [(i + 0.5, bar.name) for i, bar in enumerate(bars)])
    boxes = [
        (part, start, end, i + 0.06, i + 0.94)
        for i, bar in enumerate(bars)
        for part, start, end in _stacked(bar)
    ]
    return _chart(boxes, scale, names, legend, 30 * len(bars))


def bar_columns(bars: Sequence[Bar], across: Scale, up: Scale, legend: Legend = ()) -> Chart:
    """Draw bars that stand on an axis, from their `begin` to their `end`."""
    boxes = [(part, bar.begin, bar.end, end, start) for bar in bars for part, start, end in _stacked(bar)]
    return _chart(boxes, across, up, legend, 212)


def _stacked(bar: Bar) -> list[tuple[Part, float, float]]:
    """The parts of a bar that can be seen, with where they start and end."""
    ends = [sum(part.size for part in bar.parts[: i + 1]) for i in range(len(bar.parts))]
    return [(part, end - part.size, end) for part, end in zip(bar.parts, ends, strict=True) if part.size > 0]


def _chart(boxes: Sequence[_Box], x: Scale, y: Scale, legend: Legend, height: int) -> Chart:
    """Parts at their places, between axes with words and lines; an axis that goes down has no lines."""
    left, bottom = 16 + _LETTER * max(len(text) for _, text in y.marks), _TOP + height

    def across(value: float) -> float:
        return left + (value - x.low) * (_RIGHT - left) / (x.high - x.low)

    def down(value: float) -> float:
        return bottom - (value - y.low) * height / (y.high - y.low)

    def below(value: float, text: str) -> Word:
        most = WIDTH - len(text) * _LETTER / 2  # words stay within the chart
        return min(across(value), most), bottom + 20, "middle", text

    grid: list[Line] = [(left, down(value), "H", _RIGHT) for value, _ in y.marks if y.high > y.low]
    grid += [(across(value), _TOP, "V", bottom) for value, _ in x.marks]
    rects: list[Rect] = [
        (part.paint, across(x0), down(y0), across(x1) - across(x0), down(y1) - down(y0), part.words)
        for part, x0, x1, y0, y1 in boxes
    ]
    words: list[Word] = [(left - 8, down(value) + 5, "end", text) for value, text in y.marks]
    words += [below(value, text) for value, text in x.marks]
    at, line = left, bottom + 32
    for paint, text in legend:
        width = 30 + _LETTER * len(text)
        if at > left and at + width > WIDTH:
            at, line = left, line + _LINE
        rects.append((paint, at, line, 12, 12, ""))
        words.append((at + 18, line + 11, "start", text))
        at += width
    return Chart(line + _LINE if legend else bottom + 30, grid, rects, words)


# ==== Scales ====


def count_scale(most: float) -> Scale:
    """Return an axis of counts from 0 to the greatest, with at most five round marks."""
    return Scale(0, max(most, 1), [(mark, _count(mark)) for mark in _ticks(math.ceil(most))])


def percent_scale() -> Scale:
    """Return an axis from 0 to 100%."""
    return Scale(0, 100, [(mark, f"{mark}%") for mark in range(0, 101, 20)])


def powers_of_two(low: int, high: int) -> Scale:
    """Return an axis of exponents of 2, marked with their powers, as many as have room."""
    room = max(1, (_RIGHT - 60) // (_LETTER * (len(f"{2**high:,}") + 1)))
    step = math.ceil((high - low) / room)
    return Scale(low, high, [(mark, f"{2**mark:,}") for mark in range(low, high + 1, step)])


def _ticks(most: int) -> list[int]:
    """Whole numbers from 0 to the greatest, five at most.

    >>> _ticks(1), _ticks(7), _ticks(33_584)
    ([0, 1], [0, 2, 4, 6], [0, 10000, 20000, 30000])
    """
    size = 10 ** int(math.log10(max(most, 1)))
    steps = (step * size // 10 for step in (1, 2, 5, 10, 20, 50, 100))
    step = next(step for step in steps if step and most / step < 5)
    return list(range(0, most + 1, step))


def _count(number: float) -> str:
    """A count on an axis.

    >>> _count(1500), _count(2_000_000), _count(7)
    ('1.5k', '2M', '7')
    """
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.3g}"


# ==== SVG ====


def to_svg(chart: Chart, title: str, says: str, *, style: str = "") -> Markup:
    """Return a chart as an SVG element with its title and description; with a `style`, as one that stands
    alone, on its own paper."""
    text = _template().render(chart=chart, width=WIDTH, title=title, says=says, style=style)
    return Markup(text.strip())  # noqa: S704  Jinja has escaped what it was given


def style_sheet() -> str:
    """Return the style of charts for a page, with the colours that its own style may use."""
    return "".join((_FOLDER / name).read_text(encoding="utf-8") for name in ("colours.css", "chart.css"))


def plain_style() -> str:
    """Return the style of charts in the colours of light paper, without variables."""
    light, _, _ = (_FOLDER / "colours.css").read_text(encoding="utf-8").partition("@media")
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]+)", light))
    style = (_FOLDER / "chart.css").read_text(encoding="utf-8").strip()
    return re.sub(r"var\(--([a-z-]+)\)", lambda found: colours[found[1]], style)


@cache
def _template() -> jinja2.Template:
    environment = templates_in(_FOLDER)
    environment.filters["short"] = lambda number: f"{number:.1f}".removesuffix(".0")
    return environment.get_template("chart.svg.jinja")


def templates_in(folder: Path) -> jinja2.Environment:
    """Return Jinja for the templates of a folder. It escapes all that it is given, and writes out what is no
    ordinary character, but for line breaks."""
    import jinja2  # noqa: PLC0415  30 ms, and few commands draw

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        finalize=_written_out,
        undefined=jinja2.StrictUndefined,
    )


def _written_out(value: Any) -> Any:
    if isinstance(value, str) and not isinstance(value, Markup):
        return "\n".join(visible(line) for line in value.split("\n"))
    return value
