"""Credentials in URLs and in the environment are in nothing that a command writes or prints.

All shapes of `planted.py` at once, over the web, S3 and the Hub, in commands that work and in those that fail.
The servers are the worst there are: their errors quote every secret.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import TOKENIZER, Done, chat, premask, process
from hub_client import Client
from hub_server import HubServer
from planted import ENVIRONMENT, IN_URLS, Planted, texts_below
from premask.core.errors import RunError
from premask.running.unexpected import describe, of_machine
from s3_server import CREDENTIALS, bucket, s3  # noqa: F401  fixtures
from web_server import Web

LINES = b"".join(f"{json.dumps(chat(f'question {n}', 'b'))}\n".encode() for n in range(40))
KINDS = ["works", "404", "403", "500", "cut", "silent", "silent body", "wrong format", "bad rows", "no rows"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREMASK_CACHE", str(tmp_path / "made" / "cache"))
    monkeypatch.setattr("premask.core.urls.SILENCE_S", 0.4)
    monkeypatch.setattr("premask.core.urls._S3_TRIES", 1)


@pytest.fixture
def web() -> Iterator[Web]:
    with Web() as server:
        server.files["/a.jsonl"] = LINES
        yield server


def recipe_at(folder: Path, *sources: Any, **more: Any) -> Path:
    made = folder / "made"
    recipe = {
        "sources": list(sources),
        "tokenizer": TOKENIZER,
        "output": str(made / "out"),
        "cache": str(made / "rows"),
        **more,
    }
    path = folder / f"recipe-{len(list(folder.iterdir()))}.yaml"
    path.write_text(json.dumps(recipe))
    return path


def look(planted: Planted, folder: Path, *done: Done) -> None:
    """Nothing is in the files that were made, nor in what was printed."""
    texts = dict(texts_below(folder / "made"))
    for number, each in enumerate(done):
        texts |= {f"stdout {number}": each.out.encode(), f"stderr {number}": each.err.encode()}
    assert planted.found(texts) == set()


def break_(web: Web, kind: str, says: str) -> None:
    web.says = says
    web.status = int(kind) if kind.isdigit() else 0
    web.cut, web.silent = kind == "cut", {"silent": "all", "silent body": "body"}.get(kind, "")
    bad = b'{"messages": "a word"}\n'
    others = {"wrong format": b"PK\x03\x04 no text", "bad rows": LINES + bad, "no rows": bad}
    web.files["/a.jsonl"] = others.get(kind, LINES)


def test_there_are_enough() -> None:
    assert len(IN_URLS) + len(ENVIRONMENT) >= 30
    planted = Planted()
    everything = {"": f"{planted.text} {planted.url('http://host/a')}".encode()}
    assert {shape for shape, _ in planted.found(everything)} == {*planted.secrets}


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_web(web: Web, tmp_path: Path, kind: str, streaming: object) -> None:
    planted = Planted()
    break_(web, kind, planted.text)
    source = {"path": planted.url(f"{web.url}/a.jsonl"), "streaming": bool(streaming)}
    done = premask("run", recipe_at(tmp_path, source), **planted.environ)

    assert done.code == (0 if kind in {"works", "bad rows"} else 2), done
    assert done.code == 0 or done.err.count("premask: ") == 1, done
    look(planted, tmp_path, done)


def test_all_commands_on_the_output(web: Web, tmp_path: Path) -> None:
    planted = Planted()
    break_(web, "bad rows", "")
    url, made = planted.url(f"{web.url}/a.jsonl"), tmp_path / "made"
    card = {"pretty_name": f"Of {url}", "source_datasets": [url]}
    recipe, out = recipe_at(tmp_path, url, card=card, cache=None), made / "out"
    done = [
        premask(*words, **planted.environ)
        for words in (
            ["plan", recipe, "--format", "json"],
            ["plan", recipe],
            ["explain", url, "--tokenizer", TOKENIZER, "--format", "json"],
            ["explain", url, "--tokenizer", TOKENIZER, "--row", 0],
            ["run", recipe],
            ["verify", out],
            ["stats", out, "--format", "json"],
            ["stats", out],
            ["rejects", out],
            ["show", out],
            ["report", out],
            ["diff", out, out],
            ["export", out, made / "arrow"],
            ["push", out, f"file://{made}/pushed"],
        )
    ]

    assert [each.code for each in done] == [0] * len(done), done
    look(planted, tmp_path, *done)
    manifest = json.loads((out / "manifest.json").read_text())
    shown = f"{web.url}/a.jsonl"
    assert [manifest["recipe"]["sources"], manifest["inputs"][0]["source"]] == [[shown], shown]


def test_commands_that_do_not_get_far(web: Web, tmp_path: Path) -> None:
    planted = Planted()
    web.says, web.status = planted.text, 403
    url = planted.url(f"{web.url}/a.jsonl")
    other = planted.url("s3://bucket/a.jsonl")
    done = [
        premask(*words, **planted.environ)
        for words in (
            ["run", url, "--tokenizer", url, "--output", tmp_path / "made" / "x"],
            ["run", other, "--tokenizer", TOKENIZER, "--output", tmp_path / "made" / "x"],
            ["run", tmp_path, "--tokenizer", TOKENIZER, "--output", other],
            ["run", url, "--tokenizer", TOKENIZER, "--output", url],
            [
                "run",
                url,
                "--tokenizer",
                TOKENIZER,
                "--chat-template",
                url,
                "--output",
                tmp_path / "made" / "x",
            ],
            ["verify", url],
            ["stats", url],
            ["push", url, other],
            ["explain", url, "--tokenizer", TOKENIZER],
            ["plan", url, "--tokenizer", TOKENIZER, "--output", "x"],
            ["run", url, f"--no-such-option={url}"],
            ["run", url, "--row-limit", url],
        )
    ]

    assert [each.code for each in done] == [2] * len(done), done
    look(planted, tmp_path, *done)


def test_workers_and_ranks_in_processes_of_their_own(web: Web, tmp_path: Path) -> None:
    """The first rank leaves its work in progress; workers read the stream, and then a server that refuses."""
    planted = Planted()
    source = {"path": planted.url(f"{web.url}/a.jsonl"), "streaming": True}
    recipe = recipe_at(tmp_path, source, unit_rows=5, cache=None)
    ranks = [process("run", recipe, "--rank", rank, "--world", 2, **planted.environ) for rank in (0, 1)]
    assert [each.returncode for each in ranks] == [0, 0], ranks
    partial = [name for name, _ in texts_below(tmp_path / "made") if name.endswith("work.json")]
    assert partial
    look(planted, tmp_path, *(Done(0, each.stdout.decode(), each.stderr.decode()) for each in ranks))
    finished = process("finish", tmp_path / "made" / "out", **planted.environ)
    assert finished.returncode == 0, finished

    made = process("run", recipe, "--output", tmp_path / "made" / "two", "--workers", 2, **planted.environ)
    assert made.returncode == 0, made
    web.status, web.says = 403, planted.text
    refused = process("run", recipe, "--output", tmp_path / "made" / "x", "--workers", 2, **planted.environ)
    assert refused.returncode == 2, refused
    look(
        planted, tmp_path, *(Done(0, each.stdout.decode(), each.stderr.decode()) for each in (finished, made, refused))
    )  # fmt: skip


def test_a_url_that_is_signed_anew_resumes(web: Web, tmp_path: Path) -> None:
    signed = [Planted("?sig=", "password of user").url(f"{web.url}/a.jsonl") for _ in range(2)]
    first = premask("run", recipe_at(tmp_path, signed[0]))
    again = premask("run", recipe_at(tmp_path, signed[1]))

    assert (first.code, again.code) == (0, 0), again
    assert "already holds this recipe's output" in again.out


def test_what_workers_say_of_errors() -> None:
    planted = Planted()
    url = planted.url("https://host/a.jsonl")
    texts = {
        "crash": describe(ValueError(f"while reading '{url}'")),
        "system": str(of_machine(OSError(5, f"no answer from '{url}'"))),
        "run": str(RunError(f"unit 3 failed: {url}")),
    }

    in_urls = {(shape, name) for shape, name in planted.found({k: v.encode() for k, v in texts.items()})}
    assert in_urls == set()


@pytest.mark.parametrize("status", [404, 403, 500])
@pytest.mark.parametrize("command", ["source", "output", "push"])
def test_s3_that_quotes_secrets(
    web: Web, tmp_path: Path, status: int, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    monkeypatch.setattr("s3fs.S3FileSystem.cachable", False)
    planted = Planted(*ENVIRONMENT)
    environ = {**CREDENTIALS, **planted.environ, "AWS_ENDPOINT_URL": web.url, "NO_PROXY": "*"}
    (tmp_path / "a.jsonl").write_bytes(LINES)
    if command == "push":
        assert premask("run", recipe_at(tmp_path, str(tmp_path / "a.jsonl"))).code == 0
    web.status, web.says = status, planted.text
    words: list[Any] = {
        "source": ["run", recipe_at(tmp_path, "s3://bucket/a.jsonl")],
        "output": ["run", recipe_at(tmp_path, str(tmp_path / "a.jsonl"), output="s3://bucket/out")],
        "push": ["push", tmp_path / "made" / "out", "s3://bucket/out"],
    }[command]
    done = premask(*words, **environ)

    assert (done.code, done.err.count("\n")) == (2, 1), done
    look(planted, tmp_path, done)


def test_s3_that_works(bucket: str, tmp_path: Path) -> None:
    import fsspec  # noqa: PLC0415

    planted = Planted(*ENVIRONMENT)
    fsspec.filesystem("s3").pipe_file("bucket/a.jsonl", LINES)
    done = [
        premask(*words, **planted.environ)
        for words in (
            ["run", recipe_at(tmp_path, f"{bucket}/a.jsonl")],
            ["push", tmp_path / "made" / "out", f"{bucket}/pushed"],
            [
                "run",
                recipe_at(tmp_path, f"{bucket}/a.jsonl", output=f"{bucket}/out"),
                "--work",
                tmp_path / "made",
            ],
        )
    ]

    assert [each.code for each in done] == [0, 0, 0], done
    look(planted, tmp_path, *done)
    stored = fsspec.filesystem("s3")
    texts = {name: stored.cat_file(name) for name in stored.find("bucket")}
    assert planted.found(texts) == set()


@pytest.fixture(scope="module")
def secret_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[HubServer, Client, Planted]]:
    planted = Planted(*ENVIRONMENT)
    with HubServer(token=planted.secrets["HF_TOKEN"]) as hub:
        made = Client(hub, tmp_path_factory.mktemp("client") / "home", **planted.environ)
        yield hub, made, planted
        made.close()


@pytest.mark.parametrize("status", [0, 404, 403, 500])
@pytest.mark.parametrize("kind", ["info", "resolve", "commit"])
def test_the_hub(
    secret_hub: tuple[HubServer, Client, Planted], tmp_path: Path, kind: str, status: int
) -> None:
    hub, client, planted = secret_hub
    hub.forget()
    hub.repos.clear()
    hub.make("alice/rows", **{"a.jsonl": LINES.decode()})
    cached = {"PREMASK_CACHE": str(tmp_path / "made" / "cache")}
    if kind == "commit":
        assert client.premask("run", recipe_at(tmp_path, "alice/rows"), **cached).code == 0
    if status:
        quoting = {"X_Error_Message": planted.text, "Retry_After": "0"}
        hub.fail(kind, status, times=100, **quoting)
    words = ["push", tmp_path / "made" / "out", "alice/demo"] if kind == "commit" else []
    done = client.premask(*(words or ["run", recipe_at(tmp_path, "alice/rows")]), **cached)
    hub.forget()

    assert done.code == (2 if status else 0), done
    look(planted, tmp_path, done)
    for repo in hub.repos.values():
        stored = {str(n): each for n, each in enumerate(repo.stored.values())}
        assert planted.found(stored) == set()
