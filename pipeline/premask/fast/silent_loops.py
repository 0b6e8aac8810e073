"""Loops over messages that print nothing, such as the search for the last question of a user.

    loop = SilentLoop(turn, first=0, count=9)
    loop.backwards(state)[9].numbers        # the places that it found in the version of 9 messages

A template may go through the messages before it prints them. Each version goes through its own messages, so
the loop is run for all of them here: from records, and each turn once.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from ..masking.prefixes.learning import Owner
from ..masking.prefixes.records import Record


class Missing(Exception):  # noqa: N818  no error: the row is learned
    """No record is known for a message; -1 stands for what is printed before all messages."""

    def __init__(self, message: int) -> None:
        self.message = message


class NoPath(Exception):  # noqa: N818  no error: the row takes the slow path
    """The row cannot be put together from records."""


class Scanned(NamedTuple):
    """The state behind a loop that prints nothing, the numbers that it found, and whether it was left."""

    state: int
    numbers: dict[Owner, int]
    left: bool = False


class SilentLoop:
    """A loop over the messages from `first` on, up to `count` of them. `turn` gives the record of its turn in
    a state at a place. `behind` is the unit after the loop."""

    def __init__(self, turn: Callable[[int, int], Record], first: int, count: int) -> None:
        self._record, self._first, self._count = turn, first, count
        self.behind: int | None = None
        self._known: dict[Record, Scanned] = {}

    def forwards(self, state: int) -> dict[int, Scanned]:
        """Return what is found in the version of each number of messages."""
        now = Scanned(state, {})
        found = dict.fromkeys(range(self._first + 1), now)
        for place in range(self._first, self._count):
            now = now if now.left else _behind(now, self._turn(place, now.state))
            found[place + 1] = now
        return found

    def backwards(self, state: int) -> dict[int, Scanned]:
        """Return what is found in the version of each number of messages: the turn of its last message, and
        then what is found from there on."""
        found = {count: Scanned(state, {}) for count in range(self._first + 1)}
        known: dict[int, Scanned] = {}
        for place in range(self._first, self._count):
            before = known
            found[place + 1] = self._with_earlier(place, state, before)
            known = {state: found[place + 1]}
            for each in before.keys() - known.keys():  # perhaps no version comes here in this state
                with suppress(Missing, NoPath):
                    known[each] = self._with_earlier(place, each, before)
        return found

    def _with_earlier(self, place: int, state: int, known: dict[int, Scanned]) -> Scanned:
        """Return what is found by the turn of a message and by those before it."""
        turn = self._turn(place, state)
        return turn if turn.left else _behind(turn, self._from(place - 1, turn.state, known))

    def _from(self, place: int, state: int, known: dict[int, Scanned]) -> Scanned:
        """Return what is found from a message backwards; `known` has what is for some states before it."""
        if state in known:
            return known[state]
        turns, start = list[Scanned](), state
        while place >= self._first and not (turns and turns[-1].left):
            turns.append(self._turn(place, state))
            place, state = place - 1, turns[-1].state
        found = turns.pop() if turns else Scanned(state, {})
        for turn in reversed(turns):
            found = _behind(turn, found)
        known[start] = found
        return found

    def _turn(self, place: int, state: int) -> Scanned:
        record = self._record(state, place)
        self.behind = record.next.unit
        known = self._known.get(record)
        if known is None:
            numbers = {owner: place + plus for owner, plus in record.writes}
            known = Scanned(record.next.state, numbers, record.next.leaves)
            if not numbers:
                self._known[record] = known
        return known


def _behind(one: Scanned, other: Scanned) -> Scanned:
    """Return what is found by turns and others after them."""
    if not one.numbers:
        return other
    return Scanned(other.state, {**one.numbers, **other.numbers}, other.left)
