"""The lock file: exact versions of all that `pip install premask` brings, with the sha256 of their wheels.

    python tests/support/make_lock.py [--pythons python3.10,python3.13]        writes .requirements.lock

`make lock` does this after a change of pyproject.toml or constraints.txt. pip resolves the dependencies and the
build backend on each Python that premask supports, within constraints.txt. Versions that differ between Pythons
get markers. Then pip is asked for the wheel of each of them on each platform of `PLATFORMS`; a wheel for any
other platform is not in the lock, so pip refuses it. Nothing is installed and no source is built.

The lock has no extras: torch, Ray and the tools of the developers have other builds at other indexes.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
LOCK, CONSTRAINTS = ROOT / ".requirements.lock", ROOT / "constraints.txt"

PYTHONS = ("3.10", "3.11", "3.12", "3.13")
PLATFORMS = {
    "Linux on x86-64": tuple(f"manylinux{n}_x86_64" for n in ("_2_28", "_2_27", "_2_24", "_2_17", "2014")),
    "Linux on arm64": tuple(f"manylinux{n}_aarch64" for n in ("_2_28", "_2_27", "_2_24", "_2_17", "2014")),
    "macOS on arm64": tuple(
        f"macosx_{n}_0_{kind}" for n in (14, 13, 12, 11) for kind in ("arm64", "universal2")
    ),
}
"""Platforms, by their names -> the tags of wheels that run there."""

HEAD = f"""\
# What premask itself needs, without extras: exact versions and the sha256 of their wheels. Made by `make lock`.
# pip install --require-hashes --no-deps -r .requirements.lock; then pip install --no-deps --no-build-isolation -e .
# For {", ".join(PLATFORMS)}; Python {PYTHONS[0]} to {PYTHONS[-1]}.
"""

Pins = dict[str, str]
"""Name -> version."""


class Locked(NamedTuple):
    """An entry of the lock: a version, the Pythons that take it, and the hashes of its wheels."""

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]


def needed() -> list[str]:
    """What pyproject.toml asks for: the dependencies, the build backend, and what makes an install editable."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return [*project["project"]["dependencies"], *project["build-system"]["requires"], "editables"]


def resolved(python: str) -> Pins:
    """The versions that pip chooses with a Python of this machine."""
    found = _report([python, *_PIP, "--constraint", str(CONSTRAINTS), *needed()])
    return {_normal(each["metadata"]["name"]): each["metadata"]["version"] for each in found}


def hashes_of(pins: Pins, version: str, tags: Sequence[str]) -> dict[str, str]:
    """Name -> sha256 of the wheel that one Python takes on one platform."""
    platform = [word for tag in tags for word in ("--platform", tag)]
    wanted = [f"{name}=={pin}" for name, pin in pins.items()]
    words = [sys.executable, *_PIP, "--no-deps", "--python-version", version, *platform, *wanted]
    found = _report(words)
    return {_normal(each["metadata"]["name"]): _sha256(each) for each in found}


_PIP = ("-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--only-binary", ":all:")


def _report(words: Sequence[str]) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="premask-lock-") as folder:
        report = Path(folder) / "report.json"
        where = ["--target", f"{folder}/target", "--report", str(report)]
        done = subprocess.run([*words, *where], check=False, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"pip found no set of versions:\n{done.stderr}")
        found: list[dict[str, Any]] = json.loads(report.read_text())["install"]
    return found


def _sha256(entry: Mapping[str, Any]) -> str:
    return str(entry["download_info"]["archive_info"]["hash"]).removeprefix("sha256=")


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


# ==== The file ====


def locked(by_python: Mapping[str, Pins], hashes: Mapping[tuple[str, str], Iterable[str]]) -> list[Locked]:
    """The entries of a lock, by name: one for each version of each package.

    >>> locked({"3.10": {"a": "1"}, "3.11": {"a": "2"}}, {("a", "1"): ["x"], ("a", "2"): ["y"]})[0].marker
    'python_version < "3.11"'
    """
    takers: dict[tuple[str, str], list[str]] = defaultdict(list)
    for python, pins in by_python.items():
        for pin in pins.items():
            takers[pin].append(python)
    known = list(by_python)
    return [
        Locked(*pin, marker_of(pythons, known), tuple(sorted(set(hashes[pin]))))
        for pin, pythons in sorted(takers.items(), key=lambda each: (each[0][0], known.index(each[1][0])))
    ]


def marker_of(pythons: Sequence[str], known: Sequence[str]) -> str:
    """A marker for some Pythons, neighbours among the `known` ones.

    >>> marker_of(["3.11", "3.12"], ["3.10", "3.11", "3.12", "3.13"])
    'python_version >= "3.11" and python_version < "3.13"'
    """
    first, after = known.index(pythons[0]), known.index(pythons[-1]) + 1
    low = [f'python_version >= "{known[first]}"'] if first else []
    return " and ".join(low + ([f'python_version < "{known[after]}"'] if after < len(known) else []))


def text_of(entries: Iterable[Locked]) -> str:
    """A lock file.

    >>> print(text_of([Locked("a", "1", "", ("x", "y"))]).removeprefix(HEAD), end="")
    a==1 \\
        --hash=sha256:x \\
        --hash=sha256:y
    """
    lines = []
    for name, version, marker, hashes in entries:
        lines.append(
            " \\\n    ".join(
                [f"{name}=={version}{marker and f'; {marker}'}", *map("--hash=sha256:{}".format, hashes)]
            )
        )
    return HEAD + "".join(f"{line}\n" for line in lines)


def read_lock(text: str) -> list[Locked]:
    """The entries of a lock file.

    >>> read_lock('a==1; python_version < "3.11" \\\\\\n    --hash=sha256:x\\n')
    [Locked(name='a', version='1', marker='python_version < "3.11"', hashes=('x',))]
    """
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]
    found = []
    for line in lines:
        head, *hashes = (part.strip() for part in line.split("--hash=sha256:"))
        pin, _, marker = head.partition(";")
        name, _, version = pin.strip().partition("==")
        found.append(Locked(name, version, marker.strip(), tuple(hashes)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the lock file.")
    parser.add_argument("--pythons", default=",".join(f"python{version}" for version in PYTHONS))
    pythons = dict(zip(PYTHONS, parser.parse_args().pythons.split(","), strict=True))
    missing = [python for python in pythons.values() if not shutil.which(python)]
    if missing:
        sys.exit(f"{missing[0]} is not here; name the Pythons {', '.join(PYTHONS)} with --pythons")
    by_python = {version: resolved(python) for version, python in pythons.items()}
    hashes: dict[tuple[str, str], list[str]] = defaultdict(list)
    for version, pins in by_python.items():
        for platform, tags in PLATFORMS.items():
            sys.stderr.write(f"Python {version}, {platform}\n")
            for name, sha256 in hashes_of(pins, version, tags).items():
                hashes[name, pins[name]].append(sha256)
    LOCK.write_text(text_of(locked(by_python, hashes)), encoding="utf-8")


if __name__ == "__main__":
    main()
