"""`run`: rows in memory give the shards that the command writes of the same rows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import polars as pl
import pytest
from commands import ROOT, TOKENIZER, chat, premask, write_rows
from outputs import rows_of
from premask.api.run import run
from premask.api.show import show
from premask.api.sources import Inputs
from premask.core.errors import OutputError, PremaskError, PushError, RecipeError, SourceError, TokenizerError
from premask.core.recipe import Recipe

ROWS: list[dict[str, Any]] = [
    *(chat(f"Question {i}", f"Answer {i}", "And now?", "Now this.") for i in range(30)),
    {"messages": []},
]


def files(out: Path) -> dict[str, bytes]:
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*.parquet"))
        if path.parent.name != "lineage"  # names its source
    }


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


KINDS = {
    "list": lambda: ROWS,
    "Dataset": lambda: datasets.Dataset.from_list(ROWS),
    "stream": lambda: datasets.Dataset.from_list(ROWS).to_iterable_dataset(),
    "DataFrame": lambda: pl.DataFrame(ROWS),
}


@pytest.mark.parametrize("kind", KINDS)
def test_shards_are_those_of_the_command(kind: str, here: Path) -> None:
    result = run(sources=[KINDS[kind]()], tokenizer=TOKENIZER, output="out/api", max_length=256)
    (written,) = (here / "out" / "premask-inputs").iterdir()
    words = ("--tokenizer", TOKENIZER, "--max-length", 256)
    done = premask("run", written.relative_to(here), *words, "--output", "out/command")
    assert done.code == 0, done

    assert files(here / "out/api") == files(here / "out/command")
    assert result.counts["kept"] == 30
    assert [line["reason"] for line in result.rejects] == ["no_messages"]
    assert premask("verify", "out/api", "--full").code == 0


def test_rows_in_a_file_give_the_same_packs(here: Path) -> None:
    run(sources=[ROWS], tokenizer=TOKENIZER, output="out/api")
    words = ("--tokenizer", TOKENIZER, "--output", "out/command")
    assert premask("run", write_rows(here / "rows.jsonl", ROWS), *words).code == 0

    assert rows_of(here / "out/api", "packed") == rows_of(here / "out/command", "packed")


def test_the_same_rows_are_the_same_run(here: Path) -> None:
    keys: dict[str, Any] = {"tokenizer": TOKENIZER, "output": "out/chats"}
    first = run(sources=[ROWS], **keys)
    again = run(sources=[ROWS], **keys)

    assert (first.fresh, again.fresh) == (True, False)
    assert first.manifest == again.manifest
    with pytest.raises(OutputError, match="the output of another run"):
        run(sources=[ROWS[:5]], **keys)
    assert run(sources=[ROWS[:5]], overwrite=True, **keys).counts["kept"] == 5


def test_a_file_that_is_there_is_left_to_those_who_read_it(here: Path) -> None:
    inputs = Inputs(here / "inputs")
    (first,) = map(Path, inputs.entries([ROWS]))
    before = first.stat()

    assert inputs.entries([ROWS]) == [str(first)]
    assert (first.stat().st_ino, first.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert first.stat().st_nlink == 1
    first.write_text("damaged", encoding="utf-8")
    inputs.entries([ROWS])
    assert first.stat().st_size == before.st_size


def test_objects_have_names_by_their_content(here: Path) -> None:
    from transformers import AutoTokenizer  # noqa: PLC0415

    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    template = (Path(TOKENIZER) / "chat_template.jinja").read_text(encoding="utf-8")
    results = [
        run(sources=[ROWS], tokenizer=tokenizer, chat_template=template, output=f"out/{name}")
        for name in "ab"
    ]

    recipes = [result.manifest["recipe"] for result in results]
    assert recipes[0] | {"output": ""} == recipes[1] | {"output": ""}
    assert sorted(path.name.partition("-")[0] for path in (here / "out/premask-inputs").iterdir()) == [
        "rows",
        "template",
        "tokenizer",
    ]


def test_files_rows_and_their_settings_together(here: Path) -> None:
    write_rows(here / "more.jsonl", ROWS[:3])
    write_rows(here / "last.jsonl", ROWS[:5])
    result = run(
        sources=["more.jsonl", {"path": ROWS[:4], "repeat": 2}, here / "last.jsonl"],
        tokenizer=TOKENIZER,
        output="out/chats",
    )

    assert [each["rows"] for each in result.manifest["inputs"]] == [3, 4, 5]
    assert result.counts["samples"] == 3 + 2 * 4 + 5


def test_recipes_of_all_kinds(here: Path) -> None:
    write_rows(here / "rows.jsonl", ROWS)
    keys = {"sources": ["rows.jsonl"], "tokenizer": TOKENIZER, "output": "out/chats"}
    text = "".join(f"{key}: {value if key != 'sources' else '[rows.jsonl]'}\n" for key, value in keys.items())
    (here / "chats.yaml").write_text(text, encoding="utf-8")

    first = run("chats.yaml", max_length=512)
    assert first.manifest["recipe"]["max_length"] == 512
    for recipe in (Path("chats.yaml"), keys, Recipe.model_validate(keys)):
        assert run(recipe, max_length=512).fresh is False


SCRIPT = """
import sys, premask
sys.addaudithook(lambda event, _: sys.exit(event) if event in ("socket.connect", "socket.getaddrinfo") else None)
rows = [{"messages": [{"role": "user", "content": str(i)}, {"role": "assistant", "content": "Yes"}]} for i in range(40)]
print("begin")
premask.mask(rows, sys.argv[1])
premask.prepare(rows, sys.argv[1], max_length=64)
result = premask.run(sources=[rows], tokenizer=sys.argv[1], output="out", workers=2, unit_rows=5)
print(result.counts["kept"])
print(*sorted({"torch", "transformers", "datasets", "polars"} & {*sys.modules}))
"""


def test_a_script_without_a_guard_without_torch_and_without_a_network(here: Path) -> None:
    (here / "script.py").write_text(SCRIPT, encoding="utf-8")
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "pipeline")}
    done = subprocess.run(
        [sys.executable, "script.py", TOKENIZER], env=environ, capture_output=True, text=True, check=False
    )

    assert done.stdout.split("\n") == ["begin", "40", "", ""], done.stderr
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("keys", "error", "says"),
    [
        (
            {"history_": "last"},
            RecipeError,
            r"premask\.run: unknown key 'history_'; did you mean 'history'\?",
        ),
        ({"sources": ROWS}, RecipeError, r"a list of rows is one source: sources=\[rows\]"),
        ({"sources": [[]]}, SourceError, "a source is empty"),
        ({"sources": [[{"a": 1}]]}, SourceError, "no known conversation format"),
        ({"sources": [[{"a": {1, 2}}]]}, SourceError, "row 0, key 'a', is no JSON: .*set"),
        ({"sources": [[{"a": 1, "b": float("inf")}]]}, SourceError, "row 0, key 'b', is no JSON"),
        ({"sources": ["no.jsonl"]}, SourceError, r"no\.jsonl"),
        ({"sources": None}, RecipeError, "key 'sources' is missing"),
        ({"output": None}, RecipeError, "key 'output' is missing"),
        ({"tokenizer": None}, RecipeError, "key 'tokenizer' is missing"),
        ({"tokenizer": 3}, TokenizerError, "no tokenizer of transformers"),
        ({"recipe": "no.yaml"}, RecipeError, r"no\.yaml does not exist"),
        ({"workers": -1}, RecipeError, "workers must be at least 0"),
        ({"output": "mine"}, OutputError, "files that premask has not written"),
        ({"push_to_hub": "name"}, PushError, "no name of a repo"),
        ({"chat_template": "{{ foo"}, PremaskError, "line 1"),
        ({"map": "hooks:clean"}, RecipeError, "hooks:clean is code"),
    ],
)
def test_wrong_arguments(keys: Any, error: type[Exception], says: str, here: Path) -> None:
    (here / "mine").mkdir()
    (here / "mine" / "notes.txt").write_text("mine", encoding="utf-8")
    given = {"sources": [ROWS[:2]], "tokenizer": TOKENIZER, "output": "out/chats", **keys}
    with pytest.raises(error, match=says) as raised:
        run(**given)

    assert "\n" not in str(raised.value)
    assert not (here / "out" / "chats").exists()


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"recipe": 3}, "recipe must be the path of a recipe file"),
        ({"recipe": ROWS}, "data goes to sources="),
        ({"workers": "2"}, "workers must be a number, not str"),
        ({"sources": [3]}, "a source is a path, a list of rows"),
        ({"sources": [datasets.DatasetDict(train=datasets.Dataset.from_list(ROWS))]}, r"data\['train'\]"),
    ],
)
def test_wrong_types(keys: Any, says: str, here: Path) -> None:
    with pytest.raises(TypeError, match=says):
        run(**{"sources": [ROWS], "tokenizer": TOKENIZER, "output": "out/chats", **keys})

    assert not (here / "out" / "chats").exists()


@pytest.mark.parametrize("rows", [ROWS, ROWS[:1]])
def test_data_in_place_of_a_recipe(rows: list[Any], here: Path) -> None:
    write_rows(here / "chats.jsonl", rows)
    for name in ("chats.jsonl", "missing.parquet", "."):
        with pytest.raises(RecipeError, match=rf'{name} is no recipe.*for data, give sources=\["{name}"\]'):
            run(name, tokenizer=TOKENIZER, output="out")


def test_an_output_is_a_path(here: Path) -> None:
    with pytest.raises(TypeError, match="output must be a path, not int"):
        run(sources=[ROWS[:1]], tokenizer=TOKENIZER, output=5)  # type: ignore[arg-type]


def test_errors_name_arguments_and_no_options(here: Path) -> None:
    run(sources=[ROWS[:1]], tokenizer=TOKENIZER, output="out")
    with pytest.raises(OutputError, match="choose another output, or pass overwrite=True to replace it"):
        run(sources=[ROWS[:1]], tokenizer=TOKENIZER, output="out", max_length=99)
    with pytest.raises(RecipeError, match="then add allow_map=True"):
        run(sources=[ROWS[:1]], tokenizer=TOKENIZER, output="other", map="hooks:clean")


def test_a_result_is_shown_by_its_layout(here: Path) -> None:
    result = run(sources=[ROWS[:1]], tokenizer=TOKENIZER, output="out")
    with pytest.raises(TypeError, match=r'show result\["packed"\]'):
        show(result, TOKENIZER)
