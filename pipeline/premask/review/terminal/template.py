"""What `premask template` prints: the verdict, what a run does with each kind of row, and why.

Where the template shows a turn differently than inference does, both texts are printed, one under the other,
and `^` marks where they differ.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import StringIO
from itertools import starmap, zip_longest

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ...core.text import visible
from ..argument_report import Argument
from ..capabilities import VERDICTS, Capability
from ..differences import Difference
from ..probes import WORDS
from ..template_report import Diagnosis
from .tokens import say, with_turns

SHOWN = ("two turns", "reasoning in each turn", "tool result")
"""Probes whose samples are printed."""

WIDTH, BEFORE = 78, 34
"""Columns of a text around a difference, and at most so many before it."""

PLAIN_WIDTH = 110
"""Columns of plain text, as notebooks show it."""

WORDS_SHOWN = 3
"""Words that are not printed, of which the table names so many."""

_COLOURS = {"exact": "green", "split": "green", "composed": "green", "refused": "red"}
_ALIKE = 12  # characters by which two differences are the same
_WORD = re.compile("|".join(WORDS))


def print_diagnosis(console: Console, diagnosis: Diagnosis) -> None:
    """Print what `premask template` found."""
    colour = "red" if diagnosis.is_refused else "green"
    say(console, f"verdict: {diagnosis.verdict}", f"bold {colour}")
    console.print(_about(diagnosis))
    for warning in diagnosis.warnings:
        say(console, f"warning: {warning}", "yellow")
    console.print()
    console.print(_capabilities(diagnosis.capabilities))
    verdicts = Counter(found.verdict for found in diagnosis.capabilities.values())
    counts = ", ".join(f"{verdicts[name]} {name}" for name in VERDICTS if verdicts[name])
    say(console, f"{verdicts.total()} kinds of rows: {counts}")
    _print_refusals(console, diagnosis.capabilities)
    _print_differences(console, diagnosis.capabilities)
    _print_open_reasoning(console, diagnosis)
    for name in SHOWN:
        samples = diagnosis.capabilities[name].samples
        for number, sample in enumerate(samples):
            console.print()
            part = f", sample {number + 1} of {len(samples)}" if len(samples) > 1 else ""
            say(console, f"{name}{part}; trained text is in [[ ]]:", "bold")
            console.print(with_turns(sample))


@dataclass(frozen=True, repr=False)
class PrintedDiagnosis(Diagnosis):
    """The result of a template report that prints itself, as plain text."""

    def __repr__(self) -> str:
        file = StringIO()
        print_diagnosis(Console(file=file, width=PLAIN_WIDTH, highlight=False, color_system=None), self)
        return "\n".join(line.rstrip() for line in file.getvalue().rstrip().splitlines())


def _about(diagnosis: Diagnosis) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_row("generation prompt", Text(visible(diagnosis.generation_prompt) or "none"))
    table.add_row("a turn ends with", Text(", ".join(map(visible, diagnosis.turn_ends)) or "nothing"))
    reasoning = diagnosis.reasoning
    pairs = zip_longest(reasoning.opens, reasoning.closes, fillvalue="")
    marks = ", ".join(" ... ".join(map(visible, pair)) for pair in pairs) or "no marks found"
    table.add_row("reasoning", Text(f"{marks}; the generation prompt {reasoning.prompt}"))
    arguments = ", ".join(starmap(_argument, diagnosis.arguments.items()))
    table.add_row("template arguments", Text(visible(arguments) or "none"))
    table.add_row("content as parts only", ", ".join(diagnosis.parts) or "of no role")
    for name, found in diagnosis.habits.items():
        if name != "rewrites history":  # the table shows where
            table.add_row(name, Text(visible(found)))
    return table


def _argument(name: str, found: Argument | None) -> str:
    """Return an argument, with what `auto` chooses for it and which rows a run then refuses."""
    if found is None:
        return name
    values = f"{json.dumps(found.with_reasoning)} with reasoning, {json.dumps(found.without)} without"
    refused = [probe for probe, verdict in found.verdicts.items() if verdict == "refused"]
    return f"{name} (auto: {values}{'; refused: ' if refused else ''}{', '.join(refused)})"


# ==== What a run does ====


def _capabilities(capabilities: Mapping[str, Capability]) -> Table:
    """Return the table of all probes."""
    table = Table("row with", "verdict", "", box=None, padding=(0, 2), pad_edge=False)
    for name, found in capabilities.items():
        verdict = Text(found.verdict, style=_COLOURS.get(found.verdict, "yellow"))
        table.add_row(name, verdict, Text(visible("; ".join(_notes(found)))))
    return table


def _notes(found: Capability) -> Iterator[str]:
    if found.reason:
        yield found.reason
    elif found.detail:
        yield found.detail
    if found.lost:
        more = len(found.lost) - WORDS_SHOWN
        shown = found.lost[:WORDS_SHOWN] if more > 0 else found.lost
        yield f"not printed: {', '.join(shown)}" + (f" and {more} more" if more > 0 else "")


def _print_refusals(console: Console, capabilities: Mapping[str, Capability]) -> None:
    """Print each reason once, with the probes that are refused for it."""
    groups: dict[str, tuple[str, list[str]]] = {}
    for name, found in capabilities.items():
        if found.reason:
            sentence = f"{found.reason}: {found.detail}"
            key = _WORD.sub("", re.sub(r"message \d+|'[^']*'", "", sentence))
            groups.setdefault(key, (sentence, []))[1].append(name)
    for sentence, names in groups.values():
        console.print()
        _say_wrapped(console, f"refused: {', '.join(names)}", "bold red")
        _say_wrapped(console, sentence, indent=2)


# ==== Where inference and template differ ====


def _print_differences(console: Console, capabilities: Mapping[str, Capability]) -> None:
    """Print each difference once, with the probes that have it."""
    groups: dict[tuple[str, str, bool], tuple[Difference, list[str]]] = {}
    for name, found in capabilities.items():
        if (differs := found.difference) is not None:
            prompt, shown = (_skeleton(text[differs.same :]) for text in (differs.prompt, differs.shown))
            groups.setdefault((prompt, shown, differs.history), (differs, []))[1].append(name)
    for difference, names in groups.values():
        console.print()
        what = (
            "the template shows it differently as history" if difference.history else "the template differs"
        )
        _say_wrapped(console, f"message {difference.message} of: {', '.join(names)}; {what}", "bold")
        console.print(_side_by_side(difference), soft_wrap=True)


def _skeleton(text: str) -> str:
    """Return what two differences of the same kind have in common: the start of the text, before the first
    word of the probe."""
    return _WORD.split(text.lstrip())[0][:_ALIKE]


def _side_by_side(difference: Difference) -> Text:
    """Return both texts, one under the other, with `^` under what differs."""
    same = visible(difference.prompt[: difference.same])
    before = same if cell_len(same) <= BEFORE else f"...{_last_cells(same, BEFORE - 3)}"
    labels = ("at inference", "as history" if difference.history else "template")
    shown = Text()
    longest = 0
    for label, text in zip(labels, (difference.prompt, difference.shown), strict=True):
        rest = _first_cells(visible(text[difference.same :]), WIDTH - cell_len(before))
        longest = max(longest, cell_len(rest))
        shown.append(f"  {label:<14}{before}").append(rest, style="bold").append("\n")
    return shown.append(" " * (16 + cell_len(before)) + "^" * max(longest, 1))


def _first_cells(text: str, columns: int) -> str:
    """Return as much of a text, from its start, as fits into so many columns."""
    cut = Text(text)
    cut.truncate(columns)
    return cut.plain


def _last_cells(text: str, columns: int) -> str:
    return _first_cells(text[::-1], columns)[::-1]


# ==== Open blocks of reasoning ====


def _print_open_reasoning(console: Console, diagnosis: Diagnosis) -> None:
    """Print an answer without reasoning under the settings that keep it."""
    for choice, sample in diagnosis.open_reasoning.items():
        first, last = sample.turns[0].start, sample.turns[-1].end
        asked = max((word.end() for word in _WORD.finditer(sample.text, 0, first)), default=0)
        text = Text(visible(sample.text[asked:first]))
        text.append(f"[[{visible(sample.text[first:last])}]]", style="bold")
        console.print()
        _say_wrapped(console, f"an answer without reasoning, with open_reasoning: {choice}", "bold")
        console.print(Padding(text, (0, 0, 0, 2), expand=False))


def _say_wrapped(console: Console, text: str, style: str = "", *, indent: int = 0) -> None:
    """Print a text that is wrapped on a terminal, each line with its indent; without blanks at its end."""
    console.print(Padding(Text(visible(text), style=style), (0, 0, 0, indent), expand=False))
