"""Mixtures by the real command: shares as asked against shares as got, whatever runs them."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import ROOT, SAMPLE, premask
from premask.output.dataset import open_dataset
from premask.output.spreading import numbered, together
from premask.review.verify import verify

RECIPES: dict[str, dict[str, Any]] = {
    "rows": {"sources": ["big.jsonl", {"path": "small.jsonl", "share": 0.2}], "mix_by": "rows"},
    "tokens": {
        "sources": [{"path": "big.jsonl", "share": 0.6}, {"path": "small.jsonl", "share": 0.4}],
        "budget": "20k",
        "shuffle": True,
        "splits": {"validation": 0.1},
    },
    "trained_tokens": {
        "sources": ["big.jsonl", {"path": "small.jsonl", "share": 0.5}],
        "mix_by": "trained_tokens",
        "duplicates": "drop",
    },
    "temperature": {"sources": ["big.jsonl", "small.jsonl"], "temperature": 3},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, dice = tmp_path_factory.mktemp("mixtures"), random.Random(0)  # noqa: S311  rows
    for name, rows, words in (("big", 400, 30), ("small", 60, 80)):
        lines = [
            {
                "messages": [
                    {"role": "user", "content": f"{name} {row} " + "why " * dice.randint(1, words)},
                    {"role": "assistant", "content": "so " * dice.randint(1, words)},
                ]
            }
            for row in range(rows)
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def in_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def run(folder: Path, name: str, *options: str, **change: Any) -> dict[str, Any]:
    base = {"tokenizer": str(SAMPLE / "tokenizer"), "unit_rows": 90, "output": f"out/{name}"}
    keys = {**base, **RECIPES[name], **change}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(keys), encoding="utf-8")
    done = premask("run", "recipe.yaml", "--overwrite", *options)
    assert done.code == 0, done.err
    manifest: dict[str, Any] = json.loads((folder / keys["output"] / "manifest.json").read_text("utf-8"))
    return manifest


@pytest.mark.parametrize("name", RECIPES)
def test_shares_are_got_as_asked(folder: Path, name: str) -> None:
    manifest = run(folder, name)
    mixture = manifest["mixture"]
    for each in mixture["sources"]:
        assert abs(each["got"] - each["asked"]) < 0.005, each
    assert (
        sum(each["tokens"] for each in mixture["sources"]) == manifest["counts"]["splits"]["train"]["tokens"]
    )
    if mixture["budget"]:
        assert 0 <= mixture["got"] - mixture["budget"] < 400
    asked = {"rows": 0.2, "tokens": 0.4, "trained_tokens": 0.5}.get(name)
    assert asked is None or mixture["sources"][1]["asked"] == asked
    assert verify(str(folder / "out" / name), full=True).findings == ()


@pytest.mark.parametrize("name", ["tokens", "trained_tokens"])
def test_workers_cache_and_ranks_change_no_byte(folder: Path, name: str) -> None:
    shards = run(folder, name)["shards"]
    assert run(folder, name, "--workers", "2", output="out/workers")["shards"] == shards
    assert run(folder, name, cache="cache", output="out/cached")["shards"] == shards
    assert run(folder, name, cache="cache", output="out/cached-again")["shards"] == shards
    (folder / "ranks.yaml").write_text(
        (folder / "recipe.yaml").read_text().replace("cached-again", name + "-ranks")
    )
    command = [sys.executable, "-m", "premask", "run", "ranks.yaml", "--world", "2", "--overwrite", "--rank"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "pipeline")}
    jobs = [subprocess.Popen([*command, rank], stdout=subprocess.DEVNULL, env=environment) for rank in "01"]
    assert [job.wait(120) for job in jobs] == [0, 0]
    assert premask("finish", f"out/{name}-ranks").code == 0
    finished = json.loads((folder / "out" / f"{name}-ranks" / "manifest.json").read_text("utf-8"))
    assert finished["shards"] == shards
    assert not [path.name for path in (folder / "out").iterdir() if path.name.endswith(".partial")]


def test_a_changed_mixture_in_the_manifest_is_found(folder: Path) -> None:
    run(folder, "rows")
    path = folder / "out" / "rows" / "manifest.json"
    manifest = json.loads(path.read_text("utf-8"))
    manifest["mixture"]["sources"][1]["tokens"] += 1
    path.write_text(json.dumps(manifest), encoding="utf-8")
    assert any("mixture: tokens of" in each.what for each in verify(str(path.parent)).findings)


def test_copies_of_a_row_share_no_pack(folder: Path) -> None:
    manifest = run(folder, "rows")
    assert manifest["counts"]["samples_beside_own_row"] == 0
    assert max(each["repeat"] for each in manifest["mixture"]["sources"]) > 1.5
    for batch in open_dataset(folder / "out" / "rows").lineage("train"):
        source = batch.column("source").dictionary_encode().indices.to_numpy()
        rows = numbered(source, batch.column("row").to_numpy())
        assert len(together(batch.column("pack").to_numpy(), rows)) == 0


def test_a_share_that_cannot_be_reached_is_one_line(folder: Path) -> None:
    keys = {"sources": ["big.jsonl", {"path": "small.jsonl", "share": 0.9}], "max_repeat": 2}
    keys |= {"tokenizer": str(SAMPLE / "tokenizer"), "output": "out/few"}
    (folder / "few.yaml").write_text(yaml.safe_dump(keys), encoding="utf-8")
    done = premask("run", "few.yaml", "--overwrite")
    assert done.code == 0
    [line] = [line for line in done.err.splitlines() if "small.jsonl has" in line]
    assert "not 90.0%" in line
    assert "used 2.00 times" in line


def test_a_forecast_says_what_a_run_will_give(folder: Path) -> None:
    got = run(folder, "tokens")["mixture"]
    done = premask("plan", "recipe.yaml", "--format", "json")
    found = json.loads(done.out)["mixture"]
    assert abs(found["got"] - got["got"]) < 500
    for said, each in zip(found["sources"], got["sources"], strict=True):
        assert abs(said["got"] - each["got"]) < 0.02
