"""Runs whose output goes to a store: S3 over HTTP from a server on loopback (moto's; the client is s3fs), memory
and folders through fsspec. What comes out is compared, object by object, with a run into a directory."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

import fsspec
import pytest
from commands import SAMPLE, TOKENIZER, Done, command_line, paused, premask
from outputs import bytes_of, samples_of
from premask.core.atomic_files import sha256_file
from premask.core.errors import OutputError, PushError, VerifyError
from premask.core.recipe import Layout
from premask.core.records import Unit
from premask.output.shards import UnitRecord, UnitWriter
from premask.output.store import open_store
from premask.output.unit_store import PARTIAL, UnitStore
from premask.running.batches import BatchLabeller
from premask.running.tasks import Task
from premask.tokens.tokenizer import load_tokenizer
from s3_server import Calls, bucket, calls, failed, memory, s3, there  # noqa: F401

CHATS = SAMPLE / "conversations.jsonl"
FLAGS = ("--tokenizer", TOKENIZER, "--max-length", 1024, "--unit-rows", 60, "--workers", 1)


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the work on outputs in stores is done."""
    monkeypatch.setenv("PREMASK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "work"


@pytest.fixture(scope="module", autouse=True)
def _loaded_once() -> Iterator[None]:
    with mock.patch("premask.running.run.load_tokenizer", cache(load_tokenizer)):
        yield


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a run into a directory, in five units."""
    out = tmp_path_factory.mktemp("plain") / "out"
    assert premask("run", CHATS, *FLAGS, "--output", out).code == 0
    return bytes_of(out)


def run(url: str, *words: object, source: object = CHATS) -> Done:
    return premask("run", source, *FLAGS, "--output", url, *words)


def ran(done: Done) -> str:
    assert done.code == 0, done.err
    return done.out


def stopped(done: Done, *parts: str) -> None:
    """It failed once it had said where it works."""
    said, _, error = done.err.partition("\n")
    assert said.startswith("working in "), done
    failed(Done(done.code, done.out, error), *parts)


# ==== Any store ====


def test_what_comes_out_is_that_of_a_directory(plain: dict[str, bytes], memory: str, scratch: Path) -> None:
    done = run(memory)
    out = ran(done)

    assert there(memory) == plain
    assert f'data_files={{"train": "{memory}/packed/train-*.parquet"}}' in out
    assert f"working in {scratch}" in done.err
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("words", [
    ("--splits", "test=0.2", "--layout", "unpacked,packed"), ("--duplicates", "drop", "--shuffle"),
])  # fmt: skip
def test_splits_duplicates_and_shuffles(
    memory: str, tmp_path: Path, scratch: Path, words: tuple[str, ...]
) -> None:
    for target in (memory, str(tmp_path / "plain")):
        ran(run(target, *words))

    assert there(memory) == bytes_of(tmp_path / "plain")
    assert list(scratch.iterdir()) == []


def test_data_is_sent_once(memory: str, calls: Calls) -> None:
    ran(run(memory))
    sent = Counter(path.rpartition("/")[2].split("-")[0] for path in calls.puts())

    assert sent["packed"] == 5
    assert sent["train"] == 5, "the lineage, numbered over all units"
    assert calls.puts()[-2:] == ["manifest.json", "README.md"]


def test_a_store_that_copies_nothing_is_sent_to_again(
    plain: dict[str, bytes], memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cannot(*_: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "cp_file", cannot)
    ran(run(memory))
    assert there(memory) == plain


def test_a_folder_by_its_url_is_left_clean(plain: dict[str, bytes], tmp_path: Path) -> None:
    ran(run(f"file://{tmp_path}/store/chats/"))

    assert bytes_of(tmp_path / "store") == {f"chats/{name}": data for name, data in plain.items()}
    assert {path.name for path in (tmp_path / "store" / "chats").iterdir()} == {
        name.split("/")[0] for name in plain
    }


# ==== Stopped, and run again ====


@pytest.mark.parametrize("gone", [False, True], ids=["scratch kept", "scratch gone"])
@pytest.mark.parametrize("arrived", [0, 4, 7, 17, 23, 31])
def test_a_run_that_was_stopped_goes_on(
    plain: dict[str, bytes], memory: str, calls: Calls, scratch: Path, arrived: int, gone: object
) -> None:
    """At any put: of a unit, of the output, of the small files at the end."""
    calls.fail_at = arrived
    stopped(run(memory), "the network is gone", "run the same command again, it continues where it stopped")
    units = {path for path in there(memory) if path.endswith("/done.json")}
    assert not {"README.md"} & set(there(memory))
    calls.log.clear()
    calls.fail_at = None
    if gone:
        shutil.rmtree(scratch)

    labelled = labels(lambda: ran(run(memory)))
    again = sum(path.endswith("packed-train.parquet") for path in calls.puts())

    assert again == 5 - len(units)
    assert labelled == (again if gone or again == 0 else again - 1 if arrived else 4)
    assert there(memory) == plain
    assert list(scratch.iterdir()) == []


def labels(do: Any) -> int:
    """How many units are labelled meanwhile."""
    seen, real = set(), BatchLabeller.parts

    def counts(self: BatchLabeller, rows: Any, dialect: Any) -> Any:
        seen.add(rows.numbers[0] // 60)
        return real(self, rows, dialect)

    with mock.patch.object(BatchLabeller, "parts", counts):
        do()
    return len(seen)


@pytest.mark.parametrize("arrived", [14, 28])
def test_a_shuffle_goes_on_without_its_scratch(
    memory: str, calls: Calls, tmp_path: Path, scratch: Path, arrived: int
) -> None:
    """The samples that units have dealt out are fetched, for buckets that are not packed."""
    words = ("--duplicates", "drop", "--shuffle")
    calls.fail_at = arrived
    stopped(run(memory, *words), "the network is gone")
    calls.fail_at = None
    shutil.rmtree(scratch)
    for target in (memory, str(tmp_path / "plain")):
        ran(run(target, *words))

    assert there(memory) == bytes_of(tmp_path / "plain")


def test_what_is_there_is_up_to_date(
    plain: dict[str, bytes], memory: str, calls: Calls, scratch: Path
) -> None:
    ran(run(memory))
    shutil.rmtree(scratch)
    calls.log.clear()

    done = run(memory)
    assert "already holds this recipe's output; nothing to do" in ran(done)
    assert calls.log == []
    assert not scratch.exists()


def test_leftovers_of_a_run_that_was_stopped_at_its_very_end(
    plain: dict[str, bytes], memory: str, scratch: Path
) -> None:
    with (
        mock.patch.object(UnitStore, "clear", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        run(memory)
    assert any(path.startswith(PARTIAL) for path in there(memory))
    assert list(scratch.iterdir()) != []

    assert "nothing to do" in ran(run(memory))
    assert there(memory) == plain
    assert list(scratch.iterdir()) == []


def test_a_card_is_written_anew(memory: str, tmp_path: Path, calls: Calls) -> None:
    ran(run(memory))
    calls.log.clear()
    words = ("--card", "license=mit")
    for target in (memory, str(tmp_path / "plain")):
        ran(run(target, *words))

    assert there(memory) == bytes_of(tmp_path / "plain")
    assert calls.log == [("pipe_file", "README.md"), ("pipe_file", "manifest.json")]


def test_a_row_that_gives_two_results(memory: str, calls: Calls, tmp_path: Path, scratch: Path) -> None:
    """All units are processed again, in new folders. A machine that continues knows it and uses no earlier unit."""
    real = BatchLabeller.parts

    def mismatches(self: BatchLabeller, rows: Any, dialect: Any) -> Any:
        if self.fast and rows.numbers[0] >= 120:
            raise VerifyError("chats row 120")
        return real(self, rows, dialect)

    calls.fail_at = 13
    with mock.patch.object(BatchLabeller, "parts", mismatches):
        stopped(run(memory), "the network is gone")
        ran(run(str(tmp_path / "plain")))
    folders = Counter(path.split("/")[2] for path in there(memory) if path.endswith("done.json"))
    assert folders == {"units": 2, "units-again": 1}
    calls.fail_at = None
    shutil.rmtree(scratch)

    assert labels(lambda: ran(run(memory))) == 4
    assert there(memory) == bytes_of(tmp_path / "plain")
    assert json.loads(there(memory)["manifest.json"])["engine"]["reason"].startswith("chats row 120 gave two")


def test_a_unit_that_was_changed_in_the_store_is_not_taken(memory: str, calls: Calls) -> None:
    calls.fail_at = 14
    stopped(run(memory), "the network is gone")
    calls.fail_at = None
    lineage = next(path for path in there(memory) if path.endswith("units/00001/lineage-train.parquet"))
    fsspec.filesystem("memory").pipe_file(f"/data/chats/{lineage}", b"other")

    stopped(run(memory), "units/00001/lineage-train.parquet is not what its record says", "remove the folder")
    fsspec.filesystem("memory").rm(f"/data/chats/{Path(lineage).parent}", recursive=True)
    ran(run(memory))


# ==== What stands there ====


def nothing_is_done() -> Any:
    return mock.patch.object(BatchLabeller, "parts", side_effect=AssertionError("work was done"))


def test_files_of_others_are_refused(memory: str, scratch: Path) -> None:
    fsspec.filesystem("memory").pipe_file("/data/chats/train.csv", b"a,b")
    for words in ((), ("--overwrite",)):
        with nothing_is_done():
            failed(run(memory, *words), f"{memory} holds train.csv, which premask has not written")
    assert there(memory) == {"train.csv": b"a,b"}
    assert not scratch.exists()


def test_the_output_of_another_recipe_is_refused(memory: str, tmp_path: Path, scratch: Path) -> None:
    ran(run(memory, "--max-length", 512))
    before = there(memory)
    with nothing_is_done():
        failed(run(memory), f"{memory} holds the output of another run (max_length was 512, now 1024)")
    assert there(memory) == before

    ran(run(memory, "--overwrite"))
    ran(run(str(tmp_path / "plain")))
    assert there(memory) == bytes_of(tmp_path / "plain")


def test_an_output_that_was_damaged_is_refused(plain: dict[str, bytes], memory: str) -> None:
    ran(run(memory))
    lost = next(path for path in plain if path.startswith("packed/"))
    fsspec.filesystem("memory").rm_file(f"/data/chats/{lost}")

    failed(run(memory), f"holds this run's output, but {lost} is missing or changed; pass --overwrite")
    ran(run(memory, "--overwrite"))
    assert there(memory) == plain


def test_work_of_another_run_is_reported_and_left(plain: dict[str, bytes], memory: str, calls: Calls) -> None:
    calls.fail_at = 6
    stopped(run(memory, "--max-length", 512), "the network is gone")
    calls.fail_at = None
    left = {path for path in there(memory) if path.startswith(PARTIAL)}

    done = run(memory)
    ran(done)
    assert f"{memory}/{PARTIAL}/" in done.err
    assert "holds the work of another run" in done.err
    assert set(there(memory)) == {*plain, *left}


def test_an_unfinished_push_of_another_output_is_refused(memory: str, calls: Calls, tmp_path: Path) -> None:
    ran(run(str(tmp_path / "other"), "--max-length", 512))
    calls.fail_at = 3
    failed(premask("push", tmp_path / "other", memory), "the network is gone")
    calls.fail_at = None

    with nothing_is_done():
        failed(run(memory), "holds an output that has not arrived whole")


def test_two_runs_on_one_machine(memory: str) -> None:
    ended: list[Done] = []
    real = BatchLabeller.parts

    def another(self: BatchLabeller, rows: Any, dialect: Any) -> Any:
        if not ended:
            ended.append(Done(0, "", ""))
            ended.append(run(memory))
        return real(self, rows, dialect)

    with mock.patch.object(BatchLabeller, "parts", another):
        ran(run(memory))
    failed(ended[1], "another run is writing")


def test_two_runs_on_two_machines(
    plain: dict[str, bytes], memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second machine begins and ends while the first one is at its third unit."""
    begun: list[str] = []
    real = BatchLabeller.parts

    def another(self: BatchLabeller, rows: Any, dialect: Any) -> Any:
        if rows.numbers[0] >= 120 and not begun:
            begun.append("second")
            with monkeypatch.context() as there_:
                there_.setenv("PREMASK_CACHE", str(tmp_path / "second"))
                begun.append(ran(run(memory)))
        return real(self, rows, dialect)

    with mock.patch.object(BatchLabeller, "parts", another):
        first = run(memory)
    assert len(begun) == 2
    stopped(first, "is gone; if no other run has finished this output meanwhile, run the same command again")
    assert "nothing to do" in ran(run(memory))
    assert there(memory) == plain


# ==== Ranks ====


def on_machine(name: str, tmp_path: Path, *words: object) -> Done:
    """Run a command; a run has one process, because a store in memory is not shared with others."""
    alone = ("--workers", 1) if words[0] == "run" else ()
    return premask(*words, *alone, PREMASK_CACHE=str(tmp_path / name))


def test_ranks_that_share_nothing_but_the_store(plain: dict[str, bytes], memory: str, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    keys = {"sources": [str(CHATS)], "tokenizer": TOKENIZER, "max_length": 1024, "unit_rows": 60}
    recipe.write_text(json.dumps({**keys, "output": memory}))
    for rank in (2, 0):
        done = on_machine(f"m{rank}", tmp_path, "run", recipe, "--rank", rank, "--world", 3)
        assert "premask finish RECIPE" in ran(done)
    failed(
        on_machine("m9", tmp_path, "finish", recipe),
        "2 of 5 units are missing: rank 1 of 3: 1, 4; run these ranks again",
    )
    failed(on_machine("m8", tmp_path, "finish", memory), "there is nothing to finish", "give the recipe")
    ran(on_machine("m1", tmp_path, "run", recipe, "--rank", 1, "--world", 3))
    with nothing_is_done():
        ran(on_machine("m9", tmp_path, "finish", recipe))

    assert there(memory) == plain
    assert "nothing to do" in ran(on_machine("m8", tmp_path, "finish", recipe))
    assert "nothing to do" in ran(on_machine("m8", tmp_path, "finish", memory))
    assert "nothing to do" in ran(on_machine("m7", tmp_path, "run", recipe, "--rank", 1, "--world", 3))


def test_ranks_that_need_files_of_each_other_share_a_folder(memory: str, tmp_path: Path) -> None:
    slices = ("--shuffle", "--world", 1, "--rank", 0)
    failed(run(memory, *slices), "'shuffle: true' needs the files of all ranks", "--work DIR")
    ran(run(memory, *slices, "--work", tmp_path / "shared"))
    ran(premask("finish", memory, "--work", tmp_path / "shared"))
    ran(run(str(tmp_path / "plain"), "--shuffle"))

    assert there(memory) == bytes_of(tmp_path / "plain")
    assert list((tmp_path / "shared").iterdir()) == []


def test_a_machine_that_does_not_see_the_scratch_takes_its_own(memory: str, tmp_path: Path) -> None:
    store = UnitStore(memory, "key", work=str(tmp_path / "node"))
    task = Task(Unit(3, ()), {}, tmp_path / "driver" / "units" / "00003", "key", tmp_path / "no", store=store)
    seen: list[Path] = []

    def do(own: Task) -> UnitRecord:
        assert own.store is None
        seen.append(own.directory)
        with UnitWriter(own.directory, [Layout.packed], 8) as writer:
            writer.add(samples_of([5, 3]))
        return writer.commit(key="key", extra={"sources": {}})

    assert store.record(task.directory, task.key) is None
    record = store.keep(task, do)
    assert seen[0].is_relative_to(tmp_path / "node")
    assert not seen[0].exists()
    assert not (tmp_path / "driver").exists()
    assert store.record(task.directory, task.key) == record
    assert store.record(task.directory, "other") is None
    store.fetch(task.directory, lambda name: name == "packed-train.parquet")
    assert [path.name for path in task.directory.iterdir()] == ["packed-train.parquet"]
    assert sha256_file(task.directory / "packed-train.parquet") == record.files["packed/train"].sha256


# ==== A folder of a store ====


def test_a_folder_of_a_store(memory: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    store = open_store(memory + "/")

    assert (store.url, store.files(), store.read("x/a")) == (memory, {}, None)
    store.put(tmp_path / "a", "x/a", 3)
    store.copy(store.path("x/a"), "y/a", 3)
    store.write("y/b", "text")
    assert store.below("y").files() == {"a": 3, "b": 4}
    assert store.read("y/b") == b"text"
    store.remove(["x/a", "x/gone"])
    store.below("y").clear(first="b")
    assert store.files() == {}


def test_a_file_that_does_not_arrive_whole_is_reported(
    memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    store = open_store(memory, PushError)
    monkeypatch.setattr(store.filesystem, "put_file", lambda _, path: store.filesystem.pipe_file(path, b"ab"))

    with pytest.raises(PushError, match=f"{memory}/x/a arrived with 2 bytes instead of 3; run the same"):
        store.put(tmp_path / "a", "x/a", 3)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (FileNotFoundError("units/1/a"), r"a file is gone \(units/1/a\); remove the folder that it was in"),
        (OSError(28, "No space left on device"), "cannot be written: No space left on device; make room, or"),
        (PermissionError("who?"), r"no permission \(who\?\)"),
    ],
)
def test_a_file_that_cannot_be_fetched(
    memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, message: str
) -> None:
    store = open_store(memory)
    monkeypatch.setattr(store.filesystem, "get_file", mock.Mock(side_effect=error))

    with pytest.raises(OutputError, match=message):
        store.get("units/1/a", tmp_path / "a")


# ==== What cannot be ====


@pytest.mark.parametrize(
    ("target", "words", "parts"),
    [
        ("hf://datasets/org/name", [], ["write to a directory, then 'premask push OUT org/name'"]),
        ("https://host/folder", [], ["the web takes no files"]),
        ("s3://", [], ["names no folder"]),
        ("nothing://bucket/x", [], ["is no URL that fsspec knows"]),
        ("ftp://me:secret@host/x", [], ["ftp://host/x: a URL of ftp:// takes no user name"]),
        ("memory://a", ["--push-to-hub", "org/name"], ["--push-to-hub pushes from a directory"]),
        ("out", ["--work", "scratch"], ["--work is for an output in a store; out is a directory"]),
    ],
)
def test_outputs_that_cannot_be(target: str, words: list[str], parts: list[str]) -> None:
    with nothing_is_done():
        done = run(target, *words)
    failed(done, *parts)
    assert "secret" not in done.err


def test_a_plan_of_an_output_in_a_store(memory: str) -> None:
    done = premask("plan", CHATS, "--tokenizer", TOKENIZER, "--output", memory)

    assert "units" in ran(done)
    assert there(memory) == {}


@pytest.mark.parametrize(
    "words",
    [["verify"], ["report"], ["show"], ["stats"], ["rejects"], ["diff", "out"], ["export", "x"],
     ["push", "memory://b"]],
)  # fmt: skip
def test_who_reads_an_output_wants_it_here(memory: str, words: list[str]) -> None:
    name, *others = words
    failed(premask(name, memory, *others), "is in a store", "fetch")


# ==== S3 ====


def test_s3_to_s3_and_a_driver_that_is_killed(
    bucket: str, tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL once some units are there; then on with the scratch of that machine, and on another one."""
    filesystem = fsspec.filesystem("s3")
    filesystem.pipe_file("bucket/in/chats.jsonl", CHATS.read_bytes())
    words = ["run", f"{bucket}/in/chats.jsonl", *FLAGS, "--output"]
    with paused([*command_line(*words), f"{bucket}/out"], tmp_path, 2) as started:
        units = [path for path in filesystem.find("bucket/out") if path.endswith("/done.json")]
        started.send_signal(signal.SIGKILL)
        said = started.communicate()[1]
    assert started.returncode == -signal.SIGKILL, said
    assert 1 <= len(units) < 5
    assert not {"manifest.json", "README.md"} & set(there(f"{bucket}/out"))
    filesystem.copy("bucket/out/", "bucket/other/", recursive=True)

    ran(premask(*words, tmp_path / "plain"))
    ran(premask(*words, f"{bucket}/out"))
    assert list(scratch.iterdir()) == []
    monkeypatch.setenv("PREMASK_CACHE", str(tmp_path / "elsewhere"))
    assert labels(lambda: ran(premask(*words, f"{bucket}/other"))) <= 5 - len(units)

    plain = {name: sha256(data).hexdigest() for name, data in bytes_of(tmp_path / "plain").items()}
    for name in ("out", "other"):
        assert {key: sha256(data).hexdigest() for key, data in there(f"{bucket}/{name}").items()} == plain
    assert "madeup" not in said


def test_s3_shows_what_another_process_has_written(bucket: str) -> None:
    """Listings are kept by the client; a unit that was half there when it was listed is whole later."""
    here, other = UnitStore(f"{bucket}/out", "key"), UnitStore(f"{bucket}/out", "key")
    other.write("units/00003/hashes.npy", "half")
    here._store.filesystem.find(here.path(""))
    assert here.read("units/00003/done.json") is None
    here._store.filesystem.find(here.path(""))
    other.write("units/00003/done.json", "{}")

    assert here.read("units/00003/done.json") == "{}"


def test_s3_cut_off_in_the_middle_of_a_put(
    plain: dict[str, bytes], bucket: str, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy before the server lets some KB of each connection through, and closes it."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with Proxy(s3) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        proxy.let_through = 20_000
        stopped(
            run(f"{bucket}/out"), f"{bucket}/out", "run the same command again, it continues where it stopped"
        )
        assert not {"manifest.json", "README.md"} & set(there(f"{bucket}/out"))
        proxy.let_through = None
        ran(run(f"{bucket}/out"))
        assert there(f"{bucket}/out") == plain


class Proxy:
    """Hands on what clients send to a server, up to `let_through` bytes of a connection, and the answers."""

    def __init__(self, url: str) -> None:
        place = urlsplit(url)
        self._server = (place.hostname or "", place.port or 0)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.let_through: int | None = None

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            server = socket.create_connection(self._server)
            for ends in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._hand_on, args=ends, daemon=True).start()

    def _hand_on(self, source: socket.socket, target: socket.socket, counted: object) -> None:
        total = 0
        while True:
            try:
                data = source.recv(4096)
                total += len(data)
                if not data or (counted and self.let_through is not None and total > self.let_through):
                    break
                target.sendall(data)
            except OSError:
                break
        for each in (source, target):
            each.close()


def test_s3_says_what_is_wrong(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with nothing_is_done():
        failed(run("s3://no-such-bucket/x"), "there is no such bucket or folder")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        failed(run(f"{bucket}/x"), "AWS_ACCESS_KEY_ID")
