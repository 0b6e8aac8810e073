"""Rows of tokens and trajectories beside chats and documents in one run: what is trained of them, the columns
of an output, rows that are refused, and an output that is read again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import TOKENIZER, premask
from premask.core.contract import IGNORE_INDEX
from premask.output.dataset import open_dataset
from premask.output.read_samples import read_samples
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

EOS = "<|im_end|>"
Row = dict[str, Any]


BACKEND = Tokenizer.from_file(f"{TOKENIZER}/tokenizer.json")


def ids(text: str) -> list[int]:
    found: list[int] = BACKEND.encode(text, add_special_tokens=False).ids
    return found


def lines(path: Path, rows: list[Row]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def labelled(prompt: str, answer: str) -> Row:
    before, after = ids(prompt), ids(answer)
    return {"input_ids": before + after, "labels": [IGNORE_INDEX] * len(before) + after}


def sampled(prompt: str, answer: str) -> Row:
    before, after = ids(prompt), ids(answer + EOS)
    logprobs = [-(at / 4) for at in range(len(after))]  # the first is -0.0
    texts = {"prompt": prompt, "completion": answer}
    return {"prompt_ids": before, "completion_ids": after, "logprobs": logprobs, **texts, "advantages": 0.5}


TOKENS = [labelled(f"What is {i}? 🙂", f" It is é {i}{EOS}") for i in range(20)]
SAMPLED = [sampled(f"Say {i}.", f"{i}! 🙂") for i in range(20)]
WRONG = [
    ({**TOKENS[0], "input_ids": [1 << 20, *TOKENS[0]["input_ids"][1:]]}, "bad_tokens"),
    ({**TOKENS[0], "labels": TOKENS[0]["labels"][1:]}, "bad_tokens"),
    ({**TOKENS[0], "labels": [-100] * len(TOKENS[0]["labels"])}, "nothing_trained"),
    (labelled("word " * 200, "end"), "too_long"),
    ({**TOKENS[1], "loss_weights": [0.5] * len(TOKENS[1]["labels"])}, "unsupported_weight"),
]
WRONG_SAMPLED = [
    ({**SAMPLED[0], "logprobs": SAMPLED[0]["logprobs"][1:]}, "bad_tokens"),
    ({**SAMPLED[0], "logprobs": [0.5, *SAMPLED[0]["logprobs"][1:]]}, "bad_tokens"),
    ({key: field for key, field in SAMPLED[0].items() if key != "logprobs"}, "bad_tokens"),
    ({**SAMPLED[0], "completion": "1! 🙂"}, "text_mismatch"),
    ({**SAMPLED[0], "completion_ids": []}, "nothing_trained"),
]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe of 20 rows of each kind, and rows that are refused."""
    turns = [
        [{"role": "user", "content": f"q{i}"}, {"role": "assistant", "content": f"a{i}"}] for i in range(20)
    ]
    lines(tmp_path / "chats.jsonl", [{"messages": each} for each in turns])
    lines(tmp_path / "documents.jsonl", [{"text": f"Once upon {i} times."} for i in range(20)])
    lines(tmp_path / "tokens.jsonl", [*TOKENS, *(row for row, _ in WRONG), TOKENS[3]])
    lines(tmp_path / "sampled.jsonl", [*SAMPLED, *(row for row, _ in WRONG_SAMPLED)])
    path = tmp_path / "recipe.yaml"
    path.write_text(
        f"sources:\n- {tmp_path}/chats.jsonl\n- {{path: {tmp_path}/documents.jsonl, dialect: document}}\n"
        f"- {tmp_path}/tokens.jsonl\n- {{path: {tmp_path}/sampled.jsonl, dialect: trajectory}}\n"
        f"tokenizer: {TOKENIZER}\noutput: {tmp_path}/out\nmax_length: 128\nlayout: [packed, unpacked]\n"
        "duplicates: drop\nverify: 0.5\nunit_rows: 8\nsplits: {validation: 0.3}\n"
        "token_columns: [logprobs, advantages]\n",
        encoding="utf-8",
    )
    return path


def samples(out: Path) -> dict[tuple[str, int], tuple[list[int], list[int]]]:
    """The ids and labels of all samples, by the name of their file and the row."""
    found = {}
    for batch in read_samples(open_dataset(out)):
        origins = batch.origin.to_pylist()
        for origin, begin, length in zip(origins, batch.begin, batch.length, strict=True):
            own = slice(begin, begin + length)
            found[Path(origin["source"]).name, origin["row"]] = (
                batch.ids[own].tolist(),
                batch.labels[own].tolist(),
            )
    return found


def parquet(out: Path) -> dict[str, bytes]:
    return {each.relative_to(out).as_posix(): each.read_bytes() for each in sorted(out.rglob("*.parquet"))}


def test_all_kinds_of_rows_in_one_run(tmp_path: Path, recipe: Path) -> None:
    done = premask("run", recipe)
    assert done.code == 0, done.err
    found = samples(tmp_path / "out")
    for number, row in enumerate(TOKENS):
        assert found["tokens.jsonl", number] == (row["input_ids"], row["labels"])
    for number, row in enumerate(SAMPLED):
        before, after = row["prompt_ids"], row["completion_ids"]
        assert found["sampled.jsonl", number] == (before + after, [IGNORE_INDEX] * len(before) + after)
    counts = json.loads((tmp_path / "out" / "manifest.json").read_text())["counts"]
    assert counts["samples_by_proof"] == dict.fromkeys(("document", "inference", "tokens", "trajectory"), 20)
    reasons = [reason for _, reason in WRONG + WRONG_SAMPLED]
    assert counts["rejected_by_reason"] == {reason: reasons.count(reason) for reason in reasons}
    assert counts["duplicates"] == 1
    assert counts["trained_by_role"]["tokens"] == sum(
        label != IGNORE_INDEX
        for (name, _), (_, labels) in found.items()
        for label in labels
        if name in ("tokens.jsonl", "sampled.jsonl")
    )
    checked = premask("verify", tmp_path / "out", "--full")
    assert checked.code == 0, checked.out + checked.err
    assert "90 rows redone" in checked.out


def test_the_columns_that_load_dataset_gives(tmp_path: Path, recipe: Path) -> None:
    datasets = pytest.importorskip("datasets")
    assert premask("run", recipe).code == 0
    out = tmp_path / "out"
    rows = datasets.load_dataset(
        str(out), "unpacked", split="train+validation", cache_dir=str(tmp_path / "c")
    )
    packs = datasets.load_dataset(str(out), "packed", split="train+validation", cache_dir=str(tmp_path / "c"))
    assert rows.column_names == [
        *("input_ids", "labels", "attention_mask", "length"),
        "logprobs",
        "advantages",
    ]
    by_ids = {tuple(row["input_ids"]): row for row in rows}
    assert len(by_ids) == 80
    for row in SAMPLED:
        before = [0.0] * len(row["prompt_ids"])
        one = by_ids[tuple(row["prompt_ids"] + row["completion_ids"])]
        assert one["logprobs"] == before + row["logprobs"]
        assert one["advantages"] == before + [0.5] * len(row["completion_ids"])
    for row in TOKENS:
        found = np.array(by_ids[tuple(row["input_ids"])]["logprobs"], dtype=float)
        trained = np.array(row["labels"]) != IGNORE_INDEX
        assert np.isnan(found[trained]).all(), "nobody knows the log probability of these"
        assert not found[~trained].any()
    names = ("input_ids", "labels", "logprobs")
    flat = {name: np.concatenate([np.array(each[name], float) for each in packs]) for name in names}
    trained = flat["labels"] != IGNORE_INDEX
    assert len(flat["logprobs"]) == len(flat["input_ids"])
    assert not flat["logprobs"][~trained].any()
    numbers = sorted(each for row in SAMPLED for each in row["logprobs"])
    assert sorted(flat["logprobs"][trained & ~np.isnan(flat["logprobs"])].tolist()) == numbers


def test_the_bytes_do_not_depend_on_workers_and_cache(tmp_path: Path, recipe: Path) -> None:
    cache, outputs = tmp_path / "cache", []
    for words in (["--workers", "1"], ["--workers", "2"], ["--cache", cache], ["--cache", cache]):
        assert premask("run", recipe, "--overwrite", *words).code == 0
        outputs.append(parquet(tmp_path / "out"))
    assert outputs[0]
    assert all(each == outputs[0] for each in outputs)


def test_numbers_follow_their_tokens_through_a_shuffle_and_cut_samples(tmp_path: Path, recipe: Path) -> None:
    words = ("--overwrite", "--shuffle", "--too-long", "split", "--max-length", "6", "--loss-weights")
    done = premask("run", recipe, *words)
    assert done.code == 0, done.err
    found = dict[tuple[str, int, int], list[float]]()
    for batch in read_samples(open_dataset(tmp_path / "out")):
        for origin, begin, length in zip(batch.origin.to_pylist(), batch.begin, batch.length, strict=True):
            key = Path(origin["source"]).name, origin["row"], origin["sample"]
            found[key] = batch.labels[begin : begin + length].tolist()
    assert any(sample for _, _, sample in found), "some samples are cut"
    checked = premask("verify", tmp_path / "out", "--full")
    assert checked.code == 0, checked.out + checked.err


def test_an_output_that_is_read_again_gives_the_same_samples(tmp_path: Path, recipe: Path) -> None:
    assert premask("run", recipe, "--loss-weights").code == 0
    first = samples(tmp_path / "out")
    rows = sorted((tmp_path / "out").glob("unpacked/*.parquet")) or sorted(
        (tmp_path / "out").rglob("unpacked/*")
    )
    words = (
        "--tokenizer",
        TOKENIZER,
        "--output",
        tmp_path / "again",
        "--max-length",
        "128",
        "--loss-weights",
    )
    done = premask(
        "run",
        *rows,
        *words,
        "--layout",
        "packed",
        "--layout",
        "unpacked",
        "--token-columns",
        "logprobs",
        "--token-columns",
        "advantages",
    )
    assert done.code == 0, done.err
    again = samples(tmp_path / "again")
    assert sorted(first.values()) == sorted(again.values())
    assert premask("verify", tmp_path / "again", "--full").code == 0
    columns = [
        sorted(zip(*(repr_of(each, out) for each in ("input_ids", "logprobs", "loss_weights")), strict=True))
        for out in (tmp_path / "out", tmp_path / "again")
    ]
    assert columns[0] == columns[1]


def repr_of(column: str, out: Path) -> list[str]:
    pq = pytest.importorskip("pyarrow.parquet")
    return [
        str(each)
        for path in sorted(out.rglob("unpacked/*"))
        for each in pq.read_table(path)[column].to_pylist()
    ]


def test_a_number_that_was_changed_is_found(tmp_path: Path, recipe: Path) -> None:
    pq, pa = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    assert premask("run", recipe, "--layout", "unpacked").code == 0
    for path in sorted((tmp_path / "out").rglob("unpacked/*.parquet")):
        table = pq.read_table(path)
        numbers = [[each - (each < 0) for each in row] for row in table["logprobs"].to_pylist()]
        at = table.schema.get_field_index("logprobs")
        changed = table.set_column(at, table.schema.field(at), pa.array(numbers, table.schema.field(at).type))
        pq.write_table(changed, path)
    checked = premask("verify", tmp_path / "out", "--full")
    assert checked.code == 1
    assert "when it is processed again" in checked.out


def test_what_people_see_of_tokens(tmp_path: Path, recipe: Path) -> None:
    assert premask("run", recipe).code == 0
    explained = json.loads(premask("explain", recipe, "--row", "3", "--format", "json").out.splitlines()[-1])
    (sample,) = explained["samples"]
    assert sample["text"] == f"Say 3.3! 🙂{EOS}"
    assert sample["tokens"]["origin"][-1] == "tokens:1"
    assert sample["tokens"]["logprobs"][-len(SAMPLED[3]["logprobs"]) :] == SAMPLED[3]["logprobs"]
    card = (tmp_path / "out" / "README.md").read_text()
    assert "rows of tokens, trained where they say" in card
    assert "`logprobs`" in card
    assert "tokens: 20 samples" in premask("stats", tmp_path / "out").out
    page = tmp_path / "page.html"
    assert premask("report", tmp_path / "out", "--to", page).code == 0
    assert "role-tokens" in page.read_text()
    shown = premask("rejects", tmp_path / "out")
    assert shown.code == 0
    assert "text_mismatch" in shown.out
    arrow = premask(
        "export", tmp_path / "out", tmp_path / "rows.jsonl", "--format", "jsonl", "--split", "train"
    )
    assert arrow.code == 0, arrow.err


def base_tokenizer(folder: Path) -> Path:
    """A base model's tokenizer, without a chat template, that puts a space before the first text only."""
    letters = ["<unk>", "<s>", "</s>", "\u2581", *"abcdefghijklmnopqrstuvwxyz.", "\u2581a", "\u2581o"]
    merges = [("\u2581", "a"), ("\u2581", "o")]
    tokenizer = Tokenizer(models.BPE({each: i for i, each in enumerate(letters)}, merges, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.add_special_tokens([AddedToken(each, special=True) for each in letters[:3]])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "unk_token": "<unk>"}))
    return folder


def test_documents_and_tokens_need_no_chat_template(tmp_path: Path) -> None:
    """The ids of a document are those of the tokenizer alone, also where it puts a space before a text."""
    folder, texts = base_tokenizer(tmp_path / "base"), ["a cat.", " a dog.", "one"]
    backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
    lines(tmp_path / "documents.jsonl", [{"text": text} for text in texts])
    lines(tmp_path / "tokens.jsonl", [{"input_ids": [1, 5, 6], "loss_mask": [0, 1, 1]}])
    path = tmp_path / "recipe.yaml"
    sources = [
        {"path": f"{tmp_path}/{name}.jsonl", "dialect": name.rstrip("s")} for name in ("documents", "tokens")
    ]
    sources[1]["dialect"] = "tokens"
    path.write_text(
        json.dumps({"sources": sources, "tokenizer": str(folder), "output": str(tmp_path / "out")})
    )
    done = premask("run", path)
    assert done.code == 0, done.err
    assert "template" not in done.err
    found = samples(tmp_path / "out")
    assert found["tokens.jsonl", 0] == ([1, 5, 6], [-100, 5, 6])
    for number, text in enumerate(texts):
        assert found["documents.jsonl", number][0] == [*backend.encode(text).ids, 2]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["template"]["name"] == "none"
    assert not list((tmp_path / "out" / "tokenizer").glob("chat_template*"))
    checked = premask("verify", tmp_path / "out", "--full")
    assert checked.code == 0, checked.out + checked.err

    sources.append({"path": str(lines(tmp_path / "chats.jsonl", [{"messages": []}])), "dialect": "openai"})
    path.write_text(
        json.dumps({"sources": sources, "tokenizer": str(folder), "output": str(tmp_path / "out")})
    )
    refused = premask("run", path, "--overwrite")
    assert refused.code == 2
    assert (
        "sources without chats need none, if each has its dialect: document, tokens, trajectory"
        in refused.err
    )
