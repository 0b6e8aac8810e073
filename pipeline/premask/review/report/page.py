"""The report: one HTML file that shows an output to people, token by token and as charts.

    made = write_report(Path("out/chats"), Path("out/chats/report.html"))
    made.size, made.shown, made.samples         # bytes; samples that are on the page, of all there are

The file needs nothing else: no network, no script or font from elsewhere. What the data holds is text and
never run: Jinja escapes it, the script sets it as text, and the page's Content-Security-Policy allows no
script but the one whose hash it names. The same output gives the same bytes.

Cost: 50 ns a token of the output, and some seconds for loading what reruns the shown rows. Memory does not
grow with the output. The page stays below 5 MB: what does not fit is left out, last chosen first, and
counted.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ...core.contract import SIDES
from ...core.display import SHOWN_WRITERS
from ...core.records import SIDE_NAMES
from ...output.dataset import Dataset, open_dataset
from ...output.own_page import REPORT, check_page, write_page
from ...publish.charts import page_pictures
from ...publish.drawing import style_sheet, templates_in
from ...publish.mask_counts import PROOF_WORDS
from ...tokens.token_text import TokenTexts
from ..rerun import Traced, retrace
from ..stats import measure
from .choice import RANDOM, Choice, Chosen
from .samples import item_of, turns_of
from .words import known_origins, shown_rejects, shown_samples, words_of

ITEM_BYTES = 2_600_000
"""What the samples take on the page, at most, in bytes of JSON."""

REJECT_BYTES = 600_000
"""What the rejected rows take."""

PACK_BYTES = 500_000
"""What the places of samples in packs take."""

FOLDER = Path(__file__).parent

SCRIPTS = ("text.js", "{source}", "list.js", "tokens.js", "reader.js", "packs.js", "rejects.js", "report.js")
"""The files of the page's script, in order. The second defines where its data comes from: the page itself
(`embedded_source.js`), or a server (`served_source.js`)."""

MOST_NAMES = 500
"""Names that can be chosen in a filter."""

FILTERS = ("search", "source", "split", "why", "tokens", "share")
"""By what the list of samples can be filtered, if the page has them."""


@dataclass(frozen=True)
class Made:
    """A report that was written: its bytes, the samples on it and those of the output, and notes on samples
    whose roles are unknown."""

    path: Path
    size: int
    shown: int
    samples: int
    notes: tuple[str, ...]


def write_report(out: Path, target: Path) -> Made:
    """Write the report of an output. Raises `OutputError` if that cannot be read, or the file not be written,
    or if it is there and no report."""
    check_page(target, REPORT)
    text, shown, samples, notes = make_page(out)
    write_page(target, text, REPORT)
    return Made(target, len(text.encode()), shown, samples, tuple(notes))


def default_path(out: Path) -> Path:
    """Return where the report of an output goes: beside its files, outside of what a push sends.

    >>> default_path(Path("out/chats")).as_posix()
    'out/chats/report.html'
    """
    return Path(os.path.normpath(out)) / "report.html"


def make_page(out: Path) -> tuple[str, int, int, list[str]]:
    """Return the page as text, how many samples are on it and in the output, and notes."""
    dataset = open_dataset(out)
    texts = TokenTexts(dataset.tokenizer / "tokenizer.json")
    choice = Choice(dataset.manifest.run_key, texts.count_special, packed=dataset.layout == "packed")
    figures = measure(out, seen=[choice.see], rejected=[choice.see_rejected])
    chosen = choice.samples()
    traced, notes = retrace(dataset, {each.origin: (each.ids, each.labels) for each in chosen})
    ends = texts.ids_of(dataset.manifest.template.turn_ends)
    items = within((item_of(each, traced.get(each.origin), texts, ends) for each in chosen), ITEM_BYTES)
    _join(items)
    data = _data(dataset, figures, items, choice)
    page = render_page(
        dataset,
        figures,
        data=data,
        turns=turns_of(_origins(chosen, traced)),
        shown=[*shown_samples(figures, len(items), len(chosen) - len(items)), known_origins(items), *notes],
    )
    return page, len(items), figures["samples"], notes


def _join(items: list[dict[str, Any]]) -> None:
    """Bring samples into the order of their rows, and give each the keys of all samples of its row that are
    on the page."""
    items.sort(key=lambda item: (item["source"], item["row"], item["sample"]))
    rows = defaultdict[tuple[str, int], list[tuple[str, int]]](list)
    for item in items:
        rows[item["source"], item["row"]].append((item["key"], item["sample"]))
    for item in items:
        item["siblings"] = rows[item["source"], item["row"]]


def _data(
    dataset: Dataset, figures: Mapping[str, Any], items: list[dict[str, Any]], choice: Choice
) -> dict[str, Any]:
    """What the page holds as JSON: samples, packs, lines of the reject log, and the summary of all."""
    why = sorted({name for item in items for name in item["why"]})
    shown = len(items) < figures["samples"]
    packs, known, rejects = choice.packs(), {item["key"] for item in items}, choice.rejects()
    for pack in packs:
        pack["samples"] = [[key if key in known else None, *rest] for key, *rest in pack["samples"]]
    summary = summary_of(
        dataset, figures, why=why if shown else [], filters=FILTERS, search="words of the text, or an id"
    )
    summary["sources"] = sorted({item["source"] for item in items})
    summary["lost_sources"] = sorted({line["source"] or "" for line in rejects})
    return {
        "summary": summary,
        "items": items,
        "packs": within(packs, PACK_BYTES),
        "rejects": within(rejects, REJECT_BYTES),
    }


def summary_of(
    dataset: Dataset,
    figures: Mapping[str, Any],
    *,
    why: Sequence[str],
    filters: Sequence[str],
    search: str,
) -> dict[str, Any]:
    """Return what the page's script knows of a whole output, as JSON values.

    `why` are the reasons for which samples were chosen, if not all are there; `filters` are names of
    `FILTERS`; `search` says what the search looks at.
    """
    return {
        "output": figures["output"],
        "packed": dataset.layout == "packed",
        "sides": SIDE_NAMES if dataset.layout in SIDES else None,
        "room": figures["max_length"],
        "roles": SHOWN_WRITERS[:-1],
        "proofs": PROOF_WORDS,
        "samples": figures["samples"],
        "packs": figures.get("packs", {"packs": 0})["packs"],
        "rejects": sum(each["rows"] for each in figures["rejects"]),
        "sources": [each["source"] for each in figures["by_source"] if each["samples"]][:MOST_NAMES],
        "lost_sources": [
            each["source"] for each in figures["by_source"] if each["rejected"] + each["dropped"]
        ][:MOST_NAMES],
        "splits": [each["split"] for each in figures["by_split"]],
        "reasons": [each["reason"] for each in figures["rejects"]][:MOST_NAMES],
        "why": why,
        "filters": filters,
        "search": search,
    }


def _origins(chosen: Sequence[Chosen], traced: Mapping[tuple[str, int, int], Traced]) -> list[list[str]]:
    """The origins of the tokens of each sample of the random sample, where they are known."""
    known = (traced.get(each.origin) for each in chosen if RANDOM in each.why)
    return [each.origins for each in known if each is not None]


def within(items: Iterable[dict[str, Any]], limit: int) -> list[dict[str, Any]]:
    """Return the first items that take at most so many bytes together on the page."""
    kept, size = [], 0
    for item in items:
        size += len(embedded(item).encode())
        if size > limit:
            break
        kept.append(item)
    return kept


def render_page(
    dataset: Dataset,
    figures: Mapping[str, Any],
    *,
    data: Mapping[str, Any] | None,
    turns: Sequence[Mapping[str, int]] = (),
    shown: Sequence[str] = (),
) -> str:
    """Return the page of an output, given its figures (`stats.measure`).

    `data` is what the page shows of it; None if its script asks a server for that. `turns` are tokens by role
    of the first, second ... message; `shown` says how many samples there are, and more on them.
    """
    text = templates_in(FOLDER).get_template("report.html.jinja")
    return text.render(
        **_assets("served_source.js" if data is None else "embedded_source.js"),
        **words_of(dataset.manifest.as_dict(), figures),
        served=data is None,
        mark=Markup(REPORT.mark),  # noqa: S704  ours
        figures=figures,
        packs=figures.get("packs", {"packs": 0})["packs"],
        pictures=page_pictures(figures, turns),
        roles=SHOWN_WRITERS[:-1],
        shown=[text for text in shown if text],
        rejected=shown_rejects(figures, len(data["rejects"])) if data else "",
        data=embedded({} if data is None else data),
    )


def embedded(data: Any) -> Markup:
    """Return data as JSON that can stand in a script element: nothing in it ends the element or starts a
    comment, and no line of it can be read as going another way.

    >>> print(embedded({"a": "</script>"}))
    {"a":"\\u003c/script\\u003e"}
    """
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    odd = {char for char in set(text) if char in "<>&" or not char.isprintable()}
    text = text.translate({ord(char): _escaped(char) for char in odd})
    return Markup(text)  # noqa: S704  every character that means something to HTML is written out


def _escaped(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))


def _assets(source: str) -> dict[str, Any]:
    """Style and script of the page, and their hashes for its Content-Security-Policy."""
    files = [FOLDER / name.format(source=source) for name in SCRIPTS]
    script = "".join(file.read_text(encoding="utf-8") for file in files)
    style = style_sheet() + (FOLDER / "report.css").read_text(encoding="utf-8")
    return {
        "script": Markup(script),  # noqa: S704  ours
        "style": Markup(style),  # noqa: S704  ours
        "script_hash": _hash(script),
        "style_hash": _hash(style),
    }


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
