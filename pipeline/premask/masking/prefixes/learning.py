"""A run that notes what each unit looked at, so that what it did is known for other rows.

    versions = LearningVersions([Version(1, True), Version(2, False)], questions)
    versions.begin(here=0, is_behind=False)
    versions.take(0b11)
    ...                                          # a unit runs
    versions.notes.is_last                       # whether it asked if the current message is the last one

A unit is a function of its state, the current message and what it asks. What it asks of texts is recorded by
the symbolic strings; what it asks of its place among the messages is noted here:

- whether there is a message after the current one, and how far it is to the end, if the answer is the same
  wherever another message follows;
- its place, compared with a number, or the remainder of its place;
- messages beside it, by their distance, and others by their place;
- whether a generation prompt is asked for.

For anything else that depends on the version, the unit is not remembered (`NotFollowed`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..symbolic import Questions
from .facets import Choice, Position
from .versions import NotFollowed, Version, Versions

Compare = Callable[[Any, Any], Any]

Owner = tuple[int, str]
"""A namespace, by its number, and one of its attributes."""

FAR = 5000
"""The distance to the end up to which it is checked that a question has one answer far from the end: more
messages than a conversation may have."""


@dataclass
class Notes:
    """What a unit looked at.

    near        distances of messages that it read
    places      places of messages that it read
    position    (comparison, number, answer), of the place of the current message
    numbers     (comparison, offset, owner, answer): the place of the current message, with an offset,
                compared with a number that a loop found
    remainders  (number, offset, remainder), of the place of the current message
    least       number of messages that each version must have
    is_last     whether the current message is the last one; None if it did not ask
    prompt      whether a generation prompt was asked for; None if it did not ask
    """

    near: set[int] = field(default_factory=set)
    places: set[int] = field(default_factory=set)
    position: list[tuple[Compare, int, bool]] = field(default_factory=list)
    numbers: list[tuple[Compare, int, Owner, bool]] = field(default_factory=list)
    remainders: list[tuple[int, int, int]] = field(default_factory=list)
    least: int = 0
    is_last: bool | None = None
    prompt: bool | None = None


class LearningVersions(Versions):
    """Versions that note what is asked of them. `here` is the place of the current message: None before the
    loop, behind it that of the last message (`is_behind`)."""

    def __init__(self, versions: Sequence[Version], questions: Questions) -> None:
        super().__init__(versions)
        self._questions = questions
        self.notes = Notes()
        self.here: int | None = None
        self.is_behind = False
        self.prompt: Any = None

    def begin(self, here: int | None, *, is_behind: bool) -> None:
        """Say where the next units run."""
        self.here, self.is_behind = here, is_behind

    def take(self, versions: int) -> None:
        super().take(versions)
        self.notes = Notes()
        self._questions.asked.clear()

    def guard(self, yes: int) -> bool:
        del yes
        raise NotFollowed("a question that depends on the version")

    def count(self) -> int:
        raise NotFollowed("the number of messages")

    def guard_near(self, yes: int, distance: int) -> bool:
        if distance > 1:
            raise NotFollowed("a message after the next one")
        if distance < 1:
            return True
        return self._is_longer(yes)

    def _is_longer(self, yes: int) -> bool:
        answer = super().guard(yes)
        if self.notes.is_last not in (None, not answer):
            raise NotFollowed("a unit that is asked twice for its end")
        self.notes.is_last = not answer
        return answer

    def guard_least(self, count: int) -> bool:
        self.notes.least = max(self.notes.least, count)
        if self.live & ~self.least(count):
            raise NotFollowed("a question that depends on the version")
        return True

    def guard_of(self, facet: object, yes: int) -> bool:
        if facet is not self.prompt:
            raise NotFollowed("a question that depends on the version")
        answer = super().guard(yes)
        self.notes.prompt = self.listed[self.lead].prompt
        return answer

    def guard_distance(self, yes: int, test: Callable[[int], Any]) -> bool:
        del yes
        answers = {bool(test(far)) for far in range(2, FAR)}
        last = bool(test(1))
        if len(answers) > 1 or self.here is None or self.is_behind:
            raise NotFollowed("a question that depends on the version")
        is_longer = True if answers == {last} else self._is_longer(self.least(self.here + 2))
        return answers.pop() if is_longer else last

    def reads(self, facet: object) -> None:
        if facet is self.prompt:
            self.notes.prompt = self.listed[self.lead].prompt
        elif type(facet) is Choice:
            raise NotFollowed("a value that depends on the version")

    def position(self, place: int, plus: int) -> Any:
        return Position(self, place, plus)

    def notes_position(self, compare: Compare, number: int) -> None:
        here = self._here()
        self.notes.position.append((compare, number, bool(compare(here, number))))

    def compares(self, compare: Compare, position: Any, number: Any) -> bool:
        answer = bool(compare(position.value, number.value))
        self.notes.numbers.append((compare, position.plus, number.owner, answer))
        return answer

    def remainder(self, position: Any, number: int) -> Any:
        if number < 1:
            return super().remainder(position, number)
        rest = position.value % number
        self.notes.remainders.append((number, position.plus, rest))
        return rest

    def _here(self) -> int:
        if self.here is None:
            raise NotFollowed("a place without a message")
        return self.here

    def sees_all(self) -> None:
        raise NotFollowed("all messages at once")

    def sees(self, place: int, *, is_near: bool) -> None:
        if not is_near:
            self.notes.places.add(place)
        else:
            self.notes.near.add(place - self._here())
