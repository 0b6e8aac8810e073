"""The front matter of a dataset card: what lets `load_dataset` and the Hub find the right files.

Without it the layouts would be merged into one dataset. Its numbers are those of the files as they were
written, because `load_dataset` refuses a card whose row counts are wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from ..core.contract import layout_schema
from ..core.manifest import Manifest, Shard

_TASK = "text-generation"
_OF_CHATS = ("supervised-fine-tuning",)
_OF_SIDES = {"preference": ("preference", "dpo"), "kto": ("preference", "kto")}

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


def front_matter(manifest: Manifest) -> dict[str, Any]:
    """Return the front matter: what the recipe says in `card`, the configs with their files, and tags."""
    layouts, card, model = manifest.layouts, manifest.card.shown(), base_model(manifest.as_dict())
    about: dict[str, Any] = {
        key: card[key] for key in ("pretty_name", "license", "language", "source_datasets") if key in card
    }
    return {
        **about,
        **({"base_model": model} if model else {}),
        "configs": [_config(layout, manifest, default=layout == layouts[0]) for layout in layouts],
        "dataset_info": [_dataset_info(layout, manifest) for layout in layouts],
        "task_categories": [_TASK],
        "size_categories": [_size(_sum(manifest.shards_of(layouts[0]), "rows"))],
        "tags": list(dict.fromkeys([*_tags(layouts), *card.get("tags", [])])),
    }


def base_model(facts: Mapping[str, Any]) -> str:
    """Return the model whose tokenizer made the ids, given a manifest's values; empty if not known."""
    return str(facts["card"].get("base_model") or facts["tokenizer"].get("hub") or "")


def _tags(layouts: Sequence[str]) -> tuple[str, ...]:
    what = next((_OF_SIDES[layout] for layout in layouts if layout in _OF_SIDES), _OF_CHATS)
    return ("premask", "chat", *what, "tokenized", "loss-mask")


def _config(layout: str, manifest: Manifest, *, default: bool) -> dict[str, Any]:
    files = [{"split": split, "path": f"{layout}/{split}-*.parquet"} for split in manifest.splits]
    return {"config_name": layout, **({"default": True} if default else {}), "data_files": files}


def _dataset_info(layout: str, manifest: Manifest) -> dict[str, Any]:
    splits = []
    for name in manifest.splits:
        files = manifest.shards_of(layout, name)
        sizes = {"num_bytes": _sum(files, "raw_bytes"), "num_examples": _sum(files, "rows")}
        splits.append({"name": name, **sizes})
    return {
        "config_name": layout,
        "features": [_feature(field) for field in layout_schema(layout, manifest.recipe)],
        "splits": splits,
        "download_size": _sum(manifest.shards_of(layout), "bytes"),
        "dataset_size": sum(split["num_bytes"] for split in splits),
    }


def _sum(files: Iterable[Shard], key: str) -> int:
    return sum(getattr(file, key) for file in files)


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
