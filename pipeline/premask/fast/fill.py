"""Batches of plain rows: their texts and masks, without an object per message.

    filled = Filler(plans).fill(shapes, texts)
    filled.rows       # which of the given rows have a render plan
    filled.masked     # their texts in segments, equal to those of `masking/completions.py`

A row with a render plan (`render_plans.py`) is filled into it. Every other row takes the slow path: the
labeller processes rows one by one. The path changes the time only. Tests compare both paths on the same rows,
and every run compares them on a share of its rows (`verify`).

Cost: about 1 us a message.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core.arrays import offsets_of
from ..core.records import PROOFS, MaskedTexts
from ..core.shapes import RowShape
from .render_plans import Plan, Plans


@dataclass(frozen=True)
class FilledRows:
    """Rows that have a render plan: m rows, n samples.

    rows    int64[m]  indices into the given rows, ascending
    plans   m render plans
    masked  n texts; `masked.rows` are indices into `rows`
    """

    rows: np.ndarray
    plans: list[Plan]
    masked: MaskedTexts


class Filler:
    """Fills rows into the render plans of one recipe."""

    def __init__(self, plans: Plans) -> None:
        self._plans = plans

    def fill(self, shapes: Sequence[RowShape], texts: Sequence[Sequence[str]]) -> FilledRows | None:
        """Fill rows, from their shapes and the texts of their slots.

        Returns None if no row has a plan.
        """
        rows: list[int] = []
        plans: list[Plan] = []
        samples: list[str] = []
        slots: list[str] = []
        for row, (shape, of_row) in enumerate(zip(shapes, texts, strict=True)):
            filled = self._plans.fill(shape, of_row)
            if filled is not None:
                rows.append(row)
                plans.append(filled.plan)
                samples += filled.texts
                slots += filled.slots
        if not rows:
            return None
        return FilledRows(np.array(rows), plans, _masked(plans, samples, _byte_sizes(slots)))


# ==== Parts ====


def _byte_sizes(texts: list[str]) -> np.ndarray:
    """Return the bytes (UTF-8) of each text, int64[n]."""
    sizes = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    ascii_only = np.fromiter(map(str.isascii, texts), dtype=bool, count=len(texts))
    for i in np.flatnonzero(~ascii_only).tolist():
        sizes[i] = len(texts[i].encode())
    return sizes


def _masked(plans: Sequence[Plan], texts: list[str], slot_sizes: np.ndarray) -> MaskedTexts:
    """Return the texts of rows that were filled into these plans, in segments.

    `slot_sizes` are the bytes of all slots, row by row. All rows of one plan are processed at a time.
    """
    groups: dict[int, list[int]] = {}
    for row, plan in enumerate(plans):
        groups.setdefault(id(plan), []).append(row)
    kinds = [plans[rows[0]] for rows in groups.values()]
    kind_of = np.empty(len(plans), dtype=np.int64)
    for kind, rows in enumerate(groups.values()):
        kind_of[rows] = kind
    samples = np.array([len(plan.samples) for plan in kinds])[kind_of]
    first_slot = offsets_of(np.array([plan.slots for plan in kinds])[kind_of])
    first_sample = offsets_of(samples)
    lengths = np.empty(int(first_sample[-1]), dtype=np.int64)
    for kind, rows in enumerate(groups.values()):
        for number, sample in enumerate(kinds[kind].samples):
            lengths[first_sample[rows] + number] = len(sample.literal)
    offsets = offsets_of(lengths)
    sizes, writers, messages = (np.empty(int(offsets[-1]), dtype=np.int64) for _ in range(3))
    seams = np.empty(int(offsets[-1]), dtype=bool)
    for kind, rows in enumerate(groups.values()):
        for number, sample in enumerate(kinds[kind].samples):
            at = offsets[first_sample[rows] + number][:, None] + np.arange(len(sample.literal))
            is_slot = sample.slot >= 0
            sizes[at] = sample.literal
            sizes[at[:, is_slot]] = slot_sizes[first_slot[rows][:, None] + sample.slot[is_slot]]
            writers[at], messages[at], seams[at] = sample.role, sample.turn, sample.seam
    proofs = np.array([PROOFS.index(plan.proof) for plan in kinds], dtype=np.int8)[kind_of]
    of_row = np.repeat(np.arange(len(plans)), samples)
    return MaskedTexts(texts, of_row, proofs[of_row], offsets, sizes, writers, messages, seams)
