"""Render plans give what rendering and proving a row by itself gives: over all templates of the corpus, with
contents that look like the templates' own markers."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from premask.core.errors import RowError
from premask.core.recipe import History, Train
from premask.core.records import NOT_TRAINED, ROLES, Conversation, Sample
from premask.core.shapes import RowShape, conversation_of, plain_shape
from premask.fast.render_plans import MAX_PLANNED_MESSAGES, MAX_VARIANTS, Filled, Plans
from premask.masking.chat_template import ChatTemplate, built_in_templates, template_source
from premask.masking.completions import decide
from premask.masking.reasoning_marks import find_reasoning_marks
from premask.masking.renders import Renders
from premask.masking.rules import Rules
from premask.masking.turn_ends import TurnEnds, find_turn_ends
from random_chats import MARKERS
from template_corpus import INDEX, TEMPLATES, compiles, source_of

VARIABLES = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
ROLE_OF = dict(zip("sduat", ROLES, strict=True))
SHAPES = (
    "ua",
    "sua",
    "uaua",
    "suaua",
    "uauaua",
    "aua",
    "uua",
    "uaa",
    "ut",
    "utua",
    "uata",
    "dua",
    "uas",
    "us",
)
OPTIONS: list[dict[str, Any]] = [
    {},
    {"eos": "</s>"},
    {"history": History.last, "train": Train(end_of_turn=False)},
    {"train": Train(roles=["assistant", "user"])},
]
"""What a recipe may want otherwise than by default."""


def shape_of(letters: str) -> RowShape:
    return plain_shape(tuple(ROLE_OF[letter] for letter in letters))


def conversation(letters: str, texts: list[str]) -> Conversation:
    return conversation_of(shape_of(letters), texts)


class Both:
    """A template's plans and, beside them, the decision row by row."""

    def __init__(
        self,
        template: ChatTemplate,
        *,
        history: History = History.split,
        train: Train | None = None,
        eos: str = "",
        control_tokens: tuple[str, ...] = ("<|im_end|>", "<|user|>", "<|eot_id|>"),
    ) -> None:
        self._template = template
        self.ends: TurnEnds = find_turn_ends(self._renders, stops=("</s>",), control_tokens=control_tokens)
        marks = find_reasoning_marks(template.sources.values(), self._renders)
        self.rules = Rules(self.ends, marks, history=history, train=train or Train(), eos=eos)
        self.plans = Plans(template, self.rules, decide=self.decide)

    def _renders(self, chat: Conversation) -> Renders:
        return Renders(chat, self._template)

    def decide(self, chat: Conversation) -> tuple[Sample, ...]:
        return decide(self._renders(chat), self.rules)

    def fill(self, shape: str, texts: list[str]) -> Filled | None:
        return self.plans.fill(shape_of(shape), texts)

    def planned(self, shape: str, texts: list[str]) -> Filled:
        """Filled into a plan, that of the row itself if there is none yet."""
        filled = self.fill(shape, texts)
        assert filled is not None
        return filled


Judged = list[tuple[str, list[tuple[int, int, int]], str]]


def by_plan(filled: Filled) -> Judged:
    """Text, turns and proof of each sample, the turns in bytes: a readable twin of what the hot path does
    with segments."""
    found = []
    for text, sample, proof in zip(filled.texts, filled.plan.samples, filled.plan.proofs, strict=True):
        covered: dict[int, list[int]] = {}
        at = 0
        for literal, slot, turn in zip(sample.literal, sample.slot, sample.turn, strict=True):
            size = int(literal) if slot < 0 else len(filled.slots[slot].encode())
            if turn != NOT_TRAINED:
                covered.setdefault(int(turn), []).extend([at, at + size])
            at += size
        assert at == len(text.encode())
        found.append((text, [(turn, min(e), max(e)) for turn, e in covered.items()], proof))
    return found


def by_itself(samples: tuple[Sample, ...]) -> Judged:
    def in_bytes(text: str, end: int) -> int:
        return len(text[:end].encode())

    return [
        (
            each.text,
            [
                (turn.message, in_bytes(each.text, turn.start), in_bytes(each.text, turn.end))
                for turn in each.turns
            ],
            each.proof,
        )
        for each in samples
    ]


def rows(source: str, count: int, seed: int) -> Iterator[tuple[str, list[str]]]:
    """Rows of a few shapes whose texts are glued from markers, most from the template's own literals."""
    chance = random.Random(seed)  # noqa: S311  the same rows each time
    literals = [one or other for one, other in re.findall(r"'([^'\n]{1,40})'|\"([^\"\n]{1,40})\"", source)]
    pool = [*MARKERS, *(each.replace("\\n", "\n") for each in literals[:200])]
    shapes = chance.sample(SHAPES, 4)
    for _ in range(count):
        shape = chance.choice(shapes)
        texts = ["".join(chance.choices(pool, k=chance.choice((0, 1, 1, 2, 3)))) for _ in shape]
        if all(text.strip() for letter, text in zip(shape, texts, strict=True) if letter == "a"):
            yield shape, texts


def compare(both: Both, source: str, count: int, seed: int) -> Counter[str]:
    counts: Counter[str] = Counter()
    for shape, texts in rows(source, count, seed):
        filled = both.fill(shape, texts)
        try:
            samples = both.decide(conversation(shape, texts))
        except RowError:
            samples = ()
        if filled is None:
            counts["left"] += 1
        else:
            assert by_plan(filled) == by_itself(samples), (shape, texts)
            counts["planned"] += 1
    return counts


@pytest.mark.skipif(not TEMPLATES.is_dir(), reason=f"the template corpus {TEMPLATES} is not here")
def test_plans_agree_with_the_decision_over_the_corpus() -> None:
    counts: Counter[str] = Counter()
    for number, file in enumerate(filter(compiles, INDEX)):
        source = source_of(file)
        if not isinstance(source, str):
            continue
        template = ChatTemplate(source, variables=VARIABLES)
        counts.update(compare(Both(template, **OPTIONS[number % len(OPTIONS)]), source, 60, number))
    assert counts["planned"] > 2500


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", built_in_templates())
def test_plans_agree_with_the_decision_for_built_in_templates(name: str, options: dict[str, Any]) -> None:
    source = template_source(name)
    counts = compare(Both(ChatTemplate(source, variables=VARIABLES), **options), source, 300, 7)
    assert counts["planned"] > 10


@pytest.fixture
def chatml() -> Both:
    return Both(ChatTemplate(template_source("chatml"), variables=VARIABLES))


def test_rows_of_one_shape_share_a_plan(chatml: Both) -> None:
    filled = chatml.fill("ua", ["Hi", "Hello"])
    assert filled is not None
    assert filled.slots == ("Hi", "Hello")
    assert filled.texts[0].endswith("<|im_start|>assistant\nHello<|im_end|>\n")
    again = chatml.fill("ua", ["x", "y"])
    assert again is not None
    assert again.plan is filled.plan


def test_the_trained_segments_are_the_answer_and_its_end(chatml: Both) -> None:
    filled = chatml.planned("ua", ["Hi", "Hello"])
    (sample,) = filled.plan.samples
    trained = [
        (int(s), int(size))
        for s, size, t in zip(sample.slot, sample.literal, sample.turn, strict=True)
        if t == 1
    ]
    assert trained == [(1, 0), (-1, len("<|im_end|>"))]


def test_long_conversations_have_no_plan(chatml: Both) -> None:
    shape = "ua" * (MAX_PLANNED_MESSAGES // 2 + 1)
    assert chatml.fill(shape, ["x"] * len(shape)) is None


def test_a_template_that_looks_at_every_length_gets_no_plan() -> None:
    source = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ m.content | length }}</s>{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    both = Both(ChatTemplate(source, variables=VARIABLES))
    assert not any(both.fill("ua", ["x" * size, "y"]) for size in range(1, 2 * MAX_VARIANTS))


def test_rows_that_the_template_refuses_have_no_plan() -> None:
    source = (
        "{% for m in messages %}{% if 'bad' in m.content %}{{ raise_exception('no') }}{% endif %}"
        "<{{ m.role }}>{{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    both = Both(ChatTemplate(source, variables=VARIABLES))
    assert both.planned("ua", ["good", "y"])
    assert both.fill("ua", ["bad", "y"]) is None
