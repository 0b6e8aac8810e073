"""How commands print: a table for people, JSON for programs, one line of a result."""

from __future__ import annotations

import json
import sys
from typing import Any

import click
from rich.console import Console

from ..core.text import visible

_NO_TERMINAL = 100_000  # columns: no line of a file or a pipe is broken


def table_console() -> Console:
    """Return a console on stdout for tables and texts; numbers in it are not coloured on their own. Lines
    are broken on a terminal only."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else _NO_TERMINAL)


def print_json(value: Any) -> None:
    """Print one line of JSON, in UTF-8 whatever the locale is; lone surrogates become JSON escapes."""
    click.echo(json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace"))


def print_line(text: str, *, error: bool = False) -> None:
    """Print a line as it is, on stdout or stderr, however wide the terminal is."""
    Console(stderr=error, highlight=False).print(visible(text), markup=False, soft_wrap=True)
