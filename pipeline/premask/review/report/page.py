"""The report: one HTML file that shows an output to people, token by token and as pictures.

    made = write_report(Path("out/chats"), Path("out/chats/report.html"))
    made.size, made.shown, made.samples         # bytes; samples that are on the page, of all there are

The file needs nothing else: no network, no script or font from elsewhere. What the data holds is text and
nothing else on it: Jinja escapes it, the script sets it as text, and the page's Content-Security-Policy lets
no script run but the one whose hash it names. The same output gives the same bytes.

Cost: 50 ns a token of the output, and some seconds for loading what does the shown rows again; memory does
not grow with the output. The page stays below 5 MB: what does not fit is left out, last chosen first, and
counted.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jinja2
import yaml
from markupsafe import Markup

from ...core.contract import REASONS
from ...core.errors import OutputError
from ...core.text import visible
from ...output.dataset import open_dataset
from ...publish.charts import Picture, page_pictures, percent
from ...tokens.token_text import TokenTexts
from ..rerun import Traced, retrace
from ..stats import measure
from .samples import SAMPLES, Choice, Chosen, item_of

ITEM_BYTES = 2_600_000
"""What the samples take on the page, at most, in bytes of JSON."""

REJECT_BYTES = 600_000
"""What the rejected rows take."""

PACK_BYTES = 500_000
"""What the places of samples in packs take."""

TABLE_ROWS = 100
"""Rows of a table of sources or files."""

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Made:
    """A report that was written: its bytes, the samples on it and those of the output, and what could not be
    told of them."""

    path: Path
    size: int
    shown: int
    samples: int
    notes: tuple[str, ...]


def write_report(out: Path, target: Path) -> Made:
    """Write the report of an output; `OutputError` if that cannot be read, or the file not be written."""
    text, shown, samples, notes = make_page(out)
    data = text.encode()
    scratch = target.with_name(f".{target.name}.tmp")
    try:
        scratch.write_bytes(data)
        scratch.replace(target)
    except OSError as error:
        raise OutputError(
            f"cannot write {target}: {error.strerror or error}; check space and permissions, or pass --to"
        ) from None
    return Made(target, len(data), shown, samples, tuple(notes))


def make_page(out: Path) -> tuple[str, int, int, list[str]]:
    """Return the page as text, how many samples are on it and in the output, and notes."""
    dataset = open_dataset(out)
    manifest, texts = dataset.manifest.as_dict(), TokenTexts(dataset.tokenizer / "tokenizer.json")
    choice = Choice(manifest, texts.count_special)
    figures = measure(out, seen=[choice.see], rejected=[choice.see_rejected])
    chosen = choice.samples()
    traced, notes = retrace(dataset, {each.key: (each.ids, each.labels) for each in chosen})
    ends = texts.ids_of(manifest.get("template", {}).get("turn_ends", []))
    items = _within([item_of(each, traced.get(each.key), texts, ends) for each in chosen], ITEM_BYTES)
    items.sort(key=lambda item: ("sample" not in item["why"], item["source"], item["row"], item["sample"]))
    rejects = _within(choice.rejects(), REJECT_BYTES)
    packs = _within([asdict(pack) for pack in choice.packs()], PACK_BYTES)
    data = {
        "packed": figures["layout"] == "packed",
        "room": figures["max_length"],
        "items": items,
        "bytes": _shared_bytes(items, texts),
        "packs": packs,
        "rejects": rejects,
    }
    left_out = len(chosen) - len(items)
    page = (
        _environment()
        .get_template("report.html.jinja")
        .render(
            **_assets(),
            **_words(manifest, figures),
            figures=figures,
            data=embedded(data),
            pictures=[_marked(each) for each in page_pictures(figures, turns_of(chosen, traced))],
            shown=_shown(figures, len(items), left_out),
            known=_known(items),
            notes=notes,
            roles=("template", "system", "developer", "user", "assistant", "tool"),
            packs=f"{len(packs):,} of {figures['packs']['packs']:,} packs." if packs else "",
            rejected=_rejected(figures, len(rejects)),
        )
    )
    return page, len(items), figures["samples"], notes


def _within(items: Sequence[dict[str, Any]], limit: int) -> list[dict[str, Any]]:
    """The first items that take no more than so many bytes together."""
    kept, size = [], 0
    for item in items:
        size += len(embedded(item).encode())
        if size > limit:
            break
        kept.append(item)
    return kept


def _shared_bytes(items: Sequence[Mapping[str, Any]], texts: TokenTexts) -> dict[int, str]:
    """The bytes of tokens that share a character with others, as hexadecimal digits."""
    found: dict[int, str] = {}
    for item in items:
        at = 0
        for each in item["text"]:
            count = 1 if isinstance(each, str) else each[1]
            if count > 1:
                ids = item["ids"][at : at + count]
                found |= {index: texts.bytes_of(index)[:16].hex(" ") for index in ids}
            at += count
    return dict(sorted(found.items()))


def turns_of(chosen: Sequence[Chosen], traced: Mapping[tuple[str, int, int], Traced]) -> list[dict[str, int]]:
    """Tokens by role of the first, second ... message of the samples of the seeded sample that are known;
    what the template prints counts for the message that it stands before."""
    turns: dict[int, Counter[str]] = {}
    for each in chosen:
        known = traced.get(each.key)
        if known is None or "sample" not in each.why:
            continue
        place, waiting, order = 0, 0, dict[str, int]()
        for origin in known.origins:
            if origin == "template":
                waiting += 1
                continue
            place = order.setdefault(origin, len(order))
            counts = turns.setdefault(place, Counter())
            counts[_role(origin)] += 1
            counts["template"] += waiting
            waiting = 0
        turns.setdefault(place, Counter())["template"] += waiting
    return [dict(turns.get(i, {})) for i in range(max(turns, default=-1) + 1)]


def _role(origin: str) -> str:
    role = origin.partition(":")[0]
    return role if role in {"system", "developer", "user", "assistant", "tool"} else "other"


# ==== HTML ====


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


def _environment() -> jinja2.Environment:
    """Jinja that escapes all it is given, and writes out what is no ordinary character."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        finalize=_finalize,
        undefined=jinja2.StrictUndefined,
    )


def _finalize(value: Any) -> Any:
    if isinstance(value, str) and not isinstance(value, Markup):
        return "\n".join(visible(line) for line in value.split("\n"))
    return value


def _assets() -> dict[str, Any]:
    """Style and script of the page, and their hashes for its Content-Security-Policy."""
    script = (FOLDER / "report.js").read_text(encoding="utf-8")
    style = "".join((FOLDER / name).read_text(encoding="utf-8") for name in ("report.css", "chart.css"))
    return {
        "script": Markup(script),  # noqa: S704  ours
        "style": Markup(style),  # noqa: S704  ours
        "script_hash": _hash(script),
        "style_hash": _hash(style),
    }


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _marked(picture: Picture) -> dict[str, Any]:
    return {**vars(picture), "svg": Markup(picture.svg)}  # noqa: S704  an XML library has escaped its texts


# ==== Words ====


def _shown(figures: Mapping[str, Any], shown: int, left_out: int) -> str:
    if shown == figures["samples"]:
        return f"All {shown:,} samples are shown."
    text = (
        f"{shown:,} of {figures['samples']:,} samples are shown: a sample of {SAMPLES:,} drawn by the key of "
        "the run, some of every source, one whole pack, and the longest, least trained and those with the "
        "most control tokens. Filters and search see these."
    )
    return text + (f" {left_out:,} more were drawn, but would make the page too large." if left_out else "")


def _known(items: Sequence[Mapping[str, Any]]) -> str:
    known = sum(item["origins"] is not None for item in items)
    if known == len(items):
        return (
            "Ids and labels are those of the shards. Texts and roles are known: each of these rows was done "
            "again from its source, and gave the same ids and labels."
        )
    said = "Ids and labels are those of the shards. "
    if known:
        said += (
            f"Of {known:,} samples texts and roles are known, from their sources done again. Of the others "
        )
    else:
        said += "No row was done again from its source, as the notes say: "
    return said + (
        "the text is that of the ids, who wrote it is not known, and messages are cut where a turn-end token "
        "stands."
    )


def _rejected(figures: Mapping[str, Any], shown: int) -> str:
    lines = figures["rejected"] + figures["dropped"]
    text = f"{shown:,} of {lines:,} rows are shown here, with every reason."
    return text + (f" {figures['dropped']:,} were dropped as duplicates." if figures["dropped"] else "")


def _words(manifest: Mapping[str, Any], figures: Mapping[str, Any]) -> dict[str, Any]:
    """All that the page says of the run, as text."""
    sources, files = figures["by_source"], manifest["shards"]
    return {
        "tiles": _tiles(figures),
        "reasons": [(each["reason"], f"{each['rows']:,}", each["means"]) for each in figures["rejects"]],
        "not_too_long": _not_too_long(figures),
        "about": _about(manifest, figures),
        "mask": _mask(manifest),
        "proofs": _proofs(figures),
        "sources": [_source(each, manifest) for each in sources[:TABLE_ROWS]],
        "more_sources": _more(len(sources), "sources"),
        "splits": [
            (
                each["split"],
                *(f"{each[key]:,}" for key in ("rows", "samples", "tokens")),
                percent(each["trained_tokens"], each["tokens"]),
            )
            for each in figures["by_split"]
        ],
        "files": [
            (each["path"], f"{each['rows']:,}", f"{each['bytes']:,}", each["sha256"])
            for each in files[:TABLE_ROWS]
        ],
        "more_files": _more(len(files), "files"),
        "recipe": yaml.safe_dump(manifest["recipe"], sort_keys=False, allow_unicode=True)[:50_000],
    }


def _more(count: int, what: str) -> str:
    return f"{count - TABLE_ROWS:,} more {what} are in manifest.json." if count > TABLE_ROWS else ""


def _tiles(figures: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    packs = figures.get("packs")
    tiles = [
        ("rows kept", f"{figures['kept']:,}", f"of {figures['rows']:,}"),
        ("rows rejected", f"{figures['rejected']:,}", f"{len(figures['rejects']):,} reasons"),
        ("samples", f"{figures['samples']:,}", f"at most {figures['max_length']:,} tokens"),
        ("tokens", f"{figures['tokens']:,}", "in all samples"),
        (
            "trained",
            percent(figures["trained_tokens"], figures["tokens"]),
            f"{figures['trained_tokens']:,} tokens",
        ),
    ]
    if packs and packs["packs"]:
        tiles.append(("packs", f"{packs['packs']:,}", f"{packs['fill']:.2%} full"))
    return tiles


def _not_too_long(figures: Mapping[str, Any]) -> str:
    found = figures["too_long"]
    if found["rows_rejected"] or found["samples_cut"]:
        return ""
    limit = f"max_length ({figures['max_length']:,} tokens)"
    return f"No sample was longer than {limit}: nothing was cut, split or rejected for it."


def _about(manifest: Mapping[str, Any], figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    tokenizer, template, engine = (manifest.get(key, {}) for key in ("tokenizer", "template", "engine"))
    versions = ", ".join(
        f"{name} {version}" for name, version in sorted(manifest.get("versions", {}).items())
    )
    found = [
        ("premask", f"{manifest.get('premask', '')}, output contract {manifest['contract']}"),
        ("run key", str(manifest.get("run_key", ""))),
        ("versions", versions),
        ("tokenizer", f"{tokenizer.get('name', '')}, {tokenizer.get('vocab_size', 0):,} ids"),
        ("tokenizer sha256", str(tokenizer.get("sha256", ""))),
        ("chat template", str(template.get("name", ""))),
        ("chat template sha256", str(template.get("sha256", ""))),
        ("turns end with", ", ".join(template.get("turn_ends", []))),
        ("layouts", ", ".join(manifest["recipe"]["layout"])),
        ("engine", engine.get("name", "") + (f" ({engine['reason']})" if engine.get("reason") else "")),
        ("rows done twice and equal", f"{engine.get('rows_verified', 0):,}"),
        ("samples encoded by the reference engine", f"{engine.get('samples_by_reference', 0):,}"),
    ]
    counts = [(name.replace("_", " "), f"{value:,}") for name, value in figures["other_counts"].items()]
    return found + counts


def _mask(manifest: Mapping[str, Any]) -> str:
    if manifest["recipe"].get("mask") == "generation-tags":
        return (
            "What the template's generation tags enclose is trained; they were taken at their word, unproved."
        )
    return (
        "Every mask was decided twice: by where each character came from, and by what inference would show "
        "the model. Rows in which the two disagree are refused."
    )


_PROOFS = {
    "inference": "samples of rows whose turns all look as inference shows them; both ways agree",
    "split": "samples of rows that were split, each turn as inference shows it; both ways agree",
    "as-rendered": "samples trained as the whole conversation shows them",
    "generation-tags": "samples masked by the template's own tags, taken at their word",
}

_REFUSALS = (
    "template_error",
    "template_unsafe",
    "template_unstable",
    "origin_lost",
    "content_dropped",
    "prompt_mismatch",
    "boundary_unclear",
    "control_token",
    "nothing_trained",
)


def _proofs(figures: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    refused = {each["reason"]: each["rows"] for each in figures["rejects"]}
    found = [(name, f"{count:,}", _PROOFS.get(name, "samples")) for name, count in figures["proofs"].items()]
    return found + [(f"refused: {name}", f"{refused.get(name, 0):,}", REASONS[name]) for name in _REFUSALS]


def _source(each: Mapping[str, Any], manifest: Mapping[str, Any]) -> tuple[str, ...]:
    sha256 = next(
        (one["sha256"] for one in manifest.get("inputs", []) if one["source"] == each["source"]), ""
    )
    rows = "" if each["rows"] is None else f"{each['rows']:,}"
    counts = (f"{each[key]:,}" for key in ("kept", "rejected", "dropped", "left_out", "tokens"))
    return each["source"], rows, *counts, percent(each["trained_tokens"], each["tokens"]), sha256


def default_path(out: Path) -> Path:
    """Return where the report of an output goes: beside its files, where nothing of a push is.

    >>> default_path(Path("out/chats")).as_posix()
    'out/chats/report.html'
    """
    return Path(os.path.normpath(out)) / "report.html"
