"""premask against TRL's own data path: same rows, tokenizer, template and length, up to packed Parquet.

    python benchmarks/against_trl.py --trl-python VENV/bin/python [--kinds chat,agents20] [--scale 0.25]

TRL's side is `SFTTrainer._prepare_dataset` (`contender_trl.py`) in an interpreter that has trl and torch,
with one and with two processes. premask's is the command `premask run` with all proofs on, and the same
run in a process that is warm (`contender_premask.py`), with one and two workers. Both read the template
that TRL ships with its training tags; premask finds the mask without them. `kinds.py` says what is read for
each kind of rows. Other contenders are renderers and LLaMA-Factory, where `--renderers-python` and
`--llamafactory-python` say which interpreter has them, and any command given with `--peer`. A peer that fails
on a kind is told and left out of it. `nemotron.data_prep` is in no package index; from a checkout, a script
that calls its `process_chat_sft_spool_core` and `process_chat_sft_parquet_from_spool_core` fits:

    --peer "nemotron=NEMOTRON/bin/python SCRIPT {data} {tokenizer} {template} {max_length} {output}"

Printed are thousand tokens a CPU-second, seconds and memory (medians of alternating runs), how many times
less CPU and time premask takes (a ratio each round, then the median), and what differs in what comes out.
`work` is without imports and the loading of tokenizer and template, which a trainer has done anyway;
`command` is everything from the start of the process to its end.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from common import (
    HERE,
    Finished,
    alternate,
    fresh,
    largest,
    measure,
    median,
    megabytes,
    note,
    ratio,
    save,
    table,
    trl_parser,
)
from data import ensure
from kinds import AGAINST, KINDS, add_rows, copy_of, rows_of, wanted
from premask_runs import recipe, run_command, run_warm

TRIAL = 20
"""Rows on which a peer must get through before it is measured."""
PEERS = {
    "renderers": "benchmarks/contender_renderers.py {data} --tokenizer {tokenizer} --family {family}",
    "LLaMA-Factory": "benchmarks/contender_llamafactory.py {data} --tokenizer {tokenizer} --family {family} "
    "--max-length {max_length}",
}
"""What runs other peers, without the interpreter and `--output`."""
CONTENDERS = "premask 1,premask 2,command 1,command 2,TRL 1,TRL 2"

PEER = """another contender: {data}, {tokenizer}, {template} (the model's own), {family}, {max_length} and
{output} are filled in, and the last line it prints is a report like that of contender_trl.py"""


def main() -> None:
    arguments = trl_parser(__doc__)
    arguments.add_argument("--kinds", default=",".join(AGAINST))
    add_rows(arguments)
    arguments.add_argument("--contenders", default=CONTENDERS, help="who, and with how many processes")
    arguments.add_argument("--peer", action="append", default=[], metavar="NAME=COMMAND", help=PEER)
    for name in PEERS:
        arguments.add_argument(_flag(name), type=Path, help=f"interpreter that has {name}")
    options = arguments.parse_args()
    for name, words in PEERS.items():
        if python := getattr(options, _flag(name).strip("-").replace("-", "_")):
            options.peer.append(f"{name}={python} {words} --output {{output}}")
    if options.trl_python is None:
        sys.exit("--trl-python is missing: the interpreter of an environment with trl and torch")
    copy_templates(options.trl_python)
    figures = {kind: compare(kind, options) for kind in wanted(options.kinds)}
    print(f"\n**All kinds**: times less than TRL, and than the best of the others\n\n{summary(figures)}")
    save(options.json, figures)


def _flag(name: str) -> str:
    return f"--{name.replace('-', '').lower()}-python"


def copy_templates(trl_python: Path) -> None:
    """Write the templates of this TRL, those with tags and those without, to where `kinds.py` finds them."""
    for family in {kind.family for kind in KINDS.values()}:
        for name in (family, f"{family}_training"):
            path = copy_of(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            measure([trl_python, HERE / "contender_trl.py", "--write-template", name, path])


def compare(kind: str, options: argparse.Namespace) -> dict[str, list[Finished]]:
    """Measure one kind of rows, print its tables, and return all runs."""
    rows = rows_of(kind, options)
    data = ensure(kind, rows, suffix=KINDS[kind].format, folder=options.work / "data")
    outputs = options.work / "outputs"
    contenders: dict[str, Callable[[], Finished]] = {}
    for name in options.contenders.split(","):
        who, _, processes = name.partition(" ")
        run = {"premask": run_warm, "command": run_command}.get(who)
        if run:
            values = recipe(kind, data, outputs / f"{kind}-{who}-{processes}", options)
            contenders[name] = partial(run, values, int(processes))
        else:
            contenders[name] = partial(run_trl, kind, data, int(processes), options)
    for peer in options.peer:
        name, _, command = peer.partition("=")
        output = outputs / f"{kind}-{name}"
        few = ensure(kind, TRIAL, suffix=KINDS[kind].format, folder=options.work / "data")
        if does(partial(run_peer, command, kind, few, output, options), f"{name} on {kind} rows"):
            contenders[name] = partial(run_peer, command, kind, data, output, options)
    runs = alternate(contenders, options.rounds, say=kind)
    print(
        f"\n**{kind} rows**: {rows:,} rows, {KINDS[kind].max_length} tokens a pack, {options.rounds} rounds\n"
    )
    print(speed_table(runs, rows))
    if {"TRL 1", "premask 1"} <= runs.keys():
        theirs = outputs / f"{kind}-TRL-1"
        print(f"\n{same_output(outputs / f'{kind}-premask-1', theirs, options.tokenizer)}")
        tags = {"chat_template": KINDS[kind].template(tagged=True), "mask": "generation-tags"}
        run_command({**recipe(kind, data, outputs / f"{kind}-tags", options), **tags}, 1)
        print("\nWith `mask: generation-tags`, which takes TRL's tags at their word:\n")
        print(same_output(outputs / f"{kind}-tags", theirs, options.tokenizer))
    return runs


def run_trl(kind: str, data: Path, processes: int, options: argparse.Namespace) -> Finished:
    """Run TRL's preparation; its cache is emptied before each run."""
    output = fresh(options.work / "outputs" / f"{kind}-TRL-{processes}")
    output.mkdir()
    return measure(
        [
            options.trl_python, HERE / "contender_trl.py", data,
            "--tokenizer", options.tokenizer, "--chat-template", KINDS[kind].template(tagged=True),
            "--max-length", str(KINDS[kind].max_length), "--num-proc", str(processes),
            "--output", output / "train.parquet",
        ],
        env={"HF_DATASETS_CACHE": str(output / "cache")},
    )  # fmt: skip


def run_peer(command: str, kind: str, data: Path, output: Path, options: argparse.Namespace) -> Finished:
    """Run a contender given on the command line."""
    places = {
        "data": data, "tokenizer": options.tokenizer, "template": KINDS[kind].template(tagged=False),
        "family": KINDS[kind].family, "max_length": KINDS[kind].max_length, "output": fresh(output),
    }  # fmt: skip
    return measure([word.format(**places) for word in shlex.split(command)])


def does(run: Callable[[], Finished], what: str) -> bool:
    """Whether a contender gets through; what stopped it is told."""
    try:
        run()
    except SystemExit as failed:
        lines = [line for line in str(failed).splitlines() if line.strip()]
        note(f"{what} fails:\n" + "\n".join(lines[-3:]))
        print(f"\n{what} fails: `{lines[-2] if len(lines) > 1 else lines[-1]}`")
        return False
    return True


# ==== Tables ====


def speed_table(runs: dict[str, list[Finished]], rows: int) -> str:
    """Lay out what all contenders took, and how many times less than TRL that is."""
    tokens = next((each[0].report["tokens"] for each in runs.values() if "tokens" in each[0].report), 0)
    best_cpu, best_wall = _trl(runs, "cpu"), _trl(runs, "wall")
    whole = [run.cpu for run in runs.get("TRL 1", [])]
    lines = []
    for name, each in runs.items():
        cpu, wall = _times(each, "cpu"), _times(each, "wall")
        made = each[0].report.get("tokens", tokens)
        lines.append([
            name, made / median(cpu) / 1000, rows / median(cpu), median(cpu), median(wall),
            ratio(cpu, best_cpu) if best_cpu else "-", ratio(wall, best_wall) if best_wall else "-",
            median(run.cpu for run in each), median(run.wall for run in each),
            ratio([run.cpu for run in each], whole) if whole else "-",
            megabytes(largest(each)), megabytes(largest(each, anonymous=True)),
        ])  # fmt: skip
    header = [
        "contender, processes", "k tokens / CPU-s", "rows / CPU-s", "CPU s", "wall s", "less CPU than TRL 1",
        "less wall than TRL's best", "CPU s, whole", "wall s, whole",
        "less CPU, whole", "peak MB", "anonymous MB",
    ]  # fmt: skip
    return table(header, lines)


def summary(figures: dict[str, dict[str, list[Finished]]]) -> str:
    """Lay out the ratios of all kinds: per token, because some peers write more or fewer tokens."""
    lines = []
    for kind, runs in figures.items():
        cost = {name: _per_token(each, runs) for name, each in runs.items()}
        peers = {name: each for name, each in cost.items() if name.split()[0] not in {"premask", "command"}}
        if "premask 1" not in cost or not peers:
            continue
        best = min(peers, key=lambda name: median(peers[name]))
        ours, wall = cost["premask 1"], _trl(runs, "wall")
        two = runs.get("premask 2", [])
        lines.append([
            kind, 1 / median(ours) / 1000, ratio(ours, cost["TRL 1"]) if "TRL 1" in cost else "-",
            ratio(ours, peers[best]), best,
            ratio(_times(two, "wall"), wall) if two and wall else "-",
            megabytes(largest(runs["premask 1"])), megabytes(largest(two)) if two else "-",
        ])  # fmt: skip
    header = ["rows", "k tokens / CPU-s", "less CPU than TRL 1", "less CPU than the best", "which is",
              "2 workers, less wall than TRL's best", "peak MB", "peak MB, 2 workers"]  # fmt: skip
    return table(header, lines)


def _per_token(each: list[Finished], runs: dict[str, list[Finished]]) -> list[float]:
    """CPU seconds of work a token, in each round; of a command that tells no tokens, those of premask."""
    told = [run.report.get("tokens") for run in (each[0], *(other[0] for other in runs.values()))]
    tokens = next(number for number in told if number)
    return [seconds / tokens for seconds in _times(each, "cpu")]


def _times(runs: list[Finished], what: str) -> list[float]:
    """Seconds of work of each run; of a command that has no report, of all of it."""
    index = ("wall", "cpu").index(what)
    return [run.report["work"][index] if run.report else getattr(run, what) for run in runs]


def _trl(runs: dict[str, list[Finished]], what: str) -> list[float]:
    """TRL's seconds of each round: CPU of one process, or the wall time of whichever number was faster."""
    theirs = [_times(each, what) for name, each in runs.items() if name.startswith("TRL")]
    if not theirs:
        return []
    return theirs[0] if what == "cpu" else [min(each) for each in zip(*theirs, strict=True)]


# ==== What comes out ====


@dataclass
class Difference:
    """What comes out of both, sample by sample."""

    same_ids: int = 0
    same_labels: int = 0
    only_ours: int = 0
    only_theirs: int = 0
    only_theirs_untrained: int = 0
    tokens: int = 0
    labels: int = 0
    """Tokens whose labels differ."""
    trained_by_them: Counter[int] = field(default_factory=Counter)
    """Tokens that TRL alone trains."""

    def add(self, ours: list[np.ndarray], theirs: list[np.ndarray]) -> None:
        """Count the samples of one sequence of ids, given by their labels."""
        both = min(len(ours), len(theirs))
        self.same_ids += both
        self.only_ours += len(ours) - both
        self.only_theirs += len(theirs) - both
        self.only_theirs_untrained += sum(bool((labels == -100).all()) for labels in theirs[both:])
        for mine, other in zip(ours[:both], theirs[:both], strict=True):
            different = mine != other
            self.tokens += len(mine)
            self.labels += int(different.sum())
            self.same_labels += not different.any()
            self.trained_by_them.update(other[different & (mine == -100)].tolist())


def difference(ours: Path, theirs: Path) -> Difference:
    """Compare two folders of packed Parquet files as multisets of samples."""
    left, right = (defaultdict[bytes, list[np.ndarray]](list) for _ in range(2))
    for found, path in ((left, ours), (right, theirs)):
        for ids, labels in samples(path):
            found[blake2b(ids.tobytes(), digest_size=16).digest()].append(labels)
    found_difference = Difference()
    for key in left.keys() | right.keys():
        found_difference.add(left.get(key, []), right.get(key, []))
    return found_difference


def same_output(ours: Path, theirs: Path, tokenizer: Path) -> str:
    """Say in how many samples ids and labels of both are the same, and where labels differ."""
    found = difference(ours / "packed", theirs)
    extra = sum(found.trained_by_them.values())
    texts = ", ".join(
        f"{text!r} {count:,} times" for text, count in _decoded(found.trained_by_them, tokenizer)
    )
    return (
        f"Samples with the same ids: {found.same_ids:,}; of these with the same labels: "
        f"{found.same_labels:,}. "
        f"Only in premask's output: {found.only_ours:,}; only in TRL's: {found.only_theirs:,}, in "
        f"{found.only_theirs_untrained:,} of which nothing is trained.\n"
        f"Labels that differ: {found.labels:,} of {found.tokens:,}; trained by TRL alone: {extra:,}"
        f"{f' ({texts})' if texts else ''}."
    )


def samples(path: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield ids and labels of each sample of packed Parquet files."""
    for file in sorted(path.glob("*.parquet")):
        for batch in pq.ParquetFile(file).iter_batches(64, columns=["input_ids", "labels", "seq_lengths"]):
            columns = [batch.column(name).flatten().to_numpy() for name in batch.schema.names]
            ids, labels, lengths = columns[0].astype(np.int32), columns[1].astype(np.int32), columns[2]
            ends = np.cumsum(lengths)
            for start, end in zip((ends - lengths).tolist(), ends.tolist(), strict=True):
                yield ids[start:end], labels[start:end]


def _decoded(ids: Counter[int], tokenizer: Path) -> list[tuple[str, int]]:
    from tokenizers import Tokenizer  # noqa: PLC0415

    loaded = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    return [(loaded.decode([token], skip_special_tokens=False), n) for token, n in ids.most_common(3)]


if __name__ == "__main__":
    main()
