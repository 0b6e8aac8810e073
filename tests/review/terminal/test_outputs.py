"""Packs on the terminal: the samples of one, token by token or as text, whatever stands in them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from commands import TOKENIZER, chat, premask, process, write_rows
from golden import ROW as GOLDEN
from golden import SAMPLE as GOLDEN_SAMPLE

EVIL = "\x1b[2J\x1b]0;title\x07 \u202eabc\u202c \x00\x08 [bold red]no[/bold red]"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    rows: list[Any] = [GOLDEN, chat("Hi", "Hé🙂", id="b"), chat(EVIL, EVIL, id=EVIL)]
    rows += [chat("word " * i, "end") for i in range(1, 40)]
    source = write_rows(tmp_path / "a.jsonl", rows)
    words = ["--tokenizer", TOKENIZER, "--max-length", 128, "--layout", "packed,unpacked"]
    done = premask("run", source, *words, "--output", tmp_path / "out")
    assert done.code == 0, done.err
    return tmp_path / "out"


def place_of(out: Path, row: int) -> tuple[int, int]:
    """The pack of an input row, and which sample of it it is."""
    lines = pq.read_table(next((out / "lineage").iterdir())).to_pylist()
    (pack,) = {line["pack"] for line in lines if line["row"] == row}
    members = [line["row"] for line in lines if line["pack"] == pack]
    return pack, members.index(row)


def test_every_pack_lists_its_samples(out: Path) -> None:
    packs = pq.read_table(next((out / "packed").iterdir())).to_pylist()
    lines = pq.read_table(next((out / "lineage").iterdir())).to_pylist()

    assert len(packs) > 3
    for number, pack in enumerate(packs):
        shown = premask("show", out, "--pack", number, COLUMNS="400")
        listed = re.findall(r"^ +(\d+) +(\d+) +(\d+) +(\d+) +\S+a\.jsonl +(\d+) ", shown.out, re.MULTILINE)
        own = [line for line in lines if line["pack"] == number]
        assert shown.out.startswith(
            f"pack {number} of train: {pack['length']} of 128 tokens, {len(own)} samples"
        )
        assert [tuple(map(int, row)) for row in listed] == [
            (
                i,
                line["offset"],
                line["length"],
                sum(label != -100 for label in pack["labels"][line["offset"] :][: line["length"]]),
                line["row"],
            )
            for i, line in enumerate(own)
        ]


def test_the_golden_table(out: Path) -> None:
    pack, sample = place_of(out, 0)
    shown = premask("show", out, "--pack", pack, "--sample", sample, "--tokens").out
    table = shown[shown.index("  index ") :].splitlines()[1:]
    cells = [re.fullmatch(r" *(\d+) +(\d+) {4}(.*?) +(-?\d+) *", line) for line in table]

    assert [(int(c[1]), int(c[2]), c[3].strip().replace("\\n", "\n"), int(c[4])) for c in cells if c] == [
        (i, token, text.strip(" "), token if trained else -100)
        for i, (text, token, trained) in enumerate(GOLDEN_SAMPLE)
    ]


def test_running_text_with_what_is_trained_in_brackets(out: Path) -> None:
    pack, sample = place_of(out, 1)
    shown = premask("show", out, "--pack", pack, "--sample", sample)

    assert shown.code == 0
    assert "<|im_start|>assistant\n[[Hé🙂<|im_end|>]]\n" in shown.out
    assert shown.out.splitlines()[-1] == "trained text is in [[ ]]"
    facts = r"^sample \d: \S+a\.jsonl row 1 \(id b\): \d+ tokens, 5 trained \(\d+\.\d%\), prompt \d+$"
    assert re.search(facts, shown.out, re.MULTILINE)
    table = premask("show", out, "--pack", pack, "--sample", sample, "--tokens").out
    assert re.findall(r"🙂 \(\d of 2\)", table) == ["🙂 (1 of 2)", "🙂 (2 of 2)"]


def on_a_terminal(*words: object, **environ: str) -> str:
    """What `show` prints for a terminal of eight colours, in a process of its own: rich keeps the codes of the
    first terminal in a process."""
    done = process("show", *words, FORCE_COLOR="1", TERM="xterm", COLORTERM="", **environ)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def test_content_cannot_paint_the_terminal(out: Path) -> None:
    pack, sample = place_of(out, 2)
    for words in ([], ["--tokens"]):
        plain = premask("show", out, "--pack", pack, "--sample", sample, *words).out
        assert all(char.isprintable() or char == "\n" for char in plain)
        coloured = on_a_terminal(out, "--pack", pack, "--sample", sample, *words)
        codes = {part.partition("m")[0] for part in coloured.split("\x1b[")[1:]}
        assert codes <= {"0", "1", "1;32", "1;4;32", "39", "30;47"}, codes
        without = on_a_terminal(out, "--pack", pack, *words, NO_COLOR="1")
        assert not re.search("\x1b\\[[0-9;]*[34][0-9]m", without)
        assert ("\x1b[1;4m" if words else "[[") in without  # bold and underlined is no colour
    assert "[bold red]no[/bold red]" in premask("show", out, "--pack", pack).out.replace("\n", "")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--pack", 999], ["no row 999 of packed in train", "counted from 0"]),
        (["--split", "test"], ["no split test", "train"]),
        (["--sample", 99], ["counted from 0; there is no 99"]),
    ],
)
def test_what_is_not_there(out: Path, words: list[object], parts: list[str]) -> None:
    done = premask("show", out, *words)

    assert (done.code, done.err.count("\n")) == (2, 1)
    assert all(part in done.err for part in parts), done.err


def test_rows_of_an_output_without_packs(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", [chat("Hi", "One"), chat("Hi", "Two")])
    words = ["--tokenizer", TOKENIZER, "--layout", "unpacked", "--output", tmp_path / "out"]
    assert premask("run", source, *words).code == 0
    shown = premask("show", tmp_path / "out", "--pack", 1).out

    assert shown.startswith("row 1 of train: ")
    assert "[[Two<|im_end|>]]" in shown
