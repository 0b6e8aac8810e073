"""What `premask verify` finds wrong: one finding a kind and file, with its first row and how many there are.

    findings = Findings()
    findings.add("label", "packed/train-00000-of-00001.parquet", "label 5 beside id 9", row=3, rows=2)
    print(findings.all()[0])
    # packed/train-00000-of-00001.parquet row 3 (and 1 more): label 5 beside id 9; the shard was changed ...

A damaged shard of a million packs must not print a million lines, so what is found again in the same file is
only counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_AGAIN = "fetch the output again, or write it again with premask run --overwrite"
_SHARD = f"the shard was changed or is damaged: {_AGAIN}"

KINDS: Mapping[str, str] = {
    "manifest": f"manifest.json is not what premask writes: {_AGAIN}",
    "missing": _AGAIN,
    "extra": "move it out of the output: load_dataset may read it",
    "size": _SHARD,
    "sha256": _SHARD,
    "unreadable": _SHARD,
    "schema": f"readers expect the columns of the contract: {_AGAIN}",
    "contract": f"the shard is of another contract: {_AGAIN}",
    "footer": _SHARD,
    "shape": _SHARD,
    "too_long": _SHARD,
    "id": f"the id is no token of tokenizer/: {_AGAIN}",
    "label": f"a label must be -100 or the id of its token: {_AGAIN}",
    "first_label": f"the first token of a sample has no context, its label must be -100: {_AGAIN}",
    "position": f"position_ids must count from 0 in every sample: {_AGAIN}",
    "attention_mask": f"attention_mask must be all ones: {_AGAIN}",
    "loss_weight": f"loss_weights must be 0 exactly where labels are -100, else above 0: {_AGAIN}",
    "mask": f"a mask must be 1 exactly where labels are not -100: {_AGAIN}",
    "padding": _SHARD,
    "lineage": f"lineage/ and the shards tell of different samples: {_AGAIN}",
    "layouts": f"packed/ and unpacked/ hold different samples: {_AGAIN}",
    "reject": f"the ledger is damaged: {_AGAIN}",
    "rows": f"each input row must be kept or rejected, and once: {_AGAIN}",
    "counts": f"manifest.json and the files disagree: {_AGAIN}",
    "card": f"load_dataset refuses a card with wrong counts: {_AGAIN}",
    "picture": f"the picture was changed or is damaged: {_AGAIN}",
    "tokenizer": f"ids cannot be read without the tokenizer that made them: {_AGAIN}",
    "source": "put the file back as it was, or run premask on it as it is now",
    "redone": "the row gives something else when it is done again: report it with the recipe, if the "
    "packages are of the versions in manifest.json",
}
"""Kind of finding -> how to mend it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: in which file of the output, in which row (None: the file as a whole; the
    first of `rows`), what, and how to mend it. `kind` is a key of `KINDS`."""

    kind: str
    file: str
    row: int | None
    rows: int
    what: str
    mend: str

    def __str__(self) -> str:
        place = self.file if self.row is None else f"{self.file} row {self.row}"
        more = f" (and {self.rows - 1:,} more)" if self.rows > 1 else ""
        return f"{place}{more}: {self.what}; {self.mend}"


class Findings:
    """What was found so far, in the order in which it was found first."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Finding] = {}

    def add(self, kind: str, file: str, what: str, *, row: int | None = None, rows: int = 1) -> None:
        """Note `what` is wrong in so many `rows`, the first of them `row`; of a kind and a file the first is
        told and all are counted.

        >>> findings = Findings()
        >>> findings.add("size", "a.parquet", "3 bytes, not 4")
        >>> findings.add("size", "a.parquet", "it is odd")
        >>> [(each.what, each.rows) for each in findings.all()]
        [('3 bytes, not 4', 2)]
        """
        before = self._found.get((kind, file))
        first = before or Finding(kind, file, row, 0, what, KINDS[kind])
        self._found[kind, file] = Finding(kind, file, first.row, first.rows + rows, first.what, first.mend)

    def __contains__(self, kind_and_file: tuple[str, str]) -> bool:
        return kind_and_file in self._found

    def all(self) -> tuple[Finding, ...]:
        """Everything that was found."""
        return tuple(self._found.values())
