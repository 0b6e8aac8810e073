"""The picture and the table of a case study, from its results.

    python examples/case_study/figure.py runs           draws runs/curves.svg and prints the table

reads the runs of `premask train` in `runs/SET/START-LOSS-SEED/`, such as `runs/pile-ner/base-assistant-0`. START
is `scratch` or `base`, LOSS what `--train-on` was. A line is the mean over the seeds, its band goes from the
least to the most.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

STARTS = {"scratch": "from scratch", "base": "from a pre-trained base"}
LOSSES = {"all": "loss on all tokens", "assistant": "loss on the assistant's tokens"}
COLORS = {"all": "#d55e00", "assistant": "#0072b2"}
"""Two of the colours of Okabe and Ito, which colour-blind readers tell apart."""

Curve = list[tuple[int, float]]
"""(step, validation loss)"""

Curves = dict[tuple[str, str, str], list[Curve]]
"""(set, start, loss) -> a curve for each seed."""


# ==== Results ====


def read_runs(folder: Path) -> list[dict[str, Any]]:
    """The validation losses of all runs in a folder, by set, start, loss and seed."""
    found = []
    for log in sorted(folder.glob("*/*-*-*/log.jsonl")):
        start, loss, seed = log.parent.name.split("-")
        lines = map(json.loads, log.read_text(encoding="utf-8").splitlines())
        curve = [(line["step"], line["eval_loss"]) for line in lines if "eval_loss" in line]
        found.append({
            "set": log.parents[1].name, "start": start, "loss": loss, "seed": int(seed), "curve": curve,
        })  # fmt: skip
    return found


def write(results: Mapping[str, Any], folder: Path) -> None:
    """Write results, and table and picture of them, into a folder."""
    text = to_json(results)
    results = json.loads(text)  # rounded, so that table and picture can be made of the file again
    (folder / "results.json").write_text(text, encoding="utf-8")
    (folder / "RESULTS.md").write_text(page(results), encoding="utf-8")
    draw(curves_of(results), folder / "curves.svg")


def to_json(results: Mapping[str, Any]) -> str:
    """The results as JSON, a curve a line, losses to four decimals."""
    rest = {name: value for name, value in results.items() if name != "curves"}
    lines = [
        json.dumps({**each, "curve": [[step, round(loss, 4)] for step, loss in each["curve"]]})
        for each in results["curves"]
    ]
    body = ",\n  ".join(lines)
    return f'{json.dumps(rest, indent=1)[:-2]},\n "curves": [\n  {body}\n ]\n}}\n'


def curves_of(results: Mapping[str, Any]) -> Curves:
    """The curves, by what they have in common."""
    found: Curves = defaultdict(list)
    for each in results["curves"]:
        found[each["set"], each["start"], each["loss"]].append([tuple(point) for point in each["curve"]])
    return dict(found)


# ==== The table ====


def page(results: Mapping[str, Any]) -> str:
    """What was measured, as Markdown."""
    curves, data, sizes = curves_of(results), results["data"], results["sizes"]
    made = "; ".join(f"{name} {value}" for name, value in results["versions"].items())
    model = (
        f"A Qwen3 with {sizes['layers']} layers of width {sizes['hidden']} and {sizes['vocabulary']:,} tokens; "
        f"packs of at most {sizes['max_length']} tokens, {sizes['batch_size']} a step; base models trained "
        f"for {sizes['base_steps']} steps on documents; {len(sizes['seeds'])} seeds."
    )
    columns = ("data", "conversations", "tokens", "trained, masked", "held out", "their trained tokens")
    columns = (*columns, "base saw documents", "tokens")
    lines = [
        "# Results of `make case-study`",
        "",
        f"Made {results['made']}; {made}.",
        "",
        model,
        "",
        f"| {' | '.join(columns)} |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, each in data.items():
        chats, texts = each["conversations"], each["documents"]
        share = chats["trained_tokens"] / chats["tokens"]
        lines.append(
            f"| {name} | {chats['rows']:,} | {chats['tokens']:,} | {share:.1%} "
            f"| {chats['validation_rows']:,} | {chats['validation_trained_tokens']:,} "
            f"| {texts['rows']:,} | {texts['tokens']:,} |"
        )
    return "\n".join([*lines, "", table(curves)]) + "\n"


def table(curves: Curves) -> str:
    """The losses at the end and where they were lowest."""
    columns = ("data", "start", "steps", "all tokens, last", "masked, last", "masked less by")
    columns = (*columns, "all tokens, lowest", "masked, lowest", "masked better in")
    lines = [
        "Validation loss on the assistant's tokens: mean over the seeds, least and most in brackets.",
        "",
        f"| {' | '.join(columns)} |",
        "|---|---" + "|--:" * (len(columns) - 2) + "|",
    ]
    for name in dict.fromkeys(name for name, _, _ in curves):
        lines += [row(curves, name, start) for start in STARTS if (name, start, "all") in curves]
    return "\n".join(lines)


def row(curves: Curves, name: str, start: str) -> str:
    """The line of a set and a start: last and lowest losses, and how many seeds end lower when masked."""
    both = [curves[name, start, loss] for loss in LOSSES]
    last = [[curve[-1][1] for curve in each] for each in both]
    lowest = [[min(loss for _, loss in curve) for curve in each] for each in both]
    less = 1 - fmean(last[1]) / fmean(last[0])
    won = sum(masked < every for every, masked in zip(*last, strict=True))
    return (
        f"| {name} | {STARTS[start]} | {both[0][0][-1][0]} | {spread(last[0])} | {spread(last[1])} | {less:.1%} "
        f"| {spread(lowest[0])} | {spread(lowest[1])} | {won} of {len(last[0])} |"
    )


def spread(values: Sequence[float]) -> str:
    """Show the mean, least and most.

    >>> spread([1.0, 3.0, 2.0])
    '2.000 (1.000 to 3.000)'
    """
    return f"{fmean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


# ==== The picture ====


def draw(curves: Curves, path: Path) -> None:
    """Draw validation loss against steps: a column a set, a row a start."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    mpl.rcParams.update({
        "svg.fonttype": "none", "svg.hashsalt": "premask", "font.family": "sans-serif", "font.size": 9,
    })  # fmt: skip
    names = list(dict.fromkeys(name for name, _, _ in curves))
    starts = [start for start in STARTS if any(start == each for _, each, _ in curves)]
    figure, axes = pyplot.subplots(
        len(starts), len(names), figsize=(3.2 * len(names), 2.6 * len(starts)), squeeze=False, sharex=True
    )
    for line, start in zip(axes, starts, strict=True):
        for panel, name in zip(line, names, strict=True):
            _panel(panel, {loss: curves[name, start, loss] for loss in LOSSES})
            panel.set_title(f"{name}, {STARTS[start]}", fontsize=9)
    for panel in axes[-1]:
        panel.set_xlabel("step")
    for line in axes:
        line[0].set_ylabel("validation loss, assistant")
    axes[0][0].legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)


def _panel(panel: Any, curves: Mapping[str, list[Curve]]) -> None:
    """Lines and bands; the first evaluation, before any step, is left out where it would hide the others."""
    for loss, found in curves.items():
        steps = [step for step, _ in found[0]][1:]
        by_step = list(zip(*([value for _, value in curve][1:] for curve in found), strict=True))
        panel.plot(steps, [fmean(each) for each in by_step], color=COLORS[loss], label=LOSSES[loss])
        lows, highs = [min(each) for each in by_step], [max(each) for each in by_step]
        panel.fill_between(steps, lows, highs, color=COLORS[loss], alpha=0.25, linewidth=0)
    panel.grid(alpha=0.3)
    panel.set_xlim(left=0)


if __name__ == "__main__":
    runs = curves_of({"curves": read_runs(Path(sys.argv[1]))})
    draw(runs, Path(sys.argv[1], "curves.svg"))
    print(table(runs))
