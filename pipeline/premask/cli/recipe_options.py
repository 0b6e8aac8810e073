"""The options of a recipe's keys, made from its fields: name, type, choices, default and description.

    @command("premask plan recipe.yaml")
    @inputs_argument
    @recipe_options(*KEYS)
    def plan(inputs: tuple[str, ...], flags: Flags) -> None:
        recipe = recipe_of(inputs, flags)

Values are text up to the recipe, which checks them all the same way, from a file or from options. A key with
keys of its own is written `--train reasoning=false`, one pair an option; a list of choices with commas.
Template arguments are pairs, too, whose values are JSON if they can be, or one JSON object.
"""

from __future__ import annotations

import datetime
import functools
import json
import types
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import click
from click.shell_completion import CompletionItem
from pydantic import BaseModel

from ..core.errors import RecipeError
from ..core.recipe import Recipe
from ..core.recipe_file import is_recipe
from ..core.roles import ROLES
from .options import Complete, F, argument, files, one_of, option

Flags = Mapping[str, Any]
"""Keys of a recipe that were given as options, as they were written."""

GROUPS: Mapping[str, tuple[str, ...]] = {
    "Input": ("dialect", "fields", "paths", "repair", "max_row_bytes", "salvage", "map"),
    "Tokenizer and template": ("tokenizer", "chat_template", "template_kwargs", "date", "control_tokens"),
    "Mask": (
        *("mask", "train", "leave_out", "history", "open_reasoning", "on_dropped", "seam", "append_eos"),
        *("end_of_turn", "loss_weights", "token_columns"),
    ),
    "Mixture and splits": (
        *("keep", "mix_by", "budget", "temperature", "max_repeat"),
        *("duplicates", "near_duplicates", "decontaminate", "splits", "split_by", "seed", "shuffle"),
    ),
    "Samples and packs": (
        *("max_length", "too_long", "layout", "pad_rows", "pad_to_multiple", "extra_columns", "pack_window"),
    ),
    "Work": ("engine", "verify", "unit_rows", "cache"),
    "Output": ("output", "card"),
}
"""How the help groups the keys of a recipe; `sources` are the arguments."""

KEYS = tuple(key for keys in GROUPS.values() for key in keys)
ROW_KEYS = (*GROUPS["Input"], *GROUPS["Tokenizer and template"], *GROUPS["Mask"], "layout")
"""The keys that decide what becomes of a single row."""

_PAIRS = {
    "train": ("KEY=VALUE", "reasoning=false"),
    "splits": ("NAME=SHARE", "validation=0.02"),
    "near_duplicates": ("KEY=VALUE", "threshold=0.8"),
    "decontaminate": ("KEY=VALUE", "sets=gsm8k.jsonl,mmlu.csv"),
    "fields": ("KEY=PATH", "user=question"),
    "card": ("KEY=VALUE", "license=cc-by-4.0"),
    "template_kwargs": ("NAME=VALUE", "enable_thinking=auto"),
}
"""Keys with keys of their own -> what is written for one of these, and an example."""

_FILES = frozenset({"tokenizer", "output", "cache"})
"""Keys whose values name files or folders."""

inputs_argument = argument(
    "inputs", "INPUTS...", "Recipe (.yaml), or data files and glob patterns.", nargs=-1, required=True
)


# ==== Options ====


def recipe_options(
    *keys: str, needed: Collection[str] = (), defaults: bool = True
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add the options of some keys to a command, which gets those that are given as `flags`. The help says
    which of them are `needed`, and the `defaults` of the others."""

    def add(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def with_flags(**values: Any) -> None:
            given = {key: values.pop(key) for key in keys}
            function(flags={key: value for key, value in given.items() if value not in (None, ())}, **values)

        wrapped: Callable[..., None] = with_flags
        for key in reversed(keys):
            wrapped = _option(key, needed=key in needed, default=defaults)(wrapped)
        return wrapped

    return add


def _option(key: str, *, needed: bool, default: bool) -> Callable[[F], F]:
    field = Recipe.model_fields[key]
    kind, many = _kind_of(field.annotation)
    words = [field.description or "", *_how_written(key, kind, many=many)]
    if field.is_required():
        words += ["[required]"] if needed else []
    elif default and (shown := _shown(field.get_default(call_default_factory=True))):
        words.append(f"[default: {shown}]")
    name = f"--{key.replace('_', '-')}"
    group = next(title for title, members in GROUPS.items() if key in members)
    if choices := _words(field.annotation):
        words.append(f"Alone, or with one of: {', '.join(choices)}.")
        complete = one_of(choices)
        return option(
            name,
            group=group,
            words=choices,
            metavar="[CHOICE]",
            help=" ".join(words),
            shell_complete=complete,
        )
    if kind is bool:
        return option(name, group=group, is_flag=True, default=None, help=" ".join(words))
    repeated = key in _PAIRS or (many and kind is str)
    return option(
        name,
        group=group,
        multiple=repeated,
        metavar=_metavar(key, kind),
        help=" ".join(words),
        shell_complete=_completion(key, kind, many=many),
    )


def _completion(key: str, kind: Any, *, many: bool) -> Complete | None:
    """Return what a shell offers for the values of a key: choices, keys below it, or files."""
    if issubclass(kind, Enum):
        return one_of([each.value for each in kind], many=many)
    if key == "chat_template":
        return _templates
    if key in _FILES:
        return files
    if issubclass(kind, BaseModel):
        return one_of([f"{name}=" for name in kind.model_fields])
    return None


def _templates(context: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the built-in templates, and files."""
    names = [path.stem for path in (Path(__file__).parents[1] / "masking" / "templates").glob("*.jinja")]
    return one_of(sorted(names))(context, param, incomplete) or files(context, param, incomplete)


def _words(annotation: Any) -> tuple[str, ...]:
    """The values of a switch that has more than on and off.

    >>> _words(bool | Literal["per_sample"]), _words(bool)
    (('true', 'false', 'per_sample'), ())
    """
    names = [name for each in get_args(annotation) if get_origin(each) is Literal for name in get_args(each)]
    return ("true", "false", *names) if names else ()


def _kind_of(annotation: Any) -> tuple[Any, bool]:
    """What a value is, without its "or None", and whether the key holds a list of such values.

    >>> _kind_of(int | None), _kind_of(list[str])
    ((<class 'int'>, False), (<class 'str'>, True))
    """
    if get_origin(annotation) in (Union, types.UnionType):
        return _kind_of(next(each for each in get_args(annotation) if each is not type(None)))
    if get_origin(annotation) is list:
        return get_args(annotation)[0], True
    return get_origin(annotation) or annotation, False


def _how_written(key: str, kind: Any, *, many: bool) -> list[str]:
    """The sentence of the help that says how values are written, where that is not plain."""
    if key in _PAIRS:
        also = ", or one JSON object" if key == "template_kwargs" else ""
        return [f"Such as {_PAIRS[key][1]}{also}; repeatable."]
    if issubclass(kind, Enum):
        return [f"{'Any of, with commas' if many else 'One of'}: {', '.join(each.value for each in kind)}."]
    return ["Repeatable."] if many else []


def _metavar(key: str, kind: Any) -> str:
    if key in _PAIRS:
        return _PAIRS[key][0]
    names = {int: "N", float: "NUMBER", datetime.date: "YYYY-MM-DD"}
    return "CHOICE" if issubclass(kind, Enum) else names.get(kind, "TEXT")


def _shown(default: Any) -> str:
    """A default as it would be written; "" where there is none worth showing."""
    if isinstance(default, list):
        return ",".join(map(_shown, default))
    if isinstance(default, Enum):
        return str(default.value)
    if default is None or isinstance(default, (bool, dict, BaseModel)):
        return ""
    return str(default)


# ==== A recipe of what was given ====


def recipe_of(inputs: Sequence[str], flags: Flags, *, absent: Mapping[str, Any] | None = None) -> Recipe:
    """Return the recipe of a command line: a recipe file with options over it, or options alone. `absent` has
    the values of keys that are in neither.

    Raises `RecipeError` naming the option or the file, the key and how to fix it.
    """
    from ..core.recipe_file import make_recipe, read_recipe

    given = keys_of(flags)
    recipes = [name for name in inputs if is_recipe(name)]
    if recipes and len(inputs) > 1:
        raise RecipeError(f"{recipes[0]} is a recipe; name the data files in it, under 'sources'")
    if not recipes:
        if "tokenizer" not in given and _is_json_recipe(inputs[0]):
            raise RecipeError(f"{inputs[0]} is a recipe; name it .yaml (JSON is YAML, too)")
        return make_recipe({**(absent or {}), "sources": [*inputs], **given}, where="command line")
    written = read_recipe(Path(inputs[0]))
    whole = any(text.lstrip().startswith("{") for text in flags.get("template_kwargs", ()))
    for key in (
        "train",
        "card",
        "splits",
        "near_duplicates",
        "decontaminate",
        *(() if whole else ("template_kwargs",)),
    ):
        if key in given and isinstance(written.get(key), dict):
            given[key] = {**written[key], **given[key]}  # an option sets one key, the others stay
    return make_recipe({**(absent or {}), **written, **given}, where=inputs[0])


def set_map_allowed(inputs: Sequence[str], *, allowed: bool) -> None:
    """Say whether functions of recipes (`map`) may run; their modules are sought in the folder of the recipe,
    or without one in the current folder."""
    from ..sources.mapping import allow_map

    folder = Path(inputs[0]).parent if is_recipe(inputs[0]) else Path()
    allow_map(folder if allowed else None)


def keys_of(flags: Flags) -> dict[str, Any]:
    """Return the keys that were given as options, as a recipe file would hold them."""
    return {key: _read(key, value) for key, value in flags.items()}


def _is_json_recipe(name: str) -> bool:
    """Whether a file is a recipe that is named like data."""
    with suppress(OSError, ValueError):
        path = Path(name)
        if path.suffix.lower() == ".json" and path.is_file():
            with path.open("rb") as file:
                start = file.read(1 << 16)
            return start.lstrip()[:1] == b"{" and b'"tokenizer"' in start and b'"sources"' in start
    return False


def _read(key: str, value: Any) -> Any:
    """What is written for a key -> what a recipe file would hold."""
    kind, many = _kind_of(Recipe.model_fields[key].annotation)
    if key == "template_kwargs":
        return _read_arguments(value)
    if key in _PAIRS:
        return _read_pairs(key, kind, value)
    if many and issubclass(kind, Enum):
        return _names(value)
    return [*value] if many else value


def _read_pairs(key: str, model: Any, texts: Sequence[str]) -> dict[str, Any]:
    """Pairs such as `roles=assistant,tool`, by what each key of the model holds: a list, or a mapping that is
    written `roles.A=user`."""
    found: dict[str, Any] = {}
    fields = model.model_fields if issubclass(model, BaseModel) else {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            form, example = _PAIRS[key]
            if key == "train" and text in ROLES:
                example = f"roles=assistant,{text}"
            raise RecipeError(f"--{key} {text[:80]}: write it as {form.lower()}, such as {example}")
        above, dot, below = name.partition(".")
        if dot and above in fields and _kind_of(fields[above].annotation)[0] is dict:
            found.setdefault(above, {})[below] = value
        else:
            many = name in fields and _kind_of(fields[name].annotation)[1]
            found[name] = value.split(",") if many else value
    return found


def _names(text: str) -> list[str]:
    """`packed, unpacked` as a list."""
    return [part.strip() for part in text.split(",") if part.strip()]


def _read_arguments(texts: Sequence[str]) -> Any:
    """Template arguments: pairs such as `enable_thinking=auto`, or JSON; a later one wins.

    >>> _read_arguments(["enable_thinking=false", "effort=high", '{"effort": 1}'])
    {'enable_thinking': False, 'effort': 1}
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if equals and name.isidentifier():
            found[name] = _value(value)
            continue
        hint = "write it as name=value, such as enable_thinking=auto, or as a JSON object"
        try:
            several = json.loads(text)
        except RecursionError:
            raise RecipeError("--template-kwargs is nested too deeply") from None
        except ValueError as error:
            if text.lstrip()[:1] not in ("{", "["):
                raise RecipeError(f"--template-kwargs {text[:80]}: {hint}") from None
            raise RecipeError(f"--template-kwargs is not valid JSON: {error}; {hint}") from None
        if not isinstance(several, dict):
            return several  # the recipe says what is wrong
        found |= several
    return found


def _value(text: str) -> Any:
    """Return a value as JSON, or else as text; True, False and None may be written as in Python."""
    try:
        return json.loads({"True": "true", "False": "false", "None": "null"}.get(text, text))
    except (ValueError, RecursionError):
        return text
