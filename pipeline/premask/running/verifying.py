"""Rows that are processed twice, and compared.

    check = Verifying(labeller, batch, dialect, filled)
    check.see(labelled)                      # the texts of some rows, once they are labelled
    check.verify(first, last, masked)        # raises `VerifyError` if one of these rows differs

A run verifies a share of its rows (recipe key `verify`). What was seen of a text is kept as two hashes, of
its ids and of its labels, so that the length of a row does not matter.

Cost: that of the slow path and the reference engine, for the share of the rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ..core.errors import RowError, VerifyError
from ..core.records import MaskedTexts
from ..dialects import Form
from ..fast.fill import FilledRows
from ..fast.plain_batches import RowBatch
from ..labeller import LabelledTexts, Labeller, segment, settle
from .parts import PART_BYTES, text_spans

DECIDED_AGAIN = 8
"""One in this many verified rows has its mask decided again."""


class Seen(NamedTuple):
    """The hashes of ids and labels of a text; None of a text that cannot be used."""

    ids: bytes | None
    labels: bytes | None


_REFUSED = Seen(None, None)


class Verifying:
    """The verified rows of a batch. Rows are named by their index in the batch."""

    def __init__(self, labeller: Labeller, batch: RowBatch, dialect: Form, filled: FilledRows | None) -> None:
        self._labeller, self._batch, self._dialect, self._filled = labeller, batch, dialect, filled
        share, hashed = labeller.recipe.verify, _hashed(batch.numbers)
        self._chosen, self._in_full = hashed < share, hashed < share / DECIDED_AGAIN
        self._is_filled = np.zeros(len(batch), dtype=bool)
        if filled is not None:
            self._is_filled[filled.rows] = [row.last is not None for row in filled.filled]
        self._seen: dict[int, list[Seen]] = {}

    def see(self, labelled: LabelledTexts) -> None:
        """Take note of labelled texts."""
        rows = labelled.masked.rows
        for i in np.flatnonzero(self._chosen[rows]).tolist():
            self._seen.setdefault(int(rows[i]), []).append(_seen(labelled, i))

    def verify(self, first: int, last: int, masked: MaskedTexts) -> int:
        """Process the chosen rows from `first` to `last` again; return their number. `masked` are the texts
        of these rows.

        Every verified row is rendered and encoded by the reference engine. The mask is decided again for rows
        that were not filled, and for one in `DECIDED_AGAIN` of the filled rows.
        """
        chosen = np.flatnonzero(self._chosen[first:last]) + first
        for at in chosen.tolist():
            in_full = self._in_full[at] or not self._is_filled[at]
            if not (self._same_labels(at) if in_full else self._same_ids(at, masked)):
                raise VerifyError(f"{self._batch.source} row {self._batch.numbers[at]}")
        return len(chosen)

    def _same_labels(self, at: int) -> bool:
        """Whether a row gives the same ids and labels when its mask is decided again."""
        labeller = self._labeller.by_reference
        try:
            found, _ = labeller.read(self._batch.row(at), self._dialect)
            masked = segment(labeller, labeller.decide_together(found))
        except RowError:
            return _is_refused(self._taken(at))
        again = [
            _seen(labelled, i)
            for first, last in text_spans(masked, PART_BYTES)
            for labelled in [labeller.label(masked.cut(first, last))]
            for i in range(last - first)
        ]
        seen = self._taken(at)
        return seen == again or (_is_refused(seen) and _is_refused(again))

    def _same_ids(self, at: int, masked: MaskedTexts) -> bool:
        """Whether the template prints what the render plan printed, and the reference engine gives the same
        ids."""
        if self._filled is None:
            return False
        labeller = self._labeller.by_reference
        (conversation,), _ = labeller.read(self._batch.row(at), self._dialect)
        index = int(np.searchsorted(self._filled.rows, at))
        try:
            with labeller.limits(conversation):
                renders = labeller.renders(settle(labeller, conversation))
                texts = [renders.through(last) for last in self._filled.filled[index].last or ()]
        except RowError:
            return False
        own = masked.cut(*np.searchsorted(masked.rows, [at, at + 1]).tolist())
        if texts != own.texts:
            return False
        if _is_refused(self._seen.get(at, [])):
            return self._same_labels(at)
        return [each.ids for each in self._taken(at)] == list(_ids_of(labeller, own))

    def _taken(self, at: int) -> Sequence[Seen]:
        return self._seen.pop(at, [])


def _ids_of(labeller: Labeller, masked: MaskedTexts) -> Iterator[bytes]:
    """Yield the hash of the ids of each text."""
    for span in text_spans(masked, PART_BYTES):
        tokens = labeller.encoder.encode(masked.cut(*span)).tokens
        yield from (_hash(tokens.ids[a:b]) for a, b in pairwise(tokens.offsets.tolist()))


def _seen(labelled: LabelledTexts, i: int) -> Seen:
    """Return what is kept of text `i`."""
    _, encoded, labels = labelled
    first, last = encoded.tokens.offsets[[i, i + 1]].tolist()
    if i in encoded.errors or labels.trained_before[first] == labels.trained_before[last]:
        return _REFUSED
    return Seen(_hash(encoded.tokens.ids[first:last]), _hash(labels.labels[first:last]))


def _is_refused(seen: Sequence[Seen]) -> bool:
    """Whether a row cannot be used: it has no text, or one that cannot be used."""
    return not seen or _REFUSED in seen


def _hash(values: np.ndarray) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(values).data, digest_size=16).digest()


def _hashed(numbers: np.ndarray) -> np.ndarray:
    """Return a number from 0 to 1 per row number (Knuth's multiplicative hash, TAOCP 6.4)."""
    return (numbers.astype(np.uint64) + np.uint64(1)) * np.uint64(2654435769) % np.uint64(2**32) / 2**32
