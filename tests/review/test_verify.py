"""Checks of outputs: nothing is found in what a run writes, and each kind of damage is found for what it is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import SAMPLE, TOKENIZER, chat, premask, write_rows
from premask.core.atomic_files import sha256_file
from premask.core.contract import LOSS_WEIGHTS, UNPACKED_SCHEMA, layout_schema
from premask.core.errors import OutputError
from premask.core.hashing import hash_samples
from premask.core.recipe import Recipe
from premask.output.identity import identify
from premask.output.shards import parquet_writer
from premask.review.verify import Report, verify
from premask.review.verify_files import FIXES, Findings
from premask.review.verify_rows import Limits, Place, check_batch
from premask.tokens.tokenizer import load_tokenizer

PACKED = "packed/train-00001-of-00003.parquet"
UNPACKED = "unpacked/train-00001-of-00003.parquet"
LINEAGE = "lineage/train-00001-of-00003.parquet"
REJECTS = "rejects/rejects-00001-of-00003.parquet"

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def run_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample in three shards of both layouts, and its source beside it."""
    place = tmp_path_factory.mktemp("verify")
    shutil.copy(SAMPLE / "conversations.jsonl", place / "chats.jsonl")
    words = ["--layout", "packed,unpacked", "--max-length", 1024, "--unit-rows", 100]
    done = premask("run", place / "chats.jsonl", "--tokenizer", TOKENIZER, "--output", place / "out", *words)
    assert done.code == 0, done.err
    return place


@pytest.fixture(scope="module", autouse=True)
def _tokenizers_are_loaded_once() -> Iterator[None]:
    """Copies of an output have the same tokenizer; the files are compared, so that a changed one is loaded."""
    loaded: dict[tuple[bytes, ...], Any] = {}

    def load(name: str) -> Any:
        key = tuple(path.read_bytes() for path in sorted(Path(name).iterdir()))
        if key not in loaded:
            loaded[key] = load_tokenizer(name)
        return loaded[key]

    with (
        mock.patch("premask.labeller.load_tokenizer", load),
        mock.patch("premask.review.verify.PACKS_REDONE", 2),  # a tenth of a second for each of these tests
    ):
        yield


@pytest.fixture
def out(run_once: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(run_once / "out", tmp_path / "out"))


def manifest_of(out: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    return data


def write_manifest(out: Path, manifest: dict[str, Any]) -> None:
    (out / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def adopt(out: Path, name: str) -> None:
    """Have the manifest say of a shard what is true, so that only what is in it can be found."""
    manifest, path = manifest_of(out), out / name
    (line,) = [line for line in manifest["shards"] if line["path"] == name]
    footer = pq.read_metadata(path)
    groups = [footer.row_group(i) for i in range(footer.num_row_groups)]
    line |= {"bytes": path.stat().st_size, "rows": footer.num_rows, "sha256": sha256_file(path)}
    line["raw_bytes"] = sum(group.total_byte_size for group in groups)
    if "length" in footer.schema.names and not name.startswith("lineage/"):
        line["tokens"] = sum(pq.read_table(path, columns=["length"]).column(0).to_pylist())
    write_manifest(out, manifest)


def change(out: Path, name: str, edit: Callable[[Rows], Any], schema: pa.Schema | None = None) -> None:
    """Write a shard anew after editing its rows, and the manifest to match."""
    rows = pq.read_table(out / name).to_pylist()
    edit(rows)
    kind = name.split("/", maxsplit=1)[0]
    schema = schema or pq.read_schema(out / name)
    with parquet_writer(out / name, kind, schema) as writer:
        writer.write_table(pa.Table.from_pylist(rows, schema=schema))
    adopt(out, name)


def kinds(report: Report) -> set[str]:
    return {finding.kind for finding in report.findings}


def finding(out: Path, kind: str, **options: Any) -> Any:
    """Verify, and return the one finding of a kind."""
    (found,) = [each for each in verify(str(out), **options).findings if each.kind == kind]
    return found


# ==== What is well ====


def test_nothing_is_found_in_what_a_run_writes(out: Path) -> None:
    report = verify(str(out))
    counts = manifest_of(out)["counts"]

    assert report.findings == ()
    assert report.notes == ()
    assert report.ok
    for name in ("rows", "kept", "rejected", "samples", "tokens", "trained_tokens", "packs"):
        assert report.checked[name] == counts[name]
    assert (report.checked["files"], report.checked["sources"]) == (12, 1)
    assert 8 + 2 <= report.checked["rows_redone"] < 100  # all rejects, and what is in two packs


def test_full_does_every_row_again(out: Path) -> None:
    report = verify(str(out), full=True)

    assert report.ok
    assert report.checked["rows_redone"] == 300


@pytest.mark.parametrize(
    "words",
    [
        ["--layout", "unpacked"],
        ["--layout", "packed", "--too-long", "split", "--max-length", 64],
        ["--layout", "unpacked,packed", "--too-long", "truncate", "--max-length", 128, "--loss-weights"],
        ["--train", "turns=last", "--pack-window", 3000],
        ["--layout", "packed,unpacked", "--pad-rows", "to_length", "--extra-columns", "completion_mask"],
        ["--chat-template", "zephyr", "--append-eos"],
    ],
)
def test_nothing_is_found_after_other_recipes(tmp_path: Path, words: list[object]) -> None:
    rows = [chat("Hi", "Hello there", id=f"row-{i}") for i in range(5)]
    rows += [chat(f"Tell me {i} " * 9, "Once upon a time " * 20 * i, "and", "then") for i in range(1, 9)]
    rows[2]["messages"][1]["weight"] = 0.5
    source = write_rows(tmp_path / "chats.jsonl", [*rows, "broken", {"messages": []}, "", *rows])
    plain = ["--engine", "tokenizers", "--verify", 0]  # changes no byte, saves the proof of the other engine
    named = ["--tokenizer", TOKENIZER, "--output", tmp_path / "out", "--unit-rows", 9]
    done = premask("run", source, *named, *plain, *words)
    assert done.code == 0, done.err
    report = verify(str(tmp_path / "out"), full=True)

    assert report.findings == ()
    assert report.checked["rows_redone"] == manifest_of(tmp_path / "out")["counts"]["rows"]


def test_an_output_without_its_sources_is_checked_as_far_as_it_goes(out: Path, run_once: Path) -> None:
    source = run_once / "chats.jsonl"
    source.rename(run_once / "moved.jsonl")
    try:
        report = verify(str(out))
    finally:
        (run_once / "moved.jsonl").rename(source)

    assert report.ok
    assert report.notes == ("1 of 1 sources are not here: their rows were not processed again",)
    assert "rows_redone" not in report.checked


# ==== Files ====


def test_a_shard_that_is_gone(out: Path) -> None:
    (out / PACKED).unlink()

    assert kinds(verify(str(out))) == {"missing"}
    assert finding(out, "missing").file == PACKED


def test_a_shard_too_many(out: Path) -> None:
    shutil.copy(out / PACKED, out / "packed/train-00003-of-00004.parquet")

    assert kinds(verify(str(out))) == {"extra"}
    assert finding(out, "extra").file == "packed/train-00003-of-00004.parquet"


def test_a_shard_that_was_cut_short(out: Path) -> None:
    (out / UNPACKED).write_bytes((out / UNPACKED).read_bytes()[:-100])

    assert kinds(verify(str(out))) == {"size", "unreadable"}


def test_a_byte_that_changed(out: Path) -> None:
    data = bytearray((out / PACKED).read_bytes())
    data[len(data) // 2] ^= 255
    (out / PACKED).write_bytes(data)

    assert "sha256" in kinds(verify(str(out)))
    assert kinds(verify(str(out))) <= {
        "sha256",
        "unreadable",
        "id",
        "label",
        "position",
        "shape",
        "footer",
        "lineage",
    }


@pytest.mark.parametrize(
    ("schema", "what"),
    [
        (UNPACKED_SCHEMA.set(1, pa.field("labels", pa.list_(pa.int64()))), "column labels is list<"),
        (UNPACKED_SCHEMA.remove(2), "column attention_mask is not there, not list<element: int8>"),
        (pa.schema([*list(UNPACKED_SCHEMA)[1:], UNPACKED_SCHEMA.field(0)]), "its columns are labels, "),
        (UNPACKED_SCHEMA.append(LOSS_WEIGHTS), "its columns are input_ids, "),
    ],
)
def test_columns_that_are_not_those_of_the_contract(out: Path, schema: pa.Schema, what: str) -> None:
    change(out, UNPACKED, lambda rows: [row.setdefault("loss_weights", []) for row in rows], schema)

    assert kinds(verify(str(out))) == {"schema"}
    assert finding(out, "schema").what.startswith(what)


def test_a_shard_of_another_contract(out: Path) -> None:
    table = pq.read_table(out / PACKED)
    pq.write_table(table.replace_schema_metadata({"premask.contract": "2"}), out / PACKED)
    adopt(out, PACKED)

    assert kinds(verify(str(out))) == {"contract"}


def test_a_footer_and_a_manifest_that_disagree(out: Path) -> None:
    manifest = manifest_of(out)
    for line in manifest["shards"]:
        if line["path"] == UNPACKED:
            line["rows"] += 1
            line["tokens"] += 5
    write_manifest(out, manifest)
    found = finding(out, "footer")

    assert kinds(verify(str(out))) == {"footer"}
    assert (found.file, found.rows) == (UNPACKED, 2)


# ==== Rows ====


def damage(column: str, at: int, value: int) -> Callable[[Rows], None]:
    """Put a value into a list of row 2."""

    def edit(rows: Rows) -> None:
        rows[2][column][at] = value

    return edit


def both_ids(value: int) -> Callable[[Rows], None]:
    def edit(rows: Rows) -> None:
        rows[2]["input_ids"][0] = value

    return edit


@pytest.mark.parametrize(
    ("name", "kind", "edit", "what"),
    [
        (PACKED, "id", both_ids(-1), "token 0 has the unknown id -1"),
        (PACKED, "id", both_ids(999_999), "token 0 has the unknown id 999999"),
        (UNPACKED, "id", both_ids(2**31 - 1), "token 0 has the unknown id 2147483647"),
        (PACKED, "label", damage("labels", 1, 3), "token 1 has label 3 beside id "),
        (UNPACKED, "label", damage("labels", 4, -1), "token 4 has label -1 beside id "),
        (PACKED, "position", damage("position_ids", 1, 0), "token 1 has position 0, not 1"),
        (UNPACKED, "attention_mask", damage("attention_mask", 3, 0), "token 3 has attention_mask 0"),
    ],
)
def test_a_value_that_is_wrong(
    out: Path, name: str, kind: str, edit: Callable[[Rows], None], what: str
) -> None:
    change(out, name, edit)
    found = finding(out, kind)

    assert (found.file, found.row, found.rows) == (name, 2, 1)
    assert found.what.startswith(what)
    assert str(found).startswith(f"{name} row 2: {what}")
    assert str(found).endswith(FIXES[kind])


def test_a_first_token_that_is_trained(out: Path) -> None:
    def edit(rows: Rows) -> None:
        second = rows[2]["seq_lengths"][0]
        rows[2]["labels"][second] = rows[2]["input_ids"][second]

    change(out, PACKED, edit)
    found = finding(out, "first_label")

    assert (found.file, found.row) == (PACKED, 2)


@pytest.mark.parametrize("column", ["input_ids", "labels", "position_ids", "seq_lengths", "length"])
def test_lists_that_do_not_fit_together(out: Path, column: str) -> None:
    def edit(rows: Rows) -> None:
        row = rows[3]
        row[column] = row[column] + 1 if column == "length" else row[column][:-1]

    change(out, PACKED, edit)
    found = finding(out, "shape")

    assert (found.file, found.row, found.rows) == (PACKED, 3, 1)
    assert "not as long as" in found.what


@pytest.mark.parametrize("value", [None, [1, None]])
def test_nulls(out: Path, value: list[int | None] | None) -> None:
    change(out, UNPACKED, lambda rows: rows[1].update(labels=value))
    found = finding(out, "shape")

    assert (found.row, found.what) == (1, "labels holds null")


def test_lists_of_nothing_and_samples_of_no_tokens(out: Path) -> None:
    change(out, UNPACKED, lambda rows: rows[1].update(input_ids=[], labels=[], attention_mask=[], length=0))
    change(out, PACKED, lambda rows: rows[4].update(seq_lengths=[*rows[4]["seq_lengths"], 0]))

    assert [(each.kind, each.row) for each in verify(str(out)).findings] == [("shape", 4), ("shape", 1)]


def checked(rows: Rows, *, max_length: int = 8, **recipe: Any) -> list[tuple[str, int | None, int]]:
    """What is found in rows of the unpacked layout."""
    full = [{"attention_mask": [1] * len(row["labels"]), "length": len(row["labels"]), **row} for row in rows]
    batch = pa.RecordBatch.from_pylist(full, schema=layout_schema("unpacked", recipe))
    findings, limits = Findings(), Limits(max_length, np.arange(10) != 3)
    check_batch(batch, "unpacked", limits, Place("x", 100), findings)
    return [(each.kind, each.row, each.rows) for each in findings.all()]


def test_rows_by_themselves() -> None:
    good = {"input_ids": [5, 6], "labels": [-100, 6]}

    assert checked([good] * 3) == []
    assert checked([]) == []
    assert checked([good, {"input_ids": [0] * 9, "labels": [-100] * 9}]) == [("too_long", 101, 1)]
    assert checked([{**good, "input_ids": [3, 6]}]) == [("id", 100, 1)]  # a gap in the vocabulary
    assert checked([good, {**good, "labels": [5, 9]}, {**good, "labels": [5, 6]}]) == [
        ("label", 101, 1),
        ("first_label", 101, 2),
    ]


@pytest.mark.parametrize(
    ("weights", "fine"),
    [
        ([0, 1], True),
        ([0, 0.25], True),
        ([0, 0], True),
        ([0, -1], True),
        ([1, 1], False),
        ([0, float("nan")], False),
        ([0, float("inf")], False),
    ],
)
def test_loss_weights(weights: list[float], fine: bool) -> None:  # noqa: FBT001
    row = {"input_ids": [5, 6], "labels": [-100, 6], "loss_weights": weights}

    assert checked([row], loss_weights=True) == ([] if fine else [("loss_weight", 100, 1)])


@pytest.fixture(scope="module")
def multiples_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("multiples")
    shutil.copy(SAMPLE / "conversations.jsonl", place / "chats.jsonl")
    words = ["--layout", "packed,unpacked", "--max-length", 1024, "--unit-rows", 100, "--pad-to-multiple", 16]
    done = premask("run", place / "chats.jsonl", "--tokenizer", TOKENIZER, "--output", place / "out", *words)
    assert done.code == 0, done.err
    return place / "out"


def _end_of_first(row: dict[str, Any]) -> int:
    """The first pad token of a pack."""
    assert row["seq_lengths"][0] < row["seq_lengths_padded"][0]
    return int(row["seq_lengths"][0])


def _set(name: str, at: Callable[[dict[str, Any]], int], value: int) -> Callable[[Rows], Any]:
    """Set a value in a list of the first pack whose first sample has padding."""

    def edit(rows: Rows) -> None:
        row = next(each for each in rows if each["seq_lengths"][0] < each["seq_lengths_padded"][0])
        row[name][at(row)] = value

    return edit


@pytest.mark.parametrize(
    ("edit", "kind"),
    [
        (_set("labels", _end_of_first, 5), "padding"),
        (_set("input_ids", _end_of_first, 5), "padding"),
        (_set("position_ids", _end_of_first, 0), "position"),
        (_set("seq_lengths_padded", lambda _: 0, 4096), "shape"),
        (lambda rows: rows[0]["seq_lengths_padded"].append(16), "shape"),
    ],
)
def test_changed_padding_behind_samples(
    multiples_once: Path, tmp_path: Path, edit: Callable[[Rows], Any], kind: str
) -> None:
    assert verify(str(multiples_once)).ok
    out = Path(shutil.copytree(multiples_once, tmp_path / "out"))
    change(out, PACKED, edit)

    assert kind in kinds(verify(str(out)))


def test_a_sample_with_the_padding_of_another_number(multiples_once: Path, tmp_path: Path) -> None:
    """Lists that fit together, but the second sample begins at no multiple."""
    out = Path(shutil.copytree(multiples_once, tmp_path / "out"))

    def edit(rows: Rows) -> None:
        row = next(
            each
            for each in rows
            if len(each["seq_lengths"]) > 1 and each["seq_lengths"][0] < each["seq_lengths_padded"][0]
        )
        row["seq_lengths_padded"][0] -= 1
        row["seq_lengths_padded"][1] += 1

    change(out, PACKED, edit)

    assert "not the next multiple of 16" in finding(out, "padding").what


def test_changed_pad_tokens_of_lineage(multiples_once: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(multiples_once, tmp_path / "out"))
    change(out, LINEAGE, lambda rows: rows[0].update(pad_tokens=rows[0]["pad_tokens"] + 16))

    assert "multiples of 16 are wanted" in finding(out, "lineage").what


def test_padding_and_masks_by_themselves() -> None:
    """A pack that is to be filled up must be; its pad document is no sample, and masks say what labels say."""
    schema = layout_schema("packed", {"extra_columns": ["completion_mask"]})
    filled = {
        "input_ids": [1, 2, 0],
        "labels": [-100, 2, -100],
        "position_ids": [0, 1, 0],
        "seq_lengths": [2, 1],
        "length": 3,
        "completion_mask": [0, 1, 0],
    }
    short = {
        "input_ids": [1, 2],
        "labels": [-100, 2],
        "position_ids": [0, 1],
        "seq_lengths": [2],
        "length": 2,
        "completion_mask": [1, 1],
    }
    findings = Findings()
    batch = pa.RecordBatch.from_pylist([filled, short], schema=schema)
    limits = Limits(3, np.ones(5, dtype=bool), padded=True)
    sums = check_batch(batch, "packed", limits, Place("packed/x.parquet", 0), findings)

    assert sums.length.tolist() == [2, 2]
    assert {(each.kind, each.row) for each in findings.all()} == {("padding", 1), ("mask", 1)}


def test_hashes_tell_samples_apart() -> None:
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 50, 3000).astype(np.int32)
    labels = np.where(rng.random(3000) < 0.5, ids, -100).astype(np.int32)
    lengths = np.full(1000, 3)
    hashes = hash_samples(ids, labels, {}, lengths)
    samples = [
        tuple(row) for row in np.concatenate([ids.reshape(-1, 3), labels.reshape(-1, 3)], axis=1).tolist()
    ]

    assert len(set(hashes.tolist())) == len(set(samples))
    swapped = ids.reshape(-1, 3)[:, [1, 0, 2]].ravel()
    differ = (swapped != ids).reshape(-1, 3).any(axis=1)
    none = np.full(3000, -100, dtype=np.int32)
    again, other = hash_samples(ids, none, {}, lengths), hash_samples(swapped, none, {}, lengths)
    assert ((again != other) == differ).all()


# ==== Lineage ====


def row_of(number: int, **fields: Any) -> Callable[[Rows], None]:
    return lambda rows: rows[number].update(fields)


@pytest.mark.parametrize(
    ("edit", "row", "what"),
    [
        (row_of(5, pack=0), 5, "pack is 0, but the shard has "),
        (row_of(0, offset=3), 0, "offset is 3, but the shard has 0"),
        (row_of(7, length=1), 7, "length is 1, but the shard has "),
        (lambda rows: rows.pop(), None, "it has 97 samples, the shard 98"),
        (lambda rows: rows.append(rows[0]), None, "it has 99 samples, the shard 98"),
        (row_of(4, source="elsewhere.jsonl"), 4, "the source is none of the inputs"),
        (row_of(4, source=None), 4, None),
        (row_of(4, sample=1), 4, "the samples of an input row are not numbered from 0"),
        (row_of(4, trained_turns=[]), 4, "trained_turns is empty, or should be"),
        (row_of(4, row=-5), 4, "row is below 0"),
    ],
)
def test_lineage_that_is_wrong(
    out: Path, edit: Callable[[Rows], None], row: int | None, what: str | None
) -> None:
    change(out, LINEAGE, edit)
    found = finding(out, "lineage")

    assert found.file == LINEAGE
    if what is None:
        assert found.what == "a column other than id holds null"
    else:
        assert found.row == row
        assert found.what.startswith(what)


def test_layouts_that_hold_different_samples(out: Path) -> None:
    def swap(rows: Rows) -> None:
        rows[3], rows[4] = rows[4], rows[3]

    change(out, UNPACKED, swap)
    found = finding(out, "layouts")

    assert kinds(verify(str(out))) == {"layouts"}
    assert (found.file, found.row, found.rows) == (UNPACKED, 3, 2)

    change(out, UNPACKED, lambda rows: rows.pop())
    assert "layouts" in kinds(verify(str(out)))


# ==== The reject log, rows and counts ====


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"reason": "bored"}, "the reason 'bored' is unknown"),
        ({"source": "elsewhere"}, "the source is none of the inputs in manifest.json"),
        ({"row": -1}, "row is below 0"),
        ({"detail": ""}, "detail is empty"),
        ({"original": None}, "a column is null that must not be"),
        ({"original": "{", "reason": "no_messages"}, "original is not the row as JSON"),
    ],
)
def test_lines_of_the_reject_log_that_are_wrong(out: Path, fields: dict[str, Any], what: str) -> None:
    change(out, REJECTS, row_of(1, **fields))
    found = finding(out, "reject")

    assert (found.file, found.row, found.what) == (REJECTS, 1, what)


def test_a_row_that_is_lost(out: Path) -> None:
    change(out, REJECTS, lambda rows: rows.pop())

    assert finding(out, "rows").what.endswith("chats.jsonl had 300 rows, but 299 were kept or rejected")
    assert finding(out, "counts").what.startswith("counts.rejected is 8, the files have 7")


def test_a_row_that_is_kept_and_rejected(out: Path) -> None:
    change(out, REJECTS, row_of(1, row=0))

    assert {
        each.what.split("chats.jsonl")[1] for each in verify(str(out)).findings if each.kind == "rows"
    } == {" is in two shards, or kept and rejected"}
    assert finding(out, "rows").rows == 2  # and one row is gone


@pytest.mark.parametrize(
    "name",
    [
        "rows",
        "kept",
        "rejected",
        "samples",
        "tokens",
        "trained_tokens",
        "packs",
        "fill",
        "tokens_by_role",
        "rejected_by_reason",
        "lengths",
    ],
)
def test_counts_that_are_wrong(out: Path, name: str) -> None:
    manifest = manifest_of(out)
    counts = manifest["counts"]
    if isinstance(counts[name], dict):
        key = next(key for key, value in counts[name].items() if isinstance(value, int))
        counts[name][key] += 1
    else:
        counts[name] = 0.5 if name == "fill" else counts[name] + 1
    write_manifest(out, manifest)
    found = finding(out, "counts")

    assert kinds(verify(str(out))) == {"counts"}
    assert found.rows == 1
    assert found.what.startswith(f"counts.{name} ")


@pytest.mark.parametrize("name", ["tokens", "trained_tokens"])
def test_tokens_of_a_source_that_are_wrong(out: Path, name: str) -> None:
    manifest = manifest_of(out)
    manifest["inputs"][0][name] += 1
    write_manifest(out, manifest)
    (found,) = verify(str(out)).findings

    assert (found.kind, found.file) == ("rows", "manifest.json")
    assert found.what.startswith(f"{name} of ")


# ==== Counts that only a run knows ====

THINKS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.reasoning_content and loop.last %}<think>\n{{ m.reasoning_content }}\n</think>\n\n{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)
"""A prompt that opens a block of reasoning; a history without any."""


def thinking(*answers: str) -> dict[str, Any]:
    """A conversation with one turn of the assistant an answer: `R:` begins one with reasoning."""
    messages: list[dict[str, Any]] = []
    for answer in answers:
        reasoning = {"reasoning_content": "Hm."} if answer.startswith("R:") else {}
        messages += [{"role": "user", "content": "Is it?"}]
        messages += [{"role": "assistant", "content": answer.removeprefix("R:"), **reasoning}]
    return {"messages": messages}


@pytest.fixture(scope="module")
def thought(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output with each of these counts; one source is upsampled, and of the other a row is a duplicate."""
    place = tmp_path_factory.mktemp("thought")
    (place / "template.jinja").write_text(THINKS)
    often = [thinking("R:Yes.", "R:No."), thinking("Yes."), thinking("", "No.")]
    write_rows(place / "often.jsonl", often)
    write_rows(place / "once.jsonl", [thinking("R:Yes."), thinking("R:Yes."), thinking("R:Yes.", "Oh.")])
    recipe = {"sources": [{"path": str(place / "often.jsonl"), "repeat": 2}, str(place / "once.jsonl")]}
    recipe |= {"tokenizer": str(TOKENIZER), "chat_template": str(place / "template.jinja")}
    recipe |= {"open_reasoning": "as-rendered", "duplicates": "drop", "output": str(place / "out")}
    (place / "recipe.yaml").write_text(json.dumps(recipe))
    done = premask("run", place / "recipe.yaml")
    assert done.code == 0, done.err
    return place


def test_counts_of_each_kind(thought: Path) -> None:
    counts, report = manifest_of(thought / "out")["counts"], verify(str(thought / "out"), full=True)

    assert counts["dropped_fields"] == {"reasoning": 3}
    assert counts["turns_left_out"] == {"empty": 2}
    assert counts["turns_behind_another_prompt"] == 5
    assert report.findings == ()
    assert report.checked["rows_redone"] == 5
    assert verify(str(thought / "out")).findings == ()


@pytest.mark.parametrize(
    ("full", "changes", "what"),
    [
        (True, {"dropped_fields": {"reasoning": 4}}, 'dropped_fields is {"reasoning": 4}, all rows'),
        (True, {"dropped_fields": {"reasoning": 3, "content": 1}}, "dropped_fields is "),
        (
            True,
            {"turns_left_out": {}},
            'turns_left_out is {}, all rows, done again, give {"empty": 2}',
        ),
        (True, {"straddling_tokens": 1}, "straddling_tokens is 1, all rows, done again, give 0"),
        (False, {"dropped_fields": {"reasoning": 2}}, 'dropped_fields is {"reasoning": 2}, some rows'),
        (False, {"turns_behind_another_prompt": 4}, "turns_behind_another_prompt is 4, some rows"),
        (
            False,
            {"turns_behind_another_prompt": 99},
            "turns_behind_another_prompt is 99, there are 11 trained",
        ),
        (False, {"straddling_tokens": 10**6}, "straddling_tokens is 1,000,000, there are "),
        (False, {"samples_by_proof": {"inference": 7}}, "samples_by_proof comes to 7, there are "),
        (
            False,
            {"template_modes": {"thinks": {"yes": 9, "no": 9}}},
            "template_modes.thinks is 18, there are",
        ),
        (False, {"repaired_by_policy": {"strip_html": 99}}, "repaired_by_policy.strip_html is 99, there are"),
    ],
)
def test_counts_that_do_not_fit(
    thought: Path,
    tmp_path: Path,
    full: bool,  # noqa: FBT001
    changes: dict[str, Any],
    what: str,
) -> None:
    copy = Path(shutil.copytree(thought / "out", tmp_path / "out"))
    manifest = manifest_of(copy)
    manifest["counts"] |= changes
    write_manifest(copy, manifest)

    assert finding(copy, "counts", full=full).what.startswith(f"counts.{what}")


def test_counts_that_an_older_version_did_not_have(thought: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(thought / "out", tmp_path / "out"))
    manifest = manifest_of(copy)
    for name in ("dropped_fields", "turns_left_out", "turns_behind_another_prompt", "template_modes"):
        del manifest["counts"][name]
    write_manifest(copy, manifest)

    assert verify(str(copy), full=True).findings == ()


# ==== The manifest ====


def with_manifest(out: Path, **changes: Any) -> Report:
    write_manifest(out, manifest_of(out) | changes)
    return verify(str(out))


def test_a_manifest_that_is_not_valid(out: Path) -> None:
    report = with_manifest(out, run_key="none")

    assert kinds(report) == {"manifest"}
    assert report.findings[0].what.startswith(
        "at run_key: String should match pattern '^[0-9a-f]{64}$', but it is 'none'"
    )
    assert report.notes == ("nothing else was checked: there is no valid manifest",)


def test_a_manifest_that_points_out_of_the_output(out: Path) -> None:
    shards = manifest_of(out)["shards"]
    for path in ("../secret.parquet", "/etc/passwd", "packed/../../x-00000-of-00001.parquet"):
        report = with_manifest(out, shards=[{**shards[0], "path": path}, *shards[1:]])
        assert kinds(report) == {"manifest"}
        assert report.findings[0].what.startswith("at shards.0.path")


def test_a_recipe_that_was_changed_afterwards(out: Path) -> None:
    report = with_manifest(out, recipe=manifest_of(out)["recipe"] | {"date": "2031-01-01"})

    assert kinds(report) == {"manifest"}
    assert report.findings[0].what.startswith("run_key is not that of its recipe")


def test_the_key_is_that_of_the_run(out: Path) -> None:
    """Made by the code that makes keys of runs."""
    manifest = manifest_of(out)
    recipe = Recipe.model_validate({**manifest["recipe"], "output": "x"})
    inputs = [{key: each[key] for key in ("source", "bytes", "sha256")} for each in manifest["inputs"]]
    identity = identify(recipe, inputs=inputs, tokenizer=manifest["tokenizer"], template=manifest["template"])

    assert identity.key == manifest["run_key"]


def test_a_manifest_that_lists_no_shards(out: Path) -> None:
    report = with_manifest(out, shards=[])

    assert {"manifest", "extra"} <= kinds(report)


@pytest.mark.parametrize("kind", ["packed", "lineage", "rejects"])
def test_shards_that_the_manifest_does_not_list(out: Path, kind: str) -> None:
    shards = [each for each in manifest_of(out)["shards"] if not each["path"].startswith(f"{kind}/")]
    report = with_manifest(out, shards=shards)

    assert {"manifest", "extra"} <= kinds(report)
    assert any(
        each.what == f"its 0 files of {kind}/ are not those of its splits, numbered from 0"
        for each in report.findings
    )


def test_a_shard_that_is_listed_twice(out: Path) -> None:
    shards = manifest_of(out)["shards"]
    report = with_manifest(out, shards=[*shards, shards[0]])

    assert f"it lists {shards[0]['path']} twice" in [each.what for each in report.findings]


def test_numbers_that_would_take_all_memory(out: Path) -> None:
    manifest = manifest_of(out)
    manifest["inputs"][0]["rows"] = 10**18
    manifest["tokenizer"]["vocab_size"] = 10**18
    for line in manifest["shards"]:
        line["rows"] = line["tokens"] = 10**15
    write_manifest(out, manifest)
    shutil.rmtree(out / "tokenizer")

    assert {"footer", "tokenizer"} <= kinds(verify(str(out)))


# ==== The card, the tokenizer, the sources ====


def test_a_card_with_wrong_counts(out: Path) -> None:
    rows = manifest_of(out)["counts"]["packs"]
    text = (out / "README.md").read_text(encoding="utf-8")
    (out / "README.md").write_text(text.replace(f"num_examples: {rows}", "num_examples: 7"), encoding="utf-8")
    found = finding(out, "card")

    assert kinds(verify(str(out))) == {"card"}
    assert found.what == f"it says 7 of rows of packed in train, the files have {rows}"


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "# no YAML\n",
        "---\n- a\n---\n",
        "---\n: : [\n---\n",
        "---\nconfigs: 3\n---\n",
        "---\na: b\n",
    ],
)
def test_a_card_that_says_nothing(out: Path, text: str | None) -> None:
    (out / "README.md").unlink()
    if text is not None:
        (out / "README.md").write_text(text, encoding="utf-8")

    assert kinds(verify(str(out))) == {"card"}


def test_a_tokenizer_that_is_gone_or_another(out: Path) -> None:
    template = out / "tokenizer/chat_template.jinja"
    template.write_text(template.read_text(encoding="utf-8") + "{# changed #}", encoding="utf-8")
    report = verify(str(out))
    assert kinds(report) == {"tokenizer"}
    assert report.findings[0].what == "its sha256 is not the one in manifest.json"
    assert "it has changed since the run" in report.findings[1].what
    assert "were not processed again" in report.notes[0]

    (out / "tokenizer/tokenizer.json").write_text("{}", encoding="utf-8")
    assert kinds(verify(str(out))) == {"tokenizer"}
    shutil.rmtree(out / "tokenizer")
    assert "tokenizer/chat_template.jinja: the file is not there" in finding(out, "tokenizer").what


def test_a_source_that_changed(out: Path, run_once: Path) -> None:
    source = run_once / "chats.jsonl"
    kept = source.read_bytes()
    try:
        source.write_bytes(kept.replace(b"the", b"teh", 1))
        assert kinds(verify(str(out))) == {"source"}
        source.write_bytes(b"")
        assert kinds(verify(str(out))) == {"source"}
    finally:
        source.write_bytes(kept)


def test_a_mask_that_was_changed_everywhere_is_found_by_doing_rows_again(out: Path) -> None:
    """Labels taken away in both layouts and all counts: the output agrees with itself, not with its source."""
    lineage = pq.read_table(out / LINEAGE).to_pylist()
    victim = lineage[3]
    first = min(line["pack"] for line in lineage)
    at = sorted(range(len(lineage)), key=lambda i: lineage[i]["row"]).index(3)
    lost: list[int] = []

    def packed(rows: Rows) -> None:
        labels = rows[victim["pack"] - first]["labels"]
        place = next(
            i for i in range(victim["offset"], victim["offset"] + victim["length"]) if labels[i] != -100
        )
        lost.append(place - victim["offset"])
        labels[place] = -100

    change(out, PACKED, packed)
    change(out, UNPACKED, lambda rows: rows[at]["labels"].__setitem__(lost[0], -100))
    manifest = manifest_of(out)
    manifest["counts"]["trained_tokens"] -= 1
    manifest["counts"]["trained_by_role"]["assistant"] -= 1
    manifest["inputs"][0]["trained_tokens"] -= 1
    write_manifest(out, manifest)
    report = verify(str(out), full=True)

    assert kinds(report) == {"redone"}
    assert report.findings[0].file == PACKED
    assert report.findings[0].row == victim["pack"] - first
    assert f"chats.jsonl row {victim['row']} gives other tokens or labels" in report.findings[0].what


def test_a_good_row_in_the_reject_log_is_found_by_doing_it_again(out: Path) -> None:
    change(out, REJECTS, row_of(0, reason="no_messages"))
    found = finding(out, "redone", full=True)

    assert (found.file, found.row) == (REJECTS, 0)
    assert ", rejected for no_messages, is rejected for " in found.what


# ==== The command ====


def test_exit_codes_and_what_is_printed(out: Path) -> None:
    good = premask("verify", out)
    assert good.code == 0, good
    assert good.out.startswith(f"{out}: all is well (12 files, 292 samples, ")

    (out / PACKED).unlink()
    bad = premask("verify", out)
    assert (bad.code, bad.err) == (1, "")
    assert bad.out.startswith(f"{PACKED}: the file is not there; fetch the output again")
    assert "1 findings" in bad.out

    told = premask("verify", out, "--format", "json", "--full")
    report = json.loads(told.out)
    assert told.code == 1
    assert (report["ok"], report["output"]) == (False, str(out))
    assert [(each["kind"], each["file"], each["row"], each["mend"]) for each in report["findings"]] == [
        ("missing", PACKED, None, FIXES["missing"])
    ]


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (None, ["does not exist", "premask run"]),
        ("", ["holds no manifest.json", "check the path"]),
        ("{", ["manifest.json cannot be read", "again"]),
        ("[" * 100_000, ["manifest.json cannot be read"]),
        ("[]", ["is no manifest of premask"]),
        ('{"contract": 2, "recipe": {}, "shards": []}', ["output contract 2, this premask reads 1"]),
    ],
)
def test_what_cannot_be_checked(tmp_path: Path, content: str | None, parts: list[str]) -> None:
    if content is not None:
        (tmp_path / "out").mkdir()
    if content:
        (tmp_path / "out/manifest.json").write_text(content, encoding="utf-8")
    done = premask("verify", tmp_path / "out")

    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert all(part in done.err for part in parts), done.err


def test_a_file_is_no_output(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("x")
    with pytest.raises(OutputError, match="out is a file; name a directory"):
        verify(str(tmp_path / "out"))


def test_a_directory_has_no_revision(out: Path) -> None:
    """Names on the Hub are tested in `test_push_hub.py`, with a server."""
    with pytest.raises(OutputError, match="is no name on the Hub, where --revision belongs"):
        verify(str(out), revision="v1")


def test_a_name_that_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Offline, with the real client."""
    monkeypatch.chdir(tmp_path)
    done = premask("verify", "nobody/nothing")

    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "nobody/nothing is no directory here, and cannot be fetched from the Hub" in done.err
