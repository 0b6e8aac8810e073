"""One table: the mask of every template of the shared folder on every kind of conversation.

    python tests/support/mask_table.py                             the whole table
    python tests/support/mask_table.py --templates '*gpt-oss*' --kind tools --list wrong
    python tests/support/mask_table.py --list unexplained          refusals that the oracle sees no reason for

Rows are kinds. `exact`, `split` and `composed` are right masks; `refused` by reason; `wrong` and `lost` (words
lost in silence) must be 0. Rows refused for a reason that a setting answers are tried with that setting as
well: a second table has these.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from multiprocessing import get_context
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

from conversation_kinds import KINDS
from mask_survey import Result, survey
from template_corpus import CORPUS, compiles

KEPT = ("exact", "split", "composed", "behind")
BAD = ("wrong", "lost")
SYMPTOMS = {
    "W1 prompt is not the text before": ("its prompt is not the text before it",),
    "W2 never trained": ("never trains",),
    "W3 reasoning behind a closed block": ("reasoning behind a closed block",),
    "W4 closes a block that is not open": ("closes a block that is not open",),
    "W5 trains the header": ("of the header",),
    "W6 lost in silence": ("lost in silence",),
    "W7 trains what is marked": ("marked as not to be trained",),
    "answer inside an open block": ("an answer inside an open block",),
}
"""What is wrong, by the findings of the second generation."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; the status is 1 if any mask is wrong or any word lost in silence."""
    options = _options(arguments)
    kinds = tuple(kind for kind in KINDS if not options.kind or any(fnmatch(kind, k) for k in options.kind))
    files = [file for file in CORPUS if fnmatch(file, options.templates)]
    results = list(results_of(files, kinds, options.processes))
    print(table(results, kinds))
    print(settings_table(results))
    print(symptoms(results))
    if options.list:
        print(listed(results, options.list))
    if options.csv:
        write_csv(Path(options.csv), results)
    return int(any(result.outcome in BAD for result in results))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Masks of all templates on all kinds of conversation.")
    parser.add_argument("--templates", default="*", metavar="GLOB", help="templates by file name")
    parser.add_argument("--kind", action="append", default=[], metavar="NAME", help="a kind; may be repeated")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--list", choices=["unexplained", "refused", *KEPT, *BAD], help="print these cases")
    parser.add_argument("--csv", metavar="FILE", help="write every case")
    return parser.parse_args(arguments)


def results_of(files: Sequence[str], kinds: tuple[str, ...], processes: int) -> Iterable[Result]:
    """All results, in the order of the templates."""
    tasks = [(file, kinds) for file in files]
    if processes <= 1:
        yield from (result for task in tasks for result in _survey(task))
        return
    with get_context("spawn").Pool(processes) as pool:
        for results in pool.imap(_survey, tasks, chunksize=4):
            yield from results


def _survey(task: tuple[str, tuple[str, ...]]) -> tuple[Result, ...]:
    file, kinds = task
    return survey(file, kinds) if compiles(file) else ()


# ==== Tables ====


def table(results: Sequence[Result], kinds: Sequence[str]) -> str:
    """A row a kind: how many templates give a right mask, by proof, are refused, by reason, or are wrong."""
    first = [result for result in results if not result.setting]
    counts = Counter((result.kind, _column(result)) for result in first)
    reasons = Counter(result.reason for result in first if result.reason)
    columns = [*KEPT[:3], *(reason for reason, _ in reasons.most_common()), "unexplained", *BAD]
    unexplained = Counter(result.kind for result in first if result.views == "unexplained")
    counts.update({(kind, "unexplained"): count for kind, count in unexplained.items()})
    lines = [_line("conversation", [*columns, "all"], columns)]
    for kind in kinds:
        total = sum(result.kind == kind for result in first)
        lines.append(_line(kind, [*(counts[kind, column] for column in columns), total], columns))
    totals = [sum(counts[kind, column] for kind in kinds) for column in columns]
    lines.append(_line("all", [*totals, len(first)], columns))
    return "\n".join(["By the defaults", *lines, ""])


def settings_table(results: Sequence[Result]) -> str:
    """What becomes of rows that were refused, with the setting that answers the reason."""
    columns = [*KEPT, "refused", *BAD]
    counts = Counter((result.setting, result.outcome) for result in results if result.setting)
    settings = dict.fromkeys(setting for setting, _ in counts)
    lines = [_line("refused rows again, with", [*columns, "all"], columns)]
    for setting in settings:
        own = [counts[setting, column] for column in columns]
        lines.append(_line(setting, [*own, sum(own)], columns))
    return "\n".join([*lines, ""]) if settings else ""


def symptoms(results: Sequence[Result]) -> str:
    """What is wrong or lost, by finding: cases and templates."""
    bad = [result for result in results if result.outcome in BAD]
    lines = []
    for name, texts in SYMPTOMS.items():
        own = [result for result in bad if any(text in result.detail for text in texts)]
        lines.append(f"{len(own):7} cases  {len({r.file for r in own}):4} templates  {name}")
    return "\n".join(["Wrong or lost, by finding", *lines, ""])


def _column(result: Result) -> str:
    return result.reason if result.outcome == "refused" else result.outcome


def _line(name: str, cells: Sequence[object], columns: Sequence[str]) -> str:
    widths = [max(7, len(column) + 1) for column in (*columns, "all")]
    return f"{name:40}" + "".join(f"{cell!s:>{width}}" for cell, width in zip(cells, widths, strict=True))


def listed(results: Sequence[Result], which: str) -> str:
    """The cases of one outcome, or the refusals without a reason."""
    return "\n".join(
        f"{r.file} | {r.kind} | {r.setting or 'defaults'} | {r.reason or r.outcome} | {r.views} | {r.detail}"
        for r in results
        if which in (r.outcome, r.views)
    )


def write_csv(path: Path, results: Sequence[Result]) -> None:
    """Write every case as a line."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(Result._fields)
        writer.writerows(results)


if __name__ == "__main__":
    sys.exit(main())
