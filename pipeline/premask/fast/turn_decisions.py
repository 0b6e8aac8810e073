"""What of a message is trained, decided once for all messages with the same records around them.

    kind = decisions.kind(around, shape, flat, texts, place)      # None: the row takes the slow path

The proof of a turn looks at a window (`masking/renders.py`): its prompt, the text that ends with it, and the
whole conversation, from the message before it to the one behind it. These are chunks, so they are the same
for other turns with the same chunks. The mask is decided by `masking/completions.py` on the window of one
turn; what the decision asks of texts becomes a condition (`plan_conditions.py`), as for a plan.

Cost: a millisecond for a new window, 1 us for a known one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from typing import NamedTuple, cast

from ..core.errors import RowError
from ..core.recipe import History, Turns
from ..core.records import NOT_TRAINED, WRITERS, Message, Origin, Sample
from ..core.shapes import MessageShape, RowShape, conversation_of
from ..masking.completions import decide
from ..masking.prefixes.names import TOOLS, TextNames, message_of
from ..masking.prefixes.records import Key, Known, Record
from ..masking.renders import Renders, TracedWindow
from ..masking.rules import Rules
from ..masking.symbolic import Op, Part, Questions, Unplannable
from ..masking.symbolic_renders import origins_of, slot_in, text_of
from ..masking.texts import Text
from .kinds import Kind, Segment, kind_of, planned_segments, without_turns
from .plan_code import Check, FillChunk, compiled_check, compiled_chunk
from .plan_conditions import Parts, add_conditions, is_id, whole_texts

MAX_TRIES = 16
"""Windows of the same chunks that are decided; they differ in the answers to questions about texts."""

MAX_WINDOWS = 50_000
"""Windows that are remembered."""

_TOOLS, _TEMPLATE = WRITERS.index("tools"), WRITERS.index("template")


class Chunk:
    """A record, ready to be filled."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.slots = list(dict.fromkeys(part for part in record.parts if isinstance(part, Op)))
        asked = record.is_last, record.prompt, record.least
        self.is_always = record.is_anywhere and asked == (None, None, 0)
        """Whether it holds at every place and in every version, if the texts give its answers."""
        self.is_silent = self.is_always and not record.answers and not record.parts
        """Whether it prints nothing in every row."""
        self.is_constant = record.is_anywhere and record.least <= 1 and not record.answers and not self.slots
        """Whether it is the same in every row."""
        self.fill: FillChunk = compiled_chunk(record.parts, self.slots, record.answers)
        self._whole = {text for part in self.slots for text in whole_texts(part)}
        self._empty = {
            op.args[0] for op, answer in record.answers.items() if op.name == "bool" and not answer
        }
        self._names = tuple(dict.fromkeys(map(_name_in, self.slots)))
        self._is_own = set(self._names) <= {"+0", TOOLS}
        self._kinds: dict[tuple[str, ...], Kind] = {}
        self._complete: dict[MessageShape, bool] = {}

    def prints_tools(self, count: int) -> bool:
        """Whether it prints all tools."""
        return all(Op("text", (TOOLS, number)) in self._whole for number in range(count))

    def prints_message(self, place: int, shape: MessageShape) -> bool:
        """Whether it prints all words of a message before the loop."""
        return self._prints(f"={place}", shape)

    def is_complete(self, shape: MessageShape) -> bool:
        """Whether it prints all words of its message, or the first message is printed before the loop."""
        known = self._complete.get(shape)
        if known is None:
            known = self._complete[shape] = self._prints("+0", shape)
        return known

    def _prints(self, name: str, shape: MessageShape) -> bool:
        for number, field in enumerate(shape.slots):
            text = Op("text", (name, number))
            if is_id(field) or text in self._whole:
                continue
            if text not in self._empty and Op("call", (text, "strip", None)) not in self._empty:
                return False
        return True

    def kind(self, shapes: Sequence[MessageShape], place: int) -> Kind:
        """Return how its text is segmented if nothing is trained; `shapes` are those of all messages."""
        if self._is_own:
            key: tuple[str, ...] = (shapes[place].role,)
        else:
            key = tuple(shapes[message_of(name, place)].role for name in self._names if name != TOOLS)
        known = self._kinds.get(key)
        if known is None:
            parts = self.record.parts
            segments = [(*_size(part), self._writer(part, shapes, place)) for part in parts]
            known = self._kinds[key] = kind_of(
                [(size, op, writer, NOT_TRAINED, False, 1.0) for size, op, writer in segments], self.numbers
            )
        return known

    def _writer(self, part: Part, shapes: Sequence[MessageShape], place: int) -> int:
        if not isinstance(part, Op):
            return _TEMPLATE
        message = message_of(_name_in(part), place)
        return _TOOLS if message < 0 else WRITERS.index(shapes[message].role)

    @cached_property
    def numbers(self) -> dict[Op, int]:
        """The numbers of its slots."""
        return {op: number for number, op in enumerate(self.slots)}


def _size(part: Part) -> tuple[int, Op | None]:
    """Return the bytes of a literal, or an expression."""
    return (0, part) if isinstance(part, Op) else (len(part.encode()), None)


def _name_in(op: Op) -> str:
    while op.name != "text":
        op = op.args[0]
    name: str = op.args[0]
    return name


def _has_name(part: Part) -> bool:
    """Whether a part is a literal, or a piece of a single text."""
    while isinstance(part, Op) and part.name in ("call", "item", "slice", "list"):
        part = part.args[0]
    return isinstance(part, str) or part.name == "text"


class Chunks(dict[Key, "list[Chunk]"]):
    """The chunks of known records by their key, each made once."""

    def __init__(self, known: Known) -> None:
        super().__init__()
        self._known = known
        self._made: dict[Record, Chunk] = {}

    def __missing__(self, key: Key) -> list[Chunk]:
        made, records = self._made, self._known.get(key, ())
        for record in records:
            if record not in made and all(map(_has_name, record.parts)):
                made[record] = Chunk(record)
        chunks = self[key] = [made[record] for record in records if record in made]
        return chunks

    def renew(self) -> None:
        """Note that more records are known."""
        self.clear()


class Surroundings(NamedTuple):
    """The chunks that the proof of a turn looks at, and the shapes of the messages before, in and behind it.

    before    the message before it, in the whole conversation
    prompt    that message as the last one, and a generation prompt
    ended     that message as the last one, without
    through   the turn as the last one
    own       the turn in the whole conversation
    behind    what follows it there
    place     the place of one of the first two turns: texts of message 0 have another name there
    is_opening   whether neither the user nor the assistant said something before the turn
    """

    before: Chunk
    prompt: tuple[Chunk, ...]
    ended: tuple[Chunk, ...]
    through: tuple[Chunk, ...]
    own: Chunk
    behind: tuple[Chunk, ...]
    shapes: tuple[MessageShape, ...]
    place: int | None
    is_opening: bool


class _Decided(NamedTuple):
    check: Check
    kind: Kind


class TurnDecisions:
    """The decisions of one recipe. `refuses` says whether all rows of a shape are refused."""

    def __init__(self, rules: Rules, refuses: Callable[[RowShape], bool]) -> None:
        self._rules, self._refuses = rules, refuses
        self._known: dict[Surroundings, list[_Decided]] = {}
        self._tries: dict[Surroundings, int] = {}
        self.answers = lru_cache(maxsize=4096)(self._answers)

    def _answers(self, shape: RowShape) -> tuple[int, ...]:
        """Return the messages that may be trained, if they are all the assistant's."""
        train = self._rules.train
        if self._refuses(shape):
            return ()
        found = [
            i
            for i, message in enumerate(shape.messages)
            if message.role in train.roles and message.train is not False
        ]
        return tuple(found) if all(shape.messages[i].role == "assistant" for i in found) else ()

    def wanted(self, shape: RowShape) -> tuple[int, ...]:
        """Return those that are to be trained, if they say something; that they do is a condition of each
        decision."""
        found = self.answers(shape)
        only_last = self._rules.history is History.last or self._rules.train.turns is Turns.last
        return found[-1:] if only_last else found

    def kind(
        self,
        around: Surroundings,
        shape: RowShape,
        flat: Sequence[str],
        texts: Sequence[Sequence[str]],
        place: int,
    ) -> Kind | None:
        """Return how a turn is segmented; None if it is not trained in the whole conversation."""
        known = self._known.get(around)
        if known is None:
            if len(self._known) >= MAX_WINDOWS:
                return None
            known = self._known[around] = []
        for decided in known:
            if decided.check(texts, place):
                return decided.kind
        tries = self._tries.get(around, 0)
        if tries >= MAX_TRIES:
            return None
        self._tries[around] = tries + 1
        try:
            new = _Window(around, shape, flat, place, self._rules).decided()
        except (RowError, Unplannable):
            return None
        known.append(new)
        return new.kind


class _Window(TracedWindow):
    """The renders of a window, for `completions.decide`: those of one turn, with all other messages left out.

    Positions are those of the window.
    """

    tools = None
    weight = None

    def __init__(
        self, around: Surroundings, shape: RowShape, flat: Sequence[str], place: int, rules: Rules
    ) -> None:
        self._around, self._place, self._rules, self._shape = around, place, rules, shape
        self._names = TextNames(shape)
        self._origins = origins_of(shape)
        self.questions = Questions(flat)
        near = range(place - 1, place + 2)
        self.messages = tuple(
            replace(each, train=each.train if index == place else False)
            if index in near
            else Message(each.role, "", train=False)
            for index, each in enumerate(conversation_of(shape, flat).messages)
        )
        super().__init__(
            self._text((around.before, around.own, *around.behind), ends=2, is_whole=True),
            {
                "through": lambda: self._text((around.before, *around.through), ends=2),
                "prompt": lambda: self._text(around.prompt, ends=1),
                "before": lambda: self._text(around.ended, ends=1),
            },
        )

    # ==== what `decide` asks ====

    def window(self, index: int) -> _Window:
        """Return the window of the turn: this one."""
        if index != self._place:
            raise Unplannable
        return self

    # ==== what the conditions ask ====

    def parts(self, count: int, *, prompt: bool) -> Parts:
        """Return the parts of a render of the window."""
        around = self._around
        if prompt:
            return self._merged(around.prompt, 1)
        if count == self._place + 1:
            return self._merged((around.before, *around.through), 2)
        return self._merged((around.before, around.own, *around.behind), 2, is_whole=True)

    def origin_of(self, op: Op) -> Origin:
        """Return whose text an expression prints."""
        return self._origins[slot_in(op)]

    # ==== texts ====

    def _chunk_parts(
        self, chunks: Sequence[Chunk], ends: int, *, is_whole: bool = False
    ) -> Iterator[list[Part]]:
        """Yield the parts of chunks: the first is that of the message before the turn, the second of the
        turn, the third of the one behind it. With `ends`, those from that number on are printed behind the
        last message of the text."""
        for number, chunk in enumerate(chunks):
            here = self._place - 1 + min(number, ends - 1)
            if is_whole and number >= ends and not self._is_last():
                here = self._place + 1
            yield [
                self._names.slots(part, here) if isinstance(part, Op) else part for part in chunk.record.parts
            ]

    def _is_last(self) -> bool:
        return self._place == len(self.messages) - 1

    def _merged(self, chunks: Sequence[Chunk], ends: int, *, is_whole: bool = False) -> Parts:
        parts: list[Part] = []
        for own in self._chunk_parts(chunks, ends, is_whole=is_whole):
            for part in own:
                if isinstance(part, str) and parts and isinstance(parts[-1], str):
                    parts[-1] += part
                else:
                    parts.append(part)
        return tuple(parts)

    def _text(self, chunks: Sequence[Chunk], ends: int, *, is_whole: bool = False) -> Text:
        parts = [part for own in self._chunk_parts(chunks, ends, is_whole=is_whole) for part in own]
        return text_of(parts, self.questions.texts, self.origin_of)

    # ==== the decision ====

    def decided(self) -> _Decided:
        """Decide the turn. Raises `RowError` or `Unplannable` if it is not trained in the conversation."""
        if not any(self._is_of_before(part) for part in self._around.before.slots):
            raise Unplannable  # the window begins before the last text before the generation prompt
        if self._rules.ends.openers and not (self._is_last() or any(c.slots for c in self._around.behind)):
            raise Unplannable  # the opener of the next turn may be behind the window
        samples = decide(cast("Renders", self), self._rules)
        if len(samples) != 1 or samples[0].text != self.whole.text or samples[0].counts:
            raise Unplannable
        add_conditions(self, samples, self._rules, self._shape, only=(self._place,))
        kind = self._kind(samples[0])
        answers = {self._names.op(op, self._place): answer for op, answer in self.questions.answers.items()}
        return _Decided(compiled_check(answers), kind)

    def _size(self, parts: Sequence[Part]) -> int:
        """Return the bytes of the text of some parts."""
        texts = (part if isinstance(part, str) else part.value(self.questions.texts) for part in parts)
        return sum(len(text.encode()) for text in texts)

    def _is_of_before(self, part: Op) -> bool:
        return message_of(_name_in(part), self._place - 1) == self._place - 1

    def _kind(self, sample: Sample) -> Kind:
        """Return the kind of the turn's own chunk."""
        own = self._around.own
        before, turn, *_ = self._chunk_parts((self._around.before, own), 2)
        begin = self._size(before)
        end = begin + self._size(turn)
        inside, at = list[Segment](), 0
        for segment in planned_segments(sample):
            size, op, writer, message, seam, weight = segment
            if begin <= at < end:
                named = None if op is None else self._names.op(op, self._place)
                trained = 0 if message == self._place else message
                if message not in (self._place, NOT_TRAINED) or at + size > end:
                    raise Unplannable
                inside.append((size, named, writer, trained, seam, weight))
            elif not without_turns([segment]) or (seam and at != end):
                raise Unplannable
            at += size
        is_edge = any(len(sample.text[:seam].encode()) == end for seam in sample.seams)
        return kind_of(inside, own.numbers, is_edge=is_edge)
