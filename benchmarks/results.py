"""All benchmarks, one after another; what they print becomes RESULTS.md.

    python benchmarks/results.py [--quick] [--trl-python VENV/bin/python] [--only against_trl,growth]

`--quick` takes some minutes (fewer rows, one round) and writes into `out/benchmarks`, because its figures
are for looking, not for keeping. Without `--trl-python` an environment with trl is made in
`out/benchmarks/trl` (some hundred megabytes, once); `--no-trl` leaves TRL out.
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
from pathlib import Path

from common import GPU, HERE, ROOT, WORK, default_tokenizer, machine, note, section_of, shown

TRL = ("trl==1.16.0", "torch==2.13.0")
TEMPLATE = "qwen3_training.jinja"
TITLES = {
    "against_trl": "Against TRL",
    "against_bare": "Against encoding alone",
    "engines": "Engines",
    "stages": "Where the time goes",
    "growth": "Growth",
    "memory_sources": "Memory of reading",
    "packing": "Packing",
    "disk": "On disk",
    "heads": "The head",
    "memory_run": "Memory of a run",
    "cost_model": "The cost model against runs",
    "driver": "What the driver holds",
}
WITH_TRL = ("against_trl", "packing", "disk")
COMMANDS: dict[str, tuple[list[str], list[str]]] = {
    "against_trl": (
        ["--rounds 5"],
        ["--rounds 1 --chat-rows 2000 --short-rows 10000"],
    ),
    "against_bare": (
        ["--rounds 5"],
        ["--rounds 1 --chat-rows 2000 --short-rows 10000"],
    ),
    "engines": (["--rows 1000 --rounds 3"], ["--rows 100 --rounds 1"]),
    "stages": ([""], ["--rows 2000"]),
    "growth": (
        ["--kind short --rows 10000,100000,1000000 --rounds 3", "--kind chat --rows 10000,100000 --rounds 3"],
        ["--kind short --rows 2000,20000 --rounds 1"],
    ),
    "memory_sources": ([""], ["--megabytes 5,50"]),
    "packing": (
        ["--rounds 5"],
        ["--rounds 1 --sizes 10000,1000000 --trl-most 10000"],
    ),
    "disk": (
        ["--rounds 5"],
        ["--rounds 1 --chat-rows 2000 --short-rows 10000"],
    ),
    "heads": (["--rounds 3"], ["--rounds 1 --length 128 --vocabulary 32768"]),
    "memory_run": (["--megabytes 100,1000,10000"], ["--megabytes 20,100"]),
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
    parser.add_argument("--only", default=",".join(TITLES), help="benchmarks, with commas")
    parser.add_argument("--output", type=Path, help="default: benchmarks/RESULTS.md")
    options = parser.parse_args()
    trl = None if options.no_trl else options.trl_python or make_trl()
    output = options.output or (WORK / "RESULTS.md" if options.quick else HERE / "RESULTS.md")
    parts = [head(trl, quick=options.quick)]
    partial = WORK / "RESULTS.partial.md"
    partial.parent.mkdir(parents=True, exist_ok=True)
    for name in options.only.split(","):
        if name == "against_trl" and trl is None:
            continue
        parts.append(f"## {TITLES[name]}\n")
        for words in COMMANDS[name][options.quick]:
            parts.append(section(name, words, trl))
            partial.write_text("\n".join(parts), encoding="utf-8")  # what is measured is not lost
    partial.write_text("\n".join([*parts, gpu_section()]), encoding="utf-8")
    output.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(partial, output)
    print(f"{shown(output)} written")


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
    facts = {"date": datetime.datetime.now(tz=datetime.timezone.utc).date().isoformat(), **machine()}
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


def section(name: str, arguments: str, trl: Path | None) -> str:
    """Run a benchmark and return its command and what it printed."""
    words = shlex.split(arguments)
    template = WORK / TEMPLATE
    if name in {"against_bare", "growth", "disk"} and template.is_file():
        words += ["--chat-template", shown(template)]
    told = ["python", f"benchmarks/{name}.py", *words]
    if name in WITH_TRL and trl is not None:
        words += ["--trl-python", str(trl)]
        told += ["--trl-python", "TRL/bin/python"]
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
