"""The checks of the counts in a manifest: against the files, against each other, and against rows done again.

    check_counts(counts, Found({"rows": 3, ...}, reasons, lengths, turns=4), room, findings)
    check_recount(counts, recounted, findings, whole=True)

Shards, lineage and reject log show most counts. How masks were proved, what the template did not print and
which turns were left out is known to a run alone: it must fit the samples that are there, and rows that are
done again must give it.

Cost: nothing that depends on the size of an output.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ..core.contract import BESIDE_OWN_ROW, NOT_REJECTED
from ..core.manifest import Mixture, describe_lengths
from .verify_files import Findings

COUNTED = ("rows", "kept", "rejected", "dropped", "samples", "tokens", "trained_tokens", "packs")


class Found(NamedTuple):
    """What the files of an output have.

    counts   each of `COUNTED`; those that are missing are 0
    reasons  lines of the reject log by reason
    lengths  samples by their tokens
    turns    trained turns, by the lineage
    beside   samples that share a pack with an earlier one of their row, by the lineage
    """

    counts: Mapping[str, int]
    reasons: Mapping[str, int]
    lengths: Mapping[int, int]
    turns: int
    beside: int = 0


def check_counts(counts: Mapping[str, Any], found: Found, max_length: int, findings: Findings) -> None:
    """Check the counts of a manifest against what the files have."""
    for what in (*_differences(counts, found, max_length), *_contradictions(counts, found)):
        findings.add("counts", "manifest.json", what)


def _differences(counts: Mapping[str, Any], found: Found, max_length: int) -> Iterator[str]:
    here: dict[str, Any] = {**dict.fromkeys(COUNTED, 0), **found.counts}
    room = here["packs"] * max_length
    here["rejected_by_reason"] = {k: n for k, n in found.reasons.items() if k not in NOT_REJECTED}
    here["fill"] = round(here["tokens"] / room, 6) if room else None
    here["lengths"] = describe_lengths(found.lengths)
    padding = ["pad_tokens"] if "pad_tokens" in here else []
    for name in (*COUNTED, *padding, "rejected_by_reason", "fill", "lengths"):
        if counts.get(name) != here[name]:
            yield f"counts.{name} is {short(counts.get(name))}, the files have {short(here[name])}"
    beside = counts.get(BESIDE_OWN_ROW)
    if beside is not None and beside != found.beside:
        yield f"counts.{BESIDE_OWN_ROW} is {short(beside)}, the files have {short(found.beside)}"
    for name, whole in (("tokens_by_role", "tokens"), ("trained_by_role", "trained_tokens")):
        total = sum(counts[name].values()) if counts.get(name) else here[whole]
        if total != here[whole]:
            yield f"counts.{name} comes to {total:,}, the files have {here[whole]:,}"


def _contradictions(counts: Mapping[str, Any], found: Found) -> Iterator[str]:
    """Yield what cannot be: more than the files have. Older versions did not have all of these counts."""
    samples, tokens, trained = (found.counts.get(name, 0) for name in ("samples", "tokens", "trained_tokens"))
    was_split, was_cut = "too_long_split" in counts, "tokens_cut_off" in counts
    if proofs := counts.get("samples_by_proof"):
        total = sum(proofs.values())
        if total > samples or (total < samples and not was_split):
            yield f"counts.samples_by_proof comes to {total:,}, there are {samples:,} samples"
    modes = counts.get("template_modes", {}).items()
    for name, value, most, what in (
        (
            "straddling_tokens",
            counts.get("straddling_tokens", 0),
            tokens - trained,
            "tokens that are not trained",
        ),
        ("turns_behind_another_prompt", _behind(counts, was_cut=was_cut), found.turns, "trained turns"),
        *((f"template_modes.{name}", sum(each.values()), samples, "samples") for name, each in modes),
        *((f"repaired_by_policy.{k}", n, samples, "samples") for k, n in _repaired(counts)),
    ):
        if value > most:
            yield f"counts.{name} is {value:,}, there are {most:,} {what}"


def _behind(counts: Mapping[str, Any], *, was_cut: bool) -> int:
    """Return the turns behind another prompt; 0 if some of them may have been cut off."""
    return 0 if was_cut else int(counts.get("turns_behind_another_prompt", 0))


def _repaired(counts: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    yield from counts.get("repaired_by_policy", {}).items()


def check_mixture(
    mixture: Mixture, found: Mapping[str, Mapping[str, int]], entries: Mapping[str, int], findings: Findings
) -> None:
    """Check the sizes of a mixture against what the files have of each input. `entries` has the entry of the
    recipe that names an input; where it is unknown for some, only the sum over all is checked."""
    told = [each.model_dump() for each in mixture.sources]
    here = [Counter[str]() for _ in told]
    known = all(source in entries for source in found)
    for source, each in found.items():
        here[entries[source] if known else 0].update(each)
    if not known:
        told, here = [_summed(told)], [sum(here, Counter[str]())]
    for one, other in zip(told, here, strict=True):
        for name in ("rows", "tokens", "trained_tokens"):
            if one[name] != other[name]:
                what = f"{name} of {one['source']} are {one[name]:,}, the files have {other[name]:,} in train"
                findings.add("counts", "manifest.json", f"mixture: {what}")


def _summed(told: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    names = ("rows", "tokens", "trained_tokens")
    return {"source": "all sources", **{name: sum(each[name] for each in told) for name in names}}


def check_recount(
    counts: Mapping[str, Any], again: Mapping[str, Any], findings: Findings, *, whole: bool
) -> None:
    """Check the counts of a manifest against those of rows that were done again: of all rows if `whole`. Both
    have the form of the manifest."""
    for name, value in again.items():
        told = counts.get(name)
        if told is not None and not _fits(told, value, whole=whole):
            how = "all rows, done again, give" if whole else "some rows, done again, give"
            findings.add("counts", "manifest.json", f"counts.{name} is {short(told)}, {how} {short(value)}")


def _fits(told: Any, again: Any, *, whole: bool) -> bool:
    """Whether a count is what all rows give, or not less than what some rows give.

    >>> _fits({"a": 3}, {"a": 2, "b": 0}, whole=False), _fits({"a": 3}, {"a": 2}, whole=True)
    (True, False)
    """
    if isinstance(again, Mapping):
        names = told.keys() | again.keys()
        pairs = [(told.get(name), again.get(name)) for name in names]
        nothing: Any = {} if any(isinstance(each, Mapping) for pair in pairs for each in pair) else 0
        return all(_fits(one or nothing, other or nothing, whole=whole) for one, other in pairs)
    return bool(told == again if whole else told >= again)


def short(value: Any) -> str:
    """Return a value for a message.

    >>> short(1200), short({"a": 1})
    ('1,200', '{"a": 1}')
    """
    text = f"{value:,}" if isinstance(value, int) else json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
