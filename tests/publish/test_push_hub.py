"""`premask push` to the Hub, end to end: the real clients in a process of their own, over real HTTP, against
the server of `hub_server`. One such process (`Client`) does all commands and loads, because `HF_ENDPOINT` is
read when the libraries are imported, which takes seconds."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import ROOT, SAMPLE, TOKENIZER, Done, premask
from hub_client import SCRIPT, Client, hub, server  # noqa: F401
from hub_server import HubServer, Repo
from outputs import sent_of
from premask.core.errors import PushError
from premask.output.sending import read_finished
from premask.publish.merge_readme import merge_readme
from premask.publish.push_hub import parse_repo_id

DEMO = "alice/demo"
FRESH = "pushed to alice/demo on the Hub: "
PACKED = ["packed", "unpacked"]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two outputs of the bundled sample in both layouts: `many` has more shards than `few`."""
    folder, made = tmp_path_factory.mktemp("outputs"), {}
    for name, rows, length in (("many", 100, 1024), ("few", 200, 2048)):
        made[name] = folder / name
        done = premask(
            "run", SAMPLE / "conversations.jsonl", "--tokenizer", TOKENIZER, "--layout", "packed,unpacked",
            "--unit-rows", rows, "--max-length", length, "--output", made[name],
        )  # fmt: skip
        assert done.code == 0, done.err
    return made


@pytest.fixture(scope="module")
def client(server: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    made = Client(server, tmp_path_factory.mktemp("client") / "home")
    yield made
    made.close()


def remote_files(repo: Repo, branch: str = "main") -> dict[str, bytes]:
    """What a branch holds, large files with their content, without what the Hub itself puts there."""
    files = repo.commits[repo.branches[branch]].files
    content = {p: f["content"] if "content" in f else repo.stored[f["oid"]] for p, f in files.items()}
    return {path: data for path, data in content.items() if path != ".gitattributes"}


def failed(done: Done, *parts: str) -> None:
    """The command ended with one clear line and exit code 2, and the token is not in it."""
    assert done.code == 2, done
    assert done.err.startswith("premask: "), done.err
    assert done.err.count("\n") == 1, done.err
    assert done.out == ""
    assert "hf_madeup" not in done.err
    for part in parts:
        assert part in done.err


def pushed(done: Done) -> str:
    assert done.code == 0, done.err
    assert "hf_madeup" not in done.out + done.err
    return done.out


# ==== What a push does ====


def test_a_push_makes_the_repo_and_one_commit(
    hub: HubServer, client: Client, outputs: dict[str, Path]
) -> None:
    out = pushed(client.push(outputs["many"], DEMO))
    repo = hub.repos[DEMO]

    assert remote_files(repo) == sent_of(outputs["many"], DEMO)
    assert len(repo.history) == 2
    assert len(hub.calls("commit")) == 1
    assert not repo.private
    assert out.startswith(FRESH)
    assert f"commit:  {hub.url}/datasets/{DEMO}/commit/{repo.branches['main']}" in out
    assert f'load_dataset("{DEMO}", "packed", split="train")' in out


def test_an_unchanged_output_makes_no_commit(
    hub: HubServer, client: Client, outputs: dict[str, Path]
) -> None:
    pushed(client.push(outputs["many"], DEMO))
    hub.forget()

    out = pushed(client.push(outputs["many"], f"hf://datasets/{DEMO}"))

    assert "already holds this output; nothing was sent" in out
    assert len(hub.repos[DEMO].history) == 2
    for kind in ("create", "preupload", "batch", "put", "commit"):
        assert hub.calls(kind) == [], kind


def test_another_recipe_replaces_stale_shards_in_one_commit(
    hub: HubServer, client: Client, outputs: dict[str, Path]
) -> None:
    pushed(client.push(outputs["many"], DEMO))
    hub.commit(DEMO, **{"LICENSE": "mine", "plot.svg": "<svg/>", "packed/notes.txt": "mine"})
    hub.forget()

    out = pushed(client.push(outputs["few"], DEMO))
    repo = hub.repos[DEMO]
    theirs = {"LICENSE": b"mine", "plot.svg": b"<svg/>", "packed/notes.txt": b"mine"}
    gone = set(sent_of(outputs["many"])) - set(sent_of(outputs["few"]))

    assert gone
    assert remote_files(repo) == {**sent_of(outputs["few"], DEMO), **theirs}
    assert len(repo.history) == 4
    assert {path for key, path in repo.history[-1].operations if key == "deletedFile"} == gone
    assert f"{len(gone)} old ones removed" in out
    assert "tokenizer/tokenizer.json" not in {path for _, path in repo.history[-1].operations}


LOAD = """
from datasets import load_dataset
from pathlib import Path
import pyarrow.parquet as pq
answer = {{}}
for config in ("packed", "unpacked"):
    files = sorted((Path({out!r}) / config).glob("*.parquet"))
    local = [row for file in files for row in pq.read_table(file).to_pylist()]
    mapped = load_dataset({repo!r}, config, split="train", revision={revision!r})
    streamed = load_dataset({repo!r}, config, split="train", revision={revision!r}, streaming=True) if {stream} else local
    answer[config] = [len(local), mapped.to_list() == local, list(streamed) == local, mapped.column_names]
answer["default"] = load_dataset({repo!r}, split="train", revision={revision!r}).column_names
"""


def load(client: Client, out: Path, revision: str = "main", *, stream: bool = True) -> dict[str, Any]:
    found: dict[str, Any] = client.run(LOAD.format(out=str(out), repo=DEMO, revision=revision, stream=stream))
    return found


def test_what_is_pushed_loads_as_the_files_here(
    hub: HubServer, client: Client, outputs: dict[str, Path]
) -> None:
    """Both configs, streaming and not, on main and after another push; packed is the default."""
    for name in ("many", "few"):
        pushed(client.push(outputs[name], DEMO))
        found = load(client, outputs[name])

        for config in PACKED:
            rows, mapped, streamed, columns = found[config]
            assert rows > 0
            assert mapped
            assert streamed
            assert columns[:2] == ["input_ids", "labels"]
        assert found["default"] == found["packed"][3]
    assert len(hub.calls("blob")) > 0


def test_verify_fetches_and_checks_what_was_pushed(
    hub: HubServer, client: Client, outputs: dict[str, Path]
) -> None:
    client.push(outputs["many"], DEMO, "--tag", "v1")
    client.push(outputs["few"], DEMO)
    for name, words in (("few", ()), ("many", ("--revision", "v1"))):
        done = client.premask("verify", DEMO, *words, "--format", "json")
        packs = json.loads((outputs[name] / "manifest.json").read_bytes())["counts"]["packs"]
        report = json.loads(done.out)
        assert (done.code, report["ok"], report["checked"]["packs"]) == (0, True, packs), done

    failed(client.premask("verify", "alice/none"), "alice/none")
    failed(client.premask("verify", DEMO, HF_TOKEN="hf_wrong"), "alice/demo")


def test_report_shows_what_was_pushed(
    hub: HubServer, client: Client, outputs: dict[str, Path], tmp_path: Path
) -> None:
    """The file goes where the command is called, and takes the place of none but an older report."""
    client.push(outputs["many"], DEMO, "--tag", "v2")
    client.run(f"import os; os.chdir({str(tmp_path)!r}); answer = 0")
    try:
        for words in ((), ("--revision", "v2")):
            done = client.premask("report", DEMO, *words)
            assert (done.code, done.out.splitlines()[-1].startswith("report:  demo-report.html")) == (
                0,
                True,
            ), done
        text = (tmp_path / "demo-report.html").read_text(encoding="utf-8")
        (tmp_path / "demo-report.html").write_text("mine")
        failed(client.premask("report", DEMO), "demo-report.html exists", "--to")
        failed(client.premask("report", DEMO, "--revision", "none"), "alice/demo", "cannot be fetched")
    finally:
        client.run(f"import os; os.chdir({str(ROOT)!r}); answer = 0")

    assert (tmp_path / "demo-report.html").read_text() == "mine"
    assert "letters-011" in text


def test_branches_and_tags(hub: HubServer, client: Client, outputs: dict[str, Path]) -> None:
    pushed(client.push(outputs["many"], DEMO))
    out = pushed(client.push(outputs["few"], DEMO, "--revision", "short", "--tag", "v1"))
    repo = hub.repos[DEMO]

    assert remote_files(repo) == sent_of(outputs["many"], DEMO)
    assert remote_files(repo, "short") == sent_of(outputs["few"], DEMO, "short")
    assert repo.tags == {"v1": repo.branches["short"]}
    assert 'revision="short"' in out
    assert load(client, outputs["few"], "v1")["packed"][1]
    pushed(client.push(outputs["few"], DEMO, "--revision", "short", "--tag", "v1"))  # as it is: nothing to do
    pushed(client.push(outputs["few"], DEMO, "--revision", "short", "--tag", "v2"))  # a second tag, no commit
    assert repo.tags == {"v1": repo.branches["short"], "v2": repo.branches["short"]}
    assert len(repo.history) == 3

    hub.forget()
    failed(client.push(outputs["few"], DEMO, "--tag", "v1"), "the tag v1 exists already", "nothing was sent")
    failed(client.push(outputs["many"], DEMO, "--tag", "v1"), "the tag v1 exists already")
    failed(client.push(outputs["many"], DEMO, "--revision", "v1"), "is a tag or a commit; name a branch")
    failed(client.push(outputs["many"], DEMO, "--revision", "refs/pr/1"), "is not a branch")
    assert hub.calls("put") == hub.calls("commit") == []


def test_content_revision(hub: HubServer, client: Client, outputs: dict[str, Path]) -> None:
    """Each output has a branch of its own, named by its run key."""
    names = {name: read_finished(path).content_name for name, path in outputs.items()}
    for name in ("many", "few", "many"):
        pushed(client.push(outputs[name], DEMO, "--content-revision"))
    repo = hub.repos[DEMO]

    assert sorted(repo.branches) == sorted([*names.values(), "main"])
    assert remote_files(repo) == {}
    for name, branch in names.items():
        assert remote_files(repo, branch) == sent_of(outputs[name], DEMO, branch)
    assert len(repo.history) == 3
    both = client.push(outputs["few"], DEMO, "--content-revision", "--revision", "b")
    failed(both, "--revision and --content-revision both name the branch")


def test_a_branch_whose_commit_fails_is_not_left(
    hub: HubServer, client: Client, outputs: dict[str, Path]
) -> None:
    hub.make(DEMO)
    hub.fail("commit", 400)

    failed(client.push(outputs["few"], DEMO, "--content-revision"), "the commit: the Hub refuses it with 400")
    assert list(hub.repos[DEMO].branches) == ["main"]


def test_private(hub: HubServer, client: Client, outputs: dict[str, Path]) -> None:
    pushed(client.push(outputs["few"], DEMO, "--private"))
    assert hub.repos[DEMO].private
    pushed(client.push(outputs["many"], DEMO))  # stays what it is
    assert hub.repos[DEMO].private

    hub.repos[DEMO].private = False
    hub.forget()
    failed(client.push(outputs["few"], DEMO, "--private"), "is public, so --private cannot be kept")
    assert hub.calls("put") == hub.calls("commit") == []


def test_run_pushes_what_it_wrote(hub: HubServer, client: Client, tmp_path: Path) -> None:
    words = [
        "run", SAMPLE / "conversations.jsonl", "--tokenizer", TOKENIZER, "--output", tmp_path / "out",
        "--push-to-hub", DEMO, "--private",
    ]  # fmt: skip
    first, again = client.premask(*words), client.premask(*words)
    content = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))

    assert FRESH in pushed(first)
    assert "already holds this output; nothing was sent" in pushed(again)
    assert remote_files(hub.repos[DEMO]) == sent_of(tmp_path / "out", DEMO)
    assert hub.repos[DEMO].private
    assert not [key for key in content["recipe"] if "push" in key or "private" in key]
    words[words.index(tmp_path / "out")] = tmp_path / "other"
    failed(client.premask(*words, HF_TOKEN=""), "there is no token")  # said before the run
    assert not (tmp_path / "other").exists()
    failed(client.premask(*words[:-3], "--private"), "--private belongs to --push-to-hub")


# ==== The card that is there ====


def test_what_a_person_adds_to_the_card_stays(
    hub: HubServer, client: Client, outputs: dict[str, Path]
) -> None:
    pushed(client.push(outputs["many"], DEMO))
    card = remote_files(hub.repos[DEMO])["README.md"].decode()
    edited = card.replace("---\n", "---\nlicense: mit\n", 1).replace("tags:\n", "tags:\n- mine\n", 1)
    hub.commit(DEMO, **{"README.md": edited + "my own text\n"})

    done = client.push(outputs["few"], DEMO)
    merged = remote_files(hub.repos[DEMO])["README.md"].decode()
    hub.forget()
    again = pushed(client.push(outputs["few"], DEMO))

    pushed(done)
    assert "README.md of the repo keeps license, tag mine" in done.err
    assert "license: mit" in merged
    assert "- mine\n" in merged
    assert "my own text" not in merged
    assert load(client, outputs["few"])["packed"][1]
    assert "already holds this output" in again
    assert hub.calls("commit") == []


@pytest.mark.parametrize(
    "there", ["", "text alone", "---\n: [broken\n---\nx", "---\n- a list\n---\n", "---\n---\n"]
)
def test_a_card_that_adds_nothing_is_replaced(there: str) -> None:
    ours = "---\nconfigs: []\n---\n\n# Ours\n"

    assert merge_readme(ours, there) == (ours, [])


def test_merging_twice_changes_nothing() -> None:
    ours = "---\nconfigs:\n- config_name: packed\ntags: [premask]\n---\n\n# Ours\n"
    once, kept = merge_readme(ours, "---\nlicense: mit\nconfigs: []\ntags: [x, premask]\n---\nTheirs")

    assert kept == ["license", "tag x"]
    assert "config_name: packed" in once
    assert merge_readme(ours, once) == (once, kept)


@pytest.mark.parametrize("file", ["data/train.parquet", "train.csv", "README.md"])
def test_somebody_elses_dataset_is_refused(
    hub: HubServer, client: Client, outputs: dict[str, Path], file: str
) -> None:
    hub.make(DEMO, **{file: "---\nlicense: mit\n---\nabout my data\n"})

    failed(
        client.push(outputs["few"], DEMO), f"{DEMO} holds {file}, which premask has not pushed", "--overwrite"
    )
    assert hub.calls("put") == hub.calls("commit") == []
    pushed(client.push(outputs["few"], DEMO, "--overwrite"))
    assert remote_files(hub.repos[DEMO])["manifest.json"] == sent_of(outputs["few"])["manifest.json"]
    assert (file in remote_files(hub.repos[DEMO])) == (file in hub.repos[DEMO].history[0].files)


def test_a_repo_with_a_licence_and_an_empty_card_is_taken(
    hub: HubServer, client: Client, outputs: dict[str, Path]
) -> None:
    """What the Hub's own form makes."""
    hub.make(DEMO, **{"README.md": "---\nlicense: mit\n---\n", "LICENSE": "MIT"})

    pushed(client.push(outputs["few"], DEMO))
    files = remote_files(hub.repos[DEMO])
    assert b"license: mit" in files["README.md"]
    assert files["LICENSE"] == b"MIT"


# ==== What can be wrong here ====


@pytest.fixture
def copied(outputs: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(outputs["few"], tmp_path / "few"))


def shard_of(out: Path, kind: str = "packed") -> Path:
    return min((out / kind).glob("*.parquet"))


def _flip(out: Path) -> None:
    """Another byte, the same size."""
    path = shard_of(out)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _other_counts(out: Path) -> None:
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    manifest["counts"]["kept"] += 1
    (out / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def _escape(out: Path) -> None:
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    manifest["shards"][0]["path"] = "../few/manifest.json"
    (out / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "changed": (_flip, "its sha256 is not the one in manifest.json; nothing was sent"),
    "cut": (lambda out: os.truncate(shard_of(out), 100), "it has 100 bytes, manifest.json says"),
    "missing": (lambda out: shard_of(out, "lineage").unlink(), "the file is not there; nothing was sent"),
    "stray": (
        lambda out: shutil.copy(shard_of(out), out / "packed" / "train-9.parquet"),
        "is not in the manifest",
    ),
    "counts": (_other_counts, "the count of rows is not that of the shards"),
    "no card": (lambda out: (out / "README.md").unlink(), "holds no README.md, so it is not whole"),
    "no manifest": (
        lambda out: (out / "manifest.json").unlink(),
        "holds no manifest.json, so it is no output",
    ),
    "other json": (lambda out: (out / "manifest.json").write_text("[]"), "it is no manifest of premask"),
    "escape": (_escape, "but it is '../few/manifest.json'"),
    "gone": (shutil.rmtree, "does not exist"),
    "unfinished": (lambda out: out.rename(out.with_name(".few.partial")), "is not finished"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_an_output_that_is_not_whole_is_refused(
    hub: HubServer, client: Client, copied: Path, name: str
) -> None:
    damage, message = DAMAGE[name]
    damage(copied)

    failed(client.push(copied, DEMO), message)
    assert hub.log == []


def test_files_that_are_no_part_of_the_output_stay_here(hub: HubServer, client: Client, copied: Path) -> None:
    (copied / "notes.txt").write_text("mine")
    (copied / ".secret").write_text("mine")

    done = client.push(copied, DEMO)

    pushed(done)
    assert "note: notes.txt is not part of the output and was not pushed" in done.err
    assert not {"notes.txt", ".secret"} & set(remote_files(hub.repos[DEMO]))


def test_a_shard_that_changes_while_it_is_pushed(hub: HubServer, client: Client, copied: Path) -> None:
    hub.fail("preupload", 503, run=lambda: _flip(copied), retry_after="0")

    failed(client.push(copied, DEMO), "changed while it was being pushed")
    assert hub.calls("commit") == []


@pytest.mark.parametrize(
    "target",
    [
        "demo",
        "alice/",
        "alice/a b",
        "a/b/c",
        "../out",
        "alice/demo--x",
        "hf://models/alice/demo",
        "alice/demo@v1",
        "",
    ],
)
def test_names_that_are_none(hub: HubServer, client: Client, outputs: dict[str, Path], target: str) -> None:
    done = client.push(outputs["few"], target)

    failed(done)
    assert hub.log == []
    with pytest.raises(PushError):
        parse_repo_id(target)


# ==== Who may push ====


def test_tokens_and_rights(hub: HubServer, client: Client, outputs: dict[str, Path]) -> None:
    out = outputs["few"]
    failed(client.push(out, DEMO, HF_TOKEN=""), "there is no token", "set HF_TOKEN", "hf auth login")
    failed(client.push(out, DEMO, HF_TOKEN="hf mad\u00e9up"), "holds characters that no token has")
    assert hub.log == []
    failed(client.push(out, DEMO, HF_TOKEN="hf_other"), "does not know the token (401)", "settings/tokens")
    failed(client.push(out, "bob/demo"), "may not write to bob/demo (403", "under this namespace")
    hub.make(DEMO)
    hub.role = "read"
    failed(client.push(out, DEMO), f"may not write to {DEMO} (403", "use one with write access")
    assert len(hub.repos[DEMO].history) == 1
    hub.role = "write"
    pushed(client.push(out, DEMO))


def test_a_saved_login_is_used(hub: HubServer, client: Client, outputs: dict[str, Path]) -> None:
    """`hf auth login` writes this file."""
    home = Path(client.run("from huggingface_hub import constants; answer = constants.HF_TOKEN_PATH"))
    home.parent.mkdir(parents=True, exist_ok=True)
    home.write_text(hub.token)
    try:
        pushed(client.push(outputs["few"], DEMO, HF_TOKEN=""))
    finally:
        home.unlink()


def test_a_name_that_is_taken(hub: HubServer, client: Client, outputs: dict[str, Path]) -> None:
    hub.taken.add(DEMO)

    failed(client.push(outputs["few"], DEMO), f"the name {DEMO} is taken", "choose another name")
    assert hub.calls("put") == []


# ==== What can be wrong on the way ====

BUSY = {"503": 503, "500": 500, "429": 429}


@pytest.mark.parametrize("status", BUSY.values(), ids=BUSY)
@pytest.mark.parametrize("kind", ["create", "commit", "tag"])
def test_a_busy_hub_is_asked_again(
    hub: HubServer, client: Client, outputs: dict[str, Path], kind: str, status: int
) -> None:
    hub.fail(kind, status, times=2, retry_after="0")

    pushed(client.push(outputs["few"], DEMO, "--tag", "v1"))
    assert remote_files(hub.repos[DEMO]) == sent_of(outputs["few"], DEMO)
    assert len(hub.calls(kind)) == 3
    assert len(hub.repos[DEMO].history) == 2


@pytest.mark.parametrize("kind", ["commit", "create"])
def test_a_hub_that_stays_busy_is_said_and_a_rerun_finishes(
    hub: HubServer, client: Client, outputs: dict[str, Path], kind: str
) -> None:
    hub.fail(kind, 503, times=4, retry_after="0")

    failed(client.push(outputs["few"], DEMO), "the Hub answers 503", "run the same command again")
    assert kind == "create" or remote_files(hub.repos[DEMO]) == {}
    sent = len(hub.calls("put"))
    hub.forget()
    pushed(client.push(outputs["few"], DEMO))
    assert remote_files(hub.repos[DEMO]) == sent_of(outputs["few"], DEMO)
    assert len(hub.calls("commit")) == 1
    assert (len(hub.calls("put")) == 0) == (sent > 0)


def test_a_hub_that_wants_a_long_pause_is_said(
    hub: HubServer, client: Client, outputs: dict[str, Path]
) -> None:
    hub.make(DEMO)
    hub.fail("commit", 429, retry_after="3600")

    failed(client.push(outputs["few"], DEMO), "asks to wait 3600 s", "run the same command again after that")
    assert len(hub.repos[DEMO].history) == 1


@pytest.mark.parametrize("status", [None, 500], ids=["cut", "500"])
def test_an_upload_that_breaks_off_goes_on(
    hub: HubServer, client: Client, outputs: dict[str, Path], status: int | None
) -> None:
    """The connection is reset in the middle of a file: the client sends that one again."""
    hub.fail("put", status, skip=1, retry_after="0")

    pushed(client.push(outputs["few"], DEMO))
    shards = [path for path in sent_of(outputs["few"]) if path.endswith(".parquet")]
    assert len(hub.calls("put")) == len(shards) + 1
    assert remote_files(hub.repos[DEMO]) == sent_of(outputs["few"], DEMO)


def test_a_commit_whose_answer_is_lost_is_not_made_twice(
    hub: HubServer, client: Client, outputs: dict[str, Path]
) -> None:
    hub.fail("commit", None, when="after")

    out = pushed(client.push(outputs["few"], DEMO))
    repo = hub.repos[DEMO]

    assert len(repo.history) == 2
    assert f"commit/{repo.branches['main']}" in out


def test_a_commit_whose_connection_is_cut_is_made_again(
    hub: HubServer, client: Client, outputs: dict[str, Path]
) -> None:
    hub.fail("commit", None)

    pushed(client.push(outputs["few"], DEMO))
    assert len(hub.repos[DEMO].history) == 2
    assert len(hub.calls("commit")) == 2


def test_nobody_elses_commit_is_overwritten(hub: HubServer, client: Client, outputs: dict[str, Path]) -> None:
    """Somebody pushes between our look at the repo and our commit: 412."""
    hub.make(DEMO)
    hub.fail("preupload", 503, run=lambda: hub.commit(DEMO, notes="theirs"), retry_after="0")

    failed(client.push(outputs["few"], DEMO), "somebody else has pushed", "run the same command again")
    assert remote_files(hub.repos[DEMO]) == {"notes": b"theirs"}
    hub.forget()
    pushed(client.push(outputs["few"], DEMO))
    assert remote_files(hub.repos[DEMO]) == {**sent_of(outputs["few"], DEMO), "notes": b"theirs"}
    assert hub.calls("put") == []


def test_a_hub_that_goes_away_in_the_middle(hub: HubServer, client: Client, outputs: dict[str, Path]) -> None:
    """It stops after some shards have arrived and comes back: the second push sends the others only."""
    hub.fail("put", 400, skip=2)
    failed(client.push(outputs["few"], DEMO), "sending packed/", "400")
    arrived = len(hub.repos[DEMO].stored)
    assert remote_files(hub.repos[DEMO]) == {}
    hub.stop()
    hub.start()
    hub.forget()

    pushed(client.push(outputs["few"], DEMO))
    shards = [path for path in sent_of(outputs["few"]) if path.endswith(".parquet")]
    assert arrived >= 2
    assert len(hub.calls("put")) == len(shards) - arrived
    assert remote_files(hub.repos[DEMO]) == sent_of(outputs["few"], DEMO)


def test_a_disk_without_room_is_said(hub: HubServer, client: Client, outputs: dict[str, Path]) -> None:
    """The card and manifest that are there are read into a temporary folder."""
    pushed(client.push(outputs["few"], DEMO))
    client.run("import tempfile; tempfile.tempdir = '/proc/nowhere'; answer = None")
    try:
        failed(client.push(outputs["many"], DEMO), "check space and permissions", "/proc/nowhere")
    finally:
        client.run("import tempfile; tempfile.tempdir = None; answer = None")
    assert len(hub.repos[DEMO].history) == 2


def test_a_repo_that_ignores_our_files_is_said(
    hub: HubServer, client: Client, outputs: dict[str, Path]
) -> None:
    hub.make(DEMO, **{".gitignore": "*.parquet\n"})

    failed(client.push(outputs["few"], DEMO), f"the .gitignore of {DEMO} keeps packed/train-00000")
    assert hub.calls("commit") == []


def test_a_branch_that_somebody_else_uses_is_left(
    hub: HubServer, client: Client, outputs: dict[str, Path]
) -> None:
    """It is made, and committed to, between our look and our commit."""
    repo = hub.make(DEMO)

    def interfere() -> None:
        repo.branches["b"] = repo.branches["main"]
        hub.commit(DEMO, "b", notes="theirs")

    hub.fail("branch", 503, run=interfere, retry_after="0")

    failed(client.push(outputs["few"], DEMO, "--revision", "b"), "somebody else has pushed")
    assert remote_files(repo, "b") == {"notes": b"theirs"}


def test_a_tag_that_cannot_be_set_is_said(hub: HubServer, client: Client, outputs: dict[str, Path]) -> None:
    hub.fail("tag", 400)

    failed(client.push(outputs["few"], DEMO, "--tag", "v1"), "the data is pushed, but the tag v1 is not set")
    pushed(client.push(outputs["few"], DEMO, "--tag", "v1"))
    assert hub.repos[DEMO].tags == {"v1": hub.repos[DEMO].branches["main"]}
    assert len(hub.calls("commit")) == 1


def test_nothing_is_pushed_offline(outputs: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """As this test process is."""
    failed(premask("push", outputs["few"], DEMO, HF_TOKEN="hf_madeup"), "HF_HUB_OFFLINE is set", "unset it")


# ==== Xet ====


def test_xet(tmp_path: Path, outputs: dict[str, Path]) -> None:
    """The same through Xet, into its own store in a directory: no large file goes by the old way."""
    pytest.importorskip("hf_xet", reason="hf_xet is not installed")
    (tmp_path / "cas").mkdir()
    with HubServer(xet=tmp_path / "cas") as hub:
        client = Client(hub, tmp_path / "home", HF_HUB_DISABLE_XET="0")
        try:
            broken = client.push(outputs["few"], DEMO, HF_TOKEN="hf_other")
            pushed(client.push(outputs["few"], DEMO))
            found = load(client, outputs["few"], stream=False)
            again = pushed(client.push(outputs["few"], DEMO))
            pushed(client.push(outputs["many"], DEMO))
            other = load(client, outputs["many"], stream=False)
        finally:
            client.close()

        failed(broken, "does not know the token (401)")
        assert len(hub.calls("xet")) > 0
        assert hub.calls("batch") == hub.calls("put") == []
        assert found["packed"][1]
        assert found["unpacked"][1]
        assert "already holds this output" in again
        assert other["unpacked"][1]
        assert len(hub.repos[DEMO].history) == 3
