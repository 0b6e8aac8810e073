"""Older releases of `datasets` load what we write: both layouts, streamed and not, row for row.

It installs them from the package index, so it runs only where it is asked for: `make old-datasets`, or
`PREMASK_OLD_DATASETS=DIR pytest -s tests/output/test_old_datasets.py`. DIR keeps the environments for the next time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from trainer_outputs import written

DIRECTORY = os.environ.get("PREMASK_OLD_DATASETS")

pytestmark = pytest.mark.skipif(not DIRECTORY, reason="needs the package index; run make old-datasets")

RELEASES = {
    "datasets==2.19.2": [
        "pyarrow==16.1.0",
        "numpy<2",
        "pandas<2.3",
        "huggingface_hub<0.30",
        "fsspec<=2024.3.1",
    ],
    "datasets==3.6.0": ["pyarrow==21.0.0", "numpy<2.3", "pandas<2.4", "huggingface_hub<0.35"],
}
"""A release and what it needs beside it."""

LOAD = """
import json, sys
import datasets, pyarrow
from datasets import load_dataset
found = {"versions": [datasets.__version__, pyarrow.__version__]}
for layout in ("packed", "unpacked"):
    for streamed in (False, True):
        rows = load_dataset(sys.argv[1], layout, split="train", streaming=streamed)
        found[f"{layout} {streamed}"] = list(rows)
found["default"] = load_dataset(sys.argv[1], split="train").column_names
json.dump(found, sys.stdout)
"""


def environment(release: str) -> Path:
    """The Python that has a release, installed if it is not there yet."""
    assert DIRECTORY
    folder = Path(DIRECTORY).resolve() / release.replace("==", "-")
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        packages = [release, *RELEASES[release]]
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        (folder / "ready").touch()
    return python


@pytest.mark.parametrize("release", RELEASES)
def test_rows_are_those_in_the_files(release: str, tmp_path: Path) -> None:
    output = written(tmp_path)
    stored = {
        layout: [
            row for file in sorted((output / layout).glob("*")) for row in pq.read_table(file).to_pylist()
        ]
        for layout in ("packed", "unpacked")
    }
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [environment(release), "-c", LOAD, output],
        env={**os.environ, **offline},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout)

    for layout, rows in stored.items():
        assert rows
        assert found[f"{layout} False"] == rows
        assert found[f"{layout} True"] == rows
    assert found["default"] == list(stored["packed"][0])
    counts = ", ".join(f"{layout} {len(rows)} rows" for layout, rows in stored.items())
    print(
        f"\ndatasets {found['versions'][0]}, pyarrow {found['versions'][1]}: {counts}, loaded and streamed, equal"
    )
