"""Kills what a run on Ray is made of, at random moments, and compares every file with an undisturbed run.

    python tests/support/ray_faults.py --kills 10

Two nodes of one CPU each on this machine (a head, and one that joins it). Each round starts a run, waits for a
random number of units, and kills one of: a process that does units, the second node (its raylet, as if the
machine had gone), or the driver; the run must end by itself, after a killed driver by the same command. Then the
sha256 of all files are compared with those of a local run with one worker. Prints a line a round, and N of N.
Takes half a minute a round; needs Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import faults
from commands import TOKENIZER, command_line
from faults import below, hashes, sample_lines, wait_for, write_lines

ENVIRON = {**faults.ENVIRON, "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
KINDS = ("worker", "node", "driver")


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
    after = dice.randrange(1, 20)

    def done() -> int:
        return len(list(units.glob("[0-9]*")))

    def victims() -> list[int]:
        if kind == "worker":
            return [pid for node in nodes for pid in node.workers()]
        return [pid] if (pid := nodes[1].raylet() if kind == "node" else driver.pid) else []

    wait_for(lambda: driver.poll() is not None or (done() >= after and victims()), 180, f"{after} units")
    if driver.poll() is not None:
        raise SystemExit(f"the run ended before {after} units were seen: give it more --rows")
    victim, seen = victims()[0], done()
    os.kill(victim, signal.SIGKILL)
    _, said = driver.communicate(timeout=300)
    if kind == "driver":
        subprocess.run(words, env=ENVIRON, capture_output=True, check=True)
    elif driver.returncode:
        raise SystemExit(f"the run ended with {driver.returncode}: {said}")
    if kind == "node":
        nodes[1].stop()
        nodes[1] = Node(port, head=False)
    print(f"round {number}: killed {kind} {victim} after {seen} units", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--rows", type=int, default=24_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="premask-ray-"))
    dice = random.Random(options.seed)  # noqa: S311  moments, no secrets
    write_lines(folder / "chats.jsonl", sample_lines(options.rows))
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
