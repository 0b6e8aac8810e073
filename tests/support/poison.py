"""Rows that kill the process that works on them, or make it raise an unexpected error.

    environ = poisoned(tmp_path)
    switch_on(tmp_path, "XYZZY", "kill")        # from here on, in all processes started with environ

Python imports a module `sitecustomize` when it starts, if there is one; this one changes the batch labeller as
it is imported. So the process dies in the middle of its work, as it would of a library that crashes.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from commands import ROOT

_SITE = """
import importlib.abc, importlib.util, json, os, signal, sys

SWITCH = os.environ["PREMASK_TESTS_POISON"]


class Panic(BaseException):
    pass


def changed(batches):
    with open(os.environ["PREMASK_TESTS_POISON"] + ".started", "a") as file:
        print(os.getpid(), file=file)
    parts = batches.BatchLabeller.parts

    def poisoned(self, batch, dialect, *size):
        if os.path.exists(SWITCH):
            word, what = json.load(open(SWITCH))
            texts = [str(batch.row(i).value) for i in range(len(batch))]
            if what == "kill-two" and sum(word in text for text in texts) > 1:
                os.kill(os.getpid(), signal.SIGKILL)
            if what == "kill" and any(word in text for text in texts):
                os.kill(os.getpid(), signal.SIGKILL)
            if what == "too-slow" and any(word in text for text in texts):
                os.kill(os.getpid(), signal.SIGVTALRM)
            if what == "raise" and any(word in text for text in texts):
                raise IndexError("nothing should raise this")
            if what == "panic" and any(word in text for text in texts):
                raise Panic("a library in Rust")
            if what == "memory" and any(word in text for text in texts):
                raise MemoryError
        return parts(self, batch, dialect, *size)

    batches.BatchLabeller.parts = poisoned


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name != "premask.running.batches":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            changed(module)

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, Finder())
"""


def poisoned(folder: Path) -> dict[str, str]:
    """The environment of processes that can be poisoned."""
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(_SITE)
    paths = os.pathsep.join([str(folder / "site"), str(ROOT / "pipeline")])
    return {**os.environ, "PYTHONPATH": paths, "PREMASK_TESTS_POISON": str(folder / "poison.json")}


def processes_started(folder: Path) -> int:
    """How many processes have loaded the labeller; copies of them do not count."""
    return len((folder / "poison.json.started").read_text().split())


def switch_on(folder: Path, word: str, what: str) -> None:
    """From now on rows with this word `kill` the process, `raise`, `panic` as a library in Rust does, are
    `too-slow` for the system, take too much `memory`, or kill it where there are two in a batch (`kill-two`)."""
    (folder / "poison.json").write_text(json.dumps([word, what]))


def switch_off(folder: Path) -> None:
    """From now on nothing happens."""
    (folder / "poison.json").unlink()
