"""`premask run`: a recipe, or files and options -> shards."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..core.defaults import ATTEMPTS, WAIT_S
from ..core.errors import RecipeError
from ..core.recipe import Recipe
from ..core.urls import is_url
from .options import ALLOW_MAP, OVERWRITE, PRIVATE, WORK, command, option, workers_option
from .recipe_options import KEYS, Flags, inputs_argument, recipe_of, recipe_options, set_map_allowed

if TYPE_CHECKING:
    from ..running.ranks import Share
    from ..running.run import MakeRunner

_WORKERS, _RANKS = "Workers", "Ranks: one output from several machines"


@command(
    "premask run data.jsonl --tokenizer Qwen/Qwen3-0.6B --output out/chats",
    "premask run *.parquet org/name --tokenizer Qwen/Qwen3-0.6B --output out/x",
    "premask run recipe.yaml --workers 8 --max-length 32k",
)
@inputs_argument
@recipe_options(*KEYS, needed=("tokenizer", "output"))
@workers_option(_WORKERS)
@option(
    "--runner",
    group=_WORKERS,
    type=click.Choice(["local", "ray"]),
    default="local",
    help="local: processes of this machine; ray: tasks of Ray.",
)
@option(
    "--ray-address",
    group=_WORKERS,
    metavar="HOST:PORT",
    help="Head node of Ray, instead of RAY_ADDRESS or a new local Ray.",
)
@option(
    "--attempts",
    group=_WORKERS,
    type=click.IntRange(min=1),
    default=ATTEMPTS,
    metavar="N",
    help="How often a unit may fail before its rows are examined.",
)
@option(
    "--rank",
    group=_RANKS,
    type=click.IntRange(min=0),
    metavar="N",
    help="Do one slice of the units, counted from 0; then premask finish.",
)
@option("--world", group=_RANKS, type=click.IntRange(min=1), metavar="N", help="Number of slices.")
@option(
    "--wait",
    group=_RANKS,
    type=click.FloatRange(min=0),
    default=WAIT_S,
    metavar="SECONDS",
    help="How long to wait for other ranks if duplicates are dropped.",
)
@WORK
@OVERWRITE
@ALLOW_MAP
@option("--push-to-hub", metavar="ORG/NAME", help="Push the output to this dataset of the Hub.")
@PRIVATE
def run(
    inputs: tuple[str, ...], flags: Flags, *,
    workers: int, runner: str, ray_address: str | None, attempts: int,
    rank: int | None, world: int | None, wait: float,
    work: Path | None, overwrite: bool, allow_map: bool, push_to_hub: str | None, private: bool,
) -> None:  # fmt: skip
    """Turn chat data into packed, pre-masked Parquet shards.

    Options override the keys of a recipe. What is required may be in the recipe.
    """
    from rich.console import Console

    from ..review.terminal.progress import BarProgress, LineProgress
    from ..running.run import local
    from ..running.run import run as run_recipe
    from ..running.runners.process import prepare_process
    from ..tokens.transformers_library import leave_torch_out
    from .results import fail_if_skipped, print_result

    recipe = recipe_of(inputs, flags)
    if ray_address is not None and runner != "ray":
        raise RecipeError("--ray-address belongs to --runner ray; give both, or neither")
    share = _share_of(rank, world, wait)
    repo = _push_target(push_to_hub, recipe, share, private=private)
    set_map_allowed(inputs, allowed=allow_map)
    prepare_process()
    leave_torch_out()
    console = Console(stderr=True, highlight=False)
    with BarProgress(console) if console.is_terminal else LineProgress(console) as progress:
        options: dict[str, Any] = {"overwrite": overwrite, "progress": progress, "work_dir": work}
        if runner == "ray":
            options["make_runner"] = _on_ray(ray_address, workers or None, attempts)
        else:
            options["make_runner"] = local(workers or core_count(), attempts)
        if share is not None:
            _run_slice(recipe, share, options)
            return
        result = run_recipe(recipe, **options)
    print_result(result)
    fail_if_skipped(result)
    if repo is not None:
        _push(Path(result.output), repo, private=private)


def core_count() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _share_of(rank: int | None, world: int | None, wait_s: float) -> Share | None:
    if (rank is None) != (world is None):
        raise RecipeError("--rank and --world belong together; give both, or neither")
    if rank is None or world is None:
        return None
    from ..running.ranks import Share

    return Share(rank, world, wait_s)


def _push_target(target: str | None, recipe: Recipe, share: Share | None, *, private: bool) -> str | None:
    """The repo to push to. What cannot be pushed is reported before hours of work."""
    if target is None:
        if private:
            raise RecipeError("--private belongs to --push-to-hub; give both, or neither")
        return None
    if share is not None:
        raise RecipeError("a rank makes no output to push; use 'premask finish', then 'premask push'")
    if is_url(recipe.output):
        raise RecipeError("--push-to-hub pushes from a directory; write the output to one, not to a store")
    from ..publish.push_hub import check_access, parse_repo_id

    repo = parse_repo_id(target)
    check_access()
    return repo


def _run_slice(recipe: Recipe, share: Share, options: dict[str, Any]) -> None:
    from ..review.terminal.runs import print_slice
    from ..running.ranks import run_slice
    from .printing import table_console

    print_slice(table_console(), run_slice(recipe, share, **options))


def _push(output: Path, repo: str, *, private: bool) -> None:
    from ..publish.push_hub import HubTarget
    from .push import push_to_repo

    push_to_repo(output, HubTarget(repo, private=private))


def _on_ray(address: str | None, workers: int | None, attempts: int) -> MakeRunner:
    from ..running.runners.on_ray import RayRunner

    return lambda _: RayRunner(address, workers, attempts)  # Ray has the workers that it has
