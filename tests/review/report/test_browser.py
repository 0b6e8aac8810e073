"""The report in a real browser: what a person does with it, and what hostile data does to it (nothing)."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Visit, chromium
from commands import SAMPLE, TOKENIZER, chat, premask, write_rows
from golden import ROW as GOLDEN
from golden import SAMPLE as GOLDEN_SAMPLE
from premask.core.text import visible

PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report that `make demo` ends with."""
    out = tmp_path_factory.mktemp("demo") / "demo"
    words = ["--tokenizer", TOKENIZER, "--layout", "packed,unpacked", "--max-length", 2048]
    assert premask("run", SAMPLE / "conversations.jsonl", *words, "--output", out).code == 0
    done = premask("report", out)
    assert done.code == 0, done.err
    assert f"{out / 'report.html'}  (292 of 292 samples" in done.out
    return out / "report.html"


@pytest.fixture
def visit(browser: Any, demo: Path) -> Iterator[Visit]:
    """The demo's report on a desk; nothing may be asked of a network, nor anything go wrong."""
    found = Visit(browser, demo, viewport={"width": 1280, "height": 900}, offline=True)
    yield found
    assert found.troubles == []
    assert [url for url in found.requests if not url.startswith("data:")] == [demo.as_uri()]
    found.close()


def select(visit: Visit, selector: str, value: str) -> None:
    visit.page.locator(selector).select_option(value)


# ==== Looking around ====


def test_the_first_conversation_is_there(visit: Visit) -> None:
    assert visit.place() == "1 of 292"
    assert "letters-011" in visit.text("#facts")
    whole = "".join(visit.tokens())
    assert whole.startswith("<|im_start|>user↵\nI want to decline an invitation")
    trained = "".join(visit.page.locator("#text .tok.on").all_text_contents())
    assert trained.startswith("Dear Livia,")
    assert trained.endswith("Tamsin<|im_end|>")
    heads = visit.page.locator("#text h4").all_text_contents()
    assert heads == ["user, message 0", "assistant, message 1"]


def test_trained_is_not_told_by_colour_alone(visit: Visit) -> None:
    style = "e => [getComputedStyle(e).fontWeight, getComputedStyle(e).textDecorationLine]"
    on = visit.page.locator("#text .tok.on").first.evaluate(style)
    off = visit.page.locator("#text .tok:not(.on)").first.evaluate(style)

    assert (on, off) == (["700", "underline"], ["400", "none"])


def test_next_and_previous_by_button_and_key(visit: Visit) -> None:
    first = visit.tokens()
    assert visit.page.locator("#previous").is_disabled()
    visit.page.locator("#next").click()
    assert visit.place() == "2 of 292"
    assert visit.tokens() != first
    visit.page.locator("#previous").click()
    assert visit.tokens() == first
    visit.page.keyboard.press("n")
    visit.page.keyboard.press("n")
    assert visit.place() == "3 of 292"
    visit.page.keyboard.press("p")
    assert visit.place() == "2 of 292"


def test_a_token_under_the_pointer(visit: Visit) -> None:
    visit.page.locator("#text .tok.on").first.hover()
    detail = visit.text("#detail")

    assert "token 19" in detail
    assert "id 1462" in detail
    assert "label 1462 (trained)" in detail
    assert "origin assistant:1" in detail
    assert "position in the pack 19" in detail


def test_tokens_by_keyboard(visit: Visit) -> None:
    """From token to token with the arrows; all of them are one stop of the tab key."""
    visit.page.locator("#text [tabindex='0']").focus()
    assert "token 0" in visit.text("#detail")
    for _ in range(3):
        visit.page.keyboard.press("ArrowRight")
    assert "token 3" in visit.text("#detail")
    visit.page.keyboard.press("ArrowLeft")
    assert "token 2" in visit.text("#detail")
    visit.page.keyboard.press("End")
    assert "token 71" in visit.text("#detail")
    assert visit.page.locator("#text [tabindex='0']").count() == 1
    visit.page.keyboard.press("Home")
    assert "token 0" in visit.text("#detail")


def test_everything_can_be_reached_by_the_tab_key(visit: Visit) -> None:
    reached = []
    for _ in range(32):
        visit.page.keyboard.press("Tab")
        reached.append(
            visit.page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()")
        )
        outlined = visit.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outlined != "none", reached[-1]

    assert reached[0] == "Skip to the conversations"
    for name in ("f-text", "f-role", "f-share-min", "next", "as-table"):
        assert name in reached


# ==== Filters ====


def shown(visit: Visit) -> int:
    found = re.fullmatch(r"\d+ of (\d+)", visit.place())
    return int(found[1]) if found else 0


def test_search(visit: Visit) -> None:
    visit.page.keyboard.press("/")
    visit.page.keyboard.type("louisville")
    count = shown(visit)
    source = (SAMPLE / "conversations.jsonl").read_text(encoding="utf-8").lower()

    assert 0 <= count < 292
    assert (count > 0) == ("louisville" in source)
    visit.page.locator("#f-text").fill("Dear LIVIA")
    assert shown(visit) > 0
    hits = "".join(visit.page.locator("#text .hit").all_text_contents())
    assert "Dear Livia" in hits
    visit.page.locator("#f-text").fill("no such text anywhere")
    assert visit.place() == "none"
    assert "matches the filters" in visit.text("#text")
    visit.page.get_by_role("button", name="Clear filters").click()
    visit.page.locator("#place", has_text="1 of 292").wait_for()


def test_filters_agree_with_the_lineage(visit: Visit) -> None:
    """By length and trained share, counted by `premask stats` and by the page's own list."""
    visit.page.locator("#f-length-min").fill("512")
    assert shown(visit) == 25
    visit.page.locator("#f-length-min").fill("")
    visit.page.locator("#f-share-max").fill("4.9999")
    assert shown(visit) == 2
    visit.page.locator("#f-share-max").fill("")
    select(visit, "#f-role", "system")
    with_system = shown(visit)
    assert 0 < with_system < 292
    assert "system, message 0" in visit.page.locator("#text h4").all_text_contents()
    select(visit, "#f-role", "")
    select(visit, "#f-why", "longest")
    assert shown(visit) == 8
    assert "tokens 711" in visit.text("#facts")


def test_rejected_rows(visit: Visit) -> None:
    assert visit.text("#reject-count").startswith("8 of the 8")
    select(visit, "#r-reason", "invalid_json")
    assert visit.text("#reject-count").startswith("1 of the 8")
    assert "This quote is never closed" in visit.text("#reject-list pre")
    select(visit, "#r-reason", "")
    visit.page.locator("#r-text").fill("narrator")
    assert "unknown_role" in visit.text("#reject-list")


def test_packs_and_the_way_from_one_to_its_samples(visit: Visit) -> None:
    pack = visit.page.locator(".pack").first
    title = pack.locator("h3").inner_text()
    found = re.match(r"pack 0 \(train\): ([\d,]+) of 2,048 tokens, (\d+) samples", title)
    assert found is not None
    assert pack.locator("svg .edge").count() == int(found[2])
    widths = pack.locator("svg .a, svg .b").evaluate_all(
        "all => all.map(r => Number(r.getAttribute('width')))"
    )
    assert sum(widths) == int(found[1].replace(",", ""))
    pack.locator("summary").click()
    pack.get_by_role("button", name="Read it").nth(1).click()
    assert "pack 0 from token " in visit.text("#facts")


# ==== The tables ====


def test_the_table_is_the_text_token_by_token(visit: Visit) -> None:
    visit.page.keyboard.press("t")
    rows = visit.table()

    assert len(rows) == 72
    assert [row[0] for row in rows] == [str(i) for i in range(72)]
    assert rows[0][:5] == ("0", "1", "<|im_start|>", "-100", "template")
    assert rows[19][:5] == ("19", "1462", "Dear", "1462", "assistant:1")
    visit.page.keyboard.press("t")
    assert visit.page.locator("#table").is_hidden()


def report_on(
    folder: Path, rows: list[Any], *words: object, tokenizer: str = TOKENIZER, name: str = "a.jsonl"
) -> Path:
    """The report of a run on these rows."""
    source = write_rows(folder / name, rows)
    done = premask("run", source, "--tokenizer", tokenizer, "--output", folder / "out", *words)
    assert done.code == 0, done.err
    done = premask("report", folder / "out")
    assert done.code == 0, done.err
    return folder / "out" / "report.html"


def plain(cell: str) -> str:
    return cell.strip().replace("\\n", "\n")


def test_the_golden_table_twice_equals_the_articles(browser: Any, tmp_path: Path) -> None:
    """Index, id, token and label, position by position: on the page, and on the terminal."""
    expected = [
        (i, token, text.strip(" "), token if trained else -100)
        for i, (text, token, trained) in enumerate(GOLDEN_SAMPLE)
    ]
    visit = Visit(browser, report_on(tmp_path, [GOLDEN]))
    visit.page.keyboard.press("t")
    on_page = [(int(row[0]), int(row[1]), plain(row[2]), int(row[3])) for row in visit.table()]
    visit.close()
    shown = premask("explain", tmp_path / "a.jsonl", "--tokenizer", TOKENIZER).out.splitlines()[2:]
    cells = [re.fullmatch(r" *(\d+) +(\d+) {4}(.*?) +(-?\d+) +\S+ *", line) for line in shown]

    assert on_page == expected
    assert [(int(c[1]), int(c[2]), plain(c[3]), int(c[4])) for c in cells if c] == expected


def test_the_articles_own_table(browser: Any, tmp_path: Path, shared: Path) -> None:
    """The same with Gemma's tokenizer: 51 tokens, of which 21 to 28 and 45 to 48 are trained."""
    tokenizer = shared / "tokenizers" / "gemma_chatml"
    if not tokenizer.is_dir():
        pytest.skip("shared/tokenizers/gemma_chatml is not there")
    visit = Visit(browser, report_on(tmp_path, [GOLDEN], tokenizer=str(tokenizer)))
    visit.page.keyboard.press("t")
    rows = visit.table()
    visit.close()
    from golden import GEMMA  # noqa: PLC0415

    trained = {*range(21, 29), *range(45, 49)}
    assert [int(row[1]) for row in rows] == GEMMA
    assert [int(row[3]) for row in rows] == [token if i in trained else -100 for i, token in enumerate(GEMMA)]
    assert [row[2] for row in rows][20:30] == [
        "\\n", "I", "'", "ve", " read", " this", " text", ".", "<|im_end|>", "\\n",
    ]  # fmt: skip


def test_characters_of_several_tokens(browser: Any, tmp_path: Path) -> None:
    visit = Visit(browser, report_on(tmp_path, [chat("Hi", "Hé🙂 日本")]))
    assert "🙂" in visit.tokens()
    visit.page.locator("#text .tok", has_text="🙂").hover()
    detail = visit.text("#detail")
    visit.page.keyboard.press("t")
    rows = [row for row in visit.table() if "🙂" in row[2]]
    visit.close()

    assert "id 511" in detail
    assert "id 5310" in detail
    assert [row[1:3] for row in rows] == [("511", "🙂 1 of 2"), ("5310", "🙂 2 of 2")]
    assert bytes.fromhex("".join(row[5] for row in rows)).decode() == "🙂"


# ==== Hostile data ====

HOSTILE = [
    "<script>window.hacked = 1</script>",
    "</script><script>window.hacked = 1</script>",
    "</style><img src=x onerror='window.hacked = 1'><style>",
    "<!--<script>",
    "]]></title><svg onload=window.hacked=1>",
    "{{ 7 * 7 }} {% raw %} ${window.hacked = 1}",
    "javascript:window.hacked=1 &lt;b&gt; &amp; &#x3c;script&#x3e;",
    "\u202eabc\u202c \u2066def\u2069 \u200b \ufeff",
    "\x1b[2J\x1b]0;title\x07 \x00\x08 \x9b31m",
    "a\u2028b\u2029c\x85d\r\ne\tf",
    "e" + "\u0301" * 500,
    "<b>bold</b>" * 3,
    "__proto__",
]


def test_hostile_rows_are_text(browser: Any, tmp_path: Path) -> None:
    """Every one of them is shown as it is written, and none of them does anything."""
    rows = [chat(text, text, id=text) for text in HOSTILE]
    rows += [chat(f"no answer {text}", id=text) for text in HOSTILE]
    rows.append('{"broken": "</script><script>window.hacked = 1</script>')
    path = report_on(tmp_path, rows, name="<img src=x onerror=window.hacked=1>.jsonl")
    visit = Visit(browser, path, viewport={"width": 390, "height": 844})
    for text in HOSTILE:
        whole = "".join(visit.tokens())
        lines = visible(text).replace("\\n", "↵\n").replace("\\t", "\\t\t")
        assert whole.count(lines) == 2, (text, whole)
        assert f"id {visible(text[:400])}tokens " in visit.page.locator("#facts").text_content()
        visit.page.keyboard.press("t")
        assert all(char.isprintable() for row in visit.table() for cell in row for char in cell)
        visit.page.keyboard.press("t")
        visit.page.keyboard.press("n")
    scripts = visit.page.locator("script").count()
    images = visit.page.locator("img, iframe, object, embed, link[rel=stylesheet]").count()
    rejected = visit.text("#reject-list")
    hacked = visit.page.evaluate("window.hacked")
    wide = visit.page.evaluate("document.documentElement.scrollWidth")
    visit.close()

    assert (scripts, images, hacked, wide) == (2, 0, None, 390)
    assert '{"broken": "</script><script>window.hacked = 1</script>' in rejected
    assert visit.troubles == []
    assert [url for url in visit.requests if not url.startswith("data:")] == [path.as_uri()]
    html = path.read_text(encoding="utf-8")
    assert html.count("<script") == html.count("</script>") == 2
    assert all(char.isprintable() or char == "\n" for char in html)


def test_a_script_that_came_in_could_not_run(browser: Any, demo: Path, tmp_path: Path) -> None:
    """Were there a hole, the page's policy would still stop what comes through it."""
    page = tmp_path / "hole.html"
    evil = "<script>window.hacked = 1</script><img src='http://127.0.0.1:9/x' onerror='window.hacked = 1'>"
    page.write_text(demo.read_text(encoding="utf-8").replace("<main>", f"<main>{evil}"), encoding="utf-8")
    visit = Visit(browser, page)
    hacked = visit.page.evaluate("window.hacked")
    visit.close()

    assert hacked is None
    assert len([text for text in visit.troubles if "Content Security Policy" in text]) >= 2


def test_a_token_of_a_megabyte(browser: Any, tmp_path: Path) -> None:
    """What is long is shortened, and the page says by how much."""
    folder = tmp_path / "tokenizer"
    shutil.copytree(TOKENIZER, folder)
    data = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    token = dict(data["added_tokens"][-1], id=max(each["id"] for each in data["added_tokens"]), special=False)
    vocabulary = data["model"]["vocab"]
    token.update(id=max([*vocabulary.values(), token["id"]]) + 1, content="<" + "x" * 1_000_000)
    data["added_tokens"].append(token)
    (folder / "tokenizer.json").write_text(json.dumps(data), encoding="utf-8")
    path = report_on(tmp_path, [chat(f"look {token['content']} here", "So long")], tokenizer=str(folder))
    visit = Visit(browser, path)
    whole = visit.text("#text")
    visit.close()

    assert path.stat().st_size < 100_000
    assert "… 999,601 more characters" in whole
    assert len(whole) < 2_000


def test_a_sample_of_very_many_tokens(browser: Any, tmp_path: Path) -> None:
    path = report_on(tmp_path, [chat("word " * 20_000, "So long")], "--max-length", 50_000)
    visit = Visit(browser, path)
    text, tokens = visit.text("#text"), len(visit.tokens())
    visit.page.locator("#text [data-group]").last.hover()
    detail = visit.text("#detail")
    visit.page.keyboard.press("t")
    rows = visit.table()
    visit.close()
    total = int(rows[-1][0]) + 1

    assert path.stat().st_size < 200_000
    assert tokens == 2400
    assert f"… {total - 2400:,} tokens (2,000 to {total - 401:,}) are not shown here …" in text
    assert f"token {total - 1:,}" in detail
    assert rows[2001][0] == str(total - 400)


# ==== For everybody ====

CONTRAST = """() => {
  const channel = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const numbers = (color) => (color.match(/[\\d.]+/g) || []).map(Number);
  const behind = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const found = numbers(getComputedStyle(each).backgroundColor);
      if (found.length === 3 || found[3] === 1) return found;
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !element.getClientRects().length || element.closest("script, option, noscript")) continue;
    const svg = element.closest("svg");
    const style = getComputedStyle(element);
    const [a, b] = [light(numbers(svg ? style.fill : style.color)), light(behind(svg ? svg.parentElement : element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.push([element.tagName, element.className.toString(), element.textContent.slice(0, 30), ratio]);
  }
  return poor;
}"""

ALL_ROLES = """() => {
  const text = document.getElementById("text");
  text.hidden = false;
  for (const role of ["template", "system", "developer", "user", "assistant", "tool", "other"])
    for (const more of ["", " on", " hit", " on hit"]) {
      const span = document.createElement("span");
      span.className = `tok role-${role}${more}`;
      const odd = document.createElement("span");
      odd.className = "odd";
      odd.textContent = "\\\\x1b";
      span.append("text", odd);
      text.append(span);
    }
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(browser: Any, demo: Path, scheme: str) -> None:
    """Every text has at least 4.5 to 1 against what is behind it (WCAG 2.2, 1.4.3), all roles and marks too;
    and the colours of the two schemes differ."""
    visit = Visit(browser, demo, color_scheme=scheme)
    visit.page.evaluate(ALL_ROLES)
    visit.page.locator("#text [data-group]").first.hover()
    for summary in visit.page.locator("summary").all()[:4]:
        summary.click()
    poor = visit.page.evaluate(CONTRAST)
    visit.page.keyboard.press("t")
    poor += visit.page.evaluate(CONTRAST)
    paper = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
    visit.close()

    assert poor == []
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(18, 22, 27)"}[scheme]


def test_on_a_phone(browser: Any, demo: Path) -> None:
    """Nothing is wider than the screen, in text and table; what is pressed is large enough for a finger."""
    visit = Visit(browser, demo, **PHONE)
    widths = [visit.page.evaluate("document.documentElement.scrollWidth")]
    for _ in range(5):
        visit.page.locator("#next").tap()
        widths.append(visit.page.evaluate("document.documentElement.scrollWidth"))
    visit.page.locator("#as-table").tap()
    widths.append(visit.page.evaluate("document.documentElement.scrollWidth"))
    visit.page.locator("#as-text").tap()
    visit.page.locator("#text .tok.on").first.tap()
    detail = visit.text("#detail")
    heights = visit.page.locator("button, select, input").evaluate_all(
        "all => all.filter(e => e.offsetHeight).map(e => e.offsetHeight)"
    )
    visit.close()

    assert set(widths) == {390}
    assert "(trained)" in detail
    assert min(heights) >= 24  # WCAG 2.2, 2.5.8


def test_names_and_roles_for_those_who_listen(visit: Visit) -> None:
    """Every control has a name, ids stand once, pictures say what they show, headings skip no level."""
    unnamed = visit.page.evaluate(
        "[...document.querySelectorAll('input, select, button')].filter(e => !(e.labels && e.labels.length) "
        "&& !e.getAttribute('aria-label') && !e.textContent.trim()).map(e => e.outerHTML)"
    )
    ids = visit.page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    silent = visit.page.evaluate(
        "[...document.querySelectorAll('svg')].filter(e => !e.getAttribute('aria-label')).length"
    )
    levels = visit.page.evaluate(
        "[...document.querySelectorAll('h1, h2, h3, h4')].map(e => Number(e.tagName[1]))"
    )

    assert unnamed == []
    assert len(ids) == len(set(ids))
    assert silent == 0
    assert visit.page.locator("svg[role=img]").count() >= 6
    assert visit.page.evaluate("document.documentElement.lang") == "en"
    assert levels[0] == 1
    assert levels.count(1) == 1


def test_without_scripts_the_rest_is_there(browser: Any, demo: Path) -> None:
    visit = Visit(browser, demo, java_script_enabled=False)
    text = visit.page.content()
    visit.close()

    assert "switched off" in text
    assert "34,417 tokens" in text
    assert text.count("<svg") >= 6
