"""Bar charts as SVG: where bars, lines and words go; `chart.svg.jinja` writes them down.

    bars = [Bar("user", (Part("rest", 90, "user: 90 tokens"),)), Bar("assistant", (Part("trained", 60, ""),))]
    to_svg(bar_rows(bars, scale_of(90), legend=[("trained", "trained")]), "Tokens", "By who wrote them.")

The same bars give the same bytes: coordinates have one decimal, and nothing is random, dated or measured on
the machine. A `paint` is a class of `chart.css`, which colours a chart for light and dark.
Cost: below a millisecond a chart, and 20 ms once for Jinja.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
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
    title: str


class Bar(NamedTuple):
    """A bar of stacked parts; `begin` and `end` are its edges on the axis of a chart of columns."""

    name: str
    parts: Sequence[Part]
    begin: float = 0
    end: float = 0


class Scale(NamedTuple):
    """An axis: its first and last value, and the values that are marked, with their words."""

    low: float
    high: float
    marks: Sequence[tuple[float, str]]


class Rect(NamedTuple):
    """A painted rectangle."""

    paint: str
    x: str
    y: str
    width: str
    height: str
    title: str


class Word(NamedTuple):
    """A line of text at its place; `anchor` is SVG's text-anchor."""

    x: str
    y: str
    anchor: str
    text: str


class Chart(NamedTuple):
    """What is drawn: SVG path commands of the grid, rectangles and words."""

    height: int
    grid: Sequence[str]
    bars: Sequence[Rect]
    words: Sequence[Word]


Legend = Sequence[tuple[str, str]]
"""Paints and what they mean."""


# ==== Two kinds of chart ====


def bar_rows(bars: Sequence[Bar], scale: Scale, legend: Legend = ()) -> Chart:
    """Draw bars from left to right, one below the other, each with its name before it."""
    step = 34 if len(bars) < 6 else 30
    left = 16 + _LETTER * max(len(bar.name) for bar in bars)
    bottom = _TOP + step * len(bars)
    across = _Axis(scale, left, _RIGHT)
    grid = [f"M{across(value)} {_TOP}V{bottom}" for value, _ in scale.marks]
    words = [across.word(value, text, bottom + 20) for value, text in scale.marks]
    rects = []
    for i, bar in enumerate(bars):
        y = _TOP + step * i + 2
        words.append(Word(_short(left - 8), _short(y + step / 2 + 3), "end", bar.name))
        for part, start, end in _stacked(bar, scale.low):
            width = across.between(start, end)
            rects.append(Rect(part.paint, across(start), str(y), width, str(step - 4), part.title))
    return _with_legend(Chart(bottom + 30, grid, rects, words), left, legend)


def bar_columns(
    bars: Sequence[Bar], across: Scale, up: Scale, legend: Legend = (), height: int = 220
) -> Chart:
    """Draw bars that stand on an axis, from their `begin` to their `end`."""
    left = 16 + _LETTER * max(len(text) for _, text in up.marks)
    x, y = _Axis(across, left, _RIGHT), _Axis(up, height, _TOP)
    grid = [f"M{left} {y(value)}H{_RIGHT}" for value, _ in up.marks]
    grid += [f"M{x(value)} {_TOP}V{height}" for value, _ in across.marks]
    words = [Word(str(left - 8), _short(y.at(value) + 5), "end", text) for value, text in up.marks]
    words += [x.word(value, text, height + 20) for value, text in across.marks]
    rects = [
        Rect(
            part.paint, x(bar.begin), y(end), x.between(bar.begin, bar.end), y.between(end, start), part.title
        )
        for bar in bars
        for part, start, end in _stacked(bar, up.low)
    ]
    return _with_legend(Chart(height + 30, grid, rects, words), left, legend)


def scale_of(most: float) -> Scale:
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


# ==== Places ====


class _Axis:
    """Places of values between two edges of the plot."""

    def __init__(self, scale: Scale, first: float, last: float) -> None:
        self._low, self._first = scale.low, first
        self._unit = (last - first) / (scale.high - scale.low)

    def at(self, value: float) -> float:
        return self._first + (value - self._low) * self._unit

    def __call__(self, value: float) -> str:
        return _short(self.at(value))

    def between(self, start: float, end: float) -> str:
        return _short(self.at(end) - self.at(start))

    def word(self, value: float, text: str, y: int) -> Word:
        """Words below a value, moved where they would leave the chart."""
        half = len(text) * _LETTER / 2
        return Word(_short(min(self.at(value), WIDTH - half)), str(y), "middle", text)


def _stacked(bar: Bar, low: float) -> Iterator[tuple[Part, float, float]]:
    """The parts of a bar that can be seen, with where they start and end on its scale."""
    start = low
    for part in bar.parts:
        if part.size > 0:
            yield part, start, start + part.size
        start += part.size


def _with_legend(chart: Chart, left: int, legend: Legend) -> Chart:
    """The chart with its paints explained below it, in as many lines as that takes."""
    if not legend:
        return chart
    rects, words = [*chart.bars], [*chart.words]
    x, y = left, chart.height + 2
    for paint, text in legend:
        width = 18 + _LETTER * len(text) + 12
        if x > left and x + width > WIDTH:
            x, y = left, y + _LINE
        rects.append(Rect(paint, str(x), str(y), "12", "12", ""))
        words.append(Word(str(x + 18), str(y + 11), "start", text))
        x += width
    return Chart(y + _LINE, chart.grid, rects, words)


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


def _short(number: float) -> str:
    """A coordinate.

    >>> _short(12.0), _short(12.345)
    ('12', '12.3')
    """
    return f"{number:.1f}".removesuffix(".0")


# ==== SVG ====


def to_svg(chart: Chart, title: str, says: str, *, style: str = "") -> Markup:
    """Return a chart as an SVG element with its title and description; with a `style`, as one that stands
    alone, on its own paper."""
    template = _templates().get_template("chart.svg.jinja")
    text = template.render(chart=chart, width=WIDTH, title=title, says=says, style=style)
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
def _templates() -> jinja2.Environment:
    return templates_in(_FOLDER)


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
