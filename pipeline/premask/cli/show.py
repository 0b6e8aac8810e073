"""`premask show`: the samples of one pack."""

from __future__ import annotations

from pathlib import Path

import click

from ..core.errors import OutputError
from .options import PATH, argument, command, option

_COUNT = click.IntRange(min=0)


@command(
    "premask show out/chats --pack 2",
    "premask show out/chats --pack 2 --sample 0 --tokens",
)
@argument("output", "OUT", "Output directory.", type=PATH)
@option(
    "--pack",
    type=_COUNT,
    default=0,
    metavar="N",
    help="Row of the packed layout (else of the one that is there), counted from 0.",
)
@option("--split", metavar="NAME", help="The split that holds it, instead of the first, train.")
@option("--sample", type=_COUNT, metavar="N", help="Only this sample of the pack, counted from 0.")
@option("--tokens", is_flag=True, help="Tables of tokens instead of running text.")
def show(output: Path, pack: int, split: str | None, sample: int | None, *, tokens: bool) -> None:
    """Show the samples of one pack, with what is trained in them."""
    from ..core.contract import SIDES
    from ..output.dataset import open_dataset
    from ..output.read_samples import read_row
    from ..review.terminal.outputs import print_pack
    from ..review.terminal.samples import SamplePrinter
    from ..tokens.token_text import TokenTexts
    from .printing import table_console

    dataset = open_dataset(output)
    found = read_row(dataset, split or dataset.splits[0], pack)
    count = len(found.length)
    if sample is not None and sample >= count:
        raise OutputError(f"pack {pack} has {count} samples, counted from 0; there is no {sample}")
    texts, console = TokenTexts(dataset.tokenizer / "tokenizer.json"), table_console()
    kind = "pack" if dataset.layout == "packed" else "row"
    print_pack(console, found, kind=kind, room=dataset.manifest.settings.max_length)
    printer = SamplePrinter(console, tokens=tokens, first=False)
    for i in range(count) if sample is None else [sample]:
        printer.of_pack(found, i, texts, sides=dataset.layout in SIDES)
    printer.end()
