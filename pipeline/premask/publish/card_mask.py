"""What a dataset card says of the mask, and of the limits of the data, by the recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.display import percent
from .markdown import as_code, as_plain
from .mask_counts import control_note, mask_notes, seam_note, straddling_note


def mask_section(recipe: Mapping[str, Any]) -> str:
    """Return in words what is trained, by the recipe."""
    train = recipe["train"]
    roles = ", ".join(train["roles"])
    which = "every turn" if train["turns"] == "all" else "the last turn"
    text = [
        f"The loss falls on what the model has to write: {which} of these roles: {roles}. A turn of the "
        "assistant is trained from its first token after the generation prompt to the token that ends it, "
        "which is included"
        + ("; of other roles only their own text is." if train["roles"] != ["assistant"] else ".")
    ]
    without = _not_trained(recipe)
    if without:
        text.append(f"Not trained: {'; '.join(without)}.")
    text.append(
        "Headers and all other messages have label -100. So have what the template prints between turns, "
        "every token across the edge of trained text, and the first token of every sample. Labels are "
        "**unshifted** (Hugging Face convention)."
    )
    text.append(_PROOFS[recipe["mask"]])
    text.append(_HISTORY[recipe["history"]])
    text += _choices(recipe)
    if recipe["append_eos"]:
        text.append("Where the template ends no turn, samples end with eos.")
    if recipe["loss_weights"]:
        text.append("`loss_weights` has the weights of rows, messages and parts, 1 where none is given.")
    if recipe["loss_weights"] == "per_sample":
        text.append(
            "They are divided by the number of trained tokens of each sample, so all samples count alike."
        )
    return " ".join(text)


_PARTS = {
    "reasoning": "the text of a turn's reasoning field",
    "empty_reasoning": "empty blocks of reasoning that the template prints",
    "text": "the text of a turn's content",
    "tool_calls": "tool calls and the markers around them",
    "end_of_turn": "the string that ends a turn",
}


def _not_trained(recipe: Mapping[str, Any]) -> list[str]:
    """Return the parts of a turn that the recipe leaves out, in words. Older recipes have fewer keys."""
    parts = [words for key, words in _PARTS.items() if not recipe["train"].get(key, True)]
    strings = recipe.get("leave_out", [])
    return [*parts, f"the strings {', '.join(map(as_code, strings))}"] if strings else parts


def _choices(recipe: Mapping[str, Any]) -> list[str]:
    """Return what the recipe says about turns that do not fit their prompt, and text that is not printed."""
    found = [_OPEN_REASONING.get(recipe.get("open_reasoning", ""), "")]
    if recipe.get("on_dropped") == "count":
        found.append("Rows with text that the template does not print were kept; that text is missing.")
    return [text for text in found if text]


_OPEN_REASONING = {
    "compose": "Where the prompt opens a block of reasoning and the turn has none, the turn closes the block "
    "at once.",
    "as-rendered": "Where the prompt opens a block of reasoning and the turn has none, the turn is trained "
    "as the template shows it in history: behind another prompt than inference shows.",
}

_PROOFS = {
    "provenance": "Each row's mask was proved in two ways, by where the characters came from and by what "
    "inference would show the model; rows in which they disagree were rejected.",
    "generation-tags": "What the template's `{% generation %}` tags enclose was trained, unproved.",
}

_HISTORY = {
    "split": "Turns that the template shows differently once they are history are samples of their own, as "
    "inference would show them.",
    "last": "Where the template shows turns differently once they are history, only the last turn is "
    "trained.",
    "as-rendered": "Turns are trained as the whole conversation shows them, even where inference would show "
    "them differently.",
}


def limits_section(recipe: Mapping[str, Any], counts: Mapping[str, Any]) -> str:
    """Return what the data is not good for, and what is missing in it."""
    points = []
    if "packed" in recipe["layout"]:
        points.append(
            "Samples of a pack are kept apart by `position_ids` or `seq_lengths` alone. Models that ignore "
            "them let samples see each other: gpt-oss, and hybrids with linear attention such as Qwen3-Next, "
            "unless their kernels are given the boundaries. Use the `unpacked` layout there."
        )
    if "unpacked" in recipe["layout"]:
        points.append("Trainers that pack `unpacked` rows themselves need to keep samples apart, too.")
    points.append(f"Samples longer than {recipe['max_length']:,} tokens {_too_long(recipe, counts)}.")
    if counts["rejected"]:
        share = percent(counts["rejected"], counts["rows"])
        by_reason = sorted(counts["rejected_by_reason"].items(), key=lambda each: (-each[1], each[0]))
        why = ", ".join(f"{number:,} `{reason}`" for reason, number in by_reason)
        points.append(f"{counts['rejected']:,} of {counts['rows']:,} rows ({share}) are missing: {why}.")
    seams = "" if recipe.get("seam") == "template" else seam_note(recipe, counts)
    points += [f"{note}." for note in (control_note(recipe, counts), straddling_note(counts), seams) if note]
    points += [as_plain(f"{note[0].upper()}{note[1:]}.") for note in mask_notes(recipe, counts)]
    points.append("Text only. The ids are of no use with another tokenizer or chat template.")
    return "\n".join(f"- {point}" for point in points)


def _too_long(recipe: Mapping[str, Any], counts: Mapping[str, Any]) -> str:
    cut = f"; {counts.get('tokens_cut_off', 0):,} tokens are missing for that reason"
    rejected = counts["rejected_by_reason"].get("too_long", 0)
    return {
        "reject": f"were rejected ({rejected:,} rows)",
        "truncate": f"were cut off ({counts.get('too_long_truncate', 0):,} samples{cut})",
        "split": "were cut into pieces, which lack what came before "
        f"({counts.get('too_long_split', 0):,} samples{cut}: pieces in which nothing is trained)",
    }[recipe["too_long"]]
