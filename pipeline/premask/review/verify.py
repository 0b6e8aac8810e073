"""Checks of a finished output: is it what its manifest says, and what the contract says?

    report = verify("out/chats")            # or "org/name", which is fetched from the Hub
    report.ok, report.findings, report.notes

What is checked, in this order: the manifest (contract, values, run key); every shard (there, size, sha256,
columns, footer), and that there are no others; the tokenizer; every token of every row; that lineage and
shards tile each other, and both layouts hold the same samples; the reject log; that each input row was kept
or rejected, once; the counts of the manifest and of the card. Where a source is on this machine it is hashed,
and rows of some packs (chosen by the run's key), or of all with `full`, are done again by the reference.

Cost, in CPU: 60 ns a token of each layout, decoding and hashing included (30 M tokens in both layouts:
3.5 s). A row that is done again takes a millisecond. Memory: 300 MB above the libraries' for shards of 30 M
tokens, with 40 bytes for each sample of a shard and 8 for each input row; with `full` 28 more a sample.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ..core.contract import LEFT_OUT, SIDES, listed
from ..core.errors import OutputError, PremaskError
from ..core.manifest import ManifestError, Shard, count_padding
from ..core.received_files import is_file_here
from ..core.recipe import PadRows
from ..core.versions import versions
from ..labeller import Labeller
from ..output.dataset import Dataset, UnreadableError, open_dataset
from ..output.identity import key_of
from ..output.spreading import numbered, together
from ..running.choosing import count_copies
from ..running.counts import nested
from ..running.inputs import find_dialect
from ..sources.listing import entries_of_files, inspect_again
from .locate import locate
from .rerun import Expected, Rejected, Wanted, labeller_of, no_samples, redo
from .verify_counts import Found, check_counts, check_mixture, check_recount, short
from .verify_files import Finding, Findings, check_card, check_files
from .verify_rows import (
    NOT_REDONE,
    Limits,
    Lineage,
    Place,
    Sums,
    check_batch,
    check_origins,
    check_places,
    check_sides,
    check_twin,
    join_sums,
    read_lineage,
    wrong_reject,
)

PACKS_REDONE = 16
"""Packs (rows of the unpacked layout, if that is the only one) whose rows are done again without `full`."""

ROWS_REDONE = 64
"""Rows, about, that are done again without `full` where samples were shuffled."""

REJECTS_REDONE = 16
"""Lines of the reject log that are done again without `full`."""

REJECTS_AT_ONCE = 4096
"""Lines of the reject log that are held in memory."""


@dataclass(frozen=True)
class Report:
    """What a check gave: `findings` are what is wrong, `notes` what could not be checked and why, `checked`
    how much was looked at."""

    output: str
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    checked: Mapping[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Nothing is wrong."""
        return not self.findings

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        findings = [asdict(each) for each in self.findings]
        return {"output": self.output, "ok": self.ok, "findings": findings, "notes": list(self.notes)} | {
            "checked": dict(self.checked)
        }


def verify(target: str, *, revision: str | None = None, full: bool = False) -> Report:
    """Check an output: a directory, or the name of a dataset on the Hub (`org/name`, at `revision`).

    `full` has every row whose source is here done again, not only those of some packs. Raises `OutputError`
    if there is no output that can be checked.
    """
    out, findings = locate(target, revision), Findings()
    try:
        dataset = open_dataset(out)
    except ManifestError as error:
        findings.add("manifest", "manifest.json", error.what, rows=error.count)
        return Report(target, findings.all(), ("nothing else was checked: there is no valid manifest",))
    if key_of(dataset.manifest.identity()) != dataset.manifest.run_key:
        what = "run_key is not that of its recipe, inputs, tokenizer, template and versions"
        findings.add("manifest", "manifest.json", what)
    check = _Check(dataset, findings, full=full)
    try:
        check.run()
    except PermissionError as error:
        raise OutputError(f"{error.filename or out} cannot be read; check its permissions") from None
    return Report(target, findings.all(), tuple(check.notes), dict(check.counts))


# ==== The check ====


class _Check:
    """One check of one output; its methods note what is wrong and go on."""

    def __init__(self, dataset: Dataset, findings: Findings, *, full: bool) -> None:
        self.dataset, self.findings, self.full = dataset, findings, full
        self.manifest, self._settings = dataset.manifest, dataset.manifest.settings
        self.notes: list[str] = []
        self.counts: Counter[str] = Counter()
        self._sources = [each.source for each in self.manifest.inputs]
        self._chance = random.Random(self.manifest.run_key)  # noqa: S311  no secret: the same rows each time
        self._kept: list[dict[str, list[np.ndarray]]] = [{} for _ in self._sources]
        self._rejected: list[list[Rejected]] = [[] for _ in self._sources]
        self._expected: list[list[Expected]] = [[] for _ in self._sources]
        self._files: list[str] = []
        self._lengths: Counter[int] = Counter()
        self._reasons: Counter[str] = Counter()
        self._told = self.manifest.as_dict()["counts"]
        self._turns = 0  # trained turns
        self._mixed: dict[str, Counter[str]] = {}  # of each source: what of it is in train
        self._beside = 0  # samples that share a pack with one of their row
        self._again, self._redone = Counter[str](), 0  # counts of kept rows that were done again, and sources
        self._entries = entries_of_files(self._settings.sources)
        self._whole = True  # all rows could be read so far, so they can be counted

    def run(self) -> None:
        """Check everything."""
        checked = check_files(self.dataset, self.findings)
        self._readable = {each.name for each in checked.values() if each.readable}
        self._whole = all(shard.path in self._readable for shard in self.manifest.shards)
        self.counts["files"] = len(self.manifest.shards)
        labeller = self._labeller()
        padded = self._settings.pad_rows is PadRows.to_length
        pad_id = None if labeller is None else labeller.tokenizer.pad_id
        self._limits = Limits(
            self._settings.max_length,
            self._known(labeller),
            padded,
            self._settings.pad_to_multiple or 1,
            pad_id,
        )
        self._check_rows()
        for shard in self.dataset.shards("rejects"):
            if shard.path in self._readable:
                self._check_rejects(shard)
        if self._whole:
            self._take_left_out_rejects()
            self._check_that_no_row_is_lost()
            self._check_counts()
        check_card(self.dataset, checked, self.findings)
        self._check_sources(labeller)

    # ---- the tokenizer ----

    def _labeller(self) -> Labeller | None:
        """The labeller of the recipe with the output's own tokenizer, None if it cannot be loaded."""
        try:
            if not self.dataset.tokenizer.is_dir():
                self.findings.add("tokenizer", "tokenizer/", "the directory is not there")
                return None
            labeller = labeller_of(self.dataset)
        except PremaskError as error:
            self.findings.add("tokenizer", "tokenizer/", str(error))
            return None
        sources = json.dumps(labeller.template.sources, sort_keys=True)
        same = labeller.tokenizer.sha256() == self.manifest.tokenizer.sha256
        same &= hashlib.sha256(sources.encode()).hexdigest() == self.manifest.template.sha256
        if not same and not self._other_versions():
            what = "the tokenizer or its chat template has another sha256 than manifest.json says"
            self.findings.add("tokenizer", "tokenizer/", what)
        elif not same:
            self.notes.append(f"tokenizer/ has another sha256 here, where {self._other_versions()}")
        self._can_redo = same and list(labeller.ends.stops) == self.manifest.template.turn_ends
        return labeller

    def _other_versions(self) -> str:
        """Which packages have another version than those of the run, in words."""
        then, now = self.manifest.versions, versions()
        return ", ".join(f"{k} is {now.get(k)}, not {v}" for k, v in then.items() if k in now and now[k] != v)

    def _known(self, labeller: Labeller | None) -> np.ndarray:
        """Which ids are tokens, bool[ids]: by the tokenizer, or if it cannot be read, by the manifest."""
        if labeller is None:
            return np.ones(min(self.manifest.tokenizer.vocab_size, 1 << 27), dtype=bool)
        ids = np.array(list(labeller.tokenizer.backend.get_vocab(with_added_tokens=True).values()))
        known = np.zeros(int(ids.max(initial=-1)) + 1, dtype=bool)
        known[ids] = True
        return known

    # ---- rows of tokens ----

    def _check_rows(self) -> None:
        """Check the rows of all layouts and their lineage, split by split."""
        rows = sum(shard.rows for shard in self.dataset.shards(self.dataset.layout))
        chosen = np.array(sorted(self._chance.sample(range(rows), min(PACKS_REDONE, rows))), dtype=np.int64)
        before = 0
        for split in self.dataset.splits:
            before += self._check_split(split, chosen - before)

    def _check_split(self, split: str, chosen: np.ndarray) -> int:
        """Check the rows of a split, unit of work by unit: its files are at the same place of each kind.
        `chosen` are those that are to be done again. Returns how many rows it has."""
        kinds = [*self.dataset.layouts, "lineage"]
        shards = [self.dataset.shards(kind, split) for kind in kinds]
        if len({len(each) for each in shards}) > 1:
            many = " and ".join(f"{len(each)} of {kind}" for kind, each in zip(kinds, shards, strict=True))
            self.findings.add("manifest", "manifest.json", f"it lists {many} in {split}, not equally many")
            self._whole = False
        first = 0
        for at, shard in enumerate(shards[0]):
            unit = [each[at] if at < len(each) else None for each in shards]
            self._check_unit(unit[:-1], unit[-1], Place(shard.path, first), split, chosen - first)
            first += shard.rows
        return first

    def _check_unit(
        self,
        layouts: list[Shard | None],
        lineage: Shard | None,
        place: Place,
        split: str,
        chosen: np.ndarray,
    ) -> None:
        """Check the shards of one unit of work, one a layout, and their lineage. `place` is the path of the
        first and the number of its first row in its split."""
        sums = [self._sums(shard) for shard in layouts]
        if sums[0] is None:
            self._whole = False
            return
        self._count(sums[0], layouts[0])
        if lineage is None or lineage.path not in self._readable:
            return
        found = read_lineage(self.dataset, lineage, self._sources, self.findings)
        if found is None or not check_places(found, sums[0], place.row, lineage.path, self.findings):
            self._whole = False
            return
        self._turns += int(found.turns.sum())
        sides = self.dataset.layout in SIDES
        if sides:
            check_sides(found, sums[0], lineage.path, self.findings)
        else:
            self._beside += len(together(sums[0].row, numbered(found.source, found.row)))
        whole = not (self._settings.shuffle or sides)
        check_origins(found, sums[0], lineage.path, self.findings, whole=whole)
        self._remember(found, sums[0], place.file, split, chosen)
        if len(sums) > 1 and sums[1] is not None and layouts[1] is not None:
            order = None if self._settings.shuffle else found.in_input_order()
            check_twin(order, sums[0], sums[1], layouts[1].path, self.findings)

    def _sums(self, shard: Shard | None) -> Sums | None:
        """Check every row of a shard; None if some could not be looked at."""
        if shard is None or shard.path not in self._readable:
            return None
        name, parts, row = shard.path, list[Sums](), 0
        try:
            for batch in self.dataset.batches(shard, nulls=True):
                parts.append(check_batch(batch, shard.kind, self._limits, Place(name, row), self.findings))
                row += batch.num_rows
        except UnreadableError as error:
            self.findings.add("unreadable", name, f"it cannot be read: {error.why}")
            return None
        if ("shape", name) in self.findings:
            return None
        sums = join_sums(parts)
        tokens = int(sums.length.sum())
        if tokens != shard.tokens:
            what = f"it has {tokens:,} tokens, manifest.json says {shard.tokens:,}"
            self.findings.add("footer", name, what)
        return sums

    def _count(self, sums: Sums, shard: Shard | None) -> None:
        """Count what is in a shard of the main layout."""
        self.counts["samples"] += len(sums.length)
        self.counts["tokens"] += int(sums.length.sum())
        self.counts["trained_tokens"] += int(sums.trained.sum())
        self.counts["packs"] += shard.rows if shard is not None and shard.kind == "packed" else 0
        lengths, times = np.unique(sums.length, return_counts=True)
        self._lengths.update(dict(zip(lengths.tolist(), times.tolist(), strict=True)))

    def _remember(self, lineage: Lineage, sums: Sums, name: str, split: str, chosen: np.ndarray) -> None:
        """Note which input rows a shard keeps, and the samples of those that are to be done again: with
        `full` all, else those that have a sample in one of the `chosen` rows of the shard."""
        self._files.append(name)
        picked = np.ones(len(sums.row), dtype=bool) if self.full else np.isin(sums.row, chosen)
        for number, source in enumerate(self._sources):
            ours = lineage.source == number
            if split == "train":
                self._mixed.setdefault(source, Counter()).update(
                    rows=int(np.count_nonzero(ours & (lineage.sample == 0))),
                    tokens=int(sums.length[ours].sum()),
                    trained_tokens=int(sums.trained[ours].sum()),
                )
            self._kept[number].setdefault(split, []).append(np.unique(lineage.row[ours]))
            if self._settings.shuffle and not self.full:  # the samples of a row are anywhere
                share = ROWS_REDONE / max(1, self.manifest.counts.kept)
                some = ours & (count_copies(source, lineage.row, min(share, 1), seed=1) > 0)
            else:
                some = ours & np.isin(lineage.row, lineage.row[ours & picked])
            file = np.full(np.count_nonzero(some), len(self._files) - 1, dtype=np.int32)
            sample = lineage.sample[some].astype(np.int32)
            self._expected[number].append(
                Expected(lineage.row[some], sample, sums.hash[some], file, sums.row[some])
            )

    # ---- the reject log, and all rows ----

    def _check_rejects(self, shard: Shard) -> None:
        numbers, at = {source: number for number, source in enumerate(self._sources)}, 0
        try:
            for batch in self.dataset.batches(shard, tokens=REJECTS_AT_ONCE, nulls=True):
                for line in batch.to_pylist():
                    wrong = wrong_reject(line, numbers)
                    if wrong:
                        self.findings.add("reject", shard.path, wrong, row=at)
                        self._whole = False
                    else:
                        self._reasons[line["reason"]] += 1
                        rejected = Rejected(line["row"], line["reason"], shard.path, at)
                        self._rejected[numbers[line["source"]]].append(rejected)
                    at += 1
        except UnreadableError as error:
            self.findings.add("unreadable", shard.path, f"it cannot be read: {error.why}")
            self._whole = False

    def _take_left_out_rejects(self) -> None:
        """Count rejected rows as the manifest does where their log was left out."""
        if not self.manifest.rejects_left_out:
            return
        rows = sum(sum(each.listed.values()) for each in self.manifest.inputs)
        self.notes.append(
            f"the reject log was left out when this was pushed: its {rows:,} rows were not checked"
        )
        for each in self.manifest.inputs:
            self._reasons.update(each.rejected)

    def _check_that_no_row_is_lost(self) -> None:
        """Check that each input row was kept or rejected, and only once."""
        for number, source in enumerate(self._sources):
            kept = self._kept_rows(number)
            lost = np.array([each.row for each in self._rejected[number]], dtype=np.int64)
            said = self.manifest.inputs[number]
            reasons = Counter(each.reason for each in self._rejected[number])
            unseen = 0
            if self.manifest.rejects_left_out:
                reasons = Counter(said.listed)
                unseen = reasons.total()
            dropped = reasons.pop("duplicate", 0)
            found: dict[str, Any] = {"kept": len(np.unique(kept)), "dropped": dropped}
            by_recipe = {reason: reasons.pop(reason) for reason in LEFT_OUT if reason in reasons}
            self.counts.update(found, rows=said.rows, rejected=reasons.total())
            rows, times = np.unique(np.concatenate([kept, lost]), return_counts=True)
            again = rows[times > 1]
            if len(again):
                what = f"row {again[0]} of {source} is in two shards, or kept and rejected"
                self.findings.add("rows", "manifest.json", what, rows=len(again))
            expected = said.rows - sum(said.left_out.values()) - unseen + sum(by_recipe.values())
            if len(rows) != expected:
                what = f"{source} had {expected:,} rows, but {len(rows):,} were kept or rejected"
                self.findings.add("rows", "manifest.json", what)
            for name, value in {**found, "rejected": dict(reasons)}.items():
                told = getattr(said, name)
                if value != told:
                    what = f"{name} of {source} is {short(told)}, the files have {short(value)}"
                    self.findings.add("rows", "manifest.json", what)
            if by_recipe != listed(said.left_out):
                told = short(listed(said.left_out))
                what = f"left_out of {source} is {told} by reason, the reject log has {short(by_recipe)}"
                self.findings.add("rows", "manifest.json", what)

    def _kept_rows(self, number: int) -> np.ndarray:
        """The rows of a source that were kept, each as often as there are shards that it must not share;
        those of a split are anywhere in it if it was shuffled."""
        none = np.zeros(0, dtype=np.int64)
        splits = [np.concatenate([none, *parts]) for parts in self._kept[number].values()]
        return np.concatenate(
            [none, *(np.unique(rows) if self._settings.shuffle else rows for rows in splits)]
        )

    def _check_counts(self) -> None:
        padding = count_padding(self._lengths, self._settings.pad_to_multiple)
        found = Found({**self.counts, **padding}, self._reasons, self._lengths, self._turns, self._beside)
        check_counts(self._told, found, self._settings.max_length, self.findings)
        if self.manifest.mixture is not None:
            check_mixture(self.manifest.mixture, self._mixed, self._entries, self.findings)

    # ---- sources ----

    def _check_sources(self, labeller: Labeller | None) -> None:
        """Hash the sources that are here, and do rows of theirs again."""
        here = [number for number, source in enumerate(self._sources) if is_file_here(source)]
        for number in here:
            try:
                self._check_source(number, labeller)
            except PremaskError as error:
                self.findings.add("source", self._sources[number], str(error))
        self._check_recount()
        if len(here) < len(self._sources):
            many = f"{len(self._sources) - len(here)} of {len(self._sources)} sources are not here"
            self.notes.append(f"{many}: their rows were not processed again")

    def _check_source(self, number: int, labeller: Labeller | None) -> None:
        source = self._sources[number]
        info = inspect_again(source, self._settings, self._entries)
        if info.sha256 != self.manifest.inputs[number].sha256:
            self.findings.add("source", source, "the file is not the one that the output was made from")
            return
        self.counts["sources"] += 1
        if labeller is None or not self._can_redo:
            self.notes.append(
                f"rows of {source} were not processed again: tokenizer/ is not as it was in the run"
            )
            return
        rejected = [each for each in self._rejected[number] if each.reason not in NOT_REDONE]
        if not self.full:
            rejected = self._chance.sample(rejected, min(REJECTS_REDONE, len(rejected)))
        if (made := self.manifest.inputs[number].map) is not None:
            self.notes.append(
                f"rows of {source} were not processed again: {made.function} made them (map), and verify "
                "runs no code of a recipe"
            )
            return
        parts = [no_samples(), *self._expected[number]]
        expected = Expected(*map(np.concatenate, zip(*parts, strict=True)))
        wanted, dialect = Wanted(expected, rejected, self._files), find_dialect(info, labeller.recipe)
        redone = redo(labeller, info, dialect, wanted, self.findings)
        self.counts["rows_redone"] += redone.rows
        self._again.update(redone.counts)
        self._redone += 1

    def _check_recount(self) -> None:
        """Hold the counts of the rows that were done again against the manifest."""
        if any(finding.kind == "redone" for finding in self.findings.all()):
            return
        whole = self.full and self._whole and self._redone == len(self._sources)
        again = nested(self._again, self._settings.template_kwargs)
        check_recount(self._told, again, self.findings, whole=whole)
