"""The recipe: what stands in one, what is refused and with which words, and what tells two apart."""

from __future__ import annotations

import datetime
import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from premask.core.errors import RecipeError
from premask.core.recipe import (
    OTHER_KEYS,
    ControlTokens,
    History,
    Layout,
    Mask,
    Recipe,
    TooLong,
    Train,
    Turns,
)
from premask.core.recipe_file import load_recipe, make_recipe
from premask.core.source_entry import DialectName, FieldMap, Source, split_path
from premask.dialects import DIALECTS

LEAST = {"sources": ["a.jsonl"], "tokenizer": "tok", "output": "out"}
SCHEMA = Path(__file__).parents[2] / "schemas" / "recipe.schema.json"


def refusal(**change: Any) -> str:
    """The message with which a recipe is refused that is sound but for `change`."""
    with pytest.raises(RecipeError) as caught:
        make_recipe({**LEAST, **change})
    return str(caught.value)


# ==== What stands in a recipe ====


def test_all_keys_and_their_defaults() -> None:
    assert make_recipe(LEAST).model_dump(mode="json") == {
        "sources": ["a.jsonl"],
        "dialect": "auto",
        "fields": None,
        "paths": "best",
        "repair": [],
        "max_row_bytes": 64_000_000,
        "salvage": False,
        "map": None,
        "tokenizer": "tok",
        "chat_template": None,
        "template_kwargs": {},
        "date": "2025-01-01",
        "max_length": 4096,
        "too_long": "reject",
        "history": "split",
        "mask": "provenance",
        "open_reasoning": "reject",
        "on_dropped": "reject",
        "seam": "prompt",
        "train": {
            "roles": ["assistant"],
            "turns": "all",
            "reasoning": True,
            "empty_reasoning": True,
            "text": True,
            "tool_calls": True,
            "end_of_turn": True,
        },
        "leave_out": [],
        "append_eos": False,
        "loss_weights": False,
        "end_of_turn": [],
        "control_tokens": "text",
        "layout": ["packed"],
        "keep": None,
        "duplicates": "keep",
        "near_duplicates": None,
        "decontaminate": None,
        "splits": {},
        "split_by": "first_user",
        "mix_by": "tokens",
        "budget": None,
        "temperature": None,
        "max_repeat": 4.0,
        "seed": 0,
        "shuffle": False,
        "pad_rows": "none",
        "pad_to_multiple": None,
        "extra_columns": [],
        "token_columns": [],
        "pack_window": 16_000_000,
        "unit_rows": None,
        "engine": "auto",
        "verify": 0.002,
        "cache": None,
        "card": {
            "license": None,
            "language": [],
            "pretty_name": None,
            "source_datasets": [],
            "base_model": None,
            "tags": [],
            "description": None,
            "example": True,
        },
        "output": "out",
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fields": {"user": "q"}}, "recipe: fields: name either 'messages', or 'assistant' (and 'user')"),
        (
            {"fields": {"messages": "a", "assistant": "b"}},
            "recipe: fields: name either 'messages', or 'assistant' (and 'user')",
        ),
        ({"fields": {"messages": "a", "user": "b"}}, "recipe: fields: 'user' does not go with 'messages'"),
        ({"fields": {"assistant": "a", "role": "b"}}, "recipe: fields: 'role' does not go with 'assistant'"),
        (
            {"fields": {"asistant": "b"}},
            "recipe: unknown key 'fields.asistant'; did you mean 'assistant'?",
        ),
        (
            {"fields": {"assistant": "a..b"}},
            "recipe: fields.assistant: 'a..b' is not a path; write names joined by dots, such as data.turns[0].text",
        ),
        (
            {"fields": {"messages": "a", "roles": {"A": "usr"}}},
            "recipe: fields.roles: 'usr' (of A) is not a role; known are system, developer, user, assistant, tool, tool_call",
        ),
        (
            {"dialect": "openai", "fields": {"assistant": "a"}},
            "recipe: 'fields' says how rows are read, and so does 'dialect'; leave one of them out",
        ),
        (
            {"sources": [{"path": "a", "dialect": "kto", "fields": {"assistant": "a"}}]},
            "recipe: sources.0: 'fields' says how rows are read, and so does 'dialect'; leave one of them out",
        ),
        (
            {"sources": [{"path": "a", "fields": {"asistant": "a"}}]},
            "recipe: unknown key 'sources.0.fields.asistant'; did you mean 'assistant'?",
        ),
        ({"repair": ["strip_html", "strip_html"]}, "recipe: repair: a name is in the list twice"),
    ],
)
def test_wrong_fields_and_repairs(change: dict[str, Any], message: str) -> None:
    assert refusal(**change) == message


@pytest.mark.parametrize(
    ("path", "steps"),
    [
        ("a", ["a"]),
        ("a.b", ["a", "b"]),
        ("a[0].b", ["a", 0, "b"]),
        ("a[0][-1]", ["a", 0, -1]),
        ("[1].a", [1, "a"]),
        ("relevant APIs", ["relevant APIs"]),
    ],
)
def test_paths(path: str, steps: list[str | int]) -> None:
    assert split_path(path) == steps


@pytest.mark.parametrize("path", ["", ".", "a.", "a[", "a[x]", "a[0]b", "a.[0]"])
def test_what_is_no_path(path: str) -> None:
    with pytest.raises(ValueError, match="is not a path"):
        split_path(path)


def test_dialects_of_the_recipe_are_those_there_are() -> None:
    assert [each.value for each in DialectName] == ["auto", *DIALECTS]


def test_every_key_says_what_it_is_for() -> None:
    fields = {**Recipe.model_fields, **Train.model_fields, **FieldMap.model_fields, **Source.model_fields}

    assert [name for name, field in fields.items() if not field.description] == []


def test_a_recipe_cannot_be_changed() -> None:
    recipe = make_recipe(LEAST)

    with pytest.raises(ValueError, match="frozen"):
        recipe.max_length = 8
    with pytest.raises(ValueError, match="frozen"):
        recipe.train.reasoning = False


def test_flags_give_text_and_yaml_gives_values() -> None:
    """`--max-length 512` arrives as a string, `date: 2024-02-29` in YAML as a date."""
    text = make_recipe({**LEAST, "max_length": "512", "date": "2024-02-29", "train": {"reasoning": "false"}})
    values = make_recipe(
        {**LEAST, "max_length": 512, "date": datetime.date(2024, 2, 29), "train": {"reasoning": False}}
    )

    assert text == values
    assert text.date == datetime.date(2024, 2, 29)
    assert text.identity() == values.identity()


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("too_long", "truncate", TooLong.truncate),
        ("history", "as-rendered", History.as_rendered),
        ("mask", "generation-tags", Mask.generation_tags),
        ("control_tokens", "parse", ControlTokens.parse),
        ("dialect", "sharegpt", DialectName.sharegpt),
        ("layout", ["unpacked", "packed"], [Layout.unpacked, Layout.packed]),
        ("end_of_turn", ["</s>", "<|end|>"], ["</s>", "<|end|>"]),
        ("sources", ["b/*.jsonl", {"path": "a.json"}], [Source(path="b/*.jsonl"), Source(path="a.json")]),
        ("train", {"roles": ["assistant", "tool"]}, Train(roles=["assistant", "tool"])),
        ("train", {"turns": "last"}, Train(turns=Turns.last)),
        ("template_kwargs", {"enable_thinking": False}, {"enable_thinking": False}),
        ("append_eos", "true", True),
        ("max_length", 2, 2),
    ],
)
def test_values_that_are_taken(key: str, value: Any, expected: Any) -> None:
    assert getattr(make_recipe({**LEAST, key: value}), key) == expected


# ==== What is refused ====


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_lenght": 3}, "recipe: unknown key 'max_lenght'; did you mean 'max_length'?"),
        (
            {"decontaminate": {"sets": [{"path": "a", "column": ["q"]}]}},
            "recipe: unknown key 'decontaminate.sets.0.column'; did you mean 'columns'?",
        ),
        (
            {"decontaminate": {"sets": [{"path": "a", "share": 0.5}]}},
            "recipe: decontaminate.sets: 'share' is for sources that are trained; leave it out",
        ),
        (
            {"near_duplicates": {"treshold": 1}},
            "recipe: unknown key 'near_duplicates.treshold'; did you mean 'threshold'?",
        ),
        ({"max-length": 3}, "recipe: unknown key 'max-length'; did you mean 'max_length'?"),
        ({"Chat_Template": "x"}, "recipe: unknown key 'Chat_Template'; did you mean 'chat_template'?"),
        ({"train": {"reasonin": 1}}, "recipe: unknown key 'train.reasonin'; did you mean 'reasoning'?"),
        ({"train": {"role": ["tool"]}}, "recipe: unknown key 'train.role'; did you mean 'roles'?"),
    ],
)
def test_an_unknown_key_names_the_nearest_known_one(change: dict[str, Any], message: str) -> None:
    assert refusal(**change) == message


def test_an_unknown_key_near_to_none_lists_them_all() -> None:
    message = refusal(zzz=1)

    assert message.startswith("recipe: unknown key 'zzz'; known keys: sources, dialect, fields, paths, ")
    assert all(key in message for key in Recipe.model_fields)
    message = refusal(train={"zzz": 1})
    assert message == (
        "recipe: unknown key 'train.zzz'; known keys: roles, turns, reasoning, empty_reasoning, text, "
        "tool_calls, end_of_turn"
    )


def test_all_unknown_keys_are_named_at_once() -> None:
    assert refusal(layuot=["packed"], histroy="last") == (
        "recipe: unknown key 'layuot'; did you mean 'layout'?; unknown key 'histroy'; did you mean 'history'?"
    )


def test_the_message_says_where_the_values_stand() -> None:
    with pytest.raises(
        RecipeError, match=r"^chats\.yaml: key 'tokenizer' is missing; key 'output' is missing$"
    ):
        make_recipe({"sources": ["a"]}, where="chats.yaml")


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"max_length": 0}, ["max_length", "at least 2", "not 0"]),
        ({"max_length": 1}, ["max_length", "at least 2", "not 1"]),
        ({"max_length": -5}, ["max_length", "not -5"]),
        ({"max_length": "abc"}, ["max_length", "whole number such as 4096", "not 'abc'"]),
        ({"max_length": 4.5}, ["max_length", "whole number such as 4096", "not 4.5"]),
        ({"max_length": None}, ["max_length", "has no value", "leave the key out"]),
        ({"pack_window": 0}, ["pack_window", "not 0"]),
        ({"unit_rows": 0}, ["unit_rows", "not 0"]),
        ({"too_long": "rejct"}, ["too_long", "'rejct' is none of reject, truncate, split", "mean 'reject'?"]),
        ({"history": "zz"}, ["history", "'zz' is none of split, last, as-rendered"]),
        ({"mask": "tags"}, ["mask", "provenance, generation-tags"]),
        ({"control_tokens": "txt"}, ["control_tokens", "did you mean 'text'?"]),
        ({"dialect": "share-gpt"}, ["dialect", "auto, preference, kto", "did you mean 'sharegpt'?"]),
        ({"layout": ["packd"]}, ["layout.0", "did you mean 'packed'?"]),
        ({"layout": []}, ["layout", "at least 1 item"]),
        ({"layout": ["packed", "packed"]}, ["layout", "twice"]),
        ({"layout": "packed"}, ["layout", "list"]),
        ({"sources": []}, ["sources", "at least 1 item"]),
        ({"sources": "a.jsonl"}, ["sources", "list"]),
        ({"sources": [3]}, ["sources.0", "neither a path"]),
        ({"date": "2025-02-30"}, ["date", "not '2025-02-30'"]),
        ({"date": "yesterday"}, ["date", "not 'yesterday'"]),
        ({"template_kwargs": [1]}, ["template_kwargs", "a mapping such as {enable_thinking: false}"]),
        ({"end_of_turn": [""]}, ["end_of_turn", "must not be empty"]),
        ({"end_of_turn": "</s>"}, ["end_of_turn", "list"]),
        ({"append_eos": "maybe"}, ["append_eos", "not 'maybe'"]),
        ({"train": {"turns": "lst"}}, ["train.turns", "did you mean 'last'?"]),
        ({"train": {"roles": []}}, ["train.roles", "at least 1 item"]),
        ({"train": {"roles": ["assistent"]}}, ["train.roles", "assistent", "system, developer, user"]),
        ({"train": {"reasoning": "perhaps"}}, ["train.reasoning", "not 'perhaps'"]),
        ({"train": "last"}, ["train", "'last'"]),
        ({"tokenizer": 3}, ["tokenizer", "a text in quotes", "not 3"]),
        ({"output": None}, ["output", "has no value"]),
    ],
)
def test_a_wrong_value_names_its_key_and_itself(change: dict[str, Any], parts: list[str]) -> None:
    message = refusal(**change)

    assert message.startswith(f"recipe: {parts[0]}:")
    assert all(part in message for part in parts), message
    assert "\n" not in message


def test_all_wrong_values_are_named_at_once() -> None:
    message = refusal(max_length=0, too_long="x", train={"turns": "x"})

    assert [part.split(":")[0] for part in message.removeprefix("recipe: ").split("; ")] == [
        "max_length",
        "too_long",
        "train.turns",
    ]


# ==== What tells two recipes apart ====


def test_the_identity_is_that_of_all_keys_that_decide_bytes() -> None:
    recipe = make_recipe(LEAST)
    changes: dict[str, Any] = {
        "sources": ["b.jsonl"],
        "dialect": "openai",
        "fields": {"user": "q", "assistant": "a"},
        "paths": "all",
        "repair": ["strip_html"],
        "tokenizer": "other",
        "chat_template": "chatml",
        "template_kwargs": {"a": 1},
        "date": "2025-01-02",
        "max_length": 4097,
        "too_long": "split",
        "history": "last",
        "mask": "generation-tags",
        "open_reasoning": "compose",
        "on_dropped": "count",
        "seam": "template",
        "train": {"reasoning": False},
        "leave_out": ["</think>"],
        "append_eos": True,
        "loss_weights": True,
        "end_of_turn": ["x"],
        "control_tokens": "parse",
        "layout": ["unpacked"],
        "keep": "tokens > 9",
        "duplicates": "drop",
        "near_duplicates": {},
        "decontaminate": {"sets": ["a.jsonl"]},
        "splits": {"validation": 0.1},
        "split_by": "id",
        "mix_by": "rows",
        "budget": 9,
        "temperature": 2.0,
        "max_repeat": 2.0,
        "seed": 7,
        "shuffle": True,
        "pad_rows": "to_length",
        "pad_to_multiple": 8,
        "extra_columns": ["completion_mask"],
        "token_columns": ["logprobs"],
        "pack_window": 1,
        "max_row_bytes": 1,
        "salvage": True,
        "map": "hooks:clean",
        "unit_rows": 1,
    }
    others = {"output": "elsewhere", "engine": "tokenizers", "verify": 0, "card": {"license": "mit"}}
    others |= {"cache": "kept"}
    assert {*changes, *others} == set(Recipe.model_fields)
    assert set(others) == OTHER_KEYS
    identities = [make_recipe({**LEAST, key: value}).identity() for key, value in changes.items()]

    assert make_recipe({**LEAST, **others}).identity() == recipe.identity()
    assert len({*identities, recipe.identity()}) == len(changes) + 1


def test_the_identity_does_not_depend_on_the_order_of_keys() -> None:
    one = make_recipe({**LEAST, "template_kwargs": {"a": 1, "b": 2}})
    other = make_recipe({"template_kwargs": {"b": 2, "a": 1}, **dict(reversed(LEAST.items()))})

    assert one.identity() == other.identity()
    assert len(one.identity()) == 64


# ==== YAML ====


def test_a_recipe_in_yaml(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "sources:\n  - chats/*.jsonl\n  - 'Gespräche.jsonl'\n"
        "tokenizer: Qwen/Qwen3-0.6B\n"
        "date: 2024-02-29\n"
        "layout: [packed, unpacked]\n"
        "train:\n  turns: last\n  reasoning: no\n"
        "template_kwargs: {enable_thinking: false}\n"
        "output: out/chats\n",
        encoding="utf-8",
    )
    recipe = load_recipe(path)

    assert [source.path for source in recipe.sources] == ["chats/*.jsonl", "Gespräche.jsonl"]
    assert recipe.date == datetime.date(2024, 2, 29)
    assert recipe.layout == [Layout.packed, Layout.unpacked]
    assert recipe.train == Train(turns=Turns.last, reasoning=False)
    assert recipe.template_kwargs == {"enable_thinking": False}


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"- a\n- b\n", ["holds no keys", "max_length: 4096"]),
        (b"just text\n", ["holds no keys"]),
        (b"", ["holds no keys"]),
        (b"# nothing but a comment\n", ["holds no keys"]),
        (b"sources: [a.jsonl\ntokenizer: x\n", ["cannot be read", "line 2"]),
        (b"sources:\n\t- a\n", ["cannot be read", "line 2"]),
        (b"output: !!python/object:os.system x\n", ["cannot be read", "line 1", "!!python/object:os.system"]),
        (b"output: \xff\xfe\xfa\n", ["cannot be read", "not UTF-8", "byte 8"]),
    ],
)
def test_a_recipe_that_is_no_recipe(tmp_path: Path, content: bytes, parts: list[str]) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    message = str(caught.value)

    assert message.startswith(f"recipe {path} ")
    assert "\n" not in message
    assert all(part in message for part in parts), message


def test_a_recipe_that_is_not_there_or_a_directory(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"missing\.yaml does not exist; check the path"):
        load_recipe(tmp_path / "missing.yaml")
    with pytest.raises(RecipeError, match=r"cannot be read: .*directory"):
        load_recipe(tmp_path)


def test_wrong_keys_of_a_file_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("sources: [a.jsonl]\ntokeniser: tok\noutput: out\n", encoding="utf-8")

    with pytest.raises(
        RecipeError, match=r"recipe\.yaml: unknown key 'tokeniser'; did you mean 'tokenizer'\?"
    ):
        load_recipe(path)


# ==== The published schema ====


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"max_length": 8192, "too_long": "truncate", "history": "last"},
        {"layout": ["packed", "unpacked"], "pack_window": 1, "unit_rows": 1},
        {"train": {"roles": ["assistant", "tool"], "turns": "last", "end_of_turn": False}},
        {"train": {}},
        {"date": "2024-02-29", "template_kwargs": {"enable_thinking": False, "deep": {"a": [1, None]}}},
        {"chat_template": None, "end_of_turn": ["</s>"], "append_eos": True, "loss_weights": True},
        {"dialect": "openai", "mask": "generation-tags", "control_tokens": "reject"},
        {"max_length": "4Ki", "budget": "20M", "pack_window": "16M", "max_row_bytes": "64MB"},
        {
            "sources": [{"path": "a", "limit": "10k"}],
            "decontaminate": {"sets": [{"path": "b", "limit": "1k"}]},
        },
    ],
)
def test_what_is_taken_is_valid_by_the_schema(change: dict[str, Any]) -> None:
    """As it was written, and as a manifest shows it."""
    judge = Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))
    values = {**LEAST, **change}

    judge.validate(values)
    judge.validate(make_recipe(values).model_dump(mode="json"))


@pytest.mark.parametrize(
    "change",
    [
        {"max_lenght": 3},
        {"max_length": 1},
        {"max_length": "64MB"},
        {"budget": "much"},
        {"layout": []},
        {"sources": []},
        {"too_long": "rejct"},
        {"train": {"reasonin": False}},
        {"train": {"roles": []}},
        {"tokenizer": None},
    ],
)
def test_what_is_refused_is_not_valid_by_the_schema(change: dict[str, Any]) -> None:
    judge = Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))

    assert refusal(**change)
    assert not judge.is_valid({**LEAST, **change})


# ==== Token columns ====


@pytest.mark.parametrize(
    ("keys", "columns"),
    [
        ({}, []),
        ({"dialect": "tokens"}, []),
        ({"dialect": "trajectory"}, ["logprobs"]),
        ({"sources": ["a", {"path": "b", "dialect": "trajectory"}]}, ["logprobs"]),
        ({"dialect": "trajectory", "token_columns": []}, []),
        ({"token_columns": ["advantages", "logprobs"]}, ["advantages", "logprobs"]),
    ],
)
def test_trajectories_bring_the_column_of_their_log_probabilities(
    keys: dict[str, Any], columns: list[str]
) -> None:
    recipe = make_recipe({**LEAST, **keys})
    assert recipe.token_columns == columns
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe


@pytest.mark.parametrize("name", ["labels", "loss_weights", "", "Log", "a b", "1st", "\xe9"])
def test_what_no_token_column_can_be_called(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be a token column; write a name such as logprobs"):
        make_recipe({**LEAST, "token_columns": [name]})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sources": [{"path": "a", "share": 0.7}, {"path": "b", "share": 0.6}]}, "add up to 1.3"),
        ({"sources": [{"path": "a", "share": 0.7}]}, "no source is left for the rest"),
        ({"sources": [{"path": "a", "share": 1.0}, "b"]}, "nothing is left for the other sources"),
        ({"sources": [{"path": "a", "share": 0.5}, "b"], "temperature": 2}, "leave one out"),
        ({"sources": [{"path": "a", "share": 0.5, "repeat": 2}, "b"]}, "so does 'repeat'"),
        ({"sources": [{"path": "a", "repeat": 2}, "b"], "temperature": 2}, "so does 'repeat'"),
        ({"temperature": 0.5}, "temperature"),
        ({"sources": [{"path": "a", "share": True}, "b"]}, "write a number"),
    ],
)
def test_mixtures_that_cannot_be_are_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(says)):
        make_recipe({"sources": ["a"], "tokenizer": "t", "output": "o", **change}, where="recipe")


def test_shares_that_add_up_to_1_in_decimals_are_a_mixture() -> None:
    shares = [{"path": name, "share": 0.1} for name in "abcdefghij"]
    recipe = make_recipe(
        {"sources": shares, "tokenizer": "t", "output": "o", "budget": "20M"}, where="recipe"
    )
    assert recipe.mixes
    assert recipe.budget == 20_000_000
    assert not make_recipe({"sources": ["a"], "tokenizer": "t", "output": "o"}, where="recipe").mixes


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        ({"max_length": 100, "pad_to_multiple": 8}, "max_length is 100, .* such as 96 is one"),
        ({"max_length": 100, "pad_to_multiple": 128}, "such as 128 is one"),
        ({"pad_to_multiple": 8, "layout": ["unpacked"]}, "layout has no packed; add it"),
        ({"pad_to_multiple": 1}, "pad_to_multiple"),
    ],
)
def test_multiples_that_cannot_be(keys: dict[str, Any], what: str) -> None:
    with pytest.raises(RecipeError, match=what):
        make_recipe({**LEAST, **keys})
