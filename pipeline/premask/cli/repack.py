"""`premask repack`: the samples of an output, packed anew without tokenizing."""

from __future__ import annotations

from pathlib import Path

import click

from ..core.defaults import ATTEMPTS
from ..core.recipe import REPACK_KEYS
from .options import OVERWRITE, WORK, argument, command, option, workers_option
from .recipe_options import Flags, keys_of, recipe_options


@command(
    "premask repack out/chats --max-length 32k --output out/chats-32k",
    "premask repack out/chats --layout unpacked --output out/unpacked",
)
@argument("source", "OUT", "Output directory whose samples are packed again.")
@recipe_options(*REPACK_KEYS, needed=("output",), defaults=False)
@workers_option()
@option(
    "--attempts",
    type=click.IntRange(min=1),
    default=ATTEMPTS,
    metavar="N",
    help="How often a unit may fail.",
)
@WORK
@OVERWRITE
def repack(
    source: str, flags: Flags, *, workers: int, attempts: int, work: Path | None, overwrite: bool
) -> None:
    """Pack the samples of an output again, without tokenizing: other length, layout, order.

    Keys that are not given are those of the output; --pad-to-multiple none takes that padding away. Needs no
    sources.
    """
    from rich.console import Console

    from ..review.terminal.progress import BarProgress, LineProgress
    from ..running.repack import repack as repack_output
    from ..running.runners.process import prepare_process
    from ..tokens.transformers_library import leave_torch_out
    from .results import print_result
    from .run import core_count

    keys = keys_of(flags)
    if keys.get("pad_to_multiple") == "none":
        keys["pad_to_multiple"] = None
    if "output" not in keys:
        raise click.UsageError("Missing option '--output'.")
    prepare_process()
    leave_torch_out()
    console = Console(stderr=True, highlight=False)
    with BarProgress(console) if console.is_terminal else LineProgress(console) as progress:
        result = repack_output(
            Path(source),
            keys,
            workers=workers or core_count(),
            attempts=attempts,
            overwrite=overwrite,
            progress=progress,
            work_dir=work,
        )
    print_result(result)
