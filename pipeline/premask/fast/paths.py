"""Paths: a row as a sequence of records, one or a few for each message.

    paths = Paths(template, rules, kwargs)
    path = paths.fill(shape, texts)         # None: this row takes the slow path
    path.text, path.stretches               # its text, and how each stretch of it is segmented

A plan (`render_plans.py`) is for rows of one shape. Long rows, such as those of agents, seldom have the shape
of another one. But what the template prints for one of their messages it has printed before, in other rows.
So a row is put together from records (`masking/prefixes/records.py`), and what is trained of a message is
decided once for all messages with the same records around them (`turn_decisions.py`).

A path exists if each turn is trained in the text of the whole conversation. Cost: about 10 us a message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from ..core.recipe import History
from ..core.shapes import MessageShape, RowShape, conversation_of
from ..masking.chat_template import ChatTemplate
from ..masking.completions import is_opening
from ..masking.prefixes.learning import Owner
from ..masking.prefixes.records import Known, Next, Record, Records
from ..masking.rules import Rules
from .kinds import Kind
from .silent_loops import Missing, NoPath, SilentLoop
from .turn_decisions import Chunk, Chunks, Surroundings, TurnDecisions

MAX_FAILURES = 64
"""Rows without a path after which no other row is learned, unless paths are found."""

LONGEST_LEARNED = 64
"""Messages of a row that are learned at a time."""


class Placed(NamedTuple):
    """A stretch of the text of a row: its kind, and the message that it is of."""

    kind: Kind
    message: int


class Path(NamedTuple):
    """The text of a row, the stretches that it consists of, and the strings in their slots."""

    text: str
    stretches: list[Placed]
    slots: list[str]


class _Filled(NamedTuple):
    """A record filled with the texts of a row."""

    chunk: Chunk
    text: str
    slots: tuple[str, ...]


class Paths:
    """The paths of one recipe. Rows are learned as they come. `refuses` says whether all rows of a shape are
    refused."""

    def __init__(
        self,
        template: ChatTemplate,
        rules: Rules,
        kwargs: Mapping[str, Any],
        as_parts: frozenset[str] = frozenset(),
        refuses: Callable[[RowShape], bool] = lambda _: False,
    ) -> None:
        self._rules, self._kwargs = rules, kwargs
        self._records = Records(template, as_parts)
        self._chunks: dict[int, Chunks] = {}
        self._decisions = TurnDecisions(rules, refuses)
        self._failures = 0
        self.tails: dict[tuple[int, Next, bool], list[_Filled]] = {}
        """What is printed behind the last message in a state, if it is always the same."""

    def fill(self, shape: RowShape, texts: Sequence[str]) -> Path | None:
        """Put a row together. Returns None if that cannot be done."""
        rules = self._rules
        if rules.eos or rules.history is History.as_rendered or self._failures > MAX_FAILURES:
            return None
        known, start = self._records.of(shape, self._kwargs), self._records.start(shape)
        if start is None or shape.weight is not None:
            return None
        row = _Row(shape, texts, _by_message(shape, texts))
        chunks = self._chunks.get(id(known))
        if chunks is None:
            chunks = self._chunks[id(known)] = Chunks(known)
        learned: set[int] = set()
        while True:
            try:
                path = _Walk(self, known, chunks, row).path(start)
            except Missing as missing:
                if missing.message in learned or not self._learn(row, missing.message):
                    break
                learned.add(missing.message)
                chunks.renew()
            except NoPath:
                break
            else:
                self._failures = 0
                return path
        self._failures += 1
        return None

    def _learn(self, row: _Row, message: int) -> bool:
        """Learn the messages around one of them, behind the first ones; or all of a short row."""
        shape, texts = row.shape, row.flat
        if len(shape.messages) <= LONGEST_LEARNED:
            return self._records.learn(shape, texts, self._kwargs)
        first, low = 2, max(2, message - 3)
        kept = [*range(first), *range(low, min(len(shape.messages), message + 4))]
        part = shape._replace(messages=tuple(shape.messages[i] for i in kept))
        own = [text for i in kept for text in row.texts[i]]
        return self._records.learn(part, [*row.texts[-1], *own], self._kwargs)

    @property
    def decisions(self) -> TurnDecisions:
        """What is trained of messages."""
        return self._decisions


@dataclass(frozen=True)
class _Row:
    """A row: its texts in one list, and by message with those of the tools last."""

    shape: RowShape
    flat: Sequence[str]
    texts: list[Sequence[str]]


def _by_message(shape: RowShape, texts: Sequence[str]) -> list[Sequence[str]]:
    at = shape.tools or 0
    found: list[Sequence[str]] = []
    for message in shape.messages:
        end = at + len(message.slots)
        found.append(texts[at:end])
        at = end
    found.append(texts[: shape.tools or 0])
    return found


@dataclass
class _Walk:
    """The way of one row through the records."""

    paths: Paths
    known: Known
    chunks: Chunks
    row: _Row
    counts: list[int] = field(default_factory=list)
    numbers: dict[Owner, dict[int, int]] = field(default_factory=dict)
    trunk: list[_Filled | None] = field(default_factory=list)
    last: list[_Filled | None] = field(default_factory=list)

    def path(self, start: int) -> Path:
        """Return the path of the row. Raises `Missing` or `NoPath`."""
        shapes = self.row.shape.messages
        wanted = self.paths.decisions.wanted(self.row.shape)
        if not wanted or not self._all_say_something(wanted):
            raise NoPath
        self.counts = sorted({count for index in wanted for count in (index, index + 1)} | {len(shapes)})
        opening, loop = self._opening(start)
        first = loop.start or 0
        if wanted[0] <= first:
            raise NoPath
        self._turns(loop, first, {*wanted, *(index - 1 for index in wanted), len(shapes) - 1}, wanted[0])
        tail = self._tail(len(shapes) - 1, prompt=False)
        self._check_complete(opening, first, wanted[-1])
        return self._assembled(opening, first, tail, set(wanted))

    def _all_say_something(self, wanted: tuple[int, ...]) -> bool:
        """Whether all answers do that are not decided: the others are counted. Of those that are decided, it
        is a condition."""
        answers = self.paths.decisions.answers(self.row.shape)
        return len(answers) == len(wanted) or all(map(self._says_something, answers[:-1]))

    def _says_something(self, place: int) -> bool:
        alone = RowShape((self.row.shape.messages[place],))
        (message,) = conversation_of(alone, self.row.texts[place]).messages
        return message.says_something

    def _opening(self, start: int) -> tuple[list[_Filled], Next]:
        """Return what is printed before the loop over messages, and that loop."""
        filled: list[_Filled] = []
        unit, state = 0, start
        while True:
            found = self._find(unit, state, None, 0, least=self.counts[0])
            if found is None:
                raise Missing(-1)
            filled.append(found)
            after = found.chunk.record.next
            if after.unit is None:
                raise NoPath
            if after.start is not None and after.unit not in self.known.silent:
                return filled, after
            unit, state = after.unit, after.state
            if after.start is not None:
                unit, state = self._scan(after, after.start)

    def _scan(self, loop: Next, first: int) -> tuple[int, int]:
        """Run a loop that prints nothing; return the unit and the state behind it, for all versions."""
        turns = SilentLoop(partial(self._silent, loop.unit or 0), first, self.counts[-1])
        found = turns.backwards(loop.state) if loop.backwards else turns.forwards(loop.state)
        ends = {found[count].state for count in self.counts}
        if len(ends) > 1 or turns.behind is None:
            raise NoPath  # the versions go on in different states
        for count in self.counts:
            for owner, value in found[count].numbers.items():
                self.numbers.setdefault(owner, {})[count] = value
        return turns.behind, ends.pop()

    def _silent(self, unit: int, state: int, place: int) -> Record:
        """Return the record of a turn of a loop that prints nothing. Raises `Missing` or `NoPath`."""
        shape = self.row.shape.messages[place]
        chunks = self.chunks[unit, state, shape]
        if chunks and chunks[0].is_silent:
            return chunks[0].record
        found = self._find(unit, state, shape, place, least=place + 1)
        if found is None:
            raise Missing(place)
        record = found.chunk.record
        if record.is_last is not None or record.parts:
            raise NoPath
        return record

    def _turns(self, loop: Next, first: int, ends: set[int], least: int) -> None:
        """Find the records of all messages: as one that others follow, and where needed as the last one."""
        unit, state, shapes = loop.unit or 0, loop.state, self.row.shape.messages
        self.trunk, self.last = [None] * len(shapes), [None] * len(shapes)
        final = len(shapes) - 1
        for place in range(first, len(shapes)):
            shape = shapes[place]
            trunk = None
            if place != final:
                trunk = self._find(unit, state, shape, place, least=max(least, place + 1), is_last=False)
                if trunk is None:
                    raise Missing(place)
                self.trunk[place] = trunk
            if place in ends:
                if trunk is not None and trunk.chunk.record.is_last is None:
                    self.last[place] = trunk
                else:
                    self.last[place] = self._find(unit, state, shape, place, least=place + 1, is_last=True)
                if self.last[place] is None:
                    raise Missing(place)
            if any(each is not None and each.chunk.record.writes for each in (trunk, self.last[place])):
                raise NoPath  # the numbers are those that loops found before
            if trunk is not None:
                if trunk.chunk.record.next.leaves:
                    raise NoPath
                state = trunk.chunk.record.next.state

    def _tail(self, place: int, *, prompt: bool) -> list[_Filled]:
        """Return what is printed behind a message if it is the last one."""
        end = self.last[place]
        if end is None:
            raise NoPath
        first = after = end.chunk.record.next
        known = self.paths.tails.get((id(self.known), first, prompt))
        if known is not None:
            return known
        filled = list[_Filled]()
        while after.unit is not None:
            if after.start is not None:
                raise NoPath
            found = self._find(after.unit, after.state, None, place, least=place + 1, prompt=prompt)
            if found is None:
                raise Missing(place)
            filled.append(found)
            after = found.chunk.record.next
        if all(each.chunk.is_constant for each in filled):
            self.paths.tails[id(self.known), first, prompt] = filled
        return filled

    def _find(  # noqa: PLR0913  what a record depends on
        self,
        unit: int,
        state: int,
        shape: MessageShape | None,
        place: int,
        *,
        least: int,
        is_last: bool | None = None,
        prompt: bool | None = None,
    ) -> _Filled | None:
        """Return the record of a unit that holds for the row, filled."""
        for chunk in self.chunks[unit, state, shape]:
            record = chunk.record
            if chunk.is_always or (
                (record.is_last is None or is_last is None or record.is_last is is_last)
                and (record.prompt is None or record.prompt is prompt)
                and record.least <= least
                and (record.is_anywhere or self._is_at(record, place, is_last=is_last))
            ):
                found = chunk.fill(self.row.texts, place)
                if found is not None:
                    return _Filled(chunk, *found)
        return None

    def _is_at(self, record: Record, place: int, *, is_last: bool | None) -> bool:
        """Whether the place of a message is one for which a record holds."""
        return (
            record.is_at(place)
            and (not record.beside or self._has_beside(record, place))
            and (not record.numbers or self._has_numbers(record, place, is_last=is_last))
        )

    def _has_beside(self, record: Record, place: int) -> bool:
        shapes = self.row.shape.messages
        for is_near, number, shape in record.beside:
            at = place + number if is_near else number
            if not 0 <= at < len(shapes) or shapes[at] is not shape:
                return False
        return True

    def _has_numbers(self, record: Record, place: int, *, is_last: bool | None) -> bool:
        """Whether the numbers that loops found compare with a place as in the record, in all versions."""
        for compare, plus, owner, answer in record.numbers:
            of = self.numbers.get(owner, {})
            first = place + 2 if record.is_last is False else place + 1
            counts = [place + 1] if is_last else [count for count in self.counts if count >= first]
            values = {of.get(count) for count in counts}
            if None in values or any(compare(place + plus, value) is not answer for value in values):
                return False
        return True

    # ==== the whole ====

    def _check_complete(self, opening: list[_Filled], first: int, last: int) -> None:
        """Check that all texts up to the last trained turn are printed."""
        shapes, tools = self.row.shape.messages, self.row.shape.tools
        if tools and not any(each.chunk.prints_tools(tools) for each in opening):
            raise NoPath
        for place in range(first, last + 1):
            own = self.trunk[place] or self.last[place]
            if own is None or not own.chunk.is_complete(shapes[place]):
                self._check_opening(opening, place)
        for place in range(first):
            self._check_opening(opening, place)

    def _check_opening(self, opening: list[_Filled], place: int) -> None:
        """Check that a message is printed before the loop."""
        shape = self.row.shape.messages[place]
        if not any(each.chunk.prints_message(place, shape) for each in opening):
            raise NoPath

    def _assembled(self, opening: list[_Filled], first: int, tail: list[_Filled], wanted: set[int]) -> Path:
        pieces: list[str] = []
        stretches: list[Placed] = []
        slots: list[str] = []
        shapes = self.row.shape.messages
        final = len(shapes) - 1
        for each in opening:
            self._append(each, each.chunk.kind(shapes, 0), 0, (pieces, stretches, slots))
        for place in range(first, final + 1):
            own = self.trunk[place] if place != final else self.last[place]
            if own is None:
                raise NoPath
            kind = self._turn(place, tail) if place in wanted else own.chunk.kind(shapes, place)
            self._append(own, kind, place, (pieces, stretches, slots))
        for each in tail:
            self._append(each, each.chunk.kind(shapes, final), final, (pieces, stretches, slots))
        return Path("".join(pieces), stretches, slots)

    def _append(
        self, own: _Filled, kind: Kind, place: int, into: tuple[list[str], list[Placed], list[str]]
    ) -> None:
        pieces, stretches, slots = into
        if len(kind.literal):
            pieces.append(own.text)
            stretches.append(Placed(kind, place))
            slots.extend(own.slots)

    def _turn(self, place: int, tail: list[_Filled]) -> Kind:
        """Return the kind of a message that is trained."""
        final = len(self.row.shape.messages) - 1
        before, before_last = self.trunk[place - 1], self.last[place - 1]
        own_last = self.last[place]
        if before is None or before_last is None or own_last is None:
            raise NoPath
        own = own_last if place == final else self.trunk[place]
        behind = tail if place == final else [self.trunk[place + 1] or self.last[place + 1]]
        around = Surroundings(
            before=before.chunk,
            prompt=(before_last.chunk, *_chunks(self._tail(place - 1, prompt=True))),
            ended=(before_last.chunk, *_chunks(self._tail(place - 1, prompt=False))),
            through=(own_last.chunk, *_chunks(self._tail(place, prompt=False))),
            own=own.chunk if own is not None else own_last.chunk,
            behind=tuple(_chunks(behind)),
            shapes=self.row.shape.messages[place - 1 : place + 2],
            place=place if place < 2 else None,
            is_opening=is_opening(shape.role for shape in self.row.shape.messages[:place]),
        )
        kind = self.paths.decisions.kind(around, self.row.shape, self.row.flat, self.row.texts, place)
        if kind is None:
            raise NoPath
        return kind


def _chunks(filled: Sequence[_Filled | None]) -> Iterator[Chunk]:
    for each in filled:
        if each is None:
            raise NoPath
        yield each.chunk
