"""What `run` and `finish` say of a finished output."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.console import Console

from ..core.text import visible
from ..review.terminal.runs import print_summary
from .printing import table_console

if TYPE_CHECKING:
    from ..running.run import RunResult


def print_result(result: RunResult) -> None:
    """Print the warnings of a run on stderr, and its summary on stdout."""
    console = Console(stderr=True, highlight=False)
    for warning in result.warnings:
        console.print(f"warning: {visible(warning)}", style="yellow", markup=False, soft_wrap=True)
    print_summary(table_console(), result)


def fail_if_skipped(result: RunResult) -> None:
    """Exit with code 1 if rows were skipped, so that the exit code shows it and nothing is pushed."""
    if result.skipped_rows:
        sys.exit(1)
