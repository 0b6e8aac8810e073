"""All benchmarks, one after another; what they print becomes RESULTS.md.

    python benchmarks/results.py [--quick] [--trl-python VENV/bin/python] [--only against_trl,growth]
        [--with "against_trl: --scale 0.25 --rounds 2"]

With `--only`, the other sections of the page stay as they are. `--with` gives a benchmark other arguments.
`--quick` takes some minutes (fewer rows, one round) and writes into `out/benchmarks`, because its figures
are for looking, not for keeping. Without `--trl-python` an environment with trl is made in
`out/benchmarks/trl` (some hundred megabytes, once); `--no-trl` leaves TRL out. Other peers are measured
where `--renderers-python` and `--llamafactory-python` are given.
"""

from __future__ import annotations

import argparse
import datetime
import os
import shlex
import shutil
import subprocess
import sys
import time
import venv
from itertools import pairwise
from pathlib import Path

from common import GPU, HERE, ROOT, WORK, default_tokenizer, machine, note, section_of, shown
from kinds import AGAINST

TRL = ("trl==1.16.0", "torch==2.13.0")
TITLES = {
    "against_trl": "Against TRL",
    "against_bare": "Against encoding alone",
    "engines": "Engines",
    "stages": "Where the time goes",
    "linear": "Turns",
    "growth": "Growth",
    "start": "Start",
    "memory_sources": "Memory of reading",
    "packing": "Packing",
    "disk": "On disk",
    "heads": "The head",
    "memory_run": "Memory of a run",
    "cost_model": "The cost model against runs",
    "driver": "What the driver holds",
}
ALL = ",".join(TITLES)
WITH_TRL = ("against_trl", "packing", "disk")
PEERS = {"--renderers-python": "RENDERERS", "--llamafactory-python": "LLAMAFACTORY"}
"""Options of `against_trl.py`, and what stands for the folder of their environment on the page."""
COMMANDS: dict[str, tuple[list[str], list[str]]] = {
    "against_trl": (
        ["--rounds 5"],
        ["--rounds 1 --scale 0.1"],
    ),
    "against_bare": (
        ["--rounds 5"],
        ["--rounds 1 --scale 0.1"],
    ),
    "engines": (["--rows 1000 --rounds 3"], ["--rows 100 --rounds 1"]),
    "stages": ([""], ["--scale 0.1"]),
    "linear": (["--rounds 3"], ["--rounds 1 --scale 0.2 --agents1000-rows 2"]),
    "growth": (
        [
            "--kind short --rows 10000,100000,1000000 --rounds 3",
            "--kind chat --rows 10000,100000 --rounds 3",
            "--kind reasoning --rows 10000,100000,1000000 --workers 1 --rounds 1",
        ],
        ["--kind short --rows 2000,20000 --rounds 1"],
    ),
    "start": (["--rounds 5"], ["--rounds 1"]),
    "memory_sources": ([""], ["--megabytes 5,50"]),
    "packing": (
        ["--rounds 5"],
        ["--rounds 1 --sizes 10000,1000000 --trl-most 10000"],
    ),
    "disk": (
        ["--rounds 5"],
        ["--rounds 1 --scale 0.1"],
    ),
    "heads": (["--rounds 3"], ["--rounds 1 --length 128 --vocabulary 32768"]),
    "memory_run": (
        [
            "--megabytes 100,1000,10000",
            f"--kinds {','.join(AGAINST)} --megabytes 100 --workers 1",
            "--kinds agents20,agents100 --chat-template qwen3 --megabytes 8 --workers 1",
        ],
        ["--megabytes 20,100"],
    ),
    "cost_model": (["--rounds 2"], ["--kinds chat --rounds 1 --megabytes 20"]),
    "driver": ([""], ["--units 1000 --rows 1000000"]),
}
"""The arguments of each benchmark: in full, and with --quick."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="some minutes, figures for looking only")
    parser.add_argument("--trl-python", type=Path, help="interpreter that has trl and torch")
    parser.add_argument("--no-trl", action="store_true", help="leave TRL out")
    parser.add_argument("--only", default=ALL, help="benchmarks, with commas")
    parser.add_argument("--with", action="append", default=[], metavar="NAME: ARGUMENTS", dest="arguments")
    for option in PEERS:
        parser.add_argument(option, type=Path)
    parser.add_argument("--output", type=Path, help="default: benchmarks/RESULTS.md")
    options = parser.parse_args()
    trl = None if options.no_trl else options.trl_python or make_trl()
    output = options.output or (WORK / "RESULTS.md" if options.quick else HERE / "RESULTS.md")
    commands = {name: each[options.quick] for name, each in COMMANDS.items()}
    for given in options.arguments:
        name, _, words = given.partition(":")
        commands[name] = [words.strip()]
    page = Page(output if options.only != ALL else None, head(trl, quick=options.quick))
    peers = [word for option in PEERS for word in _told(option, options)]
    partial = WORK / "RESULTS.partial.md"
    partial.parent.mkdir(parents=True, exist_ok=True)
    for name in options.only.split(","):
        if name == "against_trl" and trl is None:
            continue
        text = f"## {TITLES[name]}\n\nMeasured on {today()}.\n"
        for words in commands[name]:
            text += f"\n{section(name, words, trl, peers if name == 'against_trl' else [])}"
            partial.write_text(page.having(TITLES[name], text), encoding="utf-8")  # so that it is not lost
        page = Page(partial)
    output.parent.mkdir(parents=True, exist_ok=True)
    partial.write_text(page.having(GPU, gpu_section()), encoding="utf-8")
    shutil.move(partial, output)
    print(f"{shown(output)} written")


class Page:
    """A page of results, in which sections are exchanged; without a file there is only its head."""

    def __init__(self, path: Path | None, head: str = "") -> None:
        self._text = path.read_text(encoding="utf-8") if path and path.is_file() else head

    def having(self, title: str, section: str) -> str:
        """The page with this section in place of that of the title, or before what was run on a GPU."""
        old = section_of(self._text, title)
        if old:
            return self._text.replace(old, f"{section.rstrip()}\n\n").rstrip() + "\n"
        gpu = section_of(self._text, GPU)
        rest = self._text.removesuffix(gpu).rstrip() if gpu else self._text.rstrip()
        return f"{rest}\n\n{section.rstrip()}\n\n{gpu}".rstrip() + "\n"


def today() -> str:
    """Return the date."""
    return datetime.datetime.now(tz=datetime.timezone.utc).date().isoformat()


def _told(option: str, options: argparse.Namespace) -> list[str]:
    python = getattr(options, option.strip("-").replace("-", "_"))
    return [option, str(python)] if python else []


def make_trl() -> Path:
    """Return the interpreter of an environment with trl, made now if it is not there."""
    folder = WORK / "trl"
    python = folder / "bin" / "python"
    ready = folder / "ready"
    if not ready.is_file():
        note(f"making an environment with {', '.join(TRL)}")
        venv.create(folder, with_pip=True, clear=True, symlinks=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *TRL], check=True)
        ready.touch()
    return python


def head(trl: Path | None, *, quick: bool) -> str:
    """Return what the figures were measured on."""
    lines = ["# Results of `make bench`", ""]
    if quick:
        lines += ["Quick mode: single runs on few rows, for looking only.", ""]
    lines += [
        "CPU is user and system time of a process and all its children; figures are medians of runs that",
        "alternate between the contenders. What each benchmark measures stands at the head of its file.",
        "",
    ]
    facts = {"date": today(), **machine()}
    if trl is not None:
        code = "import torch, trl; print(f'trl {trl.__version__}, torch {torch.__version__}')"
        done = subprocess.run([trl, "-c", code], capture_output=True, text=True, check=True)
        facts["TRL's environment"] = done.stdout.splitlines()[-1]
    lines += [f"- {key}: {value}" for key, value in facts.items()]
    return "\n".join([*lines, f"- tokenizer: {shown(default_tokenizer())}", ""])


def gpu_section() -> str:
    """Return what stands of `gpu_check.py`, which is run where a GPU is."""
    kept = HERE / "RESULTS.md"
    found = section_of(kept.read_text(encoding="utf-8"), GPU) if kept.is_file() else ""
    return found or f"## {GPU}\n\nNot run: no GPU was at hand. `make gpu-check` writes its table here.\n"


def section(name: str, arguments: str, trl: Path | None, peers: list[str]) -> str:
    """Run a benchmark and return its command and what it printed."""
    words = shlex.split(arguments)
    told = ["python", f"benchmarks/{name}.py", *words]
    if name in WITH_TRL and trl is not None:
        words += ["--trl-python", str(trl)]
        told += ["--trl-python", "TRL/bin/python"]
    words += peers
    told += [
        f"{PEERS[before]}/bin/python" if before in PEERS else word for before, word in pairwise(["", *peers])
    ]
    note(f"==== {shlex.join(told)}")
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, HERE / f"{name}.py", *words],
        stdout=subprocess.PIPE, text=True, check=False, cwd=ROOT, env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"benchmarks/{name}.py failed")
    note(f"==== {time.monotonic() - begin:.0f} s")
    return f"    {shlex.join(told)}\n\n{done.stdout.strip()}\n"


if __name__ == "__main__":
    main()
