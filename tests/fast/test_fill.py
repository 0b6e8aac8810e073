"""Plain rows filled into plans: the texts and the mask that deciding each by itself gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from inputs import batch_of
from mixed_rows import sharegpt_row, sharegpt_rows
from places import MakeLabeller
from premask.core.records import PROOFS, Conversation, MaskedTexts, Row
from premask.core.shapes import plain_shape
from premask.fast.fill import REPEATED, Filler
from premask.fast.paths import Paths
from premask.fast.render_plans import Plans
from premask.labeller import Labeller
from premask.masking.segments import masked_texts

OPTIONS: list[dict[str, Any]] = [
    {"chat_template": "chatml"},
    {"chat_template": "chatml", "append_eos": True, "train": {"roles": ["assistant", "user"]}},
    {"chat_template": "llama2", "history": "last"},
    {"chat_template": "vicuna", "train": {"end_of_turn": False}},
]


def filler_of(labeller: Labeller) -> Filler:
    arguments = labeller.template_arguments
    plans = Plans(labeller.template, labeller.rules, decide=labeller.decide, arguments=arguments)
    return Filler(plans, Paths(labeller.template, labeller.rules, arguments(Conversation(()))))


@pytest.fixture(scope="module")
def pairs(make_labeller: MakeLabeller, forgetful: str) -> list[tuple[Labeller, Filler]]:
    options = [*OPTIONS, {"chat_template": forgetful}]
    labellers = [make_labeller("sample", **each) for each in options]
    return [(labeller, filler_of(labeller)) for labeller in labellers]


@pytest.fixture(scope="module")
def forgetful(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A template that prints a thought before the last answer only: two samples a row of two questions."""
    path = tmp_path_factory.mktemp("template") / "forgets.jinja"
    path.write_text(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n"
        "{{ '<think></think>' if m.role == 'assistant' and loop.last }}{{ m.content }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
        encoding="utf-8",
    )
    return str(path)


def by_byte(masked: MaskedTexts) -> list[tuple[int, int]]:
    """Writer and message of each byte, however it is cut into segments."""
    columns = (np.repeat(each, masked.sizes).tolist() for each in (masked.writers, masked.messages))
    return list(zip(*columns, strict=True))


def seams_of(masked: MaskedTexts) -> list[int]:
    """Bytes at which a completion starts or ends."""
    begin = np.cumsum(masked.sizes) - masked.sizes
    return sorted(set(begin[masked.seams].tolist()))


def check(labeller: Labeller, filler: Filler, rows: list[Row]) -> int:
    """Each row that is filled is what it is by itself; returns how many these are."""
    plain = batch_of(rows, "sharegpt").shaped
    filled = filler.fill(plain.shapes, plain.texts)
    if filled is None:
        return 0
    masked = filled.masked
    assert np.add.reduceat(masked.sizes, masked.offsets[:-1]).tolist() == [
        len(text.encode()) for text in masked.texts
    ]
    assert (
        sorted(set(masked.rows.tolist())) == list(range(len(filled.rows))) == list(range(len(filled.filled)))
    )
    for place, row in enumerate(filled.rows.tolist()):
        (conversation,), _ = labeller.read(rows[plain.index[row]], "sharegpt")
        samples = labeller.decide(conversation)
        expected = masked_texts(samples, [place] * len(samples))
        own = masked.taken(np.flatnonzero(masked.rows == place))
        assert own.texts == expected.texts
        assert own.proofs.tolist() == expected.proofs.tolist()
        assert by_byte(own) == by_byte(expected)
        assert seams_of(own) == seams_of(expected)
    return len(filled.rows)


@given(sharegpt_rows())
def test_rows_of_every_kind(pairs: list[tuple[Labeller, Filler]], rows: list[Row]) -> None:
    for labeller, filler in pairs:
        check(labeller, filler, rows)


def test_plain_talks_are_filled(pairs: list[tuple[Labeller, Filler]]) -> None:
    talks = [
        [("human", "Hi"), ("gpt", "Hello"), ("human", text), ("gpt", f"Re: {text}")]
        for text in ("é", "你好", "🙂", "plain")
    ]
    rows = [sharegpt_row(i, turns) for i, turns in enumerate(talks)]

    assert [check(labeller, filler, rows) for labeller, filler in pairs] == [4] * len(pairs)


def test_rows_of_several_samples_are_told_apart(pairs: list[tuple[Labeller, Filler]]) -> None:
    _, filler = pairs[-1]
    talk = [("human", "Hi"), ("gpt", "Hello"), ("human", "Bye"), ("gpt", "Ciao")]
    rows = [sharegpt_row(0, talk), sharegpt_row(1, talk[:2]), sharegpt_row(2, talk)]
    plain = batch_of(rows, "sharegpt").shaped
    filled = filler.fill(plain.shapes, plain.texts)

    assert filled is not None
    assert filled.masked.rows.tolist() == [0, 0, 1, 2, 2]
    assert [PROOFS[code] for code in filled.masked.proofs] == [
        "split",
        "split",
        "inference",
        "split",
        "split",
    ]


def test_rows_without_a_plan_are_left(pairs: list[tuple[Labeller, Filler]]) -> None:
    """Nobody answers, so there is nothing to train; also where who speaks after whom has been seen."""
    labeller, filler = pairs[0]
    talk = [("human", "Hi"), ("gpt", "Hello"), ("human", "Bye")]

    assert check(labeller, filler, [sharegpt_row(0, talk)]) == 1
    assert filler.fill([plain_shape(("user",))], [["Hi"]]) is None
    assert filler.fill([], []) is None


def test_after_many_shapes_a_new_one_must_come_often(
    pairs: list[tuple[Labeller, Filler]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan is made at the first row of a shape, or, when there are many shapes, once the shape is frequent."""
    monkeypatch.setattr("premask.fast.fill.FEW", 1)
    labeller, _ = pairs[0]
    filler = Filler(Plans(labeller.template, labeller.rules, decide=labeller.decide))
    shapes = [plain_shape(("user", "assistant") * turns) for turns in (1, 2)]

    assert filler.fill([shapes[0]], [["x", "y"]])
    assert [filler.fill([shapes[1]], [["x", "y", "x", "y"]]) is not None for _ in range(REPEATED + 1)] == [
        *[False] * REPEATED,
        True,
    ]
