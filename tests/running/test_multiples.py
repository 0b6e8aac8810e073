"""Runs with `pad_to_multiple`: where samples begin, what padding is, and what readers make of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from commands import SAMPLE, TOKENIZER
from premask.core.recipe import Recipe
from premask.output.dataset import open_dataset
from premask.output.read_samples import read_samples
from premask.publish.adapters import nemo_automodel
from premask.publish.export import export
from premask.review.verify import verify
from premask.running.run import run
from premask.tokens.tokenizer import load_tokenizer


def written(out: Path, **keys: object) -> Path:
    values = {"sources": [str(SAMPLE / "conversations.jsonl")], "tokenizer": TOKENIZER, "output": str(out)}
    run(Recipe.model_validate({**values, "max_length": 1024, "unit_rows": 100, **keys}))
    return out


def packs_of(out: Path) -> list[dict[str, list[int]]]:
    return [row for file in sorted(out.glob("packed/*.parquet")) for row in pq.read_table(file).to_pylist()]


def samples_of(out: Path) -> list[tuple[list[int], ...]]:
    """Ids and labels of all samples, sorted."""
    return sorted(
        tuple(values.tolist() for values in batch.tokens(i))
        for batch in read_samples(open_dataset(out))
        for i in range(len(batch.length))
    )


@pytest.mark.parametrize("multiple", [8, 16])
@pytest.mark.parametrize("keys", [{}, {"pad_rows": "to_length", "shuffle": True, "loss_weights": True}])
def test_every_sample_begins_and_ends_at_a_multiple(
    tmp_path: Path, multiple: int, keys: dict[str, object]
) -> None:
    out = written(tmp_path / "out", pad_to_multiple=multiple, **keys)
    packs, pad_id = packs_of(out), load_tokenizer(TOKENIZER).pad_id

    for pack in packs:
        begin = 0
        for own, room in zip(pack["seq_lengths"], pack["seq_lengths_padded"], strict=True):
            assert begin % multiple == 0
            assert room == -(-own // multiple) * multiple
            assert set(pack["input_ids"][begin + own : begin + room]) <= {pad_id}
            assert set(pack["labels"][begin + own : begin + room]) <= {-100}
            assert pack["position_ids"][begin : begin + room] == [*range(room)]
            begin += room
        assert begin == len(pack["input_ids"]) <= 1024
    assert any(own % multiple for pack in packs for own in pack["seq_lengths"])
    assert verify(str(out)).ok


def test_samples_are_those_without_padding(tmp_path: Path) -> None:
    plain = written(tmp_path / "plain", layout=["packed", "unpacked"])
    padded = written(tmp_path / "padded", layout=["packed", "unpacked"], pad_to_multiple=16)

    assert samples_of(padded) == samples_of(plain)
    for name in ("train-00000-of-00003.parquet", "train-00002-of-00003.parquet"):
        assert (padded / "unpacked" / name).read_bytes() == (plain / "unpacked" / name).read_bytes()


def test_counts_of_padding(tmp_path: Path) -> None:
    out = written(tmp_path / "out", pad_to_multiple=16)
    lineage = [pq.read_table(file) for file in sorted(out.glob("lineage/*.parquet"))]
    pad_tokens = sum(sum(table.column("pad_tokens").to_pylist()) for table in lineage)
    packs = packs_of(out)

    assert pad_tokens == sum(len(pack["input_ids"]) - sum(pack["seq_lengths"]) for pack in packs) > 0
    assert open_dataset(out).manifest.as_dict()["counts"]["pad_tokens"] == pad_tokens


def test_an_export_of_samples_has_no_padding(tmp_path: Path) -> None:
    plain = written(tmp_path / "plain")
    padded = written(tmp_path / "padded", pad_to_multiple=16)
    rows = []
    for out in (plain, padded):
        target = out.with_suffix(".jsonl")
        export(out, target, form="jsonl", layout="unpacked")
        rows.append(sorted(target.read_text().splitlines()))

    assert rows[0] == rows[1]


def test_nemo_gets_both_lengths(tmp_path: Path) -> None:
    pack = packs_of(written(tmp_path / "out", pad_to_multiple=16))[0]
    given = nemo_automodel(pack)

    assert np.asarray(given["seq_lens"]).tolist() == pack["seq_lengths"]
    assert np.asarray(given["seq_lens_padded"]).tolist() == pack["seq_lengths_padded"]
    assert np.asarray(given["position_ids"]).tolist() == pack["position_ids"]
