"""The mixture: how often each labelled sample is used, in which order, and in which split.

    choice = choose(recipe, piece, batch, dropped.of_piece(number))

    splits = assign_splits(keys.groups, recipe.splits, recipe.seed)          # 0 is train
    copies = count_copies(source, numbers, entry.repeat, recipe.seed)
    order = np.argsort(order_keys(samples.origin, recipe.seed))

Each row is decided by itself, from hashes and a seed. The result does not depend on other rows, units or
workers. Two runs with similar shares choose mostly the same rows.

Cost: a few ns a row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ..core.contract import BESIDE_OWN_ROW, IGNORE_INDEX, LEFT_OUT
from ..core.hashing import chance, mixed_bits, name_hash
from ..core.recipe import Recipe
from ..core.records import Reject, Samples, Slice
from ..output.packing import PackOrder
from ..output.shards import UnitWriter
from ..output.windows import take_samples
from .batches import LabelledBatch
from .counts import CONTAMINATED
from .dropped import Dropped
from .keeping import REASON, keep_of
from .measures import measured
from .mixture import SIZES, size_of_rows
from .tasks import Account


def assign_splits(groups: np.ndarray, shares: Mapping[str, float], seed: int) -> np.ndarray:
    """Return the split of each row, int8[n]: 0 is train, 1 the first of `shares`, and so on.

    Rows with equal `groups` (uint64[n], see `duplicates.RowKeys.groups`) get the same split. A share is the
    chance of a group to be in a split, so splits are only close to their shares.

    >>> assign_splits(np.arange(8, dtype=np.uint64), {"validation": 0.5}, seed=0).tolist()
    [0, 1, 0, 0, 1, 1, 1, 1]
    """
    fraction = chance(groups ^ mixed_bits(np.array([seed], dtype=np.uint64)))
    ends = np.cumsum([*shares.values()])
    index = np.searchsorted(ends, fraction, side="right")
    splits: np.ndarray = np.where(index == len(ends), 0, index + 1).astype(np.int8)
    return splits


def count_copies(source: str, numbers: np.ndarray, repeat: float, seed: int) -> np.ndarray:
    """Return how often each row is used, int64[n], given its number in its file.

    That is `repeat` rounded down or up. The fraction of `repeat` is the chance of rounding up.

    >>> count_copies("a.jsonl", np.arange(10), 1.5, seed=0).tolist()
    [1, 1, 1, 2, 2, 1, 1, 1, 2, 1]
    """
    whole, fraction = divmod(repeat, 1)
    copies = np.full(len(numbers), int(whole), dtype=np.int64)
    if fraction:
        copies += row_chances(source, numbers, seed) < fraction
    return copies


def row_chances(source: str, numbers: np.ndarray, seed: int) -> np.ndarray:
    """Return a number below 1 for each row, float64[n]: a larger fraction of `repeat` rounds it up."""
    return chance(numbers.astype(np.uint64) ^ np.uint64(name_hash(f"{seed}\0{source}")))


def pack_order(recipe: Recipe) -> PackOrder:
    """Return how the samples of a recipe are spread over packs: copies of a row are kept apart, and with
    `shuffle` all samples of a row."""
    copies = recipe.mixes or any(entry.repeat > 1 for entry in recipe.sources)
    return PackOrder(copies or recipe.shuffle, recipe.seed if recipe.shuffle else None)


def pack_counts(writer: UnitWriter) -> dict[str, int]:
    """Return what a run counts of the packs of a unit besides their number."""
    return {BESIDE_OWN_ROW: writer.beside_own_row} if writer.order.spread else {}


def order_keys(origin: pa.RecordBatch, seed: int, together: int = 1) -> np.ndarray:
    """Return a pseudorandom number per sample, uint64[n], from its origin (`ORIGIN_SCHEMA`).

    Consecutive copies of one sample get different numbers. So many samples `together` get that of the first.

    >>> origin = pa.RecordBatch.from_pydict({"source": ["a", "a"], "row": [1, 1], "sample": [0, 0]})
    >>> len(set(order_keys(origin, seed=0).tolist()))
    2
    """
    if together > 1:
        firsts = origin.take(pa.array(np.arange(0, len(origin), together)))
        return np.repeat(order_keys(firsts, seed), together)
    source = origin.column("source").dictionary_encode()
    hashes = [name_hash(f"{seed}\0{name}\0order") for name in source.dictionary.to_pylist()]
    of_source = np.array(hashes, dtype=np.uint64)[source.indices.to_numpy()]
    row, sample = (origin.column(name).to_numpy().astype(np.uint64) for name in ("row", "sample"))
    bits = mixed_bits(mixed_bits(of_source ^ row) ^ sample)
    first = np.ones(len(bits), dtype=bool)
    first[1:] = bits[1:] != bits[:-1]
    starts = np.flatnonzero(first)
    copy = np.arange(len(bits)) - np.repeat(starts, np.diff(starts, append=len(bits)))
    return mixed_bits(bits ^ copy.astype(np.uint64))


@dataclass
class Chosen:
    """What a run uses of a batch.

    parts    samples, each part with the number of its split
    rejects  lines of the reject log
    counts   sums of the tally
    account  how many rows were kept, dropped, rejected and left out
    totals   with a mixture, what was used in train, and what is there (`mixture.Totals`)
    """

    parts: list[tuple[int, Samples]]
    rejects: list[Reject]
    counts: Counter[str]
    account: Account
    totals: Counter[str]


def measure(recipe: Recipe, piece: Slice, batch: LabelledBatch, dropped: Dropped | None) -> np.ndarray:
    """Return the rows of a batch that train may use, with their sizes (`mixture.SIZES`)."""
    out = _dropped_rows(batch, dropped)
    out[list(_not_kept(recipe, piece, batch, _with_sample(batch) & ~out))] = True
    used = ~out[batch.of_row] & (_splits(recipe, batch) == 0)
    rows = np.unique(batch.of_row[used])
    tokens, trained = _row_sizes(batch)[:, rows]
    found = np.zeros(len(rows), dtype=SIZES)
    found["entry"], found["tokens"], found["trained_tokens"] = piece.entry, tokens, trained
    found["chance"] = row_chances(piece.source, batch.numbers[rows], recipe.seed)
    return found


def _row_sizes(batch: LabelledBatch) -> np.ndarray:
    samples = batch.samples
    return size_of_rows(len(batch.numbers), batch.of_row, samples.offsets, samples.labels)


def _with_sample(batch: LabelledBatch) -> np.ndarray:
    """Return which rows of a batch have a sample, bool[n]."""
    found = np.zeros(len(batch.numbers), dtype=bool)
    found[batch.of_row] = True
    return found


def _dropped_rows(batch: LabelledBatch, dropped: Dropped | None) -> np.ndarray:
    """Return which rows of a batch are left out because of other rows or texts, bool[n]."""
    if dropped is None or not len(dropped.row):
        return np.zeros(len(batch.numbers), dtype=bool)
    return np.asarray(np.isin(batch.numbers, dropped.row))


def _splits(recipe: Recipe, batch: LabelledBatch) -> np.ndarray:
    """Return the split of each sample, int8[k]."""
    if recipe.splits and batch.keys is not None:
        of_row = assign_splits(batch.keys.groups, recipe.splits, recipe.seed)
        return np.asarray(of_row[batch.of_row])
    return np.zeros(len(batch.of_row), dtype=np.int8)


def _totals(batch: LabelledBatch, copies: np.ndarray, out: np.ndarray, splits: np.ndarray) -> Counter[str]:
    """Return what is used of a batch in train, and what is there (`mixture.Totals`)."""
    rows = np.unique(batch.of_row[(splits == 0) & ~out[batch.of_row]])
    tokens, trained = _row_sizes(batch)[:, rows]
    sizes = {"rows": np.ones_like(tokens), "tokens": tokens, "trained_tokens": trained}
    used = {name: int(each @ copies[rows]) for name, each in sizes.items()}
    return Counter(used | {f"of_{name}": int(each.sum()) for name, each in sizes.items()})


def choose(
    recipe: Recipe,
    piece: Slice,
    batch: LabelledBatch,
    dropped: Dropped | None = None,
    repeats: Sequence[float] = (),
) -> Chosen:
    """Leave out the rows of the slice that are dropped or not to be kept, repeat rows as their source says,
    and assign them to splits. With a mixture, `repeats` has what is used instead, for each source."""
    numbers = batch.numbers
    repeat = repeats[piece.entry] if repeats else recipe.sources[piece.entry].repeat
    out, rejects, sets = _dropped_rows(batch, dropped), batch.rejects, Counter[str]()
    if dropped is not None and out.any():
        rejects, sets = _with_dropped(piece.source, batch, out, dropped)
    has_sample = _with_sample(batch)
    if unfit := _not_kept(recipe, piece, batch, has_sample & ~out):
        rejects = sorted([*rejects, *unfit.values()], key=lambda line: line.row)
        out[list(unfit)] = True
    copies = count_copies(piece.source, numbers, repeat, recipe.seed)
    copies[out] = 0
    reasons = Counter(reject.reason for reject in rejects)
    duplicates = reasons.pop("duplicate", 0)
    left_out = Counter(batch.left_out)
    left_out.update({setting: reasons.pop(reason, 0) for reason, setting in LEFT_OUT.items()})
    left_out["mixture" if repeats else "repeat"] = int(np.count_nonzero(has_sample & ~out & (copies == 0)))
    account = Account(
        len(numbers) + sum(batch.left_out.values()),
        int(np.count_nonzero(has_sample & (copies > 0))),
        duplicates,
        reasons,
        +left_out,
    )
    splits = _splits(recipe, batch)
    of_sample = copies[batch.of_row]
    of_sample[splits > 0] = np.minimum(of_sample[splits > 0], 1)  # no upsampling in evaluation splits
    counts = batch.counted(of_sample)
    counts["verified"] = batch.verified
    totals = _totals(batch, copies, out, splits) if recipe.mixes else Counter[str]()
    parts = list(_parts(batch, of_sample, splits, recipe.together))
    _count_used(account, batch, of_sample, parts)
    return Chosen(parts, rejects, +(counts + sets), account, totals)


def _count_used(
    account: Account, batch: LabelledBatch, of_sample: np.ndarray, parts: Sequence[tuple[int, Samples]]
) -> None:
    """Add what is used of a batch, as often as it is used, to the account."""
    uses = np.zeros(len(batch.numbers), dtype=np.int64)
    uses[batch.of_row] = of_sample
    account.used = int(uses.sum())
    account.tokens = sum(len(part.ids) for _, part in parts)
    account.trained_tokens = sum(int(np.count_nonzero(part.labels != IGNORE_INDEX)) for _, part in parts)


def _parts(
    batch: LabelledBatch, copies: np.ndarray, splits: np.ndarray, together: int
) -> Iterator[tuple[int, Samples]]:
    """Yield the samples of each split, each as often as it is used; copies are adjacent. So many samples, one
    after another, are copied `together`."""
    if (copies == 1).all() and not splits.any():
        if len(batch.of_row):
            yield 0, batch.samples
        return
    samples = batch.samples
    for split in np.unique(splits).tolist():
        own = np.flatnonzero(splits == split)
        order = np.repeat(own.reshape(-1, together), copies[own[::together]], axis=0).ravel()
        if len(order):
            yield split, take_samples(samples, order)


def _not_kept(recipe: Recipe, piece: Slice, batch: LabelledBatch, asked: np.ndarray) -> dict[int, Reject]:
    """Return lines of the rows for which the recipe's `keep` is not true, by their index, among those `asked`
    (bool[n])."""
    keep = keep_of(recipe, piece.entry)
    if keep is None or batch.traits is None or batch.keys is None or not asked.any():
        return {}
    samples, ids = batch.samples, batch.keys.ids
    table = measured(samples.labels, samples.offsets, batch.of_row, batch.tally, batch.traits)
    return {
        at: Reject(piece.source, int(batch.numbers[at]), ids[at], REASON, keep.detail(table, at), None)
        for at in np.flatnonzero(asked & ~keep.of(table)).tolist()
    }


def _with_dropped(
    source: str, batch: LabelledBatch, out: np.ndarray, dropped: Dropped
) -> tuple[list[Reject], Counter[str]]:
    """Return the rejects of a batch and its dropped rows, which have no other reason; and the counts of
    contaminated rows by evaluation set."""
    lines, sets = {reject.row: reject for reject in batch.rejects}, Counter[str]()
    ids = batch.keys.ids if batch.keys is not None else [None] * len(batch.numbers)
    for at in np.flatnonzero(out).tolist():
        row = int(batch.numbers[at])
        index = int(np.searchsorted(dropped.row, row))
        lines[row] = Reject(source, row, ids[at], dropped.reason[index], dropped.detail[index], None)
        if dropped.by[index]:
            sets[f"{CONTAMINATED}{dropped.by[index]}"] += 1
    return [lines[row] for row in sorted(lines)], sets
