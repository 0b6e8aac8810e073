"""What the dialects share about rows: finding the turns, the fields beside them, the checks on the result.

    turns_of           row -> its list of turns, each without null-valued keys
    make_conversation  row and messages -> Conversation, checked
    of_turns           row and the messages of each turn -> likewise, with the marks beside the turns

What they share about a single turn is in `turns.py`. Null counts as missing everywhere, turns are counted
from 0, and a list may be written as JSON within a string, as CSV and Parquet exports have it. What cannot
be read for certain raises a `RowError`: a row is refused, never guessed.

    >>> row = {"id": 7, "messages": [{"role": "assistant", "content": "Hi"}]}
    >>> turns_of(row, ["messages"], lambda turn: "role" in turn)
    [{'role': 'assistant', 'content': 'Hi'}]
    >>> make_conversation(row, [Message("assistant", "Hi")]).id
    '7'

Cost: linear in the row; non-ASCII text is encoded once to find what UTF-8 cannot hold, and JSON within a
string is parsed once to recognize the row and once to read it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..core.errors import RowError
from ..core.python_notation import parse_cell
from ..core.records import Conversation, GivenTokens, Message
from ..core.strict_json import MAX_DEPTH, without_nulls
from ..core.text import is_encodable, kind
from .cells import are_columns, check_lengths, object_in, parsed
from .marks import Mark, agreed
from .parts import read_parts
from .row_marks import name_of_turn_marks, row_weight, turn_marks
from .tool_definitions import in_openai_shape
from .turns import Turn

MEDIA_KEYS = ("images", "image", "videos", "video", "audios", "audio")


ID_KEYS = ("id", "conversation_id", "uuid")


TOOL_KEYS = ("tools", "functions")


TOOL_CONFIG = "toolConfig"
"""Where rows of Bedrock Converse have their tools."""


SYSTEM_KEYS = ("system", "system_prompt")


TEMPLATE_KEYS = ("chat_template_kwargs", "template_kwargs")


IsTurn = Callable[[Collection[str]], bool]
"""Whether the keys of a turn that are not null are those of a dialect."""


# ==== Turns ====


def has_turns(value: Any, keys: Sequence[str], is_turn: IsTurn) -> bool:
    """Whether a row, or a list that is one, holds at least one turn of a dialect."""
    return any(_are_turns(turns, is_turn) for _, turns in _candidates(value, keys))


def turns_of(value: Any, keys: Sequence[str], is_turn: IsTurn) -> list[Turn]:
    """The turns of a row, from the first of `keys` that holds turns of this dialect.

    A string is read as the JSON that it holds.

    Raises `RowError`: not_an_object, unknown_dialect (none of the keys), wrong_type, no_messages.
    """
    if not isinstance(value, (dict, list)):
        raise RowError("not_an_object", f"the row is a JSON {kind(value)}, not an object")
    held = list(_candidates(value, keys))
    if not held and not any(key in value for key in keys):
        raise RowError("unknown_dialect", f"the row has none of the keys {', '.join(keys)}")
    first = held[0] if held else ("", [])
    key, turns = next((each for each in held if _are_turns(each[1], is_turn)), first)
    if isinstance(turns, str) and isinstance(value, dict):
        turns = _unquoted(value[key], key)
    check_lengths(turns, f"'{key}'")
    if not isinstance(turns, list):
        raise RowError("wrong_type", f"the conversation is a JSON {kind(turns)}, not an array of turns")
    if not turns:
        raise RowError("no_messages", "the row has no turns")
    return [_without_nulls(index, turn) for index, turn in enumerate(turns)]


def _candidates(value: Any, keys: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """The fields that may hold the turns, with their keys; a list is its own and has no key.

    >>> list(_candidates({"messages": '[{"role": "user"}]', "items": None}, ["items", "messages"]))
    [('messages', [{'role': 'user'}])]
    """
    if isinstance(value, list):
        yield "", parsed(value)
    elif isinstance(value, dict):
        fields = ((key, parsed(value.get(key))) for key in keys)
        yield from ((key, field) for key, field in fields if field is not None)


def _are_turns(turns: Any, is_turn: IsTurn) -> bool:
    if are_columns(turns):
        turns = [turns]
    if not isinstance(turns, list):
        return False
    objects = (turn for turn in turns if isinstance(turn, dict))
    return any(is_turn({key for key, field in turn.items() if field is not None}) for turn in objects)


def _without_nulls(index: int, turn: Any) -> Turn:
    if not isinstance(turn, dict):
        raise RowError("wrong_type", f"turn {index} is a JSON {kind(turn)}, not an object")
    return {key: field for key, field in turn.items() if field is not None}


# ==== What is beside the turns ====


def row_id(value: Any) -> str | None:
    """The row's own id, where it has one that can be written down; also for rows that are rejected.

    >>> row_id({"id": 7}), row_id({"uuid": "a-b"}), row_id({"id": [1]}), row_id("text")
    ('7', 'a-b', None, None)
    """
    row = value if isinstance(value, dict) else {}
    return written_id(next((row[key] for key in ID_KEYS if row.get(key) is not None), None))


def written_id(found: Any) -> str | None:
    """What is in the first of `ID_KEYS` that is not null, as an id; None where it is none.

    >>> written_id(7), written_id("7"), written_id(True), written_id(7.0)
    ('7', '7', None, None)
    """
    if isinstance(found, bool) or not isinstance(found, (str, int)):
        return None
    return str(found) if is_encodable(str(found)) else None


def with_system(value: Any, messages: Sequence[Message]) -> list[Message]:
    """The messages after the system text that is beside them, unless there is one among them.

    Raises `RowError`: wrong_type.

    >>> with_system({"system": "Be brief."}, [Message("user", "Hi")])[0].content
    'Be brief.'
    """
    row: Mapping[str, Any] = value if isinstance(value, dict) else {}
    texts = {key: _system(row[key]) for key in SYSTEM_KEYS if row.get(key) not in (None, [], {})}
    for key, text in texts.items():
        if not isinstance(text, str):
            raise RowError("wrong_type", f"'{key}' is a JSON {kind(text)}, not a string")
    text = next((text for text in texts.values() if text and not text.isspace()), None)
    if text is None or any(message.role == "system" for message in messages):
        return list(messages)
    return [Message("system", text), *messages]


def _system(field: Any) -> Any:
    """A system text that is a list of parts as one text."""
    are_parts = isinstance(field, list) and all(isinstance(part, dict) for part in field)
    return read_parts(field, "the system text").text if are_parts else field


def of_turns(value: Any, turns: Sequence[Sequence[Message]]) -> Conversation:
    """Put the messages of a row's turns and the fields beside them together: the system text goes before
    them, and the marks beside the turns (`row_marks.py`) go to their messages.

    Raises `RowError`: wrong_type, unsupported_content, invalid_text.
    """
    row: Mapping[str, Any] = value if isinstance(value, dict) else {}
    answers = [any(message.role == "assistant" for message in turn) for turn in turns]
    marks = turn_marks(row, answers)
    if marks is not None:
        pairs = enumerate(zip(turns, marks, strict=True))
        turns = [[_with_mark(message, mark, index) for message in turn] for index, (turn, mark) in pairs]
    return _conversation(row, with_system(row, [message for turn in turns for message in turn]))


def _with_mark(message: Message, mark: Mark, index: int) -> Message:
    """A message with a mark from beside the turns."""
    own = Mark(message.train, message.weight)
    stretched = {each.train for each in message.stretches} if mark.train is False else ()
    if True in stretched:
        own = Mark(train=True)
    both = agreed({"a mark": own, "the mark beside the turns": mark}, f"turn {index}")
    return replace(message, train=both.train, weight=both.weight)


def make_conversation(value: Any, messages: Sequence[Message]) -> Conversation:
    """Put the messages of a row and the fields beside them together, and check what is in them.

    Raises `RowError`: wrong_type, unsupported_content, invalid_text.
    """
    row: Mapping[str, Any] = value if isinstance(value, dict) else {}
    name = name_of_turn_marks(row)
    if name is not None:
        detail = f"'{name}' is beside the row, which has no list of turns; write 'train' into its messages"
        raise RowError("wrong_type", detail)
    return _conversation(row, messages)


def _conversation(row: Mapping[str, Any], messages: Sequence[Message]) -> Conversation:
    _check_media(row)
    parts = tuple(messages), read_tools(row), _template_kwargs(row), row_id(row), row_weight(row)
    conversation = Conversation(*parts)
    check_texts(conversation)
    return conversation


def read_tools(row: Mapping[str, Any]) -> tuple[dict[str, Any], ...] | None:
    """The tools of a row in OpenAI's shape; None when there are none. Raises `RowError`: wrong_type,
    invalid_text."""
    key, tools = _first_filled(row, TOOL_KEYS)
    if tools is None and row.get(TOOL_CONFIG) is not None:
        config = object_in(row[TOOL_CONFIG])
        key, tools = _first_filled(config if isinstance(config, dict) else {}, ["tools"])
    if tools is None:
        return None
    tools = parsed(tools)
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise RowError("wrong_type", f"'{key}' is not an array of objects")
    _check_fields(tools, "the list of tools")
    found = tuple(each for tool in tools for each in in_openai_shape(without_nulls(tool)))
    _check_fields(found, "the list of tools")
    return found


def _template_kwargs(row: Mapping[str, Any]) -> dict[str, Any]:
    """Template arguments of the row, without nulls, which Arrow puts where other rows have arguments."""
    key, found = _first_filled(row, TEMPLATE_KEYS)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise RowError("wrong_type", f"'{key}' is a JSON {kind(found)}, not an object")
    _check_fields(found, "the template arguments")
    kept: dict[str, Any] = without_nulls(found)
    taken = next((name for name in _OF_THE_RENDER if name in kept), None)
    if taken is not None:
        detail = f"'{key}' has '{taken}', which no template argument can be; {_OF_THE_RENDER[taken]}"
        raise RowError("wrong_type", detail)
    return kept


_LEAVE_OUT = "leave it out"

_OF_THE_TOKENIZER = "leave it out: it is that of the tokenizer"

_OF_THE_RENDER: Mapping[str, str] = {
    "messages": "write the turns as 'messages' at the top of the row",
    "tools": "write 'tools' at the top of the row",
    "bos_token": _OF_THE_TOKENIZER,
    "eos_token": _OF_THE_TOKENIZER,
    "add_generation_prompt": "leave it out: premask renders with and without it",
    "continue_final_message": _LEAVE_OUT,
    "conversation": _LEAVE_OUT,
    "chat_template": "leave it out, and set chat_template in the recipe",
    **dict.fromkeys(("tokenize", "return_tensors", "return_dict", "padding", "truncation"), _LEAVE_OUT),
    **dict.fromkeys(("max_length", "return_assistant_tokens_mask", "tokenizer_kwargs"), _LEAVE_OUT),
}
"""Arguments of the call that renders, which a template does not get -> what to write."""


def _first_filled(row: Mapping[str, Any], keys: Sequence[str]) -> tuple[str, Any]:
    """The first field that is neither null nor empty; it may be JSON within a string."""
    for key in keys:
        field = row.get(key)
        if isinstance(field, str):
            field = _unquoted(field, key)
        if field not in (None, [], {}):
            return key, field
    return "", None


def _unquoted(text: str, key: str) -> Any:
    try:
        return parse_cell(text) if text.strip() else None
    except ValueError as error:
        raise RowError("wrong_type", f"'{key}' is a string but not valid JSON: {error}") from None


# ==== Checks ====


def _check_media(row: Mapping[str, Any]) -> None:
    media = [key for key in MEDIA_KEYS if row.get(key)]
    if media:
        raise RowError("unsupported_content", f"the row refers to {', '.join(media)}; only text can be used")


def as_side(conversation: Conversation, prompt: int, side: int) -> Conversation:
    """A conversation as a side of a preference: nothing of its first `prompt` messages is trained."""
    before = [replace(each, train=False, stretches=()) for each in conversation.messages[:prompt]]
    return replace(conversation, messages=(*before, *conversation.messages[prompt:]), side=side)


def check_learnable(conversation: Conversation) -> None:
    """Raise `RowError` where there is nothing to learn, in a chat, a document or a row of tokens."""
    if conversation.given is not None:
        check_trained(conversation.given)
    elif conversation.document is None:
        check_assistants(conversation.messages)
    elif not conversation.document.strip():
        raise RowError("nothing_trained", "the document is empty")


def check_trained(given: GivenTokens) -> None:
    """Raise `RowError`: nothing_trained, if a row has no token that is trained and predicted."""
    if not len(given.ids):
        raise RowError("nothing_trained", "the row has no tokens")
    if not given.trained[1:].any():
        detail = "only the first token is trained, which nothing predicts" if given.trained[0] else ""
        raise RowError("nothing_trained", detail or f"none of the {len(given.ids):,} tokens is trained")


def check_assistants(messages: Sequence[Message]) -> None:
    """Raise `RowError` where there is nothing to learn: no_messages, no_assistant, empty_assistant."""
    if not messages:
        raise RowError("no_messages", "the row has no turns")
    turns = [(index, message) for index, message in enumerate(messages) if message.role == "assistant"]
    if not turns:
        raise RowError("no_assistant", f"none of the {len(messages)} messages is by the assistant")
    if not any(message.says_something for _, message in turns):
        index, number = turns[0][0], len(turns)
        which = f"message {index} (assistant) has" if number == 1 else f"all {number} assistant messages have"
        raise RowError("empty_assistant", f"{which} no text and no tool call")


def check_texts(conversation: Conversation) -> None:
    """Raise `RowError` (invalid_text) where a text of a conversation cannot be written as UTF-8."""
    for index, message in enumerate(conversation.messages):
        texts = (message.content, message.reasoning, message.name, message.tool_call_id)
        if not all(text is None or is_encodable(text) for text in texts):
            raise half_pair(f"message {index}")
        _check_fields([message.tool_calls, message.extra], f"message {index}")


def _check_fields(fields: Any, where: str) -> None:
    """Look at every string within, level by level: deep nesting cannot exhaust the stack."""
    level = [fields] if fields else []
    for _ in range(MAX_DEPTH):
        children = [child for node in level for child in _children(node)]
        if not all(is_encodable(child) for child in children if isinstance(child, str)):
            raise half_pair(where)
        level = [child for child in children if child and isinstance(child, (dict, list, tuple))]
        if not level:
            return
    raise RowError("wrong_type", f"{where} is nested more than {MAX_DEPTH} levels deep")


def half_pair(where: str) -> RowError:
    """The error of a text that cannot be encoded."""
    return RowError("invalid_text", f"{where} holds half of a surrogate pair, such as '\\ud83d' alone")


def _children(node: Any) -> Collection[Any]:
    return [*node, *node.values()] if isinstance(node, dict) else node
