"""`{% generation %}` tags of templates that others annotated by hand: a second opinion on the mask."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from conversation_kinds import CHATS, Chat, field_of, words
from mask_survey import samples_of
from template_corpus import INDEX, TEMPLATES, source_of, variables_of
from transformers.utils.chat_template_utils import render_jinja_template

pytestmark = pytest.mark.skipif(not TEMPLATES.is_dir(), reason=f"the template corpus {TEMPLATES} is not here")

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

NOTHING_IN_COMMON = {
    "trl/idefics3_training.jinja",  # prints no content that is a plain string
    "trl/llava_next_training.jinja",
    "other/automodel-examples_long_context_validation_gemma4_31B_gemma4_coderforge_chat_template.jinja",
}
"""Templates of which no sample is a whole render: nothing can be compared. (The prompt of the last one has an
empty block of reasoning that its texts do not show.)"""


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
    assert compared or file in NOTHING_IN_COMMON


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
            samples = samples_of(product_file, chat, on_dropped="count", open_reasoning="as-rendered")
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
                if not inside and {field_of(word) for word in words(text[start:end])} == {"t"}:
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
        fields = {field_of(word) for word in words(skipped)}
        named = {"": BLANK if not skipped.strip() else NO_OPENING, "r": NO_REASONING, "t": NO_CALL}
        yield named.get("".join(sorted(fields)), f"does not train {skipped!r}")
    if b > end:
        yield TRAILING if not text[end:b].strip() else f"also trains {text[end:b]!r}"
    elif missed := text[b:end]:
        yield NO_STOP if missed == "<|tool_response>" else f"does not train {missed!r}"
