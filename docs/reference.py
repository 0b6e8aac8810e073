"""The page `commands.md`, written from the commands: their arguments, options, defaults and examples.

    python docs/reference.py        # or: make reference

`tests/test_docs.py` compares the page with what this script writes.
"""

from __future__ import annotations

import argparse
import html
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import click
from premask.cli import app as cli

PAGE = Path(__file__).with_name("commands.md")
HEAD = """\
# Commands

This page is written from the code. `premask COMMAND --help` shows the same on a terminal. An option that is
a key of a recipe has its full description in [Recipe](recipe.md#keys).
"""
OWN_PAGE = "It has a page of its own: [Train](train.md)."


def page() -> str:
    """The whole page."""
    context = click.Context(cli.app, info_name="premask")
    rows = []
    for title, names in cli.GROUPS.items():
        rows += [
            f"| **{title}** | |",
            *(f"| [`{name}`](#{name}) | {_cell(cli.COMMANDS[name])} |" for name in names),
        ]
    table = "\n".join(["| command | what it does |", "|---|---|", *rows])
    listed = [name for names in cli.GROUPS.values() for name in names]
    sections = [_section(name, cli.app.get_command(context, name)) for name in listed]
    return "\n".join([HEAD, f"{table}\n", *sections])


def _section(name: str, command: Any) -> str:
    if name == "train":  # its options are those of a script that needs torch
        return f"## {name}\n\n{_cell(cli.COMMANDS[name])} {OWN_PAGE}\n"
    context = click.Context(command, info_name=f"premask {name}")
    usage = " ".join([context.info_name or "", *command.collect_usage_pieces(context)])
    examples = "\n".join(getattr(command, "examples", None) or [command.example])
    parts = [f"## {name}", _text(command.help), f"```text\n{usage}\n```", f"```sh\n{examples}\n```"]
    for title, records in _groups(command, context).items():
        head = "argument" if title == "Arguments" else "option"
        rows = [f"| `{_code(names)}` | {_cell(text)} |" for names, text in records]
        parts.append("\n".join([f"**{title}**\n", f"| {head} | what it does |", "|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def _groups(command: Any, context: click.Context) -> dict[str, list[tuple[str, str]]]:
    """The arguments and options by the groups of the help, `--help` left out."""
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for param in command.get_params(context):
        if isinstance(param, click.Argument):
            found["Arguments"].append((param.human_readable_name, getattr(param, "description", "")))
        elif "--help" not in param.opts and (record := param.get_help_record(context)):
            found[getattr(param, "group", "Options")].append(record)
    if "Options" in found:
        found["Options"] = found.pop("Options")  # the last one
    return found


def _text(text: str | None) -> str:
    """A help text as Markdown: its paragraphs, with the code of commands as code."""
    paragraphs = (text or "").split("\n\n")
    return "\n\n".join(re.sub(r"\s+", " ", each).strip() for each in paragraphs)


def _code(names: str) -> str:
    return names.replace("|", "\\|")


def _cell(text: str) -> str:
    """A text in a cell of a table."""
    plain = html.escape(re.sub(r"\s+", " ", text).strip(), quote=False)
    return re.sub(r"([|*_\[\]{}`])", r"\\\1", plain)


def main() -> None:
    """Write the page."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
