"""What a pushed output lacks for others, or shows that it should not: one line each, and nothing is refused.

card_notes(front_matter, manifest)      # ("the card names no license: ...",)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..core.manifest import Manifest
from ..core.redact import bare_name

LICENSES = frozenset({
    "afl-3.0", "agpl-3.0", "apache-2.0", "apple-amlr", "apple-ascl", "artistic-2.0",
    "bigcode-openrail-m", "bigscience-bloom-rail-1.0", "bigscience-openrail-m", "bsd", "bsd-2-clause",
    "bsd-3-clause", "bsd-3-clause-clear", "bsl-1.0", "c-uda", "cc", "cc-by-2.0", "cc-by-2.5",
    "cc-by-3.0", "cc-by-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-nd-3.0",
    "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0",
    "cc-by-sa-3.0", "cc-by-sa-4.0", "cc0-1.0", "cdla-permissive-1.0", "cdla-permissive-2.0",
    "cdla-sharing-1.0", "creativeml-openrail-m", "deepfloyd-if-license", "ecl-2.0", "epl-1.0",
    "epl-2.0", "etalab-2.0", "eupl-1.1", "eupl-1.2", "fair-noncommercial-research-license", "gemma",
    "gfdl", "gpl", "gpl-2.0", "gpl-3.0", "h-research", "intel-research", "isc", "lgpl", "lgpl-2.1",
    "lgpl-3.0", "lgpl-lr", "llama2", "llama3", "llama3.1", "llama3.2", "llama3.3", "llama4",
    "lppl-1.3c", "mit", "mpl-2.0", "ms-pl", "ncsa", "odbl", "odc-by", "ofl-1.1", "openmdw-1.0",
    "openrail", "openrail++", "osl-3.0", "other", "pddl", "postgresql", "unknown", "unlicense", "wtfpl",
    "zlib",
})  # fmt: skip
"""The names of licenses that the Hub knows (huggingface.co/docs/hub/repositories-licenses)."""


def card_notes(front: Mapping[str, Any], manifest: Manifest) -> tuple[str, ...]:
    """Return notes about a card that is pushed, given its front matter, and about paths in the manifest."""
    return (*_missing(front), *_unknown(front.get("license")), *_paths(manifest))


def _missing(front: Mapping[str, Any]) -> Iterator[str]:
    asked = {"license": "license=cc-by-4.0", "base_model": "base_model=org/model"}
    missing = [key for key in asked if not front.get(key)]
    if missing:
        options = " ".join(f"--card {asked[key]}" for key in missing)
        them = "them" if missing[1:] else "it"
        yield f"the card names no {' and no '.join(missing)}; add {them} to the run: {options}"


def _unknown(license_: object) -> Iterator[str]:
    if isinstance(license_, str) and license_ not in LICENSES:
        yield f"the Hub may not know the license {license_[:60]}; if it refuses the card, write license=other"


def _paths(manifest: Manifest) -> Iterator[str]:
    names = [each.source for each in manifest.inputs]
    names += [manifest.tokenizer.name, str(manifest.recipe.get("chat_template") or "")]
    full = [name for name in names if name.startswith(("/", "~")) and bare_name(name) != name]
    if full:
        more = f" and {len(full) - 1} more" if full[1:] else ""
        yield (
            f"manifest.json and lineage/ name files by their path on this machine: {full[0]}{more}; run with "
            "relative paths to keep them out"
        )
