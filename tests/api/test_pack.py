"""`pack`: rows that are tokens, of whatever made them, as a run packs them."""

from __future__ import annotations

import pickle
from typing import Any

import datasets
import numpy as np
import polars as pl
import pytest
from commands import TOKENIZER, chat, premask, write_rows
from outputs import rows_of
from premask.api.mask import mask, prepare
from premask.api.pack import GivenWork, pack
from premask.core.errors import RecipeError, SourceError, TokenizerError
from premask.core.recipe_file import make_recipe
from premask.tokens.tokenizer import load_tokenizer

ROWS: list[dict[str, Any]] = [
    {"input_ids": [5, 6, 7], "labels": [-100, 6, 7], "attention_mask": [1, 1, 1]},
    {"input_ids": [8, 9, 0], "labels": [-100, 9, -100], "attention_mask": [1, 1, 0]},  # padded
    {"input_ids": [5, 6, 7, 8], "completion_mask": [0, 0, 1, 1]},  # of TRL
    {"input_ids": [5, 6], "assistant_masks": [0, 1]},
    {"prompt_ids": [5, 6], "completion_ids": [7]},
]
PACKED = ["input_ids", "labels", "position_ids", "seq_lengths", "length"]


def test_packs_by_hand() -> None:
    packs = pack(ROWS[:3], 6)

    assert packs == [
        dict(zip(PACKED, ([5, 6, 7], [-100, 6, 7], [0, 1, 2], [3], 3), strict=True)),
        dict(
            zip(
                PACKED,
                (
                    [8, 9, 5, 6, 7, 8],
                    [-100, 9, -100, -100, 7, 8],
                    [0, 1, 0, 1, 2, 3],
                    [2, 4],
                    6,
                ),
                strict=True,
            )
        ),
    ]
    assert packs.rejects == []


def test_packs_are_those_of_a_run_on_the_same_rows(tmp_path: Any) -> None:
    bad = [
        {"input_ids": [5, 6], "labels": [-100, 7]},
        {"input_ids": [5, 6], "labels": [-100, -100]},
        {"input_ids": list(range(100)), "labels": list(range(100))},
        {"input_ids": [10**6, 6], "labels": [-100, 6]},
        {"input_ids": [5, 6, 7], "labels": [-100, 6, 7], "position_ids": [0, 1, 0]},
        {"input_ids": [5, 6], "labels": [-100, 6], "loss_weights": [0, 0.5]},
        {"messages": []},
    ]
    rows = [*ROWS, *bad, *ROWS[::-1]]
    source = write_rows(tmp_path / "rows.jsonl", rows)
    words = ("--tokenizer", TOKENIZER, "--dialect", "tokens", "--max-length", 12, "--loss-weights", "false")
    done = premask("run", source, *words, "--output", tmp_path / "out")
    assert done.code == 0, done
    rejects = rows_of(tmp_path / "out", "rejects")

    packs = pack(rows, 12, tokenizer=TOKENIZER, loss_weights=False)

    assert packs == rows_of(tmp_path / "out", "packed")
    shown = ("row", "id", "reason", "detail")
    assert [[line[name] for name in shown] for line in packs.rejects] == [
        [line[name] for name in shown] for line in rejects
    ]
    assert len({line["reason"] for line in rejects}) >= 4


def test_rows_of_mask_and_the_same_rows_as_a_table() -> None:
    rows = [chat(f"Question {i}", f"Answer {i}") for i in range(40)]
    packs = prepare(rows, TOKENIZER, max_length=100)

    assert pack(mask(rows, TOKENIZER), 100) == packs
    assert pack(datasets.Dataset.from_list(list(mask(rows, TOKENIZER))), 100).to_list() == packs
    assert pack(pl.DataFrame(list(mask(rows, TOKENIZER))), 100).to_dicts() == packs


def test_rows_of_axolotl_and_arrays() -> None:
    lists = {"input_ids": [5, 6, 7], "labels": [-100, -100, 7], "attention_mask": [1, 1, 1]}
    arrays = {name: np.array(value) for name, value in lists.items()}

    assert pack([lists], 4) == pack([arrays], 4) == pack(datasets.Dataset.from_list([lists]), 4).to_list()


def test_a_stream_packs_what_it_reads() -> None:
    data = datasets.Dataset.from_list(ROWS[:1] * 3 + [{"input_ids": [1], "labels": [1]}])
    packed = pack(data.to_iterable_dataset(), 6)

    assert [row["seq_lengths"] for row in packed] == [[3, 3], [3]]
    assert [line["reason"] for line in packed.rejects] == ["nothing_trained"]


def test_loss_weights_are_kept_where_there_are_some() -> None:
    row = {"input_ids": [5, 6, 7], "labels": [-100, 6, 7], "loss_weights": [9.0, 0.5, 2.0]}

    assert pack([row, ROWS[0]], 8)[0]["loss_weights"] == [0, 0.5, 2, 0, 1, 1]
    assert pack([row], 8, loss_weights="per_sample")[0]["loss_weights"] == [0, 0.25, 1]
    assert pack([row], 8, loss_weights=False).rejects[0]["reason"] == "unsupported_weight"


def test_numbers_of_tokens() -> None:
    row = {"input_ids": [5, 6], "labels": [-100, 6], "logprobs": [None, -0.5]}

    assert pack([row, ROWS[3]], 8, token_columns=["logprobs"])[0]["logprobs"][:3] == [0, -0.5, 0]


@pytest.mark.parametrize(
    ("policy", "lengths", "reasons"),
    [("reject", [], ["too_long"]), ("truncate", [4], []), ("split", [4, 4], [])],
)
def test_rows_that_are_too_long(policy: str, lengths: list[int], reasons: list[str]) -> None:
    packs = pack(
        [{"input_ids": [1, 2, 3, 4, 5, 6, 7, 8], "labels": [-100, 2, 3, 4, 5, 6, 7, 8]}], 4, too_long=policy
    )

    assert [row["length"] for row in packs] == lengths
    assert all(row["labels"][0] == -100 for row in packs)
    assert [line["reason"] for line in packs.rejects] == reasons


def test_padding() -> None:
    (row,) = pack(ROWS[:2], 16, pad_to_multiple=4, pad_rows="to_length", tokenizer=TOKENIZER)
    pad = load_tokenizer(TOKENIZER).pad_id

    assert row["input_ids"] == [5, 6, 7, pad, 8, 9, *[pad] * 10]
    assert row["seq_lengths_padded"] == [4, 4, 8]


def test_work_in_another_process() -> None:
    keys = {"sources": ["-"], "output": "-", "tokenizer": "-", "max_length": 8}
    work = pickle.loads(pickle.dumps(GivenWork(make_recipe(keys), load_tokenizer(TOKENIZER))))  # noqa: S301

    assert isinstance(work, GivenWork)
    assert work.reader("data").rows(ROWS[:1]).table.num_rows == 1


@pytest.mark.parametrize(
    ("keys", "error", "says"),
    [
        ({"max_length": 1}, RecipeError, r"premask\.pack: max_length: it must be at least 2"),
        ({"max_length": 8, "pad_row": "none"}, RecipeError, "did you mean 'pad_rows'"),
        ({"max_length": 8, "history": "last"}, RecipeError, "history is not for rows that are tokens"),
        ({"max_length": 8, "pad_rows": "to_length"}, RecipeError, "give tokenizer="),
        ({"max_length": 8, "tokenizer": 3}, TokenizerError, "no tokenizer of transformers"),
    ],
)
def test_wrong_arguments(keys: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says) as raised:
        pack(ROWS, **keys)

    assert "\n" not in str(raised.value)


def test_conversations_are_not_packed() -> None:
    with pytest.raises(SourceError, match=r"premask\.prepare masks and packs conversations"):
        pack([chat("Hi", "Hello")], 8)
