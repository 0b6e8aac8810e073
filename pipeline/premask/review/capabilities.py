"""What a run does with one kind of row: a probe that takes the way of data, and what came of it.

    found = examine(labeller, probe)
    found.verdict       one of `VERDICTS`
    found.detail        why, in a sentence

The probe goes through the same stages as a row of a run, with the settings of the same recipe, so a run with
this recipe does the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..core.errors import RowError
from ..core.records import Conversation, Row, Sample
from ..labeller import LabelledSample, Labeller, settle
from .differences import Difference, find_difference
from .probes import NAMED_IDS, words_of
from .probes import Row as Probe

VERDICTS = (
    *("exact", "generation tags", "as rendered", "split", "composed", "dropped", "behind another prompt"),
    "refused",
)
"""What becomes of a probe, from the best to the worst.

exact                  kept; each turn is trained behind its prompt at inference, in one sample
generation tags        kept; trained is what the template encloses in its tags, which are trusted
as rendered            kept; trained is what the whole text shows, by the recipe (`history: as-rendered`)
split                  kept; turns that history shows differently are samples of their own
composed               kept; prompt and completion of a turn are put together, because no render shows both
dropped                kept, although words of the row are not in the text
behind another prompt  kept; a turn is trained behind another prompt than inference shows
refused                the run rejects such rows
"""


@dataclass(frozen=True)
class Capability:
    """What a run does with rows like a probe.

    verdict     one of `VERDICTS`
    reason      why it is refused: a reason of the reject log; empty if it is kept
    detail      the refusal, or what else is to be known
    lost        words of the probe that are in no text
    difference  where the template shows a turn differently than inference does
    samples     the samples; none if it is refused
    row         the probe
    """

    verdict: str
    reason: str = ""
    detail: str = ""
    lost: tuple[str, ...] = ()
    difference: Difference | None = None
    samples: tuple[Sample, ...] = ()
    row: Probe = field(default_factory=dict, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Return the capability as JSON values, without its samples."""
        found = self.difference
        return {
            "verdict": self.verdict,
            "reason": self.reason or None,
            "detail": self.detail,
            "lost": list(self.lost),
            "message": found and found.message,
            "prompt": found and found.prompt,
            "shown": found and found.shown,
            "same": found and found.same,
        }


def examine(labeller: Labeller, probe: Probe, other: Probe) -> Capability:
    """Take a probe through the stages of a run, and `other` if the probe is refused: the same with ids that
    name the tools. It never raises `RowError`: a refusal is a result."""
    found = _examined(labeller, probe)
    if not found.reason or other == probe:
        return replace(found, row=probe)
    with_names = _examined(labeller, other)
    if with_names.reason == "template_error" or with_names.detail == found.detail:
        return replace(found, row=probe)
    note = "" if with_names.reason else f"call ids such as {NAMED_IDS[0]}"
    return replace(with_names, row=other, detail="; ".join(filter(None, [note, with_names.detail])))


def _examined(labeller: Labeller, probe: Probe) -> Capability:
    try:
        conversations, _ = labeller.read(Row("probe", 0, dict(probe)), "openai")
    except RowError as error:
        return Capability("refused", error.reason, error.detail)
    (conversation,) = conversations
    try:
        labelled = labeller.together(conversations)
    except RowError as error:
        lost = _lost(conversation, _whole(labeller, conversation))
        difference = _difference(labeller, conversation, ())
        return Capability("refused", error.reason, error.detail, lost, difference)
    return _kept(labeller, conversation, labelled)


def _kept(labeller: Labeller, conversation: Conversation, labelled: Sequence[LabelledSample]) -> Capability:
    samples = tuple(each.sample for each in labelled)
    proved = all(sample.proof in ("inference", "generation-tags") for sample in samples)
    difference = None if proved else _difference(labeller, conversation, samples)
    last = max(turn.message for sample in samples for turn in sample.turns)
    before = replace(conversation, messages=conversation.messages[: last + 1])
    lost = _lost(before, [sample.text for sample in samples])
    return Capability(
        verdict_of(samples, differs=difference is not None),
        detail="; ".join([*_notes(samples), *_seams(labeller, labelled)]),
        lost=lost,
        difference=difference,
        samples=samples,
    )


def verdict_of(samples: Sequence[Sample], *, differs: bool) -> str:
    """Return the verdict on a row that is kept. `differs` says that a turn has a `Difference`."""
    counts, proofs = _counts(samples), {sample.proof for sample in samples}
    found = {
        "behind another prompt": counts["turns_behind_another_prompt"]
        or ("as-rendered" in proofs and differs),
        "dropped": _dropped(counts),
        "composed": "composed" in proofs,
        "split": len(samples) > 1 or "split" in proofs,
        "as rendered": "as-rendered" in proofs,
        "generation tags": "generation-tags" in proofs,
    }
    return next((verdict for verdict, holds in found.items() if holds), "exact")


def _dropped(counts: Counter[str]) -> list[str]:
    """Return the counts of text that is not printed; that of earlier reasoning is not lost."""
    return [name for name in counts if name.startswith("dropped_") and name != "dropped_reasoning"]


def _counts(samples: Sequence[Sample]) -> Counter[str]:
    return sum((Counter(sample.counts) for sample in samples), Counter[str]())


def _notes(samples: Sequence[Sample]) -> Iterator[str]:
    """Yield what a run counts of a row that is kept."""
    if len(samples) > 1:
        yield f"{len(samples)} samples"
    counts = _counts(samples)
    if behind := counts["turns_behind_another_prompt"]:
        yield f"{behind} trained behind another prompt"
    if empty := counts["empty_turns"]:
        yield f"{empty} empty turn left out of the loss"
    if opening := counts["opening_turns"]:
        yield f"{opening} opening turn left out of the loss"
    if counts["dropped_reasoning"]:
        yield "history shows no earlier reasoning"
    dropped = [name.removeprefix("dropped_").replace("_", " ") for name in _dropped(counts)]
    if dropped:
        yield f"dropped: {', '.join(dropped)}"


def _seams(labeller: Labeller, labelled: Sequence[LabelledSample]) -> Iterator[str]:
    """Yield the tokens of the whole text that the edge of a completion cuts, if there are any."""
    cut = [token for each in labelled for token in _straddling(labeller, each.sample)]
    if cut:
        yield f"a turn edge is inside the token {', '.join(map(repr, dict.fromkeys(cut)))}"


def _straddling(labeller: Labeller, sample: Sample) -> Iterator[str]:
    encoded = labeller.tokenizer.backend.encode(sample.text, add_special_tokens=False)
    for start, end in encoded.offsets:
        if any(start < seam < end for seam in sample.seams):
            yield sample.text[start:end]


# ==== The texts ====


def _difference(
    labeller: Labeller, conversation: Conversation, samples: Sequence[Sample]
) -> Difference | None:
    try:
        renders = labeller.renders(settle(labeller, conversation))
    except RowError:
        return None
    return find_difference(renders, samples, labeller.eos)


def _lost(conversation: Conversation, texts: Sequence[str]) -> tuple[str, ...]:
    """Return the words of a conversation that are in none of the texts."""
    if not texts:
        return ()
    held = [conversation.tools, *map(_fields, conversation.messages)]
    shown = set(words_of(texts))
    return tuple(word for word in words_of(held) if word not in shown)


def _fields(message: Any) -> list[Any]:
    return [message.content, message.reasoning, message.tool_calls, message.name]


def _whole(labeller: Labeller, conversation: Conversation) -> list[str]:
    """Return the text of a whole conversation; nothing if the template refuses it."""
    try:
        settled = settle(labeller, conversation)
        return [labeller.renders(settled).through(len(settled.messages) - 1)]
    except RowError:
        return []
