"""`premask train`: the training script `premask/train.py`, which reads its own options."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem

from ..core.errors import RecipeError
from ..core.redact import shown_url


class _Script(click.Command):
    """The script has its own options, which need torch to be listed; a shell offers files."""

    def shell_complete(self, _: click.Context, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(incomplete, type="file")]


@click.command(
    cls=_Script,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
)
@click.pass_context
def train(context: click.Context) -> None:
    """Fine-tune a model on an output.

    `premask train DATASET --model MODEL --output DIR`; `--help` lists all options.
    """
    for word in context.args:  # the script opens URLs itself, and has no part that hides credentials
        if shown_url(word) != word:
            raise RecipeError(f"{shown_url(word)}: give credentials in the environment, not in the URL")
    try:
        from ..train import leave
        from ..train import main as train_on_shards
    except ModuleNotFoundError as error:
        raise RecipeError(f"{error.name} is not installed; pip install 'premask[train]'") from None
    leave(train_on_shards(context.args, "premask train"))
