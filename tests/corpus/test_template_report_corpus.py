"""The verdicts of `premask template` are what a run does: over the templates of the shared folder, each probe is
examined, and taken through the batches of a run.

A part of the templates is tested; `PREMASK_ALL_TEMPLATES=1 pytest tests/corpus/test_template_report_corpus.py`
tests all of them.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from inputs import batch_of
from places import SHARED, MakeLabeller
from premask.core.errors import TemplateError
from premask.core.records import PROOFS, Row
from premask.labeller import Labeller
from premask.review.capabilities import VERDICTS, Capability
from premask.review.probes import WORDS, probes
from premask.review.template_report import diagnose
from premask.running.batches import BatchLabeller

FOLDERS = ("templates", "templates_2026")
STEP = 1 if os.environ.get("PREMASK_ALL_TEMPLATES") else 12
"""One in so many templates is tested."""

OPEN_REASONING = ("reject", "compose", "as-rendered")


def templates() -> list[Any]:
    """Every `STEP`th template of the shared folder, each text once."""
    texts: dict[bytes, Path] = {}
    for folder in FOLDERS:
        for path in sorted((SHARED / "corpus" / folder).rglob("*.jinja")):
            texts.setdefault(path.read_bytes(), path)
    paths = list(texts.values())[::STEP]
    names = [str(path.relative_to(SHARED / "corpus").with_suffix("")) for path in paths]
    found = [pytest.param(path, id=name) for path, name in zip(paths, names, strict=True)]
    return found or [pytest.param(None, id="none", marks=pytest.mark.skip(f"{SHARED} is not there"))]


@pytest.mark.parametrize("path", templates())
def test_the_verdict_on_a_probe_is_what_a_run_does(make_labeller: MakeLabeller, path: Path) -> None:
    choice = OPEN_REASONING[len(path.name) % 3]  # each of them for a third of the templates
    try:
        labeller = make_labeller(
            "sample", chat_template=str(path), open_reasoning=choice, max_length=1_000_000
        )
    except TemplateError as error:
        assert "syntax error in line" in str(error)  # noqa: PT017
        return
    found = diagnose(labeller)

    assert tuple(found.capabilities) == tuple(probes("<|im_end|>"))
    assert found.verdict in {*VERDICTS, "exact with split", "open reasoning"} - {"split"}
    assert {name: _told(each) for name, each in found.capabilities.items()} == _run(
        labeller, {name: each.row for name, each in found.capabilities.items()}
    )
    assert all(each.verdict in VERDICTS for each in found.capabilities.values())
    for each in found.capabilities.values():
        _check_difference(each)
    for stretch in _trained(found.capabilities["two turns"]):
        assert "quixotry" not in stretch
        assert "wombatish" not in stretch
    assert json.loads(json.dumps(found.as_dict()))["verdict"] == found.verdict


Outcome = Counter[str] | tuple[str, str]
"""The proofs of the samples of a row, or why it is refused."""


def _told(found: Capability) -> Outcome:
    """What the report says of a probe."""
    if found.reason:
        assert (found.verdict, found.samples) == ("refused", ())
        return found.reason, found.detail
    return Counter(sample.proof for sample in found.samples)


def _run(labeller: Labeller, rows: dict[str, Any]) -> dict[str, Outcome]:
    """What the batches of a run make of the probes."""
    batch = batch_of([Row("probes", number, dict(row)) for number, row in enumerate(rows.values())], "openai")
    done = BatchLabeller(labeller).run(batch, "openai")
    rejected: dict[int, Outcome] = {line.row: (line.reason, line.detail) for line in done.rejects}
    return {name: rejected.get(at) or _proofs(done, at) for at, name in enumerate(rows)}


def _proofs(done: Any, row: int) -> Counter[str]:
    own = np.flatnonzero(done.of_row == row)
    tally = {proof: done.tally.get(f"proved_{proof}") for proof in PROOFS}
    counts = {proof: int(each[own].sum()) for proof, each in tally.items() if each is not None}
    return Counter({proof: count for proof, count in counts.items() if count})


def _check_difference(found: Capability) -> None:
    """Both texts are the same up to the difference, and not behind it."""
    difference = found.difference
    if difference is None:
        return
    assert difference.prompt[: difference.same] == difference.shown[: difference.same]
    assert difference.prompt[difference.same :] != difference.shown[difference.same :]
    assert found.verdict not in ("exact", "generation tags")
    assert set(found.lost) <= set(WORDS)


def _trained(found: Capability) -> list[str]:
    return [sample.text[turn.start : turn.end] for sample in found.samples for turn in sample.turns]
