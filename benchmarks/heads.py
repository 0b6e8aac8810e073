"""The language-model head on trained positions only, against the head on all of them: time and memory.

    python benchmarks/heads.py [--rounds 3] [--shares 0.1,0.5] [--length 1024] [--vocabulary 262144]
    python benchmarks/heads.py --device cuda --length 8192 --hidden 2048

A row of random tokens goes forwards and backwards through a Qwen3 of two layers with random weights, by the
losses of `pipeline/premask/train.py`: `sparse` cuts hidden states to the positions that predict a trained
token before the head, `full` computes the scores of all positions and leaves the others out of the loss. Each
run is a process of its own; runs alternate. Time is that of one step, forwards and backwards, after a short
one.
Memory is the peak of the process (its resident memory; on a GPU what tensors take), and what of it the step
added to the weights. The losses of both must be the same.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from common import HERE, Finished, alternate, measure, median, number, parser, save, spent, table

HEADS = ("sparse", "full")
MOST_APART = {"cpu": 1e-5, "cuda": 1e-2}
"""Largest relative difference between the losses of the two heads: the rounding of float32 and bfloat16."""


def main() -> None:
    arguments = parser(__doc__, rounds=3)
    arguments.add_argument("--shares", default="0.1,0.5", help="shares of trained tokens")
    arguments.add_argument("--length", type=int, default=1024, help="tokens of a step")
    arguments.add_argument("--vocabulary", type=int, default=262144)
    arguments.add_argument("--hidden", type=int, default=512, help="width of the model")
    arguments.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    arguments.add_argument("--run", nargs=2, metavar=("HEAD", "SHARE"), help=argparse.SUPPRESS)
    options = arguments.parse_args()
    shape = (options.length, options.vocabulary, options.hidden)
    if options.run:
        print(json.dumps(step(options.run[0], float(options.run[1]), shape, options.device)))
        return
    shares = [float(share) for share in options.shares.split(",")]
    runs = compare(shares, shape, options)
    print(f"{shape[0]:,} tokens, vocabulary {shape[1]:,}, width {shape[2]}, {options.rounds} rounds\n")
    print(table(
        ["trained, head", "CPU s", "wall s", "wall, least to most", "less wall", "peak MB", "step's MB",
         "times less", "loss"],
        [row for share in shares for row in lines(runs, share)],
    ))  # fmt: skip
    save(options.json, runs)


def compare(
    shares: Sequence[float], shape: tuple[int, int, int], options: argparse.Namespace
) -> dict[str, list[Finished]]:
    """The runs of each share and head, by `10%, sparse`. Exits where the losses of the heads differ."""

    def one(head: str, share: float) -> Finished:
        words = ["--run", head, share, "--length", shape[0], "--vocabulary", shape[1], "--hidden", shape[2]]
        return measure([sys.executable, HERE / "heads.py", *map(str, words), "--device", options.device])

    jobs = {name_of(share, head): partial(one, head, share) for share in shares for head in HEADS}
    runs = alternate(jobs, options.rounds)
    for share in shares:
        sparse, full = (runs[name_of(share, head)][0].report["loss"] for head in HEADS)
        if abs(sparse - full) > MOST_APART[options.device] * abs(full):
            sys.exit(f"the heads disagree at {share:.0%} trained tokens: losses {sparse} and {full}")
    return runs


def name_of(share: float, head: str) -> str:
    """What a contender is called.

    >>> name_of(0.1, "sparse")
    '10%, sparse'
    """
    return f"{share:.0%}, {head}"


def lines(runs: Mapping[str, list[Finished]], share: float) -> list[list[Any]]:
    """The lines of the table for one share of trained tokens."""
    full = runs[name_of(share, "full")]
    found = []
    for name in (name_of(share, head) for head in HEADS):
        walls, added = walls_of(runs[name]), step_mb(runs[name])
        found.append([
            name,
            median(run.report["cpu"] for run in runs[name]),
            median(walls),
            f"{number(min(walls))} to {number(max(walls))}",
            median(walls_of(full)) / median(walls),
            int(median(map(peak_mb, runs[name]))),
            int(added),
            step_mb(full) / added,
            f"{runs[name][0].report['loss']:.6f}",
        ])  # fmt: skip
    return found


def walls_of(runs: Sequence[Finished]) -> list[float]:
    """Seconds by the clock of each run's step."""
    return [run.report["wall"] for run in runs]


def peak_mb(run: Finished) -> float:
    """The peak of a run: on a GPU what it reports, else that of its process."""
    return float(run.report["peak_mb"] or run.peak_mb[0])


def step_mb(runs: Sequence[Finished]) -> float:
    """What the step added to what was there before it, MB, the median."""
    return median(max(peak_mb(run) - run.report["before_mb"], 1.0) for run in runs)


# ==== One step ====


def step(head: str, share: float, shape: tuple[int, int, int], device: str) -> dict[str, float]:
    """Forwards and backwards once, in this process: seconds, memory in MB and the mean loss."""
    import torch  # noqa: PLC0415  the process that compares does without

    length, vocabulary, hidden = shape
    trainee, make = _trainee(vocabulary, hidden, device)
    generator = torch.Generator().manual_seed(0)

    def descend(tokens: int) -> float:
        ids = torch.randint(0, vocabulary, (tokens,), generator=generator)
        chosen = torch.rand(tokens, generator=generator) < share
        labels = torch.where(chosen, ids, -100)
        labels[-1] = ids[-1]  # so that even a short row has one
        batch = make([(0, {"input_ids": ids, "labels": labels})]).to(trainee.device)
        loss = trainee.losses(batch, head=head).mean()
        loss.backward()
        return float(loss.detach())

    descend(16)  # allocates the gradients too, which both heads need
    if device == "cuda":
        descend(length)  # its kernels are chosen by shape
    before = _now_mb(device)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    begin = spent()
    loss = descend(length)  # its number has to be there, so the GPU is waited for ...
    if device == "cuda":
        torch.cuda.synchronize()  # ... and here for the gradients
    took = spent() - begin
    peak = torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else 0.0
    return {"wall": took.wall, "cpu": took.cpu, "loss": loss, "before_mb": before, "peak_mb": peak}


def _trainee(vocabulary: int, hidden: int, device: str) -> tuple[Any, Any]:
    """A model with random weights as `premask train` has it, and what makes its batches."""
    import torch  # noqa: PLC0415
    from premask.train import ROWS, Maker, Trainee  # noqa: PLC0415
    from transformers import AutoModelForCausalLM, Qwen3Config  # noqa: PLC0415

    config = Qwen3Config(
        vocab_size=vocabulary, hidden_size=hidden, intermediate_size=3 * hidden, num_hidden_layers=2,
        num_attention_heads=hidden // 64, num_key_value_heads=hidden // 64, head_dim=64,
        tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).to(device)
    autocast = torch.bfloat16 if device == "cuda" else None
    place = torch.device(device)
    trainee = Trainee(model=model, core=model, head="full", autocast=autocast, device=place, fsdp=False)
    make = Maker(form=ROWS, train_on="assistant", vocabulary=vocabulary, pad_id=0, place=str)
    return trainee, make


def _now_mb(device: str) -> float:
    """Memory that is in use now: on a GPU by tensors, else resident in this process; MB."""
    if device == "cuda":
        import torch  # noqa: PLC0415

        return float(torch.cuda.memory_allocated() / 2**20)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    main()
