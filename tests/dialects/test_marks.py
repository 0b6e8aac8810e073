"""The author's marks: every spelling, per message, part, character, turn and row; what contradicts is refused."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from premask.core.errors import RowError
from premask.core.records import Conversation, Message, Stretch
from premask.dialects import Named, normalize
from premask.dialects.marks import FLAG_KEYS, MASK_KEYS, TURN_KEYS, WEIGHT_KEYS, without_start
from premask.dialects.openai import PLAIN
from premask.dialects.plain import plain_row
from premask.dialects.row_marks import LIST_KEYS
from premask.dialects.sides import Sides
from premask.dialects.unknown_marks import unknown_marks

HI = {"role": "user", "content": "Hi"}
OK = {"role": "assistant", "content": "Hello"}


def read(row: Any, dialect: str = "openai") -> Conversation:
    return normalize(row, dialect)


def answer(**fields: Any) -> Message:
    return read({"messages": [HI, {**OK, **fields}, HI, OK]}).messages[1]


def refused(row: Any, dialect: str = "openai") -> str:
    with pytest.raises(RowError) as caught:
        normalize(row, dialect)
    return f"{caught.value.reason}: {caught.value.detail}"


def refused_answer(**fields: Any) -> str:
    return refused({"messages": [HI, {**OK, **fields}, HI, OK]})


# ==== Messages ====


@pytest.mark.parametrize("key", FLAG_KEYS)
def test_flags(key: str) -> None:
    for value in (False, 0, 0.0):
        assert answer(**{key: value}) == Message("assistant", "Hello", train=False)
    for value in (True, 1):
        assert answer(**{key: value}) == Message("assistant", "Hello", train=True)
    for value in ("no", 2, 0.5, [0], -1):
        assert refused_answer(**{key: value}) == f"wrong_type: '{key}' of turn 1 is neither true nor false"


@pytest.mark.parametrize("key", MASK_KEYS)
def test_masks_are_true_where_a_turn_is_not_trained(key: str) -> None:
    assert answer(**{key: True}).train is False
    assert answer(**{key: False}).train is True
    assert refused_answer(**{key: "x"}).startswith(f"wrong_type: '{key}' of turn 1 is n")


def test_a_number_under_mask_is_refused_because_it_has_two_senses() -> None:
    assert answer(masked=1).train is False
    assert refused_answer(mask=1) == (
        "wrong_type: 'mask' of turn 1 is not true or false; write 'train': true or false"
    )


@pytest.mark.parametrize("key", WEIGHT_KEYS)
def test_weights(key: str) -> None:
    assert answer(**{key: 0}) == Message("assistant", "Hello", train=False)
    assert answer(**{key: 1}) == Message("assistant", "Hello", train=True)
    for weight in (0.25, 3, -1, -0.5):
        assert answer(**{key: weight}) == Message("assistant", "Hello", train=True, weight=weight)
    for wrong in ("2", float("nan"), float("inf"), 10**400, 1e39, [1]):
        assert refused_answer(**{key: wrong}).startswith(f"wrong_type: '{key}' of turn 1 is neither a finite")


CONTRADICTING: list[tuple[dict[str, Any], str]] = [
    ({"train": True, "masked": True}, "'train', 'masked'"),
    ({"train": False, "mask": False}, "'train', 'mask'"),
    ({"loss": True, "loss_mask": 0}, "'loss', 'loss_mask'"),
    ({"loss_scale": 0, "trainable": True}, "'trainable', 'loss_scale'"),
    ({"train": False, "weight": 0.5}, "'train', 'weight'"),
    ({"weight": 1, "loss_weight": 0.5}, "'weight', 'loss_weight'"),
    ({"weight": 2, "loss_scale": 3}, "'weight', 'loss_scale'"),
]


@pytest.mark.parametrize(("marks", "names"), CONTRADICTING)
def test_marks_that_contradict_each_other_are_named(marks: dict[str, Any], names: str) -> None:
    assert refused_answer(**marks) == f"wrong_type: {names} of turn 1 contradict each other"


def test_marks_that_agree_are_one() -> None:
    assert answer(train=True, masked=False, loss_mask=1, weight=2, loss_scale=2.0).weight == 2
    assert answer(train=False, masked=True, weight=0, loss=None).train is False


@given(
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(
            sorted(TURN_KEYS - {"train_detail", "training_detail"}), st.sampled_from([None, True, False])
        ),
    )
)
def test_no_mark_is_passed_to_the_template_and_random_ones_agree_or_are_refused(
    marks: dict[str, Any],
) -> None:
    wishes = {(value != (key in MASK_KEYS)) for key, value in marks.items() if value is not None}
    row = {"messages": [HI, {**OK, "mood": 1, **marks}]}
    if len(wishes) > 1:
        assert "contradict each other" in refused(row)
    else:
        message = read(row).messages[1]
        assert (message.train, message.extra) == (next(iter(wishes), None), {"mood": 1})


@pytest.mark.parametrize("key", sorted(TURN_KEYS))
def test_other_dialects_read_the_same_marks(key: str) -> None:
    value: Any = {"masked": True, "mask": True, "train_detail": [], "training_detail": []}.get(key, 0)
    turns = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello", key: value}]
    assert read({"conversations": turns}, "sharegpt").messages[1].train is False
    said = [{"speaker": "USER", "text": "Hi"}, {"speaker": "SYSTEM", "text": "Hello", key: value}]
    assert read({"turns": said}, "speakers").messages[1].train is False
    if "detail" not in key:
        pair = {"conversation": [{"human": "Hi", "assistant": "Hello", key: value}, ["a", "b"]]}
        assert [each.train for each in read(pair, "pairs").messages] == [None, False, None, None]
        reply = {"text": "Hello", "role": "assistant", key: value}
        tree = {"prompt": {"text": "Hi", "role": "prompter", "replies": [reply]}}
        assert read(tree, "trees").messages[1].train is False


# ==== Parts and characters ====


def parts(*marks: dict[str, Any], **fields: Any) -> Message:
    content = [{"type": "text", "text": "abc"[i] * (i + 1), **mark} for i, mark in enumerate(marks)]
    return answer(content=content, **fields)


def test_marks_of_parts_become_stretches() -> None:
    assert parts({"train": False}, {}, {"weight": 0.5}).stretches == (
        Stretch(1, train=False),
        Stretch(3),
        Stretch(6, train=True, weight=0.5),
    )
    assert parts({}, {}).stretches == ()
    assert parts({"masked": True}, {"loss": False}, {"loss": True}).stretches == (
        Stretch(3, train=False),
        Stretch(6, train=True),
    )


def test_parts_that_all_say_the_same_mark_the_message() -> None:
    message = parts({"train": False}, {"loss": 0})
    assert (message.train, message.stretches) == (False, ())
    message = parts({"weight": 2}, {"weight": 2})
    assert (message.train, message.weight, message.stretches) == (True, 2, ())


def test_a_call_beside_parts_that_are_not_trained_is_not_left_out_with_them() -> None:
    message = parts({"train": False}, tool_calls=[{"name": "f", "arguments": {}}])
    assert (message.train, message.stretches) == (None, (Stretch(1, train=False),))


def test_marks_of_parts_that_contradict_the_message_are_refused() -> None:
    text = {"type": "text", "text": "a"}
    content = [{**text, "train": True}, text]
    assert refused_answer(train=False, content=content) == (
        "wrong_type: 'train', the marks of parts of turn 1 contradict each other"
    )
    content = [{**text, "train": False}]
    assert "contradict each other" in refused_answer(loss=True, content=content)
    assert parts({"train": False}, {}, train=True).stretches == (Stretch(1, train=False), Stretch(3))


def test_reasoning_and_calls_cannot_be_marked_alone() -> None:
    thought, text = {"type": "thinking", "thinking": "Hm"}, {"type": "text", "text": "a"}
    said = refused_answer(content=[{**thought, "train": False}, text])
    assert said.startswith(
        "unsupported_content: turn 1 has a mark on a part that is reasoning or a tool call"
    )
    assert "train: {reasoning: false}" in said
    assert answer(content=[{**thought, "train": True}, text]).train is None
    assert answer(content=[{**thought, "train": False}, {**text, "train": False}]).train is False


def ranges(*triples: tuple[int, int, bool]) -> list[dict[str, Any]]:
    return [{"begin_offset": a, "end_offset": b, "train": train} for a, b, train in triples]


def test_ranges_of_characters_end_with_their_last_character() -> None:
    """The example of axolotl's documents: 'I'm doing very well, thank you!' has 31 characters."""
    detail = ranges((0, 8, False), (9, 18, True), (19, 30, False))
    text = "I'm doing very well, thank you!"
    message = answer(content=text, train_detail=detail)

    assert message.stretches == (Stretch(9, train=False), Stretch(19, train=True), Stretch(31, train=False))
    assert text[9:19] == " very well"
    assert answer(content=text, train_detail=json.dumps(detail)) == message
    turns = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": text, "training_detail": detail}]
    assert read({"conversations": turns}, "sharegpt").messages[1] == message


def test_what_is_in_no_range_is_not_trained() -> None:
    assert answer(train_detail=ranges((1, 2, True))).stretches == (
        Stretch(1, train=False),
        Stretch(3, train=True),
        Stretch(5, train=False),
    )
    assert answer(train_detail=ranges((0, 4, False))).train is False
    assert answer(train_detail=[]).train is False
    assert answer(train_detail=[], train=True) == Message("assistant", "Hello", train=True)


@pytest.mark.parametrize(
    ("detail", "message"),
    [
        (
            ranges((0, 5, True)),
            "'train_detail' of turn 1: the range 0 to 5 overlaps another one or the end of",
        ),
        (ranges((0, 3, True), (3, 4, False)), "'train_detail' of turn 1: the range 3 to 4 overlaps"),
        (ranges((3, 2, True)), "'train_detail' of turn 1: a range is not {begin_offset: N"),
        ([{"begin_offset": 0, "end_offset": 2}], "'train_detail' of turn 1: a range is not"),
        (
            [{"begin_offset": True, "end_offset": 2, "train": True}],
            "'train_detail' of turn 1: a range is not",
        ),
        (["x"], "'train_detail' of turn 1: a range is not"),
        ("x", "'train_detail' of turn 1 is not a list of ranges"),
    ],
)
def test_ranges_that_are_refused(detail: Any, message: str) -> None:
    assert refused_answer(train_detail=detail).startswith(f"wrong_type: {message}")


def test_ranges_need_one_text_and_agree_with_the_message() -> None:
    detail = ranges((0, 1, True))
    content = [{"type": "text", "text": "Hello"}]
    assert "needs a content that is one text" in refused_answer(content=content, train_detail=detail)
    assert "'masked', the marks of parts" in refused_answer(masked=True, train_detail=detail)
    assert refused_answer(train=True, train_detail=ranges((0, 1, False))).endswith("contradict each other")


@given(st.lists(st.tuples(st.integers(1, 4), st.sampled_from([None, True, False])), min_size=1, max_size=6))
def test_stretches_cover_the_content(marked: list[tuple[int, bool | None]]) -> None:
    content = [
        {"type": "text", "text": "x" * length, **({} if mark is None else {"train": mark})}
        for length, mark in marked
    ]
    message = answer(content=content)
    by_hand = [mark for length, mark in marked for _ in range(length)]
    ends = [0, *(each.end for each in message.stretches)]
    found = [
        each.train
        for (a, b), each in zip(pairwise(ends), message.stretches, strict=True)
        for _ in range(b - a)
    ]

    assert (found or [message.train] * len(by_hand)) == by_hand
    assert all(a[1:] != b[1:] for a, b in pairwise(message.stretches))
    cut = without_start(message.stretches, 1)
    assert (cut[-1].end if cut else 0) == (len(by_hand) - 1 if len(by_hand) > 1 and message.stretches else 0)


# ==== Beside the turns ====

FOUR = [HI, {**OK, "content": "a"}, HI, {**OK, "content": "b"}]


def trained(row: Any, dialect: str = "openai") -> list[bool | None]:
    return [message.train for message in read(row, dialect).messages if message.role == "assistant"]


@pytest.mark.parametrize("key", LIST_KEYS)
def test_lists_of_marks_beside_the_turns(key: str) -> None:
    assert trained({"messages": FOUR, key: [False, False, False, True]}) == [False, True]
    assert trained({"messages": FOUR, key: [0, 1, 0, 0]}) == [True, False]
    assert trained({"messages": FOUR, key: [True, False]}) == [True, False]
    assert trained({"messages": FOUR, key: "[false, true]"}) == [False, True]
    assert trained({"messages": FOUR, key: [None, False]}) == [None, False]
    assert trained({"messages": FOUR, key: None}) == [None, None]
    for wrong in ([3], [True], [1, 3, 0, 0], ["a", "b"], [0.5, 1], 1, True, {"a": 1}, [[True], [False]]):
        said = refused({"messages": FOUR, key: wrong})
        assert said.startswith(f"wrong_type: '{key}' beside the turns ")
        assert said.endswith("write one for each of the 4 turns, such as [false, true, false, true]")


def test_train_turns_as_in_the_report() -> None:
    """Kind K6, and as Nemotron's rows have it, within metadata."""
    assert trained({"messages": FOUR, "train_turns": [False, False, False, True]}) == [False, True]
    row = {"messages": FOUR, "metadata": {"source": "x", "train_turns": [False, True, False, False]}}
    assert trained(row) == [True, False]
    assert trained({**row, "metadata": json.dumps(row["metadata"])}) == [True, False]
    assert trained({"messages": FOUR, "metadata": {"source": "x"}}) == [None, None]
    said = refused({"messages": FOUR, "metadata": {"train_turns": [3]}})
    assert said.startswith(
        "wrong_type: 'metadata.train_turns' beside the turns has 1 entries for 4 turns, 2 of"
    )


def test_numbers_for_the_answers_alone_may_be_numbers_of_turns() -> None:
    assert "beside the turns holds '1'" in refused({"messages": FOUR, "train_turns": [1, 0]})
    assert trained({"messages": FOUR, "loss_mask": [1, 0]}) == [True, False]


def test_lists_count_the_turns_as_they_are_written() -> None:
    """A system text beside the turns is none of them; a turn with tool results stays one."""
    row = {"messages": FOUR, "system": "Be brief.", "train_turns": [True, True, True, False]}
    assert [message.train for message in read(row).messages] == [None, True, True, True, False]
    use = {"type": "tool_use", "id": "a", "name": "f", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "a", "content": "21"}
    turns = [
        HI,
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [result, {"type": "text", "text": "?"}]},
        OK,
    ]
    assert trained({"messages": turns, "train_turns": [False, False, False, True]}, "anthropic") == [
        False,
        True,
    ]


def test_weights_beside_the_turns() -> None:
    messages = read({"messages": FOUR, "loss_weights": [0, 0.5, 0, -2]}).messages
    assert [(message.train, message.weight) for message in messages[1::2]] == [(True, 0.5), (True, -2)]
    messages = read({"messages": FOUR, "weight": [0, 1]}).messages
    assert [(message.train, message.weight) for message in messages[1::2]] == [(False, None), (True, None)]


def test_lists_and_marks_of_turns_agree_or_are_refused() -> None:
    marked = [HI, {**OK, "train": True}]
    assert trained({"messages": marked, "train_turns": [False, True]}) == [True]
    assert refused({"messages": marked, "train_turns": [False, False]}).startswith(
        "wrong_type: a mark, the mark beside"
    )
    both = {"messages": FOUR, "train_turns": [True, True], "loss_mask": [0, 1]}
    assert refused(both) == "wrong_type: 'train_turns', 'loss_mask' of turn 1 contradict each other"
    assert trained({**both, "loss_mask": [1, 1]}) == [True, True]
    part = [{"type": "text", "text": "a", "train": True}, {"type": "text", "text": "b"}]
    said = refused({"messages": [HI, {**OK, "content": part}], "train_turns": [False, False]})
    assert said.endswith("of turn 1 contradict each other")


def test_lists_beside_rows_without_turns_are_refused() -> None:
    said = refused({"prompt": "Hi", "completion": "Hello", "train_turns": [True]}, "prompt_completion")
    assert said.startswith("wrong_type: 'train_turns' is beside the row, which has no list of turns")


@given(st.lists(st.booleans(), min_size=4, max_size=4), st.booleans())
def test_a_list_says_what_marks_in_the_turns_say(marks: list[bool], for_answers: bool) -> None:  # noqa: FBT001
    beside = {"messages": FOUR, "train_turns": marks[1::2] if for_answers else marks}
    inside = [{**turn, "train": mark} for turn, mark in zip(FOUR, marks, strict=True)]
    assert trained(beside) == trained({"messages": inside})
    turns = [{"from": {"user": "human"}.get(turn["role"], "gpt"), "value": turn["content"]} for turn in FOUR]
    assert trained({"conversations": turns, "train_turns": marks}, "sharegpt") == trained(
        {"messages": inside}
    )


# ==== Rows ====


@pytest.mark.parametrize("key", ["weight", "loss_weight", "sample_weight"])
def test_the_weight_of_a_row(key: str) -> None:
    for written, weight in (
        (2, 2),
        (0, 0),
        (-0.5, -0.5),
        ("0.25", 0.25),
        (1, None),
        (None, None),
        ("", None),
    ):
        assert read({"messages": FOUR, key: written}).weight == weight
    pair = {"question": "1+1?", "answer": "2", key: 3}
    assert read(pair, "question_answer").weight == 3
    for wrong in (float("nan"), "ten", {"a": 1}, 1e39):
        assert refused({"messages": FOUR, key: wrong}).startswith(
            f"wrong_type: '{key}' of the row is neither"
        )


def test_weights_of_a_row_agree() -> None:
    assert read({"messages": FOUR, "weight": 2, "sample_weight": 2.0}).weight == 2
    said = refused({"messages": FOUR, "weight": 2, "loss_weight": 3})
    assert said == "wrong_type: 'weight', 'loss_weight' of the row contradict each other"


def test_rows_that_wrap_others_pass_their_marks_on() -> None:
    turns = [[HI], [OK]]
    assert read({"question": turns, "weight": 2, "train_turns": [False, False]}, "bfcl").weight == 2
    run = {"answer_generation": {"train_messages": [FOUR]}, "weight": 2, "train_turns": [True, False]}
    assert (read(run, "toolbench").weight, trained(run, "toolbench")) == (2, [True, False])


@pytest.mark.parametrize(
    ("beside", "is_plain"),
    [
        ({"weight": 1}, True),
        ({"weight": None, "train_turns": [], "metadata": {"a": 1}}, True),
        ({"metadata": ["train_turns"]}, True),
        ({"weight": 2}, False),
        ({"loss_mask": [0, 1]}, False),
        ({"train_turns": "[false, true]"}, False),
        ({"metadata": {"train_turns": [False, True]}}, False),
        ({"metadata": '{"train_turns": [false, true]}'}, False),
    ],
)
def test_rows_with_marks_are_not_plain(beside: dict[str, Any], is_plain: bool) -> None:  # noqa: FBT001
    assert (plain_row({"messages": [HI, OK], **beside}, PLAIN) is not None) == is_plain


# ==== Marks that are not known ====


def test_keys_that_look_like_marks_are_named() -> None:
    turns = [HI, {**OK, "learnable": False, "label": 1, "train": False, "trained_on": "web", "mood": True}]
    rows = [
        {"messages": turns, "sample_masked": 0, "loss": 1.5, "supervise": [0, 1]},
        {"messages": json.dumps(turns)},
    ]
    assert unknown_marks(rows) == ["sample_masked", "supervise", "learnable", "label"]
    assert unknown_marks([{**rows[0], "sample_masked": 3}])[:1] == ["supervise"]
    assert unknown_marks([turns, "text", None]) == ["learnable", "label"]
    part = {"type": "text", "text": "a", "no_loss": True, "weight": 0}
    assert unknown_marks([{"messages": [{**OK, "content": [part]}]}]) == ["no_loss"]


def test_the_label_of_kto_is_no_mark() -> None:
    rows = [{"prompt": "a", "completion": "b", "label": True}]
    dialects = ("kto", "openai", Named("openai"))
    assert [unknown_marks(rows, each) for each in dialects] == [[], [], ["label"]]
    rows = [{"messages": [OK], "label": 0}]
    assert [unknown_marks(rows, each) for each in ("openai", Sides("auto", pairs=False))] == [["label"], []]


def test_masks_of_tokens_are_no_unknown_marks() -> None:
    row = {"input_ids": [1, 2], "labels": [1, 2], "attention_mask": [1, 1], "completion_mask": [1, 1]}
    assert unknown_marks([row], "tokens") == []
    segments = [{"ids": [1, 2], "trained": True, "mask": [0, 1]}]
    assert unknown_marks([{"segments": segments}], "trajectory") == []
