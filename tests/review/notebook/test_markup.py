"""The HTML of rejects and runs, and what a browser makes of it: hostile content does nothing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from browser import PHONE, Visit, axe_findings
from commands import TOKENIZER, chat, premask, write_rows
from premask.api.mask import mask
from premask.api.masker import Masker
from premask.api.outputs import open_output
from premask.api.show import show
from premask.core.contract import REASONS
from premask.core.manifest import parse_manifest
from premask.review.notebook.markup import rejects_html, style, summary_html
from premask.review.notebook.rejects import RejectedRows

EVIL = "</style></pre><script>alert(1)</script><img src=http://x.test/ onerror=alert(2)>\x1b[31m\u202eabc\x00 &lt;"
LINES = [
    {"reason": reason, "source": EVIL, "row": i, "id": None, "detail": EVIL * 20, "original": "x"}
    for i, reason in enumerate(["no_assistant"] * 12 + ["unknown_role"])
]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A notebook as it is saved: several outputs on one page, all of hostile rows."""
    rows = [
        chat(EVIL, EVIL, "שלום", "مرحبا\nabc", id=EVIL),
        chat("Hi", "x" * 50_000, id="long"),
    ]
    masked = [{**row, "id": EVIL, "source": EVIL} for row in mask(rows, TOKENIZER)]
    ids, labels = masked[0]["input_ids"], masked[0]["labels"]
    wrong = {"input_ids": ids, "labels": [*labels[:-9], *[7] * 9], "loss_weights": [0.5] * len(ids)}
    pack = {"input_ids": ids * 3, "labels": labels * 3, "seq_lengths": [len(ids)] * 3, "id": EVIL}
    parts = [
        Masker(TOKENIZER)(rows[0])._repr_html_(),
        show([*masked, wrong, pack], TOKENIZER)._repr_html_(),
        RejectedRows(LINES)._repr_html_(),
    ]
    target = tmp_path_factory.mktemp("notebook") / "page.html"
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>x</title>'
    body = "".join(parts)
    target.write_text(
        f'<!DOCTYPE html><html lang="en"><head>{head}</head><body><main><h1>Notebook</h1>{body}</main></body></html>',
        encoding="utf-8",
    )
    return target


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_hostile_rows_do_nothing_and_all_can_read(browser: Any, page: Path, theme: str) -> None:
    visit = Visit(browser, page, color_scheme=theme, **PHONE)
    visit.page.locator("body").evaluate("(e, colour) => { e.style.background = colour }", _paper(theme))
    visit.page.locator("h1").evaluate("e => e.remove()")

    assert [each for each in axe_findings(visit.page) if not each.startswith("page-has-heading")] == []
    assert visit.page.evaluate("document.querySelectorAll('script, img, a, form, iframe, [id]').length") == 0
    assert visit.page.evaluate("document.documentElement.scrollWidth - innerWidth") == 0
    assert visit.page.locator("mark").first.inner_text().startswith("</style></pre><script>alert(1)</script>")
    assert visit.page.locator("mark", has_text="مرحبا").count() > 0
    assert visit.troubles == []
    assert visit.requests == [page.as_uri()]
    visit.close()


def _paper(theme: str) -> str:
    return "#ffffff" if theme == "light" else "#111111"


@pytest.mark.parametrize(
    ("name", "value", "is_dark"),
    [
        ("data-jp-theme-light", "true", False),
        ("data-jp-theme-light", "false", True),
        ("theme", "dark", True),
        ("class", "vscode-dark", True),
        ("class", "vscode-light", False),
    ],
)
def test_the_theme_of_the_notebook_wins(
    browser: Any, page: Path, name: str, value: str, *, is_dark: bool
) -> None:
    visit = Visit(browser, page, color_scheme="light" if is_dark else "dark")
    where = "documentElement" if name == "theme" else "body"
    visit.page.evaluate("([w, n, v]) => document[w].setAttribute(n, v)", [where, name, value])
    paper = visit.page.locator(".premask").first.evaluate("e => getComputedStyle(e).backgroundColor")

    assert paper == ("rgb(18, 22, 27)" if is_dark else "rgb(255, 255, 255)")
    visit.close()


def test_a_sample_opens_and_closes_without_a_script(browser: Any, page: Path) -> None:
    visit = Visit(browser, page, java_script_enabled=False)
    card = visit.page.locator("details.card").first

    assert card.locator("pre").first.is_visible()
    card.locator("summary").click()
    assert not card.locator("pre").first.is_visible()
    visit.close()


# ==== Rejects and runs ====


def test_rejects_by_reason() -> None:
    page = rejects_html(LINES)
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", page)

    assert "13 rejected rows" in page
    assert cells[:3] == ["no_assistant", "12", REASONS["no_assistant"]]
    assert "The first 10 rows" in page
    assert len(page) < 25_000
    assert "0 rejected rows" in rejects_html([])


def test_the_summary_of_a_run(tmp_path: Path) -> None:
    names = [tmp_path / f"<b>{i}.jsonl" for i in (1, 2)]
    sources = [write_rows(name, [chat("Hi", f"A {name}"), chat("x")]) for name in names]
    done = premask("run", *sources, "--tokenizer", TOKENIZER, "--output", tmp_path / "out")
    assert done.code == 0, done.err
    manifest = parse_manifest((tmp_path / "out/manifest.json").read_text()).as_dict()
    page = summary_html(manifest, "out")
    assert open_output(tmp_path / "out")._repr_html_() == summary_html(manifest, str(tmp_path / "out"))
    tiles = dict(re.findall(r"<dt>([^<]*)</dt><dd>([^<]*?) ?<", page))

    assert tiles["rows"] == "4"
    assert tiles["kept"] == "2"
    assert tiles["tokens"] == str(manifest["counts"]["tokens"])
    assert "no_assistant" in page
    assert "&lt;b&gt;1.jsonl" in page
    assert "<b>1.jsonl" not in page


def test_every_rule_of_the_style_is_scoped() -> None:
    rules = re.sub(r"@media[^{]*", "", str(style()))
    selectors = [each for part in re.findall(r"([^{}]+)\{", rules) for each in part.split(",")]

    assert len(selectors) > 40
    assert [each for each in selectors if each.strip() and ".premask" not in each] == []
    assert "url(" not in rules
    assert "@import" not in rules
