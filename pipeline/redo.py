"""Rows done again from their sources, the slow way, and compared with what stands in an output.

    redo = Redo(stages, max_rows=200)
    redo.expect(0, rows, samples, hashes)           # of source 0: what its rows gave, by the shards
    redo.compare(0, info, "sharegpt", findings)     # reads the source and does those rows again

What `premask verify` can prove without the sources is that an output agrees with itself; with them it proves
that it says what the conversations say. Cost: a millisecond a row, and reading the source once; memory 20
bytes a sample that is expected.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

import numpy as np

from .columns import RowBatch
from .columns.rows import PlainRows
from .contracts import Row
from .findings import Findings
from .inspection import SourceInfo
from .plan import whole
from .rowchecks import hash_samples
from .sources import RowBlock, read_blocks
from .stages import BATCH_ROWS, Stages


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


def redo(
    stages: Stages,
    info: SourceInfo,
    dialect: str,
    *,
    expected: Expected,
    rejected: list[Rejected],
    files: list[str],
    findings: Findings,
) -> int:
    """Do rows of one source again and compare; returns how many rows that were.

    `expected` has all samples of the kept ones in any order, its `file` are indices into `files`.
    `stages` are those of the recipe, with the tokenizer of the output, and do not take the fast way.
    """
    order = np.lexsort((expected.sample, expected.row))
    expected = Expected(*(column[order] for column in expected))
    reasons = {each.row: each for each in rejected}
    wanted = np.union1d(expected.row, np.fromiter(reasons, dtype=np.int64, count=len(reasons)))
    for rows in _rows(info, wanted):
        block = RowBlock(info.source, np.array([row.row for row in rows], dtype=np.int64), rows)
        outcome = stages.run(RowBatch(block, PlainRows()), dialect)
        again, samples = {each.row: each.reason for each in outcome.rejects}, outcome.samples
        lengths = np.diff(samples.offsets)
        hashes = hash_samples(samples.ids, samples.labels, samples.weights, lengths) if len(lengths) else []
        found = _by_row(samples.origin.column("row").to_numpy(), np.asarray(hashes, dtype=np.uint64))
        for row in block.numbers.tolist():
            told = _compare_kept(info.source, row, expected, found, again, files, findings)
            if not told and row in reasons:
                _compare_rejected(info.source, reasons[row], again.get(row), findings)
    return len(wanted)


def _rows(info: SourceInfo, wanted: np.ndarray) -> Iterator[list[Row]]:
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


def _by_row(rows: np.ndarray, hashes: np.ndarray) -> dict[int, list[int]]:
    """The hashes of the samples of each row, in order."""
    found: dict[int, list[int]] = {}
    for row, each in zip(rows.tolist(), hashes.tolist(), strict=True):
        found.setdefault(row, []).append(each)
    return found


def _compare_kept(
    source: str,
    row: int,
    expected: Expected,
    found: dict[int, list[int]],
    again: dict[int, str],
    files: list[str],
    findings: Findings,
) -> bool:
    """Compare a row's samples; returns whether the row is one that was kept."""
    own = slice(*np.searchsorted(expected.row, [row, row + 1]))
    hashes = expected.hash[own].tolist()
    if not hashes:
        return False
    now = found.get(row, [])
    if hashes == now:
        return True
    at = next((i for i, (one, two) in enumerate(zip(hashes, now, strict=False)) if one != two), 0)
    if row in again:
        what = f"is rejected ({again[row]})"
    elif len(now) != len(hashes):
        what = f"gives {len(now)} samples, not {len(hashes)}"
    else:
        what = f"gives other tokens or labels (sample {at} of {len(now)})"
    file = files[int(expected.file[own][at])]
    findings.add("redone", file, f"{source} row {row}, done again, {what}", row=int(expected.place[own][at]))
    return True


def _compare_rejected(source: str, rejected: Rejected, reason: str | None, findings: Findings) -> None:
    if reason != rejected.reason:
        what = f"is rejected for {reason}" if reason else "is kept"
        text = f"{source} row {rejected.row}, rejected for {rejected.reason}, {what} when it is done again"
        findings.add("redone", rejected.file, text, row=rejected.place)
