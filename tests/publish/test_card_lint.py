"""What a push says of a card that lacks something, and of paths in the manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from commands import premask
from huggingface_hub import DatasetCard, DatasetCardData
from outputs import identify, make_output, recipe_of
from premask.core.manifest import Manifest
from premask.core.recipe import Card
from premask.publish.card_lint import card_notes


def manifest_of(folder: Path, source: str = "chats.jsonl", **about: Any) -> Manifest:
    identity = identify(
        recipe_of(),
        inputs=[{"source": source, "bytes": 1, "sha256": "0" * 64}],
        tokenizer={"name": "tok", "sha256": "1" * 64, "vocab_size": 1, **about},
        template={"sha256": "2" * 64},
    )
    return Manifest.model_validate(make_output(folder / "out", identity=identity, source=source))


@pytest.mark.parametrize(
    ("front", "parts"),
    [
        ({}, ["names no license and no base_model; add them", "--card license=cc-by-4.0 --card base_model="]),
        ({"license": "mit"}, ["names no base_model; add it to the run: --card base_model=org/model"]),
        ({"license": "mit", "base_model": "o/m"}, []),
        ({"license": "my-own", "base_model": "o/m"}, ["may not know the license my-own", "license=other"]),
    ],
)
def test_the_notes(tmp_path: Path, front: dict[str, Any], parts: list[str]) -> None:
    notes = card_notes(front, manifest_of(tmp_path))

    assert len(notes) == min(len(parts), 1)
    assert all(part in notes[0] for part in parts)


def test_paths_of_this_machine_are_reported(tmp_path: Path) -> None:
    front = {"license": "mit", "base_model": "o/m"}
    (note,) = card_notes(front, manifest_of(tmp_path, source="/home/me/chats.jsonl"))

    assert (
        "manifest.json and lineage/ name files by their path on this machine: /home/me/chats.jsonl;" in note
    )


def test_the_base_model_is_that_of_the_tokenizer_unless_it_is_given(tmp_path: Path) -> None:
    manifest_of(tmp_path, hub="Qwen/Qwen3-0.6B")
    data = DatasetCard.load(tmp_path / "out" / "README.md").data
    other = Card.model_validate({"base_model": "org/tuned", "license": "mit"}).shown()
    make_output(tmp_path / "given", card=other)
    given = DatasetCard.load(tmp_path / "given" / "README.md").data

    assert data.to_dict()["base_model"] == "Qwen/Qwen3-0.6B"
    assert given.to_dict()["base_model"] == "org/tuned"
    assert DatasetCardData(**given.to_dict()).to_dict() == given.to_dict()


def test_a_push_says_it_in_one_line(tmp_path: Path) -> None:
    make_output(tmp_path / "out")
    done = premask("push", tmp_path / "out", f"file://{tmp_path}/store")

    assert done.code == 0, done.err
    assert done.err.count("note: the card names no license and no base_model;") == 1
