"""Batches of rows through all stages: the same as the labeller does, for many rows at a time.

    batches = BatchLabeller(Labeller(recipe))
    batch = batches.run(row_batch, "sharegpt")
    batch.counted(copies)["trained_assistant"]

Both ways meet right after the mask is decided:

    plain rows   fast/fill.py     \\
                                    MaskedTexts -> encode -> label -> fit -> LabelledBatch
    other rows   the labeller     /

This is also the one place of a run that catches `RowError`: a row that cannot be used becomes a line of the
reject log, and the run goes on. Cost: about 15 microseconds for a plain row, a millisecond for another one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ..core.errors import RowError, VerifyError
from ..core.recipe import Mask, PadRows, Recipe, SplitBy
from ..core.records import MaskedTexts, Reject, Sample, Samples, Tally
from ..dialects import Form
from ..dialects.plain import PlainRows
from ..dialects.repair import needs_none
from ..fast.fill import FilledRows, Filler
from ..fast.plain_batches import RowBatch
from ..fast.render_plans import Plans, Rules
from ..labeller import LabelledTexts, Labeller, reject
from ..masking.completions import masked_texts
from ..masking.labels import PADDING_LABEL
from ..output.tables import Padding, RowFormat
from ..output.windows import concat_samples
from ..tokens.engines import EngineProof, TokenizersEngine
from ..tokens.tokenizer import LoadedTokenizer
from .duplicates import RowKeys, plain_keys
from .fitting import count, fit, samples_of

DECIDED_AGAIN = 8
"""One in so many of the rows that are verified has its mask decided again, too."""


@dataclass
class LabelledBatch:
    """What became of n rows of one file.

    numbers   int64[n]  their numbers in the file
    samples   k samples, ready to be packed
    of_row    int64[k]  the row of each sample in the batch, ascending
    rejects   rows that cannot be used
    tally     what there is to count of each sample; kept for each, since which are taken, and how often, is
              decided later
    verified  how many rows were done twice
    keys      what tells the rows apart, where anybody needs to know
    left_out  how many rows before these were left out, by the setting of the source that did it
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
        """How many rows gave a sample."""
        return int(np.count_nonzero(np.diff(self.of_row, prepend=-1)))

    def counted(self, copies: np.ndarray | None = None) -> Counter[str]:
        """The sums of the tally, each sample once, or `copies` (int64[k]) times."""
        if copies is None:
            return Counter({name: int(each.sum()) for name, each in self.tally.items()})
        return Counter({name: int(each @ copies) for name, each in self.tally.items()})


def no_samples(
    lines: list[Reject], numbers: np.ndarray, left_out: Mapping[str, int] | None = None
) -> LabelledBatch:
    """A batch of which every row is rejected."""
    return LabelledBatch(
        numbers, concat_samples([]), np.zeros(0, dtype=np.int64), lines, left_out=left_out or {}
    )


class Setup(NamedTuple):
    """What other processes, which have the tokenizer, make the same batch labeller from; can be pickled."""

    recipe: Recipe
    proof: EngineProof
    fast: bool

    def load(self, tokenizer: LoadedTokenizer) -> BatchLabeller:
        """Make it."""
        return BatchLabeller(Labeller(self.recipe, tokenizer, self.proof), fast=self.fast)


class BatchLabeller:
    """A labeller for batches.

    `fast`: plain rows take the fast way, and a share of all rows is done twice (recipe: `verify`). Without it
    every row takes the labeller's way, once.
    """

    def __init__(self, labeller: Labeller, *, fast: bool = True) -> None:
        self.labeller = labeller
        self.recipe = labeller.recipe
        self.fast = fast
        plans = fast and self.recipe.mask is Mask.provenance
        self._filler = Filler(_plans(labeller)) if plans else None

    def setup(self) -> Setup:
        """What other processes make the same from."""
        return Setup(self.recipe, self.labeller.proof, self.fast)

    def careful(self) -> BatchLabeller:
        """The same without the fast way and with the reference engine, for a run that found these wrong."""
        proof = EngineProof(TokenizersEngine.name)
        return BatchLabeller(Labeller(self.recipe, self.labeller.tokenizer, proof), fast=False)

    @property
    def row_format(self) -> RowFormat:
        """What the recipe adds to the rows of a layout."""
        recipe = self.recipe
        padding = Padding(recipe.max_length, self.labeller.tokenizer.pad_id, PADDING_LABEL)
        return RowFormat(
            padding if recipe.pad_rows is PadRows.to_length else None,
            tuple(each.value for each in recipe.extra_columns),
        )

    @property
    def split_by(self) -> SplitBy | None:
        """What keeps rows in one split; None if nobody needs to know."""
        return self.recipe.split_by if self.recipe.splits or self.recipe.cache else None

    def run(self, batch: RowBatch, dialect: Form) -> LabelledBatch:
        """Take the rows of a batch through all stages.

        Raises `VerifyError` if a row that was chosen to be done twice comes out in two ways.
        """
        if self.recipe.repair:
            batch = replace(batch, plain=self._in_repair(batch.plain))
        keys = plain_keys(batch.plain, len(batch), self.split_by)
        filled = self._fill(batch.plain)
        decided = self._decide(batch, dialect, filled, keys)
        labelled = self.labeller.label(_joined(filled, decided))
        pieces, errors = fit(labelled, self.recipe.max_length, self.recipe.too_long)
        verified = _Verifying(self, batch, dialect, filled, labelled).verify() if self.fast else 0
        rows = batch.numbers, keys.ids
        samples = samples_of(labelled, pieces, batch.source, rows, weights=self.recipe.loss_weights)
        tally = count(labelled, pieces, self.recipe.too_long)
        of_row = labelled.masked.rows[pieces.sample]
        _count_repairs(tally, of_row, decided.repaired)
        refused = {at: reject(batch.row(at), error, keys.ids[at]) for at, error in errors.items()}
        lines = [line for _, line in sorted({**decided.rejects, **refused}.items())]
        return LabelledBatch(batch.numbers, samples, of_row, lines, tally, verified, keys, batch.left_out)

    def _in_repair(self, plain: PlainRows) -> PlainRows:
        """The plain rows in which there is nothing to repair."""
        found = PlainRows()
        for at, roles, texts, id_ in zip(plain.index, plain.roles, plain.texts, plain.ids, strict=True):
            if needs_none(roles, texts, self.recipe.repair):
                found.add(at, (roles, texts, id_))
        return found

    def _fill(self, plain: PlainRows) -> FilledRows | None:
        """The plain rows that have a plan; `rows` are their places in the batch."""
        if self._filler is None or not len(plain.roles):
            return None
        filled = self._filler.fill(plain.roles, plain.texts)
        if filled is None:
            return None
        return replace(filled, rows=np.asarray(plain.index, dtype=np.int64)[filled.rows])

    def _decide(self, batch: RowBatch, dialect: Form, filled: FilledRows | None, keys: RowKeys) -> _Decided:
        """Decide the rows one by one that were not filled; `keys` are set for those that have none."""
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
                samples = [sample for each in found for sample in self.labeller.decide(each)]
            except RowError as error:
                decided.rejects[at] = reject(row, error)
            else:
                decided.samples += samples
                decided.rows += [at] * len(samples)
                decided.repaired |= {at: repaired} if repaired else {}
        return decided


def _plans(labeller: Labeller) -> Plans:
    recipe = labeller.recipe
    rules = Rules(labeller.ends, recipe.template_kwargs, recipe.history, recipe.train, labeller.eos)
    return Plans(labeller.template, rules, decide=labeller.decide, renders=labeller.renders)


@dataclass
class _Decided:
    """Rows that were decided one by one, by their place in the batch."""

    samples: list[Sample] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    repaired: dict[int, tuple[str, ...]] = field(default_factory=dict)
    rejects: dict[int, Reject] = field(default_factory=dict)


def _joined(filled: FilledRows | None, decided: _Decided) -> MaskedTexts:
    """The texts of all rows, in their order."""
    others = masked_texts(decided.samples, decided.rows)
    if filled is None:
        return others
    own = replace(filled.masked, rows=filled.rows[filled.masked.rows])
    if not decided.samples:
        return own
    both = own.joined(others)
    return both.taken(np.argsort(both.rows, kind="stable"))


def _count_repairs(tally: Tally, of_row: np.ndarray, repaired: Mapping[int, Sequence[str]]) -> None:
    """Count for the first sample of each row what repaired it."""
    opens = np.diff(of_row, prepend=-1) != 0
    for name in sorted({name for names in repaired.values() for name in names}):
        rows = [at for at, names in repaired.items() if name in names]
        tally[f"repaired_{name}"] = (opens & np.isin(of_row, rows)).astype(np.int32)


# ==== Rows that are done twice ====


class _Verifying(NamedTuple):
    """A batch of which a share of the rows is done again and compared."""

    batches: BatchLabeller
    batch: RowBatch
    dialect: Form
    filled: FilledRows | None
    labelled: LabelledTexts

    def verify(self) -> int:
        """Do the recipe's share of the rows again; returns how many rows that were.

        All are rendered and encoded by the reference; one in `DECIDED_AGAIN` of those that were filled also
        gets its mask decided anew, and so do all others.
        """
        recipe = self.batches.recipe
        hashed = _hashed(self.batch.numbers)
        chosen, in_full = hashed < recipe.verify, hashed < recipe.verify / DECIDED_AGAIN
        filled = np.zeros(len(self.batch), dtype=bool)
        if self.filled is not None and not recipe.append_eos:
            filled[self.filled.rows] = True
        for at in np.flatnonzero(chosen).tolist():
            same = self._comes_out_the_same if in_full[at] or not filled[at] else self._prints_the_same
            if not same(at):
                raise VerifyError(f"{self.batch.source} row {self.batch.numbers[at]}")
        return int(np.count_nonzero(chosen))

    def _comes_out_the_same(self, at: int) -> bool:
        """Whether a row gives the same ids and labels when it is decided again."""
        labeller = self.batches.labeller.by_reference
        try:
            found, _ = labeller.read(self.batch.row(at), self.dialect)
            again = labeller.together(found)
        except RowError:
            again = ()
        return _all_equal(self._samples(at), [(each.ids, each.labels) for each in again])

    def _prints_the_same(self, at: int) -> bool:
        """Whether the template prints for a row what its plan did, and the reference gives the same ids."""
        if self.filled is None:
            return False
        labeller = self.batches.labeller.by_reference
        (conversation,), _ = labeller.read(self.batch.row(at), self.dialect)
        renders = labeller.renders(conversation)
        place = int(np.searchsorted(self.filled.rows, at))
        texts = [renders.through(last) for last in self.filled.plans[place].last]
        own = self._own(at)
        if texts != self.labelled.masked.texts[own]:
            return False
        ids = labeller.encoder.encode(self.labelled.masked.taken(np.arange(own.start, own.stop))).tokens
        spans = pairwise(ids.offsets.tolist())
        return _all_equal([each[:1] for each in self._samples(at)], [(ids.ids[a:b],) for a, b in spans])

    def _own(self, at: int) -> slice:
        """The texts of a row."""
        return slice(*np.searchsorted(self.labelled.masked.rows, [at, at + 1]).tolist())

    def _samples(self, at: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Ids and labels of the texts of a row; none if it cannot be used."""
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
        for ones, twins in zip(some, others, strict=True)
        for one, other in zip(ones, twins, strict=True)
    )


def _hashed(numbers: np.ndarray) -> np.ndarray:
    """A number from 0 to 1 for each row number, always the same (Knuth's multiplicative hash, TAOCP 6.4)."""
    return (numbers.astype(np.uint64) + np.uint64(1)) * np.uint64(2654435769) % np.uint64(2**32) / 2**32
