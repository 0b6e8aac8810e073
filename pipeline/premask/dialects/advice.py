"""What to do about a file of no known conversation format: the lines to write, made from its keys.

    >>> advice([{"q1": "Why?", "reply": "So."}])
    'say with --fields or in the recipe which keys hold what, such as fields: {user: q1, assistant: reply}'

Nothing here decides how a row is read; it only puts into words what was seen.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from . import document, trajectory, transcripts, trees
from .beside import choices_beside, reasoning_names

_USERS = ("question", "query", "prompt", "instruction", "input", "user", "human", "problem", "ask")
_ANSWERS = (
    *("answer", "response", "output", "completion", "assistant", "solution", "reply", "target", "expected"),
    *("bot", "gpt", "chosen"),
)
_WRONG = re.compile(r"(?<![a-z])(?:incorrect|wrong|rejected|bad|negative|worse|worst|losing)(?![a-z])")
"""Words in names of answers that are not to be learnt."""

_SPEAKERS = ("speaker", "role", "from", "author", "sender", "who", "agent", "side", "party", "person")
_WORDS = {"user": "user", "human": "user", "customer": "user", "client": "user", "system": "system"}


class _Turns(NamedTuple):
    """Where the rows seem to have turns: a path, and the keys of speaker and text."""

    path: str
    role: str
    content: str
    roles: list[str]


def advice(values: Sequence[Any]) -> str:
    """One sentence: what to do with a file that has such rows."""
    if any(map(trees.is_flat_message, values)):
        return "they are single messages of trees; make trees of them first: premask trees FILE TREES.jsonl"
    objects = [value for value in values if isinstance(value, dict)]
    if any("input_ids" in value for value in objects):
        return "token ids need a list of labels or a mask beside them, such as labels or loss_mask"
    if any(map(trajectory.recognize, objects)):
        return "if they are tokens that a model has sampled, set dialect: trajectory for their source"
    if len(values) == 1 and objects and _holds_rows(objects[0]):
        return "it is one object; if its values are the rows, write them as a list"
    if objects and (sign := _separator(objects)):
        shown = "tab" if sign == "\t" else json.dumps(sign)
        return f"a name holds {sign!r}; if it is CSV separated so, set delimiter: {shown} for its source"
    turns = next(_turns(objects), None)
    return _for_texts(objects) if turns is None else _for_turns(turns)


def _for_texts(objects: Sequence[dict[str, Any]]) -> str:
    """For rows without turns: the columns that hold texts."""
    texts = Counter(key for value in objects for key, field in value.items() if _is_text(field))
    columns = [key for key, _ in texts.most_common() if not key.lower().endswith(("id", "ids"))]
    marked = next((each for value in objects for each in _transcripts(value)), None)
    if marked is not None:
        return marked
    found = ((value, choices_beside(value)) for value in objects)
    choices = next((name for value, name in found if name is not None and _offers(value[name])), None)
    if choices is not None:
        return (
            f"its choices are in '{choices}', beside the question, where they would be lost; write question "
            "and choices as one text, and the answer as a text, in rows such as "
            '{"question": "Which? A: .. B: ..", "answer": "B"}'
        )
    if objects and not texts:
        return "none of them holds a text; premask needs conversations"
    if not columns or columns == ["text"]:
        return (
            "a text alone says not who speaks; to train each text as a whole, set dialect: document for its "
            "source; for conversations, give premask rows such as "
            '{"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}'
        )
    reasoning = next((name for value in objects for name in reasoning_names(value)), None)
    blank = [key for key in dict.fromkeys(key for value in objects for key in value) if key not in texts]
    return _for_columns([key for key in columns if key != reasoning], reasoning, blank)


def _offers(choices: Any) -> bool:
    """Whether choices are texts, and no answers of a model with turns of their own."""
    items = [each for each in choices if isinstance(each, dict)] if isinstance(choices, list) else []
    return not any(isinstance(field, (list, dict)) for each in items for field in each.values())


def _transcripts(value: dict[str, Any]) -> Iterator[str]:
    """What to do with columns whose texts are transcripts of marks that are not read."""
    for key, field in value.items():
        mark = transcripts.unknown_marks(field)
        if mark is not None:
            yield (
                f"{_quoted(key)} holds transcripts with the mark {mark!r}, which premask does not read; "
                'write them as rows such as {"messages": [{"role": "user", "content": "..."}, ...]}, or, to '
                "train each text as a whole, set dialect: document for its source"
            )


def _separator(objects: Sequence[dict[str, Any]]) -> str:
    """What seems to separate columns that were read as one; empty if nothing does."""
    names = {name for value in objects for name in value}
    return next((sign for sign in (";", "\t", "|") if any(sign in name for name in names)), "")


def _holds_rows(value: dict[str, Any]) -> bool:
    return len(value) > 1 and all(isinstance(field, dict) for field in value.values())


def _for_turns(turns: _Turns) -> str:
    roles = [f"{_quoted(name)}: {_guess(name, i)}" for i, name in enumerate(turns.roles)]
    fields = (
        f"messages: {_quoted(turns.path)}, role: {_quoted(turns.role)}, content: {_quoted(turns.content)}"
    )
    wanted = f"fields: {{{fields}, roles: {{{', '.join(roles)}}}}}"
    return f"say with --fields or in the recipe who speaks, such as {wanted}"


def _for_columns(keys: Sequence[str], reasoning: str | None, blank: Sequence[str]) -> str:
    """The columns whose names say most; a word in capitals is in place of one that was not found. Those in
    `blank` hold no text."""
    user = _named(keys, _USERS, but=None)
    answer = _named(keys, _ANSWERS, but=user)
    if user is None and answer is None:
        shown = ", ".join(map(_quoted, keys[:8]))
        wanted = "fields: {user: COLUMN, assistant: COLUMN}"
        told = "if it holds questions and answers, say with --fields or in the recipe "
        told += f"{wanted}, each one of {shown}"
        whole = "; to train each text as a whole, set dialect: document for its source"
        return told + (whole if document.recognize(dict.fromkeys(keys, "")) else "")
    if answer is None:
        wanted = f"fields: {{user: {_quoted(str(user))}, assistant: COLUMN}}"
        empty = _named(blank, _ANSWERS, but=None)
        if empty is not None:
            return f"'{empty}' looks like the answer, but holds no text in any row"
        return f"no column looks like an answer; if one is, say with --fields or in the recipe {wanted}"
    rest = [key for key in keys if key != answer]
    user = user or (rest[0] if len(rest) == 1 else "COLUMN" if rest else None)
    fields = [f"user: {_quoted(user)}"] if user is not None else []
    fields.append(f"assistant: {_quoted(answer)}")
    fields += [f"reasoning: {_quoted(reasoning)}"] if reasoning is not None else []
    return f"say with --fields or in the recipe which keys hold what, such as fields: {{{', '.join(fields)}}}"


def _turns(objects: Sequence[dict[str, Any]]) -> Iterator[_Turns]:
    """Lists of objects in which one text has few different values (who speaks) and another has many."""
    for path in dict.fromkeys(path for value in objects[:64] for path in _lists(value, "", 3)):
        items = [item for value in objects for item in _at(value, path) if isinstance(item, dict)]
        texts: dict[str, list[str]] = {}
        for item in items:
            for key, field in item.items():
                if isinstance(field, str):
                    texts.setdefault(key, []).append(field)
        full = {key: found for key, found in texts.items() if len(found) * 2 > len(items)}
        speakers = [key for key, found in full.items() if _are_speakers(key, found)]
        who = min(speakers, key=lambda key: not _is_named_so(key), default=None)
        sizes = {key: len("".join(found)) for key, found in full.items() if key != who}
        if who is not None and sizes:
            names = [name for name, _ in Counter(full[who]).most_common()]
            yield _Turns(path, who, max(sizes, key=lambda key: sizes[key]), names)


def _are_speakers(key: str, found: Sequence[str]) -> bool:
    """Whether a key of turns seems to tell who speaks: by its name, or since its few values take turns."""
    few = 2 <= len(set(found)) <= 4 and len(found) > len(set(found)) and max(map(len, found)) <= 24
    changes = sum(one != other for one, other in pairwise(found))
    return few and (_is_named_so(key) or changes > 0.8 * (len(found) - 1))


def _is_named_so(key: str) -> bool:
    return any(word in key.lower() for word in _SPEAKERS)


def _lists(value: Any, path: str, depth: int) -> Iterator[str]:
    if isinstance(value, list) and any(isinstance(item, dict) for item in value) and path:
        yield path
    if isinstance(value, dict) and depth:
        for key, field in value.items():
            if "." not in key and "[" not in key:
                yield from _lists(field, f"{path}.{key}" if path else key, depth - 1)


def _at(value: Any, path: str) -> list[Any]:
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, list) else []


def _named(keys: Sequence[str], words: Sequence[str], *, but: str | None) -> str | None:
    """The first key that has one of the words in its name."""
    others = [
        key for key in keys if key != but and "system" not in key.lower() and not _WRONG.search(key.lower())
    ]
    return next((key for word in words for key in others if word in key.lower()), None)


def _guess(name: str, place: int) -> str:
    """What a speaker may be; the system of a dialogue with users is the assistant."""
    word = _WORDS.get(name.strip().lower(), "user" if place == 0 else "assistant")
    return "assistant" if word == "system" else word


def _quoted(name: str) -> str:
    """A name as YAML has it."""
    return name if re.fullmatch(r"[A-Za-z_][\w.]*", name) else json.dumps(name)


def _is_text(field: Any) -> bool:
    return isinstance(field, str) or (isinstance(field, list) and bool(field) and isinstance(field[0], str))
