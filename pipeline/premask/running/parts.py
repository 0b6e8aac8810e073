"""Texts -> samples, a part at a time: what is in memory does not grow with what a row is turned into.

    found = fit_texts(labeller, masked, Origin(source, numbers, ids), PART_BYTES, see=lambda labelled: None)
    found.samples, found.of_row, found.errors

A template that rewrites the history makes a sample of every turn, each with all turns before it: a row of
400 tool rounds gives 200 times its own text. So texts are encoded, labelled and fitted in parts of
`PART_BYTES`. The parts have whole rows. A row with more text is a part of its own: its texts are labelled a
few at a time, and its samples wait in a file (`output/spool.py`) until all are known to be usable.

What is given does not depend on the parts: every text is encoded and labelled by itself.

Cost: 50 bytes of memory for each token of a part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ..core.arrays import offsets_of
from ..core.errors import RowError
from ..core.recipe import TooLong
from ..core.records import MaskedTexts, Samples, Tally
from ..labeller import LabelledTexts, Labeller
from ..output.spool import Spool
from ..output.windows import concat_samples
from ..tokens.placed import text_sizes
from .counts import HISTORY
from .fitting import KeptFloats, count, fit, samples_of

PART_BYTES = 2 << 20
"""Bytes of text that are encoded and labelled together: about half a million tokens."""


class RowsOf(NamedTuple):
    """The file of a batch, and numbers and ids of its rows."""

    source: str
    numbers: np.ndarray
    ids: Sequence[str | None]


class Fitted(NamedTuple):
    """What texts gave.

    samples  k samples, ready to be packed
    of_row   int64[k]  the row of each sample in the batch, ascending
    tally    counts per sample
    errors   rows that cannot be used
    """

    samples: Samples
    of_row: np.ndarray
    tally: Tally
    errors: dict[int, RowError]


See = Callable[[LabelledTexts], object]
"""Is given the texts of each part once they are labelled."""


def fit_texts(labeller: Labeller, masked: MaskedTexts, rows: RowsOf, size: int, see: See) -> Fitted:
    """Encode, label and fit texts, in parts of `size` bytes of text."""
    parts = _Parts(labeller, rows, size, see)
    found = _joined([parts.fitted(masked.cut(*span)) for span in row_spans(masked, size)])
    return found if labeller.recipe.too_long is TooLong.split else _with_history(found)


def _with_history(found: Fitted) -> Fitted:
    """Count the tokens of the samples beside the longest one of each row, where turns have samples of their
    own: all of them begin with the history of the row."""
    if not found.tally.keys() & {"proved_split", "proved_composed"}:
        return found
    first = np.flatnonzero(np.diff(found.of_row, prepend=-1))
    if len(first) in (0, len(found.of_row)):
        return found
    lengths, column = np.diff(found.samples.offsets), _zeros(found)
    column[first] = np.add.reduceat(lengths, first) - np.maximum.reduceat(lengths, first)
    return found._replace(tally={**found.tally, HISTORY: column})


def row_spans(masked: MaskedTexts, size: int) -> Iterator[tuple[int, int]]:
    """Yield spans of texts, of whole rows each: as many rows as have `size` bytes together, at least one.
    Of no texts there is one empty span."""
    starts = np.flatnonzero(np.diff(masked.rows, prepend=-1))
    yield from _spans(np.append(starts, len(masked.texts)), offsets_of(text_sizes(masked)), size)


def text_spans(masked: MaskedTexts, size: int) -> Iterator[tuple[int, int]]:
    """Yield spans of texts: as many as have `size` bytes together, at least one."""
    yield from _spans(np.arange(len(masked.texts) + 1), offsets_of(text_sizes(masked)), size)


def _spans(edges: np.ndarray, bytes_before: np.ndarray, size: int) -> Iterator[tuple[int, int]]:
    """Yield spans of texts that begin and end at edges, int64[m+1] ascending.

    >>> list(_spans(np.arange(5), np.array([0, 3, 6, 20, 21]), 7))
    [(0, 2), (2, 3), (3, 4)]
    """
    at, before = 0, bytes_before[edges]
    while at < len(edges) - 1:
        stop = int(np.searchsorted(before, before[at] + size, side="right")) - 1
        stop = max(stop, at + 1)
        yield int(edges[at]), int(edges[stop])
        at = stop
    if len(edges) == 1:
        yield 0, 0


class _Parts(NamedTuple):
    """What all parts of some texts have in common."""

    labeller: Labeller
    rows: RowsOf
    size: int
    see: See

    def fitted(self, masked: MaskedTexts) -> Fitted:
        """Return what the texts of a part give."""
        spans = list(text_spans(masked, self.size))
        whole = len(spans) == 1 or self.labeller.recipe.preferences is not None
        return self._of_rows(masked) if whole else self._of_long_row(masked, spans)

    def _of_rows(self, masked: MaskedTexts, texts: int = 0, samples: int = 0) -> Fitted:
        """Return what texts give; so many texts and samples of their first row came before."""
        recipe = self.labeller.recipe
        labelled = self.labeller.label(masked)
        self.see(labelled)
        pieces, errors = fit(
            labelled, recipe.max_length, recipe.too_long, texts, pairs=recipe.preferences is not None
        )
        source, numbers, ids = self.rows
        kept = KeptFloats(recipe.loss_weights, recipe.token_columns)
        made = samples_of(labelled, pieces, source, (numbers, ids), kept, before=samples)
        tally = count(labelled, pieces, recipe.too_long)
        return Fitted(made, masked.rows[pieces.sample], tally, errors)

    def _of_long_row(self, masked: MaskedTexts, spans: Sequence[tuple[int, int]]) -> Fitted:
        """Return what the texts of one row give, a few texts at a time.

        After an error the others are labelled, too: one of theirs may be the one that is reported.
        """
        spool, found, errors = Spool(), list[Fitted](), list[RowError]()
        for first, last in spans:
            part = self._of_rows(masked.cut(first, last), first, len(spool))
            errors += part.errors.values()
            if any(_rank(error) == 0 for error in errors):
                break
            if not errors:
                spool.add(part.samples)
                found.append(part._replace(samples=concat_samples([])))
        if errors:
            row = int(masked.rows[0])
            return Fitted(concat_samples([]), np.zeros(0, np.int64), {}, {row: min(errors, key=_rank)})
        return _joined(found)._replace(samples=spool.samples())


def _rank(error: RowError) -> int:
    """Return which of the errors of one row is reported: as `fit`, one of encoding, then that no token is
    trained, then that a sample is too long; of equals the first."""
    return {"nothing_trained": 1, "too_long": 2}.get(error.reason, 0)


def _joined(parts: Sequence[Fitted]) -> Fitted:
    """Return what all parts gave, in their order."""
    if len(parts) == 1:
        return parts[0]
    names = dict.fromkeys(name for part in parts for name in part.tally)
    columns = {name: [part.tally.get(name, _zeros(part)) for part in parts] for name in names}
    return Fitted(
        concat_samples([part.samples for part in parts]),
        np.concatenate([part.of_row for part in parts]),
        {name: np.concatenate(each) for name, each in columns.items()},
        {row: error for part in parts for row, error in part.errors.items()},
    )


def _zeros(part: Fitted) -> np.ndarray:
    return np.zeros(len(part.of_row), dtype=np.int32)
