"""`keep`: which rows are used, by what is known of them after the mask."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from commands import SAMPLE, premask, write_rows
from outputs import bytes_of
from premask.core.contract import listed
from premask.core.errors import RecipeError
from premask.core.recipe import Recipe
from premask.output.dataset import open_dataset
from premask.review.rejects import read_reject_log
from premask.review.stats import measure
from premask.review.verify import verify
from premask.running.forecast import forecast
from premask.running.keeping import check_keep, checked_keep
from premask.running.measures import TRAITS, RowTraits, measured
from premask.running.ranks import Share, finish_slices, run_slice
from premask.running.run import RunResult, run

CHATS = SAMPLE / "conversations.jsonl"
KEEP = "trained_share > 0.3 and user_tokens < 40"
Row = dict[str, Any]


def recipe_of(out: Path, *sources: Any, **keys: Any) -> Recipe:
    named = [each if isinstance(each, dict) else str(each) for each in sources or (CHATS,)]
    values = {"sources": named, "tokenizer": str(SAMPLE / "tokenizer"), "output": str(out)}
    return Recipe.model_validate(values | {"max_length": 512} | keys)


def run_on(out: Path, *sources: Any, workers: int = 1, **keys: Any) -> RunResult:
    return run(recipe_of(out, *sources, **keys), workers=workers)


def chat(*texts: str, **more: Any) -> Row:
    turns = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]
    return {"messages": turns, **more}


def log_of(out: Path) -> list[Row]:
    return [line for path in sorted(out.glob("rejects/*")) for line in pq.read_table(path).to_pylist()]


def kept_rows(out: Path) -> list[int]:
    found = [pq.read_table(path).column("row").to_pylist() for path in sorted(out.glob("lineage/*"))]
    return sorted({row for rows in found for row in rows})


# ==== What is refused in the recipe ====


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        ("tokns > 3", r"keep: tokns > 3: there is no column tokns; did you mean tokens\? columns: samples, "),
        ("zzz", "keep: zzz: there is no column zzz; columns: samples, tokens, trained_tokens, trained_share"),
        ("tokens.n > 3", "there is no column tokens.n; did you mean tokens"),
        ("tokens > 'a'", "keep: tokens > 'a': cannot compare string with numeric type"),
        ("lower(tokens) = 'a'", "keep: .*: invalid series dtype"),
        ("tokens", "keep: tokens: it gives Int64, not true or false"),
        ("tokens >", "keep: tokens >: it cannot be read as SQL near '>'"),
        ("sum(tokens) > 2", "keep: .*: sum looks at more than one row"),
        ("1 = 1", "keep: 1 = 1: it names no column"),
    ],
)
def test_what_does_not_fit_the_columns_ends_the_run_before_any_row(
    tmp_path: Path, keep: str, message: str
) -> None:
    missing = tmp_path / "nowhere.jsonl"
    with pytest.raises(RecipeError, match=message):
        run_on(tmp_path / "out", missing, keep=keep)
    with pytest.raises(RecipeError, match=message):
        check_keep(recipe_of(tmp_path / "out", {"path": str(missing), "keep": keep}))


def test_the_command_ends_with_one_line(tmp_path: Path) -> None:
    done = premask(
        *("run", CHATS, "--tokenizer", SAMPLE / "tokenizer", "--output", tmp_path / "out"),
        *("--keep", "trained_shares > 0.1"),
    )
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("premask: keep: trained_shares > 0.1: there is no column trained_shares; did")
    assert done.err.count("\n") == 1


# ==== What is left out ====


def test_rows_are_left_out_listed_and_counted(tmp_path: Path) -> None:
    rows = [
        chat("Hi", "A longer answer with quite some words in it."),
        chat("Hi", "No."),
        chat("Hi", ""),
        chat("Hi", "Another answer that has quite some words."),
    ]
    source = write_rows(tmp_path / "a.jsonl", rows)
    out = tmp_path / "out"
    result = run_on(out, source, keep="trained_tokens >= 5 and not has_tools")
    (_, line) = sorted(log_of(out), key=lambda line: line["reason"] == "not_kept")
    assert (line["row"], line["reason"], line["original"]) == (1, "not_kept", None)
    assert line["detail"] == (
        "trained_tokens >= 5 and not has_tools is not true: trained_tokens is 3, has_tools is false"
    )
    counts, (about,) = result.manifest["counts"], result.manifest["inputs"]
    assert (counts["rows"], counts["kept"], counts["rejected"], counts["left_out"]) == (4, 2, 1, {"keep": 1})
    assert counts["rejected_by_reason"] == {"empty_assistant": 1}
    assert (about["kept"], about["left_out"]) == (2, {"keep": 1})
    assert kept_rows(out) == [0, 3]

    log = read_reject_log(out)
    assert (log.rejected, log.skipped, log.left_out) == (1, 0, 1)
    assert log.as_dict()["by_reason"]["not_kept"]["rows"] == 1
    assert read_reject_log(out, reason="not_kept").left_out == 1
    figures = measure(out)
    assert (figures["rejected"], figures["dropped"], figures["left_out"]) == (1, 0, 1)
    assert "2 kept + 1 rejected + 1 left out" in premask("stats", out).out
    assert "1 rows rejected, 1 left out by the recipe" in premask("rejects", out).out
    assert premask("report", out, "--to", tmp_path / "page.html").code == 0
    assert "Left out by the recipe: 1 row" in (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "rows left out by `keep`" in (out / "README.md").read_text(encoding="utf-8")


def test_a_source_has_its_own_condition_instead_of_the_recipes(tmp_path: Path) -> None:
    short, other = [
        write_rows(tmp_path / f"{name}.jsonl", [chat("Hi", "No.", id=name), chat("Hi", "Yes " * 30)])
        for name in "ab"
    ]
    result = run_on(
        tmp_path / "out", short, {"path": str(other), "keep": "tokens < 40"}, keep="trained_tokens > 5"
    )
    assert [each["left_out"] for each in result.manifest["inputs"]] == [{"keep": 1}, {"keep": 1}]
    assert {(Path(line["source"]).name, line["row"]) for line in log_of(tmp_path / "out")} == {
        ("a.jsonl", 0),
        ("b.jsonl", 1),
    }


def test_duplicates_come_before_and_repeats_behind(tmp_path: Path) -> None:
    rows = [chat("Hi", "No."), chat("Hi", "No."), chat("Hi", "Yes " * 30), chat("Ho", "Yes " * 30)]
    source = write_rows(tmp_path / "a.jsonl", rows)
    out = tmp_path / "out"
    result = run_on(out, {"path": str(source), "repeat": 2}, keep="tokens > 40", duplicates="drop")
    counts = result.manifest["counts"]
    assert [(line["row"], line["reason"]) for line in log_of(out)] == [(0, "not_kept"), (1, "duplicate")]
    assert (counts["kept"], counts["dropped"], counts["left_out"]) == (2, 1, {"keep": 1})
    assert counts["samples"] == 4
    assert verify(str(out), full=True).findings == ()


def test_a_run_that_keeps_nothing_says_why(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", [chat("Hi", "No.")])
    done = premask(
        *("run", source, "--tokenizer", SAMPLE / "tokenizer", "--output", tmp_path / "out"),
        *("--keep", "tokens > 9k"),
    )
    assert done.code == 2
    done = premask(
        *("run", source, "--tokenizer", SAMPLE / "tokenizer", "--output", tmp_path / "out"),
        *("--keep", "tokens > 9000"),
    )
    assert (done.code, done.err.splitlines()[-1]) == (
        2,
        "premask: every row was left out (1 left out by keep); nothing was written",
    )


def test_a_forecast_counts_what_is_left_out(tmp_path: Path) -> None:
    found = forecast(recipe_of(tmp_path / "out", keep=KEEP))
    result = run_on(tmp_path / "out", keep=KEEP)
    counts = result.manifest["counts"]
    assert found.sample.left_out == {"keep": counts["left_out"]["keep"]}
    assert found.tokens == counts["tokens"]
    assert found.as_dict()["sample"]["left_out"] == counts["left_out"]


# ==== The same for every run ====


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("plain") / "out"
    run_on(out, keep=KEEP, unit_rows=60, verify=1)
    return out


def test_workers_ranks_and_the_cache_give_the_same_bytes(plain: Path, tmp_path: Path) -> None:
    expected = bytes_of(plain)
    run_on(tmp_path / "two", keep=KEEP, unit_rows=60, workers=2)
    assert bytes_of(tmp_path / "two") == expected | {
        name: data for name, data in bytes_of(tmp_path / "two").items() if name in _ABOUT_THE_RUN
    }
    recipe = recipe_of(tmp_path / "ranks", keep=KEEP, unit_rows=60)
    for rank in (1, 0):
        run_slice(recipe, Share(rank, 2))
    finish_slices(tmp_path / "ranks")
    assert _shards(tmp_path / "ranks") == _shards(plain)


_ABOUT_THE_RUN = {"manifest.json", "README.md"}  # they say how many rows were verified


def _shards(out: Path) -> dict[str, bytes]:
    return {name: data for name, data in bytes_of(out).items() if name not in _ABOUT_THE_RUN}


def test_another_condition_tokenizes_nothing_again(plain: Path, tmp_path: Path) -> None:
    keys = {"cache": str(tmp_path / "cache"), "unit_rows": 60}
    run_on(tmp_path / "all", **keys)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.arrow")}
    run_on(tmp_path / "out", keep=KEEP, **keys)
    run_on(tmp_path / "own", {"path": str(CHATS), "keep": KEEP}, **keys)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.arrow")} == before
    assert len(before) == 5
    assert _shards(tmp_path / "out") == _shards(tmp_path / "own") == _shards(plain)


def test_rows_that_are_done_again_on_the_slow_path_are_left_out_again(plain: Path, tmp_path: Path) -> None:
    report = verify(str(plain), full=True)
    assert (report.findings, report.checked["rows_redone"]) == ((), 300)
    inputs = open_dataset(plain).manifest.inputs
    assert listed(inputs[0].left_out)["not_kept"] > 50

    other = tmp_path / "out"  # an output whose recipe asks something else than its run
    run_on(other, keep="user_tokens < 60", unit_rows=60)
    manifest = json.loads((other / "manifest.json").read_text(encoding="utf-8"))
    manifest["recipe"]["keep"] = "user_tokens < 40"
    (other / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    found = verify(str(other), full=True).findings
    assert any("is rejected (not_kept) when it is processed again" in str(each) for each in found)


def test_counts_that_do_not_fit_the_log_are_found(plain: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_on(out, keep=KEEP)
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    for each in (manifest["counts"], manifest["inputs"][0]):
        each["left_out"]["keep"] += 1
        each["rows"] += 1
    (out / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    found = [str(each) for each in verify(str(out)).findings]
    assert any("left_out of" in each and '"not_kept": ' in each for each in found)


# ==== Single conditions ====


def test_a_value_for_which_it_cannot_be_told_ends_the_run_with_one_line(tmp_path: Path) -> None:
    checked_keep("cast(tokens as tinyint) > 0")  # right for small numbers
    with pytest.raises(RecipeError, match=r"^keep: cast\(tokens as tinyint\) > 0: conversion from `i64`"):
        run_on(tmp_path / "out", keep="cast(tokens as tinyint) > 0")


def test_null_is_not_true() -> None:
    none = np.zeros(0, dtype=np.int64)
    table = measured(
        none, np.zeros(1, dtype=np.int64), none, {}, RowTraits(np.zeros((2, len(TRAITS)), np.int32))
    )
    for text in ("nullif(tokens, 0) > 0", "nullif(tokens, 0) <= 0"):
        assert checked_keep(text).of(table).tolist() == [False, False]
