"""Layouts of preferences in whole runs: what is kept and why not, the same bytes for any workers, checked again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import TOKENIZER, premask
from datasets import load_dataset
from premask.core.atomic_files import sha256_file
from premask.core.recipe_file import load_recipe
from premask.dialects import Form
from premask.fast.plain_batches import RowBatch
from premask.output.dataset import open_dataset
from premask.running.batches import BatchLabeller
from premask.running.run import run
from premask.tokens.tokenizer import load_tokenizer

EOS = "<|im_end|>"
PAIRS = 30


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def bot(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


TURNS = {
    "prompt": [user("begin")],
    "chosen": [bot("one"), user("go on"), bot("two")],
    "rejected": [bot("no"), user("why"), bot("so")],
}
REFUSED = [
    ({"prompt": "same", "chosen": "s", "rejected": "s"}, "same_sides"),
    ({"prompt": "one", "chosen": "s", "rejected": None}, "one_side"),
    ({"prompt": "empty", "chosen": "s", "rejected": " "}, "empty_assistant"),
    ({"chosen": [user("A"), bot("a")], "rejected": [user("B"), bot("a")]}, "prompts_differ"),
    ({"messages": [user("A"), bot("a")]}, "one_side"),
    ({"prompt": "long", "chosen": "s", "rejected": "w " * 300}, "too_long"),
]


def good(i: int) -> dict[str, Any]:
    return {
        "id": f"p{i}",
        "prompt": f"q{i}?",
        "chosen": f"good answer {i} " * (1 + i % 4),
        "rejected": f"bad {i}",
    }


ROWS = [*map(good, range(PAIRS)), TURNS, *(row for row, _ in REFUSED), {**good(1), "id": "again"}]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe of good and bad rows, of which the last one is a duplicate; small windows and units."""
    lines = "".join(f"{json.dumps(row)}\n" for row in ROWS)
    (tmp_path / "pairs.jsonl").write_text(lines, encoding="utf-8")
    path = tmp_path / "recipe.yaml"
    path.write_text(
        f"sources:\n- {{path: {tmp_path}/pairs.jsonl, repeat: 1.5}}\n"
        f"tokenizer: {TOKENIZER}\noutput: {tmp_path}/out\nmax_length: 128\nlayout: [preference]\n"
        "duplicates: drop\nverify: 0.5\nunit_rows: 8\npack_window: 256\nsplits: {validation: 0.2}\n",
        encoding="utf-8",
    )
    return path


def shards(out: Path) -> dict[str, bytes]:
    return {file.relative_to(out).as_posix(): file.read_bytes() for file in sorted(out.rglob("*.parquet"))}


def rows_of(out: Path, layout: str = "preference") -> list[dict[str, Any]]:
    found = load_dataset(str(out), layout)
    return [row for split in sorted(found) for row in found[split]]


def said(ids: list[int], mask: list[int] | None = None) -> str:
    kept = ids if mask is None else [token for token, trained in zip(ids, mask, strict=True) if trained]
    text: str = load_tokenizer(TOKENIZER).backend.decode(kept, skip_special_tokens=False)
    return text


def test_a_run(tmp_path: Path, recipe: Path) -> None:
    done = premask("run", recipe)
    assert done.code == 0, done.err
    assert "both sides of pairs" in done.out
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    counts, reasons = manifest["counts"], [reason for _, reason in REFUSED]
    assert counts["rejected_by_reason"] == {reason: reasons.count(reason) for reason in reasons}
    assert (counts["kept"], counts["dropped"]) == (PAIRS + 1, 1)
    rows = rows_of(tmp_path / "out")
    assert counts["samples"] == 2 * len(rows) > 2 * (PAIRS + 1), "some rows are there twice"

    texts = {said(row["prompt_ids"]): row for row in rows}
    for i in range(PAIRS):
        row = texts[f"<|im_start|>user\nq{i}?{EOS}\n<|im_start|>assistant\n"]
        chosen = good(i)["chosen"].strip()
        assert said(row["chosen_ids"]).removesuffix("\n").replace(f" {EOS}", EOS) == chosen + EOS
        assert said(row["rejected_ids"], row["rejected_mask"]) == f"bad {i}{EOS}"
    row = texts[f"<|im_start|>user\nbegin{EOS}\n<|im_start|>assistant\n"]
    assert said(row["chosen_ids"], row["chosen_mask"]) == f"one{EOS}two{EOS}"
    assert said(row["rejected_ids"], row["rejected_mask"]) == f"no{EOS}so{EOS}"
    assert "go on" in said(row["chosen_ids"])

    checked = premask("verify", tmp_path / "out", "--full")
    assert checked.code == 0, checked.out + checked.err


@pytest.mark.parametrize("layout", ["preference", "kto"])
@pytest.mark.parametrize("shuffle", [False, True])
def test_the_bytes_do_not_depend_on_workers_and_cache(
    tmp_path: Path, recipe: Path, layout: str, *, shuffle: bool
) -> None:
    cache, outputs = tmp_path / "cache", []
    for words in (["--workers", "1"], ["--workers", "2"], ["--cache", cache], ["--cache", cache]):
        more = "--overwrite", "--layout", layout, *(["--shuffle"] if shuffle else [])
        done = premask("run", recipe, *more, *words)
        assert done.code == 0, done.err
        outputs.append(shards(tmp_path / "out"))
    assert {name.split("/")[0] for name in outputs[0]} == {layout, "lineage", "rejects"}
    assert all(each == outputs[0] for each in outputs)
    checked = premask("verify", tmp_path / "out", "--full")
    assert checked.code == 0, checked.out + checked.err


def test_a_run_that_was_stopped_goes_on(
    tmp_path: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_recipe(recipe)
    run(settings)
    whole = shards(tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / "whole")
    began, real = list[int](), BatchLabeller.parts

    def dies(self: BatchLabeller, rows: RowBatch, dialect: Form) -> Any:
        began.append(int(rows.numbers[0]))
        if len(began) == 3:
            raise KeyboardInterrupt
        return real(self, rows, dialect)

    monkeypatch.setattr(BatchLabeller, "parts", dies)
    with pytest.raises(KeyboardInterrupt):
        run(settings)
    assert not (tmp_path / "out").exists()
    run(settings)
    assert began.count(began[0]) == 1, "a unit that is done is not done again"
    assert shards(tmp_path / "out") == whole


def test_the_cache_of_other_layouts_is_another_one(tmp_path: Path, recipe: Path) -> None:
    words = "--overwrite", "--cache", tmp_path / "cache", "--layout"
    for layout, samples in (("packed", PAIRS + 4), ("preference", 2 * (PAIRS + 1)), ("kto", 2 * (PAIRS + 1))):
        assert premask("run", recipe, *words, layout).code == 0
        counts = json.loads((tmp_path / "out" / "manifest.json").read_text())["counts"]
        assert counts["samples"] >= samples
        assert premask("verify", tmp_path / "out", "--full").code == 0


def test_answers_with_labels(tmp_path: Path) -> None:
    rows = [
        *({"prompt": f"q{i}", "completion": f"a{i}", "label": i % 3 > 0} for i in range(9)),
        {"messages": [user("q"), bot("old"), user("r"), bot("new")], "kto_tag": False},
        {"prompt": "p", "chosen": "c", "rejected": "r"},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    out = tmp_path / "out"
    assert premask("run", path, "--tokenizer", TOKENIZER, "--layout", "kto", "--output", out).code == 0
    found = rows_of(out, "kto")
    told = [(said(row["completion_ids"], row["completion_mask"]), row["label"]) for row in found]
    assert told == [
        *((f"a{i}{EOS}", i % 3 > 0) for i in range(9)),
        (f"new{EOS}", False),
        (f"c{EOS}", True),
        (f"r{EOS}", False),
    ]
    assert "old" in said(found[9]["prompt_ids"])
    assert premask("verify", out, "--full").code == 0


def test_what_people_see(tmp_path: Path, recipe: Path) -> None:
    assert premask("run", recipe).code == 0
    out = tmp_path / "out"
    explained = premask("explain", recipe, "--row", "0")
    assert "row 0 (id p0), chosen: " in explained.out
    assert "row 0 (id p0), rejected: " in explained.out
    shown = premask("show", out).out
    assert "sample 0, chosen" in shown
    assert "sample 1, rejected" in shown
    assert "inference: " in premask("stats", out).out
    card = (out / "README.md").read_text()
    assert "DPOTrainer" in card
    assert "`chosen_mask`" in card
    page = tmp_path / "page.html"
    assert premask("report", out, "--to", page).code == 0
    assert '"sides":["chosen","rejected"]' in page.read_text().replace(" ", "")


def test_an_export(tmp_path: Path, recipe: Path) -> None:
    assert premask("run", recipe).code == 0
    done = premask(
        "export", tmp_path / "out", tmp_path / "rows.jsonl", "--format", "jsonl", "--split", "train"
    )
    assert done.code == 0, done.err
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert rows == load_dataset(str(tmp_path / "out"), "preference", split="train").to_list()
    other = premask("export", tmp_path / "out", tmp_path / "other", "--layout", "unpacked")
    assert (other.code, other.err.count("\n")) == (2, 1)
    assert "preference alone" in other.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["layout: [preference, packed]"], "layout preference is written alone"),
        (["layout: [preference]", "loss_weights: true"], "no use for loss_weights"),
        (["layout: [kto]", "too_long: split"], "no use for too_long: split"),
        (["layout: [kto]", "pad_rows: to_length"], "no use for pad_rows"),
        (["layout: [preference]", "dialect: openai"], "no use for dialect: openai"),
        (["layout: [preference]", "fields: {user: a, assistant: b}"], "no use for fields"),
    ],
)
def test_recipes_without_a_meaning(tmp_path: Path, words: list[str], told: str) -> None:
    path = tmp_path / "recipe.yaml"
    lines = [f"sources: [{tmp_path}/a.jsonl]", f"tokenizer: {TOKENIZER}", f"output: {tmp_path}/out", *words]
    path.write_text("\n".join(lines), encoding="utf-8")
    done = premask("run", path)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert told in done.err


def test_turns_that_inference_renders_otherwise_are_no_preference(tmp_path: Path) -> None:
    template = tmp_path / "t.jinja"
    template.write_text(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role != 'assistant' or loop.last %}{{ m.content }}"
        "{% else %}{{ m.content | upper }}{% endif %}<|im_end|>{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    path = tmp_path / "a.jsonl"
    path.write_text(f"{json.dumps(TURNS)}\n{json.dumps(good(0))}\n")
    words = "--tokenizer", TOKENIZER, "--chat-template", template, "--layout", "preference"
    assert premask("run", path, *words, "--output", tmp_path / "out").code == 0
    told = premask("rejects", tmp_path / "out").out
    assert "prompt_mismatch" in told
    assert "chosen answer: it needs 2 texts" in told
    assert len(rows_of(tmp_path / "out")) == 1


def test_sides_of_which_only_the_last_turn_is_trained(tmp_path: Path) -> None:
    """What they say before differs, and is no part of the prompt."""
    path = tmp_path / "a.jsonl"
    path.write_text(f"{json.dumps(TURNS)}\n")
    words = "--tokenizer", TOKENIZER, "--layout", "preference", "--train", "turns=last"
    assert premask("run", path, *words, "--output", tmp_path / "out").code == 0
    (row,) = rows_of(tmp_path / "out")
    assert said(row["prompt_ids"]) == f"<|im_start|>user\nbegin{EOS}\n<|im_start|>assistant\n"
    assert said(row["chosen_ids"], row["chosen_mask"]) == f"two{EOS}"
    assert said(row["rejected_ids"], row["rejected_mask"]) == f"so{EOS}"
    assert premask("verify", tmp_path / "out", "--full").code == 0


def test_prompts_that_the_template_prints_otherwise(tmp_path: Path) -> None:
    """The prompt at inference tells whether there is reasoning: `auto` chooses it for each side."""
    template = tmp_path / "t.jinja"
    template.write_text(
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' and not enable_thinking %}"
        "<think></think>{% endif %}{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}"
        "{{ m.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
        "{% if not enable_thinking %}<think></think>{% endif %}{% endif %}"
    )
    thought = {**bot("c"), "reasoning_content": "Let me see."}
    rows = [
        {"prompt": [user("q")], "chosen": [thought], "rejected": [bot("r")]},
        {"prompt": [user("q")], "chosen": [bot("c")], "rejected": [bot("r")]},
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    words = "--tokenizer", TOKENIZER, "--chat-template", template, "--layout", "preference"
    done = premask(
        "run", path, *words, "--template-kwargs", "enable_thinking=auto", "--output", tmp_path / "out"
    )
    assert done.code == 0, done.err
    told = premask("rejects", tmp_path / "out").out
    assert "prompts_differ" in told
    assert "the prompt of the chosen answer ends with" in told
    assert len(rows_of(tmp_path / "out")) == 1
    assert premask("verify", tmp_path / "out", "--full").code == 0


def changed(out: Path, name: str, values: list[Any]) -> None:
    """Write a column of the first shard anew, and its hash into the manifest."""
    path = out / "preference" / "train-00000-of-00001.parquet"
    table = pq.read_table(path)
    at = table.schema.get_field_index(name)
    pq.write_table(
        table.set_column(at, table.schema.field(at), pa.array(values, table.schema.types[at])), path
    )
    manifest = json.loads((out / "manifest.json").read_text())
    for shard in manifest["shards"]:
        if shard["path"].startswith("preference/"):
            shard |= {"sha256": sha256_file(path), "bytes": path.stat().st_size}
            footer = pq.read_metadata(path)
            shard["raw_bytes"] = sum(
                footer.row_group(i).total_byte_size for i in range(footer.num_row_groups)
            )
    (out / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("column", ["rejected_mask", "prompt_ids", "length", "chosen_ids"])
def test_verify_finds_what_was_changed(tmp_path: Path, column: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(f"{json.dumps(good(i))}\n" for i in range(5)))
    out = tmp_path / "out"
    assert premask("run", path, "--tokenizer", TOKENIZER, "--layout", "preference", "--output", out).code == 0
    assert premask("verify", out, "--full").code == 0
    rows = open_dataset(out).shards("preference")
    assert len(rows) == 1
    values = pq.read_table(out / rows[0].path).column(column).to_pylist()
    first = values[2]
    values[2] = first + 1 if isinstance(first, int) else [first[0] ^ 1, *first[1:]]
    changed(out, column, values)
    checked = premask("verify", out, "--full")
    assert checked.code == 1
    assert "preference/train-00000-of-00001.parquet row 2" in checked.out
