"""What the fault tests share: input made of the sample, processes of a run, and outputs compared. Needs Linux.

mark = new_mark()
driver = subprocess.Popen(words, env=ENVIRON | mark)
others = [each.pid for each in marked(mark) if each.pid != driver.pid]
"""

from __future__ import annotations

import hashlib
import itertools
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from commands import ROOT, SAMPLE

ENVIRON = {**os.environ, "PYTHONPATH": str(ROOT / "pipeline")}
MARK = "PREMASK_FAULT_TEST"
_marks = itertools.count()


# ==== Processes ====


class Process(NamedTuple):
    pid: int
    parent: int
    words: str
    environ: bytes


def processes() -> Iterator[Process]:
    """The processes of this user that are alive; the dead that nobody has asked for are left out."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            environ = (folder / "environ").read_bytes()
        except OSError:  # it has ended meanwhile, or is another user's
            continue
        if state != "Z" and words:
            yield Process(int(folder.name), int(parent), words, environ)


def below(root: int) -> list[Process]:
    """A process and all that it has started."""
    everyone, found = list(processes()), {root}
    for _ in range(5):
        found |= {each.pid for each in everyone if each.parent in found}
    return [each for each in everyone if each.pid in found]


def new_mark() -> dict[str, str]:
    """A variable of the environment by which all processes of a run are known, also those without a parent."""
    return {MARK: f"{os.getpid()}-{next(_marks)}"}


def marked(mark: Mapping[str, str]) -> list[Process]:
    """The processes that a run with this mark consists of."""
    (sign,) = (f"{name}={value}".encode() for name, value in mark.items())
    return [each for each in processes() if sign in each.environ.split(b"\0")]


def wait_for(true: Callable[[], Any], seconds: float, what: str) -> Any:
    end = time.monotonic() + seconds
    while not (found := true()):
        if time.monotonic() > end:
            raise SystemExit(f"waited {seconds:g} s for {what}")
        time.sleep(0.02)
    return found


# ==== Files ====


def sample_lines(rows: int) -> list[str]:
    """The sample's rows over and over, each copy with another first message."""
    lines = (SAMPLE / "conversations.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    return [lines[i % len(lines)].replace('"value": "', f'"value": "({i}) ', 1) for i in range(rows)]


def write_lines(path: Path, lines: list[str]) -> str:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(path)


def hashes(out: Path) -> dict[str, str]:
    """sha256 of all files below a directory."""
    files = sorted(path for path in out.rglob("*") if path.is_file())
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
