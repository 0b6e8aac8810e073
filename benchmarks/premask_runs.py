"""premask as a contender: the recipe of all benchmarks, and runs of it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common import HERE, Finished, fresh, measure
from kinds import KINDS, template


def recipe(kind: str, data: Path, output: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return the recipe of all benchmarks: defaults, and long rows cut off, because peers do that."""
    given: str | None = options.chat_template
    return {
        "sources": [str(data)],
        "tokenizer": str(options.tokenizer),
        "chat_template": template(given, given) if given else KINDS[kind].template(),
        "max_length": KINDS[kind].max_length,
        "too_long": "truncate",
        "output": str(output),
    }


def run_warm(values: Mapping[str, Any], workers: int) -> Finished:
    """Run a recipe in a process that is warm; the report tells start-up and work apart."""
    fresh(Path(values["output"]))
    script = HERE / "contender_premask.py"
    return measure([sys.executable, script, json.dumps(values), "--workers", str(workers)])


def command() -> list[str]:
    """Return the words that start premask: the installed command where there is one."""
    installed = Path(sys.executable).with_name("premask")
    return [str(installed)] if installed.is_file() else [sys.executable, "-m", "premask"]


def run_command(values: Mapping[str, Any], workers: int, *, env: Mapping[str, str] | None = None) -> Finished:
    """Run a recipe as users do: the command `premask run`, all of it."""
    fresh(Path(values["output"]))
    flags = [
        word
        for key, value in values.items()
        if key != "sources"
        for word in (f"--{key.replace('_', '-')}", str(value))
    ]
    return measure([*command(), "run", *values["sources"], *flags, "--workers", str(workers)], env=env)
