"""The simulation of a run, on cases that can be worked out by hand, and the cost model fitted on made-up runs."""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import json
import sys
from types import ModuleType

import pytest
from commands import ROOT, SAMPLE
from premask.running.duplicates import HASHED, ROWS_AT_ONCE
from premask.sources.cutting import UNIT_BYTES

if not (ROOT / "benchmarks").is_dir():
    pytest.skip("benchmarks/ is not there: it is no part of the source distribution", allow_module_level=True)


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch):
    """Modules of `benchmarks/` import each other by name, as scripts do."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module


@pytest.fixture
def sim(module) -> ModuleType:
    return module("simulation")


def test_examples(sim) -> None:
    assert doctest.testmod(sim).attempted > 0
    assert doctest.testmod(sim).failed == 0


def test_one_worker_takes_the_sum(sim) -> None:
    costs = sim.Costs(
        start=1, inspect_byte=0.5, load=2, worker_start=100, first_unit=3, unit=0.25, unit_byte=1,
        finish=4, finish_unit=5, finish_sample=6,
    )  # fmt: skip
    found = sim.simulate(sim.Job((8.0, 4.0), samples=7), sim.Cluster(), costs)

    assert (found.start, found.inspect, found.units, found.finish) == (3, 6, 3 + 12.5, 4 + 10 + 42)
    assert found.wall == found.busy == 3 + 6 + 15.5 + 56
    assert found.redone == found.tail == 0


@pytest.mark.parametrize(("nodes", "workers"), [(1, 3), (3, 1), (2, 2), (5, 4)])
def test_equal_units_go_in_rounds(sim, nodes: int, workers: int) -> None:
    found = sim.simulate(sim.Job((1.0,) * 7), sim.Cluster(nodes, workers), sim.Costs(unit_byte=10))
    everyone = nodes * workers

    assert found.units == 10 * -(-7 // everyone)
    assert found.busy == 70
    assert found.tail == (10 if everyone > 1 else 0)


def test_workers_start_beside_the_loading_of_the_driver(sim) -> None:
    """The driver begins its first unit at 1 + 2, the other process its own at 1 + 5."""
    costs = sim.Costs(start=1, load=2, worker_start=5, unit=2)
    found = sim.simulate(sim.Job((0.0,) * 3), sim.Cluster(workers=2), costs)

    assert found.units == 8 - 3  # the driver is done at 7, the other, which begins at 6, at 8
    assert found.busy == 3 + 5 + 3 * 2


def test_inspection_can_be_shared_but_not_saved(sim) -> None:
    one, four = (
        sim.simulate(sim.Job((8.0,)), sim.Cluster(inspectors=number), sim.Costs(inspect_byte=1))
        for number in (1, 4)
    )

    assert (one.inspect, four.inspect) == (8, 2)
    assert one.busy == four.busy == 8


def test_a_slow_node_keeps_its_unit_longer(sim) -> None:
    """Two nodes, one of them half as fast: it does one of four units, from 0 to 20 s, the other node three."""
    cluster = sim.Cluster(nodes=2, slow_share=0.5, slow=2.0)
    found = sim.simulate(sim.Job((1.0,) * 4), cluster, sim.Costs(unit_byte=10))

    assert found.units == 30
    assert found.busy == 20 + 3 * 10
    assert found.tail == 30 - 20


def test_what_a_lost_node_had_in_work_is_done_again(sim) -> None:
    """Of four units of 10 s, node 1 has done one and is 5 s into the next when it is lost."""
    cluster = sim.Cluster(nodes=2, losses=((1, 15.0),))
    found = sim.simulate(sim.Job((1.0,) * 4), cluster, sim.Costs(unit_byte=10))

    assert found.redone == 1
    assert found.units == 30
    assert found.busy == 40 + 5


def test_who_waits_gets_the_units_of_a_lost_node(sim) -> None:
    """Both nodes have one unit each; node 0 is done with the short one, and waits, when node 1 is lost."""
    cluster = sim.Cluster(nodes=2, losses=((1, 8.0),))
    found = sim.simulate(sim.Job((2.0, 10.0)), cluster, sim.Costs(unit_byte=1))

    assert (found.units, found.redone, found.busy) == (18, 1, 2 + 8 + 10)


def test_a_node_that_is_lost_after_the_end_or_idle_costs_nothing(sim) -> None:
    job, costs = sim.Job((2.0, 10.0)), sim.Costs(unit_byte=1)
    undisturbed = sim.simulate(job, sim.Cluster(nodes=3), costs)

    for at in (1.0, 11.0):
        assert sim.simulate(job, sim.Cluster(nodes=3, losses=((2, at),)), costs) == undisturbed


def test_a_run_ends_with_its_driver(sim) -> None:
    with pytest.raises(ValueError, match="driver"):
        sim.simulate(sim.Job((1.0,)), sim.Cluster(losses=((0, 1.0),)), sim.Costs(unit=1))


def test_units_are_handed_out_one_after_another(sim) -> None:
    """Four workers, and a second to hand out a unit: the last begins after 4 s."""
    found = sim.simulate(sim.Job((0.0,) * 4), sim.Cluster(workers=4), sim.Costs(unit=10, dispatch=1))

    assert found.units == 14


def test_the_seed_decides(sim) -> None:
    job, cluster = sim.Job((1.0,) * 50), sim.Cluster(nodes=4, workers=2, slow_share=0.25)
    costs = sim.Costs(unit=1, spread=(0.5, 1.0, 1.5, 3.0))
    one, same, other = (sim.simulate(job, cluster, costs, seed=seed) for seed in (1, 1, 2))

    assert one == same != other


# ==== The fit ====


COSTS = {
    "start": 1.5, "inspect_byte": 2e-9, "load": 4.0, "worker_start": 3.0, "first_unit": 0.25, "unit": 0.05, "unit_byte": 4e-8,
    "finish": 0.5, "finish_unit": 0.01, "finish_sample": 1e-6,
}  # fmt: skip


def made_up_run(module, name: str, workers: int, sizes: list[int], samples: int):
    """A run that took exactly what the costs say, on processors of which it got the half."""
    model, sim = module("cost_model"), module("simulation")
    costs, job = sim.Costs(**COSTS), sim.Job(tuple(map(float, sizes)), samples)
    found = sim.simulate(job, sim.Cluster(workers=workers), costs)
    steps = [[0.0, costs.unit + costs.unit_byte * size] for size in sizes]
    steps[0][1] += costs.first_unit
    phases = {"inspect": found.inspect, "load": costs.load, "units": found.units, "finish": found.finish}
    report = {
        "phases": {key: [2 * seconds, seconds] for key, seconds in phases.items()}, "unit_steps": steps,
        "unit_bytes": sizes, "samples": samples, "rows": samples, "tokens": samples * 100, "written": {"packed": 700 * samples},
    }  # fmt: skip
    busy = 2 * found.wall + (workers - 1) * 2 * found.units
    finished = module("common").Finished(2 * found.wall, busy / 2, (), (), report)
    return model.Measured(name, workers, is_for_fit=True, runs=[finished])


def test_the_costs_of_runs_without_noise_are_found(module) -> None:
    shapes = {"small": [10_000, 20_000, 15_000], "usual": [50_000_000] * 2, "small units": [5_000_000] * 20}
    runs = [
        made_up_run(module, name, 1, sizes, 1000 * len(sizes) * len(name)) for name, sizes in shapes.items()
    ]
    two = made_up_run(module, "small", 2, shapes["small"], 15_000)
    one = runs[0].runs[0]
    two.runs = [dataclasses.replace(two.runs[0], cpu=one.cpu + COSTS["worker_start"])]
    model = module("cost_model").fit([*runs, two])

    found = {name: getattr(model.costs, name) for name in COSTS}
    assert found == pytest.approx(COSTS, rel=1e-6)
    assert model.costs.spread == pytest.approx([1.0] * len(model.costs.spread))
    assert model.written["packed"] * model.bytes_a_token == pytest.approx(7)
    for run in runs:
        told = run.told(model)
        assert told["predicted"]["cpu"] == pytest.approx(told["cpu"])
        assert told["predicted"]["wall"] == pytest.approx(told["wall"])
        assert told["share"] == pytest.approx(0.5)


def block() -> list[bytes]:
    """Rows as `data.py` writes them, so few that they need not be made of the shared corpus."""
    rows = [
        [("user", f"What is {i} plus {i}?"), ("assistant", f"It is {2 * i}. " * (1 + i % 7))]
        for i in range(40)
    ]
    keys = ("role", "content")
    lines = [{"messages": [dict(zip(keys, turn, strict=True)) for turn in row]} for row in rows]
    return [json.dumps(line).encode() + b"\n" for line in lines]


def test_a_run_is_measured(module, tmp_path) -> None:
    """The parts of the package that the clocks hang on are where they are looked for."""
    common = module("common")
    rows = module("bulk").numbered(block())
    source = tmp_path / "chats.jsonl"
    source.write_bytes(b"".join(next(rows) for _ in range(200)))
    values = {"sources": [str(source)], "tokenizer": str(SAMPLE / "tokenizer"), "max_length": 2048,
              "unit_rows": 70, "output": str(tmp_path / "out")}  # fmt: skip
    script = ROOT / "benchmarks" / "cost_model.py"
    run = common.measure([sys.executable, script, "--run", json.dumps(values), "--workers", "1"])
    report = run.report

    assert sum(report["unit_bytes"]) == source.stat().st_size
    assert len(report["unit_bytes"]) == len(report["unit_steps"]) == 3
    assert report["rows"] == 200
    assert report["written"].keys() >= {"packed", "lineage"}
    phases = report["phases"]
    assert [*phases] == ["inspect", "load", "units", "finish"]
    assert sum(cpu for _, cpu in phases.values()) < run.cpu
    assert sum(wall for wall, _ in report["unit_steps"]) == pytest.approx(phases["units"][0])


# ==== Large inputs ====


def test_rows_of_large_inputs_differ(module) -> None:
    line = b'{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}\n'
    rows = [row for row, _ in zip(module("bulk").numbered([line]), range(10_000), strict=False)]

    assert len(set(rows)) == len(rows)
    assert all(len(json.loads(row)["messages"]) == 2 for row in rows)
    assert doctest.testmod(module("bulk")).failed == 0


def test_large_inputs_are_of_the_size_asked_for(module, monkeypatch, tmp_path) -> None:
    bulk = module("bulk")
    monkeypatch.setattr(bulk, "FILE_BYTES", 200_000)
    monkeypatch.setitem(bulk.BLOCK_ROWS, "chat", 40)
    (tmp_path / f"chat-40-seed{bulk.SEED}.jsonl").write_bytes(b"".join(block()))
    paths = bulk.write_bulk("chat", 500_000, tmp_path / "one", data=tmp_path)
    again = bulk.write_bulk("chat", 500_000, tmp_path / "two", data=tmp_path)
    rows = [row for path in paths for row in path.read_bytes().splitlines()]

    assert len(paths) == 3
    assert 500_000 <= sum(path.stat().st_size for path in paths) < 500_000 + 3 * max(map(len, rows))
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in again]


# ==== The forecast ====


def test_the_document_shows_what_the_forecast_prints(module, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["forecast.py"])
    module("forecast").main()
    printed = capsys.readouterr().out
    document = (ROOT / "docs" / "cost-model.md").read_text(encoding="utf-8")

    tables = [part.strip() for part in printed.split("###") if part.strip()]
    assert len(tables) == 5
    for each in tables:
        assert each.partition("\n")[2].strip() in document


def test_the_forecast_takes_its_constants_from_the_package(module) -> None:
    forecast = module("forecast")

    assert forecast.UNIT_BYTES == UNIT_BYTES
    assert HASHED.itemsize == forecast.HASH_BYTES
    assert forecast.ROWS_AT_ONCE == ROWS_AT_ONCE
