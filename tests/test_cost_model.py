"""The simulation of a run, on cases that can be worked out by hand, and the cost model fitted on made-up runs."""

from __future__ import annotations

import doctest
import importlib
from types import ModuleType

import pytest
from commands import ROOT


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
