"""The Ray runner on a Ray of its own: the bytes of a plain run, workers that die, foreign folders, errors.

`ray_faults.py` does the larger ones: two nodes, one of which is killed, and many kills.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow.parquet as pq
import pytest
from commands import SAMPLE, TOKENIZER, premask
from outputs import bytes_of
from poison import poisoned, switch_off, switch_on
from premask.core.errors import OutputError, RecipeError, RunError, SourceError
from premask.core.recipe import Recipe
from premask.core.records import Slice, Unit
from premask.output.unit_store import UnitStore
from premask.running.run import run
from premask.running.runners import on_ray
from premask.running.runners.on_ray import RayRunner
from premask.running.tasks import Progress, Task

CHATS = SAMPLE / "conversations.jsonl"


def recipe_of(out: Path | str, **keys: Any) -> Recipe:
    values: dict[str, Any] = {"sources": [str(CHATS)], "tokenizer": TOKENIZER, "output": str(out)}
    return Recipe.model_validate(values | {"max_length": 1024, "unit_rows": 60} | keys)


@pytest.fixture(scope="module")
def poison(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where `switch_on` switches on what rows do to all processes that begin from here on."""
    folder = tmp_path_factory.mktemp("poison")
    with mock.patch.dict(os.environ, poisoned(folder)):
        yield folder


@pytest.fixture(scope="module")
def started(poison: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayRunner]:
    """A Ray with two CPUs, started in a folder that holds another `premask`, where the driver stays."""
    del poison
    pytest.importorskip("ray", reason="ray is not installed")
    folder, before = tmp_path_factory.mktemp("foreign"), Path.cwd()
    (folder / "premask").mkdir()
    (folder / "premask" / "__init__.py").write_text("raise RuntimeError('this is not premask')")
    (folder / "chats.jsonl").write_bytes(CHATS.read_bytes())
    os.chdir(folder)
    try:
        with RayRunner(workers=2) as runner:
            yield runner
    finally:
        os.chdir(before)


class _Kept:
    """A runner that others have entered, and will leave."""

    def __init__(self, runner: RayRunner) -> None:
        self._runner = runner

    def __enter__(self) -> RayRunner:
        return self._runner

    def __exit__(self, *error: object) -> None:
        pass


def run_on(runner: RayRunner, recipe: Recipe, progress: Progress | None = None) -> Any:
    return run(recipe, make_runner=lambda _: _Kept(runner), progress=progress)  # type: ignore[arg-type,return-value]


def test_the_bytes_are_those_of_a_plain_run(started: RayRunner, tmp_path: Path) -> None:
    """From a folder with another `premask`, sources named relative to it, duplicates and near duplicates
    dropped, samples shuffled."""
    keys = {
        "sources": ["chats.jsonl", str(CHATS)],
        "duplicates": "drop",
        "shuffle": True,
        "near_duplicates": {},
    }
    run(recipe_of(tmp_path / "plain", **keys))
    result = run_on(started, recipe_of(tmp_path / "ray", **keys))

    assert result.fresh
    assert result.manifest["counts"]["dropped"] > 250
    assert bytes_of(tmp_path / "ray") == bytes_of(tmp_path / "plain")


def test_units_that_go_to_a_store_share_no_files(
    started: RayRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver's scratch is not asked for; here the store is a folder."""
    monkeypatch.setenv("PREMASK_CACHE", str(tmp_path / "cache"))
    run(recipe_of(tmp_path / "plain"))
    with mock.patch.object(on_ray, "_marker", side_effect=AssertionError("files are shared")):
        run_on(started, recipe_of(f"file://{tmp_path}/store"))
        with pytest.raises(AssertionError, match="files are shared"):
            run_on(started, recipe_of(f"file://{tmp_path}/shuffled", shuffle=True))

    assert bytes_of(tmp_path / "store") == bytes_of(tmp_path / "plain")


def test_a_node_that_does_not_see_a_source_is_named(tmp_path: Path) -> None:
    piece = Slice(str(tmp_path / "a.jsonl"), "jsonl", None, 0, None, None, None)
    store = UnitStore("memory://out", "key")
    with pytest.raises(
        SourceError, match=r"node .* does not see .*a\.jsonl; put sources .* 'streaming: true'"
    ):
        on_ray._check_sources(
            Task(Unit(0, (piece,)), {}, tmp_path / "units" / "00000", "key", tmp_path / "no", store=store)
        )


class _KillsWorkers(Progress):
    """Kills the worker processes of Ray on this machine once a unit is done."""

    def __init__(self) -> None:
        self.killed: list[int] = []

    def advance(self, rows: int, tokens: int, packs: int) -> None:
        del rows, tokens, packs
        if not self.killed:
            self.killed = ray_workers()
            for pid in self.killed:
                os.kill(pid, signal.SIGKILL)


def ray_workers() -> list[int]:
    """The processes of Ray on this machine that do units now, of a driver that is this process."""
    found = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(maxsplit=2) for line in found.splitlines()[1:]]
    children: dict[int, list[int]] = {}
    for pid, parent, _ in rows:
        children.setdefault(int(parent), []).append(int(pid))
    ours, waiting = set(), [os.getpid()]
    while waiting:
        ours |= {(pid := waiting.pop())}
        waiting += children.get(pid, [])
    return [int(pid) for pid, _, args in rows if int(pid) in ours and args.startswith("ray::_do_task")]


def test_workers_that_are_killed_change_nothing(started: RayRunner, tmp_path: Path) -> None:
    killer = _KillsWorkers()
    run(recipe_of(tmp_path / "plain", unit_rows=10))
    run_on(started, recipe_of(tmp_path / "ray", unit_rows=10), killer)

    assert killer.killed
    assert bytes_of(tmp_path / "ray") == bytes_of(tmp_path / "plain")


@pytest.mark.parametrize("what", ["kill", "raise"])
def test_a_row_that_kills_every_worker_is_skipped(
    started: RayRunner, poison: Path, tmp_path: Path, what: str
) -> None:
    lines = CHATS.read_text(encoding="utf-8").split("\n")[:-1]
    lines[70] = next(line for line in lines if '"gpt"' in line).replace('"value": "', '"value": "XYZZY ', 1)
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    keys = {"sources": [str(tmp_path / "a.jsonl")]}
    switch_on(poison, "XYZZY", what)
    result = run_on(started, recipe_of(tmp_path / "ray", **keys))

    assert result.skipped_rows == 1
    rejects = pq.read_table(tmp_path / "ray" / "rejects").to_pylist()
    assert [line["row"] for line in rejects if line["reason"] == "crashed"] == [70]
    assert (tmp_path / ".ray.partial").is_dir()

    switch_off(poison)
    run(recipe_of(tmp_path / "plain", **keys))
    run_on(started, recipe_of(tmp_path / "ray", **keys))
    assert bytes_of(tmp_path / "ray") == bytes_of(tmp_path / "plain")
    assert not (tmp_path / ".ray.partial").exists()


def test_a_node_that_does_not_see_the_output_is_named(started: RayRunner, tmp_path: Path) -> None:
    with (
        mock.patch.object(on_ray, "_marker", lambda path: _Nowhere(path / "missing")),
        pytest.raises(
            OutputError, match=r"node .* does not see .*ray\.partial.*on storage that all nodes share"
        ),
    ):
        run_on(started, recipe_of(tmp_path / "ray"))


class _Nowhere:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Path:
        return self._path

    def __exit__(self, *error: object) -> None:
        pass


def test_workers_with_other_versions_are_refused(started: RayRunner, tmp_path: Path) -> None:
    with (
        mock.patch.object(on_ray, "versions", return_value={"pyarrow": "1.0"}),
        pytest.raises(RunError, match=r"node .* has .*pyarrow .*, not 1.0.*same versions on every node"),
    ):
        run_on(started, recipe_of(tmp_path / "ray"))
    with (
        mock.patch.object(on_ray, "code_hash", return_value="other"),
        pytest.raises(RunError, match=r"node .* has other code of premask, in "),
    ):
        run_on(started, recipe_of(tmp_path / "ray"))


def test_without_ray_the_extra_is_named(tmp_path: Path) -> None:
    with mock.patch.dict(sys.modules, {"ray": None}):
        done = premask(
            "run", CHATS, "--tokenizer", TOKENIZER, "--output", tmp_path / "out", "--runner", "ray"
        )
        with pytest.raises(RecipeError):
            RayRunner()

    assert done.code == 2
    assert (
        done.err
        == "premask: --runner ray needs the package ray, which is not installed: pip install 'premask[ray]'\n"
    )
