"""The files of a tokenizer that are saved beside the shards: those that are named here, and no others.

    tokenizer.json                          the tokenizer
    tokenizer_config.json                   its class and settings, as transformers writes them
    chat_template.jinja                     the chat template that was used
    additional_chat_templates/NAME.jinja    further ones

Code, and a setting that names code (`auto_map`), are not saved: whoever loads an output runs nothing of the
tokenizer.

Cost: a few milliseconds.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .tokenizer_folder import CONFIG, TEMPLATE_FOLDERS, check_templates

_OF_CODE = ("auto_map", "trust_remote_code")
_OWN_TEMPLATE = "chat_template"


def saved_config(hf: Any) -> bytes:
    """Return the tokenizer_config.json that transformers writes, without code and chat templates."""
    own = hf.chat_template
    hf.chat_template = None
    # transformers would write tokenizer.json again, which takes a tenth of a second
    hf._save_pretrained = lambda *_, **__: ()  # noqa: SLF001  without this method, it is only slower
    try:
        with tempfile.TemporaryDirectory(prefix="premask-") as folder:
            hf.save_pretrained(folder)
            written = (Path(folder) / CONFIG).read_bytes()
    finally:
        hf.chat_template = own
        del hf._save_pretrained  # noqa: SLF001
    config = json.loads(written)
    if not any(name in config for name in (*_OF_CODE, _OWN_TEMPLATE)):
        return written
    kept = {name: value for name, value in config.items() if name not in (*_OF_CODE, _OWN_TEMPLATE)}
    return f"{json.dumps(kept, indent=2, sort_keys=True, ensure_ascii=False)}\n".encode()


def template_files(template: str | Mapping[str, str], name: str) -> dict[str, bytes]:
    """Return the files of the chat templates of the tokenizer `name`."""
    texts = {"default": template} if isinstance(template, str) else dict(template)
    check_templates(texts, name)
    return {_file_of(own): text.encode() for own, text in texts.items()}


def _file_of(own: str) -> str:
    return "chat_template.jinja" if own == "default" else f"{TEMPLATE_FOLDERS[0]}/{own}.jinja"
