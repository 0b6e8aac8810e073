"""Where the watched process of `core/limits.py` is started, and how most tests do without it.

A process of tests has some GB, and a copy of it takes a tenth of a second. So in most tests the work is done in
their own process. Tests of hostile input are in `watched()`, and commands that tests start are watched in any case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from premask import labeller
from premask.core.limits import in_watched_process
from premask.masking import chat_template
from premask.tokens import tokenizer

STARTING = (labeller, chat_template, tokenizer)


@contextmanager
def watched() -> Iterator[None]:
    """Have the work done in a watched process, as in a command."""
    with _started(in_watched_process):
        yield


@contextmanager
def unwatched() -> Iterator[None]:
    """Have the work done in this process."""
    with _started(lambda work, *_: work()):
        yield


@contextmanager
def _started(by: Callable[..., Any]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for module in STARTING:
            patch.setattr(module, "in_watched_process", by)
        yield
