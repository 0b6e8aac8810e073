"""The checks of lineage: it lists each sample of a shard once, at its place, and from a row of the input.

    lineage = read_lineage(out, "lineage/train-00000-of-00001.parquet", sources, findings)
    check_places(lineage, sums, first_row, name, findings)      # sums of the shard, by `rowchecks`

Cost: 0.2 us and 60 bytes a sample; a shard at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .filechecks import unreadable
from .findings import Findings
from .output.dataset import read_batches
from .rowchecks import Sums


class Lineage(NamedTuple):
    """The lineage of one shard, int64[n] each: `pack` to `sample` as in the contract, but `source` is the
    place in the manifest's inputs, -1 if it is not there; `turns` counts the trained turns."""

    pack: np.ndarray
    offset: np.ndarray
    length: np.ndarray
    source: np.ndarray
    row: np.ndarray
    sample: np.ndarray
    turns: np.ndarray

    def in_input_order(self) -> np.ndarray:
        """The order in which the samples stand in the unpacked layout, int64[n]."""
        return np.lexsort((self.sample, self.row, self.source))


def read_lineage(out: Path, name: str, sources: Sequence[str], findings: Findings) -> Lineage | None:
    """Read the lineage of one shard; None, and told, if that cannot be done."""
    known, parts = pa.array(sources, pa.string()), [[np.zeros(0, dtype=np.int64)] * len(Lineage._fields)]
    try:
        for batch in read_batches(out / name):
            columns = {each: batch.column(each) for each in batch.schema.names}
            if any(column.null_count for each, column in columns.items() if each != "id"):
                findings.add("lineage", name, "a column other than id holds null")
                return None
            columns["source"] = pc.index_in(columns["source"], value_set=known).fill_null(-1)
            numbers = [columns[each].to_numpy().astype(np.int64) for each in Lineage._fields[:-1]]
            parts.append([*numbers, np.diff(columns["trained_turns"].offsets.to_numpy()).astype(np.int64)])
    except (pa.ArrowException, OSError) as error:
        unreadable(error, name, findings)
        return None
    return Lineage(*map(np.concatenate, zip(*parts, strict=True)))


def check_places(lineage: Lineage, sums: Sums, first: int, name: str, findings: Findings) -> bool:
    """Check that the lineage lists the samples of its shard in order, each at its place; `first` is the
    number of the shard's first row over all shards. Returns whether it does."""
    if len(lineage.pack) != len(sums.row):
        what = f"it has {len(lineage.pack):,} samples, the shard {len(sums.row):,}"
        findings.add("lineage", name, what)
        return False
    fine = True
    pairs = (lineage.pack, sums.row + first), (lineage.offset, sums.offset), (lineage.length, sums.length)
    for column, (said, found) in zip(Lineage._fields[:3], pairs, strict=True):
        wrong = np.flatnonzero(said != found)
        if len(wrong):
            at = int(wrong[0])
            what = f"{column} is {said[at]}, but the shard has {found[at]}"
            findings.add("lineage", name, what, row=at, rows=len(wrong))
            fine = False
    return fine


def check_origins(lineage: Lineage, sums: Sums, name: str, findings: Findings, *, whole: bool = True) -> None:
    """Check what the lineage says of the samples besides their places; each row's are numbered from 0, if
    rows are here as a `whole`."""
    order = lineage.in_input_order()
    source, row, sample = lineage.source[order], lineage.row[order], lineage.sample[order]
    opens = (np.diff(source, prepend=-2) != 0) | (np.diff(row, prepend=-2) != 0)  # a row
    misnumbered = np.zeros(len(order), dtype=bool)
    misnumbered[order] = whole & ~_are_numbered(opens, sample)
    for wrong, what in (
        (lineage.source < 0, "the source is none of the inputs in manifest.json"),
        (lineage.row < 0, "row is below 0"),
        (misnumbered, "the samples of an input row are not numbered from 0, each equally often"),
        ((lineage.turns > 0) != (sums.trained > 0), "trained_turns is empty, or should be"),
    ):
        at = np.flatnonzero(wrong)
        if len(at):
            findings.add("lineage", name, what, row=int(at[0]), rows=len(at))


def _are_numbered(opens: np.ndarray, sample: np.ndarray) -> np.ndarray:
    """Whether the samples of rows, ascending, are numbered 0, 1, ..., each as often as the row's first one;
    `opens` are those that begin a row.

    >>> _are_numbered(np.array([True, False, False, False]), np.array([0, 0, 1, 1])).tolist()
    [True, True, True, True]
    """
    starts = np.flatnonzero(opens)
    of_row = np.cumsum(opens) - 1
    copies = np.bincount(of_row[sample == 0], minlength=len(starts))[of_row]
    place = np.arange(len(sample)) - starts[of_row]
    fine: np.ndarray = sample == place // np.maximum(copies, 1)
    return fine


def check_twin(order: np.ndarray | None, packed: Sums, unpacked: Sums, name: str, findings: Findings) -> None:
    """Check that the unpacked shard `name` has the samples of the packed one, in this order, or in any."""
    expected, found = packed.hash, unpacked.hash
    if order is None:
        expected, found = np.sort(expected), np.sort(found)
    else:
        expected = expected[order]
    if len(expected) != len(found):
        findings.add("layouts", name, f"it has {len(found):,} samples, the packs have {len(expected):,}")
        return
    wrong = np.flatnonzero(expected != found)
    if len(wrong):
        what = "the packs have another sample in its place"
        findings.add("layouts", name, what, row=int(wrong[0]), rows=len(wrong))
