"""Rows of other tools: labels or masks, packs, padding, weights, and labels that are wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from premask.review.notebook.rows import read_row


def read(**row: Any) -> list[list[int]]:
    return [part.labels.tolist() for part in read_row(row, "sample 0").samples]


@pytest.mark.parametrize(
    ("row", "labels"),
    [
        ({"input_ids": [5, 6, 7], "labels": [-100, 6, 7]}, [[-100, 6, 7]]),
        ({"input_ids": (5, 6), "completion_mask": np.array([False, True])}, [[-100, 6]]),
        (
            {"input_ids": [5, 6, 7], "completion_mask": [0, 1, 1], "assistant_masks": [1, 1, 0]},
            [[-100, 6, -100]],
        ),
        ({"input_ids": [5], "labels": None, "loss_mask": [1]}, [[5]]),
        ({"prompt_ids": [5], "completion_ids": [6, 7], "completion_mask": [1, 0]}, [[-100, 6, -100]]),
        ({"prompt_ids": [5], "chosen_ids": [6], "rejected_ids": [7]}, [[-100, 6], [-100, 7]]),
        ({"input_ids": [], "labels": []}, [[]]),
    ],
)
def test_labels_and_masks(row: dict[str, Any], labels: list[list[int]]) -> None:
    assert read(**row) == labels


@pytest.mark.parametrize(
    "packed",
    [
        {"seq_lengths": [2, 1, 3]},
        {"seq_lengths": [2, 1]},
        {"position_ids": [0, 1, 0, 0, 1, 2]},
        {"attention_mask": [1, 1, 2, 3, 3, 3]},
    ],
)
def test_packs(packed: dict[str, Any]) -> None:
    ids = [5, 6, 7, 8, 9, 10]
    found = read_row({"input_ids": ids, "labels": ids, **packed}, "sample 0")
    sizes = [len(part.ids) for part in found.samples]

    assert found.packed
    assert sum(sizes) == 6
    assert sizes in ([2, 1, 3], [2, 4])  # positions of a sample of one token say nothing of its end


def test_padding() -> None:
    row = {"input_ids": [5, 6, 0, 0], "labels": [5, 6, 0, -100], "attention_mask": [1, 1, 0, 0]}
    (part,) = read_row(row, "sample 0").samples

    assert part.padding is not None
    assert part.padding.tolist() == [False, False, True, True]


@pytest.mark.parametrize(
    ("labels", "shown", "notes"),
    [
        ([6, 7, 8, -100], [-100, 6, 7, 8], "the label of a token is the next token"),
        ([-100, 5, 6, 7], [5, 6, 7, -100], "the label of a token is the token before it"),
        ([-100, 6, 99, 8], [-100, 6, 99, 8], ""),
        ([-100, -100, 99, -100], [-100, -100, 99, -100], ""),
        ([-100] * 4, [-100] * 4, ""),
    ],
)
def test_shifted_labels(labels: list[int], shown: list[int], notes: str) -> None:
    found = read_row({"input_ids": [5, 6, 7, 8], "labels": labels}, "sample 0")

    assert found.samples[0].labels.tolist() == shown
    assert notes in " ".join(found.notes)
    assert bool(found.notes) == bool(notes)


def test_what_a_row_says_of_itself() -> None:
    row = {"id": "a" * 200, "source": "x.jsonl", "row": 7, "input_ids": [1], "labels": [1]}

    assert read_row(row, "sample 0").facts == ("id " + "a" * 80, "source x.jsonl", "row 7")


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"input_ids": [[1, 2]], "labels": [1]}, r"no flat list of numbers; it has the shape \(1, 2\)"),
        ({"input_ids": [1, 2], "labels": [1, 2], "loss_weights": [1]}, "2 input_ids and 1 loss_weights"),
        ({"input_ids": "abc", "labels": [1]}, "no list of numbers, but str"),
        ({"input_ids": None, "labels": [1]}, "no list of numbers, but NoneType"),
        ({}, "no input_ids and labels; it has no columns"),
    ],
)
def test_rows_that_cannot_be_read(row: dict[str, Any], says: str) -> None:
    with pytest.raises(TypeError, match=says):
        read_row(row, "sample 3")
