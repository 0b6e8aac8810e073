"""What the report's page says of a run: tiles, tables and sentences, made of its manifest and its figures.

    words = words_of(manifest.as_dict(), figures)
    words["tiles"], words["mixture"], words["lost"], words["warnings"]     # the first screen

Rows of a table that count nothing are left out. Cost: none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from ...core.contract import REASONS
from ...publish.mask_counts import PROOF_WORDS
from ...publish.mixture_words import mixture_lines
from ...publish.run_warnings import warnings_of
from .choice import SAMPLES
from .overview import TABLE_ROWS, lost, mixture, more_than, subtitle, tiles, trained_share

Figures = Mapping[str, Any]


def words_of(manifest: Mapping[str, Any], figures: Figures) -> dict[str, Any]:
    """Return all that the page says of the run, as text, by the names that its template uses."""
    files = manifest["shards"]
    return {
        "subtitle": subtitle(manifest, figures),
        "tiles": tiles(figures),
        "mixture": mixture(manifest, figures),
        "lost": lost(manifest, figures),
        "warnings": warnings_of(manifest),
        "not_too_long": _not_too_long(figures),
        "about": _about(manifest, figures),
        "mask": _MASKS[
            "generation-tags" if manifest["recipe"].get("mask") == "generation-tags" else "proved"
        ],
        "proofs": _proofs(figures),
        "mask_notes": [f"{note[0].upper()}{note[1:]}." for note in figures["mask_notes"]],
        "inputs": _inputs(manifest),
        "more_inputs": more_than(len(manifest["inputs"]), "sources"),
        "splits": [_split(each) for each in figures["by_split"]],
        "files": [
            (each["path"], f"{each['rows']:,}", f"{each['bytes']:,}", each["sha256"])
            for each in files[:TABLE_ROWS]
        ],
        "more_files": more_than(len(files), "files"),
        "recipe": yaml.safe_dump(manifest["recipe"], sort_keys=False, allow_unicode=True)[:50_000],
    }


# ==== What is shown ====


def shown_samples(figures: Figures, shown: int, left_out: int) -> tuple[str, str]:
    """Say how many samples are shown, and which, if not all."""
    if shown == figures["samples"]:
        return f"All {shown:,} samples are on this page.", ""
    text = (
        f"The page has the samples of a random sample of rows (about {SAMPLES:,} samples), some of every "
        "source, one whole pack, the longest, the least trained, and those with the most control tokens. "
        "List, filters and search see only these. premask report --serve shows all samples."
    )
    text += f" {left_out:,} more were chosen, but would make the page too large." if left_out else ""
    return f"{shown:,} of {figures['samples']:,} samples are on this page.", text


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
    """Say how many of the rows of the reject log are shown."""
    lines = sum(each["rows"] for each in figures["rejects"])
    if lines and not shown:
        return f"{lines:,} rows are in no reject log here; it was left out when this was pushed."
    if shown == lines:
        return f"All {lines:,} rows of the reject log."
    return f"{shown:,} of the {lines:,} rows of the reject log are on this page, some of every reason."


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
    others = figures["other_counts"].items()
    counts = [(name.replace("_", " "), f"{value:,}") for name, value in others if value]
    found = [(name, value) for name, value in found if value not in {"", "0"}]
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
    """How masks were proved, and for which of its reasons rows were refused."""
    refused = {each["reason"]: each["rows"] for each in figures["rejects"]}
    proofs = figures["proofs"].items()
    found = [(name, f"{count:,}", f"samples: {PROOF_WORDS[name]}") for name, count in proofs if count]
    return found + [
        (f"rejected: {name}", f"{refused[name]:,}", REASONS[name]) for name in _REFUSALS if name in refused
    ]


def _split(each: Figures) -> tuple[str, ...]:
    return each["split"], *(f"{each[key]:,}" for key in ("rows", "samples", "tokens")), trained_share(each)


def _inputs(manifest: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [
        (each["source"], f"{each['rows']:,}", f"{each['bytes']:,}", each["sha256"] or each.get("version", ""))
        for each in manifest["inputs"][:TABLE_ROWS]
    ]
