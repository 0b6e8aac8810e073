"""The example of a card: what is trained has a `+`, and nothing in it means anything to Markdown."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import TOKENIZER, chat, premask, write_rows
from premask.output.dataset import open_dataset
from premask.publish.card_example import Part, ShownExample, example_lines, example_section
from premask.running.card import card_of

HOSTILE = ["```", "  ```\n# Title", "````\n</code><script>x()</script>", "---\nlicense: evil\n---", "+ not trained", "@@ -1 +1 @@"]  # fmt: skip


@pytest.mark.parametrize(
    ("parts", "lines"),
    [
        ([], []),
        ([("a\n", False), ("b\n", True), ("c", False)], ["  a", "+ b", "  c"]),
        ([("[INST] a [/INST] ", False), ("b</s>", True)], ["  [INST] a [/INST]", "+ b</s>"]),
        ([("a", True), ("\nb", False)], ["+ a", "  b"]),
        ([("a:\n", False), ("\n\nb", True)], ["  a:", "+", "+", "+ b"]),
        ([("a\n", False), ("... 9 tokens ...", None), ("b\n", True)], ["  a", "  ... 9 tokens ...", "+ b"]),
        ([("x\x1b[31m\u202e\u2028y\tz", True)], ["+ x\\x1b[31m\\u202e\\u2028y\tz"]),
        ([("word " * 30, True)], ["+ " + ("word " * 17).strip(), "+ " + ("word " * 13).strip()]),
        ([("x" * 100, False)], ["  " + "x" * 88, "  " + "x" * 12]),
    ],
)
def test_the_lines_of_a_row(parts: list[tuple[str, bool | None]], lines: list[str]) -> None:
    assert example_lines([Part(*each) for each in parts]) == lines


@pytest.mark.parametrize("odd", HOSTILE)
def test_nothing_ends_the_block(odd: str) -> None:
    (text,) = example_section(
        [ShownExample("chosen", [Part(odd, trained=False), Part(f"{odd}\n", trained=True)])]
    )
    start, _, block = text.partition("diff\n")
    fence = start.rpartition("\n")[2]
    inside = block.removesuffix(f"\n{fence}").split("\n")

    assert set(fence) == {"`"}
    assert len(fence) >= 3
    assert block.endswith(f"\n{fence}")
    assert all(line.startswith(("+", "  ")) for line in inside if line)
    assert not any(fence in line for line in inside)
    assert "Chosen:" in start


def readme(folder: Path, rows: list[object], *words: object) -> str:
    source = write_rows(folder / "a.jsonl", rows)
    out = folder / "out"
    done = premask("run", source, "--tokenizer", TOKENIZER, "--output", out, "--max-length", 2048, *words)
    assert done.code == 0, done.err
    return (out / "README.md").read_text(encoding="utf-8")


TELLING = chat("Which of the two is the larger one, then?", "The second one is larger, by a little.")


def test_a_row_that_is_long_enough_is_shown_and_can_be_left_out(tmp_path: Path) -> None:
    """Of the rows that come first; switched off and on again, the card is the same as before."""
    rows: list[object] = [chat("Hi", "Yo"), TELLING, TELLING]
    first = readme(tmp_path, rows)
    without = readme(tmp_path, rows, "--card", "example=false")
    block = first.split("```diff\n")[1].split("\n```")[0].split("\n")

    assert [line for line in block if "larger" in line] == [
        "  Which of the two is the larger one, then?<|im_end|>",
        "+ The second one is larger, by a little.<|im_end|>",
    ]
    assert "larger" not in without
    assert "## An example" not in without
    assert readme(tmp_path, rows) == first


def test_a_long_row_is_shown_in_part(tmp_path: Path) -> None:
    text = readme(tmp_path, [chat("word " * 600, "The very end.")])

    assert " tokens are not shown ..." in text
    assert "+ The very end.<|im_end|>" in text


@pytest.mark.parametrize("layout", ["preference", "kto"])
def test_all_sides_of_a_row_are_shown(tmp_path: Path, layout: str) -> None:
    prompt = [{"role": "user", "content": "Which of the two is the larger one, then? Think twice, please."}]
    good, bad = ([{"role": "assistant", "content": each}] for each in ("The second one.", "No idea at all."))
    text = readme(tmp_path, [{"prompt": prompt, "chosen": good, "rejected": bad}], "--layout", layout)
    blocks = [part.split("\n```")[0] for part in text.split("```diff\n")[1:]]
    answers = {"Chosen:": "The second one.", "Rejected:": "No idea at all."}
    if layout == "kto":
        answers = (
            {"A good answer:": "The second one."}
            if "A good answer:" in text
            else {"A bad answer:": "No idea at all."}
        )

    assert len(blocks) == len(answers)
    for (name, answer), block in zip(answers.items(), blocks, strict=True):
        assert f"{name}\n\n```diff\n{block}" in text
        assert "  Which of the two" in block
        assert [line for line in block.split("\n") if line[0] == "+"] == [f"+ {answer}<|im_end|>"]


def test_an_output_whose_tokenizer_cannot_be_read_has_no_example(tmp_path: Path) -> None:
    readme(tmp_path, [TELLING])
    out = tmp_path / "out"
    assert "## An example" in card_of(open_dataset(out).manifest, out)
    (out / "tokenizer" / "tokenizer.json").write_text("{}")

    assert "## An example" not in card_of(open_dataset(out).manifest, out)
    assert "## An example" not in card_of(open_dataset(out).manifest, tmp_path / "nowhere")
