"""What a run counted besides rows and tokens, in words: for summary, card, report and stats.

    for note in mask_notes(manifest["recipe"], manifest["counts"]):
        print(note)         # 12 turns are trained behind another prompt than inference shows

Each note is a sentence without its full stop, in plain text. What was not counted is not mentioned.

Cost: none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

PROOF_WORDS: Mapping[str, str] = {
    "inference": "every turn looks as inference shows it; both ways agree",
    "split": "from rows that were split, each turn as inference shows it; both ways agree",
    "composed": "prompt and completion put together, because no render shows both; both ways agree",
    "as-rendered": "trained as the template shows the turns in history, not compared with inference",
    "generation-tags": "masked by the template's own tags, which are trusted",
    "document": "documents, trained as a whole",
    "tokens": "rows of tokens, trained where they say",
    "trajectory": "sampled tokens, trained where their rows say",
}
"""How the mask of samples was proved (`records.PROOFS`), in words."""

_FIELDS: Mapping[str, tuple[str, str]] = {
    "reasoning": ("reasoning text", "reasoning texts"),
    "content": ("content", "contents"),
    "tool_calls": ("list of tool calls", "lists of tool calls"),
    "name": ("name", "names"),
    "tools": ("list of tool definitions", "lists of tool definitions"),
    "template_arguments": ("template argument", "template arguments"),
}


def mask_notes(recipe: Mapping[str, Any], counts: Mapping[str, Any]) -> list[str]:
    """Return the notes on the counts of a manifest.

    >>> mask_notes({}, {"turns_behind_another_prompt": 1, "dropped_fields": {"reasoning": 2}})[0]
    '1 turn is trained behind another prompt than inference shows'
    """
    history = history_reasoning_note(recipe, counts)
    dropped = dropped_note(recipe, counts)
    notes = [*_behind(counts), *_left_out(counts), unclosed_note(counts), history, dropped, *_modes(counts)]
    return [note for note in notes if note]


def history_note(counts: Mapping[str, Any]) -> str:
    """Return what it costs that turns have samples of their own, each with the history before it; empty if
    none has.

    >>> history_note({"tokens": 1300, "history_tokens": 1200}).partition(";")[0]
    'tokens of one sample a row: 100, written: 1,300 (13.0 times)'
    """
    tokens, again = counts["tokens"], counts.get("history_tokens", 0)
    once = tokens - again
    if not again or once <= 0:
        return ""
    return (
        f"tokens of one sample a row: {once:,}, written: {tokens:,} ({tokens / once:.1f} times); the "
        "template shows turns differently as history, so each is a sample with its own history; history: "
        "last (only the last turn is trained) or history: as-rendered (turns as history shows them) avoids it"
    )


def behind_note(counts: Mapping[str, Any]) -> str:
    """Return how many turns are trained behind another prompt; empty if none is."""
    return next(_behind(counts), "")


def history_reasoning_note(recipe: Mapping[str, Any], counts: Mapping[str, Any]) -> str:
    """Return how much reasoning only history leaves out; empty if there is none, or if it may be lost.

    >>> history_reasoning_note({"history": "last"}, {"dropped_fields": {"reasoning": 1}})
    'history leaves out the reasoning of 1 earlier turn'
    """
    found = counts.get("dropped_fields", {}).get("reasoning", 0)
    if not found or _may_be_lost(recipe):
        return ""
    own = "; each trained turn has its own, in its own sample"
    what = f"history leaves out the reasoning of {many(found, 'earlier turn', 'earlier turns')}"
    return what + (own if recipe.get("history", "split") == "split" else "")


def dropped_note(recipe: Mapping[str, Any], counts: Mapping[str, Any]) -> str:
    """Return what the template does not print; empty if it prints all but the reasoning in history."""
    in_history = set() if _may_be_lost(recipe) else {"reasoning"}
    found = {name: n for name, n in counts.get("dropped_fields", {}).items() if n and name not in in_history}
    parts = [many(count, *_words(name)) for name, count in sorted(found.items(), key=_largest_first)]
    return f"the template does not print all of {', '.join(parts)}" if parts else ""


def _may_be_lost(recipe: Mapping[str, Any]) -> bool:
    """Whether the reasoning that is not printed may be that of a trained turn: such a row is refused by
    default."""
    return bool(recipe.get("on_dropped") == "count")


def unclosed_note(counts: Mapping[str, Any]) -> str:
    """Return how many answers seem to be cut within their reasoning; empty if none does.

    >>> unclosed_note({"unclosed_reasoning": 1})
    '1 trained turn opens a block of reasoning and never closes it: it may be cut off'
    """
    if not (count := counts.get("unclosed_reasoning", 0)):
        return ""
    if count == 1:
        return "1 trained turn opens a block of reasoning and never closes it: it may be cut off"
    return f"{count:,} trained turns open a block of reasoning and never close it: they may be cut off"


def turns_note(counts: Mapping[str, Any]) -> str:
    """Return which turns are left out of the loss; empty if none is."""
    return "; ".join(_left_out(counts))


def control_note(recipe: Mapping[str, Any], counts: Mapping[str, Any]) -> str:
    """Return what became of control tokens in content; empty if there are none."""
    found = counts.get("control_tokens_in_content")
    return f"{found:,} control-token strings in content {_CONTROL[recipe['control_tokens']]}" if found else ""


_CONTROL = {
    "text": "are encoded as plain text, so their ids differ from those of `apply_chat_template`",
    "reject": "were found",
    "parse": "are encoded as the control tokens themselves",
}


def straddling_note(counts: Mapping[str, Any]) -> str:
    """Return how many tokens are not trained because they cross an edge; empty if none does."""
    found = counts.get("straddling_tokens")
    return f"{found:,} tokens lie across the edge of trained text and are not trained" if found else ""


def seam_note(recipe: Mapping[str, Any], counts: Mapping[str, Any]) -> str:
    """Return what became of edges of completions that lie inside a token; empty if there are none."""
    found = counts.get("seam_tokens")
    if not found:
        return ""
    if recipe.get("seam") == "template":
        what = "These tokens are kept and not trained"
    else:
        what = "Both sides are encoded apart, as at inference, "
        what += "so their ids differ from those of `apply_chat_template`"
    return f"{found:,} edges of completions lie inside a token of the whole text. {what}"


def _behind(counts: Mapping[str, Any]) -> Iterator[str]:
    if count := counts.get("turns_behind_another_prompt", 0):
        yield f"{many(count, 'turn is', 'turns are')} trained behind another prompt than inference shows"


def _left_out(counts: Mapping[str, Any]) -> Iterator[str]:
    turns = counts.get("turns_left_out", {})
    if count := turns.get("empty", 0):
        yield f"{many(count, 'empty turn is', 'empty turns are')} left out of the loss"
    if count := turns.get("opening", 0):
        what = many(count, "turn that opens its conversation is", "turns that open their conversation are")
        yield f"{what} left out of the loss: no prompt leads to {'it' if count == 1 else 'them'}"


def _words(field: str) -> tuple[str, str]:
    plain = field.replace("_", " ")
    return _FIELDS.get(field, (plain, plain))


def _modes(counts: Mapping[str, Any]) -> Iterator[str]:
    for argument, values in sorted(counts.get("template_modes", {}).items()):
        parts = [f"{value} for {count:,}" for value, count in sorted(values.items(), key=_largest_first)]
        yield f"{argument} (auto) is {' and '.join(parts)} conversations"


def _largest_first(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


def many(count: int, one: str, more: str) -> str:
    """Return a number with its words.

    >>> many(1, "turn is", "turns are"), many(1200, "turn is", "turns are")
    ('1 turn is', '1,200 turns are')
    """
    return f"{count:,} {one if count == 1 else more}"
