"""A command line that cannot be read: one line that says what was probably meant."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import TOKENIZER, Done, chat, premask, write_rows


def line_of(done: Done) -> str:
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done
    return done.err.rstrip("\n")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("doctor", "template"),
        ("validate", "verify"),
        ("tokenize", "run"),
        ("pack", "run"),
        ("rn", "run"),
        ("Verify", "verify"),
        ("upload", "push"),
        ("chats.yaml", "run chats.yaml"),
        ("chats.jsonl", "run chats.jsonl"),
    ],
)
def test_an_unknown_command(name: str, meant: str) -> None:
    assert line_of(premask(name, "x")) == (
        f"premask: No such command '{name}'; did you mean 'premask {meant}'? 'premask --help' lists commands"
    )


def test_a_command_that_is_near_to_none() -> None:
    assert line_of(premask("help")) == "premask: No such command 'help'; 'premask --help' lists commands"
    assert "\x1b" not in line_of(premask("\x1b[31m"))


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["run", "a", "--max-seq-length", "3"], "--max-length"),
        (["run", "a", "--max_length", "3"], "--max-length"),
        (["run", "a", "--num-proc", "3"], "--workers"),
        (["run", "a", "--tokeniser", "x"], "--tokenizer"),
        (["run", "a", "--model", "x"], "--tokenizer"),
        (["run", "a", "--force"], "--overwrite"),
        (["verify", "a", "--fulll"], "--full"),
        (["stats", "a", "--json"], "--format json"),
    ],
)
def test_an_unknown_option(words: list[str], meant: str) -> None:
    line = line_of(premask(*words))
    wrong = next(word for word in words if word.startswith("--"))

    assert line == (
        f"premask {words[0]}: No such option '{wrong}'; did you mean '{meant}'? "
        f"'premask {words[0]} --help' lists all options"
    )


def test_other_mistakes_name_the_command() -> None:
    assert line_of(premask("run", "a", "--max-length")).startswith(
        "premask run: Option '--max-length' requires an argument; "
    )
    assert line_of(premask("run", "a", "--workers", "many")).startswith(
        "premask run: Invalid value for '--workers': 'many' is not a whole number; "
    )
    assert line_of(premask("diff", "a")).startswith("premask diff: Missing argument 'OUT2'; ")


def test_a_choice_that_is_none() -> None:
    assert line_of(premask("stats", "a", "--format", "jsn")) == (
        "premask stats: Invalid value for '--format': 'jsn' is not one of 'table', 'json'; "
        "did you mean 'json'? 'premask stats --help' lists all options"
    )
    assert "did you mean" not in line_of(premask("stats", "a", "--format", "xyz"))


def test_a_file_that_begins_with_a_dash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "-a.jsonl", [chat("Hi", "Hello")])

    line = line_of(premask("run", "-a.jsonl", "--tokenizer", TOKENIZER, "--output", "out"))
    assert line.startswith("premask run: No such option '-a'; write the file as './-a.jsonl'; ")
    assert premask("run", "./-a.jsonl", "--tokenizer", TOKENIZER, "--output", "out").code == 0
    assert premask("run", "--tokenizer", TOKENIZER, "--output", "-out", "--", "-a.jsonl").code == 0


def test_a_recipe_that_is_named_like_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "a.jsonl", [chat("Hi", "Hello")])
    recipe = json.dumps({"sources": ["a.jsonl"], "tokenizer": TOKENIZER, "output": "out"})
    (tmp_path / "recipe.json").write_text(recipe)
    (tmp_path / "recipe.YML").write_text(recipe)

    assert line_of(premask("run", "recipe.json")) == (
        "premask: recipe.json is a recipe; name it .yaml (JSON is YAML, too)"
    )
    assert premask("explain", "recipe.YML").code == 0
