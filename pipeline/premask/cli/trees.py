"""`premask trees`: single messages -> message trees."""

from __future__ import annotations

from pathlib import Path

from .options import PATH, argument, command


@command("premask trees messages.parquet trees.jsonl")
@argument("sources", "FILES...", "Files of single messages.", nargs=-1, required=True)
@argument("target", "TREES.jsonl", "File to write; must not exist.", type=PATH)
def trees(sources: tuple[str, ...], target: Path) -> None:
    """Make message trees of single messages that name their parents, one tree a line."""
    from ..sources.message_trees import make_trees
    from .printing import print_line

    done = make_trees([*sources], target)
    text = f"{done.rows:,} rows: {done.trees:,} trees, {done.orphans:,} messages without their parent"
    print_line(f"{text}, {done.others:,} other rows, in {target}")
