"""A few tries of each fault of the machine and its user (`fault_table.py` is the long version)."""

from __future__ import annotations

import shutil
import sys
from itertools import islice

import pytest
from fault_table import KINDS, Bench, call_fails, wrong_end

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Where runs are done; a process that is stopped is so for longer than a run waits for a lock."""
    return Bench(tmp_path_factory.mktemp("faults"), rows=60, seed=1, stop_s=3, tries=6)


@needs_gcc
@pytest.mark.parametrize(("kind", "tries"), [("calls", 3), ("clock", 2)])
def test_calls_that_fail_and_clocks_that_jump(bench: Bench, kind: str, tries: int) -> None:
    check(bench, kind, tries)


@pytest.mark.parametrize(("kind", "tries"), [("stopped", 1), ("twice", 1), ("ranks", 1), ("store", 1)])
def test_processes_that_are_stopped_doubled_or_killed(bench: Bench, kind: str, tries: int) -> None:
    check(bench, kind, tries)


@pytest.mark.parametrize(("kind", "tries"), [("memory", 2), ("signals", 2)])
def test_memory_and_signals(bench: Bench, kind: str, tries: int) -> None:
    check(bench, kind, tries)


def check(bench: Bench, kind: str, tries: int) -> None:
    done = list(islice(KINDS[kind](bench), tries))
    assert [each for each in done if each.wrong] == []


@needs_gcc
def test_a_file_system_without_locks_or_without_links(bench: Bench) -> None:
    no_locks, no_links = 95, 1  # ENOTSUP, EPERM
    assert call_fails(bench, "flock", "plain", no_locks, 0).wrong == []
    linked = call_fails(bench, "link", "plain", no_links, 0)
    assert (linked.what[-3:], linked.wrong) == (": 0", [])


def test_what_a_run_should_not_say_is_seen() -> None:
    """The tests above can fail."""
    assert wrong_end(2, "premask: one line\n", (0, 2)) == []
    assert wrong_end(0, "thread panicked\n", (0, 2))
    assert wrong_end(2, "Traceback ...\npremask: one line\n", (0, 2))
    assert wrong_end(1, "premask: one line\n", (0, 2))
