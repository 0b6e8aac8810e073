"""The reported inputs of kinds K4, K5, K6, K14 and K25, and marks and weights of other rows, through a labeller."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inputs import rows_of
from labelling import kept, messages_row, rejected, trained
from places import SHARED, MakeLabeller
from premask.core.contract import IGNORE_INDEX
from premask.core.records import Row
from premask.labeller import Labeller
from premask.masking import educational
from premask.review.rerun import label_again
from premask.running.inputs import look_at

REPORTED = SHARED / "corpus" / "reported"

needs_reported = pytest.mark.skipif(not REPORTED.is_dir(), reason=f"{REPORTED} is not here")


def row_of(name: str) -> Row:
    return rows_of((REPORTED / name / "data.jsonl").as_posix())[0]


@pytest.fixture(scope="module")
def qwen(make_labeller: MakeLabeller) -> Labeller:
    return make_labeller("qwen3", on_dropped="count")


@needs_reported
@pytest.mark.parametrize("name", ["g_glm_kwnull", "kwargs_null_jsonl"])
def test_null_template_arguments_change_no_text(make_labeller: MakeLabeller, name: str) -> None:
    template = (REPORTED / name / "glm46.jinja").as_posix()
    labeller = make_labeller("qwen3", chat_template=template, open_reasoning="as-rendered")
    (sample,) = kept(labeller, row_of(name), "openai")
    assert "/nothink" not in sample.text


@needs_reported
def test_arguments_of_the_render_call_refuse_the_row(qwen: Labeller) -> None:
    line = rejected(qwen, row_of("kwargs_collide"), "openai")
    assert (line.reason, line.detail.partition(";")[0]) == (
        "wrong_type",
        "'chat_template_kwargs' has 'tools', which no template argument can be",
    )


@needs_reported
def test_train_turns_are_honoured(qwen: Labeller) -> None:
    (sample,) = kept(qwen, row_of("train_turns"), "openai")
    said = "".join(trained(qwen, sample))
    assert "good answer" in said
    assert "bad answer" not in said


@needs_reported
def test_a_call_after_a_text_is_one_turn(qwen: Labeller) -> None:
    row = row_of("sharegpt_text_and_call")
    assert qwen.read(row, "sharegpt")[1] == ("joined_calls",)
    samples = kept(qwen, row, "sharegpt")
    said = "".join(text for sample in samples for text in trained(qwen, sample))
    assert "Let me look.\n<tool_call>\n" in said
    assert said.count("<|im_end|>") == 2


@needs_reported
def test_reasoning_given_twice_is_printed_once(qwen: Labeller) -> None:
    (sample,) = kept(qwen, row_of("think_dup"), "openai")
    assert sample.text.count("<think>") == 1
    assert "".join(trained(qwen, sample)) == "<think>\nr\n</think>\n\nb<|im_end|>"


# ==== Marks and weights of other rows ====

HI = {"role": "user", "content": "Hi"}


def answered(**fields: Any) -> dict[str, Any]:
    return {"role": "assistant", **fields}


def test_parts_that_are_not_trained(make_labeller: MakeLabeller) -> None:
    labeller = make_labeller("qwen3", chat_template="chatml")
    content = [
        {"type": "text", "text": "Hm.\n"},
        {"type": "text", "text": "wrong\n", "train": False},
        {"type": "text", "text": "right"},
    ]
    (sample,) = kept(labeller, messages_row([HI, answered(content=content)]), "openai")
    said = trained(labeller, sample)
    assert (said[0].strip(), said[-1].strip()) == ("Hm.", "right<|im_end|>")
    assert "wrong" not in "".join(said)


def test_ranges_of_characters(make_labeller: MakeLabeller) -> None:
    labeller = make_labeller("qwen3", chat_template="chatml")
    detail = [{"begin_offset": 4, "end_offset": 8, "train": True}]
    row = messages_row([HI, answered(content="one\ntwo\nthree", train_detail=detail)])
    (sample,) = kept(labeller, row, "openai")
    assert "two" in "".join(trained(labeller, sample))
    assert "one" not in "".join(trained(labeller, sample))
    assert "three" not in "".join(trained(labeller, sample))


@pytest.mark.parametrize(
    ("row", "reason", "detail"),
    [
        ({"weight": 0}, "nothing_trained", "the row has weight 0; leave it out, or set loss_weights"),
        ({"weight": 2}, "unsupported_weight", "the row has weight 2.0; set loss_weights to keep it"),
        ({"weight": -1}, "unsupported_weight", "the row has weight -1.0; set loss_weights to keep it"),
        ({"weights": 1}, "", ""),
        ({"weight": 1}, "", ""),
    ],
)
def test_row_weights_without_loss_weights(
    make_labeller: MakeLabeller, row: dict[str, Any], reason: str, detail: str
) -> None:
    labeller = make_labeller("qwen3", chat_template="chatml")
    given_row = messages_row([HI, answered(content="Ho")], **row)
    if not reason:
        assert kept(labeller, given_row, "openai")
        return
    line = rejected(labeller, given_row, "openai")
    assert (line.reason, line.detail[: len(detail)]) == (reason, detail)


def test_part_weights_without_loss_weights(make_labeller: MakeLabeller) -> None:
    labeller = make_labeller("qwen3", chat_template="chatml")
    content = [{"type": "text", "text": "a"}, {"type": "text", "text": "b", "weight": 0.5}]
    line = rejected(labeller, messages_row([HI, answered(content=content)]), "openai")
    assert (line.reason, line.detail) == (
        "unsupported_weight",
        "a part of message 1 has weight 0.5; set loss_weights to keep it",
    )


WEIGHTS = st.sampled_from([None, 0, 1, -1, 0.5, 3])


@settings(max_examples=30, deadline=None)
@given(row=WEIGHTS, turns=st.lists(WEIGHTS, min_size=1, max_size=3), cut=st.booleans())
def test_weights_are_those_of_row_and_turn(
    make_labeller: MakeLabeller,
    row: float | None,
    turns: list[float | None],
    cut: bool,  # noqa: FBT001
) -> None:
    """Also per sample, whether or not the sample is cut into pieces, as the readable twin has it."""
    more = {"too_long": "split", "max_length": 12} if cut else {}
    labeller = make_labeller("qwen3", chat_template="chatml", loss_weights="per_sample", **more)
    messages = list(
        chain.from_iterable(
            (HI, answered(content=f"answer {i}", weight=each)) for i, each in enumerate(turns)
        )
    )
    given_row = messages_row(messages, **({} if row is None else {"weight": row}))
    if all(each == 0 for each in turns):
        assert rejected(labeller, given_row, "openai").reason == "nothing_trained"
        return
    (whole,) = kept(labeller, given_row, "openai")
    factor = 1 if row is None else row
    own = sorted({float(factor * (1 if each is None else each)) for each in turns if each != 0})
    assert sorted({*whole.weights[whole.labels != IGNORE_INDEX].tolist()}) == own
    assert not whole.weights[whole.labels == IGNORE_INDEX].any()
    begin = 0
    for piece in label_again(labeller, given_row, "openai"):
        begin = next(
            i for i in range(begin, len(whole.ids)) if (whole.ids[i : i + len(piece.ids)] == piece.ids).all()
        )
        plain = np.where(piece.labels == IGNORE_INDEX, 0, whole.weights[begin : begin + len(piece.ids)])
        twin = educational.per_sample(plain.tolist(), piece.labels.tolist())
        assert np.allclose(piece.weights, twin)


def test_keys_that_look_like_marks_are_warned_of_once_a_file(
    tmp_path: Path, make_labeller: MakeLabeller
) -> None:
    line = '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "no_loss": true}]}\n'
    (tmp_path / "a.jsonl").write_text(line * 9, encoding="utf-8")
    (tmp_path / "b.jsonl").write_text(line.replace(', "no_loss": true', ""), encoding="utf-8")
    sources = [(tmp_path / name).as_posix() for name in ("a.jsonl", "b.jsonl")]
    recipe = make_labeller("qwen3", chat_template="chatml").recipe.model_validate(
        {"sources": sources, "tokenizer": "t", "output": "o"}
    )
    (warning,) = look_at(recipe).warnings
    assert warning == (
        f"{sources[0]}: 'no_loss' looks like a mark of what to train, but premask does not read it; rename it "
        "(in a turn: train, loss, masked or weight; beside the turns: train_turns or weight; beside ids: loss_mask), "
        "or take it out of the rows"
    )
