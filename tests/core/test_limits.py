"""Limits of CPU time and memory: what goes beyond them ends in one line, and nothing else changes."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import pytest
from premask.core import limits
from premask.core.errors import RowError
from premask.core.limits import LimitError, hold_limits, in_watched_process, limited

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are those of Linux")


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(limits, "SECONDS", 0.3)
    monkeypatch.setattr(limits, "GRACE_S", 0.3)
    monkeypatch.setattr(limits, "MEMORY", 256 << 20)
    before = signal.getsignal(signal.SIGPROF)
    hold_limits()
    yield
    limits._held.holds = False
    signal.signal(signal.SIGPROF, before)


def loop() -> NoReturn:
    while True:
        pass


def take_memory() -> int:
    return len([b"a" * (1 << 26) for _ in range(99)])


def one_long_step() -> bool:
    """Compare lists that hold each other; Python handles no signal meanwhile."""
    left, right = [1], [1]
    for _ in range(60):
        left, right = [left, left], [right, right]
    return left == right


# ==== This process ====


def test_time_is_limited_between_two_steps() -> None:
    with (
        pytest.raises(LimitError, match=r"^the work takes more than 0.3 seconds of CPU time$"),
        limited("the work"),
    ):
        loop()


def test_memory_is_limited() -> None:
    with pytest.raises(LimitError, match=r"^the work takes more than 256 MB of memory$"), limited("the work"):
        take_memory()
    assert take_memory() == 99


def test_what_was_limited_is_limited_no_more() -> None:
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with limited("the work"):
        inside = resource.getrlimit(resource.RLIMIT_DATA)

    assert resource.getrlimit(resource.RLIMIT_DATA) == before != inside
    assert signal.getitimer(signal.ITIMER_PROF) == signal.getitimer(signal.ITIMER_VIRTUAL) == (0, 0)


def test_errors_of_the_work_pass_through() -> None:
    with pytest.raises(RowError), limited("the work"):
        raise RowError("template_error", "no")

    assert signal.getitimer(signal.ITIMER_PROF) == (0, 0)


def test_handlers_of_errors_do_not_keep_an_interrupt() -> None:
    def swallow() -> None:
        while True:
            with suppress(Exception):  # as a library may do
                loop()

    with pytest.raises(LimitError), limited("the work"):
        swallow()


def test_the_limits_of_an_inner_block_are_those_of_the_outer_one() -> None:
    with (
        pytest.raises(LimitError, match=r"^outer takes more than 0.3 "),
        limited("outer"),
        limited("inner", 1e6),
    ):
        loop()


def test_time_that_others_take_does_not_count() -> None:
    with limited("the work", 0.05):
        time.sleep(0.5)


def test_a_program_that_only_imports_has_no_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits._held, "holds", False)
    with limited("the work"):
        assert signal.getitimer(signal.ITIMER_PROF) == (0, 0)


def test_a_limit_of_the_user_stays() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    lower = limits.data_bytes() + (64 << 20)
    resource.setrlimit(resource.RLIMIT_DATA, (lower, hard))
    try:
        with limited("the work"):
            assert resource.getrlimit(resource.RLIMIT_DATA) == (lower, hard)
        assert resource.getrlimit(resource.RLIMIT_DATA) == (lower, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def test_one_step_that_does_not_end_ends_the_process() -> None:
    child = os.fork()
    if not child:
        try:
            with limited("the work"):
                one_long_step()
        finally:
            os._exit(0)

    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGVTALRM


# ==== A watched process ====


def test_the_result_comes_back() -> None:
    assert in_watched_process(lambda: {"a": [1, b"\0"]}, "the work") == {"a": [1, b"\0"]}


def test_it_is_another_process() -> None:
    assert in_watched_process(os.getpid, "the work") != os.getpid()


def test_an_error_of_ours_comes_back() -> None:
    def refuse() -> None:
        raise RowError("template_error", "no")

    with pytest.raises(RowError, match="template_error: no"):
        in_watched_process(refuse, "the work")


@pytest.mark.parametrize(
    ("work", "what"),
    [
        (loop, "takes more than 0.3 seconds of CPU time"),
        (one_long_step, "takes more than 0.3 seconds of CPU time"),
        (take_memory, "takes more than 256 MB of memory"),
        (lambda: ctypes.string_at(0), r"crashes the process \(SIGSEGV\)"),
    ],
)
def test_what_goes_beyond_the_limits_is_one_line(work: Callable[[], object], what: str) -> None:
    with pytest.raises(LimitError, match=f"^the work {what}$"):
        in_watched_process(work, "the work")


def test_a_process_that_waits_for_ever_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_WAIT", 0.5)
    with pytest.raises(LimitError):
        in_watched_process(lambda: time.sleep(1000), "the work")


def test_what_it_prints_is_dropped(capfd: pytest.CaptureFixture[str]) -> None:
    in_watched_process(lambda: os.system("echo heard"), "the work")  # noqa: S605  of the test
    assert capfd.readouterr() == ("", "")


def test_nothing_is_left_of_it() -> None:
    before, children = len(list(Path("/proc/self/fd").iterdir())), child_processes()
    for _ in range(5):
        in_watched_process(lambda: None, "the work")

    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert child_processes() <= children


def child_processes() -> set[str]:
    """Return the children of this process, ended ones included; the tests before may have left some."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split())
