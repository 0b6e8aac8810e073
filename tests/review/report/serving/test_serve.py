"""`premask report --serve`: real requests and a real browser, from friends and from strangers."""

from __future__ import annotations

import http.client
import json
import multiprocessing
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

import pyarrow.parquet as pq
import pytest
from browser import Visit, axe_findings
from commands import (
    HANG_S,
    ROOT,
    SAMPLE,
    TOKENIZER,
    chat,
    command_line,
    premask,
    without_progress,
    write_rows,
)
from premask.core.errors import PremaskError
from premask.output.dataset import open_dataset
from premask.review.report.serving import counting as serve_counting
from premask.review.report.serving import search as serve_search
from premask.review.report.serving import server as serve_http
from premask.review.report.serving.answers import Answers
from premask.review.report.serving.server import Server

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\u202e{{7*7}}"
LONG = "word " * 3000


class Reply(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def send(address: str, rest: str = "", method: str = "GET", **headers: str) -> Reply:
    """One request to a server, whose path ends with `rest`."""
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=HANG_S)
    connection.request(method, parts.path + rest, headers=headers)
    answer = connection.getresponse()
    reply = Reply(answer.status, answer.headers, answer.read())
    connection.close()
    return reply


def ask(address: str, name: str, **query: object) -> Any:
    reply = send(address, f"api/{name}?{urlencode(query)}")
    assert reply.status == 200, reply
    return reply.json


@contextmanager
def served_by(answers: Answers) -> Iterator[Server]:
    with Server(answers) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def served(out: Path) -> Iterator[Server]:
    with Answers(open_dataset(out)) as answers, served_by(answers) as server:
        answers.counted.figures()
        yield server


def run(folder: Path, rows: list[Any], *words: object) -> Path:
    source = write_rows(folder / "own.jsonl", rows)
    words = ("--tokenizer", TOKENIZER, "--output", folder / "out", "--workers", 1, *words)
    done = premask("run", source, *words)
    assert done.code == 0, done.err
    return folder / "out"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample, and rows of a stranger, in two shards and two splits."""
    folder = tmp_path_factory.mktemp("served")
    shutil.copy(SAMPLE / "conversations.jsonl", folder / "chats.jsonl")
    rows = [chat(HOSTILE, HOSTILE, id=HOSTILE), chat("a", LONG, id="long"), chat(LONG * 3, id="lost")]
    words = ["--max-length", 8192, "--splits", "eval=0.1", "--unit-rows", 200]
    return run(folder, rows, folder / "chats.jsonl", *words)


@pytest.fixture(scope="module")
def server(out: Path) -> Iterator[Server]:
    with served(out) as found:
        yield found


@pytest.fixture
def address(server: Server) -> str:
    return server.address


@pytest.fixture(scope="module")
def lines(out: Path) -> list[dict[str, Any]]:
    """The lineage of all samples in order, with their trained tokens and their key."""
    dataset = open_dataset(out)
    found = []
    for split in dataset.splits:
        packs = [
            row
            for each in dataset.shards("packed", split)
            for row in pq.read_table(out / each.path).to_pylist()
        ]
        rows = [
            row
            for each in dataset.shards("lineage", split)
            for row in pq.read_table(out / each.path).to_pylist()
        ]
        for number, row in enumerate(rows):
            own = slice(row["offset"], row["offset"] + row["length"])
            ids, labels = packs[row["pack"]]["input_ids"][own], packs[row["pack"]]["labels"][own]
            trained = sum(label != -100 for label in labels)
            found.append(
                {**row, "key": f"{split}/{number}", "ids": ids, "labels": labels, "trained": trained}
            )
    return found


@pytest.fixture
def alone(tmp_path: Path) -> Path:
    """An output of its own, whose source is gone."""
    out = run(tmp_path, [chat("Question", "Answer", id=str(i)) for i in range(3)])
    (tmp_path / "own.jsonl").unlink()
    return out


# ==== What is answered ====


def test_the_list_has_all_samples(address: str, lines: list[dict[str, Any]]) -> None:
    pages = [ask(address, "list", at=at, count=150) for at in (0, 150)]
    rows = [row for page in pages for row in page["rows"]]
    names = ("key", "id", "source", "row", "sample", "split", "trained")

    assert {page["total"] for page in pages} == {len(lines)}
    assert len(lines) > 290
    assert [[row[name] for name in names] for row in rows] == [
        [line[name] for name in names] for line in lines
    ]
    assert [row["tokens"] for row in rows] == [line["length"] for line in lines]
    assert next(row for row in rows if row["id"] == "long")["first_words"] == "a"


@pytest.mark.parametrize("descending", ["", "true"])
def test_the_list_is_sorted(address: str, lines: list[dict[str, Any]], descending: str) -> None:
    keys: dict[str, Callable[[Any], Any]] = {
        "order": lines.index,
        "id": lambda line: line["id"],
        "source": lambda line: line["source"],
        "tokens": lambda line: line["length"],
        "trained": lambda line: line["trained"],
        "share": lambda line: line["trained"] / line["length"],
    }
    by_key = {line["key"]: line for line in lines}
    for sort, key in keys.items():
        rows = ask(address, "list", sort=sort, descending=descending, count=200)["rows"]
        values = [key(by_key[row["key"]]) for row in rows]
        assert values == sorted(map(key, lines), reverse=bool(descending))[:200], sort


def test_the_list_is_filtered(address: str, lines: list[dict[str, Any]]) -> None:
    def keys(**query: object) -> list[str]:
        return [row["key"] for row in ask(address, "list", count=200, **query)["rows"]]

    own = next(line["source"] for line in lines if line["id"] == "long")
    few = [line["key"] for line in lines if 50 <= line["length"] <= 60]
    low = [line["key"] for line in lines if line["trained"] / line["length"] <= 0.25]
    assert few
    assert low
    assert keys(source=own) == [line["key"] for line in lines if line["source"] == own]
    assert keys(split="eval") == [line["key"] for line in lines if line["split"] == "eval"]
    assert keys(tokens_min=50, tokens_max=60) == few
    assert keys(share_max=25) == low
    assert keys(source="no such source") == keys(split="none") == []


def test_ids_sources_and_texts_are_searched(address: str, lines: list[dict[str, Any]]) -> None:
    def ids(text: str) -> set[str]:
        return {row["id"] for row in ask(address, "list", search=text, count=200)["rows"]}

    assert ids("LETTERS-011") == {"letters-011"}
    assert ids("own.jsonl") == {HOSTILE, "long"}
    assert ids("dear LIVIA,") == {"letters-006", "letters-008", "letters-011"}
    assert ids(HOSTILE[:20]) == {HOSTILE}
    assert len(ids("<|im_end|>")) == 200
    assert ids("no text has this") == set()


def test_a_search_says_how_far_it_looked(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each further question looks at more texts."""
    monkeypatch.setattr(serve_search, "SECONDS", -1)
    first = ask(address, "list", search="Dear Livia")
    monkeypatch.undo()
    second = ask(address, "list", search="Dear Livia")

    assert (first["total"], first["searched"]) == (0, 0)
    assert "the text of the first 0 of" in first["note"]
    assert second["total"] == 3
    assert "note" not in second


def test_a_sample_is_that_of_the_shards(address: str, lines: list[dict[str, Any]]) -> None:
    for line in (lines[0], lines[-1], lines[len(lines) // 2]):
        item = ask(address, "sample", key=line["key"])
        labels = [-100] * item["length"]
        for start, stop in zip(item["runs"][::2], item["runs"][1::2], strict=True):
            labels[start:stop] = item["ids"][start:stop]
        assert (item["ids"], labels) == (line["ids"], line["labels"])
        assert [item[name] for name in ("key", "id", "source", "row", "split", "pack")] == [
            line[name] for name in ("key", "id", "source", "row", "split", "pack")
        ]
        assert item["pack_key"] == f"{line['split']}/{line['pack']}"
        assert item["siblings"] == [[line["key"], line["sample"]]]


def test_roles_are_known_by_processing_the_row_again(server: Server, lines: list[dict[str, Any]]) -> None:
    (line,) = (line for line in lines if line["id"] == "letters-011")
    item = ask(server.address, "sample", key=line["key"])
    while item["later"]:  # the other process starts
        item = ask(server.address, "sample", key=line["key"])

    assert item["note"] == ""
    assert {origin for _, origin in item["origins"]} == {"template", "user:0", "assistant:1"}
    assert item["proof"] == "inference"


def test_what_is_long_is_cut(address: str, lines: list[dict[str, Any]]) -> None:
    (line,) = (line for line in lines if line["id"] == "long")
    item = ask(address, "sample", key=line["key"])
    (lost,) = ask(address, "rejects", search="lost")["rows"]

    assert item["length"] == line["length"] > 2400
    assert item["skip"][1] == line["length"] - len(item["ids"])
    assert (lost["id"], lost["reason"], len(lost["original"])) == ("lost", "no_assistant", 5000)
    assert lost["left_out"] > 40_000


def test_packs_and_lost_rows(address: str, out: Path, lines: list[dict[str, Any]]) -> None:
    found = ask(address, "packs", count=200)
    counts = json.loads((out / "manifest.json").read_bytes())["counts"]
    first = [line for line in lines if (line["split"], line["pack"]) == ("train", 0)]

    assert found["total"] == len(found["rows"]) == counts["packs"]
    assert sum(pack["tokens"] for pack in found["rows"]) == counts["tokens"]
    assert sum(pack["trained"] for pack in found["rows"]) == counts["trained_tokens"]
    names = ("key", "length", "trained", "source", "row", "sample", "offset")
    assert found["rows"][0]["samples"] == [[line[name] for name in names] for line in first]
    assert ask(address, "packs", at=1, count=1)["rows"] == found["rows"][1:2]
    assert ask(address, "pack", key="train/0") == found["rows"][0]
    assert ask(address, "pack", key="train/9999") is None
    assert ask(address, "rejects")["total"] == counts["rows"] - counts["kept"]
    assert ask(address, "rejects", reason="too_long")["total"] == 0
    assert ask(address, "summary")["samples"] == len(lines)


@pytest.mark.parametrize("layout", ["unpacked", "preference"])
def test_other_layouts(tmp_path: Path, layout: str) -> None:
    rows = [chat("Question", "Answer", id="a"), chat("Why", "Because", id="b")]
    words = ["--layout", "unpacked"]
    if layout == "preference":
        words = ["--layout", "preference"]
        rows = [
            {"id": name, "prompt": f"Question {name}", "chosen": "Yes, gladly", "rejected": "No"}
            for name in "ab"
        ]
    out = run(tmp_path, rows, *words)
    (tmp_path / "own.jsonl").unlink()
    with served(out) as server:
        found = ask(server.address, "list")["rows"]
        items = [ask(server.address, "sample", key=row["key"]) for row in found]
        packs = ask(server.address, "packs")

    assert [row["id"] for row in found] == (["a", "b"] if layout == "unpacked" else ["a", "a", "b", "b"])
    assert all(row["first_words"] for row in found)
    assert [item["length"] for item in items] == [row["tokens"] for row in found]
    assert packs == {"total": 0, "rows": []}
    assert {item["note"] for item in items} == {"Roles are not known: the source of this row is not here."}
    if layout == "preference":
        assert items[0]["siblings"] == [["train/0", 0], ["train/1", 1]]


# ==== Who may ask ====


def test_only_who_knows_the_token(server: Server) -> None:
    address = server.address
    root = f"http://127.0.0.1:{server.server_port}/"
    wrong = [
        root,
        root + "x/",
        root + server.token[:-1] + "/",
        root + server.token + "x/api/list",
    ]
    without = send(address[:-1])

    assert {send(each).status for each in wrong} == {404}
    assert (without.status, without.headers["Location"]) == (303, urlsplit(address).path)
    assert send(address).status == 200


@pytest.mark.parametrize(
    "path", ["../../etc/passwd", "..%2f..%2fetc%2fpasswd", "manifest.json", "api/../x", "api"]
)
def test_no_path_is_the_name_of_a_file(address: str, path: str) -> None:
    assert send(address, path).status in {400, 404}


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1", "", "127.0.0.1:1"])
def test_other_names_of_this_machine_are_refused(address: str, host: str) -> None:
    """Whoever has a name lead here (DNS rebinding) is another site for the browser."""
    assert send(address, Host=host).status == 403
    assert send(address, Host=f"localhost:{urlsplit(address).port}").status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_other_methods_are_refused(address: str, method: str) -> None:
    reply = send(address, method=method)

    assert (reply.status, reply.headers["Allow"]) == (405, "GET, HEAD")


def test_headers_of_every_answer(address: str) -> None:
    for rest in ("", "api/list", "api/none", "none"):
        headers = send(address, rest).headers
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'"), rest
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert (headers["Cache-Control"], headers["X-Content-Type-Options"]) == ("no-store", "nosniff")
        assert headers["Access-Control-Allow-Origin"] is None
    whole, head = send(address), send(address, method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["Content-Length"] == whole.headers["Content-Length"] == str(len(whole.body))


def test_the_entrance_leads_in_once(out: Path, server: Server) -> None:
    first = send(server.entrance)

    assert (first.status, first.headers["Location"]) == (303, urlsplit(server.address).path)
    assert send(server.entrance).status == 404


@pytest.mark.parametrize(
    "query",
    ["list?count=many", "list?at=-1", "list?sort=none", "list?tokens_min=x", "none", "list?" + "a=1&" * 99],
)
def test_bad_questions(address: str, query: str) -> None:
    reply = send(address, f"api/{query}")

    assert reply.status == 400
    assert list(reply.json) == ["error"]


@pytest.mark.parametrize(
    "key", ["", "train", "train/-1", "train/99999", "none/0", "../0", "train/0/0", "x" * 5000]
)
def test_keys_of_nothing(address: str, key: str) -> None:
    assert ask(address, "sample", key=key) is None


def test_slow_and_broken_clients_block_nobody(server: Server) -> None:
    with ExitStack() as stack:
        for text in (b"", b"GET /", b"\x00\xff\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x"):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", server.server_port)))
            client.sendall(text)
        gone = socket.create_connection(("127.0.0.1", server.server_port))
        gone.sendall(b"GET / HTTP/1.1\r\n")
        gone.close()
        assert ask(server.address, "list", count=1)["rows"]


def test_too_many_connections_are_closed(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_http, "CONNECTIONS", 1)
    with served(alone) as server, socket.create_connection(("127.0.0.1", server.server_port)) as first:
        first.sendall(b"GET /")
        with socket.create_connection(("127.0.0.1", server.server_port)) as second:
            second.settimeout(HANG_S)
            assert second.recv(100) == b""


def test_an_answer_has_a_largest_size(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_http, "ANSWER_BYTES", 100)
    reply = send(address, "api/list")

    assert (reply.status, "too many to be shown" in reply.json["error"]) == (409, True)


# ==== What changes while it is served ====


@pytest.mark.parametrize("what", ["removed", "changed", "run again"])
def test_an_output_that_is_no_longer_the_same(alone: Path, what: str) -> None:
    shard = next((alone / "packed").iterdir())
    with served(alone) as server:
        assert ask(server.address, "list")["total"] == 3
        if what == "removed":
            shutil.rmtree(alone)
        elif what == "changed":
            shard.write_bytes(shard.read_bytes()[:-9])
        else:
            os.utime(alone / "manifest.json", ns=(1, 1))
        replies = [
            send(server.address, rest) for rest in ("", "api/list", "api/sample?key=train/0", "api/packs")
        ]

    for reply in replies:
        assert reply.status == 409
        assert b"was changed or removed since it was opened" in reply.body
    assert "<p>" in replies[0].body.decode()
    assert list(replies[1].json) == ["error"]


def test_an_output_that_is_damaged(alone: Path) -> None:
    shard = next((alone / "lineage").iterdir())
    shard.write_bytes(b"PAR1" + bytes(len(shard.read_bytes()) - 4))
    with Answers(open_dataset(alone)) as answers:
        with pytest.raises(PremaskError, match="cannot be read"):
            answers.page(HANG_S)
        with pytest.raises(PremaskError, match="cannot be read"):
            answers.of("list", {})


def test_until_the_output_is_counted(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page says so and loads itself again; the list is there."""
    counting, measure = threading.Event(), serve_counting.measure

    def late(*args: Any, **keywords: Any) -> Any:
        counting.wait()
        return measure(*args, **keywords)

    monkeypatch.setattr(serve_counting, "measure", late)
    monkeypatch.setattr(serve_http, "WAIT_S", 0)
    with ExitStack() as stack:
        stack.callback(counting.set)
        answers = stack.enter_context(Answers(open_dataset(alone)))
        server = stack.enter_context(served_by(answers))
        page, rows = send(server.address).body.decode(), ask(server.address, "list")["rows"]
        early = send(server.address, "api/list?sort=share")
        counting.set()
        answers.counted.figures()
        whole = send(server.address).body.decode()

    assert "The tokens are being counted: 0%." in page
    assert 'http-equiv="refresh"' in page
    assert [row["trained"] for row in rows] == [None] * 3
    assert (early.status, "still being counted" in early.json["error"]) == (409, True)
    assert 'id="list"' in whole


def test_roles_after_a_process_was_ended(server: Server, lines: list[dict[str, Any]]) -> None:
    for child in multiprocessing.active_children():
        child.kill()
        child.join()
    item = ask(server.address, "sample", key=lines[7]["key"])
    while item["later"]:
        item = ask(server.address, "sample", key=lines[7]["key"])

    assert item["origins"]


# ==== The command ====


def test_the_command_serves_until_it_is_interrupted(alone: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "pipeline"), "COLUMNS": "160"}
    started = subprocess.Popen(
        command_line("report", alone, "--serve"), env=environ, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509  it is a test
    )  # fmt: skip
    assert started.stdout is not None
    line = started.stdout.readline()
    address = line.split()[1]
    found = send(address)
    taken = premask("report", alone, "--serve", "--port", urlsplit(address).port)
    os.killpg(started.pid, signal.SIGINT)
    rest, errors = started.communicate(timeout=HANG_S)

    assert line.startswith("report:  http://127.0.0.1:")
    assert found.status == 200
    assert taken.code == 2
    assert taken.err.startswith(
        f"premask: cannot listen on port {urlsplit(address).port}: Address already in use;"
    )
    assert started.returncode == 130
    assert (rest, without_progress(errors)) == ("", "premask: interrupted\n")


def test_options_that_do_not_fit(tmp_path: Path) -> None:
    for words, what in (
        (["--serve", "--to", "x.html"], "leave --to out"),
        (["--port", 1], "--port is for --serve"),
    ):
        done = premask("report", tmp_path, *words)
        assert (done.code, what in done.err, done.err.count("\n")) == (2, True, 1), done.err


# ==== In a browser ====


def test_a_person_looks_at_all_rows(browser: Any, server: Server, lines: list[dict[str, Any]]) -> None:
    visit = Visit(browser, server.address, viewport={"width": 1280, "height": 900})
    page = visit.page
    page.locator("#facts", has_text="inference").wait_for()  # roles may come later than the sample
    assert page.locator("#text .role-user").count() > 0
    assert visit.text("#list-count") == f"1 to 50 of {len(lines)}"
    page.locator("#list-next").click()
    page.locator("#list-count", has_text=f"51 to 100 of {len(lines)}").wait_for()

    page.locator("#f-search").fill("onerror")
    page.locator("#list-count", has_text="1 to 1 of 1").wait_for()
    page.locator("#list tbody a").click()
    page.locator("#reader-title", has_text="onerror").wait_for()
    assert page.locator("#text img, #list img, #facts img").count() == 0
    assert "<img src=x onerror=alert(2)>" in "".join(visit.tokens())
    assert "#sample=" in page.url

    assert visit.troubles == []
    own = server.address
    assert [url for url in visit.requests if not url.startswith((own, "data:"))] == []
    assert page.locator("[role=alert]:visible").count() == 0
    assert axe_findings(page) == []
    visit.close()


def test_a_person_reads_what_went_wrong(browser: Any, alone: Path) -> None:
    with served(alone) as server:
        visit = Visit(browser, server.address)
        visit.page.wait_for_selector("#text [data-group]")
        shutil.rmtree(alone)
        visit.page.locator("#next").click()
        visit.page.wait_for_selector("[role=alert]:visible")
        changed, title, tokens = visit.text("[role=alert]"), visit.title(), visit.tokens()
        visit.page.locator("footer").scroll_into_view_if_needed()
        place = visit.page.locator("[role=alert]").bounding_box()
        height = visit.page.viewport_size["height"]
        visit.context.set_offline(offline=True)  # as if the command had ended
        visit.page.locator("#list th button").first.click()
        visit.page.locator("[role=alert]", has_text="has ended").wait_for()
        visit.close()

    assert "was changed or removed since it was opened" in changed
    assert 0 <= place["y"] < height  # wherever one reads
    assert (re.fullmatch(r"Sample train/\d+ cannot be shown\.", title) is not None, tokens) == (True, [])
