"""The report's page without a browser: what is chosen, what is known of it, how large it is, what is in it."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from commands import ROOT, TOKENIZER, chat, premask, process, write_rows
from premask.review.report import choice, page
from premask.review.report.page import embedded, make_page
from premask.review.report.samples import HEAD, TAIL


def run(folder: Path, rows: list[Any], *words: object) -> Path:
    source = write_rows(folder / "a.jsonl", rows)
    done = premask(
        "run", source, "--tokenizer", TOKENIZER, "--output", folder / "out", "--workers", 1, *words
    )
    assert done.code == 0, done.err
    return folder / "out"


def data_of(text: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


ROWS = [
    {
        "id": "a",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hé🙂"},
            {"role": "user", "content": "And <|im_end|>?"},
            {"role": "assistant", "content": "So long"},
        ],
    },
    chat("Question", "Answer", id="b"),
    chat("No answer", id="c"),
]


def test_an_item_says_what_the_shards_say(tmp_path: Path) -> None:
    """Ids, labels and places of the page are those of the files; texts and origins those of `explain`."""
    out = run(tmp_path, ROWS)
    data = data_of(make_page(out)[0])
    done = premask("explain", tmp_path / "a.jsonl", "--tokenizer", TOKENIZER, "--format", "json")
    explained = [json.loads(line) for line in done.out.splitlines()]
    (pack,) = pq.read_table(next((out / "packed").iterdir())).to_pylist()

    assert [item["row"] for item in data["items"]] == [0, 1]
    for item, row in zip(data["items"], explained, strict=False):
        (sample,) = row["samples"]
        place = slice(item["offset"], item["offset"] + item["length"])
        labels = [-100] * item["length"]
        for start, stop in zip(item["runs"][::2], item["runs"][1::2], strict=True):
            labels[start:stop] = item["ids"][start:stop]
        assert item["ids"] == sample["tokens"]["id"] == pack["input_ids"][place]
        assert labels == sample["tokens"]["label"] == pack["labels"][place]
        assert "".join(text if isinstance(text, str) else text[0] for text in item["text"]) == sample["text"]
        origins = [origin for count, origin in item["origins"] for _ in range(count)]
        assert origins == sample["tokens"]["origin"]
        assert item["trained"] == sum(label != -100 for label in labels)
        assert (item["proof"], item["skip"], item["other"]) == ("inference", None, {})
    first = data["items"][0]
    assert [origin for _, origin in first["blocks"]] == [
        "system:0", "user:1", "assistant:2", "user:3", "assistant:4",
    ]  # fmt: skip
    assert [first["ids"][start] for start, _ in first["blocks"]] == [1] * 5
    assert [line["reason"] for line in data["rejects"]] == ["no_assistant"]
    assert json.loads(data["rejects"][0]["original"])["id"] == "c"


def test_the_same_output_gives_the_same_page(tmp_path: Path) -> None:
    out = run(tmp_path, ROWS)
    for name in ("one.html", "two.html"):
        assert premask("report", out, "--to", tmp_path / name).code == 0

    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()
    assert not (out / "report.html").exists()


@pytest.mark.parametrize("what", ["gone", "changed"])
def test_without_its_source_a_role_is_not_told(tmp_path: Path, what: str) -> None:
    """Only what the ids say is shown then, and the page says so; no guess stands in for a fact."""
    out = run(tmp_path, ROWS)
    known = data_of(make_page(out)[0])
    if what == "gone":
        (tmp_path / "a.jsonl").unlink()
    else:
        write_rows(tmp_path / "a.jsonl", [*ROWS, chat("a", "b")])
    text, shown, _, notes = make_page(out)
    data = data_of(text)

    assert shown == 2
    assert [item["origins"] for item in data["items"]] == [None, None]
    assert [item["proof"] for item in data["items"]] == [None, None]
    assert {name for item in data["items"] for _, name in item["blocks"]} == {""}
    assert len(data["items"][0]["blocks"]) == 5  # where a turn-end token stands
    assert "No row was rerun from its source" in text
    assert ("does not exist" if what == "gone" else "has changed since the run") in notes[0]
    for item, before in zip(data["items"], known["items"], strict=True):
        for key in ("ids", "runs", "text", "trained"):
            assert item[key] == before[key], key
    done = premask("report", out)
    assert done.code == 0
    assert done.out.startswith("note: no row of ")


def test_a_sample_that_differs_is_not_shown(tmp_path: Path) -> None:
    """An id that was changed in a shard: its row does not give it when it is processed again."""
    out = run(tmp_path, ROWS)
    shard = next((out / "packed").iterdir())
    table = pq.read_table(shard)
    rows = table.to_pylist()
    rows[0]["input_ids"][11] += 1
    pq.write_table(table.from_pylist(rows, schema=table.schema), shard)
    text, _, _, notes = make_page(out)
    known = {item["row"]: item["origins"] is not None for item in data_of(text)["items"]}

    assert sorted(known.values()) == [False, True]
    assert notes == [f"1 of 2 samples of {tmp_path / 'a.jsonl'} differed when they were processed again"]
    assert "Texts and roles of 1 samples are known" in text


def test_pieces_of_samples_that_were_split_are_known(tmp_path: Path) -> None:
    rows = [chat("word " * 30, "answer " * 50, id=str(i)) for i in range(3)]
    out = run(tmp_path, rows, "--max-length", 32, "--too-long", "split")
    text, shown, samples, notes = make_page(out)
    items = data_of(text)["items"]

    assert shown == samples > 3
    assert notes == []
    assert all(item["origins"] for item in items)
    assert max(item["sample"] for item in items) > 0
    assert "What max_length did" in text


def test_of_many_rows_a_sample_and_the_extremes(tmp_path: Path) -> None:
    """Small, and the extremes are those of all rows, counted by hand from the shards."""
    rows = [chat(f"q {i}", "word " * (i * 7919 % 97) + "end.", id=str(i)) for i in range(1500)]
    rows += [chat("short", "x " * 900), chat("long " * 900, "x"), chat("a", "b", *["c", "d"] * 40)]
    rows += [chat(f"no answer {i}") for i in range(30)] + ["{"]
    out = run(tmp_path, rows, "--unit-rows", 400)
    data = data_of(make_page(out)[0])
    lines = [line for path in (out / "lineage").iterdir() for line in pq.read_table(path).to_pylist()]
    why = Counter(name for item in data["items"] for name in item["why"])

    assert len(lines) == 1503
    assert why[choice.RANDOM] == choice.SAMPLES
    assert why["longest"] == why["least trained"] == why["most control tokens"] == choice.EXTREMES
    longest = sorted((line["length"] for line in lines), reverse=True)[: choice.EXTREMES]
    assert sorted((i["length"] for i in data["items"] if "longest" in i["why"]), reverse=True) == longest
    (least,) = [
        item["row"] for item in data["items"] if "least trained" in item["why"] and item["row"] == 1501
    ]
    assert least == 1501
    control = {item["row"]: item["control"] for item in data["items"] if "most control tokens" in item["why"]}
    assert control[1502] == max(control.values()) == 2 * 82
    assert Counter(line["reason"] for line in data["rejects"]) == {
        "no_assistant": choice.REJECTS_OF_REASON,
        "invalid_json": 1,
    }
    members = [item for item in data["items"] if "whole pack" in item["why"]]
    assert len({item["pack"] for item in members}) == 1
    packs = [row for path in sorted((out / "packed").iterdir()) for row in pq.read_table(path).to_pylist()]
    assert len(members) == len(packs[members[0]["pack"]]["seq_lengths"])


def test_the_page_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit is left out, and counted; rejected rows and long samples are shortened."""
    rows: list[Any] = [chat("word " * 4000, f"Answer {i}") for i in range(30)]
    rows += [chat("long " * 20_000, id=str(i)) for i in range(4)]
    out = run(tmp_path, rows, "--max-length", 8192)
    monkeypatch.setattr(page, "ITEM_BYTES", 200_000)
    text, shown, samples, _ = make_page(out)
    data = data_of(text)

    assert 0 < shown < samples == 30
    assert f"{30 - shown} more were chosen, but would make the page too large" in html.unescape(text)
    assert len(text) < 400_000
    for item in data["items"]:
        assert item["length"] > 4000
        assert len(item["ids"]) == HEAD + TAIL == item["length"] - item["skip"][1]
    assert [len(line["original"]) for line in data["rejects"]] == [choice.ORIGINAL] * 4
    assert all(line["left_out"] > 90_000 for line in data["rejects"])


def test_samples_of_a_row_know_each_other(tmp_path: Path) -> None:
    """Keys are places in the lineage; of a row that is shown, all samples are."""
    rows = [chat("word " * 30, "answer " * 40, id=str(i)) for i in range(700)]
    rows += [chat("short", "answer", id=str(i)) for i in range(700, 800)]
    out = run(tmp_path, rows, "--max-length", 40, "--too-long", "split")
    data = data_of(make_page(out)[0])
    lines = [line for path in sorted((out / "lineage").iterdir()) for line in pq.read_table(path).to_pylist()]
    samples = Counter(line["row"] for line in lines)
    shown = {item["key"]: item for item in data["items"]}

    for item in data["items"]:
        split, _, number = item["key"].partition("/")
        line = lines[int(number)]
        assert (split, line["row"], line["sample"]) == ("train", item["row"], item["sample"])
        assert [item["key"], item["sample"]] in item["siblings"]
        assert {shown[key]["row"] for key, _ in item["siblings"]} == {item["row"]}
    whole = [item for item in data["items"] if len(item["siblings"]) == samples[item["row"]] > 1]
    assert len(whole) > 200
    pack = data["packs"][0]
    assert pack["key"] == f"train/{pack['row']}"
    assert sum(tokens for _, tokens, *_ in pack["samples"]) == pack["tokens"] <= 40


def test_rows_that_are_upsampled_are_shown_once(tmp_path: Path) -> None:
    rows = [chat(f"question {i}", "answer", id=str(i)) for i in range(400)]
    write_rows(tmp_path / "b.jsonl", rows)
    recipe = tmp_path / "r.yaml"
    sources = f"[{{path: {tmp_path / 'b.jsonl'}, repeat: 3}}]"
    recipe.write_text(f"sources: {sources}\ntokenizer: {TOKENIZER}\noutput: {tmp_path / 'out'}\n")
    assert premask("run", recipe).code == 0
    items = data_of(make_page(tmp_path / "out")[0])["items"]

    assert sum(choice.RANDOM in item["why"] for item in items) == choice.SAMPLES
    assert len({(item["row"], item["sample"]) for item in items}) == len(items)


def text_of(page: str, section: str) -> str:
    """What a section of the page says, on one line."""
    found = page.partition(f'<section id="{section}"')[2].partition("</section>")[0]
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", found.partition(">")[2])).split())


def test_the_first_screen(tmp_path: Path) -> None:
    """Mixture, losses and warnings, with their numbers; what counts nothing is not there."""
    write_rows(tmp_path / "big.jsonl", [chat(f"q {i}", "word " * 20, id=str(i)) for i in range(40)])
    small = [chat(f"s {i}", "word " * 20) for i in range(9)]
    write_rows(tmp_path / "small.jsonl", [*small, small[0], small[1], chat("no answer")])
    recipe = tmp_path / "r.yaml"
    sources = "".join(
        f"\n- {{path: {tmp_path / name}.jsonl, share: {share}}}"
        for name, share in (("big", 0.5), ("small", 0.5))
    )
    more = "duplicates: drop\nmax_repeat: 2.0"
    recipe.write_text(f"sources:{sources}\ntokenizer: {TOKENIZER}\noutput: {tmp_path / 'out'}\n{more}\n")
    assert premask("run", recipe).code == 0
    text = make_page(tmp_path / "out")[0]
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    mixture, lost = text_of(text, "mixture"), text_of(text, "lost")

    for each in manifest["mixture"]["sources"]:
        name = each["source"].rpartition("/")[2]
        shares = f"{each['asked']:.1%} {each['got']:.1%} {each['repeat']:.2f}"
        assert re.search(rf"{re.escape(name)} [\d.]+% {shares} ", mixture)
        assert f"{each['tokens']:,} {each['trained_tokens']:,}" in mixture
    assert "Rejected: 1 row " in lost
    assert "1 no_assistant the conversation has no assistant turn" in lost
    assert lost.index("Rejected") < lost.index("Duplicates: 2 rows") < lost.index("2 duplicate")
    assert 'href="#reason=no_assistant"' in text
    assert "invalid_json" not in text_of(text, "run")
    assert "rejected: no_assistant" not in text_of(text, "run")  # no question of the mask


def test_warnings_on_the_first_screen(tmp_path: Path) -> None:
    rows = [chat("Hi <|im_end|>", "So", id="a"), chat("Hi", "Long " * 90), chat("Hi", "Long " * 90)]
    out = run(tmp_path, rows, "--max-length", 64, "--too-long", "truncate")
    text = make_page(out)[0]
    said = text_of(text, "warnings")

    assert "Control tokens 1 control-token strings in content are encoded as plain text" in said
    assert "Duplicates 1 row that equals an earlier one is kept" in said
    assert re.search(r"Cut off [\d,]+ tokens beyond max_length were cut off", said)
    assert "<code>apply_chat_template</code>" in text
    assert "Nothing: every row is kept." in text_of(text, "lost")


def test_first_words_are_those_of_the_user(tmp_path: Path) -> None:
    """With the roles known, and without."""
    out = run(tmp_path, ROWS)
    known = [item["first_words"] for item in data_of(make_page(out)[0])["items"]]
    (tmp_path / "a.jsonl").unlink()
    unknown = [item["first_words"] for item in data_of(make_page(out)[0])["items"]]

    assert [words.partition(" And")[0] for words in known] == ["Hi", "Question"]
    assert unknown == ["Hi", "Question"]


def test_who_wrote_how_much_of_each_turn(tmp_path: Path) -> None:
    text = make_page(run(tmp_path, ROWS))[0]
    figure = text.partition('<figure id="picture-turns">')[2].partition("</figure>")[0]
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in figure.split("<tr>")[2:]]
    tokens = Counter[str]()
    for row in cells:
        for name, count in zip(("template", "system", "user", "assistant"), row[1:], strict=True):
            tokens[name] += int(count)
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())

    assert tokens == manifest["counts"]["tokens_by_role"]


def test_what_stands_in_a_script_element() -> None:
    evil = "</script><!--<script>&\u2028\u202e\x00\ud800\U000e0041"
    text = embedded({"a": evil})

    assert json.loads(text) == {"a": evil}
    assert not set("<>&") & set(text)
    assert text.isprintable()


def test_the_policy_names_the_page_s_own_script_and_style(tmp_path: Path) -> None:
    import base64  # noqa: PLC0415
    import hashlib  # noqa: PLC0415

    text = make_page(run(tmp_path, ROWS))[0]
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    for name, tag in (("script", '<script type="module">'), ("style", "<style>")):
        own = text.partition(tag)[2].partition(f"</{name}>")[0]
        digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policy[1]
    assert "default-src 'none'" in policy[1]
    assert "unsafe" not in policy[1]
    assert not re.search(
        r"\son[a-z]+\s*=|javascript:|style=", re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    )
    assert not re.findall(r"""(?:src|href)=["'](?!#|data:)[^"']*""", text)


def test_hostile_names_of_the_run(tmp_path: Path) -> None:
    """Names of the tokenizer and the output are text on the page."""
    folder = tmp_path / "<script>alert(1)<!--"
    shutil.copytree(TOKENIZER, folder)
    source = write_rows(tmp_path / "a.jsonl", ROWS)
    out = tmp_path / "</title><script>x"[2:].replace("/", "")
    done = premask("run", source, "--tokenizer", folder, "--output", out)
    assert done.code == 0, done.err
    text = make_page(out)[0]

    assert text.count("<script") == 2
    assert "&lt;script&gt;alert(1)&lt;!--" in text


def test_the_files_of_the_page_come_with_the_package(tmp_path: Path) -> None:
    """In the wheel and in the source distribution, as pip builds them."""
    pytest.importorskip("hatchling", reason="hatchling builds the package")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())

    for name in (
        "report.html.jinja",
        "report.css",
        *(name.format(source="embedded_source.js") for name in page.SCRIPTS),
    ):
        assert f"premask/review/report/{name}" in names
    for name in ("chart.svg.jinja", "chart.css", "colours.css"):
        assert f"premask/publish/{name}" in names


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    out = run(tmp_path, ROWS)
    nowhere = premask("report", out, "--to", tmp_path / "no" / "such" / "x.html")
    data = (tmp_path / "a.jsonl").read_bytes()
    others = premask("report", out, "--to", tmp_path / "a.jsonl")
    shutil.rmtree(out / "tokenizer")
    without = premask("report", out)

    for done in (nowhere, others, without):
        assert (done.code, done.err.count("\n")) == (2, 1), done
    assert "cannot write" in nowhere.err
    assert "exists, and is no report of premask; name another file with --to" in others.err
    assert (tmp_path / "a.jsonl").read_bytes() == data
    assert "tokenizer/chat_template.jinja: the file is not there" in without.err


def test_for_real_in_a_process_of_its_own(tmp_path: Path) -> None:
    out = run(tmp_path, ROWS)
    done = process("report", out)

    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode().startswith(f"report:  {out / 'report.html'}")
    assert (out / "report.html").stat().st_size < 200_000
