"""Shards: what stands in an output, and that a run leaves either all of it or nothing."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from pipeline.card import make_card
from pipeline.contracts import (
    LINEAGE_SCHEMA,
    PACKED_SCHEMA,
    REJECT_SCHEMA,
    UNPACKED_SCHEMA,
    Reject,
    SampleOrigin,
    Samples,
)
from pipeline.errors import OutputError, RunError
from pipeline.recipe import Recipe
from pipeline.shards import (
    REJECTS_A_GROUP,
    Output,
    RunIdentity,
    UnitRecord,
    UnitWriter,
    identify,
    load_record,
    open_output,
    sha256_file,
)

Unit = tuple[Sequence[Samples], Sequence[Reject]]
"""What one unit of work writes: the samples of its windows, and its rejects."""


def samples_of(lengths: Sequence[int], *, first_row: int = 0, source: str = "chats.jsonl") -> Samples:
    """Samples with ids that differ everywhere and the last floor(n/2) of n tokens trained."""
    offsets = np.cumsum([0, *lengths])
    ids = np.arange(offsets[-1], dtype=np.int32) + 1000 * first_row
    place = np.concatenate([np.arange(n) * 2 >= max(n, 2) for n in lengths])
    rows = range(first_row, first_row + len(lengths))
    origin = [SampleOrigin(source, row, f"id-{row}" if row % 3 == 0 else None, 0, (1,)) for row in rows]
    return Samples(ids, np.where(place, ids, -100).astype(np.int32), offsets, origin)


def reject_of(row: int, reason: str = "no_messages") -> Reject:
    return Reject("chats.jsonl", row, None, reason, "the list is empty", '{"messages": []}')


UNITS: list[Unit] = [
    ([samples_of([5, 3, 4]), samples_of([8, 1], first_row=3)], [reject_of(5)]),
    ([], [reject_of(6), reject_of(7, "too_long")]),
    ([samples_of([2, 6, 7], first_row=8)], []),
]
ROWS = 11


def recipe_of(**change: Any) -> Recipe:
    values = {"sources": ["chats.jsonl"], "tokenizer": "tok", "max_length": 8, "output": "unused"}
    return Recipe.model_validate({**values, "layout": ["packed", "unpacked"], **change})


def identity_of(recipe: Recipe | None = None, *, content: str = "0") -> RunIdentity:
    return identify(
        recipe or recipe_of(),
        inputs=[{"source": "chats.jsonl", "bytes": 99, "sha256": content * 64}],
        tokenizer={"name": "tok", "sha256": "1" * 64, "vocab_size": 100_000},
        template={"sha256": "2" * 64},
    )


def write_unit(output: Output, number: int, unit: Unit, identity: RunIdentity) -> UnitRecord:
    layouts = recipe_of(layout=identity.recipe["layout"]).layout
    with UnitWriter(output.unit(number), layouts, identity.recipe["max_length"]) as writer:
        for samples in unit[0]:
            writer.add(samples)
        writer.reject(unit[1])
    return writer.commit(key=identity.key, extra={"unit": number})


def finish(output: Output, records: Sequence[UnitRecord], **change: Any) -> dict[str, Any]:
    kept = sum(record.samples for record in records)
    rows = kept + sum(sum(record.rejects.values()) for record in records)
    arguments: dict[str, Any] = {
        "counts": {"kept": kept, "straddling_tokens": 0},
        "input_rows": {"chats.jsonl": rows},
        "save_tokenizer": lambda folder: (folder / "tokenizer.json").write_text("{}"),
        "make_card": make_card,
    }
    return output.finish(records, **{**arguments, **change})


def make_output(
    path: Path,
    units: Sequence[Unit] = UNITS,
    *,
    identity: RunIdentity | None = None,
    overwrite: bool = False,
    **change: Any,
) -> dict[str, Any]:
    """Write a whole output and return its manifest."""
    identity = identity or identity_of()
    output = open_output(path, identity, overwrite=overwrite)
    assert output is not None
    with output:
        records = [write_unit(output, i, unit, identity) for i, unit in enumerate(units)]
        return finish(output, records, **change)


def bytes_of(tree: Path) -> dict[str, bytes]:
    return {str(p.relative_to(tree)): p.read_bytes() for p in sorted(tree.rglob("*")) if p.is_file()}


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def rows_of(out: Path, kind: str) -> list[dict[str, Any]]:
    files = sorted((out / kind).glob("*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


# ==== What is written ====


def test_an_output_has_these_files_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    make_output(tmp_path / "out")

    assert sorted(bytes_of(tmp_path / "out")) == [
        "README.md",
        "lineage/lineage-00000-of-00002.parquet",
        "lineage/lineage-00001-of-00002.parquet",
        "manifest.json",
        "packed/train-00000-of-00002.parquet",
        "packed/train-00001-of-00002.parquet",
        "rejects/rejects-00000-of-00002.parquet",
        "rejects/rejects-00001-of-00002.parquet",
        "tokenizer/tokenizer.json",
        "unpacked/train-00000-of-00002.parquet",
        "unpacked/train-00001-of-00002.parquet",
    ]
    assert names_in(tmp_path) == ["out"]


def test_two_runs_write_the_same_bytes(tmp_path: Path) -> None:
    make_output(tmp_path / "one")
    make_output(tmp_path / "elsewhere" / "two")

    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "elsewhere" / "two")


def test_rejects_are_written_alike_however_they_come_in(tmp_path: Path) -> None:
    rejects = [reject_of(i) for i in range(REJECTS_A_GROUP + 10)]
    with UnitWriter(tmp_path / "0", recipe_of().layout, 8) as together:
        together.reject(rejects)
    with UnitWriter(tmp_path / "1", recipe_of().layout, 8) as singly:
        for reject in rejects:
            singly.reject([reject])
    files = [unit.commit(key="k", extra={}).files["rejects"] for unit in (together, singly)]

    assert files[0] == files[1]
    assert pq.read_metadata(tmp_path / "0" / "rejects.parquet").num_row_groups == 2


@pytest.mark.parametrize(
    ("kind", "schema"),
    [
        ("packed", PACKED_SCHEMA),
        ("unpacked", UNPACKED_SCHEMA),
        ("rejects", REJECT_SCHEMA),
        ("lineage", LINEAGE_SCHEMA),
    ],
)
def test_files_have_the_schema_of_the_contract_and_its_version(
    tmp_path: Path, kind: str, schema: pa.Schema
) -> None:
    make_output(tmp_path / "out")

    for file in (tmp_path / "out" / kind).iterdir():
        written = pq.read_schema(file)
        assert written.equals(schema)
        assert written.metadata == {b"premask.contract": b"1"}
        assert b"huggingface" not in pq.read_metadata(file).metadata


def test_every_window_is_a_row_group(tmp_path: Path) -> None:
    make_output(tmp_path / "out")
    footer = pq.read_metadata(tmp_path / "out/packed/train-00000-of-00002.parquet")

    assert [footer.row_group(i).num_rows for i in range(footer.num_row_groups)] == [2, 2]
    column = footer.row_group(0).column(0)
    assert (column.compression, column.has_dictionary_page) == ("ZSTD", False)


def test_lineage_counts_packs_over_all_shards(tmp_path: Path) -> None:
    make_output(tmp_path / "out")
    packs = rows_of(tmp_path / "out", "packed")
    samples = rows_of(tmp_path / "out", "unpacked")
    lineage = rows_of(tmp_path / "out", "lineage")

    assert [line["pack"] for line in lineage] == [0, 0, 1, 2, 3, 4, 4, 5]
    for line, sample in zip(sorted(lineage, key=lambda line: line["row"]), samples, strict=True):
        here = slice(line["offset"], line["offset"] + line["length"])
        assert packs[line["pack"]]["labels"][here] == sample["labels"]


def test_lineage_of_the_unpacked_layout_counts_its_rows(tmp_path: Path) -> None:
    manifest = make_output(tmp_path / "out", identity=identity_of(recipe_of(layout=["unpacked"])))

    assert [line["pack"] for line in rows_of(tmp_path / "out", "lineage")] == list(range(8))
    assert (manifest["counts"]["packs"], manifest["counts"]["fill"]) == (0, None)
    assert not (tmp_path / "out/packed").exists()


def test_the_manifest_tells_counts_inputs_and_shards(tmp_path: Path) -> None:
    manifest = make_output(tmp_path / "out")
    out = tmp_path / "out"

    assert json.loads((out / "manifest.json").read_text()) == manifest
    assert manifest["counts"] == {
        "rows": ROWS,
        "kept": 8,
        "rejected": 3,
        "rejected_by_reason": {"no_messages": 2, "too_long": 1},
        "samples": 8,
        "tokens": 36,
        "trained_tokens": 16,
        "packs": 6,
        "fill": 0.75,
        "straddling_tokens": 0,
    }
    assert manifest["inputs"] == [{"source": "chats.jsonl", "bytes": 99, "sha256": "0" * 64, "rows": ROWS}]
    assert manifest["run_key"] == identity_of().key
    assert "output" not in manifest["recipe"]
    for shard in manifest["shards"]:
        assert shard["sha256"] == sha256_file(out / shard["path"])
        assert shard["bytes"] == (out / shard["path"]).stat().st_size
        assert shard["rows"] == pq.read_metadata(out / shard["path"]).num_rows
    tokens = {s["path"]: s["tokens"] for s in manifest["shards"]}
    assert tokens["packed/train-00001-of-00002.parquet"] == 15
    assert str(tmp_path) not in (out / "manifest.json").read_text()


def test_paths_are_there_even_if_they_hold_no_rows(tmp_path: Path) -> None:
    make_output(tmp_path / "kept", [([samples_of([3])], [])])
    make_output(tmp_path / "lost", [([], [reject_of(0)])])

    assert pq.read_table(tmp_path / "kept/rejects/rejects-00000-of-00001.parquet").num_rows == 0
    assert pq.read_table(tmp_path / "lost/packed/train-00000-of-00001.parquet").num_rows == 0
    assert make_output(tmp_path / "none", [])["counts"]["rows"] == 0


def test_lost_rows_are_told_and_nothing_is_put_in_place(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="12 rows were read, but 8 kept and 3 rejected; this is a bug"):
        make_output(tmp_path / "out", input_rows={"chats.jsonl": ROWS + 1})

    assert not (tmp_path / "out").exists()


def test_rejects_with_text_that_is_not_unicode_are_escaped(tmp_path: Path) -> None:
    broken = Reject("a", 0, None, "invalid_text", "it holds \ud800", '"\ud800"')
    make_output(tmp_path / "out", [([], [broken])])

    assert rows_of(tmp_path / "out", "rejects")[0]["detail"] == "it holds \\ud800"


# ==== A unit of work ====


def test_a_unit_is_not_there_before_its_commit(tmp_path: Path) -> None:
    with UnitWriter(tmp_path / "00000", recipe_of().layout, 8) as unit:
        unit.add(samples_of([3, 4]))
    assert not (tmp_path / "00000").exists()

    record = unit.commit(key="k", extra={"rows": 2})

    assert names_in(tmp_path) == ["00000"]
    expected = ["done.json", "lineage.parquet", "packed.parquet", "unpacked.parquet"]
    assert names_in(tmp_path / "00000") == expected
    assert load_record(tmp_path / "00000", "k") == record
    assert pickle.loads(pickle.dumps(record)) == record  # noqa: S301
    assert (record.samples, record.tokens, record.packs, record.extra) == (2, 7, 1, {"rows": 2})


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_exception_leaves_nothing_of_a_unit(tmp_path: Path, error: type[BaseException]) -> None:
    def work() -> None:
        with UnitWriter(tmp_path / "00000", recipe_of().layout, 8) as unit:
            unit.add(samples_of([3, 4]))
            unit.reject([reject_of(9)])
            raise error

    with pytest.raises(error):
        work()

    assert names_in(tmp_path) == []


def test_a_sample_longer_than_max_length_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="sample 1 has 9 tokens"),
        UnitWriter(tmp_path / "0", recipe_of().layout, 8) as unit,
    ):
        unit.add(samples_of([3, 9]))


def test_a_unit_that_a_lost_worker_finishes_late_does_not_disturb(tmp_path: Path) -> None:
    with UnitWriter(tmp_path / "0", recipe_of().layout, 8) as late:
        late.add(samples_of([3, 4]))
    with UnitWriter(tmp_path / "0", recipe_of().layout, 8) as unit:
        unit.add(samples_of([3, 4]))
    record = unit.commit(key="k", extra={})
    inode = (tmp_path / "0/packed.parquet").stat().st_ino

    assert late.commit(key="k", extra={}) == record
    assert (tmp_path / "0/packed.parquet").stat().st_ino == inode
    assert names_in(tmp_path) == ["0"]


def test_a_unit_of_a_run_that_is_gone_does_not_come_back(tmp_path: Path) -> None:
    gone = tmp_path / ".out.partial" / "units" / "00000"
    with pytest.raises(OutputError, match=r"cannot write .*units/00000: No such file"):
        UnitWriter(gone, recipe_of().layout, 8).__enter__()

    assert names_in(tmp_path) == []


@pytest.mark.parametrize("damage", ["size", "file", "record", "json", "field", "key"])
def test_a_unit_that_is_not_whole_has_no_record(tmp_path: Path, damage: str) -> None:
    with UnitWriter(tmp_path / "0", recipe_of().layout, 8) as unit:
        unit.add(samples_of([3, 4]))
    unit.commit(key="k", extra={})
    done, shard = tmp_path / "0/done.json", tmp_path / "0/packed.parquet"
    if damage == "size":
        shard.write_bytes(shard.read_bytes()[:-1])
    elif damage == "file":
        shard.unlink()
    elif damage == "record":
        done.unlink()
    elif damage in {"json", "field"}:
        done.write_text("{" if damage == "json" else '{"key": "k", "files": {}}')

    assert load_record(tmp_path / "0", "other" if damage == "key" else "k") is None


# ==== Resume ====


def interrupted(path: Path, identity: RunIdentity) -> Path:
    """A run that ended after two of three units; returns its directory of units."""
    output = open_output(path, identity)
    assert output is not None
    with output:
        for number in (0, 1):
            write_unit(output, number, UNITS[number], identity)
        UnitWriter(output.unit(2), recipe_of().layout, 8).__enter__()  # killed at work: leaves a scratch
    return output.unit(0).parent


def test_finished_units_are_used_again_and_broken_ones_redone(tmp_path: Path) -> None:
    identity = identity_of()
    units = interrupted(tmp_path / "out", identity)
    (units / "00001/rejects.parquet").write_bytes(b"cut")
    assert not (tmp_path / "out").exists()

    output = open_output(tmp_path / "out", identity)
    assert output is not None
    with output:
        found = [load_record(output.unit(i), identity.key) for i in range(3)]
        assert [record is not None for record in found] == [True, False, False]
        assert names_in(units) == ["00000", "00001"]
        records = [r or write_unit(output, i, UNITS[i], identity) for i, r in enumerate(found)]
        finish(output, records)
    make_output(tmp_path / "at-once")

    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "at-once")


def test_units_of_another_run_are_removed(tmp_path: Path) -> None:
    units = interrupted(tmp_path / "out", identity_of())
    other = identity_of(content="9")

    output = open_output(tmp_path / "out", other)
    assert output is not None
    with output:
        assert names_in(units) == []


def test_a_failed_finish_keeps_the_units(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        raise RuntimeError(f"no tokenizer for {folder.name}")

    with pytest.raises(RuntimeError, match="no tokenizer"):
        make_output(tmp_path / "out", save_tokenizer=fail)
    assert not (tmp_path / "out").exists()

    output = open_output(tmp_path / "out", identity_of())
    assert output is not None
    with output:
        records = [load_record(output.unit(i), identity_of().key) for i in range(3)]
        assert None not in records
        finish(output, [record for record in records if record])
    assert names_in(tmp_path) == ["out"]


def test_files_are_moved_where_the_file_system_has_no_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError(f"no links to {target} from {self}")

    make_output(tmp_path / "linked")
    monkeypatch.setattr(Path, "hardlink_to", refuse)
    make_output(tmp_path / "moved")

    assert bytes_of(tmp_path / "linked") == bytes_of(tmp_path / "moved")


# ==== What stands at the output already ====


def test_the_same_run_again_is_up_to_date(tmp_path: Path) -> None:
    make_output(tmp_path / "out")
    before = bytes_of(tmp_path / "out")

    assert open_output(tmp_path / "out", identity_of()) is None
    assert open_output(tmp_path / "out", identity_of(), overwrite=True) is None
    assert bytes_of(tmp_path / "out") == before
    assert names_in(tmp_path) == ["out"]


def test_another_place_and_another_order_of_keys_are_the_same_run() -> None:
    assert identity_of(recipe_of(output="a")).key == identity_of(recipe_of(output="b")).key
    assert identity_of().key != identity_of(recipe_of(max_length=16)).key
    assert identity_of().key != identity_of(content="9").key


def test_the_output_of_another_recipe_is_kept_and_the_differences_are_named(tmp_path: Path) -> None:
    make_output(tmp_path / "out")
    other = identity_of(recipe_of(max_length=16, layout=["packed"]))

    with pytest.raises(OutputError) as caught:
        open_output(tmp_path / "out", other)
    assert str(caught.value) == (
        f"{tmp_path}/out holds the output of another run "
        '(layout was ["packed", "unpacked"], now ["packed"]; max_length was 8, now 16); '
        "choose another --output, or pass --overwrite to replace it"
    )
    assert names_in(tmp_path) == ["out"]


def test_changed_input_and_versions_are_named_too(tmp_path: Path) -> None:
    make_output(tmp_path / "out")
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    manifest["versions"]["pyarrow"] = "21.0.0"
    manifest["run_key"] = "f" * 64
    (tmp_path / "out/manifest.json").write_text(json.dumps(manifest))

    with pytest.raises(
        OutputError, match=r"\(input chats.jsonl was 000.*\.\.\., now 999.*versions pyarrow was 21"
    ):
        open_output(tmp_path / "out", identity_of(content="9"))


def test_overwrite_replaces_the_output_of_another_recipe(tmp_path: Path) -> None:
    make_output(tmp_path / "out")
    other = identity_of(recipe_of(max_length=16, layout=["packed"]))
    make_output(tmp_path / "out", identity=other, overwrite=True)
    make_output(tmp_path / "fresh", identity=other)

    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "fresh")
    assert names_in(tmp_path) == ["fresh", "out"]


def test_overwrite_keeps_the_old_output_until_the_new_one_is_done(tmp_path: Path) -> None:
    make_output(tmp_path / "out")
    before = bytes_of(tmp_path / "out")
    output = open_output(tmp_path / "out", identity_of(content="9"), overwrite=True)
    assert output is not None
    with output:
        write_unit(output, 0, UNITS[0], identity_of(content="9"))

    assert bytes_of(tmp_path / "out") == before


def test_a_kill_between_the_renames_of_an_overwrite_loses_nothing(tmp_path: Path) -> None:
    make_output(tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / ".out.old")
    assert open_output(tmp_path / "out", identity_of()) is None

    make_output(tmp_path / ".out.old", identity=identity_of(content="9"))
    assert open_output(tmp_path / "out", identity_of()) is None
    assert names_in(tmp_path) == ["out"]


def test_a_damaged_output_is_not_called_up_to_date(tmp_path: Path) -> None:
    make_output(tmp_path / "out")
    before = bytes_of(tmp_path / "out")
    (tmp_path / "out/packed/train-00001-of-00002.parquet").unlink()

    with pytest.raises(OutputError, match=r"packed/train-00001-of-00002.parquet is missing or changed; pass"):
        open_output(tmp_path / "out", identity_of())
    make_output(tmp_path / "out", overwrite=True)
    assert bytes_of(tmp_path / "out") == before


@pytest.mark.parametrize("manifest", [None, "[]", '{"name": "theirs"}', "no json"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_foreign_files_are_never_touched(tmp_path: Path, manifest: str | None, *, overwrite: bool) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.txt").write_text("years of work")
    if manifest:
        (tmp_path / "out/manifest.json").write_text(manifest)
    before = bytes_of(tmp_path)

    with pytest.raises(
        OutputError, match="out holds files that premask has not written; nothing was changed"
    ):
        open_output(tmp_path / "out", identity_of(), overwrite=overwrite)
    assert bytes_of(tmp_path) == before


def test_files_that_appear_while_the_run_goes_on_are_never_touched(tmp_path: Path) -> None:
    def meddle(folder: Path) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "thesis.txt").write_text(folder.name)

    with pytest.raises(OutputError, match=r"cannot write .*/out: Directory not empty"):
        make_output(tmp_path / "out", save_tokenizer=meddle)
    assert list(bytes_of(tmp_path / "out")) == ["thesis.txt"]


def test_foreign_files_in_the_place_of_work_are_never_touched(tmp_path: Path) -> None:
    (tmp_path / ".out.partial").mkdir()
    (tmp_path / ".out.partial/thesis.txt").write_text("years of work")

    with pytest.raises(OutputError, match=r"\.out\.partial is needed for work in progress, but holds other"):
        open_output(tmp_path / "out", identity_of())
    assert list(bytes_of(tmp_path)) == [".out.partial/thesis.txt"]


def test_a_file_in_the_place_of_the_output_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("not a directory")

    with pytest.raises(
        OutputError, match="out is a file; nothing was changed there: choose another --output"
    ):
        open_output(tmp_path / "out", identity_of())
    with pytest.raises(OutputError, match=r"cannot write .*out/deeper: .* check space and permissions"):
        open_output(tmp_path / "out" / "deeper", identity_of())


def test_empty_and_linked_directories_are_fine(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    make_output(tmp_path / "link")

    assert (tmp_path / "empty/manifest.json").is_file()


def test_a_second_run_on_the_same_output_is_locked_out(tmp_path: Path) -> None:
    first = open_output(tmp_path / "out", identity_of())
    assert first is not None
    with first, pytest.raises(OutputError, match=r"another run is writing .*/out; wait until it ends"):
        open_output(tmp_path / "out", identity_of())

    again = open_output(tmp_path / "out", identity_of())
    assert again is not None
    again.__exit__()


def test_a_lock_file_that_a_killed_run_left_does_not_lock(tmp_path: Path) -> None:
    (tmp_path / ".out.lock").touch()
    make_output(tmp_path / "out")

    assert names_in(tmp_path) == ["out"]


# ==== The card ====


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
