"""`premask diff`: two outputs compared."""

from __future__ import annotations

import sys
from pathlib import Path

from .options import PATH, argument, command, format_option


@command("premask diff out/before out/after")
@argument("before", "OUT1", "Output directory.", type=PATH)
@argument("after", "OUT2", "Output directory to compare it with.", type=PATH)
@format_option()
def diff(before: Path, after: Path, form: str) -> None:
    """Compare the rows, tokens and masks of two outputs; exit code 1 if they differ."""
    from ..review.diff import compare
    from ..review.terminal_outputs import print_difference
    from .printing import print_json, table_console

    found = compare(before, after)
    if form == "json":
        print_json(found.as_dict())
    else:
        print_difference(table_console(), found)
    sys.exit(0 if found.equal else 1)
