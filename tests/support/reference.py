"""The mask, slow and readable: written from its definition with plain transformers, no line of the pipeline.

    P(i) = render(messages[:i], add_generation_prompt=True)    what the model sees before it writes message i
    S(i) = render(messages[:i + 1])                            the text once it has written it
    C(i) = S(i) up to its first turn end after P(i)            what it has seen and written

Message i is trained where C(i) goes on after P(i), in a text that begins with C(i): the whole conversation,
or, where the template shows the turn otherwise once it is history, a text of its own.
"""

from __future__ import annotations

from typing import Any

Chat = list[dict[str, Any]]
Labelled = tuple[list[int], list[int]]


def reference(tokenizer: Any, messages: Chat, turn_end: str, **kwargs: Any) -> list[Labelled]:
    """Ids and labels of all samples of a conversation; no message may hold a control-token string."""
    texts = [_render(tokenizer, messages, **kwargs)]
    trained: list[list[tuple[int, int]]] = [[]]
    for i in reversed(range(len(messages))):
        if messages[i]["role"] != "assistant":
            continue
        prompt = _render(tokenizer, messages[:i], add_generation_prompt=True, **kwargs)
        through = _render(tokenizer, messages[: i + 1], **kwargs)
        assert through.startswith(prompt), "this template shows another prompt than inference"
        completed = through[: through.index(turn_end, len(prompt)) + len(turn_end)]
        home = next((n for n, text in enumerate(texts) if text.startswith(completed)), None)
        if home is None:
            home = len(texts)
            texts.append(through)
            trained.append([])
        trained[home].append((len(prompt), len(completed)))
    return [_label(tokenizer, text, spans) for text, spans in zip(texts, trained, strict=True) if spans]


def _render(tokenizer: Any, messages: Chat, **kwargs: Any) -> str:
    text = tokenizer.apply_chat_template(messages, tokenize=False, **kwargs)
    assert isinstance(text, str)
    return text


def _label(tokenizer: Any, text: str, trained: list[tuple[int, int]]) -> Labelled:
    """A token is trained if all its characters are; the first never is."""
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    labels, covered = [], 0
    for number, (index, (start, end)) in enumerate(
        zip(encoding["input_ids"], encoding["offset_mapping"], strict=True)
    ):
        first = min(start, covered)  # a blank that some tokenizers count to no token belongs to the next
        covered = end
        inside = any(a <= first and end <= b for a, b in trained)
        labels.append(index if inside and number else -100)
    return list(encoding["input_ids"]), labels
