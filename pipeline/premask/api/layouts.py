"""Samples in memory as rows of a layout: one row a sample, or packs, as the shards of a run have them.

    Layout(recipe, "packed", format_).table(parts)

Packs are those of a run: samples are gathered in windows (`pack_window`) and packed by best-fit decreasing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ..core.arrays import filled_up
from ..core.contract import row_schema
from ..core.recipe import Recipe
from ..core.records import Samples
from ..output.packing import plan_packs
from ..output.shards import GROUP_TOKENS
from ..output.tables import RowFormat, pack_tables, unpacked_table
from ..output.windows import Window


@dataclass(frozen=True)
class Layout:
    """How samples become rows: `name` is `packed` or `unpacked`, `format_` what a recipe adds to rows."""

    recipe: Recipe
    name: str
    format_: RowFormat

    @property
    def schema(self) -> pa.Schema:
        """The columns of its rows."""
        recipe = self.recipe
        return row_schema(
            self.name,
            loss_weights=bool(recipe.loss_weights),
            token_columns=recipe.token_columns,
            extra_columns=self.format_.masks,
            multiples=self.format_.multiple > 1,
        )

    def table(self, parts: Iterable[Samples]) -> pa.Table:
        """Return the rows of all samples."""
        some = (part for part in parts if len(part.origin))
        batches = self._packs(some) if self.name == "packed" else self._samples(some)
        return pa.Table.from_batches(batches, self.schema)

    def _samples(self, parts: Iterable[Samples]) -> Iterator[pa.RecordBatch]:
        return (unpacked_table(part, self.format_) for part in parts)

    def _packs(self, parts: Iterable[Samples]) -> Iterator[pa.RecordBatch]:
        window = Window(self.recipe.pack_window)
        for part in parts:
            for full in window.add(part):
                yield from self._packs_of(full)
        yield from self._packs_of(window.rest())

    def _packs_of(self, samples: Samples) -> Iterator[pa.RecordBatch]:
        """Yield the packs of a window."""
        if not len(samples.origin):
            return
        lengths = filled_up(np.diff(samples.offsets), self.format_.multiple)
        plan = plan_packs(lengths, self.recipe.max_length)
        packs = max(1, GROUP_TOKENS // self.recipe.max_length)
        yield from pack_tables(samples, plan, packs, self.format_)
