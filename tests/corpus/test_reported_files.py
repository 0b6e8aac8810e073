"""The reported inputs of kinds K16 to K19, K21 and K24: files of another shape than their name says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import TOKENIZER, premask
from inputs import read_units, rows_of
from places import SHARED
from premask.dialects import normalize, recognize_file
from premask.sources.inspection import inspect_source

REPORTED = SHARED / "corpus" / "reported"

pytestmark = pytest.mark.skipif(not REPORTED.is_dir(), reason=f"{REPORTED} is not here")

TEXTS = {
    "bom_middle/data.jsonl": [["café?", "oui"], ["c", "d"]],
    "cr_only/data.jsonl": [["café?", "oui"], ["c", "d"]],
    "csv_semicolon/data.csv": [["What is 1+1?", "2"], ["What, again?", "3; or so"]],
    "m_pretty_json/data.json": [["a", "b"], ["c", "d"]],
    "pretty_concat/data.jsonl": [["café?", "oui"], ["c", "d"]],
    "py_repr_lines/data.jsonl": [["café?", "oui"], ["c", "d"]],
    "wrap_data/data.json": [["a", "b"], ["c", "d"]],
}


@pytest.mark.parametrize("name", TEXTS)
def test_every_row_is_read(name: str) -> None:
    source = (REPORTED / name).as_posix()
    rows = rows_of(source)
    dialect = recognize_file([row.value for row in rows], source=source)
    found = [[message.content for message in normalize(row.value, dialect).messages] for row in rows]

    assert found == TEXTS[name]
    assert [row.row for row in rows] == [0, 1]
    assert read_units([inspect_source(source)], 1) == rows


def test_a_cell_in_the_notation_of_python_is_read_or_named(tmp_path: Path) -> None:
    """The first row of the file has two texts side by side, which Python would join without the quote."""
    out = tmp_path / "out"
    done = premask(
        "run", REPORTED / "py_repr_csv" / "data.csv", "--tokenizer", TOKENIZER, "--output", out, "--seed", 1
    )
    shown = premask("rejects", out, "--format", "json")

    assert done.code == 0, done.err
    assert json.loads((out / "manifest.json").read_text())["counts"]["kept"] == 1
    assert "Python's notation, not JSON" in shown.out
    assert "write it with json.dumps" in shown.out


def test_splits_within_an_object_are_named() -> None:
    done = premask("explain", REPORTED / "wrap_train" / "data.json", "--tokenizer", TOKENIZER)

    assert done.code == 2
    assert "several lists of rows (train, validation); write each that you want to a file" in done.err
    assert done.err.endswith("""jq -c '."train"[]' > train.jsonl\n""")


def test_the_line_that_loads_an_output_with_brackets_works(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    source, out = REPORTED / "run_brackets" / "in [1]", tmp_path / "out [x] {y}"
    done = premask("run", source, "--tokenizer", TOKENIZER, "--output", out)
    line = done.out.splitlines()[-1].partition("load it with:  ")[2].partition("; ")[2]
    found = eval(  # noqa: S307
        line,
        {
            "load_dataset": lambda *names, **options: datasets.load_dataset(
                *names, cache_dir=str(tmp_path), **options
            )
        },
    )

    assert found.num_rows == json.loads((out / "manifest.json").read_text())["counts"]["packs"] > 0
