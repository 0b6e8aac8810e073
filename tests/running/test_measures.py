"""What is known of rows after the mask: by shape, by conversation, by tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import SAMPLE, write_rows
from premask.core.contract import IGNORE_INDEX
from premask.core.recipe import Recipe
from premask.core.records import WRITERS
from premask.core.shapes import shape_of
from premask.dialects import normalize
from premask.dialects.shaped import ShapedRows
from premask.fast.plain_batches import read_batches
from premask.labeller import Labeller
from premask.running.batches import BatchLabeller
from premask.running.inputs import look_at
from premask.running.measures import COLUMNS, TRAITS, RowTraits, measured, shaped_traits

CALL = {"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


def turns(*roles: str) -> list[dict[str, Any]]:
    return [{"role": role, "content": f"text {i}"} for i, role in enumerate(roles)]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"messages": turns("user", "assistant")}, [2, 1, 6, 0, 0, 0]),
        ({"messages": turns("system", "user", "assistant", "user", "assistant")}, [5, 2, 6, 0, 0, 0]),
        ({"messages": turns("user", "assistant"), "tools": [TOOL]}, [2, 1, 6, 1, 0, 0]),
        (
            {"messages": [*turns("user"), {"role": "assistant", "content": "a", "tool_calls": [CALL]}]},
            [2, 1, 6, 0, 1, 0],
        ),
        (
            {"messages": [*turns("user"), {"role": "assistant", "content": "a", "reasoning_content": "Hm"}]},
            [2, 1, 6, 0, 0, 1],
        ),
    ],
)
def test_a_shape_and_its_conversation_have_the_same_traits(row: dict[str, Any], expected: list[int]) -> None:
    conversation = normalize(row, "openai")
    shaped, found = ShapedRows(), shape_of(conversation)
    assert found is not None
    shaped.add(1, (*found, None))
    by_shape, by_row = shaped_traits(shaped, 2), shaped_traits(ShapedRows(), 2)
    by_row.add(1, [conversation])
    assert by_shape.values.tolist() == by_row.values.tolist() == [[0] * len(TRAITS), expected]


def test_rows_with_several_samples_have_their_sums() -> None:
    labels = np.array([IGNORE_INDEX, 5, IGNORE_INDEX, 6, 7, IGNORE_INDEX, 8], dtype=np.int32)
    offsets, of_row = np.array([0, 2, 5, 7]), np.array([0, 0, 2])
    tally = {"tokens_user": np.array([1, 1, 0], dtype=np.int32)}
    traits = RowTraits(np.array([[2, 1, 7, 1, 0, 0], [9, 9, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]], dtype=np.int32))
    table = measured(labels, offsets, of_row, tally, traits)
    assert dict(zip(table.schema.names, table.schema.types, strict=True)) == dict(COLUMNS)
    first, second, third = table.to_pylist()
    assert {name: first[name] for name in ("samples", "tokens", "trained_tokens", "trained_share")} == {
        "samples": 2,
        "tokens": 5,
        "trained_tokens": 3,
        "trained_share": 0.6,
    }
    assert (first["longest_sample"], first["user_tokens"], first["has_tools"]) == (3, 2, True)
    assert (second["samples"], second["tokens"], second["trained_share"], second["messages"]) == (0, 0, 0, 9)
    assert (third["tokens"], third["trained_tokens"], third["user_tokens"]) == (2, 1, 0)


def test_both_paths_measure_the_same_and_tokens_by_writer_are_all(tmp_path: Path) -> None:
    rows = [{"messages": turns("system", *["user", "assistant"] * (1 + i % 3))} for i in range(40)] + [
        {"messages": [*turns("user"), {"role": "assistant", "content": "a " * 300}]},
        {"messages": []},
    ]
    source = write_rows(tmp_path / "a.jsonl", rows)
    recipe = Recipe.model_validate(
        {
            "sources": [str(source)],
            "tokenizer": str(SAMPLE / "tokenizer"),
            "output": str(tmp_path / "out"),
            "max_length": 100,
            "too_long": "truncate",
            "keep": "tokens > 1",
        }
    )
    work, labeller = look_at(recipe), Labeller(recipe)
    piece = work.units[0].slices[0]
    (batch,) = read_batches(piece, work.dialects[piece.source])
    tables = []
    for fast in (True, False):
        done = BatchLabeller(labeller, fast=fast).run(batch, work.dialects[piece.source])
        assert done.traits is not None
        tables.append(
            measured(done.samples.labels, done.samples.offsets, done.of_row, done.tally, done.traits)
        )
    assert tables[0].equals(tables[1])
    for row in tables[0].to_pylist():
        assert row["tokens"] == sum(row[f"{writer}_tokens"] for writer in WRITERS)
    assert tables[0].column("longest_sample")[40].as_py() == 100


def test_a_document_has_no_messages() -> None:
    conversation = normalize({"text": "Some text of a document."}, "document")
    traits = shaped_traits(ShapedRows(), 1)
    traits.add(0, [conversation])
    assert traits.values.tolist() == [[0] * len(TRAITS)]
