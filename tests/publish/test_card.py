"""The card of an output: what it says, and that `load_dataset` reads the data that it describes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import TOKENIZER, chat, premask, write_rows
from huggingface_hub import DatasetCard
from outputs import bytes_of, make_output, recipe_of
from premask.core.manifest import Manifest, describe_lengths
from premask.core.recipe import OTHER_KEYS, Card, Recipe
from premask.core.redact import bare_name
from premask.output.identity import identify
from premask.publish.card import make_card


def front_matter(card: str) -> Mapping[str, Any]:
    data: Mapping[str, Any] = yaml.safe_load(card.split("---\n")[1])
    return data


def test_the_card_describes_the_layouts(tmp_path: Path) -> None:
    manifest = make_output(tmp_path / "out")
    front = front_matter((tmp_path / "out/README.md").read_text())
    packed = front["dataset_info"][0]
    files = [s for s in manifest["shards"] if s["path"].startswith("packed/")]

    assert [(c["config_name"], c.get("default")) for c in front["configs"]] == [
        ("packed", True),
        ("unpacked", None),
    ]
    assert front["configs"][0]["data_files"] == [{"split": "train", "path": "packed/train-*.parquet"}]
    assert {"name": "input_ids", "list": "int32"} in packed["features"]
    assert {"name": "length", "dtype": "int32"} in packed["features"]
    assert packed["splits"][0]["num_examples"] == 6
    assert packed["splits"][0]["num_bytes"] == sum(s["raw_bytes"] for s in files)
    assert packed["download_size"] == sum(s["bytes"] for s in files)
    assert front["size_categories"] == ["n<1K"]


def test_the_card_tells_people_what_they_need_to_know(tmp_path: Path) -> None:
    make_output(tmp_path / "out")
    card = (tmp_path / "out/README.md").read_text()

    for text in (
        "| rows read | 11 |",
        "| – `no_messages`: the conversation has no messages | 2 |",
        "| trained tokens | 16 (44.4%) |",
        "| fill of the packs | 75.00% |",
        'load_dataset("OUT", "packed", split="train")',
        "**no `attention_mask`, on purpose**",
        "use_cache=False",
        "padding_free=True, max_length=None",
        "unshifted",
        f"Chat template sha256 `{'2' * 64}`",
        "max_length: 8\n",
    ):
        assert text in card


def test_odd_names_break_neither_the_front_matter_nor_the_text(tmp_path: Path) -> None:
    odd = "a: `b` | ```\n--- # 'c"
    recipe = recipe_of(tokenizer=odd, end_of_turn=["```\n---\n"])
    identity = identify(
        recipe,
        inputs=[{"source": odd, "bytes": 1, "sha256": "0" * 64}],
        tokenizer={"name": odd, "sha256": "1" * 64, "vocab_size": 1},
        template={"sha256": "2" * 64},
    )
    make_output(tmp_path / "out", identity=identity, source=odd)
    card = (tmp_path / "out/README.md").read_text()
    blocks = card.split("````")

    assert front_matter(card)["configs"][0]["config_name"] == "packed"
    assert yaml.safe_load(blocks[-2].removeprefix("yaml\n"))["tokenizer"] == odd
    assert "| ```` a: `b` \\| ``` --- # 'c ```` |" in card


LOAD = """
import sys
from datasets import Features, List, Value, load_dataset
for config in ("packed", "unpacked"):
    kept = load_dataset(sys.argv[1], config, split="train")
    streamed = load_dataset(sys.argv[1], config, split="train", streaming=True)
    assert kept.to_list() == list(streamed), config
    assert kept.features["labels"] == List(Value("int32")), kept.features
    assert streamed.features == kept.features, streamed.features
    print(config, kept.num_rows, sum(kept["length"]))
print("default", load_dataset(sys.argv[1], split="train").column_names)
"""


def test_load_dataset_reads_both_layouts_streaming_and_not(tmp_path: Path) -> None:
    make_output(tmp_path / "out")
    offline = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HOME": str(tmp_path / "home")}
    result = subprocess.run(
        [sys.executable, "-c", LOAD, str(tmp_path / "out")],
        env={**os.environ, **offline},
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        "packed 6 36",
        "unpacked 8 36",
        "default ['input_ids', 'labels', 'position_ids', 'seq_lengths', 'length']",
    ]


# ==== What the recipe says of the data ====

ABOUT = {
    "license": "CC-BY-4.0",
    "language": ["en", "zh-Hant", "no"],
    "pretty_name": "Chats: of 'all' sorts",
    "source_datasets": ["org/one", "org/two"],
    "tags": ["ner", "premask"],
    "description": "First.\n\nSecond *one*.",
}


def about(**fields: Any) -> dict[str, Any]:
    return Card.model_validate(fields).shown()


def test_what_the_recipe_says_is_passed_on(tmp_path: Path) -> None:
    make_output(tmp_path / "out", card=about(**ABOUT))
    text = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    card = DatasetCard.load(tmp_path / "out/README.md")

    assert (card.data.license, card.data.pretty_name) == ("cc-by-4.0", "Chats: of 'all' sorts")
    assert card.data.language == ["en", "zh-Hant", "no"]  # `no` is Norwegian, and not false
    assert card.data.source_datasets == ["org/one", "org/two"]
    assert card.data.tags == [
        "premask", "chat", "supervised-fine-tuning", "tokenized", "loss-mask", "ner",
    ]  # fmt: skip
    assert card.data.size_categories == ["n<1K"]
    assert card.data.task_categories == ["text-generation"]
    assert [each["config_name"] for each in card.data.to_dict()["configs"]] == ["packed", "unpacked"]
    assert "# Chats\\: of 'all' sorts\n\nFirst.\n\nSecond \\*one\\*.\n" in text
    assert "Made from `org/one`, `org/two`." in text
    assert "License: `cc-by-4.0`." in text


def test_without_it_the_card_says_so(tmp_path: Path) -> None:
    make_output(tmp_path / "out")
    card = DatasetCard.load(tmp_path / "out/README.md")

    assert card.data.license is None
    assert "No license is given here; that of the sources applies." in card.text
    assert "\ncard:" not in card.content


def test_the_recipe_in_the_card_is_one(tmp_path: Path) -> None:
    manifest = make_output(tmp_path / "out", card=about(**ABOUT))
    text = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    shown = yaml.safe_load(text.split("```yaml\n")[1].split("\n```")[0])
    recipe = Recipe.model_validate({**shown, "output": "x"})

    assert recipe.card.shown() == manifest["card"]
    assert recipe == recipe_of(card=ABOUT, output="x")


def run(folder: Path, *words: object) -> dict[str, bytes]:
    done = premask(
        "run",
        folder / "a.jsonl",
        "--tokenizer",
        TOKENIZER,
        "--output",
        folder / "out",
        "--max-length",
        64,
        *words,
    )
    assert done.code == 0, done.err
    assert ("already holds" in done.out) == ("--card" in words and "--overwrite" not in words)
    return bytes_of(folder / "out")


def test_a_card_that_changes_does_not_redo_the_work(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", [chat("Hi", "Hello")])
    first = run(tmp_path)
    inode = next((tmp_path / "out/packed").iterdir()).stat().st_ino
    second = run(tmp_path, "--card", "license=mit", "--card", "tags=a,b")
    same = run(tmp_path, "--card", "license=mit", "--card", "tags=a,b")

    assert {name for name in first if first[name] != second[name]} == {"README.md", "manifest.json"}
    assert first.keys() == second.keys()
    assert next((tmp_path / "out/packed").iterdir()).stat().st_ino == inode
    assert b"license: mit\n" in second["README.md"]
    assert same == second
    assert premask("verify", tmp_path / "out").code == 0

    (tmp_path / "out").rename(tmp_path / "before")
    assert run(tmp_path, "--card", "license=mit", "--card", "tags=a,b", "--overwrite") == second  # all anew


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("licence=mit", ["unknown key 'card.licence'", "did you mean 'license'?"]),
        ("license=MIT and more", ["card.license", "MIT and more"]),
        ("language=english,e", ["card.language", "'e' is not a language code"]),
        ("pretty_name=a\nb", ["card.pretty_name", "one line of text"]),
        ("tags=a,,b", ["card.tags", "one line of text"]),
        ("license", ["--card license: write it as key=value"]),
    ],
)
def test_fields_that_are_wrong(tmp_path: Path, words: str, parts: list[str]) -> None:
    done = premask("run", "a.jsonl", "--tokenizer", "x", "--output", tmp_path / "out", "--card", words)

    assert (done.code, done.err.count("\n")) == (2, 1)
    assert all(part in done.err for part in parts), done.err


# ==== Hostile names ====

HOSTILE = [
    "a`b``c```d",
    "a | b |\n| c",
    "---\nlicense: evil\n---\n",
    "# Title\n\n<script>alert(1)</script>",
    "[x](javascript:alert(1)) ![y](z)",
    "</code></details><img src=x onerror=1>",
    "- a\n- b\n1. c",
    "\u202e\u2028\x1b[31m ~~~ $$x$$ @team",
    "configs: [{config_name: evil, data_files: '**'}]",
    "\\",
    "```\n````yaml\n---\n",
]


@pytest.mark.parametrize("odd", HOSTILE)
def test_hostile_names_change_nothing(tmp_path: Path, odd: str) -> None:
    """In the place of each name that comes from outside; the front matter, the headings and the number of
    tables, lists and code blocks are those of a harmless name."""
    texts = {}
    for key, name in {"good": "name", "odd": odd}.items():
        identity = identify(
            recipe_of(tokenizer=name, chat_template=name, end_of_turn=[name]),
            inputs=[{"source": name, "bytes": 1, "sha256": "0" * 64}],
            tokenizer={"name": name, "sha256": "1" * 64, "vocab_size": 1},
            template={"sha256": "2" * 64, "name": name, "turn_ends": [name]},
        )
        make_output(
            tmp_path / key,
            identity=identity,
            source=name,
            card={"description": "x " + name.replace("\n\n", "\n")},
        )
        texts[key] = (tmp_path / key / "README.md").read_text(encoding="utf-8")
    good, bad = texts["good"], texts["odd"]
    outside = {key: without_code(text) for key, text in texts.items()}

    assert bad.split("\n---\n")[0] == good.split("\n---\n")[0]
    assert DatasetCard(bad).data.to_dict() == DatasetCard(good).data.to_dict()
    for start in ("#", "|", "-", "1.", "<", "---", "    "):
        assert [line.startswith(start) for line in outside["odd"]].count(True) == [
            line.startswith(start) for line in outside["good"]
        ].count(True), start
    assert len(outside["odd"]) == len(outside["good"])
    assert not any("<" in line for line in outside["odd"])
    assert [len(cells(line)) for line in outside["odd"]] == [len(cells(line)) for line in outside["good"]]
    (block,) = [part for part in blocks(bad) if part.startswith("sources:")]
    assert yaml.safe_load(block)["tokenizer"] == bare_name(odd)


def blocks(text: str) -> list[str]:
    """The fenced code blocks, as CommonMark ends them: by a fence at least as long."""
    found: list[str] = []
    fence, inside = "", list[str]()
    for line in text.split("\n"):
        ticks = line[: len(line) - len(line.lstrip("`"))]
        if fence and len(ticks) >= len(fence) and line == ticks:
            found.append("\n".join(inside))
            fence, inside = "", []
        elif fence:
            inside.append(line)
        elif len(ticks) >= 3:
            fence = ticks
    assert not fence
    return found


def without_code(text: str) -> list[str]:
    """The lines below the front matter, without code blocks, and without what is inline code."""
    body = text.partition("\n---\n")[2]
    for block in blocks(body):
        body = body.replace(block, "", 1)
    return [re.sub(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)", "CODE", line) for line in body.split("\n")]


def cells(line: str) -> list[str]:
    return re.split(r"(?<!\\)\|", line)


# ==== The text ====


@pytest.mark.parametrize(
    ("keys", "parts"),
    [
        ({}, ["every turn of these roles: assistant.", "proved in two ways", "samples of their own"]),
        (
            {"train": {"turns": "last", "roles": ["assistant", "tool"]}},
            ["the last turn of these roles: assistant, tool"],
        ),
        (
            {"train": {"reasoning": False, "tool_calls": False}},
            ["Not trained: the text of a turn's reasoning field; tool"],
        ),
        ({"train": {"end_of_turn": False}}, ["Not trained: the string that ends a turn."]),
        (
            {"train": {"text": False, "empty_reasoning": False}, "leave_out": ["</think>", "`"]},
            ["prints; the text of a turn's content; the strings `</think>`, `` ` ``."],
        ),
        ({"open_reasoning": "compose"}, ["the turn has none, the turn closes the block at once"]),
        ({"open_reasoning": "as-rendered"}, ["in history: behind another prompt than inference shows."]),
        ({"on_dropped": "count"}, ["the template does not print were kept; that text is missing"]),
        ({"mask": "generation-tags"}, ["`{% generation %}` tags enclose was trained, unproved"]),
        ({"history": "last"}, ["only the last turn is trained"]),
        ({"history": "as-rendered"}, ["as the whole conversation shows them"]),
        (
            {"append_eos": True, "loss_weights": True},
            ["samples end with eos", "`loss_weights` has the weights"],
        ),
        (
            {"too_long": "truncate"},
            ["longer than 8 tokens were cut off (0 samples; 7 tokens are missing for that reason)"],
        ),
        ({"too_long": "split"}, ["were cut into pieces, which lack what came before"]),
        ({"too_long": "reject"}, ["longer than 8 tokens were rejected (1 rows)"]),
    ],
)
def test_the_mask_and_the_limits_in_words(tmp_path: Path, keys: dict[str, Any], parts: list[str]) -> None:
    manifest = make_output(tmp_path / "out")
    manifest["recipe"] = recipe_of(**keys).model_dump(mode="json", exclude=set(OTHER_KEYS))
    manifest["counts"]["tokens_cut_off"] = 7
    text = " ".join(make_card(Manifest.model_validate(manifest)).split())

    assert all(part in text for part in parts), text


def test_what_is_special_about_the_mask_of_some_samples(tmp_path: Path) -> None:
    manifest = make_output(tmp_path / "out")
    manifest["counts"] |= {
        "samples_by_proof": {"inference": 5, "composed": 3, "split": 0},
        "turns_behind_another_prompt": 2,
        "template_modes": {"<b>_x": {"true": 3}},
        "dropped_fields": {"reasoning": 4},
    }
    text = make_card(Manifest.model_validate(manifest))

    assert "| – `composed`: prompt and completion put together, because no render shows both" in text
    assert "| – `inference`: every turn" in text
    assert "`split`" not in text
    assert "- 2 turns are trained behind another prompt than inference shows.\n" in text
    assert "- History leaves out the reasoning of 4 earlier turns; each trained turn has its own" in text
    assert "- &lt;b&gt;\\_x (auto) is true for 3 conversations.\n" in text


def test_rows_that_are_missing_balance_and_have_their_reasons(tmp_path: Path) -> None:
    manifest = make_output(tmp_path / "out")
    manifest["counts"] |= {"rows": 20, "duplicates": 5, "dropped": 4, "rejected": 3}
    manifest["counts"]["rejected_by_reason"] = {"too_long": 1, "contaminated": 2}
    text = make_card(Manifest.model_validate(manifest))

    assert "| duplicates of earlier rows, dropped | 4 |" in text
    assert "3 of 20 rows (15.0%) are missing: 2 `contaminated`, 1 `too_long`." in " ".join(text.split())


def test_tokens_by_role_and_lengths(tmp_path: Path) -> None:
    manifest = make_output(tmp_path / "out")
    manifest["counts"] |= {
        "tokens_by_role": {"user": 30, "assistant": 10},
        "trained_by_role": {"assistant": 5},
    }
    text = make_card(Manifest.model_validate(manifest))

    assert "| `user` | 30 | 75.0% | 0 | 0.0% |\n| `assistant` | 10 | 25.0% | 5 | 50.0% |" in text
    assert "| tokens per sample | min | p10 | median |" in text
    assert "|  | 1 | 1 | 4 |" in text
    assert " 1-1 ########## 1\n 2-3 #################### 2\n 4-7 ##########" in text
    manifest["counts"]["lengths"] = None
    assert "There are no samples." in make_card(Manifest.model_validate(manifest))


@pytest.mark.parametrize("lengths", [[1], [5, 5, 5], [1, 2, 3, 4], list(range(1, 1000)), [10**9, 1]])
def test_quantiles_are_those_of_the_definition(lengths: list[int]) -> None:
    found = describe_lengths(Counter(lengths))
    assert found is not None
    ordered = sorted(lengths)

    for name, share in (("p10", 0.1), ("median", 0.5), ("p90", 0.9), ("p99", 0.99)):
        assert found[name] == next(n for n in ordered if sum(m <= n for m in ordered) >= share * len(ordered))
    assert (found["min"], found["max"]) == (ordered[0], ordered[-1])
    assert sum(bar["samples"] for bar in found["histogram"]) == len(lengths)
    for bar in found["histogram"]:
        assert bar["samples"] == sum(bar["from"] <= n <= bar["to"] for n in lengths)
