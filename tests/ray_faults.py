"""Kills what a run on Ray is made of, at random moments, and compares every file with an undisturbed run.

    python tests/ray_faults.py --kills 10

Two nodes of one CPU each on this machine (a head, and one that joins it). Each round starts a run, waits for its
first unit, and a random time later kills one of: a process that does units, the second node (its raylet, as if the
machine had gone), or the driver; the run must end by itself, after a killed driver by the same command. Then the
sha256 of all files are compared with those of a local run with one worker. Prints a line a round, and N of N.
Takes half a minute a round; needs Linux.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from commands import ROOT, SAMPLE, TOKENIZER, command_line

ENVIRON = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
KINDS = ("worker", "node", "driver")


class Process(NamedTuple):
    pid: int
    parent: int
    words: str


def processes() -> list[Process]:
    shown = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(maxsplit=2) for line in shown.splitlines()[1:]]
    return [Process(int(row[0]), int(row[1]), row[2]) for row in rows if len(row) == 3]


def below(root: int) -> list[Process]:
    """A process and all that it has started."""
    everyone, found = processes(), {root}
    for _ in range(5):
        found |= {each.pid for each in everyone if each.parent in found}
    return [each for each in everyone if each.pid in found]


class Node:
    """A node of Ray, which ends with `stop`."""

    def __init__(self, port: int, *, head: bool) -> None:
        where = (
            ["--head", f"--port={port}", "--include-dashboard=false"]
            if head
            else [f"--address=127.0.0.1:{port}"]
        )
        words = [sys.executable, "-m", "ray.scripts.scripts", "start", *where, "--num-cpus=1", "--block"]
        words += ["--object-store-memory=100000000", "--disable-usage-stats"]
        self._process = subprocess.Popen(
            words, env=ENVIRON, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def raylet(self) -> int | None:
        found = [each.pid for each in below(self._process.pid) if "raylet/raylet" in each.words.split()[0]]
        return found[0] if found else None

    def workers(self) -> list[int]:
        return [each.pid for each in below(self._process.pid) if each.words.startswith("ray::_do_task")]

    def stop(self) -> None:
        for each in reversed(below(self._process.pid)):
            try:
                os.kill(each.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._process.wait()


def wait_for(true: Any, seconds: float, what: str) -> Any:
    end = time.monotonic() + seconds
    while not (found := true()):
        if time.monotonic() > end:
            raise SystemExit(f"waited {seconds:g} s for {what}")
        time.sleep(0.05)
    return found


def hashes(out: Path) -> dict[str, str]:
    files = sorted(path for path in out.rglob("*") if path.is_file())
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def make_input(path: Path, rows: int) -> None:
    """The sample's rows over and over, each copy with another first message."""
    lines = (SAMPLE / "conversations.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            line = lines[number % len(lines)]
            file.write(line.replace('"value": "', f'"value": "({number}) ', 1) + "\n")


def words_of(folder: Path, out: str, *more: str) -> list[str]:
    recipe = folder / "recipe.yaml"
    return command_line("run", recipe, "--output", folder / out, *more)


def one_round(
    number: int, kind: str, port: int, nodes: list[Node], folder: Path, dice: random.Random
) -> None:
    """Start a run, kill something of it, and have it end."""
    words = words_of(folder, f"ray-{number}", "--runner", "ray", "--ray-address", f"127.0.0.1:{port}")
    driver = subprocess.Popen(
        words, env=ENVIRON, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    units = folder / f".ray-{number}.partial" / "units"
    wait_for(lambda: driver.poll() is not None or list(units.glob("[0-9]*")), 180, "the first unit")
    time.sleep(dice.uniform(0, 4))
    done = len(list(units.glob("[0-9]*")))
    if kind == "worker":
        victim = wait_for(lambda: [pid for node in nodes for pid in node.workers()], 60, "a worker")[0]
    elif kind == "node":
        victim = nodes[1].raylet()
    else:
        victim = driver.pid
    os.kill(victim, signal.SIGKILL)
    _, said = driver.communicate(timeout=300)
    if kind == "driver":
        subprocess.run(words, env=ENVIRON, capture_output=True, check=True)
    elif driver.returncode:
        raise SystemExit(f"the run ended with {driver.returncode}: {said}")
    if kind == "node":
        nodes[1].stop()
        nodes[1] = Node(port, head=False)
    print(f"round {number}: killed {kind} {victim} after {done} units", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--rows", type=int, default=12_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="premask-ray-"))
    dice = random.Random(options.seed)  # noqa: S311  moments, no secrets
    make_input(folder / "chats.jsonl", options.rows)
    recipe = {
        "sources": [str(folder / "chats.jsonl")],
        "tokenizer": TOKENIZER,
        "layout": ["packed", "unpacked"],
    }
    recipe |= {"unit_rows": options.rows // 30, "verify": 0.5, "output": "unused"}
    (folder / "recipe.yaml").write_text(json.dumps(recipe))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    nodes = [Node(port, head=True)]
    try:
        subprocess.run(
            words_of(folder, "local", "--workers", "1"), env=ENVIRON, capture_output=True, check=True
        )
        wait_for(nodes[0].raylet, 120, "the head")
        nodes.append(Node(port, head=False))
        wait_for(nodes[1].raylet, 120, "the second node")
        expected, same = hashes(folder / "local"), 0
        print(
            f"{len(expected)} files, {options.rows:,} rows; a local run is what each round is compared with"
        )
        for number in range(options.kills):
            one_round(number, KINDS[number % len(KINDS)], port, nodes, folder, dice)
            wait_for(nodes[1].raylet, 120, "the second node")
            found = hashes(folder / f"ray-{number}")
            if found == expected:
                same += 1
                shutil.rmtree(folder / f"ray-{number}")
            else:
                print("  differs:", sorted(name for name in found if found.get(name) != expected.get(name)))
        print(f"{same} of {options.kills} identical")
    finally:
        for node in nodes:
            node.stop()
    shutil.rmtree(folder)
    sys.exit(0 if same == options.kills else 1)


if __name__ == "__main__":
    main()
