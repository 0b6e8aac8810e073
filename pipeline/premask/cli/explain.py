"""`premask explain`: what is trained in single rows."""

from __future__ import annotations

from collections.abc import Sequence

import click

from ..core.errors import RecipeError
from ..core.recipe import Recipe
from .options import ALLOW_MAP, command, format_option, option
from .recipe_options import ROW_KEYS, Flags, inputs_argument, recipe_of, recipe_options, set_map_allowed


@command(
    "premask explain data.jsonl --tokenizer Qwen/Qwen3-0.6B --row 3",
    "premask explain recipe.yaml --id chat-42 --tokens",
    "premask explain recipe.yaml --limit 10 --format json",
)
@inputs_argument
@recipe_options(*ROW_KEYS, needed=("tokenizer",))
@option("--row", type=click.IntRange(min=0), metavar="N", help="Only this row, counted from 0.")
@option("--id", "ids", multiple=True, metavar="ID", help="Only rows with this id. Repeatable.")
@option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    help="How many rows. [default: 1 as text; all with --id, or as JSON]",
)
@option("--tokens", is_flag=True, help="Tables of tokens instead of running text.")
@ALLOW_MAP
@format_option("one object for each row, one line each", table="Text (or tables)")
def explain(
    inputs: tuple[str, ...], flags: Flags, *,
    row: int | None, ids: tuple[str, ...], limit: int | None, tokens: bool, allow_map: bool, form: str,
) -> None:  # fmt: skip
    """Show what is trained in single rows: as text, token by token, or as JSON."""
    from ..review.explain import explain as explain_rows
    from ..review.terminal.samples import SamplePrinter
    from ..tokens.transformers_library import leave_torch_out
    from .printing import print_json, table_console

    recipe = recipe_of(inputs, {**flags, "output": "-"})
    set_map_allowed(inputs, allowed=allow_map)
    leave_torch_out()
    if limit is None and row is None and not ids and form == "table":
        limit = 1
    printer, shown = SamplePrinter(table_console(), tokens=tokens), 0
    for source, explained in explain_rows(recipe, row=row, ids=ids, limit=limit):
        shown += 1
        if form == "json":
            print_json(explained)
        else:
            printer.explained(explained, source=source)
    printer.end()
    if not shown:
        raise _nothing(recipe, row, ids)


def _nothing(recipe: Recipe, row: int | None, ids: Sequence[str]) -> RecipeError:
    sources = ", ".join(source.path for source in recipe.sources)
    wanted = f" {row}" if row is not None else ""
    wanted += f" with the id {' or '.join(ids)}" if ids else ""
    return RecipeError(
        f"there is no row{wanted} in {sources}" if wanted else f"there are no rows in {sources}"
    )
