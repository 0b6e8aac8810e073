"""The notebook of the documentation runs as it is, anywhere and without a network, and prints what it shows."""

from __future__ import annotations

import importlib.util
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from commands import ROOT
from scripts import script

nbformat = pytest.importorskip("nbformat")
RUNNER = ROOT / "docs" / "notebook.py"
"""The script that runs the notebook and makes its page."""
NEEDED = ("nbclient", "ipykernel", "torch", "trl")


@cache
def notebook() -> Any:
    return nbformat.read(script(RUNNER).NOTEBOOK, as_version=4)


def code_of(book: Any) -> list[Any]:
    return [cell for cell in book.cells if cell.cell_type == "code"]


def is_the_same_anywhere(cell: Any) -> bool:
    return script(RUNNER).VARIES not in cell.metadata.get("tags", [])


def without_style(outputs: list[Any]) -> str:
    """Outputs as JSON. Colours and sizes may change; `notebook.py run` brings the new ones."""
    return re.sub(r"<style>.*?</style>", "", json.dumps(outputs, sort_keys=True))


def test_the_page_is_that_of_the_notebook() -> None:
    page = script(RUNNER).PAGE.read_text(encoding="utf-8")

    assert page == script(RUNNER).page_of(notebook())
    assert page.count('<div class="premask') == 4
    assert "[data-md-color-scheme=slate] .premask" in page


def test_all_cells_were_run_and_warn_of_nothing() -> None:
    cells = code_of(notebook())
    names = [output.get("name") for cell in cells for output in cell.outputs]

    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert sum(map(is_the_same_anywhere, cells)) >= 8
    assert "stderr" not in names
    assert all(cell.outputs for cell in cells[1:])


def test_the_notebook_runs_and_prints_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own asserts hold: the loss by hand is that of TRL, and the answers become likelier."""
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        pytest.skip(f"{', '.join(missing)}: not installed")
    monkeypatch.setenv("PREMASK_FACTS", "on")
    monkeypatch.setenv("PREMASK_CACHE", str(tmp_path / "facts"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing listens there
    done = script(RUNNER).executed(notebook(), tmp_path)
    for shown, now in zip(code_of(notebook()), code_of(done), strict=True):
        assert [each.output_type for each in now.outputs] == [each.output_type for each in shown.outputs]
        if is_the_same_anywhere(shown):
            assert without_style(now.outputs) == without_style(shown.outputs), shown.source
    assert (tmp_path / "out" / "chats" / "manifest.json").is_file()
