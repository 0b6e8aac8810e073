"""The mixture of an output in words: the share of each source, as asked and as got.

mixture_lines(manifest.get("mixture"))      # for a terminal and the report
mixture_section(manifest.get("mixture"))    # for the card
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.redact import bare_name
from .markdown import as_code, as_table

_HEADER = ("source", "share asked", "share got", "times used", "rows", "tokens", "trained tokens")


def mixture_lines(mixture: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """Return lines, each with a name that may be empty: the size of the mixture, then each source.

    >>> source = {"source": "a.jsonl", "asked": 0.5, "got": 0.4, "repeat": 4.0}
    >>> mixture_lines({"by": "rows", "budget": None, "got": 10, "sources": [source]})
    [('mixture', '10 rows in train'), ('', '40.0% (asked: 50.0%) a.jsonl, used 4.00 times')]
    """
    if mixture is None:
        return []
    sources = [
        f"{each['got']:.1%} (asked: {each['asked']:.1%}) {each['source']}, used {each['repeat']:.2f} times"
        for each in mixture["sources"]
    ]
    unit, budget = mixture["by"].replace("_", " "), mixture["budget"]
    whole = f"{mixture['got']:,} {unit} in train" + (f", asked: {budget:,}" if budget else "")
    return [("mixture", whole), *(("", line) for line in sources)]


def mixture_section(mixture: Mapping[str, Any] | None) -> list[str]:
    """Return the section of a card, if the recipe asks for a mixture."""
    if mixture is None:
        return []
    rows = [
        (
            as_code(bare_name(each["source"])),
            *(f"{each[name]:.1%}" for name in ("asked", "got")),
            f"{each['repeat']:.2f}",
            *(f"{each[name]:,}" for name in ("rows", "tokens", "trained_tokens")),
        )
        for each in mixture["sources"]
    ]
    unit, budget = mixture["by"].replace("_", " "), mixture["budget"]
    about = f"Shares of the {unit} of `train`: {mixture['got']:,} in all"
    about += f", {budget:,} were asked for." if budget else "."
    return [f"## Mixture\n\n{about}\n\n{as_table(_HEADER, rows)}"]
