"""`premask push` to stores: folders and memory through fsspec, and S3 over HTTP from a server on loopback
(moto's; the client is s3fs, real but for the credentials)."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any
from unittest import mock

import fsspec
import pytest
from commands import Done, premask
from outputs import UNITS, bytes_of, identity_of, make_output, recipe_of, rows_of, sent_of
from premask.core.errors import PushError
from premask.output.sending import read_finished
from premask.publish.push_store import push_to_store
from s3_server import CREDENTIALS, Calls, bucket, calls, failed, memory, s3, there  # noqa: F401


@pytest.fixture
def outputs(tmp_path: Path) -> dict[str, Path]:
    """Two outputs: `many` has the shards of three units, `few` those of one."""
    made = {"many": tmp_path / "many", "few": tmp_path / "few"}
    make_output(made["many"])
    make_output(made["few"], UNITS[:1], identity=identity_of(recipe_of(max_length=9)))
    return made


def pushed(done: Done) -> str:
    assert done.code == 0, done.err
    return done.out


# ==== Any store ====


def test_a_folder(outputs: dict[str, Path], tmp_path: Path) -> None:
    url = f"file://{tmp_path}/store/chats"
    out = pushed(premask("push", outputs["many"], url))

    assert bytes_of(tmp_path / "store" / "chats") == sent_of(outputs["many"])
    assert f"pushed to {url}: {len(sent_of(outputs['many']))} files" in out
    assert "already holds this output; nothing was sent" in pushed(premask("push", outputs["many"], url))


def test_shards_first_the_card_last(outputs: dict[str, Path], memory: str, calls: Calls) -> None:
    push_to_store(outputs["many"], memory)
    order = calls.puts()

    assert order[-2:] == ["manifest.json", "README.md"]
    assert {path.split("/")[0] for path in order[:-4]} <= {"packed", "unpacked", "rejects", "lineage"}
    assert there(memory) == sent_of(outputs["many"])


def test_an_unchanged_output_is_not_sent_again(outputs: dict[str, Path], memory: str, calls: Calls) -> None:
    push_to_store(outputs["many"], memory)
    calls.log.clear()

    result = push_to_store(outputs["many"], memory)

    assert calls.log == []
    assert not result.changed
    assert result.kept == len(sent_of(outputs["many"]))


def test_another_output_takes_its_place(outputs: dict[str, Path], memory: str, calls: Calls) -> None:
    """While shards are replaced there is no card; stale ones go when it is there; others' files stay."""
    push_to_store(outputs["many"], memory)
    theirs = {"LICENSE": b"mine", "packed/notes.txt": b"mine"}
    for path, data in theirs.items():
        fsspec.filesystem("memory").pipe_file(f"/data/chats/{path}", data)
    calls.log.clear()

    result = push_to_store(outputs["few"], memory)
    steps = [entry for entry in calls.log if entry[0] != "pipe_file"]

    assert there(memory) == {**sent_of(outputs["few"]), **theirs}
    assert set(result.removed) == set(sent_of(outputs["many"])) - set(sent_of(outputs["few"]))
    assert [path for name, path in steps[:2] if name == "rm_file"] == ["README.md", "manifest.json"]
    assert steps.index(("put_file", "README.md")) < steps.index(("rm_file", result.removed[0]))


@pytest.mark.parametrize("arrived", [0, 1, 3, 6])
def test_a_push_that_was_stopped_goes_on(
    outputs: dict[str, Path], memory: str, calls: Calls, arrived: int
) -> None:
    push_to_store(outputs["few"], memory)
    calls.log.clear()
    calls.fail_at = arrived

    failed(premask("push", outputs["many"], memory), "the network is gone", "run the same command again")
    shards = [path for path in calls.puts() if path.endswith(".parquet")]
    assert not {"README.md", "manifest.json"} & set(there(memory))
    calls.log.clear()
    calls.fail_at = None
    pushed(premask("push", outputs["many"], memory))

    assert len(shards) == arrived
    assert not set(shards) & set(calls.puts())
    assert there(memory) == sent_of(outputs["many"])


def test_back_to_the_first_output_after_a_stopped_push(
    outputs: dict[str, Path], memory: str, calls: Calls
) -> None:
    """The first manifest would still say of replaced shards what they were."""
    for output in ("many", "few"):
        with mock.patch.object(calls, "fail_at", 2 if output == "few" else None):
            premask("push", outputs[output], memory)

    pushed(premask("push", outputs["many"], memory))
    assert there(memory) == sent_of(outputs["many"])


def test_a_shard_that_is_lost_there_is_sent_again(
    outputs: dict[str, Path], memory: str, calls: Calls
) -> None:
    push_to_store(outputs["many"], memory)
    lost = next(path for path in there(memory) if path.startswith("packed/"))
    fsspec.filesystem("memory").rm_file(f"/data/chats/{lost}")
    calls.log.clear()

    push_to_store(outputs["many"], memory)
    assert [path for path in calls.puts() if path.endswith(".parquet")] == [lost]
    assert there(memory) == sent_of(outputs["many"])


def test_content_revision(outputs: dict[str, Path], memory: str) -> None:
    for path in outputs.values():
        pushed(premask("push", path, memory, "--content-revision"))

    names = {name: read_finished(path).content_name for name, path in outputs.items()}
    assert len(set(names.values())) == 2
    for name, path in outputs.items():
        assert there(f"{memory}/{names[name]}") == sent_of(path)


def test_what_is_replaced_is_said_before(outputs: dict[str, Path], memory: str, calls: Calls) -> None:
    said = list[tuple[str, int]]()

    def say(line: str) -> None:
        said.append((line, len(calls.log)))

    push_to_store(outputs["many"], memory, say=say)
    push_to_store(outputs["many"], memory, say=say)
    assert said == []
    calls.log.clear()
    push_to_store(outputs["few"], memory, say=say)

    ((line, changed),) = said
    assert line.startswith(f"{memory} holds the output of another run (")
    assert line.endswith("), which is replaced")
    assert changed == 0


def test_somebody_elses_folder_is_refused(outputs: dict[str, Path], memory: str) -> None:
    fsspec.filesystem("memory").pipe_file("/data/chats/train.csv", b"a,b\n")

    failed(
        premask("push", outputs["few"], memory),
        "holds train.csv, which premask has not pushed",
        "--overwrite",
    )
    assert list(there(memory)) == ["train.csv"]
    pushed(premask("push", outputs["few"], memory, "--overwrite"))
    assert there(memory) == {**sent_of(outputs["few"]), "train.csv": b"a,b\n"}


def test_a_changed_shard_is_refused(outputs: dict[str, Path], memory: str) -> None:
    shard = next((outputs["few"] / "packed").glob("*.parquet"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")

    failed(
        premask("push", outputs["few"], memory),
        "its sha256 is not the one in manifest.json",
        "nothing was sent",
    )
    assert there(memory) == {}


def test_a_shard_that_changes_while_it_is_pushed(outputs: dict[str, Path], memory: str) -> None:
    def change(done: int, *_: int) -> None:
        if done == 1:
            for shard in (outputs["few"] / "lineage").glob("*.parquet"):
                shard.write_bytes(shard.read_bytes() + b"?")

    with pytest.raises(PushError, match="was changed while it was being pushed"):
        push_to_store(outputs["few"], memory, report=change)
    assert "README.md" not in there(memory)


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        ("nothing://bucket/x", ["is no URL that fsspec knows"]),
        ("s3://", ["names no folder", "s3://bucket/folder"]),
        ("file:///proc/nowhere/x", ["file:///proc/nowhere/x"]),
    ],
)
def test_targets_that_are_none(outputs: dict[str, Path], target: str, parts: list[str]) -> None:
    with mock.patch.dict("os.environ", CREDENTIALS):
        failed(premask("push", outputs["few"], target), *parts)


def test_credentials_in_a_url_are_refused_and_not_printed(outputs: dict[str, Path]) -> None:
    done = premask("push", outputs["few"], "ftp://me:secret@host/x")

    failed(done, "ftp://host/x: a URL of ftp:// takes no user name")
    assert "secret" not in done.err


@pytest.mark.parametrize(("protocol", "extra"), [("s3", "s3"), ("gs", "gcs")])
def test_a_package_that_is_missing_is_named(outputs: dict[str, Path], protocol: str, extra: str) -> None:
    with (
        mock.patch.dict("sys.modules", {"s3fs": None, "gcsfs": None}),
        mock.patch.dict("fsspec.registry._registry", clear=True),
    ):
        failed(premask("push", outputs["few"], f"{protocol}://b/x"), f"pip install 'premask[{extra}]'")


@pytest.mark.parametrize("option", ["--private", "--revision=b", "--tag=t"])
def test_options_of_the_hub(outputs: dict[str, Path], memory: str, option: str) -> None:
    failed(premask("push", outputs["few"], memory, option), "is for the Hub", memory)


# ==== S3 ====


def test_s3_end_to_end(bucket: str, outputs: dict[str, Path], tmp_path: Path) -> None:
    url = f"{bucket}/data/chats"
    first = premask("push", outputs["many"], url)
    assert there(url) == sent_of(outputs["many"])
    again = premask("push", outputs["many"], url)
    other = premask("push", outputs["few"], url)

    assert f'load_dataset("parquet", data_files={{"train": "{url}/packed/train-*.parquet"}}' in pushed(first)
    assert "already holds this output; nothing was sent" in pushed(again)
    assert "old ones removed" in pushed(other)
    assert there(url) == sent_of(outputs["few"])
    for done in (first, again, other):
        assert "madeup" not in done.out + done.err


def test_what_is_printed_loads_it(bucket: str, outputs: dict[str, Path], tmp_path: Path) -> None:
    out = pushed(premask("push", outputs["many"], f"{bucket}/chats"))
    line = out.partition("load it with:  ")[2].strip().replace("; load_dataset(", "; loaded = load_dataset(")
    names: dict[str, Any] = {}
    with (
        mock.patch("datasets.config.HF_HUB_OFFLINE", False),
        mock.patch("huggingface_hub.constants.HF_HUB_OFFLINE", False),
    ):
        exec(line, names)  # noqa: S102

    assert names["loaded"].to_list() == rows_of(outputs["many"], "packed")


def test_s3_says_what_is_wrong(
    bucket: str, outputs: dict[str, Path], monkeypatch: pytest.MonkeyPatch, s3: str
) -> None:
    failed(premask("push", outputs["few"], "s3://no-such-bucket/x"), "there is no such bucket or folder")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    failed(premask("push", outputs["few"], f"{bucket}/x"), "AWS_ACCESS_KEY_ID")


def test_a_copy_of_the_output_is_the_same_output(
    outputs: dict[str, Path], memory: str, tmp_path: Path
) -> None:
    """Where the output lies and when its files were written does not matter."""
    push_to_store(outputs["few"], memory)
    shutil.copytree(outputs["few"], tmp_path / "copy")

    assert not push_to_store(tmp_path / "copy", memory).changed
