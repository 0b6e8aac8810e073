"""Labelled texts -> samples of at most `max_length` tokens, and the counts of each.

    pieces, errors = fit(labelled, recipe.max_length, recipe.too_long)
    samples = samples_of(labelled, pieces, source, (numbers, ids), KeptFloats())
    tally = count(labelled, pieces, recipe.too_long)

A sample that is too long is rejected, truncated or split, as the recipe key `too_long` says. Samples that fit
are not copied.

Cost: a few ns a token.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa

from ..core.arrays import arrow_array, offsets_of, runs_of_numbers
from ..core.contract import LOSS_WEIGHTS, ORIGIN_SCHEMA
from ..core.errors import RowError
from ..core.recipe import TooLong
from ..core.records import PROOFS, WRITERS, Labels, Samples, Tally
from ..core.text import storable
from ..labeller import LabelledTexts, untrained
from ..masking.labels import per_sample, token_numbers, trained_before, weigh_tokens, without_first
from ..masking.sides import pair_errors
from ..masking.unclosed_reasoning import UNCLOSED, unclosed_in


class Pieces(NamedTuple):
    """The p parts of texts that become samples, in the order of the texts.

    sample   int64[p]  index of the text
    first    int64[p]  the first token, counted over all texts
    last     int64[p]  one past the last token
    """

    sample: np.ndarray
    first: np.ndarray
    last: np.ndarray


def cut(labels: np.ndarray, max_length: int, policy: TooLong) -> list[tuple[int, int]]:
    """Return the pieces of one text, each as (first token, one past the last); the whole text if it fits.

    Pieces without a trained token are left out. Raises `RowError` if `policy` is `reject`, or if no piece is
    left.

    >>> cut(np.array([-100, 5, 6, -100, -100, 7]), 2, TooLong.split)
    [(0, 2), (4, 6)]
    """
    tokens = len(labels)
    if tokens <= max_length:
        return [(0, tokens)]
    if policy is TooLong.reject:
        detail = f"{tokens} tokens are more than max_length {max_length}; see too_long: truncate or split"
        raise RowError("too_long", detail)
    starts = [0] if policy is TooLong.truncate else range(0, tokens, max_length)
    trained = trained_before(labels)
    pieces = [(start, min(start + max_length, tokens)) for start in starts]
    pieces = [(first, last) for first, last in pieces if trained[last] > trained[first + 1]]
    if not pieces:
        detail = f"no piece of {max_length} of the {tokens} tokens has a trained token"
        raise RowError("too_long", detail)
    return pieces


def fit(
    labelled: LabelledTexts, max_length: int, policy: TooLong, before: int = 0, *, pairs: bool = False
) -> tuple[Pieces, dict[int, RowError]]:
    """Return the pieces of all usable texts, and the error of each other row.

    A row is used as a whole or not at all. With `pairs`, its two texts must be those of a preference.
    `before` is the number of texts of the first row that came before.
    The errors have no traceback: its frames would keep the texts of the whole part in memory.
    """
    masked, encoded, labels = labelled
    offsets = encoded.tokens.offsets
    errors = _errors(labelled, before)
    errors = (pair_errors(labelled.masked, labelled.encoded.tokens) if pairs else {}) | errors
    too_long = np.diff(offsets) > max_length
    n = len(masked.texts)
    if not errors and not too_long.any():
        return Pieces(np.arange(n), offsets[:-1], offsets[1:]), errors
    pieces: dict[int, list[tuple[int, int]]] = {}
    for i in np.flatnonzero(too_long).tolist():
        try:
            own = labels.labels[offsets[i] : offsets[i + 1]]
            pieces[i] = cut(own, max_length, policy)
        except RowError as error:
            errors.setdefault(int(masked.rows[i]), error.with_traceback(None))
    kept = np.flatnonzero(~np.isin(masked.rows, list(errors)))
    counts = np.ones(n, dtype=np.int64)
    counts[list(pieces)] = [len(each) for each in pieces.values()]
    sample = np.repeat(kept, counts[kept])
    first, last = offsets[sample], offsets[sample + 1]
    for i in np.intersect1d(kept, list(pieces)).tolist():
        spans = np.array(pieces[i]) + offsets[i]
        first[sample == i], last[sample == i] = spans.T
    return Pieces(sample, first, last), errors


def _errors(labelled: LabelledTexts, before: int) -> dict[int, RowError]:
    """Return the first error of each unusable row, regardless of its length."""
    masked, encoded, labels = labelled
    errors: dict[int, RowError] = {}
    for i, error in sorted(encoded.errors.items()):
        errors.setdefault(int(masked.rows[i]), error)
    trained = np.diff(labels.trained_before[encoded.tokens.offsets])
    for i in np.flatnonzero(trained == 0).tolist():
        row = int(masked.rows[i])
        first = int(np.searchsorted(masked.rows, row))
        errors.setdefault(row, untrained(i - first + (0 if first else before)))
    return errors


class KeptFloats(NamedTuple):
    """The numbers of tokens that a recipe keeps: its `loss_weights` and its `token_columns`."""

    weights: bool | Literal["per_sample"] = False
    columns: Sequence[str] = ()


def samples_of(  # noqa: PLR0913  one by keyword
    labelled: LabelledTexts,
    pieces: Pieces,
    source: str,
    rows: tuple[np.ndarray, Sequence[str | None]],
    kept: KeptFloats,
    *,
    before: int = 0,
) -> Samples:
    """Return the samples of pieces, ready to be packed.

    `rows` are row numbers and ids of the batch. `before` is the number of samples of the first row that came
    before.
    """
    masked, encoded, labels = labelled
    of_row = masked.rows[pieces.sample]
    numbers, ids = rows
    first = np.searchsorted(of_row, of_row)
    number = np.arange(len(of_row)) - first + np.where(first == 0, before, 0)
    origin = pa.RecordBatch.from_arrays(
        [
            pa.repeat(pa.scalar(storable(source), pa.string()), len(of_row)),
            arrow_array(numbers[of_row].astype(np.int64)),
            pa.array([_storable(ids[i]) for i in of_row.tolist()], pa.string()),
            arrow_array(number.astype(np.int32)),
            _trained_turns(labels, pieces),
        ],
        schema=ORIGIN_SCHEMA,
    )
    tokens = encoded.tokens
    floats = {LOSS_WEIGHTS.name: weigh_tokens(labels)} if kept.weights else {}
    floats |= {name: token_numbers(masked.given, tokens, labels, name) for name in kept.columns}
    flat = [tokens.ids, labels.labels, *floats.values()]
    whole = [pieces.first, pieces.last], [tokens.offsets[:-1], tokens.offsets[1:]]
    if not np.array_equal(*whole):
        flat = [_taken(values, pieces) for values in flat]
        _clear_first(flat[1:], pieces, tokens.offsets)
    offsets = offsets_of(pieces.last - pieces.first)
    floats = dict(zip(floats, flat[2:], strict=True))
    if kept.weights == "per_sample":
        floats[LOSS_WEIGHTS.name] = per_sample(floats[LOSS_WEIGHTS.name], flat[1], offsets)
    return Samples(flat[0], flat[1], offsets, origin, floats)


def _storable(id_: str | None) -> str | None:
    return None if id_ is None else storable(id_)


def _taken(values: np.ndarray, pieces: Pieces) -> np.ndarray:
    """Return the tokens of all pieces, concatenated."""
    joins = np.flatnonzero(pieces.first[1:] != pieces.last[:-1]) + 1  # between pieces that are not adjacent
    edges = [0, *joins.tolist(), len(pieces.first)]
    runs = [values[pieces.first[a] : pieces.last[b - 1]] for a, b in pairwise(edges) if a < b]
    return np.concatenate([values[:0], *runs])


def _clear_first(flat: Sequence[np.ndarray], pieces: Pieces, offsets: np.ndarray) -> None:
    """Clear label and numbers of the first token of each piece that does not begin its text."""
    begin = offsets_of(pieces.last - pieces.first)
    for i in np.flatnonzero(pieces.first != offsets[pieces.sample]).tolist():
        labels = flat[0][begin[i] : begin[i + 1]]
        labels[:] = without_first(labels)
        for numbers in flat[1:]:
            numbers[begin[i]] = 0


def _trained_turns(labels: Labels, pieces: Pieces) -> pa.ListArray:
    """Return for each piece the messages with at least one trained token, ascending."""
    low = np.searchsorted(labels.sample, pieces.sample, side="left")
    counts = np.searchsorted(labels.sample, pieces.sample, side="right") - low
    piece, stretch = np.repeat(np.arange(len(counts)), counts), runs_of_numbers(low, counts)
    first = np.maximum(labels.first[stretch], pieces.first[piece] + 1)
    last = np.maximum(first, np.minimum(labels.last[stretch], pieces.last[piece]))
    kept = labels.trained_before[last] > labels.trained_before[first]
    piece, message = piece[kept], labels.message[stretch[kept]]
    order = np.lexsort((message, piece))
    piece, message = piece[order], message[order]
    again = (np.diff(piece, prepend=-1) == 0) & (np.diff(message, prepend=-1) == 0)
    sizes = np.bincount(piece[~again], minlength=len(counts))
    return pa.ListArray.from_arrays(
        arrow_array(offsets_of(sizes).astype(np.int32)),
        arrow_array(message[~again].astype(np.int32)),
        type=ORIGIN_SCHEMA.field("trained_turns").type,
    )


# ==== Counting ====


def count(labelled: LabelledTexts, pieces: Pieces, policy: TooLong) -> Tally:
    """Return the counts of each piece. The counts of a whole text belong to its first piece."""
    masked, encoded, labels = labelled
    tally = _by_writer(labelled, pieces)
    opens = np.diff(pieces.sample, prepend=-1) != 0
    proofs = masked.proofs[pieces.sample]
    for code in np.unique(proofs).tolist():
        tally[f"proved_{PROOFS[code]}"] = (opens & (proofs == code)).astype(np.int32)
    for name, of_text in (
        ("straddling_tokens", labels.straddling),
        ("seam_tokens", encoded.seam_tokens),
        ("control_tokens_in_content", encoded.in_content),
        ("encoded_by_reference", encoded.by_reference),
        *((UNCLOSED, found) for found in (unclosed_in(masked),) if found.any()),
    ):
        tally[name] = np.where(opens, of_text[pieces.sample], 0).astype(np.int32)
    sizes = np.diff(encoded.tokens.offsets)
    left = np.bincount(pieces.sample, pieces.last - pieces.first, len(sizes)).astype(np.int64)
    lost = np.where(opens, (sizes - left)[pieces.sample], 0)
    was_cut = opens & (pieces.last - pieces.first < sizes[pieces.sample])
    if was_cut.any():
        tally[f"too_long_{policy.value}"] = was_cut.astype(np.int32)
        tally["tokens_cut_off"] = lost.astype(np.int32)
    return tally


def _by_writer(labelled: LabelledTexts, pieces: Pieces) -> Tally:
    """Return the numbers of tokens and of trained tokens of each piece, by writer.

    A token belongs to the writer of its first byte. Writers without a token are left out.
    """
    masked, encoded, labels = labelled
    tokens = encoded.tokens
    begin = np.cumsum(masked.sizes) - masked.sizes
    first = np.searchsorted(tokens.starts, begin, side="left")
    first[masked.offsets[:-1]] = tokens.offsets[:-1]
    last = np.append(first[1:], len(tokens.ids))
    counts = np.diff(masked.offsets)[pieces.sample]
    piece = np.repeat(np.arange(len(counts)), counts)
    segment = runs_of_numbers(masked.offsets[pieces.sample], counts)
    low = np.clip(first[segment], pieces.first[piece], pieces.last[piece])
    high = np.clip(last[segment], pieces.first[piece], pieces.last[piece])
    trained = labels.trained_before
    own = np.maximum(low, pieces.first[piece] + 1)  # the first token of a piece is not trained
    cell, size = piece * len(WRITERS) + masked.writers[segment], len(counts) * len(WRITERS)
    tables = {
        "tokens": np.bincount(cell, high - low, size),
        "trained": np.bincount(cell, trained[np.maximum(own, high)] - trained[own], size),
    }
    columns = {name: each.reshape(-1, len(WRITERS)).astype(np.int32) for name, each in tables.items()}
    return {
        f"{name}_{who}": table[:, i]
        for name, table in columns.items()
        for i, who in enumerate(WRITERS)
        if table[:, i].any()
    }
