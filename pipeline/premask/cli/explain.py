"""`premask explain`: single rows, token by token."""

from __future__ import annotations

import click

from ..core.errors import RecipeError
from ..core.recipe import Recipe
from .options import ALLOW_MAP, command, format_option, option
from .recipe_options import ROW_KEYS, Flags, inputs_argument, recipe_of, recipe_options, set_map_allowed


@command("premask explain data.jsonl --tokenizer Qwen/Qwen3-0.6B --row 3")
@inputs_argument
@recipe_options(*ROW_KEYS)
@option("--row", type=click.IntRange(min=0), metavar="N", help="Only this row, counted from 0.")
@option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    help="How many rows; unless given, 1 as a table, all as JSON.",
)
@ALLOW_MAP
@format_option("one object for each row, one line each")
def explain(
    inputs: tuple[str, ...], flags: Flags, *, row: int | None, limit: int | None, allow_map: bool, form: str
) -> None:
    """Show what is trained in single rows, token by token."""
    from ..review.explain import explain as explain_rows
    from ..review.terminal_tokens import print_explained
    from ..tokens.transformers_library import leave_torch_out
    from .printing import print_json, table_console

    recipe = recipe_of(inputs, {**flags, "output": "-"})
    set_map_allowed(inputs, allowed=allow_map)
    leave_torch_out()
    if limit is None and row is None and form == "table":
        limit = 1
    console, shown = table_console(), 0
    for source, explained in explain_rows(recipe, row=row, limit=limit):
        shown += 1
        if form == "json":
            print_json(explained)
        else:
            print_explained(console, explained, source=source)
    if not shown:
        raise _nothing(recipe, row)


def _nothing(recipe: Recipe, row: int | None) -> RecipeError:
    sources = ", ".join(source.path for source in recipe.sources)
    return RecipeError(
        f"there are no rows in {sources}" if row is None else f"there is no row {row} in {sources}"
    )
