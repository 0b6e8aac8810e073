"""HTML pages of premask at places that a person names: a page of the same kind is replaced, nothing else is.

    check_page(Path("report.html"), REPORT)             # before the work
    write_page(Path("report.html"), text, REPORT)

Cost: one read of the file that is there.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from ..core.atomic_files import write_text
from ..core.errors import OutputError, cause_of
from ..core.received_files import read_bounded


class Page(NamedTuple):
    """A kind of page: what it is called, the option that names its file, what its head has, and what the head
    of an older one has."""

    name: str
    option: str
    mark: str
    older: str = ""


REPORT = Page(
    "report", "--to", '<meta name="generator" content="premask report">', ": what you train on</title>"
)
DIFFERENCE = Page("comparison", "--html", '<meta name="generator" content="premask diff">')

HEAD_BYTES = 4096
"""Where the mark of a page is, from its start."""


def is_page(path: Path, kind: Page) -> bool:
    """Whether a regular file is a page of this kind."""
    try:
        head = read_bounded(path, 1 << 25)[:HEAD_BYTES].decode(errors="replace")
    except OutputError:
        return False
    return any(mark in head for mark in (kind.mark, kind.older) if mark)


def check_page(target: Path, kind: Page) -> None:
    """Raise `OutputError` if something else than a page of this kind is where one will be written."""
    if os.path.lexists(target) and not is_page(target, kind):
        raise OutputError(
            f"{target} exists, and is no {kind.name} of premask; name another file with {kind.option}"
        )


def write_page(target: Path, text: str, kind: Page) -> None:
    """Write a page. Raises `OutputError` as `check_page` does, or if the file cannot be written."""
    try:
        check_page(target, kind)
        write_text(target, text)
    except OSError as error:
        what = f"cannot write {target}: {cause_of(error)}"
        raise OutputError(
            f"{what}; check space and permissions, or name another file with {kind.option}"
        ) from None
