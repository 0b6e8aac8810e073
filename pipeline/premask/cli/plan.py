"""`premask plan`: what a run will take, before it is started."""

from __future__ import annotations

from .options import command, format_option
from .recipe_options import KEYS, Flags, inputs_argument, recipe_of, recipe_options
from .run import core_count


@command("premask plan recipe.yaml")
@inputs_argument
@recipe_options(*KEYS)
@format_option()
def plan(inputs: tuple[str, ...], flags: Flags, form: str) -> None:
    """Estimate units, tokens, disk, time and memory of a run, and what the Hub's limits mean for it."""
    from ..review.terminal import print_forecast
    from ..running.forecast import forecast
    from ..running.runners.process import prepare_process
    from ..tokens.transformers_library import leave_torch_out
    from .printing import print_json, table_console

    recipe = recipe_of(inputs, flags)
    prepare_process()
    leave_torch_out()
    found = forecast(recipe, cores=core_count())
    if form == "json":
        print_json(found.as_dict())
    else:
        print_forecast(table_console(), found)
