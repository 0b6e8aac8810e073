"""`premask init`: data -> a recipe to begin with."""

from __future__ import annotations

from pathlib import Path

from ..core.errors import RecipeError
from ..core.recipe_file import is_recipe
from ..core.redact import shown_url
from .options import PATH, argument, command, option
from .recipe_options import Flags, recipe_of, recipe_options

_NO_TOKENIZER = "-"


@command(
    "premask init chats.jsonl --tokenizer Qwen/Qwen3-0.6B",
    "premask init chats/*.parquet org/name --output mix.yaml",
)
@argument(
    "inputs", "FILES...", "Data files, folders, patterns, URLs or Hub datasets.", nargs=-1, required=True
)
@recipe_options("dialect", "fields", "tokenizer", "chat_template")
@option("--output", type=PATH, metavar="FILE", default=Path("recipe.yaml"), help="Recipe to write.")
@option("--overwrite", is_flag=True, help="Replace the recipe if it is there.")
def init(inputs: tuple[str, ...], flags: Flags, *, output: Path, overwrite: bool) -> None:
    """Write a recipe for some data: what was found in it, and suggestions as comments."""
    from ..core.atomic_files import named, new_file, write_text
    from ..review.draft import default_output, draft, found_in_words, none_kept_in_words
    from ..review.survey import survey
    from ..tokens.transformers_library import leave_torch_out
    from .printing import print_line

    _check(inputs, output, overwrite=overwrite)
    leave_torch_out()
    recipe = recipe_of(inputs, flags, absent={"tokenizer": _NO_TOKENIZER, "output": "-"})
    recipe = recipe.model_copy(update={"output": default_output(recipe.sources)})
    has_tokenizer = recipe.tokenizer != _NO_TOKENIZER
    found = survey(recipe, has_tokenizer=has_tokenizer)
    text = draft(found, has_tokenizer=has_tokenizer)
    if overwrite:
        with named(output):
            write_text(output, text)
    else:
        with new_file(output) as file:
            file.write(text)
    print_line(f"found:   {found_in_words(found)}")
    print_line(f"recipe:  {output}")
    why = none_kept_in_words(found.sample)
    if why:
        print_line(f"warning: {why}", error=True)
    print_line("next:" if has_tokenizer else "next, once the recipe names a tokenizer:")
    for name in ("explain",) if why else ("explain", "run"):
        print_line(f"  premask {name} {output}")


def _check(inputs: tuple[str, ...], output: Path, *, overwrite: bool) -> None:
    """Raise `RecipeError` for what would be wrong after seconds of work."""
    if wrong := next(filter(is_recipe, inputs), None):
        raise RecipeError(f"{wrong}: a YAML file is a recipe, and no data; name data files")
    if secret := next((each for each in inputs if shown_url(each) != each), None):
        raise RecipeError(f"{shown_url(secret)}: give credentials in the environment, not in the URL")
    if not is_recipe(str(output)):
        raise RecipeError(f"--output {output}: name the recipe .yaml, so that premask run knows it as one")
    if output.exists() and not overwrite:
        raise RecipeError(f"{output} is there already; --overwrite replaces it, and --output names another")
