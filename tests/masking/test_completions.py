"""Which text of a conversation is trained: against its slow reference, and each rule on a small case."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from labelling import kept, masked, messages_row, rejected, spans
from places import MakeLabeller
from premask.core.contract import IGNORE_INDEX
from premask.core.errors import RowError
from premask.core.recipe import History
from premask.core.records import Conversation, Message, Reject, Sample
from premask.labeller import LabelledSample, Labeller
from premask.masking.completions import decide
from premask.masking.rules import Rules
from premask.masking.turn_ends import TurnEnds, find_turn_ends
from reference import Chat, reference
from small_templates import CHATML, COHERE, GLM, GOLDEN, HASHES, LLAMA_2, MISTRAL, PHI_3, VICUNA, renders_of


def label(labeller: Labeller, messages: Chat, **row: Any) -> tuple[LabelledSample, ...]:
    return kept(labeller, messages_row(messages, **row), "openai")


def rejection(labeller: Labeller, messages: Chat, **row: Any) -> Reject:
    return rejected(labeller, messages_row(messages, **row), "openai")


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


def check_against_reference(labeller: Labeller, messages: Chat, turn_end: str, **kwargs: Any) -> None:
    samples = label(labeller, messages)
    expected = reference(labeller.tokenizer.hf, messages, turn_end, **kwargs)
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
    make_labeller: MakeLabeller, name: str, turn_end: str, kwargs: dict[str, str], messages: Chat
) -> None:
    """One sample a row, whose ids are those of `apply_chat_template`."""
    labeller = once(make_labeller, name, template_kwargs=kwargs, seam="template")
    check_against_reference(labeller, messages, turn_end, **kwargs)
    (sample,) = label(labeller, messages)

    assert sample.ids.tolist() == labeller.tokenizer.hf.apply_chat_template(
        messages, tokenize=True, return_dict=False, **kwargs
    )


_LABELLERS: dict[str, Labeller] = {}


def once(make_labeller: MakeLabeller, name: str, **keys: Any) -> Labeller:
    key = f"{name} {keys}"
    if key not in _LABELLERS:
        _LABELLERS[key] = make_labeller(name, **keys)
    return _LABELLERS[key]


@given(
    messages=conversations().filter(
        lambda chat: "assistant assistant" not in " ".join(m["role"] for m in chat)
    )
)
def test_a_template_that_rewrites_history(make_labeller: MakeLabeller, messages: Chat) -> None:
    """Qwen3 prints an empty thought before the last answers only; each other answer is a sample of its own."""
    labeller = once(make_labeller, "qwen3", seam="template")
    check_against_reference(labeller, messages, "<|im_end|>")
    whole = label(labeller, messages)[0]

    assert whole.ids.tolist() == labeller.tokenizer.hf.apply_chat_template(
        messages, tokenize=True, return_dict=False
    )


def test_two_answers_in_a_row_of_such_a_template(make_labeller: MakeLabeller) -> None:
    """Inference shows the first answer with its empty thought, the text of both without it: the second is put
    behind its own prompt, and this text shows the first as well."""
    chat = [
        {"role": role, "content": text}
        for role, text in (("user", "x"), ("assistant", "y"), ("assistant", "z"))
    ]
    (sample,) = label(once(make_labeller, "qwen3"), chat)
    prompt = once(make_labeller, "qwen3").tokenizer.hf.apply_chat_template(
        chat[:2], tokenize=False, add_generation_prompt=True
    )

    assert sample.sample.proof == "composed"
    assert sample.text == prompt + "<think>\n\n</think>\n\nz<|im_end|>"
    assert masked(sample) == [f"<think>\n\n</think>\n\n{text}<|im_end|>" for text in "yz"]


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
    (sample,) = decide(of(Conversation(TALK)), Rules(find_turn_ends(of, stops=stops, control_tokens=control)))

    assert trained_texts(sample) == expected
    assert [turn.message for turn in sample.turns] == [1, 3]
    assert sum(length for length, _ in sample.runs) == len(sample.text)


def test_train_flags_of_messages() -> None:
    """`train: false` takes a turn away, `true` gives nothing to a user."""
    of = renders_of(CHATML)
    talk = (Message("user", "Hi", train=True), Message("assistant", "Hello", train=False), *TALK[2:])
    (sample,) = decide(of(Conversation(talk)), Rules(TurnEnds(("<|im_end|>",))))

    assert trained_texts(sample) == ["So long<|im_end|>"]


def test_nothing_trained() -> None:
    silent = tuple(Message(m.role, m.content, train=False) for m in TALK)
    with pytest.raises(RowError, match=r"nothing_trained: no .*message.* is to be trained"):
        decide(renders_of(CHATML)(Conversation(silent)), Rules(TurnEnds(("<|im_end|>",))))


@pytest.mark.parametrize("key", [{"train": False}, {"weight": 0}])
def test_flags_of_rows(make_labeller: MakeLabeller, key: dict[str, Any]) -> None:
    """The flags as rows have them."""
    chat = [{"role": m.role, "content": m.content} for m in TALK]
    chat[1] |= key
    (sample,) = label(once(make_labeller, "sample"), chat)

    assert masked(sample) == ["So long<|im_end|>"]


def test_weights_between_are_refused(make_labeller: MakeLabeller) -> None:
    chat: Chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello", "weight": 0.5}]
    rejected = rejection(once(make_labeller, "sample"), chat)

    assert rejected.reason == "unsupported_weight"


def test_a_dropped_answer_is_refused() -> None:
    source = CHATML.replace("{{ m.content }}", "{{ m.content if m.role == 'user' else 'Yes.' }}")
    with pytest.raises(
        RowError, match=r"content_dropped: the chat template prints nothing of message \d \(assistant\)"
    ):
        decide(renders_of(source)(Conversation(TALK)), Rules(TurnEnds(("<|im_end|>",))))


def test_dropped_tool_calls_are_refused() -> None:
    call = {"type": "function", "function": {"name": "now", "arguments": {}}}
    talk = (TALK[0], Message("assistant", "Wait.", tool_calls=(call,)))
    with pytest.raises(
        RowError,
        match=r"content_dropped: the chat template does not print all tool calls of message 1 \(assistant\)",
    ):
        decide(renders_of(CHATML)(Conversation(talk)), Rules(TurnEnds(("<|im_end|>",))))


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
    samples = decide(renders_of(source)(Conversation(TALK)), Rules(TurnEnds(("</s>",))))
    # each answer is shown after the prompt that inference had: two samples, no guess
    assert [trained_texts(sample) for sample in samples] == [[" So long</s>"], [" Hello</s>"]]

    source = CHATML.replace("{% if add_generation_prompt %}", "{% if add_generation_prompt %}Think well.\n")
    with pytest.raises(RowError, match="prompt_mismatch"):
        decide(renders_of(source)(Conversation(TALK)), Rules(TurnEnds(("<|im_end|>",))))


def test_text_of_others_inside_a_turn_is_refused() -> None:
    """A template that repeats the question within the answer."""
    source = CHATML.replace(
        "{{ m.content }}", "{{ m.content }}{{ ' (' + messages[0].content + ')' if m.role == 'assistant' }}"
    )
    with pytest.raises(RowError) as error:
        decide(renders_of(source)(Conversation(TALK)), Rules(TurnEnds(("<|im_end|>",))))

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


def test_history_split(make_labeller: MakeLabeller) -> None:
    """The whole conversation trains its last answer; the two before a later question share one more sample,
    because there the first of them is shown as it was generated. The tool's answer is trained nowhere."""
    samples = label(once(make_labeller, "qwen3"), TOOLS)

    assert [masked(s) for s in samples] == [[WELCOME], [CALLED, FINE]]
    assert samples[1].text.endswith(FINE + "\n")
    assert {s.sample.proof for s in samples} == {"split"}


def test_history_last(make_labeller: MakeLabeller) -> None:
    (sample,) = label(make_labeller("qwen3", history=History.last), TOOLS)

    assert masked(sample) == [WELCOME]


def test_history_as_rendered(make_labeller: MakeLabeller) -> None:
    (sample,) = label(make_labeller("qwen3", history=History.as_rendered), TOOLS)
    called = CALLED.replace("<think>\nI look.\n</think>\n\n", "")

    assert masked(sample) == [called, "It is fine.<|im_end|>", WELCOME]
    assert sample.sample.proof == "as-rendered"


def test_history_that_does_not_change_is_one_sample(make_labeller: MakeLabeller) -> None:
    """No later question: both answers stand in the whole conversation as they were generated."""
    samples = label(once(make_labeller, "qwen3"), TOOLS[:4])

    assert [masked(s) for s in samples] == [[CALLED, FINE]]


def test_only_the_turns_that_change_are_split(make_labeller: MakeLabeller) -> None:
    """Three questions: each earlier answer lost its empty thought, so there are three samples."""
    chat = [{"role": role, "content": f"{role} {i}"} for i in range(3) for role in ("user", "assistant")]
    samples = label(once(make_labeller, "qwen3"), chat)

    assert [masked(s) for s in samples] == [
        [f"<think>\n\n</think>\n\nassistant {i}<|im_end|>"] for i in (2, 1, 0)
    ]


def test_untrained_whole_is_left_out(make_labeller: MakeLabeller) -> None:
    """The last answer is not to be trained: only the earlier one's own sample is left."""
    chat = [{"role": role, "content": f"{role} {i}"} for i in range(2) for role in ("user", "assistant")]
    samples = label(once(make_labeller, "qwen3"), [*chat[:3], {**chat[3], "train": False}])

    assert [masked(s) for s in samples] == [["<think>\n\n</think>\n\nassistant 0<|im_end|>"]]


def test_tool_results_are_not_trained(make_labeller: MakeLabeller) -> None:
    for sample in label(once(make_labeller, "qwen3"), TOOLS):
        of_tool = [sample.text.find("<tool_response>"), sample.text.find("</tool_response>")]
        for (start, end), token in zip(spans(sample), sample.labels, strict=True):
            assert token == IGNORE_INDEX or end <= of_tool[0] or start >= of_tool[1]
