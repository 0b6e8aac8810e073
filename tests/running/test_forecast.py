"""What `premask plan` says of a run, against the run."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import SAMPLE, TOKENIZER, chat, premask, write_rows
from premask.core.recipe import Recipe
from premask.review.verify import verify
from premask.running import forecast as module
from premask.running.forecast import Forecast, forecast, makespan
from premask.running.run import run

CHATS = SAMPLE / "conversations.jsonl"
LINES = CHATS.read_text(encoding="utf-8").split("\n")[:-1]


def recipe_of(out: Path, *sources: str | Path, **keys: Any) -> Recipe:
    values: dict[str, Any] = {"sources": list(map(str, sources)), "tokenizer": TOKENIZER, "output": str(out)}
    return Recipe.model_validate(values | {"max_length": 1024} | keys)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """6,000 rows, three quarters of the file longer than the rest."""
    path = tmp_path_factory.mktemp("many") / "chats.jsonl"
    path.write_text("\n".join(LINES * 20) + "\n", encoding="utf-8")
    return path


def near(found: float, true: float, within: float) -> bool:
    return abs(found - true) <= within * true


def test_units_are_those_of_the_run_and_the_rest_is_near(many: Path, tmp_path: Path) -> None:
    recipe = recipe_of(
        tmp_path / "out", many, unit_rows=2500, splits={"validation": 0.1}, layout=["packed", "unpacked"]
    )
    found = forecast(recipe, cores=2)
    manifest = run(recipe).manifest
    counts, size = manifest["counts"], sum(shard["bytes"] for shard in manifest["shards"])

    assert [unit.rows for unit in found.units] == [2500, 2500, 1000]
    assert sum(unit.bytes for unit in found.units) == many.stat().st_size
    assert (found.rows, found.rows_counted) == (counts["rows"], True)
    assert near(found.tokens, counts["tokens"], 0.05)
    assert near(found.packs, counts["packs"], 0.1)
    assert near(found.output_bytes, size, 0.6)
    assert abs(found.files - len(manifest["shards"]) - 10) <= 2
    assert list(found.seconds) == [1, 2]
    assert found.seconds[1] > found.seconds[2] > 0
    assert found.worker_bytes > 100_000_000
    assert found.warnings == []
    assert not list(tmp_path.glob(".*"))


def test_the_same_sample_each_time(many: Path, tmp_path: Path) -> None:
    one, two = (forecast(recipe_of(tmp_path / "out", many)) for _ in range(2))
    other = forecast(recipe_of(tmp_path / "out", many, seed=1))

    assert (one.tokens, one.packs, one.sample.rejected) == (two.tokens, two.packs, two.sample.rejected)
    assert one.sample.tokens != other.sample.tokens


@pytest.mark.parametrize("form", ["parquet", "jsonl.gz", "json", "csv"])
def test_other_forms_of_input(tmp_path: Path, form: str) -> None:
    rows = [
        chat(f"question {i} " + "x " * (i % 40), f"answer {i} " + "and so on " * (i % 30))
        for i in range(3000)
    ]
    path = tmp_path / f"a.{form}"
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=700)
    elif form == "json":
        path.write_text(json.dumps(rows))
    elif form == "csv":
        cells = (json.dumps(row["messages"]).replace('"', '""') for row in rows)
        path.write_text("messages\n" + "".join(f'"{cell}"\n' for cell in cells))
    else:
        path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    recipe = recipe_of(tmp_path / "out", path)
    found = forecast(recipe)
    counts = run(recipe).manifest["counts"]

    assert found.rows_counted == (form in {"parquet", "json"})
    assert near(found.rows, counts["rows"], 0.25)
    assert near(found.tokens, counts["tokens"], 0.25)


def test_makespan_waits_for_the_last() -> None:
    start = makespan([], 1)

    assert makespan([1.0] * 10, 1) == start + 10
    assert makespan([1.0] * 10, 3) == start + 4
    assert makespan([9.0, 1.0, 1.0], 3) == start + 9


def test_files_that_cannot_be_cut_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(CHATS.read_bytes()))
    with mock.patch.object(module, "UNIT_BYTES", 1000):
        found = forecast(recipe_of(tmp_path / "out", path))

    assert len(found.warnings) == 1
    assert found.warnings[0].startswith(f"{path} cannot be cut (compressed, or neither JSONL nor Parquet)")


def test_rows_that_cannot_be_used_and_a_full_disk(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", [{"messages": []}] * 50)
    with mock.patch.object(module, "_free", return_value=0):
        found = forecast(recipe_of(tmp_path / "out", path, dialect="openai", duplicates="drop"))

    assert found.tokens == found.packs == 0
    assert "no row of the sample can be used" in found.warnings[0]
    assert "no_messages" in found.warnings[0]
    assert any("duplicates are not searched for" in text for text in found.warnings)
    assert any(text.startswith("the disk has 0.0 MB free") for text in found.warnings)


@pytest.mark.parametrize(
    ("folder", "files", "size", "said"),
    [
        (1, 12, 10**9, []),
        (50, 160, 20 * 10**9, ["recommended for a commit"]),
        (400, 1200, 8 * 10**9, ["recommended for a commit", "500 MB are usual"]),
        (20_000, 61_000, 10**13, ["accepts 10,000", "recommended for a commit", "more than 1 TB"]),
        (
            40_000,
            130_000,
            9 * 10**11,
            ["accepts 10,000", "fewer than 100,000", "for a commit", "500 MB", "private"],
        ),
        (2, 12, 5 * 10**11, ["less than 200.0 GB", "a private repo of a free account holds 100.0 GB"]),
    ],
)
def test_what_the_hub_limits_mean(folder: int, files: int, size: int, said: list[str]) -> None:
    found = list(module._hub(folder, files, size, folder))

    assert len(found) == len(said)
    for text, part in zip(found, said, strict=True):
        assert part in text


def test_the_command(many: Path, tmp_path: Path) -> None:
    words = ["plan", many, "--tokenizer", TOKENIZER, "--output", tmp_path / "out", "--unit-rows", 400]
    shown, as_json = premask(*words), premask(*words, "--format", "json")
    data = json.loads(as_json.out)

    assert (shown.code, as_json.code) == (0, 0), shown.err
    for part in ("15", "and 5 more", "drawn by the seed", "tokens a second and core", "workers: ", "Hub"):
        assert part in shown.out
    assert [unit["rows"] for unit in data["units"]] == [400] * 15
    assert set(Forecast.__dataclass_fields__) == set(data)
    assert data["tokens"] > 1_000_000
    assert not (tmp_path / "out").exists()


def test_a_cache_and_a_shuffle_are_left_alone(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path / "out", CHATS, cache=str(tmp_path / "cache"), shuffle=True)
    plain = forecast(recipe_of(tmp_path / "out", CHATS))

    assert forecast(recipe).tokens == plain.tokens
    assert list(tmp_path.iterdir()) == []


def test_few_rows_are_all_in_the_sample_once(tmp_path: Path) -> None:
    one = write_rows(tmp_path / "one.jsonl", [chat("Hi", "Hello")])
    found, counts = (
        forecast(recipe_of(tmp_path / "out", one)),
        run(recipe_of(tmp_path / "out", one)).manifest["counts"],
    )
    shown = premask("plan", one, "--tokenizer", TOKENIZER, "--output", tmp_path / "out").out

    assert (found.sample.rows, found.tokens, found.is_exact) == (1, counts["tokens"], True)
    assert "from all rows: 1 of them kept" in shown
    all_ = forecast(recipe_of(tmp_path / "all", CHATS))
    assert (all_.sample.rows, all_.tokens) == (
        300,
        run(recipe_of(tmp_path / "all", CHATS)).manifest["counts"]["tokens"],
    )


REWRITES = """\
{% for m in messages %}<|im_start|>{{ m.role }}
{% if loop.last and m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
"""A template that shows the reasoning of the last turn only."""


def test_without_an_output_free_space_is_not_looked_at(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", [chat("Hi", "Hello")])
    shown = premask("plan", source, "--tokenizer", TOKENIZER)
    found = json.loads(premask("plan", source, "--tokenizer", TOKENIZER, "--format", "json").out)

    assert (shown.code, shown.err) == (0, "")
    assert "while it runs; no output is named, so free space is not checked" in shown.out
    assert (found["rows"], found["free_bytes"]) == (1, None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl"]


def test_the_price_of_history_is_said_with_figures(tmp_path: Path) -> None:
    """Plan and run name tokens of one sample a row, those that are written, and what avoids them."""
    template = tmp_path / "rewrites.jinja"
    template.write_text(REWRITES, encoding="utf-8")
    turns = [
        {"role": "user", "content": "Hi " * 9},
        {"role": "assistant", "content": "Ho", "reasoning_content": "Hm"},
    ]
    rows = write_rows(tmp_path / "a.jsonl", [{"messages": turns * 20}, {"messages": turns}] * 5)
    keys: dict[str, Any] = {"chat_template": str(template), "max_length": 4096}
    recipe = recipe_of(tmp_path / "out", rows, **keys)
    found, result = forecast(recipe), run(recipe)
    counts = result.manifest["counts"]
    once = run(recipe_of(tmp_path / "once", rows, history="last", **keys))
    text = (
        f"tokens of one sample a row: {found.tokens_one_sample_a_row:,}, written: {found.tokens:,} "
        f"({found.tokens / found.tokens_one_sample_a_row:.1f} times)"
    )

    assert counts["tokens"] - counts["history_tokens"] == once.manifest["counts"]["tokens"]
    assert (found.tokens, found.tokens_one_sample_a_row) == (
        counts["tokens"],
        once.manifest["counts"]["tokens"],
    )
    assert found.tokens > 8 * found.tokens_one_sample_a_row
    for warnings in (found.warnings, result.warnings):
        (warning,) = [each for each in warnings if "one sample a row" in each]
        assert warning.startswith(text)
        assert "history: last" in warning
        assert "history: as-rendered" in warning
    assert not [each for each in once.warnings if "one sample a row" in each]
    assert verify(str(tmp_path / "out"), full=True).findings == ()
