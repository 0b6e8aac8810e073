"""Rows for trainers that name or shift their columns differently: functions for `Dataset.map`.

    from datasets import load_dataset
    from premask.publish.adapters import nemo_automodel

    rows = load_dataset("out/chats", "packed", split="train")
    rows = rows.map(nemo_automodel, remove_columns=rows.column_names)

Labels of premask are unshifted: `labels[i]` is `input_ids[i]` or -100, and a Hugging Face model compares it
with what it predicts at i - 1. Some trainers compare it with what is predicted at i, so they need labels that
are already shifted. Rows of both layouts may be given. Cost: that of `Dataset.map`; needs numpy alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..core.contract import IGNORE_INDEX

Row = Mapping[str, Any]
"""One row of either layout; columns are lists or numpy arrays."""


def preshifted(row: Row) -> dict[str, Any]:
    """Return the row with each label moved one position to the left, and the first one, -100, at the end.

    `labels[i]` is then what the model has to predict at i. No sample of a pack predicts the first token of
    the next, because that label is -100 too. Loss weights and token columns move along. All columns keep
    their lengths.

    Raises `ValueError` if the first label is not -100, as it is in every row that premask writes.

    >>> row = {"input_ids": [5, 6, 7], "labels": [-100, 6, 7], "length": 3}
    >>> {name: np.asarray(values).tolist() for name, values in preshifted(row).items()}
    {'input_ids': [5, 6, 7], 'labels': [6, 7, -100], 'length': 3}
    """
    labels = np.asarray(row["labels"])
    if not len(labels) or labels[0] != IGNORE_INDEX:
        raise ValueError(f"labels start with {labels[:1].tolist()}, not with -100: are they shifted already?")
    shifted = {**row, "labels": np.roll(labels, -1)}
    numbers = {
        name: np.asarray(field) for name, field in row.items() if isinstance(field, (list, np.ndarray))
    }
    numbers = {name: each for name, each in numbers.items() if each.dtype.kind == "f"}
    return shifted | {name: np.roll(each, -1) for name, each in numbers.items()}


def nemo_automodel(row: Row) -> dict[str, Any]:
    """Return the columns that NeMo-Automodel's `packed_sequence_thd_collater` takes.

    `input_ids`, `labels` (shifted), `position_ids`, `seq_lens` and `seq_lens_padded` (equal, unless the
    recipe has `pad_to_multiple`). Format: its docstring in nemo_automodel 0.7, components/datasets/utils.py;
    it stacks rows of one length only, so use a batch size of 1.

    >>> given = nemo_automodel({"input_ids": [5, 6, 7], "labels": [-100, 6, 7], "seq_lengths": [1, 2]})
    >>> for name, values in given.items():
    ...     print(name, np.asarray(values).tolist())
    input_ids [5, 6, 7]
    labels [6, 7, -100]
    position_ids [0, 0, 1]
    seq_lens [1, 2]
    seq_lens_padded [1, 2]
    """
    rooms = _rooms(row)
    return {
        "input_ids": row["input_ids"],
        "labels": preshifted(row)["labels"],
        "position_ids": _positions(rooms),
        "seq_lens": _lengths(row),
        "seq_lens_padded": rooms,
    }


def torchtune(row: Row) -> dict[str, Any]:
    """Return the columns of torchtune's PackedDataset: `tokens`, `labels`, `input_pos` and `seq_lens`.

    Where samples are padded (`pad_to_multiple`), `seq_lens` count the padding: they add up to the row.
    Labels stay unshifted: the recipes up to 0.6.1, the last release, shift them (`labels[..., 1:]` in
    `_loss_step` of full_finetune_single_device.py). See `torchtune_shifted` for what came after.

    >>> row = {"input_ids": [5, 6, 7], "labels": [-100, 6, 7], "seq_lengths": [1, 2]}
    >>> {name: np.asarray(values).tolist() for name, values in torchtune(row).items()}
    {'tokens': [5, 6, 7], 'labels': [-100, 6, 7], 'input_pos': [0, 0, 1], 'seq_lens': [1, 2]}
    """
    lengths = _rooms(row)
    return {
        "tokens": row["input_ids"],
        "labels": row["labels"],
        "input_pos": _positions(lengths),
        "seq_lens": lengths,
    }


def torchtune_shifted(row: Row) -> dict[str, Any]:
    """Return the same columns with shifted labels, for torchtune after 0.6.1 (its repository)."""
    return {**torchtune(row), "labels": preshifted(row)["labels"]}


def _lengths(row: Row) -> np.ndarray:
    """Return the lengths of the samples in the row; an unpacked row is one."""
    return np.asarray(row.get("seq_lengths", [len(row["input_ids"])]))


def _rooms(row: Row) -> np.ndarray:
    """Return these lengths with the padding behind each sample."""
    return np.asarray(row["seq_lengths_padded"]) if "seq_lengths_padded" in row else _lengths(row)


def _positions(lengths: np.ndarray) -> np.ndarray:
    starts: np.ndarray = np.repeat(lengths.cumsum() - lengths, lengths)
    positions: np.ndarray = np.arange(len(starts)) - starts
    return positions
