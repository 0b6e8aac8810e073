"""The command `premask`: the list of commands, and what happens to their errors.

    premask run data.jsonl --tokenizer Qwen/Qwen3-0.6B --output out
    premask run recipe.yaml
    premask run --help

A command is a function in the file of its name in this folder, which is imported when the command is called.
It imports what it needs when it runs. So no `--help` loads the libraries behind the commands, which take
about a second.

Exit codes: 0 done; 1 a template is refused, an output is wrong, two outputs differ, or rows were skipped;
2 something to fix, in one line; 130 interrupted; 143 terminated (`__main__.py`).
"""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
from click.shell_completion import CompletionItem, shell_complete

from .. import __version__
from ..core.errors import PremaskError, cause_of
from ..core.limits import hold_limits
from ..core.redact import redact_logs, redacted
from ..core.text import visible
from .usage import NoSuchCommandError, message_of

COMMANDS: Mapping[str, str] = {
    "init": "Write a recipe for some data: what was found in it, and suggestions as comments.",
    "run": "Turn chat data into packed, pre-masked Parquet shards.",
    "finish": "Assemble an output from its ranks (run --rank I --world N); names those that are not done.",
    "plan": "Estimate units, tokens, disk, time and memory of a run, and what the Hub's limits mean for it.",
    "explain": "Show what is trained in single rows: as text, token by token, or as JSON.",
    "template": "Say what a template does and what a run makes of each kind of row; "
    "exit code 1 if plain chats fail.",
    "verify": "Check a finished output: files, rows, lineage, counts; exit code 1 if something is wrong.",
    "export": "Write an output in another form: Arrow as datasets saves it to disk, or JSONL.",
    "repack": "Pack the samples of an output again, without tokenizing: other length, layout, order.",
    "report": "Write an output as one HTML page: conversations token by token, packs, charts, rejects.",
    "show": "Show the samples of one pack, with what is trained in them.",
    "stats": "Count an output: rows, tokens, trained share by source, split, role; lengths, packs, rejects.",
    "diff": "Compare the rows, tokens and masks of two outputs; exit code 1 if they differ.",
    "rejects": "Show the rows that a run rejected, by reason, or write them out to be fixed.",
    "trees": "Make message trees of single messages that name their parents, one tree a line.",
    "push": "Push a finished output to the Hugging Face Hub, or to a store such as S3.",
    "train": "Fine-tune a model on an output.",
}
"""The commands in the order in which they are listed, each with the first sentence of its own help."""


GROUPS: Mapping[str, Sequence[str]] = {
    "Make an output": ("init", "run", "plan", "finish", "repack", "trees"),
    "See what is trained": ("explain", "show", "report", "template"),
    "Check and count": ("verify", "stats", "diff", "rejects"),
    "Use an output": ("train", "push", "export"),
}
"""How the help groups the commands."""


_COMPLETE = "_PREMASK_COMPLETE"


class Commands(click.Group):
    """The commands, none of which is loaded until it is called."""

    def list_commands(self, _: click.Context) -> list[str]:
        """Return the names of the commands."""
        return list(COMMANDS)

    def get_command(self, _: click.Context, name: str) -> click.Command | None:
        """Return a command by its name; None if there is none."""
        if name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(f".{name}", __package__), name)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Offer commands without loading them, and own options."""
        found = [
            CompletionItem(name, help=COMMANDS[name]) for name in COMMANDS if name.startswith(incomplete)
        ]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is called. Raises `NoSuchCommandError`."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise NoSuchCommandError(args[0], ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, _: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands by group, without loading them."""
        width = max(map(len, COMMANDS))
        for title, names in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), COMMANDS[name]) for name in names])


@click.group(cls=Commands, no_args_is_help=True)
@click.version_option(__version__, message="premask %(version)s", help="Print the version and exit.")
def app() -> None:
    """Chat data in, training shards with the loss mask already in them out.

    `premask COMMAND --help` lists the options of a command, with examples.
    """


def complete() -> None:
    """Answer a shell that asks what may come next, and end the process; else do nothing. The shell asks with
    an environment variable, whose value says for which shell (`bash_source`, `zsh_complete`)."""
    if instruction := os.environ.get(_COMPLETE):
        sys.exit(shell_complete(app, {}, "premask", _COMPLETE, instruction))


def main() -> None:
    """Run the command: errors that a user can fix are one line and exit code 2."""
    complete()
    hold_limits()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that cannot show a letter is no error
    redact_logs()
    try:
        Path.cwd()
    except OSError:
        click.echo("premask: the current directory was removed; change to another one", err=True)
        sys.exit(2)
    try:
        with app.make_context("premask", sys.argv[1:]) as context:  # click's own `main` swallows interrupts
            app.invoke(context)
    except click.exceptions.Exit as leaving:
        sys.exit(leaving.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.UsageError as error:
        click.echo(message_of(error, COMMANDS, sys.argv[1:]), err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        _show(error)
        sys.exit(error.exit_code)
    except PremaskError as error:
        click.echo(f"premask: {visible(str(error))}", err=True)
        sys.exit(2)
    except BrokenPipeError:  # who read the output has left, such as `head`
        _close_output()
        sys.exit(1)
    except OSError as error:  # what writes files says which; this is the output of the command
        _close_output()
        click.echo(f"premask: the output cannot be written: {visible(cause_of(error))}", err=True)
        sys.exit(2)


def _show(error: click.ClickException) -> None:
    """Print an error of the command line, which may quote it, without credentials."""
    text = io.StringIO()
    error.show(text)
    sys.stderr.write(redacted(text.getvalue()))


def _close_output() -> None:
    """Drop what has not been written, so that Python does not try again when it ends."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
