"""Sources that are not on this machine: memory and HTTP through fsspec, S3 from moto's server on loopback."""

from __future__ import annotations

import errno
import gzip
import json
import random
import shutil
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import fsspec
import pyarrow.parquet as pq
import pytest
from commands import SAMPLE, TOKENIZER, Done, premask
from inputs import write_parquet
from premask.core.errors import PremaskError, SourceError
from premask.core.limits import in_watched_process
from premask.core.source_entry import Source
from premask.core.urls import open_url
from premask.sources import remote
from premask.sources.cutting import plan_units, whole
from premask.sources.listing import inspect_sources
from premask.sources.reading import peek, read_slice
from s3_server import bucket, s3  # noqa: F401  fixtures
from web_server import Web

ROWS = [{"n": n, "text": "é" * (n % 7)} for n in range(60)]
LINES = "".join(f"{json.dumps(row)}\n" for row in ROWS).encode()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PREMASK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def memory() -> Iterator[Any]:
    filesystem = fsspec.filesystem("memory")
    filesystem.store.clear()
    yield filesystem
    filesystem.store.clear()


@pytest.fixture
def web() -> Iterator[Web]:
    with Web() as server:
        yield server


def values_of(path: str, unit_rows: int = 7, **options: Any) -> list[Any]:
    infos = inspect_sources([Source(path=path, **options)])
    units = plan_units(infos, unit_rows=unit_rows)
    rows = [row for unit in units for piece in unit.slices for row in read_slice(piece)]
    assert {row.source for row in rows} <= {info.source for info in infos}
    assert peek(infos[0])
    return [row.value for row in rows]


def put(filesystem: Any, **contents: bytes) -> None:
    for name, content in contents.items():
        filesystem.pipe_file(f"/data/{name.replace('__', '.')}", content)


def all_formats(folder: Path) -> dict[str, bytes]:
    parquet = Path(write_parquet(folder / "x.parquet", ROWS, group=13)).read_bytes()
    return {
        "a__jsonl": LINES,
        "b__json": json.dumps(ROWS).encode(),
        "c__jsonl__gz": gzip.compress(LINES),
        "d__parquet": parquet,
    }


# ==== Any store ====


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("pattern", ["memory://data", "memory://data/*", "memory://data/**/[a-d].*"])
def test_every_format_is_read_as_from_a_disk(
    memory: Any, tmp_path: Path, pattern: str, streaming: object
) -> None:
    put(memory, **all_formats(tmp_path))
    (tmp_path / "x.parquet").unlink()

    assert values_of(pattern, streaming=streaming) == ROWS * 4


def test_names_are_the_urls_and_files_are_fetched_once(memory: Any, cache: Path) -> None:
    put(memory, a__jsonl=LINES, b__jsonl=LINES)
    infos = inspect_sources([Source(path="memory://data/*.jsonl")])

    assert [info.about() for info in infos] == [
        {"source": f"memory://data/{name}.jsonl", "bytes": len(LINES), "sha256": infos[0].sha256}
        for name in "ab"
    ]
    with mock.patch.object(type(memory), "get_file", side_effect=AssertionError("fetched again")):
        assert inspect_sources([Source(path="memory://data/*.jsonl")]) == infos
    assert {path.name for path in cache.rglob("*") if path.is_file()} == {"a.jsonl", "b.jsonl"}


def test_a_changed_file_is_fetched_again(memory: Any) -> None:
    put(memory, a__jsonl=LINES)
    values_of("memory://data/a.jsonl")
    put(memory, a__jsonl=LINES[::-1].replace(b"\n", b"")[:0] + b'{"n": 1}\n')

    assert values_of("memory://data/a.jsonl") == [{"n": 1}]


def test_a_limit_fetches_no_more_than_it_needs(memory: Any, cache: Path) -> None:
    put(memory, a__jsonl=LINES, b__jsonl=LINES, c__jsonl=b"broken")

    assert values_of("memory://data", limit=61) == [*ROWS, ROWS[0]]
    assert {path.name for path in cache.rglob("*") if path.is_file()} == {"a.jsonl", "b.jsonl"}
    assert values_of("memory://data", limit=61, streaming=True) == [*ROWS, ROWS[0]]


def test_what_is_streamed_is_known_by_its_version(memory: Any, cache: Path) -> None:
    put(memory, a__jsonl=LINES)
    (info,) = inspect_sources([Source(path="memory://data/a.jsonl", streaming=True)])

    about = info.about()
    assert (about["sha256"], about["bytes"], info.rows) == (None, len(LINES), None)
    assert about["version"].startswith("changed ")
    assert not cache.exists()


@pytest.mark.parametrize("streaming", [False, True])
def test_a_file_that_changes_after_its_inspection_is_refused(memory: Any, streaming: object) -> None:
    put(memory, a__jsonl=LINES)
    (info,) = inspect_sources([Source(path="memory://data/a.jsonl", streaming=streaming)])
    assert info.at is not None
    if streaming:
        put(memory, a__jsonl=LINES + LINES)
    else:
        Path(info.at.path).write_bytes(LINES + LINES)

    with pytest.raises(SourceError, match=r"memory://data/a.jsonl was changed while the run read it"):
        list(read_slice(whole(info)))


def test_a_file_that_changes_while_it_is_fetched_is_refused(memory: Any, cache: Path) -> None:
    put(memory, a__jsonl=LINES)
    original = type(memory).get_file

    def get(self: Any, path: str, target: str) -> None:
        original(self, path, target)
        put(self, a__jsonl=LINES)

    with (
        mock.patch.object(type(memory), "get_file", get),
        pytest.raises(SourceError, match=r"memory://data/a.jsonl was changed while it was fetched"),
    ):
        inspect_sources([Source(path="memory://data/a.jsonl")])
    assert [path for path in cache.rglob("*") if path.is_file()] == []


def test_what_arrives_cut_short_is_refused(memory: Any, cache: Path) -> None:
    put(memory, a__jsonl=LINES)
    cut = mock.patch.object(type(memory), "get_file", lambda _, __, target: Path(target).write_bytes(b"{"))
    with cut, pytest.raises(SourceError, match=f"arrived with 1 bytes instead of {len(LINES)}; run the same"):
        inspect_sources([Source(path="memory://data/a.jsonl")])
    assert [path for path in cache.rglob("*") if path.is_file()] == []


def test_a_full_disk_is_one_line(memory: Any, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk itself is mocked: no test can fill one."""
    put(memory, a__jsonl=LINES)
    room = shutil.disk_usage("/")
    with monkeypatch.context() as changed:
        changed.setattr(remote.shutil, "disk_usage", lambda _: room._replace(free=10))
        with pytest.raises(
            SourceError, match=r"but the cache .* has room for 0 MB; make room, set PREMASK_C"
        ):
            inspect_sources([Source(path="memory://data/a.jsonl")])

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(type(memory), "get_file", full)
    with pytest.raises(SourceError, match=r"cannot be kept in the cache .*: No space left on device; make r"):
        inspect_sources([Source(path="memory://data/a.jsonl")])
    assert [path for path in cache.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("memory://data/no.jsonl", "there is no such file or folder"),
        ("memory://data/no*.jsonl", "the pattern matches no file"),
        ("memory://empty", "holds no data files"),
        ("memory://data/odd.txt", "has no known file name suffix"),
        ("nothing://data/a.jsonl", "is no URL that fsspec knows"),
        (
            "s3://me:secret@bucket/a.jsonl",
            "takes no user name, query or fragment; give credentials where its",
        ),
        ("memory://data/a.jsonl?sas=secret", "takes no user name, query or fragment"),
        ("https://host/a.jsonl?sig=se'cret", "must be percent-encoded"),
        ("https://host/*.jsonl", "the web cannot list files; name each file"),
        ("gs://bucket/a.jsonl", "pip install 'premask[gcs]'"),
    ],
)
def test_urls_that_lead_nowhere(memory: Any, path: str, message: str) -> None:
    put(memory, a__jsonl=LINES, odd__txt=b"text")
    memory.pipe_file("/empty/notes.txt", b"text")
    with mock.patch.dict("sys.modules", {"gcsfs": None}), pytest.raises(PremaskError) as caught:
        inspect_sources([Source(path=path)])
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_signed_url_is_read_and_named_without_its_signature(web: Web, cache: Path) -> None:
    web.files["/a.jsonl"], web.signature = LINES, "sig=abc"
    (info,) = inspect_sources([Source(path=f"{web.url}/a.jsonl?sig=abc&revision=2#here")])

    assert info.source == f"{web.url}/a.jsonl?revision=2"
    web.signature = "sig=other"  # signed anew, it is the same source, which is there already
    web.asked.clear()
    assert inspect_sources([Source(path=f"{web.url}/a.jsonl?revision=2&sig=other")]) == [info]
    assert web.fetched() == []
    assert [path.name for path in cache.rglob("*") if path.is_file()] == ["a.jsonl"]


@pytest.mark.parametrize("streaming", [False, True])
def test_a_password_in_a_url_is_sent_and_not_shown(web: Web, streaming: object) -> None:
    web.files["/a.jsonl"], web.password = LINES, "secret-word"
    path = web.url.replace("://", "://me:secret-word@") + "/a.jsonl"
    source = Source(path=path, streaming=bool(streaming))

    assert values_of(path, streaming=streaming) == ROWS
    assert "secret" not in repr(inspect_sources([source])[0].source)
    assert "secret" not in repr(source) + source.model_dump_json()
    web.password = "another"  # noqa: S105  made up
    with pytest.raises(SourceError, match="403") as caught:
        inspect_sources([source])
    assert "secret" not in str(caught.value)


def test_sources_that_differ_in_hidden_parts_alone_are_refused(web: Web) -> None:
    web.files["/a.jsonl"] = LINES
    two = [Source(path=f"{web.url}/a.jsonl?id={number}") for number in (1, 2)]

    with pytest.raises(PremaskError, match=r"entries 1 and 2 are .*/a.jsonl both") as caught:
        inspect_sources(two)
    assert "id=" not in str(caught.value)
    assert len(inspect_sources([two[0], two[0]])) == 1
    assert len(inspect_sources([Source(path=f"{web.url}/a.jsonl?part={n}") for n in (1, 2)])) == 2


def test_file_urls_are_files(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(LINES)

    assert values_of(f"file://{tmp_path}/*.jsonl") == ROWS


# ==== The web ====


def test_the_web(web: Web, tmp_path: Path) -> None:
    web.files = {f"/{name.replace('__', '.')}": data for name, data in all_formats(tmp_path).items()}
    for name in web.files:
        assert values_of(f"{web.url}{name}") == ROWS
        assert values_of(f"{web.url}{name}") == ROWS
        assert values_of(f"{web.url}{name}?download=true", streaming=True) == ROWS
    assert web.fetched().count("/a.jsonl") == 1
    with pytest.raises(SourceError, match=r"/none.jsonl: there is no such file or folder"):
        values_of(f"{web.url}/none.jsonl")


def test_without_a_version_the_web_is_asked_each_time(web: Web) -> None:
    web.files, web.etags = {"/a.jsonl": LINES}, False
    for _ in range(2):
        assert values_of(f"{web.url}/a.jsonl") == ROWS
    assert web.fetched() == ["/a.jsonl"] * 2
    with pytest.raises(SourceError, match=r"cannot be streamed: its server does not say which version it is"):
        values_of(f"{web.url}/a.jsonl", streaming=True)


def test_streamed_parquet_is_read_in_ranges(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_BLOCK", 10_000)
    rows = [
        {"n": n, "text": random.Random(n).randbytes(2000).hex()}  # noqa: S311
        for n in range(400)
    ]
    data = Path(write_parquet(tmp_path / "a.parquet", rows, group=100)).read_bytes()
    web.files = {"/a.parquet": data}

    assert values_of(f"{web.url}/a.parquet", streaming=True, columns=["n"], unit_rows=100) == [
        {"n": n} for n in range(400)
    ]
    asked = {given for command, _, given in web.asked if command == "GET" and given}
    ranges = [tuple(map(int, given.removeprefix("bytes=").split("-"))) for given in asked]
    inner = [end - begin for begin, end in ranges if 0 < begin < end < len(data) - 1]
    assert web.fetched() == []
    assert 4 <= len(inner) <= 8
    assert sum(inner) < len(data) / 10


def test_a_server_that_is_gone_is_one_line(web: Web) -> None:
    url = web.url
    web.__exit__()
    with pytest.raises(SourceError, match=r"a.jsonl: .*; check the address and the network, then run the"):
        values_of(f"{url}/a.jsonl")


# ==== S3, through the command ====


def run(out: Path, path: str, **options: Any) -> Done:
    recipe = out.with_suffix(".yaml")
    sources = [{"path": path, **options}]
    recipe.write_text(json.dumps({"sources": sources, "tokenizer": TOKENIZER, "output": str(out)}))
    return premask("run", recipe, "--workers", 1, "--unit-rows", 120)


def test_s3_end_to_end(bucket: str, tmp_path: Path, cache: Path) -> None:
    """Fetched or streamed, the shards are those of the local file but for the names in lineage and ledger."""
    filesystem = fsspec.filesystem("s3")
    filesystem.put_file(str(SAMPLE / "conversations.jsonl"), "bucket/chats/part 1.jsonl")
    filesystem.pipe_file("bucket/chats/part 2.jsonl", b'{"messages": [{"role": "user", "content": "?"}]}\n')
    for name, options in (("fetched", {}), ("streamed", {"streaming": True})):
        done = run(tmp_path / name, f"{bucket}/chats/*.jsonl", **options)
        assert done.code == 0, done.err
        assert "madeup" not in done.out + done.err
        manifest = json.loads((tmp_path / name / "manifest.json").read_text())
        assert [each["source"] for each in manifest["inputs"]] == [
            f"{bucket}/chats/part {n}.jsonl" for n in (1, 2)
        ]
        assert [each["rows"] for each in manifest["inputs"]] == [300, 1]
        assert str(cache) not in (tmp_path / name / "manifest.json").read_text()
        assert manifest["inputs"][0]["sha256"] is None if options else manifest["inputs"][0]["sha256"]
        assert manifest["inputs"][0].get("version", "etag ").startswith("etag ")
        lineage = [pq.read_table(path) for path in sorted((tmp_path / name / "lineage").glob("*"))]
        assert {source for table in lineage for source in table.column("source").to_pylist()} == {
            f"{bucket}/chats/part 1.jsonl"
        }
        assert premask("verify", tmp_path / name).code == 0
    local = premask("run", SAMPLE / "conversations.jsonl", "--tokenizer", TOKENIZER, "--workers", 1,
                    "--unit-rows", 120, "--output", tmp_path / "local")  # fmt: skip
    assert local.code == 0, local.err
    rows = {
        name: [
            row
            for path in sorted((tmp_path / name / "packed").glob("*"))
            for row in pq.read_table(path).to_pylist()
        ]
        for name in ("fetched", "local")
    }
    assert rows["fetched"] == rows["local"]


@pytest.mark.parametrize("streaming", [False, True])
def test_s3_says_what_is_wrong(
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    streaming: object,
) -> None:
    options = {"streaming": True} if streaming else {}
    fsspec.filesystem("s3").pipe_file("bucket/chats/a.jsonl", b"\xff\n")
    wrong = [
        run(tmp_path / "a", "s3://no-such-bucket/x.jsonl", **options),
        run(tmp_path / "b", f"{bucket}/none.jsonl", **options),
        run(tmp_path / "c", f"{bucket}/chats/a.jsonl", **options),
    ]
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    wrong.append(run(tmp_path / "d", f"{bucket}/chats/a.jsonl", **options))
    for done, what in zip(wrong, ("no such", "no such", "not UTF-8", "AWS_ACCESS_KEY_ID"), strict=True):
        assert (done.code, done.err.count("\n"), done.out) == (2, 1, ""), done
        assert "s3://" in done.err
        assert what in done.err


def test_options_that_do_not_fit(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(LINES)
    for options, message in (
        ({"streaming": True}, "'streaming' is for URLs and the Hub; leave it out"),
        ({"split": "train"}, "'split' is for datasets of the Hub"),
        ({"limit": 0}, "limit: it must be at least 1"),
        ({"sample": 1.5}, "sample: it must be at most 1"),
        ({"smaple": 1.5}, "unknown key 'sources.0.smaple'; did you mean 'sample'?"),
        ({"where": "n >"}, "where: n >: it cannot be read as SQL near '>'"),
    ):
        done = run(tmp_path / "out", str(tmp_path / "a.jsonl"), **options)
        assert (done.code, done.err.count("\n"), done.out) == (2, 1, ""), done
        assert message in done.err


def test_a_file_named_twice(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(LINES)
    path = str(tmp_path / "a.jsonl")
    twice = [Source(path=str(tmp_path)), Source(path=path)]

    assert [info.source for info in inspect_sources(twice)] == [path]
    with pytest.raises(
        PremaskError, match=r"a.jsonl is named by entry 1 and entry 2, which differ in 'limit'"
    ):
        inspect_sources([*twice[:1], Source(path=path, limit=3)])


def test_a_copy_that_another_user_can_have_written_is_fetched_again(memory: Any, cache: Path) -> None:
    put(memory, a__jsonl=LINES)
    kept = Path(remote.fetch("memory://data/a.jsonl"))
    assert kept.stat().st_mode & 0o777 == 0o600
    kept.write_bytes(b"x" * len(LINES))
    kept.chmod(0o666)

    assert Path(remote.fetch("memory://data/a.jsonl")).read_bytes() == LINES
    assert {path.stat().st_mode & 0o777 for path in (cache, *cache.rglob("*"))} == {0o700, 0o600}


def test_a_cache_that_other_users_can_write_is_refused(memory: Any, cache: Path) -> None:
    put(memory, a__jsonl=LINES)
    remote.fetch("memory://data/a.jsonl")
    cache.chmod(0o777)

    with pytest.raises(
        SourceError, match=r"other users can write to .*; run 'chmod go-w .*set PREMASK_CACHE"
    ):
        remote.fetch("memory://data/a.jsonl")


def test_a_copy_of_the_process_keeps_file_systems() -> None:
    """Another file system in the copy has fsspec forget all. One that ends there closes the connections of the
    original, which would wait for an answer in vain."""
    with Web() as web:
        web.files["/a.jsonl"] = b"{}\n"
        remote.stat(f"{web.url}/a.jsonl")
        used = weakref.ref(open_url(web.url, SourceError)[0])

        def work() -> bool:
            fsspec.filesystem("http", block_size=1)
            return used() is not None

        assert in_watched_process(work, "it")
