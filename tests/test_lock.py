"""The lock file: all that premask needs, as constraints.txt and pyproject.toml want it, with hashes."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata

import pytest
from commands import ROOT
from make_lock import CONSTRAINTS, LOCK, Locked, needed, read_lock, text_of
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ENTRIES = read_lock(LOCK.read_text(encoding="utf-8"))


def applies(marker: str, **environment: str) -> bool:
    return not marker or bool(Requirement(f"x; {marker}").marker.evaluate(environment))  # type: ignore[union-attr]


def locked_for(python: str) -> dict[str, str]:
    found = [entry for entry in ENTRIES if applies(entry.marker, python_version=python)]
    assert len({entry.name for entry in found}) == len(found)
    return {entry.name: entry.version for entry in found}


def test_every_entry_has_a_version_and_hashes() -> None:
    assert len(ENTRIES) > 50
    for entry in ENTRIES:
        assert re.fullmatch(r"[a-z0-9-]+", entry.name)
        assert re.fullmatch(r"[0-9][\w.]*", entry.version), entry
        assert entry.hashes, entry
        assert all(re.fullmatch("[0-9a-f]{64}", each) for each in entry.hashes), entry


def test_it_is_written_as_it_is_read() -> None:
    assert text_of(ENTRIES) == LOCK.read_text(encoding="utf-8")


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
def test_all_that_pyproject_asks_for_is_locked(python: str) -> None:
    locked = locked_for(python)

    for wanted in map(Requirement, needed()):
        version = locked.get(canonicalize_name(wanted.name))
        assert version is not None, f"{wanted.name} is not locked: make lock"
        assert wanted.specifier.contains(version), f"{wanted} is locked at {version}: make lock"


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
def test_it_has_the_versions_of_the_constraints(python: str) -> None:
    lines = [
        line for line in CONSTRAINTS.read_text(encoding="utf-8").splitlines() if line[:1] not in {"", "#"}
    ]
    pinned = [Requirement(line) for line in lines]
    versions = {
        canonicalize_name(each.name): str(each.specifier).removeprefix("==")
        for each in pinned
        if each.marker is None or each.marker.evaluate({"python_version": python})
    }
    locked = locked_for(python)

    assert {
        name: (locked[name], versions[name])
        for name in {*locked} & {*versions}
        if locked[name] != versions[name]
    } == {}
    assert python == "3.10" or {*locked} <= {*versions}, "constraints.txt lacks what the lock has"


def test_what_is_locked_needs_nothing_else() -> None:
    """By the metadata of what is installed here: of this Python and platform."""
    seen: set[str] = set()
    ahead = [(canonicalize_name(each.name), tuple(each.extras)) for each in map(Requirement, needed())]
    while ahead:
        name, extras = ahead.pop()
        try:
            wanted = map(Requirement, metadata.requires(name) or [])
        except metadata.PackageNotFoundError:  # only an editable install has it
            continue
        seen.add(name)
        for each in wanted:
            if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
                own = canonicalize_name(each.name)
                ahead += [(own, tuple(each.extras))] if own not in seen else []

    here = ".".join(map(str, sys.version_info[:2]))
    assert len(seen) > 40
    assert seen - {*locked_for(here)} == set()


def test_make_installs_by_hash() -> None:
    done = subprocess.run(
        ["make", "--dry-run", "--always-make", ".venv/base"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    installs = [line for line in done.stdout.splitlines() if " pip install " in line]

    assert len(installs) == 2
    assert "--require-hashes --no-deps --only-binary :all: --requirement .requirements.lock" in installs[0]
    assert "--no-deps --no-build-isolation --editable ." in installs[1]


def test_a_lock_is_read_without_its_comments() -> None:
    assert read_lock("# a==1\n\na-b==2 \\\n    --hash=sha256:x \\\n    --hash=sha256:y\n") == [
        Locked("a-b", "2", "", ("x", "y"))
    ]
