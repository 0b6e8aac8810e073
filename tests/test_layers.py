"""The rooms of the house and who may enter which: the table below, held against the syntax trees of all modules."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import premask
import pytest

FLOOR_2 = ("sources", "dialects", "masking", "tokens", "output")

ROOMS: dict[str, tuple[str, ...]] = {
    "core": (),
    "sources": ("core",),
    "dialects": ("core",),
    "masking": ("core",),
    "tokens": ("core",),
    "output": ("core",),
    "labeller": ("core", "dialects", "masking", "tokens"),
    "fast": ("core", "sources", "dialects", "masking", "tokens"),
    "publish": ("core", "output"),
    "running": ("core", *FLOOR_2, "labeller", "fast", "publish"),
    "review": ("core", *FLOOR_2, "labeller", "publish", "running"),
    "api": ("core", *FLOOR_2, "labeller", "publish", "running", "review"),
    "cli": ("core", *FLOOR_2, "labeller", "publish", "running", "review", "train"),
    "train": (),
}
"""Room, or module at the top -> the rooms that it may import."""

TOP = {"": "api", "__main__": "cli", "labeller": "labeller", "train": "train"}
"""Modules at the top of the package -> the room by whose rules they go; the first is `__init__`, the public API."""

PACKAGE = Path(__file__).resolve().parents[1] / "pipeline" / "premask"
TWIN = "masking.educational"
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip("."): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}


class Import(NamedTuple):
    """A name that a module imports from another one of the package; "" where it imports that module itself."""

    module: str
    name: str
    alias: str


def imports_of(name: str) -> Iterator[Import]:
    """What a module imports of this package, wherever in it."""
    package = MODULES[name].parent.relative_to(PACKAGE).parts
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.ImportFrom) and node.level:
            above = package[: len(package) - node.level + 1]
            base = ".".join((*above, node.module) if node.module else above)
            for each in node.names:
                below = f"{base}.{each.name}".lstrip(".")
                found = (below, "") if below in MODULES else (base, each.name)
                yield Import(*found, each.asname or each.name)


def room_of(name: str) -> str:
    return TOP[name] if name in TOP else name.split(".", maxsplit=1)[0]


# ==== The table ====


def test_every_module_is_in_a_room_and_every_room_in_the_table() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and list(path.glob("*.py"))}

    assert folders == set(ROOMS) - {"labeller", "train"}
    assert {name for name in MODULES if "." not in name} == set(TOP) | folders
    assert len(TOP) <= 4, "the top of the package is the first thing that one sees"
    assert {room_of(name) for name in MODULES} == set(ROOMS)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_only_from_rooms_that_its_room_may_enter(name: str) -> None:
    room = room_of(name)
    entered = {
        room_of(each.module) for each in imports_of(name) if each != ("", "__version__", "__version__")
    }

    assert entered - {room} <= set(ROOMS[room]), name


def test_the_table_is_sound() -> None:
    """Only running enters fast, whose loss would cost speed and no byte; nobody enters the command line."""
    assert {room for room, entered in ROOMS.items() if "fast" in entered} == {"running"}
    assert {room for room, entered in ROOMS.items() if {"api", "cli"} & {*entered}} == set()
    assert set().union(*ROOMS.values()) == set(ROOMS) - {"api", "cli"}


def test_no_two_rooms_of_one_floor_know_each_other() -> None:
    floors = [("core",), FLOOR_2, ("labeller", "fast", "publish"), ("running",), ("review",), ("api", "cli")]

    for floor in floors:
        for room in floor:
            assert not set(floor) & set(ROOMS[room]), room


def test_the_trainer_stands_alone() -> None:
    assert list(imports_of("train")) == []
    assert {name for name in MODULES for each in imports_of(name) if each.module == "train"} == {"cli.train"}


def test_no_cycles() -> None:
    """Every module can be imported before those that import it. (`__init__` imports when it is asked.)"""
    waiting = {name: {each.module for each in imports_of(name)} - {name, ""} for name in MODULES if name}
    while waiting:
        ready = {name for name, needs in waiting.items() if not needs & set(waiting)}
        assert ready, f"these import each other: {sorted(waiting)}"
        waiting = {name: needs for name, needs in waiting.items() if name not in ready}


# ==== Names ====


@pytest.mark.parametrize("name", MODULES)
def test_imports_of_the_package_are_relative(name: str) -> None:
    """A worker that starts in a folder with another `premask/` must import ours."""
    absolute = [
        node.module
        for node in ast.walk(TREES[name])
        if isinstance(node, ast.ImportFrom) and not node.level and node.module
    ]
    for node in ast.walk(TREES[name]):
        absolute += [each.name for each in node.names] if isinstance(node, ast.Import) else []

    assert [each for each in absolute if each.split(".")[0] in {"premask", "pipeline"}] == []


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


@pytest.mark.parametrize("name", MODULES)
def test_a_module_keeps_its_private_names(name: str) -> None:
    imported = list(imports_of(name))
    modules = {each.alias: each.module for each in imported if not each.name}
    taken = [f"{each.module}.{each.name}" for each in imported if is_private(each.name)]
    taken += [
        f"{modules[node.value.id]}.{node.attr}"
        for node in ast.walk(TREES[name])
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        if node.value.id in modules and is_private(node.attr)
    ]

    assert taken == []


def test_no_name_hides_a_library() -> None:
    """Run as a script, a folder puts its modules before the standard library and all dependencies."""
    text = (PACKAGE.parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    section = text[text.index("\ndependencies = [") : text.index("[project.scripts]")]
    wanted = {re.sub("[-_.]+", "-", name).lower() for name in re.findall(r'"([\w.-]+)', section)}
    libraries = {
        name
        for name, projects in importlib.metadata.packages_distributions().items()
        if wanted & {re.sub("[-_.]+", "-", each).lower() for each in projects}
    }
    own = {path.stem for path in MODULES.values()} | {
        path.name for path in PACKAGE.rglob("*") if path.is_dir()
    }

    assert {"pyarrow", "yaml", "click", "tokenizers"} <= libraries
    assert own & (sys.stdlib_module_names | libraries) == set()


# ==== The public API ====

EVERYTHING = """
import importlib, pkgutil, types, premask
for found in pkgutil.walk_packages(premask.__path__, "premask."):
    if found.name not in {"premask.__main__", "premask.train"}:
        importlib.import_module(found.name)
for name in premask.__all__:
    print(name, isinstance(getattr(premask, name), types.ModuleType))
"""
LIGHT = "import sys, premask; print(*sys.modules, *dir(premask))"


def python(script: str) -> str:
    environ = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_no_public_name_is_that_of_a_room() -> None:
    """A submodule that is imported becomes an attribute of the package, in place of a function of its name."""
    found = dict(line.split() for line in python(EVERYTHING).splitlines())

    assert set(found) == set(premask.__all__)
    assert set(found.values()) == {"False"}
    assert set(premask.__all__) & {*ROOMS, "sample"} == set()


def test_importing_the_package_loads_no_library() -> None:
    loaded = {each.partition(".")[0] for each in python(LIGHT).split()}

    assert {*premask.__all__} <= loaded
    assert not loaded & {"torch", "transformers", "tokenizers", "pyarrow", "numpy", "pydantic", "click"}


def test_a_name_that_is_not_public() -> None:
    with pytest.raises(AttributeError, match="module 'premask' has no attribute 'frobnicate'"):
        _ = premask.frobnicate  # type: ignore[attr-defined]


# ==== The mask ====


def test_the_ignore_index_has_one_place() -> None:
    """-100 is defined in the contract; who trains has the number for itself (train.py imports nothing)."""
    holders = {
        name
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)
        if isinstance(node.operand, ast.Constant) and node.operand.value == 100
    }

    assert holders - {"train"} == {"core.contract"}


def test_only_labels_decide_which_token_is_trained() -> None:
    """Others may compare with the ignore index. Who writes it is `masking/labels.py`, and `core/contract.py` for
    padding, shifting and masks that rows bring along; the schemas tell which number it is. The readable twin
    of the labels judges them in the tests: no module uses it."""
    writers = set()
    for name, tree in TREES.items():
        compared = {
            id(leaf) for node in ast.walk(tree) if isinstance(node, ast.Compare) for leaf in ast.walk(node)
        }
        uses = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "IGNORE_INDEX"]
        uses = [node for node in uses if isinstance(node.ctx, ast.Load) and id(node) not in compared]
        attributes = [
            node for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and node.attr == "IGNORE_INDEX" and id(node) not in compared
        ]  # fmt: skip
        writers |= {name} if uses or attributes else set()

    assert "masking.labels" in writers
    assert writers - {"train", "core.schemas", TWIN} <= {"masking.labels", "core.contract"}
    assert [name for name in MODULES for each in imports_of(name) if each.module == TWIN] == []
