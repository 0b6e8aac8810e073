"""The checks of an output's files as files: its shards against the manifest, and what `load_dataset` reads of
its card.

    readable = check_shards(out, manifest, findings)        # paths of shards whose rows can be looked at
    check_card(out, manifest, findings)

Cost: 0.8 ns a byte for the hashes; of the rows nothing is read but the footers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from .core.atomic_files import sha256_file
from .core.contract import CONTRACT_VERSION, LINEAGE_SCHEMA, REJECT_SCHEMA, layout_schema
from .findings import Findings
from .output.dataset import shards_of, splits_of

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
    findings.add("unreadable", name, f"it cannot be read: {' '.join(str(error).split())[:200]}")


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
