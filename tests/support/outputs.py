"""Whole outputs for tests: made-up samples and rejects, written as runs write them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from premask.core.recipe import Recipe
from premask.core.records import Reject, SampleOrigin, Samples
from premask.output.directory import Output, open_output
from premask.output.identity import RunIdentity, identify
from premask.output.shards import UnitRecord, UnitWriter
from premask.output.windows import origin_table
from premask.publish.card import make_card
from premask.publish.card_use import at_repo
from premask.publish.without_rejects import to_send

Unit = tuple[Sequence[Samples], Sequence[Reject]]
"""What one unit of work writes: the samples of its windows, and its rejects."""


def samples_of(lengths: Sequence[int], *, first_row: int = 0, source: str = "chats.jsonl") -> Samples:
    """Samples with ids that differ everywhere and the last floor(n/2) of n tokens trained."""
    offsets = np.cumsum([0, *lengths])
    ids = np.arange(offsets[-1], dtype=np.int32) + 1000 * first_row
    place = np.concatenate([np.arange(n) * 2 >= max(n, 2) for n in lengths])
    rows = range(first_row, first_row + len(lengths))
    origin = [SampleOrigin(source, row, f"id-{row}" if row % 3 == 0 else None, 0, (1,)) for row in rows]
    return Samples(ids, np.where(place, ids, -100).astype(np.int32), offsets, origin_table(origin))


def reject_of(row: int, reason: str = "no_messages") -> Reject:
    return Reject("chats.jsonl", row, None, reason, "the list is empty", '{"messages": []}')


UNITS: list[Unit] = [
    ([samples_of([5, 3, 4]), samples_of([8, 1], first_row=3)], [reject_of(5)]),
    ([], [reject_of(6), reject_of(7, "too_long")]),
    ([samples_of([2, 6, 7], first_row=8)], []),
]
ROWS = 11


def recipe_of(**change: Any) -> Recipe:
    values = {"sources": ["chats.jsonl"], "tokenizer": "tok", "max_length": 8, "output": "unused"}
    return Recipe.model_validate({**values, "layout": ["packed", "unpacked"], **change})


def identity_of(recipe: Recipe | None = None, *, content: str = "0") -> RunIdentity:
    return identify(
        recipe or recipe_of(),
        inputs=[{"source": "chats.jsonl", "bytes": 99, "sha256": content * 64}],
        tokenizer={"name": "tok", "sha256": "1" * 64, "vocab_size": 100_000},
        template={"sha256": "2" * 64},
    )


def write_unit(output: Output, number: int, unit: Unit, identity: RunIdentity) -> UnitRecord:
    layouts = recipe_of(layout=identity.recipe["layout"]).layout
    with UnitWriter(output.unit(number), layouts, identity.recipe["max_length"]) as writer:
        for samples in unit[0]:
            writer.add(samples)
        writer.reject(unit[1])
    return writer.commit(key=identity.key, extra={"unit": number})


def finish(
    output: Output, records: Sequence[UnitRecord], *, source: str = "chats.jsonl", **change: Any
) -> dict[str, Any]:
    kept = sum(split.samples for record in records for split in record.splits.values())
    rejected = sum((Counter(record.rejects) for record in records), Counter[str]())
    account = {"rows": kept + rejected.total(), "kept": kept, "dropped": 0, "duplicates": 0}
    arguments: dict[str, Any] = {
        "counts": {"straddling_tokens": 0},
        "inputs": {source: {**account, "rejected": dict(rejected), "left_out": {}}},
        "engine": {"name": "tokenizers", "reason": "", "rows_verified": 0, "samples_by_reference": 0},
        "card": {},
        "save_tokenizer": lambda folder: (folder / "tokenizer.json").write_text("{}"),
        "make_card": lambda manifest, _: make_card(manifest),
    }
    return output.finish(records, **{**arguments, **change})


def make_output(
    path: Path,
    units: Sequence[Unit] = UNITS,
    *,
    identity: RunIdentity | None = None,
    overwrite: bool = False,
    **change: Any,
) -> dict[str, Any]:
    """Write a whole output and return its manifest."""
    identity = identity or identity_of()
    output = open_output(path, identity, overwrite=overwrite)
    assert output is not None
    with output:
        records = [write_unit(output, i, unit, identity) for i, unit in enumerate(units)]
        return finish(output, records, **change)


def bytes_of(tree: Path) -> dict[str, bytes]:
    return {str(p.relative_to(tree)): p.read_bytes() for p in sorted(tree.rglob("*")) if p.is_file()}


def sent_of(out: Path, repo: str = "", branch: str = "") -> dict[str, bytes]:
    """The files that a push sends of an output, unless it is told to send more; to a repo and a branch of it, if
    they are named."""
    with to_send(out) as finished:
        files = {file.path: file.local.read_bytes() for file in finished.files}
        layouts = finished.manifest.layouts
    if repo:
        files["README.md"] = at_repo(files["README.md"].decode(), layouts, repo, branch).encode()
    return files


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def rows_of(out: Path, kind: str) -> list[dict[str, Any]]:
    files = sorted((out / kind).glob("*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]
