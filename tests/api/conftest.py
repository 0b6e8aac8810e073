"""What is found out of the tokenizer of the tests is kept for all of them here: no test of this folder is about that."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("facts")


@pytest.fixture(autouse=True, scope="module")
def _facts_are_kept(facts: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREMASK_FACTS", "on")
        patch.setenv("PREMASK_CACHE", str(facts))
        yield


@pytest.fixture(autouse=True)
def _the_environment_stays() -> Iterator[None]:
    """`Dataset.map(num_proc=2)` puts a copy in the place of `os.environ`, which no fixture would set back."""
    before = os.environ
    yield
    os.environ = before  # noqa: B003  the object itself
