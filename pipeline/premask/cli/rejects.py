"""`premask rejects`: the rows that a run rejected."""

from __future__ import annotations

from pathlib import Path

import click

from ..core.defaults import EXAMPLES
from .options import PATH, argument, command, format_option, option


@command(
    "premask rejects out/chats",
    "premask rejects out/chats --reason too_long --export long.jsonl",
)
@argument("output", "OUT", "Output directory.", type=PATH)
@option("--reason", metavar="REASON", help="Only rows rejected for this reason.")
@option("--source", metavar="FILE", help="Only rows of this file.")
@option("--limit", type=click.IntRange(min=0), default=EXAMPLES, metavar="N", help="Examples of each reason.")
@option(
    "--export",
    type=PATH,
    metavar="FILE.jsonl",
    help="Write the rows there as they were, to be fixed and fed back.",
)
@format_option()
def rejects(
    output: Path, reason: str | None, source: str | None, limit: int, export: Path | None, form: str
) -> None:
    """Show the rows that a run rejected, by reason, or write them out to be fixed."""
    from ..review.rejects import export_rejects, read_reject_log
    from ..review.terminal.outputs import print_rejects
    from .printing import print_json, print_line, table_console

    if export is not None:
        count = export_rejects(output, export, reason=reason, source=source)
        if form == "json":
            print_json({"output": str(output), "rows": count, "file": str(export)})
        else:
            print_line(f"{count:,} rows in {export}")
        return
    found = read_reject_log(output, reason=reason, source=source, limit=limit)
    if form == "json":
        print_json(found.as_dict())
    else:
        print_rejects(table_console(), found)
