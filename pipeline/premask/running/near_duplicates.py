"""Near duplicates: rows whose text shares most runs of words with that of an earlier row.

    sign = Signer(recipe.near_duplicates)
    write_signatures(path, [sign.rows(piece, numbers, texts)])     # in workers, unit by unit
    found = find_near(paths, recipe.near_duplicates, left_out)     # once, in input order

Of each row the workers keep the set of its runs of words (shingles), and what MinHash makes of it: bands. Two
rows that are similar have a band in common. Rows with a common band are candidates; whether they are near
duplicates is decided by the Jaccard similarity of their sets. A row is one if it is near an earlier row that
is kept. So a chain of small changes does not lose all of its rows, and the first of similar rows is kept. All
this depends on the rows and their order alone, not on units or workers.

The signatures are those of the library rensa. The number of bands is chosen so that two rows at the threshold
have a band in common with a chance of 99 %. Each row is compared with at most `COMPARED` others.

Cost: signing takes 0.2 us a word. The files have 4 bytes a word, and 8 bytes a band. Finding takes 4 bytes of
memory a row and band, and 50 a row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from ..core.arrays import arrow_array
from ..core.atomic_files import named
from ..core.comparing import NearDuplicates
from ..core.errors import RecipeError
from ..core.hashing import GOLDEN, mix
from .dropped import readable
from .words import run_hashes, word_hashes

HASHES = 128
"""Numbers in a MinHash signature."""

CHANCE = 0.99
"""Chance of two rows at the threshold to be compared."""

COMPARED = 32
"""Rows that a row is compared with, at most: those with which it shares most bands, earlier ones first."""

_IN_A_BAND = 64  # kept rows of one band that are remembered, the first ones


def check_installed(settings: NearDuplicates | None) -> None:
    """Raise `RecipeError` if near duplicates are to be found and rensa is not installed."""
    if settings is not None:
        try:
            import rensa  # noqa: F401, PLC0415  an extra
        except ImportError:
            raise RecipeError("near_duplicates needs rensa; pip install 'premask[near-duplicates]'") from None


def bands_of(threshold: float) -> tuple[int, int]:
    """Return the number of bands and the numbers in each: as few bands as give `CHANCE` at the threshold.

    >>> bands_of(0.7), bands_of(0.8), bands_of(0.9)
    ((32, 4), (21, 6), (12, 10))
    """
    for width in range(16, 0, -1):
        bands = HASHES // width
        if 1 - (1 - threshold**width) ** bands >= CHANCE:
            return bands, width
    return HASHES, 1


# ==== Signatures, in workers ====


class Signer:
    """Makes the signatures of rows."""

    def __init__(self, settings: NearDuplicates) -> None:
        self._settings = settings
        self._bands, self._width = bands_of(settings.threshold)
        self.schema = pa.schema(
            [
                pa.field("piece", pa.int32()),
                pa.field("row", pa.int64()),
                pa.field("bands", pa.list_(pa.uint64(), self._bands)),
                pa.field("shingles", pa.large_list(pa.uint32())),
            ]
        )

    def rows(self, piece: int, numbers: Sequence[int], texts: Sequence[Sequence[str]]) -> pa.RecordBatch:
        """Return the signatures of n rows of a slice, by `schema`, without those with too few words.

        `numbers` are those of the rows in the file, `texts` the texts of each that are compared.
        """
        words = [word_hashes(each) for each in texts]
        long = [at for at, each in enumerate(words) if len(each) >= self._settings.min_words]
        runs, starts = run_hashes([words[at] for at in long], self._settings.shingle)
        sets, ends = _sets(runs, starts)
        columns = [
            pa.array([piece] * len(long), pa.int32()),
            pa.array([numbers[at] for at in long], pa.int64()),
            pa.FixedSizeListArray.from_arrays(
                arrow_array(self._signed(runs, starts).reshape(-1)), self._bands
            ),
            pa.LargeListArray.from_arrays(arrow_array(ends), arrow_array(sets)),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def _signed(self, runs: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """Return the bands of rows, uint64[n, bands]."""
        from rensa import RMinHash  # noqa: PLC0415  an extra; `check_installed` has said so where it is missing

        if len(starts) == 1:
            return np.empty((0, self._bands), np.uint64)
        found = RMinHash.digest_matrix_from_flat_token_hashes(runs, starts.astype(np.uint64), HASHES, 0)
        numbers = np.array(found.to_rows(), dtype=np.uint64)[:, : self._bands * self._width]
        numbers = numbers.reshape(-1, self._bands, self._width)
        bands = numbers[:, :, 0].copy()
        for at in range(1, self._width):
            bands *= GOLDEN
            bands += numbers[:, :, at]
        return mix(bands)


def _sets(runs: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the runs of each row as a set of 32-bit numbers, ascending, and where each begins.

    >>> _sets(np.array([5 << 32, 1 << 32, 5 << 32, 7 << 32], dtype=np.uint64), np.array([0, 3, 4]))
    (array([1, 5, 7], dtype=uint32), array([0, 2, 3]))
    """
    rows = np.repeat(np.arange(len(starts) - 1, dtype=np.uint64), np.diff(starts))
    both = np.unique((rows << np.uint64(32)) | (runs >> np.uint64(32)))
    counts = np.bincount((both >> np.uint64(32)).astype(np.int64), minlength=len(starts) - 1)
    return both.astype(np.uint32), np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def write_signatures(path: Path, schema: pa.Schema, batches: Sequence[pa.RecordBatch]) -> None:
    """Write the signatures of a unit to a new file. Raises `OutputError` if it cannot be written."""
    with named(path), pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


# ==== Near duplicates, over all units ====


class NearRows(NamedTuple):
    """Near duplicates and the rows that they are near, int64[n] each; both count the signed rows of all units
    in order. `similarity` is float64[n]."""

    place: np.ndarray
    first: np.ndarray
    similarity: np.ndarray


class Signed:
    """The signed rows of all units, in order: `unit`, `piece` and `row` are those of each row. The sets of
    runs stay on disk."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._batches = [(unit, batch) for unit, path in enumerate(paths) for batch in _batches(path)]
        self._starts = np.concatenate([[0], np.cumsum([len(each) for _, each in self._batches])]).astype(int)
        self.unit = np.repeat([unit for unit, _ in self._batches], np.diff(self._starts)).astype(np.int64)
        self.piece, self.row = self._column("piece", np.int64), self._column("row", np.int64)
        self._sets = [
            (column.values.to_numpy(), column.offsets.to_numpy())
            for column in (batch.column("shingles") for _, batch in self._batches)
        ]

    def __len__(self) -> int:
        return len(self.row)

    def _column(self, name: str, kind: type[np.generic]) -> np.ndarray:
        parts = [batch.column(name).to_numpy() for _, batch in self._batches]
        return np.concatenate([np.empty(0, kind), *parts]).astype(kind)

    def band(self, number: int) -> np.ndarray:
        """Return a band of all rows, uint64[n]."""
        parts = [np.empty(0, np.uint64)]
        for _, batch in self._batches:
            column = batch.column("bands")
            parts.append(column.flatten().to_numpy().reshape(len(column), column.type.list_size)[:, number])
        return np.concatenate(parts)

    def shingles(self, place: int) -> np.ndarray:
        """Return the set of runs of a row, uint32[k], ascending."""
        batch = int(np.searchsorted(self._starts, place, side="right")) - 1
        values, offsets = self._sets[batch]
        at = place - int(self._starts[batch])
        return np.asarray(values[offsets[at] : offsets[at + 1]])


def _batches(path: Path) -> list[pa.RecordBatch]:
    """Return the signatures of a unit, mapped into memory. Raises `OutputError` if it has none."""
    with readable(path), pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as file:
        found = [file.get_batch(at) for at in range(file.num_record_batches)]
        for batch in found:
            batch.validate(full=False)
        if file.schema.names != ["piece", "row", "bands", "shingles"]:
            raise ValueError("it holds something else")
    return found


def find_near(signed: Signed, settings: NearDuplicates, left_out: np.ndarray) -> NearRows:
    """Return the near duplicates among rows. Those that are left out anyhow (bool[n]) are not compared."""
    buckets = _buckets(signed, bands_of(settings.threshold)[0], left_out)
    kept: dict[int, list[int]] = {}
    found: list[tuple[int, int, float]] = []
    for place in np.flatnonzero((buckets >= 0).any(axis=1)).tolist():
        own = buckets[place][buckets[place] >= 0].tolist()
        near = _nearest(signed, place, [kept.get(bucket, ()) for bucket in own], settings.threshold)
        if near is not None:
            found.append((place, *near))
            continue
        for bucket in own:
            others = kept.setdefault(bucket, [])
            if len(others) < _IN_A_BAND:
                others.append(place)
    columns = np.array(found, dtype=np.float64).reshape(-1, 3)
    return NearRows(columns[:, 0].astype(np.int64), columns[:, 1].astype(np.int64), columns[:, 2])


def _buckets(signed: Signed, bands: int, left_out: np.ndarray) -> np.ndarray:
    """Return for each row and band a number that rows with the same band share, int32[n, bands]; -1 where no
    other row has it."""
    found = np.full((len(signed), bands), -1, dtype=np.int32)
    own, first = np.flatnonzero(~left_out), 0
    for band in range(bands):
        _, labels, counts = np.unique(signed.band(band)[own], return_inverse=True, return_counts=True)
        shared = counts > 1
        numbers = np.where(shared, first + np.cumsum(shared) - 1, -1)
        found[own, band] = numbers[labels]
        first += int(np.count_nonzero(shared))
    return found


def _nearest(
    signed: Signed, place: int, others: Sequence[Sequence[int]], threshold: float
) -> tuple[int, float] | None:
    """Return the first of the rows that share a band which a row is near, and the similarity."""
    shared = Counter(other for each in others for other in each)
    if not shared:
        return None
    most = sorted(shared, key=lambda other: (-shared[other], other))[:COMPARED]
    own = signed.shingles(place)
    for other in sorted(most):
        similarity = jaccard(own, signed.shingles(other))
        if similarity >= threshold:
            return other, similarity
    return None


def jaccard(one: np.ndarray, other: np.ndarray) -> float:
    """Return how many of the numbers of two ascending sets are in both, as a share of those in any.

    >>> jaccard(np.array([1, 2, 3]), np.array([2, 3, 4]))
    0.5
    """
    both = len(np.intersect1d(one, other, assume_unique=True))
    return both / max(1, len(one) + len(other) - both)
