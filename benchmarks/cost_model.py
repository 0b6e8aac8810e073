"""A cost model of a run: fitted on runs of one worker, and checked against runs that it has not seen.

    python benchmarks/cost_model.py [--kinds chat,short] [--rounds 2] [--json FILE]

The model is that of `simulation.py`. Its costs, in CPU seconds, are fitted on three runs of one worker: a
small one, one with units of the usual size, and one with small units, which tells what is paid for each
unit, sample and byte; what it takes to start another worker is the difference that it makes to a small run.
Predicted are then runs of two workers, and of an input 2.5 times as large. Inputs come from `bulk.py`.

On a machine that does other things as well, walls say more about those. So the share of its processors that a
run got is taken from the run itself (its CPU seconds, of the seconds that its processes were there), and the
wall that is predicted is that of the simulation divided by this share. `forecast.py` uses what `--json`
writes; kinds that are not run stay in that file.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from bulk import write_bulk
from common import HERE, Finished, fresh, machine, measure, median, note, parser, save, table
from kinds import PLAIN
from premask_runs import recipe
from simulation import Cluster, Costs, Job, simulate

SMALL, LARGE = 0.04, 2.5
"""Sizes of the other inputs, as shares of `--megabytes`."""
RECIPES = (("small", "small", 3), ("usual", "usual", 0), ("small units", "usual", 20), ("large", "large", 0))
"""Name, input, and into how many units that is cut; 0 is as usual."""
QUANTILES = 41
"""How many values stand for the spread of all units."""


def main() -> None:
    arguments = parser(__doc__, rounds=2)
    arguments.add_argument("--kinds", default=PLAIN)
    arguments.add_argument("--megabytes", type=float, default=100.0, help="of the input that is fitted on")
    arguments.add_argument("--run", help=argparse.SUPPRESS)
    arguments.add_argument("--workers", type=int, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.run:
        print(json.dumps(run_marked(json.loads(options.run), options.workers)))
        return
    options.work.mkdir(parents=True, exist_ok=True)
    models: dict[str, Any] = {}
    if options.json is not None and options.json.is_file():
        models = json.loads(options.json.read_text(encoding="utf-8"))
    models |= {"machine": machine(), "sync": sync_seconds(options.work)}
    for kind in options.kinds.split(","):
        runs = measure_all(kind, options)
        model = fit([run for run in runs if run.is_for_fit])
        models[kind] = {**asdict(model), "runs": [run.told(model) for run in runs]}
        save(options.json, models)
        print(f"\n**{kind} rows**: costs, {options.rounds} rounds\n")
        print(costs_table(model))
        print(f"\n**{kind} rows**: predicted and measured, medians of {options.rounds} rounds\n")
        print(comparison(runs, model))


# ==== A run, in a process of its own ====


Moment = tuple[float, float]
"""Seconds of the clock, and CPU seconds of this process."""


def now() -> Moment:
    return time.perf_counter(), time.process_time()


def run_marked(values: Mapping[str, Any], workers: int) -> dict[str, Any]:
    """Run a recipe in this process; returns what each phase of it took, and each unit if there is one worker,
    by the clock and in CPU seconds."""
    from premask.core.recipe_file import make_recipe  # noqa: PLC0415
    from premask.running import inputs, run  # noqa: PLC0415  what is imported belongs to the start
    from premask.running.runners.process import prepare_process  # noqa: PLC0415
    from premask.running.tasks import Progress  # noqa: PLC0415

    prepare_process()  # as the command does

    class Marks(Progress):
        """The moments at which the phases of a run end; a unit ends when it tells of its packs."""

        def __init__(self) -> None:
            self.at = {"begin": now()}
            self.units = list[Moment]()
            self.planned = list[Any]()

        def plan(self, *args: Any, **kwargs: Any) -> list[Any]:
            self.planned = plan_units(*args, **kwargs)
            self.at["inspect"] = now()
            return self.planned

        def start(self, rows: int | None) -> None:  # noqa: ARG002
            self.at["load"] = now()

        def advance(self, rows: int, tokens: int, packs: int) -> None:  # noqa: ARG002
            if packs:
                self.units.append(now())

    plan_units = inputs.plan_units
    marks, loaded = Marks(), make_recipe(dict(values))
    inputs.plan_units = marks.plan  # type: ignore[assignment]
    manifest = run.run(loaded, workers=workers, progress=marks).manifest
    counts, written = manifest["counts"], Counter[str]()
    for each in manifest["shards"]:
        written[each["path"].split("/")[0]] += each["bytes"]
    if len(marks.units) != len(marks.planned):
        sys.exit(f"{len(marks.planned)} units were planned, but {len(marks.units)} have told of packs")
    marks.at |= {"units": marks.units[-1], "finish": now()}
    moments = [marks.at[name] for name in ("begin", "inspect", "load", "units", "finish")]
    sizes = [[piece.end_byte - piece.start_byte for piece in unit.slices] for unit in marks.planned]
    return {
        "phases": dict(zip(("inspect", "load", "units", "finish"), _steps(moments), strict=True)),
        "unit_steps": _steps([marks.at["load"], *marks.units]) if workers == 1 else [],
        "unit_bytes": list(map(sum, sizes)),
        "samples": counts["samples"], "rows": counts["rows"], "tokens": counts["tokens"], "written": written,
    }  # fmt: skip


def _steps(moments: Sequence[Moment]) -> list[list[float]]:
    return np.diff(np.array(moments), axis=0).tolist()


def sync_seconds(folder: Path, files: int = 50) -> float:
    """Return how long it takes to write a small file and to wait until it is on the disk, the median."""
    seconds = []
    with tempfile.TemporaryDirectory(dir=folder) as place:
        for number in range(files):
            begin = time.perf_counter()
            with (Path(place) / str(number)).open("wb") as file:
                file.write(bytes(4096))
                file.flush()
                os.fsync(file.fileno())
            seconds.append(time.perf_counter() - begin)
    return median(seconds)


# ==== Runs that are fitted, and runs that are predicted ====


@dataclass
class Measured:
    """Runs of one recipe in all rounds; `name` says of what size, `is_for_fit` if they are fitted on."""

    name: str
    workers: int
    is_for_fit: bool
    runs: list[Finished] = field(default_factory=list)

    @property
    def job(self) -> Job:
        """What these runs did."""
        report = self.runs[0].report
        return Job(tuple(report["unit_bytes"]), report["samples"])

    def share(self, run: Finished) -> float:
        """The share of its processors that a run got: 1 if nothing else ran and nothing waited for a disk."""
        units = run.report["phases"]["units"][0]
        return run.cpu / (run.wall + (self.workers - 1) * units)

    def phase(self, name: str) -> list[float]:
        """CPU seconds of a phase of each run; `start` is what is not within the others."""
        if name != "start":
            return [run.report["phases"][name][1] for run in self.runs]
        return [run.cpu - sum(cpu for _, cpu in run.report["phases"].values()) for run in self.runs]

    def units(self) -> list[list[tuple[int, float]]]:
        """Bytes and CPU seconds of the units of each run."""
        reports = [run.report for run in self.runs]
        both = [zip(each["unit_bytes"], each["unit_steps"], strict=True) for each in reports]
        return [[(size, cpu) for size, (_, cpu) in each] for each in both]

    def told(self, model: Model) -> dict[str, Any]:
        """What is kept of it: predicted and measured seconds, medians."""
        report = self.runs[0].report
        outcome = simulate(self.job, Cluster(workers=self.workers), model.costs)
        share = median(map(self.share, self.runs))
        return {
            "name": self.name, "workers": self.workers, "fitted": self.is_for_fit,
            "units": len(self.job.units), "bytes": sum(self.job.units), "share": share,
            "tokens": report["tokens"], "rows": report["rows"],
            "wall": median(run.wall for run in self.runs), "cpu": median(run.cpu for run in self.runs),
            "predicted": {"alone": outcome.wall, "wall": outcome.wall / share, "cpu": outcome.busy},
        }  # fmt: skip


def measure_all(kind: str, options: argparse.Namespace) -> list[Measured]:
    """Run everything once a round, in turns, and return the runs."""
    base = options.megabytes * 1e6
    with tempfile.TemporaryDirectory(prefix="premask-model-", dir=options.work) as place:
        inputs, rows = {}, {}
        for name, size in (("small", base * SMALL), ("usual", base), ("large", base * LARGE)):
            inputs[name] = Path(place) / name
            files = write_bulk(kind, int(size), inputs[name], data=options.work / "data")
            rows[name] = sum(file.read_bytes().count(b"\n") for file in files)
        recipes: dict[str, dict[str, Any]] = {}
        for name, source, units in RECIPES:
            recipes[name] = recipe(kind, inputs[source], Path(place) / "output", options)
            if units:
                recipes[name]["unit_rows"] = -(-rows[source] // units)
        found = [
            Measured(name, workers, is_for_fit=name != "large" and (workers == 1 or name == "small"))
            for name in recipes for workers in (1, 2)
        ]  # fmt: skip
        for number in range(options.rounds):
            for each in found:
                output = fresh(Path(recipes[each.name]["output"]))
                words = ["--run", json.dumps(recipes[each.name]), "--workers", str(each.workers)]
                each.runs.append(measure([sys.executable, HERE / "cost_model.py", *words]))
                shutil.rmtree(output)
                note(f"{kind} round {number + 1}/{options.rounds} {each.name}, {each.workers} workers: wall "
                     f"{each.runs[-1].wall:.1f} s, CPU {each.runs[-1].cpu:.1f} s")  # fmt: skip
    return found


# ==== The fit ====


@dataclass(frozen=True)
class Model:
    """Costs in CPU seconds, and what a text of this kind becomes."""

    costs: Costs
    bytes_a_token: float
    bytes_a_sample: float
    written: Mapping[str, float]
    """Bytes of the files of each kind, for a byte of text."""


def fit(runs: Sequence[Measured]) -> Model:
    """Fit the model: on the runs of one worker, and on small ones of two for the start of a worker."""
    alone = [run for run in runs if run.workers == 1]
    pairs = {run.workers: run for run in runs if run.name == "small"}
    more = [two.cpu - one.cpu for one, two in zip(pairs[1].runs, pairs[2].runs, strict=True)]
    reports = [run.runs[0].report for run in alone]
    size = sum(sum(report["unit_bytes"]) for report in reports)
    return Model(
        fit_costs(alone, max(0.0, median(more))),
        size / sum(report["tokens"] for report in reports),
        size / sum(report["samples"] for report in reports),
        {kind: sum(each["written"][kind] for each in reports) / size for kind in reports[0]["written"]},
    )


def fit_costs(runs: Sequence[Measured], worker_start: float) -> Costs:
    """Fit the costs on runs of one worker."""

    def phase(name: str) -> list[float]:
        return [seconds for run in runs for seconds in run.phase(name)]

    units = [unit for run in runs for unit in run.units()]
    later = np.array([unit for each in units for unit in each[1:]])
    unit, unit_byte = nonnegative(np.column_stack([np.ones(len(later)), later[:, 0]]), later[:, 1])
    spread = later[:, 1] / (unit + unit_byte * later[:, 0])
    quantiles = np.quantile(spread, np.linspace(0, 1, QUANTILES))
    jobs = [run.job for run in runs for _ in run.runs]
    known = np.array([[1.0, len(job.units), job.samples] for job in jobs])
    finish, finish_unit, finish_sample = nonnegative(known, np.array(phase("finish")))
    return Costs(
        start=median(phase("start")),
        inspect_byte=sum(phase("inspect")) / sum(sum(job.units) for job in jobs),
        load=median(phase("load")),
        worker_start=worker_start,
        first_unit=max(0.0, median(each[0][1] - unit - unit_byte * each[0][0] for each in units)),
        unit=unit,
        unit_byte=unit_byte,
        spread=tuple((quantiles / quantiles.mean()).round(4).tolist()),
        finish=finish,
        finish_unit=finish_unit,
        finish_sample=finish_sample,
    )


def nonnegative(known: np.ndarray, values: np.ndarray) -> list[float]:
    """Return the least-squares coefficients of the columns, those that come out negative left out in turn.

    >>> [round(each, 6) for each in nonnegative(np.array([[1.0, 1.0], [1.0, 2.0]]), np.array([5.0, 7.0]))]
    [3.0, 2.0]
    >>> [round(each, 6) for each in nonnegative(np.array([[1.0, 1.0], [1.0, 2.0]]), np.array([1.0, 3.0]))]
    [0.0, 1.4]
    """
    scale, found, use = np.abs(known).max(axis=0), np.zeros(known.shape[1]), np.arange(known.shape[1])
    while len(use):
        some = np.linalg.lstsq(known[:, use] / scale[use], values, rcond=None)[0]
        if (some >= 0).all():
            found[use] = some / scale[use]
            break
        use = np.delete(use, some.argmin())
    return found.tolist()


# ==== What is printed ====


def costs_table(model: Model) -> str:
    """Lay out the costs."""
    costs = model.costs
    low, high = np.quantile(costs.spread, [0.05, 0.95]).tolist()
    rows: list[list[object]] = [
        ["the driver's start, s", costs.start + costs.load],
        ["inspection, ns a byte", 1e9 * costs.inspect_byte],
        ["another worker's start, s", costs.worker_start],
        ["first unit of a process, more than others, s", costs.first_unit],
        ["a unit, s", costs.unit],
        ["a unit, ns a byte", 1e9 * costs.unit_byte],
        ["that, ns a token", 1e9 * costs.unit_byte * model.bytes_a_token],
        ["units to that line, 5 % to 95 %", f"{low:.2f} to {high:.2f}"],
        ["finish, s", costs.finish],
        ["finish, ms a unit", 1e3 * costs.finish_unit],
        ["finish, us a sample", 1e6 * costs.finish_sample],
    ]
    return table(["cost", "CPU"], rows)


def comparison(runs: Sequence[Measured], model: Model) -> str:
    """Lay out what the model says of each run beside what was measured."""
    header = ["run", "MB", "units", "workers", "CPU s", "predicted", "error", "share of processors", "wall s",
              "predicted", "error", "predicted alone"]  # fmt: skip
    lines = []
    for told in sorted((run.told(model) for run in runs), key=lambda each: not each["fitted"]):
        guess, name = told["predicted"], f"{told['name']}{', fitted' * told['fitted']}"
        cpu, wall = (
            [told[what], guess[what], f"{guess[what] / told[what] - 1:+.0%}"] for what in ("cpu", "wall")
        )
        size = f"{told['bytes'] / 1e6:,.0f}"
        lines.append([name, size, told["units"], told["workers"], *cpu, told["share"], *wall, guess["alone"]])
    return table(header, lines)


if __name__ == "__main__":
    main()
