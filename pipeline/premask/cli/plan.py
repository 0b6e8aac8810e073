"""`premask plan`: what a run will take, before it is started."""

from __future__ import annotations

from .options import ALLOW_MAP, command, format_option
from .recipe_options import KEYS, Flags, inputs_argument, recipe_of, recipe_options, set_map_allowed
from .run import core_count


@command(
    "premask plan data.jsonl --tokenizer Qwen/Qwen3-0.6B",
    "premask plan recipe.yaml --format json",
)
@inputs_argument
@recipe_options(*KEYS, needed=("tokenizer",))
@ALLOW_MAP
@format_option()
def plan(inputs: tuple[str, ...], flags: Flags, form: str, *, allow_map: bool) -> None:
    """Estimate units, tokens, disk, time and memory of a run, and what the Hub's limits mean for it.

    Without --output, free disk space is not checked.
    """
    from ..review.terminal.runs import print_forecast
    from ..running.forecast import NOWHERE, forecast
    from ..running.runners.process import prepare_process
    from ..tokens.transformers_library import leave_torch_out
    from .printing import print_json, table_console

    recipe = recipe_of(inputs, flags, absent={"output": NOWHERE})
    set_map_allowed(inputs, allowed=allow_map)
    prepare_process()
    leave_torch_out()
    found = forecast(recipe, cores=core_count())
    if form == "json":
        print_json(found.as_dict())
    else:
        print_forecast(table_console(), found)
