"""A finished output, as `run` and `open` return it.

result["packed"]["train"]           # a Dataset of datasets, as load_dataset gives it
result.rejects, result.counts       # lines of the reject log; the counts of the manifest
result.report(), result.push("org/name", private=True)
"""

from __future__ import annotations

import glob
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import OutputError, one_line
from ..core.manifest import LAYOUTS
from ..output.dataset import Dataset, open_dataset
from ..review.notebook.markup import summary_html
from ..review.notebook.rejects import RejectedRows

if TYPE_CHECKING:
    import datasets

    from ..output.sending import PushResult


@dataclass(frozen=True, eq=False)
class Result:
    """A finished output.

    output    its directory, or the URL of its folder in a store
    manifest  what manifest.json says of it
    warnings  what a run says of the data and the settings; none of an output that was opened
    fresh     False if a run found its output finished already
    """

    output: Path | str
    manifest: dict[str, Any] = field(repr=False)
    warnings: tuple[str, ...] = ()
    fresh: bool = True

    def __getitem__(self, layout: str) -> datasets.DatasetDict:
        """Return the rows of a layout that was written, such as `packed` or `unpacked`: a `DatasetDict` with
        the splits of the output, always with `train`. It is what `load_dataset` gives, so the rows are in its
        cache and not in memory.

        Raises `OutputError` if the layout was not written, or if `datasets` is not installed.
        """
        dataset = self._dataset
        if layout not in dataset.layouts:
            has = ", ".join(dataset.layouts)
            hint = (
                f'run it with layout=["{layout}"]'
                if layout in LAYOUTS
                else f"layouts are {', '.join(LAYOUTS)}"
            )
            raise OutputError(f"{self.output} has no layout {layout!r}, but {has}; {hint}")
        files = {  # `datasets` takes names for patterns
            split: [glob.escape(str(dataset.path(shard.path))) for shard in dataset.shards(layout, split)]
            for split in dataset.splits
        }
        return _loaded(files, self.output)

    @property
    def splits(self) -> list[str]:
        """The splits of the output, `train` first."""
        return self._dataset.splits

    @property
    def layouts(self) -> list[str]:
        """The layouts that were written, `packed` first."""
        return self._dataset.layouts

    @property
    def counts(self) -> dict[str, Any]:
        """The counts of the manifest: rows, tokens and trained tokens, packs, and more."""
        counts: dict[str, Any] = self.manifest["counts"]
        return counts

    @cached_property
    def rejects(self) -> list[dict[str, Any]]:
        """The reject log: `source`, `row`, `id`, `reason`, `detail`, `original` of each rejected row. It is
        read when it is first asked for."""
        return RejectedRows(line for batch in self._dataset.rejects() for line in batch.to_pylist())

    def report(self, to: str | Path | None = None) -> Path:
        """Write the output as one HTML page, and return its path: `to`, or report.html in the output.

        Raises `OutputError` if the output cannot be read or the file not be written, or if it is there and no
        report.
        """
        from ..review.report.page import default_path, write_report  # noqa: PLC0415  a page takes much

        root = self._dataset.root
        return write_report(root, default_path(root) if to is None else Path(to)).path

    def push(  # noqa: PLR0913  all by keyword but the first
        self,
        repo_id: str,
        *,
        private: bool = False,
        revision: str | None = None,
        tag: str | None = None,
        with_rejects: bool = False,
        overwrite: bool = False,
    ) -> PushResult:
        """Push the output to `org/name` on the Hub, as `premask push` does, and return what was done.

        `revision` is a branch, which is made if it is missing. The reject log is pushed only with
        `with_rejects`. Raises `PushError`, and `OutputError` if the output is not whole.
        """
        from ..publish.push_hub import HubTarget, parse_repo_id, push_to_hub  # noqa: PLC0415  half a second

        target = HubTarget(
            parse_repo_id(repo_id), private, revision, tag, overwrite=overwrite, with_rejects=with_rejects
        )
        return push_to_hub(self._dataset.root, target)

    @cached_property
    def _dataset(self) -> Dataset:
        if isinstance(self.output, str):
            raise OutputError(f"{self.output} is in a store; fetch it, then premask.open its directory")
        return open_dataset(self.output)

    def _repr_html_(self) -> str:
        return summary_html(self.manifest, str(self.output))

    def __repr__(self) -> str:
        counts = self.counts
        rows = f"{counts['kept']:,} rows kept, {counts['rejected']:,} rejected"
        tokens = f"{counts['tokens']:,} tokens, {counts['trained_tokens']:,} trained"
        return f"Result({str(self.output)!r}: {rows}; {tokens})"


def _loaded(files: dict[str, list[str]], output: Path | str) -> datasets.DatasetDict:
    try:
        from datasets import load_dataset  # noqa: PLC0415  a second to import
        from datasets.exceptions import DatasetsError  # noqa: PLC0415
    except ImportError:
        what = "datasets is not installed, which result[...] needs"
        raise OutputError(f"{what}; pip install datasets, or read the Parquet files yourself") from None
    try:
        return load_dataset("parquet", data_files=files)
    except (DatasetsError, OSError) as error:
        why = one_line(error.__cause__ or error, 200)
        what = f"the rows of {output} cannot be loaded: {why}"
        raise OutputError(f"{what}; premask verify says whether a file is damaged") from error
