"""Template report: what a chat template does, found by rendering probe conversations.

    diagnosis = diagnose(labeller)
    diagnosis.verdict        "exact", "exact with split" or "refused"

`premask template TOKENIZER` prints it. Probes go through the same stages as data. Their texts are words that
no template prints, so the rendered text shows which of them are kept.

Cost: about thirty renders.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..core.errors import RowError
from ..core.records import Conversation, Message, Sample
from ..labeller import Labeller, settle

_USER, _ANSWER = Message("user", "quixotry"), Message("assistant", "zephyrean")
_USER2, _ANSWER2 = Message("user", "wombatish"), Message("assistant", "jackdawed")
_CALL = {
    "type": "function",
    "id": "abc123def",  # some templates require nine letters and digits
    "function": {"name": "fathomer", "arguments": {"depthwise": "sixpenny"}},
}
_TOOLS = (
    {
        "type": "function",
        "function": {
            "name": "fathomer",
            "description": "Sound the plumbless.",
            "parameters": {
                "type": "object",
                "properties": {"depthwise": {"type": "string", "description": "How deep."}},
                "required": ["depthwise"],
            },
        },
    },
)

PLAIN = Conversation((_USER, _ANSWER, _USER2, _ANSWER2))
WITH_TOOLS = Conversation(
    (
        _USER,
        Message("assistant", tool_calls=(_CALL,)),
        Message("tool", "brambling", tool_call_id="abc123def", name="fathomer"),
        _ANSWER2,
    ),
    tools=_TOOLS,
)
WITH_REASONING = Conversation(
    (
        _USER,
        Message("assistant", "zephyrean", reasoning="mulling"),
        _USER2,
        Message("assistant", "jackdawed", reasoning="pondering"),
    )
)


@dataclass(frozen=True)
class Diagnosis:
    """The result of a template report.

    verdict            "exact", "exact with split" or "refused"
    generation_prompt  what the template prints before an answer
    turn_ends          strings that end a turn
    takes              kind of input -> "taken", "partly dropped", "dropped" or "refused: ..."
    habits             what the template does to text
    warnings           those of a run with this template
    refusals           probe conversation -> why it was refused
    samples            probe conversation -> its samples, with their trained stretches
    """

    verdict: str
    generation_prompt: str
    turn_ends: tuple[str, ...]
    takes: Mapping[str, str]
    habits: Mapping[str, str]
    warnings: tuple[str, ...]
    refusals: Mapping[str, str]
    samples: Mapping[str, tuple[Sample, ...]] = field(repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Return the diagnosis as JSON values."""
        samples = {
            name: [{"text": s.text, "turns": [turn._asdict() for turn in s.turns]} for s in of_name]
            for name, of_name in self.samples.items()
        }
        plain = ("verdict", "generation_prompt", "turn_ends", "takes", "habits", "warnings", "refusals")
        return {**{name: _plain(getattr(self, name)) for name in plain}, "samples": samples}


def diagnose(labeller: Labeller) -> Diagnosis:
    """Test a template with probe conversations. It never raises: refusals are part of the result."""
    probes = {"plain": PLAIN, "tools": WITH_TOOLS, "reasoning": WITH_REASONING}
    samples: dict[str, tuple[Sample, ...]] = {}
    refusals: dict[str, str] = {}
    for name, conversation in probes.items():
        try:
            samples[name] = labeller.decide(conversation)
        except RowError as error:
            refusals[name] = str(error)
    return Diagnosis(
        verdict=_verdict(samples),
        generation_prompt=_generation_prompt(labeller),
        turn_ends=labeller.ends.stops,
        takes=_takes(labeller),
        habits=_habits(labeller, samples),
        warnings=tuple(labeller.warnings()),
        refusals=refusals,
        samples=samples,
    )


def _verdict(samples: Mapping[str, tuple[Sample, ...]]) -> str:
    if "plain" not in samples:
        return "refused"
    return "exact with split" if any(len(each) > 1 for each in samples.values()) else "exact"


def _generation_prompt(labeller: Labeller) -> str:
    try:
        renders = labeller.renders(Conversation((_USER, _ANSWER)))
        prompt, before = renders.prompt(1), renders.through(0)
    except RowError:
        return ""
    return prompt.removeprefix(before) if prompt.startswith(before) else prompt.rpartition("quixotry")[2]


def _takes(labeller: Labeller) -> dict[str, str]:
    """Return the result for each kind of input: taken, dropped, or refused with the message of the
    template."""
    system, developer = Message("system", "oversight"), Message("developer", "oversight")
    inline = Message("assistant", "<think>\nmulling\n</think>\n\nzephyrean")
    probes = {
        "user and assistant": (PLAIN, "quixotry zephyrean wombatish jackdawed"),
        "system": (Conversation((system, *PLAIN.messages)), "oversight"),
        "developer": (Conversation((developer, *PLAIN.messages)), "oversight"),
        "tools": (Conversation((_USER, _ANSWER), tools=_TOOLS), "fathomer plumbless"),
        "tool calls": (WITH_TOOLS, "fathomer sixpenny"),
        "tool results": (WITH_TOOLS, "brambling"),
        "reasoning": (WITH_REASONING, "pondering"),
        "reasoning in history": (WITH_REASONING, "mulling"),
        "reasoning within the text": (Conversation((_USER, inline)), "mulling"),
        "two users in a row": (Conversation((_USER, _USER2, _ANSWER)), "quixotry wombatish"),
        "assistant first": (Conversation((_ANSWER, _USER2, _ANSWER2)), "zephyrean"),
    }
    return {
        name: _fate(labeller, conversation, words.split()) for name, (conversation, words) in probes.items()
    }


def _fate(labeller: Labeller, conversation: Conversation, words: list[str]) -> str:
    try:
        text = _whole(labeller, conversation)
    except RowError as error:
        return f"refused: {error.detail}"
    shown = [word for word in words if word in text]
    return "taken" if len(shown) == len(words) else "partly dropped" if shown else "dropped"


def _habits(labeller: Labeller, samples: Mapping[str, tuple[Sample, ...]]) -> dict[str, str]:
    return {
        "trims content": _trims(labeller),
        "rewrites history": _rewrites(samples),
        "keeps the order of messages": _keeps_order(labeller),
        "prints a date": _prints_date(labeller),
        "marks generated text itself": "yes" if labeller.template.has_generation_tags else "no",
    }


def _trims(labeller: Labeller) -> str:
    text = " \n quixotry \n "
    try:
        trimmed = [
            message.role
            for i, message in enumerate(PLAIN.messages[:2])
            if text not in _whole(labeller, _with_content(PLAIN.messages[:2], i, text))
        ]
    except RowError:
        return "unknown"
    return f"of {' and '.join(trimmed)}" if trimmed else "no"


def _with_content(messages: tuple[Message, ...], index: int, text: str) -> Conversation:
    changed = Message(messages[index].role, text)
    return Conversation((*messages[:index], changed, *messages[index + 1 :]))


def _rewrites(samples: Mapping[str, tuple[Sample, ...]]) -> str:
    names = [name for name, of_name in samples.items() if len(of_name) > 1]
    return f"in conversations of kind {', '.join(names)}" if names else "no" if samples else "unknown"


def _keeps_order(labeller: Labeller) -> str:
    try:
        text = _whole(labeller, PLAIN)
    except RowError:
        return "unknown"
    positions = [text.find(message.content or "") for message in PLAIN.messages]
    return "yes" if positions == sorted(positions) else "no"


def _prints_date(labeller: Labeller) -> str:
    try:
        text = _whole(labeller, PLAIN)
        other = labeller.template.on(_another_day(labeller.recipe.date))
        return (
            "no"
            if labeller.renders(PLAIN, other).through(3) == text
            else f"yes, that of {labeller.recipe.date}"
        )
    except RowError:
        return "unknown"


def _another_day(date: datetime.date) -> datetime.date:
    """Return a day with another year, month and weekday, within the range of Python's dates.

    >>> _another_day(datetime.date(2025, 1, 1)).strftime("%a %d %b %Y")
    'Thu 05 Feb 2026'
    """
    days = datetime.timedelta(days=400)
    return date + days if date.year < datetime.MAXYEAR - 1 else date - days


def _whole(labeller: Labeller, conversation: Conversation) -> str:
    return labeller.renders(settle(labeller, conversation)).through(len(conversation.messages) - 1)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else dict(value) if isinstance(value, Mapping) else value
