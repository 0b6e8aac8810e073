"""Pictures of an output's figures as SVG: for the page of the report, and as files for the dataset card.

    pictures = page_pictures(figures, turns)        # of `stats.measure`
    pictures[0].svg                                 # "<svg ...", coloured by the page's style sheet
    card_pictures(manifest)["pictures/lengths.svg"] # "<?xml ...", which stands alone

pygal draws: of the libraries that give SVG it is the light one (pure Python, 60 ms to import and 8 to draw,
where matplotlib takes ten times that), and it marks every shape with a class, so that one style sheet colours
a picture for light and dark. Its own styles, scripts and dates are taken out: the same figures give the same
bytes. Each picture has its numbers beside it as a table, for those who cannot see it.
"""

from __future__ import annotations

import math
import re
import sys
import xml.etree.ElementTree as ET  # what is parsed was written by pygal a moment ago
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from ..core.manifest import Manifest
from ..core.records import ROLES
from ..core.text import visible

WIDTH = 480
"""Of a picture, in units of which letters are 14 high."""

SOURCES = 12
"""Sources that have a bar of their own: those of the most tokens."""

TURNS = 12
"""Messages of a conversation that have a bar of their own."""

WRITERS = ("template", *ROLES, "other")
"""Who writes tokens, in the order of their colours."""

_SVG = "http://www.w3.org/2000/svg"


@dataclass(frozen=True)
class Picture:
    """A picture with its title, a sentence on how to read it, and its numbers as a table."""

    name: str
    title: str
    says: str
    svg: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]] = field(default_factory=list)


def page_pictures(figures: Mapping[str, Any], turns: Sequence[Mapping[str, int]]) -> list[Picture]:
    """Return the pictures of the report; those of nothing are left out.

    `turns` are tokens by role of the first, second ... message of the conversations that were looked at.
    """
    found = [
        _lengths(figures["lengths"], figures["max_length"]),
        _by_role(figures["by_role"]),
        _by_source(figures["by_source"]),
        _fills(figures.get("packs")),
        _turns(turns),
        _rejects(figures["rejects"]),
        _too_long(figures),
    ]
    return [picture for picture in found if picture is not None]


def card_pictures(written: Manifest) -> dict[str, str]:
    """Return the pictures of the card by their paths within the output, drawn from its manifest alone."""
    counts, max_length = written.as_dict()["counts"], written.settings.max_length
    trained = counts.get("trained_by_role", {})
    roles = [
        {"role": role, "tokens": tokens, "trained_tokens": trained.get(role, 0)}
        for role, tokens in sorted(counts.get("tokens_by_role", {}).items(), key=lambda item: -item[1])
    ]
    rejects = [
        {"reason": reason, "rows": rows, "means": ""}
        for reason, rows in sorted(counts["rejected_by_reason"].items(), key=lambda item: (-item[1], item[0]))
    ]
    found = [
        _lengths(counts["lengths"], max_length),
        _by_role(roles),
        _rejects(rejects),
    ]
    style = (Path(__file__).with_name("chart.css")).read_text(encoding="utf-8")
    return {f"pictures/{each.name}.svg": _alone(each, style) for each in found if each is not None}


def _alone(picture: Picture, style: str) -> str:
    """A picture as a file: light, on white, whatever the page that shows it."""
    head, body = picture.svg.split(">", 1)
    wide, high = re.findall(r'viewBox="0 0 (\d+) (\d+)"', head)[0]
    plain = re.sub(r"var\(--[a-z]+, ([^)]+)\)", r"\1", style)
    paint = f'<style>{plain}</style><rect class="paper" width="100%" height="100%"/>'
    return f'<?xml version="1.0" encoding="utf-8"?>\n{head} width="{wide}" height="{high}">{paint}{body}\n'


# ==== The pictures ====


def _lengths(lengths: Mapping[str, Any] | None, max_length: int) -> Picture | None:
    if lengths is None:
        return None
    bars = lengths["histogram"]
    most = max(bar["samples"] for bar in bars)
    chart = _chart("Histogram", height=300, legend_at_bottom=True, x_value_formatter=_power)
    chart.y_labels = _ticks(most)
    chart.add(
        "samples",
        [
            {
                "value": (bar["samples"], math.log2(bar["from"]), math.log2(bar["to"] + 1)),
                "label": f"{bar['from']:,} to {bar['to']:,} tokens: {bar['samples']:,} samples",
            }
            for bar in bars
        ],
        formatter=_nothing,
    )
    at = math.log2(max_length)
    label = f"max_length {max_length:,}"
    chart.add(label, [{"value": (most, at - 0.02, at + 0.02), "label": label}], formatter=_nothing)
    low, high = math.floor(math.log2(bars[0]["from"])), math.ceil(max(at, math.log2(bars[-1]["to"] + 1)))
    step = max(1, (high - low) // 6)
    chart.x_labels = list(range(low, high + 1, step))
    says = (
        f"Tokens a sample: median {lengths['median']:,}, 99 % at most {lengths['p99']:,}, "
        f"longest {lengths['max']:,}; no sample may have more than {max_length:,}."
    )
    rows = [(f"{bar['from']:,} to {bar['to']:,}", f"{bar['samples']:,}") for bar in bars]
    return _picture(
        "lengths", "Lengths of the samples", says, chart, ("tokens", "samples"), rows, ["main", "limit"]
    )


def _by_role(roles: Sequence[Mapping[str, Any]]) -> Picture | None:
    if not roles:
        return None
    roles = [{**each, "role": visible(each["role"])} for each in roles]
    chart = _chart("HorizontalStackedBar", height=90 + 34 * len(roles), legend_at_bottom=True)
    chart.y_labels = _ticks(max(each["tokens"] for each in roles))
    chart.x_labels = [each["role"] for each in reversed(roles)]
    parts = {
        "trained": [each["trained_tokens"] for each in reversed(roles)],
        "not trained": [each["tokens"] - each["trained_tokens"] for each in reversed(roles)],
    }
    for name, values in parts.items():
        named = zip(chart.x_labels, values, strict=True)
        chart.add(name, [{"value": v, "label": f"{role}, {name}: {v:,} tokens"} for role, v in named])
    rows = [
        (
            each["role"],
            f"{each['tokens']:,}",
            f"{each['trained_tokens']:,}",
            percent(each["trained_tokens"], each["tokens"]),
        )
        for each in roles
    ]
    says = "Tokens by who wrote them. Of the template's, those that end a trained turn are trained."
    head = ("written by", "tokens", "trained", "share")
    return _picture("roles", "Tokens by role", says, chart, head, rows, ["main", "rest"])


def _by_source(sources: Sequence[Mapping[str, Any]]) -> Picture | None:
    if not sources:
        return None
    ordered = sorted(sources, key=lambda each: (-each["tokens"], each["source"]))
    shown = [
        (short_name(each["source"]), each["trained_tokens"], each["tokens"]) for each in ordered[:SOURCES]
    ]
    others = ordered[SOURCES:]
    if others:
        sums = (sum(each[key] for each in others) for key in ("trained_tokens", "tokens"))
        shown.append((f"{len(others):,} others", *sums))
    chart = _chart("HorizontalBar", height=60 + 34 * len(shown), show_legend=False, range=(0, 100))
    chart.value_formatter = _percents
    chart.x_labels = [name for name, _, _ in reversed(shown)]
    chart.add(
        "trained",
        [
            {"value": 100 * part / whole if whole else 0, "label": f"{name}: {percent(part, whole)}"}
            for name, part, whole in reversed(shown)
        ],
    )
    says = "Share of the tokens that the loss falls on, by source."
    rows = [(name, f"{whole:,}", f"{part:,}", percent(part, whole)) for name, part, whole in shown]
    head = ("source", "tokens", "trained", "share")
    return _picture("sources", "Trained share by source", says, chart, head, rows, ["main"])


def _fills(packs: Mapping[str, Any] | None) -> Picture | None:
    if not packs or not packs["packs"]:
        return None
    bars = packs["fills"]
    chart = _chart("Histogram", height=260, show_legend=False)
    chart.y_labels, chart.x_value_formatter = _ticks(max(bar["packs"] for bar in bars)), _percents
    chart.add(
        "packs",
        [
            {
                "value": (bar["packs"], 100 * bar["from"], 100 * bar["to"]),
                "label": f"{_span(bar)} full: {bar['packs']:,} packs",
            }
            for bar in bars
        ],
        formatter=_nothing,
    )
    chart.x_labels = [0, 20, 40, 60, 80, 100]
    says = f"How full the {packs['packs']:,} packs are; {packs['fill']:.2%} of their room is used."
    rows = [(_span(bar), f"{bar['packs']:,}") for bar in bars if bar["packs"]]
    return _picture("fill", "Fill of the packs", says, chart, ("full", "packs"), rows, ["main"])


def _span(bar: Mapping[str, Any]) -> str:
    return f"{bar['from']:.0%} to {bar['to']:.0%}"


def _turns(turns: Sequence[Mapping[str, int]]) -> Picture | None:
    if not turns:
        return None
    shown = [dict(each) for each in turns[:TURNS]]
    for each in turns[TURNS:]:
        shown[-1] = {role: shown[-1].get(role, 0) + each.get(role, 0) for role in {*shown[-1], *each}}
    names = [str(i + 1) for i in range(len(shown))]
    if len(turns) > TURNS:
        names[-1] += "+"
    writers = [role for role in WRITERS if any(each.get(role) for each in shown)]
    chart = _chart("StackedBar", height=300, legend_at_bottom=True)
    chart.y_labels = _ticks(max(sum(each.values()) for each in shown))
    chart.x_labels = names
    for role in writers:
        values = [each.get(role, 0) for each in shown]
        chart.add(
            role,
            [
                {"value": v, "label": f"message {name}, {role}: {v:,} tokens"}
                for name, v in zip(names, values, strict=True)
            ],
        )
    rows = [
        (name, *(f"{each.get(role, 0):,}" for role in writers))
        for name, each in zip(names, shown, strict=True)
    ]
    says = (
        "Tokens by the place of a message in its conversation and by role, in the conversations of the "
        "seeded sample that were done again from their sources."
    )
    head = ("message", *writers)
    return _picture(
        "turns", "Tokens by turn and role", says, chart, head, rows, [f"role-{w}" for w in writers]
    )


def _rejects(rejects: Sequence[Mapping[str, Any]]) -> Picture | None:
    if not rejects:
        return None
    shown = [(visible(each["reason"])[:40], each["rows"], each["means"]) for each in rejects]
    chart = _chart("HorizontalBar", height=60 + 30 * len(shown), show_legend=False)
    chart.y_labels = _ticks(max(count for _, count, _ in shown))
    chart.x_labels = [name for name, _, _ in reversed(shown)]
    chart.add("rows", [{"value": n, "label": f"{name}: {n:,} rows"} for name, n, _ in reversed(shown)])
    rows = [(name, f"{count:,}", means) for name, count, means in shown]
    says = "Rows that were refused, by reason; all of them are in the ledger."
    return _picture("rejects", "Rejected rows", says, chart, ("reason", "rows", "meaning"), rows, ["alarm"])


def _too_long(figures: Mapping[str, Any]) -> Picture | None:
    found, limit = figures["too_long"], figures["max_length"]
    if not found["rows_rejected"] and not found["samples_cut"]:
        return None
    verb = {"truncate": "cut off", "split": "split"}.get(found["policy"], "cut")
    shown = [
        ("rows kept", figures["kept"]),
        (f"samples {verb}", found["samples_cut"]),
        ("rows rejected", found["rows_rejected"]),
    ]
    chart = _chart("HorizontalBar", height=60 + 34 * len(shown), show_legend=False)
    chart.y_labels = _ticks(max(count for _, count in shown))
    chart.x_labels = [name for name, _ in reversed(shown)]
    chart.add("count", [{"value": n, "label": f"{name}: {n:,}"} for name, n in reversed(shown)])
    says = (
        f"Samples longer than {limit:,} tokens (too_long: {found['policy']}): {found['samples_cut']:,} "
        f"{verb}, with {found['tokens_cut_off']:,} tokens left out; {found['rows_rejected']:,} rows rejected "
        "for it."
    )
    rows = [*((name, f"{n:,}") for name, n in shown), ("tokens left out", f"{found['tokens_cut_off']:,}")]
    return _picture("too-long", "What max_length did", says, chart, ("what", "count"), rows, ["main"])


# ==== Drawing ====


def _chart(kind: str, **options: Any) -> Any:
    """A chart of pygal without anything that moves, loads or differs from run to run."""
    pygal, style = _pygal()
    sizes = dict.fromkeys(("label_font_size", "major_label_font_size", "legend_font_size"), 14)
    defaults = {
        "js": [],
        "value_formatter": _short,
        "width": WIDTH,
        "margin": 8,
        "margin_right": 28,
        "spacing": 10,
        "style": style.Style(font_family="sans-serif", **sizes),
        "truncate_label": -1,
        "truncate_legend": -1,
        "disable_xml_declaration": True,
        "show_y_guides": True,
        "max_scale": 6,
    }
    return getattr(pygal, kind)(**{**defaults, **options})


@cache
def _pygal() -> tuple[Any, Any]:
    """The library and its styles. It puts an import hook for its plug-ins into the process, of a kind that
    Python warns of at every import that fails; none is used here, so the hook is taken out again."""
    import pygal  # noqa: PLC0415  60 ms, and few commands draw
    from pygal import style  # noqa: PLC0415

    sys.meta_path[:] = [hook for hook in sys.meta_path if type(hook).__module__ != "pygal"]
    return pygal, style


def _picture(  # noqa: PLR0913  what a picture is made of
    name: str,
    title: str,
    says: str,
    chart: Any,
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    classes: Sequence[str],
) -> Picture:
    return Picture(name, title, says, _clean(chart.render(), f"{title}. {says}", classes), head, rows)


def _clean(text: str | bytes, label: str, classes: Sequence[str]) -> str:
    """The picture without pygal's style, script, date and tooltips; its series named by `classes`, its shapes
    by what they stand for."""
    ET.register_namespace("", _SVG)
    root = ET.fromstring(text)  # noqa: S314  pygal's own
    for parent in list(root.iter()):
        for child in list(parent):
            if _is_extra(child):
                parent.remove(child)
    for parent in root.iter():
        own = next((each for each in parent if _tag(each) == "desc" and each.get("class") == "x_label"), None)
        own = next((each for each in parent if _tag(each) == "desc" and each.get("class") == "label"), own)
        for each in [each for each in parent if _tag(each) == "desc"]:
            parent.remove(each)
        if own is not None and own.text:
            ET.SubElement(parent, f"{{{_SVG}}}title").text = own.text
    for element in root.iter():
        element.attrib.pop("id", None)
        element.attrib.pop("style", None)
        if "class" in element.attrib:
            words = [_renamed(word, classes) for word in element.attrib["class"].split()]
            element.set("class", " ".join(word for word in words if word not in _IDLE))
    root.set("class", "chart")
    root.set("role", "img")
    root.set("aria-label", label)
    return ET.tostring(root, encoding="unicode")


_IDLE = {"reactive", "tooltip-trigger"}


def _tag(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def _is_extra(element: ET.Element) -> bool:
    return _tag(element) in {"defs", "title", ""} or "tooltip-overlay" in element.get("class", "")


def _renamed(word: str, classes: Sequence[str]) -> str:
    number = word.removeprefix("color-")
    return classes[int(number)] if word != number and int(number) < len(classes) else word


# ==== Words ====


def percent(part: float, whole: float) -> str:
    """Return a share in per cent.

    >>> percent(1, 3), percent(0, 0)
    ('33.3 %', '-')
    """
    return f"{100 * part / whole:.1f} %" if whole else "-"


def short_name(path: str) -> str:
    """Return the end of a path, on one line.

    >>> short_name("data/2024/a-very-long-folder-name/chats.jsonl")
    '…lder-name/chats.jsonl'
    """
    text = visible(path)
    return text if len(text) <= 22 else f"…{text[-21:]}"


def _ticks(most: int) -> list[int]:
    """Whole numbers from 0 to the greatest, five at most, for an axis.

    >>> _ticks(1), _ticks(7), _ticks(33_584)
    ([0, 1], [0, 2, 4, 6], [0, 10000, 20000, 30000])
    """
    size = 10 ** int(math.log10(max(most, 1)))
    steps = (step * size // 10 for step in (1, 2, 5, 10, 20, 50, 100))
    step = next(step for step in steps if step and most / step < 5)
    return list(range(0, most + 1, step))


def _short(number: float) -> str:
    """A number on an axis.

    >>> _short(1500), _short(2_000_000), _short(7)
    ('1.5k', '2M', '7')
    """
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.3g}"


def _nothing(*_: object) -> str:
    """What pygal is to write at a shape that has a label."""
    return ""


def _percents(value: float) -> str:
    return f"{value:.0f} %"


def _power(value: float) -> str:
    return f"{2 ** round(value):,}"
