"""Samples as the report's page shows them: JSON values, small, and bounded whatever the data holds.

    item = item_of(chosen, traced, texts, turn_ends)
    item["text"][:3]        # ["<|im_start|>", "user", ["🙂", 2]]: the third is two tokens

Cost: a few microseconds a token, for the few hundred samples of a page.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from ...core.contract import IGNORE_INDEX
from ...core.display import writer_of
from ...tokens.token_text import TokenTexts, groups_of
from ..rerun import Traced
from .choice import Chosen, key_of, shortened

HEAD, TAIL = 2000, 400
"""Tokens of a longer sample that are shown, from its start and from its end."""

TOKEN_CHARACTERS = 400
"""Characters of one token that are shown."""

FIRST_WORDS = 90
"""Characters of a sample that the list of samples shows."""

Group = tuple[str, int]
"""A text, and the tokens that share its characters."""

Block = tuple[int, str]
"""A message as it is shown: its first token, and the origin of what it says; empty if that is not known."""


def item_of(
    chosen: Chosen, traced: Traced | None, texts: TokenTexts, turn_ends: Collection[int]
) -> dict[str, Any]:
    """Return a sample as JSON values.

    `text` has a string for each token, or [string, tokens, characters left out]; `runs` are the first token
    and one past the last of each stretch whose labels are its ids; `other` has labels that are neither that
    nor -100; `origins` are [tokens, origin], null if they are not known; `skip` is [first token, tokens] of
    what is left out of a long sample, and `text` and `ids` lack it.
    """
    ids = chosen.ids.tolist()
    groups = texts.groups(ids) if traced is None else groups_of(traced.text, traced.starts, traced.ends)
    origins = None if traced is None else traced.origins
    blocks = blocks_of(ids, groups, origins, turn_ends)
    shown, skip = _shown(groups)
    kept = ids if skip is None else ids[: skip[0]] + ids[skip[0] + skip[1] :]
    special = texts.count_special(chosen.ids)
    return {
        **_about(chosen),
        "first_words": first_words(groups, special, origins),
        "ids": kept,
        "text": [_text(text, count) for text, count in shown],
        **_labels(chosen),
        "origins": None if origins is None else _counted(origins),
        "blocks": [list(block) for block in blocks],
        "proof": None if traced is None else traced.proof,
        "skip": skip,
        "special": np.unique(chosen.ids[special]).tolist(),
        "bytes": _shared_bytes(shown, kept, texts),
    }


def _about(chosen: Chosen) -> dict[str, Any]:
    return {
        "key": key_of(chosen.split, chosen.number),
        "split": chosen.split,
        "pack": chosen.row,
        "offset": chosen.offset,
        "source": chosen.source,
        "row": chosen.source_row,
        "id": None if chosen.id is None else shortened(chosen.id, TOKEN_CHARACTERS)[0],
        "sample": chosen.sample,
        "why": chosen.why,
        "length": len(chosen.ids),
        "trained": chosen.trained,
        "control": chosen.control,
    }


def _labels(chosen: Chosen) -> dict[str, Any]:
    trained = chosen.labels == chosen.ids
    other = np.flatnonzero(~trained & (chosen.labels != IGNORE_INDEX))
    return {"runs": _runs(trained), "other": {int(i): int(chosen.labels[i]) for i in other[:100]}}


def _shown(groups: Sequence[Group]) -> tuple[list[Group], list[int] | None]:
    """The groups that are shown, and the first token and the number of tokens that are not."""
    sizes = np.array([count for _, count in groups], dtype=np.int64)
    ends = np.cumsum(sizes)
    total = int(ends[-1]) if len(ends) else 0
    if total <= HEAD + TAIL:
        return list(groups), None
    first = int(np.searchsorted(ends, HEAD, side="right"))
    last = int(np.searchsorted(ends - sizes, total - TAIL, side="left"))
    start = int(ends[first - 1]) if first else 0
    stop = int(ends[last - 1])
    return [*groups[:first], *groups[last:]], [start, stop - start]


def _text(text: str, count: int) -> str | list[Any]:
    shown, left_out = shortened(text, TOKEN_CHARACTERS)
    return shown if (count, left_out) == (1, 0) else [shown, count, left_out]


def _runs(trained: np.ndarray) -> list[int]:
    """Where stretches of true values begin and end.

    >>> _runs(np.array([False, True, True, False, True]))
    [1, 3, 4, 5]
    """
    edges = np.diff(trained.astype(np.int8), prepend=0, append=0)
    return [int(i) for i in np.flatnonzero(edges)]


def _counted(values: Sequence[str]) -> list[list[Any]]:
    """Runs of equal values.

    >>> _counted(["a", "a", "b"])
    [[2, 'a'], [1, 'b']]
    """
    return [[len(list(run)), value] for value, run in groupby(values)]


def _shared_bytes(groups: Sequence[Group], ids: Sequence[int], texts: TokenTexts) -> dict[int, str]:
    """The bytes of tokens that share a character with others, as hexadecimal digits."""
    found: dict[int, str] = {}
    at = 0
    for _, count in groups:
        if count > 1:
            found |= {index: texts.bytes_of(index)[:16].hex(" ") for index in ids[at : at + count]}
        at += count
    return dict(sorted(found.items()))


_FIRST_USER = re.compile(r"(?:^|\0)\s*(?:user|human)\s*\0?:?\s+([^\0]*[^\0\s])", re.IGNORECASE)


def first_words(groups: Sequence[Group], special: np.ndarray, origins: Sequence[str] | None = None) -> str:
    r"""Return the first words of the user, else of the sample, on one line; without control tokens.

    `special` says which tokens are control tokens, bool[t]. Without `origins`, what the user says is what
    follows a header such as `user`.

    >>> tokens = ["<s>", "user", "\n", "Hi", " there", "<e>"]
    >>> first_words([(token, 1) for token in tokens], np.array([True, False, False, False, False, True]))
    'Hi there'
    """
    parts, at = list[str](), 0
    for text, count in groups[: 20 * FIRST_WORDS]:
        said = origins is None or origins[at].startswith("user")
        parts.append("\0" if special[at] else text if said else "")
        at += count
    whole = "".join(parts)
    found = _FIRST_USER.search(whole) if origins is None else None
    words = " ".join((found[1] if found else whole.replace("\0", " ")).split())
    if not words and origins is not None:
        return first_words(groups, special)
    return words[:FIRST_WORDS]


# ==== Messages ====


def blocks_of(
    ids: Sequence[int],
    groups: Sequence[Group],
    origins: Sequence[str] | None,
    turn_ends: Collection[int],
) -> list[Block]:
    """Cut a sample into messages, for the eye.

    A message ends with a turn-end token and the blank tokens that follow it; where origins are known, a
    message begins where another one writes, together with what the template prints before it.

    >>> tokens = ["<s>", "user", "Hi", "<e>", "\\n", "<s>", "Yo", "<e>"]
    >>> origins = ["template", "template", "user:0", *["template"] * 3, "assistant:1", "template"]
    >>> blocks_of([1, 7, 8, 2, 9, 1, 8, 2], [(token, 1) for token in tokens], origins, {2})
    [(0, 'user:0'), (5, 'assistant:1')]
    >>> blocks_of([1, 7, 8, 2, 9, 1, 8, 2], [(token, 1) for token in tokens], None, {2})
    [(0, ''), (5, '')]
    """
    cuts = _after_turn_ends(ids, groups, turn_ends)
    if origins is None:
        return [(start, "") for start in [0, *cuts]]
    blocks: list[Block] = []
    start, writer, gap = 0, "", 0
    for origin, run in groupby(range(len(ids)), key=origins.__getitem__):
        tokens = list(run)
        if origin == "template":
            gap = next((cut for cut in cuts if tokens[0] <= cut <= tokens[-1]), tokens[0])
            continue
        if not writer:
            writer = origin
        elif origin != writer:
            begin = gap if gap > start else tokens[0]
            blocks.append((start, writer))
            start, writer = begin, origin
        gap = tokens[-1] + 1
    return [*blocks, (start, writer or "template")]


def _after_turn_ends(ids: Sequence[int], groups: Sequence[Group], turn_ends: Collection[int]) -> list[int]:
    """The tokens that follow a turn end and the blank tokens after it, but for the end of the sample."""
    cuts, at, ended = list[int](), 0, False
    for text, count in groups:
        if ended and text.strip():
            cuts.append(at)
            ended = False
        ended = ended or ids[at] in turn_ends
        at += count
    return cuts


def turns_of(origins_of_samples: Sequence[Sequence[str]]) -> list[dict[str, int]]:
    """Return the tokens by writer of the first, second ... message of samples, given the origins of their
    tokens; what the template prints counts for the message that it stands before.

    >>> turns_of([["template", "user:0", "template", "assistant:1", "template"]])
    [{'user': 1, 'template': 1}, {'assistant': 1, 'template': 2}]
    """
    turns: dict[int, Counter[str]] = {}
    for origins in origins_of_samples:
        place, waiting, order = 0, 0, dict[str, int]()
        for origin in origins:
            if origin == "template":
                waiting += 1
                continue
            place = order.setdefault(origin, len(order))
            counts = turns.setdefault(place, Counter())
            counts[writer_of(origin)] += 1
            counts["template"] += waiting
            waiting = 0
        turns.setdefault(place, Counter())["template"] += waiting
    return [dict(turns.get(i, {})) for i in range(max(turns, default=-1) + 1)]
