"""Single samples of an output done again from their sources, to know who wrote each of their tokens.

    traced, notes = retrace(out, manifest, {("chats.jsonl", 12, 0): (ids, labels)})
    traced["chats.jsonl", 12, 0].origins        # ["template", "template", "user:0", ...]

Shards hold ids and labels, not where each token came from. A sample is told of only if its row, done again
the slow way, gives exactly the ids and labels that stand in the output; else nothing is said of it, and the
notes say why. Cost: loading the stages, hashing and reading the sources once, and a millisecond a row.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from ..core.errors import PremaskError, RowError
from ..core.recipe import Recipe
from ..explain import origins_of
from ..inspection import inspect_source
from ..labeller import LabelledRow, LabelledSample, Stages
from ..process import import_transformers
from ..redo import rows_numbered
from ..run import find_dialect

Key = tuple[str, int, int]
"""A sample by its source, row and number among the samples of the row."""

Tokens = tuple[np.ndarray, np.ndarray]
"""Ids and labels, int32[t] each."""


@dataclass(frozen=True)
class Traced:
    """What is known of a sample that came out as it stands in the output: its text, the first character of
    each token and one past its last, the origin of each token, and how its mask was proved."""

    text: str
    starts: list[int]
    ends: list[int]
    origins: list[str]
    proof: str


def retrace(
    out: Path, manifest: Mapping[str, Any], wanted: Mapping[Key, Tokens]
) -> tuple[dict[Key, Traced], list[str]]:
    """Do the rows of some samples again; returns those that came out the same, and notes on the others."""
    try:
        stages = _stages(out, manifest)
    except (PremaskError, ValidationError) as error:
        reason = " ".join(str(error).split())[:200]
        return {}, [f"no row was done again: the stages of the run cannot be loaded ({reason})"]
    by_source: dict[str, dict[Key, Tokens]] = defaultdict(dict)
    for key, tokens in wanted.items():
        by_source[key[0]][key] = tokens
    found: dict[Key, Traced] = {}
    notes = []
    for source, own in by_source.items():
        try:
            traced = dict(_retrace_source(stages, manifest, source, own))
        except PremaskError as error:
            notes.append(f"no row of {source} was done again: {error}")
            continue
        found |= traced
        if len(traced) < len(own):
            notes.append(
                f"{len(own) - len(traced)} of {len(own)} samples of {source} came out otherwise when they "
                "were done again"
            )
    return found, notes


def _stages(out: Path, manifest: Mapping[str, Any]) -> Stages:
    import_transformers()
    changed = {"tokenizer": str(out / "tokenizer"), "chat_template": None, "output": "-"}
    recipe = Recipe.model_validate({**manifest["recipe"], **changed})
    return Stages(recipe, distrust="rows are done again the slow way")


def _retrace_source(
    stages: Stages, manifest: Mapping[str, Any], source: str, wanted: Mapping[Key, Tokens]
) -> Iterator[tuple[Key, Traced]]:
    info = inspect_source(source)
    if info.sha256 not in {each["sha256"] for each in manifest["inputs"] if each["source"] == source}:
        raise PremaskError("the file has changed since the run")
    dialect = find_dialect(info, stages.recipe)
    numbers = np.unique([row for _, row, _ in wanted]).astype(np.int64)
    for rows in rows_numbered(info, numbers):
        for result in stages.label(rows, dialect):
            if isinstance(result, LabelledRow):
                for number, piece in enumerate(_pieces(stages, result)):
                    key = source, result.row.row, number
                    if key in wanted and _same(piece, wanted[key]):
                        yield key, _traced(piece)


def _pieces(stages: Stages, row: LabelledRow) -> list[LabelledSample]:
    try:
        return [piece for labelled in row.samples for piece in stages.cut(labelled)]
    except RowError:
        return []


def _same(piece: LabelledSample, tokens: Tokens) -> bool:
    return np.array_equal(piece.ids, tokens[0]) and np.array_equal(piece.labels, tokens[1])


def _traced(piece: LabelledSample) -> Traced:
    return Traced(
        piece.sample.text, piece.starts.tolist(), piece.ends.tolist(), origins_of(piece), piece.sample.proof
    )
