"""Trajectories: the forms in which engines write them, and which rows are refused, with the reason."""

from __future__ import annotations

from typing import Any

import pytest
from premask.core.errors import RowError
from premask.core.records import GivenTokens
from premask.dialects import Named, normalize

PAIR = {"prompt_ids": [1, 2], "completion_ids": [3, 4], "logprobs": [-1, -2]}
SEGMENTS = [
    {"ids": [1, 2], "trained": False, "text": "ab"},
    {"ids": [3, 4], "trained": True, "logprobs": [-1, -2]},
]


def read(row: Any) -> GivenTokens:
    given = normalize(row, Named("trajectory")).given
    assert given is not None
    return given


@pytest.mark.parametrize(
    "row",
    [
        PAIR,
        {**PAIR, "env_mask": [1, 1], "reward": 1.0},
        {
            "prompt_ids": [1, 2],
            "completion_ids": [3, 4],
            "completion_logprobs": [-1, -2],
            "prompt_mask": [0, 0],
        },
        {
            "prompt_ids": [1, 2],
            "response_ids": [3, 4],
            "response_mask": [1, 1],
            "response_logprobs": [-1, -2],
        },
        {"tokens": [1, 2, 3, 4], "response_length": 2, "loss_mask": [1, 1], "rollout_log_probs": [-1, -2]},
        {"prompt_token_ids": [1, 2], "completion_token_ids": [3, 4], "logprobs": "[-1, -2]"},
        {"segments": SEGMENTS},
        {
            "segments": [
                {"token_ids": [1, 2], "train": 0},
                {"tokens": [3, 4], "mask": [1, 1], "logprobs": [-1, -2]},
            ]
        },
    ],
)
def test_the_forms_of_engines(row: dict[str, Any]) -> None:
    given = read(row)
    assert given.ids.tolist() == [1, 2, 3, 4]
    assert given.trained.tolist() == [False, False, True, True]
    assert given.parts.tolist() == [0, 0, 1, 1]
    assert [tuple(each) for each in given.floats if each.name == "logprobs"] == [("logprobs", 2, 2, [-1, -2])]


def test_a_mask_of_the_completion_and_its_segments() -> None:
    given = read(
        {"prompt_ids": [1], "completion_ids": [2, 3, 4], "env_mask": [1, 0, 1], "logprobs": [-1, 0, -2]}
    )
    assert given.trained.tolist() == [False, True, False, True]
    more = [*SEGMENTS, {"ids": [5], "trained": False}, {"ids": [6], "trained": True, "logprobs": [-3]}]
    given = read({"segments": more, "advantages": 0.5})
    assert given.parts.tolist() == [0, 0, 1, 1, 2, 3]
    assert given.trained.tolist() == [False, False, True, True, False, True]
    numbers = {(each.name, each.first, each.length): each.values for each in given.floats}
    assert numbers == {
        ("logprobs", 2, 2): [-1, -2],
        ("advantages", 2, 2): 0.5,
        ("logprobs", 5, 1): [-3],
        ("advantages", 5, 1): 0.5,
    }


def test_texts_beside_the_ids() -> None:
    turns = [{"role": "user", "content": "ab"}]
    texts = read({**PAIR, "prompt": "ab", "completion": "cd", "text": "abcd"}).texts
    assert [tuple(each) for each in texts] == [
        ("prompt", 0, 2, "ab"),
        ("completion", 2, 4, "cd"),
        ("text", 0, 4, "abcd"),
    ]
    assert read({**PAIR, "prompt": turns, "completion": turns}).texts == ()
    assert [tuple(each) for each in read({"segments": SEGMENTS}).texts] == [("segment 0.text", 0, 2, "ab")]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (3, "not_an_object: the row is a JSON number"),
        ({"trajectory": [PAIR]}, "unknown_dialect: the row has no completion_ids"),
        ({"completion_ids": [3]}, "bad_tokens: beside 'completion_ids' is no 'prompt_ids'"),
        ({**PAIR, "prompt_ids": [1, None]}, "bad_tokens: 'prompt_ids' holds None at token 1"),
        ({**PAIR, "completion_mask": [1]}, "bad_tokens: 'completion_mask' has 1 entries for 2 tokens"),
        (
            {"tokens": [1, 2], "response_length": 3},
            "bad_tokens: 'response_length' is 3, which no 2 tokens have",
        ),
        (
            {"prompt_ids": [1], "completion_ids": [2], "old_logprobs": [-1], "rollout_logprobs": [-1]},
            "bad_tokens: the row has log probabilities in 'rollout_logprobs' and 'old_logprobs'",
        ),
        ({"segments": [{"ids": [1]}]}, "bad_tokens: segment 0: it does not say whether it is 'trained'"),
        (
            {"segments": [{"ids": [1], "trained": "x"}]},
            "bad_tokens: segment 0: 'trained' holds 'x' at token 0",
        ),
        (
            {"segments": [{"ids": [1, "a"], "trained": 1}]},
            "bad_tokens: segment 0: 'ids' holds 'a' at token 1",
        ),
        (
            {"segments": [{"ids": [1], "trained": 0, "text": 3}]},
            "wrong_type: 'segment 0.text' is a JSON number",
        ),
        ({"segments": [{"ids": [1, 2], "trained": 0}]}, "nothing_trained: none of the 2 tokens is trained"),
        ({**PAIR, "completion_ids": [], "logprobs": []}, "nothing_trained: none of the 2 tokens is trained"),
        ({**PAIR, "images": ["x.png"]}, "unsupported_content: the row refers to images"),
    ],
)
def test_rows_that_are_refused(row: Any, reason: str) -> None:
    with pytest.raises(RowError) as refused:
        normalize(row, Named("trajectory"))
    assert f"{refused.value.reason}: {refused.value.detail}".startswith(reason)


@pytest.mark.parametrize("name", ["loss_mask", "mask", "completion_mask", "env_mask"])
def test_all_marks_of_a_segment_count(name: str) -> None:
    segments = [{"ids": [1, 2], "trained": False}, {"ids": [3, 4, 5], "trained": True, name: [0, 0, 1]}]
    given = normalize({"segments": segments}, "trajectory").given
    assert given is not None
    assert given.trained.tolist() == [False, False, False, False, True]


@pytest.mark.parametrize("mark", [{"masked": True}, {"action_mask": [0, 0, 1]}, {"ignore_mask": "[0, 0, 1]"}])
def test_masks_by_unknown_names_are_refused(mark: dict[str, Any]) -> None:
    segment = {"ids": [3, 4, 5], "trained": True}
    for row in (
        {"segments": [{**segment, **mark}]},
        {"prompt_ids": [1], "completion_ids": [3, 4, 5], **mark},
    ):
        if "masked" in mark and "segments" not in row:
            continue
        with pytest.raises(RowError, match=f"bad_tokens: .*'{next(iter(mark))}' looks like a mask"):
            normalize(row, "trajectory")


def test_log_probabilities_by_two_names_must_be_the_same() -> None:
    row = {"prompt_ids": [1], "completion_ids": [3], "logprobs": [-1.0]}
    assert normalize({**row, "completion_logprobs": [-1.0], "old_logprobs": [-2.0]}, "trajectory").given
    with pytest.raises(RowError, match="'logprobs' and 'completion_logprobs'; leave one"):
        normalize({**row, "completion_logprobs": [-2.0]}, "trajectory")
