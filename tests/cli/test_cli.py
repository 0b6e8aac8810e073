"""The command line: what it does with flags and recipes, and one clear line for everything that is wrong."""

from __future__ import annotations

import gzip
import json
import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import premask as package
import pyarrow.parquet as pq
import pytest
from commands import (
    ROOT,
    SAMPLE,
    TOKENIZER,
    Done,
    chat,
    command,
    command_line,
    paused,
    premask,
    process,
    without_progress,
    write_rows,
)
from outputs import bytes_of, names_in
from premask.cli.app import COMMANDS
from premask.cli.app import GROUPS as COMMAND_GROUPS
from premask.cli.recipe_options import GROUPS, KEYS, ROW_KEYS
from premask.core.contract import REASONS
from premask.core.recipe import Layout, Recipe, Turns
from premask.review.terminal.progress import LineProgress

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
GOOD = chat("Hi", "Hello")
ESCAPE = "\x1b"
CHATML = (SAMPLE / "tokenizer" / "chat_template.jinja").read_text(encoding="utf-8")


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def assert_one_line(done: Done, *parts: str) -> str:
    """The command ended with one clear line that holds `parts`; returns it."""
    assert done.code == 2, done
    assert done.err.startswith("premask: ")
    assert done.err.count("\n") == 1, done.err
    assert done.err.endswith("\n")
    assert done.out == ""
    for part in parts:
        assert part in done.err
    return done.err


def run(*words: object, **environ: str) -> Done:
    return premask("run", *words, "--tokenizer", TOKENIZER, "--output", "out", **environ)


def manifest(out: str | Path = "out") -> dict[str, Any]:
    read: dict[str, Any] = json.loads((Path(out) / "manifest.json").read_text(encoding="utf-8"))
    return read


# ==== Input files ====

ROW = json.dumps(GOOD).encode() + b"\n"
BAD_FILES: dict[str, tuple[str, bytes | None, list[str]]] = {
    "missing": ("a.jsonl", None, ["'a.jsonl' does not exist", "check the path"]),
    "no match": ("no*.jsonl", None, ["pattern 'no*.jsonl' matches no file", "check it"]),
    "empty": ("a.jsonl", b"", ["a.jsonl is empty", "remove it"]),
    "blank": ("a.jsonl", b" \n\n\t\n", ["a.jsonl is empty", "remove it"]),
    "lfs jsonl": ("a.jsonl", LFS, ["a.jsonl is a git-lfs pointer", "git lfs pull"]),
    "lfs json": ("a.json", LFS, ["a.json is a git-lfs pointer", "git lfs pull"]),
    "lfs parquet": ("a.parquet", LFS, ["a.parquet is a git-lfs pointer", "git lfs pull"]),
    "lfs gzip": ("a.jsonl.gz", LFS, ["a.jsonl.gz is a git-lfs pointer", "git lfs pull"]),
    "array": ("a.jsonl", b"[" + ROW + b"," + ROW + b"]", ["a.jsonl holds one JSON array", "rename it to .json"]),
    "pretty": (
        "a.jsonl",
        json.dumps(GOOD, indent=2).encode(),
        ["a.jsonl holds one JSON object", "rename it to .json"],
    ),
    "broken gzip": ("a.jsonl.gz", b"\x1f\x8b\x08\x00garbage", ["a.jsonl.gz cannot be read as gzip", "fetch it again"]),
    "cut gzip": ("a.jsonl.gz", gzip.compress(ROW)[:40], ["a.jsonl.gz cannot be read as gzip", "fetch it again"]),
    "no gzip": ("a.jsonl.gz", ROW, ["a.jsonl.gz should hold gzip by its name", "rename it"]),
    "hidden gzip": ("a.jsonl", gzip.compress(ROW), ["a.jsonl is compressed (gzip)", "rename it to a.jsonl.gz"]),
    "no utf-8": ("a.jsonl", ROW + b'{"a": "\xff"}\n', ["a.jsonl is not UTF-8", "line 2", "convert it"]),
    "no suffix": ("a.txt", ROW, ["a.txt has no known file name suffix", ".jsonl, .ndjson"]),
    "parquet": ("a.parquet", b"PAR1 and nothing else PAR1", ["a.parquet cannot be read as Parquet", "again"]),
    "no parquet": ("a.parquet", ROW, ["a.parquet should hold parquet by its name", "rename it"]),
    "broken json": ("a.json", b'[{"messages": ', ["a.json is not valid JSON", "line 1"]),
    "no rows": ("a.json", b"[]", ["a.json has no row that can be read"]),
    "no data": ("a.json", b'{"alpaca": {"url": "x"}}', ["a.json holds no known conversation format", "alpaca"]),
    "csv quote": ("a.csv", b'messages\n"never closed\n', ["a.csv is not valid CSV", "line 2"]),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_one_line_that_names_it(box: Path, name: str) -> None:
    source, content, parts = BAD_FILES[name]
    if content is not None:
        (box / source).write_bytes(content)
    before = names_in(box)

    assert_one_line(run(source), *parts)
    assert_one_line(premask("explain", source, "--tokenizer", TOKENIZER), *parts)
    assert names_in(box) == before


def test_one_bad_file_among_good_ones(box: Path) -> None:
    write_rows(box / "a.jsonl", [GOOD])
    (box / "b.jsonl").write_bytes(LFS)

    assert_one_line(run("*.jsonl"), "b.jsonl is a git-lfs pointer")
    assert names_in(box) == ["a.jsonl", "b.jsonl"]


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("llamafactory/dataset_info.json", ["holds no known conversation format", "alpaca_en_demo"]),
        ("open-assistant/history/cocktail_recipes.parquet", ["holds no known conversation format", "title"]),
        ("open-instruct/open_instruct/test_data/sft_sample.jsonl", ["git-lfs pointer"]),
    ],
)
def test_files_of_the_shared_corpus_that_are_no_data(
    box: Path, shared: Path, name: str, parts: list[str]
) -> None:
    source = shared / "corpus" / "conversations" / name
    if not source.is_file():
        pytest.skip(f"{source} is not there")

    assert_one_line(run(source), str(source), *parts)
    assert names_in(box) == []


# ==== Tokenizer and template ====


@pytest.fixture
def tokenizer(box: Path) -> Callable[..., str]:
    """Make a copy of the sample tokenizer in which some files have other content, or none."""

    def make(**changes: str | None) -> str:
        shutil.copytree(TOKENIZER, box / "tok")
        for stem, content in changes.items():
            (path,) = (box / "tok").glob(f"{stem}.*")
            path.unlink()
            if content is not None:
                path.write_text(content, encoding="utf-8")
        return str(box / "tok")

    return make


def test_a_tokenizer_that_is_not_there(box: Path) -> None:
    source = write_rows(box / "a.jsonl", [GOOD])

    def given(name: object) -> Done:
        return premask("run", source, "--tokenizer", name, "--output", "out")

    missing = box / "missing"
    assert_one_line(given(missing), f"tokenizer directory {missing} does not exist", "check the path")
    assert_one_line(given("./missing"), "./missing does not exist", "check the path")
    file = SAMPLE / "tokenizer" / "tokenizer.json"
    assert_one_line(given(file), f"tokenizer {file} is a file", "give its directory")
    assert_one_line(given("some-org/no-such-model"), "tokenizer some-org/no-such-model cannot be loaded")
    (box / "empty").mkdir()
    assert_one_line(given(box / "empty"), f"tokenizer {box / 'empty'} cannot be loaded")
    assert names_in(box) == ["a.jsonl", "empty"]


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"tokenizer": '{"version": '}, ["tok cannot be loaded", "Expecting value"]),
        ({"tokenizer": '{"version": "1.0"}'}, ["tok cannot be loaded"]),
        ({"tokenizer_config": "{"}, ["tok cannot be loaded", "Expecting property name"]),
        ({"tokenizer_config": "[1]"}, ["tok cannot be loaded"]),
        ({"chat_template": None}, ["tok has no chat template", "--chat-template", "alpaca, chatml, llama2"]),
        ({"chat_template": "{% if x %}\n{{ 1 }"}, ["tok: syntax error in line 2"]),
    ],
)
def test_a_broken_tokenizer(
    box: Path, tokenizer: Callable[..., str], changes: dict[str, str | None], parts: list[str]
) -> None:
    path, source = tokenizer(**changes), write_rows(box / "a.jsonl", [GOOD])

    assert_one_line(premask("run", source, "--tokenizer", path, "--output", "out"), *parts)
    assert_one_line(premask("template", path), *parts)
    assert names_in(box) == ["a.jsonl", "tok"]


@pytest.mark.parametrize(
    ("chosen", "content", "parts"),
    [
        ("t.jinja", "a\n{% if x %}\n{{ y }\n", ["t.jinja: syntax error in line 3"]),
        ("t.jinja", "a\n{% for m in messages %}\n", ["t.jinja: syntax error in line", "endfor"]),
        ("t.jinja", "{{ x|nofilter }}", ["t.jinja: syntax error in line 1", "nofilter"]),
        ("chatlm", None, ["chatlm is neither a file nor a built-in one", "did you mean 'chatml'?"]),
        ("zzz", None, ["zzz is neither a file nor a built-in one", "alpaca, chatml, llama2"]),
        (".", None, [". is not a file", "built-in name"]),
    ],
)
def test_a_bad_template(box: Path, chosen: str, content: str | None, parts: list[str]) -> None:
    source = write_rows(box / "a.jsonl", [GOOD])
    if content is not None:
        (box / chosen).write_text(content, encoding="utf-8")
    before = names_in(box)

    for done in (
        run(source, "--chat-template", chosen),
        premask("explain", source, "--tokenizer", TOKENIZER, "--chat-template", chosen),
        premask("template", TOKENIZER, "--chat-template", chosen),
    ):
        assert_one_line(done, f"chat template {chosen}", *parts)
    assert names_in(box) == before


def test_a_template_without_the_tags_that_are_asked_for(box: Path) -> None:
    done = run(write_rows(box / "a.jsonl", [GOOD]), "--mask", "generation-tags")

    assert_one_line(done, "has no {% generation %} tags", "remove 'mask'")


# ==== Settings ====


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (["--max-length", 0], ["max_length", "not '0'"]),
        (["--max-length", -7], ["max_length", "not '-7'"]),
        (["--max-length", "abc"], ["max_length", "not 'abc'"]),
        (["--too-long", "trunkate"], ["too_long", "did you mean 'truncate'?"]),
        (["--layout", "pakced"], ["layout", "did you mean 'packed'?"]),
        (["--layout", ","], ["layout", "at least 1 item"]),
        (["--date", "2025-13-01"], ["date", "not '2025-13-01'"]),
        (["--history", "forget"], ["history", "split, last, as-rendered"]),
        (["--control-tokens", "txt"], ["control_tokens", "did you mean 'text'?"]),
        (["--dialect", "openia"], ["dialect", "did you mean 'openai'?"]),
        (["--end-of-turn", ""], ["end_of_turn", "must not be empty"]),
        (["--train", "reasonin=false"], ["train.reasonin", "did you mean 'reasoning'?"]),
        (["--train", "reasoning"], ["--train reasoning", "write it as key=value"]),
        (["--train", "reasoning=perhaps"], ["train.reasoning", "not 'perhaps'"]),
        (["--train", "roles=assistant,baker"], ["train.roles", "unknown role baker", "system, developer"]),
        (["--template-kwargs", "{thinking"], ["--template-kwargs is not valid JSON", "line 1", "name=value"]),
        (["--template-kwargs", "thinking"], ["--template-kwargs thinking: write it", "enable_thinking=auto"]),
        (["--train", "user"], ["--train user: write it as key=value", "roles=assistant,user"]),
        (["--max-length", "4q"], ["max_length", "a whole number such as 4096", "not '4q'"]),
        (["--template-kwargs", "[1]"], ["template_kwargs", "a mapping such as", "not [1]"]),
        (["--unit-rows", "0"], ["unit_rows", "not '0'"]),
        (["--verify", "1.5"], ["verify", "at most 1", "not '1.5'"]),
        (["--engine", "gigatokens"], ["engine", "did you mean 'gigatoken'?"]),
        (["--pack-window", "0"], ["pack_window", "not '0'"]),
    ],
)
def test_a_bad_flag_is_one_line_that_names_its_key(box: Path, flags: list[object], parts: list[str]) -> None:
    done = run(write_rows(box / "a.jsonl", [GOOD]), *flags)

    assert_one_line(done, *parts)
    assert names_in(box) == ["a.jsonl"]


def test_what_is_missing_is_named(box: Path) -> None:
    source = write_rows(box / "a.jsonl", [GOOD])

    assert_one_line(premask("run", source), "key 'tokenizer' is missing", "key 'output' is missing")
    assert_one_line(premask("explain", source), "key 'tokenizer' is missing\n")


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["run", "a.jsonl", "--frob"], ["No such option", "--frob"]),
        (["run", "a.jsonl", "--max-lenght", "3"], ["No such option", "--max-lenght", "--max-length"]),
        (["run", "a.jsonl", "--max-length"], ["--max-length"]),
        (["run", "a.jsonl", "--workers", "many"], ["--workers"]),
        (["run", "a.jsonl", "--workers", "-1"], ["--workers"]),
        (["run"], ["Missing argument"]),
        (["explain", "a.jsonl", "--format", "html"], ["--format"]),
        (["explain", "a.jsonl", "--limit", "0"], ["--limit"]),
        (["explain", "a.jsonl", "--row", "-1"], ["--row"]),
        (["template"], ["Missing argument"]),
        (["frobnicate"], ["No such command", "frobnicate"]),
    ],
)
def test_usage_that_is_wrong(box: Path, words: list[str], parts: list[str]) -> None:
    done = premask(*words)

    assert done.code == 2
    assert done.out == ""
    assert "Traceback" not in done.err
    assert all(part in done.err.splitlines()[-1] for part in parts), done.err
    assert names_in(box) == []


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("max_lenght: 3\n", ["unknown key 'max_lenght'", "did you mean 'max_length'?"]),
        ("train: {reasonin: false}\n", ["unknown key 'train.reasonin'", "did you mean 'reasoning'?"]),
        ("max_length: many\n", ["max_length", "not 'many'"]),
        ("- a\n- b\n", ["holds no keys", "YAML mapping"]),
        ("", ["holds no keys"]),
        ("layout: [packed\nmax_length: 3\n", ["cannot be read", "line 2"]),
        (None, ["does not exist", "check the path"]),
    ],
)
def test_a_bad_recipe_is_one_line_that_names_it(box: Path, content: str | None, parts: list[str]) -> None:
    write_rows(box / "a.jsonl", [GOOD])
    if content is not None:
        (box / "r.yaml").write_text(content, encoding="utf-8")
    before = names_in(box)

    assert_one_line(run("r.yaml"), "r.yaml", *parts)
    assert_one_line(premask("explain", "r.yaml"), "r.yaml", *parts)
    assert names_in(box) == before


def test_two_recipes_or_a_recipe_and_data(box: Path) -> None:
    (box / "a.yaml").write_text("max_length: 8\n")

    assert_one_line(run("a.yaml", "b.yaml"), "a.yaml is a recipe", "under 'sources'")
    assert_one_line(run("a.yaml", "b.jsonl"), "a.yaml is a recipe", "under 'sources'")
    write_rows(box / "b.jsonl", [GOOD])
    assert_one_line(run("b.jsonl", "a.yaml"), "a.yaml is a recipe", "under 'sources'")


# ==== The output ====


def test_an_output_that_cannot_be_used_is_left_as_it_is(box: Path) -> None:
    source = write_rows(box / "a.jsonl", [GOOD])
    (box / "out").write_text("mine")
    assert_one_line(run(source), "out is a file", "choose another --output")
    assert (box / "out").read_text() == "mine"

    (box / "out").unlink()
    (box / "out").mkdir()
    (box / "out" / "mine.txt").write_text("mine")
    assert_one_line(run(source), "premask has not written", "choose another --output")
    assert_one_line(run(source, "--overwrite"), "premask has not written", "choose another --output")
    assert names_in(box / "out") == ["mine.txt"]

    below = premask("run", source, "--tokenizer", TOKENIZER, "--output", "a.jsonl/out")
    assert_one_line(below, "cannot write a.jsonl/out")
    assert names_in(box) == ["a.jsonl", "out"]


def test_the_output_of_another_recipe_is_kept_by_default(box: Path) -> None:
    source = write_rows(box / "a.jsonl", [GOOD])
    assert run(source).code == 0
    before = bytes_of(box / "out")

    assert_one_line(run(source, "--max-length", 99), "max_length was 4096, now 99", "--overwrite")
    assert bytes_of(box / "out") == before
    assert run(source, "--max-length", 99, "--overwrite").code == 0
    assert manifest()["recipe"]["max_length"] == 99
    assert names_in(box) == ["a.jsonl", "out"]


def test_the_same_run_again_has_nothing_to_do(box: Path) -> None:
    source = write_rows(box / "a.jsonl", [GOOD])
    assert "nothing to do" not in run(source).out
    before = bytes_of(box / "out")
    again = run(source)

    assert again.code == 0
    assert again.out.startswith("out already holds this recipe's output; nothing to do\n")
    assert bytes_of(box / "out") == before


def test_when_every_row_is_rejected_the_reasons_are_counted(box: Path) -> None:
    source = write_rows(box / "a.jsonl", [chat("Hi"), chat("Ho"), "{broken", chat("Hi", " ")])

    assert_one_line(
        run(source),
        "every row was rejected (2 no_assistant, 1 ",
        "1 invalid_json",
        "1 empty_assistant",
        "nothing was written",
        "premask explain",
    )
    assert not (box / "out").exists()


# ==== Rows that are rejected ====

AWKWARD = """\
{%- set first = messages[0]['content'] -%}
{%- if first == 'unsafe' %}{{ ''.__class__.mro }}{% endif -%}
{%- if first == 'unstable' %}{{ lipsum(n=1) }}{% endif -%}
{%- if first == 'lost' %}{{ first.encode }}{% endif -%}
{%- if first == 'raised' %}{{ raise_exception('not this one') }}{% endif -%}
{%- for message in messages -%}
    {{- '<|im_start|>' + message['role'] + '\\n' -}}
    {%- if message['role'] == 'assistant' and first == 'mismatch' %}{{ first }}{% endif -%}
    {%- if message['role'] == 'user' or first != 'dropped' %}{{ message['content'] }}{% endif -%}
    {%- if message['role'] == 'assistant' and first == 'unclear' %}{{ first }}{% endif -%}
    {{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif -%}
{%- if add_generation_prompt and first == 'opens' %}{{ '<think>\\n' }}{% endif -%}
"""
REJECTED: dict[str, Any] = {
    "invalid_json": '{"messages": [}',
    "not_an_object": "42",
    "unknown_dialect": {"text": "Hi"},
    "no_messages": {"messages": []},
    "unknown_role": {"messages": [{"role": "baker", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]},
    "wrong_type": {"messages": [{"role": "user", "content": 3.5}, {"role": "assistant", "content": "Ho"}]},
    "no_assistant": chat("Hi"),
    "empty_assistant": chat("Hi", ""),
    "unsupported_content": chat("Hi", "Ho", images=["a.png"]),
    "bad_tool_call": {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "tool_calls": [3]}]},
    "unsupported_weight": {
        "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho", "weight": 0.5}]
    },
    "bad_transcript": {"text": "\n\nHuman: Hi\n\nHuman: Ho\n\nAssistant: Hello"},
    "rejected_answer": {"prompt": "Hi", "completion": "Ho", "label": False},
    "invalid_text": '{"messages": [{"role": "user", "content": "\\ud800"}, {"role": "assistant", "content": "Ho"}]}',
    "template_error": chat("raised", "Ho"),
    "template_unsafe": chat("unsafe", "Ho"),
    "template_unstable": chat("unstable", "Ho"),
    "origin_lost": chat("lost", "Ho"),
    "content_dropped": chat("dropped", "Ho"),
    "prompt_mismatch": chat("mismatch", "Ho"),
    "open_reasoning": chat("opens", "Ho"),
    "boundary_unclear": chat("unclear", "Ho"),
    "control_token": chat("Hi", "Say <|im_end|> and stop"),
    "nothing_trained": {
        "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho", "train": False}]
    },
    "too_long": chat("Hi", "ho " * 500),
}  # fmt: skip


def test_rows_of_all_kinds_go_to_the_reject_log_and_the_run_goes_on(box: Path) -> None:
    (box / "awkward.jinja").write_text(AWKWARD, encoding="utf-8")
    rows = [GOOD, *(row for bad in REJECTED.values() for row in (bad, GOOD))]
    source = write_rows(box / "a.jsonl", rows)
    done = run(source, "--chat-template", "awkward.jinja", "--control-tokens", "reject", "--max-length", 200)
    assert done.code == 0, done.err
    rejects = pq.read_table(box / "out" / "rejects").to_pylist()

    assert [(line["row"], line["reason"]) for line in rejects] == [
        (2 * i + 1, reason) for i, reason in enumerate(REJECTED)
    ]
    assert {line["source"] for line in rejects} == {source}
    lines = (box / "a.jsonl").read_text(encoding="utf-8").split("\n")
    assert [line["original"] for line in rejects] == [lines[line["row"]] for line in rejects]
    assert all(line["detail"] for line in rejects)
    counts = manifest()["counts"]
    assert (counts["rows"], counts["kept"], counts["rejected"]) == (
        len(rows),
        len(REJECTED) + 1,
        len(REJECTED),
    )
    assert counts["rejected_by_reason"] == dict.fromkeys(REJECTED, 1)
    for reason in REJECTED:
        assert f"1 {reason}: {REASONS[reason]}" in done.out
    # test_choosing.py, test_survival.py, test_large_rows.py, test_hostile_tokenizers.py, test_preferences.py,
    # test_tokens.py, test_keeping.py, test_mapping.py, test_near_duplicates.py, test_decontaminate.py
    elsewhere = {"duplicate", "crashed", "row_too_large", "tokenizer_error", "bad_tokens", "text_mismatch"}
    elsewhere |= {"one_side", "same_sides", "prompts_differ", "near_duplicate", "contaminated"}
    elsewhere |= {"not_kept", "map_error", "map_timeout", "map_dropped"}
    assert set(REASONS) - elsewhere == set(REJECTED), "a kind of rejects is not tested here"


def test_explain_tells_the_same_reasons(box: Path) -> None:
    (box / "awkward.jinja").write_text(AWKWARD, encoding="utf-8")
    wanted = {reason: row for reason, row in REJECTED.items() if reason != "too_long"}
    source = write_rows(box / "a.jsonl", list(wanted.values()))
    flags = ["--chat-template", "awkward.jinja", "--control-tokens", "reject", "--tokenizer", TOKENIZER]
    done = premask("explain", source, *flags, "--format", "json")

    assert [json.loads(line)["reason"] for line in done.out.splitlines()] == list(wanted)


# ==== Flags and recipes ====


def captured(monkeypatch: pytest.MonkeyPatch, *words: object) -> tuple[Recipe, dict[str, Any]]:
    """The recipe that a command line means, and what else it hands to the run."""
    found: list[tuple[Recipe, dict[str, Any]]] = []

    def stop(recipe: Recipe, **options: Any) -> None:
        found.append((recipe, options))
        raise SystemExit

    monkeypatch.setattr("premask.running.run.run", stop)
    monkeypatch.setattr("premask.running.run.local", lambda workers, attempts: (workers, attempts))
    done = premask("run", *words)
    assert done.code == 0, done
    return found[0]


ALL_FLAGS: dict[str, tuple[list[str], Any]] = {
    "dialect": (["auto"], "auto"),
    "fields": (
        ["messages=turns", "role=who", "roles.A=user", "roles.B=assistant"],
        {"messages": "turns", "role": "who", "content": None, "roles": {"A": "user", "B": "assistant"}}
        | dict.fromkeys(("system", "user", "assistant", "reasoning", "tools", "id")),
    ),
    "paths": (["all"], "all"),
    "max_row_bytes": (["2MB"], 2_000_000),
    "salvage": ([], True),
    "repair": (["merge_consecutive, strip_html"], ["merge_consecutive", "strip_html"]),
    "tokenizer": (["tok"], "tok"),
    "chat_template": (["zephyr"], "zephyr"),
    "template_kwargs": (
        ['{"enable_thinking": false, "a": 1}', "a=auto", "b=False", "c=[1]", "d=x=y", "e="],
        {"enable_thinking": False, "a": "auto", "b": False, "c": [1], "d": "x=y", "e": ""},
    ),
    "date": (["2024-02-29"], "2024-02-29"),
    "max_length": (["512"], 512),
    "too_long": (["split"], "split"),
    "history": (["as-rendered"], "as-rendered"),
    "mask": (["generation-tags"], "generation-tags"),
    "open_reasoning": (["compose"], "compose"),
    "on_dropped": (["count"], "count"),
    "seam": (["template"], "template"),
    "train": (
        [
            *("roles=assistant,tool", "turns=last", "reasoning=false", "tool_calls=no", "end_of_turn=0"),
            *("text=false", "empty_reasoning=false"),
        ],
        {"roles": ["assistant", "tool"], "turns": "last"}
        | dict.fromkeys(("reasoning", "empty_reasoning", "text", "tool_calls", "end_of_turn"), False),
    ),
    "leave_out": (["</s>", "<|end|>"], ["</s>", "<|end|>"]),
    "append_eos": ([], True),
    "loss_weights": ([], True),
    "end_of_turn": (["</s>", "<|end|>"], ["</s>", "<|end|>"]),
    "token_columns": (["logprobs", "advantages"], ["logprobs", "advantages"]),
    "control_tokens": (["parse"], "parse"),
    "layout": (["unpacked, packed"], ["unpacked", "packed"]),
    "map": (["hooks:clean"], "hooks:clean"),
    "keep": (["tokens > 9"], "tokens > 9"),
    "duplicates": (["drop"], "drop"),
    "mix_by": (["rows"], "rows"),
    "budget": (["20k"], 20_000),
    "temperature": (["2.5"], 2.5),
    "max_repeat": (["8"], 8.0),
    "near_duplicates": (
        ["threshold=0.8", "over=trained_text", "shingle=3", "min_words=9"],
        {"threshold": 0.8, "over": "trained_text", "shingle": 3, "min_words": 9},
    ),
    "decontaminate": (
        ["sets=a.jsonl,b.jsonl", "ngram=13", "overlap=0.1", "over=trained_text"],
        {"sets": ["a.jsonl", "b.jsonl"], "ngram": 13, "overlap": 0.1, "over": "trained_text"},
    ),
    "splits": (["validation=0.1"], {"validation": 0.1}),
    "split_by": (["id"], "id"),
    "seed": (["7"], 7),
    "shuffle": ([], True),
    "pad_rows": (["to_length"], "to_length"),
    "pad_to_multiple": (["8"], 8),
    "extra_columns": (["completion_mask,assistant_masks"], ["completion_mask", "assistant_masks"]),
    "pack_window": (["1000"], 1000),
    "unit_rows": (["10"], 10),
    "engine": (["tokenizers"], "tokenizers"),
    "verify": (["0.5"], 0.5),
    "cache": (["kept"], "kept"),
    "card": (
        [
            "license=CC-BY-4.0",
            "language=en,de",
            "pretty_name=Chats",
            "source_datasets=a/b",
            "tags=x,y",
            "description=Hi",
            "base_model=a/m",
            "example=false",
        ],
        {"license": "cc-by-4.0", "language": ["en", "de"], "pretty_name": "Chats", "source_datasets": ["a/b"]}
        | {"tags": ["x", "y"], "description": "Hi", "base_model": "a/m", "example": False},
    ),
    "output": (["elsewhere"], "elsewhere"),
}
"""Recipe key -> what is given to its option, and what the recipe then holds."""


def words_for(key: str) -> Iterator[str]:
    option = f"--{key.replace('_', '-')}"
    values = ALL_FLAGS[key][0]
    yield from ([option] if not values else [word for value in values for word in (option, value)])


def test_every_recipe_key_is_an_option_of_run(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(ALL_FLAGS) == set(Recipe.model_fields) - {"sources"}
    words = [word for key in ALL_FLAGS for word in words_for(key)]
    recipe, options = captured(
        monkeypatch, "a.jsonl", "b.json", *words, "--workers", 3, "--attempts", 5, "--overwrite"
    )
    found = recipe.model_dump(mode="json")

    assert found.pop("sources") == ["a.jsonl", "b.json"]
    assert found == {key: value for key, (_, value) in ALL_FLAGS.items()}
    least = Recipe(sources=["x"], tokenizer="x", output="x").model_dump(mode="json")
    assert [key for key in found if found[key] == least[key]] == ["dialect"], (
        "a value here is only the default"
    )
    assert (options["make_runner"], options["overwrite"]) == ((3, 5), True)


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["--loss-weights"], True),
        (["--loss-weights", "--shuffle"], True),
        (["--loss-weights", "b.jsonl"], True),
        (["--loss-weights", "per_sample"], "per_sample"),
        (["--loss-weights=per_sample"], "per_sample"),
        (["--loss-weights", "false"], False),
        ([], False),
    ],
)
def test_loss_weights_with_and_without_a_word(
    monkeypatch: pytest.MonkeyPatch, words: list[str], value: Any
) -> None:
    recipe, _ = captured(monkeypatch, *words, "a.jsonl", "--tokenizer", "t", "--output", "o")

    assert recipe.loss_weights == value
    assert [entry.path for entry in recipe.sources] == [
        *(["b.jsonl"] if "b.jsonl" in words else []),
        "a.jsonl",
    ]


def names_of(name: str) -> set[str]:
    return {param.name or "" for param in command(name).params}


def test_which_command_takes_which_keys() -> None:
    keys = set(Recipe.model_fields) - {"sources"}

    assert sorted(KEYS) == sorted(keys), "each key is in one group of the help"
    assert {
        name: sorted(names_of(name) & keys) for name in ("run", "plan", "explain", "template", "init")
    } == {
        "run": sorted(keys),
        "plan": sorted(keys),
        "explain": sorted(ROW_KEYS),
        "init": ["chat_template", "dialect", "fields", "output", "tokenizer"],
        "template": sorted({*GROUPS["Tokenizer and template"], *GROUPS["Mask"], "repair"}),
    }
    assert set(ROW_KEYS) == keys - {
        "max_length", "too_long", "pad_rows", "pad_to_multiple", "extra_columns", "pack_window", "unit_rows",
        "engine", "verify", "cache", "card", "output", "keep", "duplicates", "near_duplicates", "decontaminate",
        "splits", "split_by", "seed", "shuffle", "mix_by", "budget", "temperature", "max_repeat",
    }  # fmt: skip
    assert names_of("run") - keys == {
        "inputs", "workers", "overwrite", "push_to_hub", "private", "runner", "ray_address", "rank", "world", "wait", "work",
        "attempts", "allow_map",
    }  # fmt: skip


def test_flags_stand_over_the_recipe(box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (box / "r.yaml").write_text(
        "sources: [a.jsonl]\ntokenizer: tok\noutput: out\nmax_length: 100\nlayout: [packed, unpacked]\n"
        "train: {turns: last, reasoning: false}\ntemplate_kwargs: {a: 1}\nend_of_turn: [x]\n"
    )
    plain, _ = captured(monkeypatch, "r.yaml")
    over, _ = captured(
        monkeypatch, "r.yaml", "--max-length", 50, "--output", "elsewhere", "--layout", "unpacked",
        "--train", "reasoning=true", "--train", "tool_calls=false", "--end-of-turn", "y",
        "--template-kwargs", '{"b": 2}',
    )  # fmt: skip

    assert (plain.max_length, plain.output, plain.train.turns) == (100, "out", Turns.last)
    assert (over.max_length, over.output, over.layout) == (50, "elsewhere", [Layout.unpacked])
    assert (over.end_of_turn, over.template_kwargs) == (["y"], {"b": 2})
    one_more, _ = captured(monkeypatch, "r.yaml", "--template-kwargs", "b=auto")
    assert one_more.template_kwargs == {"a": 1, "b": "auto"}  # a pair sets one argument, the others stay
    assert over.train.model_dump(mode="json") == {
        "roles": ["assistant"],
        "turns": "last",  # from the recipe: a flag sets one key of train, not all of them
        "reasoning": True,
        "empty_reasoning": True,
        "text": True,
        "tool_calls": False,
        "end_of_turn": True,
    }
    assert ([source.path for source in over.sources], over.tokenizer) == (["a.jsonl"], "tok")


def test_a_recipe_and_flags_give_the_same_output(box: Path) -> None:
    write_rows(box / "a.jsonl", [GOOD, chat("One", "Two", "Three", "Four")])
    (box / "r.yaml").write_text(
        f"sources: [a.jsonl]\ntokenizer: {TOKENIZER}\noutput: one\nmax_length: 64\ntrain: {{turns: last}}\n"
    )
    assert premask("run", "r.yaml").code == 0
    flags = ["--max-length", 64, "--train", "turns=last", "--output", "two"]
    assert premask("run", "a.jsonl", "--tokenizer", TOKENIZER, *flags).code == 0

    for kind in ("packed", "lineage", "rejects"):
        assert bytes_of(box / "one" / kind) == bytes_of(box / "two" / kind)
    assert manifest("one")["run_key"] == manifest("two")["run_key"]


# ==== Help ====


def test_version_help_and_no_words_at_all() -> None:
    assert premask("--version") == (0, f"premask {package.__version__}\n", "")
    assert premask("--help").code == 0
    helped, nothing = premask("--help").out, premask()
    for name in ("run", "explain", "template", "verify", "export"):
        assert re.search(rf"^  {name} ", helped, re.MULTILINE)
    assert "Usage:" in nothing.out + nothing.err


def test_the_list_of_commands_says_what_their_help_says() -> None:
    modules = {path.stem for path in (ROOT / "pipeline" / "premask" / "cli").glob("*.py")}

    assert set(COMMANDS) <= modules
    assert {name: (command(name).help or "").split("\n\n")[0] for name in COMMANDS} == COMMANDS


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "train"])
def test_the_examples_of_a_command_can_be_typed(name: str) -> None:
    examples = premask(name, "--help").out.rpartition("Examples:\n")[2].splitlines()

    assert examples
    for example in examples:
        first, word, *words = shlex.split(example)
        assert (first, word) == ("premask", name)
        command(name).make_context(name, words)  # raises where an option or an argument is wrong


def test_every_command_is_in_one_group_of_the_help() -> None:
    shown = premask("--help").out

    assert sorted(name for names in COMMAND_GROUPS.values() for name in names) == sorted(COMMANDS)
    for title, names in COMMAND_GROUPS.items():
        own = shown.partition(f"\n{title}:\n")[2].partition("\n\n")[0]
        assert re.findall(r"^  (\w+) ", own, re.MULTILINE) == [*names]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_a_terminal_of_80_columns(name: str) -> None:
    if name != "train":
        assert max(map(len, premask(name, "--help", COLUMNS="80").out.splitlines())) <= 80


def test_help_says_what_is_required_and_no_default_that_is_none() -> None:
    assert "of the tokenizer. [required]" in " ".join(premask("run", "--help").out.split())
    plan, repack = (" ".join(premask(name, "--help").out.split()) for name in ("plan", "repack"))
    assert (plan.count("[required]"), repack.count("[required]")) == (1, 1)
    assert "[default: 4096]" in plan
    assert "[default: 4096]" not in repack  # it is that of the output


def test_the_help_of_run_describes_every_key() -> None:
    shown = " ".join(premask("run", "--help").out.split())

    for key in KEYS:
        field = Recipe.model_fields[key]
        assert f" --{key.replace('_', '-')} " in shown
        assert " ".join((field.description or "").split()) in shown
    for title in (*GROUPS, "Arguments", "Workers", "Options"):
        assert f" {title}: " in shown
    assert "What happens to longer samples. One of: reject, truncate, split. [default: reject]" in shown
    assert (
        "Layouts to write. Any of, with commas: packed, unpacked, preference, kto. [default: packed]" in shown
    )
    assert (
        "Maximum tokens of a pack, and so of a sample; 4k is 4000, and 4Ki is 4096. [default: 4096]" in shown
    )
    assert "--splits NAME=SHARE" in shown


def test_help_loads_no_library() -> None:
    """It takes a twentieth of a second as long as that is so."""
    script = "import sys; sys.argv[1:] = ['--help']\nfrom premask.__main__ import main\ntry: main()\nexcept SystemExit: pass\nprint(*sys.modules)"
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "pipeline")}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=True
    )
    loaded = {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}

    assert "click" in loaded
    assert not loaded & {
        "numpy",
        "pyarrow",
        "pydantic",
        "rich",
        "tokenizers",
        "transformers",
        "torch",
        "yaml",
    }


# ==== For real: processes, terminals, signals ====


def test_the_command_in_a_process_of_its_own(box: Path) -> None:
    source = write_rows(box / "a.jsonl", [GOOD, chat("Grüße 🙂", "日本語"), "{broken"])
    done = process("run", source, "--tokenizer", TOKENIZER, "--output", box / "out")
    out = done.stdout.decode()

    assert done.returncode == 0, done.stderr
    assert without_progress(done.stderr.decode()) == ""
    assert ESCAPE not in out
    assert "3 in = 2 kept + 1 rejected" in out
    bad = process("run", "missing.jsonl", "--tokenizer", TOKENIZER, "--output", box / "other")
    assert (bad.returncode, bad.stdout) == (2, b"")
    assert bad.stderr.startswith(b"premask: source 'missing.jsonl' does not exist")
    assert bad.stderr.count(b"\n") == 1
    assert names_in(box) == ["a.jsonl", "out"]


def test_the_installed_command_and_the_module_are_the_same() -> None:
    script = Path(sys.executable).with_name("premask")
    if not script.is_file():
        pytest.skip("premask is not installed in this environment")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)

    assert done.stdout == f"premask {package.__version__}\n"


def test_an_error_text_cannot_paint_the_terminal(box: Path) -> None:
    line = assert_one_line(run("evil\x1b[31m\nname.jsonl"), "matches no file")

    assert ESCAPE not in line
    assert r"evil\x1b[31m\nname.jsonl" in line


def test_a_run_that_is_no_terminal_prints_plain_lines(box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("premask.review.terminal.progress.LineProgress", partial(LineProgress, every_s=0))
    done = run(write_rows(box / "a.jsonl", [GOOD] * 1500))

    assert ESCAPE not in done.out + done.err
    assert done.err.splitlines()[0] == "1,024 of 1,500 rows, 12,288 tokens, 0 packs"
    assert done.err.splitlines()[-1].startswith("1,500 of 1,500 rows, 18,000 tokens, 5 packs in ")
    assert without_progress(done.err) == ""


@pytest.mark.parametrize("no_color", ["", "1"])
def test_a_run_at_a_terminal(box: Path, no_color: str) -> None:
    """A bar on stderr, which is gone at the end; what is printed on stdout holds no escapes."""
    source = write_rows(box / "a.jsonl", [GOOD])
    here, there = pty.openpty()
    environ = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "pipeline"),
        "TERM": "xterm-256color",
        "NO_COLOR": no_color,
    }
    words = command_line("run", source, "--tokenizer", TOKENIZER, "--output", box / "out")
    with subprocess.Popen(words, env=environ, stdout=subprocess.PIPE, stderr=there) as started:
        os.close(there)
        shown, out = read_all(here), started.communicate()[0].decode()

    assert started.returncode == 0
    assert "working" in shown or "loading" in shown
    assert "Traceback" not in shown
    assert ESCAPE not in out
    colours = re.findall(r"\x1b\[[0-9;]*m", shown)
    assert [code for code in colours if re.search(r"[34][0-9]", code)] == [] or not no_color


def read_all(terminal: int) -> str:
    """All that is written to a terminal until nobody has it open."""
    found = b""
    try:
        while part := os.read(terminal, 1 << 16):
            found += part
    except OSError:  # Linux: the other end was closed
        pass
    finally:
        os.close(terminal)
    return found.decode()


def test_a_reader_that_goes_away_is_no_error(box: Path) -> None:
    source = write_rows(box / "a.jsonl", [chat("Hi", "Hello " * 2000)] * 50)
    words = command_line("explain", source, "--tokenizer", TOKENIZER, "--format", "json")
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "pipeline")}
    with subprocess.Popen(words, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as started:
        assert started.stdout is not None
        assert started.stderr is not None
        started.stdout.read(10)
        started.stdout.close()
        errors = started.stderr.read()

    assert errors == b""


def test_an_interrupted_run_goes_on_where_it_stopped(
    box: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    source = SAMPLE / "conversations.jsonl"
    words = ["run", source, "--tokenizer", TOKENIZER, "--unit-rows", 60, "--workers", 1]
    units = box / ".out.partial" / "units"
    with paused(command_line(*words, "--output", "out"), tmp_path_factory.mktemp("mark"), 2) as started:
        started.send_signal(signal.SIGINT)
    out, err = started.communicate()

    assert (started.returncode, out) == (130, "")
    said = "premask: interrupted; finished work is kept, run the same command again to continue\n"
    assert without_progress(err) == said
    assert names_in(box) == [".out.partial"]
    done = finished(units)
    assert len(done) in {2, 3}, "the third one may be put in place before the interrupt comes up"
    times = {path: path.stat().st_mtime_ns for unit in done for path in unit.iterdir()}
    links = {path.stat().st_ino for path in times if path.name == "packed.parquet"}

    assert premask(*words, "--output", "out").code == 0
    assert premask(*words, "--output", "whole").code == 0
    assert bytes_of(box / "out") == bytes_of(box / "whole")
    assert names_in(box) == ["out", "whole"]
    kept = {path.stat().st_ino for path in (box / "out" / "packed").iterdir()}
    assert links <= kept, "finished units were done again"


def finished(units: Path) -> list[Path]:
    """The directories of units that are done."""
    return [] if not units.is_dir() else [path for path in units.iterdir() if not path.name.startswith(".")]


def test_the_number_of_workers_changes_no_byte(box: Path) -> None:
    words = ["run", SAMPLE / "conversations.jsonl", "--tokenizer", TOKENIZER, "--unit-rows", 100]
    assert premask(*words, "--workers", 1, "--output", "one").code == 0
    two = process(*words, "--workers", 2, "--output", "two")

    assert two.returncode == 0, two.stderr
    assert bytes_of(box / "one") == bytes_of(box / "two")
    assert Counter(path.split("/")[0] for path in bytes_of(box / "two"))["packed"] == 3


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_output_that_cannot_be_written_is_one_line() -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "pipeline")}
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            command_line("--help"), stdout=full, stderr=subprocess.PIPE, env=environ, text=True, check=False
        )

    assert done.returncode == 2
    assert done.stderr.startswith("premask: the output cannot be written: ")
    assert len(done.stderr.splitlines()) == 1
