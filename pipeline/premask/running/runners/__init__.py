"""Runners: who does the units of a run, and when. They only schedule.

    with LocalRunner(processes=4) as runner:        # or RayRunner(address)
        runner.load_ahead(recipe, tokenizer)
        records = runner.run(tasks, batches, progress)

What a task writes follows from the task alone, so all runners give the same bytes, and what one has done
another takes up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # `__main__` imports `process` from here before everything else, and in a moment
    from ...core.recipe import Recipe
    from ...output.shards import UnitRecord
    from ...tokens.tokenizer import LoadedTokenizer
    from ..batches import BatchLabeller
    from ..tasks import BucketTask, Progress, Task


class Runner(Protocol):
    """What a run asks of a runner, which is a context manager: its workers end with the `with` block."""

    def __enter__(self) -> Runner: ...

    def __exit__(self, *error: object) -> None: ...

    def load_ahead(self, recipe: Recipe, tokenizer: LoadedTokenizer) -> None:
        """Have workers load what they can before the recipe's template is known; returns at once."""

    def scan(self, tasks: Sequence[Task], batches: BatchLabeller) -> None:
        """Do `units.scan_unit` on all tasks; raises as `run` does."""

    def run(self, tasks: Sequence[Task], batches: BatchLabeller, progress: Progress) -> list[UnitRecord]:
        """Do `units.run_unit` on all tasks and return their records in order. Raises what that raises, and
        `RunError` if no process lives long enough to do them."""

    def pack(
        self, tasks: Sequence[BucketTask], batches: BatchLabeller, progress: Progress
    ) -> list[UnitRecord]:
        """Do `shuffle.pack_bucket` on all tasks, once all units are done; otherwise as `run`."""
