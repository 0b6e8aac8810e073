"""The numbers of a dataset card: rows, samples and tokens, and how long the samples are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..core.contract import REASONS
from ..core.display import percent
from ..core.manifest import QUANTILES
from .markdown import as_code, as_fenced, as_table
from .mask_counts import PROOF_WORDS

LOG_IS_HERE = "Rejected rows are listed in `rejects/`, and where every sample went in `lineage/`."
LOG_IS_LEFT_OUT = (
    "Rejected rows are counted here; the rows themselves were left out when this was pushed. Where every "
    "sample went is listed in `lineage/`."
)
"""What a card says of the reject log."""


def counts_section(counts: Mapping[str, Any]) -> str:
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
        *_by_proof(counts),
        ("tokens", f"{tokens:,}"),
        ("trained tokens", f"{trained:,}" + (f" ({trained / tokens:.1%})" if tokens else "")),
    ]
    if counts["fill"] is not None:
        rows += [("packs", f"{counts['packs']:,}"), ("fill of the packs", f"{counts['fill']:.2%}")]
    tables = [as_table(("what", "count"), rows), *_by_split(counts), *_by_role(counts)]
    return "\n\n".join([*tables, LOG_IS_HERE])


def _duplicates(counts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the line of duplicates, if there are any."""
    name, what = ("dropped", "dropped") if counts["dropped"] else ("duplicates", "kept")
    return [(f"duplicates of earlier rows, {what}", f"{counts[name]:,}")] if counts[name] else []


def _by_proof(counts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return a line for each way in which masks were proved, if there is more than the usual one."""
    proofs = counts.get("samples_by_proof", {})
    shown = [(name, count) for name, count in sorted(proofs.items()) if count]
    if {name for name, _ in shown} <= {"inference"}:
        return []
    return [(f"– `{name}`: {PROOF_WORDS[name]}", f"{count:,}") for name, count in shown]


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
    return [as_table(("split", "samples", "tokens", "trained tokens", "packs"), rows)]


def _by_role(counts: Mapping[str, Any]) -> list[str]:
    """Return the table of tokens by who wrote them, if they were counted."""
    roles, trained = counts.get("tokens_by_role"), counts.get("trained_by_role", {})
    if not roles:
        return []
    whole = sum(roles.values())
    rows = [
        (
            as_code(role),
            f"{n:,}",
            percent(n, whole),
            f"{trained.get(role, 0):,}",
            percent(trained.get(role, 0), n),
        )
        for role, n in sorted(roles.items(), key=lambda item: (-item[1], item[0]))
    ]
    return [as_table(("written by", "tokens", "share", "trained", "of them"), rows)]


def lengths_section(counts: Mapping[str, Any], *, bars: bool = True) -> str:
    """Return how long the samples are, in numbers, and as a histogram if `bars`."""
    lengths = counts["lengths"]
    if lengths is None:
        return "There are no samples."
    names = (*QUANTILES, "mean")
    shown = as_table(("tokens per sample", *names), [("", *(f"{lengths[name]:,}" for name in names))])
    return f"{shown}\n\n{as_fenced(_bars(lengths['histogram']), 'text')}" if bars else shown


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
    return f"`{reason}`: {REASONS[reason]}" if reason in REASONS else as_code(reason)
