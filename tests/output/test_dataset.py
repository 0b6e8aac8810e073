"""The one reader of outputs: it gives what was written, and refuses what is something else."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from outputs import UNITS, bytes_of, identity_of, make_output, recipe_of, rows_of, samples_of
from premask.core.errors import OutputError
from premask.output.dataset import Dataset, UnreadableError, flat, open_dataset
from premask.output.read_samples import read_row, read_samples
from premask.output.sending import read_finished


@pytest.fixture
def out(tmp_path: Path) -> Path:
    make_output(tmp_path / "out")
    return tmp_path / "out"


def rewrite(path: Path, table: pa.Table) -> None:
    path.chmod(0o644)
    pq.write_table(table, path)


def lines(batches: Any) -> list[dict[str, Any]]:
    return [line for batch in batches for line in batch.to_pylist()]


def test_rows_lineage_and_rejects_are_those_of_the_files(out: Path) -> None:
    dataset = open_dataset(out)
    packs = [line for shard in dataset.shards("packed") for line in lines(dataset.batches(shard))]

    assert (dataset.splits, dataset.layouts, dataset.layout) == (["train"], ["packed", "unpacked"], "packed")
    assert packs == rows_of(out, "packed")
    assert lines(dataset.lineage("train")) == rows_of(out, "lineage")
    assert lines(dataset.rejects()) == rows_of(out, "rejects")
    assert lines(dataset.rejects(["row", "reason"], lines=1)) == [
        {"row": line["row"], "reason": line["reason"]} for line in rows_of(out, "rejects")
    ]


def test_samples_with_their_origin(out: Path) -> None:
    dataset = open_dataset(out)
    found = {}
    for batch in read_samples(dataset):
        for i, origin in enumerate(batch.origin.to_pylist()):
            found[origin["row"]] = [each.tolist() for each in batch.tokens(i)]
    wanted = {}
    for windows, _ in UNITS:
        for samples in windows:
            rows = samples.origin.column("row").to_pylist()
            for row, first, last in zip(rows, samples.offsets, samples.offsets[1:], strict=False):
                wanted[row] = [samples.ids[first:last].tolist(), samples.labels[first:last].tolist()]

    assert found == wanted
    packs = dataset.manifest.counts.packs
    assert sum(len(read_row(dataset, "train", row).length) for row in range(packs)) == len(wanted)
    with pytest.raises(OutputError, match=rf"no row {packs} of packed in train; there are {packs}, counted"):
        read_row(dataset, "train", packs)
    with pytest.raises(OutputError, match="has no split test; there are train"):
        read_row(dataset, "test", 0)


def test_batches_go_by_tokens(out: Path) -> None:
    dataset = open_dataset(out)
    shard = dataset.shards("unpacked")[0]

    assert [batch.num_rows for batch in dataset.batches(shard, ["length"], tokens=1)] == [1] * 5
    assert [batch.num_rows for batch in dataset.batches(shard)] == [5]


@pytest.mark.parametrize("kind", ["packed", "lineage", "rejects"])
def test_columns_of_another_type_or_none_are_refused(out: Path, kind: str) -> None:
    dataset = open_dataset(out)
    shard, column = dataset.shards(kind)[0], {"packed": "labels"}.get(kind, "row")
    path = dataset.path(shard.path)
    table = pq.read_table(path)
    rewrite(path, table.drop_columns([column]))
    with pytest.raises(UnreadableError, match=f"column {column} is not there, not .*; see 'premask verify"):
        list(dataset.batches(shard))
    rewrite(path, table.set_column(table.schema.get_field_index(column), column, pa.nulls(len(table))))
    with pytest.raises(UnreadableError, match=f"column {column} is null, not "):
        list(dataset.batches(shard, [column]))


def test_text_that_is_not_utf8_is_refused(out: Path) -> None:
    dataset = open_dataset(out)
    shard = dataset.shards("rejects")[0]
    table = pq.read_table(dataset.path(shard.path))
    broken = pa.array([b"\xff"] * len(table), pa.binary()).view(pa.string())
    rewrite(dataset.path(shard.path), table.set_column(4, table.schema.field(4), broken))

    with pytest.raises(UnreadableError, match=r"cannot be read: .*UTF8"):
        list(dataset.rejects())


def test_a_file_that_is_gone_or_cut_is_one_error(out: Path) -> None:
    dataset = open_dataset(out)
    shard = dataset.shards("packed")[0]
    path = dataset.path(shard.path)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(UnreadableError) as cut:
        list(dataset.batches(shard))
    path.unlink()
    with pytest.raises(UnreadableError) as gone:
        list(dataset.batches(shard))

    assert all(str(error.value).startswith(f"{path} cannot be read: ") for error in (cut, gone))
    assert all(str(error.value).endswith(f"; see 'premask verify {out}'") for error in (cut, gone))


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "packed/../../x", "packed/\0"])
def test_names_that_lead_outside_are_refused(out: Path, name: str) -> None:
    with pytest.raises(OutputError, match="which is outside the output"):
        open_dataset(out).path(name)


def problems(dataset: Dataset) -> list[tuple[str, str]]:
    return [(problem.kind, problem.file) for checked in dataset.check() for problem in checked.problems]


def test_every_kind_of_damage_to_a_file(out: Path) -> None:
    dataset = open_dataset(out)
    packed, unpacked, lineage = (dataset.shards(kind)[0].path for kind in ("packed", "unpacked", "lineage"))
    assert problems(dataset) == []
    assert all(dataset.has(shard) for shard in dataset.manifest.shards)

    data = bytearray((out / packed).read_bytes())
    data[-9 - int.from_bytes(data[-8:-4], "little")] ^= 1  # the last byte of the last page
    (out / packed).write_bytes(data)
    (out / unpacked).unlink()
    table = pq.read_table(out / lineage)
    pq.write_table(table.append_column("more", table["row"]).slice(1), out / lineage)

    assert problems(dataset) == [
        ("sha256", packed),
        ("missing", unpacked),
        ("size", lineage),
        ("footer", lineage),
        ("footer", lineage),
        ("schema", lineage),
    ]
    readable = {checked.name: checked.readable for checked in dataset.check()}
    assert [readable[name] for name in (packed, unpacked, lineage)] == [True, False, False]
    assert [dataset.has(shard) for shard in dataset.manifest.shards if shard.path == unpacked] == [False]


def test_a_folder_in_place_of_a_shard_is_no_shard(out: Path) -> None:
    dataset = open_dataset(out)
    shard = dataset.shards("packed")[0]
    (out / shard.path).unlink()
    (out / shard.path).mkdir()

    assert problems(dataset) == [("irregular", shard.path)]
    assert not dataset.has(shard)


def test_files_are_links_in_the_cache_of_the_hub(out: Path, tmp_path: Path) -> None:
    repo = tmp_path / "datasets--org--name"
    snapshot = repo / "snapshots" / ("0" * 40)
    (repo / "blobs").mkdir(parents=True)
    for name in bytes_of(out):
        blob = repo / "blobs" / name.replace("/", "-")
        shutil.move(out / name, blob)
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).symlink_to(os.path.relpath(blob, (snapshot / name).parent))
    dataset = open_dataset(snapshot)

    assert problems(dataset) == []
    assert dataset.unlisted() == []
    assert dataset.tokenizer == snapshot / "tokenizer"
    assert sum(len(lines(dataset.batches(shard))) for shard in dataset.shards("packed")) == 6
    assert {file.path for file in read_finished(snapshot).files} == set(bytes_of(snapshot))


def become_link(path: Path, elsewhere: Path) -> None:
    shutil.move(path, elsewhere)
    path.symlink_to(elsewhere)


def become_pipe(path: Path, _: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("become", [become_link, become_pipe])
def test_links_and_pipes_are_not_read(
    out: Path, tmp_path: Path, become: Callable[[Path, Path], None]
) -> None:
    dataset = open_dataset(out)
    shard = dataset.shards("packed")[0]
    become(out / shard.path, tmp_path / "a")
    assert problems(dataset) == [("irregular", shard.path)]
    with pytest.raises(UnreadableError, match=r"it is a (link|pipe)"):
        list(dataset.batches(shard))
    with pytest.raises(OutputError, match=r"it is a (link|pipe)"):
        read_finished(out)

    become(out / "tokenizer/tokenizer.json", tmp_path / "b")
    with pytest.raises(OutputError, match=r"it is a (link|pipe)"):
        _ = open_dataset(out).tokenizer
    become(out / "README.md", tmp_path / "c")
    assert open_dataset(out).card() is None
    become(out / "manifest.json", tmp_path / "d")
    with pytest.raises(OutputError, match=r"it is a (link|pipe)"):
        open_dataset(out)


def test_a_folder_of_files_that_is_a_link_is_not_read(out: Path, tmp_path: Path) -> None:
    become_link(out / "tokenizer", tmp_path / "elsewhere")
    dataset = open_dataset(out)

    assert problems(dataset) == [("irregular", "tokenizer/tokenizer.json")]
    assert [file.path for file in dataset.small_files()] == ["manifest.json", "README.md"]


def test_files_are_as_large_as_such_files_are(out: Path) -> None:
    for name in ("README.md", "tokenizer/tokenizer.json", "manifest.json"):
        with (out / name).open("r+b") as file:
            file.truncate(1 << 40)
    with pytest.raises(OutputError, match=r"manifest.json: it has more than 33,554,432 bytes"):
        open_dataset(out)


def test_code_is_no_part_of_a_tokenizer(out: Path) -> None:
    (out / "tokenizer/tokenization_x.py").write_text("raise SystemExit")
    dataset = open_dataset(out)

    assert dataset.unlisted() == ["tokenizer/tokenization_x.py"]
    assert "tokenizer/tokenization_x.py" not in {file.path for file in read_finished(out).files}


@pytest.mark.parametrize(
    "text", ["a: &a [x, x]\nb: [*a, *a]", "a: " + "[" * 5000, "a: 0x" + "f" * 9000, "{[1]: 2}"]
)
def test_a_card_is_bounded(out: Path, text: str) -> None:
    (out / "README.md").write_text(f"---\n{text}\n---\n", encoding="utf-8")

    assert open_dataset(out).card() in (None, {"a": int("f" * 9000, 16)})


def test_a_null_where_the_contract_has_none(out: Path) -> None:
    dataset = open_dataset(out)
    shard = dataset.shards("packed")[0]
    table = pq.read_table(out / shard.path)
    rewrite(out / shard.path, table.set_column(4, table.schema.field(4), pa.nulls(len(table), pa.int32())))

    with pytest.raises(UnreadableError, match="column length holds null"):
        list(dataset.batches(shard))
    assert sum(batch.num_rows for batch in dataset.batches(shard, nulls=True)) == shard.rows


def test_a_column_that_is_there_twice(out: Path) -> None:
    dataset = open_dataset(out)
    shard = dataset.shards("packed")[0]
    table = pq.read_table(out / shard.path)
    rewrite(out / shard.path, table.append_column("labels", table["labels"]))

    with pytest.raises(UnreadableError, match="column labels is not there"):
        list(dataset.batches(shard))


def test_files_that_are_no_part_of_it(out: Path) -> None:
    for name in ("notes.txt", "packed/mine.parquet", "tokenizer/mine.parquet", ".hidden"):
        (out / name).write_text("x")
    dataset = open_dataset(out)

    assert dataset.unlisted() == ["notes.txt", "packed/mine.parquet", "tokenizer/mine.parquet"]
    small = [file.path for file in dataset.small_files()]
    assert small == ["tokenizer/tokenizer.json", "manifest.json", "README.md"]


def test_what_is_sent_is_all_of_it_and_the_card_comes_last(out: Path) -> None:
    finished = read_finished(out)

    assert {file.path for file in finished.files} == set(bytes_of(out))
    assert finished.files[-1].path == "README.md"
    assert finished.others == ()
    (out / "packed/mine.txt").write_text("x")
    with pytest.raises(OutputError, match=r"packed/mine.txt is not in the manifest; move it away"):
        read_finished(out)


def test_the_front_matter_of_the_card(out: Path) -> None:
    card = open_dataset(out).card()

    assert card is not None
    assert [config["config_name"] for config in card["configs"]] == ["packed", "unpacked"]
    (out / "README.md").write_text("no front matter")
    assert open_dataset(out).card() is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _path: None, "does not exist; name a directory that premask run has written"),
        (lambda path: path.write_text("x"), "is a file; name a directory"),
        (lambda path: path.mkdir(), "holds no manifest.json, so it is no output of premask"),
        (lambda path: path.with_name(".x.partial").mkdir(), "is not finished: run its recipe again"),
    ],
)
def test_what_is_no_output(tmp_path: Path, make: Any, message: str) -> None:
    make(tmp_path / "x")
    with pytest.raises(OutputError, match=message):
        open_dataset(tmp_path / "x")


def test_an_output_in_a_store_is_not_looked_for_here() -> None:
    with pytest.raises(OutputError, match="is in a store; fetch the folder, and name the copy"):
        open_dataset(Path("s3://bucket/chats"))


def test_a_run_says_what_is_wrong_with_the_manifest_that_is_there(out: Path) -> None:
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    manifest["counts"]["rows"] = "many"
    (out / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(OutputError, match=r"holds an output that cannot be read .*counts\.rows.*--overwrite"):
        make_output(out)
    before = bytes_of(out)
    with pytest.raises(OutputError, match=r"cannot be replaced: README.md, lineage/.* and 7 more; nothing"):
        make_output(
            out, overwrite=True
        )  # which files are its own, a manifest that cannot be read does not say
    assert bytes_of(out) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_shard_that_may_not_be_read(out: Path) -> None:
    dataset = open_dataset(out)
    shard = dataset.shards("packed")[0]
    (out / shard.path).chmod(0)

    with pytest.raises(UnreadableError, match="Permission denied"):
        list(dataset.batches(shard))


def test_unpacked_is_read_where_it_is_all_there_is(tmp_path: Path) -> None:
    units = [([samples_of([5, 3])], [])]
    make_output(tmp_path / "out", units, identity=identity_of(recipe_of(layout=["unpacked"])))
    (batch,) = read_samples(open_dataset(tmp_path / "out"))

    assert batch.length.tolist() == [5, 3]


def test_flat_lists_of_a_slice() -> None:
    found = flat(pa.array([[1, 2], [], [3]], pa.list_(pa.int32()))[1:])

    assert (found.values.tolist(), found.offsets.tolist()) == ([3], [0, 0, 1])


def test_a_shard_of_another_size_is_not_hashed(out: Path) -> None:
    dataset = open_dataset(out)
    shard = dataset.shards("packed")[0]
    with (out / shard.path).open("r+b") as file:
        file.truncate(1 << 40)  # it would take a quarter of an hour
    (checked,) = [each for each in dataset.check() if each.name == shard.path]

    assert checked.file is None
    assert [problem.kind for problem in checked.problems] == ["size", "unreadable"]


def test_rows_that_are_longer_than_any_of_the_output(out: Path) -> None:
    """`max_length` is 8; a pack of a few tokens more is for `verify` to find."""
    dataset = open_dataset(out)
    shard, schema = dataset.shards("packed")[0], dataset.schema("packed")
    for count, refused in ((20, False), (2 << 20, True)):
        lists = {name: [[0] * count] for name in ("input_ids", "labels", "position_ids", "seq_lengths")}
        rewrite(out / shard.path, pa.table({**lists, "length": [count]}, schema=schema))
        if refused:
            with pytest.raises(UnreadableError, match="an impossible number: values of a row: 2,097,152"):
                list(dataset.batches(shard))
        else:
            assert len(lines(dataset.batches(shard))) == 1


def test_rows_without_samples(tmp_path: Path) -> None:
    make_output(tmp_path / "out", [([], [])])
    dataset = open_dataset(tmp_path / "out")
    path = "packed/train-00000-of-00001.parquet"
    lists = {name: [[], []] for name in ("input_ids", "labels", "position_ids", "seq_lengths")}
    rewrite(tmp_path / "out" / path, pa.table({**lists, "length": [0, 0]}, schema=dataset.schema("packed")))

    (batch,) = read_samples(dataset)
    assert batch.origin.schema.field("row").type == pa.int64()
    assert batch.origin.column("sample").to_numpy().tolist() == []
