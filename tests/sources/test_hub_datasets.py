"""Datasets of the Hub as sources, by id and by URL: the real clients in a process of their own, over real HTTP,
against the server of `hub_server`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from commands import TOKENIZER, Done, chat
from hub_client import Client
from hub_server import HubServer
from inputs import compressed, write_parquet

CARD = """---
configs:
- config_name: small
  data_files: small/*.jsonl
- config_name: large
  data_files:
  - split: train
    path: [large/b.parquet, large/a.json]
  - split: test
    path: large/test.csv.gz
---
"""


@pytest.fixture(scope="module")
def server() -> Iterator[HubServer]:
    with HubServer() as hub:
        yield hub


@pytest.fixture(scope="module")
def client(server: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    made = Client(server, tmp_path_factory.mktemp("client") / "home")
    yield made
    made.close()


@pytest.fixture
def hub(server: HubServer) -> Iterator[HubServer]:
    server.repos.clear()
    server.forget()
    yield server
    assert server.calls("unknown") == []


def add(hub: HubServer, name: str, *, private: bool = False, **files: bytes) -> str:
    """Make a dataset of files, large ones (Parquet) as the Hub keeps them; its commit. `__` stands for a slash,
    and for a dot where it comes again."""
    repo = hub.make(name, private=private)
    commit = repo.commits[repo.branches["main"]]
    for key, data in files.items():
        path = key.replace("___", ".").replace("__", "/")
        if path.endswith(".parquet"):
            oid = hashlib.sha256(data).hexdigest()
            repo.stored[oid] = data
            commit.files[path] = {"oid": oid, "size": len(data)}
        else:
            commit.files[path] = {"content": data}
    return commit.oid


def lines(*texts: str) -> bytes:
    return "".join(f"{json.dumps(chat(text, f'{text}!'))}\n" for text in texts).encode()


def run(client: Client, out: Path, *sources: Any, **environ: str) -> Done:
    recipe = out.with_suffix(".yaml")
    recipe.write_text(json.dumps({"sources": list(sources), "tokenizer": TOKENIZER, "output": str(out)}))
    return client.premask("run", recipe, "--workers", 1, **environ)


def inputs_of(done: Done, out: Path) -> list[dict[str, Any]]:
    assert done.code == 0, done.err
    return list(json.loads((out / "manifest.json").read_text())["inputs"])


def failed(done: Done, *parts: str) -> None:
    assert (done.code, done.err.count("\n"), done.out) == (2, 1, ""), done
    for part in parts:
        assert part in done.err


def full(hub: HubServer, folder: Path) -> str:
    parquet = Path(write_parquet(folder / "x.parquet", [chat("b", "b!"), chat("c", "c!")])).read_bytes()
    return add(
        hub,
        "alice/chats",
        README___md=CARD.encode(),
        small__one___jsonl=lines("1"),
        small__two___jsonl=lines("2", "3"),
        large__b___parquet=parquet,
        large__a___json=json.dumps([chat("a", "a!")]).encode(),
        large__test___csv___gz=compressed(b"id\n1\n", ".gz"),
    )


def test_a_dataset_by_its_id(client: Client, hub: HubServer, tmp_path: Path) -> None:
    """The README's configs say which files, in their order; names have the commit; nothing is fetched twice."""
    commit = full(hub, tmp_path)
    start = f"hf://datasets/alice/chats@{commit}"
    small = {"path": "alice/chats", "config": "small"}

    first = inputs_of(run(client, tmp_path / "small", small), tmp_path / "small")
    fetched = len(hub.calls("resolve"))
    again = inputs_of(run(client, tmp_path / "again", small), tmp_path / "again")
    blobs = [path for path in hub.calls("resolve")[fetched:] if "/small/" in path]
    large = inputs_of(run(client, tmp_path / "large", {**small, "config": "large"}), tmp_path / "large")

    assert [(each["source"], each["rows"]) for each in first] == [
        (f"{start}/small/one.jsonl", 1),
        (f"{start}/small/two.jsonl", 2),
    ]
    assert first[0]["sha256"] == hashlib.sha256(lines("1")).hexdigest()
    assert commit in first[0]["version"]
    assert again == first
    assert blobs == []
    assert [(each["source"], each["rows"]) for each in large] == [
        (f"{start}/large/b.parquet", 2),
        (f"{start}/large/a.json", 1),
    ]
    lineage = pq.read_table(tmp_path / "large" / "lineage").to_pylist()
    assert sorted((row["source"], row["row"]) for row in lineage) == [
        (f"{start}/large/a.json", 0),
        (f"{start}/large/b.parquet", 0),
        (f"{start}/large/b.parquet", 1),
    ]


def test_streaming_and_urls_give_the_same_shards(client: Client, hub: HubServer, tmp_path: Path) -> None:
    commit = full(hub, tmp_path)
    large = {"path": "alice/chats", "config": "large"}
    outs = {
        "fetched": run(client, tmp_path / "fetched", large),
        "streamed": run(client, tmp_path / "streamed", {**large, "streaming": True}),
        "urls": run(client, tmp_path / "urls", *(f"hf://datasets/alice/chats/large/{n}" for n in ("b.parquet", "*.json"))),
    }  # fmt: skip
    inputs = {name: inputs_of(done, tmp_path / name) for name, done in outs.items()}
    rows = {name: [*map(str, pq.read_table(tmp_path / name / "packed").to_pylist())] for name in outs}

    assert rows["fetched"] == rows["streamed"] == rows["urls"]
    assert [each["source"] for each in inputs["streamed"]] == [each["source"] for each in inputs["fetched"]]
    assert [each["sha256"] for each in inputs["streamed"]] == [inputs["fetched"][0]["sha256"], None]
    assert all(commit in each["version"] for name in inputs for each in inputs[name])
    assert [each["source"] for each in inputs["urls"]] == [
        "hf://datasets/alice/chats/large/b.parquet",
        "hf://datasets/alice/chats/large/a.json",
    ]


def test_a_revision_stays_what_it_was(client: Client, hub: HubServer, tmp_path: Path) -> None:
    """Of a branch the commit is told; the data of an older commit is that of then."""
    first = add(hub, "alice/plain", data__train___jsonl=lines("old"))
    second = hub.commit("alice/plain", **{"data/train.jsonl": lines("new", "er").decode()})
    hub.repos["alice/plain"].tags["v1"] = first
    found = {
        name: inputs_of(run(client, tmp_path / name[:3], source), tmp_path / name[:3])[0]
        for name, source in {
            "main": "alice/plain",
            "tag": {"path": "alice/plain", "revision": "v1"},
            "url": "hf://datasets/alice/plain@v1",
        }.items()
    }

    assert (found["main"]["rows"], found["tag"]["rows"], found["url"]["rows"]) == (2, 1, 1)
    assert found["main"]["source"] == f"hf://datasets/alice/plain@{second}/data/train.jsonl"
    assert (
        found["tag"]["source"]
        == found["url"]["source"]
        == f"hf://datasets/alice/plain@{first}/data/train.jsonl"
    )


def test_what_is_wrong_is_one_line(client: Client, hub: HubServer, tmp_path: Path) -> None:
    full(hub, tmp_path)
    add(hub, "alice/hidden", private=True, train___jsonl=lines("x"))
    add(hub, "alice/script", script___py=b"import datasets\n", train___txt=b"x")
    add(hub, "alice/images", train__a___png=b"\x89PNG\r\n", train__b___png=b"\x89PNG\r\n")
    add(hub, "alice/shards", train__a___tar=b"tar")
    add(hub, "alice/nothing", README___md=b"# Empty\n")
    add(hub, "alice/splits", dev___jsonl=lines("x"), test___jsonl=lines("y"))
    out = tmp_path / "out"

    failed(run(client, out, "alice/chats"), "dataset alice/chats needs a 'config'; there are: small, large")
    failed(
        run(client, out, {"path": "alice/chats", "config": "no"}), "no config 'no'; there are: small, large"
    )
    failed(
        run(client, out, {"path": "alice/chats", "config": "large", "split": "dev"}),
        "no split 'dev'; there are: train, test",
    )
    failed(run(client, out, "alice/splits"), "no split 'train'; there are: validation, test")
    failed(run(client, out, {"path": "alice/chats", "revision": "no"}), "there is no such revision")
    failed(run(client, out, "alice/none"), "'alice/none' is no file here", "there is none of that name")
    failed(run(client, out, "alice/hidden", HF_TOKEN=""), "or it is private: check it, and HF_TOKEN")
    failed(run(client, out, "alice/nothing"), "it holds no data files")
    failed(run(client, out, "alice/images"), "a.png is of a format that is not read; known are .jsonl")
    failed(run(client, out, "alice/shards"), "a.tar is of a format that is not read")
    failed(run(client, out, "alice/script"), "'alice/script' is no file here", "it is made by a script")
    failed(run(client, out, "alice/gone.jsonl"), "source 'alice/gone.jsonl' does not exist")
    failed(
        run(client, out, "hf://datasets/alice/chats/no.jsonl"), "hf://datasets/alice/chats/no.jsonl: there is"
    )
    hub.fail("info", 403, times=9, X_Error_Code="GatedRepo")
    failed(run(client, out, "alice/chats"), "it is gated; ask for access")
    hub.forget()
    hub.fail("resolve", 403, times=9, X_Error_Code="GatedRepo")
    failed(run(client, out, {"path": "alice/chats", "config": "small"}), "it is gated; ask for access")
    hub.forget()
    failed(run(client, out, "alice/hidden", HF_TOKEN="wrong"), "the Hub does not know the token (401)")
    hub.fail("info", None, times=9)
    failed(run(client, out, "alice/hidden"), "check the name, the network and HF_TOKEN, then run the same")
    assert not out.exists()
