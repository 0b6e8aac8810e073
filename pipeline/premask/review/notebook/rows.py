"""Rows with token ids, of premask or of another tool -> the arrays that are shown.

    found = read_row({"input_ids": [5, 6], "completion_mask": [0, 1]}, "sample 0")
    found.samples[0].labels         # [-100, 6]

A row has labels, or masks as TRL and engines name them, or a prompt and its answers (`prompt_ids` and
`completion_ids`, or `chosen_ids` and `rejected_ids`). Packed rows are cut into their samples. Lists, numpy
arrays and tensors are read alike.

Cost: a microsecond a token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...core.contract import labels_of_mask
from ...dialects.token_lists import MASKS
from .tokens import aligned

LENGTHS = ("seq_lengths_padded", "seq_lengths", "seq_lens", "sample_lengths")
"""Columns with the lengths of the samples of a pack."""
SIDES = ("completion", "chosen", "rejected")
"""What `prompt_ids` are followed by, in `..._ids` with an optional `..._mask`."""
_SHIFTED = {
    1: "These labels are shifted by one: the label of a token is the next token. Models of transformers "
    "shift labels themselves. Here, the tokens are marked that are learned.",
    -1: "These labels are shifted by one: the label of a token is the token before it. Here, the tokens are "
    "marked that the labels name.",
}


@dataclass(frozen=True)
class Part:
    """A sample of t tokens: ids, labels and, if the row has them, weights and padding, as arrays of t."""

    name: str
    ids: np.ndarray
    labels: np.ndarray
    weights: np.ndarray | None = None
    padding: np.ndarray | None = None


@dataclass(frozen=True)
class TokenRow:
    """A row as it is shown: what it says of itself, what is strange in it, and its samples."""

    facts: tuple[str, ...]
    notes: tuple[str, ...]
    samples: tuple[Part, ...]
    packed: bool = False


def is_row(row: Any) -> bool:
    """Whether something has token ids."""
    return isinstance(row, Mapping) and ("input_ids" in row or any(f"{side}_ids" in row for side in SIDES))


def read_row(row: Mapping[str, Any], where: str) -> TokenRow:
    """Return what a row holds. Raises `TypeError`, naming `where`, if it has no ids or no labels."""
    if not is_row(row):
        raise TypeError(f"{where} has no input_ids and labels; it has {_names(row)}")
    facts = tuple(_facts(row))
    if "input_ids" not in row:
        return TokenRow(facts, (), tuple(_sides(row, where)))
    ids = _numbers(row, "input_ids", where)
    labels, shift = aligned(ids, _labels(row, ids, where))
    mask = _numbers(row, "attention_mask", where, len(ids)) if _has(row, "attention_mask") else None
    padding = None if mask is None or (mask != 0).all() else mask == 0
    weights = _numbers(row, "loss_weights", where, len(ids), float) if _has(row, "loss_weights") else None
    whole = Part("", ids, labels, weights, padding)
    notes: tuple[str, ...] = (_SHIFTED[shift],) if shift else ()
    parts = _cut(whole, _starts(row, mask, len(ids)))
    notes += _wrong_lengths(row, ids)
    return TokenRow(facts, notes, tuple(parts), packed=len(parts) > 1)


def _names(row: Mapping[str, Any]) -> str:
    return ", ".join(map(str, list(row)[:12])) or "no columns"


def _has(row: Mapping[str, Any], name: str) -> bool:
    return row.get(name) is not None


def _facts(row: Mapping[str, Any]) -> list[str]:
    """What a row says of where it is from."""
    names = {"id": "id", "source": "source", "row": "row", "source_row": "row", "split": "split"}
    found = {said: row[name] for name, said in names.items() if isinstance(row.get(name), (str, int))}
    return [f"{said} {str(value)[:80]}" for said, value in found.items()]


def _numbers(
    row: Mapping[str, Any], name: str, where: str, length: int | None = None, kind: type = int
) -> np.ndarray:
    """Return a list of a row as an array. Raises `TypeError` if it is none, or has another length."""
    held = row[name]
    held = held.detach().cpu() if hasattr(held, "detach") else held  # a tensor
    try:
        found = np.asarray(held)
        found = found.astype(np.float64 if kind is float else np.int64, casting="unsafe")
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"{where}: {name} is no list of numbers, but {type(row[name]).__name__}") from None
    if found.ndim != 1:
        raise TypeError(f"{where}: {name} is no flat list of numbers; it has the shape {found.shape}")
    if length is not None and len(found) != length:
        raise TypeError(f"{where} has {length:,} input_ids and {len(found):,} {name}")
    return found


def _labels(row: Mapping[str, Any], ids: np.ndarray, where: str) -> np.ndarray:
    """Return the labels of a row: its own, or those of all its masks together."""
    if _has(row, "labels"):
        return _numbers(row, "labels", where, len(ids))
    masks = [_numbers(row, name, where, len(ids)) != 0 for name in MASKS if _has(row, name)]
    if not masks:
        wanted = "labels (the id where a token is trained, else -100), or a mask (1 where it is trained)"
        raise TypeError(
            f"{where} has input_ids, but no labels. Expected: {wanted}: {', '.join(MASKS)}. "
            f"It has {_names(row)}"
        )
    return labels_of_mask(ids, np.logical_and.reduce(masks))


def _sides(row: Mapping[str, Any], where: str) -> list[Part]:
    """Return a prompt with each of its answers."""
    prompt = _numbers(row, "prompt_ids", where) if _has(row, "prompt_ids") else np.zeros(0, np.int64)
    found = []
    for side in (side for side in SIDES if _has(row, f"{side}_ids")):
        ids = _numbers(row, f"{side}_ids", where)
        name = f"{side}_mask"
        mask = _numbers(row, name, where, len(ids)) if _has(row, name) else np.ones(len(ids), np.int64)
        whole, trained = np.concatenate([prompt, ids]), np.concatenate([np.zeros(len(prompt)), mask])
        found.append(Part(side, whole, labels_of_mask(whole, trained)))
    return found


# ==== Packs ====


def _starts(row: Mapping[str, Any], mask: np.ndarray | None, length: int) -> Sequence[int]:
    """Return where the samples of a row begin: by its lengths, its positions, or a mask that numbers them."""
    for name in LENGTHS:
        if _has(row, name):
            ends = np.cumsum(_numbers(row, name, "the row"))
            return [0, *(int(end) for end in ends if 0 < end < length)]
    if mask is not None and mask.size and mask.max() > 1:
        return [0, *(np.flatnonzero((np.diff(mask) != 0) & (mask[1:] != 0)) + 1).tolist()]
    if _has(row, "position_ids") and np.shape(row["position_ids"]) == (length,):
        places = _numbers(row, "position_ids", "the row")
        return [0, *(np.flatnonzero((places[1:] == 0) & (places[:-1] != 0)) + 1).tolist()]
    return [0]


def _wrong_lengths(row: Mapping[str, Any], ids: np.ndarray) -> tuple[str, ...]:
    """Return what is said of lengths that are not those of the tokens."""
    name = next((name for name in LENGTHS if _has(row, name)), None)
    lengths = np.zeros(0, np.int64) if name is None else _numbers(row, name, "the row")
    if name is None or (lengths.sum() == len(ids) and (lengths >= 0).all()):
        return ()
    return (f"{name} has {lengths.sum():,} tokens together, but the row has {len(ids):,}.",)


def _cut(whole: Part, starts: Sequence[int]) -> list[Part]:
    """Return the samples of a row, given their first tokens."""
    starts = sorted(set(starts))
    if len(starts) < 2:
        return [whole]
    ends = [*starts[1:], len(whole.ids)]
    return [
        replace(
            whole,
            name=f"sample {i}",
            ids=whole.ids[own],
            labels=whole.labels[own],
            weights=None if whole.weights is None else whole.weights[own],
            padding=None if whole.padding is None else whole.padding[own],
        )
        for i, own in enumerate(map(slice, starts, ends))
    ]
