"""`premask finish`: ranks that are done -> their output."""

from __future__ import annotations

from pathlib import Path

from ..core.recipe_file import is_recipe
from .options import ALLOW_MAP, OVERWRITE, WORK, argument, command
from .recipe_options import recipe_of, set_map_allowed


@command("premask finish out/chats", "premask finish recipe.yaml")
@argument("output", "OUT_OR_RECIPE", "Output directory of the ranks, or their recipe.")
@WORK
@OVERWRITE
@ALLOW_MAP
def finish(output: str, work: Path | None, *, overwrite: bool, allow_map: bool) -> None:
    """Assemble an output from its ranks (run --rank I --world N); names those that are not done."""
    from ..running.ranks import finish_slices
    from ..tokens.transformers_library import leave_torch_out
    from .results import fail_if_skipped, print_result

    recipe = recipe_of([output], {}) if is_recipe(output) else None
    set_map_allowed([output], allowed=allow_map)
    leave_torch_out()
    out = output if recipe is None else recipe.output
    result = finish_slices(out, recipe=recipe, overwrite=overwrite, work_dir=work)
    print_result(result)
    fail_if_skipped(result)
