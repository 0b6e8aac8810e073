"""A command line that cannot be read -> one line: what is wrong, and what was probably meant.

    message_of(error, COMMANDS, ["doctor"])     # "premask: No such command 'doctor'; did you mean ..."

Besides the nearest name, names that other tools use are known.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import click

from ..core.recipe_errors import OTHER_NAMES
from ..core.text import visible

_COMMANDS: Mapping[str, str] = {
    **dict.fromkeys(("doctor", "inspect", "tokenizer", "check-template", "chat-template"), "template"),
    **dict.fromkeys(("validate", "check", "test", "lint"), "verify"),
    **dict.fromkeys(
        ("tokenize", "pack", "process", "preprocess", "prepare", "convert", "mask", "build", "make", "start"),
        "run",
    ),
    **dict.fromkeys(("estimate", "forecast", "dry-run", "cost"), "plan"),
    **dict.fromkeys(("html", "browse", "open"), "report"),
    **dict.fromkeys(("cat", "head", "print", "view", "display"), "show"),
    **dict.fromkeys(("info", "count", "summary", "describe"), "stats"),
    **dict.fromkeys(("compare", "cmp"), "diff"),
    **dict.fromkeys(("errors", "failed", "rejected", "skipped"), "rejects"),
    **dict.fromkeys(("upload", "publish"), "push"),
    **dict.fromkeys(("finetune", "fine-tune", "fit", "sft"), "train"),
    **dict.fromkeys(("debug", "trace", "why"), "explain"),
    **dict.fromkeys(("merge", "join", "collect", "assemble"), "finish"),
    **dict.fromkeys(("save", "dump", "jsonl", "arrow"), "export"),
}
"""Names that other tools have for a command, or older versions had."""

_OPTIONS: Mapping[str, str] = {
    "h": "help",
    "o": "output",
    "j": "workers",
    "f": "overwrite",
    "force": "overwrite",
    "json": "format",
    "limit-rows": "limit",
    **dict.fromkeys(("num-proc", "num-workers", "jobs", "processes", "threads", "num-processes"), "workers"),
}
"""Names that other tools have for an option that is no key of a recipe."""


_CLICK_WORDS: Mapping[str, str] = {
    "is not a valid integer range": "is not a whole number",
    "is not a valid integer": "is not a whole number",
    "is not a valid float range": "is not a number",
    "is not a valid float": "is not a number",
}


def message_of(error: click.UsageError, commands: Collection[str], args: Sequence[str]) -> str:
    """Return the line for a command line that cannot be read: `args`, of which the first may be a command."""
    command = args[0] if args and args[0] in commands else ""
    path, hint = f"premask {command}".rstrip(), ""
    if isinstance(error, click.NoSuchOption):
        text = f"No such option '{visible(error.option_name)[:80]}'"
        hint = _for_option(error.option_name, error.ctx, args)
    elif isinstance(error, NoSuchCommandError):
        text = f"No such command '{visible(error.name)[:80]}'"
        hint = _for_command(error.name, commands)
    else:
        text = visible(" ".join(error.format_message().split())).rstrip(".")
        for theirs, ours in _CLICK_WORDS.items():
            text = text.replace(theirs, ours)
        hint = _for_choice(error)
    return f"{path}: {text}; {hint}'{path} --help' lists {'all options' if command else 'commands'}"


class NoSuchCommandError(click.UsageError):
    """A command that is none."""

    def __init__(self, name: str, ctx: click.Context) -> None:
        super().__init__(f"No such command '{name}'.", ctx)
        self.name = name


def _for_command(name: str, commands: Collection[str]) -> str:
    lower = name.lower().replace("_", "-")
    if lower == "help":
        return ""
    if lower.endswith((".yaml", ".yml", ".json", ".jsonl", ".parquet", ".csv")):
        return f"did you mean 'premask run {visible(name)[:80]}'? "
    near = [_COMMANDS[lower]] if lower in _COMMANDS else difflib.get_close_matches(lower, commands, n=1)
    return f"did you mean 'premask {near[0]}'? " if near else ""


def _for_option(name: str, context: click.Context | None, args: Sequence[str]) -> str:
    files = [arg for arg in args if arg.startswith(name) and _is_file(arg)]
    if files:
        return f"write the file as './{visible(files[0])[:80]}'; "
    known = [] if context is None else _known(context.command.get_params(context))
    plain = name.lstrip("-").lower().replace("_", "-")
    other = _OPTIONS.get(plain) or OTHER_NAMES.get(plain.replace("-", "_"), "").replace("_", "-")
    if f"--{other}" in known:
        return f"did you mean '--{other}{' json' if plain == 'json' else ''}'? "
    near = difflib.get_close_matches(f"--{plain}", known, n=1, cutoff=0.7)
    return f"did you mean '{near[0]}'? " if near else ""


def _for_choice(error: click.UsageError) -> str:
    """What may be meant by a value that is none of the choices of an option."""
    param = getattr(error, "param", None)
    wrong = re.match(r"'(.{1,80}?)' is not one of ", error.message)
    if param is None or not isinstance(param.type, click.Choice) or wrong is None:
        return ""
    near = difflib.get_close_matches(wrong[1].lower(), [*map(str, param.type.choices)], n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'? " if near else ""


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except (OSError, ValueError):
        return False


def _known(params: Sequence[click.Parameter]) -> list[str]:
    return [name for param in params if isinstance(param, click.Option) for name in param.opts]
