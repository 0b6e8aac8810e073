"""`premask run`: a recipe, or files and options -> shards."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from ..core.errors import RecipeError
from ..core.recipe import Recipe
from ..core.urls import is_url
from ..publish.push_hub import HubTarget, check_access, parse_repo_id
from ..review.terminal import BarProgress, LineProgress, print_slice
from ..running.ranks import WAIT_S, Share, run_slice
from ..running.run import local
from ..running.run import run as run_recipe
from ..running.runners.on_ray import RayRunner
from ..running.runners.process import prepare_process
from ..running.tasks import ATTEMPTS
from ..tokens.from_transformers import leave_torch_out
from .options import OVERWRITE, PRIVATE, WORK, command, option
from .printing import table_console
from .push import push_to_repo
from .recipe_options import KEYS, Flags, inputs_argument, recipe_of, recipe_options
from .results import fail_if_skipped, print_result

_WORKERS, _RANKS = "Workers", "Ranks: one output from several machines"


@command("premask run data.jsonl --tokenizer Qwen/Qwen3-0.6B --output out/chats")
@inputs_argument
@recipe_options(*KEYS)
@option(
    "--workers",
    group=_WORKERS,
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Processes, this one included; 0: one for each core.",
)
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
@option("--push-to-hub", metavar="ORG/NAME", help="Push the output to this dataset of the Hub.")
@PRIVATE
def run(
    inputs: tuple[str, ...], flags: Flags, *,
    workers: int, runner: str, ray_address: str | None, attempts: int,
    rank: int | None, world: int | None, wait: float,
    work: Path | None, overwrite: bool, push_to_hub: str | None, private: bool,
) -> None:  # fmt: skip
    """Turn chat data into packed, pre-masked Parquet shards.

    Options override the keys of a recipe.
    """
    recipe = recipe_of(inputs, flags)
    if ray_address is not None and runner != "ray":
        raise RecipeError("--ray-address belongs to --runner ray; give both, or neither")
    share = _share_of(rank, world, wait)
    repo = _push_target(push_to_hub, recipe, share, private=private)
    prepare_process()
    leave_torch_out()
    console = Console(stderr=True, highlight=False)
    with BarProgress(console) if console.is_terminal else LineProgress(console) as progress:
        options: dict[str, Any] = {"overwrite": overwrite, "progress": progress, "work_dir": work}
        if runner == "ray":
            options["make_runner"] = partial(_ray_runner, ray_address, workers or None, attempts)
        else:
            options["make_runner"] = local(workers or core_count(), attempts)
        if share is not None:
            print_slice(table_console(), run_slice(recipe, share, **options))
            return
        result = run_recipe(recipe, **options)
    print_result(result)
    fail_if_skipped(result)
    if repo is not None:
        push_to_repo(Path(result.output), HubTarget(repo, private=private))


def core_count() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _share_of(rank: int | None, world: int | None, wait_s: float) -> Share | None:
    if (rank is None) != (world is None):
        raise RecipeError("--rank and --world belong together; give both, or neither")
    return None if rank is None or world is None else Share(rank, world, wait_s)


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
    repo = parse_repo_id(target)
    check_access()
    return repo


def _ray_runner(address: str | None, workers: int | None, attempts: int, units: int) -> RayRunner:
    del units  # Ray has the workers that it has
    return RayRunner(address, workers, attempts)
