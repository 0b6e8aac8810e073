"""Rows of tokens as samples, without a tokenizer. Whole packs of them are compared in `tests/api/test_pack.py`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from premask.core.recipe_file import make_recipe
from premask.core.records import Row
from premask.running.given_rows import AnyVocabulary, given_samples


def samples_of(*rows: dict[str, Any], **keys: Any) -> Any:
    given = {"sources": ["-"], "tokenizer": "-", "output": "-", "max_length": 4}
    numbered = [Row("data", number, row) for number, row in enumerate(rows)]
    return given_samples(make_recipe({**given, **keys}), numbered, AnyVocabulary())


def test_samples_one_after_another() -> None:
    samples, rejects = samples_of(
        {"input_ids": [5, 6, 0], "labels": [5, 6, -100], "attention_mask": [1, 1, 0], "id": "a"},
        {"input_ids": [7, 8, 9], "loss_mask": [0, 1, 0]},
    )

    assert samples.ids.tolist() == [5, 6, 7, 8, 9]
    assert samples.labels.tolist() == [-100, 6, -100, 8, -100]  # nothing predicts the first
    assert samples.offsets.tolist() == [0, 2, 5]
    assert samples.origin.column("id").to_pylist() == ["a", None]
    assert rejects == []


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"input_ids": [-1, 6], "labels": [-100, 6]}, "bad_tokens"),
        ({"input_ids": [5, 6], "labels": [5, -100]}, "nothing_trained"),
        ({"input_ids": [1, 2, 3, 4, 5], "labels": [1, 2, 3, 4, 5]}, "too_long"),
        ({"input_ids": [1, 2], "labels": [1, 2], "weight": 0}, "nothing_trained"),
        ({"input_ids": [1, 2], "labels": [1, 2], "weight": 0.5}, "unsupported_weight"),
        ({"input_ids": [1, 2], "seq_lengths": [1, 1], "labels": [1, 2]}, "bad_tokens"),
        ({"messages": []}, "unknown_dialect"),
        ([1, 2], "not_an_object"),
    ],
)
def test_rows_that_cannot_be_used(row: Any, reason: str) -> None:
    samples, rejects = samples_of(row)

    assert [line.reason for line in rejects] == [reason]
    assert len(samples.origin) == 0


def test_a_trained_token_without_a_number_has_nan() -> None:
    given = {"input_ids": [5, 6], "labels": [-100, 6]}
    samples, _ = samples_of({**given, "logprobs": [0, -0.5]}, given, token_columns=["logprobs"])

    assert np.array_equal(samples.floats["logprobs"], [0, -0.5, 0, np.nan], equal_nan=True)


def test_pieces_of_a_long_row_keep_their_weights() -> None:
    row = {"input_ids": list(range(6)), "labels": list(range(6)), "weight": 2.0}
    samples, _ = samples_of(row, too_long="split", loss_weights=True)

    assert samples.labels.tolist() == [-100, 1, 2, 3, -100, 5]
    assert np.array_equal(samples.weights, [0, 2, 2, 2, 0, 2])
    assert samples.origin.column("sample").to_pylist() == [0, 1]
