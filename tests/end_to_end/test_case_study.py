"""The case study: its data, recipes and results; and the benchmarks that train."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from places import ROOT
from premask.core.recipe_file import load_recipe

STUDY = ROOT / "examples" / "case_study"
BENCHMARKS = ROOT / "benchmarks"
FOLDERS = [str(STUDY), str(ROOT / "examples")]


@pytest.fixture(scope="module", autouse=True)
def _modules_of_the_study() -> Iterator[None]:
    """Scripts import what lies beside them; afterwards nothing else finds their modules."""
    before = set(sys.modules)
    sys.path[:0] = FOLDERS
    yield
    for folder in FOLDERS:
        while folder in sys.path:
            sys.path.remove(folder)
    for name in set(sys.modules) - before:
        where = getattr(sys.modules[name], "__file__", None)
        if where and str(Path(where).parent) in FOLDERS:
            del sys.modules[name]


def script(path: Path, *words: object) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "pipeline"),
        "OMP_NUM_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    command = [sys.executable, str(path), *map(str, words)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def made_sets() -> list[str]:
    return ["entities", "long-answers"]


def lengths(rows: list[dict[str, Any]], role: str) -> int:
    return sum(len(turn["value"]) for row in rows for turn in row["conversations"] if turn["from"] == role)


# ==== Data ====


@pytest.mark.parametrize("name", made_sets())
def test_the_same_seed_makes_the_same_rows(name: str) -> None:
    from conversations import conversations, documents

    for make in (conversations, documents):
        assert make(name, 20, seed=1) == make(name, 20, seed=1)
        assert make(name, 20, seed=1) != make(name, 20, seed=2)


@pytest.mark.parametrize("name", ["entities", "universal-ner", "long-answers"])
def test_rows_differ_and_no_document_is_asked_about(name: str) -> None:
    from conversations import available, conversations, documents

    if name not in available():
        pytest.skip("the conversations of Universal-NER are not here")
    rows, texts = conversations(name, 800, seed=0), documents(name, 800, seed=0)
    asked = {json.dumps(row) for row in rows}
    read = {row["conversations"][0]["value"] for row in texts}

    assert len(asked) == len(rows) == 800
    assert len(read) == len(texts) >= 800
    for row in rows:
        for turn in row["conversations"]:
            assert turn["value"].removeprefix("Text: ") not in read


def test_long_answers_are_four_times_as_long_as_their_questions() -> None:
    from conversations import conversations

    rows = conversations("long-answers", 500, seed=0)

    assert 3.6 <= lengths(rows, "gpt") / lengths(rows, "human") <= 4.4


def test_the_names_of_a_long_answer_are_those_of_its_question() -> None:
    from conversations import conversations

    for row in conversations("long-answers", 50, seed=0):
        question, answer = (turn["value"] for turn in row["conversations"])
        listed = question.partition(" ")[2].rstrip(".").split(": ", 1)[1]
        names = [name for part in listed.split("; ") for name in part.rpartition(": ")[2].split(", ")]

        assert len(names) >= 2
        assert all(name in answer for name in names)


def test_answers_about_entities_are_short_true_and_mostly_empty() -> None:
    from conversations import conversations

    rows = conversations("entities", 500, seed=0)
    answers = [
        (row["conversations"][0]["value"], json.loads(turn["value"]))
        for row in rows
        for turn in row["conversations"][3::2]
    ]

    assert lengths(rows, "gpt") < 0.1 * lengths(rows, "human")
    assert 0.6 < sum(names == [] for _, names in answers) / len(answers) < 0.9
    assert all(name in text for text, names in answers for name in names)


# ==== Recipes and results ====


@pytest.mark.parametrize("name", ["pile_ner.yaml", "deita.yaml"])
def test_recipes_of_the_real_thing_are_valid(name: str) -> None:
    recipe = load_recipe(STUDY / name)

    assert [str(source.path).count("/") for source in recipe.sources] == [1]  # OWNER/NAME
    assert list(recipe.splits) == ["validation"]
    assert f"premask run examples/case_study/{name}" in (STUDY / "README.md").read_text(encoding="utf-8")


def test_the_table_is_that_of_the_results() -> None:
    from figure import page, to_json

    text = (STUDY / "results.json").read_text(encoding="utf-8")
    results = json.loads(text)

    assert to_json(results) == text
    assert (STUDY / "RESULTS.md").read_text(encoding="utf-8") == page(results)


def test_every_point_of_the_study_is_there() -> None:
    results = json.loads((STUDY / "results.json").read_text(encoding="utf-8"))
    sizes = results["sizes"]
    found = {
        (each["set"], each["start"], each["loss"], each["seed"]): each["curve"] for each in results["curves"]
    }

    assert {(name, start, loss, seed) for name in results["data"] for start in sizes["steps"]
            for loss in ("all", "assistant") for seed in sizes["seeds"]} == set(found)  # fmt: skip
    for (name, start, _, seed), curve in found.items():
        assert [step for step, _ in curve] == [
            *range(0, sizes["steps"][start], sizes["eval_every"]),
            sizes["steps"][start],
        ]
        assert curve[0] == found[name, start, "all", seed][0], "both ways start from the same weights"


def test_the_line_of_a_table() -> None:
    from figure import curves_of, row

    runs = [
        {"set": "x", "start": "base", "loss": loss, "curve": [[0, 9.0], [5, low], [10, last]]}
        for loss, low, last in [
            ("all", 3.0, 4.0),
            ("all", 4.0, 4.0),
            ("assistant", 2.0, 2.0),
            ("assistant", 4.0, 5.0),
        ]
    ]

    assert row(curves_of({"curves": runs}), "x", "base") == (
        "| x | from a pre-trained base | 10 | 4.000 (4.000 to 4.000) | 3.500 (2.000 to 5.000) | 12.5% "
        "| 3.500 (3.000 to 4.000) | 3.000 (2.000 to 4.000) | 1 of 2 |"
    )


def test_the_picture_is_that_of_the_results(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    done = script(STUDY / "figure.py", _as_runs(tmp_path / "runs"))

    assert done.returncode == 0, done.stderr
    drawn = (tmp_path / "runs" / "curves.svg").read_text(encoding="utf-8")
    assert (STUDY / "RESULTS.md").read_text(encoding="utf-8").endswith(done.stdout)
    for text in ("entities, from scratch", "loss on all tokens", "step"):
        assert text in drawn


def _as_runs(folder: Path) -> Path:
    """The results as the logs that they were read from."""
    results = json.loads((STUDY / "results.json").read_text(encoding="utf-8"))
    for each in results["curves"]:
        output = folder / each["set"] / f"{each['start']}-{each['loss']}-{each['seed']}"
        output.mkdir(parents=True)
        lines = [{"step": 1, "loss": 1.0}, *({"step": s, "eval_loss": loss} for s, loss in each["curve"])]
        (output / "log.jsonl").write_text(
            "".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8"
        )
    return folder


# ==== What trains ====


def test_the_heads_have_the_same_loss(tmp_path: Path) -> None:
    figures = tmp_path / "heads.json"
    done = script(
        BENCHMARKS / "heads.py", "--rounds", 1, "--length", 32, "--vocabulary", 512, "--hidden", 64,
        "--shares", "0.3", "--json", figures,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(figures.read_text(encoding="utf-8"))
    sparse, full = (found[f"30%, {head}"][0]["report"] for head in ("sparse", "full"))

    assert sparse["loss"] == pytest.approx(full["loss"], rel=1e-6)
    assert sparse["loss"] > 0
    assert [line.split(" | ")[0] for line in done.stdout.splitlines()[-2:]] == [
        "| 30%, sparse",
        "| 30%, full",
    ]


def test_gpu_check_runs_on_a_cpu_in_small() -> None:
    """All four checks, the case study among them: data, shards, base model and both ways of training."""
    done = script(BENCHMARKS / "gpu_check.py", "--device", "cpu", "--quick")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")]
    figures = {what: (ours, other) for what, ours, other, _ in lines[1:]}

    starts = ["tokens/s: packs", "ms a step, 10% trained", "ms a step, 50% trained"]
    starts += [
        "largest difference of scores, bfloat16, sdpa",
        "largest difference of scores, bfloat16, eager",
    ]
    starts += ["validation loss after 2 steps, entities"]
    assert len(figures) == len(starts)
    for (what, (ours, other)), start in zip(figures.items(), starts, strict=True):
        assert what.startswith(start)
        assert float(other.replace(",", "")) > 0, what
        if "difference" in what:
            assert float(ours) < float(other) / 10, "packed samples see each other"


def test_gpu_check_without_a_gpu_is_one_line() -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    done = script(BENCHMARKS / "gpu_check.py", "--keep")

    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "finds no GPU" in done.stderr


def test_a_split_of_the_study_shares_no_passage(tmp_path: Path) -> None:
    from study import QUICK, prepare

    counts = prepare("entities", tmp_path, QUICK)
    shards = {
        split: pq.ParquetDataset(list((tmp_path / "conversations" / "packed").glob(f"{split}-*"))).read()
        for split in ("train", "validation")
    }
    passages = {split: set(_passages(table)) for split, table in shards.items()}

    assert counts["conversations"]["rows"] == QUICK.rows == sum(map(len, passages.values()))
    assert passages["train"].isdisjoint(passages["validation"])
    assert counts["conversations"]["validation_rows"] == len(passages["validation"]) >= 3


def _passages(table: Any) -> Iterator[tuple[int, ...]]:
    """The ids of the first user turn of each sample."""
    for ids, sizes in zip(table["input_ids"].to_pylist(), table["seq_lengths"].to_pylist(), strict=True):
        for size in sizes:
            sample, ids = ids[:size], ids[size:]  # noqa: PLW2901  what is left
            yield tuple(sample[: sample.index(2)])  # up to <|im_end|>
