"""Train on shards that premask wrote: this file alone, with torch; it imports nothing else of premask.

So far it holds the collator. It joins rows of either layout into one batch for a Hugging Face model, without
letting samples see each other:

    rows = load_dataset("out/chats", "packed", split="train")
    for batch in DataLoader(rows, batch_size=4, collate_fn=Collator()):
        loss = model(**batch, use_cache=False).loss

`use_cache=False` is needed: with a cache, eager and sdpa attention do not look at `position_ids`, and the
samples of a pack see each other (`Trainer` of transformers and of TRL set it themselves).

Cost: about 0.3 us a token for rows of Python lists, which is what `datasets` gives, a third of that or less
for rows of tensors (`dataset.with_format("torch")`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

IGNORE_INDEX = -100
"""Label of a token that carries no loss (PyTorch's and Hugging Face's convention)."""

Row = Mapping[str, Any]
"""One row of a dataset: columns as lists, numpy arrays or tensors."""


class RowsError(ValueError):
    """Rows that no batch can be made of: a column is missing, or its values do not fit the others."""


@dataclass(frozen=True, kw_only=True)
class Collator:
    """Joins packed or unpacked rows into one batch; made to be a `collate_fn` or a `data_collator`.

    A batch of n tokens in d documents holds, of dtype int64 unless said otherwise:

        input_ids, labels, position_ids     (1, n)   labels are unshifted; -100 carries no loss
        cu_seq_lens_q, cu_seq_lens_k        (d + 1,) int32: where documents start, and n
        max_length_q, max_length_k          int: length of the longest document
        seq_idx                             (1, n)   int32: which document, counted from 0 (`seq_idx=True`)
        loss_weights                        (1, n)   float32: only where the rows have that column

    `position_ids` keep documents apart in eager, sdpa and flex attention, `cu_seq_lens` in flash attention,
    `seq_idx` in linear attention (which needs its own kernels). There never is an `attention_mask`: beside
    the positions of a pack, a mask of ones would join its documents again.

    `padded=True` makes the shape (rows, longest row) instead, padded on the right; what is added to a row is
    a document of its own, with `pad_id` for ids, label -100 and weight 0.

    Rows need `input_ids` and `labels`. Documents are those of `seq_lengths`, without that column those that
    `position_ids` start at 0, without both each row is one. The first label of each document becomes -100,
    since shifted it would be predicted from the document before. Models ignore `loss_weights`: they are for
    loops that compute the loss themselves.

    Raises `RowsError` for rows that do not fit, with the number of the row in the batch.

    >>> batch = Collator()([{"input_ids": [5, 6, 7], "labels": [5, -100, 7], "seq_lengths": [1, 2]}])
    >>> batch["labels"].tolist(), batch["position_ids"].tolist(), batch["cu_seq_lens_q"].tolist()
    ([[-100, -100, 7]], [[0, 0, 1]], [0, 1, 3])
    """

    padded: bool = False
    pad_id: int = 0
    seq_idx: bool = False

    def __call__(self, rows: Sequence[Row]) -> dict[str, Any]:
        if not rows:
            raise RowsError("a batch needs at least one row")
        names = _names(rows)
        tensors = [_row_tensors(row, names, i) for i, row in enumerate(rows)]
        documents = [_document_lengths(row, len(tensors[i]["input_ids"]), i) for i, row in enumerate(rows)]
        shape = (1, sum(len(each["input_ids"]) for each in tensors))
        if self.padded:
            shape = (len(rows), max(len(each["input_ids"]) for each in tensors))
            tensors = [_pad(each, shape[1], self.pad_id) for each in tensors]
            documents = [_with_rest(lengths, shape[1]) for lengths in documents]
        flat = {name: torch.cat([each[name] for each in tensors]) for name in names}
        return _batch(flat, torch.cat(documents), shape, seq_idx=self.seq_idx)


def _batch(
    flat: dict[str, torch.Tensor], lengths: torch.Tensor, shape: tuple[int, int], *, seq_idx: bool
) -> dict[str, Any]:
    """The batch of all documents: `flat` columns (n,), their lengths (d,)."""
    edges = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    starts = edges[:-1]
    flat["labels"][starts] = IGNORE_INDEX
    if "loss_weights" in flat:
        flat["loss_weights"][starts] = 0
    flat["position_ids"] = _positions(lengths)
    if seq_idx:
        numbers = torch.arange(len(lengths), dtype=torch.int32)
        flat["seq_idx"] = numbers.repeat_interleave(lengths)
    cumulative, longest = edges.to(torch.int32), int(lengths.max())
    return {
        **{name: values.view(shape) for name, values in flat.items()},
        "cu_seq_lens_q": cumulative,
        "cu_seq_lens_k": cumulative,
        "max_length_q": longest,
        "max_length_k": longest,
    }


# ==== Rows ====


def _names(rows: Sequence[Row]) -> list[str]:
    """The columns that are joined; weights only if all rows have them."""
    weighted = sum("loss_weights" in row for row in rows)
    if 0 < weighted < len(rows):
        raise RowsError(
            "some rows of the batch have loss_weights and some have none; mix only alike datasets"
        )
    return ["input_ids", "labels", *(["loss_weights"] if weighted else [])]


def _row_tensors(row: Row, names: Sequence[str], number: int) -> dict[str, torch.Tensor]:
    """The columns of a row, each (n,), checked against each other."""
    tensors = {name: _tensor(row, name, number) for name in names}
    ids, labels = tensors["input_ids"], tensors["labels"]
    for name, values in tensors.items():
        _check_length(name, values, len(ids), number)
    wrong = ((labels != IGNORE_INDEX) & (labels != ids)).nonzero()
    if len(wrong):
        at = int(wrong[0])
        raise RowsError(
            f"row {number} of the batch: label {int(labels[at])} at token {at}, whose id is {int(ids[at])}; "
            "labels must be unshifted: -100, or the id at the same place"
        )
    mask = row.get("attention_mask")
    if mask is not None and 0 in mask:
        raise RowsError(
            f"row {number} of the batch: attention_mask holds zeros; collate rows without padding, as "
            "premask writes them"
        )
    return tensors


def _tensor(row: Row, name: str, number: int) -> torch.Tensor:
    """One column of a row, (n,)."""
    if row.get(name) is None:
        raise RowsError(
            f"row {number} of the batch has no column {name!r}, only {sorted(row)}; load rows that premask "
            "wrote, and keep that column (Trainer: remove_unused_columns=False)"
        )
    dtype = torch.float32 if name == "loss_weights" else torch.int64
    value = row[name]
    try:
        tensor = value.to(dtype) if isinstance(value, torch.Tensor) else torch.tensor(value, dtype=dtype)
    except (TypeError, ValueError, RuntimeError) as error:
        raise RowsError(f"row {number} of the batch: {name} is no list of numbers ({error})") from None
    if tensor.dim() != 1 or not len(tensor):
        raise RowsError(
            f"row {number} of the batch: {name} has the shape {tuple(tensor.shape)}, where a list of numbers "
            "is needed; collate rows, not batches"
        )
    return tensor


def _check_length(name: str, values: torch.Tensor, size: int, number: int) -> None:
    if len(values) != size:
        raise RowsError(
            f"row {number} of the batch: {size} input_ids but {len(values)} {name}; "
            "both need one value a token"
        )


def _document_lengths(row: Row, size: int, number: int) -> torch.Tensor:
    """Lengths of the documents in a row of `size` tokens, (d,)."""
    if row.get("seq_lengths") is not None:
        lengths = _tensor(row, "seq_lengths", number)
        if int(lengths.min()) < 1 or int(lengths.sum()) != size:
            raise RowsError(
                f"row {number} of the batch: seq_lengths {lengths.tolist()} do not add up to its {size} "
                "tokens; was the row cut?"
            )
        return lengths
    if row.get("position_ids") is None:
        return torch.tensor([size])
    positions = _tensor(row, "position_ids", number)
    _check_length("position_ids", positions, size, number)
    starts = (positions == 0).nonzero().flatten()
    lengths = torch.cat([starts, starts.new_tensor([size])]).diff()
    if int(positions[0]) or not torch.equal(positions, _positions(lengths)):
        raise RowsError(
            f"row {number} of the batch: position_ids do not count up from 0 in every document; "
            "load rows that premask wrote"
        )
    return lengths


def _positions(lengths: torch.Tensor) -> torch.Tensor:
    """Positions within documents of these lengths, (n,).

    >>> _positions(torch.tensor([2, 3])).tolist()
    [0, 1, 0, 1, 2]
    """
    starts = lengths.cumsum(0) - lengths
    return torch.arange(int(lengths.sum())) - starts.repeat_interleave(lengths)


# ==== Padding ====


def _pad(tensors: Mapping[str, torch.Tensor], length: int, pad_id: int) -> dict[str, torch.Tensor]:
    """The columns of a row, filled up on the right."""
    fill = {"input_ids": pad_id, "labels": IGNORE_INDEX, "loss_weights": 0}
    pad = torch.nn.functional.pad
    return {name: pad(each, (0, length - len(each)), value=fill[name]) for name, each in tensors.items()}


def _with_rest(lengths: torch.Tensor, length: int) -> torch.Tensor:
    """Lengths of documents, with what is missing to `length` as one more.

    >>> _with_rest(torch.tensor([2, 3]), 8).tolist(), _with_rest(torch.tensor([2, 3]), 5).tolist()
    ([2, 3, 3], [2, 3])
    """
    rest = length - int(lengths.sum())
    return torch.cat([lengths, lengths.new_tensor([rest])]) if rest else lengths
