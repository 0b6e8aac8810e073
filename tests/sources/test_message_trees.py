"""Single messages that name their parents: made into trees by a command, and read as such."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from commands import TOKENIZER, premask, write_rows
from inputs import write_parquet
from outputs import rows_of
from premask.core.errors import SourceError
from premask.dialects import conversations, recognize_file
from premask.sources.message_trees import Grouped, make_trees


def message(key: str, parent: str | None, role: str, **more: Any) -> dict[str, Any]:
    return {"message_id": key, "parent_id": parent, "text": f"text {key}", "role": role, **more}


TREE = [
    message("a", None, "prompter", lang="en"),
    message("b", "a", "assistant", rank=1),
    message("c", "a", "assistant", rank=0),
    message("d", "c", "prompter"),
    message("e", "d", "assistant"),
    message("f", "d", "assistant", deleted=True),
    message("g", "b", "prompter"),
]


def rows_in(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def texts(row: Any, *, every: bool) -> list[list[str]]:
    found = conversations(row, "trees", every=every)
    return [[(each.content or "").removeprefix("text ") for each in one.messages] for one in found]


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_messages_in_any_order_become_trees(tmp_path: Path, seed: int | None) -> None:
    rows = [*TREE, message("z", None, "prompter")]
    if seed is not None:
        random.Random(seed).shuffle(rows)  # noqa: S311  no secret
    source = write_rows(tmp_path / "m.jsonl", rows)

    assert make_trees([source], tmp_path / "t.jsonl") == Grouped(8, 2, 0, 0)
    (tree,) = [row for row in rows_in(tmp_path / "t.jsonl") if row["message_tree_id"] == "a"]
    assert texts(tree, every=False) == [["a", "c", "d", "e"]]
    assert sorted(texts(tree, every=True)) == [["a", "b"], ["a", "c", "d", "e"]]


def test_each_answer_is_trained_once() -> None:
    """On the first path that it stands on; what leads up to another answer is only shown there."""
    reply = {"text": "A1", "role": "assistant", "replies": [
        {"text": f"Q{i}", "role": "prompter", "replies": [{"text": f"B{i}", "role": "assistant"}]} for i in (1, 2)
    ]}  # fmt: skip
    found = conversations({"text": "Q", "role": "prompter", "replies": [reply]}, "trees", every=True)

    assert [[m.content for m in each.messages] for each in found] == [
        ["Q", "A1", "Q1", "B1"],
        ["Q", "A1", "Q2", "B2"],
    ]
    assert [[m.train for m in each.messages if m.role == "assistant"] for each in found] == [
        [None, None],
        [False, None],
    ]


def test_a_file_of_single_messages_is_refused_with_the_command(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "m.jsonl", TREE)
    with pytest.raises(SourceError, match=r"single messages of trees; .* premask trees FILE TREES.jsonl"):
        recognize_file(TREE, source=source)


def test_from_parquet_to_shards(tmp_path: Path) -> None:
    """All paths, each answer trained once, samples numbered within their row."""
    source = write_parquet(
        tmp_path / "m.parquet", [{"rank": None, "lang": None, "deleted": None, **row} for row in TREE]
    )
    done = premask("trees", source, tmp_path / "t.jsonl")
    assert (
        done.out
        == f"7 rows: 1 trees, 0 messages without their parent, 0 other rows, in {tmp_path / 't.jsonl'}\n"
    )
    words = ("--tokenizer", TOKENIZER, "--workers", 1, "--verify", 1, "--layout", "unpacked")
    for paths, samples in (("best", [[1, 3]]), ("all", [[1, 3], [1]])):
        done = premask("run", tmp_path / "t.jsonl", "--output", tmp_path / paths, "--paths", paths, *words)
        assert done.code == 0, done.err
        lineage = rows_of(tmp_path / paths, "lineage")
        assert [line["trained_turns"] for line in lineage] == samples
        assert [line["sample"] for line in lineage] == list(range(len(samples)))
        assert {line["id"] for line in lineage} == {"a"}
        assert json.loads((tmp_path / paths / "manifest.json").read_text())["counts"]["kept"] == 1


def test_nothing_is_left_out(tmp_path: Path) -> None:
    """Messages without their parent, rings, other rows and broken lines: each has a line, which a run refuses."""
    rows = [
        *TREE[:3],
        message("lost", "nobody", "assistant"),
        message("child", "lost", "prompter"),
        message("r1", "r2", "prompter"),
        message("r2", "r1", "assistant"),
        {"text": "no id"},
        TREE[0],
        "{broken",
    ]
    source = write_rows(tmp_path / "m.jsonl", rows)

    assert make_trees([source], tmp_path / "t.jsonl") == Grouped(10, 1, 2, 3)
    done = premask(
        "run", tmp_path / "t.jsonl", "--tokenizer", TOKENIZER, "--output", tmp_path / "out", "--workers", 1
    )
    assert done.code == 0, done.err
    counts = json.loads((tmp_path / "out" / "manifest.json").read_text())["counts"]
    assert (counts["rows"], counts["kept"]) == (6, 1)
    assert "invalid_json" in counts["rejected_by_reason"]


def test_a_chain_of_10_000_messages(tmp_path: Path) -> None:
    rows = [
        message(str(i), str(i - 1) if i else None, ("prompter", "assistant")[i % 2]) for i in range(10_000)
    ]
    done = make_trees([write_rows(tmp_path / "m.jsonl", rows)], tmp_path / "t.jsonl")

    assert (done.rows, done.trees, done.trees + done.orphans) == (10_000, 1, 100)
    assert len(texts(rows_in(tmp_path / "t.jsonl")[0], every=False)[0]) == 100


@pytest.mark.parametrize(
    ("rows", "message_"),
    [([{"text": "x"}], "no row has a 'message_id'; these are no messages of trees")],
)
def test_files_of_something_else_are_refused(tmp_path: Path, rows: list[Any], message_: str) -> None:
    source = write_rows(tmp_path / "m.jsonl", rows)
    done = premask("trees", source, tmp_path / "t.jsonl")

    assert (done.code, done.err) == (2, f"premask: {source}: {message_}\n")
    assert not (tmp_path / "t.jsonl").exists()
