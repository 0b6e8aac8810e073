"""Who may import whom: read from the syntax trees, so that no import has to be run."""

from __future__ import annotations

import ast
import importlib.metadata
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "pipeline"
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}

LOWEST = {"errors", "contracts", "recipe", "urls"}
STAGES = {
    "remote",
    "hubdata",
    "files",
    "jsonarray",
    "selection",
    "inspection",
    "plan",
    "blocks",
    "sources",
    "entries",
    "dialects",
    "columns",
    "engines",
    "engine_proof",
    "engine_probes",
    "symbolic",
    "plans",
    "hotpath",
    "chat_template",
    "traced",
    "render",
    "boundaries",
    "labels",
    "repair",
    "turn_ends",
    "encode",
    "packing",
}
PUSHING = {"finished", "hub", "stores"}
SCHEDULING = {
    "stages",
    "units",
    "unitstore",
    "places",
    "run",
    "runners",
    "slices",
    "forecast",
    "redo",
    "verify",
    "export",
    "diff",
    "stats",
    "report",
    "cli",
}
STRANGERS = {"sources", "dialects", "render", "encode", "packing"}


def imports_of(name: str) -> set[str]:
    """The modules of this package that a module imports, wherever in it."""
    path = MODULES[name]
    package = path.parent.relative_to(PACKAGE).parts
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            targets = [node.module] if node.module else [alias.name for alias in node.names]
            found |= {".".join((*base, target)) for target in targets}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "pipeline":
            found.add((node.module or "").removeprefix("pipeline").lstrip("."))
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.split(".")[0] == "pipeline"]
            found |= {each.removeprefix("pipeline").lstrip(".") for each in names}
    return found - {""}


def parts(name: str) -> set[str]:
    """The top-level names that a set of module names belongs to."""
    return {each.split(".")[0] for each in imports_of(name)}


@pytest.mark.parametrize("name", MODULES)
def test_imports_of_the_package_are_relative(name: str) -> None:
    """A worker that starts in a folder with another `pipeline/` must import ours."""
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    absolute = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level]
    absolute += [
        alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    ]

    assert [each for each in absolute if each and each.split(".")[0] == "pipeline"] == []


@pytest.mark.parametrize("name", sorted(LOWEST))
def test_the_lowest_layer(name: str) -> None:
    """Errors import nothing; contracts and the recipe only each other and errors."""
    assert parts(name) <= LOWEST - {name}
    if name == "errors":
        assert parts(name) == set()


@pytest.mark.parametrize("name", [name for name in MODULES if name.split(".")[0] in STAGES])
def test_stages_do_not_know_who_calls_them(name: str) -> None:
    assert parts(name) & SCHEDULING == set()


@pytest.mark.parametrize("name", [name for name in MODULES if name.split(".")[0] in STRANGERS])
def test_stages_do_not_know_each_other(name: str) -> None:
    assert parts(name) & (STRANGERS - {name.split(".", maxsplit=1)[0]}) == set()


READERS = {
    "findings",
    "shardreader",
    "samplereader",
    "filechecks",
    "rowchecks",
    "lineagechecks",
    "lengths",
    "export",
    "stats",
    "diff",
    "tokentext",
    "rejects",
}


@pytest.mark.parametrize("name", sorted(READERS))
def test_who_reads_an_output_knows_no_stage(name: str) -> None:
    """What is checked against the contract must not be made by the code that is checked."""
    assert parts(name) & (STAGES | {"stages", "units", "run", "runners", "shards"}) == set()


@pytest.mark.parametrize("name", sorted(PUSHING))
def test_pushing_needs_an_output_and_no_stage(name: str) -> None:
    """What is pushed is read from files; `transformers` is not loaded for it, by any way."""
    assert parts(name) <= {"errors", "contracts", "disk", "finished", "urls"}
    assert "transformers" not in MODULES[name].read_text(encoding="utf-8")


def test_pictures_need_no_run() -> None:
    """A run draws those of its card: they come from the manifest, and from no stage."""
    assert imports_of("report.pictures") <= {"contracts", "plaintext"}
    views = {name for name in MODULES if any(each.startswith("report") for each in imports_of(name))}
    assert {name for name in views if not name.startswith("report.")} == {"cli", "run"}


def test_nobody_imports_the_command_line() -> None:
    assert [name for name in MODULES if "cli" in parts(name)] == ["__main__"]


def test_runners_only_schedule() -> None:
    """They know tasks, records and the loaded stages, but no stage."""
    for name in MODULES:
        if name.startswith("runners."):
            assert parts(name) & STAGES == set(), name


def test_no_cycles() -> None:
    """Every module can be imported before those that import it."""
    waiting = {
        name: {each for each in imports_of(name) if each in MODULES} - {name} for name in MODULES if name
    }
    while waiting:
        ready = {name for name, needs in waiting.items() if not needs & set(waiting)}
        assert ready, f"these import each other: {sorted(waiting)}"
        waiting = {name: needs for name, needs in waiting.items() if name not in ready}


def test_the_trainer_script_imports_nothing_of_the_package() -> None:
    if "train" in MODULES:
        assert imports_of("train") == set()


def test_what_users_take_along_is_light() -> None:
    """Adapters and the lines for trainers need the contracts at most."""
    assert parts("adapters") <= {"contracts"}
    assert parts("trainers") == set()


def test_no_name_hides_a_library() -> None:
    """Run as a script, a folder puts its modules before the standard library and all dependencies."""
    installed = {name for name in importlib.metadata.packages_distributions() if name != "pipeline"}
    libraries = sys.stdlib_module_names | (installed & DEPENDENCIES)
    names = {path.stem for path in MODULES.values()} | {
        path.name for path in PACKAGE.rglob("*") if path.is_dir()
    }

    assert names & libraries == set()


DEPENDENCIES = {
    "accelerate", "datasets", "ftfy", "gigatoken", "huggingface_hub", "hypothesis", "jinja2", "jsonschema", "msgspec", "numpy", "peft", "playwright",
    "polars", "pyarrow", "pydantic", "pygal", "pytest", "ray", "rich", "tokenizers", "torch", "transformers", "typer", "yaml", "zstandard",
}  # fmt: skip


def ignores(name: str) -> list[int]:
    """Lines of a module that hold -100 as a number."""
    found = []
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            operand = node.operand
            found += [node.lineno] if isinstance(operand, ast.Constant) and operand.value == 100 else []
    return found


def test_the_ignore_index_has_one_place() -> None:
    """-100 is defined in the contracts; whoever trains has the number for itself (train.py imports nothing)."""
    assert [name for name in MODULES if ignores(name) and name != "train"] == ["contracts"]


def test_only_labels_write_the_ignore_index() -> None:
    """Others may compare with it; `np.full`, `np.where` and assignments of it stand in labels.py."""
    writers = set()
    for name, path in MODULES.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        compared = {
            id(leaf) for node in ast.walk(tree) if isinstance(node, ast.Compare) for leaf in ast.walk(node)
        }
        uses = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "IGNORE_INDEX"]
        if any(isinstance(node.ctx, ast.Load) and id(node) not in compared for node in uses):
            writers.add(name)

    assert "labels" in writers
    assert writers <= {"labels", "train", "schemas"}  # the schemas tell which number it is
