"""Whole runs on the sample: nothing is lost, nothing depends on how the work was spread, and what stands in
the shards is what the labeller said."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any
from unittest import mock

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import TOKENIZER, chat, write_rows
from labelling import decoded, label_rows
from places import MakeLabeller
from premask.core.contract import LINEAGE_SCHEMA, PACKED_SCHEMA, REJECT_SCHEMA, UNPACKED_SCHEMA
from premask.core.errors import OutputError, RunError, SourceError
from premask.core.recipe import Recipe
from premask.core.records import Reject, Row
from premask.fast.plain_batches import RowBatch
from premask.labeller import Labeller
from premask.running.batches import BatchLabeller
from premask.running.run import RunResult, run

SAMPLE = Path(__file__).resolve().parents[2] / "pipeline" / "premask" / "sample"
LINES = (SAMPLE / "conversations.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
BOTH = ["packed", "unpacked"]

BROKEN = {
    20: (None, "invalid_json", "Expecting ',' delimiter"),
    56: ("broken-no-messages", "unknown_dialect", "the row has none of the keys"),
    92: ("broken-empty-conversation", "no_messages", "the row has no turns"),
    128: ("broken-unknown-role", "unknown_role", "turn 1 has role 'narrator'"),
    164: ("broken-no-assistant", "no_assistant", "none of the 2 messages is by the assistant"),
    200: ("broken-empty-answer", "empty_assistant", "message 1 (assistant) has no text"),
    236: ("broken-wrong-type", "wrong_type", "the content of turn 1 is a JSON number"),
    272: (None, "not_an_object", "the row is a JSON string"),
}
GOOD = [json.loads(line) for i, line in enumerate(LINES) if i not in BROKEN]


def recipe(out: Path, *sources: str | Path, **keys: Any) -> Recipe:
    values: dict[str, Any] = {"sources": [str(each) for each in sources or [SAMPLE / "conversations.jsonl"]]}
    values |= {"tokenizer": str(SAMPLE / "tokenizer"), "output": str(out), "max_length": 1024}
    return Recipe.model_validate(values | {"layout": BOTH} | keys)


def rows_in(out: Path, kind: str) -> list[dict[str, Any]]:
    files = sorted((out / kind).glob("*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def hashes(out: Path, *kinds: str) -> dict[str, str]:
    """sha256 of every file of some kinds of an output, by its path in it."""
    files = sorted(path for kind in kinds for path in (out / kind).rglob("*") if path.is_file())
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def all_files(out: Path) -> dict[str, str]:
    return hashes(out, ".")


ALL = ("packed", "unpacked", "rejects", "lineage", "tokenizer")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """The sample in both layouts, in several units, by one worker."""
    return run(recipe(tmp_path_factory.mktemp("done") / "out", unit_rows=60))


# ==== What is written ====


def test_every_row_is_accounted_for(done: RunResult) -> None:
    counts = done.manifest["counts"]
    lineage = rows_in(done.output, "lineage")
    rejects = rows_in(done.output, "rejects")

    assert done.fresh
    assert done.warnings == ()
    assert (counts["rows"], counts["kept"], counts["rejected"]) == (300, 292, 8)
    assert sorted([row["row"] for row in lineage] + [row["row"] for row in rejects]) == list(range(300))
    assert counts["samples"] == len(lineage) == len(rows_in(done.output, "unpacked"))
    assert counts["packs"] == len(rows_in(done.output, "packed")) < 100
    assert len(list((done.output / "packed").iterdir())) == 5
    assert {row["source"] for row in lineage + rejects} == {done.manifest["inputs"][0]["source"]}
    assert [row["id"] for row in sorted(lineage, key=lambda row: row["row"])] == [row["id"] for row in GOOD]


def test_reject_log(done: RunResult) -> None:
    rejects = rows_in(done.output, "rejects")

    assert [row["row"] for row in rejects] == list(BROKEN)
    for found in rejects:
        id_, reason, detail = BROKEN[found["row"]]
        assert (found["id"], found["reason"]) == (id_, reason)
        assert found["detail"].startswith(detail)
        assert found["original"] == LINES[found["row"]]
    assert done.manifest["counts"]["rejected_by_reason"] == Counter(
        reason for _, reason, _ in BROKEN.values()
    )


def test_padded_rows_and_masks_for_older_trainers(done: RunResult, tmp_path: Path) -> None:
    """Both can be asked for together; `load_dataset` reads them, and without them all is as before."""
    length = done.manifest["recipe"]["max_length"]
    masks = ["assistant_masks", "completion_mask"]
    out = tmp_path / "out"
    run(recipe(out, unit_rows=60, pad_rows="to_length", extra_columns=masks))
    packs, plain = rows_in(out, "packed"), rows_in(done.output, "packed")
    loaded = datasets.load_dataset(str(out), "packed", split="train", cache_dir=str(tmp_path / "cache"))

    assert list(loaded) == packs
    assert loaded.column_names == [*plain[0], *masks]
    assert {len(pack["input_ids"]) for pack in packs} == {length}
    assert {sum(pack["seq_lengths"]) for pack in packs} == {length}
    for pack, own in zip(packs, plain, strict=True):
        n = own["length"]
        assert pack["input_ids"][:n] == own["input_ids"]
        assert pack["labels"] == own["labels"] + [-100] * (length - n)
        for mask in masks:
            assert pack[mask] == [int(label != -100) for label in pack["labels"]]
    assert rows_in(out, "lineage") == rows_in(done.output, "lineage")
    for row, own in zip(rows_in(out, "unpacked"), rows_in(done.output, "unpacked"), strict=True):
        assert {name: row[name] for name in own} == own
        assert row["completion_mask"] == [int(label != -100) for label in row["labels"]]


def test_schemas_of_the_files(done: RunResult) -> None:
    schemas = {
        "packed": PACKED_SCHEMA,
        "unpacked": UNPACKED_SCHEMA,
        "rejects": REJECT_SCHEMA,
        "lineage": LINEAGE_SCHEMA,
    }
    for kind, schema in schemas.items():
        for path in (done.output / kind).glob("*.parquet"):
            assert pq.read_schema(path).equals(schema), path


def test_packs_hold_what_the_labeller_says(done: RunResult) -> None:
    """Each slice of a pack, found by the lineage, is the labelled sample of its row."""
    labeller = Labeller(recipe(done.output))
    lines = [Row("x", i, json.loads(line)) for i, line in enumerate(LINES) if i not in BROKEN]
    expected = {
        row.row: result
        for row, result in zip(lines, label_rows(labeller, lines, "sharegpt"), strict=True)
        if not isinstance(result, Reject)
    }
    packs = rows_in(done.output, "packed")
    for line in rows_in(done.output, "lineage"):
        pack, place = packs[line["pack"]], slice(line["offset"], line["offset"] + line["length"])
        (sample,) = expected[line["row"]]
        assert pack["input_ids"][place] == sample.ids.tolist()
        assert pack["labels"][place] == sample.labels.tolist()
        assert pack["position_ids"][place] == list(range(line["length"]))
        assert decoded(labeller, np.array(pack["input_ids"][place])) == sample.text
        assert line["trained_turns"] == sorted({turn.message for turn in sample.sample.turns})


def test_packs_are_well_formed(done: RunResult) -> None:
    for pack in rows_in(done.output, "packed"):
        assert (
            pack["length"]
            == len(pack["input_ids"])
            == len(pack["labels"])
            == sum(pack["seq_lengths"])
            <= 1024
        )
        assert pack["position_ids"] == [at for length in pack["seq_lengths"] for at in range(length)]
        assert all(
            label in (-100, token) for token, label in zip(pack["input_ids"], pack["labels"], strict=True)
        )
        assert all(
            pack["labels"][at] == -100 for at, position in enumerate(pack["position_ids"]) if position == 0
        )


def test_both_layouts_hold_the_same_samples(done: RunResult) -> None:
    unpacked = rows_in(done.output, "unpacked")
    in_packs = []
    for pack in rows_in(done.output, "packed"):
        at = 0
        for length in pack["seq_lengths"]:
            in_packs.append(
                (tuple(pack["input_ids"][at : at + length]), tuple(pack["labels"][at : at + length]))
            )
            at += length

    assert Counter(in_packs) == Counter((tuple(row["input_ids"]), tuple(row["labels"])) for row in unpacked)
    assert all(
        row["length"] == len(row["input_ids"]) and set(row["attention_mask"]) == {1} for row in unpacked
    )


def test_counts_of_tokens(done: RunResult) -> None:
    counts = done.manifest["counts"]
    unpacked = rows_in(done.output, "unpacked")
    trained = sum(label != -100 for row in unpacked for label in row["labels"])

    assert (
        counts["tokens"] == sum(row["length"] for row in unpacked) == sum(counts["tokens_by_role"].values())
    )
    assert counts["trained_tokens"] == trained == sum(counts["trained_by_role"].values())
    assert set(counts["trained_by_role"]) == {
        "assistant",
        "template",
    }  # what is said, and the turn end after it


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("name", BOTH)
def test_load_dataset(done: RunResult, name: str, streaming: bool) -> None:  # noqa: FBT001
    """What a trainer does first; the card names the configs."""
    loaded = datasets.load_dataset(str(done.output), name, split="train", streaming=streaming)

    assert list(loaded) == rows_in(done.output, name)


def test_saved_tokenizer_reads_the_shards(done: RunResult) -> None:
    tokenizer = Labeller(recipe(done.output, tokenizer=str(done.output / "tokenizer"))).tokenizer
    pack = rows_in(done.output, "packed")[0]

    assert tokenizer.sha256() == done.manifest["tokenizer"]["sha256"]
    assert tokenizer.backend.decode(pack["input_ids"], skip_special_tokens=False).startswith("<|im_start|>")


# ==== The same bytes, however it is done ====


def test_workers_do_not_change_a_byte(done: RunResult, tmp_path: Path) -> None:
    other = run(recipe(tmp_path / "out", unit_rows=60), workers=2)

    assert all_files(other.output) == all_files(done.output)


def test_row_groups_do_not_change_a_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rows as Parquet, cut into groups of other sizes."""
    table = pa.Table.from_pylist(GOOD)
    seen = []
    for group in (7, 100, 1000):
        (tmp_path / str(group)).mkdir()
        monkeypatch.chdir(tmp_path / str(group))
        pq.write_table(table, "chats.parquet", row_group_size=group)
        seen.append(hashes(run(recipe(Path("out"), "chats.parquet", unit_rows=60)).output.resolve(), *ALL))

    assert seen[0] == seen[1] == seen[2]
    assert len(seen[0]) > 15


def test_forms_of_the_input_give_the_same_tables(done: RunResult, tmp_path: Path) -> None:
    """JSONL, compressed and in two files; only the lineage tells them apart."""
    text = "\n".join(LINES) + "\n"
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "b-1.jsonl").write_text("\n".join(LINES[:120]) + "\n", encoding="utf-8")
    (tmp_path / "b-2.jsonl").write_text("\n".join(LINES[120:]), encoding="utf-8")
    compressed = run(recipe(tmp_path / "gz", tmp_path / "a.jsonl.gz"))
    parts = run(recipe(tmp_path / "parts", tmp_path / "b-*.jsonl"))

    expected = [(row["input_ids"], row["labels"]) for row in rows_in(done.output, "unpacked")]
    for result in (compressed, parts):
        assert [(row["input_ids"], row["labels"]) for row in rows_in(result.output, "unpacked")] == expected
        assert [row["reason"] for row in rows_in(result.output, "rejects")] == [
            reason for _, reason, _ in BROKEN.values()
        ]


def test_small_pack_windows_hold_the_same_samples(done: RunResult, tmp_path: Path) -> None:
    """Each window is a row group; packing sees less at a time, and loses no sample."""
    small = run(recipe(tmp_path / "out", pack_window=5000))
    (path,) = (small.output / "packed").glob("*.parquet")

    assert pq.ParquetFile(path).num_row_groups > 5
    assert rows_in(small.output, "unpacked") == rows_in(done.output, "unpacked")
    assert sum(row["length"] for row in rows_in(small.output, "packed")) == done.manifest["counts"]["tokens"]
    packs = rows_in(small.output, "packed")
    assert sorted({line["pack"] for line in rows_in(small.output, "lineage")}) == list(range(len(packs)))


# ==== Doing it again ====


def test_done_twice_is_done_once(tmp_path: Path) -> None:
    first = run(recipe(tmp_path / "out"))
    before = {path: path.stat().st_mtime_ns for path in first.output.rglob("*")}
    again = run(recipe(tmp_path / "out"))

    assert not again.fresh
    assert again.manifest == first.manifest
    assert {path: path.stat().st_mtime_ns for path in first.output.rglob("*")} == before


def test_another_recipe_needs_overwrite(tmp_path: Path) -> None:
    run(recipe(tmp_path / "out"))
    before = all_files(tmp_path / "out")
    with pytest.raises(OutputError, match=r"holds the output of another run .*max_length.*--overwrite"):
        run(recipe(tmp_path / "out", max_length=512))

    assert all_files(tmp_path / "out") == before
    assert run(recipe(tmp_path / "out", max_length=2048), overwrite=True).fresh
    assert max(row["length"] for row in rows_in(tmp_path / "out", "packed")) > 1024


def test_resume(done: RunResult, tmp_path: Path) -> None:
    """A run that dies in the third unit leaves two; the next one does the others, with the same result."""
    began: list[int] = []
    again: list[int] = []

    def dies(self: BatchLabeller, rows: RowBatch, dialect: str) -> Any:
        began.append(int(rows.numbers[0]))
        if len(began) == 3:
            raise KeyboardInterrupt
        return real(self, rows, dialect)

    def counts(self: BatchLabeller, rows: RowBatch, dialect: str) -> Any:
        again.append(int(rows.numbers[0]))
        return real(self, rows, dialect)

    real = BatchLabeller.parts
    with mock.patch.object(BatchLabeller, "parts", dies), pytest.raises(KeyboardInterrupt):
        run(recipe(tmp_path / "out", unit_rows=60))

    assert not (tmp_path / "out").exists()
    with mock.patch.object(BatchLabeller, "parts", counts):
        result = run(recipe(tmp_path / "out", unit_rows=60))

    assert again[0] == began[2]
    assert again[0] > 0
    assert all_files(result.output) == all_files(done.output)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


# ==== What can go wrong ====


def test_nothing_kept(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text("\n".join(LINES[i] for i in (92, 128, 164)), encoding="utf-8")
    with pytest.raises(RunError, match=r"every row was rejected .*1 no_messages.*nothing was written"):
        run(recipe(tmp_path / "out", tmp_path / "bad.jsonl"))

    assert not (tmp_path / "out").exists()


def test_no_source(tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        run(recipe(tmp_path / "out", tmp_path / "missing.jsonl"))

    assert not (tmp_path / "out").exists()


LONG = 200
"""A `max_length` that some of the sample's conversations are longer than."""


def test_too_long_reject(done: RunResult, tmp_path: Path) -> None:
    result = run(recipe(tmp_path / "out", max_length=LONG))
    lengths = {line["row"]: line["length"] for line in rows_in(done.output, "lineage")}
    rejected = {row["row"]: row for row in rows_in(result.output, "rejects") if row["reason"] == "too_long"}

    assert set(rejected) == {row for row, length in lengths.items() if length > LONG}
    assert 20 < len(rejected) < 280
    for number, row in rejected.items():
        assert row["detail"].startswith(f"{lengths[number]} tokens are more than max_length {LONG}")
        assert row["original"] == LINES[number]
    assert result.manifest["counts"]["kept"] + result.manifest["counts"]["rejected"] == 300


def whole_rows(done: RunResult) -> dict[int, dict[str, Any]]:
    lineage, unpacked = rows_in(done.output, "lineage"), rows_in(done.output, "unpacked")
    return {
        line["row"]: row
        for line, row in zip(sorted(lineage, key=lambda line: line["row"]), unpacked, strict=True)
    }


def pieces_of(out: Path) -> dict[int, list[tuple[list[int], list[int]]]]:
    """Ids and labels of all pieces of each row, in order of their number."""
    packs, found = rows_in(out, "packed"), dict[int, list[tuple[list[int], list[int]]]]()
    for line in sorted(rows_in(out, "lineage"), key=lambda line: (line["row"], line["sample"])):
        pack, place = packs[line["pack"]], slice(line["offset"], line["offset"] + line["length"])
        found.setdefault(line["row"], []).append((pack["input_ids"][place], pack["labels"][place]))
    return found


@pytest.mark.parametrize("policy", ["truncate", "split"])
def test_too_long_cut(done: RunResult, tmp_path: Path, policy: str) -> None:
    """A cut sample's pieces are its own tokens; the first label of each is -100, all others stay."""
    result = run(recipe(tmp_path / "out", max_length=LONG, too_long=policy))
    found = pieces_of(result.output)
    long_ones = 0
    for number, whole in whole_rows(done).items():
        if number not in found:  # nothing that is trained fits
            assert set(whole["labels"][: LONG if policy == "truncate" else None]) == {-100}
            continue
        ids, labels = whole["input_ids"], whole["labels"]
        long_ones += len(ids) > LONG
        starts = range(0, len(ids), LONG) if policy == "split" else [0]
        trained_pieces = [(ids[at : at + LONG], [-100, *labels[at + 1 : at + LONG]]) for at in starts]
        assert found[number] == [piece for piece in trained_pieces if piece in found[number]]
        dropped = [piece for piece in trained_pieces if piece not in found[number]]
        assert all(set(piece[1]) == {-100} for piece in dropped)
    assert long_ones > 20
    assert result.manifest["counts"]["kept"] + result.manifest["counts"]["rejected"] == 300
    assert result.manifest["counts"][f"too_long_{policy}"] == long_ones


# ==== Named-entity chats ====


def test_entity_chats_on_qwen(shared: Path, tmp_path: Path, make_labeller: MakeLabeller) -> None:
    """Slices of the three CrossNER files: every question of a row is a sample of its own on Qwen's template,
    because it prints an empty thought before the last answer only; the passage is trained nowhere."""
    folder = shared / "corpus" / "conversations" / "universal-ner" / "eval" / "test_data"
    sources = []
    for path in sorted(folder.glob("CrossNER_*.json")):
        rows = json.loads(path.read_text(encoding="utf-8"))[:40]
        sources.append(tmp_path / path.name)
        sources[-1].write_text(json.dumps(rows), encoding="utf-8")
    assert len(sources) == 3
    tokenizer = shared / "tokenizers" / "qwen3"
    if not tokenizer.is_dir():
        pytest.skip("shared/tokenizers/qwen3 is not there")
    result = run(recipe(tmp_path / "out", *sources, tokenizer=str(tokenizer)))
    labeller = make_labeller("qwen3")
    texts = Counter[str]()
    for pack in rows_in(result.output, "packed"):
        trained = [
            token for token, label in zip(pack["input_ids"], pack["labels"], strict=True) if label != -100
        ]
        texts.update(decoded(labeller, np.array(trained)).split("<|im_end|>"))

    assert result.manifest["counts"]["kept"] == 120
    assert result.manifest["counts"]["samples"] == 240
    assert texts["<think>\n\n</think>\n\nI've read this text."] == 120
    assert all(text.startswith("<think>\n\n</think>\n\n") for text in texts if text)
    assert all(json.loads(text[19:]) is not None for text in texts if text[19:20] == "[")


def test_the_first_reason_is_said_where_every_row_is_rejected(tmp_path: Path) -> None:
    rows = [{"messages": [{"role": "user", "content": "Hi"}]}, chat("Hi", "Hello " * 50)]
    path = write_rows(tmp_path / "a.jsonl", rows)
    recipe = {"sources": [path], "tokenizer": TOKENIZER, "max_length": 16, "output": str(tmp_path / "out")}
    with pytest.raises(RunError) as caught:
        run(Recipe.model_validate(recipe))

    text = str(caught.value)
    assert text.startswith("every row was rejected (1 no_assistant, 1 too_long); ")
    assert f"; {path} row 0: " in text
    assert text.endswith("; nothing was written; 'premask explain' shows each row's reason")
    assert not (tmp_path / "out").exists()
