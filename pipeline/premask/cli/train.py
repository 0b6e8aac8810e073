"""`premask train`: the training script `premask/train.py`, which reads its own options."""

from __future__ import annotations

import click

from ..core.errors import RecipeError


@click.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False
)
@click.pass_context
def train(context: click.Context) -> None:
    """Fine-tune a model on an output.

    `premask train DATASET --model MODEL --output DIR`; `--help` lists all options.
    """
    try:
        from ..train import leave
        from ..train import main as train_on_shards
    except ModuleNotFoundError as error:
        raise RecipeError(f"{error.name} is not installed; pip install 'premask[train]'") from None
    leave(train_on_shards(context.args, "premask train"))
