"""The fast way for plain rows: a batch of them at a time, without an object a message or a token.

    texts -> filled plans (`plans.py`) -> segments -> ids and byte edges -> labels (`labels.label_segments`)

A row takes this way if it has a render plan and a tokenizer whose tokens have fixed numbers of bytes, and
if nothing about it needs a closer look: a control token in its content, text that the tokenizer changes.
All other rows are left to `stages.py`, which takes them one by one. Which way a row takes changes nothing
but the time: tests compare both on the same rows, and every run does on a share of them (`verify`).
Costs 6 to 8 microseconds for a short row and 30 to 40 nanoseconds a token of long ones besides the encoding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np
import pyarrow as pa

from ..core.arrays import arrow_array, offsets_of
from ..core.contract import ORIGIN_SCHEMA
from ..core.records import ROLES, ByteTokens, Segments, Stretches, Tally
from ..masking.labels import label_segments
from ..tokens.encode import Encoder
from .render_plans import Plan, Plans

WRITERS = ("template", *ROLES)
"""Names of `Segments.roles`."""


@dataclass(frozen=True)
class HotBatch:
    """Rows that took the fast way: m rows, n samples, t tokens.

    rows        int64[m]    which of the rows given, ascending
    plans       m plans, one a row
    of_row      int64[n]    the row of each sample, as an index into `rows`
    number      int64[n]    which of its row's samples it is
    tokens      the ids, flat, and the bytes they cover
    segments    who wrote those bytes, and which are trained
    texts       n strings
    odd         whether the reference engine had to take any of the texts
    """

    rows: np.ndarray
    plans: list[Plan]
    of_row: np.ndarray
    number: np.ndarray
    tokens: ByteTokens
    segments: Segments
    texts: list[str]
    odd: bool

    def rows_of(self, samples: np.ndarray) -> np.ndarray:
        """These samples (bool[n]) and all others of their rows."""
        if len(self.rows) == len(samples) or not samples.any():
            return samples
        of_rows = np.zeros(len(self.rows), dtype=bool)
        of_rows[self.of_row[samples]] = True
        rows: np.ndarray = of_rows[self.of_row]
        return rows

    def without(self, samples: np.ndarray) -> HotBatch:
        """The batch without the rows of which one of these samples (bool[n]) is."""
        if not samples.any():
            return self
        kept_rows = np.ones(len(self.rows), dtype=bool)
        kept_rows[self.of_row[samples]] = False
        kept = kept_rows[self.of_row]
        tokens, segments = self.tokens, self.segments
        kept_tokens = np.repeat(kept, np.diff(tokens.offsets))
        kept_segments = np.repeat(kept, np.diff(segments.offsets))
        return HotBatch(
            self.rows[kept_rows],
            list(compress(self.plans, kept_rows.tolist())),
            (np.cumsum(kept_rows) - 1)[self.of_row[kept]],
            self.number[kept],
            ByteTokens(
                tokens.ids[kept_tokens],
                offsets_of(np.diff(tokens.offsets)[kept]),
                offsets_of(np.diff(tokens.edges)[kept_tokens]),
            ),
            Segments(
                segments.sizes[kept_segments],
                offsets_of(np.diff(segments.offsets)[kept]),
                segments.roles[kept_segments],
                segments.turns[kept_segments],
            ),
            list(compress(self.texts, kept.tolist())),
            self.odd,
        )


@dataclass(frozen=True)
class Labelled:
    """A batch with its labels: m rows, n samples, t tokens.

    labels      int32[t]
    stretches   what is trained
    straddling  int64[n]  tokens across the edge of a trained stretch
    fits        bool[n]   samples of rows that are done
    too_long    bool[n]   samples of rows of which one is longer than `max_length`

    A sample that is neither is of a row that is left.
    """

    batch: HotBatch
    labels: np.ndarray
    stretches: Stretches
    straddling: np.ndarray
    fits: np.ndarray
    too_long: np.ndarray

    def rows(self, samples: np.ndarray) -> np.ndarray:
        """Which of the rows given these samples (bool[n]) belong to, ascending."""
        rows: np.ndarray = self.batch.rows[np.unique(self.batch.of_row[samples])]
        return rows

    def fitting(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ids, labels and offsets of the samples that fit."""
        tokens, kept = self.batch.tokens, self.fits
        if kept.all():
            return tokens.ids, self.labels, tokens.offsets
        edges = np.flatnonzero(np.diff(kept, prepend=False, append=False)).reshape(-1, 2)  # of their runs
        runs = [slice(*pair) for pair in tokens.offsets[edges].tolist()]
        none = np.zeros(0, dtype=np.int32)
        return (
            np.concatenate([none, *(tokens.ids[run] for run in runs)]),
            np.concatenate([none, *(self.labels[run] for run in runs)]),
            offsets_of(np.diff(tokens.offsets)[kept]),
        )

    def trained_turns(self) -> pa.ListArray:
        """For each sample that fits the messages of which at least one token is trained, ascending."""
        stretches = self.stretches
        kept = np.flatnonzero((stretches.last > stretches.first) & self.fits[stretches.sample])
        sample, message = stretches.sample[kept], stretches.message[kept]
        again = (np.diff(sample, prepend=-1) == 0) & (np.diff(message, prepend=-1) == 0)
        sample, message = sample[~again], message[~again]
        counts = np.bincount(sample, minlength=len(self.fits))[self.fits]
        return pa.ListArray.from_arrays(
            arrow_array(offsets_of(counts).astype(np.int32)),
            arrow_array(message.astype(np.int32)),
            type=ORIGIN_SCHEMA.field("trained_turns").type,
        )

    def samples_of(self, row: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Ids and labels of the samples of one of the rows given."""
        own = self.batch.of_row == np.searchsorted(self.batch.rows, row)
        offsets = self.batch.tokens.offsets
        spans = [slice(*offsets[i : i + 2]) for i in np.flatnonzero(own)]
        return [(self.batch.tokens.ids[span], self.labels[span]) for span in spans]


class HotPath:
    """The fast way of one recipe."""

    def __init__(self, plans: Plans, encoder: Encoder) -> None:
        self._plans = plans
        self._encoder = encoder

    def label(
        self, roles: Sequence[bytes], texts: Sequence[Sequence[str]], *, max_length: int
    ) -> Labelled | None:
        """Label plain rows, given the role of each message (an index into `ROLES`) and its text; None if
        all of them are left."""
        batch = self._encoded(roles, texts)
        if batch is None:
            return None
        labels, stretches, straddling = label_segments(batch.tokens, batch.segments)
        trained = stretches.last > stretches.first
        untrained = np.bincount(stretches.sample[trained], minlength=len(batch.of_row)) == 0
        left = batch.rows_of(untrained | self._encoder.forged_in(batch.tokens, batch.segments))
        too_long = batch.rows_of(np.diff(batch.tokens.offsets) > max_length)
        return Labelled(batch, labels, stretches, straddling, ~left & ~too_long, ~left & too_long)

    def _encoded(self, roles: Sequence[bytes], texts: Sequence[Sequence[str]]) -> HotBatch | None:
        fill, leaves_bytes = self._plans.fill, self._encoder.leaves_bytes
        rows: list[int] = []
        plans: list[Plan] = []
        samples: list[str] = []
        slots: list[str] = []
        for row, (of_row, contents) in enumerate(zip(roles, texts, strict=True)):
            filled = fill(of_row, contents)
            if filled is not None and all(map(leaves_bytes, filled.texts)):
                rows.append(row)
                plans.append(filled.plan)
                samples += filled.texts
                slots += filled.slots
        if not rows:
            return None
        segments, first_sample = _segments(plans, _byte_sizes(slots))
        tokens, by_reference = self._encoder.encode_bytes(samples)
        counts = np.diff(np.append(first_sample, len(samples)))
        sample_row = np.repeat(np.arange(len(rows)), counts)
        number = np.arange(len(samples)) - first_sample[sample_row]
        odd = by_reference > 0
        batch = HotBatch(np.array(rows), plans, sample_row, number, tokens, segments, samples, odd)
        covered = np.diff(tokens.edges[tokens.offsets])
        return batch.without(covered != np.add.reduceat(segments.sizes, segments.offsets[:-1]))


def count_tokens(tokens: ByteTokens, segments: Segments, stretches: Stretches) -> Tally:
    """How many tokens of each sample, and how many trained ones, each of `WRITERS` wrote; a token is counted
    for whoever wrote its first byte. Who wrote none at all is left out."""
    begin = np.cumsum(segments.sizes) - segments.sizes
    first = np.searchsorted(tokens.edges, begin, side="left")
    last = np.append(first[1:], len(tokens.ids))
    n = len(segments.offsets) - 1
    of_sample = np.repeat(np.arange(n), np.diff(segments.offsets))
    opens = np.ones(len(begin), dtype=bool)
    opens[1:] = (np.diff(segments.turns) != 0) | (np.diff(of_sample) != 0)
    inside = segments.turns >= 0
    stretch = (np.cumsum(opens & inside) - 1)[inside]
    low = np.maximum(first[inside], stretches.first[stretch])
    high = np.minimum(last[inside], stretches.last[stretch])
    cell = of_sample * len(WRITERS) + segments.roles
    size = n * len(WRITERS)
    counts = {
        "tokens": np.bincount(cell, weights=last - first, minlength=size),
        "trained": np.bincount(cell[inside], weights=np.maximum(high - low, 0), minlength=size),
    }
    columns = {name: each.reshape(n, -1).astype(np.int32) for name, each in counts.items()}
    return {
        f"{name}_{who}": table[:, i]
        for name, table in columns.items()
        for i, who in enumerate(WRITERS)
        if table[:, i].any()
    }


# ==== Parts ====


def _byte_sizes(texts: list[str]) -> np.ndarray:
    """Bytes of UTF-8 of each text, int64[n]."""
    sizes = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    ascii_only = np.fromiter(map(str.isascii, texts), dtype=bool, count=len(texts))
    for i in np.flatnonzero(~ascii_only).tolist():
        sizes[i] = len(texts[i].encode())
    return sizes


def _segments(plans: Sequence[Plan], slot_sizes: np.ndarray) -> tuple[Segments, np.ndarray]:
    """The segments of rows filled into these plans, and the first sample of each row.

    `slot_sizes` are the bytes of all slots, row by row. Rows of one plan are done at a time.
    """
    groups: dict[int, list[int]] = {}
    for row, plan in enumerate(plans):
        groups.setdefault(id(plan), []).append(row)
    kinds = [plans[rows[0]] for rows in groups.values()]
    kind_of = np.empty(len(plans), dtype=np.int64)
    for kind, rows in enumerate(groups.values()):
        kind_of[rows] = kind
    first_slot = offsets_of(np.array([plan.slots for plan in kinds])[kind_of])
    first_sample = offsets_of(np.array([len(plan.samples) for plan in kinds])[kind_of])
    lengths = np.empty(int(first_sample[-1]), dtype=np.int64)
    for kind, rows in enumerate(groups.values()):
        for number, sample in enumerate(kinds[kind].samples):
            lengths[first_sample[rows] + number] = len(sample.literal)
    offsets = offsets_of(lengths)
    sizes, roles, turns = (np.empty(int(offsets[-1]), dtype=np.int64) for _ in range(3))
    for kind, rows in enumerate(groups.values()):
        for number, sample in enumerate(kinds[kind].samples):
            places = offsets[first_sample[rows] + number][:, None] + np.arange(len(sample.literal))
            is_slot = sample.slot >= 0
            sizes[places] = sample.literal
            sizes[places[:, is_slot]] = slot_sizes[first_slot[rows][:, None] + sample.slot[is_slot]]
            roles[places], turns[places] = sample.role, sample.turn
    return Segments(sizes, offsets, roles, turns), first_sample[:-1]
