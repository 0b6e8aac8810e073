"""Runs on the terminal: what one will take, and what it gave; and pushes.

Names of files and what the data holds are shown as text and nothing else (`terminal/tokens.say`).
"""

from __future__ import annotations

import glob
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...core.contract import REASONS, SIDES
from ...core.display import duration, file_size, percent
from ...core.text import visible
from ...output.upload import load_line
from ...publish.charts import roles_of
from ...publish.mask_counts import PROOF_WORDS, many, mask_notes
from ...publish.mixture_words import mixture_lines
from .tokens import say

if TYPE_CHECKING:  # each is loaded by its own command
    from ...output.sending import PushResult
    from ...running.forecast import Forecast
    from ...running.ranks import SliceResult
    from ...running.run import RunResult

# ==== Progress of a push ====


class PushLines:
    """Progress of a push: a plain line every few seconds, for terminals and logs alike."""

    def __init__(self, console: Console, *, every_s: float = 5.0) -> None:
        self._console, self._every, self._last = console, every_s, time.monotonic()

    def __call__(self, files: int, of_files: int, sent: int, of_sent: int) -> None:
        """Show how many files and bytes were sent, and of how many."""
        if time.monotonic() - self._last >= self._every:
            self._last = time.monotonic()
            self._console.print(
                f"sent {files:,} of {of_files:,} files, {file_size(sent)} of {file_size(of_sent)}"
            )


# ==== Before a run ====

_UNITS_SHOWN = 10


def print_forecast(console: Console, found: Forecast) -> None:
    """What a run will take, for a person."""
    sample, about = found.sample, "" if found.rows_counted else "about "
    table = Table.grid(padding=(0, 2))
    table.add_row("rows", f"{about}{found.rows:,}")
    tokens = f"{'' if found.is_exact else 'about '}{found.tokens:,}, packs about {found.packs:,}"
    table.add_row("tokens", tokens)
    kept = f"{sample.kept:,} of them kept, {sample.tokens:,} tokens"
    left_out = sample.left_out.get("keep", 0)
    kept += f", {left_out:,} left out by keep" if left_out else ""
    drawn = "all rows" if found.is_exact else f"{sample.rows:,} rows drawn by the seed"
    table.add_row("", f"from {drawn}: {kept}")
    for name, text in mixture_lines(found.mixture):
        table.add_row(name, Text(visible(text)))
    table.add_row("units", f"{len(found.units):,}")
    for number, unit in enumerate(found.units[:_UNITS_SHOWN]):
        rows = "?" if unit.rows is None else f"{unit.rows:,}"
        table.add_row("", f"{number}: {rows} rows, {file_size(unit.bytes)}, about {unit.tokens:,} tokens")
    if len(found.units) > _UNITS_SHOWN:
        table.add_row("", f"and {len(found.units) - _UNITS_SHOWN:,} more")
    speed = sample.timed_tokens / max(sample.seconds, 1e-9)
    table.add_row("time", f"{speed:,.0f} tokens a second and core, measured on the sample here")
    for workers, seconds in found.seconds.items():
        table.add_row("", f"{workers} worker{'s' if workers > 1 else ''}: {duration(seconds)}")
    table.add_row("memory", f"about {file_size(found.worker_bytes)} a worker")
    free = "; no output is named, so free space is not checked"
    if found.free_bytes is not None:
        free = f", {file_size(found.free_bytes)} are free there"
    table.add_row("disk", f"{file_size(found.disk_bytes)} while it runs{free}")
    table.add_row("output", f"{file_size(found.output_bytes)} in {found.files:,} files")
    for text in found.hub or ["within what the Hub recommends"]:
        table.add_row("Hub", visible(text))
    console.print(table, markup=False)
    for text in found.warnings:
        say(console, f"warning: {text}", "yellow")


# ==== After a run ====


def print_slice(console: Console, result: SliceResult) -> None:
    """Print what a rank did."""
    if not result.fresh:
        say(console, f"{result.output} already holds this recipe's output; nothing to do")
        return
    what = result.output if isinstance(result.output, Path) else "RECIPE"
    say(
        console,
        f"{result.share}: {result.units:,} units done, {result.rows:,} rows, {result.tokens:,} tokens in "
        f"{result.seconds:.1f} s; when all ranks are done: premask finish {what}",
    )


def print_summary(console: Console, result: RunResult) -> None:
    """Print what a run gave."""
    counts, recipe = result.manifest["counts"], result.manifest["recipe"]
    if not result.fresh:
        say(console, f"{result.output} already holds this recipe's output; nothing to do")
    table = Table.grid(padding=(0, 2))
    for name, text in _rows(counts):
        table.add_row(name, text)
    mixture = result.manifest.get("mixture")
    table.add_row("samples", "\n".join(_samples(counts, recipe, mixture)))
    trained = f"{counts['trained_tokens']:,} ({percent(counts['trained_tokens'], counts['tokens'])})"
    table.add_row("tokens", f"{counts['tokens']:,}, of which {trained} are trained")
    table.add_row("", _by_role(counts))
    if counts["packs"]:
        room = f"{counts['packs']:,} of at most {recipe['max_length']:,} tokens"
        table.add_row("packs", f"{room}, {percent(counts['fill'], 1, 2)} full")
    for name, text in mixture_lines(mixture):
        table.add_row(name, Text(visible(text)))
    for name, split in counts["splits"].items() if len(counts["splits"]) > 1 else ():
        each = f"{split['samples']:,} samples, {split['tokens']:,} tokens, {split['packs']:,} packs"
        table.add_row(name, each)
    if result.rows_from_cache is not None:
        cached = f"{result.rows_from_cache:,} of {counts['rows']:,} rows"
        table.add_row("cache", f"{cached} were tokenized by an earlier run")
    table.add_row("time", f"{result.seconds:.1f} s")
    table.add_row("output", Text(visible(str(result.output))))
    console.print(table)
    say(console, f"load it with:  {_load_line(result)}")


def _load_line(result: RunResult) -> str:
    """Python that loads the output."""
    if not isinstance(result.output, Path):
        return load_line(result.manifest["recipe"]["layout"][0], result.output)
    layout, whole = result.manifest["recipe"]["layout"][0], str(result.output.absolute())
    if glob.has_magic(whole):  # `datasets` takes the name of a folder for a pattern
        files = _quoted(f"{glob.escape(whole)}/{layout}/train-*.parquet")
        return (
            f'from datasets import load_dataset; load_dataset("parquet", data_files={files}, split="train")'
        )
    path = _quoted(str(result.output))
    return f'from datasets import load_dataset; load_dataset({path}, "{layout}", split="train")'


def _quoted(path: str) -> str:
    return json.dumps(path, ensure_ascii=False)


def _rows(counts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What became of the rows: a sum, the reasons of rejected rows, and duplicates that were kept."""
    terms = [f"{counts['kept']:,} kept", f"{counts['rejected']:,} rejected"]
    terms += [f"{counts['dropped']:,} duplicates"] if counts["dropped"] else []
    terms += [f"{count:,} left out by {name}" for name, count in sorted(counts["left_out"].items())]
    found = [("rows", f"{counts['rows']:,} in = {' + '.join(terms)}")]
    reasons = sorted(counts["rejected_by_reason"].items(), key=lambda item: (-item[1], item[0]))
    found += [("", f"{count:,} {reason}: {REASONS[reason]}") for reason, count in reasons]
    if counts["duplicates"] and not counts["dropped"]:
        found.append(("", f"({counts['duplicates']:,} of them are duplicates of earlier rows)"))
    return found


def _samples(
    counts: Mapping[str, Any], recipe: Mapping[str, Any], mixture: Mapping[str, Any] | None
) -> list[str]:
    """How many samples there are, and in what they differ from the rows."""
    found = [f"{counts['samples']:,}"]
    more = counts["samples"] - counts["kept"]
    if more > 0:
        own = [each for each in recipe["sources"] if isinstance(each, dict)]
        upsampled = mixture["sources"] if mixture else ()
        why = {
            "turns that inference renders differently": _has_own_texts(counts.get("samples_by_proof", {})),
            "parts of long samples": "too_long_split" in counts,
            "both sides of pairs": not SIDES.keys().isdisjoint(recipe["layout"]),
            "upsampled rows": any((each.get("repeat") or 1) > 1 for each in [*own, *upsampled]),
            "rows that a function made of one": bool(recipe.get("map") or any("map" in each for each in own)),
        }
        found.append(f"({more:,} more than rows: {', '.join(what for what, so in why.items() if so)})")
    if straddling := counts.get("straddling_tokens"):
        found.append(f"({straddling:,} tokens cross the edge of a turn and are not trained)")
    if seams := counts.get("seam_tokens"):
        found.append(
            f"({seams:,} edges of completions lie inside a token of the whole text; {_seam(recipe)})"
        )
    if cut := counts.get("tokens_cut_off"):
        found.append(f"({cut:,} tokens beyond max_length were cut off)")
    if control := counts.get("control_tokens_in_content"):
        what = many(control, "control-token string is", "control-token strings are")
        found.append(f"({what} in content)")
    if beside := counts.get("samples_beside_own_row"):
        found.append(f"({beside:,} share a pack with another sample of their row: no other place was found)")
    if composed := counts.get("samples_by_proof", {}).get("composed"):
        found.append(f"({many(composed, 'is', 'are')} {PROOF_WORDS['composed'].partition(';')[0]})")
    return [*found, *(f"({note})" for note in mask_notes(recipe, counts))]


def _has_own_texts(proofs: Mapping[str, int]) -> bool:
    """Whether some turns have a text of their own."""
    return not proofs.keys().isdisjoint({"split", "composed", "as-rendered"})


def _seam(recipe: Mapping[str, Any]) -> str:
    """Return which ids such tokens have."""
    if recipe.get("seam") == "template":
        return "these tokens are kept and not trained"
    return "both sides are encoded apart, as at inference"


def _by_role(counts: Mapping[str, Any]) -> Table:
    """Tokens by who wrote them; of the template's, turn ends are trained."""
    table = Table("written by", "tokens", "share", "trained", "of them", box=None, padding=(0, 2))
    whole = sum(counts.get("tokens_by_role", {}).values())
    for each in roles_of(counts):
        tokens, trained = each["tokens"], each["trained_tokens"]
        shares = (percent(tokens, whole), percent(trained, tokens))
        table.add_row(each["role"], f"{tokens:,}", shares[0], f"{trained:,}", shares[1])
    return table


def print_push(console: Console, result: PushResult) -> None:
    """Print what a push did."""
    if not result.changed:
        say(console, f"{result.where} already holds this output; nothing was sent")
    else:
        kept = f"{result.kept:,} files, {file_size(result.kept_bytes)}, were there already"
        removed = f"; {len(result.removed):,} old ones removed" if result.removed else ""
        sent = f"{result.sent:,} files, {file_size(result.sent_bytes)}; {kept}{removed}"
        say(console, f"pushed to {result.where}: {sent}")
    if result.commit:
        say(console, f"commit:  {result.commit}")
    say(console, f"load it with:  {result.load}")
