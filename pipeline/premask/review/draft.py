"""A recipe to begin with: what was found in the data, as keys with reasons.

    text = draft(survey(recipe, has_tokenizer=True), has_tokenizer=True)

Keys that are needed, or that follow from the data, are set. Everything that changes the data is a comment
that says why it may be wanted. A run takes the text as it is, once it has a tokenizer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml

from ..core.contract import REASONS
from ..core.display import file_size
from ..core.recipe import Layout, Recipe
from ..core.source_entry import DialectName, Source
from ..core.text import visible
from ..sources.listing import is_hub_id
from .survey import FileFound, Sample, Survey

FILES_SHOWN = 10
"""Files of a source that are listed."""

_DETAIL = 300  # characters of a detail that are shown

SMALLEST, LARGEST = 2048, 131_072
"""Bounds of the `max_length` that is suggested."""

_FIXES = {
    "open_reasoning": ("open_reasoning: compose", "keeps them: the block of reasoning is closed at once"),
    "content_dropped": ("on_dropped: count", "keeps them, without the text that the template does not print"),
}
"""Reason of rejected rows -> the key that keeps them, and what it does."""


def schema_path() -> Path | None:
    """Return where the JSON schema of recipes is: in the package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    places = (package / "recipe.schema.json", package.parents[1] / "schemas" / "recipe.schema.json")
    return next((path for path in places if path.is_file()), None)


def draft(found: Survey, *, has_tokenizer: bool) -> str:
    """Return the text of a recipe, in YAML with comments."""
    parts = [
        _head(),
        _sources(found),
        _tokenizer(found.recipe, has_tokenizer=has_tokenizer),
        _max_length(found.sample, has_tokenizer=has_tokenizer),
        _layout(found),
        _advice(found.sample),
        _card(found.recipe),
        [f"output: {_yaml(found.recipe.output)}"],
    ]
    return "\n\n".join("\n".join(lines) for part in parts if (lines := [*part])) + "\n"


def found_in_words(found: Survey) -> str:
    """Return files, rows and formats in one line."""
    rows = sum(file.rows for file in found.files)
    about = "" if all(file.counted for file in found.files) else "about "
    size = file_size(sum(file.info.bytes for file in found.files))
    dialects = ", ".join(dict.fromkeys(file.dialect for file in found.files))
    return f"{_many(len(found.files), 'file')}, {size}, {about}{_many(rows, 'row')}, {dialects}"


def _head() -> Iterator[str]:
    if (path := schema_path()) is not None:
        yield f"# yaml-language-server: $schema={path.as_uri()}"
    yield "# Every key is an option of premask run, whose --help describes it. To follow a suggestion, remove"
    yield "# the '# ' before its key."


# ==== What was found ====


def _sources(found: Survey) -> Iterator[str]:
    if found.recipe.salvage:
        yield "# A file is cut short. Its whole rows are read; what is lost is a warning of the run."
        yield "salvage: true"
    for warning in found.warnings:
        yield f"# {visible(warning)}"
    yield "sources:"
    for number, entry in enumerate(found.recipe.sources):
        own = [file for file in found.files if file.info.entry == number]
        yield from (f"  # {line}" for line in _files(own))
        yield f"  - {_yaml(entry.path)}"
    if found.recipe.dialect is not DialectName.auto:
        yield f"dialect: {_yaml(found.recipe.dialect.value)}"
    if found.recipe.fields is not None:
        yield f"fields: {_yaml(found.recipe.fields.model_dump(exclude_unset=True))}"


def _files(files: Sequence[FileFound]) -> Iterator[str]:
    for file in files[:FILES_SHOWN]:
        packed = f" ({file.info.compression})" if file.info.compression else ""
        rows = f"{'' if file.counted else 'about '}{_many(file.rows, 'row')}"
        what = f"{file_size(file.info.bytes)}, {rows}, {file.info.format}{packed}, dialect {file.dialect}"
        yield f"{visible(file.info.source)}: {what}"
    if len(files) > FILES_SHOWN:
        yield f"and {_many(len(files) - FILES_SHOWN, 'more file')}"
    if not files:
        yield "an earlier entry names these files"


def _tokenizer(recipe: Recipe, *, has_tokenizer: bool) -> Iterator[str]:
    if has_tokenizer:
        yield f"tokenizer: {_yaml(recipe.tokenizer)}"
    else:
        yield "# Required, here or with --tokenizer: directory or Hub id of the model's tokenizer."
        yield "# tokenizer: Qwen/Qwen3-0.6B"
    if recipe.chat_template is not None:
        yield f"chat_template: {_yaml(recipe.chat_template)}"


def _max_length(sample: Sample, *, has_tokenizer: bool) -> Iterator[str]:
    rows = _many(sample.rows, "row")
    yield "# Samples that are longer are rejected, unless too_long says otherwise."
    if not sample.lengths:
        size = _many(sample.characters, "character")
        why = "because no row was kept" if has_tokenizer or sample.none_kept else "without a tokenizer"
        text = f" The longest of {rows} has {size}." if sample.characters else ""
        yield f"# Lengths in tokens are not known, {why}.{text}"
        yield "max_length: 4096"
        return
    lengths = np.sort(sample.lengths)
    most, longest = int(np.quantile(lengths, 0.99, method="higher")), int(lengths[-1])
    counts = (
        f"the longest has {longest:,} tokens, 99% have at most {most:,}, the median is {_median(lengths):,}"
    )
    yield f"# Of {_many(len(lengths), 'sample')} of {rows}, {counts}."
    yield f"max_length: {suggested_length(longest)}"


def _median(lengths: np.ndarray) -> int:
    return int(np.median(lengths))


def suggested_length(longest: int) -> int:
    """Return the power of two that holds the longest sample, within bounds.

    >>> suggested_length(300), suggested_length(5000), suggested_length(10**6)
    (2048, 8192, 131072)
    """
    return min(LARGEST, max(SMALLEST, 1 << max(0, longest - 1).bit_length()))


def _layout(found: Survey) -> Iterator[str]:
    layout = found.recipe.layout[0]
    if layout is Layout.preference:
        yield "# Rows have a chosen and a rejected answer. [packed] trains the chosen answers alone (SFT)."
        yield "layout: [preference]"
    elif layout is Layout.kto:
        yield "# Rows have an answer, and whether it is good. [packed] trains the good ones alone (SFT)."
        yield "layout: [kto]"
    else:
        yield "# [packed] fills rows with several samples; [unpacked] writes one sample a row, to be padded."
        yield "layout: [packed]"


# ==== Suggestions ====


class Advice(NamedTuple):
    """Sentences, and the key that they are about, if there is one."""

    reasons: Sequence[str]
    key: str = ""


def _advice(sample: Sample) -> Iterator[str]:
    yield f"# Suggestions, from {_many(sample.rows, 'row')} looked at:"
    for advice in _suggestions(sample):
        yield "#"
        yield from (f"# {reason}" for reason in advice.reasons)
        if advice.key:
            yield f"# {advice.key}"


def _suggestions(sample: Sample) -> Iterator[Advice]:
    yield from _rejected(sample)
    yield from _repairs(sample)
    yield from _parts(sample)
    yield from _history(sample)
    if sample.duplicates:
        yield Advice([f"Duplicates of earlier rows: {_of(sample.duplicates, sample)}."], "duplicates: drop")
    near = (
        "Leave out rows whose text is nearly that of an earlier one (pip install 'premask[near-duplicates]')."
    )
    yield Advice([near], "near_duplicates: {threshold: 0.8}")
    yield Advice(["Keep a part of the rows for evaluation."], "splits: {validation: 0.02}")


def _rejected(sample: Sample) -> Iterator[Advice]:
    reasons = []
    for reason, count in sample.rejected.most_common():
        said = f"Rejected as {reason}: {_of(count, sample)} ({REASONS[reason]})."
        first = f"The first one: {_detail(sample, reason)}."
        if reason in _FIXES:
            key, what = _FIXES[reason]
            yield Advice([said, first, f"This {what}."], key)
        else:
            reasons += [said, first]
    if reasons:
        yield Advice(reasons)


def none_kept_in_words(sample: Sample) -> str:
    """Return why no row that was looked at is kept, by the most frequent reason; empty if some are."""
    if not sample.none_kept:
        return ""
    reason, _ = sample.rejected.most_common(1)[0]
    rows = f"all {sample.rows:,} rows that were looked at are" if sample.rows > 1 else "the only row is"
    fix = f"; the recipe suggests {_FIXES[reason][0]}" if reason in _FIXES else ""
    return f"{rows} rejected, {reason}: {_detail(sample, reason)}{fix}"


def _detail(sample: Sample, reason: str) -> str:
    return visible(sample.details[reason])[:_DETAIL].removesuffix(".")


def _repairs(sample: Sample) -> Iterator[Advice]:
    reasons, names = [], dict.fromkeys(name for names in sample.repairs for name in names)
    if sample.repairs:
        count = _of(sample.repairs.total(), sample)
        reasons.append(f"In {count} user and assistant do not take turns, which some templates reject.")
    if sample.html:
        count = _of(sample.html, sample)
        reasons.append(f"HTML tags or entities outside of code, which may be residue, in {count}.")
        names["strip_html"] = None
    if reasons:
        yield Advice(reasons, f"repair: [{', '.join(names)}]")


def _parts(sample: Sample) -> Iterator[Advice]:
    parts = {"reasoning": False} if sample.reasoning else {}
    reasons = []
    if sample.reasoning:
        reasons.append(f"Reasoning in {_of(sample.reasoning, sample)}. It is trained.")
    if sample.tools:
        parts["tool_calls"] = False
        reasons.append(f"Tools in {_of(sample.tools, sample)}. Calls are trained, results are not.")
    if reasons:
        what = " and ".join(name.replace("_", " ") for name in parts)
        yield Advice([*reasons, f"This leaves {what} out of the loss."], f"train: {_yaml(parts)}")


def _history(sample: Sample) -> Iterator[Advice]:
    if count := sample.proofs["split"]:
        what = f"{_many(count, 'sample')} repeat earlier turns"
        why = f"The template shows turns differently as history, so {what}."
        yield Advice([why, "This trains only the last turn of each row."], "history: last")


def _card(recipe: Recipe) -> Iterator[str]:
    yield "# The dataset card. Fill in the licence of the data before you publish it."
    names = [entry.path for entry in recipe.sources if is_hub_id(entry.path)]
    begin = "" if names else "# "
    yield f"{begin}card:"
    if names:
        yield f"  source_datasets: {_yaml(names)}"
    yield "#   license: cc-by-4.0"
    yield "#   language: [en]"
    yield "#   pretty_name: Title of the dataset"
    yield "#   base_model: org/model"


# ==== Words ====


def _of(count: int, sample: Sample) -> str:
    return f"{count:,} of {sample.rows:,} rows"


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _yaml(value: str | list[str] | dict[str, bool]) -> str:
    """Return a value as YAML writes it in one line."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**9)
    return str(text).removesuffix("\n").removesuffix("\n...")


def default_output(sources: Sequence[Source]) -> str:
    """Return the output that a recipe names: in `out`, by the name of its first source.

    >>> default_output([Source(path="chats/a.jsonl")]), default_output([Source(path="org/name")])
    ('out/a', 'out/name')
    """
    name = sources[0].path.split("?")[0].rstrip("/").rpartition("/")[2].split(".")[0]
    plain = "".join(char for char in name if char.isalnum() or char in "-_")
    return f"out/{plain or 'chats'}"
