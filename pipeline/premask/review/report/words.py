"""What the report's page says of a run: tiles, tables and sentences, made of its manifest and its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from ...core.contract import REASONS
from ...core.display import percent
from ...publish.mask_counts import PROOF_WORDS, mask_notes
from ...publish.mixture_words import mixture_lines
from .choice import SAMPLES

TABLE_ROWS = 100
"""Rows of a table of sources or files."""

Figures = Mapping[str, Any]


def words_of(manifest: Mapping[str, Any], figures: Figures) -> dict[str, Any]:
    """Return all that the page says of the run, as text, by the names that its template uses."""
    sources, files = figures["by_source"], manifest["shards"]
    return {
        "tiles": _tiles(figures),
        "reasons": [(each["reason"], f"{each['rows']:,}", each["means"]) for each in figures["rejects"]],
        "not_too_long": _not_too_long(figures),
        "about": _about(manifest, figures),
        "mask": _MASKS[
            "generation-tags" if manifest["recipe"].get("mask") == "generation-tags" else "proved"
        ],
        "proofs": _proofs(figures),
        "mask_notes": [f"{note[0].upper()}{note[1:]}." for note in mask_notes(figures)],
        "sources": [_source(each, manifest) for each in sources[:TABLE_ROWS]],
        "more_sources": _more(len(sources), "sources"),
        "splits": [_split(each) for each in figures["by_split"]],
        "files": [
            (each["path"], f"{each['rows']:,}", f"{each['bytes']:,}", each["sha256"])
            for each in files[:TABLE_ROWS]
        ],
        "more_files": _more(len(files), "files"),
        "recipe": yaml.safe_dump(manifest["recipe"], sort_keys=False, allow_unicode=True)[:50_000],
    }


def shown_samples(figures: Figures, shown: int, left_out: int) -> str:
    """Say which samples are shown, and why not all."""
    if shown == figures["samples"]:
        return f"All {shown:,} samples are shown."
    text = (
        f"{shown:,} of {figures['samples']:,} samples are shown: a random sample of {SAMPLES:,}, some of "
        "every source, one whole pack, the longest, the least trained, and those with the most control "
        "tokens. Filters and search see only these."
    )
    return text + (f" {left_out:,} more were chosen, but would make the page too large." if left_out else "")


def known_origins(items: Sequence[Mapping[str, Any]]) -> str:
    """Say for how many of the shown samples the roles are known, and how."""
    said = "Ids and labels are those of the shards. "
    known = sum(item["origins"] is not None for item in items)
    if known == len(items):
        return said + (
            "Texts and roles are known: each of these rows was rerun from its source, and gave the same ids "
            "and labels."
        )
    if known:
        said += (
            f"Texts and roles of {known:,} samples are known: their rows were rerun from their sources. For "
            "the others, "
        )
    else:
        said += "No row was rerun from its source; the notes say why. For all samples, "
    return said + (
        "the text is decoded from the ids, roles are unknown, and messages are cut after turn-end tokens."
    )


def shown_rejects(figures: Figures, shown: int) -> str:
    """Say how many of the rejected rows are shown."""
    lines = sum(each["rows"] for each in figures["rejects"])
    if lines and not shown:
        return f"{lines:,} rows are in no reject log here; it was left out when this was pushed."
    text = f"{shown:,} of {lines:,} rows are shown here, with every reason."
    text += f" {figures['dropped']:,} were skipped as duplicates." if figures["dropped"] else ""
    left_out = lines - figures["rejected"] - figures["dropped"]
    return text + (f" {left_out:,} were left out by the recipe." if left_out else "")


def _more(count: int, what: str) -> str:
    return f"{count - TABLE_ROWS:,} more {what} are in manifest.json." if count > TABLE_ROWS else ""


def _trained(counts: Mapping[str, Any]) -> str:
    return percent(counts["trained_tokens"], counts["tokens"])


def _tiles(figures: Figures) -> list[tuple[str, str, str]]:
    packs = figures.get("packs")
    tiles = [
        ("rows kept", f"{figures['kept']:,}", f"of {figures['rows']:,}"),
        ("rows rejected", f"{figures['rejected']:,}", f"{len(figures['rejects']):,} reasons"),
        ("samples", f"{figures['samples']:,}", f"at most {figures['max_length']:,} tokens"),
        ("tokens", f"{figures['tokens']:,}", "in all samples"),
        ("trained", _trained(figures), f"{figures['trained_tokens']:,} tokens"),
    ]
    if packs and packs["packs"]:
        tiles.append(("packs", f"{packs['packs']:,}", f"{percent(packs['fill'], 1, 2)} full"))
    return tiles


def _not_too_long(figures: Figures) -> str:
    found = figures["too_long"]
    if found["rows_rejected"] or found["samples_cut"]:
        return ""
    return (
        f"No sample was longer than max_length ({figures['max_length']:,} tokens): none was cut, split or "
        "rejected for its length."
    )


def _about(manifest: Mapping[str, Any], figures: Figures) -> list[tuple[str, str]]:
    tokenizer, template, engine = (manifest.get(key, {}) for key in ("tokenizer", "template", "engine"))
    versions = sorted(manifest.get("versions", {}).items())
    found = [
        ("premask", f"{manifest.get('premask', '')}, output contract {manifest['contract']}"),
        ("run key", str(manifest.get("run_key", ""))),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions)),
        ("tokenizer", f"{tokenizer.get('name', '')}, {tokenizer.get('vocab_size', 0):,} ids"),
        ("tokenizer sha256", str(tokenizer.get("sha256", ""))),
        ("chat template", str(template.get("name", ""))),
        ("chat template sha256", str(template.get("sha256", ""))),
        ("turns end with", ", ".join(template.get("turn_ends", []))),
        ("layouts", ", ".join(manifest["recipe"]["layout"])),
        ("engine", engine.get("name", "") + (f" ({engine['reason']})" if engine.get("reason") else "")),
        ("rows verified by a second engine", f"{engine.get('rows_verified', 0):,}"),
        ("samples encoded by the reference engine", f"{engine.get('samples_by_reference', 0):,}"),
    ]
    counts = [(name.replace("_", " "), f"{value:,}") for name, value in figures["other_counts"].items()]
    return [*found, *mixture_lines(manifest.get("mixture")), *counts]


_MASKS = {
    "generation-tags": "The text within the template's generation tags is trained. The tags are trusted, not "
    "proved.",
    "proved": "Every mask was decided twice: by the origin of each character, and by what inference would "
    "show the model. Rows in which the two disagree are rejected.",
}

_REFUSALS = (
    "template_error",
    "template_unsafe",
    "template_unstable",
    "origin_lost",
    "content_dropped",
    "prompt_mismatch",
    "open_reasoning",
    "boundary_unclear",
    "control_token",
    "nothing_trained",
    "tokenizer_error",
)


def _proofs(figures: Figures) -> list[tuple[str, str, str]]:
    refused = {each["reason"]: each["rows"] for each in figures["rejects"]}
    proofs = figures["proofs"].items()
    found = [(name, f"{count:,}", f"samples: {PROOF_WORDS[name]}") for name, count in proofs]
    return found + [(f"rejected: {name}", f"{refused.get(name, 0):,}", REASONS[name]) for name in _REFUSALS]


def _split(each: Figures) -> tuple[str, ...]:
    return each["split"], *(f"{each[key]:,}" for key in ("rows", "samples", "tokens")), _trained(each)


def _source(each: Figures, manifest: Mapping[str, Any]) -> tuple[str, ...]:
    inputs = {one["source"]: one["sha256"] for one in manifest.get("inputs", [])}
    rows = "" if each["rows"] is None else f"{each['rows']:,}"
    counts = (f"{each[key]:,}" for key in ("kept", "rejected", "dropped", "left_out", "tokens"))
    return each["source"], rows, *counts, _trained(each), inputs.get(each["source"], "")
