"""The dataset card: README.md of an output, made from its manifest alone.

The front matter is what lets `load_dataset(OUT, "packed")` find the right files, in a folder as on the
Hub: without it the layouts would be merged into one. Its numbers are those of the files as they were
written, because `load_dataset` refuses a card whose row counts are wrong.

    text = make_card(manifest)      # ---, configs: - config_name: packed ..., ---, # Chat training data ...

Costs nothing to speak of.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import yaml

from .contracts import PACKED_SCHEMA, REASONS, UNPACKED_SCHEMA, row_schema

Manifest = Mapping[str, Any]
"""A manifest as `schemas/manifest.schema.json` describes it."""

_LAYOUTS = {"packed": PACKED_SCHEMA, "unpacked": UNPACKED_SCHEMA}

_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
    (100_000_000, "10M<n<100M"),
    (1_000_000_000, "100M<n<1B"),
    (10_000_000_000, "1B<n<10B"),
)
"""The Hub's size categories: fewer rows than the number -> its name."""

_COLUMNS = {
    "input_ids": "token ids, exactly as the chat template and the tokenizer give them",
    "labels": "the ids again where the loss falls, -100 everywhere else; unshifted, the model shifts",
    "position_ids": "positions, counted from 0 in every sample of the pack",
    "seq_lengths": "lengths of the samples in the pack, in tokens",
    "attention_mask": "all ones",
    "length": "tokens in the row",
    "assistant_masks": "1 where the loss falls, else 0: the labels again, for older trainers",
    "completion_mask": "1 where the loss falls, else 0: the labels again, for older trainers",
    "loss_weights": "what a token's loss counts: 0 where there is none, else its message's weight, mostly 1",
}

_MASK = """\
The loss falls on exactly what the model has to write: every trained assistant turn from its first token \
after the generation prompt up to and including the token that ends the turn. Headers, system and user \
messages, tool results, and what the template prints between turns have label -100, and so has the first \
token of every sample. Labels are **unshifted** (Hugging Face convention)."""

_PACKED = """\
Packs hold whole samples and **no `attention_mask`, on purpose**: a mask of ones beside packed \
`position_ids` makes several attention implementations let samples see each other. To keep them apart:

- eager, sdpa, flex attention: pass `position_ids`, no mask, and `use_cache=False`;
- flash attention: flatten the batch to one row and pass `cu_seq_lens` made from `seq_lengths`;
- TRL: `SFTConfig(padding_free=True, max_length=None)`."""


def make_card(manifest: Manifest) -> str:
    """Return README.md for an output: YAML front matter for `datasets` and the Hub, then text.

    `manifest` is what `shards.Output.finish` writes; with a `KeyError` for anything less.
    """
    front = yaml.safe_dump(_front_matter(manifest), sort_keys=False, allow_unicode=True)
    sections = [
        "# Chat training data with the loss mask in it",
        _introduction(manifest),
        "## Columns\n\n" + "\n\n".join(_columns(layout, manifest) for layout in _layouts(manifest)),
        f"## The mask\n\n{_MASK}",
        f"## Loading\n\n{_loading(manifest)}",
        f"## Counts\n\n{_counts(manifest['counts'])}",
        f"## Made from\n\n{_provenance(manifest)}",
    ]
    return f"---\n{front}---\n\n" + "\n\n".join(sections) + "\n"


# ==== Front matter ====


def _front_matter(manifest: Manifest) -> dict[str, Any]:
    layouts = _layouts(manifest)
    return {
        "configs": [_config(layout, default=layout == layouts[0]) for layout in layouts],
        "dataset_info": [_dataset_info(layout, manifest) for layout in layouts],
        "task_categories": ["text-generation"],
        "size_categories": [_size(sum(s["rows"] for s in _of(layouts[0], manifest["shards"])))],
        "tags": ["premask", "chat", "supervised-fine-tuning", "tokenized", "loss-mask"],
    }


def _layouts(manifest: Manifest) -> list[str]:
    """Return the layouts that were written, the default one first.

    >>> _layouts({"recipe": {"layout": ["unpacked", "packed"]}})
    ['packed', 'unpacked']
    """
    return [layout for layout in _LAYOUTS if layout in manifest["recipe"]["layout"]]


def _config(layout: str, *, default: bool) -> dict[str, Any]:
    files = [{"split": "train", "path": f"{layout}/train-*.parquet"}]
    return {"config_name": layout, **({"default": True} if default else {}), "data_files": files}


def _dataset_info(layout: str, manifest: Manifest) -> dict[str, Any]:
    files = _of(layout, manifest["shards"])
    size = sum(file["raw_bytes"] for file in files)
    split = {"name": "train", "num_bytes": size, "num_examples": sum(file["rows"] for file in files)}
    return {
        "config_name": layout,
        "features": [_feature(field) for field in _schema(layout, manifest)],
        "splits": [split],
        "download_size": sum(file["bytes"] for file in files),
        "dataset_size": size,
    }


def _schema(layout: str, manifest: Manifest) -> pa.Schema:
    recipe = manifest["recipe"]
    weights, extra = bool(recipe.get("loss_weights")), recipe.get("extra_columns", ())
    return row_schema(layout, loss_weights=weights, extra_columns=extra)


def _of(layout: str, shards: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [shard for shard in shards if shard["path"].startswith(f"{layout}/")]


def _feature(field: pa.Field) -> dict[str, str]:
    """Return a column as the front matter names it.

    >>> _feature(pa.field("length", pa.int32())), _feature(pa.field("labels", pa.list_(pa.int32())))
    ({'name': 'length', 'dtype': 'int32'}, {'name': 'labels', 'list': 'int32'})
    """
    if pa.types.is_list(field.type):
        return {"name": field.name, "list": _dtype(field.type.value_type)}
    return {"name": field.name, "dtype": _dtype(field.type)}


def _dtype(type_: pa.DataType) -> str:
    """Return a type's name in `datasets`, which differs from Arrow's own for this one."""
    return "float32" if type_ == pa.float32() else str(type_)


def _size(rows: int) -> str:
    """Return the Hub's size category.

    >>> _size(999), _size(1000)
    ('n<1K', '1K<n<10K')
    """
    return next((name for limit, name in _SIZES if rows < limit), "10B<n<100B")


# ==== Text ====


def _introduction(manifest: Manifest) -> str:
    tokenizer, max_length = manifest["tokenizer"]["name"], manifest["recipe"]["max_length"]
    return (
        f"Token ids and labels for {_code(tokenizer)}, at most {max_length:,} tokens a row, ready for any "
        "trainer that takes `input_ids` and `labels`. Written by premask "
        f"{manifest['premask']}, output contract {manifest['contract']}."
    )


def _columns(layout: str, manifest: Manifest) -> str:
    fields = _schema(layout, manifest)
    rows = [(f"`{field.name}`", _type(field.type), _COLUMNS[field.name]) for field in fields]
    what = "whole samples back to back, no padding" if layout == "packed" else "one sample a row, no padding"
    return f"**{layout}**: {what}.\n\n{_table(('column', 'type', 'what it holds'), rows)}"


def _type(type_: pa.DataType) -> str:
    return f"list of {type_.value_type}" if pa.types.is_list(type_) else str(type_)


def _loading(manifest: Manifest) -> str:
    layouts = _layouts(manifest)
    calls = [f'{layout} = load_dataset(OUT, "{layout}", split="train")' for layout in layouts]
    code = "\n".join(
        [
            "from datasets import load_dataset",
            "from transformers import AutoTokenizer",
            "",
            "OUT = ...  # this folder, or its name on the Hub",
            *calls,
            'tokenizer = AutoTokenizer.from_pretrained("tokenizer")  # the folder of that name in here',
        ]
    )
    return _fenced(code, "python") + (f"\n\n{_PACKED}" if "packed" in layouts else "")


def _counts(counts: Mapping[str, Any]) -> str:
    """Return the table of counts; percentages of nothing are left out."""
    trained, tokens = counts["trained_tokens"], counts["tokens"]
    rows = [
        ("rows read", f"{counts['rows']:,}"),
        ("rows kept", f"{counts['kept']:,}"),
        ("rows rejected", f"{counts['rejected']:,}"),
        *((f"– {_reason(r)}", f"{n:,}") for r, n in sorted(counts["rejected_by_reason"].items())),
        ("samples", f"{counts['samples']:,}"),
        ("tokens", f"{tokens:,}"),
        ("trained tokens", f"{trained:,}" + (f" ({trained / tokens:.1%})" if tokens else "")),
    ]
    if counts["fill"] is not None:
        rows += [("packs", f"{counts['packs']:,}"), ("fill of the packs", f"{counts['fill']:.2%}")]
    ledger = "Rejected rows are listed in `rejects/`, and where every sample went in `lineage/`."
    return f"{_table(('what', 'count'), rows)}\n\n{ledger}"


def _reason(reason: str) -> str:
    return f"`{reason}`: {REASONS[reason]}" if reason in REASONS else _code(reason)


def _provenance(manifest: Manifest) -> str:
    tokenizer, template = manifest["tokenizer"], manifest["template"]
    inputs = [(_code(i["source"]), f"{i['rows']:,}", f"`{i['sha256']}`") for i in manifest["inputs"]]
    recipe = yaml.safe_dump(manifest["recipe"], sort_keys=False, allow_unicode=True)
    versions = ", ".join(f"{name} {version}" for name, version in sorted(manifest["versions"].items()))
    parts = [
        f"Tokenizer {_code(tokenizer['name'])}, sha256 `{tokenizer['sha256']}`.",
        f"Chat template sha256 `{template['sha256']}`.",
        _table(("input", "rows", "sha256"), inputs),
        "The same input and this recipe (add an `output`) give the same bytes again:",
        _fenced(recipe, "yaml"),
        f"Versions: premask {manifest['premask']}, {versions}. `manifest.json` has the sha256 of every file.",
    ]
    return "\n\n".join(parts)


# ==== Markdown ====


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    r"""Return a Markdown table.

    >>> print(_table(("a", "b"), [("1", "x|y")]))
    | a | b |
    |---|---|
    | 1 | x\|y |
    """
    lines = [head, *rows]
    text = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
    return "\n".join([text[0], "|" + "---|" * len(head), *text[1:]])


def _code(text: str) -> str:
    """Return text as inline code, whatever is in it.

    >>> _code("a`b")
    '`` a`b ``'
    """
    line = " ".join(text.split())
    return f"`{line}`" if "`" not in line else f"{_fence(line, 2)} {line} {_fence(line, 2)}"


def _fenced(text: str, language: str) -> str:
    fence = _fence(text, 3)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _fence(text: str, least: int) -> str:
    """Return more backticks in a row than stand anywhere in the text."""
    return "`" * max(least, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
