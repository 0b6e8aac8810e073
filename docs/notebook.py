"""The notebook docs/tutorial.ipynb: run it, and make the page docs/tutorial.md of it.

    python docs/notebook.py run      # runs all cells, keeps what they print, and writes the page
    python docs/notebook.py page     # writes the page alone; `make docs` does so

The page has the text, the code and the outputs of the notebook. What a cell shows as HTML is HTML there, too.
A cell with the tag `varies` prints something else on another machine, such as a loss.
"""

from __future__ import annotations

import argparse
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import nbformat

NOTEBOOK = Path(__file__).with_name("tutorial.ipynb")
PAGE = Path(__file__).with_name("tutorial.md")
VARIES = "varies"
ENVIRONMENT = {
    "PYTHONPATH": str(Path(__file__).parents[1] / "pipeline"),
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "OMP_NUM_THREADS": "1",
    "MALLOC_TRIM_THRESHOLD_": "2000000000",
    "MALLOC_MMAP_THRESHOLD_": "2000000000",
}
"""The package of this checkout, no network, no bars of progress (they are no text to keep), one thread.
The C library keeps memory that is freed: giving it back after each tensor takes two fifths of the time."""

HEAD = f"""\
<!-- Made of {NOTEBOOK.name} by notebook.py. Change the notebook, not this page. -->

"""


def executed(notebook: Any, folder: Path) -> Any:
    """A copy of a notebook with all cells run in a folder. Raises nbclient's `CellExecutionError`."""
    from nbclient import NotebookClient  # noqa: PLC0415  the page needs none

    copy = nbformat.from_dict(notebook)
    for cell in copy.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    client = NotebookClient(
        copy, timeout=300, coalesce_streams=True, resources={"metadata": {"path": str(folder)}}
    )
    client.execute(env={**os.environ, **ENVIRONMENT})
    return tidy(copy)


def tidy(notebook: Any) -> Any:
    """A notebook without what differs from run to run: times, and the version of the kernel."""
    notebook.metadata = nbformat.from_dict(
        {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    )
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    return notebook


# ==== The page ====


def page_of(notebook: Any) -> str:
    """The notebook as a page of Markdown."""
    return HEAD + "\n\n".join(part for cell in notebook.cells for part in parts_of(cell)) + "\n"


def parts_of(cell: Any) -> list[str]:
    """The paragraphs of a cell: its text, or its code and what it prints."""
    if cell.cell_type == "markdown":
        return [cell.source.strip()]
    return [f"```python\n{cell.source.strip()}\n```", *filter(None, map(shown, cell.outputs))]


def shown(output: Any) -> str:
    """What a cell prints or shows, as Markdown."""
    if output.output_type == "stream":
        return fenced(output.text)
    data = output.get("data", {})
    return of_page(data["text/html"]) if "text/html" in data else fenced(data.get("text/plain", ""))


def fenced(text: str) -> str:
    """Text in a block; nothing, if there is none."""
    lines = text.rstrip().lstrip("\n")
    return f"```text\n{lines}\n```" if lines else ""


def of_page(html: str) -> str:
    """HTML of a cell as a page can hold it.

    It is on one line, so that Markdown reads nothing in it. Its colours follow the page's own switch between
    light and dark.
    """
    html = re.sub(
        r"(?s)<style>(.*?)</style>", lambda found: f"<style>{style_of_page(found[1])}</style>", html
    )
    return html.strip().replace("\n", "&#10;")


RESET = """
.premask :is(details, summary) { background: none; border: 0; box-shadow: none; margin: 0; padding: 0 }
.premask summary::before, .premask summary::after { content: none }
"""
"""What the theme of the site draws around `details`."""


def style_of_page(style: str) -> str:
    """The style of a cell, with the themes of the site, and stronger than the site's own rules."""
    for ours, theme in (("light", "default"), ("dark", "slate")):
        style = style.replace(
            f".vscode-{ours} .premask", f".vscode-{ours} .premask, [data-md-color-scheme={theme}] .premask"
        )
    style = RESET + style.replace(".premask.premask", ".premask")
    return " ".join(style.split()).replace(".premask", ".premask" * 3)


def main() -> None:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["run", "page"])
    options = parser.parse_args()
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    if options.what == "run":
        with tempfile.TemporaryDirectory() as folder:
            notebook = executed(notebook, Path(folder))
        nbformat.write(notebook, NOTEBOOK)
    PAGE.write_text(page_of(notebook), encoding="utf-8")


if __name__ == "__main__":
    main()
