"""What an output owns: only that is replaced or removed, whatever a manifest says."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from outputs import bytes_of, identity_of, make_output, names_in
from premask.core.errors import OutputError
from premask.output.destination import Destination
from premask.output.directory import open_output, work_directory
from premask.output.ownership import files_of_output, files_of_work


@pytest.fixture
def out(tmp_path: Path) -> Path:
    make_output(tmp_path / "out")
    return tmp_path / "out"


OTHER = identity_of(content="9")


def test_an_output_owns_all_that_is_in_it(out: Path) -> None:
    (out / "report.html").write_text("<!DOCTYPE html><title>chats: what you train on</title>")
    own, foreign = files_of_output(out)

    assert sorted(own) == sorted(bytes_of(out))
    assert foreign == ()


@pytest.mark.parametrize(
    "name",
    [
        "notes.txt", ".git/config", "packed/mine.parquet", "packed/train-00000-of-00009.parquet", "tokenizer/mine.json",
        "pictures/mine.svg", "report.html", "a/b/c", "README.md", "tokenizer/tokenizer.json",
    ],
)  # fmt: skip
def test_overwrite_refuses_where_other_files_lie(out: Path, name: str) -> None:
    (out / name).parent.mkdir(parents=True, exist_ok=True)
    (out / name).write_text("mine")
    before = bytes_of(out.parent)

    with pytest.raises(OutputError, match=f"so it cannot be replaced: {name}; nothing was changed"):
        make_output(out, identity=OTHER, overwrite=True)
    assert bytes_of(out.parent) == before
    if name not in {"README.md", "tokenizer/tokenizer.json"}:
        assert open_output(out, identity_of()) is None  # the same run leaves them where they are
        assert bytes_of(out.parent) == before


@pytest.mark.parametrize(
    "name", ["notes.txt", "packed/train-00000-of-00001.parquet", "../thesis.txt", "tokenizer/x"]
)
@pytest.mark.parametrize("hashed", [True, False])
def test_a_planted_manifest_makes_nothing_its_own(
    out: Path, tmp_path: Path, name: str, *, hashed: bool
) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    shutil.copy(out / "manifest.json", theirs)
    (theirs / name).parent.mkdir(exist_ok=True)
    if name.endswith(".parquet"):
        pq.write_table(pa.table({"mine": [1]}), theirs / name)
    else:
        (theirs / name).write_text("mine")
    data = json.loads((theirs / "manifest.json").read_text())
    content = (theirs / name).read_bytes()
    line = {**data["shards"][0], "path": name, "bytes": len(content)}
    line["sha256"] = hashlib.sha256(content).hexdigest() if hashed else line["sha256"]
    data["shards"] = [line]
    (theirs / "manifest.json").write_text(json.dumps(data))
    (theirs / "mine.txt").write_text("mine")
    before = bytes_of(tmp_path)

    with pytest.raises(OutputError, match="nothing was changed"):
        make_output(theirs, identity=OTHER, overwrite=True)
    assert bytes_of(tmp_path) == before


def test_a_link_or_pipe_in_an_output_is_not_its_own(out: Path, tmp_path: Path) -> None:
    (tmp_path / "private").write_text("private")
    (out / "packed/a.parquet").symlink_to(tmp_path / "private")
    os.mkfifo(out / "pipe")

    assert files_of_output(out).foreign == ("pipe", "packed/a.parquet")


def test_a_file_that_comes_while_the_output_is_replaced_is_kept_beside_it(out: Path) -> None:
    real = Path.rename

    def rename(path: Path, target: Path) -> Path:
        if path == out:  # it was checked a moment ago
            (path / "notes.txt").write_text("mine")
            (path / "README.md").write_text("mine, too")
        return real(path, target)

    with mock.patch.object(Path, "rename", rename):
        make_output(out, identity=OTHER, overwrite=True)

    names = names_in(out.parent)
    kept = next(name for name in names if name.startswith("out.kept-"))
    assert names == ["out", kept]
    assert bytes_of(out.parent / kept) == {"README.md": b"mine, too", "notes.txt": b"mine"}
    assert "README.md" in bytes_of(out)
    assert Destination(out).warnings[0].startswith(f"{out.parent / kept} holds files that lay in an output")


def test_the_place_where_the_old_output_goes_must_be_free(out: Path) -> None:
    old = out.with_name(".out.old")
    old.mkdir()
    (old / "thesis.txt").write_text("years of work")

    with pytest.raises(
        OutputError, match=r"\.out\.old is needed while .* is replaced, but is not empty; move it"
    ):
        make_output(out, identity=OTHER, overwrite=True)
    assert (old / "thesis.txt").read_text() == "years of work"


# ==== Work in progress ====


@pytest.fixture
def work(tmp_path: Path) -> Path:
    output = open_output(tmp_path / "out", OTHER)
    assert output is not None
    with output:
        return work_directory(tmp_path / "out")


def refused(tmp_path: Path, what: str) -> None:
    before = bytes_of(tmp_path)
    with pytest.raises(OutputError, match=what):
        open_output(tmp_path / "out", identity_of())
    assert bytes_of(tmp_path) == before


@pytest.mark.parametrize(
    "name", ["thesis.txt", "units/thesis.txt", "units/00000/thesis.txt", "tree/thesis.txt"]
)
def test_other_files_in_the_work_in_progress(work: Path, tmp_path: Path, name: str) -> None:
    (work / name).parent.mkdir(parents=True, exist_ok=True)
    (work / name).write_text("years of work")

    assert files_of_work(work).foreign == (name,)
    refused(tmp_path, f"is needed for work in progress, but holds other files .{name}.; move it away")


def test_a_folder_of_the_work_that_is_a_link(work: Path, tmp_path: Path) -> None:
    private = tmp_path / "private/.ssh"
    private.mkdir(parents=True)
    (private / "id").write_text("private")
    (work / "units").rmdir()
    (work / "units").symlink_to(tmp_path / "private")
    refused(tmp_path, r"holds other files \(units\)")

    shutil.rmtree(work)
    work.symlink_to(tmp_path / "private")
    refused(tmp_path, "is no folder; move it away")
    assert (private / "id").read_text() == "private"


@pytest.mark.parametrize("plan", ["{", "[]", "{}", '{"run_key": 1}', "[" * 9999, '{"a": NaN}', "\xff"])
def test_a_plan_that_cannot_be_read_is_begun_anew(work: Path, tmp_path: Path, plan: str) -> None:
    (work / "plan.json").write_text(plan, encoding="latin-1")
    make_output(tmp_path / "out")

    assert names_in(tmp_path) == ["out"]


def test_a_plan_that_is_a_pipe(work: Path, tmp_path: Path) -> None:
    (work / "plan.json").unlink()
    os.mkfifo(work / "plan.json")
    with pytest.raises(OutputError, match=r"holds other files \(plan.json\)"):
        open_output(tmp_path / "out", identity_of())


def test_work_in_progress_of_another_user(work: Path, tmp_path: Path) -> None:
    """In a folder that everybody shares anybody can put finished units, for runs to come."""
    if os.geteuid():
        pytest.skip("only root can give files away")
    work.parent.chmod(0o1777)
    os.chown(work, 12345, 12345)
    refused(tmp_path, "belongs to another user; write the output to a folder of your own")
