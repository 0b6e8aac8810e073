"""A whole run from Python: rows in memory and files to shards.

    result = run(sources=[dataset, "more.jsonl"], tokenizer="Qwen/Qwen3-0.6B", output="out/chats")
    result = run("chats.yaml", output="out/other", max_length="8k")
    result["packed"]["train"], result.rejects, result.report()

Rows in memory are written to files first (`sources.py`), in the folder premask-inputs beside the output. So
the run is one on files: it can be repeated by the command, and checked by `premask verify`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..core.errors import RecipeError
from ..core.recipe import Recipe
from ..core.recipe_file import is_recipe, read_recipe
from ..core.urls import is_url
from ..running.run import local
from ..running.run import run as run_recipe
from ..running.tasks import Progress
from ..sources.mapping import allow_map as set_map_allowed
from .keys import Keys
from .result import Result
from .sources import FOLDER, Inputs
from .wording import in_python

_TITLE = "premask.run"


def run(  # noqa: PLR0913  all by keyword but the first
    recipe: str | Path | Recipe | Mapping[str, Any] | None = None,
    *,
    sources: Any = None,
    tokenizer: Any = None,
    chat_template: str | Path | None = None,
    output: str | Path | None = None,
    workers: int = 1,
    overwrite: bool = False,
    push_to_hub: str | None = None,
    private: bool = False,
    allow_map: bool = False,
    progress: bool | None = None,
    work_dir: str | Path | None = None,
    **recipe_keys: Any,
) -> Result:
    """Run a recipe, and return its output. The shards are those of `premask run` on the same rows.

    `recipe` is the path of a recipe file, a `Recipe`, or its keys; the other keys are given by name, and go
    before it. `sources` is a list of paths, patterns, URLs and Hub datasets, and of rows in memory: lists of
    rows, a `Dataset`, `IterableDataset` or polars `DataFrame`. A mapping such as `{"path": dataset, "repeat":
    2}` gives one of them settings. `tokenizer` and `chat_template` are as in `Masker`.

    Rows, tokenizers and templates in memory are written to `premask-inputs` beside the output, named by their
    content. They stay there, because `premask verify` and another run need them.

    `workers` is the number of processes, 0 for one per core. With 1, the default, all is done in this
    process. Other workers are new processes, which run nothing of the program that calls. `progress` is
    whether progress is printed on stderr, by default if that is a terminal. `overwrite` replaces an output of
    other settings. `push_to_hub` is `org/name`, with `private` for a new repo. `allow_map` lets the function
    of a recipe (`map`) run.

    Raises `RecipeError` naming every wrong key, and another `PremaskError` for all that is not an error of a
    row; `TypeError` for a source or recipe of a wrong type.
    """
    keys = {**_keys_of(recipe), **recipe_keys}
    keys |= {name: value for name, value in (("sources", sources), ("output", output)) if value is not None}
    made = _made(keys, tokenizer, chat_template, work_dir)
    if push_to_hub is not None:
        _check_push(push_to_hub, made)
    folder = Path(recipe).parent if isinstance(recipe, (str, Path)) else Path()
    set_map_allowed(folder if allow_map else None)
    with in_python(), _progress(asked=progress) as shown:
        done = run_recipe(
            made,
            overwrite=overwrite,
            progress=shown,
            make_runner=local(_processes(workers)),
            work_dir=work_dir,
        )
    result = Result(done.output, done.manifest, done.warnings, done.fresh)
    if push_to_hub is not None and not done.skipped_rows:
        result.push(push_to_hub, private=private)
    return result


def _keys_of(recipe: Any) -> dict[str, Any]:
    """Return the keys of a recipe, unchecked."""
    if recipe is None:
        return {}
    if isinstance(recipe, (str, Path)):
        return _keys_in(Path(recipe))
    if isinstance(recipe, Recipe):
        return recipe.model_dump(exclude_unset=True)
    if isinstance(recipe, Mapping):
        return dict(recipe)
    what = "the path of a recipe file, a Recipe or its keys"
    raise TypeError(f"{_TITLE}: recipe must be {what}, not {type(recipe).__name__}; data goes to sources=")


def _keys_in(path: Path) -> dict[str, Any]:
    """Return the keys of a recipe file. What is no recipe is most likely data."""
    is_named = is_recipe(path.name)
    try:
        found = read_recipe(path)
    except RecipeError:
        if is_named:
            raise
        found = {}
    if not is_named and not set(found) & set(Recipe.model_fields):
        hint = f'for data, give sources=["{path}"]'
        raise RecipeError(f"{_TITLE}: {path} is no recipe, which is a .yaml file; {hint}")
    return found


def _made(keys: dict[str, Any], tokenizer: Any, chat_template: Any, work_dir: Any) -> Recipe:
    """Return the recipe of some keys; what is in memory is written to files."""
    for name in ("sources", "output"):
        if name not in keys:
            raise RecipeError(f"{_TITLE}: key '{name}' is missing; give {name}=")
    tokenizer = keys.pop("tokenizer", None) if tokenizer is None else tokenizer
    if tokenizer is None:
        raise RecipeError(f"{_TITLE}: key 'tokenizer' is missing; give tokenizer=")
    chat_template = keys.pop("chat_template", None) if chat_template is None else chat_template
    output = keys["output"]
    if not isinstance(output, (str, Path)):
        raise TypeError(f"{_TITLE}: output must be a path, not {type(output).__name__}")
    keys["output"] = written = str(output)
    beside = Path(work_dir or ".") if is_url(written) else Path(written).parent
    inputs = Inputs(beside / FOLDER)
    known = Keys(tokenizer, chat_template, keys, where=_TITLE, inputs=inputs)
    known.recipe(sources=["-"])  # wrong keys are found before rows are written
    return known.recipe(sources=inputs.entries(keys["sources"]))


def _check_push(target: str, recipe: Recipe) -> None:
    """Raise `PushError` or `RecipeError` for what cannot be pushed, before hours of work."""
    from ..publish.push_hub import check_access, parse_repo_id  # noqa: PLC0415  half a second to import

    if is_url(recipe.output):
        raise RecipeError(f"{_TITLE}: push_to_hub pushes from a directory; write the output to one")
    parse_repo_id(target)
    check_access()


def _processes(workers: int) -> int:
    if isinstance(workers, bool) or not isinstance(workers, int):
        raise TypeError(f"{_TITLE}: workers must be a number, not {type(workers).__name__}")
    if workers < 0:
        raise RecipeError(f"{_TITLE}: workers must be at least 0, not {workers}")
    return workers or os.cpu_count() or 1


@contextmanager
def _progress(*, asked: bool | None) -> Iterator[Progress]:
    """Give what shows progress: a bar at a terminal, lines elsewhere, or nothing."""
    if not (sys.stderr.isatty() if asked is None else asked):
        yield Progress()
        return
    from rich.console import Console  # noqa: PLC0415  only where progress is shown

    from ..review.terminal.progress import BarProgress, LineProgress  # noqa: PLC0415

    console = Console(stderr=True, highlight=False)
    with BarProgress(console) if console.is_terminal else LineProgress(console) as shown:
        yield shown
