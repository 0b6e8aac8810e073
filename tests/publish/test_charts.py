"""Charts: well-formed, the same bytes each time, true to their numbers, and harmless whatever the data says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from browser import chromium
from commands import ROOT, TOKENIZER, chat, premask, write_rows
from outputs import make_output
from premask.core.display import SHOWN_WRITERS
from premask.core.manifest import PICTURES, Manifest
from premask.output.sending import read_finished
from premask.publish.card import make_card
from premask.publish.charts import card_pictures, page_pictures
from premask.publish.drawing import (
    WIDTH,
    Bar,
    Part,
    bar_columns,
    bar_rows,
    count_scale,
    powers_of_two,
    style_sheet,
)

EVIL = "<script>\x00\u202e&'\""
SVG = "{http://www.w3.org/2000/svg}"

COUNTS: dict[str, Any] = {
    "lengths": {
        "min": 16,
        "p10": 16,
        "median": 20,
        "p90": 50,
        "p99": 60,
        "max": 63,
        "mean": 25.5,
        "histogram": [{"from": 16, "to": 31, "samples": 300}, {"from": 32, "to": 63, "samples": 100}],
    },
    "tokens_by_role": {"assistant": 400, "user": 700, "arguments": 100},
    "trained_by_role": {"assistant": 300},
    "rejected_by_reason": {"no_messages": 1, "invalid_json": 3},
}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """The manifest of an output with these counts."""
    data = make_output(tmp_path_factory.mktemp("charts") / "out")
    counts, recipe = {**data["counts"], **COUNTS}, {**data["recipe"], "max_length": 64}
    return Manifest.model_validate({**data, "counts": counts, "recipe": recipe})


def figures(name: str = "a.jsonl") -> dict[str, Any]:
    """The figures of an output in which every name is this one."""
    return {
        "lengths": {"median": 1, "p99": 1, "max": 1, "histogram": [{"from": 1, "to": 1, "samples": 1}]},
        "max_length": 4,
        "by_role": [{"role": name, "tokens": 3, "trained_tokens": 1}],
        "by_source": [{"source": name, "tokens": 3, "trained_tokens": 1}],
        "rejects": [{"reason": name, "rows": 1, "means": name}],
        "too_long": {"policy": "split", "rows_rejected": 1, "samples_cut": 1, "tokens_cut_off": 1},
        "kept": 1,
        "packs": {"packs": 2, "fill": 0.75, "fills": [{"from": 0.5, "to": 1.0, "packs": 2}]},
    }


TURNS = [dict.fromkeys(SHOWN_WRITERS, 5)] * 3 + [{"user": 3}] * 20


def parsed(svg: str) -> ET.Element:
    """An SVG as a tree; raises where it is not well-formed."""
    return ET.fromstring(svg)  # noqa: S314  ours


def rects(svg: str) -> dict[str, tuple[float, float]]:
    """Width and height of the bars that have words."""
    found = {}
    for rect in parsed(svg).iter(f"{SVG}rect"):
        title = rect.find(f"{SVG}title")
        if title is not None:
            found[str(title.text)] = (float(rect.get("width", 0)), float(rect.get("height", 0)))
    return found


# ==== What they show ====


def test_bars_are_as_long_as_their_numbers_say(manifest: Manifest) -> None:
    drawn = card_pictures(manifest)
    lengths, roles, rejects = (
        rects(drawn[f"pictures/{name}.svg"]) for name in ("lengths", "roles", "rejects")
    )

    assert lengths["16 to 31 tokens: 300 samples"][1] == pytest.approx(
        3 * lengths["32 to 63 tokens: 100 samples"][1], abs=0.2
    )
    assert lengths["16 to 31 tokens: 300 samples"][0] == lengths["32 to 63 tokens: 100 samples"][0]
    assert "max_length 64" in lengths
    unit = roles["user, not trained: 700 tokens"][0] / 700
    assert roles["assistant, trained: 300 tokens"][0] == pytest.approx(300 * unit, abs=0.1)
    assert roles["assistant, not trained: 100 tokens"][0] == pytest.approx(100 * unit, abs=0.1)
    assert roles["tools, not trained: 100 tokens"][0] == pytest.approx(100 * unit, abs=0.1)
    assert not [title for title in roles if "arguments" in title or ": 0 tokens" in title]
    assert [*rejects] == ["invalid_json: 3 rows", "no_messages: 1 rows"]


def test_of_nothing_nothing_is_drawn(manifest: Manifest) -> None:
    nothing_counted = {"lengths": None, "rejected_by_reason": {}, "tokens_by_role": {}}
    counts = manifest.counts.model_copy(update=nothing_counted)
    nothing = {**figures(), "lengths": None, "by_role": [], "by_source": [], "rejects": [], "packs": None}
    nothing["too_long"] = {"policy": "reject", "rows_rejected": 0, "samples_cut": 0, "tokens_cut_off": 0}

    assert card_pictures(manifest.model_copy(update={"counts": counts})) == {}
    assert page_pictures(nothing, []) == []


def test_very_many_are_summed() -> None:
    many = figures()
    many["by_source"] = [{"source": f"{i}.jsonl", "tokens": 10 + i, "trained_tokens": 5} for i in range(30)]
    pictures = {each.name: each for each in page_pictures(many, TURNS)}

    assert pictures["sources"].rows[0] == ("29.jsonl", "39", "5", "12.8%")
    assert pictures["sources"].rows[-1] == ("18 others", f"{sum(range(10, 28))}", "90", "27.0%")
    assert [row[0] for row in pictures["turns"].rows] == [*map(str, range(1, 12)), "12+"]
    assert pictures["turns"].rows[-1][1 + SHOWN_WRITERS.index("user")] == "36"


@pytest.mark.parametrize("high", [1, 4, 17, 31])
def test_words_of_an_axis_do_not_touch(high: int) -> None:
    axis = powers_of_two(0, high)
    chart = bar_columns([Bar("", [Part("rest", 1, "")], 0, high)], axis, count_scale(1))
    words = [(x, text) for x, _, anchor, text in chart.words if anchor == "middle"]
    places = sorted((x - 4 * len(text), x + 4 * len(text)) for x, text in words)

    assert len(axis.marks) >= 2
    assert all(after[0] >= before[1] for before, after in pairwise(places))
    assert places[-1][1] <= WIDTH


def test_a_legend_stays_within_the_chart() -> None:
    legend = [(role, role) for role in SHOWN_WRITERS]
    chart = bar_rows([Bar("name", [Part("rest", 1, "")])], count_scale(1), legend)
    starts = [(x, y, text) for x, y, anchor, text in chart.words if anchor == "start"]

    assert [text for _, _, text in starts] == list(SHOWN_WRITERS)
    assert all(x + 8 * len(text) <= WIDTH and y < chart.height for x, y, text in starts)


# ==== What they are ====


def test_well_formed_small_and_with_words_for_those_who_listen(manifest: Manifest) -> None:
    drawn = card_pictures(manifest)
    drawn |= {each.name: each.svg for each in page_pictures(figures(), TURNS)}

    assert len(drawn) == 10
    for name, svg in drawn.items():
        root = parsed(svg)
        assert (root.tag, root.get("role")) == (f"{SVG}svg", "img"), name
        assert root.get("aria-label") == root.findtext(f"{SVG}title")
        assert len(root.findtext(f"{SVG}desc") or "") > 20
        assert len(svg) < 20_000
        assert not re.search(r"\sid=|<script|href|style=", svg)


def test_the_same_bytes_in_another_process(manifest: Manifest) -> None:
    """Whatever the seed of its hashes and its locale."""
    code = (
        "import json, sys; from premask.publish.charts import Manifest, card_pictures\n"
        "print(json.dumps(card_pictures(Manifest.model_validate_json(sys.stdin.read()))))"
    )
    text = json.dumps(manifest.as_dict()).encode()
    here = card_pictures(manifest)
    for seed, locale in (("1", "C"), ("2", "de_DE.UTF-8")):
        environment = {"PYTHONPATH": str(ROOT / "pipeline"), "PYTHONHASHSEED": seed, "LC_ALL": locale}
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, env=environment, input=text, capture_output=True, check=True)
        assert json.loads(done.stdout) == here


def test_names_are_text() -> None:
    """What is no ordinary character is written out."""
    pictures = page_pictures(figures(EVIL), TURNS)

    assert [each.name for each in pictures] == [
        "lengths", "roles", "sources", "fill", "turns", "rejects", "too-long",
    ]  # fmt: skip
    for each in pictures:
        assert parsed(each.svg).tag == f"{SVG}svg"
        assert "<script" not in each.svg
        assert all(char.isprintable() or char == "\n" for char in each.svg)
    assert [each.svg for each in page_pictures(figures(EVIL), TURNS)] == [each.svg for each in pictures]


def test_every_paint_has_a_colour(manifest: Manifest) -> None:
    """On a page for light and for dark; in a file for light alone."""
    style = style_sheet()
    light, dark = style.split("@media")
    used = set(re.findall(r"var\(--([a-z-]+)\)", style))
    painted = {
        paint
        for each in page_pictures(figures(), TURNS)
        for paint in re.findall(r'class="bar ([a-z]+)"', each.svg)
    }

    assert painted == {*SHOWN_WRITERS, "trained", "rest", "limit", "alarm"}
    assert all(f".chart .{paint} {{ fill:" in style for paint in painted)
    assert all(f"--{name}: #" in light and f"--{name}: #" in dark for name in used)
    for svg in card_pictures(manifest).values():
        assert "var(" not in svg
        assert '<rect class="paper"' in svg


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_in_a_browser(manifest: Manifest, scheme: str) -> None:
    """A file is light in both schemes; an element of a page takes the colours of its scheme."""
    file = card_pictures(manifest)["pictures/roles.svg"]
    element = next(each.svg for each in page_pictures(figures(), TURNS) if each.name == "roles")
    fill = "selector => getComputedStyle(document.querySelector(selector)).fill"
    with chromium() as browser:
        page = browser.new_context(color_scheme=scheme).new_page()
        page.set_content(f"<style>{style_sheet()}</style>{element}")
        on_page = [page.evaluate(fill, selector) for selector in ("text", ".trained")]
        page.set_content(file.partition("\n")[2])
        in_file = [page.evaluate(fill, selector) for selector in ("text", ".trained", ".paper")]

    assert in_file == ["rgb(27, 31, 36)", "rgb(11, 92, 173)", "rgb(255, 255, 255)"]
    assert (
        on_page
        == {
            "light": ["rgb(27, 31, 36)", "rgb(11, 92, 173)"],
            "dark": ["rgb(232, 235, 239)", "rgb(90, 162, 245)"],
        }[scheme]
    )


# ==== Of an output ====


@pytest.fixture
def out(tmp_path: Path) -> Path:
    rows: list[Any] = [chat("word " * i, "end") for i in range(1, 40)] + [chat("No answer")]
    source = write_rows(tmp_path / "a.jsonl", rows)
    words = ["--tokenizer", TOKENIZER, "--max-length", 128]
    done = premask("run", source, *words, "--output", tmp_path / "out")
    assert done.code == 0, done.err
    return tmp_path / "out"


def test_the_pictures_of_the_card(out: Path) -> None:
    """Drawn from the manifest alone, listed in it, checked by verify, pushed; the same bytes each time."""
    manifest = Manifest.model_validate_json((out / "manifest.json").read_bytes())
    drawn = card_pictures(manifest)
    card = (out / "README.md").read_text(encoding="utf-8")

    assert set(drawn) == set(PICTURES)
    assert [each.path for each in manifest.pictures] == sorted(drawn)
    for name, svg in drawn.items():
        assert (out / name).read_text(encoding="utf-8") == svg
        assert f"]({name})" in card
    assert set(drawn) <= {file.path for file in read_finished(out).files}
    assert premask("verify", out).code == 0


def test_a_picture_that_was_changed(out: Path) -> None:
    path = out / "pictures/lengths.svg"
    path.write_text("<svg/>", encoding="utf-8")
    done = premask("verify", out)
    assert (done.code, "pictures/lengths.svg: its sha256" in done.out) == (1, True)
    assert premask("push", out, (out.parent / "there").as_uri()).code == 2
    path.unlink()
    assert "pictures/lengths.svg: the file is not there" in premask("verify", out).out


def test_an_output_from_before_pictures(out: Path) -> None:
    """Its manifest names none; it is as good as it was."""
    manifest = json.loads((out / "manifest.json").read_text())
    del manifest["pictures"]
    for path in (out / "pictures").iterdir():
        path.unlink()
    (out / "pictures").rmdir()
    (out / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    (out / "README.md").write_text(make_card(Manifest.model_validate(manifest)), encoding="utf-8")

    assert premask("verify", out).code == 0
    assert "pictures/" not in (out / "README.md").read_text(encoding="utf-8")
    assert premask("push", out, (out.parent / "there").as_uri()).code == 0
