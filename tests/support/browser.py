"""A real browser for tests: Chromium, driven over its own protocol by playwright."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_chromium() -> str | None:
    """The browser that `PREMASK_CHROMIUM` names, or the first one of the system."""
    found = [os.environ.get("PREMASK_CHROMIUM"), *map(shutil.which, NAMES)]
    return next((path for path in found if path), None)


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless Chromium; skips, saying so, where there is none."""
    path = find_chromium()
    if path is None:
        pytest.skip("no Chromium here: apt-get install chromium, or set PREMASK_CHROMIUM to its path")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
    root = hasattr(os, "geteuid") and os.geteuid() == 0  # its sandbox refuses root
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"] if root else [])
        try:
            yield browser
        finally:
            browser.close()


def axe_findings(page: Any, impacts: Collection[str] = ("serious", "critical")) -> list[str]:
    """What axe-core, which looks for barriers to people with disabilities, finds on a page: a line each."""
    package = pytest.importorskip("axe_playwright_python", reason="it brings axe-core")
    page.evaluate(Path(package.__file__).with_name("axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [
        f"{each['id']} ({each['impact']}): {each['help']}: {node['html'][:200]}"
        for each in found
        if each["impact"] in impacts
        for node in each["nodes"][:3]
    ]


class Visit:
    """One page that is open, and what happened on it: requests, errors, what its console said."""

    def __init__(self, browser: Any, path: Path | str, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.troubles: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.troubles.append(message.text))
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("dialog", self._dialog)
        self.page.goto(path if isinstance(path, str) else path.as_uri())

    def _dialog(self, dialog: Any) -> None:
        self.troubles.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def text(self, selector: str) -> str:
        return str(self.page.locator(selector).inner_text())

    def ready(self) -> None:
        """Wait until the list of samples shows what was asked for."""
        self.page.locator("#list[aria-busy=false]").wait_for()

    def count(self) -> int:
        """How many samples the list has."""
        self.ready()
        found = re.fullmatch(r"[\d,]+ to [\d,]+ of ([\d,]+)", self.text("#list-count"))
        return int(found[1].replace(",", "")) if found else 0

    def title(self) -> str:
        """The name of the sample that is shown."""
        return self.text("#reader-title")

    def tokens(self) -> list[str]:
        """What is written in the spans of the text."""
        return list(self.page.locator("#text [data-group]").all_text_contents())

    def table(self) -> list[tuple[str, ...]]:
        """The cells of the table of tokens."""
        rows = self.page.evaluate(
            "[...document.querySelectorAll('#table tbody tr')].map(r => [...r.cells].map(c => c.textContent))"
        )
        return [tuple(row) for row in rows]

    def close(self) -> None:
        self.context.close()
