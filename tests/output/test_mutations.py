"""A share of the mutations that `make mutations` tries: hostile outputs through all commands that read outputs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from commands import ROOT
from mutations import MUTATIONS

FUZZER = ROOT / "tests/support/mutate_outputs.py"


def test_no_mutation_of_an_output_does_harm(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, FUZZER, "--mutations", "16", "--seed", "7"],
        cwd=tmp_path, capture_output=True, text=True, timeout=1200, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    counts = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line.split()}
    assert set(MUTATIONS) < set(counts)
    assert counts["all"][0] == "16"
    assert int(counts["all"][1]) > 200
    assert set(counts["all"][2:]) == {"0"}
