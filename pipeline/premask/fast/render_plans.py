"""Render plans: what a chat template prints for all rows of one shape, and what of it is trained.

    plans = Plans(template, rules, template_kwargs, decide=labeller.decide)
    filled = plans.fill(shape, texts)       # None: this row takes the slow path
    filled.texts                            # the texts of the samples
    filled.plan.samples[0].turn             # the message of each segment, if it is trained

Most rows of a dataset have one of a few shapes (user, assistant; system, user, assistant; ...). For all rows
of one shape, the template prints the same literals around the texts, and the completions are at the same
positions between them. A plan has this result, computed once.

Why a plan is right:

- `symbolic.py` renders the template without reading the texts. Each question that the template asks about a
  text becomes a condition of the plan.
- The mask is decided on parts instead of characters, by the rules of `masking.completions.decide`. The parts
of
  the prompt must begin the parts of the text. The stop must be in the literal after the message. If the
  answer could depend on a text, there is no plan.
- A new plan must give what `masking.completions.decide` gives for the current row.
- A share of all rows is rendered again, and some of these are decided again (recipe key `verify`).

Cost: filling a plan takes about 1 us a message; rendering and proving a row takes about 1 ms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import RowError
from ..core.recipe import History, Turns
from ..core.records import NOT_TRAINED, ROLES, Conversation, Sample
from ..core.shapes import RowShape, conversation_of
from ..masking.chat_template import ChatTemplate
from ..masking.rules import Rules
from .symbolic import Answers, Op, Part, Rendered, SymbolicTemplate, Unplannable

MAX_PLANNED_MESSAGES = 128
"""Conversations with more messages get no plan."""

MAX_VARIANTS = 16
"""Plans that are tried for one shape; they differ in the answers to the questions of the template."""

MANY_SHAPES = 256
"""Above this number of shapes, a new shape gets a plan only at its second row."""

MAX_PLANS = 4096
"""Number of all plans; rows of other shapes take the slow path."""


@dataclass(frozen=True)
class PlannedSample:
    """One sample of a plan, cut into k segments at the edges of texts and of trained stretches.

    literal  int64[k]  bytes of a segment that the template prints, 0 for a slot
    slot     int64[k]  the slot that fills the segment, -1 for a literal
    role     int64[k]  the writer: 0 for the template, else 1 + the index into `records.ROLES`
    turn     int64[k]  the message whose completion it belongs to, `NOT_TRAINED` (-1) if it is not trained
    seam     bool[k]   whether it begins at the edge of a completion
    """

    literal: np.ndarray
    slot: np.ndarray
    role: np.ndarray
    turn: np.ndarray
    seam: np.ndarray


@dataclass(frozen=True)
class Plan:
    """The result for rows of one shape.

    `fill(texts)` returns the texts of the samples and the strings in the slots, or None if the texts do not
    meet the conditions of the plan.
    """

    fill: Callable[[Sequence[str]], tuple[tuple[str, ...], tuple[str, ...]] | None]
    samples: tuple[PlannedSample, ...]
    last: tuple[int, ...]  # the last message of each sample
    slots: int
    proof: str


class Filled(NamedTuple):
    """A row filled into a plan: the text of each sample, and the strings in the slots."""

    plan: Plan
    texts: tuple[str, ...]
    slots: tuple[str, ...]


class Plans:
    """The plans of one recipe, made when rows of new shapes are seen.

    `decide` is that of the slow path; each new plan is compared with it.
    """

    def __init__(
        self,
        template: ChatTemplate,
        rules: Rules,
        kwargs: Mapping[str, Any],
        *,
        decide: Callable[[Conversation], tuple[Sample, ...]],
    ) -> None:
        self._decide = decide
        self._planner = _Planner(template, rules, kwargs)
        self._shapes: dict[RowShape, _Shape] = {}
        self._count = 0

    def fill(self, row: RowShape, texts: Sequence[str]) -> Filled | None:
        """Fill a row into the plan of its shape. Returns None if there is no plan for it."""
        shape = self._shapes.get(row)
        if shape is None:
            is_short = len(row.messages) <= MAX_PLANNED_MESSAGES
            shape = self._shapes[row] = _Shape(tries=MAX_VARIANTS if is_short and row.is_plain else 0)
            if len(self._shapes) > MANY_SHAPES:
                return None  # most of these shapes are never seen again
        for plan in shape.plans:
            filled = plan.fill(texts)
            if filled is not None:
                return Filled(plan, *filled)
        if not shape.tries or self._count >= MAX_PLANS:
            return None
        shape.tries -= 1
        new = self._new(row, texts)
        if new is None:
            return None
        self._count += 1
        shape.plans.append(new)
        filled = new.fill(texts)
        return None if filled is None else Filled(new, *filled)

    def _new(self, shape: RowShape, texts: Sequence[str]) -> Plan | None:
        """Return a plan for a row, if it gives what the slow path gives."""
        row = conversation_of(shape, texts)
        try:
            plan = self._planner.plan([message.role for message in row.messages], texts)
            filled = plan.fill(texts)
            if filled is None or not plan.samples:  # the slow path rejects a row without trained text
                return None
            right = _turns_of(Filled(plan, *filled)) == [
                (sample.text, [tuple(turn) for turn in sample.turns], sample.proof)
                for sample in self._decide(row)
            ]
        except (RowError, Unplannable):
            return None
        return plan if right else None


@dataclass
class _Shape:
    """The plans of one sequence of roles, and the number of further tries."""

    tries: int
    plans: list[Plan] = field(default_factory=list)


def _turns_of(filled: Filled) -> list[tuple[str, list[tuple[int, int, int]], str]]:
    """Return text, turns (message, start, end in characters) and proof of each sample."""
    found = []
    for text, sample in zip(filled.texts, filled.plan.samples, strict=True):
        turns: list[tuple[int, int, int]] = []
        at, data = 0, text.encode()
        before = NOT_TRAINED
        for literal, slot, turn in zip(
            sample.literal.tolist(), sample.slot.tolist(), sample.turn.tolist(), strict=True
        ):
            size = literal if slot < 0 else len(filled.slots[slot].encode())
            start, end = len(data[:at].decode()), len(data[: at + size].decode())
            if turn != NOT_TRAINED:
                turns = (
                    [*turns[:-1], (turn, turns[-1][1], end)]
                    if turn == before
                    else [*turns, (turn, start, end)]
                )
            before, at = turn, at + size
        found.append((text, turns, filled.plan.proof))
    return found


# ==== Deciding on parts ====

Parts = tuple[Part, ...]


class _Position(NamedTuple):
    """A position that is the same in all texts of a shape: in part `part`, after `offset` characters of it.

    `offset` is 0 if the part is not a literal.
    """

    part: int
    offset: int


class _PlannedTurn(NamedTuple):
    message: int
    start: _Position
    end: _Position


@dataclass
class _Draft:
    parts: Parts
    last: int  # the last message of the text
    turns: list[_PlannedTurn] = field(default_factory=list)


class _Planner:
    """Makes plans: `masking.completions.decide` for conversations of which only the roles are known.

    Each step does on parts what the step of the same name in `masking/completions.py` does on characters. It
    covers the plain case only, and raises `Unplannable` in every other case.
    """

    def __init__(self, template: ChatTemplate, rules: Rules, kwargs: Mapping[str, Any]) -> None:
        self.rules = rules
        self._template = SymbolicTemplate(template, kwargs)
        self._rendered: dict[tuple[tuple[str, ...], bool], list[Rendered]] = {}

    def plan(self, roles: Sequence[str], texts: Sequence[str]) -> Plan:
        """Return the plan for the shape of a row. Raises `Unplannable` if there is none."""
        train = self.rules.train
        parts = train.text, train.reasoning, train.empty_reasoning
        if self.rules.history is History.as_rendered or not all(parts) or self.rules.leave_out:
            raise Unplannable
        return _Planning(self, roles, texts).plan()

    def render(self, roles: Sequence[str], texts: Sequence[str], *, prompt: bool) -> Rendered:
        """Return the symbolic render of a row; an earlier one if its answers are the same."""
        known = self._rendered.setdefault((tuple(roles), prompt), [])
        for each in known:
            if all(question.value(texts) == answer for question, answer in each.answers.items()):
                return each
        known.append(self._template.render(roles, texts, prompt=prompt))
        return known[-1]

    def wanted(self, roles: Sequence[str]) -> list[int]:
        """Return the indices of the messages to train (`completions._wanted`)."""
        wanted = [i for i, role in enumerate(roles) if role in self.rules.train.roles]
        last = self.rules.history is History.last or self.rules.train.turns is Turns.last
        return wanted[-1:] if last else wanted


class _Planning:
    """Makes one plan."""

    def __init__(self, planner: _Planner, roles: Sequence[str], texts: Sequence[str]) -> None:
        self._planner = planner
        self._rules = planner.rules
        self._roles = list(roles)
        self._texts = texts
        self._answers: Answers = {}
        self._messages: dict[Op, int] = {}
        self._renders: dict[tuple[int, bool], Parts] = {}

    def plan(self) -> Plan:
        last = len(self._roles) - 1
        drafts = [_Draft(self._through(last), last)]
        for index in reversed(self._planner.wanted(self._roles)):
            if self._roles[index] == "assistant":
                self._place(drafts, index)
            elif not self._has_words(index):
                raise Unplannable  # an empty message is not trained
            else:
                drafts[0].turns.append(self._own_text(drafts[0], index))
        proof = "split" if len(drafts) > 1 else "inference"
        for draft in drafts:
            self._end_turns(draft)
            self._check(draft)
        return self._compiled([draft for draft in drafts if draft.turns], proof)

    def _place(self, drafts: list[_Draft], index: int) -> None:
        through = self._through(index)
        turn = self._prove(through, index)
        before_end = _cut(through, turn.end)
        whole = drafts[0].parts
        written = self._written(whole, index)
        if self._begins(
            _cut(through, _Position(self._written(through, index)[1] + 1, 0)), whole, within=written[1]
        ):
            if written != self._written(through, index):
                raise Unplannable
            if self._begins(before_end, whole):
                drafts[0].turns.append(turn)
                return
        home = next((draft for draft in drafts if self._begins(before_end, draft.parts)), None)
        if home is None:
            home = _Draft(through, index)
            drafts.append(home)
        home.turns.append(turn)

    def _prove(self, through: Parts, index: int) -> _PlannedTurn:
        """Return the completion of message `index` in a text that ends with it."""
        if index == 0:
            raise Unplannable
        first, last = self._written(through, index)
        start = self._prompt_end(through, index)
        if start > _Position(first, 0):
            raise Unplannable
        if _holds_slot(through[last + 1 :]):
            raise Unplannable
        after = _literal(through, last + 1)
        return _PlannedTurn(index, start, _Position(last + 1, self._rules.ends.after(after, 0)))

    def _prompt_end(self, through: Parts, index: int) -> _Position:
        """Return where the prompt of a message ends in a text that shows it."""
        prompt = self._render(index, prompt=True)
        opening = _literal(prompt, max(0, len(prompt) - 1))
        if not self._begins(prompt, through) or self._rules.marks.first(opening) is not None:
            raise Unplannable
        return _end(prompt)

    def _own_text(self, draft: _Draft, index: int) -> _PlannedTurn:
        first, last = self._written(draft.parts, index)
        return _PlannedTurn(index, _Position(first, 0), _Position(last + 1, 0))

    def _end_turns(self, draft: _Draft) -> None:
        """Apply the opener of the next turn and the eos (`completions._end_turns`)."""
        ends, eos = self._rules.ends, self._rules.eos
        draft.turns = [self._opened(draft.parts, turn) for turn in draft.turns]
        if not draft.turns:
            return
        last = max(draft.turns, key=lambda turn: turn.end)
        part, end = last.end
        after = _literal(draft.parts, part)
        if eos and not after[end:].strip():
            if _holds_slot(draft.parts[part:]):
                raise Unplannable
            if ends.begin(after, end, 0) == end:
                draft.parts = (*draft.parts[:part], after[:end] + eos)
                draft.turns[draft.turns.index(last)] = last._replace(end=_Position(part, end + len(eos)))

    def _opened(self, parts: Parts, turn: _PlannedTurn) -> _PlannedTurn:
        part, end = turn.end
        after = _literal(parts, part)
        opener = self._rules.ends.opener_after(after, end, 0)
        rest = after[end:].lstrip()
        openers = self._rules.ends.openers if _holds_slot(parts[part:]) else ()
        if (openers and not rest) or any(token.startswith(rest) and token != rest for token in openers):
            raise Unplannable
        return turn._replace(end=_Position(part, opener))

    def _without_stop(self, parts: Parts, turn: _PlannedTurn) -> _PlannedTurn:
        """Return the trained part of a completion, by the recipe's `train.end_of_turn`."""
        if self._rules.train.end_of_turn or self._roles[turn.message] != "assistant":
            return turn
        part, end = turn.end
        after = _literal(parts, part)
        printed = len(after[:end].rstrip())
        if not printed:
            raise Unplannable
        return turn._replace(end=_Position(part, self._rules.ends.begin(after, printed, 0)))

    def _check(self, draft: _Draft) -> None:
        """Raise `Unplannable` if turns overlap, contain text of another message, or lose words."""
        draft.turns.sort(key=lambda turn: turn.start)
        at = _Position(0, 0)
        for turn in draft.turns:
            if turn.start < at or turn.end <= turn.start:
                raise Unplannable
            at = turn.end
            self._check_words(draft, turn.message)
            inside = draft.parts[turn.start.part : turn.end.part]
            if any(isinstance(part, Op) and self._messages[part] != turn.message for part in inside):
                raise Unplannable

    def _has_words(self, index: int) -> bool:
        """Whether the text of a message is not blank; a condition of the plan."""
        return bool(self._ask(Op("bool", (Op("call", (Op("text", (index,)), "strip", None)),))))

    def _check_words(self, draft: _Draft, last: int) -> None:
        """Raise `Unplannable` unless the text prints all messages up to a trained one, but for blanks at the
        edges."""
        printed = {self._messages[part] for part in draft.parts if isinstance(part, Op) and _is_whole(part)}
        if any(self._has_words(index) for index in range(last + 1) if index not in printed):
            raise Unplannable

    # ==== renders ====

    def _through(self, index: int) -> Parts:
        return self._render(index + 1, prompt=False)

    def _render(self, count: int, *, prompt: bool) -> Parts:
        known = self._renders.get((count, prompt))
        if known is not None:
            return known
        rendered = self._planner.render(self._roles[:count], self._texts[:count], prompt=prompt)
        self._answers.update(rendered.answers)
        for part in rendered.parts:
            if isinstance(part, Op):
                self._messages[part] = _message_of(part)
        self._renders[count, prompt] = rendered.parts
        return rendered.parts

    def _written(self, parts: Parts, index: int) -> tuple[int, int]:
        """Return the first and the last part that a message wrote."""
        own = [i for i, part in enumerate(parts) if isinstance(part, Op) and self._messages[part] == index]
        if not own:
            raise Unplannable
        return own[0], own[-1]

    def _begins(self, start: Parts, parts: Parts, *, within: int | None = None) -> bool:
        """Whether `parts` begin with `start`, for any texts in the slots.

        With `within`, a difference must be before the end of this part.
        """
        for number, (one, other) in enumerate(zip(start, parts, strict=False)):
            if one == other:
                continue
            if isinstance(one, str) and isinstance(other, str):
                if number == len(start) - 1 and other.startswith(one):
                    return True
                self._differ_where_one_ends(one, other, start, parts, number)
            elif isinstance(one, Op) and isinstance(other, Op):
                if not self._ask(Op("eq", (one, other))):
                    raise Unplannable
                continue
            elif isinstance(one, str):
                self._starts_differently(other, one)
            else:
                self._starts_differently(one, str(other))
            if within is not None and number > within:
                raise Unplannable
            return False
        return len(start) <= len(parts)

    def _differ_where_one_ends(self, one: str, other: str, start: Parts, parts: Parts, number: int) -> None:
        """Check two literals that differ: if one begins the other, the part after it must differ from the
        rest of the other."""
        shorter, longer = sorted((one, other), key=len)
        if not longer.startswith(shorter):
            return
        following = start if shorter is one else parts
        if number + 1 < len(following):
            self._starts_differently(following[number + 1], longer[len(shorter) :])

    def _starts_differently(self, slot: Part, literal: str) -> None:
        """Make it a condition that the text in a slot and a literal begin with different characters."""
        if not isinstance(slot, Op) or self._ask(Op("call", (slot, "startswith", literal[0]))):
            raise Unplannable

    def _ask(self, question: Op) -> Any:
        if question not in self._answers:
            self._answers[question] = question.value(self._texts)
        return self._answers[question]

    # ==== the plan ====

    def _compiled(self, drafts: Sequence[_Draft], proof: str) -> Plan:
        slots: dict[Op, int] = {}
        for draft in drafts:
            for part in draft.parts:
                if isinstance(part, Op):
                    slots.setdefault(part, len(slots))
        samples = tuple(self._segments(draft, slots) for draft in drafts)
        fill = _compile([draft.parts for draft in drafts], slots, self._answers)
        return Plan(fill, samples, tuple(draft.last for draft in drafts), len(slots), proof)

    def _segments(self, draft: _Draft, slots: Mapping[Op, int]) -> PlannedSample:
        rows = []
        trained = [self._without_stop(draft.parts, turn) for turn in draft.turns]
        seams = {_begin_of(draft.parts, place) for turn in draft.turns for place in turn[1:]}
        edges = sorted({*seams, *(turn.end for turn in trained)})
        for number, part in enumerate(draft.parts):
            if isinstance(part, Op):
                cuts, size = [0], 1
            else:
                cuts, size = [0, *(edge.offset for edge in edges if edge.part == number)], len(part)
            bounds = [*sorted({cut for cut in cuts if cut < size}), size]
            for low, high in pairwise(bounds):
                place = _Position(number, low)
                turn = next((t.message for t in trained if t.start <= place < t.end), NOT_TRAINED)
                if isinstance(part, Op):
                    role = 1 + ROLES.index(self._roles[self._messages[part]])
                    rows.append((0, slots[part], role, turn, place in seams))
                else:
                    rows.append((len(part[low:high].encode()), -1, 0, turn, place in seams))
        literal, slot, role_of, turn_of, seam = np.array(rows, dtype=np.int64).T.copy()
        return PlannedSample(literal, slot, role_of, turn_of, seam.astype(bool))


def _begin_of(parts: Parts, place: _Position) -> _Position:
    """Return the same place as the start of the next part if it is the end of one."""
    part, offset = place
    if part < len(parts) and offset and offset == len(_literal(parts, part)):
        return _Position(part + 1, 0)
    return place


def _holds_slot(parts: Parts) -> bool:
    return any(isinstance(part, Op) for part in parts)


def _message_of(op: Op) -> int:
    """Return the message of which an expression prints a piece; raise `Unplannable` if it prints other
    text."""
    while op.name != "text":
        if op.name not in ("call", "item", "slice") or not isinstance(op.args[0], Op):
            raise Unplannable
        op = op.args[0]
    return int(op.args[0])


def _is_whole(op: Op) -> bool:
    """Whether an expression is the content of a message, without blanks at its edges or with them."""
    while op.name == "call" and op.args[1] in ("strip", "lstrip", "rstrip"):
        if not all(chars is None or chars.isspace() for chars in op.args[2:]):
            return False
        op = op.args[0]
    return op.name == "text"


def _end(parts: Parts) -> _Position:
    """Return the end of a text, as a position in a text that begins with it."""
    if parts and isinstance(parts[-1], str):
        return _Position(len(parts) - 1, len(parts[-1]))
    return _Position(len(parts), 0)


def _literal(parts: Parts, number: int) -> str:
    """Return part `number` if it is a literal, else an empty string."""
    part = parts[number] if number < len(parts) else ""
    return part if isinstance(part, str) else ""


def _cut(parts: Parts, end: _Position) -> Parts:
    """Return the parts before a position."""
    return (*parts[: end.part], *([_literal(parts, end.part)[: end.offset]] if end.offset else []))


def _compile(
    texts: Sequence[Parts], slots: Mapping[Op, int], answers: Answers
) -> Callable[[Sequence[str]], tuple[tuple[str, ...], tuple[str, ...]] | None]:
    """Return a function that checks the conditions of a plan and puts texts into its slots.

    Its source contains no text of a row or template: constants are its default arguments.
    """
    code = _Code()
    for question, answer in answers.items():
        source = code.of(question)
        if isinstance(answer, bool):
            code.lines.append(f"    if {'not ' if answer else ''}{source}: return None")
        else:
            code.lines.append(f"    if {source} != {code.constant(answer)}: return None")
    filled = "".join(code.of(op) + ", " for op in slots)
    joined = []
    for parts in texts:
        pieces = [code.of(part) if isinstance(part, Op) else code.constant(part) for part in parts]
        joined.append(f"''.join(({''.join(piece + ', ' for piece in pieces)})), ")
    result = f"    return ({''.join(joined)}), ({filled})"
    defaults = "".join(f", {name}={name}" for name in code.constants)
    names = dict(code.constants)
    exec("\n".join([f"def fill(texts{defaults}):", *code.lines, result]), names)  # noqa: S102  our own source
    return names["fill"]  # type: ignore[no-any-return]


class _Code:
    """Lines of Python that name strings and lists, so that shared ones are computed once."""

    def __init__(self) -> None:
        self.constants: dict[str, Any] = {}
        self.lines: list[str] = []
        self._known: dict[Op, str] = {}

    def constant(self, value: Any) -> str:
        name = f"k{len(self.constants)}"
        self.constants[name] = value
        return name

    def of(self, op: Op) -> str:
        """Return an expression for `op`: a name, or for a question its source."""
        if op in self._known:
            return self._known[op]
        for arg in op.args:
            if isinstance(arg, Op):
                self.of(arg)
        source = f"texts[{op.args[0]}]" if op.name == "text" else op.code(self.constant, self._known)
        if op.name not in ("text", "call", "item", "slice", "join"):
            return source
        self._known[op] = f"v{len(self._known)}"
        self.lines.append(f"    {self._known[op]} = {source}")
        return self._known[op]
