"""The rejected rows of an output: by reason, with examples, and as JSONL to mend and feed back.

    ledger = read_ledger(Path("out/chats"), reason="empty_assistant")
    ledger.as_dict()["by_reason"]["empty_assistant"]["rows"]
    export_rejects(Path("out/chats"), Path("mend.jsonl"))

An exported line is a row as it stood in its file: the line itself from JSONL, otherwise the row as JSON. Its
source, number and reason are not in it, so that it can be fed back as it is.

Cost: the ledger is read once; memory is a batch of it, and the examples.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.atomic_files import new_file
from ..core.contract import REASONS
from ..core.errors import OutputError
from ..output.dataset import Dataset, open_dataset

EXAMPLES = 3
"""Rows shown of each reason, by default."""


@dataclass
class Ledger:
    """What a ledger holds: for each reason how many rows of which source, and the first of them whole."""

    output: str
    rows: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def reasons(self) -> list[tuple[str, Counter[str]]]:
        """Reasons with the counts of their sources, the commonest first."""
        found: dict[str, Counter[str]] = {}
        for (reason, source), count in self.rows.items():
            found.setdefault(reason, Counter())[source] += count
        return sorted(found.items(), key=lambda item: (-item[1].total(), item[0]))

    def as_dict(self) -> dict[str, Any]:
        """The ledger as JSON values."""
        by_reason = {
            reason: {
                "meaning": REASONS.get(reason, ""),
                "rows": sources.total(),
                "by_source": dict(sources.most_common()),
                "examples": self.examples[reason],
            }
            for reason, sources in self.reasons()
        }
        rejected = sum(count for (reason, _), count in self.rows.items() if reason != "duplicate")
        return {"output": self.output, "rejected": rejected, "by_reason": by_reason}


def read_ledger(
    out: Path, *, reason: str | None = None, source: str | None = None, limit: int = EXAMPLES
) -> Ledger:
    """Read the ledger of an output, or the lines of one reason or source; `limit` examples of each reason.

    Raises `OutputError` where there is no output, no such reason or source, or the ledger cannot be read.
    """
    ledger = Ledger(str(out))
    for line in _lines(out, reason, source):
        ledger.rows[line["reason"], line["source"]] += 1
        examples = ledger.examples.setdefault(line["reason"], [])
        if len(examples) < limit:
            examples.append({key: line[key] for key in ("source", "row", "id", "detail", "original")})
    return ledger


def export_rejects(out: Path, target: Path, *, reason: str | None = None, source: str | None = None) -> int:
    """Write the rejected rows to a new file of JSONL, in the order of the ledger; return how many. Duplicates
    that were dropped are not among them: there is nothing to mend, and the ledger does not repeat them.

    Raises `OutputError` like `read_ledger`, and where the file is there already or cannot be written.
    """
    count = 0
    with new_file(target) as file:
        for line in _lines(out, reason, source):
            if line["original"] is not None:
                file.write(f"{_one_line(line['original'])}\n")
                count += 1
    return count


def _one_line(original: str) -> str:
    """A row as one line; a line of JSONL is one, whatever it holds."""
    return original if "\n" not in original else json.dumps(original, ensure_ascii=False)


def _lines(out: Path, reason: str | None, source: str | None) -> Iterator[dict[str, Any]]:
    """Lines of the ledger, with the columns of `contracts.REJECT_SCHEMA`."""
    dataset = open_dataset(out)
    counts = dataset.manifest.counts
    known = [*counts.rejected_by_reason, *(["duplicate"] if counts.dropped else [])]
    if reason is not None and reason not in known:
        shown = ", ".join(sorted(known)) or "none"
        raise OutputError(f"no row of {out} was rejected for '{reason}'; reasons that are there: {shown}")
    return _read(dataset, reason, source)


def _read(dataset: Dataset, reason: str | None, source: str | None) -> Iterator[dict[str, Any]]:
    sources: Counter[str] = Counter()
    for batch in dataset.rejects(lines=256):
        for line in batch.to_pylist():
            sources[line["source"]] += 1
            if reason in (None, line["reason"]) and source in (None, line["source"]):
                yield line
    if source is not None and source not in sources:
        shown = ", ".join(sorted(sources)) or "none"
        raise OutputError(f"no row of '{source}' was rejected; sources that are there: {shown}")
