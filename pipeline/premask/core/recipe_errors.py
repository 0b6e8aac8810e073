"""What is wrong with the keys of a recipe, in words: one clause for each, which says what to write instead.

    problems(error.errors(), {"train": Train.model_fields})     # ["max_length: write a whole number ..."]

pydantic finds what is wrong. Its own texts are for programmers, so none of them is shown.
"""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from .text import visible

_MOST = 400  # characters of what is said of one value
_SHOWN = reprlib.Repr()
_SHOWN.maxstring = _SHOWN.maxother = _SHOWN.maxlong = 80
_SHOWN.maxlevel, _SHOWN.maxdict, _SHOWN.maxlist = 2, 3, 3

_EXAMPLES: Mapping[str, str] = {
    "sources": "[chats/*.jsonl]",
    "columns": "[messages]",
    "limit": "1000",
    "sample": "0.1",
    "repeat": "2",
    "fields": "{user: question, assistant: answer}",
    "fields.roles": "{A: user, B: assistant}",
    "repair": "[strip_html]",
    "template_kwargs": "{enable_thinking: false}",
    "max_row_bytes": "64MB",
    "max_length": "4096",
    "train": "{reasoning: false}",
    "train.roles": "[assistant]",
    "leave_out": '["</think>"]',
    "end_of_turn": '["<|im_end|>"]',
    "splits": "{validation: 0.02}",
    "seed": "7",
    "layout": "[packed, unpacked]",
    "extra_columns": "[completion_mask]",
    "token_columns": "[logprobs]",
    "pack_window": "16000000",
    "unit_rows": "10000",
    "verify": "0.002",
    "card": "{license: cc-by-4.0}",
    "language": "[en, de]",
    "source_datasets": "[org/name]",
    "tags": "[chat]",
}
"""Keys -> a value as YAML."""

OTHER_NAMES: Mapping[str, str] = {
    **dict.fromkeys(
        ("data", "dataset", "datasets", "files", "inputs", "train_file", "data_files"), "sources"
    ),
    **dict.fromkeys(("model", "base_model", "model_name_or_path", "model_id"), "tokenizer"),
    **dict.fromkeys(("output_dir", "out", "out_dir", "dataset_prepared_path"), "output"),
    **dict.fromkeys(("template", "chat_template_path"), "chat_template"),
    **dict.fromkeys(("chat_template_kwargs", "template_args", "template_arguments"), "template_kwargs"),
    **dict.fromkeys(
        (
            "sequence_len",
            "seq_length",
            "seq_len",
            "max_seq_length",
            "max_seq_len",
            "cutoff_len",
            "max_tokens",
        ),
        "max_length",
    ),
    **dict.fromkeys(("packing", "sample_packing"), "layout"),
    **dict.fromkeys(("val_set_size", "val_size", "test_size", "validation", "eval_split"), "splits"),
    **dict.fromkeys(("dedup", "deduplicate", "deduplication"), "duplicates"),
    **dict.fromkeys(("minhash", "near_dedup", "fuzzy_dedup", "fuzzy_duplicates"), "near_duplicates"),
    **dict.fromkeys(("decontamination", "contamination", "eval_sets", "benchmarks"), "decontaminate"),
    **dict.fromkeys(("train_on_inputs", "roles_to_train", "mask_history"), "train"),
    **dict.fromkeys(("format", "type"), "dialect"),
    **dict.fromkeys(("field_messages", "message_property_mappings", "columns_map", "mapping"), "fields"),
    **dict.fromkeys(("upsample", "times"), "repeat"),
    **dict.fromkeys(("file", "url", "name", "dataset_name", "data_path"), "path"),
    **dict.fromkeys(("max_samples", "max_rows", "head"), "limit"),
    **dict.fromkeys(("filter", "query", "condition"), "where"),
    **dict.fromkeys(("min_sample_len", "min_tokens", "min_length"), "keep"),
}
"""Names that other tools have for a key."""

_SHARES = frozenset({"weight", "ratio", "proportion", "probability"})
"""Names that other tools have for the share of a source in the mixture."""

_OF_COMMAND = frozenset({"workers", "overwrite", "runner", "attempts", "rank", "world", "push_to_hub"})
"""Options of `premask run` that are no keys."""

_KINDS: Mapping[str, str] = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a number",
    "bool": "true or false",
    "string": "a text",
    "list": "a list",
    "dict": "a mapping",
    "model": "a mapping",
    "date": "a date",
    "enum": "one of its names",
}
"""How the names of errors of type begin -> what belongs there."""

_BOUNDS: Mapping[str, tuple[str, str]] = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
}


def problems(errors: Iterable[Any], known: Mapping[str, Collection[str]], keys: Collection[str]) -> list[str]:
    """Return what is wrong, each once. `errors` are those of pydantic, `keys` the keys of a recipe, and
    `known` the keys of those that have keys of their own."""
    return [*dict.fromkeys(_problem(error, known, keys) for error in errors)]


def unknown_key(key: str, known: Collection[str]) -> str:
    """Return what to say of a key that is none of those `known`, with the nearest of them.

    >>> unknown_key("sources.0.times", ["path", "repeat"])
    "unknown key 'sources.0.times'; did you mean 'repeat'?"
    >>> unknown_key("categories", ["engine"])
    "unknown key 'categories'; known keys: engine"
    """
    name = key.rpartition(".")[2].replace("-", "_").lower()
    if name in _OF_COMMAND and "sources" in known:
        return f"unknown key '{key}'; it is an option of the command: --{name.replace('_', '-')}"
    if name in _SHARES and "repeat" in known:
        hint = "'share' (of the output), 'repeat' (how often it is used) or 'sample' (a part of it)"
        return f"unknown key '{key}'; write {hint}"
    near = difflib.get_close_matches(name, known, n=1)
    other = OTHER_NAMES.get(name)
    best = other if other in known else near[0] if near else None
    hint = f"did you mean '{best}'?" if best else f"known keys: {', '.join(known)}"
    return f"unknown key {shown(key, quote=True)}; {hint}"


def shown(value: Any, *, quote: bool = False) -> str:
    """Return a value as a message shows it: in one line, shortened, and as YAML writes it where that differs.

    >>> shown("4q"), shown(True), shown("x" * 500) == repr("x" * 38 + "..." + "x" * 37)
    ("'4q'", 'true', False)
    """
    if isinstance(value, bool):
        return str(value).lower()
    if quote and isinstance(value, str) and len(value) <= 80 and value.isprintable():
        return f"'{value}'"
    return _SHOWN.repr(value)


def _problem(error: Any, known: Mapping[str, Collection[str]], keys: Collection[str]) -> str:
    place = [part for part in error["loc"] if part != "[key]"]
    if error["loc"] and _is_choice(error["loc"][-1]):  # one of the kinds of a value that may have several
        place = place[:-1]
        return f"{_joined(place)}: write true, false or per_sample, not {shown(error['input'])}"
    key, kind, ctx = _joined(place), error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        above = [part for part in place[:-1] if isinstance(part, str)]
        return unknown_key(key, known[above[-1]] if above else keys)
    if kind == "missing":
        return f"key '{key}' is missing"
    if kind == "value_error":
        text = visible(str(ctx["error"]))[:_MOST]
        return f"{key}: {text}" if key else text
    return f"{key}: {_wrong_value(error['input'], place, kind, ctx)}"


def _wrong_value(value: Any, place: list[Any], kind: str, ctx: Mapping[str, Any]) -> str:
    if value is None:
        return f"it has no value; write {_wanted(place, kind, ctx)}, or leave the key out"
    if kind == "enum" and isinstance(value, str):
        return _no_choice(value, _choices(ctx))
    quoted = " in quotes" if kind == "string_type" and isinstance(value, (int, float)) else ""
    return f"{_instead(place, kind, ctx)}{quoted}, not {shown(value)}"


def _joined(place: Iterable[Any]) -> str:
    return ".".join(shown(str(part), quote=True).strip("'\"") for part in place)


def _is_choice(part: Any) -> bool:
    """Whether a part of a place names one of several kinds that a value may have."""
    return isinstance(part, str) and (part == "bool" or part.startswith("literal["))


def _instead(place: list[Any], kind: str, ctx: Mapping[str, Any]) -> str:
    if kind in _BOUNDS:
        words, name = _BOUNDS[kind]
        return f"it must be {words} {ctx[name]:g}" if ctx[name] < 1e15 else "the number is too large"
    if kind == "too_short":
        return f"write a list with at least {ctx['min_length']} item"
    if kind == "recursion_loop":
        return "it contains itself; write it without an alias"
    if kind == "string_pattern_mismatch":
        return "write a name such as cc-by-4.0 or mit, without spaces"
    if kind == "invalid_key":
        return "write its names as texts, in quotes if they look like numbers"
    return f"write {_wanted(place, kind, ctx)}"


def _wanted(place: list[Any], kind: str, ctx: Mapping[str, Any]) -> str:
    """Return what belongs at a place, with an example where there is one."""
    if kind == "enum":
        return f"one of {', '.join(_choices(ctx))}"
    what = next((words for name, words in _KINDS.items() if kind.startswith(name)), "another value")
    if what == "a date":
        return "a date such as 2025-01-31"
    if place and isinstance(place[-1], int):
        return what
    names = [part for part in place if isinstance(part, str)]
    example = _EXAMPLES.get(".".join(names[-2:])) or _EXAMPLES.get(names[-1] if names else "")
    if names[:1] == ["splits"] and len(names) > 1:
        example = "0.02"
    return f"{what} such as {example}" if example and what != "true or false" else what


def _choices(ctx: Mapping[str, Any]) -> list[str]:
    """Return the choices that pydantic writes `'a', 'b' or 'c'`."""
    return str(ctx["expected"]).replace("'", "").replace(" or ", ", ").split(", ")


def _no_choice(value: str, choices: list[str]) -> str:
    """What to say of a text that is none of some choices."""
    near = difflib.get_close_matches(value[:80], choices, n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return f"{shown(value, quote=True)} is none of {', '.join(choices)}{hint}"
