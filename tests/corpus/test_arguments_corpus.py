"""Arguments, parts and modes of all templates of the shared folder: nothing crashes, and known models are right."""

from __future__ import annotations

import re
from functools import cache, partial
from typing import Any

import pytest
from places import SHARED
from premask.core.errors import RecipeError, TemplateError
from premask.core.records import Conversation, Sample
from premask.masking import completions
from premask.masking.chat_template import ChatTemplate
from premask.masking.content_parts import parts_roles
from premask.masking.printable import Printable
from premask.masking.reasoning_marks import find_reasoning_marks
from premask.masking.reasoning_modes import Mode, find_mode
from premask.masking.renders import Renders
from premask.masking.rules import Rules
from premask.masking.template_arguments import arguments_of, is_about_reasoning, names_read, unread
from premask.masking.turn_ends import find_turn_ends

CORPUS = SHARED / "corpus"
FILES = sorted(
    path.relative_to(CORPUS).as_posix()
    for folder in ("templates", "templates_2026")
    for path in (CORPUS / folder).rglob("*.jinja")
)
BROKEN = 3
"""Templates that Jinja does not compile."""

PARTS = (
    r"idefics3|smolvlm\.jinja|SmolVLM-Synthetic|llava_next|Llama-Guard-3-1B|VibeVoice-7B|glm-edge-v-2b"
    r"|vlm2vec|nemotron_embed_vl"
)
"""The templates that print nothing of a string, or refuse it."""

MODES: list[tuple[str, str, Any, Any]] = [
    ("trl/qwen3.jinja", "enable_thinking", True, False),
    ("trl/qwen3_6.jinja", "enable_thinking", True, False),
    ("zai-org-GLM-4.6V-Flash.jinja", "enable_thinking", True, False),
    ("zai-org-GLM-5.jinja", "enable_thinking", True, False),
    ("llamacpp/deepseek-ai-DeepSeek-V3.1.jinja", "thinking", True, False),
    ("llamacpp/google-gemma-4-31B-it.jinja", "enable_thinking", True, False),
    ("trl/trl-1.16.0_gemma4.jinja", "enable_thinking", True, False),
    ("unsloth-NVIDIA-Nemotron-3-Nano-4B.jinja", "enable_thinking", True, False),
    ("MiniMaxAI-MiniMax-M3-MXFP8.jinja", "thinking_mode", "enabled", "disabled"),
    ("ibm-granite-granite-3.3-2B-Instruct.jinja", "thinking", True, False),
    ("mistralai-Mistral-Small-4-119B-2603.jinja", "reasoning_effort", "high", "none"),
    ("tencent-Hy3-preview.jinja", "reasoning_effort", "high", "no_think"),
    ("QCRI-Fanar-2-27B-Instruct.jinja", "no_thinking", False, True),
    ("ai-sage-GigaChat3.1-Audio-10B-A1.8B.jinja", "reasoning", True, False),
]
"""Template, argument, value with reasoning, value without."""

pytestmark = pytest.mark.skipif(not FILES, reason=f"the template corpus {CORPUS} is not here")


@cache
def template_of(file: str) -> ChatTemplate | None:
    """Return a template; None if it does not compile."""
    source = (CORPUS / file).read_bytes().decode()
    try:
        return ChatTemplate(source, variables={"bos_token": "<s>", "eos_token": "</s>"}, name=file)
    except TemplateError:
        return None


def renders_of(template: ChatTemplate, conversation: Conversation) -> Renders:
    return Renders(conversation, template, as_parts=_parts(template))


_parts = cache(parts_roles)


@cache
def rules_of(template: ChatTemplate) -> Rules:
    renders = partial(renders_of, template)
    ends = find_turn_ends(renders, stops=("</s>",))
    return Rules(ends, find_reasoning_marks(template.sources.values(), renders))


def mode_of(template: ChatTemplate, name: str) -> Mode | str:
    """Return the mode of an argument, or why it has none."""

    def decides(conversation: Conversation) -> tuple[Sample, ...]:
        return completions.decide(renders_of(template, conversation), rules_of(template))

    try:
        return find_mode(template, name, renders=partial(renders_of, template), decides=decides)
    except RecipeError as error:
        return str(error)


@pytest.mark.parametrize("file", FILES)
def test_each_template(file: str) -> None:
    """What it reads, which roles get parts, and which arguments about reasoning have two modes."""
    template = template_of(file)
    if template is None:
        return
    names = arguments_of(template)
    assert set(names) <= names_read(template)
    assert unread(template, dict.fromkeys((*names, "no_such_name"))) == ("no_such_name",)
    assert bool(_parts(template)) is bool(re.search(PARTS, file)), _parts(template)
    assert not Printable(template, partial(renders_of, template)).ends_a_turn("\0")
    for name in filter(is_about_reasoning, names):
        mode = mode_of(template, name)
        if isinstance(mode, str):
            assert f"reads {name}, but no value changes how reasoning is printed" in mode
        else:
            assert mode.value(reasoning=True) != mode.value(reasoning=False)


def test_few_templates_do_not_compile() -> None:
    assert sum(template_of(file) is None for file in FILES) == BROKEN


@pytest.mark.parametrize(("end", "name", "reasoning", "plain"), MODES)
def test_modes_of_known_models(end: str, name: str, reasoning: object, plain: object) -> None:
    (file,) = (each for each in FILES if each.endswith(end))
    template = template_of(file)
    assert template is not None
    mode = mode_of(template, name)

    assert mode == Mode(name, reasoning, plain)


@pytest.mark.parametrize("file", [each for each in FILES if "enable_thinking" in (CORPUS / each).read_text()])
def test_enable_thinking_is_the_mode_with_reasoning(file: str) -> None:
    """No template calls it so and means the opposite."""
    template = template_of(file)
    if template is None or "enable_thinking" not in arguments_of(template):
        return
    mode = mode_of(template, "enable_thinking")

    assert mode == Mode("enable_thinking", with_reasoning=True, without=False)
