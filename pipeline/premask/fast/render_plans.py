"""Render plans: what a chat template prints for all rows of one shape, and what of it is trained.

    plans = Plans(template, rules, decide=labeller.decide)
    filled = plans.fill(shape, texts)       # None: this row takes the slow path
    filled.texts                            # the texts of the samples
    filled.plan.samples[0].turn             # the message of each segment, if it is trained

Most rows of a dataset have one of a few shapes (user, assistant; system, user, assistant; ...). For all rows
of one shape, the template prints the same literals around the texts, and the completions are at the same
positions between them. A plan has this result, computed once.

Why a plan is right:

- `masking/symbolic.py` runs the template without reading the texts. Each question that the template asks
  about a text becomes a condition of the plan.
- The mask is decided by `masking/completions.py` on these renders: there is no second decision. What the
  decision asks about texts becomes a condition, too (`plan_conditions.py`).
- A plan is made from two rows, the current one and one with other texts. Both must give the same.
- A new plan must give what the slow path gives for the current row.
- A share of all rows is decided again (recipe key `verify`).

Cost: filling a plan takes about 1 us a message; making one takes some milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..core.errors import RowError
from ..core.records import Conversation, Sample
from ..core.shapes import RowShape, conversation_of, json_text
from ..masking.chat_template import ChatTemplate
from ..masking.completions import decide
from ..masking.renders import settled
from ..masking.rules import Rules
from ..masking.segments import segments_of
from ..masking.symbolic import Answers, Op, Questions, SymbolicTemplate, Unplannable
from ..masking.symbolic_renders import SymbolicRenders, origins_of
from .kinds import Kind, kind_of, planned_segments
from .plan_code import compiled
from .plan_conditions import Parts, add_conditions, ask_reasoning, parts_of_sample

MAX_PLANNED_MESSAGES = 128
"""Conversations with more messages get no plan."""

MAX_VARIANTS = 16
"""Plans that are tried for one shape; they differ in the answers to the questions of the template."""

MAX_PLANS = 4096
"""Number of all plans; rows of other shapes take the slow path."""


@dataclass(frozen=True)
class Plan:
    """The result for rows of one shape.

    `fill(texts)` returns the texts of the samples and the strings in the slots, or None if the texts do not
    meet the conditions of the plan. `counts` are those of a row as a whole.
    """

    fill: Callable[[Sequence[str]], tuple[tuple[str, ...], tuple[str, ...]] | None]
    samples: tuple[Kind, ...]
    slots: int
    proofs: tuple[str, ...]
    counts: Mapping[str, int]
    last: tuple[int, ...] | None  # the last message of each sample, None if one is not a render


class Filled(NamedTuple):
    """A row filled into a plan: the text of each sample, and the strings in the slots."""

    plan: Plan
    texts: tuple[str, ...]
    slots: tuple[str, ...]


class Plans:
    """The plans of one recipe, made when rows of new shapes are seen.

    `decide` is that of the slow path, `arguments` gives the template arguments of a conversation, and
    `has_modes` says that they depend on whether it has reasoning. `as_parts` are the roles whose content the
    template takes as a list of parts.
    """

    def __init__(  # noqa: PLR0913  what a decision depends on
        self,
        template: ChatTemplate,
        rules: Rules,
        *,
        decide: Callable[[Conversation], tuple[Sample, ...]],
        arguments: Callable[[Conversation], Mapping[str, Any]] = lambda _: {},
        as_parts: frozenset[str] = frozenset(),
        has_modes: bool = False,
    ) -> None:
        self._decide = decide
        self._maker = _Maker(template, SymbolicTemplate(template), rules, arguments, as_parts, has_modes)
        self._shapes: dict[RowShape, _Shape] = {}
        self._count = 0

    def known(self, row: RowShape, texts: Sequence[str]) -> Filled | None:
        """Fill a row into a plan of its shape. Returns None if no plan that was made holds for it."""
        shape = self._shapes.get(row)
        for plan in shape.plans if shape is not None else ():
            filled = plan.fill(texts)
            if filled is not None:
                return Filled(plan, *filled)
        return None

    def fill(self, row: RowShape, texts: Sequence[str]) -> Filled | None:
        """Fill a row into a plan of its shape, a new one if no other holds. Returns None if there is none."""
        shape = self._shapes.get(row)
        if shape is None:
            is_short = len(row.messages) <= MAX_PLANNED_MESSAGES
            shape = self._shapes[row] = _Shape(tries=MAX_VARIANTS if is_short else 0)
        filled = self.known(row, texts)
        if filled is not None:
            return filled
        if not shape.tries or self._count >= MAX_PLANS:
            return None
        shape.tries -= 1
        new = self._new(row, texts)
        if new is None:
            return None
        self._count += 1
        shape.plans.append(new)
        own = new.fill(texts)
        return None if own is None else Filled(new, *own)

    def _new(self, shape: RowShape, texts: Sequence[str]) -> Plan | None:
        """Return a plan for a row, if it gives what the slow path gives."""
        try:
            made = self._maker.make(shape, texts)
            if made.parts != self._maker.make(shape, _other_texts(shape, texts), made.answers).parts:
                return None
            right = self._decide(conversation_of(shape, texts))
        except (RowError, Unplannable):
            return None
        if not _are_equal(made.samples, right):
            return None
        return made.plan(right[0].counts)


@dataclass
class _Shape:
    """The plans of one shape, and the number of further tries."""

    tries: int
    plans: list[Plan] = field(default_factory=list)


def _are_equal(some: Sequence[Sample], others: Sequence[Sample]) -> bool:
    """Whether samples are the same for what follows the decision."""
    return len(some) == len(others) and all(
        (one.text, one.proof, one.turns) == (other.text, other.proof, other.turns)
        and _without_cuts(one) == _without_cuts(other)
        for one, other in zip(some, others, strict=True)
    )


def _without_cuts(sample: Sample) -> list[tuple[int, int, bool, float, int]]:
    """Return the segments of a sample, joined where only the field of a message changes."""
    joined: list[tuple[int, int, bool, float, int]] = []
    for size, writer, message, seam, weight in segments_of(sample):
        if joined and not seam and joined[-1][:2] == (writer, message) and joined[-1][3] == weight:
            joined[-1] = (*joined[-1][:4], joined[-1][4] + size)
        else:
            joined.append((writer, message, seam, weight, size))
    return joined


def _other_texts(shape: RowShape, texts: Sequence[str]) -> list[str]:
    """Return texts that differ from these in every slot."""
    changed = []
    fields = [origin.field for origin in origins_of(shape)]
    for text, name in zip(texts, fields, strict=True):
        if not name or name.endswith(".arguments"):
            middle = text.rindex("}")
            inner = text[:middle]
            changed.append(inner + (", " if len(text) > len("{}") else "") + json_text("\ue000") + ": 1}")
        else:
            changed.append(text[: len(text) // 2] + "\ue000" + text[len(text) // 2 :] if text else text)
    return changed


# ==== Making a plan ====


class _Made(NamedTuple):
    """What was decided about one row, in parts."""

    samples: tuple[Sample, ...]
    texts: tuple[Parts, ...]
    answers: Answers
    last: tuple[int, ...] | None

    @property
    def parts(self) -> list[tuple[Any, ...]]:
        """What must be the same for other rows of the shape."""
        return [
            (
                each.proof,
                text,
                [(size if op is None else op, *rest) for size, op, *rest in planned_segments(each)],
            )
            for each, text in zip(self.samples, self.texts, strict=True)
        ]

    def plan(self, counts: Mapping[str, int]) -> Plan:
        """Return the plan."""
        slots: dict[Op, int] = {}
        for part in (part for text in self.texts for part in text):
            if isinstance(part, Op):
                slots.setdefault(part, len(slots))
        fill = compiled(self.texts, slots, self.answers)
        proofs = tuple(each.proof for each in self.samples)
        planned = tuple(kind_of(list(planned_segments(each)), slots) for each in self.samples)
        return Plan(fill, planned, len(slots), proofs, dict(counts), self.last)


class _Maker(NamedTuple):
    """Decides rows of which only the shape is known."""

    template: ChatTemplate
    symbolic: SymbolicTemplate
    rules: Rules
    arguments: Callable[[Conversation], Mapping[str, Any]]
    as_parts: frozenset[str]
    has_modes: bool

    def make(self, shape: RowShape, texts: Sequence[str], answers: Answers | None = None) -> _Made:
        """Decide a row. Raises `Unplannable` or `RowError`; also if it gives other answers than `answers`."""
        questions = Questions(texts)
        if any(op.value(texts) != answer for op, answer in (answers or {}).items()):
            raise Unplannable
        conversation = conversation_of(shape, texts)
        renders = self._renders(
            settled(conversation, lambda each: self._renders(each, shape, questions)), shape, questions
        )
        if self.has_modes:
            ask_reasoning(conversation, shape, self.rules.marks, questions)
        samples = decide(renders, self.rules)
        add_conditions(renders, samples, self.rules, shape)
        texts_of = tuple(map(parts_of_sample, samples))
        return _Made(samples, texts_of, questions.answers, _last_messages(renders, samples))

    def _renders(self, conversation: Conversation, shape: RowShape, questions: Questions) -> SymbolicRenders:
        kwargs = self.arguments(conversation)
        return SymbolicRenders(
            conversation, shape, questions, self.template, self.symbolic, kwargs, self.as_parts
        )


def _last_messages(renders: SymbolicRenders, samples: Sequence[Sample]) -> tuple[int, ...] | None:
    """Return the last message of the text of each sample; None if one is not a render."""
    found = []
    for sample in samples:
        is_whole = sample.text == renders.whole.text
        last = len(renders.messages) - 1 if is_whole else sample.turns[-1].message
        if not is_whole and renders.through(last) != sample.text:
            return None
        found.append(last)
    return tuple(found)
