"""The counts of rows, and their form in the manifest.

    add_row_counts(tally, of_row, {3: {"dropped_reasoning": 2}})      # at the first sample of row 3
    nested({"dropped_reasoning": 2, "tokens_user": 40})       # {"dropped_fields": {"reasoning": 2}, ...}

A tally has flat names. The manifest has groups of them. What belongs to a row as a whole is counted at its
first sample: so it counts as often as the row is used, and in no row that is rejected, dropped or left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from ..core.records import Sample, Tally

CONTAMINATED = "contaminated_"
"""How the names of counts by evaluation set begin."""

GROUPS: Mapping[str, str] = {
    "tokens_": "tokens_by_role",
    "trained_": "trained_by_role",
    "proved_": "samples_by_proof",
    "repaired_": "repaired_by_policy",
    "dropped_": "dropped_fields",
    "auto_": "template_modes",
    CONTAMINATED: "contaminated_by_set",
}
"""How the names of a group begin in a tally -> the group in the manifest."""

LEFT_OUT: Mapping[str, str] = {"empty_turns": "empty", "opening_turns": "opening"}
"""Turns that are left out of the loss, by their name in a tally -> their name in `turns_left_out`."""

ALWAYS = ("straddling_tokens", "seam_tokens", "control_tokens_in_content", "turns_behind_another_prompt")
"""Single counts that a manifest has even if they are 0."""

HISTORY = "history_tokens"
"""The count of tokens that are written because turns of a row have samples of their own."""

_SINGLE = frozenset({"tokens_cut_off"})


def row_counts(samples: Sequence[Sample], repaired: Sequence[str]) -> Counter[str]:
    """Return what is counted of a row as a whole: its fixes, by their names, and what its samples carry."""
    counts = Counter(f"repaired_{name}" for name in repaired)
    for sample in samples:
        counts.update(sample.counts)
    return +counts


def add_row_counts(tally: Tally, of_row: np.ndarray, counts: Mapping[int, Mapping[str, int]]) -> None:
    """Add the counts of rows, by their index in the batch, to a tally: each at the first sample of its row.
    `of_row`, int64[k] ascending, are the rows of the samples.

    >>> tally = {}
    >>> add_row_counts(tally, np.array([0, 2, 2]), {1: {"empty_turns": 1}, 2: {"empty_turns": 3}})
    >>> tally["empty_turns"].tolist()
    [0, 3, 0]
    """
    for name in sorted({name for of_one in counts.values() for name in of_one}):
        column = np.zeros(len(of_row), dtype=np.int32)
        for row, of_one in counts.items():
            first = int(np.searchsorted(of_row, row))
            if name in of_one and first < len(of_row) and of_row[first] == row:
                column[first] = of_one[name]
        tally[name] = column


def nested(counts: Mapping[str, int], arguments: Collection[str] = ()) -> dict[str, Any]:
    """Return flat counts in the form of the manifest; `arguments` are the template arguments of the recipe.

    >>> counts = {"tokens_user": 4, "empty_turns": 1, "auto_enable_thinking_true": 2}
    >>> found = nested(counts, ["enable_thinking"])
    >>> found["tokens_by_role"], found["turns_left_out"], found["template_modes"]
    ({'user': 4}, {'empty': 1}, {'enable_thinking': {'true': 2}})
    """
    found: dict[str, Any] = {
        name: {} for name in (*GROUPS.values(), "turns_left_out") if name != GROUPS[CONTAMINATED]
    }
    found |= dict.fromkeys(ALWAYS, 0)
    for key in sorted(counts):
        prefix = next((prefix for prefix in GROUPS if key.startswith(prefix) and key not in _SINGLE), None)
        if key in LEFT_OUT:
            found["turns_left_out"][LEFT_OUT[key]] = counts[key]
        elif prefix is None:
            found[key] = counts[key]
        elif prefix == "auto_":
            argument, value = _argument(key.removeprefix(prefix), arguments)
            found[GROUPS[prefix]].setdefault(argument, {})[value] = counts[key]
        else:
            found.setdefault(GROUPS[prefix], {})[key.removeprefix(prefix)] = counts[key]
    return found


def _argument(name: str, arguments: Collection[str]) -> tuple[str, str]:
    """Return argument and value, given the name under which a value of an argument is counted.

    >>> _argument("mode_no_think", ["mode"]), _argument("mode_chat", [])
    (('mode', 'no_think'), ('mode', 'chat'))
    """
    for argument in sorted(arguments, key=len, reverse=True):
        if name.startswith(f"{argument}_"):
            return argument, name.removeprefix(f"{argument}_")
    argument, _, value = name.rpartition("_")
    return argument, value
