"""Rows done again from their sources, the slow way, and compared with what stands in an output.

    wanted = Wanted(expected, rejected, files)      # what its rows gave, by the shards and the ledger
    redo(stages, info, "sharegpt", wanted, findings)

What `premask verify` can prove without the sources is that an output agrees with itself; with them it proves
that it says what the conversations say. Cost: a millisecond a row, and reading the source once; memory 20
bytes a sample that is expected, of its hash and its place.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import numpy as np
from pydantic import ValidationError

from ..core.errors import PremaskError, RowError
from ..core.hashing import hash_samples
from ..core.records import Row, SourceInfo
from ..dialects import Form
from ..dialects.plain import PlainRows
from ..fast.plain_batches import RowBatch
from ..labeller import BATCH_ROWS, LabelledRow, LabelledSample, Stages
from ..output.dataset import Dataset
from ..running.inputs import find_dialect
from ..running.runners.process import import_transformers
from ..sources.blocks import RowBlock
from ..sources.cutting import whole
from ..sources.inspection import inspect_source
from ..sources.reading import read_blocks
from .explain import origins_of
from .verify_files import Findings


class Expected(NamedTuple):
    """What rows of one source gave, one item a sample: the row's number, which of its samples it is, its hash
    (`rowchecks.hash_samples`), and the file and row of the output where it stands."""

    row: np.ndarray
    sample: np.ndarray
    hash: np.ndarray
    file: np.ndarray
    place: np.ndarray


class Rejected(NamedTuple):
    """A line of the ledger: its row of the source, its reason, and the file and row where it stands."""

    row: int
    reason: str
    file: str
    place: int


def no_samples() -> Expected:
    """Nothing expected; with the types that the columns have."""
    none = np.zeros(0, dtype=np.int64)
    return Expected(none, none.astype(np.int32), none.astype(np.uint64), none.astype(np.int32), none)


class Wanted(NamedTuple):
    """What rows of one source are to give: `expected` has all samples of those that were kept, in any order,
    its `file` are indices into `files`; `rejected` are lines of the ledger."""

    expected: Expected
    rejected: Sequence[Rejected]
    files: Sequence[str]


def redo(stages: Stages, info: SourceInfo, dialect: Form, wanted: Wanted, findings: Findings) -> int:
    """Do rows of one source again and compare; returns how many rows that were.

    `stages` are those of the recipe, with the tokenizer of the output, and do not take the fast way.
    """
    order = np.lexsort((wanted.expected.hash, wanted.expected.sample, wanted.expected.row))
    expected = _each_once(Expected(*(column[order] for column in wanted.expected)))
    reasons = {each.row: each for each in wanted.rejected}
    numbers = np.union1d(expected.row, np.fromiter(reasons, dtype=np.int64, count=len(reasons)))
    for rows in rows_numbered(info, numbers):
        for row, now in _done(stages, info.source, rows, dialect).items():
            own = slice(*np.searchsorted(expected.row, [row, row + 1]))
            if own.start == own.stop:
                _compare_rejected(info.source, reasons[row], now, findings)
                continue
            at, what = _difference(expected.hash[own].tolist(), now)
            if what:
                file = wanted.files[int(expected.file[own][at])]
                text = f"{info.source} row {row}, done again, {what}"
                findings.add("redone", file, text, row=int(expected.place[own][at]))
    return len(numbers)


def _each_once(expected: Expected) -> Expected:
    """Samples without those that are there again because their source is repeated; they are in order."""
    columns = (expected.row, expected.sample, expected.hash)
    again = np.logical_and.reduce([column[1:] == column[:-1] for column in columns])
    kept = np.concatenate([np.ones(min(1, len(expected.row)), dtype=bool), ~again])
    return Expected(*(column[kept] for column in expected))


def rows_numbered(info: SourceInfo, wanted: np.ndarray) -> Iterator[list[Row]]:
    """The wanted rows of a source (int64[n], ascending), some at a time; others are not parsed."""
    rows = chain.from_iterable(
        (block.row(i) for i in np.flatnonzero(np.isin(block.numbers, wanted)).tolist())
        for block in read_blocks(whole(info), BATCH_ROWS)
    )
    some: list[Row] = []
    for row in rows:
        some.append(row)
        if len(some) == BATCH_ROWS:
            yield some
            some = []
    if some:
        yield some


def _done(stages: Stages, source: str, rows: list[Row], dialect: Form) -> dict[int, list[int] | str]:
    """What each row gives: the hashes of its samples, or the reason why it is rejected."""
    numbers = [row.row for row in rows]
    block = RowBlock(source, np.array(numbers, dtype=np.int64), rows)
    outcome = stages.run(RowBatch(block, PlainRows()), dialect)
    found: dict[int, list[int] | str] = {row: list[int]() for row in numbers}
    found.update({each.row: each.reason for each in outcome.rejects})
    samples = outcome.samples
    if len(samples.offsets) > 1:
        hashes = hash_samples(samples.ids, samples.labels, samples.weights, np.diff(samples.offsets))
        for row, each in zip(samples.origin.column("row").to_pylist(), hashes.tolist(), strict=True):
            own = found[row]
            if isinstance(own, list):
                own.append(each)
    return found


def _difference(hashes: list[int], now: list[int] | str) -> tuple[int, str]:
    """Which sample of a kept row comes out otherwise, and how, in words; empty if none does.

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
        text = f"{source} row {rejected.row}, rejected for {rejected.reason}, {what} when it is done again"
        findings.add("redone", rejected.file, text, row=rejected.place)


# ==== retrace ====

# Single samples of an output done again from their sources, to know who wrote each of their tokens.
#
#     traced, notes = retrace(dataset, {("chats.jsonl", 12, 0): (ids, labels)})
#     traced["chats.jsonl", 12, 0].origins        # ["template", "template", "user:0", ...]
#
# Shards hold ids and labels, not where each token came from. A sample is told of only if its row, done again
# the slow way, gives exactly the ids and labels that stand in the output; else nothing is said of it, and the
# notes say why. Cost: loading the stages, hashing and reading the sources once, and a millisecond a row.


Key = tuple[str, int, int]
"""A sample by its source, row and number among the samples of the row."""


Tokens = tuple[np.ndarray, np.ndarray]
"""Ids and labels, int32[t] each."""


@dataclass(frozen=True)
class Traced:
    """What is known of a sample that came out as it stands in the output: its text, the first character of
    each token and one past its last, the origin of each token, and how its mask was proved."""

    text: str
    starts: list[int]
    ends: list[int]
    origins: list[str]
    proof: str


def retrace(dataset: Dataset, wanted: Mapping[Key, Tokens]) -> tuple[dict[Key, Traced], list[str]]:
    """Do the rows of some samples again; returns those that came out the same, and notes on the others."""
    try:
        stages = stages_of(dataset)
    except (PremaskError, ValidationError) as error:
        reason = " ".join(str(error).split())[:200]
        return {}, [f"no row was done again: the stages of the run cannot be loaded ({reason})"]
    by_source: dict[str, dict[Key, Tokens]] = defaultdict(dict)
    for key, tokens in wanted.items():
        by_source[key[0]][key] = tokens
    found: dict[Key, Traced] = {}
    notes = []
    for source, own in by_source.items():
        try:
            traced = dict(_retrace_source(stages, dataset, source, own))
        except PremaskError as error:
            notes.append(f"no row of {source} was done again: {error}")
            continue
        found |= traced
        if len(traced) < len(own):
            notes.append(
                f"{len(own) - len(traced)} of {len(own)} samples of {source} came out otherwise when they "
                "were done again"
            )
    return found, notes


def stages_of(dataset: Dataset) -> Stages:
    """The stages of the run, with the output's tokenizer. Raises `PremaskError` if they cannot be had."""
    import_transformers()
    return Stages(dataset.recipe(), distrust="rows are done again the slow way")


def _retrace_source(
    stages: Stages, dataset: Dataset, source: str, wanted: Mapping[Key, Tokens]
) -> Iterator[tuple[Key, Traced]]:
    info = inspect_source(source)
    if info.sha256 not in {each.sha256 for each in dataset.manifest.inputs if each.source == source}:
        raise PremaskError("the file has changed since the run")
    dialect = find_dialect(info, stages.recipe)
    numbers = np.unique([row for _, row, _ in wanted]).astype(np.int64)
    for rows in rows_numbered(info, numbers):
        for result in stages.label(rows, dialect):
            if isinstance(result, LabelledRow):
                for number, piece in enumerate(_pieces(stages, result)):
                    key = source, result.row.row, number
                    if key in wanted and _same(piece, wanted[key]):
                        yield key, _traced(piece)


def _pieces(stages: Stages, row: LabelledRow) -> list[LabelledSample]:
    try:
        return [piece for labelled in row.samples for piece in stages.cut(labelled)]
    except RowError:
        return []


def _same(piece: LabelledSample, tokens: Tokens) -> bool:
    return np.array_equal(piece.ids, tokens[0]) and np.array_equal(piece.labels, tokens[1])


def _traced(piece: LabelledSample) -> Traced:
    return Traced(
        piece.sample.text, piece.starts.tolist(), piece.ends.tolist(), origins_of(piece), piece.sample.proof
    )
