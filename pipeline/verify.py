"""Checks of a finished output: is it what its manifest says, and what the contract says?

    report = verify("out/chats")            # or "org/name", which is fetched from the Hub
    report.ok, report.findings, report.notes

What is checked, in this order: the manifest (schema and contract version); every shard (there, size, sha256,
columns, footer), and that there are no others; the tokenizer; every token of every row; that lineage and
shards tile each other, and both layouts hold the same samples; the ledger; that each input row was kept or
rejected, once; the counts of the manifest and of the card. Where a source lies on this machine it is hashed,
and rows of some packs (chosen by the run's key), or of all with `full`, are done again the slow way.

Cost, in CPU: 40 ns a token for each layout, of which decoding Parquet is half, and 0.8 ns a byte for hashes;
a shard of 30 M tokens takes about a second. A row done again takes a millisecond. Memory: some 100 MB for a
batch of tokens, 40 bytes for each sample of the largest shard, 8 for each input row; with `full` 28 more for
each sample.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml
from jsonschema import Draft202012Validator

from .contracts import CONTRACT_VERSION, LINEAGE_SCHEMA, REASONS, REJECT_SCHEMA, layout_schema
from .disk import sha256_file
from .errors import OutputError, PremaskError
from .findings import Finding, Findings
from .finished import load_manifest, read_batches, shards_of
from .identity import versions
from .inspection import inspect_source
from .lengths import describe_lengths
from .recipe import Recipe
from .redo import Expected, Rejected, no_samples, redo
from .rowchecks import Limits, Place, Sums, check_batch, join_sums
from .run import find_dialect
from .schemas import all_schemas
from .stages import Stages

PACKS_REDONE = 16
"""Packs (rows of the unpacked layout, if that is the only one) whose rows are done again without `full`."""

REJECTS_REDONE = 16
"""Lines of the ledger that are done again without `full`."""


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
    findings, notes = Findings(), list[str]()
    if not _check_manifest(manifest, findings):
        return Report(target, findings.all(), ("nothing else was checked, for want of a manifest",))
    check = _Check(out, manifest, findings, notes, full=full)
    try:
        checked = check.run()
    except PermissionError as error:
        raise OutputError(f"{error.filename or out} cannot be read; check its permissions") from None
    return Report(target, findings.all(), tuple(notes), checked)


_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def _locate(target: str, revision: str | None) -> Path:
    """The directory of an output; a dataset of the Hub is fetched into the cache first."""
    path = Path(target)
    if path.exists() or not _NAME.fullmatch(target) or target.startswith("."):
        if revision is not None:
            raise OutputError(f"{target} is no name on the Hub, where --revision belongs; leave it out")
        return path
    from huggingface_hub import snapshot_download  # noqa: PLC0415  half a second to import

    try:
        return Path(snapshot_download(target, repo_type="dataset", revision=revision))
    except Exception as error:  # noqa: BLE001  the client raises its own, the network's and the disk's
        reason = " ".join(str(error).split())[:300]
        raise OutputError(
            f"{target} is no directory here, and cannot be fetched from the Hub: {type(error).__name__}: "
            f"{reason}; check the name, and HF_TOKEN or 'hf auth login' if it is private"
        ) from None


def _check_manifest(manifest: Mapping[str, Any], findings: Findings) -> bool:
    """Whether the manifest is valid by its schema; if not, what is wrong is told."""
    judge = Draft202012Validator(all_schemas()["manifest"])
    errors = sorted(judge.iter_errors(manifest), key=lambda error: list(map(str, error.absolute_path)))
    for error in errors[:1]:
        place = ".".join(map(str, error.absolute_path)) or "the top"
        what = f"at {place}: {' '.join(error.message.split())[:200]}"
        findings.add("manifest", "manifest.json", what, rows=len(errors))
    return not errors


# ==== Shards ====


class _Lineage(NamedTuple):
    """The lineage of one shard: int64[n] each; `source` is the place in the manifest's inputs, -1 if it is
    not there; `turns` counts the trained turns."""

    pack: np.ndarray
    offset: np.ndarray
    length: np.ndarray
    source: np.ndarray
    row: np.ndarray
    sample: np.ndarray
    turns: np.ndarray


class _Check:
    """One check of one output; its methods note what is wrong and go on."""

    def __init__(
        self, out: Path, manifest: Mapping[str, Any], findings: Findings, notes: list[str], *, full: bool
    ) -> None:
        self.out, self.manifest, self.findings, self.notes, self.full = out, manifest, findings, notes, full
        self.recipe: Mapping[str, Any] = manifest["recipe"]
        self.layouts = [name for name in ("packed", "unpacked") if name in self.recipe["layout"]]
        self.sources = [each["source"] for each in manifest["inputs"]]
        self.chance = random.Random(manifest["run_key"])  # noqa: S311  no secret: the same rows each time
        self.kept: list[list[np.ndarray]] = [[] for _ in self.sources]
        self.rejected: list[list[Rejected]] = [[] for _ in self.sources]
        self.expected: list[list[Expected]] = [[] for _ in self.sources]
        self.files: list[str] = []
        self.counts: Counter[str] = Counter()
        self.lengths: Counter[int] = Counter()
        self.reasons: Counter[str] = Counter()
        self.sound = True  # so far the rows of the shards could be read and counted

    def run(self) -> dict[str, int]:
        """Check everything; returns how much was looked at."""
        readable = self._files()
        stages = self._stages()
        self.limits = Limits(int(self.recipe["max_length"]), self._known(stages))
        shards = {kind: shards_of(self.manifest, kind) for kind in (*self.layouts, "lineage", "rejects")}
        self._rows(shards, readable)
        for shard in shards["rejects"]:
            if shard["path"] in readable:
                self._ledger(shard["path"])
        if self.sound:
            self._every_row_once()
            self._check_counts(shards)
        self._card(shards)
        self._redo(stages)
        return dict(self.counts)

    def _files(self) -> set[str]:
        """Check the shards as files; returns those with the columns they should have."""
        listed = [shard["path"] for shard in self.manifest["shards"]]
        for path in (
            sorted({path for path in listed if listed.count(path) > 1})
            if len(listed) > len(set(listed))
            else []
        ):
            self.findings.add("manifest", "manifest.json", f"it lists {path} twice")
        for found in sorted(self.out.rglob("*.parquet")):
            name = found.relative_to(self.out).as_posix()
            if name not in set(listed) and not name.startswith("."):
                self.findings.add("extra", name, "manifest.json does not list this file")
        for kind in (*self.layouts, "lineage", "rejects"):
            names = [shard["path"] for shard in shards_of(self.manifest, kind)]
            stem = kind if kind in {"lineage", "rejects"} else "train"
            if names != [f"{kind}/{stem}-{i:05d}-of-{len(names):05d}.parquet" for i in range(len(names))]:
                what = f"its {len(names)} files of {kind}/ are not numbered from 0 to the last"
                self.findings.add("manifest", "manifest.json", what)
                self.sound = False
        readable = {shard["path"] for shard in self.manifest["shards"] if self._file(shard)}
        self.sound &= len(readable) == len(listed)
        self.counts["files"] = len(listed)
        return readable

    def _file(self, shard: Mapping[str, Any]) -> bool:
        """Check one shard as a file; returns whether its rows can be looked at."""
        name, path = shard["path"], self.out / shard["path"]
        if not path.is_file():
            self.findings.add("missing", name, "the file is not there")
            return False
        size = path.stat().st_size
        self.counts["bytes"] += size
        if size != shard["bytes"]:
            self.findings.add("size", name, f"it has {size:,} bytes, manifest.json says {shard['bytes']:,}")
        elif sha256_file(path) != shard["sha256"]:
            self.findings.add("sha256", name, "its sha256 is not the one in manifest.json")
        try:
            footer, schema = pq.read_metadata(path), pq.read_schema(path)
        except (pa.ArrowException, OSError) as error:
            return self._unreadable(name, error)
        raw = sum(footer.row_group(i).total_byte_size for i in range(footer.num_row_groups))
        for key, found in (("rows", footer.num_rows), ("raw_bytes", raw)):
            if found != shard[key]:
                what = f"its footer says {found:,} {key}, manifest.json {shard[key]:,}"
                self.findings.add("footer", name, what)
        version = (schema.metadata or {}).get(b"premask.contract", b"none").decode(errors="replace")
        if version != str(CONTRACT_VERSION):
            what = f"the key premask.contract is {version[:20]}, not {CONTRACT_VERSION}"
            self.findings.add("contract", name, what)
        return self._columns(name, schema)

    def _columns(self, name: str, schema: pa.Schema) -> bool:
        kind = name.split("/")[0]
        others = {"lineage": LINEAGE_SCHEMA, "rejects": REJECT_SCHEMA}
        wanted = others[kind] if kind in others else layout_schema(kind, self.recipe)
        if schema.equals(wanted):
            return True
        have = {field.name: field for field in schema}
        wrong = [field for field in wanted if field.name not in have or not field.equals(have[field.name])]
        if wrong:
            found = have.get(wrong[0].name)
            what = f"column {wrong[0].name} is {found.type if found else 'not there'}, not {wrong[0].type}"
        else:
            what = f"its columns are {', '.join(schema.names)[:200]}, not {', '.join(wanted.names)}"
        self.findings.add("schema", name, what)
        return False

    def _unreadable(self, name: str, error: Exception) -> bool:
        if isinstance(error, PermissionError):
            raise error
        self.findings.add("unreadable", name, f"it cannot be read: {' '.join(str(error).split())[:200]}")
        self.sound = False
        return False

    # ---- the tokenizer ----

    def _stages(self) -> Stages | None:
        """The stages of the recipe with the output's own tokenizer; None where they cannot be had or are not
        those of the run, which is told."""
        changed = {"tokenizer": str(self.out / "tokenizer"), "chat_template": None, "output": "-"}
        if not (self.out / "tokenizer").is_dir():
            self.findings.add("tokenizer", "tokenizer/", "the directory is not there")
            return None
        try:
            stages = Stages(Recipe.model_validate({**self.recipe, **changed}), fast=False)
        except PremaskError as error:
            self.findings.add("tokenizer", "tokenizer/", str(error))
            return None
        template = hashlib.sha256(json.dumps(stages.template.sources, sort_keys=True).encode()).hexdigest()
        same = stages.tokenizer.sha256() == self.manifest["tokenizer"]["sha256"]
        same &= template == self.manifest["template"]["sha256"]
        if not same and self._versions() == "":
            what = "its tokenizer or chat template has another sha256 than manifest.json says"
            self.findings.add("tokenizer", "tokenizer/", what)
        elif not same:
            self.notes.append(f"tokenizer/ has another sha256 here, where {self._versions()}")
        self._fits = same and list(stages.ends.stops) == self.manifest["template"].get("turn_ends")
        return stages

    def _versions(self) -> str:
        """Which packages have another version than those of the run, as a sentence."""
        then, now = self.manifest["versions"], versions()
        return ", ".join(f"{k} is {now.get(k)}, was {v}" for k, v in then.items() if now.get(k) != v)

    def _known(self, stages: Stages | None) -> np.ndarray:
        """Which ids are tokens, bool[ids]: by the tokenizer, or if it cannot be read, by the manifest."""
        if stages is None:
            return np.ones(min(self.manifest["tokenizer"]["vocab_size"], 1 << 27), dtype=bool)
        ids = np.fromiter(stages.tokenizer.backend.get_vocab(with_added_tokens=True).values(), dtype=np.int64)
        known = np.zeros(int(ids.max(initial=-1)) + 1, dtype=bool)
        known[ids] = True
        return known

    # ---- rows of tokens ----

    def _rows(self, shards: Mapping[str, Sequence[Mapping[str, Any]]], readable: set[str]) -> None:
        """Check the rows of both layouts with their lineage, shard by shard: the shards of a unit of work
        stand at the same place of each kind."""
        first_layout, numbers = self.layouts[0], [len(shards[name]) for name in (*self.layouts, "lineage")]
        if len(set(numbers)) > 1:
            what = (
                f"it lists {' and '.join(map(str, numbers))} files of {', '.join(self.layouts)} and lineage"
            )
            self.findings.add("manifest", "manifest.json", what)
        rows = sum(shard["rows"] for shard in shards[first_layout])
        chosen = np.array(sorted(self.chance.sample(range(rows), min(PACKS_REDONE, rows))), dtype=np.int64)
        first = 0
        for at, shard in enumerate(shards[first_layout]):
            of_unit = [shards[name][at]["path"] for name in self.layouts if at < len(shards[name])]
            sums = [self._sums(path, name) if path in readable else None
                    for path, name in zip(of_unit, self.layouts, strict=False)]  # fmt: skip
            self._tally(shard, sums[0])
            for path, own, name in zip(of_unit[1:], sums[1:], self.layouts[1:], strict=True):
                self._tokens_of(path, own, shards[name][at])
            lineage = shards["lineage"][at]["path"] if at < len(shards["lineage"]) else None
            if lineage in readable and sums[0] is not None:
                self._join(shard["path"], str(lineage), sums, first, chosen)
            first += shard["rows"]

    def _sums(self, path: str, layout: str) -> Sums | None:
        """Check every row of a shard; None if some could not be looked at."""
        parts, row = list[Sums](), 0
        before = len(self.findings.all())
        try:
            for batch in read_batches(self.out / path):
                parts.append(check_batch(batch, layout, self.limits, Place(path, row), self.findings))
                row += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            self._unreadable(path, error)
            return None
        if any(each.kind == "shape" for each in self.findings.all()[before:]):
            self.sound = False
            return None
        return join_sums(parts)

    def _tally(self, shard: Mapping[str, Any], sums: Sums | None) -> None:
        if sums is None:
            self.sound = False
            return
        self.counts["samples"] += len(sums.length)
        self.counts["tokens"] += int(sums.length.sum())
        self.counts["trained_tokens"] += int(sums.trained.sum())
        self.lengths.update(
            dict(zip(*(a.tolist() for a in np.unique(sums.length, return_counts=True)), strict=True))
        )
        if self.layouts[0] == "packed":
            self.counts["packs"] += shard["rows"]
        self._tokens_of(shard["path"], sums, shard)

    def _tokens_of(self, path: str, sums: Sums | None, shard: Mapping[str, Any]) -> None:
        if sums is not None and (tokens := int(sums.length.sum())) != shard["tokens"]:
            what = f"it has {tokens:,} tokens, manifest.json says {shard['tokens']:,}"
            self.findings.add("footer", path, what)

    # ---- lineage ----

    def _join(
        self, path: str, lineage_path: str, sums: list[Sums | None], first: int, chosen: np.ndarray
    ) -> None:
        """Compare a shard with its lineage and with its twin of the other layout; `first` is the number of
        its first row over all shards."""
        own, lineage = sums[0], self._lineage(lineage_path)
        if own is None or lineage is None:
            self.sound = False
            return
        told = [("pack", lineage.pack, own.row + first), ("offset", lineage.offset, own.offset)]
        if not self._tiles(lineage_path, [*told, ("length", lineage.length, own.length)]):
            self.sound = False
            return
        self._about(lineage_path, lineage, own)
        order = np.lexsort((lineage.sample, lineage.row, lineage.source))
        self._samples_in_a_row(lineage_path, lineage, order)
        if len(sums) > 1 and sums[1] is not None and not np.array_equal(sums[1].hash, own.hash[order]):
            twin = sums[1].hash
            n = min(len(twin), len(order))
            wrong = np.flatnonzero(twin[:n] != own.hash[order][:n])
            at = int(wrong[0]) if len(wrong) else n
            place = f"sample {at} in input order is not the same in {path}"
            self.findings.add(
                "layouts", path.replace("packed/", "unpacked/", 1), place, row=at, rows=max(1, len(wrong))
            )
        self._choose(path, lineage, own, chosen - first)

    def _lineage(self, path: str) -> _Lineage | None:
        parts = []
        try:
            for batch in read_batches(self.out / path):
                if any(
                    c.null_count for n, c in zip(batch.schema.names, batch.columns, strict=True) if n != "id"
                ):
                    self.findings.add("lineage", path, "a column other than id holds null")
                    return None
                source = pc.index_in(batch.column("source"), value_set=pa.array(self.sources, pa.string()))
                columns = [batch.column(name) for name in ("pack", "offset", "length", "row", "sample")]
                turns = np.diff(batch.column("trained_turns").offsets.to_numpy())
                numbers = [column.to_numpy().astype(np.int64) for column in columns]
                numbers.insert(3, source.fill_null(-1).to_numpy().astype(np.int64))
                parts.append([*numbers, turns.astype(np.int64)])
        except (pa.ArrowException, OSError) as error:
            self._unreadable(path, error)
            return None
        none = [np.zeros(0, dtype=np.int64)] * len(_Lineage._fields)
        return _Lineage(*(np.concatenate(columns) for columns in zip(none, *parts, strict=True)))

    def _tiles(self, path: str, told: Sequence[tuple[str, np.ndarray, np.ndarray]]) -> bool:
        """Whether the lineage lists each sample of its shard once, in order and at its place."""
        if len(told[0][1]) != len(told[0][2]):
            what = f"it has {len(told[0][1]):,} samples, the shard {len(told[0][2]):,}"
            self.findings.add("lineage", path, what)
            return False
        fine = True
        for name, said, found in told:
            wrong = np.flatnonzero(said != found)
            if len(wrong):
                at = int(wrong[0])
                what = f"{name} is {said[at]}, but the sample stands at {found[at]}"
                self.findings.add("lineage", path, what, row=at, rows=len(wrong))
                fine = False
        return fine

    def _about(self, path: str, lineage: _Lineage, own: Sums) -> None:
        """Check what the lineage says of samples besides their place."""
        for wrong, what in (
            (lineage.source < 0, "the source is none of the inputs in manifest.json"),
            ((lineage.row < 0) | (lineage.sample < 0), "row or sample is below 0"),
            (
                (lineage.turns > 0) != (own.trained > 0),
                "trained_turns and the labels disagree on what is trained",
            ),
        ):
            at = np.flatnonzero(wrong)
            if len(at):
                self.findings.add("lineage", path, what, row=int(at[0]), rows=len(at))

    def _samples_in_a_row(self, path: str, lineage: _Lineage, order: np.ndarray) -> None:
        """Check that the samples of each row are numbered from 0, none twice; note which rows were kept."""
        source, row, sample = lineage.source[order], lineage.row[order], lineage.sample[order]
        fresh = (np.diff(source, prepend=-2) != 0) | (np.diff(row, prepend=-2) != 0)
        starts = np.flatnonzero(fresh)
        expected = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
        wrong = np.flatnonzero(sample != expected)
        if len(wrong):
            at = wrong[0]
            what = f"source row {row[at]} has sample {sample[at]} where {expected[at]} should be"
            self.findings.add("lineage", path, what, row=int(order[at]), rows=len(wrong))
        for number in range(len(self.sources)):
            self.kept[number].append(row[starts][source[starts] == number])

    def _choose(self, path: str, lineage: _Lineage, own: Sums, chosen: np.ndarray) -> None:
        """Note the rows of the chosen packs (rows of the shard), to be done again."""
        self.files.append(path)
        picked = np.ones(len(own.row), dtype=bool) if self.full else np.isin(own.row, chosen)
        for number in np.unique(lineage.source[picked & (lineage.source >= 0)]).tolist():
            ours = lineage.source == number
            some = ours & np.isin(lineage.row, lineage.row[ours & picked])
            file = np.full(int(some.sum()), len(self.files) - 1, dtype=np.int32)
            self.expected[number].append(
                Expected(
                    lineage.row[some],
                    lineage.sample[some].astype(np.int32),
                    own.hash[some],
                    file,
                    own.row[some],
                )
            )

    # ---- the ledger, and all rows ----

    def _ledger(self, path: str) -> None:
        at = 0
        numbers = {source: number for number, source in enumerate(self.sources)}
        try:
            for batch in read_batches(self.out / path, tokens=4096):
                for line in batch.to_pylist():
                    if wrong := _wrong_reject(line, numbers):
                        self.findings.add("reject", path, wrong, row=at)
                        self.sound = False
                    else:
                        self.reasons[line["reason"]] += 1
                        told = Rejected(line["row"], line["reason"], path, at)
                        self.rejected[numbers[line["source"]]].append(told)
                    at += 1
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            self._unreadable(path, error)

    def _every_row_once(self) -> None:
        """Check that each input row was kept or rejected, and only once."""
        for number, source in enumerate(self.sources):
            kept = np.concatenate([np.zeros(0, dtype=np.int64), *self.kept[number]])
            lost = np.array([each.row for each in self.rejected[number]], dtype=np.int64)
            self.counts["rows"] += self.manifest["inputs"][number]["rows"]
            self.counts["kept"] += len(np.unique(kept))
            self.counts["rejected"] += len(lost)
            rows, times = np.unique(np.concatenate([kept, lost]), return_counts=True)
            if (times > 1).any():
                row = int(rows[times > 1][0])
                both = "kept and rejected" if row in kept and row in lost else "accounted for twice"
                what = f"row {row} of {source} was {both}"
                self.findings.add("rows", "manifest.json", what, rows=int((times > 1).sum()))
            said = self.manifest["inputs"][number]["rows"]
            if len(rows) != said:
                what = f"{source} has {said:,} rows, but {len(rows):,} were kept or rejected"
                self.findings.add("rows", "manifest.json", what)

    # ---- counts ----

    def _check_counts(self, shards: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        counts, tokens, packs = self.manifest["counts"], self.counts["tokens"], self.counts["packs"]
        room = packs * int(self.recipe["max_length"])
        found: dict[str, Any] = {name: self.counts[name] for name in _COUNTED}
        found["rejected_by_reason"] = dict(self.reasons)
        found["fill"] = round(tokens / room, 6) if packs else None
        found["lengths"] = describe_lengths(self.lengths)
        for name, value in found.items():
            if counts[name] != value:
                what = f"counts.{name} is {_short(counts[name])}, the files have {_short(value)}"
                self.findings.add("counts", "manifest.json", what)
        for name, whole in (("tokens_by_role", "tokens"), ("trained_by_role", "trained_tokens")):
            if counts.get(name) and sum(counts[name].values()) != found[whole]:
                what = (
                    f"counts.{name} comes to {sum(counts[name].values()):,}, the files have {found[whole]:,}"
                )
                self.findings.add("counts", "manifest.json", what)

    def _card(self, shards: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        """Check what `load_dataset` reads of README.md."""
        front = _front_matter(self.out / "README.md")
        if front is None:
            self.findings.add("card", "README.md", "it is not there, or has no YAML at its head")
            return
        configs = {each.get("config_name"): each for each in _objects(front.get("configs"))}
        infos = {each.get("config_name"): each for each in _objects(front.get("dataset_info"))}
        for layout in self.layouts:
            files = configs.get(layout, {}).get("data_files")
            if files != [{"split": "train", "path": f"{layout}/train-*.parquet"}]:
                self.findings.add("card", "README.md", f"configs does not name the files of {layout}")
            rows = self._footer_rows(shards[layout])
            splits = _objects(infos.get(layout, {}).get("splits"))
            said = [each.get("num_examples") for each in splits if each.get("name") == "train"]
            if said != [rows]:
                told = ", ".join(map(str, said))[:40] or "none"
                what = f"dataset_info says {told} rows of {layout}, the files have {rows:,}"
                self.findings.add("card", "README.md", what)

    def _footer_rows(self, shards: Sequence[Mapping[str, Any]]) -> int:
        rows = 0
        for shard in shards:
            try:
                rows += pq.read_metadata(self.out / shard["path"]).num_rows
            except (pa.ArrowException, OSError):  # told already
                rows += shard["rows"]
        return rows

    # ---- sources ----

    def _redo(self, stages: Stages | None) -> None:
        """Hash the sources that are here, and do rows of theirs again."""
        absent = 0
        for number, source in enumerate(self.sources):
            if not Path(source).is_file():
                absent += 1
                continue
            self._redo_source(number, source, stages)
        if absent:
            many = (
                f"{absent} of {len(self.sources)} sources are"
                if absent < len(self.sources)
                else "no source is"
            )
            self.notes.append(
                f"{many} {'not ' if absent < len(self.sources) else ''}here, so that rows could not be done again from there"
            )

    def _redo_source(self, number: int, source: str, stages: Stages | None) -> None:
        recipe = Recipe.model_validate({**self.recipe, "output": "-"})
        try:
            info = inspect_source(source)
            if info.sha256 != self.manifest["inputs"][number]["sha256"]:
                self.findings.add("source", source, "the file is another than the output was made from")
                return
            self.counts["sources"] += 1
            if stages is None or not self._fits:
                self.notes.append(f"rows of {source} were not done again: tokenizer/ is not as it was")
                return
            rejected = self.rejected[number]
            if not self.full:
                rejected = self.chance.sample(rejected, min(REJECTS_REDONE, len(rejected)))
            parts = [no_samples(), *self.expected[number]]
            expected = Expected(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
            self.counts["rows_redone"] += redo(
                stages,
                info,
                find_dialect(info, recipe),
                expected=expected,
                rejected=rejected,
                files=self.files,
                findings=self.findings,
            )
        except PremaskError as error:
            self.findings.add("source", source, str(error))


_COUNTED = ("rows", "kept", "rejected", "samples", "tokens", "trained_tokens", "packs")


def _wrong_reject(line: Mapping[str, Any], sources: Mapping[str, int]) -> str:
    """What is wrong with a line of the ledger, empty if nothing is."""
    if any(line[name] is None for name in ("source", "row", "reason", "detail", "original")):
        return "a column other than id is null"
    if line["source"] not in sources:
        return "the source is none of the inputs in manifest.json"
    if line["reason"] not in REASONS:
        return f"the reason {line['reason'][:40]!r} is unknown"
    if line["row"] < 0 or not line["detail"]:
        return "row is below 0, or detail is empty"
    if line["reason"] == "invalid_json":
        return ""
    try:
        json.loads(line["original"], parse_int=str, parse_float=str)
    except RecursionError:
        return ""
    except ValueError:
        return "" if line["reason"] == "not_an_object" else "original is not the row as JSON"
    return ""


def _front_matter(path: Path) -> Mapping[str, Any] | None:
    """The YAML at the head of a card, None if there is none that can be read."""
    try:
        text = path.read_text(encoding="utf-8")
        data = (
            yaml.safe_load(text.split("\n---\n")[0].removeprefix("---\n"))
            if text.startswith("---\n")
            else None
        )
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return None
    return data if isinstance(data, dict) else None


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _short(value: Any) -> str:
    text = f"{value:,}" if isinstance(value, int) else json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
