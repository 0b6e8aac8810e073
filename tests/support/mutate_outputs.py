"""Outputs as a stranger could send them: finished ones with something changed, through all commands that read.

    python tests/support/mutate_outputs.py --mutations 2000 [--seed 0] [--only manifest,links]

Each mutation changes one thing of a real output, or of its work in progress: a value of a JSON file, bytes or
cells of a shard, the card's YAML, a file of the tokenizer; or a file becomes a link, a FIFO, a device, a folder.
Then every command that reads outputs is run on a copy, in a process of its own with a limit of its memory and
of its time. A command may take the output or refuse it, with one line. What must not happen is counted:

    traceback   any exception but those of premask
    hang        more than HANG_S seconds
    crash       the process is ended by a signal
    outside     a file outside the command's target was made, changed or removed
    leak        a private file, to which the output links, is in what was written or sent
    lost        a file of somebody else that lay in the output was changed or removed
    memory      more than MOST_BYTES above what the process had before
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import commands
import yaml
from commands import SAMPLE, TOKENIZER, command_line, premask
from hub_server import HubServer
from mutations import MINE, MUTATIONS, PRIVATE, SHARES, files_in
from premask.cli import app

HANG_S = 60
MOST_BYTES = (
    5 << 29
)  # five text columns of the reject log may have a page of 256 MB each, and are copied once
ADDRESS_SPACE = 6 << 30


class Fault(NamedTuple):
    """What a command did that it must not do."""

    kind: str
    mutation: str
    command: str
    what: str


SELDOM = {
    "verify --full": (0.2, {"cells"}),
    "show test": (0.2, {"cells"}),
    "diff back": (0.3, set[str]()),
    "push hub": (0.1, {"planted"}),
    "run --overwrite": (0.2, {"work", "planted"}),
}
"""Commands that are run for a share of the mutations, and for all of some kinds."""


# ==== Commands ====

Words = list[object]


def all_commands(folder: Path, *, hub: bool) -> dict[str, tuple[Words, tuple[str, ...]]]:
    """The commands that read an output, each with what it may write, relative to the folder."""
    out, to = folder / "chats", folder / "to"
    run = ["run", folder / "recipe.yaml", "--workers", "1"]
    found: dict[str, tuple[Words, tuple[str, ...]]] = {
        "verify": (["verify", out], ()),
        "verify --full": (["verify", out, "--full", "--format", "json"], ()),
        "stats": (["stats", out], ()),
        "show": (["show", out, "--tokens"], ()),
        "show test": (["show", out, "--split", "test", "--pack", "1"], ()),
        "rejects": (["rejects", out], ()),
        "rejects --export": (["rejects", out, "--export", to / "rejects.jsonl"], ("to/rejects.jsonl",)),
        "diff": (["diff", folder / "base", out], ()),
        "diff back": (["diff", out, folder / "base", "--format", "json"], ()),
        "export arrow": (["export", out, to / "arrow", "--layout", "unpacked"], ("to/arrow",)),
        "export jsonl": (["export", out, to / "rows.jsonl", "--format", "jsonl", "--split", "train"], ("to/rows.jsonl",)),
        "report": (["report", out], ("chats/report.html",)),
        "push": (["push", out, f"file://{to}/store"], ("to/store",)),
        "train": ([], ()),
        "finish": (["finish", out], ("chats", ".chats.partial", ".chats.lock", ".chats.old")),
        "run": (run, ("chats", ".chats.partial", ".chats.lock", ".chats.old")),
        "run --overwrite": ([*run, "--max-length", "300", "--overwrite"], ("chats", ".chats.partial", ".chats.lock", ".chats.old")),
    }  # fmt: skip
    if hub:
        found["push hub"] = (["push", out, "alice/chats"], ())
    return found


def look(folder: Path) -> dict[str, tuple[int, ...]]:
    """All that is in a folder: mode, size, time of change, number and links of each file."""
    found = {}
    for path in [
        path
        for root, folders, files in os.walk(folder)
        for path in (Path(root, each) for each in [*folders, *files])
    ]:
        info = path.lstat()
        own = (
            (info.st_mode, info.st_ino)
            if stat.S_ISDIR(info.st_mode)
            else (info.st_mode, info.st_size, info.st_mtime_ns, info.st_ino)
        )
        found[str(path.relative_to(folder))] = own
    return found


def changed(before: dict[str, Any], after: dict[str, Any], allowed: Sequence[str]) -> list[str]:
    """What changed in a folder, but for what is allowed to."""
    differ = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    return sorted(
        name for name in differ if not any(name == each or name.startswith(f"{each}/") for each in allowed)
    )


# ==== One process a mutation ====


def attempt(name: str, words: Words, folder: Path) -> tuple[str, str]:
    """Run a command here; returns which fault it has (empty if none), and what."""
    try:
        done = premask(*words) if words else _train(folder / "chats")
    except MemoryError as error:
        return "memory", repr(error)[:200]
    except BaseException as error:  # noqa: BLE001  that is what is looked for
        last = traceback.extract_tb(error.__traceback__)
        where = next(
            (
                f"{Path(each.filename).name}:{each.lineno}"
                for each in reversed(last)
                if "premask" in each.filename
            ),
            "",
        )
        return "traceback", f"{type(error).__name__} at {where}: {str(error)[:150]!r}"
    if done.code not in (0, 1, 2):
        return "traceback", f"exit code {done.code}"
    lines = done.err.strip().splitlines()
    if "Traceback" in done.err:
        return "traceback", lines[-1][:200]
    if done.code == 2 and (not lines or not lines[-1].startswith(("premask: ", "Error: "))):
        return "traceback", f"no line of premask: {lines[-1:]}"
    return "", ""


class _Read(NamedTuple):
    code: int
    err: str


def _train(out: Path) -> _Read:
    """Read an output as `train` does, but for what needs torch."""
    torch = {name: mock.MagicMock() for name in ("torch", "torch.distributed", "torch.nn")}
    torch["torch"].__spec__ = ModuleSpec("torch", None)
    with mock.patch.dict(sys.modules, torch):
        from premask import train  # noqa: PLC0415  without torch

    try:
        shards = train.open_shards(str(out), None, "train")
        if shards is not None:
            for file, groups in zip(shards.files, shards.groups, strict=True):
                for group in range(min(len(groups), 50)):  # each opens the file anew
                    train._parquet(
                        file, lambda it, group=group: it.read_row_group(group, list(shards.columns))
                    )
    except train.TrainError as error:
        return _Read(2, f"premask: {error}")
    return _Read(0, "")


def in_child(work: Callable[[Callable[[Any], None]], None]) -> tuple[list[Any], int]:
    """Call `work` in a process of its own; returns what it reported, and the number of its signal or 0."""
    reads, writes = os.pipe()
    child = os.fork()
    if not child:
        os.close(reads)
        code = 1
        try:
            os.setpgid(0, 0)
            with os.fdopen(writes, "w") as pipe:
                work(lambda line: print(json.dumps(line), file=pipe, flush=True))
            code = 0
        except BaseException:  # noqa: BLE001
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writes)
    with os.fdopen(reads) as pipe:
        lines = [json.loads(line) for line in pipe]
    _, status = os.waitpid(child, 0)
    return lines, os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def try_commands(
    folder: Path,
    todo: dict[str, tuple[Words, tuple[str, ...]]],
    report: Callable[[Any], None],
    *,
    planted_: bool,
) -> None:
    """Run commands one after another, and report each: before it, and what was wrong after it."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + ADDRESS_SPACE, size + ADDRESS_SPACE))
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.chdir(folder)
    os.fsync = lambda _: None  # the files are not needed after a crash of the machine
    os.environ["TMPDIR"] = str(folder / "tmp")
    tempfile.tempdir = None
    before = look(folder)
    foreign = (
        [path for path in files_in(folder / "chats") if path.read_bytes()[:99] == MINE.encode()]
        if planted_
        else []
    )
    for name, (words, allowed) in todo.items():
        report([name])
        start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        signal.alarm(HANG_S)
        kind, what = attempt(name, words, folder)
        signal.alarm(0)
        faults = [(kind, what)] if kind else []
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) * 1024
        if grown > MOST_BYTES:
            faults.append(("memory", f"{grown >> 20} MB"))
        after = look(folder)
        if wrong := changed(before, after, allowed):
            faults.append(("outside", ", ".join(wrong)[:300]))
        if any(leaks(folder / each) for each in allowed if each.startswith("to")):
            faults.append(("leak", "a private file was written or sent"))
        if any(not path.is_file() or path.read_bytes() != MINE.encode() for path in foreign):
            faults.append(("lost", "a file of somebody else"))
        before = after
        report([name, faults])


def leaks(target: Path) -> bool:
    """Whether what was written holds a private file."""
    files = files_in(target) if target.is_dir() else [target] if target.is_file() else []
    return any(PRIVATE.encode() in path.read_bytes() for path in files if path.stat().st_size < 1 << 27)


def try_mutation(folder: Path, label: str, hub: Any) -> tuple[list[Fault], int]:
    """Run all commands on a folder; returns what was wrong, and how many were run."""
    todo, found, ran = all_commands(folder, hub=hub is not None), list[Fault](), 0
    kind_ = label.split(maxsplit=1)[0]
    for each, (share, always) in SELDOM.items():  # those that take half a second each
        if kind_ not in always and random.Random(f"{label} {each}").random() > share:  # noqa: S311  no secret
            todo.pop(each, None)
    while todo:
        go_on = partial(try_commands, folder, dict(todo), planted_=kind_ == "planted")
        lines, ended = in_child(go_on)
        last = ""
        for name, *faults in lines:
            if not faults:
                last, ran = name, ran + 1
                continue
            todo.pop(name)
            last = ""
            found += [Fault(kind, label, name, what) for kind, what in faults[0]]
        if not last:
            if todo and not ended:
                raise RuntimeError(f"{label}: the process ended before {next(iter(todo))}")
            break
        todo.pop(last)
        kind = "hang" if ended == signal.SIGALRM else "crash"
        found.append(Fault(kind, label, last, f"signal {ended}"))
    if hub is not None:
        repos = [commit.files for repo in hub.repos.values() for commit in repo.history]
        texts = [each.get("content", b"") for tree in repos for each in tree.values()]
        stored = [content for repo in hub.repos.values() for content in repo.stored.values()]
        if any(PRIVATE.encode() in text for text in [*texts, *stored]):
            found.append(Fault("leak", label, "push hub", "a private file was sent"))
        hub.repos.clear()
        hub.forget()
    return found, ran


# ==== The whole ====


def make_base(base: Path) -> None:
    """A folder as each mutation gets it: sources, an output, the same once more, its work in progress."""
    for name in ("private", "outside", "to", "tmp"):
        (base / name).mkdir(parents=True)
    (base / "private/secret.txt").write_text(PRIVATE)
    (base / "private/tokenizer.json").write_text(PRIVATE)
    os.mkfifo(base / "pipe")
    lines = (SAMPLE / "conversations.jsonl").read_text(encoding="utf-8").splitlines()[:12]
    odd = ['{"conversations": []}', '{"conversations": [{"from": "human", "value": "Hi"}]}', lines[0]]
    (base / "data.jsonl").write_text("\n".join([*lines, *odd]) + "\n", encoding="utf-8")
    recipe = {
        "sources": ["data.jsonl"], "tokenizer": TOKENIZER, "output": "chats", "layout": ["packed", "unpacked"],
        "max_length": 512, "unit_rows": 8, "splits": {"test": 0.3}, "duplicates": "drop", "engine": "tokenizers",
    }  # fmt: skip
    (base / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    for words in (
        ["run", "recipe.yaml"],
        ["run", "recipe.yaml", "--output", "other", "--rank", "0", "--world", "1"],
    ):
        done = subprocess.run(command_line(*words), cwd=base, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr)
    shutil.copytree(base / "chats", base / "base")
    (base / ".other.partial").rename(base / ".chats.partial")
    (base / ".other.lock").unlink(missing_ok=True)


def fill(base: Path, folder: Path) -> None:
    """Copy the base; texts that name it name the copy."""
    shutil.copytree(base, folder, copy_function=shutil.copy2, ignore=shutil.ignore_patterns("pipe"))
    os.mkfifo(folder / "pipe")
    for path in [
        folder / "recipe.yaml",
        *folder.glob("*/manifest.json"),
        *folder.glob(".chats.partial/**/*.json"),
    ]:
        text = path.read_text()
        if str(base) in text:
            path.write_text(text.replace(str(base), str(folder)))


def _digest(folder: Path) -> list[bytes]:
    return (
        [path.read_bytes() for path in sorted(folder.iterdir())] if len(list(folder.iterdir())) == 3 else []
    )


def share_tokenizer(base: Path) -> None:
    """Load the tokenizer once for all that do not change it."""
    load, known, digest = (
        commands._loaded,
        commands._loaded(commands.TOKENIZER),
        _digest(base / "base/tokenizer"),
    )
    own = load(str(base / "base/tokenizer"))

    def loaded(name: str) -> Any:
        if name == commands.TOKENIZER:
            return known
        try:
            regular = all(
                stat.S_ISREG(path.lstat().st_mode) and path.stat().st_size < 1 << 24
                for path in Path(name).iterdir()
            )
            return own if regular and _digest(Path(name)) == digest else load(name)
        except OSError:
            return load(name)

    commands._loaded = loaded  # type: ignore[assignment]


def warm_up(base: Path) -> None:
    """Import what the commands import, so that each process need not."""
    share_tokenizer(base)

    for name in app.COMMANDS:
        if name != "train":
            importlib.import_module(f"premask.cli.{name}")
    for name in (
        "core.schemas",
        "review.verify", "review.terminal.outputs", "review.stats", "review.diff", "review.rejects", "review.report.page", "publish.export",
        "publish.push_store", "publish.push_hub", "running.run", "running.ranks", "running.runners.process", "cli.results", "tokens.transformers_library",
    ):  # fmt: skip
        importlib.import_module(f"premask.{name}")
    scratch = base.parent / "warm"
    shutil.copytree(base / "base", scratch)
    for words in (["verify", scratch], ["show", scratch, "--tokens"], ["report", scratch]):
        if premask(*words).code:
            raise RuntimeError(f"{words[0]} refuses an output without a mutation")


def survey(
    mutations: int,
    seed: int,
    only: Sequence[str] = (),
    *,
    hub: Any = None,
    say: Callable[[str], None] = print,
) -> tuple[dict[str, Counter[str]], list[Fault]]:
    """Try mutations; returns by their kind how many there were, how many commands were run, and what was
    wrong, and each fault."""
    names = [name for name in MUTATIONS if not only or name in only]
    weights = [SHARES[name] for name in names]
    table: dict[str, Counter[str]] = {name: Counter() for name in names}
    faults: list[Fault] = []
    with tempfile.TemporaryDirectory(prefix="premask-mutations-") as scratch:
        base = Path(scratch) / "base"
        make_base(base)
        warm_up(base)
        for number in range(mutations):
            rng = random.Random(f"{seed} {number}")  # noqa: S311  no secret
            name = rng.choices(names, weights)[0]
            folder = Path(scratch) / "a/b/c" / f"m{number}"
            fill(base, folder)
            mutate = partial(MUTATIONS[name], rng, folder)
            lines, ended = in_child(lambda report, mutate=mutate: report(mutate()))
            if not lines:
                raise RuntimeError(f"{name} {number}: it could not be made ({ended})")
            label = f"{name} {number}: {lines[0]}"
            found, ran = try_mutation(folder, label, hub)
            table[name].update({"mutations": 1, "commands": ran})
            for fault in found:
                table[name][fault.kind] += 1
                say(f"{fault.kind}: {fault.mutation} | {fault.command} | {fault.what}")
            faults += found
            shutil.rmtree(folder, ignore_errors=True)
    return table, faults


COLUMNS = ("mutations", "commands", "traceback", "hang", "crash", "outside", "lost", "leak", "memory")


def show(table: dict[str, Counter[str]]) -> str:
    """The table as text."""
    total = sum(table.values(), Counter[str]())
    rows = [
        ("kind", *COLUMNS),
        *((name, *(str(row[c]) for c in COLUMNS)) for name, row in [*table.items(), ("all", total)]),
    ]
    return "\n".join("  ".join(cell.rjust(10) for cell in row) for row in rows)


def main() -> int:
    """The command; exit code 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description="Hostile outputs through all commands that read outputs.")
    parser.add_argument("--mutations", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="kinds, with commas")
    options = parser.parse_args()
    begin = time.monotonic()
    with HubServer() as hub:
        home = tempfile.mkdtemp(prefix="premask-home-")
        os.environ.update(
            HF_ENDPOINT=hub.url, HF_TOKEN=hub.token, HF_HOME=home, NO_PROXY="*", HF_HUB_DISABLE_TELEMETRY="1"
        )
        table, faults = survey(
            options.mutations, options.seed, [each for each in options.only.split(",") if each], hub=hub
        )
        shutil.rmtree(home, ignore_errors=True)
    print(show(table))
    print(f"{time.monotonic() - begin:.0f} s")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
