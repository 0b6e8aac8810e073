"""Finished outputs on the terminal: a pack, figures, a difference, rejected rows, the findings of verify."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...core.contract import REASONS
from ...core.display import figure, percent
from ...core.text import visible
from ...output.read_samples import SampleBatch
from .tokens import marked, say

if TYPE_CHECKING:  # each is loaded by its own command
    from ..diff import Difference
    from ..rejects import RejectLog
    from ..verify import Report


def _table(*numbers: str, text: Sequence[str] = (), first: str | None = None) -> Table:
    """A table whose columns of numbers are aligned right; `first` is a column of text before them."""
    table = Table(box=None, padding=(0, 2))
    if first is not None:
        table.add_column(first, overflow="fold")
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    for name in text:
        table.add_column(name, overflow="fold")
    return table


# ==== A pack ====


def print_pack(console: Console, pack: SampleBatch, *, kind: str, room: int) -> None:
    """Print the samples of one row of an output, with their places; `kind` is what the row is called."""
    title = (
        f"{kind} {pack.first_row:,} of {pack.split}: {int(pack.row_sizes[0]):,} of {room:,} tokens, "
        f"{len(pack.length):,} samples, {percent(pack.trained.sum(), pack.length.sum())} trained"
    )
    say(console, title, "bold")
    table = _table("sample", "from", "tokens", "trained", text=("source", "row", "id"))
    for i, origin in enumerate(pack.origin.to_pylist()):
        numbers = (i, pack.offset[i], pack.length[i], pack.trained[i])
        row = f"{origin['row']:,}" + (f" ({origin['sample']})" if origin["sample"] else "")
        names = (visible(origin["source"]), row, visible(origin["id"] or ""))
        table.add_row(*(f"{number:,}" for number in numbers), *map(Text, names))
    console.print(table)


# ==== Figures ====


def print_stats(console: Console, figures: Mapping[str, Any]) -> None:
    """Print the figures of an output (`stats.measure`)."""
    table = Table.grid(padding=(0, 2))
    for name, text in _lines(figures):
        table.add_row(name, Text(visible(text)))
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


def _lines(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The figures of a whole output: a name and a text each."""
    packs, lengths, cut = figures.get("packs"), figures["lengths"], figures["too_long"]
    rows = f"{figures['rows']:,} in = {figures['kept']:,} kept + {figures['rejected']:,} rejected"
    more = {"skipped as duplicates": figures["dropped"], "left out": figures["left_out"]}
    rows += "".join(f" + {count:,} {what}" for what, count in more.items() if count)
    trained = percent(figures["trained_tokens"], figures["tokens"])
    found = [
        ("rows", rows),
        ("samples", f"{figures['samples']:,}"),
        ("tokens", f"{figures['tokens']:,}, of which {figures['trained_tokens']:,} ({trained}) are trained"),
    ]
    if packs:
        fill = "" if packs["fill"] is None else f", {percent(packs['fill'], 1, 2)} full"
        found.append(("packs", f"{packs['packs']:,} of at most {figures['max_length']:,} tokens{fill}"))
    if lengths:
        names = ("min", "p10", "median", "p90", "p99", "max", "mean")
        found.append(("lengths", ", ".join(f"{name} {lengths[name]:,}" for name in names)))
    policy = f"{cut['policy']}: {cut['samples_cut']:,} samples cut, {cut['tokens_cut_off']:,} tokens left out"
    found.append(("too long", f"{policy}, {cut['rows_rejected']:,} rows rejected"))
    found += [("mask proof", f"{name}: {count:,} samples") for name, count in figures["proofs"].items()]
    found += [("", note) for note in figures["mask_notes"]]
    others = figures["other_counts"].items()
    return found + [("", f"{count:,} {name.replace('_', ' ')}") for name, count in others]


def _shares(name: str, parts: Sequence[Mapping[str, Any]]) -> Table:
    """Parts of an output with their counts and trained shares."""
    counts = [key for key in ("rows", "kept", "samples") if parts and key in parts[0]]
    table = _table(*counts, "tokens", "trained", "share", first=name)
    for each in parts:
        values = (each[key] for key in (*counts, "tokens", "trained_tokens"))
        cells = ("" if value is None else f"{value:,}" for value in values)
        table.add_row(Text(visible(each[name])), *cells, percent(each["trained_tokens"], each["tokens"]))
    return table


# ==== Two outputs ====


def print_difference(console: Console, found: Difference) -> None:
    """Print how two outputs differ (`diff.compare`)."""
    table = _table("first", "second", first="")
    for name, (before, after) in found.figures.items():
        cells = map(figure, (before, after))
        table.add_row(name.replace("_", " "), *cells, style="bold" if before != after else "")
    console.print(table)
    for line in found.lines():
        say(console, line)
    for example in found.masks:
        console.print()
        where = f"{example.changed:,} labels differ, the first at token {example.first:,}"
        say(console, f"{example.sample}: {where}", "bold")
        for side, pieces in (("first:   ", example.before), ("second:  ", example.after)):
            shown = Text(side)
            for text, trained in pieces:
                shown.append(marked(visible(text), trained=trained))
            console.print(shown, soft_wrap=True)
    say(console, found.verdict, "bold")


# ==== Rejected rows and findings ====

_SHOWN = 200  # characters of a rejected row


def print_rejects(console: Console, log: RejectLog) -> None:
    """Print rejected rows by reason, the commonest first: counts, sources, and examples of a line each."""
    for reason, sources in log.reasons():
        say(console, f"{sources.total():,} {reason}: {REASONS.get(reason, '')}", "bold")
        if len(sources) > 1:
            say(
                console, "  " + ", ".join(f"{count:,} in {source}" for source, count in sources.most_common())
            )
        for example in log.examples[reason]:
            name = f" ({example['id']})" if example["id"] is not None else ""
            say(console, f"  {example['source']} row {example['row']}{name}: {example['detail']}")
            if example["original"] is not None:  # of a duplicate
                say(console, f"    {example['original'][:_SHOWN]}", "dim")
    more = f", {log.skipped:,} skipped as duplicates" if log.skipped else ""
    more += f", {log.left_out:,} left out by the recipe" if log.left_out else ""
    say(console, f"{log.output}: {log.rejected:,} rows rejected{more}")


def print_report(console: Console, report: Report) -> None:
    """Print what `premask verify` found, one line each."""
    for finding in report.findings:
        say(console, str(finding), "red")
    for note in report.notes:
        say(console, f"note: {note}", "yellow")
    say(console, report.verdict)
