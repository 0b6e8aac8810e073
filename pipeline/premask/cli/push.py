"""`premask push`: an output to the Hub or to a store."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import RecipeError
from .options import PATH, PRIVATE, argument, command, option

if TYPE_CHECKING:
    from ..output.sending import PushResult
    from ..publish.push_hub import HubTarget
    from ..review.terminal.runs import PushLines


@command(
    "premask push out/chats org/name --private --tag v1",
    "premask push out/chats s3://bucket/chats",
)
@argument("output", "OUT", "Output directory of premask run.", type=PATH)
@argument("target", "TARGET", "org/name on the Hub, or a URL such as s3://bucket/folder.")
@PRIVATE
@option("--revision", metavar="BRANCH", help="Branch of the repo; created if missing.")
@option("--tag", metavar="TAG", help="Tag to set on the commit.")
@option("--content-revision", is_flag=True, help="Push to a branch (or folder) named by the run key.")
@option("--with-rejects", is_flag=True, help="Push the reject log, too: the rejected rows themselves.")
@option("--overwrite", is_flag=True, help="Push to a place with data that premask has not pushed.")
def push(
    output: Path, target: str, revision: str | None, tag: str | None,
    *, private: bool, content_revision: bool, with_rejects: bool, overwrite: bool,
) -> None:  # fmt: skip
    """Push a finished output to the Hugging Face Hub, or to a store such as S3."""
    from ..publish.push_hub import HubTarget, parse_repo_id
    from ..publish.push_store import push_to_store
    from .printing import print_line

    if page := re.match(r"https?://(?:www\.)?huggingface\.co/(?:datasets/)?([\w.-]+/[\w.-]+)", target):
        raise RecipeError(f"{target} is the page of a repo; write its name: {page[1]}")
    if "://" not in target or target.startswith("hf://"):
        repo = parse_repo_id(target)
        target_repo = HubTarget(repo, private, revision, tag, content_revision, overwrite, with_rejects)
        push_to_repo(output, target_repo)
        return
    wrong = {"--private": private, "--revision": revision, "--tag": tag}
    if given := [name for name, value in wrong.items() if value]:
        raise RecipeError(f"{given[0]} is for the Hub; {target} is a store, which has no such thing")
    result = push_to_store(
        output,
        target,
        content_revision=content_revision,
        overwrite=overwrite,
        with_rejects=with_rejects,
        report=_lines(),
        say=lambda line: print_line(f"note: {line}", error=True),
    )
    _print_pushed(result)


def push_to_repo(output: Path, target: HubTarget) -> None:
    """Push an output to a repo of the Hub, and print what was done."""
    from ..publish.push_hub import push_to_hub

    _print_pushed(push_to_hub(output, target, report=_lines()))


def _lines() -> PushLines:
    from rich.console import Console

    from ..review.terminal.runs import PushLines

    return PushLines(Console(stderr=True, highlight=False))


def _print_pushed(result: PushResult) -> None:
    from ..review.terminal.runs import print_push
    from .printing import print_line, table_console

    for note in result.notes:
        print_line(f"note: {note}", error=True)
    print_push(table_console(), result)
