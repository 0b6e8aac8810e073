"""Batches of rows through all stages: what the labeller does, for many rows at a time.

    batches = BatchLabeller(Labeller(recipe))
    batch = batches.run(row_batch, "sharegpt")
    batch.counted(copies)["trained_assistant"]

The fast path and the slow path meet right after the mask is decided:

    shaped rows  fast/fill.py     \\
                                    MaskedTexts -> encode -> label -> fit -> LabelledBatch
    other rows   the labeller     /

Here a run catches the `RowError` of a row. A row that cannot be used becomes a line of the
reject log, and the run continues.

Cost: about 15 us for a row with a render plan, a millisecond for any other row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ..core.errors import RowError, VerifyError
from ..core.recipe import Mask, PadRows, Recipe, SplitBy
from ..core.records import Conversation, MaskedTexts, Reject, Sample, Samples, Tally
from ..core.shapes import RowShape, conversation_of
from ..dialects import Form
from ..dialects.repair import needs_none
from ..dialects.shaped import ShapedRows
from ..fast.fill import FilledRows, Filler
from ..fast.paths import Paths
from ..fast.plain_batches import RowBatch
from ..fast.render_plans import Plans
from ..labeller import LabelledTexts, Labeller, check, reject, settle
from ..masking.labels import PADDING_LABEL
from ..masking.segments import masked_texts
from ..output.tables import Padding, RowFormat
from ..output.windows import concat_samples
from ..tokens.engines import EngineProof, TokenizersEngine
from ..tokens.tokenizer import LoadedTokenizer
from .counts import add_row_counts, row_counts
from .duplicates import RowKeys, shaped_keys
from .fitting import count, fit, samples_of

DECIDED_AGAIN = 8
"""One in this many verified rows has its mask decided again."""


@dataclass
class LabelledBatch:
    """The result of labelling n rows of one file.

    numbers   int64[n]  row numbers in the file
    samples   k samples, ready to be packed
    of_row    int64[k]  the row of each sample in the batch, ascending
    rejects   rows that cannot be used
    tally     counts per sample; they are summed later, once it is decided how often each sample is used
    verified  number of rows that were processed twice
    keys      hashes and ids of the rows; None if the batch consists of skipped rows
    left_out  number of rows before these that a setting of the source left out, by setting
    """

    numbers: np.ndarray
    samples: Samples
    of_row: np.ndarray
    rejects: list[Reject] = field(default_factory=list)
    tally: Tally = field(default_factory=dict)
    verified: int = 0
    keys: RowKeys | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def kept(self) -> int:
        """Number of rows that gave a sample."""
        return int(np.count_nonzero(np.diff(self.of_row, prepend=-1)))

    def counted(self, copies: np.ndarray | None = None) -> Counter[str]:
        """Return the sums of the tally; each sample counts once, or `copies` (int64[k]) times."""
        if copies is None:
            return Counter({name: int(each.sum()) for name, each in self.tally.items()})
        return Counter({name: int(each @ copies) for name, each in self.tally.items()})


def no_samples(
    lines: list[Reject], numbers: np.ndarray, left_out: Mapping[str, int] | None = None
) -> LabelledBatch:
    """Return a batch in which every row is rejected."""
    return LabelledBatch(
        numbers, concat_samples([]), np.zeros(0, dtype=np.int64), lines, left_out=left_out or {}
    )


class Setup(NamedTuple):
    """What another process needs, besides the tokenizer, to make the same batch labeller. Can be pickled."""

    recipe: Recipe
    proof: EngineProof
    fast: bool

    def load(self, tokenizer: LoadedTokenizer) -> BatchLabeller:
        """Return the batch labeller."""
        return BatchLabeller(Labeller(self.recipe, tokenizer, self.proof), fast=self.fast)


class BatchLabeller:
    """A labeller for batches.

    With `fast`, rows with a shape take the fast path, and a share of all rows is verified (recipe key
    `verify`). Without it, every row takes the slow path, once.
    """

    def __init__(self, labeller: Labeller, *, fast: bool = True) -> None:
        self.labeller = labeller
        self.recipe = labeller.recipe
        self.fast = fast
        plans = fast and self.recipe.mask is Mask.provenance
        self._filler = _filler(labeller) if plans else None

    def setup(self) -> Setup:
        """Return what another process needs to make the same batch labeller."""
        return Setup(self.recipe, self.labeller.proof, self.fast)

    def slow(self) -> BatchLabeller:
        """Return the same labeller without the fast path and with the reference engine.

        A run needs it once a verified row gave two different results.
        """
        proof = EngineProof(TokenizersEngine.name)
        return BatchLabeller(Labeller(self.recipe, self.labeller.tokenizer, proof), fast=False)

    @property
    def row_format(self) -> RowFormat:
        """Padding and optional columns, by the recipe."""
        recipe = self.recipe
        padding = Padding(recipe.max_length, self.labeller.tokenizer.pad_id, PADDING_LABEL)
        return RowFormat(
            padding if recipe.pad_rows is PadRows.to_length else None,
            tuple(each.value for each in recipe.extra_columns),
        )

    @property
    def split_by(self) -> SplitBy | None:
        """What keeps rows in one split; None if the recipe has no splits and no cache."""
        return self.recipe.split_by if self.recipe.splits or self.recipe.cache else None

    def run(self, batch: RowBatch, dialect: Form) -> LabelledBatch:
        """Take the rows of a batch through all stages.

        Raises `VerifyError` if a verified row gives two different results.
        """
        if self.recipe.repair:
            batch = replace(batch, shaped=self._in_repair(batch.shaped))
        keys = shaped_keys(batch.shaped, len(batch), self.split_by)
        filled = self._fill(batch.shaped)
        decided = self._decide(batch, dialect, filled, keys)
        labelled = self.labeller.label(_joined(filled, decided))
        pieces, errors = fit(labelled, self.recipe.max_length, self.recipe.too_long)
        verified = _Verifying(self, batch, dialect, filled, labelled).verify() if self.fast else 0
        rows = batch.numbers, keys.ids
        samples = samples_of(labelled, pieces, batch.source, rows, weights=self.recipe.loss_weights)
        tally = count(labelled, pieces, self.recipe.too_long)
        of_row = labelled.masked.rows[pieces.sample]
        add_row_counts(tally, of_row, decided.counts | _counts_of(filled))
        refused = {at: reject(batch.row(at), error, keys.ids[at]) for at, error in errors.items()}
        lines = [line for _, line in sorted({**decided.rejects, **refused}.items())]
        return LabelledBatch(batch.numbers, samples, of_row, lines, tally, verified, keys, batch.left_out)

    def _in_repair(self, shaped: ShapedRows) -> ShapedRows:
        """Return the rows with a shape that need no repair."""
        found = ShapedRows()
        for at, shape, texts, id_ in zip(shaped.index, shaped.shapes, shaped.texts, shaped.ids, strict=True):
            if needs_none(shape, texts, self.recipe.repair):
                found.add(at, (shape, texts, id_))
        return found

    def _fill(self, shaped: ShapedRows) -> FilledRows | None:
        """Fill the rows that have a render plan; `rows` are their indices in the batch."""
        if self._filler is None or not shaped.shapes:
            return None
        filled = self._filler.fill(shaped.shapes, shaped.texts)
        if filled is None:
            return None
        return replace(filled, rows=np.asarray(shaped.index, dtype=np.int64)[filled.rows])

    def _decide(self, batch: RowBatch, dialect: Form, filled: FilledRows | None, keys: RowKeys) -> _Decided:
        """Decide the rows that were not filled, one by one; set the keys of rows that have none."""
        left = np.ones(len(batch), dtype=bool)
        if filled is not None:
            left[filled.rows] = False
        decided = _Decided()
        for at in np.flatnonzero(left).tolist():
            row = batch.row(at)
            try:
                found, repaired = self.labeller.read(row, dialect)
                if not keys.known[at]:
                    keys.add(at, found)
                samples = self.labeller.decide_together(found)
            except RowError as error:
                decided.rejects[at] = reject(row, error)
            else:
                decided.samples += samples
                decided.rows += [at] * len(samples)
                decided.counts |= {at: counts} if (counts := row_counts(samples, repaired)) else {}
        return decided


def _filler(labeller: Labeller) -> Filler:
    return Filler(_plans(labeller), _paths(labeller))


def _plans(labeller: Labeller) -> Plans:
    return Plans(
        labeller.template,
        labeller.rules,
        decide=labeller.decide,
        arguments=labeller.template_arguments,
        as_parts=labeller.parts,
        has_modes=labeller.has_modes,
    )


def _paths(labeller: Labeller) -> Paths | None:
    """Return the paths of a recipe; None if its template arguments depend on the row."""
    if labeller.has_modes:
        return None
    kwargs = labeller.template_arguments(Conversation(()))
    return Paths(labeller.template, labeller.rules, kwargs, labeller.parts, partial(_refuses, labeller))


def _refuses(labeller: Labeller, shape: RowShape) -> bool:
    """Whether a recipe refuses all rows of a shape."""
    texts = [""] * ((shape.tools or 0) + sum(len(message.slots) for message in shape.messages))
    try:
        check(labeller, conversation_of(shape, texts, parse=lambda _: {}))
    except RowError:
        return True
    return False


def _counts_of(filled: FilledRows | None) -> dict[int, Mapping[str, int]]:
    """Return the counts of filled rows that have some, by their index in the batch."""
    if filled is None:
        return {}
    return {at: row.counts for at, row in zip(filled.rows.tolist(), filled.filled, strict=True) if row.counts}


@dataclass
class _Decided:
    """Rows that were decided one by one, by their index in the batch."""

    samples: list[Sample] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    counts: dict[int, Counter[str]] = field(default_factory=dict)
    rejects: dict[int, Reject] = field(default_factory=dict)


def _joined(filled: FilledRows | None, decided: _Decided) -> MaskedTexts:
    """Return the texts of all rows, in row order."""
    others = masked_texts(decided.samples, decided.rows)
    if filled is None:
        return others
    own = replace(filled.masked, rows=filled.rows[filled.masked.rows])
    if not decided.samples:
        return own
    both = own.joined(others)
    return both.taken(np.argsort(both.rows, kind="stable"))


# ==== Verified rows ====


class _Verifying(NamedTuple):
    """A batch in which a share of the rows is processed again and compared."""

    batches: BatchLabeller
    batch: RowBatch
    dialect: Form
    filled: FilledRows | None
    labelled: LabelledTexts

    def verify(self) -> int:
        """Process the recipe's share of the rows again; return their number.

        Every verified row is rendered and encoded by the reference engine. The mask is decided again for rows
        that were not filled, and for one in `DECIDED_AGAIN` of the filled rows.
        """
        recipe = self.batches.recipe
        hashed = _hashed(self.batch.numbers)
        chosen, in_full = hashed < recipe.verify, hashed < recipe.verify / DECIDED_AGAIN
        filled = np.zeros(len(self.batch), dtype=bool)
        if self.filled is not None:
            filled[self.filled.rows] = [row.last is not None for row in self.filled.filled]
        for at in np.flatnonzero(chosen).tolist():
            same = self._same_labels if in_full[at] or not filled[at] else self._same_ids
            if not same(at):
                raise VerifyError(f"{self.batch.source} row {self.batch.numbers[at]}")
        return int(np.count_nonzero(chosen))

    def _same_labels(self, at: int) -> bool:
        """Whether a row gives the same ids and labels when its mask is decided again."""
        labeller = self.batches.labeller.by_reference
        try:
            found, _ = labeller.read(self.batch.row(at), self.dialect)
            again = labeller.together(found)
        except RowError:
            again = ()
        return _all_equal(self._samples(at), [(each.ids, each.labels) for each in again])

    def _same_ids(self, at: int) -> bool:
        """Whether the template prints what the render plan printed, and the reference engine gives the same
        ids."""
        if self.filled is None:
            return False
        labeller = self.batches.labeller.by_reference
        (conversation,), _ = labeller.read(self.batch.row(at), self.dialect)
        renders = labeller.renders(settle(labeller, conversation))
        index = int(np.searchsorted(self.filled.rows, at))
        texts = [renders.through(last) for last in self.filled.filled[index].last or ()]
        own = self._own(at)
        if texts != self.labelled.masked.texts[own]:
            return False
        ids = labeller.encoder.encode(self.labelled.masked.taken(np.arange(own.start, own.stop))).tokens
        spans = pairwise(ids.offsets.tolist())
        return _all_equal([each[:1] for each in self._samples(at)], [(ids.ids[a:b],) for a, b in spans])

    def _own(self, at: int) -> slice:
        """Return which texts are those of a row."""
        return slice(*np.searchsorted(self.labelled.masked.rows, [at, at + 1]).tolist())

    def _samples(self, at: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return ids and labels of the texts of a row; none if the row cannot be used."""
        _, encoded, labels = self.labelled
        own, offsets = self._own(at), encoded.tokens.offsets
        spans = list(pairwise(offsets[own.start : own.stop + 1].tolist()))
        trained = labels.trained_before
        if any(i in encoded.errors for i in range(own.start, own.stop)):
            return []
        if any(trained[a] == trained[b] for a, b in spans):
            return []
        return [(encoded.tokens.ids[a:b], labels.labels[a:b]) for a, b in spans]


def _all_equal(some: Sequence[Sequence[np.ndarray]], others: Sequence[Sequence[np.ndarray]]) -> bool:
    return len(some) == len(others) and all(
        np.array_equal(one, other)
        for ones, same in zip(some, others, strict=True)
        for one, other in zip(ones, same, strict=True)
    )


def _hashed(numbers: np.ndarray) -> np.ndarray:
    """Return a number from 0 to 1 per row number (Knuth's multiplicative hash, TAOCP 6.4)."""
    return (numbers.astype(np.uint64) + np.uint64(1)) * np.uint64(2654435769) % np.uint64(2**32) / 2**32
