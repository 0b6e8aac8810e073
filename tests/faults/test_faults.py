"""A few rounds of the fault test (`make faults` is the long one), and what it looks for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from fault_test import Case, compare, rounds
from faults import ENVIRON, hashes, marked, new_mark, wait_for

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="this system has no /proc")


def test_what_is_killed_at_random_moments_is_the_same_in_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A worker, the driver, then the command, with duplicates dropped and samples shuffled."""
    same = rounds(tmp_path, [Case("chosen", 2)], 3, rows=60, seed=0)
    told = capsys.readouterr().out

    assert same == 3, told
    assert "killed worker at" in told
    assert "killed driver at" in told
    assert "killed command at" in told


def test_processes_without_a_parent_are_found() -> None:
    """The fault test would see an orphan: the child of a process that has ended."""
    mark = new_mark()
    words = "import subprocess, sys; subprocess.Popen(sys.argv[1:])"
    subprocess.run([sys.executable, "-c", words, "sleep", "60"], env=ENVIRON | mark, check=True)
    (orphan,) = marked(mark)
    assert orphan.words.startswith("sleep 60")
    subprocess.run(["kill", str(orphan.pid)], check=True)
    wait_for(lambda: not marked(mark), 10, "the end of an orphan")


def test_differences_are_told(tmp_path: Path) -> None:
    for name in ("out/a", "out/b", ".out.partial/plan.json", "recipe.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    expected = hashes(tmp_path / "out")

    assert compare(tmp_path, expected) == ["left beside the output: .out.partial"]
    (tmp_path / "out/a").write_text("other")
    (tmp_path / "out/b").unlink()
    assert compare(tmp_path, expected)[0] == "2 files differ, such as a"
