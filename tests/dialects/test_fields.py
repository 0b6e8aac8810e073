"""Free mapping: rows of no known format read by the recipe's `fields`, mistakes named, and the lines that the
error about an unknown file shows."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import ROOT, TOKENIZER, premask, write_rows
from outputs import rows_of
from premask.core.errors import RowError, SourceError
from premask.core.recipe import Recipe
from premask.core.records import Message
from premask.core.source_entry import FieldMap
from premask.dialects import conversations, normalize, recognize_file
from premask.dialects.fields import MappedFields
from premask.running.inputs import find_dialect
from premask.sources.inspection import inspect_source

TURNS = [{"who": "A", "says": {"text": "Hi"}}, {"who": "B", "says": {"text": "Hello"}}]


def mapped(**fields: Any) -> MappedFields:
    return MappedFields(FieldMap(**fields))


TURNS_MAP = mapped(
    messages="data.turns", role="who", content="says.text", roles={"a": "user", "B": "assistant"}
)


def test_turns_at_any_path_with_speakers_of_any_name() -> None:
    found = normalize({"data": {"turns": TURNS}, "system": "kept out", "id": 7}, TURNS_MAP)

    assert found.messages == (Message("user", "Hi"), Message("assistant", "Hello"))
    assert found.id == "7"


def test_numbered_speakers() -> None:
    turns = [{"role": 0, "content": "Hi"}, {"role": 1, "content": "Hello"}]
    fields = mapped(messages="turns", roles={"0": "user", "1": "assistant"})

    assert [each.role for each in normalize({"turns": turns}, fields).messages] == ["user", "assistant"]


def test_without_names_of_roles_the_known_ones_count() -> None:
    row = {"x": [{"role": "human", "content": "Hi", "name": "Ann"}, {"role": "gpt", "content": "Hello"}]}

    assert normalize(row, mapped(messages="x")).messages[0] == Message("user", "Hi", name="Ann")


@pytest.mark.parametrize(
    ("page", "role", "read"), [("trouble", "NAME", "user"), ("faq", "developer", "system")]
)
def test_the_lines_that_pages_show_for_other_roles_read_all_of_a_file(
    page: str, role: str, read: str
) -> None:
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    (fields,) = re.findall(rf"fields: (\{{messages: messages, roles: \{{{role}: .*?\}}\}})", text)
    names = (role, "user", "assistant")
    row = {"messages": [{"role": name, "content": "x"} for name in names]}

    found = normalize(row, mapped(**yaml.safe_load(fields)))

    assert [each.role for each in found.messages] == [read, "user", "assistant"]


def test_a_role_that_is_not_mapped_is_refused_with_the_way_to_name_it() -> None:
    row = {"x": [{"role": "narrator", "content": "x"}, {"role": "user", "content": "x"}]}

    with pytest.raises(RowError, match="known roles: narrator; for others, name every speaker of the file"):
        normalize(row, mapped(messages="x", roles={"narrator": "user"}))


def test_columns_at_any_path() -> None:
    row = {
        "about": {"system": "Be brief."},
        "q": "1+1?",
        "answers": [{"text": "2"}, {"text": "two"}],
        "api": [{"name": "add"}],
        "key": "k",
    }
    fields = mapped(system="about.system", user="q", assistant="answers[0].text", tools="api", id="key")
    found = normalize(row, fields)

    assert [each.content for each in found.messages] == ["Be brief.", "1+1?", "2"]
    assert found.tools == ({"type": "function", "function": {"name": "add"}},)
    assert found.id == "k"


def test_a_list_of_answers_gives_several_conversations_where_all_are_wanted() -> None:
    row, fields = {"q": "1+1?", "a": ["2", "two"]}, mapped(user="q", assistant="a")

    assert len(conversations(row, fields)) == 1
    assert [each.messages[1].content for each in conversations(row, fields, every=True)] == ["2", "two"]


def test_a_column_whose_name_is_a_path_goes_first() -> None:
    row = {"a.b": "outer", "a": {"b": "inner"}, "c": "Hello"}

    assert normalize(row, mapped(user="a.b", assistant="c")).messages[0].content == "outer"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"data": {}}, "no_messages: the row has nothing at 'data.turns'"),
        ({"data": {"turns": "Hi"}}, "wrong_type: 'data.turns' is a JSON string, not an array of turns"),
        ({"data": {"turns": ["Hi"]}}, "wrong_type: turn 0 is a JSON string, not an object"),
        ({"data": {"turns": []}}, "no_messages: the row has no turns"),
        ({"data": {"turns": [{"who": "C", "says": {"text": "x"}}]}}, "unknown_role: turn 0 has role 'C'"),
        ({"data": {"turns": TURNS[:1]}}, "no_assistant: none of the 1 messages is by the assistant"),
        ("text", "not_an_object: the row is a JSON string, not an object"),
    ],
)
def test_rows_that_do_not_fit_are_refused(row: Any, message: str) -> None:
    with pytest.raises(RowError) as caught:
        normalize(row, TURNS_MAP)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"a": "Hello"}, "wrong_type: 'q' is missing or empty"),
        ({"q": 3.5, "a": "Hello"}, "wrong_type: 'q' is a JSON number, not a string"),
        ({"q": "Hi"}, "no_assistant: the row has no answer under a"),
        ({"q": "Hi", "a": 3.5}, "wrong_type: the answer in 'a' is a JSON number, not a string"),
        ({"q": "Hi", "a": " "}, "empty_assistant"),
    ],
)
def test_columns_that_do_not_fit_are_refused(row: Any, message: str) -> None:
    with pytest.raises(RowError) as caught:
        normalize(row, mapped(user="q", assistant="a"))
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"messages": "data.turn"},
            "fields.messages: 'data.turn' leads nowhere in the rows: no 'turn' at 'data'; did you mean 'turns'? there is: turns",
        ),
        (
            {"messages": "dat.turns"},
            "fields.messages: 'dat.turns' leads nowhere in the rows: no 'dat'; did you mean 'data'? there is: data, q",
        ),
        (
            {"messages": "data.turns", "role": "speaker"},
            "fields.role: 'speaker' leads nowhere in the turns: no 'speaker'; there is: says, who",
        ),
        (
            {"user": "q", "assistant": "a"},
            "fields.assistant: 'a' leads nowhere in the rows: no 'a'; there is: data, q",
        ),
    ],
)
def test_a_path_that_leads_nowhere_is_named_with_what_is_there(
    tmp_path: Path, fields: dict[str, str], message: str
) -> None:
    source = write_rows(tmp_path / "a.jsonl", [{"data": {"turns": TURNS}, "q": "Hi"}])
    recipe = Recipe.model_validate({"sources": [source], "fields": fields, "tokenizer": "t", "output": "o"})
    with pytest.raises(SourceError) as caught:
        find_dialect(inspect_source(source), recipe)
    assert str(caught.value) == f"{source}: {message}"


def test_an_entry_goes_before_the_recipe(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", [{"q": "Hi", "a": "Hello"}])
    values: dict[str, Any] = {"tokenizer": "t", "output": "o", "dialect": "openai"}
    own = {"path": source, "fields": {"user": "q", "assistant": "a"}}
    info = inspect_source(source)

    assert find_dialect(info, Recipe.model_validate({**values, "sources": [source]})) == "openai"
    assert find_dialect(info, Recipe.model_validate({**values, "sources": [own]})) == mapped(
        user="q", assistant="a"
    )
    entry = {"path": source, "dialect": "auto"}
    assert find_dialect(info, Recipe.model_validate({**values, "sources": [entry]})) == "question_answer"


UNKNOWN: list[tuple[Any, dict[str, Any]]] = [
    (
        {"data": {"turns": [{"who": "Ann", "line": "Hi there"}, {"who": "Bob", "line": "Hello"}, {"who": "Ann", "line": "Bye"}]}},
        {"messages": "data.turns", "role": "who", "content": "line", "roles": {"Ann": "user", "Bob": "assistant"}},
    ),
    ({"my question": "Why?", "reply text": "So."}, {"user": "my question", "assistant": "reply text"}),
]  # fmt: skip


@pytest.mark.parametrize(("row", "fields"), UNKNOWN)
def test_what_the_error_says_to_write_is_a_recipe_that_runs(
    tmp_path: Path, row: Any, fields: dict[str, Any]
) -> None:
    """The lines are made from the keys that were seen, and the file is read with them."""
    source = write_rows(tmp_path / "odd.jsonl", [row, row])
    with pytest.raises(SourceError) as caught:
        recognize_file([row, row], source=source)
    written = str(caught.value).partition("such as ")[2].partition("; or leave")[0]
    assert yaml.safe_load(written) == {"fields": fields}
    recipe = {"sources": [source], "tokenizer": TOKENIZER, "output": str(tmp_path / "out")}
    (tmp_path / "r.yaml").write_text(f"{written}\n{yaml.safe_dump(recipe)}", encoding="utf-8")

    done = premask("run", tmp_path / "r.yaml", "--workers", 1)

    assert done.code == 0, done.err
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["counts"]["kept"] == 2


def test_fields_by_flag(tmp_path: Path) -> None:
    rows = [{"say": [{"who": "A", "text": "Hi"}, {"who": "B", "text": "Hello"}]}, {"say": []}]
    source = write_rows(tmp_path / "a.jsonl", rows)
    flags = ("messages=say", "role=who", "content=text", "roles.A=user", "roles.B=assistant")
    words = [word for flag in flags for word in ("--fields", flag)]
    done = premask(
        "run", source, "--tokenizer", TOKENIZER, "--output", tmp_path / "out", "--workers", 1, *words
    )

    assert done.code == 0, done.err
    assert [each["reason"] for each in rows_of(tmp_path / "out", "rejects")] == ["no_messages"]
    done = premask(
        "run", source, "--tokenizer", TOKENIZER, "--output", tmp_path / "o", "--fields", "messages"
    )
    assert (done.code, done.err) == (
        2,
        "premask: --fields messages: write it as key=path, such as user=question\n",
    )
