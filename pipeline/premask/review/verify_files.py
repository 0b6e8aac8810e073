"""The checks of an output's files as files: its shards against the manifest, and what `load_dataset` reads of
its card.

    readable = check_shards(out, manifest, findings)        # paths of shards whose rows can be looked at
    check_card(out, manifest, findings)

Cost: 0.8 ns a byte for the hashes; of the rows nothing is read but the footers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from ..core.atomic_files import sha256_file
from ..core.contract import CONTRACT_VERSION, LINEAGE_SCHEMA, REJECT_SCHEMA, layout_schema
from ..core.errors import one_line
from ..output.dataset import shards_of, splits_of

Manifest = Mapping[str, Any]


def kinds_of(manifest: Manifest) -> list[str]:
    """The kinds of shards that an output has, its first layout first.

    >>> kinds_of({"recipe": {"layout": ["unpacked", "packed"]}})
    ['packed', 'unpacked', 'lineage', 'rejects']
    """
    layouts = [name for name in ("packed", "unpacked") if name in manifest["recipe"]["layout"]]
    return [*layouts, "lineage", "rejects"]


def unreadable(error: Exception, name: str, findings: Findings) -> None:
    """Note that a file cannot be read; what is not allowed to be read is raised again."""
    if isinstance(error, PermissionError):
        raise error
    findings.add("unreadable", name, f"it cannot be read: {one_line(error, 200)}")


# ==== Shards ====


def check_shards(out: Path, manifest: Manifest, findings: Findings) -> set[str]:
    """Check that the shards of the manifest are there, whole and with the columns of the contract, and that
    there are no others. Returns those of which the rows can be looked at."""
    listed = Counter(shard["path"] for shard in manifest["shards"])
    for name in sorted(path for path, times in listed.items() if times > 1):
        findings.add("manifest", "manifest.json", f"it lists {name} twice")
    for found in sorted(out.rglob("*.parquet")):
        name = found.relative_to(out).as_posix()
        if name not in listed and not name.startswith("."):
            findings.add("extra", name, "manifest.json does not list this file")
    _check_names(manifest, findings)
    return {shard["path"] for shard in manifest["shards"] if _check_shard(out, manifest, shard, findings)}


def check_pictures(out: Path, manifest: Manifest, findings: Findings) -> None:
    """Check that the pictures of the card are there and unchanged; outputs of before had none."""
    for picture in manifest.get("pictures", []):
        path = out / picture["path"]
        if not path.is_file():
            findings.add("missing", picture["path"], "the file is not there")
        elif sha256_file(path) != picture["sha256"]:
            findings.add("picture", picture["path"], "its sha256 is not the one in manifest.json")


def _check_names(manifest: Manifest, findings: Findings) -> None:
    for kind in kinds_of(manifest):
        expected = list[str]()
        for stem in ["rejects"] if kind == "rejects" else splits_of(manifest):
            count = max(1, len(shards_of(manifest, kind, stem)))
            expected += [f"{kind}/{stem}-{i:05d}-of-{count:05d}.parquet" for i in range(count)]
        names = [shard["path"] for shard in shards_of(manifest, kind)]
        if names != expected:
            what = f"its {len(names)} files of {kind}/ are not those of its splits, numbered from 0"
            findings.add("manifest", "manifest.json", what)


def _check_shard(out: Path, manifest: Manifest, shard: Mapping[str, Any], findings: Findings) -> bool:
    name, path = shard["path"], out / shard["path"]
    if not path.is_file():
        findings.add("missing", name, "the file is not there")
        return False
    size = path.stat().st_size
    if size != shard["bytes"]:
        findings.add("size", name, f"it has {size:,} bytes, manifest.json says {shard['bytes']:,}")
    elif sha256_file(path) != shard["sha256"]:
        findings.add("sha256", name, "its sha256 is not the one in manifest.json")
    try:
        footer, schema = pq.read_metadata(path), pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        unreadable(error, name, findings)
        return False
    raw = sum(footer.row_group(i).total_byte_size for i in range(footer.num_row_groups))
    for key, found in (("rows", footer.num_rows), ("raw_bytes", raw)):
        if found != shard[key]:
            findings.add("footer", name, f"it has {found:,} {key}, manifest.json says {shard[key]:,}")
    version = (schema.metadata or {}).get(b"premask.contract", b"none").decode(errors="replace")
    if version != str(CONTRACT_VERSION):
        findings.add("contract", name, f"premask.contract is {version[:20]}, not {CONTRACT_VERSION}")
    return _check_columns(name, schema, manifest, findings)


def _check_columns(name: str, schema: pa.Schema, manifest: Manifest, findings: Findings) -> bool:
    kind = name.partition("/")[0]
    others = {"lineage": LINEAGE_SCHEMA, "rejects": REJECT_SCHEMA}
    wanted = others[kind] if kind in others else layout_schema(kind, manifest["recipe"])
    if schema.equals(wanted):
        return True
    have = {field.name: field for field in schema}
    wrong = [field for field in wanted if field.name not in have or not field.equals(have[field.name])]
    if wrong:
        found = have.get(wrong[0].name)
        what = f"column {wrong[0].name} is {found.type if found else 'not there'}, not {wrong[0].type}"
    else:
        what = f"its columns are {', '.join(schema.names)[:200]}, not {', '.join(wanted.names)}"
    findings.add("schema", name, what)
    return False


# ==== The card ====


def check_card(out: Path, manifest: Manifest, findings: Findings) -> None:
    """Check what `load_dataset` reads of README.md: the files of each layout, and how many rows they have."""
    front = _front_matter(out / "README.md")
    if front is None:
        findings.add("card", "README.md", "it is not there, or has no YAML at its head")
        return
    configs = {str(each.get("config_name")): each for each in _objects(front.get("configs"))}
    infos = {str(each.get("config_name")): each for each in _objects(front.get("dataset_info"))}
    for layout in kinds_of(manifest)[:-2]:
        files = configs.get(layout, {}).get("data_files")
        splits = splits_of(manifest)
        if files != [{"split": split, "path": f"{layout}/{split}-*.parquet"} for split in splits]:
            findings.add("card", "README.md", f"configs does not name the files of {layout}")
        for split in splits:
            rows = sum(_rows_in(out / shard["path"], shard) for shard in shards_of(manifest, layout, split))
            told = _objects(infos.get(layout, {}).get("splits"))
            said = [each.get("num_examples") for each in told if each.get("name") == split]
            if said != [rows]:
                number = ", ".join(map(str, said))[:40] or "no number"
                what = f"it says {number} of rows of {layout} in {split}, the files have {rows:,}"
                findings.add("card", "README.md", what)


def _rows_in(path: Path, shard: Mapping[str, Any]) -> int:
    try:
        return int(pq.read_metadata(path).num_rows)
    except (pa.ArrowException, OSError):  # told already
        return int(shard["rows"])


def _front_matter(path: Path) -> Mapping[str, Any] | None:
    """The YAML at the head of a card, None if there is none that can be read."""
    try:
        text = path.read_text(encoding="utf-8")
        head, end, _ = text.removeprefix("---\n").partition("\n---\n")
        data = yaml.safe_load(head) if text.startswith("---\n") and end else None
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return None
    return data if isinstance(data, dict) else None


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


# ==== findings ====

# What `premask verify` finds wrong: one finding a kind and file, with its first row and how many there are.
#
#     findings = Findings()
#     findings.add("label", "packed/train-00000-of-00001.parquet", "label 5 beside id 9", row=3, rows=2)
#     print(findings.all()[0])
#     # packed/train-00000-of-00001.parquet row 3 (and 1 more): label 5 beside id 9; the shard was changed ...
#
# A damaged shard of a million packs must not print a million lines, so what is found again in the same file is
# only counted.


_AGAIN = "fetch the output again, or write it again with premask run --overwrite"


_SHARD = f"the shard was changed or is damaged: {_AGAIN}"


KINDS: Mapping[str, str] = {
    "manifest": f"manifest.json is not what premask writes: {_AGAIN}",
    "missing": _AGAIN,
    "extra": "move it out of the output: load_dataset may read it",
    "size": _SHARD,
    "sha256": _SHARD,
    "unreadable": _SHARD,
    "schema": f"readers expect the columns of the contract: {_AGAIN}",
    "contract": f"the shard is of another contract: {_AGAIN}",
    "footer": _SHARD,
    "shape": _SHARD,
    "too_long": _SHARD,
    "id": f"the id is no token of tokenizer/: {_AGAIN}",
    "label": f"a label must be -100 or the id of its token: {_AGAIN}",
    "first_label": f"the first token of a sample has no context, its label must be -100: {_AGAIN}",
    "position": f"position_ids must count from 0 in every sample: {_AGAIN}",
    "attention_mask": f"attention_mask must be all ones: {_AGAIN}",
    "loss_weight": f"loss_weights must be 0 exactly where labels are -100, else above 0: {_AGAIN}",
    "mask": f"a mask must be 1 exactly where labels are not -100: {_AGAIN}",
    "padding": _SHARD,
    "lineage": f"lineage/ and the shards tell of different samples: {_AGAIN}",
    "layouts": f"packed/ and unpacked/ hold different samples: {_AGAIN}",
    "reject": f"the ledger is damaged: {_AGAIN}",
    "rows": f"each input row must be kept or rejected, and once: {_AGAIN}",
    "counts": f"manifest.json and the files disagree: {_AGAIN}",
    "card": f"load_dataset refuses a card with wrong counts: {_AGAIN}",
    "picture": f"the picture was changed or is damaged: {_AGAIN}",
    "tokenizer": f"ids cannot be read without the tokenizer that made them: {_AGAIN}",
    "source": "put the file back as it was, or run premask on it as it is now",
    "redone": "the row gives something else when it is done again: report it with the recipe, if the "
    "packages are of the versions in manifest.json",
}
"""Kind of finding -> how to mend it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: in which file of the output, in which row (None: the file as a whole; the
    first of `rows`), what, and how to mend it. `kind` is a key of `KINDS`."""

    kind: str
    file: str
    row: int | None
    rows: int
    what: str
    mend: str

    def __str__(self) -> str:
        place = self.file if self.row is None else f"{self.file} row {self.row}"
        more = f" (and {self.rows - 1:,} more)" if self.rows > 1 else ""
        return f"{place}{more}: {self.what}; {self.mend}"


class Findings:
    """What was found so far, in the order in which it was found first."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Finding] = {}

    def add(self, kind: str, file: str, what: str, *, row: int | None = None, rows: int = 1) -> None:
        """Note `what` is wrong in so many `rows`, the first of them `row`; of a kind and a file the first is
        told and all are counted.

        >>> findings = Findings()
        >>> findings.add("size", "a.parquet", "3 bytes, not 4")
        >>> findings.add("size", "a.parquet", "it is odd")
        >>> [(each.what, each.rows) for each in findings.all()]
        [('3 bytes, not 4', 2)]
        """
        before = self._found.get((kind, file))
        first = before or Finding(kind, file, row, 0, what, KINDS[kind])
        self._found[kind, file] = Finding(kind, file, first.row, first.rows + rows, first.what, first.mend)

    def __contains__(self, kind_and_file: tuple[str, str]) -> bool:
        return kind_and_file in self._found

    def all(self) -> tuple[Finding, ...]:
        """Everything that was found."""
        return tuple(self._found.values())
