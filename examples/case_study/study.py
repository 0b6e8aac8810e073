"""Does it help to train on the assistant's tokens alone? The same small model, trained both ways.

    python examples/case_study/study.py                     all of it, into out/case-study
    python examples/case_study/study.py --quick             two minutes, for looking only
    python examples/case_study/study.py --keep              puts results and picture beside this file, too

For each set of `conversations.py` a tokenizer is trained, `premask run` makes shards with a validation split
(by the first user turn: no text is on both sides), and `premask train` runs as

    start from            a new model; a base model, pre-trained on documents of the same kind
    with loss on          all tokens (`--train-on all`); the assistant's tokens (`--train-on assistant`)
    for each seed         of the new weights and of the order of the rows

Two runs that differ in nothing but `--train-on` start from the same weights and see the same rows in the same
order. What is compared is the loss on the assistant's tokens of the validation split, which is what
`premask train` logs as `eval_loss`. All runs of a set start from one base model, as all users of a released
model do, so with it the seeds differ in the order of rows alone.

Each run takes one thread, `--jobs` of them at a time; a study that was interrupted goes on where it stopped. It
takes some 20 minutes of CPU. On a GPU the same commands run there.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import itertools
import json
import multiprocessing
import os
import platform
import shutil
import sys
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import premask
from conversations import HERE, Row, available, conversations, documents
from figure import LOSSES, read_runs, write
from premask.core.recipe_file import make_recipe
from premask.running.run import run

ROOT = HERE.parents[1]
OUTPUT = ROOT / "out" / "case-study"


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How large a study is. `batch_size` counts packs of `max_length` tokens; `rows` and `documents` are made,
    of which the packs of all steps may not need all."""

    seeds: tuple[int, ...] = (0, 1, 2)
    rows: int = 2400
    documents: int = 1500
    validation: dict[str, float] = field(default_factory=lambda: {"universal-ner": 0.05})
    """Share of the rows that are held out, where it is not 0.02."""
    vocabulary: int = 1024
    hidden: int = 96
    layers: int = 3
    max_length: int = 768
    batch_size: int = 1
    base_steps: int = 600
    steps: dict[str, int]
    eval_every: int = 30
    scratch_rate: float = 2e-3
    base_rate: float = 5e-4


FULL = Sizes(steps={"scratch": 240, "base": 240})
QUICK = Sizes(
    seeds=(0,), rows=300, documents=200, validation={}, vocabulary=1024, hidden=32, layers=2, base_steps=20,
    steps={"scratch": 16, "base": 16}, eval_every=4,
)  # fmt: skip


# ==== Data, tokenizer, model ====


def prepare(name: str, folder: Path, sizes: Sizes) -> dict[str, Any]:
    """Write the shards of a set, its tokenizer and the config of its model; returns what they hold."""
    made = {
        "conversations": conversations(name, sizes.rows, seed=0),
        "documents": documents(name, sizes.documents, seed=0),
    }
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = folder / "tokenizer"
    write_tokenizer(tokenizer, [*made["documents"], *made["conversations"]], sizes.vocabulary)
    write_config(folder / "config", sizes)
    share = sizes.validation.get(name, 0.02)
    counts = {}
    for kind, rows in made.items():
        source = folder / f"{kind}.jsonl"
        source.write_text(
            "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8"
        )
        recipe = {
            "sources": [str(source)],
            "tokenizer": str(tokenizer),
            "max_length": sizes.max_length,
            "too_long": "truncate",
            "splits": {"validation": share} if kind == "conversations" else {},
            "output": str(folder / kind),
        }
        counts[kind] = about(run(make_recipe(recipe), overwrite=True).manifest, len(rows))
    return counts


def write_tokenizer(folder: Path, rows: Sequence[Row], size: int) -> None:
    """Train a tokenizer like that of the sample on the texts of some rows."""
    from build_sample import CHAT_TEMPLATE, tokenizer_config, train_tokenizer

    texts = [message["value"] for row in rows for message in row["conversations"]]
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.json").write_text(train_tokenizer(texts, size).to_str(), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config()), encoding="utf-8")
    shutil.copy(CHAT_TEMPLATE, folder / "chat_template.jinja")


def write_config(folder: Path, sizes: Sizes) -> None:
    """Write the config of a Qwen3 of this size."""
    from transformers import Qwen3Config

    heads = sizes.hidden // 32
    Qwen3Config(
        vocab_size=sizes.vocabulary,
        hidden_size=sizes.hidden,
        intermediate_size=3 * sizes.hidden,
        num_hidden_layers=sizes.layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        head_dim=32,
        max_position_embeddings=sizes.max_length,
        tie_word_embeddings=True,
    ).save_pretrained(folder)


def about(manifest: dict[str, Any], rows: int) -> dict[str, Any]:
    """What a table says of an output."""
    counts = manifest["counts"]
    held = counts.get("splits", {}).get("validation", {})
    return {
        "rows": rows,
        "tokens": counts["tokens"],
        "trained_tokens": counts["trained_tokens"],
        "validation_rows": held.get("samples", 0),
        "validation_trained_tokens": held.get("trained_tokens", 0),
    }


# ==== Runs ====


@dataclass(frozen=True)
class Training:
    """One run of `premask train`: where it writes, and its words."""

    output: Path
    words: tuple[str, ...]


def base_training(folder: Path, sizes: Sizes) -> Training:
    """The pre-training of a set, on all tokens of its documents."""
    words = [folder / "documents", "--model", folder / "config", "--from-scratch", "--seed", 0]
    words += ["--steps", sizes.base_steps, "--learning-rate", sizes.scratch_rate]
    return _training(folder / "base", words, sizes)


def trainings(folder: Path, sizes: Sizes) -> dict[tuple[str, str, int], Training]:
    """All runs of a set, by start, loss and seed."""
    models = {
        "scratch": ["--model", folder / "config", "--from-scratch", "--learning-rate", sizes.scratch_rate],
        "base": ["--model", folder / "base" / "model", "--learning-rate", sizes.base_rate],
    }
    found = {}
    for start, loss, seed in itertools.product(sizes.steps, LOSSES, sizes.seeds):
        words = [folder / "conversations", *models[start], "--steps", sizes.steps[start]]
        words += ["--train-on", loss, "--seed", seed]
        found[start, loss, seed] = _training(folder / f"{start}-{loss}-{seed}", words, sizes)
    return found


def _training(output: Path, words: Sequence[object], sizes: Sizes) -> Training:
    more = ["--batch-size", sizes.batch_size, "--eval-every", sizes.eval_every]
    more += ["--save-every", 0, "--log-every", 10, "--output", output]
    return Training(output, tuple(map(str, [*words, *more])))


def train(training: Training) -> str:
    """Run `premask train` in this process; what it prints goes to a file beside its output."""
    from premask import train as command

    log = training.output.with_suffix(".txt")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as stream, contextlib.redirect_stdout(stream):
        print("premask train", *training.words)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            code = command.main(list(training.words), "premask train")
    if code == 130:
        raise KeyboardInterrupt
    if code:
        raise RuntimeError(f"premask train {' '.join(training.words)} ended with code {code}; see {log}")
    return "/".join(training.output.parts[-2:])


def train_all(todo: Sequence[Training], jobs: int) -> Iterator[str]:
    """Do several runs, `jobs` at a time, and yield the name of each that is done."""
    if jobs == 1:
        _one_thread()
        yield from map(train, todo)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_one_thread) as pool:
        yield from pool.map(train, todo)


def _one_thread() -> None:
    """One thread a run, so that the figures do not depend on the number of cores."""
    import torch

    torch.set_num_threads(1)


# ==== The study ====


def study(names: Sequence[str], folder: Path, sizes: Sizes, jobs: int) -> dict[str, Any]:
    """Do everything for these sets; returns the results, as `results.json` has them."""
    _note(f"sets: {', '.join(names)}; {len(sizes.seeds)} seeds, {jobs} runs at a time; in {folder}")
    data = {name: prepare(name, folder / name, sizes) for name in names}
    todo = []
    if "base" in sizes.steps:
        todo += [base_training(folder / name, sizes) for name in names]
        for done in train_all(todo, jobs):
            _note(f"{done} is trained")
    runs = {name: trainings(folder / name, sizes) for name in names}
    order = [(seed, each) for found in runs.values() for (_, _, seed), each in found.items()]
    todo = [each for _, each in sorted(order, key=lambda one: one[0])]  # a seed is complete before the next
    for i, done in enumerate(train_all(todo, jobs), 1):
        _note(f"{done} is trained ({i} of {len(todo)})")
    return {
        "made": datetime.datetime.now(tz=datetime.timezone.utc).date().isoformat(),
        "versions": versions(),
        "sizes": asdict(sizes),
        "data": data,
        "curves": [each for each in read_runs(folder) if each["set"] in names],
    }


def versions() -> dict[str, str]:
    """What the runs were made with."""
    import torch
    import transformers

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu, {platform.machine()}"
    return {
        "device": device,
        "premask": premask.__version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def _note(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def main() -> None:
    """Run the study, and write results, table and picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small and short, for looking only")
    parser.add_argument("--sets", default=",".join(available()), help="with commas")
    parser.add_argument("--seeds", type=int, default=0, help="only the first so many seeds")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at a time")
    parser.add_argument("--output", type=Path, help="default: out/case-study, with --quick a folder in it")
    parser.add_argument("--keep", action="store_true", help="put the results beside this file, too")
    options = parser.parse_args()
    if options.quick and options.keep:
        parser.error("--quick is for looking only: nothing of it is kept")
    sizes = QUICK if options.quick else FULL
    sizes = replace(sizes, seeds=sizes.seeds[: options.seeds or None])
    folder = options.output or (OUTPUT / "quick" if options.quick else OUTPUT)
    try:
        results = study(options.sets.split(","), folder, sizes, options.jobs)
    except KeyboardInterrupt:
        _note("interrupted; start it again to go on")
        sys.exit(130)

    for place in [folder, *([HERE] if options.keep else [])]:
        write(results, place)
        _note(f"{place / 'RESULTS.md'}, results.json and curves.svg are written")


if __name__ == "__main__":
    main()
