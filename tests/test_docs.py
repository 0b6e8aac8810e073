"""What the documents say is what the code does: commands, keys, defaults, files, links; and nothing of one machine.

The documents are the README, the other Markdown files beside it, and the pages in `docs/`. Blocks of code in
them are read by their language:

    sh       every command exists and takes these arguments; those of the quick start are run
    python   is run, or is one of the lines for a trainer, which `test_trainer_lines.py` runs
    yaml     is a recipe, or the part of one
    json     is read
    text     what a program prints or writes; compared where it can be
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import premask as package
import pytest
import yaml
from commands import ROOT, SAMPLE, command, premask
from places import SHARED
from premask import __version__
from premask.cli.app import COMMANDS
from premask.core.contract import REASONS
from premask.core.defaults import FORMS
from premask.core.manifest import LAYOUTS
from premask.core.recipe import Card, Recipe, Repair
from premask.core.recipe_file import make_recipe
from premask.core.source_entry import DialectName, FieldMap, Source
from premask.masking.chat_template import built_in_templates
from premask.publish.trainer_lines import SNIPPETS, snippets
from premask.review.verify import PACKS_REDONE, REJECTS_REDONE
from scripts import script

PACKAGE = Path(package.__file__).parent
DOCS = ROOT / "docs"
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md")))
}
"""Path from the root -> text."""

README = PAGES["README.md"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
EXTRAS = set(re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE))


def page(name: str) -> str:
    """The text of a page of `docs/`."""
    return PAGES[f"docs/{name}.md"]


def section(text: str, heading: str) -> str:
    """The text under a heading, up to the next one of its level."""
    level = heading.split(maxsplit=1)[0]
    start = text.index(f"\n{heading}\n") + 1
    found = re.search(rf"^#{{1,{len(level)}}} ", text[start + len(heading) :], re.MULTILINE)
    return text[start : start + len(heading) + found.start()] if found else text[start:]


class Block(NamedTuple):
    """A fenced block of code."""

    page: str
    language: str
    text: str


BLOCKS = [
    Block(name, *found)
    for name, text in PAGES.items()
    for found in re.findall(r"^```(\w*)(?: [^\n]*)?\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
]


def blocks(language: str, name: str = "") -> list[Block]:
    """The blocks of a language, of all pages or one."""
    return [block for block in BLOCKS if block.language == language and name in ("", block.page)]


def table(text: str, head: str) -> list[list[str]]:
    """The cells of the table whose first line begins so."""
    lines = [*text[text.index(head) :].splitlines()[2:], ""]
    end = next(i for i, line in enumerate(lines) if not line.startswith("|"))
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[:end]]


def named(text: str) -> list[str]:
    """What is between backticks.

    >>> named("`a`, and `b c`")
    ['a', 'b c']
    """
    return re.findall(r"`([^`]+)`", text)


def test_blocks_have_a_language() -> None:
    assert {block.language for block in BLOCKS} == {"sh", "python", "yaml", "json", "text"}


# ==== Commands ====


def options_of(name: str) -> set[str]:
    """The options of a command; those of `train` are the fields of its `Options`, read without torch."""
    if name != "train":
        return {option for param in command(name).params for option in param.opts}
    tree = ast.parse((PACKAGE / "train.py").read_text(encoding="utf-8"))
    (options,) = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Options"]
    fields = [node.target.id for node in options.body if isinstance(node, ast.AnnAssign)]
    return {f"--{field.replace('_', '-')}" for field in fields if field != "dataset"}


def lines_of(text: str) -> Iterator[list[str]]:
    """The words of each line of a shell block or a recipe of make, without settings of the environment."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(
            line.lstrip("\t@").replace("$(SAMPLE)", str(SAMPLE.relative_to(ROOT))), comments=True
        )
        while words and re.match(r"[A-Z_]+=", words[0]):
            words.pop(0)
        if words:
            yield [words[0].rpartition("/")[2], *words[1:]]


RECIPES = "\n".join(re.findall(r"^\t.*bin\)?/premask .*|^\t\$\(BIN\)/premask .*", MAKEFILE, re.MULTILINE))
SHELL = [(block.page, words) for block in blocks("sh") for words in lines_of(block.text)]
SHELL += [("Makefile", words) for words in lines_of(RECIPES)]


def ids_of(lines: list[tuple[str, list[str]]]) -> list[str]:
    return [f"{where}: {' '.join(words)[:60]}" for where, words in lines]


OWN = [(where, words) for where, words in SHELL if words[0] == "premask"]


@pytest.mark.parametrize(("where", "words"), OWN, ids=ids_of(OWN))
def test_commands_are_taken_as_they_are_written(where: str, words: list[str]) -> None:
    del where
    _, name, *arguments = words

    assert name in COMMANDS
    if name == "train":
        assert {word for word in arguments if word.startswith("--")} <= options_of("train")
    else:
        command(name).make_context(name, list(arguments))  # raises a click.UsageError


def test_every_command_is_documented() -> None:
    assert {words[1] for _, words in OWN} == set(COMMANDS)


OTHERS = [(where, words) for where, words in SHELL if words[0] != "premask"]


@pytest.mark.parametrize(("where", "words"), OTHERS, ids=ids_of(OTHERS))
def test_other_commands_name_what_is_there(where: str, words: list[str]) -> None:
    del where
    program, *arguments = words

    assert program in {"pip", "make", "python", "python3", "torchrun"}
    if program == "make":
        assert set(arguments) <= targets()
    for word in arguments:
        if found := re.search(r"(?:\.|premask)\[(\w+)\]", word):
            assert found[1] in EXTRAS
        if word.endswith((".py", ".txt")):
            assert (ROOT / word).is_file(), word


def test_files_of_documented_commands_exist() -> None:
    words = [word for _, line in SHELL for word in line]
    bundled = [word for word in words if word.startswith(("pipeline/", "examples/", "tests/"))]

    assert bundled
    assert [word for word in bundled if not (ROOT / word).exists()] == []


FOREIGN = {"--dataset_config_hash"}
"""Options of other programs that the pages name."""


def test_options_that_the_text_names_exist() -> None:
    spoken = {word for text in PAGES.values() for word in re.findall(r"`(--[a-z][a-z_-]*)", text)}
    options = set().union(*map(options_of, COMMANDS))

    assert len(spoken) > 40
    assert spoken - FOREIGN - options == set()


def test_extras_that_the_text_names_exist() -> None:
    spoken = {name for text in PAGES.values() for name in re.findall(r"premask\[(\w+)\]", text)}

    assert spoken
    assert spoken <= EXTRAS


def test_every_option_of_train_is_in_the_table_with_its_default() -> None:
    train = pytest.importorskip("torch") and importlib.import_module("premask.train")
    rows = dict(re.findall(r"^\| `--([a-z-]+)` \| (.*?) ?\|", page("train"), re.MULTILINE))
    options = {each.name.replace("_", "-"): each.default for each in dataclasses.fields(train.Options)}
    del options["dataset"]

    assert rows.keys() == options.keys()
    for name, default in options.items():
        shown = rows[name].strip("`")
        if default is not None and default is not False:
            assert shown == str(default) or float(shown) == default, name


# ==== The recipe ====


SPOKEN_DEFAULTS = {"chat_template": "the tokenizer's", "end_of_turn": "found by probing"}
KEYS = {
    key.strip("`"): (default.strip("`"), text) for key, default, text in table(page("recipe"), "| key | d")
}


def test_every_recipe_key_is_in_the_table_with_its_default() -> None:
    least = Recipe(sources=["x"], tokenizer="x", output="x").model_dump(mode="json")
    required = {name for name, field in Recipe.model_fields.items() if field.is_required()}

    assert set(Recipe.model_fields) - set(KEYS) == set(), "keys that are not in the table"
    assert set(KEYS) - set(Recipe.model_fields) == set(), "keys that do not exist"
    for key, (default, _) in KEYS.items():
        if key in required:
            assert default == "", key
        elif key in SPOKEN_DEFAULTS:
            assert default == SPOKEN_DEFAULTS[key]
        elif key not in {"train", "card"}:  # have keys of their own
            assert _same(yaml.safe_load(default), least[key]), key


def _same(shown: Any, value: Any) -> bool:
    return str(shown) == str(value) or shown == value


def test_every_value_that_can_be_chosen_is_named() -> None:
    for key, field in Recipe.model_fields.items():
        annotation: Any = field.annotation
        if key in {"dialect", "repair"} or not hasattr(annotation, "__members__"):
            continue
        for choice in annotation:
            text = " ".join(KEYS[key])
            assert re.search(rf"\b{re.escape(choice.value)}\b", text), f"{key}: {choice.value}"


def test_every_field_of_the_card_and_part_of_train_is_named() -> None:
    train: Any = Recipe.model_fields["train"].annotation

    assert named(KEYS["card"][1]) == list(Card.model_fields)
    assert set(train.model_fields) <= set(named(KEYS["train"][1]))


def test_every_option_of_a_source_is_in_the_table_with_its_default() -> None:
    rows = table(page("sources"), "| of a source | default |")
    shown = {key.strip("`"): yaml.safe_load(default.strip("`") or "x") for key, default, _ in rows}

    assert shown == dict(Source(path="x"))


def test_every_format_and_fix_is_in_its_table() -> None:
    formats = [named(row[0])[0] for row in table(page("formats"), "| `dialect` |")]
    fixes = [named(row[0])[0] for row in table(page("formats"), "| `repair` |")]
    fields = [name for row in table(page("formats"), "| `fields` |") for name in named(row[0])]

    assert formats == [each.value for each in DialectName if each is not DialectName.auto]
    assert fixes == [each.value for each in Repair]
    assert set(fields) == set(FieldMap.model_fields)


def test_keys_that_change_no_byte_are_named() -> None:
    (sentence,) = re.findall(
        r"^These keys change no byte of the shards: (.*?)\. ", page("recipe"), re.MULTILINE
    )
    recipe = importlib.import_module(Recipe.__module__)

    assert set(named(sentence)) == set(recipe.OTHER_KEYS)


COMING_FROM = {path for path in PAGES if path.startswith("docs/from-")}
"""Pages with settings and code of other tools; `test_coming_from.py` reads them."""


@pytest.mark.parametrize(
    "block",
    [
        block
        for block in blocks("yaml")
        if block.page != "docs/trainers.md" and (block.page not in COMING_FROM or "tokenizer:" in block.text)
    ],
    ids=lambda block: block.page,
)
def test_blocks_of_yaml_are_recipes(block: Block) -> None:
    least = {"sources": ["x"], "tokenizer": "x", "output": "x"}

    assert make_recipe({**least, **yaml.safe_load(block.text)})


def test_the_recipe_of_the_first_block() -> None:
    values = yaml.safe_load(blocks("yaml", "docs/recipe.md")[0].text)

    assert make_recipe(values).model_dump(mode="json", exclude_defaults=True) == {
        "sources": ["chats/*.jsonl"],
        "tokenizer": "Qwen/Qwen3-0.6B",
        "max_length": 8192,
        "layout": ["packed", "unpacked"],
        "output": "out/chats",
    }


# ==== What is done ====


def test_built_in_templates_are_named() -> None:
    listed = re.search(r"built-in names\s+\(([^)]*)\)", page("templates"))

    assert listed is not None
    assert named(listed[1]) == built_in_templates()


def test_every_reason_is_in_the_table() -> None:
    assert [named(row[0])[0] for row in table(page("inspecting"), "| reason |")] == list(REASONS)


def test_what_verify_and_export_say_of_themselves() -> None:
    checking, exports = section(page("inspecting"), "## Checking"), section(page("outputs"), "## Export")

    assert f"{PACKS_REDONE} packs" in checking
    assert f"{REJECTS_REDONE} lines of the reject log" in checking
    for form in FORMS:
        assert f"`{form}`" in exports


def test_the_lines_for_trainers_are_those_that_are_run() -> None:
    """The table has a row for each trainer, and each block is one of `SNIPPETS`, in their order."""
    shown = [block.text for block in BLOCKS if block.page == "docs/trainers.md"]
    rows = table(page("trainers"), "| trainer | rows | what matters |")

    assert rows == [[each.trainer, each.layout, each.essential] for each in SNIPPETS]
    assert shown == [each.text for each in snippets(LAYOUTS)]


def test_the_options_of_the_collator_are_in_the_table() -> None:
    pytest.importorskip("torch")
    collator = importlib.import_module("premask.train").Collator
    rows = table(page("trainers"), "| option | default |")

    assert {key.strip("`"): default.strip("`") for key, default, _ in rows} == {
        field.name: str(field.default) for field in dataclasses.fields(collator)
    }


# ==== Python and the quick start ====

BUNDLED = (str(SAMPLE / "conversations.jsonl"), "--tokenizer", str(SAMPLE / "tokenizer"))
"""The bundled sample, as arguments of a command."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like a checkout, in which the README's run of the sample is done, and one with both layouts."""
    folder = tmp_path_factory.mktemp("checkout")
    (folder / "pipeline").symlink_to(ROOT / "pipeline")
    before = Path.cwd()
    os.chdir(folder)
    try:
        (words,) = [
            words for where, words in OWN if where == "README.md" and "out/sample" in words and "run" in words
        ]
        done = premask(*words[1:])
        assert done.code == 0, done.err
        both = ["--output", "out/chats", "--layout", "packed,unpacked"]
        done = premask("run", *BUNDLED, *both)
        assert done.code == 0, done.err
    finally:
        os.chdir(before)
    return folder


ELSEWHERE = {"docs/faq.md", "docs/trainers.md", "docs/recipe.md", "docs/tutorial.md", *COMING_FROM}
PYTHON = [block for block in blocks("python") if block.page not in ELSEWHERE]
PYTHON = [block for block in PYTHON if not block.page.startswith("docs/how-to/")]  # test_how_to.py runs those


@pytest.mark.filterwarnings("ignore:premask.mask", "ignore:Parameter 'function'")
@pytest.mark.parametrize("name", dict.fromkeys(block.page for block in PYTHON))
def test_blocks_of_python_run(name: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a page share their names, like the cells of a notebook; a `Dataset` is of packs."""
    monkeypatch.chdir(place)
    names: dict[str, Any] = {}
    for block in PYTHON:
        if block.page == name:
            exec(block.text, names)  # noqa: S102

    found = [each for each in names.values() if isinstance(each, datasets.Dataset)]
    rows = names.get("rows") or found[-1]
    assert rows.column_names == ["input_ids", "labels", "position_ids", "seq_lengths", "length"]
    assert rows.num_rows > 0
    assert sum(rows["length"]) == sum(map(len, rows["input_ids"]))
    assert max(rows["length"]) <= 4096


def test_the_function_of_the_faq_leaves_out_answers_that_were_cut() -> None:
    (block,) = blocks("python", "docs/faq.md")
    names: dict[str, Any] = {}
    exec(block.text, names)  # noqa: S102
    whole, cut = (
        {"messages": [{"role": "user", "content": "<think>"}, {"role": "assistant", "content": text}]}
        for text in ("<think>r</think>a", "<think>r")
    )

    assert names["finished"](whole) == whole
    assert names["finished"](cut) is None


def test_the_function_of_the_page_makes_rows() -> None:
    (block,) = (each for each in blocks("python") if each.page == "docs/recipe.md")
    names: dict[str, Any] = {}
    exec(block.text, names)  # noqa: S102

    assert names["clean"]({"rating": 2, "messages": []}) is None
    assert names["clean"]({"rating": 3, "messages": [1, 2]}) == {"rating": 3, "messages": [2]}


def test_the_quick_start_runs(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its commands in order, up to those for the reader's own data; and what it says they print."""
    monkeypatch.chdir(place)
    text = page("quick-start").partition("## Your own data")[0]
    found = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    commands = [words for each in found for words in lines_of(each) if words[0] == "premask"]
    printed = ""
    for _, *words in commands:
        done = premask(*words)
        assert done.code == 0, done.err
        printed += done.out
    (shown,) = re.findall(r"^```text\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    lines = {" ".join(line.split()) for line in printed.splitlines()}

    assert [words[0] for _, *words in commands] == ["run", "explain", "show", "rejects", "verify", "report"]
    assert {" ".join(line.split()) for line in shown.splitlines()} <= lines | _first_run(place)


def _first_run(place: Path) -> set[str]:
    """What a run of the sample prints, which says less where the output is there already."""
    done = premask("run", *BUNDLED, "--output", place / "out" / "again")
    return {" ".join(line.split()) for line in done.out.splitlines()}


def test_the_line_that_a_run_prints_loads_the_output(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    done = premask("run", *BUNDLED, "--output", "out/printed")
    line = done.out.splitlines()[-1].partition("load it with:  ")[2]
    names: dict[str, Any] = {}
    exec(line.replace("; load_dataset(", "; rows = load_dataset("), names)  # noqa: S102

    assert names["rows"].num_rows > 0


def test_what_comes_out_is_what_the_page_shows(place: Path) -> None:
    block = blocks("text", "docs/outputs.md")[0].text
    shown = {re.split(r"[/\s]", line.strip().removeprefix("out/chats/"))[0] for line in block.splitlines()}

    assert {path.name for path in (place / "out" / "chats").iterdir()} == shown


def test_the_tables_of_columns_are_those_of_the_files(place: Path) -> None:
    import pyarrow.parquet as pq  # noqa: PLC0415

    text = page("outputs")
    kinds = {
        "packed": "**`packed`**",
        "unpacked": "**`unpacked`**",
        "rejects": "## Reject log",
        "lineage": "## Lineage",
    }
    for kind, start in kinds.items():
        (shard, *_) = sorted((place / "out" / "chats" / kind).glob("*.parquet"))
        rows = table(text[text.index(start) :], "| column |")
        assert [name for row in rows for name in named(row[0])] == pq.read_schema(shard).names, kind


def test_every_key_of_the_manifest_is_named(place: Path) -> None:
    manifest = json.loads((place / "out" / "chats" / "manifest.json").read_text(encoding="utf-8"))
    shown = {name for row in table(page("outputs"), "| key | content |") for name in named(row[0])}

    assert shown <= set(manifest)
    assert set(manifest) - shown <= {"card", "pictures"}


def test_blocks_of_json_are_what_explain_prints(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    (block,) = blocks("json", "docs/python.md")
    done = premask("explain", *BUNDLED, "--format", "json")
    printed = {line["status"]: line for line in map(json.loads, done.out.strip().split("\n"))}
    for shown in map(json.loads, block.text.splitlines()):
        assert shown.keys() == printed[shown["status"]].keys()


@pytest.mark.parametrize(("row", "name"), [(50, "conversation"), (288, "markers")])
def test_pictures_are_drawn_from_what_explain_prints(row: int, name: str) -> None:
    done = premask(
        "explain",
        SAMPLE / "conversations.jsonl",
        "--tokenizer",
        SAMPLE / "tokenizer",
        "--row",
        row,
        "--format",
        "json",
    )
    script = [sys.executable, ROOT / "examples" / "draw_tokens.py"]
    drawn = subprocess.run(script, input=done.out.encode(), capture_output=True, check=True).stdout

    assert drawn == (DOCS / "pictures" / f"{name}.svg").read_bytes()


# ==== Token tables ====

TABLES = ROOT / "examples" / "token_tables.py"
TEMPLATES = SHARED / "corpus"
QWEN = SHARED / "tokenizers" / "qwen3"


@pytest.mark.parametrize("title", re.findall(r"^## (.*)$", page("token-tables"), re.MULTILINE))
def test_token_tables_are_those_of_the_script(title: str) -> None:
    tables = script(TABLES)
    (family,) = [each for each in tables.FAMILIES if each.title == title]
    template = tables.find([TEMPLATES], family)
    if template is None or not QWEN.is_dir():
        pytest.skip(f"no template ends with {family.file} here, or no tokenizer of Qwen3")

    assert section(page("token-tables"), f"## {title}").strip() == tables.section_of(
        family, template, str(QWEN)
    )


def test_the_head_of_the_token_tables_is_that_of_the_script() -> None:
    tables = script(TABLES)

    assert page("token-tables").startswith(tables.HEAD)
    assert [each.title for each in tables.FAMILIES] == re.findall(
        r"^## (.*)$", page("token-tables"), re.MULTILINE
    )


# ==== Pages ====


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 130


def test_the_numbers_of_the_readme_are_those_of_the_comparison() -> None:
    """Its last three rows are columns of the table of speeds."""
    speeds = {row[0]: row for row in table(page("comparison"), "| tool | short chats, Qwen3 |")}
    head = ["premask c86b3c0", "TRL 1.16", "axolotl 0.21.0", "LLaMA-Factory 0.9.5", "open-instruct e6c3044"]
    shown = [row[1:] for row in table(README, "| | premask | TRL")][-3:]

    assert shown == [[speeds[name][column] for name in head] for column in (1, 5, 7)]


def test_every_page_is_in_the_navigation() -> None:
    def paths(entries: list[dict[str, Any]]) -> Iterator[str]:
        for entry in entries:
            (below,) = entry.values()
            yield from [below] if isinstance(below, str) else paths(below)

    listed = list(paths(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]))

    assert sorted(f"docs/{path}" for path in listed) == sorted(
        name for name in PAGES if name.startswith("docs/")
    )


LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


@cache
def anchors(path: Path) -> set[str]:
    """The ids of the headings of a page, as Markdown makes them."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    plain = [re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in headings]
    return {re.sub(r"[-\s]+", "-", heading) for heading in plain}


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    text = re.sub(r"^```.*?^```$|`[^`\n]*`", "", PAGES[name], flags=re.MULTILINE | re.DOTALL)
    for target in LINK.findall(text):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        found = (ROOT / name).parent / path if path else ROOT / name
        assert found.exists(), target
        if anchor:
            assert anchor in anchors(found), target


def test_pages_that_are_included_have_no_relative_links() -> None:
    """They are at the root for readers of the repository, and in `docs/` for the site."""
    included = [
        found[1]
        for text in PAGES.values()
        for found in re.finditer(r'^--8<-- "(\w+\.md)"$', text, re.MULTILINE)
    ]

    assert sorted(included) == ["CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"]
    for name in included:
        assert [target for target in LINK.findall(PAGES[name]) if not target.startswith("http")] == []


def test_the_changelog_knows_this_version() -> None:
    assert re.search(rf"^## (Unreleased|{re.escape(__version__)})$", PAGES["CHANGELOG.md"], re.MULTILINE)
    assert f"\n## {__version__}\n" in PAGES["CHANGELOG.md"]


FORMER = re.compile(r"\b(mend(s|ed|ing)?|ledger|forged|distrust|stands?|told)\b|—", re.IGNORECASE)
"""Words that the glossary replaces."""


@pytest.mark.parametrize("name", PAGES)
def test_pages_use_the_words_of_the_glossary(name: str) -> None:
    text = PAGES[name].partition("## Words we do not use")[0]

    assert [line for line in text.splitlines() if FORMER.search(line)] == []


def test_the_site_is_built_and_loads_nothing_from_the_network(tmp_path: Path) -> None:
    if importlib.util.find_spec("zensical") is None:
        pytest.skip("zensical is not installed; pip install 'premask[docs]'")
    for path in (*ROOT.glob("*.md"), ROOT / "mkdocs.yml"):
        shutil.copy(path, tmp_path)
    shutil.copytree(DOCS, tmp_path / "docs")
    (tmp_path / "pipeline").symlink_to(ROOT / "pipeline")
    build = [sys.executable, "-m", "zensical", "build", "--strict"]
    done = subprocess.run(build, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    loaded = [
        found
        for path in (tmp_path / "site").rglob("*.html")
        for found in re.findall(
            r'<(?:script|img|iframe)[^>]+src="?(https?:[^">]+)|<link[^>]+stylesheet[^>]+(https?:[^">]+)',
            path.read_text(encoding="utf-8"),
        )
    ]
    assert loaded == []


# ==== Files ====


def targets() -> set[str]:
    """The targets of make that its help lists."""
    return set(re.findall(r"^([\w-]+):.*##", MAKEFILE, re.MULTILINE))


def test_targets_of_make_that_the_text_names_exist() -> None:
    spoken = {
        name for text in PAGES.values() for name in re.findall(r"(?:`|^)make ([\w-]+)", text, re.MULTILINE)
    }

    assert {"demo", "test", "help", "docs"} <= spoken
    assert spoken <= targets()
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert phony is not None
    assert set(phony[1].split()) == targets()


@pytest.mark.parametrize("name", ["architecture", "glossary"])
def test_modules_that_the_text_names_exist(name: str) -> None:
    text = page(name).partition("## Words we do not use")[0]
    modules = {name for name in re.findall(r"`([\w/]+(?:\.py|/))`", text) if name != "rejects/"}

    assert len(modules) > 40
    assert [each for each in modules if not (PACKAGE / each).exists() and not (ROOT / each).exists()] == []


def test_the_tree_of_the_readme_is_that_of_the_package() -> None:
    (tree,) = [
        block.text for block in blocks("text", "README.md") if block.text.startswith("pipeline/premask/")
    ]
    shown = {line.split()[0].rstrip("/") for line in tree.splitlines()[1:]}
    there = {path.name for path in PACKAGE.iterdir() if path.is_dir() or path.suffix == ".py"}

    assert shown == there - {"__main__.py", "__pycache__"}


def test_folders_that_the_text_names_exist() -> None:
    names = {
        name
        for text in PAGES.values()
        for name in re.findall(r"`((?:examples|schemas|docs|tests|benchmarks)/[^`*]*)`", text)
    }

    assert len(names) > 5
    assert [name for name in names if not (ROOT / name).exists()] == []


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_help_lists_the_targets() -> None:
    shown = subprocess.run(["make", "-C", ROOT, "-s", "help"], capture_output=True, text=True, check=True)
    listed = {line.split()[0] for line in shown.stdout.splitlines() if line.strip()}

    assert listed == targets()


def test_ci_does_what_the_documents_say() -> None:
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
