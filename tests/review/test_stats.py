"""The figures of an output against a count of its rows, one by one, with nothing but pyarrow."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from commands import SAMPLE, TOKENIZER, chat, premask, write_rows
from outputs import make_output, rows_of
from premask.core.errors import OutputError
from premask.review.stats import measure

MIX = """
sources:
  - {{path: {sample}, repeat: 2}}
  - {{path: {more}, repeat: 0.5}}
splits: {{validation: 0.15, test: 0.1}}
duplicates: drop
tokenizer: {tokenizer}
max_length: 256
too_long: split
layout: {layout}
pad_rows: {pad}
unit_rows: 120
output: {output}
"""


def mix(folder: Path, *, layout: str = "[packed, unpacked]", pad: str = "none") -> Path:
    """An output with everything that makes counting hard: repeats, splits, duplicates, pieces, padding."""
    more = write_rows(folder / "more.jsonl", [chat(f"q {i % 30}", "a " * (i % 30) + "!") for i in range(50)])
    text = MIX.format(
        sample=SAMPLE / "conversations.jsonl",
        more=more,
        tokenizer=TOKENIZER,
        layout=layout,
        pad=pad,
        output=folder / "out",
    )
    (folder / "mix.yaml").write_text(text, encoding="utf-8")
    done = premask("run", folder / "mix.yaml", "--workers", 1)
    assert done.code == 0, done.err
    return folder / "out"


@pytest.mark.parametrize(
    ("layout", "pad"), [("[packed, unpacked]", "none"), ("[unpacked]", "none"), ("[packed]", "to_length")]
)
def test_figures_are_those_of_the_rows(tmp_path: Path, layout: str, pad: str) -> None:
    out = mix(tmp_path, layout=layout, pad=pad)
    figures = measure(out)
    main = "unpacked" if layout == "[unpacked]" else "packed"
    samples = samples_by_hand(out, main)
    ledger = Counter(line["reason"] for line in rows_of(out, "rejects"))
    manifest = json.loads((out / "manifest.json").read_text())

    assert figures["samples"] == len(samples) == manifest["counts"]["samples"]
    assert figures["tokens"] == sum(each["length"] for each in samples) == manifest["counts"]["tokens"]
    assert figures["trained_tokens"] == sum(each["trained"] for each in samples)
    assert {each["reason"]: each["rows"] for each in figures["rejects"]} == ledger
    assert figures["dropped"] == ledger["duplicate"] > 0
    assert figures["rows"] == figures["kept"] + figures["rejected"] + figures["dropped"] + figures["left_out"]
    for each in figures["by_source"]:
        own = [sample for sample in samples if sample["source"] == each["source"]]
        assert (each["samples"], each["tokens"]) == (len(own), sum(sample["length"] for sample in own))
        assert each["trained_tokens"] == sum(sample["trained"] for sample in own)
    for each in figures["by_split"]:
        own = [sample for sample in samples if sample["split"] == each["split"]]
        assert (each["samples"], each["trained_tokens"]) == (len(own), sum(s["trained"] for s in own))
    assert [each["split"] for each in figures["by_split"]] == ["train", "test", "validation"]
    for name in ("dropped_fields", "turns_left_out", "turns_behind_another_prompt", "template_modes"):
        assert figures[name] == manifest["counts"][name]
        assert name not in figures["other_counts"]
    lengths = sorted(each["length"] for each in samples)
    assert (figures["lengths"]["min"], figures["lengths"]["max"]) == (lengths[0], lengths[-1])
    for bar in figures["lengths"]["histogram"]:
        assert bar["samples"] == sum(bar["from"] <= length <= bar["to"] for length in lengths)
    assert sum(bar["samples"] for bar in figures["lengths"]["histogram"]) == len(lengths)
    assert sum(bar["samples"] for bar in figures["trained_shares"]) == len(samples)
    if main == "packed":
        assert figures["packs"]["packs"] == manifest["counts"]["packs"]
        assert figures["packs"]["fill"] == pytest.approx(manifest["counts"]["fill"])
        assert sum(bar["packs"] for bar in figures["packs"]["fills"]) == manifest["counts"]["packs"]
    else:
        assert "packs" not in figures
    assert figures["too_long"]["samples_cut"] == manifest["counts"]["too_long_split"] > 0


def samples_by_hand(out: Path, layout: str) -> list[dict[str, Any]]:
    """The samples of an output: each line of lineage beside what its shard has at that place."""
    found = []
    for split in ("train", "validation", "test"):
        rows = [
            row
            for path in sorted((out / layout).glob(f"{split}-*"))
            for row in pq.read_table(path).to_pylist()
        ]
        lines = [
            line
            for path in sorted((out / "lineage").glob(f"{split}-*"))
            for line in pq.read_table(path).to_pylist()
        ]
        for number, line in enumerate(lines):
            row, offset = (rows[line["pack"]], line["offset"]) if layout == "packed" else (rows[number], 0)
            labels = row["labels"][offset : offset + line["length"]]
            found.append({**line, "trained": sum(label != -100 for label in labels)})
    return found


def test_the_command_in_both_forms(tmp_path: Path) -> None:
    out = mix(tmp_path)
    table, data = premask("stats", out), premask("stats", out, "--format", "json")
    figures = json.loads(data.out)
    text = " ".join(table.out.split())

    assert (table.code, data.code, table.err, data.err) == (0, 0, "", "")
    assert figures == measure(out)
    assert f"{figures['rows']:,} in = {figures['kept']:,} kept + {figures['rejected']:,} rejected" in text
    assert f"{figures['dropped']:,} skipped as duplicates" in text
    for name in ("train", "validation", "test", "assistant", "template", "duplicate"):
        assert f" {name} " in text
    assert re.search(r"median [\d,]+, p90", text)


def test_an_output_whose_manifest_counts_less_is_refused(tmp_path: Path) -> None:
    """As those had that were written before there were splits."""
    make_output(tmp_path / "out")
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    del manifest["inputs"][0]["kept"]
    (tmp_path / "out/manifest.json").write_text(json.dumps(manifest))

    with pytest.raises(OutputError, match=r"at inputs\.0\.kept: Field required.*premask run --overwrite"):
        measure(tmp_path / "out")


@pytest.mark.parametrize("command", ["stats", "report", "show", "diff"])
def test_what_cannot_be_read_is_one_line(tmp_path: Path, command: str) -> None:
    make_output(tmp_path / "out")
    others = [tmp_path / "out"] if command == "diff" else []
    nothing = premask(command, tmp_path / "nothing", *others)
    shard = next((tmp_path / "out/packed").glob("train-*"))
    shard.write_bytes(shard.read_bytes()[:100])
    broken = premask(command, tmp_path / "out", *others)

    for done in (nothing, broken):
        assert (done.code, done.err.count("\n")) == (2, 1), done
    assert "does not exist" in nothing.err
    assert "cannot be read" in broken.err


def test_shards_and_lineage_that_do_not_fit(tmp_path: Path) -> None:
    make_output(tmp_path / "out")
    path = next((tmp_path / "out/lineage").glob("*.parquet"))
    table = pq.read_table(path)
    pq.write_table(table.slice(1), path)
    done = premask("stats", tmp_path / "out")

    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "do not fit together" in done.err
