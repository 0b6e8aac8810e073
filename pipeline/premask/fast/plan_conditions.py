"""When the decision about one row holds for another row of its shape.

    add_conditions(renders, samples, rules, shape)       # raises Unplannable if that cannot be said

The template asks questions about texts, and so does the decision (`masking/completions.py`). The former are
recorded when the template is run on symbolic texts. The latter are known: the decision

- compares renders from their beginning: prompt, text of the turn, whole conversation, other samples;
- searches for marks of reasoning where a prompt has some, and for strings that the recipe leaves out;
- asks whether a text is blank, and whether it is printed whole.

Each becomes a condition of the plan, or the row has no plan. `tests/fast/test_render_plans.py` holds plans
against decisions, over all shared templates, with texts made of the strings that matter.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from ..core.recipe import History
from ..core.records import TEMPLATE, Conversation, Message, Origin, Sample, Turn
from ..core.shapes import RowShape
from ..masking.reasoning_marks import COMMON_MARKS, ReasoningMarks
from ..masking.rules import Rules
from ..masking.symbolic import Op, Part, Questions, Unplannable
from ..masking.symbolic_renders import slot_in, slot_of

Parts = tuple[Part, ...]


class DecidedRenders(Protocol):
    """The renders that a decision was made on."""

    questions: Questions
    messages: tuple[Message, ...]

    def parts(self, count: int, *, prompt: bool) -> Parts:
        """Return the parts of the render of the first `count` messages."""

    def origin_of(self, op: Op) -> Origin:
        """Return whose text an expression prints."""


def add_conditions(
    renders: DecidedRenders,
    samples: Sequence[Sample],
    rules: Rules,
    shape: RowShape,
    only: Collection[int] | None = None,
) -> None:
    """Ask all that the decision about a conversation depends on; with `only`, about these messages.

    Raises `Unplannable` if that cannot be asked.
    """
    if rules.history is History.as_rendered:
        raise Unplannable
    slots = {place: slot for place, slot in _slots_of(shape) if only is None or place[0] in only}
    conditions = _Conditions(renders, samples, rules, slots)
    conditions.ask_blanks()
    conditions.ask_comparisons()
    conditions.ask_searches()
    conditions.check_printed()


def parts_of_sample(sample: Sample) -> Parts:
    """Return the parts of the text of a sample: literals and expressions.

    Raises `Unplannable` if it has only a piece of what an expression printed.
    """
    parts, at = list[Part](), 0
    for length, origin in sample.runs:
        op = slot_of(origin)
        text = sample.text[at : at + length]
        if op is None and origin != TEMPLATE:
            raise Unplannable
        if op is None and parts and isinstance(parts[-1], str):
            parts[-1] += text
        else:
            parts.append(text if op is None else op)
        at += length
    return tuple(parts)


def ask_reasoning(
    conversation: Conversation, shape: RowShape, marks: ReasoningMarks, questions: Questions
) -> None:
    """Ask whether a conversation has reasoning (`reasoning_modes.has_reasoning`). Raises `Unplannable` if a
    content has a mark of it."""
    strings = (*marks.opens, *marks.closes, *COMMON_MARKS.opens, *COMMON_MARKS.closes)
    for (index, field), slot in _slots_of(shape):
        text = Op("text", (slot,))
        if index < 0 or conversation.messages[index].role != "assistant":
            continue
        if field == "reasoning":
            questions.ask(Op("bool", (Op("call", (text, "strip", None)),)))
        if field == "content" and any(questions.ask(Op("in", (mark, text))) for mark in strings):
            raise Unplannable


class _Conditions:
    """The conditions of the decision about one conversation."""

    def __init__(
        self,
        renders: DecidedRenders,
        samples: Sequence[Sample],
        rules: Rules,
        slots: Mapping[tuple[int, str], int],
    ) -> None:
        self._renders, self._samples, self._rules = renders, samples, rules
        self._questions = renders.questions
        self._messages = renders.messages
        self._trained = sorted({turn.message for sample in samples for turn in sample.turns})
        self._texts = [parts_of_sample(sample) for sample in samples]
        self._slots = slots
        self._whole = renders.parts(len(self._messages), prompt=False)

    # ==== blanks ====

    def ask_blanks(self) -> None:
        """Ask whether messages that may be trained say something."""
        for index, message in enumerate(self._messages):
            if message.role in self._rules.train.roles and message.train is not False:
                self._says(index, "content")
                self._says(index, "reasoning")

    def _says(self, index: int, field: str) -> bool:
        """Whether a field of a message is not blank."""
        slot = self._slots.get((index, field))
        if slot is None:
            return False
        stripped = Op("call", (Op("text", (slot,)), "strip", None))
        return bool(self._questions.ask(Op("bool", (stripped,))))

    # ==== comparisons ====

    def ask_comparisons(self) -> None:
        """Ask what the comparisons of renders depend on."""
        turns = [i for i in self._trained if self._messages[i].role == "assistant"]
        for index in turns:
            own = self._renders.parts(index + 1, prompt=False)
            prompt = self._renders.parts(index, prompt=True)
            for text in (self._whole, *self._texts):
                self._compare(prompt, text)
                self._compare(own, text)
            self._compare_blindly(prompt, own, index)
        for one in self._texts:
            for other in self._texts:
                self._compare(one, other)

    def _compare(self, one: Parts, other: Parts) -> None:
        """Ask what it depends on where two texts begin to differ."""
        for number, (mine, theirs) in enumerate(zip(one, other, strict=False)):
            if mine == theirs:
                continue
            if isinstance(mine, str) and isinstance(theirs, str):
                self._differ_where_one_ends(mine, theirs, one, other, number)
            elif isinstance(mine, Op) and isinstance(theirs, Op):
                self._start_differently(mine, theirs)
                self._start_differently(theirs, mine)
            elif isinstance(mine, Op):
                self._start_differently(mine, str(theirs)[0])
            elif isinstance(theirs, Op):
                self._start_differently(theirs, str(mine)[0])
            return

    def _differ_where_one_ends(self, mine: str, theirs: str, one: Parts, other: Parts, number: int) -> None:
        """Check two literals that differ: if one begins the other, the part after it must differ from the
        rest of the other."""
        shorter, longer = sorted((mine, theirs), key=len)
        following = one if shorter is mine else other
        if longer.startswith(shorter) and number + 1 < len(following):
            part = following[number + 1]
            if not isinstance(part, Op):
                raise Unplannable
            self._start_differently(part, longer[len(shorter)])

    def _start_differently(self, op: Op, other: Part) -> None:
        """Make it a condition that the text of an expression does not begin with another one."""
        if self._questions.ask(Op("call", (op, "startswith", other))):
            raise Unplannable

    def _compare_blindly(self, prompt: Parts, own: Parts, index: int) -> None:
        """Ask what the comparison of a prompt and a text depends on that does not look at blanks; it is made
        if the text does not begin with the prompt."""
        if _begins(prompt, own):
            return
        first = next((n for n, part in enumerate(own) if self._is_by(part, index)), None)
        if first is None:
            raise Unplannable
        asked = "".join(_literal(prompt, len(prompt) - 1).split())
        shown = "".join(_literal(own, first - 1).split())
        if asked.startswith(shown) and asked != shown:
            bare = Op("call", (own[first], "lstrip", None))
            self._start_differently(bare, asked[len(shown)])

    def _is_by(self, part: Part, index: int) -> bool:
        return isinstance(part, Op) and self._renders.origin_of(part).message == index

    # ==== searches ====

    def ask_searches(self) -> None:
        """Ask for the strings that the decision searches in the completions, and check that none arises at
        the edge of a text."""
        train, marks = self._rules.train, self._rules.marks
        common = (*COMMON_MARKS.opens, *COMMON_MARKS.closes)
        strings = list(self._rules.leave_out)
        if not (train.text and train.reasoning and train.empty_reasoning):
            strings += [*marks.opens, *marks.closes, *common]
        for index in self._trained:
            own = list(strings)
            if self._messages[index].role == "assistant":
                prompt = self._renders.parts(index, prompt=True)
                if marks.first(_literal(prompt, len(prompt) - 1)) is not None:
                    own += [*marks.opens, *marks.closes]
            for parts in (*self._texts, self._renders.parts(index + 1, prompt=False)):
                self._search(parts, index, dict.fromkeys(own))

    def _search(self, parts: Parts, index: int, strings: Iterable[str]) -> None:
        for before, part, after in zip(("", *parts[:-1]), parts, (*parts[1:], ""), strict=True):
            if isinstance(part, Op) and self._is_by(part, index):
                for string in strings:
                    if _is_split(string, before, after) or self._questions.ask(Op("in", (string, part))):
                        raise Unplannable

    def _check_openers(self, sample: Sample) -> None:
        """Check that no text of a message can be taken for the opener of the next turn."""
        for turn in sample.turns if self._rules.ends.openers else ():
            rest, is_followed = _literal_after(sample, turn.end)
            rest = rest.lstrip()
            longer = any(token.startswith(rest) and token != rest for token in self._rules.ends.openers)
            if is_followed and longer:
                raise Unplannable

    # ==== printed ====

    def check_printed(self) -> None:
        """Check that every text up to a trained one is printed whole, is blank, or is not printed at all
        because it is reasoning."""
        for sample, parts in zip(self._samples, self._texts, strict=True):
            last = max(turn.message for turn in sample.turns)
            whole = {slot_in(text) for part in parts if isinstance(part, Op) for text in whole_texts(part)}
            some = {slot_in(part) for part in parts if isinstance(part, Op)}
            for (index, field), slot in self._slots.items():
                if slot in whole or index > last or is_id(field) or field == "name":
                    continue
                if field == "reasoning" and slot not in some:
                    self._says(index, field)
                elif field not in ("content", "reasoning") or self._says(index, field):
                    raise Unplannable
            self._ask_names(last)
            self._check_openers(sample)
            for turn in sample.turns:
                self._check_tail(turn)

    def _ask_names(self, last: int) -> None:
        for (index, field), slot in self._slots.items():
            if field == "name" and index <= last:
                self._questions.ask(Op("bool", (Op("text", (slot,)),)))

    def _check_tail(self, turn: Turn) -> None:
        """Check that only literals follow the last text of a message in the text that ends with it."""
        if self._messages[turn.message].role != "assistant":
            return
        own = self._renders.parts(turn.message + 1, prompt=False)
        last = max((n for n, part in enumerate(own) if self._is_by(part, turn.message)), default=-1)
        if any(isinstance(part, Op) for part in own[last + 1 :]):
            raise Unplannable
        if not self._rules.train.end_of_turn and not _literal(own, last + 1).strip():
            raise Unplannable  # blanks at the end of the text would be taken for the turn end


def _slots_of(shape: RowShape) -> Iterator[tuple[tuple[int, str], int]]:
    """Yield (message, field) and number of each slot; the tools are message -1 with fields of their own."""
    number = 0
    for tool in range(shape.tools or 0):
        yield (-1, f"tools.{tool}"), number
        number += 1
    for index, message in enumerate(shape.messages):
        for field in message.slots:
            yield (index, field), number
            number += 1


def _begins(one: Parts, other: Parts) -> bool:
    """Whether a text begins with another one, for any texts in their slots."""
    if not one or len(one) > len(other):
        return not one
    last = one[-1]
    shows = isinstance(last, str) and _literal(other, len(one) - 1).startswith(last)
    return one[:-1] == other[: len(one) - 1] and (last == other[len(one) - 1] or shows)


def _literal_after(sample: Sample, at: int) -> tuple[str, bool]:
    """Return what the template printed after a place, and whether something else follows."""
    text, end = "", 0
    for length, origin in sample.runs:
        end += length
        if end > at:
            if origin != TEMPLATE:
                return text, True
            text += sample.text[max(at, end - length) : end]
    return text, False


def _literal(parts: Parts, number: int) -> str:
    """Return part `number` if it is a literal, else an empty string."""
    part = parts[number] if 0 <= number < len(parts) else ""
    return part if isinstance(part, str) else ""


def is_id(field: str) -> bool:
    """Whether a slot is an id, which need not be printed."""
    return field == "tool_call_id" or field.endswith(".id")


def whole_texts(op: Op) -> tuple[Op, ...]:
    """Return the texts of slots that an expression prints whole, without blanks at their edges or with
    them."""
    while op.name == "call" and op.args[1] in ("strip", "lstrip", "rstrip"):
        if not all(chars is None or chars.isspace() for chars in op.args[2:]):
            return ()
        op = op.args[0]
    if op.name == "list":
        return tuple(op.args)
    return (op,) if op.name == "text" else ()


def _is_split(string: str, before: Part, after: Part) -> bool:
    """Whether a string can arise from the end of one part and the beginning of the next."""
    cuts = range(1, len(string))
    left = isinstance(before, Op) or any(before.endswith(string[:cut]) for cut in cuts)
    right = isinstance(after, Op) or any(after.startswith(string[cut:]) for cut in cuts)
    return left or right
