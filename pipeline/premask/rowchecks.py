"""The checks of rows of tokens: a batch of a layout in, findings and sums of its samples out.

    sums = check_batch(batch, "packed", Limits(max_length=4096, known=known), place, findings)
    sums.length, sums.trained, sums.hash            # of every sample in the batch

All of it is numpy over the flat columns: some 30 ns a token, half of that for the hashes, and 60 bytes for
each token of a batch.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from .core.arrays import hash_samples, offsets_of
from .core.contract import IGNORE_INDEX, LOSS_WEIGHTS, TRAINED_MASKS
from .findings import Findings
from .output.dataset import Lists, flat


class Limits(NamedTuple):
    """What a row must keep to: `max_length` tokens, no less in a pack if they are `padded`, and ids that are
    tokens: `known` bool[ids]."""

    max_length: int
    known: np.ndarray
    padded: bool = False


class Place(NamedTuple):
    """Where a batch stands: its file, and the number of its first row in it."""

    file: str
    row: int


class Sums(NamedTuple):
    """What is known of n samples, in their order.

    row      int64[n]   row of the file they stand in
    offset   int64[n]   their first token within the row
    length   int64[n]   tokens
    trained  int64[n]   trained tokens
    hash     uint64[n]  of ids, labels and loss weights
    """

    row: np.ndarray
    offset: np.ndarray
    length: np.ndarray
    trained: np.ndarray
    hash: np.ndarray


def check_batch(batch: pa.RecordBatch, layout: str, limits: Limits, place: Place, findings: Findings) -> Sums:
    """Check the rows of a batch that has the columns of its layout; rows whose lists do not fit together are
    told and left out of what is returned; so are pad documents."""
    rows = np.arange(batch.num_rows) + place.row
    whole = _whole_rows(batch, layout, place, findings)
    if not whole.all():
        batch, rows = batch.filter(pa.array(whole)), rows[whole]
    ids, labels = flat(batch.column("input_ids")), flat(batch.column("labels")).values
    lengths, first_of = _samples(batch, layout)
    starts = np.cumsum(lengths) - lengths
    row_of = np.repeat(rows, first_of[1:] - first_of[:-1])
    offset = starts - np.repeat(ids.offsets[:-1], first_of[1:] - first_of[:-1])
    if not len(lengths):
        return no_sums()

    def note(kind: str, wrong: np.ndarray, what: str, **values: np.ndarray) -> None:
        at = np.flatnonzero(wrong)
        if len(at):
            row_of = np.searchsorted(ids.offsets, at, side="right") - 1
            firsts = {name: value[at[0]].item() for name, value in values.items()}
            text = what.format(token=int(at[0] - ids.offsets[row_of[0]]), **firsts)
            findings.add(kind, place.file, text, row=int(rows[row_of[0]]), rows=len(np.unique(row_of)))

    limits = limits._replace(padded=limits.padded and layout == "packed")
    _check_lengths(np.diff(ids.offsets), rows, limits, place, findings)
    trained = labels != IGNORE_INDEX
    note("id", ~_are_known(ids.values, limits.known), "token {token} has the unknown id {id}", id=ids.values)
    wrong = trained & (labels != ids.values)
    note("label", wrong, "token {token} has label {label} beside id {id}", label=labels, id=ids.values)
    first = np.zeros(len(labels), dtype=bool)
    first[starts] = trained[starts]
    note(
        "first_label", first, "token {token} is the first of its sample, but has label {label}", label=labels
    )
    if layout == "packed":
        found, wanted = flat(batch.column("position_ids")).values, np.arange(len(labels))
        wanted -= np.repeat(starts, lengths)
        what = "token {token} has position {found}, not {wanted}"
        note("position", found != wanted, what, found=found, wanted=wanted)
    else:
        mask = flat(batch.column("attention_mask")).values
        note("attention_mask", mask != 1, "token {token} has attention_mask {mask}", mask=mask)
    weights = None
    if LOSS_WEIGHTS.name in batch.schema.names:
        weights = flat(batch.column(LOSS_WEIGHTS.name)).values
        wrong = np.where(trained, ~((weights > 0) & np.isfinite(weights)), weights != 0)
        what = "token {token} has weight {weight} beside label {label}"
        note("loss_weight", wrong, what, weight=weights, label=labels)
    for name in TRAINED_MASKS.keys() & {*batch.schema.names}:
        mask = flat(batch.column(name)).values
        what = f"token {{token}} has {name} {{mask}} beside label {{label}}"
        note("mask", mask != trained, what, mask=mask, label=labels)
    counted = np.add.reduceat(trained.astype(np.int64), starts)
    sums = Sums(row_of, offset, lengths, counted, hash_samples(ids.values, labels, weights, lengths))
    if not limits.padded:
        return sums
    is_last = np.zeros(len(lengths), dtype=bool)
    is_last[first_of[1:] - 1] = True
    return Sums(*(column[(counted > 0) | ~is_last] for column in sums))


def no_sums() -> Sums:
    """The sums of no samples."""
    none = np.zeros(0, dtype=np.int64)
    return Sums(none, none, none, none, np.zeros(0, dtype=np.uint64))


def join_sums(parts: list[Sums]) -> Sums:
    """The sums of one batch after another."""
    return Sums(*(np.concatenate(columns) for columns in zip(no_sums(), *parts, strict=True)))


# ==== The shape of rows ====


def _whole_rows(batch: pa.RecordBatch, layout: str, place: Place, findings: Findings) -> np.ndarray:
    """Which rows have lists that fit together, bool[rows]; the others are told."""
    fine = np.ones(batch.num_rows, dtype=bool)
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        nulls = _nulls(column)
        _tell_rows(f"{name} holds null", np.flatnonzero(nulls), place, findings)
        fine &= ~nulls
    numbers = np.flatnonzero(fine)
    fitting = _fitting(batch if fine.all() else batch.filter(pa.array(fine)), layout)
    _tell_rows(_MISFIT, numbers[~fitting], place, findings)
    fine[numbers] = fitting
    return fine


_MISFIT = "the lists of the row are not as long as its length and seq_lengths say"


def _fitting(batch: pa.RecordBatch, layout: str) -> np.ndarray:
    """Which rows have lists of the length that they say, above 0."""
    length = batch.column("length").to_numpy()
    fine = length > 0
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if pa.types.is_list(column.type) and name != "seq_lengths":
            fine &= np.diff(flat(column).offsets) == length
    if layout == "packed":
        sums = flat(batch.column("seq_lengths"))
        total = offsets_of(sums.values)[sums.offsets]
        low = offsets_of(sums.values < 1)[sums.offsets]
        fine &= (np.diff(total) == length) & (np.diff(low) == 0)
    return np.asarray(fine)


def _nulls(column: pa.Array) -> np.ndarray:
    """Which rows are null or hold one, bool[rows]."""
    nulls = np.asarray(column.is_null().to_numpy(zero_copy_only=False), dtype=bool)
    if pa.types.is_list(column.type) and column.values.null_count:
        inner = column.values.is_null().to_numpy(zero_copy_only=False)
        counts = offsets_of(inner)
        bounds = column.offsets.to_numpy()
        nulls |= counts[bounds[1:]] > counts[bounds[:-1]]
    return nulls


def _samples(batch: pa.RecordBatch, layout: str) -> Lists:
    """The lengths of all samples of the batch, int64, and which of them stand in which row."""
    if layout == "packed":
        lengths = flat(batch.column("seq_lengths"))
        return Lists(lengths.values.astype(np.int64), lengths.offsets)
    return Lists(batch.column("length").to_numpy().astype(np.int64), np.arange(batch.num_rows + 1))


# ==== Telling ====


def _check_lengths(
    lengths: np.ndarray, rows: np.ndarray, limits: Limits, place: Place, findings: Findings
) -> None:
    short = np.flatnonzero(limits.padded & (lengths < limits.max_length))
    if len(short):
        what = f"{lengths[short[0]]} tokens, but packs are filled up to {limits.max_length}"
        findings.add("padding", place.file, what, row=int(rows[short[0]]), rows=len(short))
    wrong = np.flatnonzero(lengths > limits.max_length)
    if len(wrong):
        what = f"{lengths[wrong[0]]} tokens are more than max_length {limits.max_length}"
        findings.add("too_long", place.file, what, row=int(rows[wrong[0]]), rows=len(wrong))


def _are_known(ids: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Which ids are tokens, bool[t]."""
    if known.all() and len(ids) and ids.min() >= 0 and ids.max() < len(known):
        return np.ones(len(ids), dtype=bool)
    inside = (ids >= 0) & (ids < len(known))
    return np.asarray(inside & known[np.where(inside, ids, 0)])


def _tell_rows(what: str, wrong: np.ndarray, place: Place, findings: Findings) -> None:
    """Note rows (int[k], of the batch) that are wrong as such."""
    if len(wrong):
        findings.add("shape", place.file, what, row=place.row + int(wrong[0]), rows=len(wrong))
