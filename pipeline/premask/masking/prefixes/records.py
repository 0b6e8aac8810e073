"""Units that were run, remembered: what they print for a message of a known shape in a known state.

    records = Records(template)
    records.learn(shape, texts, kwargs)               # the units of a row are remembered
    records.of(shape, kwargs)[unit, state, message]   # the records of a unit

A record holds for every row: a unit does the same if its state is the same, its message has the same shape, and
all that it asked has the same answer. States and texts are named by their distance to the current message, so
that records of one row serve at any place of another (`names.py`).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ...core.errors import RowError
from ...core.shapes import MessageShape, RowShape, conversation_of
from ..chat_template import ChatTemplate
from ..renders import Renders
from ..symbolic import JsonSlot, Op, Part, Questions, Symbolic, Unplannable, parts_of
from .learning import Compare, LearningVersions, Notes
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
    leaves  whether a turn of a loop leaves it
    """

    unit: int | None
    state: int
    start: int | None = None
    leaves: bool = False


@dataclass(frozen=True, eq=False)
class Record:
    """What a unit did.

    parts      what it printed; texts are named as in `names.py`
    answers    what it asked of texts
    beside     (is_near, distance or place, shape) of the messages that it read beside the current one
    position, remainders, least, is_last, prompt    as in `Notes`
    next       what follows
    """

    parts: tuple[Part, ...]
    answers: Mapping[Op, Any]
    beside: tuple[tuple[bool, int, MessageShape], ...]
    position: tuple[tuple[Compare, int, bool], ...]
    remainders: tuple[tuple[int, int, int], ...]
    least: int
    is_last: bool | None
    prompt: bool | None
    next: Next

    def signature(self) -> Hashable:
        """Return what distinguishes records of one key."""
        answers = frozenset((op, type(answer), answer) for op, answer in self.answers.items())
        return (self.parts, answers, self.beside, self.position, self.remainders, *self._rest())

    def _rest(self) -> tuple[Hashable, ...]:
        return self.least, self.is_last, self.prompt, self.next

    def is_at(self, place: int) -> bool:
        """Whether the place of the current message is one for which the record holds."""
        return all(compare(place, number) is answer for compare, number, answer in self.position) and all(
            (place + plus) % number == rest for number, plus, rest in self.remainders
        )


Key = tuple[int, int, MessageShape | None]
"""Unit, number of the state before it, shape of the current message (None outside of the loop)."""

Known = dict[Key, list[Record]]


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
        return self._known.setdefault((shape.tools, repr(sorted(kwargs.items()))), {})

    def learn(self, shape: RowShape, texts: Sequence[str], kwargs: Mapping[str, Any]) -> bool:
        """Run the template for a row and remember its units, as far as it can be followed. Return whether
        something new was learned."""
        which = "tool_use" if shape.tools is not None and "tool_use" in self._template.sources else "default"
        units, before = self._units.get(which), len(self._seen)
        if units is None or before > MAX_RECORDS:
            return False
        questions = Questions(texts)
        values = [questions.text(slot) for slot in range(len(texts))]
        unknown = Renders(
            conversation_of(shape, values, parse=JsonSlot), self._template, kwargs, self._as_parts
        )
        messages = unknown.template_messages
        learner = _Learner(Names(shape, messages, unknown.tools), questions, self._numbered)
        variables = {"documents": None, **self._template.variables, **kwargs, "tools": unknown.tools}
        try:
            _LearningRun(units, messages, variables, learner)
        except (NotFollowed, Unplannable, RowError):
            if __import__("os").environ.get("DBG"):
                __import__("traceback").print_exc()
            # what was learned before holds
        known = self.of(shape, kwargs)
        for key, record in learner.found:
            signature = (id(known), key, record.signature())
            if signature not in self._seen:
                self._seen.add(signature)
                known.setdefault(key, []).append(record)
        return len(self._seen) > before

    def start(self, shape: RowShape) -> int | None:
        """Return the number of the state before the first unit; None if the template cannot be cut."""
        which = "tool_use" if shape.tools is not None and "tool_use" in self._template.sources else "default"
        units = self._units.get(which)
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
            raise NotFollowed("a state without a name")

    def add(self, key: Key, notes: Notes, pieces: Sequence[str], here: int | None, after: Next) -> None:
        """Remember a unit that ran at a place."""
        parts = [part for piece in pieces for part in parts_of(piece)]
        printed = [p for p in parts if isinstance(p, str) or self.questions.ask(Op("bool", (p,)))]
        joined = parts_of(Symbolic.of(self.questions, printed))
        record = Record(
            tuple(self._named(part, here) for part in joined),
            {self._named(op, here): self.questions.answers[op] for op in self.questions.asked},
            tuple(self._beside(notes, here)),
            (*notes.position, *_exactly(notes, here)),
            tuple(notes.remainders),
            notes.least,
            notes.is_last,
            notes.prompt,
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
        self._has_looped = False
        counts = range(1, len(messages) + 1)
        versions = sorted(Version(count, prompt) for count in counts for prompt in (False, True))
        super().__init__(units, versions, messages, variables, refusals=(Unplannable,))

    def _versions_of(self, versions: Sequence[Version]) -> Versions:
        self._learning = LearningVersions(versions)
        return self._learning

    def _facets(self, messages: Sequence[Any]) -> dict[str, Any]:
        facets = super()._facets(messages)
        self._learning.prompt = facets["add_generation_prompt"]
        return facets

    def _loop(self, unit: int, state: State, over: View | Listed) -> list[State]:
        if self._has_looped or type(over) is not View or over.items is not self._messages:
            raise NotFollowed("several loops")
        if over.backwards or over.less or over.places is not None:
            raise NotFollowed("a loop over some of the messages")
        ends = super()._loop(unit, state, over)
        self._has_looped = True
        return ends

    def _turn(self, unit: int, state: State, over: View | Listed, place: int, ends: Any) -> None:
        self._place = place
        try:
            super()._turn(unit, state, over, place, ends)
        finally:
            self._place = None

    def _results(self, number: int, state: State, *args: Any) -> Iterator[tuple[Any, State]]:
        here, base = self._here(state)
        made = [self._learning.prompt, *self._environment.namespaces]
        before = self._learner.state(state, state.frame, made, base)
        shape = None if self._place is None else self._learner.names.shape.messages[self._place]
        self._learning.begin(here, is_behind=self._has_looped)
        self._learner.questions.asked.clear()
        for result, end in super()._results(number, state, *args):
            made = [self._learning.prompt, *self._environment.namespaces]
            after = self._next(number, result, end, made, base)
            pieces = end.node.pieces if end.node is not state.node else ()
            self._learner.add((number, before, shape), self._learning.notes, pieces, here, after)
            yield result, end
            self._learning.begin(here, is_behind=self._has_looped)
            self._learner.questions.asked.clear()

    def _here(self, state: State) -> tuple[int | None, int | None]:
        """Return the place of the current message, and the one by which the state before it is named."""
        if self._place is not None:
            return self._place, self._place
        if not self._has_looped:
            return None, None
        counts = {self._learning.listed[version].length for version in bits(state.versions)}
        if len(counts) > 1:
            raise NotFollowed("versions of several lengths behind the loop")
        count = counts.pop()
        return count - 1, count

    def _next(self, number: int, result: Any, end: State, made: Sequence[Any], base: int | None) -> Next:
        state = self._learner.state
        if self._place is not None:
            return Next(
                self._units.loops[number], state(end, end.frame, made, self._place + 1), leaves=bool(result)
            )
        if result is None:
            return Next(None, 0)
        unit, frame, *items = result
        if not items:
            return Next(unit, state(end, frame, made, base))
        start = items[0].start if type(items[0]) is View else None
        if start is None:
            raise NotFollowed("a loop over some of the messages")
        return Next(unit, state(end, frame, made, start), start=start)
