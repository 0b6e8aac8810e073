"""Chat templates that want all time and memory: a share of `tests/support/template_bombs.py`, with low limits."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import template_bombs
from premask import labeller
from premask.core import limits
from premask.masking import chat_template
from premask.running import batches
from premask.tokens.tokenizer import LoadedTokenizer, load_tokenizer
from template_bombs import BODIES, CONDITIONS, EXPECTED, SAMPLE, SOURCES, attempt, bombs, shorten
from watching import watched

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are those of Linux")

ALL = dict(bombs())
SHARE = 7
"""One bomb in so many is tried here."""


@pytest.fixture(scope="module")
def tokenizer() -> LoadedTokenizer:
    return load_tokenizer(str(SAMPLE))


@pytest.fixture(autouse=True, scope="module")
def _short() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for module, name in (
            (limits, "SECONDS"),
            (limits, "GRACE_S"),
            (limits, "MEMORY"),
            (labeller, "SECONDS"),
            (batches, "FILL_SECONDS"),
            (chat_template, "MAX_STEPS"),
        ):
            patch.setattr(module, name, getattr(module, name))
        patch.setitem(os.environ, "PREMASK_FACTS", "off")
        shorten(0.5, 384, 50_000)
        with watched():
            yield


def test_there_are_many() -> None:
    assert len(ALL) == len(BODIES) * len(CONDITIONS) + len(SOURCES) >= 300


@pytest.mark.parametrize("name", list(ALL)[::SHARE])
def test_a_bomb_costs_rows_or_is_refused_in_one_line(
    name: str, tokenizer: LoadedTokenizer, tmp_path: Path
) -> None:
    tried = attempt(ALL[name], tokenizer, tmp_path, most_s=300)

    assert tried.outcome in EXPECTED, tried
    assert tried.megabytes < 2000, tried


def test_the_judge_sees_a_traceback_and_a_process_that_hangs(
    tokenizer: LoadedTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(template_bombs, "_labelled", lambda *_: 1 // 0)
    assert attempt(template_bombs.CHATML, tokenizer, tmp_path, most_s=300).outcome == "traceback"
    monkeypatch.setattr(template_bombs, "_in_child", lambda *_: __import__("time").sleep(300))
    assert attempt(template_bombs.CHATML, tokenizer, tmp_path, most_s=1).outcome == "hangs"
