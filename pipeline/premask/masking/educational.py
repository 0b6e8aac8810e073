"""The mask, slow and readable: one text, one token at a time. The tests compare the other modules with it.

A run does not use this module. It does in a few lines what `completions.py` and `seams.py` decide, and what
`labels.py` and `tokens/pieces.py` do for whole batches:

    prompt_and_completion(renders, i, rules)  the text that turn i is trained in, and what is trained of it
    tokens_of(sample, encode)                 ids, starts and ends, cut at seams as at inference
    labels_of(sample, ids, starts, ends)      one label per token
    origins_of(sample, starts)                the writer of the first character of each token

Positions are characters of one text here, and bytes of all texts there. The labels must be equal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from ..core.contract import IGNORE_INDEX
from ..core.records import TEMPLATE, Origin, Sample, placed
from .renders import Renders
from .rules import Rules
from .traced import runs_of

Token = tuple[int, int, int]
"""Id, first character, and one past the last."""


def tokens_of(sample: Sample, encode: Callable[[str], list[Token]]) -> list[Token]:
    """Return the tokens of a text. Where a token straddles a seam, both sides are encoded apart.

    >>> def pairs(text):
    ...     return [(at, at, min(at + 2, len(text))) for at in range(0, len(text), 2)]
    >>> tokens_of(Sample("A: yes.", (), (), "inference", seams=(3,)), pairs)
    [(0, 0, 2), (2, 2, 3), (0, 3, 5), (2, 5, 7)]
    """
    cuts: set[int] = set()
    while True:
        edges = sorted({0, *cuts, len(sample.text)})
        tokens = [
            (id_, first + start, first + end)
            for first, last in pairwise(edges)
            for id_, start, end in encode(sample.text[first:last])
        ]
        straddled = {seam for seam in sample.seams if any(start < seam < end for _, start, end in tokens)}
        if not straddled:
            return tokens
        cuts |= straddled


def labels_of(sample: Sample, ids: Sequence[int], starts: Sequence[int], ends: Sequence[int]) -> list[int]:
    """Return the label of each token: its id if all its characters are in one completion, else
    `IGNORE_INDEX`.

    The first token is not trained, because nothing predicts it. Neither is a token without characters.

    >>> from premask.core.records import Turn
    >>> sample = Sample("A: yes.", (Turn(1, 3, 7),), (), "inference")
    >>> labels_of(sample, [5, 6, 7], [0, 2, 6], [2, 6, 7])
    [-100, -100, 7]
    """
    labels = []
    for position, (id_, start, end) in enumerate(zip(ids, starts, ends, strict=True)):
        in_one = any(turn.start <= start < end <= turn.end for turn in sample.turns)
        labels.append(id_ if in_one and position > 0 else IGNORE_INDEX)
    return labels


def straddling_in(sample: Sample, starts: Sequence[int], ends: Sequence[int]) -> int:
    """Return how often a token crosses the edge of a completion."""
    return sum(
        start < turn.end and end > turn.start and not turn.start <= start < end <= turn.end
        for turn in sample.turns
        for start, end in zip(starts, ends, strict=True)
        if start < end
    )


def weights_of(sample: Sample, labels: Sequence[int], starts: Sequence[int]) -> list[float]:
    """Return the loss weight of each token: that of its first character, or 0 if it is not trained."""
    of_character = [weight for length, weight in sample.weights for _ in range(length)]
    own = [of_character[start] if of_character else 1.0 for start in starts]
    return [0.0 if label == IGNORE_INDEX else weight for label, weight in zip(labels, own, strict=True)]


def per_sample(weights: Sequence[float], labels: Sequence[int]) -> list[float]:
    """Return loss weights divided by the number of trained tokens.

    >>> per_sample([0.0, 1.0, 2.0], [-100, 5, 6])
    [0.0, 0.5, 1.0]
    """
    trained = sum(label != IGNORE_INDEX for label in labels)
    return [weight / max(trained, 1) for weight in weights]


def origins_of(sample: Sample, starts: Sequence[int]) -> list[Origin]:
    """Return the origin of the first character of each token."""
    runs = list(placed(sample.runs))
    return [next((origin for begin, end, origin in runs if begin <= at < end), TEMPLATE) for at in starts]


# ==== The sample of a turn ====


def prompt_and_completion(renders: Renders, index: int, rules: Rules) -> tuple[str, str] | None:
    """Return P and C of message `index` by the definition, read off character by character.

    P is what inference shows. C is what the text that ends with the message prints after the header that P
    ends with, up to the turn end. The header may have other blanks there, and may lack marks of reasoning at
    its end. None if the text shows another header than that.

    >>> from premask.core.records import Conversation, Message
    >>> from premask.masking.chat_template import ChatTemplate
    >>> from premask.masking.turn_ends import TurnEnds
    >>> template = ChatTemplate("{% for m in messages %}{{ m.content }}.{% endfor %}")
    >>> chat = Conversation((Message("user", "Hi"), Message("assistant", "Yes")))
    >>> prompt_and_completion(Renders(chat, template), 1, Rules(TurnEnds((".",))))
    ('Hi.', 'Yes.')
    """
    prompt, text = renders.prompt(index), renders.through(index)
    of_prompt, of_text = _writers(renders.prompt_traced(index)), _writers(renders.through_traced(index))
    own = [at for at, writer in enumerate(of_text) if writer == index]
    end = rules.ends.after(text, own[-1] + 1)
    header = prompt[_content_end(of_prompt) :]
    begin = _content_end(of_text[: own[0]])
    if text.startswith(header, begin):
        return prompt, text[begin + len(header) : end]
    for start in range(own[0], begin - 1, -1):
        shown = "".join(text[begin:start].split())
        rest = "".join(header.split()).removeprefix(shown)
        if "".join(header.split()) == shown + rest and rules.marks.only(rest):
            return prompt, text[start:end]
    return None


def _writers(text: str) -> list[int]:
    """Return the message that wrote each character; a negative number if it is none."""
    return [origin.message for length, origin in runs_of(text) for _ in range(length)]


def _content_end(writers: Sequence[int]) -> int:
    """Return one past the last character that the template did not write."""
    return max((at + 1 for at, writer in enumerate(writers) if writer != TEMPLATE.message), default=0)
