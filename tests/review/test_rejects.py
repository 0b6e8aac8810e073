"""The reject log shown and exported: counts, examples, safe terminals, and fixed rows that come back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from commands import TOKENIZER, Done, chat, premask, write_rows
from inputs import write, write_parquet
from outputs import rows_of

GOOD = chat("Hi", "Hello")
BAD: list[Any] = [
    '{"messages":  [{"role": "user", "content": "odd   spacing\\u0021"}]}',
    chat("empty", "", id="e"),
    chat("escape \x1b[31m", " "),
    "{broken",
    '"\\ud800 a string"',
]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    write_rows(tmp_path / "a.jsonl", [GOOD, *BAD])
    write(tmp_path / "b.json", json.dumps([GOOD, chat("no\nanswer"), "a\nstring"]))
    run(tmp_path, "a.jsonl", "b.json")
    return tmp_path / "out"


def run(folder: Path, *sources: str, out: str = "out") -> None:
    paths = [folder / source for source in sources]
    words = ("--tokenizer", TOKENIZER, "--output", folder / out, "--workers", 1)
    done = premask("run", *paths, *words)
    assert done.code == 0, done.err


def shown(out: Path, *words: object) -> Done:
    done = premask("rejects", out, *words)
    assert done.code == 0, done.err
    return done


def test_reasons_with_counts_and_examples(out: Path) -> None:
    text = shown(out).out
    lines = text.splitlines()

    assert lines[0] == "2 empty_assistant: no assistant turn has text or a tool call"
    assert f"  1 in {out.parent}/a.jsonl, 1 in {out.parent}/b.json" in lines
    assert any(line.startswith(f"  {out.parent}/a.jsonl row 2 (e): message 1 (assistant)") for line in lines)
    assert lines[-1] == f"{out}: 7 rows rejected"
    assert "\x1b" not in text
    assert "\\x1b[31m" in text or "\\u001b[31m" in text


def test_one_reason_one_source_and_few_examples(out: Path) -> None:
    one = json.loads(shown(out, "--reason", "not_an_object", "--limit", 1, "--format", "json").out)
    other = json.loads(shown(out, "--source", f"{out.parent}/b.json", "--format", "json").out)

    assert one["rejected"] == 2
    assert [len(each["examples"]) for each in one["by_reason"].values()] == [1]
    assert {reason: each["rows"] for reason, each in other["by_reason"].items()} == {
        "no_assistant": 1, "not_an_object": 1,
    }  # fmt: skip
    assert other["by_reason"]["no_assistant"]["examples"][0]["row"] == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--reason", "empty"],
            "no row of {out} was rejected for 'empty'; reasons of this output: empty_assistant, ",
        ),
        (["--source", "c"], "no row of 'c' was rejected; sources with rejected rows: "),
        (["--export", "{out}"], "{out} exists already; name a file that does not"),
        (
            ["--export", "{out}/no/a.jsonl"],
            "{out}/no/a.jsonl cannot be written: No such file or directory; check",
        ),
    ],
)
def test_what_is_wrong_is_one_line(out: Path, words: list[str], message: str) -> None:
    done = premask("rejects", out, *[word.format(out=out) for word in words])

    assert done.code == 2
    assert done.err.startswith("premask: " + message.format(out=out))
    assert len(done.err.splitlines()) == 1


def test_no_output_is_named(tmp_path: Path) -> None:
    done = premask("rejects", tmp_path / "none")

    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "does not exist; name a directory that premask run has written" in done.err


def test_an_output_without_rejects(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", [GOOD])
    run(tmp_path, "a.jsonl")

    assert shown(tmp_path / "out").out == f"{tmp_path / 'out'}: 0 rows rejected\n"
    assert (
        shown(tmp_path / "out", "--export", tmp_path / "x.jsonl").out == f"0 rows in {tmp_path / 'x.jsonl'}\n"
    )
    assert (tmp_path / "x.jsonl").read_bytes() == b""


def test_exported_rows_are_the_lines_of_their_files(out: Path, tmp_path: Path) -> None:
    """To the byte where they were lines; as JSON where they were elements of an array."""
    done = shown(out, "--export", tmp_path / "fix.jsonl")
    assert done.out == f"7 rows in {tmp_path / 'fix.jsonl'}\n"
    lines = (tmp_path / "fix.jsonl").read_text(encoding="utf-8").split("\n")

    assert lines[:5] == (tmp_path / "a.jsonl").read_text(encoding="utf-8").split("\n")[1:6]
    assert [json.loads(line) for line in lines[5:7]] == [chat("no\nanswer"), "a\nstring"]
    assert lines[7:] == [""]


def test_fixed_rows_are_kept_by_the_next_run(out: Path, tmp_path: Path) -> None:
    shown(out, "--reason", "empty_assistant", "--export", tmp_path / "fix.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "fix.jsonl").read_text().splitlines()]
    for row in rows:
        row["messages"][1]["content"] = "Fixed."
    write_rows(tmp_path / "fixed.jsonl", rows)
    run(tmp_path, "fixed.jsonl", out="again")

    assert rows_of(tmp_path / "again", "rejects") == []
    assert [line["id"] for line in rows_of(tmp_path / "again", "lineage")] in (["e", None], [None, "e"])


def test_rows_fed_back_as_they_are_are_rejected_again(out: Path, tmp_path: Path) -> None:
    """From Parquet and CSV too: what was exported says the same as what was read."""
    shown(out, "--export", tmp_path / "same.jsonl")
    write_rows(tmp_path / "good.jsonl", [GOOD])
    run(tmp_path, "good.jsonl", "same.jsonl", out="again")
    before, after = (
        [each["reason"] for each in rows_of(tmp_path / name, "rejects")] for name in ("out", "again")
    )
    assert before == after

    write_parquet(tmp_path / "c.parquet", [chat("Hi", "Hello"), chat("é\n", " "), chat("x", "\t")])
    write(tmp_path / "d.csv", 'question,answer\n1+1?,2\n"a ""b""\nc"," "\n')
    run(tmp_path, "c.parquet", "d.csv", out="tables")
    shown(tmp_path / "tables", "--export", tmp_path / "tables.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "tables.jsonl").read_text(encoding="utf-8").splitlines()]
    assert rows == [chat("é\n", " "), chat("x", "\t"), {"question": 'a "b"\nc', "answer": " "}]
