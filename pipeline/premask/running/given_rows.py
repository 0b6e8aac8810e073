"""Rows that are tokens already, as samples, without a chat template: for whoever packs them in memory.

    samples, rejects = given_samples(recipe, [Row("data", 0, {"input_ids": [...], "labels": [...]})])

The rows are read and checked as the dialect `tokens` does (`dialects/tokens.py`), so a run on a file of them
gives the same samples. Without a tokenizer, only the sign of ids is checked.

Cost: a third of a microsecond a token.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from ..core.arrays import offsets_of
from ..core.contract import IGNORE_INDEX, LOSS_WEIGHTS, labels_of_mask
from ..core.errors import RowError
from ..core.recipe import Recipe
from ..core.records import GivenTokens, Reject, Row, SampleOrigin, Samples
from ..core.source_entry import DialectName
from ..dialects import Named, normalize
from ..labeller import check_weights, reject
from ..masking.given_tokens import Vocabulary, check_given, column
from ..masking.labels import per_sample, without_first
from ..output.windows import concat_samples, origin_table
from .fitting import cut

_TOKENS = Named(DialectName.tokens.value)


class AnyVocabulary:
    """The vocabulary of a tokenizer that is not known: every id may be a token, but none is negative."""

    def unknown(self, ids: np.ndarray) -> np.ndarray:
        """Which ids are no tokens, bool[t]."""
        return np.asarray(ids < 0)

    def texts_of(self, ids: Sequence[int]) -> Sequence[str]:
        """The texts of ids are not known."""
        del ids
        return ()


def given_samples(
    recipe: Recipe, rows: Iterable[Row], vocabulary: Vocabulary
) -> tuple[Samples, list[Reject]]:
    """Return the samples of rows of tokens, and the rejects. Of the recipe, `max_length`, `too_long`,
    `loss_weights` and `token_columns` are used."""
    found, rejects = list[Samples](), list[Reject]()
    for row in rows:
        try:
            found += _samples_of(recipe, row, vocabulary)
        except RowError as error:
            rejects.append(reject(row, error))
    return concat_samples(found), rejects


def _samples_of(recipe: Recipe, row: Row, known: Vocabulary) -> list[Samples]:
    if row.error is not None:
        raise RowError(row.reason, row.error)
    conversation = normalize(row.value, _TOKENS)
    given = conversation.given
    if given is None:
        raise RowError("unknown_dialect", "the row has no tokens")
    check_given(given, known, recipe.token_columns)
    if not recipe.loss_weights:
        check_weights(conversation)
    labels = without_first(labels_of_mask(given.ids, given.trained))
    floats = _floats(recipe, given, conversation.weight)
    pieces = cut(labels, recipe.max_length, recipe.too_long)
    return list(_pieces(recipe, (row, conversation.id), pieces, (given.ids, labels, floats)))


def _floats(recipe: Recipe, given: GivenTokens, weight: float | None) -> dict[str, np.ndarray]:
    """Return the numbers of the tokens that the recipe keeps, float32[t]."""
    floats = {name: column(given, name) for name in recipe.token_columns}
    found = {
        name: np.full(len(given.ids), np.nan, np.float32) if each is None else each
        for name, each in floats.items()
    }
    if recipe.loss_weights:
        own = np.ones(len(given.ids), np.float32) if given.weights is None else given.weights
        found[LOSS_WEIGHTS.name] = own * np.float32(1 if weight is None else weight)
    return found


def _pieces(
    recipe: Recipe,
    row: tuple[Row, str | None],
    pieces: Sequence[tuple[int, int]],
    flat: tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]],
) -> Iterator[Samples]:
    """Yield the pieces of a row as samples."""
    ids, labels, floats = flat
    for number, (first, last) in enumerate(pieces):
        own, offsets = without_first(labels[first:last]), offsets_of([last - first])
        kept = {name: np.where(own != IGNORE_INDEX, each[first:last], 0) for name, each in floats.items()}
        if recipe.loss_weights == "per_sample":
            kept[LOSS_WEIGHTS.name] = per_sample(kept[LOSS_WEIGHTS.name], own, offsets)
        origin = SampleOrigin(row[0].source, row[0].row, row[1], number, (0,))
        yield Samples(ids[first:last], own, offsets, origin_table([origin]), kept)
