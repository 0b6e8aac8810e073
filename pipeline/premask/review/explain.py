"""What premask makes of single rows: text, trained stretches, tokens, labels and origins.

    {"row": 0, "id": "a", "status": "kept", "samples": [{"text": ..., "turns": [...], "tokens": {...}}]}
    {"row": 3, "id": null, "status": "rejected", "reason": "no_assistant", "detail": "..."}

The rows go through the same stages as in a run; only `max_length` is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

from ..core.recipe import Recipe
from ..core.records import Reject, Row, placed
from ..dialects import Form
from ..labeller import LabelledRow, LabelledSample, Stages
from ..running.inputs import find_dialect
from ..sources.cutting import plan_units
from ..sources.listing import inspect_sources
from ..sources.reading import read_slice


def explain(
    recipe: Recipe, *, row: int | None = None, limit: int | None = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Explain the rows of the recipe's sources, each as its source and one dict: row number `row` of each
    source, or the first `limit` rows of all. Raises what `run` would raise for the recipe."""
    stages = Stages(recipe)
    rows = ((dialect, each) for dialect, each in rows_of(recipe) if row is None or each.row == row)
    for dialect, each in islice(rows, limit):
        (result,) = stages.label([each], dialect)
        yield each.source, explain_row(result)


def explain_row(result: LabelledRow | Reject) -> dict[str, Any]:
    """One result of the stages as plain JSON values."""
    if isinstance(result, Reject):
        about = {"row": result.row, "id": result.id, "status": "rejected"}
        return {**about, "reason": result.reason, "detail": result.detail}
    samples = [_explain_sample(sample) for sample in result.samples]
    about = {"row": result.row.row, "id": result.id, "status": "kept"}
    return {**about, **({"repaired": [*result.repaired]} if result.repaired else {}), "samples": samples}


def _explain_sample(labelled: LabelledSample) -> dict[str, Any]:
    sample = labelled.sample
    return {
        "text": sample.text,
        "turns": [turn._asdict() for turn in sample.turns],
        "tokens": {
            "id": labelled.ids.tolist(),
            "start": labelled.starts.tolist(),
            "end": labelled.ends.tolist(),
            "label": labelled.labels.tolist(),
            "origin": origins_of(labelled),
        },
    }


def origins_of(labelled: LabelledSample) -> list[str]:
    """Where the first character of each token comes from."""
    runs = list(placed(labelled.sample.runs))
    names = [origin.label for _, _, origin in runs] + ["template"]
    at = np.searchsorted([end for _, end, _ in runs], labelled.starts, side="right")
    return [names[i] for i in at]


def rows_of(recipe: Recipe) -> Iterator[tuple[Form, Row]]:
    """All rows of the recipe's sources, each with the dialect of its file."""
    infos = inspect_sources(recipe.sources, seed=recipe.seed)
    dialects = {info.source: find_dialect(info, recipe) for info in infos}
    for unit in plan_units(infos, unit_rows=recipe.unit_rows):
        for piece in unit.slices:
            for row in read_slice(piece):
                yield dialects[piece.source], row
