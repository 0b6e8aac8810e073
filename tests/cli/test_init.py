"""`premask init`: what is found in data, the recipe that is written, and that a run takes it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from commands import SAMPLE, TOKENIZER, Done, chat, premask, write_rows
from premask.core.recipe_file import make_recipe

TOOL = {"type": "function", "function": {"name": "weigh", "parameters": {"type": "object", "properties": {}}}}
PAIR = {"prompt": "1+1?", "chosen": "2", "rejected": "3"}


@pytest.fixture(autouse=True)
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def init(*words: object) -> str:
    """The recipe that is written."""
    done = premask("init", *words)
    assert (done.code, done.err) == (0, ""), done
    return Path("recipe.yaml").read_text(encoding="utf-8")


def followed(text: str) -> dict[str, Any]:
    """The keys of a recipe of which all suggestions are followed."""
    key = r"^# ((?:  )?(?!base_model)[a-z_]+:(?: .*)?)$"
    return dict(yaml.safe_load(re.sub(key, r"\1", text, flags=re.MULTILINE)))


def test_the_recipe_of_the_sample_is_run_as_it_is(box: Path) -> None:
    source = SAMPLE / "conversations.jsonl"
    done = premask("init", source, "--tokenizer", TOKENIZER)
    text = (box / "recipe.yaml").read_text(encoding="utf-8")
    keys = yaml.safe_load(text)

    assert done.out.splitlines() == [
        "found:   1 file, 0.4 MB, 300 rows, sharegpt",
        "recipe:  recipe.yaml",
        "next:",
        "  premask explain recipe.yaml",
        "  premask run recipe.yaml",
    ]
    assert keys == {
        "sources": [str(source)],
        "tokenizer": TOKENIZER,
        "max_length": 2048,
        "layout": ["packed"],
        "output": "out/conversations",
    }
    assert f"  # {source}: 0.4 MB, 300 rows, jsonl, dialect sharegpt\n" in text
    assert re.search(r"the longest has 7\d\d tokens, 99% have at most 6\d\d, the median is 2\d\d", text)
    assert "Rejected as no_assistant: 1 of 299 rows (" in text
    assert premask("run", "recipe.yaml").code == 0
    assert (box / "out" / "conversations" / "manifest.json").is_file()


def test_the_schema_that_it_names_is_there_and_takes_it() -> None:
    write_rows(Path("a.jsonl"), [chat("Hi", "Hello")])
    text = init("a.jsonl", "--tokenizer", TOKENIZER)
    (where,) = re.findall(r"^# yaml-language-server: \$schema=file://(.*)$", text, re.MULTILINE)

    assert text.startswith("# yaml-language-server: ")
    jsonschema.validate(yaml.safe_load(text), json.loads(Path(where).read_text(encoding="utf-8")))


def test_suggestions_say_why_and_can_be_followed() -> None:
    calls = [{"type": "function", "function": {"name": "weigh", "arguments": {}}}]
    rows: list[Any] = [chat("Hi", "Hello"), chat("Hi", "Hello")]
    rows += [
        chat("Hi", "<p>So</p>"),
        {"messages": [{"role": "assistant", "content": "I am here"}, *chat("Hi", "Ha")["messages"]]},
    ]
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "", "tool_calls": calls}]
    rows.append({"messages": turns, "tools": [TOOL]})
    answer = {"role": "assistant", "content": "4", "reasoning_content": "2+2"}
    rows += [{"messages": [{"role": "user", "content": "2+2?"}, answer]}, chat("Hi")]
    write_rows(Path("a.jsonl"), rows)
    text = init("a.jsonl")

    for reason in (
        "Rejected as no_assistant: 1 of 7 rows",
        "In 1 of 7 rows user and assistant do not take turns",
        "HTML tags or entities outside of code, which may be residue, in 1 of 7 rows",
        "Reasoning in 1 of 7 rows",
        "Tools in 1 of 7 rows",
        "Duplicates of earlier rows: 1 of 7 rows",
    ):
        assert reason in text
    recipe = make_recipe(followed(text))
    assert [each.value for each in recipe.repair] == ["drop_leading_assistant", "strip_html"]
    assert (recipe.train.reasoning, recipe.train.tool_calls) == (False, False)
    assert (recipe.duplicates.value, recipe.splits) == ("drop", {"validation": 0.02})
    assert recipe.card.license == "cc-by-4.0"


def test_keys_that_keep_rows_which_a_template_refuses() -> None:
    write_rows(Path("a.jsonl"), [chat("Hi", "Hello")])
    template = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    Path("open.jinja").write_text(
        template + "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
    )
    done = premask("init", "a.jsonl", "--tokenizer", TOKENIZER, "--chat-template", "open.jinja")
    text = Path("recipe.yaml").read_text(encoding="utf-8")

    assert done.err.startswith("warning: the only row is rejected, open_reasoning: ")
    assert done.err.endswith("; the recipe suggests open_reasoning: compose\n")
    assert "Rejected as open_reasoning: 1 of 1 rows" in text
    assert (followed(text)["chat_template"], followed(text)["open_reasoning"]) == ("open.jinja", "compose")


def test_what_is_said_where_every_row_is_rejected() -> None:
    answer = {"role": "assistant", "content": "4", "reasoning_content": "2+2"}
    write_rows(Path("a.jsonl"), [{"messages": [{"role": "user", "content": "2+2?"}, answer]}] * 2)
    Path("no.jinja").write_text("{{ raise_exception('not\\nthis') }}")
    words = ["--tokenizer", TOKENIZER, "--chat-template", "no.jinja"]
    done = premask("init", "a.jsonl", *words)
    text = Path("recipe.yaml").read_text(encoding="utf-8")

    assert (done.code, done.err.count("\n")) == (0, 1)
    assert done.err.startswith("warning: all 2 rows that were looked at are rejected, template_error: ")
    assert (
        "# Lengths in tokens are not known, because no row was kept. The longest of 2 rows has 8 char" in text
    )
    assert "# Rejected as template_error: 2 of 2 rows (" in text
    assert re.search(r"^# The first one: .*not this", text, re.MULTILINE)
    assert "It is trained" not in text
    yaml.safe_load(text)

    write_rows(Path("b.jsonl"), [chat("No answer")])
    assert (
        "warning: the only row is rejected, no_assistant: " in premask("init", "b.jsonl", "--overwrite").err
    )
    text = Path("recipe.yaml").read_text(encoding="utf-8")
    assert "# Lengths in tokens are not known, because no row was kept.\n" in text


def test_fields_and_dialect_are_written() -> None:
    write_rows(Path("a.jsonl"), [{"q1": "Why?", "reply": "So."}])
    text = init("a.jsonl", "--fields", "user=q1", "--fields", "assistant=reply")
    assert yaml.safe_load(text)["fields"] == {"user": "q1", "assistant": "reply"}

    write_rows(Path("b.jsonl"), [{"text": "A text."}])
    text = init("b.jsonl", "--dialect", "document", "--overwrite")
    assert yaml.safe_load(text)["dialect"] == "document"
    assert premask("run", "recipe.yaml", "--tokenizer", TOKENIZER).code == 0


@pytest.mark.parametrize(
    ("row", "layout"), [(PAIR, "preference"), ({"prompt": "1+1?", "completion": "2", "label": True}, "kto")]
)
def test_rows_of_preferences_have_their_layout(row: dict[str, Any], layout: str) -> None:
    write_rows(Path("a.jsonl"), [row])
    text = init("a.jsonl")

    assert yaml.safe_load(text)["layout"] == [layout]
    assert "tokenizer" not in yaml.safe_load(text)
    assert premask("run", "recipe.yaml").err.startswith("premask: recipe.yaml: key 'tokenizer' is missing")
    assert premask("run", "recipe.yaml", "--tokenizer", TOKENIZER).code == 0


def test_a_file_that_is_cut_short_is_salvaged() -> None:
    Path("a.json").write_text(json.dumps([chat("Hi", "Hello")] * 3)[:-40])
    text = init("a.json")

    assert yaml.safe_load(text)["salvage"] is True
    assert "# a.json is cut short in row 2" in text


def test_sources_are_written_as_they_were_named(box: Path) -> None:
    (box / "chats").mkdir()
    for name in "abc":
        write_rows(box / "chats" / f"{name}.jsonl", [chat("Hi", "Hello")])
    write_rows(box / "it's: #1.jsonl", [chat("Hi", "Hello")])
    text = init("chats", "it's: #1.jsonl", "--output", "recipe.yaml")

    assert yaml.safe_load(text)["sources"] == ["chats", "it's: #1.jsonl"]
    assert [line for line in text.splitlines() if line.startswith("  # chats/")] == [
        f"  # chats/{name}.jsonl: 0.0 MB, 1 row, jsonl, dialect openai" for name in "abc"
    ]


def line_of(done: Done) -> str:
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done
    return done.err


def test_what_is_there_is_kept(box: Path) -> None:
    write_rows(box / "a.jsonl", [chat("Hi", "Hello")])
    (box / "recipe.yaml").write_text("mine")

    assert "recipe.yaml is there already; --overwrite replaces it" in line_of(premask("init", "a.jsonl"))
    assert (box / "recipe.yaml").read_text() == "mine"
    assert init("a.jsonl", "--overwrite").startswith("# yaml-language-server")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["no.jsonl"], "source 'no.jsonl' does not exist; check the path"),
        (["a.txt"], "a.txt has no known file name suffix"),
        (["b.yaml"], "b.yaml: a YAML file is a recipe, and no data; name data files"),
        (["empty.json"], "its rows have no keys; none of them holds a text"),
        (["q.jsonl"], "say with --fields or in the recipe which keys hold what, such as fields: {user: q1"),
        (["a.jsonl", "--output", "x.txt"], "name the recipe .yaml"),
        (["a.jsonl", "--output", "no/x.yaml"], "no/x.yaml cannot be written"),
        (["a.jsonl", "--tokenizer", "nowhere/"], "tokenizer nowhere/ cannot be loaded"),
        (["https://me:secret@host/a.jsonl"], "give credentials in the environment, not in the URL"),
    ],
)
def test_what_is_wrong_is_one_line(box: Path, words: list[str], said: str) -> None:
    write_rows(box / "a.jsonl", [chat("Hi", "Hello")])
    (box / "a.txt").write_text("{}")
    (box / "empty.json").write_text("{}")
    write_rows(box / "q.jsonl", [{"q1": "Why?", "reply": "So."}])
    before = sorted(path.name for path in box.iterdir())
    line = line_of(premask("init", *words))

    assert said in line
    assert "secret" not in line
    assert sorted(path.name for path in box.iterdir()) == before
