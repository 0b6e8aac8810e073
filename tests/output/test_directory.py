"""Outputs: what stands in one, and that a run leaves either all of it or nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pyarrow.parquet as pq
import pytest
from outputs import (
    ROWS,
    UNITS,
    bytes_of,
    finish,
    identity_of,
    make_output,
    names_in,
    recipe_of,
    reject_of,
    rows_of,
    samples_of,
    write_unit,
)
from premask.core.atomic_files import sha256_file
from premask.core.errors import OutputError, RunError
from premask.core.records import Reject
from premask.output.directory import check_same_run, open_output, update_card
from premask.output.identity import RunIdentity, differences
from premask.output.shards import UnitWriter, load_record

# ==== What is written ====


def test_an_output_has_these_files_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    make_output(tmp_path / "out")

    assert sorted(bytes_of(tmp_path / "out")) == [
        "README.md",
        "lineage/train-00000-of-00002.parquet",
        "lineage/train-00001-of-00002.parquet",
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
        "duplicates": 0,
        "dropped": 0,
        "rejected": 3,
        "rejected_by_reason": {"no_messages": 2, "too_long": 1},
        "left_out": {},
        "samples": 8,
        "tokens": 36,
        "trained_tokens": 16,
        "packs": 6,
        "fill": 0.75,
        "splits": {
            "train": {"samples": 8, "tokens": 36, "trained_tokens": 16, "packs": 6, "fill": 0.75},
        },
        "straddling_tokens": 0,
        "lengths": {
            "min": 1,
            "p10": 1,
            "median": 4,
            "p90": 8,
            "p99": 8,
            "max": 8,
            "mean": 4.5,
            "histogram": [
                {"from": 1, "to": 1, "samples": 1},
                {"from": 2, "to": 3, "samples": 2},
                {"from": 4, "to": 7, "samples": 4},
                {"from": 8, "to": 15, "samples": 1},
            ],
        },
    }
    account = {"rows": ROWS, "kept": 8, "dropped": 0, "duplicates": 0, "left_out": {}}
    account |= {"rejected": {"no_messages": 2, "too_long": 1}}
    assert manifest["inputs"] == [{"source": "chats.jsonl", "bytes": 99, "sha256": "0" * 64, **account}]
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
    account = {"rows": ROWS + 1, "kept": 8, "dropped": 0, "rejected": {"too_long": 3}, "left_out": {}}
    message = (
        "12 rows were read of chats.jsonl, but 8 kept, 0 dropped as duplicates and 3 rejected or left out"
    )
    with pytest.raises(RunError, match=message):
        make_output(tmp_path / "out", inputs={"chats.jsonl": account})

    assert not (tmp_path / "out").exists()


def test_rejects_with_text_that_is_not_unicode_are_escaped(tmp_path: Path) -> None:
    broken = Reject("a", 0, None, "invalid_text", "it holds \ud800", '"\ud800"')
    make_output(tmp_path / "out", [([], [broken])])

    assert rows_of(tmp_path / "out", "rejects")[0]["detail"] == "it holds \\ud800"


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


def test_units_of_other_code_are_removed_and_ranks_refuse_them(tmp_path: Path) -> None:
    """A bug that is mended must not live on in units that were done before."""
    identity = identity_of()
    units = interrupted(tmp_path / "out", identity)
    with (
        mock.patch("premask.output.directory.code_hash", return_value="other"),
        pytest.raises(OutputError, match="the work of another run \\(premask's own code was another\\)"),
    ):
        check_same_run(tmp_path / "out", identity)
    assert {"00000", "00001"} <= set(names_in(units))

    with mock.patch("premask.output.directory.code_hash", return_value="other"):
        output = open_output(tmp_path / "out", identity)
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


def test_a_setting_within_a_setting_and_the_end_of_a_long_one_are_named() -> None:
    folder = "a/folder/whose/name/is/longer/than/all/the/characters/that/are/shown/of/it/"
    before, after = (
        identity_of(recipe_of(train={"turns": turns}, cache=f"{folder}{turns}")).as_dict()
        for turns in ("all", "last")
    )
    for run, name in ((before, "one"), (after, "other")):
        run["tokenizer"] = {"name": folder + name}

    assert differences(before, after) == [
        "tokenizer name was ...at/are/shown/of/it/one, now ...at/are/shown/of/it/other",
        "train.turns was all, now last",
    ]


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


def test_empty_directories_that_a_killed_run_left_are_removed(tmp_path: Path) -> None:
    make_output(tmp_path / "out")
    for name in (".out.partial", ".out.old"):
        (tmp_path / name).mkdir()

    assert open_output(tmp_path / "out", identity_of()) is None
    assert names_in(tmp_path) == ["out"]


@contextmanager
def killed_before_removing(name: str) -> Iterator[None]:
    """Whatever removes files in a directory of that name is stopped there, as a kill would."""
    remove = Path.unlink

    def unlink(path: Path, missing_ok: bool = False) -> None:  # noqa: FBT001, FBT002  as it is
        if name in path.parts and not missing_ok:  # scratch files may be gone
            raise KeyboardInterrupt
        remove(path, missing_ok)

    with mock.patch.object(Path, "unlink", unlink), pytest.raises(KeyboardInterrupt):
        yield


def test_a_kill_while_work_is_removed_is_cleared_up(tmp_path: Path) -> None:
    with killed_before_removing("units"):
        make_output(tmp_path / "out")
    assert names_in(tmp_path) == [".out.partial", "out"]

    assert open_output(tmp_path / "out", identity_of()) is None
    assert names_in(tmp_path) == ["out"]


@pytest.mark.parametrize("in_place", [True, False])
def test_a_kill_while_empty_folders_are_removed_is_cleared_up(tmp_path: Path, *, in_place: bool) -> None:
    """The plan is the last file that goes; after it there are folders alone."""
    if in_place:
        make_output(tmp_path / "out")
    for name in ("units/00003", "failures", "hashes"):
        (tmp_path / ".out.partial" / name).mkdir(parents=True)

    if in_place:
        assert open_output(tmp_path / "out", identity_of()) is None
    else:
        make_output(tmp_path / "out")
    assert names_in(tmp_path) == ["out"]


def test_a_kill_while_work_of_another_run_is_removed_does_not_hide_whose_it_is(tmp_path: Path) -> None:
    output = open_output(tmp_path / "out", identity_of(content="9"))
    assert output is not None
    with output:
        write_unit(output, 0, UNITS[0], identity_of(content="9"))
    with killed_before_removing("units"):
        make_output(tmp_path / "out")

    make_output(tmp_path / "out")
    assert names_in(tmp_path) == ["out"]


def test_a_kill_while_the_old_output_is_removed_is_cleared_up(tmp_path: Path) -> None:
    make_output(tmp_path / "out")
    with killed_before_removing("packed"):
        make_output(tmp_path / "out", identity=identity_of(content="9"), overwrite=True)
    assert names_in(tmp_path) == [".out.old", ".out.partial", "out"]

    make_output(tmp_path / "out", identity=identity_of(content="8"), overwrite=True)
    assert names_in(tmp_path) == ["out"]


def test_a_kill_while_the_card_is_written_leaves_no_scratch_file(tmp_path: Path) -> None:
    make_output(tmp_path / "out")
    before = sorted(bytes_of(tmp_path / "out"))
    (tmp_path / "out" / "README.md.0a1b2c3d.tmp").write_text("half a ca")

    update_card(tmp_path / "out", {"license": "mit"}, lambda *_: "a card")
    assert sorted(bytes_of(tmp_path / "out")) == before
    assert (tmp_path / "out" / "README.md").read_text() == "a card"


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
