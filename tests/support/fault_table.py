"""Faults of the machine and its user, each kind many times, against the bytes of an undisturbed run.

    python tests/support/fault_table.py [--tries 20] [--only calls,clock] [--rows 240] [--seed 0]

Each try does the real command while something is wrong, and checks how it ends: as it should (done, or with exit code
2 and one line that begins with `premask: `), without a traceback or a line of another library. Then the same command
is run undisturbed. All files must have the sha256 of an undisturbed run, and nothing may be left beside the output.
Prints a line a try that is wrong, and a table. Needs Linux, and gcc for faults of system calls.

calls      a system call fails at a random moment: rename, link, mkdir, fsync, open, flock
readonly   no file can be written any more, from a random moment on
clock      the clock of the day jumps by hours, forwards and backwards; so do all clocks, forwards by minutes
stopped    a process of the run is stopped for some seconds (--stop), then continued
memory     limits of the address space, of data, and of a control group where one can be made
twice      a second run of the same output starts at a random moment: of the same recipe, or of another one
signals    SIGINT or SIGTERM to all processes at a random moment, with forked and with spawned workers
ranks      a rank is killed at a random moment
store      a run into a store (S3, on this machine) is killed at a random moment
"""

from __future__ import annotations

import argparse
import errno
import logging
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from commands import ROOT, command_line, without_progress
from fault_test import RECIPES, Place, compare
from faults import ENVIRON, hashes, marked, new_mark, wait_for

HANG_S = 900
"""After which a run hangs, on whatever machine."""

ERRORS = (errno.EIO, errno.ENOSPC, errno.EXDEV, errno.EROFS, errno.EACCES)
_RETRY = re.compile(
    r"(unit \d+ \(.*\)|bucket \d+ of the shuffle) failed \(\d of \d\): .*; (retrying|searching for the cause)\n|row.* skipped: .*\n"
)
_WORK = re.compile(r"working in .*; finished units go to .*\n")
_AGAIN = re.compile(r"premask: the process of the run was ended by SIG\w+( \(.*\))?; a new one continues\n")


class Try(NamedTuple):
    """How a try went: what was done, and what is wrong."""

    what: str
    wrong: Sequence[str]


class Bench:
    """A place for runs, and the undisturbed ones."""

    def __init__(self, folder: Path, rows: int, seed: int, *, stop_s: float = 60.0, tries: int = 20) -> None:
        self.folder, self.place = folder, Place(folder, rows)
        self.dice = random.Random(seed)  # noqa: S311  moments, no secrets
        self.stop_s, self.tries = stop_s, tries
        self._expected: dict[str, dict[str, str]] = {}
        self._seconds: dict[str, float] = {}

    def expected(self, recipe: str) -> dict[str, str]:
        """The hashes of an undisturbed run with one worker."""
        if recipe not in self._expected:
            folder, begin = self.place.prepare("undisturbed", recipe), time.monotonic()
            code, said = finish(start(folder, 1))
            if code:
                raise SystemExit(f"the undisturbed run failed: {said}")
            self._seconds[recipe] = time.monotonic() - begin
            self._expected[recipe] = hashes(folder / "out")
        return self._expected[recipe]

    def moment(self, recipe: str) -> float:
        """Wait for a random moment of a run; returns how many seconds after its start that is."""
        self.expected(recipe)
        moment = self.dice.uniform(0, self._seconds[recipe])
        time.sleep(moment)
        return moment

    def wrong(
        self, folder: Path, recipe: str, code: int, said: str, allowed: Sequence[int] = (0, 2)
    ) -> list[str]:
        """What is wrong with how a run ended, and with what the same command makes of it."""
        wrong = wrong_end(code, said, allowed)
        if code:
            if (folder / "out").exists():
                wrong.append("a run that failed left an output")
            code, said = finish(start(folder, 2))
            wrong += [f"it does not go on: {said[-300:]!r}"] if code else []
        return wrong + compare(folder, self.expected(recipe))


def start(folder: Path, workers: int, *more: object, **environ: str) -> subprocess.Popen[str]:
    """Start the command in a folder with a recipe, as leader of a group of processes."""
    words = command_line("run", "recipe.yaml", "--workers", workers, *more)
    return subprocess.Popen(
        words, cwd=folder, env=ENVIRON | environ, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        start_new_session=True, preexec_fn=hear_interrupts,  # noqa: PLW1509  no thread runs here
    )  # fmt: skip


def hear_interrupts() -> None:
    """A process started in the background of a shell inherits that SIGINT is ignored; this one must not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def finish(command: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for the end of a command; returns exit code and what it said, but for its progress."""
    try:
        _, said = command.communicate(timeout=HANG_S)
    except subprocess.TimeoutExpired:
        os.killpg(command.pid, signal.SIGKILL)
        return -1, f"hung for {HANG_S} s"
    return command.returncode, without_progress(said)


def wrong_end(code: int, said: str, allowed: Sequence[int]) -> list[str]:
    """What is wrong with an end: the exit code, or any line but one of ours."""
    wrong = [] if code in allowed else [f"exit code {code}: {said[-400:]!r}"]
    rest = _WORK.sub("", _AGAIN.sub("", _RETRY.sub("", said)))
    most = 1 if code else 0
    if rest.count("\n") > most or (rest and not rest.startswith("premask: ")):
        wrong.append(f"it said {rest[-600:]!r}")
    return wrong


# ==== System calls ====


def library(folder: Path) -> Path:
    """The library of faults, built."""
    built = folder / "system_faults.so"
    if not built.exists():
        source = ROOT / "tests" / "support" / "system_faults.c"
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", built, source, "-ldl"], check=True)
    return built


def calls(bench: Bench) -> Iterator[Try]:
    kinds = ("rename", "link", "mkdir", "fsync", "open", "flock")
    for number in range(bench.tries):
        call, recipe = kinds[number % len(kinds)], bench.dice.choice(list(RECIPES))
        yield call_fails(
            bench, call, recipe, bench.dice.choice(ERRORS), bench.dice.choice((0, *range(1, 40)))
        )


def readonly(bench: Bench) -> Iterator[Try]:
    for number in range(bench.tries):
        recipe, at = list(RECIPES)[number % len(RECIPES)], bench.dice.choice((0, *range(1, 60)))
        yield call_fails(bench, "open", recipe, bench.dice.choice((errno.EROFS, errno.EACCES)), at)


def call_fails(bench: Bench, call: str, recipe: str, error: int, at: int) -> Try:
    folder = bench.place.prepare("round", recipe)
    workers = bench.dice.choice((1, 2))
    environ = {
        "LD_PRELOAD": str(library(bench.folder)),
        "FAULT_CALL": call,
        "FAULT_BELOW": str(folder),
        "FAULT_AT": str(at),
        "FAULT_ERRNO": str(error),
    } | ({"FAULT_ONCE": "1"} if bench.dice.random() < 0.5 else {})
    code, said = finish(start(folder, workers, **environ))
    what = (
        f"{call} fails with {errno.errorcode[error]} from the {at}. on, {recipe}, {workers} workers: {code}"
    )
    return Try(what, bench.wrong(folder, recipe, code, said))


def clock(bench: Bench) -> Iterator[Try]:
    for number in range(bench.tries):
        recipe, which = list(RECIPES)[number % len(RECIPES)], ("day", "all")[number % 2]
        folder = bench.place.prepare("round", recipe)
        environ = {"LD_PRELOAD": str(library(bench.folder)), "CLOCK_JUMPS": which}
        code, said = finish(start(folder, 1 + number % 3, **environ))
        yield Try(f"{which} clocks jump, {recipe}: {code}", bench.wrong(folder, recipe, code, said, (0,)))


# ==== Processes ====


def stopped(bench: Bench) -> Iterator[Try]:
    for number in range(bench.tries):
        recipe = list(RECIPES)[number % len(RECIPES)]
        bench.expected(recipe)
        folder, mark = bench.place.prepare("round", recipe), new_mark()
        command = start(folder, 2, **mark)
        moment = bench.moment(recipe)
        others = [each.pid for each in marked(mark) if each.pid != command.pid]
        victim = bench.dice.choice([*others, command.pid])
        kind = "command" if victim == command.pid else "process of the run"
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGSTOP)
            time.sleep(bench.stop_s)
            os.kill(victim, signal.SIGCONT)
        code, said = finish(command)
        yield Try(
            f"{kind} stopped at {moment:.2f} s, {recipe}: {code}",
            bench.wrong(folder, recipe, code, said, (0,)),
        )


def twice(bench: Bench) -> Iterator[Try]:
    for number in range(bench.tries):
        recipe = list(RECIPES)[number % len(RECIPES)]
        bench.expected(recipe)
        folder = bench.place.prepare("round", recipe)
        is_other = bench.dice.random() < 0.5
        first = start(folder, 2)
        moment = bench.moment(recipe)
        second = start(folder, 2, *(["--max-length", 512] if is_other else []))
        ends = [finish(first), finish(second)]
        wrong = [problem for code, said in ends for problem in wrong_end(code, said, (0, 2))]
        codes = [code for code, _ in ends]
        if codes.count(0) == 0 or (is_other and sorted(codes) != [0, 2]):
            wrong.append(f"they ended with {codes}: {ends}")
        if codes[0] == 2 and is_other:  # the other one was first to lock
            shutil.rmtree(folder / "out")
            wrong += bench.wrong(folder, recipe, 2, ends[0][1])
        else:
            wrong += compare(folder, bench.expected(recipe))
        what = f"a second run of {'another' if is_other else 'the same'} recipe at {moment:.2f} s, {recipe}: {codes}"
        yield Try(what, wrong)


def signals(bench: Bench) -> Iterator[Try]:
    for number in range(bench.tries):
        recipe, workers = ("plain", "plain", "spawned", "chosen")[number % 4], (2, 4)[number // 4 % 2]
        which = (signal.SIGINT, signal.SIGINT, signal.SIGTERM)[number % 3]
        if recipe == "spawned":
            RECIPES_OF_TABLE[recipe](bench)
        bench.expected(recipe)
        folder, mark = bench.place.prepare("round", recipe), new_mark()
        command = start(folder, workers, **mark)
        wait_for(lambda pid=command.pid: catches_or_gone(pid), HANG_S, "its first signal handler")
        moment = bench.moment(recipe)
        with suppress(ProcessLookupError):
            os.killpg(command.pid, which)
        code, said = finish(command)
        wrong = wrong_signal_end(code, said, which)
        with suppress(SystemExit):
            wait_for(lambda mark=mark: not marked(mark), 60, "the end of its processes")
        wrong += [f"{each.words} outlived it" for each in marked(mark)]
        if code:
            again = finish(start(folder, workers))
            wrong += wrong_end(*again, (0,)) + compare(folder, bench.expected(recipe))
        yield Try(f"{which.name} at {moment:.2f} s, {recipe}, {workers} workers: {code}", wrong)


def wrong_signal_end(code: int, said: str, which: signal.Signals) -> list[str]:
    """What is wrong with the end of an interrupted run; the run may have been done before."""
    what = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}[which]
    line = f"premask: {what}; finished work is kept, run the same command again to continue\n"
    is_right = (code, said) in ((0, ""), (128 + which, line))
    return [] if is_right else [f"exit code {code}, it said {said[-600:]!r}"]


def catches_or_gone(pid: int) -> bool:
    """Whether a process has a handler for SIGTERM: before, Python itself starts."""
    try:
        mask = Path(f"/proc/{pid}/status").read_text().partition("SigCgt:")[2].split()[0]
    except (OSError, IndexError):
        return True
    return bool(int(mask, 16) >> (signal.SIGTERM - 1) & 1)


def _spawned(bench: Bench) -> None:
    """A recipe of which workers are spawned: polars has threads that a fork would lose."""
    if "spawned" not in RECIPES:
        tests = {True: "messages is not null", False: "id is null or id <> 'none'"}
        paths = bench.place.sources
        sources = [{"path": path, "where": tests[path.endswith(".parquet")]} for path in paths]
        RECIPES["spawned"] = {"sources": sources}


RECIPES_OF_TABLE: Mapping[str, Callable[[Bench], None]] = {"spawned": _spawned}


# ==== Memory ====


def memory(bench: Bench) -> Iterator[Try]:
    """All steps from half a gigabyte to four, of each kind of limit."""
    for number, step in enumerate(range(1, 2 * 4 + 1)):
        for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
            name = "address space" if kind == resource.RLIMIT_AS else "data"
            yield _limited(
                bench, number, f"{name} of {step / 2:g} GB", lambda b=step << 29, k=kind: _limit(k, b)
            )
    for megabytes in (40, 60, 80, 100, 200):
        with control_group(megabytes << 20) as join:
            if join is None:
                return
            yield _limited(bench, megabytes, f"control group of {megabytes} MB", join)


def _limit(kind: int, size: int) -> None:
    resource.setrlimit(kind, (size, size))


def _limited(bench: Bench, number: int, name: str, limit: Callable[[], object]) -> Try:
    recipe, workers = list(RECIPES)[number % 3], 1 + number % 2
    folder = bench.place.prepare("round", recipe)
    words = command_line("run", "recipe.yaml", "--workers", workers)
    command = subprocess.Popen(
        words, cwd=folder, env=ENVIRON, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        start_new_session=True, preexec_fn=limit,  # noqa: PLW1509  no thread runs here
    )  # fmt: skip
    code, said = finish(command)
    killed = (128 + signal.SIGKILL,) if "control" in name else ()
    if code == -signal.SIGKILL and killed:  # the small process that waits was taken
        code, said = killed[0], ""
    wrong = bench.wrong(folder, recipe, code, said, (0, 2, *killed))
    return Try(f"{name}, {recipe}, {workers} workers: {code} {said.strip()[-200:]}", wrong)


@contextmanager
def control_group(size: int) -> Iterator[Callable[[], None] | None]:
    """Make a control group of so many bytes; yields what puts a process into it, None if none can be made."""
    for root, file in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        group = Path(root) / f"premask-faults-{os.getpid()}"
        try:
            group.mkdir()
            (group / file).write_text(str(size))
        except OSError:
            with suppress(OSError):
                group.rmdir()
            continue
        try:
            yield partial(_join, group / "cgroup.procs")
        finally:
            with suppress(OSError):
                group.rmdir()
        return
    yield None


def _join(group: Path) -> None:
    group.write_text(str(os.getpid()))


# ==== Ranks and stores ====


def ranks(bench: Bench) -> Iterator[Try]:
    for _ in range(bench.tries):
        folder = bench.place.prepare("round", "plain")
        bench.expected("plain")
        jobs = [start(folder, 1, "--rank", rank, "--world", 2) for rank in range(2)]
        moment, victim = bench.moment("plain"), bench.dice.randrange(2)
        with suppress(ProcessLookupError):
            os.killpg(jobs[victim].pid, signal.SIGKILL)
        ends = [finish(job) for job in jobs]
        wrong = wrong_end(*ends[1 - victim], (0,))
        code, said = finish(start(folder, 1, "--rank", victim, "--world", 2))
        wrong += wrong_end(code, said, (0,))
        done = subprocess.run(
            command_line("finish", "out"),
            cwd=folder,
            env=ENVIRON,
            capture_output=True,
            text=True,
            check=False,
        )
        wrong += [f"finish: {done.stderr[-300:]!r}"] if done.returncode else []
        yield Try(f"rank {victim} killed at {moment:.2f} s", wrong + compare(folder, bench.expected("plain")))


def store(bench: Bench) -> Iterator[Try]:
    try:
        import moto.server  # noqa: F401, PLC0415  is it installed?
        import s3fs  # noqa: PLC0415
        from s3_server import CREDENTIALS, serve_s3  # noqa: PLC0415
    except ImportError:
        return
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it would print every request
    with serve_s3() as endpoint:
        access = {**CREDENTIALS, "AWS_ENDPOINT_URL": endpoint, "NO_PROXY": "*"}
        files = s3fs.S3FileSystem(
            key=access["AWS_ACCESS_KEY_ID"],
            secret=access["AWS_SECRET_ACCESS_KEY"],
            endpoint_url=endpoint,
            skip_instance_cache=True,
        )
        files.makedirs("faults", exist_ok=True)  # the servers of one process have the same buckets
        files.rm("faults", recursive=True)
        files.mkdir("faults")
        for number in range(bench.tries):
            yield _killed_beside_a_store(bench, files, f"faults/out-{number}", access)


def _killed_beside_a_store(bench: Bench, files: Any, path: str, access: Mapping[str, str]) -> Try:
    folder = bench.place.prepare("round", "plain")
    words = ("--output", f"s3://{path}", "--work", "work")
    command = start(folder, 2, *words, **access, **(mark := new_mark()))
    moment = bench.moment("plain")
    victims = [each.pid for each in marked(mark)]
    for victim in victims if bench.dice.random() < 0.5 else victims[:1]:
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
    finish(command)
    code, said = finish(start(folder, 2, *words, **access))
    wrong = wrong_end(code, said, (0,))
    files.invalidate_cache()
    files.get(path, str(folder / "fetched"), recursive=True)
    expected, found = bench.expected("plain"), hashes(folder / "fetched")
    differ = [name for name in {*found, *expected} if found.get(name) != expected.get(name)]
    wrong += [f"{sorted(differ)} differ"] if differ else []
    return Try(f"{len(victims)} processes at {moment:.2f} s", wrong)


KINDS: Mapping[str, Callable[[Bench], Iterator[Try]]] = {
    "calls": calls, "readonly": readonly, "clock": clock, "stopped": stopped, "memory": memory, "twice": twice,
    "signals": signals, "ranks": ranks, "store": store,
}  # fmt: skip


def tried(bench: Bench, kind: str, *, talk: bool = False) -> tuple[int, int, int]:
    """Do all tries of a kind; returns how many there were, how many ended as they should, and with equal
    bytes."""
    counts = Counter[str]()
    for each in KINDS[kind](bench):
        counts["tries"] += 1
        bytes_wrong = [text for text in each.wrong if "differ" in text or "left beside" in text]
        counts["well"] += len(bytes_wrong) == len(each.wrong)
        counts["equal"] += not bytes_wrong
        if each.wrong or talk:
            print(
                f"{kind}: {each.what}: {'WRONG: ' + '; '.join(each.wrong) if each.wrong else 'ok'}",
                flush=True,
            )
    return counts["tries"], counts["well"], counts["equal"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tries", type=int, default=20)
    parser.add_argument("--only", default=",".join(KINDS))
    parser.add_argument("--rows", type=int, default=240)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stop", type=float, default=60.0, help="seconds for which a process is stopped")
    parser.add_argument("--talk", action="store_true", help="print a line for each try")
    options = parser.parse_args()
    print("| fault | tries | ended as expected | equal bytes |\n|---|--:|--:|--:|", flush=True)
    failed = False
    with tempfile.TemporaryDirectory(prefix="premask-faults-") as folder:
        bench = Bench(Path(folder), options.rows, options.seed, stop_s=options.stop, tries=options.tries)
        for kind in options.only.split(","):
            tries, well, equal = tried(bench, kind, talk=options.talk)
            failed |= not tries == well == equal
            print(f"| {kind} | {tries} | {well} | {equal} |", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
