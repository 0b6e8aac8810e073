"""The mask against its slow reference, and each rule on a case small enough to read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from premask.core.contract import IGNORE_INDEX
from premask.core.errors import RowError
from premask.core.recipe import History
from premask.core.records import Conversation, Message, Reject, Row, Sample, TokenBatch, Turn
from premask.labeller import LabelledSample, Stages
from premask.masking.chat_template import ChatTemplate
from premask.masking.completions import decide
from premask.masking.labels import label_tokens
from premask.masking.renders import Renders
from premask.masking.turn_ends import TurnEnds, find_turn_ends
from reference import Chat, reference

MakeStages = Callable[..., Stages]


def label(stages: Stages, messages: Chat, **row: Any) -> tuple[LabelledSample, ...]:
    (result,) = stages.label([Row("test", 0, {"messages": messages, **row})], "openai")
    assert not isinstance(result, Reject), result
    return result.samples


def rejection(stages: Stages, messages: Chat, **row: Any) -> Reject:
    (result,) = stages.label([Row("test", 0, {"messages": messages, **row})], "openai")
    assert isinstance(result, Reject), result
    return result


def trained_texts(sample: Sample) -> list[str]:
    return [sample.text[turn.start : turn.end] for turn in sample.turns]


# ==== Against the reference ====

PIECES = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=10),
    st.sampled_from(
        [
            "\n",
            "\n\n",
            " ",
            "\r\n",
            "\t",
            "Hello",
            " world.",
            "e\u0301",
            "👩‍👩‍👧‍👦",
            "é",
            "\u2581",
            '{"a": 1}',
            "<b>",
            "1234",
        ]
    ),
)
CONTENT = (
    st.lists(PIECES, min_size=1, max_size=6)
    .map("".join)
    .filter(lambda text: text.strip() and "|>" not in text)
)


@st.composite
def conversations(draw: st.DrawFn) -> Chat:
    """A system message or none, then user and assistant in any order, at least one of them the assistant."""
    roles = draw(st.lists(st.sampled_from(["user", "assistant"]), min_size=1, max_size=5))
    if draw(st.booleans()):
        roles = ["user", "assistant"] * ((len(roles) + 1) // 2)
    roles = [*(["system"] if draw(st.booleans()) else []), "user", *roles, "assistant"]
    return [{"role": role, "content": draw(CONTENT)} for role in roles]


def check_against_reference(stages: Stages, messages: Chat, turn_end: str, **kwargs: Any) -> None:
    samples = label(stages, messages)
    expected = reference(stages.tokenizer.hf, messages, turn_end, **kwargs)
    assert sorted((s.ids.tolist(), s.labels.tolist()) for s in samples) == sorted(expected)


@pytest.mark.parametrize(
    ("name", "turn_end", "kwargs"),
    [
        ("sample", "<|im_end|>", {}),
        ("gemma_chatml", "<|im_end|>", {}),
        ("llama3_2", "<|eot_id|>", {"date_string": "26 Jul 2024"}),
    ],
)
@given(messages=conversations())
def test_templates_that_keep_history(
    make_stages: MakeStages, name: str, turn_end: str, kwargs: dict[str, str], messages: Chat
) -> None:
    """One sample a row, whose ids are those of `apply_chat_template`."""
    stages = once(make_stages, name, template_kwargs=kwargs)
    check_against_reference(stages, messages, turn_end, **kwargs)
    (sample,) = label(stages, messages)

    assert sample.ids.tolist() == stages.tokenizer.hf.apply_chat_template(
        messages, tokenize=True, return_dict=False, **kwargs
    )


_STAGES: dict[str, Stages] = {}


def once(make_stages: MakeStages, name: str, **keys: Any) -> Stages:
    if name not in _STAGES:
        _STAGES[name] = make_stages(name, **keys)
    return _STAGES[name]


@given(
    messages=conversations().filter(
        lambda chat: "assistant assistant" not in " ".join(m["role"] for m in chat)
    )
)
def test_a_template_that_rewrites_history(make_stages: MakeStages, messages: Chat) -> None:
    """Qwen3 prints an empty thought before the last answers only; each other answer is a sample of its own."""
    stages = once(make_stages, "qwen3")
    check_against_reference(stages, messages, "<|im_end|>")
    whole = label(stages, messages)[0]

    assert whole.ids.tolist() == stages.tokenizer.hf.apply_chat_template(
        messages, tokenize=True, return_dict=False
    )


def test_two_answers_in_a_row_of_such_a_template_are_refused(make_stages: MakeStages) -> None:
    """Inference shows the first answer with its empty thought, the text of both without it."""
    chat = [{"role": role, "content": "x"} for role in ("user", "assistant", "assistant")]

    assert rejection(once(make_stages, "qwen3"), chat).reason == "prompt_mismatch"


# ==== Tokens ====


def batch_of(*samples: Sequence[tuple[int, int, int]]) -> TokenBatch:
    flat = np.array([token for sample in samples for token in sample], dtype=np.int64).reshape(-1, 3)
    offsets = np.cumsum([0, *(len(sample) for sample in samples)], dtype=np.int64)
    return TokenBatch(flat[:, 0].astype(np.int32), offsets, flat[:, 1], flat[:, 2])


@pytest.mark.parametrize(
    ("turns", "labels", "straddling"),
    [
        ([], [-100, -100, -100, -100], 0),
        ([Turn(1, 2, 6)], [-100, 11, 12, -100], 0),
        ([Turn(1, 0, 8)], [-100, 11, 12, 13], 0),  # nothing predicts the first token
        ([Turn(1, 3, 6)], [-100, -100, 12, -100], 1),
        ([Turn(1, 2, 5)], [-100, 11, -100, -100], 1),
        ([Turn(1, 3, 5)], [-100, -100, -100, -100], 2),
        ([Turn(1, 2, 4), Turn(2, 4, 6)], [-100, 11, 12, -100], 0),
        ([Turn(1, 2, 3), Turn(2, 3, 4)], [-100, -100, -100, -100], 2),  # one token, written by two turns
        ([Turn(1, 4, 4)], [-100, -100, -100, -100], 0),
    ],
)
def test_label_tokens(turns: list[Turn], labels: list[int], straddling: int) -> None:
    """Four tokens of two characters each."""
    found, counts = label_tokens(batch_of([(10, 0, 2), (11, 2, 4), (12, 4, 6), (13, 6, 8)]), [turns])

    assert found.tolist() == labels
    assert counts.tolist() == [straddling]
    assert found.dtype == np.int32


def test_label_tokens_keeps_samples_apart() -> None:
    """Characters count from 0 in every sample; an empty sample has none."""
    batch = batch_of([(1, 0, 2), (2, 2, 4)], [], [(3, 0, 1), (4, 1, 2), (5, 1, 2)])
    labels, straddling = label_tokens(batch, [[Turn(0, 2, 4)], [], [Turn(0, 0, 2)]])

    assert labels.tolist() == [-100, 2, -100, 4, 5]
    assert straddling.tolist() == [0, 0, 0]


def test_label_tokens_without_characters() -> None:
    """A token that stands for no character (a dummy space) is never trained."""
    labels, straddling = label_tokens(batch_of([(1, 0, 2), (2, 2, 2), (3, 2, 3)]), [[Turn(0, 1, 3)]])

    assert labels.tolist() == [-100, -100, 3]
    assert straddling.tolist() == [1]


def test_labels_of_nothing() -> None:
    labels, straddling = label_tokens(batch_of(), [])

    assert (labels.tolist(), straddling.tolist()) == ([], [])


# ==== Turn ends ====


@pytest.mark.parametrize(
    ("ends", "text", "at", "expected"),
    [
        (TurnEnds(("</s>",)), "Hi</s>\n", 2, 6),
        (TurnEnds(("</s>",)), "Hi </s>\n", 2, 7),  # a space that the template prints is written by the model
        (TurnEnds(("</s>", "<|im_end|>")), "Hi<|im_end|>\n</s>", 2, 12),
        (TurnEnds(("</s>",)), "Hi\n\n", 2, 2),
        (TurnEnds(("</s>",)), "Hi###\n", 2, 5),
        (TurnEnds(()), "Hi", 2, 2),
        (TurnEnds(("</s>",), always_prompts=True), "Hi\nASSISTANT:", 2, 2),
        (TurnEnds(("</s>",)), "</s>Hi</s>", 6, 10),
    ],
)
def test_end_after(ends: TurnEnds, text: str, at: int, expected: int) -> None:
    assert ends.after(text, at) == expected


def test_opener_after() -> None:
    ends = TurnEnds((), openers=("<|user|>", "<|user|><|now|>"))

    assert ends.opener_after("Hi\n<|user|>x", 2, 2) == 11
    assert ends.opener_after("Hi<|user|><|now|>x", 2, 2) == 17
    assert ends.opener_after("Hi there<|user|>", 2, 2) == 2
    assert ends.opener_after("Hi", 2, 2) == 2
    assert TurnEnds(("</s>",)).opener_after("Hi<|user|>", 2, 2) == 2


CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
GOLDEN = "{{ bos_token }}" + CHATML.replace("{% endif %}", "{% else %}{{ eos_token }}{% endif %}")
LLAMA_2 = "{% for m in messages %}{% if m.role == 'user' %}<s>[INST] {{ m.content }} [/INST]{% else %} {{ m.content }} </s>{% endif %}{% endfor %}"
MISTRAL = "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% elif m.role == 'assistant' %} {{ m.content }}</s>{% endif %}{% endfor %}"
COHERE = "{% for m in messages %}<|START|>{{ '<|USER|>' if m.role == 'user' else '<|BOT|>' }}{{ m.content }}<|END_RESPONSE|><|END|>{% endfor %}{% if add_generation_prompt %}<|START|><|BOT|>{% endif %}"
GLM = "[gMASK]<sop>{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
VICUNA = "{% for m in messages %}{{ 'USER: ' if m.role == 'user' else 'ASSISTANT: ' }}{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}ASSISTANT: {% endif %}"
PHI_3 = "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}"
REFUSES = "{{ raise_exception('no') }}"
HASHES = VICUNA.replace("{{ m.content }}\n", "{{ m.content }}###\n")


def renders_of(source: str) -> Callable[[Conversation], Renders]:
    template = ChatTemplate(source, variables={"bos_token": "<s>", "eos_token": "</s>"})
    return lambda conversation: Renders(conversation, template)


@pytest.mark.parametrize(
    ("source", "stops", "control", "expected"),
    [
        (CHATML, ["<|im_end|>"], ["<|im_start|>", "<|im_end|>"], TurnEnds(("<|im_end|>",))),
        (CHATML, ["</s>"], ["<|im_start|>", "<|im_end|>"], TurnEnds(("</s>", "<|im_end|>"))),
        (CHATML, [], [], TurnEnds(("<|im_end|>",))),
        (GOLDEN, ["</s>"], ["</s>", "<|im_start|>", "<|im_end|>"], TurnEnds(("</s>", "<|im_end|>"))),
        (LLAMA_2, ["</s>"], ["</s>"], TurnEnds(("</s>",))),
        (MISTRAL, ["</s>"], ["</s>"], TurnEnds(("</s>",))),
        (COHERE, [], ["<|START|>", "<|END_RESPONSE|>", "<|END|>"], TurnEnds(("<|END_RESPONSE|>",))),
        (COHERE, ["<|END|>"], ["<|START|>", "<|END_RESPONSE|>", "<|END|>"], TurnEnds(("<|END|>",))),
        (
            GLM,
            ["<|endoftext|>"],
            ["<|user|>", "<|assistant|>"],
            TurnEnds(("<|endoftext|>",), ("<|user|>", "<|assistant|>")),
        ),
        (PHI_3, ["</s>"], ["<|user|>", "<|end|>", "</s>"], TurnEnds(("</s>", "<|end|>"))),
        (VICUNA, ["</s>"], ["</s>"], TurnEnds(("</s>",), seen=False)),
        (VICUNA, [], [], TurnEnds((), seen=False)),
        (HASHES, ["</s>"], ["</s>"], TurnEnds(("</s>", "###"))),
    ],
)
def test_find_turn_ends(source: str, stops: list[str], control: list[str], expected: TurnEnds) -> None:
    found = find_turn_ends(renders_of(source), stops=stops, control_tokens=control)

    assert (found.stops, found.openers, found.seen) == (expected.stops, expected.openers, expected.seen)


def test_turn_ends_of_a_template_that_refuses_the_probes() -> None:
    assert find_turn_ends(renders_of(REFUSES), stops=["</s>"]).stops == ("</s>",)


# ==== Completions ====

TALK = (
    Message("user", "Hi"),
    Message("assistant", "Hello"),
    Message("user", "Bye"),
    Message("assistant", "So long"),
)


@pytest.mark.parametrize(
    ("source", "stops", "control", "expected"),
    [
        (CHATML, [], ["<|im_start|>", "<|im_end|>"], ["Hello<|im_end|>", "So long<|im_end|>"]),
        (GOLDEN, ["</s>"], ["<|im_start|>", "<|im_end|>", "</s>"], ["Hello<|im_end|>", "So long<|im_end|>"]),
        (LLAMA_2, ["</s>"], ["</s>"], [" Hello </s>", " So long </s>"]),
        (MISTRAL, ["</s>"], ["</s>"], [" Hello</s>", " So long</s>"]),
        (
            COHERE,
            ["<|END|>"],
            ["<|START|>", "<|END|>"],
            ["Hello<|END_RESPONSE|><|END|>", "So long<|END_RESPONSE|><|END|>"],
        ),
        (GLM, [], ["<|user|>", "<|assistant|>"], ["Hello<|user|>", "So long"]),
        (PHI_3, ["</s>"], ["<|end|>", "</s>"], ["Hello<|end|>", "So long<|end|>"]),
        (VICUNA, ["</s>"], ["</s>"], ["Hello", "So long"]),
        (HASHES, ["</s>"], ["</s>"], ["Hello###", "So long###"]),
    ],
)
def test_completions(source: str, stops: list[str], control: list[str], expected: list[str]) -> None:
    """What the model must write after its prompt, the turn end included and nothing after it."""
    of = renders_of(source)
    (sample,) = decide(of(Conversation(TALK)), find_turn_ends(of, stops=stops, control_tokens=control))

    assert trained_texts(sample) == expected
    assert [turn.message for turn in sample.turns] == [1, 3]
    assert sum(length for length, _ in sample.runs) == len(sample.text)


def test_train_flags_of_messages() -> None:
    """`train: false` takes a turn away, `true` gives nothing to a user."""
    of = renders_of(CHATML)
    talk = (Message("user", "Hi", train=True), Message("assistant", "Hello", train=False), *TALK[2:])
    (sample,) = decide(of(Conversation(talk)), TurnEnds(("<|im_end|>",)))

    assert trained_texts(sample) == ["So long<|im_end|>"]


def test_nothing_trained() -> None:
    silent = tuple(Message(m.role, m.content, train=False) for m in TALK)
    with pytest.raises(RowError, match=r"nothing_trained: no .*message.* is to be trained"):
        decide(renders_of(CHATML)(Conversation(silent)), TurnEnds(("<|im_end|>",)))


@pytest.mark.parametrize("key", [{"train": False}, {"weight": 0}])
def test_flags_of_rows(make_stages: MakeStages, key: dict[str, Any]) -> None:
    """The flags as rows have them."""
    chat = [{"role": m.role, "content": m.content} for m in TALK]
    chat[1] |= key
    (sample,) = label(once(make_stages, "sample"), chat)

    assert trained_texts(sample.sample) == ["So long<|im_end|>"]


def test_weights_between_are_refused(make_stages: MakeStages) -> None:
    chat: Chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello", "weight": 0.5}]
    rejected = rejection(once(make_stages, "sample"), chat)

    assert rejected.reason == "unsupported_weight"


def test_a_dropped_answer_is_refused() -> None:
    source = CHATML.replace("{{ m.content }}", "{{ m.content if m.role == 'user' else 'Yes.' }}")
    with pytest.raises(
        RowError, match=r"content_dropped: the chat template prints nothing of message \d \(assistant\)"
    ):
        decide(renders_of(source)(Conversation(TALK)), TurnEnds(("<|im_end|>",)))


def test_dropped_tool_calls_are_refused() -> None:
    call = {"type": "function", "function": {"name": "now", "arguments": {}}}
    talk = (TALK[0], Message("assistant", "Wait.", tool_calls=(call,)))
    with pytest.raises(
        RowError, match="content_dropped: the chat template does not print the tool calls of message 1"
    ):
        decide(renders_of(CHATML)(Conversation(talk)), TurnEnds(("<|im_end|>",)))


def test_another_prompt_than_inference_is_refused() -> None:
    """Mistral's early templates: the system text stands with the last user message only, so inference for
    the first answer showed it elsewhere than the training text does."""
    source = (
        "{% for m in messages %}{% if m.role == 'user' %}[INST] "
        "{{ sys + ' ' if loop.index0 == last and sys else '' }}{{ m.content }}[/INST]"
        "{% elif m.role == 'assistant' %} {{ m.content }}</s>{% endif %}{% endfor %}"
    )
    source = (
        "{% set ns = namespace(last=0) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}{% set last = ns.last %}{% set sys = 'Be brief.' %}"
        + source
    )
    samples = decide(renders_of(source)(Conversation(TALK)), TurnEnds(("</s>",)))
    # each answer is shown after the prompt that inference had: two samples, no guess
    assert [trained_texts(sample) for sample in samples] == [[" So long</s>"], [" Hello</s>"]]

    source = CHATML.replace("{% if add_generation_prompt %}", "{% if add_generation_prompt %}Think well.\n")
    with pytest.raises(RowError, match="prompt_mismatch"):
        decide(renders_of(source)(Conversation(TALK)), TurnEnds(("<|im_end|>",)))


def test_text_of_others_inside_a_turn_is_refused() -> None:
    """A template that repeats the question within the answer."""
    source = CHATML.replace(
        "{{ m.content }}", "{{ m.content }}{{ ' (' + messages[0].content + ')' if m.role == 'assistant' }}"
    )
    with pytest.raises(RowError) as error:
        decide(renders_of(source)(Conversation(TALK)), TurnEnds(("<|im_end|>",)))

    assert error.value.reason in ("boundary_unclear", "origin_lost")


# ==== History ====

CALL = {"type": "function", "id": "1", "function": {"name": "look", "arguments": {"at": "sky"}}}
TOOLS: Chat = [
    {"role": "user", "content": "Weather?"},
    {"role": "assistant", "content": "", "reasoning_content": "I look.", "tool_calls": [CALL]},
    {"role": "tool", "content": "blue", "tool_call_id": "1"},
    {"role": "assistant", "content": "It is fine.", "reasoning_content": "Blue is good."},
    {"role": "user", "content": "Thanks"},
    {"role": "assistant", "content": "Welcome.", "reasoning_content": "Polite."},
]
CALLED = '<think>\nI look.\n</think>\n\n<tool_call>\n{"name": "look", "arguments": {"at": "sky"}}\n</tool_call><|im_end|>'
FINE = "<think>\nBlue is good.\n</think>\n\nIt is fine.<|im_end|>"
WELCOME = "<think>\nPolite.\n</think>\n\nWelcome.<|im_end|>"


def test_history_split(make_stages: MakeStages) -> None:
    """The whole conversation trains its last answer; the two before a later question share one more sample,
    because there the first of them is shown as it was generated. The tool's answer is trained nowhere."""
    samples = label(once(make_stages, "qwen3"), TOOLS)

    assert [trained_texts(s.sample) for s in samples] == [[WELCOME], [CALLED, FINE]]
    assert samples[1].sample.text.endswith(FINE + "\n")
    assert {s.sample.proof for s in samples} == {"split"}


def test_history_last(make_stages: MakeStages) -> None:
    (sample,) = label(make_stages("qwen3", history=History.last), TOOLS)

    assert trained_texts(sample.sample) == [WELCOME]


def test_history_as_rendered(make_stages: MakeStages) -> None:
    (sample,) = label(make_stages("qwen3", history=History.as_rendered), TOOLS)
    called = CALLED.replace("<think>\nI look.\n</think>\n\n", "")

    assert trained_texts(sample.sample) == [called, "It is fine.<|im_end|>", WELCOME]
    assert sample.sample.proof == "as-rendered"


def test_history_that_does_not_change_is_one_sample(make_stages: MakeStages) -> None:
    """No later question: both answers stand in the whole conversation as they were generated."""
    samples = label(once(make_stages, "qwen3"), TOOLS[:4])

    assert [trained_texts(s.sample) for s in samples] == [[CALLED, FINE]]


def test_only_the_turns_that_change_are_split(make_stages: MakeStages) -> None:
    """Three questions: each earlier answer lost its empty thought, so there are three samples."""
    chat = [{"role": role, "content": f"{role} {i}"} for i in range(3) for role in ("user", "assistant")]
    samples = label(once(make_stages, "qwen3"), chat)

    assert [trained_texts(s.sample) for s in samples] == [
        [f"<think>\n\n</think>\n\nassistant {i}<|im_end|>"] for i in (2, 1, 0)
    ]


def test_untrained_whole_is_left_out(make_stages: MakeStages) -> None:
    """The last answer is not to be trained: only the earlier one's own sample is left."""
    chat = [{"role": role, "content": f"{role} {i}"} for i in range(2) for role in ("user", "assistant")]
    samples = label(once(make_stages, "qwen3"), [*chat[:3], {**chat[3], "train": False}])

    assert [trained_texts(s.sample) for s in samples] == [["<think>\n\n</think>\n\nassistant 0<|im_end|>"]]


def test_tool_results_are_not_trained(make_stages: MakeStages) -> None:
    for sample in label(once(make_stages, "qwen3"), TOOLS):
        of_tool = [sample.sample.text.find("<tool_response>"), sample.sample.text.find("</tool_response>")]
        for start, end, token in zip(sample.starts, sample.ends, sample.labels, strict=True):
            assert token == IGNORE_INDEX or end <= of_tool[0] or start >= of_tool[1]
