"""Which samples, packs and rejected rows a report shows of an output that may have millions.

    choice = Choice(manifest, count_control)
    measure(out, seen=[choice.see], rejected=[choice.see_rejected])
    choice.samples()                 # the extremes and a sample, each once, with why it was chosen

A seeded sample (the seed is the run's key: the same output gives the same report), samples of every
source and split, and the extremes: the longest, the least trained, those with the most control tokens.
All in one pass; of what is not shown nothing is kept. Cost: 20 ns a token, for the control tokens; memory is
that of what is chosen.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa

from ...core import hashing
from ...core.arrays import offsets_of
from ...core.contract import IGNORE_INDEX
from ...output.read_samples import SampleBatch
from ...tokens.token_text import TokenTexts, groups_of
from ..rerun import Traced

SAMPLES = 300
"""Samples of the seeded sample."""


EXTREMES = 8
"""Samples of each kind of extreme."""


PACKS = 24
"""Packs whose boundaries are shown, besides the emptiest and those of most samples."""


OF_EACH_SOURCE = 2
"""Samples of each source and split, for the first `SOURCES` of them."""


SOURCES = 64


REJECTS_OF_REASON = 6
"""Rejected rows of each reason."""


REASONS = 64
"""Reasons, of which there are fewer; a damaged ledger may have any number."""


ORIGINAL = 5000
"""Characters of a rejected row that are kept."""


IN_PACK = 200
"""Samples of a pack that are listed."""


@dataclass
class Chosen:
    """One sample that is shown: where it stands, where it came from, its tokens, and `why` it was chosen.

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
    """The `limit` items of the greatest keys; of equal keys the first that came."""

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

    `is_control` tells of ids, int32[t], which are control tokens, bool[t].
    """

    def __init__(self, manifest: Mapping[str, Any], is_control: Callable[[np.ndarray], np.ndarray]) -> None:
        self._is_control = is_control
        self._seed = int(str(manifest.get("run_key", "0"))[:16], 16)
        self._room = int(manifest["recipe"]["max_length"])
        self._packed = "packed" in manifest["recipe"]["layout"]
        self._count = self._lines = self._rows = 0
        self._sample = _Best(SAMPLES)
        self._extremes = {
            name: _Best(EXTREMES) for name in ("longest", "least trained", "most control tokens")
        }
        self._sources: dict[tuple[str, str], _Best] = {}
        self._packs = {"sample": _Best(PACKS), "emptiest": _Best(2), "most samples": _Best(2)}
        self._rejects: dict[str, _Best] = {}

    # ---- samples ----

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
        """The samples that were chosen, each once: extremes, then the samples of one pack, then the sample.
        Packs come with all of their samples where these are few."""
        groups = [(name, best.items()) for name, best in self._extremes.items()]
        groups += [("of its source", best.items()) for best in self._sources.values()]
        whole = self._packs["sample"].items()[:1]
        groups += [("whole pack", members) for _, members in whole]
        groups.append(("sample", self._sample.items()))
        found: dict[tuple[str, int, int], Chosen] = {}
        for why, members in groups:
            for each in members:
                own = found.setdefault(each.key, each)  # a row that is repeated is shown once
                own.why += [] if why in own.why else [why]
        return list(found.values())

    def packs(self) -> list[Pack]:
        """The packs that were chosen, in the order of the output."""
        found = {(pack.split, pack.row): pack for best in self._packs.values() for pack, _ in best.items()}
        return [found[key] for key in sorted(found)]

    # ---- rejects ----

    def see_rejected(self, lines: pa.RecordBatch) -> None:
        """Look at lines of the ledger."""
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
        """The rejected rows that were chosen, reason by reason, as plain JSON values."""
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
    original = line["original"] or ""
    return {
        **{name: line[name] for name in ("source", "row", "id", "reason")},
        "detail": shortened(line["detail"] or "", ORIGINAL)[0],
        "original": shortened(original, ORIGINAL)[0],
        "left_out": shortened(original, ORIGINAL)[1],
    }


def shortened(text: str, limit: int) -> tuple[str, int]:
    """Return the first characters of a text, and how many are left out.

    >>> shortened("abcdef", 4), shortened("abc", 4)
    (('abcd', 2), ('abc', 0))
    """
    return text[:limit], max(len(text) - limit, 0)


# ==== items ====

# Samples as the report's page shows them: plain JSON values, small, and bounded whatever the data holds.
#
#     item = item_of(chosen, traced, texts, turn_ends)
#     item["text"][:3]        # ["<|im_start|>", "user", ["🙂", 2]]: the third is two tokens
#
# Cost: a few microseconds a token, for the few hundred samples that a page has.


HEAD, TAIL = 2000, 400
"""Tokens of a longer sample that are shown, from its start and from its end."""


TOKEN_CHARACTERS = 400
"""Characters of one token that are shown."""


Block = tuple[int, str]
"""A message as it is shown: its first token, and the origin of what it says; empty if that is not known."""


def item_of(
    chosen: Chosen, traced: Traced | None, texts: TokenTexts, turn_ends: Collection[int]
) -> dict[str, Any]:
    """Return a sample as JSON values.

    `text` has a string for each token, or [string, tokens, characters left out]; `runs` are the first token
    and one past the last of each stretch whose labels are its ids; `other` has labels that are neither that
    nor -100; `origins` are [tokens, origin], null if they are not known; `skip` is [first token, tokens] of
    what is left out of a long sample, and `text` and `ids` lack it.
    """
    ids, labels = chosen.ids.tolist(), chosen.labels
    groups = texts.groups(ids) if traced is None else groups_of(traced.text, traced.starts, traced.ends)
    blocks = blocks_of(ids, groups, None if traced is None else traced.origins, turn_ends)
    shown, skip = _shown(groups)
    kept = ids if skip is None else ids[: skip[0]] + ids[skip[0] + skip[1] :]
    trained = labels == chosen.ids
    other = np.flatnonzero(~trained & (labels != IGNORE_INDEX))
    return {
        "split": chosen.split,
        "pack": chosen.row,
        "offset": chosen.offset,
        "source": chosen.source,
        "row": chosen.source_row,
        "id": None if chosen.id is None else shortened(chosen.id, TOKEN_CHARACTERS)[0],
        "sample": chosen.sample,
        "why": chosen.why,
        "length": len(ids),
        "trained": chosen.trained,
        "control": chosen.control,
        "ids": kept,
        "text": [_text(text, count) for text, count in shown],
        "runs": _runs(trained),
        "other": {int(i): int(labels[i]) for i in other[:100]},
        "origins": None if traced is None else _counted(traced.origins),
        "blocks": [list(block) for block in blocks],
        "proof": None if traced is None else traced.proof,
        "skip": skip,
    }


def _shown(groups: Sequence[tuple[str, int]]) -> tuple[list[tuple[str, int]], list[int] | None]:
    """The groups that are shown, and the first token and the number of tokens that are not."""
    sizes = np.array([count for _, count in groups], dtype=np.int64)
    ends = np.cumsum(sizes)
    total = int(ends[-1]) if len(ends) else 0
    if total <= HEAD + TAIL:
        return list(groups), None
    first = int(np.searchsorted(ends, HEAD, side="right"))
    last = int(np.searchsorted(ends - sizes, total - TAIL, side="left"))
    start = int(ends[first - 1]) if first else 0
    stop = int(ends[last - 1])
    return [*groups[:first], *groups[last:]], [start, stop - start]


def _text(text: str, count: int) -> str | list[Any]:
    shown, left_out = shortened(text, TOKEN_CHARACTERS)
    return shown if (count, left_out) == (1, 0) else [shown, count, left_out]


def _runs(trained: np.ndarray) -> list[int]:
    """Where stretches of true values begin and end.

    >>> _runs(np.array([False, True, True, False, True]))
    [1, 3, 4, 5]
    """
    edges = np.diff(trained.astype(np.int8), prepend=0, append=0)
    return [int(i) for i in np.flatnonzero(edges)]


def _counted(values: Sequence[str]) -> list[list[Any]]:
    """Runs of equal values.

    >>> _counted(["a", "a", "b"])
    [[2, 'a'], [1, 'b']]
    """
    return [[len(list(run)), value] for value, run in groupby(values)]


# ==== Messages ====


def blocks_of(
    ids: Sequence[int],
    groups: Sequence[tuple[str, int]],
    origins: Sequence[str] | None,
    turn_ends: Collection[int],
) -> list[Block]:
    """Cut a sample into messages, for the eye.

    A message ends with a turn-end token and the blank tokens that follow it; where origins are known, a
    message begins where another one writes, together with what the template prints before it.

    >>> tokens = ["<s>", "user", "Hi", "<e>", "\\n", "<s>", "Yo", "<e>"]
    >>> origins = ["template", "template", "user:0", *["template"] * 3, "assistant:1", "template"]
    >>> blocks_of([1, 7, 8, 2, 9, 1, 8, 2], [(token, 1) for token in tokens], origins, {2})
    [(0, 'user:0'), (5, 'assistant:1')]
    >>> blocks_of([1, 7, 8, 2, 9, 1, 8, 2], [(token, 1) for token in tokens], None, {2})
    [(0, ''), (5, '')]
    """
    cuts = _after_turn_ends(ids, groups, turn_ends)
    if origins is None:
        return [(start, "") for start in [0, *cuts]]
    blocks: list[Block] = []
    start, writer, gap = 0, "", 0
    for origin, run in groupby(range(len(ids)), key=origins.__getitem__):
        tokens = list(run)
        if origin == "template":
            gap = next((cut for cut in cuts if tokens[0] <= cut <= tokens[-1]), tokens[0])
            continue
        if not writer:
            writer = origin
        elif origin != writer:
            begin = gap if gap > start else tokens[0]
            blocks.append((start, writer))
            start, writer = begin, origin
        gap = tokens[-1] + 1
    return [*blocks, (start, writer or "template")]


def _after_turn_ends(
    ids: Sequence[int], groups: Sequence[tuple[str, int]], turn_ends: Collection[int]
) -> list[int]:
    """The tokens that follow a turn end and the blank tokens after it, but for the end of the sample."""
    cuts, at, ended = list[int](), 0, False
    for text, count in groups:
        if ended and text.strip():
            cuts.append(at)
            ended = False
        ended = ended or ids[at] in turn_ends
        at += count
    return cuts
