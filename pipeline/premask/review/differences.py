"""Where a chat template shows a turn differently than the model sees and writes it at inference.

    found = find_difference(renders, samples)
    found.prompt[: found.same] == found.shown[: found.same]      # both up to the difference

At inference the model sees the prompt of the turn, and writes the completion. The template may show something
else at this place: in the text that ends with the turn, or in the whole conversation, where the turn is
history.
"""

from __future__ import annotations

from collections.abc import Sequence
from os.path import commonprefix
from typing import NamedTuple

from ..core.errors import RowError
from ..core.records import Sample
from ..masking.renders import Renders
from ..masking.seams import whole_marker

BEFORE, BEHIND = 120, 120
"""Characters that are shown before a difference, and from it on."""


class Difference(NamedTuple):
    """The first difference between a turn at inference and in a render.

    message  the message of the turn
    prompt   the text at inference, around the difference
    shown    what the template shows there
    same     how many characters of both are the same, from their start on
    history  whether the template shows it so only once the turn is history
    """

    message: int
    prompt: str
    shown: str
    same: int
    history: bool


def find_difference(renders: Renders, samples: Sequence[Sample], eos: str = "") -> Difference | None:
    """Return the difference of the first turn that has one; None if no turn has one, or if the template
    refuses the conversation. `eos` is what the recipe appends to a last turn."""
    for index, message in enumerate(renders.messages):
        if message.role == "assistant" and message.train is not False and message.says_something:
            try:
                found = _of_turn(renders, index, samples, eos)
            except RowError:
                continue
            if found is not None:
                return found
    return None


def _of_turn(renders: Renders, index: int, samples: Sequence[Sample], eos: str) -> Difference | None:
    expected = _at_inference(renders.prompt(index), index, samples, eos)
    for last in (index, len(renders.messages) - 1):
        text = renders.through(last)
        if not text.startswith(expected):
            return _difference(index, expected, text, history=last > index)
    return None


def _at_inference(prompt: str, index: int, samples: Sequence[Sample], eos: str) -> str:
    """Return the prompt of a turn, with its completion if a sample has both."""
    for sample in samples:
        ends = [turn.end for turn in sample.turns if turn.message == index]
        if ends and sample.text.startswith(prompt):
            text = sample.text[: max(ends)]
            return text.removesuffix(eos) if max(ends) == len(sample.text) else text
    return prompt


def _difference(index: int, expected: str, text: str, *, history: bool) -> Difference:
    same = whole_marker(expected, len(commonprefix([expected, text])))
    own = slice(max(same - BEFORE, 0), same + BEHIND)
    return Difference(index, expected[own], text[own], same - own.start, history)
