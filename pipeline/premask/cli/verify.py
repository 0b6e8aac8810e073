"""`premask verify`: whether a finished output is what it says."""

from __future__ import annotations

import sys

from .options import argument, command, format_option, option


@command(
    "premask verify out/chats --full",
    "premask verify org/name --revision v1",
)
@argument("output", "OUT_OR_REPO", "Output directory, or name on the Hub (org/name).")
@option("--revision", metavar="REVISION", help="Branch, tag or commit on the Hub.")
@option("--full", is_flag=True, help="Redo all rows whose sources are here, not just those of 16 packs.")
@format_option()
def verify(output: str, revision: str | None, form: str, *, full: bool) -> None:
    """Check a finished output: files, rows, lineage, counts; exit code 1 if something is wrong."""
    from ..review.terminal.outputs import print_report
    from ..review.verify import verify as verify_output
    from ..tokens.transformers_library import leave_torch_out
    from .printing import print_json, table_console

    leave_torch_out()
    report = verify_output(output, revision=revision, full=full)
    if form == "json":
        print_json(report.as_dict())
    else:
        print_report(table_console(), report)
    sys.exit(0 if report.ok else 1)
