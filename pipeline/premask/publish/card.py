"""The dataset card: README.md of an output, made from its manifest alone.

The front matter is what lets `load_dataset(OUT, "packed")` find the right files, in a folder as on the
Hub: without it the layouts would be merged into one. Its numbers are those of the files as they were
written, because `load_dataset` refuses a card whose row counts are wrong.

    text = make_card(manifest)      # ---, configs: - config_name: packed ..., ---, # Chat training data ...

Names of files, tokenizers and datasets, and what the recipe says in `card`, come from anywhere: in the text
they stand as code or with every character escaped that Markdown or HTML would see. Costs nothing to speak of.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import yaml

from ..core.contract import REASONS, layout_schema
from ..core.manifest import QUANTILES, Shard
from ..core.manifest import Manifest as WrittenManifest
from ..core.recipe import Recipe
from .trainer_lines import snippets

Manifest = Mapping[str, Any]
"""A manifest as `schemas/manifest.schema.json` describes it."""

_LAYOUTS = ("packed", "unpacked")

_TASK = "text-generation"
_TAGS = ("premask", "chat", "supervised-fine-tuning", "tokenized", "loss-mask")

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

_PACKED = """\
Packs hold whole samples and **no `attention_mask`, on purpose**: a mask of ones beside packed \
`position_ids` makes several attention implementations let samples see each other. To keep them apart:

- eager, sdpa, flex attention: pass `position_ids`, no mask, and `use_cache=False`;
- flash attention: flatten the batch to one row and pass `cu_seq_lens` made from `seq_lengths`;
- in a trainer: as its lines at the end of this card say."""


def make_card(written: WrittenManifest) -> str:
    """Return README.md for an output: YAML front matter for `datasets` and the Hub, then text.

    The order of the manifest's keys makes no difference.
    """
    manifest = json.loads(json.dumps(written.as_dict(), sort_keys=True))
    front = yaml.safe_dump(_front_matter(written), sort_keys=False, allow_unicode=True)
    sections = [
        f"# {_title(manifest['card'])}",
        _introduction(manifest),
        "## Columns\n\n" + "\n\n".join(_columns(layout, manifest) for layout in _layouts(manifest)),
        f"## The mask\n\n{_mask(manifest)}",
        f"## Loading\n\n{_loading(manifest)}",
        f"## Counts\n\n{_counts(manifest['counts'])}",
        f"## Lengths\n\n{_lengths(manifest['counts'])}",
        *_pictures(manifest),
        f"## Made from\n\n{_provenance(manifest)}",
        f"## Known limits\n\n{_limits(manifest)}",
        f"## In your trainer\n\n{_in_trainers(_layouts(manifest))}",
    ]
    return f"---\n{front}---\n\n" + "\n\n".join(sections) + "\n"


# ==== Front matter ====


def _front_matter(manifest: WrittenManifest) -> dict[str, Any]:
    layouts, card = manifest.layouts, manifest.card.shown()
    about: dict[str, Any] = {
        key: card[key] for key in ("pretty_name", "license", "language", "source_datasets") if key in card
    }
    return {
        **about,
        "configs": [_config(layout, manifest, default=layout == layouts[0]) for layout in layouts],
        "dataset_info": [_dataset_info(layout, manifest) for layout in layouts],
        "task_categories": [_TASK],
        "size_categories": [_size(sum(shard.rows for shard in manifest.shards_of(layouts[0])))],
        "tags": list(dict.fromkeys([*_TAGS, *card.get("tags", [])])),
    }


def _layouts(manifest: Manifest) -> list[str]:
    """Return the layouts that were written, the default one first.

    >>> _layouts({"recipe": {"layout": ["unpacked", "packed"]}})
    ['packed', 'unpacked']
    """
    return [layout for layout in _LAYOUTS if layout in manifest["recipe"]["layout"]]


def _config(layout: str, manifest: WrittenManifest, *, default: bool) -> dict[str, Any]:
    files = [{"split": split, "path": f"{layout}/{split}-*.parquet"} for split in manifest.splits]
    return {"config_name": layout, **({"default": True} if default else {}), "data_files": files}


def _dataset_info(layout: str, manifest: WrittenManifest) -> dict[str, Any]:
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


# ==== Text ====


def _title(card: Mapping[str, Any]) -> str:
    return (
        _plain(card["pretty_name"])
        if "pretty_name" in card
        else "Chat training data with the loss mask in it"
    )


def _introduction(manifest: Manifest) -> str:
    tokenizer, max_length = manifest["tokenizer"]["name"], manifest["recipe"]["max_length"]
    card = manifest["card"]
    paragraphs = [_plain(text) for text in re.split(r"\n\s*\n", card.get("description", "")) if text.strip()]
    paragraphs.append(
        f"Chat data as token ids and labels for {_code(tokenizer)}, at most {max_length:,} tokens a row, "
        f"ready "
        "for any trainer that takes `input_ids` and `labels`. Written by premask "
        f"{manifest['premask']}, output contract {manifest['contract']}."
    )
    if "source_datasets" in card:
        paragraphs.append(f"Taken from {', '.join(map(_code, card['source_datasets']))}.")
    licence = (
        f"Licence: {_code(card['license'])}."
        if "license" in card
        else ("No licence is given here; that of the sources holds.")
    )
    return "\n\n".join([*paragraphs, licence])


def _columns(layout: str, manifest: Manifest) -> str:
    fields = layout_schema(layout, manifest["recipe"])
    rows = [(f"`{field.name}`", _type(field.type), _COLUMNS[field.name]) for field in fields]
    padded = manifest["recipe"].get("pad_rows") == "to_length"
    padding = "filled up by a document of pad tokens" if padded else "no padding"
    what = f"whole samples back to back, {padding}" if layout == "packed" else "one sample a row, no padding"
    return f"**{layout}**: {what}.\n\n{_table(('column', 'type', 'what it holds'), rows)}"


def _type(type_: pa.DataType) -> str:
    return f"list of {type_.value_type}" if pa.types.is_list(type_) else str(type_)


def _mask(manifest: Manifest) -> str:
    """Return in words what is trained, by the recipe."""
    recipe = manifest["recipe"]
    train = recipe["train"]
    roles = ", ".join(train["roles"])
    which = "every turn" if train["turns"] == "all" else "the last turn"
    text = [
        f"The loss falls on what the model has to write: {which} of these roles: {roles}. A turn of the "
        f"assistant "
        "is trained from its first token after the generation prompt up to and including the token that "
        "ends it" + ("; of other roles just their own text is." if train["roles"] != ["assistant"] else ".")
    ]
    left_out = {
        "reasoning": "the text of a turn's reasoning field",
        "tool_calls": "tool calls and the markers around them",
        "end_of_turn": "the string that ends a turn",
    }
    without = [words for key, words in left_out.items() if not train[key]]
    if without:
        text.append(f"Not trained: {'; '.join(without)}.")
    text.append(
        "Headers and all other messages have label -100, and so has what the template prints between "
        "turns, every "
        "token across the edge of a trained stretch, and the first token of every sample. Labels are "
        "**unshifted** (Hugging Face convention)."
    )
    text.append(_PROOFS[recipe["mask"]])
    text.append(_HISTORY[recipe["history"]])
    if recipe["append_eos"]:
        text.append("Where the template ends no turn, samples end with eos.")
    if recipe["loss_weights"]:
        text.append("`loss_weights` has the weights that messages carry.")
    return " ".join(text)


_PROOFS = {
    "provenance": "Each row's mask was proved in two ways, by where the characters came from and by what "
    "inference "
    "would show the model; rows in which they disagree were rejected.",
    "generation-tags": "What the template's `{% generation %}` tags enclose was trained, unproved.",
}

_HISTORY = {
    "split": "Turns that the template shows otherwise once they are history are samples of their own, as "
    "inference would show them.",
    "last": "Where the template shows turns otherwise once they are history, only the last turn is trained.",
    "as-rendered": "Turns are trained as the whole conversation shows them, also where inference would "
    "show them "
    "otherwise.",
}


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


def _in_trainers(layouts: Sequence[str]) -> str:
    """The lines of each trainer, one after another."""
    shown = [
        f"### {each.trainer}, {each.layout}: {each.essential}\n\n"
        f"{_fenced(each.text, each.language)}\n\n{each.note}"
        for each in snippets(layouts, dataset="OUT")
    ]
    what = "`OUT` is this folder or its name on the Hub. Tests of premask run these lines and compare losses."
    return "\n\n".join([what, *shown])


def _counts(counts: Mapping[str, Any]) -> str:
    """Return the table of counts; percentages of nothing are left out."""
    trained, tokens = counts["trained_tokens"], counts["tokens"]
    rows = [
        ("rows read", f"{counts['rows']:,}"),
        ("rows kept", f"{counts['kept']:,}"),
        ("rows rejected", f"{counts['rejected']:,}"),
        *((f"– {_reason(r)}", f"{n:,}") for r, n in sorted(counts["rejected_by_reason"].items())),
        *_duplicates(counts),
        *((f"rows left out by `{name}`", f"{n:,}") for name, n in sorted(counts["left_out"].items())),
        ("samples", f"{counts['samples']:,}"),
        ("tokens", f"{tokens:,}"),
        ("trained tokens", f"{trained:,}" + (f" ({trained / tokens:.1%})" if tokens else "")),
    ]
    if counts["fill"] is not None:
        rows += [("packs", f"{counts['packs']:,}"), ("fill of the packs", f"{counts['fill']:.2%}")]
    ledger = "Rejected rows are listed in `rejects/`, and where every sample went in `lineage/`."
    return "\n\n".join([_table(("what", "count"), rows), *_by_split(counts), *_by_role(counts), ledger])


def _duplicates(counts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the line of duplicates, if there are any."""
    what = "dropped" if counts["dropped"] else "kept"
    return (
        [(f"duplicates of earlier rows, {what}", f"{counts['duplicates']:,}")] if counts["duplicates"] else []
    )


def _by_split(counts: Mapping[str, Any]) -> list[str]:
    """Return the table of splits, if there is more than train."""
    splits = counts["splits"]
    if len(splits) == 1:
        return []
    rows = [
        (
            f"`{name}`",
            f"{each['samples']:,}",
            f"{each['tokens']:,}",
            f"{each['trained_tokens']:,}",
            f"{each['packs']:,}",
        )
        for name, each in splits.items()
    ]
    return [_table(("split", "samples", "tokens", "trained tokens", "packs"), rows)]


_PICTURES = {
    "pictures/lengths.svg": "Histogram of the lengths of the samples, with max_length",
    "pictures/roles.svg": "Tokens by who wrote them, trained and not trained",
    "pictures/rejects.svg": "Rejected rows by reason",
}


def _pictures(manifest: Manifest) -> list[str]:
    """Return a section with the pictures that the output has; outputs of before had none."""
    there = {each["path"] for each in manifest.get("pictures", [])}
    shown = [f"![{says}]({path})" for path, says in _PICTURES.items() if path in there]
    return ["## Pictures\n\n" + "\n\n".join(shown)] if shown else []


def _by_role(counts: Mapping[str, Any]) -> list[str]:
    """Return the table of tokens by who wrote them, if they were counted."""
    roles, trained = counts.get("tokens_by_role"), counts.get("trained_by_role", {})
    if not roles:
        return []
    whole = sum(roles.values())
    rows = [
        (
            _code(role),
            f"{n:,}",
            _share(n, whole),
            f"{trained.get(role, 0):,}",
            _share(trained.get(role, 0), n),
        )
        for role, n in sorted(roles.items(), key=lambda item: (-item[1], item[0]))
    ]
    return [_table(("written by", "tokens", "share", "trained", "of them"), rows)]


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else ""


def _lengths(counts: Mapping[str, Any]) -> str:
    """Return how long the samples are, in numbers and as a histogram."""
    lengths = counts["lengths"]
    if lengths is None:
        return "There are no samples."
    table = _table(("tokens a sample", ""), [(name, f"{lengths[name]:,}") for name in (*QUANTILES, "mean")])
    return f"{table}\n\n{_fenced(_bars(lengths['histogram']), 'text')}"


def _bars(histogram: Sequence[Mapping[str, int]]) -> str:
    """Return a histogram as text.

    >>> print(_bars([{"from": 2, "to": 3, "samples": 40}, {"from": 4, "to": 7, "samples": 1}]))
    2-3 ######################################## 40
    4-7 # 1
    """
    most = max(bar["samples"] for bar in histogram)
    names = [f"{bar['from']}-{bar['to']}" for bar in histogram]
    wide = max(map(len, names))
    signs = ["#" * -(-40 * bar["samples"] // most) for bar in histogram]
    return "\n".join(
        " ".join(filter(None, [name.rjust(wide), sign, f"{bar['samples']:,}"]))
        for name, sign, bar in zip(names, signs, histogram, strict=True)
    )


def _reason(reason: str) -> str:
    return f"`{reason}`: {REASONS[reason]}" if reason in REASONS else _code(reason)


def _provenance(manifest: Manifest) -> str:
    tokenizer, template = manifest["tokenizer"], manifest["template"]
    inputs = [
        (_code(i["source"]), f"{i['rows']:,}", _code(i["sha256"] or i["version"])) for i in manifest["inputs"]
    ]
    card = {"card": dict(manifest["card"])} if manifest["card"] else {}
    keys = [key for key in Recipe.model_fields if key in manifest["recipe"]]
    settings = {**{key: manifest["recipe"][key] for key in keys}, **card}
    recipe = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
    versions = ", ".join(f"{name} {version}" for name, version in sorted(manifest["versions"].items()))
    parts = [
        f"Tokenizer {_code(tokenizer['name'])}, sha256 `{tokenizer['sha256']}`.",
        _about_template(template),
        _table(("input", "rows", "sha256"), inputs),
        "The same input and this recipe (add an `output`) give the same bytes again:",
        _fenced(recipe, "yaml"),
        f"Versions: premask {manifest['premask']}, {versions}. `manifest.json` has the sha256 of every file.",
    ]
    return "\n\n".join(parts)


def _about_template(template: Mapping[str, Any]) -> str:
    name = f" {_code(template['name'])}," if "name" in template else ""
    ends = ", ".join(map(_code, template.get("turn_ends", [])))
    return f"Chat template{name} sha256 `{template['sha256']}`" + (
        f"; turns end with {ends}." if ends else "."
    )


def _limits(manifest: Manifest) -> str:
    recipe, counts = manifest["recipe"], manifest["counts"]
    points = []
    if "packed" in _layouts(manifest):
        points.append(
            "Samples of a pack are kept apart by `position_ids` or `seq_lengths` alone. Models that do "
            "not look at "
            "them let samples see each other: gpt-oss, and hybrids with linear attention such as Qwen3-Next, "
            "unless their kernels are given the boundaries. Use the `unpacked` layout there."
        )
    if "unpacked" in _layouts(manifest):
        points.append("Trainers that pack `unpacked` rows themselves need to keep samples apart, too.")
    points.append(f"Samples longer than {recipe['max_length']:,} tokens {_too_long(recipe, counts)}.")
    if counts["rejected"]:
        share = _share(counts["rejected"], counts["rows"])
        points.append(
            f"{counts['rejected']:,} of {counts['rows']:,} rows ({share}) are missing: they cannot be read, "
            "the template refuses them, or their mask could not be proved."
        )
    if forged := counts.get("control_tokens_in_content"):
        points.append(f"{forged:,} control-token strings in content {_CONTROL[recipe['control_tokens']]}.")
    if straddling := counts.get("straddling_tokens"):
        points.append(f"{straddling:,} tokens lie across the edge of a trained stretch and are not trained.")
    points.append("Text only. The ids are of no use with another tokenizer or chat template.")
    return "\n".join(f"- {point}" for point in points)


_CONTROL = {
    "text": "are encoded as plain text, so their ids differ from those of `apply_chat_template`",
    "reject": "were found",
    "parse": "are encoded as the control tokens themselves",
}


def _too_long(recipe: Mapping[str, Any], counts: Mapping[str, Any]) -> str:
    cut = f"; {counts.get('tokens_cut_off', 0):,} tokens are left out for that"
    rejected = counts["rejected_by_reason"].get("too_long", 0)
    return {
        "reject": f"were rejected ({rejected:,} rows)",
        "truncate": f"were cut off ({counts.get('too_long_truncate', 0):,} samples{cut})",
        "split": "were cut into pieces, which lack what came before "
        f"({counts.get('too_long_split', 0):,} samples{cut}: pieces in which nothing is trained)",
    }[recipe["too_long"]]


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
    """Return text as inline code, whatever is in it; what is no ordinary character is written out.

    >>> _code("a`b")
    '`` a`b ``'
    """
    line = "".join(char if char.isprintable() else repr(char)[1:-1] for char in " ".join(text.split()))
    return f"`{line or ' '}`" if "`" not in line else f"{_fence(line, 2)} {line} {_fence(line, 2)}"


def _plain(text: str) -> str:
    r"""Return text on one line as Markdown that shows it as it is.

    >>> print(_plain("# <b>*1*</b>\n- [x](y)"))
    \# &lt;b&gt;\*1\*&lt;/b&gt; \- \[x\](y)
    """
    line = "".join(char if char.isprintable() else " " for char in " ".join(text.split()))
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = re.sub(r"[\\`*_\[\]#|~!$:@-]", r"\\\g<0>", line)
    return re.sub(r"^(\d+|)([.)+=])", r"\1\\\2", line)


def _fenced(text: str, language: str) -> str:
    fence = _fence(text, 3)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _fence(text: str, least: int) -> str:
    """Return more backticks in a row than stand anywhere in the text."""
    return "`" * max(least, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
