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

Cost: about 15 us for a row with a render plan, 10 us a message for a row from records, a millisecond or more
for any other row.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import NamedTuple

import numpy as np

from ..core.arrays import arrow_array
from ..core.contract import ORIGIN_SCHEMA
from ..core.errors import RowError, RunError
from ..core.limits import LimitError, limited
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
from ..labeller import LARGE_ROW, Labeller, check, reject
from ..masking.labels import PADDING_LABEL
from ..masking.segments import masked_texts
from ..output.tables import Padding, RowFormat
from ..output.windows import concat_samples
from ..tokens.engines import EngineProof, TokenizersEngine
from ..tokens.placed import text_sizes
from ..tokens.tokenizer import LoadedTokenizer
from .counts import add_row_counts, row_counts
from .duplicates import RowKeys, shaped_keys
from .growth import Growth
from .measures import RowTraits, shaped_traits
from .parts import PART_BYTES, Fitted, RowsOf, fit_texts
from .verifying import Verifying


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
    traits    what the conversations of the rows have; None if nothing asks for it
    from_cache  whether an earlier run has labelled the rows
    """

    numbers: np.ndarray
    samples: Samples
    of_row: np.ndarray
    rejects: list[Reject] = field(default_factory=list)
    tally: Tally = field(default_factory=dict)
    verified: int = 0
    keys: RowKeys | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)
    traits: RowTraits | None = None
    from_cache: bool = False

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


FILL_SECONDS = 60.0
"""CPU seconds for the rows of a batch that are filled; a normal batch takes less than one."""


class Setup(NamedTuple):
    """What another process needs, besides the tokenizer, to make the same batch labeller. Can be pickled.

    With a `format` nothing is to be labelled, and no tokenizer is needed.
    """

    recipe: Recipe
    proof: EngineProof | None
    fast: bool
    rows: RowFormat | None = None

    def load(self, tokenizer: LoadedTokenizer | None) -> BatchLabeller:
        """Return the batch labeller. Raises `RunError` without a tokenizer that is needed."""
        if self.rows is not None:
            return OnlyPacking(self.recipe, self.rows)
        if tokenizer is None:
            raise RunError("the worker has not loaded its tokenizer")
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
        self._growth = Growth()
        self._filler = Filler(plans_of(labeller), paths_of(labeller)) if plans else None

    def setup(self) -> Setup:
        """Return what another process needs to make the same batch labeller."""
        return Setup(self.recipe, self.labeller.proof, self.fast)

    def slow(self) -> BatchLabeller:
        """Return the same labeller without the fast path and with the reference engine.

        A run needs it once a verified row gave two different results.
        """
        proof = EngineProof(TokenizersEngine.name)
        return BatchLabeller(Labeller(self.recipe, self.labeller.tokenizer, proof), fast=False)

    def anew(self) -> BatchLabeller:
        """Return the same labeller, after an error in the middle of a row: without what it has learned."""
        return BatchLabeller(self.labeller, fast=self.fast)

    @property
    def uses_fast_engine(self) -> bool:
        """Whether texts are encoded by the fast engine."""
        return self.labeller.proof.fast

    @property
    def row_format(self) -> RowFormat:
        """Padding and optional columns, by the recipe."""
        return row_format(self.recipe, lambda: self.labeller.tokenizer.pad_id)

    @property
    def split_by(self) -> SplitBy | None:
        """What keeps rows in one split; None if the recipe has no splits and no cache."""
        return self.recipe.split_by if self.recipe.splits or self.recipe.cache else None

    @property
    def has_traits(self) -> bool:
        """Whether the recipe, or another one that shares its cache, can ask for the traits of rows."""
        recipe = self.recipe
        return bool(recipe.cache or recipe.keep or any(entry.keep for entry in recipe.sources))

    def run(self, batch: RowBatch, dialect: Form) -> LabelledBatch:
        """Take the rows of a batch through all stages, all at once.

        Raises `VerifyError` if a verified row gives two different results.
        """
        (whole,) = self.parts(batch, dialect, sys.maxsize)
        return whole

    def parts(self, batch: RowBatch, dialect: Form, size: int = PART_BYTES) -> Iterator[LabelledBatch]:
        """Take the rows of a batch through all stages; yield the results of as many rows at a time as have
        `size` bytes of text together. They do not depend on `size`.

        Raises `VerifyError` if a verified row gives two different results.
        """
        if self.recipe.repair:
            batch = replace(batch, shaped=self._in_repair(batch.shaped))
        for first, last in self._growth.spans(batch, size):
            yield from self._parts(batch.cut(first, last), dialect, size)

    def _parts(self, batch: RowBatch, dialect: Form, size: int) -> Iterator[LabelledBatch]:
        """Take rows through all stages that are filled together."""
        if len(batch) == 1 and sum(map(len, chain.from_iterable(batch.shaped.texts))) > LARGE_ROW:
            batch = replace(batch, shaped=ShapedRows())  # the labeller says whether it can fit
        keys = shaped_keys(batch.shaped, len(batch), self.split_by)
        traits = shaped_traits(batch.shaped, len(batch)) if self.has_traits else None
        filled = self._fill(batch.shaped)
        if filled is not None:
            self._growth.learn(batch.shaped, filled.masked)
        check = Verifying(self.labeller, batch, dialect, filled) if self.fast else None
        for first, last, decided in self._decided(batch, dialect, filled, (keys, traits), size):
            part = _filled_in(filled, first, last)
            masked = _joined(part, decided)
            rows = RowsOf(batch.source, batch.numbers, keys.ids)
            found = fit_texts(self.labeller, masked, rows, size, check.see if check else _ignore)
            verified = check.verify(first, last, masked) if check else 0
            add_row_counts(found.tally, found.of_row, decided.counts | _counts_of(part))
            samples = _numbered_by_side(found, decided)
            refused = {at: reject(batch.row(at), error, keys.ids[at]) for at, error in found.errors.items()}
            lines = [line for _, line in sorted({**decided.rejects, **refused}.items())]
            yield LabelledBatch(
                batch.numbers[first:last],
                samples,
                found.of_row - first,
                lines,
                found.tally,
                verified,
                keys.cut(first, last),
                {} if first else batch.left_out,
                traits and traits.cut(first, last),
            )
            del decided, part, masked, found, samples  # not kept while the next rows are decided

    def _in_repair(self, shaped: ShapedRows) -> ShapedRows:
        """Return the rows with a shape that need no repair."""
        found = ShapedRows()
        for at, shape, texts, id_ in zip(shaped.index, shaped.shapes, shaped.texts, shaped.ids, strict=True):
            if needs_none(shape, texts, self.recipe.repair):
                found.add(at, (shape, texts, id_))
        return found

    def _fill(self, shaped: ShapedRows) -> FilledRows | None:
        """Fill the rows that have a render plan; `rows` are their indices in the batch.

        A template that takes too long here is used for single rows only: each of them has limits.
        """
        if self._filler is None or not shaped.shapes:
            return None
        try:
            with limited("the chat template", FILL_SECONDS):
                filled = self._filler.fill(shaped.shapes, shaped.texts)
        except LimitError:
            self._filler = None
            return None
        if filled is None:
            return None
        return replace(filled, rows=np.asarray(shaped.index, dtype=np.int64)[filled.rows])

    def _decided(
        self, batch: RowBatch, dialect: Form, filled: FilledRows | None, about: _About, size: int
    ) -> Iterator[tuple[int, int, _Decided]]:
        """Yield groups of rows (first, one past the last), with what was decided of the rows that were not
        filled. The texts of a group have `size` bytes together, or are those of one row."""
        sizes = np.zeros(len(batch), dtype=np.int64)
        if filled is not None:
            rows = filled.rows[filled.masked.rows]
            sizes[: rows[-1] + 1] = np.bincount(rows, text_sizes(filled.masked)) if len(rows) else 0
        left = np.ones(len(batch), dtype=bool)
        if filled is not None:
            left[filled.rows] = False
        first, held, decided = 0, 0, _Decided()
        for at, (is_left, own) in enumerate(zip(left.tolist(), sizes.tolist(), strict=True)):
            row = self._decide(batch, dialect, at, about) if is_left else None
            grown = own if row is None else sum(len(sample.text) for sample in row.samples)
            if held + grown > size and at > first:
                yield first, at, decided
                first, held, decided = at, 0, _Decided()
            held += grown
            if row is not None:
                decided.add(row)
            row = None
            if held > size and at + 1 < len(batch):  # a long row: its texts go before the next is decided
                yield first, at + 1, decided
                first, held, decided = at + 1, 0, _Decided()
        yield first, len(batch), decided

    def _decide(self, batch: RowBatch, dialect: Form, at: int, about: _About) -> _Decided:
        """Decide a row that was not filled; set its keys and traits if it has none."""
        decided, row = _Decided(), batch.row(at)
        try:
            found, repaired = self.labeller.read(row, dialect)
            keys, traits = about
            if not keys.known[at]:
                keys.add(at, found)
                if traits is not None:
                    traits.add(at, found)
            samples = self.labeller.decide_together(found)
        except RowError as error:
            decided.rejects[at] = reject(row, error)
        else:
            decided.samples += samples
            decided.rows += [at] * len(samples)
            decided.counts |= {at: counts} if (counts := row_counts(samples, repaired)) else {}
        return decided


_About = tuple[RowKeys, RowTraits | None]
"""Keys and traits of the rows of a batch."""


class OnlyPacking(BatchLabeller):
    """What packs samples that are labelled already: a recipe and the format of rows, without a labeller."""

    def __init__(self, recipe: Recipe, format_: RowFormat) -> None:
        self.recipe, self.fast, self._format = recipe, False, format_

    def setup(self) -> Setup:
        """Return what another process needs to make the same."""
        return Setup(self.recipe, None, self.fast, self._format)

    def anew(self) -> BatchLabeller:
        """Return the same: nothing is learned."""
        return self

    @property
    def uses_fast_engine(self) -> bool:
        """Whether texts are encoded by the fast engine: none are encoded."""
        return False

    @property
    def row_format(self) -> RowFormat:
        """Padding and optional columns."""
        return self._format


def row_format(recipe: Recipe, pad_id: Callable[[], int]) -> RowFormat:
    """Return the padding and optional columns of a recipe; the id of the pad token is asked for if needed."""
    fill, multiple = recipe.pad_rows is PadRows.to_length, recipe.pad_to_multiple
    padding = None
    if fill or multiple:
        padding = Padding(recipe.max_length if fill else 0, pad_id(), PADDING_LABEL, multiple or 1)
    masks = tuple(each.value for each in recipe.extra_columns)
    return RowFormat(padding, masks, tuple(recipe.token_columns))


def plans_of(labeller: Labeller) -> Plans:
    """Return the plans of a recipe."""
    return Plans(
        labeller.template,
        labeller.rules,
        decide=labeller.decide,
        arguments=labeller.template_arguments,
        as_parts=labeller.parts,
        has_modes=labeller.has_modes,
    )


def paths_of(labeller: Labeller) -> Paths | None:
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

    def add(self, other: _Decided) -> None:
        """Add later rows."""
        self.samples += other.samples
        self.rows += other.rows
        self.counts |= other.counts
        self.rejects |= other.rejects


def _ignore(_: object) -> None:
    """See nothing."""


def _numbered_by_side(found: Fitted, decided: _Decided) -> Samples:
    """Return the samples; those that are sides of preferences have the number of their side."""
    sides = np.array([-1 if each.side is None else each.side for each in decided.samples], dtype=np.int32)
    if not (sides >= 0).any():
        return found.samples
    kept = sides[np.isin(decided.rows, found.of_row)]
    origin, at = found.samples.origin, ORIGIN_SCHEMA.get_field_index("sample")
    return found.samples._replace(origin=origin.set_column(at, ORIGIN_SCHEMA.field(at), arrow_array(kept)))


def _filled_in(filled: FilledRows | None, first: int, last: int) -> FilledRows | None:
    """Return the filled rows of a group of the batch; None if there are none."""
    if filled is None or (first <= filled.rows[0] and filled.rows[-1] < last):
        return filled
    low, high = np.searchsorted(filled.rows, [first, last]).tolist()
    if low == high:
        return None
    own = np.searchsorted(filled.masked.rows, [low, high]).tolist()
    masked = filled.masked.cut(*own)
    return FilledRows(filled.rows[low:high], filled.filled[low:high], replace(masked, rows=masked.rows - low))


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
