"""What the benchmarks share: processes that are measured from outside, alternating runs, medians, tables.

    finished = measure([sys.executable, "-m", "premask", "run", ...])
    finished.cpu, finished.wall, finished.peak_mb     # of the command with all its children

CPU seconds are user and system time of a process and of all children it waited for. Memory is VmHWM of
each process of the command, read from /proc every tenth of a second; elsewhere it is left out. Only the
standard library is used here, because the peers' own interpreters import this file too.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
ROOT = HERE.parent
SHARED = ROOT.parent / "shared"
SAMPLE = ROOT / "pipeline" / "premask" / "sample"
WORK = ROOT / "out" / "benchmarks"
"""Where data and outputs are written; not under version control."""
GPU = "On a GPU"
"""The section of RESULTS.md that `gpu_check.py` writes."""


# ==== Time and memory of a process ====


class Spent(NamedTuple):
    """Seconds: by the clock, and of processors."""

    wall: float
    cpu: float

    def __sub__(self, other: Spent) -> Spent:
        return Spent(self.wall - other.wall, self.cpu - other.cpu)


def spent() -> Spent:
    """What this process and the children it waited for have used up to now; for differences."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    return Spent(time.perf_counter(), cpu)


@dataclass(frozen=True)
class Finished:
    """A command that ran: what it took, the peaks of its processes in MB, and the JSON it printed last."""

    wall: float
    cpu: float
    peak_mb: tuple[int, ...]
    """VmHWM of each process: the one that does the run first (of `premask run` the child of the command,
    which only watches), then the others, largest first."""
    anonymous_mb: tuple[int, ...]
    """The most memory seen that is backed by no file, in the same order."""
    report: dict[str, Any] = field(default_factory=dict)


_TINY_MB = 64


class _Watch(threading.Thread):
    """Reads the memory of a process and its descendants until told to stop."""

    def __init__(self, pid: int, every: float = 0.1) -> None:
        super().__init__(daemon=True)
        self._pid, self._every, self._stop_asked = pid, every, threading.Event()
        self._peaks: dict[int, tuple[int, int]] = {}
        self._child = 0

    def run(self) -> None:
        while not self._stop_asked.wait(self._every):
            below = _descendants(self._pid)
            self._child = self._child or next(iter(below), 0)
            for pid in (self._pid, *below):
                peak, now = _memory(pid)
                if peak:
                    before = self._peaks.get(pid, (0, 0))
                    self._peaks[pid] = (max(before[0], peak), max(before[1], now))

    def stop(self) -> list[tuple[int, int]]:
        """Peaks and anonymous peaks in MB, the process itself first, or its child if it only watches; tiny
        helpers are left out."""
        self._stop_asked.set()
        self.join()
        own = self._peaks.pop(self._pid, (0, 0))
        if own[0] <= _TINY_MB and self._child in self._peaks:
            own = self._peaks.pop(self._child)
        return [own, *sorted((each for each in self._peaks.values() if each[0] > _TINY_MB), reverse=True)]


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    queue = [pid]
    while queue:
        for task in Path(f"/proc/{queue.pop()}/task").glob("*/children"):
            try:
                children = [int(word) for word in task.read_text(encoding="ascii").split()]
            except OSError:
                continue
            found += children
            queue += children
    return found


def _memory(pid: int) -> tuple[int, int]:
    """Peak resident and current anonymous memory of a process, MB; 0 where it cannot be read."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0, 0
    values = {line.split(":")[0]: line.split()[1] for line in lines if line.endswith(" kB")}
    return int(values.get("VmHWM", 0)) // 1024, int(values.get("RssAnon", 0)) // 1024


def measure(command: Sequence[str | Path], *, env: Mapping[str, str] | None = None) -> Finished:
    """Run a command to its end and say what it took. Its last line may be a JSON report of its own.

    Exits with the command's own words if it fails: a benchmark of something broken says nothing.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8") as out, tempfile.TemporaryFile("w+") as errors:
        begin = time.perf_counter()
        process = subprocess.Popen(
            [str(word) for word in command],
            stdout=out,
            stderr=errors,
            cwd=ROOT,
            env={**os.environ, "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", **(env or {})},
        )
        watch = _Watch(process.pid)
        watch.start()
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        peaks = watch.stop()
        out.seek(0)
        errors.seek(0)
        lines = out.read().splitlines()
        if process.returncode:
            sys.exit(
                f"{' '.join(map(str, command))}\n{errors.read()[-4000:]}\nexit code {process.returncode}"
            )
    report = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
    return Finished(
        wall,
        used.ru_utime + used.ru_stime,
        tuple(peak for peak, _ in peaks),
        tuple(anonymous for _, anonymous in peaks),
        report,
    )


# ==== Alternating runs ====


def alternate(
    contenders: Mapping[str, Callable[[], Finished]], rounds: int, *, say: str = ""
) -> dict[str, list[Finished]]:
    """Run all contenders once a round, in turns that start with another one each round."""
    names = list(contenders)
    found: dict[str, list[Finished]] = {name: [] for name in names}
    for number in range(rounds):
        start = number % len(names)
        for name in names[start:] + names[:start]:
            finished = contenders[name]()
            found[name].append(finished)
            note(f"{say} round {number + 1}/{rounds} {name}: {finished.wall:.2f} s, CPU {finished.cpu:.2f} s")
    return found


def cpu_of(work: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return CPU seconds of functions in this process, medians of alternating runs."""
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, do in work.items():
            begin = time.process_time()
            do()
            times[name].append(time.process_time() - begin)
    return {name: median(seconds) for name, seconds in times.items()}


def median(values: Iterable[float]) -> float:
    """Return the median, 0 of nothing."""
    listed = list(values)
    return statistics.median(listed) if listed else 0.0


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return how many times less we take: per round, then the median.

    >>> ratio([1.0, 2.0, 1.0], [10.0, 30.0, 20.0])
    15.0
    """
    return median(their / max(our, 1e-9) for our, their in zip(ours, theirs, strict=True))


# ==== What is printed ====


def note(text: str) -> None:
    """Say how it goes on, to stderr: stdout is for the tables."""
    sys.stderr.write(f"{text.strip()}\n")
    sys.stderr.flush()


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Lay out rows as a Markdown table; all but the first column are numbers.

    >>> print(table(["who", "s"], [["a", 1.25]]))
    | who | s |
    |---|--:|
    | a | 1.25 |
    """
    lines = ["| " + " | ".join(header) + " |", "|---|" + "--:|" * (len(header) - 1)]
    lines += ["| " + " | ".join(number(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def number(value: object) -> str:
    """Show a number with about three digits that matter.

    >>> [number(each) for each in (1234567, 1234.5, 12.345, 0.01234, "-")]
    ['1,234,567', '1,234', '12.3', '0.0123', '-']
    """
    if isinstance(value, float):
        if abs(value) >= 100:
            return f"{value:,.0f}"
        return f"{value:#.3g}".rstrip(".")
    return f"{value:,}" if isinstance(value, int) else str(value)


def section_of(page: str, title: str) -> str:
    """Return a section of a Markdown page, from its heading up to the next one; nothing if there is none.

    >>> section_of("# A\\n## B\\nb\\n## C\\n", "B")
    '## B\\nb\\n'
    """
    found = re.search(rf"^## {re.escape(title)}\n(?:(?!## ).*\n?)*", page, re.MULTILINE)
    return found[0] if found else ""


def megabytes(values: Sequence[int]) -> str:
    """Show the peaks of the processes of a command: its own, and the largest of its children.

    >>> megabytes([300, 800, 790]), megabytes([300])
    ('300; of 2 children 800', '300')
    """
    own, *children = values or [0]
    return f"{own}; of {len(children)} children {children[0]}" if children else str(own)


def largest(runs: Sequence[Finished], *, anonymous: bool = False) -> list[int]:
    """Return the peak of each process over all runs of a command, in the order of `Finished.peak_mb`."""
    listed = [run.anonymous_mb if anonymous else run.peak_mb for run in runs]
    longest = max(map(len, listed), default=0)
    return [max(each[i] for each in listed if i < len(each)) for i in range(longest)]


def shown(path: str | Path) -> str:
    """Return a path as it may stand in a report: seen from the repository, with nothing of this machine.

    >>> shown(ROOT / "README.md")
    'README.md'
    """
    text = os.path.relpath(path, ROOT)
    return f"PATH/{Path(path).name}" if text.startswith("../..") else text


def machine() -> dict[str, str]:
    """Return what the figures were measured on: processor, cores, memory, versions."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    packages = (
        "premask",
        "tokenizers",
        "gigatoken",
        "transformers",
        "datasets",
        "pyarrow",
        "numpy",
        "polars",
    )
    versions = [f"{name} {version}" for name in packages if (version := _version(name))]
    return {
        "processor": models[0] if models else platform.machine(),
        "cores": str(cores()),
        "memory": f"{pages / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        "packages": ", ".join(versions),
    }


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


# ==== Arguments and places ====


def parser(doc: str | None, *, rounds: int = 5) -> argparse.ArgumentParser:
    """Return an argument parser with what all benchmarks take."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--rounds", type=int, default=rounds, help="alternating runs; the median counts")
    made.add_argument("--tokenizer", type=Path, default=default_tokenizer())
    made.add_argument(
        "--chat-template", help="Jinja file, or a name of TRL's or of premask; default: the kind's"
    )
    made.add_argument("--work", type=Path, default=WORK, help="where data and outputs are written")
    made.add_argument("--json", type=Path, help="write the raw figures there")
    return made


def default_tokenizer() -> Path:
    """Return qwen3 of the shared corpus where that is present, else the tokenizer of the sample."""
    shared = SHARED / "tokenizers" / "qwen3"
    return shared if shared.is_dir() else SAMPLE / "tokenizer"


def trl_parser(doc: str | None, *, rounds: int = 5) -> argparse.ArgumentParser:
    """Return `parser` with the argument of benchmarks that can have TRL beside premask."""
    made = parser(doc, rounds=rounds)
    made.add_argument("--trl-python", type=Path, help="interpreter that has trl and torch")
    return made


def fresh(path: Path) -> Path:
    """Return a path at which nothing stands; its folder exists."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for each in (path, path.with_name(f".{path.name}.partial"), path.with_name(f".{path.name}.old")):
        if each.is_dir():
            shutil.rmtree(each)
        else:
            each.unlink(missing_ok=True)
    return path


def manifest(output: str | Path) -> dict[str, Any]:
    """Return what an output of premask says about itself."""
    return dict(json.loads((Path(output) / "manifest.json").read_text(encoding="utf-8")))


def save(path: Path | None, figures: object) -> None:
    """Write raw figures where the command line asked for them."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(figures, indent=1, default=lambda each: each.__dict__), encoding="utf-8")
