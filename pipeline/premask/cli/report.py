"""`premask report`: an output as one HTML page, or as a page that a local server fills."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import PATH, argument, command, option

if TYPE_CHECKING:
    from ..review.report.serving.server import Server


@command("premask report out/chats --open", "premask report out/chats --serve --open")
@argument("output", "OUT_OR_REPO", "Output directory, or name on the Hub (org/name).")
@option("--revision", metavar="REVISION", help="Branch, tag or commit on the Hub.")
@option("--to", type=PATH, metavar="FILE", help="File to write, instead of OUT/report.html.")
@option("--open", "open_", is_flag=True, help="Show it in the browser.")
@option("--serve", "serve_", is_flag=True, help="Serve all rows to a browser on this machine, until Ctrl-C.")
@option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    metavar="N",
    help="Port of --serve; 0: one that is free.",
)
def report(
    output: str, revision: str | None, to: Path | None, port: int, *, open_: bool, serve_: bool
) -> None:
    """Write an output as one HTML page: conversations token by token, packs, charts, rejects."""
    from ..review.locate import locate

    if serve_ and to is not None:
        raise click.UsageError("--serve writes no file; leave --to out")
    if port and not serve_:
        raise click.UsageError("--port is for --serve")
    out = locate(output, revision)
    if serve_:
        _serve(out, port, open_=open_)
    else:
        _write(out, to or _target(output, out), open_=open_)


def _target(output: str, out: Path) -> Path:
    """The file of a report that names none: beside the output, or here if that is in a cache."""
    from ..review.report.page import default_path

    return default_path(out) if Path(output) == out else Path(f"{Path(output).name}-report.html")


def _write(out: Path, target: Path, *, open_: bool) -> None:
    from ..core.display import file_size
    from ..review.report.page import write_report
    from .printing import print_line

    made = write_report(out, target)
    for note in made.notes:
        print_line(f"note: {note}")
    shown = f"{made.shown:,} of {made.samples:,} samples, {file_size(made.size)}"
    print_line(f"report:  {made.path}  ({shown})")
    if open_:
        click.launch(made.path.resolve().as_uri())


def _serve(out: Path, port: int, *, open_: bool) -> None:
    from ..review.report.serving.serve import serve
    from .printing import print_line

    def ready(server: Server) -> None:
        print_line(f"report:  {server.address}  (for this machine; Ctrl-C ends it)")
        if open_:
            click.launch(server.entrance)

    serve(out, port, ready)
