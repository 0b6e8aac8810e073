"""Recipes as files: what is no recipe, or a hostile one, ends in one line and reads nothing that it need not."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from premask.core.errors import RecipeError
from premask.core.recipe_file import load_recipe, read_recipe

HEAD = "sources: [a.jsonl]\ntokenizer: tok\noutput: out\n"
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefg", "bcdefgh", strict=True)
)


def refusal(path: Path) -> str:
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    text = str(caught.value)
    assert "\n" not in text
    return text.removeprefix(f"recipe {path}").removeprefix(" cannot be read")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_length: 8\nmax_length: 9\n", ": line 5: key 'max_length' is there twice, first on line 4;"),
        ("train:\n  text: true\n  'text': false\n", ": line 6: key 'text' is there twice, first on line 5;"),
        ("sources: [b.jsonl]\n", ": line 4: key 'sources' is there twice, first on line 1;"),
        (BOMB, ": its aliases stand for more than 200,000 values"),
        ("template_kwargs: &x {a: *x}\n", ": line 4: an alias contains itself"),
        ("template_kwargs: {a: " + "[" * 70 + "]" * 70 + "}\n", ": line 4: it is nested more than 64 levels"),
        ("a: " + "[" * 20_000 + "\n", ": it is nested too deeply"),
        (
            "cache: !!python/object/apply:os.system [id]\n",
            ": line 4: the tag !!python/object/apply:os.system",
        ),
        ("template_kwargs: {a: !!binary aGk=}\n", ": line 4: the tag !!binary is not for recipes"),
        ("template_kwargs: {a: !!set {b}}\n", ": line 4: the tag !!set is not for recipes"),
        ("cache: !mine x\n", ": line 4: the tag !mine is not for recipes"),
        ("? [a]\n: 1\n", ": line 4: a key must be a text"),
        ("\tseed: 1\n", ": line 4, column 1: there is a tab; write spaces"),
        ("---\nseed: 1\n", ": line 4, column 1: a second document begins; a recipe is one"),
        (f"seed: {'9' * 5005}\n", ": a number has too many digits"),
        ("seed: [1\n", ": line 5, column 1: "),
        ("cache: '\x01'\n", ": unacceptable character"),
    ],
)
def test_what_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(HEAD + text, encoding="utf-8")

    assert refusal(path).startswith(message)


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    os.mkfifo(tmp_path / "pipe.yaml")  # opened, it would wait for ever
    (tmp_path / "device.yaml").symlink_to("/dev/zero")
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    with (tmp_path / "large.yaml").open("wb") as file:
        file.truncate(10**12)

    assert refusal(tmp_path / "folder.yaml") == ": it is a directory, not a file"
    assert refusal(tmp_path / "pipe.yaml") == ": it is a pipe or a device, not a file"
    assert refusal(tmp_path / "device.yaml") == ": it is a pipe or a device, not a file"
    assert refusal(tmp_path / "loop.yaml") == ": Too many levels of symbolic links"
    assert refusal(tmp_path / "large.yaml").startswith(": it has more than 1 MB")


def test_values_are_those_that_a_manifest_gives_back(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        HEAD + "date: 2024-02-29\ntemplate_kwargs: {day: 2024-02-29, ends: [=, yes]}\n", encoding="utf-8"
    )
    recipe = load_recipe(path)

    assert str(recipe.date) == "2024-02-29"
    assert recipe.template_kwargs == {"day": "2024-02-29", "ends": ["=", True]}
    assert type(recipe).model_validate(json.loads(recipe.model_dump_json())) == recipe


def test_merge_keys_json_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        f"{HEAD}card: &card {{license: mit}}\nsplits: {{<<: {{test: 0.1}}, test: 0.2}}\n",
        encoding="utf-8-sig",
    )
    keys = read_recipe(path)
    path.write_text(json.dumps(keys))

    assert keys["splits"] == {"test": 0.2}
    assert read_recipe(path) == keys
