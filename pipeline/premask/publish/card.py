"""The dataset card: README.md of an output, made from its manifest alone.

    text = make_card(manifest)      # ---, configs: - config_name: packed ..., ---, # Chat training data ...

`card_front.py` makes the front matter, `card_mask.py` and `card_counts.py` the sections that say most.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import yaml

from ..core.contract import SIDES, layout_schema
from ..core.manifest import Manifest
from ..core.recipe import Recipe
from .card_counts import counts_section, lengths_section
from .card_front import front_matter
from .card_mask import limits_section, mask_section
from .markdown import as_code, as_fenced, as_plain, as_table
from .mixture_words import mixture_section
from .trainer_lines import snippets

Facts = Mapping[str, Any]
"""The manifest, or a part of it, as JSON values with sorted keys."""

_COLUMNS = {
    "input_ids": "token ids, exactly as the chat template and the tokenizer give them",
    "labels": "the ids again where the loss falls, -100 everywhere else; unshifted, the model shifts",
    "position_ids": "positions, counted from 0 in every sample of the pack",
    "seq_lengths": "lengths of the samples in the pack, in tokens",
    "seq_lengths_padded": "the same with the pad tokens behind each sample, label -100",
    "attention_mask": "all ones",
    "length": "tokens in the row",
    "assistant_masks": "1 where the loss falls, else 0: the labels again, for older trainers",
    "completion_mask": "1 where the loss falls, else 0: the labels again, for older trainers",
    "loss_weights": "weight of the token's loss: 0 where there is none, else as the row says, mostly 1",
    "prompt_ids": "token ids before the first trained token, the same for all sides of the row",
    "chosen_ids": "token ids of the chosen side, after the prompt",
    "chosen_mask": "1 where the loss falls in the chosen side, else 0",
    "rejected_ids": "token ids of the rejected side, after the prompt",
    "rejected_mask": "1 where the loss falls in the rejected side, else 0",
    "completion_ids": "token ids of the answer, after the prompt",
    "label": "whether the answer is a good one",
}

_OF_SIDES = {
    "completion_mask": "1 where the loss falls in the answer, else 0",
    "length": "tokens of the prompt and the longest side",
}
"""Columns that hold something else in the layouts of preferences."""

_ROWS = {
    "unpacked": "one sample a row, no padding",
    "preference": "a chosen and a rejected answer to one prompt a row, no padding",
    "kto": "one answer a row, and whether it is a good one, no padding",
}

_CHATS = ("Chat data as token ids and labels", "any trainer that takes `input_ids` and `labels`")
_PREFERENCES = ("Preferences as token ids and masks", "TRL's trainers of preferences")
_OF_TOKENS = "number of the token as its row gives it: 0 where there is no loss, NaN where the row has none"

_PACKED = """\
Packs hold whole samples and **no `attention_mask`, on purpose**: a mask of ones beside packed \
`position_ids` makes several attention implementations let samples see each other. To keep them apart:

- eager, sdpa, flex attention: pass `position_ids`, no mask, and `use_cache=False`;
- flash attention: flatten the batch to one row and pass `cu_seq_lens` made from `seq_lengths`;
- in a trainer: see its lines at the end of this card."""


def make_card(manifest: Manifest) -> str:
    """Return README.md for an output: YAML front matter for `datasets` and the Hub, then text.

    The order of the manifest's keys makes no difference.
    """
    front = yaml.safe_dump(front_matter(manifest), sort_keys=False, allow_unicode=True)
    facts, layouts = json.loads(json.dumps(manifest.as_dict(), sort_keys=True)), manifest.layouts
    sections = [
        f"# {_title(facts['card'])}",
        _introduction(facts),
        "## Columns\n\n" + "\n\n".join(_columns(layout, facts["recipe"]) for layout in layouts),
        f"## The mask\n\n{mask_section(facts['recipe'])}",
        f"## Loading\n\n{_loading(layouts)}",
        f"## Counts\n\n{counts_section(facts['counts'])}",
        *mixture_section(facts.get("mixture")),
        f"## Lengths\n\n{lengths_section(facts['counts'])}",
        *_pictures(facts),
        f"## Made from\n\n{_provenance(facts)}",
        f"## Known limits\n\n{limits_section(facts['recipe'], facts['counts'])}",
        f"## In your trainer\n\n{_in_trainers(layouts)}",
    ]
    return f"---\n{front}---\n\n" + "\n\n".join(sections) + "\n"


# ==== Text ====


def _title(card: Mapping[str, Any]) -> str:
    return (
        as_plain(card["pretty_name"])
        if "pretty_name" in card
        else "Chat training data with the loss mask in it"
    )


def _introduction(facts: Facts) -> str:
    tokenizer, max_length = facts["tokenizer"]["name"], facts["recipe"]["max_length"]
    card = facts["card"]
    paragraphs = [
        as_plain(text) for text in re.split(r"\n\s*\n", card.get("description", "")) if text.strip()
    ]
    sides = SIDES.keys() & {*facts["recipe"]["layout"]}
    what, ready = _PREFERENCES if sides else _CHATS
    paragraphs.append(
        f"{what} for {as_code(tokenizer)}, at most {max_length:,} tokens a {'text' if sides else 'row'}, "
        f"ready for {ready}. Written by premask {facts['premask']}, output contract {facts['contract']}."
    )
    if "source_datasets" in card:
        paragraphs.append(f"Made from {', '.join(map(as_code, card['source_datasets']))}.")
    named = f"License: {as_code(card['license'])}." if "license" in card else ""
    return "\n\n".join([*paragraphs, named or "No license is given here; that of the sources applies."])


def _columns(layout: str, recipe: Facts) -> str:
    fields = layout_schema(layout, recipe)
    words = _COLUMNS | (_OF_SIDES if layout in SIDES else {})
    rows = [(f"`{field.name}`", _type(field.type), words.get(field.name, _OF_TOKENS)) for field in fields]
    what = _ROWS.get(layout, f"whole samples back to back, {_padding(recipe)}")
    return f"**{layout}**: {what}.\n\n{as_table(('column', 'type', 'what it holds'), rows)}"


def _padding(recipe: Facts) -> str:
    """What packs have of padding, in words."""
    multiple = recipe.get("pad_to_multiple")
    found = [f"each padded to a multiple of {multiple} tokens"] if multiple else []
    if recipe.get("pad_rows") == "to_length":
        found.append("filled with one document of pad tokens")
    return ", ".join(found) or "no padding"


def _type(type_: pa.DataType) -> str:
    return f"list of {type_.value_type}" if pa.types.is_list(type_) else str(type_)


def _loading(layouts: Sequence[str]) -> str:
    calls = [f'{layout} = load_dataset(OUT, "{layout}", split="train")' for layout in layouts]
    lines = "\n".join(
        [
            "from datasets import load_dataset",
            "from transformers import AutoTokenizer",
            "",
            "OUT = ...  # this folder, or its name on the Hub",
            *calls,
            'tokenizer = AutoTokenizer.from_pretrained("tokenizer")  # the folder of that name here',
        ]
    )
    return as_fenced(lines, "python") + (f"\n\n{_PACKED}" if "packed" in layouts else "")


def _in_trainers(layouts: Sequence[str]) -> str:
    """The lines of each trainer, one after another."""
    shown = [
        f"### {each.trainer}, {each.layout}: {each.essential}\n\n"
        f"{as_fenced(each.text, each.language)}\n\n{each.note}"
        for each in snippets(layouts, dataset="OUT")
    ]
    what = "`OUT` is this folder or its name on the Hub. Tests of premask run these lines and compare losses."
    return "\n\n".join([what, *shown])


_PICTURES = {
    "pictures/lengths.svg": "Histogram of the lengths of the samples, with max_length",
    "pictures/roles.svg": "Tokens by who wrote them, trained and not trained",
    "pictures/rejects.svg": "Rejected rows by reason",
}


def _pictures(facts: Facts) -> list[str]:
    """Return a section with the pictures that the output has; older outputs have none."""
    there = {each["path"] for each in facts.get("pictures", [])}
    shown = [f"![{says}]({path})" for path, says in _PICTURES.items() if path in there]
    return ["## Pictures\n\n" + "\n\n".join(shown)] if shown else []


def _provenance(facts: Facts) -> str:
    tokenizer, template = facts["tokenizer"], facts["template"]
    inputs = [
        (as_code(i["source"]), f"{i['rows']:,}", as_code(i["sha256"] or i["version"]))
        for i in facts["inputs"]
    ]
    card = {"card": dict(facts["card"])} if facts["card"] else {}
    keys = [key for key in Recipe.model_fields if key in facts["recipe"]]
    settings = {**{key: facts["recipe"][key] for key in keys}, **card}
    recipe = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
    versions = ", ".join(f"{name} {version}" for name, version in sorted(facts["versions"].items()))
    parts = [
        f"Tokenizer {as_code(tokenizer['name'])}, sha256 `{tokenizer['sha256']}`.",
        _about_template(template),
        as_table(("input", "rows", "sha256"), inputs),
        "The same input and this recipe (add an `output`) give the same bytes:",
        as_fenced(recipe, "yaml"),
        f"Versions: premask {facts['premask']}, {versions}. `manifest.json` has the sha256 of every file.",
    ]
    return "\n\n".join(parts)


def _about_template(template: Mapping[str, Any]) -> str:
    name = f" {as_code(template['name'])}," if "name" in template else ""
    ends = ", ".join(map(as_code, template.get("turn_ends", [])))
    return f"Chat template{name} sha256 `{template['sha256']}`" + (
        f"; turns end with {ends}." if ends else "."
    )
