"""What the commands share: help in groups with examples, completion, and arguments and options of one kind.

@command("premask stats out/chats", "premask stats out/chats --format json")
@argument("output", "OUT", "Output directory.", type=PATH)
@format_option()
def stats(output: Path, form: str) -> None: ...
"""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

F = TypeVar("F", bound=Callable[..., Any])

PATH = click.Path(path_type=Path)
OWN_GROUP = "Options"


Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
"""What a shell offers for the beginning of a value."""


def files(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the files and folders that the shell knows."""
    return [CompletionItem(incomplete, type="file")]


def one_of(words: Sequence[str], *, many: bool = False) -> Complete:
    """Return what offers some words; with `many`, after each comma again."""

    def complete(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
        before, comma, last = incomplete.rpartition(",") if many else ("", "", incomplete)
        return [CompletionItem(f"{before}{comma}{word}") for word in words if word.startswith(last)]

    return complete


class Option(click.Option):
    """An option that is listed in a group of the help. `words` are the values of one that may be given
    without a value; the first is then meant."""

    def __init__(self, *names: Any, group: str = OWN_GROUP, words: Sequence[str] = (), **attrs: Any) -> None:
        super().__init__(*names, **attrs)
        self.group, self.words = group, words


class Argument(click.Argument):
    """An argument that the help describes."""

    def __init__(self, *names: Any, description: str, **attrs: Any) -> None:
        super().__init__(*names, **attrs)
        self.description = description


class Command(click.Command):
    """A command whose help lists arguments, options by group, and examples."""

    examples: Sequence[str]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Write the values of options that need none next to them: `--loss-weights` alone means true, and
        takes what follows only if it is one of its words."""
        words = {
            name: param.words for param in self.params if isinstance(param, Option) for name in param.opts
        }
        joined: list[str] = []
        for arg in args:
            if joined and arg in words.get(joined[-1], ()):
                joined[-1] = f"{joined[-1]}={arg}"
            else:
                joined.append(arg)
        return super().parse_args(
            ctx, [f"{arg}={words[arg][0]}" if words.get(arg) else arg for arg in joined]
        )

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the arguments, then the options, group by group."""
        sections: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for param in self.get_params(ctx):
            if isinstance(param, Argument):
                sections["Arguments"].append((param.human_readable_name, param.description))
            elif record := param.get_help_record(ctx):
                sections[getattr(param, "group", OWN_GROUP)].append(record)
        if OWN_GROUP in sections:
            sections[OWN_GROUP] = sections.pop(OWN_GROUP)  # the last one
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)

    def format_epilog(self, _: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples as they are typed."""
        with formatter.section("Examples"):
            for example in self.examples:
                formatter.write(f"  {example}\n")


def command(*examples: str) -> Callable[[Callable[..., None]], Command]:
    """Make a command of a function: its help is the docstring, its examples are lines to type."""

    def make(function: Callable[..., None]) -> Command:
        made = click.command(cls=Command, help=inspect.getdoc(function))(function)
        made.examples = examples
        return made

    return make


def argument(name: str, metavar: str, description: str, **attrs: Any) -> Callable[[F], F]:
    """Add an argument to a command; without a type it is a text, for which a shell offers files."""
    given = attrs if "type" in attrs else {"shell_complete": files, **attrs}
    return click.argument(name, cls=Argument, metavar=metavar, description=description, **given)


def option(*names: str, group: str = OWN_GROUP, **attrs: Any) -> Callable[[F], F]:
    """Add an option to a command, with its default in the help where it has one."""
    shown = {"show_default": attrs.get("default") is not None}
    return click.option(*names, cls=Option, group=group, **{**shown, **attrs})


def format_option(of_json: str = "one object", table: str = "A table") -> Callable[[F], F]:
    """Add `--format`: a `table`, or JSON; `of_json` says which."""
    return option(
        "--format",
        "form",
        type=click.Choice(["table", "json"]),
        default="table",
        help=f"{table}, or JSON: {of_json}.",
    )


ALLOW_MAP = option(
    "--allow-map",
    is_flag=True,
    help="Run the function that the recipe names (map). It is code, and runs with your rights.",
)


def workers_option(group: str = OWN_GROUP) -> Callable[[F], F]:
    """Return the option that says how many processes work."""
    return option(
        "--workers",
        group=group,
        type=click.IntRange(min=0),
        default=0,
        metavar="N",
        help="Processes, this one included; 0: one for each core.",
    )


OVERWRITE = option("--overwrite", is_flag=True, help="Replace the output of another recipe.")
PRIVATE = option("--private", is_flag=True, help="Make the repo private if it is created.")
WORK = option(
    "--work",
    metavar="DIR",
    type=PATH,
    help="Directory to work in if the output is in a store, instead of the user's cache.",
)
