"""`open`, `verify` and `diff`: what the commands say, as objects that can be read."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import datasets
import premask
import pytest
from commands import TOKENIZER, chat
from outputs import rows_of

ROWS: list[dict[str, Any]] = [*(chat(f"Question {i}", f"Answer {i}") for i in range(20)), {"messages": []}]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> premask.Result:
    return premask.run(
        sources=[ROWS],
        tokenizer=TOKENIZER,
        output=tmp_path_factory.mktemp("outputs") / "chats",
        layout=["packed", "unpacked"],
        splits={"test": 0.3},
    )


def test_a_layout_is_a_dict_of_its_splits(result: premask.Result) -> None:
    packed = result["packed"]

    assert isinstance(packed, datasets.DatasetDict)
    assert list(packed) == result.splits == ["train", "test"]
    assert [row for split in ("test", "train") for row in packed[split]] == rows_of(
        Path(result.output), "packed"
    )
    assert result.layouts == ["packed", "unpacked"]
    assert sum(map(len, result["unpacked"].values())) == result.counts["samples"] == 20


def test_what_is_opened_is_what_was_run(result: premask.Result) -> None:
    opened = premask.open(result.output)

    assert opened.manifest == result.manifest
    assert opened.rejects == result.rejects
    assert [(line["row"], line["reason"]) for line in opened.rejects] == [(20, "no_messages")]
    assert repr(opened) == repr(result)
    assert "20 rows kept, 1 rejected" in repr(opened)


def test_names_of_outputs_are_no_patterns(result: premask.Result, tmp_path: Path) -> None:
    copy = shutil.copytree(result.output, tmp_path / "a[1]")
    shutil.copytree(result.output, tmp_path / "a1")

    assert len(premask.open(copy)["packed"]["train"]) == len(result["packed"]["train"])


def test_a_damaged_shard(result: premask.Result, tmp_path: Path) -> None:
    copy = shutil.copytree(result.output, tmp_path / "copy")
    for shard in (copy / "packed").glob("*.parquet"):
        shard.write_bytes(b"0" * 100 + shard.read_bytes()[100:])

    with pytest.raises(premask.OutputError, match=r"the rows of .*copy cannot be loaded: .*premask verify"):
        premask.open(copy)["packed"]


def test_a_report_is_written_where_it_is_asked_for(result: premask.Result, tmp_path: Path) -> None:
    path = result.report(tmp_path / "report.html")

    assert path == tmp_path / "report.html"
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_verify_says_what_is_wrong(result: premask.Result, tmp_path: Path) -> None:
    report = premask.verify(result)
    assert report.ok
    assert repr(report).startswith(f"{result.output}: all is well (")

    broken = tmp_path / "broken"
    shutil.copytree(result.output, broken)
    next((broken / "packed").iterdir()).write_bytes(b"nothing")
    report = premask.verify(broken)
    assert not report.ok
    assert "packed/" in repr(report).splitlines()[0]
    assert f"{len(report.findings)} findings" in repr(report).splitlines()[-1]


def test_diff_says_how_outputs_differ(result: premask.Result, tmp_path: Path) -> None:
    other = premask.run(sources=[ROWS[5:]], tokenizer=TOKENIZER, output=tmp_path / "other")
    found = premask.diff(result, other.output)

    assert not found.equal
    assert "rows: 21 -> 16" in repr(found).splitlines()
    assert repr(found).endswith("the outputs differ")
    assert repr(premask.diff(result, result)) == "20 samples are equal\nthe same rows, tokens and masks"


@pytest.mark.parametrize("ask", [premask.open, premask.verify, lambda path: premask.diff(path, path)])
def test_what_is_no_output(ask: Any, tmp_path: Path) -> None:
    with pytest.raises(premask.OutputError, match="does not exist"):
        ask(tmp_path / "nothing")
    with pytest.raises(premask.OutputError, match="no output of premask"):
        ask(tmp_path)
    with pytest.raises(TypeError, match="an output is a path, org/name or a Result, not int"):
        ask(3)


def test_layouts_that_are_not_there(result: premask.Result) -> None:
    with pytest.raises(
        premask.OutputError, match=r'no layout .kto., but packed, unpacked; run it with layout=\["kto"\]'
    ):
        result["kto"]
    with pytest.raises(premask.OutputError, match="layouts are packed, unpacked, preference, kto"):
        result["train"]


def test_an_output_in_a_store_is_not_read() -> None:
    with pytest.raises(premask.OutputError, match="is in a store; fetch it"):
        _ = premask.Result("s3://bucket/chats", {}).splits


def test_a_push_without_a_repo(result: premask.Result) -> None:
    with pytest.raises(premask.PushError, match="no name of a repo"):
        result.push("name")
