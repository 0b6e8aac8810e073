"""What the documents say is what the code does: commands, keys, defaults, files; and nothing of one machine."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import ROOT, SAMPLE, command, premask
from premask.cli.app import COMMANDS
from premask.core.recipe import Card, Recipe
from premask.core.source_entry import Source
from premask.masking.chat_template import built_in_templates
from premask.publish.export import FORMS
from premask.review.verify import PACKS_REDONE, REJECTS_REDONE

README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


# ==== Commands ====


def options_of(name: str) -> set[str]:
    """The options of a command; those of `train` are the fields of its `Options`, read without torch."""
    if name != "train":
        return {option for param in command(name).params for option in param.opts}
    tree = ast.parse((ROOT / "pipeline" / "premask" / "train.py").read_text(encoding="utf-8"))
    (options,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Options"]
    fields = [node.target.id for node in options.body if isinstance(node, ast.AnnAssign)]
    return {f"--{field.replace('_', '-')}" for field in fields if field != "dataset"}


def commands_in(text: str) -> Iterator[list[str]]:
    """The words of each `premask` command that stands in a block or a recipe of make."""
    for line in text.splitlines():
        found = re.match(r"(?:    |\t)(?:.*\s{3,})?(?:\S*/)?premask (.*)", line)
        if found:
            yield shlex.split(found[1].replace("$(SAMPLE)", "pipeline/premask/sample"))


@pytest.mark.parametrize("text", [README, MAKEFILE], ids=["README.md", "Makefile"])
def test_the_flags_of_documented_commands_exist(text: str) -> None:
    found = list(commands_in(text))

    assert len(found) >= 2
    for name, *words in found:
        assert name in COMMANDS
        options = options_of(name)
        flags = {word for word in words if word.startswith("--")}
        assert flags <= options, f"premask {name}"


def test_files_of_documented_commands_exist() -> None:
    words = [word for text in (README, MAKEFILE) for command in commands_in(text) for word in command]
    bundled = [word for word in words if word.startswith("pipeline/")]

    assert bundled
    assert [word for word in bundled if not (ROOT / word).exists()] == []


def test_options_that_the_text_speaks_of_exist() -> None:
    spoken = set(re.findall(r"`(--[a-z-]+)", README))
    options = set().union(*map(options_of, COMMANDS))

    assert spoken
    assert spoken <= options


def test_built_in_templates_are_named() -> None:
    listed = re.search(r"built-in names\s+\(([^)]*)\)", README)

    assert listed is not None
    assert re.findall(r"`(\w+)`", listed[1]) == built_in_templates()


# ==== Keys ====


def table_rows(heading: str) -> list[list[str]]:
    """The cells of the table under a heading line."""
    lines = README[README.index(heading) :].splitlines()[2:]
    end = next(i for i, line in enumerate(lines) if not line.startswith("|"))
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[:end]]


SPOKEN_DEFAULTS = {"chat_template": "the tokenizer's", "end_of_turn": "found by probing"}


def test_every_recipe_key_is_in_the_table_with_its_default() -> None:
    table = {key.strip("`"): default.strip("`") for key, default, _ in table_rows("| key | default |")}
    least = Recipe(sources=["x"], tokenizer="x", output="x").model_dump(mode="json")
    required = {name for name, field in Recipe.model_fields.items() if field.is_required()}

    assert set(Recipe.model_fields) - set(table) == set(), "keys that are not in the table"
    assert set(table) - set(Recipe.model_fields) == set(), "keys that do not exist"
    for key, default in table.items():
        if key in required:
            assert default == "", key
        elif key in SPOKEN_DEFAULTS:
            assert default == SPOKEN_DEFAULTS[key]
        elif key not in {"train", "card"}:  # have keys of their own
            assert _same(yaml.safe_load(default), least[key]), key


def test_every_option_of_a_source_is_in_the_table_with_its_default() -> None:
    table = {
        key.strip("`"): default.strip("`") for key, default, _ in table_rows("| of a source | default |")
    }
    least = dict(Source(path="x"))

    assert set(table) == set(least)
    assert {key: yaml.safe_load(default or "x") for key, default in table.items()} == least


def test_every_field_of_the_card_is_named() -> None:
    (text,) = [text for key, _, text in table_rows("| key | default |") if key == "`card`"]

    assert re.findall(r"`(\w+)`", text.partition(";")[0]) == list(Card.model_fields)


def test_what_verify_and_export_say_of_themselves() -> None:
    section = README[README.index("## Checking") : README.index("## How it works")]

    assert f"{PACKS_REDONE} packs" in section
    assert f"{REJECTS_REDONE} lines of the ledger" in section
    for form in FORMS:
        assert f"`{form}`" in section


def _same(shown: Any, value: Any) -> bool:
    return str(shown) == str(value) or shown == value


def test_every_value_that_can_be_chosen_is_named() -> None:
    table = {key.strip("`"): f"{default} {text}" for key, default, text in table_rows("| key | default |")}
    for key in ("too_long", "history", "control_tokens"):
        annotation: Any = Recipe.model_fields[key].annotation
        for choice in annotation:
            assert f"`{choice.value}`" in table[key], f"{key}: {choice.value}"


# ==== Python ====


def test_the_lines_that_load_the_output_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The README's own run of the sample, then its two lines of Python."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipeline").symlink_to(ROOT / "pipeline")
    (words,) = [words for words in commands_in(README) if "out/sample" in words]
    done = premask(*words)
    assert done.code == 0, done.err
    block = re.search(r"    (from datasets import load_dataset)\n    (load_dataset\(.*\))\n", README)
    assert block is not None
    names: dict[str, Any] = {}
    exec(f"{block[1]}\nloaded = {block[2]}", names)  # noqa: S102
    shown = done.out.splitlines()[-1].partition("load it with:  ")[2]
    exec(shown.replace("; load_dataset(", "; again = load_dataset("), names)  # noqa: S102

    loaded = names["loaded"]
    assert block[2] in shown
    assert loaded.column_names == ["input_ids", "labels", "position_ids", "seq_lengths", "length"]
    assert loaded.num_rows == names["again"].num_rows > 0
    assert sum(loaded["length"]) == sum(map(len, loaded["input_ids"]))
    assert max(loaded["length"]) <= 4096


def test_what_comes_out_is_what_the_readme_shows(tmp_path: Path) -> None:
    done = premask(
        "run", SAMPLE / "conversations.jsonl", "--tokenizer", SAMPLE / "tokenizer",
        "--output", tmp_path / "chats", "--layout", "packed,unpacked",
    )  # fmt: skip
    assert done.code == 0, done.err
    block = README[README.index("    out/chats/packed/") :].split("\n\n")[0]
    shown = {re.split(r"[/\s]", line.strip().removeprefix("out/chats/"))[0] for line in block.splitlines()}

    assert {path.name for path in (tmp_path / "chats").iterdir()} == shown


# ==== Files ====


def test_what_the_readme_points_to_is_there() -> None:
    rows = table_rows("| Where is ...? |")
    paths = [path for _, cell in rows for path in re.findall(r"`([^`]+)`", cell)]

    assert len(paths) > 10
    assert [
        path for path in paths if not (ROOT / path).exists() and not (ROOT / "pipeline" / path).exists()
    ] == []
    for name in re.findall(r"`([a-z]+/)`", README):
        assert (ROOT / name).is_dir() or (ROOT / "pipeline" / name).is_dir(), name


def test_targets_of_make_that_are_spoken_of_exist() -> None:
    spoken = set(re.findall(r"(?:`|^    )make ([\w-]+)", README, re.MULTILINE))
    targets = set(re.findall(r"^([\w-]+):.*##", MAKEFILE, re.MULTILINE))

    assert {"demo", "test", "help"} <= spoken
    assert spoken <= targets
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert phony is not None
    assert set(phony[1].split()) == targets


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_help_lists_the_targets() -> None:
    shown = subprocess.run(["make", "-C", ROOT, "-s", "help"], capture_output=True, text=True, check=True)
    listed = {line.split()[0] for line in shown.stdout.splitlines() if line.strip()}

    assert listed == set(re.findall(r"^([\w-]+):.*##", MAKEFILE, re.MULTILINE))


def test_ci_does_what_the_readme_says() -> None:
    script = ROOT / ".ci" / "run"
    if not script.is_file():
        pytest.skip(".ci is not part of a source distribution")

    assert script.read_text(encoding="utf-8").splitlines()[-1] == "make test"
    assert script.stat().st_mode & 0o111


def tracked() -> list[Path]:
    """The files under version control, or all of them where there is none."""
    git = shutil.which("git")
    listed = git and subprocess.run([git, "-C", ROOT, "ls-files", "-z"], capture_output=True, check=False)
    if not listed or listed.returncode or not listed.stdout:
        pytest.skip("this is no checkout of the repository")
    paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    return [path for path in paths if path.is_file()]


MACHINE = re.compile(r"(?<![\w.)~])/(?:work|tmp|root|Users|home(?!/me/))/\w")  # /home/me is an example
INDEX = re.compile(
    "|".join(["py" + r"pi\.", "python" + "hosted", "index.url", "devpi", "artifactory"]), re.IGNORECASE
)
FREE_TEXT = ("conversations.jsonl", "tokenizer.json", "test_docs.py")
"""Files that may name any place: conversations, and these patterns."""


def test_no_file_names_a_place_on_one_machine_or_a_package_index() -> None:
    found = []
    for path in tracked():
        if path.name in FREE_TEXT or "sample_text" in path.parts or path.suffix == ".png":
            continue
        lines = path.read_text(encoding="utf-8").splitlines()
        wrong = [line for line in lines if MACHINE.search(line) or INDEX.search(line)]
        found += [f"{path.relative_to(ROOT)}: {line.strip()[:80]}" for line in wrong]

    assert found == []


def test_pinned_versions_are_names_and_versions_only() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = [line for line in lines if line and not line.startswith("#")]

    assert pinned
    for line in pinned:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[\w.+!]+( *; *[^/]+)?", line), line
