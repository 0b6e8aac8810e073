"""The Ray runner: units as tasks of Ray, on one machine or many.

    with RayRunner(address="10.0.0.1:6379") as runner:      # None: RAY_ADDRESS, or a new Ray on this machine
        records = runner.do(run_unit, tasks, batches, progress)

Ray only schedules. Rows and shards do not pass through it: workers read the sources and write their unit
beside the output. So sources and output must be on storage that all nodes share, under the same path. The
first task of every process checks this. If the output is in a store, workers send their units there from a
scratch folder of their node (`output/unit_store.py`). Then nothing is shared, unless units need files of each
other.

If a worker or node is lost, its unit is retried elsewhere and gives the same bytes. Nodes that join later are
used.

Workers must have the same code of this package and the same versions of its dependencies. This is checked
before they do any work. Ray puts the working directory of the driver first on their import path, where
another folder `premask` would hide this package. So Ray starts in the directory of this package.

Cost: a new Ray starts in 3 s on an idle machine, a worker in 2 to 4 s, including its tokenizer. A task has an
overhead of a millisecond. The tokenizer (5 to 14 MB) is sent once to each node.
"""

from __future__ import annotations

import importlib
import logging
import os
import secrets
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ...core.atomic_files import named
from ...core.defaults import ATTEMPTS
from ...core.errors import OutputError, PremaskError, RecipeError, RunError, SourceError, first_line
from ...core.recipe import Recipe
from ...core.urls import is_url
from ...core.versions import code_hash, versions
from ...output.shards import UnitRecord
from ...output.windows import Windows
from ...tokens.tokenizer import LoadedTokenizer
from ..batches import BatchLabeller
from ..crashes import note_failure
from ..tasks import BucketTask, Job, Progress, Task, rows_of
from ..unexpected import TaskError, describe, unexpected
from .process import in_directory, own_handler, prepare_process
from .worker import Worker

_AHEAD = 2  # units running or queued per CPU, so that workers need not wait for the driver
_PATIENCE_S = 30.0  # seconds without a result, after which CPUs are counted again
_STORE_BYTES = 200 << 20  # object store of a new Ray; it holds the tokenizer only


class RayRunner:
    """Runs tasks on a Ray cluster, or on a Ray that it starts on this machine and ends with the `with` block.

    `address` is that of the head node (`HOST:PORT` or `auto`). Without it, and without RAY_ADDRESS, a new Ray
    starts. `workers` is the number of CPUs that are used at a time; None means all CPUs, also those of nodes
    that join later. A unit may fail `attempts` times. Then a worker process on this machine searches for the
    cause, as in the local runner.

    Raises `RecipeError` without the package `ray`, `RunError` if there is no cluster at the address.
    """

    def __init__(
        self, address: str | None = None, workers: int | None = None, attempts: int = ATTEMPTS
    ) -> None:
        self._address = address or os.environ.get("RAY_ADDRESS") or "local"
        self._workers, self._attempts = workers, attempts
        self._suspects = Worker()
        self._undo = ExitStack()
        self._ray = _import_ray()
        self._sent: tuple[BatchLabeller, _Shared] | None = None

    def __enter__(self) -> RayRunner:
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if self._address == "local":
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            options |= {"num_cpus": self._workers, "include_dashboard": False}
            options |= {"object_store_memory": _STORE_BYTES}
        try:
            with in_directory(_PACKAGE.parent), own_handler(signal.SIGTERM):
                self._ray.init(self._address, **options)
        except (self._ray.exceptions.RayError, ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise RunError(
                f"there is no Ray at {self._address}: {first_line(error)}; check the address"
            ) from None
        self._undo.callback(self._ray.shutdown)
        return self

    def __exit__(self, *error: object) -> None:
        self._suspects.end()
        self._undo.close()

    def load_ahead(self, recipe: Recipe, tokenizer: LoadedTokenizer) -> None:
        """Load nothing: workers load with their first task."""
        self._suspects.know(recipe, tokenizer)

    def loaded(self, batches: BatchLabeller) -> None:
        """Do nothing: workers may be on other machines."""

    def do(
        self, job: Job, tasks: Sequence[Task | BucketTask], batches: BatchLabeller, progress: Progress
    ) -> list[UnitRecord]:
        """Do a job on all tasks and return the records that it gives, in their order.

        Raises the `PremaskError` that the job raises; `RunError` if workers have other code or versions;
        `OutputError` if a node does not see the output.
        """
        if not tasks:
            return []
        ray, records = self._ray, dict[int, UnitRecord]()
        first = tasks[0]
        alone = isinstance(first, Task) and not first.shares_files
        with nullcontext() if alone else _marker(first.directory.parent) as marker:
            about = _About(marker, str(Path.cwd()), _versions(batches), code_hash())
            shared, setup = self._share(batches)._replace(about=about), batches.setup()
            remote = ray.remote(num_cpus=1, max_retries=0)(_do_task)
            waiting = deque(enumerate(tasks))
            under_way: dict[Any, tuple[int, Task | BucketTask]] = {}
            try:
                while waiting or under_way:
                    while waiting and len(under_way) < self._at_a_time():
                        number, task = waiting.popleft()
                        under_way[remote.remote(job, shared, task)] = number, task
                    ready, _ = ray.wait(list(under_way), num_returns=1, timeout=_PATIENCE_S)
                    if not ready and not self._cpus():
                        progress.say(f"Ray at {self._address} has no CPU; waiting until it has")
                    for reference in ready:
                        number, task = under_way.pop(reference)
                        try:
                            record = self._record(reference)
                        except TaskError as error:
                            if note_failure(task, str(error), self._attempts, progress.say):
                                waiting.append((number, task))
                                continue
                            record = self._suspects.settle(setup, job, task, progress.say)
                        if record is not None:
                            records[number] = record
                            progress.advance(rows_of(record), record.tokens, record.packs)
            finally:
                for reference in under_way:
                    with suppress(ray.exceptions.RayError):
                        ray.cancel(reference, force=True)
        return [record for _, record in sorted(records.items())]

    def _record(self, reference: Any) -> UnitRecord | None:
        """Return the record of a task; raise its `PremaskError`, or `TaskError` for any other error."""
        try:
            record: UnitRecord | None = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            cause = _cause(error)
            raise TaskError(describe(unexpected(cause))) from None
        except self._ray.exceptions.RayError as error:  # the worker or its node is lost
            raise TaskError(first_line(error)) from None
        return record

    def _share(self, batches: BatchLabeller) -> _Shared:
        """Return what workers need to make this batch labeller; put it into Ray's store once."""
        if self._sent is None or self._sent[0] is not batches:
            setup = batches.setup(), batches.labeller.tokenizer
            self._sent = batches, _Shared(secrets.token_hex(8), [self._ray.put(setup)])
        return self._sent[1]

    def _at_a_time(self) -> int:
        if self._workers is not None and self._address != "local":
            return self._workers
        return max(_AHEAD, _AHEAD * self._cpus())

    def _cpus(self) -> int:
        """Return the number of CPUs that the cluster has now."""
        return int(self._ray.cluster_resources().get("CPU", 0))


_PACKAGE = Path(__file__).resolve().parents[2]


def _import_ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ImportError:
        raise RecipeError(
            "--runner ray needs the package ray, which is not installed: pip install 'premask[ray]'"
        ) from None


@contextmanager
def _marker(directory: Path) -> Iterator[Path]:
    """Create a file that all workers must see."""
    path = directory / f".seen-by-all-{secrets.token_hex(8)}"
    with named(directory):
        path.touch()
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _cause(error: Any) -> Exception:
    """Return the error of a worker, as it was raised there."""
    cause = error.cause
    if isinstance(cause, PremaskError):
        return cause
    text = str(cause)
    if "No module named" in text or "failed to import on the worker" in text:
        return RunError(
            f"workers of Ray cannot import this version of premask ({first_line(cause)}); install it on "
            "every node"
        )
    return cause if isinstance(cause, Exception) else RunError(first_line(error))


# ==== In a worker ====


class _About(NamedTuple):
    """What a worker must have.

    marker     a file that it must see; None if units are sent to a store
    directory  the working directory of the driver
    versions   versions of this package and its dependencies
    code       the hash of the code of this package
    """

    marker: Path | None
    directory: str
    versions: dict[str, str]
    code: str


class _Shared(NamedTuple):
    """What all tasks of a job have in common.

    Large values are in Ray's store. Their reference is in a list, so that Ray does not resolve it per task.
    """

    name: str
    setup: list[Any]
    about: _About | None = None


@dataclass
class _Loaded:
    name: str
    batches: BatchLabeller
    windows: Windows


_loaded: _Loaded | None = None


def _versions(batches: BatchLabeller) -> dict[str, str]:
    return versions(*(("rensa",) if batches.recipe.near_duplicates is not None else ()))


def _do_task(job: Job, shared: _Shared, task: Task | BucketTask) -> UnitRecord | None:
    global _loaded  # noqa: PLW0603  loaded once for all units of a process
    if _loaded is None or _loaded.name != shared.name:
        if shared.about is not None:
            _check(shared.about)
        prepare_process()
        ray = _import_ray()
        setup, tokenizer = ray.get(shared.setup[0])
        _loaded = _Loaded(
            shared.name, setup.load(tokenizer), Windows(setup.recipe.pack_window, setup.recipe.together)
        )
    if isinstance(task, Task) and not task.shares_files:
        _check_sources(task)
    try:
        record: UnitRecord | None = job(_loaded.batches, task, None, _loaded.windows)
    except BaseException as error:
        _loaded = None  # its windows hold samples of the failed unit
        if isinstance(error, Exception):
            raise
        raise RuntimeError(describe(unexpected(error))) from None  # a panic, of which Ray would know no cause
    return record


def _check_sources(task: Task) -> None:
    """Raise unless this node has the files that a unit reads."""
    for piece in task.unit.slices:
        path = piece.at.path if piece.at else piece.source
        if not is_url(path) and not Path(path).exists():
            raise SourceError(
                f"node {os.uname().nodename} does not see {path}; put sources (or PREMASK_CACHE, for files "
                "that are fetched) on storage that all nodes share, or set 'streaming: true' for sources in "
                "stores"
            )


def _check(about: _About) -> None:
    """Raise unless this process can do what the driver would."""
    node = os.uname().nodename
    with suppress(OSError):  # relative paths that are not found are reported later
        os.chdir(about.directory)
    if about.marker is not None and not about.marker.is_file():
        raise OutputError(
            f"node {node} does not see {about.marker.parent}; with several nodes, put sources and output (or "
            "--work, for an output in a store) on storage that all nodes share, under the same path"
        )
    own = versions(*(name for name in about.versions if name not in versions()))
    others = [
        f"{name} {version}, not {about.versions.get(name)}"
        for name, version in own.items()
        if version != about.versions.get(name)
    ]
    if others or code_hash() != about.code:
        what = "; ".join(others) or f"other code of premask, in {_PACKAGE}"
        raise RunError(f"node {node} has {what}; install the same versions on every node")
