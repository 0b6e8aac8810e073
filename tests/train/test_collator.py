"""The collator of train.py: what it makes of rows, and what it says of rows that do not fit."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import ROOT

torch = pytest.importorskip("torch")

from premask.train import (  # noqa: E402  after the check for torch
    Collator,
    RowsError,
    SideCollator,
    _train_on_all,
    documents,
)

IGNORED = -100
PACK = {
    "input_ids": [5, 6, 7, 8, 9],
    "labels": [IGNORED, 6, IGNORED, 8, 9],
    "position_ids": [0, 1, 0, 1, 2],
    "seq_lengths": [2, 3],
    "length": 5,
}
SHORT = {
    "input_ids": [3, 4, 2],
    "labels": [IGNORED, 4, 2],
    "position_ids": [0, 1, 2],
    "seq_lengths": [3],
    "length": 3,
}
PLAIN = {"input_ids": [3, 4, 2], "labels": [IGNORED, 4, 2], "attention_mask": [1, 1, 1], "length": 3}


def plain(batch: dict[str, Any]) -> dict[str, Any]:
    return {name: value.tolist() if hasattr(value, "tolist") else value for name, value in batch.items()}


def test_flat() -> None:
    assert plain(Collator(seq_idx=True)([PACK, SHORT])) == {
        "input_ids": [[5, 6, 7, 8, 9, 3, 4, 2]],
        "labels": [[IGNORED, 6, IGNORED, 8, 9, IGNORED, 4, 2]],
        "position_ids": [[0, 1, 0, 1, 2, 0, 1, 2]],
        "seq_idx": [[0, 0, 1, 1, 1, 2, 2, 2]],
        "cu_seq_lens_q": [0, 2, 5, 8],
        "cu_seq_lens_k": [0, 2, 5, 8],
        "max_length_q": 3,
        "max_length_k": 3,
    }


def test_padded() -> None:
    assert plain(Collator(padded=True, pad_id=1, seq_idx=True)([PACK, SHORT])) == {
        "input_ids": [[5, 6, 7, 8, 9], [3, 4, 2, 1, 1]],
        "labels": [[IGNORED, 6, IGNORED, 8, 9], [IGNORED, 4, 2, IGNORED, IGNORED]],
        "position_ids": [[0, 1, 0, 1, 2], [0, 1, 2, 0, 1]],
        "seq_idx": [[0, 0, 1, 1, 1], [2, 2, 2, 3, 3]],
        "cu_seq_lens_q": [0, 2, 5, 8, 10],
        "cu_seq_lens_k": [0, 2, 5, 8, 10],
        "max_length_q": 3,
        "max_length_k": 3,
    }


def test_types() -> None:
    batch = Collator(seq_idx=True)([{**PACK, "loss_weights": [0, 1, 0, 0.5, 1]}])
    types = {name: value.dtype for name, value in batch.items() if hasattr(value, "dtype")}

    assert types.pop("loss_weights") == torch.float32
    assert {types.pop(name) for name in ("cu_seq_lens_q", "cu_seq_lens_k", "seq_idx")} == {torch.int32}
    assert set(types) == {"input_ids", "labels", "position_ids"}
    assert set(types.values()) == {torch.int64}
    assert type(batch["max_length_q"]) is int


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        list,
        lambda values: np.array(values, dtype=np.int32),
        lambda values: torch.tensor(values, dtype=torch.int32),
        torch.tensor,
    ],
    ids=["lists", "numpy int32", "tensors int32", "tensors int64"],
)
def test_rows_of_any_kind_give_the_same_and_stay_as_they_are(make: Any, *, padded: bool) -> None:
    rows = [
        {name: make(values) if isinstance(values, list) else values for name, values in row.items()}
        for row in (PACK, SHORT)
    ]
    rows[0]["labels"][0] = 5  # trained, by mistake: the collator masks it, in its own copy

    assert plain(Collator(padded=padded)(rows)) == plain(Collator(padded=padded)([PACK, SHORT]))
    assert int(rows[0]["labels"][0]) == 5


def test_documents_are_known_from_any_of_the_columns() -> None:
    expected = plain(Collator()([PACK]))
    for column in ("seq_lengths", "position_ids"):
        without = {name: values for name, values in PACK.items() if name != column}
        assert plain(Collator()([without])) == expected


def test_unpacked_rows_are_documents() -> None:
    batch = Collator()([PLAIN, PLAIN])

    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1, 2]]
    assert "attention_mask" not in batch
    assert plain(batch) == plain(Collator()([SHORT, SHORT]))


def test_the_pad_run_of_a_row_is_a_document() -> None:
    """As `pad_rows: to_length` writes it."""
    row = {
        "input_ids": [3, 4, 1, 1],
        "labels": [IGNORED, 4, IGNORED, IGNORED],
        "position_ids": [0, 1, 0, 1],
        "seq_lengths": [2, 2],
    }

    assert Collator()([row])["cu_seq_lens_q"].tolist() == [0, 2, 4]


def test_first_tokens_are_never_trained() -> None:
    row = {"input_ids": [5, 6, 7], "labels": [5, 6, 7], "seq_lengths": [1, 2], "loss_weights": [1, 1, 1]}
    batch = Collator(padded=True)([row, {**row, "seq_lengths": [3]}])

    assert batch["labels"].tolist() == [[IGNORED, IGNORED, 7], [IGNORED, 6, 7]]
    assert batch["loss_weights"].tolist() == [[0, 0, 1], [0, 1, 1]]


def test_weights_are_padded_with_nothing() -> None:
    batch = Collator(padded=True)(
        [{**PACK, "loss_weights": [0, 2, 0, 1, 1]}, {**SHORT, "loss_weights": [0, 1, 3]}]
    )

    assert batch["loss_weights"].tolist() == [[0, 2, 0, 1, 1], [0, 1, 3, 0, 0]]


def without(row: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: values for key, values in row.items() if key != name}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "a batch needs at least one row"),
        ([PACK, without(PACK, "labels")], "row 1 of the batch has no column 'labels', only ['input_ids', "),
        ([without(PACK, "input_ids")], "row 0 of the batch has no column 'input_ids'"),
        ([{**PLAIN, "labels": None}], "row 0 of the batch has no column 'labels'"),
        ([{**PACK, "labels": [IGNORED, 6]}], "row 0 of the batch: 5 input_ids but 2 labels; both need"),
        ([{**PACK, "loss_weights": [1.0]}], "row 0 of the batch: 5 input_ids but 1 loss_weights"),
        ([{**without(PACK, "seq_lengths"), "position_ids": [0]}], "5 input_ids but 1 position_ids"),
        ([{**PACK, "seq_lengths": [2, 2]}], "seq_lengths [2, 2] do not add up to its 5 tokens; was the row cut?"),
        ([{**PACK, "seq_lengths": [0, 5]}], "seq_lengths [0, 5] do not add up"),
        ([{**without(PACK, "seq_lengths"), "position_ids": [0, 1, 0, 1, 3]}], "position_ids do not count up"),
        ([{**without(PACK, "seq_lengths"), "position_ids": [1, 2, 3, 4, 5]}], "position_ids do not count up"),
        ([{**PLAIN, "labels": [4, 2, IGNORED]}], "label 4 at token 0, whose id is 3; labels must be unshifted"),
        ([{**PLAIN, "attention_mask": [1, 1, 0]}], "attention_mask holds zeros; collate rows without padding"),
        ([{**PLAIN, "input_ids": ["a", "b", "c"]}], "input_ids is no list of numbers"),
        ([{**PLAIN, "input_ids": [[3, 4, 2]]}], "input_ids has the shape (1, 3), where a list of numbers"),
        ([{**PLAIN, "input_ids": [], "labels": []}], "input_ids has the shape (0,)"),
        ([{**PLAIN, "loss_weights": [0, 1, 1]}, PLAIN], "some rows of the batch have loss_weights and some"),
    ],
)  # fmt: skip
def test_rows_that_do_not_fit(rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(RowsError) as caught:
        Collator()(rows)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_it_goes_to_worker_processes() -> None:
    collator = Collator(padded=True, pad_id=7)

    assert pickle.loads(pickle.dumps(collator)) == collator  # noqa: S301


def test_the_file_alone_is_enough(tmp_path: Path) -> None:
    """Copied to another machine, with torch and nothing of premask."""
    (tmp_path / "train.py").write_text(
        (ROOT / "pipeline" / "premask" / "train.py").read_text(encoding="utf-8")
    )
    lines = (
        "import sys; sys.modules['pipeline'] = None\n"
        "from train import Collator\n"
        "print(Collator()([{'input_ids': [1, 2], 'labels': [-100, 2]}])['labels'].tolist())\n"
        "print([name for name in ('transformers', 'datasets', 'pyarrow') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", lines], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["[[-100, 2]]", "[]"]


PADDED = {
    "input_ids": [5, 6, 0, 0, 7, 8, 9, 0],
    "labels": [IGNORED, 6, IGNORED, IGNORED, IGNORED, 8, 9, IGNORED],
    "position_ids": [0, 1, 2, 3, 0, 1, 2, 3],
    "seq_lengths": [2, 3],
    "seq_lengths_padded": [4, 4],
    "length": 8,
}


def test_padding_behind_samples_belongs_to_their_documents() -> None:
    """As `pad_to_multiple` writes it."""
    batch = plain(Collator()([PADDED]))

    assert batch["cu_seq_lens_q"] == [0, 4, 8]
    assert batch["position_ids"] == [PADDED["position_ids"]]
    assert batch["labels"] == [PADDED["labels"]]


def test_documents_have_no_padding_and_it_is_never_trained() -> None:
    assert [each["input_ids"].tolist() for each in documents(PADDED)] == [[5, 6], [7, 8, 9]]
    assert _train_on_all(PADDED)["labels"].tolist() == [5, 6, IGNORED, IGNORED, 7, 8, 9, IGNORED]


# ==== Preferences ====

PAIR = {
    "prompt_ids": [5, 6],
    "chosen_ids": [7, 8, 9],
    "chosen_mask": [1, 0, 1],
    "rejected_ids": [4],
    "rejected_mask": [1],
    "length": 5,
}
ANSWERS = [
    {"prompt_ids": [5], "completion_ids": [7, 8], "completion_mask": [1, 0], "label": True},
    {"prompt_ids": [3, 2], "completion_ids": [9], "completion_mask": [1], "label": False},
    {"prompt_ids": [1], "completion_ids": [6], "completion_mask": [1], "label": True},
]


def test_pairs() -> None:
    ahead = [{**PAIR, "ref_chosen_logps": -1.5}, {**PAIR, "prompt_ids": [1], "ref_chosen_logps": -2.0}]
    assert plain(SideCollator(pad_id=2)(ahead)) == {
        "input_ids": [[5, 6, 7, 8, 9], [1, 7, 8, 9, 2], [5, 6, 4, 2, 2], [1, 4, 2, 2, 2]],
        "attention_mask": [[1, 1, 1, 1, 1], [1, 1, 1, 1, 0], [1, 1, 1, 0, 0], [1, 1, 0, 0, 0]],
        "completion_mask": [[0, 0, 1, 0, 1], [0, 1, 0, 1, 0], [0, 0, 1, 0, 0], [0, 1, 0, 0, 0]],
        "ref_chosen_logps": [-1.5, -2.0],
    }


def test_answers_with_labels() -> None:
    """Each prompt stands also before the answer of the row before it, with the mask of that answer."""
    assert plain(SideCollator()(ANSWERS)) == {
        "input_ids": [[5, 7, 8], [3, 2, 9], [1, 6, 0]],
        "attention_mask": [[1, 1, 1], [1, 1, 1], [1, 1, 0]],
        "completion_mask": [[0, 1, 0], [0, 0, 1], [0, 1, 0]],
        "KL_input_ids": [[5, 6, 0, 0], [3, 2, 7, 8], [1, 9, 0, 0]],
        "KL_attention_mask": [[1, 1, 0, 0], [1, 1, 1, 1], [1, 1, 0, 0]],
        "KL_completion_mask": [[0, 1, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0]],
        "label": [True, False, True],
    }


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([], "at least one row"),
        ([{"prompt_ids": [1], "chosen_ids": [2], "rejected_ids": [3]}], "no column 'chosen_mask'"),
        ([{**PAIR, "chosen_mask": [1]}], "3 tokens in chosen_ids, but 1 in chosen_mask"),
        ([PACK], "no column 'prompt_ids'"),
    ],
)
def test_rows_that_are_no_preferences(rows: list[dict[str, Any]], told: str) -> None:
    with pytest.raises(RowsError, match=told):
        SideCollator()(rows)
