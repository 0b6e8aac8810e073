"""The chat templates of the shared folder."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

from places import SHARED
from premask.core.errors import TemplateError
from premask.masking.chat_template import ChatTemplate
from premask.masking.renders import Renders
from premask.masking.turn_ends import TurnEnds, find_turn_ends

TEMPLATES = SHARED / "corpus" / "templates"


EOS_OF_FAMILY = {
    "gemma": "<eos>",
    "gemma4": "<eos>",
    "llama3+": "<|eot_id|>",
    "phi": "<|endoftext|>",
    "kimi": "[EOS]",
}
"""The tokenizer's eos where it is not what the corpus' index guesses: often not the end of a turn."""


_CONTROL = re.compile(
    r"<[|｜][^<>\s]{1,40}?[|｜]>|<\|[a-z_]+>|<[a-z_]+\|>|<(?:start|end)_of_\w+>|</s>|\[/?[A-Z_]+\]|\[\|\w+\|\]|<_\w+>"
)
"""What looks like a control token in a template."""


def index() -> dict[str, dict[str, Any]]:
    return {entry["file"]: entry for entry in json.loads((TEMPLATES / "index.shared.json").read_text())}


INDEX = index() if TEMPLATES.is_dir() else {}


@cache
def source_of(file: str) -> str:
    return (TEMPLATES / file).read_bytes().decode()


@cache
def control_tokens() -> tuple[str, ...]:
    return tuple(sorted({token for file in INDEX for token in _CONTROL.findall(source_of(file))}))


def variables_of(file: str) -> dict[str, str]:
    entry = INDEX[file]
    eos = EOS_OF_FAMILY.get(entry["family"], entry["eos_guess"] or "</s>")
    return {"bos_token": entry["bos_guess"] or "<s>", "eos_token": eos}


@cache
def product(file: str) -> tuple[ChatTemplate, TurnEnds]:
    variables = variables_of(file)
    template = ChatTemplate(source_of(file), variables=variables)
    control = [token for token in control_tokens() if token != variables["bos_token"]]
    ends = find_turn_ends(
        lambda c: Renders(c, template), stops=(variables["eos_token"],), control_tokens=control
    )
    return template, ends


def compiles(file: str) -> bool:
    try:
        product(file)
    except TemplateError:
        return False
    return True
