"""Terminal views: the summary of a run, its progress, and conversations token by token.

Content of the data is shown as text and nothing else: control characters and terminal escapes in it are
written out (`\\x1b`), so that a hostile row cannot paint the screen. What is trained is never told by colour
alone: in tables its label is not -100, in running text it stands in [[ ]]; on a terminal it is bold and
underlined, too, and green where colours are wanted (`NO_COLOR` is honoured).
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from ..core.contract import IGNORE_INDEX, REASONS
from ..core.records import Sample
from ..core.text import visible
from ..output.sending import PushResult
from ..output.upload import load_line
from ..running.forecast import Forecast, gb
from ..running.ranks import SliceResult
from ..running.run import RunResult
from ..running.tasks import Progress
from ..tokens.token_text import groups_of
from .rejects import Ledger
from .template_report import Diagnosis
from .verify import Report

# ==== Progress ====


class BarProgress(Progress):
    """Bars for a person at a terminal."""

    def __init__(self, console: Console) -> None:
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("rows  {task.fields[tokens]:,} tokens  {task.fields[packs]:,} packs"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task("loading", total=None, tokens=0, packs=0)

    def __enter__(self) -> BarProgress:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def say(self, text: str) -> None:
        self._bar.console.print(visible(text), markup=False, soft_wrap=True)

    def start(self, rows: int | None) -> None:
        self._bar.update(self._task, description="working", total=rows)

    def advance(self, rows: int, tokens: int, packs: int) -> None:
        fields = self._bar.tasks[0].fields
        self._bar.update(
            self._task, advance=rows, tokens=fields["tokens"] + tokens, packs=fields["packs"] + packs
        )


class LineProgress(Progress):
    """A plain line every few seconds, for logs."""

    def __init__(self, console: Console, *, every_s: float = 10.0) -> None:
        self._console, self._every = console, every_s
        self._rows = self._tokens = self._packs = 0
        self._total: int | None = None
        self._last = time.monotonic()

    def __enter__(self) -> LineProgress:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def say(self, text: str) -> None:
        self._console.print(visible(text), markup=False, soft_wrap=True)

    def start(self, rows: int | None) -> None:
        self._total = rows

    def advance(self, rows: int, tokens: int, packs: int) -> None:
        self._rows, self._tokens, self._packs = self._rows + rows, self._tokens + tokens, self._packs + packs
        if time.monotonic() - self._last >= self._every:
            self._last = time.monotonic()
            total = "" if self._total is None else f" of {self._total:,}"
            self._console.print(f"{self._rows:,}{total} rows, {self._tokens:,} tokens, {self._packs:,} packs")


class PushLines:
    """Progress of a push: a plain line every few seconds, for terminals and logs alike."""

    def __init__(self, console: Console, *, every_s: float = 5.0) -> None:
        self._console, self._every, self._last = console, every_s, time.monotonic()

    def __call__(self, files: int, of_files: int, size: int, of_size: int) -> None:
        """Tell of files and bytes that are sent, and of how many there are."""
        if time.monotonic() - self._last >= self._every:
            self._last = time.monotonic()
            self._console.print(f"sent {files:,} of {of_files:,} files, {_mb(size)} of {_mb(of_size)}")


# ==== Before a run ====

_UNITS_SHOWN = 10


def print_forecast(console: Console, found: Forecast) -> None:
    """What a run will take, for a person."""
    sample, about = found.sample, "" if found.rows_counted else "about "
    table = Table.grid(padding=(0, 2))
    table.add_row("rows", f"{about}{found.rows:,}")
    table.add_row("tokens", f"about {found.tokens:,}, packs about {found.packs:,}")
    kept = f"{sample.kept:,} of them kept, {sample.tokens:,} tokens"
    table.add_row("", f"from {sample.rows:,} rows drawn by the seed: {kept}")
    table.add_row("units", f"{len(found.units):,}")
    for number, unit in enumerate(found.units[:_UNITS_SHOWN]):
        rows = "?" if unit.rows is None else f"{unit.rows:,}"
        table.add_row("", f"{number}: {rows} rows, {gb(unit.bytes)}, about {unit.tokens:,} tokens")
    if len(found.units) > _UNITS_SHOWN:
        table.add_row("", f"and {len(found.units) - _UNITS_SHOWN:,} more")
    speed = sample.timed_tokens / max(sample.seconds, 1e-9)
    table.add_row("time", f"{speed:,.0f} tokens a second and core, measured on the sample here")
    for workers, seconds in found.seconds.items():
        table.add_row("", f"{workers} worker{'s' if workers > 1 else ''}: {_duration(seconds)}")
    table.add_row("memory", f"about {gb(found.worker_bytes)} a worker")
    table.add_row("disk", f"{gb(found.disk_bytes)} while it runs, {gb(found.free_bytes)} are free there")
    table.add_row("output", f"{gb(found.output_bytes)} in {found.files:,} files")
    for text in found.hub or ["within what the Hub recommends"]:
        table.add_row("Hub", visible(text))
    console.print(table, markup=False)
    for text in found.warnings:
        console.print(f"warning: {visible(text)}", style="yellow", markup=False, soft_wrap=True)


def _duration(seconds: float) -> str:
    """Time for people.

    >>> _duration(7.25), _duration(400), _duration(9000)
    ('7.2 s', '6.7 min', '2.5 h')
    """
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


# ==== Summary ====


def print_slice(console: Console, result: SliceResult) -> None:
    """What a rank did, for a person."""
    output = visible(str(result.output))
    if not result.fresh:
        console.print(f"{output} already holds this recipe's output; nothing to do", markup=False)
        return
    what = output if isinstance(result.output, Path) else "RECIPE"
    console.print(
        f"{result.share}: {result.units:,} units done, {result.rows:,} rows, {result.tokens:,} tokens in "
        f"{result.seconds:.1f} s; when all ranks are done: premask finish {what}",
        markup=False,
        soft_wrap=True,
    )


def print_summary(console: Console, result: RunResult) -> None:
    """What a run gave, for a person."""
    counts, recipe = result.manifest["counts"], result.manifest["recipe"]
    output = visible(str(result.output))
    if not result.fresh:
        console.print(f"{output} already holds this recipe's output; nothing to do", markup=False)
    table = Table.grid(padding=(0, 2))
    table.add_row(
        "rows",
        f"{counts['rows']:,} in = {counts['kept']:,} kept + {counts['rejected']:,} rejected{_others(counts)}",
    )
    for reason, count in sorted(counts["rejected_by_reason"].items(), key=lambda item: (-item[1], item[0])):
        table.add_row("", f"{count:,} {reason}: {REASONS[reason]}")
    if counts["duplicates"] and not counts["dropped"]:
        table.add_row("", f"({counts['duplicates']:,} of them are duplicates of earlier rows)")
    table.add_row("samples", _samples(counts, recipe))
    table.add_row(
        "tokens",
        f"{counts['tokens']:,}, of them {_share(counts['trained_tokens'], counts['tokens'])} trained",
    )
    table.add_row("", _by_role(counts))
    if counts["packs"]:
        fill = f"{100 * counts['fill']:.2f} % filled"
        table.add_row("packs", f"{counts['packs']:,} of at most {recipe['max_length']:,} tokens, {fill}")
    for name, split in counts["splits"].items() if len(counts["splits"]) > 1 else ():
        table.add_row(
            name, f"{split['samples']:,} samples, {split['tokens']:,} tokens, {split['packs']:,} packs"
        )
    table.add_row("time", f"{result.seconds:.1f} s")
    table.add_row("output", Text(output))
    path, layout = json.dumps(str(result.output), ensure_ascii=False), recipe["layout"][0]
    load = f'from datasets import load_dataset; load_dataset({visible(path)}, "{layout}", split="train")'
    if not isinstance(result.output, Path):
        load = visible(load_line(result.manifest["recipe"]["layout"][0], str(result.output)))
    console.print(table)
    console.print(f"load it with:  {load}", markup=False, highlight=False, soft_wrap=True)


def print_push(console: Console, result: PushResult) -> None:
    """What a push did, for a person."""
    where, kept = (
        visible(result.where),
        f"{result.kept:,} files, {_mb(result.kept_bytes)}, were there already",
    )
    if not result.changed:
        console.print(f"{where} already holds this output; nothing was sent", markup=False, soft_wrap=True)
    else:
        sent = f"{result.sent:,} files, {_mb(result.sent_bytes)}; {kept}"
        removed = f"; {len(result.removed):,} old ones removed" if result.removed else ""
        console.print(f"pushed to {where}: {sent}{removed}", markup=False, soft_wrap=True)
    if result.commit:
        console.print(f"commit:  {visible(result.commit)}", markup=False, soft_wrap=True)
    console.print(f"load it with:  {visible(result.load)}", markup=False, highlight=False, soft_wrap=True)


def _mb(size: int) -> str:
    """Bytes as megabytes.

    >>> _mb(1_234_567)
    '1.2 MB'
    """
    return f"{size / 1e6:,.1f} MB"


def _others(counts: Mapping[str, Any]) -> str:
    """What became of rows besides, as further terms of a sum."""
    terms = [f"{counts['dropped']:,} duplicates"] if counts["dropped"] else []
    terms += [f"{count:,} left out by {name}" for name, count in sorted(counts["left_out"].items())]
    return "".join(f" + {term}" for term in terms)


def _samples(counts: Mapping[str, Any], recipe: Mapping[str, Any]) -> str:
    extra = [f"{counts['samples']:,}"]
    more = counts["samples"] - counts["kept"]
    if more > 0:
        why = {
            "turns that inference sees otherwise than the whole conversation": "split"
            in counts["samples_by_proof"],
            "pieces of long samples": "too_long_split" in counts,
            "rows that are repeated": any(
                isinstance(each, dict) and "repeat" in each for each in recipe["sources"]
            ),
        }
        extra.append(f"({more:,} more than rows: {', '.join(what for what, so in why.items() if so)})")
    if straddling := counts.get("straddling_tokens"):
        extra.append(f"({straddling:,} tokens straddle the edge of a turn and are not trained)")
    if cut := counts.get("tokens_cut_off"):
        extra.append(f"({cut:,} tokens of samples longer than max_length are cut off)")
    if forged := counts.get("control_tokens_in_content"):
        extra.append(f"({forged:,} control-token strings stand in content)")
    return "\n".join(extra)


def _by_role(counts: Mapping[str, Any]) -> Table:
    """Tokens by who wrote them; of the template's, turn ends are trained."""
    roles, trained = counts["tokens_by_role"], counts["trained_by_role"]
    table = Table("written by", "tokens", "share", "trained", "of them", box=None, padding=(0, 2))
    for role, tokens in sorted(roles.items(), key=lambda item: -item[1]):
        part = trained.get(role, 0)
        table.add_row(
            role, f"{tokens:,}", _percent(tokens, sum(roles.values())), f"{part:,}", _percent(part, tokens)
        )
    return table


def _share(part: int, whole: int) -> str:
    return f"{part:,} ({_percent(part, whole)})"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


# ==== Conversations ====


def print_explained(console: Console, explained: Mapping[str, Any], *, source: str) -> None:
    """One explained row (`explain.explain_row`) as a table of its tokens."""
    name = f"{visible(source)} row {explained['row']}" + (
        f" (id {visible(explained['id'])})" if explained["id"] else ""
    )
    if explained["status"] == "rejected":
        text = Text(f"{name}: rejected, {explained['reason']}: {visible(explained['detail'])}", style="red")
        console.print(text, soft_wrap=True)
        return
    for number, sample in enumerate(explained["samples"]):
        part = (
            f", sample {number + 1} of {len(explained['samples'])}" if len(explained["samples"]) > 1 else ""
        )
        labels = sample["tokens"]["label"]
        trained = sum(label != IGNORE_INDEX for label in labels)
        console.print(Text(f"{name}{part}: {len(labels)} tokens, {trained} trained"), soft_wrap=True)
        tokens = sample["tokens"]
        groups = groups_of(sample["text"], tokens["start"], tokens["end"])
        console.print(token_table(tokens["id"], labels, groups, tokens["origin"]))


TRAINED = "bold underline green"
"""The style of what is trained; bold and underlined it stays where there are no colours."""


def token_table(
    ids: Sequence[int],
    labels: Sequence[int],
    groups: Sequence[tuple[str, int]],
    origins: Sequence[str] | None = None,
) -> Table:
    """A table of tokens: index, id, token, label and, if known, origin. `groups` cut the tokens into texts of
    whole characters; where several tokens share one, each shows all of it and which part it is."""
    table = Table(box=None, padding=(0, 2))
    for column in ("index", "id", "token", "label"):
        table.add_column(column, justify="left" if column == "token" else "right", overflow="fold")
    if origins is not None:
        table.add_column("origin")
    index = 0
    for text, count in groups:
        for part in range(count):
            of = f" ({part + 1} of {count})" if count > 1 else ""
            cells = [str(index), str(ids[index]), "", str(labels[index])]
            cells += [] if origins is None else [origins[index]]
            trained = labels[index] != IGNORE_INDEX
            shown = [Text(cell, style="bold green" if trained else "default") for cell in cells]
            shown[2] = Text.assemble((_short(text), TRAINED if trained else "default"), of)
            table.add_row(*shown)
            index += 1
    return table


TOKEN_CHARACTERS = 1000
"""Characters of one token that a table shows."""


def _short(text: str) -> str:
    """A token as a table shows it."""
    left_out = len(text) - TOKEN_CHARACTERS
    more = f" ... {left_out:,} more characters" if left_out > 0 else ""
    return visible(text[:TOKEN_CHARACTERS]) + more


# ==== Templates ====


def print_diagnosis(console: Console, diagnosis: Diagnosis) -> None:
    """What `premask template` found."""
    colour = "red" if diagnosis.verdict == "refused" else "green"
    console.print(Text(f"verdict: {diagnosis.verdict}", style=f"bold {colour}"))
    table = Table.grid(padding=(0, 2))
    table.add_row("generation prompt", Text(visible(diagnosis.generation_prompt) or "none"))
    table.add_row("a turn ends with", Text(", ".join(map(visible, diagnosis.turn_ends)) or "nothing"))
    for name, found in (*diagnosis.takes.items(), *diagnosis.habits.items()):
        table.add_row(name, Text(visible(found)))
    console.print(table)
    for warning in diagnosis.warnings:
        console.print(Text(f"warning: {visible(warning)}", style="yellow"))
    for name, reason in diagnosis.refusals.items():
        console.print(Text(f"refused, conversation of kind {name}: {visible(reason)}", style="red"))
    for name, samples in diagnosis.samples.items():
        for number, sample in enumerate(samples):
            part = f", sample {number + 1} of {len(samples)}" if len(samples) > 1 else ""
            console.print(Text(f"\n{name}{part}; trained is what stands in [[ ]]:", style="bold"))
            console.print(_marked(sample))


def _marked(sample: Sample) -> Text:
    """A sample's text with its trained stretches in double brackets."""
    text, at = Text(), 0
    for turn in sample.turns:
        text.append(lines(sample.text[at : turn.start]))
        text.append(f"[[{lines(sample.text[turn.start : turn.end])}]]", style=TRAINED)
        at = turn.end
    text.append(lines(sample.text[at:]))
    return text


def lines(text: str) -> str:
    """Text with its line breaks; what else is no ordinary character is written out."""
    return "\n".join(visible(line) for line in text.split("\n"))


# ==== Checks of outputs ====

_SHOWN = 200  # characters of a rejected row


def print_report(console: Console, report: Report) -> None:
    """What `premask verify` found, one line each."""
    for finding in report.findings:
        console.print(Text(visible(str(finding)), style="red"), soft_wrap=True)
    for note in report.notes:
        console.print(Text(f"note: {visible(note)}", style="yellow"), soft_wrap=True)
    looked = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in report.checked.items())
    verdict = f"{len(report.findings):,} findings" if report.findings else "all is well"
    console.print(
        Text(f"{visible(report.output)}: {verdict} ({looked or 'nothing else was checked'})"), soft_wrap=True
    )


def print_ledger(console: Console, ledger: Ledger) -> None:
    """Rejected rows by reason, the commonest first: counts, sources, and examples cut to a line each."""
    for reason, sources in ledger.reasons():
        meaning = REASONS.get(reason, "")
        console.print(Text(f"{sources.total():,} {reason}: {meaning}", style="bold"), soft_wrap=True)
        if len(sources) > 1:
            shown = ", ".join(f"{count:,} in {source}" for source, count in sources.most_common())
            console.print(Text(f"  {visible(shown)}"), soft_wrap=True)
        for example in ledger.examples[reason]:
            name = f" ({example['id']})" if example["id"] is not None else ""
            place = f"  {example['source']} row {example['row']}{name}: {example['detail']}"
            console.print(Text(visible(place)), soft_wrap=True)
            if example["original"] is not None:  # of a duplicate
                shown = visible(example["original"][:_SHOWN])
                console.print(Text(f"    {shown}", style="dim"), soft_wrap=True)
    found = ledger.as_dict()
    dropped = ledger.rows.total() - found["rejected"]
    more = f", {dropped:,} dropped as duplicates" if dropped else ""
    text = f"{visible(ledger.output)}: {found['rejected']:,} rows rejected{more}"
    console.print(Text(text), soft_wrap=True)
