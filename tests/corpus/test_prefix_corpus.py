"""All prefixes in one run, over the chat templates of the shared folder.

Every version of a conversation that a run follows must print what a plain render of it prints, with the same
origins. Each template is tried on some of the kinds of conversations; `python tests/support/prefix_survey.py`
tries all.
"""

from __future__ import annotations

from collections import Counter

import pytest
from conversation_kinds import KINDS
from mask_survey import labeller_of
from prefix_checks import conversation_of
from prefix_survey import compared, cut, files
from premask.core.errors import RowError
from premask.core.records import Sample
from premask.masking.completions import decide
from premask.masking.prefixes.renders import PrefixRenders, PrefixTemplate
from premask.masking.renders import Renders
from template_corpus import CORPUS

pytestmark = pytest.mark.skipif(not CORPUS, reason="the corpus of chat templates in ../shared is not here")

NAMES = sorted(KINDS)


def kinds_of(number: int, step: int) -> list[str]:
    """Some of the kinds: others for each template."""
    return NAMES[number % step :: step]


def test_nearly_all_templates_are_followed() -> None:
    reasons = Counter(reason for file in files() for reason in cut(file).unsplit.values())

    assert reasons.total() < len(files()) / 50, reasons


def test_every_version_prints_what_a_plain_render_prints() -> None:
    found: Counter[str] = Counter()
    for number, file in enumerate(files()):
        for kind in kinds_of(number, 15):
            found += compared(cut(file), conversation_of(kind))

    assert found["different"] == 0
    assert found["equal"] > 10_000
    assert found["the plain way"] < found["conversations"] / 10


def test_decisions_are_the_same() -> None:
    """The whole decision, with windows, against the one on plain renders."""
    equal: Counter[str] = Counter()
    for number, file in enumerate(files()[::9]):
        labeller = labeller_of(file, (("on_dropped", "count"), ("open_reasoning", "compose")))
        template = PrefixTemplate(labeller.template)
        for kind in kinds_of(number, 12):
            conversation = conversation_of(kind)
            given = conversation, labeller.template_arguments(conversation)
            own = PrefixRenders(given[0], template, given[1], labeller.parts)
            plain = Renders(given[0], labeller.template, given[1], labeller.parts)
            results = [_decided(each, labeller.rules) for each in (own, plain)]

            assert results[0] == results[1], (file, kind)
            equal[type(results[0]).__name__] += 1

    assert equal["list"] > 150
    assert equal["tuple"] > 10


def _decided(renders: Renders, rules: object) -> list[Sample] | tuple[str, str]:
    try:
        return list(decide(renders, rules))  # type: ignore[arg-type]
    except RowError as error:
        return error.reason, error.detail
