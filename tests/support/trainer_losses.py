"""Losses that trainers compute on an output of premask, beside the loss of every sample run alone.

    python tests/support/trainer_losses.py OUTPUT FOLDER        # a JSON line for each case; works in FOLDER
    python tests/publish/test_trainer_lines.py                       # makes an output, and a table of this

One process for all cases, away from the tests: trainers take seconds to import, patch each other and warn.
Torch and the trainers are imported where they are used, so that the list of cases can be read without them.

The model is a random Llama of two layers in float32 on the CPU, with attention strong enough that samples
which see each other have another loss. A case trains one step on all rows, as one accumulated batch, and its
loss is the one before that step: the mean over all trained tokens.
"""

from __future__ import annotations

import json
import math
import os
import sys
import traceback
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from premask.publish.trainer_lines import Snippet, snippets

RIGHT, WRONG = "right", "wrong"
TOLERANCE, APART = 1e-5, 1e-3
"""A right loss differs from that by hand by less than the first, a wrong one by more than the second."""


class Case(NamedTuple):
    """One way to train. `expect` is `right`, `wrong`, or a pattern of the error that it raises; `snippet` names
    the one that it runs."""

    trainer: str
    data: str
    config: str
    expect: str
    loss: Callable[[Bench], float]
    snippet: str = ""


class Bench:
    """An output, a model for it, and what runs them."""

    def __init__(self, output: Path, folder: Path) -> None:
        self.output = output
        self.folder = folder
        self.model_path = folder / "model"

    def make_model(self) -> None:
        import torch
        from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

        tokenizer = AutoTokenizer.from_pretrained(self.output / "tokenizer")
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=4096,
            initializer_range=0.2,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
        )
        model = LlamaForCausalLM(config)
        for name, weight in model.named_parameters():
            if "q_proj" in name or "k_proj" in name:
                weight.data.mul_(4.0)
        model.save_pretrained(self.model_path)
        tokenizer.save_pretrained(self.model_path)

    def model(self, **options: Any) -> Any:
        from transformers import AutoModelForCausalLM

        return AutoModelForCausalLM.from_pretrained(self.model_path, **options).train()

    @cached_property
    def tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self.model_path)

    def rows(self, layout: str, **options: Any) -> Any:
        from datasets import load_dataset

        output, layout = self.where(layout)
        return load_dataset(str(output), layout, split="train", **options)

    def where(self, layout: str) -> tuple[Path, str]:
        """The output and the config; `padded` and `masked` are `packed` and `unpacked` of the one that was
        written with `pad_rows` and `extra_columns`."""
        others = {"padded": "packed", "masked": "unpacked"}
        return (self.output.with_name("other"), others[layout]) if layout in others else (self.output, layout)

    def stored(self, layout: str) -> list[dict[str, Any]]:
        """The rows as they stand in the files, read without `datasets`."""
        import pyarrow.parquet as pq

        output, layout = self.where(layout)
        files = sorted((output / layout).glob("*.parquet"))
        return [row for file in files for row in pq.read_table(file).to_pylist()]

    @cached_property
    def by_hand(self) -> float:
        """Mean cross-entropy over all trained tokens, each sample alone in the model."""
        import torch

        model, total, count = self.model(), 0.0, 0
        for row in self.stored("unpacked"):
            ids = torch.tensor([row["input_ids"]])
            with torch.no_grad():
                scores = model(input_ids=ids).logits[0].double().log_softmax(-1)
            for place, label in enumerate(row["labels"]):
                if label != -100:
                    total -= float(scores[place - 1, label])
                    count += 1
        return total / count


# ==== Ways to train ====


def settings(bench: Bench, given: Mapping[str, Any], rows: int) -> dict[str, Any]:
    """What `given` asks for, made one step over all rows on the CPU."""
    size = given.get("per_device_train_batch_size", 8)
    one_step = {
        "output_dir": str(bench.folder / "trainer"),
        "max_steps": 1,
        "per_device_train_batch_size": size,
        "gradient_accumulation_steps": math.ceil(rows / size),
        "use_cpu": True,
        "bf16": False,
        "report_to": [],
        "save_strategy": "no",
        "disable_tqdm": True,
    }
    return {**given, **one_step}


def trained(trainer: Any) -> float:
    """The loss that a trainer has logged, as it was before its one step."""
    return float(trainer.state.log_history[-1]["train_loss"])


def trl(bench: Bench, rows: Any, count: int, **config: Any) -> float:
    from trl import SFTConfig, SFTTrainer

    collator = config.pop("data_collator", None)
    args = SFTConfig(**settings(bench, config, count))
    trainer = SFTTrainer(str(bench.model_path), args=args, train_dataset=rows, data_collator=collator)
    trainer.train()
    return trained(trainer)


def trainer(bench: Bench, rows: Any, count: int, collator: Any, **args: Any) -> float:
    from transformers import Trainer, TrainingArguments

    model = bench.model(attn_implementation=args.pop("attention", "sdpa"))
    with_settings = TrainingArguments(**settings(bench, args, count))
    runner = Trainer(model, with_settings, train_dataset=rows, data_collator=collator)
    runner.train()
    return trained(runner)


def loop(bench: Bench, batches: Iterable[Mapping[str, Any]], attention: str = "sdpa", **call: Any) -> float:
    """The loss of a loop that calls the model: the mean over batches, weighted by their trained tokens."""
    model = bench.model(attn_implementation=attention)
    with recorded_losses() as losses:
        for batch in batches:
            model(**batch, **call)
    return mean(losses)


@contextmanager
def recorded_losses() -> Iterator[list[tuple[float, int]]]:
    """Collect loss and number of trained tokens of each call of a model with labels."""
    from torch.nn.modules.module import register_module_forward_hook

    found: list[tuple[float, int]] = []

    def record(_module: Any, _args: Any, call: Mapping[str, Any], result: Any) -> None:
        if getattr(result, "loss", None) is not None and "labels" in call:
            found.append((float(result.loss), int((call["labels"][..., 1:] != -100).sum())))

    handle = register_module_forward_hook(record, with_kwargs=True)
    try:
        yield found
    finally:
        handle.remove()


def mean(losses: list[tuple[float, int]]) -> float:
    return sum(loss * count for loss, count in losses) / sum(count for _, count in losses)


def snippet_of(bench: Bench, name: str) -> Snippet:
    names = {"dataset": str(bench.output), "model": str(bench.model_path)}
    (found,) = [each for each in snippets(["packed", "unpacked"], **names) if each.name == name]
    return found


def run_snippet(bench: Bench, name: str) -> float:
    """Run a snippet as it stands; the test only makes it one step on the CPU."""
    snippet = snippet_of(bench, name)
    names: dict[str, Any] = {}
    with one_step_on_cpu(bench, snippet), recorded_losses() as losses:
        exec(snippet.text, names)  # noqa: S102  that is what is tested
    return trained(names["trainer"]) if "trainer" in names else mean(losses)


@contextmanager
def one_step_on_cpu(bench: Bench, snippet: Snippet) -> Iterator[None]:
    """Put settings of the test under the names that a snippet imports; learning rates become 0."""
    import torch

    rows = len(bench.stored(snippet.layout))

    def with_settings(make: Callable[..., Any]) -> Callable[..., Any]:
        return lambda **given: make(**settings(bench, given, rows))

    quiet = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
    }
    with ExitStack() as patches:
        patch = patches.enter_context
        if "torch.optim.AdamW" in snippet.text:
            patch(
                mock.patch("torch.optim.AdamW", lambda parameters, **_: torch.optim.SGD(parameters, lr=0.0))
            )
        if "trl" in snippet.text:
            import trl

            patch(mock.patch.object(trl, "SFTConfig", with_settings(trl.SFTConfig)))
        if "TrainingArguments" in snippet.text:
            import transformers

            made = with_settings(transformers.TrainingArguments)
            patch(mock.patch.object(transformers, "TrainingArguments", made))
        if "lightning" in snippet.text:
            import lightning

            fit = lightning.Trainer
            patch(mock.patch.object(lightning, "Trainer", lambda **given: fit(**given, **quiet)))
        yield


# ==== Helpers of the cases ====


def loader(rows: Any, size: int, collate: Any = None) -> Any:
    from torch.utils.data import DataLoader

    return DataLoader(rows, batch_size=size, collate_fn=collate)


def ours(**options: Any) -> Any:
    from premask.train import Collator

    return Collator(**options)


def theirs(name: str, *args: Any, **options: Any) -> Any:
    """A collator of transformers."""
    import transformers

    return getattr(transformers, name)(*args, **options)


def theirs_default() -> Any:
    """The collator that only stacks."""
    from transformers import default_data_collator

    return default_data_collator


def count(bench: Bench, layout: str) -> int:
    return len(bench.stored(layout))


def on_trl(
    layout: str, change: Callable[[Any], Any] = lambda rows: rows, **config: Any
) -> Callable[[Bench], float]:
    """A case of TRL: rows of a layout, changed, with this configuration."""
    streamed = config.pop("streaming", False)
    return lambda bench: trl(
        bench, change(bench.rows(layout, streaming=streamed)), count(bench, layout), **config
    )


def on_trainer(
    layout: str,
    collator: Callable[[Bench], Any],
    change: Callable[[Any], Any] = lambda rows: rows,
    **args: Any,
) -> Callable[[Bench], float]:
    """A case of transformers' Trainer."""
    streamed = args.pop("streaming", False)
    return lambda bench: trainer(
        bench, change(bench.rows(layout, streaming=streamed)), count(bench, layout), collator(bench), **args
    )


def with_mask(rows: Any) -> Any:
    """Packed rows with the mask of ones that they do not have, on purpose."""
    return rows.map(lambda row: {"attention_mask": [1] * len(row["input_ids"])})


def only(*names: str) -> Callable[[Any], Any]:
    return lambda rows: rows.select_columns(list(names))


TOKENIZED = ("input_ids", "attention_mask", "labels")


def by_rule_of_axolotl(bench: Bench) -> float:
    """The dataset of the snippet; rows are tokenized already where the features hold these three (axolotl
    0.19, utils/data/wrappers.py); then they are batched with DataCollatorForSeq2Seq."""
    import yaml
    from datasets import load_dataset

    (given,) = yaml.safe_load(snippet_of(bench, "axolotl-unpacked").text)["datasets"]
    assert given.pop("type") is None
    rows = load_dataset(given.pop("path"), **given)
    assert set(TOKENIZED) <= set(rows.features)
    return loop(bench, loader(only(*TOKENIZED)(rows), 4, theirs(SEQ2SEQ, bench.tokenizer)))


def by_rule_of_llama_factory(bench: Bench) -> float:
    """`tokenized_path` is `load_from_disk`; all columns go to its Seq2Seq collator (LLaMA-Factory 0.9.5,
    data/loader.py)."""
    from datasets import load_from_disk

    with chdir(bench.folder):
        run_lines(bench, "llama-factory-unpacked")
        rows = load_from_disk("tokenized")
    return loop(bench, loader(rows, 4, theirs(SEQ2SEQ, bench.tokenizer, pad_to_multiple_of=8)))


def by_rule_of_unsloth(bench: Bench) -> float:
    """`labels` among the columns: TRL leaves the rows as they are, and the collator is this one (unsloth_zoo
    2026.10.9, dataset_utils.py). unsloth itself needs a GPU."""
    config = {"max_length": None, "data_collator": theirs(SEQ2SEQ, bench.tokenizer), **SKIP}
    return trl(bench, bench.rows("unpacked"), count(bench, "unpacked"), **config)


def lines_of_unsloth(bench: Bench) -> float:
    """The snippet with TRL as it is: `unsloth` is a stand-in that loads model and tokenizer, because the real
    one does not start without a GPU."""

    class FastLanguageModel:
        @staticmethod
        def from_pretrained(_: str, **__: object) -> tuple[Any, Any]:
            return bench.model(), bench.tokenizer

    stand_in = types.ModuleType("unsloth")
    vars(stand_in)["FastLanguageModel"] = FastLanguageModel
    with mock.patch.dict(sys.modules, unsloth=stand_in):
        return run_snippet(bench, "unsloth-unpacked")


def by_rule_of_open_instruct(bench: Bench) -> float:
    """Exactly three columns, padded with DataCollatorForSeq2Seq."""
    rows = run_lines(bench, "open-instruct-unpacked")["rows"]
    assert set(rows.column_names) == set(TOKENIZED)
    return loop(bench, loader(rows, 4, theirs(SEQ2SEQ, bench.tokenizer)))


@contextmanager
def chdir(folder: Path) -> Iterator[None]:
    here = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(here)


def run_lines(bench: Bench, name: str) -> dict[str, Any]:
    """Run a snippet that only prepares rows; returns the names it leaves."""
    names: dict[str, Any] = {}
    exec(snippet_of(bench, name).text, names)  # noqa: S102
    return names


def without_shift(bench: Bench, rows: Iterable[Mapping[str, Any]], ids: str, positions: str) -> float:
    """Cross-entropy of labels with what is predicted at the same place: for labels that are shifted."""
    import torch

    model, total, trained_tokens = bench.model(), 0.0, 0
    for row in rows:
        inputs = torch.tensor([row[ids]])
        with torch.no_grad():
            logits = model(inputs, position_ids=torch.tensor([row[positions]]), use_cache=False).logits[0]
        labels = torch.tensor(row["labels"])
        total += float(torch.nn.functional.cross_entropy(logits, labels, reduction="sum"))
        trained_tokens += int((labels != -100).sum())
    return total / trained_tokens


def on_nemo_automodel(bench: Bench) -> float:
    rows = run_lines(bench, "nemo-automodel-packed")["rows"]
    assert set(rows.column_names) == {"input_ids", "labels", "position_ids", "seq_lens", "seq_lens_padded"}
    return without_shift(bench, rows, "input_ids", "position_ids")


def on_torchtune(bench: Bench) -> float:
    """The shift of `_loss_step` in full_finetune_single_device.py of torchtune 0.6.1."""
    rows = run_lines(bench, "torchtune-packed")["rows"]
    assert set(rows.column_names) == {"tokens", "labels", "input_pos", "seq_lens"}
    shifted = rows.map(lambda row: {"labels": [*row["labels"][1:], -100]})
    return without_shift(bench, shifted, "tokens", "input_pos")


def on_torchtune_shifted(bench: Bench) -> float:
    from premask.publish.adapters import torchtune_shifted

    rows = bench.rows("packed")
    rows = rows.map(torchtune_shifted, remove_columns=rows.column_names)
    return without_shift(bench, rows, "tokens", "input_pos")


# ==== The cases ====


def snippet_case(name: str, trainer: str, data: str, config: str) -> Case:
    return Case(trainer, data, f"{config} (snippet)", RIGHT, lambda bench: run_snippet(bench, name), name)


SEQ2SEQ = "DataCollatorForSeq2Seq"
FLATTENING = "DataCollatorWithFlattening"
LANGUAGE = "DataCollatorForLanguageModeling"
SKIP = {"dataset_kwargs": {"skip_prepare_dataset": True}}
FREE = {"padding_free": True, "max_length": None}

TRL = [
    snippet_case("trl-packed", "TRL", "packed", "padding_free, max_length=None"),
    Case("TRL", "packed", "the same, batch size 2", RIGHT, on_trl("packed", per_device_train_batch_size=2, **FREE)),
    Case("TRL", "packed", "the same, streamed", RIGHT, on_trl("packed", streaming=True, **FREE)),
    Case("TRL", "packed", "our collator, batch size 2", RIGHT,
         lambda b: trl(b, b.rows("packed"), count(b, "packed"), max_length=None, per_device_train_batch_size=2,
                       data_collator=ours())),
    Case("TRL", "packed", "padding_free, packing, skip_prepare_dataset", RIGHT, on_trl("packed", packing=True, **SKIP)),
    Case("TRL", "packed", "default", WRONG, on_trl("packed")),
    Case("TRL", "packed", "max_length=None", WRONG, on_trl("packed", max_length=None)),
    Case("TRL", "packed", "packing=True, max_length=4096", WRONG, on_trl("packed", packing=True, max_length=4096)),
    Case("TRL", "packed", "padding_free, without seq_lengths", WRONG,
         on_trl("packed", only("input_ids", "labels", "position_ids"), **FREE)),
    Case("TRL", "packed", "padding_free, default max_length", "max_length.*not enforced", on_trl("packed", padding_free=True)),
    snippet_case("trl-unpacked", "TRL", "unpacked", "max_length=None"),
    Case("TRL", "unpacked", "padding_free, max_length=None", RIGHT, on_trl("unpacked", **FREE)),
    Case("TRL", "unpacked", "max_length=None, streamed", RIGHT, on_trl("unpacked", streaming=True, max_length=None)),
    Case("TRL", "unpacked", "packing=True, max_length=2048", RIGHT, on_trl("unpacked", packing=True, max_length=2048)),
    Case("TRL", "unpacked", "max_length=100", WRONG, on_trl("unpacked", max_length=100)),
]  # fmt: skip

TRAINER = [
    snippet_case("trainer-packed", "Trainer", "packed", "our collator, flat, batch size 4"),
    snippet_case("trainer-packed-stock", "Trainer", "packed", "default_data_collator, batch size 1"),
    Case("Trainer", "packed", "the same, streamed", RIGHT,
         on_trainer("packed", lambda b: None, streaming=True, per_device_train_batch_size=1)),
    Case("Trainer", "packed", "our collator, padded, batch size 3", RIGHT,
         on_trainer("packed", lambda b: ours(padded=True), per_device_train_batch_size=3)),
    Case("Trainer", "packed", "our collator, padded, eager attention", RIGHT,
         on_trainer("packed", lambda b: ours(padded=True), attention="eager", per_device_train_batch_size=3)),
    Case("Trainer", "packed", "our collator, seq_idx, all columns kept", RIGHT,
         on_trainer("packed", lambda b: ours(seq_idx=True), remove_unused_columns=False)),
    Case("Trainer", "packed", "default_data_collator, batch size 2", "expected sequence of length|same length|tensor",
         on_trainer("packed", lambda b: None, per_device_train_batch_size=2)),
    Case("Trainer", "packed", "default_data_collator, use_cache=True", WRONG,
         on_trainer("packed", lambda b: None, use_cache=True, per_device_train_batch_size=1)),
    Case("Trainer", "packed", "default_data_collator, attention_mask of ones", WRONG,
         on_trainer("packed", lambda b: None, with_mask, per_device_train_batch_size=1)),
    Case("Trainer", "packed", f"{SEQ2SEQ}, batch size 1", WRONG,
         on_trainer("packed", lambda b: theirs(SEQ2SEQ, b.tokenizer), per_device_train_batch_size=1)),
    Case("Trainer", "packed", FLATTENING, WRONG, on_trainer("packed", lambda b: theirs(FLATTENING))),
    Case("Trainer", "packed", f"{LANGUAGE}, batch size 1", WRONG,
         on_trainer("packed", lambda b: theirs(LANGUAGE, b.tokenizer, mlm=False), per_device_train_batch_size=1)),
    snippet_case("trainer-unpacked", "Trainer", "unpacked", f"{SEQ2SEQ}, batch size 4"),
    Case("Trainer", "unpacked", "our collator, flat, batch size 4", RIGHT, on_trainer("unpacked", lambda b: ours())),
    Case("Trainer", "unpacked", "our collator, padded, batch size 4", RIGHT,
         on_trainer("unpacked", lambda b: ours(padded=True))),
    Case("Trainer", "unpacked", FLATTENING, RIGHT, on_trainer("unpacked", lambda b: theirs(FLATTENING))),
    Case("Trainer", "unpacked", f"{LANGUAGE}, batch size 1", WRONG,
         on_trainer("unpacked", lambda b: theirs(LANGUAGE, b.tokenizer, mlm=False), per_device_train_batch_size=1)),
    Case("Trainer", "unpacked", f"{LANGUAGE}, batch size 4", "Unable to create tensor",
         on_trainer("unpacked", lambda b: theirs(LANGUAGE, b.tokenizer, mlm=False), per_device_train_batch_size=4)),
]  # fmt: skip


def torch_rows(bench: Bench, layout: str, *names: str) -> Any:
    rows = bench.rows(layout).with_format("torch")
    return rows.select_columns(list(names)) if names else rows


MODEL_INPUTS = ("input_ids", "labels", "position_ids")

LOOPS = [
    snippet_case("torch-packed", "PyTorch", "packed", "our collator, flat, batch size 4"),
    Case("PyTorch", "packed", "our collator, padded, rows of lists", RIGHT,
         lambda b: loop(b, loader(b.rows("packed"), 3, ours(padded=True)), use_cache=False)),
    Case("PyTorch", "packed", "our collator, streamed", RIGHT,
         lambda b: loop(b, loader(b.rows("packed", streaming=True), 3, ours()), use_cache=False)),
    Case("PyTorch", "packed", "default collate of tensors, batch size 1", RIGHT,
         lambda b: loop(b, loader(torch_rows(b, "packed", *MODEL_INPUTS), 1), use_cache=False)),
    Case("PyTorch", "packed", "default collate of tensors, batch size 2", "stack expects each tensor to be equal size",
         lambda b: loop(b, loader(torch_rows(b, "packed", *MODEL_INPUTS), 2), use_cache=False)),
    Case("PyTorch", "packed", "our collator, use_cache left on", WRONG,
         lambda b: loop(b, loader(b.rows("packed"), 3, ours()))),
    Case("PyTorch", "unpacked", "our collator, flat", RIGHT,
         lambda b: loop(b, loader(b.rows("unpacked"), 4, ours()), use_cache=False)),
    Case("PyTorch", "unpacked", "our collator, padded", RIGHT,
         lambda b: loop(b, loader(b.rows("unpacked"), 4, ours(padded=True)), use_cache=False)),
    snippet_case("lightning-packed", "Lightning", "packed", "our collator, flat, batch size 4"),
]  # fmt: skip

OTHERS = [
    Case("axolotl, its rule of columns", "unpacked", SEQ2SEQ, RIGHT, by_rule_of_axolotl, "axolotl-unpacked"),
    Case("LLaMA-Factory, load_from_disk", "unpacked", SEQ2SEQ, RIGHT, by_rule_of_llama_factory, "llama-factory-unpacked"),
    Case("unsloth, its rule of columns", "unpacked", SEQ2SEQ, RIGHT, by_rule_of_unsloth),
    Case("unsloth, its lines on plain TRL", "unpacked", "max_length=None", RIGHT, lines_of_unsloth, "unsloth-unpacked"),
    Case("open-instruct, its columns", "unpacked", SEQ2SEQ, RIGHT, by_rule_of_open_instruct, "open-instruct-unpacked"),
    Case("NeMo-Automodel, no shift", "packed", "adapters.nemo_automodel", RIGHT, on_nemo_automodel, "nemo-automodel-packed"),
    Case("NeMo-Automodel, no shift", "packed", "labels as they are", WRONG,
         lambda b: without_shift(b, b.rows("packed"), "input_ids", "position_ids")),
    Case("torchtune 0.6.1, its shift", "packed", "adapters.torchtune", RIGHT, on_torchtune, "torchtune-packed"),
    Case("torchtune later, no shift", "packed", "adapters.torchtune_shifted", RIGHT, on_torchtune_shifted),
]  # fmt: skip

PADDED = [
    Case("TRL", "padded", "padding_free, max_length=None, batch size 2", RIGHT,
         on_trl("padded", per_device_train_batch_size=2, **FREE)),
    Case("Trainer", "padded", "default_data_collator, batch size 4", RIGHT,
         on_trainer("padded", lambda b: theirs_default(), per_device_train_batch_size=4)),
    Case("Trainer", "padded", "default_data_collator, eager attention", RIGHT,
         on_trainer("padded", lambda b: theirs_default(), attention="eager", per_device_train_batch_size=4)),
    Case("Trainer", "padded", "our collator, flat, batch size 4", RIGHT,
         on_trainer("padded", lambda b: ours(), per_device_train_batch_size=4)),
    Case("PyTorch", "padded", "default collate of tensors, batch size 2", RIGHT,
         lambda b: loop(b, loader(torch_rows(b, "padded", *MODEL_INPUTS), 2), use_cache=False)),
    Case("TRL", "masked", "completion_mask for labels, completion_only_loss", RIGHT,
         on_trl("masked", only("input_ids", "completion_mask"), completion_only_loss=True, max_length=None)),
    Case("TRL", "masked", "completion_mask for labels, default", WRONG,
         on_trl("masked", only("input_ids", "completion_mask"), max_length=None)),
    Case("TRL", "masked", "assistant_masks for labels", RIGHT,
         on_trl("masked", only("input_ids", "assistant_masks"), max_length=None)),
]  # fmt: skip
"""Rows with what a recipe can add: pad documents (`pad_rows`), and masks (`extra_columns`) as older TRL reads
them, which does not look at `labels`."""

CASES = [*TRL, *TRAINER, *LOOPS, *OTHERS, *PADDED]


def key(case: Case) -> str:
    return f"{case.trainer}: {case.data}: {case.config}"


def outcome(case: Case, bench: Bench) -> dict[str, Any]:
    """What a case came to: its loss, or its error."""
    try:
        with redirect_stdout(sys.stderr):
            return {"loss": case.loss(bench)}
    except Exception as error:  # noqa: BLE001  the error may be what is expected
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}"}


def facts() -> dict[str, Any]:
    """What the documents say of the trainers, and the versions all this is about."""
    import accelerate
    import lightning
    import torch
    import transformers
    import trl

    modules = (torch, transformers, trl, accelerate, lightning)
    versions = {module.__name__: module.__version__ for module in modules}
    return {"versions": versions, "trl_max_length": trl.SFTConfig(use_cpu=True, bf16=False).max_length}


def main() -> None:
    output, folder = map(Path, sys.argv[1:3])
    bench = Bench(output, folder)
    bench.make_model()
    print(json.dumps({"by_hand": bench.by_hand, **facts()}), flush=True)
    for case in CASES:
        print(json.dumps({"case": key(case), **outcome(case, bench)}), flush=True)


if __name__ == "__main__":
    main()
