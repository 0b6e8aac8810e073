"""The report in a real browser: what a person does with it, and what hostile data does to it (nothing)."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from browser import PHONE, Visit, axe_findings
from commands import SAMPLE, TOKENIZER, chat, premask, write_rows
from golden import ROW as GOLDEN
from golden import SAMPLE as GOLDEN_SAMPLE
from outputs import rows_of
from premask.core.text import visible


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


# ==== Looking around ====


def test_the_first_sample_is_there(visit: Visit) -> None:
    assert visit.count() == 292
    assert visit.title() == "letters-011"
    whole = "".join(visit.tokens())
    assert whole.startswith("<|im_start|>user\nI want to decline an invitation")
    trained = "".join(visit.page.locator("#text .tok.on").all_text_contents())
    assert trained.startswith("Dear Livia,")
    assert trained.endswith("Tamsin<|im_end|>")
    heads = visit.page.locator("#text h4").all_text_contents()
    assert heads == ["user, message 0", "assistant, message 1"]
    chips = visit.page.locator("#text .chip").all_text_contents()
    assert chips == ["<|im_start|>", "<|im_end|>"] * 2


def test_trained_is_not_told_by_colour_alone(visit: Visit) -> None:
    visit.ready()
    style = "e => [getComputedStyle(e).boxShadow, getComputedStyle(e).backgroundColor]"
    on = visit.page.locator("#text .tok.on").first.evaluate(style)
    off = visit.page.locator("#text .tok:not(.on):not(.chip)").first.evaluate(style)

    assert "inset" in on[0]  # the line below it
    assert off == ["none", "rgba(0, 0, 0, 0)"]
    assert on[1] != off[1]


def test_next_previous_and_back(visit: Visit) -> None:
    """By button, by key, and by the browser's own button."""
    visit.ready()
    first = visit.tokens()
    listed = visit.page.locator("#list tbody tr").evaluate_all(
        "all => all.slice(0, 3).map(r => r.dataset.key)"
    )
    visit.page.locator("#next").click()
    visit.page.wait_for_url(f"**#sample={listed[1]}")
    visit.page.locator(f"#list tr[aria-current][data-key='{listed[1]}']").wait_for()
    assert visit.tokens() != first
    visit.page.keyboard.press("n")
    visit.page.locator(f"#list tr[aria-current][data-key='{listed[2]}']").wait_for()
    visit.page.keyboard.press("p")
    visit.page.locator(f"#list tr[aria-current][data-key='{listed[1]}']").wait_for()
    visit.page.go_back()
    visit.page.locator(f"#list tr[aria-current][data-key='{listed[2]}']").wait_for()
    for _ in range(2):
        visit.page.go_back()
    visit.page.locator(f"#list tr[aria-current][data-key='{listed[0]}']").wait_for()
    assert "#" not in visit.page.url
    visit.page.locator(f"#list tr[data-key='{listed[1]}'] a").click()
    visit.page.locator(f"#list tr[aria-current][data-key='{listed[1]}']").wait_for()
    visit.page.locator(f"#list tr[data-key='{listed[0]}'] a").click()
    visit.page.locator(f"#list tr[aria-current][data-key='{listed[0]}']").wait_for()
    assert visit.tokens() == first


def test_permalinks(browser: Any, demo: Path) -> None:
    """Of a sample, of one that is not there, of a pack, of a reason, and of nothing that is known."""
    visit = Visit(browser, demo, offline=True, viewport={"width": 1280, "height": 900})
    for hash_, selector, text in (
        ("#sample=train/30", "#reader-title", "entities-059"),
        ("#sample=train/9999", "#reader-title", "There is no sample train/9999 on this page."),
        ("#pack=train/3", "#pack-title", "pack 3 (train)"),
        ("#pack=%ff", "#pack-title", "Pack %ff is not on this page."),
        ("#reason=invalid_json", "#reject-list article", "This quote is never closed"),
    ):
        visit.page.goto(demo.as_uri() + hash_)
        visit.page.locator(selector, has_text=text).wait_for()
    visit.page.goto(demo.as_uri() + "#sample=train/9999")
    visit.page.reload()
    visit.ready()
    assert visit.title() == "There is no sample train/9999 on this page."
    assert visit.tokens() == []
    visit.page.goto(demo.as_uri() + "#sample=train/30")
    visit.page.reload()
    visit.page.locator("#reader-title", has_text="entities-059").wait_for()
    top = visit.page.locator("#reader").evaluate("e => e.getBoundingClientRect().top")
    visit.close()

    assert 0 <= top < 450
    assert visit.troubles == []


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
    visit.ready()
    few = "f => { f.value = 'town-00'; f.dispatchEvent(new Event('input', {bubbles: true})) }"
    visit.page.locator("#f-search").evaluate(few)
    assert 0 < visit.count() < 12
    reached = []
    for _ in range(60):
        visit.page.keyboard.press("Tab")
        reached.append(
            visit.page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()")
        )
        outlined = visit.page.evaluate(
            "[null, '::after'].some(part => getComputedStyle(document.activeElement, part).outlineStyle !== 'none')"
        )
        assert outlined, reached[-1]
        if reached[-1] == "copy":
            break

    assert reached[0] == "Skip to the samples"
    for name in ("no_assistant", "f-search", "f-share_min", "Tokens", "next", "as-table", "copy"):
        assert name in reached


def test_copied_as_json(browser: Any, demo: Path) -> None:
    """The sample as one object, whose ids and labels are those of the shard."""
    visit = Visit(browser, demo, permissions=["clipboard-read", "clipboard-write"])
    visit.ready()
    visit.page.keyboard.press("c")
    visit.page.locator("#copy", has_text="Copied").wait_for()
    copied = json.loads(visit.page.evaluate("navigator.clipboard.readText()"))
    visit.close()
    row = rows_of(demo.parent, "unpacked")[0]

    assert [*copied] == ["id", "source", "row", "sample", "text", "input_ids", "labels"]
    assert (copied["id"], copied["row"], copied["sample"]) == ("letters-011", 0, 0)
    assert (copied["input_ids"], copied["labels"]) == (row["input_ids"], row["labels"])
    assert copied["text"].startswith("<|im_start|>user\nI want to decline")


def test_spaces_are_marked_and_stay_spaces(visit: Visit) -> None:
    """Line breaks have a sign that the style sheet draws, so that it is in no text that is copied."""
    visit.ready()
    line = visit.page.locator("#text .newline").first

    assert line.text_content() == "\n"
    assert line.evaluate("e => getComputedStyle(e, '::before').content") == '"↵"'


# ==== The list ====


def listed(visit: Visit) -> list[list[str]]:
    visit.ready()
    found: list[list[str]] = visit.page.evaluate(
        "[...document.querySelectorAll('#list tbody tr')].map(r => [...r.cells].map(c => c.textContent))"
    )
    return found


def test_search(visit: Visit) -> None:
    visit.ready()
    visit.page.keyboard.press("/")
    visit.page.keyboard.type("Dear LIVIA")
    assert 0 < visit.count() < 292
    visit.page.locator("#list tbody a").first.click()
    visit.page.locator("#text .hit").first.wait_for()
    hits = "".join(visit.page.locator("#text .hit").all_text_contents())
    assert "Dear Livia" in hits
    visit.page.locator("#f-search").fill("ENTITIES-05")
    assert visit.count() == 10
    assert {row[1][:-1] for row in listed(visit)} == {"entities-05"}
    visit.page.locator("#f-search").fill("no such text anywhere")
    assert visit.count() == 0
    assert visit.text("#list-count") == "No sample matches"
    visit.page.get_by_role("button", name="Clear").click()
    assert visit.count() == 292


def test_filters_agree_with_the_lineage(visit: Visit) -> None:
    """By length and trained share, counted by `premask stats` and by the page's own list."""
    visit.ready()
    visit.page.locator("#f-tokens_min").fill("512")
    assert visit.count() == 25
    visit.page.locator("#f-tokens_min").fill("")
    visit.page.locator("#f-share_max").fill("4.9999")
    assert visit.count() == 2
    visit.page.locator("#f-share_max").fill("")
    assert visit.page.locator("#f-why").is_hidden()  # all samples are there
    assert visit.page.locator("#f-source").is_hidden()  # there is one


def test_sorted_and_page_by_page(visit: Visit, demo: Path) -> None:
    lengths = sorted((row["length"] for row in rows_of(demo.parent, "lineage")), reverse=True)
    visit.ready()
    visit.page.get_by_role("button", name="Tokens").first.click()
    assert [int(row[3]) for row in listed(visit)] == lengths[:50]
    assert visit.page.locator("#list th[aria-sort=descending]").inner_text().startswith("Tokens")
    visit.page.locator("#list-next").click()
    visit.page.locator("#list-count", has_text="51 to 100").wait_for()
    assert [int(row[3]) for row in listed(visit)] == lengths[50:100]
    visit.page.get_by_role("button", name="Tokens").first.click()
    visit.page.locator("#list-count", has_text="1 to 50").wait_for()
    assert [int(row[3]) for row in listed(visit)] == lengths[::-1][:50]
    visit.page.get_by_role("button", name="Tokens").first.click()
    visit.page.locator("#list:not(:has([aria-sort]))").wait_for()  # as the rows come
    assert [int(row[3]) for row in listed(visit)] != lengths[::-1][:50]
    visit.page.get_by_role("button", name="Id").click()
    names = [row[1] for row in listed(visit)]
    assert names[0] == "astronomy-001"
    assert names == sorted(names)


def test_a_part_of_many_samples(browser: Any, tmp_path: Path) -> None:
    """By the source, and by why they were chosen; the page says that it has not all."""
    write_rows(tmp_path / "b.jsonl", [chat("b", f"answer {i}") for i in range(40)])
    rows = [chat("a", f"answer {i}") for i in range(360)]
    visit = Visit(browser, report_on(tmp_path, rows, more=[tmp_path / "b.jsonl"]), offline=True)
    whole = visit.count()
    visit.page.locator("#f-source").select_option(str(tmp_path / "b.jsonl"))
    of_source = visit.count()
    sources = {row[2] for row in listed(visit)}
    visit.page.locator("#f-source").select_option("")
    visit.page.locator("#f-why").select_option("longest")
    longest = visit.count()
    said = visit.text("#samples .about summary")
    visit.close()

    assert 300 <= whole < 400
    assert 0 < of_source <= 40
    assert sources == {"b.jsonl"}
    assert longest == 8
    assert said == f"{whole} of 400 samples are on this page."


def test_lost_rows(visit: Visit) -> None:
    """From the first screen to the rows of a reason, and filters."""
    visit.ready()
    visit.page.locator("#lost").get_by_text("invalid_json").click()
    visit.page.locator("#reject-count", has_text="1 row").wait_for()
    assert "This quote is never closed" in visit.text("#reject-list pre")
    visit.page.locator("#r-reason").select_option("")
    visit.page.locator("#reject-count", has_text="8 rows").wait_for()
    visit.page.locator("#r-search").fill("narrator")
    visit.page.locator("#reject-count", has_text="1 row").wait_for()
    assert "unknown_role" in visit.text("#reject-list")


def test_packs_and_the_way_from_one_to_its_samples(visit: Visit) -> None:
    visit.ready()
    tiles = visit.page.locator("#pack-list a")
    assert tiles.count() == 39
    found = re.match(
        r"pack 0 \(train\): ([\d,]+) of 2,048 tokens, (\d+) samples", tiles.first.get_attribute("title") or ""
    )
    assert found is not None
    assert tiles.first.locator(".edge").count() == int(found[2])
    widths = tiles.first.locator("rect").evaluate_all("all => all.map(r => Number(r.getAttribute('width')))")
    assert sum(widths) == int(found[1].replace(",", ""))
    tiles.first.click()
    visit.page.locator("#pack-title", has_text="pack 0 (train)").wait_for()
    assert visit.page.locator("#pack tbody tr").count() == int(found[2])
    visit.page.locator("#pack tbody a").nth(1).click()
    visit.page.locator("#facts", has_text="pack 0, from token ").wait_for()
    visit.page.locator("#facts a").click()
    visit.page.wait_for_url("**#pack=train/0")


# ==== The tables ====


def test_the_table_is_the_text_token_by_token(visit: Visit) -> None:
    visit.ready()
    visit.page.keyboard.press("t")
    rows = visit.table()

    assert len(rows) == 72
    assert [row[0] for row in rows] == [str(i) for i in range(72)]
    assert rows[0][:5] == ("0", "1", "<|im_start|>", "-100", "template")
    assert rows[19][:5] == ("19", "1462", "Dear", "1462", "assistant:1")
    visit.page.keyboard.press("t")
    assert visit.page.locator("#table").is_hidden()


def report_on(
    folder: Path,
    rows: list[Any],
    *words: object,
    tokenizer: str = TOKENIZER,
    name: str = "a.jsonl",
    more: Sequence[Path] = (),
) -> Path:
    """The report of a run on these rows."""
    source = write_rows(folder / name, rows)
    done = premask("run", source, *more, "--tokenizer", tokenizer, "--output", folder / "out", *words)
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
    visit.ready()
    visit.page.keyboard.press("t")
    on_page = [(int(row[0]), int(row[1]), plain(row[2]), int(row[3])) for row in visit.table()]
    visit.close()
    shown = premask("explain", tmp_path / "a.jsonl", "--tokenizer", TOKENIZER, "--tokens").out.splitlines()[
        2:
    ]
    cells = [re.fullmatch(r" *(\d+) +(\d+) {4}(.*?) +(-?\d+) +\S+ *", line) for line in shown]

    assert on_page == expected
    assert [(int(c[1]), int(c[2]), plain(c[3]), int(c[4])) for c in cells if c] == expected


def test_the_articles_own_table(browser: Any, tmp_path: Path, shared: Path) -> None:
    """The same with Gemma's tokenizer: 51 tokens, of which 21 to 28 and 45 to 48 are trained."""
    tokenizer = shared / "tokenizers" / "gemma_chatml"
    if not tokenizer.is_dir():
        pytest.skip("shared/tokenizers/gemma_chatml is not there")
    visit = Visit(browser, report_on(tmp_path, [GOLDEN], "--engine", "tokenizers", tokenizer=str(tokenizer)))
    visit.ready()
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
    visit.ready()
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
    visit.ready()
    for number, text in enumerate(HOSTILE):
        visit.page.goto(f"{path.as_uri()}#sample=train/{number}")
        visit.page.locator(f"#list tr[aria-current][data-key='train/{number}']").wait_for()
        whole = "".join(visit.tokens())
        lines = visible(text).replace("\\n", "\n").replace("\\t", "\t")
        assert whole.count(lines) == 2, (text, whole)
        assert visible(text[:400]) == visit.page.locator("#reader-title").text_content()
        visit.page.keyboard.press("t")
        assert all(char.isprintable() for row in visit.table() for cell in row for char in cell)
        visit.page.keyboard.press("t")
    visit.page.locator("#pack-list a").first.click()
    visit.page.locator("#pack tbody").wait_for()
    assert visit.text("#reject-count") == "7 rows"
    scripts = visit.page.locator("script").count()
    images = visit.page.locator("img, iframe, object, embed, link[rel=stylesheet]").count()
    rejected = visit.text("#reject-list")
    listed_ids = [row[1] for row in listed(visit)]
    hacked = visit.page.evaluate("window.hacked")
    wide = visit.page.evaluate("document.documentElement.scrollWidth")
    visit.close()

    assert (scripts, images, hacked, wide) == (2, 0, None, 390)
    assert '{"broken": "</script><script>window.hacked = 1</script>' in rejected
    assert listed_ids == [visible(text[:400]) for text in HOSTILE]
    assert visit.troubles == []
    urls = {url.partition("#")[0] for url in visit.requests if not url.startswith("data:")}
    assert urls == {path.as_uri()}
    html = path.read_text(encoding="utf-8")
    assert html.count("<script") == html.count("</script>") == 2
    assert all(char.isprintable() or char == "\n" for char in html)


def test_a_script_that_came_in_could_not_run(browser: Any, demo: Path, tmp_path: Path) -> None:
    """Were there a hole, the page's policy would still stop what comes through it."""
    page = tmp_path / "hole.html"
    evil = "<script>window.hacked = 1</script><img src='http://127.0.0.1:9/x' onerror='window.hacked = 1'>"
    html = demo.read_text(encoding="utf-8")
    assert '<main id="top">' in html
    page.write_text(html.replace('<main id="top">', f'<main id="top">{evil}'), encoding="utf-8")
    visit = Visit(browser, page)
    visit.ready()
    hacked = visit.page.evaluate("window.hacked")
    visit.close()

    assert hacked is None
    assert len([text for text in visit.troubles if "Content Security Policy" in text]) >= 2


def test_a_token_of_very_many_characters(browser: Any, tmp_path: Path) -> None:
    """What is long is shortened, and the page says by how much."""
    folder = tmp_path / "tokenizer"
    shutil.copytree(TOKENIZER, folder)
    data = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    token = dict(data["added_tokens"][-1], id=max(each["id"] for each in data["added_tokens"]), special=False)
    vocabulary = data["model"]["vocab"]
    token.update(id=max([*vocabulary.values(), token["id"]]) + 1, content="<" + "x" * 100_000)
    data["added_tokens"].append(token)
    (folder / "tokenizer.json").write_text(json.dumps(data), encoding="utf-8")
    path = report_on(
        tmp_path,
        [chat(f"look {token['content']} here", "So long")],
        "--engine",
        "tokenizers",
        tokenizer=str(folder),
    )
    visit = Visit(browser, path)
    visit.ready()
    whole = visit.text("#text")
    visit.close()

    assert path.stat().st_size < 100_000
    assert "… 99,601 more characters" in whole
    assert len(whole) < 2_000


def test_a_sample_of_very_many_tokens(browser: Any, tmp_path: Path) -> None:
    path = report_on(tmp_path, [chat("word " * 20_000, "So long")], "--max-length", 50_000)
    visit = Visit(browser, path)
    visit.ready()
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
    for (const more of ["", " on", " hit", " on hit", " chip", " chip on"]) {
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
def test_contrast_and_axe(browser: Any, demo: Path, scheme: str) -> None:
    """Every text has at least 4.5 to 1 against what is behind it (WCAG 2.2, 1.4.3), all roles and marks too;
    axe-core finds nothing serious; and the colours of the two schemes differ."""
    visit = Visit(browser, demo, color_scheme=scheme)
    visit.ready()
    visit.page.evaluate(ALL_ROLES)
    visit.page.locator("#text [data-group]").first.hover()
    visit.page.locator("#pack-list a").first.click()
    visit.page.locator("#pack tbody").wait_for()
    visit.page.evaluate("document.querySelectorAll('details').forEach(e => (e.open = true))")
    poor = visit.page.evaluate(CONTRAST)
    found = axe_findings(visit.page)
    visit.page.keyboard.press("t")
    poor += visit.page.evaluate(CONTRAST)
    paper = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
    visit.close()

    assert poor == []
    assert found == []
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(18, 22, 27)"}[scheme]


def test_on_a_phone(browser: Any, demo: Path) -> None:
    """Nothing is wider than the screen, in text and table; what is pressed is large enough for a finger."""
    visit = Visit(browser, demo, **PHONE)
    visit.ready()
    widths = [visit.page.evaluate("document.documentElement.scrollWidth")]
    for _ in range(5):
        visit.page.locator("#next").tap()
        widths.append(visit.page.evaluate("document.documentElement.scrollWidth"))
    visit.page.locator("#as-table").tap()
    widths.append(visit.page.evaluate("document.documentElement.scrollWidth"))
    visit.page.locator("#as-text").tap()
    visit.page.locator("#list tbody a").nth(7).tap()
    visit.page.locator("#list tbody tr[aria-current]").nth(0).wait_for()
    visit.page.locator("#text .tok.on").first.tap()
    detail = visit.text("#detail")
    heights = visit.page.locator("button, select, input, #pack-list a, #list tbody tr, nav a").evaluate_all(
        "all => all.filter(e => e.offsetHeight && !e.closest('thead')).map(e => e.offsetHeight)"
    )
    visit.close()

    assert set(widths) == {390}
    assert "(trained)" in detail
    assert min(heights) >= 24  # WCAG 2.2, 2.5.8


def test_names_and_roles_for_those_who_listen(visit: Visit) -> None:
    """Every control has a name, ids stand once, pictures say what they show, there is one main heading."""
    visit.ready()
    unnamed = visit.page.evaluate(
        "[...document.querySelectorAll('input, select, button')].filter(e => !(e.labels && e.labels.length) "
        "&& !e.getAttribute('aria-label') && !e.textContent.trim()).map(e => e.outerHTML)"
    )
    ids = visit.page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    silent = visit.page.evaluate(
        "[...document.querySelectorAll('svg')].filter(e => !e.getAttribute('aria-label') && !e.ariaHidden).length"
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
    assert "34,417" in text
    assert "the conversation has no assistant turn" in text
    assert text.count("<svg") >= 6


def test_on_paper(visit: Visit) -> None:
    """What cannot be used there is not printed; what is trained still is to be seen."""
    visit.ready()
    visit.page.emulate_media(media="print")

    for selector in ("nav", "#filters", ".list", "#next", "#detail"):
        assert visit.page.locator(selector).is_hidden(), selector
    for selector in ("#mixture", "#text", "#pictures"):
        assert visit.page.locator(selector).is_visible(), selector
    exact = visit.page.locator("#text .tok.on").first.evaluate("e => getComputedStyle(e).printColorAdjust")
    assert exact == "exact"


def test_right_to_left(browser: Any, tmp_path: Path) -> None:
    """A line of Arabic begins at the right edge of its message, a line of English at the left."""
    visit = Visit(browser, report_on(tmp_path, [chat("مرحبا بكم\nHello", "شكرا جزيلا")]))
    visit.ready()
    edges = visit.page.evaluate(
        """() => {
          const box = document.querySelector("#text .text").getBoundingClientRect();
          const line = (wanted) => [...document.querySelectorAll("#text .tok")]
            .filter((e) => wanted.test(e.textContent)).map((e) => e.getBoundingClientRect());
          const [arabic, english] = [line(/[\u0600-\u06ff]/), line(/Hello/)];
          return [box.right - Math.max(...arabic.map((r) => r.right)), english[0].left - box.left];
        }"""
    )
    visit.close()

    assert 0 <= edges[0] < 30
    assert 0 <= edges[1] < 30


# ==== Outputs of every kind ====

PAIR = {
    "prompt": [{"role": "user", "content": "Question"}],
    "chosen": [{"role": "assistant", "content": "Good"}],
    "rejected": [{"role": "assistant", "content": "Bad"}],
}


def test_sides_of_a_preference_are_linked(browser: Any, tmp_path: Path) -> None:
    visit = Visit(browser, report_on(tmp_path, [PAIR], "--layout", "preference"), offline=True)
    visit.ready()
    assert visit.title() == "row 0 · chosen"
    assert "Good" in visit.text("#text")
    visit.page.locator("#siblings a", has_text="rejected").click()
    visit.page.locator("#reader-title", has_text="row 0 · rejected").wait_for()
    assert "Bad" in visit.text("#text")
    assert visit.page.locator("#siblings [aria-current]").inner_text() == "rejected"
    assert [row[1] for row in listed(visit)] == ["row 0 · chosen", "row 0 · rejected"]
    assert visit.page.locator("#packs, #rejects").count() == 0
    assert "Nothing: every row is kept." in visit.text("#lost")
    visit.close()

    assert visit.troubles == []


@pytest.mark.parametrize(
    ("row", "words", "head"),
    [
        ({"prompt": PAIR["prompt"], "completion": PAIR["chosen"], "label": False}, ["--layout", "kto"], "user, message 0"),
        ({"text": "A document of some words."}, ["--dialect", "document"], "document, message 0"),
        ({"input_ids": [5, 300, 301], "labels": [-100, 300, 301]}, ["--dialect", "tokens", "--layout", "unpacked"], "tokens, message 0"),
    ],
)  # fmt: skip
def test_an_output_of_every_kind(
    browser: Any, tmp_path: Path, row: dict[str, Any], words: list[str], head: str
) -> None:
    visit = Visit(browser, report_on(tmp_path, [row], *words), offline=True)
    assert visit.count() == 1
    heads = visit.page.locator("#text h4").all_text_contents()
    trained = visit.page.locator("#text .on").count()
    visit.close()

    assert heads[0] == head
    assert trained > 0
    assert visit.troubles == []
