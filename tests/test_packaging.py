"""The distribution: what is in sdist and wheel, and that the wheel works far from any checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import premask
import pytest
from commands import ROOT, chat, write_rows

pytest.importorskip("hatchling")
pytest.importorskip("twine")

PACKAGE = ROOT / "pipeline" / "premask"


def command(*words: object, cwd: Path, **environ: str) -> str:
    """What a command prints; without the paths by which tests find the checkout."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | environ
    done = subprocess.run(
        [*map(str, words)], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Built(NamedTuple):
    """The two archives, and where the wheel is installed."""

    sdist: Path
    wheel: Path
    env: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """An sdist of the checkout, a wheel of the sdist, and an environment with the wheel alone; what premask depends
    on is lent by the environment of the tests."""
    folder = tmp_path_factory.mktemp("built")
    command(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", folder / "dist", cwd=ROOT)
    (sdist,) = (folder / "dist").iterdir()
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    unpacked = folder / sdist.name.removesuffix(".tar.gz")
    command(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder / "dist", cwd=unpacked)
    (wheel,) = (folder / "dist").glob("*.whl")
    command(sys.executable, "-m", "venv", "--without-pip", folder / "env", cwd=folder)
    python = folder / "env" / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check")
    command(*pip, "install", "--no-deps", "--no-index", wheel, cwd=folder)
    (site,) = (folder / "env" / "lib").glob("python*/site-packages")
    (site / "lent.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    return Built(sdist, wheel, folder / "env")


def test_the_wheel_of_the_sdist_holds_the_package_and_nothing_else(built: Built) -> None:
    """A `sources` for all targets in pyproject.toml would make it empty, without an error."""
    names = set(zipfile.ZipFile(built.wheel).namelist())
    own = {name for name in names if not name.startswith(f"premask-{premask.__version__}.dist-info/")}
    files = {path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts}

    schema = "premask/recipe.schema.json"  # for editors, as `premask init` writes
    assert own == {schema, *(path.relative_to(PACKAGE.parent).as_posix() for path in files)}
    assert {Path(name).suffix for name in own} >= {
        ".py",
        ".jinja",
        ".css",
        ".js",
        ".json",
        ".jsonl",
        ".typed",
    }
    assert {name.split("/")[0] for name in own} == {"premask"}


def test_the_sdist_holds_what_building_and_testing_take(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    assert names >= {
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "Makefile",
        "constraints.txt",
        ".requirements.lock",
    }
    assert names >= {"pipeline/premask/__init__.py", "schemas/recipe.schema.json", "tests/conftest.py"}
    assert [name for name in names if "__pycache__" in name or name.startswith((".venv", "out/"))] == []


def test_an_index_would_take_both(built: Built, tmp_path: Path) -> None:
    shown = command(
        sys.executable, "-m", "twine", "check", "--strict", built.sdist, built.wheel, cwd=tmp_path
    )

    assert shown.count("PASSED") == 2, shown


def test_the_installed_wheel_works(built: Built, tmp_path: Path) -> None:
    python, script = built.env / "bin" / "python", built.env / "bin" / "premask"
    place = Path(command(python, "-c", "import premask; print(premask.__file__)", cwd=tmp_path).strip())
    source = write_rows(tmp_path / "a.jsonl", [chat("Hi", "Hello"), chat("One", "Two")])
    words = ("run", source, "--tokenizer", place.parent / "sample" / "tokenizer", "--output", "out")

    assert place.is_relative_to(built.env)
    assert command(script, "--version", cwd=tmp_path) == f"premask {premask.__version__}\n"
    assert command(python, "-m", "premask", "--version", cwd=tmp_path) == f"premask {premask.__version__}\n"
    assert "2 in = 2 kept" in command(script, *words, "--workers", 2, "--unit-rows", 1, cwd=tmp_path)
    assert "all is well" in command(python, "-m", "premask", "verify", "out", cwd=tmp_path)
    assert "report.html" in command(script, "report", "out", cwd=tmp_path)
    assert "Hello" in command(script, "show", "out", cwd=tmp_path)
