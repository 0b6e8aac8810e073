"""axolotl and LLaMA-Factory themselves, which need other versions of transformers than the rest.

They run where an environment of their own is named:

    PREMASK_AXOLOTL_PYTHON=DIR/bin/python         (pip install --no-build-isolation axolotl; tried: 0.19.0)
    PREMASK_LLAMA_FACTORY_PYTHON=DIR/bin/python   (pip install llamafactory; tried: 0.9.5)

with `-s` the losses are printed. Everywhere else `trainer_losses.py` runs their rules of columns.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import ROOT
from premask.publish.trainer_lines import snippets
from trainer_losses import TOLERANCE
from trainer_outputs import written

MAKE = "from pathlib import Path; from trainer_losses import Bench; import json, sys; \
b = Bench(*map(Path, sys.argv[1:3])); b.make_model(); print(json.dumps(b.by_hand))"

RECORD = """
import importlib.machinery, json, sys, types
if "llamafactory" in sys.argv[1]:  # it imports torchaudio, of which there need not be a build for this torch
    sys.modules["torchaudio"] = types.ModuleType("torchaudio")
    sys.modules["torchaudio"].__spec__ = importlib.machinery.ModuleSpec("torchaudio", None)
from transformers import Trainer
train, losses = Trainer.train, []
def recorded(self, *args, **kwargs):
    result = train(self, *args, **kwargs)
    losses.append(result.training_loss)
    return result
Trainer.train = recorded
if "llamafactory" in sys.argv[1]:
    import yaml
    from llamafactory.train.tuner import run_exp
    run_exp(yaml.safe_load(open(sys.argv[2])))
else:
    from axolotl.cli.train import do_cli
    do_cli(sys.argv[2])
print("losses", json.dumps(losses))
"""


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A folder with an output and a model, and the loss by hand."""
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("others")
    written(folder)
    path = os.pathsep.join([str(ROOT / "pipeline"), str(ROOT / "tests" / "support")])
    done = subprocess.run(
        [sys.executable, "-c", MAKE, folder / "out", folder],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    return folder, float(done.stdout.splitlines()[-1])


def python_of(variable: str) -> str:
    python = os.environ.get(variable)
    if not python:
        pytest.skip(f"{variable} names no python that has it")
    return python


def loss(python: str, which: str, folder: Path, config: dict[str, Any]) -> float:
    (folder / f"{which}.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    quiet = {
        "HF_HUB_OFFLINE": "1",
        "AXOLOTL_DO_NOT_TRACK": "1",
        "DO_NOT_TRACK": "1",
        "ACCELERATE_USE_CPU": "true",
    }
    done = subprocess.run(
        [python, "-c", RECORD, which, f"{which}.yaml"],
        cwd=folder,
        env={**os.environ, **quiet, "HF_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("losses ")]
    (found,) = json.loads(line.removeprefix("losses "))
    return float(found)


@pytest.mark.parametrize("packing", [False, True], ids=["padded", "sample_packing"])
def test_axolotl(box: tuple[Path, float], *, packing: bool) -> None:
    """The snippet, and one step on the CPU over all rows as one batch."""
    python = python_of("PREMASK_AXOLOTL_PYTHON")
    folder, by_hand = box
    (snippet,) = [
        each
        for each in snippets(["unpacked"], dataset=str(folder / "out"), model=str(folder / "model"))
        if each.name == "axolotl-unpacked"
    ]
    config = {
        **yaml.safe_load(snippet.text),
        "sample_packing": packing,
        "sequence_len": 4096,
        "micro_batch_size": 1 if packing else 1000,
        "gradient_accumulation_steps": 1,
        "max_steps": 1,
        "optimizer": "adamw_torch",
        "lr_scheduler": "constant",
        "learning_rate": 0.00001,
        "bf16": False,
        "fp16": False,
        "tf32": False,
        "attn_implementation": "sdpa",
        "save_strategy": "no",
        "dataset_prepared_path": str(folder / f"prepared-{packing}"),
        "output_dir": str(folder / "axolotl"),
    }
    found = loss(python, "axolotl", folder, config)

    print(f"\naxolotl, sample_packing {packing}: {found:.6f}, by hand {by_hand:.6f}")
    assert abs(found - by_hand) < TOLERANCE


def test_llama_factory(box: tuple[Path, float]) -> None:
    """The folder that the snippet writes, and one step on the CPU."""
    python = python_of("PREMASK_LLAMA_FACTORY_PYTHON")
    folder, by_hand = box
    (snippet,) = [
        each
        for each in snippets(["unpacked"], dataset=str(folder / "out"))
        if each.name == "llama-factory-unpacked"
    ]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "home")}
    subprocess.run([python, "-c", snippet.text], cwd=folder, env=environment, check=True, capture_output=True)
    config = {
        "model_name_or_path": str(folder / "model"),
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "full",
        "template": "default",
        "tokenized_path": "tokenized",
        "dataset": "unused",
        "output_dir": "llama-factory",
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 9,
        "max_steps": 1,
        "report_to": "none",
        "save_strategy": "no",
        "use_cpu": True,
    }
    found = loss(python, "llamafactory", folder, config)

    print(f"\nLLaMA-Factory: {found:.6f}, by hand {by_hand:.6f}")
    assert abs(found - by_hand) < TOLERANCE
