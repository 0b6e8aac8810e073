"""Batches of rows: their texts and masks, without an object per message.

    filled = Filler(plans, paths).fill(shapes, texts)
    filled.rows       # which of the given rows were filled
    filled.masked     # their texts in segments, equal to those of `masking/completions.py`

A row is filled into a render plan (`render_plans.py`) if rows of its shape are frequent, else it is put
together from records (`paths.py`). Every other row takes the slow path: the labeller processes rows one by
one. The path changes the time only. Tests compare all paths on the same rows, and every run compares them on
a share of its rows (`verify`).

Cost: about 1 us a message of a plan, about 10 us a message of a path.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ..core.arrays import offsets_of
from ..core.records import NOT_TRAINED, PROOFS, MaskedTexts
from ..core.shapes import RowShape
from ..masking.chat_template import MAX_RENDERED
from .kinds import Kind
from .paths import Path, Paths, Placed
from .render_plans import Filled, Plans

FREQUENT = 128
"""Rows of one shape after which the shape gets a plan although its rows have paths: making one takes some
milliseconds."""

REPEATED = 3
"""Rows of one shape without a path after which the shape gets a plan."""

FEW = 64
"""Number of shapes up to which a shape without paths gets a plan at its first row."""


class FilledRow(NamedTuple):
    """A row that was filled.

    texts   of its samples
    last    the last message of each sample, None if one is not a render
    proofs  how the mask of each sample was proved
    counts  what is counted of the row as a whole
    """

    texts: Sequence[str]
    last: tuple[int, ...] | None
    proofs: tuple[str, ...]
    counts: Mapping[str, int]


@dataclass(frozen=True)
class FilledRows:
    """Rows that were filled: m rows, n samples.

    rows    int64[m]  indices into the given rows, ascending
    filled  m rows
    masked  n texts; `masked.rows` are indices into `rows`
    """

    rows: np.ndarray
    filled: list[FilledRow]
    masked: MaskedTexts


@dataclass
class _Batch:
    """The rows filled so far: stretches of all samples with their number in each sample, and all slots."""

    rows: list[int] = field(default_factory=list)
    filled: list[FilledRow] = field(default_factory=list)
    stretches: list[Placed] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    slots: list[str] = field(default_factory=list)

    def add_plan(self, row: int, filled: Filled) -> None:
        plan = filled.plan
        self.rows.append(row)
        self.filled.append(FilledRow(filled.texts, plan.last, plan.proofs, plan.counts))
        for kind in plan.samples:
            self.stretches.append(Placed(kind, 0))
            self.counts.append(1)
            self.slots += filled.slots

    def add_path(self, row: int, path: Path, last: int) -> None:
        self.rows.append(row)
        self.filled.append(FilledRow((path.text,), (last,), ("inference",), {}))
        self.stretches += path.stretches
        self.counts.append(len(path.stretches))
        self.slots += path.slots


class Filler:
    """Fills the rows of one recipe. `paths` is None if its rows cannot have paths."""

    def __init__(self, plans: Plans, paths: Paths | None = None) -> None:
        self._plans, self._paths = plans, paths
        self._seen: dict[RowShape, int] = {}

    def fill(self, shapes: Sequence[RowShape], texts: Sequence[Sequence[str]]) -> FilledRows | None:
        """Fill rows, from their shapes and the texts of their slots.

        Returns None if no row was filled.
        """
        batch = _Batch()
        for row, (shape, of_row) in enumerate(zip(shapes, texts, strict=True)):
            with suppress(UnicodeEncodeError):  # a template that prints half of a surrogate pair
                self._fill(batch, row, shape, of_row)
        if not batch.rows:
            return None
        return FilledRows(np.array(batch.rows), batch.filled, _masked(batch))

    def _fill(self, batch: _Batch, row: int, shape: RowShape, texts: Sequence[str]) -> None:
        filled = self._plans.known(shape, texts)
        if filled is None:
            seen = self._count(shape)
            if seen > FREQUENT:
                filled = self._plans.fill(shape, texts)
            path = None if filled is not None or self._paths is None else self._paths.fill(shape, texts)
            if path is not None and len(path.text) <= MAX_RENDERED:
                batch.add_path(row, path, len(shape.messages) - 1)
                return
            if filled is None and (seen > REPEATED or len(self._seen) <= FEW):
                filled = self._plans.fill(shape, texts)
        if filled is not None and max(map(len, filled.texts)) <= MAX_RENDERED:
            batch.add_plan(row, filled)

    def _count(self, shape: RowShape) -> int:
        """Return how often a shape was seen, up to the number from which it does not matter."""
        seen = self._seen.get(shape, 0)
        if seen <= FREQUENT and (seen or len(self._seen) < MAX_SEEN):
            seen += 1
            self._seen[shape] = seen
        return seen


MAX_SEEN = 8_192
"""Shapes of which it is counted how often they were seen."""


# ==== Parts ====


def _byte_sizes(texts: list[str]) -> np.ndarray:
    """Return the bytes (UTF-8) of each text, int64[n]."""
    sizes = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    ascii_only = np.fromiter(map(str.isascii, texts), dtype=bool, count=len(texts))
    for i in np.flatnonzero(~ascii_only).tolist():
        sizes[i] = len(texts[i].encode())
    return sizes


class _Groups:
    """The stretches of a batch by kind: each kind, and which stretches are of it."""

    def __init__(self, stretches: Sequence[Placed]) -> None:
        self.kinds: list[Kind] = []
        self.members: list[list[int]] = []
        numbers: dict[int, int] = {}
        for at, (kind, _) in enumerate(stretches):
            number = numbers.get(id(kind))
            if number is None:
                number = numbers[id(kind)] = len(self.kinds)
                self.kinds.append(kind)
                self.members.append([])
            self.members[number].append(at)

    def __iter__(self) -> Iterator[tuple[Kind, np.ndarray]]:
        for kind, members in zip(self.kinds, self.members, strict=True):
            yield kind, np.array(members)

    def spread(self, values: Iterable[int], count: int) -> np.ndarray:
        """Return for each stretch the value of its kind, int64[count]."""
        found = np.empty(count, dtype=np.int64)
        for value, members in zip(values, self.members, strict=True):
            found[members] = value
        return found


def _masked(batch: _Batch) -> MaskedTexts:
    """Return the texts of rows in segments. All stretches of one kind are processed at a time."""
    n, groups = len(batch.stretches), _Groups(batch.stretches)
    places = np.fromiter((place for _, place in batch.stretches), dtype=np.int64, count=n)
    sizes_of = _byte_sizes(batch.slots)
    first_slot = offsets_of(groups.spread((kind.slots for kind in groups.kinds), n))
    first = offsets_of(groups.spread((len(kind.literal) for kind in groups.kinds), n))
    sizes, writers, messages = (np.empty(int(first[-1]), dtype=np.int64) for _ in range(3))
    seams = np.empty(int(first[-1]), dtype=bool)
    weighted = any(kind.weight is not None for kind in groups.kinds)
    weights = np.ones(int(first[-1]), dtype=np.float32) if weighted else None
    for kind, members in groups:
        at = first[members][:, None] + np.arange(len(kind.literal))
        is_slot = kind.slot >= 0
        sizes[at] = kind.literal
        sizes[at[:, is_slot]] = sizes_of[first_slot[members][:, None] + kind.slot[is_slot]]
        writers[at], seams[at] = kind.role, kind.seam
        messages[at] = np.where(kind.turn == NOT_TRAINED, NOT_TRAINED, kind.turn + places[members][:, None])
        if weights is not None and kind.weight is not None:
            weights[at] = kind.weight
    of_sample = offsets_of(np.array(batch.counts))
    edges = np.flatnonzero(groups.spread((kind.is_edge for kind in groups.kinds), n))
    seams[first[np.setdiff1d(edges + 1, of_sample)]] = True
    proofs = [PROOFS.index(proof) for row in batch.filled for proof in row.proofs]
    rows = np.repeat(np.arange(len(batch.filled)), [len(row.texts) for row in batch.filled])
    texts = [text for row in batch.filled for text in row.texts]
    offsets = first[of_sample]
    return MaskedTexts(
        texts, rows, np.array(proofs, dtype=np.int8), offsets, sizes, writers, messages, seams, weights
    )
