"""The oracle sees what it is there for: each test gives it a mask with one fault."""

from __future__ import annotations

from typing import Any

import pytest
from conversation_kinds import KINDS, Chat
from inference import Inference
from mask_survey import samples_of, texts_of
from oracle import CONTRADICTS, LOSES, OPENS, Endings, Text, Verdict, judge, views
from template_corpus import TEMPLATES, endings_of, source_of, variables_of

needs_corpus = pytest.mark.skipif(not TEMPLATES.is_dir(), reason=f"the corpus {TEMPLATES} is not here")

TURN = (
    "<|im_start|>{{ m.role }}\n{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}"
    "{{ m.content }}<|im_end|>\n"
)
PROMPT = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
CHATML = f"{{% for m in messages %}}{TURN}{{% endfor %}}{PROMPT}"
ENDINGS = Endings(lambda completion, _: completion.endswith("<|im_end|>"))


def _inference(kind: str, source: str = CHATML) -> Inference:
    return Inference(source, {}, KINDS[kind])


def _right(inference: Inference) -> list[Text]:
    """The whole text, with every answer trained from the header to its turn end."""
    text = inference.full() or ""
    turns = []
    for i in inference.chat.wanted:
        start = len(inference.prompt(i) or "")
        turns.append((i, start, text.index("<|im_end|>", start) + len("<|im_end|>")))
    return [Text(text, turns)]


def _judged(inference: Inference, samples: list[Text]) -> Verdict:
    return judge(inference, samples, ENDINGS)


@pytest.mark.parametrize("kind", ["plain", "system", "two turns", "reasoning", "one turn untrained"])
def test_a_right_mask_is_right(kind: str) -> None:
    inference = _inference(kind)
    verdict = _judged(inference, _right(inference))

    assert (verdict.wrong, verdict.lost) == ([], [])


def _wrong(inference: Inference, samples: list[Text]) -> str:
    return "; ".join(_judged(inference, samples).wrong)


def test_a_prompt_that_is_not_the_text_before() -> None:
    opens = CHATML.replace("<|im_start|>assistant\n{% endif %}", "<|im_start|>assistant\n<think>{% endif %}")
    (right,) = _right(_inference("plain"))
    inference = _inference("plain", opens)

    assert "its prompt is not the text before it" in _wrong(inference, [right])
    assert views(inference) == {OPENS}
    assert judge(inference, [right], ENDINGS, behind=True).wrong == [
        "[1] are behind another prompt, and not counted"
    ]
    counted = right._replace(counts={"turns_behind_another_prompt": 1})
    assert judge(inference, [counted], ENDINGS, behind=True) == Verdict(behind=[1])


def test_an_answer_inside_an_open_block() -> None:
    opens = CHATML.replace("<|im_start|>assistant\n{% endif %}", "<|im_start|>assistant\n<think>{% endif %}")
    inference = _inference("plain", opens)
    prompt = inference.prompt(1) or ""
    answer = (_inference("plain").full() or "").partition("<|im_start|>assistant\n")[2].rstrip()
    composed = prompt + answer
    closed = f"{prompt}</think>{answer}"

    assert "an answer inside an open block" in _wrong(
        inference, [Text(composed, [(1, len(prompt), len(composed))], "composed")]
    )
    assert not _wrong(inference, [Text(closed, [(1, len(prompt), len(closed))], "composed")])


def test_reasoning_behind_a_closed_block() -> None:
    closes = CHATML.replace(
        "<|im_start|>assistant\n{% endif %}", "<|im_start|>assistant\n<think></think>{% endif %}"
    )
    inference = _inference("reasoning", closes)
    prompt, through = inference.prompt(1) or "", inference.full() or ""
    thought = through.partition("<|im_start|>assistant\n")[2].rstrip()
    text = prompt + thought
    after_opener = prompt + thought.removeprefix("<think>")

    assert "reasoning behind a closed block" in _wrong(
        inference, [Text(after_opener, [(1, len(prompt), len(after_opener))], "composed")]
    )
    assert "</think> closes a block that is not open" in _wrong(
        inference, [Text(after_opener, [(1, len(prompt), len(after_opener))], "composed")]
    )
    assert "starts" not in _wrong(inference, [Text(text, [(1, len(prompt), len(text))], "composed")])
    assert views(inference) == {CONTRADICTS}


@pytest.mark.parametrize(
    ("kind", "printed", "lost", "name"),
    [
        ("system", "{% for m in messages if m.role != 'system' %}", "message 0: content", "dropped_content"),
        (
            "tools that no turn calls",
            "{% for m in messages %}",
            "message -1: tool definitions",
            "dropped_tools",
        ),
    ],
)
def test_lost_words(kind: str, printed: str, lost: str, name: str) -> None:
    inference = _inference(kind, CHATML.replace("{% for m in messages %}", printed))
    (right,) = _right(inference)
    counted = right._replace(counts={name: 1})

    assert _judged(inference, [right]).lost == [lost]
    assert _judged(inference, [counted]) == Verdict(counted=[lost])
    assert views(inference) == {LOSES}


def test_lost_reasoning_and_lost_calls() -> None:
    bare = CHATML.replace(
        "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}", ""
    )
    inference = _inference("reasoning", bare)

    assert _judged(inference, _right(inference)).lost == ["message 1: reasoning"]

    says = _inference("tools, said and called", bare)

    assert "message 1: tool calls" in _judged(says, _right(says)).lost


def test_turns_that_are_trained_though_marked_or_not_at_all() -> None:
    inference = _inference("marked by trainable false")
    (right,) = _right(inference)
    start = len(inference.prompt(1) or "")
    first = (1, start, right.text.index("<|im_end|>", start) + len("<|im_end|>"))

    assert not _wrong(inference, [right])
    assert "marked as not to be trained" in _wrong(inference, [right._replace(turns=[first, *right.turns])])
    assert "never trains 3" in _wrong(inference, [right._replace(turns=[])])


def test_a_marked_part_of_a_turn() -> None:
    chat = KINDS["one part marked"]
    inference = Inference(CHATML, {}, chat)
    text, start = inference.full() or "", len(inference.prompt(1) or "")
    end = text.rindex("<|im_end|>") + len("<|im_end|>")
    second = text.index("zq1c2A")

    assert not _wrong(inference, [Text(text, [(1, second, end)])]).count("marked")
    assert "marked as not to be trained" in _wrong(inference, [Text(text, [(1, start, end)])])


def test_a_text_that_is_no_render() -> None:
    inference = _inference("plain")
    (right,) = _right(inference)

    assert "no render" in _wrong(inference, [right._replace(text=right.text + "x")])
    assert "goes on with" in _wrong(inference, [right._replace(text=right.text + "x", proof="composed")])


def test_a_turn_without_its_end() -> None:
    inference = _inference("plain")
    (right,) = _right(inference)
    ((i, start, end),) = right.turns

    assert "ends with" in _wrong(inference, [right._replace(turns=[(i, start, end - len("<|im_end|>"))])])


@needs_corpus
@pytest.mark.parametrize(
    "file", ["axolotl/chatml.jinja", "trl/qwen3.jinja", "trl/gemma.jinja", "llamacpp/Qwen3.5-4B.jinja"]
)
@pytest.mark.parametrize("shift", [(1, 0), (-1, 0), (3, 0), (-9, 0), (0, 1), (0, -1), (0, 9), (0, -12)])
def test_a_shifted_mask(file: Any, shift: tuple[int, int]) -> None:
    chat: Chat = KINDS["two turns"]
    inference = Inference(source_of(file), variables_of(file), chat)
    settings = {"open_reasoning": "compose"} if "3.5" in file else {}
    samples = texts_of(samples_of(file, chat, **settings), chat)

    assert not judge(inference, samples, endings_of(file)).wrong

    first, *rest = samples
    (i, start, end), *others = first.turns
    shifted = first._replace(turns=[(i, start + shift[0], end + shift[1]), *others])

    assert judge(inference, [shifted, *rest], endings_of(file)).wrong
    assert judge(inference, [first._replace(turns=others), *rest], endings_of(file)).wrong
    swapped = first._replace(turns=[(i - 1, start, end), *others])
    assert judge(inference, [swapped, *rest], endings_of(file)).wrong
