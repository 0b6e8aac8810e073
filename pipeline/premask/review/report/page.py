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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ...core.atomic_files import write_text
from ...core.contract import SIDES
from ...core.display import SHOWN_WRITERS
from ...core.errors import OutputError
from ...core.records import SIDE_NAMES
from ...output.dataset import open_dataset
from ...publish.charts import page_pictures
from ...publish.drawing import style_sheet, templates_in
from ...tokens.token_text import TokenTexts
from ..rerun import Traced, retrace
from ..stats import measure
from .choice import RANDOM, Choice, Chosen
from .samples import item_of, shared_bytes, turns_of
from .words import known_origins, shown_rejects, shown_samples, words_of

ITEM_BYTES = 2_600_000
"""What the samples take on the page, at most, in bytes of JSON."""

REJECT_BYTES = 600_000
"""What the rejected rows take."""

PACK_BYTES = 500_000
"""What the places of samples in packs take."""

FOLDER = Path(__file__).parent


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
    """Write the report of an output; `OutputError` if that cannot be read, or the file not be written."""
    text, shown, samples, notes = make_page(out)
    try:
        write_text(target, text)
    except OSError as error:
        raise OutputError(
            f"cannot write {target}: {error.strerror or error}; check space and permissions, or pass --to"
        ) from None
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
    manifest, texts = dataset.manifest, TokenTexts(dataset.tokenizer / "tokenizer.json")
    choice = Choice(manifest.run_key, texts.count_special, packed=dataset.layout == "packed")
    figures = measure(out, seen=[choice.see], rejected=[choice.see_rejected])
    chosen = choice.samples()
    traced, notes = retrace(dataset, {each.key: (each.ids, each.labels) for each in chosen})
    ends = texts.ids_of(manifest.template.turn_ends)
    items = within((item_of(each, traced.get(each.key), texts, ends) for each in chosen), ITEM_BYTES)
    items.sort(key=lambda item: (RANDOM not in item["why"], item["source"], item["row"], item["sample"]))
    data = {
        "packed": dataset.layout == "packed",
        "sides": SIDE_NAMES if dataset.layout in SIDES else None,
        "room": figures["max_length"],
        "roles": SHOWN_WRITERS[:-1],
        "items": items,
        "bytes": shared_bytes(items, texts),
        "packs": within(map(asdict, choice.packs()), PACK_BYTES),
        "rejects": within(choice.rejects(), REJECT_BYTES),
    }
    page = _render(
        **words_of(manifest.as_dict(), figures),
        figures=figures,
        data=data,
        pictures=page_pictures(figures, turns_of(_origins(chosen, traced))),
        shown=shown_samples(figures, len(items), len(chosen) - len(items)),
        known=known_origins(items),
        notes=notes,
    )
    return page, len(items), figures["samples"], notes


def _origins(chosen: Sequence[Chosen], traced: Mapping[tuple[str, int, int], Traced]) -> list[list[str]]:
    """The origins of the tokens of each sample of the random sample, where they are known."""
    known = (traced.get(each.key) for each in chosen if RANDOM in each.why)
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


def _render(**words: Any) -> str:
    """The page of its words, figures, pictures and data."""
    data, figures = words["data"], words["figures"]
    packs = f"{len(data['packs']):,} of {figures['packs']['packs']:,} packs." if data["packs"] else ""
    words |= {"packs": packs, "rejected": shown_rejects(figures, len(data["rejects"]))}
    words |= {"roles": data["roles"], "data": embedded(data)}
    return templates_in(FOLDER).get_template("report.html.jinja").render(**_assets(), **words)


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


def _assets() -> dict[str, Any]:
    """Style and script of the page, and their hashes for its Content-Security-Policy."""
    script = (FOLDER / "report.js").read_text(encoding="utf-8")
    style = style_sheet() + (FOLDER / "report.css").read_text(encoding="utf-8")
    return {
        "script": Markup(script),  # noqa: S704  ours
        "style": Markup(style),  # noqa: S704  ours
        "script_hash": _hash(script),
        "style_hash": _hash(style),
    }


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
