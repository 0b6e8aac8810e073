"""Training: the loss and its gradient, the same run in every way to run it, and what is said of bad input.

The runs are real ones (`train_runs.py`), of tiny random models on packs of the bundled sample.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import HANG_S, ROOT, SAMPLE, TOKENIZER, chat, premask, write_rows
from hub_server import Commit, HubServer, Repo
from premask.core.contract import CONTRACT_VERSION, PACKED_SCHEMA

NEEDED = ("torch", "transformers", "datasets", "peft")
missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)}: not installed ('.[trainers]')")

IGNORED = -100
SIZE = 800
"""Vocabulary of the models and of the tokenizer: the first tokens of the sample's."""

ISOLATING = ["llama", "qwen3", "gemma2", "gemma3", "mixtral", "phi3", "granite", "cohere", "gpt2"]
MIXING = ["opt", "bloom", "gpt_oss", "qwen3_next"]


class Ran(NamedTuple):
    """What a run left behind; `codes` of all processes, `log` as it stands in the file."""

    codes: list[int]
    out: str
    err: str
    log: list[dict[str, Any]]
    output: Path

    @property
    def steps(self) -> list[dict[str, Any]]:
        return [line for line in self.log if "loss" in line]

    @property
    def losses(self) -> list[float]:
        return [line["loss"] for line in self.steps]

    @property
    def evaluations(self) -> list[dict[str, Any]]:
        return [line for line in self.log if "eval_loss" in line]


class Trainer:
    """The process that runs the trainer (`train_runs.py`)."""

    def __init__(self, folder: Path, hub: HubServer) -> None:
        environ = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
        self.folder = folder
        self.hub = hub
        self._process = subprocess.Popen(
            [sys.executable, ROOT / "tests" / "support" / "train_runs.py"],
            env={
                **os.environ, **environ, "HF_HOME": str(folder / "home"), "HF_TOKEN": hub.token,
                "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "pipeline"), "CUDA_VISIBLE_DEVICES": "",
                "TF_CPP_MIN_LOG_LEVEL": "3",
            },
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def _ask(self, **question: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())  # type: ignore[no-any-return]

    def case(self, name: str, /, **arguments: Any) -> Any:
        """Call a function of `train_runs.py`."""
        answer = self._ask(case=name, arguments=arguments)
        assert answer["codes"] == [0], answer["err"][-3000:]
        return json.loads(answer["out"].splitlines()[-1])

    def run(self, dataset: object, model: object, output: Path, *words: object, **events: Any) -> Ran:
        """Train: `processes`, and `kill` and `memory` of `train_runs.py`."""
        argv = [dataset, "--model", model, "--output", output, *words]
        answer = self._ask(argv=[str(word) for word in argv], **events)
        path = output / "log.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        log = [json.loads(line) for line in lines]
        return Ran(answer["codes"], answer["out"], answer["err"], log, output)

    def close(self) -> None:
        self._process.communicate(timeout=HANG_S)


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainer]:
    with HubServer() as hub:
        started = Trainer(tmp_path_factory.mktemp("trainer"), hub)
        yield started
        started.close()


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tokenizer of the sample with its first tokens and merges alone: small models, small losses."""
    folder = tmp_path_factory.mktemp("tokenizer")
    shutil.copytree(TOKENIZER, folder, dirs_exist_ok=True)
    whole = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    model = whole["model"]
    kept = {token: number for token, number in model["vocab"].items() if number < SIZE}
    model["merges"] = [pair for pair in model["merges"] if "".join(pair) in kept]
    model["vocab"] = kept
    (folder / "tokenizer.json").write_text(json.dumps(whole), encoding="utf-8")
    return folder


def make_output(folder: Path, tokenizer: Path, *words: object) -> Path:
    """An output of short chats, in three shards, with the fourth as its validation split."""
    folder.mkdir()
    text = (SAMPLE / "conversations.jsonl").read_text(encoding="utf-8").split("\n")[:60]
    turns = [re.findall(r'"(?:value|content)": "([A-Za-z ,.]{30,90})', line)[:4] for line in text]
    rows = [chat(*each[: len(each) // 2 * 2]) for each in turns if len(each) > 1]
    assert len(rows) > 30
    source = write_rows(folder / "chats.jsonl", rows)
    done = premask(
        "run", source, "--tokenizer", tokenizer, "--output", folder / "out", "--max-length", 256,
        "--layout", "packed,unpacked", "--unit-rows", len(rows) // 4 + 1, *words,
    )  # fmt: skip
    assert done.code == 0, done.err
    for layout in ("packed", "unpacked"):
        old = sorted((folder / "out" / layout).iterdir())
        for i, file in enumerate(old[:3]):
            file.rename(file.with_name(f"train-{i:05d}-of-00003.parquet"))
        old[3].rename(old[3].with_name("validation-00000-of-00001.parquet"))
    return folder / "out"


def packs_of(output: Path, split: str = "train") -> list[dict[str, Any]]:
    files = sorted((output / "packed").glob(f"{split}-*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, tokenizer: Path) -> Path:
    return make_output(tmp_path_factory.mktemp("data") / "plain", tokenizer)


@pytest.fixture(scope="module")
def padded(tmp_path_factory: pytest.TempPathFactory, tokenizer: Path) -> Path:
    return make_output(tmp_path_factory.mktemp("data") / "padded", tokenizer, "--pad-rows", "to_length")


@pytest.fixture(scope="module")
def model(trainer: Trainer) -> Path:
    """A Llama with the vocabulary of the sample's tokenizer."""
    path = trainer.folder / "llama"
    trainer.case("save_model", name="llama", size=SIZE, path=str(path))
    return path


def some_packs(output: Path, *, weighted: bool = False) -> list[dict[str, Any]]:
    """Three packs of several documents, with weights if wanted."""
    found = [pack for pack in packs_of(output) if len(pack["seq_lengths"]) > 1][:3]
    assert len(found) == 3
    for pack in found if weighted else ():
        pack["loss_weights"] = [
            0.0 if label == IGNORED else 0.25 * (1 + place % 5) for place, label in enumerate(pack["labels"])
        ]
    return found


def refused(ran: Ran, *parts: str) -> None:
    """It ended with one line that says what is wrong."""
    assert ran.codes == [2] * len(ran.codes), ran.err
    lines = [line for line in ran.err.splitlines() if line.startswith("train")]
    assert len(lines) == len(ran.codes), ran.err
    assert "Traceback" not in ran.err
    for part in parts:
        assert part in lines[0], lines[0]


def well(ran: Ran) -> Ran:
    assert set(ran.codes) == {0}, ran.err[-3000:]
    return ran


# ==== The loss ====


def check_losses(found: dict[str, Any], forms: list[str]) -> None:
    for form in forms:
        loss, gradients = found[form]["heads"]
        assert loss < 1e-6, f"{form}: sparse head"
        assert gradients < 1e-6, f"{form}: sparse head"
        loss, gradients = found[form]["by_hand"]
        assert loss < 2e-6, f"{form}: samples alone"
        assert gradients < 1e-5, f"{form}: samples alone"


@pytest.mark.parametrize("name", ISOLATING)
def test_losses_and_gradients(name: str, trainer: Trainer, data: Path) -> None:
    """Of both heads, of packs and single samples, and of every sample alone in the plain model."""
    found = trainer.case("losses", model=name, packs=some_packs(data), size=SIZE)
    tests = trainer.case("self_tests", model=name, size=SIZE)

    check_losses(found, ["rows", "flat", "single"])
    assert "those of the sample alone" in tests["isolation"]
    assert tests["head"] is None


@pytest.mark.parametrize("name", MIXING)
def test_models_that_mix_the_samples_of_a_pack(name: str, trainer: Trainer, data: Path) -> None:
    """They are refused, rightly; single samples are right."""
    found = trainer.case("losses", model=name, packs=some_packs(data), size=SIZE)
    tests = trainer.case("self_tests", model=name, size=SIZE)

    assert found["rows"]["by_hand"][1] > 1e-2
    check_losses(found, ["single"])
    assert tests["isolation"].startswith("refused: with sdpa attention this model lets the samples of a pack")
    assert "--packing off" in tests["isolation"]


def test_kernels_that_cannot_keep_samples_apart_are_said(trainer: Trainer) -> None:
    found = trainer.case("self_tests", model="qwen3_next", size=SIZE, form="flat")

    assert re.search(
        "refused: this model cannot be given packs .*causal_conv1d.*--packing off", found["isolation"]
    )


def test_all_tokens(trainer: Trainer, data: Path) -> None:
    """Of every sample but its first token, and more than the assistant's."""
    packs = some_packs(data, weighted=True)
    every, assistant = (
        trainer.case("losses", model="llama", packs=packs, size=SIZE, train_on=which)
        for which in ("all", "assistant")
    )

    check_losses(every, ["rows", "flat", "single"])
    assert abs(every["loss"] - assistant["loss"]) > 1e-3


def test_all_tokens_leave_padding_out(trainer: Trainer, padded: Path) -> None:
    packs = some_packs(padded)
    assert all(set(pack["labels"][-pack["seq_lengths"][-1] :]) == {IGNORED} for pack in packs)

    found = trainer.case("losses", model="llama", packs=packs, size=SIZE, train_on="all")

    check_losses(found, ["rows", "flat", "single"])


def test_weights(trainer: Trainer, data: Path) -> None:
    """The mean is weighted by the column `loss_weights`."""
    plain = trainer.case("losses", model="llama", packs=some_packs(data), size=SIZE)
    found = trainer.case("losses", model="llama", packs=some_packs(data, weighted=True), size=SIZE)

    check_losses(found, ["rows", "flat", "single"])
    assert abs(found["loss"] - plain["loss"]) > 1e-4


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Whole", "unexpected keyword argument 'logits_to_keep'"),
        ("Last", "slice indices must be integers"),
        ("Deaf", "gave 12 positions, not 8"),
    ],
)
def test_models_without_a_mask_of_logits(name: str, reason: str, trainer: Trainer) -> None:
    found = trainer.case("self_tests", model=name, size=SIZE)

    assert "those of the sample alone" in found["isolation"]
    assert reason in found["head"]


# ==== Whole runs ====

ONE_STEP = ("--shuffle", "off", "--batch-size", 1000, "--learning-rate", 0)


@pytest.fixture(scope="module")
def by_hand(trainer: Trainer, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., float]:
    """The loss of a split of the sample on the model of the runs, each sample alone in it."""
    known: dict[tuple[str, str], float] = {}

    def loss(split: str = "train", train_on: str = "assistant") -> float:
        if (split, train_on) not in known:
            packs = packs_of(data, split)
            known[split, train_on] = trainer.case("loss_by_hand", packs=packs, size=SIZE, train_on=train_on)
        return known[split, train_on]

    return loss


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--config", "unpacked"),
        ("--packing", "off"),
        ("--head", "full"),
        ("--streaming",),
        ("--attention", "eager"),
        ("--gradient-checkpointing",),
        ("--train-on", "all"),
        ("--train-on", "all", "--packing", "off"),
    ],
    ids=" ".join,
)
def test_the_logged_loss(
    words: tuple[str, ...],
    trainer: Trainer,
    data: Path,
    model: Path,
    tmp_path: Path,
    by_hand: Callable[..., float],
) -> None:
    """One step over all rows has the loss by hand, and the evaluation that of the assistant's tokens."""
    ran = well(trainer.run(data, model, tmp_path / "run", *ONE_STEP, *words))
    packs = packs_of(data)
    every = "all" in words
    trained = sum(label != IGNORED for pack in packs for label in pack["labels"])
    if every:
        trained = sum(len(pack["input_ids"]) - len(pack["seq_lengths"]) for pack in packs)

    (step,) = ran.steps
    assert step["loss"] == pytest.approx(by_hand(train_on="all" if every else "assistant"), abs=2e-6)
    assert step["tokens"] == sum(pack["length"] for pack in packs)
    assert step["trained_tokens"] == trained
    before, after = ran.evaluations
    assert before["eval_loss"] == pytest.approx(by_hand("validation"), abs=2e-6)
    assert before["eval_perplexity"] == pytest.approx(math.exp(before["eval_loss"]))
    assert before["eval_loss"] == after["eval_loss"], "nothing was learnt"
    assert (before["step"], after["step"]) == (0, 1)


def test_what_a_run_leaves(trainer: Trainer, data: Path, model: Path, tmp_path: Path) -> None:
    ran = well(trainer.run(data, model, tmp_path / "run", "--steps", 3, "--keep", 1, "--save-every", 1))
    start = ran.log[0]
    loaded = trainer.case("reread", path=str(ran.output / "model"), ids=[5, 6, 7])

    assert start["event"] == "start"
    assert (start["vocabulary"], start["contract"], start["head"]) == (SIZE, CONTRACT_VERSION, "sparse")
    assert (start["attention"], start["device"], start["dtype"]) == ("sdpa", "cpu", "float32")
    assert [step["step"] for step in ran.steps] == [1, 2, 3]
    for step in ran.steps:
        assert step["tokens_per_second"] > step["trained_tokens_per_second"] > 0
        assert step["memory_bytes"] > 1e6
        assert step["grad_norm"] > 0
    assert [path.name for path in (ran.output / "checkpoints").iterdir()] == ["step-00000003"]
    assert (ran.output / "model" / "tokenizer.json").read_bytes() == (
        data / "tokenizer" / "tokenizer.json"
    ).read_bytes()
    assert (ran.output / "model" / "model.safetensors").is_file()
    assert (loaded["tokens"], loaded["rows"]) == (SIZE, SIZE)
    assert loaded["dtype"] == "torch.float32"


def test_generation_ends_where_turns_end(trainer: Trainer, data: Path, model: Path, tmp_path: Path) -> None:
    """The ids that end trained stretches, and pad and eos of the tokenizer, are in the saved configs."""
    ran = well(trainer.run(data, model, tmp_path / "run", "--steps", 1))
    loaded = trainer.case("reread", path=str(ran.output / "model"), ids=[5])
    ends = {
        label
        for pack in packs_of(data)
        for label, following in zip(pack["labels"], [*pack["labels"][1:], IGNORED], strict=True)
        if label != IGNORED and following == IGNORED
    }
    given = loaded["ends"] if isinstance(loaded["ends"], list) else [loaded["ends"]]

    assert ends
    assert ends <= set(given)
    assert loaded["pad"] is not None


def test_the_loss_of_a_router_is_left_out(trainer: Trainer, data: Path, tmp_path: Path) -> None:
    """And that is said."""
    trainer.case("save_model", name="mixtral", size=SIZE, path=str(tmp_path / "base"))
    ran = well(trainer.run(data, tmp_path / "base", tmp_path / "run", "--steps", 1))

    assert ran.log[0]["notes"] == ["the auxiliary loss of the router is no part of the loss"]


def test_learning(trainer: Trainer, data: Path, model: Path, tmp_path: Path) -> None:
    """The loss of the training rows falls, and the evaluation follows."""
    ran = well(trainer.run(data, model, tmp_path / "run", "--epochs", 6, "--learning-rate", 0.01))

    assert ran.losses[-1] < ran.losses[0] - 1
    assert ran.evaluations[-1]["eval_loss"] < ran.evaluations[0]["eval_loss"]


def test_lines_of_several_steps(trainer: Trainer, data: Path, model: Path, tmp_path: Path) -> None:
    """They hold the mean over all trained tokens of those steps; evaluations come when they were asked for."""
    single = well(trainer.run(data, model, tmp_path / "one", "--steps", 5, "--eval-split", "none"))
    several = well(
        trainer.run(data, model, tmp_path / "two", "--steps", 5, "--log-every", 2, "--eval-every", 2)
    )
    counts = [step["trained_tokens"] for step in single.steps]
    weights = [after - before for before, after in zip([0, *counts], counts, strict=False)]
    means = [
        sum(single.losses[i] * weights[i] for i in part) / sum(weights[i] for i in part)
        for part in ([0, 1], [2, 3], [4])
    ]

    assert [step["step"] for step in several.steps] == [2, 4, 5]
    assert several.losses == pytest.approx(means, abs=1e-6)
    assert [line["step"] for line in several.evaluations] == [0, 2, 4, 5]
    assert single.evaluations == []


def test_bfloat16(trainer: Trainer, data: Path, model: Path, tmp_path: Path) -> None:
    """Computed in it, with weights in float32 beside; saved in it."""
    exact = well(trainer.run(data, model, tmp_path / "exact", "--steps", 3))
    ran = well(trainer.run(data, model, tmp_path / "run", "--steps", 3, "--dtype", "bfloat16"))
    loaded = trainer.case("reread", path=str(ran.output / "model"), ids=[5])

    assert ran.losses == pytest.approx(exact.losses, abs=0.05)
    assert ran.losses != exact.losses
    assert loaded["dtype"] == "torch.bfloat16"


def test_from_scratch(trainer: Trainer, data: Path, model: Path, tmp_path: Path) -> None:
    """Weights follow from the seed."""
    runs = [
        well(trainer.run(data, model, tmp_path / str(i), *ONE_STEP, "--from-scratch", "--seed", seed))
        for i, seed in enumerate([0, 0, 1])
    ]
    plain = well(trainer.run(data, model, tmp_path / "plain", *ONE_STEP))
    losses = [ran.losses[0] for ran in (*runs, plain)]

    assert losses[0] == losses[1]
    assert len(set(losses)) == 3


def test_another_dataset_to_evaluate_on(
    trainer: Trainer, data: Path, padded: Path, model: Path, tmp_path: Path
) -> None:
    """Its validation split; or the split that is named."""
    both = [
        well(trainer.run(data, model, tmp_path / str(i), *ONE_STEP, *words))
        for i, words in enumerate([("--eval-dataset", padded), ("--eval-split", "train")])
    ]

    assert both[0].log[0]["eval_rows"] == len(packs_of(padded, "validation"))
    assert both[1].evaluations[0]["eval_loss"] == pytest.approx(both[1].losses[0], abs=1e-6)


def test_tensorboard(trainer: Trainer, data: Path, model: Path, tmp_path: Path) -> None:
    """Has the numbers of the log."""
    pytest.importorskip("tensorboard")
    ran = well(trainer.run(data, model, tmp_path / "run", "--steps", 2))
    shown = trainer.case("scalars", path=str(ran.output / "tensorboard"))

    assert shown["loss"] == pytest.approx(ran.losses)
    assert shown["eval_loss"] == pytest.approx([line["eval_loss"] for line in ran.evaluations])


# ==== Several processes ====


@pytest.mark.parametrize("words", [(), ("--fsdp",)], ids=["ddp", "fsdp"])
def test_two_processes_are_one_with_twice_the_batches(
    words: tuple[str, ...], trainer: Trainer, data: Path, tmp_path: Path
) -> None:
    """The same losses, gradients, evaluations and weights; the rows do not come out even, and one process has
    none at the end. Dropout is the same, too."""
    base = tmp_path / "base"
    trainer.case("save_model", name="gpt2", size=SIZE, path=str(base), dropout=0.1)
    common = ("--batch-size", 5, "--epochs", 2, "--learning-rate", 0.001, "--save-every", 0)
    packs = len(packs_of(data))
    assert packs % 10 in range(1, 6), "the last step has rows for one process only"

    one = well(trainer.run(data, base, tmp_path / "one", *common, "--accumulate", 2))
    two = well(trainer.run(data, base, tmp_path / "two", *common, *words, processes=2))

    assert two.log[0]["processes"] == 2
    assert len(one.steps) == 2 * math.ceil(packs / 10)
    for name, tolerance in (("loss", 2e-6), ("grad_norm", 1e-4)):
        numbers = [step[name] for step in two.steps]
        assert numbers == pytest.approx([step[name] for step in one.steps], rel=tolerance), name
    for name in ("tokens", "trained_tokens"):
        assert [step[name] for step in two.steps] == [step[name] for step in one.steps]
    for before, after in zip(one.evaluations, two.evaluations, strict=True):
        assert after["eval_loss"] == pytest.approx(before["eval_loss"], rel=2e-6)
        assert after["eval_trained_tokens"] == before["eval_trained_tokens"]
    scores = [trainer.case("reread", path=str(each.output / "model"), ids=[5, 6, 7]) for each in (one, two)]
    assert scores[0]["scores"] == pytest.approx(scores[1]["scores"], abs=1e-3)


def test_the_file_alone_under_torchrun(data: Path, model: Path, trainer: Trainer, tmp_path: Path) -> None:
    """Copied elsewhere, it needs nothing of premask."""
    shutil.copy(ROOT / "pipeline" / "premask" / "train.py", tmp_path / "train.py")
    words = [
        data,
        "--model",
        model,
        "--output",
        tmp_path / "two",
        "--steps",
        "2",
        "--batch-size",
        "2",
        "--fsdp",
    ]
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-I", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "train.py", *words],
        cwd=tmp_path, env={**environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [json.loads(line) for line in (tmp_path / "two" / "log.jsonl").read_text().splitlines()]
    one = well(trainer.run(data, model, tmp_path / "one", "--steps", 2))

    assert [line["loss"] for line in lines if "loss" in line] == pytest.approx(one.losses, abs=2e-6)


ENDING = """
import atexit, sys
from premask.train import leave

class Late:
    def __del__(self, write=sys.stdout.write):
        write("shutdown of the interpreter")

late = Late()
atexit.register(sys.stdout.write, "exit functions, ")
leave(int(sys.argv[1]))
"""


@pytest.mark.parametrize("code", [0, 2])
@pytest.mark.parametrize(
    ("processes", "out"),
    [(1, "exit functions, shutdown of the interpreter"), (2, "exit functions, ")],
    ids=["one", "two"],
)
def test_one_of_several_processes_ends_before_the_interpreter_shuts_down(
    processes: int, out: str, code: int
) -> None:
    """Threads of gloo that drop tensors during the shutdown would abort the process."""
    done = subprocess.run(
        [sys.executable, "-c", ENDING, str(code)],
        env={**os.environ, "WORLD_SIZE": str(processes), "PYTHONPATH": str(ROOT / "pipeline")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stdout) == (code, out), done.stderr[-3000:]


def test_an_error_of_one_of_several_processes(tmp_path: Path) -> None:
    """It is shown whole, and the exit code is that of Python."""
    file = ROOT / "pipeline" / "premask" / "train.py"
    environ = {name: value for name, value in os.environ.items() if name != "MASTER_ADDR"}
    done = subprocess.run(
        [sys.executable, "-I", file, "data", "--model", "model", "--output", tmp_path / "run"],
        env={**environ, "RANK": "0", "WORLD_SIZE": "2"}, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    assert "MASTER_ADDR" in done.stderr.splitlines()[-1]


# ==== Going on ====


def same_run(one: Ran, other: Ran) -> None:
    """Both logged the same steps, evaluations and weights, to the bit."""
    for name in ("step", "loss", "lr", "grad_norm", "tokens", "trained_tokens"):
        assert [line[name] for line in one.steps] == [line[name] for line in other.steps], name
    assert one.evaluations == other.evaluations
    weights = [(each.output / "model" / "model.safetensors").read_bytes() for each in (one, other)]
    assert weights[0] == weights[1]


@pytest.fixture(scope="module")
def whole_run(
    trainer: Trainer, data: Path, model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Ran]:
    """A run that nobody killed, each once."""
    known: dict[tuple[object, ...], Ran] = {}

    def run(*words: object, processes: int = 1) -> Ran:
        key = (*words, processes)
        if key not in known:
            folder = tmp_path_factory.mktemp("whole") / "run"
            known[key] = well(trainer.run(data, model, folder, *words, processes=processes))
        return known[key]

    return run


RESUMED = ("--steps", 9, "--save-every", 2, "--learning-rate", 0.001, "--eval-every", 3, "--log-every", 1)


@pytest.mark.parametrize(
    ("words", "kill", "processes"),
    [
        ((), ("report", 6), 1),
        (("--log-every", 2), ("evaluate", 3), 1),
        (("--streaming", "--batch-size", 3), ("update", 8), 1),
        ((), ("_weights", 3), 1),
        ((), ("update", 2), 1),
        (("--lora", 4, "--lora-dropout", 0.1), ("report", 6), 1),
        (("--batch-size", 2), ("report", 6), 2),
        (("--batch-size", 2, "--fsdp"), ("report", 6), 2),
    ],
    ids=["report", "evaluation", "streaming", "half a checkpoint", "before any", "lora", "ddp", "fsdp"],
)
def test_a_killed_run_goes_on(
    words: tuple[str, ...],
    kill: tuple[str, int],
    processes: int,
    trainer: Trainer,
    data: Path,
    model: Path,
    tmp_path: Path,
    whole_run: Callable[..., Ran],
) -> None:
    """SIGKILL at some place of it; started again, it is the run that nobody killed, in each bit."""
    words = (*RESUMED, *words)
    whole = whole_run(*words, processes=processes)
    killed = trainer.run(
        data, model, tmp_path / "killed", *words, processes=processes, kill=(*kill, signal.SIGKILL)
    )
    assert killed.codes == [-signal.SIGKILL] * processes
    again = well(trainer.run(data, model, tmp_path / "killed", *words, processes=processes))

    if "--lora" in words:
        assert again.losses == whole.losses
        assert again.evaluations == whole.evaluations
    else:
        same_run(again, whole)
    resumed = [line["step"] for line in again.log if line.get("event") == "resume"]
    assert len(resumed) == (kill != ("update", 2))
    assert sum(line.get("event") == "start" for line in again.log) == 1
    if kill[0] == "_weights":
        assert resumed == [4]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_an_interrupted_run_saves_and_goes_on(
    number: int, trainer: Trainer, data: Path, model: Path, tmp_path: Path, whole_run: Callable[..., Ran]
) -> None:
    words = ("--steps", 6, "--save-every", 0)
    whole = whole_run(*words)
    stopped = trainer.run(data, model, tmp_path / "stopped", *words, kill=("report", 3, number))
    held = [path.name for path in (tmp_path / "stopped" / "checkpoints").iterdir()]
    again = well(trainer.run(data, model, tmp_path / "stopped", *words))

    assert stopped.codes == [130]
    assert "start it again to go on" in stopped.err
    assert held == ["step-00000003"]
    same_run(again, whole)


def test_one_process_goes_on_where_two_stopped(
    trainer: Trainer, data: Path, model: Path, tmp_path: Path
) -> None:
    words = ("--steps", 6, "--batch-size", 2)
    two = trainer.run(data, model, tmp_path / "run", *words, processes=2, kill=("report", 3, signal.SIGTERM))
    assert two.codes == [130, 130]
    one = well(trainer.run(data, model, tmp_path / "run", *words, "--accumulate", 2))
    whole = well(trainer.run(data, model, tmp_path / "whole", *words, "--accumulate", 2))

    assert one.losses == pytest.approx(whole.losses, abs=2e-6)
    assert len(one.losses) == 6


@pytest.mark.parametrize("words", [(), ("--fsdp",)], ids=["one", "fsdp"])
def test_a_checkpoint_that_is_named(
    words: tuple[str, ...], trainer: Trainer, data: Path, tmp_path: Path
) -> None:
    """Of a model with tied embeddings and dropout."""
    base, processes = tmp_path / "base", 1 + len(words)
    trainer.case("save_model", name="gpt2", size=SIZE, path=str(base), dropout=0.1)
    words = ("--steps", 4, "--save-every", 2, "--batch-size", 2, *words)
    whole = well(trainer.run(data, base, tmp_path / "whole", *words, processes=processes))
    checkpoint = whole.output / "checkpoints" / "step-00000002"
    more = (*words, "--resume", checkpoint)
    ran = well(trainer.run(data, base, tmp_path / "more", *more, processes=processes))
    wrong = trainer.run(data, base, tmp_path / "wrong", *words, "--resume", tmp_path)

    assert ran.losses == whole.losses[2:]
    assert ran.evaluations == whole.evaluations[1:]
    refused(wrong, "is no complete checkpoint")


def test_a_finished_run_is_not_run_again(trainer: Trainer, data: Path, model: Path, tmp_path: Path) -> None:
    first = well(trainer.run(data, model, tmp_path / "run", "--steps", 2))
    again = well(trainer.run(data, model, tmp_path / "run", "--steps", 2))

    assert again.out.startswith("finished")
    assert again.log == first.log


def test_outputs_of_something_else(trainer: Trainer, data: Path, model: Path, tmp_path: Path) -> None:
    """Other settings are named; what is no run is left alone; `--resume never` starts anew."""
    well(trainer.run(data, model, tmp_path / "run", "--steps", 2))
    other = trainer.run(data, model, tmp_path / "run", "--steps", 2, "--learning-rate", 0.5, "--seed", 3)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "todo.txt").write_text("mine")
    foreign = trainer.run(data, model, tmp_path / "notes", "--steps", 2)
    anew = well(
        trainer.run(data, model, tmp_path / "run", "--steps", 2, "--learning-rate", 0.5, "--resume", "never")
    )

    refused(other, "learning_rate was 1e-05, now 0.5", "seed was 0, now 3", "--resume never")
    refused(foreign, "holds other files")
    assert (tmp_path / "notes" / "todo.txt").read_text() == "mine"
    assert anew.log[0]["settings"]["learning_rate"] == 0.5
    assert len(anew.steps) == 2


# ==== LoRA and vocabularies ====


def test_lora(trainer: Trainer, data: Path, model: Path, tmp_path: Path) -> None:
    """Few weights are trained; what is saved is an adapter, which can be merged."""
    words = ("--lora", 4, "--learning-rate", 0.01, "--epochs", 3)
    ran = well(trainer.run(data, model, tmp_path / "run", *words))
    start = ran.log[0]
    merged = trainer.case("merged", path=str(ran.output / "model"), base=str(model), ids=[5, 6, 7])

    assert 0 < start["trained_parameters"] < start["parameters"] / 10
    assert ran.evaluations[-1]["eval_loss"] < ran.evaluations[0]["eval_loss"]
    assert (ran.output / "model" / "adapter_model.safetensors").is_file()
    assert not (ran.output / "model" / "model.safetensors").exists()
    assert "merge_and_unload" in ran.out
    assert merged["rank"] == 4
    assert merged["changed"] > 1e-4


def test_modules_that_are_not_there(trainer: Trainer, data: Path, model: Path, tmp_path: Path) -> None:
    ran = trainer.run(data, model, tmp_path / "run", "--lora", 4, "--lora-targets", "nothing")

    refused(ran, "--lora-targets nothing")


@pytest.mark.parametrize("name", ["llama", "gemma2"])
@pytest.mark.parametrize("words", [(), ("--lora", 4)], ids=["all", "lora"])
def test_a_tokenizer_with_more_tokens(
    name: str, words: tuple[object, ...], trainer: Trainer, data: Path, tmp_path: Path
) -> None:
    """Embeddings are resized, said, trained and saved; tied ones and others."""
    base = tmp_path / "base"
    trainer.case("save_model", name=name, size=SIZE - 10, path=str(base))
    ran = well(trainer.run(data, base, tmp_path / "run", *words, "--steps", 2, "--learning-rate", 0.01))
    start = ran.log[0]

    assert start["vocabulary"] == SIZE
    assert any(f"embeddings resized from {SIZE - 10} to {SIZE}" in note for note in start["notes"])
    assert "embeddings resized" in ran.out
    if words:
        merged = trainer.case("merged", path=str(ran.output / "model"), base=str(base), ids=[5, SIZE - 5])
        assert merged["changed"] > 1e-4
    else:
        assert trainer.case("reread", path=str(ran.output / "model"), ids=[5])["rows"] == SIZE


# ==== Bad input ====


@pytest.fixture
def shards(tokenizer: Path, tmp_path: Path) -> Callable[..., Path]:
    """`make(rows, contract="1", name="data", split="train")`: a dataset of one shard."""

    def make(rows: list[dict[str, Any]], **more: Any) -> Path:
        folder = tmp_path / more.pop("name", "data")
        shutil.copytree(tokenizer, folder / "tokenizer", dirs_exist_ok=True)
        return write_shard(folder, rows, **more)

    return make


def write_shard(
    folder: Path, rows: list[dict[str, Any]], contract: str | None = "1", split: str = "train"
) -> Path:
    (folder / "packed").mkdir(parents=True, exist_ok=True)
    filled = [
        {
            **row,
            "position_ids": [i for length in row["seq_lengths"] for i in range(length)],
            "length": len(row["input_ids"]),
        }
        for row in rows
    ]
    schema = (
        PACKED_SCHEMA if contract is None else PACKED_SCHEMA.with_metadata({"premask.contract": contract})
    )
    path = folder / "packed" / f"{split}-00000-of-00001.parquet"
    pq.write_table(pa.Table.from_pylist(filled, schema=schema), path)
    return folder


def pack(ids: list[int], *, trained: bool = True) -> dict[str, Any]:
    labels = [IGNORED, *ids[1:]] if trained else [IGNORED] * len(ids)
    return {"input_ids": ids, "labels": labels, "seq_lengths": [len(ids)]}


GOOD = [pack([5 + i, 6, 7, 8 + i]) for i in range(8)]


@pytest.mark.parametrize(
    ("contract", "parts"),
    [
        (None, ("is no shard that premask wrote", "premask run")),
        ("2", ("written by a newer premask (contract 2; this train.py reads up to 1)",)),
        ("x", ("is no shard that premask wrote",)),
    ],
)
def test_datasets_of_others(
    contract: str | None,
    parts: tuple[str, ...],
    trainer: Trainer,
    model: Path,
    tmp_path: Path,
    shards: Callable[..., Path],
) -> None:
    ran = trainer.run(shards(GOOD, contract=contract), model, tmp_path / "run")

    refused(ran, *parts)
    assert not (tmp_path / "run").exists()


def test_the_contract_of_the_trainer_is_that_of_the_rest() -> None:
    assert importlib.import_module("premask.train").CONTRACT == CONTRACT_VERSION


def test_datasets_that_are_not_there(
    trainer: Trainer, data: Path, model: Path, tmp_path: Path, shards: Callable[..., Path]
) -> None:
    (tmp_path / "empty").mkdir()
    broken = shards(GOOD, name="broken")
    shard = broken / "packed" / "train-00000-of-00001.parquet"
    shard.rename(shard.with_name("train-00000-of-00002.parquet"))
    cut = shards(GOOD, name="cut")
    shard = cut / "packed" / "train-00000-of-00001.parquet"
    shard.write_bytes(shard.read_bytes()[:-20])

    for dataset, words, parts in (
        (tmp_path / "none", (), ["is no directory"]),
        (tmp_path / "empty", (), ["has no shards in packed or unpacked"]),
        (data, ("--split", "test"), ["has no rows of split test"]),
        (data, ("--eval-split", "test"), ["has no rows of split test"]),
        (broken, (), ["has 1 of 2 shards of train"]),
        (broken, ("--config", "unpacked"), ["has no shards in unpacked"]),
        (shards([], name="none of it"), (), ["has no rows of split train"]),
        (cut, (), ["train-00000-of-00001.parquet cannot be read"]),
        ("file:///no/such/place", (), ["has no shards in packed"]),
        ("org/none", (), ["org/none is no directory here, and as a dataset on the Hub it cannot be read"]),
    ):
        refused(trainer.run(dataset, model, tmp_path / "run", *words), *parts)


def test_models_that_are_not_there(trainer: Trainer, data: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"model_type": "nothing"}')

    refused(trainer.run(data, tmp_path / "model", tmp_path / "run"), "cannot be loaded")
    refused(
        trainer.run(data, model, tmp_path / "more", "--attention", "flash_attention_2"), "cannot be loaded"
    )


@pytest.mark.parametrize("words", [(), ("--streaming",)], ids=["mapped", "streamed"])
@pytest.mark.parametrize("wrong", [9999, -5])
def test_ids_beyond_the_vocabulary(
    wrong: int,
    words: tuple[str, ...],
    trainer: Trainer,
    model: Path,
    tmp_path: Path,
    shards: Callable[..., Path],
) -> None:
    dataset = shards([*GOOD[:5], pack([5, wrong, 7])])
    ran = trainer.run(dataset, model, tmp_path / "run", "--shuffle", "off", *words)

    refused(
        ran, f"row 5 of packed/train-00000-of-00001.parquet holds the token id {wrong}", f"have {SIZE} ids"
    )


def test_a_row_that_is_wrong(
    trainer: Trainer, model: Path, tmp_path: Path, shards: Callable[..., Path]
) -> None:
    row = {"input_ids": [5, 6, 7], "labels": [IGNORED, 9, 7], "seq_lengths": [3]}
    ran = trainer.run(shards([*GOOD, row]), model, tmp_path / "run", "--shuffle", "off")

    refused(ran, "row 8 of packed/train-00000-of-00001.parquet", "label 9 at token 1")


@pytest.mark.parametrize("processes", [1, 2])
def test_batches_without_a_trained_token(
    processes: int, trainer: Trainer, model: Path, tmp_path: Path, shards: Callable[..., Path]
) -> None:
    """They are skipped and counted; a step of them alone changes nothing."""
    masked = pack([5, 6, 7], trained=False)
    rows = [GOOD[0], masked, masked, masked, GOOD[1], masked]
    ran = well(
        trainer.run(
            shards(rows), model, tmp_path / "run", "--shuffle", "off", "--batch-size", 1,
            "--accumulate", 2 // processes, processes=processes,
        )
    )  # fmt: skip

    assert [step["masked_batches"] for step in ran.steps] == [1, 3, 4]
    assert [step["skipped_steps"] for step in ran.steps] == [0, 1, 1]
    assert [step["loss"] is None for step in ran.steps] == [False, True, False]
    assert ran.steps[1]["trained_tokens"] == ran.steps[0]["trained_tokens"] == 3


def test_a_dataset_without_a_trained_token(
    trainer: Trainer, model: Path, tmp_path: Path, shards: Callable[..., Path]
) -> None:
    dataset = shards([pack([5, 6, 7], trained=False)] * 3)
    ran = well(trainer.run(dataset, model, tmp_path / "run"))
    evaluated = trainer.run(
        shards([pack([5, 6], trained=False)], split="validation"), model, tmp_path / "more"
    )

    assert ran.steps[-1]["skipped_steps"] == 1
    refused(evaluated, "split validation has no trained token")


@pytest.mark.parametrize(
    "words", [(), ("--config", "unpacked"), ("--streaming",)], ids=["packed", "unpacked", "streaming"]
)
def test_a_loss_that_is_no_number(
    words: tuple[str, ...], trainer: Trainer, data: Path, model: Path, tmp_path: Path
) -> None:
    """The run stops and names the row, and the row of the input that it came from."""
    layout = "unpacked" if "unpacked" in words else "packed"
    files = sorted((data / layout).glob("train-*.parquet"))
    rows = [(file, i, row) for file in files for i, row in enumerate(pq.read_table(file).to_pylist())]
    counts = Counter(token for *_, row in rows for token in set(row["input_ids"]))
    at, rare = next(
        (at, token)
        for at in range(len(rows) // 2, len(rows))
        for token in rows[at][2]["input_ids"]
        if counts[token] == 1
    )
    file, number, _ = rows[at]
    broken = tmp_path / "broken"
    trainer.case("spoil", path=str(model), to=str(broken), id=rare)
    lineage = [
        each
        for path in sorted((data / "lineage").glob("*.parquet"))
        for each in pq.read_table(path).to_pylist()
    ]
    if layout == "unpacked":
        lineage.sort(key=lambda each: (each["row"], each["sample"]))
        expected = [lineage[at]]
    else:
        expected = [each for each in lineage if each["pack"] == at]

    ran = trainer.run(data, broken, tmp_path / "run", "--eval-split", "none", *words)

    refused(ran, "loss nan at step", f"row {number} of {layout}/{file.name} (", "--learning-rate")
    (named,) = re.findall(r"\.parquet \((.*?)\)", ran.err)
    assert [int(found) for found in re.findall(r"chats\.jsonl row (\d+)", named)] == [
        each["row"] for each in expected
    ]
    assert all(math.isfinite(loss) for loss in ran.losses)


def test_weights_that_are_no_numbers(trainer: Trainer, data: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    trainer.case("save_model", name="llama", size=SIZE, path=str(broken), scale=math.inf)
    ran = trainer.run(
        data, broken, tmp_path / "run", "--eval-split", "none", "--batch-size", 2, "--packing", "off"
    )

    refused(ran, "at step 1: each row of the step has it, so the weights may hold it")


def test_out_of_memory(trainer: Trainer, data: Path, model: Path, tmp_path: Path) -> None:
    """A real limit of this process; what is said leaves out what is low already."""
    ran = trainer.run(
        data, model, tmp_path / "run", "--head", "full", "--batch-size", 64, "--eval-split", "none",
        memory=60 << 20,
    )  # fmt: skip

    refused(
        ran,
        "out of memory",
        "--batch-size (now 64)",
        "--head sparse",
        "--gradient-checkpointing",
        "--lora 16",
    )


# ==== The Hub, and stores ====


def on_the_hub(hub: HubServer, name: str, output: Path) -> None:
    """Put the files of an output there as one commit."""
    files = {
        str(path.relative_to(output)): {"content": path.read_bytes()}
        for path in sorted(output.rglob("*"))
        if path.is_file()
    }
    commit = Commit("a" * 40, "made here", files)
    hub.repos[name] = Repo(private=False, commits={commit.oid: commit}, branches={"main": commit.oid})


@pytest.mark.parametrize("words", [(), ("--streaming",)], ids=["fetched", "streamed"])
def test_from_the_hub(
    words: tuple[str, ...],
    trainer: Trainer,
    data: Path,
    model: Path,
    tmp_path: Path,
    by_hand: Callable[..., float],
) -> None:
    on_the_hub(trainer.hub, "me/chats", data)
    ran = well(trainer.run("me/chats", model, tmp_path / "run", *ONE_STEP, *words))

    assert ran.losses == pytest.approx([by_hand()], abs=2e-6)
    assert ran.evaluations[0]["eval_loss"] == pytest.approx(by_hand("validation"), abs=2e-6)
    assert ran.log[0]["settings"]["dataset"] == f"hf://datasets/me/chats@{'a' * 40}"
    assert (ran.output / "model" / "tokenizer.json").is_file()


@pytest.mark.parametrize("words", [(), ("--streaming",)], ids=["fetched", "streamed"])
def test_from_a_store(
    words: tuple[str, ...],
    trainer: Trainer,
    data: Path,
    model: Path,
    tmp_path: Path,
    by_hand: Callable[..., float],
) -> None:
    ran = well(trainer.run(f"file://{data}", model, tmp_path / "run", *ONE_STEP, *words))

    assert ran.losses == pytest.approx([by_hand()], abs=2e-6)
    assert (ran.output / "model" / "tokenizer.json").is_file()


# ==== The command and the documents ====


def test_the_command(data: Path, model: Path, trainer: Trainer, tmp_path: Path) -> None:
    """`premask train` is the same program."""
    words = [data, "--model", model, "--output", tmp_path / "run", "--steps", 2]
    code = trainer.case("command", words=["train", *map(str, words)])
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    ran = well(trainer.run(data, model, tmp_path / "same", "--steps", 2))

    assert code == 0
    assert [line["loss"] for line in lines if "loss" in line] == ran.losses
    assert trainer.case("command", words=["train", "--help"]) == 0
    assert trainer.case("command", words=["train", str(data), "--model", "x"]) == 2, "--output is missing"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["out", "--modle", "m"], "no such option '--modle'; did you mean '--model'?"),
        (["out", "--batch_size=3"], "no such option '--batch_size'; did you mean '--batch-size'?"),
        (["out", "--zzz"], "no such option '--zzz'"),
        (["out", "--model", "m"], "the following arguments are required: --output"),
    ],
)
def test_options_that_are_wrong_are_one_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    module = importlib.import_module("premask.train")
    with pytest.raises(SystemExit) as leaving:
        module.parse_options(words, "premask train")

    assert leaving.value.code == 2
    assert capsys.readouterr().err == f"premask train: {said}; 'premask train --help' lists all options\n"
    named = [name for names in module.GROUPS.values() for name in names]
    assert sorted(named) == sorted(
        each.name for each in dataclasses.fields(module.Options) if each.name != "dataset"
    )


def test_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "premask.train", raising=False)
    done = premask("train", "out", "--model", "m", "--output", "o")

    assert done.code == 2
    assert "torch is not installed; pip install 'premask[train]'" in done.err
