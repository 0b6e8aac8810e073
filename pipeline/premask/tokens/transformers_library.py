"""The library `transformers`, imported when a tokenizer is not known yet.

    leave_torch_out()                       # in a command, before anything is loaded
    transformers().AutoTokenizer

Cost: half a second for the first call.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from typing import Any

from ..core.hub import limit_waiting

_without_torch = False


def leave_torch_out() -> None:
    """From here on, import transformers without torch, which tokenizers do not need.

    Gain: more than a CPU second if torch is installed. If transformers is already loaded, nothing changes.
    This is for commands: a program that imports premask keeps its own settings.
    """
    global _without_torch  # noqa: PLW0603  a setting of the process
    _without_torch = True


def transformers() -> Any:
    """Return the library; the first call imports it. From then on a silent Hub is given up."""
    if _without_torch and "transformers" not in sys.modules:
        with _no_torch():
            importlib.import_module("transformers.utils").is_torch_available()  # the answer is remembered
    limit_waiting()
    return importlib.import_module("transformers")


@contextmanager
def _no_torch() -> Iterator[None]:
    """Let nobody find torch in the `with` block."""
    find = importlib.util.find_spec

    def find_but_torch(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == "torch" else find(name, package)

    importlib.util.find_spec = find_but_torch
    try:
        yield
    finally:
        importlib.util.find_spec = find
