"""Pages at places that a person names: what is replaced, and what is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from premask.core.errors import OutputError
from premask.output.own_page import DIFFERENCE, REPORT, check_page, write_page

PAGE = f"<!DOCTYPE html>{REPORT.mark}"


@pytest.mark.parametrize("before", [PAGE, "<title>a: what you train on</title>"])
def test_a_page_of_the_same_kind_is_replaced(tmp_path: Path, before: str) -> None:
    (tmp_path / "a.html").write_text(before)
    write_page(tmp_path / "a.html", PAGE + "new", REPORT)

    assert (tmp_path / "a.html").read_text() == PAGE + "new"


@pytest.mark.parametrize("what", ["chats", "empty", "other", "far", "link", "broken", "folder"])
def test_nothing_else_is(tmp_path: Path, what: str) -> None:
    target, page = tmp_path / "a", tmp_path / "page.html"
    page.write_text(PAGE)
    texts = {"chats": "{}\n", "empty": "", "other": DIFFERENCE.mark, "far": " " * 4096 + PAGE}
    if what in texts:
        target.write_text(texts[what])
    elif what == "folder":
        target.mkdir()
    else:
        target.symlink_to(page if what == "link" else tmp_path / "nowhere")
    before = target.lstat()

    for call in (lambda: check_page(target, REPORT), lambda: write_page(target, PAGE, REPORT)):
        with pytest.raises(OutputError, match="a exists, and is no report of premask; name another file"):
            call()
    assert target.lstat() == before
    assert sorted(tmp_path.iterdir()) == [target, page]
