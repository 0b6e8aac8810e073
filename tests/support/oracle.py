"""What a mask must be, decided without the pipeline: plain transformers renders and unique words in the texts.

The definition, for assistant message i of a conversation (`inference.py` has P and S):

    the sample of message i is P(i) + C(i)
    C(i) is what the model has to write: all words of message i, in order, and the end of the turn

`judge` compares texts and their trained stretches with it, and asks whether every word of the conversation is
in a text that trains something behind it. `views` says what keeps a conversation from having a right mask.
Shares no code with `pipeline`; `judge` takes plain tuples.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os.path import commonprefix
from typing import NamedTuple

import reasoning_blocks
from conversation_kinds import ANY_WORD, NEVER_CALLED, Message, field_of, words
from inference import Inference
from reasoning_blocks import is_closed, is_open, prompt_tail

Turn = tuple[int, int, int]
"""A trained stretch: message, start, end."""


class Text(NamedTuple):
    """A sample of the pipeline: a text, its trained stretches, how it was proved, what was counted, and where
    its completions start and end (where parts of them are not trained)."""

    text: str
    turns: Sequence[Turn]
    proof: str = "inference"
    counts: Mapping[str, int] = {}
    seams: Sequence[int] = ()


class Endings(NamedTuple):
    """How the turns of a template end.

    is_end   whether a completion ends as it must, if the second text follows it
    openers  control tokens that can end a turn in place of a turn end
    """

    is_end: Callable[[str, str], bool]
    openers: Sequence[str] = ()


class Loss(NamedTuple):
    """Words of a message that a text does not show; the field is a letter, or `tools`."""

    message: int
    field: str


@dataclass
class Verdict:
    """What is wrong with the mask of a chat.

    wrong    what is wrong
    lost     what is lost in silence
    counted  what is lost, and was counted
    behind   messages that are trained behind another prompt than inference shows
    """

    wrong: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    counted: list[str] = field(default_factory=list)
    behind: list[int] = field(default_factory=list)


def judge(
    inference: Inference, samples: Sequence[Text], endings: Endings, *, behind: bool = False
) -> Verdict:
    """Compare trained stretches with the definition. `behind` allows answers behind a prompt that opens a
    reasoning block which the text does not show."""
    verdict = Verdict()
    counts: Counter[str] = Counter()
    for sample in samples:
        counts.update(sample.counts)
    losses = _unprinted(inference, samples)
    verdict.wrong += _judge_choice(inference, samples, counts, {loss.message for loss in losses})
    for sample in samples:
        completions = [each for each in _completions(sample) if each[0] < len(inference.messages)]
        verdict.wrong += _judge_text(inference, sample, completions)
        for completion in completions:
            found = [
                *_judge_start(inference, sample.text, completion, verdict.behind if behind else None),
                *_judge_words(inference, sample, completion),
                *_judge_end(inference, sample, completion, endings),
            ]
            verdict.wrong += [f"message {completion[0]}: {problem}" for problem in found]
            losses |= _losses(inference, sample.text, completion, completions)
    if len(verdict.behind) > counts["turns_behind_another_prompt"]:
        verdict.wrong.append(f"{verdict.behind} are behind another prompt, and not counted")
    _sort_losses(losses, counts, verdict)
    return verdict


def _completions(sample: Text) -> list[Turn]:
    """The completions of a sample: all stretches of a message as one, up to the seams around them."""
    edges: dict[int, list[int]] = defaultdict(list)
    for message, start, end in sample.turns:
        edges[message] += [
            max((seam for seam in sample.seams if seam <= start), default=start),
            min((seam for seam in sample.seams if seam >= end), default=end),
        ]
    return [(message, min(each), max(each)) for message, each in edges.items()]


# ==== Which turns ====


def _unprinted(inference: Inference, samples: Sequence[Text]) -> set[Loss]:
    """What is lost of turns that are to be trained and are not, because the template prints nothing of them."""
    trained = {message for sample in samples for message, _, _ in sample.turns}
    found = set()
    for i in inference.chat.wanted:
        message, through = inference.messages[i], inference.through(i) or ""
        added = through[len(commonprefix([inference.prompt(i) or "", through])) :]
        if i in trained or is_opening(inference.messages, i) or words(through, of=i):
            continue
        found |= {Loss(i, field_of(word)) for word in words_of(message)}
        if lost_names(message, added):
            found.add(Loss(i, "t"))
    return found


def _judge_choice(
    inference: Inference, samples: Sequence[Text], counts: Mapping[str, int], unprinted: set[int]
) -> Iterator[str]:
    """Every turn that is to be trained is trained once; empty and opening ones are left out and counted, and
    those that the template does not print are lost."""
    trained = sorted(message for sample in samples for message, _, _ in _completions(sample))
    wanted = inference.chat.wanted
    if repeated := [i for i, count in Counter(trained).items() if count > 1]:
        yield f"trains {repeated} twice"
    for i in sorted(set(trained) - set(wanted)):
        is_marked = i in range(len(inference.messages)) and inference.messages[i]["role"] == "assistant"
        yield f"trains {i}, which {'is marked as not to be trained' if is_marked else 'is no answer'}"
    for i in set(wanted) & set(trained):
        if is_empty(inference.messages[i]):
            yield f"trains {i}, which is empty"
    for i in sorted(set(wanted) - set(trained) - unprinted):
        left_out = (is_empty(inference.messages[i]) and counts.get("empty_turns", 0)) or (
            is_opening(inference.messages, i) and counts.get("opening_turns", 0)
        )
        if not left_out:
            yield f"never trains {i}"


def is_empty(message: Message) -> bool:
    """Whether a message has no text, no reasoning and no calls."""
    return not any(message.get(key) for key in ("content", "reasoning_content", "tool_calls"))


def is_opening(messages: Sequence[Message], i: int) -> bool:
    """Whether no user speaks before message i."""
    return not any(message["role"] == "user" for message in messages[:i])


# ==== Where a completion starts ====


def _judge_text(inference: Inference, sample: Text, completions: Sequence[Turn]) -> Iterator[str]:
    """A text is a real render, or the start of one; a composed one ends with its last completion."""
    if sample.proof == "composed":
        end = max((end for _, _, end in completions), default=0)
        if sample.text[end:].strip():
            yield f"a composed text goes on with {sample.text[end:][:40]!r}"
    elif not any(
        text is not None and text.startswith(sample.text)
        for text in (inference.through(i) for i in range(len(inference.messages)))
    ):
        yield "a sample's text is no render of the conversation"


def _judge_start(inference: Inference, text: str, turn: Turn, behind: list[int] | None) -> Iterator[str]:
    """The text up to the start is the prompt, and reasoning is where that prompt lets the model write it."""
    i, start, end = turn
    prompt = inference.prompt(i)
    if prompt is None:
        yield "no prompt to compare with"
        return
    if text[:start] != prompt:
        shown = _unblanked(text[:start])
        header = _unblanked(_without_opener(prompt))
        if behind is not None and is_open(prompt) and (shown == header or shown.endswith(header[-16:])):
            behind.append(i)
            return
        at = len(commonprefix([text[:start], prompt]))
        yield (
            f"its prompt is not the text before it: {text[at:start][:40]!r} where the prompt has "
            f"{prompt[at:][:40]!r}"
        )
        yield from _repeated_header(prompt, text[start:end])
    elif is_opening(inference.messages, i):
        later = next(
            (inference.prompt(k) for k in inference.chat.wanted if not is_opening(inference.messages, k)),
            None,
        )
        yield from _repeated_header(later or "", text[start:end])
    found = list(_misplaced(inference, i, prompt, text[start:end]))
    if behind is not None and text[:start] == prompt and found == [reasoning_blocks.INSIDE]:
        behind.append(i)
    else:
        yield from found


def _misplaced(inference: Inference, i: int, prompt: str, completion: str) -> Iterator[str]:
    content = str(inference.messages[i].get("content"))
    closes = cut_by_closer(content) is not None
    yield from reasoning_blocks.problems(prompt, completion, i, closes=closes)


def _without_opener(prompt: str) -> str:
    """A prompt up to the reasoning block that it opens."""
    at = max(prompt.rfind(opener) for opener, _ in reasoning_blocks.BLOCKS)
    return prompt[:at].rstrip()


_PIECE = re.compile(r"<[^<>\s]*>|\[[^\[\]\s]*\]|[^\W\d_]{4,}")


def _repeated_header(prompt: str, completion: str) -> Iterator[str]:
    """Markers and words of the header that come again before the first word of a message."""
    if not ANY_WORD.search(prompt):
        return
    known = {marker for pair in reasoning_blocks.BLOCKS for marker in pair}
    header = set(_PIECE.findall(prompt_tail(prompt))) - known
    again = header.intersection(_PIECE.findall(ANY_WORD.split(completion)[0]))
    if again:
        yield f"trains {sorted(again)} of the header"


# ==== What a completion has ====


def _judge_words(inference: Inference, sample: Text, turn: Turn) -> Iterator[str]:
    """All that the message wrote is trained, in order, and nothing that another did."""
    i, start, end = turn
    chat, text = inference.chat, sample.text
    stretch = text[start:end]
    in_prompt = Counter(words(inference.prompt(i) or "", of=i))
    own = [word for word in words(inference.through(i) or "", of=i) if not in_prompt[word]]
    if words(stretch, of=i) != own:
        yield f"trains {words(stretch, of=i)} of {own}"
    if others := [word for word in words(stretch, fields="crtud") if word not in own]:
        yield f"trains {others}, which others wrote"
    content = inference.messages[i].get("content")
    if not own and isinstance(content, str) and content not in stretch:
        yield f"trains {stretch!r}"
    trained = {word for m, a, b in sample.turns if m == i for word in words(text[a:b])}
    if trained & chat.unmarked:
        yield f"trains {sorted(trained & chat.unmarked)}, which is marked as not to be trained"
    if missed := [word for word in own if word in words(stretch) and word not in trained | chat.unmarked]:
        yield f"leaves out {missed}"


def _judge_end(inference: Inference, sample: Text, turn: Turn, endings: Endings) -> Iterator[str]:
    """The completion is what the text had when the turn was written, and it is the end of a turn."""
    i, start, end = turn
    text, through = sample.text, inference.through(i) or ""
    completion, rest = text[start:end], ""
    shown = _shown_at(through, completion, closes=sample.proof == "composed")
    if text[:end] == through[:end]:
        rest = through[end:]
    elif text[:start] == inference.prompt(i) and shown is not None:
        rest = through[shown:]
    elif not _ends_with_opener(through, completion, endings.openers):
        yield "it is not what stood there when it was written"
    if not endings.is_end(completion, rest):
        yield f"ends with {completion[-24:]!r}, and {rest[:24]!r} is left"


def _shown_at(through: str, completion: str, *, closes: bool) -> int | None:
    """Where a completion ends in a text, if it is there; it may close a reasoning block first."""
    shown = [completion]
    for _, closer in reasoning_blocks.BLOCKS if closes else ():
        if completion.lstrip().startswith(closer):
            shown.append(completion.lstrip()[len(closer) :].lstrip())
    return next((through.rfind(each) + len(each) for each in shown if each and each in through), None)


def _ends_with_opener(through: str, completion: str, openers: Sequence[str]) -> bool:
    bare = [completion[: -len(opener)].rstrip() for opener in openers if completion.endswith(opener)]
    return any(through.rstrip().endswith(each) for each in bare)


# ==== Every word ====

_COUNTS = {
    "r": ("dropped_reasoning", "dropped_content"),
    "c": ("dropped_content",),
    "u": ("dropped_content",),
    "t": ("dropped_tool_calls",),
    "n": ("dropped_name",),
    "tools": ("dropped_tools",),
}
"""Under which names the loss of a field may be counted."""


def _losses(inference: Inference, text: str, turn: Turn, completions: Sequence[Turn]) -> set[Loss]:
    """What a text does not show of a completion's own message and of what is before it: in the prompt of this
    completion, or of a later one."""
    i, start, end = turn
    own = set(words(text[:end], of=i))
    found = {Loss(i, field_of(word)) for word in words_of(inference.messages[i]) if word not in own}
    if lost_names(inference.messages[i], text[start:end]):
        found.add(Loss(i, "t"))
    before = text[: max(start for _, start, _ in completions)]
    return found | history_losses(inference, before, i)


def lost_names(message: Message, completion: str) -> list[str]:
    """The names of tools that a message calls and its completion does not show."""
    names = [call["function"]["name"] for call in message.get("tool_calls", ())]
    return [name for name in names if name not in completion]


def history_losses(inference: Inference, before: str, i: int) -> set[Loss]:
    """What a prompt does not show of the messages before message i: all but the reasoning of earlier turns,
    which templates cut on purpose."""
    shown = set(words(before, fields="crtun"))
    printed = {m["role"] for j, m in enumerate(inference.messages[:i]) if words(before, of=j, fields="n")}
    found = set()
    for j, message in enumerate(inference.messages[:i]):
        fields = "crtun" if message["role"] in printed else "crtu"
        cut = cut_by_closer(str(message.get("content"))) if message["role"] == "assistant" else None
        missing = [w for w in words_of(message, fields) if w not in shown and w not in words(cut or "")]
        found |= {Loss(j, field_of(word)) for word in missing if field_of(word) != "r"}
        if not words_of(message) and str(message.get("content") or "") not in before:
            found.add(Loss(j, "u"))
    if inference.chat.tools and NEVER_CALLED not in before and not words(before, fields="d"):
        found.add(Loss(-1, "tools"))
    return found


def cut_by_closer(content: str) -> str | None:
    """The part of a content that templates take for reasoning, as it comes before `</think>`."""
    before, closer, _ = content.partition("</think>")
    return before if closer else None


def words_of(message: Message, fields: str = "crtu") -> list[str]:
    """The marker words that a message brings."""
    return words(repr(message), fields=fields)


def _sort_losses(losses: set[Loss], counts: Mapping[str, int], verdict: Verdict) -> None:
    """Losses are counted, or they are lost in silence."""
    for fields in ("r", "cu", "t", "n", ("tools",)):
        here = sorted(loss for loss in losses if loss.field in fields)
        names = {name for loss in here for name in _COUNTS[loss.field]}
        kept = verdict.counted if sum(counts.get(name, 0) for name in names) >= len(here) else verdict.lost
        kept += [f"message {loss.message}: {_NAMES[loss.field]}" for loss in here]


_NAMES = {
    "r": "reasoning",
    "c": "content",
    "u": "content",
    "t": "tool calls",
    "n": "name",
    "tools": "tool definitions",
}

# ==== Why a conversation can have no right mask ====

RAISES = "the template raises"
LOSES = "the template loses text"
CONTRADICTS = "the text shows another prompt"
OPENS = "the prompt opens a reasoning block"
BLANKS = "the text shows other blanks than the prompt"
CONTINUES = "the turn before is an answer, too"
NOTHING = "nothing to train"
STRAY = "text before </think> is taken for reasoning, and the prompt has closed the block"


def views(inference: Inference) -> set[str]:
    """What keeps a conversation from having a right mask, seen without the pipeline."""
    if inference.full() is None:
        return {RAISES}
    found = set()
    wanted = [
        i
        for i in inference.chat.wanted
        if not is_empty(inference.messages[i])
        and not (is_opening(inference.messages, i) and inference.prompt(i) is None)
    ]
    for i in wanted:
        prompt, through = inference.prompt(i), inference.through(i)
        if prompt is None or through is None:
            found.add(RAISES)
            continue
        shown = {*words(through, of=i), *words(prompt, of=i)}
        if (
            set(words_of(inference.messages[i])) - shown
            or history_losses(inference, prompt, i)
            or lost_names(inference.messages[i], through[len(commonprefix([prompt, through])) :])
        ):
            found.add(LOSES)
        has_reasoning = bool(words_of(inference.messages[i], "r"))
        found |= _blocks(inference.messages[i], prompt, has_reasoning=has_reasoning)
        if i and inference.messages[i - 1]["role"] == "assistant":
            before = inference.through(i - 1) or ""
            if not through.startswith(prompt) or before.startswith(prompt):
                found.add(CONTINUES)
        if not through.startswith(prompt) and not composable(prompt, through, i):
            found.add(BLANKS if composable(_unblanked(prompt), _unblanked(through), i) else CONTRADICTS)
        elif (is_closed(prompt) and has_reasoning) or _misplaces(inference, i, prompt, through):
            found.add(CONTRADICTS)
    return found if wanted else {NOTHING}


def _blocks(message: Message, prompt: str, *, has_reasoning: bool) -> set[str]:
    """What the reasoning block at the end of a prompt has against a message."""
    is_stray = is_closed(prompt) and cut_by_closer(str(message.get("content"))) is not None
    opens = is_open(prompt) and not has_reasoning
    return ({STRAY} if is_stray else set()) | ({OPENS} if opens else set())


def _misplaces(inference: Inference, i: int, prompt: str, through: str) -> bool:
    """Whether a text that starts with the prompt opens or closes blocks that the prompt has opened or closed."""
    found = _misplaced(inference, i, prompt, through.removeprefix(prompt))
    return through.startswith(prompt) and any(problem != reasoning_blocks.INSIDE for problem in found)


def composable(prompt: str, through: str, i: int) -> bool:
    """Whether a text that does not start with the prompt of message i only shows less than it: the header
    before the message is the same, as far as both show it, and no other words come before it."""
    first = next((m.start() for m in ANY_WORD.finditer(through) if m[0] in words(through, of=i)), None)
    if first is None:
        return False
    header, asked = (ANY_WORD.split(text)[-1] for text in (through[:first], prompt))
    shown, known = words(through[:first]), words(prompt)
    return (asked.startswith(header) or header.startswith(asked)) and not set(shown) - set(known)


def _unblanked(text: str) -> str:
    return "".join(text.split())
