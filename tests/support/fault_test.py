"""Kills processes of local runs at random moments, and compares every file with an undisturbed run.

    python tests/support/fault_test.py --kills 100 [--rows 400] [--seed 0] [--workers 2]

Each round starts the real command and SIGKILLs, at a random moment of the time that it takes (start-up, the work,
finishing): a worker, the driver that does the run, the command that watches over it, or all processes at once; or
the driver right before a random one of its changes to the file system, half of which come while it finishes. A
run whose worker or driver is killed must end well by itself; else the same command is run at once, and in some
rounds killed again. Then all files must have the sha256 of an undisturbed run with one worker, nothing may be
left beside the output, and no process may outlive the command by more than some seconds. Prints a line a round,
and N of N. Needs Linux.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from commands import TOKENIZER, command_line
from faults import ENVIRON, MARK, hashes, marked, new_mark, sample_lines, write_lines
from inputs import write_parquet

KINDS = ("worker", "driver", "command", "all", "step")
BY_ITSELF = {"worker", "driver", "step"}  # what a run survives
RECIPES: dict[str, Mapping[str, Any]] = {
    "plain": {"layout": ["packed", "unpacked"], "verify": 0.5},
    "chosen": {"duplicates": "drop", "splits": {"validation": 0.2}, "shuffle": True},
    "cached": {"cache": "cache"},
}
STEPPING = Path(__file__).parent / "stepping"
_ATTEMPT_S = 900  # a run that takes longer hangs, on whatever machine
_OUTLIVE_S = 60  # that processes may take to notice that their parent is gone, on a busy machine
_DRAWS = 25  # of a moment, until one hits


class Case(NamedTuple):
    """A recipe and how many workers do it."""

    recipe: str
    workers: int

    def kinds(self) -> Sequence[str]:
        """What can be killed: with one worker there is the driver alone."""
        return KINDS if self.workers > 1 else ("driver", "command", "step")


class Span(NamedTuple):
    """Seconds after the start at which a run has workers, first and last, and at which it ends; and how often its
    driver changes names in the file system."""

    first: float
    last: float
    end: float
    steps: int

    def shortened(self, end: float) -> Span:
        """The same of a run that has ended after so many seconds."""
        times = [min(each, end / self.end * each) for each in self[:3]]
        return Span(*times, self.steps)

    def draw(self, kind: str, dice: random.Random) -> float:
        """A moment in seconds, or a step."""
        if kind == "step":
            return dice.randint(1, self.steps)
        return dice.uniform(self.first, self.last) if kind == "worker" else dice.uniform(0, self.end)


# ==== Input and commands ====


def make_input(folder: Path, rows: int) -> list[str]:
    """Files of four formats, three of them of one unit or more for each fifth of the rows; some rows twice."""
    lines = sample_lines(rows)
    some, rest = lines[: rows // 2], lines[rows // 2 :]
    good = [{"messages": [{"role": "user", "content": line[:200]}, {"role": "assistant", "content": line}]}
            for line in rest[::2]]  # fmt: skip
    gz = folder / "b.jsonl.gz"
    gz.write_bytes(gzip.compress("".join(f"{line}\n" for line in rest[: rows // 10]).encode(), mtime=0))
    again = write_lines(folder / "d.jsonl", some[::3])
    return [
        write_lines(folder / "a.jsonl", some),
        str(gz),
        write_parquet(folder / "c.parquet", good, 25),
        again,
    ]


class Place:
    """A folder with the input, for outputs that are to be the same."""

    def __init__(self, folder: Path, rows: int) -> None:
        self.folder = folder
        self.sources = make_input(folder, rows)
        self._common = {"sources": self.sources, "tokenizer": TOKENIZER, "max_length": 1024}
        self._common |= {"unit_rows": max(1, rows // 20), "output": "out"}

    def prepare(self, name: str, recipe: str) -> Path:
        """A new folder for a run, with its recipe."""
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "recipe.yaml").write_text(json.dumps({**self._common, **RECIPES[recipe]}))
        return folder


class Attempt:
    """The command, started in a folder that holds its recipe."""

    def __init__(self, folder: Path, workers: int, step: int = 0) -> None:
        self.mark, self.begin = new_mark(), time.monotonic()
        words = command_line("run", "recipe.yaml", "--workers", workers)
        self._said = folder / f"said-{self.mark[MARK]}"  # no pipe: an orphan would hold it open
        self.steps = folder / "steps"
        environ = (
            ENVIRON | self.mark | {"PREMASK_FAULT_STEP": str(step), "PREMASK_FAULT_STEPS": str(self.steps)}
        )
        environ["PYTHONPATH"] = f"{STEPPING}{os.pathsep}{environ['PYTHONPATH']}"
        with self._said.open("w") as said:
            self.command = subprocess.Popen(
                words, cwd=folder, env=environ, stdout=subprocess.DEVNULL, stderr=said
            )

    def workers(self) -> list[int]:
        """Processes that do units; not the one of `multiprocessing` that keeps account of resources."""
        drivers = self.drivers()
        started = (each for each in marked(self.mark) if each.parent in drivers)
        return [each.pid for each in started if "resource_tracker" not in each.words]

    def drivers(self) -> list[int]:
        """The process of the run, which the command has started."""
        return [each.pid for each in marked(self.mark) if each.parent == self.command.pid]

    def end(self) -> tuple[int, str]:
        """Wait for its end; returns exit code and what it said."""
        try:
            self.command.wait(_ATTEMPT_S)
        except subprocess.TimeoutExpired:
            kill(self.command.pid)
            return 1, f"hung for {_ATTEMPT_S} s"
        return self.command.returncode, self._said.read_text()

    def left(self) -> int:
        """How many processes have outlived the command; they are given a moment, and ended."""
        end = time.monotonic() + _OUTLIVE_S
        while marked(self.mark) and time.monotonic() < end:
            time.sleep(0.05)
        return self.clear()

    def clear(self) -> int:
        """Kill all that is left of it; returns how many processes that was."""
        found = marked(self.mark)
        for each in found:
            kill(each.pid)
        self.command.wait()
        return len(found)


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


# ==== Rounds ====


def measure(place: Place, case: Case) -> Span:
    """Do a run undisturbed, and tell how long it takes."""
    folder = place.prepare("measured", case.recipe)
    attempt, seen = Attempt(folder, case.workers), []
    while attempt.command.poll() is None:
        if attempt.workers():
            seen.append(time.monotonic() - attempt.begin)
        time.sleep(0.02)
    code, said = attempt.end()
    if code:
        raise SystemExit(f"the undisturbed run failed: {said}")
    end = time.monotonic() - attempt.begin
    return Span(min(seen, default=0), max(seen, default=end), end, int(attempt.steps.read_text()))


def strike(attempt: Attempt, kind: str, moment: float, dice: random.Random) -> str:
    """Kill something at a moment; returns what was killed, or nothing if that had ended before."""
    if kind == "step":  # it kills itself
        return f"driver before step {moment}" if "ended by SIGKILL" in attempt.end()[1] else ""
    time.sleep(max(0.0, attempt.begin + moment - time.monotonic()))
    victims = {
        "worker": attempt.workers,
        "driver": attempt.drivers,
        "command": lambda: [attempt.command.pid],
        "all": lambda: [each.pid for each in marked(attempt.mark)],
    }[kind]()
    if not victims or attempt.command.poll() is not None:
        return ""
    for victim in [dice.choice(victims)] if kind == "worker" else victims:
        kill(victim)
    return f"{kind} at {moment:.2f} s"


def units_done(folder: Path) -> int:
    return len(list(folder.glob(".out.partial/units/*/done.json")))


def one_round(
    place: Place,
    case: Case,
    kind: str,
    span: Span,
    expected: Mapping[str, str],
    dice: random.Random,
    *,
    twice: bool,
) -> tuple[str, list[str]]:
    """Kill, resume, compare; returns what was done, and what is wrong with what came of it."""
    for _ in range(_DRAWS):
        folder = place.prepare("round", case.recipe)
        moment = span.draw(kind, dice)
        attempts = [Attempt(folder, case.workers, int(moment) if kind == "step" else 0)]
        story, wrong = list[str](), list[str]()
        hit = strike(attempts[0], kind, moment, dice)
        done = units_done(folder)
        code, said = attempts[0].end()
        if hit:
            story = [f"killed {hit}, {done} units done", f"exit {code}"]
            break
        span = span.shortened(time.monotonic() - attempts[0].begin)  # the machine is quicker than it was
    else:
        raise SystemExit(f"no {kind} was there to be killed at {_DRAWS} random moments")
    if code and kind in BY_ITSELF:
        wrong.append(f"it did not go on by itself: {said.strip()[-300:]!r}")
    while code and len(attempts) < 5:
        if "Traceback" in said:
            wrong.append(f"it said {said.strip()[-300:]!r}")
        attempts.append(Attempt(folder, case.workers))
        if (
            twice
            and len(attempts) == 2
            and (hit := strike(attempts[-1], "command", span.draw("command", dice), dice))
        ):
            story.append(f"killed {hit}, {units_done(folder)} units done")
        code, said = attempts[-1].end()
        story.append(f"exit {code}")
    if code:
        wrong.append(f"it does not end well: {said.strip()[-300:]!r}")
    wrong += [f"{count} processes outlived their command" for each in attempts if (count := each.left())]
    return "; ".join(story), wrong + compare(folder, expected)


def compare(folder: Path, expected: Mapping[str, str]) -> list[str]:
    """How a folder differs from one with this output and nothing beside it but recipe and cache."""
    found = hashes(folder / "out")
    differ = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
    beside = {path.name for path in folder.iterdir() if not path.name.startswith("said-")}
    beside -= {"out", "recipe.yaml", "cache", "steps"}
    wrong = [f"{len(differ)} files differ, such as {differ[0]}"] if differ else []
    return wrong + ([f"left beside the output: {', '.join(sorted(beside))}"] if beside else [])


def rounds(folder: Path, cases: Sequence[Case], kills: int, rows: int, seed: int) -> int:
    """So many rounds, cases and kinds in turn; returns how many of them came out as they should."""
    place, dice, same = Place(folder, rows), random.Random(seed), 0  # noqa: S311  moments, no secrets
    expected = {}
    for recipe in dict.fromkeys(case.recipe for case in cases):
        measure(place, Case(recipe, 1))
        expected[recipe] = hashes(place.folder / "measured" / "out")
    spans = {case: measure(place, case) for case in cases}
    plan = [(case, kind) for case in cases for kind in case.kinds()]
    plan.sort(key=lambda each: cases.index(each[0]) + len(cases) * each[0].kinds().index(each[1]))
    for number in range(kills):
        case, kind = plan[number % len(plan)]
        story, wrong = one_round(
            place, case, kind, spans[case], expected[case.recipe], dice, twice=number % 4 == 3
        )
        same += not wrong
        result = "identical" if not wrong else f"WRONG: {'; '.join(wrong)}"
        print(f"round {number + 1}: {case.recipe}, {case.workers} workers: {story}: {result}", flush=True)
    print(f"{same} of {kills} identical")
    return same


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="of most rounds; others have 3, or 1")
    options = parser.parse_args()
    workers = options.workers
    cases = [Case(recipe, workers) for recipe in RECIPES] + [Case("plain", 3), Case("chosen", 1)]
    with tempfile.TemporaryDirectory(prefix="premask-faults-") as folder:
        same = rounds(Path(folder), cases, options.kills, options.rows, options.seed)
    sys.exit(0 if same == options.kills else 1)


if __name__ == "__main__":
    main()
