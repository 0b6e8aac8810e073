"""Any trainer has the right loss on what we write: that of every sample alone in the model, to 1e-5.

Wrong ways are here too: the documents warn of them, and when a trainer is mended, its test says so. The cases
are those of `trainer_losses.py`, run in one process of its own. `python tests/publish/test_trainer_lines.py` prints them.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from commands import ROOT
from premask.core.contract import SIDES
from premask.publish.trainer_lines import SNIPPETS
from trainer_losses import APART, CASES, RIGHT, TOLERANCE, WRONG, Case, key
from trainer_outputs import ROWS, written  # noqa: F401

NEEDED = ("torch", "transformers", "trl", "accelerate", "lightning")


def measure(folder: Path) -> dict[str, Any]:
    """All cases: `by_hand`, `versions`, and the outcome of each case under its key."""
    (folder / "work").mkdir()
    quiet = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "support" / "trainer_losses.py", written(folder), folder / "work"],
        env={
            **os.environ,
            **quiet,
            "HF_HOME": str(folder / "home"),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT / "pipeline"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    first, *cases = [json.loads(line) for line in done.stdout.splitlines()]
    return {**first, **{case.pop("case"): case for case in cases}}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)}: not installed (pip install -e '.[trainers]')")
    return measure(tmp_path_factory.mktemp("trainers"))


@pytest.mark.parametrize("case", CASES, ids=key)
def test_the_loss(case: Case, measured: dict[str, Any]) -> None:
    found = measured[key(case)]
    if case.expect not in {RIGHT, WRONG}:
        assert re.search(case.expect, found.get("error", "")), found
        return

    assert "loss" in found, found
    difference = abs(found["loss"] - measured["by_hand"])
    if case.expect == RIGHT:
        assert difference < TOLERANCE
    else:
        assert difference > APART, "this trainer is right now: say so in the documents"


def test_trl_cuts_rows_where_nothing_is_said(measured: dict[str, Any]) -> None:
    assert measured["trl_max_length"] == 1024


def test_every_snippet_is_run() -> None:
    """In these cases, or in those of preferences (`test_preference_lines.py`); none is left out."""
    names = {snippet.name for snippet in SNIPPETS if snippet.layout not in SIDES}
    assert {case.snippet for case in CASES} - {""} == names


def test_keys_of_cases_differ() -> None:
    assert len({key(case) for case in CASES}) == len(CASES)


# ==== The table ====


def line(case: Case, found: dict[str, Any], by_hand: float) -> str:
    if "error" in found:
        shown = found["error"].splitlines()[0][:60]
    else:
        shown = f"{found['loss']:.6f}  {by_hand:.6f}  {found['loss'] - by_hand:+.1e}  {case.expect}"
    return f"{case.trainer:34}{case.data:10}{case.config:52}{shown}"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(Path(folder))
    print(", ".join(f"{name} {version}" for name, version in measured["versions"].items()))
    print(f"{'trainer':34}{'rows':10}{'configuration':52}{'loss':10}{'by hand':11}difference")
    for case in CASES:
        print(line(case, measured[key(case)], measured["by_hand"]))


if __name__ == "__main__":
    main()
