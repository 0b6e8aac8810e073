"""The dataset card: README.md of an output, made from its manifest and an example.

    text = make_card(manifest)      # ---, configs: - config_name: packed ..., ---, # Chat training data ...

`card_front.py` makes the front matter, the other files `card_*.py` the sections that say most. A card is read
by everybody, so it names files and folders without the paths that lead to them. Cost: a few milliseconds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import yaml

from ..core.contract import SIDES, layout_schema
from ..core.display import percent
from ..core.manifest import Manifest
from ..core.recipe import OTHER_KEYS, Recipe
from ..core.redact import bare_name
from .card_counts import counts_section, lengths_section
from .card_example import ShownExample, example_section
from .card_front import base_model, front_matter
from .card_mask import limits_section, mask_section
from .card_sources import sources_section
from .card_use import citation_section, licence_line, look_section, title_of, train_section, written_by
from .markdown import as_code, as_fenced, as_plain, as_table
from .mixture_words import mixture_section

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
- in a trainer: take its lines."""


def make_card(manifest: Manifest, example: Sequence[ShownExample] = ()) -> str:
    """Return README.md for an output: YAML front matter for `datasets` and the Hub, then text. `example` is a
    row of the data, or its sides.

    The order of the manifest's keys makes no difference.
    """
    front = yaml.safe_dump(front_matter(manifest), sort_keys=False, allow_unicode=True)
    facts, layouts = json.loads(json.dumps(manifest.as_dict(), sort_keys=True)), manifest.layouts
    sections = [
        f"# {title_of(facts['card'])}",
        _introduction(facts),
        *example_section(example),
        f"## Look at a row\n\n{look_section(layouts)}",
        f"## Train on it\n\n{train_section(layouts)}" + (f"\n\n{_PACKED}" if "packed" in layouts else ""),
        *sources_section(facts["inputs"]),
        *mixture_section(facts.get("mixture")),
        f"## Counts\n\n{counts_section(facts['counts'])}",
        *_pictures(facts),
        f"## Lengths\n\n{lengths_section(facts['counts'], bars=not facts.get('pictures'))}",
        f"## The mask\n\n{mask_section(facts['recipe'])}",
        "## Columns\n\n" + "\n\n".join(_columns(layout, facts["recipe"]) for layout in layouts),
        f"## Known limits\n\n{limits_section(facts['recipe'], facts['counts'])}",
        f"## Made from\n\n{_provenance(manifest, facts)}",
        f"## Citation\n\n{citation_section(facts)}",
    ]
    return f"---\n{front}---\n\n" + "\n\n".join(sections) + "\n"


# ==== Text ====


def _introduction(facts: Facts) -> str:
    card, max_length = facts["card"], facts["recipe"]["max_length"]
    model = base_model(facts)
    meant = as_code(model) if model else "the tokenizer in `tokenizer/`"
    paragraphs = [
        as_plain(text) for text in re.split(r"\n\s*\n", card.get("description", "")) if text.strip()
    ]
    sides = SIDES.keys() & {*facts["recipe"]["layout"]}
    what, ready = _PREFERENCES if sides else _CHATS
    paragraphs.append(
        f"{what} for {meant}, at most {max_length:,} tokens a {'text' if sides else 'row'}, "
        f"ready for {ready}. {_size(facts['counts'])} {written_by(facts)}"
    )
    if "source_datasets" in card:
        paragraphs.append(f"Made from {', '.join(map(as_code, card['source_datasets']))}.")
    return "\n\n".join([*paragraphs, licence_line(card)])


def _size(counts: Facts) -> str:
    """Return how much there is, in a sentence."""
    share = percent(counts["trained_tokens"], counts["tokens"])
    return f"{counts['samples']:,} samples of {counts['tokens']:,} tokens, of which {share} are trained."


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


_MOST_INPUTS = 50

_SAME_BYTES = (
    "The same input and this recipe give the same bytes. Files and folders are named without their paths, "
    "keys that are not here are as by default, and `output` is any:"
)


def _provenance(manifest: Manifest, facts: Facts) -> str:
    tokenizer, inputs = facts["tokenizer"], facts["inputs"]
    rows = [
        (as_code(bare_name(i["source"])), f"{i['rows']:,}", as_code(i["sha256"] or i["version"]))
        for i in inputs[:_MOST_INPUTS]
    ]
    more = len(inputs) - len(rows)
    versions = ", ".join(f"{name} {version}" for name, version in sorted(facts["versions"].items()))
    parts = [
        f"Tokenizer {as_code(_name_of(tokenizer))}, sha256 `{tokenizer['sha256']}`.",
        _about_template(facts["template"]),
        as_table(("input", "rows", "sha256"), rows),
        *([f"`manifest.json` has {more:,} more."] if more else []),
        _SAME_BYTES,
        as_fenced(_recipe(manifest, facts), "yaml"),
        f"Versions: premask {facts['premask']}, {versions}. `manifest.json` has the sha256 of every file.",
    ]
    return "\n\n".join(parts)


def _name_of(tokenizer: Facts) -> str:
    return str(tokenizer.get("hub") or bare_name(tokenizer["name"]))


def _recipe(manifest: Manifest, facts: Facts) -> str:
    """Return the keys of the recipe that are not as by default, as YAML, without local paths."""
    there, usual = facts["recipe"], _defaults()
    other = [key for key in usual if key in there and there[key] != usual[key]]
    own = {key: _not_usual(there[key], usual[key]) for key in other}
    own |= {"chat_template": bare_name(there["chat_template"])} if there.get("chat_template") else {}
    own |= {
        "sources": [_bare_source(each) for each in there["sources"]],
        "tokenizer": _name_of({**facts["tokenizer"], "name": there["tokenizer"]}),
    }
    if sets := (own.get("decontaminate") or {}).get("sets"):
        own["decontaminate"] = {**own["decontaminate"], "sets": list(map(_bare_source, sets))}
    ordered = {key: own[key] for key in Recipe.model_fields if key in own}
    card = {"card": manifest.card.shown()} if facts["card"] else {}
    return yaml.safe_dump({**ordered, **card}, sort_keys=False, allow_unicode=True)


def _defaults() -> Facts:
    """The values of the keys of a recipe that says nothing of them."""
    usual = Recipe.model_validate({"sources": ["-"], "tokenizer": "-", "output": "-"})
    return usual.model_dump(mode="json", exclude=set(OTHER_KEYS))


def _not_usual(value: Any, usual: Any) -> Any:
    """Return a value without those of its keys that are as by default.

    >>> _not_usual({"turns": "last", "text": True}, {"turns": "all", "text": True})
    {'turns': 'last'}
    """
    if not (isinstance(value, dict) and isinstance(usual, dict)):
        return value
    return {key: each for key, each in value.items() if key not in usual or each != usual[key]}


def _bare_source(entry: Any) -> Any:
    """Return an entry of sources without the path of its file, and without keys that are not set."""
    if not isinstance(entry, dict):
        return bare_name(entry)
    return {**entry, "path": bare_name(entry["path"])} if "path" in entry else entry


def _about_template(template: Mapping[str, Any]) -> str:
    name = f" {as_code(bare_name(template['name']))}," if "name" in template else ""
    ends = ", ".join(map(as_code, template.get("turn_ends", [])))
    return f"Chat template{name} sha256 `{template['sha256']}`" + (
        f"; turns end with {ends}." if ends else "."
    )
