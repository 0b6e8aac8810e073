"""Buckets of a shuffle: the order does not depend on how much of a bucket is sorted at a time."""

from __future__ import annotations

from pathlib import Path

import pytest
from outputs import bytes_of
from places import SAMPLE
from premask.core.recipe import Recipe
from premask.running import shuffle
from premask.running.run import run


@pytest.mark.parametrize("tokens", [1, 300, 5000])
def test_a_bucket_that_is_sorted_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tokens: int
) -> None:
    recipe = Recipe(
        sources=[{"path": str(SAMPLE / "conversations.jsonl"), "repeat": 1.5}],
        tokenizer=str(SAMPLE / "tokenizer"),
        output=str(tmp_path / "whole"),
        unit_rows=120,
        shuffle=True,
        splits={"validation": 0.2},
        verify=0,
    )
    run(recipe)
    monkeypatch.setattr(shuffle, "TOKENS_AT_ONCE", tokens)
    sizes = list[int]()
    honest = shuffle.take_samples
    monkeypatch.setattr(
        shuffle,
        "take_samples",
        lambda samples, order: sizes.append(len(samples.ids)) or honest(samples, order),
    )
    run(recipe.model_copy(update={"output": str(tmp_path / "parts")}))

    assert bytes_of(tmp_path / "parts") == bytes_of(tmp_path / "whole")
    assert len(sizes) > 20
