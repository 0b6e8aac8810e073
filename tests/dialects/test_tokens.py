"""Rows of tokens: how ids, labels and masks are read, and which rows are refused, with the reason."""

from __future__ import annotations

from typing import Any

import pytest
from premask.core.contract import row_schema
from premask.core.errors import RowError, SourceError
from premask.core.recipe import COLUMNS, Repair
from premask.core.records import GivenTokens
from premask.core.shapes import shape_of
from premask.dialects import Named, check_named, normalize, recognize_file, shaped_row
from premask.dialects.repair import repair
from premask.running.duplicates import conversation_hash

IDS = [5, 6, 7, 8]
LABELS = [-100, -100, 7, 8]
CHAT = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}


def read(row: Any) -> GivenTokens:
    given = normalize(row, Named("tokens")).given
    assert given is not None
    return given


def trained(row: dict[str, Any]) -> tuple[list[int], list[int]]:
    given = read(row)
    return given.ids.tolist(), given.trained.astype(int).tolist()


@pytest.mark.parametrize(
    "row",
    [
        {"input_ids": IDS, "labels": LABELS},
        {"input_ids": IDS, "labels": LABELS, "attention_mask": [1] * 4, "length": 4, "text": "x"},
        {"input_ids": "[5, 6, 7, 8]", "labels": "[-100, -100, 7, 8]"},
        {"input_ids": IDS, "loss_mask": [0, 0, 1, 1]},
        {"input_ids": IDS, "loss_mask": [0.0, 0.0, 1.0, 1.0]},
        {"input_ids": IDS, "assistant_masks": [False, False, True, True]},
        {"input_ids": IDS, "assistant_tokens_mask": [0, 0, 1, 1], "labels": None},
        {"input_ids": IDS, "completion_mask": [0, 1, 1, 1], "assistant_masks": [0, 0, 1, 1]},
        {"input_ids": IDS, "labels": LABELS, "completion_mask": [0, 1, 1, 1]},
        {"input_ids": IDS, "labels": LABELS, "position_ids": [0, 1, 2, 3], "seq_lengths": [4]},
        {"input_ids": [0, 0, *IDS], "labels": [-100] * 2 + LABELS, "attention_mask": [0, 0, 1, 1, 1, 1]},
        {"input_ids": [*IDS, 0], "labels": [*LABELS, -100], "attention_mask": [1, 1, 1, 1, 0]},
        {
            "input_ids": [9, *IDS, 0],
            "loss_mask": [0, 0, 0, 1, 1, 0],
            "attention_mask": [0, 1, 1, 1, 1, 0],
            "position_ids": [1, 0, 1, 2, 3, 1],
        },
        {"prompt_ids": [5, 6], "completion_ids": [7, 8]},
        {"prompt_ids": [5], "completion_ids": [6, 7, 8], "completion_mask": [0, 1, 1]},
    ],
)
def test_what_is_trained(row: dict[str, Any]) -> None:
    assert trained(row) == (IDS, [0, 0, 1, 1])
    assert recognize_file([row], source="a.jsonl") == "tokens"


def test_id_weights_and_other_numbers() -> None:
    row = {"input_ids": IDS, "labels": LABELS, "id": 7, "weight": 0.5, "loss_weights": [0, 0, 1, 2]}
    found = normalize({**row, "logprobs": [None, -1, -2, -3], "other": [1]}, Named("tokens"))
    assert (found.id, found.weight, found.messages) == ("7", 0.5, ())
    assert found.given is not None
    assert found.given.weights is not None
    assert found.given.weights.tolist() == [0, 0, 1, 2]
    assert [tuple(each) for each in found.given.floats] == [("logprobs", 0, 4, [None, -1, -2, -3])]


def test_padding_takes_its_numbers_along() -> None:
    row = {"input_ids": [0, *IDS], "labels": [-100, *LABELS], "attention_mask": [0, 1, 1, 1, 1]}
    given = read({**row, "loss_weights": [9, 0, 0, 1, 2], "logprobs": [9, 0, 0, -1, -2]})
    assert given.weights is not None
    assert (given.weights.tolist(), given.floats[0].values) == ([0, 0, 1, 2], [0, 0, -1, -2])


SHIFTED = {"input_ids": IDS, "labels": [-100, 7, 8, -100]}
ROW = {"input_ids": IDS, "labels": LABELS}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("text", "not_an_object: the row is a JSON string"),
        ({"input_ids": None, "labels": LABELS}, "unknown_dialect: the row has no 'input_ids'"),
        (CHAT, "unknown_dialect: the row is not of the dialect tokens, which the recipe names"),
        ({"input_ids": IDS}, "bad_tokens: beside 'input_ids' are neither 'labels' nor a mask"),
        ({**ROW, "input_ids": [5, "6", 7, 8]}, "bad_tokens: 'input_ids' holds '6' at token 1"),
        ({**ROW, "input_ids": [5, 6, 7, True]}, "bad_tokens: 'input_ids' holds True at token 3"),
        ({**ROW, "input_ids": [5, 6, 7.0, 8]}, "bad_tokens: 'input_ids' holds 7.0 at token 2"),
        ({**ROW, "input_ids": [5, 6, 7, 2**31]}, "bad_tokens: 'input_ids' holds 2147483648 at token 3"),
        ({**ROW, "input_ids": [IDS]}, "bad_tokens: 'input_ids' holds arrays, as a batch does"),
        ({**ROW, "input_ids": "abc"}, "bad_tokens: 'input_ids' is a JSON string, not an array"),
        ({**ROW, "labels": LABELS[1:]}, "bad_tokens: 'labels' has 3 entries for 4 tokens"),
        (
            {**ROW, "labels": [-100, -100, 7, 9]},
            "bad_tokens: label 9 at token 3 is neither -100 nor the id 8",
        ),
        ({**ROW, "labels": [-100, 0, 7, 8]}, "bad_tokens: label 0 at token 1 is neither -100 nor the id 6"),
        (SHIFTED, "bad_tokens: label 7 at token 1 is neither -100 nor the id 6; labels seem to be shifted"),
        ({"input_ids": IDS, "loss_mask": [0, 0, 1]}, "bad_tokens: 'loss_mask' has 3 entries for 4 tokens"),
        (
            {"input_ids": IDS, "loss_mask": [0, 0, 1, 2]},
            "bad_tokens: 'loss_mask' holds 2 at token 3; it must",
        ),
        ({"input_ids": IDS, "loss_mask": [0, 0, 0.5, 1]}, "bad_tokens: 'loss_mask' holds 0.5 at token 2"),
        (
            {**ROW, "loss_mask": [0, 0, 0, 1]},
            "bad_tokens: token 2 is trained by 'labels', but not by 'loss_ma",
        ),
        (
            {**ROW, "attention_mask": [1, 1, 1, 0]},
            "bad_tokens: token 3 is trained, but 'attention_mask' is 0",
        ),
        ({**ROW, "attention_mask": [1, 0, 1, 1]}, "bad_tokens: 'attention_mask' is 0 at token 1, between"),
        (
            {**ROW, "attention_mask": [1, 1, 2, 2]},
            "bad_tokens: 'attention_mask' numbers the samples of a pack",
        ),
        (
            {**ROW, "position_ids": [0, 1, 0, 1]},
            "bad_tokens: 'position_ids' is 0 at token 2, not 2: the row ho",
        ),
        ({**ROW, "seq_lengths": [2, 2]}, "bad_tokens: 'seq_lengths' says that the row holds several samples"),
        (
            {**ROW, "cu_seqlens": [0, 2, 4]},
            "bad_tokens: 'cu_seqlens' says that the row holds several samples",
        ),
        ({**ROW, "loss_weights": [0, 0, 1, None]}, "bad_tokens: 'loss_weights' holds None at token 3"),
        ({**ROW, "pixel_values": [1]}, "unsupported_content: the row refers to pixel_values"),
        ({"input_ids": [], "labels": []}, "nothing_trained: the row has no tokens"),
        ({**ROW, "labels": [-100] * 4}, "nothing_trained: none of the 4 tokens is trained"),
        ({**ROW, "labels": [5, -100, -100, -100]}, "nothing_trained: only the first token is trained"),
        ({**ROW, "weight": "heavy"}, "wrong_type: "),
    ],
)
def test_rows_that_are_refused(row: Any, reason: str) -> None:
    with pytest.raises(RowError) as refused:
        normalize(row, Named("tokens"))
    assert f"{refused.value.reason}: {refused.value.detail}".startswith(reason)


def test_what_is_recognized() -> None:
    assert recognize_file([{**CHAT, **ROW}], source="a.jsonl") == "openai", "a chat with its tokens is a chat"
    assert recognize_file([{"input_ids": [1.0], "labels": [1.0]}], source="a.jsonl") == "tokens"
    for row in ({"input_ids": IDS}, {"input_ids": "a", "labels": "b"}, {"labels": LABELS}):
        with pytest.raises(SourceError, match="no known conversation format"):
            recognize_file([row], source="a.jsonl")
    with pytest.raises(SourceError, match="set dialect: trajectory"):
        recognize_file([{"prompt_ids": [1], "completion_ids": [2], "logprobs": [-1]}], source="a.jsonl")
    check_named([{"input_ids": [], "labels": []}], Named("tokens"), source="a.jsonl")


def test_tokens_have_no_shape_no_fixes_and_a_hash_of_their_own() -> None:
    rows = [ROW, {**ROW, "labels": [-100, 6, 7, 8]}, {**ROW, "input_ids": [4, 6, 7, 8]}, {**ROW, "weight": 2}]
    rows += [{**ROW, "loss_weights": [0, 0, 1, 2]}, {**ROW, "logprobs": [0, 0, -1, -2]}]
    found = [normalize(row, "tokens") for row in rows]
    assert len({conversation_hash(each) for each in found}) == len(rows)
    assert conversation_hash(normalize({**ROW, "id": 3}, "tokens")) == conversation_hash(found[0])
    assert shape_of(found[0]) is None
    assert shaped_row(ROW, "tokens") is None
    assert repair(found[0], [*Repair]) == (found[0], ())


def test_columns_of_an_output_are_no_token_columns() -> None:
    masks = ["assistant_masks", "completion_mask"]
    layouts = [row_schema(name, loss_weights=True, extra_columns=masks) for name in ("packed", "unpacked")]
    assert {name for schema in layouts for name in schema.names} == COLUMNS


@pytest.mark.parametrize("name", ["action_mask", "mask", "train_mask", "loss_masks", "ignore_mask"])
def test_masks_by_unknown_names_are_refused(name: str) -> None:
    for row in ({"input_ids": [1, 2], "labels": [1, 2]}, {"prompt_ids": [1], "completion_ids": [2, 3]}):
        with pytest.raises(RowError, match=f"bad_tokens: '{name}' looks like a mask"):
            normalize({**row, name: [0, 1]}, "tokens")


def test_masks_that_do_not_say_what_is_trained_are_left_out() -> None:
    row = {"input_ids": [1, 2], "labels": [1, 2], "special_tokens_mask": [1, 0]}
    assert normalize(row, "tokens").given is not None
