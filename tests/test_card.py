"""The card of an output: what it says, and that `load_dataset` reads the data that it describes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from outputs import ROWS, make_output, recipe_of

from pipeline.identity import identify


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
        'load_dataset(OUT, "packed", split="train")',
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
    make_output(tmp_path / "out", identity=identity, input_rows={odd: ROWS})
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
