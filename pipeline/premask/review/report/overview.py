"""The first screen of the report: figures, the mixture of sources, and what was lost.

    tiles(figures), mixture(manifest, figures), lost(manifest, figures)

Cost: none.
"""

from __future__ import annotations

import os.path
from collections.abc import Mapping, Sequence
from typing import Any

from ...core.contract import LEFT_OUT, SIDES
from ...core.display import percent
from ...publish.mask_counts import many
from ..rejects import DUPLICATE

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


def more_than(count: int, what: str) -> str:
    """Say how many rows a table does not show; nothing if it shows all."""
    return f"{count - TABLE_ROWS:,} more {what} are in manifest.json." if count > TABLE_ROWS else ""


def trained_share(counts: Figures) -> str:
    """Return the share of the tokens that are trained."""
    return percent(counts["trained_tokens"], counts["tokens"])


def subtitle(manifest: Mapping[str, Any], figures: Figures) -> str:
    """Say what kind of output it is, and for which tokenizer."""
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


def tiles(figures: Figures) -> list[tuple[str, str, str]]:
    """Return the figures of the whole output: name, number, and what it is a part of."""
    packs = figures.get("packs")
    kept = percent(figures["kept"], figures["rows"])
    sides = figures["layout"] in SIDES
    tiles = [
        ("rows kept", f"{figures['kept']:,}", f"{kept} of {figures['rows']:,}"),
        ("samples", f"{figures['samples']:,}", "sides of preferences" if sides else "one text each"),
        ("tokens", f"{figures['tokens']:,}", "in all samples"),
        ("trained tokens", f"{figures['trained_tokens']:,}", f"{trained_share(figures)} of all"),
    ]
    if packs and packs["packs"]:
        tiles.append(("packs", f"{packs['packs']:,}", f"{percent(packs['fill'], 1, 2)} full"))
    return tiles


def mixture(manifest: Mapping[str, Any], figures: Figures) -> dict[str, Any]:
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
        "more": more_than(len(ordered), "sources"),
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
    cells += [f"{each['tokens']:,}", f"{each['trained_tokens']:,}", trained_share(each)]
    bar = [round(100 * each[key] / whole, 2) for key in ("tokens", "trained_tokens")]
    return {"source": each["source"], "bar": bar, "cells": cells}


def lost(manifest: Mapping[str, Any], figures: Figures) -> list[dict[str, Any]]:
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
        "total": many(total, "row", "rows"),
        "share": percent(total, figures["rows"], digits=2 if total < figures["rows"] / 100 else 1),
        "lines": [
            {
                "reason": each["reason"],
                "name": each.get("name", each["reason"]),
                "rows": f"{each['rows']:,}",
                "means": each["means"],
            }
            for each in lines[:TABLE_ROWS]
        ],
    }
