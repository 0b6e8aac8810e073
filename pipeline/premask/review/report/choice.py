"""Which samples, packs and rejected rows a report shows of an output that may have millions.

    choice = Choice(manifest.run_key, texts.count_special, packed=True)
    measure(out, seen=[choice.see], rejected=[choice.see_rejected])
    choice.samples()                 # each once, with why it was chosen

Chosen are a random sample (its seed is the run key: the same output gives the same report), some samples of
every source and split, one whole pack, and the extremes: the longest, the least trained, and those with the
most control tokens. It takes one pass, and keeps only what it has chosen so far. Cost: 20 ns a token, for the
control tokens.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from ...core import hashing
from ...core.arrays import offsets_of
from ...output.read_samples import SampleBatch

RANDOM = "random sample"
"""Why most samples are chosen."""

SAMPLES = 300
"""Samples of the random sample."""

EXTREMES = 8
"""Samples of each kind of extreme."""

PACKS = 24
"""Packs of the random sample; the emptiest and those with the most samples are shown too."""

OF_EACH_SOURCE = 2
"""Samples of each source and split, for the first `SOURCES` of them."""

SOURCES = 64

REJECTS_OF_REASON = 6
"""Rejected rows of each reason."""

REASONS = 64
"""Reasons, of which there are fewer; a damaged reject log may have any number."""

ORIGINAL = 5000
"""Characters of a rejected row that are kept."""

IN_PACK = 200
"""Samples of a pack that are listed."""


@dataclass
class Chosen:
    """One sample that is shown: its place, its source, its tokens, and `why` it was chosen.

    `control` counts its control tokens; `ids` and `labels` are int32[length].
    """

    split: str
    row: int
    offset: int
    trained: int
    control: int
    source: str
    source_row: int
    id: str | None
    sample: int
    ids: np.ndarray
    labels: np.ndarray
    why: list[str] = field(default_factory=list)

    @property
    def key(self) -> tuple[str, int, int]:
        """Which sample of which input row it is."""
        return self.source, self.source_row, self.sample


@dataclass(frozen=True)
class Pack:
    """One row of the output: its samples in order, as JSON values, of which `left_out` are not listed."""

    split: str
    row: int
    size: int
    samples: list[dict[str, Any]]
    left_out: int


class _Best:
    """The `limit` items with the greatest keys; of equal keys the first."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._heap: list[tuple[float, int, Any]] = []
        self._count = 0

    def offer(self, keys: np.ndarray, make: Callable[[int], Any]) -> None:
        """Take those of n items that are among the best, by their keys, [n]; `make(i)` gives item i."""
        if len(self._heap) == self.limit:
            good = np.flatnonzero(keys > self._heap[0][0])
        else:
            good = np.arange(len(keys))
        if len(good) > self.limit:
            good = np.sort(good[np.argsort(-keys[good], kind="stable")[: self.limit]])
        for i in good.tolist():
            entry = (float(keys[i]), -(self._count + i))
            if len(self._heap) < self.limit:
                heapq.heappush(self._heap, (*entry, make(i)))
            elif entry > self._heap[0][:2]:
                heapq.heapreplace(self._heap, (*entry, make(i)))
        self._count += len(keys)

    def items(self) -> list[Any]:
        """What was kept, best first."""
        return [item for _, _, item in sorted(self._heap, key=lambda entry: entry[:2], reverse=True)]


class Choice:
    """Chooses while an output is read.

    `is_control` says which ids are control tokens, int32[t] -> bool[t].
    """

    def __init__(self, run_key: str, is_control: Callable[[np.ndarray], np.ndarray], *, packed: bool) -> None:
        self._is_control, self._packed = is_control, packed
        self._seed = int(run_key[:16], 16)
        self._count = self._lines = self._rows = 0
        self._sample = _Best(SAMPLES)
        self._extremes = {
            name: _Best(EXTREMES) for name in ("longest", "least trained", "most control tokens")
        }
        self._sources: dict[tuple[str, str], _Best] = {}
        self._packs = {"sample": _Best(PACKS), "emptiest": _Best(2), "most samples": _Best(2)}
        self._rejects: dict[str, _Best] = {}

    def see(self, batch: SampleBatch) -> None:
        """Look at a batch of samples."""
        n = len(batch.length)
        control = offsets_of(self._is_control(batch.ids))
        control = control[batch.begin + batch.length] - control[batch.begin]
        chance = _chance(self._count + np.arange(n), self._seed)

        def make(i: int) -> Chosen:
            return _chosen(batch, i, int(control[i]))

        self._sample.offer(chance, make)
        keys = (batch.length, -batch.trained / np.maximum(batch.length, 1), control)
        for best, key in zip(self._extremes.values(), keys, strict=True):
            best.offer(key, make)
        source = batch.origin.column("source").dictionary_encode()
        indices = source.indices.to_numpy()
        for number, name in enumerate(source.dictionary.to_pylist()):
            if len(self._sources) < SOURCES or (batch.split, name) in self._sources:
                own = np.flatnonzero(indices == number)
                best = self._sources.setdefault((batch.split, name), _Best(OF_EACH_SOURCE))
                best.offer(chance[own], _at(own, make))
        self._count += n
        if self._packed:
            self._see_packs(batch, control)

    def _see_packs(self, batch: SampleBatch, control: np.ndarray) -> None:
        rows = np.arange(len(batch.row_sizes))
        first = np.searchsorted(batch.row - batch.first_row, [*rows, len(rows)])
        used = np.bincount(batch.row - batch.first_row, batch.length, minlength=len(rows))

        def make(i: int) -> tuple[Pack, list[Chosen]]:
            return _pack(batch, i, range(int(first[i]), int(first[i + 1])), control)

        chance = _chance(self._rows + rows, self._seed + 1)
        keys = (chance, -used, np.diff(first))
        for best, key in zip(self._packs.values(), keys, strict=True):
            best.offer(key, make)
        self._rows += len(rows)

    def samples(self) -> list[Chosen]:
        """The samples that were chosen, each once: extremes, some of each source, those of one pack (the
        first ones, if it has very many), then the random sample."""
        groups = [(name, best.items()) for name, best in self._extremes.items()]
        groups += [("of its source", best.items()) for best in self._sources.values()]
        whole = self._packs["sample"].items()[:1]
        groups += [("whole pack", members) for _, members in whole]
        groups.append((RANDOM, self._sample.items()))
        found: dict[tuple[str, int, int], Chosen] = {}
        for why, members in groups:
            for each in members:
                own = found.setdefault(each.key, each)  # a row that is upsampled is shown once
                own.why += [] if why in own.why else [why]
        return list(found.values())

    def packs(self) -> list[Pack]:
        """The packs that were chosen, in the order of the output."""
        found = {(pack.split, pack.row): pack for best in self._packs.values() for pack, _ in best.items()}
        return [found[key] for key in sorted(found)]

    def see_rejected(self, lines: pa.RecordBatch) -> None:
        """Look at a batch of the reject log."""
        reasons = lines.column("reason").dictionary_encode()
        chance = _chance(self._lines + np.arange(lines.num_rows), self._seed + 2)
        indices = reasons.indices.to_numpy()
        for number, reason in enumerate(reasons.dictionary.to_pylist()):
            if reason in self._rejects or len(self._rejects) < REASONS:
                own = np.flatnonzero(indices == number)
                best = self._rejects.setdefault(reason, _Best(REJECTS_OF_REASON))
                best.offer(chance[own], _at(own, partial(_rejected, lines)))
        self._lines += lines.num_rows

    def rejects(self) -> list[dict[str, Any]]:
        """The rejected rows that were chosen, reason by reason, as JSON values."""
        found = [line for best in self._rejects.values() for line in best.items()]
        return sorted(found, key=lambda line: (line["reason"], line["source"], line["row"]))


def _at(places: np.ndarray, make: Callable[[int], Any]) -> Callable[[int], Any]:
    """What makes an item of a selection, int64[n], by what makes an item of all."""
    return lambda i: make(int(places[i]))


def _chance(numbers: np.ndarray, seed: int) -> np.ndarray:
    """A number from 0 to 1 for each, always the same, float64[n]."""
    return hashing.chance(numbers.astype(np.uint64) + np.uint64(seed % 2**63))


def _chosen(batch: SampleBatch, i: int, control: int) -> Chosen:
    (origin,) = batch.origin.slice(i, 1).to_pylist()
    ids, labels = batch.tokens(i)
    return Chosen(
        split=batch.split,
        row=int(batch.row[i]),
        offset=int(batch.offset[i]),
        trained=int(batch.trained[i]),
        control=control,
        source=origin["source"],
        source_row=origin["row"],
        id=origin["id"],
        sample=origin["sample"],
        ids=ids,
        labels=labels,
    )


def _pack(batch: SampleBatch, row: int, members: range, control: np.ndarray) -> tuple[Pack, list[Chosen]]:
    """A pack with the places of its samples; and these themselves, if they are few enough to be listed."""
    shown = members[:IN_PACK]
    origins = batch.origin.slice(members.start, len(shown)).to_pylist()
    samples = [
        {
            "offset": int(batch.offset[i]),
            "length": int(batch.length[i]),
            "trained": int(batch.trained[i]),
            "source": origin["source"],
            "row": origin["row"],
            "sample": origin["sample"],
        }
        for i, origin in zip(shown, origins, strict=True)
    ]
    pack = Pack(
        batch.split, batch.first_row + row, int(batch.row_sizes[row]), samples, len(members) - len(shown)
    )
    return pack, [_chosen(batch, i, int(control[i])) for i in shown]


def _rejected(lines: pa.RecordBatch, i: int) -> dict[str, Any]:
    (line,) = lines.slice(i, 1).to_pylist()
    original, left_out = shortened(line["original"] or "", ORIGINAL)
    return {
        **{name: line[name] for name in ("source", "row", "id", "reason")},
        "detail": shortened(line["detail"] or "", ORIGINAL)[0],
        "original": original,
        "left_out": left_out,
    }


def shortened(text: str, limit: int) -> tuple[str, int]:
    """Return the first characters of a text, and how many are left out.

    >>> shortened("abcdef", 4), shortened("abc", 4)
    (('abcd', 2), ('abc', 0))
    """
    return text[:limit], max(len(text) - limit, 0)
