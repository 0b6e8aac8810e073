"""The checks of rows: of tokens, of lineage, and of the reject log.

    sums = check_batch(batch, "packed", Limits(max_length=4096, known=known), place, findings)
    sums.length, sums.trained, sums.hash            # of every sample in the batch
    lineage = read_lineage(dataset, shard, sources, findings)
    check_places(lineage, sums, first_row, name, findings)

A row of tokens is checked by itself: lists that fit together, known ids, labels that are their ids,
positions, masks, weights, token columns. Lineage must list each sample of its shard once, at its place, and
from a row of the input.

Cost: all of it is numpy over the flat columns, some 30 ns a token, half of that for the hashes, and 60 bytes
for each token of a batch; for lineage 0.2 us and 60 bytes a sample.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..core.arrays import filled_up, offsets_of
from ..core.contract import (
    IGNORE_INDEX,
    LEFT_OUT,
    LOSS_WEIGHTS,
    PAD_TOKENS,
    REASONS,
    SIDES,
    TRAINED_MASKS,
)
from ..core.hashing import hash_samples
from ..core.manifest import Shard
from ..output.dataset import Dataset, Lists, UnreadableError, flat
from ..output.read_samples import fitting, sample_sizes
from ..output.sides import are_whole, as_packs, made_again, sides_of
from .verify_files import Findings


class Limits(NamedTuple):
    """What a row must keep to: `max_length` tokens, no less in a pack if they are `padded`, and ids that are
    tokens: `known` bool[ids]. Samples of packs are padded to a `multiple` with the token `pad_id`; None if it
    is not known."""

    max_length: int
    known: np.ndarray
    padded: bool = False
    multiple: int = 1
    pad_id: int | None = None


class Place(NamedTuple):
    """Where a batch is: its file, and the number of its first row in it."""

    file: str
    row: int


class Sums(NamedTuple):
    """What is known of n samples, in their order.

    row      int64[n]   row of the file they are in
    offset   int64[n]   their first token within the row
    length   int64[n]   tokens
    trained  int64[n]   trained tokens
    hash     uint64[n]  of ids, labels, loss weights and token columns, and of the side
    side     int64[n]   which side of a preference each is, 0 if it is none
    """

    row: np.ndarray
    offset: np.ndarray
    length: np.ndarray
    trained: np.ndarray
    hash: np.ndarray
    side: np.ndarray


# ==== Rows of tokens ====


def check_batch(batch: pa.RecordBatch, layout: str, limits: Limits, place: Place, findings: Findings) -> Sums:
    """Check the rows of a batch that has the columns of its layout. Rows whose lists do not fit together are
    reported and left out of what is returned; so are pad documents."""
    rows = np.arange(batch.num_rows) + place.row
    whole = _whole_rows(batch, layout, place, findings)
    if not whole.all():
        batch, rows = batch.filter(pa.array(whole)), rows[whole]
    if not batch.num_rows:
        return no_sums()
    sides = None
    if layout in SIDES:
        sides = sides_of(layout, batch)
        _check_made_again(batch, layout, rows, place, findings)
        batch = as_packs(layout, batch)
    (lengths, first_of), (rooms, _) = _samples(batch, layout)
    ids, labels = flat(batch.column("input_ids")), flat(batch.column("labels")).values
    padded = limits.padded and layout == "packed"
    of_rows = np.diff(ids.offsets) if sides is None else np.maximum.reduceat(lengths, first_of[:-1])
    _check_lengths(of_rows, rows, limits._replace(padded=padded), place, findings)
    padding, wrongs = None, _wrong_tokens(batch, rooms, limits.known)
    if rooms is not lengths:
        _check_rooms(lengths, rooms, np.repeat(rows, np.diff(first_of)), limits, place, findings)
        padding = np.arange(len(labels)) - np.repeat(offsets_of(rooms)[:-1], rooms) >= np.repeat(
            lengths, rooms
        )
        wrongs = chain(wrongs, _wrong_padding(padding, ids.values, labels, limits.pad_id))
    for wrong in wrongs:
        at = np.flatnonzero(wrong.tokens)
        if len(at):
            row_of = np.searchsorted(ids.offsets, at, side="right") - 1
            values = {name: value[at[0]].item() for name, value in wrong.values.items()}
            what = wrong.what.format(token=int(at[0] - ids.offsets[row_of[0]]), **values)
            findings.add(wrong.kind, place.file, what, row=int(rows[row_of[0]]), rows=len(np.unique(row_of)))
    starts, samples_in = offsets_of(rooms)[:-1], np.diff(first_of)
    tokens, floats = ids.values, {name: _floats(batch, name) for name in _names(batch)}
    if padding is not None:
        tokens, labels = tokens[~padding], labels[~padding]
        floats = {name: each[~padding] for name, each in floats.items()}
    trained = np.add.reduceat((labels != IGNORE_INDEX).astype(np.int64), offsets_of(lengths)[:-1])
    sums = Sums(
        np.repeat(rows, samples_in),
        starts - np.repeat(ids.offsets[:-1], samples_in),
        lengths,
        trained,
        hash_samples(tokens, labels, floats, lengths),
        np.zeros(len(lengths), dtype=np.int64) if sides is None else sides,
    )
    sums = sums._replace(hash=sums.hash ^ sums.side.astype(np.uint64))
    if not padded:
        return sums
    is_last = np.zeros(len(lengths), dtype=bool)
    is_last[first_of[1:] - 1] = True
    return Sums(*(column[(trained > 0) | ~is_last] for column in sums))


def _check_made_again(
    batch: pa.RecordBatch, layout: str, rows: np.ndarray, place: Place, findings: Findings
) -> None:
    """Check that a table of sides is the one that is written for its samples."""
    again = made_again(layout, batch)
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        wrong = [] if column.equals(again.column(name)) else pc.not_equal(column, again.column(name))
        at = np.flatnonzero(np.asarray(wrong, dtype=bool))
        if len(at):
            what = f"{name} is not what the texts of the row and their trained tokens give"
            findings.add("side", place.file, what, row=int(rows[at[0]]), rows=len(at))


class _Wrong(NamedTuple):
    """Tokens that are wrong, bool[t], and what is, in words with the token and its values."""

    kind: str
    tokens: np.ndarray
    what: str
    values: Mapping[str, np.ndarray]


def _wrong_tokens(batch: pa.RecordBatch, lengths: np.ndarray, known: np.ndarray) -> Iterator[_Wrong]:
    """Hold every token of a batch against the contract; `lengths` are those of its padded samples."""
    flats = {
        name: flat(column).values
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
        if pa.types.is_list(column.type)
    }
    ids, labels, starts = flats["input_ids"], flats["labels"], offsets_of(lengths)[:-1]
    trained = labels != IGNORE_INDEX
    pair = {"label": labels, "id": ids}
    yield _Wrong("id", ~_are_known(ids, known), "token {token} has the unknown id {id}", pair)
    yield _Wrong("label", trained & (labels != ids), "token {token} has label {label} beside id {id}", pair)
    first = np.zeros(len(labels), dtype=bool)
    first[starts] = trained[starts]
    what = "token {token} is the first of its sample, but has label {label}"
    yield _Wrong("first_label", first, what, pair)
    if "position_ids" in flats:
        found, wanted = flats["position_ids"], np.arange(len(labels)) - np.repeat(starts, lengths)
        what = "token {token} has position {found}, not {wanted}"
        yield _Wrong("position", found != wanted, what, {"found": found, "wanted": wanted})
    if "attention_mask" in flats:
        mask = flats["attention_mask"]
        yield _Wrong("attention_mask", mask != 1, "token {token} has attention_mask {mask}", {"mask": mask})
    for name in _names(batch):
        numbers, is_weight = flats[name], name == LOSS_WEIGHTS.name
        wrong = np.where(trained, ~np.isfinite(numbers) if is_weight else np.isinf(numbers), numbers != 0)
        what = f"token {{token}} has {'weight' if is_weight else name} {{number}} beside label {{label}}"
        yield _Wrong("loss_weight" if is_weight else "number", wrong, what, {"number": numbers, **pair})
    for name in (name for name in TRAINED_MASKS if name in flats):
        what = f"token {{token}} has {name} {{mask}} beside label {{label}}"
        yield _Wrong("mask", flats[name] != trained, what, {"mask": flats[name], **pair})


def _wrong_padding(
    padding: np.ndarray, ids: np.ndarray, labels: np.ndarray, pad_id: int | None
) -> Iterator[_Wrong]:
    """Hold the tokens behind samples, bool[t], against what they have to be."""
    pair = {"label": labels, "id": ids}
    what = "token {token} is padding behind a sample, but has label {label}"
    yield _Wrong("padding", padding & (labels != IGNORE_INDEX), what, pair)
    if pad_id is not None:
        what = f"token {{token}} is padding behind a sample, but has id {{id}}, not {pad_id}"
        yield _Wrong("padding", padding & (ids != pad_id), what, pair)


def _check_rooms(  # noqa: PLR0913  one call
    lengths: np.ndarray,
    rooms: np.ndarray,
    rows: np.ndarray,
    limits: Limits,
    place: Place,
    findings: Findings,
) -> None:
    """Check the lengths of samples with their padding; `rows` are those of the samples."""
    wrong = np.flatnonzero(rooms != filled_up(lengths, limits.multiple))
    if len(wrong):
        at = int(wrong[0])
        what = f"a sample of {lengths[at]} tokens has {rooms[at]} with its padding, not the next multiple of "
        what += str(limits.multiple)
        findings.add("padding", place.file, what, row=int(rows[at]), rows=len(np.unique(rows[wrong])))


def _names(batch: pa.RecordBatch) -> list[str]:
    """Return the columns with other numbers of tokens: loss weights and token columns."""
    return [each.name for each in batch.schema if each.type == LOSS_WEIGHTS.type]


def _floats(batch: pa.RecordBatch, name: str) -> np.ndarray:
    return flat(batch.column(name)).values


def no_sums() -> Sums:
    """The sums of no samples."""
    none = np.zeros(0, dtype=np.int64)
    return Sums(none, none, none, none, np.zeros(0, dtype=np.uint64), none)


def join_sums(parts: list[Sums]) -> Sums:
    """The sums of one batch after another."""
    return Sums(*(np.concatenate(columns) for columns in zip(no_sums(), *parts, strict=True)))


def _check_lengths(
    lengths: np.ndarray, rows: np.ndarray, limits: Limits, place: Place, findings: Findings
) -> None:
    most = limits.max_length
    for kind, wrong, what in (
        ("padding", limits.padded & (lengths < most), f"tokens, but packs are filled up to {most}"),
        ("too_long", lengths > most, f"tokens are more than max_length {most}"),
    ):
        at = np.flatnonzero(wrong)
        if len(at):
            findings.add(kind, place.file, f"{lengths[at[0]]} {what}", row=int(rows[at[0]]), rows=len(at))


def _are_known(ids: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Which ids are tokens, bool[t]."""
    if known.all() and len(ids) and ids.min() >= 0 and ids.max() < len(known):
        return np.ones(len(ids), dtype=bool)
    inside = (ids >= 0) & (ids < len(known))
    return np.asarray(inside & known[np.where(inside, ids, 0)])


# ==== The shape of rows ====


def _whole_rows(batch: pa.RecordBatch, layout: str, place: Place, findings: Findings) -> np.ndarray:
    """Which rows have lists that fit together, bool[rows]; the others are reported."""
    fine = np.ones(batch.num_rows, dtype=bool)
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        nulls = _nulls(column)
        _note_shape(f"{name} holds null", np.flatnonzero(nulls), place, findings)
        fine &= ~nulls
    numbers = np.flatnonzero(fine)
    fitting = _fitting(batch if fine.all() else batch.filter(pa.array(fine)), layout)
    what = "the lists of the row are not as long as its length and seq_lengths say"
    _note_shape(what, numbers[~fitting], place, findings)
    fine[numbers] = fitting
    return fine


def _note_shape(what: str, wrong: np.ndarray, place: Place, findings: Findings) -> None:
    """Note rows (int[k], of the batch) that are wrong as such."""
    if len(wrong):
        findings.add("shape", place.file, what, row=place.row + int(wrong[0]), rows=len(wrong))


def _fitting(batch: pa.RecordBatch, layout: str) -> np.ndarray:
    """Which rows have lists of the length that they say, above 0."""
    if layout in SIDES:
        return are_whole(layout, batch)
    length = batch.column("length").to_numpy()
    fine = length > 0
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if pa.types.is_list(column.type) and not name.startswith("seq_lengths"):
            fine &= np.diff(flat(column).offsets) == length
    if layout == "packed":
        fine &= fitting(batch, length)
    return np.asarray(fine)


def _nulls(column: pa.Array) -> np.ndarray:
    """Which rows are null or hold one, bool[rows]."""
    nulls = np.asarray(column.is_null().to_numpy(zero_copy_only=False), dtype=bool)
    if pa.types.is_list(column.type) and column.values.null_count:
        inner = column.values.is_null().to_numpy(zero_copy_only=False)
        counts = offsets_of(inner)
        bounds = column.offsets.to_numpy()
        nulls |= counts[bounds[1:]] > counts[bounds[:-1]]
    return nulls


def _samples(batch: pa.RecordBatch, layout: str) -> tuple[Lists, Lists]:
    """The lengths of all samples of the batch, int64, and which of them are in which row; and the same with
    the padding behind each."""
    if layout != "unpacked":
        return sample_sizes(batch)
    lengths = Lists(batch.column("length").to_numpy().astype(np.int64), np.arange(batch.num_rows + 1))
    return lengths, lengths


# ==== Lineage ====


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
        """The order in which the samples are in the unpacked layout, int64[n]."""
        return np.lexsort((self.sample, self.row, self.source))


def read_lineage(
    dataset: Dataset, shard: Shard, sources: Sequence[str], findings: Findings
) -> Lineage | None:
    """Read a shard of lineage; None, and reported, if that cannot be done."""
    multiple = dataset.manifest.settings.pad_to_multiple
    known, parts = pa.array(sources, pa.string()), [[np.zeros(0, dtype=np.int64)] * len(Lineage._fields)]
    try:
        for batch in dataset.batches(shard, nulls=True):
            columns = {each: batch.column(each) for each in batch.schema.names}
            if any(column.null_count for each, column in columns.items() if each != "id"):
                findings.add("lineage", shard.path, "a column other than id holds null")
                return None
            columns["source"] = pc.index_in(columns["source"], value_set=known).fill_null(-1)
            numbers = [columns[each].to_numpy().astype(np.int64) for each in Lineage._fields[:-1]]
            _check_pad_tokens(columns, multiple, shard.path, findings)
            parts.append([*numbers, np.diff(columns["trained_turns"].offsets.to_numpy()).astype(np.int64)])
    except UnreadableError as error:
        findings.add("unreadable", shard.path, f"it cannot be read: {error.why}")
        return None
    return Lineage(*map(np.concatenate, zip(*parts, strict=True)))


def _check_pad_tokens(
    columns: Mapping[str, pa.Array], multiple: int | None, name: str, findings: Findings
) -> None:
    """Check the pad tokens of a batch of lineage, if samples are padded to a `multiple`."""
    if multiple is None:
        return
    lengths, said = (columns[each].to_numpy().astype(np.int64) for each in ("length", PAD_TOKENS.name))
    wrong = np.flatnonzero(said != filled_up(lengths, multiple) - lengths)
    if len(wrong):
        at = int(wrong[0])
        what = f"pad_tokens is {said[at]} behind {lengths[at]} tokens, but multiples of {multiple} are wanted"
        findings.add("lineage", name, what, rows=len(wrong))


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


def check_sides(lineage: Lineage, sums: Sums, name: str, findings: Findings) -> None:
    """Check that the lineage names the side that each sample is, and one input row for the sides of a row."""
    first = np.concatenate([np.ones(min(1, len(sums.row)), dtype=bool), np.diff(sums.row) != 0])
    firsts = np.flatnonzero(first)[np.cumsum(first) - 1]
    for wrong, what in (
        (lineage.sample != sums.side, "sample is not 0 for a chosen answer, or not 1 for a rejected one"),
        (lineage.row != lineage.row[firsts], "the sides of a row are of several input rows"),
        (lineage.source != lineage.source[firsts], "the sides of a row are of several sources"),
    ):
        at = np.flatnonzero(wrong)
        if len(at):
            findings.add("lineage", name, what, row=int(at[0]), rows=len(at))


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


# ==== The reject log ====

NOT_REDONE = {"duplicate", "near_duplicate", "contaminated", "crashed"}
"""Reasons that say nothing of a row by itself, or that this process might not survive."""

NOT_SHOWN = NOT_REDONE | {*LEFT_OUT}
"""Reasons of lines that may be without their row."""


def wrong_reject(line: Mapping[str, Any], sources: Mapping[str, int]) -> str:
    """What is wrong with a line of the reject log, empty if nothing is."""
    allowed = {"id", "original"} if line["reason"] in NOT_SHOWN else {"id"}
    wrong = {
        "a column is null that must not be": any(line[key] is None for key in line if key not in allowed),
        "the source is none of the inputs in manifest.json": line["source"] not in sources,
        f"the reason {line['reason']!r:.40} is unknown": line["reason"] not in REASONS,
        "row is below 0": (line["row"] or 0) < 0,
        "detail is empty": not line["detail"],
        "original is not the row as JSON": not _is_row(line["original"], line["reason"]),
    }
    return next((what for what, found in wrong.items() if found), "")


def _is_row(original: str | None, reason: str) -> bool:
    """Whether a line shows its row as JSON; some rows are shown as they were read, of those too large the
    beginning; duplicates and rows that the recipe leaves out are not shown."""
    if reason in {"invalid_json", "not_an_object", "row_too_large", *NOT_SHOWN}:
        return True
    try:
        json.loads(original or "", parse_int=str, parse_float=str)
    except RecursionError:
        return True
    except ValueError:
        return False
    return True
