"""Outputs packed again: the same bytes as a run from scratch, and one clear line where that cannot be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow.parquet as pq
import pytest
from commands import TOKENIZER, chat, premask, write_rows
from premask.core.errors import OutputError, RecipeError, RunError
from premask.core.recipe import REPACK_KEYS, Recipe
from premask.output.dataset import open_dataset
from premask.review.verify import verify
from premask.running import repack as module
from premask.running.batches import BatchLabeller
from premask.running.repack import repack
from premask.running.run import run

KINDS = ("packed", "unpacked", "rejects", "lineage", "tokenizer")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files, with rows that are rejected, weighted and equal."""
    folder = tmp_path_factory.mktemp("data")
    rows: list[Any] = [chat(f"Question {i}", f"Answer {i} " + "more " * (i * 7 % 20 * 4)) for i in range(120)]
    rows[5] = {"messages": []}
    rows[9] = {**rows[9], "weight": 0.5}
    rows[20] = rows[19]
    write_rows(folder / "b.jsonl", rows[:70])
    write_rows(folder / "a.jsonl", rows[70:])
    return folder


def written(data: Path, out: Path, **keys: Any) -> Path:
    """Run a recipe."""
    sources: Any = [{"path": str(data / "b.jsonl"), "repeat": 1.5}, str(data / "a.jsonl")]
    values = {"sources": sources, "tokenizer": TOKENIZER, "output": str(out), "max_length": 256}
    run(Recipe.model_validate({**values, "unit_rows": 30, **keys}))
    return out


def bytes_of(out: Path) -> dict[str, bytes]:
    files = (path for kind in KINDS for path in sorted((out / kind).rglob("*")) if path.is_file())
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


def manifest_of(out: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((out / "manifest.json").read_text())
    return data


PLAIN = {"sources": None, "repeat": 1}
CASES = {
    "a longer row": ({}, {"max_length": 1024}),
    "a shorter row": ({"max_length": 1024}, {"max_length": 256, "layout": ["packed", "unpacked"]}),
    "packed from unpacked": ({"layout": ["unpacked"]}, {"layout": ["packed"]}),
    "unpacked from packed": ({"splits": {"test": 0.2}}, {"layout": ["unpacked"]}),
    "padding and masks": (
        {"layout": ["packed", "unpacked"], "loss_weights": True},
        {"pad_rows": "to_length", "extra_columns": ["completion_mask"], "layout": ["unpacked", "packed"]},
    ),
    "multiples": ({"loss_weights": "per_sample"}, {"pad_to_multiple": 16, "max_length": 512}),
    "no multiples": ({"pad_to_multiple": 8, "pad_rows": "to_length"}, {"pad_to_multiple": None}),
    "other windows": ({"duplicates": "drop"}, {"pack_window": 1000}),
    "shuffled": ({"splits": {"test": 0.2}, "seed": 3}, {"shuffle": True, "pack_window": 2000}),
}


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("case", CASES)
def test_the_bytes_are_those_of_a_run(tmp_path: Path, data: Path, case: str, workers: int) -> None:
    before, changes = CASES[case]
    source = written(data, tmp_path / "source", **before)
    fresh = written(data, tmp_path / "fresh", **{**before, **changes})
    with mock.patch.object(BatchLabeller, "parts", mock.Mock(side_effect=RunError("a row was labelled"))):
        result = repack(source, {**changes, "output": str(tmp_path / "out")}, workers=workers)

    assert bytes_of(tmp_path / "out") == bytes_of(fresh)
    assert result.fresh
    own = manifest_of(tmp_path / "out")
    assert own.pop("repacked_from")["run_key"] == manifest_of(source)["run_key"]
    assert own == manifest_of(fresh)


def test_the_result_is_verified_row_by_row(tmp_path: Path, data: Path) -> None:
    source = written(data, tmp_path / "source")
    repack(source, {"max_length": 512, "pad_to_multiple": 8, "output": str(tmp_path / "out")})
    report = verify(str(tmp_path / "out"), full=True)

    assert report.findings == ()
    assert report.checked["rows_redone"] == 120


def test_shuffled_outputs_stay_shuffled(tmp_path: Path, data: Path) -> None:
    keys = {"sources": [str(data / "*.jsonl")], "shuffle": True, "splits": {"test": 0.2}}
    source = written(data, tmp_path / "source", **keys)
    fresh = written(
        data, tmp_path / "fresh", **{**keys, "max_length": 1024, "layout": ["packed", "unpacked"]}
    )
    changes = {"max_length": 1024, "layout": ["packed", "unpacked"], "output": str(tmp_path / "out")}
    repack(source, changes)

    assert bytes_of(tmp_path / "out") == bytes_of(fresh)
    with pytest.raises(RecipeError, match="are shuffled; to have them in order, use premask run"):
        repack(source, {"shuffle": False, "output": str(tmp_path / "other")})
    copies = written(data, tmp_path / "copies", shuffle=True)
    with pytest.raises(RecipeError, match="has copies of samples"):
        repack(copies, {"max_length": 1024, "output": str(tmp_path / "other")})


def test_repacked_outputs_can_be_repacked(tmp_path: Path, data: Path) -> None:
    source = written(data, tmp_path / "source")
    repack(source, {"max_length": 1024, "pad_rows": "to_length", "output": str(tmp_path / "long")})
    repack(tmp_path / "long", {"max_length": 256, "pad_rows": "none", "output": str(tmp_path / "back")})

    assert bytes_of(tmp_path / "back") == bytes_of(source)


def test_rejected_rows_stay_with_the_new_length(tmp_path: Path, data: Path) -> None:
    """They are too long for a shorter row as well, and the log says for which."""
    lines = pq.read_table(written(data, tmp_path / "all") / "lineage")
    lengths = {*lines.column("length").to_pylist()}
    longest = next(each for each in sorted(lengths) if each > 50 and each + 1 not in lengths)
    source = written(data, tmp_path / "source", max_length=longest + 1)
    assert manifest_of(source)["counts"]["rejected_by_reason"]["too_long"] > 0
    fresh = written(data, tmp_path / "fresh", max_length=longest)
    repack(source, {"max_length": longest, "output": str(tmp_path / "out")})

    assert bytes_of(tmp_path / "out") == bytes_of(fresh)


# ==== What cannot be ====


@pytest.mark.parametrize(
    ("before", "changes", "what"),
    [
        ({}, {"max_length": 40}, r"\d+ samples have more than max_length 40 tokens, the longest \d+; choose"),
        ({"max_length": 70}, {"max_length": 256}, r"\d+ rows were rejected because .* than max_length 70"),
        ({"max_length": 70, "too_long": "truncate"}, {"max_length": 256}, r"\d+ samples were cut to .* 70"),
        ({"max_length": 70, "too_long": "split"}, {"max_length": 69}, r"\d+ samples .* max_length 69"),
        ({}, {"splits": {"test": 0.1}}, "splits decides more than how samples are packed; use premask run"),
        ({}, {"max_length": 100, "pad_to_multiple": 8}, "no multiple of pad_to_multiple 8"),
    ],
)
def test_what_the_samples_do_not_allow(
    tmp_path: Path, data: Path, before: dict[str, Any], changes: dict[str, Any], what: str
) -> None:
    source = written(data, tmp_path / "source", **before)
    with pytest.raises(RecipeError, match=what):
        repack(source, {**changes, "output": str(tmp_path / "out")})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_outputs_that_cannot_be_read(tmp_path: Path, data: Path) -> None:
    source = written(data, tmp_path / "source")
    for name in ("source", "source/below", "."):
        with pytest.raises(RecipeError, match="is the one that is read, is in it, or holds it"):
            repack(source, {"output": str(tmp_path / name)})
    shard = next((source / "packed").iterdir())
    good = shard.read_bytes()
    shard.write_bytes(good[:-9] + b"x" + good[-8:])
    with pytest.raises(OutputError, match="see 'premask verify"):
        repack(source, {"output": str(tmp_path / "out")})
    shard.write_bytes(good)
    old = manifest_of(source)
    del old["units"]
    (source / "manifest.json").write_text(json.dumps(old))
    with pytest.raises(OutputError, match="does not say which unit wrote which shard"):
        repack(source, {"output": str(tmp_path / "out")})


def test_an_output_with_skipped_rows(tmp_path: Path, data: Path) -> None:
    source = written(data, tmp_path / "source")
    skipped = {**manifest_of(source), "set_aside": [{"unit": 0, "rows": 1, "error": "it ended"}]}
    (source / "manifest.json").write_text(json.dumps(skipped))
    with pytest.raises(OutputError, match="has skipped rows"):
        repack(source, {"output": str(tmp_path / "out")})


# ==== The output ====


def test_what_was_done_is_not_done_again(tmp_path: Path, data: Path) -> None:
    source = written(data, tmp_path / "source")
    keys = {"max_length": 512, "output": str(tmp_path / "out")}
    with mock.patch.object(module, "_finish", side_effect=RunError("stopped")), pytest.raises(RunError):
        repack(source, keys)
    assert not (tmp_path / "out").exists()
    with mock.patch.object(module, "shard_samples", side_effect=RunError("a unit was packed again")):
        assert repack(source, keys).fresh
        assert not repack(source, keys).fresh
    assert not (tmp_path / ".out.partial").exists()
    with pytest.raises(OutputError, match="holds the output of another run"):
        repack(source, {**keys, "max_length": 1024})
    assert repack(source, {**keys, "max_length": 1024}, overwrite=True).fresh
    assert open_dataset(tmp_path / "out").manifest.settings.max_length == 1024


def test_a_run_does_not_go_on_with_units_of_a_repack(tmp_path: Path, data: Path) -> None:
    source = written(data, tmp_path / "source")
    with mock.patch.object(module, "_finish", side_effect=RunError("stopped")), pytest.raises(RunError):
        repack(source, {"max_length": 512, "output": str(tmp_path / "out")})
    written(data, tmp_path / "out", max_length=512)
    fresh = written(data, tmp_path / "fresh", max_length=512)

    assert bytes_of(tmp_path / "out") == bytes_of(fresh)
    assert "repacked_from" not in manifest_of(tmp_path / "out")


def test_the_command(tmp_path: Path, data: Path) -> None:
    source = written(data, tmp_path / "source", pad_to_multiple=8)
    words = ["repack", source, "--output", tmp_path / "out", "--max-length", "1k", "--workers", 1]
    done = premask(*words, "--pad-to-multiple", "none", "--layout", "packed,unpacked")
    settings = open_dataset(tmp_path / "out").manifest.settings

    assert done.code == 0, done.err
    assert "of at most 1,000 tokens" in done.out
    assert (settings.max_length, settings.pad_to_multiple) == (1000, None)
    assert premask("repack", source).code == 2
    few = premask("repack", source, "--output", tmp_path / "few", "--max-length", 8)
    assert few.code == 2
    assert few.err.count("\n") == 1
    assert {"max_length", "layout", "shuffle"} < {*REPACK_KEYS}
