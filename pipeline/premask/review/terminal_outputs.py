"""Finished outputs on the terminal: the samples of a pack, the figures of an output, two outputs compared.

    print_pack(console, read_row(dataset, "train", 3), kind="pack", room=4096)

Foreign text goes through `terminal.visible`; what is trained is marked as in all terminal views.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..core.contract import IGNORE_INDEX
from ..core.text import visible
from ..output.read_samples import SampleBatch
from ..publish.charts import percent
from ..tokens.token_text import TokenTexts
from .terminal import TRAINED, lines, token_table

if TYPE_CHECKING:
    from .diff import Difference  # polars with it, 0.15 s that other commands do not need

# ==== A pack ====


def print_pack(console: Console, pack: SampleBatch, *, kind: str, room: int) -> None:
    """Where the samples of one row of an output stand; `kind` is what the row is called."""
    title = (
        f"{kind} {pack.first_row:,} of {pack.split}: {int(pack.row_sizes[0]):,} of {room:,} tokens, "
        f"{len(pack.length):,} samples, {percent(pack.trained.sum(), pack.length.sum())} trained"
    )
    console.print(Text(title, style="bold"), soft_wrap=True)
    table = _table("sample", "from", "tokens", "trained", text=("source", "row", "id"))
    for i, origin in enumerate(pack.origin.to_pylist()):
        numbers = (i, pack.offset[i], pack.length[i], pack.trained[i])
        row = f"{origin['row']:,}" + (f" ({origin['sample']})" if origin["sample"] else "")
        names = (visible(origin["source"]), row, visible(origin["id"] or ""))
        table.add_row(*(f"{number:,}" for number in numbers), *map(Text, names))
    console.print(table)


def print_sample(console: Console, pack: SampleBatch, i: int, texts: TokenTexts, *, tokens: bool) -> None:
    """Sample i of a row: its text with what is trained in [[ ]], or a table of its `tokens`."""
    (origin,) = pack.origin.slice(i, 1).to_pylist()
    marked = "" if tokens else "; trained is what stands in [[ ]]"
    name = f"\nsample {i}: {visible(origin['source'])} row {origin['row']}{marked}"
    console.print(Text(name, style="bold"), soft_wrap=True)
    ids, labels = (column.tolist() for column in pack.tokens(i))
    groups = texts.groups(ids)
    console.print(token_table(ids, labels, groups) if tokens else _running(groups, labels))


def _running(groups: Sequence[tuple[str, int]], labels: Sequence[int]) -> Text:
    """Tokens as running text."""
    shown, at, marked = Text(), 0, list[tuple[str, bool]]()
    for text, count in groups:
        marked.append((text, any(label != IGNORE_INDEX for label in labels[at : at + count])))
        at += count
    for trained, run in groupby(marked, key=lambda group: group[1]):
        shown.append(_in_brackets("".join(text for text, _ in run), trained=trained))
    return shown


def _in_brackets(text: str, *, trained: bool) -> Text:
    return Text(f"[[{lines(text)}]]", style=TRAINED) if trained else Text(lines(text))


def _table(*numbers: str, text: Sequence[str] = (), first: str | None = None) -> Table:
    """A table whose columns of numbers stand right; `first` is a column of text before them."""
    table = Table(box=None, padding=(0, 2))
    if first is not None:
        table.add_column(first, overflow="fold")
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    for name in text:
        table.add_column(name, overflow="fold")
    return table


# ==== Figures ====


def print_stats(console: Console, figures: Mapping[str, Any]) -> None:
    """The figures of an output (`stats.measure`)."""
    packs, lengths, cut = figures.get("packs"), figures["lengths"], figures["too_long"]
    table = Table.grid(padding=(0, 2))
    rows = f"{figures['rows']:,} in = {figures['kept']:,} kept + {figures['rejected']:,} rejected"
    more = {"dropped as duplicates": figures["dropped"], "left out": figures["left_out"]}
    table.add_row("rows", rows + "".join(f" + {count:,} {what}" for what, count in more.items() if count))
    table.add_row("samples", f"{figures['samples']:,}")
    trained = percent(figures["trained_tokens"], figures["tokens"])
    table.add_row(
        "tokens", f"{figures['tokens']:,}, of them {figures['trained_tokens']:,} ({trained}) trained"
    )
    if packs:
        fill = "" if packs["fill"] is None else f", {100 * packs['fill']:.2f} % filled"
        table.add_row("packs", f"{packs['packs']:,} of at most {figures['max_length']:,} tokens{fill}")
    if lengths:
        names = ("min", "p10", "median", "p90", "p99", "max", "mean")
        table.add_row("lengths", ", ".join(f"{name} {lengths[name]:,}" for name in names))
    table.add_row(
        "too long",
        f"{cut['policy']}: {cut['samples_cut']:,} samples cut, {cut['tokens_cut_off']:,} tokens left out, "
        f"{cut['rows_rejected']:,} rows rejected",
    )
    for name, count in figures["proofs"].items():
        table.add_row("proved", f"{count:,} samples by {visible(name)}")
    for name, count in figures["other_counts"].items():
        table.add_row("", f"{count:,} {visible(name.replace('_', ' '))}")
    console.print(table)
    for name in ("source", "split", "role"):
        console.print()
        console.print(_shares(name, figures[f"by_{name}"]))
    if figures["rejects"]:
        rejects = _table("rows", first="rejected for", text=("",))
        for each in figures["rejects"]:
            rejects.add_row(Text(visible(each["reason"])), f"{each['rows']:,}", each["means"])
        console.print()
        console.print(rejects)


def _shares(name: str, parts: Sequence[Mapping[str, Any]]) -> Table:
    """Parts of an output with their counts and trained shares."""
    counts = [key for key in ("rows", "kept", "samples") if parts and key in parts[0]]
    table = _table(*counts, "tokens", "trained", "share", first=name)
    for each in parts:
        cells = (
            "" if each[key] is None else f"{each[key]:,}" for key in (*counts, "tokens", "trained_tokens")
        )
        table.add_row(Text(visible(each[name])), *cells, percent(each["trained_tokens"], each["tokens"]))
    return table


# ==== Two outputs ====

_KINDS = {
    "equal": "are equal",
    "mask": "have the same tokens and another mask",
    "tokens": "have other tokens",
    "split": "are in another split",
    "only_before": "stand in the first output alone",
    "only_after": "stand in the second output alone",
}


def print_difference(console: Console, found: Difference) -> None:
    """How two outputs differ (`diff.compare`)."""
    table = _table("first", "second", first="")
    for name, (before, after) in found.figures.items():
        cells = map(_figure, (before, after))
        table.add_row(name.replace("_", " "), *cells, style="bold" if before != after else "")
    console.print(table)
    for setting in found.settings:
        console.print(Text(f"setting: {visible(setting)}"), soft_wrap=True)
    for change in found.rows:
        text = f"{change.rows:,} rows: {visible(change.before)} -> {visible(change.after)}"
        console.print(Text(f"{text} ({_examples(change.examples, change.rows)})"), soft_wrap=True)
    for kind, count in found.samples.items():
        if count:
            own = found.examples.get(kind, ())
            more = f" ({_examples(own, count)})" if own else ""
            console.print(Text(f"{count:,} samples {_KINDS[kind]}{more}"), soft_wrap=True)
    for example in found.masks:
        where = f"{example.changed:,} labels differ, the first at token {example.first:,}"
        console.print(Text(f"\n{visible(example.sample)}: {where}", style="bold"), soft_wrap=True)
        for side, pieces in (("first:   ", example.before), ("second:  ", example.after)):
            shown = Text(side)
            for text, trained in pieces:
                shown.append(Text(f"[[{visible(text)}]]", style=TRAINED) if trained else Text(visible(text)))
            console.print(shown, soft_wrap=True)
    verdict = "the same rows, tokens and masks" if found.equal else "the outputs differ"
    console.print(Text(verdict, style="bold"))


def _figure(value: float | None) -> str:
    """A count, or a share.

    >>> _figure(1200), _figure(0.5), _figure(None)
    ('1,200', '50.00 %', '-')
    """
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{100 * value:.2f} %"


def _examples(names: Sequence[str], count: int) -> str:
    shown = ", ".join(map(visible, names))
    return f"{shown}, ..." if count > len(names) else shown
