"""What the terminal shows after a run, while one goes on, and how unusual characters are shown."""

from __future__ import annotations

import glob
import io
from pathlib import Path
from typing import Any

import pytest
from premask.core.text import visible
from premask.review.terminal.runs import print_summary
from premask.running.run import RunResult
from rich.console import Console

COUNTS: dict[str, Any] = {
    "rows": 1300,
    "kept": 1234,
    "rejected": 66,
    "rejected_by_reason": {"no_assistant": 6, "too_long": 54, "invalid_json": 6},
    "duplicates": 0,
    "dropped": 0,
    "left_out": {},
    "splits": {"train": {}},
    "samples": 1240,
    "samples_by_proof": {"inference": 1230, "split": 10},
    "tokens": 1_000_000,
    "trained_tokens": 250_000,
    "tokens_by_role": {"user": 600_000, "assistant": 240_000, "template": 160_000},
    "trained_by_role": {"assistant": 240_000, "template": 10_000},
    "packs": 250,
    "fill": 0.976562,
    "straddling_tokens": 3,
    "seam_tokens": 2,
    "control_tokens_in_content": 1200,
}


def summary(
    *,
    output: str = "out/chats",
    fresh: bool = True,
    layout: str = "packed",
    width: int = 160,
    mixture: dict[str, Any] | None = None,
    **counts: Any,
) -> str:
    """What is printed for a run with these counts."""
    recipe = {"max_length": 4096, "layout": [layout], "sources": ["a.jsonl"]}
    manifest = {"counts": {**COUNTS, **counts}, "recipe": recipe, "mixture": mixture}
    file = io.StringIO()
    console = Console(file=file, width=width, highlight=False)
    print_summary(console, RunResult(manifest, Path(output), seconds=12.345, fresh=fresh))
    return file.getvalue()


def lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


SEAMS = (
    "edges of completions lie inside a token of the whole text; both sides are encoded apart, as at inference"
)


def test_the_whole_summary() -> None:
    assert lines(summary()) == [
        "rows 1,300 in = 1,234 kept + 66 rejected",
        "54 too_long: the sample has more tokens than max_length, or the row too many messages",
        "6 invalid_json: the line is not valid JSON",
        "6 no_assistant: the conversation has no assistant turn",
        "samples 1,240",
        "(6 more than rows: turns that inference renders differently)",
        "(3 tokens cross the edge of a turn and are not trained)",
        f"(2 {SEAMS})",
        "(1,200 control-token strings are in content)",
        "tokens 1,000,000, of which 250,000 (25.0%) are trained",
        "written by tokens share trained of them",
        "user 600,000 60.0% 0 0.0%",
        "assistant 240,000 24.0% 240,000 100.0%",
        "template 160,000 16.0% 10,000 6.2%",
        "packs 250 of at most 4,096 tokens, 97.66% full",
        "time 12.3 s",
        "output out/chats",
        'load it with: from datasets import load_dataset; load_dataset("out/chats", "packed", split="train")',
    ]


def test_a_mixture_that_uses_rows_several_times() -> None:
    source = {"source": "a.jsonl", "asked": 0.5, "got": 0.5, "repeat": 1.4}
    mixture = {"by": "tokens", "budget": None, "got": 10, "sources": [source]}
    shown = lines(summary(mixture=mixture, samples_by_proof={"inference": 1240}))

    assert shown[5] == "(6 more than rows: upsampled rows)"


def test_what_is_special_about_the_mask() -> None:
    shown = lines(
        summary(
            samples_by_proof={"inference": 1230, "composed": 10},
            dropped_fields={"reasoning": 1200, "tools": 1},
            turns_left_out={"empty": 2, "opening": 1},
            turns_behind_another_prompt=7,
            template_modes={"enable_thinking": {"true": 3, "false": 40}},
        )
    )

    assert shown[5] == "(6 more than rows: turns that inference renders differently)"
    assert shown[9:16] == [
        "(10 are prompt and completion put together, because no render shows both)",
        "(7 turns are trained behind another prompt than inference shows)",
        "(2 empty turns are left out of the loss)",
        "(1 turn that opens its conversation is left out of the loss: no prompt leads to it)",
        "(history leaves out the reasoning of 1,200 earlier turns; each trained turn has its own, in its own sample)",
        "(the template does not print all of 1 list of tool definitions)",
        "(enable_thinking (auto) is false for 40 and true for 3 conversations)",
    ]


def test_what_did_not_happen_is_not_told() -> None:
    plain = summary(
        rejected=0,
        rejected_by_reason={},
        kept=1240,
        straddling_tokens=0,
        seam_tokens=0,
        control_tokens_in_content=0,
    )

    assert lines(plain)[:3] == [
        "rows 1,300 in = 1,240 kept + 0 rejected",
        "samples 1,240",
        "tokens 1,000,000, of which 250,000 (25.0%) are trained",
    ]


def test_a_run_without_packs() -> None:
    shown = summary(layout="unpacked", packs=0, fill=None)

    assert "packs" not in shown
    assert 'load_dataset("out/chats", "unpacked", split="train")' in shown


def test_an_output_that_was_there_already() -> None:
    shown = lines(summary(fresh=False))

    assert shown[0] == "out/chats already holds this recipe's output; nothing to do"
    assert shown[1] == "rows 1,300 in = 1,234 kept + 66 rejected"


@pytest.mark.parametrize("output", ["out/{red}", 'a "quoted" name', "größe 日本"])
def test_odd_names_of_outputs_stand_as_they_are(output: str) -> None:
    """Markup in them is text, and the line that loads them is Python."""
    shown = summary(output=output)
    line = shown.splitlines()[-1].partition("load it with:  ")[2]
    loaded: list[Any] = []
    exec(line.partition("; ")[2], {"load_dataset": lambda *names, split: loaded.append((names, split))})  # noqa: S102

    assert loaded == [((output, "packed"), "train")]
    assert f"output   {output}" in shown.replace("  \n", "\n")


@pytest.mark.parametrize("output", ["out [bold]loud[/bold]", "out/[red]", "a*b", "c?d"])
def test_a_name_that_is_a_pattern_is_escaped(output: str) -> None:
    """`load_dataset` would look for files of other names."""
    shown = summary(output=output)
    line = shown.splitlines()[-1].partition("load it with:  ")[2]
    loaded: list[Any] = []
    exec(line.partition("; ")[2], {"load_dataset": lambda name, **options: loaded.append((name, options))})  # noqa: S102

    files = f"{glob.escape(str(Path(output).absolute()))}/packed/train-*.parquet"
    assert loaded == [("parquet", {"data_files": files, "split": "train"})]
    assert f"output   {output}" in shown.replace("  \n", "\n")


def test_a_name_cannot_paint_the_terminal() -> None:
    shown = summary(output="out\x1b[31m", fresh=False)

    assert "\x1b" not in shown
    assert shown.startswith(r"out\x1b[31m already holds")


def test_the_line_that_loads_is_never_broken() -> None:
    output = "out/" + "long" * 40

    assert any(f'load_dataset("{output}", "packed", split="train")' in line
               for line in summary(output=output, width=60).splitlines())  # fmt: skip


def test_without_a_terminal_there_are_no_escapes() -> None:
    assert "\x1b" not in summary()


# ==== Characters ====


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, ünïcode, 日本語, 🙂", "plain text, ünïcode, 日本語, 🙂"),
        ("a\nb\tc\rd", r"a\nb\tc\rd"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x00\x07\x08\x7f\x9b", r"\x00\x07\x08\x7f\x9b"),
        ("\u202eabc\u2066", r"\u202eabc\u2066"),
        ("\u200b\ufeff\xa0\u3000", r"\u200b\ufeff\xa0\u3000"),
        ("\u2028\u2029\x85", r"\u2028\u2029\x85"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
        ("[red]", "[red]"),
        ("", ""),
    ],
)
def test_what_is_no_ordinary_character_is_written_out(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_whatever_is_shown_is_printable() -> None:
    everything = "".join(map(chr, range(0x110000)))

    assert visible(everything).isprintable()
