"""Versions of a conversation, and sets of them.

    versions = Versions([Version(1, True), Version(2, False)])
    versions.take(0b11)
    versions.guard(0b10)        # is the answer yes? The set is now that of the versions that answer alike.

A set of versions is an `int`: bit i stands for version i. While a unit runs, the set `live` are the versions
that it runs for. A question gets the answer of one of them, the `lead`; those that answer otherwise leave the
set, and the unit is run for them again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple


class NotFollowed(Exception):  # noqa: N818  no error: the conversation is rendered the plain way
    """The template does something that is not followed for several versions at once."""


class Version(NamedTuple):
    """A render of a conversation: its first `length` messages, with or without the generation prompt."""

    length: int
    prompt: bool


class Versions:
    """The versions of a run, and those that the unit at work runs for."""

    def __init__(self, versions: Sequence[Version]) -> None:
        self.listed = tuple(versions)
        self.every = (1 << len(self.listed)) - 1
        self.live = self.every
        self.lead = len(self.listed) - 1
        self.by_count: dict[int, int] = {}
        for number, version in enumerate(self.listed):
            self.by_count[version.length] = self.by_count.get(version.length, 0) | 1 << number
        self._fewer = [0]
        for count in range(max(self.by_count, default=0) + 1):
            self._fewer.append(self._fewer[-1] | self.by_count.get(count, 0))

    def take(self, versions: int) -> None:
        """Start with a set of versions; the one with the most messages leads."""
        self.live, self.lead = versions, versions.bit_length() - 1

    def guard(self, yes: int) -> bool:
        """Return whether the lead is in a set; only the versions of which the same is true stay."""
        if yes >> self.lead & 1:
            self.live &= yes
            return True
        self.live &= ~yes
        return False

    # ==== what a run that is remembered must know (`learning.py`) ====

    def guard_near(self, yes: int, distance: int) -> bool:
        """Return as `guard` whether there is a message that is `distance` after the current one."""
        del distance
        return self.guard(yes)

    def guard_least(self, count: int) -> bool:
        """Return as `guard` whether there are at least `count` messages."""
        return self.guard(self.least(count))

    def guard_of(self, facet: object, yes: int) -> bool:
        """Return as `guard` the answer of a facet."""
        del facet
        return self.guard(yes)

    def reads(self, facet: object) -> None:
        """Note that the value of a facet is used."""

    def position(self, place: int, plus: int) -> Any:
        """Return `place + plus`, where `place` is that of the current message."""
        return place + plus

    def sees(self, place: int, *, is_near: bool) -> None:
        """Note that a message beside the current one is read, by its distance or by its place."""

    def sees_all(self) -> None:
        """Note that all messages are read at once."""

    def guard_distance(self, yes: int, test: Callable[[int], Any]) -> bool:
        """Return as `guard` what `test` says of the number of messages from the current one to the end."""
        del test
        return self.guard(yes)

    def notes_position(self, compare: Callable[[Any, Any], Any], number: int) -> None:
        """Note that the place of the current message is compared with a number."""

    def compares(self, compare: Callable[[Any, Any], Any], position: Any, number: Any) -> bool:
        """Return what the comparison of a position and a number that a loop found gives."""
        return bool(compare(position.value, number.value))

    def remainder(self, position: Any, number: int) -> Any:
        """Return the remainder of a position."""
        return position.pin() % number

    # ==== sets ====

    def count(self) -> int:
        """Return the number of messages of the lead; only the versions with as many stay."""
        count = self.listed[self.lead].length
        self.live &= self.by_count[count]
        return count

    def fewer(self, count: int) -> int:
        """Return the versions of fewer than `count` messages."""
        return self._fewer[max(0, min(count, len(self._fewer) - 1))]

    def least(self, count: int) -> int:
        """Return the versions of at least `count` messages."""
        return self.every & ~self.fewer(count)


def bits(versions: int) -> Iterator[int]:
    """Yield the numbers of the versions of a set.

    >>> list(bits(0b1010))
    [1, 3]
    """
    while versions:
        low = versions & -versions
        yield low.bit_length() - 1
        versions ^= low
