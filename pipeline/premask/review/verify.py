"""Checks of a finished output: is it what its manifest says, and what the contract says?

    report = verify("out/chats")            # or "org/name", which is fetched from the Hub
    report.ok, report.findings, report.notes

What is checked, in this order: the manifest (schema and contract version); every shard (there, size, sha256,
columns, footer), and that there are no others; the tokenizer; every token of every row; that lineage and
shards tile each other, and both layouts hold the same samples; the ledger; that each input row was kept or
rejected, once; the counts of the manifest and of the card. Where a source lies on this machine it is hashed,
and rows of some packs (chosen by the run's key), or of all with `full`, are done again the slow way.

Cost, in CPU: 60 ns a token of each layout, decoding and hashing included (30 M tokens in both layouts:
3.5 s). A row that is done again takes a millisecond. Memory: 300 MB above the libraries' for shards of 30 M
tokens, with 40 bytes for each sample of a shard and 8 for each input row; with `full` 28 more a sample.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jsonschema import Draft202012Validator

from ..core.contract import CONTRACT_VERSION, REASONS
from ..core.errors import OutputError, PremaskError, one_line
from ..core.manifest import describe_lengths
from ..core.records import Selection
from ..core.schemas import all_schemas
from ..labeller import Labeller
from ..output.dataset import load_manifest, read_batches, shards_of, splits_of
from ..output.identity import versions
from ..running.choosing import count_copies
from ..running.inputs import find_dialect
from ..sources.inspection import inspect_source
from ..sources.listing import columns_of
from .rerun import Expected, Rejected, Wanted, labeller_of, no_samples, redo
from .verify_files import Finding, Findings, check_card, check_pictures, check_shards, kinds_of, unreadable
from .verify_rows import (
    Limits,
    Place,
    Sums,
    check_batch,
    check_origins,
    check_places,
    check_twin,
    join_sums,
    read_lineage,
)

PACKS_REDONE = 16
"""Packs (rows of the unpacked layout, if that is the only one) whose rows are done again without `full`."""

ROWS_REDONE = 64
"""Rows, about, that are done again without `full` where samples were shuffled."""

REJECTS_REDONE = 16
"""Lines of the ledger that are done again without `full`."""

REJECTS_AT_ONCE = 4096
"""Lines of the ledger that are held in memory."""


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
    out = _locate(target, revision)
    manifest = load_manifest(out)
    if manifest["contract"] != CONTRACT_VERSION:
        raise OutputError(
            f"{target} is of output contract {manifest['contract']!s:.20}, this premask checks "
            f"{CONTRACT_VERSION}; use the version of premask that wrote it"
        )
    findings = Findings()
    if not _check_manifest(manifest, findings):
        return Report(target, findings.all(), ("nothing else was checked, for want of a manifest",))
    check = _Check(out, manifest, findings, full=full)
    try:
        check.run()
    except PermissionError as error:
        raise OutputError(f"{error.filename or out} cannot be read; check its permissions") from None
    return Report(target, findings.all(), tuple(check.notes), dict(check.counts))


_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def _locate(target: str, revision: str | None) -> Path:
    """The directory of an output; a dataset of the Hub is fetched into the cache first."""
    path = Path(target)
    if path.exists() or not _NAME.fullmatch(target) or target.startswith("."):
        if revision is not None:
            raise OutputError(f"{target} is no name on the Hub, where --revision belongs; leave it out")
        return path
    from huggingface_hub import HfApi, snapshot_download  # noqa: PLC0415  half a second to import

    try:  # by its commit: a name that the Hub does not tell would be looked up in the cache, which may be old
        commit = HfApi().dataset_info(target, revision=revision).sha
        return Path(snapshot_download(target, repo_type="dataset", revision=commit))
    except Exception as error:  # noqa: BLE001  the client raises its own, the network's and the disk's
        reason = one_line(error, 300)
        raise OutputError(
            f"{target} is no directory here, and cannot be fetched from the Hub: {type(error).__name__}: "
            f"{reason}; check the name, and HF_TOKEN or 'hf auth login' if it is private"
        ) from None


@cache
def _judge() -> Draft202012Validator:
    return Draft202012Validator(all_schemas()["manifest"])


def _check_manifest(manifest: Mapping[str, Any], findings: Findings) -> bool:
    """Whether the manifest is valid by its schema; if not, what is wrong is told."""
    errors = sorted(_judge().iter_errors(manifest), key=lambda error: list(map(str, error.absolute_path)))
    for error in errors[:1]:
        place = ".".join(map(str, error.absolute_path)) or "the top"
        what = f"at {place}: {' '.join(error.message.split())[:200]}"
        findings.add("manifest", "manifest.json", what, rows=len(errors))
    if not errors and _run_key(manifest) != manifest["run_key"]:
        what = "run_key is not that of its recipe, inputs, tokenizer, template and versions"
        findings.add("manifest", "manifest.json", what)
    return not errors


_ACCOUNTED = {"rows", "kept", "dropped", "duplicates", "rejected", "left_out"}


def _run_key(manifest: Mapping[str, Any]) -> str:
    """The key of the run that the manifest describes, as `identity.RunIdentity` makes it."""
    keys = ("contract", "premask", "recipe", "tokenizer", "template", "versions")
    inputs = [
        {key: value for key, value in each.items() if key not in _ACCOUNTED} for each in manifest["inputs"]
    ]
    data = {**{key: manifest[key] for key in keys}, "inputs": inputs}
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


# ==== The check ====


class _Check:
    """One check of one output; its methods note what is wrong and go on."""

    def __init__(self, out: Path, manifest: Mapping[str, Any], findings: Findings, *, full: bool) -> None:
        self.out, self.manifest, self.findings, self.full = out, manifest, findings, full
        self.notes: list[str] = []
        self.counts: Counter[str] = Counter()
        self._recipe: Mapping[str, Any] = manifest["recipe"]
        self._layouts = kinds_of(manifest)[:-2]
        self._shards = {kind: shards_of(manifest, kind) for kind in kinds_of(manifest)}
        self._sources = [each["source"] for each in manifest["inputs"]]
        self._chance = random.Random(manifest["run_key"])  # noqa: S311  no secret: the same rows each time
        self._kept: list[dict[str, list[np.ndarray]]] = [{} for _ in self._sources]
        self._rejected: list[list[Rejected]] = [[] for _ in self._sources]
        self._expected: list[list[Expected]] = [[] for _ in self._sources]
        self._files: list[str] = []
        self._lengths: Counter[int] = Counter()
        self._reasons: Counter[str] = Counter()
        self._shuffled = bool(self._recipe.get("shuffle"))
        self._whole = True  # all rows could be read so far, so they can be counted

    def run(self) -> None:
        """Check everything."""
        readable = check_shards(self.out, self.manifest, self.findings)
        self._whole = len(readable) == len(self.manifest["shards"])
        self.counts["files"] = len(self.manifest["shards"])
        labeller = self._labeller()
        self._limits = Limits(
            int(self._recipe["max_length"]),
            self._known(labeller),
            self._recipe.get("pad_rows") == "to_length",
        )
        self._check_rows(readable)
        for shard in self._shards["rejects"]:
            if shard["path"] in readable:
                self._check_ledger(shard["path"])
        if self._whole:
            self._check_that_no_row_is_lost()
            self._check_counts()
        check_card(self.out, self.manifest, self.findings)
        check_pictures(self.out, self.manifest, self.findings)
        self._check_sources(labeller)

    def _of_split(self, split: str) -> dict[str, list[Mapping[str, Any]]]:
        """The shards of a split: those of each layout, and lineage."""
        return {kind: shards_of(self.manifest, kind, split) for kind in (*self._layouts, "lineage")}

    # ---- the tokenizer ----

    def _labeller(self) -> Labeller | None:
        """The labeller of the recipe with the output's own tokenizer, None if it cannot be loaded."""
        if not (self.out / "tokenizer").is_dir():
            self.findings.add("tokenizer", "tokenizer/", "the directory is not there")
            return None
        try:
            labeller = labeller_of(self.out, self._recipe)
        except PremaskError as error:
            self.findings.add("tokenizer", "tokenizer/", str(error))
            return None
        sources = json.dumps(labeller.template.sources, sort_keys=True)
        template = {"sha256": hashlib.sha256(sources.encode()).hexdigest()}
        same = labeller.tokenizer.sha256() == self.manifest["tokenizer"]["sha256"]
        same &= template["sha256"] == self.manifest["template"]["sha256"]
        if not same and not self._other_versions():
            what = "the tokenizer or its chat template has another sha256 than manifest.json says"
            self.findings.add("tokenizer", "tokenizer/", what)
        elif not same:
            self.notes.append(f"tokenizer/ has another sha256 here, where {self._other_versions()}")
        ends = self.manifest["template"].get("turn_ends")
        self._can_redo = same and list(labeller.ends.stops) == ends
        return labeller

    def _other_versions(self) -> str:
        """Which packages have another version than those of the run, in words."""
        then, now = self.manifest["versions"], versions()
        return ", ".join(f"{k} is {now.get(k)}, not {v}" for k, v in then.items() if now.get(k) != v)

    def _known(self, labeller: Labeller | None) -> np.ndarray:
        """Which ids are tokens, bool[ids]: by the tokenizer, or if it cannot be read, by the manifest."""
        if labeller is None:
            return np.ones(min(self.manifest["tokenizer"]["vocab_size"], 1 << 27), dtype=bool)
        ids = np.array(list(labeller.tokenizer.backend.get_vocab(with_added_tokens=True).values()))
        known = np.zeros(int(ids.max(initial=-1)) + 1, dtype=bool)
        known[ids] = True
        return known

    # ---- rows of tokens ----

    def _check_rows(self, readable: set[str]) -> None:
        """Check the rows of all layouts and their lineage, split by split."""
        rows = sum(shard["rows"] for shard in self._shards[self._layouts[0]])
        chosen = np.array(sorted(self._chance.sample(range(rows), min(PACKS_REDONE, rows))), dtype=np.int64)
        before = 0
        for split in splits_of(self.manifest):
            before += self._check_split(split, readable, chosen - before)

    def _check_split(self, split: str, readable: set[str], chosen: np.ndarray) -> int:
        """Check the rows of a split, unit of work by unit: its files stand at the same place of each kind.
        `chosen` are those that are to be done again. Returns how many rows it has."""
        shards_of_kind = self._of_split(split)
        if len({len(shards) for shards in shards_of_kind.values()}) > 1:
            kinds = " and ".join(f"{len(shards)} of {kind}" for kind, shards in shards_of_kind.items())
            what = f"it lists {kinds} in {split}, not equally many"
            self.findings.add("manifest", "manifest.json", what)
            self._whole = False
        first = 0
        for at, shard in enumerate(shards_of_kind[self._layouts[0]]):
            unit = [shards[at : at + 1] for shards in shards_of_kind.values()]
            names = [shards[0]["path"] if shards else None for shards in unit]
            sums = [
                None if name not in readable else self._sums(shards[0], layout)
                for name, shards, layout in zip(names, unit, self._layouts, strict=False)
            ]
            self._count(shard, sums[0])
            if sums[0] is not None and names[-1] in readable:
                self._join(Place(shard["path"], first), str(names[-1]), sums[0], split, chosen - first)
                if len(sums) > 1 and sums[1] is not None and self._lineage is not None:
                    order = None if self._shuffled else self._lineage.in_input_order()
                    check_twin(order, sums[0], sums[1], str(names[1]), self.findings)
            first += shard["rows"]
        return first

    def _sums(self, shard: Mapping[str, Any], layout: str) -> Sums | None:
        """Check every row of a shard; None if some could not be looked at."""
        name, parts, row = shard["path"], list[Sums](), 0
        try:
            for batch in read_batches(self.out / name):
                parts.append(check_batch(batch, layout, self._limits, Place(name, row), self.findings))
                row += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            unreadable(error, name, self.findings)
            return None
        if ("shape", name) in self.findings:
            return None
        sums = join_sums(parts)
        tokens = int(sums.length.sum())
        if tokens != shard["tokens"]:
            what = f"it has {tokens:,} tokens, manifest.json says {shard['tokens']:,}"
            self.findings.add("footer", name, what)
        return sums

    def _count(self, shard: Mapping[str, Any], sums: Sums | None) -> None:
        """Count what stands in a shard of the first layout."""
        if sums is None:
            self._whole = False
            return
        self.counts["samples"] += len(sums.length)
        self.counts["tokens"] += int(sums.length.sum())
        self.counts["trained_tokens"] += int(sums.trained.sum())
        self.counts["packs"] += shard["rows"] if self._layouts[0] == "packed" else 0
        lengths, times = np.unique(sums.length, return_counts=True)
        self._lengths.update(dict(zip(lengths.tolist(), times.tolist(), strict=True)))

    def _join(self, shard: Place, name: str, sums: Sums, split: str, chosen: np.ndarray) -> None:
        """Compare a shard with its lineage, the file `name`; the shard's place is its path and the number of
        its first row in its split, `chosen` are those of its rows that are to be done again."""
        self._lineage = lineage = read_lineage(self.out, name, self._sources, self.findings)
        if lineage is None or not check_places(lineage, sums, shard.row, name, self.findings):
            self._whole, self._lineage = False, None
            return
        check_origins(lineage, sums, name, self.findings, whole=not self._shuffled)
        self._files.append(shard.file)
        picked = np.ones(len(sums.row), dtype=bool) if self.full else np.isin(sums.row, chosen)
        for number, source in enumerate(self._sources):
            ours = lineage.source == number
            self._kept[number].setdefault(split, []).append(np.unique(lineage.row[ours]))
            if self._shuffled and not self.full:  # the samples of a row are anywhere
                share = ROWS_REDONE / max(1, self.manifest["counts"]["kept"])
                some = ours & (count_copies(source, lineage.row, min(share, 1), seed=1) > 0)
            else:
                some = ours & np.isin(lineage.row, lineage.row[ours & picked])
            file = np.full(np.count_nonzero(some), len(self._files) - 1, dtype=np.int32)
            sample = lineage.sample[some].astype(np.int32)
            self._expected[number].append(
                Expected(lineage.row[some], sample, sums.hash[some], file, sums.row[some])
            )

    # ---- the ledger, and all rows ----

    def _check_ledger(self, name: str) -> None:
        numbers, at = {source: number for number, source in enumerate(self._sources)}, 0
        try:
            for batch in read_batches(self.out / name, tokens=REJECTS_AT_ONCE):
                for line in batch.to_pylist():
                    wrong = _wrong_reject(line, numbers)
                    if wrong:
                        self.findings.add("reject", name, wrong, row=at)
                        self._whole = False
                    else:
                        self._reasons[line["reason"]] += 1
                        rejected = Rejected(line["row"], line["reason"], name, at)
                        self._rejected[numbers[line["source"]]].append(rejected)
                    at += 1
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            unreadable(error, name, self.findings)
            self._whole = False

    def _check_that_no_row_is_lost(self) -> None:
        """Check that each input row was kept or rejected, and only once."""
        for number, source in enumerate(self._sources):
            kept = self._kept_rows(number)
            lost = np.array([each.row for each in self._rejected[number]], dtype=np.int64)
            said = self.manifest["inputs"][number]
            reasons = Counter(each.reason for each in self._rejected[number])
            dropped = reasons.pop("duplicate", 0)
            found: dict[str, Any] = {"kept": len(np.unique(kept)), "dropped": dropped}
            self.counts.update(found, rows=said["rows"], rejected=reasons.total())
            rows, times = np.unique(np.concatenate([kept, lost]), return_counts=True)
            again = rows[times > 1]
            if len(again):
                what = f"row {again[0]} of {source} is in two shards, or kept and rejected"
                self.findings.add("rows", "manifest.json", what, rows=len(again))
            expected = said["rows"] - sum(said["left_out"].values())
            if len(rows) != expected:
                what = f"{source} had {expected:,} rows, but {len(rows):,} were kept or rejected"
                self.findings.add("rows", "manifest.json", what)
            for name, value in {**found, "rejected": dict(reasons)}.items():
                if value != said[name]:
                    what = f"{name} of {source} is {_short(said[name])}, the files have {_short(value)}"
                    self.findings.add("rows", "manifest.json", what)

    def _kept_rows(self, number: int) -> np.ndarray:
        """The rows of a source that were kept, each as often as there are shards that it must not share;
        those of a split are anywhere in it if it was shuffled."""
        none = np.zeros(0, dtype=np.int64)
        splits = [np.concatenate([none, *parts]) for parts in self._kept[number].values()]
        return np.concatenate([none, *(np.unique(rows) if self._shuffled else rows for rows in splits)])

    def _check_counts(self) -> None:
        counts, found = self.manifest["counts"], dict[str, Any](self.counts)
        room = found["packs"] * int(self._recipe["max_length"])
        found["rejected_by_reason"] = {k: n for k, n in self._reasons.items() if k != "duplicate"}
        found["fill"] = round(found["tokens"] / room, 6) if room else None
        found["lengths"] = describe_lengths(self._lengths)
        for name in (*_COUNTED, "rejected_by_reason", "fill", "lengths"):
            if counts[name] != found[name]:
                what = f"counts.{name} is {_short(counts[name])}, the files have {_short(found[name])}"
                self.findings.add("counts", "manifest.json", what)
        for name, whole in (("tokens_by_role", "tokens"), ("trained_by_role", "trained_tokens")):
            total = sum(counts[name].values()) if counts.get(name) else found[whole]
            if total != found[whole]:
                what = f"counts.{name} comes to {total:,}, the files have {found[whole]:,}"
                self.findings.add("counts", "manifest.json", what)

    # ---- sources ----

    def _check_sources(self, labeller: Labeller | None) -> None:
        """Hash the sources that are here, and do rows of theirs again."""
        here = [number for number, source in enumerate(self._sources) if Path(source).is_file()]
        for number in here:
            try:
                self._check_source(number, labeller)
            except PremaskError as error:
                self.findings.add("source", self._sources[number], str(error))
        if len(here) < len(self._sources):
            many = f"{len(self._sources) - len(here)} of {len(self._sources)} sources are not here"
            self.notes.append(f"{many}: their rows were not done again")

    def _check_source(self, number: int, labeller: Labeller | None) -> None:
        source = self._sources[number]
        info = inspect_source(source)
        if info.sha256 != self.manifest["inputs"][number]["sha256"]:
            self.findings.add("source", source, "the file is not the one that the output was made from")
            return
        self.counts["sources"] += 1
        if labeller is None or not self._can_redo:
            self.notes.append(f"rows of {source} were not done again: tokenizer/ is not as it was in the run")
            return
        rejected = [each for each in self._rejected[number] if each.reason not in _NOT_REDONE]
        parts = [no_samples(), *self._expected[number]]
        if not self.full:
            rejected = self._chance.sample(rejected, min(REJECTS_REDONE, len(rejected)))
        expected = Expected(*map(np.concatenate, zip(*parts, strict=True)))
        if columns := columns_of(source, labeller.recipe.sources):
            info = replace(info, selection=Selection(columns=columns))
        wanted, dialect = Wanted(expected, rejected, self._files), find_dialect(info, labeller.recipe)
        self.counts["rows_redone"] += redo(labeller, info, dialect, wanted, self.findings)


_COUNTED = ("rows", "kept", "rejected", "dropped", "samples", "tokens", "trained_tokens", "packs")


_NOT_REDONE = {"duplicate", "crashed"}
"""Reasons that say nothing of a row by itself, or that this process might not survive."""


def _wrong_reject(line: Mapping[str, Any], sources: Mapping[str, int]) -> str:
    """What is wrong with a line of the ledger, empty if nothing is."""
    allowed = {"id", "original"} if line["reason"] in _NOT_REDONE else {"id"}
    wrong = {
        "a column is null that must not be": any(line[key] is None for key in line if key not in allowed),
        "the source is none of the inputs in manifest.json": line["source"] not in sources,
        f"the reason {line['reason']!r:.40} is unknown": line["reason"] not in REASONS,
        "row is below 0": (line["row"] or 0) < 0,
        "detail is empty": not line["detail"],
        "original is not the row as JSON": not _is_row(line["original"], line["reason"]),
    }
    return next((what for what, found in wrong.items() if found), "")


def _is_row(original: str | None, reason: str) -> bool:
    """Whether a ledger shows a row as JSON; two kinds of rows are shown as they were read, duplicates not."""
    if reason in {"invalid_json", "not_an_object", *_NOT_REDONE}:
        return True
    try:
        json.loads(original or "", parse_int=str, parse_float=str)
    except RecursionError:
        return True
    except ValueError:
        return False
    return True


def _short(value: Any) -> str:
    text = f"{value:,}" if isinstance(value, int) else json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
