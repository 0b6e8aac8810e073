"""Rows done again from their sources, the slow way, and compared with what stands in an output.

    wanted = Wanted(expected, rejected, files)      # what its rows gave, by the shards and the ledger
    redo(stages, info, "sharegpt", wanted, findings)

What `premask verify` can prove without the sources is that an output agrees with itself; with them it proves
that it says what the conversations say. Cost: a millisecond a row, and reading the source once; memory 20
bytes a sample that is expected, of its hash and its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from .blocks import RowBlock
from .core.arrays import hash_samples
from .core.records import Row, SourceInfo
from .dialects import Form
from .dialects.plain import PlainRows
from .fast.plain_batches import RowBatch
from .findings import Findings
from .labeller import BATCH_ROWS, Stages
from .plan import whole
from .sources import read_blocks


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
