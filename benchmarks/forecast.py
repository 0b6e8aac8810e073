"""What the cost model says of text in sizes that were never run: 1 TB of chat on 1, 10 and 100 nodes.

    python benchmarks/forecast.py [--terabytes 1] [--nodes 1,10,100] [--workers 16]

Nothing is measured here: costs come from the figures that `cost_model.py`, `driver.py` and `memory_run.py`
left in `figures/`, the run from `simulation.py`; the same figures give the same tables, which stand in
`docs/cost-model.md`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from common import HERE, table
from simulation import Cluster, Costs, Job, Outcome, simulate

FIGURES = HERE / "figures"
UNIT_BYTES = 48 * 1024 * 1024
"""As `premask.sources.cutting` has it; not imported, so that this script runs where nothing is installed."""
DISPATCH = 1 / 1265
"""Seconds to hand out a unit: what Ray took for a task that does nothing, on two busy cores."""
SLOW_SHARE, SLOW = 0.03, 2.0
HASH_BYTES, ROWS_AT_ONCE = 28, 1 << 25
"""As `premask.running.duplicates` has them: bytes for each row, and how many rows are compared at once."""
UPLOADS = (100, 400, 1000)
"""MB/s from one machine; 400 is what a published benchmark of Xet storage reached, over 100 Gbit/s."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--terabytes", type=float, default=1.0)
    parser.add_argument("--nodes", default="1,10,100")
    parser.add_argument("--workers", type=int, default=16, help="of a node")
    parser.add_argument("--figures", type=Path, default=FIGURES)
    options = parser.parse_args()
    model, rows, memory = (
        json.loads((options.figures / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("cost_model", "driver", "memory_run")
    )
    nodes = [int(number) for number in options.nodes.split(",")]
    text = Text(model["chat"], options.terabytes * 1e12)
    print("\n### The model against the runs of `memory_run.py`\n")
    print(check_table(model, memory))
    print("\n### What it is\n")
    print(text.as_table())
    print("\n### Where the time goes, seconds\n")
    print(time_table(text, costs_at_scale(model), nodes, options.workers))
    print("\n### Memory\n")
    print(memory_table(text, rows, memory, options.workers))
    print("\n### Upload, from one machine\n")
    print(upload_table(text))


class Text:
    """So many bytes of chat text, as JSONL, and what becomes of it."""

    def __init__(self, model: dict[str, Any], size: float) -> None:
        self.bytes = size
        self.tokens = size / model["bytes_a_token"]
        self.samples = round(size / model["bytes_a_sample"])
        self.units = round(size / UNIT_BYTES)
        self.written = {kind: share * size for kind, share in model["written"].items()}

    @property
    def job(self) -> Job:
        """The text in units of equal size."""
        return Job((self.bytes / self.units,) * self.units, self.samples)

    def as_table(self) -> str:
        """Lay out how much it is."""
        return table(["what", "number"], [
            ["text, GB", f"{self.bytes / 1e9:,.0f}"],
            ["conversations, millions", f"{self.samples / 1e6:,.0f}"],
            ["tokens, billions", f"{self.tokens / 1e9:,.0f}"],
            ["units, and so shards", self.units],
            ["tokens of a unit, millions", self.tokens / self.units / 1e6],
            ["a packed shard, MB", self.written["packed"] / self.units / 1e6],
            *([f"all of {kind}, GB", size / 1e9] for kind, size in self.written.items()),
            ["files, at most", len(self.written) * self.units],
            ["hashes of rows, until the end, GB", f"{HASH_BYTES * self.samples / 1e9:,.1f}"],
        ])  # fmt: skip


def costs_at_scale(model: dict[str, Any]) -> Costs:
    """Costs that were fitted, with what a run of one worker does not show: by how much cores that are all at
    work are slower, the waiting for the disk, and the handing out of units."""
    fitted = model["chat"]["costs"]
    costs = Costs(**{**fitted, "spread": tuple(fitted["spread"])})
    crowded = crowding(model["chat"]["runs"])
    return replace(
        costs, unit=crowded * costs.unit, unit_byte=crowded * costs.unit_byte, dispatch=DISPATCH,
        finish_unit=costs.finish_unit + model["sync"],
    )  # fmt: skip


def check_table(model: dict[str, Any], runs: Sequence[dict[str, Any]]) -> str:
    """Lay out CPU seconds of runs whose memory was measured, and what the model says of them."""
    costs, lines = costs_at_scale(model), []
    for each in runs:
        job, cpu = Job((each["input"] / each["units"],) * each["units"], each["rows"]), each["run"]["cpu"]
        found = simulate(job, Cluster(workers=len(each["run"]["peak_mb"])), costs)
        size = f"{each['input'] / 1e6:,.0f}"
        lines.append([size, each["units"], cpu, found.busy, f"{found.busy / cpu - 1:+.0%}", found.wall])
    return table(["MB", "units", "CPU s", "predicted", "error", "predicted wall, alone"], lines)


def crowding(runs: Sequence[dict[str, Any]]) -> float:
    """By how much more CPU time runs of two workers took than was predicted, the median; at least 1."""
    several = [each for each in runs if each["workers"] > 1 and not each["fitted"]]
    ratios = [each["cpu"] / each["predicted"]["cpu"] for each in several]
    return max(1.0, float(np.median(ratios)))


TODAY, ROUGH, INSPECTED, FINISHED = "", ", slow and lost nodes", ", inspection by all", ", and finish by all"


def time_table(text: Text, costs: Costs, nodes: Sequence[int], workers: int) -> str:
    """Lay out the phases of runs: as they are, with slow and lost nodes, and with what the driver does alone
    shared out to all workers."""
    header = ["nodes", "cores", "start", "inspection", "units", "of it tail", "finish", "in all",
              "core-hours", "driver alone", "units redone", "GB/s in units"]  # fmt: skip
    lines = []
    for what in (TODAY, ROUGH, INSPECTED, FINISHED):
        for number in nodes:
            if what == ROUGH and number == 1:
                continue
            everyone = number * workers
            cluster, paid = Cluster(number, workers), costs
            if what in (INSPECTED, FINISHED):
                cluster = replace(cluster, inspectors=everyone)
            if what == FINISHED:
                paid = replace(
                    costs,
                    finish_unit=costs.finish_unit / everyone,
                    finish_sample=costs.finish_sample / everyone,
                )
            found = simulate(text.job, cluster, paid)
            if what == ROUGH:
                slow = max(SLOW_SHARE, 1 / number)
                rough = replace(cluster, slow_share=slow, slow=SLOW, losses=_losses(number, found))
                found = simulate(text.job, rough, paid)
            moved = text.bytes + sum(text.written.values())
            lines.append([*_line(f"{number}{what}", everyone, found), moved / 1e9 / found.units])
    return table(header, lines)


def _losses(nodes: int, undisturbed: Outcome, *, seed: int = 4) -> tuple[tuple[int, float], ...]:
    """One node of a hundred, or one at all, is lost at a random moment of the units."""
    rng = np.random.default_rng(seed)
    lost = rng.permutation(np.arange(1, nodes))[: max(1, nodes // 100)].tolist()
    begin = undisturbed.start + undisturbed.inspect
    return tuple((node, begin + undisturbed.units * rng.random()) for node in lost)


def _line(name: str, cores: int, found: Outcome) -> list[object]:
    phases = (found.start, found.inspect, found.units, found.tail, found.finish, found.wall)
    alone = (found.wall - found.units) / found.wall
    seconds = [f"{each:,.0f}" for each in phases]
    return [name, cores, *seconds, found.busy / 3600, f"{alone:.0%}", found.redone]


def memory_table(
    text: Text, driver: Sequence[dict[str, Any]], runs: Sequence[dict[str, Any]], workers: int
) -> str:
    """Lay out memory: what was measured of the largest input, and what the driver holds beyond that."""
    each = {line["what"]: line["memory"] / line["number"] for line in driver}  # the largest number comes last
    at_once = text.samples
    while at_once > ROWS_AT_ONCE:  # they are shared out to a power of two parts
        at_once //= 2
    worker = max(max(run["run"]["anonymous_mb"][1:] or [0]) for run in runs)
    own = max(run["run"]["anonymous_mb"][0] for run in runs)
    records, rows = each["records"] * text.units / 1e6, each["rows"] * at_once / 1e6
    return table(["what", "MB"], [
        ["a worker, as measured", worker], [f"{workers} workers", workers * worker],
        ["the driver, as measured", own],
        ["and for the records of all units and the manifest", f"{records:,.0f}"],
        [f"and for the hashes of {at_once / 1e6:,.1f} million rows at once", f"{rows:,.0f}"],
    ])  # fmt: skip


def upload_table(text: Text) -> str:
    """Lay out how long an upload takes at some bandwidths."""
    hours = [sum(text.written.values()) / 1e6 / speed / 3600 for speed in UPLOADS]
    return table(["MB/s", "hours"], [[speed, each] for speed, each in zip(UPLOADS, hours, strict=True)])


if __name__ == "__main__":
    main()
