"""TRL's trainers of preferences have the same losses on our layouts as on rows that they make into ids, where both
mask alike: single answers, and a template whose prompt the whole text begins with. In answers of several turns
only ours leaves out what others say. `python tests/publish/test_preference_lines.py` prints the losses.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from commands import ROOT, TOKENIZER, premask

NEEDED = ("torch", "transformers", "trl", "accelerate")
TOLERANCE, APART = 1e-5, 1e-3

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Nothing follows the end of a turn: TRL would train it."""


def said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def pairs() -> list[dict[str, Any]]:
    """Prompts of one to three turns, with two answers."""
    rows = []
    for i in range(24):
        earlier = [said("user", f"Say {i}."), said("assistant", f"{i}!")] if i % 3 == 0 else []
        system = [said("system", "Be kind.")] if i % 2 else []
        prompt = [*system, *earlier, said("user", f"What is {i} and {i + 1}?" * (1 + i % 2))]
        answers = f"It is {2 * i + 1}, my friend." * (1 + i % 3), f"No idea, ask {i} others."
        chosen, rejected = ([said("assistant", answer)] for answer in answers)
        rows.append({"prompt": prompt, "chosen": chosen, "rejected": rejected})
    return rows


def unpaired() -> list[dict[str, Any]]:
    """Each pair gives one answer, good or bad."""
    kinds = "chosen", "rejected"
    return [
        {"prompt": row["prompt"], "completion": row[kinds[i % 2]], "label": i % 2 == 0}
        for i, row in enumerate(pairs())
    ]


def turns() -> list[dict[str, Any]]:
    """Answers of two turns, with a user between: one batch."""
    between = said("user", "Are you sure, and why is that so? Tell me everything about it.")
    rows = pairs()[:4]
    return [
        {
            **row,
            **{
                key: [*row[key], between, said("assistant", f"{key} again")] for key in ("chosen", "rejected")
            },
        }
        for row in rows
    ]


def prepare(folder: Path) -> None:
    """Write rows, and what premask makes of them."""
    (folder / "raw").mkdir()
    (folder / "work").mkdir()
    template = folder / "plain.jinja"
    template.write_text(TEMPLATE, encoding="utf-8")
    for name, rows in (("pairs", pairs()), ("kto", unpaired()), ("turns", turns())):
        path = folder / "raw" / f"{name}.jsonl"
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
        layout = "kto" if name == "kto" else "preference"
        words = ["--tokenizer", TOKENIZER, "--chat-template", template, "--layout", layout]
        done = premask("run", path, *words, "--output", folder / "out" / name)
        assert done.code == 0, done.err


def measure(folder: Path) -> dict[str, Any]:
    prepare(folder)
    quiet = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "support" / "preference_losses.py", folder],
        env={
            **os.environ,
            **quiet,
            "HF_HOME": str(folder / "home"),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT / "pipeline"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)}: not installed (pip install -e '.[trainers]')")
    return measure(tmp_path_factory.mktemp("preferences"))


def losses(steps: list[dict[str, float]]) -> list[float]:
    return [step["loss"] for step in steps]


@pytest.mark.parametrize("trainer", ["dpo", "kto"])
def test_the_losses_are_those_of_rows_that_trl_makes_into_ids(trainer: str, measured: dict[str, Any]) -> None:
    raw, own = measured[f"{trainer}_raw"], measured[f"{trainer}_ours"]
    assert losses(own) == pytest.approx(losses(raw), abs=TOLERANCE)
    assert len(raw) == 6
    assert max(losses(raw)) - min(losses(raw)) > APART, "the losses move, so that a wrong mask would show"
    told = [name for name in raw[0] if name.startswith(("logps/", "rewards/"))]
    for one, other in zip(raw, own, strict=True):
        assert [other[name] for name in told] == pytest.approx([one[name] for name in told], abs=1e-3)


def test_log_probabilities_of_the_reference_can_be_computed_ahead(measured: dict[str, Any]) -> None:
    assert losses(measured["dpo_ahead"]) == pytest.approx(losses(measured["dpo_raw"]), abs=TOLERANCE)


def test_what_others_say_in_an_answer_is_not_trained(measured: dict[str, Any]) -> None:
    own, stock = measured["turns_ours"], measured["turns_stock"]
    first = [own[0]["logps/chosen"], own[0]["logps/rejected"]]
    assert first == pytest.approx(measured["turns_by_hand"], abs=1e-3)
    assert abs(stock[0]["logps/chosen"] - own[0]["logps/chosen"]) > 1, "TRL's collator has a mask now: say so"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder))
    for name, steps in found.items():
        shown = steps if name.endswith("by_hand") else losses(steps)
        print(f"{name:15}", " ".join(f"{value:.6f}" for value in shown))


if __name__ == "__main__":
    main()
