"""The progress of a run: a bar on a terminal, and lines of a log elsewhere.

    with BarProgress(console) if console.is_terminal else LineProgress(console) as progress:
        run(recipe, progress=progress)

    working ━━━━━━━━━━━╸        1,024 of 1,500 rows, 1,240,000 tokens/s, 4.1 s left
    1,024 of 1,500 rows, 12,288 tokens, 0 packs, 1,240,000 tokens/s, 4.1 s left

Speed and time left are those of the last half minute, so finished work of an earlier run does not count.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from ...core.display import duration
from ...running.tasks import Progress
from .tokens import say

WINDOW_S, STEP_S = 30.0, 0.5
"""Seconds of which the speed is taken, and between two measurements of it."""

WIDE = 120
"""Columns of a terminal on which the bar shows tokens and packs, too."""

Clock = Callable[[], float]


class _Moment(NamedTuple):
    time: float
    rows: int
    tokens: int


class Pace:
    """How far a run is, and how fast: rows, tokens and packs, of `total` rows if these are known."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self.rows = self.tokens = self.packs = 0
        self.total: int | None = None
        self._clock, self._begin = clock, clock()
        self._moments = deque[_Moment]()

    def advance(self, rows: int, tokens: int, packs: int) -> None:
        """Add work that was done; negative numbers take back what has to be done again."""
        self.rows, self.tokens, self.packs = self.rows + rows, self.tokens + tokens, self.packs + packs
        now = _Moment(self._clock(), self.rows, self.tokens)
        if not self._moments or now.time - self._moments[-1].time >= STEP_S:
            self._moments.append(now)
        while now.time - self._moments[0].time > WINDOW_S and len(self._moments) > 2:
            self._moments.popleft()

    def done(self, *, of_tokens: bool = True) -> str:
        """Return how much is done; of tokens and packs if there are no rows, or if they are wanted."""
        parts = []
        if self.total is not None or self.rows:
            parts.append(f"{self.rows:,}{'' if self.total is None else f' of {self.total:,}'} rows")
        if of_tokens or not parts:
            parts += [f"{self.tokens:,} tokens", f"{self.packs:,} packs"]
        return ", ".join(parts)

    def speed(self) -> str:
        """Return the speed, and the time that is left if it can be known."""
        return "".join(f", {part}" for part in self._speed())

    def since(self) -> str:
        """Return the time since the start."""
        return duration(self._clock() - self._begin)

    def _speed(self) -> Iterator[str]:
        if len(self._moments) < 2:
            return
        first, last = self._moments[0], self._moments[-1]
        seconds, rows = last.time - first.time, last.rows - first.rows
        if last.tokens > first.tokens:
            yield f"{(last.tokens - first.tokens) / seconds:,.0f} tokens/s"
        if self.total is not None and rows > 0 and self.rows < self.total:
            yield f"{duration((self.total - self.rows) * seconds / rows)} left"


class BarProgress(Progress):
    """A bar for a person at a terminal. It is gone at the end."""

    def __init__(self, console: Console) -> None:
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=max(8, min(40, console.width - 72))),
            TextColumn("{task.fields[text]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._pace, self._is_wide = Pace(), console.width >= WIDE
        self._task = self._bar.add_task("loading", total=None, text="")

    def __enter__(self) -> BarProgress:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def say(self, text: str) -> None:
        say(self._bar.console, text)

    def start(self, rows: int | None) -> None:
        self._pace.total = rows
        self._bar.update(self._task, description="working", total=rows)

    def advance(self, rows: int, tokens: int, packs: int) -> None:
        self._pace.advance(rows, tokens, packs)
        text = self._pace.done(of_tokens=self._is_wide) + self._pace.speed()
        self._bar.update(self._task, completed=self._pace.rows, text=text)


class LineProgress(Progress):
    """A plain line every few seconds, for logs. If there was one, the last one says what was done in all."""

    def __init__(self, console: Console, *, every_s: float = 10.0, clock: Clock = time.monotonic) -> None:
        self._console, self._every, self._clock = console, every_s, clock
        self._pace, self._last, self._lines = Pace(clock), clock(), 0

    def __enter__(self) -> LineProgress:
        return self

    def __exit__(self, *error: object) -> None:
        if self._lines and error[:1] in ((), (None,)):
            self._print(f"{self._pace.done()} in {self._pace.since()}")

    def say(self, text: str) -> None:
        say(self._console, text)

    def start(self, rows: int | None) -> None:
        self._pace.total = rows

    def advance(self, rows: int, tokens: int, packs: int) -> None:
        self._pace.advance(rows, tokens, packs)
        if self._clock() - self._last >= self._every:
            self._last = self._clock()
            self._print(self._pace.done() + self._pace.speed())

    def _print(self, text: str) -> None:
        self._lines += 1
        self._console.print(text, soft_wrap=True)
