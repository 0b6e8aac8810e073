"""What the report's page says of a run: tiles, tables and sentences, made of its manifest and its figures.

    words = words_of(manifest.as_dict(), figures)
    words["tiles"], words["mixture"], words["lost"], words["warnings"]     # the first screen

Rows of a table that count nothing are left out. Cost: none.
"""

from __future__ import annotations

import os.path
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from ...core.contract import LEFT_OUT, REASONS, SIDES
from ...core.display import percent
from ...publish.mask_counts import PROOF_WORDS, mask_notes
from ...publish.mixture_words import mixture_lines
from ...publish.run_warnings import warnings_of
from ..rejects import DUPLICATE
from .choice import SAMPLES

TABLE_ROWS = 100
"""Rows of a table of sources or files."""

MIXTURE_ROWS = 12
"""Sources that the first screen shows at once; more of them unfold."""

_AGAIN = (DUPLICATE, "near_duplicate")
"""Reasons of rows that are there already."""

_SETTINGS = {
    "limit": "beyond the limit of their source",
    "where": "where is not true of them",
    "sample": "not in the sample of their source",
    "map": "the function of map left them out",
    "keep": "keep is not true of them",
    "repeat": "repeat uses them zero times",
    "mixture": "the shares of the mixture do not need them",
}
"""What it means that a setting leaves rows out."""

Figures = Mapping[str, Any]


def words_of(manifest: Mapping[str, Any], figures: Figures) -> dict[str, Any]:
    """Return all that the page says of the run, as text, by the names that its template uses."""
    files = manifest["shards"]
    return {
        "subtitle": _subtitle(manifest, figures),
        "tiles": _tiles(figures),
        "mixture": _mixture(manifest, figures),
        "lost": _lost(manifest, figures),
        "warnings": warnings_of(manifest),
        "not_too_long": _not_too_long(figures),
        "about": _about(manifest, figures),
        "mask": _MASKS[
            "generation-tags" if manifest["recipe"].get("mask") == "generation-tags" else "proved"
        ],
        "proofs": _proofs(figures),
        "mask_notes": [f"{note[0].upper()}{note[1:]}." for note in mask_notes(figures)],
        "inputs": _inputs(manifest),
        "more_inputs": _more(len(manifest["inputs"]), "sources"),
        "splits": [_split(each) for each in figures["by_split"]],
        "files": [
            (each["path"], f"{each['rows']:,}", f"{each['bytes']:,}", each["sha256"])
            for each in files[:TABLE_ROWS]
        ],
        "more_files": _more(len(files), "files"),
        "recipe": yaml.safe_dump(manifest["recipe"], sort_keys=False, allow_unicode=True)[:50_000],
    }


# ==== The first screen ====


def _subtitle(manifest: Mapping[str, Any], figures: Figures) -> str:
    layouts = " and ".join(manifest["recipe"]["layout"])
    tokenizer = manifest.get("tokenizer", {}).get("name", "")
    if tokenizer.startswith((".", "/")):  # a folder: its path is under "Run"
        tokenizer = "/".join(tokenizer.rstrip("/").split("/")[-2:])
    return f"{layouts}, at most {figures['max_length']:,} tokens, for {tokenizer}"


def short_names(paths: Sequence[str]) -> dict[str, str]:
    """Return paths without the folders that all of them are in.

    >>> short_names(["/data/a/x.jsonl", "/data/b/x.jsonl"])["/data/b/x.jsonl"], short_names(["b/x"])
    ('b/x.jsonl', {'b/x': 'x'})
    """
    folders = [path.split("/")[:-1] for path in paths]
    same = len(os.path.commonprefix(folders)) if folders else 0
    return {path: "/".join(path.split("/")[same:]) for path in paths}


def _tiles(figures: Figures) -> list[tuple[str, str, str]]:
    packs = figures.get("packs")
    kept = percent(figures["kept"], figures["rows"])
    sides = figures["layout"] in SIDES
    tiles = [
        ("rows kept", f"{figures['kept']:,}", f"{kept} of {figures['rows']:,}"),
        ("samples", f"{figures['samples']:,}", "sides of preferences" if sides else "one text each"),
        ("tokens", f"{figures['tokens']:,}", "in all samples"),
        ("trained tokens", f"{figures['trained_tokens']:,}", f"{_trained(figures)} of all"),
    ]
    if packs and packs["packs"]:
        tiles.append(("packs", f"{packs['packs']:,}", f"{percent(packs['fill'], 1, 2)} full"))
    return tiles


def _mixture(manifest: Mapping[str, Any], figures: Figures) -> dict[str, Any]:
    """The table of sources, the largest first: `head`, and `rows` of a name, the widths of its bar in per
    cent, and cells; the rows after the first ones are `folded`."""
    asked = {each["source"]: each for each in (manifest.get("mixture") or {"sources": []})["sources"]}
    ordered = sorted(figures["by_source"], key=lambda each: (-each["tokens"], each["source"]))
    several = figures["samples"] != figures["kept"]
    head = ["source", "share of tokens", *(("asked", "got", "times used") if asked else ()), "rows kept"]
    head += [*(("samples",) if several else ()), "tokens", "trained tokens", "trained"]
    names = short_names([each["source"] for each in ordered])
    rows = [
        {"name": names[each["source"]], **_source(each, figures, asked, several=several)}
        for each in ordered[:TABLE_ROWS]
    ]
    by = manifest["mixture"]["by"].replace("_", " ") if asked else ""
    return {
        "head": head,
        "rows": rows[:MIXTURE_ROWS],
        "folded": rows[MIXTURE_ROWS:],
        "more": _more(len(ordered), "sources"),
        "note": f"Asked and got: shares of the {by} of train." if asked else "",
    }


def _source(
    each: Figures, figures: Figures, asked: Mapping[str, Figures], *, several: bool
) -> dict[str, Any]:
    whole, mixed = max(figures["tokens"], 1), asked.get(each["source"])
    cells = [percent(each["tokens"], figures["tokens"])]
    if asked:
        cells += (
            [f"{mixed['asked']:.1%}", f"{mixed['got']:.1%}", f"{mixed['repeat']:.2f}"] if mixed else [""] * 3
        )
    rows = "" if each["rows"] is None else f" of {each['rows']:,}"
    cells += [f"{each['kept']:,}{rows}", *([f"{each['samples']:,}"] if several else [])]
    cells += [f"{each['tokens']:,}", f"{each['trained_tokens']:,}", _trained(each)]
    bar = [round(100 * each[key] / whole, 2) for key in ("tokens", "trained_tokens")]
    return {"source": each["source"], "bar": bar, "cells": cells}


def _lost(manifest: Mapping[str, Any], figures: Figures) -> list[dict[str, Any]]:
    """What became of the rows that are not kept, in groups: rejected, duplicates, left out. Each has lines of
    a reason, its rows, their share in per cent of all rows, what it means, and whether the log lists them."""
    lines = figures["rejects"]
    rejected = [each for each in lines if each["reason"] not in {*_AGAIN, *LEFT_OUT}]
    again = [each for each in lines if each["reason"] in _AGAIN]
    in_log = {setting: reason for reason, setting in LEFT_OUT.items()}
    left_out = [
        {"reason": in_log.get(name, ""), "name": name, "rows": rows, "means": _SETTINGS.get(name, "")}
        for name, rows in sorted(manifest["counts"]["left_out"].items())
    ]
    groups = {"Rejected": rejected, "Duplicates": again, "Left out by the recipe": left_out}
    return [_group(name, found, figures) for name, found in groups.items() if found]


def _group(name: str, lines: Sequence[Figures], figures: Figures) -> dict[str, Any]:
    total = sum(each["rows"] for each in lines)
    return {
        "name": name,
        "total": f"{total:,}",
        "share": percent(total, figures["rows"], digits=2 if total < figures["rows"] / 100 else 1),
        "lines": [
            {
                "reason": each["reason"],
                "name": each.get("name", each["reason"]),
                "rows": f"{each['rows']:,}",
                "means": each["means"],
            }
            for each in lines
        ],
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


def _more(count: int, what: str) -> str:
    return f"{count - TABLE_ROWS:,} more {what} are in manifest.json." if count > TABLE_ROWS else ""


def _trained(counts: Mapping[str, Any]) -> str:
    return percent(counts["trained_tokens"], counts["tokens"])


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
    return each["split"], *(f"{each[key]:,}" for key in ("rows", "samples", "tokens")), _trained(each)


def _inputs(manifest: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [
        (each["source"], f"{each['rows']:,}", f"{each['bytes']:,}", each["sha256"] or each.get("version", ""))
        for each in manifest["inputs"][:TABLE_ROWS]
    ]
