"""What decides a result besides its input: this package's code, and the versions of libraries.

    versions     package name -> version, of all that can change the bytes of a shard
    code_hash    sha256 of this package's own code

Cost: five milliseconds each, once a process.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
from functools import cache
from pathlib import Path


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "none"


@cache
def _versions(*more: str) -> tuple[tuple[str, str], ...]:
    packages = ("jinja2", "numpy", "pyarrow", "tokenizers", "transformers", *more)
    found = {name: _version(name) for name in packages}
    return ("python", ".".join(platform.python_version_tuple()[:2])), *found.items()


def versions(*more: str) -> dict[str, str]:
    """Return the versions of all that can change the bytes of a shard; `more` are packages that only some
    recipes need, `none` if they are not installed."""
    return dict(_versions(*more))


@cache
def code_hash() -> str:
    """Hash of this package's own code: what was begun with other code is not gone on with."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
