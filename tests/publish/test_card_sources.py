"""What a card says of the sources, and that it names files without the paths that lead to them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from commands import TOKENIZER, chat, premask, write_rows
from premask.publish.card_sources import sources_section


def source(name: str, tokens: int | None, **change: Any) -> dict[str, Any]:
    numbers = {"rows": 4, "kept": 2, "used": 3, "tokens": tokens, "trained_tokens": (tokens or 0) // 2}
    return {"source": name, **numbers, **change}


def test_the_table() -> None:
    (text,) = sources_section([source("/data/a.jsonl", 10), source("hf://datasets/o/n/b.parquet", 30)])

    assert text.split("\n")[4:7] == [
        "| `hf://datasets/o/n/b.parquet` | 4 | 2 | 30 | 15 | 75.0% | 1.50 |",
        "| `a.jsonl` | 4 | 2 | 10 | 5 | 25.0% | 1.50 |",
        "| **all** | 8 | 4 | 40 | 20 | 100.0% | 1.50 |",
    ]


def test_many_sources_and_empty_and_old_ones() -> None:
    (many,) = sources_section([source(f"{i}.jsonl", i) for i in range(25)])
    (empty,) = sources_section([source("a.jsonl", 0, kept=0, used=0)])

    assert many.count("\n| `") == 20
    assert "| 5 more | 20 | 10 | 10 | 4 | 3.3% | 1.50 |" in many
    assert "| `a.jsonl` | 4 | 0 | 0 | 0 | - | - |" in empty
    assert sources_section([source("a.jsonl", None)]) == []
    assert sources_section([]) == []


def test_no_local_path_is_in_the_card_and_the_numbers_are_those_of_the_files(tmp_path: Path) -> None:
    secret = tmp_path / "home of somebody"
    secret.mkdir()
    first = write_rows(secret / "a.jsonl", [chat("a", "b"), chat("c", "d e f"), {"messages": []}])
    second = write_rows(secret / "b.jsonl", [chat("g", "h")])
    (secret / "mine.jinja").write_text((Path(TOKENIZER) / "chat_template.jinja").read_text())
    recipe = {
        "sources": [first, {"path": str(second), "repeat": 2}],
        "tokenizer": str(Path(TOKENIZER).resolve()),
        "chat_template": str(secret / "mine.jinja"),
        "decontaminate": {"sets": [str(write_rows(secret / "set.jsonl", [{"text": "one two three " * 9}]))]},
        "output": str(secret / "out"),
    }
    (secret / "recipe.yaml").write_text(json.dumps(recipe))
    done = premask("run", secret / "recipe.yaml")
    assert done.code == 0, done.err
    card = (secret / "out" / "README.md").read_text(encoding="utf-8")
    manifest = json.loads((secret / "out" / "manifest.json").read_text())
    block = next(part for part in card.split("```yaml\n") if part.startswith("sources:"))
    shown = yaml.safe_load(block.split("\n```")[0])
    found = manifest["inputs"]

    assert "somebody" not in card
    assert str(tmp_path) not in card
    assert str(Path(TOKENIZER).resolve().parent) not in card
    assert [each if isinstance(each, str) else each["path"] for each in shown["sources"]] == [
        "a.jsonl",
        "b.jsonl",
    ]
    assert (shown["chat_template"], shown["tokenizer"]) == ("mine.jinja", Path(TOKENIZER).name)
    assert [(each["kept"], each["used"]) for each in found] == [(2, 2), (1, 2)]
    assert sum(each["tokens"] for each in found) == manifest["counts"]["tokens"]
    assert sum(each["trained_tokens"] for each in found) == manifest["counts"]["trained_tokens"]
    assert "| 2.00 |" in card
