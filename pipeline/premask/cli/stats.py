"""`premask stats`: an output in figures."""

from __future__ import annotations

from pathlib import Path

from .options import PATH, argument, command, format_option


@command("premask stats out/chats", "premask stats out/chats --format json")
@argument("output", "OUT", "Output directory.", type=PATH)
@format_option()
def stats(output: Path, form: str) -> None:
    """Count an output: rows, tokens, trained share by source, split, role; lengths, packs, rejects."""
    from ..review.stats import measure
    from ..review.terminal.outputs import print_stats
    from .printing import print_json, table_console

    figures = measure(output)
    if form == "json":
        print_json(figures)
    else:
        print_stats(table_console(), figures)
