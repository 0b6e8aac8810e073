"""The published contracts as JSON Schemas, generated from the code that keeps them.

    python -m pipeline.schemas schemas            writes schemas/packed.schema.json and the others
    python -m pipeline.schemas schemas --check    says which of them are out of date; exit code 1

The Arrow schemas of `contracts.py` give the tables (one JSON object a row), pydantic gives the recipe
and the conversation. What a schema cannot say across fields, such as that `labels` is as long as
`input_ids`, stands in its description. Takes a second, nearly all of it imports.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import TypeAdapter

from .contract import (
    CONTRACT_VERSION,
    IGNORE_INDEX,
    LINEAGE_SCHEMA,
    LOSS_WEIGHTS,
    PACKED_SCHEMA,
    REASONS,
    REJECT_SCHEMA,
    TRAINED_MASKS,
    UNPACKED_SCHEMA,
)
from .manifest import QUANTILES
from .recipe import OTHER_KEYS, Card, Recipe
from .records import ROLES, Conversation

Schema = dict[str, Any]

_INT32_MAX = 2**31 - 1
_TOKEN_ID = {"type": "integer", "minimum": 0, "maximum": _INT32_MAX}
_COUNT = {"type": "integer", "minimum": 0}
_SHA256 = {"type": "string", "pattern": "^[0-9a-f]{64}$"}


def all_schemas() -> dict[str, Schema]:
    """Return every published schema by its name.

    >>> sorted(all_schemas())
    ['conversation', 'lineage', 'manifest', 'packed', 'recipe', 'reject', 'unpacked']
    """
    bodies = {
        "recipe": _recipe(),
        "conversation": _conversation(),
        "packed": _with_options(_table(PACKED_SCHEMA, _PACKED)),
        "unpacked": _with_options(_table(UNPACKED_SCHEMA, _UNPACKED)),
        "reject": _table(REJECT_SCHEMA, _REJECT),
        "lineage": _table(LINEAGE_SCHEMA, _LINEAGE),
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
    "seq_lengths have `length` items."
)
_UNPACKED = "One sample, no padding. All lists have `length` items."
_REJECT = "One input row that was rejected, or dropped as a duplicate."
_LINEAGE = "Where one sample came from, and where it stands in the packed layout."

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
        "description": "Tokens of each sample; their sum is `length`.",
        "minItems": 1,
        "items": {"minimum": 1},
    },
    "attention_mask": {"minItems": 1, "items": {"const": 1}},
    "length": {"description": "In tokens.", "minimum": 1},
    "source": {"description": "Input file or dataset."},
    "row": {"description": "Counts from 0 within the source.", "minimum": 0},
    "id": {"description": "The row's own id, if it has one.", "type": ["string", "null"]},
    "reason": {"enum": list(REASONS)},
    "detail": {"description": "What is wrong with this row, as a sentence."},
    "original": {
        "description": "The row as it was read, as JSON; null for a duplicate.",
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
        "items": {"type": "number", "minimum": 0},
    }
    mask = {
        "description": "1 where the loss falls, else 0. Only if the recipe wants it.",
        "type": "array",
        "items": {"enum": [0, 1]},
    }
    options = {LOSS_WEIGHTS.name: weights, **dict.fromkeys(TRAINED_MASKS, mask)}
    return {**table, "properties": {**table["properties"], **options}}


def _arrow_type(type_: pa.DataType) -> Schema:
    """Return the JSON Schema of the values of an Arrow type.

    >>> _arrow_type(pa.list_(pa.int8()))
    {'type': 'array', 'items': {'type': 'integer', 'minimum': -128, 'maximum': 127}}
    """
    if pa.types.is_list(type_):
        return {"type": "array", "items": _arrow_type(type_.value_type)}
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


def _conversation() -> Schema:
    """Return pydantic's schema of a normalized conversation, without room for unknown keys."""
    schema = TypeAdapter(Conversation).json_schema()
    message = schema["$defs"]["Message"]
    message["properties"]["role"]["enum"] = list(ROLES)
    for part in (schema, message):
        part["additionalProperties"] = False
        part["description"] = part["description"].split("\n")[0]
    return schema


# ==== Manifest ====


def _manifest() -> Schema:
    recipe = _resolved_recipe()
    versions = {"type": "object", "additionalProperties": {"type": "string"}}
    tokenizer = {"name": {"type": "string"}, "sha256": _SHA256, "vocab_size": _COUNT}
    properties = {
        "contract": {"const": CONTRACT_VERSION},
        "premask": {"description": "Version of the program.", "type": "string"},
        "run_key": {"description": "Hash of all that decides the bytes of the shards.", **_SHA256},
        "recipe": recipe,
        "inputs": _array(_input()),
        "tokenizer": _object(tokenizer, more=True),
        "template": _object({"sha256": _SHA256}, more=True),
        "versions": versions,
        "counts": _counts(),
        "engine": _engine(),
        "card": _card(),
        "shards": _array(_shard()),
    }
    body = _object(properties, description="What an output holds, and all that decided its bytes.")
    body["properties"]["pictures"] = _array(_picture())  # outputs of before had none
    body["properties"]["set_aside"] = _array(_set_aside())  # where there are any
    return {**body, "$defs": recipe.pop("$defs")}


def _set_aside() -> Schema:
    rows = {"description": "Rows of the unit that are in the ledger as crashed.", **_COUNT}
    described = {"unit": _COUNT, "rows": rows, "error": {"type": "string"}}
    return _object(described, description="A unit that failed every time, until these rows were left out.")


def _engine() -> Schema:
    described = {
        "name": {"description": "What encoded the texts.", "enum": ["tokenizers", "gigatoken"]},
        "reason": {"description": "Why it is not gigatoken, or not the fast way.", "type": "string"},
        "rows_verified": {"description": "Rows that were done again the slow way.", **_COUNT},
        "samples_by_reference": {"description": "Samples with characters of no proof.", **_COUNT},
    }
    return _object(described, description="How the texts were encoded; changes no byte of the shards.")


def _card() -> Schema:
    """Return pydantic's schema of the card's fields; a manifest shows those that are set."""
    schema = Card.model_json_schema()
    schema["description"] = "What the recipe sets of the dataset card; changes no byte of the shards."
    return {key: value for key, value in schema.items() if key != "title"}


def _resolved_recipe() -> Schema:
    """Return the schema of a recipe with every key there that decides bytes."""
    schema = _recipe()
    for key in OTHER_KEYS:
        del schema["properties"][key]
    del schema["$defs"]["EngineChoice"], schema["$defs"]["Card"]
    return {**schema, "required": list(schema["properties"])}


def _file_sizes() -> Schema:
    return {"bytes": _COUNT, "rows": _COUNT, "sha256": _SHA256}


def _input() -> Schema:
    """Return the schema of a source: the file, and what became of its rows."""
    accounted = {
        **dict.fromkeys(("kept", "dropped"), _COUNT),
        "duplicates": {"description": "Rows that are an earlier one again, dropped or kept.", **_COUNT},
        "rejected": _reasons(),
        "left_out": _left_out(),
    }
    sha256 = {"description": "Null of what was streamed.", "anyOf": [_SHA256, {"type": "null"}]}
    version = {"description": "What the store or the Hub says of a file's version.", "type": "string"}
    described = "rows = kept + dropped + all rejected + all left out."
    needed = _object(
        {"source": {"type": "string"}, **_file_sizes(), "sha256": sha256, **accounted}, description=described
    )
    return {**needed, "properties": {**needed["properties"], "version": version}}


def _reasons() -> Schema:
    return {
        "type": "object",
        "propertyNames": {"enum": [reason for reason in REASONS if reason != "duplicate"]},
        "additionalProperties": {"type": "integer", "minimum": 1},
    }


def _left_out() -> Schema:
    return {
        "description": "Rows that settings of their source leave out, by the setting.",
        "type": "object",
        "additionalProperties": {"type": "integer", "minimum": 1},
    }


def _shard() -> Schema:
    path = {
        "description": "Relative to the output.",
        "type": "string",
        "pattern": "^(packed|unpacked|rejects|lineage)/[A-Za-z0-9_.]+-[0-9]{5,}-of-[0-9]{5,}\\.parquet$",
    }
    tokens = {"description": "0 for rejects and lineage.", **_COUNT}
    raw_bytes = {"description": "Size once decompressed.", **_COUNT}
    return _object({"path": path, "tokens": tokens, "raw_bytes": raw_bytes, **_file_sizes()})


def _picture() -> Schema:
    path = {
        "description": "Of the dataset card; relative to the output.",
        "type": "string",
        "pattern": "^pictures/[a-z]+\\.svg$",
    }
    return _object({"path": path, "bytes": _COUNT, "sha256": _SHA256})


def _counts() -> Schema:
    written = ("samples", "tokens", "trained_tokens", "packs")
    names = ("rows", "kept", "rejected", "duplicates", "dropped", *written)
    fill = {
        "description": "Tokens as a share of the packs' room; null without packs.",
        "type": ["number", "null"],
        "minimum": 0,
        "maximum": 1,
    }
    properties = {
        **dict.fromkeys(names, _COUNT),
        "rejected_by_reason": _reasons(),
        "left_out": _left_out(),
        "fill": fill,
        "splits": {
            "description": "The same of each split.",
            "type": "object",
            "additionalProperties": _object({**dict.fromkeys(written, _COUNT), "fill": fill}),
        },
        "lengths": _lengths(),
    }
    return _object(properties, description="rows = kept + rejected + dropped + all left out.", more=True)


def _lengths() -> Schema:
    """Return the schema of `lengths.describe_lengths`."""
    bar = _object(dict.fromkeys(("from", "to", "samples"), _COUNT), description="Lengths by powers of two.")
    quantiles = {
        name: {"description": f"{share:.0%} of the samples are no longer.", **_COUNT}
        for name, share in QUANTILES.items()
        if name not in {"min", "max"}
    }
    properties = {
        "min": _COUNT,
        **quantiles,
        "max": _COUNT,
        "mean": {"type": "number", "minimum": 0},
        "histogram": _array(bar),
    }
    described = _object(properties, description="Tokens of the samples; null without samples.")
    return {**described, "type": ["object", "null"]}


def _array(items: Schema) -> Schema:
    return {"type": "array", "items": items}


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
    parser = argparse.ArgumentParser(prog="python -m pipeline.schemas", description="Published contracts.")
    parser.add_argument("directory", type=Path, help="where the schema files are")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is out of date")
    options = parser.parse_args(arguments)
    if not options.check:
        write(options.directory)
        return 0
    outdated = stale(options.directory)
    for path in outdated:
        print(f"{path} is out of date; run: python -m pipeline.schemas {options.directory}")
    return 1 if outdated else 0


if __name__ == "__main__":
    sys.exit(main())
