"""Losses of TRL's trainers of preferences: on rows that TRL makes into ids, and on our layouts.

    python tests/support/preference_losses.py FOLDER        # prints one JSON object; see `main`

FOLDER holds `raw/` (rows as JSONL), `out/` (outputs of premask) and `work/`. One process for all: trainers take
seconds to import. The model is a random Llama of two layers in float32 on the CPU. The learning rate is high
enough that the losses move: before the first step the model is its own reference, and every loss is the same.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import trl
from datasets import Dataset, load_dataset
from premask.publish.trainer_lines import snippets
from trainer_losses import Bench
from transformers import AutoModelForCausalLM

STEPS = 6
PAIRS = 4
"""Rows of a batch."""


def settings(folder: Path) -> dict[str, Any]:
    return {
        "output_dir": str(folder / "runs"),
        "per_device_train_batch_size": PAIRS,
        "max_steps": STEPS,
        "learning_rate": 3e-3,
        "logging_steps": 1,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
        "seed": 1,
    }


def told(trainer: Any) -> list[dict[str, float]]:
    """What a trainer has logged of each step."""
    return [each for each in trainer.state.log_history if "loss" in each]


def on_raw(folder: Path, model: Path, name: str) -> list[dict[str, float]]:
    """TRL makes ids of rows by itself."""
    rows = [json.loads(line) for line in (folder / "raw" / f"{name}.jsonl").read_text().splitlines()]
    config, trainer = (
        getattr(trl, f"{'KTO' if name == 'kto' else 'DPO'}{what}") for what in ("Config", "Trainer")
    )
    made = trainer(
        model=str(model),
        train_dataset=Dataset.from_list(rows),
        args=config(max_length=None, **settings(folder)),
    )
    made.train()
    return told(made)


@contextmanager
def on_cpu(folder: Path) -> Iterator[None]:
    """TRL's settings are those of `settings`, unless lines set others."""
    names = ("DPOConfig", "KTOConfig")
    made = {name: partial(getattr(trl, name), **settings(folder)) for name in names}
    with mock.patch.multiple(trl, **made):
        yield


def on_layout(
    folder: Path, model: Path, output: str, layout: str, *, without: str = "", more: str = ""
) -> list[dict[str, float]]:
    """Our lines, as the docs and the card show them, or `without` one of them, or with `more` settings."""
    (lines,) = snippets([layout], dataset=str(folder / "out" / output), model=str(model))
    text = lines.text.replace(without, "").replace("max_length=None", f"max_length=None{more}")
    names: dict[str, Any] = {}
    with on_cpu(folder):
        exec(text, names)  # noqa: S102  lines of ours
    return told(names["trainer"])


def by_hand(folder: Path, model: Path, output: str) -> list[float]:
    """Sums of the log probabilities of the trained tokens, of all chosen and all rejected texts of the first
    batch of pairs in the order of the rows, on average; the texts run one by one."""
    rows = load_dataset(str(folder / "out" / output), "preference", split="train")
    net = AutoModelForCausalLM.from_pretrained(model).eval()
    found = []
    for side in ("chosen", "rejected"):
        sums = []
        for row in rows:
            ids = torch.tensor([row["prompt_ids"] + row[f"{side}_ids"]])
            mask = torch.tensor([0] * len(row["prompt_ids"]) + row[f"{side}_mask"])
            with torch.no_grad():
                logs = net(ids).logits[0, :-1].log_softmax(-1)
            sums.append(float(logs.gather(1, ids[0, 1:, None])[:, 0][mask[1:] == 1].sum()))
        found.append(sum(sums) / len(sums))
    return found


def main() -> None:
    folder = Path(sys.argv[1])
    bench = Bench(folder / "out" / "pairs", folder / "work")
    bench.make_model()
    own = partial(on_layout, folder, bench.model_path)
    found = {
        "dpo_raw": on_raw(folder, bench.model_path, "pairs"),
        "dpo_ours": own("pairs", "preference"),
        "dpo_ahead": own("pairs", "preference", more=", precompute_ref_log_probs=True"),
        "kto_raw": on_raw(folder, bench.model_path, "kto"),
        "kto_ours": own("kto", "kto"),
        "turns_ours": own("turns", "preference"),
        "turns_stock": own("turns", "preference", without="    data_collator=SideCollator(),\n"),
        "turns_by_hand": by_hand(folder, bench.model_path, "turns"),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
