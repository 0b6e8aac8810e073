"""Take a picture of what a notebook shows of some rows: `premask.show`, in a real browser.

    python examples/draw_notebook.py docs/pictures/notebook.png

It needs Chromium and playwright (the extra `dev`). `PREMASK_CHROMIUM` is the path of the browser if it is not
found.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import premask
from playwright.sync_api import sync_playwright

TOKENIZER = Path(premask.__file__).parent / "sample" / "tokenizer"
MESSAGES = [
    {"role": "system", "content": "Answer in one sentence."},
    {"role": "user", "content": "Why does bread rise?"},
    {"role": "assistant", "content": "Yeast eats sugar and gives off gas,\nwhich the dough holds."},
    {"role": "user", "content": "And without yeast?"},
    {"role": "assistant", "content": "Baking soda and an acid make gas, too."},
]
PAGE = '<!DOCTYPE html><meta charset="utf-8"><body style="margin: 0">'
NAMES = ("chromium", "chromium-browser", "google-chrome")


def draw(html: str, target: Path) -> None:
    """Take a picture of an element that a notebook shows."""
    browser_path = os.environ.get("PREMASK_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 690, "height": 400})
        page.set_content(PAGE + html)
        page.locator(".premask").screenshot(path=str(target))
        browser.close()


def main() -> None:
    """Draw one conversation."""
    (sample,) = premask.Masker(str(TOKENIZER))(MESSAGES)
    draw(premask.show(sample, str(TOKENIZER))._repr_html_(), Path(sys.argv[1]))


if __name__ == "__main__":
    main()
