"""The progress of a run: what it says, by a clock of the test."""

from __future__ import annotations

import io
import re

import pytest
from premask.review.terminal.progress import BarProgress, LineProgress, Pace
from rich.console import Console


class Clock:
    """A clock that the test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def lines(total: int | None, every_s: float, *, fails: bool = False) -> list[str]:
    file, clock = io.StringIO(), Clock()
    shown = LineProgress(Console(file=file, width=40), every_s=every_s, clock=clock)
    shown.start(total)
    for now, work in enumerate([(1000, 250_000, 0), (500, 50_000, 70), (250, 30_000, 1)]):
        clock.now = 2.0 * now
        shown.advance(*work)
    shown.__exit__(KeyError if fails else None)
    return file.getvalue().splitlines()


def test_lines_of_a_log_end_with_one_of_all_that_was_done() -> None:
    assert lines(2000, 2) == [
        "1,500 of 2,000 rows, 300,000 tokens, 70 packs, 25,000 tokens/s, 2.0 s left",
        "1,750 of 2,000 rows, 330,000 tokens, 71 packs, 20,000 tokens/s, 1.3 s left",
        "1,750 of 2,000 rows, 330,000 tokens, 71 packs in 4.0 s",
    ]
    assert lines(None, 3) == [
        "1,750 rows, 330,000 tokens, 71 packs, 20,000 tokens/s",
        "1,750 rows, 330,000 tokens, 71 packs in 4.0 s",
    ]


def test_a_short_run_says_nothing_and_a_failed_one_no_sum() -> None:
    assert lines(2000, 60) == []
    assert len(lines(2000, 2, fails=True)) == 2


def test_what_was_finished_before_is_not_speed() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.total = 1_000_000
    pace.advance(900_000, 10**9, 100)
    assert pace.speed() == ""
    clock.now = 10
    pace.advance(1000, 5000, 0)
    assert pace.speed() == ", 500 tokens/s, 16.5 min left"
    pace.advance(-1000, -5000, 0)  # it is done again
    assert pace.done() == "900,000 of 1,000,000 rows, 1,000,000,000 tokens, 100 packs"
    for clock.now in range(20, 200, 10):
        pace.advance(2000, 10_000, 0)
    assert pace.speed().startswith(", 1,000 tokens/s")


@pytest.mark.parametrize("columns", [80, 200])
def test_the_bar_fits_the_terminal(columns: int) -> None:
    file = io.StringIO()
    console = Console(file=file, width=columns, force_terminal=True, color_system=None)
    with BarProgress(console) as shown:
        shown.start(10_000_000)
        shown.advance(1_234_567, 987_654_321, 4_321)
        shown._bar.refresh()
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "\r", file.getvalue())
    last = next(line for line in re.split(r"[\r\n]+", plain) if "1,234,567" in line)

    assert "1,234,567 of 10,000,000 rows" in last
    assert ("987,654,321 tokens" in last) == (columns == 200)
    assert len(last) <= columns


def test_a_run_without_rows_counts_tokens() -> None:
    pace = Pace(Clock())
    pace.advance(0, 500, 2)

    assert pace.done(of_tokens=False) == "500 tokens, 2 packs"
