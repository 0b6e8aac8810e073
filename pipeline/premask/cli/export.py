"""`premask export`: an output in another form."""

from __future__ import annotations

from pathlib import Path

import click

from ..core.defaults import FORMS
from ..core.recipe import Layout
from .options import PATH, argument, command, option


@command(
    "premask export out/chats chats.jsonl --format jsonl",
    "premask export out/chats out/arrow --layout unpacked",
)
@argument("output", "OUT", "Output directory.", type=PATH)
@argument("target", "TARGET", "File or folder to write; must not exist.", type=PATH)
@option(
    "--format",
    "form",
    type=click.Choice(FORMS),
    default="arrow",
    help="arrow: a folder for load_from_disk; jsonl: a file.",
)
@option(
    "--layout",
    type=click.Choice([each.value for each in Layout]),
    help="Layout to export; unless given, packed if it was written.",
)
@option("--columns", metavar="NAMES", help="Columns with commas, in this order, instead of all.")
@option("--split", metavar="NAME", help="The split to write, instead of all (for a file, of the only one).")
def export(
    output: Path, target: Path, form: str, layout: str | None, columns: str | None, split: str | None
) -> None:
    """Write an output in another form: Arrow as datasets saves it to disk, or JSONL."""
    from ..publish.export import export as export_output
    from .printing import print_line

    names = None if columns is None else [name.strip() for name in columns.split(",") if name.strip()]
    done = export_output(output, target, form=form, layout=layout, columns=names, split=split)
    text = f"{done.rows:,} rows, {done.tokens:,} tokens ({done.layout}: {', '.join(done.columns)})"
    print_line(f"{text} in {target}")
