"""Two outputs compared: what differs is told by kind, with examples, and the exit code says whether any does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from browser import Visit, axe_findings
from commands import TOKENIZER, Done, chat, premask, write_rows
from premask.review.diff import EXAMPLES, KIND_WORDS, KINDS, compare

ROWS = [chat(f"Question {i}", f"Answer {i}.", "And then?", "The end.", id=f"r{i}") for i in range(40)]


def run(folder: Path, rows: list[Any], *words: object, name: str = "a.jsonl") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    source = write_rows(folder / name, rows)
    done = premask("run", source, "--tokenizer", TOKENIZER, "--output", folder / "out", *words)
    assert done.code == 0, done.err
    return folder / "out"


def diff(*words: object) -> tuple[Done, dict[str, Any]]:
    done = premask("diff", *words, "--format", "json")
    return done, json.loads(done.out) if done.out else {}


def samples(found: dict[str, Any]) -> dict[str, int]:
    return {kind: count for kind, count in found["samples"].items() if count}


def test_equal_outputs_whatever_the_packs(tmp_path: Path) -> None:
    """Also from a file of another name, if it is the same file; packs and layouts are no difference."""
    before = run(tmp_path / "a", ROWS)
    after = run(tmp_path / "b", ROWS, "--max-length", 512, "--layout", "unpacked", name="other.jsonl")
    done, found = diff(before, after)

    assert (done.code, found["equal"], samples(found)) == (0, True, {"equal": 40})
    assert found["figures"]["packs"][0] != found["figures"]["packs"][1] == 40
    assert any("max_length" in setting for setting in found["settings"])
    assert premask("diff", before, after).out.splitlines()[-1] == "the same rows, tokens and masks"


def test_masks_that_changed(tmp_path: Path) -> None:
    before, after = run(tmp_path / "a", ROWS), run(tmp_path / "a2", ROWS, "--train", "turns=last")
    done, found = diff(before, after)
    example = found["masks"][0]

    assert done.code == 1
    assert samples(found) == {"mask": 40}
    assert len(found["masks"]) == len(found["examples"]["mask"]) == EXAMPLES
    assert example["sample"].endswith("a.jsonl row 0")
    trained = [text for text, on in example["before"] if on]
    assert trained[0] == "Answer 0.<|im_end|>"
    assert [text for text, on in example["after"] if on] != trained
    assert "".join(text for text, _ in example["before"]) == "".join(text for text, _ in example["after"])
    table = premask("diff", before, after).out
    assert "40 samples have the same tokens but another mask" in table
    assert "[[Answer 0.<|im_end|>]]" in table


def test_the_labels_that_changed_are_counted(tmp_path: Path) -> None:
    """Against the labels themselves."""
    before, after = run(tmp_path / "a", ROWS), run(tmp_path / "b", ROWS, "--train", "end_of_turn=false")
    found = compare(before, after)
    labels = [
        pq.read_table(next((out / "packed").iterdir()))["labels"].to_pylist() for out in (before, after)
    ]
    flat = [np.array([label for row in rows for label in row]) for rows in labels]

    assert sum(example.changed for example in found.masks) == 2 * EXAMPLES
    assert int((flat[0] != flat[1]).sum()) == 2 * len(ROWS)


def test_the_same_source_changed(tmp_path: Path) -> None:
    """A file of the same name with other content: rows are matched by their number."""
    before = run(tmp_path / "a", ROWS)
    kept = shutil.copytree(before, tmp_path / "kept")
    changed = [dict(row) for row in ROWS]
    changed[3] = chat("Question 3", "Another answer.", id="r3")
    changed[5] = chat("No answer", id="r5")
    done, found = diff(kept, run(tmp_path / "a", changed[:-2], "--overwrite"))
    changes = {(each["before"], each["after"]): each for each in found["rows"]}

    assert done.code == 1
    assert samples(found) == {"equal": 36, "tokens": 1}
    assert found["examples"]["tokens"][0].endswith("row 3")
    assert set(changes) == {("kept", "rejected: no_assistant"), ("kept", "absent")}
    assert changes["kept", "absent"]["rows"] == 2
    assert changes["kept", "rejected: no_assistant"]["examples"][0].endswith("row 5")
    assert any("input" in setting for setting in found["settings"])


def test_other_splits_and_repeats(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", ROWS)
    outs = []
    for name, repeat, seed in (("one", 1, 0), ("two", 2, 1)):
        recipe = {
            "sources": [{"path": source, "repeat": repeat}],
            "splits": {"validation": 0.3},
            "seed": seed,
            "tokenizer": TOKENIZER,
            "output": str(tmp_path / name),
        }
        (tmp_path / f"{name}.yaml").write_text(json.dumps(recipe), encoding="utf-8")
        assert premask("run", tmp_path / f"{name}.yaml").code == 0
        outs.append(tmp_path / name)
    found = compare(*outs)
    counts = json.loads((tmp_path / "two/manifest.json").read_text())["counts"]["splits"]

    assert found.samples["split"] > 0
    assert found.samples["mask"] == found.samples["tokens"] == found.samples["only_before"] == 0
    assert found.samples["only_after"] == counts["train"]["samples"] // 2
    assert not found.equal
    assert compare(outs[1], outs[1]).equal


def test_hostile_names_and_texts(tmp_path: Path) -> None:
    evil = "\x1b[2J[red]x[/red] \u202e"
    rows = [chat(evil, evil, "x", "y", id=evil)]
    name = "\x1b[31m[bold].jsonl"
    before = run(tmp_path / "a", rows, name=name)
    after = run(tmp_path / "a2", rows, "--train", "turns=last", name=name)
    done = premask("diff", before, after)

    assert done.code == 1
    assert all(char.isprintable() or char == "\n" for char in done.out)
    assert "[red]x[/red]" in done.out


def test_every_kind_has_words() -> None:
    assert list(KIND_WORDS) == ["equal", *KINDS]


@pytest.mark.parametrize("place", [0, 1])
def test_an_output_that_is_not_there(tmp_path: Path, place: int) -> None:
    outs = [run(tmp_path / "a", ROWS[:2])] * 2
    outs[place] = tmp_path / "nothing"
    done = premask("diff", *outs)

    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "nothing does not exist" in done.err


# ==== As a page ====


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two outputs of hostile rows: another mask, other tokens, and a row that only one keeps."""
    folder = tmp_path_factory.mktemp("diff")
    evil = "</style><script>alert(1)</script>\x1b[2J\u202eabc"
    rows = [chat(evil, f"{evil} {i}", "x", "y", id=evil) for i in range(3)]
    before = shutil.copytree(run(folder / "a", rows), folder / "kept")
    changed = [rows[0], chat(evil, evil + " other words", "x", "y", id=evil), chat("x")]
    after = run(folder / "a", changed, "--overwrite", "--train", "turns=last")
    done = premask("diff", before, after, "--html", folder / "diff.html")

    assert done.code == 1
    assert done.out.splitlines()[-1] == f"page:    {folder / 'diff.html'}"
    return folder / "diff.html"


@pytest.mark.parametrize(("theme", "width"), [("light", 1200), ("dark", 390)])
def test_a_page_shows_both_masks(browser: Any, page: Path, theme: str, width: int) -> None:
    visit = Visit(browser, page, color_scheme=theme, viewport={"width": width, "height": 800})
    card = visit.page.locator("details.card").first
    sides = [card.locator(".side").nth(i) for i in (0, 1)]
    marks = ["".join(side.locator("mark").all_text_contents()) for side in sides]
    places = [side.bounding_box() for side in sides]

    assert visit.page.locator("details.card").count() == 2
    assert card.locator("summary").inner_text().endswith("labels differ")
    assert marks[0] == f"{marks[0].removesuffix(marks[1])}{marks[1]}"
    assert marks[1] == "y<|im_end|>"
    assert len(marks[0]) > len(marks[1])
    assert sides[0].locator(".ch").count() > 0
    assert (places[0]["y"] == places[1]["y"]) == (width > 1000)
    assert axe_findings(visit.page) == []
    assert visit.page.evaluate("document.documentElement.scrollWidth - innerWidth") == 0
    assert visit.page.evaluate("document.querySelectorAll('script, img').length") == 0
    assert visit.troubles == []
    assert visit.requests == [page.as_uri()]
    visit.close()


def test_a_page_and_json(tmp_path: Path) -> None:
    out = run(tmp_path / "a", ROWS[:2])
    done, found = diff(out, out, "--html", tmp_path / "diff.html")

    assert (done.code, found["equal"]) == (0, True)
    assert set(found) == {"equal", "figures", "rows", "samples", "examples", "masks", "settings"}
    assert "the same rows, tokens and masks" in (tmp_path / "diff.html").read_text(encoding="utf-8")
    assert (tmp_path / "diff.html").read_text(encoding="utf-8").count("<details") == 0
    assert compare(out, out)._repr_html_().startswith('<div class="premask">')
    assert premask("diff", out, out, "--html", tmp_path / "diff.html").code == 0
    for other in (tmp_path / "a", out / "manifest.json"):
        refused = premask("diff", out, out, "--html", other)
        assert (refused.code, refused.out) == (2, "")
        assert refused.err == (
            f"premask: {other} exists, and is no comparison of premask; name another file with --html\n"
        )
    assert premask("verify", out).code == 0
