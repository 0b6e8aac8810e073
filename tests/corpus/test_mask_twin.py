"""The decision against its readable twin: P and C of each turn, over templates and conversations of all kinds."""

from __future__ import annotations

from collections import Counter

import pytest
from conversation_kinds import KINDS
from mask_survey import labeller_of, samples_of
from premask.core.records import Row, Sample
from premask.labeller import settle
from premask.masking.educational import prompt_and_completion
from template_corpus import CORPUS

SETTINGS = {"on_dropped": "count"}
SOME = sorted(CORPUS)[::14]


@pytest.mark.skipif(not CORPUS, reason="the corpus of chat templates in ../shared is not here")
def test_each_turn_is_the_prompt_and_the_completion_of_the_twin() -> None:
    compared: Counter[str] = Counter()
    for file in SOME:
        for kind in KINDS:
            compared.update(_compare(file, kind))

    assert compared["equal"] > 1200
    assert compared["composed"] > 50
    assert compared["without header"] < compared["equal"] / 20


def _compare(file: str, kind: str) -> Counter[str]:
    found: Counter[str] = Counter()
    try:
        samples = samples_of(file, KINDS[kind], **SETTINGS)
    except Exception:  # noqa: BLE001  the template does not compile, or refuses the row
        return found
    labeller = labeller_of(file, tuple(sorted(SETTINGS.items())))
    (conversation,), _ = labeller.read(Row("chats.jsonl", 0, KINDS[kind].as_row()), "openai")
    renders = labeller.renders(settle(labeller, conversation))
    for sample in samples:
        for message, (start, end) in _completions(sample).items():
            twin = prompt_and_completion(renders, message, labeller.rules)
            if twin is None:
                found["without header"] += 1
                continue
            own, completion = sample.text[start:end], twin[1]
            opened = own.startswith(completion) and own[len(completion) :].strip() in labeller.ends.openers
            assert sample.text[:start] == twin[0], (file, kind, message)
            assert own in (completion, completion.lstrip()) or opened, (file, kind, message)
            found.update(["equal", sample.proof])
    return found


def _completions(sample: Sample) -> dict[int, tuple[int, int]]:
    """The completion of each message: its stretches, up to the seams around them."""
    found: dict[int, tuple[int, int]] = {}
    for message, start, end in sample.turns:
        first = max(seam for seam in sample.seams if seam <= start)
        last = min(seam for seam in sample.seams if seam >= end)
        found[message] = found.get(message, (first, 0))[0], last
    return found
