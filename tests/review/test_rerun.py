"""Rows that are processed again are read as in the run: by the entry of `sources` that names their file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import TOKENIZER, premask, write_rows

SHAREGPT = {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """An output of sources that differ in format, fields, dialect and columns, one of them named by a pattern."""
    write_rows(tmp_path / "a.jsonl", [SHAREGPT])
    (tmp_path / "b.csv").write_text("frage,antwort\nWas?,Das.\nWer?,Der.\n", encoding="utf-8")
    write_rows(tmp_path / "c1.jsonl", [{"q": "Why?", "a": ["So.", "Thus."]}])
    write_rows(tmp_path / "c2.jsonl", [{"a": "Here.", "q": "Where?"}])
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    messages = [{"role": "user", "content": "Go"}, {"role": "assistant", "content": "Gone"}]
    table = pa.Table.from_pylist([{"messages": messages, "note": json.dumps(tools)}])
    pq.write_table(table.rename_columns(["messages", "tools"]), tmp_path / "d.parquet")
    sources: list[Any] = [
        str(tmp_path / "a.jsonl"),
        {"path": str(tmp_path / "b.csv"), "fields": {"user": "frage", "assistant": "antwort"}},
        {"path": str(tmp_path / "c*.jsonl"), "fields": {"user": "q", "assistant": "a"}},
        {"path": str(tmp_path / "d.parquet"), "dialect": "openai", "columns": ["messages"]},
    ]
    recipe = {"sources": sources, "tokenizer": TOKENIZER, "output": str(tmp_path / "out")}
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe), encoding="utf-8")
    done = premask("run", tmp_path / "recipe.yaml")
    assert done.code == 0, done.err
    return tmp_path / "out"


@pytest.mark.parametrize("full", [[], ["--full"]])
def test_verify_reads_each_file_as_its_entry_says(mixed: Path, full: list[str]) -> None:
    done = premask("verify", mixed, "--format", "json", *full)
    report = json.loads(done.out)

    assert (done.code, report["findings"], report["notes"]) == (0, [], [])
    assert (report["checked"]["sources"], report["checked"]["rows_redone"]) == (5, 6)


def test_report_has_the_origins_of_all_samples(mixed: Path) -> None:
    done = premask("report", mixed)

    assert done.code == 0
    assert "note:" not in done.out


def test_a_path_that_is_not_there_is_not_looked_for_on_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    for target in ("nothing", "out/nothing", "./out/nothing", "no/such/folder", "out/nothing/"):
        done = premask("verify", target)
        assert (done.code, done.err.partition(";")[0]) == (
            2,
            f"premask: {target} does not exist",
        ), target
