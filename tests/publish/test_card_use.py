"""The lines of a card that use the data: they run, and a card that is pushed names its repo."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from commands import ROOT, TOKENIZER, premask, write_rows
from premask.publish import card_use
from premask.publish.card_use import at_repo, citation_section, look_section, train_section

QUESTION = [{"role": "user", "content": "Which one?"}]
ANSWERS = {
    "chosen": [{"role": "assistant", "content": "The larger one."}],
    "rejected": [{"role": "assistant", "content": "No idea."}],
}


@pytest.mark.parametrize("layout", ["packed", "preference"])
def test_the_lines_that_show_a_row_run(tmp_path: Path, layout: str) -> None:
    row = (
        {"prompt": QUESTION, **ANSWERS}
        if layout == "preference"
        else {"messages": [*QUESTION, *ANSWERS["chosen"]]}
    )
    source = write_rows(tmp_path / "a.jsonl", [row])
    words = ("--tokenizer", TOKENIZER, "--output", tmp_path / "OUT", "--layout", layout)
    assert premask("run", source, *words).code == 0
    (block,) = re.findall(r"```python\n(.*?)\n```", look_section([layout]), re.DOTALL)
    assert block in (tmp_path / "OUT" / "README.md").read_text(encoding="utf-8")
    lines = re.sub(r"^(premask\.show\(.*\))  #.*", r"print(\1)", block, flags=re.MULTILINE)
    done = subprocess.run(
        [sys.executable, "-c", lines],
        cwd=tmp_path,
        env={
            **os.environ,
            "HF_HUB_OFFLINE": "1",
            "HF_HOME": str(tmp_path / "home"),
            "PYTHONPATH": str(ROOT / "pipeline"),
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "Which one?" in done.stdout
    assert "The larger one." in done.stdout


def test_a_pushed_card_names_its_repo() -> None:
    card = f"intro\n\n{look_section(['packed'])}\n\n{train_section(['packed'])}\n\nOUT stays in prose.\n"
    pushed, branch = at_repo(card, ["packed"], "org/name"), at_repo(card, ["packed"], "org/name", "long")

    assert pushed.count('load_dataset("org/name", "packed", split="train")') == 2
    assert branch.count('load_dataset("org/name", "packed", revision="long", split="train")') == 2
    assert 'snapshot_download("org/name", repo_type="dataset") + "/tokenizer"' in pushed
    assert 'snapshot_download("org/name", revision="long", repo_type="dataset") + "/tokenizer"' in branch
    assert "`OUT` is this folder" not in pushed
    assert pushed.count("OUT") == 1
    assert at_repo(pushed, ["packed"], "org/name") == pushed


def test_one_trainer_is_shown_and_the_others_are_named() -> None:
    text = train_section(["unpacked"])

    assert text.count("```") == 2
    assert (
        "The lines for Trainer, axolotl, LLaMA-Factory, unsloth, open-instruct are in the documentation"
        in text
    )


def test_links_are_those_that_the_package_declares(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = {"card": {"pretty_name": "A {b} & c"}, "run_key": "0" * 64, "premask": "1.2", "contract": 1}
    declared = {"Project-URL": "Homepage, https://example.org/premask"}

    class Metadata:
        def get_all(self, name: str) -> list[str]:
            return [declared[name]]

    assert "url = " not in citation_section(facts)
    monkeypatch.setattr(card_use.importlib.metadata, "metadata", lambda _: Metadata())

    assert "url = {https://example.org/premask}," in citation_section(facts)
    assert r"title = {A \{b\} \& c}" in citation_section(facts)
    assert card_use.written_by(facts).startswith("Written by [premask](https://example.org/premask) 1.2")
    assert "(https://example.org/premask/trainers.html)" in train_section(["packed"])
