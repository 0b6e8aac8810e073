"""What a dataset card says of its sources: how much of the data is from each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..core.display import percent
from ..core.redact import bare_name
from .markdown import as_code, as_table

_SHOWN = 20
_HEADER = ("source", "rows", "kept", "tokens", "trained", "share", "repeat")
_NUMBERS = ("rows", "kept", "used", "tokens", "trained_tokens")


def sources_section(inputs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the section of a card with what came of each source, the largest first. Older outputs have no
    tokens by source, and no such section."""
    if not inputs or any(each.get("tokens") is None for each in inputs):
        return []
    whole = sum(each["tokens"] for each in inputs)
    ordered = sorted(inputs, key=lambda each: -each["tokens"])
    shown, rest = ordered[:_SHOWN], ordered[_SHOWN:]
    lines = [_line(as_code(bare_name(each["source"])), each, whole) for each in shown]
    for name, some in ((f"{len(rest):,} more", rest), ("**all**", inputs if len(inputs) > 1 else ())):
        if some:
            lines.append(_line(name, {key: sum(each[key] for each in some) for key in _NUMBERS}, whole))
    about = "Tokens count all splits; `share` is that of the tokens, `repeat` how often a kept row is used."
    return [f"## Sources\n\n{as_table(_HEADER, lines)}\n\n{about}"]


def _line(name: str, each: Mapping[str, Any], whole: int) -> tuple[str, ...]:
    kept = each["kept"]
    return (
        name,
        *(f"{each[key]:,}" for key in ("rows", "kept", "tokens", "trained_tokens")),
        percent(each["tokens"], whole),
        f"{each['used'] / kept:.2f}" if kept else "-",
    )
