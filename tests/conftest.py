"""What the tests share: the sample, the tokenizers of the shared folder, and labellers that are loaded once."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any
from unittest import mock

from scratch import use_memory

os.environ["TMPDIR"] = use_memory()  # or what it is already, or a disk
os.environ["PREMASK_TESTS"] = tempfile.mkdtemp(prefix="premask-tests-")  # not the caches of the user
os.environ["HF_HOME"] = f"{os.environ['PREMASK_TESTS']}/hf"  # before any library reads it
os.environ["PREMASK_CACHE"] = f"{os.environ['PREMASK_TESTS']}/cache"
os.environ["PREMASK_FACTS"] = "off"  # what a test proves was not proved by another one
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"

import places
import pytest
from hypothesis import HealthCheck, settings
from places import ROOT, SAMPLE, MakeBatches, MakeLabeller
from premask.core.recipe import EngineChoice, Recipe
from premask.labeller import Labeller
from premask.running.batches import BatchLabeller
from premask.tokens.engine_check import prove_engine
from premask.tokens.engines import EngineProof
from premask.tokens.tokenizer import LoadedTokenizer, load_tokenizer
from watching import unwatched

LONG = (
    "corpus",  # the shared folder
    "end_to_end",  # whole runs, peers, the case study
    "faults",  # processes that are killed
    "train",  # torch
    "output/test_old_datasets.py",  # other releases of a library
    "output/test_store.py",  # an S3 server
    "publish/test_other_trainers.py",  # torch
    "publish/test_push_hub.py",  # a Hub server
    "publish/test_push_store.py",  # an S3 server
    "publish/test_trainer_lines.py",  # torch
    "review/report/test_browser.py",  # a browser
    "running/runners/test_on_ray.py",  # Ray
    "running/runners/test_process.py",  # torch
    "running/test_choosing.py",  # dozens of whole runs
    "running/test_ranks.py",  # several processes a run
    "sources/test_hub_datasets.py",  # a Hub server
    "sources/test_remote.py",  # an S3 server
    "test_packaging.py",  # archives and an environment
)
"""What `make test-quick` leaves out, and why, besides all that needs the shared folder; `make test` runs all."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--quick`: leave out what takes long."""
    parser.addoption("--quick", action="store_true", help="leave out what conftest.py lists as LONG")


def pytest_configure(config: pytest.Config) -> None:
    """For quick tests there is no shared folder: no large tokenizers, no corpora."""
    if config.getoption("--quick"):
        places.SHARED = ROOT / "no-shared-folder"
        settings.load_profile("quick")


def pytest_unconfigure() -> None:
    """Remove the caches of this process."""
    shutil.rmtree(os.environ["PREMASK_TESTS"], ignore_errors=True)


def pytest_runtest_setup() -> None:
    """Leave what there is already out of garbage collection: some renders collect each time, and a process of
    tests has millions of objects."""
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def _garbage_is_collected_now_and_then() -> None:
    """Before each eighth module: what `pytest_runtest_setup` leaves out is not freed otherwise."""
    if not next(_modules) % 8:
        gc.unfreeze()
        gc.collect()
        gc.freeze()


_modules = count()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long comes first, so that no process of `-n` has it left when the others are done."""
    items.sort(key=lambda item: _place(item.path))


def _place(path: Path) -> int:
    """The place of a file in `LONG`; behind all of them if it is not there."""
    own = path.relative_to(ROOT).as_posix().removeprefix("tests/")
    known = [at for at, name in enumerate(LONG) if own == name or own.startswith(f"{name}/")]
    return known[0] if known else len(LONG)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out long tests; None is no opinion."""
    own = collection_path.relative_to(ROOT).as_posix().removeprefix("tests/")
    return True if own in LONG and config.getoption("--quick") else None


settings.register_profile(
    "premask",
    max_examples=int(os.environ.get("PREMASK_MAX_EXAMPLES", "30")),
    deadline=None,
    derandomize="PREMASK_MAX_EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.register_profile("quick", settings.get_profile("premask"), max_examples=10)
settings.load_profile("premask")


@pytest.fixture(autouse=True, scope="session")
def _unwatched() -> Iterator[None]:
    with unwatched():
        yield


@cache
def _loaded(path: str) -> LoadedTokenizer:
    return load_tokenizer(path)


def _loaded_once(name: str) -> LoadedTokenizer:
    """`load_tokenizer`, once for each of those that no test writes."""
    path = Path(name).resolve()
    constant = any(path.is_relative_to(each) for each in (SAMPLE, places.SHARED.resolve()))
    return _loaded(name) if constant else load_tokenizer(name)


def _path_of(name: str) -> str:
    if name == "sample":
        return str(SAMPLE / "tokenizer")
    path = places.SHARED / "tokenizers" / name
    if "/" not in name and not path.is_dir():
        pytest.skip(f"shared/tokenizers/{name} is not there")
    return name if "/" in name else str(path)


_proofs: dict[tuple[int, EngineChoice], tuple[Any, EngineProof]] = {}


def _proved_once(backend: Any, wish: EngineChoice, **options: Any) -> EngineProof:
    """`prove_engine`, once for each tokenizer object (it takes a second)."""
    key = (id(backend), wish)
    if key not in _proofs:
        _proofs[key] = backend, prove_engine(backend, wish, **options)
    return _proofs[key][1]


@pytest.fixture(scope="session", autouse=True)
def _tokenizers_are_loaded_and_proved_once() -> Iterator[None]:
    """Forget the tokenizers at the end of the session."""
    with (
        mock.patch("premask.tokens.engine_check.prove_engine", _proved_once),
        mock.patch("premask.running.run.load_tokenizer", _loaded_once),
    ):
        yield
    _proofs.clear()
    _loaded.cache_clear()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with tokenizers and conversations that lies beside the checkout of its developers."""
    if not places.SHARED.is_dir():
        pytest.skip(f"{places.SHARED} is not there")
    return places.SHARED


@pytest.fixture(scope="session")
def load() -> Callable[[str], LoadedTokenizer]:
    """`load(name)`: a tokenizer, loaded once a session (Gemma's takes five seconds)."""
    return lambda name: _loaded(_path_of(name))


@pytest.fixture(scope="session")
def make_labeller() -> MakeLabeller:
    """`make_labeller(name, **recipe_keys)`: a labeller that shares its tokenizer with all other tests."""

    def make(name: str, **keys: Any) -> Labeller:
        path = _path_of(name)
        recipe = Recipe(**{"sources": ["-"], **keys}, tokenizer=path, output="-")
        return Labeller(recipe, _loaded(path))

    return make


@pytest.fixture(scope="session")
def make_batches(make_labeller: MakeLabeller) -> MakeBatches:
    """The same for batches."""
    return lambda name, **keys: BatchLabeller(make_labeller(name, **keys))
