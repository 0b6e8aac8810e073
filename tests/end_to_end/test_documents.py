"""Documents beside chats in one run: what is trained of both, checked again, and the same for any workers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from commands import TOKENIZER, premask
from premask.core.contract import IGNORE_INDEX
from premask.output.dataset import open_dataset
from premask.output.read_samples import read_samples
from premask.tokens.tokenizer import load_tokenizer

EOS = "<|im_end|>"
TEXTS = [f"Once upon {i} times there was. " * (1 + i % 5) for i in range(20)]
LONG = "word " * 200
ODD = f"A text with {EOS} in it."


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe of 20 chats, and of 24 rows of documents: two are empty, one is a duplicate."""
    turns = [
        [{"role": "user", "content": f"q{i}"}, {"role": "assistant", "content": f"a{i}"}] for i in range(20)
    ]
    lines(tmp_path / "chats.jsonl", [{"messages": each} for each in turns])
    documents = [*TEXTS, ODD, LONG, "", "  ", TEXTS[3]]
    lines(tmp_path / "documents.jsonl", [{"text": text, "id": f"d{i}"} for i, text in enumerate(documents)])
    path = tmp_path / "recipe.yaml"
    path.write_text(
        f"sources:\n- {tmp_path}/chats.jsonl\n- {{path: {tmp_path}/documents.jsonl, dialect: document}}\n"
        f"tokenizer: {TOKENIZER}\noutput: {tmp_path}/out\nmax_length: 128\nlayout: [packed, unpacked]\n"
        "duplicates: drop\nverify: 0.5\nunit_rows: 8\nsplits: {validation: 0.3}\n",
        encoding="utf-8",
    )
    return path


def pieces(out: Path) -> dict[tuple[str, int], tuple[list[int], list[int]]]:
    """The ids and labels of the samples of documents, by id of the row and number in it."""
    found = {}
    for batch in read_samples(open_dataset(out)):
        origins = batch.origin.to_pylist()
        for origin, begin, length in zip(origins, batch.begin, batch.length, strict=True):
            own = slice(begin, begin + length)
            if origin["source"].endswith("documents.jsonl"):
                key = origin["id"], origin["sample"]
                found[key] = batch.ids[own].tolist(), batch.labels[own].tolist()
    return dict(sorted(found.items()))


def files_of(out: Path) -> dict[str, bytes]:
    return {
        file.relative_to(out).as_posix(): file.read_bytes()
        for file in sorted(out.rglob("*"))
        if file.is_file()
    }


def test_chats_and_documents_in_one_run(tmp_path: Path, recipe: Path) -> None:
    done = premask("run", recipe, "--too-long", "split")
    assert done.code == 0, done.err
    out, backend = tmp_path / "out", load_tokenizer(TOKENIZER).backend
    written, trained = dict[str, str](), dict[str, str]()
    for (row, number), (ids, labels) in pieces(out).items():
        assert labels == [IGNORE_INDEX, *ids[1:]], "nothing predicts the first token; all others are trained"
        written[row] = written.get(row, "") + decode(backend, ids)
        trained[row] = decode(backend, [label for label in labels if label != IGNORE_INDEX])
        assert number == 0 or row == f"d{len(TEXTS) + 1}", "only the long one is split"
    assert written == {f"d{i}": text + EOS for i, text in enumerate([*TEXTS, ODD, LONG])}
    assert all(text.endswith(EOS) for text in trained.values())

    manifest = json.loads((out / "manifest.json").read_text())
    counts = manifest["counts"]
    assert counts["samples_by_proof"] == {"document": 22, "inference": 20}
    assert counts["rejected_by_reason"] == {"nothing_trained": 2}
    assert (counts["duplicates"], counts["control_tokens_in_content"], counts["too_long_split"]) == (1, 1, 1)
    assert counts["trained_by_role"].keys() == {"assistant", "document", "template"}

    checked = premask("verify", out, "--full")
    assert checked.code == 0, checked.out + checked.err
    assert "44 rows redone" in checked.out


def decode(backend: Any, ids: list[int]) -> str:
    text: str = backend.decode(ids, skip_special_tokens=False)
    return text


def test_the_bytes_do_not_depend_on_workers_and_cache(tmp_path: Path, recipe: Path) -> None:
    cache, outputs = tmp_path / "cache", []
    for words in (["--workers", "1"], ["--workers", "2"], ["--cache", cache], ["--cache", cache]):
        assert premask("run", recipe, "--overwrite", *words).code == 0
        found = files_of(tmp_path / "out")
        outputs.append({name: held for name, held in found.items() if name.endswith(".parquet")})
    assert outputs[0]
    assert all(each == outputs[0] for each in outputs)


def test_what_people_see_of_documents(tmp_path: Path, recipe: Path) -> None:
    assert premask("run", recipe).code == 0
    explained = premask("explain", recipe, "--row", "20")
    assert "document:0" in explained.out
    assert "documents, trained as a whole" in (tmp_path / "out" / "README.md").read_text()
    assert "mask proof  document: 21 samples" in premask("stats", tmp_path / "out").out
    page = tmp_path / "page.html"
    assert premask("report", tmp_path / "out", "--to", page).code == 0
    assert "role-document" in page.read_text()
