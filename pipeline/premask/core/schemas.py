"""The published contracts as JSON Schemas, generated from the code that keeps them.

    python -m premask.core.schemas schemas            writes schemas/packed.schema.json and the others
    python -m premask.core.schemas schemas --check    says which of them are out of date; exit code 1

The Arrow schemas of `contract.py` give the tables (one JSON object a row), pydantic gives the recipe, the
conversation and the manifest. What a schema cannot say across fields, such as that `labels` is as long as
`input_ids`, is in its description. Takes a second, nearly all of it imports.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

import pyarrow as pa
from pydantic import TypeAdapter

from .contract import (
    CONTRACT_VERSION,
    IGNORE_INDEX,
    KTO_SCHEMA,
    LINEAGE_SCHEMA,
    LOSS_WEIGHTS,
    PACKED_SCHEMA,
    PAD_TOKENS,
    PADDED_LENGTHS,
    PREFERENCE_SCHEMA,
    REASONS,
    REJECT_SCHEMA,
    SIDES,
    TRAINED_MASKS,
    UNPACKED_SCHEMA,
)
from .manifest import Manifest
from .quantities import COUNT_PATTERN, SIZE_PATTERN
from .recipe import COLUMNS, OTHER_KEYS, Recipe
from .records import ROLES, Conversation

Schema = dict[str, Any]

_INT32_MAX = 2**31 - 1
_TOKEN_ID = {"type": "integer", "minimum": 0, "maximum": _INT32_MAX}


def all_schemas() -> dict[str, Schema]:
    """Return every published schema by its name.

    >>> sorted(all_schemas())
    ['conversation', 'kto', 'lineage', 'manifest', 'packed', 'preference', 'recipe', 'reject', 'unpacked']
    """
    bodies = {
        "recipe": _as_written(_recipe()),
        "conversation": _conversation(),
        "packed": _with(_with_options(_table(PACKED_SCHEMA, _PACKED)), {PADDED_LENGTHS.name: _PADDED}),
        "unpacked": _with_options(_table(UNPACKED_SCHEMA, _UNPACKED)),
        "preference": _table(PREFERENCE_SCHEMA, _PREFERENCE),
        "kto": _table(KTO_SCHEMA, _KTO),
        "reject": _table(REJECT_SCHEMA, _REJECT),
        "lineage": _with(_table(LINEAGE_SCHEMA, _LINEAGE), {PAD_TOKENS.name: _PAD_TOKENS}),
        "manifest": _manifest(),
    }
    return {name: _headed(name, body) for name, body in bodies.items()}


def _headed(name: str, body: Schema) -> Schema:
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"premask/{name}/v{CONTRACT_VERSION}",
        "title": f"premask {name}, version {CONTRACT_VERSION}",
    }
    return {**head, **{key: value for key, value in body.items() if key != "title"}}


# ==== Tables: one JSON object a row ====

_PACKED = (
    "One pack: whole samples back to back; with `pad_rows` a last one of pad tokens. All lists but "
    "seq_lengths and seq_lengths_padded have `length` items."
)
_UNPACKED = "One sample, no padding. All lists have `length` items."
_PREFERENCE = (
    "A chosen and a rejected answer to one prompt. Each mask is as long as its ids, and `length` is that of "
    "the prompt and the longer side."
)
_KTO = "An answer and whether it is a good one; the mask is as long as its ids, `length` is that of all ids."
_REJECT = "One input row that was rejected, or dropped as a duplicate."
_LINEAGE = "Where one sample came from, and where it is in the packed layout."

_PADDED: Schema = {
    "description": "Tokens of each sample and of the padding behind it, multiples of pad_to_multiple; "
    "their sum is `length`. Only if the recipe wants it.",
    "type": "array",
    "minItems": 1,
    "items": {"type": "integer", "minimum": 1, "maximum": _INT32_MAX},
}
_PAD_TOKENS: Schema = {
    "description": "Pad tokens behind the sample. Only if the recipe wants it (pad_to_multiple).",
    "type": "integer",
    "minimum": 0,
    "maximum": _INT32_MAX,
}

_COLUMNS: Mapping[str, Schema] = {
    "input_ids": {"minItems": 1, "items": _TOKEN_ID},
    "labels": {
        "description": f"The token's id where the loss falls, {IGNORE_INDEX} elsewhere; unshifted.",
        "minItems": 1,
        "items": {"anyOf": [{"const": IGNORE_INDEX}, _TOKEN_ID]},
    },
    "position_ids": {
        "description": "Counts from 0 in every sample.",
        "minItems": 1,
        "items": {"minimum": 0},
    },
    "seq_lengths": {
        "description": "Tokens of each sample; their sum is `length`, unless there is seq_lengths_padded.",
        "minItems": 1,
        "items": {"minimum": 1},
    },
    "attention_mask": {"minItems": 1, "items": {"const": 1}},
    "prompt_ids": {"description": "What all sides begin with.", "minItems": 1, "items": _TOKEN_ID},
    **{f"{name}_ids": {"minItems": 1, "items": _TOKEN_ID} for names in SIDES.values() for name in names},
    **{
        f"{name}_mask": {
            "description": "1 where the loss falls, else 0.",
            "minItems": 1,
            "items": {"enum": [0, 1]},
        }
        for names in SIDES.values()
        for name in names
    },
    "label": {"description": "Whether the answer is a good one."},
    "length": {"description": "In tokens.", "minimum": 1},
    "source": {"description": "Input file or dataset."},
    "row": {"description": "Counts from 0 within the source.", "minimum": 0},
    "id": {"description": "The row's own id, if it has one.", "type": ["string", "null"]},
    "reason": {"enum": list(REASONS)},
    "detail": {"description": "What is wrong with this row, as a sentence."},
    "original": {
        "description": "The row as it was read, as JSON; null for a row left out because of other texts.",
        "type": ["string", "null"],
    },
    "pack": {
        "description": "Row over all packed shards of the split in order (unpacked, if only that is there).",
        "minimum": 0,
    },
    "offset": {"description": "First token of the sample within the pack.", "minimum": 0},
    "sample": {"description": "Counts the samples of one input row from 0.", "minimum": 0},
    "trained_turns": {
        "description": "Indices of the messages that carry loss.",
        "items": {"minimum": 0},
    },
    "split": {"description": "Split that the sample is in.", "minLength": 1},
}
"""Column -> what holds beyond its Arrow type."""


def _table(schema: pa.Schema, description: str) -> Schema:
    columns = {field.name: _merged(_arrow_type(field.type), _COLUMNS[field.name]) for field in schema}
    return _object(columns, description=description)


def _with_options(table: Schema) -> Schema:
    """Allow the optional columns."""
    weights = {
        "description": "What a token's loss counts; 0 where it has none. Only if the recipe wants it.",
        "type": "array",
        "items": {"type": "number"},
    }
    mask = {
        "description": "1 where the loss falls, else 0. Only if the recipe wants it.",
        "type": "array",
        "items": {"enum": [0, 1]},
    }
    numbers = {
        "description": "A token column of the recipe: 0 where no loss is, null or NaN if unknown.",
        "type": "array",
        "items": {"type": ["number", "null"]},
    }
    options = {LOSS_WEIGHTS.name: weights, **dict.fromkeys(TRAINED_MASKS, mask)}
    names = f"^(?!({'|'.join(sorted(COLUMNS))})$)[a-z][a-z0-9_]*$"
    return {**_with(table, options), "patternProperties": {names: numbers}}


def _with(table: Schema, options: Schema) -> Schema:
    """Allow more columns, which need not be there."""
    return {**table, "properties": {**table["properties"], **options}}


def _arrow_type(type_: pa.DataType) -> Schema:
    """Return the JSON Schema of the values of an Arrow type.

    >>> _arrow_type(pa.list_(pa.int8()))
    {'type': 'array', 'items': {'type': 'integer', 'minimum': -128, 'maximum': 127}}
    """
    if pa.types.is_list(type_):
        return {"type": "array", "items": _arrow_type(type_.value_type)}
    if pa.types.is_boolean(type_):
        return {"type": "boolean"}
    if pa.types.is_integer(type_):
        limit = 2 ** (type_.bit_width - 1)
        return {"type": "integer", "minimum": -limit, "maximum": limit - 1}
    return {"type": "string"}


def _merged(base: Schema, refinement: Schema) -> Schema:
    """Refine a schema; `items` are refined too, except by an `anyOf`, which says everything itself."""
    items = refinement.get("items", {})
    merged = {**base, **refinement}
    if "items" in base:
        merged["items"] = items if "anyOf" in items else {**base["items"], **items}
    return merged


def _object(properties: Schema, *, description: str = "", more: bool = False) -> Schema:
    """Return the schema of an object that has all these keys, and no others unless `more`."""
    return {
        **({"description": description} if description else {}),
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": more,
    }


# ==== Input side ====


def _recipe() -> Schema:
    """Return pydantic's schema of the recipe, with what its validators check besides."""
    schema = Recipe.model_json_schema()
    schema["description"] = "The settings of a run, as a YAML file has them."
    schema["properties"]["end_of_turn"]["items"]["minLength"] = 1
    schema["properties"]["layout"]["uniqueItems"] = True
    return schema


def _as_written(recipe: Schema) -> Schema:
    """Allow texts such as `4k` where a recipe file may write a number so; a manifest has the number."""
    counts = ("max_length", "pad_to_multiple", "budget", "pack_window", "unit_rows")
    for schema in (*(recipe["properties"][key] for key in counts), *_named(recipe["$defs"], "limit")):
        _allow_text(schema, COUNT_PATTERN)
    _allow_text(recipe["properties"]["max_row_bytes"], SIZE_PATTERN)
    return recipe


def _named(models: Schema, key: str) -> list[Schema]:
    """Return the schemas of the models' properties with this name."""
    return [each["properties"][key] for each in models.values() if key in each.get("properties", {})]


def _allow_text(schema: Schema, pattern: str) -> None:
    for each in (schema, *schema.get("anyOf", [])):
        if each.get("type") == "integer":
            each |= {"type": ["integer", "string"], "pattern": pattern}


@dataclasses.dataclass
class GivenTokens:
    """The tokens of a row that brings its own: ids, which are trained, and the part of the row of each."""

    ids: list[int]
    trained: list[bool]
    parts: list[int]


def _conversation() -> Schema:
    """Return pydantic's schema of a normalized conversation, without room for unknown keys."""
    hints = {**get_type_hints(Conversation, include_extras=True), "given": GivenTokens | None}
    fields = [(each.name, hints[each.name], each) for each in dataclasses.fields(Conversation)]
    twin = dataclasses.make_dataclass("Conversation", fields)
    twin.__doc__ = Conversation.__doc__
    schema = TypeAdapter(twin).json_schema()
    message = schema["$defs"]["Message"]
    message["properties"]["role"]["enum"] = list(ROLES)
    for part in (schema, message):
        part["additionalProperties"] = False
        part["description"] = " ".join(part["description"].split("\n\n")[0].split())
    return schema


# ==== Manifest ====


def _manifest() -> Schema:
    """Return pydantic's schema of the manifest, with the recipe as a run writes it: every key that decides
    bytes is there, and no other."""
    schema, recipe = Manifest.model_json_schema(), _recipe()
    for key in OTHER_KEYS:
        del recipe["properties"][key]
    recipe["required"] = list(recipe["properties"])
    unused = {"EngineChoice", "Card"}
    parts = {name: part for name, part in recipe.pop("$defs").items() if name not in unused}
    schema["properties"]["recipe"] = recipe
    parts |= schema.pop("$defs")
    return {**schema, "$defs": parts}


# ==== Command ====


def render(schema: Schema) -> str:
    """Return a schema as the text of its file."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def stale(directory: Path) -> list[Path]:
    """Return the schema files that are missing in `directory` or differ from the code."""
    files = {directory / f"{name}.schema.json": render(body) for name, body in all_schemas().items()}
    return [p for p, text in files.items() if not p.is_file() or p.read_text(encoding="utf-8") != text]


def write(directory: Path) -> None:
    """Write every schema file into `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, body in all_schemas().items():
        (directory / f"{name}.schema.json").write_text(render(body), encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Write or check the schema files; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m premask.core.schemas", description="Published contracts."
    )
    parser.add_argument("directory", type=Path, help="where the schema files are")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is out of date")
    options = parser.parse_args(arguments)
    if not options.check:
        write(options.directory)
        return 0
    outdated = stale(options.directory)
    for path in outdated:
        print(f"{path} is out of date; run: python -m premask.core.schemas {options.directory}")
    return 1 if outdated else 0


if __name__ == "__main__":
    sys.exit(main())
