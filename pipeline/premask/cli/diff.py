"""`premask diff`: two outputs compared."""

from __future__ import annotations

import sys
from pathlib import Path

from .options import PATH, argument, command, format_option, option


@command("premask diff out/before out/after", "premask diff out/before out/after --html diff.html")
@argument("before", "OUT1", "Output directory.", type=PATH)
@argument("after", "OUT2", "Output directory to compare it with.", type=PATH)
@option("--html", type=PATH, metavar="FILE", help="HTML page to write, with changed samples side by side.")
@format_option()
def diff(before: Path, after: Path, html: Path | None, form: str) -> None:
    """Compare the rows, tokens and masks of two outputs; exit code 1 if they differ."""
    from ..output.own_page import DIFFERENCE, check_page, write_page
    from ..review.diff import compare
    from ..review.terminal.outputs import print_difference
    from .printing import print_json, print_line, table_console

    if html is not None:
        check_page(html, DIFFERENCE)
    found = compare(before, after)
    if html is not None:
        write_page(html, found.html_page(), DIFFERENCE)
    if form == "json":
        print_json(found.as_dict())
    else:
        print_difference(table_console(), found)
        if html is not None:
            print_line(f"page:    {html}")
    sys.exit(0 if found.equal else 1)
