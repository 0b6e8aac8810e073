"""Gemini's rows: `{"contents": [{"role": "user", "parts": [{"text": "Hi"}]}, {"role": "model", ..}]}`.

What Vertex AI takes for tuning and the API for a request: `systemInstruction` beside the turns,
`functionCall` and `functionResponse` as parts (`parts.py`), thoughts as parts with `thought`, functions as
`functionDeclarations` in `tools` (`tool_definitions.py`). Python's spellings (`system_instruction`) are read
as well.

    >>> turns = [{"role": "user", "parts": [{"text": "Hi"}]}, {"role": "model", "parts": [{"text": "Hello"}]}]
    >>> [(message.role, message.content) for message in normalize({"contents": turns}).messages]
    [('user', 'Hi'), ('assistant', 'Hello')]

Cost: see `common.py` and `turns.py`.
"""

from __future__ import annotations

from typing import Any

from ..core.errors import RowError
from ..core.records import Conversation
from . import openai
from .cells import parsed
from .parts import read_parts
from .turns import KNOWN_KEYS

KEY = "contents"
_SYSTEM = ("systemInstruction", "system_instruction")


def recognize(value: Any) -> bool:
    """Whether the row has contents with parts."""
    return any(isinstance(turn, dict) and turn.get("parts") is not None for turn in _contents(value) or ())


def normalize(value: Any) -> Conversation:
    """Read a row of contents. Raises `RowError`."""
    contents = _contents(value)
    if contents is None:
        raise RowError("unknown_dialect", f"the row has no turns under '{KEY}'")
    row = {key: field for key, field in value.items() if key not in (KEY, *_SYSTEM, *openai.KEYS)}
    system = next((field for key in _SYSTEM if (field := parsed(value.get(key))) is not None), None)
    if system is not None:
        row["system"] = _text(system)
    return openai.normalize({**row, "messages": [_turn(turn) for turn in contents]})


def _contents(value: Any) -> list[Any] | None:
    field = parsed(value.get(KEY)) if isinstance(value, dict) else None
    return field if isinstance(field, list) else None


def _turn(turn: Any) -> Any:
    """A turn in OpenAI's spelling."""
    if not isinstance(turn, dict):
        return turn
    known = {key: field for key, field in turn.items() if key in KNOWN_KEYS}
    return {**known, "role": turn.get("role"), "content": _parts(turn)}


def _parts(turn: dict[str, Any]) -> Any:
    parts = parsed(turn.get("parts"))
    return [parts] if isinstance(parts, dict) else parts


def _text(system: Any) -> Any:
    """The system text, from a content with parts, from parts, or as it is."""
    parts = _parts(system) if isinstance(system, dict) and "parts" in system else system
    parts = [parts] if isinstance(parts, dict) else parts
    return read_parts(parts, "the system text").text if isinstance(parts, list) else parts
