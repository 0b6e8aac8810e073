"""The public names: which there are, that each is documented and typed, and what loading them costs."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from typing import Any

import premask
import pytest
from commands import ROOT, TOKENIZER

NAMES = """
Labeller MaskedSample Masker OutputError PremaskError PushError Recipe RecipeError Result RowError RunError SampleRows
SourceError TemplateError TokenizerError VerifyError __version__ diff load_recipe mask open pack prepare run show verify
"""
OBJECTS = [name for name in premask.__all__ if name != "__version__"]


def test_the_public_names() -> None:
    assert premask.__all__ == NAMES.split()
    assert dir(premask) == sorted(NAMES.split())


@pytest.mark.parametrize("name", OBJECTS)
def test_each_has_a_docstring(name: str) -> None:
    found = getattr(premask, name)

    inherited = found.__mro__[1].__doc__ if inspect.isclass(found) else None
    assert found.__doc__ not in (None, "", inherited)


def functions() -> dict[str, Any]:
    """The public functions, and the public methods of public classes of the API."""
    found = {name: getattr(premask, name) for name in OBJECTS}
    plain = {name: each for name, each in found.items() if inspect.isfunction(each)}
    own = [each for each in found.values() if inspect.isclass(each) and ".api." in each.__module__]
    methods = {
        f"{each.__name__}.{name}": method
        for each in own
        for name, method in vars(each).items()
        if inspect.isfunction(method) and (not name.startswith("_") or name in {"__call__", "__getitem__"})
    }
    return plain | methods


@pytest.mark.parametrize("name", functions())
def test_each_function_is_annotated_and_documented(name: str) -> None:
    function = functions()[name]
    signature = inspect.signature(function)

    assert function.__doc__
    assert signature.return_annotation is not inspect.Signature.empty
    others = [each for each in signature.parameters.values() if each.name != "self"]
    assert [each.name for each in others if each.annotation is inspect.Parameter.empty] == []


def test_every_error_is_one_of_ours() -> None:
    errors = [getattr(premask, name) for name in premask.__all__ if name.endswith("Error")]

    assert {each for each in errors if not issubclass(each, premask.PremaskError)} == {premask.RowError}


def test_types_are_published() -> None:
    assert (ROOT / "pipeline" / "premask" / "py.typed").is_file()


HEAVY = [
    "torch",
    "transformers",
    "datasets",
    "polars",
    "pandas",
    "duckdb",
    "rich",
    "click",
    "huggingface_hub",
]
FIRST = """
import sys, premask
premask.Masker(sys.argv[1])([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}])
print(*sys.modules)
"""


def test_the_first_sample_loads_no_library_that_it_does_not_need() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FIRST, TOKENIZER],
        env={**os.environ, "PYTHONPATH": str(ROOT / "pipeline")},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert {name.partition(".")[0] for name in done.stdout.split()} & {*HEAVY} == set()
