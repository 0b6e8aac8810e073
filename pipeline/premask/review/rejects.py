"""The rejected rows of an output: by reason, with examples, and as JSONL to fix and feed back.

    log = read_reject_log(Path("out/chats"), reason="empty_assistant")
    log.as_dict()["by_reason"]["empty_assistant"]["rows"]
    export_rejects(Path("out/chats"), Path("fix.jsonl"))

An exported line is a row as it is in its file: the line itself from JSONL, otherwise the row as JSON. Its
source, number and reason are not in it, so that it can be fed back as it is.

Cost: the reject log is read once; memory is a batch of it, and the examples.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.atomic_files import new_file
from ..core.contract import NOT_REJECTED, REASONS, listed
from ..core.defaults import EXAMPLES
from ..core.errors import OutputError
from ..output.dataset import Dataset, open_dataset

DUPLICATE = "duplicate"
"""The reason in the log of rows that were skipped, not rejected."""


TOO_LARGE = "row_too_large"
"""The reason of rows of which the log has the beginning only."""


@dataclass
class RejectLog:
    """What a reject log holds: how many rows of each reason and source, and the first rows of each reason."""

    output: str
    rows: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def reasons(self) -> list[tuple[str, Counter[str]]]:
        """Reasons with the counts of their sources, the commonest first."""
        found: dict[str, Counter[str]] = {}
        for (reason, source), count in self.rows.items():
            found.setdefault(reason, Counter())[source] += count
        return sorted(found.items(), key=lambda item: (-item[1].total(), item[0]))

    @property
    def skipped(self) -> int:
        """Rows that were skipped as duplicates."""
        return sum(count for (reason, _), count in self.rows.items() if reason == DUPLICATE)

    @property
    def left_out(self) -> int:
        """Rows that the recipe left out: they are in the log, but do not count as rejected."""
        return sum(count for (reason, _), count in self.rows.items() if reason in NOT_REJECTED) - self.skipped

    @property
    def rejected(self) -> int:
        """Rows that were rejected."""
        return self.rows.total() - self.skipped - self.left_out

    def as_dict(self) -> dict[str, Any]:
        """The log as JSON values."""
        by_reason = {
            reason: {
                "meaning": REASONS.get(reason, ""),
                "rows": sources.total(),
                "by_source": dict(sources.most_common()),
                "examples": self.examples[reason],
            }
            for reason, sources in self.reasons()
        }
        return {"output": self.output, "rejected": self.rejected, "by_reason": by_reason}


def read_reject_log(
    out: Path, *, reason: str | None = None, source: str | None = None, limit: int = EXAMPLES
) -> RejectLog:
    """Read the reject log of an output, or the rows of one reason or source; `limit` examples of each reason.

    Raises `OutputError` if there is no output, no such reason or source, or if the log cannot be read.
    """
    log = RejectLog(str(out))
    for line in _lines(out, reason, source):
        log.rows[line["reason"], line["source"]] += 1
        examples = log.examples.setdefault(line["reason"], [])
        if len(examples) < limit:
            examples.append({key: line[key] for key in ("source", "row", "id", "detail", "original")})
    return log


def export_rejects(out: Path, target: Path, *, reason: str | None = None, source: str | None = None) -> int:
    """Write the rejected rows to a new file of JSONL, in the order of the log; return how many.

    Duplicates and rows that `keep` leaves out are not among them: there is nothing to fix, and the log does
    not repeat them. Nor are rows that are too large, of which it has the beginning.

    Raises `OutputError` like `read_reject_log`, and if the file exists or cannot be written.
    """
    count = 0
    with new_file(target) as file:
        for line in _lines(out, reason, source):
            if line["original"] is not None and line["reason"] != TOO_LARGE:
                file.write(f"{_one_line(line['original'])}\n")
                count += 1
    return count


def _one_line(original: str) -> str:
    """A row as one line; a line of JSONL is one, whatever it holds."""
    return original if "\n" not in original else json.dumps(original, ensure_ascii=False)


def _lines(out: Path, reason: str | None, source: str | None) -> Iterator[dict[str, Any]]:
    """Rows of the reject log, with the columns of `contract.REJECT_SCHEMA`."""
    dataset = open_dataset(out)
    if dataset.manifest.rejects_left_out:
        raise OutputError(
            f"the reject log of {out} was left out when it was pushed; manifest.json has its counts, and the "
            "output of the run has its rows"
        )
    counts = dataset.manifest.counts
    skipped = [DUPLICATE] if counts.dropped else []
    known = [*counts.rejected_by_reason, *skipped, *listed(counts.left_out)]
    if reason is not None and reason not in known:
        shown = ", ".join(sorted(known)) or "none"
        raise OutputError(f"no row of {out} was rejected for '{reason}'; reasons of this output: {shown}")
    return _matching(dataset, reason, source)


def _matching(dataset: Dataset, reason: str | None, source: str | None) -> Iterator[dict[str, Any]]:
    sources: set[str] = set()
    for batch in dataset.rejects(lines=256):
        for line in batch.to_pylist():
            sources.add(line["source"])
            if reason in (None, line["reason"]) and source in (None, line["source"]):
                yield line
    if source is not None and source not in sources:
        shown = ", ".join(sorted(sources)) or "none"
        raise OutputError(f"no row of '{source}' was rejected; sources with rejected rows: {shown}")
