"""Ids of gigatoken without the library awkward: the same ones. Each test has a process of its own, because a library
cannot be taken out of one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any
from unittest import mock

import pytest
from places import ROOT, SAMPLE
from premask.tokens import flat_ids

TEXTS = [["Hello, you", "", "é 👩‍👩‍👧‍👦 請問", "", " "], [""], [], ["a"] * 1000]

SCRIPT = """
import json, sys
from premask.running.runners.process import prepare_process
prepare_process()
from premask.tokens import flat_ids
from premask.tokens.engines import GigatokenEngine
engine = GigatokenEngine(open(sys.argv[1]).read())
batches = json.loads(sys.argv[2])
{}
def results():
    found = [engine.encode(texts) for texts in batches]
    return [[each.tolist(), str(each.dtype)] for both in found for each in both]
before = results()
loaded = "awkward" in sys.modules
import awkward
print(json.dumps([before, loaded, results(), awkward.Array([1]).tolist()]))
"""


def printed(more: str = "") -> list[Any]:
    """Ids as a command gives them, whether it has loaded the library, and ids once it is loaded."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "pipeline")}
    tokenizer = str(SAMPLE / "tokenizer" / "tokenizer.json")
    words = [sys.executable, "-c", SCRIPT.format(more), tokenizer, json.dumps(TEXTS)]
    done = subprocess.run(words, env=environ, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    found: list[Any] = json.loads(done.stdout)
    return found


def test_a_command_gets_the_same_ids_without_the_library() -> None:
    before, loaded, after, array = printed()

    assert before == after
    assert len(before[0][0]) > 10
    assert (loaded, array) == (False, [1])


@pytest.mark.parametrize("missing", ["Array", "unflatten"])
def test_it_is_imported_if_more_is_asked_of_it(missing: str) -> None:
    """As it would be by another release of gigatoken."""
    more = f"""
from contextlib import contextmanager
whole = flat_ids._stand_in
@contextmanager
def part():
    with whole():
        del sys.modules["awkward"].{missing}
        yield
flat_ids._stand_in = part
"""
    before, loaded, after, _ = printed(more)

    assert before == after
    assert loaded


def test_counts_that_do_not_fit_are_not_used() -> None:
    wrong = mock.Mock()
    wrong.encode_batch.return_value = flat_ids._Flat(mock.Mock(), mock.MagicMock())

    assert flat_ids._without_the_library(wrong, ["a"]) is None
