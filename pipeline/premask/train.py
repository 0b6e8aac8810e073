"""Train a causal language model on shards that premask wrote. This file alone can be copied to a GPU box: it
needs torch, transformers and datasets (peft for LoRA, tensorboard for its logs), and nothing of premask.

    python train.py out/chats --model Qwen/Qwen3-0.6B --output runs/chats
    torchrun --nproc-per-node 8 train.py org/chats --model google/gemma-2b --output runs/chats --fsdp
    premask train out/chats --model Qwen/Qwen3-0.6B --output runs/chats      # the same on one GPU

An accumulated batch is one step; its loss is the sum over its trained tokens by their number, across all
ranks. Past the last layer nothing is computed for the other tokens: hidden states are cut to the positions
that predict a trained one before the language-model head (`logits_to_keep`). The order of rows and the random
numbers of dropout follow from the seed and the step alone, so that neither the number of processes nor a kill
and a restart changes the run.

OUTPUT then holds `model/` (weights, tokenizer, generation config, or the LoRA adapter), `log.jsonl`,
`tensorboard/`, `run.json` (the settings) and `checkpoints/`. Exit codes: 0 done, 2 something to mend (one
line says what), 130 interrupted after a checkpoint.

The collator can be used in other loops; it needs torch alone:

    rows = load_dataset("out/chats", "packed", split="train")
    for batch in DataLoader(rows, batch_size=4, collate_fn=Collator()):
        loss = model(**batch, use_cache=False).loss

`use_cache=False` is needed: with a cache, eager and sdpa attention do not look at `position_ids`, and the
samples of a pack see each other (`Trainer` of transformers and of TRL set it themselves). It costs about
0.3 us a token for rows of Python lists, which is what `datasets` gives, a third of that or less for rows of
tensors (`dataset.with_format("torch")`).
"""

from __future__ import annotations

import argparse
import atexit
import difflib
import hashlib
import json
import math
import os
import queue
import re
import shutil
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING or find_spec("torch") or not {"-h", "--help"} & {*sys.argv}:  # the help needs none
    import torch
    import torch.distributed as dist
    from torch.nn import functional

CONTRACT = 1
"""The newest version of premask's output contract that this file reads (`premask.contract` of a shard)."""

IGNORE_INDEX = -100
"""Label of a token that carries no loss (PyTorch's and Hugging Face's convention)."""

COLUMNS = ("input_ids", "labels", "seq_lengths", "seq_lengths_padded", "loss_weights")
"""The columns that are read; of the last three what is there."""

Row = Mapping[str, Any]
"""One row of a dataset: columns as lists, numpy arrays or tensors."""


class TrainError(Exception):
    """Something that the user can mend: printed as one line, exit code 2."""


class RowsError(ValueError):
    """Rows that no batch can be made of: a column is missing, or its values do not fit the others."""


# ==== The collator ====


@dataclass(frozen=True, kw_only=True)
class Collator:
    """Joins packed or unpacked rows into one batch; made to be a `collate_fn` or a `data_collator`.

    A batch of n tokens in d documents holds, of dtype int64 unless said otherwise:

        input_ids, labels, position_ids     (1, n)   labels are unshifted; -100 carries no loss
        cu_seq_lens_q, cu_seq_lens_k        (d + 1,) int32: where documents start, and n
        max_length_q, max_length_k          int: length of the longest document
        seq_idx                             (1, n)   int32: which document, counted from 0 (`seq_idx=True`)
        loss_weights                        (1, n)   float32: only where the rows have that column

    `position_ids` keep documents apart in eager, sdpa and flex attention, `cu_seq_lens` in flash attention,
    `seq_idx` in linear attention (which needs its own kernels). There never is an `attention_mask`: beside
    the positions of a pack, a mask of ones would join its documents again.

    `padded=True` makes the shape (rows, longest row) instead, padded on the right; what is added to a row is
    a document of its own, with `pad_id` for ids, label -100 and weight 0.

    Rows need `input_ids` and `labels`. Documents are those of `seq_lengths_padded`, with the padding behind
    each, or of `seq_lengths`; without these columns those that `position_ids` start at 0, else each row is
    one. The first label of each document becomes -100, since shifted it would be predicted from the document
    before. Models ignore `loss_weights`: they are for
    loops that compute the loss themselves.

    Raises `RowsError` for rows that do not fit, with the number of the row in the batch.

    >>> batch = Collator()([{"input_ids": [5, 6, 7], "labels": [5, -100, 7], "seq_lengths": [1, 2]}])
    >>> batch["labels"].tolist(), batch["position_ids"].tolist(), batch["cu_seq_lens_q"].tolist()
    ([[-100, -100, 7]], [[0, 0, 1]], [0, 1, 3])
    """

    padded: bool = False
    pad_id: int = 0
    seq_idx: bool = False

    def __call__(self, rows: Sequence[Row]) -> dict[str, Any]:
        if not rows:
            raise RowsError("a batch needs at least one row")
        names = _names(rows)
        tensors = [_row_tensors(row, names, i) for i, row in enumerate(rows)]
        documents = [_document_lengths(row, len(tensors[i]["input_ids"]), i) for i, row in enumerate(rows)]
        shape = (1, sum(len(each["input_ids"]) for each in tensors))
        if self.padded:
            shape = (len(rows), max(len(each["input_ids"]) for each in tensors))
            tensors = [_pad(each, shape[1], self.pad_id) for each in tensors]
            documents = [_with_rest(lengths, shape[1]) for lengths in documents]
        flat = {name: torch.cat([each[name] for each in tensors]) for name in names}
        return _batch(flat, torch.cat(documents), shape, seq_idx=self.seq_idx)


def _batch(
    flat: dict[str, torch.Tensor], lengths: torch.Tensor, shape: tuple[int, int], *, seq_idx: bool
) -> dict[str, Any]:
    """The batch of all documents: `flat` columns (n,), their lengths (d,)."""
    edges = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    starts = edges[:-1]
    flat["labels"][starts] = IGNORE_INDEX
    if "loss_weights" in flat:
        flat["loss_weights"][starts] = 0
    flat["position_ids"] = _positions(lengths)
    if seq_idx:
        numbers = torch.arange(len(lengths), dtype=torch.int32)
        flat["seq_idx"] = numbers.repeat_interleave(lengths)
    cumulative, longest = edges.to(torch.int32), int(lengths.max())
    return {
        **{name: values.view(shape) for name, values in flat.items()},
        "cu_seq_lens_q": cumulative,
        "cu_seq_lens_k": cumulative,
        "max_length_q": longest,
        "max_length_k": longest,
    }


# ==== Preferences ====


@dataclass(frozen=True, kw_only=True)
class SideCollator:
    """Joins rows of the layouts `preference` and `kto` into one batch for TRL's DPOTrainer and KTOTrainer.

    TRL's own collators train every token of a side; this one trains those of its mask. A batch of n texts,
    padded on the right to the longest, holds:

        input_ids, attention_mask, completion_mask      (n, longest) int64
        label                                           (n,) bool: of `kto` alone

    Of pairs there are first all chosen texts, then all rejected ones. Of `kto` there are also `KL_input_ids`,
    `KL_attention_mask` and `KL_completion_mask`: each prompt with the answer of the row before it, and the
    first with that of the last row. Columns `ref_...`, which TRL adds, are kept.

    Raises `RowsError` for rows that lack a column, or whose masks are not as long as their sides.

    >>> row = {"prompt_ids": [5, 6], "chosen_ids": [7, 8], "chosen_mask": [1, 0]}
    >>> batch = SideCollator()([{**row, "rejected_ids": [9], "rejected_mask": [1]}])
    >>> batch["input_ids"].tolist(), batch["completion_mask"].tolist()
    ([[5, 6, 7, 8], [5, 6, 9, 0]], [[0, 0, 1, 0], [0, 0, 1, 0]])
    """

    pad_id: int = 0

    def __call__(self, rows: Sequence[Row]) -> dict[str, torch.Tensor]:
        if not rows:
            raise RowsError("a batch needs at least one row")
        is_kto = "completion_ids" in rows[0]
        sides = ("completion",) if is_kto else ("chosen", "rejected")
        batch = self._texts([_text_of(row, row, side) for side in sides for row in rows])
        if is_kto:
            turned = zip(rows, [*rows[-1:], *rows[:-1]], strict=True)
            others = self._texts([_text_of(row, other, "completion") for row, other in turned])
            batch |= {f"KL_{name}": values for name, values in others.items()}
        names = [name for name in rows[0] if name == "label" or name.startswith("ref_")]
        return batch | {name: torch.as_tensor([row[name] for row in rows]) for name in names}

    def _texts(self, texts: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> dict[str, torch.Tensor]:
        """The texts of ids and masks, padded."""

        def joined(values: Sequence[torch.Tensor], value: int) -> torch.Tensor:
            return torch.nn.utils.rnn.pad_sequence([*values], batch_first=True, padding_value=value)

        return {
            "input_ids": joined([ids for ids, _ in texts], self.pad_id),
            "attention_mask": joined([torch.ones_like(ids) for ids, _ in texts], 0),
            "completion_mask": joined([mask for _, mask in texts], 0),
        }


def _text_of(row: Row, other: Row, side: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask of the prompt of a row with a side of a row, int64 each."""
    try:
        prompt, ids, mask = (
            torch.as_tensor(held, dtype=torch.int64)
            for held in (row["prompt_ids"], other[f"{side}_ids"], other[f"{side}_mask"])
        )
    except KeyError as error:
        raise RowsError(
            f"a row has no column {error}, only {sorted(row)}; load rows that premask wrote with layout "
            "preference or kto, and keep all columns (remove_unused_columns=False)"
        ) from None
    if len(ids) != len(mask):
        raise RowsError(f"a row has {len(ids)} tokens in {side}_ids, but {len(mask)} in {side}_mask")
    return torch.cat([prompt, ids]), torch.cat([torch.zeros_like(prompt), mask])


# ==== Rows ====


def _names(rows: Sequence[Row]) -> list[str]:
    """The columns that are joined; weights only if all rows have them."""
    weighted = sum("loss_weights" in row for row in rows)
    if 0 < weighted < len(rows):
        raise RowsError(
            "some rows of the batch have loss_weights and some have none; mix only alike datasets"
        )
    return ["input_ids", "labels", *(["loss_weights"] if weighted else [])]


def _row_tensors(row: Row, names: Sequence[str], number: int) -> dict[str, torch.Tensor]:
    """The columns of a row, each (n,), checked against each other."""
    tensors = {name: _tensor(row, name, number) for name in names}
    ids, labels = tensors["input_ids"], tensors["labels"]
    for name, values in tensors.items():
        _check_length(name, values, len(ids), number)
    wrong = ((labels != IGNORE_INDEX) & (labels != ids)).nonzero()
    if len(wrong):
        at = int(wrong[0])
        raise RowsError(
            f"row {number} of the batch: label {int(labels[at])} at token {at}, whose id is {int(ids[at])}; "
            "labels must be unshifted: -100, or the id at the same place"
        )
    mask = row.get("attention_mask")
    if mask is not None and 0 in mask:
        raise RowsError(
            f"row {number} of the batch: attention_mask holds zeros; collate rows without padding, as "
            "premask writes them"
        )
    return tensors


def _tensor(row: Row, name: str, number: int) -> torch.Tensor:
    """One column of a row, (n,)."""
    if row.get(name) is None:
        raise RowsError(
            f"row {number} of the batch has no column {name!r}, only {sorted(row)}; load rows that premask "
            "wrote, and keep that column (Trainer: remove_unused_columns=False)"
        )
    dtype = torch.float32 if name == "loss_weights" else torch.int64
    value = row[name]
    try:
        tensor = value.to(dtype) if isinstance(value, torch.Tensor) else torch.tensor(value, dtype=dtype)
    except (TypeError, ValueError, RuntimeError) as error:
        raise RowsError(f"row {number} of the batch: {name} is no list of numbers ({error})") from None
    if tensor.dim() != 1 or not len(tensor):
        raise RowsError(
            f"row {number} of the batch: {name} has the shape {tuple(tensor.shape)}, where a list of numbers "
            "is needed; collate rows, not batches"
        )
    return tensor


def _check_length(name: str, values: torch.Tensor, size: int, number: int) -> None:
    if len(values) != size:
        raise RowsError(
            f"row {number} of the batch: {size} input_ids but {len(values)} {name}; "
            "both need one value a token"
        )


def _document_lengths(row: Row, size: int, number: int) -> torch.Tensor:
    """Lengths of the documents in a row of `size` tokens, (d,)."""
    name = "seq_lengths" if row.get("seq_lengths_padded") is None else "seq_lengths_padded"
    if row.get(name) is not None:
        lengths = _tensor(row, name, number)
        if int(lengths.min()) < 1 or int(lengths.sum()) != size:
            raise RowsError(
                f"row {number} of the batch: {name} {lengths.tolist()} do not add up to its {size} "
                "tokens; was the row cut?"
            )
        return lengths
    if row.get("position_ids") is None:
        return torch.tensor([size])
    positions = _tensor(row, "position_ids", number)
    _check_length("position_ids", positions, size, number)
    starts = (positions == 0).nonzero().flatten()
    lengths = torch.cat([starts, starts.new_tensor([size])]).diff()
    if int(positions[0]) or not torch.equal(positions, _positions(lengths)):
        raise RowsError(
            f"row {number} of the batch: position_ids do not count up from 0 in every document; "
            "load rows that premask wrote"
        )
    return lengths


def _positions(lengths: torch.Tensor) -> torch.Tensor:
    """Positions within documents of these lengths, (n,).

    >>> _positions(torch.tensor([2, 3])).tolist()
    [0, 1, 0, 1, 2]
    """
    starts = lengths.cumsum(0) - lengths
    return torch.arange(int(lengths.sum())) - starts.repeat_interleave(lengths)


# ==== Padding ====


def _pad(tensors: Mapping[str, torch.Tensor], length: int, pad_id: int) -> dict[str, torch.Tensor]:
    """The columns of a row, filled up on the right."""
    fill = {"input_ids": pad_id, "labels": IGNORE_INDEX, "loss_weights": 0}
    pad = torch.nn.functional.pad
    return {name: pad(each, (0, length - len(each)), value=fill[name]) for name, each in tensors.items()}


def _with_rest(lengths: torch.Tensor, length: int) -> torch.Tensor:
    """Lengths of documents, with what is missing to `length` as one more.

    >>> _with_rest(torch.tensor([2, 3]), 8).tolist(), _with_rest(torch.tensor([2, 3]), 5).tolist()
    ([2, 3, 3], [2, 3])
    """
    rest = length - int(lengths.sum())
    return torch.cat([lengths, lengths.new_tensor([rest])]) if rest else lengths


# ==== Options ====


def _option(default: Any, help: str, **more: Any) -> Any:  # noqa: A002  as argparse names it
    return field(default=default, metadata={"help": help, **more})


def _number(least: float, kind: type = int) -> Callable[[str], Any]:
    """A converter of argparse for numbers that are `least` or more."""

    def convert(text: str) -> Any:
        value = kind(text)
        if not value >= least or value == math.inf:
            raise argparse.ArgumentTypeError(f"{text} is not a number from {least} on")
        return value

    return convert


@dataclass(frozen=True, kw_only=True)
class Options:
    """All settings of a run; each is an option of the command line, `dataset` its argument."""

    dataset: str = _option(None, "output directory of premask, org/name on the Hub, or a URL of a store")
    model: str = _option(None, "directory or Hub id of the model", required=True)
    output: str = _option(None, "directory that is written", required=True)
    config: str = _option(
        None, "layout to train on; default: packed where it is there", choices=["packed", "unpacked"]
    )
    split: str = _option("train", "split to train on")
    eval_split: str = _option(None, "split to evaluate on, or none; default: validation where it is there")
    eval_dataset: str = _option(None, "dataset to evaluate on, where it is another one")
    revision: str = _option(None, "branch, tag or commit of a dataset on the Hub")
    streaming: bool = _option(False, "read shards as they are needed, instead of fetching all of them first")
    train_on: str = _option("assistant", "which tokens carry loss", choices=["assistant", "all"])
    packing: str = _option("on", "off: rows of single samples, padded", choices=["on", "off"])
    head: str = _option("sparse", "full: logits for all tokens", choices=["sparse", "full"])
    from_scratch: bool = _option(False, "random weights of the model's config")
    lora: int = _option(0, "rank of LoRA adapters; 0 trains all weights", type=_number(0))
    lora_alpha: int = _option(None, "alpha of LoRA; default: twice the rank", type=_number(1))
    lora_dropout: float = _option(0.0, "dropout of LoRA", type=_number(0, float))
    lora_targets: str = _option("all-linear", "modules with adapters, with commas")
    dtype: str = _option(
        "auto",
        "dtype of the computation; auto: bfloat16 on GPUs that have it, else float32",
        choices=["auto", "float32", "bfloat16"],
    )
    weights: str = _option(
        "float32", "dtype that trained weights are kept in", choices=["float32", "bfloat16"]
    )
    attention: str = _option(
        "auto",
        "flash_attention_2, sdpa, eager, or another name of transformers; auto: FlashAttention where it is "
        "installed, else the model's default",
    )
    gradient_checkpointing: bool = _option(False, "compute activations again instead of keeping them")
    fsdp: bool = _option(False, "shard weights, gradients and optimizer over the processes of torchrun")
    batch_size: int = _option(4, "rows that a process takes at once", type=_number(1))
    accumulate: int = _option(1, "batches of each process that make a step", type=_number(1))
    learning_rate: float = _option(1e-5, "highest learning rate", type=_number(0, float))
    schedule: str = _option(
        "cosine", "learning rate after the warm-up", choices=["cosine", "linear", "constant"]
    )
    warmup: float = _option(
        0.03, "steps of warm-up, or their share where it is below 1", type=_number(0, float)
    )
    weight_decay: float = _option(0.0, "weight decay of AdamW, on matrices", type=_number(0, float))
    clip: float = _option(1.0, "largest norm of the gradient; 0: any", type=_number(0, float))
    epochs: float = _option(1.0, "passes over the rows", type=_number(0, float))
    steps: int = _option(0, "steps, whatever the number of epochs", type=_number(0))
    seed: int = _option(0, "of the order of rows, dropout and new weights", type=_number(0))
    shuffle: str = _option("on", "off: rows in the order of the shards", choices=["on", "off"])
    log_every: int = _option(1, "steps between lines of the log", type=_number(1))
    eval_every: int = _option(0, "steps between evaluations; 0: only before and after", type=_number(0))
    save_every: int = _option(200, "steps between checkpoints; 0: only the last", type=_number(0))
    keep: int = _option(2, "newest checkpoints that are kept", type=_number(1))
    resume: str = _option("auto", "auto: go on where OUTPUT stands; never: start anew; or a checkpoint")


GROUPS: Mapping[str, Sequence[str]] = {
    "what is trained": (
        "model",
        "output",
        "from_scratch",
        "lora",
        "lora_alpha",
        "lora_dropout",
        "lora_targets",
    ),
    "rows": (
        *("config", "split", "eval_split", "eval_dataset", "revision", "streaming", "train_on", "packing"),
        *("shuffle", "seed"),
    ),
    "computation": ("head", "dtype", "weights", "attention", "gradient_checkpointing", "fsdp"),
    "steps": (
        *("batch_size", "accumulate", "learning_rate", "schedule", "warmup", "weight_decay", "clip"),
        *("epochs", "steps"),
    ),
    "log and checkpoints": ("log_every", "eval_every", "save_every", "keep", "resume"),
}
"""How the help groups the options."""


FREE = frozenset(
    {
        "output",
        "revision",
        "eval_split",
        "accumulate",
        "log_every",
        "eval_every",
        "save_every",
        "keep",
        "resume",
    }
)
"""Options that may differ when a run goes on. (`accumulate` does where the number of processes does.)"""


def parse_options(argv: Sequence[str], prog: str | None = None) -> Options:
    """Return the settings of a command line; leaves with code 2 where it is wrong."""
    command = prog or "python train.py"
    parser = _Parser(
        prog=prog,
        usage=f"{command} DATASET --model MODEL --output OUTPUT [options]",
        description="Train on shards that premask wrote.",
        epilog=f"example: {command} out/chats --model Qwen/Qwen3-0.6B --output out/model",
        allow_abbrev=False,
    )
    found = {each.name: each for each in fields(Options)}
    parser.add_argument("dataset", metavar="DATASET", **found["dataset"].metadata)
    for title, names in GROUPS.items():
        group = parser.add_argument_group(title)
        for name in names:
            _add(group, name, found[name].default, found[name].metadata)
    parser.check_flags(argv)
    return Options(**vars(parser.parse_args(argv)))


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, and name what was probably meant."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; '{self.prog} --help' lists all options\n")

    def check_flags(self, argv: Sequence[str]) -> None:
        """Leave with code 2 if there is an option that is none."""
        for word in argv:
            name = word.partition("=")[0]
            if name.startswith("--") and name != "--" and name not in self._option_string_actions:
                near = difflib.get_close_matches(name.replace("_", "-"), self._option_string_actions, n=1)
                hint = f"; did you mean '{near[0]}'?" if near else ""
                self.error(f"no such option {name[:80]!r}{hint}")


def _add(group: Any, name: str, default: Any, metadata: Mapping[str, Any]) -> None:
    """Add an option to a group, with its default in its help where it has one."""
    more = dict(metadata)
    if default is False:
        group.add_argument(_flag(name), action="store_true", **more)
        return
    if "choices" not in more:
        more["metavar"] = "N" if "type" in more else name.upper()
    if default is not None:
        more["help"] += f" [default: {default}]"
    group.add_argument(_flag(name), default=default, **more)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


# ==== Processes ====


@dataclass(frozen=True)
class World:
    """The processes that train together, and the place of this one among them."""

    rank: int
    size: int
    device: torch.device

    @classmethod
    def join(cls) -> World:
        """Join the processes of torchrun; without it there is this one alone."""
        rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        device = torch.device("cpu")
        if torch.cuda.is_available():
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
            torch.cuda.set_device(device)
        if size > 1 and not dist.is_initialized():
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        return cls(rank, size, device)

    def sum(self, *values: float) -> list[float]:
        """The sums of values over all processes."""
        if self.size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return list(total.tolist())

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes, by rank."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value)
        return found

    def say(self, text: str) -> None:
        """Print a line, once for all processes."""
        if self.rank == 0:
            print(text, flush=True)


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its name."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def seed_of(*numbers: int) -> int:
    """A seed for a generator, from any numbers; the same everywhere.

    >>> seed_of(0, 1) == seed_of(0, 1) != seed_of(1, 0)
    True
    """
    digest = hashlib.blake2b(repr(numbers).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def permutation(size: int, *seed: int) -> list[int]:
    """The numbers below `size` in an order that follows from the seed."""
    return list(torch.randperm(size, generator=torch.Generator().manual_seed(seed_of(*seed))).tolist())


# ==== Shards ====


@dataclass(frozen=True, kw_only=True)
class Shards:
    """The shards of one split.

    `root` is the dataset as a path or URL; `files` are its shards, likewise, in order; `groups` the rows of
    each row group of each of them; `columns` those that are read.
    """

    root: str
    config: str
    split: str
    files: tuple[str, ...]
    groups: tuple[tuple[int, ...], ...]
    columns: tuple[str, ...]

    @property
    def rows(self) -> int:
        """Rows of all shards."""
        return sum(map(sum, self.groups))

    def place(self, row: int) -> str:
        """Where a row stands, in words: `row 3 of packed/train-00000-of-00001.parquet`."""
        for file, groups in zip(self.files, self.groups, strict=True):
            if row < sum(groups):
                return f"row {row} of {self.config}/{file.rsplit('/', 1)[-1]}"
            row -= sum(groups)
        return f"row {row}"


def find_root(dataset: str, revision: str | None) -> str:
    """Return a dataset as a path or URL; one on the Hub is pinned to its commit."""
    if Path(dataset).is_dir():
        return str(Path(dataset).resolve())
    if "://" in dataset:
        return dataset.rstrip("/")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", dataset):
        raise TrainError(f"{dataset} is no directory, and no name of a dataset on the Hub (org/name)")
    from huggingface_hub import HfApi

    what = f"{dataset} is no directory here, and as a dataset on the Hub it"
    commit = _fetched(what, lambda: HfApi().dataset_info(dataset, revision=revision).sha)
    return f"hf://datasets/{dataset}@{commit}"


MANIFEST_BYTES = 1 << 25
"""Bytes of a manifest, at most."""


def _fetched(name: str, fetch: Callable[[], Any]) -> Any:
    """What `fetch` returns; the errors of stores and of the Hub as one line."""
    try:
        return fetch()
    except (OSError, ValueError, LookupError, TypeError, OverflowError) as error:  # Arrow's are any of these
        raise TrainError(f"{name} cannot be read: {first_line(error)}") from error


def open_shards(root: str, config: str | None, split: str) -> Shards | None:
    """Return the shards of a split, whose contract is checked; None if it has no rows."""
    configs = [config] if config else ["packed", "unpacked"]
    listed = {name: _fetched(root, partial(_listed, f"{root}/{name}")) for name in configs}
    config = next((name for name in configs if listed[name]), None)
    if config is None:
        raise TrainError(
            f"{root} has no shards in {' or '.join(configs)}/; name an output directory of premask, or its "
            "copy on the Hub or in a store (--config chooses the layout)"
        )
    names = {each.rsplit("/", 1)[-1]: each for each in listed[config]}
    found = [re.fullmatch(re.escape(split) + r"-(\d+)-of-(\d+)\.parquet", name) for name in names]
    shards = sorted((int(each[1]), int(each[2]), names[each[0]]) for each in found if each)
    if not shards:
        return None
    if [number for number, _, _ in shards] != list(range(shards[0][1])):
        raise TrainError(
            f"{root}/{config} has {len(shards)} of {shards[0][1]} shards of {split}; get the rest"
        )
    files = tuple(file for _, _, file in shards)
    with ThreadPoolExecutor(16) as pool:
        footers = list(pool.map(partial(_parquet, read=lambda it: (it.schema_arrow, it.metadata)), files))
    for file, (schema, _) in zip(files, footers, strict=True):
        _check_contract(file, schema)
    groups = [tuple(meta.row_group(i).num_rows for i in range(meta.num_row_groups)) for _, meta in footers]
    if not sum(map(sum, groups)):
        return None
    columns = tuple(name for name in COLUMNS if name in footers[0][0].names)
    return Shards(root=root, config=config, split=split, files=files, groups=tuple(groups), columns=columns)


def _listed(folder: str) -> list[str]:
    """The Parquet files of a folder, as paths or URLs; none where there is no folder."""
    import fsspec

    system, path = fsspec.core.url_to_fs(folder)
    with suppress(FileNotFoundError, NotADirectoryError):
        found = {each["name"]: each["type"] for each in system.ls(path, detail=True)}
        names = sorted(name for name in found if name.endswith(".parquet"))
        if odd := [name for name in names if found[name] != "file"]:
            raise ValueError(f"{odd[0]} is no regular file")
        return [name if "://" not in folder else system.unstrip_protocol(name) for name in names]
    return []


def _parquet(file: str, read: Callable[[Any], Any]) -> Any:
    """What `read` makes of a Parquet file, a path or URL."""
    import fsspec
    import pyarrow.parquet as pq

    def opened() -> Any:
        with fsspec.open(file, "rb") as stream:
            return read(pq.ParquetFile(stream))

    return _fetched(file, opened)


def _manifest(root: str) -> dict[str, Any]:
    """The manifest of a dataset; empty where it has none."""
    import fsspec

    with suppress(OSError, ValueError, RecursionError):
        system, path = fsspec.core.url_to_fs(f"{root}/manifest.json")
        info = system.info(path)
        if info["type"] == "file" and info["size"] <= MANIFEST_BYTES:
            return dict(json.loads(system.cat_file(path)))
    return {}


def _check_contract(file: str, schema: Any) -> None:
    contract = (schema.metadata or {}).get(b"premask.contract", b"").decode(errors="replace")
    if not contract.isdecimal() or not {"input_ids", "labels"} <= set(schema.names):
        raise TrainError(
            f"{file} is no shard that premask wrote (its schema has no premask.contract); make one with "
            "premask run"
        )
    if int(contract) > CONTRACT:
        raise TrainError(
            f"{file} was written by a newer premask (contract {contract}; this train.py reads up to "
            f"{CONTRACT}); take the train.py of that version"
        )


TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    "chat_template.jinja",
)
"""The files of a tokenizer that are fetched and copied; code and links are not."""


def copy_tokenizer(folder: Path, into: Path) -> None:
    """Copy the files of a tokenizer."""
    further = sorted(folder.glob("additional_chat_templates/*.jinja"))
    for file in [*(folder / name for name in TOKENIZER_FILES), *further]:
        if file.is_file() and not file.is_symlink():
            target = into / file.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)


def fetch_folder(root: str, name: str, into: Path) -> Path | None:
    """Return a dataset's folder of a tokenizer, copied to `into` if it is not here; None if there is none."""
    import fsspec

    if "://" not in root:
        return Path(root, name) if Path(root, name).is_dir() else None
    system, path = fsspec.core.url_to_fs(f"{root}/{name}")
    try:
        files = _fetched(root, partial(system.ls, path, detail=False))
    except TrainError:
        return None
    into.mkdir(parents=True, exist_ok=True)
    for file in (file for file in files if file.rsplit("/", 1)[-1] in TOKENIZER_FILES):
        _fetched(file, partial(system.get_file, file, str(into / file.rsplit("/", 1)[-1])))
    return into


# ==== Rows ====


class Rows:
    """The rows of shards, in an order: all of them fetched and mapped to memory, or streamed.

    A stream is read by row groups in random order, and in random order within each: no order of rows is
    kept in memory, and going on at a row costs nothing.
    """

    def __init__(self, shards: Shards, *, streaming: bool) -> None:
        self.shards = shards
        self._table = None
        if not streaming:
            from datasets import load_dataset

            # as a list: `datasets` takes a name for a pattern, but paths with [ in them for what they are
            files = [file if "://" in file else _escaped(file) for file in shards.files]
            table = load_dataset("parquet", data_files=files, split="train", columns=list(shards.columns))
            self._table = table.with_format("numpy")

    def read(self, epoch: int, start: int, seed: int | None) -> Iterator[tuple[int, Callable[[], Row]]]:
        """Yield the rows of an epoch from `start` on: the number of each, and what fetches it. With a seed
        they are shuffled, in another way each epoch."""
        if self._table is None:
            yield from self._stream(epoch, start, seed)
            return
        count = self.shards.rows
        order = range(count) if seed is None else permutation(count, seed, epoch)
        for row in order[start:]:
            yield row, partial(self._table.__getitem__, row)

    def _stream(self, epoch: int, start: int, seed: int | None) -> Iterator[tuple[int, Callable[[], Row]]]:
        blocks, first = [], 0
        for file, groups in zip(self.shards.files, self.shards.groups, strict=True):
            for group, count in enumerate(groups):
                blocks.append((file, group, first, count))
                first += count
        order = range(len(blocks)) if seed is None else permutation(len(blocks), seed, epoch)
        for file, group, first, count in (blocks[i] for i in order):
            if start < count:
                rows = range(count) if seed is None else permutation(count, seed, epoch, first)
                table = _parquet(file, partial(_read_group, group=group, columns=self.shards.columns))
                for row in rows[start:]:
                    yield first + row, partial(_table_row, table, row)
            start = max(0, start - count)

    def largest_id(self) -> tuple[int, int]:
        """A row with the largest token id of all, and that id; of a stream nothing is known (0, 0)."""
        import pyarrow.compute as pc

        found, first = (0, 0), 0
        for chunk in self._table.data.column("input_ids").chunks if self._table is not None else ():
            ids = chunk.flatten()
            largest = pc.max(ids).as_py() or 0
            if largest > found[1]:
                found = first + pc.list_parent_indices(chunk)[pc.index(ids, largest).as_py()].as_py(), largest
            first += len(chunk)
        return found


def _escaped(path: str) -> str:
    """A path as `datasets` does not take it for a pattern.

    >>> _escaped("a[1].parquet")
    'a[[]1].parquet'
    """
    return re.sub(r"([*?[])", r"[\1]", path)


def _read_group(file: Any, group: int, columns: Sequence[str]) -> Any:
    return file.read_row_group(group, columns=list(columns))


def _table_row(table: Any, row: int) -> Row:
    return {name: table.column(name)[row].values.to_numpy() for name in table.column_names}


# ==== Batches ====


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Rows that go through the model at once.

    `inputs` are the model's; `targets` (as `input_ids`) say which token each position predicts, -100 where it
    predicts none that counts; `weights` what its loss counts, None for 1. `tokens` counts those of the rows,
    `trained` those with loss, `weight` what these count together.
    """

    inputs: dict[str, Any]
    targets: torch.Tensor
    weights: torch.Tensor | None
    rows: tuple[tuple[int, Row], ...]
    tokens: int
    trained: int
    weight: float

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        if device.type == "cpu":
            return self
        move = partial(torch.Tensor.to, device=device, non_blocking=True)
        inputs = {name: move(v) if isinstance(v, torch.Tensor) else v for name, v in self.inputs.items()}
        weights = None if self.weights is None else move(self.weights)
        return replace(self, inputs=inputs, targets=move(self.targets), weights=weights)


FLAT, ROWS, SINGLE = "flat", "rows", "single"
"""What the model is given: all documents in one line (flash attention); a pack a line, documents kept apart
by `position_ids`; a document a line, padded, with an `attention_mask`."""

_NOTHING: Row = {"input_ids": [0, 0], "labels": [IGNORE_INDEX] * 2}
"""What a process computes where it has no row left while others have: it counts nothing."""


@dataclass(frozen=True, kw_only=True)
class Maker:
    """Makes batches of rows: in which form, with which labels, for which vocabulary."""

    form: str
    train_on: str
    vocabulary: int
    pad_id: int
    place: Callable[[int], str]

    def __call__(self, rows: Sequence[tuple[int, Row]]) -> Batch:
        for number, row in rows:
            check_ids(row, self.vocabulary, partial(self.place, number))
        given: list[Row] = [row for _, row in rows] or [_NOTHING]
        if self.train_on == "all":
            given = [_train_on_all(row) for row in given]
        try:
            inputs, labels, weights = self._joined(given)
        except RowsError as error:
            raise TrainError(f"{', '.join(self.place(n) for n, _ in rows)}: {error}") from error
        targets = functional.pad(labels[:, 1:], (0, 1), value=IGNORE_INDEX)
        kept = targets != IGNORE_INDEX
        trained = int(kept.sum())
        if weights is not None:
            weights = functional.pad(weights[:, 1:], (0, 1))
        return Batch(
            inputs=inputs,
            targets=targets,
            weights=weights,
            rows=tuple(rows),
            tokens=sum(len(row["input_ids"]) for _, row in rows),
            trained=trained,
            weight=trained if weights is None else float(weights[kept].double().sum()),
        )

    def _joined(self, rows: Sequence[Row]) -> tuple[dict[str, Any], torch.Tensor, torch.Tensor | None]:
        """The inputs of the model, labels and weights."""
        if self.form == SINGLE:
            rows = [document for row in rows for document in documents(row)]
        collator = Collator(padded=self.form != FLAT, pad_id=self.pad_id, seq_idx=self.form == FLAT)
        batch = collator(rows)
        labels, weights = batch.pop("labels"), batch.pop("loss_weights", None)
        if self.form == FLAT:
            return batch, labels, weights
        inputs = {"input_ids": batch["input_ids"]}
        if self.form == ROWS:
            return {**inputs, "position_ids": batch["position_ids"]}, labels, weights
        lengths = torch.tensor([len(row["input_ids"]) for row in rows])
        mask = (torch.arange(labels.shape[1]) < lengths[:, None]).long()
        return {**inputs, "attention_mask": mask}, labels, weights


def check_ids(row: Row, vocabulary: int, place: Callable[[], str]) -> None:
    """Refuse ids that the model has no embedding for."""
    ids = torch.as_tensor(row["input_ids"])
    if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < vocabulary:
        wrong = int(ids.max() if int(ids.min()) >= 0 else ids.min())
        raise TrainError(
            f"{place()} holds the token id {wrong}, but model and tokenizer have {vocabulary} ids; was the "
            "dataset made with another tokenizer? Run premask again with the model's"
        )


def _lengths(row: Row, *, padded: bool = False) -> torch.Tensor:
    """Lengths of a row's documents, (d,), without the padding behind each, or with it."""
    given = row.get("seq_lengths_padded") if padded else None
    given = row.get("seq_lengths") if given is None else given
    return torch.as_tensor([len(row["input_ids"])] if given is None else given, dtype=torch.int64)


def documents(row: Row) -> list[Row]:
    """The documents of a pack as rows of their own, without padding, and without those that carry no loss
    (such as padding that fills a row up); where none does, the first.

    >>> pack = {"input_ids": [5, 6, 7, 0], "labels": [-100, 6, 7, -100], "seq_lengths": [2, 1, 1]}
    >>> [each["input_ids"].tolist() for each in documents(pack)]
    [[5, 6], [7]]
    """
    sizes, own = _lengths(row, padded=True).tolist(), _lengths(row).tolist()
    names = [name for name in COLUMNS if name in row and not name.startswith("seq_lengths")]
    parts = [torch.as_tensor(row[name]).split(sizes) for name in names]
    columns = [[part[:size] for part, size in zip(each, own, strict=True)] for each in parts]
    found: list[Row] = [dict(zip(names, each, strict=True)) for each in zip(*columns, strict=True)]
    return [each for each in found if bool((each["labels"] != IGNORE_INDEX).any())] or found[:1]


def _train_on_all(row: Row) -> Row:
    """A row whose labels are its ids, in each document that carries a loss; padding stays without."""
    ids, labels = torch.as_tensor(row["input_ids"]), torch.as_tensor(row["labels"])
    lengths, own = _lengths(row, padded=True), _lengths(row)
    number = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    trained = torch.zeros(len(lengths), dtype=torch.int64).index_add_(
        0, number, (labels != IGNORE_INDEX).long()
    )
    every = torch.where((trained[number] > 0) & (_positions(lengths) < own[number]), ids, IGNORE_INDEX)
    return {**{name: row[name] for name in row if name != "loss_weights"}, "labels": every}


def read_steps(
    rows: Rows,
    make: Maker,
    world: World,
    sizes: tuple[int, int],
    order: tuple[int, int, int | None] = (0, 0, None),
) -> Iterator[list[Batch]]:
    """Yield the batches of this process, step by step, for one epoch. `sizes` are rows of a batch and batches
    of a step, `order` the arguments of `Rows.read`.

    Batch i of a step goes to the process i modulo their number: with half the processes and twice the
    batches of each, a step is the same. Where the rows run out, batches are smaller, or empty.
    """
    reader = rows.read(*order)
    batch_size, count = sizes[0], sizes[1] * world.size
    while step := list(islice(reader, count * batch_size)):
        parts = [step[i * batch_size : (i + 1) * batch_size] for i in range(world.rank, count, world.size)]
        yield [make([(number, fetch()) for number, fetch in part]) for part in parts]


def ahead(items: Iterator[Any], depth: int = 2) -> Generator[Any, None, None]:
    """Yield what an iterator does, made by a thread of its own that is `depth` items ahead."""
    waiting: queue.Queue[tuple[str, Any]] = queue.Queue(depth)
    stop = threading.Event()

    def put(kind: str, value: Any) -> None:
        while not stop.is_set():
            with suppress(queue.Full):
                waiting.put((kind, value), timeout=0.1)
                return

    def work() -> None:
        try:
            for item in items:
                put("item", item)
                if stop.is_set():
                    return
            put("end", None)
        except BaseException as error:  # noqa: BLE001  raised again where the items are used
            put("error", error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while (got := waiting.get())[0] == "item":
            yield got[1]
        if got[0] == "error":
            raise got[1]
    finally:
        stop.set()
        thread.join()


# ==== Model ====


def compute_dtype(options: Options, device: torch.device) -> torch.dtype:
    """The dtype of the computation."""
    if options.dtype == "auto":
        able = device.type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if able else torch.float32
    return torch.bfloat16 if options.dtype == "bfloat16" else torch.float32


def load_model(
    options: Options, dtype: torch.dtype, device: torch.device, size: int
) -> tuple[Any, list[str]]:
    """Return the model, on the CPU, with embeddings for `size` ids, and what is to be said of it."""
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.utils import is_flash_attn_2_available

    notes = []
    weights = dtype if options.lora else getattr(torch, options.weights)
    attentions: list[str | None] = [None if options.attention == "auto" else options.attention]
    if options.attention == "auto" and dtype is torch.bfloat16 and device.type == "cuda":
        attentions = ["flash_attention_2", None] if is_flash_attn_2_available() else [None]
    for i, attention in enumerate(attentions):
        given = {
            "dtype": weights,
            "trust_remote_code": False,
            **({"attn_implementation": attention} if attention else {}),
        }
        try:
            torch.manual_seed(seed_of(options.seed))
            if options.from_scratch:
                config = AutoConfig.from_pretrained(options.model, trust_remote_code=False)
                model = AutoModelForCausalLM.from_config(config, **given)
            else:
                model = AutoModelForCausalLM.from_pretrained(options.model, **given)
            break
        except (ValueError, ImportError, OSError) as error:
            if i + 1 == len(attentions):
                raise TrainError(f"{options.model} cannot be loaded: {first_line(error)}") from error
    rows = model.get_input_embeddings().weight.shape[0]
    if rows < size:
        torch.manual_seed(seed_of(options.seed, 1))
        model.resize_token_embeddings(size)
        notes.append(f"embeddings resized from {rows} to {size}: the tokenizer has {size - rows} ids more")
    if options.lora:
        model = _with_lora(model, options, range(rows, size))
    return model, notes


def _with_lora(model: Any, options: Options, added: range) -> Any:
    """A model with adapters; rows that were added to its embeddings are trained whole."""
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise TrainError("--lora needs peft, which is not installed: pip install peft") from None
    layers = {}
    if added:
        wanted = [model.get_input_embeddings()]
        if not model.config.get_text_config().tie_word_embeddings:
            wanted.append(model.get_output_embeddings())
        names = {id(module): name.rsplit(".", 1)[-1] for name, module in model.named_modules()}
        layers = {names[id(module)]: list(added) for module in wanted}
    targets = options.lora_targets
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=options.lora,
        lora_alpha=options.lora_alpha or 2 * options.lora,
        lora_dropout=options.lora_dropout,
        target_modules=targets if targets == "all-linear" else targets.split(","),
        trainable_token_indices=layers or None,
    )
    torch.manual_seed(seed_of(options.seed, 2))
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        raise TrainError(f"--lora-targets {targets}: {first_line(error)}") from error


def set_special_ids(model: Any, tokenizer: Any, stops: Sequence[int]) -> None:
    """Put pad and eos of the tokenizer into the model's configs; generation also ends at `stops`."""
    eos = tokenizer.eos_token_id
    pad = eos if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    model.config.pad_token_id = pad
    model.config.eos_token_id = model.config.eos_token_id if eos is None else eos
    generation = getattr(model, "generation_config", None)
    if generation is not None:
        old = generation.eos_token_id
        ends = [*(old if isinstance(old, list) else [old]), eos, *stops]
        generation.pad_token_id = pad
        generation.eos_token_id = list(dict.fromkeys(each for each in ends if each is not None)) or None


def stop_ids(rows: Rows, tokenizer: Any) -> list[int]:
    """Control tokens that end a trained span in the first rows: where an assistant's turn ends."""
    special = {i for i, each in tokenizer.added_tokens_decoder.items() if each.special}
    found: dict[int, None] = {}
    for _, fetch in islice(rows.read(0, 0, None), 64):
        labels = torch.as_tensor(fetch()["labels"])
        last = labels[(labels != IGNORE_INDEX) & (functional.pad(labels[1:], (0, 1), value=-100) == -100)]
        found.update(dict.fromkeys(i for i in last.tolist() if i in special))
    return list(found)


@dataclass(kw_only=True)
class Trainee:
    """A model in training.

    `model` is what is called, `core` the same without what DDP puts around it. `head` is `sparse` or `full`;
    `autocast` the dtype of the computation where the weights have another.
    """

    model: Any
    core: Any
    head: str
    autocast: torch.dtype | None
    device: torch.device
    fsdp: bool

    def logits(self, model: Any, batch: Batch, **more: Any) -> torch.Tensor:
        """The scores of a batch, of all positions unless `more` has `logits_to_keep`."""
        with self._casting():
            return model(**batch.inputs, use_cache=False, **more).logits

    def losses(self, batch: Batch, *, model: Any = None, head: str = "") -> torch.Tensor:
        """The loss of each trained token of a batch, float32[trained], in order."""
        model = model or self.core
        kept = batch.targets != IGNORE_INDEX
        if (head or self.head) == "sparse":
            scores = self.logits(model, batch, logits_to_keep=kept).flatten(0, -2)
            if len(scores) != batch.trained:
                raise ValueError(f"logits_to_keep gave {len(scores)} positions, not {batch.trained}")
            return functional.cross_entropy(scores.float(), batch.targets[kept], reduction="none")
        scores = self.logits(model, batch).float().flatten(0, -2)
        every = functional.cross_entropy(
            scores, batch.targets.flatten(), reduction="none", ignore_index=IGNORE_INDEX
        )
        return every[kept.flatten()]

    def loss(self, batch: Batch) -> torch.Tensor:
        """The loss of a batch for its gradient, summed with weights."""
        losses = self.losses(batch, model=self.model)
        if batch.weights is not None:
            losses = losses * batch.weights[batch.targets != IGNORE_INDEX]
        return losses.sum()

    def _casting(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, self.autocast) if self.autocast else nullcontext()


def place_model(model: Any, options: Options, dtype: torch.dtype, world: World) -> Trainee:
    """Put a model on the device, and what several processes need around it."""
    if options.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    fsdp = options.fsdp and world.size > 1
    core = _sharded(model, dtype, world) if fsdp else model.to(world.device)
    wrapped = core
    if world.size > 1 and not fsdp:
        ids = [world.device.index] if world.device.type == "cuda" else None
        wrapped = torch.nn.parallel.DistributedDataParallel(
            core, device_ids=ids, gradient_as_bucket_view=True
        )
    autocast = dtype if dtype is not torch.float32 and not fsdp else None
    return Trainee(
        model=wrapped, core=core, head=options.head, autocast=autocast, device=world.device, fsdp=fsdp
    )


def _sharded(model: Any, dtype: torch.dtype, world: World) -> Any:
    """A model whose layers are sharded over all processes (FSDP2); gradients are added up, not averaged."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

    mesh = init_device_mesh(world.device.type, (world.size,))
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
    core = model.get_base_model() if hasattr(model, "get_base_model") else model
    layers = set(core._no_split_modules or ())  # noqa: SLF001  the only place that names a model's layers
    for module in [each for each in model.modules() if type(each).__name__ in layers]:
        fully_shard(module, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy, reshard_after_forward=True)  # after evaluations too
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
    return model


# ==== Self-tests ====


def choose_form(model: Any, options: Options, config: str) -> str:
    """What form of batches a model is given."""
    if options.packing == "off":
        return SINGLE
    kinds = getattr(model.config.get_text_config(), "layer_types", None) or ()
    linear = any("attention" not in kind or "linear" in kind for kind in kinds)
    if linear or "flash" in model.config._attn_implementation:  # noqa: SLF001  has no other name
        return FLAT
    return ROWS if config == "packed" else SINGLE


def check_isolation(trainee: Trainee, maker: Maker, attention: str) -> str:
    """Refuse a model that mixes the documents of a line: two short random ones must have the same scores
    packed as alone. Returns what was found, in words.

    What rounding does differs from model to model, so the difference is held against that which the
    first document makes to the second if they are joined to one.
    """
    count = trainee.core.get_input_embeddings().weight.shape[0]
    ids = torch.randint(0, count, (21,), generator=torch.Generator().manual_seed(1))

    def scores(*lengths: int, tokens: torch.Tensor = ids) -> torch.Tensor:
        row = {"input_ids": tokens, "labels": tokens, "seq_lengths": lengths}
        batch = maker([(0, row)]).to(trainee.device)
        with torch.no_grad():
            return trainee.logits(trainee.core, batch).float()[0, -9:]

    remedies = (
        "use another --attention (flash_attention_2 keeps documents apart in most models), or --packing off, "
        "which gives it single samples"
    )
    try:
        alone, packed, joined = scores(9, tokens=ids[12:]), scores(12, 9), scores(21)
    except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        what = f"this model cannot be given packs with {attention} attention ({first_line(error)})"
        raise TrainError(f"{what}; {remedies}") from error
    spread = float(alone.std())
    apart = float((packed - alone).abs().mean()) / spread
    mixed = float((joined - alone).abs().mean()) / spread
    tolerance = 1e-4 if trainee.autocast is None and not trainee.fsdp else 2e-2
    if apart > tolerance and apart > mixed / 4:
        raise TrainError(
            f"with {attention} attention this model lets the samples of a pack see each other: scores of a "
            f"sample change by {apart:.1%} of their spread beside another one; {remedies}"
        )
    if mixed <= tolerance:
        return f"not to be told: even joined samples change scores by {mixed:.1e} of their spread only"
    return f"scores of a packed sample are those of the sample alone, to {apart:.1e} of their spread"


def check_head(trainee: Trainee, maker: Maker) -> str | None:
    """Return why the sparse head cannot be used on this model, None if it can: the loss is compared."""
    count = trainee.core.get_input_embeddings().weight.shape[0]
    ids = torch.randint(0, count, (12,), generator=torch.Generator().manual_seed(2))
    labels = torch.where(torch.arange(12) % 3 == 0, IGNORE_INDEX, ids)
    batch = maker([(0, {"input_ids": ids, "labels": labels})]).to(trainee.device)
    try:
        with torch.no_grad():
            sparse, full = (trainee.losses(batch, head=head) for head in ("sparse", "full"))
    except (TypeError, ValueError, IndexError, RuntimeError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        return f"it does not take logits_to_keep as a mask ({first_line(error)})"
    difference = float((sparse - full).abs().max())
    tolerance = 1e-4 if trainee.autocast is None and not trainee.fsdp else 5e-2
    if not difference <= tolerance * float(full.max()):
        return f"its losses with logits_to_keep differ by {difference:.1e}"
    return None


# ==== State ====


@dataclass
class Progress:
    """How far a run is; counts are over all processes, `window_*` since the last line of the log."""

    step: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    masked_batches: int = 0
    skipped_steps: int = 0
    window_loss: float = 0.0
    window_weight: float = 0.0
    window_tokens: int = 0
    window_trained: int = 0
    window_seconds: float = 0.0


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints of a run, oldest first."""
    return sorted(file.parent for file in folder.glob("step-????????/state.json"))


def _checkpoint(folder: Path, step: int) -> Path:
    return folder / f"step-{step:08d}"


def save_checkpoint(
    folder: Path, trainee: Trainee, optimizer: Any, state: Mapping[str, Any], world: World
) -> None:
    """Write a checkpoint: it has its name only when it is complete."""
    from torch.distributed import checkpoint

    final, scratch = _checkpoint(folder, state["progress"]["step"]), folder / "unfinished"
    if world.rank == 0:
        shutil.rmtree(scratch, ignore_errors=True)
        shutil.rmtree(final, ignore_errors=True)
        scratch.mkdir(parents=True)
    world.sum(0.0)  # wait for the folder
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of one process there is nothing to say
        checkpoint.save(_weights(trainee, optimizer), checkpoint_id=scratch, no_dist=world.size == 1)
    world.sum(0.0)
    if world.rank == 0:
        (scratch / "state.json").write_text(json.dumps(state, indent=1), encoding="utf-8")
        scratch.rename(final)
    world.sum(0.0)


def load_checkpoint(folder: Path, trainee: Trainee, optimizer: Any, world: World) -> None:
    """Read weights and optimizer of a checkpoint."""
    from torch.distributed import checkpoint
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_state_dict

    state = _weights(trainee, optimizer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checkpoint.load(state, checkpoint_id=folder, no_dist=world.size == 1)
    model, states = state["model"], state["optimizer"]
    options = StateDictOptions(ignore_frozen_params=True, strict=False)  # frozen weights are not in it
    set_state_dict(trainee.core, optimizer, model_state_dict=model, optim_state_dict=states, options=options)


def _weights(trainee: Trainee, optimizer: Any) -> dict[str, Any]:
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict

    options = StateDictOptions(ignore_frozen_params=True)
    model, states = get_state_dict(trainee.core, optimizer, options=options)
    return {"model": model, "optimizer": states}


def save_model(
    folder: Path, trainee: Trainee, tokenizer: Path | None, dtype: torch.dtype, world: World
) -> None:
    """Write the model in a dtype, with the tokenizer beside it; the directory is there as a whole or not."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    core, state = trainee.core, {}
    if trainee.fsdp:
        whole = StateDictOptions(full_state_dict=True, cpu_offload=True)
        tied = getattr(core, "all_tied_weights_keys", None) or {}
        found = get_model_state_dict(core, options=whole)
        state = {"state_dict": {name: each.to(dtype) for name, each in found.items() if name not in tied}}
    if world.rank == 0:
        scratch = folder.with_name("model.unfinished")
        shutil.rmtree(scratch, ignore_errors=True)
        (core if trainee.fsdp else core.to(dtype)).save_pretrained(scratch, **state)
        if tokenizer:
            copy_tokenizer(tokenizer, scratch)
        shutil.rmtree(folder, ignore_errors=True)
        scratch.rename(folder)
    world.sum(0.0)


class Log:
    """The lines of `log.jsonl`, and the same for TensorBoard where it is installed; rank 0 alone writes."""

    def __init__(self, output: Path, world: World, *, step: int) -> None:
        """Open the log of a run that goes on after `step`: lines of later steps are cut off."""
        self._file = self._board = None
        if world.rank:
            return
        path = output / "log.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if step and path.exists() else []
        kept = [line for line in lines if line.endswith("\n") and json.loads(line).get("step", 0) <= step]
        path.write_text("".join(kept), encoding="utf-8")
        self._file = path.open("a", encoding="utf-8")
        with suppress(ImportError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from torch.utils.tensorboard import SummaryWriter

            if not step:
                shutil.rmtree(output / "tensorboard", ignore_errors=True)
            self._board = SummaryWriter(str(output / "tensorboard"), purge_step=step + 1)

    def write(self, line: Mapping[str, Any]) -> None:
        """Append a line; numbers beside a step go to TensorBoard too."""
        if self._file is None:
            return
        self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._file.flush()
        if self._board is not None and "event" not in line:
            for name, value in line.items():
                if name != "step" and value is not None:
                    self._board.add_scalar(name, value, line["step"])

    def close(self) -> None:
        """Close both."""
        for each in (self._file, self._board):
            if each is not None:
                each.close()


# ==== The run ====


@dataclass(kw_only=True)
class Run:
    """All that a run needs while it trains. `evaluation` are the rows of the split to evaluate on."""

    options: Options
    world: World
    rows: Rows
    evaluation: Rows | None
    make: Maker
    trainee: Trainee
    optimizer: Any
    log: Log
    progress: Progress
    settings: Mapping[str, Any]
    total: int
    stopped: list[int]

    @property
    def rows_a_step(self) -> int:
        """Rows that all processes take in one step."""
        return self.options.batch_size * self.options.accumulate * self.world.size


def train(run: Run) -> None:
    """Train to the last step, with evaluations and checkpoints on the way; KeyboardInterrupt if stopped."""
    options, progress = run.options, run.progress
    if progress.step == 0:
        evaluate(run)
    saved = progress.step
    with closing(ahead(batches_from(run, progress.step))) as steps:
        began = time.perf_counter()
        for batches in islice(steps, run.total - progress.step):
            rate = learning_rate(options, progress.step, run.total)
            norm, stop = update(run, batches, rate)
            if stop:
                break
            progress.step += 1
            progress.window_seconds += time.perf_counter() - began
            last = progress.step == run.total
            if last or progress.step % options.log_every == 0:
                report(run, rate, norm)
            if last or (options.eval_every and progress.step % options.eval_every == 0):
                evaluate(run)
            if last or (options.save_every and progress.step % options.save_every == 0):
                save(run)
                saved = progress.step
            began = time.perf_counter()
    if progress.step < run.total:
        if saved != progress.step:
            save(run)
        raise KeyboardInterrupt


def batches_from(run: Run, step: int) -> Iterator[list[Batch]]:
    """The batches of this process from a step on, epoch after epoch, without end."""
    options, size = run.options, run.rows_a_step
    epoch, done = divmod(step, math.ceil(run.rows.shards.rows / size))
    while True:
        order = epoch, done * size, options.seed if options.shuffle == "on" else None
        yield from read_steps(run.rows, run.make, run.world, (options.batch_size, options.accumulate), order)
        epoch, done = epoch + 1, 0


def learning_rate(options: Options, step: int, total: int) -> float:
    """The learning rate of a step, counted from 0.

    >>> options = Options(learning_rate=1.0, schedule="linear", warmup=2)
    >>> [learning_rate(options, step, 6) for step in range(6)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    warmup = math.ceil(options.warmup * total) if options.warmup < 1 else int(options.warmup)
    if step < warmup:
        return options.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, total - warmup)
    shares = {"cosine": 0.5 * (1 + math.cos(math.pi * done)), "linear": 1 - done, "constant": 1.0}
    return options.learning_rate * shares[options.schedule]


def update(run: Run, batches: Sequence[Batch], rate: float) -> tuple[float, bool]:
    """One step; returns the norm of the gradient, and whether some process was told to stop before it.

    The loss of each batch is divided by the weight of all trained tokens of the step, across ranks, so that
    the gradients of all batches add up to that of their mean. A step without trained tokens changes nothing.
    """
    world, trainee, progress = run.world, run.trainee, run.progress
    masked = sum(1 for batch in batches if batch.rows and not batch.trained)
    weight, trained, tokens, masked_all, stop = world.sum(
        sum(batch.weight for batch in batches),
        sum(batch.trained for batch in batches),
        sum(batch.tokens for batch in batches),
        masked,
        len(run.stopped),
    )
    if stop:
        return 0.0, True
    total, norm = 0.0, 0.0
    if weight > 0:
        total, norm = _descend(run, batches, rate, weight)
    else:
        progress.skipped_steps += 1
    progress.tokens += int(tokens)
    progress.trained_tokens += int(trained)
    progress.masked_batches += int(masked_all)
    progress.window_loss += total
    progress.window_weight += weight
    progress.window_tokens += int(tokens)
    progress.window_trained += int(trained)
    if trainee.device.type == "cuda":
        torch.cuda.synchronize()
    return norm, False


def _descend(run: Run, batches: Sequence[Batch], rate: float, weight: float) -> tuple[float, float]:
    """Gradients of all batches, and the optimizer's step; returns the sum of the loss over all ranks and the
    norm of the gradient."""
    world, trainee, options = run.world, run.trainee, run.options
    scale = (1 if trainee.fsdp else world.size) / weight  # DDP averages gradients, FSDP is told to add them
    sums = []
    for i, batch in enumerate(batches):
        if world.size == 1 and not batch.trained:
            continue
        torch.manual_seed(seed_of(options.seed, 3, run.progress.step, i * world.size + world.rank))
        with _synced(trainee, world, last=i + 1 == len(batches)):
            loss = trainee.loss(batch.to(trainee.device))
            (loss * scale).backward()
        sums.append(loss.detach())
    parameters = [each for each in trainee.core.parameters() if each.requires_grad]
    gradient = torch.nn.utils.clip_grad_norm_(parameters, options.clip or math.inf)
    norm = float(gradient.full_tensor() if hasattr(gradient, "full_tensor") else gradient)
    (total,) = world.sum(sum(float(each) for each in sums))
    if not math.isfinite(total) or not math.isfinite(norm):
        _stop_at(run, batches, total / weight, norm)
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)
    return total, norm


def _synced(trainee: Trainee, world: World, *, last: bool) -> AbstractContextManager[Any]:
    """Exchange gradients only with the last batch of a step."""
    if trainee.fsdp:
        trainee.core.set_requires_gradient_sync(last)
    elif world.size > 1 and not last:
        return trainee.model.no_sync()  # type: ignore[no-any-return]
    return nullcontext()


def _stop_at(run: Run, batches: Sequence[Batch], loss: float, norm: float) -> None:
    """End the run at a loss that is no number, and name the rows: each is run alone."""
    found = []
    for batch in batches:
        for i in range(run.options.batch_size):  # as often on each process: with FSDP they work together
            part = batch.rows[i : i + 1]
            with torch.no_grad():
                losses = run.trainee.losses(run.make(part).to(run.trainee.device))
            if not bool(losses.isfinite().all()):
                found.append(part[0][0])
    wrong = sorted({number for rank in run.world.gather(found) for number in rank})
    taken = [number for batch in batches for number, _ in batch.rows]
    every = sorted({number for rank in run.world.gather(taken) for number in rank})
    named = "; ".join(describe_row(run.rows.shards, number) for number in (wrong or every)[:3])
    more = len(wrong or every) - 3
    what = f"loss {loss:g}" if not math.isfinite(loss) else f"a gradient of norm {norm:g}"
    which = "" if wrong else "no row alone has such a loss; the step's rows are "
    if wrong == every:
        which = "each row of the step has it, so the weights may hold it: "
    raise TrainError(
        f"{what} at step {run.progress.step + 1}: {which}{named}{f' and {more} more' if more > 0 else ''}. "
        "Nothing was changed by this step; lower --learning-rate, or mend these rows, and start again"
    )


def describe_row(shards: Shards, row: int) -> str:
    """Where a row stands, and the rows of the input it was made from, as far as lineage is there."""
    try:
        found = _origins(shards, row)
    except Exception as error:  # noqa: BLE001  lineage only adds to an error that is told in any case
        found = [f"its lineage cannot be read: {error}"]
    more = f" and {len(found) - 8} more" if len(found) > 8 else ""
    return f"{shards.place(row)} ({', '.join(found[:8])}{more})" if found else shards.place(row)


def _origins(shards: Shards, row: int) -> list[str]:
    """The rows of the input that a row of the shards was made from: `chats.jsonl row 3`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    files = _listed(f"{shards.root}/lineage")
    if not files:
        return []
    table = pa.concat_tables([_parquet(file, lambda it: it.read()) for file in files])
    if "split" in table.column_names:  # `pack` counts within its split
        table = table.filter(pc.equal(table["split"], shards.split))
    if shards.config == "packed" or not _listed(f"{shards.root}/packed"):
        table = table.filter(pc.equal(table["pack"], row))
    else:  # single samples stand in the order of the input, lineage in that of the packs
        sources = pa.array([each["source"] for each in _manifest(shards.root)["inputs"]], pa.string())
        table = table.append_column("place", pc.index_in(table["source"], value_set=sources))
        table = table.sort_by([(name, "ascending") for name in ("place", "row", "sample")]).slice(row, 1)
    return [f"{each['source']} row {each['row']}" for each in table.select(["source", "row"]).to_pylist()]


def evaluate(run: Run) -> None:
    """Log the mean loss over all trained tokens (of assistants, each counted 1) of the evaluation split."""
    if run.evaluation is None:
        return
    make = replace(run.make, train_on="assistant", place=run.evaluation.shards.place)
    run.trainee.core.eval()
    loss = torch.zeros((), dtype=torch.float64, device=run.trainee.device)
    trained = 0
    reader = read_steps(run.evaluation, make, run.world, (run.options.batch_size, 1))
    with torch.no_grad(), closing(ahead(reader)) as steps:
        for (batch,) in steps:
            trained += batch.trained
            loss += run.trainee.losses(batch.to(run.trainee.device)).double().sum()
    run.trainee.core.train()
    total, count = run.world.sum(float(loss), trained)
    if not count:
        raise TrainError(f"split {run.evaluation.shards.split} has no trained token; --eval-split none")
    mean = total / count
    perplexity = math.exp(mean) if mean < 700 else math.inf
    line = {"step": run.progress.step, "eval_loss": mean, "eval_perplexity": perplexity}
    run.log.write({**line, "eval_trained_tokens": int(count)})
    run.world.say(f"step {run.progress.step:,}: eval loss {mean:.4f}, perplexity {perplexity:.2f}")


def report(run: Run, rate: float, norm: float) -> None:
    """Log the steps since the last line."""
    progress = run.progress
    seconds = max(progress.window_seconds, 1e-9)
    line = {
        "step": progress.step,
        "epoch": progress.step / math.ceil(run.rows.shards.rows / run.rows_a_step),
        "loss": progress.window_loss / progress.window_weight if progress.window_weight else None,
        "lr": rate,
        "grad_norm": norm,
        "tokens": progress.tokens,
        "trained_tokens": progress.trained_tokens,
        "masked_batches": progress.masked_batches,
        "skipped_steps": progress.skipped_steps,
        "tokens_per_second": progress.window_tokens / seconds,
        "trained_tokens_per_second": progress.window_trained / seconds,
        "memory_bytes": peak_memory(run.trainee.device),
    }
    run.log.write(line)
    loss = "none" if line["loss"] is None else f"{line['loss']:.4f}"
    run.world.say(
        f"step {progress.step:,} of {run.total:,}: loss {loss}, lr {rate:.2e}, "
        f"{line['tokens_per_second']:,.0f} tokens/s ({line['trained_tokens_per_second']:,.0f} trained)"
    )
    progress.window_loss = progress.window_weight = progress.window_seconds = 0.0
    progress.window_tokens = progress.window_trained = 0


def peak_memory(device: torch.device) -> int:
    """Most bytes that were in use so far: on the GPU by tensors, else by this process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated())
    try:
        import resource
    except ImportError:  # Windows has none
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def save(run: Run) -> None:
    """Write a checkpoint and remove old ones."""
    folder = Path(run.options.output) / "checkpoints"
    state = {"progress": asdict(run.progress), "settings": run.settings}
    save_checkpoint(folder, run.trainee, run.optimizer, state, run.world)
    if run.world.rank == 0:
        for old in checkpoints(folder)[: -run.options.keep]:
            shutil.rmtree(old)


# ==== The beginning and the end ====


def claim_output(options: Options, settings: Mapping[str, Any]) -> Path | None:
    """Make the output directory, or find the run in it; returns the checkpoint to go on from.

    Raises `TrainError` for a directory of something else, or of a run with other settings.
    """
    output = Path(options.output)
    record = output / "run.json"
    if not record.is_file() and output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise TrainError(f"{output} holds other files; give --output a new directory")
    if options.resume == "never":
        for name in ("checkpoints", "model"):
            shutil.rmtree(output / name, ignore_errors=True)
    found = next(reversed(checkpoints(output / "checkpoints")), None)
    if found:
        _compare(settings, json.loads(record.read_text(encoding="utf-8")), str(output))
    if options.resume not in {"auto", "never"}:
        found = Path(options.resume)
        if not (found / "state.json").is_file():
            raise TrainError(f"--resume {found} is no complete checkpoint: it has no state.json")
        _compare(
            settings, json.loads((found / "state.json").read_text(encoding="utf-8"))["settings"], str(found)
        )
    output.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    return found


def _compare(settings: Mapping[str, Any], others: Mapping[str, Any], where: str) -> None:
    wrong = [name for name in settings if settings[name] != others.get(name)]
    if wrong:
        shown = ", ".join(f"{name} was {others.get(name)}, now {settings[name]}" for name in wrong)
        raise TrainError(
            f"{where} holds a run with other settings ({shown}); give another --output, or --resume never to "
            "replace that run"
        )


def identity(shards: Shards) -> str:
    """What tells a dataset from another: the run key of its manifest, else names and sizes of its shards."""
    if key := _manifest(shards.root).get("run_key"):
        return f"{key} {shards.config} {shards.split}"
    names = [file.rsplit("/", 1)[-1] for file in shards.files]
    return hashlib.sha256(repr((names, shards.groups)).encode()).hexdigest()


def open_evaluation(options: Options, root: str, config: str) -> Shards | None:
    """The split to evaluate on; None where nothing was asked for and nothing is there."""
    if options.eval_split == "none":
        return None
    where = find_root(options.eval_dataset, None) if options.eval_dataset else root
    names = [options.eval_split] if options.eval_split else ["validation"]
    names += ["train"] if options.eval_dataset and not options.eval_split else []
    for name in names:
        if shards := open_shards(where, config, name):
            return shards
    if options.eval_split or options.eval_dataset:
        raise TrainError(f"{where} has no rows of split {' or '.join(names)} in {config}/")
    return None


def make_optimizer(model: Any, options: Options, device: torch.device) -> Any:
    """AdamW; weight decay falls on matrices, not on norms and biases."""
    trained = [each for each in model.parameters() if each.requires_grad]
    groups = [
        {"params": [each for each in trained if each.dim() > 1], "weight_decay": options.weight_decay},
        {"params": [each for each in trained if each.dim() <= 1], "weight_decay": 0.0},
    ]
    groups = [each for each in groups if each["params"]]
    return torch.optim.AdamW(groups, lr=options.learning_rate, fused=device.type == "cuda" or None)


def run(options: Options, world: World) -> None:
    """Train by these options; raises `TrainError` for what the user can mend."""
    _quiet(world)
    output = Path(options.output)
    root = find_root(options.dataset, options.revision)
    shards = open_shards(root, options.config, options.split)
    if shards is None:
        raise TrainError(f"{root} has no rows of split {options.split}; --split names the one to train on")
    evaluation = open_evaluation(options, root, shards.config)
    rows_a_step = options.batch_size * options.accumulate * world.size
    total = options.steps or math.ceil(options.epochs * math.ceil(shards.rows / rows_a_step))
    settings = {
        **{name: value for name, value in asdict(options).items() if name not in FREE},
        "dataset": identity(shards),
        "eval_dataset": identity(evaluation) if evaluation else None,
        "rows_a_step": rows_a_step,
        "total_steps": total,
    }
    checkpoint = _on_first(world, lambda: claim_output(options, settings))
    if checkpoint == _checkpoint(output / "checkpoints", total) and (output / "model").is_dir():
        world.say(f"finished: {output / 'model'} (step {total:,})")
        return
    tokenizer = _on_first(world, lambda: fetch_folder(root, "tokenizer", output / "tokenizer"))
    rows = Rows(shards, streaming=options.streaming)
    trainee, make, found = prepare(options, world, rows, tokenizer or options.model)
    optimizer, progress = make_optimizer(trainee.core, options, world.device), Progress()
    if checkpoint:
        load_checkpoint(checkpoint, trainee, optimizer, world)
        state = json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))
        progress = Progress(**state["progress"])
    start = {
        "event": "resume" if checkpoint else "start",
        "step": progress.step,
        "settings": {**asdict(options), "dataset": root},
        "config": shards.config,
        "rows": shards.rows,
        "eval_rows": evaluation.rows if evaluation else 0,
        "steps": total,
        "processes": world.size,
        "contract": CONTRACT,
        **found,
        "versions": versions(),
    }
    for name in ("device", "dtype", "attention", "form", "head", "isolation", "rows", "steps"):
        world.say(f"{name:10} {start[name]}")
    for note in [*found["notes"], *([f"going on from {checkpoint}"] if checkpoint else [])]:
        world.say(f"note       {note}")
    log = Log(output, world, step=progress.step)
    log.write(start)
    with closing(log), signals_noted() as stopped:
        train(
            Run(
                options=options, world=world, rows=rows, make=make, trainee=trainee, optimizer=optimizer,
                evaluation=Rows(evaluation, streaming=options.streaming) if evaluation else None,
                log=log, progress=progress, settings=settings, total=total, stopped=stopped,
            )
        )  # fmt: skip
    dtype = torch.float32 if options.lora else compute_dtype(options, world.device)
    save_model(output / "model", trainee, tokenizer, dtype, world)
    world.say(f"saved      {output / 'model'}")
    if options.lora:
        world.say("           an adapter; to merge it: AutoPeftModelForCausalLM (peft), merge_and_unload()")


def prepare(
    options: Options, world: World, rows: Rows, tokenizer_name: Path | str
) -> tuple[Trainee, Maker, dict[str, Any]]:
    """Load the model, put it in its place and test it; also what was found, for the log."""
    from transformers import AutoTokenizer

    # no code of a model or a dataset runs here
    load = partial(AutoTokenizer.from_pretrained, tokenizer_name, trust_remote_code=False)
    tokenizer = _fetched(str(tokenizer_name), load)
    dtype = compute_dtype(options, world.device)
    size = max(tokenizer.get_vocab().values(), default=-1) + 1
    model, notes = load_model(options, dtype, world.device, size)
    vocabulary = model.get_input_embeddings().weight.shape[0]
    number, largest = rows.largest_id()
    check_ids({"input_ids": [largest]}, vocabulary, partial(rows.shards.place, number))
    set_special_ids(model, tokenizer, stop_ids(rows, tokenizer))
    attention = model.config._attn_implementation  # noqa: SLF001  it has no other name
    make = Maker(
        form=choose_form(model, options, rows.shards.config),
        train_on=options.train_on,
        vocabulary=vocabulary,
        pad_id=model.config.pad_token_id or 0,
        place=rows.shards.place,
    )
    trainee = place_model(model, options, dtype, world)
    trainee.core.eval()
    isolation = "single samples, padded: nothing to keep apart"
    if make.form != SINGLE:
        isolation = check_isolation(trainee, make, attention)
    if options.head == "sparse" and (reason := check_head(trainee, make)):
        trainee.head = "full"
        notes.append(f"logits of all tokens are computed (--head full): {reason}")
    if getattr(model.config.get_text_config(), "output_router_logits", False):
        notes.append("the auxiliary loss of the router is no part of the loss")
    trainee.core.train()
    parameters = list(trainee.core.parameters())
    return trainee, make, {
        "vocabulary": vocabulary,
        "parameters": sum(each.numel() for each in parameters),
        "trained_parameters": sum(each.numel() for each in parameters if each.requires_grad),
        "device": torch.cuda.get_device_name() if world.device.type == "cuda" else "cpu",
        "dtype": str(dtype).removeprefix("torch."),
        "attention": attention,
        "form": make.form,
        "head": trainee.head,
        "isolation": isolation,
        "notes": notes,
    }  # fmt: skip


def _quiet(world: World) -> None:
    """Show no bars of progress where they would only fill a file, or come from many processes."""
    import datasets
    import transformers

    if world.rank or not sys.stderr.isatty():
        datasets.disable_progress_bars()
        transformers.utils.logging.disable_progress_bar()


def _on_first(world: World, work: Callable[[], Any]) -> Any:
    """What `work` returns on the first process, or its error, on all of them."""
    result: Any = None
    if world.rank == 0:
        try:
            result = work()
        except TrainError as error:
            result = error
    result = world.gather(result)[0]
    if isinstance(result, TrainError):
        raise result
    return result


def versions() -> dict[str, str]:
    """Versions of what a run depends on, as far as it is installed."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": sys.version.split()[0]}
    for name in ("torch", "transformers", "datasets", "peft", "flash-attn"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def out_of_memory(options: Options, error: BaseException) -> str:
    """What to lower, of what is not low yet."""
    ways = [f"--batch-size (now {options.batch_size})"] if options.batch_size > 1 else []
    ways += ["--head sparse"] if options.head == "full" else []
    ways += [] if options.gradient_checkpointing else ["--gradient-checkpointing"]
    ways += ["--dtype bfloat16"] if options.dtype == "float32" else []
    ways += [] if options.lora else ["--lora 16"]
    ways += [] if options.fsdp else ["--fsdp on more GPUs"]
    ways += ["--packing on"] if options.packing == "off" else []
    what = f"out of memory ({first_line(error)[:120]})"
    return f"{what}; try {', '.join(ways)}, or rows that are shorter (premask run --max-length)"


@contextmanager
def signals_noted() -> Iterator[list[int]]:
    """Note SIGINT and SIGTERM in a list, so that the step that runs ends first; a second one acts at once."""
    noted: list[int] = []

    def note(number: int, _frame: Any) -> None:
        noted.append(number)
        signal.signal(number, signal.SIG_DFL)

    old = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield noted
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def main(argv: Sequence[str] | None = None, prog: str = "train") -> int:
    """The command line; returns the exit code."""
    options = parse_options(sys.argv[1:] if argv is None else argv, prog)
    rank = os.environ.get("RANK", "0")
    where = prog if rank == "0" else f"{prog} (rank {rank})"
    try:
        run(options, World.join())
    except TrainError as error:
        sys.stderr.write(f"{where}: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write(f"{where}: interrupted; start it again to go on from the last checkpoint\n")
        return 130
    except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is one of the latter
        if not isinstance(error, (MemoryError, torch.OutOfMemoryError)) and "allocate memory" not in str(
            error
        ):
            raise
        sys.stderr.write(f"{where}: {out_of_memory(options, error)}\n")
        return 2
    if dist.is_initialized():  # all processes are here; after an error, others may still be in a collective
        dist.destroy_process_group()
    return 0


def leave(code: int) -> NoReturn:
    """End this process with a code. One of several processes skips the shutdown of the interpreter.

    Threads of gloo run on after `destroy_process_group`: the model still refers to the group. A thread drops
    the tensors of a collective after it reports the end of the collective. It needs the GIL for that, and a
    thread that asks for the GIL during the shutdown aborts the process (pytorch/pytorch#190489): exit code
    -6 and "terminate called without an active exception", after a run whose work is done.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        atexit._run_exitfuncs()  # noqa: SLF001  locks and temporary files; `os._exit` does not call them
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    try:
        ended = main()
    except Exception:  # noqa: BLE001  shown as Python shows it
        sys.excepthook(*sys.exc_info())
        ended = 1
    leave(ended)
