"""Render plans: what a chat template prints, and what of it is trained, for all rows of one shape.

Most rows of a dataset have one of a few shapes (user, assistant; system, user, assistant; ...). For the
rows of a shape the template prints the same literals around the texts, and the completions stand at the
same places between them. A plan is that, worked out once: filling it costs about a microsecond a message,
where rendering and proving a row costs about a millisecond.

    plans = Plans(template, ends, ...)
    filled = plans.fill(roles, texts)       # None: render and prove this row by itself
    filled.texts                            # the samples' texts
    filled.plan.samples[0].turns            # which segments of a text are trained

Why a plan may be trusted. `symbolic.py` renders the template without looking at the texts; what it did
ask about them becomes a condition of the plan. The mask is then decided on the parts instead of
characters, by the rules of `labels.decide`: the prompt's parts must begin the text's parts, the stop must
stand in the literal that follows the message. Wherever the answer could depend on a text, there is no
plan. A new plan must also give what `labels.decide` gives for the row at hand; and a share of all rows
(recipe: `verify`) is rendered again, some of it decided again in full.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from os.path import commonprefix
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import RowError
from ..core.recipe import History, Train, Turns
from ..core.records import NOT_TRAINED, ROLES, Conversation, Message, Sample
from ..masking.chat_template import ChatTemplate
from ..masking.prompt_ends import whole_marker
from ..masking.renders import Renders
from ..masking.turn_ends import TurnEnds
from .symbolic import Answers, Op, Part, Rendered, SymbolicTemplate, Unplannable

MAX_PLANNED_MESSAGES = 128
"""Messages of the longest conversations that get a plan."""

MAX_VARIANTS = 16
"""Plans that are tried for one shape: they differ in what the texts answer to the template's questions."""

MANY_SHAPES = 256
"""After so many shapes a new one gets its plan only when it comes a second time."""

MAX_PLANS = 4096
"""Plans in all; rows of other shapes are rendered one by one."""


@dataclass(frozen=True)
class PlannedSample:
    """One sample of a plan, cut into k segments at the edges of texts and of trained stretches.

    literal  int64[k]  bytes of a segment that the template prints, 0 for one that a text fills
    slot     int64[k]  which filled slot the segment is, -1 for a literal
    role     int64[k]  who wrote it: 0 the template, else 1 + the index into `contracts.ROLES`
    turn     int64[k]  the message whose completion it belongs to, `NOT_TRAINED` (-1) if it is not trained
    """

    literal: np.ndarray
    slot: np.ndarray
    role: np.ndarray
    turn: np.ndarray


@dataclass(frozen=True)
class Plan:
    """What becomes of a row of this shape: `fill(texts)` gives the samples' texts and the slots' strings, or
    None if the plan is not for these texts."""

    fill: Callable[[Sequence[str]], tuple[tuple[str, ...], tuple[str, ...]] | None]
    samples: tuple[PlannedSample, ...]
    last: tuple[int, ...]  # the message with which each sample ends
    slots: int
    proof: str


class Filled(NamedTuple):
    """A row filled into a plan: the text of each sample, and the strings that went into the slots."""

    plan: Plan
    texts: tuple[str, ...]
    slots: tuple[str, ...]


@dataclass(frozen=True)
class Rules:
    """What decides the mask beside the template: its turn ends, the recipe's arguments for it, what to train,
    and the `eos` that is put after a turn that nothing ends."""

    ends: TurnEnds
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    history: History = History.split
    train: Train = field(default_factory=Train)
    eos: str = ""


class Plans:
    """The plans of one recipe, made as rows of new shapes come.

    `decide` and `renders` are for a row by itself, to judge new plans.
    """

    def __init__(
        self,
        template: ChatTemplate,
        rules: Rules,
        *,
        decide: Callable[[Conversation], tuple[Sample, ...]],
        renders: Callable[[Conversation], Renders],
    ) -> None:
        self._decide = decide
        self._renders = renders
        self._planner = _Planner(template, rules)
        self._shapes: dict[bytes, _Shape] = {}
        self._count = 0
        self._judged: set[tuple[int | None, int | None]] = set()  # roles that followed each other

    def fill(self, roles: bytes, texts: Sequence[str]) -> Filled | None:
        """Fill a row of plain messages into the plan of its shape; `roles` are indices into
        `contracts.ROLES`. None if it has none."""
        shape = self._shapes.get(roles)
        if shape is None:
            shape = self._shapes[roles] = _Shape(
                tries=MAX_VARIANTS if len(roles) <= MAX_PLANNED_MESSAGES else 0
            )
            if len(self._shapes) > MANY_SHAPES:
                return None  # most of so many are never seen again
        for plan in shape.plans:
            filled = plan.fill(texts)
            if filled is not None:
                return Filled(plan, *filled)
        if not shape.tries or self._count >= MAX_PLANS:
            return None
        shape.tries -= 1
        new = self._new(roles, texts)
        if new is None:
            return None
        self._count += 1
        shape.plans.append(new)
        filled = new.fill(texts)
        return None if filled is None else Filled(new, *filled)

    def _new(self, roles: bytes, texts: Sequence[str]) -> Plan | None:
        """A plan for a row, if there is one that gives what the row by itself does."""
        messages = [Message(ROLES[code], text) for code, text in zip(roles, texts, strict=True)]
        row = Conversation(tuple(messages))
        try:
            plan = self._planner.plan([message.role for message in messages], texts)
            filled = plan.fill(texts)
            if filled is None or not plan.samples:  # a row that trains nothing is rejected by itself
                return None
            steps = {*pairwise((None, *roles, None))}
            if steps <= self._judged and not self._planner.rules.eos:
                renders = self._renders(row)
                right = [renders.through(last) for last in plan.last] == list(filled[0])
            else:
                right = _turns_of(Filled(plan, *filled)) == [
                    (sample.text, [tuple(turn) for turn in sample.turns], sample.proof)
                    for sample in self._decide(row)
                ]
                self._judged |= steps if right else set()
        except (RowError, Unplannable):
            return None
        return plan if right else None


@dataclass
class _Shape:
    """The plans of one sequence of roles, and how many more may be tried."""

    tries: int
    plans: list[Plan] = field(default_factory=list)


def _turns_of(filled: Filled) -> list[tuple[str, list[tuple[int, int, int]], str]]:
    """Text, turns (message, start, end in characters) and proof of each sample."""
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


class _Place(NamedTuple):
    """A place between characters of a text that every text of its shape has: in part `part`, after
    `offset` characters of it, which is a literal, or 0."""

    part: int
    offset: int


class _PlacedTurn(NamedTuple):
    message: int
    start: _Place
    end: _Place


@dataclass
class _Draft:
    parts: Parts
    last: int  # the message with which the text ends
    turns: list[_PlacedTurn] = field(default_factory=list)


class _Planner:
    """Works out plans: `labels.decide` for conversations of which only the roles are known.

    Each step does on parts what the step of the same name in `labels.py` does on characters, for the
    plain case only; in every other case it raises `Unplannable`.
    """

    def __init__(self, template: ChatTemplate, rules: Rules) -> None:
        self.rules = rules
        self._template = SymbolicTemplate(template, rules.kwargs)
        self._rendered: dict[tuple[tuple[str, ...], bool], list[Rendered]] = {}

    def plan(self, roles: Sequence[str], texts: Sequence[str]) -> Plan:
        """The plan of a row's shape. Raises `Unplannable`."""
        if self.rules.history is History.as_rendered:
            raise Unplannable
        return _Planning(self, roles, texts).plan()

    def render(self, roles: Sequence[str], texts: Sequence[str], *, prompt: bool) -> Rendered:
        """The symbolic render of a row, from an earlier one with the same answers if there is one."""
        known = self._rendered.setdefault((tuple(roles), prompt), [])
        for each in known:
            if all(question.value(texts) == answer for question, answer in each.answers.items()):
                return each
        known.append(self._template.render(roles, texts, prompt=prompt))
        return known[-1]

    def wanted(self, roles: Sequence[str]) -> list[int]:
        """Indices of the messages to train (`labels._wanted`)."""
        wanted = [i for i, role in enumerate(roles) if role in self.rules.train.roles]
        last = self.rules.history is History.last or self.rules.train.turns is Turns.last
        return wanted[-1:] if last else wanted


class _Planning:
    """The making of one plan."""

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
            _cut(through, _Place(self._written(through, index)[1] + 1, 0)), whole, within=written[1]
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

    def _prove(self, through: Parts, index: int) -> _PlacedTurn:
        """The completion of message `index` in a text that ends with it."""
        if index == 0:
            raise Unplannable
        first, last = self._written(through, index)
        start = self._prompt_end(through, index)
        if start > _Place(first, 0):
            raise Unplannable
        if _holds_slot(through[last + 1 :]):
            raise Unplannable
        after = _literal(through, last + 1)
        return _PlacedTurn(index, start, _Place(last + 1, self._rules.ends.after(after, 0)))

    def _prompt_end(self, through: Parts, index: int) -> _Place:
        """Where the prompt of a message ends in a text, or the part of it that the text shows, if the
        message's own text follows there (`boundaries.prompt_end`)."""
        prompt = self._render(index, prompt=True)
        last = max(0, len(prompt) - 1)
        shown, opening = _literal(through, last), _literal(prompt, last)
        following = through[last + bool(shown)] if len(through) > last + bool(shown) else ""
        cut_short = len(shown) < len(opening) and opening.startswith(shown) and isinstance(following, Op)
        cut_short = cut_short and self._begins(prompt[:last], through)
        if not cut_short or not isinstance(following, Op) or self._messages[following] != index:
            if not self._begins(prompt, through):
                raise Unplannable
            return _end(prompt)
        self._starts_otherwise(following, opening[len(shown) :])
        begin, end = self._generation_prompt_start(prompt, index), len(shown)
        if end < begin or (
            opening[end:].strip()
            and (whole_marker(opening, end, begin) != end or not opening[begin:end].strip())
        ):
            raise Unplannable
        return _Place(last, end) if shown else _Place(last, 0)

    def _generation_prompt_start(self, prompt: Parts, index: int) -> int:
        """Where in the last literal of a prompt the generation prompt starts
        (`boundaries.generation_prompt_start`)."""
        last, before = len(prompt) - 1, self._through(index - 1)
        if before == prompt:
            return 0
        if before[:last] != prompt[:last] or len(before) > last + 1:
            raise Unplannable
        opening = _literal(prompt, last)
        return whole_marker(opening, len(commonprefix([opening, _literal(before, last)])), 0)

    def _own_text(self, draft: _Draft, index: int) -> _PlacedTurn:
        first, last = self._written(draft.parts, index)
        return _PlacedTurn(index, _Place(first, 0), _Place(last + 1, 0))

    def _end_turns(self, draft: _Draft) -> None:
        """The opener of the next turn, the eos and the recipe's `end_of_turn` (`labels._end_turns`)."""
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
                draft.turns[draft.turns.index(last)] = last._replace(end=_Place(part, end + len(eos)))
        if not self._rules.train.end_of_turn:
            draft.turns = [self._without_stop(draft.parts, turn) for turn in draft.turns]

    def _opened(self, parts: Parts, turn: _PlacedTurn) -> _PlacedTurn:
        part, end = turn.end
        after = _literal(parts, part)
        opener = self._rules.ends.opener_after(after, end, 0)
        rest = after[end:].lstrip()
        openers = self._rules.ends.openers if _holds_slot(parts[part:]) else ()
        if (openers and not rest) or any(token.startswith(rest) and token != rest for token in openers):
            raise Unplannable
        return turn._replace(end=_Place(part, opener))

    def _without_stop(self, parts: Parts, turn: _PlacedTurn) -> _PlacedTurn:
        part, end = turn.end
        after = _literal(parts, part)
        printed = len(after[:end].rstrip())
        if not printed:
            raise Unplannable
        return turn._replace(end=_Place(part, self._rules.ends.begin(after, printed, 0)))

    def _check(self, draft: _Draft) -> None:
        """Turns must not overlap, and nothing that another message wrote may stand in one."""
        draft.turns.sort(key=lambda turn: turn.start)
        at = _Place(0, 0)
        for turn in draft.turns:
            if turn.start < at or turn.end <= turn.start:
                raise Unplannable
            at = turn.end
            inside = draft.parts[turn.start.part : turn.end.part]
            if any(isinstance(part, Op) and self._messages[part] != turn.message for part in inside):
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
        """The first and the last part that a message wrote."""
        own = [i for i, part in enumerate(parts) if isinstance(part, Op) and self._messages[part] == index]
        if not own:
            raise Unplannable
        return own[0], own[-1]

    def _begins(self, start: Parts, parts: Parts, *, within: int | None = None) -> bool:
        """Whether a text begins with another, whatever the texts in the slots; `within`: if it does not, the
        difference must stand before the end of this part."""
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
                self._starts_otherwise(other, one)
            else:
                self._starts_otherwise(one, str(other))
            if within is not None and number > within:
                raise Unplannable
            return False
        return len(start) <= len(parts)

    def _differ_where_one_ends(self, one: str, other: str, start: Parts, parts: Parts, number: int) -> None:
        """Of two literals that differ: if one begins the other, what follows it must be something else
        than the rest of the other."""
        shorter, longer = sorted((one, other), key=len)
        if not longer.startswith(shorter):
            return
        following = start if shorter is one else parts
        if number + 1 < len(following):
            self._starts_otherwise(following[number + 1], longer[len(shorter) :])

    def _starts_otherwise(self, slot: Part, literal: str) -> None:
        """Have it a condition that what fills a slot begins with another character than a literal."""
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
        edges = sorted({place for turn in draft.turns for place in (turn.start, turn.end)})
        for number, part in enumerate(draft.parts):
            if isinstance(part, Op):
                cuts, size = [0], 1
            else:
                cuts, size = [0, *(edge.offset for edge in edges if edge.part == number)], len(part)
            bounds = [*sorted({cut for cut in cuts if cut < size}), size]
            for low, high in pairwise(bounds):
                place = _Place(number, low)
                turn = next((t.message for t in draft.turns if t.start <= place < t.end), NOT_TRAINED)
                if isinstance(part, Op):
                    role = 1 + ROLES.index(self._roles[self._messages[part]])
                    rows.append((0, slots[part], role, turn))
                else:
                    rows.append((len(part[low:high].encode()), -1, 0, turn))
        return PlannedSample(*np.array(rows, dtype=np.int64).T.copy())


def _holds_slot(parts: Parts) -> bool:
    return any(isinstance(part, Op) for part in parts)


def _message_of(op: Op) -> int:
    """The message of which an expression prints a piece; `Unplannable` if it may print anything else."""
    while op.name != "text":
        if op.name not in ("call", "item", "slice") or not isinstance(op.args[0], Op):
            raise Unplannable
        op = op.args[0]
    return int(op.args[0])


def _end(parts: Parts) -> _Place:
    """The end of a text, as a place in one that begins with it."""
    if parts and isinstance(parts[-1], str):
        return _Place(len(parts) - 1, len(parts[-1]))
    return _Place(len(parts), 0)


def _literal(parts: Parts, number: int) -> str:
    """The literal that is part `number`; empty where there is none."""
    part = parts[number] if number < len(parts) else ""
    return part if isinstance(part, str) else ""


def _cut(parts: Parts, end: _Place) -> Parts:
    """The parts before a place."""
    return (*parts[: end.part], *([_literal(parts, end.part)[: end.offset]] if end.offset else []))


def _compile(
    texts: Sequence[Parts], slots: Mapping[Op, int], answers: Answers
) -> Callable[[Sequence[str]], tuple[tuple[str, ...], tuple[str, ...]] | None]:
    """A function that checks a plan's conditions and puts texts into its slots.

    Its source holds no text of a row or template: constants are its defaults.
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
    """Lines of Python that give names to strings and lists, so that what shares them computes them once."""

    def __init__(self) -> None:
        self.constants: dict[str, Any] = {}
        self.lines: list[str] = []
        self._known: dict[Op, str] = {}

    def constant(self, value: Any) -> str:
        name = f"k{len(self.constants)}"
        self.constants[name] = value
        return name

    def of(self, op: Op) -> str:
        """An expression for `op`: a name, or for a question its source."""
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
