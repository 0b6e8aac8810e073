"""Runners: they give the units of a run to workers. They only schedule.

    with LocalRunner(processes=4) as runner:        # or RayRunner(address)
        runner.load_ahead(recipe, tokenizer)
        runner.loaded(batches)
        records = runner.do(run_unit, tasks, batches, progress)

The files of a task depend on the task alone. So all runners give the same bytes, and a run can be continued
with another runner.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # `__main__` imports `process` from here before everything else, so this must be fast
    from ...core.recipe import Recipe
    from ...output.shards import UnitRecord
    from ...tokens.tokenizer import LoadedTokenizer
    from ..batches import BatchLabeller
    from ..tasks import BucketTask, Job, Progress, Task


class Runner(Protocol):
    """What a run needs of a runner. It is a context manager: its workers end with the `with` block."""

    def __enter__(self) -> Runner: ...

    def __exit__(self, *error: object) -> None: ...

    def load_ahead(self, recipe: Recipe, tokenizer: LoadedTokenizer) -> None:
        """Have workers load what they can before the template is known; return at once."""

    def loaded(self, batches: BatchLabeller) -> None:
        """Start workers as copies of this process, which has just loaded a labeller, if possible."""

    def do(
        self, job: Job, tasks: Sequence[Task | BucketTask], batches: BatchLabeller, progress: Progress
    ) -> list[UnitRecord]:
        """Do a job (`scanning.scan_unit`, `units.run_unit`, `shuffle.pack_bucket`) on all tasks.

        Returns its records in the order of the tasks. Raises the `PremaskError` that it raises,
        and `RunError` if workers cannot be started.
        """
