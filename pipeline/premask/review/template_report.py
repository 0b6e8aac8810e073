"""Template report: what a chat template does, found by rendering probe rows.

    diagnosis = diagnose(labeller)
    diagnosis.verdict                           "exact", "exact with split", "composed", ..., "refused"
    diagnosis.capabilities["parallel calls"]    what a run does with such rows

`premask template TOKENIZER` prints it. The probes (`probes.py`) take the way of data (`capabilities.py`), so
a run with the same recipe does the same.

Cost: a few hundred renders.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any

from ..core.errors import RowError
from ..core.recipe import OpenReasoning
from ..core.records import Conversation, Message, Row, Sample
from ..labeller import Labeller
from .argument_report import Argument, read_arguments
from .capabilities import VERDICTS, Capability, examine
from .habits import find_habits, whole_text
from .probes import NAMED_IDS, PLAIN, probes

_USER, _ANSWER = Message("user", "quixotry"), Message("assistant", "zephyrean")

_TAKES = {
    "user and assistant": ("two turns", "quixotry zephyrean wombatish jackdawed"),
    "system": ("system", "oversighted"),
    "developer": ("developer", "oversighted"),
    "tools": ("tools", "fathomer plumbless"),
    "tool calls": ("tool result", "fathomer sixpenny"),
    "tool results": ("tool result", "brambling"),
    "reasoning": ("reasoning in each turn", "pondersome"),
    "reasoning in history": ("reasoning in each turn", "mullingly"),
    "reasoning within the text": ("reasoning within the text", "mullingly"),
    "two users in a row": ("two users in a row", "quixotry wombatish"),
    "assistant first": ("assistant first", "zephyrean"),
}
"""Kind of input -> the probe that has it, and the words that the template takes or drops."""


@dataclass(frozen=True)
class Reasoning:
    """How a template writes reasoning.

    opens, closes  strings that open and close a block of it
    prompt         what the generation prompt does: "opens a block", "closes a block" or "has no block"
    """

    opens: tuple[str, ...]
    closes: tuple[str, ...]
    prompt: str


@dataclass(frozen=True)
class Diagnosis:
    """The result of a template report.

    verdict            the worst on users and assistants who take turns: one of `VERDICTS`, but "exact with
                       split" for "split", and "open reasoning" if the prompt opens a block of reasoning
    generation_prompt  what the template prints before an answer
    turn_ends          strings that end a turn
    takes              kind of input -> "taken", "partly dropped", "dropped" or "refused: ..."
    habits             what the template does to text
    warnings           those of a run with this template
    parts              roles whose content it takes as a list of parts only
    arguments          name of an argument that it reads -> what `auto` chooses for it, None if nothing
    reasoning          how it writes reasoning
    open_reasoning     value of this recipe key -> the sample of an answer without reasoning, if the prompt
                       opens a block of it
    capabilities       probe -> what a run does with such rows
    """

    verdict: str
    generation_prompt: str
    turn_ends: tuple[str, ...]
    takes: Mapping[str, str]
    habits: Mapping[str, str]
    warnings: tuple[str, ...]
    parts: tuple[str, ...]
    arguments: Mapping[str, Argument | None]
    reasoning: Reasoning
    open_reasoning: Mapping[str, Sample]
    capabilities: Mapping[str, Capability] = field(repr=False)

    @property
    def refusals(self) -> dict[str, str]:
        """Probe -> why it is refused."""
        refused = {name: each for name, each in self.capabilities.items() if each.reason}
        return {name: f"{each.reason}: {each.detail}" for name, each in refused.items()}

    @property
    def samples(self) -> dict[str, tuple[Sample, ...]]:
        """Probe -> its samples, with their trained spans."""
        return {name: each.samples for name, each in self.capabilities.items() if each.samples}

    @property
    def is_refused(self) -> bool:
        """Whether a run refuses plain rows."""
        return self.verdict in ("refused", "open reasoning")

    def as_dict(self) -> dict[str, Any]:
        """Return the diagnosis as JSON values."""
        plain = ("verdict", "generation_prompt", "turn_ends", "takes", "habits", "warnings", "refusals")
        reasoning = {key: _plain(value) for key, value in vars(self.reasoning).items()}
        arguments = {name: found and found._asdict() for name, found in self.arguments.items()}
        return {
            **{name: _plain(getattr(self, name)) for name in plain},
            "samples": {name: [*map(_sample, samples)] for name, samples in self.samples.items()},
            "parts": list(self.parts),
            "arguments": arguments,
            "reasoning": reasoning,
            "open_reasoning": {name: _sample(sample) for name, sample in self.open_reasoning.items()},
            "capabilities": {name: each.as_dict() for name, each in self.capabilities.items()},
        }


def _sample(sample: Sample) -> dict[str, Any]:
    return {"text": sample.text, "turns": [turn._asdict() for turn in sample.turns]}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else dict(value) if isinstance(value, Mapping) else value


def diagnose(labeller: Labeller) -> Diagnosis:
    """Test a template with probe rows. It never raises `RowError`: refusals are part of the result."""
    control = next(iter((*labeller.tokenizer.special, *labeller.ends.stops)), "<|im_end|>")
    rows = probes(control)
    others = probes(control, NAMED_IDS)
    capabilities = {name: examine(labeller, row, others[name]) for name, row in rows.items()}
    generation_prompt = _generation_prompt(labeller)
    reasoning = _reasoning(labeller, generation_prompt)
    return Diagnosis(
        verdict=_verdict(capabilities),
        generation_prompt=generation_prompt,
        turn_ends=labeller.ends.stops,
        takes={name: _fate(labeller, rows[probe], words) for name, (probe, words) in _TAKES.items()},
        habits=find_habits(labeller, capabilities),
        warnings=tuple(labeller.warnings()),
        parts=tuple(sorted(labeller.parts)),
        arguments=read_arguments(labeller, rows),
        reasoning=reasoning,
        open_reasoning=_open_reasoning(labeller) if reasoning.prompt == "opens a block" else {},
        capabilities=capabilities,
    )


def _verdict(capabilities: Mapping[str, Capability]) -> str:
    """Return the worst verdict on a plain probe."""
    worst = max((capabilities[name] for name in PLAIN), key=lambda found: VERDICTS.index(found.verdict))
    if worst.reason == "open_reasoning":
        return "open reasoning"
    return "exact with split" if worst.verdict == "split" else worst.verdict


# ==== Reasoning ====


def _generation_prompt(labeller: Labeller) -> str:
    try:
        renders = labeller.renders(Conversation((_USER, _ANSWER)))
        prompt, before = renders.prompt(1), renders.through(0)
    except RowError:
        return ""
    return prompt.removeprefix(before) if prompt.startswith(before) else prompt.rpartition("quixotry")[2]


def _reasoning(labeller: Labeller, generation_prompt: str) -> Reasoning:
    marks = labeller.rules.marks
    states = {"open": "opens a block", "closed": "closes a block", "": "has no block"}
    return Reasoning(marks.opens, marks.closes, states[marks.state(generation_prompt)])


def _open_reasoning(labeller: Labeller) -> dict[str, Sample]:
    """Return the sample of an answer without reasoning under the settings that keep it."""
    found = {}
    for choice in (OpenReasoning.compose, OpenReasoning.as_rendered):
        other = copy(labeller)
        other.rules = replace(labeller.rules, open_reasoning=choice)
        try:
            (found[choice.value],) = other.decide(Conversation((_USER, _ANSWER)))
        except RowError:
            continue
    return found


# ==== What it takes ====


def _fate(labeller: Labeller, row: Mapping[str, Any], words: str) -> str:
    try:
        (conversation,), _ = labeller.read(Row("probe", 0, dict(row)), "openai")
        text = whole_text(labeller, conversation)
    except RowError as error:
        return f"refused: {error.detail}"
    shown = [word in text for word in words.split()]
    return "taken" if all(shown) else "partly dropped" if any(shown) else "dropped"
