"""What only a GPU can show, in one table: `make gpu-check`.

    python benchmarks/gpu_check.py --keep                    puts the table into RESULTS.md, too
    python benchmarks/gpu_check.py --device cpu --quick       that it runs; the figures say nothing

    packing      tokens per second of `premask train` on packs, and with `--packing off`: the same samples,
                 padded
    head         time and memory of the head on trained positions, and on all; vocabulary 262,144 (`heads.py`)
    isolation    largest difference of the scores of a packed sample to those of the sample alone, in
                 bfloat16, for each attention that is installed; beside it what joining both would make
    curves       validation loss of the case study (`examples/case_study`), masked and on all tokens, one seed

It needs no network: models are made from configs, data from the sample and from a generator. Exit code 0 is
all done, 1 a check failed (its line says how), 2 no GPU. It is made for less than ten minutes of an H100.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import GPU, HERE, ROOT, SAMPLE, median, note, number, section_of

CASE_STUDY = ROOT / "examples" / "case_study"

Line = tuple[str, Any, Any, Any]
"""A line of the table: what was looked at, premask's way, the other way, and how they compare."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How large the models and runs of the checks are."""

    hidden: int
    layers: int
    vocabulary: int
    max_length: int
    batch_size: int
    steps: int
    head: tuple[int, int, int]
    """Tokens, vocabulary and width."""
    documents: tuple[int, int]
    """Tokens of the two samples of `isolation`."""
    study: dict[str, Any]
    sets: tuple[str, ...]


FULL = Sizes(
    hidden=1024, layers=12, vocabulary=32768, max_length=2048, batch_size=4, steps=40,
    head=(8192, 262144, 2048), documents=(700, 500), sets=("entities", "long-answers"),
    study={
        "seeds": (0,), "hidden": 256, "layers": 6, "batch_size": 8, "rows": 6000, "base_steps": 400,
        "steps": {"scratch": 300, "base": 300},
    },
)  # fmt: skip
QUICK = Sizes(
    hidden=64, layers=1, vocabulary=8192, max_length=256, batch_size=2, steps=2, head=(64, 8192, 64),
    documents=(12, 9), sets=("entities",),
    study={
        "seeds": (0,), "hidden": 32, "layers": 1, "vocabulary": 512, "rows": 60, "documents": 40,
        "validation": {"entities": 0.2}, "base_steps": 2, "steps": {"base": 2}, "eval_every": 2,
    },
)  # fmt: skip


def main() -> int:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    arguments.add_argument("--quick", action="store_true", help="tiny models: only that it runs")
    arguments.add_argument("--keep", action="store_true", help="put the table into RESULTS.md")
    options = arguments.parse_args()
    if options.keep and (options.quick or options.device == "cpu"):
        arguments.error("--keep is for figures of a GPU, without --quick")
    if options.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # before torch looks for one
    import torch  # noqa: PLC0415

    if options.device == "cuda" and not torch.cuda.is_available():
        sys.stderr.write(f"gpu-check: torch {torch.__version__} finds no GPU; run it on a machine with one\n")
        return 2
    sizes = QUICK if options.quick else FULL
    checks = {"packing": packing, "head": head, "isolation": isolation, "curves": curves}
    found: list[Line] = []
    failed = False
    with tempfile.TemporaryDirectory(prefix="premask-gpu-") as folder:
        for name, check in checks.items():
            note(f"==== {name}")
            try:
                found += check(Path(folder), sizes, options.device)
            except Exception as error:  # noqa: BLE001  the other checks go on
                failed = True
                found.append((f"{name}: failed", _first_line(error), "", ""))
    text = f"{about(options.device)}\n\n{_table(found)}\n"
    print(text, end="")
    if options.keep:
        keep(text)
    return int(failed)


def keep(text: str) -> None:
    """Put the table into its section of RESULTS.md."""
    path = HERE / "RESULTS.md"
    page = path.read_text(encoding="utf-8")
    old, new = section_of(page, GPU), f"## {GPU}\n\n    python benchmarks/gpu_check.py\n\n{text}"
    path.write_text(page.replace(old, new) if old else f"{page.rstrip()}\n\n{new}", encoding="utf-8")


def about(device: str) -> str:
    """What the table was made on."""
    import torch  # noqa: PLC0415
    import transformers  # noqa: PLC0415
    from transformers.utils import is_flash_attn_2_available  # noqa: PLC0415

    name = torch.cuda.get_device_name() if device == "cuda" else "cpu, for looking only"
    flash = "installed" if device == "cuda" and is_flash_attn_2_available() else "not installed"
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    day = datetime.datetime.now(tz=datetime.timezone.utc).date().isoformat()
    return f"{day}, {name}; {versions}, FlashAttention 2 {flash}"


def _table(lines: list[Line]) -> str:
    header = ["| check | premask | other | ratio |", "|---|--:|--:|--:|"]
    return "\n".join([*header, *("| " + " | ".join(map(number, line)) + " |" for line in lines)])


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].replace("|", "/")[:160]


# ==== Packing ====


def packing(folder: Path, sizes: Sizes, device: str) -> Iterator[Line]:
    """Tokens per second on packs and on padded samples, after the first steps."""
    from premask.core.recipe_file import make_recipe  # noqa: PLC0415
    from premask.running.run import run  # noqa: PLC0415

    del device  # the command takes the GPU that is there
    data, config = folder / "sample", folder / "config"
    values = {"tokenizer": str(SAMPLE / "tokenizer"), "max_length": sizes.max_length, "too_long": "truncate"}
    run(make_recipe({**values, "sources": [str(SAMPLE / "conversations.jsonl")], "output": str(data)}))
    _config(sizes).save_pretrained(config)
    rates = {}
    for how in ("on", "off"):
        lines = _train(
            str(data), "--model", str(config), "--from-scratch", "--output", str(folder / f"packing-{how}"),
            "--packing", how, "--batch-size", str(sizes.batch_size), "--steps", str(sizes.steps),
            "--save-every", "0", "--eval-split", "none",
        )  # fmt: skip
        steps = [line["tokens_per_second"] for line in lines if "tokens_per_second" in line]
        rates[how] = median(steps[len(steps) // 4 :])
    yield (
        f"tokens/s: packs, or the same samples padded ({sizes.layers} layers of {sizes.hidden})",
        rates["on"],
        rates["off"],
        rates["on"] / rates["off"],
    )


def _config(sizes: Sizes) -> Any:
    from transformers import Qwen3Config  # noqa: PLC0415

    heads = max(1, sizes.hidden // 64)
    return Qwen3Config(
        vocab_size=sizes.vocabulary, hidden_size=sizes.hidden, intermediate_size=3 * sizes.hidden,
        num_hidden_layers=sizes.layers, num_attention_heads=heads, num_key_value_heads=heads, head_dim=64,
        tie_word_embeddings=True,
    )  # fmt: skip


def _train(*words: str) -> list[dict[str, Any]]:
    """Run `premask train` in this process; returns the lines of its log."""
    from premask.train import main as train  # noqa: PLC0415

    with contextlib.redirect_stdout(sys.stderr):
        code = train(words, "premask train")
    if code:
        raise RuntimeError(f"premask train ended with code {code}; its reason stands above")
    log = Path(words[words.index("--output") + 1]) / "log.jsonl"
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]


# ==== Head ====


def head(folder: Path, sizes: Sizes, device: str) -> Iterator[Line]:
    """One step with each head: milliseconds, and what it adds to the memory."""
    del folder
    from heads import HEADS, step  # noqa: PLC0415

    for share in (0.1, 0.5):
        sparse, full = (step(each, share, sizes.head, device) for each in HEADS)
        what = f"{share:.0%} trained of {sizes.head[0]:,} tokens, vocabulary {sizes.head[1]:,}"
        yield (
            f"ms a step, {what}: head on trained positions, or on all",
            sparse["wall"] * 1e3,
            full["wall"] * 1e3,
            full["wall"] / sparse["wall"],
        )
        added = [each["peak_mb"] - each["before_mb"] for each in (sparse, full)]
        if device == "cuda":
            yield f"MB that this step adds, {what}", *added, added[1] / added[0]


# ==== Isolation ====


def isolation(folder: Path, sizes: Sizes, device: str) -> Iterator[Line]:
    """Scores of a sample behind another one in a pack, and alone."""
    del folder
    from transformers.utils import is_flash_attn_2_available  # noqa: PLC0415

    attentions = ["sdpa", "eager"]
    if device == "cuda":
        attentions += ["flex_attention"] + ["flash_attention_2"] * is_flash_attn_2_available()
    for attention in attentions:
        what = f"largest difference of scores, bfloat16, {attention}: packed, or joined to one sample"
        try:
            packed, joined = differences(attention, sizes, device)
        except (ImportError, RuntimeError, ValueError, TypeError) as error:
            yield f"{what}: not run", _first_line(error), "", ""
        else:
            yield what, packed, joined, joined / packed if packed else "-"


def differences(attention: str, sizes: Sizes, device: str) -> tuple[float, float]:
    """The largest difference of the second sample's scores to those of the sample alone: packed behind the
    first one, and joined to it."""
    import torch  # noqa: PLC0415
    from premask.train import FLAT, ROWS, Maker, Trainee  # noqa: PLC0415
    from transformers import AutoModelForCausalLM  # noqa: PLC0415

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(
        _config(sizes), attn_implementation=attention, dtype=torch.bfloat16
    )
    model = model.to(device).eval()
    place = torch.device(device)
    trainee = Trainee(model=model, core=model, head="full", autocast=None, device=place, fsdp=False)
    form = FLAT if "flash" in attention else ROWS
    make = Maker(form=form, train_on="assistant", vocabulary=sizes.vocabulary, pad_id=0, place=str)
    first, second = sizes.documents
    ids = torch.randint(0, sizes.vocabulary, (first + second,), generator=torch.Generator().manual_seed(1))

    def scores(*lengths: int) -> Any:
        tokens = ids[-sum(lengths) :]
        batch = make([(0, {"input_ids": tokens, "labels": tokens, "seq_lengths": lengths})]).to(place)
        with torch.no_grad():
            return trainee.logits(model, batch).float()[0, -second:]

    alone = scores(second)
    packed, joined = scores(first, second), scores(first + second)
    return float((packed - alone).abs().max()), float((joined - alone).abs().max())


# ==== Curves ====


def curves(folder: Path, sizes: Sizes, device: str) -> Iterator[Line]:
    """The case study, short: validation loss on the assistant's tokens at the end."""
    del device
    sys.path.insert(0, str(CASE_STUDY))
    from figure import curves_of  # noqa: PLC0415
    from study import Sizes as StudySizes  # noqa: PLC0415
    from study import study  # noqa: PLC0415

    results = study(sizes.sets, folder / "study", StudySizes(**sizes.study), 1)
    found = curves_of(results)
    for name in sizes.sets:
        for start in sizes.study["steps"]:
            masked, every = (found[name, start, loss][0][-1] for loss in ("assistant", "all"))
            yield (
                f"validation loss after {masked[0]} steps, {name} from {start}: masked, or on all tokens",
                masked[1],
                every[1],
                every[1] / masked[1],
            )


if __name__ == "__main__":
    sys.exit(main())
