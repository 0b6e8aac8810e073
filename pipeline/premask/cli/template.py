"""`premask template`: what a chat template does, and what a run makes of each kind of row."""

from __future__ import annotations

import sys
from functools import partial

from ..core.errors import TemplateError
from ..core.limits import LimitError, in_watched_process
from .options import argument, command, format_option
from .recipe_options import GROUPS, Flags, recipe_of, recipe_options

_OWN = {"tokenizer"}
_KEYS = [key for group in ("Tokenizer and template", "Mask") for key in GROUPS[group] if key not in _OWN]
"""The keys of a recipe that change what becomes of a probe."""


REPORT_SECONDS = 120.0
"""CPU seconds for a few hundred renders, which take one or two."""


@command(
    "premask template Qwen/Qwen3-0.6B",
    "premask template path/to/tokenizer --chat-template llama2 --format json",
)
@argument("tokenizer", "TOKENIZER", "Directory or Hub id of the tokenizer.")
@recipe_options(*_KEYS, "repair")
@format_option()
def template(tokenizer: str, flags: Flags, form: str) -> None:
    """Say what a template does and what a run makes of each kind of row; exit code 1 if plain chats fail."""
    from ..labeller import Labeller
    from ..review.template_report import diagnose
    from ..review.terminal.template import print_diagnosis
    from ..tokens.transformers_library import leave_torch_out
    from .printing import print_json, table_console

    recipe = recipe_of(["-"], {**flags, "tokenizer": tokenizer, "output": "-"})
    leave_torch_out()
    labeller = Labeller(recipe)
    try:
        diagnosis = in_watched_process(partial(diagnose, labeller), labeller.template.name, REPORT_SECONDS)
    except LimitError as error:
        raise TemplateError(f"{error} to report on") from None
    if form == "json":
        print_json(diagnosis.as_dict())
    else:
        print_diagnosis(table_console(), diagnosis)
    sys.exit(1 if diagnosis.is_refused else 0)
