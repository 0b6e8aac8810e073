"""The two sides of a preference: they answer the same prompt, in text and in tokens, and differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

import numpy as np

from ..core.errors import RowError
from ..core.records import SIDE_NAMES, Conversation, MaskedTexts, Sample, Tokens


@contextmanager
def naming_side(conversation: Conversation) -> Iterator[None]:
    """Name the side of a preference in an error about it."""
    try:
        yield
    except RowError as error:
        if conversation.side is None:
            raise
        raise RowError(error.reason, f"{SIDE_NAMES[conversation.side]} answer: {error.detail}") from None


def check_prompts(conversations: Sequence[Conversation], samples: Sequence[Sample]) -> None:
    """Raise `RowError` if the prompts of the sides of a pair differ: what is before their first answers, if
    these are trained. Where only later answers are, what the sides say before may differ."""
    prompts = [sample.text[: sample.seams[0]] for sample in samples]
    answers = [
        next((at for at, message in enumerate(each.messages) if message.train is not False), 0)
        for each in conversations
    ]
    are_first = all(
        sample.turns[0].message == answer for sample, answer in zip(samples, answers, strict=True)
    )
    if are_first and prompts[0] != prompts[1]:
        chosen, rejected = (repr(prompt[-40:]) for prompt in prompts)
        detail = (
            f"the prompt of the chosen answer ends with {chosen}, that of the rejected one with {rejected}"
        )
        raise RowError("prompts_differ", detail)


def pair_errors(masked: MaskedTexts, tokens: Tokens) -> dict[int, RowError]:
    """Return the error of each row whose two texts, a chosen one and a rejected one, are no preference: they
    are equal, or begin with the same prompt, but not with the same tokens."""
    texts = [tokens.ids[first:last] for first, last in pairwise(tokens.offsets.tolist())]
    errors = {}
    for i in np.flatnonzero(np.diff(masked.rows) == 0).tolist():
        prompts = [_prompt(masked, tokens, at) for at in (i, i + 1)]
        if np.array_equal(texts[i], texts[i + 1]):
            detail = "chosen and rejected have the same tokens, so nothing is preferred"
            errors[int(masked.rows[i])] = RowError("same_sides", detail)
        elif prompts[0][0] == prompts[1][0] and not np.array_equal(prompts[0][1], prompts[1][1]):
            detail = "the tokens of the prompt depend on the answer after it"
            errors[int(masked.rows[i])] = RowError("prompts_differ", detail)
    return errors


def _prompt(masked: MaskedTexts, tokens: Tokens, i: int) -> tuple[bytes, np.ndarray]:
    """Return what is before the first completion of text `i`: its bytes, and the ids of its tokens."""
    own = slice(masked.offsets[i], masked.offsets[i + 1])
    size = int(masked.sizes[own][: int(masked.seams[own].argmax())].sum())
    first, last = tokens.offsets[i : i + 2]
    count = np.searchsorted(tokens.ends[first:last], masked.sizes[: own.start].sum() + size, side="right")
    return masked.texts[i].encode()[:size], tokens.ids[first : first + count]
