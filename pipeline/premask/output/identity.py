"""What decides the bytes of a run, and how two runs differ in it.

    identify      recipe, inputs, tokenizer, template, installed versions -> RunIdentity
    differences   two runs -> sentences that name what changed

Whether an output is up to date, and whether the work of a run that was stopped can be used, is one
comparison of keys. So everything that could change a shard must be in the key, and nothing else: not where
the output lies, not which engine encodes or how many workers there are, not the time.

    identity = identify(recipe, inputs=inputs, tokenizer=tokenizer, template=template)
    identity.key                                      # the sha256 of it all

Cost: nothing to speak of; the files were hashed when they were inspected.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from os.path import commonprefix
from typing import Any

from .. import __version__
from ..core.contract import CONTRACT_VERSION
from ..core.recipe import OTHER_KEYS, Recipe
from ..core.versions import code_hash, versions


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """All that decides what a run writes, as JSON values. Runs with the same `key` write the same bytes.

    `inputs` are `{source, bytes, sha256}` in reading order, with the store's `version` where that replaces
    the hash, `versions` package name -> version, `evaluation_sets` likewise those of `decontaminate`.
    """

    recipe: Mapping[str, Any]
    inputs: Sequence[Mapping[str, Any]]
    tokenizer: Mapping[str, Any]
    template: Mapping[str, Any]
    versions: Mapping[str, str]
    evaluation_sets: Sequence[Mapping[str, Any]] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the part of the manifest that is known before the run."""
        data = {"contract": CONTRACT_VERSION, "premask": __version__, **dataclasses.asdict(self)}
        if not self.evaluation_sets:
            del data["evaluation_sets"]
        return dict(json.loads(json.dumps(data)))

    @property
    def key(self) -> str:
        """sha256 of everything in it."""
        return key_of(self.as_dict())

    @property
    def unit_key(self) -> str:
        """The same for finished units: sha256 of everything in it and this package's code."""
        return hashlib.sha256(f"{self.key} {code_hash()}".encode()).hexdigest()


def identify(
    recipe: Recipe,
    *,
    inputs: Sequence[Mapping[str, Any]],
    tokenizer: Mapping[str, Any],
    template: Mapping[str, Any],
    evaluation_sets: Sequence[Mapping[str, Any]] = (),
) -> RunIdentity:
    """Describe a run: its recipe without `OTHER_KEYS`, what it reads, and the installed versions.

    `inputs` are those of `SourceInfo.about`; `tokenizer` has at least `name`, `sha256` and `vocab_size`,
    `template` at least `sha256`.
    """
    settings = recipe.model_dump(mode="json", exclude=set(OTHER_KEYS))
    signing = ("rensa",) if recipe.near_duplicates is not None else ()
    return RunIdentity(settings, inputs, tokenizer, template, versions(*signing), evaluation_sets)


def key_of(identity: Mapping[str, Any]) -> str:
    """Return the key of a run, given what `RunIdentity.as_dict` or `Manifest.identity` has of it."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def differences(there: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say in which settings, inputs and versions two runs differ, with both values."""
    return [
        f"{name} was {before}, now {after}"
        for name, *values in _changes("", _flat(there), _flat(now))
        for before, after in [_shortened(*map(_text, values))]
    ]


def _changes(name: str, before: object, after: object) -> Iterator[tuple[str, object, object]]:
    """Yield the name and both values of what differs; of mappings, that of each key."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in sorted(before.keys() | after.keys()):
            inner = f"{name}.{key}" if name else key
            yield from _changes(inner, before.get(key, "nothing"), after.get(key, "nothing"))
    elif before != after:
        yield name, before, after


def _flat(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Name everything that decides the bytes of a run; keys of the recipe keep their own name."""
    parts = ("tokenizer", "template", "versions")
    flat = {f"{part} {key}": value for part in parts for key, value in manifest.get(part, {}).items()}
    flat |= {
        f"input {file['source']}": file["sha256"] or file.get("version")
        for file in manifest.get("inputs", [])
    }
    flat |= {
        f"the code of {file['map']['function']} for {file['source']}": file["map"]["sha256"]
        for file in manifest.get("inputs", [])
        if file.get("map")
    }
    flat |= {
        f"evaluation set {file['source']}": file["sha256"] or file.get("version")
        for file in manifest.get("evaluation_sets", [])
    }
    return {**flat, **manifest["recipe"], "premask": manifest["premask"]}


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _shortened(before: str, after: str) -> tuple[str, str]:
    """Cut two texts to at most 60 characters each, where they differ.

    >>> _shortened("a" * 99, "b")[0][-5:]
    'aa...'
    >>> _shortened("a" * 99 + "b", "a" * 99 + "c")
    ('...aaaaaaaaaaaaaaaaaaaab', '...aaaaaaaaaaaaaaaaaaaac')
    """
    same = len(commonprefix([before, after]))
    start = same - 20 if same > 40 and max(len(before), len(after)) > 60 else 0
    cut = [f"...{text[start:]}" if start else text for text in (before, after)]
    one, other = (text if len(text) <= 60 else f"{text[:57]}..." for text in cut)
    return one, other
