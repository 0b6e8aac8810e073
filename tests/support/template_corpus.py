"""The chat templates of the shared folder, and what is known of them: variables, control tokens, turn ends.

`INDEX` are the 209 templates of the first collection, `CORPUS` those and the 359 of 2026.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from conversation_kinds import ANY_WORD, CHATS
from inference import Inference
from oracle import Endings
from places import SHARED
from premask.core.errors import TemplateError
from premask.masking.chat_template import ChatTemplate

TEMPLATES = SHARED / "corpus" / "templates"
TEMPLATES_2026 = SHARED / "corpus" / "templates_2026"


def index() -> dict[str, dict[str, Any]]:
    """The first collection: file -> what its index says."""
    return {entry["file"]: entry for entry in json.loads((TEMPLATES / "index.shared.json").read_text())}


def _of_2026() -> tuple[str, ...]:
    entries = json.loads((TEMPLATES_2026 / "index.json").read_text())
    return tuple(f"2026/{entry['file']}" for entry in entries)


INDEX = index() if TEMPLATES.is_dir() else {}
CORPUS = (*INDEX, *(_of_2026() if TEMPLATES_2026.is_dir() else ()))


@cache
def source_of(file: str) -> str:
    """The text of a template."""
    own = file.removeprefix("2026/")
    return ((TEMPLATES if own == file else TEMPLATES_2026) / own).read_bytes().decode()


@cache
def compiles(file: str) -> bool:
    """Whether a template can be compiled."""
    try:
        ChatTemplate(source_of(file), variables=variables_of(file))
    except TemplateError:
        return False
    return True


# ==== Variables and control tokens ====

EOS_OF_FAMILY = {
    "gemma": "<eos>",
    "gemma4": "<eos>",
    "llama3+": "<|eot_id|>",
    "phi": "<|endoftext|>",
    "kimi": "[EOS]",
}
"""The tokenizer's eos where it is not what the corpus' index guesses: often not the end of a turn."""

_VARIABLES_BY_TOKEN = (
    ("<|start_header_id|>", "<|begin_of_text|>", "<|eot_id|>"),
    ("<start_of_turn>", "<bos>", "<eos>"),
    ("<|turn>", "<bos>", "<eos>"),
    ("<|START_OF_TURN_TOKEN|>", "<BOS_TOKEN>", "<|END_OF_TURN_TOKEN|>"),
    ("<｜hy_User｜>", "<｜hy_begin▁of▁sentence｜>", "<｜hy_eos｜>"),
    ("<｜User｜>", "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),
    ("<seed:think>", "<seed:bos>", "<seed:eos>"),
    ("<|BOT|>", "<｜begin▁of▁sentence｜>", "<|EOT|>"),
    ("<|start|>", "<|startoftext|>", "<|return|>"),
    ("<|header_start|>", "<|begin_of_text|>", "<|eot|>"),
    ("<|im_start|>", "<s>", "<|im_end|>"),
    ("<|assistant|>", "<s>", "<|endoftext|>"),
    ("", "<s>", "</s>"),
)
"""A token that tells the family of a template; bos and eos of its tokenizer."""

_CONTROL = re.compile(
    r"<[|｜][^<>\s]{1,40}?[|｜]>|<\|[a-z_]+>|<[a-z_]+\|>|<(?:start|end)_of_\w+>|</s>|\[/?[A-Z_]+\]|\[\|\w+\|\]|<_\w+>"
)
"""What looks like a control token in a template."""


def variables_of(file: str) -> dict[str, str]:
    """The special tokens of a template's tokenizer."""
    if (entry := INDEX.get(file)) is not None:
        eos = EOS_OF_FAMILY.get(entry["family"], entry["eos_guess"] or "</s>")
        return {"bos_token": entry["bos_guess"] or "<s>", "eos_token": eos}
    source = source_of(file)
    bos, eos = next((bos, eos) for token, bos, eos in _VARIABLES_BY_TOKEN if token in source)
    return {"bos_token": bos, "eos_token": eos}


@cache
def control_tokens_of(file: str) -> tuple[str, ...]:
    """The control tokens of a template's tokenizer."""
    eos = variables_of(file)["eos_token"]
    return tuple(sorted({eos, *_CONTROL.findall(source_of(file))}))


@cache
def control_tokens() -> tuple[str, ...]:
    """The control tokens of all templates of the first collection."""
    return tuple(sorted({token for file in INDEX for token in _CONTROL.findall(source_of(file))}))


# ==== What must end a turn ====

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
    "trl/idefics3.jinja": "<end_of_utterance>",
    "trl/idefics3_training.jinja": "<end_of_utterance>",
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


@cache
def own_ends(file: str) -> tuple[str, ...]:
    """What a turn of a template must end with; for the templates of 2026, what plain renders show behind the
    last word of an answer."""
    if file not in INDEX:
        return tuple(dict.fromkeys([*_seen_ends(file), variables_of(file)["eos_token"]]))
    family = INDEX[file]["family"]
    own = END_OF_FILE.get(file, END_OF_FAMILY[family])
    return ((own,) if isinstance(own, str) else own) + (
        (END_OF_CALL[family],) if family in END_OF_CALL else ()
    )


@cache
def prints_no_end(file: str) -> bool:
    """Whether a template prints nothing behind the last answer."""
    if file in INDEX:
        return file in PRINTS_NO_END
    tail = _behind_last_word(file, "plain")
    return tail is not None and not _TOKEN.search(tail)


@cache
def endings_of(file: str) -> Endings:
    """How the turns of a template end."""

    def is_end(completion: str, rest: str) -> bool:
        ends = own_ends(file)
        return (bool(ends) and completion.endswith(ends)) or (prints_no_end(file) and not rest.strip())

    return Endings(is_end, control_tokens_of(file))


_TOKEN = re.compile(r"<[^<>\s]{1,40}>|\[[|/]?[A-Za-z_]{2,30}\|?\]|</s>")
_WHOLE = re.compile(rf"(?:{_TOKEN.pattern})\Z")


def _seen_ends(file: str) -> Iterator[str]:
    eos = variables_of(file)["eos_token"]
    for kind in ("plain", "two turns"):
        tail = _behind_first_answer(file, kind)
        if eos not in tail and (found := _TOKEN.search(tail)) is not None:
            yield found[0]
    for kind in ("tool call last", "plain"):
        tail = _behind_last_word(file, kind)
        if tail is not None and (found := _WHOLE.search(tail.rstrip())) is not None:
            yield found[0]


def _behind_first_answer(file: str, kind: str) -> str:
    text = Inference(source_of(file), variables_of(file), CHATS[kind]).full() or ""
    return ANY_WORD.split(text.partition("zq1cB")[2])[0]


def _behind_last_word(file: str, kind: str) -> str | None:
    text = Inference(source_of(file), variables_of(file), CHATS[kind]).full()
    return None if text is None else ANY_WORD.split(text)[-1]
