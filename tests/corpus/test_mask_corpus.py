"""The mask of every template of the corpus on every kind of conversation, judged by the oracle.

    python tests/corpus/test_mask_corpus.py      the totals, as a table, and the list of refusals

No mask may be wrong. A row may be refused only where a reason can be seen without the pipeline: the
template raises on what inference would need, prints nothing of a turn, or shows the model another prompt
than the text has.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
from oracle import ANY_WORD, CHATS, Chat, Inference, frozen_date, judge, words
from premask.core.errors import RowError
from premask.core.recipe import History
from premask.core.records import Sample
from premask.dialects import normalize
from premask.masking.completions import decide
from premask.masking.renders import Renders
from template_corpus import (  # noqa: F401
    _CONTROL,
    EOS_OF_FAMILY,
    INDEX,
    TEMPLATES,
    compiles,
    control_tokens,
    index,
    product,
    source_of,
    variables_of,
)
from transformers.utils.chat_template_utils import render_jinja_template

pytestmark = pytest.mark.skipif(not TEMPLATES.is_dir(), reason=f"the template corpus {TEMPLATES} is not here")

# ==== What is known of the templates ====

END_OF_FAMILY = {
    "chatml/hermes": "<|im_end|>",
    "cohere": "<|END_OF_TURN_TOKEN|>",
    "deepseek": "<｜end▁of▁sentence｜>",
    "gemma": "<end_of_turn>",
    "gemma4": "<turn|>",
    "granite": "<|end_of_text|>",
    "kimi": "<|im_end|>",
    "lfm2": "<|im_end|>",
    "llama2/mistral-style sentencepiece": "</s>",
    "llama3+": "<|eot_id|>",
    "nemotron": "<|im_end|>",
    "other": "</s>",
    "phi": "<|end|>",
    "qwen/chatml": "<|im_end|>",
}
"""What an assistant turn must end with, by the family that the corpus' index names."""

END_OF_FILE: dict[str, str | tuple[str, ...]] = {
    "axolotl/exaone.jinja": "[|endofturn|]",
    "axolotl/llama4.jinja": "<|eot|>",
    "axolotl/phi_4.jinja": "<|im_end|>",
    "chujiezheng/openchat-3.5.jinja": "<|end_of_turn|>",
    "functionary/cogito.jinja": "<|im_end|>",
    "functionary/r1.jinja": "<｜end▁of▁sentence｜>",
    "llamacpp/Apriel-1.6-15b-Thinker-fixed.jinja": "<|end|>",
    "llamacpp/Reka-Edge.jinja": "<sep>",
    "llamacpp/StepFun3.5-Flash.jinja": "<|im_end|>",
    "llamacpp/stepfun-ai-Step-3.5-Flash.jinja": "<|im_end|>",
    "other/automodel-examples_convergence_tulu3_models_moonlight-16b_chat_template.jinja": "<|im_end|>",
    "other/automodel-examples_dllm_sft_llada_chat_template.jinja": "<|eot_id|>",
    "unsloth/phi-4.jinja": "<|im_end|>",
    "unsloth/yi-chat.jinja": "<|im_end|>",
    "vllm/builtin_template_minicpmv45.jinja": "<|im_end|>",
    "vllm/template_teleflm.jinja": (
        "<_user>",
        "<_bot>",
        "<_system>",
    ),  # the next role's token is what stops it
    "vllm/tool_chat_template_internlm2_tool.jinja": "<|im_end|>",
}
"""The same where the file differs from its family."""

END_OF_CALL = {"gemma4": "<|tool_response>", "llama3+": "<|eom_id|>"}
"""What a turn that calls a tool can end with instead."""

PRINTS_NO_END = {
    "axolotl/llava.jinja",
    "chujiezheng/chatqa.jinja",
    "chujiezheng/solar-instruct.jinja",
    "llamacpp/llama-cpp-rwkv-world.jinja",
    "openinstruct/assistant_message_only.jinja",
    "openinstruct/r1_simple_chat_postpend_think_tool_vllm.jinja",
    "vllm/builtin_template_basic.jinja",
    "vllm/builtin_template_fuyu.jinja",
    "vllm/template_alpaca.jinja",
    "vllm/template_florence2.jinja",
    # these only before the next message, not after the last one:
    "llamacpp/Apriel-1.6-15b-Thinker-fixed.jinja",
    "vllm/builtin_template_chatml.jinja",
    "vllm/template_chatml.jinja",
    "vllm/template_teleflm.jinja",
}
"""Templates of which a turn ends with nothing but blanks: it may, if really nothing else is printed."""


EXPLAINED = {
    ("llamacpp/Apriel-1.6-15b-Thinker-fixed.jinja", "consecutive assistants"): (
        "boundary_unclear: it prints no generation prompt after an assistant, so by the definition the second "
        "turn starts before the end of the first"
    ),
}
"""Refusals for which the oracle sees no reason, and why they are right all the same."""


# ==== Running the product ====


def samples_of(file: str, chat: Chat, history: History = History.split) -> tuple[Sample, ...]:
    template, ends = product(file)
    conversation = normalize(
        {"messages": list(chat.messages), "tools": chat.tools and list(chat.tools)}, "openai"
    )
    return decide(Renders(conversation, template), ends, history=history)


def own_ends(file: str) -> tuple[str, ...]:
    """What a turn of a template must end with."""
    family = INDEX[file]["family"]
    own = END_OF_FILE.get(file, END_OF_FAMILY[family])
    return ((own,) if isinstance(own, str) else own) + (
        (END_OF_CALL[family],) if family in END_OF_CALL else ()
    )


def ends_of(file: str) -> Callable[[str, str], bool]:
    """Whether a completion ends as the turns of a template must, if `rest` follows it."""

    def is_end(completion: str, rest: str) -> bool:
        return completion.endswith(own_ends(file)) or (file in PRINTS_NO_END and not rest.strip())

    return is_end


# ==== The survey ====


class Result(NamedTuple):
    """What became of one conversation: `exact`, `split`, `refused` or `wrong`, and why."""

    kind: str
    outcome: str
    why: str
    shortened: int


@cache
def survey(file: str) -> tuple[Result, ...]:
    with frozen_date():
        return tuple(_result(file, kind, chat) for kind, chat in CHATS.items())


def _result(file: str, kind: str, chat: Chat) -> Result:
    inference = Inference(source_of(file), variables_of(file), chat)
    try:
        samples = samples_of(file, chat)
    except RowError as error:
        return Result(kind, "refused", f"{_reason(file, kind, inference)} ({error.reason})", 0)
    verdict = judge(inference, [(s.text, s.turns) for s in samples], ends_of(file), control_tokens())
    if verdict.wrong:
        return Result(kind, "wrong", "; ".join(verdict.wrong), 0)
    return Result(kind, "split" if len(samples) > 1 else "exact", "", len(verdict.shortened))


def _reason(file: str, kind: str, inference: Inference) -> str:
    if inference.raises():
        return "raises"
    if inference.loses():
        return "loses text"
    if inference.diverges():
        return "shows another prompt"
    return "explained" if (file, kind) in EXPLAINED else "unexplained"


@pytest.mark.parametrize("file", INDEX)
def test_masks_are_right_and_refusals_have_a_reason(file: Any) -> None:
    if not compiles(file):
        assert INDEX[file]["compiles"] is False
        return
    results = survey(file)

    assert not {r.kind: r.why for r in results if r.outcome == "wrong"}
    assert not {r.kind: r.why for r in results if r.why.startswith("unexplained")}


@pytest.mark.parametrize(
    "file", ["axolotl/chatml.jinja", "trl/qwen3.jinja", "trl/gemma.jinja", "llamacpp/Qwen3.5-4B.jinja"]
)
@pytest.mark.parametrize("shift", [(1, 0), (-1, 0), (3, 0), (-9, 0), (0, 1), (0, -1), (0, 9), (0, -12)])
def test_the_oracle_sees_a_shifted_mask(file: str, shift: tuple[int, int]) -> None:
    chat = CHATS["two turns"]
    inference = Inference(source_of(file), variables_of(file), chat)
    samples = [(s.text, [(*turn,) for turn in s.turns]) for s in samples_of(file, chat)]

    assert not judge(inference, samples, ends_of(file), ()).wrong

    (text, ((i, start, end), *others)), *rest = samples
    shifted = [(text, [(i, start + shift[0], end + shift[1]), *others]), *rest]

    assert judge(inference, shifted, ends_of(file), ()).wrong
    assert judge(inference, [(text, others), *rest], ends_of(file), ()).wrong
    assert judge(inference, [(text, [(i - 1, start, end), *others]), *rest], ends_of(file), ()).wrong


def test_most_conversations_are_kept() -> None:
    """A refusal is easy; it must stay the exception where the template itself does not object."""
    results = [result for file in INDEX if compiles(file) for result in survey(file)]
    objected = sum(
        r.outcome == "refused" and not r.why.startswith(("unexplained", "explained")) for r in results
    )
    kept = sum(r.outcome in ("exact", "split") for r in results)

    assert kept > 4000
    assert kept + objected >= len(results) - len(EXPLAINED)


@pytest.mark.parametrize(
    "file", ["trl/qwen3.jinja", "trl/qwen2_5.jinja", "trl/gemma.jinja", "trl/deepseekv3.jinja"]
)
def test_policy_last_trains_the_last_turn_as_split_does(file: Any) -> None:
    for kind in (
        "two turns",
        "reasoning twice",
        "consecutive users",
        "six turns with reasoning",
        "inline think",
    ):
        try:
            split = samples_of(file, CHATS[kind])
        except RowError:
            continue
        (last,) = samples_of(file, CHATS[kind], History.last)
        (sample,) = [s for s in split if any(t.message == CHATS[kind].wanted[-1] for t in s.turns)]

        assert last.text == sample.text
        assert last.turns == sample.turns[-1:]


@pytest.mark.parametrize("file", INDEX)
def test_policy_as_rendered_trains_every_turn_of_the_whole_text(file: Any) -> None:
    """What stands behind a turn's own words is what the template prints when the turn has just been written:
    never the header of the next one. (Some templates end a turn that is answered in another way, with one
    control token, or not at all.)"""
    if not compiles(file):
        return
    for kind in ("two turns", "reasoning twice", "consecutive users", "tools", "six turns with reasoning"):
        try:
            (sample,) = samples_of(file, CHATS[kind], History.as_rendered)
        except RowError:
            continue
        with frozen_date():
            inference = Inference(source_of(file), variables_of(file), CHATS[kind])
            whole, alone = inference.full(), {i: inference.through(i) or "" for i in CHATS[kind].wanted}

        assert sample.text == whole
        assert [turn.message for turn in sample.turns] == CHATS[kind].wanted
        for i, start, end in sample.turns:
            stretch = sample.text[start:end]
            behind, expected = (ANY_WORD.split(text)[-1] for text in (stretch, alone[i]))

            assert words(stretch) == words(sample.text, of=i)
            ended = stretch.endswith(own_ends(file))
            assert ended or expected.startswith(behind) or behind.strip() in control_tokens(), (
                kind,
                i,
                behind,
            )


@pytest.mark.parametrize("file", ["trl/qwen3.jinja", "llamacpp/Qwen3.5-4B.jinja", "trl/gemma.jinja"])
def test_policy_as_rendered_keeps_plain_conversations(file: Any) -> None:
    for kind in ("two turns", "consecutive users", "reasoning twice"):
        if (file, kind) == ("trl/gemma.jinja", "consecutive users"):
            continue  # Gemma's template refuses them
        (sample,) = samples_of(file, CHATS[kind], History.as_rendered)

        assert all(ends_of(file)(sample.text[start:end], "") for _, start, end in sample.turns)


# ==== {% generation %} tags as a second opinion ====

HEADER = "trains of the header what the generation prompt says"
BLANK = "does not train the blank that opens a completion"
TRAILING = "trains the blanks behind the turn end"
NO_STOP = "does not train the end of a turn that calls a tool"
NO_REASONING = "does not train the reasoning"
NO_CALL = "does not train the tool calls"
NO_OPENING = "does not train the header that inference leaves to the model"
GAP = "does not train the blanks between reasoning and answer"
KINDS = (HEADER, BLANK, TRAILING, NO_STOP, NO_REASONING, NO_CALL, NO_OPENING, GAP)

TAGGED = [
    file
    for file in INDEX
    if "{% generation %}" in re.sub(r"\{%-?\s*(\w+)\s*-?%\}", r"{% \1 %}", source_of(file))
]

_TULU = {BLANK, GAP, TRAILING}
KNOWN_DIFFERENCES: dict[str, set[str]] = {
    "axolotl/llava.jinja": {BLANK, TRAILING},
    "other/automodel-examples_convergence_tulu3_models_qwen3-4b_chat_template.jinja": _TULU,
    "other/automodel-examples_convergence_tulu3_models_qwen3-moe-30b_chat_template.jinja": _TULU,
    "other/automodel-examples_dllm_sft_diffusion_gemma_chat_template.jinja": {
        NO_OPENING,
        NO_REASONING,
        NO_CALL,
        TRAILING,
    },
    "other/automodel-examples_llm_finetune_agent_qwen2_5_synthtraces_chat_template.jinja": {BLANK, TRAILING},
    "other/automodel-examples_llm_finetune_qwen_qwen3_tulu3_chat_template.jinja": _TULU,
    "other/automodel-examples_long_context_validation_gemma4_31B_gemma4_coderforge_chat_template.jinja": {
        TRAILING
    },
    "other/automodel-examples_long_context_validation_qwen3_32b_qwen3_coderforge_chat_template.jinja": _TULU,
    "trl/deepseekv3_training.jinja": {HEADER},
    "trl/diffusion_gemma_training.jinja": {NO_STOP, NO_OPENING, TRAILING},
    "trl/gemma_training.jinja": {TRAILING},
    "trl/phi3_5_training.jinja": {TRAILING},
    "trl/phi3_training.jinja": {TRAILING},
    "trl/qwen2_5_training.jinja": {HEADER, TRAILING},
    "trl/qwen2_5_vl_training.jinja": {TRAILING},
    "trl/qwen3_5_nothink_training.jinja": {HEADER, TRAILING},
    "trl/qwen3_5_think_training.jinja": {HEADER, TRAILING},
    "trl/qwen3_6_training.jinja": {HEADER, TRAILING},
    "trl/qwen3_instruct_2507_training.jinja": {TRAILING},
    "trl/qwen3_training.jinja": {TRAILING},
    "trl/qwen3_vl_training.jinja": {TRAILING},
}
"""Where hand-annotated templates differ from the definition, and how; the others do not at all."""

TAKES_PARTS = {"trl/idefics3_training.jinja", "trl/llava_next_training.jinja"}
"""Templates that print no content that is a plain string: nothing can be compared."""


def compared_with(file: str) -> list[str]:
    """An annotated template's own mask, and that of the unmodified template it was made from."""
    unmodified = file.replace("_training", "")
    return list(dict.fromkeys([file, unmodified if unmodified in INDEX else file]))


@pytest.mark.parametrize(
    ("file", "other"), [(file, other) for file in TAGGED for other in compared_with(file)]
)
def test_annotated_templates_agree_but_for_what_is_known(file: Any, other: Any) -> None:
    kinds, unknown, compared = differences(file, other)

    assert not unknown
    assert kinds == KNOWN_DIFFERENCES.get(file, set())
    assert compared or file in TAKES_PARTS


def tagged_spans(source: str, chat: Chat, variables: dict[str, str]) -> tuple[str, list[tuple[int, int]]]:
    messages = [{k: v for k, v in m.items() if k != "train"} for m in chat.messages]
    texts, spans = render_jinja_template(
        [messages],
        tools=chat.tools and list(chat.tools),
        chat_template=source,
        return_assistant_tokens_mask=True,
        **variables,
    )
    return str(texts[0]), [span for span in spans[0] if span[0] < span[1]]


def differences(annotated: str, product_file: str) -> tuple[set[str], list[str], int]:
    """Known kinds of difference between the tagged spans of one template and the mask of another, the
    differences of no known kind, and how many turns were compared."""
    kinds, unknown, compared = set(), [], 0
    for kind, chat in CHATS.items():
        try:
            text, spans = tagged_spans(source_of(annotated), chat, variables_of(annotated))
            samples = samples_of(product_file, chat)
        except Exception:  # noqa: BLE001, S112  a template that refuses the chat has nothing to compare
            continue
        if kind == "one turn untrained":
            continue
        for sample in samples:
            if sample.text != text:
                continue
            for i, start, end in sample.turns:
                compared += 1
                inside = [(a, b) for a, b in spans if a < end and b > start]
                gaps = [text[b:a] for (_, b), (a, _) in pairwise(inside) if b < a]
                if not inside and {word[-2] for word in words(text[start:end])} == {"t"}:
                    kinds.add(NO_CALL)
                    continue
                if not inside or any(gap.strip() for gap in gaps):
                    unknown.append(f"{kind}, message {i}: {inside}, {gaps}")
                    continue
                kinds |= {GAP} if gaps else set()
                for difference in _differences(text, (start, end), (inside[0][0], inside[-1][1])):
                    kinds.add(difference) if difference in KINDS else unknown.append(
                        f"{kind}, message {i}: {difference}"
                    )
    return kinds, unknown, compared


def _differences(text: str, own: tuple[int, int], tagged: tuple[int, int]) -> Iterator[str]:
    """How a tagged span differs from the trained stretch it meets."""
    (start, end), (a, b) = own, tagged
    if a < start:
        yield HEADER if not words(text[a:start]) else f"also trains {text[a:start]!r}"
    elif skipped := text[start:a]:
        fields = {word[-2] for word in words(skipped)}
        named = {"": BLANK if not skipped.strip() else NO_OPENING, "r": NO_REASONING, "t": NO_CALL}
        yield named.get("".join(sorted(fields)), f"does not train {skipped!r}")
    if b > end:
        yield TRAILING if not text[end:b].strip() else f"also trains {text[end:b]!r}"
    elif missed := text[b:end]:
        yield NO_STOP if missed == "<|tool_response>" else f"does not train {missed!r}"


# ==== The table ====


def main() -> None:  # noqa: C901  a table, a list, a list
    totals: Counter[str] = Counter()
    shortened: Counter[str] = Counter()
    refusals: dict[str, list[tuple[str, str]]] = defaultdict(list)
    wrong = []
    by_kind: dict[str, Counter[str]] = defaultdict(Counter)
    for file in INDEX:
        if not compiles(file):
            print(f"{file} does not compile")
            continue
        for result in survey(file):
            totals[result.outcome] += 1
            by_kind[result.kind][result.outcome] += 1
            shortened[file] += result.shortened
            if result.outcome == "refused":
                refusals[result.why].append((file, result.kind))
            if result.outcome == "wrong":
                wrong.append((file, result.kind, result.why))
    print(f"\n{'conversation':32}{'exact':>8}{'split':>8}{'refused':>9}{'wrong':>7}")
    for kind, counts in [*by_kind.items(), ("all", totals)]:
        print(f"{kind:32}{counts['exact']:8}{counts['split']:8}{counts['refused']:9}{counts['wrong']:7}")
    print("\nrefused:")
    for why, rows in sorted(refusals.items(), key=lambda item: -len(item[1])):
        print(f"{len(rows):6}  {why}")
        if why.startswith(("unexplained", "explained", "shows")):
            for file in dict.fromkeys(file for file, _ in rows):
                print(f"          {file}: {', '.join(kind for other, kind in rows if other == file)}")
    print(
        f"\nturns before which the text shows only a part of the generation prompt: {sum(shortened.values())}"
    )
    for file, count in shortened.most_common():
        if count:
            print(f"{count:6}  {file}")
    for file, kind, why in wrong:
        print(f"WRONG  {file}, {kind}: {why}")


if __name__ == "__main__":
    main()
