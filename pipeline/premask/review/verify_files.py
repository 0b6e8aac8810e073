"""The checks of an output's files, and what `premask verify` finds.

    findings = Findings()
    checked = check_files(dataset, findings)         # name -> file, rows, whether they can be read
    check_card(dataset, checked, findings)
    print(findings.all()[0])
    # packed/train-00000-of-00001.parquet: it has 3 bytes, manifest.json says 4; the shard was changed ...

Cost: that of `Dataset.check`; of the rows only the footers are read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core.manifest import KINDS
from ..output.dataset import Checked, Dataset

_AGAIN = "fetch the output again, or write it again with premask run --overwrite"

_SHARD = f"the shard was changed or is damaged: {_AGAIN}"

FIXES: Mapping[str, str] = {
    "manifest": f"manifest.json is not what premask writes: {_AGAIN}",
    "missing": _AGAIN,
    "irregular": f"only regular files within the output are read: {_AGAIN}",
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
    "loss_weight": f"loss_weights must be finite, and 0 where labels are -100: {_AGAIN}",
    "number": f"numbers of tokens must not be infinite, and 0 where labels are -100: {_AGAIN}",
    "mask": f"a mask must be 1 exactly where labels are not -100: {_AGAIN}",
    "side": f"the prompt ends where the first token is trained, or where the sides part: {_AGAIN}",
    "padding": _SHARD,
    "lineage": f"lineage/ and the shards list different samples: {_AGAIN}",
    "layouts": f"packed/ and unpacked/ hold different samples: {_AGAIN}",
    "reject": f"the reject log is damaged: {_AGAIN}",
    "rows": f"each input row must be kept or rejected, and once: {_AGAIN}",
    "counts": f"manifest.json and the files disagree: {_AGAIN}",
    "card": f"load_dataset refuses a card with wrong counts: {_AGAIN}",
    "picture": f"the picture was changed or is damaged: {_AGAIN}",
    "tokenizer": f"ids cannot be read without the tokenizer that made them: {_AGAIN}",
    "source": "restore the file, or run premask on it as it is now",
    "redone": "the row gives another result when it is processed again: report it with the recipe, if the "
    "packages are of the versions in manifest.json",
}
"""Kind of finding -> how to fix it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: in which file of the output, in which row (None: the file as a whole; the
    first of `rows`), what, and how to fix it (`mend`). `kind` is a key of `FIXES`."""

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
    """What was found so far, in the order in which it was found first; one finding a kind and file, since a
    damaged shard of a million packs must not print a million lines."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Finding] = {}

    def add(self, kind: str, file: str, what: str, *, row: int | None = None, rows: int = 1) -> None:
        """Note `what` is wrong in so many `rows`, the first of them `row`. Of a kind and a file the first is
        reported, and all are counted.

        >>> findings = Findings()
        >>> findings.add("size", "a.parquet", "3 bytes, not 4")
        >>> findings.add("size", "a.parquet", "it is odd")
        >>> [(each.what, each.rows) for each in findings.all()]
        [('3 bytes, not 4', 2)]
        """
        before = self._found.get((kind, file))
        first = before or Finding(kind, file, row, 0, what, FIXES[kind])
        self._found[kind, file] = Finding(kind, file, first.row, first.rows + rows, first.what, first.mend)

    def __contains__(self, kind_and_file: tuple[str, str]) -> bool:
        return kind_and_file in self._found

    def all(self) -> tuple[Finding, ...]:
        """Everything that was found."""
        return tuple(self._found.values())


# ==== Files ====


def check_files(dataset: Dataset, findings: Findings) -> dict[str, Checked]:
    """Check that the files of the manifest are there, and are what it says, and that there are no others in
    the folders of shards and of the tokenizer. Returns what was found of each by its name."""
    listed = Counter(shard.path for shard in dataset.manifest.shards)
    for name in sorted(path for path, times in listed.items() if times > 1):
        findings.add("manifest", "manifest.json", f"it lists {name} twice")
    for name in dataset.unlisted():
        if name.endswith(".parquet") or name.partition("/")[0] in {*KINDS, "tokenizer"}:
            findings.add("extra", name, "manifest.json does not list this file")
    _check_names(dataset, findings)
    checked = {each.name: each for each in dataset.check()}
    for each in checked.values():
        for problem in each.problems:
            findings.add(*problem)
    return checked


def _check_names(dataset: Dataset, findings: Findings) -> None:
    rejects = [] if dataset.manifest.rejects_left_out else ["rejects"]
    for kind in (*dataset.layouts, "lineage", "rejects"):
        expected = list[str]()
        for stem in rejects if kind == "rejects" else dataset.splits:
            count = max(1, len(dataset.shards(kind, stem)))
            expected += [f"{kind}/{stem}-{i:05d}-of-{count:05d}.parquet" for i in range(count)]
        names = [shard.path for shard in dataset.shards(kind)]
        if names != expected:
            what = f"its {len(names)} files of {kind}/ are not those of its splits, numbered from 0"
            findings.add("manifest", "manifest.json", what)


# ==== The card ====


def check_card(dataset: Dataset, checked: Mapping[str, Checked], findings: Findings) -> None:
    """Check what `load_dataset` reads of README.md: the files of each layout, and how many rows they have."""
    front = dataset.card()
    if front is None:
        findings.add("card", "README.md", "it is not there, or has no YAML at its head")
        return
    configs, infos = _by_name(front.get("configs")), _by_name(front.get("dataset_info"))
    for layout in dataset.layouts:
        files = [{"split": split, "path": f"{layout}/{split}-*.parquet"} for split in dataset.splits]
        if configs.get(layout, {}).get("data_files") != files:
            findings.add("card", "README.md", f"configs does not name the files of {layout}")
        for split in dataset.splits:
            rows = sum(checked[shard.path].rows for shard in dataset.shards(layout, split))
            splits = _objects(infos.get(layout, {}).get("splits"))
            said = [each.get("num_examples") for each in splits if each.get("name") == split]
            if said != [rows]:
                numbers = [f"{each:,}" for each in said if isinstance(each, int) and abs(each) < 1 << 63]
                number = ", ".join(numbers)[:40] or "no number"
                what = f"it says {number} of rows of {layout} in {split}, the files have {rows:,}"
                findings.add("card", "README.md", what)


def _by_name(value: Any) -> dict[str, Mapping[str, Any]]:
    named = ((each.get("config_name"), each) for each in _objects(value))
    return {name: each for name, each in named if isinstance(name, str)}


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
