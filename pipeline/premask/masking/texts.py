"""A rendered text with the origin of each character, and what a decision asks of it.

    text = Text.of(renders.through_traced(3))
    text.span(3)                # first and one past the last character that message 3 wrote
    text.content_before(40)     # what stands before character 40 that the template did not write

`Text` is all that `completions.py` knows of a render. Positions are characters.

Cost: an index over the runs is made once per text; each question is then a binary search.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from ..core.records import TEMPLATE, Origin, Runs
from .traced import TracedStr, runs_of

_BLANKS = re.compile(r"\s*")


@dataclass(frozen=True)
class Text:
    """A text and its (length, origin) runs, which cover it."""

    text: str
    runs: Runs

    @classmethod
    def of(cls, traced: TracedStr) -> Text:
        """Return a traced render as a text."""
        return cls(str.__str__(traced), runs_of(traced))

    def __len__(self) -> int:
        return len(self.text)

    def span(self, message: int) -> tuple[int, int] | None:
        """Return the first and one past the last character that a message wrote; None if it wrote none."""
        places = self._by_message.get(message)
        return None if places is None else (self._start(places[0]), self._ends[places[-1]])

    def spans(self, message: int) -> Iterator[tuple[int, int, str]]:
        """Yield start, end and field of all that a message wrote, in text order."""
        for place in self._by_message.get(message, ()):
            yield self._start(place), self._ends[place], self.runs[place][1].field

    @property
    def messages(self) -> frozenset[int]:
        """The messages that wrote something."""
        return frozenset(self._by_message)

    def between(self, start: int, end: int) -> Iterator[tuple[int, int, Origin]]:
        """Yield start, end and origin of the runs of a stretch, cut at its edges."""
        place = bisect_right(self._ends, start)
        while place < len(self.runs) and (low := self._start(place)) < end:
            yield max(start, low), min(end, self._ends[place]), self.runs[place][1]
            place += 1

    def content_before(self, at: int, *, but: int | None = None) -> tuple[int, int]:
        """Return where the last text before `at` ends that neither the template nor message `but` wrote, and
        the message that wrote it. `(0, -1)` if there is none."""
        place = bisect_left(self._ends, at)
        if place < len(self.runs) and self._start(place) >= at:
            place -= 1
        for before in range(min(place, len(self.runs) - 1), -1, -1):
            origin = self.runs[before][1]
            if origin != TEMPLATE and origin.message != but:
                return min(at, self._ends[before]), origin.message
        return 0, TEMPLATE.message

    def cut(self, start: int, end: int) -> Text:
        """Return characters `start` to `end`."""
        runs = tuple((high - low, origin) for low, high, origin in self.between(start, end))
        return Text(self.text[start:end], runs)

    def joined(self, *others: Text) -> Text:
        """Return this text and others behind it."""
        runs = list(self.runs)
        for length, origin in (run for other in others for run in other.runs):
            if runs and runs[-1][1] == origin:
                runs[-1] = runs[-1][0] + length, origin
            else:
                runs.append((length, origin))
        return Text("".join([self.text, *(other.text for other in others)]), tuple(runs))

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(length for length, _ in self.runs))

    def _start(self, place: int) -> int:
        return self._ends[place] - self.runs[place][0]

    @cached_property
    def _by_message(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        for place, (_, origin) in enumerate(self.runs):
            if origin.message >= 0:
                found.setdefault(origin.message, []).append(place)
        return found


def after_blanks(text: str, at: int) -> int:
    """Return the first character from `at` on that is not white space.

    >>> after_blanks("a \\n b", 1)
    4
    """
    found = _BLANKS.match(text, at)
    return found.end() if found else at


def before_blanks(text: str, at: int) -> int:
    """Return one past the last character before `at` that is not white space.

    >>> before_blanks("a \\n b", 4)
    1
    """
    while at and text[at - 1].isspace():
        at -= 1
    return at


def written_by_template(text: str) -> Text:
    """Return a text that the template wrote."""
    return Text(text, ((len(text), TEMPLATE),) if text else ())
