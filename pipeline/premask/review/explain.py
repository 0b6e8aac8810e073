"""Single rows explained: text, trained spans, tokens, labels and origins.

    {"row": 0, "id": "a", "status": "kept", "samples": [{"text": ..., "turns": [...], "tokens": {...}}]}
    {"row": 3, "id": null, "status": "rejected", "reason": "no_assistant", "detail": "..."}

The rows go through the same stages as in a run, but `max_length` is ignored.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from itertools import islice
from typing import Any

import numpy as np

from ..core.errors import RowError
from ..core.recipe import Recipe
from ..core.records import SIDE_NAMES, Row, Sample, placed
from ..dialects import Form
from ..labeller import LabelledSample, Labeller, reject
from ..masking.segments import masked_texts
from ..masking.unclosed_reasoning import UNCLOSED, unclosed_in
from ..running.inputs import find_dialect
from ..sources.cutting import plan_units
from ..sources.listing import inspect_sources
from ..sources.reading import read_slice
from ..tokens.token_bytes import character_spans


def explain(
    recipe: Recipe, *, row: int | None = None, ids: Collection[str] = (), limit: int | None = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield rows of the sources, explained: the source and one dict per row.

    These are row number `row` of each source, the rows with one of some `ids`, or all; of these the first
    `limit`. Raises what `run` raises for the recipe.
    """
    labeller = Labeller(recipe)
    rows = ((dialect, each) for dialect, each in rows_of(recipe) if row is None or each.row == row)
    if ids:
        rows = ((dialect, each) for dialect, each in rows if _id_of(labeller, each, dialect) in ids)
    for dialect, each in islice(rows, limit):
        yield each.source, explain_row(labeller, each, dialect)


def _id_of(labeller: Labeller, row: Row, dialect: Form) -> str | None:
    """Return the id of a row, as it is explained. Nothing is rendered for it."""
    try:
        return labeller.read(row, dialect)[0][0].id
    except RowError as error:
        return reject(row, error).id


def explain_row(labeller: Labeller, row: Row, dialect: Form) -> dict[str, Any]:
    """Return the result of one row as plain JSON values."""
    try:
        found, repaired = labeller.read(row, dialect)
        samples = labeller.together(found)
    except RowError as error:
        line = reject(row, error)
        about = {"row": row.row, "id": line.id, "status": "rejected"}
        return {**about, "reason": error.reason, "detail": error.detail}
    about = {"row": row.row, "id": found[0].id, "status": "kept"}
    return {
        **about,
        **({"repaired": [*repaired]} if repaired else {}),
        "samples": [_explain_sample(sample) for sample in samples],
    }


def _explain_sample(labelled: LabelledSample) -> dict[str, Any]:
    sample = labelled.sample
    unclosed = int(unclosed_in(masked_texts([sample], [0]))[0])
    starts, ends = character_spans(sample.text, labelled.starts, labelled.ends)
    return {
        "text": sample.text,
        **({} if sample.side is None else {"side": SIDE_NAMES[sample.side]}),
        "turns": [turn._asdict() for turn in sample.turns],
        "proof": sample.proof,
        "seam_tokens": labelled.seam_tokens,
        **({UNCLOSED: unclosed} if unclosed else {}),
        "tokens": {
            "id": labelled.ids.tolist(),
            "start": starts.tolist(),
            "end": ends.tolist(),
            "label": labelled.labels.tolist(),
            "origin": origins_of(sample, starts),
            **{name: [*map(_number, each.tolist())] for name, each in labelled.numbers.items()},
        },
    }


def _number(number: float) -> float | None:
    """Return a number of a token; null if its row gives none."""
    return None if math.isnan(number) else number


def origins_of(sample: Sample, starts: np.ndarray) -> list[str]:
    """Return the origin of the first character of each token; `starts` are these characters."""
    runs = list(placed(sample.runs))
    names = [origin.label for _, _, origin in runs] + ["template"]
    at = np.searchsorted([end for _, end, _ in runs], starts, side="right")
    return [names[i] for i in at]


def rows_of(recipe: Recipe) -> Iterator[tuple[Form, Row]]:
    """Yield all rows of the sources, each with the dialect of its file."""
    infos = inspect_sources(
        recipe.sources,
        seed=recipe.seed,
        max_row_bytes=recipe.max_row_bytes,
        salvage=recipe.salvage,
        function=recipe.map,
    )
    dialects = {info.source: find_dialect(info, recipe) for info in infos}
    for unit in plan_units(infos, unit_rows=recipe.unit_rows):
        for piece in unit.slices:
            for row in read_slice(piece):
                yield dialects[piece.source], row
