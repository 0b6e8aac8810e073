"""Rerun: rows are processed again from their sources on the slow path, and compared with an output.

    wanted = Wanted(expected, rejected, files)      # the results of the rows, from shards and reject log
    redo(labeller, info, "sharegpt", wanted, findings)

    traced, notes = retrace(dataset, {("chats.jsonl", 12, 0): (ids, labels)})
    traced["chats.jsonl", 12, 0].origins            # ["template", "template", "user:0", ...]

Without the sources, `premask verify` proves that an output is consistent. With the sources, it proves that
the output matches the conversations (`redo`). Shards have ids and labels, but no origins. The report shows
the origins of single samples (`retrace`), if their row gives exactly the ids and labels of the output again.
For other samples, the notes have the reason.

Cost: loading the tokenizer, reading and hashing the sources once, and a millisecond per row. Memory is 20
bytes per expected sample.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from pydantic import ValidationError

from ..core.arrays import offsets_of
from ..core.contract import IGNORE_INDEX, LOSS_WEIGHTS
from ..core.errors import PremaskError, RowError, one_line
from ..core.hashing import hash_samples
from ..core.received_files import is_file_here
from ..core.recipe import Recipe
from ..core.records import Conversation, Row, Slice, SourceInfo, Tally
from ..dialects import Form
from ..dialects.shaped import ShapedRows
from ..labeller import LabelledSample, Labeller, apart, segment
from ..masking.labels import per_sample, without_first
from ..output.dataset import Dataset
from ..running.counts import row_counts
from ..running.fitting import count, cut, fit
from ..running.inputs import find_dialect
from ..running.keeping import REASON, Keep, keep_of
from ..running.measures import measured, shaped_traits
from ..sources.cutting import blocks_of_rows, whole
from ..sources.listing import entries_of_files, inspect_again
from ..sources.reading import read_blocks
from ..tokens.engines import EngineProof, TokenizersEngine
from ..tokens.token_bytes import character_spans
from ..tokens.transformers_library import leave_torch_out
from .explain import origins_of
from .verify_files import Findings

_BLOCK_ROWS = 256  # rows per read
_PLACE_ROWS = 1024  # rows from one place of a source that is known to the next


class Expected(NamedTuple):
    """The expected samples of rows of one source, n of them.

    row     int64[n]   number of the input row
    sample  int32[n]   number of the sample in its row
    hash    uint64[n]  its hash (`hashing.hash_samples`)
    file    int32[n]   the file of the output that has it
    place   int64[n]   the row of that file
    """

    row: np.ndarray
    sample: np.ndarray
    hash: np.ndarray
    file: np.ndarray
    place: np.ndarray


class Rejected(NamedTuple):
    """A line of the reject log: the input row, the reason, and the file and row of the line."""

    row: int
    reason: str
    file: str
    place: int


def no_samples() -> Expected:
    """Return no expected samples, with the types of the columns."""
    none = np.zeros(0, dtype=np.int64)
    return Expected(none, none.astype(np.int32), none.astype(np.uint64), none.astype(np.int32), none)


class Wanted(NamedTuple):
    """The expected results of rows of one source.

    expected  all samples of kept rows, in any order; `file` is an index into `files`
    rejected  lines of the reject log
    files     names of files of the output
    """

    expected: Expected
    rejected: Sequence[Rejected]
    files: Sequence[str]


class Redone(NamedTuple):
    """How many rows were processed again, and what is counted of those that are kept, by its name in a
    tally. A row that is used more than once counts as often."""

    rows: int
    counts: Counter[str]


def redo(labeller: Labeller, info: SourceInfo, dialect: Form, wanted: Wanted, findings: Findings) -> Redone:
    """Process rows of one source again and compare them.

    `labeller` is that of the recipe, with the tokenizer of the output. Differences are added to `findings`.
    """
    keep = keep_of(labeller.recipe, info.entry)
    copies = _copies(wanted.expected)
    counts = Counter[str]()
    order = np.lexsort((wanted.expected.hash, wanted.expected.sample, wanted.expected.row))
    expected = _each_once(Expected(*(column[order] for column in wanted.expected)))
    reasons = {each.row: each for each in wanted.rejected}
    numbers = np.union1d(expected.row, np.fromiter(reasons, dtype=np.int64, count=len(reasons)))
    for row in rows_numbered(info, numbers):
        number, (now, counted) = row.row, _hashes(labeller, row, dialect, keep)
        counts.update({name: count * copies.get(number, 0) for name, count in counted.items()})
        own = slice(*np.searchsorted(expected.row, [number, number + 1]))
        if own.start == own.stop:
            _compare_rejected(info.source, reasons[number], now, findings)
            continue
        at, what = _difference(expected.hash[own].tolist(), now)
        if what:
            file = wanted.files[int(expected.file[own][at])]
            text = f"{info.source} row {number} {what} when it is processed again"
            findings.add("redone", file, text, row=int(expected.place[own][at]))
    return Redone(len(numbers), +counts)


def _copies(expected: Expected) -> dict[int, int]:
    """Return how often each row is used: how often its first sample is there."""
    order = np.lexsort((expected.sample, expected.row))
    rows, samples = expected.row[order], expected.sample[order]
    starts = np.flatnonzero(np.diff(rows, prepend=-1))
    lowest = np.repeat(samples[starts], np.diff(starts, append=len(rows)))
    found = np.unique(rows[samples == lowest], return_counts=True)
    return dict(zip(*(each.tolist() for each in found), strict=True))


def _each_once(expected: Expected) -> Expected:
    """Return sorted samples without the copies of repeated rows."""
    columns = (expected.row, expected.sample, expected.hash)
    again = np.logical_and.reduce([column[1:] == column[:-1] for column in columns])
    kept = np.concatenate([np.ones(min(1, len(expected.row)), dtype=bool), ~again])
    return Expected(*(column[kept] for column in expected))


def rows_numbered(info: SourceInfo, wanted: np.ndarray) -> Iterator[Row]:
    """Yield rows of a source by their numbers (int64[n], ascending); other rows are not parsed."""
    for block in read_blocks(whole(info), _BLOCK_ROWS):
        for i in np.flatnonzero(np.isin(block.numbers, wanted)).tolist():
            yield block.row(i)


def label_again(labeller: Labeller, row: Row, dialect: Form) -> list[LabelledSample]:
    """Return the samples of a row as a run does, cut to `max_length`. Raises `RowError` if it is rejected."""
    return _again(labeller, row, dialect)[0]


def _again(
    labeller: Labeller, row: Row, dialect: Form, keep: Keep | None = None
) -> tuple[list[LabelledSample], Counter[str]]:
    """Return the samples of a row as a run does, and its counts. Raises `RowError` as a run that rejects it,
    and if `keep` is not true of it."""
    recipe = labeller.recipe
    found, repaired = labeller.read(row, dialect)
    samples = labeller.decide_together(found)
    labelled = labeller.label(segment(labeller, samples))
    parts = apart(samples, labelled, recipe.token_columns)
    fitted, errors = fit(labelled, recipe.max_length, recipe.too_long, pairs=recipe.preferences is not None)
    for error in errors.values():
        raise error
    pieces = [piece for each in parts for piece in _pieces(each, recipe)]
    tally = count(labelled, fitted, recipe.too_long)
    if keep is not None:
        _check_kept(keep, found, pieces, tally)
    del tally["encoded_by_reference"]  # of this process
    counts = Counter({name: int(column.sum()) for name, column in tally.items()})
    return pieces, counts + row_counts(samples, repaired)


def _check_kept(
    keep: Keep, found: Sequence[Conversation], pieces: Sequence[LabelledSample], tally: Tally
) -> None:
    """Raise `RowError` for a row that a run does not keep."""
    traits = shaped_traits(ShapedRows(), 1)
    traits.add(0, found)
    labels, offsets = [each.labels for each in pieces], offsets_of([len(each.ids) for each in pieces])
    rows = np.zeros(len(pieces), dtype=np.int64)
    table = measured(np.concatenate(labels), offsets, rows, tally, traits)
    if not keep.of(table)[0]:
        raise RowError(REASON, keep.detail(table, 0))


def _pieces(sample: LabelledSample, recipe: Recipe) -> Iterator[LabelledSample]:
    """Yield a sample in pieces that fit `max_length`; the whole sample if it fits."""
    for first, last in cut(sample.labels, recipe.max_length, recipe.too_long):
        own = slice(first, last)
        labels = without_first(sample.labels[own])
        weights = np.where(labels == IGNORE_INDEX, np.float32(0), sample.weights[own])
        if recipe.loss_weights == "per_sample":
            weights = per_sample(weights, labels, np.array([0, len(labels)]))
        numbers = {
            name: np.where(labels == IGNORE_INDEX, np.float32(0), each[own])
            for name, each in sample.numbers.items()
        }
        yield replace(
            sample,
            numbers=numbers,
            ids=sample.ids[own],
            labels=labels,
            weights=weights,
            starts=sample.starts[own],
            ends=sample.ends[own],
        )


def _hashes(
    labeller: Labeller, row: Row, dialect: Form, keep: Keep | None
) -> tuple[list[int] | str, Counter[str]]:
    """Return the hashes of the samples of a row, or the reason if it is rejected; and its counts."""
    try:
        samples, counts = _again(labeller, row, dialect, keep)
    except RowError as error:
        return error.reason, Counter()
    floats = {name: np.concatenate([each.numbers[name] for each in samples]) for name in samples[0].numbers}
    if labeller.recipe.loss_weights:
        floats[LOSS_WEIGHTS.name] = np.concatenate([each.weights for each in samples])
    hashes = hash_samples(
        np.concatenate([each.ids for each in samples]),
        np.concatenate([each.labels for each in samples]),
        floats,
        np.array([len(each.ids) for each in samples]),
    )
    return [int(each) ^ (one.sample.side or 0) for each, one in zip(hashes, samples, strict=True)], counts


def _difference(hashes: list[int], now: list[int] | str) -> tuple[int, str]:
    """Return which sample of a kept row differs, and how, in words; empty if none does.

    >>> _difference([1, 2], [1, 3]), _difference([1], "too_long"), _difference([1], [1])
    ((1, 'gives other tokens or labels in sample 1'), (0, 'is rejected (too_long)'), (0, ''))
    """
    if isinstance(now, str):
        return 0, f"is rejected ({now})"
    if len(now) != len(hashes):
        return 0, f"gives {len(now)} samples, not {len(hashes)}"
    at = next((i for i, pair in enumerate(zip(hashes, now, strict=True)) if pair[0] != pair[1]), None)
    return (0, "") if at is None else (at, f"gives other tokens or labels in sample {at}")


def _compare_rejected(source: str, rejected: Rejected, now: list[int] | str, findings: Findings) -> None:
    if now != rejected.reason:
        what = f"is rejected for {now}" if isinstance(now, str) else "is kept"
        text = f"{source} row {rejected.row}, rejected for {rejected.reason}, {what} when processed again"
        findings.add("redone", rejected.file, text, row=rejected.place)


# ==== Single samples ====

Key = tuple[str, int, int]
"""A sample: its source, row, and number in the row."""


Tokens = tuple[np.ndarray, np.ndarray]
"""Ids and labels, int32[t] each."""


@dataclass(frozen=True)
class Traced:
    """A sample that is equal in the output, with its origins.

    text     the rendered text
    starts   first character of each token
    ends     one past its last character
    origins  origin of each token
    proof    how the mask was proved
    """

    text: str
    starts: list[int]
    ends: list[int]
    origins: list[str]
    proof: str


def retrace(dataset: Dataset, wanted: Mapping[Key, Tokens]) -> tuple[dict[Key, Traced], list[str]]:
    """Process the rows of some samples again; return the samples that are equal, and notes on the others."""
    try:
        labeller = labeller_of(dataset)
    except (PremaskError, ValidationError) as error:
        return {}, [
            f"no row was processed again: its tokenizer or template cannot be loaded ({one_line(error, 200)})"
        ]
    by_source: dict[str, dict[Key, Tokens]] = defaultdict(dict)
    for key, tokens in wanted.items():
        by_source[key[0]][key] = tokens
    found: dict[Key, Traced] = {}
    notes = []
    entries = entries_of_files(dataset.manifest.settings.sources)
    for source, own in by_source.items():
        try:
            traced = dict(_retrace_source(labeller, dataset, source, own, entries))
        except PremaskError as error:
            notes.append(f"no row of {source} was processed again: {error}")
            continue
        found |= traced
        if len(traced) < len(own):
            notes.append(
                f"{len(own) - len(traced)} of {len(own)} samples of {source} differed when they were "
                "processed again"
            )
    return found, notes


def labeller_of(dataset: Dataset) -> Labeller:
    """Return the labeller of the recipe of an output, with its tokenizer and the reference engine.

    Raises `PremaskError` if it cannot be loaded.
    """
    leave_torch_out()
    return Labeller(dataset.recipe(), proof=EngineProof(TokenizersEngine.name))


def _retrace_source(
    labeller: Labeller,
    dataset: Dataset,
    source: str,
    wanted: Mapping[Key, Tokens],
    entries: Mapping[str, int],
) -> Iterator[tuple[Key, Traced]]:
    info, dialect = _source_again(labeller, dataset, source, entries)
    numbers = np.unique([row for _, row, _ in wanted]).astype(np.int64)
    for row in rows_numbered(info, numbers):
        yield from _traced_of(labeller, row, dialect, wanted)


def _source_again(
    labeller: Labeller, dataset: Dataset, source: str, entries: Mapping[str, int]
) -> tuple[SourceInfo, Form]:
    """A source of an output and its dialect. Raises `PremaskError` if its rows cannot be processed again."""
    known = {each.sha256 for each in dataset.manifest.inputs if each.source == source}
    if any(each.map is not None for each in dataset.manifest.inputs if each.source == source):
        raise PremaskError("a function made its rows (map), and no code of a recipe is run here")
    if not known or not is_file_here(source):  # an output does not say which URLs are fetched
        raise PremaskError("the file does not exist")
    info = inspect_again(source, labeller.recipe, entries)
    if info.sha256 not in known:
        raise PremaskError("the file has changed since the run")
    return info, find_dialect(info, labeller.recipe)


def _traced_of(
    labeller: Labeller, row: Row, dialect: Form, wanted: Mapping[Key, Tokens]
) -> Iterator[tuple[Key, Traced]]:
    """The samples of a row that are wanted and equal."""
    with suppress(RowError):
        for number, piece in enumerate(label_again(labeller, row, dialect)):
            side = piece.sample.side
            key = row.source, row.row, number if side is None else side
            if key in wanted and _same(piece, wanted[key]):
                yield key, _traced(piece)


class Retracer:
    """Processes single rows of an output again, one after another.

    Cost: the first row of a source takes reading all of it; others of JSONL, JSON arrays and Parquet take a
    few milliseconds, of other files what reading them up to the row takes.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset, self._labeller = dataset, labeller_of(dataset)
        self._entries = entries_of_files(dataset.manifest.settings.sources)
        self._sources: dict[str, tuple[list[Slice], Form]] = {}

    def prepare(self, source: str) -> None:
        """Read a source. Raises `PremaskError` if its rows cannot be processed again."""
        if source not in self._sources:
            info, dialect = _source_again(self._labeller, self._dataset, source, self._entries)
            self._sources[source] = blocks_of_rows(whole(info), _PLACE_ROWS), dialect

    def trace(self, key: Key, tokens: Tokens) -> Traced | None:
        """Return a sample with its origins, None if its row gives other tokens. Raises as `prepare` does."""
        source, number, _ = key
        self.prepare(source)
        pieces, dialect = self._sources[source]
        own = (each for each in pieces if each.stop_row is None or each.stop_row > number)
        piece = next(own, pieces[-1])
        for block in read_blocks(piece, _BLOCK_ROWS):
            for i in np.flatnonzero(block.numbers == number).tolist():
                return dict(_traced_of(self._labeller, block.row(i), dialect, {key: tokens})).get(key)
        return None


def _same(piece: LabelledSample, tokens: Tokens) -> bool:
    return np.array_equal(piece.ids, tokens[0]) and np.array_equal(piece.labels, tokens[1])


def _traced(piece: LabelledSample) -> Traced:
    sample = piece.sample
    starts, ends = character_spans(sample.text, piece.starts, piece.ends)
    return Traced(sample.text, starts.tolist(), ends.tolist(), origins_of(sample, starts), sample.proof)
