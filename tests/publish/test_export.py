"""Exports: what `datasets` loads from them is what stands in the shards, and nothing is left half-written."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import SAMPLE, TOKENIZER, premask
from outputs import bytes_of, identity_of, make_output, names_in, recipe_of, rows_of
from premask.core.atomic_files import sha256_file
from premask.core.defaults import FORMS
from premask.core.errors import OutputError
from premask.core.recipe import Recipe
from premask.output.dataset import Dataset, open_dataset
from premask.publish.export import export
from premask.running.run import run

LLAMA_FACTORY = ["input_ids", "attention_mask", "labels"]

Row = dict[str, Any]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample in both layouts, in three shards."""
    path = tmp_path_factory.mktemp("export") / "out"
    words = ["--layout", "packed,unpacked", "--max-length", 1024, "--unit-rows", 100, "--card", "license=mit"]
    done = premask("run", SAMPLE / "conversations.jsonl", "--tokenizer", TOKENIZER, "--output", path, *words)
    assert done.code == 0, done.err
    return path


@pytest.fixture(scope="module")
def packs_only(out: Path) -> Path:
    """The same output as if only packs had been written."""
    path = Path(shutil.copytree(out, out.with_name("packs")))
    shutil.rmtree(path / "unpacked")
    manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    manifest["recipe"]["layout"] = ["packed"]
    manifest["shards"] = [each for each in manifest["shards"] if not each["path"].startswith("unpacked/")]
    (path / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return path


def in_input_order(rows: list[Row], out: Path) -> list[Row]:
    """Rows in the order of the packs, in that of the unpacked layout."""
    lineage = rows_of(out, "lineage")
    order = sorted(range(len(rows)), key=lambda i: (lineage[i]["row"], lineage[i]["sample"]))
    return [rows[i] for i in order]


@pytest.mark.parametrize("layout", ["packed", "unpacked"])
def test_arrow_is_what_load_from_disk_reads(out: Path, tmp_path: Path, layout: str) -> None:
    done = export(out, tmp_path / "arrow", form="arrow", layout=layout)
    loaded = datasets.load_from_disk(str(tmp_path / "arrow"))
    rows = rows_of(out, layout)

    assert list(loaded) == ["train"]
    assert loaded["train"].to_list() == rows
    assert loaded["train"].features["input_ids"] == datasets.List(datasets.Value("int32"))
    assert loaded["train"].features["labels"] == datasets.List(datasets.Value("int32"))
    assert loaded["train"].info.license == "mit"
    assert (done.rows, done.tokens) == (len(rows), sum(row["length"] for row in rows))
    assert names_in(tmp_path) == ["arrow"]
    assert names_in(tmp_path / "arrow/train") == [
        *(f"data-0000{i}-of-00003.arrow" for i in range(3)), "dataset_info.json", "state.json",
    ]  # fmt: skip


def test_what_is_loaded_can_be_worked_on(out: Path, tmp_path: Path) -> None:
    """Shuffled, mapped, saved again: as with a dataset that `datasets` saved itself."""
    export(out, tmp_path / "arrow", form="arrow", layout="unpacked", columns=LLAMA_FACTORY)
    train = datasets.load_from_disk(str(tmp_path / "arrow"))["train"]
    mapped = train.shuffle(seed=1).map(lambda row: {"n": len(row["labels"])}, keep_in_memory=True)
    datasets.DatasetDict({"train": train}).save_to_disk(str(tmp_path / "again"))
    again = datasets.load_from_disk(str(tmp_path / "again"))["train"]

    assert sum(mapped["n"]) == sum(row["length"] for row in rows_of(out, "unpacked"))
    assert again.to_list() == train.to_list()
    assert again.features == train.features
    assert train.column_names == LLAMA_FACTORY


@pytest.mark.parametrize("form", FORMS)
def test_the_same_output_gives_the_same_bytes(out: Path, tmp_path: Path, form: str) -> None:
    for name in ("one", "two"):
        export(out, tmp_path / name / "x", form=form)

    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "two")
    assert str(tmp_path).encode() not in b"".join(bytes_of(tmp_path / "one").values())


def test_jsonl_is_one_row_a_line(out: Path, tmp_path: Path) -> None:
    export(out, tmp_path / "rows.jsonl", form="jsonl", columns=["labels", "seq_lengths"])
    lines = (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()

    assert [json.loads(line) for line in lines] == [
        {"labels": row["labels"], "seq_lengths": row["seq_lengths"]} for row in rows_of(out, "packed")
    ]
    assert list(json.loads(lines[0])) == ["labels", "seq_lengths"]
    assert names_in(tmp_path) == ["rows.jsonl"]


def test_single_samples_are_made_from_packs(out: Path, packs_only: Path, tmp_path: Path) -> None:
    export(packs_only, tmp_path / "arrow", form="arrow", layout="unpacked")
    export(packs_only, tmp_path / "rows.jsonl", form="jsonl", layout="unpacked")
    loaded = datasets.load_from_disk(str(tmp_path / "arrow"))["train"].to_list()

    assert loaded != rows_of(out, "unpacked")  # the order is that of the packs
    assert in_input_order(loaded, out) == rows_of(out, "unpacked")
    assert [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text("utf-8").splitlines()] == loaded


@pytest.mark.parametrize("columns", [["length"], ["attention_mask"], ["labels", "length"]])
def test_single_columns_made_from_packs(
    out: Path, packs_only: Path, tmp_path: Path, columns: list[str]
) -> None:
    done = export(packs_only, tmp_path / "arrow", form="arrow", layout="unpacked", columns=columns)
    loaded = datasets.load_from_disk(str(tmp_path / "arrow"))["train"].to_list()

    assert in_input_order(loaded, out) == [
        {name: row[name] for name in columns} for row in rows_of(out, "unpacked")
    ]
    assert done.tokens == sum(row["length"] for row in rows_of(out, "unpacked"))


def test_loss_weights_go_along(tmp_path: Path) -> None:
    rows = [
        {
            "messages": [
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": "Yes", "weight": 0.25},
            ]
        },
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "No"}]},
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    words = ["--tokenizer", TOKENIZER, "--loss-weights", "--output", tmp_path / "out"]
    assert premask("run", tmp_path / "a.jsonl", *words).code == 0
    export(tmp_path / "out", tmp_path / "arrow", form="arrow", layout="unpacked")
    loaded = datasets.load_from_disk(str(tmp_path / "arrow"))["train"]

    assert loaded.features["loss_weights"] == datasets.List(datasets.Value("float32"))
    assert sorted({weight for row in loaded["loss_weights"] for weight in row}) == [0.0, 0.25, 1.0]
    assert [[w > 0 for w in row["loss_weights"]] for row in loaded] == [
        [label != -100 for label in row["labels"]] for row in loaded
    ]


def test_the_default_is_the_packed_layout_if_there_is_one(out: Path, tmp_path: Path) -> None:
    make_output(tmp_path / "unpacked", identity=identity_of(recipe_of(layout=["unpacked"])))

    assert export(out, tmp_path / "a", form="arrow").layout == "packed"
    assert export(tmp_path / "unpacked", tmp_path / "b", form="arrow").layout == "unpacked"


def test_memory_does_not_grow_with_the_shard(out: Path, tmp_path: Path) -> None:
    """Batches of one row, if that is all that fits."""
    dataset = open_dataset(out)
    sizes = [batch.num_rows for batch in dataset.batches(dataset.shards("packed")[0], tokens=2200)]

    assert set(sizes[:-1]) == {2}
    with mock.patch("premask.publish.export._JSONL_TOKENS", 1):
        export(out, tmp_path / "small.jsonl", form="jsonl")
    export(out, tmp_path / "large.jsonl", form="jsonl")
    assert (tmp_path / "small.jsonl").read_bytes() == (tmp_path / "large.jsonl").read_bytes()


# ==== What cannot be done ====


def test_packs_are_not_made_from_single_samples(tmp_path: Path) -> None:
    make_output(tmp_path / "out", identity=identity_of(recipe_of(layout=["unpacked"])))
    with pytest.raises(OutputError, match=r"has no packs, .* run the recipe with --layout packed"):
        export(tmp_path / "out", tmp_path / "x", form="arrow", layout="packed")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            ["labels", "text"],
            "the packed layout has no column 'text'; there are input_ids, labels, position_ids",
        ),
        (["attention_mask"], "the packed layout has no column 'attention_mask'"),
        (["labels", "labels"], "name each column once"),
        ([], "at least one"),
    ],
)
def test_columns_that_are_not_there(out: Path, tmp_path: Path, columns: list[str], message: str) -> None:
    with pytest.raises(OutputError, match=message):
        export(out, tmp_path / "x", form="arrow", columns=columns)
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("form", FORMS)
def test_what_stands_at_the_target_is_kept(out: Path, tmp_path: Path, form: str) -> None:
    (tmp_path / "file").write_text("years of work")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/thesis.txt").write_text("years of work")
    for name in ("file", "folder"):
        with pytest.raises(OutputError, match="exists already; nothing was changed there"):
            export(out, tmp_path / name, form=form)

    assert sorted(bytes_of(tmp_path)) == ["file", "folder/thesis.txt"]


def test_an_empty_directory_is_filled(out: Path, tmp_path: Path) -> None:
    (tmp_path / "arrow").mkdir()
    export(out, tmp_path / "arrow", form="arrow")

    assert (tmp_path / "arrow/dataset_dict.json").is_file()


@pytest.mark.parametrize("form", FORMS)
def test_a_damaged_shard_leaves_nothing_behind(packs_only: Path, tmp_path: Path, form: str) -> None:
    out = Path(shutil.copytree(packs_only, tmp_path / "out"))
    shard = out / "packed/train-00002-of-00003.parquet"
    shard.write_bytes(shard.read_bytes()[:-50])
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    (line,) = [each for each in manifest["shards"] if each["path"] == shard.relative_to(out).as_posix()]
    line |= {
        "sha256": sha256_file(shard),
        "bytes": shard.stat().st_size,
    }  # it was damaged before the manifest was written
    (out / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(
        OutputError, match=r"00002-of-00003.parquet cannot be read: .*; see 'premask verify .*out'"
    ):
        export(out, tmp_path / "x", form=form)

    assert names_in(tmp_path) == ["out"]


def test_a_shard_that_is_gone_or_has_a_changed_byte(packs_only: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(packs_only, tmp_path / "out"))
    shard = out / "packed/train-00001-of-00003.parquet"
    data = bytearray(shard.read_bytes())
    data[4000:4100] = bytes(100)
    shard.write_bytes(data)
    with pytest.raises(OutputError, match=r"train-00001-of-00003.parquet has changed since the run; fetch"):
        export(out, tmp_path / "x", form="arrow")
    shard.unlink()
    with pytest.raises(OutputError, match=r"train-00001-of-00003.parquet: the file is not there; fetch"):
        export(out, tmp_path / "x", form="arrow")

    assert names_in(tmp_path) == ["out"]


@pytest.mark.parametrize("form", FORMS)
def test_a_full_disk_leaves_nothing_behind(out: Path, tmp_path: Path, form: str) -> None:
    dataset = open_dataset(out)
    batches = list(dataset.batches(dataset.shards("packed")[0]))

    def fills_up(*_: object, **__: object) -> Iterator[pa.RecordBatch]:
        yield from batches
        raise OSError(errno.ENOSPC, "No space left on device")

    with (
        mock.patch.object(Dataset, "batches", fills_up),
        pytest.raises(OutputError, match=r"cannot write .*x: No space left on device; check space"),
    ):
        export(out, tmp_path / "x", form=form)
    assert names_in(tmp_path) == []


def test_an_output_without_rows(tmp_path: Path) -> None:
    make_output(tmp_path / "out", [])
    export(tmp_path / "out", tmp_path / "arrow", form="arrow", layout="unpacked")
    export(tmp_path / "out", tmp_path / "rows.jsonl", form="jsonl")

    assert datasets.load_from_disk(str(tmp_path / "arrow"))["train"].num_rows == 0
    assert (tmp_path / "rows.jsonl").read_bytes() == b""


# ==== The command ====


def test_the_command(out: Path, tmp_path: Path) -> None:
    rows = pq.read_metadata(out / "unpacked/train-00000-of-00003.parquet").num_rows
    done = premask(
        "export",
        out,
        tmp_path / "lf",
        "--layout",
        "unpacked",
        "--columns",
        "input_ids, attention_mask,labels",
    )
    assert done.code == 0, done
    assert done.out.startswith("292 rows, 79,275 tokens (unpacked: input_ids, attention_mask, labels) in ")
    assert rows < 292
    assert datasets.load_from_disk(str(tmp_path / "lf"))["train"].column_names == LLAMA_FACTORY

    again = premask("export", out, tmp_path / "lf")
    assert (again.code, again.err.count("\n")) == (2, 1)
    assert "exists already" in again.err
    missing = premask("export", tmp_path / "nothing", tmp_path / "y", "--format", "jsonl")
    assert (missing.code, missing.err.count("\n")) == (2, 1)
    assert "does not exist" in missing.err


# ==== Splits ====


def test_all_splits_or_one(tmp_path: Path) -> None:
    recipe = Recipe(
        sources=[str(SAMPLE / "conversations.jsonl")],
        tokenizer=str(SAMPLE / "tokenizer"),
        output=str(tmp_path / "out"),
        splits={"validation": 0.2},
    )
    counts = run(recipe).manifest["counts"]["splits"]
    done = export(tmp_path / "out", tmp_path / "arrow", form="arrow", layout="unpacked")
    loaded = datasets.load_from_disk(tmp_path / "arrow")

    assert {split: len(rows) for split, rows in loaded.items()} == {
        split: each["samples"] for split, each in counts.items()
    }
    assert done.rows == sum(each["samples"] for each in counts.values())
    with pytest.raises(OutputError, match="has the splits train, validation: name the one to write"):
        export(tmp_path / "out", tmp_path / "rows.jsonl", form="jsonl")
    with pytest.raises(OutputError, match="has no split 'test'; there are train, validation"):
        export(tmp_path / "out", tmp_path / "rows.jsonl", form="jsonl", split="test")
    export(tmp_path / "out", tmp_path / "rows.jsonl", form="jsonl", split="validation")
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == counts["validation"]["packs"]
    one = export(tmp_path / "out", tmp_path / "one", form="arrow", split="validation")
    assert (list(datasets.load_from_disk(tmp_path / "one")), one.rows) == (
        ["validation"],
        counts["validation"]["packs"],
    )
