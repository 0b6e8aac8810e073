"""Units that were run, remembered: what they print for a message of a known shape in a known state.

    records = Records(template)
    records.learn(shape, texts, kwargs)               # the units of a row are remembered
    records.of(shape, kwargs)[unit, state, message]   # the records of a unit

A record holds for every row: a unit does the same if its state is the same, its message has the same shape,
and all that it asked has the same answer. States and texts are named by their distance to the current
message, so that records of one row serve at any place of another (`names.py`).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from ...core.errors import RowError
from ...core.shapes import MessageShape, RowShape, conversation_of
from ..chat_template import ChatTemplate
from ..renders import Renders
from ..symbolic import JsonSlot, Op, Part, Questions, Symbolic, Unplannable, parts_of
from .facets import Number, Position
from .learning import Compare, LearningVersions, Notes, Owner
from .names import Names, Unnamed
from .run import Run
from .states import Node, State
from .symbolic_environment import SymbolicPrefixEnvironment
from .units import Units, Unsplit
from .versions import NotFollowed, Version, Versions, bits
from .views import Listed, View

MAX_RECORDS = 20_000
"""Records of one template; more are not remembered."""


class Next(NamedTuple):
    """What follows a unit.

    unit    the unit that is next, of a turn the one behind the loop; None at the end of the template
    state   the number of the state behind the unit
    start   if a loop over the messages begins, the place of its first message; else None
    backwards   whether the loop begins with the last message
    leaves  whether a turn of a loop leaves it
    """

    unit: int | None
    state: int
    start: int | None = None
    backwards: bool = False
    leaves: bool = False


@dataclass(frozen=True, eq=False)
class Record:
    """What a unit did.

    parts      what it printed; texts are named as in `names.py`
    answers    what it asked of texts
    beside     (is_near, distance or place, shape) of the messages that it read beside the current one
    position, numbers, remainders, least, is_last, prompt    as in `Notes`
    writes     (owner, offset) of the numbers that it found: the place of its message, with an offset
    next       what follows
    """

    parts: tuple[Part, ...]
    answers: Mapping[Op, Any]
    beside: tuple[tuple[bool, int, MessageShape], ...]
    position: tuple[tuple[Compare, int, bool], ...]
    numbers: tuple[tuple[Compare, int, Owner, bool], ...]
    remainders: tuple[tuple[int, int, int], ...]
    least: int
    is_last: bool | None
    prompt: bool | None
    writes: tuple[tuple[Owner, int], ...]
    next: Next

    @cached_property
    def is_anywhere(self) -> bool:
        """Whether the place of the message and the messages beside it do not matter."""
        return not (self.position or self.remainders or self.beside or self.numbers)

    def signature(self) -> Hashable:
        """Return what distinguishes records of one key."""
        answers = frozenset((op, type(answer), answer) for op, answer in self.answers.items())
        return (self.parts, answers, self.beside, self.position, self.numbers, self.remainders, *self._rest())

    def _rest(self) -> tuple[Hashable, ...]:
        return self.least, self.is_last, self.prompt, self.writes, self.next

    def is_at(self, place: int) -> bool:
        """Whether the place of the current message is one for which the record holds."""
        return all(compare(place, number) is answer for compare, number, answer in self.position) and all(
            (place + plus) % number == rest for number, plus, rest in self.remainders
        )


Key = tuple[int, int, MessageShape | None]
"""Unit, number of the state before it, shape of the current message (None outside of the loop)."""


class Known(dict[Key, list[Record]]):
    """The records of rows with as many tools and the same template arguments. `silent` are the units that are
    turns of loops that print nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.silent: frozenset[int] = frozenset()


class Records:
    """The records of a template, for any number of its arguments."""

    def __init__(self, template: ChatTemplate, as_parts: frozenset[str] = frozenset()) -> None:
        self._template, self._as_parts = template, as_parts
        self._units: dict[str, Units] = {}
        for name, source in template.sources.items():
            try:
                self._units[name] = Units(SymbolicPrefixEnvironment(template), source)
            except Unsplit:
                continue
        self._known: dict[tuple[Any, ...], Known] = {}
        self._numbers: dict[Hashable, int] = {}
        self._seen: set[Hashable] = set()

    def of(self, shape: RowShape, kwargs: Mapping[str, Any]) -> Known:
        """Return the records of rows with as many tools and these template arguments. They grow as rows are
        learned."""
        return self._known.setdefault((shape.tools, repr(sorted(kwargs.items()))), Known())

    def learn(self, shape: RowShape, texts: Sequence[str], kwargs: Mapping[str, Any]) -> bool:
        """Run the template for a row and remember its units, as far as it can be followed. Return whether
        something new was learned."""
        units, before = self._units.get(self._template.source_for(shape.tools)), len(self._seen)
        if units is None or before > MAX_RECORDS:
            return False
        questions = Questions(texts)
        values = [questions.text(slot) for slot in range(len(texts))]
        unknown = Renders(
            conversation_of(shape, values, parse=JsonSlot), self._template, kwargs, self._as_parts
        )
        messages = unknown.template_messages
        learner = _Learner(Names(shape, messages, unknown.tools), questions, self._numbered)
        variables = self._template.variables_for(unknown.tools, kwargs)
        with suppress(NotFollowed, Unplannable, RowError):  # what was learned before holds
            _LearningRun(units, messages, variables, learner)
        known = self.of(shape, kwargs)
        known.silent = units.silent
        for key, record in learner.found:
            signature = (id(known), key, record.signature())
            if signature not in self._seen:
                self._seen.add(signature)
                known.setdefault(key, []).append(record)
        return len(self._seen) > before

    def start(self, shape: RowShape) -> int | None:
        """Return the number of the state before the first unit; None if the template cannot be cut."""
        units = self._units.get(self._template.source_for(shape.tools))
        if units is None:
            return None
        state = State(0, units.start, {}, (), Node(None, ()))
        return self._numbered(Names(RowShape(()), [], None).state(state, units.start, [], None))

    def _numbered(self, state: Hashable) -> int:
        return self._numbers.setdefault(state, len(self._numbers))


class _Learner:
    """Makes the records of one row."""

    def __init__(self, names: Names, questions: Questions, number: Callable[[Hashable], int]) -> None:
        self.names, self.questions, self._number = names, questions, number
        self.found: list[tuple[Key, Record]] = []

    def state(self, state: State, frame: Sequence[Any], made: Sequence[Any], here: int | None) -> int:
        """Return the number of a state. Raises `NotFollowed` if it has none."""
        try:
            return self._number(self.names.state(state, frame, made, here))
        except Unnamed:
            raise NotFollowed("a state without a name") from None

    def add(  # noqa: PLR0913  what a unit did
        self,
        key: Key,
        notes: Notes,
        pieces: Sequence[str],
        here: int | None,
        writes: Sequence[tuple[Owner, int]],
        after: Next,
    ) -> None:
        """Remember a unit that ran at a place."""
        parts = [part for piece in pieces for part in parts_of(piece)]
        printed = [p for p in parts if isinstance(p, str) or self.questions.ask(Op("bool", (p,)))]
        joined = parts_of(Symbolic.of(self.questions, printed))
        record = Record(
            tuple(self._named(part, here) for part in joined),
            {self._named(op, here): self.questions.answers[op] for op in self.questions.asked},
            tuple(self._beside(notes, here)),
            (*notes.position, *_exactly(notes, here)),
            tuple(notes.numbers),
            tuple(notes.remainders),
            notes.least,
            notes.is_last,
            notes.prompt,
            tuple(writes),
            after,
        )
        self.found.append((key, record))

    def _named(self, part: Any, here: int | None) -> Any:
        return self.names.op(part, here) if isinstance(part, Op) else part

    def _beside(self, notes: Notes, here: int | None) -> Iterator[tuple[bool, int, MessageShape]]:
        shapes = self.names.shape.messages
        for distance in sorted(notes.near):
            yield True, distance, shapes[(here or 0) + distance]
        for place in sorted(notes.places):
            yield False, place, shapes[place]


def _exactly(notes: Notes, here: int | None) -> Iterator[tuple[Compare, int, bool]]:
    """Yield the condition that the place is the same, if another one would give messages other names."""
    if here is None:
        return
    by_distance = here != 0 and any(here + distance == 0 for distance in notes.near)
    if by_distance or any(place > 0 or place == here for place in notes.places):
        yield operator.eq, here, True


class _LearningRun(Run):
    """A run for all versions that tells a learner what each unit did."""

    def __init__(
        self,
        units: Units,
        messages: Sequence[Mapping[str, Any]],
        variables: Mapping[str, Any],
        learner: _Learner,
    ) -> None:
        self._learner, self._messages = learner, messages
        self._place: int | None = None
        self._looped, self._step = 0, 1
        counts = range(1, len(messages) + 1)
        versions = sorted(Version(count, prompt) for count in counts for prompt in (False, True))
        super().__init__(units, versions, messages, variables, refusals=(Unplannable,))

    def _versions_of(self, versions: Sequence[Version]) -> Versions:
        self._learning = LearningVersions(versions, self._learner.questions)
        return self._learning

    def _facets(self, messages: Sequence[Any]) -> dict[str, Any]:
        facets = super()._facets(messages)
        self._learning.prompt = facets["add_generation_prompt"]
        return facets

    def _loop(self, unit: int, state: State, over: View | Listed) -> list[State]:
        if self._looped & state.versions or type(over) is not View or over.items is not self._messages:
            raise NotFollowed("several loops")
        if over.less or over.places is not None:
            raise NotFollowed("a loop over some of the messages")
        if over.backwards and unit not in self._units.silent:
            raise NotFollowed("a loop that prints backwards")
        self._step = -1 if over.backwards else 1
        ends = super()._loop(unit, state, over)
        if unit not in self._units.silent:
            self._looped |= state.versions
        return ends

    def _turn(self, unit: int, state: State, over: View | Listed, place: int, ends: Any) -> None:
        self._place = place
        try:
            super()._turn(unit, state, over, place, ends)
        finally:
            self._place = None

    def _results(self, number: int, state: State, *args: Any) -> Iterator[tuple[Any, State]]:
        here, base = self._here(state)
        before = self._learner.state(state, state.frame, self._made(), base)
        shape = None if self._place is None else self._learner.names.shape.messages[self._place]
        self._learning.begin(here, is_behind=bool(self._looped & state.versions))
        for result, end in super()._results(number, state, *args):
            writes = self._found(end)
            after = self._next(number, result, end, base)
            pieces = end.node.pieces if end.node is not state.node else ()
            self._learner.add((number, before, shape), self._learning.notes, pieces, here, writes, after)
            yield result, end

    def _made(self) -> list[Any]:
        return [self._learning.prompt, *self._environment.namespaces]

    def _found(self, end: State) -> list[tuple[Owner, int]]:
        """Make numbers of the positions that namespaces hold; return those that are new."""
        writes = []
        for namespace, held in enumerate(end.held):
            for name, value in held.items():
                owner = namespace, name
                if type(value) is Position:
                    held[name] = Number(self._learning, owner, value.value)
                    writes.append((owner, value.plus))
                elif type(value) is Number and value.owner != owner:
                    raise NotFollowed("a number that moves")
        return writes

    def _here(self, state: State) -> tuple[int | None, int | None]:
        """Return the place of the current message, and the one by which the state before it is named."""
        if self._place is not None:
            return self._place, self._place
        if not self._looped & state.versions:
            return None, None
        counts = {self._learning.listed[version].length for version in bits(state.versions)}
        if len(counts) > 1:
            raise NotFollowed("versions of several lengths behind the loop")
        count = counts.pop()
        return count - 1, count

    def _next(self, number: int, result: Any, end: State, base: int | None) -> Next:
        state, made = self._learner.state, self._made()
        if self._place is not None:
            behind = state(end, end.frame, made, self._place + self._step)
            return Next(self._units.loops[number], behind, leaves=bool(result))
        if result is None:
            return Next(None, 0)
        unit, frame, *items = result
        if not items:
            return Next(unit, state(end, frame, made, base))
        over = items[0]
        if type(over) is not View:
            raise NotFollowed("a loop over some of the messages")
        first = None if over.backwards else over.start
        return Next(unit, state(end, frame, made, first), start=over.start, backwards=over.backwards)
