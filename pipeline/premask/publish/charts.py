"""Charts of an output's figures: for the page of the report, and as files for the dataset card.

    pictures = page_pictures(figures, turns)        # of `stats.measure`
    pictures[0].svg                                 # "<svg ...", coloured by the page's style sheet
    card_pictures(manifest)["pictures/lengths.svg"] # "<?xml ...", which stands alone

Each picture comes with its numbers as a table, for those who cannot see it. The same figures give the same
bytes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..core.contract import NOT_REJECTED
from ..core.display import SHOWN_WRITERS, percent
from ..core.manifest import Manifest
from ..core.text import visible
from .drawing import (
    Bar,
    Chart,
    Part,
    Scale,
    bar_columns,
    bar_rows,
    count_scale,
    percent_scale,
    plain_style,
    powers_of_two,
    to_svg,
)

SOURCES = 12
"""Sources that have a bar of their own: those with the most tokens."""

TURNS = 12
"""Messages of a conversation that have a bar of their own."""

Figures = Mapping[str, Any]


class Picture(NamedTuple):
    """A chart with its title, a sentence on how to read it, and its numbers as a table."""

    name: str
    title: str
    says: str
    drawing: Chart
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    @property
    def svg(self) -> str:
        """The chart as an SVG element of a page."""
        return to_svg(self.drawing, self.title, self.says)

    def as_file(self) -> str:
        """The chart as a file: light, on white, whatever the page that shows it."""
        svg = to_svg(self.drawing, self.title, self.says, style=plain_style())
        return f'<?xml version="1.0" encoding="utf-8"?>\n{svg}\n'


def page_pictures(figures: Figures, turns: Sequence[Mapping[str, int]]) -> list[Picture]:
    """Return the pictures of the report; those of nothing are left out.

    `turns` are tokens by role of the first, second ... message of the conversations in the sample.
    """
    found = [
        _lengths(figures["lengths"], figures["max_length"]),
        _by_role(figures["by_role"]),
        _by_source(figures["by_source"]),
        _fills(figures.get("packs")),
        _turns(turns),
        _rejects([each for each in figures["rejects"] if each["reason"] not in NOT_REJECTED]),
        _too_long(figures),
    ]
    return [picture for picture in found if picture is not None]


def card_pictures(manifest: Manifest) -> dict[str, str]:
    """Return the pictures of the card by their paths within the output, drawn from its manifest alone."""
    counts = manifest.as_dict()["counts"]
    found = [
        _lengths(counts["lengths"], manifest.settings.max_length),
        _by_role(roles_of(counts)),
        _rejects([{"reason": reason, "rows": rows} for reason, rows in _most(counts["rejected_by_reason"])]),
    ]
    return {f"pictures/{each.name}.svg": each.as_file() for each in found if each is not None}


def roles_of(counts: Figures) -> list[dict[str, Any]]:
    """Return the tokens of each role and how many of them are trained, by the counts of a manifest; the role
    with the most tokens first."""
    trained = counts.get("trained_by_role", {})
    return [
        {"role": role, "tokens": tokens, "trained_tokens": trained.get(role, 0)}
        for role, tokens in _most(counts.get("tokens_by_role", {}))
    ]


def _most(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Names and counts, greatest first."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _lengths(lengths: Figures | None, max_length: int) -> Picture | None:
    if lengths is None:
        return None
    found = [(f"{bar['from']:,} to {bar['to']:,}", bar["samples"]) for bar in lengths["histogram"]]
    edges = [(math.log2(bar["from"]), math.log2(bar["to"] + 1)) for bar in lengths["histogram"]]
    limit, most, label = math.log2(max_length), max(n for _, n in found), f"max_length {max_length:,}"
    across = powers_of_two(math.floor(edges[0][0]), math.ceil(max(limit, edges[-1][1])))
    half = (across.high - across.low) / 400  # of the width of the limit's line
    bars = [
        Bar("", [Part("trained", n, f"{span} tokens: {n:,} samples")], *edge)
        for (span, n), edge in zip(found, edges, strict=True)
    ]
    bars.append(Bar("", [Part("limit", most, label)], limit - half, limit + half))
    drawing = bar_columns(bars, across, count_scale(most), [("trained", "samples"), ("limit", label)])
    says = (
        f"Tokens per sample: median {lengths['median']:,}, 99% have at most {lengths['p99']:,}, the longest "
        f"has {lengths['max']:,}; the limit is {max_length:,}."
    )
    rows = [(span, f"{n:,}") for span, n in found]
    return Picture("lengths", "Sample lengths", says, drawing, ("tokens", "samples"), rows)


def _by_role(roles: Sequence[Figures]) -> Picture | None:
    if not roles:
        return None
    bars, rows = [], []
    for each in roles:
        name, tokens, trained = visible(each["role"]), each["tokens"], each["trained_tokens"]
        parts = (("trained", "trained", trained), ("rest", "not trained", tokens - trained))
        bars.append(Bar(name, [Part(paint, n, f"{name}, {what}: {n:,} tokens") for paint, what, n in parts]))
        rows.append((name, f"{tokens:,}", f"{trained:,}", percent(trained, tokens)))
    scale = count_scale(max(each["tokens"] for each in roles))
    drawing = bar_rows(bars, scale, [("trained", "trained"), ("rest", "not trained")])
    says = "Tokens by who wrote them. Of the template's tokens, those that end a trained turn are trained."
    return Picture(
        "roles", "Tokens by role", says, drawing, ("written by", "tokens", "trained", "share"), rows
    )


def _by_source(sources: Sequence[Figures]) -> Picture | None:
    if not sources:
        return None
    ordered = sorted(sources, key=lambda each: (-each["tokens"], each["source"]))
    shown = [(_end_of(each["source"]), each["tokens"], each["trained_tokens"]) for each in ordered[:SOURCES]]
    if others := ordered[SOURCES:]:
        tokens, trained = (sum(each[key] for each in others) for key in ("tokens", "trained_tokens"))
        shown.append((f"{len(others):,} others", tokens, trained))
    bars = [
        Bar(name, [Part("trained", 100 * part / max(whole, 1), f"{name}: {percent(part, whole)}")])
        for name, whole, part in shown
    ]
    says = "Share of the tokens that are trained, by source."
    rows = [(name, f"{whole:,}", f"{part:,}", percent(part, whole)) for name, whole, part in shown]
    head = ("source", "tokens", "trained", "share")
    drawing = bar_rows(bars, percent_scale())
    return Picture("sources", "Trained share by source", says, drawing, head, rows)


def _end_of(path: str) -> str:
    """The end of a path, on one line.

    >>> _end_of("data/2024/a-very-long-folder-name/chats.jsonl")
    '…lder-name/chats.jsonl'
    """
    text = visible(path)
    return text if len(text) <= 22 else f"…{text[-21:]}"


def _fills(packs: Figures | None) -> Picture | None:
    if not packs or not packs["packs"]:
        return None
    found = [(f"{bar['from']:.0%} to {bar['to']:.0%}", bar["packs"]) for bar in packs["fills"]]
    edges = [(100 * bar["from"], 100 * bar["to"]) for bar in packs["fills"]]
    bars = [
        Bar("", [Part("trained", n, f"{span} full: {n:,} packs")], *edge)
        for (span, n), edge in zip(found, edges, strict=True)
    ]
    drawing = bar_columns(bars, percent_scale(), count_scale(max(n for _, n in found)))
    says = (
        f"How full the {packs['packs']:,} packs are; together they are {percent(packs['fill'], 1, 2)} full."
    )
    rows = [(span, f"{n:,}") for span, n in found if n]
    return Picture("fill", "Fill of the packs", says, drawing, ("full", "packs"), rows)


def _turns(turns: Sequence[Mapping[str, int]]) -> Picture | None:
    if not turns:
        return None
    last = sum(map(Counter, turns[TURNS - 1 :]), Counter[str]())
    shown = [*turns[: TURNS - 1], *([last] if last else [])]
    names = [f"{i + 1}" for i in range(len(shown))]
    names[-1] += "+" if len(turns) > TURNS else ""
    writers = [role for role in SHOWN_WRITERS if any(each.get(role) for each in shown)]
    counts = [[(role, each.get(role, 0)) for role in writers] for each in shown]
    bars = [
        Bar(
            "", [Part(role, n, f"message {name}, {role}: {n:,} tokens") for role, n in of], i + 0.06, i + 0.94
        )
        for i, (name, of) in enumerate(zip(names, counts, strict=True))
    ]
    across = Scale(0, len(shown), [(i + 0.5, name) for i, name in enumerate(names)])
    up = count_scale(max(sum(each.values()) for each in shown))
    rows = [(name, *(f"{n:,}" for _, n in of)) for name, of in zip(names, counts, strict=True)]
    says = (
        "Tokens by position of the message in its conversation and by role, for the conversations of the "
        "random sample that were rerun from their sources."
    )
    drawing = bar_columns(bars, across, up, [(role, role) for role in writers])
    return Picture("turns", "Tokens by turn and role", says, drawing, ("message", *writers), rows)


def _rejects(rejects: Sequence[Figures]) -> Picture | None:
    if not rejects:
        return None
    shown = [(visible(each["reason"])[:30], each["rows"], each.get("means", "")) for each in rejects]
    bars = [Bar(name, [Part("alarm", count, f"{name}: {count:,} rows")]) for name, count, _ in shown]
    drawing = bar_rows(bars, count_scale(max(count for _, count, _ in shown)))
    rows = [(name, f"{count:,}", means) for name, count, means in shown]
    says = "Rejected rows by reason. All of them are in the reject log."
    return Picture("rejects", "Rejected rows", says, drawing, ("reason", "rows", "meaning"), rows)


def _too_long(figures: Figures) -> Picture | None:
    found, limit = figures["too_long"], figures["max_length"]
    if not found["rows_rejected"] and not found["samples_cut"]:
        return None
    verb = {"truncate": "cut off", "split": "split"}.get(found["policy"], "cut")
    shown = [
        ("rows kept", figures["kept"]),
        (f"samples {verb}", found["samples_cut"]),
        ("rows rejected", found["rows_rejected"]),
    ]
    bars = [Bar(name, [Part("trained", count, f"{name}: {count:,}")]) for name, count in shown]
    drawing = bar_rows(bars, count_scale(max(count for _, count in shown)))
    says = (
        f"Samples longer than {limit:,} tokens (too_long: {found['policy']}): {found['samples_cut']:,} were "
        f"{verb}, {found['tokens_cut_off']:,} tokens were left out, and {found['rows_rejected']:,} rows were "
        "rejected."
    )
    rows = [*((name, f"{n:,}") for name, n in shown), ("tokens left out", f"{found['tokens_cut_off']:,}")]
    return Picture("too-long", "What max_length did", says, drawing, ("what", "count"), rows)
