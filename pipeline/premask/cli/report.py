"""`premask report`: an output as one HTML page."""

from __future__ import annotations

from pathlib import Path

import click

from .options import PATH, argument, command, option


@command("premask report out/chats --open")
@argument("output", "OUT", "Output directory.", type=PATH)
@option("--to", type=PATH, metavar="FILE", help="File to write, instead of OUT/report.html.")
@option("--open", "open_", is_flag=True, help="Show it in the browser.")
def report(output: Path, to: Path | None, *, open_: bool) -> None:
    """Write an output as one HTML page: conversations token by token, packs, charts, rejects."""
    from ..core.display import file_size
    from ..review.report.page import default_path, write_report
    from .printing import print_line

    made = write_report(output, to or default_path(output))
    for note in made.notes:
        print_line(f"note: {note}")
    shown = f"{made.shown:,} of {made.samples:,} samples, {file_size(made.size)}"
    print_line(f"report:  {made.path}  ({shown})")
    if open_:
        click.launch(made.path.resolve().as_uri())
