"""Adapters: rows for trainers that shift labels otherwise or not at all. Their losses: test_trainer_lines.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from premask.publish.adapters import nemo_automodel, preshifted, torchtune, torchtune_shifted

IGNORED = -100
PACK = {
    "input_ids": [5, 6, 7, 8, 9],
    "labels": [IGNORED, 6, IGNORED, 8, 9],
    "position_ids": [0, 1, 0, 1, 2],
    "seq_lengths": [2, 3],
    "length": 5,
}
PLAIN = {"input_ids": [3, 4, 2], "labels": [IGNORED, 4, 2], "attention_mask": [1, 1, 1], "length": 3}


def plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: np.asarray(values).tolist() for name, values in row.items()}


def test_labels_move_to_where_they_are_predicted() -> None:
    assert plain(preshifted(PACK)) == {**PACK, "labels": [6, IGNORED, 8, 9, IGNORED]}
    assert PACK["labels"] == [IGNORED, 6, IGNORED, 8, 9]


def test_weights_move_with_their_labels() -> None:
    row = preshifted({**PACK, "loss_weights": [0.0, 2.0, 0.0, 1.0, 0.5]})

    assert plain(row)["loss_weights"] == [2.0, 0.0, 1.0, 0.5, 0.0]


@pytest.mark.parametrize("labels", [[6, 7, IGNORED], []])
def test_labels_that_are_shifted_already_are_refused(labels: list[int]) -> None:
    with pytest.raises(ValueError, match="are they shifted already"):
        preshifted({"input_ids": [5, 6, 7][: len(labels)], "labels": labels})


@pytest.mark.parametrize(
    ("row", "lengths", "positions"), [(PACK, [2, 3], [0, 1, 0, 1, 2]), (PLAIN, [3], [0, 1, 2])]
)
def test_columns_of_either_layout(row: dict[str, Any], lengths: list[int], positions: list[int]) -> None:
    shifted = [*row["labels"][1:], IGNORED]
    ids, labels = row["input_ids"], row["labels"]

    assert plain(nemo_automodel(row)) == {
        "input_ids": ids,
        "labels": shifted,
        "position_ids": positions,
        "seq_lens": lengths,
        "seq_lens_padded": lengths,
    }
    tune = {"tokens": ids, "labels": labels, "input_pos": positions, "seq_lens": lengths}
    assert plain(torchtune(row)) == tune
    assert plain(torchtune_shifted(row)) == {**tune, "labels": shifted}
