"""Which arguments a chat template reads, and what the value `auto` chooses for each.

    found = read_arguments(labeller)
    found["enable_thinking"].with_reasoning, found["enable_thinking"].without       # True, False

Whether rows are kept with these values is found with probes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..core.errors import RecipeError
from ..labeller import Labeller
from ..masking.reasoning_modes import Mode, find_mode
from ..masking.template_arguments import arguments_of, is_about_reasoning
from .capabilities import examine
from .probes import Row


class Argument(NamedTuple):
    """What `auto` chooses for an argument.

    with_reasoning, without  its values for rows with reasoning and without
    verdicts                 the verdicts on such rows, one `plain`, one `reasoning`
    """

    with_reasoning: Any
    without: Any
    verdicts: Mapping[str, str]


def read_arguments(labeller: Labeller, rows: Mapping[str, Row]) -> dict[str, Argument | None]:
    """Return the arguments that a template reads, by name; None if there is no `auto` for one. `rows` are the
    probes."""
    names = arguments_of(labeller.template)
    return {name: _argument(labeller, name, rows) if is_about_reasoning(name) else None for name in names}


def _argument(labeller: Labeller, name: str, rows: Mapping[str, Row]) -> Argument | None:
    try:
        mode = find_mode(labeller.template, name, renders=labeller.renders, decides=labeller.decide)
    except RecipeError:
        return None
    verdicts = {probe: _verdict(labeller, rows[probe], mode, probe) for probe in ("plain", "reasoning")}
    return Argument(mode.with_reasoning, mode.without, verdicts)


def _verdict(labeller: Labeller, row: Row, mode: Mode, probe: str) -> str:
    value = mode.value(reasoning=probe == "reasoning")
    with_value = {**row, "chat_template_kwargs": {mode.name: value}}
    return examine(labeller, with_value, with_value).verdict
