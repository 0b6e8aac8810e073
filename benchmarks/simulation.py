"""A run on any number of nodes, event by event: who does which unit when, and what is done again.

    simulate(Job(units=(48e6,) * 20_000), Cluster(nodes=10, workers=16), costs).wall

What is simulated is what a run does (`running/run.py`, `running/runners/`): the driver starts, inspects all
sources and cuts them into units; the other workers start beside its loading, and from then on each takes the
next unit that nobody has; the driver, which does units too, finishes when all are done. Added is what one
machine does not show: nodes that are slow, and nodes that are lost together with the units that they have in
work. What a lost node had finished is kept, because outputs lie on storage that all nodes reach; the units
go to others, and the node does not come back.

The same arguments give the same result. Cost: about 5 us a unit.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Costs:
    """Seconds that each part of a run takes on one core, in the order in which they come."""

    start: float = 0.0
    """The driver, up to the inspection of its sources."""
    inspect_byte: float = 0.0
    load: float = 0.0
    """The driver again: tokenizer, template, proof of the engine."""
    worker_start: float = 0.0
    """Another process, from nothing until it can take a unit."""
    first_unit: float = 0.0
    """What the first unit of each process takes more than its others."""
    unit: float = 0.0
    unit_byte: float = 0.0
    spread: tuple[float, ...] = (1.0,)
    """Factors by which measured units differ from `unit + unit_byte * bytes`; each unit draws one."""
    dispatch: float = 0.0
    """Handing out a unit, which the driver does one after another."""
    finish: float = 0.0
    finish_unit: float = 0.0
    finish_sample: float = 0.0


@dataclass(frozen=True)
class Job:
    """What is to be done: bytes of text of each unit, and the samples of all units."""

    units: tuple[float, ...]
    samples: int = 0


@dataclass(frozen=True)
class Cluster:
    """Who does it: `nodes` with so many `workers` each; the driver is the first worker of node 0.

    `slow_share` of the nodes, never node 0, need `slow` times as long for a unit; `losses` are the nodes that
    are lost and the second at which. `inspectors` processes share the inspection of the sources: today 1.
    """

    nodes: int = 1
    workers: int = 1
    slow_share: float = 0.0
    slow: float = 2.0
    losses: tuple[tuple[int, float], ...] = ()
    inspectors: int = 1


@dataclass(frozen=True)
class Outcome:
    """What a run took, in seconds by the clock but for `busy`, which adds up those of all processes."""

    start: float
    inspect: float
    units: float
    finish: float
    busy: float
    redone: int
    """Units that were begun on a node that was lost."""
    tail: float
    """From when the first worker found no unit left until the last unit was done; part of `units`."""

    @property
    def wall(self) -> float:
        """The whole run."""
        return self.start + self.inspect + self.units + self.finish


def simulate(job: Job, cluster: Cluster, costs: Costs, *, seed: int = 4) -> Outcome:
    """Simulate a run. Raises `ValueError` if the node of the driver is lost, which ends a run: what comes
    after that is another run, of the units that are left.

    >>> simulate(Job((10.0, 10.0, 10.0)), Cluster(workers=2), Costs(unit=1.0, unit_byte=0.1)).units
    4.0
    """
    if any(node == 0 for node, _ in cluster.losses):
        raise ValueError("node 0 has the driver; the run ends when it is lost")
    rng = np.random.default_rng(seed)
    spread = rng.choice(costs.spread, len(job.units))
    seconds = (costs.unit + costs.unit_byte * np.array(job.units)) * spread
    slow = rng.permutation(np.arange(1, cluster.nodes))[: round(cluster.slow_share * cluster.nodes)]
    inspect = costs.inspect_byte * sum(job.units)
    seen = costs.start + inspect / cluster.inspectors
    begin = seen + costs.load
    units = _Units(seconds.tolist(), costs)
    for number in range(cluster.nodes * cluster.workers):
        node = number // cluster.workers
        ready = begin if number == 0 else max(begin, seen + costs.worker_start)
        units.join(_Worker(node, cluster.slow if node in slow else 1.0, costs.first_unit), ready)
    for node, at in cluster.losses:
        units.lose_later(node, at)
    end = units.run(begin)
    finish = costs.finish + costs.finish_unit * len(job.units) + costs.finish_sample * job.samples
    others = (cluster.nodes * cluster.workers - 1) * costs.worker_start
    return Outcome(
        start=costs.start + costs.load,
        inspect=inspect / cluster.inspectors,
        units=end - begin,
        finish=finish,
        busy=costs.start + inspect + costs.load + others + units.busy + finish,
        redone=units.redone,
        tail=max(0.0, end - units.first_idle),
    )


@dataclass
class _Worker:
    node: int
    pace: float
    extra: float
    """Seconds that its next unit takes more than others."""
    unit: int | None = None
    since: float = 0.0
    lost: bool = False


_READY, _LOST = 0, 1
"""What happens; at the same moment, units are done before nodes are lost."""


class _Units:
    """The units that nobody has taken yet, and what will happen next."""

    def __init__(self, seconds: list[float], costs: Costs) -> None:
        self._seconds, self._dispatch = seconds, costs.dispatch
        self._waiting, self._left = deque(range(len(seconds))), len(seconds)
        self._events: list[tuple[float, int, int]] = []
        self._workers: list[_Worker] = []
        self._idle: list[int] = []
        self._handed = 0.0
        self.busy, self.redone, self.first_idle = 0.0, 0, math.inf

    def join(self, worker: _Worker, ready: float) -> None:
        """A worker that takes units from a moment on."""
        heapq.heappush(self._events, (ready, _READY, len(self._workers)))
        self._workers.append(worker)

    def lose_later(self, node: int, at: float) -> None:
        """Lose a node at a moment."""
        heapq.heappush(self._events, (at, _LOST, node))

    def run(self, now: float) -> float:
        """Do all units, from `now` on; returns when the last is done."""
        while self._left:
            now, what, who = heapq.heappop(self._events)
            if what == _LOST:
                self._lose(who, now)
            elif not self._workers[who].lost:
                self._ready(who, now)
        return now

    def _ready(self, who: int, now: float) -> None:
        """A worker has done what it had, if anything, and takes the next unit."""
        worker = self._workers[who]
        if worker.unit is not None:
            self.busy += now - worker.since
            self._left -= 1
            worker.unit = None
        if not self._waiting:
            self._idle.append(who)
            self.first_idle = min(self.first_idle, now)
            return
        worker.unit = self._waiting.popleft()
        self._handed = worker.since = max(now, self._handed) + self._dispatch
        end = worker.since + worker.extra + worker.pace * self._seconds[worker.unit]
        worker.extra = 0.0
        heapq.heappush(self._events, (end, _READY, who))

    def _lose(self, node: int, now: float) -> None:
        """A node's workers are gone; what they had in work is left to others."""
        for worker in self._workers:
            if worker.node == node and not worker.lost:
                worker.lost = True
                if worker.unit is not None:
                    self.busy += max(0.0, now - worker.since)
                    self.redone += 1
                    self._waiting.append(worker.unit)
        if self._waiting and self._idle:
            for who in self._idle:
                heapq.heappush(self._events, (now, _READY, who))
            self._idle, self.first_idle = [], math.inf
