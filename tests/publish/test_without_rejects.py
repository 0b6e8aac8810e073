"""A push leaves the reject log out, unless it is told to send it; and what is made of the copy."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import TOKENIZER, chat, premask, write_rows
from hub_client import Client, hub, server  # noqa: F401  fixtures
from hub_server import HubServer
from premask.core.manifest import Manifest
from premask.core.schemas import all_schemas
from s3_server import bucket, failed, memory, s3, there  # noqa: F401  fixtures

DEMO = "alice/demo"
NOTE = "note: the reject log (2 rows of the sources) was left out; --with-rejects sends it\n"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output with a rejected row and a duplicate."""
    folder = tmp_path_factory.mktemp("run")
    rows = [chat("a", "b"), chat("a", "b"), {"messages": "raw words of a row"}, chat("c", "d")]
    recipe = {
        "sources": [write_rows(folder / "chats.jsonl", rows)],
        "tokenizer": TOKENIZER,
        "output": str(folder / "out"),
        "duplicates": "drop",
    }
    (folder / "recipe.yaml").write_text(json.dumps(recipe))
    done = premask("run", folder / "recipe.yaml")
    assert done.code == 0, done.err
    return folder / "out"


@pytest.fixture(scope="module")
def client(server: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    made = Client(server, tmp_path_factory.mktemp("client") / "home")
    yield made
    made.close()


def copied(files: dict[str, bytes], folder: Path) -> Path:
    """The copy that somebody fetches."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_the_copy_says_what_it_lacks(out: Path, memory: str, tmp_path: Path) -> None:
    done = premask("push", out, memory)
    files = there(memory)

    assert (done.code, done.err.count(NOTE)) == (0, 1), done
    assert not [name for name in files if name.startswith("rejects/")]
    assert not [name for name, content in files.items() if b"raw words of a row" in content]
    assert b"the rows themselves were left out when this was pushed" in files["README.md"]
    assert b"`rejects/`" not in files["README.md"]
    written, sent = json.loads((out / "manifest.json").read_text()), json.loads(files["manifest.json"])
    kept = [shard for shard in written["shards"] if not shard["path"].startswith("rejects/")]
    assert sent == {**written, "rejects_left_out": True, "shards": kept}
    assert Manifest.model_validate(sent).rejects_left_out
    assert sent["counts"]["rejected_by_reason"] == {"wrong_type": 1}


def test_the_pushed_manifest_is_valid_by_the_schema(out: Path, memory: str) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    premask("push", out, memory)
    validator = jsonschema.Draft202012Validator(all_schemas()["manifest"])

    assert list(validator.iter_errors(json.loads(there(memory)["manifest.json"]))) == []


def test_what_commands_make_of_the_copy(out: Path, memory: str, tmp_path: Path) -> None:
    premask("push", out, memory)
    copy = copied(there(memory), tmp_path / "copy")

    for words in (["verify", copy], ["verify", copy, "--full"]):
        done = premask(*words)
        assert done.code == 0, done
        said = " ".join(done.out.split())
        assert (
            said.count("the reject log was left out when this was pushed: its 2 rows were not checked") == 1
        )
    figures = [json.loads(premask("stats", each, "--format", "json").out) for each in (out, copy)]
    same = ("rows", "kept", "rejected", "dropped", "rejects", "by_source")
    assert [figures[0][key] for key in same] == [figures[1][key] for key in same]
    assert premask("diff", out, copy).code == 0
    failed(premask("rejects", copy), "was left out when it was pushed", "the output of the run has its rows")
    assert premask("report", copy, "--to", tmp_path / "report.html").code == 0
    assert "it was left out when this was pushed" in (tmp_path / "report.html").read_text()


def test_a_copy_that_claims_too_much_is_noticed(out: Path, memory: str, tmp_path: Path) -> None:
    premask("push", out, memory)
    copy = copied(there(memory), tmp_path / "copy")
    shutil.copytree(out / "rejects", copy / "rejects")
    assert premask("verify", copy).code == 1  # a log that the manifest does not list
    shutil.rmtree(copy / "rejects")
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["inputs"][0]["rejected"]["wrong_type"] += 1
    (copy / "manifest.json").write_text(json.dumps(manifest))
    assert premask("verify", copy).code == 1  # a row too many


def test_a_log_that_is_missing_by_mistake_is_an_error(out: Path, tmp_path: Path) -> None:
    shutil.copytree(out, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "rejects")

    assert premask("verify", tmp_path / "copy").code == 1
    failed(premask("push", tmp_path / "copy", f"file://{tmp_path}/there"), "rejects/")


def test_a_copy_can_be_pushed_on_but_not_with_what_it_lacks(out: Path, memory: str, tmp_path: Path) -> None:
    premask("push", out, memory)
    copy = copied(there(memory), tmp_path / "copy")

    assert premask("push", copy, f"file://{tmp_path}/there").code == 0
    failed(premask("push", copy, f"file://{tmp_path}/there", "--with-rejects"), "push the output of the run")


def test_with_and_without_one_after_the_other(out: Path, bucket: str) -> None:
    url, log = f"{bucket}/chats", "rejects/rejects-00000-of-00001.parquet"
    assert premask("push", out, url, "--with-rejects").code == 0
    everything = there(url)
    assert log in everything
    assert everything["manifest.json"] == (out / "manifest.json").read_bytes()

    again = premask("push", out, url)
    assert (again.code, log in there(url)) == (0, False)
    assert "already holds this output" in premask("push", out, url).out
    assert premask("push", out, url, "--with-rejects").code == 0
    assert there(url) == everything


def test_the_hub(out: Path, hub: HubServer, client: Client) -> None:
    log = "rejects/rejects-00000-of-00001.parquet"

    def files() -> set[str]:
        return set(hub.repos[DEMO].history[-1].files)

    first = client.push(out, DEMO)
    assert (first.code, NOTE in first.err, log in files()) == (0, True, False), first
    assert "nothing was sent" in client.push(out, DEMO).out
    checked = client.premask("verify", DEMO)
    assert (checked.code, "the reject log was left out" in " ".join(checked.out.split())) == (0, True), (
        checked
    )
    assert client.push(out, DEMO, "--with-rejects").code == 0
    assert log in files()
    last = client.push(out, DEMO)
    assert f"rejects/ was removed, but stays in the history of {DEMO}" in last.err
    assert log not in files()
